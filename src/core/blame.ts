/**
 * Whose fault a failed dial is. A failure is charged to the outermost layer that explains it: our own link, the resolver of
 * names, the transport, the intermediary (room), the host, the route. What a layer takes on itself does not count against the route, and what had
 * been charged to routes before the layer was found out is refunded (DESIGN 4, Blame; go-libp2p swarm#37, stellar-core#2915).
 *
 * A layer that works has no entry in the state. One that may be at fault collects *suspects*: failures that it could explain,
 * each with what the route looked like before. It is declared down by the rules below, and its first sign of life refunds
 * all suspects, so that after an outage no peer is worse off than before it.
 */

import { backoffCeiling, backoffDelay, clampAttempt, MAX_STEP } from './backoff'
import { credit, hasBrought, visitPause } from './merit'
import { dialTimeout, slotsMax } from './options'
import type { State, Transaction } from './table'
import { isHostShared, occupancyOf, openQueues, queueStart, routeAfter } from './table'
import { byText, emptyTree } from './tree'
import type { Address, DurationMs, EpochMs, FeedId, Jitter, Layer, Peer, Route, Suspect } from './types'

export interface Failure {
  readonly message: string
  readonly code: string | null
}

export const LINK = 'link'
/** What turns host names into addresses. It may fail while the link works for those who have an address already. */
export const RESOLVER = 'resolver'
export const transportLayer = (protocol: string): string => `transport:${protocol}`
export const portalLayer = (portal: FeedId): string => `portal:${portal}`
export const hostLayer = (hostKey: string): string => `host:${hostKey}`
export const isHostLayer = (key: string): boolean => key.startsWith('host:')

/** Codes by which the machine itself says that it has no way out. */
const LINK_CODES = new Set(['ENETUNREACH', 'ENETDOWN', 'EAI_AGAIN'])
/** Nobody answered: a dead host looks like this, and so does a link that swallows everything. */
const SILENT_CODES = new Set(['ETIMEDOUT', 'EHOSTUNREACH', 'EHOSTDOWN', 'ERR_DIAL_TIMEOUT'])
/** Below the handshake: any other route to the same host and port would have failed as well. */
const HOST_CODES = new Set([...SILENT_CODES, 'ECONNREFUSED', 'ENOTFOUND'])
/** These speak to the other host directly; all others go through something of ours (Tor, a radio, a swarm). */
const DIRECT_PROTOCOLS = new Set(['net', 'ws', 'wss', 'unix', 'tunnel'])
/** multiserver's words for an address that no installed transport can parse. */
const UNSUPPORTED = ['only know:', 'could not connect to:']

const SECOND = 1000
const MINUTE = 60 * SECOND
/** First pause, longest pause. A link comes back by itself and costs little to probe; the others cost more. */
const PROBE: { readonly [kind: string]: readonly [DurationMs, DurationMs] } = {
  link: [SECOND, MINUTE],
  resolver: [SECOND, MINUTE],
  transport: [30 * SECOND, 10 * MINUTE],
  portal: [10 * SECOND, 10 * MINUTE],
  host: [MINUTE, 60 * MINUTE],
}
/** Said by the system itself (no interface): the next word comes from there too, and this is the floor under it. */
const OFFLINE_PROBE_MS = 5 * MINUTE
/**
 * A link that is seen to work so soon after it was taken for down, when something seemed to go through it all along, was not
 * down: the failure was the route's own, and stays charged to it.
 */
const BRIEF_OUTAGE_MS = 5 * SECOND
/** Routes that worked within this time and all fall silent, with nothing else connected, speak against our link. */
const RECENTLY_PROVEN_MS = 7 * 24 * 60 * MINUTE
const SILENT_PROVEN_PEERS = 3
/** Unlike destinations that fail in a row before a transport is declared down. */
const TRANSPORT_FAILURES = 3
/** Enough for every dial of a day; what is beyond keeps its charge. */
const MAX_SUSPECTS = 20_000
const MAX_DEFERRED = 4_096
/** Probes that a route of a peer who is dear to us sits out at most. */
const MAX_TURNS = 16
const MAX_UNTRIED_LOOKS = 32
/** Names of hosts and rooms come from strangers; beyond this many in doubt at once, failures are the routes' own. */
const MAX_LAYERS = 4_096

