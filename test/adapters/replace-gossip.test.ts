/**
 * "The gossip plugin's scheduler can be replaced by it": the real ssb-gossip 1.1.1 on the real secret-stack 6 keeps its
 * table, and a plugin of a few lines lets a manager of ours do the dialing, over real sockets.
 */
import { writeFileSync } from 'fs'
import { join } from 'path'

import test = require('tape')
import pull = require('pull-stream')
import gossip = require('ssb-gossip')

import Manager = require('../../src/index')

import { collect, eventually } from '../support/eventually'
import { database } from '../support/legacy'
import { bootStack, closeAll, connect, type Stack, type StackOptions } from '../support/stack'

interface GossipPeer {
  readonly address: string
  readonly key: string
  readonly source?: string
  readonly state?: string
  readonly client?: boolean
  readonly failure?: number
}

interface GossipApi {
  peers(): readonly GossipPeer[]
  add(address: string, source: string): GossipPeer
  remove(peer: { readonly key: string }): void
  changes(): pull.Source<{ readonly type: string; readonly peer: GossipPeer; readonly source?: string }>
}

interface Sbot {
  readonly id: string
  readonly gossip: GossipApi
  readonly connect: Manager.ConnectToPeer
  readonly close: { hook(hook: (this: unknown, fn: (...args: unknown[]) => void, args: unknown[]) => void): void }
  on(event: 'rpc:connect', listener: (rpc: { readonly id: string }, isClient: boolean) => void): void
}

/** The plugin that a user would write. The manager is handed out for the test only. */
function replaceScheduler(handOut: (manager: Manager.ConnectionManager) => void) {
  return {
    name: 'ourScheduler',
    version: '1.0.0',
    manifest: {},
    init(sbot: Sbot): void {
      const manager = Manager({ connectToPeer: sbot.connect, selfId: sbot.id })
      const add = ({ address }: GossipPeer, source = 'stored'): void =>
        void manager.peer.addRoute({ address, isLocal: source === 'local', source })
      for (const peer of sbot.gossip.peers()) add(peer, peer.source)
      pull(
        sbot.gossip.changes(),
        pull.drain(
          ({ type, peer, source }) => {
            if (type === 'discover') add(peer, source)
            if (type === 'remove') manager.peer.removeRoute({ address: peer.address })
          },
          () => {},
        ),
      )
      sbot.on('rpc:connect', (rpc, isClient) => {
        if (!isClient) manager.peer.remotePeerConnected(rpc.id, rpc)
      })
      sbot.close.hook(function (fn, args) {
        manager.close()
        fn.apply(this, args)
      })
      manager.connections.start()
      handOut(manager)
    },
  }
}

/** ssb-gossip keeps its table, pings and answers, and dials nobody by itself. */
const QUIET = { friends: false, seed: false, local: false, global: false, autoPopulate: false }

const boot = (options: Partial<StackOptions>): Promise<Stack> =>
  bootStack({ version: 6, plugins: [database, gossip], config: { gossip: QUIET }, ...options })

const table = (stack: Stack): GossipApi => stack.ssb.gossip as GossipApi
const entry = (stack: Stack, id: string): GossipPeer | undefined =>
  table(stack)
    .peers()
    .find((peer) => peer.key === id)

async function bootReplaced(
  options: Partial<StackOptions> = {},
): Promise<Stack & { readonly manager: Manager.ConnectionManager }> {
  let manager: Manager.ConnectionManager | null = null
  const stack = await boot({
    ...options,
    ownPlugins: [replaceScheduler((made) => (manager = made))],
  })
  return { ...stack, manager: manager! }
}

test("a plugin that reads ssb-gossip's table dials what is in it, and ssb-gossip sees it happen", async (t) => {
  const [bob, carol, me] = [
    await boot({ name: 'bob' }),
    await boot({ name: 'carol' }),
    await bootReplaced({ name: 'me' }),
  ]
  t.teardown(() => closeAll(bob, carol, me))
  const changes = collect(me.manager.connections.changes())
  table(me).add(bob.address, 'manual')
  await eventually(() => entry(me, bob.id)?.state === 'connected', {
    message: 'bob is connected in the table of ssb-gossip',
  })
  table(me).add(carol.address, 'local')
  await eventually(() => entry(me, carol.id)?.state === 'connected', { message: 'carol as well' })
  t.deepEqual(
    me.manager.peer
      .list()
      .map(({ id, routes, connection }) => [id, routes[0]?.source, routes[0]?.isLocal, connection.status])
      .sort(),
    [
      [bob.id, 'manual', false, 'connected'],
      [carol.id, 'local', true, 'connected'],
    ].sort(),
    'the manager has both, as they were discovered',
  )
  t.deepEqual([entry(me, bob.id)?.client, entry(me, bob.id)?.failure ?? 0], [true, 0], 'dialed by us')
  t.equal(changes.items.filter((change) => change.type === 'dialing').length, 2, 'by two dials of the manager')

  table(me).remove({ key: bob.id })
  await eventually(() => me.manager.peer.get(bob.id) === null, {
    message: 'what ssb-gossip forgets the manager forgets',
  })
  t.pass('removed')
  me.manager.connections.stop()
  await eventually(() => entry(me, carol.id)?.state === undefined, { message: 'stop hangs up' })
  t.pass('stopped')
})

test('what ssb-gossip had stored in gossip.json is dialed after a start', async (t) => {
  const bob = await boot({ name: 'bob' })
  const first = await boot({ name: 'me', keep: true })
  await first.close({ keep: true })
  const dead = bob.address
    .replace(`:${bob.port}`, ':1')
    .replace(bob.keys.public.replace('.ed25519', ''), Buffer.alloc(32, 'dead').toString('base64'))
  writeFileSync(
    join(first.path, 'gossip.json'),
    JSON.stringify([
      {
        address: bob.address,
        key: bob.id,
        source: 'friends',
        announcers: 2,
        failure: 0,
        duration: null,
        stateChange: 1,
      },
      { address: dead, key: `@${Buffer.alloc(32, 'dead').toString('base64')}.ed25519`, source: 'pub', failure: 3 },
    ]),
  )
  const me = await bootReplaced({ name: 'me', path: first.path, keys: first.keys })
  t.teardown(() => closeAll(bob, me))
  await eventually(() => entry(me, bob.id)?.state === 'connected', { message: 'bob is connected' })
  const failed = await eventually(
    () => me.manager.peer.list().find((peer) => peer.routes[0]?.id === dead)?.routes[0]?.errors[0],
    {
      message: 'the dead one fails',
    },
  )
  t.equal(failed.code, 'ECONNREFUSED', 'and says why')
  t.equal(me.manager.peer.get(bob.id)?.connection.direction, 'outbound')
})

test('a peer that calls in is known, and not called back', async (t) => {
  const [bob, me] = [await boot({ name: 'bob' }), await bootReplaced({ name: 'me' })]
  t.teardown(() => closeAll(bob, me))
  const changes = collect(me.manager.connections.changes())
  await connect(bob, me.address)
  await eventually(() => me.manager.peer.get(bob.id)?.connection.direction === 'inbound', { message: 'bob is known' })
  table(me).add(bob.address, 'manual')
  await eventually(() => me.manager.peer.get(bob.id)?.routes.length === 1, { message: 'and has a route' })
  t.equal(me.manager.peer.explain(bob.id).connected, true)
  t.deepEqual(
    changes.items.map((change) => change.type),
    ['connected'],
    'one connection, no dial',
  )
})
