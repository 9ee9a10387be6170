/** DESIGN 4 on a clock that jumps: set back by a user or a server, or far ahead after a sleep of the machine. */
import test = require('tape')

import { backoffCeiling } from '../../src/core/backoff'
import { CLOSING_TIMEOUT_MS } from '../../src/core/table'
import { DAY, HOUR, idOf, MINUTE, SECOND, slots, stored, storedPeer, World } from '../support/builders'

const BACKWARDS: readonly (readonly [string, number])[] = [
  ['a second', SECOND],
  ['an hour', HOUR],
  ['a year', 365 * DAY],
]

function setBack(world: World, ms: number): void {
  world.now -= ms
  world.dispatch({ type: 'clock/setBack' })
}

/** Connected, dialing, closing, held, paused in each priority, throttled: all that has a time in it. */
function busy(): World {
  const world = World.started({ ...slots({ net: 3, onion: 1 }), lifetimeMs: DAY })
  world.jitter = 0.999_999
  world.add('up')
  world.settle()
  world.connect('up')
  world.dispatch({ type: 'connection/transferred', peer: idOf('up') })
  world.add('left')
  world.settle()
  world.connect('left')
  world.hold('left')
  world.askToClose('left', 'disconnected')
  world.settle()
  const learned = { errorCount: 30, backoffStep: 30, lastErrorTime: world.now, source: 'pub' }
  world.load(
    ['high', 'medium', 'low', 'longTerm'].map((name) => stored(name, { ...learned, nextAttemptAt: world.now + DAY })),
    [
      storedPeer('high', { priority: 'HIGH' }),
      storedPeer('medium', { priority: 'MEDIUM', prioritisedBy: 'user' }),
      storedPeer('low', { priority: 'LOW' }),
      storedPeer('longTerm', { isLongTerm: true }),
    ],
  )
  world.add('dialing/onion')
  world.settle()
  return world
}

test('after the clock was set back no pause is longer than its ceiling', (t) => {
  for (const [text, ms] of BACKWARDS) {
    const world = busy()
    setBack(world, ms)
    for (const [label, priority, isLongTerm] of [
      ['high', 'HIGH', false],
      ['medium', 'MEDIUM', false],
      ['low', 'LOW', false],
      ['longTerm', 'MEDIUM', true],
    ] as const) {
      const pauseMs = world.route(label).dueAt - world.now
      t.ok(pauseMs <= backoffCeiling(world.state.options, priority, isLongTerm), `${text}: ${label} ${pauseMs} ms`)
      t.ok(pauseMs > 0, 'nor is it over')
      t.equal(world.route(label).errorCount, 30, 'and nothing is forgotten')
    }
    t.ok((world.state.peers.get(idOf('left'))?.heldUntil ?? 0) <= world.now + MINUTE, 'a hang-up holds for a minute')
  }
  t.end()
})

test('after the clock was set back the plan goes on, each timer with its own length', (t) => {
  for (const [text, ms] of BACKWARDS) {
    const world = busy()
    setBack(world, ms)
    const from = world.now - world.first.now
    const done = world.elapse(DAY)
    const first = (effect: string): number | undefined => done.find((each) => each.effect === effect)?.at
    t.equal(first('lose left'), from + CLOSING_TIMEOUT_MS, `${text}: a close`)
    t.equal(first('give up dialing/onion'), from + 30 * SECOND, `${text}: a dial`)
    t.equal(first('close up lifetime'), from + DAY, `${text}: a lifetime`)
    const longTerm = first('dial longTerm (longTerm)') ?? Number.POSITIVE_INFINITY
    t.ok(longTerm <= from + 10 * MINUTE, `${text}: a long-term peer within ten minutes`)
    const medium = first('dial medium') ?? Number.POSITIVE_INFINITY
    t.ok(medium <= from + 2 * HOUR, `${text}: MEDIUM within two hours`)
  }
  t.end()
})

test('a host is throttled for a minute, not until the old time has come again', (t) => {
  const world = World.started(slots({ net: 2 }))
  world.addAll(['alice/net-h', 'bob/net-h'])
  const [, dial = ''] = world.settle()
  world.abandon(dial.replace('dial ', ''))
  setBack(world, 365 * DAY)
  const from = world.now - world.first.now
  const dials = world.elapse(MINUTE).filter(({ effect }) => effect.startsWith('dial'))
  t.deepEqual(
    dials.map(({ at }) => at),
    [from + MINUTE],
  )
  t.end()
})

test('a visit is at most 54 seconds off', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.settle()
  world.connect('alice')
  world.dispatch({ type: 'connection/caughtUp', peer: idOf('alice') })
  world.add('bob')
  t.deepEqual(world.elapse(12 * SECOND), [{ at: 12 * SECOND, effect: 'dial bob' }])
  world.connect('bob')
  t.deepEqual(world.settle(), ['close alice rotation'])
  world.close('alice')
  world.dispatch({ type: 'connection/caughtUp', peer: idOf('bob') })
  world.add('carol')
  setBack(world, 365 * DAY)
  const from = world.now - world.first.now
  t.deepEqual(world.elapse(54 * SECOND - 1), [])
  t.deepEqual(world.elapse(1), [{ at: from + 54 * SECOND, effect: 'dial carol' }])
  t.end()
})

