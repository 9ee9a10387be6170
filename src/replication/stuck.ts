/**
 * Frees feeds that got stuck between two neighbours (core/stuck.ts says which, and why): opens the EBT stream with that
 * neighbour anew on the connection that is there. Looks only while there are new feeds to look after.
 */
import { memberOf, methodOf } from '../adapters/members'
import { own } from '../core/own'
import { type Clock, unref } from '../shell/clock'
import { createStuck, LOOK_MS, type Offer, type Sight } from './core/stuck'
import type { FeedId } from './core/types'
import { openStream } from './formats'

/** A look that comes so much too late: there was a lot to do, or the machine slept. What came meanwhile is not read yet. */
const LATE_MS = 1_000

export interface StuckStreamsOptions {
  readonly sbot: object
  readonly self: FeedId
  readonly clock: Clock
  /** The connections that are there, the oldest first. */
  readonly connections: () => Iterable<unknown>
  readonly formatOf: (feed: FeedId) => string
  /** What is done. */
  readonly debug: (message: string) => void
  /** What fails. */
  readonly log: (message: string) => void
}

export interface StuckStreams {
  /** It was just asked for while somebody was connected. */
  readonly watch: (feed: FeedId) => void
  /** It is not wanted any more. */
  readonly forget: (feed: FeedId) => void
  readonly stop: () => void
}

export function createStuckStreams(options: StuckStreamsOptions): StuckStreams {
  const { sbot, clock, formatOf, debug, log } = options
  const stuck = createStuck({ self: options.self, formatOf })
  let timer: unknown = null
  let isStopped = false
  /** Elapsed while looking: the clock of the machine may be set. */
  let at = 0
  let lastNow = clock.now()
  let stopListening: (() => void) | null = null

  const sightOf = (feed: FeedId): Sight | null => {
    try {
      const status = methodOf(sbot, 'ebt', 'peerStatus')?.(feed)
      return status ? toSight(status) : null
    } catch {
      // Of a stream that is just beginning.
      return null
    }
  }

  const listen = (): void => {
    if (stopListening) return
    const subscribe = methodOf(sbot, 'db', 'onMsgAdded') ?? methodOf(sbot, 'post')
    let isActive = true
    let remove: unknown = null
    try {
      remove = subscribe?.(() => {
        if (isActive) stuck.heard()
      }, false)
    } catch (error) {
      log(`no news of messages: ${memberOf(error, 'message')}`)
    }
    stopListening = () => {
      isActive = false
      if (typeof remove === 'function') remove()
    }
  }

  const rest = (): void => {
    stopListening?.()
    stopListening = null
    if (timer !== null) clock.clearTimeout(timer)
    timer = null
  }

  const arm = (): void => {
    timer = clock.setTimeout(() => {
      timer = null
      look()
    }, LOOK_MS)
    unref(timer)
  }

  const look = (): void => {
    const now = clock.now()
    const passedMs = now - lastNow
    if (passedMs < 0 || passedMs > LOOK_MS + LATE_MS) stuck.heard()
    lastNow = now
    at += LOOK_MS
    const connections = byPeer(options.connections())
    for (const { peer, format, feed, reason } of stuck.look(at, connections, sightOf)) {
      debug(
        `${feed} ${reason === 'stuck' ? 'is stuck' : 'has no stream'}: the ${format} stream with ${peer} begins anew`,
      )
      openStream({ sbot, rpc: connections.get(peer), format, log })
    }
    if (isStopped) return
    if (connections.size === 0) stuck.clear()
    if (!stuck.isIdle()) arm()
    else rest()
  }

  return {
    watch: (feed) => {
      // Older ones do not tell.
      if (isStopped || methodOf(sbot, 'ebt', 'peerStatus') === null) return
      const isAtRest = timer === null
      if (isAtRest) {
        const now = clock.now()
        at += Math.max(0, now - lastNow)
        lastNow = now
      }
      stuck.watch(feed, sightOf(feed)?.have ?? 0, at)
      if (!isAtRest) return
      listen()
      arm()
    },
    forget: stuck.forget,
    stop: () => {
      isStopped = true
      rest()
    },
  }
}

function byPeer(rpcs: Iterable<unknown>): Map<FeedId, object> {
  const connections = new Map<FeedId, object>()
  for (const rpc of rpcs) {
    const id = memberOf(rpc, 'id')
    if (typeof id === 'string') connections.set(id, rpc as object)
  }
  return connections
}

function toSight(status: unknown): Sight {
  const have = memberOf(status, 'seq')
  const peers = memberOf(status, 'peers')
  const offers = new Map<FeedId, Offer>()
  if (typeof peers === 'object' && peers !== null)
    for (const peer of Object.keys(peers)) offers.set(peer, toOffer(own(peers as Record<string, unknown>, peer)))
  return { have: typeof have === 'number' && have > 0 ? have : 0, offers }
}

function toOffer(peer: unknown): Offer {
  const sequence = memberOf(peer, 'seq')
  const mark = memberOf(peer, 'replicating')
  return { sequence: typeof sequence === 'number' ? sequence : null, isAsked: memberOf(mark, 'rx') === true, mark }
}
