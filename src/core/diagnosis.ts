/**
 * What is wrong, if anything, and what to do about it: for people who ask why nothing is connected. Pure: computed from the
 * state and the time, in one pass over the table; meant for people, not for a hot path.
 *
 * What lies outside of the state is left to whoever sees it (the command `doctor`): whether Tor or any other helper runs on
 * this machine, whether the other plugins that we need are loaded, whether a user asked for a peer that is banned (it was
 * refused, and nothing of it is kept).
 */
import { isDown, LINK, RESOLVER } from './blame'
import { slotsMax } from './options'
import { routesOfPeer } from './plan'
import { compareRoutesOfPeer, STRANGER_TIER, tierOf } from './rank'
import { isTransportMissing, layerRemedy, timeText } from './refusal'
import { occupancyOf, type State } from './table'
import type { DurationMs, EpochMs, FeedId, Layer, Peer, Route } from './types'

/** One thing that somebody should know. */
export interface Finding {
  /** Stable: programs may go by it. */
  readonly code: string
  /** `error`: nothing works until it is mended; `warning`: worse than it could be; `info`: good to know. */
  readonly severity: Severity
  /** One sentence: what is the case, with its numbers. */
  readonly message: string
  /** One sentence: what to do; null where nothing has to be done. */
  readonly remedy: string | null
  /** Since when, where that is known. */
  readonly since: EpochMs | null
  /** Whom it concerns; at most 20. */
  readonly peers: readonly FeedId[]
}

export type Severity = 'error' | 'warning' | 'info'

/** Worst first. */
export const SEVERITIES: readonly Severity[] = ['error', 'warning', 'info']

/** In the order in which they are looked for, which is also that of findings of one severity. */
export const FINDING_CODES = [
  'off',
  'initialSync',
  'linkDown',
  'resolverDown',
  'transportDown',
  'transportMissing',
  'nothingKnown',
  'typeDisabled',
  'manualOnly',
  'allRoutesDead',
  'classDead',
  'notConnected',
  'slotsHeldByLongTerm',
  'longTermOverSlots',
  'roomsDown',
  'hostsDown',
  'onlyStrangers',
  'nothingTransferred',
  'clockSetBack',
  'clockWrong',
  'bannedButWanted',
  'wantedWithoutRoute',
  'longTermAway',
  'friendsAway',
  'longTermFailing',
  'friendsFailing',
  'inboundFull',
  'tableFull',
] as const

export type FindingCode = (typeof FINDING_CODES)[number]

export interface DiagnosisOptions {
  /** HIGH and long-term peers that have not been connected for longer are named. Default a week. */
  readonly awayMs?: DurationMs
}

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const AWAY_MS = 7 * DAY
const MAX_PEERS = 20
/** Names that a sentence lists; the others are counted. */
const MAX_NAMES = 3
/** One failure or two happen to everybody. */
const DEAD_FAILURES = 3
/** Clocks that are kept in step by small corrections step back by less than this (shell/scheduler.ts). */
const CLOCK_TOLERANCE_MS = SECOND
const BANNED_TIER = tierOf('BANNED')
/** Of the routes of long-term peers (types.ts, `RankKey`). */
const LONG_TERM_QUEUE = ''
/** Many clocks are off by some seconds; messages of an hour from now are odd to everybody. */
const SKEW_MS = 5 * MINUTE
const SKEWED_PEERS = 3
/** A connection that was up for this long and brought nothing has most likely nothing to bring … */
const QUIET_CONNECTION_MS = HOUR
/** … and when nothing has come from anybody for this long, it is rather us. */
const QUIET_MS = 6 * HOUR
/** An initial sync without a connection for this long is stuck. */
const SYNC_STUCK_MS = 2 * MINUTE

/** Figures of the routes that the scheduler may ever dial, in all or of one class. */
interface Count {
  routes: number
  /** Of these, with so many failures in a row that they must be taken for dead. */
  dead: number
  /** Of these, with any. */
  failing: number
  /** Failed dials in a row, of all of them. */
  failures: number
  lastConnectionAt: EpochMs
  nextAttemptAt: EpochMs
}

