/**
 * `conn.db()`: what is remembered of addresses. These are the stored routes of the manager, whoever stored them; what ssb-conn
 * kept in conn.json beside the address is the `data` of the route.
 */
import type { Action } from '../../core/actions'
import { parseAddress, parseFeedId, withoutSeed } from '../../core/address'
import { InvalidArgumentError } from '../../core/errors'
import { routesOfPeer } from '../../core/plan'
import { compareRoutesOfPeer } from '../../core/rank'
import { isSameStats } from '../../core/stats'
import type { State } from '../../core/table'
import type { Address, FeedId, ParsedRoute, Route, RouteData } from '../../core/types'
import { EventSource, type Source } from '../../shell/live'
import {
  autoconnectOf,
  type ConnContext,
  type ConnData,
  type DbData,
  type DbEntry,
  type DbEvent,
  dbDataOf,
  type Given,
  KEPT_UP,
  merge,
  routesIn,
  sourceOf,
  toGiven,
} from './words'

import createDebug = require('debug')

const debug = createDebug('ssb:conn-db')

export interface ConnDB {
  get(address: string): DbData | undefined
  has(address: string): boolean
  /** All, each as it is when it is reached; entries may be written and deleted on the way. */
  entries(): IterableIterator<DbEntry>
  /** Writes these fields over what is there. Throws InvalidAddressError or InvalidArgumentError. */
  set(address: string, data: ConnData): ConnDB
  /** Writes these fields instead of what is there, but for the birth. */
  replace(address: string, data: ConnData): ConnDB
  /** As `set` for what is there already; nothing otherwise. */
  update(address: string, data: ConnData | ((previous: DbData) => ConnData)): ConnDB
  /** True if there was anything. */
  delete(address: string): boolean
  /** The best address of a feed id. */
  getAddressForId(id: string): Address | undefined
  /** Resolves when the table has been read. */
  loaded(): Promise<true>
  /** Events as they happen; what is read from the disk is none. */
  listen(): Source<DbEvent>
}

/** The source of what was found in messages: whoever wrote that it is a room, nobody asked us to keep it up. */
const STRANGER = 'pub'

