/** Looking for root meta feeds on real stacks: by ssb-subset-rpc, in ssb-db2, of meta feeds that ssb-meta-feeds made. */
import pull = require('pull-stream')
import test = require('tape')

import { generate } from 'ssb-keys'
import { persistAnnounce, startAnnounces } from '../../src/replication/announces'
import { type FoundAnnounce, type Lookup, startLookup } from '../../src/replication/lookup'
import { systemClock } from '../../src/shell/clock'
import { announce, rootId } from '../support/announces'
import { eventually } from '../support/eventually'
import { ask, bootStack, closeAll, connect, publish, type Stack, type StackVersion } from '../support/stack'

type Database = 'ssb-db2' | 'ssb-db2-6'

interface Stored {
  readonly key: string
  readonly ooo?: boolean
  readonly value: { readonly sequence: number; readonly content: unknown }
}

function boot(version: StackVersion, name: string, database: Database, hasSubset = true): Promise<Stack> {
  return bootStack({
    version,
    name,
    config: { db2: { writeTimeout: 20, addBatchThrottle: 20 } },
    plugins: [
      require(`${database}/core`),
      require('ssb-classic'),
      require('ssb-box'),
      require('ssb-box2'),
      require('ssb-bendy-butt'),
      require('ssb-meta-feeds'),
      require(`${database}/compat/ebt`),
      ...(hasSubset ? [require('ssb-subset-rpc')] : []),
    ],
  })
}

function messagesOf(stack: Stack, feed: string): Promise<Stored[]> {
  const { query, operators } = stack.ssb.db as {
    query: (...args: unknown[]) => pull.Source<Stored>
    operators: Record<string, (...args: unknown[]) => unknown>
  }
  return new Promise((resolve, reject) => {
    const source = query(operators.where!(operators.author!(feed)), operators.toPullStream!())
    pull(
      source,
      pull.collect((error, messages) => (error ? reject(error) : resolve(messages))),
    )
  })
}

const done = (fn: (cb: (error?: unknown) => void) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    fn((error) => (error ? reject(error) : resolve()))
  })

interface Searching {
  readonly lookup: Lookup
  readonly found: FoundAnnounce[]
  readonly logged: string[]
}

function search(stack: Stack): Searching {
  const found: FoundAnnounce[] = []
  const logged: string[] = []
  const lookup = startLookup({
    sbot: stack.ssb,
    clock: systemClock,
    onFound: (each) => found.push(each),
    log: (text) => logged.push(text),
  })
  return { lookup, found, logged }
}

function listen(stack: Stack) {
  const known = new Map<string, string>()
  const logged: string[] = []
  let isLoaded = false
  const stop = startAnnounces({
    sbot: stack.ssb,
    clock: systemClock,
    onAnnounce: (main, root) => known.set(main, root),
    onLoaded: () => {
      isLoaded = true
    },
    log: (text) => logged.push(text),
  })
  return { known, logged, stop, isLoaded: () => isLoaded }
}

const SETUPS: readonly (readonly [StackVersion, Database])[] = [
  [6, 'ssb-db2'],
  [6, 'ssb-db2-6'],
  [8, 'ssb-db2'],
]

