/**
 * A world in virtual time, around one machine whose connections a scheduler decides about. The world acts and counts
 * (ledger.ts); it judges nothing.
 *
 * What of a real network is in it: dials that are refused, that nobody answers (the system gives up after 130 s and the socket
 * is held for so long, whatever the scheduler thinks), peers that let in and hang up, connections that die without a word when
 * the link goes or the machine sleeps, and are only told of later. Content: messages arrive at a peer some time after they
 * are posted; a connection brings all that the peer has of the feeds that we follow and that we lack, in order of each feed,
 * at a limited rate. What is not in it: traffic costs, and what we send.
 */
import { EventEmitter } from 'events'

import { seededRandom, simulatedFeedId, type VirtualClock } from '../../src/testing'
import { contains, endOf } from './intervals'
import { Ledger } from './ledger'
import {
  type Happening,
  type Intervals,
  type Machine,
  MINUTE,
  type Oracle,
  type PeerSpec,
  type RouteSpec,
  type Rpc,
  type Scheduler,
  type SchedulerModule,
  SECOND,
  type Time,
  type WorldSpec,
} from './types'

/** Linux gives up an unanswered SYN after this. */
const TCP_GIVES_UP_MS = 130 * SECOND
/** Of a connection that died unseen, the system tells so long after the way is open again. */
const DEATH_TOLD_MS = 30 * SECOND
/** Longer than this asleep, and the other side or a NAT on the way has forgotten the connection. */
const SLEEP_KILLS_MS = 2 * MINUTE
/** Messages that a connection brings in a second. */
const RATE = 200
const CHUNK = 100
/** So long after the last message, replication says that the peer has nothing more: it takes a look at both clocks. */
const CAUGHT_UP_MS = MINUTE
/** Round trips from the dial to a connection that may be used: TCP, two of the handshake, one call. */
const ROUND_TRIPS = 3
/** Between two announcements of a local peer; ssb-lan sends one each second. */
const BEACON_MS = 5 * SECOND
const STEP_MS = 10 * MINUTE
/** So long after an interruption, whoever is there must not be worse off than before it. */
const JUDGED_AFTER_MS = 10 * SECOND
/** A local peer that announced nothing for so long is gone. */
const BEACON_GONE_MS = 15 * SECOND

interface Connection {
  readonly number: number
  readonly peer: PeerSpec
  readonly route: RouteSpec
  readonly rpc: SimulatedRpc
  readonly openedAt: Time
  /** Nothing comes through any more. */
  isDead: boolean
  readonly timers: Set<unknown>
  pump: unknown
  quiet: unknown
}

class SimulatedRpc extends EventEmitter implements Rpc {
  closed = false

  constructor(
    readonly id: string,
    readonly address: string,
    private readonly hangUp: (cb?: (error?: unknown) => void) => void,
    readonly ping: () => Promise<void>,
  ) {
    super()
  }

  close(_abort?: unknown, cb?: (error?: unknown) => void): void {
    this.hangUp(typeof _abort === 'function' ? (_abort as () => void) : cb)
  }
}

function failure(code: string, address: string): Error {
  return Object.assign(new Error(`connect ${code} ${address}`), { code })
}

/** When each message of a feed is to be had at a peer: never out of order. */
function availability(posts: readonly Time[], meanMs: number, draw: () => number): Float64Array {
  const times = new Float64Array(posts.length)
  let last = Number.NEGATIVE_INFINITY
  posts.forEach((at, i) => {
    // What is older than the world has arrived wherever it was going to.
    const late = at < 0 ? 0 : -Math.log(1 - draw()) * meanMs
    last = Math.max(last, at + late)
    times[i] = last
  })
  return times
}

/** The first index whose time is later than `at`. */
function countUntil(times: Float64Array, at: Time): number {
  let low = 0
  let high = times.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((times[middle] as number) <= at) low = middle + 1
    else high = middle
  }
  return low
}

