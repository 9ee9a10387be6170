/**
 * Our manager. For decisions and events it stands alone as `createManager` makes it: virtual clock, seeded chance, a transport
 * that answers as it is told. For hours, churn, start-up and stalls it is the plugin on a stack, with its table on the disk; what else the
 * stack adds (pings, the watches on the machine's network and on replication) is left out here and at the others.
 */
import { spawnSync } from 'child_process'
import { mkdirSync, writeFileSync } from 'fs'
import { join } from 'path'

import hoox = require('hoox')

import { type Mounted, mount } from '../../src/adapters/mount'
import { TABLE_FILE } from '../../src/adapters/node-files'
import type { Action, RouteReport } from '../../src/core/actions'
import { parseAddress } from '../../src/core/address'
import { slotsMax } from '../../src/core/options'
import { isEmptyPlan, plan } from '../../src/core/plan'
import { reduce } from '../../src/core/reducer'
import { parseSnapshot } from '../../src/core/snapshot'
import { firstDue, occupancyOf, type State } from '../../src/core/table'
import type { Plan, Route } from '../../src/core/types'
import { createManager } from '../../src/manager'
import { seededRandom, virtualClock } from '../../src/testing'
import { diskAtRest, type FakeDial, type FakeRpc, FakeStack, pause, settle } from '../fake-stack'
import { churn, type Hour, type Inhabited, idleHour, STALL_NEWCOMERS, stallFigure } from '../hours'
import {
  collectGarbage,
  cpuMs,
  exactly,
  type Figure,
  figureOf,
  heapOf,
  Laps,
  once,
  runsOf,
  type Setting,
  type Subject,
  scaled,
  stopwatch,
  TurnWatch,
  timePerCall,
} from '../measure'
import { LAN_PEERS, lanReports, MAX_BY_TYPE, MAX_ROUTES, snapshotText } from '../table'
import { HOUR_MS, type LanPeer, type Mood, makeLan, makeWorld, START_AT } from '../world'

// ---- a manager to measure ---------------------------------------------------------------------------------------------

/** A connection in the shape of a muxrpc. */
class Rpc {
  closed = false
  private readonly listeners: (() => void)[] = []

  constructor(readonly address: string) {}

  on(event: string, listener: () => void): this {
    if (event === 'closed') this.listeners.push(listener)
    return this
  }

  close(_abort: true, cb: () => void): void {
    this.end()
    cb()
  }

  /** The other side hangs up. */
  end(): void {
    if (this.closed) return
    this.closed = true
    for (const listener of this.listeners.splice(0)) listener()
  }
}

interface Dial {
  readonly address: string
  accept(): Rpc
  refuse(): void
}

class Harness {
  readonly clock = virtualClock(START_AT)
  readonly random = seededRandom(1)
  /** Open connections, oldest first. */
  readonly open = new Set<Rpc>()
  dialCount = 0
  /** What becomes of a dial. */
  onDial: (dial: Dial) => void = (dial) => void dial.accept()
  readonly manager = createManager({
    connectToPeer: (address: string, cb: (error?: unknown, connection?: unknown) => void): void => {
      this.dialCount++
      this.onDial({
        address,
        accept: () => {
          const rpc = new Rpc(address)
          this.open.add(rpc)
          rpc.on('closed', () => this.open.delete(rpc))
          cb(null, rpc)
          return rpc
        },
        refuse: () => cb(Object.assign(new Error(`connect ECONNREFUSED ${address}`), { code: 'ECONNREFUSED' })),
      })
    },
    clock: this.clock,
    random: this.random,
    maxByType: MAX_BY_TYPE,
    maxRoutes: MAX_ROUTES,
  })

  get state(): State {
    return this.manager.internal.store.getState()
  }

  load(text: string): void {
    this.manager.internal.load(parseSnapshot(text))
  }

  learn(reports: readonly RouteReport[]): void {
    this.manager.internal.store.dispatch({ type: 'routes/added', at: this.clock.now(), reports })
  }

  isFull(): boolean {
    return Object.keys(MAX_BY_TYPE).every(
      (name) => occupancyOf(this.state, name).connected === slotsMax(this.state.options, name),
    )
  }

