/**
 * How many new feeds are asked for at the same time. In an initial sync thousands of feeds are wanted of which nothing is
 * here yet; asked for all at once, ssb-ebt gets them in any order and a friend's feed may come last. So the closest go
 * first, and the next ones follow as those have arrived (asked for in ssb-ebt#15, ssb-friends#11). Feeds of which we have
 * something are never held back.
 *
 * Pure: time and what is known of a feed are arguments.
 */
import { type Buckets, createBuckets } from './buckets'
import type { FeedId } from './types'

/** A peer that has a feed says so within a round trip; one that has not says nothing. */
const UNOFFERED_MS = 1_000
/** Offered, or begun, and then nothing more: EBT itself turns to another peer after 3 s. */
const STUCK_MS = 3_000
/** Where hardly anything is to be had, waiting helps nobody: the limit grows to this many times itself. */
const MAX_GROWTH = 10

/** What is known of a feed: messages that we have, and the highest sequence that a connected peer says it has. */
export interface Supply {
  readonly have: number
  readonly offered: number | null
}

interface Asked {
  /** When it last moved; null while nobody is connected. */
  since: number | null
  have: number
}

export interface Pacing {
  /** Wanted, and nothing of it is here. */
  readonly offer: (feed: FeedId, order: number) => void
  /** Whether it was waiting. */
  readonly withdraw: (feed: FeedId) => boolean
  /** The next one to ask for, closest first; undefined if none waits or enough are on their way. */
  readonly next: (now: number, isConnected: boolean) => FeedId | undefined
  /** Looks at those on their way, and makes room for others where one has arrived or does not move. */
  readonly review: (now: number, supplyOf: (feed: FeedId) => Supply) => void
  /** The first neighbour has come: from now on time counts. */
  readonly connected: (now: number) => void
  /** The last neighbour has gone. */
  readonly disconnected: () => void
  readonly isWaiting: (feed: FeedId) => boolean
  readonly feeds: () => Iterable<FeedId>
  readonly waiting: () => number
  readonly onTheirWay: () => number
  readonly setLimit: (limit: number) => void
}

export function createPacing(limit: number): Pacing {
  const queue: Buckets = createBuckets()
  const asked = new Map<FeedId, Asked>()
  let atOnce = limit
  let extra = 0

  /** Whether its place is free again; null while it is not. */
  const outcomeOf = (item: Asked, { have, offered }: Supply, now: number): 'arrived' | 'unoffered' | 'stuck' | null => {
    if (have > item.have) {
      item.have = have
      item.since = now
    }
    if (have > 0 && offered !== null && have >= offered) return 'arrived'
    if (item.since === null) return null
    // The clock was set back.
    if (item.since > now) item.since = now
    const quietMs = now - item.since
    if (have === 0 && offered === null) return quietMs >= UNOFFERED_MS ? 'unoffered' : null
    return quietMs >= STUCK_MS ? 'stuck' : null
  }

  return {
    offer: (feed, order) => {
      if (!asked.has(feed)) queue.add(feed, order)
    },
    withdraw: (feed) => {
      asked.delete(feed)
      return queue.delete(feed)
    },
    next: (now, isConnected) => {
      if (queue.size() === 0) {
        extra = 0
        return undefined
      }
      if (asked.size >= atOnce + extra) return undefined
      const feed = queue.take()
      if (feed !== undefined) asked.set(feed, { since: isConnected ? now : null, have: 0 })
      return feed
    },
    review: (now, supplyOf) => {
      for (const [feed, item] of asked) {
        const outcome = outcomeOf(item, supplyOf(feed), now)
        if (outcome === null) continue
        asked.delete(feed)
        if (outcome === 'unoffered') extra = Math.min(extra + 1, atOnce * (MAX_GROWTH - 1))
        else extra = Math.max(0, extra - 1)
      }
    },
    connected: (now) => {
      for (const item of asked.values()) item.since = now
    },
    disconnected: () => {
      for (const item of asked.values()) item.since = null
    },
    isWaiting: (feed) => queue.has(feed),
    feeds: () => queue.feeds(),
    waiting: () => queue.size(),
    onTheirWay: () => asked.size,
    setLimit: (next) => {
      atOnce = next
    },
  }
}