/** Awake, with a process that runs and a link that works: the times for which a scheduler is answerable. */
export function answerableTimes(spec: WorldSpec): Intervals {
  const gaps = spec.happenings
    .filter((each): each is Extract<Happening, { ms: number }> => ['outage', 'suspend', 'kill'].includes(each.type))
    .map(({ at, ms }) => [at, at + ms] as const)
    .sort(([a], [b]) => a - b)
  const found: number[] = []
  let at = 0
  for (const [from, to] of gaps) {
    if (from > at) found.push(at, from)
    at = Math.max(at, to)
  }
  if (at < spec.ms) found.push(at, spec.ms)
  return found
}

export class World {
  readonly ledger: Ledger
  private readonly startAt: number
  private readonly routes = new Map<string, RouteSpec>()
  private readonly peerOf = new Map<string, PeerSpec>()
  /** By peer and feed: when each message is to be had there. */
  private readonly stock: Map<number, Float64Array>[]
  /** Messages of each feed that we have. */
  private readonly have: number[]
  private readonly connections = new Set<Connection>()
  private readonly visiting = new Map<string, Time>()
  private readonly disk = new Map<string, string>()
  private scheduler: Scheduler | null = null
  private process = 0
  private linkUp = true
  private linkIsKnown = true
  private lastNumber = 0

  constructor(
    readonly spec: WorldSpec,
    private readonly module: SchedulerModule,
    private readonly clock: VirtualClock,
  ) {
    this.startAt = clock.now()
    for (const peer of spec.peers) {
      this.peerOf.set(peer.id, peer)
      for (const route of peer.routes) this.routes.set(route.address, route)
    }
    for (const each of spec.happenings) if (each.type === 'visit') this.routes.set(each.route.address, each.route)
    // Drawn from a stream of its own, as it must not depend on what the scheduler does.
    const draw = seededRandom(spec.seed * 104_729 + 2)
    this.stock = spec.peers.map((peer) => {
      const stock = new Map<number, Float64Array>()
      for (const [feed, meanMs] of peer.carries)
        stock.set(
          feed,
          availability(spec.feeds[feed]?.posts ?? [], meanMs, () => draw.next()),
        )
      return stock
    })
    this.have = spec.feeds.map(({ hasAtStart }) => hasAtStart)
    this.ledger = new Ledger(spec, answerableTimes(spec), this.firstToBeHad())
  }

  private get now(): Time {
    return this.clock.now() - this.startAt
  }

  /** For each feed, when each message was to be had first at any peer that we could reach. */
  private firstToBeHad(): Float64Array[] {
    const first = this.spec.feeds.map(({ posts }) => new Float64Array(posts.length).fill(Number.POSITIVE_INFINITY))
    for (const peer of this.spec.peers) {
      if (peer.behaviour !== 'serves' || peer.isAttacker || !peer.routes.some(({ isAlive }) => isAlive)) continue
      for (const [feed, times] of this.stock[peer.index] ?? []) {
        const earliest = first[feed] as Float64Array
        let bound = 0
        times.forEach((at, i) => {
          // A sorted walk: intervals before the last answer need not be looked at again.
          while (bound + 1 < peer.up.length && (peer.up[bound + 1] as number) <= at) bound += 2
          const from = peer.up[bound]
          if (from === undefined) return
          earliest[i] = Math.min(earliest[i] as number, Math.max(at, from))
        })
      }
    }
    return first
  }

  // ---- running ------------------------------------------------------------------------------------------------------

  async run(): Promise<Ledger> {
    const { spec, clock } = this
    await this.startProcess()
    let i = 0
    for (;;) {
      const next = spec.happenings[i]
      const until = Math.min(next?.at ?? spec.ms, spec.ms)
      // In steps, as the clock takes many timers in one for a loop.
      while (until > this.now) await clock.advanceAsync(Math.min(until - this.now, STEP_MS))
      if (!next || next.at >= spec.ms) break
      i++
      await this.happen(next)
    }
    this.ledger.end(this.now, this.have)
    const { scheduler } = this
    this.scheduler = null
    scheduler?.kill()
    return this.ledger
  }

