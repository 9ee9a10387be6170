/**
 * The root reducer: what happened becomes state. It records and never decides; what to do next is `plan`'s business. One
 * handler for each action, each writing through a transaction (table.ts), which keeps the derived indexes.
 */
import type { Action, RouteReport, Standing, StoredPeer, StoredRoute } from './actions'
import { isStrangerSafe, withoutSeed } from './address'
import { backoffCeiling, backoffDelay, clampAttempt, MAX_STEP } from './backoff'
import {
  chargeFailure,
  connectionAnswers,
  connectionWorks,
  hostLayer,
  LINK,
  layerIsBack,
  linkDown,
  noteDeferral,
  noteLoss,
  probeAll,
  probeStarted,
  RESOLVER,
} from './blame'
import { tieOf } from './hash'
import { credit, noLater } from './merit'
import { dialTimeout, slotsMax } from './options'
import { isFeeler, isLow, isTrial, STRANGER_TIER, tierOf, USER, worstRouteFirst } from './rank'
import { MAX_ERRORS, makePeer, makeRoute, type RouteChange } from './records'
import { addToStats } from './stats'
import { attemptsOf, IDLE, initialState, isHostShared, occupancyOf, type State, Transaction } from './table'
import type { Address, Attempt, Connection, FeedId, InitialSync, Jitter, Peer, Priority, Route } from './types'
import { isTurnDue } from './visits'

/** Routes that fall due together become ready in portions: one event stays bounded, and `plan` asks for the rest. */
const PROMOTE_PER_ACTION = 256
const PROMOTE_PER_ADVANCE = 2_048
/** A dial that was given up is believed to hold its socket for this long: the kernel gives up after 135 s. */
const LINGER_MS = 180_000
/** Weight of one dial in the success rate of its class. */
const RATE_WEIGHT = 1 / 8
const RATE_FLOOR = 0.05
const MAX_CLASSES = 64
/** When the table is full, this many of the worst LOW routes make room at once, so that the search is paid seldom. */
const EVICT_BATCH = 1_000
/** Peers that announce themselves where they are now; hearing of them again says that they are there. */
const ANNOUNCING_SOURCES = new Set(['local', 'lan', 'bt', 'bluetooth', 'room', 'manual', 'invite'])
const MAX_STALLED = 256

export function reduce(state: State, action: Action): State {
  const tx = new Transaction(state, action.at)
  handle(tx, action)
  tx.promoteDue(action.type === 'clock/advanced' ? PROMOTE_PER_ADVANCE : PROMOTE_PER_ACTION)
  return tx.commit()
}

/** The state with everything that is due at `now` made ready; what `plan` looks at. */
export function advance(state: State, now: number): State {
  return reduce(state, { type: 'clock/advanced', at: now })
}

/** The state that a recording leads to. */
export function replay(state: State, actions: Iterable<Action>): State {
  let next = state
  for (const action of actions) next = reduce(next, action)
  return next
}

export { initialState }

function handle(tx: Transaction, action: Action): void {
  switch (action.type) {
    case 'routes/added':
      for (const report of action.reports) addRoute(tx, report)
      return
    case 'table/loaded':
      for (const peer of action.peers) loadPeer(tx, peer)
      for (const route of action.routes) loadRoute(tx, route)
      return
    case 'route/removed':
      return removeRoute(tx, action.address)
    case 'route/withdrawn':
      return withdrawRoute(tx, action.address)
    case 'route/forgotten':
      return releaseRoute(tx, action.address, { isStored: false })
    case 'route/annotated': {
      const route = tx.route(action.address)
      if (route) tx.putRoute(route, { data: action.data, isAutomatic: action.isAutomatic, dueAt: route.dueAt })
      return
    }
    case 'peer/prioritised':
      return prioritise(tx, action.peer, action.priority, action.by ?? USER)
    case 'peer/longTermSet':
      return setLongTerm(tx, action.peer, action.isLongTerm)
    case 'peer/held': {
      const peer = tx.peer(action.peer)
      if (peer) tx.putPeer(peer, { heldUntil: tx.at + tx.options.disconnectHoldMs })
      return
    }
    case 'connection/requested': {
      const peer = tx.peer(action.peer)
      if (!peer || peer.priority === 'BANNED' || peer.routes.length === 0) return
      // Who is about to be hung up on is dialed again after that.
      if (peer.connection.status === 'connected' && peer.connection.closeReason === null) return
      tx.putRequest({ peer: action.peer, address: action.address, at: tx.at, tried: [] })
      return
    }
    case 'connection/requestDropped':
      tx.dropRequest(action.peer)
      return forgetTemporary(tx, action.peer)
    case 'dial/started':
      return dialStarted(tx, action)
    case 'dial/failed':
      return dialFailed(tx, action)
    case 'dial/ended':
      tx.set({
        lingering: tx.root.lingering.filter((entry) => entry.attempt !== action.attempt && entry.until > tx.at),
      })
      return
    case 'dial/abandoned': {
      const peer = tx.peer(action.peer)
      const attempt = peer && takeAttempt(tx, peer, action.attempt, false)
      if (attempt) linger(tx, [attempt])
      return
    }
    case 'connection/opened':
      return connectionOpened(tx, action)
    case 'connection/closeRequested': {
      const peer = tx.peer(action.peer)
      // A ban says more than whatever else would have ended it as well.
      if (peer?.connection.status === 'connected' && peer.connection.closeReason !== 'banned')
        tx.putPeer(peer, { connection: { ...peer.connection, closeReason: action.reason } })
      if (peer?.connection.status === 'dialing') {
        tx.dropRequest(peer.id)
        abandonDials(tx, peer.id)
      }
      return
    }
    case 'connection/closing':
      return connectionClosing(tx, action)
    case 'connection/closed':
      return connectionClosed(tx, action.peer, action.jitter)
    case 'connection/pinged': {
      const peer = tx.peer(action.peer)
      if (peer?.connection.status !== 'connected') return
      connectionAnswers(tx, peer)
      return updateConnected(tx, action.peer, {
        rtt: addToStats(peer.connection.rtt, action.rttMs),
        skew: addToStats(peer.connection.skew, action.skewMs),
      })
    }
    case 'connection/transferred':
      return transferred(tx, action.peer, action.count ?? 1)
    case 'connection/caughtUp':
      return updateConnected(tx, action.peer, { isCaughtUp: true })
    case 'connection/stalled':
      return connectionStalled(tx, action.peer)
    case 'connections/started':
      tx.set({ mode: 'on' })
      return
    case 'connections/stopped':
      return connectionsStopped(tx)
    case 'initialSync/started':
      tx.set({ initialSync: { peer: action.peer, since: tx.at, stalled: [] } })
      if (action.peer !== null) liftPauses(tx, action.peer)
      return
    case 'initialSync/stopped':
      return initialSyncStopped(tx)
    case 'options/changed':
      return optionsChanged(tx, action.options)
    case 'routes/deferred':
      for (const deferral of action.deferrals) {
        const route = tx.route(deferral.address)
        if (!route) continue
        tx.putRoute(route, { dueAt: deferral.until })
        if (deferral.layer !== null) noteDeferral(tx, deferral.layer, deferral.address)
      }
      return
    case 'environment/busy':
      tx.set({ isBusy: action.isBusy })
      return
    case 'environment/offline':
      return linkDown(tx)
    case 'environment/online':
      tx.set({ onlineAt: tx.at })
      layerIsBack(tx, LINK)
      layerIsBack(tx, RESOLVER)
      return probeAll(tx)
    case 'clock/advanced':
      return
    case 'clock/setBack':
      return clockSetBack(tx)
    default: {
      const unknown: never = action
      return unknown
    }
  }
}