interface Survey {
  readonly all: Count
  readonly byClass: ReadonlyMap<string, Count>
  /** Routes of classes without a slot, by class. */
  readonly disabled: ReadonlyMap<string, number>
  readonly manualCount: number
  readonly strangerCount: number
  /** Of peers that are not banned. */
  readonly routeCount: number
  /** Routes of idle peers that are not long-term, by class. */
  readonly waiting: ReadonlyMap<string, number>
  /** Peers that somebody asked to be connected to for good, and HIGH ones; banned ones are among the first. */
  readonly longTerm: readonly Peer[]
  readonly high: readonly Peer[]
  /** When the last message came from anybody; 0: never. */
  readonly broughtAt: EpochMs
}

interface Context {
  readonly state: State
  /** Of the manager, which never goes back. */
  readonly at: EpochMs
  /** Of the clock. */
  readonly now: EpochMs
  readonly awayMs: DurationMs
  readonly survey: Survey
  /** Connected peers. */
  readonly connected: readonly Peer[]
  /** What was found before: the cause of a thing is looked for before the thing. */
  readonly has: (...codes: readonly FindingCode[]) => boolean
  readonly hasError: () => boolean
}

type Rule = (context: Context) => readonly (Finding | null)[] | Finding | null

/**
 * Everything that is wrong, worst first; empty when all is well. `now`: epoch ms of the clock, which may have been set back
 * since the last action. While the manager is off, or an initial sync runs, what follows from that is left out.
 */
export function diagnose(state: State, now: EpochMs, { awayMs = AWAY_MS }: DiagnosisOptions = {}): Finding[] {
  const found: Finding[] = []
  const connected: Peer[] = []
  for (const peer of state.active.keys()) if (peer.connection.status === 'connected') connected.push(peer)
  const context: Context = {
    state,
    at: Math.max(now, state.now),
    now,
    awayMs,
    survey: surveyOf(state),
    connected,
    has: (...codes) => found.some(({ code }) => (codes as readonly string[]).includes(code)),
    hasError: () => found.some(({ severity }) => severity === 'error'),
  }
  for (const rule of RULES) {
    const said = rule(context)
    for (const each of Array.isArray(said) ? said : [said]) if (each) found.push(each as Finding)
  }
  // A stable sort: among equals in the order of the rules.
  return found.sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity))
}

// ---- one pass over the table --------------------------------------------------------------------------------------------

function emptyCount(): Count {
  return {
    routes: 0,
    dead: 0,
    failing: 0,
    failures: 0,
    lastConnectionAt: 0,
    nextAttemptAt: Number.POSITIVE_INFINITY,
  }
}

function countRoute(count: Count, route: Route): void {
  count.routes++
  if (route.errorCount >= DEAD_FAILURES) count.dead++
  if (route.errorCount > 0) count.failing++
  count.failures += route.errorCount
  count.lastConnectionAt = Math.max(count.lastConnectionAt, route.lastConnectionTime)
  count.nextAttemptAt = Math.min(count.nextAttemptAt, route.dueAt)
}

/** Looks at each route and each peer once, and at none by its name: that would cost more than all the rest. */
function surveyOf(state: State): Survey {
  const all = emptyCount()
  const byClass = new Map<string, Count>()
  const disabled = new Map<string, number>()
  const waiting = new Map<string, number>()
  let manualCount = 0
  let strangerCount = 0
  let routeCount = 0
  const busy = new Set<FeedId>()
  for (const { id } of state.active.keys()) busy.add(id)
  for (const route of state.routes.values()) {
    if (route.tier === BANNED_TIER) continue
    routeCount++
    if (!route.isAutomatic) {
      manualCount++
      continue
    }
    const name = route.class
    const isLongTerm = route.queue === LONG_TERM_QUEUE
    if (!isLongTerm && slotsMax(state.options, name) === 0) {
      disabled.set(name, (disabled.get(name) ?? 0) + 1)
      continue
    }
    let count = byClass.get(name)
    if (!count) {
      count = emptyCount()
      byClass.set(name, count)
    }
    countRoute(count, route)
    countRoute(all, route)
    if (route.tier === STRANGER_TIER) strangerCount++
    if (!isLongTerm && !busy.has(route.peer)) waiting.set(name, (waiting.get(name) ?? 0) + 1)
  }
  const longTerm: Peer[] = []
  const high: Peer[] = []
  let broughtAt = 0
  for (const peer of state.peers.values()) {
    if (peer.isLongTerm) longTerm.push(peer)
    else if (peer.priority === 'HIGH') high.push(peer)
    const { merit } = peer
    if (merit && merit.broughtAt > broughtAt) broughtAt = merit.broughtAt
  }
  return { all, byClass, disabled, manualCount, strangerCount, routeCount, waiting, longTerm, high, broughtAt }
}

