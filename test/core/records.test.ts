/** Compact records say what was put into them. */
import test = require('tape')

import { MAX_STEP } from '../../src/core/backoff'
import type { Merit } from '../../src/core/merit'
import { changePeer, changeRoute, ErrorLog, IDLE, makePeer, makeRoute } from '../../src/core/records'
import { addToStats } from '../../src/core/stats'
import type { Connection, Peer, Route, RouteError } from '../../src/core/types'
import { addressOf, idOf, START } from '../support/builders'

const ADDRESS = addressOf('alice')
const HOST = 'alice.example.com'
const error = (message: string, code: string | null = 'X', at = START): RouteError => ({ message, code, at })

const LISTS: readonly (readonly [what: string, errors: readonly RouteError[]])[] = [
  ['none', []],
  ['one', [error('no answer')]],
  ['one that names the host', [error(`connect ECONNREFUSED ${HOST}:8008`, 'ECONNREFUSED')]],
  ['one that names the host twice', [error(`${HOST}: ${HOST}`)]],
  ['one without a code', [error('x', null)]],
  ['one with the text of a code', [error('x', 'null')]],
  ['one with the mark in it', [error(`\u0000 ${HOST}`)]],
  ['nothing but the mark', [error('\u0000')]],
  ['the same again', [error(HOST, 'X', START), error(HOST, 'X', START + 1), error(HOST, 'X', START + 2)]],
  ['unlike ones', [error('a'), error('a', 'Y'), error(HOST), error('a')]],
]

for (const [what, errors] of LISTS)
  test(`errors are read as they were written: ${what}`, (t) => {
    t.deepEqual(ErrorLog.of(errors, ADDRESS).errorsOf(ADDRESS), errors)
    let log = ErrorLog.EMPTY
    for (const each of errors) log = log.with(each, ADDRESS)
    t.deepEqual(log.errorsOf(ADDRESS), errors, 'one by one, too')
    t.end()
  })

test('an error log keeps the last ones', (t) => {
  const errors = Array.from({ length: 9 }, (_, i) => error(i % 3 === 0 ? 'x' : `y ${HOST}`, null, START + i))
  let log = ErrorLog.EMPTY
  for (let i = 0; i < errors.length; i++) {
    log = log.with(errors[i]!, ADDRESS)
    t.deepEqual(log.errorsOf(ADDRESS), errors.slice(Math.max(0, i - 4), i + 1))
    t.equal(log.lastAt, errors[i]?.at)
  }
  t.deepEqual(ErrorLog.of(errors, ADDRESS).errorsOf(ADDRESS), errors.slice(-5), 'of many, too')
  t.end()
})

test('an error log keeps times however far apart they are, whatever their order', (t) => {
  const errors = [START, 0, 8.64e15, 5, START].map((at) => error('x', null, at))
  t.deepEqual(ErrorLog.of(errors, ADDRESS).errorsOf(ADDRESS), errors)
  t.end()
})

test('a route is copied with what changes, and is itself when nothing does', (t) => {
  const route = changeRoute(makeRoute(ADDRESS, idOf('alice'), START), {
    protocol: 'net',
    class: 'net',
    source: 'pub',
  })
  const { queue, tier, tie, turnAt, dueAt } = route
  const changed = changeRoute(
    route,
    { errorCount: 3, backoffStep: 2, isStored: true, data: { a: 1 }, nextAttemptAt: START + 5 },
    { queue: 'net', tier: 1, tie: 7, turnAt: START, dueAt: START + 5 },
  )
  const names = ['errorCount', 'backoffStep', 'isStored', 'data', 'queue', 'tier', 'tie', 'turnAt', 'dueAt'] as const
  t.deepEqual(
    names.map((name) => changed[name]),
    [3, 2, true, { a: 1 }, 'net', 1, 7, START, START + 5],
  )
  t.deepEqual([changed.address, changed.peer, changed.addedAt], [ADDRESS, idOf('alice'), START])
  t.deepEqual([changed.source, changed.class, changed.isLocal], ['pub', 'net', false], 'the rest is as it was')
  t.equal(changed.hostKey, `${HOST}:8008`)
  t.equal(route.errorCount, 0, 'and the first is untouched')
  const same = changeRoute(changed, { errorCount: 3, isStored: true, source: 'pub', backoffStep: 2 }, changed)
  t.equal(same, changed)
  t.equal(changeRoute(route, {}, { queue, tier, tie, turnAt, dueAt }), route)
  t.end()
})

