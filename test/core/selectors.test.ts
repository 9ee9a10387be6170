/** What users see of the state: views of peers and routes, `explain`, `status`. */
import test = require('tape')

import { explain, peerView, status, viewOf } from '../../src/core/selectors'
import type { Peer } from '../../src/core/types'
import { addressOf, HOUR, idOf, MINUTE, options, START, slots, stored, World } from '../support/builders'

function view(world: World, name: string) {
  return peerView(world.state, world.state.peers.get(idOf(name)) as Peer)
}

function why(world: World, name: string, label: string | null = null) {
  return explain(world.state, idOf(name), label === null ? null : addressOf(label), world.now)
}

test('a peer is shown with its routes and its connection, from idle to closing', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.addAll(['alice', 'alice/net2'])
  const idle = { status: 'idle', direction: null, address: null, since: null, rtt: null, skew: null }
  t.deepEqual(view(world, 'alice').connection, idle)
  t.deepEqual(
    view(world, 'alice').routes.map((route) => [route.connectionStatus, route.lastConnectionTime, route.lastErrorTime]),
    [
      ['idle', null, null],
      ['idle', null, null],
    ],
    'never is null',
  )
  world.settle()
  const [dialed] = world.inFlight() as [string]
  const other = dialed === 'alice' ? 'alice/net2' : 'alice'
  t.deepEqual(view(world, 'alice').connection, {
    ...idle,
    status: 'dialing',
    direction: 'outbound',
    address: addressOf(dialed),
    since: START,
  })
  world.connect(dialed)
  const statuses = (): Record<string, string> =>
    Object.fromEntries(view(world, 'alice').routes.map((route) => [route.id, route.connectionStatus]))
  t.deepEqual(statuses(), { [addressOf(dialed)]: 'connected', [addressOf(other)]: 'idle' })
  world.dispatch({ type: 'connection/pinged', peer: idOf('alice'), rttMs: 40, skewMs: -3 })
  t.equal(view(world, 'alice').connection.rtt?.mean, 40, 'round trip')
  t.equal(view(world, 'alice').connection.skew?.mean, -3, 'skew')
  t.equal(view(world, 'alice').routes.find((route) => route.id === addressOf(dialed))?.connectionCount, 1)
  world.dispatch({ type: 'connection/closing', peer: idOf('alice'), reason: 'disconnected' })
  t.equal(view(world, 'alice').connection.status, 'closing')
  t.equal(view(world, 'alice').connection.direction, 'outbound')
  t.equal(statuses()[addressOf(dialed)], 'closing')
  t.end()
})

test('an inbound connection has a direction and no address; who has gone is shown as removed', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.callIn('bob')
  const { direction, address, since } = view(world, 'bob').connection
  t.deepEqual([direction, address, since], ['inbound', null, START])
  world.close('bob')
  t.deepEqual(viewOf(world.state, idOf('bob')), { id: idOf('bob'), removed: true })
  t.end()
})

test('priorities, bans and long-term belong to the peer and are shown with each of its routes', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.addAll(['alice', 'alice/net2'])
  for (const priority of ['HIGH', 'MEDIUM', 'LOW', 'BANNED'] as const) {
    world.prioritise('alice', priority)
    const shown = view(world, 'alice')
    t.deepEqual([shown.priority, shown.isBanned], [priority, priority === 'BANNED'], priority)
    t.deepEqual(new Set(shown.routes.map((route) => route.priority)), new Set([priority]), `${priority}: routes`)
  }
  world.prioritise('alice', 'LOW')
  world.longTerm('alice')
  t.ok(view(world, 'alice').isLongTerm && view(world, 'alice').routes.every((route) => route.isLongTerm))
  t.end()
})

test('explain names the refusal that is nearest to a dial, over all routes of the peer', (t) => {
  const world = World.started(slots({ net: 1, onion: 0 }))
  world.load([
    stored('alice', { errorCount: 2, nextAttemptAt: START + HOUR }),
    stored('alice/net2', { errorCount: 1, nextAttemptAt: START + MINUTE }),
    stored('alice/onion', {}),
  ])
  const answer = why(world, 'alice')
  t.deepEqual([answer.connected, answer.reason, answer.until], [false, 'backoff', START + MINUTE], 'the sooner pause')
  t.equal(answer.message, '1 failed dial in a row')
  t.equal(answer.routes.length, 3, 'each route')
  t.equal(why(world, 'alice', 'alice').until, START + HOUR, 'one route')
  t.equal(why(world, 'alice', 'alice/onion').reason, 'typeDisabled', 'another')
  t.equal(why(world, 'alice', 'alice/net3').reason, 'noRoute', 'one that is not known')
  world.now += MINUTE
  world.dispatchDue()
  const due = why(world, 'alice')
  t.deepEqual([due.reason, due.until], [null, null], 'nothing stands in its way')
  t.match(due.message, /when its turn comes/)
  world.settle()
  t.equal(why(world, 'alice').reason, 'peerDialing')
  world.connect(world.inFlight()[0] as string)
  t.ok(why(world, 'alice').connected)
  t.match(why(world, 'alice').message, /^connected outbound since 2026-/)
  t.end()
})

