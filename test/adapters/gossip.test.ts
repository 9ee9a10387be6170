/*
 * The legacy `gossip` API against what its callers rely on: one test for each row of consumers.md 1.2 and 1.4 and each
 * sentence of legacy-apis.md 2.1 that is kept, cited as (1.2), (1.4), (2.1). The faults that are listed there have a test as
 * well: that they are gone.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import hoox = require('hoox')
import pull = require('pull-stream')
import test = require('tape')

import { createGossip, type GossipEvent, type GossipOptions, hookStatus, startLog } from '../../src/adapters/gossip'
import { saveGossipType } from '../../src/adapters/node-config'
import { parseAddress } from '../../src/core/address'
import { collect } from '../support/eventually'
import { commandsOf } from '../support/help'
import {
  alice,
  type BenchOptions,
  bench,
  bob,
  carol,
  codeOf,
  dave,
  erin,
  FakeRpc,
  MINUTE,
  type Person,
  person,
  SECOND,
} from '../support/manager'

const self = person('self')

interface Given extends BenchOptions {
  readonly gossip?: Record<string, unknown>
  readonly timers?: Record<string, unknown>
  readonly saveType?: GossipOptions['saveType']
  readonly sbot?: Record<string, unknown>
}

function setUp(given: Given = {}) {
  const { gossip: settings, timers, saveType, sbot = {}, ...options } = given
  const made = bench({ selfId: self.id, ...options })
  const { manager, clock } = made
  const log: unknown[][] = []
  const stack: Record<string, unknown> = {
    emit: (event: string, line: unknown[]) => {
      if (event === 'log:info') log.push(line)
    },
    ...sbot,
  }
  const facade = createGossip({ manager, sbot: stack, clock, saveType, config: { gossip: settings, timers } })
  const events = collect<GossipEvent>(facade.api.changes())
  const entry = (who: Person) => {
    const found = facade.api.get(who.id)
    if (!found) throw new Error(`no entry of ${who.id}`)
    return found
  }
  return {
    ...made,
    facade,
    gossip: facade.api,
    stack,
    log,
    events,
    entry,
    /** The kinds of events since this was last called. */
    told: () => (events.items as GossipEvent[]).splice(0).map((event) => `${event.type} ${nameOf(event.peer.key)}`),
    inbound: (who: Person, rpc: FakeRpc = rpcFrom(who)) => {
      manager.internal.accept(who.id, rpc, 'inbound', null)
      clock.flush()
      return rpc
    },
  }
}

function nameOf(id: string): string {
  return [alice, bob, carol, dave].find((who) => who.id === id)?.address.split(/[:.]/)[1] ?? id
}

/** As a stack brings it: with an id, and an address that is no use for dialing. */
function rpcFrom(who: Person): FakeRpc & { id: string; stream: { address: string } } {
  return Object.assign(new FakeRpc(who.id), { id: who.id, stream: { address: `net:10.1.2.3:48312~shs:${who.key}` } })
}

function codeIn(fn: () => unknown): unknown {
  try {
    fn()
    return 'no error'
  } catch (error) {
    return (error as { code?: unknown }).code
  }
}

/** The outcome that a callback is given. */
function called(start: (cb: (...args: unknown[]) => void) => unknown): Promise<unknown[]> {
  return new Promise((resolve) => {
    start((...args) => resolve(args))
  })
}

function isPlain(value: unknown): boolean {
  if (typeof value === 'function') return false
  if (typeof value !== 'object' || value === null) return true
  const isRecord = Object.getPrototypeOf(value) === Object.prototype || Array.isArray(value)
  return isRecord && Object.values(value).every(isPlain)
}

/* ---- shape ---- */

test('the manifest has the types that secret-stack and clients rely on (2.1, 1.3)', (t) => {
  const { facade } = setUp()
  t.deepEqual(facade.manifest, {
    add: 'sync',
    remove: 'sync',
    connect: 'async',
    disconnect: 'async',
    changes: 'source',
    reconnect: 'sync',
    disable: 'sync',
    enable: 'sync',
    ping: 'duplex',
    get: 'sync',
    peers: 'sync',
    help: 'sync',
  })
  for (const name of Object.keys(facade.manifest))
    t.equal(typeof (facade.api as Record<string, unknown>)[name], 'function', name)
  t.end()
})

test('strangers may ping and nothing else (2.1)', (t) => {
  t.deepEqual(setUp().facade.permissions, { anonymous: { allow: ['ping'] } })
  t.end()
})

/* ---- add ---- */

test('add takes a multiserver address and gives the entry (2.1)', (t) => {
  const { gossip } = setUp()
  t.deepEqual(gossip.add(alice.address), {
    address: alice.address,
    key: alice.id,
    host: 'alice.example',
    port: 8008,
    source: 'manual',
    announcers: 1,
    state: undefined,
    stateChange: undefined,
    failure: 0,
    client: undefined,
    duration: null,
    ping: undefined,
  })
  t.end()
})

test('add takes every form of address that callers use (1.2: local, device-address, friend-pub, ticktack)', (t) => {
  const forms: [string, unknown][] = [
    ['a multiserver address', alice.address],
    ['a list', `${alice.address};${alice.by('ws')}`],
    ['the old host:port:@key, which ssb-gossip refused', `alice.example:8008:${alice.id}`],
    ['{host, port, key}', { host: 'alice.example', port: 8008, key: alice.id }],
    ['{address, key}', { address: alice.address, key: alice.id }],
    ['an entry', setUp().gossip.add(alice.address)],
  ]
  for (const [what, address] of forms) {
    const { gossip } = setUp()
    const added = gossip.add(address)
    t.equal(added?.address, alice.address, what)
    t.equal(added?.key, alice.id)
    t.equal(gossip.peers().length, 1)
  }
  t.end()
})

test('an IPv6 host is shown bare, its port as a number', (t) => {
  const added = setUp().gossip.add({ host: '2001:db9::1', port: '8008', key: alice.id })
  t.equal(added?.host, '2001:db9::1')
  t.equal(added?.port, 8008)
  t.end()
})

test('added again, a peer has one announcer more, unless it is local (2.1)', (t) => {
  const { gossip } = setUp()
  gossip.add(alice.address, 'pub')
  t.equal(gossip.add(alice.address, 'pub')?.announcers, 2)
  t.equal(gossip.add(alice.address)?.announcers, 3)
  gossip.add(bob.address, 'local')
  for (let i = 0; i < 10; i++) gossip.add(bob.address, 'local')
  t.equal(gossip.add(bob.address, 'pub')?.announcers, 1, 'beacons are not counted')
  t.end()
})

test('the source is changed only by friends and local (2.1, 1.2: friend-pub)', (t) => {
  const { gossip } = setUp()
  gossip.add(alice.address, 'pub')
  t.equal(gossip.add(alice.address, 'seed')?.source, 'seed', 'but for one that only strangers told of')
  t.equal(gossip.add(alice.address, 'manual')?.source, 'seed')
  t.equal(gossip.add(alice.address, 'friends')?.source, 'friends')
  t.equal(gossip.add(alice.address, 'seed')?.source, 'friends')
  t.equal(gossip.add(alice.address, 'local')?.source, 'local')
  t.equal(gossip.add(alice.address, 'friends')?.source, 'friends')
  t.equal(gossip.peers().length, 1)
  t.end()
})

test('there is one entry per key, however many addresses it has (2.1, 1.4)', (t) => {
  const { gossip } = setUp()
  gossip.add(alice.address)
  t.equal(gossip.add(alice.by('net', 'other.example'))?.address, gossip.peers()[0]?.address)
  t.equal(gossip.peers().length, 1)
  t.equal(
    gossip.add(alice.by('net', '192.168.1.4'), 'local')?.host,
    '192.168.1.4',
    'the best one is shown: local first',
  )
  t.end()
})

