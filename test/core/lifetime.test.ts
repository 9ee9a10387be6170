/** DESIGN 4, "Lifetime and rotation". */
import test = require('tape')

import type { Options } from '../../src/core/options'
import { DAY, HOUR, idOf, MINUTE, SECOND, START, slots, stored, storedPeer, World } from '../support/builders'

const effects = (done: readonly { readonly effect: string }[]): string[] => done.map(({ effect }) => effect)

function setLifetime(world: World, lifetimeMs: number | null): void {
  world.dispatch({ type: 'options/changed', options: { ...world.state.options, lifetimeMs } })
}

/** `holder` is connected in the only slot, since `START`; `waiter` waits for one. */
function fullWorld(change: Partial<Options> = {}): World {
  const world = World.started({ ...slots({ net: 1 }), ...change })
  world.add('holder')
  world.settle()
  world.connect('holder')
  world.add('waiter')
  return world
}

// ---- lifetime -------------------------------------------------------------------------------------------------------------

test('no lifetime is set at first: a connection that nobody waits for stays', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('a')
  world.settle()
  world.connect('a')
  t.equal(world.wakeAt(), null)
  t.deepEqual(world.elapse(400 * DAY), [])
  t.end()
})

test('a lifetime is a hard limit, to the millisecond', (t) => {
  const world = World.started({ ...slots({ net: 2 }), lifetimeMs: HOUR })
  world.addAll(['a', 'b'])
  world.settle()
  world.connect('a')
  world.now += MINUTE
  world.connect('b')
  t.equal(world.wakeAt(), START + HOUR)
  world.dispatch({ type: 'connection/transferred', peer: idOf('a') })
  t.deepEqual(world.elapse(59 * MINUTE - 1), [])
  t.deepEqual(effects(world.elapse(1)), ['close a lifetime'], 'in the middle of a transfer or not')
  world.close('a')
  t.deepEqual(effects(world.elapse(MINUTE - 1)), [], 'and a is not taken back for a minute')
  t.deepEqual(effects(world.elapse(1)).sort(), ['close b lifetime', 'dial a'])
  t.end()
})

test('the limit holds for every connection that is not long-term', (t) => {
  const world = World.started({ ...slots({ net: 2 }), lifetimeMs: HOUR })
  world.addAll(['asked', 'kept'])
  world.longTerm('kept')
  world.request('asked')
  world.settle()
  world.connect('asked')
  world.connect('kept')
  world.callIn('caller')
  t.deepEqual(effects(world.elapse(HOUR)).sort(), ['close asked lifetime', 'close caller lifetime'])
  world.close('asked')
  world.close('caller')
  world.longTerm('kept', false)
  t.deepEqual(world.settle(), ['close kept lifetime'], 'and for that one as soon as it no longer is')
  t.end()
})

test('a lifetime counts for connections that are already up, and no longer when it is taken back', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('a')
  world.settle()
  world.connect('a')
  world.now += HOUR
  setLifetime(world, HOUR + 1)
  t.deepEqual(world.settle(), [])
  t.equal(world.wakeAt(), world.now + 1)
  setLifetime(world, null)
  t.deepEqual(world.elapse(DAY), [])
  setLifetime(world, HOUR)
  t.deepEqual(world.settle(), ['close a lifetime'])
  t.end()
})

// ---- rotation -------------------------------------------------------------------------------------------------------------

test('a connection that has been up for 30 min gives its slot to a peer that waits for one', (t) => {
  const world = fullWorld()
  t.deepEqual(world.elapse(30 * MINUTE - 1), [])
  t.deepEqual(effects(world.elapse(1)), ['close holder rotation'])
  world.close('holder')
  t.deepEqual(world.settle(), ['dial waiter'])
  t.end()
})

test('a connection that has caught up gives its slot at once', (t) => {
  const world = fullWorld()
  t.deepEqual(world.elapse(MINUTE), [])
  world.dispatch({ type: 'connection/caughtUp', peer: idOf('holder') })
  t.deepEqual(world.settle(), ['close holder rotation'])
  t.end()
})

