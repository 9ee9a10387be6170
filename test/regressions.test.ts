/**
 * What people suffered from in ssb-conn 6.0.4 and ssb-gossip 1.1.1, each with a test that shows that it is gone, on real
 * stacks. Elsewhere: 50 times start and stop, and the wrong folder on secret-stack 8, in adapters/conn-entries.test.ts; round
 * trips of concurrent peers in adapters/ping.test.ts, both beside the code that had the fault.
 */
import { spawnSync } from 'child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import pull = require('pull-stream')
import test = require('tape')

import conn = require('../src/conn')

import type { ConnectionManager } from '../src/manager'
import { hangAfterAccept, slowHandshake } from './support/bad-servers'
import { eventually, withTimeout } from './support/eventually'
import { bootStack, closeAll, connect, STACK_VERSIONS, type Stack, type StackOptions } from './support/stack'

type Entry = [address: string, data: { key?: string; state?: string; type?: string; [more: string]: unknown }]
interface Conn {
  start(): unknown
  stop(): void
  remember(address: string, data?: object): void
  dbPeers(): Entry[]
  connect(address: string): Promise<{ id: string }>
  disconnect(address: string): Promise<boolean>
  stage(address: string, data?: object): boolean
  stagedPeers(): pull.Source<Entry[]>
  hub(): { listen(): pull.Source<{ type: string; key?: string }>; getState(address: string): string | undefined }
}

const plugins = conn as unknown as readonly object[]
const connOf = (stack: Stack): Conn => stack.ssb.conn as unknown as Conn
const managerOf = (stack: Stack) => stack.ssb.connectionManager as Pick<ConnectionManager, 'peer' | 'connections'>
const rpcsTo = (stack: Stack, id: string): number => (stack.ssb.peers as Record<string, unknown[]>)[id]?.length ?? 0
const isUp = (stack: Stack, id: string): boolean => managerOf(stack).peer.get(id)?.connection.status === 'connected'

function eventsOf(stack: Stack): string[] {
  const seen: string[] = []
  pull(
    connOf(stack).hub().listen(),
    pull.drain(
      (event) => void seen.push(event.type),
      () => {},
    ),
  )
  return seen
}

/** A process of its own, in which `prelude` runs before anything is loaded, boots a stack with `/conn` and runs `body`. */
function inChild(version: 6 | 8, prelude: string, body: string): { status: number | null; output: string } {
  const folder = mkdtempSync(join(tmpdir(), 'connection-manager-child-'))
  const script = `
    ${prelude}
    require('tsx/cjs')
    const { bootStack } = require('./test/support/stack.ts')
    const { eventually } = require('./test/support/eventually.ts')
    const conn = require('./src/conn.ts')
    const boot = (name, more) => bootStack({ version: ${version}, name, ownPlugins: conn, config: { conn: { autostart: false } }, ...more })
    const folder = ${JSON.stringify(folder)}
    ;(async () => { ${body} })().then(() => process.exit(0), (error) => { console.log(error); process.exit(1) })`
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', script], {
    cwd: join(__dirname, '..'),
    encoding: 'utf8',
    timeout: 30_000,
  })
  rmSync(folder, { recursive: true, force: true })
  return { status, output: `${stdout}${stderr}` }
}

