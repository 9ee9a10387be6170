/**
 * DESIGN 4, "Lifetime and rotation", the second half: who is visited while all slots are full, when, and who makes room for
 * whom. A visitor is dialed beyond the slots; somebody goes only when he is there.
 */
import test = require('tape')

import type { StoredPeer, StoredRoute } from '../../src/core/actions'
import type { Options } from '../../src/core/options'
import { DAY, HOUR, idOf, MINUTE, options, SECOND, START, slots, stored, storedPeer, World } from '../support/builders'

const people = (count: number, prefix = 'p'): string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
/** So long a dial of ten seconds is counted on. */
const HOPE_MS = 1_667
const effects = (done: readonly { readonly effect: string }[]): string[] => done.map(({ effect }) => effect)
const starting = (done: readonly { readonly effect: string }[], word: string): string[] =>
  effects(done).filter((effect) => effect.startsWith(word))

/** Adds a route and connects it at once. */
function up(world: World, ...labels: readonly string[]): void {
  for (const label of labels) {
    world.add(label)
    world.settle()
    world.connect(label)
  }
}

const caughtUp = (world: World, name: string): unknown =>
  world.dispatch({ type: 'connection/caughtUp', peer: idOf(name) })
const transferred = (world: World, name: string): unknown =>
  world.dispatch({ type: 'connection/transferred', peer: idOf(name) })

/** A visit that brought something. */
function bringsOne(world: World, name: string): void {
  transferred(world, name)
  caughtUp(world, name)
}

/** A full class, and everybody in it may make room. */
function ripeWorld(names: readonly string[] = ['alice'], change: Partial<Options> = {}): World {
  const world = World.started({ ...slots({ net: names.length }), ...change })
  for (const name of names) {
    up(world, name)
    world.now += SECOND
  }
  for (const name of names) caughtUp(world, name)
  world.now += 12 * SECOND
  return world
}

const ago = (ms: number): number => START - ms

/** Somebody who was connected so long before the start. */
function known(world: World, name: string, agoMs: number, learned: Partial<StoredRoute> = {}): void {
  world.load(
    [stored(name, { lastConnectionTime: ago(agoMs), connectionCount: 1, ...learned })],
    [storedPeer(name, { visitedAt: ago(agoMs) })],
  )
}

/** Lets each dial end at once, and confirms each close; what was begun and when, in ms after `START`, until `end`. */
function live(
  world: World,
  end: number,
  outcome: (name: string) => 'connect' | 'fail',
  met: (name: string) => void = (name) => caughtUp(world, name),
): { readonly at: number; readonly effect: string }[] {
  const done: { at: number; effect: string }[] = []
  for (let round = 0; world.now < end; round++) {
    if (round > 100_000) throw new Error('too many rounds')
    for (const effect of world.settle()) {
      done.push({ at: world.now - START, effect })
      if (effect.startsWith('close ')) world.close(effect.split(' ')[1] ?? '')
    }
    const inFlight = world.inFlight()
    for (const name of inFlight)
      if (outcome(name) === 'fail') world.fail(name, { jitter: 1 })
      else {
        world.connect(name)
        met(name)
      }
    if (inFlight.length === 0) world.now = Math.min(end, world.wakeAt() ?? end)
  }
  return done
}

// ---- a visit ----------------------------------------------------------------------------------------------------------------

test('in a full class a visitor is dialed beyond the slots, and somebody makes room when he is there', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice')
  caughtUp(world, 'alice')
  world.add('bob')
  t.equal(world.wakeAt(), START + 12 * SECOND)
  t.deepEqual(world.elapse(12 * SECOND), [{ at: 12 * SECOND, effect: 'dial bob' }])
  t.deepEqual(world.elapse(5 * SECOND), [])
  t.deepEqual(world.connected(), ['alice'], 'who stays while the other one is dialed')
  world.connect('bob')
  t.deepEqual(world.connected(), ['alice', 'bob'])
  t.deepEqual(world.settle(), ['close alice rotation'])
  world.close('alice')
  t.deepEqual(world.settle(), [])
  t.deepEqual(world.connected(), ['bob'])
  t.end()
})

test('nobody is hung up on for a visitor who does not answer, however often', (t) => {
  const world = ripeWorld()
  world.addAll(people(5))
  const failing = live(world, world.now + 6 * HOUR, () => 'fail')
  t.ok(starting(failing, 'dial').length > 5)
  t.deepEqual(starting(failing, 'close'), [])
  const silent = ripeWorld()
  silent.addAll(people(5))
  const done = silent.elapse(6 * HOUR)
  t.ok(starting(done, 'give up').length > 5)
  t.deepEqual(starting(done, 'close'), [])
  t.deepEqual([world.connected(), silent.connected()], [['alice'], ['alice']])
  t.end()
})

test('one visitor at a time: none while one is being dialed, or while somebody is going', (t) => {
  const world = ripeWorld(['alice', 'bob'], { rotationMinMs: 0, rotationMaxMs: 0 })
  for (const name of ['carol', 'dave']) known(world, name, DAY)
  const [first = ''] = world.settle()
  t.equal(world.inFlight().length, 1)
  t.deepEqual(effects(world.elapse(HOPE_MS - 1)), [])
  const [visitor = ''] = world.inFlight()
  t.equal(first, `dial ${visitor}`)
  world.connect(visitor)
  t.deepEqual(world.settle(), ['close alice rotation'])
  t.deepEqual(effects(world.elapse(5 * SECOND - 1)), [], 'while she goes')
  world.close('alice')
  t.deepEqual(world.settle(), [`dial ${visitor === 'carol' ? 'dave' : 'carol'}`])
  t.end()
})

