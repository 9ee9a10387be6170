/** For each finding a state in which it appears, and one that differs in little in which it must not. */
import { readFileSync } from 'fs'
import { join } from 'path'

import test = require('tape')

import { diagnose, FINDING_CODES, type Finding, type FindingCode, SEVERITIES } from '../../src/core/diagnosis'
import type { Options } from '../../src/core/options'
import {
  addressOf,
  DAY,
  HOUR,
  idOf,
  MINUTE,
  SECOND,
  START,
  slots,
  stored,
  storedPeer,
  World,
} from '../support/builders'

interface Row {
  readonly code: FindingCode
  readonly severity?: Finding['severity']
  readonly options?: Partial<Options>
  /** Brings it about. Gives the time of the clock, if that is not the world's. */
  readonly given: (world: World) => void
  /** Almost the same. */
  readonly near: (world: World) => void
  readonly message?: RegExp
  readonly remedy?: RegExp
  readonly since?: number | null
  readonly peers?: readonly string[]
  /** What the clock says, beside the time of the state. */
  readonly clock?: (world: World) => number
}

const dialAndFail = (world: World, ...labels: string[]): void => {
  for (const label of labels) world.fail(label)
}

const connect = (world: World, ...labels: string[]): void => {
  world.addAll(labels)
  world.settle()
  for (const label of labels) world.connect(label)
}

const DEAD = { errorCount: 3, lastErrorTime: START - MINUTE, nextAttemptAt: START + HOUR }
const RECENTLY_DEAD = {
  ...DEAD,
  lastConnectionTime: START - HOUR,
  errors: [{ message: 'connect ECONNREFUSED', code: 'ECONNREFUSED', at: START - MINUTE }],
}
const ONIONS = ['bob/onion', 'carol/onion', 'dave/onion']
const UNSUPPORTED = { code: null, message: 'could not connect to:ws://…, only know:net,onion' }

const skewed = (skewMs: number, count: number) => (world: World) => {
  const names = ['alice', 'bob', 'carol'].slice(0, count)
  connect(world, ...names)
  for (const name of names) world.dispatch({ type: 'connection/pinged', peer: idOf(name), rttMs: 40, skewMs })
}

const quiet =
  (durationMs: number, isCaughtUp = false) =>
  (world: World) => {
    connect(world, 'alice')
    world.dispatch({ type: 'connection/transferred', peer: idOf('alice') })
    if (isCaughtUp) world.dispatch({ type: 'connection/caughtUp', peer: idOf('alice') })
    world.now += durationMs
  }