test('nobody makes room for nobody', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('holder')
  world.settle()
  world.connect('holder')
  world.dispatch({ type: 'connection/caughtUp', peer: idOf('holder') })
  t.deepEqual(world.elapse(DAY), [])
  world.add('waiter')
  t.deepEqual(world.settle(), ['close holder rotation'])
  t.end()
})

test('not one that is transferring right now', (t) => {
  const world = fullWorld()
  world.now += 31 * MINUTE
  world.dispatch({ type: 'connection/transferred', peer: idOf('holder') })
  t.deepEqual(world.elapse(10 * SECOND - 1), [])
  t.deepEqual(effects(world.elapse(1)), ['close holder rotation'])
  const caughtUp = fullWorld()
  caughtUp.now += MINUTE
  caughtUp.dispatch({ type: 'connection/transferred', peer: idOf('holder') })
  caughtUp.dispatch({ type: 'connection/caughtUp', peer: idOf('holder') })
  t.deepEqual(effects(caughtUp.elapse(10 * SECOND - 1)), [])
  t.deepEqual(effects(caughtUp.elapse(1)), ['close holder rotation'])
  t.end()
})

test('who transfers again has not caught up any more', (t) => {
  const world = fullWorld()
  world.dispatch({ type: 'connection/caughtUp', peer: idOf('holder') })
  world.dispatch({ type: 'connection/transferred', peer: idOf('holder') })
  t.deepEqual(world.elapse(30 * MINUTE - 1), [])
  t.deepEqual(effects(world.elapse(1)), ['close holder rotation'])
  t.end()
})

/** All connections of a class have caught up, and many wait. */
function crowdedWorld(change: Partial<Options>): World {
  const world = World.started({ maxDialing: 100, ...change })
  world.addAll(['a', 'b', 'c', 'x/onion', 'y/onion'])
  world.settle()
  for (const each of world.inFlight()) world.connect(each)
  for (const name of world.connected()) world.dispatch({ type: 'connection/caughtUp', peer: idOf(name) })
  return world
}

test('at most one per class every 3 to 7 minutes, as the dice fall', (t) => {
  for (const [jitter, pause] of [
    [0, 3 * MINUTE],
    [0.5, 5 * MINUTE],
    [0.999_999_999, 7 * MINUTE],
  ] as const) {
    const world = crowdedWorld(slots({ net: 3, onion: 2 }))
    world.jitter = jitter
    world.addAll(['d', 'e', 'f', 'z/onion'])
    const first = world.settle()
    t.equal(first.length, 2, 'one of net and one of onion')
    const confirm = () => {
      for (const peer of world.state.active.keysArray())
        if (peer.connection.status === 'closing')
          world.dispatch({ type: 'connection/closed', peer: peer.id, jitter: 0.5 })
      world.settle()
      for (const each of world.inFlight()) world.connect(each)
    }
    confirm()
    for (const name of world.connected()) world.dispatch({ type: 'connection/caughtUp', peer: idOf(name) })
    t.deepEqual(
      effects(world.elapse(pause - 1)).filter((effect) => effect.startsWith('close')),
      [],
      `${jitter}`,
    )
    t.equal(effects(world.elapse(1)).filter((effect) => effect.endsWith('rotation')).length, 2)
  }
  t.end()
})

test('the lowest priority makes room first, then who has been up longest', (t) => {
  const world = World.started(slots({ net: 3 }))
  for (const name of ['first', 'second', 'low']) {
    world.add(name)
    world.settle()
    world.connect(name)
    world.now += SECOND
  }
  world.prioritise('low', 'LOW')
  world.now += HOUR
  world.add('waiter')
  const victims: string[] = []
  for (let i = 0; i < 3; i++) {
    victims.push(...world.settle())
    const [, name = ''] = victims[i]?.split(' ') ?? []
    world.close(name)
    world.add(`waiter${i}`)
    world.settle()
    for (const each of world.inFlight()) world.connect(each)
    world.now += 7 * MINUTE
  }
  t.deepEqual(victims, ['close low rotation', 'close first rotation', 'close second rotation'])
  t.end()
})

