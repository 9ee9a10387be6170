/** The rules of pub messages, on a virtual clock. pubs-stack.test.ts has the real databases. */
import test = require('tape')

import { startPubs } from '../../../src/adapters/discovery/pubs'
import { FakeStream, scene } from '../../support/discovery'
import { alice, bob, carol, dave, person } from '../../support/manager'

interface Message {
  readonly key: string
  readonly value: { readonly author: string; readonly content: { readonly type: 'pub'; readonly address: unknown } }
}

let written = 0
const pub = (address: unknown, author = dave.id): Message => ({
  key: `%${++written}`,
  value: { author, content: { type: 'pub', address } },
})

/** Messages, the newest last, in a database of either kind. */
class FakeLog {
  readonly live: FakeStream[] = []
  /** Reads of old messages that are under way, and items that were taken in all. */
  oldTaken = 0
  oldAborted = 0
  isReady = true

  constructor(readonly messages: Message[]) {}

  publish(...messages: Message[]): void {
    this.messages.push(...messages)
    for (const stream of this.live) if (!stream.isAborted) stream.push(...messages)
  }

  private readonly openOld = () => {
    const queue = [...this.messages].reverse()
    return (abort: unknown, cb: (end: unknown, item?: unknown) => void): void => {
      if (abort) {
        this.oldAborted++
        return cb(abort)
      }
      const next = queue.shift()
      if (!next) return cb(true)
      this.oldTaken++
      cb(null, next)
    }
  }

  private readonly openLive = () => {
    const stream = new FakeStream()
    this.live.push(stream)
    return stream.source
  }

  asDb1() {
    const messagesByType = (options: { readonly type: string; readonly live: boolean; readonly reverse?: boolean }) => {
      if (options.type !== 'pub') throw new Error(options.type)
      if (options.live) return this.openLive()
      if (!options.reverse) throw new Error('not the newest first')
      return this.openOld()
    }
    return { messagesByType, ready: () => this.isReady }
  }

  asDb2() {
    const named = (name: string) => () => name
    const operators = {
      where: (name: string) => name,
      type: (name: string) => name,
      live: named('live'),
      descending: named('descending'),
      sortByArrival: named('sortByArrival'),
      toPullStream: named('toPullStream'),
    }
    const query = (...parts: string[]) => {
      if (parts[0] !== 'pub') throw new Error(parts.join())
      if (parts.includes('live')) return this.openLive()
      if (!parts.includes('descending')) throw new Error('not the newest first')
      return this.openOld()
    }
    return { db: { operators, query } }
  }
}

const ME = carol.id

function begin(messages: Message[], config: object = {}, kind: 'asDb1' | 'asDb2' = 'asDb2', selfId?: string) {
  const database = new FakeLog(messages)
  const made = scene({ plugins: database[kind](), config, ...(selfId === undefined ? {} : { selfId }) })
  const start = () => made.start(startPubs)
  const stop = start()
  return { ...made, database, stop, again: start }
}

for (const kind of ['asDb1', 'asDb2'] as const) {
  test(`${kind}: old announcements are read a second after the start, new ones as they come`, (t) => {
    const { clock, routes, database, stop, manager } = begin([pub(alice.address)], {}, kind)
    t.equal(database.oldTaken + database.live.length, 0, 'not while everything starts')
    clock.advance(1_000)
    t.deepEqual(routes(), [alice.address])
    const [route] = manager.peer.get(alice.id)?.routes ?? []
    t.deepEqual([route?.source, route?.priority, route?.isStored], ['pub', 'LOW', true])
    database.publish(pub({ host: 'bob.example', port: 8008, key: bob.id }))
    t.deepEqual(routes(), [alice.address, bob.address].sort())
    stop()
    database.publish(pub(carol.address))
    t.equal(routes().length, 2)
    t.equal(clock.pending, 0)
    t.ok(database.live.every(({ isAborted }) => isAborted))
    t.end()
  })
}

test('ssb-db that still opens its indexes is asked again each second', (t) => {
  const database = new FakeLog([pub(alice.address)])
  database.isReady = false
  const { start, clock, routes } = scene({ plugins: database.asDb1() })
  const stop = start(startPubs)
  clock.advance(10_000)
  t.deepEqual(routes(), [])
  database.isReady = true
  clock.advance(1_000)
  t.deepEqual(routes(), [alice.address])
  stop()
  t.end()
})

for (const config of [
  { conn: { populatePubs: false } },
  { gossip: { autoPopulate: false } },
  { gossip: { pub: false } },
  { gossip: { global: false } },
  { offline: true },
  { global: { conn: { populatePubs: false } } },
]) {
  test(`${JSON.stringify(config)} switches it off`, (t) => {
    const { clock, routes, database } = begin([pub(alice.address)], config)
    clock.advance(60_000)
    t.deepEqual([routes(), database.oldTaken, clock.pending], [[], 0, 0])
    t.end()
  })
}

test('50 000 old messages are read in slices with a pause, and the same address is told once', (t) => {
  const pubs = Array.from({ length: 40 }, (_, i) => person(`pub${i}`).address)
  const messages = Array.from({ length: 50_000 }, (_, i) => pub(pubs[i % 40], person(`author${i % 500}`).id))
  const { clock, routes, database, manager } = begin(messages)
  let told = 0
  manager.internal.store.subscribe(({ type }) => {
    if (type === 'routes/added') told++
  })
  clock.advance(1_000)
  t.equal(database.oldTaken, 50, 'a slice')
  clock.advance(100)
  t.equal(database.oldTaken, 100, 'and the next after 100 ms')
  clock.advance(110_000)
  t.equal(database.oldTaken, 50_000)
  t.equal(routes().length, 40)
  t.equal(told, 40)
  t.equal(clock.pending, 0, 'no timer is left when all is read')
  t.end()
})

