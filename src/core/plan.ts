/**
 * What to open, close and give up now: `plan(state, now)`. Pure, and computed from the state alone, so that a lost event
 * strands nobody and planning twice does no harm. Costs grow with what is due, not with the size of the table.
 */
import { isAnythingConnected, isDown, isHostLayer, LINK, layerHolds, layersDownAbove, probeEndsAt } from './blame'
import { dialTimeout, slotsMax } from './options'
import {
  compareInQueue,
  compareReady,
  compareRoutesOfPeer,
  isFeeler,
  isInLane,
  type Lane,
  type Turn,
  turnOf,
} from './rank'
import { changePeer } from './records'
import { advance } from './reducer'
import { dialsWanted, hopeEndsAt, hopeOf, hopeWanesAt, isVouchedFor, whyNotDial } from './refusal'
import {
  attemptsOf,
  CLOSING_TIMEOUT_MS,
  firstDue,
  headOfWaiting,
  IDLE,
  type Lingering,
  nextInRace,
  occupancyOf,
  openQueues,
  queueStart,
  routeBefore,
  routesFrom,
  type State,
  staggerAfter,
} from './table'
import type {
  Close,
  CloseReason,
  Deferral,
  Dial,
  DialCause,
  EpochMs,
  FeedId,
  GiveUp,
  InitialSync,
  Layer,
  Peer,
  Plan,
  RankKey,
  Refusal,
  Route,
} from './types'
import {
  classState,
  eachOf,
  earliestOf,
  firstVisitAt,
  type Held,
  held,
  isExempt,
  isFeelerLane,
  leastWorth,
  mayRotateAt,
  type OpenLane,
  OpenLanes,
  paceEndsAt,
  roomsInUse,
  tierOfHeld,
  visitAtOf,
  visitors,
  worstHeldFirst,
} from './visits'

/** Routes of a queue that one plan looks at in vain (throttled hosts, a layer that is down) before it leaves the rest. */
const MAX_VISITS = 256
/** More layers than this are not asked each time whether one of them may be probed. */
const MAX_LAYERS_ASKED = 16
/** Routes of a queue that one plan looks at for one that could probe a layer before its turn. */
const MAX_TURN_LOOKS = 32
/** Dials that were given up hold sockets until the kernel gives up too: at most this many times `maxDialing` in all. */
const MAX_SOCKETS_FACTOR = 5
/** Of these, for routes that nothing vouches for: junk that hangs must not keep us from a friend for minutes (DESIGN 4). */
const STRANGERS_SOCKETS_FACTOR = 4
/** A route that may not take part in the race of its peer is left alone for this long, if nothing says for how long. */
const REFUSED_IN_RACE_MS = 1_000

interface Draft {
  readonly state: State
  readonly now: EpochMs
  readonly dials: Dial[]
  readonly closes: Close[]
  readonly giveUps: GiveUp[]
  readonly lost: FeedId[]
  readonly deferrals: Deferral[]
  /** Peers that this plan already does something about. */
  readonly taken: Set<FeedId>
  readonly deferred: Set<string>
  /** Slots that the dials of this plan take, by class. */
  readonly slotsTaken: Map<string, number>
  /** Layers that are down and that a dial of this plan probes already, as they will be once it has begun. */
  readonly probed: Map<string, Layer>
  /** By queue: routes looked at in vain. */
  readonly visits: Map<string, number>
  /** By queue, once somebody has asked. */
  readonly lanes: Map<string, OpenLanes>
  /** Hosts that the dials of this plan go to. */
  readonly hosts: Set<string>
  /** Dials that were given up and may hold a socket still. */
  readonly lingering: readonly Lingering[]
  wakeAt: EpochMs
}