/** Whether the route needs our link to the outside at all. */
export function needsLink(route: Pick<Route, 'isLocal' | 'scope' | 'protocol'>): boolean {
  return !route.isLocal && route.scope !== 'loopback' && route.protocol !== 'unix' && route.protocol !== 'bt'
}

/** Tor resolves names at the far end. */
function needsResolver(route: Route): boolean {
  return route.scope === 'name' && needsLink(route) && DIRECT_PROTOCOLS.has(route.protocol)
}

/** A neighbour is reached by the same interface. A radio, a socket file and this machine itself are not. */
function isBesideLink({ isLocal, scope, protocol }: Route): boolean {
  return isLocal && scope !== 'loopback' && protocol !== 'unix' && protocol !== 'bt'
}

export function isDown(state: Pick<State, 'layers'>, key: string): Layer | null {
  const layer = state.layers.get(key)
  return layer?.isDown ? layer : null
}

const NONE_DOWN: readonly Layer[] = []

/** The layers above a route that are down, outermost first. */
export function layersDownAbove(state: Pick<State, 'layers' | 'downCount'>, route: Route): readonly Layer[] {
  if (state.downCount === 0) return NONE_DOWN
  const keys = needsLink(route) ? [LINK] : []
  if (needsResolver(route)) keys.push(RESOLVER)
  keys.push(transportLayer(route.protocol))
  if (route.portal !== null) keys.push(portalLayer(route.portal))
  const { hostKey } = route
  if (hostKey !== null) keys.push(hostLayer(hostKey))
  const down: Layer[] = []
  for (const key of keys) {
    const layer = isDown(state, key)
    if (layer) down.push(layer)
  }
  return down
}

/**
 * Until when a layer that is down keeps a route from being dialed. A host is no reason to keep away for longer than the
 * route's own backoff could: whoever names a friend's host under keys of his own would keep us from the friend.
 *
 * Who has failed since the layer went down waits a moment longer than who has not, and the last to fail longest: else the
 * one that the order prefers would be every probe, and if that one is dead the layer would never be seen to work.
 */
export function layerHolds(state: Pick<State, 'options'>, layer: Layer, route: Route, peer: Peer): EpochMs {
  const retryAt = layer.retryAt + turnDelay(layer, route)
  if (!isHostLayer(layer.key)) return retryAt
  const ceiling = backoffCeiling(state.options, peer.priority, peer.isLongTerm)
  return Math.min(retryAt, Math.max(layer.since, route.lastErrorTime) + ceiling)
}

/** Short beside the pauses between probes, long enough for the one before it to begin. */
const MAX_TURN_DELAY_MS = 2_000

function turnDelay({ since, retryAt, suspects }: Layer, route: Route): DurationMs {
  if (retryAt <= since || !suspects.has(route.address)) return 0
  const recency = Math.min(1, Math.max(0, (route.lastErrorTime - since) / (retryAt - since)))
  return Math.ceil(1 + recency * (MAX_TURN_DELAY_MS - 1))
}

/** The next probe of a layer is not before this, once a dial through it has begun: its outcome says when. */
export function probeEndsAt(state: Pick<State, 'options'>, layer: Layer, route: Route, at: EpochMs): EpochMs {
  const [, longest] = probePauses(layer.key)
  const timeoutMs = dialTimeout(state.options, route.class, route.protocol)
  return Math.max(layer.retryAt, at + Math.min(longest, timeoutMs) + 1)
}

/** A dial has begun: of the layers that are down above it, it is the one probe. */
export function probeStarted(tx: Transaction, route: Route): void {
  for (const layer of layersDownAbove(tx.root, route))
    tx.putLayer({ ...layer, retryAt: probeEndsAt(tx, layer, route, tx.at) })
}

/** Whether anything is connected in either direction. */
export function isAnythingConnected(state: Pick<State, 'outbound' | 'inboundCount'>): boolean {
  return state.outbound.size > 0 || state.inboundCount > 0
}

/** Whether a peer's connection goes over our link. Somebody who called in and has a local route is taken for a neighbour. */
function usesLink(state: Pick<State, 'routes'>, { connection, routes }: Peer): boolean {
  if (connection.status !== 'connected') return false
  if (connection.address === null) return !routes.some((address) => state.routes.get(address)?.isLocal)
  const route = state.routes.get(connection.address)
  return !route || needsLink(route)
}

