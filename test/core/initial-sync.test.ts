/** DESIGN 4, "Initial sync". When it has caught up or stalls is found out by the shell; here it is an event. */
import test = require('tape')

import { DAY, HOUR, idOf, isSame, MINUTE, SECOND, START, slots, stored, storedPeer, World } from '../support/builders'

const effects = (done: readonly { readonly effect: string }[]): string[] => done.map(({ effect }) => effect)
const OPEN = { ...slots({ net: 3, onion: 3 }), hostWindowMs: 0 }

function startSync(world: World, name: string | null): void {
  world.dispatch({ type: 'initialSync/started', peer: name === null ? null : idOf(name) })
}

/** `a`, `b` and `c` are connected, `d` is being dialed, `e` waits. */
function busyWorld(): World {
  const world = World.started(slots({ net: 3, onion: 1 }))
  for (const name of ['a', 'b', 'c']) {
    world.add(name)
    world.settle()
    world.connect(name)
    world.now += SECOND
  }
  world.addAll(['d/onion', 'e'])
  world.settle()
  return world
}

test('every other scheduled connection is closed, other scheduling is off, one connection is kept', (t) => {
  const world = busyWorld()
  startSync(world, 'b')
  t.deepEqual(world.settle().sort(), ['close a initialSync', 'close c initialSync'])
  world.close('a')
  world.close('c')
  world.connect('d/onion')
  t.deepEqual(world.settle(), ['close d initialSync'], 'what arrives later goes too')
  world.close('d')
  world.longTerm('e')
  t.deepEqual(effects(world.elapse(DAY)), [], 'no dial, not even of a long-term peer, and no rotation')
  t.deepEqual(world.connected(), ['b'])
  t.end()
})

test('without a peer the best connection is kept: who means most, then who has been there longest', (t) => {
  const world = busyWorld()
  startSync(world, null)
  t.deepEqual(world.settle().sort(), ['close b initialSync', 'close c initialSync'])
  const liked = busyWorld()
  liked.prioritise('c', 'HIGH')
  startSync(liked, null)
  t.deepEqual(liked.settle().sort(), ['close a initialSync', 'close b initialSync'])
  t.end()
})

test('without a connection the best route is dialed: long-term, then the usual order, over all classes', (t) => {
  const dialed = (prepare: (world: World) => void): string[] => {
    const world = new World()
    world.callIn('zed')
    prepare(world)
    startSync(world, null)
    return world.settle()
  }
  t.deepEqual(
    dialed(() => {}),
    [],
    'nobody is known',
  )
  const low = [stored('low'), storedPeer('low', { priority: 'LOW' })] as const
  const high = [stored('high/onion'), storedPeer('high', { priority: 'HIGH' })] as const
  t.deepEqual(
    dialed((world) => world.load([low[0], high[0]], [low[1], high[1]])),
    ['dial high/onion (initialSync)'],
  )
  t.deepEqual(
    dialed((world) => {
      world.load([low[0], high[0]], [low[1], high[1]])
      world.longTerm('low')
    }),
    ['dial low (initialSync)'],
  )
  t.deepEqual(
    dialed((world) => world.add('shut/ws')),
    [],
    'a class without slots is not looked at',
  )
  t.end()
})

test('it dials one peer at a time', (t) => {
  const world = new World()
  world.addAll(['a', 'b', 'c'])
  startSync(world, null)
  t.equal(world.settle().length, 1)
  t.equal(effects(world.elapse(9 * SECOND)).length, 0)
  t.end()
})

test('a given peer is retried until stopped', (t) => {
  const world = World.started(OPEN)
  world.addAll(['a', 'b'])
  startSync(world, 'a')
  for (let i = 0; i < 30; i++) {
    const [done] = world.elapse(10 * MINUTE).filter(({ effect }) => effect === 'dial a (initialSync)')
    t.ok(done, `try ${i}`)
    if (world.inFlight().length > 0) world.fail('a', { jitter: 0.999 })
  }
  t.equal(world.route('b').lastErrorTime, 0, 'and nobody else is tried')
  world.dispatch({ type: 'initialSync/stopped' })
  t.ok(world.settle().includes('dial b'))
  t.end()
})

test('a given peer is retried as often as a friend, however long the pause that it has earned', (t) => {
  const world = World.started(OPEN)
  const learned = {
    nextAttemptAt: START + 20 * HOUR,
    lastErrorTime: START - 9 * MINUTE,
    errorCount: 30,
    backoffStep: 30,
  }
  world.load([stored('a', learned)], [storedPeer('a', { priority: 'LOW', prioritisedBy: 'user' })])
  world.hold('a')
  startSync(world, 'a')
  t.deepEqual(world.settle(), ['dial a (initialSync)'], 'at once: the user asks for it now')
  world.fail('a', { jitter: 0.999 })
  t.ok(world.route('a').nextAttemptAt > world.now + 20 * HOUR)
  t.deepEqual(effects(world.elapse(10 * MINUTE - 1)), [])
  t.deepEqual(effects(world.elapse(1)), ['dial a (initialSync)'])
  t.end()
})

