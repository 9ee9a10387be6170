/** The legacy `sbot.gossip` on both real stacks: over muxrpc, with hooks, and against the ping that older stacks run. */
import { readFileSync, writeFileSync } from 'fs'
import { createRequire } from 'module'
import { join } from 'path'

import pull = require('pull-stream')
import test = require('tape')
import Manager = require('../../src/index')

import type { Gossip, GossipEvent, GossipPeer } from '../../src/adapters/gossip'
import { type PingableRpc, probePing } from '../../src/adapters/ping'
import { systemClock } from '../../src/shell/clock'
import { collect, eventually, withTimeout } from '../support/eventually'
import { ask, bootClient, bootStack, bootStranger, connect, STACK_VERSIONS, type Stack } from '../support/stack'

type Api = Gossip['api']
interface PullPing extends pull.Duplex<unknown, unknown> {
  readonly rtt: { readonly count: number; readonly mean: number }
}

const pullPing = createRequire(require.resolve('ssb-gossip'))('pull-ping') as (options: {
  serve?: boolean
  timeout: number
}) => PullPing

function pipe(here: PullPing, there: PullPing): void {
  there.sink(here.source)
  here.sink(there.source)
}

const gossip = (stack: Stack): Api => stack.ssb.gossip as Api

const boot = (version: 6 | 8, name: string, options: object = {}): Promise<Stack> =>
  bootStack({ version, name, ownPlugins: [Manager], ...options })

/** A stack as it was before us: it serves the published pull-ping and knows nothing of a manager. */
const olderGossip = {
  name: 'gossip',
  version: '1.0.0',
  manifest: { ping: 'duplex' },
  permissions: { anonymous: { allow: ['ping'] } },
  init: () => ({ ping: () => pullPing({ timeout: 10_000 }) }),
}

const withStatus = {
  name: undefined,
  version: '1.0.0',
  manifest: { status: 'sync' },
  permissions: {},
  init: () => ({ status: () => ({ progress: { current: 1 } }) }),
}

function isConnected(from: Stack, to: Stack): boolean {
  return gossip(from).get(to.id)?.state === 'connected'
}

