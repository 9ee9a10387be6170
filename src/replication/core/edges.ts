/**
 * Who blocks whom, as far as ssb-ebt has to know: it must not pass the feed of one who blocks to the one who is blocked.
 * Only what differs from what it was told becomes a call, so that reading the whole graph again costs none.
 */
import type { FeedId } from './types'
import { standingOf } from './wanted'

export interface EdgeCall {
  readonly source: FeedId
  readonly dest: FeedId
  readonly isBlocking: boolean
}

export interface Edges {
  /** One edge as it is now; the call that follows, or null. Null value: there is no edge any more. */
  readonly set: (source: FeedId, dest: FeedId, value: unknown) => EdgeCall | null
  /** A complete reading of the graph begins; `end` gives the unblocks of what it did not name. */
  readonly begin: () => void
  readonly end: () => readonly EdgeCall[]
  /** Whether ssb-ebt was told of a block by this source. */
  readonly hasSource: (source: FeedId) => boolean
  readonly has: (source: FeedId, dest: FeedId) => boolean
  /** Blocking edges that ssb-ebt was told of. */
  readonly size: () => number
}

/** Edges that touch `self` are left to the wishes: its blocks follow the distances. */
export function createEdges(self: FeedId): Edges {
  /** Source, then dest, then the reading in which the edge was last seen. */
  const blocks = new Map<FeedId, Map<FeedId, number>>()
  let reading = 0
  let count = 0

  const remove = (source: FeedId, dests: Map<FeedId, number>, dest: FeedId): EdgeCall => {
    dests.delete(dest)
    count--
    if (dests.size === 0) blocks.delete(source)
    return { source, dest, isBlocking: false }
  }

  return {
    set: (source, dest, value) => {
      if (source === self || dest === self) return null
      const dests = blocks.get(source)
      if (standingOf(value) !== 'block') return dests?.has(dest) ? remove(source, dests, dest) : null
      const isNew = !dests?.has(dest)
      if (dests) dests.set(dest, reading)
      else blocks.set(source, new Map([[dest, reading]]))
      if (!isNew) return null
      count++
      return { source, dest, isBlocking: true }
    },
    begin: () => {
      reading++
    },
    end: () => {
      const calls: EdgeCall[] = []
      for (const [source, dests] of [...blocks])
        for (const [dest, seen] of [...dests]) if (seen !== reading) calls.push(remove(source, dests, dest))
      return calls
    },
    hasSource: (source) => blocks.has(source),
    has: (source, dest) => blocks.get(source)?.has(dest) ?? false,
    size: () => count,
  }
}
