/** What the journal says, and that a table with its journal is the state that was saved, whatever is cut off or damaged. */
import assert = require('assert')
import fc = require('fast-check')
import test = require('tape')

import type { Action, StoredPeer, StoredRoute } from '../../src/core/actions'
import { parseAddress, parseCanonical } from '../../src/core/address'
import { changedLines, JournalReader, journalEnd, journalHeader, removedRouteLine } from '../../src/core/journal'
import { DEFAULT_OPTIONS } from '../../src/core/options'
import { initialState, reduce } from '../../src/core/reducer'
import { fromSnapshot, stringifySnapshot, toSnapshot } from '../../src/core/snapshot'
import type { State } from '../../src/core/table'
import { PIECE_ENTRIES, TableReader, tablePieces } from '../../src/core/table-text'

const T0 = Date.UTC(2026, 0, 1)
const GENERATION = 7
const key = (byte: number): string => Buffer.alloc(32, byte).toString('base64')
const idOf = (byte: number): string => `@${key(byte)}.ed25519`
const addressOf = (byte: number, host = 'a'): string => `net:${host}.example:8008~shs:${key(byte)}`

interface Tables {
  readonly peers: readonly StoredPeer[]
  readonly routes: readonly StoredRoute[]
}

/** What is read of a text and a journal, both in pieces of a length. */
function read(text: string, journal: string | null = null, pieceLength = 50, limit = 3) {
  const reader = new TableReader('/x')
  let journalReader = new JournalReader(null)
  const peers: StoredPeer[] = []
  const routes: StoredRoute[] = []
  let longest = 0
  for (let at = 0; ; ) {
    const step = reader.next(limit)
    if (step.kind === 'done') break
    if (step.kind === 'more') {
      if (at >= text.length) reader.end()
      else reader.push(text.slice(at, at + pieceLength))
      at += pieceLength
    } else if (step.kind === 'journal') {
      journalReader = new JournalReader(reader.generation ?? null)
      for (let from = 0; journal !== null && from < journal.length; from += pieceLength) {
        journalReader.push(journal.slice(from, from + pieceLength))
        while (journalReader.next(limit) > 0);
      }
      reader.useJournal(journalReader)
    } else {
      longest = Math.max(longest, step.routes.length)
      peers.push(...step.peers)
      routes.push(...step.routes)
    }
  }
  return { peers, routes, skipped: reader.skipped, journal: journalReader, longest }
}

const textOf = (state: State, at = T0, generation: number | null = GENERATION): string =>
  [...tablePieces(state, at, generation)].join('')

/** In one order, for comparison. */
const sorted = ({ peers, routes }: Tables): unknown => ({
  peers: [...peers].sort((a, b) => (a.id < b.id ? -1 : 1)),
  routes: [...routes].sort((a, b) => (a.route.address < b.route.address ? -1 : 1)),
})
const expected = (state: State): unknown => sorted(fromSnapshot(JSON.parse(JSON.stringify(toSnapshot(state, T0)))))

// ---- random histories -------------------------------------------------------------------------------------------------

