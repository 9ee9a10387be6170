/**
 * Reads a source of somebody else, who may answer at once or never, twice, with an exception, or without end. What is read
 * takes time to verify, so after some items timers and sockets go first.
 */
import type * as pull from 'pull-stream'

import type { Clock } from '../shell/clock'

export interface Reader<T> {
  /** False: enough; the source is told, and nothing more is called. */
  readonly item: (item: T) => boolean
  /** At most once; null for the normal end. */
  readonly end: (error: unknown) => void
}

/** Some 5 ms of checking signatures. */
const ITEMS_PER_SLICE = 32

/** Returns a function that stops it: the source is told, and nothing more is called. */
export function readGently<T>(clock: Clock, source: pull.Source<T>, reader: Reader<T>): () => void {
  let isOver = false
  let timer: unknown = null
  let count = 0

  const ask = (abort: pull.Abort, cb: (end: pull.Abort, item?: T) => void): void => {
    let isAnswered = false
    const once = (end: pull.Abort, item?: T): void => {
      if (isAnswered) return
      isAnswered = true
      cb(end, item)
    }
    try {
      source(abort, once)
    } catch (error) {
      once(error instanceof Error ? error : new Error('the source failed', { cause: error }))
    }
  }

  const stop = (): void => {
    if (isOver) return
    isOver = true
    if (timer !== null) clock.clearTimeout(timer)
    timer = null
    ask(true, () => {})
  }

  const take = (end: pull.Abort, item?: T): void => {
    if (isOver) return
    if (end) {
      isOver = true
      reader.end(end === true ? null : end)
      return
    }
    count++
    if (!reader.item(item as T)) stop()
  }

  const pauseOr = (goOn: () => void): void => {
    if (count % ITEMS_PER_SLICE !== 0) {
      goOn()
      return
    }
    timer = clock.setTimeout(() => {
      timer = null
      read()
    }, 0)
  }

  /** A loop where the source answers at once: a recursion for each item would overflow the stack. */
  const read = (): void => {
    let isAgain = true
    while (isAgain && !isOver) {
      isAgain = false
      let isSync = true
      ask(null, (end, item) => {
        take(end, item)
        if (isOver) return
        pauseOr(() => {
          if (isSync) isAgain = true
          else read()
        })
      })
      isSync = false
    }
  }

  read()
  return stop
}
