/** DESIGN 4, "Strangers": what somebody whom nobody trusts can make us do, and what not. */
import test = require('tape')

import type { RouteReport, StoredPeer, StoredRoute } from '../../src/core/actions'
import { parseAddress } from '../../src/core/address'
import { DAY, HOUR, idOf, MINUTE, nameOf, report, SECOND, slots, stored, storedPeer, World } from '../support/builders'

const WRONG_KEY = { code: null, message: 'shs.client: wrong key' }

/** What somebody of this name says in a message, whatever the address. */
function claim(name: string, host: string, source = 'pub'): RouteReport {
  const [route] = parseAddress(`net:${host}:8008~shs:${idOf(name).slice(1, -'.ed25519'.length)}`)
  if (!route) throw new Error(`no route: ${host}`)
  return { route, isLocal: false, source }
}

/** Lets time go by and each dial fail as soon as it begins; the dials, with their time since the start. */
function failAll(world: World, durationMs: number): (readonly [at: number, label: string])[] {
  const dials: (readonly [number, string])[] = []
  const end = world.now + durationMs
  while (world.now <= end) {
    world.settle()
    const labels = world.inFlight()
    for (const label of labels) {
      dials.push([world.now - world.first.now, label])
      world.fail(label, WRONG_KEY)
    }
    if (labels.length > 0) continue
    const wakeAt = world.wakeAt()
    if (wakeAt === null || wakeAt > end) break
    world.now = wakeAt
  }
  world.now = end
  return dials
}

// ---- private hosts ----------------------------------------------------------------------------------------------------------

test('addresses learned from messages that point into this machine or this network are dropped', (t) => {
  const table: readonly (readonly [host: string, scope: string])[] = [
    ['127.0.0.1', 'loopback'],
    ['localhost', 'loopback'],
    ['[::1]', 'loopback'],
    ['10.1.2.3', 'private'],
    ['172.16.0.1', 'private'],
    ['192.168.1.5', 'private'],
    ['[fd00::1]', 'private'],
    ['169.254.1.1', 'linkLocal'],
    ['[fe80::1]', 'linkLocal'],
    ['224.0.0.1', 'multicast'],
    ['[ff02::1]', 'multicast'],
    ['0.0.0.0', 'unspecified'],
    ['240.0.0.1', 'reserved'],
  ]
  for (const [host, scope] of table) {
    const world = World.started()
    const said = claim('mallory', host)
    t.equal(said.route.scope, scope, host)
    world.dispatch({ type: 'routes/added', reports: [said] })
    t.equal(world.state.peers.size + world.state.routes.size, 0, `${host}: dropped, and its peer not even noted`)
    t.deepEqual(world.elapse(DAY), [])
    world.dispatch({ type: 'routes/added', reports: [claim('mallory', host, 'manual')] })
    t.equal(world.state.routes.size, 1, `${host}: but taken from a user`)
    world.load([{ ...stored('alice'), ...claim('alice', host) }])
    t.equal(world.state.routes.size, 1, `${host}: and not from a table that says so either`)
  }
  t.end()
})

test('public hosts and names are taken from messages, as LOW', (t) => {
  const world = World.started(slots({ net: 9 }))
  const hosts = ['8.8.8.8', 'pub.example.com', '[2001:41d0::1]']
  world.dispatch({ type: 'routes/added', reports: hosts.map((host, i) => claim(`p${i}`, host)) })
  t.equal(world.settle().length, 3)
  t.deepEqual(
    world.state.peers.valuesArray().map(({ priority }) => priority),
    ['LOW', 'LOW', 'LOW'],
  )
  t.end()
})

test('what strangers say of somebody we know changes nothing about him', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.prioritise('alice', 'HIGH')
  world.add('bob')
  world.addAll(['alice', 'alice/net2', 'bob', 'bob/net2'], { source: 'pub' })
  t.equal(world.route('alice').source, 'manual')
  t.equal(world.state.peers.get(idOf('alice'))?.priority, 'HIGH')
  t.equal(world.state.peers.get(idOf('bob'))?.priority, 'MEDIUM')
  t.end()
})

// ---- one host ---------------------------------------------------------------------------------------------------------------

test('at most one dial per 60 s goes to one host and port, whatever keys claim it', (t) => {
  const world = World.started({ ...slots({ net: 3, ws: 3 }), backoffMaxMs: { HIGH: 1, MEDIUM: 1, LOW: 1 } })
  const labels = Array.from({ length: 8 }, (_, i) => `p${i}/net-h`)
  world.addAll(labels, { source: 'pub' })
  const dials = failAll(world, 20 * MINUTE)
  t.deepEqual(
    dials.map(([at]) => at),
    Array.from({ length: 21 }, (_, i) => i * MINUTE),
    'exactly one a minute',
  )
  t.equal(new Set(dials.map(([, label]) => label)).size, 8, 'and each of them has its turn')
  t.end()
})

