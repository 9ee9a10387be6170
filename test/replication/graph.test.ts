/**
 * From the social graph to the calls, on the real layered-graph: whatever happens in whatever order, ssb-ebt ends up knowing what
 * a scheduler that starts on the final graph would tell it, and is never told that a friend is not wanted.
 */
import fc = require('fast-check')
import test = require('tape')

import { person } from '../support/manager'
import {
  BLOCK,
  type Call,
  FOLLOW,
  type Graph,
  readNow,
  SAME_AS,
  type SchedulerBench,
  schedulerBench,
  UNFOLLOW,
} from '../support/scheduler'

const PEOPLE = ['me', 'ann', 'bob', 'cat', 'dan', 'eve', 'fay', 'gus'].map((name) => person(name).id)
const [me = '', ann = '', bob = '', cat = '', dan = '', eve = ''] = PEOPLE
/** Longer than any debounce, with its ceiling, and a second look at the graph. */
const SETTLE_MS = 10_000

const pairs = (graph: Graph): [string, string, number | null][] =>
  Object.entries(graph).flatMap(([from, tos]) => Object.entries(tos).map(([to, value]) => [from, to, value] as never))

/** What ssb-ebt has to know of this graph. */
function expected({ friends }: SchedulerBench) {
  const hops = friends.hopsNow()
  const requested = Object.keys(hops).filter((feed) => (hops[feed] as number) >= 0)
  const blocked = Object.keys(hops).filter((feed) => Math.round(hops[feed] as number) === -1)
  const others = pairs(friends.graphNow()).filter(
    ([from, to, value]) => value !== null && Math.round(value) === -1 && from !== me && to !== me,
  )
  return {
    requested: [...new Set([me, ...requested])].sort(),
    blocks: [...blocked.map((feed) => `${me}>${feed}`), ...others.map(([from, to]) => `${from}>${to}`)].sort(),
  }
}

function actual({ ebt }: SchedulerBench) {
  return { requested: ebt.requested().sort(), blocks: ebt.blocks().sort() }
}

/** Fails when ssb-ebt is told that a friend is not wanted, or the same thing twice. */
function guard(bench: SchedulerBench): readonly string[] {
  const wrong: string[] = []
  const last = new Map<string, boolean>()
  const { request, block } = bench.ebt
  bench.ebt.request = (feed, isWanted) => {
    const distance = bench.friends.hopsNow()[feed]
    if (!isWanted && distance !== undefined && distance >= 0) wrong.push(`${feed} is a friend and was not wanted`)
    // Dropped and blocked are two states of one request.
    if (isWanted && last.get(feed) === true) wrong.push(`${feed} was requested twice`)
    last.set(feed, isWanted)
    request(feed, isWanted)
  }
  const blocked = new Map<string, boolean>()
  bench.ebt.block = (from, to, isBlocking) => {
    const pair = `${from}>${to}`
    if (from !== me && (blocked.get(pair) ?? false) === isBlocking) wrong.push(`${pair}: ${isBlocking} was said twice`)
    blocked.set(pair, isBlocking)
    block(from, to, isBlocking)
  }
  return wrong
}

type Step =
  | { readonly kind: 'say'; readonly from: number; readonly to: number; readonly value: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'indexing'; readonly isActive: boolean }
  | { readonly kind: 'rebuild' }
  | { readonly kind: 'start' }
  | { readonly kind: 'reconfigure'; readonly debouncePeriod: number }

const anybody = fc.nat({ max: PEOPLE.length - 1 })
/** Those whose word changes much. */
const speaker = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.nat({ max: 2 }) },
  anybody,
)
const say: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant('say' as const),
  from: speaker,
  to: anybody,
  value: fc.constantFrom(FOLLOW, FOLLOW, FOLLOW, BLOCK, UNFOLLOW, SAME_AS),
})
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: say },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 1_500 }) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('indexing' as const), isActive: fc.boolean() }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'rebuild' as const }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'start' as const }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant('reconfigure' as const), debouncePeriod: fc.constantFrom(0, 1, 150) }),
    },
  ),
  { maxLength: 40 },
)

function take(bench: SchedulerBench, step: Step): void {
  const { clock, friends, indexing, scheduler } = bench
  switch (step.kind) {
    case 'say': {
      const [from, to] = [PEOPLE[step.from], PEOPLE[step.to]]
      if (from !== undefined && to !== undefined && from !== to) friends.say(from, to, step.value)
      return clock.flush()
    }
    case 'wait':
      return clock.advance(step.ms)
    case 'indexing':
      return indexing.set(step.isActive ? 1 : 0)
    case 'rebuild': {
      // As ssb-db2 does it: a pass in which the whole graph is said once more.
      const before = indexing.active
      indexing.set(1)
      friends.rebuild()
      clock.advance(100)
      return indexing.set(before)
    }
    case 'start':
      return scheduler.start()
    case 'reconfigure':
      return scheduler.reconfigure({ debouncePeriod: step.debouncePeriod })
  }
}

