/** The rules of rooms, on a virtual clock. rooms-stack.test.ts has a real room. */
import test = require('tape')

import { startRooms } from '../../../src/adapters/discovery/rooms'
import { FakeStreams, type SceneOptions, scene } from '../../support/discovery'
import { alice, bob, carol, dave, type FakeRpc, type Person, person } from '../../support/manager'

const room = carol
const via = (who: Person, portal: Person = room): string => `tunnel:${portal.id}:${who.id}~shs:${who.key}`

function begin(options: SceneOptions = {}) {
  const streams = new FakeStreams()
  const made = scene({
    plugins: { roomClient: { discoveredAttendants: streams.open } },
    maxByType: { tunnel: 3 },
    ...options,
  })
  const stop = made.start(startRooms)
  const attends = (who: Person, portal: Person = room, address: unknown = via(who, portal)): void =>
    streams.last.push({ address, key: who.id, room: portal.id, roomName: 'a room' })
  const enter = (portal: Person = room): FakeRpc => {
    const rpc = made.connected(portal.address)
    made.flush()
    return rpc
  }
  return { ...made, streams, stop, attends, enter, route: (who: Person) => made.manager.peer.get(who.id)?.routes[0] }
}

test('an attendant is a route through the room, and is not written to the disk', (t) => {
  const { attends, route, manager, flush, newDials, enter } = begin()
  enter()
  newDials()
  attends(alice)
  const { id, source, isStored, isLocal } = route(alice) ?? {}
  t.deepEqual({ id, source, isStored, isLocal }, { id: via(alice), source: 'room', isStored: false, isLocal: false })
  manager.connections.start()
  flush()
  t.deepEqual(newDials(), [via(alice)])
  t.end()
})

test('an attendant carries the name of the room, as the pages of apps show it, and a name that is none harms nobody', (t) => {
  const { attends, streams, manager, enter } = begin()
  enter()
  attends(alice)
  for (const roomName of [null, 7, 'x'.repeat(10_000)])
    streams.last.push({ address: via(bob), key: bob.id, room: room.id, roomName })
  const dataOf = (who: Person) => manager.internal.store.getState().routes.get(via(who))?.data
  t.deepEqual([dataOf(alice), dataOf(bob)], [{ roomName: 'a room' }, null])
  t.end()
})

test('when a room disconnects its attendants are withdrawn, and those of other rooms are not', (t) => {
  const { attends, enter, routes, flush } = begin()
  const rpc = enter()
  enter(dave)
  attends(alice)
  attends(bob, dave)
  rpc.end()
  flush()
  t.deepEqual(
    routes().filter((each) => each.startsWith('tunnel')),
    [via(bob, dave)],
  )
  const again = enter()
  attends(alice)
  t.equal(routes().includes(via(alice)), true, 'the next time they are there again')
  again.end()
  flush()
  t.equal(routes().includes(via(alice)), false)
  t.end()
})

test('after the stop nobody is there', (t) => {
  const { attends, enter, stop, routes, clock } = begin()
  enter()
  attends(alice)
  stop()
  t.deepEqual(routes(), [room.address])
  clock.advance(60_000)
  t.deepEqual(routes(), [room.address])
  t.end()
})

test('an attendant who left, as the conn facade tells, and comes back is told again, at once', (t) => {
  const { attends, enter, manager, routes } = begin()
  enter()
  for (let i = 0; i < 3; i++) {
    attends(alice)
    t.equal(routes().includes(via(alice)), true)
    manager.peer.withdrawRoute({ address: via(alice) })
    t.equal(routes().includes(via(alice)), false)
  }
  t.end()
})

test('one who comes back while his last connection is closing is kept', async (t) => {
  const { attends, enter, manager, flush, dial, routes } = begin()
  enter()
  attends(alice)
  manager.connections.start()
  flush()
  const rpc = dial(via(alice)).accept()
  rpc.onClose = 'silent'
  flush()
  manager.peer.withdrawRoute({ address: via(alice) })
  manager.peer.disconnect(alice.id, () => {})
  flush()
  attends(alice)
  rpc.end()
  flush()
  t.equal(routes().includes(via(alice)), true)
  t.end()
})

test('a room that repeats its list is no sign of life: whom we cannot reach is not dialed at each repetition', (t) => {
  const { attends, enter, manager, clock, dials } = begin()
  enter()
  attends(alice)
  manager.connections.start()
  clock.flush()
  const before = dials.length
  for (let i = 0; i < 60; i++) {
    for (const dial of dials) if (dial.address === via(alice)) dial.refuse()
    clock.advance(10_000)
    attends(alice)
    clock.flush()
  }
  t.ok(dials.length - before < 15, `${dials.length - before} dials in ten minutes`)
  t.end()
})

test('one whom the user has remembered is dialed as he comes in', (t) => {
  const { attends, enter, manager, clock, dials, newDials } = begin({ backoffBaseMs: 7_200_000 })
  enter()
  manager.peer.addRoute({ address: via(alice) })
  manager.connections.start()
  for (let i = 0; i < 5; i++) {
    attends(alice)
    clock.flush()
    t.equal(newDials().pop(), via(alice))
    dials[dials.length - 1]?.refuse()
    clock.advance(11_000)
  }
  t.end()
})

test('nothing listens to the connections after the stop', (t) => {
  const streams = new FakeStreams()
  const changes = new FakeStreams()
  const { context } = scene({ plugins: { roomClient: { discoveredAttendants: streams.open } } })
  const { manager } = context
  const spied = { ...manager, connections: { ...manager.connections, changes: changes.open as never } }
  const stop = startRooms({ ...context, manager: spied })
  t.deepEqual([streams.live, changes.live], [1, 1])
  stop()
  t.deepEqual([streams.live, changes.live], [0, 0])
  t.end()
})

test('a room tells of ways through itself, and of nothing else', (t) => {
  const { attends, routes, enter } = begin()
  enter()
  const evil = [
    alice.address,
    via(alice, dave),
    `${via(alice)};net:127.0.0.1:22~shs:${alice.key}`,
    `tunnel:${room.id}:${alice.id}~noauth`,
    `unix:/x~shs:${alice.key}`,
  ]
  for (const address of evil) attends(alice, room, address)
  t.deepEqual(
    routes().filter((each) => each !== room.address && each !== via(alice)),
    [],
  )
  t.end()
})

test('a room that is full of attendants, or lists what is none, fills only its own part', (t) => {
  const { attends, routes, enter, clock, manager } = begin()
  enter()
  for (let i = 0; i < 2_000; i++) {
    attends(person(`x${i}`))
    if (i % 100 === 0) clock.advance(1_000)
  }
  const ofRoom = (portal: Person): string[] => routes().filter((each) => each.startsWith(`tunnel:${portal.id}`))
  t.equal(ofRoom(room).length, 256)
  enter(dave)
  attends(bob, dave)
  t.equal(ofRoom(dave).length, 1, 'another room has its own')
  for (const address of ofRoom(room).slice(0, 100)) manager.peer.withdrawRoute({ address })
  clock.advance(1_000)
  for (let i = 0; i < 200; i++) attends(person(`y${i}`))
  t.equal(ofRoom(room).length, 256, 'whoever left has made room')
  t.end()
})

test('no more than 32 rooms are listened to', (t) => {
  const { attends, routes } = begin()
  for (let i = 0; i < 100; i++) attends(alice, person(`room${i}`))
  t.ok(routes().length <= 32)
  t.end()
})
