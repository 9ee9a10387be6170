/** When the table is saved, in virtual time, and that no failure of the store ever replaces a good table by an emptier one. */
import assert = require('assert')
import fc = require('fast-check')
import test = require('tape')

import type { Action } from '../../src/core/actions'
import { parseAddress } from '../../src/core/address'
import { DEFAULT_OPTIONS } from '../../src/core/options'
import { initialState, reduce } from '../../src/core/reducer'
import { type Snapshot, type StoredTables, stringifySnapshot } from '../../src/core/snapshot'
import {
  type FileStore,
  type Log,
  type PersistenceOptions,
  startPersistence,
  type Weight,
} from '../../src/shell/persistence'
import { virtualClock } from '../../src/testing'

const T0 = Date.UTC(2026, 0, 1)
const PATH = '/ssb/connection-manager.json'
const key = (n: number): string => Buffer.alloc(32, String(n)).toString('base64')
const addressOf = (byte: number): string => `net:a.example:8008~shs:${key(byte)}`

/** A snapshot that can be told from others: with so many routes. */
function snapshotOf(routeCount: number): Snapshot {
  const routes = Array.from({ length: routeCount }, (_, i) => ({ address: addressOf(i + 1) }))
  return { version: 1, savedAt: T0, peers: [], routes }
}
const textOf = (routeCount: number): string => stringifySnapshot(snapshotOf(routeCount))
const routesIn = (text: string): number => (JSON.parse(text) as Snapshot).routes.length

const WITH_BAD_ENTRIES = JSON.stringify({
  version: 1,
  savedAt: T0,
  peers: [],
  routes: [
    { address: addressOf(1) },
    ...Array.from({ length: 7 }, () => ({ address: 'foo' })),
    { address: addressOf(2) },
  ],
})

/** A file in memory: what happened to it, and ways to make it fail or wait. */
function memoryFiles(text: string | null) {
  const calls: string[] = []
  const disk = { text, aside: [] as string[], isGated: false, writing: 0, overlapped: false }
  const fail: { read?: unknown; write?: unknown; setAside?: unknown; copyAside?: unknown } = {}
  const gates: (() => void)[] = []
  const files: FileStore = {
    path: PATH,
    read: async () => {
      calls.push('read')
      if (disk.isGated) await new Promise<void>((resolve) => gates.push(resolve))
      if (fail.read) throw fail.read
      return disk.text
    },
    write: async (next) => {
      calls.push('write')
      if (++disk.writing > 1) disk.overlapped = true
      if (disk.isGated) await new Promise<void>((resolve) => gates.push(resolve))
      disk.writing--
      if (fail.write) throw fail.write
      disk.text = next
    },
    setAside: async () => {
      calls.push('setAside')
      if (fail.setAside) throw fail.setAside
      disk.aside.push(disk.text ?? '')
      disk.text = null
      return 'connection-manager.json.corrupt-1'
    },
    copyAside: async () => {
      calls.push('copyAside')
      if (disk.isGated) await new Promise<void>((resolve) => gates.push(resolve))
      if (fail.copyAside) throw fail.copyAside
      disk.aside.push(disk.text ?? '')
      return 'connection-manager.json.corrupt-1'
    },
  }
  return { files, disk, calls, fail, gates }
}

function error(code: string): Error {
  return Object.assign(new Error(`${code}: no luck`), { code })
}

/** A persistence over a file in memory and virtual time, with a state that learns routes. */
function setUp(text: string | null, options: Partial<PersistenceOptions> = {}) {
  const clock = virtualClock(T0)
  const memory = memoryFiles(text)
  const lines: string[] = []
  const log: Log = (level, message) => {
    lines.push(`${level}: ${message}`)
  }
  const state = {
    now: initialState({ ...DEFAULT_OPTIONS, maxRoutes: 100_000 }, T0),
    get routeCount(): number {
      return state.now.routes.size
    },
  }
  const persistence = startPersistence({
    files: memory.files,
    clock,
    getState: () => state.now,
    log,
    ...options,
  })
  const dispatch = (action: Action, weight?: Weight): void => {
    const before = state.now
    state.now = reduce(before, action)
    if (action.type !== 'table/loaded') persistence.changed(state.now.changedPeers, before, weight)
  }
  const load = () =>
    persistence.load(({ routes, peers }) => {
      dispatch({ type: 'table/loaded', at: clock.now(), routes, peers })
    })
  let learned = 1_000
  /** One more route is learned. */
  const learn = (weight?: Weight): void => {
    const route = parseAddress(addressOf(learned++))[0]!
    dispatch({ type: 'routes/added', at: clock.now(), reports: [{ route, isLocal: false, source: 'stored' }] }, weight)
  }
  const writes = (): number => memory.calls.filter((call) => call === 'write').length
  return { ...memory, clock, lines, learn, state, dispatch, persistence, load, writes }
}