for (const [version, database] of SETUPS)
  test(`secret-stack ${version}, ${database}: a root goes from neighbour to neighbour, and is kept once`, async (t) => {
    const [alice, carol, bob] = (await Promise.all(
      ['alice', 'carol', 'bob'].map((name) => boot(version, name, database)),
    )) as [Stack, Stack, Stack]
    await publish(alice, { type: 'post', text: 'first' })
    const { id: root } = (await ask(alice.ssb, 'metafeeds.findOrCreate')) as { id: string }

    const own = listen(alice)
    await eventually(own.isLoaded, { message: 'alice has read her database' })
    t.deepEqual([...own.known], [[alice.id, root]], 'the announce of ssb-meta-feeds is in the database')
    own.stop()

    const kept = listen(carol)
    const carols = search(carol)
    carols.lookup.want(alice.id, 1)
    await connect(carol, alice.address)
    await eventually(() => carols.found.length > 0, { message: () => `carol found it: ${carols.logged.join()}` })
    t.deepEqual([carols.found[0]?.main, carols.found[0]?.root], [alice.id, root])
    await done((cb) => persistAnnounce(carol.ssb, carols.found[0]?.message, cb))
    await eventually(() => kept.known.get(alice.id) === root, { message: 'carol has it in her database' })

    const bobs = search(bob)
    bobs.lookup.want(alice.id, 1)
    await connect(bob, carol.address)
    await eventually(() => bobs.found.length > 0, { message: () => `bob found it: ${bobs.logged.join()}` })
    t.deepEqual([bobs.found[0]?.main, bobs.found[0]?.root], [alice.id, root], 'from carol, who is not alice')

    await done((cb) => persistAnnounce(bob.ssb, bobs.found[0]?.message, cb))
    await done((cb) => persistAnnounce(bob.ssb, bobs.found[0]?.message, cb))
    t.equal((await messagesOf(bob, alice.id)).length, 1, 'the log has it once')

    t.deepEqual([...kept.logged, ...carols.logged, ...bobs.logged], [], 'without a complaint')
    for (const { lookup } of [carols, bobs]) lookup.stop()
    kept.stop()
    await closeAll(alice, carol, bob)
    t.end()
  })

for (const [local, remote] of [
  [true, false],
  [false, true],
] as const)
  test(`without ssb-subset-rpc ${local ? 'there' : 'here'} a neighbour is not asked`, async (t) => {
    const [alice, bob] = await Promise.all([boot(6, 'alice', 'ssb-db2', remote), boot(6, 'bob', 'ssb-db2', local)])
    const { lookup } = search(bob)
    lookup.want(alice.id, 1)
    await connect(bob, alice.address)
    await eventually(() => lookup.status().unsupported === 1, {
      message: () => `unsupported: ${JSON.stringify(lookup.status())}`,
    })
    t.equal(lookup.status().failures, 0)
    lookup.stop()
    await closeAll(alice, bob)
    t.end()
  })

test('a thousand unknown mains and one neighbour, who knows half of them', async (t) => {
  const [carol, bob] = await Promise.all([boot(6, 'carol', 'ssb-db2'), boot(6, 'bob', 'ssb-db2')])
  const root = generate()
  const mains = Array.from({ length: 1_000 }, () => generate())
  const known = mains.filter((_, i) => i % 2 === 0)
  await Promise.all(
    known.map((main) => done((cb) => persistAnnounce(carol.ssb, announce(main, root, { sequence: 7 }), cb))),
  )
  const kept = listen(carol)
  await eventually(() => kept.known.size === 500, { message: () => `${kept.known.size} are in the database` })
  kept.stop()

  const { lookup, found, logged } = search(bob)
  await connect(bob, carol.address)
  const startedAt = Date.now()
  for (const [i, { id }] of mains.entries()) lookup.want(id, i)
  await eventually(() => lookup.status().queries >= 16 && lookup.status().queriesInFlight === 0, {
    timeoutMs: 30_000,
    everyMs: 2,
    message: () => JSON.stringify(lookup.status()),
  })
  const foundMs = Date.now() - startedAt
  t.deepEqual(found.map(({ main }) => main).sort(), known.map(({ id }) => id).sort())
  t.ok(found.every((each) => each.root === rootId(root) && each.sequence === 7))
  t.equal(lookup.status().queries, 16)
  t.deepEqual(logged, [])
  await Promise.all(found.map(({ message }) => done((cb) => persistAnnounce(bob.ssb, message, cb))))
  t.comment(`found after ${foundMs} ms, stored after ${Date.now() - startedAt} ms`)
  lookup.stop()
  await closeAll(carol, bob)
  t.end()
})
