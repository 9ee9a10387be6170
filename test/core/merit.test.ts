/** What a peer is worth as a source, and how soon its next turn comes: `core/merit.ts`, and what the reducer makes of it. */
import fc from 'fast-check'

import test = require('tape')

import { credit, isStranger, type Merit, rateAt, rateOf, turnAtOf, visitPause } from '../../src/core/merit'
import type { Peer, Priority } from '../../src/core/types'
import { DAY, HOUR, idOf, MINUTE, options, SECOND, START, slots, stored, storedPeer, World } from '../support/builders'

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const OPTIONS = options()

type Judged = Pick<Peer, 'priority' | 'prioritisedBy' | 'merit' | 'visitedAt'>

function judged(change: Partial<Judged> = {}): Judged {
  return { priority: 'MEDIUM', prioritisedBy: null, merit: null, visitedAt: START, ...change }
}

/** Sums that stand for so many messages per hour, to the last bit. */
function meritOf(perHour: number): Merit {
  const coveredMs = 1000 * HOUR
  return { messages: perHour * 1002 - 0.5, coveredMs, at: START, broughtAt: START }
}

const pauseAt = (perHour: number, change: Partial<Judged> = {}): number =>
  visitPause(OPTIONS, judged({ merit: meritOf(perHour), ...change }))

function isNear(t: test.Test, actual: number, expected: number, message: string, tolerance = 1e-9): void {
  t.ok(Math.abs(actual - expected) <= Math.abs(expected) * tolerance, `${message}: ${actual}, expected ${expected}`)
}

function property<T extends unknown[]>(t: test.Test, title: string, checked: fc.IProperty<T>): void {
  const result = fc.check(checked, { seed: SEED, numRuns: 300 })
  t.notOk(result.failed, `${title} (SEED=${SEED}) ${result.failed ? fc.defaultReportMessage(result) : ''}`)
}

const merits: fc.Arbitrary<Merit | null> = fc.oneof(
  fc.constant(null),
  fc.record({
    messages: fc.double({ min: 0, max: 1e6, noNaN: true }),
    coveredMs: fc.double({ min: 0, max: 400 * DAY, noNaN: true }),
    at: fc.constantFrom(0, START - DAY, START),
    broughtAt: fc.constantFrom(0, START - DAY),
  }),
)
const anybody: fc.Arbitrary<Judged> = fc.record({
  priority: fc.constantFrom<Priority>('HIGH', 'MEDIUM', 'LOW', 'BANNED'),
  prioritisedBy: fc.constantFrom('user', 'social', null),
  merit: merits,
  visitedAt: fc.constantFrom(0, 1, START - DAY, START),
})

// ---- what it brought ------------------------------------------------------------------------------------------------------

test('what a first visit brings has gathered for half a day', (t) => {
  t.deepEqual(credit(null, START, 30), { messages: 30, coveredMs: 12 * HOUR, at: START, broughtAt: START })
  t.ok(rateOf(credit(null, START, 30)) < 30, 'and not in the minute of the visit')
  t.end()
})

test('of whom nothing is known a message in four hours is expected, and less after a first visit in vain', (t) => {
  isNear(t, rateOf(null), 0.25, 'before the first visit')
  t.ok(rateOf(credit(null, START, 0)) < 0.25)
  t.ok(rateOf(credit(null, START, 0)) > 0, 'never nothing: else he would have no turn any more')
  t.ok(rateOf(credit(null, START, 100)) > 1)
  t.end()
})

test('a day later a message counts a third, and so does the time in which it came', (t) => {
  const before: Merit = { messages: 100, coveredMs: 50 * HOUR, at: START, broughtAt: START }
  const after = credit(before, START + DAY, 7)
  isNear(t, after.messages, 100 / Math.E + 7, 'messages')
  isNear(t, after.coveredMs, (50 * HOUR) / Math.E + DAY, 'time')
  t.equal(after.at, START + DAY)
  t.deepEqual(
    before,
    { messages: 100, coveredMs: 50 * HOUR, at: START, broughtAt: START },
    'the sums before are untouched',
  )
  t.end()
})

test('messages of one moment are summed up, however many times they are told', (t) => {
  const at = START + HOUR
  const first = credit(null, START, 1)
  const once = credit(first, at, 5)
  t.deepEqual(credit(credit(first, at, 2), at, 3), once)
  t.end()
})

test('a clock that goes back makes no sum larger and no time negative', (t) => {
  const before = credit(null, START, 10)
  const after = credit(before, START - DAY, 0)
  t.deepEqual([after.messages, after.coveredMs], [before.messages, before.coveredMs])
  t.end()
})

test('a peer that brings so many an hour is soon known to, and so is one that stops', (t) => {
  for (const perHour of [1, 10, 100]) {
    let merit: Merit | null = null
    let at = START
    for (; at < START + 5 * DAY; at += HOUR) merit = credit(merit, at, perHour)
    isNear(t, rateOf(merit), perHour, `${perHour} messages per hour`, 0.1)
    for (; at < START + 9 * DAY; at += HOUR) merit = credit(merit, at, 0)
    t.ok(rateOf(merit) < perHour / 20, `four days later ${rateOf(merit)}`)
  }
  t.end()
})