  private async happen(happening: Happening): Promise<void> {
    const { spec, scheduler } = this
    switch (happening.type) {
      case 'learn':
        for (const route of happening.routes) scheduler?.learn(route, spec.peers[route.peer]?.hops ?? null)
        return
      case 'visit':
        return this.visit(happening.route, happening.ms)
      case 'block': {
        const peer = spec.peers[happening.peer]
        if (!peer || !scheduler) return
        this.ledger.blocked(peer.index, this.now)
        scheduler.block(peer.id)
        return
      }
      case 'outage': {
        this.linkUp = false
        this.linkIsKnown = happening.isKnown
        this.ledger.interrupted(this.now, this.liveCount(), this.errorCounts())
        for (const each of this.connections) if (!each.route.isLocal) each.isDead = true
        this.clock.setTimeout(() => {
          this.linkUp = true
          this.resumeAfterGap()
          this.scheduler?.signal(happening.isKnown ? 'online' : 'networkChanged')
        }, happening.ms)
        if (happening.isKnown) scheduler?.signal('offline')
        return
      }
      case 'newAddress':
        this.ledger.interrupted(this.now, this.liveCount(), this.errorCounts())
        for (const each of this.connections) if (!each.route.isLocal) each.isDead = true
        this.resumeAfterGap()
        scheduler?.signal('networkChanged')
        return
      case 'suspend': {
        this.ledger.interrupted(this.now, this.liveCount(), this.errorCounts())
        this.clock.jump(happening.ms)
        for (const each of this.connections)
          if (happening.ms > SLEEP_KILLS_MS || !contains(each.peer.up, this.now)) each.isDead = true
        this.resumeAfterGap()
        scheduler?.signal('woke')
        return
      }
      case 'kill': {
        this.ledger.interrupted(this.now, this.liveCount(), this.errorCounts())
        this.scheduler = null
        this.process++
        scheduler?.kill()
        for (const each of [...this.connections]) this.end(each, false)
        await this.module.settle?.()
        await this.clock.advanceAsync(happening.ms)
        this.ledger.resumed(this.now)
        await this.startProcess()
        return
      }
      default: {
        const unknown: never = happening
        return unknown
      }
    }
  }

  /** The way is open again: what died meanwhile is told of in a while, unless the scheduler finds out before. */
  private resumeAfterGap(): void {
    this.ledger.resumed(this.now)
    const { process } = this
    this.clock.setTimeout(() => {
      if (process === this.process) this.ledger.judged(this.errorCounts(), (address) => this.isReachable(address))
    }, JUDGED_AFTER_MS)
    for (const each of this.connections) {
      if (!each.isDead) this.pump(each)
      else this.later(each, DEATH_TOLD_MS, () => this.end(each, true))
    }
  }

  private async startProcess(): Promise<void> {
    const random = seededRandom(this.spec.seed * 31 + this.process)
    const process = this.process
    const machine: Machine = {
      spec: this.spec,
      ownId: simulatedFeedId(seededRandom(this.spec.seed + 1_000_000)),
      clock: this.clock,
      random,
      disk: this.disk,
      oracle: this.oracle(),
      dial: (address, cb) => {
        if (process === this.process) this.dial(address, cb)
      },
    }
    this.scheduler = this.module.create(machine)
    await this.scheduler.start()
    await this.module.settle?.()
    for (const address of this.visiting.keys()) this.announce(address)
  }

  private errorCounts(): ReadonlyMap<string, number> | null {
    return this.scheduler?.errorCounts?.() ?? null
  }

  /** What a failure to connect would be nobody's fault but ours for. */
  private isReachable(address: string): boolean {
    const route = this.routes.get(address)
    const peer = route && this.spec.peers[route.peer]
    return peer?.behaviour === 'serves' && this.isUp(peer, route as RouteSpec)
  }

  private liveCount(): number {
    let count = 0
    for (const { isDead } of this.connections) if (!isDead) count++
    return count
  }

  // ---- local peers --------------------------------------------------------------------------------------------------

  private visit(route: RouteSpec, ms: number): void {
    this.ledger.visited(route.peer, this.now, this.now + ms)
    this.visiting.set(route.address, this.now + ms)
    this.announce(route.address)
    this.clock.setTimeout(() => {
      this.visiting.delete(route.address)
      this.clock.setTimeout(() => {
        if (!this.visiting.has(route.address)) this.scheduler?.gone(route)
      }, BEACON_GONE_MS)
      for (const each of [...this.connections]) if (each.route.address === route.address) this.end(each, true)
    }, ms)
  }

