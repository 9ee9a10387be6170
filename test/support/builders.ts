/**
 * What the tests of the core are made of: people, their addresses, and a World, which is a state with a clock that begins
 * plans at once and can be told how dials end. Nothing here decides anything.
 *
 * A route has a short name: `bob` is bob's `net` address, `bob/onion` another one; `SPECS` lists the forms. Effects are
 * written the same way: `dial bob/onion`, `close bob rotation`.
 */
import { createHash } from 'crypto'

import type { Action, RouteReport, StoredPeer, StoredRoute } from '../../src/core/actions'
import { parseAddress } from '../../src/core/address'
import { checkInvariants } from '../../src/core/invariants'
import { DEFAULT_OPTIONS, mergeMaxByType, type Options } from '../../src/core/options'
import { isEmptyPlan, plan } from '../../src/core/plan'
import { initialState, reduce } from '../../src/core/reducer'
import { whyNotDial } from '../../src/core/refusal'
import type { State } from '../../src/core/table'
import { attemptsOf } from '../../src/core/table'
import type {
  Address,
  CloseReason,
  DialCause,
  FeedId,
  ParsedRoute,
  Plan,
  Priority,
  Refusal,
  Route,
} from '../../src/core/types'

export const SECOND = 1_000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR
/** A Thursday at noon. Real dates show what `|0` and the like would do to a time. */
export const START = Date.UTC(2026, 0, 15, 12)

// ---- people and addresses -----------------------------------------------------------------------------------------------

const ids = new Map<string, FeedId>()
const namesById = new Map<FeedId, string>()

/** The feed id of somebody; the same for the same name, in each run. */
export function idOf(name: string): FeedId {
  const known = ids.get(name)
  if (known) return known
  const id = `@${createHash('sha256').update(name).digest('base64')}.ed25519`
  ids.set(name, id)
  namesById.set(id, name)
  return id
}

export function nameOf(id: FeedId): string {
  return namesById.get(id) ?? id
}

const bareKey = (name: string): string => idOf(name).slice(1, -'.ed25519'.length)

function octet(name: string): number {
  return 1 + ((createHash('sha256').update(name).digest()[0] ?? 0) % 250)
}

/** By short name, the form of an address. What has a `-` takes what follows as an argument: `net-h` is on the host `h`. */
const SPECS: { readonly [spec: string]: (name: string, argument: string) => string } = {
  net: (name, host) => `net:${host || name}.example.com:8008`,
  net2: (name) => `net:${name}-2.example.com:8008`,
  net3: (name) => `net:${name}-3.example.com:8008`,
  net4: (name) => `net:${name}-4.example.com:8008`,
  net5: (name) => `net:${name}-5.example.com:8008`,
  /** A numbered one, for peers with many. */
  n: (name, number) => `net:${name}.example.org:${1000 + Number(number)}`,
  ip6: (name) => `net:2001:41d0::${octet(name)}:8008`,
  home: (name) => `net:127.0.0.${octet(name)}:8008`,
  lan: (name) => `net:192.168.1.${octet(name)}:8008`,
  lan2: (name) => `net:192.168.2.${octet(name)}:8008`,
  onion: (name) => `onion:${name.toLowerCase()}abcdefghij234567.onion:8008`,
  ws: (name, host) => `ws://${host || name}.example.com:8989`,
  wss: (name) => `wss://${name}.example.com`,
  rtc: (name) => `rtc:${name}`,
  bt: (name) => `bt:${createHash('sha256').update(name).digest('hex').slice(0, 12).toUpperCase()}`,
  dht: (name) => `dht:${name}seed:${idOf(name)}`,
  unix: (name) => `unix:/run/${name}/socket`,
  tunnel: (name, room) => `tunnel:${idOf(room)}:${idOf(name)}`,
}

const routesByLabel = new Map<string, ParsedRoute>()
const labelsByAddress = new Map<Address, string>()