const byteArb = fc.integer({ min: 1, max: 5 })
const actionArb: fc.Arbitrary<Action> = fc.oneof(
  fc.tuple(byteArb, fc.constantFrom('a', 'b'), fc.constantFrom('pub', 'stored', 'é€'), fc.boolean()).map(
    ([byte, host, source, isLocal]): Action => ({
      type: 'routes/added',
      at: T0,
      reports: [{ route: parseAddress(addressOf(byte, host))[0]!, isLocal, source }],
    }),
  ),
  fc
    .tuple(byteArb, fc.constantFrom('a', 'b'))
    .map(([byte, host]): Action => ({ type: 'route/removed', at: T0, address: addressOf(byte, host) })),
  fc.tuple(byteArb, fc.constantFrom('a', 'b'), fc.integer({ max: 3 })).map(
    ([byte, host, n]): Action => ({
      type: 'route/annotated',
      at: T0,
      address: addressOf(byte, host),
      data: n < 0 ? null : { n, text: 'ä\u2028😀' },
      isAutomatic: n > 1,
    }),
  ),
  fc
    .tuple(byteArb, fc.constantFrom<'HIGH' | 'LOW' | 'BANNED' | null>('HIGH', 'LOW', 'BANNED', null))
    .map(([byte, priority]): Action => ({ type: 'peer/prioritised', at: T0, peer: idOf(byte), priority })),
  fc
    .tuple(byteArb, fc.boolean())
    .map(([byte, isLongTerm]): Action => ({ type: 'peer/longTermSet', at: T0, peer: idOf(byte), isLongTerm })),
  byteArb.map(
    (byte): Action => ({
      type: 'connection/opened',
      at: T0 + byte,
      peer: idOf(byte),
      direction: 'inbound',
      address: null,
      attempt: null,
      cause: 'inbound',
    }),
  ),
  byteArb.map((byte): Action => ({ type: 'connection/closed', at: T0 + 9, peer: idOf(byte), jitter: 0.5 })),
)
const blocksArb = fc.array(fc.array(actionArb, { maxLength: 12 }), { minLength: 1, maxLength: 5 })

/** A table and a journal with a save after each block but the first, and the states that were saved. */
function saved(blocks: readonly (readonly Action[])[]) {
  let state = initialState(DEFAULT_OPTIONS, T0)
  let base = ''
  let journal = journalHeader(GENERATION)
  const states: State[] = []
  const ends: number[] = [0]
  for (const [i, block] of blocks.entries()) {
    const before = state
    const ids = new Set<string>()
    for (const action of block) {
      state = reduce(state, action)
      for (const id of state.changedPeers) ids.add(id)
    }
    if (i === 0) base = textOf(state)
    else {
      for (const id of ids) journal += changedLines(before, state, id)
      journal += journalEnd(T0)
      ends.push(journal.length)
    }
    states.push(state)
  }
  return { base, journal, states, ends }
}

test('journal: a table with its journal is the state that was saved last', (t) => {
  let lines = 0
  const property = fc.property(blocksArb, fc.integer({ min: 1, max: 400 }), (blocks, pieceLength) => {
    const { base, journal, states } = saved(blocks)
    const found = read(base, journal, pieceLength)
    assert.deepStrictEqual(sorted(found), expected(states[states.length - 1]!))
    assert.deepStrictEqual([found.skipped, found.journal.skipped], [[], []])
    assert.strictEqual(found.journal.length, journal.length)
    assert.strictEqual(found.journal.isTorn, false)
    assert.ok(/^[\0-\x7f]*$/.test(journal), 'a character is a byte')
    lines += journal.split('\n').length
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }))
  t.ok(lines > 3_000, `${lines} lines`)
  t.end()
})

test('journal: cut off anywhere, it is the state of the last save that is whole', (t) => {
  const property = fc.property(blocksArb, fc.double({ min: 0, max: 1, noNaN: true }), (blocks, share) => {
    const { base, journal, states, ends } = saved(blocks)
    const cut = Math.floor(share * journal.length)
    const found = read(base, journal.slice(0, cut))
    const wholeSaves = ends.filter((end) => end <= cut).length
    assert.deepStrictEqual(sorted(found), expected(states[wholeSaves - 1]!))
    assert.deepStrictEqual(found.journal.skipped, [], 'of which nothing is said')
    const lastEnd = ends[wholeSaves - 1]!
    const isHeaderWhole = cut >= journalHeader(GENERATION).length
    assert.strictEqual(found.journal.isTorn, isHeaderWhole && cut > Math.max(lastEnd, journalHeader(GENERATION).length))
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }))
  t.end()
})

