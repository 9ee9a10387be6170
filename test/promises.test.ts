/**
 * What the user asked for, sentence by sentence, each with a test of its own. Stand-alone manager, virtual clock. What a
 * sentence says of a stack is tested on real ones: network events and `remotePeerConnected` by itself in
 * adapters/plugin.test.ts, the replacement of ssb-gossip's scheduler in adapters/replace-gossip.test.ts.
 */
import test = require('tape')

import type { DialFailedError } from '../src/core/errors'
import type { ConnectionError } from '../src/manager'

import Manager = require('../src/index')

import { seededRandom, virtualClock } from '../src/testing'
import { collect } from './support/eventually'
import {
  alice,
  bench,
  bob,
  carol,
  DAY,
  dave,
  erin,
  FakeRpc,
  FIRST_ID,
  HOUR,
  MINUTE,
  person,
  SECOND,
} from './support/manager'

test('"manager.peer.addRoute({address, isLocal}), manager.peer.removeRoute({address})"', (t) => {
  const { manager } = bench()
  manager.peer.addRoute({ address: alice.address, isLocal: true })
  const routes = () => manager.peer.get(alice.id)?.routes.map(({ id, isLocal }) => ({ id, isLocal }))
  t.deepEqual(routes(), [{ id: alice.address, isLocal: true }])
  manager.peer.removeRoute({ address: alice.address })
  t.equal(routes(), undefined)
  t.end()
})

test('"several routes to a peer, added by other modules"', (t) => {
  const { manager } = bench()
  const lan = (address: string): boolean => manager.peer.addRoute({ address, isLocal: true, source: 'lan' })
  const pubs = (address: string): boolean => manager.peer.addRoute({ address, source: 'pub' })
  const rooms = (address: string): boolean => manager.peer.addRoute({ address, source: 'room' })
  lan(alice.by('net', '192.168.0.7'))
  pubs(alice.address)
  pubs(alice.by('onion', 'abcdefghij234567.onion'))
  rooms(`tunnel:${bob.id}:${alice.id}~shs:${alice.key}`)
  t.deepEqual(
    manager.peer.get(alice.id)?.routes.map((route) => route.source),
    ['lan', 'pub', 'pub', 'room'],
  )
  t.equal(manager.peer.list().length, 1, 'of one peer')
  t.end()
})

test('"a peer discovered locally and through introducers has both"', (t) => {
  const { manager, clock, dials } = bench()
  const local = alice.by('net', '192.168.0.7')
  manager.peer.addRoute({ address: alice.address, isLocal: false })
  manager.peer.addRoute({ address: local, isLocal: true })
  t.deepEqual(
    manager.peer.get(alice.id)?.routes.map((route) => [route.id, route.isLocal]),
    [
      [alice.address, false],
      [local, true],
    ],
  )
  manager.connections.start()
  clock.advance(SECOND)
  t.deepEqual(
    dials.map((dial) => dial.address),
    [local, alice.address],
    'the local one is tried first',
  )
  t.end()
})

test('"manager.peers: an observable of the peers that the manager knows about"', (t) => {
  const { manager, connected, add } = bench()
  add(alice.address)
  const seen = collect(manager.peers() as never)
  add(bob.address)
  connected(bob.address).end()
  manager.peer.removeRoute({ address: alice.address })
  const said = (seen.items as { id?: string; sync?: true; removed?: true; connection?: { status: string } }[]).map(
    (item) =>
      item.sync
        ? 'sync'
        : `${item.id === alice.id ? 'alice' : 'bob'} ${item.removed ? 'removed' : item.connection?.status}`,
  )
  t.deepEqual(said, [
    'alice idle',
    'sync',
    'bob idle',
    'bob idle', // asked for
    'bob dialing',
    'bob connected',
    'bob idle',
    'alice removed',
  ])
  t.end()
})

