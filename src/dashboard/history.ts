/**
 * The connections and failed dials of the last day, for the timeline. It listens to the store as long as the page is served,
 * whether anybody looks or not: one small record for each connection or failed dial, one for a round trip now and then, and no
 * timer. What is too old goes when something new comes, and is not shown meanwhile.
 */
import type { Action } from '../core/actions'
import type { State } from '../core/table'
import type { Address, Connection, EpochMs, FeedId } from '../core/types'
import type { Store } from '../shell/store'
import type { HistoryEntry } from './protocol'
import { MAX_ERROR, plainText } from './text'

export const HISTORY_MS = 24 * 60 * 60_000
export const MAX_HISTORY = 20_000
/** Of one connection. The manager pings every few minutes and keeps the mean; this is for a small plot. */
const RTT_EVERY_MS = 5 * 60_000

type Past<T> = { -readonly [K in keyof T]: T[K] }
type ConnectionEntry = Past<Extract<HistoryEntry, { kind: 'connection' }>>

export interface History {
  /** Since when it reaches back. */
  readonly since: () => EpochMs
  /** Those that have ended, oldest first, then those that last. Read in slices: `at` is where to go on. */
  readonly read: (
    at: number,
    count: number,
  ) => { readonly entries: readonly HistoryEntry[]; readonly next: number | null }
  /** Hears of what is new or has ended; at most one, as it is for whoever serves all readers. */
  onEntry: ((entry: HistoryEntry) => void) | null
  readonly size: () => number
  readonly stop: () => void
}

export function startHistory({ store, now }: { readonly store: Store; readonly now: () => EpochMs }): History {
  const startedAt = now()
  /** Ended, in the order of their ends; what lies before `first` is gone. */
  let past: HistoryEntry[] = []
  let first = 0
  /** Entries that were dropped from the front so far, so that a reader in between finds his place. */
  let dropped = 0
  const open = new Map<FeedId, ConnectionEntry>()
  const lastRttAt = new Map<FeedId, EpochMs>()
  let isTooMany = false

  const endOf = (entry: HistoryEntry): EpochMs => (entry.kind === 'rtt' ? entry.at : (entry.to ?? entry.from))

  const drop = (): void => {
    const oldest = now() - HISTORY_MS
    for (;;) {
      const entry = past[first]
      if (!entry || (past.length - first <= MAX_HISTORY && endOf(entry) >= oldest)) break
      if (endOf(entry) >= oldest) isTooMany = true
      first++
      dropped++
    }
    // Moved up now and then: each time would be O(n) for each entry.
    if (first <= 1_000 || first <= past.length / 4) return
    past = past.slice(first)
    first = 0
  }

  const tell = (entry: HistoryEntry): void => history.onEntry?.(entry)

  const keep = (entry: HistoryEntry): void => {
    past.push(entry)
    drop()
    tell(entry)
  }

  const begin = (peer: FeedId, connection: Connection): void => {
    if (connection.status !== 'connected' && connection.status !== 'closing') return
    const entry: ConnectionEntry = {
      kind: 'connection',
      peer,
      address: connection.address,
      direction: connection.direction,
      class: connection.class,
      from: connection.status === 'closing' ? connection.connectedSince : connection.since,
      to: null,
      why: connection.cause,
      ended: null,
    }
    open.set(peer, entry)
    tell(entry)
  }

  const end = (peer: FeedId, at: EpochMs, ended: string | null): void => {
    const entry = open.get(peer)
    if (!entry) return
    open.delete(peer)
    lastRttAt.delete(peer)
    entry.to = at
    entry.ended = ended
    keep(entry)
  }

  const failed = (action: Extract<Action, { type: 'dial/failed' }>, before: State): void => {
    const { peer, address, at, error } = action
    const connection = before.peers.get(peer)?.connection
    const attempt =
      connection?.status === 'dialing' ? connection.attempts.find(({ id }) => id === action.attempt) : undefined
    // It had lost its race, or was given up before.
    if (!attempt) return
    keep({
      kind: 'failed',
      peer,
      address,
      class: attempt.class,
      from: attempt.startedAt,
      to: at,
      why: attempt.cause,
      error: plainText(error.code ?? error.message, MAX_ERROR) ?? 'unknown error',
    })
  }

  const listener = (action: Action, before: State, after: State): void => {
    switch (action.type) {
      case 'dial/failed':
        return failed(action, before)
      case 'connection/opened': {
        const connection = after.peers.get(action.peer)?.connection
        if (!connection || connection === before.peers.get(action.peer)?.connection) return
        // Both sides had dialed, and this is the one that both keep.
        end(action.peer, action.at, 'replaced')
        return begin(action.peer, connection)
      }
      case 'connection/closed': {
        const connection = before.peers.get(action.peer)?.connection
        if (after.peers.get(action.peer)?.connection === connection) return
        if (connection?.status === 'closing') return end(action.peer, action.at, connection.reason)
        return end(action.peer, action.at, connection?.status === 'connected' ? connection.closeReason : null)
      }
      case 'connection/pinged': {
        const entry = open.get(action.peer)
        const lastAt = lastRttAt.get(action.peer)
        if (!entry || (lastAt !== undefined && Math.abs(action.at - lastAt) < RTT_EVERY_MS)) return
        lastRttAt.set(action.peer, action.at)
        return keep({ kind: 'rtt', peer: action.peer, at: action.at, rttMs: action.rttMs })
      }
      default:
    }
  }

  const history: History = {
    since: () => {
      const oldest = past[first]
      const since = Math.max(startedAt, now() - HISTORY_MS)
      return isTooMany && oldest ? Math.max(since, endOf(oldest)) : since
    },
    read: (at, count) => {
      drop()
      const from = Math.max(first, first + at - dropped)
      const entries = past.slice(from, from + count)
      if (from + entries.length < past.length) return { entries, next: dropped + from - first + entries.length }
      // Few: as many as there are connections.
      return { entries: [...entries, ...open.values()], next: null }
    },
    onEntry: null,
    size: () => past.length - first + open.size,
    stop: () => {
      unsubscribe()
      history.onEntry = null
      past = []
      first = 0
      open.clear()
      lastRttAt.clear()
    },
  }

  for (const { id, connection } of store.getState().active.keysArray()) begin(id, connection)
  const unsubscribe = store.subscribe(listener)
  return history
}

/** Which line of the timeline an entry is: the same again for a connection that has ended meanwhile. */
export function keyOfEntry(entry: HistoryEntry): string {
  const address: Address = entry.kind === 'failed' ? entry.address : ''
  return `${entry.kind} ${entry.peer} ${entry.kind === 'rtt' ? entry.at : entry.from} ${address}`
}
