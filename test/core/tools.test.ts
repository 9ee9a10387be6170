/** The small parts: ranks and lanes, running figures, the keyed hash, trees, own properties. */
import test = require('tape')

import { tieOf } from '../../src/core/hash'
import { own } from '../../src/core/own'
import {
  compareReady,
  compareWaiting,
  isFeeler,
  isInLane,
  isLow,
  lanesOf,
  PRIORITIES,
  priorityOfTier,
  STRANGER_TIER,
  TIERS,
  tierOf,
  tierOfPeer,
  worstRouteFirst,
} from '../../src/core/rank'
import { addToStats } from '../../src/core/stats'
import { byText, emptyTree } from '../../src/core/tree'
import type { RankKey, Route, Stats } from '../../src/core/types'
import { DAY, idOf, START, World } from '../support/builders'

function key(change: Partial<RankKey> = {}): RankKey {
  return {
    queue: 'net',
    tier: 1,
    errorCount: 0,
    turnAt: 0,
    lastErrorTime: 0,
    tie: 5,
    address: 'net:a',
    dueAt: 0,
    ...change,
  }
}

test('tiers go from HIGH to BANNED and back', (t) => {
  t.deepEqual(TIERS, ['HIGH', 'MEDIUM', 'LOW', 'LOW', 'BANNED'])
  for (const priority of TIERS) t.equal(priorityOfTier(tierOf(priority)), priority)
  t.equal(priorityOfTier(7), 'BANNED', 'what is none of them means nothing to us')
  t.deepEqual([0, 1, 2, 3, 4].filter(isLow), [2, 3])
  t.end()
})

test('LOW ones of whom nobody said anything are strangers, and come after the others', (t) => {
  const tiers = PRIORITIES.map((priority) =>
    [null, 'friends', 'user'].map((prioritisedBy) => tierOfPeer({ priority, prioritisedBy })),
  )
  t.deepEqual(tiers, [
    [0, 0, 0],
    [1, 1, 1],
    [STRANGER_TIER, 2, 2],
    [4, 4, 4],
  ])
  const isSeldomTried = (tier: number, errorCount: number, turnAt: number) => isFeeler({ tier, errorCount, turnAt })
  t.ok(isSeldomTried(STRANGER_TIER, 0, 0), 'a stranger who was never tried')
  t.ok(isSeldomTried(0, 1, 0), 'whoever never connected and has failed')
  t.notOk(isSeldomTried(2, 0, 0), 'somebody said that there is such a peer')
  t.notOk(isSeldomTried(STRANGER_TIER, 9, START), 'it has worked once')
  t.end()
})

test('every ready route of a queue lies in exactly one lane, between its ends, in the order of the lanes', (t) => {
  const lanes = lanesOf('net')
  t.equal(lanes.length, 16)
  const keys: RankKey[] = []
  for (const tier of [0, 1, 2, STRANGER_TIER])
    for (const errorCount of [0, 1, 9])
      for (const turnAt of [0, 1, START])
        for (const lastErrorTime of [0, START])
          for (const tie of [0, 2 ** 30 - 1]) keys.push(key({ tier, errorCount, turnAt, lastErrorTime, tie }))
  let lastLane = 0
  for (const each of keys.sort(compareReady)) {
    const inside = lanes.filter((lane) => isInLane(each, lane))
    const between = lanes.filter((lane) => compareReady(lane.start, each) < 0 && compareReady(each, lane.end) < 0)
    t.deepEqual(between, inside)
    t.equal(inside.length, 1)
    const index = lanes.indexOf(inside[0]!)
    t.ok(index >= lastLane, `lane ${index} after ${lastLane}`)
    lastLane = index
  }
  t.equal(isInLane(key({ queue: 'onion' }), lanes[4]!), false, 'another queue has its own')
  t.end()
})

test('waiting routes are ordered by queue, then by when they fall due, then by the tie', (t) => {
  const sorted = [
    key({ queue: '', dueAt: 9 }),
    key({ queue: 'local', dueAt: 8 }),
    key({ dueAt: 1, tie: 9 }),
    key({ dueAt: 2, tie: 1, address: 'net:a' }),
    key({ dueAt: 2, tie: 1, address: 'net:b' }),
    key({ dueAt: 2, tie: 2 }),
  ]
  t.deepEqual([...sorted].reverse().sort(compareWaiting), sorted)
  t.end()
})