test('the newest come first, and no more are read than are taken', (t) => {
  const messages = Array.from({ length: 3_000 }, (_, i) => pub(person(`pub${i}`).address, person(`author${i}`).id))
  const { clock, routes, database } = begin(messages)
  clock.advance(1_000)
  t.ok(routes().includes(person('pub2999').address))
  clock.advance(60_000)
  t.equal(routes().length, 1_000)
  t.ok(database.oldTaken <= 1_001, `${database.oldTaken} read`)
  t.equal(database.oldAborted, 1)
  for (let i = 0; i < 2_000; i++) {
    database.publish(pub(person(`new${i}`).address, person(`author${i}`).id))
    if (i % 20 === 0) clock.advance(100)
  }
  clock.advance(10_000)
  t.equal(routes().length, 2_000, 'there is room for as many that are announced later, and an end to it')
  t.end()
})

test('nobody gets to name more than 32', (t) => {
  const flood = Array.from({ length: 500 }, (_, i) => pub(person(`x${i}`).address, bob.id))
  const { clock, routes } = begin([pub(alice.address), ...flood])
  clock.advance(10_000)
  t.equal(routes().length, 33)
  t.ok(routes().includes(alice.address))
  t.end()
})

test('a stranger does not send us into our own network', (t) => {
  const private_ = ['127.0.0.1', '192.168.1.1', '10.0.0.1', '[fe80::1]', 'localhost'].map((host) =>
    pub(alice.by('net', host)),
  )
  const { clock, routes } = begin([...private_, pub(`unix:/x~shs:${alice.key}`), pub(`net:a.example:1~noauth`)])
  clock.advance(10_000)
  t.deepEqual(routes(), [])
  t.end()
})

test('what we have announced ourselves is our own word: wherever it is, and with the priority of an invite', (t) => {
  const { clock, manager } = begin([pub(alice.by('net', '127.0.0.1'), ME), pub(bob.address)], {}, 'asDb2', ME)
  clock.advance(10_000)
  const of = (id: string) => {
    const peer = manager.peer.get(id)
    return [peer?.routes[0]?.source, peer?.priority]
  }
  t.deepEqual(
    [of(alice.id), of(bob.id)],
    [
      ['invite', 'MEDIUM'],
      ['pub', 'LOW'],
    ],
  )
  t.end()
})

test('what is dropped does not count: who names many private hosts can still name a pub', (t) => {
  const many = Array.from({ length: 100 }, (_, i) => pub(person(`x${i}`).by('net', `192.168.1.${i}`), bob.id))
  const { clock, routes } = begin([pub(alice.address, bob.id), ...many])
  clock.advance(10_000)
  t.deepEqual(routes(), [alice.address])
  t.end()
})

test('a second start reads what is new since, and not the rest again', (t) => {
  const messages = Array.from({ length: 1_000 }, () => pub(alice.address))
  const { clock, routes, database, stop, again } = begin(messages)
  clock.advance(10_000)
  t.equal(database.oldTaken, 1_000)
  stop()
  database.publish(pub(bob.address))
  const stopAgain = again()
  clock.advance(10_000)
  t.deepEqual(routes(), [alice.address, bob.address].sort())
  t.equal(database.oldTaken, 1_002, 'the new one, and the one by which it knows the rest')
  stopAgain()
  t.end()
})

test('a first read that was cut short is made up for, and one that failed', (t) => {
  const messages = [pub(alice.address), ...Array.from({ length: 500 }, () => pub(bob.address))]
  const { clock, routes, stop, again, database } = begin(messages)
  clock.advance(1_100)
  stop()
  t.equal(database.oldAborted, 1, 'the stream is aborted')
  t.deepEqual(routes(), [bob.address])
  clock.advance(60_000)
  t.deepEqual(routes(), [bob.address], 'nothing after the stop')
  again()
  clock.advance(10_000)
  t.deepEqual(routes(), [alice.address, bob.address].sort())

  let isBroken = true
  const failing = new FakeLog(messages)
  const plugins = failing.asDb1()
  const { messagesByType } = plugins
  plugins.messagesByType = (options) => {
    if (!isBroken || options.live) return messagesByType(options)
    const given: unknown[] = [messages[messages.length - 1]]
    return ((_abort: unknown, cb: (end: unknown, item?: unknown) => void) =>
      given.length > 0 ? cb(null, given.pop()) : cb(new Error('disk'))) as never
  }
  const made = scene({ plugins })
  const stopFailing = made.start(startPubs)
  made.clock.advance(5_000)
  stopFailing()
  isBroken = false
  made.start(startPubs)
  made.clock.advance(10_000)
  t.equal(made.routes().length, 2)
  t.end()
})

test('start and stop in quick turns open no stream at all', (t) => {
  const { clock, database, stop, again } = begin([pub(alice.address)])
  stop()
  for (let i = 0; i < 50; i++) {
    const end = again()
    clock.advance(500)
    end()
  }
  t.equal(database.live.length + database.oldTaken, 0)
  t.equal(clock.pending, 0)
  t.end()
})
