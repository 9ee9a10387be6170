/**
 * The state and the one place that writes it. A reducer opens a transaction, puts and removes records, and commits; the
 * indexes and counts that are derived from the records are kept here and nowhere else, and `checkInvariants` compares them
 * with a recomputation.
 *
 * Trees are shared between states: a transaction clones a tree before its first write (O(1), copy on write), so states that
 * were handed out stay as they were.
 */
import { destinationStarts } from './address'
import { InvariantError } from './errors'
import { turnAtOf } from './merit'
import type { Options } from './options'
import { compareReady, compareRoutesOfPeer, compareWaiting, isLow, tierOfPeer } from './rank'
import { changePeer, changeRoute, IDLE, type RouteChange } from './records'
import { byText, emptyTree, type Tree } from './tree'
import type {
  Address,
  Attempt,
  ClassState,
  Connection,
  EpochMs,
  FeedId,
  InitialSync,
  Layer,
  Occupancy,
  Peer,
  RankKey,
  Request,
  Route,
} from './types'

export interface State {
  readonly options: Options
  readonly mode: 'off' | 'on'
  /** We are taking in much: one dial at a time, and nobody makes room. */
  readonly isBusy: boolean
  /** When we last woke, or our network changed: what was begun before says nothing of anybody else. */
  readonly onlineAt: EpochMs
  readonly initialSync: InitialSync | null
  readonly peers: Tree<FeedId, Peer>
  readonly routes: Tree<Address, Route>
  /** Routes that may be dialed as far as they themselves are concerned, best first (rank.ts). */
  readonly ready: Ranking
  /** Routes whose pause has an end, by that end. */
  readonly waiting: Ranking
  /** No route of an open queue in `waiting` falls due before this, so that most events need not look. Infinity: none does. */
  readonly nothingDueBefore: EpochMs
  /** Peers that are not idle, by `timerAt`. */
  readonly active: Tree<Peer, undefined>
  /** Peers with an outbound connection, open or closing. */
  readonly outbound: Tree<FeedId, undefined>
  readonly requests: Tree<FeedId, Request>
  readonly layers: Tree<string, Layer>
  /** How many of them are down: mostly none, and then nothing need be asked of them before a dial. */
  readonly downCount: number
  /**
   * When a host and port was last dialed, whether or not a route names it still: to name it again is no way around the
   * throttle. What was dialed before the window is looked for and dropped as others are dialed.
   */
  readonly hosts: Tree<string, EpochMs>
  /** Up to where `hosts` was looked through. */
  readonly hostsSeen: string
  /** By class; only those that were ever dialed or set, at most `MAX_CLASSES`. */
  readonly classes: { readonly [type: string]: ClassState }
  /** By class, of outbound connections and dials. */
  readonly occupancy: { readonly [type: string]: Occupancy }
  readonly inboundCount: number
  /** Dials in flight that still count, over all peers. */
  readonly attemptCount: number
  /** Dials that were given up and still hold a socket: attempt and the time after which we stop believing in it. */
  readonly lingering: readonly Lingering[]
  /** How many LOW routes there are: whether anything can make room in a full table. */
  readonly lowCount: number
  /** Time of the last action. */
  readonly now: EpochMs
  /** Peers that the last action changed, each once; the live sources read it. Removed peers are among them. */
  readonly changedPeers: readonly FeedId[]
}

/**
 * Routes in an order. The records are the keys, as all that they are ordered by is in them, and there are no values: in a node
 * without values there is one list only.
 */
export type Ranking = Tree<Route, undefined>

/**
 * A copy of a state that is about to become the next one. Field by field, as V8 copies no object of this size so fast by any
 * other means: a spread takes ten times as long.
 */