// ---- when it is saved -------------------------------------------------------------------------------------------------

test('persistence: a change is saved 1 s after the last one, in one write, and then there is no timer', async (t) => {
  const { clock, load, learn, writes, disk } = setUp(null)
  t.equal((await load()).status, 'fresh')
  t.equal(clock.pending, 0, 'nothing to do, no timer')
  learn()
  await clock.advanceAsync(600)
  learn()
  learn()
  await clock.advanceAsync(999)
  t.equal(writes(), 0, 'not before the pause')
  await clock.advanceAsync(1)
  t.equal(writes(), 1)
  t.equal(routesIn(disk.text ?? ''), 3)
  t.equal(clock.pending, 0)
  await clock.advanceAsync(24 * 3_600_000)
  t.equal(writes(), 1, 'nothing while nothing changes')
  t.end()
})

test('persistence: while changes go on, the file is never more than 60 s behind', async (t) => {
  const { clock, load, learn, writes, disk } = setUp(null)
  await load()
  const learnedAt: number[] = []
  let worstMs = 0
  for (let i = 0; i < 2_000; i++) {
    learn()
    learnedAt.push(clock.now())
    await clock.advanceAsync(300)
    const stored = disk.text === null ? 0 : routesIn(disk.text)
    const oldest = learnedAt[stored]
    if (oldest !== undefined) worstMs = Math.max(worstMs, clock.now() - oldest)
  }
  t.ok(worstMs <= 60_000, `${worstMs} ms behind at worst`)
  t.ok(writes() >= 10 && writes() <= 12, `${writes()} writes in 600 s`)
  t.ok(clock.pending <= 1, 'one timer')
  t.end()
})

test('persistence: a change costs no timer of its own', async (t) => {
  const { clock, load, learn } = setUp(null)
  await load()
  for (let i = 0; i < 200; i++) learn()
  t.equal(clock.pending, 1)
  await clock.advanceAsync(1_000)
  t.equal(clock.fired, 1)
  t.end()
})

test('persistence: what was learned waits for 55 s, or for what is said meanwhile', async (t) => {
  const { clock, load, learn, writes, disk } = setUp(null)
  await load()
  learn('learned')
  await clock.advanceAsync(20_000)
  learn('learned')
  await clock.advanceAsync(34_999)
  t.equal(writes(), 0, 'not before')
  await clock.advanceAsync(1)
  t.equal(writes(), 1)
  t.equal(routesIn(disk.text ?? ''), 2)
  t.equal(clock.pending, 0)
  learn('learned')
  await clock.advanceAsync(5_000)
  learn('said')
  t.equal(clock.pending, 1, 'one timer for both')
  await clock.advanceAsync(1_000)
  t.equal(writes(), 2, 'a pause after it was said')
  t.equal(routesIn(disk.text ?? ''), 4)
  t.equal(clock.pending, 0)
  t.end()
})

test('persistence: what was learned a while ago is stored when something else wakes us', async (t) => {
  const { clock, load, learn, writes, disk } = setUp(null)
  await load()
  for (const weight of ['passing', 'learned'] as const) {
    const before = { writes: writes(), fired: clock.fired, routes: disk.text === null ? 0 : routesIn(disk.text) }
    learn('learned')
    await clock.advanceAsync(24_999)
    learn(weight)
    await clock.advanceAsync(0)
    t.equal(writes(), before.writes, 'too soon')
    await clock.advanceAsync(1)
    learn(weight)
    learn(weight)
    await clock.advanceAsync(0)
    t.equal(writes(), before.writes + 1, `a ${weight} change takes it along`)
    t.equal(routesIn(disk.text ?? ''), before.routes + 4, 'with all that there is')
    t.equal(clock.fired, before.fired, 'without a timer')
    t.equal(clock.pending, 0)
  }
  t.end()
})

