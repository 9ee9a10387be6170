/**
 * Replication in part between real stacks over real sockets: meta feeds, index feeds, templates that change while it runs, ended
 * feeds, a restart.
 */
import test = require('tape')

import plugin = require('../../src/replication-scheduler')

import type { Explanation, Status } from '../../src/replication-scheduler'
import { eventually } from '../support/eventually'
import {
  bootMetafeedStack,
  connectStacks,
  countMessages,
  findLeaf,
  findRoot,
  hasMessages,
  type MetafeedStackOptions,
  publishOn,
  startIndexFeed,
  tombstone,
} from '../support/metafeeds'
import { follow, publish, type Stack } from '../support/stack'

interface Scheduler {
  start(): void
  status(): Status
  explain(feed: string): Explanation
  reconfigure(options: object): void
}

const schedulerOf = (stack: Stack): Scheduler =>
  (stack.ssb as unknown as { readonly replicationScheduler: Scheduler }).replicationScheduler

type Setting = Pick<MetafeedStackOptions, 'version' | 'database'>

const SETTINGS: readonly (Setting & { readonly name: string })[] = [
  { name: 'secret-stack 6, ssb-db2 8', version: 6 },
  { name: 'secret-stack 8, ssb-db2 8', version: 8 },
  { name: 'secret-stack 6, ssb-db2 6', version: 6, database: 'ssb-db2-6' },
]

function boot(setting: Setting, name: string, partialReplication: object | null, more: object = {}): Promise<Stack> {
  const config = { replicationScheduler: { partialReplication } }
  return bootMetafeedStack({ ...setting, name, ownPlugins: [plugin], config, ...more })
}

const wishOf = (stack: Stack, feed: string, wish: string | null): Promise<unknown> =>
  eventually(() => schedulerOf(stack).explain(feed).wish === wish, {
    timeoutMs: 15_000,
    message: () => `${wish}: ${schedulerOf(stack).explain(feed).text}`,
  })

/** Bob with two leaves and five posts on each of his feeds. */
async function publishTree(bob: Stack) {
  const root = await findRoot(bob)
  const chess = await findLeaf(bob, { purpose: 'chess' })
  const about = await findLeaf(bob, { purpose: 'about' })
  for (let i = 0; i < 5; i++) {
    await publish(bob, { type: 'post', text: `${i}` })
    for (const leaf of [chess, about]) await publishOn(bob, leaf, { type: 'post', text: `${i}` })
  }
  return { root, chess, about }
}

const EVERYTHING = { 0: [{}] }

