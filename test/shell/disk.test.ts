/**
 * The journal and the slices of persistence, in virtual time on a disk in memory that can stop at any step: what is loaded
 * after a crash is the state at one of the saves, no older than the last that was confirmed.
 */
import assert = require('assert')
import fc = require('fast-check')
import test = require('tape')

import type { Action, RouteReport } from '../../src/core/actions'
import { parseAddress } from '../../src/core/address'
import { journalHeader } from '../../src/core/journal'
import { DEFAULT_OPTIONS } from '../../src/core/options'
import { initialState, reduce } from '../../src/core/reducer'
import { toSnapshot } from '../../src/core/snapshot'
import type { State } from '../../src/core/table'
import { createManager } from '../../src/manager'
import { type FileStore, type LoadedSlice, startPersistence } from '../../src/shell/persistence'
import { virtualClock } from '../../src/testing'

const T0 = Date.UTC(2026, 0, 1)
const OPTIONS = { ...DEFAULT_OPTIONS, maxRoutes: 100_000 }

function keyOf(n: number): string {
  const bytes = Buffer.alloc(32)
  bytes.writeUInt32LE(n)
  return bytes.toString('base64')
}
const addressOf = (n: number): string => `net:host${n}x.example:8008~shs:${keyOf(n)}`
const idOf = (n: number): string => `@${keyOf(n)}.ed25519`
const reportOf = (n: number, source = 'stored'): RouteReport => ({
  route: parseAddress(addressOf(n))[0]!,
  isLocal: false,
  source,
})
const added = (...ns: number[]): Action => ({ type: 'routes/added', at: T0, reports: ns.map((n) => reportOf(n)) })

/** Thrown where the process would be gone. */
const CRASH = new Error('crash')

/** A disk whose steps are counted; it stops for good at the one that is given, having done part of it. */
function memoryDisk() {
  const disk = {
    table: null as string | null,
    journal: null as string | null,
    steps: 0,
    crashAt: Number.POSITIVE_INFINITY,
    /** Of the text that is being written, how much still gets there. */
    share: 0,
    error: null as Error | null,
    bytes: 0,
    tables: 0,
    appends: 0,
    largestPiece: 0,
  }
  const step = (): boolean => {
    if (disk.steps >= disk.crashAt) throw CRASH
    return ++disk.steps >= disk.crashAt
  }
  const files: FileStore = {
    read: async () => disk.table,
    write: async () => {
      throw new Error('whole')
    },
    setAside: async () => {
      throw new Error('not here')
    },
    readPieces: async () => (disk.table === null ? null : inPieces(disk.table)),
    writePieces: async (pieces) => {
      let text = ''
      for await (const piece of pieces) {
        // To the temporary file, of which nothing is seen.
        if (step()) throw CRASH
        text += piece
        disk.largestPiece = Math.max(disk.largestPiece, piece.length)
      }
      if (disk.error) throw disk.error
      disk.bytes += text.length
      disk.tables++
      // The rename takes place or does not; either way nobody hears of it.
      const isLast = step()
      if (!isLast || disk.share > 0.5) disk.table = text
      if (isLast) throw CRASH
    },
    journal: {
      read: async () => (disk.journal === null ? null : inPieces(disk.journal)),
      append: async (text, size) => {
        assert.ok(/^[\0-\x7f]*$/.test(text), 'ASCII')
        if (size === 0) {
          const isLast = step()
          disk.journal = null
          if (isLast) throw CRASH
        } else if ((disk.journal ?? '').length !== size) {
          throw new Error(`the journal has ${disk.journal?.length} bytes and should have ${size}`)
        }
        disk.bytes += text.length
        disk.appends++
        const isLast = step()
        const isBroken = isLast || disk.error !== null
        disk.journal = (disk.journal ?? '') + (isBroken ? text.slice(0, Math.floor(text.length * disk.share)) : text)
        if (isLast) throw CRASH
        if (disk.error) throw disk.error
      },
    },
  }
  return { disk, files }
}

async function* inPieces(text: string, length = 4_096): AsyncGenerator<string, void> {
  for (let at = 0; at < text.length; at += length) yield text.slice(at, at + length)
}

