/** What holds for every source that reads a stream of another plugin, whatever that plugin does. */
import test = require('tape')

import { startBluetooth } from '../../../src/adapters/discovery/bluetooth'
import { startDiscovery } from '../../../src/adapters/discovery/index'
import { startLan } from '../../../src/adapters/discovery/lan'
import { startPubs } from '../../../src/adapters/discovery/pubs'
import { startRooms } from '../../../src/adapters/discovery/rooms'
import type { DiscoverySource } from '../../../src/adapters/discovery/source'
import { type FakeStream, FakeStreams, scene } from '../../support/discovery'
import { alice, bob, carol, type Person } from '../../support/manager'

interface Row {
  readonly name: string
  readonly source: DiscoverySource
  /** The plugin under its name, with its stream behind `open`. */
  readonly plugin: (open: () => unknown) => Readonly<Record<string, unknown>>
  /** What the stream says of somebody, and what the manager has then. */
  readonly item: (person: Person) => unknown
  readonly address: (person: Person) => string
  /** Before it reads. */
  readonly delayMs: number
}

const room = carol
const tunnel = (person: Person): string => `tunnel:${room.id}:${person.id}~shs:${person.key}`

const ROWS: readonly Row[] = [
  {
    name: 'lan',
    source: startLan,
    plugin: (open) => ({ lan: { start: () => {}, stop: () => {}, discoveredPeers: open } }),
    item: ({ address }) => ({ address, verified: true }),
    address: ({ address }) => address,
    delayMs: 0,
  },
  {
    name: 'bluetooth',
    source: startBluetooth,
    plugin: (open) => ({ bluetooth: { nearbyScuttlebuttDevices: open } }),
    item: ({ id }) => ({ discovered: [{ remoteAddress: 'aa:bb:cc:dd:ee:ff', id, displayName: 'a phone' }] }),
    address: ({ key }) => `bt:AABBCCDDEEFF~shs:${key}`,
    delayMs: 0,
  },
  {
    name: 'rooms',
    source: startRooms,
    plugin: (open) => ({ roomClient: { discoveredAttendants: open } }),
    item: (person) => ({ address: tunnel(person), key: person.id, room: room.id, roomName: 'here' }),
    address: tunnel,
    delayMs: 0,
  },
  {
    name: 'pubs of ssb-db2',
    source: startPubs,
    plugin: (open) => {
      const [where, type, toPullStream] = [(op: unknown) => op, (name: unknown) => name, () => null]
      return { db: { operators: { where, type, live: () => null, toPullStream }, query: open } }
    },
    item: ({ id, address }) => ({ key: '%a', value: { author: id, content: { type: 'pub', address } } }),
    address: ({ address }) => address,
    delayMs: 1_000,
  },
  {
    name: 'pubs of ssb-db',
    source: startPubs,
    plugin: (open) => ({ messagesByType: open, ready: () => true }),
    item: ({ id }) => ({
      key: '%a',
      value: { author: id, content: { address: { host: 'a.example', port: 8008, key: id } } },
    }),
    address: ({ key }) => `net:a.example:8008~shs:${key}`,
    delayMs: 1_000,
  },
]

const RUBBISH: readonly unknown[] = [
  undefined,
  null,
  0,
  '',
  'net:a',
  [],
  {},
  () => {},
  { address: null },
  { address: {} },
  { address: 'x'.repeat(100_000) },
  { address: 'net:127.0.0.1:1~noauth' },
  { discovered: null },
  { discovered: [null, 1, {}, { remoteAddress: 'aa:bb', id: alice.id }, { remoteAddress: 1, id: alice.id }] },
  { discovered: { length: 1e9 } },
  { room: '__proto__', address: alice.address },
  { room: room.id, address: alice.address },
  { room: room.id, address: `${tunnel(alice)};net:127.0.0.1:22~shs:${bob.key}` },
  { value: null },
  { value: { author: 7, content: 'secret.box' } },
  { value: { content: { address: [] } } },
  Object.defineProperty({}, 'address', { get: () => fail() }),
  Object.defineProperty({}, 'discovered', { get: () => fail() }),
  Object.defineProperty({}, 'room', { get: () => fail() }),
  Object.defineProperty({}, 'value', { get: () => fail() }),
]

function fail(): never {
  throw new Error('from the plugin')
}

