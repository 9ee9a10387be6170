/** The rules of the local network, on a virtual clock. lan-stack.test.ts has the real plugins. */
import test = require('tape')

import { startLan } from '../../../src/adapters/discovery/lan'
import { FakeStreams, scene } from '../../support/discovery'
import { alice, bob, person } from '../../support/manager'

const HOME = '192.168.1.7'
const here = (who: { by(protocol: string, host?: string): string }) => who.by('net', HOME)

function begin(config: object = {}) {
  const streams = new FakeStreams()
  const calls: string[] = []
  const lan = { start: () => calls.push('start'), stop: () => calls.push('stop'), discoveredPeers: streams.open }
  const made = scene({ plugins: { lan }, config })
  const stop = made.start(startLan)
  const beacon = (address: unknown, verified = true): void => streams.last.push({ address, verified })
  const route = (id = alice.id) => made.manager.peer.get(id)?.routes[0]
  return { ...made, streams, calls, stop, beacon, route }
}

test('a neighbour is a local peer of source local, and is not written to the disk', (t) => {
  const { beacon, route } = begin()
  beacon(here(alice))
  const { isLocal, source, isStored, priority } = route() ?? {}
  t.deepEqual(
    { isLocal, source, isStored, priority },
    { isLocal: true, source: 'local', isStored: false, priority: 'MEDIUM' },
  )
  t.end()
})

test('ssb-lan is started and stopped by us, and by nobody twice', (t) => {
  const { calls, stop, start, streams } = begin()
  t.deepEqual(calls.splice(0), ['stop', 'start'], 'one that runs already lets go of its sockets first')
  t.equal(streams.live, 1)
  stop()
  stop()
  t.deepEqual(calls.splice(0), ['stop'])
  start(startLan)()
  t.deepEqual(calls, ['stop', 'start', 'stop'])
  t.end()
})

for (const config of [
  { gossip: { local: false } },
  { conn: { lan: false } },
  { global: { gossip: { local: false } } },
]) {
  test(`${JSON.stringify(config)} switches it off: ssb-lan is not even started`, (t) => {
    const { calls, streams, stop } = begin(config)
    stop()
    t.deepEqual([calls, streams.opened.length], [[], 0])
    t.end()
  })
}

test('who is not heard for 30 s is withdrawn; each beacon counts', (t) => {
  const { clock, beacon, routes } = begin()
  beacon(here(alice))
  clock.advance(29_999)
  beacon(here(bob))
  t.equal(routes().length, 2)
  clock.advance(1)
  t.deepEqual(routes(), [here(bob)], 'after 30 s')
  for (let i = 0; i < 100; i++) {
    clock.advance(2_000)
    beacon(here(bob))
  }
  t.deepEqual(routes(), [here(bob)], 'as long as it is heard')
  clock.advance(30_000)
  t.deepEqual(routes(), [])
  t.end()
})

test('there is one timer at most, and none while nothing is announced', (t) => {
  const { clock, beacon, stop } = begin()
  t.equal(clock.pending, 0)
  for (let i = 0; i < 20; i++) {
    beacon(here(person(`p${i}`)))
    clock.advance(500)
  }
  t.equal(clock.pending, 1)
  clock.advance(60_000)
  t.equal(clock.pending, 0)
  beacon(here(alice))
  t.equal(clock.pending, 1)
  stop()
  t.equal(clock.pending, 0)
  t.end()
})

test('a clock that jumps keeps nobody for longer, and who is still there is back with his next beacon', (t) => {
  const { clock, beacon, routes } = begin()
  beacon(here(alice))
  clock.jump(-3_600_000)
  clock.advance(60_000)
  t.deepEqual(routes(), [], 'set back')
  beacon(here(alice))
  clock.jump(8 * 3_600_000)
  clock.advance(30_000)
  t.deepEqual(routes(), [], 'slept')
  beacon(here(alice))
  t.deepEqual(routes(), [here(alice)])
  t.end()
})