// ---- sentences ----------------------------------------------------------------------------------------------------------

function finding(
  severity: Severity,
  code: FindingCode,
  message: string,
  remedy: string | null,
  more: { readonly since?: EpochMs | null; readonly peers?: readonly FeedId[] } = {},
): Finding {
  const { since = null, peers = [] } = more
  return { code, severity, message, remedy, since: since || null, peers: peers.slice(0, MAX_PEERS) }
}

function counted(count: number, one: string): string {
  return `${count} ${one}${count === 1 ? '' : 's'}`
}

const UNITS: readonly (readonly [DurationMs, string])[] = [
  [DAY, 'day'],
  [HOUR, 'hour'],
  [MINUTE, 'minute'],
  [SECOND, 'second'],
]

/** In the largest unit that fits, rounded down. */
function durationText(ms: DurationMs): string {
  for (const [unitMs, name] of UNITS) if (ms >= unitMs) return counted(Math.floor(ms / unitMs), name)
  return 'less than a second'
}

/** The first few names, and how many more. What comes from addresses is cut and has no control characters. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMES).map((name) => name.replace(/\p{C}/gu, '').slice(0, 80))
  const rest = names.length - shown.length
  return rest > 0 ? `${shown.join(', ')} and ${rest} more` : shown.join(', ')
}

function lastWorked(at: EpochMs): string {
  return at > 0 ? `; the last connection was on ${timeText(at)}` : '; none of them has ever worked'
}

/** Nothing is dialed by the scheduler at all, so that what follows from that is no finding of its own. */
function isIdle({ state }: Context): boolean {
  return state.mode === 'off' || state.initialSync !== null
}

function layersDown(state: State, prefix: string): Layer[] {
  if (state.downCount === 0) return []
  return state.layers.valuesArray().filter((layer) => layer.isDown && layer.key.startsWith(prefix))
}

const nameOfLayer = ({ key }: Layer): string => key.slice(key.indexOf(':') + 1)
const earliest = (layers: readonly Layer[]): EpochMs => Math.min(...layers.map(({ since }) => since))

/** Peers of the routes that failed under some layers. */
function peersUnder(state: State, layers: readonly Layer[]): FeedId[] {
  const peers = new Set<FeedId>()
  for (const layer of layers)
    for (const address of layer.suspects.keys()) {
      const id = state.routes.get(address)?.peer
      if (id !== undefined) peers.add(id)
      if (peers.size === MAX_PEERS) return [...peers]
    }
  return [...peers]
}

// ---- the rules ----------------------------------------------------------------------------------------------------------

const off: Rule = ({ state }) =>
  state.mode === 'off' && !state.initialSync
    ? finding(
        'error',
        'off',
        `the manager is off: nobody is dialed (${counted(state.peers.size, 'peer')} known)`,
        'connections.start(), or autostart: true in the configuration',
      )
    : null

const initialSync: Rule = ({ state, at, connected }) => {
  const sync = state.initialSync
  if (!sync) return null
  const stop = 'initialSync.stop() ends it; everybody else waits until then'
  const { since } = sync
  if (connected.length === 0 && at - since > SYNC_STUCK_MS)
    return finding('warning', 'initialSync', 'an initial sync runs, and has no connection', stop, { since })
  return finding('info', 'initialSync', 'an initial sync runs: one connection is kept, all else waits', stop, { since })
}

const linkDown: Rule = ({ state, connected }) => {
  const layer = isDown(state, LINK)
  if (!layer) return null
  const message = `our own link is down; it is tried again on ${timeText(layer.retryAt)}, or as soon as the network changes`
  // Neighbours may be connected all the same.
  const severity = connected.length > 0 ? 'warning' : 'error'
  return finding(severity, 'linkDown', message, layerRemedy(LINK, false), { since: layer.since })
}

const resolverDown: Rule = ({ state, connected }) => {
  const layer = isDown(state, RESOLVER)
  if (!layer) return null
  const severity = connected.length > 0 ? 'warning' : 'error'
  const message = `host names are not resolved; it is tried again on ${timeText(layer.retryAt)}`
  return finding(severity, 'resolverDown', message, layerRemedy(RESOLVER, false), { since: layer.since })
}