test('a visitor who does not answer soon is waited for no longer, and comes when he answers after all', (t) => {
  const world = ripeWorld(['alice', 'bob'], { rotationMinMs: 0, rotationMaxMs: 0 })
  for (const [i, name] of ['carol', 'dave'].entries()) known(world, name, (10 - i) * DAY)
  const begunAt = world.now - START
  t.deepEqual(world.settle(), ['dial carol'])
  t.deepEqual(world.elapse(HOPE_MS), [{ at: begunAt + HOPE_MS, effect: 'dial dave' }])
  world.connect('carol')
  t.deepEqual(world.settle(), ['close alice rotation'])
  world.close('alice')
  t.deepEqual(world.connected(), ['bob', 'carol'])
  t.end()
})

test('while a slot is free, or about to be, nobody is visited beyond the slots and nobody leaves', (t) => {
  const world = World.started({ ...slots({ net: 2 }), maxDialing: 1 })
  up(world, 'alice')
  caughtUp(world, 'alice')
  world.now += HOUR
  world.addAll(['bob', 'carol'])
  const [first = ''] = world.settle()
  t.deepEqual([first.slice(0, 4), world.inFlight().length], ['dial', 1], 'for the free slot')
  const [name = ''] = world.inFlight()
  world.connect(name)
  world.askToClose(name, 'dead')
  t.deepEqual(world.settle(), [`close ${name} dead`])
  t.deepEqual(effects(world.elapse(5 * SECOND - 1)), [], 'its slot is about to be free')
  world.close(name)
  t.deepEqual(world.connected(), ['alice'])
  t.deepEqual(starting(world.elapse(HOUR), 'close'), [])
  t.end()
})

// ---- since when somebody may make room ----------------------------------------------------------------------------------------

test('a connection that has not caught up stays for half a minute', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice')
  world.add('bob')
  t.equal(world.wakeAt(), world.now + 30 * SECOND)
  t.deepEqual(world.elapse(30 * SECOND), [{ at: 30 * SECOND, effect: 'dial bob' }])
  t.end()
})

test('one that has caught up stays for twelve seconds in all', (t) => {
  const late = World.started(slots({ net: 1 }))
  up(late, 'alice')
  late.add('bob')
  t.deepEqual(late.elapse(20 * SECOND), [])
  caughtUp(late, 'alice')
  t.deepEqual(late.settle(), ['dial bob'], 'when that was long ago, no longer')
  const early = World.started(slots({ net: 1 }))
  up(early, 'alice')
  early.add('bob')
  early.elapse(2 * SECOND)
  caughtUp(early, 'alice')
  t.deepEqual(early.elapse(10 * SECOND - 1), [])
  t.deepEqual(effects(early.elapse(1)), ['dial bob'])
  t.end()
})

test('not one that is transferring right now', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice')
  world.add('bob')
  t.deepEqual(world.elapse(30 * SECOND - 1), [])
  for (let i = 0; i < 100; i++) {
    transferred(world, 'alice')
    t.deepEqual(world.elapse(9_999), [])
  }
  transferred(world, 'alice')
  const last = world.now - START
  t.deepEqual(world.elapse(9_999), [])
  t.deepEqual(world.elapse(1), [{ at: last + 10_000, effect: 'dial bob' }], '10 s after the last message')
  t.end()
})

test('a caught up connection that begins to transfer again has not caught up', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice')
  caughtUp(world, 'alice')
  transferred(world, 'alice')
  world.add('bob')
  t.deepEqual(world.elapse(15 * SECOND), [], 'else he would be dialed after twelve seconds')
  transferred(world, 'alice')
  caughtUp(world, 'alice')
  t.deepEqual(world.elapse(9_999), [])
  t.deepEqual(world.elapse(1), [{ at: 25 * SECOND, effect: 'dial bob' }])
  t.end()
})

test('when nobody may make room any more as the visitor arrives, it is the visitor who goes', (t) => {
  const world = ripeWorld()
  world.add('bob')
  t.deepEqual(world.settle(), ['dial bob'])
  world.now += SECOND
  transferred(world, 'alice')
  world.connect('bob')
  t.deepEqual(world.settle(), ['close bob surplus'], 'a transfer is not cut for him')
  t.end()
})

// ---- who makes room -----------------------------------------------------------------------------------------------------------

/** Messages that stand for so many per hour. */
const bringing = (perHour: number): Partial<StoredPeer> => ({
  merit: { messages: perHour * 1000, coveredMs: 1000 * HOUR, at: START, broughtAt: START },
})

test('of those that may make room a stranger goes, then who brings least, then the lowest priority, then the longest up', (t) => {
  const known = { prioritisedBy: 'user' } as const
  // In each row the second is better by every later criterion.
  const table: readonly {
    readonly rule: string
    readonly goes: Partial<StoredPeer>
    readonly stays: Partial<StoredPeer>
  }[] = [
    {
      rule: 'a stranger, whatever he brings',
      goes: { priority: 'LOW', ...bringing(100) },
      stays: { priority: 'LOW', ...known, ...bringing(1) },
    },
    {
      rule: 'who brings least, though a friend',
      goes: { priority: 'HIGH', ...known, ...bringing(10) },
      stays: { priority: 'LOW', ...known, ...bringing(11) },
    },
    {
      rule: 'the lowest priority',
      goes: { priority: 'LOW', ...known, ...bringing(5) },
      stays: { priority: 'MEDIUM', ...known, ...bringing(5) },
    },
  ]
  const meet = (peers: readonly (readonly [string, Partial<StoredPeer>])[], busy: readonly string[] = []): string[] => {
    const world = World.started(slots({ net: peers.length }))
    for (const [name, peer] of peers) {
      world.load([stored(name)], [storedPeer(name, peer)])
      world.settle()
      world.connect(name)
      world.now += SECOND
    }
    for (const [name] of peers) if (!busy.includes(name)) caughtUp(world, name)
    world.now += 12 * SECOND
    // He brings nothing and is the newest, but has not had his share.
    world.load([stored('visitor')], [storedPeer('visitor', { ...known, ...bringing(0) })])
    const dialed = world.settle()
    world.connect('visitor')
    return [...dialed, ...world.settle()]
  }
  for (const { rule, goes, stays } of table) {
    const table2 = { goes, stays, more: { ...stays } }
    for (const order of [
      ['goes', 'stays', 'more'],
      ['more', 'goes', 'stays'],
      ['stays', 'more', 'goes'],
    ] as const)
      t.deepEqual(
        meet(order.map((name) => [name, table2[name]] as const)),
        ['dial visitor', 'close goes rotation'],
        `${rule} (${order.join()})`,
      )
  }
  const equal = { priority: 'MEDIUM', ...known, ...bringing(5) } as const
  for (const order of [
    ['alice', 'bob', 'carol'],
    ['carol', 'bob', 'alice'],
  ])
    t.deepEqual(
      meet(order.map((name) => [name, equal] as const)),
      ['dial visitor', `close ${order[0]} rotation`],
      'of equal ones the one that has been up longest',
    )
  t.deepEqual(
    meet(
      [
        ['stranger', { priority: 'LOW' }],
        ['friend', { priority: 'HIGH', ...known, ...bringing(100) }],
      ],
      ['stranger'],
    ),
    ['dial visitor', 'close friend rotation'],
    'but only one that has had his share',
  )
  t.end()
})

