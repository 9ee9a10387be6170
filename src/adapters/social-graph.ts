/**
 * How far everybody is from us, as ssb-friends 4 and 5 count it, kept as one map of numbers. It says what the graph says
 * and judges nobody; that is social.ts.
 *
 * `hopStream` alone does not tell the whole story:
 * - Its first item is what is there now, which with ssb-db2 is nobody until the index has been read, and an index that is
 *   built anew passes through states that never were. Only what `hops` calls back with, when the index is up to date, is
 *   the whole graph; until then nothing follows from somebody not being in it.
 * - Then come changes; but when the index is loaded or built anew, a whole graph once more, known by our own id in it.
 * - Whom we lose sight of as somebody on the way is unfollowed or blocked is not in any change. So whenever somebody moves
 *   away from us the whole is asked for again.
 */
import pull = require('pull-stream')

import type { FeedId } from '../core/types'
import type { Clock } from '../shell/clock'
import type { Step } from '../shell/slices'
import type { Sbot } from './sbot'

export interface HopGraph {
  /**
   * 0.1 to n: how many follows lie between us, one of our other devices counting 0.1. -1: blocked by us. Below -1: only
   * ever unfollowed, or blocked by others. Undefined: not in the graph.
   */
  readonly hopsOf: (id: FeedId) => number | undefined
  /** Whether who is not in the graph is known not to be. */
  readonly isComplete: () => boolean
  /** How many others can be reached by follows; 0 for who follows nobody. */
  readonly reachedCount: () => number
  /** Takes in a bit of what has come. */
  readonly step: Step
  readonly stop: () => void
}

export interface GraphListener {
  /** There are steps to be made. */
  readonly wake: () => void
  /** The place of one feed has changed. */
  readonly changed: (id: FeedId) => void
  /** Anybody may have to be judged anew. */
  readonly allChanged: () => void
}

interface Friends {
  readonly hopStream: (options: { readonly live: true; readonly old: true }) => pull.Source<unknown>
  readonly hops?: (options: object, cb: (error?: unknown, hops?: unknown) => void) => unknown
}

type Hops = Readonly<Record<FeedId, unknown>>

/** Many feeds that have come at once, on their way into the map. */
interface Intake {
  readonly hops: Hops
  readonly ids: readonly FeedId[]
  next: number
  /** Of whom something newer has come meanwhile. */
  readonly overtaken: Set<FeedId>
  /** Of the whole graph: those in the map, to find who is not in it any more. */
  known: Iterator<FeedId> | null
  readonly isWhole: boolean
}

/** A change of more feeds than this is taken in by steps. */
const MANY = 500
/** Feeds per step, at the cost of one look. */
const FEEDS_PER_STEP = 16
/** Changes come in bursts, and the whole graph is 50 000 looks on an old account. */
const REFRESH_MS = 5_000
/** After the stream has failed; doubled each time. */
const RETRY_MS = 1_000
const RETRY_MAX_MS = 300_000

