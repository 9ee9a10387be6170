/*
 * The legacy `conn` API against what its callers rely on: the rows of consumers.md 1.1 and 1.4 and the contracts of 1.3,
 * cited as (1.1: caller), and legacy-apis.md 2.4. The faults that are listed there have a test as well: that they are gone.
 */
import assert = require('assert')
import fc = require('fast-check')
import pull = require('pull-stream')
import test = require('tape')

import {
  type ConnOptions,
  ConnQuery,
  connManifest,
  createConn,
  type DbEvent,
  type HubData,
  type HubEntry,
  type HubEvent,
  type StagedEntry,
  type StagingEvent,
} from '../../src/adapters/conn/conn'
import { createGossip } from '../../src/adapters/gossip'
import { MAX_ROUTE_DATA } from '../../src/core/options'
import { fromSnapshot, toSnapshot } from '../../src/core/snapshot'
import { collect } from '../support/eventually'
import { commandsOf } from '../support/help'
import {
  alice,
  type BenchOptions,
  bench,
  bob,
  carol,
  catchThrown,
  codeOf,
  DAY,
  dave,
  FakeRpc,
  MINUTE,
  type Person,
  person,
  SECOND,
  serialised,
} from '../support/manager'

const self = person('self')
const SEED = Buffer.alloc(32, 'seed').toString('base64')

interface Given extends BenchOptions {
  readonly sbot?: Record<string, unknown>
  readonly whenReady?: ConnOptions['whenReady']
  readonly timers?: unknown
}

function setUp(given: Given = {}) {
  const { sbot = {}, whenReady, timers, ...options } = given
  const made = bench({ selfId: self.id, ...options })
  const { manager, clock } = made
  const facade = createConn({ manager, sbot, clock, config: { timers }, ...(whenReady ? { whenReady } : {}) })
  const conn = facade.api
  const events = collect<HubEvent>(conn.hub().listen())
  return {
    ...made,
    facade,
    conn,
    events,
    /** The events since this was last called, in few words. */
    told: () => (events.items as HubEvent[]).splice(0).map(({ type, key }) => `${type} ${nameOf(key)}`),
    tunnelTo: (who: Person, room: Person) => `tunnel:${room.id}:${who.id}~shs:${who.key}`,
    inbound: (who: Person, rpc: FakeRpc = rpcFrom(who)) => {
      manager.internal.accept(who.id, rpc, 'inbound', null)
      clock.flush()
      return rpc
    },
    /** `disconnect`, with what follows from it when the turn is over. */
    hangUp: (address: string) => {
      const done = conn.disconnect(address)
      clock.flush()
      return done
    },
    route: (address: string) => manager.internal.store.getState().routes.get(address),
    /** What is on disk would be read into a manager like this one. */
    restarted: () => {
      const snapshot = toSnapshot(manager.internal.store.getState(), clock.now())
      const next = setUp({ ...given, clock })
      next.manager.internal.load(fromSnapshot(JSON.parse(JSON.stringify(snapshot))))
      clock.flush()
      return next
    },
  }
}

const PEOPLE = { alice, bob, carol, dave }

function nameOf(id: string): string {
  return Object.entries(PEOPLE).find(([, who]) => who.id === id)?.[0] ?? id
}

type Incoming = FakeRpc & { id: string; stream: { address: string; meta?: string } }

/** As a stack brings it: with an id, and an address that is no use for dialing. */
function rpcFrom(who: Person, address = `net:10.1.2.3:48312~shs:${who.key}`, meta?: string): Incoming {
  return Object.assign(new FakeRpc(who.id), { id: who.id, stream: { address, ...(meta ? { meta } : {}) } })
}

function codeIn(fn: () => unknown): unknown {
  try {
    fn()
    return 'no error'
  } catch (error) {
    return (error as { code?: unknown }).code ?? String(error)
  }
}

/** The outcome that a callback is given. */
function called(start: (cb: (...args: unknown[]) => void) => unknown): Promise<unknown[]> {
  return new Promise((resolve) => {
    start((...args) => resolve(args))
  })
}

/** As a muxrpc of the owner or of a stranger calls. */
function from<A extends unknown[], R>(who: Person, method: (...args: A) => R): (...args: A) => R {
  return (...args) => method.apply({ id: who.id }, args)
}

const HOSTILE: readonly unknown[] = [
  undefined,
  null,
  '',
  'foo',
  'net:alice.example:8008',
  alice.id,
  42,
  {},
  [],
  () => {},
  'net:'.repeat(5_000),
  new Proxy(
    {},
    {
      get: () => {
        throw new Error('no')
      },
    },
  ),
]

/* ---- shape ---- */

test('the manifest has the types that secret-stack and clients rely on, without the parts (1.3)', (t) => {
  const { facade } = setUp()
  t.deepEqual(facade.manifest, {
    remember: 'sync',
    forget: 'sync',
    dbPeers: 'sync',
    connect: 'async',
    disconnect: 'async',
    peers: 'source',
    stage: 'sync',
    unstage: 'sync',
    stagedPeers: 'source',
    start: 'sync',
    stop: 'sync',
    ping: 'duplex',
    help: 'sync',
  })
  for (const name of [...Object.keys(connManifest), 'db', 'hub', 'staging', 'query'])
    t.equal(typeof (facade.api as unknown as Record<string, unknown>)[name], 'function', name)
  t.deepEqual(facade.permissions, { anonymous: { allow: ['ping'] } }, 'strangers may ping and nothing else')
  t.end()
})

test('every method works unbound', async (t) => {
  const { conn, clock, dial } = setUp()
  const { remember, forget, dbPeers, connect, disconnect, stage, unstage, peers, stagedPeers, start, stop, help } = conn
  const { db, hub, staging, query } = conn
  remember(alice.address)
  t.equal(dbPeers().length, 1)
  const connected = connect(alice.address)
  clock.flush()
  const rpc = dial(alice.address).accept()
  t.equal(await connected, rpc)
  t.equal(collect(peers()).items.length, 1)
  const hungUp = disconnect(alice.address)
  clock.flush()
  t.equal(await hungUp, true)
  forget(alice.address)
  t.equal(stage(bob.address), true)
  t.equal(collect(stagedPeers()).items.length, 1)
  t.equal(unstage(bob.address), true)
  stop()
  t.ok(start().then, 'start gives a promise')
  t.ok(help().commands.connect)
  const [{ get, entries }, listen, { stage: stageAgain }, { peersAll }] = [db(), hub().listen, staging(), query()]
  t.equal(get(alice.address), undefined)
  t.deepEqual([...entries()], [])
  t.equal(typeof listen(), 'function')
  t.equal(stageAgain(bob.address), true)
  t.equal(peersAll().length, 1)
  t.end()
})

test('what a remote caller reaches of the parts is an error, not the stack with its keys (2.4)', (t) => {
  const { conn } = setUp()
  for (const name of ['db', 'hub', 'staging', 'query'] as const) {
    t.throws(() => from(alice, conn[name] as () => unknown)(), /same process/, name)
    t.equal(conn[name](), conn[name](), 'the same one each time for others')
  }
  t.end()
})

test('help names every method but ping, with its type', (t) => {
  const { conn, facade } = setUp()
  const { ping: _, ...manifest } = facade.manifest
  const types = Object.entries(commandsOf(conn.help())).map(([name, { type }]) => [name, type])
  t.deepEqual(Object.fromEntries(types), manifest)
  t.end()
})

/* ---- remember, forget, db ---- */

test('remember keeps an address with what is said of it, and dbPeers shows it (1.1: invite-client, Oasis, Manyverse)', (t) => {
  const { conn, clock } = setUp()
  t.equal(conn.remember(alice.address, { type: 'pub', name: 'a pub', openInvites: true }), undefined)
  t.deepEqual(conn.dbPeers(), [
    [
      alice.address,
      { source: 'manual', type: 'pub', name: 'a pub', openInvites: true, birth: clock.now(), key: alice.id },
    ],
  ])
  t.deepEqual(JSON.parse(JSON.stringify(conn.dbPeers())), conn.dbPeers(), 'plain JSON')
  t.end()
})

test('remember merges, and the first birth is kept (1.4)', (t) => {
  const { conn, clock } = setUp()
  const birth = clock.now()
  conn.remember(alice.address, { type: 'pub', name: 'old' })
  clock.advance(MINUTE)
  conn.remember(alice.address, { name: 'new', birth: clock.now() })
  const data = conn.db().get(alice.address)
  t.deepEqual([data?.birth, data?.type, data?.name], [birth, 'pub', 'new'])
  conn.remember(alice.address, { birth: birth - DAY })
  t.equal(conn.db().get(alice.address)?.birth, birth - DAY, 'an earlier one, as from a backup, is believed')
  t.end()
})

test('what is remembered is there after a restart', (t) => {
  const { conn, restarted, clock } = setUp()
  const birth = clock.now()
  conn.remember(alice.address, { type: 'pub', autoconnect: false, membership: true })
  clock.advance(MINUTE)
  const later = restarted()
  t.deepEqual(later.conn.dbPeers(), [
    [alice.address, { source: 'manual', type: 'pub', membership: true, autoconnect: false, birth, key: alice.id }],
  ])
  t.end()
})

test('what is remembered before the table has been read goes over what was read (1.1: testbot, Manyverse)', (t) => {
  const { conn, restarted, clock } = setUp()
  const birth = clock.now()
  conn.remember(alice.address, { type: 'pub', name: 'old', autoconnect: false })
  clock.advance(MINUTE)
  const { conn: other, manager } = setUp({ clock })
  other.remember(alice.address, { name: 'new' })
  manager.internal.load(fromSnapshot(toSnapshot(setUpFrom(conn), clock.now())))
  clock.flush()
  const data = other.db().get(alice.address)
  t.deepEqual([data?.name, data?.type, data?.autoconnect, data?.birth], ['new', 'pub', false, birth])
  t.ok(restarted())
  t.end()

  function setUpFrom(from: typeof conn) {
    const { manager: source } = setUp({ clock })
    for (const [address, said] of from.dbPeers()) source.peer.addRoute({ address, source: String(said.source) })
    for (const [address, said] of from.dbPeers())
      source.internal.annotate(address, { type: said.type, name: said.name, birth }, said.autoconnect !== false)
    return source.internal.store.getState()
  }
})