test('explain answers for ourselves, strangers, banned peers and peers without a route', (t) => {
  const world = new World({ ...options(slots({ net: 1 })), selfId: idOf('me') })
  t.equal(why(world, 'me').reason, 'self')
  t.equal(why(world, 'nobody').reason, 'unknown')
  world.prioritise('mallory', 'BANNED')
  t.equal(why(world, 'mallory').reason, 'banned', 'banned without any route')
  world.prioritise('carol', 'HIGH')
  t.equal(why(world, 'carol').reason, 'noRoute')
  world.add('alice')
  t.equal(why(world, 'alice').reason, 'off')
  t.end()
})

test('status counts by class, names the layers that are down, and says the mode', (t) => {
  const world = new World(options(slots({ net: 1, onion: 2 })))
  world.load([stored('alice'), stored('bob'), stored('carol', { errorCount: 1, nextAttemptAt: START + MINUTE })])
  t.equal(status(world.state, world.now).mode, 'off')
  t.deepEqual(status(world.state, world.now).classes.net, {
    max: 1,
    connected: 0,
    dialing: 0,
    closing: 0,
    waiting: 3,
    nextAttemptAt: START + MINUTE,
    successRate: null,
  })
  world.dispatch({ type: 'connections/started' })
  world.settle()
  const dialing = status(world.state, world.now)
  t.deepEqual([dialing.mode, dialing.dialing, dialing.classes.net?.dialing], ['on', 2, 2], 'one of two is expected')
  world.connect(world.inFlight()[0] as string)
  const connected = status(world.state, world.now)
  t.deepEqual([connected.classes.net?.connected, connected.classes.net?.successRate], [1, 0.5 + 0.5 / 8])
  world.callIn('dave')
  world.dispatch({ type: 'environment/offline' })
  world.dispatch({ type: 'initialSync/started', peer: null })
  const last = status(world.state, world.now)
  t.deepEqual([last.mode, last.inbound.connected, last.environment.link], ['initialSync', 1, 'down'])
  t.deepEqual(
    last.environment.down.map((layer) => layer.layer),
    ['link'],
  )
  t.deepEqual([last.peers, last.routes, last.lingering], [4, 3, 0])
  t.end()
})

// ---- what would change it -----------------------------------------------------------------------------------------------

interface Remedied {
  readonly reason: string | null
  readonly remedy: RegExp | null
  readonly given: (world: World) => void
  readonly options?: Parameters<typeof World.started>[0]
}

const HANDS_OFF = { jitter: 0.5 }

