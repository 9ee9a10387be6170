/** What is kept of a state, what is believed of a file, and that nothing learned is lost between the two. */
import assert = require('assert')
import fc = require('fast-check')
import test = require('tape')

import type { Action, RouteReport, StoredPeer, StoredRoute } from '../../src/core/actions'
import { parseAddress } from '../../src/core/address'
import { backoffCeiling, clampAttempt } from '../../src/core/backoff'
import { StoredStateError } from '../../src/core/errors'
import { hasBrought, type Merit, roundedMerit, turnAtOf } from '../../src/core/merit'
import { DEFAULT_OPTIONS } from '../../src/core/options'
import { tierOf } from '../../src/core/rank'
import { changePeer, changeRoute } from '../../src/core/records'
import { initialState, reduce, replay } from '../../src/core/reducer'
import { fromSnapshot, parseSnapshot, type Snapshot, stringifySnapshot, toSnapshot } from '../../src/core/snapshot'
import type { State } from '../../src/core/table'
import type { FeedId, ParsedRoute, Peer, Priority } from '../../src/core/types'

const T0 = Date.UTC(2026, 0, 1)
const DAY = 24 * 60 * 60 * 1000
const key = (byte: number): string => Buffer.alloc(32, byte).toString('base64')
const idOf = (byte: number): FeedId => `@${key(byte)}.ed25519`
const [ALICE, BOB, CAROL] = [idOf(1), idOf(2), idOf(3)]
const addressOf = (byte: number, host = 'a.example'): string => `net:${host}:8008~shs:${key(byte)}`
const parse = (address: string): ParsedRoute => parseAddress(address)[0]!

const report = (address: string, fields: Partial<RouteReport> = {}): RouteReport => ({
  route: parse(address),
  isLocal: false,
  source: 'manual',
  ...fields,
})
const added = (...reports: RouteReport[]): Action => ({ type: 'routes/added', at: T0, reports })
const stateAfter = (...actions: Action[]): State => replay(initialState(DEFAULT_OPTIONS, T0), actions)
const loadedFrom = (tables: { routes: readonly StoredRoute[]; peers: readonly StoredPeer[] }, at: number): State =>
  reduce(initialState(DEFAULT_OPTIONS, at), { type: 'table/loaded', at, routes: tables.routes, peers: tables.peers })

const EMPTY = { version: 1, savedAt: T0, peers: [], routes: [] }
const withRoute = (fields: object): unknown => ({ ...EMPTY, routes: [{ address: addressOf(1), ...fields }] })
const withPeer = (fields: object): unknown => ({ ...EMPTY, peers: [{ id: ALICE, isPrioritised: true, ...fields }] })

// ---- what is written --------------------------------------------------------------------------------------------------

test('snapshot: a route that was never dialed takes one field besides its address, its peer none', (t) => {
  const state = stateAfter(added(report(addressOf(1)), report(addressOf(2), { source: 'pub' })))
  t.deepEqual(toSnapshot(state, T0 + 5), {
    version: 1,
    savedAt: T0 + 5,
    peers: [],
    routes: [
      { address: addressOf(1), source: 'manual', addedAt: T0 },
      { address: addressOf(2), source: 'pub', addedAt: T0 },
    ],
  })
  t.end()
})

test('snapshot: what was learned of a route is kept', (t) => {
  const at = T0 + DAY
  const state = stateAfter(
    added(report(addressOf(1))),
    { type: 'dial/started', at, attempt: 1, peer: ALICE, address: addressOf(1), cause: 'schedule' },
    {
      type: 'connection/opened',
      at: at + 10,
      peer: ALICE,
      direction: 'outbound',
      address: addressOf(1),
      attempt: 1,
      cause: 'schedule',
    },
    { type: 'connection/closed', at: at + 60_010, peer: ALICE, jitter: 0.5 },
    { type: 'dial/started', at: at + DAY, attempt: 2, peer: ALICE, address: addressOf(1), cause: 'schedule' },
    {
      type: 'dial/failed',
      at: at + DAY + 1,
      attempt: 2,
      peer: ALICE,
      address: addressOf(1),
      error: { message: 'connect ECONNREFUSED', code: 'ECONNREFUSED' },
      jitter: 0.5,
      isGivenUp: false,
    },
  )
  t.deepEqual(toSnapshot(state, at).routes, [
    {
      address: addressOf(1),
      source: 'manual',
      addedAt: T0,
      lastConnectionTime: at + 60_010,
      lastErrorTime: at + DAY + 1,
      connectionCount: 1,
      errorCount: 1,
      backoffStep: 1,
      nextAttemptAt: at + DAY + 1 + 2_500,
      errors: [{ message: 'connect ECONNREFUSED', code: 'ECONNREFUSED', at: at + DAY + 1 }],
      duration: { count: 1, sum: 60_000, sqsum: 3_600_000_000 },
    },
  ])
  t.deepEqual(toSnapshot(state, at).peers, [], 'the visit is the one of its route')
  t.end()
})