test('the worst route: lowest priority, never connected, most failures, newest', (t) => {
  const world = new World()
  world.add('a')
  const base = world.route('a')
  const route = (change: Partial<Route>): Route => ({ ...base, tier: 2, ...change })
  const worstFirst = [
    route({ errorCount: 5, addedAt: START - DAY }),
    route({ errorCount: 2, addedAt: START }),
    route({ errorCount: 2, addedAt: START - DAY }),
    route({ errorCount: 0, addedAt: START }),
    route({ errorCount: 9, lastConnectionTime: 1 }),
    route({ errorCount: 0, lastConnectionTime: 1, tie: 1 }),
    route({ errorCount: 0, lastConnectionTime: 1, tie: 2 }),
    route({ tier: 1, errorCount: 99 }),
  ]
  t.deepEqual([...worstFirst].reverse().sort(worstRouteFirst), worstFirst)
  t.end()
})

test('running figures: mean, deviation, count, sum and sum of squares', (t) => {
  const table: readonly (readonly [readonly number[], Stats])[] = [
    [[7], { mean: 7, stdev: 0, count: 1, sum: 7, sqsum: 49 }],
    [[2, 4, 4, 4, 5, 5, 7, 9], { mean: 5, stdev: 2, count: 8, sum: 40, sqsum: 232 }],
    [[0, 0], { mean: 0, stdev: 0, count: 2, sum: 0, sqsum: 0 }],
    [[-3, 3], { mean: 0, stdev: 3, count: 2, sum: 0, sqsum: 18 }],
  ]
  for (const [values, expected] of table) {
    let stats: Stats | null = null
    for (const value of values) stats = addToStats(stats, value)
    t.deepEqual(stats, expected, values.join())
  }
  let same: Stats | null = null
  for (let i = 0; i < 1_000; i++) same = addToStats(same, 0.1 + 1e9)
  t.ok(same && same.stdev >= 0, 'a deviation is never the root of a negative number')
  t.end()
})

test('the tie is a whole number that fits a small integer, and hangs on key and id', (t) => {
  const ids = Array.from({ length: 200 }, (_, i) => idOf(`p${i}`))
  const ties = ids.map((id) => tieOf([1, 2, 3, 4], id))
  t.ok(ties.every((tie) => Number.isInteger(tie) && tie >= 0 && tie < 2 ** 30))
  t.ok(new Set(ties).size > 195)
  t.deepEqual(
    ids.map((id) => tieOf([1, 2, 3, 4], id)),
    ties,
    'the same each time',
  )
  for (const other of [
    [2, 2, 3, 4],
    [1, 2, 3, 5],
  ])
    t.ok(ids.filter((id, i) => tieOf(other, id) === ties[i]).length < 3, 'another key, another order')
  const halves = ties.filter((tie) => tie < 2 ** 29).length
  t.ok(halves > 70 && halves < 130, `spread evenly (${halves} of 200 in the lower half)`)
  t.end()
})

test('a tree is ordered, and its clone shares nothing that one side writes', (t) => {
  const tree = emptyTree<string, number>(byText)
  for (const [index, word] of ['b', 'a', 'ä', 'B', ''].entries()) tree.set(word, index)
  t.deepEqual(tree.keysArray(), ['', 'B', 'a', 'b', 'ä'], 'by code, the same in every locale')
  const copy = tree.clone()
  copy.set('c', 9)
  copy.delete('a')
  t.deepEqual(tree.keysArray(), ['', 'B', 'a', 'b', 'ä'])
  t.deepEqual(copy.keysArray(), ['', 'B', 'b', 'c', 'ä'])
  t.equal(byText('a', 'a'), 0)
  t.end()
})

test('own: what every object inherits is not in a table', (t) => {
  const table: { readonly [name: string]: number } = { net: 3, zero: 0 }
  t.equal(own(table, 'net'), 3)
  t.equal(own(table, 'zero'), 0)
  for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'onion'])
    t.equal(own(table, name), undefined, name)
  t.equal(own(JSON.parse('{"__proto__": 5}') as typeof table, '__proto__'), 5, 'unless it is')
  t.end()
})
