/** Running mean and deviation in the shape that the legacy tables use: `{mean, stdev, count, sum, sqsum}`. */
import type { Stats } from './types'

export function addToStats(stats: Stats | null, value: number): Stats {
  const count = (stats ? stats.count : 0) + 1
  const sum = (stats ? stats.sum : 0) + value
  const sqsum = (stats ? stats.sqsum : 0) + value * value
  return statsOf(count, sum, sqsum)
}

/** The figures that follow from the sums. `count` is at least 1. */
export function statsOf(count: number, sum: number, sqsum: number): Stats {
  const mean = sum / count
  return { mean, stdev: Math.sqrt(Math.max(0, sqsum / count - mean * mean)), count, sum, sqsum }
}

export function isSameStats(a: Stats | null, b: Stats | null): boolean {
  return a === b || (a?.count === b?.count && a?.sum === b?.sum && a?.sqsum === b?.sqsum)
}
