/**
 * Peers on the local network, heard by ssb-lan. Nobody else starts that plugin: it announces us and listens from our start to
 * our stop. (ssb-local needs no adapter: it starts by itself and calls `gossip.add` and `gossip.remove`.)
 *
 * A beacon is the word of whoever is in the same network, signed or not (`verified` is false for every older app): it may
 * name a host to try, and nothing else. Whoever answers there has to prove his key in the handshake.
 */
import type { ParsedRoute } from '../../core/types'
import { isSwitchedOff, type Method, memberOf, methodOf } from '../members'
import { keepAnnounced } from './announced'
import type { DiscoverySource } from './source'
import { attempt, readStream, whenLoaded } from './stream'

/** Beacons come every 2 s; WiFi loses several in a row while phones save power. */
const SILENCE_MS = 30_000
/** The manager heeds a sign of life no more often; to tell of each beacon would only fill its recording. */
const RETELL_MS = 10_000
const MAX_ROUTES = 256
/** A neighbour has one for each of its interfaces and transports. */
const MAX_ROUTES_PER_PEER = 8
const PROTOCOLS: ReadonlySet<string> = new Set(['net', 'ws', 'wss'])

interface Lan {
  readonly start: Method
  readonly stop: Method | null
  readonly discoveredPeers: Method
}

export const startLan: DiscoverySource = (context) => {
  const { sbot, settings, clock, log } = context
  if (isSwitchedOff(settings.legacy('gossip'), 'local') || isSwitchedOff(settings.legacy('conn'), 'lan'))
    return () => {}

  const find = (): Lan | null => {
    const start = methodOf(sbot, 'lan', 'start')
    const discoveredPeers = methodOf(sbot, 'lan', 'discoveredPeers')
    return start && discoveredPeers && { start, stop: methodOf(sbot, 'lan', 'stop'), discoveredPeers }
  }

  return whenLoaded(context, 'ssb-lan', find, ({ start, stop, discoveredPeers }) => {
    const announced = keepAnnounced(context, {
      source: 'local',
      isLocal: true,
      maxRoutes: MAX_ROUTES,
      maxRoutesPerPeer: MAX_ROUTES_PER_PEER,
      silenceMs: SILENCE_MS,
      isPlausible,
      isNews: (_address, _peer, toldAt) => Math.abs(clock.now() - toldAt) >= RETELL_MS,
    })
    // First, so that no beacon is missed.
    const stopReading = readStream(context, 'ssb-lan', () => discoveredPeers(), {
      onItem: (item) => announced.hear(memberOf(item, 'address')),
    })
    // Started twice, as by an app that does it itself, it would lose hold of its first sockets.
    attempt(log, 'ssb-lan', () => stop?.())
    attempt(log, 'ssb-lan', () => start())
    return () => {
      stopReading()
      attempt(log, 'ssb-lan', () => stop?.())
      announced.stop()
    }
  })
}

function isPlausible({ protocol, host, address }: ParsedRoute): boolean {
  // To multiserver whoever answers without authentication is ourselves.
  return PROTOCOLS.has(protocol) && host !== null && !address.includes('~noauth')
}
