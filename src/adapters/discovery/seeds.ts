/**
 * The peers that the config names: `config.seeds`, as ssb-gossip read it. An entry is an address in any form that the manager
 * knows, or several joined by `;`, which need not be of one peer. Nothing in use reads seeds from another place.
 */
import { errorInfo } from '../../core/errors'
import type { ConnectionManager } from '../../manager'
import { isSwitchedOff } from '../members'
import type { DiscoverySource } from './source'

/** More than any config has. */
const MAX_SEEDS = 1_000

/** Managers that know their seeds: what the user has removed since does not come back at the next start. */
const told = new WeakSet<ConnectionManager>()

export const startSeeds: DiscoverySource = ({ manager, settings, log }) => {
  if (told.has(manager) || isSwitchedOff(settings.legacy('gossip'), 'seed')) return () => {}
  told.add(manager)
  for (const address of entriesOf(settings.legacy('seeds'))) {
    try {
      manager.peer.addRoute({ address, source: 'seed' })
    } catch (error) {
      log(`a seed is left out: ${errorInfo(error).message}`)
    }
  }
  return () => {}
}

function entriesOf(seeds: unknown): unknown[] {
  const entries = Array.isArray(seeds) ? seeds : [seeds]
  return entries
    .slice(0, MAX_SEEDS)
    .flatMap((entry: unknown) => (typeof entry === 'string' ? entry.split(';') : [entry]))
    .filter((entry) => entry !== undefined && entry !== null && entry !== false && String(entry).trim() !== '')
    .slice(0, MAX_SEEDS)
}
