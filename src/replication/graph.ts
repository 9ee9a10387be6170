/**
 * Reads the social graph of ssb-friends: distances, and who blocks whom. What comes small is taken in at once, a whole graph
 * in slices; it keeps no order of its own, so whatever comes later is read later.
 *
 * The streams tell of most changes. They do not name the feeds that were reachable only through somebody who was
 * unfollowed: when a distance grows, the whole table is compared once more. While ssb-db2 catches up, its graph passes
 * through states that were never true for long, so what follows from it waits until the end, and then for a look at the whole.
 */
import pull = require('pull-stream')

import { memberOf, methodOf } from '../adapters/members'
import { own } from '../core/own'
import type { Clock } from '../shell/clock'
import type { FeedId, Hops } from './core/types'

type Table = Readonly<Record<string, unknown>>

/** Names taken in at once; more are read in slices. */
const INLINE_MAX = 500
/** Of a slice's 500. */
const COST_PER_FEED = 0.25
/** Feeds, and edges, to a piece of work: asking for the time after each would take as long as the feed itself. */
const FEEDS_PER_STEP = 64
const EDGES_PER_STEP = 320
const COST_PER_EDGE = 0.05
/** Between two comparisons of the whole table, when one follows the other. */
const REREAD_PAUSE_MS = 1_000
/** ssb-friends answers when its index has been written; without an answer things go on with what the streams said. */
const REREAD_TIMEOUT_MS = 10_000

export interface GraphOptions {
  readonly sbot: object
  readonly clock: Clock
  readonly mains: () => Iterable<FeedId>
  /** Returns what they were before. */
  readonly onHops: (feed: FeedId, hops: Hops | null) => Hops | null
  /** Whether an edge from this source was a block: then those that are none are told, too. */
  readonly hasBlocks: (source: FeedId) => boolean
  readonly onEdge: (source: FeedId, dest: FeedId, value: unknown) => void
  /** A complete reading of all edges begins and ends. */
  readonly onEdgesBegin: () => void
  readonly onEdgesEnd: () => void
  /** These distances have just been taken in. */
  readonly onTaken: (feeds: readonly FeedId[]) => void
  /** Everything that was there when the reading began has been taken in. */
  readonly onRead: () => void
  readonly wake: () => void
  readonly log: (message: string) => void
}

export interface Graph {
  /** Subscribes, or compares with what is there now, if it has subscribed before. */
  readonly resume: () => void
  /** Nothing that comes now is decided about before `resume`. */
  readonly pause: () => void
  readonly isPaused: () => boolean
  /** Whether there is something that has come and has not been taken in. */
  readonly isBusy: () => boolean
  /** One small piece of the reading; its cost, 0 if there is none. */
  readonly step: () => number
  readonly stop: () => void
}

/** A part of the reading: does a little, returns its cost, 0 when it is done. */
type Job = () => number

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null
}

