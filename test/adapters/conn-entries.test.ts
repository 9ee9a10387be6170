/** The entry `/conn` and its parts on both real stacks: names, orders of loading, one manager, and nothing left behind. */
import { existsSync, readdirSync } from 'fs'
import { homedir } from 'os'

import test = require('tape')

import conn = require('../../src/conn')
import Compat = require('../../src/conn/compat')
import Core = require('../../src/conn/core')
import Scheduler = require('../../src/conn/scheduler')
import Manager = require('../../src/index')

import type { ConnectionManager } from '../../src/manager'
import { virtualClock } from '../../src/testing'
import { eventually } from '../support/eventually'
import { person } from '../support/manager'
import { bootStack, closeAll, STACK_VERSIONS, type Stack, type StackOptions } from '../support/stack'

type Api = Pick<ConnectionManager, 'peer' | 'connections'>
interface Scheduling {
  start(): unknown
  stop(): unknown
}

const manager = (stack: Stack): Api => stack.ssb.connectionManager as Api
const connOf = (stack: Stack): Scheduling => stack.ssb.conn as Scheduling
const gossip = (stack: Stack) => stack.ssb.gossip as { peers(): { key: string }[]; add(address: string): unknown }
const modeOf = (stack: Stack): string => manager(stack).connections.status().mode

const QUIET = { conn: { autostart: false } }

/** A plugin of somebody else that puts an API on the stack. */
function mounting(name: string, api: object) {
  return {
    init: (sbot: Record<string, unknown>): void => {
      sbot[name] = api
    },
  }
}

/** What is printed loudly while `work` runs. */
async function shouted(work: () => unknown): Promise<string[]> {
  const lines: string[] = []
  const { error } = console
  console.error = (...words: unknown[]) => {
    if (String(words[0]).startsWith('sbot-connection-manager:')) lines.push(String(words[0]))
  }
  try {
    await work()
    // What was loaded later is looked at when everything is loaded.
    await new Promise((resolve) => setImmediate(resolve))
  } finally {
    console.error = error
  }
  return lines
}

test('the entry is an array of plugins with exactly the names that other plugins ask for', (t) => {
  t.deepEqual(
    conn.map(({ name }) => name),
    ['connectionManager', 'conn', 'connScheduler', 'gossip'],
  )
  for (const part of conn) t.equal(typeof part.init, 'function', part.name)
  t.deepEqual([conn[1], conn[2], conn[3]], [Core, Scheduler, Compat], 'the parts are those of the sub-modules')
  t.end()
})

