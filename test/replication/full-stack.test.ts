/**
 * Replication in full between real stacks over real sockets: secret-stack 6 and 8, ssb-db2 8 and 6, and the older ssb-db. alice follows
 * bob, bob follows carol; alice is connected to bob only, and gets carol's feed from him.
 */
import test = require('tape')

import plugin = require('../../src/replication-scheduler')

import type { Explanation, Status } from '../../src/replication-scheduler'
import { eventually } from '../support/eventually'
import {
  ask,
  block,
  bootClient,
  bootStack,
  bootStranger,
  connect,
  databasePlugins,
  follow,
  publish,
  type Stack,
  type StackVersion,
  vectorClock,
} from '../support/stack'

interface Setting {
  readonly name: string
  readonly version: StackVersion
  readonly plugins: () => object[]
}

/** The older database, with which ssb-ebt and ssb-friends work as well. */
const olderDatabase = (): object[] => [require('ssb-db'), require('ssb-ebt'), require('ssb-friends')]

const SETTINGS: readonly Setting[] = [
  { name: 'secret-stack 6, ssb-db2 8', version: 6, plugins: () => databasePlugins() },
  { name: 'secret-stack 8, ssb-db2 8', version: 8, plugins: () => databasePlugins() },
  { name: 'secret-stack 6, ssb-db2 6', version: 6, plugins: () => databasePlugins('ssb-db2-6') },
  { name: 'secret-stack 6, ssb-db', version: 6, plugins: olderDatabase },
]

interface Scheduler {
  status(): Status
  explain(feed: string): Explanation
  request(feed: string, isWanted?: boolean | null): void
}

const schedulerOf = (stack: Stack): Scheduler =>
  (stack.ssb as unknown as { readonly replicationScheduler: Scheduler }).replicationScheduler

const has = (stack: Stack, author: Stack, count: number): Promise<unknown> =>
  eventually(async () => ((await vectorClock(stack))[author.id] ?? 0) >= count, {
    timeoutMs: 20_000,
    message: `${count} messages of ${author.id}`,
  })

const say = (stack: Stack, content: object): Promise<unknown> =>
  (stack.ssb as { db?: unknown }).db ? publish(stack, content) : ask(stack.ssb, 'publish', content)
const contact = (stack: Stack, id: string, more: object) => say(stack, { type: 'contact', contact: id, ...more })

for (const { name, version, plugins } of SETTINGS)
  test(`full replication: ${name}`, async (t) => {
    const boot = (who: string, more: object = {}) =>
      bootStack({ version, name: who, plugins: plugins(), ownPlugins: [plugin], ...more })
    const [alice, bob, carol] = await Promise.all([boot('alice', { keep: true }), boot('bob'), boot('carol')])
    let again: Stack | null = null
    try {
      await contact(alice, bob.id, { following: true })
      await contact(bob, carol.id, { following: true })
      await contact(bob, alice.id, { following: true })
      for (let i = 0; i < 5; i++) await say(carol, { type: 'post', text: `${i}` })
      await connect(bob, carol.address)
      await connect(alice, bob.address)
      await has(bob, carol, 5)
      await has(alice, carol, 5)
      t.pass('what a friend of a friend wrote has arrived by way of the friend')
      t.deepEqual(schedulerOf(alice).status().feeds, { requested: 3, waiting: 0, dropped: 0, blocked: 0 })
      t.match(schedulerOf(alice).explain(carol.id).text, /is replicated: it is 2 hops away/)

      await contact(alice, bob.id, { following: false })
      await eventually(() => schedulerOf(alice).explain(carol.id).wish === 'drop', { message: 'carol is dropped' })
      t.match(schedulerOf(alice).explain(carol.id).text, /nobody within reach follows/)
      t.equal(schedulerOf(alice).status().feeds.requested, 1, 'an unfollow leaves our own feed')

      schedulerOf(alice).request(carol.id)
      await say(carol, { type: 'post', text: 'by hand' })
      await has(bob, carol, 6)
      await has(alice, carol, 6)
      t.pass('what is requested by hand arrives')

      await contact(alice, bob.id, { blocking: true })
      await eventually(() => schedulerOf(alice).explain(bob.id).wish === 'block', { message: 'bob is blocked' })
      const { path, port, keys } = alice
      await alice.close({ keep: true })
      again = await boot('alice', { path, port, keys })
      const after = again
      const isAsBefore = (): boolean => {
        const { feeds } = schedulerOf(after).status()
        return feeds.blocked === 1 && feeds.requested === 2
      }
      await eventually(isAsBefore, { message: 'after a restart: blocked, and requested by hand' })
      t.pass('after a restart: who is blocked, and what was requested by hand')
    } finally {
      await Promise.all([alice, bob, carol, again].map((each) => each?.close()))
    }
    t.end()
  })

for (const version of [6, 8] as const)
  test(`who may call it, over muxrpc: secret-stack ${version}`, async (t) => {
    const mine = await bootStack({ version, name: 'mine', plugins: databasePlugins(), ownPlugins: [plugin] })
    const owner = await bootClient(mine)
    const stranger = await bootStranger(mine)
    try {
      await follow(mine, stranger.stack.id)
      await eventually(() => schedulerOf(mine).status().feeds.requested === 2, { message: 'the follow has been read' })
      const calls: readonly (readonly [string, ...unknown[]])[] = [
        ['status'],
        ['explain', mine.id],
        ['request', stranger.stack.id, null],
        ['reconfigure', { debouncePeriod: 150 }],
        ['start'],
      ]
      for (const [method, ...args] of calls) {
        const path = `replicationScheduler.${method}`
        await owner.ask(path, ...args).then(
          (answer) => t.doesNotThrow(() => JSON.stringify(answer), `the owner: ${method}`),
          (error) => t.fail(`the owner: ${method}: ${error}`),
        )
        await stranger.ask(path, ...args).then(
          () => t.fail(`a stranger: ${method}`),
          (error) =>
            t.match(String(error?.message), /not in list of allowed methods/, `a stranger, though followed: ${method}`),
        )
      }
      t.deepEqual(
        await ids(owner.open('replicationScheduler.feeds', { live: false })),
        [mine.id, stranger.stack.id].sort(),
      )
      for (const source of ['feeds', 'progress'])
        await ids(stranger.open(`replicationScheduler.${source}`, { live: false })).then(
          () => t.fail(`a stranger: ${source}`),
          (error) => t.match(String(error?.message), /not in list of allowed methods/, `a stranger: ${source}`),
        )
      await block(mine, stranger.stack.id)
    } finally {
      await Promise.all([owner.close(), stranger.close()])
      await mine.close()
    }
    t.end()
  })

function ids(source: unknown): Promise<string[]> {
  const pull = require('pull-stream') as typeof import('pull-stream')
  return new Promise((resolve, reject) => {
    pull(
      source as import('pull-stream').Source<{ id?: string }>,
      pull.collect((error, items) =>
        error ? reject(error) : resolve(items.flatMap(({ id }) => (id === undefined ? [] : [id])).sort()),
      ),
    )
  })
}