const ROWS: readonly Row[] = [
  {
    code: 'off',
    severity: 'error',
    given: (world) => {
      world.add('alice')
      world.dispatch({ type: 'connections/stopped' })
    },
    near: (world) => {
      world.add('alice')
      world.dispatch({ type: 'connections/stopped' })
      world.dispatch({ type: 'initialSync/started', peer: null })
    },
    message: /off.*\(1 peer known\)/,
    remedy: /connections\.start\(\)/,
  },
  {
    code: 'initialSync',
    severity: 'info',
    given: (world) => {
      connect(world, 'alice')
      world.dispatch({ type: 'initialSync/started', peer: null })
    },
    near: (world) => {
      connect(world, 'alice')
      world.dispatch({ type: 'initialSync/started', peer: null })
      world.dispatch({ type: 'initialSync/stopped' })
    },
    remedy: /initialSync\.stop\(\)/,
    since: START,
  },
  {
    code: 'initialSync',
    severity: 'warning',
    given: (world) => {
      world.add('alice')
      world.dispatch({ type: 'initialSync/started', peer: idOf('alice') })
      world.now += 3 * MINUTE
    },
    near: (world) => world.add('alice'),
    message: /has no connection/,
  },
  {
    code: 'linkDown',
    severity: 'error',
    given: (world) => {
      world.add('alice')
      world.dispatch({ type: 'environment/offline' })
    },
    near: (world) => {
      world.add('alice')
      world.dispatch({ type: 'environment/offline' })
      world.dispatch({ type: 'environment/online' })
    },
    message: /tried again on 2026-01-15T12:05:00/,
    remedy: /network of this machine/,
    since: START,
  },
  {
    code: 'linkDown',
    severity: 'warning',
    options: slots({ local: 1 }),
    given: (world) => {
      connect(world, 'alice/lan')
      world.dispatch({ type: 'environment/offline' })
    },
    near: (world) => connect(world, 'alice/lan'),
  },
  {
    code: 'resolverDown',
    severity: 'warning',
    options: slots({ net: 2 }),
    given: (world) => {
      connect(world, 'bob/ip6')
      world.add('alice')
      world.settle()
      world.fail('alice', { code: 'EAI_AGAIN' })
    },
    near: (world) => {
      connect(world, 'bob/ip6')
      world.add('alice')
      world.settle()
      world.fail('alice', { code: 'ENOTFOUND' })
    },
    remedy: /DNS/,
    since: START,
  },
  {
    code: 'transportDown',
    severity: 'error',
    options: slots({ onion: 3 }),
    given: (world) => {
      world.addAll(ONIONS)
      world.settle()
      dialAndFail(world, ...ONIONS)
    },
    near: (world) => {
      world.addAll(ONIONS)
      world.settle()
      dialAndFail(world, ...ONIONS.slice(0, 2))
    },
    message: /most likely Tor does not run \(3 routes\)/,
    remedy: /start Tor.*127\.0\.0\.1.*9050/,
    since: START,
    peers: ['bob', 'carol', 'dave'],
  },
  {
    code: 'transportDown',
    severity: 'warning',
    options: slots({ onion: 3, net: 1 }),
    given: (world) => {
      world.addAll([...ONIONS, 'alice'])
      world.settle()
      dialAndFail(world, ...ONIONS)
    },
    // Nothing is dialed by Tor any more: that it does not run is nobody's trouble.
    near: (world) => {
      world.addAll([...ONIONS, 'alice'])
      world.settle()
      dialAndFail(world, ...ONIONS)
      world.setMax({ onion: 0 })
    },
  },
  {
    code: 'transportMissing',
    severity: 'error',
    options: slots({ ws: 1 }),
    given: (world) => {
      world.add('alice/ws')
      world.settle()
      world.fail('alice/ws', UNSUPPORTED)
    },
    near: (world) => {
      world.add('alice/ws')
      world.settle()
      world.fail('alice/ws')
    },
    message: /no transport for ws \(1 route\)/,
    remedy: /add a transport for ws.*setMaxByType\({ws: 0}\)/,
  },
  {
    code: 'nothingKnown',
    severity: 'error',
    given: () => {},
    near: (world) => world.callIn('alice'),
    remedy: /invite.*peer\.addRoute/,
  },
  {
    code: 'nothingKnown',
    given: (world) => {
      world.add('alice')
      world.prioritise('alice', 'BANNED')
    },
    near: (world) => world.add('alice'),
  },
  {
    code: 'typeDisabled',
    severity: 'error',
    given: (world) => world.addAll(['alice/onion', 'bob/onion', 'bob/ws']),
    near: (world) => world.addAll(['alice/onion', 'bob']),
    message: /onion \(2 routes\), ws \(1 route\)/,
    remedy: /setMaxByType\({onion: 3}\)/,
  },
  {
    code: 'typeDisabled',
    severity: 'warning',
    given: (world) => {
      world.add('alice/onion')
      world.callIn('bob')
    },
    // Long-term peers do without a slot.
    near: (world) => {
      world.add('alice/onion')
      world.callIn('bob')
      world.longTerm('alice')
    },
  },
  {
    code: 'manualOnly',
    severity: 'error',
    given: (world) => {
      world.add('alice')
      world.dispatch({ type: 'route/annotated', address: addressOf('alice'), data: null, isAutomatic: false })
    },
    near: (world) => {
      world.addAll(['alice', 'bob'])
      world.dispatch({ type: 'route/annotated', address: addressOf('alice'), data: null, isAutomatic: false })
    },
    remedy: /peer\.connect/,
  },
  {
    code: 'allRoutesDead',
    severity: 'error',
    given: (world) => world.load([stored('alice', { ...DEAD, lastConnectionTime: START - DAY }), stored('bob', DEAD)]),
    near: (world) => world.load([stored('alice', DEAD), stored('bob', { ...DEAD, errorCount: 2 })]),
    message: /all 2 routes are dead: 6 failed dials in a row in all; the last connection was on 2026-01-14T12:00/,
    remedy: /the next one on 2026-01-15T13:00.*peer\.addRoute/,
    since: START - DAY,
    peers: ['alice', 'bob'],
  },
  {
    code: 'allRoutesDead',
    given: (world) => world.load([stored('alice', DEAD)]),
    near: (world) => {
      world.load([stored('alice', DEAD)])
      world.callIn('bob')
    },
    message: /the only route is dead: 3 failed dials in a row in all; none of them has ever worked/,
    since: null,
  },
  {
    code: 'classDead',
    severity: 'warning',
    options: slots({ net: 1, onion: 1 }),
    given: (world) => world.load([stored('alice/onion', DEAD), stored('bob', { errorCount: 1 })]),
    near: (world) => world.load([stored('alice/onion', DEAD), stored('bob/onion'), stored('bob', { errorCount: 1 })]),
    message: /the only onion route is dead/,
    peers: ['alice'],
  },
  {
    code: 'notConnected',
    severity: 'warning',
    given: (world) => {
      world.load([stored('alice', { errorCount: 1, nextAttemptAt: START + MINUTE }), stored('bob')])
      world.settle()
    },
    near: (world) => {
      world.load([stored('alice', { errorCount: 1 })])
      connect(world, 'bob')
    },
    message: /2 routes may be dialed, 1 of them failed the last time, 1 is being dialed now/,
    remedy: /wait/,
  },
  {
    code: 'notConnected',
    severity: 'info',
    given: (world) => world.add('alice'),
    near: (world) => {
      world.add('alice')
      world.dispatch({ type: 'environment/offline' })
    },
    remedy: /at once/,
  },
  {
    code: 'slotsHeldByLongTerm',
    severity: 'warning',
    given: (world) => {
      connect(world, 'alice')
      world.longTerm('alice')
      world.add('bob')
    },
    // Nobody else wants one.
    near: (world) => {
      connect(world, 'alice')
      world.longTerm('alice')
    },
    message: /all 1 slot for net is held by long-term peers.*1 route of others wait/,
    remedy: /setMaxByType\({net: 3}\)/,
    peers: ['alice'],
  },
  {
    code: 'slotsHeldByLongTerm',
    options: slots({ net: 2 }),
    given: (world) => {
      connect(world, 'alice', 'bob')
      world.longTerm('alice')
      world.longTerm('bob')
      world.add('carol')
    },
    near: (world) => {
      connect(world, 'alice', 'bob')
      world.longTerm('alice')
      world.add('carol')
    },
    peers: ['alice', 'bob'],
  },
  {
    code: 'longTermOverSlots',
    severity: 'info',
    given: (world) => {
      world.addAll(['alice', 'bob'])
      world.longTerm('alice')
      world.longTerm('bob')
    },
    near: (world) => {
      world.addAll(['alice', 'bob'])
      world.longTerm('alice')
    },
    message: /2 long-term peers .* net, which has 1 slot/,
    peers: ['alice', 'bob'],
  },
  {
    code: 'roomsDown',
    severity: 'warning',
    options: slots({ tunnel: 1 }),
    given: (world) => {
      world.add('alice/tunnel-room')
      world.settle()
      world.fail('alice/tunnel-room')
    },
    near: (world) => {
      world.callIn('room')
      world.add('alice/tunnel-room')
      world.settle()
      world.fail('alice/tunnel-room')
    },
    message: /1 room cannot be reached, and nobody through it/,
    since: START,
    peers: ['room'],
  },
  {
    code: 'hostsDown',
    severity: 'info',
    options: slots({ net: 3 }),
    given: (world) => {
      world.addAll(['alice/net-same', 'bob/net-same'], { source: 'seed' })
      world.settle()
      dialAndFail(world, 'alice/net-same', 'bob/net-same')
    },
    near: (world) => {
      world.addAll(['alice', 'bob'], { source: 'seed' })
      world.settle()
      dialAndFail(world, 'alice', 'bob')
    },
    message: /1 host with several routes does not answer: same\.example\.com:8008/,
    peers: ['alice', 'bob'],
  },
  {
    code: 'onlyStrangers',
    severity: 'warning',
    given: (world) => world.addAll(['alice', 'bob'], { source: 'pub' }),
    near: (world) => {
      world.add('alice', { source: 'pub' })
      world.add('bob')
    },
    message: /all 2 routes/,
  },
  {
    code: 'onlyStrangers',
    severity: 'info',
    given: (world) => {
      world.add('alice', { source: 'pub' })
      world.callIn('bob')
    },
    near: (world) => {
      world.add('alice', { source: 'pub', priority: 'MEDIUM' })
      world.callIn('bob')
    },
  },
  {
    code: 'nothingTransferred',
    severity: 'warning',
    given: quiet(6 * HOUR),
    near: quiet(6 * HOUR - SECOND),
    message: /1 peer connected, and no message has come from anybody for 6 hours/,
    remedy: /replicationScheduler\.status\(\)/,
    since: START,
    peers: ['alice'],
  },
  {
    code: 'nothingTransferred',
    given: (world) => {
      connect(world, 'alice')
      world.now += HOUR
    },
    // Up for too short a time to tell.
    near: (world) => {
      connect(world, 'alice')
      world.now += HOUR - SECOND
    },
    message: /from anybody ever/,
    since: null,
  },
  { code: 'nothingTransferred', given: quiet(7 * HOUR), near: quiet(7 * HOUR, true) },
  {
    code: 'clockSetBack',
    severity: 'warning',
    given: (world) => connect(world, 'alice'),
    near: (world) => {
      connect(world, 'alice')
      world.dispatchAt({ type: 'clock/setBack', at: START - 2 * HOUR }, START - 2 * HOUR)
    },
    clock: () => START - 2 * HOUR,
    message: /set back by 2 hours/,
  },
  {
    code: 'clockWrong',
    severity: 'warning',
    given: skewed(-HOUR, 3),
    near: skewed(-4 * MINUTE, 3),
    options: slots({ net: 3 }),
    message: /1 hour ahead of those of 3 connected peers/,
  },
  {
    code: 'clockWrong',
    given: skewed(2 * DAY, 3),
    near: skewed(2 * DAY, 2),
    options: slots({ net: 3 }),
    message: /2 days behind those/,
  },
  {
    code: 'bannedButWanted',
    severity: 'warning',
    given: (world) => {
      world.add('alice')
      world.longTerm('alice')
      world.prioritise('alice', 'BANNED')
    },
    near: (world) => {
      world.add('alice')
      world.longTerm('alice')
      world.longTerm('alice', false)
      world.prioritise('alice', 'BANNED')
    },
    remedy: /AUTO/,
    peers: ['alice'],
  },
  {
    code: 'bannedButWanted',
    given: (world) => {
      world.add('alice')
      world.dispatch({ type: 'initialSync/started', peer: idOf('alice') })
      world.prioritise('alice', 'BANNED')
    },
    near: (world) => {
      world.addAll(['alice', 'bob'])
      world.dispatch({ type: 'initialSync/started', peer: idOf('alice') })
      world.prioritise('bob', 'BANNED')
    },
    peers: ['alice'],
  },
  {
    code: 'wantedWithoutRoute',
    severity: 'warning',
    given: (world) => world.longTerm('alice'),
    near: (world) => {
      world.longTerm('alice')
      world.callIn('alice')
    },
    remedy: /peer\.addRoute/,
    peers: ['alice'],
  },
  {
    code: 'longTermAway',
    severity: 'warning',
    given: (world) => {
      world.load(
        [stored('alice', { lastConnectionTime: START - 8 * DAY })],
        [storedPeer('alice', { isLongTerm: true, visitedAt: START - 8 * DAY })],
      )
      connect(world, 'bob')
    },
    near: (world) => {
      world.load(
        [stored('alice', { lastConnectionTime: START - 6 * DAY })],
        [storedPeer('alice', { isLongTerm: true, visitedAt: START - 6 * DAY })],
      )
      connect(world, 'bob')
    },
    message: /1 long-term peer has not been connected for more than 7 days/,
    since: START - 8 * DAY,
    peers: ['alice'],
  },
  {
    code: 'friendsAway',
    severity: 'info',
    // Known for 100 days and never there.
    given: (world) => world.load([stored('alice')], [storedPeer('alice', { priority: 'HIGH' })]),
    near: (world) => world.load([stored('alice')], [storedPeer('alice', { priority: 'MEDIUM' })]),
    message: /1 HIGH peer has not been connected for more than 7 days \(1 of them never\)/,
    since: null,
    peers: ['alice'],
  },
  {
    code: 'longTermFailing',
    severity: 'warning',
    given: (world) => {
      world.load([stored('alice', RECENTLY_DEAD)], [storedPeer('alice', { isLongTerm: true, visitedAt: START - HOUR })])
      connect(world, 'bob')
    },
    near: (world) => {
      world.load(
        [stored('alice', { ...RECENTLY_DEAD, errorCount: 2 })],
        [storedPeer('alice', { isLongTerm: true, visitedAt: START - HOUR })],
      )
      connect(world, 'bob')
    },
    message: /1 long-term peer cannot be reached: .* 3 times in a row or more \(ECONNREFUSED\)/,
    remedy: /peer\.addRoute/,
    peers: ['alice'],
  },
  {
    code: 'friendsFailing',
    severity: 'info',
    given: (world) => {
      world.load([stored('alice', RECENTLY_DEAD)], [storedPeer('alice', { priority: 'HIGH', visitedAt: START - HOUR })])
      connect(world, 'bob')
    },
    // One of its addresses may still be right.
    near: (world) => {
      world.load(
        [stored('alice', RECENTLY_DEAD), stored('alice/ws')],
        [storedPeer('alice', { priority: 'HIGH', visitedAt: START - HOUR })],
      )
      connect(world, 'bob')
    },
    message: /1 HIGH peer cannot be reached/,
    peers: ['alice'],
  },
  {
    code: 'inboundFull',
    severity: 'warning',
    options: { maxInbound: 2 },
    given: (world) => {
      world.callIn('alice')
      world.callIn('bob')
    },
    near: (world) => world.callIn('alice'),
    message: /2 peers have called in, and the limit is 2/,
  },
  // To take no calls is a decision.
  {
    code: 'inboundFull',
    options: { maxInbound: 1 },
    given: (world) => world.callIn('alice'),
    near: (world) =>
      void world.dispatch({ type: 'options/changed', options: { ...world.state.options, maxInbound: 0 } }),
  },
  {
    code: 'tableFull',
    severity: 'warning',
    options: { maxRoutes: 2 },
    given: (world) => world.addAll(['alice', 'bob']),
    near: (world) => world.add('alice'),
    message: /full \(2 routes\)/,
  },
]