/** See the file's head. `state` and the result are plain data; the same arguments give the same plan. */
export function plan(state: State, now: EpochMs): Plan {
  // Usually the scheduler has done this already and nothing is left to do.
  const settled = firstDue(state, now) ? advance(state, now) : state
  const draft: Draft = {
    state: settled,
    now,
    dials: [],
    closes: [],
    giveUps: [],
    lost: [],
    deferrals: [],
    taken: new Set(),
    deferred: new Set(),
    slotsTaken: new Map(),
    probed: new Map(),
    visits: new Map(),
    lanes: new Map(),
    hosts: new Set(),
    lingering: settled.lingering.filter((entry) => entry.until > now),
    wakeAt: Number.POSITIVE_INFINITY,
  }
  planTimers(draft)
  planRequests(draft)
  if (settled.initialSync) {
    planInitialSync(draft, settled.initialSync)
  } else {
    planSurplus(draft)
    if (settled.mode === 'on') {
      planLongTerm(draft)
      planClasses(draft)
      planProbe(draft)
      planRotation(draft)
    }
  }
  if (settled.mode === 'on' || settled.initialSync) wakeForLayers(draft)
  // The rest of a portion that was too large for one turn. Where nothing was put off, the next turn would see the same.
  const isCut = draft.deferrals.length > 0 && [...draft.visits.values()].some((count) => count >= MAX_VISITS)
  if (isCut || firstDue(settled, now)) wake(draft, now + 1)
  const { dials, closes, giveUps, lost, deferrals, wakeAt } = draft
  return { dials, closes, giveUps, lost, deferrals, wakeAt: wakeAt === Number.POSITIVE_INFINITY ? null : wakeAt }
}

export function isEmptyPlan(made: Plan): boolean {
  return (
    made.dials.length === 0 &&
    made.closes.length === 0 &&
    made.giveUps.length === 0 &&
    made.lost.length === 0 &&
    made.deferrals.length === 0
  )
}

function wake(draft: Draft, at: EpochMs): void {
  draft.wakeAt = Math.min(draft.wakeAt, Math.max(at, draft.now + 1))
}

function close(draft: Draft, peer: Peer, reason: CloseReason): void {
  if (draft.taken.has(peer.id)) return
  draft.taken.add(peer.id)
  draft.closes.push({ peer: peer.id, reason })
  wake(draft, draft.now + CLOSING_TIMEOUT_MS)
}

function dial(draft: Draft, route: Route, cause: DialCause): void {
  const { state, now } = draft
  const timeoutMs = dialTimeout(state.options, route.class, route.protocol)
  draft.taken.add(route.peer)
  draft.dials.push({ peer: route.peer, address: route.address, cause, timeoutMs })
  if (route.hostKey !== null) draft.hosts.add(route.hostKey)
  if (!hasSlotIn(state.peers.get(route.peer), route.class))
    draft.slotsTaken.set(route.class, (draft.slotsTaken.get(route.class) ?? 0) + 1)
  for (const layer of layersDownAbove(state, route))
    draft.probed.set(layer.key, { ...layer, retryAt: probeEndsAt(state, layer, route, now) })
  // What follows before it has an outcome: the next route of its peer, or another peer while this one does not answer.
  wake(draft, hopeOf(state, now, now + timeoutMs))
  if ((state.peers.get(route.peer)?.routes.length ?? 0) > 1) wake(draft, now + staggerAfter(state.options, route))
}

/** Whether a dial to this peer by another route of the class is in flight: a race takes one slot of a class. */
function hasSlotIn(peer: Peer | undefined, routeClass: string): boolean {
  return peer !== undefined && attemptsOf(peer.connection).some((attempt) => attempt.class === routeClass)
}

// ---- what the clock brings --------------------------------------------------------------------------------------------

function planTimers(draft: Draft): void {
  const { state, now } = draft
  for (const peer of state.active.keys()) {
    if (peer.timerAt > now) {
      if (peer.timerAt !== Number.POSITIVE_INFINITY) wake(draft, peer.timerAt)
      return
    }
    const connection = peer.connection
    switch (connection.status) {
      case 'dialing':
        planDialing(draft, peer)
        break
      case 'connected':
        close(draft, peer, connection.closeReason ?? 'lifetime')
        break
      case 'closing':
        draft.taken.add(peer.id)
        draft.lost.push(peer.id)
        wakeForOutcome(draft)
        break
      case 'idle':
        break
    }
  }
}