for (const { name, ...setting } of SETTINGS)
  test(`partial replication: ${name}`, async (t) => {
    const [alice, bob] = await Promise.all([
      boot(setting, 'alice', { 0: [{ purpose: 'main' }], 1: [{ purpose: 'chess' }] }, { keep: true }),
      boot(setting, 'bob', EVERYTHING),
    ])
    let again: Stack | null = null
    try {
      const { root, chess, about } = await publishTree(bob)
      await follow(alice, bob.id)
      await connectStacks(alice, bob)
      await hasMessages(alice, chess.id, 5)
      t.match(
        schedulerOf(alice).explain(chess.id).text,
        /is replicated: it is a friend, and the template for 1 asks for it/,
      )
      t.deepEqual(schedulerOf(alice).explain(chess.id).path, [
        'root',
        'v1',
        schedulerOf(alice).explain(chess.id).path?.[2],
        'chess',
      ])
      await wishOf(alice, bob.id, 'drop')
      t.match(schedulerOf(alice).explain(bob.id).text, /replicated in part, and no template asks for this feed/)
      t.equal(await countMessages(alice, about.id), 0, 'what no template names has not come')
      t.notEqual(schedulerOf(alice).explain(about.id).wish, 'want')
      const main = await countMessages(alice, bob.id)

      // Wider, then narrower: another leaf instead of the first.
      schedulerOf(alice).reconfigure({ partialReplication: { 1: [{ purpose: 'about' }] } })
      await hasMessages(alice, about.id, 5)
      await wishOf(alice, chess.id, 'drop')
      t.pass('B7: what the templates no longer name is dropped')

      // In full: the main feed, and nothing of the tree.
      schedulerOf(alice).reconfigure({ partialReplication: null })
      await publish(bob, { type: 'post', text: 'for those who have it all' })
      await hasMessages(alice, bob.id, Math.max(main + 1, 7))
      await wishOf(alice, root.id, 'drop')
      t.pass('B8: from part to full')

      // And back.
      schedulerOf(alice).reconfigure({ partialReplication: { 1: [{ purpose: 'chess' }] } })
      await publishOn(bob, chess, { type: 'post', text: 'once more' })
      await hasMessages(alice, chess.id, 6)
      await wishOf(alice, bob.id, 'drop')
      t.pass('from full to part')

      await tombstone(bob, { purpose: 'chess' })
      await wishOf(alice, chess.id, 'drop')
      t.match(schedulerOf(alice).explain(chess.id).text, /its author has ended it/)

      const { path, port, keys } = alice
      await alice.close({ keep: true })
      again = await boot(setting, 'alice', { 1: [{ purpose: 'about' }] }, { path, port, keys })
      const after = again
      await wishOf(after, about.id, 'want')
      await eventually(() => schedulerOf(after).explain(about.id).isRequested, { message: 'requested after a restart' })
      t.notOk(schedulerOf(after).explain(bob.id).isRequested, 'the main feed is not requested in between')
      t.equal(schedulerOf(after).status().lookups.wanted, 0)
    } finally {
      await Promise.all([alice, bob, again].map((each) => each?.close()))
    }
    t.end()
  })

for (const { name, ...setting } of SETTINGS.slice(0, 2))
  test(`B6: from full to part for the first time, while connected: ${name}`, async (t) => {
    const [alice, bob] = await Promise.all([boot(setting, 'alice', null), boot(setting, 'bob', EVERYTHING)])
    try {
      const [ours, { chess }] = await Promise.all([publishTree(alice), publishTree(bob)])
      await Promise.all([follow(alice, bob.id), follow(bob, alice.id)])
      await connectStacks(alice, bob)
      await Promise.all([hasMessages(alice, bob.id, 6), hasMessages(bob, alice.id, 6)])
      t.equal(await countMessages(alice, chess.id), 0)
      schedulerOf(alice).reconfigure({ partialReplication: { 1: [{ purpose: 'chess' }] } })
      await hasMessages(alice, chess.id, 5)
      await wishOf(alice, bob.id, 'drop')
      t.pass('the tree has come over the connection that was there')
      await hasMessages(bob, ours.chess.id, 5)
      t.pass('and ours has gone the other way, as ssb-ebt was told what we have of it')
    } finally {
      await Promise.all([alice.close(), bob.close()])
    }
    t.end()
  })

test('index feeds: their messages come with what they index', async (t) => {
  const setting: Setting = { version: 6 }
  const shape = {
    purpose: 'index',
    metadata: { querylang: 'ssb-ql-0', query: { author: '$main', type: 'vote', private: false } },
  }
  const [alice, bob] = await Promise.all([boot(setting, 'alice', { 1: [shape] }), boot(setting, 'bob', EVERYTHING)])
  try {
    await findRoot(bob)
    for (let i = 0; i < 3; i++) await publish(bob, { type: 'vote', vote: { link: bob.id, value: i } })
    await publish(bob, { type: 'post', text: 'not of this type' })
    const votes = await startIndexFeed(bob, 'vote')
    const posts = await startIndexFeed(bob, 'post')
    await follow(alice, bob.id)
    await connectStacks(alice, bob)
    await hasMessages(alice, votes.subfeed, 3)
    await wishOf(alice, bob.id, 'drop')
    t.equal(await countMessages(alice, posts.subfeed), 0)
    t.notEqual(schedulerOf(alice).explain(posts.subfeed).wish, 'want')
  } finally {
    await Promise.all([alice.close(), bob.close()])
  }
  t.end()
})
