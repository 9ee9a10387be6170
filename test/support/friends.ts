/**
 * ssb-friends without a database: the graph of the real ssb-friends 4 (`friendsOnPaper`), whose hops and streams are those
 * of version 5 too, as both are layered-graph; and one whose every misbehaviour the test chooses (`FakeFriends`).
 */
import type * as pull from 'pull-stream'
import type { Sbot } from '../../src/adapters/sbot'

type Hops = Record<string, unknown>
type HopsCallback = (error?: unknown, hops?: unknown) => void

/** As a contact message says it. */
export const FOLLOW = 1
export const BLOCK = -1
/** Unfollowed, or unblocked. */
export const NEITHER = -2

export interface PaperFriends {
  readonly friends: { hopStream(options: object): pull.Source<Hops>; hops(options: object, cb: HopsCallback): void }
  readonly say: (from: string, to: string, what: number) => void
  /** The index is read again: the whole graph goes down the stream once more. */
  readonly reload: () => void
  /** As it is now. */
  readonly hopsNow: () => Record<string, number>
}

type Layer = (from: string | object, to?: string, value?: number) => void

interface Friends4 {
  init(sbot: object, config: object): PaperFriends['friends'] & { createLayer(name: string): Layer }
}

export function friendsOnPaper(selfId: string, hops = 2): PaperFriends {
  const { init } = require('ssb-friends-4') as Friends4
  const noLog = { id: selfId, _flumeUse: () => ({ get: (cb: (error: null, graph: object) => void) => cb(null, {}) }) }
  const friends = init(noLog, { friends: { hops, hookAuth: false, hookReplicate: false } })
  const layer = friends.createLayer('paper')
  const said: Record<string, Record<string, number>> = {}
  layer(said)
  return {
    friends,
    say: (from, to, what) => {
      said[from] = { ...said[from], [to]: what }
      layer(from, to, what)
    },
    reload: () => layer(said),
    hopsNow: () => {
      let now: Record<string, number> = {}
      friends.hops({}, (_, found) => {
        now = { ...(found as Record<string, number>) }
      })
      return now
    },
  }
}

export class FakeFriends {
  /** What `hops` calls back with; the first item of each stream. */
  whole: Hops = {}
  /** What `hops` does. */
  onHops: 'answer' | 'wait' | 'throw' | 'fail' | 'twice' = 'answer'
  onStream: 'open' | 'throw' = 'open'
  /** How often `hops` was asked. */
  asked = 0
  /** Streams opened so far, and those that are open. */
  opened = 0
  get open(): number {
    return this.readers.length
  }

  private readers: { queue: unknown[]; cb: ((end: true | Error | null, item?: unknown) => void) | null }[] = []
  private waiting: HopsCallback[] = []

  hops(_options: object, cb: HopsCallback): void {
    this.asked++
    if (this.onHops === 'throw') throw new Error('hops is broken')
    if (this.onHops === 'fail') return cb(new Error('no index'))
    if (this.onHops === 'wait') {
      this.waiting.push(cb)
      return
    }
    cb(null, this.whole)
    if (this.onHops === 'twice') cb(null, {})
  }

  hopStream(
    _options: object,
  ): (abort: true | Error | null, cb: (end: true | Error | null, item?: unknown) => void) => void {
    if (this.onStream === 'throw') throw new Error('hopStream is broken')
    this.opened++
    const reader: (typeof this.readers)[number] = { queue: [{ ...this.whole }], cb: null }
    this.readers.push(reader)
    return (abort, cb) => {
      if (abort) {
        this.readers = this.readers.filter((each) => each !== reader)
        reader.cb?.(abort)
        return cb(abort)
      }
      if (reader.queue.length > 0) return cb(null, reader.queue.shift())
      reader.cb = cb
    }
  }

  /** What has changed; becomes part of the whole. */
  tell(change: Hops): void {
    for (const [id, hops] of Object.entries(change)) {
      if (hops === undefined) delete this.whole[id]
      else this.whole[id] = hops
    }
    this.send(change)
  }

  send(item: unknown): void {
    for (const reader of [...this.readers]) {
      const { cb } = reader
      reader.cb = null
      if (cb) cb(null, item)
      else reader.queue.push(item)
    }
  }

  /** The index is up to date. */
  answer(): void {
    for (const cb of this.waiting.splice(0)) cb(null, this.whole)
  }

  end(error?: Error): void {
    const ended = this.readers
    this.readers = []
    for (const { cb } of ended) cb?.(error ?? true)
  }
}

/** A stack with nothing but ssb-friends, or without it. */
export function stackWith(selfId: string, friends?: unknown): Sbot {
  return { id: selfId, connect: () => {}, ...(friends === undefined ? {} : { friends }) }
}
