/**
 * The legacy `sbot.gossip`: the API, events, log lines and status of ssb-gossip 1.1, in terms of the manager. Old words
 * outside (failure, stateChange, client, source), the manager's inside; nothing is decided here, and nothing is kept that
 * the state knows. What callers rely on comes from legacy-apis.md 2.1 and consumers.md 1.2; what they suffered from is gone:
 * a connected peer is not connected twice, no state hangs, each event comes once.
 *
 * One entry stands for one feed id, as ever. A peer may have many routes here, and the entry shows the one in use, else the
 * one that would be dialed first. Entries are fresh plain objects that survive JSON.
 */
import type { Action } from '../core/actions'
import { parseAddress, parseFeedId } from '../core/address'
import { errorInfo, InvalidArgumentError } from '../core/errors'
import { routesOfPeer } from '../core/plan'
import { compareRoutesOfPeer } from '../core/rank'
import { changePeer } from '../core/records'
import { IDLE, type State } from '../core/table'
import type { Address, EpochMs, FeedId, ParsedRoute, Peer, Route, Stats } from '../core/types'
import type { ConnectionManager } from '../manager'
import { asyncCall, settled, syncCall } from '../shell/calls'
import type { Clock } from '../shell/clock'
import type { Help } from '../shell/help'
import { EventSource, type Source } from '../shell/live'
import { createPingServer, type PingDuplex } from './ping'
import { callerOf, streamAddress } from './sbot'

/** A peer in the words of ssb-gossip. Times in epoch ms, durations in ms. */
export interface GossipPeer {
  /** The multiserver address; missing for who called in and did not say where he comes from. */
  address: Address | undefined
  key: FeedId
  host: string | undefined
  port: number | undefined
  /** Who told us: `manual`, `seed`, `pub`, `local`, `friends`, `stored`, …; missing for who only called in. */
  source: string | undefined
  /** How often it was added; 0 for who only called in. */
  announcers: number
  state: 'connecting' | 'connected' | 'disconnecting' | undefined
  /** When the state last changed; missing if it never did. */
  stateChange: EpochMs | undefined
  /** Failed dials in a row. */
  failure: number
  /** Whether we dialed the present or the last connection; missing before the first. */
  client: boolean | undefined
  /** How long its connections lasted; null before the first has ended. */
  duration: Stats | null
  /** Of the present connection; missing without one. */
  ping: { rtt: Stats; skew: Stats } | undefined
  /** Why the last dial failed; missing once one has succeeded. */
  error?: string
}

/** `peer` is as it was right after the event. */
export interface GossipEvent {
  type: 'discover' | 'connect' | 'connect-failure' | 'disconnect' | 'remove'
  peer: GossipPeer
  /** Of `discover` only. */
  source?: string
}

/** What `status().gossip` says of a peer. */
export interface GossipStatus {
  address: Address | undefined
  source: string | undefined
  state: GossipPeer['state']
  stateChange: EpochMs | undefined
  failure: number
  client: boolean | undefined
  stats: { duration: Stats | undefined; rtt: Stats | undefined; skew: Stats | undefined }
}

/**
 * What `enable` and `disable` take, and `config.gossip.{…}: false` at the start. `local` and `global` say where a peer is:
 * without `local` no neighbour is dialed, without `global` nobody but neighbours. `friends` and `seed` say who told of it:
 * when one is off, `add(address, type)` takes nothing up. What a user dials himself, and long-term peers, are exempt.
 *
 * ssb-gossip had a quota of its own for each of the four, so that `friends` and `seed` were dialed without `global` as well,
 * and with it whatever they said. The manager has slots by protocol; these are what `local` and `global` take away.
 */
const TYPES = ['global', 'local', 'friends', 'seed'] as const
type GossipType = (typeof TYPES)[number]

export interface GossipConfig {
  /** `config.gossip`: which types are off. */
  readonly gossip?: unknown
  readonly timers?: unknown
}