test('any order of events ends where a start on the final graph does', (t) => {
  fc.assert(
    fc.property(steps, fc.constantFrom(0, 1, 150), fc.boolean(), (list, debouncePeriod, autostart) => {
      const bench = schedulerBench(me, { config: { debouncePeriod, autostart } })
      const wrong = guard(bench)
      for (const step of list) take(bench, step)
      bench.scheduler.start()
      bench.indexing.set(0)
      bench.clock.advance(SETTLE_MS)
      if (wrong.length > 0) throw new Error(wrong.join('\n'))
      const seen = actual(bench)
      const fresh = schedulerBench(me, { graph: bench.friends.graphNow() })
      fresh.clock.advance(SETTLE_MS)
      if (JSON.stringify(actual(fresh)) !== JSON.stringify(seen)) {
        throw new Error(`${JSON.stringify(seen)}\na fresh start: ${JSON.stringify(actual(fresh))}`)
      }
      if (JSON.stringify(expected(bench)) !== JSON.stringify(seen)) {
        throw new Error(`${JSON.stringify(seen)}\nthe graph: ${JSON.stringify(expected(bench))}`)
      }
      bench.ebt.take()
      bench.indexing.set(1)
      bench.indexing.set(0)
      bench.clock.advance(SETTLE_MS)
      if (bench.ebt.calls.length > 0) throw new Error(`a pass without changes said ${bench.ebt.calls.join('; ')}`)
      bench.close()
      if (bench.clock.pending > 0) throw new Error(`${bench.clock.pending} timers are left`)
    }),
    { numRuns: 400 },
  )
  t.pass('400 random histories')
  t.end()
})

/** More than is taken in at once: 3 friends with 600 friends each, and those who block some of them. */
function bigGraph(): Graph {
  const graph: Graph = { [me]: { [ann]: FOLLOW, [bob]: FOLLOW, [cat]: FOLLOW } }
  for (const friend of [ann, bob, cat]) {
    const follows: Record<string, number> = {}
    for (let i = 0; i < 600; i++)
      follows[person(`${i} of ${[ann, bob, cat].indexOf(friend)}`).id] = i % 10 === 0 ? BLOCK : FOLLOW
    graph[friend] = follows
  }
  return graph
}

test('a graph that is read in slices ends the same way', (t) => {
  const bench = schedulerBench(me, { graph: bigGraph(), config: { debouncePeriod: 0, autostart: false } })
  const wrong = guard(bench)
  bench.scheduler.start()
  t.deepEqual(bench.ebt.calls.filter(([method]) => method === 'request').length, 1, 'the first slice is yet to come')
  // Before the reading has come so far, the graph is another one.
  bench.friends.say(me, ann, UNFOLLOW)
  bench.friends.say(bob, cat, BLOCK)
  bench.friends.say(me, dan, FOLLOW)
  bench.clock.advance(SETTLE_MS)
  t.deepEqual(actual(bench), expected(bench))
  t.ok(bench.ebt.requested().length > 1_000)
  const firstRequest = bench.ebt.calls.findIndex(([method, feed]) => method === 'request' && feed !== me)
  const lastBlock = bench.ebt.calls.map(([method, source]) => method === 'block' && source !== me).lastIndexOf(true)
  t.ok(lastBlock < firstRequest, 'blocks among others come before all requests')
  bench.ebt.take()
  bench.indexing.set(1)
  bench.friends.rebuild()
  bench.friends.say(me, bob, UNFOLLOW)
  bench.clock.advance(100)
  t.deepEqual(bench.ebt.calls, [])
  bench.indexing.set(0)
  bench.clock.advance(SETTLE_MS)
  t.deepEqual(actual(bench), expected(bench))
  t.deepEqual(wrong, [])
  t.end()
})

// ---- the faults of the plugin that this one replaces, as far as the graph is concerned ---------------------------------