// ---- peers and routes -------------------------------------------------------------------------------------------------

function ensurePeer(tx: Transaction, id: FeedId): Peer {
  const known = tx.peer(id)
  if (known) return known
  return tx.putPeer(makePeer(id, tieOf(tx.options.tieKey, id)))
}

/** Nothing is kept of a peer about whom nothing was said: a stranger cannot fill the table by calling in. */
function forgetIfEmpty(tx: Transaction, id: FeedId): void {
  const peer = tx.peer(id)
  // What a module thinks of a peer it says again when the peer is back; a ban has to be known before that.
  const isSaid = peer?.prioritisedBy === USER || peer?.priority === 'BANNED'
  if (!peer || peer.routes.length > 0 || isSaid || peer.isLongTerm) return
  if (peer.connection.status === 'idle') tx.removePeer(peer)
}

/** Strangers' addresses start LOW, what a user or a trusted module says starts MEDIUM. */
function firstPriority(report: RouteReport): Priority {
  return report.priority ?? (report.source === 'pub' ? 'LOW' : 'MEDIUM')
}

function addRoute(tx: Transaction, report: RouteReport): Route | null {
  // An invite is good for one dial, under a key that is not ours; what is kept is where the peer is.
  const parsed = withoutSeed(report.route)
  if (parsed.peer === tx.options.selfId) return null
  if (report.source === 'pub' && !isStrangerSafe(parsed)) return null
  const known = tx.route(parsed.address)
  if (known) return hearAgain(tx, known, report)
  if (!makeRoom(tx, report)) return null
  const first = firstPriority(report)
  let peer = tx.peer(parsed.peer)
  if (!peer) {
    const tie = tieOf(tx.options.tieKey, parsed.peer)
    peer = tx.putPeer(makePeer(parsed.peer, tie, { priority: first, address: parsed.address }))
  } else {
    if (peer.prioritisedBy === null && tierOf(first) < tierOf(peer.priority)) peer = setPriority(tx, peer, first)
    tx.putPeer(peer, { routes: [...peer.routes, parsed.address] })
  }
  const standing = standingOf(report)
  return tx.putRoute(makeRoute(parsed.address, peer.id, tx.at), {
    protocol: parsed.protocol,
    class: report.isLocal ? 'local' : parsed.protocol,
    isLocal: report.isLocal,
    scope: parsed.scope,
    source: report.source,
    isStored: standing === 'stored',
    isAnnounced: standing === 'announced',
  })
}

function standingOf({ standing, isLocal }: RouteReport): Standing {
  return standing ?? (isLocal ? 'announced' : 'stored')
}

function hearAgain(tx: Transaction, route: Route, report: RouteReport): Route {
  const change: { -readonly [K in keyof RouteChange]: RouteChange[K] } = {}
  if (report.isLocal && !route.isLocal) {
    change.isLocal = true
    change.class = 'local'
  }
  const standing = standingOf(report)
  if (standing === 'stored' && !route.isStored) change.isStored = true
  if (standing === 'announced' && !route.isAnnounced) change.isAnnounced = true
  // What was only remembered, or heard from strangers, takes the name of whoever vouches for it now.
  const isWeak = route.source === 'stored' || route.source === 'pub'
  if (report.source !== route.source && report.source !== 'stored' && (isWeak || report.source === 'friends'))
    change.source = report.source
  const peer = tx.peer(route.peer)
  if (peer && peer.prioritisedBy === null && report.priority && tierOf(report.priority) < tierOf(peer.priority))
    setPriority(tx, peer, report.priority)
  const present = tx.route(route.address) ?? route
  if (Object.keys(change).length > 0) tx.putRoute(present, change)
  if (report.isLocal || ANNOUNCING_SOURCES.has(report.source)) signal(tx, route.address)
  return tx.route(route.address) ?? route
}

/** A sign that the peer is there lifts the pause of its route: at most once per window, so that nobody makes a gun of it. */
function signal(tx: Transaction, address: Address): void {
  const route = tx.route(address)
  if (!route || route.nextAttemptAt <= tx.at || tx.at - route.lastSignalAt < tx.options.signalWindowMs) return
  tx.putRoute(route, { nextAttemptAt: 0, lastSignalAt: tx.at })
}