export interface GossipOptions {
  readonly manager: ConnectionManager
  readonly sbot: GossipHost
  readonly config?: GossipConfig
  readonly clock: Clock
  /** Writes `{gossip: {[type]: isEnabled}}` into the user's config, or throws (node-config.ts). Without it nothing is written. */
  readonly saveType?: ((type: string, isEnabled: boolean) => void) | undefined
}

/** What is used of the stack. */
export interface GossipHost {
  readonly emit?: unknown
  readonly status?: unknown
  readonly gossip?: unknown
  readonly local?: unknown
}

export const gossipManifest = {
  add: 'sync',
  remove: 'sync',
  connect: 'async',
  disconnect: 'async',
  changes: 'source',
  reconnect: 'sync',
  disable: 'sync',
  enable: 'sync',
  ping: 'duplex',
  get: 'sync',
  peers: 'sync',
  help: 'sync',
} as const

/** Everything else is for the owner: a stranger who may `disable` or `add` decides whom we talk to. */
export const gossipPermissions = { anonymous: { allow: ['ping'] } }

/** `status().gossip` shows who changed within this time (ssb-gossip). */
const RECENT_MS = 3_000
const NO_STATS: Stats = { mean: 0, stdev: 0, count: 0, sum: 0, sqsum: 0 }

/** What only the facade knows of a peer. Kept for those about whom it differs from the default, until they go. */
interface Remark {
  readonly announcers: number
  /** The last of `friends` and `local`, which override where else it was heard of. */
  readonly source: 'friends' | 'local' | null
}

export type Gossip = ReturnType<typeof createGossip>