class StateRecord implements State {
  options: Options
  mode: State['mode']
  isBusy: boolean
  onlineAt: EpochMs
  initialSync: InitialSync | null
  peers: State['peers']
  routes: State['routes']
  ready: State['ready']
  waiting: State['waiting']
  nothingDueBefore: EpochMs
  active: State['active']
  outbound: State['outbound']
  requests: State['requests']
  layers: State['layers']
  downCount: number
  hosts: State['hosts']
  hostsSeen: string
  classes: State['classes']
  occupancy: State['occupancy']
  inboundCount: number
  attemptCount: number
  lingering: State['lingering']
  lowCount: number
  now: EpochMs
  changedPeers: State['changedPeers']

  constructor(from: State) {
    this.options = from.options
    this.mode = from.mode
    this.isBusy = from.isBusy
    this.onlineAt = from.onlineAt
    this.initialSync = from.initialSync
    this.peers = from.peers
    this.routes = from.routes
    this.ready = from.ready
    this.waiting = from.waiting
    this.nothingDueBefore = from.nothingDueBefore
    this.active = from.active
    this.outbound = from.outbound
    this.requests = from.requests
    this.layers = from.layers
    this.downCount = from.downCount
    this.hosts = from.hosts
    this.hostsSeen = from.hostsSeen
    this.classes = from.classes
    this.occupancy = from.occupancy
    this.inboundCount = from.inboundCount
    this.attemptCount = from.attemptCount
    this.lingering = from.lingering
    this.lowCount = from.lowCount
    this.now = from.now
    this.changedPeers = from.changedPeers
  }
}

export { IDLE }
/** A dial that nobody waits for any more, and that may hold a socket. */
export interface Lingering {
  readonly attempt: number
  /** When its socket is believed to be gone, unless we are told before. */
  readonly until: EpochMs
  /** Until then it is in flight like any other: it may have lost a race to another route of its peer. */
  readonly deadlineAt: EpochMs
}

/** A close that was never confirmed is taken for done after this long: muxrpc confirms within milliseconds. */
export const CLOSING_TIMEOUT_MS = 5_000
/** At most this many routes of one peer are dialed at once (go-libp2p: 4 is past the point of gain). */
export const MAX_RACE = 4
/** Before the first dial; how often they succeed is a guess, of which little is left after a few. */
export const NEW_CLASS: ClassState = {
  successRate: 0.5,
  dialCount: 0,
  visitYield: 0.5,
  nextRotationAt: 0,
  lastRotationAt: 0,
  nextTrialAt: 0,
  trialsInVain: 0,
  nextFeelerAt: 0,
  feelerPauseMs: 60_000,
}
const HOSTS_PER_SWEEP = 2
const NO_CHANGE: RouteChange = {}
const NONE: readonly never[] = []
const NO_OCCUPANCY: Occupancy = { connected: 0, dialing: 0, closing: 0 }

function compareActive(a: Peer, b: Peer): number {
  // Infinity − Infinity is NaN, so timers are compared, not subtracted.
  return a.timerAt < b.timerAt ? -1 : a.timerAt > b.timerAt ? 1 : byText(a.id, b.id)
}

export function initialState(options: Options, now: EpochMs): State {
  return new StateRecord({
    options,
    mode: 'off',
    isBusy: false,
    onlineAt: 0,
    initialSync: null,
    peers: emptyTree(byText),
    routes: emptyTree(byText),
    ready: emptyTree<Route, undefined>(compareReady),
    waiting: emptyTree<Route, undefined>(compareWaiting),
    nothingDueBefore: Number.POSITIVE_INFINITY,
    active: emptyTree(compareActive),
    outbound: emptyTree(byText),
    requests: emptyTree(byText),
    layers: emptyTree(byText),
    downCount: 0,
    hosts: emptyTree(byText),
    hostsSeen: '',
    classes: {},
    occupancy: {},
    inboundCount: 0,
    attemptCount: 0,
    lingering: [],
    lowCount: 0,
    now,
    changedPeers: NONE,
  })
}

export function occupancyOf(state: State, routeClass: string): Occupancy {
  return Object.prototype.hasOwnProperty.call(state.occupancy, routeClass)
    ? (state.occupancy[routeClass] ?? NO_OCCUPANCY)
    : NO_OCCUPANCY
}