test('who has brought nothing for long makes room before one that still does', (t) => {
  const world = World.started(slots({ net: 2 }))
  for (const [name, perHour] of [
    ['alice', 10],
    ['bob', 9],
  ] as const) {
    world.load([stored(name)], [storedPeer(name, bringing(perHour))])
    world.settle()
    world.connect(name)
  }
  world.now += 3 * DAY
  world.dispatch({ type: 'connection/transferred', peer: idOf('bob'), count: 500 })
  for (const name of ['alice', 'bob']) caughtUp(world, name)
  world.now += 12 * SECOND
  world.add('visitor')
  world.settle()
  world.connect('visitor')
  t.deepEqual(world.settle(), ['close alice rotation'], 'what she brought three days ago has faded')
  t.end()
})

test('of a maximum that was lowered the least wanted go, ripe or not', (t) => {
  const prepared = (): World => {
    const world = ripeWorld(['alice', 'bob', 'carol'])
    world.prioritise('bob', 'LOW')
    return world
  }
  const byTwo = prepared()
  byTwo.setMax({ net: 1 })
  t.deepEqual(byTwo.settle(), ['close bob surplus', 'close carol surplus'], 'the lowest priority, then the newest')
  const byOne = prepared()
  byOne.setMax({ net: 2 })
  t.deepEqual(byOne.settle(), ['close bob surplus'], 'by one as well, where nobody came on a visit')
  const equal = prepared()
  equal.prioritise('bob', 'MEDIUM')
  equal.setMax({ net: 2 })
  t.deepEqual(equal.settle(), ['close carol surplus'], 'not who has been up longest, as with a visit')
  t.end()
})

test('long-term and requested connections make room for nobody', (t) => {
  const world = World.started(slots({ net: 2 }))
  up(world, 'alice')
  world.longTerm('alice')
  world.add('bob')
  world.request('bob')
  world.settle()
  world.connect('bob')
  for (const name of ['alice', 'bob']) caughtUp(world, name)
  world.add('carol')
  t.equal(world.wakeAt(), null)
  t.deepEqual(world.elapse(30 * DAY), [])
  world.longTerm('alice', false)
  t.deepEqual(world.settle(), ['dial carol'], 'who is long-term no more may go')
  world.connect('carol')
  t.deepEqual(world.settle(), ['close alice rotation'], 'bob, who was asked for, does not')
  world.close('alice')
  caughtUp(world, 'carol')
  world.add('dave')
  world.now += MINUTE
  t.deepEqual(world.settle(), ['dial dave'])
  world.connect('dave')
  t.deepEqual(world.settle(), ['close carol rotation'], 'and never goes himself')
  t.end()
})

test('a peer that made room is left alone for a minute', (t) => {
  const world = ripeWorld()
  world.add('bob')
  world.settle()
  world.connect('bob')
  world.settle()
  const closedAt = world.now
  world.close('alice')
  const refused = world.whyNot('alice')
  t.deepEqual([refused?.reason, refused?.until], ['backoff', closedAt + MINUTE])
  world.close('bob')
  world.dispatch({ type: 'route/removed', address: world.route('bob').address })
  t.deepEqual(world.elapse(MINUTE - 1), [])
  t.deepEqual(effects(world.elapse(1)), ['dial alice'])
  t.equal(world.route('alice').errorCount, 0)
  t.equal(world.route('alice').backoffStep, 0, 'it was our wish')
  t.end()
})

// ---- who is visited, and when -----------------------------------------------------------------------------------------------

test('who was visited has the next turn after a pause by what he brings, and the timer is set to it', (t) => {
  for (const [perHour, pauseMs] of [
    [0, 18 * MINUTE * Math.cbrt(1 / (0.5 / 1002))],
    [1, 18 * MINUTE * Math.cbrt(1002 / 1000.5)],
    [27, 6 * MINUTE * Math.cbrt((27 * 1002) / (27_000 + 0.5))],
  ] as const) {
    const world = ripeWorld()
    const visitedAt = ago(MINUTE)
    world.load([stored('bob')], [storedPeer('bob', { visitedAt, ...bringing(perHour) })])
    const turnAt = visitedAt + Math.round(Math.min(40 * MINUTE, pauseMs))
    t.equal(world.wakeAt(), turnAt, `${perHour} per hour`)
    t.deepEqual(world.elapse(turnAt - world.now - 1), [])
    t.deepEqual(effects(world.elapse(1)), ['dial bob'])
  }
  t.end()
})

test('who is new is visited at once, who was lost as soon as the pause after the failure is over', (t) => {
  const fresh = ripeWorld()
  fresh.add('bob')
  t.deepEqual(fresh.settle(), ['dial bob'])
  const lost = ripeWorld()
  // His turn would be in half an hour.
  known(lost, 'bob', MINUTE, { errorCount: 1, lastErrorTime: START, nextAttemptAt: START + MINUTE })
  t.equal(lost.wakeAt(), START + MINUTE)
  t.deepEqual(lost.elapse(START + MINUTE - lost.now), [{ at: MINUTE, effect: 'dial bob' }])
  t.end()
})

