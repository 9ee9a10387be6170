/** How far everybody is from us, of ssb-friends, as long as somebody looks. */

import type { Sbot } from '../adapters/sbot'
import { followHops, hasFriends } from '../adapters/social-graph'
import type { FeedId } from '../core/types'
import type { Clock } from '../shell/clock'
import { startSlices } from '../shell/slices'

export interface Hops {
  /** Null: not known, or blocked by us: that has a word of its own. */
  readonly of: (id: FeedId) => number | null
  /** Who can be reached by follows, in no order. */
  readonly reached: () => ReadonlyMap<FeedId, number>
  readonly stop: () => void
}

export function startHops(options: {
  readonly sbot: Sbot
  readonly clock: Clock
  readonly log: (message: string) => void
  /** The distance of this feed has changed. */
  readonly onChange: (id: FeedId) => void
}): Hops {
  const { sbot, clock, log, onChange } = options
  const reached = new Map<FeedId, number>()
  if (!hasFriends(sbot)) return { of: () => null, reached: () => reached, stop: () => {} }
  /** Told of later, as some graphs come while they are being asked for. */
  const changed = new Set<FeedId>()
  const takeChanged = (): number => {
    for (const id of changed) {
      changed.delete(id)
      const hops = graph.hopsOf(id)
      if (hops !== undefined && hops >= 0) reached.set(id, hops)
      else reached.delete(id)
      onChange(id)
      return 1
    }
    return 0
  }
  const slices = startSlices(clock, [() => graph.step(), takeChanged])
  const graph = followHops(
    { sbot, clock, log },
    {
      wake: slices.wake,
      changed: (id) => {
        changed.add(id)
        slices.wake()
      },
      allChanged: () => {},
    },
  )
  return {
    of: (id) => (id === sbot.id ? 0 : (reached.get(id) ?? null)),
    reached: () => reached,
    stop: () => {
      slices.stop()
      graph.stop()
      changed.clear()
      reached.clear()
    },
  }
}
