/** The legacy `sbot.conn` on both real stacks: sockets, muxrpc, and the consumers that look at the hub as a stack connects. */
import { createRequire } from 'module'
import { createServer } from 'net'

import pull = require('pull-stream')
import test = require('tape')
import plugins = require('../../src/conn')

import type { Conn, HubEntry, HubEvent, StagedEntry } from '../../src/adapters/conn/conn'
import type { GossipPeer } from '../../src/adapters/gossip'
import { collect, eventually, once, withTimeout } from '../support/eventually'
import {
  ask,
  bootClient,
  bootStack,
  bootStranger,
  findFreePort,
  STACK_VERSIONS,
  type Stack,
  type StackOptions,
} from '../support/stack'

interface PullPing extends pull.Duplex<unknown, unknown> {
  readonly rtt: { readonly count: number }
}

const pullPing = createRequire(require.resolve('ssb-gossip'))('pull-ping') as (options: object) => PullPing

const conn = (stack: Stack): Conn => stack.ssb.conn as Conn

/** A stack that dials what `conn.connect` asks for. */
const boot = (version: 6 | 8, name: string, options: Partial<StackOptions> = {}): Promise<Stack> =>
  bootStack({ version, name, ownPlugins: plugins, config: { conn: { autostart: false } }, ...options })

const listen = (stack: Stack) => collect(conn(stack).hub().listen() as pull.Source<HubEvent>)

const types = (events: { readonly items: readonly HubEvent[] }): string[] => events.items.map(({ type }) => type)

function rpcsOf(stack: Stack, peer: Stack): unknown[] {
  return ((stack.ssb.peers as Record<string, unknown[]>)[peer.id] ?? []).slice()
}

