/**
 * After a wake-up or a change of the network, connections may be dead without a word. What does not answer in time is closed,
 * so that its slot is free at once and not when the keep-alive of the socket notices.
 */
import type { FeedId } from '../core/types'
import type { Clock } from './clock'
import type { Connector } from './connector'
import type { Store } from './store'

export interface Probes {
  /** Asks every connection that is not being asked already. */
  start(): void
  /** Nobody is waited for any more. */
  stop(): void
}

/** Time for the answer of a connection that lives; several round trips where we know how long one takes. */
const PROBE_MIN_MS = 1_000
const PROBE_MAX_MS = 5_000
const PROBE_ROUND_TRIPS = 4
/** A timer that is this late was not the only one. */
const LATE_MS = 200

function probeTimeout(rttMs: number): number {
  return Math.min(Math.max(PROBE_MIN_MS, PROBE_ROUND_TRIPS * rttMs), PROBE_MAX_MS)
}

/** `probe`: resolves if the connection still answers. */
export function createProbes(options: {
  readonly store: Store
  readonly clock: Clock
  readonly connector: Pick<Connector, 'get'>
  readonly probe: (connection: unknown, peer: FeedId) => Promise<unknown>
}): Probes {
  const { store, clock, connector, probe } = options
  /** Those under way, each ended by the function here. */
  const ends = new Map<FeedId, () => void>()

  return {
    start: () => {
      for (const { id, connection } of store.getState().active.keysArray()) {
        if (connection.status !== 'connected' || ends.has(id)) continue
        const handle = connector.get(id)
        const end = (): void => {
          clock.clearTimeout(timer)
          if (ends.get(id) === end) ends.delete(id)
        }
        const settle = (isAlive: boolean): void => {
          if (ends.get(id) !== end) return
          end()
          const present = store.getState().peers.get(id)?.connection
          const isSame = present?.status === 'connected' && present.since === connection.since
          if (isAlive || !isSame || connector.get(id) !== handle) return
          store.dispatch({ type: 'connection/closeRequested', at: clock.now(), peer: id, reason: 'dead' })
        }
        // Where this process itself was held up, an answer may lie unread: it gets a second chance.
        const allowedMs = probeTimeout(connection.rtt?.mean ?? 0)
        const dueAt = clock.now() + allowedMs
        let timer = clock.setTimeout(() => {
          if (clock.now() - dueAt < LATE_MS) settle(false)
          else timer = clock.setTimeout(() => settle(false), allowedMs)
        }, allowedMs)
        ends.set(id, end)
        Promise.resolve()
          .then(() => probe(handle, id))
          .then(
            () => settle(true),
            () => settle(false),
          )
      }
    },
    stop: () => {
      for (const end of [...ends.values()]) end()
    },
  }
}
