/**
 * Measures replication: asks a peer for its clock, compares it with ours over the feeds we want, and does so again and again
 * while somebody wants to know. It only looks: it requests no feeds and closes no connection. What follows from what it
 * sees is decided by core/progress.ts; who is watched, by the manager's adapter and by the scheduler's progress.
 *
 * ssb-ebt, the database and ssb-friends are looked up whenever they are needed: stacks load them in any order, and each may
 * be missing. What cannot be known is not reported.
 *
 * The measure (reference: replication, section 7): what the peer has of the feeds we want, by its `ebt.clock`, less what we
 * have. A remote without `ebt.clock` (before ssb-ebt 8, go-ssb) is judged by the notes that it sent us (`ebt.peerStatus`).
 *
 * Formats other than classic have clocks of their own. ssb-ebt throws for a format that it does not know. muxrpc makes an
 * error of that, but not while ssb-ebt still reads its database: then the question waits, what it throws later is caught
 * by nobody, and the process ends. An answered classic clock shows that the database has been read, for good. So the
 * others are asked for only after that one, at the remote and here, and not again where the answer was an error.
 */

import { authorOf, type Method, memberOf, methodOf } from '../adapters/members'
import { isFeedId } from '../core/address'
import { own } from '../core/own'
import type { EpochMs } from '../core/types'
import type { Clock } from '../shell/clock'
import {
  beginWatch,
  isNonsense,
  judge,
  type Measured,
  type Measurement,
  QUIET_MS,
  restartSpans,
  STALL_MS,
  type Totals,
  toSequence,
  type Watch,
} from './core/progress'
import type { FeedId } from './core/types'

/** Between two looks: a clock is 61 KB of JSON for each 1 000 feeds. */
export const POLL_MS = 1_250
/** On a slow line the clocks take at most a fifth of the time. */
const POLL_PAUSE_FACTOR = 4
const POLL_MAX_MS = 10_000
/** On a fast line a large clock costs the same work at both ends: beyond this many wanted feeds the pause grows with them. */
const POLL_FEEDS = 10_000
/** An answer that takes longer than this is none, if there was no message either. */
const PROBE_MS = 10_000
const LOCAL_TIMEOUT_MS = 10_000
/** While messages stream in: ssb-friends answers when the log is drained, seconds later. Until then its last answer serves. */
const HOPS_WAIT_MS = 500

/** A remote's clock with more feeds than this is not looked at, where it has to be walked through. */
const MAX_REMOTE_FEEDS = 200_000
/** Feeds that are dealt with before the event loop gets a pause: a millisecond or two. */
export const SLICE_FEEDS = 2_000
/** A timer that is off by this much: the machine slept, or the clock was set. */
const JUMP_MS = 5_000
/** A wait is cut into pieces of this length, so that no long jump hides in it. */
const WAIT_TICK_MS = 2_000

const CLASSIC = 'classic'

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

/** Timers, and whatever else has to be let go of, with a common end. */
export interface Scope {
  readonly isOver: () => boolean
  /** Returns what clears the timer. Both ends of it look whether the clock has jumped. */
  readonly set: (fn: () => void, ms: number) => () => void
  readonly onEnd: (fn: () => void) => void
  readonly end: () => void
}

export interface Target {
  readonly peer: FeedId
  /** A muxrpc. */
  readonly connection: unknown
}

/** Sequence numbers of the feeds of a format, here and there; null where nothing is known. */
export type Reading = (format: string) => (id: FeedId) => readonly [local: number | null, remote: number | null]

export interface Look {
  readonly seen: Measurement
  /** What was counted, to be counted again with others; only if `seen` was measured. */
  readonly reading: Reading | null
  /** What the peer has of our own feed: 0 if its clock does not name it, null if that is unknown. */
  readonly ownKnown: number | null
  /** What the answer took. */
  readonly tookMs: number
}

/** The wanted feeds, and whether that is the last word. */
export interface Wanted {
  /** Null: not known now. The same set again means that nothing has changed. */
  readonly feeds: ReadonlySet<FeedId> | null
  readonly isFresh: boolean
}

export interface Watching {
  readonly state: () => Watch
  /** Starts, or goes on after `isInOtherHands` had it rest. */
  readonly resume: () => void
  /** Something may have changed: the next look need not wait for longer than usual. */
  readonly hurry: () => void
  readonly end: () => void
}

export interface WatchOptions extends Target {
  readonly scope: Scope
  readonly keepsMute: () => boolean
  /** Asked before each look: true lets the loop rest until `resume`. */
  readonly isInOtherHands?: () => boolean
  /** After each look, with the verdict before it. Looks go on until the scope ends. */
  readonly onLook: (watch: Watch, look: Look, before: Watch) => void
}