/** What this plan ends frees slots, and which dials follow depends on the outcome. */
function wakeForOutcome(draft: Draft): void {
  wake(draft, draft.now + 1)
}

/** Gives up what takes too long, else starts the next route of the race. */
function planDialing(draft: Draft, peer: Peer): void {
  const { state, now } = draft
  draft.taken.add(peer.id)
  let isLate = false
  for (const attempt of attemptsOf(peer.connection)) {
    if (attempt.deadlineAt > now) {
      wake(draft, attempt.deadlineAt)
      continue
    }
    isLate = true
    const { id, address, deadlineAt, startedAt } = attempt
    draft.giveUps.push({ peer: peer.id, address, attempt: id, timeoutMs: deadlineAt - startedAt })
  }
  if (isLate) return wakeForOutcome(draft)
  const isRequested = state.requests.has(peer.id)
  const cause: DialCause = isRequested ? 'request' : (attemptsOf(peer.connection)[0]?.cause ?? 'schedule')
  const idle = changePeer(peer, { connection: IDLE })
  for (;;) {
    const next = nextInRace((address) => state.routes.get(address), state.options, peer, isRequested, draft.deferred)
    if (!next) return
    if (next.at > now) return wake(draft, next.at)
    // When there is room again, an event has said so.
    if (!isRequested && !hasSocketFor(draft, next.route, peer)) return
    const refused = isRequested ? null : whyNot(draft, next.route, idle, cause)
    // A visit to where most likely nobody is costs one dial, not one for each route.
    const isVain = cause === 'schedule' && isUnlikely(state, peer, next.route) && isFull(state, next.route.class)
    if (!refused || (refused.reason === 'slotsFull' && hasSlotIn(peer, next.route.class) && !isVain))
      return dial(draft, next.route, cause)
    // Put off past the race, so that this peer's timer does not come round at once.
    putOff(draft, next.route, { ...refused, until: Math.max(refused.until ?? 0, now + REFUSED_IN_RACE_MS) })
  }
}

/** Nobody was ever there, and a route that is dialed already is likelier to lead somewhere. */
function isUnlikely(state: State, peer: Peer, route: Route): boolean {
  if (isFeeler(route)) return true
  if (route.lastConnectionTime > 0 || route.errorCount === 0) return false
  const dialed = attemptsOf(peer.connection).map(({ address }) => state.routes.get(address))
  return dialed.some((each) => each !== undefined && isLikelier(each, route))
}

function isFull(state: State, name: string): boolean {
  const max = slotsMax(state.options, name)
  return max > 0 && occupancyOf(state, name).connected >= max
}

// ---- dials ------------------------------------------------------------------------------------------------------------

function hasSocketFor(draft: Draft, route: Route, peer: Peer): boolean {
  return socketsLeft(draft, isVouchedFor(route, peer) ? MAX_SOCKETS_FACTOR : STRANGERS_SOCKETS_FACTOR) > 0
}

function socketsLeft(draft: Draft, factor = MAX_SOCKETS_FACTOR): number {
  const { state, now, lingering } = draft
  // While much is being taken in, dials go one by one: each peer more that connects has its own to send, and a phone that is
  // busy with what came first gets through neither. They are not stopped, or a trickle of messages could keep us alone.
  const maxDialing = state.isBusy ? 1 : state.options.maxDialing
  const begun = state.attemptCount + draft.dials.length
  const sockets = factor * state.options.maxDialing - begun - lingering.length
  if (sockets <= 0) for (const entry of lingering) wake(draft, entry.until)
  // Who lost a race is in flight as well.
  const losers = lingering.filter((entry) => entry.deadlineAt > now)
  const lanes = maxDialing - begun - losers.length
  if (lanes <= 0) for (const entry of losers) wake(draft, entry.deadlineAt)
  return Math.min(lanes, sockets)
}