/** Dials in flight of a peer, whatever else its connection is. */
export function attemptsOf(connection: Connection): readonly Attempt[] {
  return connection.status === 'dialing' ? connection.attempts : []
}

/** Whether two connections take the same slot, or none: what happens within a connection changes no count. */
function isSameSlot(a: Connection, b: Connection): boolean {
  if (a.status === 'dialing' || b.status === 'dialing') return false
  if (a.status === 'idle' || b.status === 'idle') return a.status === b.status
  return a.status === b.status && a.class === b.class && a.direction === b.direction
}

function isOutbound(peer: Peer): boolean {
  const connection = peer.connection
  return (connection.status === 'connected' || connection.status === 'closing') && connection.direction === 'outbound'
}

function isInbound(peer: Peer): boolean {
  const connection = peer.connection
  return connection.status === 'connected' && connection.direction === 'inbound'
}

/** Whether a route of this peer belongs in `ready` or `waiting` at all. */
export function isCandidate(options: Options, peer: Peer): boolean {
  return peer.connection.status === 'idle' && peer.priority !== 'BANNED' && peer.id !== options.selfId
}

/** What worked the last time is given longer than one round trip before others are tried beside it. */
const PROVEN_STAGGER = 8

/** How long after the dial of a route the next one of its peer may begin. */
export function staggerAfter(options: Options, route: Route | undefined): number {
  const staggerMs = route?.isLocal ? options.staggerLocalMs : options.staggerMs
  return route && route.lastConnectionTime > 0 && route.errorCount === 0 ? PROVEN_STAGGER * staggerMs : staggerMs
}

/**
 * The next route to race beside the dials that are in flight, and when. Null when none is left but those in `skip`, none
 * will be due in time, or enough are in flight.
 */
export function nextInRace(
  read: (address: Address) => Route | undefined,
  options: Options,
  peer: Peer,
  isRequested: boolean,
  skip?: ReadonlySet<Address>,
): { readonly route: Route; readonly at: EpochMs } | null {
  const connection = peer.connection
  if (connection.status !== 'dialing' || connection.attempts.length >= MAX_RACE) return null
  // The only one is in flight.
  if (peer.routes.length === 1) return null
  const last = connection.attempts[connection.attempts.length - 1]
  if (!last) return null
  const previous = read(last.address)
  const at = last.startedAt + staggerAfter(options, previous)
  let best: Route | null = null
  for (const address of peer.routes) {
    if (connection.tried.includes(address) || connection.attempts.some((attempt) => attempt.address === address))
      continue
    const route = read(address)
    if (!route || skip?.has(address) || (!isRequested && (!route.isAutomatic || route.dueAt > at))) continue
    if (!best || compareRoutesOfPeer(route, best) < 0) best = route
  }
  return best ? { route: best, at } : null
}

/** A record as a transaction found it and as it is now; undefined where there is none. */
interface Draft<T> {
  readonly key: string
  before: T | undefined
  now: T | undefined
  /** The record, or its place in an index, may have changed. */
  isTouched: boolean
}

/** By key. Most actions are about one peer and one route, for which no map is made. */
class Drafts<T> {
  private first: Draft<T> | null = null
  private others: Map<string, Draft<T>> | null = null
  /** Those that are touched, in the order in which they were. */
  touched: Draft<T>[] = []

  /** The one of this key, made with what `tree` holds where there is none yet. */
  of(key: string, tree: Tree<string, T>): Draft<T> {
    const { first } = this
    if (first !== null && first.key === key) return first
    const known = first === null || this.others === null ? undefined : this.others.get(key)
    if (known !== undefined) return known
    const before = tree.get(key)
    const draft = { key, before, now: before, isTouched: false }
    if (first === null) this.first = draft
    else {
      this.others ??= new Map()
      this.others.set(key, draft)
    }
    return draft
  }

  touch(draft: Draft<T>): void {
    if (draft.isTouched) return
    draft.isTouched = true
    this.touched.push(draft)
  }

