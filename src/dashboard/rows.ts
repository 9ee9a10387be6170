/** The table as the page shows it: a row for each peer, made from the records when it is sent and kept by nobody. Pure. */
import { connectionView } from '../core/selectors'
import type { State } from '../core/table'
import type { Address, FeedId, Peer, Route } from '../core/types'
import type { PeerRow, RouteRow } from './protocol'
import { MAX_ERROR, MAX_NAME, plainText } from './text'

const MAX_CODE = 64

/** What the table does not know of a peer. */
export interface Known {
  /** Null: nobody said. */
  readonly hopsOf: (id: FeedId) => number | null
  /** Of whoever else knows names; null: not known there. */
  readonly nameOf: (id: FeedId) => string | null
}

export function peerRow(state: State, peer: Peer, known: Known): PeerRow {
  const { connection } = peer
  const routes: RouteRow[] = []
  for (const address of peer.routes) {
    const route = state.routes.get(address)
    if (route) routes.push(routeRow(peer, route))
  }
  const isUp = connection.status === 'connected' || connection.status === 'closing'
  const attempt = connection.status === 'dialing' ? connection.attempts[0] : undefined
  return {
    id: peer.id,
    name: nameOf(state, peer.id, known),
    priority: peer.priority,
    isLongTerm: peer.isLongTerm,
    hops: known.hopsOf(peer.id),
    connection: connectionView(peer),
    class: isUp ? connection.class : (attempt?.class ?? null),
    cause: isUp ? connection.cause : (attempt?.cause ?? null),
    isCaughtUp: connection.status === 'connected' && connection.isCaughtUp,
    visitedAt: peer.visitedAt || null,
    routes,
  }
}

/** Who knows best comes first; then what a module has noted with one of the routes. At most 64 characters, or null. */
export function nameOf(state: State, id: FeedId, known: Known): string | null {
  const name = plainText(known.nameOf(id), MAX_NAME)
  if (name !== null) return name
  for (const address of state.peers.get(id)?.routes ?? []) {
    const noted = plainText(state.routes.get(address)?.data?.name, MAX_NAME)
    if (noted !== null) return noted
  }
  return null
}

function routeRow(peer: Peer, route: Route): RouteRow {
  const last = route.errorCount > 0 || route.lastErrorTime > 0 ? route.errors[route.errors.length - 1] : undefined
  return {
    address: route.address,
    class: route.class,
    source: route.source,
    isLocal: route.isLocal,
    isStored: route.isStored,
    isAutomatic: route.isAutomatic,
    status: statusOf(peer, route.address),
    connectionCount: route.connectionCount,
    errorCount: route.errorCount,
    lastError: last
      ? {
          message: plainText(last.message, MAX_ERROR) ?? 'unknown error',
          code: plainText(last.code, MAX_CODE),
          at: last.at,
        }
      : null,
    lastConnectionTime: route.lastConnectionTime || null,
    nextAttemptAt: route.nextAttemptAt,
  }
}

function statusOf({ connection }: Peer, address: Address): RouteRow['status'] {
  if (connection.status === 'idle') return 'idle'
  if (connection.status === 'dialing')
    return connection.attempts.some((attempt) => attempt.address === address) ? 'dialing' : 'idle'
  return connection.address === address ? connection.status : 'idle'
}
