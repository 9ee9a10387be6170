/** The tables of ssb-conn and ssb-gossip in every shape that was ever written, and as those programs leave them. */
import assert = require('assert')
import fc = require('fast-check')

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import { importConnJson, importGossipJson, importLegacy } from '../../src/adapters/import-legacy'
import { nodeFiles, readLegacyTexts, TABLE_FILE } from '../../src/adapters/node-files'
import type { StoredRoute } from '../../src/core/actions'
import { DEFAULT_OPTIONS, MAX_ROUTE_DATA } from '../../src/core/options'
import { initialState, reduce } from '../../src/core/reducer'
import { type StoredTables, stringifySnapshot, toSnapshot } from '../../src/core/snapshot'
import { systemClock } from '../../src/shell/clock'
import { startPersistence } from '../../src/shell/persistence'

const BIRTH = 1_795_000_000_000
const CHANGED = 1_795_226_246_134
const NOW = 1_795_300_000_000
const DAY = 24 * 3_600_000
const key = (byte: number): string => Buffer.alloc(32, byte).toString('base64')
const idOf = (byte: number): string => `@${key(byte)}.ed25519`
const addressOf = (byte: number, host = 'a.example'): string => `net:${host}:8008~shs:${key(byte)}`
const [A, B] = [addressOf(1), addressOf(2)]
const DURATION = { mean: 35.333333333333336, stdev: 49.2634640366356, count: 3, sum: 106, sqsum: 11026 }
const RTT = { mean: 44, stdev: 0, count: 1, sum: 44, sqsum: 1936 }
const NO_PING = { rtt: { mean: 0, stdev: 0, count: 0, sum: 0, sqsum: 0 }, skew: RTT }

/** As a route without anything that was learned. */
const BARE = {
  address: A,
  peer: idOf(1),
  source: 'stored',
  priority: undefined as string | undefined,
  addedAt: 0,
  lastConnectionTime: 0,
  lastErrorTime: 0,
  connectionCount: 0,
  errorCount: 0,
  backoffStep: 0,
  nextAttemptAt: 0,
  errors: [] as unknown,
  duration: null as unknown,
}

/** What is there only where an entry says so. */
interface Said {
  readonly isAutomatic?: boolean
  readonly data?: unknown
}

function plain({ route, isLocal, ...rest }: StoredRoute): typeof BARE & Said {
  assert.strictEqual(isLocal, false)
  return { address: route.address, peer: route.peer, priority: undefined, ...rest }
}

interface Row {
  readonly title: string
  /** What is said of A in conn.json, and of it in gossip.json as `{address: A, …}`. */
  readonly entry: object
  readonly expected: Partial<typeof BARE> & Said
}