test('what the route knows is not kept twice: failures, durations and times are read from it', async (t) => {
  const { conn, connected, clock, route, manager, dial } = setUp()
  const said = { failure: 9, stateChange: 9, duration: { mean: 1 }, ping: 1, hubUpdated: 9, key: bob.id, pool: 'db' }
  conn.remember(alice.address, { ...said, name: 'x' })
  t.deepEqual(route(alice.address)?.data, { name: 'x' })
  t.deepEqual(Object.keys(conn.db().get(alice.address) ?? {}).sort(), ['birth', 'key', 'name', 'source'])
  const failing = conn.connect(alice.address)
  clock.flush()
  clock.advance(SECOND)
  dial(alice.address).refuse()
  await codeOf(failing)
  t.deepEqual([conn.db().get(alice.address)?.failure, conn.db().get(alice.address)?.stateChange], [1, clock.now()])
  const rpc = connected(alice.address)
  clock.advance(MINUTE)
  manager.internal.pinged(alice.id, 40, 3)
  t.equal(conn.db().get(alice.address)?.failure, 0)
  t.equal(conn.db().get(alice.address)?.ping?.rtt.mean, 40)
  t.equal(conn.db().get(alice.address)?.stateChange, clock.now() - MINUTE, 'since it is connected')
  rpc.end()
  t.equal(conn.db().get(alice.address)?.duration?.mean, MINUTE)
  t.equal(conn.db().get(alice.address)?.duration?.count, 1, 'once, not twice as in ssb-conn')
  t.equal(conn.db().get(alice.address)?.ping, undefined)
  t.end()
})

test('remember throws on what is no address or has no key, and nothing is half done', (t) => {
  const { conn, manager } = setUp()
  const before = serialised(manager)
  for (const each of HOSTILE) {
    if (typeof each === 'function') continue
    t.equal(
      codeIn(() => conn.remember(each as string, { type: 'pub' })),
      'ERR_INVALID_ADDRESS',
      String(typeof each),
    )
  }
  const ring: Record<string, unknown> = {}
  ring.ring = ring
  for (const data of [
    5,
    'x',
    [],
    ring,
    { x: BigInt(1) },
    {
      get x() {
        throw new Error('no')
      },
    },
    { x: 'x'.repeat(9_000) },
  ])
    t.equal(
      codeIn(() => conn.remember(alice.address, data as never)),
      'ERR_INVALID_ARGUMENT',
    )
  t.equal(serialised(manager), before)
  t.end()
})

test('remember is called with a trailing callback, and says what is wrong there (1.1: invite-client)', async (t) => {
  const { conn } = setUp()
  t.deepEqual(await called((cb) => conn.remember(alice.address, { type: 'pub', autoconnect: true }, cb)), [
    null,
    undefined,
  ])
  const [error] = await called((cb) => conn.remember('foo', {}, cb))
  t.equal((error as { code?: string }).code, 'ERR_INVALID_ADDRESS')
  t.deepEqual((await called((cb) => conn.dbPeers(cb)))[1], conn.dbPeers())
  t.end()
})

test('of an invite the peer is remembered, not the seed, and is found by either (1.1: invite-client)', (t) => {
  const { conn, route } = setUp()
  const invite = `${alice.address}:${SEED}`
  conn.remember(invite, { type: 'pub', autoconnect: true })
  t.deepEqual(
    conn.dbPeers().map(([address]) => address),
    [alice.address],
  )
  t.equal(route(alice.address)?.isAutomatic, true)
  t.ok(conn.db().has(invite))
  conn.forget(invite)
  t.deepEqual(conn.dbPeers(), [])
  t.end()
})

test('each of several addresses is remembered and forgotten; any spelling finds them', (t) => {
  const { conn } = setUp()
  const ws = alice.by('ws')
  conn.remember(`${alice.address};${ws}`, { name: 'x' })
  t.deepEqual(
    conn
      .dbPeers()
      .map(([address]) => address)
      .sort(),
    [alice.address, ws].sort(),
  )
  t.equal(conn.db().get(alice.address.replace('alice.example', 'ALICE.example.'))?.name, 'x')
  t.ok(conn.db().has(`alice.example:8008:${alice.id}`))
  conn.forget(`${alice.address};${ws}`)
  t.deepEqual(conn.dbPeers(), [])
  t.end()
})

test('remembering ourselves does nothing', (t) => {
  const { conn } = setUp()
  conn.remember(self.address, { type: 'room' })
  t.deepEqual(conn.dbPeers(), [])
  t.end()
})

test('a pub that a user remembers is no stranger: it is not LOW, and may be on our own network', (t) => {
  const { conn, manager } = setUp()
  manager.peer.addRoute({ address: bob.address, source: 'pub' })
  t.equal(manager.peer.get(bob.id)?.priority, 'LOW')
  for (const address of [alice.by('net', '192.168.1.7'), bob.address])
    conn.remember(address, { type: 'pub', source: 'pub' })
  for (const who of [alice, bob]) {
    t.equal(manager.peer.get(who.id)?.priority, 'MEDIUM')
    t.equal(manager.peer.get(who.id)?.routes[0]?.source, 'manual')
  }
  t.equal(conn.dbPeers().length, 2)
  t.equal(conn.dbPeers()[0]?.[1].type, 'pub')
  t.end()
})

test('autoconnect false: dialed by nobody but connect; true or removed: dialed again (1.1: connUtils, Manyverse)', async (t) => {
  const { conn, manager, newDials, clock, hangUp } = setUp()
  manager.connections.start()
  for (const autoconnect of [false, 'false']) {
    conn.remember(alice.address, { autoconnect })
    clock.advance(DAY)
    t.deepEqual(newDials(), [], `${autoconnect}`)
    t.equal(conn.db().get(alice.address)?.autoconnect, false)
    conn.forget(alice.address)
  }
  conn.remember(alice.address, { autoconnect: false })
  void conn.connect(alice.address)
  clock.flush()
  t.deepEqual(newDials(), [alice.address], 'by hand')
  await hangUp(alice.address)
  conn.db().update(alice.address, (previous) => ({ autoconnect: !previous.autoconnect }))
  t.equal(conn.db().get(alice.address)?.autoconnect, true)
  clock.advance(2 * MINUTE)
  t.ok(newDials().includes(alice.address), 'again')
  conn.remember(bob.address, { autoconnect: false })
  conn.db().update(bob.address, { autoconnect: undefined })
  clock.advance(MINUTE)
  t.ok(newDials().includes(bob.address), 'removed')
  t.equal(conn.db().get(bob.address)?.autoconnect, undefined)
  t.end()
})

test('a room is kept connected as tunnels depend on it, until it is forgotten or left to the user', (t) => {
  const { conn, manager, restarted } = setUp()
  const isKept = (who: Person, m = manager): boolean | undefined => m.peer.get(who.id)?.isLongTerm
  conn.remember(alice.address, { type: 'room' })
  t.equal(isKept(alice), true)
  t.equal(conn.db().get(alice.address)?.['conn:isKeptUp'], undefined, 'the mark is not shown')
  conn.remember(bob.address, { type: 'room', autoconnect: false })
  t.equal(isKept(bob), false, 'left to the user')
  conn.db().update(bob.address, { autoconnect: true })
  t.equal(isKept(bob), true)
  conn.db().update(bob.address, { autoconnect: false })
  t.equal(isKept(bob), false)
  conn.db().update(bob.address, { autoconnect: true })
  conn.db().update(bob.address, { type: 'pub' })
  t.equal(isKept(bob), false, 'no room any more')

  manager.peer.setLongTerm({ address: carol.address })
  conn.remember(carol.address, { type: 'room' })
  conn.forget(carol.address)
  t.equal(isKept(carol), true, 'what the user himself has set stays')

  conn.remember(dave.address, { type: 'room' })
  conn.remember(dave.by('ws'), { type: 'room' })
  conn.forget(dave.address)
  t.equal(isKept(dave), true, 'by its other address')
  conn.forget(dave.by('ws'))
  t.equal(manager.peer.get(dave.id), null)

  const later = restarted()
  t.equal(isKept(alice, later.manager), true)
  later.conn.forget(alice.address)
  t.equal(later.manager.peer.get(alice.id), null, 'also after a restart')
  t.end()
})

test('a room that another version has stored is kept up too; one that strangers wrote of is not', (t) => {
  const { manager, clock, conn } = setUp()
  for (const [who, source] of [
    [alice, 'stored'],
    [bob, 'pub'],
  ] as const)
    manager.internal.load({
      peers: [],
      routes: [
        {
          ...{
            route: {
              address: who.address,
              peer: who.id,
              protocol: 'net',
              host: 'x.example',
              port: 1,
              portal: null,
              scope: 'name',
            },
          },
          ...{ isLocal: false, source, addedAt: 1, lastConnectionTime: 0, lastErrorTime: 0, connectionCount: 0 },
          ...{ errorCount: 0, backoffStep: 0, nextAttemptAt: 0, errors: [], duration: null, data: { type: 'room' } },
        } as never,
      ],
    })
  clock.flush()
  t.equal(manager.peer.get(alice.id)?.isLongTerm, true)
  t.equal(manager.peer.get(bob.id)?.isLongTerm, false)
  manager.peer.addRoute({ address: carol.address, source: 'pub' })
  conn.db().update(carol.address, { type: 'room' })
  t.equal(manager.peer.get(carol.id)?.isLongTerm, false, 'nor because it says so itself (1.1: room-client)')
  t.end()
})