/** A neighbour on the same network says nothing about the way out of it. */
function isLinkInUse(state: Pick<State, 'active' | 'routes'>): boolean {
  for (const peer of state.active.keys()) if (usesLink(state, peer)) return true
  return false
}

/** Whether a failure says that the stack has no transport for the address. */
export function isUnsupported(failure: Failure): boolean {
  return UNSUPPORTED.some((words) => failure.message.includes(words))
}

function hasAnswered(failure: Failure): boolean {
  if (failure.code !== null)
    return failure.code === 'ECONNREFUSED' || failure.code === 'ECONNRESET' || failure.code === 'ENOTFOUND'
  return failure.message.startsWith('shs.')
}

function probePauses(key: string): readonly [DurationMs, DurationMs] {
  return PROBE[key.split(':')[0] ?? ''] ?? [MINUTE, 10 * MINUTE]
}

/** The pause after a failed probe, the first being number 0. */
function probePause(key: string, failureCount: number): DurationMs {
  const [first, longest] = probePauses(key)
  return Math.min(longest, first * 2 ** Math.min(failureCount, 30))
}

function emptyLayer(key: string, at: EpochMs): Layer {
  return {
    key,
    isDown: false,
    since: at,
    failureCount: 0,
    retryAt: at,
    suspects: emptyTree<Address, Suspect>(byText),
    deferred: emptyTree<Address, undefined>(byText),
  }
}

/** The layer as it is, or a new one; null if there are too many already. */
function layerOf(tx: Transaction, key: string): Layer | null {
  const known = tx.root.layers.get(key)
  if (known) return known
  return tx.root.layers.size < MAX_LAYERS ? emptyLayer(key, tx.at) : null
}

function withSuspect(layer: Layer, route: Route, at: EpochMs, wasAlone = true): Layer {
  const known = layer.suspects.get(route.address)
  if (known ? known.wasAlone || !wasAlone : layer.suspects.size >= MAX_SUSPECTS) return layer
  const suspects = layer.suspects.clone()
  if (known) {
    suspects.set(route.address, { ...known, wasAlone })
    return { ...layer, suspects }
  }
  const { errorCount, backoffStep, nextAttemptAt, lastErrorTime, errorLog } = route
  suspects.set(route.address, { errorCount, backoffStep, nextAttemptAt, lastErrorTime, errorLog, at, wasAlone })
  return { ...layer, suspects }
}

/** Declares a layer down, or counts one more failed probe of it. `startedAt`: when the dial that failed began. */
function declareDown(tx: Transaction, layer: Layer, startedAt: EpochMs): void {
  // One of those that were in flight when the layer was found out: it tells nothing new.
  if (layer.isDown && startedAt <= layer.since) return tx.putLayer(layer)
  if (!layer.isDown) refund(tx, layer, false)
  tx.putLayer({
    ...layer,
    isDown: true,
    since: layer.isDown ? layer.since : tx.at,
    failureCount: layer.failureCount + 1,
    retryAt: tx.at + probePause(layer.key, layer.failureCount),
  })
}

/**
 * Gives the suspects back what was charged to them. While the layer is still down their place in the order is kept; when it
 * works again everything is as it was.
 */
function refund(tx: Transaction, layer: Layer, isWhole: boolean): void {
  for (const [address, before] of layer.suspects.entries()) {
    const route = tx.route(address)
    const peer = route && tx.peer(route.peer)
    if (!route || !peer) continue
    // A route that has worked since owes nothing any more.
    if (route.lastConnectionTime > before.at) {
      tx.putRoute(route)
      continue
    }
    const { errorCount, backoffStep, lastErrorTime, errorLog } = before
    // The clock may have been set back since.
    const ceiling = backoffCeiling(tx.options, peer.priority, peer.isLongTerm)
    const nextAttemptAt = clampAttempt(before.nextAttemptAt, tx.at, ceiling)
    const charge = { errorCount, backoffStep, nextAttemptAt }
    tx.putRoute(route, isWhole ? { ...charge, lastErrorTime: Math.min(lastErrorTime, tx.at), errorLog } : charge)
  }
}

function liftDeferrals(tx: Transaction, layer: Layer): void {
  for (const address of layer.deferred.keys()) {
    const route = tx.route(address)
    if (route) tx.putRoute(route)
  }
}