test('persistence: a passing change alone is no reason to write', async (t) => {
  const { clock, load, learn, writes, disk } = setUp(null)
  await load()
  learn('passing')
  t.equal(clock.pending, 0)
  await clock.advanceAsync(3_600_000)
  t.equal(writes(), 0)
  learn('said')
  await clock.advanceAsync(1_000)
  t.equal(routesIn(disk.text ?? ''), 2, 'it comes with the next save')
  t.end()
})

test('persistence: one write at a time; what changes during one is in the next', async (t) => {
  const { clock, load, learn, writes, disk, gates, persistence } = setUp(null)
  await load()
  disk.isGated = true
  learn()
  await clock.advanceAsync(1_000)
  t.equal(writes(), 1)
  learn()
  t.equal(clock.pending, 0, 'no timer while it is written')
  await clock.advanceAsync(10_000)
  t.equal(writes(), 1, 'a slow disk is waited for')
  const flushed = persistence.flush()
  await clock.advanceAsync(0)
  t.equal(writes(), 1, 'flush waits as well')
  gates.shift()?.()
  await clock.advanceAsync(0)
  t.equal(routesIn(disk.text ?? ''), 1)
  t.equal(writes(), 2)
  gates.shift()?.()
  t.equal(await flushed, true)
  t.equal(routesIn(disk.text ?? ''), 2)
  t.notOk(disk.overlapped)
  t.equal(clock.pending, 0)
  t.end()
})

test('persistence: what changed during a slow write is saved a pause after it, not at once', async (t) => {
  const { clock, load, learn, writes, gates, disk } = setUp(null)
  await load()
  disk.isGated = true
  learn()
  await clock.advanceAsync(1_500)
  learn()
  gates.shift()?.()
  await clock.advanceAsync(999)
  t.equal(writes(), 1)
  await clock.advanceAsync(1)
  t.equal(writes(), 2)
  t.end()
})

for (const [title, jumpMs] of [
  ['set back by a year', -365 * 24 * 3_600_000],
  ['set forward by a year', 365 * 24 * 3_600_000],
] as const)
  test(`persistence: a clock that is ${title} delays no save`, async (t) => {
    const { clock, load, learn, writes, fail } = setUp(null)
    await load()
    learn()
    clock.jump(jumpMs)
    await clock.advanceAsync(1_000)
    t.equal(writes(), 1)
    fail.write = error('ENOSPC')
    learn()
    await clock.advanceAsync(1_000)
    t.equal(writes(), 2)
    clock.jump(jumpMs)
    delete fail.write
    await clock.advanceAsync(1_000)
    t.equal(writes(), 3, 'nor a retry')
    t.equal(clock.pending, 0)
    t.end()
  })

test('persistence: flush saves at once and is free when nothing has changed', async (t) => {
  const { clock, load, learn, writes, persistence, disk } = setUp(null)
  await load()
  t.equal(await persistence.flush(), true)
  t.equal(writes(), 0)
  learn()
  t.equal(await persistence.flush(), true)
  t.equal(routesIn(disk.text ?? ''), 1)
  t.equal(clock.pending, 0, 'the timer is gone')
  t.end()
})

// ---- failing to save --------------------------------------------------------------------------------------------------