const ROWS: readonly Row[] = [
  { title: 'nothing but the address', entry: {}, expected: {} },
  { title: 'birth: added then', entry: { birth: BIRTH }, expected: { addedAt: BIRTH } },
  {
    title: 'stateChange alone: known then, and nothing says that it worked',
    entry: { stateChange: CHANGED },
    expected: { addedAt: CHANGED },
  },
  {
    title: 'a duration: it worked, last when its state changed',
    entry: { birth: BIRTH, stateChange: CHANGED, failure: 0, duration: DURATION, ping: { rtt: RTT, skew: RTT } },
    expected: { addedAt: BIRTH, lastConnectionTime: CHANGED, connectionCount: 3, duration: DURATION },
  },
  {
    title: 'a round trip without a duration: it was connected when the program ended',
    entry: { stateChange: CHANGED, ping: { rtt: RTT, skew: RTT } },
    expected: { addedAt: CHANGED, lastConnectionTime: CHANGED, connectionCount: 1 },
  },
  {
    title: 'a ping that was never answered: nothing',
    entry: { stateChange: CHANGED, ping: NO_PING },
    expected: { addedAt: CHANGED },
  },
  {
    title: 'failures in a row: the last one when its state changed',
    entry: { birth: BIRTH, stateChange: CHANGED, failure: 7 },
    expected: { addedAt: BIRTH, lastErrorTime: CHANGED, errorCount: 7, backoffStep: 7 },
  },
  {
    title: 'failures after it had worked: when that was, is not known, but not before birth',
    entry: { birth: BIRTH, stateChange: CHANGED, failure: 2, duration: DURATION },
    expected: {
      addedAt: BIRTH,
      lastConnectionTime: BIRTH,
      lastErrorTime: CHANGED,
      errorCount: 2,
      backoffStep: 2,
      connectionCount: 3,
      duration: DURATION,
    },
  },
  {
    title: 'the same without birth',
    entry: { stateChange: CHANGED, failure: 2, duration: DURATION },
    expected: {
      addedAt: CHANGED,
      lastErrorTime: CHANGED,
      errorCount: 2,
      backoffStep: 2,
      connectionCount: 3,
      duration: DURATION,
    },
  },
  {
    title: 'hundreds of failures: the step is bounded, the count stays',
    entry: { stateChange: CHANGED, failure: 250 },
    expected: { addedAt: CHANGED, lastErrorTime: CHANGED, errorCount: 250, backoffStep: 40 },
  },
  {
    title: 'the stack of the last error: its first line',
    entry: {
      stateChange: CHANGED,
      failure: 1,
      error: 'Error: connect ECONNREFUSED 1.2.3.4:8008\n    at TCP.x (net.js)',
    },
    expected: {
      addedAt: CHANGED,
      lastErrorTime: CHANGED,
      errorCount: 1,
      backoffStep: 1,
      errors: [{ message: 'connect ECONNREFUSED 1.2.3.4:8008', code: null, at: CHANGED }],
    },
  },
  ...['manual', 'seed', 'friends', 'pub', 'dht', 'stored'].map((source) => ({
    title: `source ${source}`,
    entry: { source },
    expected: { source },
  })),
  ...[5, null, '', 'a word or two', '__proto__', 'x'.repeat(65)].map((source) => ({
    title: `source ${String(source)}: none`,
    entry: { source },
    expected: {},
  })),
  {
    title: 'a pub that a user remembered is no stranger',
    entry: { type: 'pub', autoconnect: true },
    expected: { data: { type: 'pub', autoconnect: true } },
  },
  {
    title: 'a room, with all that its client has kept',
    entry: { type: 'room', name: 'r', membership: true, supportsAliases: true, invites: [{ code: 'x' }] },
    expected: { data: { type: 'room', name: 'r', membership: true, supportsAliases: true, invites: [{ code: 'x' }] } },
  },
  {
    title: 'too much to keep: nothing of it, and the route all the same',
    entry: { type: 'room', name: 'x'.repeat(MAX_ROUTE_DATA) },
    expected: {},
  },
  {
    title: 'what was true while the old software ran is over',
    entry: {
      state: 'connected',
      hubBirth: 1,
      hubUpdated: 2,
      stagingUpdated: 3,
      inferredType: 'lan',
      stats: {},
      client: true,
    },
    expected: {},
  },
  {
    title: 'autoconnect false of a pub: as if heard of in messages, and not dialed at first',
    entry: { type: 'pub', autoconnect: false, note: 'x', birth: BIRTH },
    expected: {
      source: 'pub',
      priority: 'LOW',
      addedAt: BIRTH,
      nextAttemptAt: 8.64e15,
      data: { type: 'pub', note: 'x' },
    },
  },
  {
    title: 'autoconnect false of anything else: left to the user',
    entry: { type: 'room', autoconnect: false },
    expected: { isAutomatic: false, data: { type: 'room' } },
  },
  {
    title: 'autoconnect "false", from the command line',
    entry: { autoconnect: 'false' },
    expected: { isAutomatic: false },
  },
  {
    title: 'autoconnect false with defunct true was set by the program and taken back',
    entry: { autoconnect: false, defunct: true, failure: 200, stateChange: CHANGED },
    expected: { addedAt: CHANGED, lastErrorTime: CHANGED, errorCount: 200, backoffStep: 40 },
  },
  {
    title: 'figures that are none count as nothing',
    entry: { birth: 'x', stateChange: -5, failure: '3', duration: { mean: 5 }, ping: 7, error: {} },
    expected: {},
  },
  {
    title: 'times that are none',
    entry: { birth: 1e300, stateChange: {}, failure: 1.9 },
    expected: { errorCount: 1, backoffStep: 1 },
  },
  {
    title: 'figures that contradict each other: mean and deviation follow from the sums',
    entry: { stateChange: CHANGED, duration: { mean: -5, stdev: Number.MAX_VALUE, count: 2, sum: 10, sqsum: 50 } },
    expected: {
      addedAt: CHANGED,
      lastConnectionTime: CHANGED,
      connectionCount: 2,
      duration: { mean: 5, stdev: 0, count: 2, sum: 10, sqsum: 50 },
    },
  },
]

