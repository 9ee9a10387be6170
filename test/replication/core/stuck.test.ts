/** Which feeds are stuck with a neighbour: what is seen at one look after the other, and which streams are to be opened. */
import test = require('tape')

import { createStuck, LOOK_MS, type Offer, type Sight } from '../../../src/replication/core/stuck'

/** Between the two ids that the peers have. */
const SELF = 'm'
const LARGER = 'z'
const SMALLER = 'a'
const mark = {}
const ahead: Offer = { sequence: 1, isAsked: true, mark }
const formatOf = (feed: string): string => (feed.startsWith('b') ? 'bendybutt-v1' : 'classic')

const seen = (have: number, offers: Readonly<Record<string, Offer>>): Sight => ({
  have,
  offers: new Map(Object.entries(offers)),
})

/** Looks at regular times; each gives `<reason> <format> <peer>`. */
function bench(feeds: readonly string[] = ['f'], peers: readonly string[] = [LARGER]) {
  const stuck = createStuck({ self: SELF, formatOf })
  const connections = new Map<string, object>(peers.map((peer) => [peer, {}]))
  let at = 0
  for (const feed of feeds) stuck.watch(feed, 0, at)
  const look = (sight: Sight | null | ((feed: string) => Sight | null), ms = LOOK_MS): string[] => {
    at += ms
    return stuck
      .look(at, connections, (feed) => (typeof sight === 'function' ? sight(feed) : sight))
      .map(({ reason, format, peer }) => `${reason} ${format} ${peer}`)
  }
  const looks = (count: number, sight: Sight): string[][] => Array.from({ length: count }, () => look(sight))
  return { stuck, connections, look, looks, at: () => at }
}

const STUCK = [`stuck classic ${LARGER}`]
const CASES: readonly (readonly [name: string, peer: string, sights: readonly (Sight | null)[], opened: number])[] = [
  ['nothing moves: within two looks after the first one', LARGER, Array(3).fill(seen(0, { z: ahead })), 3],
  ['the side with the larger id waits for a look more', SMALLER, Array(4).fill(seen(0, { a: ahead })), 4],
  ['it has no more than we do', LARGER, Array(6).fill(seen(1, { z: ahead })), 0],
  ['it does not share it', LARGER, Array(6).fill(seen(0, { z: { ...ahead, sequence: -1 } })), 0],
  ['it has said nothing', LARGER, Array(6).fill(seen(0, { z: { ...ahead, sequence: null } })), 0],
  ['we have not asked it', LARGER, Array(6).fill(seen(0, { z: { ...ahead, isAsked: false } })), 0],
  ['it is a neighbour no more', LARGER, Array(6).fill(seen(0, { gone: ahead })), 0],
  ['ssb-ebt does not tell', LARGER, Array(6).fill(null), 0],
  ['our sequence moves', LARGER, [0, 0, 1, 1, 2, 2].map((have) => seen(have, { z: { ...ahead, sequence: 9 } })), 0],
  [
    'we have asked again, or on another stream',
    LARGER,
    [{}, {}, mark, mark].map((each) => seen(0, { z: { ...ahead, mark: each } })),
    0,
  ],
  [
    'time counts since we asked',
    LARGER,
    [false, false, true, true, true].map((isAsked) => seen(0, { z: { ...ahead, isAsked } })),
    5,
  ],
  [
    'the stream was away in between',
    LARGER,
    [{ z: ahead }, { z: ahead }, {}, { z: ahead }, { z: ahead }].map((offers) => seen(0, offers)),
    0,
  ],
  ['it says more meanwhile', LARGER, [1, 2, 3].map((sequence) => seen(0, { z: { ...ahead, sequence } })), 3],
]
for (const [name, peer, sights, opened] of CASES)
  test(`stuck with a neighbour: ${name}`, (t) => {
    const { look } = bench(['f'], [peer])
    const all = sights.map((sight) => look(sight))
    t.deepEqual(
      all,
      sights.map((_, i) => (i + 1 === opened ? [`stuck classic ${peer}`] : [])),
    )
    t.end()
  })

test('while messages come nothing is opened, and it is once it has been quiet from one look to the next', (t) => {
  const { stuck, look } = bench()
  for (let i = 0; i < 6; i++) {
    stuck.heard()
    t.deepEqual(look(seen(0, { z: ahead })), [])
  }
  t.deepEqual(look(seen(0, { z: ahead })), STUCK)
  t.end()
})

