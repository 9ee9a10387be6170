/**
 * Everything that is derived, computed again the slow way and compared with what the state holds; and what must be true of
 * the records themselves. O(n log n): for tests and for debugging, never on the way of an event.
 *
 * It shares no code with table.ts beyond the comparators and `timerOf`, so that a fault there does not agree with itself.
 */
import { MAX_STEP } from './backoff'
import { InvariantError } from './errors'
import { turnAtOf } from './merit'
import { own } from './own'
import { TIERS, tierOfPeer } from './rank'
import { type Ranking, type State, timerOf } from './table'
import type { Tree } from './tree'
import type { Attempt, Connection, EpochMs, Occupancy, Peer, Route } from './types'

/** Throws InvariantError with the first contradiction that it finds. */
export function checkInvariants(state: State): void {
  check(isTime(state.now), () => `now is ${state.now}`)
  checkTrees(state)
  for (const [id, peer] of state.peers.entries()) checkPeer(state, id, peer)
  for (const [address, route] of state.routes.entries()) checkRoute(state, address, route)
  checkIndexes(state)
  checkCounts(state)
  checkHosts(state)
  checkRequests(state)
  checkLayers(state)
  checkRest(state)
}

function check(holds: boolean, broken: () => string): void {
  if (!holds) throw new InvariantError(broken())
}

function isTime(at: EpochMs): boolean {
  return Number.isFinite(at) && at >= 0
}

function isCount(count: number): boolean {
  return Number.isInteger(count) && count >= 0
}

/** Entries in strict order and counted right: a key that was changed after it went in would show here. */
function checkTrees(state: State): void {
  const trees: { readonly [name: string]: Pick<Tree<string, unknown>, 'checkValid'> } = {
    peers: state.peers,
    routes: state.routes,
    ready: state.ready,
    waiting: state.waiting,
    active: state.active,
    outbound: state.outbound,
    requests: state.requests,
    layers: state.layers,
    hosts: state.hosts,
  }
  for (const name of Object.keys(trees)) {
    try {
      trees[name]?.checkValid(true)
    } catch (error) {
      throw new InvariantError(`the tree ${name} is out of order`, error)
    }
  }
}

function checkPeer(state: State, id: string, peer: Peer): void {
  const { options } = state
  check(peer.id === id, () => `peer ${peer.id} under the key ${id}`)
  check(id !== options.selfId, () => 'we are a peer of our own')
  check(TIERS.includes(peer.priority), () => `peer ${id} has the priority ${peer.priority}`)
  check(isTime(peer.visitedAt) && isTime(peer.heldUntil), () => `peer ${id} has a time that is none`)
  check(peer.routes.length <= options.maxRoutesPerPeer, () => `peer ${id} has ${peer.routes.length} routes`)
  check(new Set(peer.routes).size === peer.routes.length, () => `peer ${id} has a route twice`)
  for (const address of peer.routes)
    check(state.routes.get(address)?.peer === id, () => `route ${address} of peer ${id} is not in the table`)
  checkConnection(peer, peer.connection)
  const timerAt = timerOf(state, peer)
  check(peer.timerAt === timerAt, () => `timer of peer ${id} is ${peer.timerAt}, should be ${timerAt}`)
  const isNothingKnown =
    peer.routes.length === 0 &&
    peer.prioritisedBy === null &&
    !peer.isLongTerm &&
    peer.connection.status === 'idle' &&
    // A table is loaded in parts, and what was stored of a peer may come before its routes.
    peer.visitedAt === 0 &&
    peer.priority === 'MEDIUM'
  check(!isNothingKnown, () => `nothing is known of peer ${id}`)
}

function checkConnection(peer: Peer, connection: Connection): void {
  const name = `connection of peer ${peer.id}`
  switch (connection.status) {
    case 'idle':
      return
    case 'dialing': {
      const { attempts, tried } = connection
      check(isTime(connection.since), () => `${name}: since ${connection.since}`)
      check(attempts.length > 0, () => `${name}: dialing without an attempt`)
      check(peer.priority !== 'BANNED', () => `${name}: banned and dialed`)
      check(
        areUnlike(attempts, (each) => each.id),
        () => `${name}: an attempt twice`,
      )
      check(
        areUnlike(attempts, (each) => each.address),
        () => `${name}: a route dialed twice`,
      )
      for (const attempt of attempts) {
        check(isTime(attempt.startedAt) && isTime(attempt.deadlineAt), () => `${name}: an attempt without a time`)
        check(attempt.deadlineAt > attempt.startedAt, () => `${name}: an attempt that ends before it starts`)
        check(peer.routes.includes(attempt.address), () => `${name}: dialing ${attempt.address}, which is no route`)
        check(!tried.includes(attempt.address), () => `${name}: ${attempt.address} both failed and in flight`)
      }
      return
    }
    case 'connected': {
      const { direction, since, lastTransferAt, closeReason } = connection
      check(isTime(since) && isTime(lastTransferAt), () => `${name}: a time that is none`)
      check(direction === 'outbound' || connection.address === null, () => `${name}: inbound by a route`)
      check(direction === 'outbound' || connection.class === null, () => `${name}: inbound in a slot`)
      check((connection.cause === 'inbound') === (direction === 'inbound'), () => `${name}: cause ${connection.cause}`)
      check(peer.priority !== 'BANNED' || closeReason !== null, () => `${name}: banned and kept`)
      return
    }
    case 'closing':
      check(isTime(connection.since) && isTime(connection.connectedSince), () => `${name}: a time that is none`)
      return
  }
}

