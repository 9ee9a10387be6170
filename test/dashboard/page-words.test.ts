/** The pure parts of the live page: what it keeps, how it words it, which rows it shows, what it asks before it cuts. */
import test = require('tape')

import { FINDING_CODES, type Finding } from '../../src/core/diagnosis'
import * as actions from '../../src/dashboard/page/actions'
import {
  ago,
  ahead,
  clean,
  clockTime,
  count,
  duration,
  listed,
  peerName,
  percent,
  shortAddress,
  shortId,
} from '../../src/dashboard/page/format'
import { classesOf, FILTERS, type Query, select, windowOf } from '../../src/dashboard/page/query'
import { emptyStore, HISTORY_MAX, receive } from '../../src/dashboard/page/store'
import {
  causeWords,
  endWords,
  entrySentence,
  findingMessage,
  findingPlace,
  findingRemedy,
  headline,
  layerWords,
  peerSentence,
  peerState,
  reasonWords,
  remedyFor,
  sentence,
} from '../../src/dashboard/page/words'
import type { HistoryEntry, PeerRow } from '../../src/dashboard/protocol'
import { explanation, fakeId, makeWorld, peerRow, routeRow, statusOf } from '../support/page-world'

const NOW = Date.UTC(2026, 0, 15, 12)
const MINUTE = 60_000
const alice = fakeId(1)
const bob = fakeId(2)

test('what comes from peers is shown without what text can do to a reader', (t) => {
  const rows: readonly (readonly [from: unknown, to: string, remark: string])[] = [
    ['<img src=x onerror=alert(1)>', '<img src=x onerror=alert(1)>', 'markup is only text'],
    ['\u001b[31mred\u001b[0m', '\ufffd[31mred\ufffd[0m', 'an escape of a terminal'],
    ['abc\u202egpj.exe', 'abc\ufffdgpj.exe', 'an override of the direction'],
    ['a\u2066b\u2069c\u200fd', 'a\ufffdb\ufffdc\ufffdd', 'isolates and marks'],
    ['a\u200bb\ufeffc', 'a\ufffdb\ufffdc', 'what cannot be seen'],
    ['line\nline\u2028line', 'line\ufffdline\ufffdline', 'ends of lines'],
    ['\ud800x', '\ufffdx', 'half a pair'],
    ['x\udc00', 'x\ufffd', 'the other half'],
    ['👩‍👧 שלום עולם', '👩‍👧 שלום עולם', 'joined signs and other scripts stay'],
    [`e${'\u0301'.repeat(50)}!`, `e${'\u0301'.repeat(4)}!`, 'marks piled up'],
    [{ toString: () => 'x' }, '', 'no text at all'],
    [undefined, '', 'nothing'],
  ]
  for (const [from, to, remark] of rows) t.equal(clean(from), to, remark)
  const long = clean('x'.repeat(10_000), 50)
  t.equal(long.length, 50, 'a long one is cut')
  t.ok(long.endsWith('…'), 'and says so')
  t.equal(clean('😀'.repeat(100), 10).replace(/😀/g, ''), '…', 'no sign is cut in two')
  t.equal(clean('x'.repeat(300)).length, 300, 'what fits stays whole')
  t.end()
})

test('names, ids and addresses', (t) => {
  t.equal(shortId(alice), `${alice.slice(0, 9)}…`)
  t.equal(peerName({ id: alice, name: 'alice' }), 'alice')
  t.equal(peerName({ id: alice, name: '  ' }), shortId(alice), 'a name of spaces is none')
  t.equal(peerName({ id: alice, name: null }), shortId(alice))
  t.equal(shortAddress('net:pub.example.com:8008~shs:abc='), 'net:pub.example.com:8008')
  t.equal(
    shortAddress('tunnel:@a.ed25519:@b.ed25519~shs:b'),
    'tunnel:@a.ed25519:@b.ed25519~shs:b',
    'a tunnel needs its keys',
  )
  t.end()
})