test('journal: of a peer about whom it is not known what is on disk, all is written', (t) => {
  const property = fc.property(blocksArb, (blocks) => {
    const { base, states } = saved(blocks)
    const first = states[0]!
    const last = states[states.length - 1]!
    let journal = journalHeader(GENERATION)
    for (let byte = 1; byte <= 5; byte++) journal += changedLines(null, last, idOf(byte))
    for (const address of first.routes.keys())
      if (!last.routes.get(address)?.isStored) journal += removedRouteLine(address)
    assert.deepStrictEqual(sorted(read(base, journal + journalEnd(T0))), expected(last))
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 300 }))
  t.end()
})

test('journal: what did not change is not written', (t) => {
  const [state] = saved([
    [
      {
        type: 'routes/added',
        at: T0,
        reports: [{ route: parseAddress(addressOf(1))[0]!, isLocal: false, source: 'x' }],
      },
      { type: 'peer/prioritised', at: T0, peer: idOf(1), priority: 'HIGH' },
    ],
  ]).states
  const dialed = reduce(state!, {
    type: 'dial/started',
    at: T0 + 1,
    attempt: 1,
    peer: idOf(1),
    address: addressOf(1),
    cause: 'schedule',
  })
  t.deepEqual(dialed.changedPeers, [idOf(1)], 'the state did')
  t.equal(changedLines(state!, dialed, idOf(1)), '')
  t.equal(changedLines(state!, state!, idOf(9)), '', 'nor a peer that nobody knows')
  const failed = reduce(dialed, {
    type: 'dial/failed',
    at: T0 + 2,
    attempt: 1,
    peer: idOf(1),
    address: addressOf(1),
    error: { message: 'refused', code: 'ECONNREFUSED' },
    jitter: 0.5,
    isGivenUp: false,
  })
  const deferrals = [{ address: addressOf(1), until: T0 + 3_600_000, layer: null }]
  const deferred = reduce(failed, { type: 'routes/deferred', at: T0 + 3, deferrals })
  t.match(changedLines(dialed, failed, idOf(1)), /"errors"/, 'a failure is')
  t.deepEqual(deferred.changedPeers, [idOf(1)], 'that the route was put off changes the state')
  t.equal(changedLines(failed, deferred, idOf(1)), '', 'and nothing that is stored, its failures as little as the rest')
  t.end()
})

const ONE = saved([
  [{ type: 'routes/added', at: T0, reports: [{ route: parseAddress(addressOf(1))[0]!, isLocal: false, source: 'x' }] }],
])

for (const [title, header] of [
  ['of another table', journalHeader(GENERATION + 1)],
  ['of a later version', `{"version":2,"journalOf":${GENERATION}}\n`],
  ['without a first line', ''],
  ['that begins with zeros', '\0'.repeat(4_096)],
  ['that was cut off in its first line', journalHeader(GENERATION).slice(0, -1)],
] as const)
  test(`journal: one ${title} counts for nothing`, (t) => {
    const journal = `${header}${removedRouteLine(addressOf(1))}${journalEnd(T0)}`
    const { routes, journal: reader } = read(ONE.base, header.endsWith('\n') || header === '' ? journal : header)
    t.equal(routes.length, 1)
    t.notOk(reader.isUsable)
    t.notOk(reader.isTorn)
    t.end()
  })

test('journal: a line in the middle that makes no sense is skipped and named, all others count', (t) => {
  const broken = ['{"route":{"addr', '7', '{"route":{"address":"foo"}}', '{"noPeer":1}', '{}', '\0\0']
  const journal =
    journalHeader(GENERATION) +
    removedRouteLine(addressOf(1)) +
    broken.map((line) => `${line}\n`).join('') +
    journalEnd(T0)
  const { routes, journal: reader } = read(ONE.base, journal)
  t.equal(routes.length, 0)
  t.equal(reader.skipped.length, broken.length)
  t.equal(reader.skipped[0]?.entry, 'line 3 of the journal')
  t.notOk(reader.isTorn)
  t.end()
})

// ---- the table --------------------------------------------------------------------------------------------------------

