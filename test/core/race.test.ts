/** DESIGN 4, "The routes of one peer race" and "Dials that do not end". */
import test = require('tape')

import { DAY, idOf, MINUTE, SECOND, serialise, slots, stored, World } from '../support/builders'

const OPEN = slots({ net: 9, local: 9, onion: 9, ws: 0 })

/** `[ms since the start, what was done]`, without the puttings-off. */
function dials(done: readonly { readonly at: number; readonly effect: string }[]): [number, string][] {
  return done.filter(({ effect }) => !effect.startsWith('put off')).map(({ at, effect }) => [at, effect])
}

test('the next route of a peer starts 250 ms after the one before it, four at most', (t) => {
  const world = World.started(OPEN)
  world.load(['a', 'a/net2', 'a/net3', 'a/net4', 'a/net5'].map((label, i) => stored(label, { errorCount: i })))
  t.deepEqual(dials(world.elapse(249)), [[0, 'dial a']])
  t.deepEqual(dials(world.elapse(1)), [[250, 'dial a/net2']])
  t.deepEqual(dials(world.elapse(249)), [])
  t.deepEqual(dials(world.elapse(1)), [[500, 'dial a/net3']])
  t.deepEqual(dials(world.elapse(8 * SECOND)), [[750, 'dial a/net4']])
  t.equal(world.state.occupancy.net?.dialing, 1, 'all in one slot')
  world.fail('a/net2')
  t.deepEqual(world.settle(), ['dial a/net5'], 'the fifth when one of the four has failed')
  t.end()
})

test('after a local route the next one starts after 30 ms', (t) => {
  const world = World.started(OPEN)
  world.addAll(['a/lan', 'a'])
  t.deepEqual(dials(world.elapse(29)), [[0, 'dial a/lan']])
  t.deepEqual(dials(world.elapse(1)), [[30, 'dial a']])
  t.end()
})

test('while another dial is under way the next route starts as soon as one fails', (t) => {
  const world = World.started(OPEN)
  world.load(['a', 'a/net2', 'a/net3'].map((label, i) => stored(label, { errorCount: i })))
  world.elapse(260)
  t.deepEqual(world.inFlight(), ['a', 'a/net2'])
  world.fail('a/net2')
  t.deepEqual(world.settle(), ['dial a/net3'])
  t.end()
})

test('when the only dial fails the next route is dialed at once', (t) => {
  const world = World.started(OPEN)
  world.load(['a', 'a/net2'].map((label, i) => stored(label, { errorCount: i })))
  world.settle()
  world.now += 100
  world.fail('a')
  t.deepEqual(world.settle(), ['dial a/net2'])
  t.end()
})

test('the first to connect wins; late ones no longer count', (t) => {
  const world = World.started(OPEN)
  world.load(['a', 'a/net2', 'a/net3'].map((label, i) => stored(label, { errorCount: i })))
  world.elapse(300)
  t.deepEqual(world.inFlight(), ['a', 'a/net2'])
  world.connect('a/net2')
  t.deepEqual(world.inFlight(), [])
  t.deepEqual(
    world.state.lingering.map(({ attempt }) => attempt),
    [1],
    'the other one cannot be cancelled, so its socket is counted',
  )
  t.deepEqual(dials(world.elapse(5 * MINUTE)), [])
  const before = serialise(world.state)
  const error = { message: 'late', code: 'ETIMEDOUT' }
  const { peer, address } = world.route('a')
  world.dispatch({ type: 'dial/failed', attempt: 1, peer, address, error, jitter: 0.5, isGivenUp: false })
  t.equal(serialise(world.state), before, 'its failure is nobody’s fault')
  world.dispatch({ type: 'dial/ended', attempt: 1 })
  t.equal(world.state.lingering.length, 0)
  t.end()
})

test('a route in its pause takes no part in the race, unless a user asked for the peer', (t) => {
  const prepared = (): World => {
    const world = World.started(OPEN)
    world.load([stored('a'), stored('a/net2', { errorCount: 1, nextAttemptAt: world.now + MINUTE })])
    return world
  }
  const scheduled = prepared()
  t.deepEqual(dials(scheduled.elapse(9 * SECOND)), [[0, 'dial a']])
  const asked = prepared()
  asked.settle()
  asked.request('a')
  t.deepEqual(
    asked.elapse(9 * SECOND).map(({ at, effect }) => [at, effect]),
    [[250, 'dial a/net2 (request)']],
    'even if the dial under way was not his',
  )
  t.end()
})