test('ages, spans and counts', (t) => {
  const spans: readonly (readonly [number, string])[] = [
    [-5, '0 s'],
    [4_400, '4 s'],
    [59_900, '59 s'],
    [60_000, '1 min'],
    [59 * MINUTE + 59_999, '59 min'],
    [60 * MINUTE, '1 h'],
    [200 * MINUTE, '3 h 20 min'],
    [11 * 60 * MINUTE + 40 * MINUTE, '11 h'],
    [49 * 60 * MINUTE, '2 d'],
    [800 * 24 * 60 * MINUTE, '2 y'],
    [Number.NaN, '–'],
    [Number.POSITIVE_INFINITY, '–'],
  ]
  for (const [ms, words] of spans) t.equal(duration(ms), words, String(ms))
  t.equal(ago(null, NOW), 'never')
  t.equal(ago(0, NOW), 'never')
  t.equal(ago(NOW - 1_000, NOW), 'now')
  t.equal(ago(NOW + 60_000, NOW), 'now', 'a clock may run ahead')
  t.equal(ago(NOW - 90_000, NOW), '1 min ago')
  t.equal(ahead(NOW - 1, NOW), 'due')
  t.equal(ahead(NOW + 4_000, NOW), 'in 4 s')
  t.equal(ahead(null, NOW), '–')
  t.equal(count(1_234_567), '1\u202f234\u202f567')
  t.equal(percent(0.624), '62 %')
  t.equal(percent(Number.NaN), '–')
  t.equal(listed(['a', 'b', 'c']), 'a, b and c')
  t.end()
})

test('a model begins anew with each stream, and is only shown when it is complete', (t) => {
  const store = emptyStore()
  const world = makeWorld({ now: NOW, peers: 3 })
  receive(store, 'hello', world.hello)
  receive(store, 'status', world.status)
  receive(store, 'peers', world.peers)
  t.equal(store.current.peers.size, 0, 'not yet')
  t.notOk(store.isSynced)
  receive(store, 'synced', {})
  t.equal(store.current.peers.size, 3)
  t.ok(store.isSynced)
  receive(store, 'findings', world.findings)
  const { versions } = store.current
  const before = versions.peers

  receive(store, 'peers', [{ ...(world.peers[0] as PeerRow), name: 'renamed' }])
  t.equal(store.current.peers.get(fakeId(0))?.name, 'renamed', 'a known one is replaced')
  receive(store, 'gone', [fakeId(1), fakeId(99)])
  t.deepEqual([...store.current.peers.keys()], [fakeId(0), fakeId(2)])
  t.ok(versions.peers > before, 'and whoever compares versions sees it')

  const last = store.current.versions.peers
  receive(store, 'hello', world.hello)
  receive(store, 'peers', [world.peers[2] as PeerRow])
  t.equal(store.current.peers.size, 2, 'while a new stream begins the old state is shown')
  receive(store, 'synced', {})
  t.deepEqual([...store.current.peers.keys()], [fakeId(2)], 'nothing of before is left')
  t.ok(store.current.versions.peers > last, 'versions never go back')
  t.equal(store.current.findings, world.findings, 'findings stay until the new ones come')
  receive(store, 'feeds', world.feeds)
  receive(store, 'feedsGone', [world.feeds[0]?.id as string])
  t.equal(store.current.feeds.size, world.feeds.length - 1)
  t.end()
})

test('the history is bounded, and what comes again replaces what was', (t) => {
  const store = emptyStore()
  const entry = (from: number, to: number | null): HistoryEntry => ({
    kind: 'connection',
    peer: alice,
    address: null,
    direction: 'inbound',
    class: null,
    from,
    to,
    why: null,
    ended: null,
  })
  receive(store, 'history', [entry(1, null)])
  receive(store, 'history', [entry(1, 5)])
  t.deepEqual([...store.current.history.values()], [entry(1, 5)])
  receive(store, 'history', [entry(2, null)])
  receive(
    store,
    'history',
    Array.from({ length: HISTORY_MAX + 10 }, (_, i) => entry(i + 10, i + 11)),
  )
  t.equal(store.current.history.size, HISTORY_MAX)
  const kept = [...store.current.history.values()]
  t.ok(
    kept.some((each) => each.from === 2),
    'what is still up is kept',
  )
  t.notOk(
    kept.some((each) => each.from === 1),
    'the oldest has gone',
  )
  receive(
    store,
    'history',
    Array.from({ length: HISTORY_MAX + 10 }, (_, i) => ({ kind: 'rtt' as const, peer: alice, at: i, rttMs: 1 })),
  )
  t.ok(store.current.roundTrips.length <= HISTORY_MAX, 'round trips too')
  t.equal(store.current.roundTrips[store.current.roundTrips.length - 1]?.at, HISTORY_MAX + 9, 'the latest are there')
  t.end()
})

