/**
 * Who is visited beyond the slots of a full class, in which order and when, and who makes room for a visitor. Answers from
 * the state alone; what becomes of them is decided in plan.ts.
 */
import { isStranger, rateAt } from './merit'
import { isFeeler, isInLane, isTrial, LANES, type Lane, laneOf, lanesOf, STRANGER_TIER } from './rank'
import { attemptsOf, NEW_CLASS, queueStart, routeAfter, routeBefore, routesFrom, type State } from './table'
import { byText } from './tree'
import type { ClassState, Connected, EpochMs, FeedId, Peer, RankKey, Route } from './types'

// ---- who is there -----------------------------------------------------------------------------------------------------

export interface Held {
  readonly peer: Peer
  readonly connection: Connected
}

/** Connected outbound peers, of one class or of all, by their ids. */
export function held(state: State, name?: string): Held[] {
  const found: Held[] = []
  // Not by way of `outbound`: the records are here already, and few peers are active without being outbound.
  for (const peer of state.active.keys()) {
    const { connection } = peer
    if (connection.status !== 'connected' || connection.direction !== 'outbound') continue
    if (name === undefined || connection.class === name) found.push({ peer, connection })
  }
  return found.sort((a, b) => byText(a.peer.id, b.peer.id))
}

/** Asked for by the user, or meant to stay: not the scheduler's to cut for want of room. */
export function isExempt({ peer, connection }: Held): boolean {
  return peer.isLongTerm || connection.cause === 'request'
}

/** Rooms that tunnels go through. One that goes takes them along: it makes room for nobody, and is the last of a surplus. */
export function roomsInUse(state: State): ReadonlySet<FeedId> {
  const rooms = new Set<FeedId>()
  for (const { connection } of state.active.keys()) {
    if (connection.status === 'idle') continue
    const dialed = connection.status === 'dialing' ? attemptsOf(connection) : [connection]
    for (const { address } of dialed) {
      // The records are in a large tree; most addresses show that it need not be asked.
      const portal = address?.startsWith('tunnel:') ? state.routes.get(address)?.portal : null
      if (portal) rooms.add(portal)
    }
  }
  return rooms
}

/** Lowest priority first, then the newest. */
export function worstHeldFirst(a: Held, b: Held): number {
  return (
    tierOfHeld(b) - tierOfHeld(a) ||
    b.connection.since - a.connection.since ||
    a.peer.tie - b.peer.tie ||
    (a.peer.id < b.peer.id ? -1 : 1)
  )
}

export function tierOfHeld({ peer }: Held): number {
  return peer.priority === 'HIGH' ? 0 : peer.priority === 'MEDIUM' ? 1 : 2
}

/** Since when a connection may make room, in ms since 1970. */
export function mayRotateAt({ connection }: Held, { options }: State): EpochMs {
  const { dwellMs, transferGraceMs, visitStayMs } = options
  const dwellOver = connection.since + (connection.isCaughtUp ? visitStayMs : dwellMs)
  return connection.lastTransferAt > 0 ? Math.max(dwellOver, connection.lastTransferAt + transferGraceMs) : dwellOver
}

/** Whose connection brings least: who is connected for long and brings much stays. */
export function leastWorth(ripe: readonly Held[], now: EpochMs): Held {
  return ripe.reduce((worst, each) => (compareWorth(each, worst, now) < 0 ? each : worst))
}

export function compareWorth(a: Held, b: Held, now: EpochMs): number {
  return (
    Number(isStranger(b.peer)) - Number(isStranger(a.peer)) ||
    rateAt(a.peer.merit, now) - rateAt(b.peer.merit, now) ||
    tierOfHeld(b) - tierOfHeld(a) ||
    a.connection.since - b.connection.since ||
    worstHeldFirst(a, b)
  )
}

// ---- who comes ------------------------------------------------------------------------------------------------------------

export function classState(state: State, name: string): ClassState {
  const known = Object.prototype.hasOwnProperty.call(state.classes, name) ? state.classes[name] : undefined
  return known ?? NEW_CLASS
}

/** A lane of a queue that somebody waits in, and who comes first in it. */
export interface OpenLane {
  readonly lane: Lane
  readonly head: Route
}

/**
 * The lanes of a queue that are not empty, in their order: a few of sixteen, mostly. Looked for as somebody asks for them, as the
 * first often suffices, and once, as a plan asks several times.
 */
export class OpenLanes {
  private readonly found: OpenLane[] = []
  private from: RankKey | null

  constructor(
    private readonly ready: State['ready'],
    private readonly queue: string,
  ) {
    this.from = queueStart(queue)
  }

  at(index: number): OpenLane | undefined {
    while (index >= this.found.length && this.from) {
      const head = routeAfter(this.ready, this.from)
      if (head?.queue === this.queue) {
        const lane = laneOf(head)
        this.found.push({ lane, head })
        this.from = lane.end
      } else this.from = null
    }
    return this.found[index]
  }

  get isEmpty(): boolean {
    return this.at(0) === undefined
  }

  some(holds: (lane: Lane) => boolean): boolean {
    for (let i = 0, each = this.at(0); each; each = this.at(++i)) if (holds(each.lane)) return true
    return false
  }

  all(): readonly OpenLane[] {
    this.at(LANES)
    return this.found
  }
}

/**
 * When the next visit may be in a full class: the first among the ready routes, or the first one after a time; null where
 * there is none. `soonEnough`: any that comes by then will do, as it is not waited for.
 */
export function firstVisitAt(
  state: State,
  lanes: OpenLanes,
  { after = -1, soonEnough = -1 }: { readonly after?: EpochMs; readonly soonEnough?: EpochMs },
): EpochMs | null {
  let first: EpochMs | null = null
  for (let i = 0, each = lanes.at(0); each; each = lanes.at(++i)) {
    const at = visitAtOf(state, each.head)
    if (at > after) first = Math.min(first ?? at, at)
    if (first !== null && first <= soonEnough) break
  }
  return first
}

