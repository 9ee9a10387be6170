/**
 * `conn.staging()`: addresses that can be dialed now. These are the routes of the manager that somebody announces (a beacon, a
 * room, `stage`) and those that are left to the user (`autoconnect: false`), of peers that have no connection.
 */
import type { Action } from '../../core/actions'
import { parseAddress, withoutSeed } from '../../core/address'
import { InvalidArgumentError } from '../../core/errors'
import type { State } from '../../core/table'
import type { Address, EpochMs, Peer, Route, RouteData } from '../../core/types'
import { EventSource, SnapshotSource, type Source } from '../../shell/live'
import {
  announcedAs,
  autoconnectOf,
  type ConnContext,
  type ConnData,
  copy,
  dbDataOf,
  type Given,
  merge,
  ownData,
  routesIn,
  type StagedData,
  type StagedEntry,
  type StagingEvent,
  sourceOf,
  toGiven,
} from './words'

import createDebug = require('debug')

const debug = createDebug('ssb:conn-staging')

export interface ConnStaging {
  get(address: string): StagedData | undefined
  /** All, each as it is when it is reached; entries may be staged and unstaged on the way. */
  entries(): IterableIterator<StagedEntry>
  /** Announces an address; true when it is new. False for a peer in connection, and for what is only said again. */
  stage(address: string, data?: ConnData): boolean
  /** Withdraws what was announced; false if nothing was. */
  unstage(address: string): boolean
  /** All entries, now and after each change. */
  liveEntries(): Source<StagedEntry[]>
  /** Events as they happen; no replay. */
  listen(): Source<StagingEvent>
}

/** What is kept beside a route that is staged, or will be when its connection ends. */
interface Note {
  readonly birth: EpochMs
  readonly updatedAt: EpochMs
  /** Of `stage`. */
  readonly data: ConnData | null
}