const ALL: Query = { text: '', filter: 'all', class: null, sort: 'peer', isDescending: false }

function tableOf(...peers: readonly PeerRow[]): Map<string, PeerRow> {
  return new Map(peers.map((peer) => [peer.id, peer]))
}

test('routes are searched, filtered and sorted', (t) => {
  const failed = { message: 'connect ECONNREFUSED', code: 'ECONNREFUSED', at: NOW }
  const peers = tableOf(
    peerRow(alice, {
      name: 'Alice',
      hops: 1,
      isLongTerm: true,
      connection: { status: 'connected', direction: 'outbound', address: 'net:a', since: NOW, rtt: null, skew: null },
      routes: [
        routeRow('net:a', { status: 'connected', lastConnectionTime: NOW }),
        routeRow('onion:a', { errorCount: 3, lastError: failed }),
      ],
    }),
    peerRow(bob, { name: 'bob', priority: 'BANNED', routes: [routeRow('net:b', { isLocal: true, class: 'local' })] }),
    peerRow(fakeId(3), {
      connection: { status: 'connected', direction: 'inbound', address: null, since: NOW, rtt: null, skew: null },
      routes: [routeRow('ws:c', { nextAttemptAt: NOW + 9 })],
    }),
    peerRow(fakeId(4)),
  )
  const keys = (query: Partial<Query>): string[] => select(peers, { ...ALL, ...query }).map((line) => line.key)
  t.deepEqual(
    keys({}),
    ['net:a', 'onion:a', 'net:b', fakeId(4), 'ws:c'],
    'who has a name first; a peer without a route too',
  )
  t.deepEqual(keys({ text: 'ALICE' }), ['net:a', 'onion:a'], 'in either case')
  t.deepEqual(keys({ text: 'alice econnrefused' }), ['onion:a'], 'all words, errors too')
  t.deepEqual(keys({ text: 'nobody' }), [])
  t.deepEqual(keys({ filter: 'connected' }), ['net:a', 'ws:c'], 'a peer that called is connected by none of its routes')
  t.deepEqual(keys({ filter: 'active' }), ['net:a', 'ws:c'])
  t.deepEqual(keys({ filter: 'failing' }), ['onion:a'])
  t.deepEqual(keys({ filter: 'banned' }), ['net:b'])
  t.deepEqual(keys({ filter: 'followed' }), ['net:a', 'onion:a'])
  t.deepEqual(keys({ filter: 'longTerm' }), ['net:a', 'onion:a'])
  t.deepEqual(keys({ filter: 'local' }), ['net:b'])
  t.deepEqual(keys({ class: 'onion' }), ['onion:a'])
  t.deepEqual(keys({ sort: 'errors', isDescending: true })[0], 'onion:a')
  t.deepEqual(keys({ sort: 'address' }), ['net:a', 'net:b', 'onion:a', 'ws:c', fakeId(4)], 'no address comes last')
  t.deepEqual(keys({ sort: 'next' }).slice(-2), ['ws:c', fakeId(4)])
  t.deepEqual(keys({ sort: 'state' })[0], 'net:a')
  t.deepEqual(keys({ sort: 'connected' })[0], 'net:a', 'the latest first')
  t.equal(FILTERS.length, 8, 'each filter has been tried')
  t.deepEqual(classesOf(peers), ['local', 'net', 'onion', 'ws'])
  t.end()
})