test('db().update is a no-op for what is not there, merges, and takes away what is undefined (1.1: room-client, connUtils)', (t) => {
  const { conn, manager } = setUp()
  const db = conn.db()
  const before = serialised(manager)
  t.equal(db.update(alice.address, { type: 'room' }), db)
  t.equal(db.update('foo', { type: 'room' }), db)
  t.equal(serialised(manager), before)
  conn.remember(alice.address, { name: 'x', note: 'y' })
  db.update(alice.address, { name: undefined, more: 1 })
  db.update(alice.address, (previous) => ({ ...previous, count: Number(previous.more) + 1 }))
  const { birth: _, ...data } = db.get(alice.address) ?? {}
  t.deepEqual(data, { source: 'manual', note: 'y', more: 1, count: 2, key: alice.id })
  for (const bad of [undefined, null, 5, 'x'])
    t.equal(
      codeIn(() => db.update(alice.address, bad as never)),
      'ERR_INVALID_ARGUMENT',
    )
  t.end()
})

test('what a room says of itself in megabytes is not kept, and ends nobody', (t) => {
  const { conn, connected } = setUp()
  conn.remember(alice.address, { name: 'x' })
  connected(alice.address)
  const name = 'n'.repeat(MAX_ROUTE_DATA)
  conn.db().update(alice.address, { name })
  t.equal(conn.db().get(alice.address)?.name, 'x')
  t.equal(conn.hub().update(alice.address, { name }), false)
  t.equal(conn.hub().get(alice.address)?.name, 'x')
  for (let i = 0; i < 100; i++) conn.db().update(alice.address, { [`field${i}`]: 'y'.repeat(200) })
  t.ok(JSON.stringify(conn.db().get(alice.address)).length < MAX_ROUTE_DATA + 1_000, 'nor bit by bit')
  t.equal(conn.stage(bob.address, { name }), false)
  t.end()
})

test('db() has, sets, replaces, deletes and finds by id (1.4)', (t) => {
  const { conn, clock } = setUp()
  const db = conn.db()
  const birth = clock.now()
  t.equal(db.set(alice.address, { name: 'x', type: 'pub' }), db)
  clock.advance(SECOND)
  t.equal(db.replace(alice.address, { note: 'y' }), db)
  t.deepEqual(db.get(alice.address), { source: 'manual', note: 'y', birth, key: alice.id }, 'the birth is kept')
  db.replace(bob.address, { name: 'new' })
  t.equal(db.get(bob.address)?.name, 'new')
  t.equal(db.getAddressForId(alice.id), alice.address)
  t.equal(db.getAddressForId(alice.key), alice.address)
  t.equal(db.getAddressForId(carol.id), undefined)
  t.equal(db.delete(alice.address), true)
  t.equal(db.delete(alice.address), false)
  for (const each of HOSTILE) {
    t.equal(db.get(each as string), undefined)
    t.equal(db.has(each as string), false)
    t.equal(db.delete(each as string), false)
    t.equal(db.getAddressForId(each as string), undefined)
  }
  t.end()
})

test('names that objects inherit are data like any other', (t) => {
  const { conn } = setUp()
  const data = JSON.parse('{"constructor":1,"toString":2,"__proto__":{"polluted":true},"hasOwnProperty":3}')
  conn.remember(alice.address, data)
  const kept = conn.db().get(alice.address)
  t.equal(Object.getPrototypeOf(kept), Object.prototype)
  t.deepEqual([kept?.constructor as unknown, kept?.hasOwnProperty as unknown], [1, 3])
  t.equal(({} as { polluted?: boolean }).polluted, undefined)
  t.equal(kept?.polluted, undefined)
  t.end()
})

test('entries may be forgotten while one goes through them (1.1: Patchwork)', (t) => {
  const { conn } = setUp()
  for (const who of [alice, bob, carol]) conn.remember(who.address)
  for (const [address] of conn.db().entries()) conn.forget(address)
  t.deepEqual(conn.dbPeers(), [])
  for (const who of [alice, bob, carol]) conn.remember(who.address)
  for (const [address] of conn.db().entries())
    for (const who of [alice, bob, carol]) if (who.address !== address) conn.forget(who.address)
  t.equal(conn.dbPeers().length, 1, 'what is gone meanwhile is not come upon')
  t.end()
})

test('what is given out may be written into without harm', (t) => {
  const { conn } = setUp()
  const given = { nested: { name: 'x' } }
  conn.remember(alice.address, given)
  given.nested.name = 'changed by the caller'
  const got = conn.db().get(alice.address) as unknown as typeof given
  got.nested.name = 'changed by the reader'
  t.deepEqual(conn.db().get(alice.address)?.nested, { name: 'x' })
  t.end()
})

test('db().listen tells of each change once, and of what is read from the disk nothing', async (t) => {
  const { conn, manager, clock } = setUp()
  const events = collect<DbEvent>(conn.db().listen())
  const told = (): string[] => (events.items as DbEvent[]).splice(0).map(({ type, address }) => `${type} ${address}`)
  conn.remember(alice.address, { name: 'x' })
  t.deepEqual([...new Set(told())], [`insert ${alice.address}`, `update ${alice.address}`])
  conn.db().update(alice.address, { name: 'y' })
  t.deepEqual(told(), [`update ${alice.address}`])
  conn.stage(bob.address)
  t.deepEqual(told(), [], 'nothing of what is only staged')
  conn.forget(alice.address)
  t.deepEqual(told(), [`delete ${alice.address}`])
  conn.forget(alice.address)
  conn.db().update(alice.address, { name: 'z' })
  t.deepEqual(told(), [])
  manager.internal.load(fromSnapshot({ version: 1, savedAt: 0, peers: [], routes: [{ address: carol.address }] }))
  clock.flush()
  t.deepEqual(told(), [])
  manager.peer.addRoute({ address: dave.address })
  t.deepEqual(told(), [`insert ${dave.address}`], 'whoever has stored it')
  manager.close()
  await Promise.resolve()
  t.end()
})

test('loaded() resolves when the table has been read', async (t) => {
  let ready = (): void => {}
  const { conn } = setUp({
    whenReady: (fn) => {
      ready = fn
    },
  })
  let isLoaded = false
  const loaded = conn
    .db()
    .loaded()
    .then((value) => {
      isLoaded = true
      return value
    })
  await Promise.resolve()
  t.equal(isLoaded, false)
  ready()
  t.equal(await loaded, true)
  t.equal(await setUp().conn.db().loaded(), true)
  t.end()
})

/* ---- connect ---- */

test('connect gives the rpc in each of its forms (1.1: room-client, testbot, browser-core, Manyverse)', async (t) => {
  const forms: [string, (conn: ReturnType<typeof setUp>['conn'], cb: (...args: unknown[]) => void) => unknown][] = [
    ['(addr, cb)', (conn, cb) => conn.connect(alice.address, cb)],
    ['(addr, data, cb)', (conn, cb) => conn.connect(alice.address, { type: 'pub' }, cb)],
    ['(addr, null, cb), which threw in ssb-conn', (conn, cb) => conn.connect(alice.address, null, cb)],
    ['(addr, undefined, cb)', (conn, cb) => conn.connect(alice.address, undefined, cb)],
    [
      '(addr, cb, undefined)',
      (conn, cb) => (conn.connect as (...args: unknown[]) => unknown)(alice.address, cb, undefined),
    ],
    ['a promise', (conn, cb) => conn.connect(alice.address).then((rpc) => cb(null, rpc))],
    ['a promise, with data', (conn, cb) => conn.connect(alice.address, { type: 'pub' }).then((rpc) => cb(null, rpc))],
  ]
  for (const [form, start] of forms) {
    const { conn, clock, dial } = setUp()
    const outcome = called((cb) => start(conn, cb))
    clock.flush()
    const rpc = dial(alice.address).accept()
    t.deepEqual(await outcome, [null, rpc], form)
  }
  t.end()
})

test('connect on a connected peer gives the same rpc, by whatever address (1.1: room-client, http-auth)', async (t) => {
  const { conn, connected, newDials, inbound, told } = setUp()
  const rpc = connected(alice.address)
  const called = inbound(bob)
  newDials()
  told()
  t.equal(await conn.connect(alice.address), rpc)
  t.equal(await conn.connect(alice.by('ws')), rpc)
  t.equal(await conn.connect(bob.address), called)
  t.deepEqual(newDials(), [])
  t.deepEqual(told(), [])
  t.deepEqual(
    conn.dbPeers().map(([address]) => address),
    [alice.address],
    'nor is anything remembered',
  )
  t.end()
})

test('connect while the peer is dialed joins that dial, and has its outcome (2.4)', async (t) => {
  const { conn, clock, dials, dial } = setUp()
  const both = [conn.connect(alice.address), conn.connect(alice.address)]
  clock.flush()
  t.equal(dials.length, 1)
  const rpc = dial(alice.address).accept()
  t.deepEqual(await Promise.all(both), [rpc, rpc])
  const failing = [conn.connect(bob.address), conn.connect(bob.address)]
  clock.flush()
  const outcomes = Promise.all(failing.map(codeOf))
  dial(bob.address).refuse()
  t.deepEqual(await outcomes, ['ERR_DIAL_FAILED', 'ERR_DIAL_FAILED'], 'at once, not false after a minute')
  t.end()
})

test('a dial that never ends is an error, not false', async (t) => {
  const { conn, clock, told } = setUp()
  const outcome = codeOf(conn.connect(alice.address))
  clock.advance(2 * MINUTE)
  t.equal(await outcome, 'ERR_DIAL_FAILED')
  t.deepEqual(told(), ['connecting alice', 'connecting-failed alice'])
  t.end()
})

test('connect keeps nothing of an address that nobody remembers (2.4)', async (t) => {
  const { conn, clock, dial, route, manager } = setUp()
  const failing = codeOf(conn.connect(alice.address, { type: 'pub' }))
  clock.flush()
  t.equal(route(alice.address)?.isStored, false)
  dial(alice.address).refuse()
  await failing
  t.equal(manager.peer.get(alice.id), null, 'failed')
  const connected = conn.connect(alice.address)
  clock.flush()
  const rpc = dial(alice.address).accept()
  await connected
  t.deepEqual(conn.dbPeers(), [])
  rpc.end()
  t.equal(manager.peer.get(alice.id), null, 'hung up')
  t.end()
})

