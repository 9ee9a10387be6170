/**
 * The manager's initial sync by the replication scheduler's own progress, on real stacks: a fresh peer with 400 feeds at two
 * hops fetches them from one peer, goes on with another when that one freezes, and opens the other slots afterwards.
 */
import { cpSync, mkdtempSync, rmSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import pull = require('pull-stream')

import { generate } from 'ssb-keys'

import test = require('tape')

import Manager = require('../../src/index')
import scheduler = require('../../src/replication-scheduler')

import type { ReplicationProgress } from '../../src/replication/progress'
import { type Collected, collect, eventually } from '../support/eventually'
import { type ServingPeer, startServingPeer } from '../support/serving-peer'
import { ask, bootStack, follow, type Stack, vectorClock } from '../support/stack'

/** The source follows these, and has what they say. */
const FEEDS = 400
const MESSAGES = 3
/** With the source's own feed and the one message of the fresh peer. */
const TOTAL = FEEDS * MESSAGES + FEEDS + 1

// ---- peers that serve ---------------------------------------------------------------------------------------------------------

const root = mkdtempSync(join(tmpdir(), 'initial-sync-'))
const open: Stack[] = []
let shs = ''

/** A folder with the source's key and everything that it has. */
async function build(path: string): Promise<string> {
  const source = await bootStack({ version: 6, path, withDb: true, keep: true })
  shs = source.shs
  const say = (keys: object, content: object) => ask(source.ssb, 'db.create', { keys, feedFormat: 'classic', content })
  const others = Array.from({ length: FEEDS }, () => generate())
  for (let i = 0; i < MESSAGES; i++) await Promise.all(others.map((keys) => say(keys, { type: 'post', text: `${i}` })))
  for (const { id } of others) await follow(source, id)
  await source.close()
  return source.id
}

// ---- the fresh peer -------------------------------------------------------------------------------------------------------------

interface Fresh {
  readonly stack: Stack
  readonly manager: Manager.ConnectionManager
  readonly sync: Collected<Manager.SyncProgress>
  readonly whole: Collected<ReplicationProgress>
  /** The peers that the manager has asked the scheduler about. */
  readonly asked: readonly unknown[]
}

async function bootFresh(friend: string): Promise<Fresh> {
  const config = { connectionManager: { persist: false } }
  const ownPlugins = [Manager, scheduler]
  const stack = await bootStack({ version: 6, name: 'fresh', shs, withDb: 'unrequested', ownPlugins, config })
  open.push(stack)
  await follow(stack, friend)
  const manager = stack.ssb.connectionManager as Manager.ConnectionManager
  const api = stack.ssb.replicationScheduler as {
    progress: (options?: { peer: string }) => pull.Source<ReplicationProgress>
  }
  const { progress } = api
  const asked: string[] = []
  api.progress = (options) => {
    if (options) asked.push(options.peer)
    return progress(options)
  }
  return { stack, manager, sync: collect(manager.initialSync.progress() as never), whole: collect(progress()), asked }
}

async function bystander(name: string): Promise<Stack> {
  const stack = await bootStack({ version: 6, name, shs })
  open.push(stack)
  return stack
}

const last = <T>({ items }: Collected<T>): T => items[items.length - 1] as T

async function caughtUp({ sync }: Fresh): Promise<void> {
  await eventually(() => last(sync).phase === 'caughtUp', {
    timeoutMs: 40_000,
    message: () => `caught up: ${JSON.stringify(sync.items.slice(-5))}`,
  })
}

async function total({ stack }: Fresh): Promise<number> {
  return Object.values(await vectorClock(stack)).reduce((sum, each) => sum + each, 0)
}

function connectedTo({ manager }: Fresh): string[] {
  return manager.peer.list().flatMap(({ id, connection }) => (connection.status === 'connected' ? [id] : []))
}

/** The most that were connected at a time while the sync ran. */
function mostAtATime(fresh: Fresh): () => number {
  const up = new Set<string>()
  let most = 0
  pull(
    fresh.manager.connections.changes() as never,
    pull.drain(
      ({ type, peer }: Manager.ConnectionChange) => {
        if (type === 'connected') up.add(peer)
        if (type === 'disconnected') up.delete(peer)
        if (last(fresh.sync).phase !== 'caughtUp') most = Math.max(most, up.size)
      },
      () => {},
    ),
  )
  return () => most
}

let source: ServingPeer
let second: ServingPeer

test('a fresh peer fetches 400 feeds from one peer; it ends by itself, and the other slots open afterwards', async (t) => {
  const began = Date.now()
  const id = await build(join(root, 'source'))
  cpSync(join(root, 'source'), join(root, 'second'), { recursive: true })
  rmSync(join(root, 'second', 'secret'))
  rmSync(join(root, 'second', 'ebt'), { recursive: true, force: true })
  const serving = ['source', 'second'].map((name) =>
    startServingPeer({ path: join(root, name), shs, friend: id, feeds: FEEDS }),
  )
  ;[source, second] = (await Promise.all(serving)) as [ServingPeer, ServingPeer]
  t.comment(`the peers are up after ${Date.now() - began} ms`)

  const fresh = await bootFresh(source.id)
  const others = await Promise.all([bystander('one'), bystander('two')])
  const most = mostAtATime(fresh)
  fresh.manager.peer.addRoute({ address: source.address, priority: 'HIGH' })
  for (const { address } of others) fresh.manager.peer.addRoute({ address })
  t.deepEqual(
    { phase: last(fresh.whole).phase, caughtUp: last(fresh.whole).caughtUp, want: last(fresh.whole).want },
    { phase: 'waiting', caughtUp: false, want: null },
    'nobody is connected: that is not done',
  )
  const startedAt = Date.now()
  fresh.manager.initialSync.start()
  fresh.manager.connections.start()
  await caughtUp(fresh)
  t.comment(`caught up after ${Date.now() - startedAt} ms`)
  t.deepEqual(last(fresh.sync), { phase: 'caughtUp', peer: source.id, have: TOTAL, want: TOTAL })
  t.deepEqual(fresh.asked, [source.id], 'by the word of the scheduler')
  t.equal(await total(fresh), TOTAL, 'and it is all there')
  t.equal(most(), 1, 'one connection at a time')
  await eventually(() => connectedTo(fresh).length === 3, { timeoutMs: 15_000, message: 'the other slots open' })
  t.equal(fresh.manager.connections.status().mode, 'on')

  const wholes = fresh.whole.items
  t.ok(
    wholes.some((each) => (each.rate ?? 0) > 0),
    'the rate was seen',
  )
  t.deepEqual(last(fresh.whole).own, { have: 1, known: 0 }, 'nobody else has our own feed')
  t.ok(
    wholes.every((each) => !each.caughtUp || each.have === TOTAL),
    'at no time was less taken for all',
  )
  await fresh.stack.close()
  t.equal(fresh.whole.end, true, 'the source ends with the stack')
  for (const each of others) await each.close()
  t.end()
})

test('when the peer freezes in the middle, the sync goes on with another', async (t) => {
  const fresh = await bootFresh(source.id)
  const other = await bystander('other')
  const most = mostAtATime(fresh)
  for (const { address } of [source, second]) fresh.manager.peer.addRoute({ address, priority: 'HIGH' })
  fresh.manager.peer.addRoute({ address: other.address })
  fresh.manager.initialSync.start()
  fresh.manager.connections.start()
  const { peerStatus } = fresh.stack.ssb.ebt as { peerStatus: (feed: string) => { seq?: number } }
  await eventually(() => (peerStatus(source.id).seq ?? 0) >= 100, {
    everyMs: 1,
    timeoutMs: 15_000,
    message: 'a part of the first feed is here',
  })
  const frozen = [source, second].find(({ id }) => connectedTo(fresh).includes(id))
  frozen?.process.kill('SIGSTOP')
  const frozenAt = Date.now()
  const before = await total(fresh)
  t.ok(before > 100 && before < TOTAL, `${before} messages had come`)
  await eventually(() => fresh.sync.items.some((each) => each.phase === 'stalled'), {
    timeoutMs: 25_000,
    message: () => `stalled: ${JSON.stringify(fresh.sync.items)} ${JSON.stringify(fresh.whole.items.slice(-3))}`,
  })
  const stalledMs = Date.now() - frozenAt
  t.ok(stalledMs >= 9_500, `stalled after ${stalledMs} ms, and not before`)
  await caughtUp(fresh)
  t.comment(`caught up ${Date.now() - frozenAt} ms after the freeze`)
  t.deepEqual(
    last(fresh.sync),
    { phase: 'caughtUp', peer: frozen === source ? second.id : source.id, have: TOTAL, want: TOTAL },
    'with the other one',
  )
  t.deepEqual(fresh.asked, [frozen?.id, last(fresh.sync).peer], 'by the word of the scheduler on each')
  t.equal(await total(fresh), TOTAL, 'it has everything')
  t.equal(most(), 1, 'one connection at a time')
  await eventually(() => connectedTo(fresh).includes(other.id), { timeoutMs: 15_000, message: 'the other slots open' })
  t.end()
})

// Here and not in the tests: what fails before its end must not keep the file from ending.
test.onFinish(() => {
  source?.kill()
  second?.kill()
  for (const stack of open) void stack.close()
})
// First in line: tape ends the process in its own listener.
process.prependListener('exit', () => rmSync(root, { recursive: true, force: true }))
