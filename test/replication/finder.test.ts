/** The search for root meta feeds: who is asked for which mains and when. Time is a number here. */
import fc from 'fast-check'

import test = require('tape')

import { createFinder, type Finder, type Query } from '../../src/replication/core/finder'

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const RUNS = Number(process.env.RUNS ?? 300)

const MINUTE = 60_000
const HOUR = 60 * MINUTE

const names = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
const shown = (queries: readonly Query[]): string[] => queries.map(({ peer, mains }) => `${peer}: ${mains.join(' ')}`)

/** Wants `mains`, the first one closest, and is connected to `peers`. */
function searching(mains: readonly string[], peers: readonly string[]): Finder {
  const finder = createFinder()
  for (const [i, main] of mains.entries()) finder.want(main, i)
  for (const peer of peers) finder.connected(peer)
  return finder
}

/** Everybody answers at once that they know none of it. Returns what each peer was asked. */
function denyAll(finder: Finder, now: number): string[] {
  const asked: string[] = []
  for (let queries = finder.next(now); queries.length > 0; queries = finder.next(now))
    for (const query of queries) {
      asked.push(...query.mains.map((main) => `${query.peer}:${main}`))
      finder.answered(query, [], now)
    }
  return asked.sort()
}

test('the closest mains go first, 64 in a query, the next query as soon as the answer is there', (t) => {
  const mains = names('m', 150)
  const finder = createFinder()
  for (const [i, main] of [...mains.entries()].reverse()) finder.want(main, i)
  t.deepEqual(finder.next(0), [], 'nobody to ask')
  t.equal(finder.wakeAt(0), null)
  finder.connected('bob')
  const [first, ...others] = finder.next(0)
  t.deepEqual(first?.mains, mains.slice(0, 64))
  t.deepEqual(others, [], 'one query at a time to a neighbour')
  t.deepEqual(finder.next(0), [], 'nor another one later')
  finder.answered(first!, mains.slice(0, 64), 0)
  const [second] = finder.next(0)
  t.deepEqual(second?.mains, mains.slice(64, 128))
  finder.answered(second!, [], 0)
  t.deepEqual(finder.next(0)[0]?.mains, mains.slice(128), 'those it does not know are not asked again')
  t.deepEqual(finder.status(), {
    wanted: 86,
    asking: 22,
    notFound: 0,
    found: 64,
    neighbours: 1,
    unsupported: 0,
    queriesInFlight: 1,
    queries: 3,
    failures: 0,
  })
  t.end()
})

test('a main that comes closer, or moves away, is asked for in its new place; one without a place last', (t) => {
  const finder = createFinder({ chunkMax: 1 })
  for (const [main, order] of [
    ['a', 1],
    ['b', 2],
    ['c', Number.NaN],
    ['d', 3],
  ] as const)
    finder.want(main, order)
  finder.want('d', 0)
  finder.want('a', 9)
  finder.connected('bob')
  const order: string[] = []
  for (let [query] = finder.next(0); query; [query] = finder.next(0)) {
    order.push(...query.mains)
    finder.answered(query, query.mains, 0)
  }
  t.deepEqual(order, ['d', 'b', 'a', 'c'])
  t.end()
})

test('four queries at a time at most, and no main in two of them', (t) => {
  const finder = searching(names('m', 1_000), names('p', 6))
  const queries = finder.next(0)
  t.equal(queries.length, 4)
  t.equal(new Set(queries.map(({ peer }) => peer)).size, 4)
  t.equal(new Set(queries.flatMap(({ mains }) => mains)).size, 256)
  t.end()
})