/** True when the report may be added. May make the worst routes go, of the peer or of the whole table. */
function makeRoom(tx: Transaction, report: RouteReport): boolean {
  const peer = tx.peer(report.route.peer)
  if (peer && peer.routes.length >= tx.options.maxRoutesPerPeer) {
    const worst = routesOf(tx, peer)
      .filter((route) => !isInUse(peer, route.address) && !route.isLocal)
      .sort(worstRouteFirst)[0]
    // Only what never worked and has failed makes room: a flood of bogus routes cannot push out a good one or each other.
    if (!worst || worst.lastConnectionTime > 0 || (worst.errorCount === 0 && !report.isLocal)) return false
    removeRoute(tx, worst.address)
  }
  if (tx.routeCount < tx.options.maxRoutes) return true
  const { state } = tx
  if (state.lowCount === 0) return false
  const low: Route[] = []
  for (const route of state.routes.values()) {
    const owner = state.peers.get(route.peer)
    if (isLow(route.tier) && owner && owner.connection.status === 'idle') low.push(route)
  }
  low.sort(worstRouteFirst)
  const share = Math.max(1, Math.min(EVICT_BATCH, Math.floor(tx.options.maxRoutes / 100)))
  for (const route of low.slice(0, share)) removeRoute(tx, route.address)
  return tx.routeCount < tx.options.maxRoutes
}

export function routesOf(tx: Pick<Transaction, 'route'>, peer: Peer): Route[] {
  const routes: Route[] = []
  for (const address of peer.routes) {
    const route = tx.route(address)
    if (route) routes.push(route)
  }
  return routes
}

function isInUse(peer: Peer, address: Address): boolean {
  const connection = peer.connection
  if (connection.status === 'idle') return false
  if (connection.status === 'dialing') return connection.attempts.some((attempt) => attempt.address === address)
  return connection.address === address
}

function removeRoute(tx: Transaction, address: Address): void {
  const route = tx.route(address)
  if (!route) return
  const peer = tx.peer(route.peer)
  tx.removeRoute(route)
  if (!tx.root.layers.isEmpty) forgetHost(tx, route)
  if (!peer) return
  const present = tx.peer(route.peer) ?? peer
  const connection = present.connection
  const change: { -readonly [K in keyof Peer]?: Peer[K] } = {
    routes: present.routes.filter((each) => each !== address),
  }
  if (connection.status === 'connected' && connection.address === address)
    change.connection = { ...connection, closeReason: connection.closeReason ?? 'routeRemoved' }
  tx.putPeer(present, change)
  if (connection.status === 'dialing') {
    const attempt = connection.attempts.find((each) => each.address === address)
    const owner = tx.peer(route.peer)
    if (attempt && owner) {
      takeAttempt(tx, owner, attempt.id, false)
      linger(tx, [attempt])
    }
  }
  settleRequest(tx, route.peer)
  forgetIfEmpty(tx, route.peer)
}

/** What we think of a host goes with the last route that names it. */
function forgetHost(tx: Transaction, { address, hostKey }: Route): void {
  if (hostKey === null || !tx.root.layers.has(hostLayer(hostKey))) return
  if (!isHostShared(tx.state.routes, address)) tx.dropLayer(hostLayer(hostKey))
}

/** Whoever announced a route does not see it any more: it is local no longer, and goes unless it is stored or in use. */
function withdrawRoute(tx: Transaction, address: Address): void {
  const route = tx.route(address)
  if (route) releaseRoute(tx, address, { isAnnounced: false, isLocal: false, class: route.protocol })
}

function releaseRoute(tx: Transaction, address: Address, change: RouteChange): void {
  const route = tx.route(address)
  if (!route) return
  tx.putRoute(route, change)
  forgetTemporary(tx, route.peer)
}

/** What was meant for one connection only goes with it, and what was withdrawn meanwhile. */
function forgetTemporary(tx: Transaction, id: FeedId): void {
  const peer = tx.peer(id)
  if (!peer || tx.root.requests.has(id)) return
  for (const { address, isStored, isAnnounced } of routesOf(tx, peer)) {
    const present = tx.peer(id)
    if (!isStored && !isAnnounced && present && !isInUse(present, address)) removeRoute(tx, address)
  }
}

/** A request has failed when each route that the peer has now was tried. */
function settleRequest(tx: Transaction, id: FeedId): void {
  const request = tx.root.requests.get(id)
  const peer = tx.peer(id)
  if (!request || peer?.connection.status === 'dialing') return
  if (!peer || peer.routes.every((address) => request.tried.includes(address))) tx.dropRequest(id)
}

/** The dials in flight to a peer no longer count; what they bring is closed as it arrives. */
function abandonDials(tx: Transaction, id: FeedId): void {
  const peer = tx.peer(id)
  if (peer?.connection.status !== 'dialing') return
  linger(tx, peer.connection.attempts)
  tx.putPeer(peer, { connection: IDLE })
  forgetTemporary(tx, id)
}

function prioritise(tx: Transaction, id: FeedId, wanted: Priority | null, by: string): void {
  if (id === tx.options.selfId) return
  const known = tx.peer(id)
  if (wanted === null && !known) return
  const priority = wanted ?? (known ? priorityByRoutes(tx, known) : 'MEDIUM')
  if (priority === 'BANNED') {
    tx.dropRequest(id)
    abandonDials(tx, id)
  }
  const peer = ensurePeer(tx, id)
  const connection = peer.connection
  const isHungUpOn = priority === 'BANNED' && connection.status === 'connected'
  setPriority(tx, peer, priority, {
    prioritisedBy: wanted === null ? null : by,
    connection: isHungUpOn ? { ...connection, closeReason: 'banned' } : connection,
  })
  forgetIfEmpty(tx, id)
}

/** What the sources of its routes make of a peer of whom nobody said anything. */
function priorityByRoutes(tx: Transaction, peer: Peer): Priority {
  const routes = routesOf(tx, peer)
  return routes.length > 0 && routes.every((route) => route.source === 'pub') ? 'LOW' : 'MEDIUM'
}

function setPriority(tx: Transaction, peer: Peer, priority: Priority, change: Partial<Peer> = {}): Peer {
  const after = tx.putPeer(peer, { ...change, priority })
  clampPauses(tx, after)
  return after
}