test('connect rejects what is no address and what cannot be dialed, and nothing is left of it', async (t) => {
  const { conn, manager, clock } = setUp()
  manager.peer.setPriority({ id: bob.id, priority: 'BANNED' })
  const before = serialised(manager)
  for (const each of HOSTILE) {
    if (typeof each === 'function') continue
    t.equal(await codeOf(conn.connect(each as string)), 'ERR_INVALID_ADDRESS')
  }
  t.equal(await codeOf(conn.connect(alice.address, 5 as never)), 'ERR_INVALID_ARGUMENT')
  t.equal(await codeOf(conn.connect(self.address)), 'ERR_INVALID_ARGUMENT', 'ourselves')
  t.equal(await codeOf(conn.connect(bob.address)), 'ERR_BANNED')
  const [error] = await called((cb) => conn.connect('foo', cb))
  t.equal((error as { code?: string }).code, 'ERR_INVALID_ADDRESS')
  clock.flush()
  t.equal(serialised(manager), before)
  t.deepEqual([...conn.hub().entries()], [])
  t.end()
})

test('a failure that nobody asked for is no unhandled rejection (1.1: disconnect and connect without callback)', async (t) => {
  const caught = catchThrown()
  const { conn } = setUp()
  void conn.connect('foo')
  void conn.disconnect('foo')
  await new Promise((resolve) => setImmediate(resolve))
  caught.restore()
  t.deepEqual(caught.thrown, [])
  t.end()
})

test('connect by an invite gives a guest its rpc, and tracks nothing (1.1: invite-client)', async (t) => {
  const { conn, clock, dial, told, manager } = setUp()
  const invite = `${alice.address}:${SEED}`
  const guest = conn.connect(invite, { type: 'pub', autoconnect: true })
  clock.flush()
  const rpc = dial(invite).accept()
  t.equal(await guest, rpc)
  t.deepEqual(told(), [])
  t.deepEqual([...conn.hub().entries()], [])
  t.equal(manager.peer.get(alice.id), null)
  t.end()
})

test('over the wire connect tells that there is a connection, not its insides (1.1: netsim, sbotcli)', async (t) => {
  const { conn, clock, dial } = setUp()
  const outcome = called((cb) => from(self, conn.connect as (...args: unknown[]) => unknown)(alice.address, cb))
  clock.flush()
  dial(alice.address).accept()
  t.deepEqual(await outcome, [null, { id: alice.id, address: alice.address }])
  t.end()
})

/* ---- disconnect ---- */

test('disconnect: true, and false for what is unknown or idle; it never throws (1.1: room-client)', async (t) => {
  const { conn, connected, hangUp } = setUp()
  conn.remember(bob.address)
  const rpc = connected(alice.address)
  t.equal(await hangUp(alice.address), true)
  t.equal(rpc.hangUps, 1)
  t.equal(await hangUp(alice.address), false)
  t.deepEqual(await called((cb) => conn.disconnect(bob.address, cb)), [null, false])
  for (const each of HOSTILE)
    t.equal(await conn.disconnect(...([each].filter((x) => typeof x !== 'function') as [string])), false)
  t.equal(conn.db().get(bob.address)?.stateChange, undefined, 'a peer without a connection is not touched')
  t.end()
})

test('disconnect while connecting ends the dial for good (2.4)', async (t) => {
  const { conn, clock, dial, told, manager, newDials, hangUp } = setUp()
  manager.connections.start()
  conn.remember(alice.address)
  const asked = codeOf(conn.connect(alice.address))
  clock.flush()
  t.equal(await hangUp(alice.address), true)
  t.equal(await asked, 'ERR_DIAL_FAILED', 'who waits for it hears of it')
  newDials()
  const late = dial(alice.address).accept()
  t.equal(late.hangUps, 1, 'what comes late is closed')
  clock.advance(30 * SECOND)
  t.deepEqual(newDials(), [])
  t.deepEqual(told(), ['connecting alice', 'connecting-failed alice'])
  t.deepEqual([...conn.hub().entries()], [])
  t.end()
})

test('disconnect before the dial has begun ends it too', async (t) => {
  const { conn, clock, newDials, told, hangUp } = setUp()
  const asked = codeOf(conn.connect(alice.address))
  t.equal(conn.hub().getState(alice.address), 'connecting', 'it shows at once')
  t.equal(await hangUp(alice.address), true)
  clock.flush()
  t.equal(await asked, 'ERR_DIAL_FAILED')
  t.deepEqual(newDials(), [])
  t.deepEqual(told(), ['connecting alice', 'connecting-failed alice'])
  t.end()
})

test('disconnect finds a peer by the address of its entry, another address, or its key (1.1: Manyverse, Patchwork)', async (t) => {
  for (const target of [
    rpcFrom(alice).stream.address,
    alice.address,
    alice.by('ws'),
    `alice.example:8008:${alice.id}`,
  ]) {
    const { inbound, hangUp } = setUp()
    const rpc = inbound(alice)
    t.equal(await hangUp(target), true, target)
    t.equal(rpc.hangUps, 1)
  }
  t.end()
})

test('that a peer has left a room does not end the connection that it has otherwise (1.1: room-client)', async (t) => {
  const { conn, connected, tunnelTo, manager, inbound, hangUp } = setUp()
  const tunnel = tunnelTo(alice, bob)
  conn.stage(tunnel, { type: 'room-attendant', room: bob.id })
  const rpc = connected(alice.by('net', '192.168.1.7'))
  conn.unstage(tunnel)
  t.equal(await hangUp(tunnel), false)
  t.equal(rpc.hangUps, 0)
  rpc.end()
  t.notOk(
    manager.peer.get(alice.id)?.routes.some((route) => route.id === tunnel),
    'the tunnel is gone',
  )
  const tunnelled = inbound(carol, rpcFrom(carol, tunnelTo(carol, bob)))
  t.equal(await hangUp(tunnelTo(carol, bob)), true, 'one that comes through that room ends')
  t.equal(tunnelled.hangUps, 1)
  t.end()
})

/* ---- hub ---- */

test('hub().listen tells each event once, with key, address and details (1.1: room-client, dht-invite, replication-scheduler)', async (t) => {
  const { conn, clock, dial, events, hangUp } = setUp()
  void conn.connect(alice.address)
  clock.flush()
  const rpc = dial(alice.address).accept()
  await hangUp(alice.address)
  const { address } = alice
  t.deepEqual(events.items, [
    { type: 'connecting', address, key: alice.id },
    { type: 'connected', address, key: alice.id, details: { rpc, isClient: true } },
    { type: 'disconnecting', address, key: alice.id },
    { type: 'disconnected', address, key: alice.id },
  ])
  t.end()
})

test('connecting-failed comes with the error of the dial', (t) => {
  const { conn, clock, dial, events } = setUp()
  void conn.connect(alice.address)
  clock.flush()
  dial(alice.address).refuse()
  const [connecting, failed, ...more] = events.items
  t.equal(connecting?.type, 'connecting')
  if (failed?.type !== 'connecting-failed') return t.end(new Error(`expected connecting-failed, not ${failed?.type}`))
  t.ok(failed.details instanceof Error)
  t.match(failed.details.message, /ECONNREFUSED/)
  t.equal((failed.details as { code?: string }).code, 'ECONNREFUSED')
  t.deepEqual(more, [])
  t.end()
})

test('the other side hangs up: one disconnected', (t) => {
  const { connected, told } = setUp()
  connected(alice.address).end()
  t.deepEqual(told(), ['connecting alice', 'connected alice', 'disconnected alice'])
  t.end()
})

test('who calls in has an entry by the address of his stream, and events with his key (1.1: ssb-room)', (t) => {
  const { conn, inbound, events, clock } = setUp()
  const rpc = inbound(alice) as Incoming
  const { address } = rpc.stream
  const [[shown, { disconnect, ...data }]] = [...conn.hub().entries()] as [HubEntry]
  t.equal(shown, address)
  t.deepEqual(data, {
    key: alice.id,
    state: 'connected',
    inferredType: 'lan',
    hubBirth: clock.now(),
    hubUpdated: clock.now(),
  })
  t.equal(typeof disconnect, 'function')
  t.equal(conn.hub().getState(address), 'connected')
  rpc.end()
  t.deepEqual(events.items, [
    { type: 'connected', address, key: alice.id, details: { rpc, isClient: false } },
    { type: 'disconnected', address, key: alice.id },
  ])
  t.deepEqual([...conn.hub().entries()], [])
  t.end()
})

test('a stream without an address, or with somebody else’s, is called by its key', async (t) => {
  for (const address of [undefined, '', 5, bob.address, `net:${'x'.repeat(2_000)}~shs:${alice.key}`]) {
    const { conn, manager, told, hangUp } = setUp()
    const rpc = Object.assign(new FakeRpc(), { id: alice.id, stream: { address } })
    manager.internal.accept(alice.id, rpc, 'inbound', null)
    const [[shown]] = [...conn.hub().entries()] as [HubEntry]
    t.equal(shown, `inbound~shs:${alice.key}`)
    t.equal(conn.hub().getState(shown), 'connected')
    t.equal(await hangUp(shown), true)
    t.deepEqual(told(), ['connected alice', 'disconnecting alice', 'disconnected alice'])
  }
  t.end()
})

test('the type of a connection is inferred from its address where nobody has said it (2.4, 1.3)', (t) => {
  const { tunnelTo } = setUp()
  const types: [string, string | undefined, string | undefined][] = [
    [`net:127.0.0.1:48312~shs:${alice.key}`, undefined, 'lan'],
    [`net:::ffff:192.168.1.4:48312~shs:${alice.key}`, undefined, 'lan'],
    [`net:203.0.114.5:48312~shs:${alice.key}`, undefined, 'internet'],
    [alice.address, undefined, 'internet'],
    [tunnelTo(alice, bob), undefined, 'tunnel'],
    [`bt:65D900DDB353~shs:${alice.key}`, undefined, 'bt'],
    [`dht:seed:${self.id}~shs:${alice.key}`, undefined, 'dht'],
    [`net:203.0.114.5:48312~shs:${alice.key}`, 'dht', 'dht'],
    [`unix:/tmp/socket~shs:${alice.key}`, undefined, undefined],
  ]
  for (const [address, meta, expected] of types) {
    const { conn, inbound } = setUp()
    inbound(alice, rpcFrom(alice, address, meta))
    t.equal(conn.hub().get(address)?.inferredType, expected, address)
  }
  const { conn, connected } = setUp()
  conn.remember(alice.address, { type: 'pub' })
  connected(alice.address)
  t.equal(conn.hub().get(alice.address)?.inferredType, undefined)
  t.end()
})

