/**
 * Priorities from the social graph of ssb-friends: whom we follow comes first, then whoever is within its hops, then the
 * others, and nobody talks to whom we have blocked. See docs/social.md.
 *
 * All of it goes through the public API (`peers()` tells who is in the table, `setPriority` with a `source` says what we
 * think of them), so that anybody can write another policy. Peers that are not in the table get no record, however many
 * the graph has, but for those we block, who have to be refused before they are known.
 */
import { InvalidArgumentError } from '../core/errors'
import { isPlainObject } from '../core/options'
import type { FeedId, Priority } from '../core/types'
import type { ConnectionManager } from '../manager'
import type { Source } from '../shell/live'
import { startSlices } from '../shell/slices'
import type { DiscoveryContext } from './discovery/source'
import { followHops, type HopGraph, hasFriends } from './social-graph'

/** `config.connectionManager.social`. */
export interface SocialOptions {
  /** Up to how many hops a peer is HIGH. 1: those we follow. */
  readonly highHops: number
  /** Up to how many hops a peer is MEDIUM; null: as far as ssb-friends counts (`config.friends.hops`, 3 if it is not set). */
  readonly mediumHops: number | null
}

export const DEFAULT_SOCIAL_OPTIONS: SocialOptions = { highHops: 1, mediumHops: null }

/** Under this name the manager keeps what is set here. */
const BY = 'social'
const BY_USER = 'user'
const BLOCKED = -1
const MAX_HOPS = 1_000
/** Setting a priority, in terms of looking at a peer. */
const SET_COST = 8
/** Routes that are there because the user wants to reach this peer. */
const BY_HAND: ReadonlySet<string> = new Set(['manual', 'seed', 'invite'])

type PeerItem = Parameters<Parameters<ReturnType<ConnectionManager['peers']>>[1]>[1]
type PeerView = NonNullable<ReturnType<ConnectionManager['peer']['get']>>
type Wish = Priority | 'AUTO'

/** What was asked for in vain, and what the peer was like then. */
interface Answer {
  readonly wish: Wish
  readonly priority: Priority | null
  readonly by: string | null
}

/** The options with defaults; null for `false`. Throws `InvalidArgumentError`. */
export function readSocialOptions(given: unknown): SocialOptions | null {
  if (given === undefined || given === true) return DEFAULT_SOCIAL_OPTIONS
  if (given === false) return null
  if (!isPlainObject(given))
    throw new InvalidArgumentError('social', 'false, or an object such as {highHops: 1, mediumHops: 2}', given)
  // Nobody else shares this object: what is not known is a slip.
  for (const name of Object.keys(given))
    if (name !== 'highHops' && name !== 'mediumHops')
      throw new InvalidArgumentError('social', 'highHops and mediumHops only', name)
  const { highHops = DEFAULT_SOCIAL_OPTIONS.highHops, mediumHops = DEFAULT_SOCIAL_OPTIONS.mediumHops } = given
  const high = checkHops('social.highHops', highHops, 0)
  return { highHops: high, mediumHops: mediumHops === null ? null : checkHops('social.mediumHops', mediumHops, high) }
}

function checkHops(argument: string, value: unknown, min: number): number {
  if (typeof value !== 'number' || !(value >= min && value <= MAX_HOPS))
    throw new InvalidArgumentError(argument, `a number from ${min} to ${MAX_HOPS}`, value)
  return value
}

/**
 * Starts to set priorities; returns what ends it, after which nothing is set and no timer or listener is left. What has
 * been set stays. Throws only for options that are not right. `onKnown` is called once, when everybody in the table has
 * been judged by the whole graph, or there is none to judge by.
 */