function setLongTerm(tx: Transaction, id: FeedId, isLongTerm: boolean): void {
  if (id === tx.options.selfId) return
  const peer = isLongTerm ? ensurePeer(tx, id) : tx.peer(id)
  if (!peer || peer.isLongTerm === isLongTerm) return
  clampPauses(tx, tx.putPeer(peer, { isLongTerm }))
  forgetIfEmpty(tx, id)
}

/** A pause that is longer than the present ceiling allows would hold a friend for the time of a ghost. */
function clampPauses(tx: Transaction, peer: Peer): void {
  const ceiling = backoffCeiling(tx.options, peer.priority, peer.isLongTerm)
  for (const route of routesOf(tx, peer)) {
    const nextAttemptAt = clampAttempt(route.nextAttemptAt, tx.at, ceiling)
    if (nextAttemptAt !== route.nextAttemptAt) tx.putRoute(route, { nextAttemptAt })
  }
}

function loadPeer(tx: Transaction, stored: StoredPeer): void {
  if (stored.id === tx.options.selfId) return
  const isKnown = tx.peer(stored.id) !== undefined
  const present = ensurePeer(tx, stored.id)
  const peer = tx.putPeer(present, {
    isLongTerm: present.isLongTerm || stored.isLongTerm,
    visitedAt: Math.max(present.visitedAt, Math.min(stored.visitedAt, tx.at)),
    merit: present.merit ?? (stored.merit ? noLater(stored.merit, tx.at) : null),
  })
  // What was said since the start is newer than the table; and yet no module takes back what the user has said.
  const isUsers = stored.prioritisedBy === USER || (stored.prioritisedBy === null && stored.priority === 'BANNED')
  if (peer.prioritisedBy === USER || (peer.prioritisedBy !== null && !isUsers)) return
  if (stored.prioritisedBy !== null) return prioritise(tx, peer.id, stored.priority, stored.prioritisedBy)
  if (stored.priority === 'BANNED') return prioritise(tx, peer.id, stored.priority, USER)
  if (!isKnown || tierOf(stored.priority) < tierOf(peer.priority)) setPriority(tx, peer, stored.priority)
}

function loadRoute(tx: Transaction, stored: StoredRoute): void {
  const known = tx.route(stored.route.address)
  // Seeds are added before the table is read: what was learned of them is in the table. What was learned since counts more.
  const hasLearned = known !== undefined && (known.lastConnectionTime > 0 || known.lastErrorTime > 0)
  const added = addRoute(tx, stored)
  if (!added) return
  if (known === undefined && (stored.isAutomatic === false || stored.data))
    tx.putRoute(added, { isAutomatic: stored.isAutomatic ?? true, data: stored.data ?? null })
  if (hasLearned) return
  // A table with a past: how often feelers succeed in it was learned, and forgotten, before.
  const { feelerPauseMs } = tx.classState(added.class)
  if (stored.errorCount > 0 && feelerPauseMs === FEELER_MIN_MS && isTrackable(tx, added.class))
    tx.putClass(added.class, { feelerPauseMs: tx.options.feelerMs })
  const peer = tx.peer(added.peer)
  const ceiling = peer ? backoffCeiling(tx.options, peer.priority, peer.isLongTerm) : 0
  const lastConnectionTime = Math.min(stored.lastConnectionTime, tx.at)
  if (peer && peer.visitedAt < lastConnectionTime) tx.putPeer(peer, { visitedAt: lastConnectionTime })
  tx.putRoute(tx.route(added.address) ?? added, {
    addedAt: Math.min(stored.addedAt, tx.at),
    lastConnectionTime,
    lastErrorTime: Math.min(stored.lastErrorTime, tx.at),
    connectionCount: stored.connectionCount,
    errorCount: stored.errorCount,
    backoffStep: Math.min(stored.backoffStep, MAX_STEP),
    nextAttemptAt: clampAttempt(stored.nextAttemptAt, tx.at, ceiling),
    errors: stored.errors.slice(-MAX_ERRORS),
    duration: stored.duration,
  })
}

// ---- dials ------------------------------------------------------------------------------------------------------------

/** Takes an attempt out of a dialing peer. `hasFailed`: it counts as tried in this race. */
function takeAttempt(tx: Transaction, peer: Peer, id: number, hasFailed: boolean): Attempt | null {
  const connection = peer.connection
  if (connection.status !== 'dialing') return null
  const attempt = connection.attempts.find((each) => each.id === id)
  if (!attempt) return null
  const attempts = connection.attempts.filter((each) => each.id !== id)
  const tried = hasFailed ? [...connection.tried, attempt.address] : connection.tried
  tx.putPeer(peer, { connection: attempts.length > 0 ? { ...connection, attempts, tried } : IDLE })
  return attempt
}

function linger(tx: Transaction, attempts: readonly Attempt[]): void {
  if (attempts.length === 0) return
  const until = tx.at + LINGER_MS
  const present = tx.root.lingering.filter((entry) => entry.until > tx.at)
  const more = attempts.map(({ id, deadlineAt }) => ({ attempt: id, until, deadlineAt }))
  tx.set({ lingering: [...present, ...more] })
}

function dialStarted(tx: Transaction, action: Extract<Action, { type: 'dial/started' }>): void {
  const route = tx.route(action.address)
  const peer = route && tx.peer(route.peer)
  if (!route || !peer || peer.priority === 'BANNED') return
  if (peer.connection.status !== 'idle' && peer.connection.status !== 'dialing') return
  if (attemptsOf(peer.connection).some((each) => each.id === action.attempt || each.address === route.address)) return
  const attempt: Attempt = {
    id: action.attempt,
    address: route.address,
    class: route.class,
    cause: action.cause,
    startedAt: tx.at,
    deadlineAt: tx.at + dialTimeout(tx.options, route.class, route.protocol),
  }
  const connection = peer.connection
  const isFirst = connection.status === 'idle'
  tx.putPeer(peer, {
    connection:
      connection.status === 'dialing'
        ? { ...connection, attempts: [...connection.attempts, attempt] }
        : { status: 'dialing', since: tx.at, attempts: [attempt], tried: [] },
  })
  const { hostKey } = route
  if (hostKey !== null) tx.putHost(hostKey, tx.at)
  tx.sweepHosts()
  probeStarted(tx, route)
  if (action.cause === 'schedule' && isTrackable(tx, route.class)) countDial(tx, route, isFirst)
}