function found(row: Row, build: (world: World) => void): Finding[] {
  const world = World.started({ ...slots({ net: 1 }), ...row.options })
  build(world)
  return diagnose(world.state, row.clock?.(world) ?? world.now)
}

for (const [index, row] of ROWS.entries())
  test(`diagnose finds ${row.code} (${index})`, (t) => {
    const all = found(row, row.given)
    const said = all.find(({ code }) => code === row.code)
    t.ok(said, `among ${all.map(({ code }) => code)}`)
    if (!said) return t.end()
    if (row.severity) t.equal(said.severity, row.severity)
    if (row.message) t.match(said.message, row.message)
    if (row.remedy) t.match(String(said.remedy), row.remedy)
    if (row.since !== undefined) t.equal(said.since, row.since, 'since')
    if (row.peers) t.deepEqual([...said.peers].sort(), row.peers.map(idOf).sort(), 'whom it concerns')
    const order = all.map(({ severity }) => SEVERITIES.indexOf(severity))
    t.deepEqual(order, [...order].sort(), 'worst first')
    for (const { message, remedy } of all) {
      t.doesNotMatch(message, /undefined|NaN|null|Infinity|\[object/, message)
      t.doesNotMatch(remedy ?? '', /undefined|NaN|null|Infinity|\[object/, remedy ?? 'nothing to do')
    }
    t.deepEqual(JSON.parse(JSON.stringify(all)), all, 'plain data')
    t.notOk(
      found(row, row.near).some((each) => each.code === row.code && each.severity === said.severity),
      'and not in a state that is almost the same',
    )
    t.end()
  })

test('each finding that there is has a row', (t) => {
  t.deepEqual([...new Set(ROWS.map(({ code }) => code))].sort(), [...FINDING_CODES].sort())
  t.end()
})

test('the documentation names each finding, with its severities', (t) => {
  const text = readFileSync(join(__dirname, '../../docs/metrics.md'), 'utf8')
  const documented = new Map<string, Set<string>>()
  const section = /## Findings[\s\S]*?(?=\n#)/.exec(text)?.[0] ?? ''
  for (const [, code = '', severities = ''] of section.matchAll(/^\| `(\w+)` \| ([\w, ]+) \|/gm))
    documented.set(code, new Set(severities.split(', ')))
  t.deepEqual([...documented.keys()], [...FINDING_CODES], 'in their order')
  for (const { code, severity } of ROWS)
    if (severity) t.ok(documented.get(code)?.has(severity), `${code} may be ${severity}`)
  t.end()
})

test('where all is well nothing is found', (t) => {
  const world = World.started(slots({ net: 2 }))
  connect(world, 'alice', 'bob')
  world.addAll(['carol', 'dave/onion'])
  world.load([stored('erin', { ...DEAD, lastConnectionTime: START - DAY })])
  world.dispatch({ type: 'connection/transferred', peer: idOf('alice') })
  t.deepEqual(diagnose(world.state, world.now), [])
  t.end()
})

test('while it is off, or an initial sync runs, what follows from that is left out', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.load([stored('alice', DEAD)], [storedPeer('alice', { isLongTerm: true })])
  const codes = (): string[] => diagnose(world.state, world.now).map(({ code }) => code)
  t.deepEqual(codes(), ['allRoutesDead'])
  world.dispatch({ type: 'initialSync/started', peer: null })
  t.deepEqual(codes(), ['initialSync'])
  world.dispatch({ type: 'connections/stopped' })
  t.deepEqual(codes(), ['off'])
  t.end()
})

test('at most 20 peers are named, and all are counted', (t) => {
  const world = World.started(slots({ net: 1 }))
  const names = Array.from({ length: 30 }, (_, n) => `peer${n}`)
  world.load(names.map((name) => stored(name, DEAD)))
  const [said] = diagnose(world.state, world.now)
  t.equal(said?.peers.length, 20)
  t.match(said?.message ?? '', /all 30 routes are dead: 90 failed dials/)
  t.end()
})

test('how long somebody may be away is up to who asks', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.load(
    [stored('alice', { lastConnectionTime: START - HOUR })],
    [storedPeer('alice', { isLongTerm: true, visitedAt: START - HOUR })],
  )
  world.callIn('bob')
  const codes = (awayMs: number): string[] => diagnose(world.state, world.now, { awayMs }).map(({ code }) => code)
  t.deepEqual(codes(30 * MINUTE), ['longTermAway'])
  t.deepEqual(codes(HOUR), [])
  t.end()
})
