/**
 * The words of the simulator: what a world consists of, what a scheduler is told and may do. A world is drawn from a seed
 * before it begins; nothing in it depends on the scheduler, so that all are measured in the same one.
 */
import type { VirtualClock } from '../../src/testing'

export const SECOND = 1_000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** Ms since the world began, on the wall clock. */
export type Time = number

/** `from, to, from, to, …` in order, without overlaps; an open end is Infinity. */
export type Intervals = readonly number[]

/**
 * What happens to a dial that reaches the peer while it is up.
 *
 * - `serves`: a connection over which content comes
 * - `full`: lets in and hangs up after a second
 * - `hangs`: takes the call and never says anything
 * - `hangsUp`: lets in and hangs up after three seconds, before anything was sent
 * - `idle`: a connection over which nothing ever comes
 */
export type Behaviour = 'serves' | 'full' | 'hangs' | 'hangsUp' | 'idle'

export interface RouteSpec {
  readonly address: string
  /** Index of its peer. */
  readonly peer: number
  /** A dead one never answers, though its peer be up by another route. */
  readonly isAlive: boolean
  readonly isLocal: boolean
  /** Who told us. */
  readonly source: 'friends' | 'pub' | 'manual' | 'local'
}

export interface PeerSpec {
  readonly index: number
  /** Feed id. */
  readonly id: string
  readonly routes: readonly RouteSpec[]
  readonly up: Intervals
  readonly behaviour: Behaviour
  /** Of the social graph: 1 followed, 2 known, 3 heard of, null of nobody we know. */
  readonly hops: 1 | 2 | 3 | null
  readonly isAttacker: boolean
  readonly rttMs: number
  /** A dial while it is down is refused; else nothing ever answers. */
  readonly refuses: boolean
  /** Feeds that can be had here, and how late: mean delay after the post. */
  readonly carries: ReadonlyMap<number, Time>
}

/** Times of the messages of one followed feed, in order. Those before 0 are the past that a fresh install lacks. */
export interface FeedSpec {
  readonly posts: readonly Time[]
  /** How many of them we have when the world begins. */
  readonly hasAtStart: number
}

/** What happens to our machine, or what it is told. */
export type Happening =
  | { readonly at: Time; readonly type: 'learn'; readonly routes: readonly RouteSpec[] }
  /** On our local network for a while, announced every few seconds. */
  | { readonly at: Time; readonly type: 'visit'; readonly route: RouteSpec; readonly ms: number }
  | { readonly at: Time; readonly type: 'block'; readonly peer: number }
  /** The link is gone, and the machine knows it (`isKnown`) or does not. `newAddress`: it is another one when it is back. */
  | { readonly at: Time; readonly type: 'outage'; readonly ms: number; readonly isKnown: boolean }
  | { readonly at: Time; readonly type: 'suspend'; readonly ms: number }
  /** The link stays, with another address: all connections are dead. */
  | { readonly at: Time; readonly type: 'newAddress' }
  /** The process is killed and starts again after a while, with what is on its disk. */
  | { readonly at: Time; readonly type: 'kill'; readonly ms: number }

export interface WorldSpec {
  readonly name: string
  readonly seed: number
  readonly title: string
  readonly ms: Time
  /** Connections that a scheduler may have. */
  readonly slots: number
  /** Of these, for peers of the local network, where a scheduler keeps them apart. */
  readonly localSlots: number
  readonly peers: readonly PeerSpec[]
  readonly feeds: readonly FeedSpec[]
  /** Known when the world begins. */
  readonly table: readonly RouteSpec[]
  /** In order of time. */
  readonly happenings: readonly Happening[]
}

/** A connection as a scheduler sees it: what a muxrpc is to a connection manager. */
export interface Rpc {
  readonly id: string
  readonly address: string
  readonly closed: boolean
  close(abort?: unknown, cb?: (error?: unknown) => void): void
  on(event: 'closed', listener: () => void): this
  removeListener(event: 'closed', listener: () => void): this
  /** Resolves after a round trip; stays pending where nothing comes through. */
  ping(): Promise<void>
}

/** What a scheduler has of our machine. */
export interface Machine {
  readonly spec: WorldSpec
  readonly ownId: string
  /** Stands still while the machine sleeps; its wall clock does not. */
  readonly clock: VirtualClock
  readonly random: { next(): number }
  /** One dial; calls back once, or never. */
  dial(address: string, cb: (error: unknown, rpc?: Rpc) => void): void
  /** Survives the process. */
  readonly disk: Map<string, string>
  /** For those who know everything: not for a fair scheduler. */
  readonly oracle: Oracle
}

/** What only the world knows. */
export interface Oracle {
  /** A route by which the peer answers at present, or null. */
  routeTo(peer: number): RouteSpec | null
  /** How many messages of followed feeds the peer has now that we lack. */
  missingAt(peer: number): number
  /** When the peer has something next that we lack, as things stand; Infinity if never. */
  nextAt(peer: number): Time
  /** Age of the oldest of what the peer has and we lack, summed over the feeds. */
  staleness(peer: number): number
  isConnected(peer: number): boolean
}

/** Whoever decides about connections: ours, an existing one, a bound, or one that is known to be wrong. */
export interface Scheduler {
  /** The process starts. */
  start(): void | Promise<void>
  /** The process is killed: no more dials, nothing is saved. */
  kill(): void
  learn(route: RouteSpec, hops: PeerSpec['hops']): void
  /** A local peer has gone: its beacons stopped a while ago. */
  gone(route: RouteSpec): void
  block(id: string): void
  /** What the machine notices of itself. */
  signal(signal: 'woke' | 'offline' | 'online' | 'networkChanged'): void
  /** Messages of followed feeds were stored that came from this peer. */
  received(id: string, count: number): void
  /** The peer has nothing more for us, as far as replication can tell. */
  caughtUp(id: string): void
  /** Of the peers, how many stand worse than nothing known: failures in a row. Null if it cannot be told. */
  errorCounts?(): ReadonlyMap<string, number> | null
}

export type SchedulerFactory = (machine: Machine) => Scheduler

/** A kind of scheduler, loaded in a process of its own, as the existing ones keep time by the globals. */
export interface SchedulerModule {
  readonly name: string
  /** The clock of the process; what keeps time by the globals replaces them here. */
  createClock(): VirtualClock
  readonly create: SchedulerFactory
  /** Lets what goes past the clock, as a real disk does, come to an end. */
  settle?(): Promise<void>
}
