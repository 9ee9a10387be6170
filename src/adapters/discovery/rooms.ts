/**
 * Attendants of the rooms that we are connected to, told by ssb-room-client 2. It tells who comes; of who leaves it tells the
 * conn facade (`conn.unstage`, `conn.disconnect`), which withdraws the route. When a room itself disconnects nobody in it can
 * be reached: then all of its routes are withdrawn here, whatever else does it too.
 *
 * A room of the first kind repeats its whole list every 10 s. That is no sign of life: an attendant whom we cannot reach
 * would be dialed every 10 s for as long as he sits there. So only what the manager does not have is told again.
 */
import { parseAddress, parseFeedId } from '../../core/address'
import type { Address, FeedId } from '../../core/types'
import type { ConnectionManager } from '../../manager'
import { memberOf, methodOf } from '../members'
import { type Announced, keepAnnounced } from './announced'
import type { DiscoveryContext, DiscoverySource } from './source'
import { attempt, readStream, whenLoaded } from './stream'

/** We have slots for a few; a large room has a hundred attendants. */
const MAX_ROOMS = 32
const MAX_ATTENDANTS = 256
const MAX_NAME = 128

export const startRooms: DiscoverySource = (context) => {
  const { sbot, manager, log } = context
  const find = () => methodOf(sbot, 'roomClient', 'discoveredAttendants')

  return whenLoaded(context, 'ssb-room-client', find, (discoveredAttendants) => {
    const rooms = new Map<FeedId, Announced>()

    const attendantsOf = (room: FeedId): Announced | null => {
      const known = rooms.get(room)
      if (known || rooms.size >= MAX_ROOMS) return known ?? null
      const announced = openRoom(context, room)
      rooms.set(room, announced)
      return announced
    }

    const leave = (room: FeedId): void => {
      const announced = rooms.get(room)
      rooms.delete(room)
      announced?.stop()
    }

    const stopChanges = readStream(context, 'connections', () => manager.connections.changes(), {
      onItem: (change) => {
        const type = memberOf(change, 'type')
        const peer = parseFeedId(memberOf(change, 'peer'))
        if ((type === 'disconnected' || type === 'refused') && peer !== null) leave(peer)
      },
    })
    const stopReading = readStream(context, 'ssb-room-client', () => discoveredAttendants(), {
      onItem: (attendant) => {
        const room = parseFeedId(memberOf(attendant, 'room'))
        if (room === null) return
        attendantsOf(room)?.hear(memberOf(attendant, 'address'))
        nameRoom(context, attendant)
      },
    })
    return () => {
      stopReading()
      stopChanges()
      for (const room of [...rooms.keys()]) attempt(log, 'ssb-room-client', () => leave(room))
    }
  })
}

function openRoom(context: DiscoveryContext, room: FeedId): Announced {
  const { manager } = context
  return keepAnnounced(context, {
    source: 'room',
    isLocal: false,
    maxRoutes: MAX_ATTENDANTS,
    maxRoutesPerPeer: 1,
    silenceMs: null,
    // The room chooses what it tells us; what leads elsewhere than through it is none of its business.
    isPlausible: ({ protocol, portal }) => protocol === 'tunnel' && portal === room,
    isGone: (address, peer) => findRoute(manager, address, peer) === undefined,
    isNews: (address, peer) => !isHeld(manager, address, peer),
  })
}

/** What the pages of apps show beside an attendant. */
function nameRoom({ manager }: DiscoveryContext, attendant: unknown): void {
  const name = memberOf(attendant, 'roomName')
  if (typeof name !== 'string' || name === '' || name.length > MAX_NAME) return
  const address = memberOf(attendant, 'address')
  const [parsed] = typeof address === 'string' ? parseAddress(address) : []
  const route = parsed && manager.internal.store.getState().routes.get(parsed.address)
  // What somebody keeps with a stored route is his.
  if (!route || route.isStored || route.data?.roomName === name) return
  manager.internal.annotate(route.address, { ...route.data, roomName: name }, route.isAutomatic)
}

function findRoute(manager: ConnectionManager, address: Address, peer: FeedId) {
  return manager.peer.get(peer)?.routes.find(({ id }) => id === address)
}

/** Announced and waiting for its turn: while in use it may have been withdrawn already, and one that is stored stays anyhow. */
function isHeld(manager: ConnectionManager, address: Address, peer: FeedId): boolean {
  const route = findRoute(manager, address, peer)
  return route !== undefined && !route.isStored && manager.peer.get(peer)?.connection.status === 'idle'
}