  /** All touched ones are in the trees. */
  settled(): void {
    for (const draft of this.touched) {
      draft.before = draft.now
      draft.isTouched = false
    }
    this.touched = []
  }
}

function writable<K, V>(tree: Tree<K, V>, base: Tree<K, V>): Tree<K, V> {
  return tree === base ? tree.clone() : tree
}

/**
 * One change of the state. Handlers read through it, so they see their own writes. Those to peers and routes are gathered and
 * brought into the trees together: what a handler writes in several steps costs one write of each tree.
 */
export class Transaction {
  private readonly base: State
  private readonly next: StateRecord
  private readonly peers = new Drafts<Peer>()
  private readonly routes = new Drafts<Route>()
  /** Routes added and not removed since the trees were last written. */
  private addedCount = 0
  /** Peers to be told of; a set only once there are several. */
  private changed: FeedId | Set<FeedId> | null = null
  readonly at: EpochMs

  constructor(state: State, at: EpochMs) {
    this.base = state
    this.at = at
    this.next = new StateRecord(state)
    if (at > state.now) this.next.now = at
    if (state.changedPeers.length > 0) this.next.changedPeers = NONE
  }

  /** With all that was written so far. Where less will do, `peer`, `route` and `root` spare the trees a write. */
  get state(): State {
    this.settle()
    return this.next
  }

  /** What handlers write themselves, and nothing that is derived from peers and routes. */
  get root(): Pick<
    State,
    | 'mode'
    | 'isBusy'
    | 'onlineAt'
    | 'initialSync'
    | 'requests'
    | 'layers'
    | 'downCount'
    | 'classes'
    | 'lingering'
    | 'now'
  > {
    return this.next
  }

  /** As it was before the writes to peers and routes that have not reached the trees: usually before the action. */
  get before(): State {
    return this.next
  }

  get options(): Options {
    return this.next.options
  }

  get routeCount(): number {
    return this.next.routes.size + this.addedCount
  }

  // The trees as they may be written to: copies from the first write on.

  private get peerTree(): State['peers'] {
    this.next.peers = writable(this.next.peers, this.base.peers)
    return this.next.peers
  }
  private get routeTree(): State['routes'] {
    this.next.routes = writable(this.next.routes, this.base.routes)
    return this.next.routes
  }
  private get readyTree(): State['ready'] {
    this.next.ready = writable(this.next.ready, this.base.ready)
    return this.next.ready
  }
  private get waitingTree(): State['waiting'] {
    this.next.waiting = writable(this.next.waiting, this.base.waiting)
    return this.next.waiting
  }
  private get activeTree(): State['active'] {
    this.next.active = writable(this.next.active, this.base.active)
    return this.next.active
  }
  private get outboundTree(): State['outbound'] {
    this.next.outbound = writable(this.next.outbound, this.base.outbound)
    return this.next.outbound
  }
  private get requestTree(): State['requests'] {
    this.next.requests = writable(this.next.requests, this.base.requests)
    return this.next.requests
  }
  private get layerTree(): State['layers'] {
    this.next.layers = writable(this.next.layers, this.base.layers)
    return this.next.layers
  }
  private get hostTree(): State['hosts'] {
    this.next.hosts = writable(this.next.hosts, this.base.hosts)
    return this.next.hosts
  }

  private peerDraft(id: FeedId): Draft<Peer> {
    return this.peers.of(id, this.next.peers)
  }

  private routeDraft(address: Address): Draft<Route> {
    return this.routes.of(address, this.next.routes)
  }

  /** The live sources tell of this peer. */
  private noteChange(id: FeedId): void {
    const { changed } = this
    if (changed === null) this.changed = id
    else if (typeof changed !== 'string') changed.add(id)
    else if (changed !== id) this.changed = new Set([changed, id])
  }

  peer(id: FeedId): Peer | undefined {
    return this.peerDraft(id).now
  }