export function createStaging({ manager, clock, isOver }: ConnContext) {
  const { internal } = manager
  const { store } = internal
  /** Of each route that is announced or left to the user, and of no other: the list of what can be staged. */
  const notes = new Map<Address, Note>()
  const events = new EventSource<StagingEvent>((event) => event.address)
  const snapshots = new SnapshotSource<StagedEntry[]>((fn) => clock.defer(fn))

  const staged = (address: Address): StagedEntry | null => {
    const state = store.getState()
    const route = state.routes.get(address)
    const peer = route && state.peers.get(route.peer)
    if (!route || !peer || !isOffered(route) || isInConnection(state, peer)) return null
    const note = notes.get(address)
    const data: StagedData = {
      ...(route.isStored ? dbDataOf(route, peer) : ownData(route)),
      ...(note?.data && copy(note.data)),
      key: route.peer,
      stagingBirth: note?.birth ?? route.addedAt,
      stagingUpdated: note?.updatedAt ?? route.addedAt,
    }
    return [address, { ...announcedAs(state, route), ...data }]
  }

  function* entries(): IterableIterator<StagedEntry> {
    for (const address of [...notes.keys()]) {
      const entry = staged(address)
      if (entry) yield entry
    }
  }

  // ---- following ----------------------------------------------------------------------------------------------------

  const note = (address: Address, birth: EpochMs, updatedAt: EpochMs): void => {
    const known = notes.get(address)
    notes.set(address, { birth: known?.birth ?? birth, updatedAt, data: known?.data ?? null })
  }

  const follow = (action: Action, before: State, after: State): void => {
    if (action.type === 'routes/deferred' || action.type === 'connection/transferred') return
    const news: StagingEvent[] = []
    let isSeen = false
    for (const id of after.changedPeers) {
      const was = before.peers.get(id)
      const is = after.peers.get(id)
      for (const address of new Set([...(was?.routes ?? []), ...(is?.routes ?? [])])) {
        const old = before.routes.get(address)
        const route = after.routes.get(address)
        if (!route || !isOffered(route)) notes.delete(address)
        else if (!notes.has(address)) note(address, action.at, action.at)
        const wasStaged = old !== undefined && isOffered(old) && was !== undefined && !isInConnection(before, was)
        const isStaged = route !== undefined && isOffered(route) && is !== undefined && !isInConnection(after, is)
        if (wasStaged !== isStaged) news.push({ type: isStaged ? 'staged' : 'unstaged', address })
        isSeen = isSeen || wasStaged !== isStaged || (isStaged && old !== route)
      }
    }
    if (action.type === 'routes/added')
      for (const { route } of action.reports) if (notes.has(route.address)) note(route.address, action.at, action.at)
    if (isSeen) snapshots.changed()
    if (events.size > 0) for (const each of news) events.push(each)
  }

  for (const route of store.getState().routes.values())
    if (isOffered(route)) note(route.address, route.addedAt, route.addedAt)

  // ---- the API ------------------------------------------------------------------------------------------------------

  const stage = (address: unknown, data: unknown = { type: 'internet' }): boolean => {
    const routes = parseAddress(address).map(withoutSeed)
    if (isOver()) return false
    const state = store.getState()
    const peer = state.peers.get(routes[0]?.peer ?? '')
    if (peer && isInConnection(state, peer)) return false
    let said: Given
    try {
      said = toGiven(data)
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error
      // What is staged was said by rooms and neighbours: what they say too much of is not handed on, and harms nobody.
      debug('stage of %s: %s', address, error)
      return false
    }
    const isLocal = said.data.type === 'lan'
    const source = sourceOf(said.data, 'staged')
    let isNew = false
    for (const route of routes) {
      const isKnown = staged(route.address) !== null
      const kept = notes.get(route.address)
      const now = clock.now()
      // First, so that it is there when the route is told of.
      notes.set(route.address, { birth: kept?.birth ?? now, updatedAt: now, data: mergeNote(kept, said) })
      internal.report([{ route, isLocal, source, standing: 'announced' }])
      const added = store.getState().routes.get(route.address)
      if (!added || !isOffered(added)) {
        notes.delete(route.address)
        continue
      }
      const isAutomatic = autoconnectOf(said)
      // Of what is remembered, the word of whoever remembered it counts.
      if (isAutomatic !== undefined && !added.isStored && added.isAutomatic !== isAutomatic)
        internal.annotate(route.address, added.data, isAutomatic)
      isNew = isNew || !isKnown
    }
    snapshots.changed()
    return isNew
  }

  const unstage = (address: unknown): boolean => {
    let isKnown = false
    for (const { address: each } of isOver() ? [] : routesIn(address))
      if (store.getState().routes.get(each)?.isAnnounced)
        isKnown = manager.peer.withdrawRoute({ address: each }) || isKnown
    return isKnown
  }

  const staging: ConnStaging = {
    get: (address) => {
      for (const route of routesIn(address)) {
        const entry = staged(route.address)
        if (entry) return entry[1]
      }
      return undefined
    },
    entries: () => entries(),
    stage,
    unstage,
    liveEntries: () => snapshots.open(() => [...entries()]),
    listen: () => events.open(),
  }

  return {
    staging,
    /** What was announced of an address, whether it is in connection now or not. */
    dataOf: (address: Address): RouteData | undefined => {
      const known = notes.get(address)
      if (!known || !store.getState().routes.get(address)?.isAnnounced) return undefined
      return { ...(known.data && copy(known.data)), stagingBirth: known.birth, stagingUpdated: known.updatedAt }
    },
    follow,
    close: (): void => {
      events.close()
      snapshots.close()
    },
  }
}

/** Announced, or left to the user. */
function isOffered(route: Route): boolean {
  return route.isAnnounced || route.isLocal || (route.isStored && !route.isAutomatic)
}

/** Dialed or connected, or about to be. */
function isInConnection(state: State, peer: Peer): boolean {
  return peer.connection.status !== 'idle' || state.requests.has(peer.id)
}

/** What was staged before, unless both together are too much. */
function mergeNote(known: Note | undefined, said: Given): ConnData {
  try {
    return merge(known?.data ?? null, said)
  } catch {
    return said.data
  }
}