test('what happened to a route is read as it was written, whatever it was', (t) => {
  const route = makeRoute(ADDRESS, idOf('alice'), START)
  const none = { lastConnectionTime: 0, connectionCount: 0, lastSignalAt: 0, errors: [], duration: null, data: null }
  const duration = addToStats(addToStats(null, 3_000), 5_000)
  const changes = [
    { lastConnectionTime: START },
    { connectionCount: 1 },
    { lastSignalAt: START },
    { errors: [error('x')] },
    { duration },
    { data: { a: 1 } },
  ]
  const read = (of: Route) => {
    const { lastConnectionTime, connectionCount, lastSignalAt, errors, duration, data } = of
    return { lastConnectionTime, connectionCount, lastSignalAt, errors, duration, data }
  }
  t.deepEqual(read(route), none)
  for (const change of changes) {
    const changed = changeRoute(route, change)
    t.deepEqual(read(changed), { ...none, ...change })
    t.deepEqual(read(changeRoute(changed, none)), none, 'and may be taken back')
    const failed = changeRoute(changed, { errors: [error('y')] })
    t.deepEqual(read(failed), { ...none, ...change, errors: [error('y')] })
  }
  t.deepEqual(read(changeRoute(changeRoute(route, { duration }), { duration: null })), none)
  t.end()
})

test('failures are counted up to more than anybody has, and the step beside them', (t) => {
  const route = makeRoute(ADDRESS, idOf('alice'), START)
  for (const [errorCount, backoffStep] of [
    [0, 0],
    [0, MAX_STEP],
    [1, 0],
    [7, 3],
    [16_777_215, MAX_STEP],
  ] as const) {
    const changed = changeRoute(route, { errorCount, backoffStep })
    t.deepEqual([changed.errorCount, changed.backoffStep], [errorCount, backoffStep])
  }
  const often = changeRoute(route, { errorCount: 1e9, backoffStep: 1 })
  t.deepEqual([often.errorCount, often.backoffStep], [16_777_215, 1])
  t.end()
})

test('a peer is copied with what changes', (t) => {
  const peer = makePeer(idOf('alice'), 7, { priority: 'LOW', address: ADDRESS })
  const dialing: Connection = { status: 'dialing', since: START, attempts: [], tried: [] }
  const merit: Merit = { messages: 1, coveredMs: 2, at: START, broughtAt: START }
  const read = (of: Peer) => {
    const { id, tie, priority, prioritisedBy, isLongTerm, visitedAt, routes, connection, heldUntil, timerAt } = of
    const { merit } = of
    return { id, tie, priority, prioritisedBy, isLongTerm, visitedAt, routes, connection, heldUntil, timerAt, merit }
  }
  const first = { id: idOf('alice'), tie: 7, priority: 'LOW', prioritisedBy: null, isLongTerm: false, visitedAt: 0 }
  const rest = { routes: [ADDRESS], connection: IDLE, heldUntil: 0, timerAt: Number.POSITIVE_INFINITY, merit: null }
  const before = { ...first, ...rest }
  t.deepEqual(read(peer), before)
  let present = peer
  let expected: object = before
  const changes: readonly Partial<Peer>[] = [
    { priority: 'BANNED' },
    { prioritisedBy: 'null' },
    { prioritisedBy: '' },
    { prioritisedBy: 'a b', isLongTerm: true },
    { visitedAt: START },
    { routes: [] },
    { connection: dialing, timerAt: START + 1 },
    { heldUntil: START + 2, merit },
    { connection: IDLE, timerAt: Number.POSITIVE_INFINITY, heldUntil: 0 },
    { prioritisedBy: null, merit: null },
  ]
  for (const change of changes) {
    t.deepEqual(read(changePeer(peer, change)), { ...before, ...change })
    present = changePeer(present, change)
    expected = { ...expected, ...change }
    t.deepEqual(read(present), expected, 'after the others, too')
  }
  t.deepEqual(read(peer), before, 'and the first is untouched')
  t.end()
})

test('a peer has the routes that it was given, however many', (t) => {
  const peer = makePeer(idOf('alice'), 7)
  for (const routes of [[], [ADDRESS], [ADDRESS, addressOf('alice/onion')]]) {
    const changed = changePeer(peer, { routes, isLongTerm: true })
    t.deepEqual(changed.routes, routes)
    t.deepEqual(changePeer(changed, { heldUntil: 5 }).routes, routes)
    t.equal(changed.isLongTerm, true)
  }
  t.deepEqual(peer.routes, [])
  t.end()
})
