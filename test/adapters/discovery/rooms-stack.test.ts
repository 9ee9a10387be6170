/** Two people meet in a real ssb-room, by the real ssb-room-client, and our manager dials one of them through the tunnel. */
import test = require('tape')

import sbotConn = require('ssb-conn')
import roomServer = require('ssb-room/tunnel/server')
import roomClient = require('ssb-room-client')

import conn = require('../../../src/conn')
import type Manager = require('../../../src/index')

import { eventually } from '../../support/eventually'
import { watchIntervals } from '../../support/intervals'
import { bootStack, closeAll, findFreePort, STACK_VERSIONS, type Stack, type StackVersion } from '../../support/stack'

interface Conn {
  remember(address: string, data: object): void
}

const managerOf = (stack: Stack) => stack.ssb.connectionManager as Manager.ConnectionManager
const connectionTo = (from: Stack, to: Stack) => managerOf(from).peer.get(to.id)?.connection
const routesTo = (from: Stack, to: Stack) =>
  managerOf(from)
    .peer.get(to.id)
    ?.routes.map(({ id }) => id) ?? []
const tunnelTo = (room: Stack, to: Stack) => `tunnel:${room.id}:${to.id}~shs:${to.id.slice(1, -8)}`

/** As people run one: ssb-conn, which only answers. */
function bootRoom(): Promise<Stack> {
  return bootStack({
    version: 6,
    name: 'room',
    plugins: [...sbotConn, roomServer],
    config: { conn: { autostart: false } },
    // ssb-conn writes there when all is closed; the folder goes when the process ends.
    keep: true,
  })
}

async function bootGuest(version: StackVersion, name: string): Promise<Stack> {
  const port = await findFreePort()
  const net = { scope: ['device', 'local', 'public'], host: '127.0.0.1', port, transform: 'shs' }
  return bootStack({
    version,
    name,
    port,
    // ssb-room-client asks for sbot.conn when it is loaded.
    ownFirst: true,
    ownPlugins: [...conn],
    plugins: [...roomClient],
    global: {
      connections: {
        incoming: { net: [net], tunnel: [{ scope: 'public', transform: 'shs' }] },
        outgoing: { net: [{ transform: 'shs' }], tunnel: [{ transform: 'shs' }] },
      },
    },
    config: { connectionManager: { persist: false } },
  })
}

/** Both dial as they hear of each other; then the two agree on one connection. */
function isMet(here: Stack, there: Stack): boolean {
  const ends = [connectionTo(here, there), connectionTo(there, here)]
  const directions = ends.map((end) => (end?.status === 'connected' ? end.direction : null))
  return directions.includes('outbound') && directions.includes('inbound')
}

for (const version of STACK_VERSIONS) {
  test(`secret-stack ${version}: two attendants of a room meet through the tunnel, and part when one leaves`, async (t) => {
    const watched = watchIntervals()
    const open: Stack[] = []
    try {
      const room = await bootRoom()
      open.push(room)
      const alice = await bootGuest(version, 'alice')
      const bob = await bootGuest(version, 'bob')
      open.push(alice, bob)
      for (const guest of [alice, bob]) (guest.ssb.conn as Conn).remember(room.address, { type: 'room' })

      await eventually(() => isMet(alice, bob), {
        timeoutMs: 30_000,
        message: () => `alice and bob have met: ${JSON.stringify(managerOf(alice).peer.list(), null, 1)}`,
      })
      const dialer = [alice, bob].find(
        (each) => connectionTo(each, each === alice ? bob : alice)?.direction === 'outbound',
      )
      const other = dialer === alice ? bob : alice
      t.equal(dialer && connectionTo(dialer, other)?.address, tunnelTo(room, other), 'one has dialed through the room')
      const route = dialer && managerOf(dialer).peer.get(other.id)?.routes[0]
      t.deepEqual([route?.source, route?.isStored, route?.isLocal], ['room', false, false])

      await bob.close()
      await eventually(() => routesTo(alice, bob).length === 0, {
        timeoutMs: 20_000,
        message: () => `bob has left: ${routesTo(alice, bob).join()}`,
      })
      t.equal(connectionTo(alice, room)?.status, 'connected', 'while alice stays')

      const carol = await bootGuest(version, 'carol')
      open.push(carol)
      ;(carol.ssb.conn as Conn).remember(room.address, { type: 'room' })
      await eventually(() => isMet(alice, carol), { timeoutMs: 30_000, message: 'alice and carol have met' })
      await room.close()
      await eventually(() => [routesTo(alice, carol), routesTo(carol, alice)].every(({ length }) => length === 0), {
        timeoutMs: 20_000,
        message: () => `the room is gone: ${routesTo(alice, carol).join()}`,
      })
      t.deepEqual(routesTo(alice, room), [room.address], 'which is remembered')
    } finally {
      await closeAll(...open)
      watched.restore()
    }
    t.end()
  })
}
