/** DESIGN 4, "Signals before timers": each lifts exactly the matching backoff, at most once per 10 s per route. */
import test = require('tape')

import { DAY, HOUR, idOf, MINUTE, SECOND, START, slots, stored, World } from '../support/builders'

const PAUSED = { nextAttemptAt: START + HOUR, errorCount: 5, backoffStep: 9, lastErrorTime: START - MINUTE }

/** Two LAN routes and one other, all in their pause for an hour. */
function pausedWorld(): World {
  const world = World.started(slots({ net: 9, local: 9 }))
  world.load([stored('a', PAUSED), stored('a/lan', PAUSED), stored('b/lan', PAUSED)])
  world.now += MINUTE
  return world
}

const effects = (done: readonly { readonly effect: string }[]): string[] => done.map(({ effect }) => effect)

test('a LAN beacon lifts the backoff of the route that it announces, and of no other', (t) => {
  const world = pausedWorld()
  t.deepEqual(world.settle(), [])
  world.add('a/lan')
  t.deepEqual(world.settle(), ['dial a/lan'])
  t.equal(world.route('a').nextAttemptAt, START + HOUR)
  t.equal(world.route('b/lan').nextAttemptAt, START + HOUR)
  t.deepEqual(
    [world.route('a/lan').errorCount, world.route('a/lan').backoffStep],
    [5, 9],
    'that it failed is not forgotten',
  )
  t.end()
})

test('at most once per 10 s per route', (t) => {
  const world = pausedWorld()
  world.add('a/lan')
  world.settle()
  world.fail('a/lan')
  const { nextAttemptAt } = world.route('a/lan')
  t.ok(nextAttemptAt > world.now + 10 * SECOND)
  world.now += 10 * SECOND - 1
  world.add('a/lan')
  t.equal(world.route('a/lan').nextAttemptAt, nextAttemptAt, 'a millisecond too early')
  world.add('b/lan')
  t.equal(world.route('b/lan').nextAttemptAt, 0, 'another route has its own')
  world.now += 1
  world.add('a/lan')
  t.equal(world.route('a/lan').nextAttemptAt, 0)
  t.end()
})

test('a beacon for a route that is in no pause is no signal, and uses none up', (t) => {
  const world = World.started(slots({ local: 1 }))
  world.add('a/lan')
  world.add('a/lan')
  t.equal(world.route('a/lan').lastSignalAt, 0)
  world.settle()
  world.fail('a/lan')
  world.add('a/lan')
  t.deepEqual(world.settle(), ['dial a/lan'])
  t.end()
})

test('who announces himself where he is now is a signal; hearsay is none', (t) => {
  const lifts = (source: string, isLocal = false): boolean => {
    const world = World.started(slots({ net: 1 }))
    world.load([stored('a', PAUSED)])
    world.add('a', { source, isLocal })
    return world.route('a').nextAttemptAt === 0
  }
  for (const source of ['local', 'lan', 'bt', 'bluetooth', 'room', 'manual', 'invite']) t.ok(lifts(source), source)
  for (const source of ['pub', 'stored', 'seed', 'friends', 'import']) t.notOk(lifts(source), source)
  t.ok(lifts('import', true), 'whatever its name, on the LAN it is')
  t.end()
})

test('an inbound connection lifts the backoff of all routes of that peer', (t) => {
  const world = pausedWorld()
  world.callIn('a')
  t.deepEqual([world.route('a').nextAttemptAt, world.route('a/lan').nextAttemptAt], [0, 0])
  t.equal(world.route('b/lan').nextAttemptAt, START + HOUR)
  t.deepEqual(world.settle(), [], 'while it lasts there is nothing to dial')
  world.now += 10 * SECOND
  world.close('a')
  t.deepEqual(world.settle(), ['dial a/lan'])
  t.end()
})

test('an outbound connection lifts the backoff of its own route only', (t) => {
  const world = pausedWorld()
  world.request('a', 'a')
  world.settle()
  world.connect('a')
  t.equal(world.route('a').nextAttemptAt, 0)
  t.equal(world.route('a/lan').nextAttemptAt, START + HOUR)
  t.end()
})

test('our link coming back lifts what was charged to the link, and leaves what was not', (t) => {
  const world = World.started({ ...slots({ net: 9 }), hostWindowMs: 0 })
  world.load([stored('a'), stored('b', PAUSED)])
  world.settle()
  world.fail('a', { code: 'ENETUNREACH' })
  world.dispatch({ type: 'environment/online' })
  t.equal(world.route('b').nextAttemptAt, START + HOUR)
  t.deepEqual(world.settle(), ['dial a'])
  t.end()
})

test('after a change of the network whatever is down may be probed at once', (t) => {
  const world = World.started({ ...slots({ net: 9, onion: 3 }), hostWindowMs: 0, maxDialing: 3 })
  world.callIn('zed')
  world.addAll(['a/onion', 'b/onion', 'c/onion', 'd/onion'])
  world.settle()
  for (const each of world.inFlight()) world.fail(each, { code: 'ECONNREFUSED' })
  t.equal(world.settle().filter((effect) => effect.startsWith('put off')).length, 4, 'Tor is down')
  t.deepEqual(world.elapse(SECOND), [])
  world.dispatch({ type: 'environment/online' })
  t.equal(world.settle().filter((effect) => effect.startsWith('dial')).length, 1, 'by one dial')
  t.end()
})

test('a user’s connect goes past the backoff once; if it fails the backoff grows', (t) => {
  const world = pausedWorld()
  world.request('a', 'a')
  t.deepEqual(world.settle(), ['dial a (request)'])
  world.fail('a')
  t.ok(world.route('a').nextAttemptAt > world.now)
  t.equal(world.route('a').backoffStep, 10)
  t.end()
})

test('no signal lifts the minute after a hang-up by the user, nor a throttle of the host', (t) => {
  const held = World.started(slots({ local: 1 }))
  held.add('a/lan')
  held.hold('a')
  held.add('a/lan')
  held.callIn('a')
  held.close('a')
  t.deepEqual(held.elapse(MINUTE - 1), [])
  t.deepEqual(effects(held.elapse(1)), ['dial a/lan'])
  const throttled = World.started(slots({ net: 9 }))
  throttled.add('a/net-h')
  throttled.settle()
  throttled.add('b/net-h')
  throttled.add('b/net-h')
  t.deepEqual(throttled.settle(), ['put off b/net-h until 60000'])
  throttled.add('b/net-h')
  t.deepEqual(effects(throttled.elapse(9 * SECOND)), [])
  t.end()
})

test('after a suspend: what is dead is closed and dialed again at once, what answers stays', (t) => {
  const world = World.started(slots({ net: 2 }))
  world.addAll(['a', 'b'])
  world.settle()
  world.connect('a')
  world.connect('b')
  world.now += 3 * DAY
  world.dispatch({ type: 'environment/online' })
  world.dispatch({ type: 'connection/pinged', peer: idOf('b'), rttMs: 30, skewMs: 2 })
  world.askToClose('a', 'dead')
  t.deepEqual(world.settle(), ['close a dead'])
  world.close('a')
  t.deepEqual(world.settle(), ['dial a'])
  t.deepEqual(world.connected(), ['b'])
  t.end()
})

test('a clock that was set back does not lock signals out', (t) => {
  const world = pausedWorld()
  world.add('a/lan')
  world.settle()
  world.fail('a/lan')
  world.now -= DAY
  world.dispatch({ type: 'clock/setBack' })
  world.now += 10 * SECOND
  world.add('a/lan')
  t.equal(world.route('a/lan').nextAttemptAt, 0)
  t.end()
})