const transports: Rule = ({ state, survey, connected }) =>
  layersDown(state, 'transport:').map((layer) => {
    const name = nameOfLayer(layer)
    const count = survey.byClass.get(name)?.routes ?? 0
    if (count === 0) return null
    const isMissing = isTransportMissing(state, layer)
    const isAll = connected.length === 0 && count === survey.all.routes
    const why = isMissing
      ? `this stack has no transport for ${listed([name])}`
      : name === 'onion'
        ? 'every onion dial fails: most likely Tor does not run'
        : `every dial by ${listed([name])} fails`
    return finding(
      isAll ? 'error' : 'warning',
      isMissing ? 'transportMissing' : 'transportDown',
      `${why} (${counted(count, 'route')}); it is tried again on ${timeText(layer.retryAt)}`,
      layerRemedy(layer.key, isMissing),
      { since: layer.since, peers: peersUnder(state, [layer]) },
    )
  })

const nothingKnown: Rule = ({ survey, connected }) =>
  survey.routeCount === 0 && connected.length === 0
    ? finding(
        'error',
        'nothingKnown',
        'no address of anybody is known, and nobody has called in',
        'use an invite of a pub or a room, or add an address with peer.addRoute; peers on the local network come by themselves with ssb-lan',
      )
    : null

const typeDisabled: Rule = ({ survey, connected }) => {
  if (survey.all.routes > 0 || survey.disabled.size === 0) return null
  const most = [...survey.disabled].sort((a, b) => b[1] - a[1])
  const names = most.map(([name, count]) => `${name} (${counted(count, 'route')})`)
  return finding(
    connected.length > 0 ? 'warning' : 'error',
    'typeDisabled',
    `all that is known are routes of classes without a slot: ${listed(names)}`,
    `connections.setMaxByType({${most[0]?.[0]}: 3})`,
  )
}

const manualOnly: Rule = ({ survey, connected }) =>
  survey.manualCount > 0 && survey.manualCount === survey.routeCount
    ? finding(
        connected.length > 0 ? 'warning' : 'error',
        'manualOnly',
        `all that is known (${counted(survey.manualCount, 'route')}) is only dialed by hand`,
        'peer.connect dials one of them; conn.remember(address, {autoconnect: true}) leaves it to the scheduler',
      )
    : null

function deadText(count: Count, what: string): string {
  return `${what} dead: ${counted(count.failures, 'failed dial')} in a row in all${lastWorked(count.lastConnectionAt)}`
}

const allRoutesDead: Rule = (context) => {
  const { survey, connected, has } = context
  const { all } = survey
  if (isIdle(context) || has('linkDown') || connected.length > 0) return null
  if (all.routes === 0 || all.dead < all.routes) return null
  return finding(
    'error',
    'allRoutesDead',
    deadText(all, all.routes === 1 ? 'the only route is' : `all ${all.routes} routes are`),
    `they are tried again by themselves, the next one ${nextText(all)}; add another address: an invite of a pub or a room, or peer.addRoute`,
    { since: all.lastConnectionAt, peers: deadPeers(context, null) },
  )
}

function nextText({ nextAttemptAt }: Count): string {
  return nextAttemptAt > 0 && Number.isFinite(nextAttemptAt) ? `on ${timeText(nextAttemptAt)}` : 'at once'
}

/** Some of those whose routes are dead, of one class or of any. */
function deadPeers({ state }: Context, name: string | null): FeedId[] {
  const peers = new Set<FeedId>()
  for (const route of state.routes.values()) {
    if (route.tier === BANNED_TIER || (name !== null && route.class !== name)) continue
    if (route.errorCount >= DEAD_FAILURES) peers.add(route.peer)
    if (peers.size === MAX_PEERS) break
  }
  return [...peers]
}

const classDead: Rule = (context) => {
  const { state, survey, has } = context
  if (isIdle(context) || has('linkDown', 'allRoutesDead')) return null
  return [...survey.byClass].map(([name, count]) => {
    const isUsed = occupancyOf(state, name).connected > 0
    if (isUsed || count.dead < count.routes || isDown(state, `transport:${name}`)) return null
    return finding(
      'warning',
      'classDead',
      deadText(count, count.routes === 1 ? `the only ${name} route is` : `all ${count.routes} ${name} routes are`),
      `they are tried again by themselves, the next one ${nextText(count)}; add another address of this kind, or peer.removeRoute`,
      { since: count.lastConnectionAt, peers: deadPeers(context, name) },
    )
  })
}

