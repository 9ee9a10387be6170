/**
 * Wires store, scheduler and connector into the public API. No Node import: it runs in a browser bundle as it is. What only a
 * stack can give (disk, pings, the muxrpc edge) is added by the adapters through the methods under `internal`.
 */
import type { Action, RouteReport, StoredPeer, StoredRoute } from './core/actions'
import { isInvite, parseFeedId, withoutSeed } from './core/address'
import { diagnose, type Finding } from './core/diagnosis'
import {
  BannedError,
  ClosedError,
  ConnectionManagerError,
  DialFailedError,
  errorInfo,
  InvalidArgumentError,
  NoRouteError,
  NotRunningError,
  UnknownPeerError,
} from './core/errors'
import { checkLifetime, DEFAULT_OPTIONS, makeOptions, mergeMaxByType, type Options } from './core/options'
import { keptPeerOf } from './core/plan'
import { USER } from './core/rank'
import type { RecordingItem } from './core/recording'
import { initialState } from './core/reducer'
import {
  type Explanation,
  explain,
  type PeerRemoved,
  type PeerView,
  peerView,
  type Status,
  status as statusOf,
  viewOf,
} from './core/selectors'
import type { State } from './core/table'
import type { Address, Direction, EpochMs, FeedId, ParsedRoute, Priority, RouteData } from './core/types'
import {
  isOurError,
  ofFields,
  reading,
  TARGET,
  toBoolean,
  toFields,
  toPlaces,
  toPriority,
  toSource,
  toSourceOptions,
  toTarget,
} from './shell/arguments'
import { asyncCall, type Callback, isolated, syncCall } from './shell/calls'
import { Changes, type ConnectionChange } from './shell/changes'
import { type Clock, systemClock } from './shell/clock'
import { type ConnectToPeer, createConnector, dialOnce } from './shell/connector'
import { HELP } from './shell/help'
import { EventSource, KeyedSource, type Source, ValueSource } from './shell/live'
import { createMetrics, type Metric, metricsText } from './shell/metrics'
import { createProbes } from './shell/probes'
import { drawTieKey, type Random, systemRandom } from './shell/random'
import { RecordingSource } from './shell/recording'
import { startScheduler } from './shell/scheduler'
import { createStore, type Store } from './shell/store'

export interface ManagerOptions {
  /** Dials an address: calls back or returns a promise with the connection (`sbot.connect` is one). Looked at for each dial. */
  readonly connectToPeer: ConnectToPeer
  /** Hangs up on a peer whose connection was only reported by `remotePeerConnected`. */
  readonly disconnectFromPeer?: (peer: FeedId) => unknown
  /** Our own feed id: never dialed, and needed to settle dials of both sides at once. */
  readonly selfId?: string
  /** Resolves if a connection still answers; asked after a wake-up or a change of the network. */
  readonly probe?: (connection: unknown, peer: FeedId) => Promise<unknown>
  /** Default false: nothing is dialed before `connections.start()`. */
  readonly autostart?: boolean
  readonly clock?: Clock
  readonly random?: Random
  /** Sees every action, in order, the first with the options: a recording replays to the same state (`/testing`). */
  readonly onAction?: (action: Action) => void
  /** Policy options, see docs/options.md: `maxByType`, `lifetimeMs`, `maxInbound`, `maxDialing`, … */
  readonly [option: string]: unknown
}

export const PRIORITY = { HIGH: 'HIGH', MEDIUM: 'MEDIUM', MED: 'MEDIUM', LOW: 'LOW', BANNED: 'BANNED' } as const

export type { ConnectionChange }

export interface ConnectionError {
  /** The address that was dialed. */
  readonly peer: Address
  readonly id: FeedId
  readonly error: ConnectionManagerError
  /** Failed dials of this route in a row. */
  readonly errorCount: number
}

/** How far an initial sync has come. `have` and `want` count messages; null while unknown. */
export interface SyncProgress {
  readonly phase: 'off' | 'connecting' | 'syncing' | 'caughtUp' | 'stalled'
  readonly peer: FeedId | null
  readonly have: number | null
  readonly want: number | null
}

/** What a module that sees priorities before they are set is told. Returning a priority changes it. */
export type PrioritiseHook = (change: {
  readonly id: FeedId
  readonly from: Priority | null
  readonly priority: Priority
  // biome-ignore lint/suspicious/noConfusingVoidType: a hook that only looks on returns nothing
}) => Priority | 'MED' | undefined | void