test('snapshot: local routes are not stored, what was said about their peer is', (t) => {
  const local = report(`net:192.168.1.5:8008~shs:${key(1)}`, { isLocal: true, source: 'local' })
  const lan = report(`net:192.168.1.6:8008~shs:${key(2)}`, { isLocal: true, source: 'local' })
  const state = stateAfter(added(local, lan), { type: 'peer/longTermSet', at: T0, peer: ALICE, isLongTerm: true })
  const { peers, routes } = toSnapshot(state, T0)
  t.deepEqual(routes, [])
  t.deepEqual(peers, [{ id: ALICE, isLongTerm: true }], 'and nothing of a peer that would only be a ghost')
  t.end()
})

interface Kept {
  readonly title: string
  readonly actions: readonly Action[]
  readonly peers: Snapshot['peers']
}

const prioritised = (peer: FeedId, priority: Priority): Action => ({ type: 'peer/prioritised', at: T0, peer, priority })
const calledIn = (peer: FeedId): Action => ({
  type: 'connection/opened',
  at: T0 + 7,
  peer,
  direction: 'inbound',
  address: null,
  attempt: null,
  cause: 'inbound',
})

const KEPT: readonly Kept[] = [
  {
    title: 'a ban, of a peer without routes',
    actions: [prioritised(BOB, 'BANNED')],
    peers: [{ id: BOB, priority: 'BANNED', isPrioritised: true }],
  },
  {
    title: 'that a user wants it MEDIUM, even where it is MEDIUM anyway',
    actions: [added(report(addressOf(2))), prioritised(BOB, 'MEDIUM')],
    peers: [{ id: BOB, isPrioritised: true }],
  },
  {
    title: 'a priority that came with a route',
    actions: [added(report(addressOf(2), { priority: 'HIGH' }))],
    peers: [{ id: BOB, priority: 'HIGH' }],
  },
  {
    title: 'that a peer of strangers stayed LOW when a better source named its route',
    actions: [added(report(addressOf(2), { source: 'pub' })), added(report(addressOf(2)))],
    peers: [{ id: BOB, priority: 'LOW' }],
  },
  {
    title: 'nothing where the sources of the routes say the same',
    actions: [added(report(addressOf(2), { source: 'pub' }), report(addressOf(2, 'b.example'), { source: 'seed' }))],
    peers: [],
  },
  {
    title: 'that a known peer called in',
    actions: [added(report(addressOf(2))), calledIn(BOB)],
    peers: [{ id: BOB, visitedAt: T0 + 7 }],
  },
  {
    title: 'a ban that came with a route',
    actions: [added(report(addressOf(2), { priority: 'BANNED' }))],
    peers: [{ id: BOB, priority: 'BANNED', isPrioritised: true }],
  },
  { title: 'nothing of a stranger who calls in', actions: [calledIn(BOB)], peers: [] },
]

for (const { title, actions, peers } of KEPT)
  test(`snapshot: of a peer is kept: ${title}`, (t) => {
    const snapshot = toSnapshot(stateAfter(...actions), T0)
    t.deepEqual(snapshot.peers, peers)
    const again = loadedFrom(parseSnapshot(stringifySnapshot(snapshot)), T0 + 7)
    t.deepEqual(toSnapshot(again, T0).peers, peers, 'and still is after a restart')
    t.end()
  })

test('snapshot: figures that JSON cannot write do not cost the route', (t) => {
  const state = stateAfter(added(report(addressOf(1))))
  const route = changeRoute(state.routes.get(addressOf(1))!, {
    nextAttemptAt: Number.NaN,
    connectionCount: Number.POSITIVE_INFINITY,
  })
  const all = state.routes.clone()
  all.set(addressOf(1), route)
  const broken: State = { ...state, routes: all }
  const { routes, skipped } = parseSnapshot(stringifySnapshot(toSnapshot(broken, T0)))
  t.deepEqual(skipped, [])
  t.deepEqual(
    routes.map((stored) => [stored.route.address, stored.nextAttemptAt, stored.connectionCount]),
    [[addressOf(1), 0, 0]],
  )
  t.end()
})