test('of a long list only what is in sight is drawn', (t) => {
  t.deepEqual(windowOf(0, 340, 34, 10_000, 6), { first: 0, last: 16 })
  t.deepEqual(windowOf(34_000, 340, 34, 10_000, 6), { first: 994, last: 1016 })
  t.deepEqual(
    windowOf(999_999_999, 340, 34, 100, 6),
    { first: 99, last: 100 },
    'scrolled past the end of a list that shrank',
  )
  t.deepEqual(windowOf(0, 340, 34, 0, 6), { first: 0, last: 0 })
  t.deepEqual(windowOf(-50, 340, 34, 5, 6), { first: 0, last: 5 })
  t.end()
})

test('the headline says whether we are connected, and if not why', (t) => {
  const store = emptyStore()
  const { current } = store
  const say = (): string =>
    `${headline(current, NOW).tone}: ${headline(current, NOW).title} ${headline(current, NOW).detail}`
  t.equal(say(), 'busy: Loading … ')
  const peers = [
    peerRow(alice, {
      hops: 1,
      class: 'net',
      connection: { status: 'connected', direction: 'outbound', address: 'net:a', since: NOW, rtt: null, skew: null },
      routes: [routeRow('net:a', { status: 'connected' })],
    }),
    peerRow(bob, {
      connection: { status: 'connected', direction: 'inbound', address: null, since: NOW, rtt: null, skew: null },
    }),
  ]
  const status = statusOf(peers, NOW)
  current.status = status
  receive(store, 'peers', peers)
  t.equal(say(), 'good: Connected to 2 peers 1 that we dialed and 1 that called us; 1 of them followed.')
  current.status = { ...status, mode: 'initialSync' }
  t.equal(headline(current, NOW).title, 'Initial sync: connected to 2 peers')
  current.status = { ...status, mode: 'off' }
  t.equal(headline(current, NOW).title, 'Off, with 2 connections')
  receive(store, 'gone', [alice, bob])
  t.equal(say(), 'off: Off Nobody is dialed until somebody starts it.')
  const none = { ...statusOf([], NOW), routes: 0 }
  current.status = none
  t.equal(say(), 'bad: Not connected No address of anybody is known: add one, or use an invite.')
  current.status = { ...none, dialing: 2 }
  t.equal(say(), 'busy: Not connected yet 2 dials under way.')
  current.status = { ...none, environment: { ...none.environment, link: 'down' } }
  t.match(say(), /^bad: Not connected This machine has no network/)
  const waiting = {
    max: 3,
    connected: 0,
    dialing: 0,
    closing: 0,
    waiting: 1,
    nextAttemptAt: NOW + 8_000,
    successRate: null,
  }
  current.status = { ...none, routes: 3, classes: { net: waiting } }
  t.equal(say(), 'bad: Not connected The next attempt is in 8 s.')
  current.status = { ...none, routes: 3, classes: { net: { ...waiting, max: 0 } } }
  t.match(say(), /None of the routes that are known may be dialed/)
  t.end()
})

