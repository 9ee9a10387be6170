/** Answers over the state, as users see it: snapshots of peers, and why a peer is not connected. Pure. */
import { isDown, LINK, layersDownAbove } from './blame'
import { slotsMax } from './options'
import { routesOfPeer } from './plan'
import { compareRoutesOfPeer, priorityOfTier } from './rank'
import { banRemedy, remedyOf, timeText, whyNotDial } from './refusal'
import { headOfWaiting, NEW_CLASS, occupancyOf, type State } from './table'
import type {
  Address,
  Direction,
  EpochMs,
  FeedId,
  Peer,
  Priority,
  RefusalReason,
  Route,
  RouteError,
  Stats,
} from './types'

/** A route as the public API shows it. Times in epoch ms; null: never. */
export interface RouteView {
  /** The multiserver address. */
  readonly id: Address
  readonly peer: FeedId
  readonly priority: Priority
  readonly isLocal: boolean
  readonly isLongTerm: boolean
  readonly source: string
  /** On disk, and kept whether anybody announces it or not. */
  readonly isStored: boolean
  /** False: only `peer.connect` dials it. */
  readonly isAutomatic: boolean
  /** Of this route: `idle`, `dialing`, `connected` or `closing`. */
  readonly connectionStatus: 'idle' | 'dialing' | 'connected' | 'closing'
  readonly connectionCount: number
  /** Failed dials in a row. */
  readonly errorCount: number
  /** The last five, newest last. */
  readonly errors: readonly RouteError[]
  readonly lastConnectionTime: EpochMs | null
  readonly lastErrorTime: EpochMs | null
  /** Earliest next attempt of the scheduler by backoff; 0: at once. Always finite. */
  readonly nextAttemptAt: EpochMs
}

export interface ConnectionView {
  readonly status: 'idle' | 'dialing' | 'connected' | 'closing'
  readonly direction: Direction | null
  /** The route in use; null for inbound. While dialing, the first one. */
  readonly address: Address | null
  readonly since: EpochMs | null
  /** Round trip and clock skew in ms, measured on this connection; null before the first ping. */
  readonly rtt: Stats | null
  readonly skew: Stats | null
}

export interface PeerView {
  readonly id: FeedId
  readonly priority: Priority
  /** Who set it: `user`, or the `source` of a module; null: it follows the routes. */
  readonly prioritisedBy: string | null
  readonly isBanned: boolean
  readonly isLongTerm: boolean
  readonly routes: readonly RouteView[]
  readonly connection: ConnectionView
}

export interface PeerRemoved {
  readonly id: FeedId
  readonly removed: true
}

function routeStatus(peer: Peer, address: Address): RouteView['connectionStatus'] {
  const connection = peer.connection
  if (connection.status === 'idle') return 'idle'
  if (connection.status === 'dialing')
    return connection.attempts.some((attempt) => attempt.address === address) ? 'dialing' : 'idle'
  return connection.address === address ? connection.status : 'idle'
}

export function routeView(peer: Peer, route: Route): RouteView {
  return {
    id: route.address,
    peer: route.peer,
    priority: priorityOfTier(route.tier),
    isLocal: route.isLocal,
    isLongTerm: peer.isLongTerm,
    source: route.source,
    isStored: route.isStored,
    isAutomatic: route.isAutomatic,
    connectionStatus: routeStatus(peer, route.address),
    connectionCount: route.connectionCount,
    errorCount: route.errorCount,
    errors: route.errors,
    lastConnectionTime: route.lastConnectionTime || null,
    lastErrorTime: route.lastErrorTime || null,
    nextAttemptAt: route.nextAttemptAt,
  }
}

export function connectionView(peer: Peer): ConnectionView {
  const connection = peer.connection
  switch (connection.status) {
    case 'idle':
      return { status: 'idle', direction: null, address: null, since: null, rtt: null, skew: null }
    case 'dialing': {
      const address = connection.attempts[0]?.address ?? null
      return { status: 'dialing', direction: 'outbound', address, since: connection.since, rtt: null, skew: null }
    }
    case 'connected': {
      const { direction, address, since, rtt, skew } = connection
      return { status: 'connected', direction, address, since, rtt, skew }
    }
    case 'closing': {
      const { direction, address, since } = connection
      return { status: 'closing', direction, address, since, rtt: null, skew: null }
    }
  }
}

