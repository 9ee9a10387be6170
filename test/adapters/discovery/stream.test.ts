/** Reading a stream of another plugin. */
import test = require('tape')

import { attempt, type Reading, readStream, whenLoaded } from '../../../src/adapters/discovery/stream'
import { virtualClock } from '../../../src/testing'
import { FakeStream } from '../../support/discovery'

type Answer = (end: unknown, item?: unknown) => void

function begin(source: unknown, reading: Partial<Reading> = {}) {
  const clock = virtualClock()
  const items: unknown[] = []
  const lines: string[] = []
  const tools = { clock, log: (line: string) => lines.push(line) }
  const onItem = (item: unknown): void => {
    items.push(item)
  }
  const stop = readStream(tools, 'it', () => source, { onItem, ...reading })
  return { clock, items, lines, stop }
}

/** Gives numbers for ever, each at once. */
function endless() {
  let given = 0
  return (abort: unknown, cb: Answer): void => (abort ? cb(abort) : cb(null, given++))
}

test('a source that answers one question twice gives one item', (t) => {
  let given = 0
  const { items, stop } = begin((abort: unknown, cb: Answer) => {
    if (abort) return cb(abort)
    if (given === 3) return
    given++
    cb(null, given)
    cb(null, 'again')
    cb(new Error('as well'))
  })
  t.deepEqual(items, [1, 2, 3])
  stop()
  t.end()
})

test('a source without end leaves the others their turn, and no timer after the stop', (t) => {
  const { items, clock, stop } = begin(endless())
  t.equal(items.length, 200)
  clock.advance(1)
  t.equal(items.length, 400)
  stop()
  t.equal(clock.pending, 0)
  clock.advance(1_000)
  t.equal(items.length, 400)
  t.end()
})

test('one that makes us wait is read without pauses', (t) => {
  const stream = new FakeStream()
  const { items, clock, stop } = begin(stream.source)
  for (let i = 0; i < 1_000; i++) stream.push(i)
  t.equal(items.length, 1_000)
  t.equal(clock.pending, 0)
  stop()
  t.end()
})

test('in slices it takes so many, and waits, however they come', (t) => {
  const stream = new FakeStream()
  const { items, clock } = begin(stream.source, { slice: { items: 10, pauseMs: 100 } })
  for (let i = 0; i < 25; i++) stream.push(i)
  t.deepEqual([items.length, stream.reads], [10, 10], 'nothing is asked for meanwhile')
  clock.advance(100)
  t.equal(items.length, 20)
  clock.advance(100)
  t.equal(items.length, 25)
  t.end()
})

test('a reader that has enough aborts the source, and its own failure ends nothing', (t) => {
  const stream = new FakeStream()
  let ended = 0
  begin(stream.source, { onItem: (item) => (item === 2 ? 'enough' : undefined), onEnd: () => ended++ })
  stream.push(1, 2, 3)
  t.deepEqual([stream.isAborted, ended], [true, 0])

  const next = new FakeStream()
  const seen: unknown[] = []
  const onItem = (item: unknown): void => {
    seen.push(item)
    throw new Error('mine')
  }
  const { lines, stop } = begin(next.source, { onItem })
  next.push(1, 2)
  t.deepEqual([seen, lines.length], [[1, 2], 2])
  stop()
  t.end()
})

test('what is started while it is being stopped is stopped', (t) => {
  const clock = virtualClock()
  let stopped = 0
  let stop = (): void => {}
  let isThere = false
  const start = (): (() => void) => {
    stop()
    return () => stopped++
  }
  stop = whenLoaded({ clock, log: () => {} }, 'it', () => (isThere ? {} : null), start)
  isThere = true
  clock.flush()
  t.equal(stopped, 1)
  attempt(() => {}, 'it', stop)
  t.equal(stopped, 1)
  t.end()
})
