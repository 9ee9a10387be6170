/**
 * An initial sync on real stacks (secret-stack 6.4, ssb-db2, ssb-ebt, ssb-friends): a fresh peer fetches a source's feeds and
 * those that it follows; a source that freezes is left for the next.
 */
import { generate } from 'ssb-keys'

import test = require('tape')

import Manager = require('../../src/index')

import { flaky } from '../support/bad-servers'
import { type Collected, collect, eventually } from '../support/eventually'
import { ask, bootStack, connect, follow, type Stack, vectorClock } from '../support/stack'

const FEEDS = 40
const MESSAGES = 20
/** The source's own feed has a follow for each of the others, too; the fresh peer's has one. */
const WANTED = FEEDS * MESSAGES + (FEEDS - 1) + 1

function managerOf(stack: Stack): Manager.ConnectionManager {
  return stack.ssb.connectionManager as Manager.ConnectionManager
}

const open: Stack[] = []

async function boot(name: string): Promise<Stack> {
  const config = { connectionManager: { persist: false } }
  const stack = await bootStack({ version: 6, name, withDb: true, ownPlugins: [Manager], config })
  open.push(stack)
  return stack
}

/** A stack that follows 39 feeds and has all their messages. */
async function bootSource(): Promise<Stack> {
  const source = await boot('source')
  const write = async (keys: object): Promise<void> => {
    for (let i = 0; i < MESSAGES; i++)
      await ask(source.ssb, 'db.create', { keys, feedFormat: 'classic', content: { type: 'post', text: `${i}` } })
  }
  const others = Array.from({ length: FEEDS - 1 }, () => generate())
  await Promise.all([...others, source.keys].map(write))
  for (const { id } of others) await follow(source, id)
  return source
}

async function total(stack: Stack): Promise<number> {
  return Object.values(await vectorClock(stack)).reduce((sum, each) => sum + each, 0)
}

function progressOf(stack: Stack): Collected<Manager.SyncProgress> {
  return collect(managerOf(stack).initialSync.progress() as never)
}

function last(progress: Collected<Manager.SyncProgress>): Manager.SyncProgress {
  return progress.items[progress.items.length - 1] as Manager.SyncProgress
}

async function caughtUp(progress: Collected<Manager.SyncProgress>): Promise<void> {
  await eventually(() => last(progress).phase === 'caughtUp', {
    timeoutMs: 30_000,
    message: () => `caught up: ${JSON.stringify(progress.items)}`,
  })
}

let source: Stack

test('a fresh peer fetches everything, says how far it is, and the sync ends by itself', async (t) => {
  source = await bootSource()
  const fresh = await boot('fresh')
  await follow(fresh, source.id)
  const manager = managerOf(fresh)
  const progress = progressOf(fresh)
  manager.peer.addRoute({ address: source.address, priority: 'HIGH' })
  manager.connections.start()
  const startedAt = Date.now()
  manager.initialSync.start()
  await caughtUp(progress)
  t.comment(`caught up after ${Date.now() - startedAt} ms`)
  t.deepEqual(last(progress), { phase: 'caughtUp', peer: source.id, have: WANTED, want: WANTED })
  t.equal(await total(fresh), WANTED, 'and it is all there')
  const haves = progress.items.flatMap(({ have }) => (have === null ? [] : [have]))
  t.deepEqual(
    haves,
    [...haves].sort((a, b) => a - b),
    'it grows',
  )
  t.ok(new Set(haves).size >= 2, `in steps: ${haves.join(', ')}`)
  t.equal(manager.connections.status().mode, 'on', 'the mode from before')
  t.equal(manager.peer.get(source.id)?.connection.status, 'connected', 'in which this connection has a slot')
  await fresh.close()
  t.end()
})

test('a source that freezes has stalled: the sync goes on with the second peer', async (t) => {
  const second = await boot('second')
  await follow(second, source.id)
  await connect(second, source.address)
  await eventually(async () => (await total(second)) === WANTED, {
    timeoutMs: 15_000,
    message: 'the second has it all',
  })

  const fresh = await boot('fresh')
  await follow(fresh, source.id)
  const manager = managerOf(fresh)
  const fronts = new Map([
    [source.id, await flaky(source)],
    [second.id, await flaky(second)],
  ])
  const progress = progressOf(fresh)
  for (const { address } of fronts.values()) manager.peer.addRoute({ address, priority: 'HIGH' })
  manager.initialSync.start()
  await eventually(() => last(progress).phase === 'syncing', { everyMs: 1, timeoutMs: 15_000, message: 'connected' })
  const frozen = last(progress).peer
  fronts.get(frozen ?? '')?.freeze()
  const frozenAt = Date.now()
  await eventually(() => progress.items.some((each) => each.phase === 'stalled'), {
    timeoutMs: 20_000,
    message: 'stalled',
  })
  const stalledMs = Date.now() - frozenAt
  t.ok(stalledMs >= 11_500 && stalledMs < 18_000, `after ${stalledMs} ms`)
  await caughtUp(progress)
  t.comment(`caught up ${Date.now() - frozenAt} ms after the freeze`)
  t.notEqual(last(progress).peer, frozen, 'with the other one')
  t.equal(await total(fresh), WANTED, 'it has everything')
  t.equal(manager.connections.status().mode, 'off', 'the mode from before')
  await eventually(() => manager.peer.list().every(({ connection }) => connection.status === 'idle'), {
    message: 'in which nothing is connected',
  })
  for (const front of fronts.values()) await front.close()
  t.end()
})

// Here and not in the tests: what fails before its end must not keep the file from ending.
test.onFinish(() => {
  for (const stack of open) void stack.close()
})