test('silence counts, whether or not anything is told meanwhile', (t) => {
  const merit: Merit = { messages: 100, coveredMs: 10 * HOUR, at: START, broughtAt: START }
  t.equal(rateAt(merit, START), rateOf(merit))
  t.equal(rateAt(merit, START + DAY), rateOf(credit(merit, START + DAY, 0)))
  t.ok(rateAt(merit, START + DAY) < rateOf(merit) / 5)
  t.equal(rateAt(null, START + DAY), rateOf(null), 'of whom nothing is known nothing is held against')
  t.end()
})

test('the sums are finite and not negative, and a message more never makes a peer worth less', (t) => {
  const history = fc.array(fc.tuple(fc.constantFrom(0, SECOND, HOUR, DAY, 40 * DAY), fc.nat(1000)), { maxLength: 30 })
  property(
    t,
    'any history',
    fc.property(merits, history, fc.nat(29), (first, told, extraAt) => {
      const end = (extra: number): Merit | null => {
        let at = START
        let merit = first
        for (const [i, [passed, count]] of told.entries()) {
          at += passed
          merit = credit(merit, at, count + (i === extraAt % told.length ? extra : 0))
          if (!(merit.messages >= 0 && merit.coveredMs >= 0)) throw new Error(JSON.stringify(merit))
        }
        return merit
      }
      const [rate, more] = [rateOf(end(0)), rateOf(end(1))]
      if (!Number.isFinite(rate) || rate <= 0) throw new Error(`rate ${rate}`)
      if (more < rate) throw new Error(`${more} < ${rate}`)
    }),
  )
  property(
    t,
    'looking at it in between changes no count',
    fc.property(fc.nat(3 * DAY), fc.nat(3 * DAY), (a, b) => {
      const merit: Merit = { messages: 1000, coveredMs: DAY, at: START, broughtAt: START }
      const straight = credit(merit, START + a + b, 0)
      const twice = credit(credit(merit, START + a, 0), START + a + b, 0)
      if (Math.abs(twice.messages - straight.messages) > 1e-6) throw new Error(`${twice.messages}`)
      // Time fades as well, so that the parts of it come to less than the whole, never to more.
      if (twice.coveredMs > straight.coveredMs + 1e-6) throw new Error(`${twice.coveredMs} > ${straight.coveredMs}`)
    }),
  )
  t.end()
})

// ---- how soon again ---------------------------------------------------------------------------------------------------------

test('visits lie apart by the inverse cube root of the rate, within bounds', (t) => {
  isNear(t, pauseAt(1), 18 * MINUTE, 'a message per hour')
  isNear(t, pauseAt(8), 9 * MINUTE, 'eight')
  isNear(t, pauseAt(1 / 8), 36 * MINUTE, 'three a day')
  isNear(t, visitPause(OPTIONS, judged()), 18 * MINUTE * Math.cbrt(4), 'of whom nothing is known')
  t.equal(pauseAt(100_000), 3 * MINUTE, 'no more often than this')
  t.equal(pauseAt(0.001), 40 * MINUTE, 'no less often than this')
  const given = options({ visitMs: 10 * MINUTE, visitMinMs: 9 * MINUTE, visitMaxMs: 11 * MINUTE })
  const among = (perHour: number): number => visitPause(given, judged({ merit: meritOf(perHour) }))
  isNear(t, among(1), 10 * MINUTE, 'all three are options')
  t.deepEqual([among(1000), among(0.001)], [9 * MINUTE, 11 * MINUTE])
  t.end()
})

test('a peer that brings more never waits longer, and nobody less or more than the bounds', (t) => {
  const { visitMinMs, visitMaxMs } = OPTIONS
  property(
    t,
    'pauses',
    fc.property(anybody, fc.double({ min: 0, max: 1e5, noNaN: true }), (peer, more) => {
      const pause = visitPause(OPTIONS, peer)
      if (pause < visitMinMs || pause > 6 * visitMaxMs) throw new Error(`${pause}`)
      if (!isStranger(peer) && pause > visitMaxMs) throw new Error(`${pause}, and no stranger`)
      if (!peer.merit) return
      const better = { ...peer, merit: { ...peer.merit, messages: peer.merit.messages + more } }
      if (visitPause(OPTIONS, better) > pause) throw new Error(`${visitPause(OPTIONS, better)} > ${pause}`)
    }),
  )
  t.end()
})

