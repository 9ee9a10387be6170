/** The timeline of connections and failed dials: rows, bars and marks within a span of time. Pure. */
import type { EpochMs, FeedId } from '../../core/types'
import type { HistoryEntry } from '../protocol'

export type Shown = Exclude<HistoryEntry, { kind: 'rtt' }>
export type ConnectionEntry = Extract<HistoryEntry, { kind: 'connection' }>
export type FailedEntry = Extract<HistoryEntry, { kind: 'failed' }>

export interface Bar {
  readonly kind: 'bar'
  readonly x: number
  readonly width: number
  readonly direction: 'inbound' | 'outbound'
  /** Began before the span that is shown, or is still up. */
  readonly isOpenLeft: boolean
  readonly isOpenRight: boolean
  /** More than one where they stand too close to be told apart; in order of time. */
  readonly entries: readonly ConnectionEntry[]
}

export interface Mark {
  readonly kind: 'mark'
  readonly x: number
  /** The same, for dials that failed. */
  readonly entries: readonly FailedEntry[]
}

export interface TimelineRow {
  readonly peer: FeedId
  /** Ordered by x. */
  readonly items: readonly (Bar | Mark)[]
  readonly connections: number
  readonly failures: number
}

export interface Timeline {
  readonly rows: readonly TimelineRow[]
  /** Peers for whom there is no row. */
  readonly hidden: number
  readonly ticks: readonly { readonly x: number; readonly at: EpochMs }[]
}

export interface TimelineFrame {
  readonly from: EpochMs
  readonly to: EpochMs
  readonly width: number
  readonly rowsMax: number
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** What the timeline and the plots may show, the shortest first; `bucketMs`: of the plots, a divisor of `ms`. */
export const SPANS = {
  quarter: { text: '15 min', ms: 15 * MINUTE, bucketMs: 20_000, words: 'the last 15 minutes' },
  hour: { text: '1 h', ms: HOUR, bucketMs: MINUTE, words: 'the last hour' },
  sixHours: { text: '6 h', ms: 6 * HOUR, bucketMs: 10 * MINUTE, words: 'the last six hours' },
  day: { text: '24 h', ms: 24 * HOUR, bucketMs: 30 * MINUTE, words: 'the last day' },
} as const
export type Span = keyof typeof SPANS
export const SPAN_NAMES = Object.keys(SPANS) as readonly Span[]

/** The shortest that holds a history of `ageMs`; else the longest there is. */
export function spanFor(ageMs: number): Span {
  return SPAN_NAMES.find((name) => SPANS[name].ms >= ageMs) ?? 'day'
}

const BAR_MIN = 3
/** Closer than this they are one. */
const MARK_GAP = 7
const BAR_GAP = 1
const TICK_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].map((minutes) => minutes * 60_000)
const TICK_WIDTH = 64

export function layoutTimeline(entries: Iterable<Shown>, frame: TimelineFrame): Timeline {
  const { from, to, width } = frame
  const scale = width / Math.max(1, to - from)
  const x = (at: EpochMs): number => Math.min(width, Math.max(0, (at - from) * scale))
  const byPeer = new Map<FeedId, { list: Shown[]; lastAt: EpochMs; isUp: boolean; hasUp: boolean }>()
  for (const entry of entries) {
    const end = entry.to ?? to
    if (end < from || entry.from > to) continue
    const found = byPeer.get(entry.peer) ?? { list: [], lastAt: 0, isUp: false, hasUp: false }
    found.list.push(entry)
    found.lastAt = Math.max(found.lastAt, end)
    if (entry.kind === 'connection') {
      found.hasUp = true
      if (entry.to === null) found.isUp = true
    }
    byPeer.set(entry.peer, found)
  }
  // Who is up stands above, then who was lately, then who was only tried.
  const order = [...byPeer].sort(
    ([idA, a], [idB, b]) =>
      Number(b.isUp) - Number(a.isUp) ||
      Number(b.hasUp) - Number(a.hasUp) ||
      (a.isUp && b.isUp ? 0 : b.lastAt - a.lastAt) ||
      (idA < idB ? -1 : 1),
  )
  const rows = order.slice(0, frame.rowsMax).map(([peer, { list }]): TimelineRow => {
    list.sort((a, b) => a.from - b.from)
    const connections = list.filter((entry): entry is ConnectionEntry => entry.kind === 'connection')
    const failures = list.filter((entry): entry is FailedEntry => entry.kind === 'failed')
    const items = [...bars(connections, x, from), ...marks(failures, x)].sort((a, b) => a.x - b.x)
    return { peer, items, connections: connections.length, failures: failures.length }
  })
  return { rows, hidden: order.length - rows.length, ticks: ticks(frame, x) }
}

function bars(entries: readonly ConnectionEntry[], x: (at: EpochMs) => number, from: EpochMs): Bar[] {
  const found: Bar[] = []
  for (const entry of entries) {
    const left = x(entry.from)
    const right = Math.max(entry.to === null ? x(Number.POSITIVE_INFINITY) : x(entry.to), left + BAR_MIN)
    const last = found[found.length - 1]
    if (last && last.direction === entry.direction && left - (last.x + last.width) < BAR_GAP)
      found[found.length - 1] = {
        ...last,
        width: Math.max(last.width, right - last.x),
        isOpenRight: entry.to === null,
        entries: [...last.entries, entry],
      }
    else
      found.push({
        kind: 'bar',
        x: left,
        width: right - left,
        direction: entry.direction,
        isOpenLeft: entry.from < from,
        isOpenRight: entry.to === null,
        entries: [entry],
      })
  }
  return found
}

function marks(entries: readonly FailedEntry[], x: (at: EpochMs) => number): Mark[] {
  const found: { kind: 'mark'; x: number; entries: FailedEntry[] }[] = []
  for (const entry of entries) {
    const at = x(entry.to)
    const last = found[found.length - 1]
    if (last && at - last.x < MARK_GAP) last.entries.push(entry)
    else found.push({ kind: 'mark', x: at, entries: [entry] })
  }
  return found
}

/** Full minutes and hours of the reader's clock, with room for their labels. */
function ticks({ from, to, width }: TimelineFrame, x: (at: EpochMs) => number): { x: number; at: EpochMs }[] {
  const countMax = Math.max(1, Math.floor(width / TICK_WIDTH))
  const step = TICK_STEPS.find((each) => (to - from) / each <= countMax) ?? 24 * 3_600_000
  const offset = new Date(to).getTimezoneOffset() * 60_000
  const found: { x: number; at: EpochMs }[] = []
  for (let at = Math.ceil((from - offset) / step) * step + offset; at <= to; at += step) found.push({ x: x(at), at })
  return found
}
