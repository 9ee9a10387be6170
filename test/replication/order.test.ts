/** The initial sync seen from ssb-ebt: the closest first, few at a time, and no feed waits that we have something of. */
import test = require('tape')

import { createReplicationScheduler } from '../../src/replication/plugin'
import { virtualClock } from '../../src/testing'
import { person } from '../support/manager'
import { type Cb, FOLLOW, type Graph, PaperEbt, PaperFriends, paperSbot, readNow } from '../support/scheduler'

const { id: me } = person('me')
const SETTLE_MS = 10_000
const FRIENDS = Array.from({ length: 3 }, (_, i) => person(`friend ${i}`).id)
const FOAFS = Array.from({ length: 60 }, (_, i) => person(`${i} foaf`).id)
const GRAPH: Graph = {
  // Named before the friends are: the order of the graph must not matter.
  [FRIENDS[0] as string]: Object.fromEntries(FOAFS.map((id) => [id, FOLLOW])),
  [me]: Object.fromEntries(FRIENDS.map((id) => [id, FOLLOW])),
}

/** An ssb-ebt that has messages, and neighbours who offer some. */
class SupplyEbt extends PaperEbt {
  readonly sequences: Record<string, number> = {}
  readonly offers: Record<string, number> = {}
  isReady = true
  private readonly waiting: Cb[] = []

  clock = (_: object, cb: Cb): void => {
    if (this.isReady) cb(null, this.sequences)
    else this.waiting.push(cb)
  }

  ready(): void {
    this.isReady = true
    for (const cb of this.waiting.splice(0)) cb(null, this.sequences)
  }

  peerStatus = (id: string): object => ({
    id,
    seq: this.sequences[id],
    peers: this.offers[id] === undefined ? {} : { somebody: { seq: this.offers[id] } },
  })
}

function boot(options: { newFeedsAtOnce?: number | null; ready?: boolean; has?: readonly string[] } = {}) {
  const ebt = new SupplyEbt()
  ebt.isReady = options.ready !== false
  for (const id of options.has ?? []) ebt.sequences[id] = 5
  const friends = new PaperFriends(me)
  friends.load(GRAPH)
  const stack = paperSbot({ self: me, ebt, friends: friends.api })
  const clock = virtualClock()
  const { newFeedsAtOnce = 10 } = options
  const config = { replicationScheduler: { newFeedsAtOnce } }
  const scheduler = createReplicationScheduler({ sbot: stack.sbot, config, clock })
  const connect = (): (() => void) => {
    const closed: (() => void)[] = []
    const rpc = { id: person('neighbour').id, on: (_: string, fn: () => void) => closed.push(fn) }
    stack.emit('rpc:connect', rpc, true)
    return () => {
      for (const fn of closed) fn()
    }
  }
  const asked = (): string[] => ebt.take().flatMap(([method, id]) => (method === 'request' ? [id] : []))
  return { ebt, scheduler, clock, connect, asked, friends, close: stack.close }
}

test('nobody is connected: ourselves, friends, and as many others as the limit allows; the rest waits', (t) => {
  const { asked, clock, scheduler } = boot()
  clock.advance(SETTLE_MS)
  const first = asked()
  t.deepEqual(first.slice(0, 4), [me, ...FRIENDS])
  t.equal(first.length, 1 + 10)
  clock.advance(600_000)
  t.deepEqual(asked(), [], 'time alone changes nothing')
  t.deepEqual(scheduler.status().queue, { undecided: 0, waiting: 53, onTheirWay: 10 })
  t.equal(clock.pending, 0, 'and costs nothing')
  const waiting = FOAFS.find((id) => scheduler.explain(id).isWaiting) as string
  t.match(scheduler.explain(waiting).text, /waits until closer feeds have arrived: it is 2 hops away/)
  t.end()
})