test('B1: an unfollow drops what was reachable only through it, in the same turn', (t) => {
  const graph = {
    [me]: { [ann]: FOLLOW, [bob]: FOLLOW },
    [ann]: { [cat]: FOLLOW, [dan]: FOLLOW },
    [bob]: { [dan]: FOLLOW },
  }
  const bench = schedulerBench(me, { graph })
  bench.clock.advance(SETTLE_MS)
  t.deepEqual(bench.ebt.requested().sort(), [me, ann, bob, cat, dan].sort())
  bench.ebt.take()
  bench.friends.say(me, ann, UNFOLLOW)
  bench.clock.flush()
  const gone = bench.ebt.take().filter(([method, , isWanted]) => method === 'request' && !isWanted)
  t.deepEqual(gone.map(([, feed]) => feed).sort(), [ann, cat].sort(), 'and not what somebody else reaches')
  t.end()
})

test('B16: null is no distance, and blocked by another device of ours is blocked', (t) => {
  const bench = schedulerBench(me, { graph: { [me]: { [ann]: SAME_AS, [cat]: FOLLOW }, [ann]: { [bob]: BLOCK } } })
  bench.clock.advance(SETTLE_MS)
  t.equal(bench.friends.hopsNow()[bob], -1.1)
  t.ok(bench.ebt.blocks().includes(`${me}>${bob}`))
  t.notOk(bench.ebt.requested().includes(bob))
  const stub = schedulerBench(me)
  stub.ebt.take()
  stub.friends.say(me, eve, null)
  stub.clock.advance(SETTLE_MS)
  t.deepEqual(stub.ebt.calls, [])
  t.end()
})

test('B17: a steady trickle does not hold up requests for longer than a second', (t) => {
  const bench = schedulerBench(me, { config: { debouncePeriod: 100 } })
  const strangers = Array.from({ length: 60 }, (_, i) => person(`trickle ${i}`).id)
  for (const [i, stranger] of strangers.entries()) {
    bench.friends.say(me, stranger, FOLLOW)
    bench.clock.advance(60)
    if (i === 19) t.ok(bench.ebt.requested().length > 10, `${bench.ebt.requested().length} after 1.2 s`)
  }
  t.end()
})

test('B19: an indexing pass without changes makes no call, and leaves no subscription behind', (t) => {
  const bench = schedulerBench(me, { graph: { [me]: { [ann]: FOLLOW }, [ann]: { [bob]: BLOCK, [cat]: FOLLOW } } })
  bench.clock.advance(SETTLE_MS)
  bench.ebt.take()
  for (let pass = 0; pass < 5; pass++) {
    bench.indexing.set(1)
    bench.clock.advance(50)
    bench.indexing.set(0)
    bench.clock.advance(SETTLE_MS)
  }
  t.deepEqual(bench.ebt.calls, [])
  t.equal(bench.friends.uses.hopStream, 1)
  t.equal(bench.friends.uses.graphStream, 1)
  t.end()
})

test('B19: one call for each blocking edge among others, and one when it is taken back', (t) => {
  const graph = {
    [me]: { [ann]: FOLLOW },
    [ann]: { [bob]: BLOCK, [cat]: FOLLOW },
    [cat]: { [dan]: BLOCK, [ann]: FOLLOW },
  }
  const bench = schedulerBench(me, { graph })
  bench.clock.advance(SETTLE_MS)
  const others = (calls: readonly Call[]) => calls.filter(([method, source]) => method === 'block' && source !== me)
  t.deepEqual(
    others(bench.ebt.take()).sort(),
    [
      ['block', ann, bob, true],
      ['block', cat, dan, true],
    ].sort(),
  )
  bench.friends.say(cat, dan, FOLLOW)
  bench.clock.flush()
  t.deepEqual(others(bench.ebt.take()), [['block', cat, dan, false]])
  t.end()
})

test('B19: what the rebuilt graph does not name any more is unblocked', (t) => {
  const bench = schedulerBench(me, { graph: { [me]: { [ann]: FOLLOW }, [ann]: { [bob]: BLOCK } } })
  bench.clock.advance(SETTLE_MS)
  bench.ebt.take()
  bench.indexing.set(1)
  bench.friends.reset()
  bench.friends.say(me, ann, FOLLOW)
  bench.clock.advance(500)
  t.deepEqual(bench.ebt.calls, [], 'nothing while it is built')
  bench.indexing.set(0)
  bench.clock.advance(SETTLE_MS)
  t.deepEqual(bench.ebt.calls, [['block', ann, bob, false]])
  t.end()
})

test('a block does not wait for the debounce', (t) => {
  const bench = schedulerBench(me, { graph: { [me]: { [ann]: FOLLOW } }, config: { debouncePeriod: 60_000 } })
  bench.clock.advance(120_000)
  bench.ebt.take()
  bench.friends.say(me, ann, BLOCK)
  t.deepEqual(bench.ebt.take(), [
    ['request', ann, false],
    ['block', me, ann, true],
  ])
  bench.friends.say(me, bob, FOLLOW)
  t.deepEqual(bench.ebt.calls, [], 'a follow does')
  t.end()
})