export function createGossip({ manager, sbot, config = {}, clock, saveType }: GossipOptions) {
  const { internal } = manager
  const { store } = internal
  const remarks = new Map<FeedId, Remark>()
  /** Who has an entry, in the order in which they came: that of `peers()`, as ever. The table is in the order of ids. */
  const listed = new Set<FeedId>()
  /** Connected peers of whom `connect` was told, with the address that their connection says it has. */
  const connected = new Map<FeedId, Address | undefined>()
  /** When peers last changed that are idle now; pruned to `RECENT_MS`, oldest first. */
  const recent = new Map<FeedId, EpochMs>()
  /** Routes that go as soon as their connection has ended. */
  const leaving = new Set<Address>()
  const disabled = new Set<GossipType>()
  /** Slots that a disabled type took away, by class. */
  const withheld = new Map<string, number>()
  const changesSource = new EventSource<GossipEvent>((event) => event.peer.key)

  // ---- entries ------------------------------------------------------------------------------------------------------

  const entryOf = (state: State, peer: Peer): GossipPeer => {
    const { connection } = peer
    const routes = routesOfPeer(state, peer).sort(compareRoutesOfPeer)
    const inUse = addressInUse(peer)
    const shown = routes.find((route) => route.address === inUse) ?? routes[0]
    const address = shown?.address ?? inUse ?? connected.get(peer.id) ?? streamAddress(internal.connectionOf(peer.id))
    const told = remarks.get(peer.id)
    const entry: GossipPeer = {
      address,
      key: peer.id,
      ...hostAndPort(shown, address),
      source: shown && (sourceTold(told, routes) ?? sourceOf(shown)),
      announcers: shown ? (told?.announcers ?? 1) : 0,
      state: stateOf(peer),
      stateChange: stateChangeOf(peer, routes),
      failure: shown?.errorCount ?? 0,
      client: isClient(peer, routes),
      duration: mergeStats(routes.map((route) => route.duration)),
      ping:
        connection.status === 'connected'
          ? { rtt: { ...(connection.rtt ?? NO_STATS) }, skew: { ...(connection.skew ?? NO_STATS) } }
          : undefined,
    }
    const error = shown && shown.errorCount > 0 ? shown.errors[shown.errors.length - 1] : undefined
    if (error) entry.error = error.message
    return entry
  }

  const entry = (id: FeedId): GossipPeer | undefined => {
    const state = store.getState()
    const peer = state.peers.get(id)
    return peer && isListed(peer) ? entryOf(state, peer) : undefined
  }

  // ---- events -------------------------------------------------------------------------------------------------------

  const tell = (type: GossipEvent['type'], state: State, peer: Peer, source?: string): void => {
    if (changesSource.size === 0) return
    changesSource.push({ type, peer: entryOf(state, peer), ...(source === undefined ? {} : { source }) })
  }

  const noteRecent = (id: FeedId, at: EpochMs): void => {
    recent.delete(id)
    recent.set(id, at)
    for (const [other, changedAt] of recent) {
      if (Math.abs(at - changedAt) <= RECENT_MS) break
      recent.delete(other)
    }
  }

  const follow = (action: Action, before: State, after: State): void => {
    const id = 'peer' in action ? action.peer : null
    const was = id === null ? undefined : before.peers.get(id)
    const is = id === null ? undefined : after.peers.get(id)
    switch (action.type) {
      case 'connection/opened':
        // Refused as it came (banned, too many inbound): it never was one. One that takes the place of another: still one.
        if (is?.connection.status !== 'connected' || is.connection.closeReason !== null || connected.has(is.id)) break
        connected.set(is.id, streamAddress(internal.connectionOf(is.id)))
        tell('connect', after, is)
        break
      case 'dial/failed':
        if (!was) break
        noteRecent(was.id, action.at)
        // Of several routes that are tried, the last to fail speaks for the peer.
        if (!is) tell('connect-failure', before, { ...was, connection: IDLE })
        else if (is.connection.status === 'idle' && !after.requests.has(is.id)) tell('connect-failure', after, is)
        break
      case 'connection/closed':
        if (!was || !isUp(was) || (is && isUp(is))) break
        noteRecent(was.id, action.at)
        if (connected.has(was.id)) tell('disconnect', is ? after : before, is ?? ended(was, action.at))
        if (is?.routes.some((address) => leaving.has(address))) clock.defer(() => forgetLeaving(was.id))
        break
      case 'routes/added':
        // Heard of again: it stays.
        if (leaving.size > 0) for (const { route } of action.reports) leaving.delete(route.address)
        break
      case 'route/removed':
        leaving.delete(action.address)
        break
    }
    followTable(action, before, after)
    if (id !== null && !(is && isUp(is))) connected.delete(id)
  }

  /** Who has come into the table, and who has gone from it. */
  const followTable = (action: Action, before: State, after: State): void => {
    for (const id of after.changedPeers) {
      const was = before.peers.get(id)
      const is = after.peers.get(id)
      if (changesSource.size > 0 && is && is.routes.length > 0 && !was?.routes.length)
        tell('discover', after, is, heardFrom(action, id))
      if (is && isListed(is)) {
        listed.add(id)
        continue
      }
      listed.delete(id)
      if (!was || !isListed(was)) continue
      // Of a stranger who was refused, nothing was ever told.
      if (was.routes.length > 0 || connected.has(id)) tell('remove', before, ended(was, action.at))
      remarks.delete(id)
    }
  }

  for (const peer of store.getState().peers.valuesArray()) if (isListed(peer)) listed.add(peer.id)
  for (const { id, connection } of store.getState().active.keysArray())
    if (connection.status === 'connected') connected.set(id, streamAddress(internal.connectionOf(id)))
  const unsubscribe = store.subscribe(follow)

  // ---- the API ------------------------------------------------------------------------------------------------------

  const add = (address: unknown, source?: unknown): GossipPeer | undefined => {
    const id = peerOfRoutes(parseAddress(address))
    if ((source === 'friends' || source === 'seed' || source === 'local') && disabled.has(source)) return entry(id)
    const isNew = (store.getState().peers.get(id)?.routes.length ?? 0) === 0
    const isLocal = source === 'local'
    manager.peer.addRoute({ address, isLocal, source: source ?? undefined })
    // Ourselves, or one that was not taken up.
    if (!store.getState().peers.has(id)) return undefined
    const remark = remarks.get(id) ?? { announcers: 1, source: null }
    if (isNew) return entry(id)
    if (source === 'friends' || source === 'local') remarks.set(id, { ...remark, source })
    // A beacon is heard every second, which says nothing about how well known a peer is.
    else if (entry(id)?.source !== 'local') remarks.set(id, { ...remark, announcers: remark.announcers + 1 })
    return entry(id)
  }

  const removeRoute = (address: Address): void => {
    const state = store.getState()
    const peer = state.peers.get(state.routes.get(address)?.peer ?? '')
    // As in ssb-gossip a connection outlives its entry: ssb-local removes a neighbour whose beacons get lost on the way.
    if (peer && isUp(peer) && addressInUse(peer) === address) leaving.add(address)
    else manager.peer.removeRoute({ address })
  }

  const forgetLeaving = (id: FeedId): void => {
    if (internal.isClosed()) return
    for (const address of store.getState().peers.get(id)?.routes ?? [])
      if (leaving.delete(address)) removeRoute(address)
  }

  const remove = (target: unknown): boolean => {
    const { id, routes } = toTarget(target)
    const known = store.getState().peers.get(id)?.routes ?? []
    const named = routes.map((route) => route.address).filter((address) => known.includes(address))
    // An object is its key above all: ssb-friend-pub removes by what an address was when it was announced.
    if (named.length === 0 && typeof target === 'string' && routes.length > 0) return false
    const going = named.length > 0 ? withNeighbours(store.getState(), known, named) : known
    for (const address of going) removeRoute(address)
    return going.length > 0
  }

  const connectTo = async (target: unknown): Promise<unknown> => {
    if (target === undefined || target === null || target === '')
      throw new InvalidArgumentError('gossip.connect', 'an address, or a peer id', target)
    const { id, routes } = toTarget(target)
    if (routes.length === 0) return manager.peer.connect({ id })
    add(target, 'manual')
    return manager.peer.connect({ address: target as string | object })
  }

  const connectHere = asyncCall(connectTo)
  /** Over the wire goes that there is a connection, not its insides. */
  const connectFromAfar = asyncCall(async (target: unknown) => {
    const rpc = await connectTo(target)
    return { id: toTarget(target).id, address: streamAddress(rpc) ?? null }
  })

  function connect(this: unknown, ...args: [unknown?, ...unknown[]]): Promise<unknown> {
    const call = callerOf(this) === null ? connectHere : connectFromAfar
    return settled(call(...(args as Parameters<typeof call>)))
  }

  const disconnectFrom = asyncCall(async (target: unknown) => manager.peer.disconnect({ id: toTarget(target).id }))

  const servePings = createPingServer({
    clock,
    timers: config.timers,
    onPing: (caller, rttMs, skewMs) => {
      if (!internal.isClosed()) internal.pinged(caller, rttMs, skewMs)
    },
  })

  function ping(this: unknown): PingDuplex {
    return servePings(callerOf(this))
  }

  const reconnect = (): EpochMs => {
    const at = clock.now()
    for (const { id, connection } of store.getState().active.keysArray())
      if (connection.status === 'connected')
        store.dispatch({ type: 'connection/closeRequested', at, peer: id, reason: 'disconnected' })
    // Whatever was put off because a network seemed down is tried again as well.
    store.dispatch({ type: 'environment/online', at })
    api.wakeup = at
    // secret-stack copies what a plugin returns; functions are shared, this one is not.
    const mounted = sbot.gossip as { wakeup?: unknown } | null | undefined
    if (typeof mounted === 'object' && mounted !== null && 'wakeup' in mounted) mounted.wakeup = at
    return at
  }

  const withhold = (type: GossipType): void => {
    disabled.add(type)
    const max: Record<string, number> = {}
    for (const [name, slots] of Object.entries(store.getState().options.maxByType)) {
      if (slots === 0 || !hasSlotsOf(type, name)) continue
      withheld.set(name, slots)
      max[name] = 0
    }
    if (Object.keys(max).length > 0) manager.connections.setMaxByType(max)
  }

  const giveBack = (type: GossipType): void => {
    disabled.delete(type)
    const max: Record<string, number> = {}
    for (const [name, slots] of [...withheld]) {
      if (!hasSlotsOf(type, name)) continue
      withheld.delete(name)
      // Unless somebody has set them anew since.
      if (store.getState().options.maxByType[name] === 0) max[name] = slots
    }
    if (Object.keys(max).length > 0) manager.connections.setMaxByType(max)
  }

  const setType = (given: unknown, isEnabled: boolean): string => {
    const type = toType(given)
    if (isEnabled) giveBack(type)
    else withhold(type)
    // ssb-local looks here, and starts when it is told to.
    if (isRecord(config.gossip)) Reflect.set(config.gossip, type, isEnabled)
    const local = sbot.local as { init?: unknown } | null | undefined
    if (isEnabled && type === 'local' && typeof local?.init === 'function') local.init()
    const done = `${isEnabled ? 'enabled' : 'disabled'} gossip type ${type}`
    if (!saveType) return `${done} until the restart: there is no config file to write to`
    try {
      saveType(type, isEnabled)
      return done
    } catch (error) {
      return `${done} until the restart: ${errorInfo(error).message}`
    }
  }

  const peers = (): GossipPeer[] => {
    const state = store.getState()
    const entries: GossipPeer[] = []
    for (const id of listed) {
      const peer = state.peers.get(id)
      if (peer) entries.push(entryOf(state, peer))
    }
    return entries
  }

  const api = {
    /**
     * Adds a route and gives the entry of its peer. undefined for ourselves, for what is not taken up (a private address out
     * of a pub message, a full table, a disabled source). Throws InvalidAddressError or InvalidArgumentError.
     */
    add: syncCall((address: unknown, source?: unknown) => add(address, source)),
    /**
     * Forgets a peer by its id, `{key}` or an object; by an address only that route, and with it other local ones if it is
     * local. A connection stays until it ends by itself, and its route with it. True if there was anything to forget.
     */
    remove: syncCall((target: unknown) => remove(target)),
    /** Dials now, past slots and pauses; the connection, also of a peer that is connected. Adds an address as `manual`. */
    connect,
    /** Hangs up; false if there was nothing to hang up on. Not redialed by the scheduler for a minute. */
    disconnect: (...args: [unknown?, ...unknown[]]) =>
      settled(disconnectFrom(...(args as Parameters<typeof disconnectFrom>))),
    /** Events as they happen, no replay. */
    changes: (): Source<GossipEvent> => changesSource.open(),
    /** Hangs up on everybody but our own clients and lets the scheduler dial again at once. Epoch ms of now. */
    reconnect: syncCall(() => reconnect()),
    disable: syncCall((type?: unknown) => setType(type, false)),
    enable: syncCall((type?: unknown) => setType(type, true)),
    ping,
    /** The entry of a feed id, an address or `{key}`; undefined if unknown. */
    get: syncCall((target: unknown) => entry(toTarget(target).id)),
    /** All that have an address or a connection, in the order in which they came. */
    peers: syncCall(() => peers()),
    help: syncCall(() => GOSSIP_HELP),
    /** When `reconnect` was last called; 0 for never. */
    wakeup: 0 as EpochMs,
  }

  for (const type of TYPES) if (isOff(config, type)) withhold(type)

  return {
    api,
    manifest: gossipManifest,
    permissions: gossipPermissions,
    /** `status().gossip`: who is not idle, or changed a moment ago. */
    status: (): { [id: string]: GossipStatus } => {
      const state = store.getState()
      const now = clock.now()
      const ids = new Set(state.active.keysArray().map((peer) => peer.id))
      for (const [id, at] of recent) if (Math.abs(now - at) < RECENT_MS) ids.add(id)
      const shown: { [id: string]: GossipStatus } = {}
      for (const id of ids) {
        const peer = state.peers.get(id)
        if (peer && isListed(peer)) shown[id] = statusOf(entryOf(state, peer))
      }
      return shown
    },
    /** Ends the sources and lets go of the manager. */
    stop: (): void => {
      unsubscribe()
      changesSource.close()
    },
  }
}

