/**
 * What a discovery source is: something that hears of peers and tells the manager, through its public API, where they are.
 * Each is started when the manager goes on and stopped when it goes off; each looks its plugin up when it is started, as
 * stacks load plugins in any order and each may be missing.
 */
import type { ConnectionManager } from '../../manager'
import type { Clock } from '../../shell/clock'
import type { Sbot, Settings } from '../sbot'

export interface DiscoveryContext {
  readonly sbot: Sbot
  readonly manager: ConnectionManager
  /** Config of either layout. */
  readonly settings: Settings
  readonly clock: Clock
  /** For `debug`; what goes wrong in another plugin is said here and harms nobody. */
  readonly log: (message: string) => void
}

/** Starts hearing; returns what ends it, after which nothing is told and no timer or listener is left. Never throws. */
export type DiscoverySource = (context: DiscoveryContext) => () => void