test('"manager.peer.setPriority({address, priority}) with HIGH, MED, LOW, BANNED"', (t) => {
  const { manager, add, connected, flush, dials } = bench()
  add(alice.address)
  for (const [given, shown] of [
    [manager.priority.HIGH, 'HIGH'],
    [manager.priority.MED, 'MEDIUM'],
    ['MED', 'MEDIUM'],
    [manager.priority.LOW, 'LOW'],
    [manager.priority.BANNED, 'BANNED'],
  ] as const) {
    manager.peer.setPriority({ address: alice.address, priority: given })
    t.equal(manager.peer.get(alice.id)?.priority, shown)
    t.equal(manager.peer.get(alice.id)?.routes[0]?.priority, shown, 'and its route')
  }
  manager.connections.start()
  flush()
  t.equal(dials.length, 0, 'the banned is not dialed')
  const rpc = connected(bob.address)
  manager.peer.setPriority({ address: bob.address, priority: 'BANNED' })
  flush()
  t.equal(rpc.hangUps, 1, 'and hung up on at once')
  const inbound = new FakeRpc()
  manager.peer.remotePeerConnected(alice.id, inbound)
  flush()
  t.equal(inbound.hangUps, 1, 'and refused when he calls')
  t.end()
})

test('HIGH is dialed before MED, MED before LOW', (t) => {
  const { manager, clock, dials } = bench({ answer: (dial) => dial.refuse('ECONNRESET') })
  manager.connections.setMaxByType({ net: 1 })
  // Something is connected: a cold start has an order of its own.
  manager.peer.remotePeerConnected(erin.id)
  manager.peer.addRoute({ address: alice.address, priority: 'LOW' })
  manager.peer.addRoute({ address: bob.address, priority: 'HIGH' })
  manager.peer.addRoute({ address: carol.address, priority: 'MED' })
  manager.connections.start()
  clock.advance(SECOND)
  const firsts = [...new Set(dials.map((dial) => dial.address))]
  t.deepEqual(firsts, [bob.address, carol.address, alice.address])
  t.end()
})

test('"a hook onPrioritise so that other modules can change it"', (t) => {
  const { manager } = bench()
  const blocked = new Set([bob.id])
  const remove = manager.onPrioritise(({ id }) => (blocked.has(id) ? 'BANNED' : undefined))
  manager.peer.setPriority({ address: alice.address, priority: 'HIGH' })
  manager.peer.setPriority({ address: bob.address, priority: 'HIGH' })
  t.deepEqual(
    [alice, bob].map(({ id }) => manager.peer.get(id)?.priority),
    ['HIGH', 'BANNED'],
  )
  remove()
  manager.peer.setPriority({ address: bob.address, priority: 'LOW' })
  t.equal(manager.peer.get(bob.id)?.priority, 'LOW', 'until it is removed')
  t.end()
})

test('"manager.connections.start(), .stop(): all connections; off by default"', (t) => {
  const { manager, clock, dials, add, flush } = bench({ answer: (dial) => void dial.accept() })
  const everybody = [alice.address, bob.by('onion'), carol.by('rtc')]
  add(...everybody)
  clock.advance(DAY)
  t.equal(dials.length, 0, 'off by default')
  manager.connections.start()
  flush()
  const connected = (): number => manager.peer.list().filter((peer) => peer.connection.status === 'connected').length
  t.deepEqual(dials.map((dial) => dial.address).sort(), everybody.sort(), 'start: all')
  manager.peer.remotePeerConnected(dave.id, new FakeRpc())
  t.equal(connected(), 4)
  manager.connections.stop()
  flush()
  t.equal(connected(), 0, 'stop: all, inbound too')
  clock.advance(DAY)
  t.equal(dials.length, 3, 'and nobody is dialed any more')
  t.end()
})

test('"manager.connections.setMaxByType(max) merges with what is there; defaults rtc 3, net 3, onion 3, ws 0, wss 0"', (t) => {
  const opened: FakeRpc[] = []
  const { manager, clock } = bench({ answer: (dial) => void opened.push(dial.accept()) })
  const maxima = (): Record<string, number> =>
    Object.fromEntries(Object.entries(manager.connections.status().classes).map(([type, { max }]) => [type, max]))
  t.deepEqual(maxima(), { rtc: 3, net: 3, onion: 3, ws: 0, wss: 0, local: 5 }, 'and five local ones')
  const types = ['rtc', 'net', 'onion', 'ws', 'wss']
  for (const type of types)
    for (let n = 0; n < 5; n++)
      manager.peer.addRoute({ address: person(`${type} ${n}`).by(type, `${type}${n}.example`) })
  manager.connections.start()
  clock.advance(MINUTE)
  const connected = (): Record<string, number> =>
    Object.fromEntries(types.map((type) => [type, manager.connections.status().classes[type]?.connected ?? 0]))
  t.deepEqual(connected(), { rtc: 3, net: 3, onion: 3, ws: 0, wss: 0 })
  manager.connections.setMaxByType({ ws: 2, net: 4 })
  t.deepEqual(maxima(), { rtc: 3, net: 4, onion: 3, ws: 2, wss: 0, local: 5 }, 'merged')
  clock.advance(MINUTE)
  t.deepEqual(connected(), { rtc: 3, net: 4, onion: 3, ws: 2, wss: 0 })
  // As nobody knows yet how many will answer, some more are dialed at first than there is room for.
  t.equal(opened.filter(({ closed }) => !closed).length, 12, 'what came beyond that was closed')
  t.ok(opened.length < 2 * 12, 'and that was not much')
  t.end()
})