/** Where fewer visits than this bring anything, they come at longer intervals, up to so many times as long. */
const GOOD_YIELD = 1 / 4
const SLOWEST_PACE = 16
const YIELD_WEIGHT = 1 / 5

function countVisit(tx: Transaction, routeClass: string, hasBrought: boolean): void {
  if (!isTrackable(tx, routeClass)) return
  const { visitYield } = tx.classState(routeClass)
  const next = visitYield + (Number(hasBrought) - visitYield) * YIELD_WEIGHT
  tx.putClass(routeClass, { visitYield: Math.max(next, GOOD_YIELD / SLOWEST_PACE) })
}

/**
 * Whom nobody answers for has taken nobody's slot, and takes nobody's turn either: where somebody waits for his, he need not
 * do so for the whole pause.
 */
const IN_VAIN_MS = 10_000

function visitInVain(tx: Transaction, { class: routeClass, startedAt }: Attempt): void {
  if (occupancyOf(tx.before, routeClass).connected < slotsMax(tx.options, routeClass)) return
  const { nextRotationAt, lastRotationAt } = tx.classState(routeClass)
  // One that began before the last visit says nothing of that.
  if (startedAt < lastRotationAt) return
  const at = Math.max(tx.at, startedAt + IN_VAIN_MS)
  if (at < nextRotationAt && isTurnDue(tx.before, routeClass, tx.at)) tx.putClass(routeClass, { nextRotationAt: at })
}

/**
 * Feelers that fail come at longer and longer intervals, up to `feelerMs`; one that succeeds says that there may be more. Who
 * was dialed but once may have been away for a moment: the second try is soon.
 */
const FEELER_MIN_MS = 60_000
const FEELER_GROWTH = [1.005, 1.1]

function feelerEnded(tx: Transaction, route: Route, isSuccess: boolean): void {
  if (!isTrackable(tx, route.class)) return
  const { feelerPauseMs } = tx.classState(route.class)
  const tries = route.tier === STRANGER_TIER ? FEELER_GROWTH.length : route.errorCount
  const growth = FEELER_GROWTH[Math.min(tries, FEELER_GROWTH.length) - 1] ?? 1
  const next = isSuccess ? feelerPauseMs / 4 : feelerPauseMs * growth
  tx.putClass(route.class, { feelerPauseMs: Math.min(Math.max(next, FEELER_MIN_MS), tx.options.feelerMs) })
}

/**
 * Who was never dialed may be worth much, and costs nobody his slot while he does not answer. A large stock is gone through
 * within hours, a small one at leisure: a first visit says more when there has been time for something to gather. The
 * shortest pause leaves sockets to others, as each dial in silence holds one for two minutes. Where nobody answers, the
 * pauses grow: after a hundred in vain they are almost three times as long. That somebody answers and has nothing that we lack
 * says much more: most likely all that there is comes to us already.
 */
const TRIALS_WITHIN_MS = 4 * 3_600_000
const TRIAL_MIN_MS = 3_000
const TRIAL_SLOW_MS = 10_000
const TRIAL_MAX_MS = 600_000
const TRIAL_GROWTH = 1.01
const MAX_TRIALS_IN_VAIN = 1_000
/** A visit that brought nothing, in dials without an answer. */
const EMPTY_TRIAL = 25

function trialPause(tx: Transaction, trialsInVain: number): number {
  const stock = Math.max(1, tx.state.ready.size)
  const pause = Math.min(Math.max(TRIALS_WITHIN_MS / stock, TRIAL_MIN_MS), TRIAL_SLOW_MS)
  return Math.min(pause * TRIAL_GROWTH ** trialsInVain, TRIAL_MAX_MS)
}

function trialInVain(tx: Transaction, routeClass: string, weight = 1): void {
  if (!isTrackable(tx, routeClass)) return
  const { trialsInVain } = tx.classState(routeClass)
  tx.putClass(routeClass, { trialsInVain: Math.min(trialsInVain + weight, MAX_TRIALS_IN_VAIN) })
}

/** One of those who were new has brought something: there may be more of them, and it need not be waited for until now. */
function trialBrought(tx: Transaction, routeClass: string): void {
  const { nextTrialAt } = tx.classState(routeClass)
  tx.putClass(routeClass, { trialsInVain: 0, nextTrialAt: Math.min(nextTrialAt, tx.at + TRIAL_SLOW_MS) })
}

/** By a dial of the scheduler, and nobody was there before. */
function isFirstVisit(tx: Transaction, connection: Connection): boolean {
  if (connection.status !== 'connected' && connection.status !== 'closing') return false
  if (connection.cause !== 'schedule' || connection.class === null || connection.address === null) return false
  return (tx.route(connection.address)?.connectionCount ?? 0) <= 1
}

/** Counts a scheduled dial; one beyond the slots is a visit (visits.ts), and the next one has to wait. */
function countDial(tx: Transaction, route: Route, isFirst: boolean): void {
  const { options } = tx
  const {
    dialCount,
    visitYield,
    nextRotationAt,
    lastRotationAt,
    nextTrialAt,
    trialsInVain,
    nextFeelerAt,
    feelerPauseMs,
  } = tx.classState(route.class)
  const isVisit = isFirst && occupancyOf(tx.before, route.class).connected >= slotsMax(options, route.class)
  // No dice: which share of the span it is follows from the peer and the count, which nobody else knows.
  const share = ((route.tie + dialCount * 0x9e3779b1) >>> 0) / 2 ** 32
  const spanMs = options.rotationMinMs + share * (options.rotationMaxMs - options.rotationMinMs)
  const isNewcomer = isTrial(route)
  const pace = Math.min(Math.max(GOOD_YIELD / visitYield, 1), SLOWEST_PACE)
  const around = 0.75 + share / 2
  tx.putClass(route.class, {
    dialCount: dialCount + 1,
    nextRotationAt: isVisit && !isNewcomer ? tx.at + Math.round(spanMs * pace) : nextRotationAt,
    lastRotationAt: isVisit && !isNewcomer ? tx.at : lastRotationAt,
    nextTrialAt: isVisit && isNewcomer ? tx.at + Math.round(trialPause(tx, trialsInVain) * around) : nextTrialAt,
    nextFeelerAt: isVisit && isFeeler(route) ? tx.at + Math.round(feelerPauseMs * around) : nextFeelerAt,
  })
}