test('adding ourselves does nothing (2.1, 1.4)', (t) => {
  const { gossip, told } = setUp()
  t.equal(gossip.add(self.address), undefined)
  t.equal(gossip.add({ host: 'localhost', port: 8008, key: self.id }), undefined)
  t.deepEqual(gossip.peers(), [])
  t.deepEqual(told(), [])
  t.end()
})

test('add throws an error with a code on what is no address (2.1, 1.4)', (t) => {
  const { gossip, told } = setUp()
  const bad: unknown[] = [undefined, null, '', 'foo', 'net:alice.example:8008', alice.id, 42, {}, [], { host: 'a' }]
  bad.push({ host: 'alice.example', port: 8008 }, { key: alice.id }, { address: 'net:', key: alice.id }, () => {})
  for (const each of bad)
    t.equal(
      codeIn(() => gossip.add(each, 'pub')),
      'ERR_INVALID_ADDRESS',
      String(each),
    )
  t.equal(
    codeIn(() => gossip.add(alice.address, 42)),
    'ERR_INVALID_ARGUMENT',
    'a source that is no word',
  )
  t.equal(
    codeIn(() => gossip.add(alice.address, 'x'.repeat(65))),
    'ERR_INVALID_ARGUMENT',
  )
  t.deepEqual(gossip.peers(), [], 'nothing is half done')
  t.deepEqual(told(), [])
  t.end()
})

test('what a stranger says of our own network is not taken up', (t) => {
  const { gossip } = setUp()
  t.equal(gossip.add(alice.by('net', '192.168.1.1'), 'pub'), undefined)
  t.deepEqual(gossip.peers(), [])
  t.end()
})

test('a local address is a local route, heard again each second without harm (1.2: ssb-local)', (t) => {
  const { gossip, manager, told, clock } = setUp()
  for (let i = 0; i < 60; i++) {
    gossip.add(`${alice.by('net', '192.168.1.4')};${alice.by('ws', '192.168.1.4')}`, 'local')
    clock.advance(SECOND)
  }
  const routes = manager.peer.get(alice.id)?.routes ?? []
  t.deepEqual(
    routes.map((route) => [route.isLocal, route.source]),
    [
      [true, 'local'],
      [true, 'local'],
    ],
    'isLocal: such routes are never written to disk',
  )
  t.deepEqual(told(), ['discover alice'])
  t.end()
})

test('a seed is dialed by the scheduler at once (1.2: ssb-invite, ssb-peer-invites)', (t) => {
  const { gossip, manager, newDials, clock } = setUp()
  manager.connections.start()
  gossip.add(alice.address, 'seed')
  gossip.add(bob.address)
  clock.advance(SECOND)
  t.deepEqual(newDials().sort(), [alice.address, bob.address].sort())
  t.end()
})

/* ---- get, peers ---- */

test('get finds by feed id, by address, by {key} and by {id} (2.1, 1.2: tunnel)', (t) => {
  const { gossip } = setUp()
  const added = gossip.add(alice.address)
  const asked: unknown[] = [
    alice.id,
    alice.key,
    alice.address,
    { key: alice.id },
    { id: alice.id },
    added,
    `alice.example:8008:${alice.id}`,
  ]
  asked.push({ host: 'alice.example', port: 8008, key: alice.id }, alice.by('ws'))
  for (const each of asked) t.deepEqual(gossip.get(each), added, JSON.stringify(each))
  t.equal(gossip.get(bob.id), undefined, 'unknown')
  t.equal(gossip.get(bob.address), undefined)
  for (const each of [undefined, null, 'foo', {}, 7])
    t.equal(
      codeIn(() => gossip.get(each)),
      'ERR_INVALID_ADDRESS',
    )
  t.end()
})

test('peers gives fresh plain objects that survive JSON (2.1, 1.4)', async (t) => {
  const { gossip, connected } = setUp()
  gossip.add(alice.address)
  connected(bob.address)
  const peers = gossip.peers()
  t.equal(peers.length, 2)
  t.ok(isPlain(peers), 'no functions, no classes')
  for (const peer of peers) {
    Object.assign(peer, { failure: 99, address: 'x' })
    if (peer.ping) Object.assign(peer.ping.rtt, { mean: 99 })
  }
  t.notOk(JSON.stringify(gossip.peers()).includes('99'), 'writing into them changes nothing')
  t.end()
})

test('peers come in the order in which they were added, wherever their ids would put them (2.1)', (t) => {
  const { gossip, inbound } = setUp()
  const people = [alice, bob, carol, dave].sort((a, b) => (a.id < b.id ? 1 : -1))
  const [first, second, third, last] = people as [Person, Person, Person, Person]
  const order = (): string[] => gossip.peers().map((peer) => peer.key)
  for (const who of [first, second, last]) gossip.add(who.address)
  t.deepEqual(order(), [first.id, second.id, last.id], 'as added')
  const rpc = inbound(third)
  gossip.add(second.address, 'friends')
  t.deepEqual(order(), [first.id, second.id, last.id, third.id], 'who is known stays in place, who calls in comes last')
  gossip.remove(first.id)
  rpc.end()
  gossip.add(first.address)
  t.deepEqual(order(), [second.id, last.id, first.id], 'who was gone comes back at the end')
  t.end()
})

test('sync methods take a trailing callback (1.2: friend-pub, patchcore)', async (t) => {
  const { gossip } = setUp()
  t.deepEqual((await called((cb) => gossip.add(alice.address, 'pub', cb)))[1], gossip.get(alice.id))
  t.deepEqual(await called((cb) => gossip.peers(cb)), [null, gossip.peers()])
  t.deepEqual(await called((cb) => gossip.get(alice.id, cb)), [null, gossip.get(alice.id)])
  t.deepEqual(await called((cb) => gossip.remove(alice.id, cb)), [null, true])
  t.equal(typeof (await called((cb) => gossip.reconnect(cb)))[1], 'number')
  t.equal(typeof (await called((cb) => gossip.enable(cb)))[1], 'string')
  t.equal(typeof (await called((cb) => gossip.disable('local', cb)))[1], 'string')
  t.equal(typeof (await called((cb) => gossip.help(cb)))[1], 'object')
  const [error] = await called((cb) => gossip.add('foo', cb))
  t.equal((error as { code: string }).code, 'ERR_INVALID_ADDRESS', 'and errors come the same way')
  t.end()
})

test('peers that are connected are there, whoever they are (1.4)', (t) => {
  const { gossip, inbound, entry } = setUp()
  const rpc = inbound(alice)
  t.deepEqual(
    gossip.peers().map(({ key, state, client }) => ({ key, state, client })),
    [{ key: alice.id, state: 'connected', client: false }],
  )
  const { address, host, port, source, announcers } = entry(alice)
  t.deepEqual(
    { address, host, port, source, announcers },
    {
      address: rpc.name && `net:10.1.2.3:48312~shs:${alice.key}`,
      host: '10.1.2.3',
      port: 48312,
      source: undefined,
      announcers: 0,
    },
    'he shows where he calls from',
  )
  rpc.end()
  t.deepEqual(gossip.peers(), [], 'nothing is kept of a stranger')
  t.end()
})

test('who calls in under an odd address does no harm', (t) => {
  const { gossip, inbound, manager } = setUp()
  inbound(alice, Object.assign(new FakeRpc(), { stream: { address: 'constructor' } }))
  inbound(bob, Object.assign(new FakeRpc(), { stream: { address: 42 } }))
  inbound(carol, Object.assign(new FakeRpc(), { stream: null }))
  manager.peer.remotePeerConnected(dave.id)
  t.deepEqual(
    gossip
      .peers()
      .map((peer) => [peer.address, peer.host])
      .sort(),
    [
      [undefined, undefined],
      [undefined, undefined],
      [undefined, undefined],
      ['constructor', undefined],
    ],
  )
  t.end()
})