test('an entry has what is remembered, what is staged and what connect was told (2.4, 1.4)', async (t) => {
  const { conn, clock, dial } = setUp()
  conn.remember(alice.address, { type: 'pub', name: 'remembered', a: 1 })
  conn.stage(alice.address, { name: 'staged', b: 2 })
  const birth = clock.now()
  clock.advance(SECOND)
  const asked = conn.connect(alice.address, { name: 'given', c: 3 })
  const look = (): unknown => {
    const { type, name, a, b, c, stagingBirth, state, key } = conn.hub().get(alice.address) ?? ({} as Partial<HubData>)
    return { type, name, a, b, c, stagingBirth, state, key }
  }
  const expected = { type: 'pub', name: 'given', a: 1, b: 2, c: 3, stagingBirth: birth, key: alice.id }
  t.deepEqual(look(), { ...expected, state: 'connecting' })
  clock.flush()
  const rpc = dial(alice.address).accept()
  await asked
  t.deepEqual(look(), { ...expected, state: 'connected' })
  rpc.end()
  conn.remember(alice.address, { name: 'remembered' })
  void conn.connect(alice.address)
  t.equal(conn.hub().get(alice.address)?.c, undefined, 'what connect was told goes with the connection')
  t.end()
})

test('hub().update says more of a connection, and shows it; false for what is not there (1.1: room-client)', async (t) => {
  const { conn, connected, inbound, clock } = setUp()
  const hub = conn.hub()
  t.equal(hub.update(alice.address, { onlineCount: 1 }), false)
  const rpc = connected(alice.address)
  const peers = collect(conn.peers())
  const count = peers.items.length
  clock.advance(SECOND)
  t.equal(hub.update(alice.address, { onlineCount: 7, name: 'x', state: 'gone', key: bob.id }), true)
  clock.flush()
  t.equal(peers.items.length, count + 1, 'peers() has it again')
  const { onlineCount, state, key, hubBirth, hubUpdated } = peers.items[count]?.[0]?.[1] ?? ({} as Partial<HubData>)
  t.deepEqual([onlineCount, state, key], [7, 'connected', alice.id])
  t.equal(Number(hubUpdated) - Number(hubBirth), SECOND)
  hub.update(alice.address, (previous) => ({ onlineCount: Number(previous.onlineCount) + 1, name: undefined }))
  t.deepEqual([hub.get(alice.address)?.onlineCount, hub.get(alice.address)?.name], [8, undefined])
  t.deepEqual(conn.db().get(alice.address)?.onlineCount, undefined, 'nothing of it is kept')
  const called = inbound(bob) as Incoming
  t.equal(hub.update(called.stream.address, { name: 'bob' }), true)
  rpc.end()
  t.equal(hub.update(alice.address, { onlineCount: 9 }), false)
  for (const each of HOSTILE) {
    t.equal(hub.update(each as string, { x: 1 }), false)
    t.equal(hub.getState(each as string), undefined)
    t.equal(hub.get(each as string), undefined)
  }
  t.end()
})

test('entries are there as soon as the manager knows, at the first word of a connection (1.1: browser-demo)', (t) => {
  const { conn, manager, clock } = setUp()
  const seen: unknown[] = []
  pull(
    conn.hub().listen(),
    pull.drain(({ type, address, key }) => {
      const found = [...conn.hub().entries()].find(([, data]) => data.key === key)
      seen.push([type, found?.[0] === address, found?.[1].state])
    }),
  )
  pull(
    manager.connections.changes(),
    pull.drain(({ type }) => seen.push(['change', type, [...conn.hub().entries()][0]?.[1].state])),
  )
  manager.internal.accept(alice.id, rpcFrom(alice), 'inbound', null)
  clock.flush()
  t.deepEqual(seen, [
    ['change', 'connected', 'connected'],
    ['connected', true, 'connected'],
  ])
  t.end()
})

test('the losers of a race of routes have failed, with a clear error', (t) => {
  const { conn, clock, dial, events } = setUp()
  const ws = alice.by('ws')
  conn.remember(`${alice.address};${ws}`)
  void conn.connect(alice.address)
  clock.flush()
  clock.advance(SECOND)
  t.deepEqual([...conn.hub().entries()].map(([address, { state }]) => [address, state]).sort(), [
    [alice.address, 'connecting'],
    [ws, 'connecting'],
  ])
  dial(ws).accept()
  t.deepEqual(
    events.items.map(({ type, address }) => [type, address]),
    [
      ['connecting', alice.address],
      ['connecting', ws],
      ['connecting-failed', alice.address],
      ['connected', ws],
    ],
  )
  const [, , failed] = events.items
  t.match(failed?.type === 'connecting-failed' ? failed.details.message : '', /another address of this peer was faster/)
  t.equal([...conn.hub().entries()].length, 1)
  dial(alice.address).accept()
  t.equal(events.items.length, 4, 'what it brings later is nobody’s')
  t.end()
})

test('a peer that calls while it is dialed: the dial has failed, the call is the connection', (t) => {
  const { conn, clock, inbound, events } = setUp()
  void conn.connect(alice.address)
  clock.flush()
  const rpc = inbound(alice) as Incoming
  t.deepEqual(
    events.items.map(({ type, address }) => [type, address]),
    [
      ['connecting', alice.address],
      ['connecting-failed', alice.address],
      ['connected', rpc.stream.address],
    ],
  )
  t.end()
})

test('a peer that calls again: the end of the old connection, then the new one', (t) => {
  const { conn, inbound, events, clock } = setUp()
  const first = inbound(alice, rpcFrom(alice, `net:10.1.2.3:1111~shs:${alice.key}`))
  const second = inbound(alice, rpcFrom(alice, `net:10.1.2.3:2222~shs:${alice.key}`))
  clock.advance(MINUTE)
  t.deepEqual(
    events.items.map((event) => [event.type, event.type === 'connected' && event.details.rpc === second]),
    [
      ['connected', false],
      ['disconnected', false],
      ['connected', true],
    ],
  )
  t.equal(first.hangUps, 1)
  t.equal([...conn.hub().entries()].length, 1)
  t.end()
})

test('who is refused as he comes never was an entry', (t) => {
  const { conn, manager, inbound, told, clock } = setUp({ maxInbound: 1 })
  const peers = collect(conn.peers())
  manager.peer.setPriority({ id: alice.id, priority: 'BANNED' })
  inbound(alice)
  inbound(bob)
  manager.peer.setPriority({ id: bob.id, priority: 'HIGH' })
  t.deepEqual(told(), ['connected bob'])
  inbound(carol)
  t.deepEqual(told(), [], 'one too many')
  t.ok(peers.items.every((list) => list.every(([, data]) => data.key === bob.id)))
  manager.peer.setPriority({ id: bob.id, priority: 'BANNED' })
  clock.flush()
  t.deepEqual(told(), ['disconnecting bob', 'disconnected bob'])
  t.end()
})

test('a listener that hangs up at once hears of it after what it is hearing', (t) => {
  const { conn, clock, dial, manager } = setUp()
  const seen: string[] = []
  pull(
    conn.hub().listen(),
    pull.drain(({ type, address }) => {
      if (type === 'connected') void conn.disconnect(address)
    }),
  )
  pull(
    conn.hub().listen(),
    pull.drain(({ type }) => seen.push(type)),
  )
  void conn.connect(alice.address)
  clock.flush()
  dial(alice.address).accept()
  clock.flush()
  t.deepEqual(seen, ['connecting', 'connected', 'disconnecting', 'disconnected'])
  t.equal(manager.peer.get(alice.id), null)
  t.end()
})

test('hub().reset hangs up on everybody, and disconnect in the data on one', async (t) => {
  const { conn, connected, inbound, clock } = setUp()
  const rpcs = [connected(alice.address), inbound(bob)]
  conn.hub().reset()
  clock.flush()
  t.deepEqual(
    rpcs.map((rpc) => rpc.hangUps),
    [1, 1],
  )
  const third = inbound(carol) as Incoming
  const { disconnect } = conn.hub().get(third.stream.address) ?? {}
  const done = called((cb) => disconnect?.(cb))
  clock.flush()
  await done
  t.equal(third.hangUps, 1)
  t.end()
})

test('hub() connects and disconnects too, with promises', async (t) => {
  const { conn, clock, dial } = setUp()
  const connecting = conn.hub().connect(alice.address, { type: 'pub' })
  clock.flush()
  const rpc = dial(alice.address).accept()
  t.equal(await connecting, rpc)
  const done = conn.hub().disconnect(alice.address)
  clock.flush()
  t.equal(await done, true)
  t.end()
})

/* ---- peers ---- */

test('peers() gives the whole list at once, then after each change; pull.take(1) is a snapshot (1.1: Oasis, Manyverse)', (t) => {
  const { conn, connected, clock } = setUp()
  const peers = collect(conn.peers())
  t.deepEqual(peers.items, [[]])
  const rpc = connected(alice.address)
  clock.flush()
  t.equal(peers.items[peers.items.length - 1]?.[0]?.[1].state, 'connected')
  let first: HubEntry[] | undefined
  pull(
    conn.peers(),
    pull.take<HubEntry[]>(1),
    pull.drain((list: HubEntry[]) => {
      first = list
    }),
  )
  t.equal(first?.[0]?.[0], alice.address)
  rpc.end()
  clock.flush()
  t.deepEqual(peers.items[peers.items.length - 1], [])
  t.end()
})

test('what is remembered of a peer in connection is shown by peers() as well (1.1: Manyverse)', (t) => {
  const { conn, connected, clock } = setUp()
  connected(alice.address)
  const peers = collect(conn.peers())
  conn.remember(alice.address, { name: 'x', autoconnect: false })
  clock.flush()
  const [, list] = peers.items
  t.deepEqual([list?.[0]?.[1].name, list?.[0]?.[1].autoconnect], ['x', false])
  t.equal(peers.items.length, 2)
  t.end()
})

