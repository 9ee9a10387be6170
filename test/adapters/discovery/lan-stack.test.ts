/** Neighbours find each other by the real ssb-lan, and by the real ssb-local, with UDP packets on loopback. */
import test = require('tape')

import lan = require('ssb-lan')
import local = require('ssb-local')

import { startLan } from '../../../src/adapters/discovery/lan'
import type { Gossip } from '../../../src/adapters/gossip'

import conn = require('../../../src/conn')
import Manager = require('../../../src/index')

import { scene } from '../../support/discovery'
import { eventually } from '../../support/eventually'
import { type LoopbackLan, loopbackLan } from '../../support/lan'
import { bootStack, closeAll, findFreePort, STACK_VERSIONS, type Stack, type StackOptions } from '../../support/stack'

const managerOf = (stack: Stack) => stack.ssb.connectionManager as Manager.ConnectionManager
const routesTo = (from: Stack, to: Stack) => managerOf(from).peer.get(to.id)?.routes ?? []
const isConnected = (from: Stack, to: Stack) => managerOf(from).peer.get(to.id)?.connection.status === 'connected'

function boot(options: StackOptions): Promise<Stack> {
  return bootStack({ ...options, config: { connectionManager: { persist: false }, ...options.config } })
}

async function withLan(run: (network: LoopbackLan) => Promise<void>): Promise<void> {
  const network = loopbackLan()
  try {
    await run(network)
  } finally {
    network.restore()
  }
}

for (const version of STACK_VERSIONS) {
  test(`secret-stack ${version}: two neighbours with ssb-lan find each other and connect`, async (t) => {
    await withLan(async () => {
      const boots = async (name: string, ownFirst: boolean): Promise<Stack> => {
        const port = await findFreePort()
        const options = { version, name, port, ownFirst, plugins: [withKeys, lan], ownPlugins: [...conn] }
        return boot({ ...options, global: { connections: privately(port) } })
      }
      // One of them has ssb-lan before, one after our plugins.
      const alice = await boots('alice', false)
      const bob = await boots('bob', true)
      try {
        await eventually(() => isConnected(alice, bob) && isConnected(bob, alice), {
          timeoutMs: 20_000,
          message: 'alice and bob are connected',
        })
        await eventually(() => routesTo(alice, bob).length === 1 && routesTo(bob, alice).length === 1)
        const [route] = routesTo(alice, bob)
        t.deepEqual(
          [route?.id, route?.isLocal, route?.source, route?.isStored],
          [bob.address, true, 'local', false],
          'by the address that bob announces',
        )
        managerOf(alice).connections.stop()
        await eventually(() => managerOf(alice).peer.list().length === 0, { message: 'alice has left the network' })
        managerOf(alice).connections.start()
        await eventually(() => isConnected(alice, bob), { timeoutMs: 20_000, message: 'and is back' })
        t.pass('after a stop and a start as well')
      } finally {
        await closeAll(alice, bob)
      }
    })
    t.end()
  })

  test(`secret-stack ${version}: ssb-local announces neighbours to our gossip facade, and takes them back`, async (t) => {
    await withLan(async (network) => {
      const port = 20_000 + (process.pid % 10_000) // of the packets; both have to listen on the same
      const boots = (name: string) =>
        network.watch(() =>
          boot({
            version,
            name,
            global: { port },
            plugins: [withStatus, local],
            ownPlugins: [Manager],
            config: { connectionManager: { persist: false, autostart: true } },
          }),
        )
      const [alice, ofAlice] = await boots('alice')
      const [bob, ofBob] = await boots('bob')
      try {
        await eventually(() => isConnected(alice, bob) && isConnected(bob, alice), {
          timeoutMs: 20_000,
          message: 'alice and bob are connected',
        })
        await eventually(() => routesTo(alice, bob).length === 1, { message: 'alice has heard of bob' })
        const [route] = routesTo(alice, bob)
        t.deepEqual([route?.id, route?.isLocal, route?.isStored], [bob.address, true, false])
        const { gossip } = alice.ssb as unknown as { gossip: Gossip['api'] }
        t.equal(gossip.get(bob.id)?.source, 'local')

        ofBob.switchOff()
        await bob.close()
        await eventually(() => !isConnected(alice, bob))
        t.equal(routesTo(alice, bob).length, 1, 'he may be back at any time')
        const sweep = ofAlice.intervals.find(({ fn, ms }) => ms === 5_000 && /gossip\.remove/.test(String(fn)))
        at(Date.now() + 11_000, () => sweep?.fn())
        t.deepEqual(routesTo(alice, bob), [], 'but is forgotten when ssb-local has not heard him for 10 s')
      } finally {
        ofAlice.switchOff()
        await closeAll(alice, bob)
      }
    })
    t.end()
  })
}

test('however quickly ssb-lan is started and stopped, no socket is left', async (t) => {
  await withLan(async () => {
    const stack = await bootStack({ version: 6, plugins: [withKeys, lan] })
    const made = scene({ plugins: { lan: stack.ssb.lan } })
    const sockets = () => process.getActiveResourcesInfo().filter((name) => /UDP/.test(name)).length
    try {
      for (let i = 0; i < 50; i++) {
        const stop = made.start(startLan)
        if (i % 2 === 0) await new Promise((resolve) => setImmediate(resolve))
        stop()
      }
      await eventually(() => sockets() === 0, { message: () => `${sockets()} sockets are left` })
      const stop = made.start(startLan)
      await eventually(() => sockets() === 2, { message: 'the next start listens' })
      stop()
      await eventually(() => sockets() === 0)
      t.deepEqual(made.lines, [], 'and nothing went wrong')
    } finally {
      await stack.close()
    }
  })
  t.end()
})

/** ssb-lan announces the private address; on secret-stack 8, which says '' where there is none, it asks for no other. */
function privately(port: number): object {
  const scope = ['device', 'local', 'private', 'public']
  return {
    incoming: { net: [{ scope, host: '127.0.0.1', port, transform: 'shs' }] },
    outgoing: { net: [{ transform: 'shs' }] },
  }
}

/** ssb-lan signs with what a database mounts. */
const withKeys = {
  version: '1.0.0',
  manifest: {},
  permissions: {},
  init: (_ssb: object, { keys }: { readonly keys: object }) => ({ keys }),
}

/** ssb-local adds to it; a database has it. */
const withStatus = {
  version: '1.0.0',
  manifest: { status: 'sync' },
  permissions: {},
  init: () => ({ status: () => ({}) }),
}

/** Runs `fn` as if it were that time. */
function at(time: number, fn: () => void): void {
  const { now } = Date
  Date.now = () => time
  try {
    fn()
  } finally {
    Date.now = now
  }
}
