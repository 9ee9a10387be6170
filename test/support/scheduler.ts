/**
 * A replication scheduler on a stack of paper: the real layered-graph behind the API of ssb-friends 5, an ssb-ebt that writes
 * down what it is told, and a virtual clock.
 */
import pull = require('pull-stream')
import createLayeredGraph = require('layered-graph')

import type { Sbot } from '../../src/adapters/sbot'
import { createReplicationScheduler } from '../../src/replication/plugin'
import { type VirtualClock, virtualClock } from '../../src/testing'

import hoox = require('hoox')

export type Cb = (error?: unknown, value?: unknown) => void
export type Graph = Record<string, Record<string, number | null>>

/** `request <feed> true`, `block <source> <dest> false` */
export type Call =
  | readonly ['request', feed: string, isWanted: boolean]
  | readonly ['block', source: string, dest: string, isBlocking: boolean]

export const FOLLOW = 1
export const BLOCK = -1
export const UNFOLLOW = -2
export const SAME_AS = 0

/** What ssb-ebt was told, and what follows from it. */
export class PaperEbt {
  /** Since they were last taken. */
  readonly calls: Call[] = []
  private readonly all: Call[] = []
  readonly formats: { readonly name: string }[] = []

  request = (feed: string, isWanted: boolean): void => {
    this.note(['request', feed, isWanted])
  }

  block = (source: string, dest: string, isBlocking: boolean): void => {
    this.note(['block', source, dest, isBlocking])
  }

  private note(call: Call): void {
    this.calls.push(call)
    this.all.push(call)
  }

  registerFormat = (format: { readonly name: string }): void => {
    this.formats.push(format)
  }

  /** Feeds that it would replicate now. */
  requested(): string[] {
    const last = new Map<string, boolean>()
    for (const call of this.all) if (call[0] === 'request') last.set(call[1], call[2])
    return [...last].filter(([, isWanted]) => isWanted).map(([feed]) => feed)
  }

  /** Pairs that block each other, `source>dest`. */
  blocks(): string[] {
    const last = new Map<string, boolean>()
    for (const call of this.all) if (call[0] === 'block') last.set(`${call[1]}>${call[2]}`, call[3])
    return [...last].filter(([, isBlocking]) => isBlocking).map(([pair]) => pair)
  }

  /** What came since the last time. */
  take(): Call[] {
    return this.calls.splice(0)
  }
}

/** The social graph of the real ssb-friends 5, without a database below it. */
export class PaperFriends {
  private readonly layered: ReturnType<typeof createLayeredGraph>
  private update: (from: string | Graph, to?: string, value?: number | null) => unknown
  private readonly said: Graph = {}
  /** How often each method was called. */
  readonly uses = { hops: 0, hopStream: 0, graph: 0, graphStream: 0 }

  constructor(self: string, max = 3) {
    this.layered = createLayeredGraph({ start: self, max })
    this.update = this.layered.createLayer('contacts')
    this.update({})
  }

  say(from: string, to: string, value: number | null): void {
    this.said[from] = { ...this.said[from], [to]: value }
    this.update(from, to, value)
  }

  /** All at once, as an index does that has been read from disk. */
  load(graph: Graph): void {
    for (const from of Object.keys(graph)) this.said[from] = { ...this.said[from], ...graph[from] }
    this.update(structuredClone(this.said))
  }

  /** As ssb-friends does when its index is built anew: everything is forgotten, then said again one by one. */
  reset(): void {
    this.layered.reset()
    this.update = this.layered.createLayer('contacts')
    this.update({})
  }

  /** The same graph as before, by way of nothing. */
  rebuild(): void {
    this.reset()
    for (const [from, tos] of Object.entries(this.said))
      for (const [to, value] of Object.entries(tos)) this.update(from, to, value)
  }

  hopsNow(): Record<string, number> {
    return { ...(this.layered.getHops() as Record<string, number>) }
  }

  graphNow(): Graph {
    return structuredClone(this.layered.getGraph()) as Graph
  }

