/** The plugin on both real stacks: mounted, over muxrpc, on real sockets with real handshakes, closed and started again. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'fs'
import { homedir } from 'os'
import { join } from 'path'

import test = require('tape')
import Manager = require('../../src/index')

import {
  blackHole,
  closeMidDial,
  garbage,
  hangAfterAccept,
  hangUpAfter,
  refused,
  reset,
  strangeKey,
  wrongKey,
  wrongNetwork,
} from '../support/bad-servers'
import { collect, eventually } from '../support/eventually'
import {
  ask,
  bootClient,
  bootStack,
  bootStranger,
  closeAll,
  connect,
  STACK_VERSIONS,
  type Stack,
  type StackOptions,
  trackDialed,
} from '../support/stack'

type Api = Pick<
  Manager.ConnectionManager,
  'peer' | 'peers' | 'connections' | 'connection' | 'initialSync' | 'onPrioritise' | 'priority' | 'help'
>

const api = (stack: Stack): Api => stack.ssb.connectionManager as Api

const boot = (options: StackOptions): Promise<Stack> => bootStack({ ownPlugins: [Manager], ...options })

const connectionTo = (from: Stack, to: Stack) => api(from).peer.get(to.id)?.connection

const isConnected = (from: Stack, to: Stack): boolean => connectionTo(from, to)?.status === 'connected'

const rpcCount = (stack: Stack, id: string): number =>
  ((stack.ssb.peers as Record<string, { closed?: boolean }[]>)[id] ?? []).filter((rpc) => !rpc.closed).length

const isAtRest = (from: Stack, to: Stack): boolean => {
  const { dialing, lingering } = api(from).connections.status()
  return (
    (connectionTo(from, to)?.status ?? 'idle') === 'idle' && rpcCount(from, to.id) === 0 && dialing + lingering === 0
  )
}

for (const version of STACK_VERSIONS) {
  const name = `secret-stack ${version}`

  test(`${name}: the API is mounted as sbot.connectionManager, nested, and works unbound with and without callback`, async (t) => {
    const stack = await boot({ version })
    const { peer, connections } = api(stack)
    const address = `net:pub.example.com:8008~shs:${strangeKey()}`
    t.equal(peer.addRoute({ address }), true, 'a return value')
    t.equal(await ask(stack.ssb, 'connectionManager.peer.removeRoute', { address }), true, 'a trailing callback')
    t.equal(connections.status().mode, 'off', 'off by default')
    t.equal(Manager.priority.MED, 'MEDIUM', 'constants are on the function')
    t.equal(api(stack).priority.BANNED, 'BANNED', 'constants are on the API')
    t.equal(typeof api(stack).onPrioritise, 'function', 'hooks can be added in process')
    await stack.close()
  })

  test(`${name}: the owner may call everything over muxrpc, a stranger only gossip.ping`, async (t) => {
    const stack = await boot({ version })
    const owner = await bootClient(stack)
    const address = `net:pub.example.com:8008~shs:${strangeKey()}`
    t.equal(await owner.ask('connectionManager.peer.addRoute', { address }), true, 'owner: a nested sync call')
    const peers = (await owner.ask('connectionManager.peer.list')) as Manager.PeerView[]
    t.equal(peers[0]?.routes[0]?.id, address, 'owner: a snapshot survives the wire')
    const stranger = await bootStranger(stack)
    const calls: string[] = []
    const walk = (types: object, path: string): void => {
      for (const [key, type] of Object.entries(types))
        if (typeof type === 'string') calls.push(`${path}${key} ${type}`)
        else walk(type as object, `${path}${key}.`)
    }
    const manifest = stack.ssb.getManifest() as { connectionManager: object; gossip: object }
    walk(manifest.connectionManager, 'connectionManager.')
    walk(manifest.gossip, 'gossip.')
    t.ok(calls.length >= 30, `the whole manifest is asked: ${calls.length} calls`)
    for (const call of calls) {
      const [method = '', type] = call.split(' ')
      if (method === 'gossip.ping') continue
      const refusal =
        type === 'source'
          ? await new Promise((resolve) => {
              const source = stranger.open(method) as (abort: null, cb: (end: unknown) => void) => void
              source(null, (end) => resolve(end))
            })
          : await stranger.ask(method, {}).then(
              () => null,
              (error: unknown) => error,
            )
      t.match(
        String((refusal as Error | null)?.message),
        /not in list of allowed methods/,
        `stranger: ${method} is refused`,
      )
    }
    t.equal(rpcCount(stack, stranger.stack.id), 1, 'the stranger is still connected')
    await owner.close()
    await stranger.close()
    await stack.close()
  })

  test(`${name}: nothing is dialed before start(); then both ends know the connection and its direction`, async (t) => {
    const [alice, bob] = await Promise.all([boot({ version, name: 'alice' }), boot({ version, name: 'bob' })])
    const dialed = trackDialed(bob.port)
    api(alice).peer.addRoute({ address: bob.address })
    t.equal(api(alice).peer.explain(bob.id).reason, 'off', 'explained')
    // A whole dial by hand takes longer than a scheduled one would have taken to begin.
    await ask(alice.ssb, 'connectionManager.peer.connect', { address: (await refused()).address }).catch(() => {})
    t.equal(dialed.times.length, 0, 'not dialed while off')
    api(alice).connections.start()
    await eventually(() => isConnected(alice, bob) && isConnected(bob, alice), { message: 'connected' })
    t.equal(connectionTo(alice, bob)?.direction, 'outbound', 'outbound here')
    t.equal(connectionTo(bob, alice)?.direction, 'inbound', 'inbound there')
    t.equal(dialed.times.length, 1, 'one dial')
    await eventually(() => connectionTo(alice, bob)?.rtt, { message: 'a round trip was measured' })
    t.ok((connectionTo(alice, bob)?.rtt?.mean ?? -1) >= 0, 'round trip kept with the connection')
    api(alice).connections.stop()
    await eventually(() => !isConnected(alice, bob) && !isConnected(bob, alice), { message: 'hung up' })
    t.equal(rpcCount(alice, bob.id), 0, 'stop() hangs up all peers')
    dialed.stop()
    await closeAll(alice, bob)
  })

  test(`${name}: local clients are never touched`, async (t) => {
    const stack = await boot({ version, config: { connectionManager: { autostart: true } } })
    const owner = await bootClient(stack)
    t.equal(api(stack).peer.list().length, 0, 'our own id is no peer')
    api(stack).connections.stop()
    t.equal(((await owner.ask('connectionManager.connections.status')) as Manager.Status).mode, 'off', 'still answers')
    await owner.close()
    await stack.close()
  })

  test(`${name}: a banned peer is hung up on at once, never dialed, and refused when it dials`, async (t) => {
    const [alice, bob] = await Promise.all([boot({ version }), boot({ version })])
    api(alice).peer.addRoute({ address: bob.address })
    api(alice).connections.start()
    await eventually(() => isConnected(alice, bob) && isConnected(bob, alice), { message: 'connected' })
    api(alice).peer.setPriority({ id: bob.id, priority: 'BANNED' })
    await eventually(() => rpcCount(alice, bob.id) === 0 && rpcCount(bob, alice.id) === 0, { message: 'hung up' })
    t.equal(api(alice).peer.explain(bob.id).reason, 'banned', 'explained')
    const error = await connect(bob, alice.address).then(
      () => null,
      (reason: unknown) => reason,
    )
    t.match(String(error), /server hung up|does not wish to talk/, 'refused in the handshake')
    const own = await ask(alice.ssb, 'connectionManager.peer.connect', { id: bob.id }).then(
      () => null,
      (reason: { code?: string }) => reason,
    )
    t.equal(own?.code, 'ERR_BANNED', 'nor can he be dialed by hand')
    api(alice).peer.setPriority({ id: bob.id, priority: 'MEDIUM' })
    await connect(bob, alice.address)
    t.pass('welcome again when unbanned')
    await closeAll(alice, bob)
  })

  test(`${name}: when both sides dial at once, both ends keep the connection of the smaller feed id`, async (t) => {
    const [one, two] = await Promise.all([boot({ version }), boot({ version })])
    const [small, large] = one.id < two.id ? [one, two] : [two, one]
    // Nobody dials before his table is read: a first dial of each shows that it is, else only one side would dial.
    for (const [from, to] of [
      [small, large],
      [large, small],
    ] as const) {
      await ask(from.ssb, 'connectionManager.peer.connect', { address: to.address })
      await ask(from.ssb, 'connectionManager.peer.disconnect', { id: to.id })
      await eventually(() => isAtRest(from, to) && isAtRest(to, from), { message: 'closed on both ends' })
    }
    for (let round = 0; round < 5; round++) {
      const rpcs = Promise.all([
        ask(small.ssb, 'connectionManager.peer.connect', { address: large.address }),
        ask(large.ssb, 'connectionManager.peer.connect', { address: small.address }),
      ])
      await rpcs
      await eventually(
        () =>
          rpcCount(small, large.id) === 1 &&
          rpcCount(large, small.id) === 1 &&
          connectionTo(small, large)?.direction === 'outbound' &&
          connectionTo(large, small)?.direction === 'inbound',
        { message: `round ${round}: one connection is left on both ends, the one that the smaller id dialed` },
      )
      t.pass(`round ${round}: settled`)
      await ask(small.ssb, 'connectionManager.peer.disconnect', { id: large.id })
      // The dial that lost may still arrive, and is closed then: the next round begins when both ends are at rest.
      await eventually(() => isAtRest(small, large) && isAtRest(large, small), { message: 'closed on both ends' })
    }
    await closeAll(one, two)
  })

  test(`${name}: every way in which a dial can fail has one outcome and a reason`, async (t) => {
    const options = { dialTimeoutMs: { default: 600 } }
    const stack = await boot({ version, config: { connectionManager: options } })
    const other = await boot({ version, name: 'other' })
    const servers: [string, { address: string; close(): Promise<void> }, RegExp][] = [
      ['refused', await refused(), /ECONNREFUSED/],
      ['reset', await reset(), /shs|ECONNRESET/],
      ['hang after accept', await hangAfterAccept(), /ERR_DIAL_TIMEOUT/],
      ['a listener that never accepts', await blackHole(), /ERR_DIAL_TIMEOUT/],
      ['garbage', await garbage(), /shs/],
      ['wrong key', await wrongKey(other), /shs/],
      ['wrong network', await wrongNetwork({ version }), /shs/],
      ['close in mid-dial', await closeMidDial(), /shs|ECONNRESET|closed|ended/],
      ['unknown transport', { address: `rtc:x:1~shs:${strangeKey()}`, close: async () => {} }, /could not connect to/],
    ]
    const errors = collect(api(stack).connection.errors())
    const changes = collect(api(stack).connections.changes())
    api(stack).connections.setMaxByType({ net: 10, rtc: 3 })
    for (const [, server] of servers) api(stack).peer.addRoute({ address: server.address })
    api(stack).connections.start()
    for (const [what, server, expected] of servers) {
      const found = await eventually(() => errors.items.find((each) => each.peer === server.address), {
        message: `${what}: an error is reported`,
      })
      const { cause } = JSON.parse(JSON.stringify(found.error)) as { cause: { code: string | null; message: string } }
      t.match(`${cause.code} ${cause.message}`, expected, `${what}: ${cause.code ?? cause.message.split('\n')[0]}`)
      const mine = changes.items.filter((change) => change.address === server.address)
      const dialing = mine.filter((change) => change.type === 'dialing').length
      const failed = mine.filter((change) => change.type === 'failed').length
      t.ok(
        dialing - failed === 0 || dialing - failed === 1,
        `${what}: each dial has one outcome (${dialing}, ${failed})`,
      )
      t.notEqual(api(stack).peer.explain(server.address).reason, null, `${what}: explained`)
    }
    api(stack).connections.stop()
    for (const [, server] of servers) await server.close()
    await closeAll(stack, other)
    await Promise.all([errors.ended, changes.ended])
    t.pass('the sources ended with the stack')
  })

  test(`${name}: a peer that hangs up at once is not called back at network speed`, async (t) => {
    const [stack, rude] = await Promise.all([boot({ version }), boot({ version })])
    const server = await hangUpAfter(rude, 5)
    const changes = collect(api(stack).connections.changes())
    api(stack).peer.addRoute({ address: server.address, priority: 'HIGH' })
    api(stack).connections.start()
    await eventually(() => changes.items.some((change) => change.type === 'disconnected'), { message: 'it hung up' })
    const { reason, until } = api(stack).peer.explain(rude.id)
    t.equal(reason, 'backoff', 'it has to wait')
    t.ok((until ?? 0) > Date.now(), 'until later')
    await server.close()
    await closeAll(stack, rude)
  })

  test(`${name}: one peer with a dead and a live route is reached by the live one, with one connection`, async (t) => {
    const [alice, bob] = await Promise.all([boot({ version }), boot({ version })])
    const hanging = await hangAfterAccept({ key: bob.address.split('~shs:')[1] as string })
    api(alice).peer.addRoute({ address: `${hanging.address};${bob.address}` })
    t.equal(api(alice).peer.get(bob.id)?.routes.length, 2, 'two routes, one peer')
    api(alice).connections.start()
    await eventually(() => isConnected(alice, bob), { message: 'connected' })
    t.equal(connectionTo(alice, bob)?.address, bob.address, 'by the live one')
    t.equal(rpcCount(alice, bob.id), 1, 'one connection')
    await hanging.close()
    await closeAll(alice, bob)
  })

  test(`${name}: every dial goes through connect as other plugins hooked it, and an rpc of theirs is known`, async (t) => {
    const [alice, bob, carol] = await Promise.all([boot({ version }), boot({ version }), boot({ version })])
    const seen: unknown[] = []
    const hookable = alice.ssb.connect as unknown as {
      hook(hook: (this: unknown, fn: (...args: unknown[]) => unknown, args: unknown[]) => unknown): void
    }
    // Installed after ours, as ssb-conn-firewall does.
    hookable.hook(function (fn, args) {
      seen.push(args[0])
      return fn.apply(this, args)
    })
    api(alice).peer.addRoute({ address: bob.address })
    api(alice).connections.start()
    await eventually(() => isConnected(alice, bob), { message: 'connected' })
    t.deepEqual(seen, [bob.address], 'the hook saw the dial')
    await connect(alice, carol.address)
    await eventually(() => isConnected(alice, carol), { message: 'the rpc of another module is in the table' })
    t.equal(api(alice).connections.status().classes.net?.connected, 1, 'and takes no slot')
    await closeAll(alice, bob, carol)
  })

  test(`${name}: close() hangs up, ends the sources and saves; the next start knows what worked`, async (t) => {
    const bob = await boot({ version })
    const first = await boot({ version, keep: true })
    const dead = await refused()
    api(first).peer.addRoute({ address: dead.address })
    api(first).peer.addRoute({ address: bob.address, isLocal: false, source: 'seed' })
    api(first).peer.setLongTerm({ id: bob.id, isLongTerm: true })
    const live = collect(api(first).peers())
    api(first).connections.start()
    await eventually(() => isConnected(first, bob), { message: 'connected' })
    const { path, port, keys } = first
    await first.close({ keep: true })
    await live.ended
    await eventually(() => !isConnected(bob, first), { message: 'the other side sees us go' })
    const stored = JSON.parse(readFileSync(join(path, 'connection-manager.json'), 'utf8')) as { version: number }
    t.equal(stored.version, 1, 'a versioned file')

    const second = await boot({ version, path, port, keys, config: { connectionManager: { autostart: true } } })
    await eventually(() => isConnected(second, bob), { message: 'dialed again by autostart' })
    const peer = api(second).peer.get(bob.id)
    t.equal(peer?.isLongTerm, true, 'long-term is remembered')
    t.equal(peer?.routes[0]?.connectionCount, 2, 'so are the connections of before')
    t.ok(api(second).peer.get(dead.address), 'and the route that never worked')
    await dead.close()
    await closeAll(second, bob)
  })

  test(`${name}: conn.json and gossip.json are imported on the first start and left as they are`, async (t) => {
    const keyA = strangeKey()
    const keyB = strangeKey()
    const seed = await boot({ version, keep: true, config: { connectionManager: { persist: false } } })
    const { path, port, keys } = seed
    await seed.close({ keep: true })
    const conn = JSON.stringify({ [`net:a.example.com:8008~shs:${keyA}`]: { key: `@${keyA}.ed25519`, type: 'pub' } })
    const gossip = JSON.stringify([{ host: 'b.example.com', port: 8008, key: `@${keyB}.ed25519`, failure: 3 }])
    writeFileSync(join(path, 'conn.json'), conn)
    writeFileSync(join(path, 'gossip.json'), gossip)
    const stack = await boot({ version, path, port, keys })
    await eventually(() => api(stack).peer.list().length === 2, { message: 'imported' })
    t.equal(api(stack).peer.get(`@${keyB}.ed25519`)?.routes[0]?.errorCount, 3, 'with what was learned')
    t.equal(readFileSync(join(path, 'conn.json'), 'utf8'), conn, 'conn.json is as it was')
    t.equal(readFileSync(join(path, 'gossip.json'), 'utf8'), gossip, 'gossip.json is as it was')
    await stack.close()
  })

  test(`${name}: a file that cannot be read is set aside, not overwritten`, async (t) => {
    const seed = await boot({ version, keep: true })
    const { path, port, keys } = seed
    await seed.close({ keep: true })
    writeFileSync(join(path, 'connection-manager.json'), '{"version":1,"peers":[')
    const stack = await boot({ version, path, port, keys, keep: true })
    const address = `net:c.example.com:8008~shs:${strangeKey()}`
    await eventually(() => readdirSync(path).some((file) => file.includes('.corrupt-')), { message: 'set aside' })
    const aside = readdirSync(path).find((file) => file.includes('.corrupt-')) as string
    t.equal(readFileSync(join(path, aside), 'utf8'), '{"version":1,"peers":[', 'as it was')
    api(stack).peer.addRoute({ address })
    await stack.close({ keep: true })
    t.ok(readFileSync(join(path, 'connection-manager.json'), 'utf8').includes(address), 'saving goes on in a new file')
    const again = await boot({ version, path, port, keys })
    await again.close()
  })

  test(`${name}: the configured options are used, and nothing is written outside the configured folder`, async (t) => {
    const home = join(homedir(), '.ssb')
    const before = existsSync(home)
    const stack = await boot({ version, config: { connectionManager: { maxByType: { net: 7 }, maxInbound: 9 } } })
    t.equal(api(stack).connections.status().classes.net?.max, 7, 'maxByType')
    t.equal(api(stack).connections.status().inbound.max, 9, 'maxInbound')
    await stack.close()
    t.equal(existsSync(home), before, 'the home folder was left alone')
  })
}

test('the two versions of secret-stack connect to each other', async (t) => {
  const [six, eight] = await Promise.all([boot({ version: 6 }), boot({ version: 8 })])
  api(six).peer.addRoute({ address: eight.address })
  api(six).connections.start()
  await eventually(() => isConnected(six, eight) && isConnected(eight, six), { message: 'connected' })
  t.pass('6 dials 8')
  await closeAll(six, eight)
})