/** A layer has come back: refunds, and lifts what was put off because of it. */
export function layerIsBack(tx: Transaction, key: string): void {
  const layer = tx.root.layers.get(key)
  if (!layer) return
  tx.dropLayer(key)
  refund(tx, layer, true)
  liftDeferrals(tx, layer)
}

/**
 * A sign of life from a layer. If it was thought to be down, it is back. If it was only in doubt, or for a moment, it is
 * cleared of what failed while something else went through it: those failures were the routes' own.
 */
export function layerWorks(tx: Transaction, key: string): void {
  const layer = tx.root.layers.get(key)
  if (!layer) return
  if (!layer.isDown || tx.at - layer.since < BRIEF_OUTAGE_MS)
    tx.putLayer({ ...layer, suspects: layer.suspects.filter((_, before) => before.wasAlone) })
  layerIsBack(tx, key)
}

/** An answer came over a connection. */
export function connectionAnswers(tx: Transaction, peer: Peer): void {
  if (tx.root.layers.has(LINK) && usesLink(tx.before, peer)) layerWorks(tx, LINK)
}

/** All signs of life that a new connection gives; `route` is the one that we dialed. */
export function connectionWorks(tx: Transaction, id: FeedId, route: Route | undefined): void {
  if (tx.root.layers.isEmpty) return
  const peer = tx.peer(id)
  if (peer) connectionAnswers(tx, peer)
  layerWorks(tx, portalLayer(id))
  if (!route) return
  if (needsResolver(route)) layerWorks(tx, RESOLVER)
  layerWorks(tx, transportLayer(route.protocol))
  if (route.portal !== null) layerWorks(tx, portalLayer(route.portal))
  const { hostKey } = route
  if (hostKey !== null) layerWorks(tx, hostLayer(hostKey))
}

/** The system says that there is no link. */
export function linkDown(tx: Transaction): void {
  declareDown(tx, tx.root.layers.get(LINK) ?? emptyLayer(LINK, tx.at), Number.POSITIVE_INFINITY)
  const declared = tx.root.layers.get(LINK)
  if (declared) tx.putLayer({ ...declared, retryAt: tx.at + OFFLINE_PROBE_MS })
}

/** The network has changed: every layer may be probed now. */
export function probeAll(tx: Transaction): void {
  for (const layer of tx.root.layers.valuesArray()) {
    if (!layer.isDown) continue
    tx.putLayer({ ...layer, retryAt: tx.at, deferred: emptyTree<Address, undefined>(byText) })
    liftDeferrals(tx, layer)
  }
}

/** The other side seems to have ended a connection: or is it the link that died? `route`: as it was before that counted. */
export function noteLoss(tx: Transaction, route: Route): void {
  if (needsLink(route) || isBesideLink(route))
    tx.putLayer(withSuspect(tx.root.layers.get(LINK) ?? emptyLayer(LINK, tx.at), route, tx.at, false))
}

/** Remembers that a route was put off because of a layer, so that it comes back with it. */
export function noteDeferral(tx: Transaction, key: string, address: Address): void {
  const layer = tx.root.layers.get(key)
  if (!layer || layer.deferred.size >= MAX_DEFERRED) return
  const deferred = layer.deferred.clone()
  deferred.set(address, undefined)
  tx.putLayer({ ...layer, deferred })
}

function silentProvenPeers(tx: Transaction, layer: Layer): number {
  const peers = new Set<FeedId>()
  for (const [address, before] of layer.suspects.entries()) {
    const route = tx.route(address)
    if (before.wasAlone && route && route.lastConnectionTime > tx.at - RECENTLY_PROVEN_MS) peers.add(route.peer)
    if (peers.size >= SILENT_PROVEN_PEERS) break
  }
  return peers.size
}

/** One failed dial, as the layers look at it. */
interface Charge {
  readonly route: Route
  readonly failure: Failure
  readonly startedAt: EpochMs
}