// ---- entries, without the facade --------------------------------------------------------------------------------------

function isUp({ connection }: Peer): boolean {
  return connection.status === 'connected' || connection.status === 'closing'
}

/** Peers about whom only a priority is known are no entries: nobody said where they are. */
function isListed(peer: Peer): boolean {
  return peer.routes.length > 0 || isUp(peer)
}

/** A peer as it is when its connection, if it had one, has just ended. */
function ended(peer: Peer, at: EpochMs): Peer {
  return changePeer(peer, { connection: IDLE, visitedAt: isUp(peer) ? at : peer.visitedAt })
}

function addressInUse({ connection }: Peer): Address | null {
  if (connection.status === 'idle') return null
  return connection.status === 'dialing' ? (connection.attempts[0]?.address ?? null) : connection.address
}

/** `local` holds for as long as there is a local route. */
function sourceTold(told: Remark | undefined, routes: readonly Route[]): Remark['source'] {
  if (!told || (told.source === 'local' && !routes.some((route) => route.isLocal))) return null
  return told.source
}

function sourceOf(route: Route): string {
  return route.isLocal && route.source !== 'friends' ? 'local' : route.source
}

function stateOf({ connection }: Peer): GossipPeer['state'] {
  switch (connection.status) {
    case 'idle':
      return undefined
    case 'dialing':
      return 'connecting'
    case 'connected':
      return connection.closeReason === null ? 'connected' : 'disconnecting'
    case 'closing':
      return 'disconnecting'
  }
}

