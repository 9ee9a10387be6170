/**
 * The rows of the table: one for each peer, with the facts that its columns show and are sorted by. Pure. A change of a few peers
 * costs one pass over the rows and no sorting of those that did not change.
 */
import type { PeerView } from '../../core/selectors'
import type { Direction, EpochMs, FeedId } from '../../core/types'
import { clean } from './text'

export type RowState = 'connected' | 'dialing' | 'closing' | 'idle' | 'banned'

export interface Row {
  readonly id: FeedId
  readonly peer: PeerView
  /** What somebody has called it, cleaned; null: nobody has. */
  readonly name: string | null
  readonly state: RowState
  readonly direction: Direction | null
  /** Slot class of the connection, else of the best route; '' where there is none. */
  readonly class: string
  /** When the connection or the dial began; null while idle. */
  readonly since: EpochMs | null
  readonly rttMs: number | null
  /** Failed dials in a row by the route that is best off: one that works is enough. */
  readonly errorCount: number
  /** Earliest next attempt of any route by backoff; null without a route. */
  readonly nextAt: EpochMs | null
}

export const COLUMNS = ['peer', 'state', 'direction', 'class', 'since', 'rtt', 'errors', 'priority', 'next'] as const
export type Column = (typeof COLUMNS)[number]

export interface Sort {
  readonly column: Column
  readonly isReversed: boolean
}

/** `local`, or the protocol of the address. */
function classOf(peer: PeerView): string {
  const { connection, routes } = peer
  const route = routes.find((each) => each.id === connection.address) ?? routes[0]
  if (connection.status === 'connected' && connection.direction === 'inbound') return ''
  const address = connection.address ?? route?.id ?? ''
  if (route?.isLocal) return 'local'
  return clean(address.slice(0, Math.max(0, address.indexOf(':')))).slice(0, 12)
}

/** `name`: as it came from whoever told it. */
export function makeRow(peer: PeerView, name: string | null): Row {
  const { connection, routes } = peer
  const isIdle = connection.status === 'idle'
  const cleaned = name === null ? '' : clean(name).slice(0, 64)
  return {
    id: peer.id,
    peer,
    name: cleaned === '' ? null : cleaned,
    state: isIdle && peer.isBanned ? 'banned' : connection.status,
    direction: connection.direction,
    class: classOf(peer),
    since: connection.since,
    rttMs: connection.rtt ? connection.rtt.mean : null,
    errorCount: routes.length === 0 ? 0 : Math.min(...routes.map((route) => route.errorCount)),
    nextAt: routes.length === 0 ? null : Math.min(...routes.map((route) => route.nextAttemptAt)),
  }
}

const STATES: readonly RowState[] = ['connected', 'closing', 'dialing', 'idle', 'banned']
const DIRECTIONS: readonly (Direction | null)[] = ['outbound', 'inbound', null]
const PRIORITIES = ['HIGH', 'MEDIUM', 'LOW', 'BANNED'] as const

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Unknown comes last, whichever way the rest is sorted. */
function byNumber(a: number | null, b: number | null, sign: number): number {
  if (a === b) return 0
  if (a === null) return 1
  if (b === null) return -1
  return sign * (a - b)
}

function nameOf(row: Row): string {
  return (row.name ?? row.id).toLowerCase()
}

/** A total order: two different peers never compare as equal. */
export function comparator({ column, isReversed }: Sort): (a: Row, b: Row) => number {
  const sign = isReversed ? -1 : 1
  const first = (a: Row, b: Row): number => {
    switch (column) {
      case 'peer':
        return Number(a.name === null) - Number(b.name === null) || sign * byText(nameOf(a), nameOf(b))
      case 'state':
        return sign * (STATES.indexOf(a.state) - STATES.indexOf(b.state))
      case 'direction':
        return sign * (DIRECTIONS.indexOf(a.direction) - DIRECTIONS.indexOf(b.direction))
      case 'class':
        return Number(a.class === '') - Number(b.class === '') || sign * byText(a.class, b.class)
      case 'since':
        return byNumber(a.since, b.since, sign)
      case 'rtt':
        return byNumber(a.rttMs, b.rttMs, sign)
      case 'errors':
        return sign * (a.errorCount - b.errorCount)
      case 'priority':
        return sign * (PRIORITIES.indexOf(a.peer.priority) - PRIORITIES.indexOf(b.peer.priority))
      case 'next':
        return byNumber(a.nextAt, b.nextAt, sign)
    }
  }
  return (a, b) => first(a, b) || byText(a.id, b.id)
}

/** Whether a row has the words, in any order and in either case, anywhere in what is known of it. */
export function matches(row: Row, filter: string): boolean {
  if (filter === '') return true
  const words = filter.toLowerCase().split(' ')
  const { peer } = row
  const marks = peer.isLongTerm ? 'long-term' : ''
  const text =
    `${row.id} ${row.name ?? ''} ${row.state} ${row.direction ?? ''} ${row.class} ${peer.priority} ${marks} ${peer.routes.map((route) => `${route.id} ${route.source}`).join(' ')}`.toLowerCase()
  return words.every((word) => text.includes(word))
}

/** The rows that match, in order. */
export function arrange(rows: Iterable<Row>, filter: string, sort: Sort): Row[] {
  return [...rows].filter((row) => matches(row, filter)).sort(comparator(sort))
}

/**
 * The same as `arrange` of all rows where only those with `changed` ids differ from `order`: one pass and a sort of the changed.
 */
export function rearrange(
  order: readonly Row[],
  changed: ReadonlyMap<FeedId, Row | null>,
  filter: string,
  sort: Sort,
): Row[] {
  const compare = comparator(sort)
  const fresh = arrange(
    [...changed.values()].filter((row): row is Row => row !== null),
    filter,
    sort,
  )
  const merged: Row[] = []
  let at = 0
  for (const row of order) {
    if (changed.has(row.id)) continue
    for (; at < fresh.length; at++) {
      const next = fresh[at] as Row
      if (compare(next, row) > 0) break
      merged.push(next)
    }
    merged.push(row)
  }
  for (; at < fresh.length; at++) merged.push(fresh[at] as Row)
  return merged
}