/** The link's part: its key when it takes the charge, else null. So with the others. */
function chargeLink(tx: Transaction, { route, failure, startedAt }: Charge): string | null {
  const isThroughIt = needsLink(route)
  if (!isThroughIt && !isBesideLink(route)) return null
  if (hasAnswered(failure)) {
    // A proxy on this machine answers for a transport whether or not there is a link.
    if (isThroughIt && DIRECT_PROTOCOLS.has(route.protocol)) layerWorks(tx, LINK)
    return null
  }
  const saysNoWay = failure.code !== null && LINK_CODES.has(failure.code)
  const isSilent = failure.code !== null && SILENT_CODES.has(failure.code)
  // What goes through something of ours (Tor) fails in its words, and as much for want of a link as for any other reason.
  const isVague = isThroughIt && !DIRECT_PROTOCOLS.has(route.protocol)
  if (!saysNoWay && !isSilent && !isVague) return null
  // No way to an IPv6 host is usual on a machine that only has IPv4 and says nothing about the rest of the link.
  if (failure.code === 'ENETUNREACH' && (route.hostKey ?? '').split(':').length > 2) return null
  // Connections that are still open may be dead and not know it yet. Their word stands, but the failure is remembered.
  const isAlone = !isLinkInUse(tx.before)
  const layer = withSuspect(tx.root.layers.get(LINK) ?? emptyLayer(LINK, tx.at), route, tx.at, isAlone)
  tx.putLayer(layer)
  if (!isThroughIt) return null
  // Silence is a guess, to be made only when nothing speaks against it. That there is no way out the machine knows: it may be
  // so while an old connection or a neighbour makes it look as if the link was in use. A resolver fails on its own account.
  const isCertain = saysNoWay && (isAlone || failure.code !== 'EAI_AGAIN')
  const isGuess = !isCertain && (!isSilent || !isAlone || silentProvenPeers(tx, layer) < SILENT_PROVEN_PEERS)
  if (!layer.isDown && isGuess) return null
  declareDown(tx, layer, startedAt)
  // Where the signs differ the route is charged as well: it may be the only one without a way, and would have no pause.
  return isAlone || layer.isDown ? LINK : null
}

/** As with a link whose signs differ: the first failure counts against the route until the resolver is seen to be down. */
function chargeResolver(tx: Transaction, { route, failure, startedAt }: Charge): string | null {
  if (!needsResolver(route)) return null
  if (failure.code !== 'EAI_AGAIN') {
    if (hasAnswered(failure)) layerWorks(tx, RESOLVER)
    return null
  }
  const known = layerOf(tx, RESOLVER)
  if (!known) return null
  declareDown(tx, withSuspect(known, route, tx.at, false), startedAt)
  return known.isDown ? RESOLVER : null
}

function chargeTransport(tx: Transaction, { route, failure, startedAt }: Charge): string | null {
  const key = transportLayer(route.protocol)
  const isMissing = isUnsupported(failure)
  if (!isMissing && DIRECT_PROTOCOLS.has(route.protocol)) return null
  if (occupancyOf(tx.before, route.class).connected > 0) return null
  const known = layerOf(tx, key)
  if (!known) return null
  const layer = withSuspect(known, route, tx.at)
  tx.putLayer(layer)
  if (!layer.isDown && !isMissing && layer.suspects.size < TRANSPORT_FAILURES) return null
  declareDown(tx, layer, startedAt)
  return key
}

function chargePortal(tx: Transaction, { route, startedAt }: Charge): string | null {
  if (route.portal === null || tx.peer(route.portal)?.connection.status === 'connected') return null
  const known = layerOf(tx, portalLayer(route.portal))
  if (!known) return null
  declareDown(tx, withSuspect(known, route, tx.at), startedAt)
  return known.key
}

function chargeHost(tx: Transaction, { route, failure, startedAt }: Charge): string | null {
  const { hostKey } = route
  if (hostKey === null) return null
  const key = hostLayer(hostKey)
  if (failure.code === null || !HOST_CODES.has(failure.code)) {
    if (hasAnswered(failure)) layerWorks(tx, key)
    return null
  }
  // One route alone cannot tell the host's fault from its own.
  if (!isHostShared(tx.before.routes, route.address)) return null
  const known = layerOf(tx, key)
  if (!known) return null
  const layer = withSuspect(known, route, tx.at)
  tx.putLayer(layer)
  if (!layer.isDown && layer.suspects.size < 2) return null
  declareDown(tx, layer, startedAt)
  return key
}