test('persistence: a failed write is said, and tried again after 1 s, 2 s, … 60 s', async (t) => {
  const { clock, load, learn, writes, fail, lines, disk } = setUp(textOf(2))
  await load()
  fail.write = error('ENOSPC')
  learn()
  await clock.advanceAsync(1_000)
  const triedAt = [0]
  const start = clock.now()
  for (let i = 0; i < 400; i++) {
    const before = writes()
    await clock.advanceAsync(1_000)
    if (writes() > before) triedAt.push((clock.now() - start) / 1_000)
    if (i % 7 === 0) learn()
  }
  t.deepEqual(triedAt, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363], 'changes in between hasten nothing')
  t.equal(lines.length, triedAt.length)
  t.match(lines[0] ?? '', /^error: cannot save \/ssb\/connection-manager\.json, next try in 1 s: ENOSPC: no luck$/)
  t.equal(routesIn(disk.text ?? ''), 2, 'the old table is whole')
  delete fail.write
  await clock.advanceAsync(60_000)
  t.match(lines[lines.length - 1] ?? '', /^info: .* is saved again$/)
  t.equal(clock.pending, 0)
  const before = writes()
  const lineCount = lines.length
  learn()
  await clock.advanceAsync(999)
  t.equal(writes(), before)
  await clock.advanceAsync(1)
  t.equal(writes(), before + 1, 'and the pause is 1 s again')
  t.equal(lines.length, lineCount, 'about which nothing is said')
  t.end()
})

test('persistence: a state that cannot be written down is a failed write, not a crash', async (t) => {
  let isBroken = true
  const { clock, load, learn, lines, writes, persistence } = setUp(null, {
    getState: () => {
      if (isBroken) throw new Error('broken')
      return initialState(DEFAULT_OPTIONS, T0)
    },
  })
  isBroken = false
  await load()
  learn()
  isBroken = true
  t.equal(await persistence.flush(), false)
  t.match(lines[0] ?? '', /cannot save .*: broken/)
  isBroken = false
  await clock.advanceAsync(1_000)
  t.equal(writes(), 1)
  t.end()
})

test('persistence: a log that throws costs nothing', async (t) => {
  const { clock, load, learn, fail, writes } = setUp(textOf(1), {
    log: () => {
      throw new Error('log')
    },
  })
  await load()
  fail.write = error('EIO')
  learn()
  await clock.advanceAsync(2_000)
  t.equal(writes(), 2)
  t.end()
})

type Step = 'learn' | 'fail' | 'mend' | 'slow' | 'fast' | 'flush' | number

test('persistence: whatever fails and whenever, the file never shrinks, and once all is well it is soon complete', async (t) => {
  const stepArb = fc.oneof(
    fc.constantFrom<Step>('learn', 'fail', 'mend', 'slow', 'fast', 'flush'),
    fc.constantFrom<Step>(0, 1, 999, 1_000, 7_000, 60_000),
  )
  const property = fc.asyncProperty(fc.array(stepArb, { maxLength: 60, size: 'max' }), async (steps) => {
    const { clock, load, learn, persistence, disk, fail, gates, state } = setUp(textOf(1))
    await load()
    let stored = 1
    for (const step of steps) {
      if (step === 'learn') learn()
      else if (step === 'fail') fail.write = error('EIO')
      else if (step === 'mend') delete fail.write
      else if (step === 'slow') disk.isGated = true
      else if (step === 'fast') {
        disk.isGated = false
        for (const open of gates.splice(0)) open()
      } else if (step === 'flush') void persistence.flush()
      else await clock.advanceAsync(step)
      const now = routesIn(disk.text ?? '')
      assert.ok(now >= stored, 'the file has shrunk')
      assert.ok(clock.pending <= 1, 'more than one timer')
      stored = now
    }
    delete fail.write
    disk.isGated = false
    for (const open of gates.splice(0)) open()
    await clock.advanceAsync(61_000)
    assert.strictEqual(routesIn(disk.text ?? ''), state.routeCount)
    assert.strictEqual(clock.pending, 0)
    assert.ok(!disk.overlapped, 'two writes at once')
  })
  const result = await fc.check(property, { numRuns: 300 })
  t.notOk(result.failed, result.failed ? fc.defaultReportMessage(result) : '300 histories')
  t.end()
})

// ---- the end ----------------------------------------------------------------------------------------------------------

test('persistence: close saves a last time and leaves nothing behind', async (t) => {
  const { clock, load, learn, writes, persistence, disk } = setUp(textOf(1))
  await load()
  learn()
  const closed = persistence.close()
  t.equal(persistence.close(), closed, 'twice is once')
  await closed
  t.equal(routesIn(disk.text ?? ''), 2)
  t.equal(writes(), 1)
  t.equal(clock.pending, 0)
  learn()
  t.equal(await persistence.flush(), false)
  await clock.advanceAsync(100_000)
  t.equal(writes(), 1, 'nothing after the end')
  t.end()
})

