/** Feeds that are stuck, seen from ssb-ebt: when it is asked, what is opened how, and that nothing is left behind. */
import pull = require('pull-stream')
import test = require('tape')

import { createReplicationScheduler } from '../../src/replication/plugin'
import { createStuckStreams } from '../../src/replication/stuck'
import { virtualClock } from '../../src/testing'
import { person } from '../support/manager'
import { PaperEbt, PaperFriends, paperSbot } from '../support/scheduler'

const SELF = '@m'
const PEER = '@z'
const TREE = 'ssb:feed/bendybutt-v1/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
const FEED = '@feed'

interface Status {
  readonly seq?: unknown
  readonly peers?: unknown
}

const stuckWith = (peer: string): Status => {
  const replicating = { rx: true, tx: false, sent: 1, requested: 0 }
  return { peers: { [peer]: { seq: 1, replicating } } }
}

function bench(options: { readonly peers?: readonly string[]; readonly db?: boolean } = {}) {
  const clock = virtualClock()
  const opened: string[] = []
  const asked: string[] = []
  const warnings: string[] = []
  const listeners = new Set<(message: unknown) => void>()
  const subscribe = (listener: (message: unknown) => void) => {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }
  const duplex = { source: pull.empty(), sink: pull.drain() }
  const open = (side: string, method: string) =>
    function (this: { id: string }, { version, format }: { version: number; format: string }) {
      opened.push(`${side} ${method} ${version} ${format} ${side === 'here' ? this.id : ''}`.trim())
      return duplex
    }
  const ebt = {
    status: stuckWith(PEER) as Status,
    peerStatus: (feed: string): Status => {
      asked.push(feed)
      return ebt.status
    },
    replicate: open('here', 'replicate'),
    replicateFormat: open('here', 'replicateFormat'),
  }
  const rpcs = new Set<{ readonly id: string; readonly ebt: object }>(
    (options.peers ?? [PEER]).map((id) => ({
      id,
      ebt: { replicate: open('there', 'replicate'), replicateFormat: open('there', 'replicateFormat') },
    })),
  )
  const sbot: Record<string, unknown> =
    options.db === false ? { ebt, post: subscribe } : { ebt, db: { onMsgAdded: subscribe } }
  const streams = createStuckStreams({
    sbot,
    self: SELF,
    clock,
    connections: () => rpcs,
    formatOf: (feed) => (feed === TREE ? 'bendybutt-v1' : 'classic'),
    debug: () => {},
    log: (message) => warnings.push(message),
  })
  const say = (): void => listeners.forEach((listener) => void listener({}))
  return { clock, ebt, sbot, rpcs, opened, asked, warnings, listeners, say, streams }
}

const CLASSIC = [`here replicate 3 classic ${PEER}`, 'there replicate 3 classic']

test('the stream with that neighbour begins anew, on both sides, as ssb-ebt opens it', (t) => {
  const { clock, opened, streams } = bench()
  streams.watch(FEED)
  clock.advance(5_900)
  t.deepEqual(opened, [], 'not at once')
  clock.advance(100)
  t.deepEqual(opened, CLASSIC)
  clock.advance(19_900)
  t.equal(opened.length, 2)
  const tree = bench()
  tree.streams.watch(TREE)
  tree.clock.advance(6_000)
  t.deepEqual(tree.opened, [`here replicateFormat 3 bendybutt-v1 ${PEER}`, 'there replicateFormat 3 bendybutt-v1'])
  t.end()
})

for (const db of [true, false])
  test(`looks and listens only while there are new feeds: ${db ? 'ssb-db2' : 'ssb-db'}`, (t) => {
    const { clock, ebt, asked, listeners, opened, say, streams } = bench({ db })
    t.deepEqual([clock.pending, listeners.size], [0, 0])
    ebt.status = { peers: {} }
    streams.watch(FEED)
    t.deepEqual([clock.pending, listeners.size], [1, 1])
    clock.advance(60_000)
    t.deepEqual([clock.pending, listeners.size], [0, 0])
    t.equal(asked.length, 1 + 29)
    ebt.status = stuckWith(PEER)
    streams.watch(FEED)
    for (let i = 0; i < 10; i++) {
      clock.advance(1_500)
      say()
    }
    t.deepEqual(opened, [], 'messages come')
    clock.advance(4_000)
    t.deepEqual(opened, CLASSIC)
    t.end()
  })

