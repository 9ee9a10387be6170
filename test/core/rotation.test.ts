/** DESIGN 4, "Lifetime and rotation": when a connection has to go, who goes, and for whom. */
import test = require('tape')

import { DAY, HOUR, idOf, MINUTE, options, SECOND, slots, stored, World } from '../support/builders'

/** Adds a route and connects it at once. */
function up(world: World, ...labels: readonly string[]): void {
  for (const label of labels) {
    world.add(label)
    world.settle()
    world.connect(label)
  }
}

function setLifetime(world: World, lifetimeMs: number | null): void {
  world.dispatch({ type: 'options/changed', options: { ...world.state.options, lifetimeMs } })
}

const caughtUp = (world: World, name: string): unknown =>
  world.dispatch({ type: 'connection/caughtUp', peer: idOf(name) })
const transferred = (world: World, name: string): unknown =>
  world.dispatch({ type: 'connection/transferred', peer: idOf(name) })

// ---- lifetime -------------------------------------------------------------------------------------------------------------

test('none is set at first', (t) => {
  const world = World.started(slots({ net: 2 }))
  up(world, 'alice')
  world.callIn('bob')
  t.equal(world.wakeAt(), null)
  t.deepEqual(world.elapse(400 * DAY), [])
  t.end()
})

test('setLifetime is a hard limit: a connection that is not long-term is closed after it', (t) => {
  const world = World.started(slots({ net: 2 }))
  world.longTerm('alice')
  up(world, 'alice', 'bob')
  world.add('carol')
  world.request('carol')
  world.settle()
  world.connect('carol')
  world.callIn('dave')
  transferred(world, 'bob')
  setLifetime(world, 10 * MINUTE)
  t.equal(world.wakeAt(), world.now + 10 * MINUTE)
  t.deepEqual(world.elapse(10 * MINUTE - 1), [])
  t.deepEqual(
    world
      .elapse(1)
      .map(({ effect }) => effect)
      .sort(),
    ['close bob lifetime', 'close carol lifetime', 'close dave lifetime'],
    'scheduled, asked for or inbound, and whether or not it is transferring',
  )
  for (const name of ['bob', 'carol', 'dave']) world.close(name)
  t.deepEqual(world.connected(), ['alice'])
  t.deepEqual(world.elapse(MINUTE - 1), [], 'who has just been closed is left alone for a minute')
  t.deepEqual(world.settle(), [])
  t.equal(world.elapse(1).length, 1, 'then one of the two takes the slot that alice does not hold')
  t.end()
})

test('a lifetime holds for the connections that are up, and goes with being set to none', (t) => {
  const prepared = (): World => {
    const world = World.started(slots({ net: 1 }))
    up(world, 'alice')
    world.elapse(HOUR)
    return world
  }
  const old = prepared()
  setLifetime(old, HOUR + 1)
  t.deepEqual(old.settle(), [])
  t.deepEqual(old.elapse(1), [{ at: HOUR + 1, effect: 'close alice lifetime' }])
  const older = prepared()
  setLifetime(older, MINUTE)
  t.deepEqual(older.settle(), ['close alice lifetime'], 'one that is over already closes at once')
  const lifted = prepared()
  setLifetime(lifted, HOUR + 1)
  setLifetime(lifted, null)
  t.equal(lifted.wakeAt(), null)
  t.deepEqual(lifted.elapse(DAY), [])
  const spared = prepared()
  setLifetime(spared, HOUR + 1)
  spared.longTerm('alice')
  t.deepEqual(spared.elapse(DAY), [], 'who becomes long-term in the meantime stays')
  spared.longTerm('alice', false)
  t.deepEqual(spared.settle(), ['close alice lifetime'], 'until he is none any more')
  t.end()
})

// ---- who may go, and when ---------------------------------------------------------------------------------------------------

test('a connection that has been up for 30 min gives its slot to a peer that is waiting for one', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice')
  world.add('bob')
  t.equal(world.wakeAt(), world.now + 30 * MINUTE)
  t.deepEqual(world.elapse(30 * MINUTE - 1), [])
  t.deepEqual(world.elapse(1), [{ at: 30 * MINUTE, effect: 'close alice rotation' }])
  t.deepEqual(world.elapse(SECOND), [], 'the slot is free when the close is confirmed')
  world.close('alice')
  t.deepEqual(world.settle(), ['dial bob'])
  world.connect('bob')
  t.deepEqual(world.elapse(30 * MINUTE - 1), [])
  t.deepEqual(world.elapse(1), [{ at: HOUR + SECOND, effect: 'close bob rotation' }], 'and so on, in turns')
  t.end()
})

test('a connection that has caught up gives its slot at once', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice')
  world.add('bob')
  world.elapse(MINUTE)
  caughtUp(world, 'alice')
  t.deepEqual(world.settle(), ['close alice rotation'])
  t.end()
})