for (const version of STACK_VERSIONS) {
  const name = `secret-stack ${version}`
  const boot = (who: string, options: Partial<StackOptions> = {}): Promise<Stack> =>
    bootStack({ version, name: who, ownPlugins: plugins, config: { conn: { autostart: false } }, ...options })

  test(`${name}: host names, and addresses without a host, neither crash nor hang it, whatever release of ip is installed`, (t) => {
    const prelude = `
      const Module = require('module')
      const resolve = Module._resolveFilename
      Module._resolveFilename = function (id, ...rest) { return resolve.call(this, id === 'ip' ? 'ip-1.1.9' : id, ...rest) }`
    const body = `
      const [alice, bob] = [await boot('alice'), await boot('bob')]
      const key = bob.id.slice(1, -8)
      const strange = Buffer.alloc(32, 7).toString('base64')
      for (const address of [
        'net:no-such-host.invalid:8008~shs:' + strange,
        'bt:001122334455~shs:' + strange,
        'unix:/nowhere~shs:' + strange,
        'tunnel:' + bob.id + ':@' + strange + '.ed25519~shs:' + strange,
        'net:localhost:' + bob.port + '~shs:' + key,
      ]) alice.ssb.conn.remember(address, { type: 'pub' })
      await alice.ssb.conn.start()
      await eventually(() => alice.ssb.connectionManager.peer.get(bob.id).connection.status === 'connected')
      console.log('connected by name')
      await alice.close()
      await bob.close()`
    const { status, output } = inChild(version, prelude, body)
    t.equal(status, 0, output)
    t.match(output, /connected by name/)
    t.end()
  })

  test(`${name}: a global localStorage, as browser shims and later Nodes have it, does not change where the table lies`, (t) => {
    const prelude = 'globalThis.localStorage = { getItem: () => null, setItem: () => {}, removeItem: () => {} }'
    const body = `
      const address = 'net:pub.example.com:8008~shs:' + Buffer.alloc(32, 7).toString('base64')
      const first = await boot('first', { path: folder, keep: true })
      first.ssb.conn.remember(address, { type: 'pub' })
      await eventually(() => require('fs').existsSync(folder + '/connection-manager.json'))
      await first.close()
      const second = await boot('second', { path: folder, keep: true, keys: first.keys })
      await eventually(() => second.ssb.conn.dbPeers().some(([found]) => found === address))
      console.log('it was there')
      await second.close()`
    const { status, output } = inChild(version, prelude, body)
    t.equal(status, 0, output)
    t.match(output, /it was there/)
    t.end()
  })

  test(`${name}: no call over muxrpc gives away keys, whoever makes it and whatever he claims the manifest to be`, async (t) => {
    const [alice, bob] = await Promise.all([boot('alice'), boot('bob')])
    await connOf(alice).connect(bob.address)
    const claims = {
      name: 'conn',
      manifest: { hub: 'sync', db: 'sync', staging: 'sync', query: 'sync', dbPeers: 'sync', connect: 'async' },
      init: () => ({}),
    }
    const owner = await bootStack({ version, name: 'owner', keys: alice.keys, ownPlugins: [claims] })
    const rpc = (await connect(owner, alice.address)) as unknown as {
      conn: Record<string, (...args: unknown[]) => void>
    }
    const secret = alice.keys.private.slice(0, 40)
    for (const [method, ...args] of [['hub'], ['db'], ['staging'], ['query'], ['dbPeers'], ['connect', bob.address]]) {
      const answer = await withTimeout(
        new Promise((resolve) => rpc.conn[method as string]?.(...args, (...all: unknown[]) => resolve(all))),
        5_000,
        `an answer of ${method}`,
      )
      const text = JSON.stringify(answer, (_, value) => (value instanceof Error ? value.message : value)) ?? ''
      t.notOk(
        text.includes(secret) || text.includes('"keys"') || text.includes('_events'),
        `${method}: ${text.slice(0, 80)}`,
      )
    }
    await closeAll(owner, alice, bob)
  })

  test(`${name}: disconnected comes once, whoever hangs up`, async (t) => {
    const [alice, bob] = await Promise.all([boot('alice'), boot('bob')])
    const [here, there] = [eventsOf(alice), eventsOf(bob)]
    await connOf(alice).connect(bob.address)
    await eventually(() => there.includes('connected'))
    t.equal(await connOf(alice).disconnect(bob.address), true)
    await eventually(() => here.includes('disconnected') && there.includes('disconnected'))
    await connOf(alice).connect(bob.address)
    await eventually(() => there.filter((type) => type === 'connected').length === 2)
    const once = ['connecting', 'connected', 'disconnecting', 'disconnected']
    t.deepEqual(here, [...once, 'connecting', 'connected'])
    t.deepEqual(there, ['connected', 'disconnected', 'connected'])
    await closeAll(alice, bob)
  })

  test(`${name}: a disconnect while connecting ends the attempt: it does not connect later`, async (t) => {
    const [alice, bob] = await Promise.all([boot('alice'), boot('bob')])
    const slow = await slowHandshake(bob, 1_500)
    const events = eventsOf(alice)
    const attempt = connOf(alice)
      .connect(slow.address)
      .then(
        () => 'connected',
        () => 'failed',
      )
    await eventually(() => managerOf(alice).connections.status().dialing === 1, { message: 'it is under way' })
    t.equal(connOf(alice).hub().getState(slow.address), 'connecting')
    t.equal(await connOf(alice).disconnect(slow.address), true)
    t.equal(await withTimeout(attempt, 2_000, 'the attempt has ended'), 'failed')
    // The handshake goes on underneath: a dial cannot be taken back, but what it brings is closed.
    t.equal(managerOf(alice).connections.status().lingering, 1)
    await eventually(() => managerOf(alice).connections.status().lingering === 0, { message: 'it came to its end' })
    await eventually(() => rpcsTo(alice, bob.id) === 0, { message: 'and was closed' })
    t.notOk(events.includes('connected'), events.join())
    await slow.close()
    await closeAll(alice, bob)
  })

  test(`${name}: a connect that joins an attempt fails when that fails`, async (t) => {
    const alice = await boot('alice')
    const bad = await hangAfterAccept()
    // The stack gives up after 2 s here; ssb-conn let those wait a minute that joined.
    const failures = await withTimeout(
      Promise.all(
        [1, 2, 3].map(() =>
          connOf(alice)
            .connect(bad.address)
            .then(
              () => null,
              (error: { code?: string }) => error.code,
            ),
        ),
      ),
      10_000,
      'all have failed',
    )
    t.deepEqual(failures, ['ERR_DIAL_FAILED', 'ERR_DIAL_FAILED', 'ERR_DIAL_FAILED'])
    await bad.close()
    await alice.close()
  })

  test(`${name}: a peer has one connection, by whatever addresses it is asked for`, async (t) => {
    const [alice, bob] = await Promise.all([boot('alice'), boot('bob')])
    const byName = bob.address.replace('127.0.0.1', 'localhost')
    const [first, second] = await Promise.all([connOf(alice).connect(bob.address), connOf(alice).connect(byName)])
    t.equal(first, second)
    t.equal(await connOf(alice).connect(byName), first)
    t.equal(rpcsTo(alice, bob.id), 1)
    await closeAll(alice, bob)
  })

  test(`${name}: stagedPeers, peers and the hub's events end when the stack closes`, async (t) => {
    const stack = await boot('closing')
    const ended = ['stagedPeers', 'peers'].map(
      (call) =>
        new Promise<unknown>((resolve) =>
          pull((stack.ssb.conn as unknown as Record<string, () => pull.Source<unknown>>)[call]!(), pull.onEnd(resolve)),
        ),
    )
    ended.push(new Promise((resolve) => pull(connOf(stack).hub().listen(), pull.onEnd(resolve))))
    await stack.close()
    t.deepEqual(await withTimeout(Promise.all(ended), 2_000, 'all have ended'), [null, null, null])
  })

  test(`${name}: a remembered peer is dialed, with no ssb-friends anywhere`, async (t) => {
    const [alice, bob] = await Promise.all([boot('alice'), boot('bob')])
    connOf(alice).remember(bob.address, { type: 'pub' })
    await connOf(alice).start()
    await eventually(() => isUp(alice, bob.id), { message: 'dialed', timeoutMs: 3_000 })
    await closeAll(alice, bob)
    t.pass('connected')
  })

  test(`${name}: the pub of an invite that refuses at first is dialed again`, async (t) => {
    const alice = await boot('alice')
    const pub = await boot('pub')
    const { port, keys } = pub
    await pub.close({ keep: true })
    const failures: unknown[] = []
    pull(
      managerOf(alice).connections.errors(),
      pull.drain(
        (failure) => void failures.push(failure),
        () => {},
      ),
    )
    await connOf(alice).start()
    ;(alice.ssb.gossip as unknown as { add(address: string, source: string): void }).add(pub.address, 'seed')
    await eventually(() => failures.length > 0, { message: 'it was refused' })
    const again = await boot('pub', { port, keys })
    await eventually(() => isUp(alice, again.id), { message: 'dialed again', timeoutMs: 12_000 })
    t.pass('connected')
    await closeAll(alice, again)
  })

  test(`${name}: one bad entry on disk costs that entry, not the table`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'connection-manager-table-'))
    const good = [1, 2, 3].map((n) => `net:pub${n}.example.com:8008~shs:${Buffer.alloc(32, n).toString('base64')}`)
    const table = Object.fromEntries([...good, 'nonsense'].map((address) => [address, { type: 'pub', birth: 1 }]))
    writeFileSync(join(folder, 'conn.json'), JSON.stringify({ ...table, [`${good[0]}x`]: null }))
    const first = await boot('first', { path: folder, keep: true })
    const addresses = (stack: Stack) =>
      connOf(stack)
        .dbPeers()
        .map(([address]) => address)
        .sort()
    await eventually(() => connOf(first).dbPeers().length === 3, { message: 'imported' })
    t.deepEqual(addresses(first), good)
    await first.close()
    const file = join(folder, 'connection-manager.json')
    const stored = JSON.parse(readFileSync(file, 'utf8')) as { routes: unknown[] }
    stored.routes.splice(1, 0, { address: 'nonsense' }, null, { address: good[0], errorCount: 'many' })
    writeFileSync(file, JSON.stringify(stored))
    const second = await boot('second', { path: folder, keep: true, keys: first.keys })
    await eventually(() => connOf(second).dbPeers().length === 3, { message: 'read again' })
    t.deepEqual(addresses(second), good)
    await second.close()
    rmSync(folder, { recursive: true, force: true })
  })
}