test('snapshot: the text has a line for each entry and says the same as plain JSON', (t) => {
  const state = stateAfter(
    added(report(addressOf(1)), report(addressOf(2)), report(addressOf(2, 'b.example'))),
    prioritised(CAROL, 'BANNED'),
  )
  const snapshot = toSnapshot(state, T0)
  const text = stringifySnapshot(snapshot)
  t.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(snapshot)))
  t.equal(text.split('\n').length - 1, 4 + 3, 'four entries, and what stands around them')
  t.deepEqual(JSON.parse(stringifySnapshot(toSnapshot(stateAfter(), T0))), EMPTY)
  t.end()
})

// ---- what is believed -------------------------------------------------------------------------------------------------

test('snapshot: an entry without anything but its name has the defaults', (t) => {
  const { routes, peers, skipped } = fromSnapshot({
    ...EMPTY,
    routes: [{ address: addressOf(1) }],
    peers: [{ id: ALICE }],
  })
  t.deepEqual(routes, [
    {
      route: parse(addressOf(1)),
      isLocal: false,
      source: 'stored',
      priority: 'MEDIUM',
      addedAt: 0,
      lastConnectionTime: 0,
      lastErrorTime: 0,
      connectionCount: 0,
      errorCount: 0,
      backoffStep: 0,
      nextAttemptAt: 0,
      errors: [],
      duration: null,
      isAutomatic: true,
      data: null,
    },
  ])
  t.deepEqual(peers, [
    { id: ALICE, priority: 'MEDIUM', prioritisedBy: null, isLongTerm: false, visitedAt: 0, merit: null },
  ])
  t.deepEqual(skipped, [])
  t.end()
})

interface Unusable {
  readonly title: string
  readonly data: unknown
  readonly says: RegExp
}