/**
 * When a route that was the probe of a layer in vain may be its probe again: just after the others have had their turn. Else
 * the best of them would be every probe, and if that one is dead, the layer would never be seen to work. While there are
 * routes that have not been tried under the layer, every second probe is left to them.
 */
function nextProbeAt(tx: Transaction, layer: Layer, ceiling: DurationMs): EpochMs {
  const triedCount = Math.max(1, layer.suspects.size)
  const turns = isAnyUntried(tx, layer) ? 2 * triedCount - 1 : triedCount
  const pauseMs = probePause(layer.key, layer.failureCount - 1)
  // A host holds nobody back for longer than his own backoff could (`layerHolds`).
  const longestMs = layer.key.startsWith('host:') ? ceiling : Math.max(ceiling, MAX_TURNS * pauseMs)
  return tx.at + Math.min(longestMs, turns * pauseMs + 1)
}

/** Whether a route that could be the probe has not been tried under the layer. Looks at the best few of each class. */
function isAnyUntried(tx: Transaction, layer: Layer): boolean {
  const { ready } = tx.state
  const isLink = layer.key === LINK
  for (const queue of openQueues(tx.options)) {
    let route = routeAfter(ready, queueStart(queue))
    for (let seen = 0; seen < MAX_UNTRIED_LOOKS && route?.queue === queue; seen++) {
      if (!layer.suspects.has(route.address) && (!isLink || needsLink(route))) return true
      route = routeAfter(ready, route)
    }
  }
  return false
}

/**
 * Who brought something lately is missed: he is looked for as often as he would be visited (of a pause, half is drawn on average),
 * and twice as often while there are slots to fill.
 */
function pauseCeiling(tx: Transaction, peer: Peer, routeClass: string): DurationMs {
  const ceiling = backoffCeiling(tx.options, peer.priority, peer.isLongTerm)
  if (!hasBrought(peer.merit)) return ceiling
  const isFull = occupancyOf(tx.before, routeClass).connected >= slotsMax(tx.options, routeClass)
  const pauseMs = (isFull ? 2 : 1) * visitPause(tx.options, peer)
  return Math.min(ceiling, Math.max(pauseMs, tx.options.backoffMaxMs.HIGH))
}

/**
 * Charges a failed dial, begun at `startedAt`, to whom it belongs. The route goes to the end of the order in any case; its
 * count and its backoff grow only if no layer above explains the failure.
 */
export function chargeFailure(
  tx: Transaction,
  address: Address,
  failure: Failure,
  jitter: Jitter,
  startedAt: EpochMs,
): 'layer' | 'route' {
  const before = tx.route(address)
  const peer = before && tx.peer(before.peer)
  if (!before || !peer) return 'route'
  // Begun while we slept or before our network changed: the answer, if there was one, went elsewhere.
  if (startedAt < tx.root.onlineAt && needsLink(before)) {
    tx.putRoute(before, { lastErrorTime: tx.at })
    return 'layer'
  }
  const charge: Charge = { route: before, failure, startedAt }
  const key =
    chargeLink(tx, charge) ??
    chargeResolver(tx, charge) ??
    chargeTransport(tx, charge) ??
    chargePortal(tx, charge) ??
    chargeHost(tx, charge)
  // Read again: a refund may just have given it back what an earlier failure had cost.
  const route = tx.route(address) ?? before
  const { message, code } = failure
  const errorLog = route.errorLog.with({ message, code, at: tx.at }, address)
  const ceiling = pauseCeiling(tx, peer, route.class)
  const layer = key === null ? undefined : tx.root.layers.get(key)
  if (layer) {
    const wasProbe = startedAt > layer.since
    tx.putRoute(route, { lastErrorTime: tx.at, errorLog, dueAt: wasProbe ? nextProbeAt(tx, layer, ceiling) : 0 })
    return 'layer'
  }
  const backoffStep = Math.min(route.backoffStep + 1, MAX_STEP)
  // While it is gone it brings nothing, and less and less is expected of it.
  if (peer.merit) tx.putPeer(peer, { merit: credit(peer.merit, tx.at, 0) })
  tx.putRoute(tx.route(address) ?? route, {
    lastErrorTime: tx.at,
    errorLog,
    errorCount: route.errorCount + 1,
    backoffStep,
    nextAttemptAt: tx.at + backoffDelay(tx.options, backoffStep, ceiling, jitter),
  })
  return 'route'
}