/** The route of a label such as `bob` or `bob/onion`. */
export function route(label: string): ParsedRoute {
  const known = routesByLabel.get(label)
  if (known) return known
  const [name = '', form = 'net'] = label.split('/')
  const [spec = '', argument = ''] = form.split('-')
  const make = SPECS[spec]
  if (!make) throw new Error(`no such form of address: ${label}`)
  const parsed = parseAddress(`${make(name, argument)}~shs:${bareKey(name)}`)[0]
  if (!parsed) throw new Error(`not an address: ${label}`)
  routesByLabel.set(label, parsed)
  labelsByAddress.set(parsed.address, label)
  return parsed
}

export function addressOf(label: string): Address {
  return route(label).address
}

export function labelOf(address: Address): string {
  return labelsByAddress.get(address) ?? address
}

// ---- records --------------------------------------------------------------------------------------------------------------

const isLan = (label: string): boolean => /\/lan/.test(label)

/** A LAN address is a local route of source `local`; everything else was typed in by the user. */
export function report(label: string, change: Partial<RouteReport> = {}): RouteReport {
  return { route: route(label), isLocal: isLan(label), source: isLan(label) ? 'local' : 'manual', ...change }
}

/** As it was stored a day after it was learned; never dialed unless `change` says so. */
export function stored(label: string, change: Partial<StoredRoute> = {}): StoredRoute {
  return {
    ...report(label),
    addedAt: START - 100 * DAY,
    lastConnectionTime: 0,
    lastErrorTime: 0,
    connectionCount: 0,
    errorCount: 0,
    backoffStep: 0,
    nextAttemptAt: 0,
    errors: [],
    duration: null,
    ...change,
  }
}

export function storedPeer(name: string, change: Partial<StoredPeer> = {}): StoredPeer {
  return { id: idOf(name), priority: 'MEDIUM', prioritisedBy: null, isLongTerm: false, visitedAt: 0, ...change }
}

/** `maxByType` replaces the default: a test names the slots it needs. */
export function options(change: Partial<Options> = {}): Options {
  return {
    ...DEFAULT_OPTIONS,
    selfId: idOf('self'),
    tieKey: [1, 2, 3, 4],
    ...change,
  }
}

export function slots(max: { readonly [type: string]: number }): Pick<Options, 'maxByType'> {
  const none: { [type: string]: number } = {}
  for (const type of Object.keys(DEFAULT_OPTIONS.maxByType)) none[type] = 0
  return { maxByType: mergeMaxByType(none, max) }
}

// ---- the world ------------------------------------------------------------------------------------------------------------

type ActionWithoutTime = Action extends infer A ? (A extends Action ? Omit<A, 'at'> : never) : never

export interface Ending {
  readonly code?: string | null
  readonly message?: string
  readonly jitter?: number
}

/** More rounds than any test needs: a plan that never becomes empty is a fault, not a reason to wait. */
const MAX_ROUNDS = 500

/** A state and a clock. Every action is recorded and followed by `checkInvariants`. */
export class World {
  state: State
  now = START
  readonly first: State
  readonly actions: Action[] = []
  /** Drawn for each failure and close; half of the window unless a test says otherwise. */
  jitter = 0.5
  isChecked = true
  private lastAttempt = 0

  constructor(given: Options = options()) {
    this.state = initialState(given, this.now)
    this.first = this.state
  }

  /** A world whose manager is started. */
  static started(change: Partial<Options> = {}): World {
    const world = new World(options(change))
    world.dispatch({ type: 'connections/started' })
    return world
  }

  /** Another world from here on. */
  fork(): World {
    const other = new World(this.state.options)
    other.state = this.state
    other.now = this.now
    other.jitter = this.jitter
    other.isChecked = this.isChecked
    other.lastAttempt = this.lastAttempt
    return other
  }

  dispatch(action: ActionWithoutTime): State {
    return this.dispatchAt(action as Action, this.now)
  }

  dispatchAt(action: Action, at: number): State {
    const whole: Action = { ...action, at }
    this.actions.push(whole)
    this.state = reduce(this.state, whole)
    if (this.isChecked) checkInvariants(this.state)
    return this.state
  }

  plan(): Plan {
    return plan(this.state, this.now)
  }