  route(address: Address): Route | undefined {
    return this.routeDraft(address).now
  }

  /** Writes scalars of the root: mode, options, initialSync, … Derived fields are not among them. */
  set(
    changes: Partial<
      Pick<State, 'mode' | 'isBusy' | 'onlineAt' | 'initialSync' | 'classes' | 'options' | 'lingering' | 'now'>
    >,
  ): void {
    // Queues that are looked at from now on may hold what fell due long ago.
    if (changes.options) this.next.nothingDueBefore = 0
    Object.assign(this.next, changes)
  }

  classState(name: string): ClassState {
    const known = Object.prototype.hasOwnProperty.call(this.next.classes, name) ? this.next.classes[name] : undefined
    return known ?? NEW_CLASS
  }

  putClass(name: string, change: Partial<ClassState>): void {
    const known = this.classState(name)
    // Named one by one, as two spreads into one object take several times as long.
    const changed: ClassState = {
      successRate: change.successRate ?? known.successRate,
      dialCount: change.dialCount ?? known.dialCount,
      visitYield: change.visitYield ?? known.visitYield,
      nextRotationAt: change.nextRotationAt ?? known.nextRotationAt,
      lastRotationAt: change.lastRotationAt ?? known.lastRotationAt,
      nextTrialAt: change.nextTrialAt ?? known.nextTrialAt,
      trialsInVain: change.trialsInVain ?? known.trialsInVain,
      nextFeelerAt: change.nextFeelerAt ?? known.nextFeelerAt,
      feelerPauseMs: change.feelerPauseMs ?? known.feelerPauseMs,
    }
    this.next.classes = { ...this.next.classes, [name]: changed }
  }

  putRequest(request: Request): void {
    this.requestTree.set(request.peer, request)
    this.noteChange(request.peer)
    this.refreshTimer(request.peer)
  }

  dropRequest(id: FeedId): void {
    if (this.next.requests.isEmpty || !this.next.requests.has(id)) return
    this.requestTree.delete(id)
    this.noteChange(id)
    this.refreshTimer(id)
  }

  putLayer(layer: Layer): void {
    this.next.downCount += Number(layer.isDown) - Number(this.next.layers.get(layer.key)?.isDown ?? false)
    this.layerTree.set(layer.key, layer)
  }

  dropLayer(key: string): void {
    const layer = this.next.layers.get(key)
    if (!layer) return
    this.next.downCount -= Number(layer.isDown)
    this.layerTree.delete(key)
  }

  putHost(key: string, dialedAt: EpochMs): void {
    this.hostTree.set(key, dialedAt)
  }

  /** Looks at a few and drops those whose window is over; more than are added, so that they cannot pile up. */
  sweepHosts(): void {
    const earliest = this.at - this.options.hostWindowMs
    for (let i = 0; i < HOSTS_PER_SWEEP; i++) {
      const next = this.next.hosts.nextHigherPair(this.next.hostsSeen)
      this.next.hostsSeen = next ? next[0] : ''
      if (next && next[1] <= earliest) this.hostTree.delete(next[0])
    }
  }

  /**
   * Puts a record; its derived fields (queue, tier, dueAt unless deferred) are made to fit the peer. Identity is kept when
   * nothing changes.
   */
  putRoute(route: Route, change: RouteChange = NO_CHANGE): Route {
    const peer = this.peer(route.peer)
    if (!peer) throw new InvariantError(`route ${route.address} without its peer`)
    const draft = this.routeDraft(route.address)
    const isNew = draft.now === undefined
    if (isNew) this.addedCount++
    const queue = peer.isLongTerm ? '' : (change.class ?? route.class)
    const tier = tierOfPeer(peer)
    const held = peer.isLongTerm ? 0 : peer.heldUntil
    const floor = later(change.nextAttemptAt ?? route.nextAttemptAt, held)
    const dueAt = change.dueAt !== undefined ? later(change.dueAt, floor) : floor
    const { tie } = peer
    const turnAt = turnAtOf(this.options, peer)
    const after = changeRoute(route, change, { queue, tier, tie, turnAt, dueAt })
    draft.now = after
    this.routes.touch(draft)
    this.noteChange(after.peer)
    if (isNew || peer.connection.status === 'dialing') this.refreshTimer(after.peer)
    return after
  }