export interface Waiter {
  readonly resolve: (connection: unknown) => void
  readonly reject: (error: unknown) => void
  readonly attempts: { address: Address; code: string | null; message: string }[]
  lastError: unknown
}

/** A hook that throws, or answers with something else than a priority, vetoes the change. */
const HOOK_FAILED = 'ERR_HOOK_FAILED'
/** Of a table that is given as a whole. */
const LOAD_CHUNK = 2_000

/** What was said while the table is read from the disk, and is newer than what it says. */
interface Overruled {
  readonly routes: Set<Address>
  readonly priorities: Set<FeedId>
  readonly longTerm: Set<FeedId>
}

/** What the disk says of a peer but for what was said of it since. Of a priority nothing is left that could raise another. */
function withoutOverruled(peer: StoredPeer, { priorities, longTerm }: Overruled): StoredPeer {
  const isSaid = priorities.has(peer.id)
  if (!isSaid && !longTerm.has(peer.id)) return peer
  return {
    ...peer,
    ...(isSaid ? { priority: 'LOW', prioritisedBy: null } : {}),
    ...(longTerm.has(peer.id) ? { isLongTerm: false } : {}),
  }
}

function routesLeft(routes: readonly StoredRoute[], overruled: Overruled): readonly StoredRoute[] {
  if (overruled.routes.size === 0 && overruled.priorities.size === 0) return routes
  return routes
    .filter(({ route }) => !overruled.routes.has(route.address))
    .map((stored) => {
      if (stored.priority === undefined || !overruled.priorities.has(stored.route.peer)) return stored
      const { priority: _, ...rest } = stored
      return rest
    })
}

function withoutInvite<T extends RouteReport>(report: T): T {
  const route = withoutSeed(report.route)
  return route === report.route ? report : { ...report, route }
}

/** Counters and gauges, as data or in the text form of Prometheus. */
export interface MetricsCall {
  (options: { readonly format: 'text' }, cb?: Callback<string>): string
  (options?: { readonly format?: 'json' } | null, cb?: Callback<readonly Metric[]>): readonly Metric[]
  (options: unknown, cb?: Callback<readonly Metric[] | string>): readonly Metric[] | string
}

export type Target = { readonly address?: string | object; readonly id?: string }

/** The API of a connection manager. Every method may be called unbound and with a trailing callback. */
export type ConnectionManager = ReturnType<typeof createManager>

const SETTINGS = [
  'connectToPeer',
  'disconnectFromPeer',
  'selfId',
  'probe',
  'autostart',
  'clock',
  'random',
  'onAction',
] as const
const SETTINGS_EXPECTED = 'an object with connectToPeer'