export function watchFriends(context: DiscoveryContext, onKnown: () => void = () => {}): () => void {
  const { sbot, manager, clock, log } = context
  const { social } = context.settings.own
  const options = readSocialOptions(social)
  let graph: HopGraph | null = null
  let reader: Source<PeerItem> | null = null
  let isReading = false
  let isReadingAnew = false
  let isStopped = false
  /** Feeds to be looked at. */
  const pending = new Set<FeedId>()
  let queue: Iterator<FeedId> | null = null
  const answers = new Map<FeedId, Answer>()

  // ---- what a peer is to us -------------------------------------------------------------------------------------------

  /** What the peer should have; AUTO: what its routes make of it; null: that is not known yet. */
  const wishFor = (id: FeedId, peer: PeerView | null): Wish | null => {
    if (!options) return 'AUTO'
    if (!graph) return null
    const hops = graph.hopsOf(id)
    if (hops === BLOCKED) return 'BANNED'
    // A graph that is being built goes through all that was ever said: a block is taken back when its end is certain.
    if (peer?.isBanned && !graph.isComplete()) return null
    if (hops !== undefined && hops >= 0) {
      if (hops <= options.highHops) return 'HIGH'
      if (hops <= (options.mediumHops ?? Number.POSITIVE_INFINITY)) return 'MEDIUM'
    }
    if (!graph.isComplete()) return null
    // Who follows nobody yet needs somebody to find his friends by: there is nothing to choose by.
    if (graph.reachedCount() === 0 || (peer && isWanted(peer))) return 'AUTO'
    return 'LOW'
  }

  /** True if there was something to do. */
  const judge = (id: FeedId, peer: PeerView | null): boolean => {
    const by = peer?.prioritisedBy ?? null
    const priority = peer?.priority ?? null
    // The manager would refuse it; the user's word stands until he takes it back.
    if (by === BY_USER) return false
    const wish = wishFor(id, peer)
    if (wish === null) return false
    if (wish === 'AUTO') {
      if (by !== BY) return false
    } else if (wish !== 'BANNED') {
      // What another module says came after us, and two that correct each other would go on for ever.
      if (!peer || (by !== null && by !== BY)) return false
    }
    if (priority === wish && (by === BY || wish === 'BANNED')) return false
    const answer = answers.get(id)
    if (answer && answer.wish === wish && answer.priority === priority && answer.by === by) return false
    ask(id, wish)
    return true
  }

  /** A hook may make something else of it, or veto it: then it is not asked for again until something has changed. */
  const ask = (id: FeedId, wish: Wish): void => {
    try {
      manager.peer.setPriority({ id, priority: wish, source: BY })
    } catch (error) {
      log(`${wish} could not be set: ${error instanceof Error ? error.message : String(error)}`)
    }
    const after = wish === 'AUTO' ? null : manager.peer.get(id)
    if (wish === 'AUTO' || after?.priority === wish) answers.delete(id)
    else answers.set(id, { wish, priority: after?.priority ?? null, by: after?.prioritisedBy ?? null })
  }

  // ---- a bit at a time ------------------------------------------------------------------------------------------------

  const judgeNext = (): number => {
    // One iterator for all: each new one would walk over the places of those who were taken out.
    queue ??= pending.values()
    const { done, value: id } = queue.next()
    if (done) {
      queue = null
      return 0
    }
    pending.delete(id)
    try {
      return judge(id, manager.peer.get(id)) ? SET_COST : 1
    } catch {
      // Not an id that the manager knows: the graph may hold feeds of other formats.
      return 1
    }
  }

  const readNext = (): number => {
    if (isReadingAnew) read()
    if (!reader || isReading) return 0
    const source = reader
    let cost = 0
    let isSync = true
    isReading = true
    source(null, (end, item) => {
      if (source !== reader) return
      isReading = false
      if (end) {
        reader = null
        return
      }
      cost = 1
      if (!item || !('id' in item)) return
      const isGone = 'removed' in item
      // A ban that a hook has turned into something else would be asked for for ever.
      if (isGone && answers.get(item.id)?.wish !== 'BANNED') answers.delete(item.id)
      if (isSync) {
        if (judge(item.id, isGone ? null : item)) cost = SET_COST
      } else {
        // Told of in the middle of an action, and perhaps out of date when that is over.
        pending.add(item.id)
        slices.wake()
      }
    })
    isSync = false
    return cost
  }

  /** From the beginning: everybody in the table, then each change. */
  const read = (): void => {
    isReadingAnew = false
    isReading = false
    const before = reader
    reader = null
    before?.(true, () => {})
    reader = manager.peers()
  }

  const readAnew = (): void => {
    isReadingAnew = true
    slices.wake()
  }

  let isKnown = false
  /** The last step: nobody else has anything to do. */
  const tellKnown = (): number => {
    if (!isKnown && (!options || graph?.isComplete())) {
      isKnown = true
      onKnown()
    }
    return 0
  }

  const slices = startSlices(clock, [judgeNext, () => graph?.step() ?? 0, readNext, tellKnown])

  const start = (): void => {
    graph = followHops(
      { sbot, clock, log },
      {
        wake: slices.wake,
        changed: (id) => {
          pending.add(id)
          slices.wake()
        },
        allChanged: readAnew,
      },
    )
    readAnew()
  }

  // Switched off: a ban of an earlier run would stay for good.
  if (!options) readAnew()
  else if (hasFriends(sbot)) start()
  else
    clock.defer(() => {
      if (isStopped) return
      if (hasFriends(sbot)) start()
      else {
        log('no ssb-friends: no priority is set by the social graph')
        isKnown = true
        onKnown()
      }
    })

  return () => {
    if (isStopped) return
    isStopped = true
    slices.stop()
    graph?.stop()
    const source = reader
    reader = null
    source?.(true, () => {})
    pending.clear()
    answers.clear()
  }
}

/** Somebody whom the user wants to reach: that says more than that the graph does not know him. */
function isWanted(peer: PeerView): boolean {
  return peer.isLongTerm || peer.routes.some(({ source }) => BY_HAND.has(source))
}