test('"manager.connections.setLifetime(timeMs): what is not long-term is disconnected after that time"', (t) => {
  const { manager, clock, connected } = bench()
  manager.connections.setLifetime(HOUR)
  const short = connected(alice.address)
  const long = connected(bob.address)
  manager.peer.setLongTerm({ id: bob.id })
  const inbound = new FakeRpc()
  manager.peer.remotePeerConnected(carol.id, inbound)
  clock.advance(HOUR - 1)
  t.deepEqual([short.hangUps, inbound.hangUps, long.hangUps], [0, 0, 0], 'not before')
  clock.advance(1)
  t.deepEqual([short.hangUps, inbound.hangUps, long.hangUps], [1, 1, 0], 'after that time, except the long-term one')
  clock.advance(DAY)
  t.equal(long.hangUps, 0)
  t.end()
})

test('"connecting at once and for good to a peer"', async (t) => {
  const { manager, clock, add, dial, dials, flush } = bench({
    answer: ({ address, accept }) => void (address !== alice.by('ws') && accept()),
  })
  add(bob.address, carol.address, dave.address)
  manager.connections.start()
  flush()
  const asked = manager.peer.connect({ address: alice.by('ws'), isLongTerm: true })
  flush()
  t.equal(dials.length, 4, 'at once: though all slots are taken, and its type has none')
  const rpc = dial(alice.by('ws')).accept()
  t.equal(await asked, rpc, 'and whoever asked gets the connection')
  for (let n = 0; n < 3; n++) {
    clock.advance(DAY)
    const before = dials.length
    manager.internal.connectionOf(alice.id) && (manager.internal.connectionOf(alice.id) as FakeRpc).end()
    clock.advance(10 * MINUTE)
    t.ok(
      dials.slice(before).some((each) => each.address === alice.by('ws')),
      'for good: dialed again whenever it ends',
    )
    dial(alice.by('ws')).accept()
  }
})

test('"long-term connections that stay as long as possible"', (t) => {
  const { manager, clock, connected, add } = bench({
    answer: (dial) => void (dial.address !== alice.address && dial.accept()),
  })
  const rpc = connected(alice.address)
  manager.peer.setLongTerm({ address: alice.address })
  manager.connections.start()
  manager.connections.setLifetime(HOUR)
  for (let n = 0; n < 20; n++) add(person(`rival ${n}`).by('net', `rival${n}.example`))
  manager.connections.setMaxByType({ net: 1 })
  manager.connections.setMaxByType({ net: 0 })
  clock.advance(7 * DAY)
  t.equal(rpc.hangUps, 0, 'through lifetime, rivals, and the loss of all slots')
  manager.peer.setLongTerm({ address: alice.address, isLongTerm: false })
  clock.advance(HOUR)
  t.equal(rpc.hangUps, 1, 'until it is said otherwise')
  t.end()
})

test('"manager.peer.remotePeerConnected(peerId)"', (t) => {
  const { manager, clock, dials, add } = bench()
  add(alice.address)
  manager.peer.remotePeerConnected(alice.id)
  t.deepEqual(
    [manager.peer.get(alice.id)?.connection.status, manager.peer.get(alice.id)?.connection.direction],
    ['connected', 'inbound'],
  )
  manager.connections.start()
  clock.advance(DAY)
  t.equal(dials.length, 0, 'a peer that has called us is not called')
  t.equal(manager.connections.status().classes.net?.connected, 0, 'and takes no slot')
  manager.peer.remotePeerDisconnected(alice.id)
  clock.advance(HOUR)
  t.equal(dials[0]?.address, alice.address, 'until it has gone')
  t.end()
})

