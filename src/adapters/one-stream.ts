/**
 * ssb-ebt has one stream for each peer, and moves it to whichever connection came last. When both sides have dialed and the
 * later of the two connections is closed, the stream ends with it: the other connection is up, and nothing comes by it. Here
 * the stream is opened anew on the connection that stays.
 *
 * Known gap: only that of classic feeds; those of other formats begin with the next connection.
 */
import createDebug = require('debug')

import type { FeedId } from '../core/types'
import type { ConnectionManager } from '../manager'
import { openStream } from '../replication/formats'
import { type Clock, unref } from '../shell/clock'
import { memberOf, methodOf } from './members'
import type { Rpc } from './sbot'

const debug = createDebug('ssb:connection-manager:plugin')

/** ssb-ebt hears of the end of a connection in several steps, and each may end the stream that it has then. */
const SETTLE_MS = 1_000
/** The side that has dialed opens the stream, as ever. If it knows nothing of all this, the other does, some time later. */
const PATIENCE_MS = 10_000

export interface OneStream {
  /** To be called for each connection of a peer, in the order in which they come. */
  opened(peer: FeedId, rpc: Rpc): void
  stop(): void
}

export function keepOneStream(options: {
  readonly sbot: object
  readonly manager: Pick<ConnectionManager, 'internal'>
  readonly clock: Clock
}): OneStream {
  const { sbot, clock } = options
  const { internal } = options.manager
  const latest = new Map<FeedId, Rpc>()
  const timers = new Set<unknown>()

  const reopen = (peer: FeedId, kept: Rpc, isDialer: boolean): void => {
    const timer = clock.setTimeout(
      () => {
        timers.delete(timer)
        if (internal.connectionOf(peer) !== kept || latest.get(peer) !== kept) return
        // Two that open it at once end each other's.
        if (!isDialer && hasStream(sbot, peer)) return
        debug('%s: the stream of messages begins anew on the connection that stays', peer)
        openStream({ sbot, rpc: kept, format: 'classic', log: (message) => debug('%s', message) })
      },
      isDialer ? SETTLE_MS : PATIENCE_MS,
    )
    unref(timer)
    timers.add(timer)
  }

  return {
    opened: (peer, rpc) => {
      latest.set(peer, rpc)
      rpc.on?.('closed', () => {
        if (latest.get(peer) !== rpc) return
        latest.delete(peer)
        const kept = internal.connectionOf(peer) as Rpc | null
        if (!kept || kept === rpc || kept.closed) return
        latest.set(peer, kept)
        const connection = internal.store.getState().peers.get(peer)?.connection
        reopen(peer, kept, connection?.status === 'connected' && connection.direction === 'outbound')
      })
    },
    stop: () => {
      for (const timer of timers) clock.clearTimeout(timer)
      timers.clear()
    },
  }
}

/** Whether ssb-ebt has heard from the peer by a stream that is open, of the peer's own feed at least. */
function hasStream(sbot: object, peer: FeedId): boolean {
  try {
    return memberOf(memberOf(methodOf(sbot, 'ebt', 'peerStatus')?.(peer), 'peers'), peer) !== undefined
  } catch {
    // Of a stream that is just beginning.
    return true
  }
}
