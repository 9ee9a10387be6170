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

interface Block {
  readonly dest: FeedId
  /** The reading in which it was last seen. */
  seen: number
}

/** Edges that touch `self` are left to the wishes: its blocks follow the distances. */
export function createEdges(self: FeedId): Edges {
  /** By source. Most who block anybody block one: a Map for each would take more time than all the rest. */
  const blocks = new Map<FeedId, Block | Map<FeedId, Block>>()
  let reading = 0
  let count = 0

  const find = (source: FeedId, dest: FeedId): Block | undefined => {
    const dests = blocks.get(source)
    if (dests instanceof Map) return dests.get(dest)
    return dests?.dest === dest ? dests : undefined
  }

  const add = (source: FeedId, block: Block): void => {
    const dests = blocks.get(source)
    count++
    if (dests === undefined) blocks.set(source, block)
    else if (dests instanceof Map) dests.set(block.dest, block)
    else
      blocks.set(
        source,
        new Map([
          [dests.dest, dests],
          [block.dest, block],
        ]),
      )
  }

  const remove = (source: FeedId, { dest }: Block): EdgeCall => {
    const dests = blocks.get(source)
    count--
    if (dests instanceof Map) dests.delete(dest)
    if (!(dests instanceof Map) || dests.size === 0) blocks.delete(source)
    return { source, dest, isBlocking: false }
  }

  return {
    set: (source, dest, value) => {
      if (source === self || dest === self) return null
      const known = find(source, dest)
      if (standingOf(value) !== 'block') return known ? remove(source, known) : null
      if (known) known.seen = reading
      else add(source, { dest, seen: reading })
      return known ? null : { source, dest, isBlocking: true }
    },
    begin: () => {
      reading++
    },
    end: () => {
      const calls: EdgeCall[] = []
      for (const [source, dests] of [...blocks])
        for (const block of dests instanceof Map ? [...dests.values()] : [dests])
          if (block.seen !== reading) calls.push(remove(source, block))
      return calls
    },
    hasSource: (source) => blocks.has(source),
    has: (source, dest) => find(source, dest) !== undefined,
    size: () => count,
  }
}
