/** DESIGN 4, "Lifetime and rotation", the first half: the hard limit that a user may set. Who makes room: rotation.test.ts. */
import test = require('tape')

import { DAY, HOUR, idOf, MINUTE, slots, World } from '../support/builders'

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
  world.dispatch({ type: 'connection/transferred', peer: idOf('bob') })
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
  t.deepEqual(
    world
      .elapse(1)
      .map(({ effect }) => effect)
      .sort(),
    ['dial bob', 'dial carol'],
    'then each of them may have the slot that alice does not hold',
  )
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