test('after the stop nobody is there: nobody would hear that they are gone', (t) => {
  const { beacon, stop, routes } = begin()
  beacon(here(alice))
  beacon(here(bob))
  stop()
  t.deepEqual(routes(), [])
  t.end()
})

test('a connection outlives the silence of its neighbour, and what the user stored stays', (t) => {
  const { manager, clock, beacon, routes, dial, route } = begin()
  manager.connections.start()
  beacon(here(alice))
  clock.flush()
  const rpc = dial(here(alice)).accept()
  clock.flush()
  clock.advance(40_000)
  t.equal(manager.peer.get(alice.id)?.connection.status, 'connected')
  rpc.end()
  clock.flush()
  t.deepEqual(routes(), [], 'then it is forgotten')

  manager.peer.addRoute({ address: here(bob) })
  beacon(here(bob))
  t.equal(route(bob.id)?.isLocal, true)
  clock.advance(31_000)
  t.deepEqual([route(bob.id)?.id, route(bob.id)?.isLocal], [here(bob), false])
  t.end()
})

test('a neighbour that cannot be reached is dialed again at his beacon, at most every 10 s', (t) => {
  const { manager, clock, beacon, dials } = begin()
  manager.connections.start()
  let beacons = 0
  for (let i = 0; i < 60; i++) {
    beacon(here(alice))
    beacons++
    clock.advance(2_000)
    for (const dial of dials) if (clock.now() - dial.at <= 2_000) dial.refuse()
    clock.flush()
  }
  const pauses = dials.slice(1).map((dial, i) => dial.at - (dials[i]?.at ?? 0))
  t.equal(beacons, 60)
  t.ok(dials.length >= 8, `dialed ${dials.length} times in two minutes`)
  t.ok(dials.length <= 30, 'and not at each beacon')
  t.ok(Math.max(...pauses) <= 20_000, `the longest pause is ${Math.max(...pauses)} ms`)
  t.end()
})

test('of the beacons of one neighbour the manager is told every 10 s: the others would only fill its recording', (t) => {
  const { manager, clock, beacon } = begin()
  let told = 0
  manager.internal.store.subscribe(({ type }) => {
    if (type === 'routes/added') told++
  })
  for (let i = 0; i < 30; i++) {
    beacon(here(alice))
    clock.advance(2_000)
  }
  t.equal(told, 6)
  t.end()
})

test('a beacon names hosts and nothing else', (t) => {
  const { beacon, routes } = begin()
  for (const address of [
    `unix:/run/other.sock~shs:${alice.key}`,
    `tunnel:${bob.id}:${alice.id}~shs:${alice.key}`,
    `onion:aaaa.onion:8008~shs:${alice.key}`,
    `net:${HOME}:8008~noauth:${alice.key}`,
    `net:${HOME}:8008`,
  ])
    beacon(address, false)
  t.deepEqual(routes(), [])
  beacon(`${here(alice)};${alice.by('ws', HOME)};unix:/x~shs:${alice.key}`)
  t.deepEqual(routes(), [here(alice), alice.by('ws', HOME)].sort(), 'several at once')
  t.end()
})

test('a flood of beacons fills neither the table nor the routes of a friend, and who was there stays', (t) => {
  const { manager, clock, beacon, routes, streams } = begin()
  beacon(here(alice))
  for (let i = 0; i < 20; i++) beacon(bob.by('net', `192.168.1.${i}`))
  t.equal(manager.peer.get(bob.id)?.routes.length, 8)
  for (let i = 0; i < 5_000; i++) beacon(person(`x${i}`).by('net', `10.0.${i >> 8}.${i & 255}`), false)
  clock.advance(1_000)
  t.equal(routes().length, 256)
  for (let i = 0; i < 30; i++) {
    clock.advance(2_000)
    beacon(here(alice))
  }
  t.deepEqual(routes(), [here(alice)], 'the flood has dried up')
  for (let i = 0; i < 20; i++) beacon(bob.by('net', `192.168.2.${i}`))
  t.equal(manager.peer.get(bob.id)?.routes.length, 8, 'and there is room again')
  t.equal(streams.last.reads > 5_000, true, 'and none of it waits in the stream')
  t.end()
})
