/** DESIGN 4, "Backoff": its numbers, the steps back, who is never given up and who is forgotten. */
import test = require('tape')

import { BACKOFF_FLOOR_MS, backoffCeiling, backoffDelay, clampAttempt } from '../../src/core/backoff'
import { DEFAULT_OPTIONS } from '../../src/core/options'
import type { Priority } from '../../src/core/types'
import { DAY, HOUR, idOf, MINUTE, SECOND, START, slots, stored, storedPeer, World } from '../support/builders'

/** As near to 1 as a draw can be. */
const FULL = 0.999_999_999

// ---- the pure part ----------------------------------------------------------------------------------------------------

test('the pause is 5 s, doubling, with full jitter, between half a second and the ceiling', (t) => {
  const table: readonly { step: number; ceiling: number; jitter: number; is: number; why?: string }[] = [
    { step: 1, ceiling: DAY, jitter: FULL, is: 5 * SECOND },
    { step: 2, ceiling: DAY, jitter: FULL, is: 10 * SECOND },
    { step: 3, ceiling: DAY, jitter: FULL, is: 20 * SECOND },
    { step: 7, ceiling: DAY, jitter: FULL, is: 320 * SECOND },
    { step: 1, ceiling: DAY, jitter: 0.5, is: 2_500 },
    { step: 4, ceiling: DAY, jitter: 0.25, is: 10 * SECOND, why: 'jitter is full: any part of the window' },
    { step: 1, ceiling: DAY, jitter: 0, is: BACKOFF_FLOOR_MS, why: 'no tight loop, whatever is drawn' },
    { step: 1, ceiling: DAY, jitter: 0.1, is: 500 },
    { step: 1, ceiling: DAY, jitter: 0.1002, is: 501 },
    {
      step: 1,
      ceiling: DAY,
      jitter: 0.05,
      is: 2_750,
      why: 'half of what lies below the floor is half of what lies above',
    },
    { step: 1, ceiling: DAY, jitter: 0.09, is: 4_550 },
    { step: 1, ceiling: 300, jitter: 0.5, is: 500, why: 'a window within the floor' },
    { step: 0, ceiling: DAY, jitter: 0.5, is: 2_500, why: 'no step counts as one' },
    { step: 8, ceiling: 10 * MINUTE, jitter: FULL, is: 10 * MINUTE, why: '640 s is past the ceiling' },
    { step: 8, ceiling: 10 * MINUTE, jitter: 0.5, is: 5 * MINUTE, why: 'jitter is drawn below the ceiling too' },
    { step: 40, ceiling: DAY, jitter: FULL, is: DAY },
    { step: 5_000, ceiling: DAY, jitter: 0.5, is: 12 * HOUR, why: 'finite, however often it failed' },
  ]
  for (const { step, ceiling, jitter, is, why = '' } of table)
    t.equal(backoffDelay(DEFAULT_OPTIONS, step, ceiling, jitter), is, `step ${step}, jitter ${jitter} ${why}`)
  t.end()
})

test('the first pauses of many are spread evenly between the floor and the window', (t) => {
  const many = 10_000
  const perTenth = new Array<number>(50).fill(0)
  for (let i = 0; i < many; i++) {
    const tenth = Math.floor(backoffDelay(DEFAULT_OPTIONS, 1, DAY, (i + 0.5) / many) / 100)
    perTenth[tenth] = (perTenth[tenth] ?? 0) + 1
  }
  const even = many / 45
  t.equal(Math.max(...perTenth.slice(0, 5)), 0, 'none before the floor')
  t.ok(Math.max(...perTenth) < 1.2 * even, `at most ${Math.max(...perTenth)} in a tenth of a second, of ${even}`)
  t.ok(Math.min(...perTenth.slice(5, 50)) > 0.8 * even, 'and none is spared')
  t.end()
})

test('the ceiling is 10 min for HIGH and long-term, 2 h for MEDIUM, 24 h for LOW', (t) => {
  const ceiling = (priority: Priority, isLongTerm = false) => backoffCeiling(DEFAULT_OPTIONS, priority, isLongTerm)
  t.equal(ceiling('HIGH'), 10 * MINUTE)
  t.equal(ceiling('MEDIUM'), 2 * HOUR)
  t.equal(ceiling('LOW'), 24 * HOUR)
  t.equal(ceiling('BANNED'), 24 * HOUR)
  for (const priority of ['HIGH', 'MEDIUM', 'LOW'] as const) t.equal(ceiling(priority, true), 10 * MINUTE, priority)
  t.end()
})

