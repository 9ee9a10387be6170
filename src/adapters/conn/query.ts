/** `conn.query()`: the three pools as sorted lists. Arrays are made anew for each call. */
import { systemClock } from '../../shell/clock'
import type { ConnDB } from './db'
import type { ConnHub } from './hub'
import type { ConnStaging } from './staging'
import type { ConnEntry, HubData } from './words'

export type Pool = 'db' | 'staging' | 'dbAndStaging'

/** What is known of an address, by where it is known from: the db before staging, and that before the hub. */
export type QueryEntry = ConnEntry<{ pool: 'db' | 'staging' | 'hub'; key: string; [name: string]: unknown }>

/** What the static helpers look at; also what they are given by schedulers that have lists of their own. */
export type Timed = ConnEntry<{
  readonly stateChange?: unknown
  readonly failure?: unknown
  readonly duration?: unknown
  readonly ping?: unknown
}>

export class ConnQuery {
  constructor(
    private readonly db: ConnDB,
    private readonly hub: ConnHub,
    private readonly staging: ConnStaging,
  ) {}

  /** Whom one could connect to, and whom one is connected to or dialing. */
  readonly peersAll = (): QueryEntry[] => [...this.peersConnectable('dbAndStaging'), ...this.peersInConnection()]

  readonly peersConnected = (): QueryEntry[] => this.inState('connected')

  readonly peersConnecting = (): QueryEntry[] => this.inState('connecting')

  readonly peersInConnection = (): QueryEntry[] => this.inState('connected', 'connecting')

  /** Addresses without a connection; what is in both pools comes once, as in the db. */
  readonly peersConnectable = (pool: Pool = 'db'): QueryEntry[] => {
    const found = new Map<string, QueryEntry>()
    if (pool === 'db' || pool === 'dbAndStaging')
      for (const [address, data] of this.db.entries()) found.set(address, [address, { pool: 'db', ...data }])
    if (pool === 'staging' || pool === 'dbAndStaging')
      for (const [address, data] of this.staging.entries())
        if (!found.has(address)) found.set(address, [address, { pool: 'staging', ...data }])
    for (const [address, { state }] of this.hub.entries()) if (state !== 'disconnecting') found.delete(address)
    return [...found.values()]
  }

  private inState(...states: readonly HubData['state'][]): QueryEntry[] {
    const found: QueryEntry[] = []
    for (const [address, data] of this.hub.entries()) {
      if (!states.includes(data.state)) continue
      const stored = this.db.get(address)
      found.push([address, stored ? { pool: 'db', ...stored } : { pool: 'hub', ...data }])
    }
    return found
  }

  /** Whether a pause of `step` ms, doubled by each failure and at most `max`, is over at `now`. */
  static passesExpBackoff(
    step: number,
    max = Number.POSITIVE_INFINITY,
    now = systemClock.now(),
  ): (entry: Timed) => boolean {
    return ([, data]) => timeOf(data.stateChange) + Math.min(2 ** timeOf(data.failure) * step, max) < now
  }

  /** The whole group, unless one of it has changed less than `groupMin` ms before `now`: then none. */
  static passesGroupDebounce(groupMin: number, now = systemClock.now()): <E extends Timed>(group: E[]) => E[] {
    return (group) => (group.some(([, data]) => now < timeOf(data.stateChange) + groupMin) ? [] : group)
  }

  static hasNoAttempts([, data]: Timed): boolean {
    return timeOf(data.stateChange) === 0
  }

  static hasOnlyFailedAttempts([, data]: Timed): boolean {
    return timeOf(data.stateChange) > 0 && !(meanOf(data.duration) > 0)
  }

  static hasSuccessfulAttempts([, data]: Timed): boolean {
    return meanOf(data.duration) > 0
  }

  static hasPinged([, data]: Timed): boolean {
    return meanOf((data.ping as { rtt?: unknown } | null | undefined)?.rtt) > 0
  }

  /** Longest ago first, in place. */
  static sortByStateChange<E extends Timed>(peers: E[]): E[] {
    return peers.sort(([, a], [, b]) => timeOf(a.stateChange) - timeOf(b.stateChange))
  }
}

function timeOf(value: unknown): number {
  return typeof value === 'number' && value > 0 ? value : 0
}

function meanOf(stats: unknown): number {
  const mean = (stats as { mean?: unknown } | null | undefined)?.mean
  return typeof mean === 'number' ? mean : 0
}