  private announce(address: string): void {
    const route = this.routes.get(address)
    if (!route || !this.visiting.has(address)) return
    this.scheduler?.learn(route, this.spec.peers[route.peer]?.hops ?? null)
    const process = this.process
    this.clock.setTimeout(() => {
      if (process === this.process) this.announce(address)
    }, BEACON_MS)
  }

  // ---- dials --------------------------------------------------------------------------------------------------------

  private isUp(peer: PeerSpec, route: RouteSpec): boolean {
    return route.isLocal ? this.visiting.has(route.address) : route.isAlive && contains(peer.up, this.now)
  }

  private dial(address: string, cb: (error: unknown, rpc?: Rpc) => void): void {
    const { clock, process } = this
    const route = this.routes.get(address)
    const peer = route && this.spec.peers[route.peer]
    const number = ++this.lastNumber
    this.ledger.dialed(number, route ?? null, this.now)
    const settle = (ms: number, error: Error): void => {
      clock.setTimeout(() => {
        this.ledger.dialEnded(number, this.now)
        if (process === this.process) cb(error)
      }, ms)
    }
    if (!route || !peer) return settle(1, failure('EINVAL', address))
    if (!this.linkUp && !route.isLocal)
      return this.linkIsKnown
        ? settle(1, failure('ENETUNREACH', address))
        : settle(TCP_GIVES_UP_MS, failure('ETIMEDOUT', address))
    if (!this.isUp(peer, route))
      return peer.refuses && route.isAlive === contains(peer.up, this.now) && !route.isLocal
        ? settle(peer.rttMs, failure('ECONNREFUSED', address))
        : settle(TCP_GIVES_UP_MS, failure('ETIMEDOUT', address))
    // Nothing ends this one but the other side's machine.
    if (peer.behaviour === 'hangs') return settle(15 * MINUTE, failure('ECONNRESET', address))
    clock.setTimeout(() => {
      this.ledger.dialEnded(number, this.now)
      if (process !== this.process) return
      if (!this.isUp(peer, route) || (!this.linkUp && !route.isLocal)) return cb(failure('ECONNRESET', address))
      const connection = this.open(number, peer, route)
      cb(null, connection.rpc)
      this.ledger.settled(this.now)
    }, ROUND_TRIPS * peer.rttMs)
  }

  private open(number: number, peer: PeerSpec, route: RouteSpec): Connection {
    const rpc = new SimulatedRpc(
      peer.id,
      route.address,
      (cb) => {
        if (rpc.closed) return void cb?.()
        this.end(connection, false)
        this.clock.setTimeout(() => {
          rpc.emit('closed')
          cb?.()
        }, 1)
      },
      () =>
        new Promise((resolve) => {
          if (!connection.isDead && !rpc.closed) this.later(connection, peer.rttMs, resolve)
        }),
    )
    rpc.setMaxListeners(0)
    const connection: Connection = {
      number,
      peer,
      route,
      rpc,
      openedAt: this.now,
      isDead: false,
      timers: new Set(),
      pump: null,
      quiet: null,
    }
    this.connections.add(connection)
    this.ledger.opened(number, peer.index, route, this.now)
    if (!route.isLocal) {
      const downAt = endOf(peer.up, this.now)
      if (downAt < this.spec.ms) this.later(connection, downAt - this.now, () => this.endOrDie(connection))
    }
    if (peer.behaviour === 'full') this.later(connection, SECOND, () => this.endOrDie(connection))
    else if (peer.behaviour === 'hangsUp') this.later(connection, 3 * SECOND, () => this.endOrDie(connection))
    else this.later(connection, peer.rttMs, () => this.pump(connection))
    return connection
  }

  private later(connection: Connection, ms: number, fn: () => void): unknown {
    const timer = this.clock.setTimeout(() => {
      connection.timers.delete(timer)
      fn()
    }, ms)
    connection.timers.add(timer)
    return timer
  }

  /** The other side ends it; while no word comes through, it only dies. */
  private endOrDie(connection: Connection): void {
    if (!this.linkUp && !connection.route.isLocal) connection.isDead = true
    else this.end(connection, true)
  }