test('a time read from a table is brought within its ceiling and is always finite', (t) => {
  const table: readonly (readonly [number, number])[] = [
    [0, 0],
    [START - 1, START - 1],
    [START, START],
    [START + 1, START + 1],
    [START + HOUR, START + HOUR],
    [START + HOUR + 1, START + HOUR],
    [START + 900 * DAY, START + HOUR],
    [Number.POSITIVE_INFINITY, START + HOUR],
    [Number.NEGATIVE_INFINITY, 0],
    [Number.NaN, 0],
    [-5, 0],
  ]
  for (const [given, is] of table) t.equal(clampAttempt(given, START, HOUR), is, String(given))
  t.end()
})

// ---- in the world -------------------------------------------------------------------------------------------------------

/** The pauses after each of `count` failures; each dial is the user's, so that nothing else stands in its way. */
function pauses(priority: Priority, count: number, isLongTerm = false): number[] {
  const world = new World()
  world.add('alice')
  world.prioritise('alice', priority)
  world.longTerm('alice', isLongTerm)
  return Array.from({ length: count }, () => {
    world.request('alice')
    world.settle()
    world.fail('alice', { jitter: FULL })
    const pause = world.route('alice').nextAttemptAt - world.now
    world.now += pause
    return pause / SECOND
  })
}

test('the pauses of a route that keeps failing, by the priority of its peer', (t) => {
  const doubling = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240, 20_480, 40_960, 81_920]
  const upTo = (ceiling: number, length: number) =>
    Array.from({ length }, (_, i) => Math.min(ceiling, doubling[i] ?? ceiling))
  t.deepEqual(pauses('HIGH', 12), upTo(600, 12))
  t.deepEqual(pauses('MEDIUM', 14), upTo(7_200, 14))
  t.deepEqual(pauses('LOW', 17), upTo(86_400, 17))
  t.deepEqual(pauses('LOW', 12, true), upTo(600, 12), 'long-term')
  t.end()
})

test('each failure draws afresh', (t) => {
  const world = new World()
  world.add('alice')
  const pauses: number[] = []
  for (const jitter of [0.9, 0.1, 0.5]) {
    world.request('alice')
    world.settle()
    world.fail('alice', { jitter })
    pauses.push(world.route('alice').nextAttemptAt - world.now)
  }
  t.deepEqual(pauses, [4_500, 1_000, 10_000])
  t.end()
})

test('the scheduler dials again at exactly the end of the pause', (t) => {
  const world = World.started({ ...slots({ net: 1 }), hostWindowMs: 0 })
  world.add('alice')
  world.settle()
  world.fail('alice')
  t.deepEqual(world.elapse(2_499), [])
  t.deepEqual(world.elapse(1), [{ at: 2_500, effect: 'dial alice' }])
  t.end()
})

function connectedFor(ms: number, step: number): World {
  const world = World.started(slots({ net: 1 }))
  world.load([stored('alice', { backoffStep: step, errorCount: step, lastErrorTime: START - DAY })])
  world.settle()
  world.connect('alice')
  world.now += ms
  return world
}

test('a success forgets the errors in a row, but not how unstable the route is', (t) => {
  const world = connectedFor(0, 4)
  const { errorCount, backoffStep, nextAttemptAt, connectionCount } = world.route('alice')
  t.deepEqual(
    { errorCount, backoffStep, nextAttemptAt, connectionCount },
    {
      errorCount: 0,
      backoffStep: 4,
      nextAttemptAt: 0,
      connectionCount: 1,
    },
  )
  t.end()
})

