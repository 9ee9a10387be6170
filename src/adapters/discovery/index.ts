/** All the sources as one: started when the manager goes on, stopped when it goes off. */
import { isOffline } from '../mount'
import { startBluetooth } from './bluetooth'
import { startLan } from './lan'
import { startPubs } from './pubs'
import { startRooms } from './rooms'
import { startSeeds } from './seeds'
import type { DiscoveryContext, DiscoverySource } from './source'
import { attempt } from './stream'

export type { DiscoveryContext, DiscoverySource } from './source'

/** The user's own word first, strangers' last. */
const SOURCES: readonly (readonly [name: string, source: DiscoverySource])[] = [
  ['seeds', startSeeds],
  ['lan', startLan],
  ['bluetooth', startBluetooth],
  ['rooms', startRooms],
  ['pubs', startPubs],
]

/** Starts every source whose plugin is there; returns what stops them. With `config.offline` there is nothing to look for. */
export function startDiscovery(context: DiscoveryContext): () => void {
  const { settings, log } = context
  if (isOffline(settings)) return () => {}
  const stops: (readonly [name: string, stop: () => void])[] = []
  for (const [name, source] of SOURCES) attempt(log, name, () => stops.push([name, source(context)]))
  return () => {
    for (const [name, stop] of stops.splice(0).reverse()) attempt(log, name, stop)
  }
}
