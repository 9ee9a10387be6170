/**
 * The branches of all meta feed trees, as ssb-meta-feeds knows them: first those that are there, then what is added or
 * changed. Branches are handed on as they come; what they mean is for the core to say.
 *
 * ssb-meta-feeds reads its state from the database at the first call, and holds streams back until then. One stream with
 * `old` and `live` has no gap between the two, and no sign where the old ones end. So there are two: the live one is opened
 * first and the old one after it, so that a branch made in between comes in one or both of them, never in none.
 *
 * A branch can come more than once: a feed of a group, whose recipients are compared by identity, comes once more as the
 * plugin reads its own messages live, and all come again after a stream has failed. Its feeds are objects of ssb-meta-feeds
 * that it goes on to change: who keeps something of them has to copy it. A tombstone comes as the branch that ends in the
 * feed it is about; the branches below that one do not come again.
 */
import { methodOf } from '../adapters/members'
import type { Sbot } from '../adapters/sbot'
import type { Clock } from '../shell/clock'
import { type Follower, follow } from './follow'

export interface MetafeedsOptions {
  readonly sbot: Sbot
  readonly clock: Clock
  /** An array of FeedDetails of ssb-meta-feeds from the root on, as it came: some may be null. */
  readonly onBranch: (branch: unknown) => void
  /** Once: what was there has been given, or there is no ssb-meta-feeds. */
  readonly onLoaded: () => void
  readonly log: (message: string) => void
}

export interface Metafeeds {
  /** Looks again whether ssb-meta-feeds is there. */
  poke(): void
  /** Whether `onLoaded` has been called. */
  isLoaded(): boolean
  stop(): void
}

/** Nothing is called before this has returned: plugins are mounted in any order, and ssb-meta-feeds may be one of the next. */
export function startMetafeeds({ sbot, clock, onBranch, onLoaded, log }: MetafeedsOptions): Metafeeds {
  let live: Follower | null = null
  let old: Follower | null = null
  let isLoaded = false
  let isStopped = false

  const loaded = (): void => {
    if (isLoaded || isStopped) return
    isLoaded = true
    onLoaded()
  }

  const open = (which: { readonly old: boolean; readonly live: boolean }): unknown =>
    methodOf(sbot, 'metafeeds', 'branchStream')?.({ tombstoned: null, ...which })

  /** Each time that the live one has been opened: nobody knows what came while it was not. */
  const readOld = (): void => {
    if (isStopped) return
    if (old) old.restart()
    else {
      old = follow(
        { clock, log },
        {
          name: 'the stream of meta feeds',
          open: () => open({ old: true, live: false }),
          each: onBranch,
          done: loaded,
        },
      )
    }
  }

  const look = (): void => {
    if (isStopped || live) return
    if (!methodOf(sbot, 'metafeeds', 'branchStream')) return
    live = follow(
      { clock, log },
      {
        name: 'the live stream of meta feeds',
        open: () => {
          clock.defer(readOld)
          return open({ old: false, live: true })
        },
        each: onBranch,
      },
    )
  }

  clock.defer(() => {
    look()
    if (!live) loaded()
  })

  return {
    poke: look,
    isLoaded: () => isLoaded,
    stop: () => {
      isStopped = true
      live?.stop()
      old?.stop()
    },
  }
}