test('a route that becomes due in the course of the race does not join it late', (t) => {
  const world = World.started(OPEN)
  world.load([stored('a'), stored('a/net2', { errorCount: 1, nextAttemptAt: world.now + 250 })])
  t.deepEqual(dials(world.elapse(SECOND)), [
    [0, 'dial a'],
    [250, 'dial a/net2'],
  ])
  const late = World.started(OPEN)
  late.load([stored('a'), stored('a/net2', { errorCount: 1, nextAttemptAt: late.now + 251 })])
  t.deepEqual(dials(late.elapse(9 * SECOND)), [[0, 'dial a']])
  t.end()
})

test('routes that may not be dialed are passed over in the race, all at once', (t) => {
  const world = World.started(OPEN)
  world.load([
    stored('a'),
    stored('a/ws', { errorCount: 1 }),
    stored('a/wss', { errorCount: 2 }),
    stored('a/onion', { errorCount: 3 }),
  ])
  t.deepEqual(world.elapse(250).slice(1), [
    { at: 250, effect: 'put off a/ws until 1250' },
    { at: 250, effect: 'put off a/wss until 1250' },
    { at: 250, effect: 'dial a/onion' },
  ])
  t.end()
})

test('a race in another class needs a slot there', (t) => {
  const world = World.started(slots({ net: 1, onion: 1 }))
  world.add('b/onion')
  world.settle()
  world.connect('b/onion')
  world.load([stored('a'), stored('a/onion', { errorCount: 1 }), stored('a/net2', { errorCount: 2 })])
  t.deepEqual(dials(world.elapse(SECOND)), [
    [0, 'dial a'],
    [250, 'dial a/net2'],
  ])
  t.end()
})

test('a race of a long-term peer or of an initial sync goes on in its own name', (t) => {
  const longTerm = World.started(slots({}))
  longTerm.addAll(['a', 'a/ws'])
  longTerm.longTerm('a')
  const [first = '', second = ''] = longTerm.elapse(250).map(({ effect }) => effect)
  t.match(first, /\(longTerm\)$/)
  t.match(second, /\(longTerm\)$/)
  const sync = new World()
  sync.addAll(['a', 'a/ws'])
  sync.dispatch({ type: 'initialSync/started', peer: idOf('a') })
  const effects = sync.elapse(250).map(({ effect }) => effect)
  t.equal(effects.filter((effect) => effect.endsWith('(initialSync)')).length, 2)
  t.end()
})

test('a race under way ends with the mode that began it', (t) => {
  const world = World.started(OPEN)
  world.load([stored('a'), stored('a/net2', { errorCount: 1 })])
  world.settle()
  world.dispatch({ type: 'initialSync/started', peer: idOf('b') })
  t.deepEqual(dials(world.elapse(9 * SECOND)), [], 'no second route for a peer that the sync is not about')
  t.end()
})

// ---- dials that do not end ------------------------------------------------------------------------------------------------

test('a dial is given up after the time of its class, and not a millisecond before', (t) => {
  const table: readonly (readonly [string, number])[] = [
    ['a', 10 * SECOND],
    ['a/ws', 10 * SECOND],
    ['a/rtc', 10 * SECOND],
    ['a/unix', 10 * SECOND],
    ['a/lan', 3 * SECOND],
    ['a/onion', 30 * SECOND],
    ['a/tunnel-room', 30 * SECOND],
    ['a/dht', 5 * MINUTE],
    ['a/bt', MINUTE],
  ]
  for (const [label, timeoutMs] of table) {
    const world = World.started()
    world.add(label)
    world.request('a')
    world.settle()
    t.equal(world.wakeAt(), world.now + timeoutMs, `${label}: wakes at its deadline`)
    t.deepEqual(world.elapse(timeoutMs - 1), [], `${label}: not before`)
    const [given] = world.elapse(1)
    t.deepEqual(given, { at: timeoutMs, effect: `give up ${label}` })
    const [failure] = world.route(label).errors
    t.equal(failure?.code, 'ERR_DIAL_TIMEOUT')
  }
  t.end()
})

test('the timeouts are options', (t) => {
  const world = World.started({ dialTimeoutMs: { default: 7 * SECOND, local: SECOND } })
  world.addAll(['a', 'b/lan'])
  t.deepEqual(
    world
      .elapse(7 * SECOND)
      .filter(({ effect }) => effect.startsWith('give up'))
      .slice(0, 1),
    [{ at: SECOND, effect: 'give up b/lan' }],
  )
  t.equal(world.route('a').errorCount, 1)
  t.end()
})

