/** Pull-streams that a test feeds by hand, as fakes of other plugins give them. */
import type * as pull from 'pull-stream'

type Answer<T> = (end: true | Error | null, data?: T) => void

/** A source with a queue. What is pushed after its end, or after the reader has left, is dropped. */
export class Pushable<T = unknown> {
  /** Whether the reader has ended it. */
  isAborted = false
  private readonly queue: T[] = []
  private end: true | Error | null = null
  private waiting: Answer<T> | null = null

  constructor(items: readonly T[] = []) {
    this.queue.push(...items)
  }

  readonly source: pull.Source<T> = (abort, cb) => {
    if (abort) {
      this.isAborted = true
      this.end ??= abort
      this.queue.length = 0
      const { waiting } = this
      this.waiting = null
      waiting?.(abort)
      cb(abort)
      return
    }
    this.waiting = cb
    this.answer()
  }

  push(...items: readonly T[]): void {
    if (this.end) return
    this.queue.push(...items)
    this.answer()
  }

  /** After what is queued. */
  finish(reason: true | Error = true): void {
    this.end ??= reason
    this.answer()
  }

  private answer(): void {
    const { waiting: cb } = this
    if (!cb || (this.queue.length === 0 && !this.end)) return
    this.waiting = null
    if (this.queue.length > 0) cb(null, this.queue.shift())
    else cb(this.end)
  }
}