test('however much happens in a turn, peers() gives one list for it', (t) => {
  const { conn, clock, manager } = setUp()
  const peers = collect(conn.peers())
  for (const who of [alice, bob, carol]) manager.internal.accept(who.id, rpcFrom(who), 'inbound', null)
  for (let i = 0; i < 100; i++) conn.hub().update(rpcFrom(alice).stream.address, { i })
  t.equal(peers.items.length, 1)
  clock.flush()
  t.equal(peers.items.length, 2)
  t.deepEqual(
    peers.items[1]?.map(([, { key, i }]) => [key, i]).sort(),
    [
      [alice.id, 99],
      [bob.id, undefined],
      [carol.id, undefined],
    ].sort(),
  )
  for (let i = 0; i < 100; i++) manager.internal.transferred(alice.id)
  clock.flush()
  t.equal(peers.items.length, 2, 'a transfer changes nothing that is shown')
  conn.remember(dave.address, { name: 'x' })
  conn.forget(dave.address)
  clock.flush()
  t.equal(peers.items.length, 2, 'nor does what is remembered of others')
  t.end()
})

test('a reader who stops is let go of, and a slow one gets the newest list only (1.1: tribes2)', async (t) => {
  const { conn, inbound, clock } = setUp()
  const peers = collect(conn.peers())
  await peers.abort()
  const slow = conn.peers()
  const read = (): HubEntry[] | undefined => {
    let got: HubEntry[] | undefined
    slow(null, (_end, list) => {
      got = list as HubEntry[] | undefined
    })
    return got
  }
  t.deepEqual(read(), [])
  for (const who of [alice, bob, carol]) inbound(who)
  t.equal(read()?.length, 3)
  t.equal(read(), undefined, 'and nothing until there is more')
  clock.flush()
  t.equal(peers.items.length, 1)
  t.end()
})

test('while nobody reads, no list is made', (t) => {
  const { conn, inbound, clock } = setUp()
  let looks = 0
  const stream = {
    get address() {
      looks++
      return `net:10.1.2.3:48312~shs:${alice.key}`
    },
  }
  const rpc = Object.assign(new FakeRpc(), { id: alice.id, stream })
  inbound(alice, rpc as never)
  const before = looks
  for (let i = 0; i < 50; i++) {
    inbound(bob).end()
    conn.stage(carol.address, { i })
    clock.flush()
  }
  t.equal(looks, before)
  t.end()
})

test('over the wire peers() is plain JSON, to the owner as well', (t) => {
  const { conn, inbound } = setUp()
  inbound(alice)
  const [list] = collect(from(self, conn.peers)()).items
  t.equal(list?.[0]?.[1].disconnect, undefined)
  t.deepEqual(JSON.parse(JSON.stringify(list)), list)
  t.equal(typeof collect(conn.peers()).items[0]?.[0]?.[1].disconnect, 'function', 'in this process with disconnect')
  t.end()
})

/* ---- staging ---- */

test('stage announces an address: it is listed, dialed and not kept (1.1: lanRouter, room-client)', (t) => {
  const { conn, manager, clock, newDials, route, restarted } = setUp()
  t.equal(conn.stage(alice.by('net', '192.168.1.7'), { type: 'lan', key: alice.id }), true)
  t.equal(route(alice.by('net', '192.168.1.7'))?.isLocal, true, 'near, if it says so')
  t.equal(conn.stage(bob.address), true)
  t.deepEqual(
    [...conn.staging().entries()],
    [
      [
        alice.by('net', '192.168.1.7'),
        { type: 'lan', key: alice.id, stagingBirth: clock.now(), stagingUpdated: clock.now() },
      ],
      [bob.address, { type: 'internet', key: bob.id, stagingBirth: clock.now(), stagingUpdated: clock.now() }],
    ],
  )
  t.equal(conn.stage(carol.address, { autoconnect: false }), true)
  t.deepEqual(conn.dbPeers(), [])
  manager.connections.start()
  clock.advance(SECOND)
  t.deepEqual(
    newDials().sort(),
    [alice.by('net', '192.168.1.7'), bob.address].sort(),
    'but for what is left to the user',
  )
  t.deepEqual([...restarted().conn.staging().entries()], [])
  t.end()
})

test('staged again an address is as old as it was, and newer (1.1: Manyverse)', (t) => {
  const { conn, clock } = setUp()
  const birth = clock.now()
  conn.stage(alice.address, { type: 'room-attendant', room: bob.id, name: 'x' })
  clock.advance(SECOND)
  t.equal(conn.stage(alice.address, { name: 'y' }), false)
  t.deepEqual(conn.staging().get(alice.address), {
    type: 'room-attendant',
    room: bob.id,
    name: 'y',
    key: alice.id,
    stagingBirth: birth,
    stagingUpdated: birth + SECOND,
  })
  t.end()
})

test('stage refuses a peer in connection, by whatever address (1.4)', async (t) => {
  const { conn, connected, inbound, clock, manager } = setUp()
  connected(alice.address)
  inbound(bob)
  void conn.connect(carol.address)
  const before = serialised(manager)
  for (const address of [alice.address, alice.by('ws'), bob.address, carol.address, carol.by('ws')])
    t.equal(conn.stage(address, { type: 'lan' }), false, address)
  t.equal(serialised(manager), before)
  clock.flush()
  t.end()
})

test('stage throws on what is no address; unstage of it is false', (t) => {
  const { conn } = setUp()
  for (const each of HOSTILE) {
    if (typeof each === 'function') continue
    t.equal(
      codeIn(() => conn.stage(each as string)),
      'ERR_INVALID_ADDRESS',
    )
    t.equal(conn.unstage(each as string), false)
    t.equal(conn.staging().get(each as string), undefined)
  }
  t.deepEqual([...conn.staging().entries()], [])
  t.end()
})

test('unstage withdraws; false for what is unknown; safe while one goes through the entries (1.1: room-client)', (t) => {
  const { conn, tunnelTo, manager } = setUp()
  for (const who of [alice, carol, dave]) conn.stage(tunnelTo(who, bob), { type: 'room-attendant', room: bob.id })
  for (const [address, data] of conn.staging().entries()) {
    if (data.room !== bob.id) continue
    t.equal(conn.unstage(address), true)
    void conn.disconnect(address)
  }
  t.deepEqual([...conn.staging().entries()], [])
  t.equal(conn.unstage(tunnelTo(alice, bob)), false)
  t.equal(manager.peer.get(alice.id), null)
  t.end()
})

test('what is unstaged while it is connected goes when the connection ends', async (t) => {
  const { conn, clock, dial, manager } = setUp()
  conn.stage(alice.address)
  void conn.connect(alice.address)
  clock.flush()
  const rpc = dial(alice.address).accept()
  conn.unstage(alice.address)
  t.equal(rpc.hangUps, 0)
  rpc.end()
  t.equal(manager.peer.get(alice.id), null)
  t.end()
})

test('a peer leaves the staging while it is dialed or connected, and is back afterwards', async (t) => {
  const { conn, clock, dial } = setUp()
  const events = collect<StagingEvent>(conn.staging().listen())
  const told = (): string[] => (events.items as StagingEvent[]).splice(0).map(({ type }) => type)
  conn.stage(`${alice.address};${alice.by('ws')}`)
  t.deepEqual(told(), ['staged', 'staged'])
  void conn.connect(alice.address)
  t.deepEqual([...conn.staging().entries()], [])
  t.deepEqual(told(), ['unstaged', 'unstaged'])
  clock.flush()
  const rpc = dial(alice.address).accept()
  t.deepEqual(told(), [])
  rpc.end()
  t.deepEqual(told(), ['staged', 'staged'])
  t.equal([...conn.staging().entries()].length, 2)
  t.end()
})

test('what is left to the user is staged, so that he can see and connect to it', (t) => {
  const { conn, manager } = setUp()
  conn.remember(alice.address, { type: 'pub', autoconnect: false })
  const staged = conn.staging().get(alice.address)
  t.deepEqual([staged?.type, staged?.autoconnect, staged?.key], ['pub', false, alice.id])
  t.equal(conn.unstage(alice.address), false, 'nobody announces it')
  conn.db().update(alice.address, { autoconnect: true })
  t.equal(conn.staging().get(alice.address), undefined)
  t.equal(manager.peer.get(alice.id)?.routes.length, 1)
  t.end()
})

test('what others announce is staged too: a neighbour, an attendant of a room', (t) => {
  const { conn, manager, tunnelTo, clock } = setUp()
  manager.peer.addRoute({ address: alice.address, isLocal: true, source: 'local' })
  manager.peer.addRoute({ address: tunnelTo(carol, bob), isStored: false, source: 'room' })
  t.equal(conn.staging().get(alice.address)?.type, 'lan')
  const attendant = conn.staging().get(tunnelTo(carol, bob))
  t.deepEqual([attendant?.type, attendant?.room, attendant?.key], ['room-attendant', bob.id, carol.id])
  const events = collect<StagingEvent>(conn.staging().listen())
  clock.advance(SECOND)
  manager.peer.addRoute({ address: alice.address, isLocal: true, source: 'local' })
  t.equal(conn.staging().get(alice.address)?.stagingUpdated, clock.now(), 'heard of again')
  t.deepEqual(events.items, [], 'which is no event')
  manager.peer.withdrawRoute({ address: alice.address })
  t.deepEqual(events.items, [{ type: 'unstaged', address: alice.address }])
  t.end()
})

