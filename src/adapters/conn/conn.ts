/**
 * The legacy `sbot.conn`: the API of ssb-conn 6 in terms of the manager, with its four parts (db, hub, staging, query) for
 * plugins of the same process. What callers rely on comes from consumers.md 1.1 and 1.3; what they suffered from is gone: a
 * `connect` that joins a dial has the outcome of that dial, a `disconnect` ends a dial for good, each event comes once, and
 * nothing that holds keys goes over the wire.
 *
 * Nobody but the manager knows peers. The facade reads its state and tells it what callers want, so that `sbot.gossip` and
 * `sbot.conn` in one stack show the same. Addresses are taken in any spelling and shown in the canonical one.
 */

import type { Action } from '../../core/actions'
import { isInvite, parseAddress, parseFeedId } from '../../core/address'
import { ClosedError } from '../../core/errors'
import type { State } from '../../core/table'
import type { FeedId, ParsedRoute } from '../../core/types'
import type { ConnectionManager } from '../../manager'
import { asyncCall, type Callback, settled, syncCall } from '../../shell/calls'
import type { Clock } from '../../shell/clock'
import type { Help } from '../../shell/help'
import type { Source } from '../../shell/live'
import { createPingServer, type PingDuplex } from '../ping'
import { callerOf, streamAddress } from '../sbot'
import { type ConnDB, createDb } from './db'
import { type ConnHub, createHub } from './hub'
import { ConnQuery } from './query'
import { type ConnStaging, createStaging } from './staging'
import {
  type ConnContext,
  type ConnData,
  type DbEntry,
  type HubEntry,
  routesIn,
  type StagedEntry,
  toGiven,
} from './words'

export type { ConnDB } from './db'
export type { ConnHub } from './hub'
export { ConnQuery, type Pool, type QueryEntry } from './query'
export type { ConnStaging } from './staging'
export type {
  ConnData,
  ConnEntry,
  DbData,
  DbEntry,
  DbEvent,
  HubData,
  HubEntry,
  HubEvent,
  HubState,
  InferredType,
  StagedData,
  StagedEntry,
  StagingEvent,
} from './words'

/** What is used of the stack. */
export interface ConnHost {
  /** Looked up at each call: stacks load plugins in any order, and some bring their own. */
  readonly connScheduler?: unknown
  readonly [plugin: string]: unknown
}

export interface ConnOptions {
  readonly manager: ConnectionManager
  readonly sbot: ConnHost
  readonly config?: { readonly conn?: unknown; readonly timers?: unknown }
  readonly clock: Clock
  /** Calls back when the table has been read; without it the table counts as read. */
  readonly whenReady?: (fn: () => void) => void
}

/** The types are behaviour: secret-stack wraps methods by them, and `remember` is called with a trailing callback. */
export const connManifest = {
  remember: 'sync',
  forget: 'sync',
  dbPeers: 'sync',
  connect: 'async',
  disconnect: 'async',
  peers: 'source',
  stage: 'sync',
  unstage: 'sync',
  stagedPeers: 'source',
  start: 'sync',
  stop: 'sync',
  ping: 'duplex',
  help: 'sync',
} as const

/** Everything else is for the owner: a stranger who may `connect` or `remember` decides whom we talk to. */
export const connPermissions = { anonymous: { allow: ['ping'] } }

/** What a caller in this process has; over the wire goes what the manifest names. */
export interface Conn {
  /** Keeps an address with what is said of it; what was said before stays. Throws InvalidAddressError. */
  remember(address: string, data?: ConnData, cb?: Callback<void>): void
  /** Keeps it no longer; a connection stays until it ends. */
  forget(address: string, cb?: Callback<void>): void
  /** All that is remembered. */
  dbPeers(cb?: Callback<DbEntry[]>): DbEntry[]
  /** The connection: the present one, the outcome of the dial under way, or that of a dial now. */
  connect(address: string, cb?: Callback<unknown>): Promise<unknown>
  connect(address: string, data: ConnData | null | undefined, cb?: Callback<unknown>): Promise<unknown>
  /** Hangs up, or ends the dial; false if there is none. Never fails. */
  disconnect(address: string, cb?: Callback<boolean>): Promise<boolean>
  /** Dials and connections: the whole list now, and after each change. */
  peers(): Source<HubEntry[]>
  /** Announces an address; false for a peer in connection, and for what is announced already. */
  stage(address: string, data?: ConnData, cb?: Callback<boolean>): boolean
  unstage(address: string, cb?: Callback<boolean>): boolean
  /** Addresses that can be dialed: the whole list now, and after each change. */
  stagedPeers(): Source<StagedEntry[]>
  /** Starts `sbot.connScheduler`. */
  start(cb?: Callback<void>): Promise<void>
  stop(cb?: Callback<void>): void
  ping(): PingDuplex
  help(cb?: Callback<Help>): Help
  db(): ConnDB
  hub(): ConnHub
  staging(): ConnStaging
  query(): ConnQuery
}

