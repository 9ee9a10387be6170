/**
 * Whether what has happened can change what is decided. Most of what a running manager hears cannot: pings, messages that
 * came, an announcement of somebody who is connected. Told from the two states alone, whatever the action was, and on the
 * safe side: a plan for nothing costs little, and one that is not made may keep somebody waiting until the next event.
 */
import type { State } from './table'
import type { Connected, FeedId, Peer } from './types'

/**
 * False: if a plan of `before` was empty, or has begun, a plan of `after` is empty too, now and until the time at which the one of
 * `before` asked to be woken. What falls due as time passes is not asked for here: that is what `wakeAt` is for.
 */
export function mayMatter(before: State, after: State): boolean {
  if (after.initialSync !== null) return true
  for (const key of DECISIVE) if (before[key] !== after[key]) return true
  if (before.occupancy !== after.occupancy && !isSameOccupancy(before.occupancy, after.occupancy)) return true
  // Whoever is idle is dialed for his routes, and these lie in the indexes above.
  if (before.active === after.active) return false
  return after.changedPeers.some((id) => maySway(before, after, id))
}

/** What plans are made of, apart from the peers that are active. A tree that was written to is another one. */
const DECISIVE = [
  'options',
  'mode',
  'isBusy',
  'onlineAt',
  'initialSync',
  'ready',
  'waiting',
  'requests',
  'layers',
  'hosts',
  'classes',
  'inboundCount',
  'attemptCount',
  'lingering',
] as const satisfies readonly (keyof State)[]

/** Counted anew with each word of a peer, and mostly the same. */
function isSameOccupancy(was: State['occupancy'], is: State['occupancy']): boolean {
  const names = Object.keys(is)
  if (names.length !== Object.keys(was).length) return false
  return names.every((name) => {
    const a = was[name]
    const b = is[name]
    return a?.connected === b?.connected && a?.dialing === b?.dialing && a?.closing === b?.closing
  })
}

function maySway(before: State, after: State, id: FeedId): boolean {
  const was = before.peers.get(id)
  const is = after.peers.get(id)
  if (was?.connection.status === 'connected' && is?.connection.status === 'connected')
    return !isSameStanding(was, is) || !isSameConnection(was.connection, is.connection)
  return isActive(was) || isActive(is)
}

function isActive(peer: Peer | undefined): boolean {
  return peer !== undefined && peer.connection.status !== 'idle'
}

function isSameStanding(was: Peer, is: Peer): boolean {
  return was.isLongTerm === is.isLongTerm && was.priority === is.priority && was.timerAt === is.timerAt
}

/** To whoever decides who makes room. That something was transferred puts it off, and never makes it sooner. */
function isSameConnection(was: Connected, is: Connected): boolean {
  if (was === is) return true
  return (
    was.since === is.since &&
    was.direction === is.direction &&
    was.class === is.class &&
    was.address === is.address &&
    was.cause === is.cause &&
    was.closeReason === is.closeReason &&
    was.lastTransferAt <= is.lastTransferAt &&
    (was.isCaughtUp || !is.isCaughtUp)
  )
}