test('another port, or another host, is another destination', (t) => {
  const world = World.started(slots({ net: 9, ws: 9 }))
  world.addAll(['alice/net-h', 'bob/net-i', 'carol/ws-h', 'dave/net-h'], { source: 'pub' })
  const dials = world.settle().filter((effect) => effect.startsWith('dial'))
  t.equal(dials.length, 3, `${dials}`)
  t.end()
})

test('removing a route and adding it again is no way around the throttle', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice/net-h', { source: 'pub' })
  world.settle()
  const { address } = world.route('alice/net-h')
  world.dispatch({ type: 'route/removed', address })
  world.add('alice/net-h', { source: 'pub' })
  t.deepEqual(world.settle(), ['put off alice/net-h until 60000'])
  t.deepEqual(world.elapse(MINUTE - 1), [])
  t.deepEqual(world.elapse(1), [{ at: MINUTE, effect: 'dial alice/net-h' }])
  world.dispatch({ type: 'route/removed', address })
  world.elapse(MINUTE)
  world.add('bob', { source: 'pub' })
  world.settle()
  t.deepEqual(world.state.hosts.keysArray(), ['bob.example.com:8008'], 'after the minute it is forgotten')
  t.end()
})

test('the throttle does not hold for HIGH, long-term, local and proven routes, nor for seeds', (t) => {
  const known: readonly (readonly [why: string, routes: readonly StoredRoute[], peers: readonly StoredPeer[]])[] = [
    ['HIGH', [stored('alice/net-h')], [storedPeer('alice', { priority: 'HIGH' })]],
    ['long-term', [stored('alice/net-h')], [storedPeer('alice', { isLongTerm: true })]],
    ['local', [stored('alice/net-h', { isLocal: true })], []],
    ['proven', [stored('alice/net-h', { lastConnectionTime: Date.UTC(2026, 0, 1) })], []],
    ['a seed', [stored('alice/net-h', { source: 'seed' })], []],
    ['nothing', [stored('alice/net-h')], []],
  ]
  for (const [why, routes, peers] of known) {
    const world = World.started(slots({ net: 9, local: 9 }))
    world.add('mallory/net-h', { source: 'pub' })
    t.deepEqual(world.settle(), ['dial mallory/net-h'])
    world.now += SECOND
    world.load(routes, peers)
    const reason = world.whyNot('alice/net-h')?.reason
    t.equal(reason, why === 'nothing' ? 'hostThrottled' : undefined, why)
    const dials = world.settle().filter((effect) => effect.startsWith('dial'))
    t.equal(dials.length, why === 'nothing' ? 0 : 1, why)
  }
  const together = World.started(slots({ net: 9 }))
  together.load([stored('alice/net-h')], [storedPeer('alice', { priority: 'HIGH' })])
  together.add('mallory/net-h', { source: 'pub' })
  t.deepEqual(together.settle(), ['put off mallory/net-h until 60000', 'dial alice/net-h'], 'in one plan too')
  t.end()
})

// ---- limits -----------------------------------------------------------------------------------------------------------------

test('at most 16 routes per peer: what never worked and has failed makes room, nothing else does', (t) => {
  const world = World.started()
  const labels = Array.from({ length: 17 }, (_, i) => `alice/n-${i}`)
  world.addAll(labels)
  t.equal(world.state.peers.get(idOf('alice'))?.routes.length, 16)
  t.notOk(world.has('alice/n-16'), 'sixteen untried ones are not pushed out')
  const tried = new World()
  tried.load(
    labels.slice(0, 16).map((label, i) =>
      stored(label, {
        errorCount: i < 3 ? 2 + (i % 2) : 0,
        lastConnectionTime: i === 2 || i > 9 ? tried.now - DAY : 0,
      }),
    ),
  )
  tried.add('alice/n-16', { source: 'pub' })
  t.ok(tried.has('alice/n-16'))
  t.notOk(tried.has('alice/n-1'), 'most failures first')
  tried.add('alice/n-17', { source: 'pub' })
  t.notOk(tried.has('alice/n-0'), 'then the other one that failed')
  tried.add('alice/n-18', { source: 'pub' })
  t.notOk(tried.has('alice/n-18'), 'the one that has worked before stays, however often it failed')
  t.equal(tried.state.peers.get(idOf('alice'))?.routes.length, 16)
  t.end()
})