test('persistence: close without changes does not write', async (t) => {
  const { load, writes, persistence } = setUp(textOf(1))
  await load()
  await persistence.close()
  t.equal(writes(), 0)
  t.end()
})

test('persistence: close during a write waits for it and then saves the rest', async (t) => {
  const { clock, load, learn, gates, persistence, disk } = setUp(null)
  await load()
  disk.isGated = true
  learn()
  await clock.advanceAsync(1_000)
  learn()
  let isClosed = false
  const closed = persistence.close().then(() => {
    isClosed = true
  })
  await clock.advanceAsync(10_000)
  t.notOk(isClosed)
  gates.shift()?.()
  await clock.advanceAsync(0)
  gates.shift()?.()
  await closed
  t.equal(routesIn(disk.text ?? ''), 2)
  t.notOk(disk.overlapped)
  t.equal(clock.pending, 0)
  t.end()
})

test('persistence: close comes to its end when the last save fails, and says so', async (t) => {
  const { clock, load, learn, persistence, disk, fail, lines, writes } = setUp(textOf(1))
  await load()
  learn()
  fail.write = error('EROFS')
  await persistence.close()
  t.match(lines.join('\n'), /EROFS/)
  t.equal(routesIn(disk.text ?? ''), 1)
  t.equal(clock.pending, 0, 'no retry is left')
  await clock.advanceAsync(100_000)
  t.equal(writes(), 1)
  t.end()
})

test('persistence: close before the table was read neither applies nor overwrites it', async (t) => {
  const { clock, load, learn, persistence, disk, gates, state, writes } = setUp(textOf(5))
  disk.isGated = true
  const loaded = load()
  learn()
  const closed = persistence.close()
  await clock.advanceAsync(5_000)
  gates.shift()?.()
  t.deepEqual(await loaded, { status: 'closed' })
  await closed
  t.equal(state.routeCount, 1, 'not applied')
  t.equal(writes(), 0)
  t.equal(routesIn(disk.text ?? ''), 5)
  t.equal(clock.pending, 0)
  t.end()
})

for (const isFailing of [false, true])
  test(`persistence: close while bad entries are brought to safety${isFailing ? ' in vain' : ''} saves nothing`, async (t) => {
    const { clock, load, learn, persistence, disk, gates, state, writes, fail } = setUp(WITH_BAD_ENTRIES)
    const loaded = load()
    disk.isGated = true
    await clock.advanceAsync(0)
    learn()
    const closed = persistence.close()
    if (isFailing) fail.copyAside = error('EIO')
    for (const open of gates.splice(0)) open()
    t.deepEqual(await loaded, { status: 'closed' })
    await closed
    t.equal(state.routeCount, 3)
    t.equal(writes(), 0)
    t.end()
  })

test('persistence: close without load leaves the file as it is', async (t) => {
  const { learn, persistence, disk, calls, load } = setUp(textOf(5))
  learn()
  await persistence.close()
  t.deepEqual(calls, [])
  t.equal(routesIn(disk.text ?? ''), 5)
  t.deepEqual(await load(), { status: 'closed' })
  t.end()
})

// ---- loading ----------------------------------------------------------------------------------------------------------

test('persistence: what is learned before the table was read is saved after, together with it', async (t) => {
  const { clock, load, learn, persistence, disk, gates, writes } = setUp(textOf(5))
  disk.isGated = true
  learn()
  const loaded = load()
  const flushed = persistence.flush()
  await clock.advanceAsync(120_000)
  t.equal(writes(), 0, 'not before, or the file would shrink')
  t.equal(clock.pending, 0)
  disk.isGated = false
  gates.shift()?.()
  t.deepEqual(await loaded, { status: 'loaded', routeCount: 5, peerCount: 0, skippedCount: 0 })
  t.equal(await flushed, true, 'a flush meant this change, and waits for it')
  t.equal(routesIn(disk.text ?? ''), 6)
  t.end()
})

test('persistence: a table that was loaded is not written back', async (t) => {
  const { clock, load, writes } = setUp(textOf(3))
  await load()
  await clock.advanceAsync(600_000)
  t.equal(writes(), 0)
  t.end()
})

