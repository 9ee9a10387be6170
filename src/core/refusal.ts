/**
 * Whether a route may be dialed now, and if not, why. One ordered list of named rules: `plan` asks it before each dial, and
 * `explain` answers the user from it, so the two never disagree. Where several rules hold, the first speaks: it is the one
 * that would have to be lifted first.
 */
import { isDown, isUnsupported, LINK, layerHolds, layersDownAbove, needsLink, RESOLVER } from './blame'
import { slotsMax } from './options'
import { tierOf, USER } from './rank'
import { attemptsOf, NEW_CLASS, occupancyOf, type State } from './table'
import type { DialCause, EpochMs, Layer, Peer, Refusal, RefusalReason, Route } from './types'

interface Context {
  readonly state: State
  readonly route: Route
  readonly peer: Peer
  readonly now: EpochMs
  readonly cause: DialCause
}

type Rule = (context: Context) => Refusal | null

function refusal(reason: RefusalReason, message: string, until: EpochMs | null = null): Refusal {
  return { reason, until, message }
}

/** The user asked for this one: only what can never be is refused. */
function isRequest(context: Context): boolean {
  return context.cause === 'request'
}

/** Kept up for good: not refused for want of a slot, nor because its type has none. */
function takesNoSlot(context: Context): boolean {
  return isRequest(context) || context.peer.isLongTerm || context.cause === 'initialSync'
}

const off: Rule = (context) =>
  context.state.mode === 'off' && !context.state.initialSync && !isRequest(context)
    ? refusal('off', 'the manager is off: connections.start() has not been called')
    : null

const banned: Rule = ({ peer }) => (peer.priority === 'BANNED' ? refusal('banned', 'the peer is banned') : null)

const self: Rule = ({ peer, state }) =>
  peer.id === state.options.selfId ? refusal('self', 'this is our own feed id') : null

const initialSync: Rule = (context) =>
  context.state.initialSync && context.cause !== 'initialSync' && !isRequest(context)
    ? refusal('initialSync', 'an initial sync is running: only one connection is kept until it ends')
    : null

const offline: Rule = (context) => {
  if (isRequest(context) || !needsLink(context.route)) return null
  const link = isDown(context.state, LINK)
  return link && link.retryAt > context.now
    ? refusal('offline', 'our own link is down; one route is tried now and then until it is back', link.retryAt)
    : null
}

const peerConnected: Rule = ({ peer }) =>
  peer.connection.status === 'connected' || peer.connection.status === 'closing'
    ? refusal('peerConnected', `the peer has a connection (${peer.connection.direction})`)
    : null

const peerDialing: Rule = ({ peer }) =>
  peer.connection.status === 'dialing' ? refusal('peerDialing', 'the peer is being dialed') : null

const manualOnly: Rule = (context) =>
  !context.route.isAutomatic && !isAskedFor(context)
    ? refusal('manualOnly', 'this route is only dialed by hand: peer.connect')
    : null

/** By name: in a request, or as the peer of an initial sync. */
function isAskedFor(context: Context): boolean {
  const { cause, state, peer } = context
  return isRequest(context) || (cause === 'initialSync' && state.initialSync?.peer === peer.id)
}

const typeDisabled: Rule = (context) =>
  !takesNoSlot(context) && slotsMax(context.state.options, context.route.class) === 0
    ? refusal(
        'typeDisabled',
        `no slots for ${context.route.class}: connections.setMaxByType({${context.route.class}: n})`,
      )
    : null

const backoff: Rule = (context) => {
  if (isRequest(context)) return null
  const { state, route, peer, now } = context
  const held = peer.isLongTerm ? 0 : peer.heldUntil
  // The peer that an initial sync was asked for is waited for: retried as often as a friend, whatever it is to us.
  const isWaitedFor = context.cause === 'initialSync' && state.initialSync?.peer === peer.id
  const triedAt = Math.max(route.lastErrorTime, route.lastConnectionTime)
  const latest = isWaitedFor ? triedAt + state.options.backoffMaxMs.HIGH : route.nextAttemptAt
  const pause = Math.min(route.nextAttemptAt, latest)
  const until = Math.max(pause, held)
  if (until <= now) return null
  if (held > pause) return refusal('backoff', 'we hung up on this peer a moment ago', until)
  const count = route.errorCount
  const why = count > 0 ? `${count} failed dial${count === 1 ? '' : 's'} in a row` : 'the last connection was short'
  return refusal('backoff', why, until)
}

/**
 * Whether anything but a stranger's word speaks for this destination. Such a route is not held up by dials that go to the
 * same host for others: whoever names a friend's host under keys of his own would keep us from the friend.
 */
export function isVouchedFor(route: Route, peer: Peer): boolean {
  const isGiven = GIVEN_SOURCES.has(route.source)
  return isGiven || route.isLocal || peer.isLongTerm || route.lastConnectionTime > 0 || route.tier === tierOf('HIGH')
}