const UNUSABLE: readonly Unusable[] = [
  { title: 'nothing', data: undefined, says: /expected an object, found undefined/ },
  { title: 'null', data: null, says: /found null/ },
  { title: 'a list, as gossip.json is', data: [{ address: addressOf(1) }], says: /found an array of length 1/ },
  { title: 'text', data: 'x'.repeat(1e6), says: /found "xxx/ },
  { title: 'no version', data: { peers: [], routes: [] }, says: /expected version 1, found undefined/ },
  { title: 'conn.json', data: { [addressOf(1)]: {} }, says: /version/ },
  { title: 'an inherited version', data: Object.create(EMPTY), says: /version/ },
  { title: 'a newer version', data: { ...EMPTY, version: 2 }, says: /version 2 is newer than 1/ },
  { title: 'a much newer version', data: { version: 1e300 }, says: /newer/ },
  { title: 'a version before the first', data: { ...EMPTY, version: 0 }, says: /expected version 1, found 0/ },
  { title: 'a version in words', data: { ...EMPTY, version: '1' }, says: /expected version 1, found "1"/ },
  { title: 'half a version', data: { ...EMPTY, version: 1.5 }, says: /newer/ },
  { title: 'no routes', data: { version: 1, peers: [] }, says: /expected a list of routes, found undefined/ },
  { title: 'no peers', data: { version: 1, routes: [] }, says: /expected a list of peers, found undefined/ },
  { title: 'routes by name', data: { ...EMPTY, routes: { [addressOf(1)]: {} } }, says: /expected a list of routes/ },
  {
    title: 'a getter that throws',
    data: Object.defineProperty({ ...EMPTY }, 'routes', {
      get: () => {
        throw new Error('trap')
      },
    }),
    says: /trap/,
  },
]

for (const { title, data, says } of UNUSABLE)
  test(`snapshot: refused as a whole: ${title}`, (t) => {
    try {
      fromSnapshot(data, '/x/table.json')
      t.fail('was taken')
    } catch (error) {
      t.ok(error instanceof StoredStateError, String(error))
      if (error instanceof StoredStateError) {
        t.equal(error.code, 'ERR_STORED_STATE')
        t.equal(error.path, '/x/table.json')
        t.match(error.message, says)
        t.ok(error.message.length < 500, 'the message is short')
      }
    }
    t.end()
  })

const NOT_NUMBERS: readonly unknown[] = [null, '5', true, [], {}, -1, Number.NaN, Number.POSITIVE_INFINITY]
const TIMES = ['addedAt', 'lastConnectionTime', 'lastErrorTime', 'nextAttemptAt']
const COUNTS = ['connectionCount', 'errorCount', 'backoffStep']

interface Skipped {
  readonly title: string
  readonly data: unknown
  readonly says: RegExp
}

const ONE = { message: 'm', at: 1 }
const SKIPPED: readonly Skipped[] = [
  ...TIMES.flatMap((name) =>
    [...NOT_NUMBERS, 8.7e15].map((value) => ({
      title: `${name} ${String(value)}`,
      data: withRoute({ [name]: value }),
      says: new RegExp(`${name}: expected milliseconds since 1970`),
    })),
  ),
  ...COUNTS.flatMap((name) =>
    [...NOT_NUMBERS, 1.5].map((value) => ({
      title: `${name} ${String(value)}`,
      data: withRoute({ [name]: value }),
      says: new RegExp(`${name}: expected a whole number`),
    })),
  ),
  ...[null, 5, 'net', 'net:a:8008~shs:AAAA', { host: 'a' }, '__proto__', 'x'.repeat(1e5)].map((address) => ({
    title: `address ${String(address).slice(0, 20)}`,
    data: withRoute({ address }),
    says: /multiserver address/,
  })),
  {
    title: 'two addresses',
    data: withRoute({ address: `${addressOf(1)};${addressOf(1, 'b.example')}` }),
    says: /one address, found 2/,
  },
  ...[null, '', 5, {}].map((source) => ({
    title: `source ${String(source)}`,
    data: withRoute({ source }),
    says: /source: expected a word/,
  })),
  ...[null, {}, 'ECONNREFUSED'].map((errors) => ({
    title: `errors ${String(errors)}`,
    data: withRoute({ errors }),
    says: /errors: expected a list/,
  })),
  ...[null, 'm', {}, { at: 1 }, { message: 5, at: 1 }, { message: 'm', code: 5, at: 1 }].map((error) => ({
    title: `an error ${JSON.stringify(error)}`,
    data: withRoute({ errors: [ONE, error] }),
    says: /errors: expected entries with a message and a code/,
  })),
  { title: 'an error with a time in words', data: withRoute({ errors: [{ message: 'm', at: 'now' }] }), says: /at: / },
  ...[
    null,
    5,
    {},
    { count: 0, sum: 0, sqsum: 0 },
    { count: 1.5, sum: 1, sqsum: 1 },
    { count: 1, sum: -1, sqsum: 1 },
    { count: 1, sum: 1 },
    { count: 1, sum: 1e200, sqsum: 1 },
    { mean: 1, stdev: 0 },
  ].map((duration) => ({
    title: `duration ${JSON.stringify(duration)}`,
    data: withRoute({ duration }),
    says: /duration: expected/,
  })),
  ...[null, 5, 'net:a', []].map((entry) => ({
    title: `the route ${JSON.stringify(entry)}`,
    data: { ...EMPTY, routes: [entry] },
    says: /expected an object, found/,
  })),
  ...[null, 5, key(1).slice(1), '@x.ed25519', '__proto__'].map((id) => ({
    title: `id ${String(id)}`,
    data: withPeer({ id }),
    says: /id: expected a feed id/,
  })),
  ...[null, 'MED', 'high', 0, 'constructor', '__proto__'].map((priority) => ({
    title: `priority ${String(priority)}`,
    data: withPeer({ priority }),
    says: /priority: expected one of HIGH, MEDIUM, LOW, BANNED/,
  })),
  ...['isPrioritised', 'isLongTerm'].flatMap((name) =>
    ['true', 1, 0, {}].map((value) => ({
      title: `${name} ${String(value)}`,
      data: withPeer({ [name]: value }),
      says: new RegExp(`${name}: expected true or false`),
    })),
  ),
  ...NOT_NUMBERS.map((visitedAt) => ({
    title: `visitedAt ${String(visitedAt)}`,
    data: withPeer({ visitedAt }),
    says: /visitedAt: expected milliseconds/,
  })),
]

test('snapshot: an entry with anything wrong in it is skipped and named, the others are taken', (t) => {
  const good = { address: addressOf(9), source: 'seed', errorCount: 3 }
  for (const { title, data, says } of SKIPPED) {
    const damaged = data as { routes: unknown[]; peers: unknown[] }
    const { routes, peers, skipped } = fromSnapshot({
      ...damaged,
      routes: [good, ...damaged.routes],
      peers: [...damaged.peers, { id: idOf(9), priority: 'HIGH' }],
    })
    const taken = [routes.map((stored) => [stored.route.address, stored.errorCount]), peers.map((peer) => peer.id)]
    try {
      assert.deepStrictEqual(taken, [[[addressOf(9), 3]], [idOf(9)]])
      assert.strictEqual(skipped.length, 1)
      assert.match(skipped[0]!.error.message, says)
      assert.match(skipped[0]!.entry, damaged.routes.length > 0 ? /^routes\[1\]/ : /^peers\[0\]/)
      assert.ok(skipped[0]!.entry.length <= 200 && skipped[0]!.error.message.length <= 300)
    } catch (error) {
      t.fail(`${title}: ${String(error)}`)
    }
  }
  t.pass(`${SKIPPED.length} entries tried`)
  t.end()
})

test('snapshot: an entry whose getters throw is skipped', (t) => {
  const trap = new Proxy(
    {},
    {
      getOwnPropertyDescriptor: () => {
        throw new Error('trap')
      },
    },
  )
  const { routes, skipped } = fromSnapshot({ ...EMPTY, routes: [trap, { address: addressOf(1) }] })
  t.equal(routes.length, 1)
  t.deepEqual(skipped, [{ entry: 'routes[0]', error: { message: 'trap', code: null } }])
  t.end()
})

test('snapshot: what is only too much is cut down', (t) => {
  const errors = Array.from({ length: 5_000 }, (_, i) => ({ message: 'x'.repeat(1_000), code: 'E'.repeat(100), at: i }))
  const { routes, skipped } = fromSnapshot(
    withRoute({ errors, connectionCount: 1e300, errorCount: 2 ** 53, backoffStep: 1e15, source: 's'.repeat(1_000) }),
  )
  t.deepEqual(skipped, [])
  const [route] = routes
  t.deepEqual(
    route?.errors.map((error) => error.at),
    [4_995, 4_996, 4_997, 4_998, 4_999],
    'the last five errors stay',
  )
  t.ok(route?.errors.every((error) => error.message.length === 300 && error.code?.length === 64))
  t.deepEqual([route?.connectionCount, route?.errorCount, route?.backoffStep], [1e9, 1e9, 1e9])
  t.equal(route?.source.length, 64)
  t.end()
})

test('snapshot: fields and names that nobody knows are ignored', (t) => {
  const text = `{"version":1,"__proto__":{"version":2},"extra":{},"peers":[],"routes":[
    {"address":"${addressOf(1)}","__proto__":{"errorCount":5},"constructor":7,"isLocal":true,"later":[1]}]}`
  const { routes, skipped } = parseSnapshot(text)
  t.deepEqual(skipped, [])
  t.deepEqual([routes[0]?.errorCount, routes[0]?.isLocal], [0, false])
  t.end()
})

test('snapshot: times in the future come down when they are loaded', (t) => {
  const future = T0 + 400 * DAY
  const fields = { addedAt: future, lastConnectionTime: future, lastErrorTime: future, nextAttemptAt: 8.64e15 }
  const tables = fromSnapshot({
    ...EMPTY,
    routes: [{ address: addressOf(1), ...fields }],
    peers: [{ id: ALICE, visitedAt: future }],
  })
  t.deepEqual(tables.skipped, [])
  const route = loadedFrom(tables, T0).routes.get(addressOf(1))!
  t.deepEqual([route.addedAt, route.lastConnectionTime, route.lastErrorTime], [T0, T0, T0])
  t.equal(route.nextAttemptAt, T0 + DEFAULT_OPTIONS.backoffMaxMs.MEDIUM)
  t.end()
})

test('snapshot: of two entries of the same name the first counts', (t) => {
  const { routes, peers } = fromSnapshot({
    ...EMPTY,
    routes: [
      { address: addressOf(1), errorCount: 1 },
      // The same route in another spelling.
      { address: `net:A.EXAMPLE.:8008~shs:${key(1)}`, errorCount: 2 },
    ],
    peers: [
      { id: ALICE, priority: 'BANNED', isPrioritised: true },
      { id: ALICE, priority: 'HIGH' },
    ],
  })
  t.deepEqual(
    routes.map((stored) => [stored.errorCount, stored.priority]),
    [[1, 'BANNED']],
  )
  t.deepEqual(
    peers.map((peer) => peer.priority),
    ['BANNED'],
  )
  t.end()
})

test('snapshot: a peer whose only route was skipped stays if something was said about it', (t) => {
  const routes = [1, 2, 3].map((byte) => ({ address: addressOf(byte), errorCount: 'many' }))
  const { peers } = fromSnapshot({
    ...EMPTY,
    routes,
    peers: [
      { id: ALICE, visitedAt: T0 },
      { id: BOB, priority: 'BANNED' },
      { id: CAROL, isLongTerm: true },
    ],
  })
  t.deepEqual(
    peers.map((peer) => peer.id),
    [BOB, CAROL],
  )
  t.end()
})

// ---- there and back ---------------------------------------------------------------------------------------------------

/** Few peers and hosts, so that they meet often. */
const byteArb = fc.integer({ min: 1, max: 4 })
const addressArb = fc.tuple(byteArb, fc.constantFrom('a.example', 'b.example', '10.0.0.1'))
const jitterArb = fc.constantFrom(0, 0.5, 0.99)
const priorityArb = fc.constantFrom<Priority>('HIGH', 'MEDIUM', 'LOW', 'BANNED')
const codeArb = fc.constantFrom(null, 'ECONNREFUSED', 'ETIMEDOUT', 'EAI_AGAIN')

/** A step: what happens, given a time and a fresh attempt number. */
type Step = (at: number, attempt: number) => Action[]

const heardArb = fc
  .tuple(
    addressArb,
    fc.constantFrom('manual', 'pub', 'friends', 'stored', 'local'),
    fc.option(priorityArb, { nil: undefined }),
  )
  .map(
    ([[byte, host], source, priority]): Step =>
      (at) => [
        {
          type: 'routes/added',
          at,
          reports: [
            report(addressOf(byte, host), { source, isLocal: source === 'local', ...(priority ? { priority } : {}) }),
          ],
        },
      ],
  )

const stepArb: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: heardArb },
  fc.tuple(addressArb, codeArb, fc.string({ maxLength: 5 }), jitterArb).map(
    ([[byte, host], code, message, jitter]): Step =>
      (at, attempt) => {
        const dial = { at, attempt, peer: idOf(byte), address: addressOf(byte, host) }
        return [
          { type: 'dial/started', ...dial, cause: 'schedule' },
          { type: 'dial/failed', ...dial, error: { message, code }, jitter, isGivenUp: false },
        ]
      },
  ),
  fc.tuple(addressArb, fc.constantFrom(1, 20_000, 700_000), jitterArb, fc.constantFrom(0, 1, 300)).map(
    ([[byte, host], lastedMs, jitter, count]): Step =>
      (at, attempt) => {
        const dial = { at, attempt, peer: idOf(byte), address: addressOf(byte, host) }
        return [
          { type: 'dial/started', ...dial, cause: 'schedule' },
          { type: 'connection/opened', ...dial, direction: 'outbound', cause: 'schedule' },
          ...(count > 0 ? [{ type: 'connection/transferred', at, peer: dial.peer, count } as const] : []),
          { type: 'connection/closed', at: at + lastedMs, peer: dial.peer, jitter },
        ]
      },
  ),
  byteArb.map(
    (byte): Step =>
      (at) => [{ ...calledIn(idOf(byte)), at }],
  ),
  fc.tuple(byteArb, jitterArb).map(
    ([byte, jitter]): Step =>
      (at) => [{ type: 'connection/closed', at, peer: idOf(byte), jitter }],
  ),
  fc.tuple(byteArb, priorityArb).map(
    ([byte, priority]): Step =>
      (at) => [{ type: 'peer/prioritised', at, peer: idOf(byte), priority }],
  ),
  fc.tuple(byteArb, fc.boolean()).map(
    ([byte, isLongTerm]): Step =>
      (at) => [{ type: 'peer/longTermSet', at, peer: idOf(byte), isLongTerm }],
  ),
  addressArb.map(
    ([byte, host]): Step =>
      (at) => [{ type: 'route/removed', at, address: addressOf(byte, host) }],
  ),
)