test('an attendant is known by his room, and by its name, before and while he is connected (1.1: Manyverse)', async (t) => {
  const { conn, manager, tunnelTo, clock, dial } = setUp()
  conn.remember(bob.address, { type: 'room', name: 'a room' })
  const tunnel = tunnelTo(alice, bob)
  manager.peer.addRoute({ address: tunnel, isStored: false, source: 'room' })
  const look = (data: HubData | StagedEntry[1] | undefined) => [data?.type, data?.room, data?.roomName, data?.key]
  const expected = ['room-attendant', bob.id, 'a room', alice.id]
  t.deepEqual(look(conn.staging().get(tunnel)), expected)
  void conn.connect(tunnel)
  clock.flush()
  dial(tunnel).accept()
  t.deepEqual(look(conn.hub().get(tunnel)), expected)
  t.equal(conn.hub().get(tunnel)?.inferredType, undefined)
  t.end()
})

test('a pub that was found in messages is one (1.1: Patchwork)', (t) => {
  const { conn, manager } = setUp()
  manager.peer.addRoute({ address: alice.address, source: 'pub' })
  t.equal(conn.db().get(alice.address)?.type, 'pub')
  t.end()
})

test('stagedPeers() gives the whole list at once, then after each change, one list for a turn', (t) => {
  const { conn, clock } = setUp()
  const staged = collect<StagedEntry[]>(conn.stagedPeers())
  t.deepEqual(staged.items, [[]])
  for (const who of [alice, bob, carol]) conn.stage(who.address)
  clock.flush()
  t.deepEqual(
    staged.items.map((list) => list.length),
    [0, 3],
  )
  conn.stage(alice.address, { name: 'x' })
  clock.flush()
  t.equal(staged.items[2]?.find(([address]) => address === alice.address)?.[1].name, 'x')
  conn.unstage(bob.address)
  clock.flush()
  t.equal(staged.items[3]?.length, 2)
  t.deepEqual(JSON.parse(JSON.stringify(staged.items[3])), staged.items[3], 'plain JSON')
  t.end()
})

test('an address that is remembered and announced is both, and forgetting it leaves what is announced', (t) => {
  const { conn, manager } = setUp()
  conn.remember(alice.address, { type: 'pub', name: 'x', autoconnect: false })
  conn.stage(alice.address, { type: 'lan' })
  t.deepEqual([conn.db().get(alice.address)?.type, conn.staging().get(alice.address)?.type], ['pub', 'lan'])
  conn.forget(alice.address)
  t.deepEqual(conn.dbPeers(), [])
  t.equal(conn.staging().get(alice.address)?.name, undefined)
  t.equal(manager.peer.get(alice.id)?.routes[0]?.isAutomatic, true, 'nor is it left to the user any more')
  conn.unstage(alice.address)
  t.equal(manager.peer.get(alice.id), null)
  t.end()
})

/* ---- query ---- */

test('query() sorts everybody into pools (1.1: http-auth, Patchwork)', (t) => {
  const { conn, connected, inbound, clock } = setUp()
  conn.remember(alice.address, { name: 'a' })
  conn.remember(bob.address, { autoconnect: false })
  conn.stage(carol.address)
  const query = conn.query()
  const pools = (entries: ReturnType<typeof query.peersAll>): unknown =>
    entries.map(([, { pool, key }]) => `${pool} ${nameOf(key)}`).sort()
  t.deepEqual(pools(query.peersConnectable()), ['db alice', 'db bob'])
  t.deepEqual(pools(query.peersConnectable('staging')), ['staging bob', 'staging carol'])
  t.deepEqual(pools(query.peersConnectable('dbAndStaging')), ['db alice', 'db bob', 'staging carol'], 'each once')
  connected(alice.address)
  inbound(dave)
  void conn.connect(carol.address)
  clock.flush()
  t.deepEqual(pools(query.peersConnected()), ['db alice', 'hub dave'])
  t.deepEqual(pools(query.peersConnecting()), ['hub carol'])
  t.deepEqual(pools(query.peersInConnection()), ['db alice', 'hub carol', 'hub dave'])
  t.deepEqual(pools(query.peersConnectable('dbAndStaging')), ['db bob'])
  t.deepEqual(pools(query.peersAll()), ['db alice', 'db bob', 'hub carol', 'hub dave'])
  for (const [address] of query.peersConnectable('db')) conn.forget(address)
  t.deepEqual(pools(query.peersConnectable('db')), [])
  t.end()
})

test('the static helpers of query answer as those of ssb-conn-query', (t) => {
  const entry = (data: object): [string, object] => [alice.address, data]
  const stats = (mean: number) => ({ mean, stdev: 0, count: 1, sum: mean, sqsum: mean * mean })
  const original = require('ssb-conn-query') as typeof ConnQuery
  const entries = [
    entry({}),
    entry({ stateChange: 1_000 }),
    entry({ stateChange: 1_000, failure: 3 }),
    entry({ stateChange: 5_000, failure: 0, duration: stats(0) }),
    entry({ stateChange: 9_000, failure: 1, duration: stats(5), ping: { rtt: stats(4) } }),
    entry({ duration: stats(5), ping: { rtt: stats(0) } }),
    entry({ ping: {} }),
  ]
  for (const each of entries) {
    for (const helper of ['hasNoAttempts', 'hasOnlyFailedAttempts', 'hasSuccessfulAttempts', 'hasPinged'] as const)
      t.equal(ConnQuery[helper](each), original[helper](each), `${helper} ${JSON.stringify(each[1])}`)
    for (const [step, max, now] of [
      [1_000, 4_000, 6_000],
      [1_000, undefined, 6_000],
      [100, 100, 1_101],
    ] as const)
      t.equal(ConnQuery.passesExpBackoff(step, max, now)(each), original.passesExpBackoff(step, max, now)(each))
  }
  for (const now of [1_500, 9_500, 20_000])
    t.deepEqual(
      ConnQuery.passesGroupDebounce(1_000, now)([...entries]),
      original.passesGroupDebounce(1_000, now)([...entries]),
    )
  const timed = entries.filter(([, data]) => 'stateChange' in data).reverse()
  t.deepEqual(ConnQuery.sortByStateChange([...timed]), original.sortByStateChange([...timed]))
  t.end()
})

/* ---- start, stop, ping ---- */

test('start and stop go to the scheduler that is there when they are called, as often as they are (1.3)', async (t) => {
  const calls: string[] = []
  const sbot: Record<string, unknown> = {}
  const { conn, clock, newDials } = setUp({ sbot })
  conn.stop()
  const started = conn.start()
  sbot.connScheduler = { start: () => calls.push('start'), stop: () => calls.push('stop') }
  t.deepEqual(calls, [])
  clock.flush()
  await started
  t.deepEqual(calls, ['start'], 'also one that is loaded a little later')
  await conn.start()
  t.equal(conn.stop(), undefined, 'stop is not thenable')
  conn.stop()
  t.deepEqual(calls, ['start', 'start', 'stop', 'stop'])
  t.equal(from(self, conn.start)(), undefined, 'over the wire goes no promise')
  t.deepEqual(newDials(), [])
  t.end()
})

test('stop after start holds, though the scheduler was not there yet (1.1: ssb-friends 4)', async (t) => {
  const calls: string[] = []
  const sbot: Record<string, unknown> = {}
  const { conn, clock } = setUp({ sbot })
  const started = conn.start()
  conn.stop()
  sbot.connScheduler = { start: () => calls.push('start'), stop: () => calls.push('stop') }
  clock.flush()
  await started
  t.deepEqual(calls, [])
  t.end()
})

test('without a scheduler start says so once, and works by hand (2.4)', async (t) => {
  const { conn, clock, connected } = setUp()
  const lines: unknown[] = []
  const print = console.error
  console.error = (line: unknown) => lines.push(line)
  for (let i = 0; i < 3; i++) {
    const started = conn.start()
    clock.flush()
    await started
  }
  console.error = print
  t.equal(lines.length, 1)
  t.match(String(lines[0]), /no connScheduler/)
  t.ok(connected(alice.address))
  t.equal(
    (
      await called((cb) => {
        conn.start(cb)
        clock.flush()
      })
    )[0],
    null,
    'with a callback too',
  )
  t.end()
})

test('nothing is started by creating the facade', (t) => {
  const calls: string[] = []
  const sbot = { connScheduler: { start: () => calls.push('start'), stop: () => {} } }
  const { clock, manager } = setUp({ sbot })
  clock.advance(MINUTE)
  t.deepEqual(calls, [])
  t.equal(manager.connections.status().mode, 'off')
  t.equal(clock.pending, 0, 'no timer')
  t.end()
})

test('pings are served and measured, and one caller may have sixteen', (t) => {
  const { conn, manager, inbound, clock } = setUp({ timers: { ping: 10_000 } })
  inbound(alice)
  const ping = from(alice, conn.ping)
  const duplex = ping()
  const sent = collect(duplex.source)
  let feed: ((end: true | null, data?: unknown) => void) | undefined
  duplex.sink((abort, cb) => {
    if (!abort) feed = cb as typeof feed
  })
  feed?.(null, clock.now())
  t.equal(sent.items.length, 1, 'answered')
  clock.advance(10 * SECOND)
  t.equal(sent.items.length, 2, 'and pinged in turn')
  clock.advance(40)
  feed?.(null, clock.now())
  t.equal(manager.peer.get(alice.id)?.connection.rtt?.mean, 40)
  for (let i = 1; i < 16; i++) ping()
  t.throws(() => ping(), /16 pings/)
  t.ok(from(bob, conn.ping)(), 'others are not affected')
  t.end()
})

/* ---- one store, and the end ---- */

test('conn and gossip in one stack show the same (1.2: Patchbay)', (t) => {
  const { conn, manager, clock, inbound } = setUp()
  const gossip = createGossip({ manager, sbot: {}, clock }).api
  gossip.add(alice.address, 'seed')
  gossip.add(bob.by('net', '192.168.1.9'), 'local')
  conn.remember(carol.address, { type: 'pub' })
  inbound(dave)
  t.equal(conn.db().get(alice.address)?.source, 'seed')
  t.equal(conn.staging().get(bob.by('net', '192.168.1.9'))?.type, 'lan')
  t.equal(gossip.get(carol.id)?.address, carol.address)
  t.equal(gossip.get(dave.id)?.state, conn.query().peersConnected()[0]?.[1].state)
  gossip.remove(alice.id)
  conn.forget(carol.address)
  t.deepEqual([conn.dbPeers(), gossip.get(carol.id)], [[], undefined])
  t.end()
})