/** What a user gave on purpose: the pub of an invite that is down for a moment is tried again in seconds, not in a minute. */
const GIVEN_SOURCES: ReadonlySet<string> = new Set(['seed', 'invite'])

const hostThrottled: Rule = (context) => {
  const { route, peer, state, now } = context
  if (isRequest(context) || state.hosts.isEmpty || isVouchedFor(route, peer)) return null
  // Asked for by name: as good as somebody's word for it.
  if (context.cause === 'initialSync' && state.initialSync?.peer === peer.id) return null
  const { hostKey } = route
  const dialedAt = hostKey === null ? undefined : state.hosts.get(hostKey)
  if (dialedAt === undefined) return null
  const until = dialedAt + state.options.hostWindowMs
  return until > now ? refusal('hostThrottled', `${hostKey} was dialed less than a minute ago`, until) : null
}

const transportDown: Rule = (context) => {
  if (isRequest(context)) return null
  const { state, route, peer, now } = context
  for (const layer of layersDownAbove(state, route)) {
    const until = layerHolds(state, layer, route, peer)
    if (layer.key !== LINK && until > now)
      return refusal('transportDown', `${layer.key} is down, its routes are not to blame`, until)
  }
  return null
}

/**
 * How many more dials this class may begin for its free slots, by how often its dials succeed: as many as are expected to
 * fill them, at most twice as many and two (geth overshoots by a fixed factor of two). A dial in flight that most others
 * would have answered by now is not counted on any more.
 */
export function dialsWanted(state: State, routeClass: string, now: EpochMs): number {
  const free = freeSlots(state, routeClass)
  if (free <= 0) return 0
  const known = Object.prototype.hasOwnProperty.call(state.classes, routeClass) ? state.classes[routeClass] : undefined
  // Rounding: 3 / 0.999… is 4 only by the last bit of the average.
  const expected = Math.max(1, Math.round(free / (known ?? NEW_CLASS).successRate))
  return Math.min(expected, 2 * free + 2) - hopefulDials(state, routeClass, now).length
}

function freeSlots(state: State, routeClass: string): number {
  const { connected, closing } = occupancyOf(state, routeClass)
  return slotsMax(state.options, routeClass) - connected - closing
}

/** Until when each dial in flight that may well succeed yet is counted on. */
function hopefulDials(state: State, routeClass: string, now: EpochMs): EpochMs[] {
  const found: EpochMs[] = []
  if (occupancyOf(state, routeClass).dialing === 0) return found
  for (const { timerAt, connection } of state.active.keys()) {
    // Sorted by it: the others are connected.
    if (timerAt === Number.POSITIVE_INFINITY) break
    const until = Math.max(
      ...attemptsOf(connection).map((each) =>
        each.class === routeClass ? hopeOf(state, each.startedAt, each.deadlineAt) : 0,
      ),
    )
    if (until > now) found.push(until)
  }
  return found
}

/**
 * Until when a dial is counted on. Most that succeed do so within a part of what they are given. After an interruption we are in
 * a hurry, and most of those that we had are there: the few round trips that they take are all that is waited for before another
 * begins.
 */
export function hopeOf({ onlineAt }: State, startedAt: EpochMs, deadlineAt: EpochMs): EpochMs {
  const isHurried = startedAt - onlineAt < HURRIED_MS
  return startedAt + Math.ceil((deadlineAt - startedAt) / (isHurried ? HURRIED_PART : HOPE_PART))
}

const HOPE_PART = 6
const HURRIED_PART = 20
const HURRIED_MS = 5_000

/** Until when somebody is still counted on to answer in a class; 0 if nobody is. */
export function hopeEndsAt(state: State, routeClass: string, now: EpochMs): EpochMs {
  return Math.max(...hopefulDials(state, routeClass, now), 0)
}

/** When the next dial in flight of a class is no longer counted on, so that another may begin; Infinity if none will. */
export function hopeWanesAt(state: State, routeClass: string, now: EpochMs): EpochMs {
  if (freeSlots(state, routeClass) <= 0) return Number.POSITIVE_INFINITY
  return Math.min(...hopefulDials(state, routeClass, now), Number.POSITIVE_INFINITY)
}

const slotsFull: Rule = (context) => {
  if (takesNoSlot(context)) return null
  const { state, route, now } = context
  if (dialsWanted(state, route.class, now) > 0) return null
  const { connected, dialing, closing } = occupancyOf(state, route.class)
  const max = slotsMax(state.options, route.class)
  return refusal(
    'slotsFull',
    `all ${max} slots for ${route.class} are taken (${connected} connected, ${dialing} dialing, ${closing} closing)`,
  )
}

/** The rules in their order; the list is the documentation. */
export const RULES: readonly Rule[] = [
  off,
  banned,
  self,
  initialSync,
  offline,
  peerConnected,
  peerDialing,
  manualOnly,
  typeDisabled,
  backoff,
  hostThrottled,
  transportDown,
  slotsFull,
]