test('table text: in pieces or whole, by this version or before, the same is read', (t) => {
  const property = fc.property(blocksArb, fc.integer({ min: 1, max: 2_000 }), (blocks, pieceLength) => {
    const [state] = saved(blocks).states
    const text = textOf(state!)
    assert.strictEqual((JSON.parse(text) as { generation: number }).generation, GENERATION)
    assert.ok(!('generation' in JSON.parse(textOf(state!, T0, null))))
    const old = stringifySnapshot(toSnapshot(state!, T0))
    const oneLine = JSON.stringify(toSnapshot(state!, T0))
    const byHand = JSON.stringify(toSnapshot(state!, T0), null, 2)
    for (const each of [text, `\ufeff${text}`, old, oneLine, byHand]) {
      const found = read(each, null, pieceLength)
      assert.deepStrictEqual(sorted(found), expected(state!))
      assert.deepStrictEqual(found.skipped, [])
    }
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 200 }))
  t.end()
})

test('table text: no piece and no step is of more entries than it may be', (t) => {
  let state = initialState({ ...DEFAULT_OPTIONS, maxRoutes: 10_000 }, T0)
  const routes = Array.from({ length: 1_000 }, (_, i) => {
    const bytes = Buffer.alloc(32)
    bytes.writeUInt32LE(i)
    return parseAddress(`net:a.example:8008~shs:${bytes.toString('base64')}`)[0]!
  })
  const reports = routes.map((route) => ({ route, isLocal: false, source: 'pub', priority: 'HIGH' as const }))
  state = reduce(state, { type: 'routes/added', at: T0, reports })
  const pieces = [...tablePieces(state, T0, 1)]
  t.ok(pieces.every((piece) => piece.split('\n').length <= PIECE_ENTRIES + 1))
  t.ok(pieces.filter((piece) => piece === '').length >= 15, 'and there are pauses before the first one')
  const { longest, routes: found } = read(pieces.join(''), null, 1_000_000, 32)
  t.equal(found.length, 1_000)
  t.equal(longest, 32)
  t.end()
})

test('table text: bans and what the user said come first, then who worked last', (t) => {
  const at = T0 + 1e9
  const stored = (byte: number, lastConnectionTime: number): StoredRoute => ({
    ...fromSnapshot({ version: 1, savedAt: 0, peers: [], routes: [{ address: addressOf(byte) }] }).routes[0]!,
    lastConnectionTime,
  })
  let state = reduce(initialState(DEFAULT_OPTIONS, at), {
    type: 'table/loaded',
    at,
    peers: [],
    routes: [stored(1, 0), stored(2, at - 9e8), stored(3, at - 1_000), stored(4, at - 1e8)],
  })
  state = reduce(state, { type: 'peer/prioritised', at, peer: idOf(5), priority: 'BANNED' })
  const { routes, peers } = read(textOf(state, at))
  t.deepEqual(
    routes.map(({ route }) => route.peer),
    [3, 4, 2, 1].map(idOf),
  )
  t.equal(peers[0]?.id, idOf(5))
  const bans = new TableReader()
  bans.push(textOf(state, at))
  bans.useJournal(new JournalReader(null))
  const isBanned = { known: false }
  for (let step = bans.next(1); step.kind !== 'done'; step = bans.next(1)) {
    if (step.kind !== 'tables') continue
    if (step.peers.some((peer) => peer.priority === 'BANNED')) isBanned.known = true
    if (step.routes.length > 0) break
  }
  t.ok(isBanned.known, 'before any route')
  t.end()
})

