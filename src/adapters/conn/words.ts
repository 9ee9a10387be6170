/**
 * The words of ssb-conn as types, and the translation between a route of the manager and what ssb-conn calls the data of an
 * address. What the route knows (failures, durations, times) is read from it each time and never kept twice; what only the
 * callers know (`type`, `name`, `room`, …) is the `data` of the route.
 */
import { parseAddress, withoutSeed } from '../../core/address'
import { describe, errorInfo, InvalidArgumentError } from '../../core/errors'
import { isPlainObject, MAX_ROUTE_DATA } from '../../core/options'
import { own } from '../../core/own'
import { routesOfPeer } from '../../core/plan'
import type { State } from '../../core/table'
import type { Address, EpochMs, FeedId, ParsedRoute, Peer, Route, RouteData, Stats } from '../../core/types'
import type { ConnectionManager } from '../../manager'
import type { Clock } from '../../shell/clock'

/** An address and what is known of it; how ssb-conn shows everything. */
export type ConnEntry<Data> = [address: Address, data: Data]

/** What is remembered of an address. Fields that nobody has said, or that are not known yet, are missing. */
export interface DbData {
  /** Since when it is known. */
  birth: EpochMs
  key: FeedId
  /** `pub`, `room`, `room-attendant`, `lan`, `bt`, `dht`, …: the word of whoever remembered it. */
  type?: string
  source?: string
  /** False: dialed for `connect` only. */
  autoconnect?: boolean
  /** Failed dials in a row; missing before the first dial. */
  failure?: number
  /** Last time that a dial or a connection began or ended; missing before the first dial. */
  stateChange?: EpochMs
  duration?: Stats
  /** Of the present connection by this address. */
  ping?: { rtt: Stats; skew: Stats }
  /** Whatever else modules keep there: plain JSON. */
  [name: string]: unknown
}
export type DbEntry = ConnEntry<DbData>

/** What may be remembered of an address; see `DbData`. A value of undefined takes the field away. */
export type ConnData = { readonly [name: string]: unknown }

export type HubState = 'connecting' | 'connected' | 'disconnecting'

/** A dial or a connection: what is remembered and staged of the address, what `connect` and `update` were given, and: */
export interface HubData {
  key: FeedId
  state: HubState
  hubBirth: EpochMs
  hubUpdated: EpochMs
  /** From the address of a connection, where nobody has said a `type`. */
  inferredType?: InferredType
  /** Hangs up. In this process only, and only on connections. */
  disconnect?: (cb?: (error?: unknown) => void) => void
  [name: string]: unknown
}
export type HubEntry = ConnEntry<HubData>
export type InferredType = 'lan' | 'internet' | 'tunnel' | 'dht' | 'bt'

/** `disconnecting-failed` is a word of ssb-conn that is never used here: a hang-up cannot fail. */
export type HubEvent = { readonly address: Address; readonly key: FeedId } & (
  | { readonly type: 'connecting' | 'disconnecting' | 'disconnected' }
  | { readonly type: 'connected'; readonly details: { readonly rpc: unknown; readonly isClient: boolean } }
  | { readonly type: 'connecting-failed' | 'disconnecting-failed'; readonly details: Error }
)

/** An address that can be dialed now, because somebody announces it or because it is left to the user. */
export interface StagedData {
  key: FeedId
  stagingBirth: EpochMs
  /** When it was last announced. */
  stagingUpdated: EpochMs
  type?: string
  [name: string]: unknown
}
export type StagedEntry = ConnEntry<StagedData>

export interface StagingEvent {
  readonly type: 'staged' | 'unstaged'
  readonly address: Address
}

export interface DbEvent {
  readonly type: 'insert' | 'update' | 'delete'
  readonly address: Address
}

/** What the parts of the facade share. */
export interface ConnContext {
  readonly manager: ConnectionManager
  readonly clock: Clock
  /** After the end everything reads as it is, and nothing is changed any more. */
  readonly isOver: () => boolean
}

/** Read from the route or the connection, so that nobody's word is kept for it. */
const DERIVED: ReadonlySet<string> = new Set([
  'key',
  'state',
  'stateChange',
  'failure',
  'duration',
  'ping',
  'hubBirth',
  'hubUpdated',
  'stagingBirth',
  'stagingUpdated',
  'inferredType',
  'disconnect',
  'pool',
  // Of another kind of name: what an assignment would do with it depends on who makes it.
  '__proto__',
])
/** In the data of a room's route: whether this facade made the room long-term, and may take it back. Never shown. */
export const KEPT_UP = 'conn:isKeptUp'

// ---- addresses --------------------------------------------------------------------------------------------------------

/** The routes of an address for a look-up: none where it is no address, which is then simply not there. */
export function routesIn(address: unknown): readonly ParsedRoute[] {
  try {
    return parseAddress(address).map(withoutSeed)
  } catch {
    return []
  }
}

export function inferType(address: Address, rpc: unknown): InferredType | undefined {
  const meta = (rpc as { stream?: { meta?: unknown } } | null | undefined)?.stream?.meta
  if (meta === 'dht') return 'dht'
  const [route] = routesIn(address)
  const protocol = route?.protocol ?? address.slice(0, Math.max(0, address.indexOf(':')))
  if (protocol === 'bt' || protocol === 'dht' || protocol === 'tunnel') return protocol
  if (!route || route.scope === null) return undefined
  return route.scope === 'public' || route.scope === 'name' ? 'internet' : 'lan'
}

// ---- data -------------------------------------------------------------------------------------------------------------

/** What a caller has given, as plain JSON, and the fields that he wants to be gone. */
export interface Given {
  readonly data: RouteData
  readonly gone: readonly string[]
}