/** No error above explains it: there is somebody to dial, and it has not worked yet. */
const notConnected: Rule = (context) => {
  const { state, survey, connected, hasError } = context
  const { all } = survey
  if (isIdle(context) || connected.length > 0 || all.routes === 0 || hasError()) return null
  const dialing = state.attemptCount
  return finding(
    all.failing > 0 ? 'warning' : 'info',
    'notConnected',
    `nobody is connected: ${counted(all.routes, 'route')} may be dialed, ${all.failing} of them failed the last time, ${dialing} ${dialing === 1 ? 'is' : 'are'} being dialed now`,
    dialing > 0
      ? 'wait for the dials under way; peer.explain says more about each peer'
      : `the next dial comes ${nextText(all)}; peer.connect dials at once`,
    { since: all.lastConnectionAt },
  )
}

const slotsHeldByLongTerm: Rule = (context) => {
  const { state, survey, connected } = context
  if (isIdle(context)) return null
  return Object.keys(state.occupancy).map((name) => {
    const max = slotsMax(state.options, name)
    const waiting = survey.waiting.get(name) ?? 0
    const held = connected.filter(({ connection }) => connection.status === 'connected' && connection.class === name)
    if (max === 0 || waiting === 0 || held.length < max || !held.every(({ isLongTerm }) => isLongTerm)) return null
    return finding(
      'warning',
      'slotsHeldByLongTerm',
      `all ${counted(max, 'slot')} for ${name} ${max === 1 ? 'is' : 'are'} held by long-term peers, none of which makes room, and ${counted(waiting, 'route')} of others wait`,
      `connections.setMaxByType({${name}: ${held.length + 2}}), or peer.setLongTerm({id, isLongTerm: false}) for some of them`,
      { peers: held.map(({ id }) => id) },
    )
  })
}

/** Each long-term peer by the class of its best route. */
function longTermByClass({ state, survey }: Context): Map<string, FeedId[]> {
  const found = new Map<string, FeedId[]>()
  for (const peer of survey.longTerm) {
    if (peer.priority === 'BANNED') continue
    const best = routesOfPeer(state, peer).sort(compareRoutesOfPeer)[0]
    if (best) found.set(best.class, [...(found.get(best.class) ?? []), peer.id])
  }
  return found
}

const longTermOverSlots: Rule = (context) => {
  const { state, has } = context
  if (has('slotsHeldByLongTerm')) return null
  return [...longTermByClass(context)].map(([name, peers]) => {
    const max = slotsMax(state.options, name)
    if (max === 0 || peers.length <= max) return null
    return finding(
      'info',
      'longTermOverSlots',
      `${peers.length} long-term peers have their best route in ${name}, which has ${counted(max, 'slot')}: when they are connected, nobody else gets one`,
      `connections.setMaxByType({${name}: ${peers.length + 2}})`,
      { peers },
    )
  })
}

const roomsDown: Rule = ({ state }) => {
  const rooms = layersDown(state, 'portal:')
  if (rooms.length === 0) return null
  const message = `${counted(rooms.length, 'room')} cannot be reached, and nobody through ${rooms.length === 1 ? 'it' : 'them'}`
  return finding('warning', 'roomsDown', message, layerRemedy('portal:', false), {
    since: earliest(rooms),
    peers: rooms.map(nameOfLayer),
  })
}

const hostsDown: Rule = ({ state }) => {
  const hosts = layersDown(state, 'host:')
  if (hosts.length === 0) return null
  const message = `${counted(hosts.length, 'host')} with several routes ${hosts.length === 1 ? 'does' : 'do'} not answer: ${listed(hosts.map(nameOfLayer))}`
  return finding('info', 'hostsDown', message, layerRemedy('host:', false), {
    since: earliest(hosts),
    peers: peersUnder(state, hosts),
  })
}

const onlyStrangers: Rule = ({ survey, connected }) => {
  const { all, strangerCount } = survey
  if (all.routes === 0 || strangerCount < all.routes) return null
  return finding(
    connected.length > 0 ? 'info' : 'warning',
    'onlyStrangers',
    `all ${counted(all.routes, 'route')} that may be dialed are of strangers, taken from pub messages`,
    'use an invite, follow somebody, or add the address of somebody whom you know: peer.addRoute',
  )
}