test('each format and neighbour has a stream of its own, which is opened once for all its feeds', (t) => {
  const { looks } = bench(['f', 'g', 'b'], [LARGER, 'y'])
  const opened = looks(3, seen(0, { z: ahead, y: ahead }))[2] as string[]
  t.deepEqual(
    opened.sort(),
    ['y', 'z'].flatMap((peer) => [`stuck bendybutt-v1 ${peer}`, `stuck classic ${peer}`]).sort(),
  )
  t.end()
})

test('not again within 20 s, and at most 5 times on a connection; the next connection starts anew', (t) => {
  const { stuck, connections, look, at } = bench()
  const times: number[] = []
  const go = (): void => {
    for (let i = 0; i < 100; i++) {
      if (i % 25 === 0) stuck.watch('f', 0, at())
      if (look(seen(0, { z: ahead })).length > 0) times.push(at())
    }
  }
  go()
  t.equal(times.length, 5)
  for (let i = 1; i < times.length; i++)
    t.ok((times[i] as number) - (times[i - 1] as number) >= 20_000, `${times[i - 1]} ${times[i]}`)
  connections.set(LARGER, {})
  go()
  t.equal(times.length, 10)
  t.end()
})

test('a feed is watched for 60 s', (t) => {
  const { stuck, looks } = bench()
  looks(29, seen(0, {}))
  t.notOk(stuck.isIdle())
  looks(1, seen(0, {}))
  t.ok(stuck.isIdle())
  t.deepEqual(looks(4, seen(0, { z: ahead })).flat(), [])
  t.end()
})

test('a feed that has come is watched no more, unless somebody has more of it', (t) => {
  const { stuck, look } = bench()
  look(seen(0, { z: ahead }))
  look(seen(1, { z: { ...ahead, sequence: 2 } }))
  t.notOk(stuck.isIdle(), 'it is still coming')
  look(seen(2, { z: { ...ahead, sequence: 2 } }))
  t.ok(stuck.isIdle())
  const old = bench([])
  old.stuck.watch('f', 5, 0)
  old.look(seen(5, {}))
  t.notOk(old.stuck.isIdle(), 'what we had before it was asked for does not count')
  t.end()
})

test('at most 1 000 feeds are watched: the oldest go', (t) => {
  const { stuck, look } = bench(Array.from({ length: 1_500 }, (_, i) => `f${i}`))
  const asked = new Set<string>()
  look((feed) => {
    asked.add(feed)
    return null
  })
  t.equal(asked.size, 1_000)
  t.notOk(asked.has('f499'))
  t.ok(asked.has('f500'))
  stuck.forget('f500')
  asked.clear()
  look((feed) => {
    asked.add(feed)
    return null
  })
  t.notOk(asked.has('f500'), 'forgotten')
  stuck.clear()
  t.ok(stuck.isIdle())
  t.end()
})

/** As both sides open at the same time: each ends the stream of the other. */
const LOST: readonly (readonly [name: string, peer: string, looks: number])[] = [
  ['the side with the smaller id opens it again', LARGER, 3],
  ['the other side later', SMALLER, 5],
]
for (const [name, peer, count] of LOST)
  test(`a stream that was opened and is gone: ${name}, once`, (t) => {
    const { stuck, looks } = bench(['f'], [peer])
    looks(peer === LARGER ? 3 : 4, seen(0, { [peer]: ahead }))
    stuck.forget('f')
    t.notOk(stuck.isIdle(), 'somebody looks, though the feed is not wanted any more')
    t.deepEqual(looks(count, seen(0, {})), [...Array(count - 1).fill([]), [`lost classic ${peer}`]])
    t.deepEqual(looks(10, seen(0, {})).flat(), [], 'whoever ends it again means it')
    t.ok(stuck.isIdle())
    t.end()
  })

test('a stream that was away for a moment is not lost', (t) => {
  const { looks, look } = bench()
  looks(3, seen(0, { z: ahead }))
  looks(2, seen(0, {}))
  look(null)
  look(seen(0, { z: { ...ahead, mark: {} } }))
  t.deepEqual(looks(2, seen(0, {})).flat(), [])
  t.end()
})