export function peerView(state: State, peer: Peer): PeerView {
  return {
    id: peer.id,
    priority: peer.priority,
    prioritisedBy: peer.prioritisedBy,
    isBanned: peer.priority === 'BANNED',
    isLongTerm: peer.isLongTerm,
    routes: routesOfPeer(state, peer).map((route) => routeView(peer, route)),
    connection: connectionView(peer),
  }
}

/** A peer as it is now, or the notice that it is gone. */
export function viewOf(state: State, id: FeedId): PeerView | PeerRemoved {
  const peer = state.peers.get(id)
  return peer ? peerView(state, peer) : { id, removed: true }
}

export interface RouteExplanation {
  readonly address: Address
  readonly reason: RefusalReason | null
  readonly until: EpochMs | null
  readonly message: string
  /** What would change it, one sentence; null where nothing can, or need be done. */
  readonly remedy: string | null
  readonly source: string
  /** Failed dials in a row. */
  readonly errorCount: number
  readonly lastError: RouteError | null
  /** Connections that came about by this route. */
  readonly connectionCount: number
  readonly lastConnectionTime: EpochMs | null
  readonly lastErrorTime: EpochMs | null
  /** Earliest next attempt by backoff; 0: at once. */
  readonly nextAttemptAt: EpochMs
  /** The slot class of the route, and how its slots are used now. */
  readonly slots: SlotsUsed
  /** Layers above the route that are down (our link, a transport, a room, a host), outermost first. */
  readonly down: readonly LayerDown[]
}

export interface SlotsUsed {
  readonly class: string
  readonly max: number
  readonly connected: number
  readonly dialing: number
  readonly closing: number
}

/** A layer that takes the blame now, since when, and when it is tried next. */
export interface LayerDown {
  readonly layer: string
  readonly since: EpochMs
  readonly retryAt: EpochMs
}

export interface Explanation {
  readonly connected: boolean
  /** The refusal that stands in the way of the best route; null when connected or when nothing does. */
  readonly reason: RefusalReason | 'unknown' | 'noRoute' | null
  /** When the reason ends by itself, epoch ms; null if only an event can end it. */
  readonly until: EpochMs | null
  readonly message: string
  /** What would change it, one sentence that names the call; null where nothing can, or need be done. */
  readonly remedy: string | null
  /** The route that the reason is of; null where it is of the peer as a whole. */
  readonly address: Address | null
  /** Each route of the peer, the best first. */
  readonly routes: readonly RouteExplanation[]
}

/** Later rules are nearer to a dial; among equals whichever ends first. */
const NEARNESS: readonly (RefusalReason | null)[] = [
  'off',
  'banned',
  'self',
  'initialSync',
  'offline',
  'peerConnected',
  'peerDialing',
  'manualOnly',
  'typeDisabled',
  'backoff',
  'hostThrottled',
  'transportDown',
  'slotsFull',
  null,
]

function nearerFirst(a: RouteExplanation, b: RouteExplanation): number {
  return (
    NEARNESS.indexOf(b.reason) - NEARNESS.indexOf(a.reason) ||
    (a.until ?? Number.POSITIVE_INFINITY) - (b.until ?? Number.POSITIVE_INFINITY) ||
    0
  )
}

function explainRoute(state: State, peer: Peer, route: Route, now: EpochMs): RouteExplanation {
  const { address, source, errorCount, errors, connectionCount, nextAttemptAt } = route
  const refused = whyNotDial(state, route, peer, now, peer.isLongTerm ? 'longTerm' : 'schedule')
  const said = refused
    ? { ...refused, remedy: remedyOf(refused, state, route, peer, now) }
    : {
        reason: null,
        until: null,
        message: 'nothing stands in its way: it is dialed when its turn comes',
        remedy: 'nothing need be done; peer.connect dials it at once',
      }
  const { connected, dialing, closing } = occupancyOf(state, route.class)
  return {
    address,
    ...said,
    source,
    errorCount,
    lastError: errors[errors.length - 1] ?? null,
    connectionCount,
    lastConnectionTime: route.lastConnectionTime || null,
    lastErrorTime: route.lastErrorTime || null,
    nextAttemptAt,
    slots: { class: route.class, max: slotsMax(state.options, route.class), connected, dialing, closing },
    down: layersDownAbove(state, route).map(({ key, since, retryAt }) => ({ layer: key, since, retryAt })),
  }
}