for (const version of STACK_VERSIONS) {
  const name = `secret-stack ${version}`
  const boot = (who: string, options: Partial<StackOptions> = {}): Promise<Stack> =>
    bootStack({ version, name: who, ownPlugins: [conn as unknown as object], config: QUIET, ...options })

  test(`${name}: it starts by itself, unless the config says otherwise, and then only when told to`, async (t) => {
    const started = await boot('started', { config: {} })
    await eventually(() => modeOf(started) === 'on', { message: 'it is on' })
    await started.close()
    for (const config of [
      { conn: { autostart: false } },
      { conn: { autostart: 'false' } },
      { connectionManager: { autostart: false } },
    ]) {
      const stack = await boot('manual', { config })
      await new Promise(
        (resolve) => (stack.ssb as unknown as NodeJS.EventEmitter).emit('test') || setImmediate(resolve),
      )
      t.equal(modeOf(stack), 'off', JSON.stringify(config))
      const promise = connOf(stack).start() as Promise<unknown>
      await promise
      await eventually(() => modeOf(stack) === 'on', { message: 'started by hand' })
      t.equal((connOf(stack).stop() as { then?: unknown } | undefined)?.then, undefined, 'stop gives no promise')
      t.equal(modeOf(stack), 'off')
      connOf(stack).stop()
      await stack.close()
    }
    const offline = await boot('offline', { config: {}, global: { offline: true } })
    t.equal(modeOf(offline), 'off', 'offline: nothing starts by itself')
    await offline.close()
  })

  test(`${name}: plugins that need conn and gossip by name find them`, async (t) => {
    const needy = {
      name: 'needy',
      version: '1.0.0',
      needs: ['conn', 'gossip', 'connScheduler'],
      init: () => ({ ok: () => true }),
    }
    const stack = await boot('needed', { ownPlugins: [...(conn as unknown as object[]), needy] })
    t.ok(stack.ssb.needy)
    await stack.close()
  })

  test(`${name}: the plain plugin and /conn in one stack share one manager, whichever comes first`, async (t) => {
    const bob = await boot('bob')
    for (const ownPlugins of [
      [Manager, ...(conn as unknown as object[])],
      [...(conn as unknown as object[]), Manager],
    ] as object[][]) {
      let stack!: Stack
      const lines = await shouted(async () => {
        stack = await boot('both', { ownPlugins })
      })
      t.deepEqual(lines, [], 'no name is disputed')
      gossip(stack).add(bob.address)
      t.deepEqual(
        manager(stack)
          .peer.list()
          .map(({ id }) => id),
        [bob.id],
      )
      connOf(stack).start()
      await eventually(() => manager(stack).peer.get(bob.id)?.connection.status === 'connected', { message: 'dialed' })
      t.equal((stack.ssb.peers as Record<string, unknown[]>)[bob.id]?.length, 1, 'one connection')
      t.deepEqual(
        gossip(stack)
          .peers()
          .map(({ key }) => key),
        [bob.id],
      )
      await stack.close()
    }
    await bob.close()
  })

  test(`${name}: whoever takes a name of ours later is found and named, loudly`, async (t) => {
    for (const taken of ['conn', 'gossip']) {
      const later = mounting(taken, { db: () => ({}), help: () => ({}), ping: () => {} })
      const lines = await shouted(async () => {
        const stack = await boot('robbed', { ownPlugins: [...(conn as unknown as object[]), later] })
        await stack.close()
      })
      t.equal(lines.length, 1, taken)
      t.match(String(lines[0]), new RegExp(`sbot\\.${taken}`))
    }
  })

  test(`${name}: the table lies where the config says, and nowhere else`, async (t) => {
    const home = `${homedir()}/.ssb`
    const before = existsSync(home) ? readdirSync(home) : null
    const stack = await boot('folder')
    gossip(stack).add(`net:pub.example.com:8008~shs:${'A'.repeat(43)}=`)
    await eventually(() => existsSync(`${stack.path}/connection-manager.json`), { message: 'the table is written' })
    await stack.close()
    t.deepEqual(existsSync(home) ? readdirSync(home) : null, before, 'nothing in the home folder')
  })

  test(`${name}: gossip.connections is how many slots net has, where maxByType does not say it`, async (t) => {
    const rows: [Record<string, unknown>, number][] = [
      [{ gossip: { connections: 7 } }, 7],
      [{ gossip: { connections: '0' } }, 0],
      [{ gossip: { connections: 7 }, connectionManager: { maxByType: { net: 4 } } }, 4],
      [{ gossip: { connections: 7 }, connectionManager: { maxByType: { ws: 4 } } }, 7],
      [{ gossip: { connections: 'many' } }, 3],
    ]
    for (const [config, net] of rows) {
      const stack = await boot('slots', { config: { ...QUIET, ...config } })
      t.equal(manager(stack).connections.status().classes.net?.max, net, JSON.stringify(config))
      await stack.close()
    }
  })

  test(`${name}: 50 times start and stop leave no timer, listener or poll behind`, async (t) => {
    const bob = await boot('bob')
    const stack = await boot('cycles')
    gossip(stack).add(bob.address)
    const emitter = stack.ssb as unknown as NodeJS.EventEmitter
    const timers = () => process.getActiveResourcesInfo().filter((each) => each === 'Timeout').length
    const listeners = () => emitter.eventNames().reduce((sum, event) => sum + emitter.listenerCount(event), 0)
    const settled = async () => {
      connOf(stack).start()
      await eventually(() => manager(stack).peer.get(bob.id)?.connection.status === 'connected', { message: 'up' })
      connOf(stack).stop()
      await eventually(() => manager(stack).peer.get(bob.id)?.connection.status === 'idle', { message: 'down' })
    }
    await settled()
    const before = { timers: timers(), listeners: listeners() }
    for (let i = 0; i < 50; i++) {
      connOf(stack).start()
      if (i % 7 === 0) await new Promise((resolve) => setImmediate(resolve))
      connOf(stack).stop()
    }
    await settled()
    // Sockets and streams of the stacks themselves wind down in their own time.
    await eventually(() => timers() <= before.timers && listeners() <= before.listeners, {
      message: () =>
        `${JSON.stringify({ timers: timers(), listeners: listeners() })}, before ${JSON.stringify(before)}`,
    })
    t.equal(listeners(), before.listeners)
    await closeAll(stack, bob)
  })
}