/** A process on a disk. */
function start({ files }: { readonly files: FileStore }, clock = virtualClock(T0)) {
  const lines: string[] = []
  let state = initialState(OPTIONS, T0)
  const slices: LoadedSlice[] = []
  const persistence = startPersistence({
    files,
    clock,
    getState: () => state,
    log: (level, message) => lines.push(`${level}: ${message}`),
  })
  const dispatch = (action: Action): void => {
    const before = state
    state = reduce(before, action)
    if (action.type !== 'table/loaded') persistence.changed(state.changedPeers, before)
  }
  /** Runs what is awaited, however many turns it takes. */
  const settle = async <T>(task: Promise<T>): Promise<T> => {
    let isDone = false
    const finished = task.finally(() => {
      isDone = true
    })
    finished.catch(() => {})
    for (let i = 0; i < 10_000 && !isDone; i++) await clock.advanceAsync(0)
    assert.ok(isDone, 'no end')
    return finished
  }
  const load = (onUsable?: () => void) =>
    settle(
      persistence.load((slice) => {
        slices.push(slice)
        dispatch({ type: 'table/loaded', at: clock.now(), ...slice })
      }, onUsable),
    )
  return {
    clock,
    lines,
    slices,
    persistence,
    dispatch,
    load,
    settle,
    flush: () => settle(persistence.flush()),
    get state() {
      return state
    },
  }
}

/** What is stored of a state, for comparison. */
function storedOf(state: State): unknown {
  const { peers, routes } = toSnapshot(state, 0)
  return { peers, routes }
}

const sizes = async (count: number) => {
  const made = memoryDisk()
  const first = start(made)
  await first.load()
  first.dispatch(added(...Array.from({ length: count }, (_, n) => n)))
  await first.flush()
  return { ...made, first }
}

// ---- saving -----------------------------------------------------------------------------------------------------------

test('disk: the first save is the table, the next ones are what has changed', async (t) => {
  const { disk, first } = await sizes(1_000)
  t.deepEqual([disk.tables, disk.appends], [1, 0])
  const before = disk.bytes
  first.dispatch({ type: 'peer/prioritised', at: T0, peer: idOf(5), priority: 'HIGH' })
  await first.clock.advanceAsync(1_000)
  t.deepEqual([disk.tables, disk.appends], [1, 1])
  t.ok(disk.bytes - before < 300, `${disk.bytes - before} bytes for one peer of ${before} bytes`)
  const header = disk.journal?.split('\n')[0] ?? ''
  t.equal(`${header}\n`, journalHeader((JSON.parse(disk.table ?? '') as { generation: number }).generation))
  t.equal(first.clock.pending, 0)
  t.end()
})

test('disk: what happens often and is not stored writes nothing', async (t) => {
  const { disk, first } = await sizes(10)
  const before = disk.bytes
  for (let i = 0; i < 100; i++) {
    first.dispatch({
      type: 'dial/started',
      at: T0,
      attempt: i,
      peer: idOf(1),
      address: addressOf(1),
      cause: 'schedule',
    })
    first.dispatch({ type: 'dial/abandoned', at: T0, attempt: i, peer: idOf(1) })
  }
  await first.clock.advanceAsync(100_000)
  t.equal(disk.bytes, before)
  t.end()
})

test('disk: ten minutes of churn in a table of 10 000 routes write less than 2 MB', async (t) => {
  const { disk, first } = await sizes(10_000)
  const { clock } = first
  const before = disk.bytes
  for (let second = 0; second < 600; second++) {
    for (let i = 0; i < 4; i++) {
      const n = (second * 4 + i) % 800
      const at = clock.now()
      const dial = { at, attempt: second * 4 + i, peer: idOf(n), address: addressOf(n) }
      first.dispatch({ type: 'dial/started', ...dial, cause: 'schedule' })
      first.dispatch({
        type: 'dial/failed',
        ...dial,
        error: { message: `connect ECONNREFUSED host${n}x.example:8008`, code: 'ECONNREFUSED' },
        jitter: 0.5,
        isGivenUp: false,
      })
    }
    await clock.advanceAsync(1_000)
  }
  await first.flush()
  const written = disk.bytes - before
  t.ok(written < 2_000_000, `${written} bytes in ${disk.appends} saves of 2 400 failed dials`)
  t.equal(disk.tables, 1, 'and no table')
  t.end()
})