test("by turns: whose turn came first, and who was lost; who is new takes nobody's turn", (t) => {
  const world = ripeWorld(['alice'], { backoffBaseMs: DAY, backoffMaxMs: { HIGH: DAY, MEDIUM: DAY, LOW: DAY } })
  for (const [i, name] of people(4, 'known').entries()) known(world, name, (10 - i) * DAY)
  for (const name of people(2, 'lost')) known(world, name, DAY, { errorCount: 1, lastErrorTime: ago(HOUR) })
  world.addAll(people(2, 'new'))
  const visits = starting(
    live(world, START + 20 * MINUTE, () => 'fail'),
    'dial',
  ).map((effect) => effect.replace('dial ', ''))
  const regular = visits.filter((name) => name.startsWith('known'))
  const others = visits.filter((name) => !name.startsWith('known'))
  t.deepEqual(regular, people(4, 'known'), 'the earliest turn first')
  t.deepEqual([...others].sort(), [...people(2, 'lost'), ...people(2, 'new')])
  const last = visits.lastIndexOf('known3')
  t.ok(visits.indexOf('lost0') < last && visits.indexOf('lost1') < last, `the lost do not wait: ${visits.join()}`)
  t.ok(visits.indexOf('new0') < 5 && visits.indexOf('new1') < 5, `nor the new: ${visits.join()}`)
  t.end()
})

test('who was lost is looked for where he was, until that has failed three times as often as what never worked', (t) => {
  const first = (worked: number, never: number): string[] => {
    const world = ripeWorld()
    world.load([
      stored('bob', {
        errorCount: worked,
        lastConnectionTime: ago(DAY),
        connectionCount: 1,
        nextAttemptAt: world.now + HOUR,
      }),
      stored('bob/net2', { errorCount: never, lastErrorTime: ago(DAY) }),
    ])
    return starting(world.elapse(MINUTE), 'dial')
  }
  t.deepEqual(first(1, 2), [], 'he is waited for')
  t.deepEqual(first(5, 2), [])
  t.deepEqual(first(6, 2), ['dial bob/net2'])
  t.end()
})

test('of those who were lost, who is close and always looked for keeps nobody else away', (t) => {
  const world = ripeWorld()
  world.isChecked = false
  for (const name of people(30, 'friend')) {
    known(world, name, 2 * DAY, { errorCount: 9, lastErrorTime: ago(HOUR) })
    world.dispatch({ type: 'peer/prioritised', peer: idOf(name), priority: 'HIGH' })
  }
  known(world, 'acquaintance', DAY, { errorCount: 9, lastErrorTime: ago(HOUR) })
  const done = live(world, START + HOUR, () => 'fail')
  t.ok(starting(done, 'dial friend').length > 30, `${starting(done, 'dial').length} dials`)
  t.ok(effects(done).includes('dial acquaintance'))
  t.end()
})

test('a route that failed is not visited as lost while another one leads to its peer', (t) => {
  const failed = { errorCount: 1, lastErrorTime: ago(HOUR) }
  const world = ripeWorld()
  // His turn comes in half an hour.
  known(world, 'bob/net-a', MINUTE)
  known(world, 'bob/net-b', MINUTE, failed)
  t.deepEqual(world.elapse(10 * MINUTE), [])
  const lost = ripeWorld()
  known(lost, 'bob/net-a', MINUTE, failed)
  known(lost, 'bob/net-b', MINUTE, failed)
  t.equal(starting(lost.elapse(0), 'dial').length, 1, 'but when none does')
  t.end()
})

test('when nobody is to be visited nobody is dialed, and no wake-up is set', (t) => {
  const world = ripeWorld()
  world.add('bob')
  world.prioritise('bob', 'BANNED')
  world.add('carol/ws')
  world.callIn('dave')
  world.add('dave')
  t.equal(world.wakeAt(), null, 'who is banned, connected or of a class without slots does not wait')
  t.deepEqual(world.elapse(30 * DAY), [])
  t.end()
})

test('who waits out a pause is visited when it is over', (t) => {
  const world = ripeWorld()
  world.load([stored('bob', { errorCount: 1, nextAttemptAt: START + HOUR })])
  t.equal(world.wakeAt(), START + HOUR)
  t.deepEqual(world.elapse(START + HOUR - world.now), [{ at: HOUR, effect: 'dial bob' }])
  t.end()
})

test('nobody is visited whose host was dialed a moment ago', (t) => {
  const world = World.started(slots({ net: 1 }))
  up(world, 'alice/net-h')
  caughtUp(world, 'alice')
  world.add('bob/net-h')
  world.now += 12 * SECOND
  t.deepEqual(world.settle(), ['put off bob/net-h until 60000'])
  t.deepEqual(world.elapse(48 * SECOND - 1), [])
  t.deepEqual(world.elapse(1), [{ at: MINUTE, effect: 'dial bob/net-h' }])
  t.end()
})

test('nobody is visited in an outage, nor while much is being taken in', (t) => {
  const offline = ripeWorld()
  offline.dispatch({ type: 'environment/offline' })
  offline.add('bob')
  t.deepEqual(effects(offline.elapse(MINUTE)), [])
  const busy = ripeWorld()
  busy.dispatch({ type: 'environment/busy', isBusy: true })
  busy.add('bob')
  t.equal(busy.wakeAt(), null)
  t.deepEqual(effects(busy.elapse(HOUR)), [])
  busy.dispatch({ type: 'environment/busy', isBusy: false })
  t.deepEqual(busy.settle(), ['dial bob'])
  t.end()
})

// ---- how often --------------------------------------------------------------------------------------------------------------