for (const { title, entry, expected } of ROWS)
  test(`import: ${title}`, (t) => {
    const tables = {
      'conn.json': importConnJson(JSON.stringify({ [A]: entry }, null, 2)),
      'gossip.json': importGossipJson(JSON.stringify([{ address: A, key: idOf(1), ...entry }], null, 2)),
      'old gossip.json': importGossipJson(JSON.stringify({ ts: 5, peers: [{ address: A, ...entry }] })),
    }
    for (const [file, table] of Object.entries(tables)) {
      t.deepEqual(table.routes.map(plain), [{ ...BARE, ...expected }], file)
      t.deepEqual([table.peers, table.skipped], [[], []])
    }
    t.end()
  })

// ---- shapes of entries ------------------------------------------------------------------------------------------------

interface Shape {
  readonly title: string
  readonly entry: unknown
  /** Null: left out without a word. A pattern: skipped, and why. */
  readonly expected: readonly string[] | RegExp | null
}

const HPK = { host: 'a.example', port: 8008, key: idOf(1) }
const OTHER = addressOf(1, 'b.example')

const GOSSIP_SHAPES: readonly Shape[] = [
  { title: 'address and key', entry: { address: A, key: idOf(1) }, expected: [A] },
  { title: 'address without key', entry: { address: A }, expected: [A] },
  { title: 'only host, port and key', entry: HPK, expected: [A] },
  { title: 'the port as text, the key bare', entry: { host: 'a.example', port: '8008', key: key(1) }, expected: [A] },
  { title: 'an onion host', entry: { ...HPK, host: 'x.onion' }, expected: [`onion:x.onion:8008~shs:${key(1)}`] },
  { title: 'an IPv6 host', entry: { ...HPK, host: '::1' }, expected: [`net:::1:8008~shs:${key(1)}`] },
  { title: 'an address before multiserver', entry: { address: `a.example:8008:${idOf(1)}` }, expected: [A] },
  { title: 'an address that lacks its key', entry: { address: 'net:a.example:8008', key: idOf(1) }, expected: [A] },
  { title: 'an address of no use beside host, port and key', entry: { ...HPK, address: 'foo' }, expected: [A] },
  { title: 'an empty address beside host, port and key', entry: { ...HPK, address: '' }, expected: [A] },
  { title: 'a key that is not the one of the address', entry: { address: A, key: idOf(2) }, expected: [A] },
  { title: 'a key that is none', entry: { address: A, key: 'x' }, expected: [A] },
  { title: 'two addresses', entry: { address: `${A};${OTHER}` }, expected: [A, OTHER] },
  { title: 'a bare address', entry: A, expected: [A] },
  { title: 'a bare legacy address', entry: `a.example:8008:${idOf(1)}`, expected: [A] },
  {
    title: 'a room attendant',
    entry: { address: `tunnel:${idOf(2)}:${idOf(1)}~shs:${key(1)}` },
    expected: [`tunnel:${idOf(2)}:${idOf(1)}~shs:${key(1)}`],
  },
  { title: 'local', entry: { address: A, source: 'local' }, expected: null },
  { title: 'local, and useless', entry: { address: 'foo', source: 'local' }, expected: null },
  { title: 'bluetooth', entry: { address: `bt:65D900DDB353~shs:${key(1)}`, source: 'bt' }, expected: null },
  { title: 'lan', entry: { address: A, type: 'lan' }, expected: null },
  {
    title: 'host and port without key',
    entry: { host: 'a.example', port: 8008 },
    expected: /its key is not a feed id/,
  },
  { title: 'a key alone', entry: { key: idOf(1) }, expected: /expected an address, or host, port and key/ },
  { title: 'nothing', entry: {}, expected: /expected an address/ },
  { title: 'null', entry: null, expected: /expected an object, found null/ },
  { title: 'a number', entry: 5, expected: /expected an object, found 5/ },
  { title: 'a list', entry: [A], expected: /expected an object, found an array/ },
  { title: 'an address of no use', entry: { address: 'foo' }, expected: /"foo"/ },
  { title: 'a long address of no use', entry: { address: 'x'.repeat(1e6) }, expected: /longer than/ },
  { title: 'the name of what every object has', entry: { address: 'constructor' }, expected: /multiserver address/ },
]