/** Before this, nobody is visited in a full class: neither who was there before nor who is new. */
export function paceEndsAt(state: State, name: string, lanes: OpenLanes): EpochMs {
  const { nextRotationAt, nextTrialAt } = classState(state, name)
  if (nextTrialAt >= nextRotationAt) return nextRotationAt
  return lanes.some(isTrialLane) ? nextTrialAt : nextRotationAt
}

/** When it may be dialed although all slots are full. */
export function visitAtOf(state: State, route: Route): EpochMs {
  const { nextRotationAt, nextTrialAt, nextFeelerAt } = classState(state, route.class)
  if (isTrial(route)) return nextTrialAt
  if (isFeeler(route)) return Math.max(nextRotationAt, nextFeelerAt)
  return route.errorCount > 0 ? nextRotationAt : Math.max(nextRotationAt, route.turnAt)
}

/** Whether the turn of anybody has come who was there when he was dialed last. */
export function isTurnDue(state: State, name: string, now: EpochMs): boolean {
  return lanesOf(name).some((lane) => {
    if (!lane.isProven || lane.hasError) return false
    const head = routeAfter(state.ready, lane.start)
    return head !== undefined && isInLane(head, lane) && head.turnAt <= now
  })
}

/**
 * Whom to visit now, best first: by turns those whose turn came first, and those who were lost; then those who are new. Long:
 * whoever asks stops when he has seen enough.
 */
export function* visitors(state: State, name: string, lanes: OpenLanes, now: EpochMs): Generator<Route> {
  const open = lanes.all().filter(({ head }) => visitAtOf(state, head) <= now)
  const { dialCount, feelerPauseMs } = classState(state, name)
  const regular = open.filter(({ lane }) => lane.isProven && !lane.hasError)
  const lost = open.filter(({ lane }) => lane.isProven && lane.hasError)
  const fresh = open.filter(({ lane }) => isTrialLane(lane))
  const doubtful = open.filter(({ lane }) => isFeelerLane(lane))
  // Who is close is always ready to be looked for again: every other time it is the turn of the others.
  const missed = dialCount % 4 === 1 ? lost : rotated(lost, dialCount >> 2)
  // Who has been away for long is ready again and again, too: by turns with who was there last, who is likeliest to be back.
  const eachMissed = dialCount & 2 ? eachOf : eachBackwards
  // The closest are looked for more often when all have been tried twice.
  yield* feelers(state, doubtful, feelerPauseMs < state.options.feelerMs ? 1 : dialCount)
  if (dialCount % 2 === 1) yield* eachMissed(state, missed)
  for (const route of earliestOf(state, regular)) {
    if (route.turnAt > now) break
    yield route
  }
  if (dialCount % 2 === 0) yield* eachMissed(state, missed)
  // Those who are new have a pace of their own, so that they take nobody's turn.
  yield* eachOf(state, fresh)
}

/**
 * Every fourth one goes to the closest there are, the others to whom we know of, whoever failed longest ago, and to strangers
 * by turns.
 */
function* feelers(state: State, lanes: readonly OpenLane[], dialCount: number): Generator<Route> {
  const turn = dialCount % 4 === 0 ? lanes : rotated(lanes, dialCount)
  const [first] = turn
  if (turn !== lanes && first && first.lane.tier !== STRANGER_TIER)
    yield* earliestOf(
      state,
      lanes.filter(({ lane }) => lane.tier !== STRANGER_TIER),
      ({ lastErrorTime }) => lastErrorTime,
    )
  yield* eachOf(state, turn)
}

export function isFeelerLane(lane: Lane): boolean {
  return !lane.isProven && (lane.hasError || lane.tier === STRANGER_TIER)
}

export function isTrialLane(lane: Lane): boolean {
  return !lane.isProven && !isFeelerLane(lane)
}

function rotated<T>(list: readonly T[], by: number): T[] {
  const at = list.length > 0 ? by % list.length : 0
  return [...list.slice(at), ...list.slice(0, at)]
}

export function* eachOf(state: State, lanes: readonly OpenLane[]): Generator<Route> {
  for (const each of lanes) yield* walk(state, each)
}

function* eachBackwards(state: State, lanes: readonly OpenLane[]): Generator<Route> {
  for (const { lane } of lanes) {
    let route = routeBefore(state.ready, lane.end)
    while (route && isInLane(route, lane)) {
      yield route
      route = routeBefore(state.ready, route)
    }
  }
}

/** The routes of several lanes in the order of their turns, or of another time that each lane is in order of. */
export function* earliestOf(
  state: State,
  lanes: readonly OpenLane[],
  timeOf: (route: Route) => EpochMs = ({ turnAt }) => turnAt,
): Generator<Route> {
  const walks = lanes.map((each) => walk(state, each))
  const heads = walks.map((each) => each.next())
  for (;;) {
    let best = -1
    for (const [i, head] of heads.entries()) {
      const other = best < 0 ? undefined : heads[best]
      if (!head.done && (!other || other.done || timeOf(head.value) < timeOf(other.value))) best = i
    }
    const head = heads[best]
    if (!head || head.done) return
    yield head.value
    heads[best] = (walks[best] as Generator<Route>).next()
  }
}

/** The routes of a lane in their order. Mostly the first will do, and it is there already. */
export function* walk({ ready }: State, { lane, head }: OpenLane): Generator<Route> {
  yield head
  for (const route of routesFrom(ready, head)) {
    if (route === head) continue
    if (!isInLane(route, lane)) return
    yield route
  }
}
