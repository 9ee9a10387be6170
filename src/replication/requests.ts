/**
 * Tells ssb-ebt what is wished, and remembers what it was told, so that nothing is said twice.
 *
 * What callers and ssb-ebt rely on (reference: replication, contract): a wanted feed gets `block(self, feed, false)` and
 * `request(feed, true)`; of a dropped or blocked one `request(feed, false)` comes before `block(self, feed, …)`; our own feed
 * is requested once and never blocked. A friend is never dropped for a moment: the remote would remember that we do not
 * want its feed (ssb-ebt#61). So a wish is computed when it is applied, from the facts as they are then.
 *
 * Drops and blocks are applied at once; wishes to have something wait for the graph to calm down, go closest first, and in
 * slices that leave the event loop free.
 */
import { isFeedId } from '../core/address'
import { own } from '../core/own'
import type { Clock } from '../shell/clock'
import { createLanes } from './core/lanes'
import { createPacing, type Supply } from './core/pacing'
import type { FeedId, Wish } from './core/types'
import type { Wanted } from './core/wanted'

/** What is used of ssb-ebt. */
export interface Ebt {
  readonly request: (feed: FeedId, isWanted: boolean) => void
  readonly block: (source: FeedId, dest: FeedId, isBlocking: boolean) => void
  /** Our clock of classic feeds, live; null if it cannot be had. */
  readonly readClock: ((cb: (clock: Readonly<Record<string, unknown>> | null) => void) => void) | null
  readonly supplyOf: (feed: FeedId) => Supply
}

/** Looks at what was asked for, while others wait. */
const REVIEW_MS = 250
/** Small changes are applied in the turn in which they come. */
const INLINE_MAX = 500
/** Of a slice's 500: a decision and its calls take some microseconds. */
const COST = 0.25
/** Feeds to a piece of work: asking for the time after each would take as long as the feed itself. */
const FEEDS_PER_STEP = 64

export interface RequestsOptions {
  readonly self: FeedId
  readonly wanted: Wanted
  readonly ebt: Ebt
  readonly clock: Clock
  /** How many feeds of which nothing is here are asked for at the same time; null: all. */
  readonly newFeedsAtOnce: number | null
  /** What ssb-ebt was told of this feed has changed, or that it waits. */
  readonly onChange: (feed: FeedId) => void
  /** All that was dirty has been applied. */
  readonly onSettled: () => void
  /** There is something to do for `step`. */
  readonly wake: () => void
}

export interface Requests {
  /** Requests our own feed: it must be in the first clock that a peer sees (ssb-ebt#48, ssb-ebt#75). */
  readonly requestSelf: () => void
  /** Applies at once what is dropped or blocked among the dirty feeds, if that is not much. */
  readonly applyUrgent: (feeds: Iterable<FeedId>) => void
  /** Takes over everything that is dirty. Up to some hundred feeds are dealt with right away. */
  readonly flush: (isInline: boolean) => void
  /** One small piece of work for the slices; its cost, 0 if there is none. */
  readonly step: () => number
  /** What ssb-ebt was told; null: nothing. */
  readonly toldOf: (feed: FeedId) => Wish | null
  readonly told: () => ReadonlyMap<FeedId, Wish>
  /** Wanted, and held back because others come first. */
  readonly isWaiting: (feed: FeedId) => boolean
  readonly waitingFeeds: () => Iterable<FeedId>
  readonly counts: () => { readonly waiting: number; readonly onTheirWay: number; readonly queued: number }
  readonly setConnected: (isConnected: boolean) => void
  readonly setNewFeedsAtOnce: (limit: number | null) => void
  readonly stop: () => void
}