test('a main is asked of three neighbours, one after the other, and then rests', (t) => {
  const finder = searching(['m'], names('p', 5))
  const peers: string[] = []
  for (let i = 0; i < 3; i++) {
    const queries = finder.next(i)
    t.equal(queries.length, 1)
    peers.push(queries[0]!.peer)
    finder.answered(queries[0]!, [], i)
  }
  t.equal(new Set(peers).size, 3)
  t.deepEqual(finder.next(2), [])
  t.equal(finder.status().notFound, 1)
  t.equal(finder.wakeAt(2), 2 + MINUTE)
  finder.connected('p9')
  finder.want('n', 1)
  const others = ['p3', 'p4', 'p9'].map((peer) => `${peer}:n`)
  t.deepEqual(denyAll(finder, 3), others, 'those who were asked last take their turn last')
  t.deepEqual(finder.next(1 + MINUTE), [])
  const again = finder.next(2 + MINUTE).filter(({ mains }) => mains.includes('m'))
  t.notOk(peers.includes(again[0]!.peer), 'then those go first who were not asked before')
  t.end()
})

test('a rest is twice as long each time, up to an hour', (t) => {
  const finder = searching(['m'], ['bob'])
  const rests: number[] = []
  for (let now = 0, i = 0; i < 9; i++) {
    t.deepEqual(denyAll(finder, now), ['bob:m'])
    const wakeAt = finder.wakeAt(now)!
    t.deepEqual(denyAll(finder, wakeAt - 1), [])
    rests.push((wakeAt - now) / MINUTE)
    now = wakeAt
  }
  t.deepEqual(rests, [1, 2, 4, 8, 16, 32, 60, 60, 60])
  t.end()
})

test('a neighbour that connects is asked for what is due only', (t) => {
  const finder = searching(['a', 'b'], ['p0', 'p1'])
  t.equal(denyAll(finder, 0).length, 4)
  finder.forget('b')
  finder.connected('p2')
  t.deepEqual(denyAll(finder, 10), ['p2:a'], 'the third')
  finder.connected('p3')
  t.deepEqual(denyAll(finder, 20), [], 'a fourth for nothing')
  t.end()
})

test('who leaves and comes back is not asked for the same again before it has rested', (t) => {
  const finder = searching(['m'], ['bob'])
  denyAll(finder, 0)
  finder.disconnected('bob', 10)
  t.equal(finder.wakeAt(10), null, 'nobody to wake up for')
  finder.connected('bob')
  t.deepEqual(denyAll(finder, MINUTE - 1), [])
  t.deepEqual(denyAll(finder, MINUTE), ['bob:m'])
  t.end()
})

test('forgetting does not forget who was asked, until the rest is over', (t) => {
  const finder = searching(['m'], ['bob'])
  denyAll(finder, 0)
  finder.forget('m')
  t.notOk(finder.isWanted('m'))
  finder.want('m', 0)
  t.deepEqual(denyAll(finder, MINUTE - 1), [])
  finder.forget('m')
  t.deepEqual(denyAll(finder, 5 * MINUTE), [], 'nothing is asked for what is not wanted')
  finder.want('m', 0)
  t.deepEqual(denyAll(finder, 5 * MINUTE), ['bob:m'])
  t.end()
})

test('what is forgotten while it is asked for is not found, and not asked for again', (t) => {
  const finder = searching(['a', 'b'], ['bob', 'carol'])
  const [query] = finder.next(0)
  finder.forget('a')
  t.equal(finder.status().asking, 1)
  finder.answered(query!, [], 0)
  t.deepEqual(shown(finder.next(0)), [`${query!.peer === 'bob' ? 'carol' : 'bob'}: b`])
  t.end()
})

for (const kind of ['timeout', 'error'] as const)
  test(`after a ${kind} others are asked at once, and the neighbour itself after a while, for less`, (t) => {
    const mains = names('m', 64)
    const finder = searching(mains, ['bad'])
    const [query] = finder.next(0)
    finder.want('late', 99)
    t.ok(finder.failed(query!, 5_000, kind, ['m0']))
    t.notOk(finder.isWanted('m0'), 'what had come until then counts')
    t.deepEqual(finder.next(5_000), [])
    t.equal(finder.wakeAt(5_000), 15_000)
    finder.connected('good')
    const [retry] = finder.next(5_000)
    t.deepEqual([retry?.peer, retry?.mains], ['good', [...mains.slice(1), 'late']])
    t.notOk(finder.failed(query!, 5_000, kind), 'a query ends once')
    finder.disconnected('good', 5_000)
    const [smaller] = finder.next(15_000)
    t.deepEqual(shown([smaller!]), ['bad: late'], 'what it failed at rests')
    finder.answered(smaller!, [], 15_000)
    t.equal(finder.next(70_000)[0]?.mains.length, 63, 'after an answer as many as ever')
    t.end()
  })