test('a neighbour’s beacon finds room among sixteen routes that nobody has tried', (t) => {
  const world = World.started()
  world.addAll(
    Array.from({ length: 16 }, (_, i) => `alice/n-${i}`),
    { source: 'pub' },
  )
  world.add('alice/lan')
  t.ok(world.has('alice/lan'))
  t.equal(world.state.peers.get(idOf('alice'))?.routes.length, 16)
  t.end()
})

test('a route in use makes no room', (t) => {
  const world = World.started({ ...slots({ net: 1 }), maxRoutesPerPeer: 1 })
  world.load([stored('alice', { errorCount: 3 })])
  world.settle()
  world.add('alice/net2')
  t.ok(world.has('alice'))
  t.notOk(world.has('alice/net2'))
  t.end()
})

test('in a full table the worst LOW routes make room', (t) => {
  const world = World.started({ ...slots({ net: 1 }), maxRoutes: 4 })
  world.load([
    stored('alice', { source: 'pub', errorCount: 9 }),
    stored('bob', { source: 'pub', errorCount: 2 }),
    stored('carol', { source: 'pub', errorCount: 5, lastConnectionTime: world.now - DAY }),
    stored('dave', { errorCount: 99 }),
  ])
  const present = (): string =>
    ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'gina', 'henry'].filter((label) => world.has(label)).join()
  for (const name of ['alice', 'bob', 'carol']) t.equal(world.state.peers.get(idOf(name))?.priority, 'LOW')
  world.add('erin')
  t.equal(present(), 'bob,carol,dave,erin', 'never connected, most failures')
  world.add('frank')
  t.equal(present(), 'carol,dave,erin,frank')
  world.add('gina')
  t.equal(present(), 'dave,erin,frank,gina', 'at last one that did connect')
  world.add('henry')
  world.add('alice', { source: 'pub' })
  t.equal(present(), 'dave,erin,frank,gina', 'with nothing LOW left what is new is refused')
  t.equal(world.state.peers.has(idOf('henry')), false, 'without a trace')
  world.add('dave', { source: 'local', isLocal: true })
  t.ok(world.route('dave').isLocal, 'of what is there one still hears')
  t.end()
})

test('a LOW peer that is connected makes no room', (t) => {
  const world = World.started({ ...slots({ net: 1 }), maxRoutes: 1 })
  world.add('alice', { source: 'pub' })
  world.settle()
  world.connect('alice')
  world.add('bob')
  t.ok(world.has('alice'))
  t.notOk(world.has('bob'))
  t.end()
})

test('room is made for many at once, so that a flood does not search the table each time', (t) => {
  const world = new World({ ...World.started().state.options, maxRoutes: 1_000 })
  world.isChecked = false
  world.addAll(
    Array.from({ length: 1_000 }, (_, i) => `p${i}`),
    { source: 'pub' },
  )
  t.equal(world.state.routes.size, 1_000)
  world.add('alice')
  t.equal(world.state.routes.size, 991, 'ten go, one comes')
  t.end()
})

test('a flood of 2000 junk routes delays a known good one by at most one dial timeout', (t) => {
  for (const seen of [{ lastConnectionTime: Date.UTC(2026, 0, 14) }, { connectionCount: 1, lastConnectionTime: 1 }]) {
    const world = World.started(slots({ net: 1 }))
    world.isChecked = false
    world.addAll(
      Array.from({ length: 2_000 }, (_, i) => `junk${i}`),
      { source: 'pub' },
    )
    world.load([stored('friend', seen)], [storedPeer('friend', { priority: 'LOW' })])
    // Somebody has called in, so it is no warm start.
    world.callIn('zed')
    // Junk never answers: each dial takes all of its ten seconds.
    const dials = world.elapse(HOUR).filter(({ effect }) => effect.startsWith('dial'))
    const first = dials.find(({ effect }) => effect === 'dial friend')
    t.ok(first && first.at <= 10 * SECOND, `dialed after ${first?.at} ms`)
    t.ok(dials.length > 100, 'the junk has its turn too')
  }
  t.end()
})

test('nor does a flood of routes that take the name of the friend’s host', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.isChecked = false
  world.addAll(
    Array.from({ length: 300 }, (_, i) => `junk${i}/net-h`),
    { source: 'pub' },
  )
  world.load([stored('friend/net-h', { lastConnectionTime: world.now - DAY })])
  world.callIn('zed')
  const first = world.elapse(MINUTE).find(({ effect }) => effect === 'dial friend/net-h')
  t.ok(first && first.at <= 10 * SECOND, `dialed after ${first?.at} ms`)
  t.equal(nameOf(report('friend/net-h').route.peer), 'friend')
  t.end()
})