  /** Goes on until every slot is taken and there is nothing left to do. */
  refill(): void {
    this.onDial = (dial) => void dial.accept()
    for (let second = 0; !this.isFull() || !isEmptyPlan(this.planNow()); second++) {
      if (second > 600) throw new Error(`the slots do not fill: ${JSON.stringify(this.state.occupancy)}`)
      this.clock.advance(1000)
    }
  }

  planNow(): Plan {
    return plan(this.state, this.clock.now())
  }
}

/** What has fallen due is ready: `plan` is asked by a scheduler that has seen to it. */
function settled(state: State, now: number): State {
  let next = state
  while (firstDue(next, now)) next = reduce(next, { type: 'clock/advanced', at: now })
  return next
}

interface Filled {
  /** Before the start, when nobody was connected. */
  readonly empty: State
  /** All slots full. The harness goes on from here, from row to row. */
  readonly full: State
  /** The time of both. */
  readonly now: number
  readonly harness: Harness
}

/** Loading takes longer than most of what is measured, so the rows share it; states are persistent. */
function fill({ size: routes }: Setting, mood: Mood): Filled {
  const harness = new Harness()
  harness.load(snapshotText(routes - LAN_PEERS[mood], mood))
  harness.learn(lanReports(makeLan(LAN_PEERS[mood])))
  const loaded = harness.state
  harness.manager.connections.start()
  harness.refill()
  const now = harness.clock.now()
  return { empty: settled(loaded, now), full: settled(harness.state, now), now, harness }
}

const usual = once((setting) => fill(setting, 'usual'))
const paused = once((setting) => fill(setting, 'paused'))

// ---- decisions --------------------------------------------------------------------------------------------------------

function planFull(setting: Setting, { full, now }: Filled): Figure {
  if (!isEmptyPlan(plan(full, now))) throw new Error('there is something to do though all slots are full')
  return timePerCall(setting, () => plan(full, now))
}

function timePlans(setting: Setting, states: readonly State[], now: number): Figure {
  let dials = 0
  for (const state of states) dials += plan(state, now).dials.length
  if (dials < states.length) throw new Error(`${dials} dials planned in ${states.length} states with slots free`)
  return timePerCall(setting, (i) => plan(states[i % states.length]!, now))
}

/** From each of the full states that lack one connection; the same plan over and over would be too easy. */
function planFree(setting: Setting): Figure {
  const { full, now } = usual(setting)
  const states: State[] = []
  for (const peer of full.outbound.keys())
    states.push(reduce(full, { type: 'connection/closed', at: now, peer, jitter: 0.5 }))
  return timePlans(setting, states, now)
}

function planEmpty(setting: Setting): Figure {
  const { empty, now } = usual(setting)
  return timePlans(setting, [reduce(empty, { type: 'connections/started', at: now })], now)
}

/** As after a suspend: what `clock/advanced` costs for each route that it makes ready. */
function fallDue(setting: Setting): Figure {
  const { full, now } = usual(setting)
  const action: Action = { type: 'clock/advanced', at: now + HOUR_MS }
  const moved = full.waiting.size - reduce(full, action).waiting.size
  const figure = timePerCall(setting, () => reduce(full, action))
  return { ...scaled(figure, 1 / moved), note: `${moved} in one action` }
}

// ---- events -----------------------------------------------------------------------------------------------------------

type Event = 'dialStarted' | 'dialFailed' | 'connected' | 'closed' | 'announced' | 'pinged'
const CYCLES = 40

/**
 * Reducer, store and whoever listens to it (log, live sources), without the plan that follows: the scheduler is paused. One
 * slot is free; each event meets another route.
 */