test('the slot goes to who has waited longest, not to who was there last', (t) => {
  const world = World.started({ ...slots({ net: 1 }), hostWindowMs: 0 })
  world.add('alice')
  world.settle()
  // Each second dial is for those who have connected before (order.test.ts); the one after this is not.
  world.fail('alice', { jitter: 0 })
  world.elapse(500)
  world.connect('alice')
  world.load([stored('bob', { lastConnectionTime: world.now - HOUR })])
  world.add('carol')
  world.elapse(30 * MINUTE)
  world.close('alice')
  t.equal(world.settle()[0], 'dial carol', 'the gap that a rotation leaves is no warm start')
  t.end()
})

test('not one that is transferring right now', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice')
  world.add('bob')
  world.elapse(30 * MINUTE - 1)
  for (let i = 0; i < 100; i++) {
    transferred(world, 'alice')
    t.deepEqual(world.elapse(9_999), [])
  }
  transferred(world, 'alice')
  const last = world.now - world.first.now
  t.deepEqual(world.elapse(9_999), [])
  t.deepEqual(world.elapse(1), [{ at: last + 10_000, effect: 'close alice rotation' }], '10 s after the last message')
  t.end()
})

test('a caught up connection that begins to transfer again has not caught up', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice')
  caughtUp(world, 'alice')
  transferred(world, 'alice')
  world.add('bob')
  t.deepEqual(world.elapse(MINUTE), [])
  transferred(world, 'alice')
  caughtUp(world, 'alice')
  t.deepEqual(world.elapse(9_999), [])
  t.deepEqual(world.elapse(1), [{ at: MINUTE + 10_000, effect: 'close alice rotation' }])
  t.end()
})

test('of several the one that is not transferring goes, then the lowest priority, then the longest up', (t) => {
  const prepared = (): World => {
    const world = World.started(slots({ net: 3 }))
    for (const name of ['alice', 'bob', 'carol']) {
      up(world, name)
      world.now += SECOND
    }
    for (const name of ['alice', 'bob', 'carol']) caughtUp(world, name)
    return world
  }
  const longest = prepared()
  longest.add('dave')
  t.deepEqual(longest.settle(), ['close alice rotation'], 'the longest up')
  const lowest = prepared()
  lowest.prioritise('carol', 'LOW')
  lowest.prioritise('alice', 'HIGH')
  lowest.add('dave')
  t.deepEqual(lowest.settle(), ['close carol rotation'], 'the lowest priority')
  const idle = prepared()
  idle.prioritise('carol', 'LOW')
  transferred(idle, 'carol')
  transferred(idle, 'alice')
  idle.add('dave')
  t.deepEqual(idle.settle(), ['close bob rotation'], 'the one that is idle')
  t.end()
})

// ---- how often --------------------------------------------------------------------------------------------------------------

test('at most one per class each 3 to 7 minutes, by the jitter', (t) => {
  const table: readonly (readonly [jitter: number, pauseMs: number])[] = [
    [0, 3 * MINUTE],
    [0.25, 4 * MINUTE],
    [0.5, 5 * MINUTE],
    [0.999_999_9, 7 * MINUTE],
  ]
  for (const [jitter, pauseMs] of table) {
    const world = World.started(slots({ net: 3 }))
    world.jitter = jitter
    for (const name of ['alice', 'bob', 'carol']) {
      up(world, name)
      world.now++
    }
    for (const name of ['alice', 'bob', 'carol']) caughtUp(world, name)
    world.addAll(['dave', 'erin'])
    t.deepEqual(world.settle(), ['close alice rotation'], `jitter ${jitter}: one`)
    const rotatedAt = world.now
    world.close('alice')
    const [dial = ''] = world.settle()
    const next = dial.replace('dial ', '')
    t.ok(['dave', 'erin'].includes(next), dial)
    world.connect(next)
    t.equal(world.wakeAt(), rotatedAt + pauseMs)
    t.deepEqual(world.elapse(pauseMs - 1), [])
    t.deepEqual(
      world.elapse(1).map(({ effect }) => effect),
      ['close bob rotation'],
      `the next after ${pauseMs} ms`,
    )
  }
  t.end()
})

test('each class rotates on its own', (t) => {
  const world = World.started(slots({ net: 1, onion: 1 }))
  up(world, 'alice', 'bob/onion')
  for (const name of ['alice', 'bob']) caughtUp(world, name)
  world.addAll(['carol', 'dave/onion'])
  t.deepEqual(world.settle(), ['close alice rotation', 'close bob rotation'])
  t.end()
})

test('the next one goes only when the slot of the one before has been taken', (t) => {
  const world = World.started({ ...slots({ net: 2 }), rotationMinMs: 0, rotationMaxMs: 0 })
  up(world, 'alice')
  world.now++
  up(world, 'bob')
  for (const name of ['alice', 'bob']) caughtUp(world, name)
  world.addAll(['carol', 'dave'])
  t.deepEqual(world.settle(), ['close alice rotation'])
  t.deepEqual(world.elapse(4_999), [], 'while it closes nobody else goes')
  world.close('alice')
  t.equal(world.settle().length, 1)
  t.deepEqual(world.elapse(5_000), [], 'nor while the next one is being dialed')
  world.connect(world.inFlight()[0] ?? '')
  t.deepEqual(world.settle(), ['close bob rotation'])
  t.end()
})