test('as feeds arrive the next ones are asked for, until none waits', (t) => {
  const { asked, clock, connect, ebt, scheduler } = boot()
  clock.advance(SETTLE_MS)
  for (const id of [...FRIENDS, ...FOAFS]) ebt.offers[id] = 3
  connect()
  let onTheirWay = asked().slice(1)
  const all = [...onTheirWay]
  while (onTheirWay.length > 0) {
    for (const id of onTheirWay) ebt.sequences[id] = 3
    clock.advance(250)
    onTheirWay = asked()
    t.ok(onTheirWay.length <= 10, `${onTheirWay.length} at a time`)
    all.push(...onTheirWay)
  }
  t.deepEqual(all.sort(), [...FRIENDS, ...FOAFS].sort(), 'each once')
  t.equal(scheduler.status().queue.waiting, 0)
  clock.advance(SETTLE_MS)
  t.equal(clock.pending, 0, 'no timer is left')
  t.end()
})

test('what nobody offers gives up its place', (t) => {
  const { asked, clock, connect } = boot()
  clock.advance(SETTLE_MS)
  asked()
  connect()
  clock.advance(900)
  t.deepEqual(asked(), [])
  clock.advance(30_000)
  t.equal(asked().length, 53, 'all have been asked for')
  t.end()
})

test('the neighbour goes away: the rest waits for the next one', (t) => {
  const { asked, clock, connect } = boot()
  clock.advance(SETTLE_MS)
  asked()
  connect()()
  clock.advance(SETTLE_MS)
  t.deepEqual(asked(), [])
  t.equal(clock.pending, 0)
  connect()
  clock.advance(1_250)
  t.ok(asked().length >= 10)
  t.end()
})

test('feeds that we have something of do not wait, and take no place', (t) => {
  const has = FOAFS.slice(0, 40)
  const { asked, clock } = boot({ has })
  clock.advance(SETTLE_MS)
  const first = asked()
  t.ok(has.every((id) => first.includes(id)))
  t.equal(first.length, 1 + 40 + 10)
  t.end()
})

test('nor once ssb-ebt has read what there is', (t) => {
  const has = FOAFS.slice(0, 40)
  const { asked, clock, ebt } = boot({ has, ready: false })
  clock.advance(SETTLE_MS)
  t.equal(asked().length, 1 + 10)
  ebt.ready()
  clock.advance(10)
  t.ok(asked().length >= 40 - 10)
  t.end()
})

test('somebody who is unfollowed while waiting is never asked for, and never dropped: ssb-ebt has not heard of him', (t) => {
  const { asked, clock, connect, ebt, friends, scheduler } = boot()
  clock.advance(SETTLE_MS)
  asked()
  const heard = readNow<{ id: string; wish: string }>(scheduler.feeds({ old: false }))
  const waiting = FOAFS.filter((id) => scheduler.explain(id).isWaiting)
  friends.say(FRIENDS[0] as string, waiting[0] as string, -2)
  clock.advance(SETTLE_MS)
  connect()
  clock.advance(60_000)
  const later = ebt.take().filter(([, id]) => id === waiting[0])
  t.deepEqual(
    later.filter(([method, , isWanted]) => method === 'request' && isWanted),
    [],
  )
  t.ok(
    heard.some(({ id, wish }) => id === waiting[0] && wish !== 'want'),
    'who follows the feeds hears of it',
  )
  t.end()
})

test('newFeedsAtOnce: null asks for all, at once and later on', (t) => {
  const all = boot({ newFeedsAtOnce: null })
  all.clock.advance(SETTLE_MS)
  t.equal(all.asked().length, 64)
  const some = boot()
  some.clock.advance(SETTLE_MS)
  some.asked()
  some.scheduler.reconfigure({ newFeedsAtOnce: null })
  some.clock.advance(SETTLE_MS)
  t.equal(some.asked().length, 53)
  t.end()
})

test('closed while some wait: nothing comes after', (t) => {
  const { asked, clock, connect, close } = boot()
  clock.advance(SETTLE_MS)
  connect()
  close()
  asked()
  clock.advance(60_000)
  t.deepEqual(asked(), [])
  t.equal(clock.pending, 0)
  t.end()
})