for (const { title, entry, expected } of GOSSIP_SHAPES)
  test(`import: an entry of gossip.json: ${title}`, (t) => {
    const { routes, skipped } = importGossipJson(JSON.stringify([entry, { address: B }]))
    const found = routes.map((stored) => stored.route.address)
    if (expected instanceof RegExp) {
      t.deepEqual(found, [B], 'the others are imported')
      t.equal(skipped.length, 1)
      t.match(skipped[0]?.error.message ?? '', expected)
      t.match(skipped[0]?.entry ?? '', /^gossip\.json\[0\]/)
      t.ok((skipped[0]?.entry.length ?? 0) <= 200 && (skipped[0]?.error.message.length ?? 0) <= 300)
    } else {
      t.deepEqual(found, [...(expected ?? []), B])
      t.deepEqual(skipped, [])
    }
    t.end()
  })

test('import: what was learned belongs to the first address of an entry, as only that one was dialed', (t) => {
  const { routes } = importConnJson(
    JSON.stringify({ [`${A};${OTHER}`]: { birth: BIRTH, stateChange: CHANGED, failure: 3 } }),
  )
  t.deepEqual(routes.map(plain), [
    { ...BARE, addedAt: BIRTH, lastErrorTime: CHANGED, errorCount: 3, backoffStep: 3 },
    { ...BARE, address: OTHER, addedAt: BIRTH },
  ])
  t.end()
})

test('import: an entry of conn.json is known by its key; the rest of it may be damaged', (t) => {
  const text = `{"${A}": null, "${B}": {"address": "${OTHER}"}, "foo": {}, "__proto__": {}, "net:c.example:1": {"key": "${idOf(3)}"}}`
  const { routes, skipped } = importConnJson(text)
  t.deepEqual(
    routes.map((stored) => stored.route.address),
    [A, B, `net:c.example:1~shs:${key(3)}`],
  )
  t.deepEqual(
    skipped.map(({ entry }) => entry),
    ['conn.json[2] "foo"', 'conn.json[3] "__proto__"'],
  )
  t.end()
})

test('import: left to the user is an address, not the peer', (t) => {
  const { routes, peers } = importConnJson(
    JSON.stringify({
      [addressOf(1, 'a')]: { autoconnect: false },
      [addressOf(1, 'b')]: {},
      [addressOf(3, 'a')]: { autoconnect: false, type: 'pub' },
      [addressOf(3, 'b')]: { autoconnect: false },
    }),
  )
  t.deepEqual(
    routes.map((stored) => stored.isAutomatic ?? true),
    [false, true, true, false],
  )
  const state = stateWith({ routes, peers })
  t.deepEqual(
    state.routes.valuesArray().map((route) => route.isAutomatic),
    [false, true, true, false],
    'also once it is loaded',
  )
  t.deepEqual(peers, [], 'nobody is set to a priority for it')
  t.end()
})

// ---- whole files ------------------------------------------------------------------------------------------------------

const CONN = JSON.stringify({ [A]: { birth: BIRTH } }, null, 2)
const GOSSIP = JSON.stringify([{ address: A }], null, 2)

interface Whole {
  readonly title: string
  readonly conn: string
  readonly gossip: string
  /** Routes found; a pattern: the file is skipped, and why. */
  readonly expected: number | RegExp
}

