/** Figures for the small plots, and the same in words for those who do not see them. Pure. */
import type { EpochMs } from '../../core/types'
import type { HistoryEntry } from '../protocol'
import { clean, count, listed, milliseconds, percent, plural } from './format'
import type { Shown } from './timeline-layout'

export interface Outcomes {
  /** Start of each bucket. */
  readonly times: readonly EpochMs[]
  readonly succeeded: readonly number[]
  readonly failed: readonly number[]
  /** The most frequent first, at most three. */
  readonly errors: readonly { readonly error: string; readonly count: number }[]
}

/** Dials of ours by the time at which they came out. */
export function outcomes(entries: Iterable<Shown>, from: EpochMs, to: EpochMs, buckets: number): Outcomes {
  const step = (to - from) / buckets
  const succeeded = new Array<number>(buckets).fill(0)
  const failed = new Array<number>(buckets).fill(0)
  const errors = new Map<string, number>()
  for (const entry of entries) {
    if (entry.kind === 'connection' && entry.direction === 'inbound') continue
    const at = entry.kind === 'failed' ? entry.to : entry.from
    if (at < from || at > to) continue
    const bucket = Math.min(buckets - 1, Math.floor((at - from) / step))
    const counts = entry.kind === 'failed' ? failed : succeeded
    counts[bucket] = (counts[bucket] as number) + 1
    if (entry.kind === 'failed') {
      const error = clean(entry.error, 60)
      if (errors.has(error) || errors.size < 1000) errors.set(error, (errors.get(error) ?? 0) + 1)
    }
  }
  return {
    times: succeeded.map((_, i) => from + i * step),
    succeeded,
    failed,
    errors: [...errors]
      .map(([error, n]) => ({ error, count: n }))
      .sort((a, b) => b.count - a.count)
      .slice(0, 3),
  }
}

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0)

export function outcomesSentence({ succeeded, failed, errors }: Outcomes, span: string): string {
  const good = sum(succeeded)
  const all = good + sum(failed)
  if (all === 0) return `No dial in ${span}.`
  const why =
    errors.length === 0 ? '' : ` Failures: ${listed(errors.map((each) => `${count(each.count)} × ${each.error}`))}.`
  return `${plural(all, 'dial')} in ${span}: ${count(good)} succeeded (${percent(good / all)}), ${count(all - good)} failed.${why}`
}

export interface RoundTrips {
  /** Middle of each bucket that has any. */
  readonly times: readonly EpochMs[]
  readonly median: readonly number[]
  /** Nine in ten are below. */
  readonly high: readonly number[]
  readonly count: number
  readonly peers: number
  /** Over the whole span; null: nothing was measured. */
  readonly overall: { readonly median: number; readonly high: number } | null
}

const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number

export function roundTrips(
  entries: Iterable<Extract<HistoryEntry, { kind: 'rtt' }>>,
  from: EpochMs,
  to: EpochMs,
  buckets: number,
): RoundTrips {
  const step = (to - from) / buckets
  const values: number[][] = Array.from({ length: buckets }, () => [])
  const peers = new Set<string>()
  for (const entry of entries) {
    if (entry.at < from || entry.at > to) continue
    values[Math.min(buckets - 1, Math.floor((entry.at - from) / step))]?.push(entry.rttMs)
    peers.add(entry.peer)
  }
  const times: EpochMs[] = []
  const median: number[] = []
  const high: number[] = []
  values.forEach((bucket, i) => {
    if (bucket.length === 0) return
    bucket.sort((a, b) => a - b)
    times.push(from + (i + 0.5) * step)
    median.push(quantile(bucket, 0.5))
    high.push(quantile(bucket, 0.9))
  })
  const all = values.reduce((some, bucket) => some.concat(bucket), []).sort((a, b) => a - b)
  return {
    times,
    median,
    high,
    count: all.length,
    peers: peers.size,
    overall: all.length === 0 ? null : { median: quantile(all, 0.5), high: quantile(all, 0.9) },
  }
}

export function roundTripsSentence(trips: RoundTrips, span: string): string {
  if (trips.overall === null) return `No round trip was measured in ${span}.`
  return (
    `Half of ${plural(trips.count, 'round trip')} to ${plural(trips.peers, 'peer')} in ${span} took less than ` +
    `${milliseconds(trips.overall.median)}, nine in ten less than ${milliseconds(trips.overall.high)}.`
  )
}