  private end(connection: Connection, isTold: boolean): void {
    if (!this.connections.delete(connection)) return
    const { rpc, timers, number } = connection
    for (const timer of timers) this.clock.clearTimeout(timer)
    timers.clear()
    rpc.closed = true
    this.ledger.closed(number, this.now)
    if (isTold) rpc.emit('closed')
  }

  // ---- content ------------------------------------------------------------------------------------------------------

  private sees(connection: Connection): boolean {
    return !connection.isDead && !connection.rpc.closed && (this.linkUp || connection.route.isLocal)
  }

  /** Brings the next messages, if there are any; else waits for the next that arrives at the peer. */
  private pump(connection: Connection): void {
    if (connection.pump !== null) this.clock.clearTimeout(connection.pump)
    connection.pump = null
    if (!this.sees(connection)) return
    const { peer } = connection
    const stock = this.stock[peer.index]
    const isServing = peer.behaviour === 'serves' && stock !== undefined && stock.size > 0
    const missing = isServing ? this.missing(peer.index) : 0
    if (missing > 0) {
      const count = Math.min(missing, CHUNK)
      connection.pump = this.later(connection, Math.max(peer.rttMs / 2, (1000 * count) / RATE), () =>
        this.deliver(connection),
      )
      return
    }
    if (connection.quiet === null)
      connection.quiet = this.later(connection, CAUGHT_UP_MS, () => {
        if (this.sees(connection)) this.scheduler?.caughtUp(peer.id)
      })
    if (!isServing) return
    const nextAt = this.nextAt(peer.index)
    if (nextAt < this.spec.ms)
      connection.pump = this.later(connection, Math.max(1, nextAt - this.now), () => this.pump(connection))
  }

  private deliver(connection: Connection): void {
    connection.pump = null
    if (!this.sees(connection)) return
    const { peer } = connection
    let left = CHUNK
    let count = 0
    for (const [feed, times] of this.stock[peer.index] ?? []) {
      if (left === 0) break
      const present = this.have[feed] as number
      const there = Math.min(countUntil(times, this.now), present + left)
      if (there <= present) continue
      this.have[feed] = there
      this.ledger.delivered(feed, present, there, this.now)
      left -= there - present
      count += there - present
    }
    if (count > 0) {
      if (connection.quiet !== null) {
        this.clock.clearTimeout(connection.quiet)
        connection.timers.delete(connection.quiet)
        connection.quiet = null
      }
      this.scheduler?.received(peer.id, count)
    }
    this.pump(connection)
  }

  private missing(peer: number): number {
    let sum = 0
    for (const [feed, times] of this.stock[peer] ?? []) {
      const present = this.have[feed] as number
      // Cheap for most: the next one has not arrived.
      if (present < times.length && (times[present] as number) <= this.now) sum += countUntil(times, this.now) - present
    }
    return sum
  }

  private nextAt(peer: number): Time {
    let next = Number.POSITIVE_INFINITY
    for (const [feed, times] of this.stock[peer] ?? []) {
      const at = times[this.have[feed] as number]
      if (at !== undefined && at < next) next = at
    }
    return next
  }

  private oracle(): Oracle {
    const routeTo = (index: number): RouteSpec | null => {
      const peer = this.spec.peers[index]
      if (!peer || peer.isAttacker || (peer.behaviour !== 'serves' && peer.behaviour !== 'idle')) return null
      for (const route of peer.routes) if (this.isUp(peer, route) && (this.linkUp || route.isLocal)) return route
      for (const address of this.visiting.keys()) {
        const route = this.routes.get(address)
        if (route?.peer === index) return route
      }
      return null
    }
    return {
      routeTo,
      missingAt: (peer) => this.missing(peer),
      nextAt: (peer) => this.nextAt(peer),
      staleness: (peer) => {
        let sum = 0
        for (const [feed, times] of this.stock[peer] ?? []) {
          const at = times[this.have[feed] as number]
          if (at !== undefined && at <= this.now) sum += this.now - at + SECOND
        }
        return sum
      },
      isConnected: (peer) => {
        for (const each of this.connections) if (each.peer.index === peer && !each.isDead) return true
        return false
      },
    }
  }
}