function stateChangeOf(peer: Peer, routes: readonly Route[]): EpochMs | undefined {
  if (peer.connection.status !== 'idle') return peer.connection.since
  let at = peer.visitedAt
  for (const route of routes) at = Math.max(at, route.lastErrorTime)
  return at > 0 ? at : undefined
}

/** A connection that we dialed marks its route as it opens and closes; one that was dialed to us marks only the peer. */
function isClient(peer: Peer, routes: readonly Route[]): boolean | undefined {
  const { connection } = peer
  if (connection.status === 'connected' || connection.status === 'closing') return connection.direction === 'outbound'
  return peer.visitedAt === 0 ? undefined : routes.some((route) => route.lastConnectionTime >= peer.visitedAt)
}

function hostAndPort(
  route: Route | undefined,
  address: Address | undefined,
): { host: string | undefined; port: number | undefined } {
  if (route?.hostKey) {
    const colon = route.hostKey.lastIndexOf(':')
    return { host: route.hostKey.slice(0, colon), port: Number(route.hostKey.slice(colon + 1)) }
  }
  try {
    const parsed = route || address === undefined ? undefined : parseAddress(address)[0]
    return { host: parsed?.host ?? undefined, port: parsed?.port ?? undefined }
  } catch {
    // The address that an inbound stream gives itself need not be one that can be dialed.
    return { host: undefined, port: undefined }
  }
}