/** Why a peer, or one route of it, is not connected, when it is next tried, and what would change it. */
export function explain(state: State, id: FeedId, address: Address | null, now: EpochMs): Explanation {
  const answer = (
    reason: Explanation['reason'],
    message: string,
    remedy: string | null,
    routes: readonly RouteExplanation[] = [],
  ): Explanation => ({ connected: false, reason, until: null, message, remedy, address: null, routes })

  const peer = state.peers.get(id)
  if (id === state.options.selfId) return answer('self', 'this is our own feed id', null)
  if (!peer)
    return answer('unknown', 'nobody told us of this peer', 'peer.addRoute with an address of it, as from an invite')
  const { connection } = peer
  const all = routesOfPeer(state, peer).sort(compareRoutesOfPeer)
  const chosen = address === null ? all : all.filter((route) => route.address === address)
  const routes = chosen.map((route) => explainRoute(state, peer, route, now))
  if (connection.status === 'connected') {
    const message = `connected ${connection.direction} since ${timeText(connection.since)}`
    return { ...answer(null, message, null, routes), connected: true, address: connection.address }
  }
  if (peer.priority === 'BANNED') return answer('banned', 'the peer is banned', banRemedy(peer), routes)
  const best = [...routes].sort(nearerFirst)[0]
  if (!best) {
    const message = address === null ? 'the peer is known, but no route to it' : 'this route is not known'
    return answer('noRoute', message, 'peer.addRoute with an address of it', routes)
  }
  const { reason, until, message, remedy } = best
  return { connected: false, reason, until, message, remedy, address: best.address, routes }
}

export interface ClassStatus {
  readonly max: number
  readonly connected: number
  readonly dialing: number
  readonly closing: number
  /** Peers' routes of this class that could be dialed as far as they themselves are concerned. */
  readonly waiting: number
  /** When the next of those that pause falls due; null if none does. */
  readonly nextAttemptAt: EpochMs | null
  /** Share of dials that succeeded, a moving average; null before the first dial. */
  readonly successRate: number | null
}

export interface Status {
  readonly mode: 'off' | 'on' | 'initialSync'
  readonly classes: { readonly [name: string]: ClassStatus }
  readonly inbound: { readonly connected: number; readonly max: number | null }
  readonly environment: {
    readonly link: 'up' | 'down'
    /** Much is being taken in: one dial at a time. */
    readonly isBusy: boolean
    /** Layers that take the blame now, with when they are tried next. */
    readonly down: readonly LayerDown[]
  }
  readonly lifetimeMs: number | null
  readonly peers: number
  readonly routes: number
  /** Dials in flight, and dials that were given up whose sockets the system still holds. */
  readonly dialing: number
  readonly lingering: number
}

/** How things stand. Counts the waiting routes: O(routes), meant for people, not for a hot path. */
export function status(state: State, now: EpochMs): Status {
  const waiting = new Map<string, number>()
  for (const tree of [state.ready, state.waiting])
    for (const route of tree.keys()) waiting.set(route.class, (waiting.get(route.class) ?? 0) + 1)
  const classes: { [name: string]: ClassStatus } = {}
  for (const name of new Set([...Object.keys(state.options.maxByType), ...Object.keys(state.occupancy)])) {
    const { connected, dialing, closing } = occupancyOf(state, name)
    const known = Object.prototype.hasOwnProperty.call(state.classes, name) ? state.classes[name] : undefined
    classes[name] = {
      max: slotsMax(state.options, name),
      connected,
      dialing,
      closing,
      waiting: waiting.get(name) ?? 0,
      nextAttemptAt: headOfWaiting(state, name)?.dueAt ?? null,
      // Nothing was dialed yet: it is only a guess.
      successRate: known && known.successRate !== NEW_CLASS.successRate ? known.successRate : null,
    }
  }
  const down = state.layers
    .valuesArray()
    .filter((layer) => layer.isDown)
    .slice(0, 100)
    .map((layer) => ({ layer: layer.key, since: layer.since, retryAt: layer.retryAt }))
  return {
    mode: state.initialSync ? 'initialSync' : state.mode,
    classes,
    inbound: { connected: state.inboundCount, max: state.options.maxInbound },
    environment: { link: isDown(state, LINK) ? 'down' : 'up', isBusy: state.isBusy, down },
    lifetimeMs: state.options.lifetimeMs,
    peers: state.peers.size,
    routes: state.routes.size,
    dialing: state.attemptCount,
    lingering: state.lingering.filter((entry) => entry.until > now).length,
  }
}