/** Class names come from addresses: only so many are counted. */
function isTrackable(tx: Transaction, name: string): boolean {
  const classes = tx.root.classes
  return Object.prototype.hasOwnProperty.call(classes, name) || Object.keys(classes).length < MAX_CLASSES
}

function countOutcome(tx: Transaction, routeClass: string, isSuccess: boolean): void {
  if (!isTrackable(tx, routeClass)) return
  const { successRate } = tx.classState(routeClass)
  const target = isSuccess ? 1 : 0
  tx.putClass(routeClass, { successRate: Math.max(RATE_FLOOR, successRate + (target - successRate) * RATE_WEIGHT) })
}

function dialFailed(tx: Transaction, action: Extract<Action, { type: 'dial/failed' }>): void {
  const peer = tx.peer(action.peer)
  const attempt = peer && takeAttempt(tx, peer, action.attempt, true)
  if (!attempt) return
  const { address } = attempt
  if (action.isGivenUp) linger(tx, [attempt])
  const tried = tx.route(address)
  if (tried && attempt.cause === 'schedule') {
    if (isFeeler(tried)) feelerEnded(tx, tried, false)
    if (isTrial(tried)) trialInVain(tx, attempt.class)
    else visitInVain(tx, attempt)
  }
  const charged = chargeFailure(tx, address, action.error, action.jitter, attempt.startedAt)
  if (charged === 'route') countOutcome(tx, attempt.class, false)
  const request = tx.root.requests.get(peer.id)
  if (request) {
    tx.putRequest({ ...request, tried: [...request.tried, address] })
    settleRequest(tx, peer.id)
  }
  const sync = tx.root.initialSync
  if (sync && sync.peer === null && tx.peer(peer.id)?.connection.status === 'idle') comesLast(tx, sync, peer.id)
  // What a layer explains is no failure of the route: an outage of our own forgets nobody.
  if (charged === 'route') forgetGhost(tx, address)
  forgetTemporary(tx, action.peer)
}

/** In this initial sync the others come first from now on. */
function comesLast(tx: Transaction, sync: InitialSync, id: FeedId): void {
  const stalled = [...sync.stalled.filter((each) => each !== id), id].slice(-MAX_STALLED)
  tx.set({ initialSync: { ...sync, stalled } })
}

/** A LOW route without success for 30 days and 20 failures is forgotten; nobody else ever is. */
function forgetGhost(tx: Transaction, address: Address): void {
  const route = tx.route(address)
  const peer = route && tx.peer(route.peer)
  if (!route || !peer || peer.priority !== 'LOW' || peer.isLongTerm) return
  // An initial sync retries the peer it was asked for until it is stopped.
  if (tx.root.initialSync?.peer === peer.id) return
  const lastGoodAt = Math.max(route.lastConnectionTime, route.addedAt)
  if (route.errorCount >= tx.options.forgetAfterFailures && tx.at - lastGoodAt >= tx.options.forgetAfterMs)
    removeRoute(tx, address)
}

// ---- connections ------------------------------------------------------------------------------------------------------

/** Messages came that we did not have. */
function transferred(tx: Transaction, id: FeedId, count: number): void {
  const peer = tx.peer(id)
  if (peer?.connection.status !== 'connected') return
  const { class: routeClass } = peer.connection
  if (routeClass !== null && tx.classState(routeClass).trialsInVain > 0 && isFirstVisit(tx, peer.connection))
    trialBrought(tx, routeClass)
  tx.putPeer(peer, {
    merit: credit(peer.merit, tx.at, count),
    connection: { ...peer.connection, lastTransferAt: tx.at, isCaughtUp: false },
  })
}

function updateConnected(
  tx: Transaction,
  id: FeedId,
  change: Partial<Extract<Connection, { status: 'connected' }>>,
): void {
  const peer = tx.peer(id)
  if (peer?.connection.status === 'connected') tx.putPeer(peer, { connection: { ...peer.connection, ...change } })
}

function connectionOpened(tx: Transaction, action: Extract<Action, { type: 'connection/opened' }>): void {
  // A client of our own: it has our id and is nobody's business.
  if (action.peer === tx.options.selfId) return
  const peer = ensurePeer(tx, action.peer)
  const before = peer.connection
  if (before.status === 'dialing')
    linger(
      tx,
      before.attempts.filter((attempt) => attempt.id !== action.attempt),
    )
  const isOutbound = action.direction === 'outbound'
  const known = isOutbound && action.address !== null ? tx.route(action.address) : undefined
  const route = known?.peer === peer.id ? known : undefined
  const isOurs = isOutbound && action.cause !== 'foreign'
  if (route && isOurs) countOutcome(tx, route.class, true)
  // That strangers answer is no reason to call more of them.
  if (route && action.cause === 'schedule' && isFeeler(route) && route.tier !== STRANGER_TIER)
    feelerEnded(tx, route, true)
  tx.putPeer(peer, {
    visitedAt: tx.at,
    connection: {
      status: 'connected',
      direction: action.direction,
      address: isOutbound ? action.address : null,
      class: isOurs && route ? route.class : null,
      // A user who asked for a peer that was being dialed anyway has asked for this connection.
      cause: isOurs && tx.root.requests.has(peer.id) ? 'request' : action.cause,
      since: tx.at,
      closeReason: peer.priority === 'BANNED' ? 'banned' : null,
      isCaughtUp: false,
      lastTransferAt: 0,
      rtt: null,
      skew: null,
    },
  })
  tx.dropRequest(action.peer)
  if (route) {
    const present = tx.route(route.address) ?? route
    tx.putRoute(present, {
      lastConnectionTime: tx.at,
      connectionCount: present.connectionCount + 1,
      errorCount: 0,
      nextAttemptAt: 0,
    })
  }
  connectionWorks(tx, action.peer, route)
  if (!isOutbound) {
    const present = tx.peer(action.peer)
    for (const address of present?.routes ?? []) signal(tx, address)
    limitInbound(tx, action.peer)
  }
}