test('words of the core in plain English, others as they came', (t) => {
  t.equal(causeWords('longTerm'), 'it is kept up for good')
  t.equal(causeWords('constructor'), 'constructor', 'own words only')
  t.equal(endWords('rotation'), 'it gave its slot to a peer that waited')
  t.equal(endWords('bad\u202e'), 'bad\ufffd')
  t.equal(endWords(null), 'nobody noted why')
  t.ok(remedyFor(explanation({ reason: 'typeDisabled', remedy: 'x' }))?.includes('slot'), 'in words of the page')
  t.equal(remedyFor(explanation({ reason: null, remedy: 'x' })), 'x', 'else as the core says it')
  t.equal(remedyFor(explanation({ connected: true, remedy: 'x' })), null, 'who is connected needs none')
  const idle = peerRow(alice)
  t.equal(
    reasonWords(idle, explanation({ reason: 'off', message: 'connections.start() has not been called' }), NOW),
    'the manager is off',
    'so is the reason',
  )
  t.equal(reasonWords(idle, explanation({ reason: 'backoff', message: '3 failed dials' }), NOW), '3 failed dials')
  const up = peerRow(alice, {
    connection: { status: 'connected', direction: 'inbound', address: null, since: NOW, rtt: null, skew: null },
  })
  t.equal(reasonWords(up, explanation({ reason: 'off' }), NOW), 'connected for 0 s, it called us', 'the row is newer')
  t.equal(reasonWords(idle, explanation({ connected: true, message: 'connected' }), NOW), '…', 'either way')
  const nameOf = (): string => 'the pub'
  t.equal(layerWords('transport:onion', nameOf), 'everything over onion')
  t.equal(layerWords(`portal:${alice}`, nameOf), 'the room the pub')
  t.equal(layerWords('host:a.example:8008', nameOf), 'the host a.example:8008')
  t.equal(layerWords('link', nameOf), 'our own network')
  t.equal(layerWords('other', nameOf), 'other')
  const banned = peerRow(alice, { priority: 'BANNED', visitedAt: NOW - 60_000 })
  t.equal(peerState(banned), 'banned')
  t.equal(peerSentence(banned, NOW), 'banned, last in touch 1 min ago')
  const failing = peerRow(alice, {
    routes: [routeRow('net:a', { errorCount: 3 }), routeRow('net:b', { errorCount: 2 })],
  })
  t.equal(peerSentence(failing, NOW), 'failing, 2 dials in a row, never in touch')
  t.equal(peerState(peerRow(alice, { routes: [routeRow('net:a', { errorCount: 1 }), routeRow('net:b')] })), 'idle')
  t.equal(
    entrySentence(
      {
        kind: 'failed',
        peer: alice,
        address: 'net:a',
        class: 'net',
        from: 0,
        to: 4_000,
        why: 'schedule',
        error: 'x\u0007',
      },
      NOW,
    ),
    'A dial over net failed after 4 s: x\ufffd. Dialed because: its turn in the schedule.',
  )
  t.end()
})

/** These name no call of a program, and say more than the page could: which layer is down, and by how much a clock is off. */
const IN_WORDS_OF_THE_CORE = [
  'linkDown',
  'resolverDown',
  'transportDown',
  'transportMissing',
  'clockSetBack',
  'clockWrong',
  'inboundFull',
]

test('findings are mended where the page can', (t) => {
  const finding = (code: string): Finding => ({
    code,
    severity: 'error',
    message: 'x',
    remedy: 'y()',
    since: null,
    peers: [],
  })
  t.deepEqual(
    FINDING_CODES.filter((code) => findingRemedy(finding(code)) === 'y()'),
    IN_WORDS_OF_THE_CORE,
    'all others are in words of the page',
  )
  for (const code of FINDING_CODES)
    for (const peers of [[], [alice], [alice, bob]]) {
      const remedy = findingRemedy({ ...finding(code), peers }) ?? ''
      if (findingPlace({ ...finding(code), peers }) !== null)
        t.notEqual(remedy, 'y()', `${code}: no call of a program beside a button`)
      t.notOk(remedy !== 'y()' && /\(\)|\w\.\w|\b(HIGH|LOW)\b/.test(remedy), `${code}: ${remedy}`)
    }
  const failing = { ...finding('friendsFailing'), message: '1 HIGH peer cannot be reached', peers: [alice] }
  t.match(findingRemedy(failing) ?? '', /^Open it .* add its new address/, 'of one')
  t.match(findingRemedy({ ...failing, peers: [alice, bob] }) ?? '', /^Open each /, 'of several')
  t.equal(findingPlace(failing), 'peer', 'who is the only one is opened from there')
  t.equal(findingPlace({ ...failing, peers: [alice, bob] }), null)
  t.equal(findingMessage(failing, tableOf(peerRow(alice, { hops: 1 }))), '1 followed peer cannot be reached')
  t.equal(
    findingMessage(failing, tableOf(peerRow(alice, { hops: 2 }))),
    '1 peer of high priority cannot be reached',
    'somebody else may be HIGH by hand',
  )
  t.equal(
    findingMessage({ ...failing, message: '2 HIGH peers', peers: [alice, bob] }, tableOf(peerRow(alice, { hops: 1 }))),
    '2 peers of high priority',
    'nor is a peer followed of whom nothing is known',
  )
  t.equal(findingPlace(finding('off')), 'start')
  t.equal(findingRemedy(finding('clockWrong')), 'y()', 'else what the core says')
  t.equal(findingRemedy(finding('toString')), 'y()')
  t.equal(sentence('the manager is off', NOW), 'The manager is off.')
  t.equal(sentence('net:host is down', NOW), 'net:host is down.', 'an address stays as it is')
  t.equal(
    sentence(`tried at ${new Date(NOW + 60_000).toISOString()}`, NOW),
    `Tried at ${clockTime(NOW + 60_000, true)}.`,
    'by the clock of the reader',
  )
  t.match(sentence(`tried at ${new Date(0).toISOString()}`, NOW), /19(69|70)/, 'with the day where it is another')
  t.equal(
    sentence('tried at 2026-99-99T99:99:99.000Z', NOW),
    'Tried at 2026-99-99T99:99:99.000Z.',
    'what is no time stays',
  )
  t.end()
})