/** The first rule that forbids dialing `route` now, or null. `cause`: on whose behalf the dial would be. */
export function whyNotDial(state: State, route: Route, peer: Peer, now: EpochMs, cause: DialCause): Refusal | null {
  const context: Context = { state, route, peer, now, cause }
  for (const rule of RULES) {
    const found = rule(context)
    if (found) return found
  }
  return null
}

// ---- what would change it -----------------------------------------------------------------------------------------------

/** Times in sentences. */
export function timeText(at: EpochMs): string {
  return new Date(at).toISOString()
}

/** What to do about a layer that is down. `isMissing`: nothing on this stack speaks the protocol. */
export function layerRemedy(key: string, isMissing: boolean): string {
  const name = key.slice(key.indexOf(':') + 1)
  if (key === LINK) return 'check the network of this machine: cable, wireless, flight mode, firewall'
  if (key === RESOLVER) return 'check the name servers of this machine (DNS)'
  if (key.startsWith('portal:')) return 'the room has to come back first; peer.explain of the room says more'
  if (key.startsWith('host:'))
    return 'the host has to come back first; if it has moved, add its new address with peer.addRoute'
  if (isMissing)
    return `add a transport for ${name} to the stack, or leave it out: connections.setMaxByType({${name}: 0})`
  if (key === 'transport:onion')
    return 'start Tor: its SOCKS proxy is looked for at 127.0.0.1, port 9050 (or 9150, the one of Tor Browser)'
  return `see whether what dials ${name} on this machine runs`
}

/** Of those that failed under a layer, so many are asked for what they said. */
const MAX_ASKED = 16

/** Whether a transport is down because the stack has none for the protocol: what was dialed through it says so. */
export function isTransportMissing(state: State, layer: Layer): boolean {
  let asked = 0
  for (const address of layer.suspects.keys()) {
    const errors = state.routes.get(address)?.errors ?? []
    const last = errors[errors.length - 1]
    if (last && isUnsupported(last)) return true
    if (++asked === MAX_ASKED) return false
  }
  return false
}

/**
 * What would lift a refusal, one sentence that names the call; null where there is nothing to do. Apart from the rules, as they
 * are asked before each dial, and this only by people.
 */
export function remedyOf(refused: Refusal, state: State, route: Route, peer: Peer, now: EpochMs): string | null {
  const name = route.class
  const soon = refused.until === null ? '' : `it is tried again at ${timeText(refused.until)}`
  switch (refused.reason) {
    case 'off':
      return 'connections.start() dials whoever is known; peer.connect dials this one alone'
    case 'banned':
      return banRemedy(peer)
    case 'self':
      return null
    case 'initialSync':
      return 'initialSync.stop() ends the sync; peer.connect dials this one all the same'
    case 'offline':
      return `${layerRemedy(LINK, false)}; ${soon}`
    case 'peerConnected':
      return peer.connection.status === 'closing'
        ? 'nothing: it is being hung up on, and may be dialed after that'
        : null
    case 'peerDialing': {
      const ends = attemptsOf(peer.connection).map((attempt) => attempt.deadlineAt)
      return `nothing: the dial has an outcome by ${timeText(Math.max(now, ...ends))}`
    }
    case 'manualOnly':
      return 'peer.connect dials it; conn.remember(address, {autoconnect: true}) leaves it to the scheduler'
    case 'typeDisabled':
      return `connections.setMaxByType({${name}: 3}) gives it slots; peer.setLongTerm and peer.connect do without one`
    case 'backoff':
    case 'hostThrottled':
    case 'transportDown': {
      // Pauses come before layers in the rules, and yet it is the layer that has to be mended.
      const [layer] = layersDownAbove(state, route)
      const todo = layer ? `${layerRemedy(layer.key, isTransportMissing(state, layer))}; ` : ''
      const orElse =
        route.errorCount > 0 && !layer
          ? '; peer.addRoute with the new address if it has moved; peer.removeRoute if the address is out of date'
          : ''
      return `${todo}${soon}; peer.connect dials now${orElse}`
    }
    case 'slotsFull': {
      const more = slotsMax(state.options, name) + 1
      return `connections.setMaxByType({${name}: ${more}}) gives it a slot; peer.setLongTerm and peer.connect do without one; else it waits for its turn`
    }
    default: {
      const unknown: never = refused.reason
      return unknown
    }
  }
}

export function banRemedy({ prioritisedBy }: Pick<Peer, 'prioritisedBy'>): string {
  return prioritisedBy === null || prioritisedBy === USER
    ? "peer.setPriority({id, priority: 'AUTO'}) lifts the ban"
    : `unblock it where it was blocked (${prioritisedBy}), or overrule that: peer.setPriority({id, priority: 'MEDIUM'})`
}