export interface MountedConn {
  readonly api: Conn
  readonly manifest: typeof connManifest
  readonly permissions: typeof connPermissions
  /** Ends the sources and lets go of the manager. */
  stop(): void
}

export function createConn({ manager, sbot, config = {}, clock, whenReady }: ConnOptions): MountedConn {
  const { internal } = manager
  const { store } = internal
  let isStopped = false
  const isOver = (): boolean => isStopped || internal.isClosed()
  const context: ConnContext = { manager, clock, isOver }

  // ---- connect, disconnect ------------------------------------------------------------------------------------------

  const connectTo = async (address: unknown, data?: unknown): Promise<unknown> => {
    const routes = parseAddress(address)
    const said = toGiven(data)
    const { peer: id } = routes[0] as ParsedRoute
    if (isOver()) throw new ClosedError('conn.connect')
    const target = { address: address as string | object }
    // As a guest, beside any other connection: nothing is known of it afterwards.
    if (routes.some((route) => isInvite(route.address))) return manager.peer.connect(target)
    const state = store.getState()
    const { connection } = state.peers.get(id) ?? {}
    if (connection?.status === 'connected' && connection.closeReason === null) return manager.peer.connect({ id })
    // To connect is not to remember: an address that nobody knows is known until its connection has ended.
    const fresh = routes.filter((route) => !state.routes.has(route.address))
    if (fresh.length > 0 && id !== internal.selfId && !internal.isBanned(id))
      internal.report(fresh.map((route) => ({ route, isLocal: false, source: 'manual', standing: 'temporary' })))
    hub.expect(id, said)
    const asked = manager.peer.connect(target)
    hub.settle(id)
    return asked
  }

  /**
   * The peer that an address stands for: the one with an entry of that address, else the one whose key it has. But for a
   * tunnel: that a peer has left a room is no reason to hang up on him where he is connected otherwise.
   */
  const peerMeant = (address: unknown): FeedId | null => {
    const [route] = routesIn(address)
    return hub.peerAt(address) ?? parseFeedId(address) ?? (route && route.protocol !== 'tunnel' ? route.peer : null)
  }

  const disconnectFrom = async (address: unknown): Promise<boolean> => {
    if (isOver()) return false
    const id = peerMeant(address)
    const { peers, requests } = store.getState()
    const peer = id === null ? undefined : peers.get(id)
    if (!peer) return false
    const isAsked = requests.has(peer.id)
    if (peer.connection.status === 'idle' && !isAsked) return false
    return (await manager.peer.disconnect({ id: peer.id })) || isAsked
  }

  // ---- parts --------------------------------------------------------------------------------------------------------

  const whenLoaded = new Promise<true>((resolve) => {
    if (whenReady) whenReady(() => resolve(true))
    else resolve(true)
  })
  const staging = createStaging(context)
  const hub = createHub(context, { connect: connectTo, disconnect: disconnectFrom, stagedData: staging.dataOf })
  const db = createDb(context, whenLoaded)
  const query = new ConnQuery(db.db, hub.hub, staging.staging)
  db.adoptRooms()
  const unsubscribe = store.subscribe((action: Action, before: State, after: State) => {
    // In the order in which one looks: at the event of a connection its address is no longer staged.
    staging.follow(action, before, after)
    db.follow(action, before, after)
    hub.follow(action, before, after)
  })

  // ---- start, stop --------------------------------------------------------------------------------------------------

  let wish = 0
  let isWarned = false

  const startScheduler = (): boolean => {
    const scheduler = sbot.connScheduler as { start?: unknown } | null | undefined
    if (typeof scheduler?.start !== 'function') return false
    scheduler.start()
    return true
  }

  const start = async (): Promise<void> => {
    const mine = ++wish
    if (isOver() || startScheduler()) return
    // It may be loaded after us: all plugins are within one turn.
    await new Promise<void>((resolve) => clock.defer(resolve))
    if (mine !== wish || isOver() || startScheduler() || isWarned) return
    isWarned = true
    console.error('sbot-connection-manager: there is no connScheduler, so conn dials only what conn.connect asks for')
  }

  const stop = (): void => {
    wish++
    const scheduler = sbot.connScheduler as { stop?: unknown } | null | undefined
    if (typeof scheduler?.stop === 'function') scheduler.stop()
  }

  // ---- the API ------------------------------------------------------------------------------------------------------

  const servePings = createPingServer({
    clock,
    timers: config.timers,
    onPing: (caller, rttMs, skewMs) => {
      if (!isOver()) internal.pinged(caller, rttMs, skewMs)
    },
  })

  const connectHere = asyncCall(connectTo)
  /** Over the wire goes that there is a connection, not its insides. */
  const connectFromAfar = asyncCall(async (address: unknown, data?: unknown) => {
    const rpc = await connectTo(address, data)
    const { peer: id, address: canonical } = parseAddress(address)[0] as ParsedRoute
    return { id, address: streamAddress(rpc) ?? canonical }
  })

  function connect(this: unknown, ...args: unknown[]): Promise<unknown> {
    const call = callerOf(this) === null ? connectHere : connectFromAfar
    return settled(call(...(withoutTail(args) as Parameters<typeof call>)))
  }

  const disconnect = asyncCall(disconnectFrom)

  /** A part, for callers in this process: it gives live connections, which hold keys. */
  const inProcess = <Part>(name: string, part: Part) =>
    function (this: unknown): Part {
      if (callerOf(this) !== null) throw new Error(`conn.${name} is for plugins of the same process`)
      return part
    }

  const api: Conn = {
    remember: syncCall((address: unknown, data?: unknown) => {
      db.db.set(address as string, (data ?? {}) as ConnData)
    }),
    forget: syncCall((address: unknown) => {
      db.forget(address)
    }),
    dbPeers: syncCall(() => [...db.db.entries()]),
    connect,
    disconnect: (...args: unknown[]) => settled(disconnect(...(withoutTail(args) as Parameters<typeof disconnect>))),
    peers: function (this: unknown): Source<HubEntry[]> {
      return callerOf(this) === null ? hub.hub.liveEntries() : hub.plainEntries()
    },
    stage: syncCall((address: unknown, data?: unknown) =>
      staging.staging.stage(address as string, (data ?? undefined) as ConnData | undefined),
    ),
    unstage: syncCall((address: unknown) => staging.staging.unstage(address as string)),
    stagedPeers: () => staging.staging.liveEntries(),
    start: function (this: unknown, cb?: Callback<void>): Promise<void> {
      const call = asyncCall(start)
      const started = settled(cb ? call(cb) : call())
      // A promise is not JSON.
      return callerOf(this) === null ? started : (undefined as unknown as Promise<void>)
    },
    stop: syncCall(() => stop()),
    ping: function (this: unknown): PingDuplex {
      return servePings(callerOf(this))
    },
    help: syncCall(() => CONN_HELP),
    db: inProcess('db', db.db),
    hub: inProcess('hub', hub.hub),
    staging: inProcess('staging', staging.staging),
    query: inProcess('query', query),
  }

  return {
    api,
    manifest: connManifest,
    permissions: connPermissions,
    stop: () => {
      isStopped = true
      unsubscribe()
      hub.close()
      staging.close()
      db.close()
    },
  }
}

