/** When the manager counts as busy, on a virtual clock, with either kind of database. */
import test = require('tape')

import { watchDownloads } from '../../src/adapters/downloads'
import { scene } from '../support/discovery'
import { alice, bob, FIRST_ID, SECOND } from '../support/manager'

/** A value that can be listened to, as obz and obv have it. */
class Observable<T> {
  readonly listeners = new Set<(value: T) => unknown>()
  constructor(public value: T) {}

  readonly listen = Object.defineProperty(
    (listener: (value: T) => unknown, isImmediate?: boolean) => {
      this.listeners.add(listener)
      if (isImmediate !== false && listener(this.value) === false) this.listeners.delete(listener)
      return () => {
        this.listeners.delete(listener)
      }
    },
    'value',
    { get: () => this.value },
  )

  set(value: T): void {
    this.value = value
    for (const listener of [...this.listeners]) if (listener(value) === false) this.listeners.delete(listener)
  }
}

type Kind = 'ssb-db2' | 'ssb-db'
const KINDS: readonly Kind[] = ['ssb-db2', 'ssb-db']

function begin(kind: Kind) {
  const messages = new Observable<unknown>(null)
  const active = new Observable(0)
  const bitmaps = new Observable(0)
  const indexes = { start: 0, current: 100, target: 100 }
  const db = {
    onMsgAdded: messages.listen,
    getIndexingActive: () => active.listen,
    getJITDB: () => ({ indexingActive: bitmaps.listen }),
  }
  const plugins = kind === 'ssb-db2' ? { db } : { post: messages.listen, progress: () => ({ indexes }) }
  const made = scene({ plugins, selfId: FIRST_ID })
  const told: boolean[] = []
  made.manager.internal.store.subscribe((action) => {
    if (action.type === 'environment/busy') told.push(action.isBusy)
  })
  const receive = (count: number, author = alice.id): void => {
    for (let i = 0; i < count; i++) {
      const message = { key: '%', value: { author } }
      messages.set(kind === 'ssb-db2' ? { kvt: message } : message)
    }
  }
  const stop = made.start(watchDownloads)
  return {
    ...made,
    stop,
    receive,
    active,
    bitmaps,
    indexes,
    listeners: () => messages.listeners.size + active.listeners.size + bitmaps.listeners.size,
    isBusy: () => made.manager.internal.store.getState().isBusy,
    told: () => told.splice(0),
  }
}

for (const kind of KINDS) {
  test(`${kind}: 20 messages within half a second are a burst, until it has been quiet for as long`, (t) => {
    const { receive, clock, isBusy, told } = begin(kind)
    receive(19)
    t.equal(isBusy(), false)
    clock.advance(500)
    receive(1)
    t.equal(isBusy(), true)
    clock.advance(499)
    t.equal(isBusy(), true)
    clock.advance(1)
    t.deepEqual([isBusy(), clock.pending], [false, 0])
    t.deepEqual(told(), [true, false], 'each told once')
    t.end()
  })

  test(`${kind}: batches of many messages, a quarter of a second apart, are one burst`, (t) => {
    const { receive, clock, told } = begin(kind)
    for (let i = 0; i < 40; i++) {
      receive(200)
      clock.advance(250)
    }
    t.deepEqual(told(), [true])
    t.equal(clock.pending, 1)
    clock.advance(500)
    t.deepEqual(told(), [false])
    t.end()
  })

  test(`${kind}: a trickle is no burst, nor does it keep one up`, (t) => {
    const { receive, clock, told, isBusy } = begin(kind)
    for (let i = 0; i < 1_000; i++) {
      receive(1)
      clock.advance(30)
    }
    t.deepEqual(told(), [])
    receive(100)
    t.equal(isBusy(), true)
    for (let i = 0; i < 20; i++) {
      clock.advance(100)
      receive(1)
    }
    t.equal(isBusy(), false)
    t.deepEqual(told(), [true, false])
    t.end()
  })

  test(`${kind}: what we write ourselves is no download, nor is rubbish one that harms`, (t) => {
    const { receive, told, lines } = begin(kind)
    receive(1_000, FIRST_ID)
    t.deepEqual(told(), [])
    t.deepEqual(lines, [])
    t.end()
  })

  test(`${kind}: nothing is left after the stop, 50 times over, and the manager is busy no more`, (t) => {
    const { stop, start, receive, clock, listeners, isBusy } = begin(kind)
    stop()
    for (let i = 0; i < 50; i++) {
      const end = start(watchDownloads)
      receive(30)
      t.equal(isBusy(), true)
      end()
      end()
      if (isBusy() || clock.pending > 0 || listeners() > 0) t.fail(`start ${i} left something`)
    }
    receive(30)
    clock.advance(10 * SECOND)
    t.equal(isBusy(), false)
    t.end()
  })

  test(`${kind}: a clock that is set by hand does not keep it busy`, (t) => {
    for (const jump of [-3_600_000, 3_600_000]) {
      const { receive, clock, isBusy } = begin(kind)
      receive(20)
      clock.jump(jump)
      clock.advance(1_000)
      t.equal(isBusy(), false)
    }
    t.end()
  })
}

