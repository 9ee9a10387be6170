/** Which lines of the table of routes are shown, and in what order. Pure. */
import type { FeedId } from '../../core/types'
import type { PeerRow, RouteRow } from '../protocol'
import { peerState } from './words'

/** A route, or a peer of whom no route is known. */
export interface Line {
  /** The address; the id where there is none. Also what `/explain` is asked for. */
  readonly key: string
  readonly peer: PeerRow
  readonly route: RouteRow | null
  readonly state: LineState
  /** What is searched, in lower case. */
  readonly text: string
}

export type LineState = 'connected' | 'dialing' | 'closing' | 'failing' | 'idle' | 'banned'

export const COLUMNS = [
  'peer',
  'address',
  'class',
  'source',
  'state',
  'errors',
  'connected',
  'lastError',
  'next',
] as const
export type Column = (typeof COLUMNS)[number]

export const FILTERS = ['all', 'connected', 'active', 'failing', 'followed', 'longTerm', 'local', 'banned'] as const
export type Filter = (typeof FILTERS)[number]

export interface Query {
  readonly text: string
  readonly filter: Filter
  /** Null: of every class. */
  readonly class: string | null
  readonly sort: Column
  readonly isDescending: boolean
}

function stateOf(peer: PeerRow, route: RouteRow | null): LineState {
  // A connection from outside runs over none of the routes that we know: then all of them say so.
  if (peer.connection.status !== 'idle' && (route === null || peer.connection.address === null))
    return peer.connection.status
  if (route === null) return peerState(peer)
  if (route.status !== 'idle') return route.status
  if (peer.priority === 'BANNED') return 'banned'
  return route.errorCount > 0 ? 'failing' : 'idle'
}

const known = new WeakMap<PeerRow, readonly Line[]>()

/** The lines of one peer. A row that changes is a new object, so they are made once. */
export function linesOf(peer: PeerRow): readonly Line[] {
  const found = known.get(peer)
  if (found) return found
  const who = `${peer.name ?? ''} ${peer.id}`.toLowerCase()
  const lines: Line[] = peer.routes.map((route) => {
    const state = stateOf(peer, route)
    const error = route.lastError === null ? '' : `${route.lastError.code ?? ''} ${route.lastError.message}`
    return {
      key: route.address,
      peer,
      route,
      state,
      text: `${who} ${route.address} ${route.class} ${route.source} ${state} ${error}`.toLowerCase(),
    }
  })
  if (lines.length === 0) {
    const state = stateOf(peer, null)
    lines.push({ key: peer.id, peer, route: null, state, text: `${who} ${state}` })
  }
  known.set(peer, lines)
  return lines
}

const STATE_ORDER: { readonly [state in LineState]: number } = {
  connected: 0,
  dialing: 1,
  closing: 2,
  idle: 3,
  failing: 4,
  banned: 5,
}

function passes(line: Line, query: Query): boolean {
  if (query.class !== null && line.route?.class !== query.class) return false
  switch (query.filter) {
    case 'all':
      return true
    case 'connected':
      return line.state === 'connected'
    case 'active':
      return line.state === 'connected' || line.state === 'dialing' || line.state === 'closing'
    case 'failing':
      return (line.route?.errorCount ?? 0) > 0
    case 'followed':
      return line.peer.hops === 1
    case 'longTerm':
      return line.peer.isLongTerm
    case 'local':
      return line.route?.isLocal === true
    case 'banned':
      return line.peer.priority === 'BANNED'
  }
}

const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** Who has a name first. */
function byName(a: Line, b: Line): number {
  if ((a.peer.name === null) !== (b.peer.name === null)) return a.peer.name === null ? 1 : -1
  return text((a.peer.name ?? a.peer.id).toLowerCase(), (b.peer.name ?? b.peer.id).toLowerCase())
}

/** The latest first; never comes last. */
const latest = (a: number | null | undefined, b: number | null | undefined): number => (b ?? 0) - (a ?? 0)

const COMPARE: { readonly [column in Column]: (a: Line, b: Line) => number } = {
  peer: byName,
  address: (a, b) => text(a.route?.address ?? '\uffff', b.route?.address ?? '\uffff'),
  class: (a, b) => text(a.route?.class ?? '\uffff', b.route?.class ?? '\uffff'),
  source: (a, b) => text(a.route?.source ?? '\uffff', b.route?.source ?? '\uffff'),
  state: (a, b) => STATE_ORDER[a.state] - STATE_ORDER[b.state],
  errors: (a, b) => (a.route?.errorCount ?? 0) - (b.route?.errorCount ?? 0),
  connected: (a, b) => latest(a.route?.lastConnectionTime, b.route?.lastConnectionTime),
  lastError: (a, b) => latest(a.route?.lastError?.at, b.route?.lastError?.at),
  next: (a, b) => (a.route?.nextAttemptAt ?? Infinity) - (b.route?.nextAttemptAt ?? Infinity) || 0,
}

/** The lines that match, in order; ties by what was connected last, then by key. */
export function select(peers: ReadonlyMap<FeedId, PeerRow>, query: Query): Line[] {
  const terms = query.text
    .toLowerCase()
    .split(/\s+/)
    .filter((term) => term !== '')
  const found: Line[] = []
  for (const peer of peers.values())
    for (const line of linesOf(peer))
      if (passes(line, query) && terms.every((term) => line.text.includes(term))) found.push(line)
  const compare = COMPARE[query.sort]
  const sign = query.isDescending ? -1 : 1
  return found.sort((a, b) => sign * compare(a, b) || COMPARE.connected(a, b) || text(a.key, b.key))
}

/** The classes that routes have, for the filter. */
export function classesOf(peers: ReadonlyMap<FeedId, PeerRow>): string[] {
  const classes = new Set<string>()
  for (const peer of peers.values()) for (const route of peer.routes) if (classes.size < 50) classes.add(route.class)
  return [...classes].sort()
}

/** Of a list with rows of one height, which to draw: those in sight and some around. */
export function windowOf(
  scrollTop: number,
  viewHeight: number,
  rowHeight: number,
  total: number,
  around = 6,
): { readonly first: number; readonly last: number } {
  const first = Math.floor(Math.max(0, scrollTop) / rowHeight) - around
  const last = Math.ceil((Math.max(0, scrollTop) + viewHeight) / rowHeight) + around
  return { first: Math.min(Math.max(0, first), Math.max(0, total - 1)), last: Math.min(total, last) }
}
