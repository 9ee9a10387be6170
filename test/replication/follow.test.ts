/** Reading a stream of another plugin: again after it fails, and never after it was stopped, however rude the stream is. */
import test = require('tape')

import { type Following, follow } from '../../src/replication/follow'
import { virtualClock } from '../../src/testing'
import { Pushable } from '../support/streams'

function following(open: () => unknown, more: Partial<Following<string>> = {}) {
  const clock = virtualClock()
  const seen: string[] = []
  const logged: string[] = []
  const follower = follow<string>(
    { clock, log: (message) => logged.push(message) },
    { name: 'it', open, each: (item) => seen.push(item), ...more },
  )
  return { clock, seen, logged, follower }
}

test('a source that goes on after it was ended is not heard', (t) => {
  let give: (end: unknown, item?: string) => void = () => {}
  const { seen, follower, logged, clock } = following(() => (abort: unknown, cb: typeof give) => {
    // Neither does it answer that it has ended.
    if (!abort) give = cb
  })
  give(null, 'a')
  const late = give
  follower.stop()
  late(null, 'b')
  give(null, 'c')
  give(new Error('too late'))
  t.deepEqual(seen, ['a'])
  t.deepEqual(logged, [])
  t.equal(clock.pending, 0)
  t.end()
})

test('a source that throws as it is ended is logged, and the next one is opened', (t) => {
  const rude = (abort: unknown, _cb: unknown): void => {
    if (abort) throw new Error('cannot stop')
  }
  const sources = [rude, new Pushable(['a']).source]
  const { follower, logged, seen } = following(() => sources.shift())
  follower.restart()
  t.deepEqual(seen, ['a'])
  t.deepEqual(logged, ['it could not be ended: cannot stop'])
  follower.stop()
  t.end()
})

test('a stream that has lasted is opened again after a second, whatever was before', (t) => {
  const streams: Pushable<string>[] = []
  const { clock, follower, logged } = following(() => {
    const stream = new Pushable<string>()
    streams.push(stream)
    return stream.source
  })
  for (const pause of [1_000, 2_000, 4_000]) {
    streams.at(-1)!.finish(new Error('short'))
    t.ok(follower.isFailing())
    const before = streams.length
    clock.advance(pause - 1)
    t.equal(streams.length, before)
    clock.advance(1)
    t.equal(streams.length, before + 1, `after ${pause} ms`)
    t.notOk(follower.isFailing())
  }
  clock.advance(60_000)
  streams.at(-1)!.finish()
  t.equal(logged.at(-1), 'it has ended')
  clock.advance(1_000)
  t.equal(streams.length, 5)
  follower.stop()
  t.ok(streams[4]!.isAborted)
  t.equal(clock.pending, 0)
  t.end()
})

test('the end that was waited for is said, and nothing is opened again', (t) => {
  let done = 0
  const { clock, seen } = following(() => new Pushable(['a']).source, { done: () => done++ })
  t.equal(done, 0, 'not before it')
  const ended = new Pushable(['a', 'b'])
  ended.finish()
  const second = following(() => ended.source, { done: () => done++ })
  t.deepEqual([seen, second.seen, done], [['a'], ['a', 'b'], 1])
  t.equal(clock.pending + second.clock.pending, 0)
  t.end()
})
