/**
 * `conn.hub()`: dials and connections, by address. The state of the manager is the truth; what is kept here is what was told
 * of it, so that each event comes once, and what callers have said of a connection, until it ends.
 *
 * The manager has one connection for a feed id. It dials a peer by several routes at once if need be, each of which is an
 * entry while it lasts. A connection has the address that was dialed, or, of those that came to us, the one that the stream
 * gives itself.
 */
import type { Action } from '../../core/actions'
import type { State } from '../../core/table'
import type { Address, EpochMs, FeedId, Peer } from '../../core/types'
import { EventSource, SnapshotSource, type Source } from '../../shell/live'
import { streamAddress } from '../sbot'
import {
  announcedAs,
  type ConnContext,
  type ConnData,
  copy,
  dbDataOf,
  type Given,
  type HubData,
  type HubEntry,
  type HubEvent,
  type HubState,
  inferType,
  merge,
  ownData,
  routesIn,
  toGiven,
} from './words'

import createDebug = require('debug')

const debug = createDebug('ssb:conn-hub')

/** Of an address that a stream gives itself; as of the addresses that can be dialed. */
const MAX_ADDRESS = 1024

export interface ConnHub {
  /** As it is now; what happens meanwhile does not disturb the reader. */
  entries(): IterableIterator<HubEntry>
  /** All entries, now and after each change. */
  liveEntries(): Source<HubEntry[]>
  get(address: string): HubData | undefined
  getState(address: string): HubState | undefined
  /** Says more of a connection; false if there is none of this address. */
  update(address: string, data: ConnData | ((previous: HubData) => ConnData)): boolean
  /** Events as they happen, each once; no replay. */
  listen(): Source<HubEvent>
  connect(address: string, data?: ConnData | null): Promise<unknown>
  disconnect(address: string): Promise<boolean>
  /** Hangs up on everybody but our own clients. */
  reset(): void
}

/** A dial or a connection as it is told. */
interface Shown {
  readonly address: Address
  readonly state: HubState
  /** Null of dials, and of connections that the manager was only told of. */
  readonly rpc: unknown
}

/** What is kept beside the state, of peers in connection. */
interface Remark {
  readonly birth: EpochMs
  readonly updatedAt: EpochMs
  /** Of `connect` and `update`. */
  readonly data: ConnData | null
}

/** What changes peers all the time and nothing that is shown here. */
const UNSEEN: ReadonlySet<Action['type']> = new Set<Action['type']>([
  'connection/caughtUp',
  'connection/transferred',
  'routes/deferred',
])