test('disk: a journal that has grown to half of the table makes way for a new one', async (t) => {
  const { disk, files, first } = await sizes(300)
  const data = { text: 'x'.repeat(1_500) }
  let largest = 0
  for (let round = 0; round < 12; round++) {
    for (let n = 0; n < 300; n++)
      first.dispatch({
        type: 'route/annotated',
        at: T0,
        address: addressOf(n),
        data: { ...data, round },
        isAutomatic: true,
      })
    t.equal(await first.flush(), true)
    largest = Math.max(largest, disk.journal?.length ?? 0)
    const again = start({ files })
    t.equal((await again.load()).status, 'loaded')
    t.deepEqual(storedOf(again.state), storedOf(first.state), `round ${round}`)
  }
  t.ok(disk.tables > 2 && disk.tables < 8, `${disk.tables} tables, ${disk.appends} additions`)
  t.ok(largest <= 1_048_576 + 200, `a journal of ${largest}`)
  t.end()
})

test('disk: when the journal is not as it was left, the table is written whole', async (t) => {
  const { disk, files, first } = await sizes(10)
  first.dispatch(added(20))
  await first.flush()
  disk.journal += 'of somebody else\n'
  first.dispatch(added(21))
  t.equal(await first.flush(), false)
  await first.clock.advanceAsync(1_000)
  t.equal(disk.tables, 2)
  const again = start({ files })
  await again.load()
  t.deepEqual(storedOf(again.state), storedOf(first.state))
  t.end()
})

// ---- crashes ----------------------------------------------------------------------------------------------------------

const actionArb: fc.Arbitrary<Action> = fc.oneof(
  fc.integer({ max: 400, min: 0 }).map((n) => added(n)),
  fc.integer({ max: 400, min: 0 }).map((n): Action => ({ type: 'route/removed', at: T0, address: addressOf(n) })),
  fc
    .tuple(fc.integer({ max: 20, min: 0 }), fc.constantFrom('HIGH', 'BANNED', null))
    .map(([n, priority]): Action => ({ type: 'peer/prioritised', at: T0, peer: idOf(n), priority })),
  // Enough for a new table after some of them.
  fc.integer({ max: 99, min: 0 }).map((n): Action => ({ type: 'routes/added', at: T0, reports: bulk(n) })),
)
const bulk = (n: number): RouteReport[] =>
  Array.from({ length: 40 }, (_, i) => reportOf(1_000 + n * 40 + i, 'x'.repeat(60)))

test('disk: after a crash at any step the table is the one of the last save or of the one under way', async (t) => {
  const historyArb = fc.array(fc.array(actionArb, { minLength: 1, maxLength: 6 }), { minLength: 2, maxLength: 8 })
  let crashes = 0
  const property = fc.asyncProperty(
    historyArb,
    fc.integer({ min: 1, max: 12 }),
    fc.double({ min: 0, max: 1, noNaN: true }),
    async (history, crashAt, share) => {
      const made = memoryDisk()
      const run = start(made)
      await run.load()
      made.disk.share = share
      let confirmed = storedOf(run.state)
      let underWay = confirmed
      let isFirst = true
      for (const [i, actions] of history.entries()) {
        // From the second save on: before that there may be no file.
        if (i === 1) made.disk.crashAt = made.disk.steps + crashAt
        for (const action of actions) run.dispatch(action)
        underWay = storedOf(run.state)
        if (!(await run.flush())) break
        confirmed = underWay
        isFirst = false
      }
      if (isFirst) return
      if (made.disk.steps >= made.disk.crashAt) crashes++
      made.disk.crashAt = Number.POSITIVE_INFINITY
      const next = start(made)
      const outcome = await next.load()
      assert.strictEqual(outcome.status, 'loaded')
      assert.deepStrictEqual(next.lines, [], 'nothing worth a word')
      const found = JSON.stringify(storedOf(next.state))
      assert.ok(found === JSON.stringify(confirmed) || found === JSON.stringify(underWay), 'neither of both')
      // And it goes on from there.
      next.dispatch(added(7_777))
      assert.strictEqual(await next.flush(), true)
      const last = start(made)
      await last.load()
      assert.deepStrictEqual(storedOf(last.state), storedOf(next.state))
    },
  )
  const result = await fc.check(property, { numRuns: 150 })
  t.notOk(result.failed, result.failed ? (fc.defaultReportMessage(result) ?? '') : '150 histories')
  t.ok(crashes > 20, `${crashes} crashes`)
  t.end()
})