export function createRequests(options: RequestsOptions): Requests {
  const { self, wanted, ebt, clock, onChange, wake } = options
  const told = new Map<FeedId, Wish>()
  /** Dirty feeds that were taken over. To settle one twice does no harm, so they are not looked up. */
  const lanes = createLanes()
  let isPaced = options.newFeedsAtOnce !== null && ebt.readClock !== null
  const pacing = createPacing(options.newFeedsAtOnce ?? 0)
  let ourClock: Readonly<Record<string, unknown>> | null = null
  let isReadingClock = false
  let isConnected = false
  let timer: unknown = null
  let isStopped = false
  let isFlushing = false
  /** Dirty feeds that are being taken over; before `sorted` they are in their lanes. */
  let unsorted: readonly FeedId[] = []
  let sorted = 0

  /** Known only once ssb-ebt has read the database; the clock is of classic feeds. */
  const hasMessages = (feed: FeedId): boolean => {
    if (!ourClock) return false
    const sequence = own(ourClock, feed)
    return typeof sequence === 'number' ? sequence > 0 : !isFeedId(feed) && ebt.supplyOf(feed).have > 0
  }

  const tell = (feed: FeedId, wish: Wish): void => {
    told.set(feed, wish)
    if (wish === 'want') {
      if (feed !== self) ebt.block(self, feed, false)
      ebt.request(feed, true)
    } else {
      ebt.request(feed, false)
      ebt.block(self, feed, wish === 'block')
    }
    onChange(feed)
  }

  /** Brings what ssb-ebt was told of this feed in line with what is wished now. */
  const settle = (feed: FeedId): void => {
    // They become dirty again once the trees have been read.
    if (wanted.isHeld(feed)) return
    const before = told.get(feed) ?? null
    const wish = wanted.wishOf(feed) ?? (before === 'want' || before === 'block' ? 'drop' : null)
    if (wish !== 'want' && pacing.withdraw(feed)) onChange(feed)
    if (wish === null || wish === before) return
    if (wish === 'want' && isPaced && feed !== self && !hasMessages(feed)) {
      if (pacing.isWaiting(feed)) return
      pacing.offer(feed, wanted.orderOf(feed))
      release()
      if (pacing.isWaiting(feed)) onChange(feed)
      return
    }
    tell(feed, wish)
  }

  /** Asks for as many of those that wait as there is room for. */
  const release = (): void => {
    for (;;) {
      const feed = pacing.next(clock.now(), isConnected)
      if (feed === undefined) return
      if (wanted.wishOf(feed) === 'want') tell(feed, 'want')
      else pacing.withdraw(feed)
    }
  }

  const readClock = (): void => {
    if (!isPaced || isReadingClock || !ebt.readClock) return
    isReadingClock = true
    ebt.readClock((value) => {
      if (isStopped) return
      // Without it everything counts as new, and is held back; better to hold back nothing.
      if (value === null) isPaced = false
      ourClock = value
      requeueWaiting()
    })
  }

  /** Those that need not wait after all. */
  const requeueWaiting = (): void => {
    const feeds = [...pacing.feeds()].filter((feed) => !isPaced || hasMessages(feed))
    for (const feed of feeds) {
      pacing.withdraw(feed)
      lanes.put(feed, wanted.orderOf(feed))
    }
    if (feeds.length === 0) return
    isFlushing = true
    wake()
  }

  const arm = (): void => {
    if (timer !== null || isStopped || !isConnected || pacing.waiting() === 0) return
    timer = clock.setTimeout(() => {
      timer = null
      pacing.review(clock.now(), ebt.supplyOf)
      release()
      arm()
    }, REVIEW_MS)
  }

  const queued = (): number => wanted.dirty.size + unsorted.length - sorted + lanes.size()

  /** Puts dirty feeds in their lanes; returns how many. */
  const sort = (limit: number): number => {
    if (sorted === unsorted.length) {
      sorted = 0
      unsorted = wanted.dirty.size > 0 ? [...wanted.takeDirty()] : []
    }
    const end = Math.min(sorted + limit, unsorted.length)
    const count = end - sorted
    while (sorted < end) {
      const feed = unsorted[sorted++] as FeedId
      lanes.put(feed, wanted.orderOf(feed))
    }
    return count
  }

  /** Those that are sorted, closest first; returns how many. */
  const settleSome = (limit: number): number => {
    let count = 0
    while (count < limit && !isStopped) {
      const feed = lanes.take()
      if (feed === undefined) break
      settle(feed)
      count++
    }
    return count
  }

  /** Deals with some feeds, and returns how many; 0 if there is none. */
  const work = (limit: number): number => {
    if (isStopped || !isFlushing) return 0
    const count = sort(limit) || settleSome(limit)
    if (count > 0 || isStopped) return count
    isFlushing = false
    arm()
    options.onSettled()
    return 0
  }

  const workInline = (): void => {
    let left = 2 * INLINE_MAX
    while (left > 0) {
      const count = work(Math.min(left, INLINE_MAX))
      if (count === 0) return
      left -= count
    }
  }

  return {
    requestSelf: () => {
      if (told.has(self)) return
      told.set(self, 'want')
      ebt.request(self, true)
      onChange(self)
    },
    applyUrgent: (feeds) => {
      let count = 0
      for (const feed of feeds) {
        if (isStopped || ++count > INLINE_MAX) return
        if (wanted.isHeld(feed) || wanted.wishOf(feed) === 'want') continue
        wanted.dirty.delete(feed)
        settle(feed)
      }
    },
    flush: (isInline) => {
      if (isStopped) return
      readClock()
      if (queued() === 0) {
        arm()
        return options.onSettled()
      }
      isFlushing = true
      if (isInline) workInline()
      if (isFlushing) wake()
    },
    step: () => COST * work(FEEDS_PER_STEP),
    toldOf: (feed) => told.get(feed) ?? null,
    told: () => told,
    isWaiting: (feed) => pacing.isWaiting(feed),
    waitingFeeds: () => pacing.feeds(),
    counts: () => ({
      waiting: pacing.waiting(),
      // Nobody looks at them while none waits.
      onTheirWay: pacing.waiting() > 0 ? pacing.onTheirWay() : 0,
      queued: queued(),
    }),
    setConnected: (next) => {
      if (next === isConnected) return
      isConnected = next
      if (next) {
        pacing.connected(clock.now())
        release()
        arm()
      } else {
        pacing.disconnected()
        if (timer !== null) clock.clearTimeout(timer)
        timer = null
      }
    },
    setNewFeedsAtOnce: (limit) => {
      isPaced = limit !== null && ebt.readClock !== null
      if (limit !== null) pacing.setLimit(limit)
      if (!isPaced) requeueWaiting()
      else readClock()
      release()
    },
    stop: () => {
      isStopped = true
      if (timer !== null) clock.clearTimeout(timer)
      timer = null
    },
  }
}