test('a stranger who brought nothing waits six times as long, even past the longest pause', (t) => {
  const stranger: Partial<Judged> = { priority: 'LOW', prioritisedBy: null }
  const known = { priority: 'LOW', prioritisedBy: 'social' } as const
  const inVain = credit(null, START, 0)
  for (const merit of [null, inVain]) {
    const pause = visitPause(OPTIONS, judged({ ...known, merit }))
    t.equal(visitPause(OPTIONS, judged({ ...stranger, merit })), 6 * pause)
    t.equal(visitPause(OPTIONS, judged({ priority: 'MEDIUM', merit })), pause, 'a MEDIUM one is no stranger')
  }
  const longAgo: Merit = { messages: 0.05, coveredMs: 1000 * HOUR, at: START, broughtAt: START }
  t.equal(visitPause(OPTIONS, judged({ ...stranger, merit: longAgo })), 4 * HOUR, 'what came has faded')
  const brought = credit(null, START, 1)
  t.equal(
    visitPause(OPTIONS, judged({ ...stranger, merit: brought })),
    visitPause(OPTIONS, judged({ ...known, merit: brought })),
    'one message, and he is as good as anybody',
  )
  t.end()
})

test('a stranger is LOW, and nobody has said so', (t) => {
  const table: readonly (readonly [Priority, string | null, boolean])[] = [
    ['LOW', null, true],
    ['LOW', 'user', false],
    ['LOW', 'social', false],
    ['MEDIUM', null, false],
    ['HIGH', null, false],
    ['BANNED', null, false],
  ]
  for (const [priority, prioritisedBy, expected] of table)
    t.equal(isStranger({ priority, prioritisedBy }), expected, `${priority} by ${prioritisedBy}`)
  t.end()
})

test('who was never connected has his turn at once, anybody else a pause after he was', (t) => {
  property(
    t,
    'turns',
    fc.property(anybody, (peer) => {
      const turnAt = turnAtOf(OPTIONS, peer)
      if (peer.visitedAt === 0) {
        if (turnAt !== 0) throw new Error(`${turnAt}, and was never connected`)
        return
      }
      if (!Number.isInteger(turnAt)) throw new Error(`${turnAt} is no time`)
      if (Math.abs(turnAt - peer.visitedAt - visitPause(OPTIONS, peer)) > 0.5) throw new Error(`${turnAt}`)
    }),
  )
  t.end()
})

// ---- as it happens ------------------------------------------------------------------------------------------------------------

/** Connected for a minute, in which so many messages come. */
function visited(label: string, count: number | undefined, change: Parameters<typeof storedPeer>[1] = {}): World {
  const world = World.started(slots({ net: 1 }))
  world.load([stored(label)], [storedPeer(label, change)])
  world.settle()
  world.connect(label)
  world.now += 30 * SECOND
  if (count !== 0)
    world.dispatch({
      type: 'connection/transferred',
      peer: idOf(label),
      ...(count === undefined ? {} : { count }),
    })
  world.now += 30 * SECOND
  world.close(label)
  return world
}

const meritIn = (world: World, name: string): Merit | null | undefined => world.state.peers.get(idOf(name))?.merit
const turnIn = (world: World, label: string): number => world.route(label).turnAt - world.now

test('what a connection brings counts for the peer, and its end is where the time is counted up to', (t) => {
  const world = visited('alice', 40)
  const merit = meritIn(world, 'alice')
  isNear(t, merit?.messages ?? 0, 40, 'messages', 0.001)
  isNear(t, merit?.coveredMs ?? 0, 12 * HOUR, 'time', 0.001)
  t.equal(merit?.at, world.now)
  isNear(
    t,
    meritIn(visited('alice', undefined), 'alice')?.messages ?? 0,
    1,
    'a transfer without a number is one',
    0.001,
  )
  t.equal(meritIn(visited('alice', 0), 'alice')?.messages, 0, 'a visit in vain is known to be one')
  t.end()
})

test('the next turn comes the sooner the more a visit brought', (t) => {
  const turns = [0, 1, 10, 100, 1000].map((count) => turnIn(visited('alice', count), 'alice'))
  t.deepEqual(
    turns,
    [...turns].sort((a, b) => b - a),
    turns.join(),
  )
  t.equal(new Set(turns).size, 5)
  t.end()
})

test('a turn follows what is said about the peer', (t) => {
  const world = visited('alice', 0, { priority: 'LOW' })
  const asStranger = turnIn(world, 'alice')
  world.dispatch({ type: 'peer/prioritised', peer: idOf('alice'), priority: 'LOW', by: 'social' })
  isNear(t, asStranger, 6 * turnIn(world, 'alice'), 'no stranger any more', 1e-5)
  t.end()
})

test('what a peer brought is kept in the table, and nothing is believed to have been brought in the future', (t) => {
  const world = World.started(slots({ net: 1 }))
  const merit: Merit = { messages: 9, coveredMs: DAY, at: START - HOUR, broughtAt: START - HOUR }
  world.load(
    [stored('alice'), stored('bob')],
    [storedPeer('alice', { merit }), storedPeer('bob', { merit: { ...merit, at: START + DAY } })],
  )
  t.deepEqual(meritIn(world, 'alice'), merit)
  t.deepEqual(meritIn(world, 'bob'), { ...merit, at: START })
  world.now -= 2 * HOUR
  world.dispatch({ type: 'clock/setBack' })
  t.equal(meritIn(world, 'alice')?.at, world.now, 'nor after the clock went back')
  t.end()
})