test('of whom only a priority is known there is no entry: nobody said where he is', (t) => {
  const { gossip, manager, told } = setUp()
  manager.peer.setPriority({ id: alice.id, priority: 'HIGH' })
  t.deepEqual(gossip.peers(), [])
  t.equal(gossip.get(alice.id), undefined)
  gossip.add(alice.address)
  gossip.remove(alice.id)
  t.deepEqual(told(), ['discover alice', 'remove alice'])
  t.end()
})

/* ---- connect, disconnect ---- */

test('connect takes an address, an object or a feed id, and calls back with the rpc (2.1, 1.2: tunnel, patchcore)', async (t) => {
  const forms: [string, unknown][] = [
    ['an address', alice.address],
    ['the old form', `alice.example:8008:${alice.id}`],
    ['{host, port, key}', { host: 'alice.example', port: 8008, key: alice.id }],
    ['an entry', setUp().gossip.add(alice.address)],
    ['a feed id', alice.id],
    ['{key}', { key: alice.id }],
  ]
  for (const [what, target] of forms) {
    const { gossip, dial, flush } = setUp()
    if (target === alice.id || what === '{key}') gossip.add(alice.address)
    const outcome = called((cb) => gossip.connect(target, cb))
    flush()
    const rpc = dial(alice.address).accept()
    t.deepEqual(await outcome, [null, rpc], what)
    t.equal(gossip.get(alice.id)?.source, 'manual', 'it is added as manual')
  }
  t.end()
})

test('connect without a callback gives a promise, and ends no process if nobody looks at it', async (t) => {
  const { gossip, dial, flush } = setUp()
  const promise = gossip.connect(alice.address)
  flush()
  const rpc = dial(alice.address).accept()
  t.equal(await promise, rpc)
  const unseen: unknown[] = []
  const note = (reason: unknown): void => {
    unseen.push(reason)
  }
  process.on('unhandledRejection', note)
  gossip.connect(bob.id)
  gossip.connect('foo')
  gossip.connect(undefined)
  gossip.disconnect('foo')
  await new Promise((resolve) => setImmediate(resolve))
  process.removeListener('unhandledRejection', note)
  t.deepEqual(unseen, [], 'legacy callers drop it (1.1: "without cb … must not reject")')
  t.end()
})

test('an address that was announced before has one announcer more when it is dialed by hand (2.1)', async (t) => {
  const { gossip, dial, flush } = setUp()
  gossip.add(alice.address, 'seed')
  gossip.connect(alice.address)
  flush()
  dial(alice.address).accept()
  t.equal(gossip.get(alice.id)?.announcers, 2)
  t.equal(gossip.get(alice.id)?.source, 'seed')
  t.end()
})

test('connecting to a connected peer gives its rpc and opens no second one (fault of ssb-gossip, 2.1)', async (t) => {
  const { gossip, connected, inbound, newDials, flush, told } = setUp()
  const rpc = connected(alice.address)
  newDials()
  told()
  for (const target of [alice.id, alice.address, alice.by('ws'), { key: alice.id }]) {
    t.deepEqual(await called((cb) => gossip.connect(target, cb)), [null, rpc])
    flush()
  }
  const called_in = inbound(bob)
  t.deepEqual(await called((cb) => gossip.connect(bob.id, cb)), [null, called_in], 'whoever dialed')
  t.deepEqual(newDials(), [])
  t.deepEqual(told(), ['connect bob'])
  t.end()
})

test('calls while a dial is under way join it (1.2: ticktack)', async (t) => {
  const { gossip, dial, dials, flush } = setUp()
  const outcomes = [1, 2, 3].map(() => called((cb) => gossip.connect(alice.address, cb)))
  flush()
  const rpc = dial(alice.address).accept()
  for (const outcome of outcomes) t.deepEqual(await outcome, [null, rpc])
  t.equal(dials.length, 1)
  t.end()
})

test('an unknown feed id: "no known address for peer:@…" (2.1, 1.2: tunnel matches on it)', async (t) => {
  const { gossip, manager } = setUp()
  const [error] = (await called((cb) => gossip.connect(alice.id, cb))) as [Error & { code: string }]
  t.equal(error.message, `no known address for peer:${alice.id}`)
  t.equal(error.code, 'ERR_NO_ROUTE')
  manager.peer.setPriority({ id: bob.id, priority: 'HIGH' })
  const [known] = (await called((cb) => gossip.connect(bob.id, cb))) as [Error]
  t.equal(known.message, `no known address for peer:${bob.id}`, 'nor for one with a priority and no route')
  t.end()
})

test('bad targets are called back, never thrown (2.1)', async (t) => {
  const { gossip, dials, flush } = setUp()
  for (const bad of [undefined, null, '']) t.equal(await codeOf(gossip.connect(bad)), 'ERR_INVALID_ARGUMENT')
  for (const bad of ['foo', {}, 7, [], { host: 'x' }]) t.equal(await codeOf(gossip.connect(bad)), 'ERR_INVALID_ADDRESS')
  t.equal(await codeOf(gossip.connect(self.address)), 'ERR_INVALID_ARGUMENT', 'ourselves')
  t.deepEqual(gossip.peers(), [])
  flush()
  t.equal(dials.length, 0)
  t.end()
})

test('a failed connect is called back once, with the cause (2.1)', async (t) => {
  const { gossip, dial, flush, entry, told } = setUp()
  const outcome = called((cb) => gossip.connect(alice.address, cb))
  flush()
  t.equal(entry(alice).state, 'connecting')
  dial(alice.address).refuse()
  const [error, rpc] = (await outcome) as [Error & { code: string }, unknown]
  t.equal(error.code, 'ERR_DIAL_FAILED')
  t.ok(error.message.includes('ECONNREFUSED'))
  t.equal(rpc, undefined)
  t.deepEqual(told(), ['discover alice', 'connect-failure alice'])
  const { state, failure, error: why } = entry(alice)
  t.deepEqual({ state, failure, why }, { state: undefined, failure: 1, why: 'connect ECONNREFUSED' })
  t.end()
})

test('connect works while the manager is off, and past slots (1.4)', async (t) => {
  const { gossip, flush, newDials } = setUp({ maxByType: { net: 0 } })
  gossip.connect(alice.address)
  flush()
  t.deepEqual(newDials(), [alice.address])
  t.end()
})

test('disconnect by feed id, address or object hangs up and calls back (2.1, 1.2: ssb-ebt)', async (t) => {
  for (const target of [
    alice.id,
    alice.address,
    { key: alice.id },
    { host: 'alice.example', port: 8008, key: alice.id },
  ]) {
    const { gossip, connected, flush, told, entry } = setUp()
    const rpc = connected(alice.address)
    told()
    const outcome = called((cb) => gossip.disconnect(target, cb))
    t.equal(entry(alice).state, 'disconnecting')
    flush()
    t.deepEqual(await outcome, [null, true])
    t.equal(rpc.hangUps, 1)
    t.equal(entry(alice).state, undefined)
    t.deepEqual(told(), ['disconnect alice'], 'disconnect is told once (fault of legacy-conn, 2.1)')
  }
  t.end()
})

test('disconnect without a connection changes no state (fault of ssb-gossip: it hung in disconnecting, 2.1)', async (t) => {
  const { gossip, entry, told } = setUp()
  gossip.add(alice.address)
  told()
  t.deepEqual(await called((cb) => gossip.disconnect(alice.id, cb)), [null, false])
  t.equal(entry(alice).state, undefined)
  t.deepEqual(await called((cb) => gossip.disconnect(bob.id, cb)), [null, false], 'an unknown one is no error')
  t.deepEqual(told(), [])
  t.end()
})

test('a connection that never says that it is closed hangs nobody (2.1)', async (t) => {
  const { gossip, connected, clock, entry } = setUp()
  const rpc = connected(alice.address)
  rpc.onClose = 'silent'
  const outcome = called((cb) => gossip.disconnect(alice.id, cb))
  await clock.advanceAsync(10 * SECOND)
  t.deepEqual(await outcome, [null, true])
  t.equal(entry(alice).state, undefined)
  t.end()
})

/* ---- the entry ---- */