test('who fails again and again rests longer and is asked for less, down to one main', (t) => {
  const finder = searching(names('m', 500), ['bad'])
  const pauses: number[] = []
  const sizes: number[] = []
  for (let now = 0, i = 0; i < 8; i++) {
    const [query] = finder.next(now)
    sizes.push(query!.mains.length)
    finder.failed(query!, now, 'timeout')
    t.deepEqual(finder.next(now + 9_999), [])
    const wakeAt = 10_000 * 2 ** i
    pauses.push(Math.min(600_000, wakeAt))
    now += pauses[i]!
  }
  t.deepEqual(sizes, [64, 32, 16, 8, 4, 2, 1, 1])
  t.end()
})

test('coming back does not clear a bad record', (t) => {
  const finder = searching(['m'], ['bad'])
  finder.next(0)
  finder.disconnected('bad', 100)
  t.equal(finder.status().queriesInFlight, 0)
  finder.connected('bad')
  finder.want('n', 1)
  t.deepEqual(finder.next(10_099), [])
  t.deepEqual(shown(finder.next(10_100)), ['bad: n'])
  t.end()
})

test('who cannot be asked is not, until it connects anew; and what it was asked for loses nothing', (t) => {
  const finder = searching(['m'], ['old'])
  const [query] = finder.next(0)
  finder.failed(query!, 0, 'unsupported')
  t.equal(finder.status().unsupported, 1)
  t.deepEqual(finder.next(HOUR), [])
  t.equal(finder.wakeAt(HOUR), null, 'time alone changes nothing')
  finder.disconnected('old', HOUR)
  finder.connected('old')
  t.deepEqual(shown(finder.next(HOUR)), ['old: m'])
  t.end()
})

test('who cannot be asked costs its main no time, and has another chance even with a bad record', (t) => {
  const finder = searching(['m'], ['old'])
  finder.next(0)
  finder.disconnected('old', 0)
  finder.connected('old')
  finder.want('n', 1)
  const [query] = finder.next(10_000)
  finder.failed(query!, 10_000, 'unsupported')
  finder.disconnected('old', 10_000)
  finder.connected('old')
  t.deepEqual(shown(finder.next(10_000)), ['old: n'])
  t.end()
})

test('a clock that is set back delays nothing', (t) => {
  const finder = searching(['m'], ['bob'])
  denyAll(finder, 10 * HOUR)
  t.deepEqual(denyAll(finder, 0), [])
  t.equal(finder.wakeAt(0), MINUTE)
  t.deepEqual(denyAll(finder, MINUTE - 1), [])
  t.deepEqual(denyAll(finder, MINUTE), ['bob:m'])
  t.end()
})

test('of too many mains those no longer wanted are given up first, then the farthest', (t) => {
  const finder = createFinder({ mainsMax: 3 })
  finder.connected('bob')
  finder.want('z', 0)
  denyAll(finder, 0)
  finder.forget('z')
  finder.want('a', 1)
  finder.want('b', 9)
  finder.want('c', 2)
  t.deepEqual(['z', 'a', 'b', 'c'].map(finder.isWanted), [false, true, true, true])
  finder.want('d', 3)
  t.deepEqual(['a', 'b', 'c', 'd'].map(finder.isWanted), [true, false, true, true])
  finder.want('e', 10)
  t.notOk(finder.isWanted('e'))
  t.equal(finder.status().wanted, 3)
  t.end()
})

/* ---- any order of events ---- */

