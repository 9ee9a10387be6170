/** Arithmetic on intervals `from, to, from, to, …`, sorted and apart. */
import type { Intervals, Time } from './types'

/** Index of the first bound later than `at`. Odd: `at` is inside. */
function boundAfter(intervals: Intervals, at: Time): number {
  let low = 0
  let high = intervals.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((intervals[middle] as number) <= at) low = middle + 1
    else high = middle
  }
  return low
}

export function contains(intervals: Intervals, at: Time): boolean {
  return boundAfter(intervals, at) % 2 === 1
}

/** When the interval around `at` ends; `at` itself if there is none. */
export function endOf(intervals: Intervals, at: Time): Time {
  const index = boundAfter(intervals, at)
  return index % 2 === 1 ? (intervals[index] ?? Number.POSITIVE_INFINITY) : at
}

/** `at` if inside, else the start of the next interval; Infinity if there is none. */
export function nextInside(intervals: Intervals, at: Time): Time {
  const index = boundAfter(intervals, at)
  return index % 2 === 1 ? at : (intervals[index] ?? Number.POSITIVE_INFINITY)
}

/** Time inside within `[from, to)`. */
export function lengthWithin(intervals: Intervals, from: Time, to: Time): number {
  let sum = 0
  for (let i = Math.max(0, boundAfter(intervals, from) - 1) & ~1; i < intervals.length; i += 2) {
    const start = Math.max(intervals[i] as number, from)
    if (start >= to) break
    sum += Math.max(0, Math.min(intervals[i + 1] ?? Number.POSITIVE_INFINITY, to) - start)
  }
  return sum
}

/** The integral of `t - since` over the part of `[from, to)` that is inside. */
export function ageWithin(intervals: Intervals, since: Time, from: Time, to: Time): number {
  let sum = 0
  for (let i = Math.max(0, boundAfter(intervals, from) - 1) & ~1; i < intervals.length; i += 2) {
    const start = Math.max(intervals[i] as number, from)
    if (start >= to) break
    const end = Math.min(intervals[i + 1] ?? Number.POSITIVE_INFINITY, to)
    if (end > start) sum += ((end - since) ** 2 - (start - since) ** 2) / 2
  }
  return sum
}
