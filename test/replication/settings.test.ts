/** Options of the replication scheduler, what was asked for by hand, and what it needs of its stack. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import { createReplicationScheduler } from '../../src/replication/plugin'
import { applySettings, DEFAULT_SETTINGS } from '../../src/replication/settings'
import { virtualClock } from '../../src/testing'
import { person } from '../support/manager'
import { FOLLOW, PaperEbt, PaperFriends, paperSbot, schedulerBench } from '../support/scheduler'

const { id: me } = person('me')
const { id: ann } = person('ann')
const { id: bob } = person('bob')
const SETTLE_MS = 10_000

test('settings: what is given is taken, what is left out stays', (t) => {
  const first = applySettings(DEFAULT_SETTINGS, { debouncePeriod: 10, newFeedsAtOnce: 5, unknown: 1 })
  t.deepEqual([first.debouncePeriod, first.newFeedsAtOnce, first.excluded], [10, 5, 'replicate'])
  const second = applySettings(first, { excluded: 'stop', newFeedsAtOnce: null })
  t.deepEqual([second.debouncePeriod, second.newFeedsAtOnce, second.excluded], [10, null, 'stop'])
  for (const nothing of [undefined, null, false]) t.equal(applySettings(second, nothing), second)
  t.end()
})

test('settings: only true, the text "true" and nothing at all start it', (t) => {
  const starts = (options: object): boolean => applySettings(DEFAULT_SETTINGS, options).autostart
  t.deepEqual([{}, { autostart: undefined }, { autostart: true }, { autostart: 'true' }].map(starts), [
    true,
    true,
    true,
    true,
  ])
  t.deepEqual(
    [null, false, 'false', 0, 1].map((autostart) => starts({ autostart })),
    [false, false, false, false, false],
  )
  t.end()
})

const WRONG: readonly unknown[] = [
  'text',
  7,
  [],
  { debouncePeriod: -1 },
  { debouncePeriod: '150' },
  { debouncePeriod: Number.NaN },
  { debouncePeriod: 1e9 },
  { partialReplication: 'all' },
  { partialReplication: 3 },
  { excluded: 'never' },
  { excluded: null },
  { newFeedsAtOnce: 0 },
  { newFeedsAtOnce: 1.5 },
  { newFeedsAtOnce: '3' },
]
for (const wrong of WRONG)
  test(`settings: ${JSON.stringify(wrong)} is an error, and changes nothing`, (t) => {
    const bench = schedulerBench(me, { graph: { [me]: { [ann]: FOLLOW } } })
    bench.clock.advance(SETTLE_MS)
    bench.ebt.take()
    const before = JSON.stringify(bench.scheduler.status())
    const given =
      typeof wrong === 'object' && !Array.isArray(wrong)
        ? { ...wrong, excluded: 'excluded' in (wrong as object) ? (wrong as { excluded: unknown }).excluded : 'stop' }
        : wrong
    t.throws(() => bench.scheduler.reconfigure(given), { code: 'ERR_INVALID_ARGUMENT' })
    bench.clock.advance(SETTLE_MS)
    t.equal(JSON.stringify(bench.scheduler.status()), before)
    t.deepEqual(bench.ebt.calls, [])
    t.throws(
      () => schedulerBench(me, { config: wrong as Record<string, unknown> }),
      { code: 'ERR_INVALID_ARGUMENT' },
      'at the start too',
    )
    t.end()
  })

test('settings: both layouts of the config', (t) => {
  for (const config of [
    { replicationScheduler: { autostart: false } },
    { global: {}, replicationScheduler: { autostart: false } },
  ]) {
    const { sbot } = paperSbot({ self: me, ebt: new PaperEbt(), friends: new PaperFriends(me).api })
    const scheduler = createReplicationScheduler({ sbot, config, clock: virtualClock() })
    t.equal(scheduler.status().isStarted, false)
  }
  t.end()
})

test('without ssb-ebt or ssb-friends it says what to load', (t) => {
  const create = (parts: object) => () =>
    createReplicationScheduler({ sbot: paperSbot({ self: me, ...parts }).sbot, config: {}, clock: virtualClock() })
  t.throws(create({ friends: {} }), { code: 'ERR_MISSING_PLUGIN', plugin: 'ssb-ebt' })
  t.throws(create({ ebt: {} }), { code: 'ERR_MISSING_PLUGIN', plugin: 'ssb-friends' })
  t.end()
})

test('hostile input of every call is an error with a code, and changes nothing', (t) => {
  const bench = schedulerBench(me, { graph: { [me]: { [ann]: FOLLOW } } })
  bench.clock.advance(SETTLE_MS)
  bench.ebt.take()
  const { scheduler } = bench
  for (const wrong of [
    undefined,
    null,
    '',
    'bob',
    7,
    {},
    [],
    '@',
    '__proto__',
    `${ann} `,
    'ssb:feed/x/y',
    'x'.repeat(1e5),
  ]) {
    t.throws(() => scheduler.request(wrong), { code: 'ERR_INVALID_ARGUMENT' }, `request ${String(wrong).slice(0, 20)}`)
    t.throws(() => scheduler.explain(wrong), { code: 'ERR_INVALID_ARGUMENT' }, `explain ${String(wrong).slice(0, 20)}`)
  }
  for (const wrong of ['yes', 1, {}, Number.NaN])
    t.throws(() => scheduler.request(bob, wrong), { code: 'ERR_INVALID_ARGUMENT' })
  t.throws(() => scheduler.request(me, false), { code: 'ERR_INVALID_ARGUMENT' }, 'our own feed is always wanted')
  bench.clock.advance(SETTLE_MS)
  t.deepEqual(bench.ebt.calls, [])
  t.end()
})

test('one feed that makes ssb-ebt throw does not keep the others waiting (B18)', (t) => {
  const graph = { [me]: { [ann]: FOLLOW, [bob]: FOLLOW } }
  const bench = schedulerBench(me, { graph, config: { autostart: false } })
  const { request } = bench.ebt
  bench.ebt.request = (feed, isWanted) => {
    if (feed === ann) throw new Error('not today')
    request(feed, isWanted)
  }
  bench.scheduler.start()
  bench.clock.advance(SETTLE_MS)
  t.ok(bench.ebt.requested().includes(bob))
  t.ok(bench.warnings.some((line) => line.includes('not today')))
  t.end()
})

// ---- by hand, over a restart --------------------------------------------------------------------------------------------

function onDisk(path: string) {
  const ebt = new PaperEbt()
  const friends = new PaperFriends(me)
  friends.load({ [me]: { [ann]: FOLLOW } })
  const { sbot, close, warnings } = paperSbot({ self: me, ebt, friends: friends.api })
  const clock = virtualClock()
  const scheduler = createReplicationScheduler({ sbot, config: { path }, clock })
  clock.advance(SETTLE_MS)
  return { ebt, scheduler, clock, close, warnings }
}

function inFolder(fn: (path: string) => void): void {
  const path = mkdtempSync(join(tmpdir(), 'replication-'))
  try {
    fn(path)
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

test('what was asked for by hand is there after a restart, also if the stack closes in the same moment', (t) => {
  inFolder((path) => {
    const first = onDisk(path)
    t.deepEqual(readdirSync(path), [], 'nothing is written before anybody asks')
    first.scheduler.request(bob)
    first.scheduler.request(ann, false)
    first.close()
    const second = onDisk(path)
    t.deepEqual(second.ebt.requested().sort(), [me, bob].sort())
    t.notOk(second.ebt.calls.some(([method, feed, isWanted]) => method === 'request' && feed === ann && isWanted))
    second.scheduler.request(bob, null)
    second.scheduler.request(ann, null)
    second.close()
    t.deepEqual(onDisk(path).ebt.requested().sort(), [me, ann].sort())
  })
  t.end()
})

test('a file that is not understood is set aside, and everything else goes on', (t) => {
  for (const text of ['{', '{"version":2}', '{"version":1,"manual":{"x":"yes"}}', 'null'])
    inFolder((path) => {
      const file = join(path, 'replication-scheduler.json')
      writeFileSync(file, text)
      const { ebt, scheduler, warnings } = onDisk(path)
      t.deepEqual(ebt.requested().sort(), [me, ann].sort())
      t.equal(readFileSync(`${file}.corrupt`, 'utf8'), text)
      t.ok(warnings.some((line) => line.includes('set aside')))
      scheduler.request(bob)
      t.ok(existsSync(file))
    })
  t.end()
})

test('a wish that cannot be written is an error, and not half done', (t) => {
  inFolder((path) => {
    const { ebt, scheduler, clock } = onDisk(path)
    rmSync(path, { recursive: true })
    writeFileSync(path, 'in the way')
    ebt.take()
    t.throws(() => scheduler.request(bob))
    clock.advance(SETTLE_MS)
    t.deepEqual(ebt.calls, [])
    t.equal(scheduler.explain(bob).wish, null)
  })
  t.end()
})