  /** Turns a plan into the actions that begin it, in the order in which the connector does. */
  begin(made: Plan): void {
    for (const { peer, address, attempt, timeoutMs } of made.giveUps)
      this.dispatch({
        type: 'dial/failed',
        attempt,
        peer,
        address,
        error: { message: `no answer within ${timeoutMs} ms`, code: 'ERR_DIAL_TIMEOUT' },
        jitter: this.jitter,
        isGivenUp: true,
      })
    for (const { peer, reason } of made.closes) this.dispatch({ type: 'connection/closing', peer, reason })
    for (const peer of made.lost) this.dispatch({ type: 'connection/closed', peer, jitter: this.jitter })
    if (made.deferrals.length > 0) this.dispatch({ type: 'routes/deferred', deferrals: made.deferrals })
    for (const { peer, address, cause } of made.dials)
      this.dispatch({ type: 'dial/started', attempt: ++this.lastAttempt, peer, address, cause })
  }

  /** Plans and begins until nothing is left to do now; what was done, in order. */
  settle(): string[] {
    const effects: string[] = []
    for (let round = 0; ; round++) {
      if (round === MAX_ROUNDS) throw new Error(`still planning after ${MAX_ROUNDS} rounds: ${effects.slice(-4)}`)
      this.dispatchDue()
      const made = this.plan()
      if (isEmptyPlan(made)) return effects
      effects.push(...describePlan(made))
      this.begin(made)
    }
  }

  /** What the scheduler does before it plans. */
  dispatchDue(): void {
    this.dispatch({ type: 'clock/advanced' })
  }

  /** When the next plan is due; null: only an event can change anything. Of a settled world. */
  wakeAt(): number | null {
    return this.plan().wakeAt
  }

  /** Moves the clock on, planning at each time at which the plan asked for it; what was done, with the ms since `START`. */
  elapse(durationMs: number): { readonly at: number; readonly effect: string }[] {
    const done: { at: number; effect: string }[] = []
    const note = (): void => {
      for (const effect of this.settle()) done.push({ at: this.now - START, effect })
    }
    const end = this.now + durationMs
    note()
    for (let round = 0; ; round++) {
      if (round === 100_000) throw new Error('the clock is asked for too often')
      const at = this.wakeAt()
      if (at === null || at > end) break
      if (at <= this.now) throw new Error('asked to wake up in the past')
      this.now = at
      note()
    }
    this.now = end
    note()
    return done
  }

  // ---- events, by short names

  add(label: string, change: Partial<RouteReport> = {}): void {
    this.dispatch({ type: 'routes/added', reports: [report(label, change)] })
  }

  addAll(labels: readonly string[], change: Partial<RouteReport> = {}): void {
    this.dispatch({ type: 'routes/added', reports: labels.map((label) => report(label, change)) })
  }

  /** As core/snapshot.ts reads a table: the routes of a peer with an entry carry the priority of that entry. */
  load(routes: readonly StoredRoute[], peers: readonly StoredPeer[] = []): void {
    const read = routes.map((each) => {
      const priority = each.priority ?? peers.find(({ id }) => id === each.route.peer)?.priority
      return priority === undefined ? each : { ...each, priority }
    })
    this.dispatch({ type: 'table/loaded', routes: read, peers })
  }

  prioritise(name: string, priority: Priority): void {
    this.dispatch({ type: 'peer/prioritised', peer: idOf(name), priority })
  }

  longTerm(name: string, isLongTerm = true): void {
    this.dispatch({ type: 'peer/longTermSet', peer: idOf(name), isLongTerm })
  }

  /** The user hung up: not dialed by the scheduler for a while. */
  hold(name: string): void {
    this.dispatch({ type: 'peer/held', peer: idOf(name) })
  }

  request(name: string, label: string | null = null): void {
    const address = label === null ? null : addressOf(label)
    this.dispatch({ type: 'connection/requested', peer: idOf(name), address })
  }

  /** The attempts in flight, by label, oldest first. */
  inFlight(): string[] {
    const found: { id: number; label: string }[] = []
    for (const peer of this.state.active.keys())
      for (const { id, address } of attemptsOf(peer.connection)) found.push({ id, label: labelOf(address) })
    return found.sort((a, b) => a.id - b.id).map(({ label }) => label)
  }

