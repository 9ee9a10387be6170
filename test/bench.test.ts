/**
 * The harness of `npm run bench` at a small size: that every row has a figure or a reason, and what can be counted of a
 * decision instead of timed. No figure of time is looked at.
 */
import { spawnSync } from 'child_process'
import { mkdtempSync, readFileSync, rmSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import { SUITES } from '../bench/rows'
import { LAN_PEERS, lanReports, MAX_BY_TYPE, MAX_ROUTES, snapshotText } from '../bench/table'
import { HOUR_MS, type Mood, makeLan, START_AT } from '../bench/world'
import { parseSnapshot } from '../src/core/snapshot'
import { createManager } from '../src/manager'
import { seededRandom, virtualClock } from '../src/testing'

const ROOT = join(__dirname, '..')

interface Figures {
  readonly suites: readonly { readonly name: string; readonly growth: { readonly exponents: object } }[]
  readonly results: readonly {
    readonly subject: string
    readonly size: number
    readonly cells: {
      readonly [row: string]:
        | { readonly figure: { readonly median: number; readonly min: number; readonly max: number } }
        | { readonly absent: string }
    }
  }[]
}

test('bench: every row of the connections has a figure or says why not, in the table and as JSON', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bench-test-'))
  const file = join(folder, 'figures.json')
  const harness = ['--require', 'tsx/cjs', join(ROOT, 'bench/run.ts'), '--suite', 'connections', '--smoke']
  const given = ['--routes', '150', '--only', 'ours,floor', '--json', file]
  const { status, stdout, stderr } = spawnSync(process.execPath, [...harness, ...given], {
    encoding: 'utf8',
    cwd: ROOT,
  })
  t.equal(status, 0, `it ends well ${status === 0 ? '' : stderr}`)
  const { results, suites } = JSON.parse(readFileSync(file, 'utf8')) as Figures
  rmSync(folder, { recursive: true, force: true })
  const rows = SUITES.find(({ name }) => name === 'connections')?.rows ?? []
  t.deepEqual(
    results.map(({ subject, size }) => [subject, size]),
    [
      ['ours', 150],
      ['floor', 150],
    ],
    'what was asked for, and nothing else',
  )
  for (const { subject, cells } of results) {
    t.deepEqual(Object.keys(cells).sort(), rows.map(({ id }) => id).sort(), `${subject}: all rows are there`)
    const bad = Object.entries(cells).filter(([, cell]) =>
      'figure' in cell
        ? !Number.isFinite(cell.figure.median) || cell.figure.min > cell.figure.max
        : typeof cell.absent !== 'string' || cell.absent.length < 5,
    )
    t.deepEqual(bad, [], `${subject}: each with a figure or a reason`)
  }
  const ours = results.find(({ subject }) => subject === 'ours')?.cells ?? {}
  t.deepEqual(
    Object.keys(ours).filter((row) => 'absent' in ours[row]! && row !== 'churnBytes'),
    [],
    'ours can do all of them (what is written is known on Linux only)',
  )
  const never = ours.wakeUpsIdle
  t.equal(never && 'figure' in never ? never.figure.max : null, 0, 'no timer fires while nothing is due')
  for (const { title } of rows) t.ok(stdout.includes(title), `printed: ${title}`)
  t.equal(typeof suites[0]?.growth.exponents, 'object', 'the powers of growth are part of it')
  t.end()
})

// ---- counted, not timed -----------------------------------------------------------------------------------------------

/** A manager with a drawn table, whose dials are accepted at once. */
function filled(size: number, mood: Mood) {
  const clock = virtualClock(START_AT)
  const dials: string[] = []
  const connections: { readonly address: string; readonly end: () => void }[] = []
  let isHeld = false
  const manager = createManager({
    connectToPeer: (address: string, cb: (error?: unknown, connection?: unknown) => void): void => {
      dials.push(address)
      if (isHeld) return
      const listeners: (() => void)[] = []
      const end = (): void => {
        connections.splice(
          connections.findIndex((each) => each.end === end),
          1,
        )
        for (const listener of listeners.splice(0)) listener()
      }
      connections.push({ address, end })
      const rpc = {
        on: (event: string, listener: () => void) => void (event === 'closed' && listeners.push(listener)),
        close: (_abort: true, done: () => void) => {
          end()
          done()
        },
      }
      cb(null, rpc)
    },
    clock,
    random: seededRandom(1),
    maxByType: MAX_BY_TYPE,
    maxRoutes: MAX_ROUTES,
  })
  const { internal } = manager
  internal.load(parseSnapshot(snapshotText(size - LAN_PEERS[mood], mood)))
  internal.report(lanReports(makeLan(LAN_PEERS[mood])))
  manager.connections.start()
  clock.advance(120_000)
  const slots = Object.values(MAX_BY_TYPE).reduce((sum, count) => sum + count, 0)
  return {
    manager,
    clock,
    dials,
    connections,
    slots,
    hold: () => {
      isHeld = true
    },
  }
}