for (const code of ['EACCES', 'EIO', 'EPERM', 'EMFILE', 'EISDIR'])
  test(`persistence: a table that cannot be read (${code}) is never overwritten, and that is said`, async (t) => {
    const { clock, load, learn, persistence, fail, lines, calls, disk } = setUp(textOf(5), {
      importLegacy: async () => {
        t.fail('nothing is imported')
        return { routes: [], peers: [], skipped: [] }
      },
    })
    fail.read = error(code)
    t.deepEqual(await load(), { status: 'unreadable', error: { message: `${code}: no luck`, code } })
    t.equal(lines.length, 1)
    t.match(
      lines[0] ?? '',
      new RegExp(`^error: cannot read ${PATH}: ${code}: no luck. Nothing is saved until the next start`),
    )
    delete fail.read
    learn()
    t.equal(clock.pending, 0, 'no timer')
    t.equal(await persistence.flush(), false)
    await clock.advanceAsync(600_000)
    await persistence.close()
    t.deepEqual(calls, ['read'])
    t.equal(routesIn(disk.text ?? ''), 5)
    t.end()
  })

for (const [title, text, says] of [
  ['is damaged', `x${textOf(5)}`, /it is no JSON/],
  ['is empty', '', /it is no JSON/],
  ['comes from a newer version', '{"version":2,"everything":"else"}', /version 2 is newer than 1/],
] as const)
  test(`persistence: a file that ${title} is set aside, and saving starts anew`, async (t) => {
    const { clock, load, learn, lines, calls, disk, state } = setUp(text, {
      importLegacy: async () => {
        t.fail('nothing is imported')
        return { routes: [], peers: [], skipped: [] }
      },
    })
    const outcome = await load()
    t.equal(outcome.status, 'setAside')
    if (outcome.status === 'setAside') {
      t.equal(outcome.file, 'connection-manager.json.corrupt-1')
      t.equal(outcome.error.code, 'ERR_STORED_STATE')
    }
    t.deepEqual(disk.aside, [text])
    t.match(lines[0] ?? '', says)
    t.match(lines[0] ?? '', /^error: stored state \/ssb\/.* set aside as connection-manager.json.corrupt-1/)
    t.equal(state.routeCount, 0)
    learn()
    await clock.advanceAsync(1_000)
    t.deepEqual(calls, ['read', 'setAside', 'write'])
    t.equal(routesIn(disk.text ?? ''), 1)
    t.end()
  })

test('persistence: after a file was set aside there is a new one, so that the next start is not taken for the first', async (t) => {
  const { clock, load, disk } = setUp('damaged')
  await load()
  await clock.advanceAsync(1_000)
  t.equal(routesIn(disk.text ?? ''), 0)
  t.end()
})

test('persistence: a damaged file that cannot be set aside stays, and nothing is saved', async (t) => {
  const { clock, load, learn, persistence, fail, disk, lines, writes } = setUp('damaged')
  fail.setAside = error('EACCES')
  t.equal((await load()).status, 'unreadable')
  learn()
  await clock.advanceAsync(600_000)
  await persistence.close()
  t.equal(disk.text, 'damaged')
  t.equal(writes(), 0)
  t.match(lines.join('\n'), /it is no JSON(.|\n)*cannot set .* aside: EACCES(.|\n)*Nothing is saved/)
  t.end()
})

test('persistence: bad entries are skipped, named, and kept in a copy', async (t) => {
  const { clock, load, lines, calls, disk, state } = setUp(WITH_BAD_ENTRIES)
  t.deepEqual(await load(), { status: 'loaded', routeCount: 2, peerCount: 0, skippedCount: 7 })
  t.equal(state.routeCount, 2)
  t.match(lines[0] ?? '', /^warning: \/ssb\/.*: 7 entries skipped\. routes\[1\] "foo": .*routes\[5\] .*; 2 more$/)
  t.match(lines[1] ?? '', /copied to connection-manager.json.corrupt-1/)
  t.deepEqual(disk.aside, [WITH_BAD_ENTRIES])
  await clock.advanceAsync(1_000)
  t.deepEqual(calls, ['read', 'copyAside', 'write'], 'the copy comes first, and once')
  t.equal(routesIn(disk.text ?? ''), 2)
  t.end()
})