function areUnlike<T>(list: readonly T[], key: (item: T) => unknown): boolean {
  return new Set(list.map(key)).size === list.length
}

function checkRoute(state: State, address: string, route: Route): void {
  const peer = state.peers.get(route.peer)
  const name = `route ${address}`
  check(route.address === address, () => `${name} calls itself ${route.address}`)
  if (!peer) throw new InvariantError(`${name} has no peer`)
  check(peer.routes.includes(address), () => `${name} is not among the routes of its peer`)
  check(route.class === (route.isLocal ? 'local' : route.protocol), () => `${name} has the class ${route.class}`)
  check(route.queue === (peer.isLongTerm ? '' : route.class), () => `${name} is in the queue ${route.queue}`)
  check(route.tier === tierOfPeer(peer), () => `${name} has the tier ${route.tier}`)
  check(route.tie === peer.tie, () => `${name} has another tie than its peer`)
  check(route.turnAt === turnAtOf(state.options, peer), () => `${name} has another turn than its peer`)
  const { nextAttemptAt, lastConnectionTime, lastErrorTime, lastSignalAt, addedAt, dueAt } = route
  for (const time of [nextAttemptAt, lastConnectionTime, lastErrorTime, lastSignalAt, addedAt, dueAt])
    check(isTime(time), () => `${name} has the time ${time}`)
  const held = peer.isLongTerm ? 0 : peer.heldUntil
  check(dueAt >= Math.max(nextAttemptAt, held), () => `${name} is due at ${dueAt}, before its pause is over`)
  check(isCount(route.errorCount) && isCount(route.connectionCount), () => `${name} has a count that is none`)
  check(isCount(route.backoffStep) && route.backoffStep <= MAX_STEP, () => `${name} has step ${route.backoffStep}`)
  check(route.errors.length <= 5, () => `${name} keeps ${route.errors.length} errors`)
}

/** Each dialable route of an idle peer is in exactly one of `ready` and `waiting`, and nothing else is. */
function checkIndexes(state: State): void {
  const { ready, waiting } = state
  let candidateCount = 0
  for (const route of state.routes.values()) {
    const peer = state.peers.get(route.peer)
    const isCandidate = peer?.connection.status === 'idle' && peer.priority !== 'BANNED' && route.isAutomatic
    const isReady = holds(ready, route)
    const isWaiting = holds(waiting, route)
    if (isCandidate) {
      candidateCount++
      check(isReady !== isWaiting, () => `${route.address} is in ${isReady ? 'both' : 'none'} of ready and waiting`)
      check(!isReady || route.dueAt <= state.now, () => `${route.address} is ready before it is due`)
    } else {
      check(!isReady && !isWaiting, () => `${route.address} is in an index and cannot be dialed`)
    }
  }
  const entries = ready.size + waiting.size
  check(entries === candidateCount, () => `${entries} index entries for ${candidateCount} routes`)
  let activeCount = 0
  for (const peer of state.peers.values()) {
    const isIdle = peer.connection.status === 'idle'
    if (!isIdle) activeCount++
    check(state.active.has(peer) !== isIdle, () => `peer ${peer.id} is ${isIdle ? '' : 'not '}in active`)
  }
  check(state.active.size === activeCount, () => `${state.active.size} of ${activeCount} peers are in active`)
  for (const peer of state.active.keys())
    check(state.peers.get(peer.id) === peer, () => `active holds an old record of peer ${peer.id}`)
}

/** The very record, not one like it. */
function holds(ranking: Ranking, route: Route): boolean {
  if (!ranking.has(route)) return false
  check(ranking.getPairOrNextLower(route)?.[0] === route, () => `an index holds an old record of ${route.address}`)
  return true
}