function isTable(value: unknown): value is Hops {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function toHops(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

function isReached(hops: number | undefined): boolean {
  return hops !== undefined && hops >= 0
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** ssb-friends, if the stack has it. */
export function hasFriends(sbot: Sbot): boolean {
  return findFriends(sbot) !== null
}

function findFriends(sbot: Sbot): Friends | null {
  const { friends } = sbot
  const { hopStream } = (friends ?? {}) as { hopStream?: unknown }
  return typeof hopStream === 'function' ? (friends as Friends) : null
}

/** Follows ssb-friends until it is stopped. Whatever fails there is said in the log, and asked again later. */
export function followHops(
  { sbot, clock, log }: { readonly sbot: Sbot; readonly clock: Clock; readonly log: (message: string) => void },
  listener: GraphListener,
): HopGraph {
  const known = new Map<FeedId, number>()
  let reachedCount = 0
  let isComplete = false
  let intakes: Intake[] = []

  let stream: { abort: () => void } | null = null
  let failures = 0
  let refusals = 0
  let isAsking = false
  let isAskedAgain = false
  let refreshTimer: unknown = null
  let retryTimer: unknown = null
  let isStopped = false

  // ---- the map --------------------------------------------------------------------------------------------------------

  /** Whether the feed has moved away from us: others may be out of sight now. */
  const put = (id: FeedId, hops: number | undefined): boolean => {
    const before = known.get(id)
    if (before === hops || id === sbot.id) return false
    if (hops === undefined) known.delete(id)
    else known.set(id, hops)
    const countBefore = reachedCount
    reachedCount += Number(isReached(hops)) - Number(isReached(before))
    if (isComplete && (countBefore === 0) !== (reachedCount === 0)) listener.allChanged()
    listener.changed(id)
    return before !== undefined && before >= 0 && !(hops !== undefined && hops >= 0 && hops < before)
  }

  const takeIn = (hops: Hops, isWhole: boolean): void => {
    // The one thing that cannot be cut: the names of 50 000 feeds take some 13 ms. Once, as who comes later is in a change.
    const ids = isWhole && isComplete ? [] : Object.keys(hops)
    intakes.push({ hops, ids, next: 0, overtaken: new Set(), known: null, isWhole })
    listener.wake()
  }

  const step = (): number => {
    const [intake] = intakes
    if (!intake || isStopped) return 0
    const { hops, ids, overtaken } = intake
    let isFarther = false
    for (let i = 0; i < FEEDS_PER_STEP; i++) {
      const id = ids[intake.next++]
      if (id === undefined) break
      // As it is now: ssb-friends hands out the object that it goes on to work on.
      if (!overtaken.has(id)) isFarther = put(id, toHops(hops[id])) || isFarther
    }
    if (!intake.isWhole && isFarther) refresh()
    if (intake.next < ids.length || (intake.isWhole && prune(intake))) return 1
    intakes = intakes.filter((each) => each !== intake)
    if (intake.isWhole && !isComplete) {
      isComplete = true
      listener.allChanged()
    }
    return 1
  }

  /** Compares a few of those in the map with the whole graph; false when all have been looked at. */
  const prune = (intake: Intake): boolean => {
    intake.known ??= known.keys()
    for (let i = 0; i < FEEDS_PER_STEP; i++) {
      const { done, value } = intake.known.next()
      if (done) return false
      if (!intake.overtaken.has(value)) put(value, toHops(intake.hops[value]))
    }
    return true
  }

  // ---- ssb-friends ----------------------------------------------------------------------------------------------------

  const heard = (item: unknown, isFirst: boolean): void => {
    if (isStopped || !isTable(item)) return
    failures = 0
    const isLoaded = Object.prototype.hasOwnProperty.call(item, sbot.id)
    if (isLoaded && !isFirst) {
      intakes = []
      isComplete = false
    }
    // Something else under that name, which has a stream only: what that says is all there is.
    if ((isLoaded || isFirst) && !canAsk()) return takeIn(item, true)
    if (isLoaded && !isFirst) ask()
    if (isLoaded && intakes.some((intake) => intake.isWhole)) return
    const ids = Object.keys(item)
    if (ids.length > MANY) return takeIn(item, false)
    let isFarther = false
    for (const id of ids) {
      for (const intake of intakes) intake.overtaken.add(id)
      isFarther = put(id, toHops(item[id])) || isFarther
    }
    if (isFarther) refresh()
  }

  const canAsk = (): boolean => typeof findFriends(sbot)?.hops === 'function'

  const refresh = (): void => {
    if (isStopped || refreshTimer !== null) return
    const delay = Math.min(REFRESH_MS * 2 ** refusals, RETRY_MAX_MS)
    refreshTimer = clock.setTimeout(() => {
      refreshTimer = null
      ask()
    }, delay)
  }

  /** Asks for the whole graph as it is when the index is up to date. */
  const ask = (): void => {
    const friends = findFriends(sbot)
    if (isStopped || typeof friends?.hops !== 'function') return
    if (isAsking) {
      isAskedAgain = true
      return
    }
    isAsking = true
    const answered = (error: unknown, hops: unknown): void => {
      if (!isAsking || isStopped) return
      isAsking = false
      if (isAskedAgain) {
        // Built anew since it was asked for.
        isAskedAgain = false
        ask()
      } else if (isTable(hops)) {
        refusals = 0
        intakes = intakes.filter((each) => !each.isWhole)
        takeIn(hops, true)
      } else {
        log(`ssb-friends does not say who is in its graph: ${textOf(error ?? 'no answer')}`)
        refresh()
        refusals++
      }
    }
    let isOver = false
    const once = (error?: unknown, hops?: unknown): void => {
      if (isOver) return
      isOver = true
      answered(error, hops)
    }
    try {
      friends.hops({}, once)
    } catch (error) {
      once(error)
    }
  }

  const open = (): void => {
    const friends = findFriends(sbot)
    if (isStopped || !friends) return
    let isOver = false
    const ended = (error: unknown): void => {
      if (isOver || isStopped) return
      isOver = true
      stream = null
      log(`the stream of ssb-friends has ended${error ? `: ${textOf(error)}` : ''}`)
      retryTimer = clock.setTimeout(
        () => {
          retryTimer = null
          open()
        },
        Math.min(RETRY_MS * 2 ** failures, RETRY_MAX_MS),
      )
      failures++
    }
    // What has happened while nobody was listening is not known.
    isComplete = false
    let isFirst = true
    const next = (item: unknown): void => {
      if (isOver) return
      heard(item, isFirst)
      isFirst = false
    }
    ask()
    try {
      const sink = pull.drain(next, ended)
      stream = sink
      pull(friends.hopStream({ live: true, old: true }), sink)
    } catch (error) {
      ended(error)
    }
  }

  open()

  return {
    hopsOf: (id) => known.get(id),
    isComplete: () => isComplete,
    reachedCount: () => reachedCount,
    step,
    stop: () => {
      isStopped = true
      for (const timer of [refreshTimer, retryTimer]) if (timer !== null) clock.clearTimeout(timer)
      intakes = []
      known.clear()
      try {
        stream?.abort()
      } catch (error) {
        log(`the stream of ssb-friends could not be ended: ${textOf(error)}`)
      }
      stream = null
    },
  }
}
