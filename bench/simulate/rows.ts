/** The rows of the tables: what is printed of a world, and what our own figure has to be. */
import type { Figures } from './ledger'
import { HOUR, SECOND } from './types'

export const SCHEDULERS = ['ours', 'ssb-conn', 'ssb-gossip', 'rotation', 'oracle', 'bound'] as const
export type SchedulerName = (typeof SCHEDULERS)[number]

/** What a target may go by: the medians of all, and the world. */
export interface Context {
  readonly world: string
  /** The better of the two existing managers. */
  readonly existing: number | null
  readonly oracle: number | null
}

export interface Target {
  readonly text: string
  readonly isMet: (value: number) => boolean
}

export interface Row {
  readonly id: keyof Figures
  readonly title: string
  readonly format: (value: number) => string
  /** Of two values, whether less is better. */
  readonly isLessBetter: boolean
  readonly target?: (context: Context) => Target | null
}

const SECONDS = (value: number): string =>
  value === Number.POSITIVE_INFINITY ? 'never' : `${digits(value / SECOND)} s`
const HOURS = (value: number): string => `${digits(value / HOUR)} h`
const PERCENT = (value: number): string => `${digits(100 * value)} %`
const PLAIN = (value: number): string => digits(value)

function digits(value: number): string {
  if (value === 0) return '0'
  return value >= 100 ? value.toFixed(0) : value >= 0.0001 ? String(Number(value.toPrecision(2))) : '0.0000'
}

function atMost(limit: number, format: (value: number) => string): Target {
  return { text: `≤ ${format(limit)}`, isMet: (value) => value <= limit }
}

function atLeast(limit: number, format: (value: number) => string): Target {
  return { text: `≥ ${format(limit)}`, isMet: (value) => value >= limit }
}

export const ROWS: readonly Row[] = [
  {
    id: 'meanAge',
    title: 'age of the oldest undelivered message of a feed, mean',
    format: HOURS,
    isLessBetter: true,
    target: ({ world, existing }) =>
      existing === null ? null : atMost(existing / (world === 'desktop' ? 50 : 10), HOURS),
  },
  { id: 'meanDelay', title: 'from the post to the delivery, mean', format: HOURS, isLessBetter: true },
  {
    id: 'undelivered',
    title: 'not delivered at the end',
    format: PERCENT,
    isLessBetter: true,
    target: ({ world, existing }) =>
      world === 'desktop' ? atMost(0.005, PERCENT) : existing === null ? null : atMost(existing / 4, PERCENT),
  },
  {
    id: 'liveVisited',
    title: 'live peers visited',
    format: PERCENT,
    isLessBetter: false,
    target: () => atLeast(1, PERCENT),
  },
  {
    id: 'fill',
    title: 'cold start to full slots',
    format: SECONDS,
    isLessBetter: true,
    target: ({ oracle }) => atMost(Math.max(2 * (oracle ?? 0), 5 * SECOND), SECONDS),
  },
  {
    id: 'warmFill',
    title: 'warm start to as many connections, median',
    format: SECONDS,
    isLessBetter: true,
    target: ({ oracle }) => atMost(Math.max(2 * (oracle ?? 0), SECOND / 10), SECONDS),
  },
  {
    id: 'recovery',
    title: 'interruption to as many connections, p95',
    format: SECONDS,
    isLessBetter: true,
    target: () => atMost(2 * SECOND, SECONDS),
  },
  {
    id: 'worseOff',
    title: 'peers worse off for an interruption',
    format: PLAIN,
    isLessBetter: true,
    target: () => atMost(0, PLAIN),
  },
  {
    id: 'slotUse',
    title: 'slot time used',
    format: PERCENT,
    isLessBetter: false,
    target: ({ world }) => (world === 'blackout' ? null : atLeast(0.99, PERCENT)),
  },
  {
    id: 'deadDials',
    title: 'dials to dead routes per hour, after six hours',
    format: PLAIN,
    isLessBetter: true,
    target: () => atMost(5, PLAIN),
  },
  {
    id: 'dials',
    title: 'dials per hour, after six hours',
    format: PLAIN,
    isLessBetter: true,
    target: ({ world }) => (world === 'desktop' ? atMost(90, PLAIN) : null),
  },
  { id: 'wasted', title: 'of these in vain', format: PERCENT, isLessBetter: true },
  {
    id: 'inFlight',
    title: 'dials in flight at once (younger than 10 s)',
    format: PLAIN,
    isLessBetter: true,
    target: () => atMost(8, PLAIN),
  },
  { id: 'sockets', title: 'sockets held by dials at once', format: PLAIN, isLessBetter: true },
  {
    id: 'doubled',
    title: 'time with two connections to a peer',
    format: SECONDS,
    isLessBetter: true,
    target: () => atMost(0, SECONDS),
  },
  {
    id: 'lanVisits',
    title: 'visits of local peers met within 5 s',
    format: PERCENT,
    isLessBetter: false,
    target: () => atLeast(0.95, PERCENT),
  },
  {
    id: 'blockedFor',
    title: 'time connected to blocked peers',
    format: SECONDS,
    isLessBetter: true,
    target: () => atMost(0, SECONDS),
  },
  {
    id: 'attackerDials',
    title: 'dials that an attacker gets',
    format: PERCENT,
    isLessBetter: true,
    target: () => atMost(0.1, PERCENT),
  },
  {
    id: 'attackerTime',
    title: 'connected time that an attacker gets',
    format: PERCENT,
    isLessBetter: true,
    target: () => atMost(0.2, PERCENT),
  },
  {
    id: 'wait',
    title: 'longest wait, by candidates ÷ slots × tenure',
    format: PLAIN,
    isLessBetter: true,
    target: () => atMost(2, PLAIN),
  },
]