test('"manager.connection.errors(): a pull-stream of {peer, error}"', (t) => {
  const { manager, flush, dial } = bench()
  const errors = collect(manager.connection.errors())
  manager.peer.connect({ address: alice.address }, () => {})
  flush()
  dial(alice.address).refuse('EHOSTDOWN')
  t.equal(errors.items.length, 1)
  const { peer, error } = errors.items[0]!
  t.equal(peer, alice.address)
  t.equal((error as DialFailedError).attempts[0]?.code, 'EHOSTDOWN')
  t.end()
})

test('"a stream of peers with errors, for a module that decides whom to forget"', (t) => {
  const { manager, clock, add } = bench({
    answer: (dial) => (dial.address === alice.address ? void dial.accept() : dial.refuse('ECONNRESET')),
  })
  // The module: forgets whoever has failed five times in a row.
  const forget = (end: unknown, failed?: ConnectionError): void => {
    if (end || !failed) return
    if (failed.errorCount >= 5) manager.peer.removeRoute({ address: failed.peer })
    errors(null, forget)
  }
  const errors = manager.connection.errors()
  errors(null, forget)
  add(alice.address, bob.address, carol.address)
  manager.connections.start()
  for (let hours = 0; hours < 48; hours++) clock.advance(HOUR)
  t.deepEqual(
    manager.peer.list().map((peer) => peer.id),
    [alice.id],
  )
  t.end()
})

test('"manager.initialSync.start([peer]), .stop(): one connection, all other scheduling off"', (t) => {
  for (const peer of [undefined, bob.id]) {
    const { manager, clock, add, dials, flush } = bench({ answer: (dial) => void dial.accept() })
    add(alice.address, bob.address, carol.address)
    manager.connections.start()
    flush()
    const up = (): string[] =>
      manager.peer
        .list()
        .filter((each) => each.connection.status === 'connected')
        .map((each) => each.id)
    t.equal(up().length, 3)
    manager.initialSync.start(peer)
    flush()
    t.equal(up().length, 1, 'one connection')
    if (peer) t.deepEqual(up(), [peer], 'to the peer that was named')
    const before = dials.length
    add(dave.address)
    clock.advance(7 * DAY)
    t.equal(dials.length, before, 'all other scheduling is off')
    manager.initialSync.stop()
    clock.advance(HOUR)
    t.equal(up().length, 3, 'and on again afterwards')
  }
  t.end()
})

/** In which order peers were dialed first, one slot, everybody refusing. */
function firstDials(dials: readonly { readonly address: string }[]): string[] {
  const names = new Map([alice, bob, carol, dave].map((who, n) => [who.address, ['alice', 'bob', 'carol', 'dave'][n]!]))
  return [...new Set(dials.map((dial) => names.get(dial.address) ?? dial.address))]
}

test('"the list is sorted by the age of the last connection …"', (t) => {
  let isUp = true
  const { manager, clock, dials, connected, flush } = bench({
    answer: (dial) => (isUp ? undefined : dial.refuse('ECONNRESET')),
  })
  for (const who of [bob, carol, alice]) {
    connected(who.address)
    clock.advance(HOUR)
    void manager.peer.disconnect({ id: who.id })
    flush()
    clock.advance(HOUR)
  }
  manager.peer.addRoute({ address: dave.address })
  isUp = false
  dials.length = 0
  // Something is connected: while nothing is, the last one that worked comes first.
  manager.peer.remotePeerConnected(erin.id)
  manager.connections.setMaxByType({ net: 1 })
  manager.connections.start()
  clock.advance(SECOND)
  t.deepEqual(firstDials(dials), ['dave', 'bob', 'carol', 'alice'], 'never connected, then longest ago')
  t.end()
})

test('"… and of the last error"', (t) => {
  const { manager, clock, dials, flush } = bench({ answer: (dial) => dial.refuse('ECONNRESET') })
  for (const who of [carol, alice, bob]) {
    manager.peer.connect({ address: who.address }, () => {})
    flush()
    clock.advance(HOUR)
  }
  dials.length = 0
  manager.peer.remotePeerConnected(erin.id)
  manager.connections.setMaxByType({ net: 1 })
  manager.connections.start()
  clock.advance(SECOND)
  t.deepEqual(firstDials(dials), ['carol', 'alice', 'bob'], 'longest ago failed first')
  t.end()
})