  private attempt(label: string): { readonly id: number; readonly cause: DialCause } {
    const parsed = route(label)
    const peer = this.state.peers.get(parsed.peer)
    const found = peer && attemptsOf(peer.connection).find((each) => each.address === parsed.address)
    if (!found) throw new Error(`${label} is not being dialed`)
    return found
  }

  /** The dial of this route succeeds. */
  connect(label: string): void {
    const { peer, address } = route(label)
    const { id, cause } = this.attempt(label)
    this.dispatch({ type: 'connection/opened', peer, direction: 'outbound', address, attempt: id, cause })
  }

  /** The dial of this route fails; by default the host refuses, which says that the link is up. */
  fail(label: string, { code = 'ECONNREFUSED', message = `${code}`, jitter = this.jitter }: Ending = {}): void {
    const { peer, address } = route(label)
    const error = { message, code }
    const attempt = this.attempt(label).id
    this.dispatch({ type: 'dial/failed', attempt, peer, address, error, jitter, isGivenUp: false })
  }

  /** The dial of this route is over and nobody is to blame. */
  abandon(label: string): void {
    this.dispatch({ type: 'dial/abandoned', attempt: this.attempt(label).id, peer: route(label).peer })
  }

  callIn(name: string): void {
    const peer = idOf(name)
    this.dispatch({
      type: 'connection/opened',
      peer,
      direction: 'inbound',
      address: null,
      attempt: null,
      cause: 'inbound',
    })
  }

  /** The connection is gone: the other side ended it, or it confirms our close. */
  close(name: string): void {
    this.dispatch({ type: 'connection/closed', peer: idOf(name), jitter: this.jitter })
  }

  askToClose(name: string, reason: CloseReason): void {
    this.dispatch({ type: 'connection/closeRequested', peer: idOf(name), reason })
  }

  setMax(max: { readonly [type: string]: number }): void {
    const maxByType = mergeMaxByType(this.state.options.maxByType, max)
    this.dispatch({ type: 'options/changed', options: { ...this.state.options, maxByType } })
  }

  // ---- answers

  route(label: string): Route {
    const found = this.state.routes.get(addressOf(label))
    if (!found) throw new Error(`${label} is not in the table`)
    return found
  }

  has(label: string): boolean {
    return this.state.routes.has(addressOf(label))
  }

  status(name: string): string {
    return this.state.peers.get(idOf(name))?.connection.status ?? 'unknown'
  }

  /** Names of connected peers, sorted. */
  connected(): string[] {
    const found: string[] = []
    for (const peer of this.state.active.keys()) if (peer.connection.status === 'connected') found.push(nameOf(peer.id))
    return found.sort()
  }

  whyNot(label: string, cause: DialCause = 'schedule'): Refusal | null {
    const found = this.route(label)
    const peer = this.state.peers.get(found.peer)
    if (!peer) throw new Error(`${label} has no peer`)
    return whyNotDial(this.state, found, peer, this.now, cause)
  }
}

/** The effects of a plan, in the order in which they are begun. */
export function describePlan(made: Plan): string[] {
  return [
    ...made.giveUps.map(({ address }) => `give up ${labelOf(address)}`),
    ...made.closes.map(({ peer, reason }) => `close ${nameOf(peer)} ${reason}`),
    ...made.lost.map((peer) => `lose ${nameOf(peer)}`),
    ...made.deferrals.map(({ address, until }) => `put off ${labelOf(address)} until ${until - START}`),
    ...made.dials.map(({ address, cause }) => `dial ${labelOf(address)}${cause === 'schedule' ? '' : ` (${cause})`}`),
  ]
}

/** Whether two states differ in nothing but what the last action touched. */
export function isSame(a: State, b: State): boolean {
  return serialise({ ...a, changedPeers: [] }) === serialise({ ...b, changedPeers: [] })
}

/** The state as JSON, with its trees as lists: what two states are compared by. */
export function serialise(state: State): string {
  return JSON.stringify(state, (_, value: unknown) => {
    const tree = value as { toArray?: () => unknown[] } | null
    if (typeof tree === 'object' && tree !== null && typeof tree.toArray === 'function') return tree.toArray()
    return value === Number.POSITIVE_INFINITY ? 'never' : value
  })
}