function mergeStats(parts: readonly (Stats | null)[]): Stats | null {
  let merged: Stats | null = null
  for (const part of parts) {
    if (!part) continue
    const count: number = part.count + (merged?.count ?? 0)
    const sum: number = part.sum + (merged?.sum ?? 0)
    const sqsum: number = part.sqsum + (merged?.sqsum ?? 0)
    const mean = sum / count
    merged = { mean, stdev: Math.sqrt(Math.max(0, sqsum / count - mean * mean)), count, sum, sqsum }
  }
  return merged
}

function statusOf({ address, source, state, stateChange, failure, client, duration, ping }: GossipPeer): GossipStatus {
  const stats = { duration: duration ?? undefined, rtt: ping?.rtt, skew: ping?.skew }
  return { address, source, state, stateChange, failure, client, stats }
}

/** Who told of a peer in this action. */
function heardFrom(action: Action, id: FeedId): string {
  if (action.type === 'table/loaded') return 'stored'
  const report = action.type === 'routes/added' && action.reports.find(({ route }) => route.peer === id)
  if (!report) return 'manual'
  return report.isLocal ? 'local' : report.source
}

/** A neighbour that left is gone by all its local routes, of which ssb-local names one. */
function withNeighbours(state: State, known: readonly Address[], named: readonly Address[]): readonly Address[] {
  const isLocal = (address: Address): boolean => state.routes.get(address)?.isLocal === true
  return named.some(isLocal) ? known.filter((address) => named.includes(address) || isLocal(address)) : named
}