const stateArb: fc.Arbitrary<State> = fc
  .array(fc.tuple(stepArb, fc.constantFrom(0, 1, 5_000, 3_600_000, 10 * DAY)), {
    minLength: 5,
    maxLength: 40,
    size: 'max',
  })
  .map((steps) => {
    let state = initialState(DEFAULT_OPTIONS, T0)
    let attempt = 0
    for (const [step, pauseMs] of steps) state = replay(state, step(state.now + pauseMs, ++attempt))
    return state
  })

/** What a peer brought, as it is stored: of one that brought nothing, or long ago, that is forgotten. */
function storedMerit({ merit }: Peer): Merit | null {
  return merit !== null && hasBrought(merit) ? roundedMerit(merit) : null
}

/** All that has to be as it was after a restart at the time of the state. */
function learned(state: State): object {
  // A ban that came with a route is taken for the user's when it is loaded.
  const isSaid = (peer: Peer): boolean => peer.prioritisedBy === 'user' || peer.priority === 'BANNED'
  const routes = state.routes.valuesArray().filter((route) => route.isStored)
  const reachable = new Set(routes.map((route) => route.peer))
  return {
    routes: routes.map((route) => {
      const peer = state.peers.get(route.peer)!
      const { priority, isLongTerm } = peer
      return {
        address: route.address,
        peer: route.peer,
        // Of a route that was given by hand and is heard on the local network too, that it is near is left out.
        class: route.protocol,
        scope: route.scope,
        hostKey: route.hostKey,
        source: route.source,
        tier: route.tier,
        queue: isLongTerm ? '' : route.protocol,
        turnAt: turnAtOf(DEFAULT_OPTIONS, changePeer(peer, { merit: storedMerit(peer) })),
        isProven: route.turnAt > 0,
        addedAt: route.addedAt,
        lastConnectionTime: route.lastConnectionTime,
        lastErrorTime: route.lastErrorTime,
        connectionCount: route.connectionCount,
        errorCount: route.errorCount,
        backoffStep: route.backoffStep,
        errors: route.errors,
        duration: route.duration,
        isAutomatic: route.isAutomatic,
        data: route.data,
        // A peer that rose has a lower ceiling, which the reducer applies when it loads.
        nextAttemptAt: clampAttempt(
          route.nextAttemptAt,
          state.now,
          backoffCeiling(DEFAULT_OPTIONS, priority, isLongTerm),
        ),
      }
    }),
    peers: state.peers
      .valuesArray()
      .filter((peer) => isSaid(peer) || peer.isLongTerm || reachable.has(peer.id))
      .map((peer) => {
        const { id, priority, isLongTerm, visitedAt } = peer
        const stored = peer.routes.filter((address) => state.routes.get(address)?.isStored).sort()
        return {
          id,
          priority,
          isPrioritised: isSaid(peer),
          isLongTerm,
          visitedAt,
          merit: storedMerit(peer),
          routes: stored,
        }
      }),
  }
}