test('the entry of a peer that we dialed (2.1)', (t) => {
  const { clock, manager, connected, entry } = setUp()
  const at = clock.now()
  const rpc = connected(alice.address)
  const zero = { mean: 0, stdev: 0, count: 0, sum: 0, sqsum: 0 }
  t.deepEqual(entry(alice), {
    address: alice.address,
    key: alice.id,
    host: 'alice.example',
    port: 8008,
    source: 'manual',
    announcers: 1,
    state: 'connected',
    stateChange: at,
    failure: 0,
    client: true,
    duration: null,
    ping: { rtt: zero, skew: zero },
  })
  manager.internal.pinged(alice.id, 44, -22)
  t.deepEqual(entry(alice).ping?.rtt, { mean: 44, stdev: 0, count: 1, sum: 44, sqsum: 1936 })
  t.deepEqual(entry(alice).ping?.skew, { mean: -22, stdev: 0, count: 1, sum: -22, sqsum: 484 })
  clock.advance(5_000)
  rpc.end()
  const { state, stateChange, client, duration, ping } = entry(alice)
  t.deepEqual(
    { state, stateChange, client, duration, ping },
    {
      state: undefined,
      stateChange: at + 5_000,
      client: true,
      duration: { mean: 5_000, stdev: 0, count: 1, sum: 5_000, sqsum: 25_000_000 },
      ping: undefined,
    },
  )
  t.end()
})

test('a known peer that calls in: the same entry with client false (2.1)', (t) => {
  const { gossip, clock, inbound, entry } = setUp()
  gossip.add(alice.address, 'friends')
  clock.advance(SECOND)
  const rpc = inbound(alice)
  const { address, source, state, client } = entry(alice)
  t.deepEqual(
    { address, source, state, client },
    { address: alice.address, source: 'friends', state: 'connected', client: false },
  )
  t.equal(gossip.peers().length, 1)
  clock.advance(SECOND)
  rpc.end()
  t.equal(entry(alice).client, false, 'and it stays so')
  t.equal(entry(alice).stateChange, clock.now())
  t.end()
})

test('failures count in a row, with the time and the text of the last, and success clears them (2.1)', (t) => {
  const { gossip, clock, dial, flush, entry, connected } = setUp()
  for (let i = 1; i <= 3; i++) {
    clock.advance(MINUTE)
    gossip.connect(alice.address)
    flush()
    dial(alice.address).refuse(i === 3 ? 'ETIMEDOUT' : 'ECONNREFUSED')
    t.equal(entry(alice).failure, i)
    t.equal(entry(alice).stateChange, clock.now())
  }
  t.equal(entry(alice).error, 'connect ETIMEDOUT')
  t.equal(entry(alice).client, undefined, 'never connected')
  clock.advance(SECOND)
  connected(alice.address)
  t.equal(entry(alice).failure, 0)
  t.notOk('error' in entry(alice))
  t.end()
})

test('while an address is in use it is the one that is shown', (t) => {
  const { gossip, clock, connected, entry } = setUp()
  const rpc = connected(alice.address)
  gossip.add(alice.by('net', '192.168.1.4'), 'local')
  t.equal(entry(alice).address, alice.address)
  t.equal(entry(alice).host, 'alice.example')
  rpc.end()
  clock.flush()
  t.equal(entry(alice).host, '192.168.1.4', 'and then the one that is dialed first')
  t.end()
})

test('duration is that of all routes of a peer', (t) => {
  const { clock, connected, entry, flush } = setUp()
  for (const [address, ms] of [
    [alice.address, 2_000],
    [alice.by('net', 'other.example'), 4_000],
  ] as const) {
    const rpc = connected(address)
    clock.advance(ms)
    rpc.end()
    flush()
  }
  const { duration } = entry(alice)
  t.deepEqual([duration?.count, duration?.mean, duration?.stdev, duration?.sum], [2, 3_000, 1_000, 6_000])
  t.end()
})

test('round trips of concurrent peers do not mix (fault of pull-ping, 2.6)', (t) => {
  const { connected, manager, entry } = setUp()
  connected(alice.address)
  connected(bob.address)
  manager.internal.pinged(alice.id, 10, 1)
  manager.internal.pinged(bob.id, 500, 2)
  t.equal(entry(alice).ping?.rtt.mean, 10)
  t.equal(entry(bob).ping?.rtt.mean, 500)
  t.end()
})

/* ---- changes ---- */

test('changes tells of each kind of event, in order, with the entry (2.1, 1.4)', async (t) => {
  const { gossip, clock, dial, flush, events } = setUp()
  gossip.add(alice.address, 'pub')
  const failed = gossip.connect(alice.address)
  flush()
  dial(alice.address).refuse()
  t.equal(await codeOf(failed), 'ERR_DIAL_FAILED')
  const order: string[] = []
  pull(
    gossip.changes() as pull.Source<GossipEvent>,
    pull.drain(
      (event) => order.push(event.type),
      () => {},
    ),
  )
  gossip.connect(alice.address, () => order.push('cb'))
  flush()
  const rpc = dial(alice.address).accept()
  await new Promise((resolve) => setImmediate(resolve))
  clock.advance(2_000)
  rpc.end()
  flush()
  gossip.remove(alice.id)
  t.deepEqual(order, ['connect', 'cb', 'disconnect', 'remove'], "connect comes before connect()'s callback")
  t.deepEqual(
    events.items.map(({ type, source, peer }) => [type, source, peer.state, peer.failure]),
    [
      ['discover', 'pub', undefined, 0],
      ['connect-failure', undefined, undefined, 1],
      ['connect', undefined, 'connected', 0],
      ['disconnect', undefined, undefined, 0],
      ['remove', undefined, undefined, 0],
    ],
  )
  const [, failure, connect, disconnect] = events.items
  t.equal(failure?.peer.error, 'connect ECONNREFUSED')
  t.equal(connect?.peer.ping?.rtt.count, 0)
  t.equal(disconnect?.peer.duration?.sum, 2_000, 'duration is updated')
  t.ok(
    events.items.every(({ peer }) => peer.address === alice.address && peer.key === alice.id),
    'each has address and key',
  )
  t.ok(isPlain(events.items), 'and may go over the wire')
  t.end()
})

test('discover names who told, manual by default, stored for what was loaded (2.1)', (t) => {
  const { gossip, manager, events } = setUp()
  gossip.add(alice.address)
  gossip.add(bob.address, 'seed')
  gossip.add(carol.by('net', '10.0.0.5'), 'local')
  manager.peer.addRoute({ address: dave.address, source: 'room' })
  manager.peer.addRoute({ address: erin.address, isLocal: true, source: 'lan' })
  t.equal(gossip.get(erin.id)?.source, 'local', 'a neighbour is local, whoever found him')
  const [stored] = parseAddress(person('frank').address)
  manager.internal.load({
    peers: [],
    routes: [
      {
        route: stored!,
        isLocal: false,
        source: 'manual',
        addedAt: 1,
        lastConnectionTime: 0,
        lastErrorTime: 0,
        connectionCount: 0,
        errorCount: 0,
        backoffStep: 0,
        nextAttemptAt: 0,
        errors: [],
        duration: null,
      },
    ],
  })
  t.deepEqual(
    events.items.map(({ type, source }) => `${type} ${source}`),
    ['discover manual', 'discover seed', 'discover local', 'discover room', 'discover local', 'discover stored'],
  )
  t.end()
})

test('a second address of a known peer is no discovery (2.1)', (t) => {
  const { gossip, told } = setUp()
  gossip.add(alice.address)
  gossip.add(alice.by('ws'))
  gossip.add(alice.address, 'friends')
  t.deepEqual(told(), ['discover alice'])
  t.end()
})

test('of routes that race, one event tells how it ended', async (t) => {
  const { gossip, manager, clock, dial, told } = setUp()
  manager.connections.start()
  const other = alice.by('net', 'other.example')
  gossip.add(`${alice.address};${other}`)
  clock.advance(SECOND)
  told()
  dial(alice.address).refuse()
  t.deepEqual(told(), [], 'the other is under way')
  dial(other).refuse()
  t.deepEqual(told(), ['connect-failure alice'])
  t.end()
})

