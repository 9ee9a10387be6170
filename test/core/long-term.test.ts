/** DESIGN 4: what "long-term" means in each paragraph that names it. */
import test = require('tape')

import { DAY, HOUR, idOf, MINUTE, SECOND, serialise, slots, stored, World } from '../support/builders'

test('a long-term peer is dialed before all others', (t) => {
  const world = World.started({ ...slots({ net: 5 }), maxDialing: 1 })
  world.addAll(['alice', 'bob', 'carol'])
  world.prioritise('alice', 'HIGH')
  world.prioritise('carol', 'LOW')
  world.longTerm('carol')
  t.deepEqual(world.settle(), ['dial carol (longTerm)'])
  t.end()
})

test('a long-term peer is dialed again as soon as its connection is gone, and kept for good', (t) => {
  const world = World.started(slots({}))
  world.add('alice')
  world.longTerm('alice')
  world.settle()
  world.connect('alice')
  t.equal(world.wakeAt(), null)
  t.deepEqual(world.elapse(400 * DAY), [])
  world.askToClose('alice', 'dead')
  t.deepEqual(world.settle(), ['close alice dead'])
  world.close('alice')
  t.deepEqual(world.settle(), ['dial alice (longTerm)'])
  t.end()
})

test('a long-term peer that hangs up is dialed again after a pause of at most 10 min', (t) => {
  const world = World.started(slots({}))
  world.jitter = 0.999_999_9
  world.add('alice')
  world.longTerm('alice')
  for (let i = 0; i < 12; i++) {
    world.settle()
    t.deepEqual(world.inFlight(), ['alice'])
    world.fail('alice')
    const until = world.route('alice').nextAttemptAt
    t.equal(until - world.now, Math.min(10 * MINUTE, 5 * SECOND * 2 ** i))
    t.deepEqual(world.elapse(until - world.now - 1), [])
    world.now++
  }
  world.settle()
  world.connect('alice')
  world.elapse(SECOND)
  world.close('alice')
  t.equal(world.route('alice').nextAttemptAt - world.now, 10 * MINUTE)
  t.end()
})

test('a hang-up by the user does not keep a long-term peer away', (t) => {
  const world = World.started(slots({}))
  world.add('alice')
  world.longTerm('alice')
  world.settle()
  world.connect('alice')
  world.hold('alice')
  world.askToClose('alice', 'disconnected')
  t.deepEqual(world.settle(), ['close alice disconnected'])
  world.close('alice')
  t.deepEqual(world.settle(), ['dial alice (longTerm)'])
  t.end()
})

test('a peer that calls in need not be dialed, long-term or not', (t) => {
  const world = World.started(slots({}))
  world.add('alice')
  world.longTerm('alice')
  world.settle()
  world.abandon('alice')
  world.callIn('alice')
  t.deepEqual(world.elapse(DAY), [])
  world.close('alice')
  t.deepEqual(world.settle(), ['dial alice (longTerm)'])
  t.end()
})

test('nothing is dialed for a long-term peer while the manager is off', (t) => {
  const world = new World()
  world.add('alice')
  world.longTerm('alice')
  t.equal(world.wakeAt(), null)
  t.deepEqual(world.elapse(30 * DAY), [])
  t.equal(world.whyNot('alice', 'longTerm')?.reason, 'off')
  t.end()
})

test('who becomes long-term in a pause waits 10 min at most', (t) => {
  const world = World.started(slots({}))
  world.load([stored('alice', { source: 'pub', errorCount: 20, backoffStep: 20, nextAttemptAt: world.now + DAY })])
  world.longTerm('alice')
  t.equal(world.wakeAt(), world.now + 10 * MINUTE)
  t.deepEqual(world.elapse(10 * MINUTE - 1), [])
  t.deepEqual(world.elapse(1), [{ at: 10 * MINUTE, effect: 'dial alice (longTerm)' }])
  t.end()
})

test('a connection that is up becomes a long-term one, and an ordinary one again', (t) => {
  const world = World.started({ ...slots({ net: 1 }), lifetimeMs: HOUR })
  world.add('alice')
  world.settle()
  world.connect('alice')
  world.longTerm('alice')
  world.setMax({ net: 0 })
  t.deepEqual(world.elapse(2 * HOUR), [], 'no slot, no lifetime')
  world.setMax({ net: 1 })
  world.longTerm('alice', false)
  t.deepEqual(world.settle(), ['close alice lifetime'])
  world.close('alice')
  world.longTerm('alice')
  world.settle()
  world.connect('alice')
  world.setMax({ net: 0 })
  world.longTerm('alice', false)
  t.deepEqual(world.settle(), ['close alice surplus'])
  t.end()
})

test('a peer without routes can be long-term, and is dialed when one is learned', (t) => {
  const world = World.started(slots({}))
  world.longTerm('alice')
  t.equal(world.wakeAt(), null)
  t.deepEqual(world.elapse(DAY), [])
  world.add('alice/ws', { source: 'pub' })
  t.deepEqual(world.settle(), ['dial alice/ws (longTerm)'])
  t.end()
})

test('a peer of whom nothing else is known is forgotten with it', (t) => {
  const world = World.started()
  world.longTerm('alice', false)
  t.equal(world.state.peers.size, 0)
  world.longTerm('alice')
  t.equal(world.state.peers.size, 1)
  world.longTerm('alice', false)
  t.equal(world.state.peers.size, 0)
  world.longTerm('alice')
  world.prioritise('alice', 'HIGH')
  world.longTerm('alice', false)
  t.equal(world.state.peers.size, 1, 'unless the user has said something else of it')
  t.end()
})

test('saying it twice is saying it once', (t) => {
  const world = World.started()
  world.add('alice')
  world.longTerm('alice')
  const once = serialise({ ...world.state, changedPeers: [] })
  world.longTerm('alice')
  t.equal(serialise({ ...world.state, changedPeers: [] }), once)
  t.ok(world.state.peers.get(idOf('alice'))?.isLongTerm)
  t.end()
})

test('all long-term peers are dialed, as far as maxDialing goes', (t) => {
  const world = World.started({ ...slots({}), maxDialing: 4 })
  for (let i = 0; i < 10; i++) {
    world.add(`p${i}`)
    world.longTerm(`p${i}`)
  }
  t.equal(world.settle().length, 4)
  for (const label of world.inFlight()) world.connect(label)
  t.equal(world.settle().length, 4)
  for (const label of world.inFlight()) world.connect(label)
  t.equal(world.settle().length, 2)
  t.end()
})
