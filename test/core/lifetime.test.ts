/** DESIGN 4, "Lifetime and rotation", what rotation.test.ts leaves: whom they spare, what stands against them, and the shares. */
import test = require('tape')

import { DAY, HOUR, idOf, MINUTE, SECOND, slots, stored, storedPeer, World } from '../support/builders'

const effects = (done: readonly { readonly effect: string }[]): string[] => done.map(({ effect }) => effect)

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
    names.map((name) => storedPeer(name, { priority: 'MEDIUM', prioritisedBy: 'user' })),
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