test('whoever made room is not taken back for a minute', (t) => {
  const world = fullWorld()
  world.dispatch({ type: 'connection/caughtUp', peer: idOf('holder') })
  world.settle()
  world.close('holder')
  world.settle()
  world.fail('waiter')
  t.equal(world.whyNot('holder')?.until, world.now + MINUTE)
  t.end()
})

test('long-term peers and those whom a user asked for do not make room', (t) => {
  for (const prepare of [(world: World) => world.longTerm('holder'), (world: World) => world.request('holder')]) {
    const world = World.started(slots({ net: 1 }))
    world.add('holder')
    prepare(world)
    world.settle()
    world.connect('holder')
    world.dispatch({ type: 'connection/caughtUp', peer: idOf('holder') })
    world.add('waiter')
    t.deepEqual(world.elapse(DAY), [])
  }
  t.end()
})

test('a class in which a slot is free, or about to be, rotates nobody', (t) => {
  const world = World.started(slots({ net: 2 }))
  world.addAll(['a', 'b'])
  world.settle()
  world.connect('a')
  world.dispatch({ type: 'connection/caughtUp', peer: idOf('a') })
  world.add('c')
  t.deepEqual(world.settle(), [], 'b is being dialed')
  world.connect('b')
  world.askToClose('b', 'dead')
  t.deepEqual(world.settle(), ['close b dead'])
  t.deepEqual(world.elapse(4 * SECOND), [], 'the slot of b is about to be free')
  t.end()
})

test('rotation waits for those in their pause, and takes place when the first of them is due', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('holder')
  world.settle()
  world.connect('holder')
  world.dispatch({ type: 'connection/caughtUp', peer: idOf('holder') })
  world.load([stored('waiter', { nextAttemptAt: START + HOUR, errorCount: 1 })])
  t.deepEqual(world.settle(), [])
  t.equal(world.wakeAt(), START + HOUR)
  t.deepEqual(world.elapse(HOUR - 1), [])
  t.deepEqual(effects(world.elapse(1)), ['close holder rotation'])
  t.end()
})

test('who is ready but could not be dialed anyway is no reason to hang up', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('holder/net-h')
  world.settle()
  world.connect('holder/net-h')
  world.dispatch({ type: 'connection/caughtUp', peer: idOf('holder') })
  world.now += SECOND
  world.add('waiter/net-h')
  t.deepEqual(world.settle(), ['put off waiter/net-h until 60000'], 'its host was dialed a second ago')
  t.deepEqual(world.elapse(59 * SECOND - 1), [])
  t.deepEqual(effects(world.elapse(1)), ['close holder rotation'])
  t.end()
})

test('who is kept away by an outage is no reason to hang up either', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('holder')
  world.settle()
  world.connect('holder')
  world.now += HOUR
  world.dispatch({ type: 'environment/offline' })
  world.add('waiter')
  t.deepEqual(effects(world.elapse(5 * MINUTE - 1)), [])
  t.end()
})

test('rotation visits everybody: with equal merit nobody waits longer than his share', (t) => {
  const names = Array.from({ length: 12 }, (_, i) => `p${i}`)
  const world = World.started(slots({ net: 3 }))
  world.isChecked = false
  world.load(
    names.map((name) => stored(name)),
    names.map((name) => storedPeer(name, { priority: 'MEDIUM', isPrioritised: true })),
  )
  const visits = new Map<string, number>()
  const end = world.now + 3 * DAY
  while (world.now < end) {
    for (const effect of world.settle()) {
      const [what, name = ''] = effect.split(' ')
      if (what === 'close') world.close(name)
      if (what === 'dial') {
        world.connect(name)
        visits.set(name, (visits.get(name) ?? 0) + 1)
      }
    }
    world.settle()
    for (const each of world.inFlight()) {
      world.connect(each)
      visits.set(each, (visits.get(each) ?? 0) + 1)
    }
    world.now = Math.max(world.now, Math.min(end, world.wakeAt() ?? end))
  }
  const counts = names.map((name) => visits.get(name) ?? 0)
  const mean = counts.reduce((sum, count) => sum + count, 0) / names.length
  t.ok(mean >= 20, `${mean} visits each`)
  t.ok(Math.max(...counts) <= 1.2 * mean && Math.min(...counts) >= 0.8 * mean, counts.join())
  t.end()
})
