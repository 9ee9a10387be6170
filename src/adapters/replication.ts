/**
 * Tells the manager how replication goes: how far an initial sync has come, when it is done or stalled, and, for rotation,
 * which connections transfer something or have caught up. It only looks: it requests no feeds and closes no connection.
 *
 * An initial sync goes by the replication scheduler's own word where that has one (`progress`), and else, as with older
 * schedulers, by replication/measure.ts over what ssb-friends counts within its hops.
 *
 * Known gap: without that scheduler only feeds of the classic format are counted, as nobody tells which others are wanted.
 * Their messages count as activity.
 */
import pull = require('pull-stream')

import type { EpochMs, FeedId } from '../core/types'
import type { ConnectionManager } from '../manager'
import { toSequence, type Watch } from '../replication/core/progress'
import { createMeasure, type Look, type ReplicationHost, type Scope } from '../replication/measure'
import type { Clock } from '../shell/clock'
import { memberOf, methodOf } from './members'

export type { ReplicationHost }

/** For rotation: each look costs the remote a clock, and most visits are over before the first. */
const FIRST_CHECK_MS = 60_000
const RECHECK_MS = 120_000
/** Who does not catch up and sends nothing either is asked less and less often. */
const RECHECK_MAX_MS = 32 * 60_000
const CHECK_QUIET_MS = 10_000
const CHECK_TIMEOUT_MS = 15_000
const TRANSFER_THROTTLE_MS = 1_000
/** Authors that are remembered in between; with more than these, anybody may have sent them. */
const MAX_AUTHORS = 64

/** The kept connection of an initial sync. */
interface Session {
  readonly peer: FeedId
  readonly connection: unknown
  readonly scope: Scope
}

/** An outbound connection in normal mode. */
interface Visit {
  readonly connection: unknown
  nextCheckAt: EpochMs
  recheckMs: number
  /** Of the last look; null before it and after a message. */
  remaining: number | null
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
  const visits = new Map<FeedId, Visit>()
  let session: Session | null = null
  let checking: { readonly id: FeedId; readonly scope: Scope } | null = null
  let isStopped = false

  const measure = createMeasure({
    sbot,
    clock,
    onMessage: (author) => onMessage(author),
    onJump: () => {
      const now = clock.now()
      for (const visit of visits.values()) visit.nextCheckAt = Math.min(visit.nextCheckAt, now + RECHECK_MS)
    },
  })
  const { openScope, statusOf } = measure

  // ---- messages -------------------------------------------------------------------------------------------------------

  /** How many messages of each came since the last report; `''` for all whose author is not known. */
  const authors = new Map<FeedId, number>()
  let transferScope: Scope | null = null

  const onMessage = (author: FeedId | null): void => {
    if (author === sbot.id || visits.size === 0) return
    const key = author !== null && (authors.size < MAX_AUTHORS || authors.has(author)) ? author : ''
    authors.set(key, (authors.get(key) ?? 0) + 1)
    if (transferScope) return
    transferScope = openScope()
    transferScope.set(flushTransfers, TRANSFER_THROTTLE_MS)
  }

  const endTransfers = (): void => {
    transferScope?.end()
    transferScope = null
    authors.clear()
  }

  /** From whom ebt receives these feeds, and how many of the messages that is; null if that is not known. */
  const sendersOf = (feeds: ReadonlyMap<FeedId, number>): Map<FeedId, number> | null => {
    if (feeds.has('')) return null
    const senders = new Map<FeedId, number>()
    for (const [feed, count] of feeds) {
      const peers = memberOf(statusOf(feed), 'peers')
      if (typeof peers !== 'object' || peers === null) return null
      for (const id of Object.keys(peers))
        if (memberOf(memberOf(memberOf(peers, id), 'replicating'), 'rx') === true)
          senders.set(id, (senders.get(id) ?? 0) + count)
    }
    return senders.size > 0 ? senders : null
  }

  const flushTransfers = (): void => {
    const senders = sendersOf(authors)
    let total = 0
    for (const count of authors.values()) total += count
    endTransfers()
    // Where nobody knows who sent them, only a peer that is alone can have.
    const share = visits.size === 1 ? total : 0
    const now = clock.now()
    for (const [id, visit] of [...visits]) {
      if (senders && !senders.has(id)) continue
      visit.remaining = null
      visit.recheckMs = RECHECK_MS
      visit.nextCheckAt = Math.max(visit.nextCheckAt, now + CHECK_QUIET_MS)
      internal.transferred(id, senders?.get(id) ?? share)
    }
    arm()
  }