test('blocks of others are known to ssb-ebt before the feed of the one who blocks is asked for', (t) => {
  const bench = schedulerBench(me, { graph: { [me]: { [ann]: FOLLOW }, [ann]: { [bob]: BLOCK } } })
  bench.clock.advance(SETTLE_MS)
  const lines = bench.ebt.calls.map(String)
  t.ok(lines.indexOf(`block,${ann},${bob},true`) >= 0)
  t.ok(lines.indexOf(`block,${ann},${bob},true`) < lines.indexOf(`request,${ann},true`))
  t.end()
})

test('closest first, whatever order the graph names them in', (t) => {
  const bench = schedulerBench(me, {
    graph: { [cat]: { [dan]: FOLLOW }, [ann]: { [cat]: FOLLOW }, [me]: { [ann]: FOLLOW, [bob]: SAME_AS } },
  })
  bench.clock.advance(SETTLE_MS)
  const order = bench.ebt.calls.filter(([method]) => method === 'request').map(([, feed]) => feed)
  t.deepEqual(order, [me, bob, ann, cat, dan])
  t.end()
})

test('nothing runs after close', (t) => {
  const bench = schedulerBench(me, { graph: { [me]: { [ann]: FOLLOW } } })
  bench.clock.advance(SETTLE_MS)
  bench.friends.say(me, bob, FOLLOW)
  bench.close()
  bench.ebt.take()
  bench.friends.say(me, cat, FOLLOW)
  bench.friends.say(me, ann, BLOCK)
  bench.indexing.set(1)
  bench.indexing.set(0)
  bench.clock.advance(SETTLE_MS)
  t.deepEqual(bench.ebt.calls, [])
  t.equal(bench.clock.pending, 0)
  t.equal(bench.indexing.size, 0, 'nobody listens to the indexing any more')
  for (const call of ['start', 'reconfigure', 'request'] as const)
    t.throws(() => (bench.scheduler[call] as (...args: unknown[]) => void)(ann), { code: 'ERR_CLOSED' }, call)
  t.end()
})

test('by hand: wanted, refused, and left to the graph again', (t) => {
  const bench = schedulerBench(me, { graph: { [me]: { [ann]: FOLLOW, [bob]: BLOCK } } })
  bench.clock.advance(SETTLE_MS)
  const said = (fn: () => void): string[] => {
    bench.ebt.take()
    fn()
    bench.clock.advance(SETTLE_MS)
    return bench.ebt.take().map(String)
  }
  const { scheduler } = bench
  t.deepEqual(
    said(() => scheduler.request(eve)),
    [`block,${me},${eve},false`, `request,${eve},true`],
  )
  t.deepEqual(
    said(() => scheduler.request(eve)),
    [],
    'twice is once',
  )
  t.deepEqual(
    said(() => scheduler.request(eve, null)),
    [`request,${eve},false`, `block,${me},${eve},false`],
  )
  t.deepEqual(
    said(() => scheduler.request(ann, false)),
    [`request,${ann},false`, `block,${me},${ann},false`],
  )
  t.deepEqual(
    said(() => scheduler.request(ann, null)),
    [`block,${me},${ann},false`, `request,${ann},true`],
  )
  t.deepEqual(
    said(() => scheduler.request(bob, true)),
    [],
    'who is blocked stays blocked',
  )
  t.match(scheduler.explain(bob).text, /is blocked: we block its author\./)
  t.end()
})

test('feeds() says what is known with reasons, then what changes', (t) => {
  const bench = schedulerBench(me, { graph: { [me]: { [ann]: FOLLOW, [bob]: BLOCK } } })
  bench.clock.advance(SETTLE_MS)
  const old = readNow<{ id: string; wish: string; reasons: { kind: string }[] }>(bench.scheduler.feeds({ live: false }))
  const lines = old.filter(({ id }) => id !== undefined).map(({ id, wish, reasons }) => [id, wish, reasons[0]?.kind])
  t.deepEqual(
    lines.sort(),
    [
      [me, 'want', 'self'],
      [ann, 'want', 'hops'],
      [bob, 'block', 'blocked'],
    ].sort(),
  )
  const heard = readNow<{ id: string; wish: string }>(bench.scheduler.feeds({ old: false }))
  bench.friends.say(me, ann, UNFOLLOW)
  bench.clock.advance(SETTLE_MS)
  t.deepEqual(
    heard.map(({ id, wish }) => [id, wish]),
    [[ann, 'drop']],
  )
  t.end()
})
