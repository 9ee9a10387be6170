/**
 * Five real peers: alice follows bob, who is not there, and asks for his meta feed. One neighbour has no getSubset, one never
 * answers, one lies, and one knows it. Meanwhile bob's main feed is replicated in full, and a block does not wait.
 */
import pull = require('pull-stream')
import test = require('tape')

import plugin = require('../../src/replication-scheduler')

import { generate, type Keys } from 'ssb-keys'
import type { Explanation, Status } from '../../src/replication-scheduler'
import { announce, rootId } from '../support/announces'
import { eventually } from '../support/eventually'
import { bootMetafeedStack, findLeaf, findRoot, hasMessages, publishOn } from '../support/metafeeds'
import { block, bootStack, closeAll, connect, follow, publish, type Stack } from '../support/stack'

interface Scheduler {
  status(): Status
  explain(feed: string): Explanation
}

const schedulerOf = (stack: Stack): Scheduler =>
  (stack.ssb as unknown as { readonly replicationScheduler: Scheduler }).replicationScheduler

/** What a neighbour makes of the question for announces. */
const neighbour = (answer: (query: unknown) => unknown) => ({
  name: 'testSubset',
  manifest: {},
  init: (ssb: Record<string, unknown>) => {
    ssb.getSubset = answer
    return {}
  },
})
const manifestOfSubset = {
  manifest: { getSubset: 'source' },
  permissions: { anonymous: { allow: ['getSubset'] } },
  init: () => ({}),
}

/** A source that never gives anything, until it is ended. */
const silence = () => (abort: unknown, cb: (end: unknown) => void) => {
  if (abort) cb(abort)
}

test('a neighbour without getSubset, one that never answers, and one that lies keep nobody from being found', async (t) => {
  const version = 6
  const evilRoot = generate()
  let lies = 0
  /** Signed by the meta feed that it names, and by the liar instead of bob. */
  const lie = (bob: Keys) => announce(bob, evilRoot, { messageKeys: generate() })
  const bob = await bootMetafeedStack({
    version,
    name: 'bob',
    ownPlugins: [plugin],
    config: { replicationScheduler: { partialReplication: { 0: [{}] } } },
  })
  const liar = neighbour(() => {
    lies++
    return pull.values([lie(bob.keys)])
  })
  const plain = (name: string, plugins: object[]) => bootStack({ version, name, plugins })
  const [alice, dave, none, silent, lying] = await Promise.all([
    bootMetafeedStack({
      version,
      name: 'alice',
      ownPlugins: [plugin],
      config: { replicationScheduler: { partialReplication: { 1: [{ purpose: 'chess' }] } } },
    }),
    bootMetafeedStack({ version, name: 'dave', ownPlugins: [plugin] }),
    plain('none', []),
    plain('silent', [manifestOfSubset, neighbour(silence)]),
    plain('lying', [manifestOfSubset, liar]),
  ])
  try {
    const root = await findRoot(bob)
    const chess = await findLeaf(bob, { purpose: 'chess' })
    await publishOn(bob, chess, { type: 'post', text: 'e4' })
    await publish(bob, { type: 'post', text: 'hello' })
    // dave has bob's main feed, with the announce; then bob is away.
    await follow(dave, bob.id)
    await connect(dave, bob.address)
    await hasMessages(dave, bob.id, 2)

    await follow(alice, bob.id)
    await eventually(() => schedulerOf(alice).explain(bob.id).isRequested, { message: 'bob in full' })
    for (const each of [none, silent, lying]) await connect(alice, each.address)
    await eventually(() => lies > 0 && schedulerOf(alice).status().lookups.forged > 0, {
      timeoutMs: 15_000,
      message: 'the lie was told',
    })
    t.notEqual(
      schedulerOf(alice).explain(rootId(evilRoot)).wish,
      'want',
      'B12: who lies about a meta feed is not believed',
    )
    t.match(
      schedulerOf(alice).explain(bob.id).text,
      /no meta feed of its author is known yet, so the main feed is replicated in full/,
    )

    // B2, B14: nothing of this keeps a block waiting, nor anybody else.
    const carol = generate().id
    const mallory = generate().id
    await follow(alice, carol)
    await block(alice, mallory)
    await eventually(
      () => schedulerOf(alice).explain(carol).isRequested && schedulerOf(alice).explain(mallory).wish === 'block',
      {
        message: 'others are decided about meanwhile',
      },
    )
    t.pass('a neighbour that never answers holds up nobody')

    await connect(alice, dave.address)
    await eventually(() => schedulerOf(alice).explain(root.id).isRequested, {
      timeoutMs: 20_000,
      message: 'the true root',
    })
    t.match(schedulerOf(alice).explain(root.id).text, /template for 1 asks for it/)
    t.equal(schedulerOf(alice).status().lookups.found, 1)
    t.ok(schedulerOf(alice).explain(bob.id).isRequested, 'the main feed stays until the tree has come')
    await connect(alice, bob.address)
    await hasMessages(alice, chess.id, 1)
    await eventually(() => schedulerOf(alice).explain(bob.id).wish === 'drop', { message: 'then it goes' })
    let copies = -1
    const isOnce = async (): Promise<boolean> => {
      copies = await announcesOf(alice, bob.id)
      return copies === 1
    }
    await eventually(isOnce, {
      message: () => `B22: the announce is in the log ${copies} times`,
    })
    t.pass('B22: the announce is in the log once')
  } finally {
    await closeAll(alice, bob, dave, none, silent, lying)
  }
  t.end()
})

/** How often the announce of a main feed is in the log. */
function announcesOf(stack: Stack, main: string): Promise<number> {
  type Operators = Record<'where' | 'and' | 'author' | 'type' | 'toPullStream', (...args: unknown[]) => unknown>
  const { query, operators } = stack.ssb.db as {
    readonly query: (...args: unknown[]) => pull.Source<unknown>
    readonly operators: Operators
  }
  const { where, and, author, type, toPullStream } = operators
  return new Promise((resolve, reject) => {
    pull(
      query(where(and(type('metafeed/announce'), author(main, { dedicated: false }))), toPullStream()),
      pull.collect((error, messages) => (error ? reject(error) : resolve(messages.length))),
    )
  })
}