for (const which of ['active', 'bitmaps'] as const) {
  test(`ssb-db2 (${which}): an index that takes longer than half a second counts, one that is brought up to date does not`, (t) => {
    const made = begin('ssb-db2')
    const { clock, isBusy, told } = made
    const counter = made[which]
    for (let i = 0; i < 100; i++) {
      counter.set(1)
      counter.set(0)
      clock.advance(100)
    }
    t.deepEqual(told(), [])
    counter.set(1)
    t.equal(isBusy(), false)
    clock.advance(500)
    t.equal(isBusy(), true)
    clock.advance(60 * SECOND)
    t.equal(isBusy(), true, 'for as long as it takes')
    counter.set(0)
    clock.advance(500)
    t.deepEqual([isBusy(), clock.pending], [false, 0])
    counter.set(1)
    clock.advance(3_600_000)
    t.equal(isBusy(), false, 'but a counter that never comes back is not believed for ever')
    t.end()
  })
}

test('ssb-db: indexes that are rebuilt at the start count', (t) => {
  const { stop, start, indexes, clock, isBusy } = begin('ssb-db')
  stop()
  indexes.current = 10
  start(watchDownloads)
  clock.advance(500)
  t.equal(isBusy(), true)
  indexes.current = 100
  clock.advance(500)
  t.deepEqual([isBusy(), clock.pending], [false, 0])
  t.end()
})

test('while busy the scheduler dials one at a time, and goes on dialing', (t) => {
  const { manager, receive, clock, newDials, add, dials } = begin('ssb-db2')
  add(alice.address, bob.address)
  receive(20)
  manager.connections.start()
  clock.flush()
  t.equal(newDials().length, 1)
  receive(20)
  dials[0]?.refuse()
  clock.flush()
  t.equal(newDials().length, 1, 'the other')
  t.end()
})

test('a database that is loaded later is found; one that throws, or is none, harms nobody', (t) => {
  const messages = new Observable<unknown>(null)
  const late = scene()
  const stop = watchDownloads(late.context)
  late.sbot.post = messages.listen
  late.flush()
  t.equal(messages.listeners.size, 1)
  stop()
  t.equal(messages.listeners.size, 0)

  const broken = (): never => {
    throw new Error('broken')
  }
  const odd: object[] = [
    {},
    { post: broken },
    { post: () => 7, progress: broken },
    { post: () => undefined, progress: () => ({ indexes: 'none' }) },
    { db: { onMsgAdded: broken } },
    { db: { onMsgAdded: () => {}, getIndexingActive: broken } },
    { db: { onMsgAdded: () => {}, getIndexingActive: () => null, getJITDB: () => null } },
  ]
  for (const plugins of odd) {
    const made = scene({ plugins: plugins as Record<string, unknown> })
    t.doesNotThrow(() => made.start(watchDownloads)())
    t.equal(made.clock.pending, 0)
  }
  t.end()
})