test('"a route that fails goes to the end"', (t) => {
  const { manager, clock, dials, add } = bench({ answer: (dial) => dial.refuse('ECONNRESET'), maxDialing: 1 })
  manager.peer.remotePeerConnected(erin.id)
  add(alice.address, bob.address, carol.address, dave.address)
  manager.connections.setMaxByType({ net: 1 })
  manager.connections.start()
  clock.advance(10 * MINUTE)
  const order = dials.map((dial) => dial.address)
  t.equal(new Set(order.slice(0, 4)).size, 4, 'nobody comes twice before everybody came once')
  t.ok(order.length > 4, 'and then again')
  t.end()
})

test('of the routes of one peer, too: the one that failed is tried last', (t) => {
  const { manager, clock, dials, dial, add, flush } = bench()
  add(alice.by('onion'), alice.address)
  manager.peer.connect({ id: alice.id }, () => {})
  flush()
  const first = dials[0]!.address
  clock.advance(SECOND)
  const second = dials[1]!.address
  dial(first).refuse('ECONNRESET')
  dial(second).accept().end()
  clock.advance(HOUR)
  dials.length = 0
  manager.peer.connect({ id: alice.id }, () => {})
  flush()
  t.equal(dials[0]!.address, second, 'the one that worked first')
  t.end()
})

test('"one connection per peer even with several routes"', (t) => {
  const { manager, clock, dials } = bench()
  manager.connections.setMaxByType({ ws: 3 })
  for (const address of [alice.address, alice.by('onion'), alice.by('ws')]) manager.peer.addRoute({ address })
  manager.connections.start()
  clock.advance(2 * SECOND)
  t.equal(dials.length, 3, 'all three routes race')
  const rpcs = dials.map((dial) => dial.accept())
  t.equal(rpcs.filter((rpc) => rpc.hangUps === 0).length, 1, 'one is kept')
  clock.advance(DAY)
  t.equal(dials.length, 3, 'and no other is opened beside it')
  const { classes } = manager.connections.status()
  t.equal(
    (classes.net?.connected ?? 0) + (classes.onion?.connected ?? 0) + (classes.ws?.connected ?? 0),
    1,
    'in one slot',
  )
  t.end()
})

test('"network events (wake-up, network change) are wired": what they do to a manager', async (t) => {
  for (const event of ['woke', 'networkChanged'] as const) {
    const rpcs: FakeRpc[] = []
    const { manager, clock, add, newDials, flush } = bench({
      answer: (dial) => void rpcs.push(dial.accept()),
      probe: (rpc) => ((rpc as FakeRpc).isAlive ? Promise.resolve() : Promise.reject(new Error('gone'))),
    })
    add(alice.address, bob.address)
    manager.connections.start()
    flush()
    await clock.advanceAsync(HOUR)
    newDials()
    rpcs[0]!.isAlive = false
    manager.internal[event]()
    await clock.advanceAsync(0)
    t.deepEqual(
      rpcs.map((rpc) => rpc.hangUps),
      [1, 0, 0],
      `${event}: the dead one is closed, the other stays`,
    )
    t.deepEqual(newDials(), [rpcs[0]!.name], 'and dialed again at once')
  }
})

test('"require(\'sbot-connection-manager\')({connectToPeer: sbot.connect})"', async (t) => {
  const clock = virtualClock()
  const sbot = {
    dialed: [] as string[],
    connect(address: string, cb: (error: unknown, rpc?: unknown) => void): void {
      sbot.dialed.push(address)
      cb(null, new FakeRpc())
    },
  }
  // As another plugin would call it; the clock is the only thing that a user would leave out.
  const manager = Manager({ connectToPeer: sbot.connect, clock, random: seededRandom(1), selfId: FIRST_ID })
  manager.peer.addRoute({ address: alice.address, isLocal: false })
  manager.connections.start()
  clock.flush()
  t.deepEqual(sbot.dialed, [alice.address])
  t.equal(manager.peer.get(alice.id)?.connection.status, 'connected')
  t.deepEqual(
    [Manager.HIGH, Manager.MED, Manager.LOW, Manager.BANNED],
    ['HIGH', 'MEDIUM', 'LOW', 'BANNED'],
    'constants',
  )
  manager.close()
})