const WHOLE: readonly Whole[] = [
  { title: 'whole', conn: CONN, gossip: GOSSIP, expected: 1 },
  { title: 'empty', conn: '', gossip: '', expected: 0 },
  { title: 'blank', conn: ' \n', gossip: '\ufeff', expected: 0 },
  { title: 'without entries', conn: '{}', gossip: '[]', expected: 0 },
  { title: 'with a byte order mark', conn: `\ufeff${CONN}`, gossip: `\ufeff${GOSSIP}`, expected: 1 },
  { title: 'with one character too many', conn: `${CONN}}`, gossip: `${GOSSIP}]`, expected: 1 },
  { title: 'with ten characters too many', conn: `${CONN}}}}}}}}}}}`, gossip: `${GOSSIP}0123456789`, expected: 1 },
  {
    title: 'with eleven characters too many',
    conn: `${CONN}}}}}}}}}}}}`,
    gossip: `${GOSSIP}01234567890`,
    expected: /JSON/,
  },
  {
    title: 'with any number of line feeds',
    conn: `${CONN}}\n\n\n\n\n\n\n\n\n\n\n\n`,
    gossip: `${GOSSIP}\r\n`,
    expected: 1,
  },
  { title: 'cut short', conn: CONN.slice(0, -12), gossip: GOSSIP.slice(0, -12), expected: /JSON/ },
  { title: 'full of zeros', conn: '\0'.repeat(512), gossip: '\0'.repeat(512), expected: /JSON/ },
  { title: 'null', conn: 'null', gossip: 'null', expected: /found null/ },
  { title: 'the other kind', conn: GOSSIP, gossip: CONN, expected: /found/ },
  { title: 'with a list that is none', conn: '5', gossip: '{"ts":1,"peers":{"a":1}}', expected: /found/ },
]

for (const { title, conn, gossip, expected } of WHOLE)
  test(`import: a file that is ${title}`, (t) => {
    for (const [file, { routes, skipped }] of [
      ['conn.json', importConnJson(conn)],
      ['gossip.json', importGossipJson(gossip)],
    ] as const)
      if (typeof expected === 'number') {
        t.equal(routes.length, expected, file)
        t.deepEqual(skipped, [])
      } else {
        t.deepEqual(routes, [])
        t.deepEqual(
          skipped.map(({ entry }) => entry),
          [file],
        )
        t.match(skipped[0]?.error.message ?? '', expected)
      }
    t.end()
  })

test('import: of both files conn.json counts, gossip.json adds what it does not have', (t) => {
  const { routes, peers, skipped } = importLegacy({
    connJson: JSON.stringify({ [A]: { failure: 1 }, [B]: { autoconnect: false }, foo: {} }),
    gossipJson: JSON.stringify([{ address: A, failure: 2 }, { address: B }, { address: addressOf(3) }, {}]),
  })
  t.deepEqual(
    routes.map((stored) => [stored.route.address, stored.errorCount]),
    [
      [A, 1],
      [B, 0],
      [addressOf(3), 0],
    ],
  )
  t.deepEqual(
    routes.filter((stored) => stored.isAutomatic === false).map((stored) => stored.route.address),
    [B],
    'what is to be dialed by hand stays so',
  )
  t.deepEqual(peers, [])
  t.deepEqual(
    skipped.map(({ entry }) => entry),
    ['conn.json[2] "foo"', 'gossip.json[3]'],
  )
  t.deepEqual(importLegacy({ connJson: null, gossipJson: null }), { routes: [], peers: [], skipped: [] })
  t.equal(importLegacy({ connJson: 'x', gossipJson: GOSSIP }).routes.length, 1, 'one may be broken')
  t.end()
})

test('import: no text at all makes it throw, and what it finds can be loaded and saved', (t) => {
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom<unknown>(A, B, idOf(1), 'a.example', 8008, true, false, 'false', 'local', 'pub', CHANGED, 1e300),
  )
  const names = ['address', 'key', 'host', 'port', 'source', 'type', 'autoconnect', 'birth', 'stateChange', 'failure']
  const entry = fc.dictionary(fc.constantFrom(...names, 'ping', 'duration', 'error', '__proto__'), value, {
    maxKeys: 12,
  })
  const addressed = fc
    .tuple(fc.constantFrom(A, B, `${A};${OTHER}`), entry)
    .map(([address, rest]) => ({ ...rest, address }))
  const table = fc.oneof(
    fc.array(fc.oneof(addressed, entry, value)),
    fc.record({ ts: value, peers: fc.array(addressed) }),
    fc.dictionary(fc.constantFrom(A, B, `${A};${OTHER}`, 'foo', '__proto__', 'constructor'), fc.oneof(entry, value)),
    value,
  )
  const text = fc.oneof(
    table.map((data) => JSON.stringify(data)),
    fc.tuple(table, fc.nat(), fc.string()).map(([data, cut, more]) => {
      const whole = JSON.stringify(data)
      return whole.slice(0, cut % (whole.length + 1)) + more
    }),
    fc.string({ unit: 'binary' }),
  )
  let routeCount = 0
  const property = fc.property(text, text, (connJson, gossipJson) => {
    const { routes, peers } = importLegacy({ connJson, gossipJson })
    routeCount += routes.length
    const at = NOW
    const state = reduce(initialState(DEFAULT_OPTIONS, at), { type: 'table/loaded', at, routes, peers })
    for (const route of state.routes.values()) {
      for (const time of [route.addedAt, route.lastConnectionTime, route.lastErrorTime])
        assert.ok(time >= 0 && time <= at)
      assert.ok(route.nextAttemptAt <= at + DAY)
    }
    JSON.parse(stringifySnapshot(toSnapshot(state, at)))
  })
  const result = fc.check(property, { numRuns: 2_000 })
  t.notOk(result.failed, result.failed ? fc.defaultReportMessage(result) : 'any text')
  t.ok(routeCount > 500, `${routeCount} routes among them`)
  t.end()
})