test('a given peer with several routes is tried by all of them', (t) => {
  const world = World.started(OPEN)
  world.load([
    stored('a', { lastConnectionTime: START - DAY, nextAttemptAt: START + HOUR, lastErrorTime: START }),
    stored('a/net2', { errorCount: 2 }),
  ])
  startSync(world, 'a')
  t.deepEqual(world.settle(), ['dial a (initialSync)'])
  world.fail('a')
  t.deepEqual(world.settle(), ['dial a/net2 (initialSync)'])
  t.end()
})

test('a given peer is dialed past slots and classes', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.addAll(['a/ws', 'b'])
  world.settle()
  world.connect('b')
  startSync(world, 'a')
  t.deepEqual(world.settle(), ['close b initialSync', 'dial a/ws (initialSync)'])
  t.end()
})

test('a given peer that is connected already is kept, whoever called', (t) => {
  const inbound = World.started(OPEN)
  inbound.add('a')
  inbound.callIn('a')
  startSync(inbound, 'a')
  t.deepEqual(inbound.elapse(HOUR), [])
  t.end()
})

test('a given peer that is not known yet, or has no route, is waited for', (t) => {
  const world = World.started(OPEN)
  startSync(world, 'a')
  t.deepEqual(world.elapse(HOUR), [])
  world.add('a')
  t.deepEqual(world.settle(), ['dial a (initialSync)'])
  t.end()
})

test('when the best one fails, the next best', (t) => {
  const world = new World()
  world.dispatch({ type: 'options/changed', options: { ...world.state.options, ...OPEN } })
  world.load(
    ['a', 'b', 'c'].map((label) => stored(label)),
    [storedPeer('a', { priority: 'HIGH' }), storedPeer('b'), storedPeer('c', { priority: 'LOW' })],
  )
  startSync(world, null)
  const tried: string[] = []
  for (let i = 0; i < 5; i++) {
    tried.push(...effects(world.elapse(0)))
    for (const each of world.inFlight()) world.fail(each)
    world.now += 3 * SECOND
  }
  t.deepEqual(
    tried.slice(0, 4),
    ['a', 'b', 'c', 'a'].map((name) => `dial ${name} (initialSync)`),
    'and when all have failed, the best again when its pause is over',
  )
  t.deepEqual(new Set(world.state.initialSync?.stalled), new Set(['a', 'b', 'c'].map(idOf)))
  t.equal(world.state.initialSync?.stalled.length, 3, 'each once')
  t.end()
})

test('when it stalls it is closed, and the next best takes over; who stalled comes last', (t) => {
  const world = World.started(OPEN)
  world.load(
    ['a', 'b'].map((label) => stored(label)),
    [storedPeer('a', { priority: 'HIGH' }), storedPeer('b')],
  )
  startSync(world, null)
  world.settle()
  world.connect('a')
  t.deepEqual(world.settle(), [])
  world.dispatch({ type: 'connection/stalled', peer: idOf('a') })
  t.deepEqual(world.settle(), ['close a stalled', 'dial b (initialSync)'])
  world.close('a')
  world.fail('b')
  t.deepEqual(world.settle(), ['dial a (initialSync)'], 'rather the stalled one than nobody')
  t.end()
})

test('when nobody else is left, whoever stalled is tried again', (t) => {
  const world = World.started(OPEN)
  world.add('a')
  startSync(world, null)
  world.settle()
  world.connect('a')
  world.now += MINUTE
  world.dispatch({ type: 'connection/stalled', peer: idOf('a') })
  t.deepEqual(world.settle(), ['close a stalled'])
  world.close('a')
  t.deepEqual(world.settle(), ['dial a (initialSync)'])
  t.end()
})

test('a kept connection that the other side ends is replaced', (t) => {
  const world = World.started(OPEN)
  world.addAll(['a', 'b'])
  startSync(world, null)
  world.settle()
  const [first = ''] = world.inFlight()
  world.connect(first)
  world.now += MINUTE
  world.close(first)
  t.deepEqual(world.settle(), [`dial ${first === 'a' ? 'b' : 'a'} (initialSync)`])
  t.end()
})

test('an inbound connection that stalls is not ours to close', (t) => {
  const world = World.started(OPEN)
  world.callIn('a')
  startSync(world, 'a')
  world.dispatch({ type: 'connection/stalled', peer: idOf('a') })
  t.deepEqual(world.settle(), [])
  t.end()
})