test('disk: a failed addition, part of which is there, costs nothing', async (t) => {
  const made = await sizes(10)
  const { disk, first } = made
  first.dispatch(added(20))
  await first.flush()
  disk.error = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })
  disk.share = 0.7
  first.dispatch(added(21))
  t.equal(await first.flush(), false)
  const crashed = start(made)
  await crashed.load()
  t.ok(crashed.state.routes.has(addressOf(20)) && !crashed.state.routes.has(addressOf(21)))
  disk.error = null
  await first.clock.advanceAsync(1_000)
  const again = start(made)
  await again.load()
  t.deepEqual(storedOf(again.state), storedOf(first.state))
  t.end()
})

test('disk: corrupt lines of the journal are skipped and said, and gone with the next save', async (t) => {
  const made = await sizes(10)
  const { disk, first } = made
  for (const n of [20, 21, 22]) {
    first.dispatch(added(n))
    await first.flush()
  }
  disk.journal = (disk.journal ?? '').replace('host21x', 'host21\n')
  const again = start(made)
  const outcome = await again.load()
  t.equal(outcome.status, 'loaded')
  t.equal(again.state.routes.size, 12)
  t.match(again.lines.join('\n'), /the journal of .*: 2 entries skipped\. line 4 of the journal/)
  again.dispatch(added(23))
  await again.flush()
  const last = start(made)
  await last.load()
  t.deepEqual(last.lines, [])
  t.equal(last.state.routes.size, 13)
  t.end()
})

test('disk: the journal of another table is ignored', async (t) => {
  const made = await sizes(10)
  const { disk, first } = made
  const old = disk.table
  first.dispatch({ type: 'route/removed', at: T0, address: addressOf(1) })
  await first.flush()
  disk.table = (old ?? '').replace(/"generation":\d+/, '"generation":5')
  const again = start(made)
  await again.load()
  t.equal(again.state.routes.size, 10)
  again.dispatch(added(20))
  await again.flush()
  const last = start(made)
  await last.load()
  t.equal(last.state.routes.size, 11)
  t.end()
})

// ---- slices -----------------------------------------------------------------------------------------------------------

test('disk: a large table is read and written in turns, of so many entries each', async (t) => {
  const made = await sizes(5_000)
  t.ok(made.disk.largestPiece < 150_000, `pieces of ${made.disk.largestPiece} at most`)
  const { clock } = made.first
  t.ok(clock.fired >= 9, `${clock.fired} turns to write it`)
  const again = start(made)
  let usableAfter = -1
  await again.load(() => {
    usableAfter = again.state.routes.size
  })
  t.equal(again.state.routes.size, 5_000)
  t.ok(again.clock.fired >= 9, `${again.clock.fired} turns to read it`)
  t.ok(again.slices.every(({ routes, peers }) => routes.length + peers.length <= 64))
  t.ok(usableAfter > 0 && usableAfter < 100, `good for dialing after ${usableAfter} routes`)
  t.end()
})