const nothingTransferred: Rule = (context) => {
  const { state, survey, connected, at } = context
  if (state.mode === 'off') return null
  let longestSince = Number.POSITIVE_INFINITY
  for (const { connection } of connected) {
    if (connection.status !== 'connected') continue
    // Somebody has compared all with us, and there was nothing that we lack: silence is what there is.
    if (connection.isCaughtUp) return null
    longestSince = Math.min(longestSince, connection.since)
  }
  if (at - longestSince < QUIET_CONNECTION_MS) return null
  const { broughtAt } = survey
  if (at - broughtAt < QUIET_MS) return null
  const last = broughtAt > 0 ? `for ${durationText(at - broughtAt)}` : 'ever'
  return finding(
    'warning',
    'nothingTransferred',
    `${counted(connected.length, 'peer')} connected, and no message has come from anybody ${last}`,
    'see whether anything replicates: replicationScheduler.status(), and whether ssb-ebt is on the stack',
    { since: broughtAt, peers: connected.map(({ id }) => id) },
  )
}

const clockSetBack: Rule = ({ state, now }) => {
  const aheadMs = state.now - now
  if (aheadMs <= CLOCK_TOLERANCE_MS) return null
  return finding(
    'warning',
    'clockSetBack',
    `the clock of this machine was set back by ${durationText(aheadMs)}`,
    'see whether it is right now; with the next dial or event all pauses are drawn in',
  )
}

const clockWrong: Rule = ({ connected }) => {
  const skews: number[] = []
  for (const { connection } of connected)
    if (connection.status === 'connected' && connection.skew) skews.push(connection.skew.mean)
  if (skews.length < SKEWED_PEERS) return null
  skews.sort((a, b) => a - b)
  const median = skews[Math.floor(skews.length / 2)] as number
  if (Math.abs(median) < SKEW_MS) return null
  return finding(
    'warning',
    'clockWrong',
    `the clock of this machine is ${durationText(Math.abs(median))} ${median > 0 ? 'behind' : 'ahead of'} those of ${counted(skews.length, 'connected peer')}`,
    'set the clock; messages carry its time',
  )
}

const bannedButWanted: Rule = ({ state, survey }) => {
  const asked = state.initialSync?.peer ? state.peers.get(state.initialSync.peer) : undefined
  const wanted = asked && !asked.isLongTerm ? [...survey.longTerm, asked] : survey.longTerm
  const peers = wanted.filter(({ priority }) => priority === 'BANNED').map(({ id }) => id)
  if (peers.length === 0) return null
  return finding(
    'warning',
    'bannedButWanted',
    `${counted(peers.length, 'peer')} to be connected ${peers.length === 1 ? 'is' : 'are'} banned, and the ban counts more`,
    "peer.setPriority({id, priority: 'AUTO'}) lifts a ban, peer.setLongTerm({id, isLongTerm: false}) the wish",
    { peers },
  )
}

/** A friend without an address is nothing unusual; who was asked for by name, and cannot be reached, is. */
const wantedWithoutRoute: Rule = ({ survey }) => {
  const peers = survey.longTerm
    .filter(
      ({ priority, routes, connection }) =>
        priority !== 'BANNED' && routes.length === 0 && connection.status === 'idle',
    )
    .map(({ id }) => id)
  if (peers.length === 0) return null
  return finding(
    'warning',
    'wantedWithoutRoute',
    `${counted(peers.length, 'long-term peer')} cannot be dialed: no address of ${peers.length === 1 ? 'it' : 'them'} is known`,
    'peer.addRoute with an address',
    { peers },
  )
}

interface Away {
  readonly id: FeedId
  readonly isLongTerm: boolean
  /** Of the last connection; 0: never. */
  readonly visitedAt: EpochMs
}

function awayPeers({ state, survey, at, awayMs }: Context): Away[] {
  const away: Away[] = []
  for (const peer of [...survey.longTerm, ...survey.high]) {
    const { id, isLongTerm, visitedAt } = peer
    if (peer.priority === 'BANNED' || peer.routes.length === 0) continue
    if (peer.connection.status === 'connected' || peer.connection.status === 'closing') continue
    // Who was never there is missed since we heard of him.
    const since = visitedAt || Math.min(...routesOfPeer(state, peer).map(({ addedAt }) => addedAt))
    if (at - since > awayMs) away.push({ id, isLongTerm, visitedAt })
  }
  return away.sort((a, b) => a.visitedAt - b.visitedAt)
}

