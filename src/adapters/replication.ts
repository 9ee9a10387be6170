/**
 * Tells the manager how replication goes: how far an initial sync has come, when it is done or stalled, and, for rotation,
 * which connections transfer something or have caught up. It only looks: it requests no feeds and closes no connection.
 *
 * ssb-ebt, the database, ssb-friends and a replication scheduler are looked up whenever they are needed: stacks load them in
 * any order, and each may be missing. What cannot be known is not reported, and is never taken for "done".
 *
 * The measure (reference: replication, section 7): what the peer has of the feeds we want, by its `ebt.clock`, less what we
 * have. Wanted is what ssb-friends counts within its hops, and our own feed, which may have to be recovered. A remote
 * without `ebt.clock` (before ssb-ebt 8, go-ssb) is judged by the notes that it sent us (`ebt.peerStatus`).
 *
 * Known gap: only feeds of the classic format are counted. Asking an older ssb-ebt for a format that it does not know throws
 * in the remote. Messages of other formats count as activity, and a replication scheduler counts what it has requested.
 */
import pull = require('pull-stream')

import { isFeedId } from '../core/address'
import { own } from '../core/own'
import type { EpochMs, FeedId } from '../core/types'
import type { ConnectionManager } from '../manager'
import type { Clock } from '../shell/clock'
import { authorOf, type Method, memberOf, methodOf } from './members'

/** Between two looks during an initial sync: a clock is 61 KB of JSON for each 1 000 feeds. */
const POLL_MS = 1_250
/** On a slow line the clocks take at most a fifth of the time. */
const POLL_PAUSE_FACTOR = 4
const POLL_MAX_MS = 10_000
/**
 * Nothing may have changed for this long before it counts as done. Follows that have just arrived make the wanted set grow
 * up to 0.6 s later, and all signals say "done" in between; ssb-db2 writes in batches of 250 ms, the scheduler waits 225 ms.
 */
const QUIET_MS = 2_500
/** Without a message for this long a sync has stalled or is done with this peer. EBT itself changes peers after 3 s. */
const STALL_MS = 12_000
/** An answer that takes longer than this is none, if there was no message either. */
const PROBE_MS = 10_000
const LOCAL_TIMEOUT_MS = 10_000
/** While messages stream in: ssb-friends answers when the log is drained, seconds later. Until then its last answer serves. */
const HOPS_WAIT_MS = 500

/** For rotation: each look costs the remote a clock, and a connection has half an hour in any case. */
const FIRST_CHECK_MS = 30_000
const RECHECK_MS = 120_000
const CHECK_QUIET_MS = 10_000
const CHECK_TIMEOUT_MS = 15_000
const TRANSFER_THROTTLE_MS = 1_000
/** Authors that are remembered in between; with more than these, anybody may have sent them. */
const MAX_AUTHORS = 64

/** A remote's clock with more feeds than this is not looked at, where it has to be walked through. */
const MAX_REMOTE_FEEDS = 200_000
/** No feed is this long; larger claims are lies that would spoil the sums. */
const MAX_SEQUENCE = 1e9
/** A timer that is off by this much: the machine slept, or the clock was set. */
const JUMP_MS = 5_000
/** A wait is cut into pieces of this length, so that no long jump hides in it. */
const WAIT_TICK_MS = 2_000

/** A stack, as far as it matters here: plugins by name. */
export interface ReplicationHost {
  readonly id: string
  readonly [plugin: string]: unknown
}

type Call = (cb: (error?: unknown, value?: unknown) => void) => unknown

type Answer =
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'error' }
  /** Nothing came in time. */
  | { readonly kind: 'silent' }

type Measurement =
  | {
      readonly kind: 'measured'
      readonly wanted: ReadonlySet<FeedId>
      /** Messages of wanted feeds that we have, and those of them that are not our own. */
      readonly have: number
      readonly others: number
      /** Messages of wanted feeds that the peer has and we lack. */
      readonly remaining: number
      /** False if `wanted` may have grown since: enough for a progress bar, not for a verdict. */
      readonly isFresh: boolean
    }
  /** The peer does not answer. */
  | { readonly kind: 'silent' }
  /** The peer answers, and says nothing of any feed that we want. */
  | { readonly kind: 'mute' }
  /** Something of our own is missing or not ready. */
  | { readonly kind: 'unknown' }