test('table text: a damaged line costs one entry, a damaged line between the lists none', (t) => {
  const state = reduce(initialState(DEFAULT_OPTIONS, T0), {
    type: 'routes/added',
    at: T0,
    reports: [1, 2, 3].map((byte) => ({
      route: parseAddress(addressOf(byte))[0]!,
      isLocal: false,
      source: 'pub',
      priority: 'HIGH' as const,
    })),
  })
  const text = textOf(state)
  const lines = text.split('\n')
  const between = lines.findIndex((line) => line.startsWith('],"routes"'))
  t.equal(between, 4)
  for (let i = 1; i < lines.length - 1; i++) {
    const damaged = [...lines.slice(0, i), `x${lines[i]}`, ...lines.slice(i + 1)].join('\n')
    const { routes, skipped } = read(damaged)
    t.equal(routes.length, i > between && i < lines.length - 2 ? 2 : 3, `line ${i}`)
    t.ok(skipped.length >= 1, skipped.map((each) => each.entry).join(', '))
  }
  for (let length = lines[0]!.length + 1; length < text.length - 1; length += 7)
    t.ok(read(text.slice(0, length)).skipped.length > 0, `that it was cut short at ${length} is said`)
  t.end()
})

test('table text: with any byte changed, what is taken can be loaded, and nothing else than StoredStateError is thrown', (t) => {
  const { base } = saved([
    [
      {
        type: 'routes/added',
        at: T0,
        reports: [{ route: parseAddress(addressOf(1))[0]!, isLocal: false, source: 'pub' }],
      },
      { type: 'peer/prioritised', at: T0, peer: idOf(1), priority: 'HIGH' },
    ],
  ])
  for (let at = 0; at < base.length; at++)
    for (const char of ['\0', '"', ',', ']', '}', '\n', 'x']) {
      try {
        const { peers, routes } = read(base.slice(0, at) + char + base.slice(at + 1), null, 1_000)
        reduce(initialState(DEFAULT_OPTIONS, T0), { type: 'table/loaded', at: T0, peers, routes })
      } catch (error) {
        if ((error as { code?: string }).code !== 'ERR_STORED_STATE') t.fail(`${at} ${char}: ${String(error)}`)
      }
    }
  t.pass(`${base.length} places`)
  t.end()
})

// ---- usual addresses --------------------------------------------------------------------------------------------------

test('a usual address is taken apart as any other', (t) => {
  const octet = fc.oneof(
    fc.integer({ min: 0, max: 300 }),
    fc.constantFrom(10, 100, 127, 169, 172, 192, 198, 203, 224, 255),
  )
  const label = fc.stringMatching(/^[a-z0-9_-]{1,6}$/)
  const hostArb = fc.oneof(
    fc.tuple(octet, octet, octet, octet).map((parts) => parts.join('.')),
    fc.array(label, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('.')),
    fc.constantFrom(
      'localhost',
      'pub.lan',
      'x.local',
      '127.1',
      '0x7f.1',
      '1.2.3.4.5',
      '01.2.3.4',
      'A.example',
      'a..b',
      'a.',
      'x.onion',
    ),
    fc.string({ maxLength: 8 }),
  )
  const keyArb = fc.oneof(
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('base64')),
    fc.stringMatching(/^[A-Za-z0-9+/]{43}=$/),
  )
  const addressArb = fc
    .tuple(
      fc.constantFrom('net', 'net', 'net', 'onion', 'onion', 'ws', 'net:x'),
      hostArb,
      fc.oneof(
        fc.constant('8008'),
        fc.integer({ min: -1, max: 70_000 }).map(String),
        fc.constantFrom('08', '8008 ', ''),
      ),
      keyArb,
      fc.constantFrom('', '', '', '', '', '', ';', ' ', ':seed', '~noauth'),
    )
    .map(([protocol, host, port, publicKey, end]) => `${protocol}:${host}:${port}~shs:${publicKey}${end}`)
  let taken = 0
  const property = fc.property(addressArb, (address) => {
    const route = parseCanonical(address)
    if (route === null) return
    taken++
    // With a space in front it is none of the usual kinds.
    assert.deepStrictEqual([route], parseAddress(` ${address}`))
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 5_000 }))
  t.ok(taken > 50, `${taken} of them`)
  t.ok(parseCanonical(addressOf(1)) && parseCanonical(`net:8.8.4.4:8008~shs:${key(1)}`), 'the usual ones')
  t.end()
})
