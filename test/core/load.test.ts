/** The table that was stored, read after the start: what it knows, what has been learned since, and times from other clocks. */
import test = require('tape')

import { DAY, HOUR, idOf, MINUTE, START, serialise, slots, stored, storedPeer, World } from '../support/builders'

const KNOWN = {
  source: 'stored',
  addedAt: START - 50 * DAY,
  lastConnectionTime: START - 2 * DAY,
  lastErrorTime: START - DAY,
  connectionCount: 12,
  errorCount: 3,
  backoffStep: 4,
  nextAttemptAt: START + HOUR,
  errors: [{ message: 'refused', code: 'ECONNREFUSED', at: START - DAY }],
  duration: { mean: 10, stdev: 0, count: 1, sum: 10, sqsum: 100 },
}

/** What a route has learned. */
function learned(world: World, label: string) {
  const { addedAt, lastConnectionTime, lastErrorTime, connectionCount, errorCount, backoffStep } = world.route(label)
  const { nextAttemptAt, errors, duration } = world.route(label)
  return {
    addedAt,
    lastConnectionTime,
    lastErrorTime,
    connectionCount,
    errorCount,
    backoffStep,
    nextAttemptAt,
    errors,
    duration,
  }
}

test('what a seed added before the table was read has learned what the table knows of it', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice', { source: 'seed' })
  world.load([stored('alice', KNOWN)])
  const { source: _, ...expected } = KNOWN
  t.deepEqual(learned(world, 'alice'), expected)
  t.equal(world.route('alice').source, 'seed', 'who vouches for it is who said so now')
  t.equal(world.state.peers.get(idOf('alice'))?.visitedAt, START - 2 * DAY)
  t.equal(world.state.routes.size, 1)
  t.deepEqual(world.elapse(HOUR - 1), [])
  t.deepEqual(world.elapse(1), [{ at: HOUR, effect: 'dial alice' }], 'with its pause')
  t.end()
})

test('what was learned since the start counts more than the table', (t) => {
  const failed = World.started(slots({ net: 1 }))
  failed.add('alice', { source: 'seed' })
  failed.settle()
  failed.fail('alice')
  const before = learned(failed, 'alice')
  failed.load([stored('alice', KNOWN)])
  t.deepEqual(learned(failed, 'alice'), before, 'a failure')
  const connected = World.started(slots({ net: 1 }))
  connected.add('alice', { source: 'seed' })
  connected.settle()
  connected.connect('alice')
  const then = learned(connected, 'alice')
  connected.load([stored('alice', KNOWN)], [storedPeer('alice', { visitedAt: START - 9 * DAY })])
  t.deepEqual(learned(connected, 'alice'), then, 'a connection')
  t.deepEqual(connected.connected(), ['alice'], 'which is not touched')
  t.equal(connected.state.peers.get(idOf('alice'))?.visitedAt, START)
  t.end()
})

test('a table read while a dial is under way leaves the dial alone', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice', { source: 'seed' })
  t.deepEqual(world.settle(), ['dial alice'])
  world.load([stored('alice', KNOWN)])
  t.deepEqual(world.inFlight(), ['alice'])
  world.connect('alice')
  t.equal(world.route('alice').connectionCount, 13)
  t.end()
})

test('what a user said since the start counts more than the table', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.prioritise('alice', 'HIGH')
  world.prioritise('bob', 'BANNED')
  world.load(
    [stored('alice'), stored('bob')],
    [
      storedPeer('alice', { priority: 'BANNED', prioritisedBy: 'user' }),
      storedPeer('bob', { priority: 'HIGH', prioritisedBy: 'user' }),
    ],
  )
  t.equal(world.state.peers.get(idOf('alice'))?.priority, 'HIGH')
  t.equal(world.state.peers.get(idOf('bob'))?.priority, 'BANNED')
  t.deepEqual(world.settle(), ['dial alice'])
  t.end()
})

test('what a user said before is in the table: priority, ban and long-term', (t) => {
  const world = World.started(slots({}))
  world.addAll(['alice', 'bob'], { source: 'seed' })
  world.load(
    [stored('alice'), stored('bob'), stored('carol')],
    [
      storedPeer('alice', { priority: 'LOW', prioritisedBy: 'user' }),
      storedPeer('bob', { priority: 'BANNED', prioritisedBy: 'user' }),
      storedPeer('carol', { isLongTerm: true }),
    ],
  )
  t.equal(world.state.peers.get(idOf('alice'))?.priority, 'LOW', 'lower than what the seed would be')
  t.equal(world.state.peers.get(idOf('bob'))?.priority, 'BANNED')
  t.deepEqual(world.settle(), ['dial carol (longTerm)'])
  t.end()
})