function timeEvents(setting: Setting): Laps<Event> {
  const { harness } = usual(setting)
  const { clock, manager } = harness
  const { store } = manager.internal
  manager.internal.pause()
  const first = [...harness.open].find((rpc) => rpc.address.startsWith('net:'))
  first?.end()
  const candidates = harness.state.ready.keysArray().filter((route) => route.queue === 'net')
  const step = Math.max(1, Math.floor(candidates.length / 4000))
  const pool = candidates.filter((_, i) => i % step === 0)
  const laps = new Laps<Event>()
  let attempt = 1_000_000
  let turn = 0

  const timed = (name: Event, work: () => void): void => {
    const elapsed = stopwatch()
    work()
    laps.add(name, elapsed())
  }
  const next = (): Route => {
    for (;;) {
      const route = pool[turn++ % pool.length]!
      if (harness.state.peers.get(route.peer)?.connection.status === 'idle') return route
    }
  }
  const dialOne = ({ peer, address }: Route): void => {
    const at = clock.now()
    timed('dialStarted', () =>
      store.dispatch({ type: 'dial/started', at, attempt: ++attempt, peer, address, cause: 'schedule' }),
    )
  }
  const failOne = (route: Route): void => {
    const { peer, address } = route
    dialOne(route)
    const error = { message: `connect ECONNREFUSED ${route.hostKey}`, code: 'ECONNREFUSED' }
    const rest = { error, jitter: 0.5, isGivenUp: false }
    timed('dialFailed', () => store.dispatch({ type: 'dial/failed', at: clock.now(), attempt, peer, address, ...rest }))
    // In its pause now: that it is heard of again lifts it.
    const report = { address, source: 'local' }
    timed('announced', () => void manager.peer.addRoute(report))
  }
  const connectOne = (route: Route): void => {
    const { peer, address } = route
    dialOne(route)
    timed('connected', () =>
      store.dispatch({
        type: 'connection/opened',
        at: clock.now(),
        peer,
        direction: 'outbound',
        address,
        attempt,
        cause: 'schedule',
      }),
    )
    timed('pinged', () => manager.internal.pinged(peer, 80, 5))
    clock.jump(1000)
    timed('closed', () => store.dispatch({ type: 'connection/closed', at: clock.now(), peer, jitter: 0.5 }))
  }

  for (const _ of laps.runs(setting, { cycles: CYCLES, full: 25, quick: 9 })) {
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      failOne(next())
      connectOne(next())
    }
    laps.endRun()
    clock.flush()
  }
  manager.internal.resume()
  harness.refill()
  return laps
}

const timeEventsOnce = once(timeEvents)

function event(name: Event): (setting: Setting) => Figure {
  return (setting) => timeEventsOnce(setting).figure(name)
}

/** The other side hangs up: from its event to the moment when the next dial has begun and the plan after it is made. */
function redial(setting: Setting): { readonly work: Figure; readonly wait: Figure } {
  const { harness } = usual(setting)
  const { clock } = harness
  const work: number[] = []
  const wait: number[] = []
  const runs = runsOf(setting, 150, 40, 3)
  const warmUp = setting.isSmoke ? 0 : 100
  for (let run = -warmUp; run < runs; run++) {
    clock.advance(20_000)
    const [rpc] = [...harness.open].filter((each) => each.address.startsWith('net:192') === false)
    if (!rpc || !harness.isFull()) throw new Error('the slots are not full')
    let pending: Dial | null = null
    harness.onDial = (dial) => {
      pending = dial
    }
    const lostAt = clock.now()
    const elapsed = stopwatch()
    rpc.end()
    clock.flush()
    const us = elapsed()
    for (let i = 0; pending === null && i < 600; i++) clock.advance(100)
    harness.onDial = (dial) => void dial.accept()
    const dial = pending as Dial | null
    if (!dial) throw new Error('nobody was dialed')
    if (run >= 0) {
      wait.push(clock.now() - lostAt)
      // Work that is done in another turn is not known.
      if (clock.now() === lostAt) work.push(us)
    }
    dial.accept()
    clock.advance(1000)
  }
  return { work: figureOf(work), wait: figureOf(wait) }
}

// ---- the plugin on a stack ---------------------------------------------------------------------------------------------

// Loading modules is no matter of these figures, and this one is loaded late.
require('../../src/adapters/import-legacy')
// How often it looks at the machine's network, and at what each peer has brought, is left out at all.
leaveOut(require('../../src/adapters/system'), 'watchSystem')
leaveOut(require('../../src/adapters/replication'), 'watchReplication')