export function startGraph(options: GraphOptions): Graph {
  const { sbot, clock, log } = options
  const jobs: Job[] = []
  const ends: (() => void)[] = []
  /** The edges as they were last read whole: a graph that was built anew is another object. */
  let lastEdges: unknown = null
  let isSubscribed = false
  /** Whether the distances that change are still told of. */
  let isFollowingHops = false
  let isPaused = true
  let isStopped = false
  /** Until the answer of ssb-friends is there. */
  let isAsking = false
  let pendingAnswers = 0
  const limits = new Set<unknown>()
  let rereadAt = Number.NEGATIVE_INFINITY
  let rereadTimer: unknown = null

  // ---- taking in ------------------------------------------------------------------------------------------------------

  /** Whether the graph may have lost somebody without saying so. */
  const isLoss = (before: Hops | null, value: unknown): boolean =>
    before !== null && before >= 0 && (typeof value !== 'number' || value < 0 || value > before)

  const takeHops = (table: Table): void => {
    const feeds = Object.keys(table)
    let isLossy = false
    const takeOne = (feed: FeedId): void => {
      const value = table[feed]
      const before = options.onHops(feed, typeof value === 'number' ? value : null)
      if (isLoss(before, value)) isLossy = true
    }
    const done = (): void => {
      if (isLossy) reread()
    }
    if (feeds.length <= INLINE_MAX && jobs.length === 0) {
      feeds.forEach(takeOne)
      options.onTaken(feeds)
      return done()
    }
    let at = 0
    add(() => {
      const end = Math.min(at + FEEDS_PER_STEP, feeds.length)
      if (at === end) {
        done()
        return 0
      }
      while (at < end) takeOne(feeds[at++] as FeedId)
      return FEEDS_PER_STEP * COST_PER_FEED
    })
  }

  const takeSource = (source: FeedId, table: unknown): number => {
    if (!isTable(table)) return 1
    const isBlocking = options.hasBlocks(source)
    let count = 1
    for (const dest in table) {
      const value = table[dest]
      // Nine edges in ten, of which ssb-ebt has nothing to know.
      if (isBlocking || !((value as number) >= 0)) options.onEdge(source, dest, value)
      count++
    }
    return count
  }

  /** Whole: what it does not name is no edge any more. */
  const takeEdges = (table: Table, isWhole: boolean): void => {
    const sources = Object.keys(table)
    if (!isWhole && jobs.length === 0 && isSmall(table, sources)) {
      for (const source of sources) takeSource(source, table[source])
      return
    }
    let at = 0
    if (isWhole) add(once(options.onEdgesBegin))
    add(() => {
      let count = 0
      while (at < sources.length && count < EDGES_PER_STEP) {
        const source = sources[at++] as FeedId
        count += takeSource(source, table[source])
      }
      return COST_PER_EDGE * count
    })
    if (isWhole) add(once(options.onEdgesEnd))
  }

  /** One edge, as the live stream brings it, or not much more. */
  const isSmall = (table: Table, sources: readonly FeedId[]): boolean => {
    let count = sources.length
    for (const source of sources) {
      if (count > INLINE_MAX) return false
      const dests = table[source]
      if (isTable(dests)) for (const _ in dests) count++
    }
    return count <= INLINE_MAX
  }

  const once = (fn: () => void): Job => {
    let isDone = false
    return () => {
      if (isDone) return 0
      isDone = true
      fn()
      return COST_PER_FEED
    }
  }

  const add = (job: Job): void => {
    jobs.push(job)
    options.wake()
  }

  const step = (): number => {
    while (!isStopped) {
      const [job] = jobs
      if (!job) return 0
      const cost = job()
      if (cost > 0) return cost
      jobs.shift()
      if (jobs.length === 0 && !isAsking) options.onRead()
    }
    return 0
  }

  // ---- the whole, once more -------------------------------------------------------------------------------------------

  /** Asks ssb-friends, which hands out its own table: it stays true while it is read in slices. */
  const ask = (name: 'hops' | 'graph', args: readonly unknown[], onTable: (table: Table) => void): boolean => {
    const call = methodOf(sbot, 'friends', name)
    if (!call) return false
    let isOver = false
    const finish = (table: unknown): void => {
      if (isOver || isStopped) return
      isOver = true
      clock.clearTimeout(limit)
      if (isTable(table)) onTable(table)
      settled()
    }
    pendingAnswers++
    isAsking = true
    const limit = clock.setTimeout(() => {
      log(`ssb-friends does not answer ${name}`)
      finish(null)
    }, REREAD_TIMEOUT_MS)
    limits.add(limit)
    const settled = (): void => {
      limits.delete(limit)
      pendingAnswers--
      isAsking = pendingAnswers > 0
      if (!isAsking && jobs.length === 0) options.onRead()
    }
    try {
      call(...args, (error: unknown, table: unknown) => {
        if (error) log(`ssb-friends cannot tell its ${name}: ${memberOf(error, 'message')}`)
        finish(error ? null : table)
      })
    } catch (error) {
      log(`ssb-friends cannot tell its ${name}: ${memberOf(error, 'message')}`)
      finish(null)
    }
    return true
  }

  /**
   * Feeds that we know and the table does not name are out of reach. Those that it names and we do not know have come down
   * the stream, unless that is over: to list 50 000 names takes longer than a slice.
   */
  const compareHops = (table: Table): void => {
    if (!isFollowingHops) takeHops(table)
    const known = options.mains()[Symbol.iterator]()
    add(() => {
      for (let seen = 0; seen < FEEDS_PER_STEP; seen++) {
        const { done, value: feed } = known.next()
        if (done) return COST_PER_FEED * seen
        const value = own(table, feed)
        const hops = typeof value === 'number' ? value : null
        if (options.onHops(feed, hops) !== hops) options.onTaken([feed])
      }
      return COST_PER_FEED * FEEDS_PER_STEP
    })
  }

  /** Soon: the first time at once, a second time after a pause. */
  const reread = (): void => {
    if (isPaused || isStopped || rereadTimer !== null) return
    const waitMs = Math.min(REREAD_PAUSE_MS, rereadAt + REREAD_PAUSE_MS - clock.now())
    if (waitMs > 0) {
      rereadTimer = clock.setTimeout(() => {
        rereadTimer = null
        reread()
      }, waitMs)
      return
    }
    rereadAt = clock.now()
    ask('hops', [{}], compareHops)
  }

  const rereadAll = (): void => {
    const isEdgesAsked = ask('graph', [], (table) => {
      // We have followed each change of this one.
      if (table === lastEdges) return
      lastEdges = table
      takeEdges(table, true)
    })
    const isHopsAsked = ask('hops', [{}], compareHops)
    // An old ssb-friends: its streams begin with the whole.
    if (!isEdgesAsked || !isHopsAsked) subscribe()
    else if (!isAsking && jobs.length === 0) options.onRead()
  }

  // ---- streams --------------------------------------------------------------------------------------------------------

  const follow = (name: 'graphStream' | 'hopStream', onItem: (table: Table) => void, onEnd = (): void => {}): void => {
    const open = methodOf(sbot, 'friends', name)
    if (!open) return log(`ssb-friends has no ${name}: version 5 or later is needed`)
    let source: unknown
    try {
      source = open({ old: true, live: true })
    } catch (error) {
      return log(`ssb-friends: ${name}: ${memberOf(error, 'message')}`)
    }
    if (typeof source !== 'function') return
    const sink = pull.drain<unknown>(
      (item) => {
        if (isStopped) return false
        if (isTable(item)) onItem(item)
        return true
      },
      (error) => {
        onEnd()
        if (error && !isStopped) log(`ssb-friends: ${name} ended: ${memberOf(error, 'message')}`)
      },
    )
    ends.push(() => sink.abort())
    sink(source as pull.Source<unknown>)
  }

  const subscribe = (): void => {
    for (const end of ends.splice(0)) end()
    let isFirst = true
    // Blocks first: what ssb-ebt must not pass on has to be known before it is asked for.
    follow('graphStream', (table) => {
      if (isFirst) lastEdges = table
      isFirst = false
      takeEdges(table, false)
    })
    isFollowingHops = true
    follow('hopStream', takeHops, () => {
      isFollowingHops = false
    })
    if (jobs.length === 0 && !isAsking) options.onRead()
  }

  return {
    resume: () => {
      if (isStopped || !isPaused) return
      isPaused = false
      if (!isSubscribed) {
        isSubscribed = true
        subscribe()
      } else rereadAll()
    },
    pause: () => {
      isPaused = true
    },
    isPaused: () => isPaused,
    isBusy: () => isAsking || jobs.length > 0,
    step,
    stop: () => {
      isStopped = true
      for (const each of limits) clock.clearTimeout(each)
      limits.clear()
      if (rereadTimer !== null) clock.clearTimeout(rereadTimer)
      rereadTimer = null
      for (const end of ends.splice(0)) end()
      jobs.length = 0
    },
  }
}