test('what cuts something is asked first, and says what it cuts', (t) => {
  const connected = peerRow(alice, {
    name: 'alice',
    connection: {
      status: 'connected',
      direction: 'outbound',
      address: 'net:a',
      since: NOW - 12 * MINUTE,
      rtt: null,
      skew: null,
    },
    routes: [routeRow('net:a', { status: 'connected' })],
  })
  const [route] = connected.routes
  if (!route) throw new Error('no route')
  const status = {
    ...statusOf([connected], NOW),
    dialing: 1,
    inbound: { connected: 1, max: null },
    classes: {
      net: { max: 5, connected: 3, dialing: 1, closing: 0, waiting: 0, nextAttemptAt: null, successRate: null },
    },
  }
  const lines = (deed: actions.Deed): string =>
    [deed.confirmation?.title, ...(deed.confirmation?.lines ?? [])].join(' ')
  t.match(
    lines(actions.hangUp(connected, NOW)),
    /Hang up on alice\? This cuts the connection that we dialed 12 min ago\. Nobody/,
  )
  t.match(lines(actions.hangUp({ ...connected, isLongTerm: true }, NOW)), /dialed again at once/)
  t.match(lines(actions.ban(connected, NOW)), /This cuts the connection/)
  t.match(lines(actions.ban(peerRow(alice), NOW)), /nothing is cut now/)
  t.match(lines(actions.removeRoute(connected, route)), /this cuts that connection/)
  t.match(lines(actions.stop(status)), /cuts 4 connections and 1 dial under way/)
  t.match(lines(actions.syncStart(status, null)), /cuts the 3 connections that we dialed/)
  t.match(lines(actions.setMax('net', 2, status.classes.net)), /from 5 to 2\? 4 slots are taken: this cuts up to 2/)
  t.match(lines(actions.setMax('net', 4, status.classes.net)), /nothing is cut now/)
  t.equal(actions.setMax('net', 6, status.classes.net).confirmation, null, 'more slots cut nothing')
  for (const deed of [
    actions.connect(connected),
    actions.unban(connected),
    actions.prioritise(connected, 'HIGH'),
    actions.setLongTerm(connected, true),
    actions.addRoute('net:a'),
    actions.start(),
    actions.syncStop(),
  ])
    t.equal(deed.confirmation, null, deed.act.action)
  t.deepEqual(actions.addRoute('net:a').act, { action: 'addRoute', address: 'net:a' })
  t.deepEqual(
    actions.addRoute('net:a', connected).act,
    { action: 'addRoute', address: 'net:a', peer: alice },
    'for a peer: of nobody else',
  )
  t.deepEqual(actions.connect(connected, route).act, { action: 'connect', target: 'net:a' })
  t.deepEqual(actions.unban(connected).act, { action: 'setPriority', target: alice, priority: 'AUTO' })
  t.deepEqual(actions.syncStart(status, connected).act, { action: 'syncStart', target: alice })
  t.end()
})