/** Times between the dials of `done`. */
function intervals(done: readonly { readonly at: number; readonly effect: string }[]): number[] {
  const times = done.filter(({ effect }) => effect.startsWith('dial')).map(({ at }) => at)
  return times.slice(1).map((at, i) => at - (times[i] ?? 0))
}

test('visits of a class lie 34 to 54 s apart, and not always the same', (t) => {
  const world = ripeWorld()
  for (const [i, name] of people(60).entries()) known(world, name, (100 - i) * DAY)
  const pauses = intervals(
    live(
      world,
      START + 30 * MINUTE,
      () => 'connect',
      (name) => bringsOne(world, name),
    ),
  )
  t.ok(pauses.length >= 36, `${pauses.length} visits in half an hour`)
  t.ok(Math.min(...pauses) >= 34 * SECOND && Math.max(...pauses) <= 54 * SECOND, pauses.join())
  t.ok(Math.max(...pauses) - Math.min(...pauses) > 10 * SECOND, 'all over the span')
  t.end()
})

test('a visit that nobody answers takes nobody his turn', (t) => {
  const begun = (isTurn: boolean): number[] => {
    const world = ripeWorld()
    for (const name of people(3, 'lost')) known(world, name, DAY, { errorCount: 1, lastErrorTime: ago(HOUR) })
    if (isTurn) for (const name of people(3)) known(world, name, DAY)
    const done = live(world, START + 4 * MINUTE, (name) => (name.startsWith('lost') ? 'fail' : 'connect'))
    const dials = done.filter(({ effect }) => effect.startsWith('dial'))
    return dials.flatMap(({ at, effect }, i) => {
      const next = dials[i + 1]
      return next && effect.startsWith('dial lost') ? [next.at - at] : []
    })
  }
  const soon = begun(true)
  t.deepEqual(soon.slice(0, 3), [10 * SECOND, 10 * SECOND, 10 * SECOND], 'as long as somebody waits')
  const alone = begun(false)
  t.ok(alone.length >= 2 && alone.every((pause) => pause >= 34 * SECOND), `where nobody waits there is time: ${alone}`)
  t.end()
})

test('a visit that fails when the next one has begun takes nothing from the pause after that', (t) => {
  const world = ripeWorld()
  for (const name of people(4)) known(world, name, DAY)
  const pauseMs = (): number => (world.state.classes.net?.nextRotationAt ?? 0) - world.now
  const [slow = ''] = world.settle().map((effect) => effect.replace('dial ', ''))
  world.now += 9 * SECOND
  const next = people(4).find((name) => name !== slow) ?? ''
  const { peer, address } = world.route(next)
  world.dispatch({ type: 'dial/started', attempt: 1_000, peer, address, cause: 'schedule' })
  world.now += SECOND
  const before = pauseMs()
  t.ok(before > 30 * SECOND, `${before} ms`)
  world.fail(slow)
  t.equal(pauseMs(), before, 'as long as it was')
  world.fail(next)
  t.equal(pauseMs(), 9 * SECOND, 'until the last one fails')
  t.end()
})

test('who was lost long ago and who was there last are looked for by turns', (t) => {
  const world = ripeWorld()
  for (const [i, name] of people(40, 'lost').entries())
    known(world, name, (50 - i) * DAY, { errorCount: 1, lastErrorTime: ago(HOUR) })
  const visits = starting(
    live(world, START + 10 * MINUTE, () => 'fail'),
    'dial',
  ).map((effect) => Number(effect.replace('dial lost', '')))
  t.ok(visits.length >= 8, visits.join())
  t.ok(visits.slice(0, 8).some((i) => i < 8) && visits.slice(0, 8).some((i) => i >= 32), visits.join())
  t.end()
})

test('while visits bring nothing they lie up to sixteen times as far apart, until they bring something again', (t) => {
  const world = ripeWorld()
  world.isChecked = false
  for (const [i, name] of people(300).entries()) known(world, name, (400 - i) * DAY)
  const within = (pauses: readonly number[], min: number, max: number): boolean =>
    pauses.length >= 3 && pauses.every((pause) => pause >= min && pause <= max)
  const vain = intervals(live(world, START + 8 * HOUR, () => 'connect'))
  t.ok(within(vain.slice(0, 3), 34 * SECOND, 54 * SECOND), `not for the first few: ${vain.slice(0, 3).join()}`)
  t.ok(within(vain.slice(30), 544 * SECOND, 864 * SECOND), `in the end: ${vain.slice(30).join()}`)
  t.ok(within(vain, 34 * SECOND, 864 * SECOND), 'never more often or less')
  const good = intervals(
    live(
      world,
      world.now + 2 * HOUR,
      () => 'connect',
      (name) => bringsOne(world, name),
    ),
  )
  t.ok(within(good.slice(10), 34 * SECOND, 54 * SECOND), good.join())
  t.end()
})

const ONCE: Partial<Options> = { backoffBaseMs: DAY, backoffMaxMs: { HIGH: DAY, MEDIUM: DAY, LOW: DAY } }

test('who is new is tried one after the other, every ten seconds, and every three where there are thousands', (t) => {
  for (const [count, pauseMs] of [
    [40, 10 * SECOND],
    [5_000, 3 * SECOND],
  ] as const) {
    const world = ripeWorld(['alice'], ONCE)
    world.isChecked = false
    world.addAll(people(count))
    // Each in vain makes the next pause a hundredth longer.
    const pauses = intervals(live(world, world.now + 20 * pauseMs, () => 'fail'))
    t.ok(pauses.length >= 12, `${pauses.length} of ${count}`)
    t.ok(Math.min(...pauses) >= 0.75 * pauseMs, `${count}: ${pauses.join()}`)
    t.ok(Math.max(...pauses) <= 1.25 * pauseMs * 1.01 ** pauses.length, `${count}: ${pauses.join()}`)
  }
  t.end()
})