test('a connection that lasted 10 min or more takes a step back', (t) => {
  const table: readonly { lasted: number; step: number; after: number; pause: number; why: string }[] = [
    { lasted: 10 * MINUTE, step: 4, after: 3, pause: 2_500, why: 'exactly ten minutes: the pause of a first failure' },
    { lasted: DAY, step: 4, after: 3, pause: 2_500, why: 'one step, however long' },
    { lasted: DAY, step: 0, after: 0, pause: 2_500, why: 'never below none' },
    {
      lasted: 10 * MINUTE - 1,
      step: 4,
      after: 4,
      pause: 20_000,
      why: 'not quite: the pause of its step, no step back',
    },
    { lasted: 10 * SECOND, step: 4, after: 4, pause: 20_000, why: 'exactly ten seconds are not brief' },
    { lasted: 10 * SECOND, step: 0, after: 0, pause: 2_500, why: 'who hangs up is not called again at network speed' },
    { lasted: 10 * SECOND - 1, step: 4, after: 5, pause: 40_000, why: 'who hangs up at once counts as a failure' },
    { lasted: 0, step: 0, after: 1, pause: 2_500, why: 'also the first time' },
    { lasted: 0, step: 40, after: 40, pause: HOUR, why: 'steps have an end' },
  ]
  for (const { lasted, step, after, pause, why } of table) {
    const world = connectedFor(lasted, step)
    world.close('alice')
    const { backoffStep, nextAttemptAt, lastConnectionTime } = world.route('alice')
    t.deepEqual([backoffStep, nextAttemptAt === 0 ? 0 : nextAttemptAt - world.now], [after, pause], why)
    t.equal(lastConnectionTime, world.now)
  }
  t.end()
})

test('a connection that we ended costs its route nothing', (t) => {
  const world = connectedFor(SECOND, 4)
  world.askToClose('alice', 'surplus')
  world.settle()
  world.close('alice')
  t.deepEqual([world.route('alice').backoffStep, world.route('alice').nextAttemptAt], [4, 0])
  const asked = connectedFor(SECOND, 4)
  asked.askToClose('alice', 'dead')
  asked.close('alice')
  t.deepEqual(
    [asked.route('alice').backoffStep, asked.route('alice').nextAttemptAt],
    [4, 0],
    'even if they were faster',
  )
  t.end()
})

test('an inbound connection that ends says nothing about our routes', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.load([stored('alice', { backoffStep: 3 })])
  world.callIn('alice')
  world.now += DEFAULT_OPTIONS.briefMs
  world.close('alice')
  t.deepEqual([world.route('alice').backoffStep, world.route('alice').nextAttemptAt], [3, 0])
  t.equal(world.state.peers.get(idOf('alice'))?.visitedAt, world.now, 'but the peer was seen')
  t.end()
})

test('who calls and is gone within 10 s is not called back at network speed, and nothing is counted against it', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.load([stored('alice', { backoffStep: 3 })])
  world.callIn('alice')
  world.now += DEFAULT_OPTIONS.briefMs - 1
  world.close('alice')
  const { backoffStep, errorCount, nextAttemptAt } = world.route('alice')
  t.deepEqual([backoffStep, errorCount], [3, 0], 'the route is as it was')
  t.ok(nextAttemptAt >= world.now + BACKOFF_FLOOR_MS, 'but it pauses')
  t.ok(nextAttemptAt <= world.now + DEFAULT_OPTIONS.backoffBaseMs, 'as after one failure')
  t.end()
})

test('how long connections last is kept in the shape of the old tables', (t) => {
  const world = connectedFor(10 * MINUTE, 0)
  world.close('alice')
  world.now += DEFAULT_OPTIONS.backoffBaseMs
  world.settle()
  world.connect('alice')
  world.now += 20 * MINUTE
  world.close('alice')
  t.deepEqual(world.route('alice').duration, {
    mean: 900_000,
    stdev: 300_000,
    count: 2,
    sum: 1_800_000,
    sqsum: 600_000 ** 2 + 1_200_000 ** 2,
  })
  t.end()
})

test('whoever comes to mean more to us does not wait out the pause of a ghost', (t) => {
  const waiting = (): World => {
    const world = World.started(slots({ net: 1 }))
    const learned = {
      nextAttemptAt: START + 20 * HOUR,
      errorCount: 9,
      backoffStep: 15,
      lastConnectionTime: START - DAY,
    }
    world.load([stored('alice', learned)], [storedPeer('alice', { priority: 'LOW' })])
    return world
  }
  const pauseAfter = (change: (world: World) => void): number => {
    const world = waiting()
    change(world)
    return world.route('alice').nextAttemptAt - START
  }
  t.equal(
    pauseAfter(() => {}),
    20 * HOUR,
  )
  t.equal(
    pauseAfter((world) => world.prioritise('alice', 'MEDIUM')),
    2 * HOUR,
  )
  t.equal(
    pauseAfter((world) => world.prioritise('alice', 'HIGH')),
    10 * MINUTE,
  )
  t.equal(
    pauseAfter((world) => world.longTerm('alice')),
    10 * MINUTE,
  )
  t.equal(
    pauseAfter((world) => world.add('alice', { priority: 'HIGH', source: 'friends' })),
    10 * MINUTE,
    'said by a source that is heard',
  )
  t.equal(
    pauseAfter((world) => world.add('alice/net2', { priority: 'HIGH' })),
    10 * MINUTE,
    'with another route',
  )
  const world = waiting()
  world.prioritise('alice', 'HIGH')
  t.deepEqual(world.elapse(10 * MINUTE - 1), [])
  t.deepEqual(
    world.elapse(1).map(({ effect }) => effect),
    ['dial alice'],
  )
  t.end()
})