function checkCounts(state: State): void {
  const occupancy: { [name: string]: { connected: number; dialing: number; closing: number } } = {}
  const at = (name: string) => {
    const present = own(occupancy, name) ?? { connected: 0, dialing: 0, closing: 0 }
    occupancy[name] = present
    return present
  }
  let inboundCount = 0
  let attemptCount = 0
  let outboundCount = 0
  for (const { id, connection } of state.peers.values()) {
    if (connection.status === 'idle') continue
    if (connection.status === 'dialing') {
      attemptCount += connection.attempts.length
      for (const name of new Set(connection.attempts.map((each: Attempt) => each.class))) at(name).dialing++
      continue
    }
    if (connection.direction === 'outbound') {
      outboundCount++
      check(state.outbound.has(id), () => `peer ${id} is not in outbound`)
      if (connection.class !== null) at(connection.class)[connection.status]++
    } else if (connection.status === 'connected') inboundCount++
  }
  check(state.inboundCount === inboundCount, () => `inboundCount ${state.inboundCount}, should be ${inboundCount}`)
  check(state.attemptCount === attemptCount, () => `attemptCount ${state.attemptCount}, should be ${attemptCount}`)
  check(state.outbound.size === outboundCount, () => `${state.outbound.size} in outbound, should be ${outboundCount}`)
  const names = new Set([...Object.keys(occupancy), ...Object.keys(state.occupancy)])
  for (const name of names) {
    const is = own(state.occupancy, name)
    const should = own(occupancy, name)
    check(sameOccupancy(is, should), () => `occupancy of ${name} is ${text(is)}, should be ${text(should)}`)
  }
  let downCount = 0
  for (const layer of state.layers.values()) if (layer.isDown) downCount++
  check(state.downCount === downCount, () => `downCount ${state.downCount}, should be ${downCount}`)
  let lowCount = 0
  for (const route of state.routes.values()) if (state.peers.get(route.peer)?.priority === 'LOW') lowCount++
  check(state.lowCount === lowCount, () => `lowCount ${state.lowCount}, should be ${lowCount}`)
}

/** A class in which nobody holds a slot has no entry. */
function sameOccupancy(a: Occupancy | undefined, b: Occupancy | undefined): boolean {
  if (!a || !b) return a === b
  return a.connected === b.connected && a.dialing === b.dialing && a.closing === b.closing
}

function text(occupancy: Occupancy | undefined): string {
  return occupancy ? JSON.stringify(occupancy) : 'nothing'
}

function checkHosts(state: State): void {
  for (const [key, dialedAt] of state.hosts.entries())
    check(isTime(dialedAt), () => `host ${key} was dialed at ${dialedAt}`)
}

function checkRequests(state: State): void {
  for (const [id, request] of state.requests.entries()) {
    const peer = state.peers.get(id)
    check(request.peer === id, () => `request for ${request.peer} under the key ${id}`)
    if (!peer) throw new InvariantError(`request for ${id}, who is unknown`)
    check(peer.priority !== 'BANNED', () => `request for ${id}, who is banned`)
    const { connection } = peer
    const isServed = connection.status === 'connected' && connection.closeReason === null
    check(!isServed, () => `request for ${id}, who is connected`)
    const isLeft = connection.status === 'dialing' || peer.routes.some((address) => !request.tried.includes(address))
    check(isLeft, () => `request for ${id} has no route left and no outcome`)
  }
}

function checkLayers(state: State): void {
  for (const [key, layer] of state.layers.entries()) {
    check(layer.key === key, () => `layer ${layer.key} under the key ${key}`)
    check(isTime(layer.since) && isTime(layer.retryAt), () => `layer ${key} has a time that is none`)
    check(isCount(layer.failureCount), () => `layer ${key} has failed ${layer.failureCount} times`)
    check(
      layer.isDown === layer.failureCount > 0,
      () => `layer ${key} is ${layer.isDown ? 'down' : 'up'} after ${layer.failureCount} failures`,
    )
    for (const before of layer.suspects.values())
      check(isTime(before.nextAttemptAt) && isCount(before.errorCount), () => `layer ${key} keeps a broken suspect`)
  }
}

function checkRest(state: State): void {
  for (const name of Object.keys(state.classes)) {
    const known = own(state.classes, name)
    if (!known) continue
    check(known.successRate > 0 && known.successRate <= 1, () => `class ${name} succeeds at ${known.successRate}`)
    check(isCount(known.dialCount), () => `class ${name} has ${known.dialCount} dials`)
    check(isTime(known.nextRotationAt), () => `class ${name} rotates at ${known.nextRotationAt}`)
  }
  check(
    areUnlike(state.lingering, (each) => each.attempt),
    () => 'an attempt lingers twice',
  )
  for (const entry of state.lingering) check(isTime(entry.until), () => `attempt ${entry.attempt} lingers for ever`)
  check(
    areUnlike(state.changedPeers, (id) => id),
    () => 'a peer is among the changed ones twice',
  )
}
