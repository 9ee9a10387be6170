/** Priorities from the social graph of the real ssb-friends 5 (ssb-db2) and 4 (ssb-db), on real stacks. */
import test = require('tape')

import { mount } from '../../src/adapters/mount'
import type { Sbot } from '../../src/adapters/sbot'
import { watchFriends } from '../../src/adapters/social'

import Manager = require('../../src/index')

import { eventually } from '../support/eventually'
import { ask, bootStack, closeAll, connect, publish, type Stack, type StackOptions } from '../support/stack'

/** As `/conn` does it. */
const social = {
  name: 'testSocial',
  init(sbot: Sbot, config: unknown): void {
    const { manager, settings, onClose } = mount(sbot, config)
    onClose(watchFriends({ sbot, manager, settings, clock: manager.internal.clock, log: () => {} }))
  },
}

/** Without the hook of ssb-friends: what refuses a peer here is ours. */
const FRIENDS = { hops: 2, hookAuth: false, hookReplicate: false }

interface Setup {
  readonly name: string
  readonly options: Omit<StackOptions, 'name'>
  readonly say: (stack: Stack, content: object) => Promise<unknown>
}

const SETUPS: readonly Setup[] = [
  ...([6, 8] as const).map((version) => ({
    name: `secret-stack ${version}, ssb-friends 5 and ssb-db2`,
    options: { version, withDb: true, config: { friends: FRIENDS } },
    say: publish,
  })),
  {
    name: 'secret-stack 6, ssb-friends 4 and ssb-db',
    options: {
      version: 6,
      plugins: [require('ssb-db'), require('ssb-friends-4')] as object[],
      config: { friends: FRIENDS },
    },
    say: (stack, content) => ask(stack.ssb, 'publish', content),
  },
]

type Api = Pick<Manager.ConnectionManager, 'peer'>

const api = (stack: Stack): Api => stack.ssb.connectionManager as Api

const standing = (stack: Stack, id: string): string => {
  const peer = api(stack).peer.get(id)
  return peer ? `${peer.priority} ${peer.prioritisedBy ?? '-'}` : 'none'
}

const rpcCount = (stack: Stack, id: string): number =>
  ((stack.ssb.peers as Record<string, { closed?: boolean }[]>)[id] ?? []).filter((rpc) => !rpc.closed).length

for (const { name, options, say } of SETUPS) {
  test(`${name}: priorities follow what we say, and a block cuts and refuses until it is lifted`, async (t) => {
    const boot = (more: Partial<StackOptions>): Promise<Stack> =>
      bootStack({ ...options, ownPlugins: [Manager, social], ...more })
    const mine = await boot({ name: 'me', keep: true })
    const bob = await bootStack({ version: options.version, name: 'bob', ownPlugins: [Manager] })
    const carol = await bootStack({ version: options.version, name: 'carol', ownPlugins: [Manager] })
    const about = (contact: string, content: object) => say(mine, { type: 'contact', contact, ...content })
    const becomes = (stack: Stack, expected: string, timeoutMs = 5_000) =>
      eventually(() => standing(mine, stack.id) === expected, {
        timeoutMs,
        message: () => `${expected}, is ${standing(mine, stack.id)}`,
      })
    try {
      for (const { address } of [bob, carol]) api(mine).peer.addRoute({ address, source: 'friends' })
      t.equal(standing(mine, bob.id), 'MEDIUM -', 'nothing is said while we follow nobody')
      await about(bob.id, { following: true })
      await becomes(bob, 'HIGH social')
      await becomes(carol, 'LOW social')
      t.pass('followed, and unknown')
      await about(carol.id, { following: true })
      await becomes(carol, 'HIGH social')
      await about(bob.id, { following: false })
      await becomes(bob, 'LOW social')
      t.pass('unfollowed')

      await connect(bob, mine.address)
      await eventually(() => rpcCount(mine, bob.id) === 1, { message: 'bob is connected' })
      await about(bob.id, { blocking: true })
      await eventually(() => rpcCount(mine, bob.id) === 0, { timeoutMs: 1_000, message: 'cut within a second' })
      t.equal(standing(mine, bob.id), 'BANNED social', 'blocked')
      const refusal = await connect(bob, mine.address).then(
        () => null,
        (error: unknown) => error,
      )
      t.ok(refusal, 'refused in the handshake')

      const { path, port, keys } = mine
      await mine.close()
      const again = await boot({ name: 'me', path, port, keys })
      try {
        await eventually(() => standing(again, carol.id) === 'HIGH social', { message: 'known after a restart' })
        t.equal(standing(again, bob.id), 'BANNED social')
        await say(again, { type: 'contact', contact: bob.id, blocking: false })
        await eventually(() => standing(again, bob.id) === 'LOW social', { message: 'unblocked' })
        await connect(bob, again.address)
        t.pass('lets it in again')
      } finally {
        await again.close()
      }
    } finally {
      await closeAll(mine, bob, carol)
    }
  })
}