test('what a module said since the start takes back nothing that the user said before', (t) => {
  const world = World.started(slots({ net: 1 }))
  const names = ['alice', 'bob', 'carol', 'dave']
  world.addAll(names, { source: 'seed' })
  for (const name of names)
    world.dispatch({ type: 'peer/prioritised', peer: idOf(name), priority: 'HIGH', by: 'friends' })
  world.load(
    names.map((name) => stored(name)),
    [
      storedPeer('alice', { priority: 'BANNED', prioritisedBy: 'user' }),
      storedPeer('bob', { priority: 'BANNED', prioritisedBy: null }),
      storedPeer('carol', { priority: 'BANNED', prioritisedBy: 'friends' }),
      storedPeer('dave', { priority: 'LOW', prioritisedBy: null }),
    ],
  )
  const priorities = names.map((name) => world.state.peers.get(idOf(name))?.priority)
  t.equal(priorities[0], 'BANNED', 'a ban of the user')
  t.equal(priorities[1], 'BANNED', 'one of a table that did not say who set it')
  t.equal(priorities[2], 'HIGH', 'what the module itself said before is older than what it says now')
  t.equal(priorities[3], 'HIGH', 'what nobody set')
  t.end()
})

test('a priority that nobody set may raise what is known, never lower it', (t) => {
  const world = World.started()
  world.add('alice', { source: 'pub' })
  world.add('bob', { priority: 'HIGH', source: 'friends' })
  world.load([], [storedPeer('alice', { priority: 'MEDIUM' }), storedPeer('bob', { priority: 'LOW' })])
  t.equal(world.state.peers.get(idOf('alice'))?.priority, 'MEDIUM')
  t.equal(world.state.peers.get(idOf('bob'))?.priority, 'HIGH')
  world.prioritise('bob', 'LOW')
  world.load([], [storedPeer('bob', { priority: 'HIGH' })])
  t.equal(world.state.peers.get(idOf('bob'))?.priority, 'LOW', 'once the user has spoken')
  t.end()
})

test('times that lie ahead are brought down to now, pauses to their ceiling', (t) => {
  const world = World.started(slots({ net: 3 }))
  const ahead = START + 1_000 * DAY
  const late = {
    addedAt: ahead,
    lastConnectionTime: ahead,
    lastErrorTime: ahead,
    nextAttemptAt: ahead,
    backoffStep: 999,
  }
  world.load(
    ['high', 'medium', 'low', 'longTerm'].map((name) => stored(name, late)),
    [
      storedPeer('high', { priority: 'HIGH', prioritisedBy: 'user', visitedAt: ahead }),
      storedPeer('medium', { priority: 'MEDIUM', prioritisedBy: 'user', visitedAt: ahead }),
      storedPeer('low', { priority: 'LOW', prioritisedBy: 'user', visitedAt: ahead }),
      storedPeer('longTerm', { isLongTerm: true, visitedAt: ahead }),
    ],
  )
  const pauses: { [name: string]: number } = {}
  for (const name of ['high', 'medium', 'low', 'longTerm']) {
    const { addedAt, lastConnectionTime, lastErrorTime, backoffStep, nextAttemptAt } = world.route(name)
    const visitedAt = world.state.peers.get(idOf(name))?.visitedAt
    t.deepEqual(
      [addedAt, lastConnectionTime, lastErrorTime, visitedAt, backoffStep],
      [START, START, START, START, 40],
      name,
    )
    t.equal(world.state.peers.get(idOf(name))?.visitedAt, START)
    pauses[name] = nextAttemptAt - START
  }
  t.deepEqual(pauses, { high: 10 * MINUTE, medium: 2 * HOUR, low: DAY, longTerm: 10 * MINUTE })
  t.end()
})

test('a pause that is over is over', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.load([stored('alice', { errorCount: 1, nextAttemptAt: START - 1 })])
  t.deepEqual(world.settle(), ['dial alice'])
  t.end()
})

test('only the last five errors are taken', (t) => {
  const world = new World()
  const errors = Array.from({ length: 9 }, (_, i) => ({ message: `m${i}`, code: null, at: START - 100 + i }))
  world.load([stored('alice', { errors })])
  t.deepEqual(
    world.route('alice').errors.map(({ message }) => message),
    ['m4', 'm5', 'm6', 'm7', 'm8'],
  )
  t.end()
})

test('our own id in the table is nobody', (t) => {
  const world = World.started()
  const before = serialise({ ...world.state, changedPeers: [] })
  world.load([stored('self', KNOWN)], [storedPeer('self', { priority: 'HIGH', isLongTerm: true })])
  t.equal(serialise({ ...world.state, changedPeers: [] }), before)
  t.end()
})

test('reading a table twice is reading it once', (t) => {
  const world = World.started(slots({ net: 1 }))
  const read = (): void => world.load([stored('alice', KNOWN), stored('bob', { source: 'pub' })], [storedPeer('alice')])
  read()
  const once = serialise({ ...world.state, changedPeers: [] })
  read()
  t.equal(serialise({ ...world.state, changedPeers: [] }), once)
  t.end()
})

test('a table with more routes of a peer than it may have keeps the limits', (t) => {
  const world = World.started({ ...slots({ net: 1 }), maxRoutesPerPeer: 2, maxRoutes: 3 })
  world.load(['alice', 'alice/net2', 'alice/net3', 'bob', 'carol'].map((label) => stored(label)))
  t.deepEqual(
    ['alice', 'alice/net2', 'alice/net3', 'bob', 'carol'].filter((label) => world.has(label)),
    ['alice', 'alice/net2', 'bob'],
  )
  t.end()
})