/** In the place of what starts a watch and returns the function that ends it. */
function leaveOut(exported: object, name: string): void {
  if (!(name in exported)) throw new Error(`there is no ${name} any more`)
  Object.defineProperty(exported, name, { value: () => () => {}, configurable: true })
}

/** As `FakeStack`, with a `close` that plugins wrap, and without pings. */
class Stack extends FakeStack {
  protected override readonly hasPings = false
  /** Called once everything is closed. */
  onClosed = (): void => {}
  override readonly close = hoox(() => this.onClosed()) as FakeStack['close']
}

/** The plugin with what lies in the stack's folder. `own`: options of ours. */
function mountOn(stack: Stack, own: object = {}): Mounted {
  const options = { autostart: true, maxByType: MAX_BY_TYPE, maxRoutes: MAX_ROUTES, ...own }
  return mount(stack as never, { path: stack.path, connectionManager: options })
}

function routeCount({ manager }: Mounted): number {
  return manager.internal.store.getState().routes.size
}

/** Writes the table into the folder, once by hand and once more by the plugin, so that it has its present form. */
export async function prepareFolder(folder: string, routes: number, mood: Mood): Promise<void> {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, TABLE_FILE), snapshotText(routes, mood))
  const stack = new Stack(folder)
  const mounted = mountOn(stack, { autostart: false })
  await new Promise<void>((resolve) => mounted.whenReady(resolve))
  if (routeCount(mounted) !== routes) throw new Error(`${routeCount(mounted)} of ${routes} routes were read`)
  const [newcomer] = makeWorld(1, 'usual', 3_000)
  if (newcomer) {
    mounted.manager.peer.addRoute({ address: newcomer.address })
    mounted.manager.peer.removeRoute({ address: newcomer.address })
  }
  await new Promise<void>((resolve) => {
    stack.onClosed = resolve
    stack.close()
  })
}

/** Nothing of ours runs in this process before it is measured. */
function preparedStack(routes: number): Stack {
  const stack = new Stack()
  const { status, stderr } = spawnSync(process.execPath, [join(__dirname, '../prepare.js'), stack.path, String(routes)])
  if (status !== 0) throw new Error(`the table could not be prepared: ${stderr}`)
  return stack
}

class Plugin implements Inhabited {
  readonly clock = virtualClock(START_AT)
  private fired = 0
  private readonly mounted: Mounted
  /** Hears of each turn of the manager. */
  onTurn: ((us: number) => void) | null = null

  private constructor(readonly stack: Stack) {
    const turn = (fn: () => void): void => {
      if (!this.onTurn) return fn()
      const elapsed = stopwatch()
      fn()
      this.onTurn(elapsed())
    }
    const clock = {
      now: () => this.clock.now(),
      setTimeout: (fn: () => void, ms: number) =>
        this.clock.setTimeout(() => {
          this.fired++
          turn(fn)
        }, ms),
      clearTimeout: (timer: unknown) => this.clock.clearTimeout(timer),
      defer: (fn: () => void) => this.clock.defer(() => turn(fn)),
    }
    this.mounted = mountOn(stack, { clock, random: seededRandom(1) })
  }

  static async filled({ size }: Setting, mood: Mood): Promise<Plugin> {
    const stack = new Stack()
    writeFileSync(join(stack.path, TABLE_FILE), snapshotText(size - LAN_PEERS[mood], mood))
    const plugin = new Plugin(stack)
    while (routeCount(plugin.mounted) < size - LAN_PEERS[mood]) {
      await pause(1)
      plugin.clock.advance(1)
    }
    plugin.mounted.manager.internal.store.dispatch({
      type: 'routes/added',
      at: plugin.clock.now(),
      reports: lanReports(makeLan(LAN_PEERS[mood])),
    })
    await plugin.refill()
    // What the start leaves to be written: the table as a whole, as it came from elsewhere, in slices of one turn each.
    for (let i = 0; i < 300 + size / 200; i++) {
      plugin.clock.advance(1000)
      await diskAtRest()
    }
    return plugin
  }

  get manager() {
    return this.mounted.manager
  }

