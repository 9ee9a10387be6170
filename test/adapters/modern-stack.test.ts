/**
 * The stacks of today with `/conn` in the place of ssb-conn, on secret-stack 6 and 8, with the plugins that call `conn.*` and
 * `gossip.*` out of the registry: ssb-db2, ssb-ebt, ssb-friends, ssb-lan, ssb-room-client, ssb-invite-client, ssb-invite,
 * ssb-conn-firewall, ssb-http-auth-client, ssb-replication-scheduler and, on the older ssb-db, ssb-device-address.
 */
import pull = require('pull-stream')
import test = require('tape')

import conn = require('../../src/conn')

import type { ConnectionManager, SyncProgress } from '../../src/manager'
import { eventually } from '../support/eventually'
import {
  ask,
  block,
  bootStack,
  closeAll,
  follow,
  publish,
  STACK_VERSIONS,
  type Stack,
  type StackOptions,
  vectorClock,
} from '../support/stack'

type Data = { key?: string; state?: string; [more: string]: unknown }
interface Conn {
  start(): Promise<unknown>
  remember(address: string, data?: object): void
  connect(address: string): Promise<{ id: string }>
  dbPeers(): [string, Data][]
  query(): { peersConnected(): [string, Data][] }
}

const plugins = conn as unknown as readonly object[]
const connOf = (stack: Stack): Conn => stack.ssb.conn as unknown as Conn
const managerOf = (stack: Stack) =>
  stack.ssb.connectionManager as Pick<ConnectionManager, 'peer' | 'connections' | 'initialSync'>
const viewOf = (stack: Stack, id: string) => managerOf(stack).peer.get(id)
const isUp = (stack: Stack, id: string): boolean => viewOf(stack, id)?.connection.status === 'connected'

/** The line that is swapped, and nothing else. */
const SCHEDULERS: Readonly<Record<string, () => object>> = {
  'ssb-replication-scheduler': () => require('ssb-replication-scheduler'),
  'ours in its place': () => require('../../src/replication-scheduler'),
}