test('where nobody of those who are new answers they are tried after longer and longer pauses, up to ten minutes', (t) => {
  const world = ripeWorld(['alice'], ONCE)
  world.isChecked = false
  world.addAll(people(900))
  const pauses = intervals(live(world, START + 23 * HOUR, () => 'fail'))
  const last = pauses.slice(-10)
  t.ok(
    last.every((pause) => pause >= 450 * SECOND && pause <= 750 * SECOND),
    last.join(),
  )
  t.ok(pauses.length < 650, `${pauses.length} dials`)
  const done = live(
    world,
    world.now + 15 * MINUTE,
    () => 'connect',
    (name) => bringsOne(world, name),
  )
  t.ok(starting(done, 'dial').length > 0)
  const after = intervals(live(world, world.now + 2 * MINUTE, () => 'fail'))
  t.ok(after.length >= 5, `one that brings something says that there are more: ${after.join()}`)
  t.end()
})

test('where those who are new answer and bring nothing, few visits are enough to slow down', (t) => {
  const world = ripeWorld(['alice'], ONCE)
  world.isChecked = false
  world.addAll(people(900, 'new'))
  const dials = starting(
    live(world, START + 3 * HOUR, () => 'connect'),
    'dial new',
  ).length
  t.ok(dials < 60, `${dials} dials`)
  const later = starting(
    live(world, START + 6 * HOUR, () => 'connect'),
    'dial new',
  ).length
  t.ok(later > 10 && later < 60, `${later} dials in the next three hours`)
  t.end()
})

test('that the first visits bring nothing does not slow down those that follow', (t) => {
  const world = ripeWorld()
  world.isChecked = false
  world.addAll(people(60, 'new'))
  live(world, START + 40 * MINUTE, () => 'connect')
  t.equal(world.state.classes.net?.visitYield, 0.5)
  t.end()
})

test('who is new takes no time from the visits of others', (t) => {
  const world = ripeWorld(['alice'], ONCE)
  world.isChecked = false
  for (const [i, name] of people(60, 'known').entries()) known(world, name, (100 - i) * DAY)
  world.addAll(people(300, 'new'))
  const done = live(
    world,
    START + 30 * MINUTE,
    (name) => (name.startsWith('new') ? 'fail' : 'connect'),
    (name) => bringsOne(world, name),
  )
  t.ok(starting(done, 'dial known').length >= 35, `${starting(done, 'dial known').length} of the known`)
  t.ok(starting(done, 'dial new').length >= 70, `${starting(done, 'dial new').length} of the new`)
  t.end()
})

test('each class has visits of its own', (t) => {
  const world = World.started(slots({ net: 1, onion: 1 }))
  up(world, 'alice', 'bob/onion')
  for (const name of ['alice', 'bob']) caughtUp(world, name)
  world.addAll(['carol', 'dave/onion'])
  world.now += 12 * SECOND
  t.deepEqual(world.settle().sort(), ['dial carol', 'dial dave/onion'])
  world.connect('carol')
  t.deepEqual(world.settle(), ['close alice rotation'], 'and who makes room is one of the class')
  t.end()
})

test('a visitor is not dialed by a route of another class in which nobody may make room', (t) => {
  const prepared = (onion: number): World => {
    const world = World.started(slots({ net: 1, onion }))
    up(world, 'alice', 'carol/onion')
    caughtUp(world, 'alice')
    world.load(
      [stored('bob'), stored('bob/onion', { lastConnectionTime: ago(DAY) })],
      [storedPeer('bob', { visitedAt: ago(DAY) })],
    )
    return world
  }
  const full = prepared(1)
  t.deepEqual(effects(full.elapse(12 * SECOND)), ['dial bob'], 'though the other one worked the last time')
  full.connect('bob')
  t.deepEqual(full.settle(), ['close alice rotation'])
  const free = prepared(2)
  t.ok(free.settle().includes('dial bob/onion'), 'for a free slot the best route is dialed')
  t.end()
})

test('the times are options', (t) => {
  const given = { dwellMs: MINUTE, visitStayMs: 5 * SECOND, rotationMinMs: 7, rotationMaxMs: 7 }
  const prepared = (): World => {
    const world = new World(options({ ...slots({ net: 1 }), ...given }))
    world.dispatch({ type: 'connections/started' })
    up(world, 'alice')
    known(world, 'bob', DAY)
    return world
  }
  const dwelling = prepared()
  t.deepEqual(dwelling.elapse(MINUTE), [{ at: MINUTE, effect: 'dial bob' }])
  t.equal(dwelling.state.classes.net?.nextRotationAt, dwelling.now + 7)
  const staying = prepared()
  caughtUp(staying, 'alice')
  t.deepEqual(staying.elapse(5 * SECOND), [{ at: 5 * SECOND, effect: 'dial bob' }])
  t.end()
})

// ---- feelers ----------------------------------------------------------------------------------------------------------------

test('routes that most likely lead nowhere are tried after longer and longer pauses while all slots are full', (t) => {
  // A table with a past has been through the short pauses.
  const kinds: readonly {
    readonly kind: string
    readonly firstMs: number
    readonly load: (world: World) => void
  }[] = [
    { kind: 'strangers', firstMs: MINUTE, load: (world) => world.addAll(people(200), { source: 'pub' }) },
    {
      kind: 'never worked, and failed',
      firstMs: 20 * MINUTE,
      load: (world) =>
        world.load(people(200).map((name) => stored(name, { errorCount: 2, lastErrorTime: ago(DAY), backoffStep: 2 }))),
    },
  ]
  for (const { kind, firstMs, load } of kinds) {
    const world = ripeWorld()
    world.isChecked = false
    load(world)
    const pauses = intervals(live(world, START + 12 * HOUR, () => 'fail'))
    let expected = firstMs
    for (const [i, pause] of pauses.entries()) {
      if (pause < 0.75 * expected - 1 || pause > 1.25 * expected + 1) t.fail(`${kind}: pause ${i} of ${pause} ms`)
      expected = Math.min(20 * MINUTE, expected * 1.1)
    }
    t.ok(pauses.length > 30 && pauses.length < 75, `${kind}: ${pauses.length} in twelve hours`)
    t.equal(world.state.classes.net?.feelerPauseMs, 20 * MINUTE)
  }
  t.end()
})