test('persistence: without a copy of the bad entries the good ones are used, and nothing is overwritten', async (t) => {
  const { clock, load, learn, fail, disk, state, writes, lines } = setUp(WITH_BAD_ENTRIES)
  fail.copyAside = error('ENOSPC')
  t.equal((await load()).status, 'unreadable')
  t.equal(state.routeCount, 2)
  learn()
  await clock.advanceAsync(600_000)
  t.equal(writes(), 0)
  t.equal(disk.text, WITH_BAD_ENTRIES)
  t.match(lines.join('\n'), /cannot copy .*ENOSPC.*Nothing is saved/)
  t.end()
})

test('persistence: a store that makes no copies skips bad entries all the same', async (t) => {
  const memory = memoryFiles(WITH_BAD_ENTRIES)
  const { read, write, setAside } = memory.files
  const { load, state, lines } = setUp(null, { files: { read, write, setAside } })
  t.equal((await load()).status, 'loaded')
  t.equal(state.routeCount, 2)
  t.match(lines[0] ?? '', /^warning: the stored table: 7 entries/)
  t.end()
})

test('persistence: if the state does not take the table, the file stays as it is', async (t) => {
  const { clock, persistence, learn, disk, lines, writes } = setUp(textOf(5))
  let caught: unknown = null
  const failure = new Error('invariant')
  await persistence
    .load(() => {
      throw failure
    })
    .catch((error: unknown) => {
      caught = error
    })
  t.equal(caught, failure)
  learn()
  await clock.advanceAsync(600_000)
  await persistence.close()
  t.equal(writes(), 0)
  t.equal(routesIn(disk.text ?? ''), 5)
  t.match(lines.join('\n'), /could not be taken in: invariant/)
  t.end()
})

test('persistence: of a file that was cut short all whole entries are kept, and a copy', async (t) => {
  const text = textOf(5).slice(0, -20)
  const { clock, load, lines, calls, disk, state } = setUp(text)
  t.deepEqual(await load(), { status: 'loaded', routeCount: 4, peerCount: 0, skippedCount: 1 })
  t.equal(state.routeCount, 4)
  t.match(lines.join('\n'), /the end of the file: cut off within an entry(.|\n)*copied to/)
  t.deepEqual(disk.aside, [text])
  await clock.advanceAsync(1_000)
  t.deepEqual(calls, ['read', 'copyAside', 'write'])
  t.equal(routesIn(disk.text ?? ''), 4)
  t.end()
})

test('persistence: load may be called once', async (t) => {
  const { load, state } = setUp(textOf(5))
  await load()
  let caught: unknown = null
  await load().catch((error: unknown) => {
    caught = error
  })
  t.ok(caught instanceof Error)
  t.equal(state.routeCount, 5)
  t.end()
})

// ---- tables of older software -----------------------------------------------------------------------------------------

function legacyTables(routeCount: number): StoredTables {
  const routes = Array.from({ length: routeCount }, (_, i) => ({
    route: parseAddress(addressOf(i + 1))[0]!,
    isLocal: false,
    source: 'stored',
    addedAt: 0,
    lastConnectionTime: 0,
    lastErrorTime: 0,
    connectionCount: 0,
    errorCount: 0,
    backoffStep: 0,
    nextAttemptAt: 0,
    errors: [],
    duration: null,
  }))
  return { routes, peers: [], skipped: [{ entry: 'gossip.json[3]', error: { message: 'no address', code: null } }] }
}

test('persistence: on the first start the old tables are imported and saved', async (t) => {
  const { clock, load, lines, disk } = setUp(null, { importLegacy: async () => legacyTables(3) })
  t.deepEqual(await load(), { status: 'imported', routeCount: 3, peerCount: 0, skippedCount: 1 })
  t.match(lines.join('\n'), /1 entries skipped\. gossip\.json\[3\]: no address\n.*imported 3 routes/)
  await clock.advanceAsync(1_000)
  t.equal(routesIn(disk.text ?? ''), 3)
  t.end()
})

