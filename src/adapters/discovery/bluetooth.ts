/**
 * Devices nearby, seen by ssb-bluetooth (Manyverse on Android), which scans by itself and says every second what it sees.
 * A scan only shows who is there: a device counts as gone when it is not seen for 30 s.
 */
import { parseFeedId } from '../../core/address'
import { memberOf, methodOf } from '../members'
import { keepAnnounced } from './announced'
import type { DiscoverySource } from './source'
import { readStream, whenLoaded } from './stream'

/** Between two lists of devices, as ssb-conn asked for them. */
const REFRESH_MS = 1_000
const SILENCE_MS = 30_000
/** A dial by bluetooth takes up to a minute, so a device that stays in sight is not taken for a new chance each second. */
const RETELL_MS = 60_000
const MAX_DEVICES = 64
const MAX_DEVICES_PER_PEER = 4

export const startBluetooth: DiscoverySource = (context) => {
  const { sbot, clock } = context
  const find = () => methodOf(sbot, 'bluetooth', 'nearbyScuttlebuttDevices')

  return whenLoaded(context, 'ssb-bluetooth', find, (nearbyDevices) => {
    const announced = keepAnnounced(context, {
      source: 'bt',
      // The slot class is that of the protocol: a radio link is no local network.
      isLocal: false,
      maxRoutes: MAX_DEVICES,
      maxRoutesPerPeer: MAX_DEVICES_PER_PEER,
      silenceMs: SILENCE_MS,
      isPlausible: ({ protocol }) => protocol === 'bt',
      isNews: (_address, _peer, toldAt) => Math.abs(clock.now() - toldAt) >= RETELL_MS,
    })
    const stopReading = readStream(context, 'ssb-bluetooth', () => nearbyDevices(REFRESH_MS), {
      onItem: (item) => {
        const discovered = memberOf(item, 'discovered')
        if (!Array.isArray(discovered)) return
        for (const device of discovered.slice(0, MAX_DEVICES)) announced.hear(addressOf(device))
      },
    })
    return () => {
      stopReading()
      announced.stop()
    }
  })
}

/** `bt:<MAC>~shs:<key>`, or null for what is no device. */
function addressOf(device: unknown): string | null {
  const remoteAddress = memberOf(device, 'remoteAddress')
  const id = parseFeedId(memberOf(device, 'id'))
  if (typeof remoteAddress !== 'string' || remoteAddress.length > 17 || id === null) return null
  const digits = remoteAddress.replace(/[:-]/g, '')
  return /^[0-9a-f]{12}$/i.test(digits) ? `bt:${digits}~shs:${id.slice(1, -'.ed25519'.length)}` : null
}
