/**
 * Feeds to be dealt with, in order of their distance at the time when they were put in; twice, if they were put in twice.
 * Nothing is looked up here: with 50 000 feeds that would cost as much as dealing with them.
 */
import type { FeedId } from './types'

interface Lane {
  readonly feeds: FeedId[]
  next: number
}

export interface Lanes {
  readonly put: (feed: FeedId, order: number) => void
  /** The closest one, of several the first that came; undefined if there is none. */
  readonly take: () => FeedId | undefined
  readonly size: () => number
}

export function createLanes(): Lanes {
  const byOrder = new Map<number, Lane>()
  /** The one that is read from, as long as no other is closer. */
  let closest: Lane | null = null
  let closestOrder = 0
  let size = 0

  const findClosest = (): Lane | null => {
    if (closest) return closest
    if (byOrder.size === 0) return null
    closestOrder = Math.min(...byOrder.keys())
    closest = byOrder.get(closestOrder) ?? null
    return closest
  }

  return {
    put: (feed, order) => {
      size++
      const lane = byOrder.get(order)
      if (lane) {
        lane.feeds.push(feed)
        return
      }
      byOrder.set(order, { feeds: [feed], next: 0 })
      if (order < closestOrder) closest = null
    },
    take: () => {
      const lane = findClosest()
      if (!lane) return undefined
      size--
      const feed = lane.feeds[lane.next++]
      if (lane.next === lane.feeds.length) {
        byOrder.delete(closestOrder)
        closest = null
      }
      return feed
    },
    size: () => size,
  }
}