test('nobody is connected any more: nothing is left', (t) => {
  const { clock, listeners, rpcs, streams } = bench()
  streams.watch(FEED)
  rpcs.clear()
  clock.advance(2_000)
  t.deepEqual([clock.pending, listeners.size], [0, 0])
  t.end()
})

test('nothing after stop, and what is not wanted any more is left alone', (t) => {
  const { clock, asked, listeners, opened, streams } = bench()
  streams.watch(FEED)
  streams.forget(FEED)
  clock.advance(10_000)
  t.deepEqual([opened, asked.length, clock.pending], [[], 1, 0])
  streams.watch(FEED)
  streams.stop()
  streams.watch(FEED)
  clock.advance(10_000)
  t.deepEqual([opened, clock.pending, listeners.size], [[], 0, 0])
  t.end()
})

test('the machine slept, or was busy: what came meanwhile is read first', (t) => {
  for (const ms of [3_600_000, -3_600_000]) {
    const { clock, opened, streams } = bench()
    streams.watch(FEED)
    clock.advance(5_000)
    clock.jump(ms)
    clock.advance(1_000)
    t.deepEqual(opened, [])
    clock.advance(2_000)
    t.deepEqual(opened, CLASSIC)
  }
  t.end()
})

const NONSENSE: readonly unknown[] = [
  null,
  'x',
  {},
  { peers: null },
  { peers: { [PEER]: null } },
  { peers: { [PEER]: { seq: '1', replicating: { rx: true } } } },
  { peers: { [PEER]: { seq: 1, replicating: { rx: 'true' } } } },
  { peers: { [PEER]: { seq: 1 } } },
]
for (const status of NONSENSE)
  test(`ssb-ebt says ${JSON.stringify(status)}: nothing happens`, (t) => {
    const { clock, ebt, opened, warnings, streams } = bench()
    ebt.status = status as Status
    streams.watch(FEED)
    clock.advance(70_000)
    t.deepEqual([opened, warnings, clock.pending], [[], [], 0])
    t.end()
  })

test('whatever is missing or throws is no reason to fail', (t) => {
  const fail = (): never => {
    throw new Error('out of order')
  }
  const none = bench()
  none.sbot.ebt = {}
  none.streams.watch(FEED)
  t.equal(none.clock.pending, 0, 'an ssb-ebt that does not tell')
  const throwing = bench()
  throwing.ebt.peerStatus = fail
  throwing.sbot.db = { onMsgAdded: fail }
  throwing.streams.watch(FEED)
  throwing.clock.advance(70_000)
  t.deepEqual([throwing.opened, throwing.clock.pending], [[], 0])
  t.match(throwing.warnings.join(), /out of order/)
  const closed = bench()
  for (const rpc of closed.rpcs) (rpc.ebt as { replicate: unknown }).replicate = fail
  closed.streams.watch(FEED)
  closed.clock.advance(6_000)
  t.match(closed.warnings.join(), /classic: no stream to a neighbour: out of order/)
  t.end()
})

test('in the scheduler: feeds that are asked for while somebody is connected, until they are dropped or it closes', (t) => {
  const self = person('me').id
  const early = person('early').id
  const late = person('late').id
  const asked: string[] = []
  const listeners = new Set<unknown>()
  class TellingEbt extends PaperEbt {
    peerStatus = (id: string): object => {
      asked.push(id)
      return { id, peers: {} }
    }
  }
  const friends = new PaperFriends(self)
  const db = {
    onMsgAdded: (listener: unknown) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  const { sbot, emit, close } = paperSbot({ self, friends: friends.api, ebt: new TellingEbt(), plugins: { db } })
  const clock = virtualClock()
  const config = { replicationScheduler: { newFeedsAtOnce: null } }
  const scheduler = createReplicationScheduler({ sbot, config, clock })
  clock.advance(1_000)
  scheduler.request(early)
  clock.advance(1_000)
  t.equal(listeners.size, 0)
  emit('rpc:connect', { id: person('neighbour').id, on: () => {} }, true)
  scheduler.request(late)
  clock.advance(1_000)
  t.equal(listeners.size, 1)
  asked.splice(0)
  clock.advance(6_000)
  t.deepEqual(asked, [late, late, late])
  scheduler.request(late, false)
  clock.advance(2_000)
  t.deepEqual([asked.length, listeners.size], [3, 0])
  scheduler.request(late)
  clock.advance(1_000)
  t.equal(listeners.size, 1)
  close()
  t.deepEqual([listeners.size, clock.pending], [0, 0])
  t.end()
})
