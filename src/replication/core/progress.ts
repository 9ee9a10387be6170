/**
 * How far replication has come: from looks at a peer's clock and from signals to a verdict (caught up, stalled, neither), and
 * from these to what an app shows. Pure: time is an argument, and what was seen before is a value that is passed on.
 *
 * Who looks, and how often, is up to measure.ts. What cannot be known is null, and is never taken for "done".
 */
import type { FeedId } from './types'

/**
 * Nothing may have changed for this long before it counts as done. Follows that have just arrived make the wanted set grow
 * up to 0.6 s later, and all signals say "done" in between; ssb-db2 writes in batches of 250 ms, the scheduler waits 225 ms.
 */
export const QUIET_MS = 2_500
/** Without a message for this long a sync has stalled or is done with this peer. EBT itself changes peers after 3 s. */
export const STALL_MS = 12_000

/** No feed is this long; larger claims are lies that would spoil the sums. */
const MAX_SEQUENCE = 1e9

/** The rate is that of the last seconds: long enough for two looks, short enough to follow a line that gets slower. */
const RATE_WINDOW_MS = 8_000
const RATE_MIN_MS = 1_000
/** Samples further back say nothing: nobody looked, or the machine slept. */
const RATE_GAP_MS = 30_000

/** Epoch ms. */
type Time = number

// ---- looks ----------------------------------------------------------------------------------------------------------------

export interface Totals {
  /** Messages of wanted feeds that we have, and those of them that are not our own. */
  readonly have: number
  readonly others: number
  /** Messages of wanted feeds that the peer has and we lack. */
  readonly remaining: number
}

export interface Measured extends Totals {
  readonly kind: 'measured'
  readonly wanted: ReadonlySet<FeedId>
  /** False if `wanted` may have grown since: enough for a progress bar, not for a verdict. */
  readonly isFresh: boolean
}

/** What a look at a peer has found. */
export type Measurement =
  | Measured
  /** The peer does not answer. */
  | { readonly kind: 'silent' }
  /** The peer answers, and says nothing of any feed that we want. */
  | { readonly kind: 'mute' }
  /** Something of our own is missing or not ready. */
  | { readonly kind: 'unknown' }

/** A sequence number, or null for all else: remotes may say anything. */
export function toSequence(value: unknown): number | null {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_SEQUENCE ? value : null
}

/** Neither a sequence number, nor absent, nor ebt's -1 for a feed that is not replicated. */
export function isNonsense(value: unknown): boolean {
  return value !== undefined && value !== -1 && toSequence(value) === null
}

export function isSameSet<T>(a: ReadonlySet<T>, b: ReadonlySet<T>): boolean {
  if (a === b) return true
  if (a.size !== b.size) return false
  for (const each of a) if (!b.has(each)) return false
  return true
}

// ---- the verdict on a peer --------------------------------------------------------------------------------------------------

/** What is remembered of a peer from look to look, and what follows from it. */
export interface Watch {
  readonly last: Measured | null
  /** When the sync was last seen to move: a message of others, or fewer messages to get. */
  readonly activeAt: Time
  /** When anything was last seen to change that could lead to more messages. */
  readonly quietSince: Time
  readonly isCaughtUp: boolean
  readonly isStalled: boolean
  /** It answers, and has said nothing yet of any feed that we want: a room, say. */
  readonly isMute: boolean
}

export interface Signals {
  /** Of a message by others. 0: none yet. */
  readonly lastMessageAt: Time
  /** The database catches up: what it has may not be counted yet. */
  readonly isIndexing: boolean
  /** The user asked for this peer by name: one that is mute is waited for, as its notes may yet come. */
  readonly keepsMute: boolean
}

export function beginWatch(now: Time): Watch {
  return { last: null, activeAt: now, quietSince: now, isCaughtUp: false, isStalled: false, isMute: false }
}

/** After a jump of the clock no span of time means anything: all of them begin anew, and so does the verdict. */
export function restartSpans(watch: Watch, now: Time): Watch {
  return { ...watch, activeAt: now, quietSince: now, isCaughtUp: false }
}

/**
 * The next verdict.
 *
 * Caught up: nothing has changed for the quiet time and nothing is missing; or nothing has changed for the stall time and
 * the peer, who answers, holds the rest back: done with it. Once caught up it stays so while no more becomes missing, so
 * that single messages of later days do not make the verdict flicker.
 * Stalled: the peer does not answer, or says nothing of our feeds for the stall time.
 */
export function judge(watch: Watch, seen: Measurement, now: Time, signals: Signals): Watch {
  const activeAt = Math.max(watch.activeAt, signals.lastMessageAt)
  const quietSince = Math.max(watch.quietSince, signals.lastMessageAt)
  const next = { ...watch, activeAt, quietSince }
  switch (seen.kind) {
    case 'unknown':
      return next
    case 'silent':
      return { ...next, isCaughtUp: false, isStalled: true, isMute: false }
    case 'mute': {
      const isOver = now - activeAt >= STALL_MS && !signals.keepsMute
      return { ...next, isCaughtUp: false, isStalled: watch.isStalled || isOver, isMute: true }
    }
    case 'measured':
      return judgeMeasured(next, seen, now, signals)
  }
}