// ---- for whom ---------------------------------------------------------------------------------------------------------------

test('when nobody is waiting nobody leaves, and no wake-up is set', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice')
  caughtUp(world, 'alice')
  world.add('bob')
  world.prioritise('bob', 'BANNED')
  world.add('carol/ws')
  world.callIn('dave')
  world.add('dave')
  t.equal(world.wakeAt(), null, 'who is banned, connected or of a class without slots does not wait')
  t.deepEqual(world.elapse(30 * DAY), [])
  t.end()
})

test('a free slot makes nobody leave', (t) => {
  const world = World.started(slots({ net: 2 }))
  up(world, 'alice')
  caughtUp(world, 'alice')
  world.add('bob')
  t.deepEqual(world.settle(), ['dial bob'])
  t.deepEqual(world.elapse(9_999), [])
  world.fail('bob', { jitter: 1 })
  t.deepEqual(
    world.elapse(HOUR).filter(({ effect }) => effect.startsWith('close')),
    [],
  )
  t.end()
})

test('who waits out a pause waits for a slot when it is over', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice')
  world.load([stored('bob', { errorCount: 1, nextAttemptAt: world.now + HOUR })])
  t.equal(world.wakeAt(), world.now + HOUR)
  t.deepEqual(world.elapse(HOUR - 1), [])
  t.deepEqual(world.elapse(1), [{ at: HOUR, effect: 'close alice rotation' }])
  t.end()
})

test('nobody leaves for a peer whose host was dialed a moment ago', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice/net-h')
  caughtUp(world, 'alice')
  world.add('bob/net-h')
  t.deepEqual(world.settle(), ['put off bob/net-h until 60000'])
  t.deepEqual(world.elapse(MINUTE - 1), [])
  t.deepEqual(world.elapse(1), [{ at: MINUTE, effect: 'close alice rotation' }])
  t.end()
})

test('long-term and requested connections are never rotated', (t) => {
  const world = World.started(slots({ net: 2 }))
  up(world, 'alice')
  world.longTerm('alice')
  world.add('bob')
  world.request('bob')
  world.settle()
  world.connect('bob')
  for (const name of ['alice', 'bob']) caughtUp(world, name)
  world.addAll(['carol', 'dave'])
  t.equal(world.wakeAt(), null)
  t.deepEqual(world.elapse(30 * DAY), [])
  world.longTerm('alice', false)
  t.deepEqual(world.settle(), ['close alice rotation'], 'who is long-term no more may go')
  t.end()
})

test('a rotated peer is left alone for a minute', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice')
  world.add('bob')
  world.elapse(30 * MINUTE)
  world.close('alice')
  world.dispatch({ type: 'route/removed', address: world.route('bob').address })
  const refused = world.whyNot('alice')
  t.deepEqual([refused?.reason, refused?.until], ['backoff', world.now + MINUTE])
  t.deepEqual(world.elapse(MINUTE - 1), [])
  t.deepEqual(world.elapse(1), [{ at: 31 * MINUTE, effect: 'dial alice' }])
  t.equal(world.route('alice').errorCount, 0)
  t.equal(world.route('alice').backoffStep, 0, 'it was our wish')
  t.end()
})

test('the times are options', (t) => {
  const world = new World(options({ ...slots({ net: 1 }), dwellMs: MINUTE, rotationMinMs: 7, rotationMaxMs: 7 }))
  world.dispatch({ type: 'connections/started' })
  up(world, 'alice')
  world.add('bob')
  t.deepEqual(world.elapse(MINUTE - 1), [])
  t.deepEqual(world.elapse(1), [{ at: MINUTE, effect: 'close alice rotation' }])
  t.equal(world.state.classes.net?.nextRotationAt, world.now + 7)
  t.end()
})

// ---- rooms ----------------------------------------------------------------------------------------------------------------

test('a room that a tunnel goes through makes room for nobody, and is the last of a surplus', (t) => {
  const world = World.started(slots({ net: 2, tunnel: 1 }))
  up(world, 'room')
  world.now += SECOND
  up(world, 'alice')
  up(world, 'zoe/tunnel-room')
  world.add('bob')
  const effects = world.elapse(2 * HOUR).map(({ effect }) => effect)
  t.equal(effects.includes('close room rotation'), false, effects.join('; '))
  t.equal(effects.includes('close alice rotation'), true, 'somebody else does, though the room is older')

  const surplus = World.started(slots({ net: 2, tunnel: 1 }))
  up(surplus, 'alice')
  surplus.now += SECOND
  up(surplus, 'room')
  up(surplus, 'zoe/tunnel-room')
  surplus.setMax({ net: 1 })
  t.deepEqual(surplus.settle(), ['close alice surplus'], 'of equals the newest would go: here that is the room')

  const without = World.started(slots({ net: 2, tunnel: 1 }))
  up(without, 'alice')
  without.now += SECOND
  up(without, 'room')
  without.setMax({ net: 1 })
  t.deepEqual(without.settle(), ['close room surplus'], 'a room without a tunnel is a peer like others')
  t.end()
})
