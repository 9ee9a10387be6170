/**
 * Real peers in a chain: alice - relay - bob. bob asks the relay for alice's feed before the relay wants it, and ssb-ebt does
 * not ask again when the relay has it (core/stuck.ts).
 */
import test = require('tape')

import plugin = require('../../src/replication-scheduler')

import { openStream } from '../../src/replication/formats'
import { eventually } from '../support/eventually'
import { countMessages, hasMessages } from '../support/metafeeds'
import { bootStack, closeAll, connect, publish, STACK_VERSIONS, type Stack, type StackVersion } from '../support/stack'

interface Ebt {
  peerStatus(feed: string): { readonly peers: Readonly<Record<string, { readonly seq: number }>> }
  replicate(...args: unknown[]): unknown
}
const ebtOf = (stack: Stack): Ebt => stack.ssb.ebt as Ebt

const want = (stack: Stack, feed: string): void =>
  (stack.ssb as unknown as { replicationScheduler: { request(feed: string): void } }).replicationScheduler.request(feed)

const FREED_MS = 45_000

interface Chain {
  readonly alice: Stack
  readonly relay: Stack
  readonly bob: Stack
  /** The relay's, one of each neighbour. */
  readonly rpcs: Map<string, unknown>
  readonly close: () => Promise<void>
}

/** alice has said one thing; relay and bob have what the other one said. */
async function bootChain(version: StackVersion): Promise<Chain> {
  const boot = (name: string): Promise<Stack> =>
    bootStack({ version, name, withDb: 'unrequested', ownPlugins: [plugin] })
  const stacks = await Promise.all([boot('alice'), boot('relay'), boot('bob')])
  const [alice, relay, bob] = stacks
  const rpcs = new Map<string, unknown>()
  relay.ssb.on('rpc:connect', ((rpc: { id: string }) => rpcs.set(rpc.id, rpc)) as never)
  await Promise.all(stacks.map((stack) => publish(stack, { type: 'post', text: 'hello' })))
  want(relay, bob.id)
  want(bob, relay.id)
  await connect(alice, relay.address)
  await connect(bob, relay.address)
  await hasMessages(relay, bob.id, 1)
  await hasMessages(bob, relay.id, 1)
  return { alice, relay, bob, rpcs, close: () => closeAll(...stacks) }
}

/** bob knows that the relay has alice's feed, has asked for it, and gets nothing. */
async function getStuck({ alice, relay, bob }: Chain): Promise<void> {
  const heard = (): number | undefined => ebtOf(bob).peerStatus(alice.id).peers[relay.id]?.seq
  want(bob, alice.id)
  await eventually(() => heard() === -1, { message: 'the relay does not share it' })
  want(relay, alice.id)
  await eventually(() => heard() === 1, { message: 'bob hears that the relay has it' })
}

/** What is printed while `fn` runs, the noise of the stacks included, but not what databases say that were just closed. */
async function printedBy(fn: () => Promise<void>): Promise<string[]> {
  const lines: string[] = []
  const { log, warn, error } = console
  const print = (...args: unknown[]): void => {
    const line = args.map(String).join(' ')
    if (!line.includes('/db2/')) lines.push(line)
  }
  Object.assign(console, { log: print, warn: print, error: print })
  try {
    await fn()
  } finally {
    Object.assign(console, { log, warn, error })
  }
  return lines
}

for (const version of STACK_VERSIONS)
  test(`a feed asked for too early comes on the same connection: secret-stack ${version}`, async (t) => {
    const chain = await bootChain(version)
    const { alice, relay, bob, rpcs } = chain
    const before = [...rpcs.values()]
    let atFirst = -1
    try {
      const printed = await printedBy(async () => {
        await getStuck(chain)
        atFirst = await countMessages(bob, alice.id)
        await hasMessages(bob, alice.id, 1, FREED_MS)
        // What went both ways before goes on, and the new feed too.
        for (const stack of [alice, relay, bob]) await publish(stack, { type: 'post', text: 'and then' })
        await hasMessages(bob, alice.id, 2)
        await hasMessages(bob, relay.id, 2)
        await hasMessages(relay, bob.id, 2)
      })
      t.equal(atFirst, 0)
      t.deepEqual(printed, [], 'nothing is printed')
      t.deepEqual([...rpcs.values()], before, 'without another connection')
    } finally {
      await chain.close()
    }
    t.end()
  })

test('both sides open a stream at the same time: each ends the other, and one opens it again', async (t) => {
  const chain = await bootChain(6)
  const { alice, relay, bob, rpcs } = chain
  const ebt = ebtOf(bob)
  const { replicate } = ebt
  const problems: string[] = []
  let opened = 0
  let wasAbsent = false
  ebt.replicate = function (...args) {
    opened++
    // In the same turn as bob does.
    if (opened === 1)
      openStream({
        sbot: relay.ssb,
        rpc: rpcs.get(bob.id),
        format: 'classic',
        log: (problem) => problems.push(problem),
      })
    return replicate.apply(this, args)
  }
  const isAbsent = (): boolean => ebt.peerStatus(alice.id).peers[relay.id] === undefined
  try {
    const printed = await printedBy(async () => {
      await getStuck(chain)
      await eventually(
        async () => {
          wasAbsent ||= opened > 0 && isAbsent()
          return wasAbsent
        },
        { timeoutMs: FREED_MS, message: 'each has ended the stream of the other' },
      )
      await hasMessages(bob, alice.id, 1, FREED_MS)
      for (const stack of [relay, bob]) await publish(stack, { type: 'post', text: 'and then' })
      await hasMessages(bob, relay.id, 2)
      await hasMessages(relay, bob.id, 2)
    })
    t.ok(wasAbsent)
    t.deepEqual([printed, problems], [[], []], 'nothing is printed')
  } finally {
    await chain.close()
  }
  t.end()
})

test('a stream that begins anew in the middle of a transfer: nothing is lost', async (t) => {
  const total = 600
  const boot = (name: string): Promise<Stack> =>
    bootStack({ version: 6, name, withDb: 'unrequested', ownPlugins: [plugin] })
  const [alice, bob] = await Promise.all([boot('alice'), boot('bob')])
  try {
    await Promise.all(Array.from({ length: total }, (_, i) => publish(alice, { type: 'post', text: `${i}` })))
    const rpc = await connect(bob, alice.address)
    const anew: number[] = []
    const problems: string[] = []
    let came = 0
    const { onMsgAdded } = bob.ssb.db as unknown as { onMsgAdded(listener: () => void, isImmediate: false): void }
    onMsgAdded(() => {
      if (++came !== 50 && came !== 300) return
      anew.push(came)
      openStream({ sbot: bob.ssb, rpc, format: 'classic', log: (problem) => problems.push(problem) })
    }, false)
    const printed = await printedBy(async () => {
      want(bob, alice.id)
      await hasMessages(bob, alice.id, total)
    })
    t.deepEqual(anew, [50, 300])
    t.deepEqual([printed, problems], [[], []], 'nothing is printed')
  } finally {
    await closeAll(alice, bob)
  }
  t.end()
})