/** Callers hand on what they were given, and that may end in nothing. */
function withoutTail(args: readonly unknown[]): unknown[] {
  const rest = [...args]
  while (rest.length > 0 && rest[rest.length - 1] === undefined) rest.pop()
  return rest
}

const ADDRESS_ARG = { type: 'MultiserverAddress', description: 'a multiserver address, several joined by ;' } as const
const DATA_ARG = {
  type: 'Object',
  optional: true,
  description: 'what else to keep with it: type, name, autoconnect, …',
} as const

/** In the shape that the muxrpc command line prints. */
const CONN_HELP: Help = {
  description: 'connect to peers, and keep track of addresses',
  commands: {
    remember: { type: 'sync', description: 'keep an address', args: { address: ADDRESS_ARG, data: DATA_ARG } },
    forget: { type: 'sync', description: 'keep an address no longer', args: { address: ADDRESS_ARG } },
    dbPeers: { type: 'sync', description: 'all addresses that are kept', args: {} },
    connect: { type: 'async', description: 'connect to a peer now', args: { address: ADDRESS_ARG, data: DATA_ARG } },
    disconnect: { type: 'async', description: 'hang up on a peer', args: { address: ADDRESS_ARG } },
    peers: { type: 'source', description: 'dials and connections, and again after each change', args: {} },
    stage: { type: 'sync', description: 'announce an address', args: { address: ADDRESS_ARG, data: DATA_ARG } },
    unstage: { type: 'sync', description: 'announce it no longer', args: { address: ADDRESS_ARG } },
    stagedPeers: { type: 'source', description: 'addresses to connect to, and again after each change', args: {} },
    start: { type: 'sync', description: 'start the scheduler', args: {} },
    stop: { type: 'sync', description: 'stop the scheduler, and hang up on everybody', args: {} },
    help: { type: 'sync', description: 'this text', args: {} },
  },
}