/** Over `maxInbound` strangers go first: the newcomer if he is one, else another stranger, else the newcomer. */
function limitInbound(tx: Transaction, newcomer: FeedId): void {
  const { maxInbound } = tx.options
  const peer = tx.peer(newcomer)
  if (maxInbound === null || tx.state.inboundCount <= maxInbound || !peer) return
  let excess = tx.state.inboundCount - maxInbound
  let victim = peer
  for (const each of tx.state.active.keys()) {
    const { connection } = each
    // Who is to be hung up on comes first there, and is counted already. Beyond them, a stranger who knocks at a full pub costs
    // no walk past all who are in: nobody means less than he.
    if (excess <= 0 || (each.timerAt > 0 && standing(victim) === 0)) break
    if (connection.status !== 'connected' || connection.direction !== 'inbound') continue
    if (connection.closeReason !== null) excess--
    else if (standing(each) < standing(victim)) victim = each
  }
  if (excess > 0 && victim.connection.status === 'connected')
    tx.putPeer(victim, { connection: { ...victim.connection, closeReason: 'maxInbound' } })
}

/** How much a peer that called in means to us: 0 a stranger, of whom nobody told us anything. */
function standing(peer: Peer): number {
  if (peer.isLongTerm) return 4
  // A module that says LOW of somebody without an address says no more than that it does not know him.
  const isUnknown = peer.prioritisedBy === null || (peer.prioritisedBy !== USER && peer.priority === 'LOW')
  if (isUnknown && peer.routes.length === 0) return 0
  return 3 - tierOf(peer.priority)
}

function connectionClosing(tx: Transaction, action: Extract<Action, { type: 'connection/closing' }>): void {
  const peer = tx.peer(action.peer)
  if (peer?.connection.status !== 'connected') return
  const connection = peer.connection
  const isMakingRoom = action.reason === 'rotation' || action.reason === 'lifetime'
  tx.putPeer(peer, {
    // Whoever just made room is not taken back at once.
    heldUntil: isMakingRoom ? tx.at + tx.options.disconnectHoldMs : peer.heldUntil,
    connection: {
      status: 'closing',
      direction: connection.direction,
      address: connection.address,
      class: connection.class,
      cause: connection.cause,
      reason: action.reason,
      since: tx.at,
      connectedSince: connection.since,
    },
  })
}

function connectionClosed(tx: Transaction, id: FeedId, jitter: Jitter): void {
  const peer = tx.peer(id)
  const connection = peer?.connection
  if (!peer || !connection || (connection.status !== 'connected' && connection.status !== 'closing')) return
  const since = connection.status === 'connected' ? connection.since : connection.connectedSince
  const lasted = Math.max(0, tx.at - since)
  const hasBrought = (peer.merit?.broughtAt ?? 0) >= since
  // One that the other side ended at once was no visit; nor does the first of a peer, at a time that nobody chose, tell whether
  // visits are well chosen.
  if (connection.class !== null && connection.cause === 'schedule') {
    const wasVisit = lasted >= tx.options.visitStayMs
    if (!isFirstVisit(tx, connection)) {
      if (hasBrought || wasVisit) countVisit(tx, connection.class, hasBrought)
    } else if (hasBrought) countVisit(tx, connection.class, true)
    else trialInVain(tx, connection.class, wasVisit ? EMPTY_TRIAL : 1)
  }
  tx.putPeer(peer, { connection: IDLE, visitedAt: tx.at, merit: credit(peer.merit, tx.at, 0) })
  const route = connection.address === null ? undefined : tx.route(connection.address)
  if (route && connection.direction === 'outbound') {
    const wasOurs = connection.status === 'closing' || connection.closeReason !== null
    const { stableMs, briefMs } = tx.options
    const change: { -readonly [K in keyof RouteChange]: RouteChange[K] } = {
      lastConnectionTime: tx.at,
      duration: addToStats(route.duration, lasted),
    }
    if (lasted >= stableMs) change.backoffStep = Math.max(0, route.backoffStep - 1)
    if (!wasOurs) {
      // Who takes the call and hangs up at once is not called again at network speed. Nor is who ends a long connection: a pub
      // that restarts ends those of all its clients in the same moment, and would have them all back in the next one.
      const backoffStep =
        lasted < briefMs ? Math.min(route.backoffStep + 1, MAX_STEP) : (change.backoffStep ?? route.backoffStep)
      const ceiling = backoffCeiling(tx.options, peer.priority, peer.isLongTerm)
      change.backoffStep = backoffStep
      noteLoss(tx, route)
      change.nextAttemptAt = tx.at + backoffDelay(tx.options, lasted < stableMs ? backoffStep : 1, ceiling, jitter)
    }
    tx.putRoute(route, change)
  }
  if (connection.direction === 'inbound' && lasted < tx.options.briefMs) pauseAfterCall(tx, peer, connection, jitter)
  forgetTemporary(tx, id)
  forgetIfEmpty(tx, id)
}

/**
 * Who calls and is gone at once, or is sent away for want of room, is not called back at network speed: two sides that
 * refuse each other's calls and give up their own dials for them would go on so for ever.
 */
function pauseAfterCall(tx: Transaction, peer: Peer, connection: Connection, jitter: Jitter): void {
  if (connection.status === 'closing' && connection.reason === 'stopped') return
  const ceiling = backoffCeiling(tx.options, peer.priority, peer.isLongTerm)
  const until = tx.at + backoffDelay(tx.options, 1, ceiling, jitter)
  for (const route of routesOf(tx, peer)) if (route.nextAttemptAt < until) tx.putRoute(route, { nextAttemptAt: until })
}