test('persistence: with a file of our own nothing is imported', async (t) => {
  const { load, state } = setUp(textOf(1), {
    importLegacy: async () => {
      t.fail('asked')
      return legacyTables(3)
    },
  })
  t.equal((await load()).status, 'loaded')
  t.equal(state.routeCount, 1)
  t.end()
})

test('persistence: with nothing to import there is nothing to save', async (t) => {
  const { clock, load, calls } = setUp(null, { importLegacy: async () => legacyTables(0) })
  t.deepEqual(await load(), { status: 'fresh', routeCount: 0, peerCount: 0, skippedCount: 1 })
  t.equal(clock.pending, 0)
  t.deepEqual(calls, ['read'])
  t.end()
})

test('persistence: old tables that cannot be read are waited for: no file, no import missed', async (t) => {
  const { clock, load, learn, persistence, lines, calls } = setUp(null, {
    importLegacy: () => Promise.reject(error('EIO')),
  })
  t.equal((await load()).status, 'unreadable')
  learn()
  await clock.advanceAsync(600_000)
  await persistence.close()
  t.deepEqual(calls, ['read'])
  t.match(lines[0] ?? '', /cannot read the tables of older software: EIO/)
  t.end()
})

test('persistence: close during an import applies nothing', async (t) => {
  const gate: { open?: () => void } = {}
  const { clock, load, persistence, state, writes } = setUp(null, {
    importLegacy: async () => {
      await new Promise<void>((resolve) => {
        gate.open = resolve
      })
      return legacyTables(3)
    },
  })
  const loaded = load()
  await clock.advanceAsync(0)
  const closed = persistence.close()
  gate.open?.()
  t.deepEqual(await loaded, { status: 'closed' })
  await closed
  t.equal(state.routeCount, 0)
  t.equal(writes(), 0)
  t.end()
})

// ---- how it is read ---------------------------------------------------------------------------------------------------

test('persistence: where each entry takes long, each is taken in by a turn of its own, and dialing waits for some', async (t) => {
  const time = virtualClock(T0)
  /** At which timer each slice came, and how many routes it had. */
  const slices: { readonly turn: number; readonly count: number }[] = []
  const usable: { readonly turn: number; readonly routeCount: number }[] = []
  let state = initialState(DEFAULT_OPTIONS, T0)
  const persistence = startPersistence({
    files: memoryFiles(textOf(100)).files,
    // As on a phone that has just started: whenever somebody looks at the clock, 2 ms have passed.
    clock: {
      ...time,
      now: () => {
        time.jump(2)
        return time.now()
      },
    },
    getState: () => state,
    log: () => {},
  })
  const loading = persistence.load(
    ({ routes, peers }) => {
      slices.push({ turn: time.fired, count: routes.length })
      state = reduce(state, { type: 'table/loaded', at: T0, routes, peers })
    },
    () => usable.push({ turn: time.fired, routeCount: state.routes.size }),
  )
  await time.advanceAsync(10_000)
  t.equal((await loading).status, 'loaded')
  t.equal(state.routes.size, new Set(snapshotOf(100).routes.map(({ address }) => address)).size)
  t.deepEqual([...new Set(slices.map(({ count }) => count))], [1], 'one at a time')
  t.equal(new Set(slices.map(({ turn }) => turn)).size, slices.length, 'each in a turn of its own')
  t.equal(usable.length, 1)
  t.ok((usable[0]?.routeCount ?? 0) > 10, `it is usable with ${usable[0]?.routeCount} routes`)
  t.notOk(
    slices.some(({ turn }) => turn === usable[0]?.turn),
    'what follows from that has a turn of its own',
  )
  await persistence.close()
  t.end()
})

test('persistence: a table of one route is usable when it is read', async (t) => {
  const usable: number[] = []
  let state = initialState(DEFAULT_OPTIONS, T0)
  const persistence = startPersistence({
    files: memoryFiles(textOf(1)).files,
    clock: virtualClock(T0),
    getState: () => state,
    log: () => {},
  })
  await persistence.load(
    ({ routes, peers }) => {
      state = reduce(state, { type: 'table/loaded', at: T0, routes, peers })
    },
    () => usable.push(state.routes.size),
  )
  t.deepEqual(usable, [1])
  await persistence.close()
  t.end()
})