test('a name that another plugin holds is an error at the start', (t) => {
  for (const [taken, part] of [
    ['conn', Core],
    ['gossip', Compat],
  ] as const) {
    const stack = { [taken]: { ping: () => {} }, connect: () => {} }
    t.throws(() => part.init(stack, QUIET), { code: 'ERR_NAME_TAKEN', message: new RegExp(`sbot\\.${taken}`) })
  }
  t.end()
})

test('nobody is dialed before the social graph is known; nobody waits longer than two seconds for it; stop calls it off', (t) => {
  for (const isAnswered of [true, false]) {
    const clock = virtualClock()
    const dialed: string[] = []
    let answer: ((error: null, hops: object) => void) | null = null
    const [blocked, other] = [person('alice'), person('bob')]
    const stack = {
      id: `@${'B'.repeat(43)}=.ed25519`,
      connect: (address: string) => void dialed.push(address),
      friends: {
        hopStream: () => (abort: unknown, cb: (end: unknown) => void) => void (abort && cb(abort)),
        hops: (...args: unknown[]) => {
          answer = args[args.length - 1] as typeof answer
        },
      },
    }
    const config = { connectionManager: { clock } }
    const scheduler = new Scheduler(stack, config)
    const { add } = new Compat(stack, config)
    for (const each of [blocked, other]) add(each.address, 'manual')
    clock.flush()
    scheduler.start()
    scheduler.stop()
    clock.advance(60_000)
    t.deepEqual(dialed, [], 'called off')
    scheduler.start()
    scheduler.start()
    clock.advance(1_000)
    t.deepEqual(dialed, [])
    if (isAnswered)
      (answer as unknown as (error: null, hops: object) => void)(null, { [stack.id]: 0, [blocked.id]: -1 })
    clock.advance(isAnswered ? 10 : 1_000)
    t.deepEqual(
      dialed.sort(),
      isAnswered ? [other.address] : [blocked.address, other.address],
      `answered: ${isAnswered}`,
    )
    scheduler.stop()
  }
  t.end()
})

test('each part can be called with new and a bare object, and they share one manager', async (t) => {
  const dialed: string[] = []
  const bare = {
    id: `@${'B'.repeat(43)}=.ed25519`,
    connect: (address: string, cb: (error: Error) => void) => {
      dialed.push(address)
      cb(new Error('nobody there'))
    },
  }
  const core = new Core(bare, { conn: { autostart: false } }) as unknown as Scheduling
  const scheduler = new Scheduler(bare, {})
  const compat = new Compat(bare, {})
  Object.assign(bare, { conn: core, connScheduler: scheduler })
  t.equal(new Core(bare), core, 'the same again')
  compat.add(`net:pub.example.com:8008~shs:${'A'.repeat(43)}=`)
  t.equal(compat.peers().length, 1)
  await (core.start() as Promise<unknown>)
  await eventually(() => dialed.length > 0, { message: 'dialed' })
  core.stop()
  t.end()
})