// ---- files as they are found ------------------------------------------------------------------------------------------

/** As ssb-conn 6 leaves it: its own entry of the reference, a pub of an invite, a room, pubs of messages, a lan peer. */
const REAL_CONN = `{
  "net:127.0.0.1:9602~shs:VWrYVfflL/+6H2TX7PLM+ZoEvEF/MpfPhq/ItY1Y4c4=": {
    "birth": 1795226238892,
    "type": "pub",
    "key": "@VWrYVfflL/+6H2TX7PLM+ZoEvEF/MpfPhq/ItY1Y4c4=.ed25519",
    "autoconnect": true,
    "note": "x",
    "stateChange": 1795226246134,
    "failure": 0,
    "ping": {
      "rtt": { "mean": 44, "stdev": 0, "count": 1, "sum": 44, "sqsum": 1936 },
      "skew": { "mean": -22, "stdev": 0, "count": 1, "sum": -22, "sqsum": 484 }
    },
    "duration": { "mean": 35.333333333333336, "stdev": 49.2634640366356, "count": 3, "sum": 106, "sqsum": 11026 }
  },
  "net:one.butt.nz:8008~shs:VJM7w1W19ZsKmG2KnfaoKIM66BRoreEkzaVm/J//wl8=": {
    "birth": 1795226238000,
    "type": "pub",
    "key": "@VJM7w1W19ZsKmG2KnfaoKIM66BRoreEkzaVm/J//wl8=.ed25519",
    "autoconnect": false
  },
  "net:rooms.example.org:8008~shs:P4t+irI1FCMtDqvUQN9Ns6xWClR0E1NP0KkXC/X+/wI=": {
    "birth": 1795226230000,
    "type": "room",
    "key": "@P4t+irI1FCMtDqvUQN9Ns6xWClR0E1NP0KkXC/X+/wI=.ed25519",
    "name": "Example",
    "membership": true,
    "stateChange": 1795226240000,
    "failure": 4
  },
  "net:192.168.1.7:8008~shs:gmTIGw4kZGmyAXhGaIrNUSRHkjZfVIO9Do25bjzSH3I=": {
    "birth": 1795226230000,
    "type": "lan",
    "key": "@gmTIGw4kZGmyAXhGaIrNUSRHkjZfVIO9Do25bjzSH3I=.ed25519"
  }
}`

