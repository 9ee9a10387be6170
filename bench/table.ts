/** The drawn table as our manager stores it, and the options with which it is measured. */
import type { RouteReport } from '../src/core/actions'
import { parseAddress } from '../src/core/address'
import { type SnapshotPeer, type SnapshotRoute, stringifySnapshot } from '../src/core/snapshot'
import { errorText, HOUR_MS, type LanPeer, type Mood, makeWorld, START_AT, statsOf } from './world'

export const MAX_BY_TYPE = { net: 3, onion: 3, rtc: 3, local: 5 }
/** More LAN peers than slots in the usual mood, as many in the paused one. */
export const LAN_PEERS = { usual: 20, paused: MAX_BY_TYPE.local }
const MAX_BACKOFF_MS = 23 * HOUR_MS
/** Beyond every size, so that adding does not mean making room. */
export const MAX_ROUTES = 1_000_000

/** `errorCount`: how many texts of errors a route keeps that failed. */
export function snapshotText(routes: number, mood: Mood, errorCount = 5): string {
  const world = makeWorld(routes, mood)
  return stringifySnapshot({
    version: 1,
    savedAt: START_AT,
    peers: world.map(({ key, priority, connectedAt }): SnapshotPeer => ({ id: key, priority, visitedAt: connectedAt })),
    routes: world.map((route): SnapshotRoute => {
      const { address, source, addedAt, triedAt, connectedAt, connectionCount, failureCount } = route
      const isPaused = failureCount >= 20
      // Of those that failed, half may be dialed again.
      const pause = isPaused ? MAX_BACKOFF_MS : failureCount % 2 === 1 ? failureCount * 1000 : 0
      return {
        address,
        source,
        addedAt,
        lastConnectionTime: connectedAt,
        lastErrorTime: failureCount > 0 ? triedAt : 0,
        connectionCount,
        errorCount: failureCount,
        backoffStep: Math.min(failureCount, 12),
        nextAttemptAt: pause === 0 ? 0 : START_AT + pause,
        errors: Array.from({ length: Math.min(errorCount, failureCount) }, (_, i) => ({
          message: errorText(route),
          code: 'ECONNREFUSED',
          at: triedAt - 10_000 * (4 - i),
        })),
        ...(connectionCount > 0 ? { duration: statsOf(route.meanDurationMs, connectionCount) } : {}),
      }
    }),
  })
}

export function lanReports(peers: readonly LanPeer[]): RouteReport[] {
  return peers.flatMap(({ address }) =>
    parseAddress(address).map((route) => ({ route, isLocal: true, source: 'local' as const })),
  )
}
