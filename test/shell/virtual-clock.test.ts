/** The referee: a clock that is wrong makes every test on it worthless. */
import test = require('tape')

import { seededRandom, virtualClock } from '../../src/testing'

/** Sets a timer and notes when it fires. */
function noting(clock: ReturnType<typeof virtualClock>) {
  const start = clock.now()
  const seen: string[] = []
  return { seen, note: (name: string) => seen.push(`${name}@${clock.now() - start}`) }
}

test('it starts at a real date and stands still until moved', (t) => {
  const clock = virtualClock()
  t.ok(clock.now() > Date.UTC(2020, 0, 1), 'a real date')
  t.equal(clock.now(), virtualClock().now(), 'the same in each test')
  t.equal(virtualClock(1234).now(), 1234, 'or the given one')
  clock.setTimeout(() => t.fail('fired without being moved'), 0)
  clock.defer(() => t.fail('ran without being moved'))
  t.equal(clock.pending, 1, 'one timer is set')
  t.equal(clock.fired, 0, 'none has fired')
  t.end()
})

test('a chain of five 1 s timers fires five times in one 5 s step, each at its own time', (t) => {
  const clock = virtualClock()
  const { seen, note } = noting(clock)
  const next = (count: number): void => {
    clock.setTimeout(() => {
      note(String(count))
      if (count < 7) next(count + 1)
    }, 1_000)
  }
  next(1)
  clock.advance(5_000)
  t.deepEqual(seen, ['1@1000', '2@2000', '3@3000', '4@4000', '5@5000'])
  t.equal(clock.fired, 5, 'five have fired')
  t.equal(clock.pending, 1, 'the sixth is set')
  clock.advance(999)
  t.equal(seen.length, 5, 'the sixth is not due yet')
  clock.advance(1)
  t.equal(seen.length, 6, 'now it is')
  t.end()
})

test('the same chain, moved on with promises in between', async (t) => {
  const clock = virtualClock()
  const { seen, note } = noting(clock)
  const next = (count: number): void => {
    clock.setTimeout(() => {
      note(String(count))
      void Promise.resolve()
        .then(() => {})
        .then(() => next(count + 1))
    }, 1_000)
  }
  next(1)
  await clock.advanceAsync(5_000)
  t.deepEqual(seen, ['1@1000', '2@2000', '3@3000', '4@4000', '5@5000'])
})

test('timers fire in the order of their times, ties in the order of setting, those set on the way included', (t) => {
  const clock = virtualClock()
  const { seen, note } = noting(clock)
  clock.setTimeout(() => note('late'), 30)
  clock.setTimeout(() => note('tie 1'), 20)
  clock.setTimeout(() => {
    note('early')
    clock.setTimeout(() => note('tie 3'), 10)
    clock.setTimeout(() => note('at once'), 0)
  }, 10)
  clock.setTimeout(() => note('tie 2'), 20)
  clock.advance(30)
  t.deepEqual(seen, ['early@10', 'at once@10', 'tie 1@20', 'tie 2@20', 'tie 3@20', 'late@30'])
  t.end()
})

test('what a timer defers runs before the next timer, and what that defers too', (t) => {
  const clock = virtualClock()
  const { seen, note } = noting(clock)
  clock.setTimeout(() => {
    note('first')
    clock.defer(() => {
      note('deferred')
      clock.defer(() => note('deferred twice'))
    })
  }, 10)
  clock.setTimeout(() => note('second'), 10)
  clock.advance(10)
  t.deepEqual(seen, ['first@10', 'deferred@10', 'deferred twice@10', 'second@10'])
  t.end()
})

test('what was deferred before a step runs at its start, and flush runs it without moving', (t) => {
  const clock = virtualClock()
  const { seen, note } = noting(clock)
  clock.defer(() => note('flushed'))
  clock.flush()
  clock.defer(() => note('stepped'))
  clock.setTimeout(() => note('timer'), 0)
  clock.advance(0)
  t.deepEqual(seen, ['flushed@0', 'stepped@0', 'timer@0'])
  t.end()
})

test('a cleared timer never fires, also when cleared by one that fires at the same time', (t) => {
  const clock = virtualClock()
  const doomed = [10, 10, 20].map((ms) => clock.setTimeout(() => t.fail('fired'), ms + 1))
  clock.setTimeout(() => {
    for (const timer of doomed) clock.clearTimeout(timer)
  }, 10)
  clock.advance(100)
  clock.clearTimeout(doomed[0])
  clock.clearTimeout('never set')
  t.equal(clock.pending, 0, 'nothing is left')
  t.equal(clock.fired, 1, 'only the one that cleared')
  t.end()
})

