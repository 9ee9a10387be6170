/** Feeds in order of their distance. There are few distances and many feeds, so a set for each distance does. */
import type { FeedId } from './types'

interface Bucket {
  readonly feeds: Set<FeedId>
  /** One for many reads: each new one walks over the places of all that was taken out before. */
  reader: Iterator<FeedId>
}

export interface Buckets {
  /** A feed that is there already moves to its new place. */
  readonly add: (feed: FeedId, order: number) => void
  readonly delete: (feed: FeedId) => boolean
  readonly has: (feed: FeedId) => boolean
  /** Takes out the closest one, of several the first that came; undefined if there is none. */
  readonly take: () => FeedId | undefined
  readonly feeds: () => Iterable<FeedId>
  readonly size: () => number
}

export function createBuckets(): Buckets {
  const orders = new Map<FeedId, number>()
  const byOrder = new Map<number, Bucket>()
  /** The orders in use, ascending; made again when one comes or goes. */
  let sorted: readonly number[] | null = []

  const remove = (feed: FeedId): boolean => {
    const order = orders.get(feed)
    if (order === undefined) return false
    orders.delete(feed)
    const feeds = byOrder.get(order)?.feeds
    feeds?.delete(feed)
    if (feeds?.size === 0) {
      byOrder.delete(order)
      sorted = null
    }
    return true
  }

  return {
    add: (feed, order) => {
      if (orders.get(feed) === order) return
      remove(feed)
      orders.set(feed, order)
      const bucket = byOrder.get(order)
      if (bucket) bucket.feeds.add(feed)
      else {
        const feeds = new Set([feed])
        byOrder.set(order, { feeds, reader: feeds.values() })
        sorted = null
      }
    },
    delete: remove,
    has: (feed) => orders.has(feed),
    take: () => {
      sorted ??= [...byOrder.keys()].sort((a, b) => a - b)
      const [closest] = sorted
      const bucket = closest === undefined ? undefined : byOrder.get(closest)
      if (!bucket) return undefined
      const read = bucket.reader.next()
      let { value } = read
      if (read.done) {
        bucket.reader = bucket.feeds.values()
        value = bucket.reader.next().value
      }
      remove(value)
      return value
    },
    feeds: () => orders.keys(),
    size: () => orders.size,
  }
}