  removeRoute(route: Route): void {
    const draft = this.routeDraft(route.address)
    if (draft.now) this.addedCount--
    draft.now = undefined
    this.routes.touch(draft)
    this.noteChange(route.peer)
    this.refreshTimer(route.peer)
  }

  /** Puts a peer; its slots are counted anew, its timer set, its routes moved between the indexes where they have to. */
  putPeer(peer: Peer, change: Partial<Peer> | null = null): Peer {
    const draft = this.peerDraft(peer.id)
    const before = draft.now
    const after = change ? changePeer(peer, change) : peer
    draft.now = after
    this.peers.touch(draft)
    this.noteChange(after.id)
    const isSameToUs =
      before?.priority === after.priority &&
      before.prioritisedBy === after.prioritisedBy &&
      before.isLongTerm === after.isLongTerm
    const isSameToRoutes =
      isSameToUs &&
      before.visitedAt === after.visitedAt &&
      before.merit === after.merit &&
      before.heldUntil === after.heldUntil
    if (before && isSameToRoutes && isCandidate(this.options, before) === isCandidate(this.options, after)) return after
    for (const address of after.routes) {
      const route = this.route(address)
      if (!route) continue
      // What was put off stays so, unless it may matter that we think otherwise of the peer now; what came from the
      // pauses alone is made anew.
      const pause = Math.max(route.nextAttemptAt, before && !before.isLongTerm ? before.heldUntil : 0)
      this.putRoute(route, isSameToUs && route.dueAt > pause ? { dueAt: route.dueAt } : NO_CHANGE)
    }
    return after
  }

  /** A peer without routes, connection or anything that was said about it is forgotten. */
  removePeer(peer: Peer): void {
    for (const address of peer.routes) {
      const route = this.route(address)
      if (route) this.removeRoute(route)
    }
    const draft = this.peerDraft(peer.id)
    if (!draft.now) return
    draft.now = undefined
    this.peers.touch(draft)
    this.dropRequest(peer.id)
    this.noteChange(peer.id)
  }

  /** Computes the timer of a peer again after something that it depends on has changed. */
  refreshTimer(id: FeedId): void {
    const draft = this.peerDraft(id)
    if (draft.now && draft.now.connection.status !== 'idle') this.peers.touch(draft)
  }

  // ---- into the trees

  private settle(): void {
    const { peers, routes } = this
    if (peers.touched.length === 0 && routes.touched.length === 0) return
    // Routes first: where a record lies in an index goes by the peer as it was.
    for (const draft of routes.touched) this.settleRoute(draft)
    for (const draft of peers.touched) this.settlePeer(draft)
    routes.settled()
    peers.settled()
    this.addedCount = 0
  }

  private settleRoute({ before, now }: Draft<Route>): void {
    const owner = before ?? now
    if (!owner) return
    const peer = this.peerDraft(owner.peer)
    const isLeft = before?.isAutomatic === true && peer.before !== undefined && isCandidate(this.options, peer.before)
    const isEntered = now?.isAutomatic === true && peer.now !== undefined && isCandidate(this.options, peer.now)
    if (before === now && isLeft && isEntered) return this.settlePlace(before)
    if (before && isLeft) this.leaveIndexes(before)
    if (now && isEntered) this.enterIndexes(now)
    if (before === now) return
    if (before && isLow(before.tier)) this.next.lowCount--
    if (now && isLow(now.tier)) this.next.lowCount++
    if (!now) this.routeTree.delete(owner.address)
    else this.routeTree.set(now.address, now)
  }

  /** A record that stays in its index unless it has fallen due meanwhile, or the clock was set back. */
  private settlePlace(route: Route): void {
    if (route.dueAt > this.next.now === this.next.waiting.has(route)) return
    this.leaveIndexes(route)
    this.enterIndexes(route)
  }