/** Timers, and whatever else has to be let go of, with a common end. */
interface Scope {
  readonly isOver: () => boolean
  /** Returns what clears the timer. Both ends of it look whether the clock has jumped. */
  readonly set: (fn: () => void, ms: number) => () => void
  readonly onEnd: (fn: () => void) => void
  readonly end: () => void
}

/** The kept connection of an initial sync. */
interface Session {
  readonly peer: FeedId
  readonly connection: unknown
  readonly scope: Scope
  /** When the sync was last seen to move: a message of others, or fewer messages to get. */
  activeAt: EpochMs
  /** When anything was last seen to change that could lead to more messages. */
  quietSince: EpochMs
}

/** An outbound connection in normal mode. */
interface Visit {
  readonly connection: unknown
  nextCheckAt: EpochMs
  /** Of the last look; null before it and after a message. */
  remaining: number | null
}

/** A sequence number, or null for all else: remotes may say anything. */
function toSequence(value: unknown): number | null {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_SEQUENCE ? value : null
}

/** Neither a sequence number, nor absent, nor ebt's -1 for a feed that is not replicated. */
function isNonsense(value: unknown): boolean {
  return value !== undefined && value !== -1 && toSequence(value) === null
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A vector clock as it came; its entries are checked where they are read. */
function toClock(answer: Answer): Readonly<Record<string, unknown>> | null {
  return answer.kind === 'value' && isTable(answer.value) ? answer.value : null
}

function isSameSet(a: ReadonlySet<FeedId>, b: ReadonlySet<FeedId>): boolean {
  if (a.size !== b.size) return false
  for (const each of a) if (!b.has(each)) return false
  return true
}

/** Starts to watch; returns what stops it and clears every timer. Sets none while nothing is connected. */
export function watchReplication(options: {
  readonly sbot: ReplicationHost
  readonly manager: Pick<ConnectionManager, 'internal'>
  readonly clock: Clock
}): () => void {
  const { sbot, clock } = options
  const { internal } = options.manager
  const { store } = internal
  const scopes = new Set<Scope>()
  const visits = new Map<FeedId, Visit>()
  /** Of messages by others, since something is connected. */
  let lastMessageAt: EpochMs = 0
  let session: Session | null = null
  let checking: { readonly id: FeedId; readonly scope: Scope } | null = null
  let jumps = 0
  let isStopped = false

  // ---- time -----------------------------------------------------------------------------------------------------------

  /** After a jump of the clock no span of time means anything: all of them begin anew. */
  const jumped = (): void => {
    const now = clock.now()
    jumps++
    lastMessageAt = now
    if (session) {
      session.activeAt = now
      session.quietSince = now
    }
    for (const visit of visits.values()) visit.nextCheckAt = Math.min(visit.nextCheckAt, now + RECHECK_MS)
  }

  const openScope = (): Scope => {
    const timers = new Set<unknown>()
    const endings: (() => void)[] = []
    let isOver = false
    const scope: Scope = {
      isOver: () => isOver,
      set: (fn, ms) => {
        if (isOver) return () => {}
        const setAt = clock.now()
        const look = (): void => {
          const passedMs = clock.now() - setAt
          if (passedMs < -JUMP_MS || passedMs > ms + JUMP_MS) jumped()
        }
        const timer = clock.setTimeout(() => {
          timers.delete(timer)
          look()
          fn()
        }, ms)
        timers.add(timer)
        return () => {
          if (!timers.delete(timer)) return
          clock.clearTimeout(timer)
          look()
        }
      },
      onEnd: (fn) => {
        endings.push(fn)
      },
      end: () => {
        if (isOver) return
        isOver = true
        scopes.delete(scope)
        for (const timer of timers) clock.clearTimeout(timer)
        timers.clear()
        for (const fn of endings) fn()
      },
    }
    scopes.add(scope)
    return scope
  }

  /** Calls, and waits for as long as `leftMs` (given when the wait began) says. Settles once, and never rejects. */
  const ask = (scope: Scope, call: Call, leftMs: (since: EpochMs) => number): Promise<Answer> =>
    new Promise((resolve) => {
      let since = clock.now()
      let seenJumps = jumps
      let cancel = (): void => {}
      const settle = (answer: Answer): void => {
        cancel()
        resolve(answer)
      }
      const wait = (): void => {
        if (jumps !== seenJumps) since = clock.now()
        seenJumps = jumps
        const ms = leftMs(since)
        if (ms > 0) cancel = scope.set(wait, Math.min(ms, WAIT_TICK_MS))
        else settle({ kind: 'silent' })
      }
      wait()
      try {
        call((error, value) => settle(error ? { kind: 'error' } : { kind: 'value', value }))
      } catch {
        settle({ kind: 'error' })
      }
    })

  const within = (ms: number) => (since: EpochMs) => since + ms - clock.now()
  const askLocal = (scope: Scope, call: Call): Promise<Answer> => ask(scope, call, within(LOCAL_TIMEOUT_MS))

  // ---- what the stack knows -------------------------------------------------------------------------------------------

  const isIndexing = (): boolean => {
    try {
      const active = memberOf(methodOf(sbot, 'db', 'getIndexingActive')?.(), 'value')
      return typeof active === 'number' && active > 0
    } catch {
      return false
    }
  }

  /** What ebt knows of a feed. */
  const statusOf = (feed: FeedId): unknown => {
    try {
      return methodOf(sbot, 'ebt', 'peerStatus')?.(feed)
    } catch {
      return undefined
    }
  }

  /** What ssb-friends last said, and since when a question to it is open. */
  const hops = { last: null as ReadonlySet<FeedId> | null, askedAt: null as EpochMs | null }

  const toWanted = (table: Readonly<Record<string, unknown>>): ReadonlySet<FeedId> => {
    const wanted = new Set<FeedId>([sbot.id])
    for (const id of Object.keys(table)) {
      const distance = table[id]
      // Negative: blocked or unfollowed. null >= 0 is true in JavaScript, so the type is asked too.
      if (typeof distance === 'number' && distance >= 0) wanted.add(id)
    }
    return wanted
  }

  /** Whether ssb-friends said now what is within our hops: else `hops.last` is old, or null. */
  const refreshHops = async (scope: Scope, askHops: Method): Promise<boolean> => {
    // One question at a time, unless it seems lost.
    if (hops.askedAt !== null && Math.abs(clock.now() - hops.askedAt) < LOCAL_TIMEOUT_MS) return false
    hops.askedAt = clock.now()
    const call: Call = (cb) =>
      askHops({}, (error: unknown, table: unknown) => {
        hops.askedAt = null
        if (!error && isTable(table)) hops.last = toWanted(table)
        cb(error)
      })
    const isStreaming = (): boolean => clock.now() - lastMessageAt < QUIET_MS
    const leftMs = (since: EpochMs): number => since + (isStreaming() ? HOPS_WAIT_MS : LOCAL_TIMEOUT_MS) - clock.now()
    return (await ask(scope, call, leftMs)).kind === 'value'
  }

  /** Connections whose clock was beyond bounds: reading it costs too much to ask for it again. */
  const excessive = new WeakSet<object>()

  const askRemote = (scope: Scope, connection: unknown, leftMs: (since: EpochMs) => number): Promise<Answer> => {
    const askClock = methodOf(connection, 'ebt', 'clock')
    if (!askClock || excessive.has(connection as object)) return Promise.resolve({ kind: 'error' })
    return ask(scope, (cb) => askClock({ format: 'classic' }, cb), leftMs)
  }

  /** What the answer of a peer means. Ours is read after theirs, or what comes in between would count as missing. */
  const evaluate = async (
    scope: Scope,
    { peer, connection }: { readonly peer: FeedId; readonly connection: unknown },
    answer: Answer,
  ): Promise<Measurement> => {
    if (answer.kind === 'silent') return answer
    if (!memberOf(sbot, 'ebt')) return { kind: 'unknown' }
    const askHops = methodOf(sbot, 'friends', 'hops')
    const isFresh = askHops === null || (await refreshHops(scope, askHops))
    const wanted = askHops ? hops.last : null
    if (askHops && !wanted) return { kind: 'unknown' }
    const localClock = methodOf(sbot, 'ebt', 'clock')
    const local = localClock && toClock(await askLocal(scope, (cb) => localClock({ format: 'classic' }, cb)))
    if (localClock && !local) return { kind: 'unknown' }
    const remote = toClock(answer)
    if (!remote || !local) return measureByStatus(peer, wanted ?? (local ? new Set(Object.keys(local)) : null), isFresh)
    const feeds = wanted ?? requestedOf(remote, local, peer)
    if (!feeds) {
      if (typeof connection === 'object' && connection !== null) excessive.add(connection)
      return { kind: 'unknown' }
    }
    // Nonsense about a feed is no statement that the peer lacks it.
    for (const id of feeds) if (isNonsense(own(remote, id))) return measureByStatus(peer, feeds, isFresh)
    return tally(feeds, isFresh, (id) => [toSequence(own(local, id)), toSequence(own(remote, id))])
  }

  /** Without ssb-friends: those of the remote's feeds that we ask for, as far as ebt or our own clock tells. */
  const requestedOf = (
    remote: Readonly<Record<string, unknown>>,
    local: Readonly<Record<string, unknown>>,
    peer: FeedId,
  ): Set<FeedId> | null => {
    const feeds = new Set<FeedId>([sbot.id])
    const ids = Object.keys(remote)
    if (ids.length > MAX_REMOTE_FEEDS) return null
    for (const id of ids) {
      if (!isFeedId(id)) continue
      const requested = memberOf(memberOf(memberOf(memberOf(statusOf(id), 'peers'), peer), 'replicating'), 'requested')
      // ebt notes -1 for a feed that we do not replicate.
      if (typeof requested === 'number' ? requested >= 0 : own(local, id) !== undefined) feeds.add(id)
    }
    return feeds
  }

  /** By the notes that the peer sent us. Its silence about every feed tells nothing. */
  const measureByStatus = (peer: FeedId, wanted: ReadonlySet<FeedId> | null, isFresh: boolean): Measurement => {
    if (!wanted) return { kind: 'unknown' }
    let isKnown = false
    const measured = tally(wanted, isFresh, (id) => {
      const status = statusOf(id)
      const remote = toSequence(memberOf(memberOf(memberOf(status, 'peers'), peer), 'seq'))
      if (remote !== null) isKnown = true
      return [toSequence(memberOf(status, 'seq')), remote]
    })
    return isKnown ? measured : { kind: 'mute' }
  }

  const tally = (
    wanted: ReadonlySet<FeedId>,
    isFresh: boolean,
    sequences: (id: FeedId) => readonly [local: number | null, remote: number | null],
  ): Measurement => {
    let have = 0
    let remaining = 0
    let ofOwn = 0
    for (const id of wanted) {
      const [local, remote] = sequences(id)
      const count = local ?? 0
      have += count
      remaining += Math.max(0, (remote ?? 0) - count)
      if (id === sbot.id) ofOwn = count
    }
    return { kind: 'measured', wanted, have, others: have - ofOwn, remaining, isFresh }
  }

  // ---- messages -------------------------------------------------------------------------------------------------------

  let detachMessages: (() => void) | null = null
  const authors = new Set<FeedId>()
  let transferScope: Scope | null = null

  const onMessage = (message: unknown): void => {
    const author = authorOf(message)
    if (author === sbot.id) return
    lastMessageAt = clock.now()
    if (session) {
      session.activeAt = lastMessageAt
      session.quietSince = lastMessageAt
    }
    if (visits.size === 0) return
    if (authors.size < MAX_AUTHORS) authors.add(author ?? '')
    if (transferScope) return
    transferScope = openScope()
    transferScope.set(flushTransfers, TRANSFER_THROTTLE_MS)
  }

  /** Listens for new messages, once there is a database to listen to. */
  const attach = (): void => {
    if (detachMessages) return
    const subscribe = methodOf(sbot, 'db', 'onMsgAdded') ?? methodOf(sbot, 'post')
    if (!subscribe) return
    let isActive = true
    let remove: unknown
    detachMessages = () => {
      isActive = false
      if (typeof remove === 'function') remove()
    }
    try {
      // `false`: not the last message once more.
      remove = subscribe((message: unknown) => {
        if (isActive) onMessage(message)
      }, false)
    } catch {
      detachMessages = null
    }
  }

  const detach = (): void => {
    detachMessages?.()
    detachMessages = null
  }

  const endTransfers = (): void => {
    transferScope?.end()
    transferScope = null
    authors.clear()
  }

  /** Of whom ebt receives any of these feeds; null if that is not known. */
  const sendersOf = (feeds: ReadonlySet<FeedId>): Set<FeedId> | null => {
    if (feeds.size >= MAX_AUTHORS) return null
    const senders = new Set<FeedId>()
    for (const feed of feeds) {
      const peers = memberOf(statusOf(feed), 'peers')
      if (typeof peers !== 'object' || peers === null) return null
      for (const id of Object.keys(peers))
        if (memberOf(memberOf(memberOf(peers, id), 'replicating'), 'rx') === true) senders.add(id)
    }
    return senders.size > 0 ? senders : null
  }

  const flushTransfers = (): void => {
    const senders = sendersOf(authors)
    endTransfers()
    const now = clock.now()
    for (const [id, visit] of [...visits]) {
      if (senders && !senders.has(id)) continue
      visit.remaining = null
      visit.nextCheckAt = Math.max(visit.nextCheckAt, now + CHECK_QUIET_MS)
      internal.transferred(id)
    }
    arm()
  }

  // ---- initial sync ---------------------------------------------------------------------------------------------------

  const startSession = (peer: FeedId, connection: unknown): Session => {
    const now = clock.now()
    const scope = openScope()
    const current: Session = { peer, connection, scope, activeAt: now, quietSince: now }
    let last: Extract<Measurement, { kind: 'measured' }> | null = null
    let isStalled = false
    let isSchedulerOver = false

    const stalled = (): void => {
      if (isStalled) return
      isStalled = true
      internal.reportProgress({
        peer,
        have: last?.have ?? null,
        want: last ? last.have + last.remaining : null,
        isStalled,
      })
    }

    const judge = (seen: Measurement): void => {
      const at = clock.now()
      if (seen.kind === 'unknown') return
      if (seen.kind === 'silent') return stalled()
      if (seen.kind === 'mute') {
        // A room, say. Whoever was asked for by name is kept: his notes may yet come.
        if (at - current.activeAt >= STALL_MS && store.getState().initialSync?.peer === null) stalled()
        return
      }
      isStalled = false
      if (!last || seen.remaining < last.remaining || seen.others > last.others) current.activeAt = at
      const isChanged =
        !last ||
        seen.remaining !== last.remaining ||
        seen.others !== last.others ||
        !isSameSet(seen.wanted, last.wanted)
      if (isChanged || !seen.isFresh || isIndexing()) current.quietSince = at
      last = seen
      const { have, remaining } = seen
      // What is still missing after the longer time is held back by the peer, who answers: done with him.
      const isCaughtUp = at - current.quietSince >= (remaining === 0 ? QUIET_MS : STALL_MS)
      internal.reportProgress({ peer, have, want: have + remaining, isCaughtUp })
    }

    const goOn = (): void => {
      isSchedulerOver = true
      scope.set(poll, POLL_MS)
    }

    const poll = async (): Promise<void> => {
      if (scope.isOver()) return
      attach()
      if (!isSchedulerOver && followScheduler(peer, scope, goOn)) return
      const askedAt = clock.now()
      const answer = await askRemote(
        scope,
        connection,
        (since) => Math.max(since + PROBE_MS, current.activeAt + STALL_MS) - clock.now(),
      )
      const tookMs = Math.max(0, clock.now() - askedAt)
      if (scope.isOver()) return
      const seen = await evaluate(scope, current, answer)
      if (scope.isOver()) return
      judge(seen)
      scope.set(poll, Math.min(POLL_MAX_MS, Math.max(POLL_MS, POLL_PAUSE_FACTOR * tookMs)))
    }

    clock.defer(poll)
    return current
  }

  /** A replication scheduler knows best what it asked for. False if there is none; else `onEnd` is called if it ends early. */
  const followScheduler = (peer: FeedId, scope: Scope, onEnd: () => void): boolean => {
    let source: unknown
    try {
      source = methodOf(sbot, 'replicationScheduler', 'progress')?.()
    } catch {
      return false
    }
    if (typeof source !== 'function') return false
    let isReporting = false
    const sink = pull.drain<unknown>(
      (item) => {
        if (scope.isOver()) return false
        const about = memberOf(item, 'peer')
        if (about !== peer && about !== null && about !== undefined) return true
        // A verdict that names no peer may be on having none.
        const isCaughtUp = about === peer && memberOf(item, 'caughtUp') === true
        const isStalled = about === peer && memberOf(item, 'stalled') === true
        const have = toSequence(memberOf(item, 'have'))
        const want = toSequence(memberOf(item, 'want'))
        isReporting = true
        internal.reportProgress({ peer, have, want, isCaughtUp, isStalled })
        isReporting = false
        return !scope.isOver()
      },
      () => {
        if (!scope.isOver()) onEnd()
      },
    )
    scope.onEnd(() => {
      // While it is being read, what the reader returns ends it.
      if (!isReporting) sink.abort()
    })
    sink(source as pull.Source<unknown>)
    return true
  }

  const endSession = (): void => {
    if (!session) return
    const { scope } = session
    session = null
    scope.end()
  }

  // ---- rotation -------------------------------------------------------------------------------------------------------

  let checkScope: Scope | null = null

  const isCaughtUp = (id: FeedId): boolean => {
    const connection = store.getState().peers.get(id)?.connection
    return connection?.status === 'connected' && connection.isCaughtUp
  }

  /** Sets the one timer to the next look that is due. */
  const arm = (): void => {
    checkScope?.end()
    checkScope = null
    if (checking || isStopped) return
    let at = Number.POSITIVE_INFINITY
    for (const [id, visit] of visits) if (!isCaughtUp(id)) at = Math.min(at, visit.nextCheckAt)
    if (at === Number.POSITIVE_INFINITY) return
    checkScope = openScope()
    checkScope.set(check, Math.max(0, Math.max(at, lastMessageAt + CHECK_QUIET_MS) - clock.now()))
  }

  const check = async (): Promise<void> => {
    attach()
    const now = clock.now()
    if (now - lastMessageAt < CHECK_QUIET_MS) return arm()
    const due = [...visits].filter(([id, visit]) => !isCaughtUp(id) && visit.nextCheckAt <= now)
    const next = due.sort(([, a], [, b]) => a.nextCheckAt - b.nextCheckAt)[0]
    if (!next) return arm()
    const [id, visit] = next
    const scope = openScope()
    checking = { id, scope }
    const answer = await askRemote(scope, visit.connection, within(CHECK_TIMEOUT_MS))
    if (scope.isOver()) return
    const seen = await evaluate(scope, { peer: id, connection: visit.connection }, answer)
    if (scope.isOver()) return
    scope.end()
    checking = null
    const at = clock.now()
    visit.nextCheckAt = at + RECHECK_MS
    if (seen.kind === 'measured' && seen.isFresh) {
      // The same gap as two minutes ago, and no message since: the peer holds these back.
      const isDone = seen.remaining === 0 || seen.remaining === visit.remaining
      visit.remaining = seen.remaining
      if (isDone && at - lastMessageAt >= CHECK_QUIET_MS && !isIndexing())
        internal.reportProgress({ peer: id, isCaughtUp: true })
    }
    arm()
  }

  const followVisits = (ids: ReadonlySet<FeedId>): void => {
    let isChanged = false
    for (const [id, visit] of visits) {
      if (ids.has(id) && internal.connectionOf(id) === visit.connection) continue
      isChanged = true
      visits.delete(id)
      if (checking?.id === id) {
        checking.scope.end()
        checking = null
      }
    }
    for (const id of ids) {
      if (visits.has(id)) continue
      isChanged = true
      visits.set(id, {
        connection: internal.connectionOf(id),
        nextCheckAt: clock.now() + FIRST_CHECK_MS,
        remaining: null,
      })
    }
    if (visits.size === 0) endTransfers()
    if (isChanged) arm()
  }

  // ---- what is connected ----------------------------------------------------------------------------------------------

  const follow = (): void => {
    const state = store.getState()
    const kept = internal.syncPeer()
    const connection = kept === null ? null : internal.connectionOf(kept)
    if (session && (session.peer !== kept || session.connection !== connection)) endSession()
    if (kept !== null && !session) session = startSession(kept, connection)
    const outbound = new Set<FeedId>()
    if (state.mode === 'on' && !state.initialSync)
      for (const id of state.outbound.keys())
        if (state.peers.get(id)?.connection.status === 'connected') outbound.add(id)
    followVisits(outbound)
    if (session || visits.size > 0) attach()
    else detach()
  }

  const unsubscribe = store.subscribe(({ type }) => {
    if (type.startsWith('connections/') || type.startsWith('initialSync/')) follow()
    else if (type === 'connection/opened' || type === 'connection/closed' || type === 'connection/closing') follow()
    else if (type === 'connection/stalled' || type === 'connection/closeRequested') follow()
  })
  follow()

  return () => {
    if (isStopped) return
    isStopped = true
    unsubscribe()
    endSession()
    visits.clear()
    checking = null
    detach()
    for (const scope of [...scopes]) scope.end()
  }
}