  readonly api = {
    hops: (opts: object, cb: Cb): void => {
      this.uses.hops++
      this.layered.onReady(() => cb(null, this.layered.getHops(opts)))
    },
    graph: (cb: Cb): void => {
      this.uses.graph++
      this.layered.onReady(() => cb(null, this.layered.getGraph()))
    },
    hopStream: (opts: object): unknown => {
      this.uses.hopStream++
      return this.layered.hopStream(opts)
    },
    graphStream: ({ old }: { old?: boolean }): unknown => {
      this.uses.graphStream++
      const queue: unknown[] = old ? [this.layered.getGraph()] : []
      let waiting: Cb | null = null
      let isOver = false
      const remove = this.layered.onEdge((from, to, value) => {
        const item = { [from]: { [to]: value } }
        if (!waiting) return void queue.push(item)
        const cb = waiting
        waiting = null
        cb(null, item)
      })
      return (abort: unknown, cb: Cb): void => {
        if (abort || isOver) {
          isOver = true
          remove()
          const last = waiting
          waiting = null
          last?.(true)
          return cb(abort ?? true)
        }
        if (queue.length > 0) cb(null, queue.shift())
        else waiting = cb
      }
    },
  }
}

/** An observable number, as ssb-db2 tells of its indexing. */
export class PaperIndexing {
  private readonly listeners = new Set<(active: number) => void>()
  active = 0

  set(active: number): void {
    this.active = active
    for (const listener of [...this.listeners]) listener(active)
  }

  observe = (listener: (active: number) => void, isImmediate?: boolean): (() => void) => {
    this.listeners.add(listener)
    if (isImmediate !== false) listener(this.active)
    return () => this.listeners.delete(listener)
  }

  get size(): number {
    return this.listeners.size
  }
}

export interface PaperStackOptions {
  readonly self: string
  readonly config?: Readonly<Record<string, unknown>>
  readonly friends?: object
  readonly ebt?: object
  /** Other plugins, by name. */
  readonly plugins?: Readonly<Record<string, unknown>>
}

/** A bare stack with what the scheduler needs. */
export function paperSbot({ self, friends, ebt, plugins }: PaperStackOptions) {
  const listeners = new Map<string, ((...args: unknown[]) => void)[]>()
  const close = hoox(() => {})
  const warnings: string[] = []
  const sbot = {
    id: self,
    friends,
    ebt,
    peers: {},
    close,
    on: (event: string, listener: (...args: unknown[]) => void) => {
      listeners.set(event, [...(listeners.get(event) ?? []), listener])
    },
    emit: (event: string, ...args: unknown[]) => {
      if (event === 'log:warning') warnings.push(String((args[0] as string[])[2]))
      for (const listener of listeners.get(event) ?? []) listener(...args)
    },
    ...plugins,
  }
  return { sbot: sbot as unknown as Sbot, close: () => close(), emit: sbot.emit, warnings }
}

export interface SchedulerBench {
  readonly clock: VirtualClock
  readonly ebt: PaperEbt
  readonly friends: PaperFriends
  readonly indexing: PaperIndexing
  readonly scheduler: ReturnType<typeof createReplicationScheduler>
  readonly sbot: Sbot
  readonly warnings: readonly string[]
  readonly emit: (event: string, ...args: unknown[]) => void
  readonly close: () => void
}

/** A scheduler on a graph of paper. `graph`: there before it starts. */
export function schedulerBench(
  self: string,
  options: {
    readonly graph?: Graph
    readonly max?: number
    readonly config?: Readonly<Record<string, unknown>>
    readonly plugins?: Readonly<Record<string, unknown>>
    readonly withDb?: boolean
  } = {},
): SchedulerBench {
  const clock = virtualClock()
  const ebt = new PaperEbt()
  const friends = new PaperFriends(self, options.max)
  if (options.graph) friends.load(options.graph)
  const indexing = new PaperIndexing()
  const db = { getIndexingActive: () => indexing.observe }
  const plugins = { ...(options.withDb === false ? {} : { db }), ...options.plugins }
  const { sbot, close, emit, warnings } = paperSbot({ self, friends: friends.api, ebt, plugins })
  const scheduler = createReplicationScheduler({
    sbot,
    config: { replicationScheduler: options.config ?? {} },
    clock,
  })
  return { clock, ebt, friends, indexing, scheduler, sbot, warnings, emit, close }
}

/** Everything that a source has to give now. */
export function readNow<T>(source: unknown): T[] {
  const items: T[] = []
  pull(
    source as pull.Source<T>,
    pull.drain((item) => {
      items.push(item)
    }),
  )
  return items
}