test('who was dialed but once is tried again soon', (t) => {
  const world = ripeWorld()
  world.isChecked = false
  world.addAll(people(100))
  const failedMoreThan = (count: number): number =>
    people(100).filter((name) => world.route(name).errorCount > count).length
  live(world, START + HOUR, () => 'fail')
  t.equal(failedMoreThan(0), 100, 'all were dialed once')
  live(world, START + 4 * HOUR, () => 'fail')
  t.ok(failedMoreThan(1) >= 60, `twice: ${failedMoreThan(1)}`)
  t.ok(failedMoreThan(2) <= 40, `and few more often: ${failedMoreThan(2)}`)
  t.end()
})

test('a feeler that succeeds says that there may be more: the pause shrinks to a quarter, to a minute at the least', (t) => {
  const world = ripeWorld()
  world.isChecked = false
  const failed = { errorCount: 2, lastErrorTime: ago(DAY), backoffStep: 2 }
  world.load(people(200).map((name) => stored(name, failed)))
  live(world, START + 6 * HOUR, () => 'fail')
  const pauseMs = (): number => world.state.classes.net?.feelerPauseMs ?? 0
  t.equal(pauseMs(), 20 * MINUTE)
  const before = pauseMs()
  while (world.inFlight().length === 0) {
    world.now = world.wakeAt() ?? world.now + 1
    world.settle()
  }
  world.connect(world.inFlight()[0] ?? '')
  t.equal(pauseMs(), before / 4)
  live(world, world.now + 2 * HOUR, () => 'connect')
  t.equal(pauseMs(), MINUTE)

  const ofStrangers = ripeWorld()
  ofStrangers.isChecked = false
  ofStrangers.addAll(people(200), { source: 'pub' })
  live(ofStrangers, START + 6 * HOUR, () => 'fail')
  live(ofStrangers, ofStrangers.now + 2 * HOUR, () => 'connect')
  t.equal(ofStrangers.state.classes.net?.feelerPauseMs, 20 * MINUTE, 'that strangers answer is no reason to call more')
  t.end()
})

test('when a feeler is due, a route of its peer that was never tried waits for the pace of those that are new', (t) => {
  const world = ripeWorld()
  // Two that are new: after the first of them the other one has to wait.
  world.load([
    stored('bob/net-a', { errorCount: 2, lastErrorTime: ago(DAY) }),
    stored('bob/net-b', {}),
    stored('bob/net-c', {}),
  ])
  const done = live(world, START + MINUTE, () => 'fail')
  const timeOf = (name: string): number => done.find(({ effect }) => effect === `dial bob/${name}`)?.at ?? Number.NaN
  const [first = 0, second = 0] = [timeOf('net-b'), timeOf('net-c')].sort((a, b) => a - b)
  t.ok(second - first >= 2_250, `${second - first} ms between the two that are new`)
  t.ok(timeOf('net-a') <= second, 'and the feeler is not held up by them')
  t.end()
})

test('a feeler is one dial, however many routes its peer has', (t) => {
  const routes = ['bob/net-a', 'bob/net-b', 'bob/net-c']
  const dials = (change: Partial<StoredRoute>): number => {
    const world = ripeWorld()
    world.load(routes.map((name) => stored(name, change)))
    return starting(world.elapse(9 * SECOND), 'dial').length
  }
  t.equal(dials({ errorCount: 2, lastErrorTime: ago(DAY) }), 1)
  t.equal(dials({}), 3, 'of who is new all are tried')
  t.end()
})

test('of feelers that nobody took for strangers, whoever failed longest ago comes first, however close the others are', (t) => {
  const world = ripeWorld(['alice'], ONCE)
  world.isChecked = false
  const failed = (name: string, agoMs: number) => stored(name, { errorCount: 1, lastErrorTime: ago(agoMs) })
  world.load(people(20, 'near').map((name) => failed(name, HOUR)))
  world.load(people(20, 'far').map((name) => failed(name, DAY)))
  for (const [names, priority] of [
    [people(20, 'near'), 'HIGH'],
    [people(20, 'far'), 'LOW'],
  ] as const)
    for (const name of names) world.dispatch({ type: 'peer/prioritised', peer: idOf(name), priority, by: 'friends' })
  const dials = starting(
    live(world, START + 4 * HOUR, () => 'fail'),
    'dial',
  ).slice(0, 12)
  const far = dials.filter((effect) => effect.includes('far'))
  t.ok(dials.length === 12 && far.length >= 6 && far.length < 12, `${dials.join()}`)
  t.end()
})

test('feelers hold up nobody of whom more is known', (t) => {
  const world = ripeWorld()
  world.isChecked = false
  for (const [i, name] of people(60).entries()) known(world, name, (100 - i) * DAY)
  world.addAll(people(200, 'stranger'), { source: 'pub' })
  const done = live(
    world,
    START + 30 * MINUTE,
    (name) => (name.startsWith('stranger') ? 'fail' : 'connect'),
    (name) => bringsOne(world, name),
  )
  const dials = starting(done, 'dial')
  const feelers = dials.filter((effect) => effect.includes('stranger'))
  t.ok(feelers.length >= 5 && feelers.length <= 15, `${feelers.length} feelers`)
  t.ok(dials.length - feelers.length >= 30, `${dials.length - feelers.length} others`)
  t.end()
})

test('who is new is no feeler if anybody we trust speaks for him, nor a stranger who was connected before', (t) => {
  const world = ripeWorld(['alice'], { rotationMinMs: 10 * SECOND, rotationMaxMs: 10 * SECOND })
  world.addAll(['nobody', 'nobody2'], { source: 'pub' })
  t.equal(
    starting(
      live(world, world.now + 1, () => 'fail'),
      'dial',
    ).length,
    1,
  )
  const next = world.state.classes.net?.nextFeelerAt ?? 0
  t.ok(next >= world.now - 1 + 45 * SECOND)
  world.add('spoken-for'.replace('-', ''), { source: 'friends' })
  world.load(
    [stored('met', { lastConnectionTime: ago(9 * DAY), source: 'pub' })],
    [storedPeer('met', { priority: 'LOW', visitedAt: ago(9 * DAY) })],
  )
  const dials = starting(
    live(world, Math.min(next, world.now + 44 * SECOND), () => 'fail'),
    'dial',
  ).sort()
  t.deepEqual([...new Set(dials)], ['dial met', 'dial spokenfor'])
  t.end()
})