/** Notes that a route cannot be dialed before a time, so that the next plan does not come across it again. */
function putOff(draft: Draft, route: Route, refused: Refusal): void {
  if (refused.until === null || draft.deferred.has(route.address)) return
  draft.deferred.add(route.address)
  const layer = layersDownAbove(draft.state, route).find(({ key }) => key !== LINK)
  const isLayers = refused.reason === 'transportDown' && layer !== undefined
  draft.deferrals.push({ address: route.address, until: refused.until, layer: isLayers ? layer.key : null })
  wake(draft, refused.until)
}

/** A user's `peer.connect`: past slots, backoff and pauses. */
function planRequests(draft: Draft): void {
  const { state } = draft
  for (const request of state.requests.values()) {
    const peer = state.peers.get(request.peer)
    if (peer?.connection.status !== 'idle' || draft.taken.has(peer.id)) continue
    const open = routesOfPeer(state, peer).filter((route) => !request.tried.includes(route.address))
    const wanted = open.find((route) => route.address === request.address) ?? open.sort(compareRoutesOfPeer)[0]
    if (wanted) dial(draft, wanted, 'request')
  }
}

export function routesOfPeer(state: Pick<State, 'routes'>, peer: Peer): Route[] {
  const routes: Route[] = []
  for (const address of peer.routes) {
    const route = state.routes.get(address)
    if (route) routes.push(route)
  }
  return routes
}

function planLongTerm(draft: Draft): void {
  fill(draft, '', 'longTerm', Number.POSITIVE_INFINITY, { kind: 'strict' })
}

/**
 * One dial at a time, for the class that has least in flight, so that none holds all that may be in flight with dials that
 * take long; among equals for the one that has dialed least.
 */
function planClasses(draft: Draft): void {
  const { state } = draft
  let open = openQueues(state.options).slice(1)
  const planned = new Map<string, number>()
  const dialCount = (name: string): number => classState(state, name).dialCount + (planned.get(name) ?? 0)
  const inFlight = (name: string): number => occupancyOf(state, name).dialing + (draft.slotsTaken.get(name) ?? 0)
  for (;;) {
    open = open.filter((name) => wantedIn(draft, name) > 0)
    open.sort((a, b) => inFlight(a) - inFlight(b) || dialCount(a) - dialCount(b))
    const name = open[0]
    if (name === undefined) return
    if (fill(draft, name, 'schedule', 1, turnOf(dialCount(name))) > 0) planned.set(name, (planned.get(name) ?? 0) + 1)
    else open.shift()
  }
}

function wantedIn(draft: Draft, name: string): number {
  const { state, now } = draft
  const planned = draft.slotsTaken.get(name) ?? 0
  const wanted = dialsWanted(state, name, now) - planned
  // A dial that does not answer soon is believed in less: then another one may begin.
  if (wanted <= 0) wake(draft, hopeWanesAt(state, name, now))
  return wanted
}

/** Plans up to `count` dials from a queue; returns how many. Sets the wake-up for what falls due in it. */
function fill(draft: Draft, queue: string, cause: DialCause, count: number, turn: Turn): number {
  const { state } = draft
  let planned = 0
  while (planned < count && socketsLeft(draft) > 0) {
    const route = choose(draft, queue, cause, turn)
    if (!route) {
      const next = headOfWaiting(state, queue)
      if (next) wake(draft, next.dueAt)
      break
    }
    dial(draft, route, cause)
    planned++
  }
  return planned
}

/** The best route that may be dialed from a queue now, or null. What stands in its way is put off. */
function choose(draft: Draft, queue: string, cause: DialCause, turn: Turn, skip?: ReadonlySet<FeedId>): Route | null {
  const { state } = draft
  const open = lanesIn(draft, queue)
  if (open.isEmpty) return null
  // The gap that a rotation leaves is no start: those who had their turn last would have the next one too, for ever.
  const isWarm = !isAnythingConnected(state) && classState(state, queue).nextRotationAt <= draft.now
  const isCrowded = cause === 'schedule' && socketsLeft(draft, STRANGERS_SOCKETS_FACTOR) <= 0
  for (const candidate of candidates(state, open.all(), isCrowded ? { kind: 'vouched' } : turn, isWarm)) {
    if (draft.taken.has(candidate.peer) || draft.deferred.has(candidate.address) || skip?.has(candidate.peer)) continue
    if (!mayVisit(draft, queue)) return null
    const peer = state.peers.get(candidate.peer)
    if (!peer) continue
    const route = bestRoute(draft, peer, candidate, cause)
    if (route) return route
  }
  return null
}