  // ---- initial sync ---------------------------------------------------------------------------------------------------

  /** Whoever was asked for by name is kept, even if he says nothing of our feeds: his notes may yet come. */
  const isByName = (): boolean => store.getState().initialSync?.peer !== null

  const startSession = (peer: FeedId, connection: unknown): Session => {
    const scope = openScope()
    let isSchedulerOver = false

    const onLook = (watch: Watch, { seen }: Look, before: Watch): void => {
      const { last, isCaughtUp, isStalled } = watch
      const have = last?.have ?? null
      const want = last && last.have + last.remaining
      if (seen.kind === 'measured') internal.reportProgress({ peer, have, want, isCaughtUp })
      else if (isStalled && !before.isStalled) internal.reportProgress({ peer, have, want, isStalled })
    }

    const goOn = (): void => {
      isSchedulerOver = true
      watching.resume()
    }

    const watching = measure.watch({
      peer,
      connection,
      scope,
      keepsMute: isByName,
      isInOtherHands: () => !isSchedulerOver && followScheduler(peer, scope, goOn),
      onLook,
    })
    return { peer, connection, scope }
  }

  /**
   * A replication scheduler knows best what it asked for. False if there is none; else `onEnd` is called if it ends early, or
   * has not been started: whoever requests feeds then, it knows nothing of them.
   */
  const followScheduler = (peer: FeedId, scope: Scope, onEnd: () => void): boolean => {
    let source: unknown
    try {
      source = methodOf(sbot, 'replicationScheduler', 'progress')?.({ peer, live: true, patient: isByName() })
    } catch {
      return false
    }
    if (typeof source !== 'function') return false
    let isReporting = false
    let wasStalled = false
    const sink = pull.drain<unknown>(
      (item) => {
        if (scope.isOver() || memberOf(item, 'phase') === 'stopped') return false
        const about = memberOf(item, 'peer')
        if (about !== peer && about !== null && about !== undefined) return true
        // A verdict that names no peer may be on having none.
        const isCaughtUp = about === peer && memberOf(item, 'caughtUp') === true
        const isStalled = about === peer && memberOf(item, 'stalled') === true
        const have = toSequence(memberOf(item, 'have'))
        const want = toSequence(memberOf(item, 'want'))
        isReporting = true
        // Once: who is kept all the same, for want of another, has stalled already.
        if (!isStalled || !wasStalled) internal.reportProgress({ peer, have, want, isCaughtUp, isStalled })
        wasStalled = isStalled
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
    checkScope.set(check, Math.max(0, Math.max(at, measure.lastMessageAt() + CHECK_QUIET_MS) - clock.now()))
  }

  const check = async (): Promise<void> => {
    measure.attach()
    const now = clock.now()
    if (now - measure.lastMessageAt() < CHECK_QUIET_MS) return arm()
    const due = [...visits].filter(([id, visit]) => !isCaughtUp(id) && visit.nextCheckAt <= now)
    const next = due.sort(([, a], [, b]) => a.nextCheckAt - b.nextCheckAt)[0]
    if (!next) return arm()
    const [id, visit] = next
    const scope = openScope()
    checking = { id, scope }
    const target = { peer: id, connection: visit.connection }
    const { seen } = await measure.look(scope, target, measure.within(CHECK_TIMEOUT_MS))
    if (scope.isOver()) return
    scope.end()
    checking = null
    const at = clock.now()
    visit.nextCheckAt = at + visit.recheckMs
    visit.recheckMs = Math.min(2 * visit.recheckMs, RECHECK_MAX_MS)
    if (seen.kind === 'measured' && seen.isFresh) {
      // The same gap as two minutes ago, and no message since: the peer holds these back.
      const isDone = seen.remaining === 0 || seen.remaining === visit.remaining
      visit.remaining = seen.remaining
      if (isDone && at - measure.lastMessageAt() >= CHECK_QUIET_MS && !measure.isIndexing())
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
        recheckMs: RECHECK_MS,
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
    if (session || visits.size > 0) measure.attach()
    else measure.detach()
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
    measure.stop()
  }
}