test('a request that goes through all routes of a peer fails once', async (t) => {
  const { gossip, dial, flush, told } = setUp()
  const other = alice.by('net', 'other.example')
  gossip.add(`${alice.address};${other}`)
  told()
  const outcome = gossip.connect(alice.address)
  flush()
  dial(alice.address).refuse()
  flush()
  dial(other).refuse()
  flush()
  t.equal(await codeOf(outcome), 'ERR_DIAL_FAILED')
  t.deepEqual(told(), ['connect-failure alice'])
  t.end()
})

test('a stranger that calls in and goes is told of from connect to remove', (t) => {
  const { inbound, told, events } = setUp()
  const rpc = inbound(alice)
  t.equal(events.items[0]?.peer.client, false)
  rpc.end()
  const last = events.items[events.items.length - 1]
  t.equal(last?.peer.address, `net:10.1.2.3:48312~shs:${alice.key}`)
  t.equal(last?.peer.state, undefined)
  t.deepEqual(told(), ['connect alice', 'disconnect alice', 'remove alice'])
  t.end()
})

test('of a stranger that is refused nothing is told', (t) => {
  const { manager, inbound, told, clock } = setUp({ maxInbound: 0 })
  inbound(alice)
  clock.advance(SECOND)
  t.deepEqual(told(), [])
  manager.peer.setPriority({ id: bob.id, priority: 'BANNED' })
  inbound(bob)
  clock.advance(SECOND)
  t.deepEqual(told(), [])
  t.end()
})

test('a connection that takes the place of another is still one: connect and disconnect come once', (t) => {
  const { gossip, clock, inbound, told, entry } = setUp()
  gossip.add(alice.address)
  told()
  inbound(alice)
  clock.advance(MINUTE)
  const second = inbound(alice)
  clock.advance(MINUTE)
  t.equal(entry(alice).state, 'connected')
  second.end()
  t.deepEqual(told(), ['connect alice', 'disconnect alice'])
  t.end()
})

test('there is no replay, and an ended reader is let go of (2.1)', (t) => {
  const { gossip, facade, manager } = setUp()
  gossip.add(alice.address)
  const late = collect(gossip.changes())
  t.deepEqual(late.items, [])
  gossip.add(bob.address)
  t.equal(late.items.length, 1)
  late.abort()
  gossip.add(carol.address)
  t.equal(late.items.length, 1)
  const last = collect(gossip.changes())
  facade.stop()
  t.equal(last.end, true, 'sources end with the facade')
  manager.peer.addRoute({ address: dave.address })
  t.deepEqual(last.items, [])
  t.equal(collect(gossip.changes()).end, true, 'those that are opened later as well')
  t.end()
})

test('who does not read costs no memory without bound', (t) => {
  const { gossip } = setUp()
  const source = gossip.changes()
  for (let i = 0; i < 3_000; i++) {
    gossip.add(alice.address)
    gossip.remove(alice.id)
  }
  let read = 0
  const next = (): void =>
    source(null, (end) => {
      if (!end) {
        read++
        next()
      }
    })
  next()
  t.ok(read <= 1_000, `${read} events of 6000 were waiting`)
  t.end()
})

/* ---- remove ---- */

test('remove by feed id, {key}, object or address, and remove is told (2.1, 1.2: device-address, ssb-local, friend-pub)', (t) => {
  const forms: [string, unknown][] = [
    ['a feed id', alice.id],
    ['{key} alone', { key: alice.id }],
    ['a parsed peer', { host: 'alice.example', port: 8008, key: alice.id }],
    ['an object with an address that is another by now', { address: alice.by('net', 'old.example'), key: alice.id }],
    ['an address', alice.address],
    ['an entry', setUp().gossip.add(alice.address)],
  ]
  for (const [what, target] of forms) {
    const { gossip, told, events } = setUp()
    gossip.add(alice.address)
    gossip.add(alice.address)
    t.equal(gossip.remove(target), true, what)
    t.equal(events.items[1]?.peer.stateChange, undefined, 'as it was: never dialed')
    t.equal(gossip.get(alice.id), undefined)
    t.deepEqual(told(), ['discover alice', 'remove alice'])
    t.equal(gossip.add(alice.address)?.announcers, 1, 'what was counted is gone with it')
  }
  t.end()
})

test('removing what is unknown is a no-op (1.4)', (t) => {
  const { gossip, told } = setUp()
  gossip.add(alice.address)
  told()
  for (const target of [bob.id, { key: bob.id }, bob.address, alice.by('net', 'never.example')])
    t.equal(gossip.remove(target), false)
  t.equal(gossip.peers().length, 1)
  t.deepEqual(told(), [])
  t.equal(
    codeIn(() => gossip.remove('foo')),
    'ERR_INVALID_ADDRESS',
  )
  t.equal(
    codeIn(() => gossip.remove(undefined)),
    'ERR_INVALID_ADDRESS',
  )
  t.end()
})

test('{key} removes every address of the peer, an address only its own', (t) => {
  const { gossip, told, manager } = setUp()
  const other = alice.by('net', 'other.example')
  gossip.add(`${alice.address};${other}`)
  gossip.remove(other)
  t.deepEqual(
    manager.peer.get(alice.id)?.routes.map(({ id }) => id),
    [alice.address],
  )
  t.deepEqual(told(), ['discover alice'], 'the peer is still known')
  gossip.add(other)
  gossip.remove({ key: alice.id })
  t.deepEqual(told(), ['remove alice'])
  t.end()
})

test('a neighbour that fell silent loses its local addresses and keeps the others (1.2: ssb-local)', (t) => {
  const { gossip, manager, entry } = setUp()
  gossip.add(alice.address, 'friends')
  gossip.add(`${alice.by('net', '192.168.1.4')};${alice.by('ws', '192.168.1.4')}`, 'local')
  t.equal(entry(alice).source, 'local')
  gossip.remove({ host: '192.168.1.4', port: 8008, key: alice.id })
  t.deepEqual(
    manager.peer.get(alice.id)?.routes.map(({ id }) => id),
    [alice.address],
  )
  t.equal(entry(alice).source, 'friends')
  t.end()
})

test('remove does not close the connection; the peer goes when that ends (2.1)', (t) => {
  const { gossip, clock, connected, told, entry } = setUp()
  const rpc = connected(alice.address)
  told()
  gossip.remove({ key: alice.id })
  clock.advance(MINUTE)
  t.equal(rpc.hangUps, 0, 'a beacon that got lost hangs up on no neighbour')
  t.equal(entry(alice).state, 'connected', 'and it is shown for as long')
  rpc.end()
  clock.flush()
  t.deepEqual(told(), ['disconnect alice', 'remove alice'])
  t.deepEqual(gossip.peers(), [])
  t.end()
})

test('of the addresses of a connected peer only the removed one goes when the connection ends', (t) => {
  const { gossip, manager, clock, connected } = setUp()
  const other = alice.by('net', 'other.example')
  gossip.add(other)
  const rpc = connected(alice.address)
  gossip.remove(alice.address)
  rpc.end()
  clock.flush()
  t.deepEqual(
    manager.peer.get(alice.id)?.routes.map(({ id }) => id),
    [other],
  )
  t.end()
})

test('heard of again before the connection ends, it stays', (t) => {
  const { gossip, clock, connected, told } = setUp()
  const rpc = connected(alice.address)
  gossip.remove(alice.id)
  gossip.add(alice.address, 'local')
  told()
  rpc.end()
  clock.flush()
  t.deepEqual(told(), ['disconnect alice'])
  t.equal(gossip.peers().length, 1)
  t.end()
})

/* ---- reconnect ---- */