export function createManager(given: ManagerOptions) {
  const settings = toFields('options', SETTINGS_EXPECTED, given, SETTINGS) as unknown as ManagerOptions
  const { connectToPeer } = settings
  if (typeof connectToPeer !== 'function')
    throw new InvalidArgumentError('connectToPeer', 'a function (address, cb)', connectToPeer)
  for (const name of ['disconnectFromPeer', 'probe', 'onAction'] as const)
    if (settings[name] !== undefined && typeof settings[name] !== 'function')
      throw new InvalidArgumentError(name, 'a function', settings[name])
  const isAutostarted = toBoolean('autostart', settings.autostart, false)
  const hasSelfId = settings.selfId !== undefined && settings.selfId !== null
  const selfId = hasSelfId ? parseFeedId(settings.selfId) : null
  if (hasSelfId && selfId === null) throw new InvalidArgumentError('selfId', 'a feed id', settings.selfId)
  const clock = settings.clock ?? systemClock
  const random = settings.random ?? systemRandom
  const policy = reading('options', SETTINGS_EXPECTED, given, () => makeOptions(given, DEFAULT_OPTIONS))
  const options: Options = { ...policy, selfId, tieKey: drawTieKey(random) }

  const store: Store = createStore(initialState(options, clock.now()))
  const hooks = new Set<PrioritiseHook>()
  const waiters = new Map<FeedId, Waiter[]>()
  const closeWaiters = new Map<FeedId, (() => void)[]>()
  let isClosed = false
  let progress: SyncProgress = { phase: 'off', peer: null, have: null, want: null }

  let overruled: Overruled | null = null

  const state = (): State => store.getState()
  const now = (): EpochMs => clock.now()
  const dispatch = (action: Action): void => store.dispatch(action)

  // ---- live sources -------------------------------------------------------------------------------------------------

  const peersSource = new KeyedSource<PeerView | PeerRemoved>(
    () => state().peers.keysArray(),
    (id) => viewOf(state(), id),
  )
  const changesSource = new EventSource<ConnectionChange>((change) => change.peer)
  const recordingSource = new RecordingSource(clock)
  const errorsSource = new EventSource<ConnectionError>((error) => error.peer)
  const progressSource = new ValueSource<SyncProgress>(() => progress)

  const setProgress = (next: SyncProgress): void => {
    const isSame =
      next.phase === progress.phase &&
      next.peer === progress.peer &&
      next.have === progress.have &&
      next.want === progress.want
    if (isSame) return
    progress = next
    progressSource.changed()
  }

  // Of the object as it was given: whoever replaces the function there means it.
  const connectToPeerNow: ConnectToPeer = (address, cb) => given.connectToPeer(address, cb)

  const connector = createConnector({
    store,
    clock,
    random,
    connectToPeer: connectToPeerNow,
    takesCallback: connectToPeer.length >= 2,
    disconnectFromPeer: settings.disconnectFromPeer,
    // Before the action, as that may be what ends the waiting.
    onFailing: (peer, address, { info, error }) => {
      for (const waiter of waiters.get(peer) ?? []) {
        waiter.attempts.push({ address, ...info })
        waiter.lastError = error()
      }
    },
    onFailure: (peer, address, { info, error: cause }) => {
      if (errorsSource.size === 0) return
      const error = new DialFailedError({ address, peer, cause: cause(), attempts: [{ address, ...info }] })
      errorsSource.push({ peer: address, id: peer, error, errorCount: state().routes.get(address)?.errorCount ?? 0 })
    },
  })

  const scheduler = startScheduler({ store, clock, begin: (plan, isOver) => connector.begin(plan, isOver) })

  const metrics = createMetrics({
    store,
    clock,
    scheduler,
    readers: () => ({
      peers: peersSource.size,
      changes: changesSource.size,
      errors: errorsSource.size,
      progress: progressSource.size,
    }),
  })

  // ---- what follows from actions ------------------------------------------------------------------------------------

  const settleWaiters = (id: FeedId): void => {
    const list = waiters.get(id)
    if (!list) return
    const peer = state().peers.get(id)
    if (peer?.connection.status === 'connected') {
      waiters.delete(id)
      const connection = connector.get(id)
      for (const waiter of list) waiter.resolve(connection)
      return
    }
    if (state().requests.has(id)) return
    waiters.delete(id)
    for (const waiter of list) {
      const last = waiter.attempts[waiter.attempts.length - 1]
      if (peer?.priority === 'BANNED') waiter.reject(new BannedError(id))
      else if (last)
        waiter.reject(
          new DialFailedError({ address: last.address, peer: id, cause: waiter.lastError, attempts: waiter.attempts }),
        )
      else waiter.reject(new NoRouteError(id))
    }
  }

  /** Ends the waiting for a reason that the state does not tell. */
  const rejectWaiters = (id: FeedId, makeError: (waiter: Waiter) => ConnectionManagerError): void => {
    const list = waiters.get(id)
    waiters.delete(id)
    for (const waiter of list ?? []) waiter.reject(makeError(waiter))
  }

  const changes = new Changes()

  const followInitialSync = (): void => {
    // As it is now: a listener may have changed it since the action.
    const after = state()
    const sync = after.initialSync
    if (!sync) {
      if (progress.phase !== 'off' && progress.phase !== 'caughtUp') setProgress({ ...progress, phase: 'off' })
      return
    }
    const kept = keptPeer(after)
    if (kept === null) setProgress({ ...progress, phase: 'connecting', peer: sync.peer })
    else if (progress.phase !== 'syncing' || progress.peer !== kept)
      setProgress({ phase: 'syncing', peer: kept, have: null, want: null })
  }

  const keptPeer = (after: State): FeedId | null => {
    const sync = after.initialSync
    if (!sync) return null
    const kept = keptPeerOf(after, sync)
    return kept?.connection.status === 'connected' ? kept.id : null
  }

  // What a replay begins with, so that a recording is complete in itself. The state has it already.
  isolated(() => settings.onAction?.({ type: 'options/changed', at: state().now, options }))
  store.subscribe((action, before, after) => {
    const { onAction } = settings
    if (onAction) isolated(() => onAction(action))
    recordingSource.push(action, before, after)
    const change = changes.of(action, before, after)
    if (change) changesSource.push(change)
    peersSource.changed(after.changedPeers)
    for (const id of waiters.size > 0 ? [...waiters.keys()] : []) settleWaiters(id)
    // Closed, or replaced by another one: what was asked to end has ended.
    if (action.type === 'connection/closed' || action.type === 'connection/opened') {
      const list = closeWaiters.get(action.peer)
      closeWaiters.delete(action.peer)
      for (const done of list ?? []) done()
    }
    if (after.initialSync || before.initialSync) followInitialSync()
    recordingSource.poke()
  })

  // ---- input --------------------------------------------------------------------------------------------------------

  const assertOpen = (): void => {
    if (isClosed) throw new ClosedError('this call')
  }

  const prioritised = (id: FeedId, wanted: Priority): Priority => {
    let priority = wanted
    const from = state().peers.get(id)?.priority ?? null
    for (const hook of [...hooks]) {
      try {
        const answer = hook({ id, from, priority })
        if (answer !== undefined) priority = toPriority(answer)
      } catch (error) {
        // A hook that sets priorities itself may come upon another one that fails.
        if (isOurError(error) && error.code === HOOK_FAILED) throw error
        const { message } = errorInfo(error)
        throw new ConnectionManagerError(
          'HookFailedError',
          HOOK_FAILED,
          `a hook of onPrioritise failed: ${message}`,
          error,
        )
      }
    }
    // A hook may have done anything.
    assertOpen()
    return priority
  }

  /** An invite is a secret, and who records the actions has no use for it: the table is not given it either. */
  const addReports = (reports: readonly RouteReport[]): void => {
    dispatch({ type: 'routes/added', at: now(), reports: reports.map(withoutInvite) })
  }

  // ---- peer.* -------------------------------------------------------------------------------------------------------

  const addRoute = (value: unknown): boolean => {
    assertOpen()
    const names = ['address', 'isLocal', 'source', 'priority', 'isStored']
    const object = toFields(
      'route',
      '{address, isLocal?}',
      typeof value === 'string' ? { address: value } : value,
      names,
    )
    const isLocal = toBoolean('isLocal', object.isLocal, false)
    const source = toSource(object.source)
    const standing = toBoolean('isStored', object.isStored, !isLocal) ? 'stored' : 'announced'
    const wanted = object.priority === undefined ? undefined : toPriority(object.priority)
    const routes = toPlaces(object.address)
    const first = routes[0]
    const priority = wanted === undefined || !first ? undefined : prioritised(first.peer, wanted)
    // `has` of a tree costs twice as much as `get`.
    const isNew = ({ address }: ParsedRoute): boolean => state().routes.get(address) === undefined
    const fresh = routes.filter(isNew)
    const said = priority === undefined ? {} : { priority }
    addReports(routes.map((route) => ({ route, isLocal, source, standing, ...said })))
    if (priority === 'BANNED' && first) dispatch({ type: 'peer/prioritised', at: now(), peer: first.peer, priority })
    // What the table refused (ourselves, strangers' private hosts, no room) is not new, as it is not there.
    return fresh.some((route) => !isNew(route))
  }

  const withdrawRoute = (value: unknown): boolean => {
    assertOpen()
    const { address: given } =
      typeof value === 'string' ? { address: value } : toFields('route', '{address}', value, ['address'])
    let isKnown = false
    for (const { address } of toPlaces(given)) {
      if (!state().routes.get(address)?.isAnnounced) continue
      isKnown = true
      dispatch({ type: 'route/withdrawn', at: now(), address })
    }
    return isKnown
  }

  const removeRoute = (value: unknown): boolean => {
    assertOpen()
    const { address: given } =
      typeof value === 'string' ? { address: value } : toFields('route', '{address}', value, ['address'])
    const routes = toPlaces(given)
    let isKnown = false
    for (const { address } of routes) {
      overruled?.routes.add(address)
      if (!state().routes.has(address)) continue
      isKnown = true
      dispatch({ type: 'route/removed', at: now(), address })
    }
    return isKnown
  }

  const setPriority = (value: unknown): boolean => {
    assertOpen()
    const object = toFields('change', '{address or id, priority}', value, [...TARGET, 'priority', 'source'])
    // In words, as a null is soon sent by mistake, and would lift a ban.
    const wanted = object.priority === 'AUTO' ? null : toPriority(object.priority, ', or AUTO')
    const by = object.source === undefined ? USER : toSource(object.source)
    const { id } = ofFields(object)
    if (id === selfId) return false
    const present = state().peers.get(id)?.prioritisedBy ?? null
    // The user's word stands until the user says something else.
    if (by !== USER && (present === USER || (wanted === null && present !== by))) return false
    const priority = wanted === null ? null : prioritised(id, wanted)
    if (by === USER) overruled?.priorities.add(id)
    dispatch({ type: 'peer/prioritised', at: now(), peer: id, priority, by })
    return true
  }

  const setLongTerm = (value: unknown): boolean => {
    assertOpen()
    const object = toFields('change', '{address or id, isLongTerm}', value, [...TARGET, 'isLongTerm'])
    const isLongTerm = toBoolean('isLongTerm', object.isLongTerm, true)
    const { id, routes } = ofFields(object)
    if (id === selfId) return false
    if (isLongTerm && routes.length > 0)
      addReports(routes.map((route) => ({ route, isLocal: false, source: 'manual' })))
    overruled?.longTerm.add(id)
    dispatch({ type: 'peer/longTermSet', at: now(), peer: id, isLongTerm })
    return true
  }

  const connect = async (value: unknown): Promise<unknown> => {
    assertOpen()
    const object =
      typeof value === 'string' ? null : toFields('target', '{address} or {id}', value, [...TARGET, 'isLongTerm'])
    const { id, routes } = object ? ofFields(object) : toTarget(value)
    const invite = routes.find(({ address }) => isInvite(address))
    if (invite) return connectAsGuest(id, invite.address)
    const isLongTerm = object ? toBoolean('isLongTerm', object.isLongTerm, false) : false
    if (id === selfId) throw new InvalidArgumentError('target', 'another peer than ourselves', id)
    if (state().peers.get(id)?.priority === 'BANNED') throw new BannedError(id)
    // `has` of a tree costs twice as much as `get`.
    const isNew = ({ address }: ParsedRoute): boolean => state().routes.get(address) === undefined
    const fresh = routes.filter(isNew)
    if (fresh.length > 0) addReports(fresh.map((route) => ({ route, isLocal: false, source: 'manual' })))
    const peer = state().peers.get(id)
    const isConnected = peer?.connection.status === 'connected' && peer.connection.closeReason === null
    if (!peer || (!isConnected && peer.routes.length === 0)) throw new NoRouteError(id)
    if (isLongTerm) dispatch({ type: 'peer/longTermSet', at: now(), peer: id, isLongTerm: true })
    if (isConnected) return connector.get(id)
    return new Promise((resolve, reject) => {
      const list = waiters.get(id) ?? []
      list.push({ resolve, reject, attempts: [], lastError: null })
      // Asked for before the waiter is known, so that the first look at it finds the request.
      if (list.length === 1)
        dispatch({ type: 'connection/requested', at: now(), peer: id, address: routes[0]?.address ?? null })
      waiters.set(id, list)
      settleWaiters(id)
    })
  }

  /** Peers that are being dialed as a guest, under the key of an invite: that connection is none of the manager's. */
  const guests = new Map<FeedId, number>()

  const connectAsGuest = async (id: FeedId, address: Address): Promise<unknown> => {
    if (state().peers.get(id)?.priority === 'BANNED') throw new BannedError(id)
    guests.set(id, (guests.get(id) ?? 0) + 1)
    try {
      return await dialOnce(connectToPeerNow, address, clock)
    } catch (cause) {
      const { message, code } = errorInfo(cause)
      throw new DialFailedError({ address, peer: id, cause, attempts: [{ address, code, message }] })
    } finally {
      const left = (guests.get(id) ?? 1) - 1
      if (left > 0) guests.set(id, left)
      else guests.delete(id)
    }
  }

  const disconnect = async (value: unknown): Promise<boolean> => {
    assertOpen()
    const { id } = toTarget(value)
    const peer = state().peers.get(id)
    if (!peer) return false
    rejectWaiters(id, ({ attempts }) => {
      const address = attempts[attempts.length - 1]?.address ?? peer.routes[0] ?? ''
      return new DialFailedError({ address, peer: id, cause: new Error('cut short by peer.disconnect'), attempts })
    })
    if (state().requests.has(id)) dispatch({ type: 'connection/requestDropped', at: now(), peer: id })
    dispatch({ type: 'peer/held', at: now(), peer: id })
    const { status } = peer.connection
    if (status === 'idle') return false
    dispatch({ type: 'connection/closeRequested', at: now(), peer: id, reason: 'disconnected' })
    if (status === 'dialing') return true
    await new Promise<void>((resolve) => {
      closeWaiters.set(id, [...(closeWaiters.get(id) ?? []), resolve])
    })
    return true
  }

  const get = (value: unknown): PeerView | null => {
    const { id } = toTarget(value)
    const peer = state().peers.get(id)
    return peer ? peerView(state(), peer) : null
  }

  const list = (): PeerView[] =>
    state()
      .peers.valuesArray()
      .map((peer) => peerView(state(), peer))

  const explainTarget = (value: unknown): Explanation => {
    const { id, routes } = toTarget(value)
    const address = routes.length === 1 ? (routes[0]?.address ?? null) : null
    return explain(state(), id, address, Math.max(now(), state().now))
  }

  const remotePeerConnected = (value: unknown, connection?: unknown): boolean => {
    assertOpen()
    const { id } = toTarget(value)
    if (id === selfId) return false
    connector.accept(id, connection ?? null, 'inbound', null)
    return true
  }

  const remotePeerDisconnected = (value: unknown): boolean => {
    assertOpen()
    const { id } = toTarget(value)
    const status = state().peers.get(id)?.connection.status
    if (status !== 'connected' && status !== 'closing') return false
    connector.gone(id)
    return true
  }

  // ---- connections.*, initialSync.* ---------------------------------------------------------------------------------

  const start = (): void => {
    assertOpen()
    if (state().mode === 'off') dispatch({ type: 'connections/started', at: now() })
  }

  const stop = (): void => {
    if (isClosed) return
    for (const id of [...waiters.keys()])
      rejectWaiters(id, () => new NotRunningError('peer.connect, cut short by connections.stop()'))
    probes?.stop()
    dispatch({ type: 'connections/stopped', at: now() })
  }

  const setMaxByType = (max: unknown): void => {
    assertOpen()
    const present = state().options
    const maxByType = reading('max', 'an object such as {net: 3, onion: 0}', max, () =>
      mergeMaxByType(present.maxByType, max),
    )
    dispatch({ type: 'options/changed', at: now(), options: { ...present, maxByType } })
  }

  const setLifetime = (value: unknown): void => {
    assertOpen()
    const lifetimeMs = checkLifetime(value)
    dispatch({ type: 'options/changed', at: now(), options: { ...state().options, lifetimeMs } })
  }

  const startSync = (value?: unknown): void => {
    assertOpen()
    let peer: FeedId | null = null
    if (value !== undefined && value !== null) {
      const target = toTarget(value)
      peer = target.id
      if (peer === selfId) throw new InvalidArgumentError('peer', 'another peer than ourselves', peer)
      const known = state().peers.get(peer)
      if (known?.priority === 'BANNED') throw new BannedError(peer)
      if (target.routes.length > 0)
        addReports(target.routes.map((route) => ({ route, isLocal: false, source: 'manual' })))
      else if (!known) throw new UnknownPeerError(peer)
    }
    progress = { phase: 'off', peer: null, have: null, want: null }
    dispatch({ type: 'initialSync/started', at: now(), peer })
  }

  const stopSync = (): void => {
    if (isClosed || !state().initialSync) return
    dispatch({ type: 'initialSync/stopped', at: now() })
  }

  // ---- what adapters tell -------------------------------------------------------------------------------------------

  const { probe } = settings
  const probes = probe
    ? createProbes({ store, clock, connector, probe: (connection, peer) => probe(connection, peer) })
    : null

  /** After a wake-up or a change of the network: what does not answer any more is closed, then all may be dialed again. */
  const probeConnections = (): void => {
    if (isClosed) return
    dispatch({ type: 'environment/online', at: now() })
    probes?.start()
  }

  const reportProgress = (report: {
    readonly peer: FeedId
    readonly have?: number | null
    readonly want?: number | null
    readonly isCaughtUp?: boolean
    readonly isStalled?: boolean
  }): void => {
    if (isClosed) return
    const { peer, have = null, want = null } = report
    const sync = state().initialSync
    if (report.isCaughtUp) dispatch({ type: 'connection/caughtUp', at: now(), peer })
    if (!sync || keptPeer(state()) !== peer) return
    if (report.isCaughtUp) {
      setProgress({ phase: 'caughtUp', peer, have, want })
      dispatch({ type: 'initialSync/stopped', at: now() })
    } else if (report.isStalled) {
      setProgress({ phase: 'stalled', peer, have, want })
      dispatch({ type: 'connection/stalled', at: now(), peer })
    } else {
      setProgress({ phase: 'syncing', peer, have, want })
    }
  }

  /**
   * Takes in a table, or a slice of one: peers go before their routes, as how long a route may pause goes by what its peer
   * means to us. What was said since `loadingBegins` counts more than it.
   */
  const load = (table: { readonly routes: readonly StoredRoute[]; readonly peers: readonly StoredPeer[] }): void => {
    assertOpen()
    const said = overruled
    const peers = said ? table.peers.map((peer) => withoutOverruled(peer, said)) : table.peers
    const routes = (said ? routesLeft(table.routes, said) : table.routes).map(withoutInvite)
    if (peers.length + routes.length <= LOAD_CHUNK) {
      if (peers.length + routes.length > 0) dispatch({ type: 'table/loaded', at: now(), routes, peers })
      return
    }
    for (let at = 0; at < peers.length; at += LOAD_CHUNK)
      dispatch({ type: 'table/loaded', at: now(), routes: [], peers: peers.slice(at, at + LOAD_CHUNK) })
    for (let at = 0; at < routes.length; at += LOAD_CHUNK)
      dispatch({ type: 'table/loaded', at: now(), routes: routes.slice(at, at + LOAD_CHUNK), peers: [] })
  }

  /** Hangs up, ends every source and clears every timer. Idempotent. */
  const close = (): void => {
    if (isClosed) return
    isClosed = true
    scheduler.close()
    probes?.stop()
    for (const id of [...waiters.keys()]) rejectWaiters(id, () => new ClosedError('peer.connect'))
    dispatch({ type: 'connections/stopped', at: now() })
    connector.close()
    for (const each of [...closeWaiters.values()]) for (const done of each) done()
    for (const source of [peersSource, changesSource, errorsSource, progressSource, recordingSource]) source.close()
  }

  const errors = (): Source<ConnectionError> => errorsSource.open()
  const status = (): Status => statusOf(state(), Math.max(now(), state().now))

  const readMetrics = (value?: unknown): readonly Metric[] | string => {
    const given = value === undefined || value === null ? {} : toFields('options', '{format?}', value, ['format'])
    const { format = 'json' } = given
    if (format !== 'json' && format !== 'text') throw new InvalidArgumentError('format', "'json' or 'text'", format)
    return format === 'text' ? metricsText(metrics.read()) : metrics.read()
  }

  const api = {
    peer: {
      addRoute: syncCall((route: unknown) => addRoute(route)),
      removeRoute: syncCall((route: unknown) => removeRoute(route)),
      withdrawRoute: syncCall((route: unknown) => withdrawRoute(route)),
      setPriority: syncCall((change: unknown) => setPriority(change)),
      setLongTerm: syncCall((change: unknown) => setLongTerm(change)),
      connect: asyncCall((target: unknown) => connect(target)),
      disconnect: asyncCall((target: unknown) => disconnect(target)),
      get: syncCall((target: unknown) => get(target)),
      list: syncCall(() => list()),
      explain: syncCall((target: unknown) => explainTarget(target)),
      remotePeerConnected: (...args: [target?: unknown, connection?: unknown, cb?: Callback<boolean>]): boolean => {
        const cb = args.find((each): each is Callback<boolean> => typeof each === 'function')
        const [target, connection] = args.filter((each) => each !== cb)
        return syncCall(() => remotePeerConnected(target, connection))(cb)
      },
      remotePeerDisconnected: syncCall((target: unknown) => remotePeerDisconnected(target)),
    },
    peers: (options?: unknown): Source<PeerView | PeerRemoved | { readonly sync: true }> =>
      peersSource.open(toSourceOptions(options)),
    connections: {
      start: syncCall(() => start()),
      stop: syncCall(() => stop()),
      setMaxByType: syncCall((max: unknown) => setMaxByType(max)),
      setLifetime: syncCall((lifetimeMs: unknown) => setLifetime(lifetimeMs)),
      status: syncCall((): Status => status()),
      diagnose: syncCall((): readonly Finding[] => diagnose(state(), now())),
      changes: (): Source<ConnectionChange> => changesSource.open(),
      errors,
      /**
       * How things stand, in parts, then every action as it happens: plain JSON, for `replay` of `/testing`. No keys are in it. A
       * reader that falls far behind is given what was kept for it and ended with ERR_RECORDING_BEHIND.
       */
      recording: (): Source<RecordingItem> => recordingSource.open(state()),
    },
    /** The shorter spelling, for the command line. */
    status: syncCall((): Status => status()),
    metrics: syncCall((options?: unknown) => readMetrics(options)) as MetricsCall,
    /** The spelling of the original proposal; the same source. */
    connection: { errors },
    initialSync: {
      start: syncCall((peer?: unknown) => startSync(peer)),
      stop: syncCall(() => stopSync()),
      progress: (): Source<SyncProgress> => progressSource.open(),
    },
    /** Adds a hook that sees, and may change, each change of priority. Returns the function that removes it. */
    onPrioritise: (fn: PrioritiseHook): (() => void) => {
      if (typeof fn !== 'function') throw new InvalidArgumentError('onPrioritise', 'a function', fn)
      // A wrapper of its own for each call, so that the same function may be added twice and removed once.
      const hook: PrioritiseHook = (change) => fn(change)
      hooks.add(hook)
      return () => {
        hooks.delete(hook)
      }
    },
    priority: PRIORITY,
    help: syncCall(() => HELP),
    close: syncCall(() => close()),
    /** For adapters in the same process: events of the machine and the stack, and the state. Never over the wire. */
    internal: {
      store,
      clock,
      random,
      selfId,
      connectionOf: (id: FeedId): unknown => connector.get(id),
      accept: (id: FeedId, connection: unknown, direction: Direction, address: Address | null): void =>
        connector.accept(id, connection, direction, address),
      isDialing: (id: FeedId): boolean => connector.isDialing(id),
      /** The connected peer that an initial sync goes with, or null. */
      syncPeer: (): FeedId | null => keptPeer(state()),
      isBanned: (id: FeedId): boolean => state().peers.get(id)?.priority === 'BANNED',
      woke: probeConnections,
      networkChanged: probeConnections,
      online: probeConnections,
      /** True while an invite of this peer is being used: its connection is not to be tracked. */
      isGuestOf: (id: FeedId): boolean => guests.has(id),
      /** What a facade knows of routes, in one action. */
      report: addReports,
      /** No longer kept for good. */
      forget: (address: Address): void => {
        overruled?.routes.add(address)
        dispatch({ type: 'route/forgotten', at: now(), address })
      },
      annotate: (address: Address, data: RouteData | null, isAutomatic: boolean): void =>
        dispatch({ type: 'route/annotated', at: now(), address, data, isAutomatic }),
      busy: (isBusy: boolean): void => {
        if (!isClosed && state().isBusy !== isBusy) dispatch({ type: 'environment/busy', at: now(), isBusy })
      },
      offline: (): void => dispatch({ type: 'environment/offline', at: now() }),
      pinged: (peer: FeedId, rttMs: number, skewMs: number): void =>
        dispatch({ type: 'connection/pinged', at: now(), peer, rttMs, skewMs }),
      /** Messages came that we did not have: `count` of them. */
      transferred: (peer: FeedId, count = 1): void =>
        dispatch({ type: 'connection/transferred', at: now(), peer, count }),
      reportProgress,
      load,
      /** From now on, until `loadingEnded`, what is removed or said of a peer is not undone by `load`. */
      loadingBegins: (): void => {
        overruled = { routes: new Set(), priorities: new Set(), longTerm: new Set() }
      },
      loadingEnded: (): void => {
        overruled = null
      },
      /** Nothing is dialed or closed until `resume`: while the table is read from disk. */
      pause: (): void => scheduler.pause(),
      resume: (): void => scheduler.resume(),
      wakeAt: (): number | null => scheduler.wakeAt(),
      isClosed: (): boolean => isClosed,
    },
  }

  if (isAutostarted) start()
  return api
}