test('in a race each dial has its own deadline', (t) => {
  const world = World.started(OPEN)
  world.load([stored('a'), stored('a/net2', { errorCount: 1 })])
  t.deepEqual(dials(world.elapse(10_250)), [
    [0, 'dial a'],
    [250, 'dial a/net2'],
    [10_000, 'give up a'],
    [10_250, 'give up a/net2'],
  ])
  t.end()
})

test('each attempt has one outcome: what comes after it was given up changes nothing', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('a')
  world.elapse(10 * SECOND)
  t.equal(world.route('a').errorCount, 1)
  const before = serialise(world.state)
  const { peer, address } = world.route('a')
  const error = { message: 'refused', code: 'ECONNREFUSED' }
  world.dispatch({ type: 'dial/failed', attempt: 1, peer, address, error, jitter: 0.5, isGivenUp: false })
  world.dispatch({ type: 'dial/abandoned', attempt: 1, peer })
  t.equal(serialise(world.state), before)
  t.equal(world.state.lingering.length, 1)
  world.dispatch({ type: 'dial/ended', attempt: 1 })
  t.equal(world.state.lingering.length, 0, 'but its socket is free')
  t.end()
})

test('an outcome is booked on the route that was dialed, whatever the event says', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.load([stored('a'), stored('a/net2', { errorCount: 1 })])
  world.settle()
  const { peer } = world.route('a')
  const error = { message: 'refused', code: 'ECONNREFUSED' }
  const address = world.route('a/net2').address
  world.dispatch({ type: 'dial/failed', attempt: 1, peer, address, error, jitter: 0.5, isGivenUp: false })
  t.deepEqual([world.route('a').errorCount, world.route('a/net2').errorCount], [1, 1])
  t.end()
})

test('a dial that was announced twice, or of a banned peer, is not counted', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.addAll(['a', 'b'])
  world.prioritise('b', 'BANNED')
  world.settle()
  const before = serialise(world.state)
  const { peer, address } = world.route('a')
  world.dispatch({ type: 'dial/started', attempt: 1, peer, address, cause: 'schedule' })
  world.dispatch({ type: 'dial/started', attempt: 2, peer, address, cause: 'schedule' })
  const other = world.route('b')
  world.dispatch({ type: 'dial/started', attempt: 3, peer: other.peer, address: other.address, cause: 'schedule' })
  t.equal(serialise(world.state), before)
  t.end()
})

test('a dial that is abandoned charges nobody, and its peer is free again', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('a')
  world.settle()
  world.abandon('a')
  t.equal(world.status('a'), 'idle')
  t.equal(world.route('a').errorCount, 0)
  t.equal(world.state.lingering.length, 1)
  t.end()
})

test('hanging up on a peer that is being dialed abandons the dial and drops the request', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('a')
  world.request('a')
  world.settle()
  world.hold('a')
  world.askToClose('a', 'disconnected')
  t.equal(world.status('a'), 'idle')
  t.equal(world.state.requests.size, 0)
  t.deepEqual(dials(world.elapse(59 * SECOND)), [])
  t.equal(world.route('a').errorCount, 0)
  t.end()
})

test('removing a route that is in use hangs up, or abandons its dial', (t) => {
  const world = World.started(slots({ net: 2 }))
  world.addAll(['a', 'b'])
  world.settle()
  world.connect('a')
  world.dispatch({ type: 'route/removed', address: world.route('a').address })
  world.dispatch({ type: 'route/removed', address: world.route('b').address })
  world.dispatch({ type: 'route/removed', address: 'net:nowhere' })
  t.deepEqual(world.settle(), ['close a routeRemoved'])
  t.deepEqual(world.inFlight(), [])
  t.equal(world.state.peers.size, 1, 'b is forgotten')
  world.close('a')
  t.equal(world.state.peers.size, 0, 'and so is a when it has gone')
  t.deepEqual(dials(world.elapse(DAY)), [])
  t.end()
})

// ---- requests -------------------------------------------------------------------------------------------------------------

