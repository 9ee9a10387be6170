/** DESIGN 4, "Bans". That the stack's `auth` hook refuses a banned peer is the shell's part. */
import test = require('tape')

import { DAY, HOUR, idOf, MINUTE, SECOND, serialise, slots, stored, storedPeer, World } from '../support/builders'

const closeReason = (world: World, name: string): unknown => {
  const connection = world.state.peers.get(idOf(name))?.connection
  return connection?.status === 'connected' ? connection.closeReason : undefined
}

test('a banned peer is hung up on at once, whoever dialed', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.longTerm('alice')
  world.settle()
  world.connect('alice')
  world.callIn('bob')
  t.deepEqual(world.settle(), [])
  world.prioritise('alice', 'BANNED')
  world.prioritise('bob', 'BANNED')
  t.deepEqual(world.settle().sort(), ['close alice banned', 'close bob banned'])
  for (const name of ['alice', 'bob']) world.close(name)
  t.equal(world.wakeAt(), null)
  t.deepEqual(world.elapse(400 * DAY), [], 'and never dialed, long-term or not')
  t.end()
})

test('a banned peer is never dialed, whatever is said or asked of it', (t) => {
  const world = World.started()
  world.prioritise('alice', 'BANNED')
  world.addAll(['alice', 'alice/onion'], { priority: 'HIGH', source: 'friends' })
  world.add('alice/lan')
  world.longTerm('alice')
  world.request('alice')
  world.dispatch({ type: 'initialSync/started', peer: idOf('alice') })
  world.dispatch({ type: 'environment/online' })
  t.equal(world.whyNot('alice', 'request')?.reason, 'banned')
  t.equal(world.state.ready.size + world.state.waiting.size, 0)
  t.equal(world.state.requests.size, 0)
  t.deepEqual(world.elapse(30 * DAY), [])
  t.equal(world.state.peers.get(idOf('alice'))?.priority, 'BANNED')
  t.end()
})

test('dials to a banned peer are cut, all of a race, and nobody is blamed', (t) => {
  // Only what is asked for begins while a dial is in flight.
  const world = World.started({ ...slots({ net: 1 }), maxDialing: 1 })
  world.load([stored('alice'), stored('alice/net2', { errorCount: 1 }), stored('bob', { errorCount: 9 })])
  world.request('alice')
  world.elapse(250)
  t.deepEqual(world.inFlight(), ['alice', 'alice/net2'])
  world.prioritise('alice', 'BANNED')
  t.deepEqual(world.inFlight(), [])
  t.equal(world.state.requests.size, 0)
  t.equal(world.state.lingering.length, 2, 'their sockets are still counted')
  t.deepEqual([world.route('alice').errorCount, world.route('alice/net2').errorCount], [0, 1])
  t.deepEqual(
    world.elapse(10 * SECOND),
    [{ at: 10 * SECOND + 250, effect: 'dial bob' }],
    'the slot is free, and when they would have been given up there is a lane',
  )
  t.end()
})

test('a dial that connects in spite of the ban is hung up on', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.settle()
  const { peer, address } = world.route('alice')
  world.prioritise('alice', 'BANNED')
  world.dispatch({ type: 'connection/opened', peer, direction: 'outbound', address, attempt: 1, cause: 'schedule' })
  t.equal(closeReason(world, 'alice'), 'banned')
  t.deepEqual(world.settle(), ['close alice banned'])
  t.end()
})

test('a banned peer that calls in gets the close reason banned', (t) => {
  const world = new World()
  world.prioritise('alice', 'BANNED')
  world.callIn('alice')
  t.equal(closeReason(world, 'alice'), 'banned')
  t.deepEqual(world.settle(), ['close alice banned'])
  world.close('alice')
  t.equal(world.state.peers.size, 1)
  t.deepEqual(world.elapse(DAY), [])
  t.end()
})

test('the ban of an id that nobody knows is kept', (t) => {
  const world = World.started()
  world.prioritise('mallory', 'BANNED')
  t.equal(world.state.peers.size, 1)
  world.elapse(400 * DAY)
  world.add('mallory', { priority: 'HIGH' })
  t.deepEqual(world.elapse(DAY), [])
  t.equal(world.whyNot('mallory')?.reason, 'banned')
  t.end()
})

test('the removal of all routes keeps the ban', (t) => {
  const world = World.started()
  world.addAll(['alice', 'alice/onion'])
  world.prioritise('alice', 'BANNED')
  for (const label of ['alice', 'alice/onion'])
    world.dispatch({ type: 'route/removed', address: world.route(label).address })
  t.equal(world.state.routes.size, 0)
  t.equal(world.state.peers.get(idOf('alice'))?.priority, 'BANNED')
  world.add('alice')
  t.deepEqual(world.elapse(DAY), [])
  t.end()
})

test('an end to being long-term keeps the ban', (t) => {
  const world = World.started()
  world.longTerm('alice')
  world.prioritise('alice', 'BANNED')
  world.longTerm('alice', false)
  t.equal(world.state.peers.get(idOf('alice'))?.priority, 'BANNED')
  t.end()
})

test('a ban that was stored holds from the start', (t) => {
  const world = World.started()
  world.load([stored('alice')], [storedPeer('alice', { priority: 'BANNED' })])
  t.deepEqual(world.elapse(DAY), [])
  const connected = World.started()
  connected.callIn('alice')
  connected.load([], [storedPeer('alice', { priority: 'BANNED' })])
  t.deepEqual(connected.settle(), ['close alice banned'], 'also for who called in before the table was read')
  t.end()
})

test('lifting a ban gives back what was known: routes, counts, pauses', (t) => {
  const world = World.started(slots({ net: 1 }))
  const learned = {
    errorCount: 3,
    backoffStep: 3,
    connectionCount: 7,
    lastConnectionTime: world.now - DAY,
    lastErrorTime: world.now - MINUTE,
    nextAttemptAt: world.now + HOUR,
    errors: [{ message: 'refused', code: 'ECONNREFUSED', at: world.now - MINUTE }],
  }
  world.load([stored('alice', learned)])
  const before = world.route('alice')
  world.prioritise('alice', 'BANNED')
  world.elapse(MINUTE)
  world.prioritise('alice', 'MEDIUM')
  t.deepEqual(world.route('alice'), before)
  t.deepEqual(world.elapse(59 * MINUTE - 1), [])
  t.deepEqual(world.elapse(1), [{ at: HOUR, effect: 'dial alice' }])
  t.end()
})

test('banning twice is banning once', (t) => {
  const world = World.started()
  world.add('alice')
  world.prioritise('alice', 'BANNED')
  const once = serialise({ ...world.state, changedPeers: [] })
  world.prioritise('alice', 'BANNED')
  t.equal(serialise({ ...world.state, changedPeers: [] }), once)
  t.end()
})

test('a ban lifted while we hang up does not stop the hanging up', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.settle()
  world.connect('alice')
  world.prioritise('alice', 'BANNED')
  t.deepEqual(world.settle(), ['close alice banned'])
  world.prioritise('alice', 'MEDIUM')
  t.deepEqual(world.settle(), [])
  world.close('alice')
  t.deepEqual(world.settle(), ['dial alice'])
  t.end()
})