  readonly wakeUps = (): number => this.fired
  readonly accept = (dial: FakeDial): FakeRpc => dial.accept()
  readonly heard = ({ address }: LanPeer): void => {
    const [route] = parseAddress(address)
    if (route) this.manager.internal.report([{ route, isLocal: true, source: 'local' }])
  }
  readonly named = (address: string): void => void this.manager.peer.addRoute({ address, source: 'pub' })
  readonly passed = (second: number): void => {
    const { internal } = this.manager
    for (const peer of internal.store.getState().outbound.keysArray())
      if (second % 10 === 0) internal.pinged(peer, 80, 5)
      else if (second % 10 < 3) internal.transferred(peer)
  }

  readonly refill = async (): Promise<void> => {
    this.stack.onDial = this.accept
    const isFull = (): boolean => {
      const state = this.manager.internal.store.getState()
      return Object.keys(MAX_BY_TYPE).every(
        (name) => occupancyOf(state, name).connected === slotsMax(state.options, name),
      )
    }
    for (let second = 0; !isFull(); second++) {
      if (second > 600) throw new Error('the slots do not fill')
      this.clock.advance(1000)
      await settle()
    }
  }

  close(): void {
    this.manager.close()
  }
}

// ---- hours ------------------------------------------------------------------------------------------------------------

async function hour(setting: Setting, mood: Mood): Promise<Hour> {
  const plugin = await Plugin.filled(setting, mood)
  let dials = 0
  const accept = plugin.accept
  Object.assign(plugin, {
    accept: (dial: FakeDial) => {
      dials++
      return accept(dial)
    },
  })
  const measured = await idleHour(setting, plugin)
  plugin.close()
  const { note } = measured.wakeUps
  const told = `${dials} dials meanwhile`
  return { ...measured, wakeUps: { ...measured.wakeUps, note: note ? `${note}, ${told}` : told } }
}

async function timeChurn(setting: Setting): Promise<{
  readonly cpu: Figure
  readonly bytes: Figure | string
  readonly slow: Figure
  readonly longest: Figure
}> {
  const plugin = await Plugin.filled(setting, 'usual')
  const { cpu, bytes } = await churn(setting, plugin)
  // Once more, as a look at the clock for each turn is work too.
  const turns: number[] = []
  plugin.onTurn = (us) => void turns.push(us)
  await churn({ ...setting, isQuick: true }, plugin)
  plugin.close()
  turns.sort((a, b) => b - a)
  return {
    cpu,
    bytes,
    slow: exactly(turns[Math.floor(turns.length / 100)] ?? 0),
    longest: exactly((turns[0] ?? 0) / 1000),
  }
}

// ---- the start --------------------------------------------------------------------------------------------------------

/** On the real clock: from mounting to the first dial. */
async function startUp({ size }: Setting): Promise<Figure> {
  const stack = preparedStack(size)
  collectGarbage()
  const before = cpuMs()
  const spent = await new Promise<number>((resolve) => {
    stack.onDial = () => resolve(cpuMs() - before)
    mountOn(stack)
  })
  return exactly(spent)
}

/** Longer than a save waits for more changes, and as long as a slow one takes. */
const SAVE_WAIT_MS = 5_000

async function stall(setting: Setting): Promise<Figure> {
  const stack = preparedStack(setting.size)
  collectGarbage()
  await settle()
  const watch = new TurnWatch()
  await pause(20)
  watch.takeLongest()
  let isDialed = false
  stack.onDial = (dial) => {
    isDialed = true
    dial.accept()
  }
  const mounted = mountOn(stack)
  while (!isDialed || routeCount(mounted) < setting.size) await pause(5)
  await pause(runsOf(setting, 1_000, 500, 50))
  const start = watch.takeLongest()
  const newcomers = makeWorld(STALL_NEWCOMERS, 'usual', 1_000)
  await pause(20)
  watch.takeLongest()
  for (const { address } of newcomers) mounted.manager.peer.addRoute({ address, source: 'friends' })
  await pause(100)
  const add = watch.takeLongest()
  await pause(runsOf(setting, SAVE_WAIT_MS, SAVE_WAIT_MS / 2, 50))
  const save = watch.takeLongest()
  watch.stop()
  mounted.manager.close()
  return stallFigure(start, add, save)
}

// ---- the table as a whole ---------------------------------------------------------------------------------------------