export function createHub(
  { manager, clock, isOver }: ConnContext,
  given: {
    readonly connect: (address: unknown, data?: unknown) => Promise<unknown>
    readonly disconnect: (address: unknown) => Promise<boolean>
    /** What is known of an address as a staged one. */
    readonly stagedData: (address: Address) => ConnData | undefined
  },
) {
  const { internal } = manager
  const { store } = internal
  const told = new Map<FeedId, readonly Shown[]>()
  const remarks = new Map<FeedId, Remark>()
  const events = new EventSource<HubEvent>((event) => event.key)
  const snapshots = new SnapshotSource<HubEntry[]>((fn) => clock.defer(fn))

  // ---- entries ------------------------------------------------------------------------------------------------------

  const shownOf = (state: State, peer: Peer | undefined): readonly Shown[] => {
    if (!peer) return []
    const { connection } = peer
    switch (connection.status) {
      case 'idle': {
        // What a user has just asked for, as the dial begins when this turn is over.
        const { address = null, tried = [] } = state.requests.get(peer.id) ?? {}
        const isNext = address !== null && !tried.includes(address) && state.routes.has(address)
        return isNext ? [{ address, state: 'connecting', rpc: null }] : []
      }
      case 'dialing':
        return connection.attempts.map(({ address }) => ({ address, state: 'connecting', rpc: null }))
      case 'connected':
      case 'closing': {
        const isEnding = connection.status === 'closing' || connection.closeReason !== null
        const rpc = internal.connectionOf(peer.id)
        // Refused as it came (banned, too many inbound): it never was one.
        if (isEnding && !told.get(peer.id)?.some((each) => isLive(each) && each.rpc === rpc)) return []
        const address = connection.address ?? addressOfStream(peer.id, rpc)
        return [{ address, state: isEnding ? 'disconnecting' : 'connected', rpc }]
      }
    }
  }

  const dataOf = (state: State, peer: Peer, shown: Shown, isLocal: boolean): HubData => {
    const remark = remarks.get(peer.id)
    const route = state.routes.get(shown.address)
    const data: HubData = {
      ...(route && announcedAs(state, route)),
      ...(route && (route.isStored ? dbDataOf(route, peer) : ownData(route))),
      ...given.stagedData(shown.address),
      ...(remark?.data && copy(remark.data)),
      key: peer.id,
      state: shown.state,
      hubBirth: remark?.birth ?? clock.now(),
      hubUpdated: remark?.updatedAt ?? clock.now(),
    }
    if (!isLive(shown)) return data
    const inferredType = data.type === undefined ? inferType(shown.address, shown.rpc) : undefined
    if (inferredType) data.inferredType = inferredType
    if (isLocal)
      data.disconnect = (cb) => {
        given.disconnect(shown.address).then(
          () => cb?.(),
          (error) => cb?.(error),
        )
      }
    return data
  }

  /** Of all peers that are not idle, and of those that are about to be dialed, in the order in which they became so. */
  const all = (isLocal: boolean): HubEntry[] => {
    const state = store.getState()
    const ids = new Set(told.keys())
    // Asked by who hears of things before us.
    for (const peer of state.active.keysArray()) ids.add(peer.id)
    for (const id of state.requests.keysArray()) ids.add(id)
    const entries: HubEntry[] = []
    for (const id of ids) {
      const peer = state.peers.get(id)
      if (!peer) continue
      for (const shown of shownOf(state, peer)) entries.push([shown.address, dataOf(state, peer, shown, isLocal)])
    }
    return entries
  }

  const find = (address: unknown): { readonly peer: Peer; readonly shown: Shown } | null => {
    const state = store.getState()
    const routes = routesIn(address)
    const isMeant = (shown: Shown): boolean =>
      shown.address === address || routes.some((route) => isSameAddress(route.address, shown.address))
    // An address that nobody could dial has no key that could be looked up.
    const peers = routes[0] ? [state.peers.get(routes[0].peer)] : state.active.keysArray()
    for (const peer of peers) {
      const shown = shownOf(state, peer).find(isMeant)
      if (peer && shown) return { peer, shown }
    }
    return null
  }

  // ---- events -------------------------------------------------------------------------------------------------------

  const queue: HubEvent[] = []
  let isTelling = false

  /** A listener may hang up or dial: what follows from that is told after what is being told. */
  const tell = (more: readonly HubEvent[]): void => {
    if (events.size > 0) queue.push(...more)
    if (isTelling) return
    isTelling = true
    try {
      for (let event = queue.shift(); event; event = queue.shift()) events.push(event)
    } finally {
      isTelling = false
    }
  }

  const followPeer = (id: FeedId, action: Action, before: State, after: State): readonly HubEvent[] => {
    const was = told.get(id) ?? []
    const is = shownOf(after, after.peers.get(id))
    if (was.length === 0 && is.length === 0) {
      if (!after.requests.has(id)) remarks.delete(id)
      return []
    }
    if (is.length > 0) told.set(id, is)
    else told.delete(id)
    const ends: HubEvent[] = []
    const starts: HubEvent[] = []
    const direction = (): boolean => {
      const connection = after.peers.get(id)?.connection
      return connection?.status === 'connected' && connection.direction === 'outbound'
    }
    for (const shown of was) {
      const next = is.find((each) => isContinuedBy(shown, each))
      if (next) {
        if (shown.state === 'connected' && next.state === 'disconnecting')
          ends.push({ type: 'disconnecting', address: shown.address, key: id })
      } else if (isLive(shown)) {
        ends.push({ type: 'disconnected', address: shown.address, key: id })
      } else {
        const details = whyFailed(action, id, shown.address, before)
        ends.push({ type: 'connecting-failed', address: shown.address, key: id, details })
      }
    }
    for (const shown of is) {
      const previous = was.find((each) => isContinuedBy(each, shown))
      if (previous?.state === shown.state) continue
      const { address, state, rpc } = shown
      if (state === 'connecting') starts.push({ type: 'connecting', address, key: id })
      if (state === 'connected')
        starts.push({ type: 'connected', address, key: id, details: { rpc, isClient: direction() } })
    }
    const hasChanged = ends.length + starts.length > 0
    if (is.length > 0 && hasChanged) {
      const known = remarks.get(id)
      const birth = was.length > 0 && known ? known.birth : action.at
      remarks.set(id, { birth, updatedAt: action.at, data: known?.data ?? null })
    }
    if (is.length === 0 && !after.requests.has(id)) remarks.delete(id)
    return [...ends, ...starts]
  }

  const follow = (action: Action, before: State, after: State): void => {
    if (UNSEEN.has(action.type)) return
    const news: HubEvent[] = []
    let isSeen = false
    for (const id of after.changedPeers) {
      const wasSeen = told.has(id)
      news.push(...followPeer(id, action, before, after))
      isSeen = isSeen || wasSeen || told.has(id)
    }
    if (isSeen) snapshots.changed()
    tell(news)
  }

  // What is there when the facade comes is not told, and its end is.
  for (const peer of store.getState().active.keysArray()) {
    const { connection } = peer
    if (connection.status === 'connected' && connection.closeReason === null) {
      told.set(peer.id, shownOf(store.getState(), peer))
      remarks.set(peer.id, { birth: connection.since, updatedAt: connection.since, data: null })
    }
  }

  // ---- what the other parts need ------------------------------------------------------------------------------------

  /** What `connect` was told of a peer that is about to be dialed. */
  const expect = (id: FeedId, { data }: Given): void => {
    const state = store.getState()
    if (Object.keys(data).length === 0 || shownOf(state, state.peers.get(id)).length > 0) return
    remarks.set(id, { birth: clock.now(), updatedAt: clock.now(), data })
  }

  /** After `connect` has asked: of a peer that cannot be dialed nothing is kept. */
  const settle = (id: FeedId): void => {
    const state = store.getState()
    if (!state.requests.has(id) && shownOf(state, state.peers.get(id)).length === 0) remarks.delete(id)
  }

  const hub: ConnHub = {
    entries: () => all(true).values(),
    liveEntries: () => snapshots.open(() => all(true)),
    get: (address) => {
      const found = find(address)
      return found ? dataOf(store.getState(), found.peer, found.shown, true) : undefined
    },
    getState: (address) => find(address)?.shown.state,
    update: (address, x) => {
      const found = find(address)
      if (!found || isOver()) return false
      const { peer, shown } = found
      const known = remarks.get(peer.id)
      const said = typeof x === 'function' ? x(dataOf(store.getState(), peer, shown, true)) : x
      try {
        const data = merge(known?.data ?? null, toGiven(said))
        const at = clock.now()
        remarks.set(peer.id, { birth: known?.birth ?? at, updatedAt: at, data })
      } catch (error) {
        // Rooms say what their name is, and callers hand it on: too long a name is no reason to end their streams.
        debug('update of %s: %s', address, error)
        return false
      }
      snapshots.changed()
      return true
    },
    listen: () => events.open(),
    connect: (address, data) => given.connect(address, data),
    disconnect: (address) => given.disconnect(address),
    reset: () => {
      if (isOver()) return
      for (const { id, connection } of store.getState().active.keysArray())
        if (connection.status === 'connected')
          store.dispatch({ type: 'connection/closeRequested', at: clock.now(), peer: id, reason: 'disconnected' })
    },
  }

  return {
    hub,
    /** The peer that has this very address in connection, or null. */
    peerAt: (address: unknown): FeedId | null => find(address)?.peer.id ?? null,
    /** As `liveEntries`, without what does not survive the wire. */
    plainEntries: (): Source<HubEntry[]> => snapshots.open(() => all(false)),
    expect,
    settle,
    follow,
    close: (): void => {
      events.close()
      snapshots.close()
      told.clear()
      remarks.clear()
    },
  }
}