/** The lanes of a queue that are not empty. */
function lanesIn(draft: Draft, queue: string): OpenLanes {
  let lanes = draft.lanes.get(queue)
  if (!lanes) {
    lanes = new OpenLanes(draft.state.ready, queue)
    draft.lanes.set(queue, lanes)
  }
  return lanes
}

/** Counts a look at a route of a queue; false when the queue has had its share of this plan. */
function mayVisit(draft: Draft, queue: string): boolean {
  const count = draft.visits.get(queue) ?? 0
  draft.visits.set(queue, count + 1)
  return count < MAX_VISITS
}

/** Of the peer that a candidate belongs to, the best of its routes that may be dialed, or null. */
function bestRoute(draft: Draft, peer: Peer, candidate: Route, cause: DialCause, isVisit = false): Route | null {
  const { state, now } = draft
  const routes = peer.routes.length > 1 ? routesOfPeer(state, peer).sort(compareRoutesOfPeer) : [candidate]
  for (const route of routes) {
    // Put off already; only the candidate itself is known to be due.
    if (route.dueAt > now && route.address !== candidate.address) continue
    if (cause === 'schedule' && !hasSocketFor(draft, route, peer)) continue
    const refused = whyNot(draft, route, peer, cause)
    if (!refused) return route
    // Somebody makes room in the class that the visit is for, and in no other; and each kind of visit has a pace of its own.
    const isItsTurn = route.class === candidate.class && visitAtOf(state, route) <= now
    if (isVisit && isItsTurn && refused.reason === 'slotsFull') return route
    if (refused.reason === 'hostThrottled' || refused.reason === 'transportDown') putOff(draft, route, refused)
  }
  return null
}

/** As `whyNotDial`, and with what this plan has already used up. */
function whyNot(draft: Draft, route: Route, peer: Peer, cause: DialCause): Refusal | null {
  const { state, now } = draft
  for (const { key } of layersDownAbove(state, route)) {
    const probed = draft.probed.get(key)
    const until = probed ? layerHolds(state, probed, route, peer) : 0
    if (until > now)
      return { reason: key === LINK ? 'offline' : 'transportDown', until, message: `${key} is down and being probed` }
  }
  if (route.hostKey !== null && draft.hosts.has(route.hostKey) && !isVouchedFor(route, peer)) {
    const until = now + state.options.hostWindowMs
    return { reason: 'hostThrottled', until, message: 'being dialed for another peer' }
  }
  const refused = whyNotDial(state, route, peer, now, cause)
  if (refused || cause !== 'schedule' || wantedIn(draft, route.class) > 0) return refused
  return { reason: 'slotsFull', until: null, message: 'no slot is left' }
}

/** The routes of a queue in the order in which they are to be tried. */
function* candidates(state: State, lanes: readonly OpenLane[], turn: Turn, isWarm: boolean): Generator<Route> {
  if (isWarm && turn.kind !== 'lane') yield* mostRecentFirst(state, lanes)
  if (turn.kind === 'vouched') return yield* eachOf(state, lanes.filter(mayBeVouchedFor))
  if (turn.kind === 'proven') {
    const proven = lanes.filter(({ lane }) => lane.isProven)
    yield* earliestOf(
      state,
      proven.filter(({ lane }) => !lane.hasError),
    )
    yield* eachOf(
      state,
      proven.filter(({ lane }) => lane.hasError),
    )
  }
  // From the lane whose turn it is on, as most are empty most of the time.
  if (turn.kind === 'lane') {
    const isAhead = ({ lane }: OpenLane): boolean => lane.index >= turn.index
    yield* eachOf(state, lanes.filter(isAhead))
    yield* eachOf(
      state,
      lanes.filter((each) => !isAhead(each)),
    )
  }
  // Whoever is close but was never there does not hold a slot that others would fill.
  yield* eachOf(
    state,
    lanes.filter(({ lane }) => !isFeelerLane(lane)),
  )
  yield* eachOf(
    state,
    lanes.filter(({ lane }) => isFeelerLane(lane)),
  )
}