test('the last five failures are kept, with message, code and time', (t) => {
  const world = new World()
  world.add('alice')
  for (let i = 0; i < 7; i++) {
    world.request('alice')
    world.settle()
    world.fail('alice', { message: `m${i}`, code: i % 2 ? 'ECONNREFUSED' : null })
    world.now += SECOND
  }
  t.deepEqual(
    world.route('alice').errors,
    [2, 3, 4, 5, 6].map((i) => ({ message: `m${i}`, code: i % 2 ? 'ECONNREFUSED' : null, at: START + i * SECOND })),
  )
  t.end()
})

// ---- given up and forgotten -----------------------------------------------------------------------------------------------

test('no HIGH route is ever given up, and it is tried at least every 10 min', (t) => {
  const world = World.started({ ...slots({ net: 1 }), hostWindowMs: 0 })
  world.isChecked = false
  world.jitter = FULL
  world.add('alice')
  world.prioritise('alice', 'HIGH')
  let dials = 0
  let longest = 0
  for (let last = world.now; world.now < START + 60 * DAY; world.now = world.wakeAt() ?? Number.POSITIVE_INFINITY) {
    world.settle()
    if (world.inFlight().length === 0) continue
    dials++
    longest = Math.max(longest, world.now - last)
    last = world.now
    world.fail('alice')
  }
  t.ok(dials >= 60 * 24 * 6, `${dials} dials in 60 days`)
  t.equal(longest, 10 * MINUTE)
  t.equal(world.route('alice').errorCount, dials)
  t.end()
})

/** A route that was added 30 days ago and fails for the 20th time now, unless `change` says otherwise. */
function ghost(change: {
  ageMs?: number
  failures?: number
  priority?: Priority
  isLongTerm?: boolean
  seenMs?: number
}) {
  const { ageMs = 30 * DAY, failures = 20, priority = 'LOW', isLongTerm = false, seenMs } = change
  const world = new World()
  const learned = {
    addedAt: START - ageMs,
    errorCount: failures - 1,
    backoffStep: 20,
    lastConnectionTime: seenMs === undefined ? 0 : START - seenMs,
  }
  world.load([stored('alice', learned)], [storedPeer('alice', { priority, isLongTerm })])
  world.request('alice')
  world.settle()
  world.fail('alice')
  return world
}

test('a LOW route without success for 30 days and 20 failures is forgotten, and nobody else ever is', (t) => {
  const isForgotten = (change: Parameters<typeof ghost>[0]): boolean => !ghost(change).has('alice')
  t.equal(isForgotten({}), true, '30 days and 20 failures')
  t.equal(isForgotten({ failures: 19 }), false, '19 failures')
  t.equal(isForgotten({ ageMs: 30 * DAY - 1 }), false, 'a millisecond short of 30 days')
  t.equal(isForgotten({ ageMs: 300 * DAY, seenMs: 30 * DAY - 1 }), false, 'seen since')
  t.equal(isForgotten({ ageMs: 300 * DAY, seenMs: 30 * DAY }), true, 'seen long ago')
  for (const priority of ['MEDIUM', 'HIGH'] as const)
    t.equal(isForgotten({ priority, ageMs: 3_000 * DAY, failures: 1_000 }), false, priority)
  t.equal(isForgotten({ isLongTerm: true, ageMs: 3_000 * DAY, failures: 1_000 }), false, 'long-term')
  t.end()
})

test('with its last route an ordinary peer is forgotten too', (t) => {
  t.equal(ghost({}).state.peers.size, 0)
  t.equal(ghost({}).state.hosts.size, 1, 'though not yet that its host was dialed a moment ago')
  const said = new World()
  said.load([stored('alice', { addedAt: START - 60 * DAY, errorCount: 30 })])
  said.prioritise('alice', 'LOW')
  said.request('alice')
  said.settle()
  said.fail('alice')
  t.equal(said.has('alice'), false)
  t.equal(said.state.peers.size, 1, 'what a user said of him is kept')
  t.end()
})