for (const version of STACK_VERSIONS) {
  const name = `secret-stack ${version}`

  test(`${name}: connect by any address; both ends show the peer, and measure the round trip of their own`, async (t) => {
    const [alice, bob, carol] = await Promise.all([
      boot(version, 'alice'),
      boot(version, 'bob'),
      boot(version, 'carol'),
    ])
    const rpc = (await ask(alice.ssb, 'gossip.connect', bob.address)) as { id: string }
    t.equal(rpc.id, bob.id, 'the rpc itself, in process')
    t.equal(await gossip(alice).connect(bob.id), rpc, 'by id, while connected: the same one')
    await gossip(alice).connect(`127.0.0.1:${carol.port}:${carol.id}`)
    const peers = await eventually(
      () => {
        const found = gossip(alice).peers()
        return found.every((peer) => peer.ping?.rtt.count === 1) && found
      },
      { message: 'both are pinged' },
    )
    t.deepEqual(
      peers.map(({ key, state, client, source, address }) => ({ key, state, client, source, address })),
      [bob, carol].map((peer) => ({
        key: peer.id,
        state: 'connected',
        client: true,
        source: 'manual',
        address: peer.address,
      })),
    )
    t.ok(
      peers.every(({ ping }) => Math.abs(ping?.skew.mean ?? 1e9) < 1_000),
      'clocks of one machine agree',
    )
    const inbound = await eventually(() => gossip(bob).get(alice.id), { message: 'bob shows alice' })
    t.equal(inbound.client, false, 'whom he never heard of')
    t.equal(inbound.state, 'connected')
    t.match(String(inbound.address), /^net:.*127\.0\.0\.1:\d+~shs:/, 'by where she calls from')
    t.equal(inbound.host, '127.0.0.1')
    t.equal(Object.values(alice.ssb.peers as object).flat().length, 2, 'no connection was opened twice')
    await Promise.all([alice.close(), bob.close(), carol.close()])
  })

  test(`${name}: the owner uses the whole API over muxrpc, and gets nothing but JSON`, async (t) => {
    const [alice, bob] = await Promise.all([boot(version, 'alice'), boot(version, 'bob')])
    const owner = await bootClient(alice)
    const changes = collect(owner.open('gossip.changes') as pull.Source<GossipEvent>)
    const added = (await owner.ask(
      'gossip.add',
      { host: '127.0.0.1', port: bob.port, key: bob.id },
      'seed',
    )) as GossipPeer
    t.equal(added.address, bob.address)
    t.deepEqual(await owner.ask('gossip.get', bob.id), added)
    t.deepEqual(await owner.ask('gossip.peers'), [added])
    t.deepEqual(
      Object.keys(added).sort(),
      ['address', 'announcers', 'duration', 'failure', 'host', 'key', 'port', 'source'],
      'what is unknown is left out',
    )
    const answer = await owner.ask('gossip.connect', bob.id)
    t.deepEqual(answer, { id: bob.id, address: bob.address }, 'connect: that there is a connection, not its insides')
    const [connected] = (await owner.ask('gossip.peers')) as [GossipPeer]
    t.equal(connected.state, 'connected')
    t.equal(await owner.ask('gossip.disconnect', bob.id), true)
    t.equal(await owner.ask('gossip.remove', { key: bob.id }), true)
    await eventually(() => changes.items.length === 4, { message: () => JSON.stringify(changes.items) })
    t.deepEqual(
      changes.items.map(({ type, source, peer }) => [type, source, peer.key === bob.id]),
      [
        ['discover', 'seed', true],
        ['connect', undefined, true],
        ['disconnect', undefined, true],
        ['remove', undefined, true],
      ],
    )
    const error = await owner.ask('gossip.connect', bob.id).catch((reason: unknown) => reason)
    t.equal((error as Error).message, `no known address for peer:${bob.id}`)
    const at = (await owner.ask('gossip.reconnect')) as number
    t.ok(Math.abs(Date.now() - at) < 5_000)
    t.equal(gossip(alice).wakeup, at)
    t.ok((await owner.ask('gossip.peers')) && owner.rpc.closed !== true, 'the owner himself is not hung up on')
    const help = (await owner.ask('gossip.help')) as { commands: object }
    t.ok('reconnect' in help.commands)
    writeFileSync(join(alice.path, 'config'), '{"port":1}')
    t.equal(await owner.ask('gossip.disable', 'local'), 'disabled gossip type local')
    t.deepEqual(JSON.parse(readFileSync(join(alice.path, 'config'), 'utf8')), { port: 1, gossip: { local: false } })
    t.equal(await owner.ask('gossip.enable'), 'enabled gossip type global')
    await changes.abort()
    await owner.close()
    await Promise.all([alice.close(), bob.close()])
  })

  test(`${name}: a stranger may ping, and nothing else`, async (t) => {
    const alice = await boot(version, 'alice')
    const stranger = await bootStranger(alice)
    const methods = (alice.ssb.getManifest() as { gossip: Record<string, string> }).gossip
    t.equal(Object.keys(methods).length, 12)
    for (const [method, type] of Object.entries(methods)) {
      if (type === 'duplex') continue
      const refusal =
        type === 'source'
          ? await collect(stranger.open(`gossip.${method}`) as pull.Source<unknown>).ended
          : await stranger.ask(`gossip.${method}`, alice.id).catch((reason: unknown) => reason)
      t.match(String((refusal as Error).message), /not in list of allowed methods/, method)
    }
    const ping = pullPing({ serve: true, timeout: 60_000 })
    pipe(ping, stranger.open('gossip.ping', { timeout: 60_000 }, () => {}) as PullPing)
    await eventually(() => ping.rtt.count === 1, { message: 'he has an answer' })
    t.equal(gossip(alice).peers()[0]?.key, stranger.stack.id, 'he is seen')
    await stranger.close()
    await eventually(() => gossip(alice).peers().length === 0, { message: 'and forgotten' })
    await alice.close()
  })

  test(`${name}: the published pull-ping is answered, and answers`, async (t) => {
    const alice = await boot(version, 'alice')
    const older = await bootStack({ version, name: 'older', ownPlugins: [olderGossip] })
    const rpc = await connect(older, alice.address)
    const theirs = pullPing({ serve: true, timeout: 60_000 })
    const { ping: open } = rpc.gossip as { ping: (options: object, cb: () => void) => PullPing }
    pipe(
      theirs,
      open({ timeout: 60_000 }, () => {}),
    )
    await eventually(() => theirs.rtt.count === 1, { message: 'they measured us' })
    await new Promise<void>((resolve) => rpc.close(true, () => resolve()))
    await eventually(() => gossip(alice).peers().length === 0, { message: 'they are gone' })
    await gossip(alice).connect(older.address)
    const { ping } = await eventually(
      () => {
        const entry = gossip(alice).get(older.id)
        return entry?.ping?.rtt.count === 1 && entry
      },
      { message: 'we measured them' },
    )
    t.ok(ping && ping.rtt.mean >= 0 && ping.rtt.mean < 1_000, `${ping?.rtt.mean} ms`)
    t.ok(ping && Math.abs(ping.skew.mean) < 1_000)
    await Promise.all([alice.close(), older.close()])
  })

  test(`${name}: a peer without gossip.ping stays connected, unmeasured`, async (t) => {
    const alice = await boot(version, 'alice')
    const bare = await bootStack({ version, name: 'bare' })
    const rpc = (await gossip(alice).connect(bare.address)) as PingableRpc
    t.equal(await probePing(rpc, systemClock, 2_000).then(() => 'alive'), 'alive', 'an error is an answer too')
    t.ok(isConnected(alice, bare))
    t.equal(gossip(alice).get(bare.id)?.ping?.rtt.count, 0)
    await Promise.all([alice.close(), bare.close()])
  })

  test(`${name}: a probe tells the living from the dead`, async (t) => {
    const [alice, bob] = await Promise.all([boot(version, 'alice'), boot(version, 'bob')])
    const rpc = (await gossip(alice).connect(bob.address)) as PingableRpc
    const probe = (): Promise<string> =>
      withTimeout(
        probePing(rpc, systemClock, 2_000).then(
          () => 'alive',
          () => 'dead',
        ),
        4_000,
        'the probe settles',
      )
    t.equal(await probe(), 'alive')
    t.equal(await probe(), 'alive', 'as often as one likes')
    const last = probe()
    await bob.close()
    t.ok(['alive', 'dead'].includes(await last), 'one that is under way at the end settles')
    await eventually(() => rpc.closed, { message: 'it is closed' })
    t.equal(await probe(), 'dead')
    await alice.close()
  })

  test(`${name}: methods can be hooked`, async (t) => {
    const [alice, bob] = await Promise.all([boot(version, 'alice'), boot(version, 'bob')])
    const seen: unknown[] = []
    type Hooked = { hook: (hook: (fn: (...args: unknown[]) => unknown, args: unknown[]) => unknown) => void }
    for (const method of ['connect', 'add', 'peers'] as const)
      (gossip(alice)[method] as unknown as Hooked).hook((fn, args) => {
        seen.push(method)
        return fn(...args)
      })
    gossip(alice).add(bob.address)
    await gossip(alice).connect(bob.id)
    const owner = await bootClient(alice)
    const [peer] = (await owner.ask('gossip.peers')) as GossipPeer[]
    t.equal(peer?.state, 'connected')
    t.deepEqual(seen, ['add', 'connect', 'peers'], 'here and over the wire')
    await owner.close()
    await Promise.all([alice.close(), bob.close()])
  })

  test(`${name}: status() has both parts, whichever plugin comes first`, async (t) => {
    for (const ownPlugins of [
      [withStatus, Manager],
      [Manager, withStatus],
    ]) {
      const [alice, bob] = await Promise.all([boot(version, 'alice', { ownPlugins }), boot(version, 'bob')])
      await gossip(alice).connect(bob.address)
      const owner = await bootClient(alice)
      const status = (await owner.ask('status')) as Record<string, Record<string, Record<string, unknown>>>
      t.deepEqual(Object.keys(status).sort(), ['connectionManager', 'gossip', 'progress'])
      t.deepEqual(Object.keys(status.gossip ?? {}), [bob.id])
      t.equal(status.gossip?.[bob.id]?.state, 'connected')
      t.equal(status.connectionManager?.classes?.net !== undefined, true)
      await owner.close()
      await Promise.all([alice.close(), bob.close()])
    }
  })

  test(`${name}: the log says what users of ssb-gossip know`, async (t) => {
    const [alice, bob] = await Promise.all([boot(version, 'alice'), boot(version, 'bob')])
    const lines: string[][] = []
    alice.ssb.on('log:info', (line: string[]) => lines.push(line))
    await gossip(alice).connect(bob.address)
    await gossip(alice).disconnect(bob.id)
    await eventually(() => lines.length === 3, { message: () => JSON.stringify(lines) })
    const who = `127.0.0.1:${bob.port}:${bob.id}`
    t.deepEqual(lines.slice(0, 2), [
      ['ssb-server', who, 'CONNECTING'],
      ['ssb-server', who, 'PEER JOINED'],
    ])
    t.match(String(lines[2]?.[2]), /^DISCONNECTED\. state was disconnecting for [\d.]+ seconds$/)
    await Promise.all([alice.close(), bob.close()])
  })

  test(`${name}: reconnect hangs up and dials again`, async (t) => {
    const [alice, bob] = await Promise.all([
      boot(version, 'alice', { config: { connectionManager: { autostart: true } } }),
      boot(version, 'bob'),
    ])
    const events = collect(gossip(alice).changes() as pull.Source<GossipEvent>)
    gossip(alice).add(bob.address)
    await eventually(() => isConnected(alice, bob), { message: 'connected' })
    gossip(alice).reconnect()
    await eventually(() => events.items.filter(({ type }) => type === 'connect').length === 2, { message: 'again' })
    t.deepEqual(
      events.items.map(({ type }) => type),
      ['discover', 'connect', 'disconnect', 'connect'],
    )
    await Promise.all([alice.close(), bob.close()])
    t.equal(await events.ended, true, 'sources end with the stack')
  })
}
