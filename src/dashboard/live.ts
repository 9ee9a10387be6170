/**
 * What the page is told, as it happens. Nothing runs while nobody looks: the first reader starts the subscriptions, the last
 * one ends them. A reader is told of a peer as it is when it is told, however often it has changed since: a slow one costs
 * memory in proportion to the number of peers, never to the number of changes, and one that does not read at all is cut.
 */
import pull = require('pull-stream')

import { methodOf } from '../adapters/members'
import type { Sbot } from '../adapters/sbot'
import { hasFriends } from '../adapters/social-graph'
import type { Finding } from '../core/diagnosis'
import { errorInfo } from '../core/errors'
import type { EpochMs, FeedId } from '../core/types'
import type { ConnectionManager, SyncProgress } from '../manager'
import type { Clock } from '../shell/clock'
import { type Freshness, hasFreshness, startFreshness } from './freshness'
import type { History } from './history'
import { type Hops, startHops } from './hops'
import type { Events, FeedRow, Hello, HistoryEntry, PeerRow, SyncState } from './protocol'
import { type Known, nameOf, peerRow } from './rows'

/** Where the events of one reader go: an HTTP response, or a test. */
export interface Sink {
  /** False: it has enough for now, and `onDrain` is called when it can take more. */
  readonly write: (chunk: string) => boolean
  onDrain: (fn: () => void) => void
  readonly end: () => void
}

export interface Live {
  /** Adds a reader, and returns what ends it; null where there are too many. `mayStay` is asked now and then. */
  readonly add: (sink: Sink, mayStay: () => boolean) => (() => void) | null
  readonly count: () => number
  /** Somebody knows names that nobody knew. */
  readonly namesChanged: () => void
  /** Tells the readers that it is over. */
  readonly close: () => void
}

export const MAX_READERS = 8
export const MAX_ROWS = 500
/** Of making one event: other work waits for no longer. */
const SLICE_MS = 4
/** At least, whatever the clock says. */
const MIN_ROWS = 20
const BATCH_MS = 250
const STATUS_MS = 1_000
const FINDINGS_MS = 3_000
/** Also tells a reader that the line is open, and us that he is there. */
const BEAT_MS = 15_000
/** Nothing was taken for this long: nobody reads. */
export const STUCK_MS = 30_000
/** What is looked at as a whole takes at most this part of the time. */
const MAX_SHARE = 1 / 50
/** Beyond, the oldest are not told: the page has them when it is loaded again. */
const MAX_WAITING_ENTRIES = 5_000
/** Over this time the rate of a sync is measured. */
const RATE_MS = 10_000

