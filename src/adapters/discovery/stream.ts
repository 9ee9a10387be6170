/**
 * What the sources have in common: finding a plugin that may be loaded after us, and reading a stream of it. Whatever the
 * plugin or its stream does, throw, end, fail, answer twice or give rubbish, is said to the log and stays here.
 */
import { errorInfo } from '../../core/errors'
import { unref } from '../../shell/clock'
import type { DiscoveryContext } from './source'

type Tools = Pick<DiscoveryContext, 'clock' | 'log'>
type PullSource = (abort: unknown, cb: (end: unknown, item?: unknown) => void) => unknown

/** Of a stream that does not say how it wants to be read: items taken in one go before others get their turn. */
const MAX_IN_A_ROW = 200
const TURN_PAUSE_MS = 1

/**
 * Starts with the plugin that `find` gives; looks now and, where it is not there yet, once more when all plugins are loaded:
 * stacks load them in any order, but within one turn. Returns what ends the waiting or what was started.
 */
export function whenLoaded<T>(
  { clock, log }: Tools,
  what: string,
  find: () => T | null,
  start: (found: T) => () => void,
): () => void {
  let isOver = false
  let stop: (() => void) | null = null
  const end = (): void => {
    const stopNow = stop
    stop = null
    attempt(log, what, () => stopNow?.())
  }
  const look = (): boolean => {
    let isFound = true
    attempt(log, what, () => {
      const found = find()
      isFound = found !== null
      if (found !== null) stop = start(found)
    })
    // Something that was told on the way may have ended it.
    if (isOver) end()
    return isFound
  }
  if (!look())
    clock.defer(() => {
      if (!isOver && !look()) log(`${what} is not there`)
    })
  return () => {
    isOver = true
    end()
  }
}

export interface Reading {
  /** `enough` aborts the source. */
  // biome-ignore lint/suspicious/noConfusingVoidType: most readers have nothing to say
  readonly onItem: (item: unknown) => void | 'enough'
  /** The source has ended by itself, well or not; not called once reading was stopped. */
  readonly onEnd?: (hasFailed: boolean) => void
  /** For a source that may have very much to give: it is asked for this many, then left alone for a while. */
  readonly slice?: { readonly items: number; readonly pauseMs: number }
}

/** Reads a pull-stream, one item at a time. Returns what aborts it, after which nothing is handed on. */
export function readStream({ clock, log }: Tools, what: string, open: () => unknown, reading: Reading): () => void {
  const { onItem, onEnd, slice } = reading
  const maxInARow = slice?.items ?? MAX_IN_A_ROW
  const pauseMs = slice?.pauseMs ?? TURN_PAUSE_MS
  let source: PullSource | null = null
  let isOver = false
  let taken = 0
  let timer: unknown = null

  const finish = (end: unknown): void => {
    if (isOver) return
    isOver = true
    if (end !== true) log(`${what} failed: ${errorInfo(end).message}`)
    attempt(log, what, () => onEnd?.(end !== true))
  }

  const abort = (): void => {
    if (isOver) return
    isOver = true
    clock.clearTimeout(timer)
    attempt(log, what, () => source?.(true, () => {}))
  }

  const take = (end: unknown, item: unknown): void => {
    if (isOver) return
    if (end) return finish(end)
    taken++
    attempt(log, what, () => {
      if (onItem(item) === 'enough') abort()
    })
  }

  const pause = (): void => {
    timer = clock.setTimeout(() => {
      timer = null
      taken = 0
      read()
    }, pauseMs)
    unref(timer)
  }

  /** A loop where the source answers at once: a recursion per item would overflow the stack. */
  const read = (): void => {
    while (!isOver && source) {
      if (taken >= maxInARow) return pause()
      let isAnswered = false
      let isSync = true
      try {
        source(null, (end, item) => {
          if (isAnswered) return
          isAnswered = true
          // Whoever makes us wait leaves the others their turn.
          if (!isSync && !slice) taken = 0
          take(end, item)
          if (!isSync) read()
        })
      } catch (error) {
        finish(error)
      }
      isSync = false
      if (!isAnswered) return
    }
  }

  try {
    const opened = open()
    if (typeof opened === 'function') source = opened as PullSource
    else finish(new TypeError('not a stream'))
  } catch (error) {
    finish(error)
  }
  read()
  return abort
}

/** Runs it; what it throws is said. */
export function attempt(log: (message: string) => void, what: string, fn: () => void): void {
  try {
    fn()
  } catch (error) {
    log(`${what}: ${errorInfo(error).message}`)
  }
}