test('snapshot: after a restart everything that was learned is as it was', (t) => {
  let routeCount = 0
  let entryCount = 0
  const property = fc.property(stateArb, (state) => {
    const snapshot = toSnapshot(state, state.now)
    const tables = parseSnapshot(stringifySnapshot(snapshot))
    routeCount += tables.routes.length
    entryCount += tables.peers.length
    assert.deepStrictEqual(tables.skipped, [])
    const again = loadedFrom(tables, state.now)
    assert.deepStrictEqual(learned(again), learned(state))
    assert.deepStrictEqual(fromSnapshot(JSON.parse(JSON.stringify(snapshot))), tables)
    // Loading is no learning: what is saved next is the same, unless a ceiling came down.
    const untimed = (all: Snapshot): unknown => all.routes.map((route) => ({ ...route, nextAttemptAt: 0 }))
    assert.deepStrictEqual(untimed(toSnapshot(again, 0)), untimed(snapshot))
    assert.deepStrictEqual(toSnapshot(again, 0).peers, snapshot.peers)
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }))
  t.ok(routeCount > 1_000 && entryCount > 1_000, `${routeCount} routes and ${entryCount} peers went there and back`)
  t.end()
})

test('snapshot: priorities are the same whether the peers or the routes are loaded first', (t) => {
  const property = fc.property(stateArb, (state) => {
    const { routes, peers } = parseSnapshot(stringifySnapshot(toSnapshot(state, state.now)))
    const at = state.now
    const later = replay(initialState(DEFAULT_OPTIONS, at), [
      { type: 'table/loaded', at, routes, peers: [] },
      { type: 'table/loaded', at, routes: [], peers },
    ])
    const tiers = (each: State): unknown => each.routes.valuesArray().map((route) => [route.address, route.tier])
    assert.deepStrictEqual(tiers(later), tiers(loadedFrom({ routes, peers }, at)))
    const routesOnly = reduce(initialState(DEFAULT_OPTIONS, at), { type: 'table/loaded', at, routes, peers: [] })
    for (const peer of peers)
      if (peer.priority === 'BANNED')
        for (const route of routesOnly.routes.values())
          assert.ok(route.peer !== peer.id || route.tier === tierOf('BANNED'))
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 300 }))
  t.end()
})