test('disk: nothing is saved before all of a large table is in, and what happens meanwhile is then', async (t) => {
  const made = await sizes(3_000)
  const { disk } = made
  const before = disk.bytes
  const again = start(made)
  let flushed: Promise<boolean> | null = null
  await again.load(() => {
    // One that is in, one that is not yet.
    again.dispatch({ type: 'route/removed', at: T0, address: again.state.routes.keysArray()[0] ?? '' })
    again.dispatch(added(9_000))
    again.dispatch({ type: 'peer/prioritised', at: T0, peer: idOf(2_999), priority: 'BANNED' })
    flushed = again.persistence.flush()
    t.equal(disk.bytes, before)
  })
  t.equal(await again.settle(flushed ?? Promise.resolve(false)), true)
  t.equal(disk.tables, 1, 'for which no table is written')
  t.equal(again.state.routes.size, 3_000)
  const last = start(made)
  await last.load()
  t.deepEqual(storedOf(last.state), storedOf(again.state))
  t.equal(last.state.peers.get(idOf(2_999))?.priority, 'BANNED')
  t.end()
})

test('disk: close while a large table is read saves nothing and leaves no timer', async (t) => {
  const made = await sizes(3_000)
  const { disk } = made
  const kept = [disk.table, disk.journal]
  const again = start(made)
  let closed: Promise<void> | null = null
  const outcome = await again.load(() => {
    again.dispatch(added(9_000))
    closed = again.persistence.close()
  })
  t.deepEqual(outcome, { status: 'closed' })
  await again.settle(closed ?? Promise.reject(new Error('not reached')))
  t.ok(again.state.routes.size < 3_000)
  t.deepEqual([disk.table, disk.journal], kept)
  t.equal(again.clock.pending, 0)
  t.end()
})

test('disk: what a user removes or says while the table is read is not undone by it, and is stored', async (t) => {
  const made = await sizes(3_000)
  made.first.dispatch({ type: 'peer/longTermSet', at: T0, peer: idOf(2_000), isLongTerm: true })
  made.first.dispatch({ type: 'peer/prioritised', at: T0, peer: idOf(2_001), priority: 'BANNED' })
  await made.first.flush()
  const clock = virtualClock(T0)
  const run = () => {
    const manager = createManager({ connectToPeer: () => {}, clock, maxRoutes: 10_000 })
    const { internal } = manager
    const persistence = startPersistence({
      files: made.files,
      clock,
      getState: () => internal.store.getState(),
      log: (_, message) => t.fail(message),
    })
    internal.store.subscribe((action, before, after) => {
      if (action.type !== 'table/loaded') persistence.changed(after.changedPeers, before)
    })
    return { manager, internal, persistence }
  }
  const { manager, internal, persistence } = run()
  internal.loadingBegins()
  const unloaded = 2_500
  let isSaid = false
  await made.first.settle(
    (async () => {
      const loaded = persistence.load(
        (slice) => internal.load(slice),
        () => {
          t.notOk(internal.store.getState().routes.has(addressOf(unloaded)), 'not in yet')
          isSaid = true
          manager.peer.removeRoute({ address: addressOf(unloaded) })
          manager.peer.setPriority({ id: idOf(2_400), priority: 'BANNED' })
          manager.peer.setPriority({ id: idOf(2_001), priority: 'AUTO' })
          manager.peer.setLongTerm({ id: idOf(2_000), isLongTerm: false })
        },
      )
      const turn = async (): Promise<void> => {
        for (let i = 0; i < 200; i++) await clock.advanceAsync(0)
      }
      await Promise.all([loaded, turn()])
    })(),
  )
  internal.loadingEnded()
  t.ok(isSaid)
  const check = (state: State, when: string): void => {
    t.equal(state.routes.size, 2_999, when)
    t.notOk(state.routes.has(addressOf(unloaded)), 'what was removed is gone')
    t.equal(state.peers.get(idOf(2_400))?.priority, 'BANNED')
    t.equal(state.peers.get(idOf(2_001))?.priority, 'MEDIUM', 'the ban was lifted')
    t.equal(state.peers.get(idOf(2_000))?.isLongTerm, false)
  }
  check(internal.store.getState(), 'now')
  await made.first.settle(Promise.all([persistence.flush(), clock.advanceAsync(10)]))
  const last = start(made)
  await last.load()
  check(last.state, 'and at the next start')
  t.equal(
    internal.store.recent().some((action) => action.type === 'table/loaded'),
    false,
    'recent() is without the table',
  )
  manager.close()
  t.end()
})