// ---- in the long run ----------------------------------------------------------------------------------------------------------

/** Three days of twelve peers of whom as much is known, and three slots: how often each was dialed. */
function threeDays(messagesPerHour: (name: string) => number): number[] {
  const names = people(12)
  const world = World.started(slots({ net: 3 }))
  world.isChecked = false
  const merit = { messages: 0, coveredMs: DAY, at: START, broughtAt: START }
  world.load(
    names.map((name) => stored(name)),
    names.map((name) => storedPeer(name, { priority: 'MEDIUM', prioritisedBy: 'user', merit })),
  )
  const toldAt = new Map<string, number>()
  const tell = (): void => {
    for (const name of world.connected()) {
      const passedMs = world.now - (toldAt.get(name) ?? START)
      const count = Math.floor((messagesPerHour(name) * passedMs) / HOUR)
      if (count === 0) continue
      toldAt.set(name, world.now)
      world.dispatch({ type: 'connection/transferred', peer: idOf(name), count })
      caughtUp(world, name)
    }
  }
  const done = live(
    world,
    START + 3 * DAY,
    () => 'connect',
    (name) => {
      caughtUp(world, name)
      tell()
    },
  )
  const dials = starting(done, 'dial')
  return names.map((name) => dials.filter((effect) => effect === `dial ${name}`).length)
}

test('everybody is visited: with equal merit nobody waits longer than his share', (t) => {
  const counts = threeDays(() => 0)
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length
  t.ok(mean >= 20, `${mean} visits each`)
  t.ok(Math.max(...counts) <= 1.2 * mean && Math.min(...counts) >= 0.8 * mean, counts.join())
  t.end()
})

test('who brings much stays, or is back soon; who brings nothing is visited all the same', (t) => {
  const staying = threeDays((name) => (name === 'p0' || name === 'p1' ? 20 : 0))
  t.ok(Math.max(...staying.slice(0, 2)) <= 3, `two for whom there is room stay: ${staying.join()}`)
  t.ok(Math.min(...staying.slice(2)) >= 30, 'the others have the third slot by turns')
  const returning = threeDays((name) => (Number(name.slice(1)) < 6 ? 20 : 0))
  const [rich, poor] = [returning.slice(0, 6), returning.slice(6)]
  const mean = (list: readonly number[]): number => list.reduce((sum, each) => sum + each, 0) / list.length
  t.ok(mean(rich) > 2 * mean(poor), `${rich.join()} and ${poor.join()}`)
  t.ok(Math.min(...poor) >= 30, 'no two hours without a visit')
  t.end()
})

test('there is no polling: a full class wakes up little more often than it dials', (t) => {
  const world = ripeWorld(['alice', 'bob', 'carol'])
  world.isChecked = false
  for (const [i, name] of people(20).entries()) known(world, name, (100 - i) * DAY)
  world.addAll(people(20, 'stranger'), { source: 'pub' })
  let wakes = 0
  const end = START + 6 * HOUR
  const wakeAt = world.wakeAt.bind(world)
  world.wakeAt = () => {
    wakes++
    return wakeAt()
  }
  const done = live(
    world,
    end,
    (name) => (name.startsWith('stranger') ? 'fail' : 'connect'),
    (name) => bringsOne(world, name),
  )
  t.ok(done.length > 300, `${done.length} effects`)
  t.ok(wakes <= done.length, `${wakes} wake-ups`)
  t.end()
})

test('the gap that a visit leaves is no warm start', (t) => {
  const world = ripeWorld(['alice'], { maxDialing: 1 })
  known(world, 'bob', 9 * DAY)
  known(world, 'dave', 8 * DAY)
  t.deepEqual(world.settle(), ['dial bob'])
  world.connect('bob')
  t.deepEqual(world.settle(), ['close alice rotation'])
  world.close('alice')
  world.add('carol')
  world.close('bob')
  t.deepEqual(world.settle(), ['dial carol'], 'else those who had their turn last would have the next one too')
  t.end()
})

// ---- rooms ----------------------------------------------------------------------------------------------------------------

test('a room that a tunnel goes through makes room for nobody, and is the last of a surplus', (t) => {
  const prepared = (): World => {
    const world = World.started(slots({ net: 2, tunnel: 1 }))
    up(world, 'room')
    world.now += SECOND
    up(world, 'alice')
    up(world, 'zoe/tunnel-room')
    for (const name of ['room', 'alice', 'zoe']) caughtUp(world, name)
    world.now += 12 * SECOND
    world.add('bob')
    return world
  }
  const world = prepared()
  t.deepEqual(world.settle(), ['dial bob'])
  world.connect('bob')
  t.deepEqual(world.settle(), ['close alice rotation'], 'though the room is older')
  const unused = prepared()
  unused.close('zoe')
  unused.dispatch({ type: 'route/removed', address: unused.route('zoe/tunnel-room').address })
  t.deepEqual(unused.settle(), ['dial bob'])
  unused.connect('bob')
  t.deepEqual(unused.settle(), ['close room rotation'], 'a room without a tunnel is a peer like others')
  const alone = World.started(slots({ net: 1, tunnel: 1 }))
  up(alone, 'room', 'zoe/tunnel-room')
  caughtUp(alone, 'room')
  alone.add('bob')
  t.deepEqual(effects(alone.elapse(DAY)), [], 'for nobody could it make room')

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
  t.deepEqual(without.settle(), ['close room surplus'])
  t.end()
})