for (const { name, source, plugin, item, address, delayMs } of ROWS) {
  const begun = (streams = new FakeStreams(), open: () => unknown = streams.open) => {
    const made = scene({ plugins: plugin(open) })
    const stop = made.start(source)
    made.clock.advance(delayMs)
    return { ...made, stop, streams }
  }

  test(`${name}: who is heard of is told to the manager`, (t) => {
    const { streams, routes, stop, clock } = begun()
    streams.last.push(item(alice))
    t.deepEqual(routes(), [address(alice)])
    stop()
    t.equal(streams.live, 0, 'the stream is aborted')
    t.equal(clock.pending, 0, 'no timer is left')
    t.end()
  })

  test(`${name}: a plugin that is loaded after us is found, one that never comes does no harm`, (t) => {
    const late = scene()
    const streams = new FakeStreams()
    const stop = source(late.context)
    Object.assign(late.sbot, plugin(streams.open))
    late.flush()
    late.clock.advance(delayMs)
    streams.last.push(item(alice))
    t.deepEqual(late.routes(), [address(alice)])
    stop()

    const never = scene()
    never.start(source)()
    t.match(never.lines.join(), /is not there/)
    t.equal(never.clock.pending, 0)

    const gone = scene()
    const unopened = new FakeStreams()
    source(gone.context)()
    Object.assign(gone.sbot, plugin(unopened.open))
    gone.flush()
    gone.clock.advance(delayMs)
    t.equal(unopened.opened.length, 0, 'stopped before it came: it is not started')
    t.equal(gone.clock.pending, 0)
    t.end()
  })

  test(`${name}: rubbish is passed over, and what comes after it is heard`, (t) => {
    const { streams, routes, stop, clock } = begun()
    streams.last.push(...RUBBISH)
    clock.advance(1_000)
    streams.last.push(item(alice))
    clock.advance(1_000)
    t.deepEqual(routes(), [address(alice)])
    stop()
    t.end()
  })

  test(`${name}: a stream that fails, ends, throws, is none, or answers twice harms nobody`, (t) => {
    const ends: (readonly [string, (stream: FakeStream) => void])[] = [
      ['ends', (stream) => stream.end()],
      ['fails', (stream) => stream.end(new Error('broken'))],
    ]
    for (const [how, end] of ends) {
      const made = begun()
      for (const stream of made.streams.opened) end(stream)
      t.equal(
        made.lines.some((line) => /broken/.test(line)),
        how === 'fails',
        `${how}: said when it failed`,
      )
      t.doesNotThrow(made.stop)
      t.equal(made.clock.pending, 0)
    }
    const sources: readonly unknown[] = [
      fail,
      () => undefined,
      () => fail,
      () => (_abort: unknown, cb: (end: unknown) => void) => {
        cb(true)
        cb(true)
      },
      () => (_abort: unknown, cb: (end: unknown) => void) => {
        cb(new Error('broken'))
        throw new Error('broken again')
      },
      () => (abort: unknown) => (abort ? fail() : undefined),
    ]
    for (const open of sources) {
      const made = begun(new FakeStreams(), open as () => unknown)
      t.doesNotThrow(made.stop)
      t.equal(made.clock.pending, 0)
      t.deepEqual(made.routes(), [])
    }
    t.end()
  })

  test(`${name}: nothing is told after the stop, and 50 starts and stops leave nothing behind`, (t) => {
    const streams = new FakeStreams()
    const made = scene({ plugins: plugin(streams.open) })
    for (let i = 0; i < 50; i++) {
      const stop = made.start(source)
      made.clock.advance(delayMs)
      const { last } = streams
      if (i % 2 === 0) last.push(item(alice))
      stop()
      stop()
      last.push(item(bob))
    }
    t.equal(made.routes().includes(address(bob)), false)
    t.equal(streams.live, 0)
    t.equal(made.clock.pending, 0)
    const stop = made.start(source)
    made.clock.advance(delayMs)
    streams.last.push(item(bob))
    t.ok(made.routes().includes(address(bob)), 'and the next start hears again')
    stop()
    t.end()
  })

  test(`${name}: a manager that is closed meanwhile does no harm`, (t) => {
    const { manager, streams, stop, lines } = begun()
    manager.close()
    t.doesNotThrow(() => streams.last.push(item(alice)))
    t.doesNotThrow(stop)
    t.ok(lines.length > 0, 'it is said')
    t.end()
  })
}

test('all of them: seeds first, one that fails keeps no other from starting, and all end together', (t) => {
  const lan = new FakeStreams()
  const rooms = new FakeStreams()
  const made = scene({
    config: { seeds: bob.address },
    plugins: {
      lan: { start: fail, stop: fail, discoveredPeers: lan.open },
      roomClient: { discoveredAttendants: rooms.open },
    },
  })
  Object.defineProperty(made.sbot, 'bluetooth', { get: fail })
  const stop = made.start(startDiscovery)
  lan.last.push({ address: alice.address })
  t.deepEqual(made.routes(), [alice.address, bob.address].sort())
  t.equal(rooms.live, 1)
  t.doesNotThrow(stop)
  t.equal(lan.live + rooms.live, 0)
  t.equal(made.clock.pending, 0)
  t.doesNotThrow(stop, 'twice')
  t.end()
})

test('offline nothing is started', (t) => {
  const lan = new FakeStreams()
  const config = { offline: true, seeds: bob.address }
  const made = scene({ config, plugins: { lan: { start: fail, discoveredPeers: lan.open } } })
  made.start(startDiscovery)()
  t.deepEqual(made.routes(), [])
  t.equal(lan.opened.length, 0)
  t.deepEqual(made.lines, [])
  t.end()
})