export function createDb({ manager, clock, isOver }: ConnContext, whenLoaded: Promise<true>) {
  const { internal } = manager
  const { store } = internal
  const events = new EventSource<DbEvent>((event) => event.address)

  const stored = (address: Address): Route | undefined => {
    const route = store.getState().routes.get(address)
    return route?.isStored ? route : undefined
  }

  const view = (route: Route): DbData => dbDataOf(route, store.getState().peers.get(route.peer))

  // ---- rooms --------------------------------------------------------------------------------------------------------

  /** Whether the connection of a peer is kept up on account of one of its addresses other than this one. */
  const isKeptUpBy = (id: FeedId, except: Address): boolean => {
    const state = store.getState()
    const peer = state.peers.get(id)
    return peer !== undefined && routesOfPeer(state, peer).some((each) => each.address !== except && isKeptUp(each))
  }

  /**
   * A room is kept connected, as tunnels depend on it: by the mark in its data it is known later that this was our doing, and
   * not the user's. Returns the data with the mark as it has to be.
   */
  const keepUpRooms = (route: Route, data: RouteData, isAutomatic: boolean): RouteData => {
    const isWanted = data.type === 'room' && isAutomatic && route.source !== STRANGER
    const { [KEPT_UP]: mark, ...rest } = data
    if (isWanted && mark === undefined) {
      const isOurs = !store.getState().peers.get(route.peer)?.isLongTerm || isKeptUpBy(route.peer, route.address)
      if (isOurs) manager.peer.setLongTerm({ id: route.peer, isLongTerm: true })
      return { ...rest, [KEPT_UP]: isOurs }
    }
    if (isWanted) return data
    if (mark === true && !isKeptUpBy(route.peer, route.address))
      manager.peer.setLongTerm({ id: route.peer, isLongTerm: false })
    return rest
  }

  const annotate = (address: Address, data: RouteData, isAutomatic: boolean): void => {
    const route = stored(address)
    if (!route) return
    const marked = keepUpRooms(route, data, isAutomatic)
    internal.annotate(address, Object.keys(marked).length > 0 ? marked : null, isAutomatic)
  }

  // ---- writing ------------------------------------------------------------------------------------------------------

  const insert = (route: ParsedRoute, data: RouteData): void => {
    const known = store.getState().routes.get(route.address)
    // Told again where nobody but a stranger vouches for it; not for each write, as hearing of a peer lifts its pause.
    if (known?.isStored && known.source !== 'pub' && known.source !== 'stored') return
    const source = sourceOf(data, 'manual')
    internal.report([{ route, isLocal: false, source, standing: 'stored', priority: 'MEDIUM' }])
  }

  const write = (address: unknown, data: unknown, isWhole: boolean): void => {
    const routes = parseAddress(address).map(withoutSeed)
    const said = toGiven(data)
    // Checked for all of them before anything is written.
    const writes = routes.map((route) => ({ route, data: merge(present(route.address, isWhole), said) }))
    for (const each of writes) {
      insert(each.route, each.data)
      const route = stored(each.route.address)
      // Ourselves, or there is no room.
      if (!route) continue
      const isAutomatic = autoconnectOf(said) ?? (isWhole || route.isAutomatic)
      annotate(route.address, withoutDoubles(route, each.data), isAutomatic)
    }
  }

  /** What is written over. */
  const present = (address: Address, isWhole: boolean): RouteData | null => {
    const data = store.getState().routes.get(address)?.data ?? null
    if (!isWhole || data === null) return data
    return Object.fromEntries(Object.entries(data).filter(([name]) => name === 'birth' || name === KEPT_UP))
  }

  const forget = (address: unknown): boolean => {
    let isKnown = false
    for (const route of routesIn(address)) {
      const known = stored(route.address)
      if (!known || isOver()) continue
      isKnown = true
      if (isKeptUp(known)) keepUpRooms(known, { [KEPT_UP]: true }, false)
      internal.forget(route.address)
      // Where somebody announces it, or it is in use, it stays, without what was remembered of it.
      internal.annotate(route.address, null, true)
    }
    return isKnown
  }

  // ---- what happens to routes ---------------------------------------------------------------------------------------

  /** What is read from the disk after somebody has remembered the same address: the newer word goes over the older. */
  const followLoad = (action: Extract<Action, { type: 'table/loaded' }>, before: State): void => {
    const known = new Set(action.routes.map(({ route }) => route.address).filter((each) => before.routes.has(each)))
    clock.defer(() => {
      if (isOver()) return
      for (const { route, data, isAutomatic = true } of action.routes) {
        const now = stored(route.address)
        if (!now) continue
        const isSaid = now.data?.autoconnect !== undefined || !now.isAutomatic
        if (known.has(route.address) && (data || !isAutomatic))
          annotate(route.address, { ...data, ...now.data }, isSaid ? now.isAutomatic : isAutomatic)
        else if (isUnmarkedRoom(now)) annotate(route.address, now.data ?? {}, now.isAutomatic)
      }
    })
  }

  const follow = (action: Action, before: State, after: State): void => {
    if (action.type === 'table/loaded') return followLoad(action, before)
    if (events.size === 0 || action.type === 'routes/deferred') return
    const news: DbEvent[] = []
    for (const id of after.changedPeers) {
      const addresses = new Set([...(before.peers.get(id)?.routes ?? []), ...(after.peers.get(id)?.routes ?? [])])
      for (const address of addresses) {
        const was = before.routes.get(address)
        const is = after.routes.get(address)
        if (was === is) continue
        if (is?.isStored && !was?.isStored) news.push({ type: 'insert', address })
        else if (was?.isStored && !is?.isStored) news.push({ type: 'delete', address })
        else if (was?.isStored && is?.isStored && hasNews(was, is)) news.push({ type: 'update', address })
      }
    }
    for (const each of news) events.push(each)
  }

  /** What was there before the facade. */
  const adoptRooms = (): void => {
    for (const route of store.getState().routes.valuesArray())
      if (route.isStored && isUnmarkedRoom(route)) annotate(route.address, route.data ?? {}, route.isAutomatic)
  }

  const db: ConnDB = {
    get: (address) => {
      for (const route of routesIn(address)) {
        const known = stored(route.address)
        if (known) return view(known)
      }
      return undefined
    },
    has: (address) => routesIn(address).some((route) => stored(route.address) !== undefined),
    entries: () => entries(),
    set: (address, data) => {
      if (!isOver()) write(address, data, false)
      return db
    },
    replace: (address, data) => {
      if (!isOver()) write(address, data, true)
      return db
    },
    update: (address, x) => {
      if ((typeof x !== 'object' && typeof x !== 'function') || x === null)
        throw new InvalidArgumentError('update', 'an object or a function', x)
      for (const { address: each } of isOver() ? [] : routesIn(address)) {
        const route = stored(each)
        if (route) updateRoute(route, x)
      }
      return db
    },
    delete: (address) => forget(address),
    getAddressForId: (id) => {
      const state = store.getState()
      const peer = state.peers.get(parseFeedId(id) ?? '')
      const routes = peer ? routesOfPeer(state, peer).filter((route) => route.isStored) : []
      return routes.sort(compareRoutesOfPeer)[0]?.address
    },
    loaded: () => whenLoaded,
    listen: () => events.open(),
  }

  const updateRoute = (route: Route, x: ConnData | ((previous: DbData) => ConnData)): void => {
    let said: Given
    let data: RouteData
    try {
      said = toGiven(typeof x === 'function' ? x(view(route)) : x)
      data = merge(route.data, said)
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error
      // Rooms say what their name is, and callers hand it on: too long a name is no reason to end their streams.
      debug('update of %s: %s', route.address, error)
      return
    }
    annotate(route.address, withoutDoubles(route, data), autoconnectOf(said) ?? route.isAutomatic)
  }

  function* entries(): IterableIterator<DbEntry> {
    for (const address of store.getState().routes.keysArray()) {
      const route = stored(address)
      if (route) yield [address, view(route)]
    }
  }

  return { db, forget, adoptRooms, follow, close: (): void => events.close() }
}