test('without a sync nothing can stall', (t) => {
  const world = busyWorld()
  const before = world.state
  world.dispatch({ type: 'connection/stalled', peer: idOf('a') })
  t.ok(isSame(world.state, before))
  t.end()
})

test('what users and other modules opened stays', (t) => {
  const world = busyWorld()
  world.add('asked')
  world.request('asked')
  world.settle()
  world.connect('asked')
  const { peer, address } = world.route('e')
  world.dispatch({ type: 'connection/opened', peer, direction: 'outbound', address, attempt: null, cause: 'foreign' })
  startSync(world, 'b')
  t.deepEqual(world.settle().sort(), ['close a initialSync', 'close c initialSync'])
  t.end()
})

test('stop restores the mode from before: on', (t) => {
  const world = busyWorld()
  startSync(world, 'b')
  world.settle()
  world.close('a')
  world.close('c')
  world.abandon('d/onion')
  world.dispatch({ type: 'initialSync/stopped' })
  t.equal(world.state.mode, 'on')
  const dials = world.settle().filter((effect) => effect.startsWith('dial'))
  t.equal(dials.length, 3, 'the two slots are filled again, as about two of three dials succeed')
  t.deepEqual(world.connected(), ['b'], 'and b stays')
  t.end()
})

test('stop restores the mode from before: off', (t) => {
  const connected = new World()
  connected.addAll(['a', 'asked'])
  connected.request('asked')
  connected.settle()
  connected.connect('asked')
  startSync(connected, 'a')
  connected.settle()
  connected.connect('a')
  connected.dispatch({ type: 'initialSync/stopped' })
  t.deepEqual(connected.settle(), ['close a stopped'], 'what the sync opened goes with it, and nothing else')
  connected.close('a')
  t.deepEqual(connected.elapse(DAY), [])
  const dialing = new World()
  dialing.add('a')
  startSync(dialing, 'a')
  dialing.settle()
  dialing.dispatch({ type: 'initialSync/stopped' })
  t.deepEqual(dialing.inFlight(), [])
  t.deepEqual(dialing.elapse(DAY), [])
  t.equal(dialing.wakeAt(), null)
  t.end()
})

test('starting and stopping the manager in the course of a sync', (t) => {
  const world = new World()
  world.addAll(['a', 'b'])
  startSync(world, 'a')
  world.dispatch({ type: 'connections/started' })
  t.deepEqual(world.settle(), ['dial a (initialSync)'], 'the sync goes on')
  world.dispatch({ type: 'initialSync/stopped' })
  t.ok(world.settle().includes('dial b'), 'and what was started meanwhile is on after it')
  startSync(world, 'a')
  world.dispatch({ type: 'connections/stopped' })
  t.equal(world.state.initialSync, null, 'stop ends it')
  t.deepEqual(world.inFlight(), [])
  const before = world.state
  t.ok(isSame(world.dispatch({ type: 'initialSync/stopped' }), before), 'to stop what is not there changes nothing')
  t.end()
})

test('a lowered maximum hangs up nobody during a sync; after it, it does', (t) => {
  const world = busyWorld()
  startSync(world, 'b')
  world.settle()
  world.close('a')
  world.close('c')
  world.setMax({ net: 0, onion: 0 })
  t.deepEqual(world.settle(), [])
  world.dispatch({ type: 'initialSync/stopped' })
  t.deepEqual(world.settle(), ['close b surplus'])
  t.end()
})

test('while our link is down a sync waits, and goes on when it is back', (t) => {
  const world = World.started(OPEN)
  world.dispatch({ type: 'environment/offline' })
  world.add('a')
  for (const peer of ['a', null]) {
    startSync(world, peer)
    t.deepEqual(world.settle(), [])
    t.equal(world.wakeAt(), START + 5 * MINUTE)
  }
  world.dispatch({ type: 'environment/online' })
  t.deepEqual(world.settle(), ['dial a (initialSync)'])
  t.end()
})

test('a given peer that takes each call and hangs up at once is not called at network speed', (t) => {
  const world = World.started(OPEN)
  world.jitter = 0.999_999_9
  world.add('a')
  startSync(world, 'a')
  for (let i = 0; i < 10; i++) {
    t.deepEqual(world.settle(), ['dial a (initialSync)'])
    world.connect('a')
    world.settle()
    world.close('a')
    const until = world.now + Math.min(5 * SECOND * 2 ** i, 10 * MINUTE)
    t.equal(world.wakeAt(), until, `after ${i + 1} calls`)
    t.deepEqual(world.elapse(until - world.now - 1), [])
    world.now++
  }
  t.end()
})