  private leaveIndexes(route: Route): void {
    // Asked first where it may lie in either, as deleting what is not there would still copy a path of the tree.
    if (route.dueAt > 0 && this.next.waiting.has(route)) this.waitingTree.delete(route)
    else this.readyTree.delete(route)
  }

  private enterIndexes(route: Route): void {
    if (route.dueAt <= this.next.now) {
      this.readyTree.set(route, undefined)
      return
    }
    this.waitingTree.set(route, undefined)
    if (route.dueAt < this.next.nothingDueBefore) this.next.nothingDueBefore = route.dueAt
  }

  private settlePeer(draft: Draft<Peer>): void {
    const { before, now } = draft
    const timerAt = now ? timerOf(this.next, now) : 0
    const after = now && now.timerAt !== timerAt ? changePeer(now, { timerAt }) : now
    if (after === before) return
    draft.now = after
    if (after) this.peerTree.set(after.id, after)
    else if (before) this.peerTree.delete(before.id)
    if (before && before.connection.status !== 'idle') this.activeTree.delete(before)
    if (after && after.connection.status !== 'idle') this.activeTree.set(after, undefined)
    if (before?.connection === after?.connection) return
    if (isSameSlot(before?.connection ?? IDLE, after?.connection ?? IDLE)) return
    const wasOutbound = before ? isOutbound(before) : false
    if (before && wasOutbound && !(after && isOutbound(after))) this.outboundTree.delete(before.id)
    if (after && isOutbound(after) && !wasOutbound) this.outboundTree.set(after.id, undefined)
    this.next.inboundCount += Number(after ? isInbound(after) : false) - Number(before ? isInbound(before) : false)
    this.next.attemptCount +=
      (after ? attemptsOf(after.connection).length : 0) - (before ? attemptsOf(before.connection).length : 0)
    if (after) this.countSlots(after.connection, 1)
    if (before) this.countSlots(before.connection, -1)
  }

  /** The classes in which a connection holds a slot, each once. */
  private countSlots(connection: Connection, difference: 1 | -1): void {
    if (connection.status === 'idle') return
    if (connection.status === 'dialing') {
      const { attempts } = connection
      for (const [i, attempt] of attempts.entries())
        if (i === 0 || attempts.findIndex((each) => each.class === attempt.class) === i)
          this.count(attempt.class, 'dialing', difference)
    } else if (connection.class !== null && connection.direction === 'outbound') {
      this.count(connection.class, connection.status, difference)
    }
  }

  private count(routeClass: string, kind: keyof Occupancy, difference: 1 | -1): void {
    const { connected, dialing, closing } = occupancyOf(this.next, routeClass)
    const counted = {
      connected: kind === 'connected' ? connected + difference : connected,
      dialing: kind === 'dialing' ? dialing + difference : dialing,
      closing: kind === 'closing' ? closing + difference : closing,
    }
    if (counted.connected + counted.dialing + counted.closing > 0) {
      this.next.occupancy = { ...this.next.occupancy, [routeClass]: counted }
      return
    }
    const { [routeClass]: _, ...others } = this.next.occupancy
    this.next.occupancy = others
  }

  /** Routes whose pause is over move from `waiting` to `ready`; at most `limit`, so that one event stays bounded. */
  promoteDue(limit: number): void {
    this.settle()
    if (this.next.nothingDueBefore > this.next.now) return
    let left = limit
    this.next.nothingDueBefore = Number.POSITIVE_INFINITY
    for (const queue of openQueues(this.options))
      for (;;) {
        const due = headOfWaiting(this.next, queue)
        if (!due) break
        if (due.dueAt > this.next.now || left === 0) {
          this.next.nothingDueBefore = Math.min(this.next.nothingDueBefore, due.dueAt)
          break
        }
        left--
        this.waitingTree.delete(due)
        this.readyTree.set(due, undefined)
      }
  }