export interface Measure {
  readonly openScope: () => Scope
  readonly isIndexing: () => boolean
  /** What ebt knows of a feed. */
  readonly statusOf: (feed: FeedId) => unknown
  readonly localClock: (scope: Scope) => Promise<Readonly<Record<string, unknown>> | null>
  /** Of messages by others, as far as one has listened. */
  readonly lastMessageAt: () => EpochMs
  /** How many of them; null if there is no database to listen to. */
  readonly messageCount: () => number | null
  /** Listens for new messages, once there is a database to listen to. */
  readonly attach: () => void
  readonly detach: () => void
  /** One look; the time left for an answer is told by `leftMs`, given when the wait began. */
  readonly look: (scope: Scope, target: Target, leftMs: (since: EpochMs) => number) => Promise<Look>
  readonly within: (ms: number) => (since: EpochMs) => number
  /** Lets others run. Never settles if the scope ends meanwhile, as with all that waits here. */
  readonly pause: (scope: Scope) => Promise<void>
  /** Counts over several peers: of each feed what the best of them has. */
  readonly total: (scope: Scope, wanted: ReadonlySet<FeedId>, readings: readonly Reading[]) => Promise<Totals>
  readonly watch: (options: WatchOptions) => Watching
  readonly stop: () => void
}

export interface MeasureOptions {
  readonly sbot: ReplicationHost
  readonly clock: Clock
  /** What is wanted. By default what ssb-friends counts within its hops, and our own feed, which may have to be recovered. */
  readonly wanted?: () => Promise<Wanted>
  /** Default: all are classic. */
  readonly formatOf?: (feed: FeedId) => string
  readonly onMessage?: (author: FeedId | null) => void
  readonly onJump?: () => void
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A vector clock as it came; its entries are checked where they are read. */
function toClock(answer: Answer): Readonly<Record<string, unknown>> | null {
  return answer.kind === 'value' && isTable(answer.value) ? answer.value : null
}

const UNKNOWN: Look = { seen: { kind: 'unknown' }, reading: null, ownKnown: null, tookMs: 0 }

export function createMeasure(options: MeasureOptions): Measure {
  const { sbot, clock } = options
  const scopes = new Set<Scope>()
  const jumpListeners = new Set<() => void>()
  let lastMessageAt: EpochMs = 0
  let jumps = 0

  // ---- time -----------------------------------------------------------------------------------------------------------

  const jumped = (): void => {
    jumps++
    lastMessageAt = clock.now()
    for (const listener of [...jumpListeners]) listener()
    options.onJump?.()
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

  const pause = (scope: Scope): Promise<void> => new Promise((resolve) => scope.set(resolve, 0))

  // ---- what the stack knows -------------------------------------------------------------------------------------------

  const isIndexing = (): boolean => {
    try {
      const active = memberOf(methodOf(sbot, 'db', 'getIndexingActive')?.(), 'value')
      return typeof active === 'number' && active > 0
    } catch {
      return false
    }
  }

  const statusOf = (feed: FeedId): unknown => {
    try {
      return methodOf(sbot, 'ebt', 'peerStatus')?.(feed)
    } catch {
      return undefined
    }
  }

  /** Our clock of a format; null if there is none, or it does not come. */
  const localClock = async (scope: Scope, format = CLASSIC): Promise<Readonly<Record<string, unknown>> | null> => {
    const askClock = methodOf(sbot, 'ebt', 'clock')
    return askClock && toClock(await ask(scope, (cb) => askClock({ format }, cb), within(LOCAL_TIMEOUT_MS)))
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

  /** Null: there is nobody to ask. */
  const readWanted = async (scope: Scope): Promise<Wanted | null> => {
    if (options.wanted) return options.wanted()
    const askHops = methodOf(sbot, 'friends', 'hops')
    if (!askHops) return null
    const isFresh = await refreshHops(scope, askHops)
    return { feeds: hops.last, isFresh }
  }

  // ---- by format ------------------------------------------------------------------------------------------------------

  type Groups = ReadonlyMap<string, Iterable<FeedId>>
  const groupsOfSet = new WeakMap<ReadonlySet<FeedId>, Groups>()

  const groupsOf = async (scope: Scope, feeds: ReadonlySet<FeedId>): Promise<Groups> => {
    const { formatOf } = options
    if (!formatOf) return new Map([[CLASSIC, feeds]])
    const known = groupsOfSet.get(feeds)
    if (known) return known
    const groups = new Map<string, FeedId[]>([[CLASSIC, []]])
    let counted = 0
    for (const feed of feeds) {
      if (++counted % SLICE_FEEDS === 0) await pause(scope)
      const format = formatOf(feed)
      const group = groups.get(format)
      if (group) group.push(feed)
      else groups.set(format, [feed])
    }
    groupsOfSet.set(feeds, groups)
    return groups
  }

  // ---- looks ----------------------------------------------------------------------------------------------------------

  /** Connections whose clock was beyond bounds: reading it costs too much to ask for it again. */
  const excessive = new WeakSet<object>()
  /** Formats that a connection has no clock of. */
  const withoutClock = new WeakMap<object, Set<string>>()

  const askRemote = (
    scope: Scope,
    connection: unknown,
    format: string,
    leftMs: (since: EpochMs) => number,
  ): Promise<Answer> => {
    const askClock = methodOf(connection, 'ebt', 'clock')
    if (!askClock || excessive.has(connection as object)) return Promise.resolve({ kind: 'error' })
    return ask(scope, (cb) => askClock({ format }, cb), leftMs)
  }

  const look: Measure['look'] = async (scope, target, leftMs) => {
    const askedAt = clock.now()
    const answer = await askRemote(scope, target.connection, CLASSIC, leftMs)
    const tookMs = Math.max(0, clock.now() - askedAt)
    if (scope.isOver()) return UNKNOWN
    return { ...(await evaluate(scope, target, answer)), tookMs }
  }

  /** What the answer of a peer means. Ours is read after theirs, or what comes in between would count as missing. */
  const evaluate = async (scope: Scope, { peer, connection }: Target, answer: Answer): Promise<Look> => {
    if (answer.kind === 'silent') return { ...UNKNOWN, seen: answer }
    if (!memberOf(sbot, 'ebt')) return UNKNOWN
    const wanted = await readWanted(scope)
    if (wanted && !wanted.feeds) return UNKNOWN
    const isFresh = wanted?.isFresh ?? true
    const remote = toClock(answer)
    const remotes = remote && new Map([[CLASSIC, remote]])
    // Only after the classic one: see the top of this file.
    if (remotes && wanted?.feeds) await addClocks(scope, connection, wanted.feeds, remotes)
    const hasClock = methodOf(sbot, 'ebt', 'clock') !== null
    const local = hasClock ? await localClock(scope) : null
    if (hasClock && !local) return UNKNOWN
    if (!remotes || !remote || !local)
      return measureByStatus(scope, peer, wanted?.feeds ?? (local ? new Set(Object.keys(local)) : null), isFresh)
    const feeds = wanted?.feeds ?? requestedOf(remote, local, peer)
    if (!feeds) {
      if (typeof connection === 'object' && connection !== null) excessive.add(connection)
      return UNKNOWN
    }
    const locals = new Map([[CLASSIC, local]])
    for (const format of (await groupsOf(scope, feeds)).keys()) {
      const clockOfFormat = locals.has(format) ? null : await localClock(scope, format)
      if (clockOfFormat) locals.set(format, clockOfFormat)
    }
    let hasNonsense = false
    const reading: Reading = (format) => {
      const ours = locals.get(format)
      const theirs = remotes.get(format)
      if (!ours || !theirs) return byStatus(peer)
      return (id) => {
        const claim = own(theirs, id)
        if (isNonsense(claim)) hasNonsense = true
        return [toSequence(own(ours, id)), toSequence(claim)]
      }
    }
    const seen = await measured(scope, feeds, isFresh, [reading])
    // Nonsense about a feed is no statement that the peer lacks it.
    if (hasNonsense) return measureByStatus(scope, peer, feeds, isFresh)
    const known = own(remote, sbot.id)
    return { seen, reading, ownKnown: known === undefined ? 0 : toSequence(known), tookMs: 0 }
  }

  /** The remote's clocks of the other formats that are wanted, as far as it has them. */
  const addClocks = async (
    scope: Scope,
    connection: unknown,
    feeds: ReadonlySet<FeedId>,
    remotes: Map<string, Readonly<Record<string, unknown>>>,
  ): Promise<void> => {
    const missing = withoutClock.get(connection as object) ?? new Set<string>()
    withoutClock.set(connection as object, missing)
    for (const format of (await groupsOf(scope, feeds)).keys()) {
      if (remotes.has(format) || missing.has(format) || scope.isOver()) continue
      const found = toClock(await askRemote(scope, connection, format, within(PROBE_MS)))
      if (found) remotes.set(format, found)
      else missing.add(format)
    }
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

  /** The notes that the peer sent us. */
  const byStatus =
    (peer: FeedId) =>
    (id: FeedId): readonly [number | null, number | null] => {
      const status = statusOf(id)
      return [
        toSequence(memberOf(status, 'seq')),
        toSequence(memberOf(memberOf(memberOf(status, 'peers'), peer), 'seq')),
      ]
    }

  /** By the notes. Silence about every feed tells nothing. */
  const measureByStatus = async (
    scope: Scope,
    peer: FeedId,
    wanted: ReadonlySet<FeedId> | null,
    isFresh: boolean,
  ): Promise<Look> => {
    if (!wanted) return UNKNOWN
    const sequences = byStatus(peer)
    let isKnown = false
    const watched: Reading = () => (id) => {
      const found = sequences(id)
      if (found[1] !== null) isKnown = true
      return found
    }
    const seen = await measured(scope, wanted, isFresh, [watched])
    if (!isKnown) return { ...UNKNOWN, seen: { kind: 'mute' } }
    return { seen, reading: () => sequences, ownKnown: sequences(sbot.id)[1], tookMs: 0 }
  }

  const measured = async (
    scope: Scope,
    wanted: ReadonlySet<FeedId>,
    isFresh: boolean,
    readings: readonly Reading[],
  ): Promise<Measured> => ({ kind: 'measured', wanted, isFresh, ...(await total(scope, wanted, readings)) })

  const total: Measure['total'] = async (scope, wanted, readings) => {
    let have = 0
    let remaining = 0
    let ofOwn = 0
    let counted = 0
    for (const [format, feeds] of await groupsOf(scope, wanted)) {
      const sequences = readings.map((reading) => reading(format))
      for (const id of feeds) {
        if (++counted % SLICE_FEEDS === 0) await pause(scope)
        let local = 0
        let best = 0
        for (const each of sequences) {
          const [ours, theirs] = each(id)
          if (ours !== null && ours > local) local = ours
          if (theirs !== null && theirs > best) best = theirs
        }
        have += local
        remaining += Math.max(0, best - local)
        if (id === sbot.id) ofOwn = local
      }
    }
    return { have, others: have - ofOwn, remaining }
  }

  // ---- messages -------------------------------------------------------------------------------------------------------

  let detachMessages: (() => void) | null = null
  let messageCount = 0

  const onMessage = (message: unknown): void => {
    const author = authorOf(message)
    if (author !== sbot.id) {
      lastMessageAt = clock.now()
      messageCount++
    }
    options.onMessage?.(author)
  }

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

  // ---- watching -------------------------------------------------------------------------------------------------------

  /** How long to wait for the next look. What has caught up is looked at now and then. */
  const pauseAfter = (state: Watch, tookMs: number): number => {
    if (state.isCaughtUp) return POLL_MAX_MS
    const byCount = POLL_MS * Math.max(1, (state.last?.wanted.size ?? 0) / POLL_FEEDS)
    return Math.min(POLL_MAX_MS, Math.max(byCount, POLL_PAUSE_FACTOR * tookMs))
  }

  const watch: Measure['watch'] = (given) => {
    const { scope, onLook } = given
    let state = beginWatch(clock.now())
    let cancel: (() => void) | null = null
    let dueAt: EpochMs = 0

    const wait = (ms: number): void => {
      dueAt = clock.now() + ms
      cancel = scope.set(poll, ms)
    }

    const poll = async (): Promise<void> => {
      cancel = null
      if (scope.isOver()) return
      attach()
      if (given.isInOtherHands?.()) return
      const activeAt = (): EpochMs => Math.max(state.activeAt, lastMessageAt)
      const leftMs = (since: EpochMs): number => Math.max(since + PROBE_MS, activeAt() + STALL_MS) - clock.now()
      const found = await look(scope, given, leftMs)
      if (scope.isOver()) return
      const before = state
      state = judge(state, found.seen, clock.now(), {
        lastMessageAt,
        isIndexing: isIndexing(),
        keepsMute: given.keepsMute(),
      })
      onLook(state, found, before)
      if (!scope.isOver()) wait(pauseAfter(state, found.tookMs))
    }

    const onJump = (): void => {
      state = restartSpans(state, clock.now())
    }
    jumpListeners.add(onJump)
    scope.onEnd(() => jumpListeners.delete(onJump))
    clock.defer(poll)
    return {
      state: () => state,
      resume: () => wait(POLL_MS),
      hurry: () => {
        if (!cancel || dueAt - clock.now() <= POLL_MS) return
        cancel()
        wait(POLL_MS)
      },
      end: scope.end,
    }
  }

  return {
    openScope,
    isIndexing,
    statusOf,
    localClock: (scope) => localClock(scope),
    lastMessageAt: () => lastMessageAt,
    messageCount: () => (detachMessages ? messageCount : null),
    attach,
    detach,
    look,
    within,
    pause,
    total,
    watch,
    stop: () => {
      detach()
      for (const scope of [...scopes]) scope.end()
    },
  }
}