/** Throws InvalidArgumentError, and nothing else, for what is no object of plain JSON or is too much to keep. */
export function toGiven(value: unknown): Given {
  if (value === undefined || value === null) return { data: {}, gone: [] }
  const expected = `an object of plain JSON, at most ${MAX_ROUTE_DATA} characters`
  const fail = (): never => {
    throw new InvalidArgumentError('data', expected, value)
  }
  try {
    if (!isPlainObject(value)) return fail()
    const gone: string[] = []
    const kept: Record<string, unknown> = {}
    for (const name of Object.keys(value)) {
      if (DERIVED.has(name) || name === KEPT_UP) continue
      const field = value[name]
      if (field === undefined) gone.push(name)
      else if (typeof field !== 'function') kept[name] = field
    }
    // A copy of our own: what the caller does with his object later is not said to us.
    const text = JSON.stringify(kept)
    if (text.length > MAX_ROUTE_DATA) return fail()
    return { data: JSON.parse(text) as RouteData, gone }
  } catch (error) {
    if (error instanceof InvalidArgumentError) throw error
    // A getter that throws, a ring, a number that JSON has no word for.
    throw new InvalidArgumentError('data', expected, describe(errorInfo(error).message))
  }
}

export function merge(present: RouteData | null, { data, gone }: Given): RouteData {
  const merged: Record<string, unknown> = { ...present, ...data }
  for (const name of gone) delete merged[name]
  if (JSON.stringify(merged).length > MAX_ROUTE_DATA)
    throw new InvalidArgumentError('data', `at most ${MAX_ROUTE_DATA} characters with what is there already`, data)
  return merged
}

/** Settings from a command line are strings. Undefined where nothing was said. */
export function autoconnectOf({ data, gone }: Given): boolean | undefined {
  if (gone.includes('autoconnect')) return true
  const value = own(data, 'autoconnect')
  if (value === undefined) return undefined
  return !(value === false || value === 'false')
}

const WORD = /^[a-z][a-z0-9-]{0,63}$/i
/** What each of these tells of who told us; other types are the user's own words. */
const SOURCE_OF_TYPE: { readonly [type: string]: string } = {
  room: 'room',
  'room-attendant': 'room',
  'room-endpoint': 'room',
  lan: 'lan',
  bt: 'bt',
  dht: 'dht',
  seed: 'seed',
  friends: 'friends',
}

/**
 * Who told us, in the manager's words. `pub` there means that a stranger did, in a message; here it is what a user calls
 * the peer whose invite he has taken, and is no reason to distrust him.
 */
export function sourceOf(data: RouteData, fallback: string): string {
  const source = own(data, 'source')
  if (typeof source === 'string' && WORD.test(source) && source !== 'pub' && source !== 'stored') return source
  const type = own(data, 'type')
  return (typeof type === 'string' ? own(SOURCE_OF_TYPE, type) : undefined) ?? fallback
}

/** The data of a route as its callers put it there. */
export function ownData(route: Route): Record<string, unknown> {
  if (route.data === null) return {}
  const { [KEPT_UP]: _, ...data } = route.data
  return copy(data)
}

/**
 * What an announced route says by itself, where nobody else has: user interfaces sort by these words, and room clients look
 * for the attendants of a room by them.
 */
export function announcedAs(state: State, route: Route): ConnData {
  const { protocol, portal, isAnnounced, isLocal } = route
  if (!isAnnounced && !isLocal) return {}
  if (protocol === 'tunnel' && portal !== null) {
    const roomName = nameOf(state, portal)
    return { type: 'room-attendant', room: portal, ...(roomName === undefined ? {} : { roomName }) }
  }
  if (protocol === 'bt' || protocol === 'dht') return { type: protocol }
  return isLocal ? { type: 'lan' } : {}
}

/** What a peer is called by whoever remembered it. */
function nameOf(state: State, id: FeedId): string | undefined {
  const peer = state.peers.get(id)
  for (const { data, isStored } of peer ? routesOfPeer(state, peer) : [])
    if (isStored && typeof data?.name === 'string') return data.name
  return undefined
}

/** A copy that the reader may do with as he likes. */
export function copy(data: RouteData): Record<string, unknown> {
  return JSON.parse(JSON.stringify(data)) as Record<string, unknown>
}

export function dbDataOf(route: Route, peer: Peer | undefined): DbData {
  const { connection } = peer ?? {}
  const given = ownData(route)
  const bornAt = typeof given.birth === 'number' ? given.birth : route.addedAt
  const data: DbData = { source: route.source, ...given, birth: Math.min(bornAt, route.addedAt), key: route.peer }
  if (route.source === 'pub' && data.type === undefined) data.type = 'pub'
  if (!route.isAutomatic) data.autoconnect = false
  else if (data.autoconnect !== undefined) data.autoconnect = true
  const changedAt = Math.max(route.lastErrorTime, route.lastConnectionTime, peer ? inUseSince(peer, route.address) : 0)
  if (changedAt > 0) {
    data.stateChange = changedAt
    data.failure = route.errorCount
  }
  if (route.duration) data.duration = { ...route.duration }
  if (connection?.status === 'connected' && connection.address === route.address && connection.rtt && connection.skew)
    data.ping = { rtt: { ...connection.rtt }, skew: { ...connection.skew } }
  return data
}

/** When the dial or the connection by this address began; 0 if there is none. */
function inUseSince({ connection }: Peer, address: Address): EpochMs {
  if (connection.status === 'idle') return 0
  if (connection.status === 'dialing')
    return connection.attempts.find((attempt) => attempt.address === address)?.startedAt ?? 0
  return connection.address === address ? connection.since : 0
}