test('a facade that comes later shows what is there, and tells of its end', (t) => {
  const { manager, inbound, clock, add } = setUp()
  const rpc = inbound(alice) as Incoming
  add(bob.address)
  const later = createConn({ manager, sbot: {}, clock })
  const events = collect<HubEvent>(later.api.hub().listen())
  t.equal(later.api.hub().getState(rpc.stream.address), 'connected')
  t.ok(later.api.db().has(bob.address))
  rpc.end()
  t.deepEqual(events.items, [{ type: 'disconnected', address: rpc.stream.address, key: alice.id }])
  t.end()
})

test('the dials and connections that stop ends are told of once', (t) => {
  const { conn, manager, connected, clock, told } = setUp()
  connected(alice.address)
  void conn.connect(bob.address)
  clock.flush()
  void conn.connect(carol.address)
  told()
  manager.connections.stop()
  clock.flush()
  t.deepEqual(told().sort(), [
    'connecting-failed bob',
    'connecting-failed carol',
    'disconnected alice',
    'disconnecting alice',
  ])
  t.deepEqual([...conn.hub().entries()], [])
  t.end()
})

test('after close all sources end, late ones too, and no method crashes', async (t) => {
  const { conn, facade, manager, connected, clock, hangUp } = setUp()
  conn.remember(alice.address)
  conn.stage(bob.address)
  connected(alice.address)
  const open = () => [
    collect<unknown>(conn.peers()),
    collect<unknown>(conn.stagedPeers()),
    collect<unknown>(conn.hub().listen()),
    collect<unknown>(conn.hub().liveEntries()),
    collect<unknown>(conn.db().listen()),
    collect<unknown>(conn.staging().listen()),
    collect<unknown>(conn.staging().liveEntries()),
  ]
  const before = open()
  manager.close()
  facade.stop()
  const state = serialised(manager)
  for (const source of [...before, ...open()]) t.equal(await source.ended, true)
  const hub = before[2]?.items as HubEvent[]
  t.equal(hub[hub.length - 1]?.type, 'disconnected', 'the last connections are told of')
  conn.remember(carol.address, { type: 'room' })
  conn.forget(alice.address)
  conn.db().update(alice.address, { x: 1 }).replace(alice.address, { x: 1 }).set(alice.address, { x: 1 })
  t.equal(conn.stage(carol.address), false)
  t.equal(conn.unstage(bob.address), false)
  t.equal(await hangUp(alice.address), false)
  t.equal(await codeOf(conn.connect(alice.address)), 'ERR_CLOSED')
  t.equal(conn.hub().update(alice.address, { x: 1 }), false)
  conn.hub().reset()
  const started = conn.start()
  clock.flush()
  await started
  conn.stop()
  t.ok(conn.dbPeers() && conn.query().peersAll() && [...conn.hub().entries()] && [...conn.staging().entries()])
  t.equal(serialised(manager), state)
  t.equal(clock.pending, 0)
  t.end()
})

test('hundreds of strangers who come and go leave nothing behind', (t) => {
  const { conn, inbound, clock, manager } = setUp()
  const events = collect(conn.peers())
  for (let i = 0; i < 300; i++) {
    const who = person(`stranger${i}`)
    const rpc = inbound(who) as Incoming
    conn.hub().update(rpc.stream.address, { name: 'x'.repeat(1_000) })
    rpc.end()
  }
  clock.flush()
  t.deepEqual([...conn.hub().entries()], [])
  t.equal(manager.peer.list().length, 0)
  t.deepEqual(events.items[events.items.length - 1], [])
  t.end()
})

/* ---- whatever happens ---- */

const HUB_STATES: Record<string, readonly string[]> = {
  connecting: ['none'],
  'connecting-failed': ['connecting'],
  connected: ['none', 'connecting'],
  disconnecting: ['connected'],
  disconnected: ['connected', 'disconnecting'],
}
const AFTER: Record<string, string> = { 'connecting-failed': 'none', disconnected: 'none' }

test('whatever happens, events follow one another as they can, and lead to what entries() and stagedPeers() show', (t) => {
  const people = [alice, bob, carol]
  const who = fc.constantFrom(...people)
  const address = fc
    .tuple(who, fc.constantFrom('net', 'ws', 'tunnel'))
    .map(([each, protocol]) =>
      protocol === 'tunnel' ? `tunnel:${dave.id}:${each.id}~shs:${each.key}` : each.by(protocol),
    )
  const data = fc.constantFrom(
    {},
    { type: 'room' },
    { type: 'pub', autoconnect: false },
    { type: 'lan' },
    { name: 'x' },
  )
  const count = fc.nat(20)
  type Step = (made: ReturnType<typeof setUp> & { rpcs: FakeRpc[] }) => unknown
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.tuple(address, data).map(
      ([a, d]): Step =>
        ({ conn }) =>
          conn.connect(a, d),
    ),
    address.map(
      (a): Step =>
        ({ conn }) =>
          conn.disconnect(a),
    ),
    fc.tuple(address, data).map(
      ([a, d]): Step =>
        ({ conn }) =>
          conn.remember(a, d),
    ),
    address.map(
      (a): Step =>
        ({ conn }) =>
          conn.forget(a),
    ),
    fc.tuple(address, data).map(
      ([a, d]): Step =>
        ({ conn }) =>
          conn.stage(a, d),
    ),
    address.map(
      (a): Step =>
        ({ conn }) =>
          conn.unstage(a),
    ),
    fc.tuple(address, data).map(
      ([a, d]): Step =>
        ({ conn }) =>
          conn.hub().update(a, d),
    ),
    fc.tuple(address, data).map(
      ([a, d]): Step =>
        ({ conn }) =>
          conn.db().update(a, d),
    ),
    address.map(
      (a): Step =>
        ({ manager }) =>
          manager.peer.removeRoute({ address: a }),
    ),
    fc.tuple(who, fc.constantFrom('BANNED', 'MEDIUM', 'AUTO')).map(
      ([each, priority]): Step =>
        ({ manager }) =>
          manager.peer.setPriority({ id: each.id, priority }),
    ),
    count.map(
      (n): Step =>
        ({ dials, rpcs }) => {
          const dial = dials[dials.length - 1 - (n % 4)]
          if (dial) rpcs.push(dial.accept())
        },
    ),
    count.map(
      (n): Step =>
        ({ dials }) =>
          dials[dials.length - 1 - (n % 4)]?.refuse(),
    ),
    fc.tuple(who, count).map(
      ([each, n]): Step =>
        ({ manager, rpcs }) => {
          const rpc = rpcFrom(each, `net:10.1.2.3:${1_000 + n}~shs:${each.key}`)
          rpcs.push(rpc)
          manager.internal.accept(each.id, rpc, 'inbound', null)
        },
    ),
    count.map(
      (n): Step =>
        ({ rpcs }) =>
          rpcs[rpcs.length - 1 - (n % 4)]?.end(),
    ),
    fc.constant<Step>(({ manager }) => manager.connections.start()),
    fc.constant<Step>(({ manager }) => manager.connections.stop()),
    fc.constant<Step>(({ conn }) => conn.hub().reset()),
    fc.constantFrom(0, 40, 300, 4_000, 70_000).map(
      (ms): Step =>
        ({ clock }) =>
          clock.advance(ms),
    ),
    fc.constant<Step>(({ clock }) => clock.flush()),
  )
  let eventCount = 0
  const property = fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
    const made = { ...setUp({ maxInbound: 2 }), rpcs: [] as FakeRpc[] }
    const { conn, clock, events } = made
    const peers = collect<HubEntry[]>(conn.peers())
    const staged = collect<StagedEntry[]>(conn.stagedPeers())
    const stagingEvents = collect<StagingEvent>(conn.staging().listen())
    const dbEvents = collect<DbEvent>(conn.db().listen())
    const states = new Map<string, string>()
    const announced = new Set<string>()
    const stored = new Set<string>()
    for (const each of steps) {
      each(made)
      for (const { type, address: at } of (events.items as HubEvent[]).splice(0)) {
        eventCount++
        const before = states.get(at) ?? 'none'
        assert.ok(HUB_STATES[type]?.includes(before), `${type} of ${at} after ${before}`)
        states.set(at, AFTER[type] ?? type)
        if (states.get(at) === 'none') states.delete(at)
      }
      for (const { type, address: at } of (stagingEvents.items as StagingEvent[]).splice(0)) {
        assert.equal(announced.has(at), type === 'unstaged', `${type} ${at}`)
        if (type === 'staged') announced.add(at)
        else announced.delete(at)
      }
      for (const { type, address: at } of (dbEvents.items as DbEvent[]).splice(0)) {
        assert.equal(stored.has(at), type !== 'insert', `${type} ${at}`)
        if (type === 'insert') stored.add(at)
        if (type === 'delete') stored.delete(at)
      }
      const entries = [...conn.hub().entries()]
      assert.deepEqual(Object.fromEntries(entries.map(([at, { state }]) => [at, state])), Object.fromEntries(states))
      assert.deepEqual([...conn.staging().entries()].map(([at]) => at).sort(), [...announced].sort())
      assert.deepEqual(
        conn
          .dbPeers()
          .map(([at]) => at)
          .sort(),
        [...stored].sort(),
      )
    }
    clock.flush()
    const bare = (list: readonly HubEntry[] | undefined) => list?.map(([at, { key, state }]) => [at, key, state])
    assert.deepEqual(bare(peers.items[peers.items.length - 1]), bare([...conn.hub().entries()]))
    assert.deepEqual(staged.items[staged.items.length - 1], [...conn.staging().entries()])
    clock.advance(10 * MINUTE)
    made.manager.close()
    clock.flush()
    assert.deepEqual([...conn.hub().entries()], [])
  })
  const result = fc.check(property, { numRuns: 1_000 })
  t.notOk(
    result.failed,
    result.failed ? `${String(result.errorInstance)}\n${fc.defaultReportMessage(result)}` : 'any sequence',
  )
  t.ok(eventCount > 1_000, `${eventCount} events among them`)
  t.end()
})
