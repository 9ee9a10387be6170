/** New feeds in an initial sync: the closest first, few at a time, and nobody waits for what does not come. */
import fc = require('fast-check')
import test = require('tape')

import { createBuckets } from '../../src/replication/core/buckets'
import { createPacing, type Supply } from '../../src/replication/core/pacing'

const NOTHING: Supply = { have: 0, offered: null }

/** Takes out all that may be asked for now. */
function drain(pacing: ReturnType<typeof createPacing>, now: number, isConnected = true): string[] {
  const feeds: string[] = []
  for (let feed = pacing.next(now, isConnected); feed !== undefined; feed = pacing.next(now, isConnected))
    feeds.push(feed)
  return feeds
}

function offered(limit: number, orders: readonly number[]) {
  const pacing = createPacing(limit)
  for (const [i, order] of orders.entries()) pacing.offer(`f${i}`, order)
  return pacing
}

test('the closest go first, in the order in which they came, as many as the limit allows', (t) => {
  const pacing = offered(3, [2, 1, 3, 1, 2])
  t.deepEqual(drain(pacing, 0), ['f1', 'f3', 'f0'])
  t.deepEqual([pacing.waiting(), pacing.onTheirWay()], [2, 3])
  t.end()
})

test('one that has arrived makes room for the next', (t) => {
  const pacing = offered(1, [1, 1])
  t.deepEqual(drain(pacing, 0), ['f0'])
  pacing.review(250, () => ({ have: 3, offered: 10 }))
  t.deepEqual(drain(pacing, 250), [], 'it is still coming')
  pacing.review(500, () => ({ have: 10, offered: 10 }))
  t.deepEqual(drain(pacing, 500), ['f1'])
  t.end()
})

const WAITS: readonly (readonly [string, Supply, number])[] = [
  ['nobody offers it', NOTHING, 1_000],
  ['offered, and it does not begin', { have: 0, offered: 5 }, 3_000],
  ['begun, and nobody says how long it is', { have: 4, offered: null }, 3_000],
]
for (const [name, supply, ms] of WAITS)
  test(`room is made after ${ms} ms if ${name}`, (t) => {
    const pacing = offered(1, [1, 1])
    drain(pacing, 0)
    pacing.review(0, () => supply)
    pacing.review(ms - 1, () => supply)
    t.deepEqual(drain(pacing, ms - 1), [])
    pacing.review(ms, () => supply)
    t.deepEqual(drain(pacing, ms), ['f1'])
    t.end()
  })

test('each message starts the patience anew', (t) => {
  const pacing = offered(1, [1, 1])
  drain(pacing, 0)
  for (let at = 0; at < 20_000; at += 2_000) pacing.review(at, () => ({ have: 1 + at, offered: 100_000 }))
  t.deepEqual(drain(pacing, 20_000), [])
  t.end()
})

test('time counts only while somebody is connected', (t) => {
  const pacing = offered(1, [1, 1])
  t.deepEqual(drain(pacing, 0, false), ['f0'])
  pacing.review(60_000, () => NOTHING)
  t.deepEqual(drain(pacing, 60_000, false), [])
  pacing.connected(60_000)
  pacing.review(60_999, () => NOTHING)
  t.deepEqual(drain(pacing, 60_999), [])
  pacing.disconnected()
  pacing.review(90_000, () => NOTHING)
  t.deepEqual(drain(pacing, 90_000), [])
  pacing.connected(100_000)
  pacing.review(101_000, () => NOTHING)
  t.deepEqual(drain(pacing, 101_000), ['f1'])
  t.end()
})

test('a clock that is set back costs one patience, not the time that it went back', (t) => {
  const pacing = offered(1, [1, 1])
  drain(pacing, 1_000_000)
  pacing.review(0, () => NOTHING)
  pacing.review(1_000, () => NOTHING)
  t.deepEqual(drain(pacing, 1_000), ['f1'])
  t.end()
})

test('where hardly anything is to be had, the portions grow, up to ten times', (t) => {
  const pacing = offered(
    10,
    Array.from({ length: 2_000 }, () => 2),
  )
  const portions: number[] = []
  for (let at = 0; pacing.waiting() > 0; at += 1_000) {
    portions.push(drain(pacing, at).length)
    pacing.review(at + 1_000, () => NOTHING)
  }
  t.deepEqual(portions.slice(0, 5), [10, 20, 40, 80, 100])
  t.ok(Math.max(...portions) <= 100)
  t.end()
})

test('withdrawn: neither waiting nor on its way', (t) => {
  const pacing = offered(1, [1, 2, 3])
  drain(pacing, 0)
  t.equal(pacing.withdraw('f1'), true)
  t.equal(pacing.withdraw('f0'), false, 'it was not waiting')
  t.deepEqual(drain(pacing, 0), ['f2'])
  t.end()
})

test('buckets give what a sorted list would', (t) => {
  const feed = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f')
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('add' as const),
      feed,
      order: fc.constantFrom(0, 0.1, 1, 2, Number.POSITIVE_INFINITY),
    }),
    fc.record({ kind: fc.constant('delete' as const), feed }),
    fc.record({ kind: fc.constant('take' as const) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const buckets = createBuckets()
      let model: { feed: string; order: number; at: number }[] = []
      for (const [at, each] of steps.entries()) {
        if (each.kind === 'add') {
          buckets.add(each.feed, each.order)
          if (model.some((one) => one.feed === each.feed && one.order === each.order)) continue
          model = [...model.filter((one) => one.feed !== each.feed), { feed: each.feed, order: each.order, at }]
        } else if (each.kind === 'delete') {
          const isThere = model.some((one) => one.feed === each.feed)
          if (buckets.delete(each.feed) !== isThere) throw new Error('delete')
          model = model.filter((one) => one.feed !== each.feed)
        } else {
          const [first] = [...model].sort((a, b) => (a.order === b.order ? a.at - b.at : a.order < b.order ? -1 : 1))
          if (buckets.take() !== first?.feed) throw new Error('take')
          model = model.filter((one) => one !== first)
        }
        if (buckets.size() !== model.length) throw new Error('size')
        if (
          [...buckets.feeds()].sort().join() !==
          model
            .map((one) => one.feed)
            .sort()
            .join()
        )
          throw new Error('feeds')
      }
    }),
  )
  t.pass('100 random histories')
  t.end()
})
