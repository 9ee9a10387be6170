/**
 * The calls that ssb-ebt and its users rely on, from the tests that the plugin which this one replaces was known by: each case
 * is run against that plugin too, so that the table stays true.
 */
import pull = require('pull-stream')
import original = require('ssb-replication-scheduler')
import test = require('tape')

import { createReplicationScheduler } from '../../src/replication/plugin'
import { virtualClock } from '../../src/testing'
import { person } from '../support/manager'
import { type Call, PaperEbt, PaperIndexing, paperSbot } from '../support/scheduler'

const { id: me } = person('me')
const { id: bob } = person('bob')
const { id: carol } = person('carol')
const { id: dave } = person('dave')

type Table = Readonly<Record<string, unknown>>

interface Case {
  readonly name: string
  readonly hops: readonly Table[]
  readonly graph?: readonly Table[]
  /** What the order of these is does not matter, unless `before` says so. */
  readonly calls: readonly Call[]
  readonly before?: readonly (readonly [Call, Call])[]
}

const request = (feed: string, isWanted: boolean): Call => ['request', feed, isWanted]
const block = (source: string, dest: string, isBlocking: boolean): Call => ['block', source, dest, isBlocking]

const CASES: readonly Case[] = [
  {
    name: 'an empty graph: our own feed, once, and no block at all',
    hops: [],
    calls: [request(me, true)],
  },
  {
    name: 'friends at any distance are unblocked and requested',
    hops: [{ [bob]: 1, [carol]: 2 }, { [dave]: 0.1 }],
    calls: [me, bob, carol, dave].flatMap((feed) => [
      request(feed, true),
      ...(feed === me ? [] : [block(me, feed, false)]),
    ]),
  },
  {
    name: 'blocked: no request, then the block',
    hops: [{ [bob]: -1 }],
    calls: [request(me, true), request(bob, false), block(me, bob, true)],
    before: [[request(bob, false), block(me, bob, true)]],
  },
  {
    name: 'unfollowed or blocked by a friend: no request, then no block',
    hops: [{ [bob]: -2, [carol]: -3 }],
    calls: [
      request(me, true),
      request(bob, false),
      block(me, bob, false),
      request(carol, false),
      block(me, carol, false),
    ],
    before: [
      [request(bob, false), block(me, bob, false)],
      [request(carol, false), block(me, carol, false)],
    ],
  },
  {
    name: 'blocked, then unblocked: item by item, both pairs of calls',
    hops: [{ [bob]: -1 }, { [bob]: -2 }],
    calls: [request(me, true), request(bob, false), block(me, bob, true), request(bob, false), block(me, bob, false)],
    before: [[block(me, bob, true), block(me, bob, false)]],
  },
  {
    name: 'who blocks whom among others is passed on, what touches us is not',
    hops: [{ [bob]: 1 }],
    graph: [{ [carol]: { [bob]: -1, [me]: -1 }, [me]: { [dave]: -1 } }],
    calls: [request(me, true), block(me, bob, false), request(bob, true), block(carol, bob, true)],
  },
]

/** As a line, so that lists of calls can be compared without their order. */
const line = (call: Call): string => call.join(' ')

function friendsOf({ hops, graph = [] }: Pick<Case, 'hops' | 'graph'>) {
  return { hopStream: () => pull.values([...hops]), graphStream: () => pull.values([...graph]) }
}

type Boot = (stack: ReturnType<typeof paperSbot>, config: object) => void

const PLUGINS: Readonly<Record<string, Boot>> = {
  ours: ({ sbot }, config) => {
    createReplicationScheduler({ sbot, config: { replicationScheduler: config }, clock: virtualClock() })
  },
  'ssb-replication-scheduler': ({ sbot }, config) => {
    original.init(sbot, { replicationScheduler: config })
  },
}

for (const [name, boot] of Object.entries(PLUGINS))
  for (const each of CASES)
    test(`contract, ${name}: ${each.name}`, (t) => {
      const ebt = new PaperEbt()
      boot(paperSbot({ self: me, ebt, friends: friendsOf(each) }), { debouncePeriod: 0 })
      const lines = ebt.calls.map(line)
      t.deepEqual([...lines].sort(), each.calls.map(line).sort())
      for (const [first, second] of each.before ?? [])
        t.ok(lines.indexOf(line(first)) < lines.lastIndexOf(line(second)), `${line(first)} comes first`)
      t.end()
    })

test('contract: self in the hops, as the real graph has it, asks for nothing twice', (t) => {
  const ebt = new PaperEbt()
  PLUGINS.ours?.(paperSbot({ self: me, ebt, friends: friendsOf({ hops: [{ [me]: 0, [bob]: 1 }] }) }), {
    debouncePeriod: 0,
  })
  t.deepEqual(ebt.calls, [request(me, true), block(me, bob, false), request(bob, true)])
  t.end()
})

for (const [name, boot] of Object.entries(PLUGINS))
  test(`contract, ${name}: the graph at the end of an indexing pass counts, not what it was on the way`, (t) => {
    const ebt = new PaperEbt()
    const indexing = new PaperIndexing()
    const answers: Table[][] = [[{ [bob]: 1 }], [{ [bob]: -1 }]]
    let reading = -1
    const friends = {
      hopStream: () => pull.values(answers[Math.min(++reading, 1)] as Table[]),
      graphStream: () => pull.empty(),
    }
    indexing.set(1)
    const plugins = { db: { getIndexingActive: () => indexing.observe } }
    boot(paperSbot({ self: me, ebt, friends, plugins }), { debouncePeriod: 0 })
    t.deepEqual(ebt.take(), [request(me, true)], 'nothing but our own feed during the pass')
    reading = 0
    indexing.set(0)
    t.deepEqual(ebt.take(), [request(bob, false), block(me, bob, true)])
    t.end()
  })

test('contract: no autostart, then start()', (t) => {
  const ebt = new PaperEbt()
  const { sbot } = paperSbot({ self: me, ebt, friends: friendsOf({ hops: [{ [bob]: 1 }] }) })
  const config = { replicationScheduler: { autostart: false, debouncePeriod: 0 } }
  const scheduler = createReplicationScheduler({ sbot, config, clock: virtualClock() })
  t.deepEqual(ebt.take(), [])
  scheduler.start()
  t.deepEqual(ebt.take(), [request(me, true), block(me, bob, false), request(bob, true)])
  scheduler.start()
  t.deepEqual(ebt.calls, [], 'the second time does nothing')
  t.end()
})

test('contract: debouncePeriod 1 works, on real time', (t) => {
  const ebt = new PaperEbt()
  const { sbot, close } = paperSbot({ self: me, ebt, friends: friendsOf({ hops: [{ [bob]: 1 }] }) })
  const { init } = require('../../src/replication/plugin') as typeof import('../../src/replication/plugin')
  ebt.request = (feed, isWanted) => {
    ebt.calls.push(request(feed, isWanted))
    if (feed !== bob) return
    t.deepEqual(ebt.calls, [request(me, true), block(me, bob, false), request(bob, true)])
    clearInterval(awake)
    close()
    t.end()
  }
  // The wait keeps no process alive; in a stack the sockets do.
  const awake = setInterval(() => {}, 1_000)
  init(sbot, { replicationScheduler: { debouncePeriod: 1 } })
})