// ---- input ------------------------------------------------------------------------------------------------------------

/** A feed id, an address, `{key}`, `{id}` (`--id` on a command line), `{address, key}` or `{host, port, key}`: whose it is, and the routes it spells out. */
function toTarget(value: unknown): { readonly id: FeedId; readonly routes: readonly ParsedRoute[] } {
  const object = isRecord(value) && value.address === undefined && value.host === undefined ? value : null
  const id = parseFeedId(object ? (object.key ?? object.id) : value)
  if (id !== null) return { id, routes: [] }
  const routes = parseAddress(value)
  return { id: peerOfRoutes(routes), routes }
}

function peerOfRoutes(routes: readonly ParsedRoute[]): FeedId {
  // parseAddress gives at least one, or throws.
  return (routes[0] as ParsedRoute).peer
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function toType(value: unknown): GossipType {
  // `--type local` on a command line.
  const given = isRecord(value) ? value.type : value
  const type = given === undefined || given === null || given === '' ? 'global' : given
  const known = TYPES.find((each) => each === type)
  if (!known) throw new InvalidArgumentError('type', `one of ${TYPES.join(', ')}`, given)
  return known
}

/** Settings from a command line are strings. */
function isOff(config: GossipConfig, type: GossipType): boolean {
  const value = isRecord(config.gossip) ? config.gossip[type] : undefined
  return value === false || value === 'false'
}

function hasSlotsOf(type: GossipType, routeClass: string): boolean {
  if (type === 'local') return routeClass === 'local'
  return type === 'global' && routeClass !== 'local'
}

// ---- log, status, help ------------------------------------------------------------------------------------------------

/**
 * Emits what `--logging.level=info` of ssb-server prints: `log:info` with `['ssb-server', 'host:port:key', 'CONNECTING']`,
 * `'PEER JOINED'`, `'ERR'` and the message, or `'DISCONNECTED. state was connected for N seconds'`; of who calls in from
 * nowhere we know `'Connected'` and `'Disconnected'` with his id. Returns the function that ends it.
 */
export function startLog({
  manager,
  sbot,
}: {
  readonly manager: ConnectionManager
  readonly sbot: GossipHost
}): () => void {
  const { store, clock } = manager.internal
  /** Names under which connections were announced. */
  const joined = new Map<FeedId, { readonly name: string; readonly isKnown: boolean; readonly since: EpochMs }>()

  const say = (name: string, ...words: string[]): void => {
    // After the event has been dealt with: what a listener throws must not stop the machine halfway.
    clock.defer(() => {
      if (typeof sbot.emit === 'function') sbot.emit('log:info', ['ssb-server', name, ...words])
    })
  }

  return store.subscribe((action, before, after) => {
    switch (action.type) {
      case 'dial/started':
        return say(nameOf(after, action.peer, action.address), 'CONNECTING')
      case 'dial/failed':
        return say(nameOf(before, action.peer, action.address), 'ERR', action.error.message)
      case 'connection/opened': {
        const peer = after.peers.get(action.peer)
        if (peer?.connection.status !== 'connected' || peer.connection.closeReason !== null || joined.has(peer.id))
          return
        const best = routesOfPeer(after, peer).sort(compareRoutesOfPeer)[0]
        const address = peer.connection.address ?? best?.address
        const isKnown = address !== undefined
        const name = isKnown ? nameOf(after, peer.id, address) : peer.id
        joined.set(peer.id, { name, isKnown, since: action.at })
        return say(name, isKnown ? 'PEER JOINED' : 'Connected')
      }
      case 'connection/closed': {
        const was = before.peers.get(action.peer)
        const is = after.peers.get(action.peer)
        const entry = joined.get(action.peer)
        if (!entry || (is && isUp(is))) return
        joined.delete(action.peer)
        if (!entry.isKnown) return say(entry.name, 'Disconnected')
        const state = was?.connection.status === 'closing' ? 'disconnecting' : 'connected'
        const seconds = Math.max(0, action.at - entry.since) / 1000
        return say(entry.name, `DISCONNECTED. state was ${state} for ${seconds} seconds`)
      }
    }
  })
}

/** `host:port:key` where there is a host, as in the logs that people know. */
function nameOf(state: State, peer: FeedId, address: Address): string {
  const hostKey = state.routes.get(address)?.hostKey
  return hostKey ? `${hostKey}:${peer}` : address
}

type Method = (this: unknown, ...args: unknown[]) => unknown
type StatusHook = (this: unknown, fn: Method, args: unknown[]) => unknown

/**
 * Adds `connectionManager` and `gossip` to what `sbot.status()` says, where the stack has it (ssb-db 1 does). Looked for now
 * and, as the database may be loaded after us, once more when all plugins are: they are within one turn. Returns
 * the function that leaves the status as it is again.
 */
export function hookStatus(given: {
  readonly sbot: GossipHost
  readonly manager: ConnectionManager
  /** Gives undefined while there is no facade. */
  readonly gossip?: { status(): ReturnType<Gossip['status']> | undefined }
}): () => void {
  const { sbot, manager, gossip } = given
  let isOver = false
  const extend = (status: unknown): unknown => {
    if (!isRecord(status) || isOver) return status
    const shown = gossip?.status()
    return { ...status, connectionManager: manager.connections.status(), ...(shown && { gossip: shown }) }
  }

  const tryToHook = (): boolean => {
    const status = sbot.status as { hook?: (hook: StatusHook) => unknown } | null | undefined
    if (isOver || typeof status?.hook !== 'function') return false
    status.hook(function (fn, args) {
      const cb = args[args.length - 1]
      if (typeof cb !== 'function') return extend(fn.apply(this, args))
      const answer = (error: unknown, result: unknown): unknown => cb(error, extend(result))
      return extend(fn.apply(this, [...args.slice(0, -1), answer]))
    })
    return true
  }

  if (!tryToHook()) manager.internal.clock.defer(tryToHook)
  return () => {
    isOver = true
  }
}

const PEER_ARGS = {
  id: { type: 'FeedId', optional: true, description: 'an ssb feed identity' },
  address: { type: 'MultiServerAddress', optional: true, description: 'a multiserver address of an ssb peer' },
} as const
const SOURCE_ARG = {
  type: 'String',
  optional: true,
  description: 'who told of it, as a second word: manual, seed, pub, friends, local',
} as const
const TYPE_ARG = { type: 'String', optional: true, description: `${TYPES.join(', ')}; default global` } as const

/** In the shape that the muxrpc command line prints. */
const GOSSIP_HELP = {
  description: 'keep track of peers, and decide when to connect to them',
  commands: {
    add: {
      type: 'sync',
      single: 'address',
      description: 'add peer to table',
      args: { address: PEER_ARGS.address, source: SOURCE_ARG },
    },
    remove: { type: 'sync', single: 'id', description: 'remove peer from table', args: PEER_ARGS },
    connect: { type: 'async', single: 'id', description: 'connect to a peer', args: PEER_ARGS },
    disconnect: { type: 'async', single: 'id', description: 'disconnect from a peer', args: PEER_ARGS },
    get: { type: 'sync', single: 'id', description: 'one peer of the table', args: PEER_ARGS },
    peers: { type: 'sync', description: 'all peers of the table', args: {} },
    changes: { type: 'source', description: 'stream of changes to peers table', args: {} },
    reconnect: { type: 'sync', description: 'reconnect to all peers', args: {} },
    disable: { type: 'sync', single: 'type', description: 'disable gossip', args: { type: TYPE_ARG } },
    enable: { type: 'sync', single: 'type', description: 'enable gossip', args: { type: TYPE_ARG } },
    help: { type: 'sync', description: 'this text', args: {} },
  },
} as const satisfies Help