function isLive({ state }: Shown): boolean {
  return state !== 'connecting'
}

/** Whether the one has become the other. Else it has ended, and the other has taken its place, maybe at the same address. */
function isContinuedBy(was: Shown, is: Shown): boolean {
  if (was.address !== is.address) return false
  if (!isLive(was)) return true
  return was.rpc === is.rpc && (was.state === 'connected' ? isLive(is) : is.state === 'disconnecting')
}

/** Streams spell their own addresses as they like, so both are read before they are compared. */
function isSameAddress(canonical: Address, shown: Address): boolean {
  return canonical === shown || routesIn(shown).some((route) => route.address === canonical)
}

/** Where a peer calls from. A stream that does not say so, or names somebody else, is called by the peer's key. */
function addressOfStream(id: FeedId, rpc: unknown): Address {
  const key = id.slice(1, id.lastIndexOf('.'))
  const address = streamAddress(rpc)
  return address !== undefined && address.length <= MAX_ADDRESS && address.includes(key)
    ? address
    : `inbound~shs:${key}`
}

function whyFailed(action: Action, id: FeedId, address: Address, before: State): Error {
  switch (action.type) {
    case 'dial/failed':
      if (action.peer !== id || action.address !== address) break
      return Object.assign(
        new Error(action.error.message),
        action.error.code === null ? {} : { code: action.error.code },
      )
    case 'connection/opened':
      return abandoned(
        action.direction === 'outbound'
          ? `another address of this peer was faster: ${action.address ?? 'dialed by another module'}`
          : 'the peer has called us meanwhile',
      )
    case 'connections/stopped':
      return abandoned('conn was stopped')
    case 'peer/prioritised':
      return abandoned('the peer was banned')
    case 'route/removed':
      return abandoned('the address was removed')
    case 'connection/requested':
    case 'dial/started':
      return abandoned('another address of this peer is dialed first')
    case 'connection/closeRequested':
    case 'connection/requestDropped':
    case 'peer/held':
      return abandoned('cut short by disconnect')
  }
  const peer = before.peers.get(id)
  return abandoned(peer?.priority === 'BANNED' ? 'the peer is banned' : 'the attempt was given up')
}

function abandoned(message: string): Error {
  return Object.assign(new Error(`the dial has ended: ${message}`), { code: 'ERR_DIAL_ABANDONED' })
}