test('a negative delay is none', (t) => {
  const clock = virtualClock()
  const { seen, note } = noting(clock)
  clock.setTimeout(() => note('zero'), 0)
  clock.setTimeout(() => note('negative'), -5)
  clock.advance(0)
  t.deepEqual(seen, ['zero@0', 'negative@0'])
  t.end()
})

test('a jump moves the wall clock and no timer: suspend, or a clock set by hand', (t) => {
  const clock = virtualClock()
  const start = clock.now()
  const seen: number[] = []
  clock.setTimeout(() => seen.push(clock.now() - start), 1_000)
  clock.jump(3_600_000)
  t.equal(clock.now() - start, 3_600_000, 'an hour later')
  t.deepEqual(seen, [], 'a timer measures elapsed time')
  clock.advance(999)
  t.deepEqual(seen, [], 'of which 999 ms have passed')
  clock.advance(1)
  t.deepEqual(seen, [3_601_000], 'it fires at its own time by the new clock')
  clock.jump(-7_200_000)
  clock.setTimeout(() => seen.push(clock.now() - start), 1_000)
  clock.advance(1_000)
  t.equal(seen[1], 3_601_000 - 7_200_000 + 1_000, 'also after it was set back')
  t.end()
})

test('timers that set each other without end are an error, not a hang', async (t) => {
  const loop = (clock: ReturnType<typeof virtualClock>): void => {
    clock.setTimeout(() => loop(clock), 0)
  }
  const first = virtualClock()
  loop(first)
  t.throws(() => first.advance(1), /timers within 1 ms/, 'advance')

  const second = virtualClock()
  const deferLoop = (): void => second.defer(deferLoop)
  deferLoop()
  t.throws(() => second.flush(), /without end/, 'flush')

  const third = virtualClock()
  loop(third)
  t.equal(await third.advanceAsync(1).catch((error: Error) => /timers within 1 ms/.test(error.message)), true, 'async')
})

/** The same by a look through all timers each time: slow, and too simple to be wrong. */
function plainClock() {
  let elapsed = 0
  let last = 0
  const timers = new Map<number, { readonly at: number; readonly fn: () => void }>()
  return {
    now: () => elapsed,
    setTimeout: (fn: () => void, ms: number): unknown => {
      timers.set(++last, { at: elapsed + ms, fn })
      return last
    },
    clearTimeout: (id: unknown) => {
      timers.delete(id as number)
    },
    advance: (ms: number) => {
      const end = elapsed + ms
      for (;;) {
        const next = [...timers].sort(([a, x], [b, y]) => x.at - y.at || a - b)[0]
        if (!next || next[1].at > end) break
        timers.delete(next[0])
        elapsed = next[1].at
        next[1].fn()
      }
      elapsed = end
    },
    get pending() {
      return timers.size
    },
  }
}

/** Sets, clears and fires by the same draws on any clock, and tells what fired. */
function busyHour(clock: Omit<ReturnType<typeof plainClock>, 'pending'>, seed: number): string[] {
  const random = seededRandom(seed)
  const draw = (below: number): number => Math.floor(random.next() * below)
  const start = clock.now()
  const left = new Map<number, unknown>()
  const seen: string[] = []
  let last = 0
  const set = (): void => {
    const name = ++last
    const fire = (): void => {
      seen.push(`${name}@${clock.now() - start}`)
      left.delete(name)
      if (draw(4) === 0) set()
    }
    left.set(name, clock.setTimeout(fire, draw(40)))
  }
  for (let step = 0; step < 20; step++) {
    for (let count = draw(150); count > 0; count--) set()
    // Now and then nearly all of them.
    const share = draw(11) / 10
    for (const [name, handle] of [...left])
      if (random.next() < share) {
        clock.clearTimeout(handle)
        left.delete(name)
      }
    clock.advance(draw(30))
  }
  return seen
}

test('many timers, set and cleared in any order, fire as by a look through all of them', (t) => {
  for (let seed = 1; seed <= 10; seed++) {
    const [clock, plain] = [virtualClock(), plainClock()]
    const seen = busyHour(clock, seed)
    t.ok(seen.length > 100 && seen.join() === busyHour(plain, seed).join(), `seed ${seed}: ${seen.length} in order`)
    t.equal(clock.pending, plain.pending, 'as many are left')
    t.equal(clock.fired, seen.length, 'all that fired are counted')
  }
  t.end()
})

test('twenty thousand timers that are cleared leave the one that is not', (t) => {
  const clock = virtualClock()
  let fired = 0
  clock.setTimeout(() => fired++, 5_000)
  for (let count = 0; count < 20_000; count++) clock.clearTimeout(clock.setTimeout(() => t.fail('was cleared'), 9_000))
  t.equal(clock.pending, 1, 'one is left')
  clock.advance(10_000)
  t.equal(fired, 1, 'and fires')
  t.end()
})
