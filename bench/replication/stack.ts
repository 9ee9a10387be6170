/** A stack of stubs around a replication scheduler: what it asks for is there, costs next to nothing, and is counted. */
import pull = require('pull-stream')
import hoox = require('hoox')

import type { Friends } from './graph'

/** Counts what it is told. */
export class CountingEbt {
  requests = 0
  /** Of these: requests to stop. */
  drops = 0
  blocksOfOthers = 0
  blocksOfSelf = 0
  /** Feeds that are requested now; not kept unless asked for, as it takes time. */
  readonly wanted: Set<string> | null
  private awaited: { readonly isDone: () => boolean; readonly done: () => void } | null = null

  constructor(
    private readonly self: string,
    isKept = false,
  ) {
    this.wanted = isKept ? new Set() : null
  }

  readonly request = (feed: string, isWanted: boolean): void => {
    this.requests++
    if (!isWanted) this.drops++
    if (this.wanted) {
      if (isWanted) this.wanted.add(feed)
      else this.wanted.delete(feed)
    }
    if (this.awaited?.isDone()) this.awaited.done()
  }

  readonly block = (source: string, dest: string): void => {
    if (source === this.self || dest === this.self) this.blocksOfSelf++
    else this.blocksOfOthers++
  }

  readonly registerFormat = (): void => {}

  calls(): number {
    return this.requests + this.blocksOfOthers + this.blocksOfSelf
  }

  /** Resolves in the turn of the request after which `isDone` says so; false when the time is over first. */
  after(isDone: () => boolean, limitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (isInTime: boolean): void => {
        clearTimeout(timer)
        this.awaited = null
        resolve(isInTime)
      }
      const timer = setTimeout(() => end(false), limitMs)
      this.awaited = { isDone, done: () => end(true) }
      if (isDone()) end(true)
    })
  }
}

/** As ssb-db2 tells of its catch-up indexing. */
export class Indexing {
  private readonly listeners = new Set<(active: number) => void>()
  private active = 0

  set(active: number): void {
    this.active = active
    for (const listener of [...this.listeners]) listener(active)
  }

  readonly observe = (listener: (active: number) => void, isImmediate?: boolean): (() => void) => {
    this.listeners.add(listener)
    if (isImmediate !== false) listener(this.active)
    return () => this.listeners.delete(listener)
  }
}

const NEVER: pull.Source<never> = (abort, cb) => {
  if (abort) cb(abort)
}

interface Operations {
  readonly meta?: { readonly live?: unknown }
}

/** A database without messages: what was there ends at once, what is live never. */
function emptyQuery(...operators: readonly ((operations: object) => object)[]): unknown {
  let operations: Operations = { meta: {} }
  for (const operator of operators.slice(0, -1)) operations = operator(operations)
  return operations.meta?.live === undefined ? pull.empty() : NEVER
}

export interface Stack {
  readonly sbot: object
  readonly indexing: Indexing
  readonly close: () => void
}

export function makeStack(self: string, friends: Friends, ebt: CountingEbt, neighbours: readonly object[] = []): Stack {
  const indexing = new Indexing()
  const close = hoox(() => {})
  const sbot = {
    id: self,
    friends: friends.api,
    ebt,
    peers: Object.fromEntries(neighbours.map((rpc, i) => [(rpc as { id?: string }).id ?? i, [rpc]])),
    close,
    on: () => {},
    removeListener: () => {},
    emit: () => {},
    getSubset: () => pull.empty(),
    conn: { hub: () => ({ listen: () => NEVER }) },
    db: {
      getIndexingActive: () => indexing.observe,
      operators: require('ssb-db2/operators') as object,
      query: emptyQuery,
      addOOO: (_: unknown, cb: (error?: unknown) => void) => setImmediate(cb),
      onMsgAdded: () => () => {},
    },
    metafeeds: {
      branchStream: ({ old, live }: { old?: boolean; live?: boolean }) =>
        live || old === false ? NEVER : pull.empty(),
      findOrCreate: (cb: (error: unknown) => void) => cb(new Error('there is none')),
    },
  }
  return { sbot, indexing, close: () => close() }
}