/** Without what the route says as well. The earliest birth is kept. */
function withoutDoubles(route: Route, data: RouteData): RouteData {
  const { birth, source, autoconnect, ...rest } = data
  const kept: Record<string, unknown> = { ...rest }
  const known = route.data?.birth
  const births = [birth, known].filter((each): each is number => typeof each === 'number' && each > 0)
  const earliest = Math.min(...births, route.addedAt)
  if (earliest < route.addedAt) kept.birth = earliest
  if (source !== undefined && source !== route.source) kept.source = source
  if (autoconnect !== undefined) kept.autoconnect = !(autoconnect === false || autoconnect === 'false')
  return kept
}

function isKeptUp(route: Route): boolean {
  return route.isStored && route.data?.[KEPT_UP] === true
}

/** A room that was stored by another version, or by ssb-conn. */
function isUnmarkedRoom(route: Route): boolean {
  return (
    route.data?.type === 'room' && route.isAutomatic && route.source !== STRANGER && route.data[KEPT_UP] === undefined
  )
}

function hasNews(was: Route, is: Route): boolean {
  return (
    was.data !== is.data ||
    was.isAutomatic !== is.isAutomatic ||
    was.source !== is.source ||
    was.errorCount !== is.errorCount ||
    was.lastErrorTime !== is.lastErrorTime ||
    was.lastConnectionTime !== is.lastConnectionTime ||
    !isSameStats(was.duration, is.duration)
  )
}