type Event =
  | { readonly type: 'want' | 'forget'; readonly main: number; readonly order: number }
  | { readonly type: 'connected' | 'disconnected'; readonly peer: number }
  | { readonly type: 'answered'; readonly pick: number; readonly knows: number }
  | { readonly type: 'failed'; readonly pick: number; readonly kind: 'timeout' | 'error' | 'unsupported' }
  | { readonly type: 'time'; readonly ms: number }

const MAINS = 9
const PEERS = 6

const anyEvent: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ type: fc.constantFrom('want', 'want', 'forget'), main: fc.nat(MAINS - 1), order: fc.nat(3) }),
  fc.record({ type: fc.constantFrom('connected', 'connected', 'disconnected'), peer: fc.nat(PEERS - 1) }),
  fc.record({ type: fc.constant('answered' as const), pick: fc.nat(3), knows: fc.nat(2 ** MAINS - 1) }),
  fc.record({
    type: fc.constant('failed' as const),
    pick: fc.nat(3),
    kind: fc.constantFrom('timeout', 'error', 'unsupported'),
  }),
  fc.record({ type: fc.constant('time' as const), ms: fc.constantFrom(1, 1_000, 10_000, 60_000, 200_000, -5_000) }),
)

/** Follows a finder and checks each query against what is known from outside. */
function watched(options: { chunkMax: number }) {
  const finder = createFinder(options)
  const wanted = new Map<string, number>()
  const connected = new Set<string>()
  const flying: Query[] = []
  /** When a peer may be asked for a main again, at the earliest. */
  const restedAt = new Map<string, number>()
  let now = 1_000_000
  let latest = now
  const elapse = (ms: number): void => {
    now += ms
    if (ms > 0) latest += ms
  }
  const look = (): void => {
    for (const query of finder.next(now)) {
      if (query.mains.length === 0 || query.mains.length > options.chunkMax) throw new Error('size')
      if (!connected.has(query.peer)) throw new Error('asks who is not there')
      if (flying.some(({ peer }) => peer === query.peer)) throw new Error('two queries to one')
      for (const main of query.mains) {
        if (!wanted.has(main)) throw new Error('asks for what is not wanted')
        if (flying.some(({ mains }) => mains.includes(main))) throw new Error('asks two at a time')
        if ((restedAt.get(`${main} ${query.peer}`) ?? 0) > latest) throw new Error('asks again too soon')
      }
      const orders = query.mains.map((main) => wanted.get(main) as number)
      if (orders.some((order, i) => i > 0 && order < (orders[i - 1] as number))) throw new Error('not closest first')
      flying.push(query)
      if (flying.length > 4) throw new Error('too many in flight')
    }
    if (finder.next(now).length > 0) throw new Error('not all at once')
    const wakeAt = finder.wakeAt(now)
    if (wakeAt !== null && wakeAt <= now) throw new Error('wakes in the past')
  }
  const land = (pick: number): Query | null => flying.splice(pick % Math.max(1, flying.length), 1)[0] ?? null
  const asked = (query: Query): void => {
    for (const main of query.mains) restedAt.set(`${main} ${query.peer}`, latest + MINUTE)
  }
  const found = (mains: readonly string[]): void => {
    for (const main of mains) {
      wanted.delete(main)
      // Wanted again, it is a newer announce that is looked for.
      for (const pair of [...restedAt.keys()]) if (pair.startsWith(`${main} `)) restedAt.delete(pair)
    }
  }
  const apply = (event: Event): void => {
    switch (event.type) {
      case 'want':
        wanted.set(`m${event.main}`, event.order)
        finder.want(`m${event.main}`, event.order)
        break
      case 'forget':
        wanted.delete(`m${event.main}`)
        finder.forget(`m${event.main}`)
        break
      case 'connected':
        connected.add(`p${event.peer}`)
        finder.connected(`p${event.peer}`)
        break
      case 'disconnected': {
        connected.delete(`p${event.peer}`)
        const at = flying.findIndex(({ peer }) => peer === `p${event.peer}`)
        if (at >= 0) flying.splice(at, 1)
        finder.disconnected(`p${event.peer}`, now)
        break
      }
      case 'answered': {
        const query = land(event.pick)
        if (!query) break
        const known = query.mains.filter((main) => (event.knows >> Number(main.slice(1))) & 1)
        asked(query)
        found(known)
        finder.answered(query, known, now)
        break
      }
      case 'failed': {
        const query = land(event.pick)
        if (!query) break
        if (event.kind !== 'unsupported') asked(query)
        finder.failed(query, now, event.kind)
        break
      }
      case 'time':
        elapse(event.ms)
        break
    }
    look()
  }
  return { finder, wanted, connected, flying, apply, look, now: () => now, elapse }
}