function eventText<K extends keyof Events>(name: K, data: Events[K]): string {
  // JSON has no line breaks of its own, so nothing in it can begin another event.
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`
}

export function createLive(options: {
  readonly sbot: Sbot
  readonly manager: ConnectionManager
  readonly clock: Clock
  readonly history: History
  readonly nameOf: (id: FeedId) => string | null
  readonly version: string
  readonly log: (message: string) => void
}): Live {
  const { sbot, manager, clock, history, version, log } = options
  const { store } = manager.internal
  const readers = new Set<Reader>()
  let shared: Shared | null = null

  const known: Known = {
    hopsOf: (id) => shared?.hops.of(id) ?? null,
    nameOf: options.nameOf,
  }
  const nameOfFeed = (id: FeedId): string | null => nameOf(store.getState(), id, known)

  const each = (fn: (reader: Reader) => void): void => {
    for (const reader of [...readers]) fn(reader)
  }

  // ---- what all readers share -----------------------------------------------------------------------------------------

  interface Shared {
    readonly hops: Hops
    readonly freshness: Freshness | null
    readonly status: Ticker
    readonly findings: Ticker
    readonly sync: () => string | null
    readonly stop: () => void
  }

  const start = (): Shared => {
    const status = startTicker(
      clock,
      STATUS_MS,
      () => statusText(manager, log),
      (text) => each((reader) => reader.tell('status', text)),
    )
    const findings = startTicker(
      clock,
      FINDINGS_MS,
      () => findingsText(manager),
      (text) => each((reader) => reader.tell('findings', text)),
    )
    const hops = startHops({
      sbot,
      clock,
      log,
      onChange: (id) => {
        freshness?.graphChanged()
        if (store.getState().peers.get(id)) each((reader) => reader.peerChanged(id))
      },
    })
    const freshness = hasFreshness(sbot)
      ? startFreshness({
          sbot,
          clock,
          reached: hops.reached,
          onChange: (id) => each((reader) => reader.feedChanged(id)),
          onGone: (id) => each((reader) => reader.feedChanged(id)),
        })
      : null
    const unsubscribe = store.subscribe((action, _, after) => {
      const { changedPeers } = after
      if (changedPeers.length > 0) each((reader) => reader.peersChanged(changedPeers))
      if (action.type === 'connection/pinged') return
      status.changed()
      findings.changed()
    })
    history.onEntry = (entry) => each((reader) => reader.entryChanged(entry))
    let syncText: string | null = null
    const progress = watchSync(manager, clock, (state) => {
      syncText = eventText('sync', state)
      each((reader) => reader.tell('sync', syncText as string))
    })
    let beat: unknown = null
    const onBeat = (): void => {
      beat = clock.setTimeout(onBeat, BEAT_MS)
      // Some of it changes as time goes by.
      status.changed()
      findings.changed()
      each((reader) => reader.beat())
    }
    beat = clock.setTimeout(onBeat, BEAT_MS)
    return {
      hops,
      freshness,
      status,
      findings,
      sync: () => syncText,
      stop: () => {
        clock.clearTimeout(beat)
        progress()
        history.onEntry = null
        unsubscribe()
        freshness?.stop()
        hops.stop()
        status.stop()
        findings.stop()
      },
    }
  }

  const remove = (reader: Reader): void => {
    if (!readers.delete(reader) || readers.size > 0) return
    shared?.stop()
    shared = null
  }

  // ---- one reader -----------------------------------------------------------------------------------------------------

  interface Reader {
    readonly peerChanged: (id: FeedId) => void
    readonly peersChanged: (ids: readonly FeedId[]) => void
    readonly entryChanged: (entry: HistoryEntry) => void
    readonly feedChanged: (id: FeedId) => void
    /** Of what there is one of, the newest counts. */
    readonly tell: (name: 'status' | 'findings' | 'sync', text: string) => void
    readonly beat: () => void
    readonly bye: () => void
    readonly end: () => void
  }

  /** What waits to be told, each at most once. */
  interface Waiting {
    readonly peers: Set<FeedId>
    readonly entries: Set<HistoryEntry>
    readonly feeds: Set<FeedId>
    readonly texts: Map<string, string>
  }

  const nothing = (): Waiting => ({ peers: new Set(), entries: new Set(), feeds: new Set(), texts: new Map() })
  const isNothing = ({ peers, entries, feeds, texts }: Waiting): boolean =>
    peers.size === 0 && entries.size === 0 && feeds.size === 0 && texts.size === 0

  const addReader = (sink: Sink, mayStay: () => boolean): Reader => {
    let isOver = false
    let isBlocked = false
    let timer: unknown = null
    let stuckTimer: unknown = null
    let batchAt: EpochMs = Number.NEGATIVE_INFINITY
    let isIdle = false
    /** Told of in this batch; what changes meanwhile waits for the next. */
    let batch = nothing()
    let waiting = nothing()
    const snapshot = snapshotEvents()
    let isSnapshotOver = false
    /** Peers up to here have been told of; those after it will be. Null: all. */
    let cursor: FeedId | null = ''

    const end = (): void => {
      if (isOver) return
      isOver = true
      if (timer !== null) clock.clearTimeout(timer)
      if (stuckTimer !== null) clock.clearTimeout(stuckTimer)
      batch = nothing()
      waiting = nothing()
      remove(reader)
      sink.end()
    }

    const write = (text: string): void => {
      if (isOver || sink.write(text) || isBlocked) return
      isBlocked = true
      stuckTimer = clock.setTimeout(() => {
        log('a reader of the live page does not read: cut')
        end()
      }, STUCK_MS)
    }

    sink.onDrain(() => {
      if (!isBlocked || isOver) return
      isBlocked = false
      clock.clearTimeout(stuckTimer)
      stuckTimer = null
      if (!isIdle) set(0)
    })

    const set = (ms: number): void => {
      if (timer === null && !isOver && !isBlocked) timer = clock.setTimeout(turn, ms)
    }

    /** Something may wait. At most one batch per BATCH_MS, the first at once. */
    const poke = (): void => {
      if (!isIdle || isOver) return
      isIdle = false
      const leftMs = batchAt + BATCH_MS - clock.now()
      set(leftMs > 0 && leftMs <= BATCH_MS ? leftMs : 0)
    }

    /** What is thrown in a timer would end the sbot: it ends this reader. */
    const turn = (): void => {
      timer = null
      if (isOver) return
      try {
        tellNext()
      } catch (error) {
        log(`a reader of the live page could not be told: ${errorInfo(error).message}`)
        end()
      }
    }

    /** One event, then others get their turn. */
    const tellNext = (): void => {
      if (!isSnapshotOver) {
        const { done, value } = snapshot.next()
        isSnapshotOver = done === true
        if (value !== undefined) write(value)
        return set(0)
      }
      if (isNothing(batch) && !isNothing(waiting)) {
        batchAt = clock.now()
        batch = waiting
        waiting = nothing()
      }
      const text = nextOf(batch)
      if (text !== null) write(text)
      if (!isNothing(batch)) return set(0)
      isIdle = true
      if (!isNothing(waiting)) poke()
    }

    /** Takes out of a set as much as makes one event. */
    const take = <K, R>(from: Set<K>, add: (key: K) => R | null): R[] => {
      const rows: R[] = []
      const startedAt = clock.now()
      let taken = 0
      for (const key of from) {
        from.delete(key)
        const row = add(key)
        if (row !== null) rows.push(row)
        taken++
        if (taken >= MAX_ROWS || (taken >= MIN_ROWS && clock.now() - startedAt >= SLICE_MS)) break
      }
      return rows
    }

    const nextOf = ({ peers, entries, feeds, texts }: Waiting): string | null => {
      for (const [name, text] of texts) {
        texts.delete(name)
        return text
      }
      if (peers.size > 0) {
        const state = store.getState()
        const gone: FeedId[] = []
        const rows = take(peers, (id): PeerRow | null => {
          const peer = state.peers.get(id)
          if (!peer) gone.push(id)
          return peer ? peerRow(state, peer, known) : null
        })
        return `${rows.length > 0 ? eventText('peers', rows) : ''}${gone.length > 0 ? eventText('gone', gone) : ''}`
      }
      if (entries.size > 0)
        return eventText(
          'history',
          take(entries, (entry) => entry),
        )
      if (feeds.size > 0) {
        const gone: FeedId[] = []
        const rows = take(feeds, (id): FeedRow | null => {
          const row = shared?.freshness?.rowOf(id, nameOfFeed) ?? null
          if (!row) gone.push(id)
          return row
        })
        return `${rows.length > 0 ? eventText('feeds', rows) : ''}${gone.length > 0 ? eventText('feedsGone', gone) : ''}`
      }
      return null
    }

    function* snapshotEvents(): Generator<string, undefined> {
      yield eventText('hello', hello())
      // Each of these looks at the whole table, so each has a turn of its own.
      for (const read of [shared?.status.latest, shared?.sync, shared?.findings.latest]) {
        const text = read?.() ?? null
        if (text !== null) yield text
      }
      while (cursor !== null) yield eventText('peers', peersAfter(cursor))
      for (let at: number | null = 0; at !== null; ) {
        const { entries, next } = history.read(at, MAX_ROWS)
        at = next
        for (let i = 0; i < entries.length; i += MAX_ROWS) yield eventText('history', entries.slice(i, i + MAX_ROWS))
      }
      for (const id of shared?.freshness?.rows() ?? []) waiting.feeds.add(id)
      yield eventText('synced', {})
      return undefined
    }

    const peersAfter = (last: FeedId): PeerRow[] => {
      const state = store.getState()
      const rows: PeerRow[] = []
      const startedAt = clock.now()
      cursor = null
      for (const [id, peer] of state.peers.entries(last)) {
        if (id === last) continue
        rows.push(peerRow(state, peer, known))
        if (rows.length < MAX_ROWS && (rows.length < MIN_ROWS || clock.now() - startedAt < SLICE_MS)) continue
        cursor = id
        break
      }
      return rows
    }

    /** Those that the table of the beginning has not come to need no change. */
    const isToCome = (id: FeedId): boolean => cursor !== null && id > cursor

    const reader: Reader = {
      peerChanged: (id) => {
        if (isToCome(id)) return
        waiting.peers.add(id)
        poke()
      },
      peersChanged: (ids) => {
        for (const id of ids) if (!isToCome(id)) waiting.peers.add(id)
        poke()
      },
      entryChanged: (entry) => {
        waiting.entries.add(entry)
        if (waiting.entries.size > MAX_WAITING_ENTRIES)
          for (const oldest of waiting.entries) {
            waiting.entries.delete(oldest)
            break
          }
        poke()
      },
      feedChanged: (id) => {
        waiting.feeds.add(id)
        poke()
      },
      tell: (name, text) => {
        waiting.texts.set(name, text)
        poke()
      },
      beat: () => {
        if (!mayStay()) return end()
        if (!isBlocked) write(': \n\n')
      },
      bye: () => {
        write(eventText('bye', {}))
        end()
      },
      end,
    }
    readers.add(reader)
    set(0)
    return reader
  }

  const hello = (): Hello => ({
    version,
    selfId: sbot.id,
    now: clock.now(),
    historySince: history.since(),
    has: { friends: hasFriends(sbot), replication: hasFreshness(sbot) },
  })

  return {
    add: (sink, mayStay) => {
      if (readers.size >= MAX_READERS) return null
      shared ??= start()
      return addReader(sink, mayStay).end
    },
    count: () => readers.size,
    namesChanged: () => {
      const ids = readers.size > 0 ? store.getState().peers.keysArray() : []
      each((reader) => reader.peersChanged(ids))
    },
    close: () => each((reader) => reader.bye()),
  }
}

// ---- what is looked at as a whole -------------------------------------------------------------------------------------

interface Ticker {
  /** It may be different now. */
  readonly changed: () => void
  /** As it is now; null where there is none. */
  readonly latest: () => string | null
  readonly stop: () => void
}

/**
 * Reads something now and then while it changes, and tells of it where it is different. What takes long to read is read less
 * often: `status` counts all routes.
 */
function startTicker(clock: Clock, everyMs: number, read: () => string | null, tell: (text: string) => void): Ticker {
  let timer: unknown = null
  let last: string | null = null
  let pauseMs = everyMs
  let readAt = Number.NEGATIVE_INFINITY

  const look = (): string | null => {
    const startedAt = clock.now()
    const text = read()
    readAt = clock.now()
    pauseMs = Math.max(everyMs, (readAt - startedAt) / MAX_SHARE)
    return text
  }

  return {
    changed: () => {
      if (timer !== null) return
      const leftMs = readAt + pauseMs - clock.now()
      timer = clock.setTimeout(
        () => {
          timer = null
          const text = look()
          if (text === null || text === last) return
          last = text
          tell(text)
        },
        leftMs > 0 && leftMs <= pauseMs ? leftMs : 0,
      )
    },
    latest: () => {
      const text = look()
      if (text !== null && text !== last) {
        last = text
        // The others are still where they were.
        tell(text)
      }
      return text
    },
    stop: () => {
      if (timer !== null) clock.clearTimeout(timer)
      timer = null
    },
  }
}

/** As it is read in a timer, nothing is thrown. */
function statusText(manager: ConnectionManager, log: (message: string) => void): string | null {
  try {
    return eventText('status', manager.connections.status())
  } catch (error) {
    log(`the status could not be told: ${errorInfo(error).message}`)
    return null
  }
}

function findingsText(manager: ConnectionManager): string | null {
  try {
    const found = methodOf(manager, 'connections', 'diagnose')?.()
    return Array.isArray(found) ? eventText('findings', found as readonly Finding[]) : null
  } catch {
    return null
  }
}

/** Follows the progress of an initial sync, with its rate and what is left by it. */
function watchSync(manager: ConnectionManager, clock: Clock, tell: (state: SyncState) => void): () => void {
  let samples: { readonly at: EpochMs; readonly have: number }[] = []
  let before: SyncProgress | null = null
  const sink = pull.drain<SyncProgress>(
    (progress) => {
      const { phase, peer, have, want } = progress
      if (before?.peer !== peer || phase !== 'syncing') samples = []
      before = progress
      const at = clock.now()
      samples = samples.filter((sample) => at - sample.at <= RATE_MS && sample.at <= at)
      if (have !== null) samples.push({ at, have })
      const [first] = samples
      const rate =
        first && have !== null && at - first.at >= 1_000 ? (1_000 * (have - first.have)) / (at - first.at) : null
      const left = have !== null && want !== null ? Math.max(0, want - have) : null
      const etaMs = left !== null && rate !== null && rate > 0 ? Math.round((1_000 * left) / rate) : null
      tell({ phase, peer, have, want, rate, etaMs })
    },
    () => {},
  )
  pull(manager.initialSync.progress() as unknown as pull.Source<SyncProgress>, sink)
  return () => sink.abort()
}