/** By `isVouchedFor`, as far as a lane tells: what lies in the others need not be looked at. */
function mayBeVouchedFor({ lane }: OpenLane): boolean {
  return lane.isProven || lane.tier === 0 || lane.queue === 'local'
}

/** Warm start: while nothing is connected, what worked before comes first, the most recent success at the head. */
function* mostRecentFirst(state: State, lanes: readonly OpenLane[]): Generator<Route> {
  const heads: { route: Route; lane: Lane }[] = []
  const pull = (from: RankKey, lane: Lane): void => {
    const route = routeBefore(state.ready, from)
    if (route && isInLane(route, lane)) heads.push({ route, lane })
  }
  for (const { lane } of lanes) if (lane.isProven) pull(lane.end, lane)
  while (heads.length > 0) {
    heads.sort((a, b) => b.route.turnAt - a.route.turnAt || compareReady(a.route, b.route))
    const best = heads.shift()
    if (!best) return
    yield best.route
    pull(best.route, best.lane)
  }
}

// ---- closes -----------------------------------------------------------------------------------------------------------

/**
 * More connections than slots: a maximum that was lowered, overcommitted dials that all arrived, or a visit. Where somebody
 * has had his share, he makes room; else the surplus is what is least wanted.
 */
function planSurplus(draft: Draft): void {
  const { state, now } = draft
  for (const name of Object.keys(state.occupancy)) {
    const max = slotsMax(state.options, name)
    if (occupancyOf(state, name).connected <= max) continue
    const scheduled = held(state, name).filter((each) => !isExempt(each) && !draft.taken.has(each.peer.id))
    let surplus = scheduled.length - max
    const rooms = roomsInUse(state)
    const ripe = scheduled.filter((each) => !rooms.has(each.peer.id) && mayRotateAt(each, state) <= now)
    // Somebody came on a visit. Of a maximum that was lowered, the least wanted go, ripe or not.
    const isVisit = scheduled.some(({ connection }) => now - connection.since < state.options.visitStayMs)
    // Peers that are kept for good and those that were asked for have no part in the surplus, and yet fill the class.
    if (surplus <= 1 && max > 0 && isVisit && ripe.length > 0) {
      close(draft, leastWorth(ripe, now).peer, 'rotation')
      continue
    }
    if (surplus <= 0) continue
    scheduled.sort((a, b) => Number(rooms.has(a.peer.id)) - Number(rooms.has(b.peer.id)) || worstHeldFirst(a, b))
    for (const each of scheduled) {
      if (surplus-- === 0) break
      close(draft, each.peer, 'surplus')
    }
  }
}

/**
 * Visits: in a full class, whose turn has come is dialed beyond the slots, one at a time. When it answers, whoever has had
 * his share and brings least makes room (planSurplus); if it does not, nobody was sent away for it.
 */