/** Takes connections and says nothing: a handshake with it hangs until somebody gives up. */
async function mute(): Promise<{ port: number; accepted(): number; close(): Promise<void> }> {
  const port = await findFreePort()
  const sockets = new Set<{ destroy(): void }>()
  let accepted = 0
  const server = createServer((socket) => {
    accepted++
    sockets.add(socket)
    socket.on('error', () => {})
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    port,
    accepted: () => accepted,
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

for (const version of STACK_VERSIONS) {
  const name = `secret-stack ${version}`

  test(`${name}: connect gives the rpc, both hubs tell of it once, disconnect ends it`, async (t) => {
    const [alice, bob] = await Promise.all([boot(version, 'alice'), boot(version, 'bob')])
    const [here, there] = [listen(alice), listen(bob)]
    const rpc = (await conn(alice).connect(bob.address, { type: 'pub', note: 'x' })) as { id: string }
    t.equal(rpc.id, bob.id)
    t.equal(await ask(alice.ssb, 'conn.connect', bob.address), rpc, 'connected: the same one')
    t.equal(await ask(alice.ssb, 'conn.connect', `127.0.0.1:${bob.port}:${bob.id}`, null), rpc, 'in any spelling')
    const [[address, data]] = [...conn(alice).hub().entries()] as [HubEntry]
    t.equal(address, bob.address)
    t.deepEqual([data.key, data.state, data.type, data.note], [bob.id, 'connected', 'pub', 'x'])
    await eventually(() => types(there).includes('connected'), { message: 'bob sees alice' })
    const [[inbound, caller]] = [...conn(bob).hub().entries()] as [HubEntry]
    t.match(inbound, /^net:.*127\.0\.0\.1:\d+~shs:/, 'by where she calls from')
    t.deepEqual([caller.key, caller.state, caller.inferredType], [alice.id, 'connected', 'lan'])
    t.equal(await conn(alice).disconnect(bob.address), true)
    t.equal(await conn(alice).disconnect(bob.address), false)
    await eventually(() => types(there).includes('disconnected'), { message: 'bob sees her go' })
    t.deepEqual(types(here), ['connecting', 'connected', 'disconnecting', 'disconnected'])
    t.deepEqual(types(there), ['connected', 'disconnected'])
    const [, connected] = here.items
    t.deepEqual(connected?.type === 'connected' && connected.details, { rpc, isClient: true })
    const [called] = there.items
    t.deepEqual(called?.type === 'connected' && [called.details.isClient, called.address], [false, inbound])
    t.deepEqual(conn(alice).dbPeers(), [], 'nothing is remembered')
    await Promise.all([alice.close(), bob.close()])
    t.equal(await here.ended, true, 'listen ends with the stack')
  })

  test(`${name}: who is called hangs up by the address of the entry`, async (t) => {
    const [alice, bob] = await Promise.all([boot(version, 'alice'), boot(version, 'bob')])
    await conn(alice).connect(bob.address)
    const [address] = await eventually(() => [...conn(bob).hub().entries()][0], { message: 'bob sees alice' })
    t.equal(await conn(bob).disconnect(address), true)
    await eventually(() => rpcsOf(alice, bob).length === 0, { message: 'she is gone' })
    await Promise.all([alice.close(), bob.close()])
  })

  test(`${name}: a plugin finds the entry in its own handler of rpc:connect, on both sides`, async (t) => {
    const [alice, bob] = await Promise.all([boot(version, 'alice'), boot(version, 'bob')])
    const found = (stack: Stack): Promise<unknown> =>
      new Promise((resolve) =>
        stack.ssb.on('rpc:connect', (rpc: { id: string }) =>
          resolve([...conn(stack).hub().entries()].some(([, data]) => data.key === rpc.id)),
        ),
      )
    const both = Promise.all([found(alice), found(bob)])
    await conn(alice).connect(bob.address)
    t.deepEqual(await both, [true, true])
    await Promise.all([alice.close(), bob.close()])
  })

  test(`${name}: peers() and stagedPeers() follow what happens`, async (t) => {
    const [alice, bob] = await Promise.all([boot(version, 'alice'), boot(version, 'bob')])
    const peers = collect(conn(alice).peers() as pull.Source<HubEntry[]>)
    const staged = collect(conn(alice).stagedPeers() as pull.Source<StagedEntry[]>)
    t.deepEqual([peers.items, staged.items], [[[]], [[]]], 'both begin with what is there')
    conn(alice).stage(bob.address, { type: 'lan', key: bob.id })
    await eventually(() => staged.items[1]?.[0]?.[0] === bob.address, { message: 'staged' })
    await conn(alice).connect(bob.address)
    const last = () => peers.items[peers.items.length - 1]
    await eventually(() => last()?.[0]?.[1].state === 'connected', { message: 'connected' })
    await eventually(() => staged.items[staged.items.length - 1]?.length === 0, { message: 'no longer staged' })
    t.equal(conn(alice).stage(bob.address, { type: 'lan' }), false, 'nor again while connected')
    await bob.close()
    await eventually(() => last()?.length === 0, { message: 'gone' })
    await alice.close()
    t.deepEqual(await Promise.all([peers.ended, staged.ended]), [true, true], 'both end with the stack')
  })

  test(`${name}: a failing dial is answered at once, also to who has joined it`, async (t) => {
    const alice = await boot(version, 'alice')
    const port = await findFreePort()
    const address = alice.address
      .replace(String(alice.port), String(port))
      .replace(/~shs:.*/, `~shs:${'A'.repeat(43)}=`)
    const events = listen(alice)
    const both = [conn(alice).connect(address), conn(alice).connect(address)].map((each) =>
      each.then(
        () => 'connected',
        (error: { code: string }) => error.code,
      ),
    )
    t.equal(conn(alice).hub().getState(address), 'connecting')
    const outcomes = await withTimeout(Promise.all(both), 5_000, 'both are answered')
    t.deepEqual(outcomes, ['ERR_DIAL_FAILED', 'ERR_DIAL_FAILED'])
    t.deepEqual(types(events), ['connecting', 'connecting-failed'])
    const [, failed] = events.items
    t.match(failed?.type === 'connecting-failed' ? failed.details.message : '', /ECONNREFUSED/)
    t.deepEqual([...conn(alice).hub().entries()], [])
    await alice.close()
  })

  test(`${name}: disconnect while connecting: it never connects later`, async (t) => {
    const alice = await boot(version, 'alice')
    const wall = await mute()
    const address = `net:127.0.0.1:${wall.port}~shs:${'B'.repeat(42)}A=`
    const events = listen(alice)
    const outcome = conn(alice)
      .connect(address)
      .then(
        () => 'connected',
        () => 'failed',
      )
    await eventually(() => wall.accepted() === 1, { message: 'the handshake hangs' })
    t.equal(await conn(alice).disconnect(address), true)
    t.equal(await outcome, 'failed')
    t.deepEqual([...conn(alice).hub().entries()], [])
    t.deepEqual(types(events), ['connecting', 'connecting-failed'])
    await wall.close()
    await alice.close()
  })

  test(`${name}: what connects after disconnect is hung up on`, async (t) => {
    let pass: () => void = () => {}
    const held = new Promise<void>((resolve) => {
      pass = resolve
    })
    // As a slow transport would: the dial gets through, and says so late.
    const slow = {
      name: undefined,
      version: '1.0.0',
      manifest: {},
      init: (ssb: { connect: { hook(hook: unknown): void } }) => {
        ssb.connect.hook(function (this: unknown, fn: (...args: unknown[]) => unknown, args: unknown[]) {
          const cb = args[args.length - 1] as (...args: unknown[]) => void
          return fn.apply(this, [...args.slice(0, -1), (...answer: unknown[]) => void held.then(() => cb(...answer))])
        })
      },
    }
    const [alice, bob] = await Promise.all([
      boot(version, 'alice', { ownPlugins: [slow, ...plugins] }),
      boot(version, 'bob'),
    ])
    const events = listen(alice)
    const connecting = once(alice.ssb, 'rpc:connect')
    const outcome = conn(alice)
      .connect(bob.address)
      .then(
        () => 'connected',
        () => 'failed',
      )
    await connecting
    t.equal(await conn(alice).disconnect(bob.address), true)
    pass()
    t.equal(await outcome, 'failed')
    await eventually(() => rpcsOf(alice, bob).length === 0, { message: 'it is closed' })
    t.notOk(types(events).includes('connected'))
    t.deepEqual([...conn(alice).hub().entries()], [])
    await Promise.all([alice.close(), bob.close()])
  })

  test(`${name}: two stacks that dial each other end with one entry and one rpc each`, async (t) => {
    const [alice, bob] = await Promise.all([boot(version, 'alice'), boot(version, 'bob')])
    const rpcs = await Promise.all([conn(alice).connect(bob.address), conn(bob).connect(alice.address)])
    t.ok(rpcs.every(Boolean), 'both are answered with a connection')
    await eventually(() => rpcsOf(alice, bob).length === 1 && rpcsOf(bob, alice).length === 1, {
      message: () => `one rpc each, not ${rpcsOf(alice, bob).length} and ${rpcsOf(bob, alice).length}`,
    })
    for (const [stack, peer] of [
      [alice, bob],
      [bob, alice],
    ] as const) {
      const entries = await eventually(
        () => {
          const list = [...conn(stack).hub().entries()]
          return list.length === 1 && list[0]?.[1].state === 'connected' && list
        },
        { message: 'one entry' },
      )
      t.equal(entries[0]?.[1].key, peer.id)
      t.equal(await conn(stack).connect(peer.address), rpcsOf(stack, peer)[0], 'and connect gives that one')
    }
    await Promise.all([alice.close(), bob.close()])
  })

  test(`${name}: the owner uses conn over muxrpc, and gets nothing but JSON`, async (t) => {
    const [alice, bob] = await Promise.all([boot(version, 'alice'), boot(version, 'bob')])
    const owner = await bootClient(alice)
    const peers = collect(owner.open('conn.peers') as pull.Source<HubEntry[]>)
    const staged = collect(owner.open('conn.stagedPeers') as pull.Source<StagedEntry[]>)
    await owner.ask('conn.remember', bob.address, { type: 'pub', autoconnect: false })
    const [[address, data]] = (await owner.ask('conn.dbPeers')) as [StagedEntry]
    t.deepEqual([address, data.type, data.autoconnect, data.key], [bob.address, 'pub', false, bob.id])
    await eventually(() => staged.items[staged.items.length - 1]?.length === 1, { message: 'left to the user: staged' })
    t.deepEqual(await owner.ask('conn.connect', bob.address), { id: bob.id, address: bob.address })
    const entry = await eventually(
      () => {
        const last = peers.items[peers.items.length - 1]?.[0]
        return last?.[1].state === 'connected' && last
      },
      { message: 'peers has it' },
    )
    t.equal(entry[0], bob.address)
    const secrets = [alice.keys, bob.keys].map(({ private: key }) => String(key).slice(0, 40))
    const said = JSON.stringify([peers.items, staged.items, await owner.ask('conn.dbPeers')])
    t.notOk(
      secrets.some((secret) => said.includes(secret)),
      'no key of anybody',
    )
    t.equal(await owner.ask('conn.disconnect', bob.address), true)
    t.equal(await owner.ask('conn.disconnect', bob.address), false)
    t.equal(await owner.ask('conn.stage', bob.address, { type: 'lan' }), false, 'known as left to the user already')
    t.equal(await owner.ask('conn.unstage', bob.address), true)
    await owner.ask('conn.forget', bob.address)
    t.deepEqual(await owner.ask('conn.dbPeers'), [])
    await owner.ask('conn.start')
    await owner.ask('conn.stop')
    t.ok('connect' in ((await owner.ask('conn.help')) as { commands: object }).commands)
    const refusal = await owner.ask('conn.remember', 'foo').catch((error: unknown) => error)
    t.match(String((refusal as Error).message), /expected a multiserver address/)
    const offered = Object.keys((owner.rpc as unknown as { conn: object }).conn)
    for (const part of ['db', 'hub', 'staging', 'query']) t.notOk(offered.includes(part), part)
    await Promise.all([peers.abort(), staged.abort()])
    await owner.close()
    await Promise.all([alice.close(), bob.close()])
  })

  test(`${name}: a stranger may ping, and nothing else, whatever he believes our manifest to be`, async (t) => {
    const alice = await boot(version, 'alice')
    const manifest = alice.ssb.getManifest() as { conn: Record<string, string> }
    t.equal(Object.keys(manifest.conn).length, 13)
    const stranger = await bootStranger(alice)
    for (const [method, type] of Object.entries(manifest.conn)) {
      if (type === 'duplex') continue
      const refusal =
        type === 'source'
          ? await collect(stranger.open(`conn.${method}`) as pull.Source<unknown>).ended
          : await stranger.ask(`conn.${method}`, alice.address).catch((reason: unknown) => reason)
      t.match(String((refusal as Error).message), /not in list of allowed methods/, method)
    }
    const ping = pullPing({ serve: true, timeout: 60_000 })
    const served = stranger.open('conn.ping', { timeout: 60_000 }, () => {}) as PullPing
    served.sink(ping.source)
    ping.sink(served.source)
    await eventually(() => ping.rtt.count === 1, { message: 'his ping is answered' })
    await stranger.close()
    await eventually(() => [...conn(alice).hub().entries()].length === 0, { message: 'he is forgotten' })
    await alice.close()
  })

  test(`${name}: conn and gossip show the same, and what is remembered is there after a restart`, async (t) => {
    const first = await boot(version, 'alice', { keep: true })
    const bob = await boot(version, 'bob')
    await conn(first).db().loaded()
    conn(first).remember(bob.address, { type: 'pub', name: 'a pub', autoconnect: false })
    const peers = (await ask(first.ssb, 'gossip.peers')) as GossipPeer[]
    t.equal(peers[0]?.address, bob.address)
    const before = conn(first).dbPeers()
    await first.close()
    const { path, keys, port } = first
    const second = await boot(version, 'alice', { path, keys, port })
    t.equal(await conn(second).db().loaded(), true)
    t.deepEqual(conn(second).dbPeers(), before)
    await Promise.all([second.close(), bob.close()])
  })

  test(`${name}: it starts by itself, dials what is staged and remembered, and stop hangs up`, async (t) => {
    const bob = await boot(version, 'bob')
    const carol = await boot(version, 'carol')
    const alice = await boot(version, 'alice', { config: {} })
    conn(alice).stage(bob.address, { type: 'lan', key: bob.id })
    conn(alice).remember(carol.address, { type: 'pub' })
    await eventually(() => conn(alice).query().peersConnected().length === 2, { message: 'both are connected' })
    conn(alice).stop()
    conn(alice).stop()
    await eventually(() => rpcsOf(alice, bob).length + rpcsOf(alice, carol).length === 0, { message: 'hung up' })
    await conn(alice).start()
    await eventually(() => conn(alice).query().peersConnected().length === 2, { message: 'and again' })
    t.equal(rpcsOf(alice, bob).length + rpcsOf(alice, carol).length, 2)
    await Promise.all([alice.close(), bob.close(), carol.close()])
  })
}