test('reconnect hangs up on all, lets the scheduler dial again at once, and says when (2.1, 1.4)', (t) => {
  const { gossip, manager, clock, dials, newDials, told } = setUp({ answer: (dial) => dial.accept() })
  manager.connections.start()
  gossip.add(alice.address)
  gossip.add(bob.address)
  clock.advance(SECOND)
  newDials()
  told()
  t.equal(gossip.wakeup, 0)
  t.equal(gossip.reconnect(), clock.now())
  clock.advance(SECOND)
  t.deepEqual(newDials().sort(), [alice.address, bob.address].sort(), 'within a second')
  t.equal(dials.length, 4)
  const seen = told()
  t.deepEqual(seen.filter((each) => each.startsWith('disconnect')).sort(), ['disconnect alice', 'disconnect bob'])
  t.deepEqual(seen.filter((each) => each.startsWith('connect ')).sort(), ['connect alice', 'connect bob'])
  t.equal(gossip.wakeup, clock.now() - SECOND)
  t.end()
})

test('reconnect dials nobody while the manager is off, and hangs up on inbound peers too', (t) => {
  const { gossip, connected, inbound, newDials, clock } = setUp()
  const out = connected(alice.address)
  const into = inbound(bob)
  newDials()
  gossip.reconnect()
  clock.advance(MINUTE)
  t.deepEqual([out.hangUps, into.hangUps], [1, 1])
  t.deepEqual(newDials(), [])
  t.end()
})

test('reconnect tries again what was put off because the network seemed down', (t) => {
  const { gossip, manager, clock, newDials } = setUp()
  manager.connections.start()
  manager.internal.offline()
  gossip.add(alice.address)
  gossip.add(bob.address)
  clock.advance(2 * SECOND)
  t.deepEqual(newDials(), [])
  gossip.reconnect()
  clock.advance(SECOND)
  t.deepEqual(newDials().sort(), [alice.address, bob.address].sort())
  t.equal(manager.connections.status().environment.link, 'up')
  t.end()
})

test('wakeup is up to date where the API was copied, as secret-stack does', (t) => {
  const sbot: Record<string, unknown> = {}
  const { gossip, clock } = setUp({ sbot })
  t.equal(gossip.wakeup, 0)
  const made = setUp({ sbot: { gossip: { wakeup: 0 } } })
  made.gossip.reconnect()
  t.deepEqual(made.stack.gossip, { wakeup: clock.now() })
  t.end()
})

/* ---- enable, disable ---- */

test('disable and enable say what they did, global by default (2.1)', (t) => {
  const saved: [string, boolean][] = []
  const { gossip } = setUp({ saveType: (type, isEnabled) => saved.push([type, isEnabled]) })
  t.equal(gossip.disable(), 'disabled gossip type global')
  t.equal(gossip.enable(), 'enabled gossip type global')
  for (const type of ['global', 'local', 'friends', 'seed']) {
    t.equal(gossip.disable(type), `disabled gossip type ${type}`)
    t.equal(gossip.enable({ type }), `enabled gossip type ${type}`, '--type on a command line')
  }
  t.deepEqual(saved.slice(0, 3), [
    ['global', false],
    ['global', true],
    ['global', false],
  ])
  t.equal(
    codeIn(() => gossip.enable('everything')),
    'ERR_INVALID_ARGUMENT',
  )
  t.equal(
    codeIn(() => gossip.disable('__proto__')),
    'ERR_INVALID_ARGUMENT',
  )
  t.equal(
    codeIn(() => gossip.disable(7)),
    'ERR_INVALID_ARGUMENT',
  )
  t.end()
})

test('they say so when the config cannot be written', (t) => {
  const { gossip } = setUp()
  t.equal(gossip.disable('local'), 'disabled gossip type local until the restart: there is no config file to write to')
  const broken = setUp({
    saveType: () => {
      throw new Error('EROFS: read-only file system')
    },
  })
  t.equal(broken.gossip.disable('local'), 'disabled gossip type local until the restart: EROFS: read-only file system')
  t.equal(broken.manager.connections.status().classes.local?.max, 0, 'it holds until then')
  t.end()
})

test('without local no neighbour is dialed, and those that were are hung up on', (t) => {
  const { gossip, manager, clock, newDials } = setUp({ answer: (dial) => dial.accept() })
  manager.connections.start()
  const lan = alice.by('net', '192.168.1.4')
  gossip.add(lan, 'local')
  gossip.add(bob.address)
  clock.advance(SECOND)
  t.deepEqual(newDials().sort(), [lan, bob.address].sort())
  gossip.disable('local')
  clock.advance(SECOND)
  t.equal(gossip.get(alice.id)?.state, undefined)
  t.equal(gossip.get(bob.id)?.state, 'connected', 'others stay')
  gossip.add(carol.by('net', '192.168.1.5'), 'local')
  clock.advance(10 * MINUTE)
  t.deepEqual(newDials(), [])
  t.equal(gossip.get(carol.id), undefined, 'nor is a new one taken up')
  gossip.enable('local')
  clock.advance(SECOND)
  t.deepEqual(newDials(), [lan])
  t.end()
})

test('without global only neighbours are dialed, but for who is asked for or long-term', (t) => {
  const { gossip, manager, clock, newDials } = setUp({
    answer: (dial) => dial.accept(),
    maxByType: { net: 5, onion: 0 },
  })
  manager.connections.start()
  gossip.disable()
  const lan = alice.by('net', '192.168.1.4')
  gossip.add(lan, 'local')
  gossip.add(bob.address, 'friends')
  gossip.add(carol.address, 'seed')
  clock.advance(MINUTE)
  t.deepEqual(newDials(), [lan])
  gossip.connect(carol.address)
  clock.advance(SECOND)
  t.deepEqual(newDials(), [carol.address])
  gossip.enable()
  clock.advance(SECOND)
  t.deepEqual(newDials(), [bob.address])
  const { net, onion, local } = manager.connections.status().classes
  t.deepEqual([net?.max, onion?.max, local?.max], [5, 0, 5], 'the maxima from before are back')
  t.end()
})

test('a maximum that was set in the meantime is not undone by enable', (t) => {
  const { gossip, manager } = setUp()
  gossip.disable()
  manager.connections.setMaxByType({ net: 1 })
  gossip.enable()
  t.equal(manager.connections.status().classes.onion?.max, 3)
  t.equal(manager.connections.status().classes.net?.max, 1)
  gossip.disable()
  gossip.disable()
  gossip.enable()
  t.equal(manager.connections.status().classes.net?.max, 1, 'nor lost when it is disabled twice')
  t.end()
})

test('without friends or seed, what they tell is not taken up', (t) => {
  const { gossip } = setUp({ gossip: { friends: false, seed: false } })
  t.equal(gossip.add(alice.address, 'friends'), undefined)
  t.equal(gossip.add(alice.address, 'seed'), undefined)
  t.equal(gossip.add(alice.address, 'pub')?.source, 'pub')
  t.equal(gossip.add(alice.address, 'friends')?.source, 'pub')
  gossip.enable('friends')
  t.equal(gossip.add(alice.address, 'friends')?.source, 'friends')
  t.end()
})

test('config.gossip says what is off at the start (1.4, config honoured)', (t) => {
  const rows: [Record<string, unknown> | undefined, number, number][] = [
    [undefined, 3, 5],
    [{}, 3, 5],
    [{ connections: 3 }, 3, 5],
    [{ global: null, local: '' }, 3, 5],
    [{ global: true, local: true }, 3, 5],
    [{ local: false }, 3, 0],
    [{ global: false }, 0, 5],
    [{ global: 'false', local: 'false' }, 0, 0],
  ]
  for (const [gossip, net, local] of rows) {
    const { classes } = setUp({ gossip } as Given).manager.connections.status()
    t.deepEqual([classes.net?.max, classes.local?.max], [net, local], JSON.stringify(gossip))
  }
  t.end()
})