test('a route that never worked is tried again within twice the pause of such visits', (t) => {
  const backoffMaxMs = { HIGH: MINUTE, MEDIUM: MINUTE, LOW: MINUTE }
  const world = World.started({ ...slots({ net: 1 }), backoffMaxMs })
  world.add('alice')
  world.settle()
  world.connect('alice')
  world.dispatch({ type: 'connection/caughtUp', peer: idOf('alice') })
  world.add('ghost', { source: 'pub', priority: 'LOW' })
  t.deepEqual(world.elapse(12 * SECOND), [{ at: 12 * SECOND, effect: 'dial ghost' }])
  world.fail('ghost', { jitter: 0 })
  setBack(world, 365 * DAY)
  const next = world.elapse(2 * world.state.options.feelerMs)
  t.deepEqual(
    next
      .filter(({ effect }) => effect.startsWith('dial'))
      .map(({ effect }) => effect)
      .slice(0, 1),
    ['dial ghost'],
  )
  t.end()
})

test('a layer that is down is probed at once', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.dispatch({ type: 'environment/offline' })
  world.settle()
  setBack(world, 365 * DAY)
  t.deepEqual(world.settle(), ['dial alice'])
  t.end()
})

test('a signal counts again ten seconds after the clock was set back', (t) => {
  const world = World.started({ ...slots({ net: 1 }), hostWindowMs: 0 })
  world.load([stored('alice', { backoffStep: 20, errorCount: 20, nextAttemptAt: world.now + HOUR })])
  world.jitter = 0.999
  world.add('alice')
  t.deepEqual(world.settle(), ['dial alice'])
  world.fail('alice')
  setBack(world, 365 * DAY)
  world.elapse(9_999)
  world.add('alice')
  t.deepEqual(world.settle(), [])
  world.elapse(1)
  world.add('alice')
  t.deepEqual(world.settle(), ['dial alice'])
  t.end()
})

test('sockets of dials that were given up are not believed in for a year', (t) => {
  const world = World.started({ ...slots({ net: 8 }), maxDialing: 1 })
  world.addAll(Array.from({ length: 8 }, (_, i) => `p${i}`))
  world.elapse(39 * SECOND)
  world.elapse(SECOND)
  t.equal(world.state.lingering.length, 4)
  t.deepEqual(world.inFlight(), [])
  setBack(world, 365 * DAY)
  t.equal(world.elapse(3 * MINUTE - 1).length, 0)
  t.equal(world.elapse(1).length, 1)
  t.end()
})

test('a clock that is set back again and again costs no peer anything', (t) => {
  const world = busy()
  const before = ['up', 'high', 'medium', 'low'].map((label) => world.route(label).backoffStep)
  for (let i = 0; i < 50; i++) {
    setBack(world, HOUR)
    t.ok(world.plan().wakeAt !== null)
  }
  t.deepEqual(
    ['up', 'high', 'medium', 'low'].map((label) => world.route(label).backoffStep),
    before,
  )
  world.elapse(2 * DAY)
  t.end()
})

test('suspended for 3 days: dials that were under way are given up, connections are ended by what they are', (t) => {
  const world = World.started(slots({ net: 2, onion: 1 }))
  world.add('up')
  world.settle()
  world.connect('up')
  world.add('dialing')
  world.settle()
  world.addAll(['p0', 'p1', 'p2', 'p3'])
  t.equal(world.settle().length, 1, 'every other dial is expected to succeed')
  world.now += 3 * DAY
  const effects = world.settle()
  t.deepEqual(
    effects.slice(0, 2).map((effect) => effect.slice(0, 9)),
    ['give up d', 'give up p'],
    `${effects}`,
  )
  t.equal(
    effects.filter((effect) => effect.startsWith('dial')).length,
    2,
    'no stampede: one slot, one more for the rate',
  )
  t.deepEqual(world.connected(), ['up'], 'only a ping says whether it is still there')
  world.askToClose('up', 'dead')
  t.deepEqual(
    world.settle().filter((effect) => effect.startsWith('close')),
    ['close up dead'],
  )
  t.end()
})

test('suspended for 3 days: all pauses are over, and yet no more is dialed than there are slots', (t) => {
  const world = World.started(slots({ net: 3 }))
  world.isChecked = false
  const nextAttemptAt = world.now + DAY
  world.load(
    Array.from({ length: 3_000 }, (_, i) =>
      stored(`p${i}`, { source: 'pub', errorCount: 3, backoffStep: 3, nextAttemptAt }),
    ),
  )
  world.longTerm('p7')
  t.equal(world.settle().length, 0)
  world.now += 3 * DAY
  const effects = world.settle()
  t.equal(effects[0], 'dial p7 (longTerm)')
  t.equal(effects.length, 6, 'two for each slot, and the long-term peer holds one of them')
  t.end()
})

test('suspended beyond a lifetime: closed on waking', (t) => {
  const world = World.started({ ...slots({ net: 1 }), lifetimeMs: HOUR })
  world.add('up')
  world.settle()
  world.connect('up')
  world.now += 3 * DAY
  t.deepEqual(world.settle(), ['close up lifetime'])
  t.end()
})