function planRotation(draft: Draft): void {
  const { state, now } = draft
  if (state.isBusy) return
  const rooms = roomsInUse(state)
  for (const name of openQueues(state.options).slice(1)) {
    const { connected, closing } = occupancyOf(state, name)
    if (connected < slotsMax(state.options, name) || closing > 0) continue
    if ((draft.slotsTaken.get(name) ?? 0) > 0) continue
    const present = held(state, name)
    // Somebody is being hung up on: there will be room.
    if (draft.taken.size > 0 && present.some((each) => draft.taken.has(each.peer.id))) continue
    let ripeAt = Number.POSITIVE_INFINITY
    for (const each of present)
      if (!isExempt(each) && !rooms.has(each.peer.id)) ripeAt = Math.min(ripeAt, mayRotateAt(each, state))
    if (ripeAt === Number.POSITIVE_INFINITY) continue
    const lanes = lanesIn(draft, name)
    // One at a time, as long as there is hope that the one before answers.
    const at = Math.max(ripeAt, hopeEndsAt(state, name, now), paceEndsAt(state, name, lanes))
    const waiting = headOfWaiting(state, name)
    const route = at > now ? null : nextVisit(draft, name)
    if (route) {
      dial(draft, route, 'schedule')
      continue
    }
    // Those whose turn has come and who were looked at in vain: something else has to happen first, or they were put off.
    const visitAt = firstVisitAt(state, lanes, at > now ? { soonEnough: at } : { after: now })
    if (visitAt !== null) wake(draft, Math.max(at, visitAt))
    if (waiting) wake(draft, Math.max(at, waiting.dueAt))
  }
}

/** Whom to visit now, or null. */
function nextVisit(draft: Draft, name: string): Route | null {
  const { state, now } = draft
  for (const route of visitors(state, name, lanesIn(draft, name), now)) {
    if (draft.taken.has(route.peer) || draft.deferred.has(route.address)) continue
    if (!mayVisit(draft, name)) return null
    const peer = state.peers.get(route.peer)
    if (!peer || (isLost(route) && isBetterReached(state, peer, route))) continue
    const found = bestRoute(draft, peer, route, 'schedule', true)
    if (found) return found
  }
  return null
}

/**
 * A peer that is reached by another route is not lost: it has its turn. And one that is, is looked for where it was, until
 * that has failed as often as what never worked.
 */
function isBetterReached(state: State, peer: Peer, route: Route): boolean {
  return routesOfPeer(state, peer).some(
    (other) =>
      other.lastConnectionTime > 0 &&
      (other.errorCount === 0 || (route.lastConnectionTime === 0 && isLikelier(other, route))),
  )
}

/** Of a route that never worked: another has failed less often, or did work and has not failed three times as often. */
function isLikelier(other: Route, route: Route): boolean {
  return other.errorCount < route.errorCount * (other.lastConnectionTime > 0 ? 3 : 1)
}

/** It worked once, and failed when it was dialed last. */
function isLost(route: Route): boolean {
  return route.turnAt > 0 && route.errorCount > 0
}

// ---- initial sync -----------------------------------------------------------------------------------------------------

/** One connection, all other scheduling off: the peer asked for, else the best that has not stalled. */
function planInitialSync(draft: Draft, sync: InitialSync): void {
  const { state, now } = draft
  const kept = keptPeerOf(state, sync, draft.taken)
  for (const each of held(state))
    if (each.peer.id !== kept?.id && each.connection.cause !== 'request' && each.connection.cause !== 'foreign')
      close(draft, each.peer, 'initialSync')
  for (const peer of state.active.keys())
    if (
      peer.connection.status === 'dialing' &&
      peer.connection.attempts.some((attempt) => attempt.cause === 'initialSync')
    )
      return
  if (kept && kept.connection.status !== 'idle') return
  if (sync.peer !== null) {
    const peer = state.peers.get(sync.peer)
    if (!peer || draft.taken.has(peer.id)) return
    const routes = routesOfPeer(state, peer).sort(compareRoutesOfPeer)
    for (const route of routes) {
      const refused = whyNotDial(state, route, peer, now, 'initialSync')
      if (!refused) return dial(draft, route, 'initialSync')
      if (refused.until !== null) wake(draft, refused.until)
    }
    return
  }
  const stalled = new Set(sync.stalled)
  const best = bestOfAll(draft, stalled) ?? bestOfAll(draft, new Set())
  if (best) return dial(draft, best, 'initialSync')
  for (const queue of openQueues(state.options)) {
    const next = headOfWaiting(state, queue)
    if (next) wake(draft, next.dueAt)
  }
}