// ---- damage -----------------------------------------------------------------------------------------------------------

/** Null if the text is read, else the error, which has to be the one that callers know. */
function refusalOf(text: string): StoredStateError | null {
  try {
    const { routes, peers, skipped } = parseSnapshot(text)
    assert.ok(Array.isArray(routes) && Array.isArray(peers) && Array.isArray(skipped))
    // Whatever is taken can be loaded.
    loadedFrom({ routes, peers }, T0)
    return null
  } catch (error) {
    assert.ok(error instanceof StoredStateError, String(error))
    assert.strictEqual(error.code, 'ERR_STORED_STATE')
    return error
  }
}

const SAMPLE = stringifySnapshot(
  toSnapshot(
    stateAfter(
      added(report(addressOf(1)), report(addressOf(2), { priority: 'HIGH' })),
      prioritised(CAROL, 'BANNED'),
      { type: 'dial/started', at: T0, attempt: 1, peer: ALICE, address: addressOf(1), cause: 'schedule' },
      {
        type: 'dial/failed',
        at: T0,
        attempt: 1,
        peer: ALICE,
        address: addressOf(1),
        error: { message: 'é€😀', code: 'ECONNREFUSED' },
        jitter: 0.5,
        isGivenUp: false,
      },
    ),
    T0,
  ),
)