test('bench: an hour with all slots taken and nobody due', (t) => {
  for (const size of [300, 2_000]) {
    const { manager, clock, dials, connections, slots } = filled(size, 'paused')
    t.ok(connections.length >= slots, `${size}: the slots are full`)
    const before = { fired: clock.fired, dials: dials.length }
    clock.advance(HOUR_MS)
    t.deepEqual({ fired: clock.fired, dials: dials.length }, before, `${size}: no timer, no dial`)
    manager.close()
  }
  t.end()
})

test('bench: an hour with all slots taken and others waiting', (t) => {
  const { manager, clock, connections, slots } = filled(1_000, 'usual')
  t.ok(connections.length >= slots, 'the slots are full')
  const before = clock.fired
  clock.advance(HOUR_MS)
  t.ok(clock.fired > before, 'it rotates')
  // Nobody has been dialed yet: the new ones are tried as fast as anybody has had his share.
  t.ok(clock.fired - before <= 180, `at most 180 timers: ${clock.fired - before}`)
  manager.close()
  t.end()
})

test('bench: nothing happens before the time that was named', (t) => {
  const { manager, clock } = filled(1_000, 'usual')
  let actions = 0
  manager.internal.store.subscribe(() => {
    actions++
  })
  let waits = 0
  for (let i = 0; i < 20; i++) {
    const wakeAt = manager.internal.wakeAt()
    if (wakeAt === null) break
    const before = { fired: clock.fired, actions }
    clock.advance(wakeAt - clock.now() - 1)
    if (clock.fired !== before.fired || actions !== before.actions) t.fail(`woken before ${wakeAt}`)
    clock.advance(1)
    if (clock.fired === before.fired) t.fail(`not woken at ${wakeAt}`)
    waits++
  }
  t.ok(waits > 5, `${waits} times`)
  manager.close()
  t.end()
})

interface Comparing {
  _compare: (a: unknown, b: unknown) => number
}

/** Counts how often entries of the state's trees are looked at from now on: copies of a tree compare by the same function. */
function countLooks(state: object): { readonly trees: number; readonly taken: () => number } {
  let looks = 0
  let trees = 0
  for (const value of Object.values(state) as Partial<Comparing>[]) {
    if (typeof value?._compare !== 'function') continue
    const compare = value._compare
    const counting: Comparing['_compare'] = (a, b) => {
      looks++
      return compare(a, b)
    }
    Object.assign(value, { _compare: counting })
    trees++
  }
  return {
    trees,
    taken: () => {
      const taken = looks
      looks = 0
      return taken
    },
  }
}

const CYCLES = 30

function median(counts: readonly number[]): number {
  return [...counts].sort((a, b) => a - b)[counts.length >> 1] ?? Number.NaN
}

/** Looks and actions of a lost connection with all that follows, up to and with the next dial; medians over some of them. */
function costOfLoss(size: number): { readonly trees: number; readonly looks: number; readonly actions: number } {
  const { manager, clock, connections, dials } = filled(size, 'usual')
  const { store } = manager.internal
  let actions = 0
  store.subscribe(() => {
    actions++
  })
  const counted = countLooks(store.getState())
  const looks: number[] = []
  const total: number[] = []
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    clock.advance(20_000)
    const lost = connections.find(({ address }) => address.startsWith('net:') && !address.includes('192.168.'))
    const before = dials.length
    counted.taken()
    actions = 0
    lost?.end()
    clock.flush()
    if (dials.length === before) throw new Error('nobody is dialed')
    looks.push(counted.taken())
    total.push(actions)
  }
  manager.close()
  return { trees: counted.trees, looks: median(looks), actions: median(total) }
}

test('bench: what a lost connection costs does not grow with the table', (t) => {
  const small = costOfLoss(1_000)
  const large = costOfLoss(10_000)
  t.ok(small.trees > 3 && small.looks > 20, `there is something to count: ${small.trees} trees, ${small.looks} looks`)
  t.ok(large.looks < 5_000, `at 10 000 routes few entries are looked at: ${large.looks.toFixed(0)}`)
  t.ok(
    large.looks <= 1.78 * small.looks,
    `ten times the routes, at most 10^0.25 times the looks: ${small.looks.toFixed(0)}, ${large.looks.toFixed(0)}`,
  )
  t.ok(Math.abs(large.actions - small.actions) <= 1, `as many actions: ${small.actions}, ${large.actions}`)
  t.end()
})