  commit(): State {
    this.settle()
    const { changed } = this
    if (changed !== null) this.next.changedPeers = typeof changed === 'string' ? [changed] : [...changed]
    return this.next
  }
}

/** As Math.max, and hands on the very number, which records share, in place of an equal one. */
function later(a: EpochMs, b: EpochMs): EpochMs {
  return a < b ? b : a
}

/** When `plan` must look at a peer that is not idle. */
export function timerOf(state: Pick<State, 'routes' | 'options' | 'requests'>, peer: Peer): EpochMs {
  const connection = peer.connection
  if (connection.status === 'idle') return Number.POSITIVE_INFINITY
  switch (connection.status) {
    case 'dialing': {
      let at = Number.POSITIVE_INFINITY
      for (const attempt of connection.attempts) at = Math.min(at, attempt.deadlineAt)
      const next = nextInRace((address) => state.routes.get(address), state.options, peer, state.requests.has(peer.id))
      return next ? Math.min(at, next.at) : at
    }
    case 'connected':
      if (connection.closeReason !== null) return 0
      return state.options.lifetimeMs !== null && !peer.isLongTerm
        ? connection.since + state.options.lifetimeMs
        : Number.POSITIVE_INFINITY
    case 'closing':
      return connection.since + CLOSING_TIMEOUT_MS
  }
}

/**
 * The queues that are looked at: long-term peers and the classes with slots. Routes of other classes may lie in the table
 * in any number and under any name; nothing walks over them.
 */
export function openQueues({ maxByType }: Options): readonly string[] {
  let queues = queuesOf.get(maxByType)
  if (!queues) {
    queues = ['', ...Object.keys(maxByType).filter((name) => (maxByType[name] ?? 0) > 0)]
    queuesOf.set(maxByType, queues)
  }
  return queues
}

/** They are asked for several times with each event. */
const queuesOf = new WeakMap<Options['maxByType'], readonly string[]>()

/** A route in `waiting` whose pause is over at `now`, or null. */
export function firstDue(state: Pick<State, 'waiting' | 'options' | 'nothingDueBefore'>, now: EpochMs): Route | null {
  if (state.nothingDueBefore > now || state.waiting.isEmpty) return null
  for (const queue of openQueues(state.options)) {
    const head = headOfWaiting(state, queue)
    if (head && head.dueAt <= now) return head
  }
  return null
}

/**
 * Whether another route leads to the same host and port by the same transport: whether a failure can be told from one of the
 * host.
 */
export function isHostShared(routes: State['routes'], address: Address): boolean {
  for (const start of destinationStarts(address)) {
    let pair = routes.nextHigherPair(start)
    if (pair?.[0] === address) pair = routes.nextHigherPair(address)
    if (pair?.[0].startsWith(start)) return true
  }
  return false
}

/** A key that sorts before every route of a queue, in `ready` and in `waiting`. */
export function queueStart(queue: string): RankKey {
  return { queue, tier: -1, errorCount: 0, turnAt: 0, lastErrorTime: 0, tie: -1, address: '', dueAt: -1 }
}

/** The first after a place in the order, which need not be the one of a route. */
export function routeAfter(ranking: Ranking, place: RankKey): Route | undefined {
  // Only compared with, never put in.
  return ranking.nextHigherKey(place as Route)
}

/** All from a place in the order on: a step costs next to nothing, where `routeAfter` looks for its place. */
export function routesFrom(ranking: Ranking, place: RankKey): Iterable<Route> {
  return ranking.keys(place as Route)
}

/** The last before a place in the order. */
export function routeBefore(ranking: Ranking, place: RankKey): Route | undefined {
  return ranking.nextLowerKey(place as Route)
}

/** The next to fall due in a queue, or null. */
export function headOfWaiting(state: Pick<State, 'waiting'>, queue: string): Route | null {
  const head = routeAfter(state.waiting, queueStart(queue))
  return head?.queue === queue ? head : null
}