function connectionStalled(tx: Transaction, id: FeedId): void {
  const sync = tx.root.initialSync
  if (!sync) return
  comesLast(tx, sync, id)
  const peer = tx.peer(id)
  if (peer?.connection.status === 'connected' && peer.connection.direction === 'outbound')
    tx.putPeer(peer, { connection: { ...peer.connection, closeReason: 'stalled' } })
}

// ---- modes ------------------------------------------------------------------------------------------------------------

function activePeers(tx: Transaction): Peer[] {
  return tx.state.active.keysArray()
}

function connectionsStopped(tx: Transaction): void {
  tx.set({ mode: 'off', initialSync: null })
  for (const id of tx.root.requests.keysArray()) {
    tx.dropRequest(id)
    forgetTemporary(tx, id)
  }
  for (const { id } of activePeers(tx)) {
    const peer = tx.peer(id)
    if (!peer) continue
    const connection = peer.connection
    if (connection.status === 'dialing') {
      abandonDials(tx, id)
    } else if (connection.status === 'connected' && connection.closeReason !== 'banned') {
      tx.putPeer(peer, { connection: { ...connection, closeReason: 'stopped' } })
    }
  }
}

/** The user asks for this peer now, whatever happened before. */
function liftPauses(tx: Transaction, id: FeedId): void {
  const peer = tx.peer(id)
  if (!peer) return
  for (const route of routesOf(tx, tx.putPeer(peer, { heldUntil: 0 })))
    if (route.nextAttemptAt > 0) tx.putRoute(route, { nextAttemptAt: 0 })
}

function initialSyncStopped(tx: Transaction): void {
  if (!tx.root.initialSync) return
  tx.set({ initialSync: null })
  if (tx.root.mode === 'on') return
  // The mode from before was off: what the sync opened goes with it.
  for (const { id } of activePeers(tx)) {
    const peer = tx.peer(id)
    const connection = peer?.connection
    if (!peer || !connection) continue
    if (connection.status === 'connected' && connection.cause === 'initialSync')
      tx.putPeer(peer, { connection: { ...connection, closeReason: 'stopped' } })
    if (connection.status === 'dialing' && connection.attempts.every((attempt) => attempt.cause === 'initialSync'))
      abandonDials(tx, id)
  }
}

function optionsChanged(tx: Transaction, options: State['options']): void {
  // Whose manager this is, and the ties, are given at the start: the indexes are built on them. A recording starts with them.
  const { selfId, tieKey } = tx.state.peers.isEmpty ? options : tx.options
  tx.set({ options: { ...options, selfId, tieKey } })
  for (const { id } of activePeers(tx)) tx.refreshTimer(id)
}

/** After the wall clock went back, whatever lies further ahead than its own ceiling allows is drawn in. */
function clockSetBack(tx: Transaction): void {
  const { at } = tx
  tx.set({
    now: at,
    onlineAt: Math.min(tx.root.onlineAt, at),
    lingering: tx.root.lingering.map((entry) => ({
      ...entry,
      until: Math.min(entry.until, at + LINGER_MS),
      deadlineAt: Math.min(entry.deadlineAt, at + LINGER_MS),
    })),
  })
  for (const peer of tx.state.peers.valuesArray()) {
    const connection = peer.connection
    const heldUntil = Math.min(peer.heldUntil, at + tx.options.disconnectHoldMs)
    const visitedAt = Math.min(peer.visitedAt, at)
    const merit = peer.merit && noLater(peer.merit, at)
    const present = tx.putPeer(peer, { heldUntil, visitedAt, merit, connection: connectionSetBack(connection, at) })
    for (const route of routesOf(tx, present)) {
      const ceiling = backoffCeiling(tx.options, present.priority, present.isLongTerm)
      tx.putRoute(route, {
        nextAttemptAt: clampAttempt(route.nextAttemptAt, at, ceiling),
        lastConnectionTime: Math.min(route.lastConnectionTime, at),
        lastErrorTime: Math.min(route.lastErrorTime, at),
        lastSignalAt: Math.min(route.lastSignalAt, at),
        addedAt: Math.min(route.addedAt, at),
      })
    }
  }
  for (const key of tx.state.hosts.keysArray()) {
    if ((tx.state.hosts.get(key) ?? 0) > at) tx.putHost(key, at)
  }
  for (const layer of tx.root.layers.valuesArray())
    tx.putLayer({ ...layer, since: Math.min(layer.since, at), retryAt: Math.min(layer.retryAt, at) })
  for (const name of Object.keys(tx.root.classes)) {
    const { nextRotationAt, lastRotationAt, nextTrialAt, nextFeelerAt } = tx.classState(name)
    tx.putClass(name, {
      lastRotationAt: Math.min(lastRotationAt, at),
      nextRotationAt: Math.min(nextRotationAt, at + tx.options.rotationMaxMs),
      nextTrialAt: Math.min(nextTrialAt, at + tx.options.rotationMaxMs),
      nextFeelerAt: Math.min(nextFeelerAt, at + 2 * tx.options.feelerMs),
    })
  }
}

function connectionSetBack(connection: Connection, at: number): Connection {
  switch (connection.status) {
    case 'idle':
      return connection
    case 'dialing':
      return {
        ...connection,
        since: Math.min(connection.since, at),
        attempts: connection.attempts.map((attempt) =>
          attempt.startedAt <= at
            ? attempt
            : { ...attempt, startedAt: at, deadlineAt: at + (attempt.deadlineAt - attempt.startedAt) },
        ),
      }
    case 'connected':
      return {
        ...connection,
        since: Math.min(connection.since, at),
        lastTransferAt: Math.min(connection.lastTransferAt, at),
      }
    case 'closing':
      return {
        ...connection,
        since: Math.min(connection.since, at),
        connectedSince: Math.min(connection.connectedSince, at),
      }
  }
}