test('whatever happens: one query to a neighbour, four in all, small ones, closest first, and never too soon again', (t) => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 80 }), fc.constantFrom(1, 3, 64), (events, chunkMax) => {
      const world = watched({ chunkMax })
      for (const event of events) world.apply(event)
      const { wanted, asking, neighbours, queriesInFlight } = world.finder.status()
      return (
        wanted === world.wanted.size &&
        neighbours === world.connected.size &&
        queriesInFlight === world.flying.length &&
        asking === world.flying.flatMap(({ mains }) => mains).filter((main) => world.wanted.has(main)).length
      )
    }),
    { seed: SEED, numRuns: RUNS },
  )
  t.pass(`SEED=${SEED}`)
  t.end()
})

test('whatever happened: once neighbours answer, each main is found or was asked of three of them, or all', (t) => {
  const PATIENCE = 3 * HOUR
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
      const world = watched({ chunkMax: 3 })
      for (const event of events) world.apply(event)
      // Everybody leaves, and some come back: all of them can answer, and the even ones do.
      for (let peer = 0; peer < PEERS; peer++) world.apply({ type: 'disconnected', peer })
      for (let peer = 0; peer < 5; peer++) world.apply({ type: 'connected', peer })
      const calmAt = world.now()
      const asked = new Map<string, Set<string>>([...world.wanted.keys()].map((main) => [main, new Set()]))
      while (world.now() - calmAt < PATIENCE) {
        const [query] = world.flying
        if (query) {
          if (Number(query.peer.slice(1)) % 2) world.apply({ type: 'failed', pick: 0, kind: 'timeout' })
          else {
            for (const main of query.mains) asked.get(main)?.add(query.peer)
            world.apply({ type: 'answered', pick: 0, knows: 1 })
          }
          continue
        }
        const wakeAt = world.finder.wakeAt(world.now())
        if (wakeAt === null) break
        world.elapse(wakeAt - world.now())
        world.look()
      }
      const rest = [...asked].filter(([main, by]) => world.wanted.has(main) && by.size < 3)
      if (world.wanted.has('m0')) throw new Error('what a neighbour knows was not found')
      return rest.length === 0
    }),
    { seed: SEED, numRuns: RUNS },
  )
  t.pass(`SEED=${SEED}`)
  t.end()
})

test('nothing falls due before wakeAt', (t) => {
  fc.assert(
    fc.property(
      fc.array(anyEvent, { maxLength: 60 }),
      fc.double({ min: 0, max: 1, maxExcluded: true }),
      (events, part) => {
        const world = watched({ chunkMax: 3 })
        for (const event of events) world.apply(event)
        const wakeAt = world.finder.wakeAt(world.now()) ?? world.now() + 100 * HOUR
        return (
          world.finder.next(Math.min(wakeAt - 1, Math.floor(world.now() + part * (wakeAt - world.now())))).length === 0
        )
      },
    ),
    { seed: SEED, numRuns: RUNS },
  )
  t.pass(`SEED=${SEED}`)
  t.end()
})

test('fifty thousand unknown mains are asked of each neighbour once', (t) => {
  const finder = searching(names('m', 50_000), ['bob', 'carol'])
  let count = 0
  for (let queries = finder.next(0); queries.length > 0; queries = finder.next(0))
    for (const query of queries) {
      count += query.mains.length
      finder.answered(query, [], 0)
    }
  t.equal(count, 100_000)
  t.end()
})