const REMEDIES: readonly Remedied[] = [
  { reason: 'unknown', remedy: /peer\.addRoute/, given: () => {} },
  { reason: 'noRoute', remedy: /peer\.addRoute/, given: (world) => world.prioritise('alice', 'HIGH') },
  {
    reason: 'off',
    remedy: /connections\.start\(\)/,
    given: (world) => {
      world.add('alice')
      world.dispatch({ type: 'connections/stopped' })
    },
  },
  {
    reason: 'banned',
    remedy: /peer\.setPriority\({id, priority: 'AUTO'}\) lifts the ban/,
    given: (world) => {
      world.add('alice')
      world.prioritise('alice', 'BANNED')
    },
  },
  {
    reason: 'banned',
    remedy: /where it was blocked \(friends\)/,
    given: (world) => {
      world.add('alice')
      world.dispatch({ type: 'peer/prioritised', peer: idOf('alice'), priority: 'BANNED', by: 'friends' })
    },
  },
  {
    reason: 'initialSync',
    remedy: /initialSync\.stop\(\)/,
    given: (world) => {
      world.addAll(['alice', 'bob'])
      world.dispatch({ type: 'initialSync/started', peer: idOf('bob') })
    },
  },
  {
    reason: 'offline',
    remedy: /network of this machine.*tried again at 2026-01-15T12:05/,
    given: (world) => {
      world.add('alice')
      world.dispatch({ type: 'environment/offline' })
    },
  },
  {
    reason: 'peerDialing',
    remedy: /by 2026-01-15T12:00:10/,
    given: (world) => {
      world.add('alice')
      world.settle()
    },
  },
  {
    reason: 'peerConnected',
    remedy: /being hung up on/,
    given: (world) => {
      world.add('alice')
      world.settle()
      world.connect('alice')
      world.dispatch({ type: 'connection/closing', peer: idOf('alice'), reason: 'surplus' })
    },
  },
  {
    reason: 'manualOnly',
    remedy: /peer\.connect dials it/,
    given: (world) => {
      world.add('alice')
      world.dispatch({ type: 'route/annotated', address: addressOf('alice'), data: null, isAutomatic: false })
    },
  },
  { reason: 'typeDisabled', remedy: /setMaxByType\({onion: 3}\)/, given: (world) => world.add('alice/onion') },
  {
    reason: 'backoff',
    remedy: /tried again at 2026-.*peer\.connect dials now; peer\.addRoute .*; peer\.removeRoute/,
    given: (world) => {
      world.add('alice')
      world.settle()
      world.fail('alice', HANDS_OFF)
    },
  },
  {
    reason: 'backoff',
    remedy: /tried again at 2026-01-15T12:01:00.000Z; peer\.connect dials now$/,
    given: (world) => {
      world.add('alice')
      world.hold('alice')
    },
  },
  {
    reason: 'hostThrottled',
    remedy: /tried again at 2026-.*peer\.connect dials now/,
    given: (world) => {
      world.add('bob/net-same')
      world.settle()
      world.add('alice/net-same')
    },
  },
  {
    reason: 'transportDown',
    remedy: /start Tor.*127\.0\.0\.1.*9050.*tried again at/,
    options: slots({ onion: 3 }),
    given: (world) => {
      world.addAll(['bob/onion', 'carol/onion', 'dave/onion'])
      world.settle()
      for (const name of ['bob', 'carol', 'dave']) world.fail(`${name}/onion`)
      world.add('alice/onion')
    },
  },
  {
    reason: 'transportDown',
    remedy: /add a transport for ws to the stack/,
    options: { ...slots({ ws: 1 }), maxDialing: 1 },
    given: (world) => {
      world.addAll(['alice/ws', 'bob/ws'], { source: 'seed' })
      world.settle()
      world.fail('bob/ws', { code: null, message: 'could not connect to:ws://…, only know:net,onion' })
    },
  },
  {
    reason: 'slotsFull',
    remedy: /setMaxByType\({net: 2}\) gives it a slot/,
    given: (world) => {
      world.add('bob')
      world.settle()
      world.connect('bob')
      world.add('alice')
    },
  },
  { reason: null, remedy: /nothing need be done/, given: (world) => world.add('alice') },
]

for (const [index, { reason, remedy, given, options: change }] of REMEDIES.entries())
  test(`explain says what would change ${reason} (${index})`, (t) => {
    const world = World.started(change ?? slots({ net: 1 }))
    given(world)
    const said = why(world, 'alice')
    t.equal(said.reason, reason, said.message)
    t.match(String(said.remedy), remedy ?? /^null$/)
    const first = said.routes.find((route) => route.address === said.address)
    if (said.address !== null) t.deepEqual([first?.reason, first?.remedy], [said.reason, said.remedy], 'of that route')
    t.end()
  })

test('nothing would change that we do not connect to ourselves, and nothing has to where we are connected', (t) => {
  const world = World.started(slots({ net: 1 }))
  t.equal(why(world, 'self').remedy, null)
  world.callIn('bob')
  t.deepEqual([why(world, 'bob').remedy, why(world, 'bob').address], [null, null], 'inbound: by no route of ours')
  world.add('alice')
  world.settle()
  world.connect('alice')
  t.deepEqual([why(world, 'alice').remedy, why(world, 'alice').address], [null, addressOf('alice')])
  t.end()
})

test('explain has the numbers behind the reason, for each route', (t) => {
  const world = World.started({ ...slots({ net: 2 }), lifetimeMs: null })
  world.load([stored('alice', { lastConnectionTime: START - HOUR, connectionCount: 3 })])
  world.settle()
  world.fail('alice', { code: 'ECONNRESET', message: 'read ECONNRESET' })
  const [route] = why(world, 'alice').routes
  t.deepEqual(route, {
    address: addressOf('alice'),
    reason: 'backoff',
    until: route?.nextAttemptAt,
    message: '1 failed dial in a row',
    remedy: route?.remedy,
    source: 'manual',
    errorCount: 1,
    lastError: { message: 'read ECONNRESET', code: 'ECONNRESET', at: START },
    connectionCount: 3,
    lastConnectionTime: START - HOUR,
    lastErrorTime: START,
    nextAttemptAt: route?.nextAttemptAt,
    slots: { class: 'net', max: 2, connected: 0, dialing: 0, closing: 0 },
    down: [],
  })
  t.ok((route?.nextAttemptAt ?? 0) > START)
  world.dispatch({ type: 'environment/offline' })
  world.now += MINUTE
  const [layer] = why(world, 'alice').routes[0]?.down ?? []
  t.deepEqual([layer?.layer, layer?.since], ['link', START], 'what is down, and since when')
  t.end()
})