test('a request ends when it is met, when every route has failed, when none is left, and when the peer is banned', (t) => {
  const prepared = (): World => {
    const world = new World()
    world.load([stored('a'), stored('a/net2', { errorCount: 1 })])
    world.request('a')
    world.settle()
    return world
  }
  const pending = (world: World): boolean => world.state.requests.size === 1

  const met = prepared()
  met.connect('a')
  t.notOk(pending(met), 'met')

  const calledIn = prepared()
  calledIn.callIn('a')
  t.notOk(pending(calledIn), 'met by a call from the other side')

  const failed = prepared()
  failed.fail('a')
  t.ok(pending(failed), 'the first of two routes has failed')
  t.deepEqual(failed.settle(), ['dial a/net2 (request)'])
  failed.fail('a/net2')
  t.notOk(pending(failed), 'both have')
  t.deepEqual(failed.elapse(DAY), [], 'a user is told, and asks again if he likes')

  const removed = prepared()
  removed.fail('a')
  removed.dispatch({ type: 'route/removed', address: removed.route('a/net2').address })
  t.notOk(pending(removed), 'the only one left was removed')

  const removedInFlight = prepared()
  removedInFlight.dispatch({ type: 'route/removed', address: removedInFlight.route('a').address })
  t.deepEqual(removedInFlight.settle(), ['dial a/net2 (request)'], 'the one being dialed was removed: the other')

  const banned = prepared()
  banned.prioritise('a', 'BANNED')
  t.notOk(pending(banned), 'banned')
  t.deepEqual(banned.inFlight(), [])

  const dropped = prepared()
  dropped.dispatch({ type: 'connection/requestDropped', peer: idOf('a') })
  dropped.dispatch({ type: 'connection/requestDropped', peer: idOf('a') })
  t.notOk(pending(dropped), 'dropped')
  t.end()
})

test('a request for who cannot be dialed or need not be is none', (t) => {
  const world = new World()
  world.request('nobody')
  world.prioritise('routeless', 'HIGH')
  world.request('routeless')
  world.add('banned')
  world.prioritise('banned', 'BANNED')
  world.request('banned')
  world.callIn('here')
  world.request('here')
  t.equal(world.state.requests.size, 0)
  t.deepEqual(world.settle(), [])
  t.end()
})

test('a request for who is being hung up on is met after that', (t) => {
  const world = new World()
  world.add('a')
  world.callIn('a')
  world.askToClose('a', 'dead')
  world.request('a')
  t.deepEqual(world.settle(), ['close a dead'])
  world.close('a')
  t.deepEqual(world.settle(), ['dial a (request)'])
  t.end()
})

test('a request that is dropped while its dial is under way leaves an ordinary dial', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.load([stored('a'), stored('a/net2', { errorCount: 1, nextAttemptAt: world.now + DAY })])
  world.request('a')
  world.settle()
  world.dispatch({ type: 'connection/requestDropped', peer: idOf('a') })
  t.deepEqual(dials(world.elapse(9 * SECOND)), [], 'whose race respects the pauses')
  t.end()
})

test('who lost a race is in flight for as long as any other, and no more is dialed than may be at once', (t) => {
  const world = World.started({ ...slots({ net: 9 }), maxDialing: 2 })
  world.load(['a', 'a/net2'].map((label, i) => stored(label, { errorCount: i })))
  world.elapse(300)
  t.deepEqual(world.inFlight(), ['a', 'a/net2'])
  world.connect('a/net2')
  world.addAll(['b', 'c'])
  const begun = world.settle()
  t.equal(begun.length, 1, 'one lane is free')
  const [name = ''] = world.inFlight()
  t.deepEqual(dials(world.elapse(10 * SECOND - 301)), [])
  t.deepEqual(dials(world.elapse(1)), [[10 * SECOND, `dial ${name === 'b' ? 'c' : 'b'}`]], 'when the loser is given up')
  t.end()
})

test('while all slots are full a route that never worked is not raced against one that did and has not failed three times as often', (t) => {
  const raced = (worked: number, never: number): [number, string][] => {
    const world = World.started(slots({ net: 1 }))
    world.add('alice')
    world.settle()
    world.connect('alice')
    world.dispatch({ type: 'connection/caughtUp', peer: idOf('alice') })
    world.load([
      stored('a', { errorCount: worked, lastConnectionTime: world.now - DAY, connectionCount: 1 }),
      stored('a/net2', { errorCount: never, lastErrorTime: world.now - DAY }),
    ])
    return dials(world.elapse(15 * SECOND)).map(([at, effect]) => [at - 12 * SECOND, effect])
  }
  t.deepEqual(raced(1, 2), [[0, 'dial a']])
  t.deepEqual(raced(5, 2), [[0, 'dial a']])
  t.deepEqual(
    raced(6, 2),
    [
      [0, 'dial a'],
      [250, 'dial a/net2'],
    ],
    'he may be somewhere else by now',
  )
  t.end()
})