const away: Rule = (context) => {
  if (isIdle(context) || context.has('linkDown', 'allRoutesDead')) return null
  const all = awayPeers(context)
  const said = (
    severity: Severity,
    code: 'longTermAway' | 'friendsAway',
    what: string,
    peers: readonly Away[],
  ): Finding | null => {
    const never = peers.filter(({ visitedAt }) => visitedAt === 0).length
    const more = never > 0 ? ` (${never} of them never)` : ''
    return peers.length === 0
      ? null
      : finding(
          severity,
          code,
          `${counted(peers.length, what)} ${peers.length === 1 ? 'has' : 'have'} not been connected for more than ${durationText(context.awayMs)}${more}`,
          'peer.explain says why, for each; ask them for an address that works',
          { since: peers[0]?.visitedAt ?? null, peers: peers.map(({ id }) => id) },
        )
  }
  return [
    said(
      'warning',
      'longTermAway',
      'long-term peer',
      all.filter(({ isLongTerm }) => isLongTerm),
    ),
    said(
      'info',
      'friendsAway',
      'HIGH peer',
      all.filter(({ isLongTerm }) => !isLongTerm),
    ),
  ]
}

/** Those of whom something else has been said are left out. */
const failing: Rule = (context) => {
  if (isIdle(context) || context.has('linkDown', 'allRoutesDead')) return null
  const { state, survey } = context
  const away = new Set(awayPeers(context).map(({ id }) => id))
  const codes = new Set<string>()
  const isFailing = (peer: Peer): boolean => {
    const { connection, priority, id } = peer
    if (priority === 'BANNED' || away.has(id) || connection.status === 'connected' || connection.status === 'closing')
      return false
    const routes = routesOfPeer(state, peer).filter((route) => route.isAutomatic)
    if (routes.length === 0 || routes.some(({ errorCount }) => errorCount < DEAD_FAILURES)) return false
    for (const { errors } of routes) codes.add(errors[errors.length - 1]?.code ?? 'no code')
    return true
  }
  const said = (severity: Severity, code: FindingCode, what: string, peers: readonly FeedId[]): Finding | null => {
    const of = peers.length === 1 ? 'it' : 'them'
    return peers.length === 0
      ? null
      : finding(
          severity,
          code,
          `${counted(peers.length, what)} cannot be reached: each address of ${of} has failed ${DEAD_FAILURES} times in a row or more (${listed([...codes])})`,
          `peer.explain says when ${of === 'it' ? 'it is' : 'they are'} tried again; peer.addRoute with the new address if ${of === 'it' ? 'it has' : 'they have'} moved`,
          { peers },
        )
  }
  const failed = (peers: readonly Peer[]): FeedId[] => {
    codes.clear()
    return peers.filter(isFailing).map(({ id }) => id)
  }
  return [
    said('warning', 'longTermFailing', 'long-term peer', failed(survey.longTerm)),
    said('info', 'friendsFailing', 'HIGH peer', failed(survey.high)),
  ]
}

const inboundFull: Rule = ({ state }) => {
  const { maxInbound } = state.options
  // 0 is a decision, not a limit that was reached.
  if (!maxInbound || state.inboundCount < maxInbound) return null
  return finding(
    'warning',
    'inboundFull',
    `${state.inboundCount} peers have called in, and the limit is ${maxInbound}: strangers are sent away`,
    'raise maxInbound in the configuration if this machine can serve more',
  )
}

const tableFull: Rule = ({ state }) => {
  const { maxRoutes } = state.options
  if (state.routes.size < maxRoutes) return null
  return finding(
    'warning',
    'tableFull',
    `the table is full (${state.routes.size} routes): new addresses only take the place of the worst LOW ones`,
    'peer.removeRoute for those that are dead, or raise maxRoutes in the configuration',
  )
}

/** Causes before what they bring about. */
const RULES: readonly Rule[] = [
  off,
  initialSync,
  linkDown,
  resolverDown,
  transports,
  nothingKnown,
  typeDisabled,
  manualOnly,
  allRoutesDead,
  classDead,
  notConnected,
  slotsHeldByLongTerm,
  longTermOverSlots,
  roomsDown,
  hostsDown,
  onlyStrangers,
  nothingTransferred,
  clockSetBack,
  clockWrong,
  bannedButWanted,
  wantedWithoutRoute,
  away,
  failing,
  inboundFull,
  tableFull,
]