test('ssb-local sees the setting in the config, and is started when it is enabled (2.1)', (t) => {
  const settings: Record<string, unknown> = { local: false }
  let starts = 0
  const { gossip } = setUp({ gossip: settings, sbot: { local: { init: () => starts++ } } })
  gossip.enable('local')
  t.equal(settings.local, true)
  t.equal(starts, 1)
  gossip.disable('local')
  t.deepEqual([settings.local, starts], [false, 1])
  const frozen = setUp({ gossip: Object.freeze({}) })
  t.equal(
    codeIn(() => frozen.gossip.disable('local')),
    'no error',
    'a config that cannot be changed is left alone',
  )
  t.end()
})

/* ---- the config file ---- */

function inFolder(run: (folder: string, file: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'gossip-config-'))
  try {
    run(folder, join(folder, 'config'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

test('the setting is merged into <path>/config, as JSON with two spaces (2.1)', (t) => {
  inFolder((folder, file) => {
    saveGossipType(folder, 'local', false)
    t.equal(readFileSync(file, 'utf8'), '{\n  "gossip": {\n    "local": false\n  }\n}')
    writeFileSync(file, JSON.stringify({ port: 8008, gossip: { connections: 3, local: true }, plugins: { a: true } }))
    saveGossipType(folder, 'local', false)
    saveGossipType(folder, 'global', true)
    t.deepEqual(JSON.parse(readFileSync(file, 'utf8')), {
      port: 8008,
      gossip: { connections: 3, local: false, global: true },
      plugins: { a: true },
    })
    t.deepEqual(readdirSync(folder), ['config'], 'no temporary file is left')
  })
  t.end()
})

test('a config that is no plain JSON is left as it is (fault of ssb-gossip: it was replaced)', (t) => {
  const rows = ['{ "port": 8008 // mine\n}', '[gossip]\nlocal=true', '[1]', '"x"', 'null', '{"a":']
  for (const text of rows)
    inFolder((folder, file) => {
      writeFileSync(file, text)
      t.equal(
        codeIn(() => saveGossipType(folder, 'local', false)),
        'ERR_STORED_STATE',
        text,
      )
      t.equal(readFileSync(file, 'utf8'), text)
      t.deepEqual(readdirSync(folder), ['config'])
    })
  inFolder((folder) =>
    t.equal(
      codeIn(() => saveGossipType(join(folder, 'none'), 'local', false)),
      'ERR_STORED_STATE',
    ),
  )
  t.end()
})

test('an empty file is a config, a link stays a link, and a mode stays', (t) => {
  inFolder((folder, file) => {
    const real = join(folder, 'dotfile')
    writeFileSync(real, '\n', { mode: 0o640 })
    symlinkSync(real, file)
    saveGossipType(folder, 'seed', true)
    t.deepEqual(JSON.parse(readFileSync(real, 'utf8')), { gossip: { seed: true } })
    t.deepEqual(readdirSync(folder).sort(), ['config', 'dotfile'])
    if (process.platform !== 'win32') t.equal(statSync(real).mode & 0o777, 0o640)
  })
  t.end()
})

/* ---- over the wire ---- */

test('a remote caller of connect learns that there is a connection, not its insides', async (t) => {
  const { gossip, manager, flush, dial } = setUp()
  const remote = { id: self.id }
  const outcome = called((cb) => gossip.connect.call(remote, alice.address, cb))
  flush()
  dial(alice.address).accept(Object.assign(rpcFrom(alice), { secret: 'key' }))
  const answer = await outcome
  t.deepEqual(answer, [null, { id: alice.id, address: `net:10.1.2.3:48312~shs:${alice.key}` }])
  t.ok(isPlain(answer))
  manager.peer.remotePeerConnected(bob.id)
  t.deepEqual(await called((cb) => gossip.connect.call(remote, bob.id, cb)), [null, { id: bob.id, address: null }])
  t.end()
})

test('pings that are served are measured for their caller (2.6)', (t) => {
  const { gossip, inbound, clock, entry } = setUp({ timers: { ping: 10_000 } })
  inbound(alice)
  inbound(bob)
  for (const who of [alice, bob]) {
    const served = gossip.ping.call({ id: who.id })
    let read: ((end: null, data: unknown) => void) | null = null
    served.sink(((abort: unknown, cb: typeof read) => {
      if (!abort) read = cb
    }) as never)
    served.source(null, () => {
      served.source(null, () => {
        clock.setTimeout(() => read?.(null, clock.now()), who === alice ? 100 : 300)
      })
    })
    const send = read as unknown as (end: null, data: unknown) => void
    send(null, clock.now())
  }
  clock.advance(10_500)
  t.equal(entry(alice).ping?.rtt.mean, 100)
  t.equal(entry(bob).ping?.rtt.mean, 300)
  t.end()
})

test('one caller cannot open pings without bound', (t) => {
  const { gossip } = setUp()
  const open = Array.from({ length: 16 }, () => gossip.ping.call({ id: alice.id }))
  t.throws(() => gossip.ping.call({ id: alice.id }), /open already/)
  t.ok(gossip.ping.call({ id: bob.id }), 'others are not held up')
  open[0]?.source(true, () => {})
  t.ok(gossip.ping.call({ id: alice.id }), 'an ended one makes room')
  t.end()
})

test('methods may be called unbound (1.3)', async (t) => {
  const { gossip } = setUp()
  const { add, get, peers, connect, disconnect, ping, remove } = gossip
  t.ok(add(alice.address))
  t.ok(get(alice.id))
  t.equal(peers().length, 1)
  t.equal(await codeOf(connect(bob.id)), 'ERR_NO_ROUTE')
  t.equal(await disconnect(alice.id), false)
  t.ok(ping().source)
  t.equal(remove(alice.id), true)
  t.end()
})

test('help has the shape that the muxrpc command line prints (2.1, 4)', (t) => {
  const { gossip, facade } = setUp()
  const help = gossip.help()
  t.ok(help.description)
  t.deepEqual(
    Object.keys(help.commands).sort(),
    Object.keys(facade.manifest)
      .filter((name) => name !== 'ping')
      .sort(),
    'every command there is; ping is for peers',
  )
  for (const [name, command] of Object.entries(commandsOf(help))) {
    t.equal(command.type, (facade.manifest as Record<string, string>)[name], name)
    t.ok(command.description)
    for (const arg of Object.values(command.args)) t.ok(arg.type && arg.description)
    if (command.single !== undefined) t.ok(command.single in command.args, `${name} {${command.single}}`)
  }
  t.end()
})

/* ---- log ---- */

test('log:info says what ssb-gossip said, in its form (2.1, 4)', (t) => {
  const { manager, stack, log, clock, gossip, flush, dial, connected, inbound } = setUp()
  const stop = startLog({ manager, sbot: stack })
  gossip.connect(alice.address)
  flush()
  dial(alice.address).refuse()
  flush()
  const rpc = connected(alice.address)
  clock.advance(2_500)
  rpc.end()
  flush()
  const name = `alice.example:8008:${alice.id}`
  t.deepEqual(log.splice(0), [
    ['ssb-server', name, 'CONNECTING'],
    ['ssb-server', name, 'ERR', 'connect ECONNREFUSED'],
    ['ssb-server', name, 'CONNECTING'],
    ['ssb-server', name, 'PEER JOINED'],
    ['ssb-server', name, 'DISCONNECTED. state was connected for 2.5 seconds'],
  ])
  connected(alice.address)
  clock.advance(1_000)
  gossip.disconnect(alice.id)
  flush()
  t.deepEqual(log.splice(0).slice(2), [['ssb-server', name, 'DISCONNECTED. state was disconnecting for 1 seconds']])
  gossip.add(bob.address)
  inbound(bob).end()
  inbound(carol).end()
  clock.flush()
  t.deepEqual(log.splice(0), [
    ['ssb-server', `bob.example:8008:${bob.id}`, 'PEER JOINED'],
    ['ssb-server', `bob.example:8008:${bob.id}`, 'DISCONNECTED. state was connected for 0 seconds'],
    ['ssb-server', carol.id, 'Connected'],
    ['ssb-server', carol.id, 'Disconnected'],
  ])
  gossip.connect(`tunnel:${carol.id}:${alice.id}~shs:${alice.key}`)
  flush()
  t.deepEqual(log.splice(0)[0], ['ssb-server', `tunnel:${carol.id}:${alice.id}~shs:${alice.key}`, 'CONNECTING'])
  stop()
  gossip.connect(dave.address)
  clock.flush()
  t.deepEqual(log, [])
  t.end()
})

test('the log speaks of each connection once, and not of those that are refused', (t) => {
  const { manager, stack, log, clock, inbound } = setUp({ maxInbound: 1 })
  startLog({ manager, sbot: stack })
  manager.peer.addRoute({ address: alice.address })
  inbound(alice)
  clock.advance(MINUTE)
  inbound(alice)
  inbound(bob)
  clock.advance(MINUTE)
  t.deepEqual(
    log.map((line) => line[2]),
    ['PEER JOINED'],
  )
  t.end()
})

test('a listener of the log that throws does not stop the machine halfway', (t) => {
  const { manager, clock, gossip, dial, entry } = setUp()
  startLog({
    manager,
    sbot: {
      emit: () => {
        throw new Error('a broken log')
      },
    },
  })
  gossip.connect(alice.address)
  t.throws(() => clock.flush(), /broken/, 'the error is its own')
  t.equal(entry(alice).state, 'connecting')
  dial(alice.address).accept()
  t.equal(entry(alice).state, 'connected')
  t.throws(() => clock.flush(), /broken/)
  t.end()
})

test('a stack that cannot emit has no log', (t) => {
  const { manager, connected, entry } = setUp()
  startLog({ manager, sbot: {} })
  connected(alice.address)
  t.equal(entry(alice).state, 'connected')
  t.end()
})

/* ---- status ---- */

test('status().gossip has who is connected or changed within three seconds (2.1, 4)', (t) => {
  const { facade, gossip, clock, connected, inbound, dial, flush } = setUp()
  gossip.add(dave.address)
  const rpc = connected(alice.address)
  inbound(carol)
  t.deepEqual(Object.keys(facade.status()).sort(), [alice.id, carol.id].sort(), 'dave did not change')
  t.deepEqual(facade.status()[alice.id], {
    address: alice.address,
    source: 'manual',
    state: 'connected',
    stateChange: clock.now(),
    failure: 0,
    client: true,
    stats: {
      duration: undefined,
      rtt: { mean: 0, stdev: 0, count: 0, sum: 0, sqsum: 0 },
      skew: { mean: 0, stdev: 0, count: 0, sum: 0, sqsum: 0 },
    },
  })
  clock.advance(MINUTE)
  t.ok(facade.status()[alice.id], 'for as long as it is connected')
  gossip.connect(bob.address)
  flush()
  dial(bob.address).refuse()
  rpc.end()
  t.deepEqual(Object.keys(facade.status()).sort(), [alice.id, bob.id, carol.id].sort())
  t.equal(facade.status()[bob.id]?.failure, 1)
  t.deepEqual(facade.status()[alice.id]?.stats.duration?.count, 1)
  clock.advance(3_000)
  t.deepEqual(Object.keys(facade.status()), [carol.id], 'the others are gone again (fault of ssb-gossip: they stayed)')
  t.end()
})

test('sbot.status gets both parts, whether it is there before us or after (2.1)', async (t) => {
  for (const when of ['before', 'after', 'never'] as const) {
    const { manager, facade, stack, clock } = setUp()
    const mount = (): void => {
      stack.status = hoox(() => ({ progress: 1 }))
    }
    if (when === 'before') mount()
    const stop = hookStatus({ sbot: stack, manager, gossip: facade })
    if (when === 'after') mount()
    clock.flush()
    t.equal(clock.pending, 0, 'without polling')
    if (when === 'never') continue
    const status = (stack.status as () => Record<string, unknown>)()
    t.deepEqual(Object.keys(status).sort(), ['connectionManager', 'gossip', 'progress'])
    t.deepEqual(status.connectionManager, manager.connections.status())
    stop()
    t.deepEqual((stack.status as () => unknown)(), { progress: 1 })
  }
  t.end()
})

test('status with a callback is extended too, and other answers are left alone', async (t) => {
  const { manager, facade, stack } = setUp()
  const answers: unknown[] = [{ a: 1 }, null, 'fine']
  stack.status = hoox((cb?: unknown) => {
    const answer = answers.shift()
    if (typeof cb === 'function') cb(null, answer)
    else return answer
    return undefined
  })
  hookStatus({ sbot: stack, manager, gossip: facade })
  const [error, status] = await called((cb) => (stack.status as (cb: unknown) => unknown)(cb))
  t.equal(error, null)
  t.deepEqual(Object.keys(status as object).sort(), ['a', 'connectionManager', 'gossip'])
  t.equal((stack.status as () => unknown)(), null)
  t.equal((stack.status as () => unknown)(), 'fine')
  t.end()
})

/* ---- as a whole ---- */

test('a facade that comes late knows who is connected', (t) => {
  const { manager, clock, connected } = setUp()
  const rpc = connected(alice.address)
  const late = createGossip({ manager, sbot: {}, clock })
  const events = collect<GossipEvent>(late.api.changes())
  rpc.end()
  t.deepEqual(
    events.items.map(({ type }) => type),
    ['disconnect'],
  )
  t.end()
})

test('whatever happens, the events of each peer make sense', (t) => {
  const people = [alice, bob, carol]
  const { gossip, manager, clock, dials, events, inbound } = setUp()
  manager.connections.start()
  let seed = 7
  const draw = (n: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((seed / 2_147_483_648) * n)
  }
  const rpcs: FakeRpc[] = []
  const open = new Set<(typeof dials)[number]>()
  let seenDials = 0
  for (let step = 0; step < 4_000; step++) {
    const who = people[draw(people.length)] as Person
    for (; seenDials < dials.length; seenDials++) open.add(dials[seenDials]!)
    const acts: (() => void)[] = [
      () => gossip.add(draw(2) ? who.address : who.by('net', 'other.example'), ['pub', 'local', 'friends'][draw(3)]),
      () => gossip.remove(draw(2) ? { key: who.id } : who.address),
      () => gossip.connect(draw(2) ? who.address : who.id),
      () => gossip.disconnect(who.id),
      () => rpcs.push(inbound(who)),
      () => rpcs[draw(rpcs.length)]?.end(),
      () => {
        const dial = [...open][draw(open.size)]
        if (!dial) return
        open.delete(dial)
        if (draw(2)) rpcs.push(dial.accept())
        else dial.refuse()
      },
      () => clock.advance(draw(20_000)),
      () => (draw(20) === 0 ? gossip.reconnect() : undefined),
    ]
    acts[draw(acts.length)]?.()
  }
  clock.advance(MINUTE)
  const connectedNow = new Set<string>()
  const mistakes: string[] = []
  for (const { type, peer } of events.items as GossipEvent[]) {
    const isConnected = connectedNow.has(peer.key)
    if (type === 'connect') {
      if (isConnected || peer.state !== 'connected')
        mistakes.push(`connect of ${peer.state}, connected before: ${isConnected}`)
      connectedNow.add(peer.key)
    } else if (type === 'disconnect') {
      if (!isConnected) mistakes.push('disconnect of who was not connected')
      if (peer.state !== undefined) mistakes.push(`disconnect with state ${peer.state}`)
      connectedNow.delete(peer.key)
    } else if (isConnected && type !== 'discover') {
      mistakes.push(`${type} of who is connected`)
    }
  }
  t.deepEqual(mistakes, [])
  t.ok(events.items.length > 500, `${events.items.length} events`)
  const up = gossip.peers().filter((peer) => peer.state === 'connected')
  t.deepEqual(up.map(({ key }) => key).sort(), [...connectedNow].sort(), 'and they add up to what peers() says')
  t.end()
})
