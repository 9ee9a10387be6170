import test = require('tape')

import { systemClock } from '../../src/shell/clock'

const nextTurn = (): Promise<void> => new Promise((resolve) => void systemClock.setTimeout(resolve, 0))

function workFor(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

test('between slices of long work timers and sockets come, however long a slice takes', async (t) => {
  const order: string[] = []
  await nextTurn()
  for (const slice of ['first', 'second', 'third']) {
    order.push(slice)
    // One is due when the slice ends. After it Node would go on with other timers that have become due meanwhile.
    setTimeout(() => order.push('timer'), 3)
    // Comes where sockets come: when the loop has gone round.
    setImmediate(() => order.push('socket'))
    workFor(5)
    const next = nextTurn()
    // As the first plan after a slice does.
    queueMicrotask(() => workFor(5))
    await next
  }
  const others = (slice: string): string[] => order.slice(order.indexOf(slice) + 1, order.indexOf(slice) + 3).sort()
  for (const slice of ['first', 'second', 'third'])
    t.deepEqual(others(slice), ['socket', 'timer'], `after the ${slice}`)
})

test('each has a turn of its own, in the order in which they were set', async (t) => {
  const order: string[] = []
  await nextTurn()
  for (const name of ['first', 'second', 'third'])
    systemClock.setTimeout(() => {
      order.push(name)
      setImmediate(() => order.push('socket'))
    }, 0)
  for (let turn = 0; turn < 6; turn++) await nextTurn()
  t.deepEqual(order, ['first', 'socket', 'second', 'socket', 'third', 'socket'])
})

test('what was to come in the next turn and was cleared does not come', async (t) => {
  const fired: string[] = []
  const first = systemClock.setTimeout(() => fired.push('first'), 0)
  systemClock.setTimeout(() => {
    fired.push('second')
    systemClock.clearTimeout(third)
  }, 0)
  const third = systemClock.setTimeout(() => fired.push('third'), 0)
  const fourth = systemClock.setTimeout(() => fired.push('fourth'), 1)
  systemClock.clearTimeout(first)
  systemClock.clearTimeout(fourth)
  await nextTurn()
  await new Promise<void>((resolve) => void systemClock.setTimeout(resolve, 2))
  t.deepEqual(fired, ['second'])
  for (const nothing of [undefined, null, first]) t.doesNotThrow(() => systemClock.clearTimeout(nothing))
})