/** The peer that an initial sync goes with: the one asked for, connected or not, else the best connected one, or null. */
export function keptPeerOf(state: State, sync: InitialSync, taken?: ReadonlySet<FeedId>): Peer | null {
  if (sync.peer !== null) return state.peers.get(sync.peer) ?? null
  const able = held(state).filter((each) => each.connection.closeReason === null && !taken?.has(each.peer.id))
  // Who stalled comes last, but is kept if there is nobody else: hanging up on him would only lead to the next dial.
  const stalledLast = (each: Held): number => Number(sync.stalled.includes(each.peer.id))
  able.sort(
    (a, b) =>
      stalledLast(a) - stalledLast(b) ||
      tierOfHeld(a) - tierOfHeld(b) ||
      a.connection.since - b.connection.since ||
      worstHeldFirst(b, a),
  )
  return able[0]?.peer ?? null
}

/** The best route over all classes: long-term first, as their queue comes first. */
function bestOfAll(draft: Draft, skip: ReadonlySet<FeedId>): Route | null {
  let best: Route | null = null
  for (const queue of openQueues(draft.state.options)) {
    const route = choose(draft, queue, 'initialSync', { kind: 'strict' }, skip)
    if (!route) continue
    if (queue === '') return route
    if (!best || compareInQueue(route, best) < 0) best = route
  }
  return best
}

// ---- layers -----------------------------------------------------------------------------------------------------------

/**
 * Routes take turns at probing a layer that is down (blame.ts), each put off until the others have had theirs. When a probe is
 * due and nobody's turn has come, as some of the others have gone meanwhile, whoever is next steps in.
 */
function planProbe(draft: Draft): void {
  const { state, now } = draft
  if (state.downCount === 0 || state.waiting.isEmpty || socketsLeft(draft) <= 0) return
  const soonestAt = soonestProbeAt(state)
  if (soonestAt > now) return wake(draft, soonestAt)
  const next: Route[] = []
  for (const queue of openQueues(state.options)) next.push(...awaitingTurn(draft, queue))
  for (const route of next.sort((a, b) => a.dueAt - b.dueAt)) {
    if (socketsLeft(draft) <= 0) return
    const peer = state.peers.get(route.peer)
    if (!peer || draft.taken.has(route.peer)) continue
    const cause: DialCause = route.queue === '' ? 'longTerm' : 'schedule'
    if (!hasSocketFor(draft, route, peer)) continue
    const refused = whyNot(draft, route, peer, cause)
    if (!refused) dial(draft, route, cause)
    else if (refused.until !== null) wake(draft, refused.until)
  }
}

/** Not before this is any layer probed that is down. Where many are in doubt, or each has a time of its own, nothing is said. */
function soonestProbeAt({ layers }: State): EpochMs {
  if (layers.size > MAX_LAYERS_ASKED) return 0
  let soonestAt = Number.POSITIVE_INFINITY
  for (const { key, isDown, retryAt } of layers.values())
    if (isDown) soonestAt = Math.min(soonestAt, isHostLayer(key) ? 0 : retryAt)
  return soonestAt
}

/**
 * Of the first few routes of a queue that fall due, those whose own pause is over and that a layer is down above: it is their
 * turn they wait for. Of a few, so that a plan does not grow with the table; the others have an end of their wait too.
 */
function awaitingTurn(draft: Draft, queue: string): Route[] {
  const { state, now } = draft
  const found: Route[] = []
  if (queue !== '' && wantedIn(draft, queue) <= 0) return found
  let seen = 0
  for (const route of routesFrom(state.waiting, queueStart(queue))) {
    if (route.queue !== queue || seen++ === MAX_TURN_LOOKS) break
    if (route.nextAttemptAt <= now && layersDownAbove(state, route).length > 0) found.push(route)
  }
  return found
}

/** A link that is down is probed when its time comes, if there is anything to probe it with. */
function wakeForLayers(draft: Draft): void {
  const link = isDown(draft.state, LINK)
  if (link && draft.state.ready.size > 0 && link.retryAt > draft.now) wake(draft, link.retryAt)
}