for (const version of STACK_VERSIONS) {
  const name = `secret-stack ${version}`
  const boot = (
    who: string,
    options: Partial<StackOptions> = {},
    scheduler = 'ssb-replication-scheduler',
  ): Promise<Stack> =>
    bootStack({
      version,
      name: who,
      withDb: 'unrequested',
      plugins: [
        require('ssb-lan'),
        require('ssb-room-client'),
        require('ssb-invite-client'),
        require('ssb-http-auth-client'),
        SCHEDULERS[scheduler]?.() ?? {},
      ],
      ...options,
      // Where these are loaded, each calls ssb.conn in its init.
      ownPlugins: plugins,
      ownFirst: true,
      config: { conn: { autostart: false }, gossip: { local: false }, ...options.config },
    })

  for (const scheduler of Object.keys(SCHEDULERS))
    test(`${name}, ${scheduler}: two full stacks find each other by what they remember, and replicate both ways`, async (t) => {
      const [alice, bob] = await Promise.all([boot('alice', {}, scheduler), boot('bob', {}, scheduler)])
      await Promise.all([follow(alice, bob.id), follow(bob, alice.id)])
      for (let i = 0; i < 10; i++)
        await Promise.all([
          publish(alice, { type: 'post', text: `a${i}` }),
          publish(bob, { type: 'post', text: `b${i}` }),
        ])
      connOf(alice).remember(bob.address, { type: 'pub', autoconnect: true })
      await connOf(alice).start()
      await eventually(
        async () => {
          const [atAlice, atBob] = await Promise.all([vectorClock(alice), vectorClock(bob)])
          return atAlice[bob.id] === 11 && atBob[alice.id] === 11
        },
        { message: 'both have all', timeoutMs: 15_000 },
      )
      t.equal(viewOf(alice, bob.id)?.priority, 'HIGH', 'followed')
      t.deepEqual(
        connOf(alice)
          .query()
          .peersConnected()
          .map(([, { key }]) => key),
        [bob.id],
      )
      await block(alice, bob.id)
      await eventually(() => viewOf(alice, bob.id)?.isBanned && !isUp(alice, bob.id), { message: 'hung up on' })
      await eventually(() => !isUp(bob, alice.id), { message: 'bob has noticed' })
      t.equal(
        await connOf(bob)
          .connect(alice.address)
          .then(
            () => 'let in',
            () => 'refused',
          ),
        'refused',
        'blocked in the handshake',
      )
      await closeAll(alice, bob)
    })

  for (const scheduler of Object.keys(SCHEDULERS))
    test(`${name}, ${scheduler}: an initial sync over the whole stack ends by itself, and the other slots open`, async (t) => {
      const [alice, bob, carol] = await Promise.all([
        boot('alice', {}, scheduler),
        boot('bob', {}, scheduler),
        boot('carol', {}, scheduler),
      ])
      for (let i = 0; i < 50; i++) await publish(bob, { type: 'post', text: `b${i}` })
      await follow(alice, bob.id)
      for (const peer of [bob, carol]) connOf(alice).remember(peer.address, { type: 'pub' })
      const phases: SyncProgress['phase'][] = []
      pull(
        managerOf(alice).initialSync.progress(),
        pull.drain(
          ({ phase }) => void phases.push(phase),
          () => {},
        ),
      )
      managerOf(alice).connections.start()
      managerOf(alice).initialSync.start(bob.id)
      await eventually(() => phases.includes('caughtUp'), { message: () => phases.join(), timeoutMs: 20_000 })
      t.equal((await vectorClock(alice))[bob.id], 50)
      await eventually(() => isUp(alice, carol.id), { message: 'the rest is dialed again' })
      await closeAll(alice, bob, carol)
    })

  test(`${name}: an invite of ssb-invite, accepted by ssb-invite-client: the pub is dialed within seconds, as ourselves`, async (t) => {
    const pub = await boot('pub', {
      plugins: [require('ssb-invite')],
      config: { allowPrivate: true },
      global: { allowPrivate: true },
    })
    const alice = await boot('alice')
    await connOf(alice).start()
    const code = (await ask(pub.ssb, 'invite.create', { uses: 1 })) as string
    t.equal(await ask(alice.ssb, 'invite.accept', code), true)
    await eventually(() => isUp(alice, pub.id) && isUp(pub, alice.id), { message: 'connected', timeoutMs: 10_000 })
    t.deepEqual(
      connOf(alice)
        .dbPeers()
        .map(([address]) => address),
      [pub.address],
      'what is remembered is where the pub is, without the seed of the invite',
    )
    t.equal(viewOf(alice, pub.id)?.priority, 'HIGH')
    await closeAll(alice, pub)
  })

  test(`${name}: an invite that is accepted by ssb-invite: gossip.add(…, 'seed') gets the pub dialed within seconds`, async (t) => {
    const pub = await boot('pub', { plugins: [require('ssb-invite')], global: { allowPrivate: true } })
    const alice = await boot('alice', { plugins: [require('ssb-invite')], global: { allowPrivate: true } })
    await connOf(alice).start()
    const code = (await ask(pub.ssb, 'invite.create', { uses: 1 })) as string
    await ask(alice.ssb, 'invite.accept', code)
    await eventually(() => isUp(alice, pub.id) && isUp(pub, alice.id), { message: 'connected', timeoutMs: 10_000 })
    t.equal(viewOf(alice, pub.id)?.routes[0]?.source, 'seed')
    await closeAll(alice, pub)
  })

  test(`${name}: ssb-conn-firewall lets in whom we dialed, as every dial goes through the connect that it hooked`, async (t) => {
    const walled = {
      plugins: [require('ssb-conn-firewall')],
      config: { conn: { autostart: false, firewall: { rejectUnknown: true } } },
    }
    const [alice, bob, carol] = await Promise.all([boot('alice', walled), boot('bob'), boot('carol')])
    const dial = (from: Stack, to: Stack): Promise<string> =>
      connOf(from)
        .connect(to.address)
        .then(
          () => 'let in',
          () => 'refused',
        )
    t.equal(await dial(carol, alice), 'refused', 'a stranger')
    connOf(alice).remember(bob.address, { type: 'pub' })
    await connOf(alice).start()
    await eventually(() => isUp(alice, bob.id), { message: 'dialed' })
    await managerOf(alice).peer.disconnect(bob.id)
    await eventually(() => !isUp(bob, alice.id))
    t.equal(await dial(bob, alice), 'let in', 'who was dialed a moment ago')
    await closeAll(alice, bob, carol)
  })
}

test('ssb-device-address, on the older ssb-db: who announces an address is dialed there, and no more when it is withdrawn', async (t) => {
  const old = (who: string) =>
    bootStack({
      version: 6,
      name: who,
      plugins: [require('ssb-db'), ...(who === 'alice' ? [require('ssb-query')] : [])],
      ownPlugins: [...plugins, ...(who === 'alice' ? [require('ssb-device-address')] : [])],
      config: { conn: { autostart: true, populatePubs: false }, gossip: { local: false } },
    })
  const [alice, bob] = await Promise.all([old('alice'), old('bob')])
  /** Published by bob, and handed to alice as replication would. */
  const announce = async (address: string | undefined, availability: number): Promise<unknown> => {
    const message = (await ask(bob.ssb, 'publish', { type: 'address', address, availability })) as { value: object }
    return ask(alice.ssb, 'add', message.value)
  }
  await announce(bob.address, 0.9)
  await eventually(() => isUp(alice, bob.id), { message: 'dialed' })
  await announce(undefined, 0)
  await managerOf(alice).peer.disconnect(bob.id)
  await eventually(() => (viewOf(alice, bob.id)?.routes.length ?? 0) === 0, { message: 'forgotten' })
  t.pass('dialed and forgotten')
  await closeAll(alice, bob)
})