const REAL_GOSSIP = `[
  {
    "address": "net:pub.example.com:8008~shs:fV7cNYeZ3gXUPJYf8m/dFdkLGr1uQyh/SJmzJvKbPGo=",
    "key": "@fV7cNYeZ3gXUPJYf8m/dFdkLGr1uQyh/SJmzJvKbPGo=.ed25519",
    "source": "friends",
    "announcers": 5,
    "duration": { "mean": 1838.3333333333333, "stdev": 2387.3352415518766, "count": 3, "sum": 5515, "sqsum": 27236517 },
    "stateChange": 1795226175663,
    "client": true,
    "ping": {
      "rtt": { "mean": 44, "stdev": 0, "count": 1, "sum": 44, "sqsum": 1936 },
      "skew": { "mean": -22, "stdev": 0, "count": 1, "sum": -22, "sqsum": 484 }
    },
    "failure": 0,
    "host": "pub.example.com",
    "port": 8008
  },
  {
    "address": "net:rooms.example.org:8008~shs:P4t+irI1FCMtDqvUQN9Ns6xWClR0E1NP0KkXC/X+/wI=",
    "key": "@P4t+irI1FCMtDqvUQN9Ns6xWClR0E1NP0KkXC/X+/wI=.ed25519",
    "source": "stored",
    "announcers": 1,
    "duration": null,
    "failure": 1
  },
  {
    "address": "net:127.0.0.1:9999~shs:gmTIGw4kZGmyAXhGaIrNUSRHkjZfVIO9Do25bjzSH3I=",
    "key": "@gmTIGw4kZGmyAXhGaIrNUSRHkjZfVIO9Do25bjzSH3I=.ed25519",
    "source": "pub",
    "announcers": 2,
    "duration": null,
    "host": "127.0.0.1",
    "port": 9999
  }
]`

function stateWith({ routes, peers }: Pick<StoredTables, 'routes' | 'peers'>) {
  return reduce(initialState(DEFAULT_OPTIONS, NOW), { type: 'table/loaded', at: NOW, routes, peers })
}

test('import: real tables in a state', (t) => {
  const tables = importLegacy({ connJson: REAL_CONN, gossipJson: REAL_GOSSIP })
  t.deepEqual(tables.skipped, [])
  const state = stateWith(tables)
  t.deepEqual(
    state.routes
      .valuesArray()
      .map((route) => [
        route.address.split('~')[0],
        route.source,
        route.tier,
        route.errorCount,
        route.lastConnectionTime,
      ]),
    [
      ['net:127.0.0.1:9602', 'stored', 1, 0, 1_795_226_246_134],
      ['net:one.butt.nz:8008', 'pub', 3, 0, 0],
      ['net:pub.example.com:8008', 'friends', 1, 0, 1_795_226_175_663],
      ['net:rooms.example.org:8008', 'stored', 1, 4, 0],
    ],
    'the lan peer is left to its beacon, and the reducer refuses what strangers say of this machine',
  )
  const byHand = state.routes.get('net:one.butt.nz:8008~shs:VJM7w1W19ZsKmG2KnfaoKIM66BRoreEkzaVm/J//wl8=')
  t.equal(byHand?.dueAt, NOW + DAY, 'a pub of messages is left alone for a day')
  t.deepEqual(
    state.routes.valuesArray().map((route) => route.data),
    [
      { type: 'pub', autoconnect: true, note: 'x' },
      { type: 'pub' },
      null,
      { type: 'room', name: 'Example', membership: true },
    ],
    'what else was kept with them is kept',
  )
  t.end()
})

test('import: on disk, once: the old files are left as they are, and never read again', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'import-'))
  try {
    writeFileSync(join(folder, 'conn.json'), REAL_CONN)
    writeFileSync(join(folder, 'gossip.json'), REAL_GOSSIP)
    const start = async () => {
      let state = stateWith({ routes: [], peers: [] })
      const persistence = startPersistence({
        files: nodeFiles(folder, systemClock),
        clock: systemClock,
        getState: () => state,
        log: () => {},
        importLegacy: async () => importLegacy(await readLegacyTexts(folder, systemClock)),
      })
      const outcome = await persistence.load((tables) => {
        state = reduce(state, { type: 'table/loaded', at: NOW, ...tables })
      })
      await persistence.close()
      return { outcome, addresses: state.routes.keysArray() }
    }
    const first = await start()
    t.equal(first.outcome.status, 'imported')
    t.equal(first.addresses.length, 4)
    t.equal(readFileSync(join(folder, 'conn.json'), 'utf8'), REAL_CONN)
    t.equal(readFileSync(join(folder, 'gossip.json'), 'utf8'), REAL_GOSSIP)
    writeFileSync(join(folder, 'conn.json'), JSON.stringify({ [A]: {} }))
    const second = await start()
    t.equal(second.outcome.status, 'loaded')
    t.deepEqual(second.addresses, first.addresses)
    t.equal(JSON.parse(readFileSync(join(folder, TABLE_FILE), 'utf8')).routes.length, 4)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  t.end()
})