function judgeMeasured(watch: Watch, seen: Measured, now: Time, signals: Signals): Watch {
  const { last } = watch
  const isSameWanted = last !== null && isSameSet(seen.wanted, last.wanted)
  const isMoving = !last || seen.remaining < last.remaining || seen.others > last.others
  const isChanged = !last || seen.remaining !== last.remaining || seen.others !== last.others || !isSameWanted
  const quietSince = isChanged || !seen.isFresh || signals.isIndexing ? now : watch.quietSince
  const isQuiet = now - quietSince >= (seen.remaining === 0 ? QUIET_MS : STALL_MS)
  const isNoMore = isSameWanted && seen.remaining <= last.remaining && !signals.isIndexing
  return {
    last: seen,
    activeAt: isMoving ? now : watch.activeAt,
    quietSince,
    isCaughtUp: isQuiet || (watch.isCaughtUp && isNoMore),
    isStalled: false,
    isMute: false,
  }
}

// ---- what is shown --------------------------------------------------------------------------------------------------------

/**
 * A bar that does not run backwards within a growth phase. The most that there was to get in a phase stays the measure of
 * it: a peer that leaves takes its share away and may be back in a moment, and a bar that jumps forwards and back tells
 * nothing. A phase begins when other feeds are wanted; more to get than ever before in it is growth, too. When it is done the
 * bar shows what is there.
 */
export interface Bar {
  readonly wanted: ReadonlySet<FeedId>
  readonly have: number
  /** Never less than `have`. */
  readonly want: number
}

export function nextBar(before: Bar | null, seen: Totals & Pick<Measured, 'wanted'>, isDone: boolean): Bar {
  const { wanted, have, remaining } = seen
  const want = have + remaining
  if (isDone || !before || !isSameSet(before.wanted, wanted)) return { wanted, have, want }
  return { wanted, have, want: Math.max(before.want, want) }
}

/** How many messages of others had arrived at a time, since whenever. */
export interface Sample {
  readonly at: Time
  readonly count: number
}

/** Adds a sample; those that are too old for the rate go, but for the newest of them: looks may be far apart. */
export function addSample(samples: readonly Sample[], sample: Sample): readonly Sample[] {
  const { at } = sample
  // A clock that was set leaves nothing to compare with.
  const before = samples.filter((each) => each.at <= at && at - each.at <= RATE_GAP_MS)
  const begin = before.findIndex((each) => at - each.at <= RATE_WINDOW_MS)
  return [...before.slice(begin < 0 ? -1 : Math.max(0, begin - 1)), sample]
}

/** Messages per second over the last seconds; null until two looks have been a second apart. */
export function rateOf(samples: readonly Sample[]): number | null {
  const first = samples[0]
  const last = samples[samples.length - 1]
  if (!first || !last || last.at - first.at < RATE_MIN_MS) return null
  return ((last.count - first.count) * 1_000) / (last.at - first.at)
}

/** Seconds left at this rate. Null while nothing comes: that is no forecast. */
export function etaOf(remaining: number | null, rate: number | null): number | null {
  if (remaining === 0) return 0
  return remaining !== null && rate !== null && rate > 0 ? Math.ceil(remaining / rate) : null
}

export type ReplicationPhase = 'stopped' | 'loading' | 'indexing' | 'waiting' | 'syncing' | 'stalled' | 'caughtUp'

export interface PhaseFacts {
  readonly isStarted: boolean
  readonly isLoaded: boolean
  readonly isIndexing: boolean
  /** No requests are queued and no lookups pending. */
  readonly isSettled: boolean
  /** The peers that the progress is about, as far as they are connected. */
  readonly watches: readonly Watch[]
  /** Whoever answers is waited for, even if he says nothing of our feeds. */
  readonly isPatient: boolean
}

export interface Verdict {
  readonly phase: ReplicationPhase
  readonly isCaughtUp: boolean
  readonly isStalled: boolean
}

/** Whether anything is to be had of a peer as it stands. */
export function isDead(watch: Pick<Watch, 'isStalled' | 'isMute'>): boolean {
  return watch.isStalled || watch.isMute
}

/**
 * The verdict over several peers: caught up when all are that give anything, and there is one; stalled when none gives
 * anything any more. Both hold for connected peers alone, so having none is neither.
 */
export function summarize(facts: PhaseFacts): Verdict {
  const { watches } = facts
  const isStalled = watches.length > 0 && watches.every((each) => each.isStalled && !(facts.isPatient && each.isMute))
  const able = watches.filter((each) => !isDead(each))
  const canJudge = facts.isStarted && facts.isLoaded && !facts.isIndexing && facts.isSettled
  const isCaughtUp = canJudge && able.length > 0 && able.every((each) => each.isCaughtUp)
  return { phase: phaseOf(facts, isCaughtUp, isStalled), isCaughtUp, isStalled }
}

function phaseOf(facts: PhaseFacts, isCaughtUp: boolean, isStalled: boolean): ReplicationPhase {
  if (!facts.isStarted) return 'stopped'
  if (!facts.isLoaded) return 'loading'
  if (facts.isIndexing) return 'indexing'
  if (facts.watches.length === 0) return 'waiting'
  if (isStalled) return 'stalled'
  return isCaughtUp ? 'caughtUp' : 'syncing'
}
