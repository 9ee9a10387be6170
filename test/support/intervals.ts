/** Intervals that other people's plugins set and never clear: seen, so that a test can run them at will, and ends. */

export interface Interval {
  readonly fn: () => void
  readonly ms: number
  clear(): void
}

export interface WatchedIntervals {
  /** Those that were set so far, oldest first. */
  readonly intervals: readonly Interval[]
  /** Sees no more, and clears all. */
  restore(): void
}

export function watchIntervals(): WatchedIntervals {
  const { setInterval } = globalThis
  const intervals: Interval[] = []
  globalThis.setInterval = ((fn: () => void, ms: number, ...args: unknown[]) => {
    const timer = (setInterval as (...args: unknown[]) => NodeJS.Timeout)(fn, ms, ...args)
    intervals.push({ fn, ms, clear: () => clearInterval(timer) })
    return timer
  }) as typeof setInterval
  return {
    intervals,
    restore: () => {
      globalThis.setInterval = setInterval
      for (const interval of intervals) interval.clear()
    },
  }
}
