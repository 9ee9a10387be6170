/**
 * Live pull-stream sources. Each reader has its own bounded queue: a slow one costs memory in proportion to the number of
 * peers, never to the number of changes, and an ended one is let go of at once.
 */
import { isolated } from './calls'

/** What a pull-stream source is: `abort` true or an Error ends it; `end` true or an Error says that it has ended. */
export type Source<T> = (abort: Error | true | null, cb: (end: Error | true | null, data?: T) => void) => void

interface Reader {
  /** Something may be there to read. */
  readonly poke: () => void
  readonly end: (reason: Error | true) => void
}

/** Fan-out to readers that pull. `next` of a reader gives its next item, or undefined when there is none now. */
export class Readers {
  private readonly readers = new Set<Reader>()
  private ended: Error | true | null = null

  get size(): number {
    return this.readers.size
  }

  /** Adds a reader; `isOver` tells that it ends once it is empty, and with which error; `onEnd` is called once. */
  open<T>(next: () => T | undefined, isOver: () => Error | boolean, onEnd: () => void): Source<T> {
    let waiting: ((end: Error | true | null, data?: T) => void) | null = null
    let over: Error | true | null = null
    const finish = (reason: Error | true): void => {
      if (over) return
      over = reason
      this.readers.delete(reader)
      onEnd()
    }
    const reader: Reader = {
      poke: () => {
        if (!waiting) return
        const data = next()
        const end = data === undefined && isOver()
        if (data === undefined && !end) return
        const cb = waiting
        waiting = null
        if (!end) return cb(null, data)
        finish(end)
        cb(end)
      },
      end: (reason) => {
        finish(reason)
        const cb = waiting
        waiting = null
        if (cb) cb(reason)
      },
    }
    if (this.ended) finish(this.ended)
    else this.readers.add(reader)
    return (abort, cb) => {
      if (abort) {
        reader.end(abort)
        return cb(abort)
      }
      if (over) return cb(over)
      const data = next()
      if (data !== undefined) return cb(null, data)
      const end = isOver()
      if (end) {
        finish(end)
        return cb(end)
      }
      waiting = cb
    }
  }

  /** A reader that throws has ended; the others hear of the news all the same. */
  poke(): void {
    for (const reader of [...this.readers])
      isolated(() => {
        let isDone = false
        try {
          reader.poke()
          isDone = true
        } finally {
          if (!isDone) reader.end(true)
        }
      })
  }

  /** Ends every reader, those that come later too. */
  close(): void {
    this.ended = true
    for (const reader of [...this.readers]) isolated(() => reader.end(true))
  }
}

export interface SourceOptions {
  /** What is there now, first. Default true. */
  readonly old?: boolean
  /** Then each change. Default true. */
  readonly live?: boolean
}

/**
 * A source of keyed things: what is there, `{sync: true}`, then each change as the whole thing. A key that changes several
 * times before the reader comes back is read once, as it is then.
 */
export class KeyedSource<T> {
  private readonly readers = new Readers()
  private readonly pending = new Set<Set<string>>()

  constructor(
    private readonly keys: () => Iterable<string>,
    /** The thing as it is now; of a key that is gone, its removal notice. */
    private readonly view: (key: string) => T,
  ) {}

  open({ old = true, live = true }: SourceOptions = {}): Source<T | { readonly sync: true }> {
    const first = old ? [...this.keys()] : []
    const dirty = new Set<string>()
    let dirtyKeys: Iterator<string> | null = null
    let at = 0
    let isSynced = !old
    if (live) this.pending.add(dirty)
    const next = (): T | { readonly sync: true } | undefined => {
      if (at < first.length) {
        const key = first[at++] as string
        // Read as it is now, so that the change that led to it need not come again.
        dirty.delete(key)
        return this.view(key)
      }
      if (!isSynced) {
        isSynced = true
        first.length = 0
        at = 0
        return { sync: true }
      }
      // One iterator for many reads: each new one walks over the places of all that was taken out before.
      dirtyKeys ??= dirty.values()
      const { done, value } = dirtyKeys.next()
      if (done) {
        dirtyKeys = null
        return undefined
      }
      dirty.delete(value)
      return this.view(value)
    }
    return this.readers.open(
      next,
      () => !live,
      () => this.pending.delete(dirty),
    )
  }

  get size(): number {
    return this.readers.size
  }

  changed(keys: readonly string[]): void {
    if (this.pending.size === 0) return
    for (const dirty of this.pending) for (const key of keys) dirty.add(key)
    this.readers.poke()
  }

  close(): void {
    this.readers.close()
  }
}

/** A source of one value: as it is now, then as it is after each change; a slow reader is given the newest only. */
export class ValueSource<T> {
  private readonly readers = new Readers()

  constructor(private readonly read: () => T) {}

  open(): Source<T> {
    let last: T | undefined
    return this.readers.open(
      () => {
        const value = this.read()
        if (value === last) return undefined
        last = value
        return value
      },
      () => false,
      () => {},
    )
  }

  get size(): number {
    return this.readers.size
  }

  changed(): void {
    this.readers.poke()
  }

  close(): void {
    this.readers.close()
  }
}

/**
 * A source of the whole: as it is now, then again after each turn in which it has changed. However much happens in a turn is
 * one item, a slow reader is given the newest only, and while nobody reads nothing is made.
 */
export class SnapshotSource<T> {
  private readonly readers = new Readers()
  private changeCount = 0
  private isDeferred = false

  constructor(private readonly defer: (fn: () => void) => void) {}

  /** `read` makes the item for this reader. */
  open(read: () => T): Source<T> {
    let seen = -1
    return this.readers.open(
      () => {
        // The first at once; later ones when the turn is over.
        if (seen === this.changeCount || (seen >= 0 && this.isDeferred)) return undefined
        seen = this.changeCount
        return read()
      },
      () => false,
      () => {},
    )
  }

  changed(): void {
    if (this.readers.size === 0) return
    this.changeCount++
    if (this.isDeferred) return
    this.isDeferred = true
    this.defer(() => {
      this.isDeferred = false
      this.readers.poke()
    })
  }

  close(): void {
    this.readers.close()
  }
}

/** At most this many events wait for a slow reader; beyond, older events of a peer give way to its newer ones. */
const MAX_WAITING_EVENTS = 1_000

/** A source of events as they happen. No replay. */
export class EventSource<T> {
  private readonly readers = new Readers()
  private readonly queues = new Set<T[]>()

  constructor(private readonly keyOf: (event: T) => string) {}

  /** Readers now. Whoever makes his events at some cost asks first whether anybody wants them. */
  get size(): number {
    return this.queues.size
  }

  open(): Source<T> {
    const queue: T[] = []
    this.queues.add(queue)
    return this.readers.open(
      () => queue.shift(),
      () => false,
      () => this.queues.delete(queue),
    )
  }

  push(event: T): void {
    for (const queue of this.queues) {
      queue.push(event)
      if (queue.length > MAX_WAITING_EVENTS) this.thin(queue)
    }
    this.readers.poke()
  }

  private thin(queue: T[]): void {
    const latest = new Map<string, T>()
    for (const event of queue) {
      const key = this.keyOf(event)
      latest.delete(key)
      latest.set(key, event)
    }
    queue.length = 0
    for (const event of latest.values()) queue.push(event)
    if (queue.length > MAX_WAITING_EVENTS / 2) queue.splice(0, queue.length - MAX_WAITING_EVENTS / 2)
  }

  close(): void {
    this.readers.close()
  }
}