test('snapshot: a text that was cut short anywhere is refused', (t) => {
  const bytes = Buffer.from(SAMPLE)
  let refused = 0
  for (let length = 0; length < bytes.length; length++)
    if (refusalOf(bytes.subarray(0, length).toString('utf8'))) refused++
  t.equal(refused, bytes.length - 1, 'only the last line feed is not missed')
  t.equal(refusalOf(SAMPLE), null)
  t.equal(refusalOf(`\ufeff${SAMPLE}`), null, 'with a byte order mark')
  t.end()
})

test('snapshot: any one byte changed, or a block of zeros, is refused or read, never thrown at the caller', (t) => {
  const bytes = Buffer.from(SAMPLE)
  for (let at = 0; at < bytes.length; at++)
    for (const byte of [0, 0x22, 0x2c, 0x30, 0x5d, 0x7b, 0xff]) {
      const damaged = Buffer.from(bytes)
      damaged[at] = byte
      refusalOf(damaged.toString('utf8'))
    }
  t.ok(refusalOf('\0'.repeat(4096)), 'what some file systems leave after a power cut')
  t.end()
})

test('snapshot: any JSON, and any JSON in the place of any part, is refused or read', (t) => {
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom<unknown>(1e308, -1, 1e-7, '__proto__', 'constructor', addressOf(1), ALICE, T0 + 1000 * DAY),
  )
  const paths = fc.constantFrom<readonly (string | number)[]>(
    [],
    ['version'],
    ['peers'],
    ['routes'],
    ['peers', 0],
    ['routes', 0],
    ...['id', 'priority', 'isPrioritised', 'visitedAt'].map((name) => ['peers', 0, name]),
    ...['address', 'source', 'errors', 'duration', 'nextAttemptAt'].map((name) => ['routes', 0, name]),
    ['routes', 0, 'errors', 0],
    ['routes', 0, 'errors', 0, 'at'],
  )
  const property = fc.property(paths, value, (path, replacement) => {
    const root = { data: JSON.parse(SAMPLE) as unknown }
    let place: Record<string | number, unknown> = root
    let name: string | number = 'data'
    for (const part of path) {
      place = place[name] as Record<string | number, unknown>
      name = part
    }
    place[name] = replacement
    refusalOf(JSON.stringify(root.data))
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2_000 }))
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.anything({ withNullPrototype: true, withSparseArray: true }), (data) => {
        try {
          fromSnapshot(data)
        } catch (error) {
          assert.ok(error instanceof StoredStateError)
        }
      }),
      { numRuns: 1_000 },
    ),
  )
  t.end()
})