/** Addresses that are in no table; others for each run. */
function newcomersOf(run: number, count: number): string[] {
  return makeWorld(count, 'usual', 1_000 + run).map(({ address }) => address)
}

const NEWCOMERS = 500

/** One action with all of them, parsed before. */
function addBulk(setting: Setting): Figure {
  const { full, now } = usual(setting)
  const parsed = newcomersOf(0, NEWCOMERS).flatMap((address) => parseAddress(address))
  const reports = parsed.map((route): RouteReport => ({ route, isLocal: false, source: 'friends' }))
  const figure = timePerCall(setting, () => reduce(full, { type: 'routes/added', at: now, reports }))
  return scaled(figure, 1 / NEWCOMERS)
}

/** Each by a call of `peer.addRoute`, which parses the address. */
function addOne(setting: Setting): Figure {
  const { manager, clock } = usual(setting).harness
  manager.internal.pause()
  const samples: number[] = []
  for (let run = -2; run < runsOf(setting, 11, 5); run++) {
    const newcomers = newcomersOf(run + 100, NEWCOMERS)
    const elapsed = stopwatch()
    for (const address of newcomers) manager.peer.addRoute({ address, source: 'friends' })
    if (run >= 0) samples.push(elapsed() / NEWCOMERS)
    for (const address of newcomers) manager.peer.removeRoute({ address })
    clock.flush()
  }
  manager.internal.resume()
  clock.flush()
  return figureOf(samples)
}

/** From the text of the file to the last action; and what that leaves on the heap. */
async function timeLoad(
  setting: Setting,
  errorCount: number,
): Promise<{ readonly load: Figure; readonly heap: Figure }> {
  new Harness().load(snapshotText(100, 'usual'))
  const times: number[] = []
  const heaps: number[] = []
  const runs = runsOf(setting, setting.size > 20_000 ? 3 : 6, setting.size > 20_000 ? 1 : 3)
  for (let run = 0; run < runs; run++) {
    const bytes = await heapOf(() => {
      const harness = new Harness()
      const text = snapshotText(setting.size, 'usual', errorCount)
      const elapsed = stopwatch()
      harness.load(text)
      times.push(elapsed() / 1000)
      return harness
    })
    heaps.push(bytes / setting.size)
  }
  // The first one is slower, as its code is not compiled yet.
  const load = figureOf(times.slice(times.length > 1 ? 1 : 0))
  return { load, heap: figureOf(heaps, HISTORY) }
}

const HISTORY = 'the whole manager, divided by the number of routes'

const redialOnce = once(redial)
const churnOnce = once(timeChurn)
const hourOnce = once((setting) => hour(setting, 'usual'))
const loadOnce = once((setting) => timeLoad(setting, 0))
const loadWithErrors = once((setting) => timeLoad(setting, 5))

export const ours: Subject = {
  benchmarks: {
    heap: async (setting) => (await loadOnce(setting)).heap,
    heapErrors: async (setting) => (await loadWithErrors(setting)).heap,
    load: async (setting) => (await loadWithErrors(setting)).load,
    planFull: (setting) => planFull(setting, usual(setting)),
    planIdle: (setting) => planFull(setting, paused(setting)),
    planFree,
    planEmpty,
    fallDue,
    dialStarted: event('dialStarted'),
    dialFailed: event('dialFailed'),
    connected: event('connected'),
    closed: event('closed'),
    announced: event('announced'),
    pinged: event('pinged'),
    redial: (setting) => redialOnce(setting).work,
    redialDelay: (setting) => redialOnce(setting).wait,
    wakeUpsIdle: async (setting) => (await hour(setting, 'paused')).wakeUps,
    idleCpu: async (setting) => (await hourOnce(setting)).cpu,
    wakeUpsRotation: async (setting) => (await hourOnce(setting)).wakeUps,
    addBulk,
    addOne,
    churn: async (setting) => (await churnOnce(setting)).cpu,
    churnBytes: async (setting) => (await churnOnce(setting)).bytes,
    slowTurn: async (setting) => (await churnOnce(setting)).slow,
    longestTurn: async (setting) => (await churnOnce(setting)).longest,
    startUp,
    stall,
  },
  absent: {},
}
