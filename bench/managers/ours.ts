/**
 * Our manager, stand-alone as `createManager` makes it: virtual clock, seeded chance, a transport that answers as it is told.
 * What the stack's plugin adds (disk, pings, the watch on the machine's network) is left out here and at the others.
 */
import type { Action, RouteReport } from '../../src/core/actions'
import { parseAddress } from '../../src/core/address'
import { slotsMax } from '../../src/core/options'
import { isEmptyPlan, plan } from '../../src/core/plan'
import { reduce } from '../../src/core/reducer'
import { parseSnapshot, type SnapshotPeer, type SnapshotRoute, stringifySnapshot } from '../../src/core/snapshot'
import { firstDue, occupancyOf, type State } from '../../src/core/table'
import type { Plan, Route } from '../../src/core/types'
import { createManager } from '../../src/manager'
import { seededRandom, virtualClock } from '../../src/testing'
import {
  collectGarbage,
  cpuMs,
  exactly,
  type Figure,
  figureOf,
  heapOf,
  Laps,
  once,
  type Setting,
  type Subject,
  scaled,
  stopwatch,
  timePerCall,
} from '../measure'
import { errorText, HOUR_MS, type LanPeer, type Mood, makeLan, makeWorld, START_AT, statsOf } from '../world'

const MAX_BY_TYPE = { net: 3, onion: 3, rtc: 3, local: 5 }
/** More LAN peers than slots in the usual mood, as many in the paused one. */
const LAN_PEERS = { usual: 20, paused: MAX_BY_TYPE.local }
const MAX_BACKOFF_MS = 23 * HOUR_MS
/** Beyond every size, so that adding does not mean making room. */
const MAX_ROUTES = 1_000_000

// ---- the table --------------------------------------------------------------------------------------------------------

function snapshotText(routes: number, mood: Mood): string {
  const world = makeWorld(routes, mood)
  return stringifySnapshot({
    version: 1,
    savedAt: START_AT,
    peers: world.map(({ key, priority, connectedAt }): SnapshotPeer => ({ id: key, priority, visitedAt: connectedAt })),
    routes: world.map((route): SnapshotRoute => {
      const { address, source, addedAt, triedAt, connectedAt, connectionCount, failureCount } = route
      const isPaused = failureCount >= 20
      // Of those that failed, half may be dialed again.
      const pause = isPaused ? MAX_BACKOFF_MS : failureCount % 2 === 1 ? failureCount * 1000 : 0
      return {
        address,
        source,
        addedAt,
        lastConnectionTime: connectedAt,
        lastErrorTime: failureCount > 0 ? triedAt : 0,
        connectionCount,
        errorCount: failureCount,
        backoffStep: Math.min(failureCount, 12),
        nextAttemptAt: pause === 0 ? 0 : START_AT + pause,
        errors: Array.from({ length: Math.min(5, failureCount) }, (_, i) => ({
          message: errorText(route),
          code: 'ECONNREFUSED',
          at: triedAt - 10_000 * (4 - i),
        })),
        ...(connectionCount > 0 ? { duration: statsOf(route.meanDurationMs, connectionCount) } : {}),
      }
    }),
  })
}

function lanReports(peers: readonly LanPeer[]): RouteReport[] {
  return peers.flatMap(({ address }) =>
    parseAddress(address).map((route) => ({ route, isLocal: true, source: 'local' as const })),
  )
}

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
  /** Hears of each turn of the manager: what a timer brings, or an event and the plan after it. */
  onTurn: ((us: number) => void) | null = null
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
    clock: {
      now: () => this.clock.now(),
      setTimeout: (fn, ms) => this.clock.setTimeout(() => this.turn(fn), ms),
      clearTimeout: (timer) => this.clock.clearTimeout(timer),
      defer: (fn) => this.clock.defer(() => this.turn(fn)),
    },
    random: this.random,
    maxByType: MAX_BY_TYPE,
    maxRoutes: MAX_ROUTES,
  })

  turn(work: () => void): void {
    if (!this.onTurn) return work()
    const elapsed = stopwatch()
    work()
    this.onTurn(elapsed())
  }

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

type Event = 'dialStarted' | 'dialFailed' | 'connected' | 'closed' | 'announced'
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
  const candidates = harness.state.ready.valuesArray().filter((route) => route.queue === 'net')
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
    clock.jump(1000)
    timed('closed', () => store.dispatch({ type: 'connection/closed', at: clock.now(), peer, jitter: 0.5 }))
  }

  const runs = setting.isQuick ? 9 : 25
  for (let run = -5; run < runs; run++) {
    if (run === 0) laps.clear()
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
  const runs = setting.isQuick ? 40 : 150
  const warmUp = 100
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
      if (clock.now() === lostAt) work.push(us)
    }
    dial.accept()
    clock.advance(1000)
  }
  return { work: figureOf(work), wait: figureOf(wait) }
}

// ---- hours ------------------------------------------------------------------------------------------------------------

function wakeUps({ harness }: Filled): Figure {
  const { clock } = harness
  const before = clock.fired
  const dialsBefore = harness.dialCount
  const cpuBefore = cpuMs()
  clock.advance(HOUR_MS)
  const cpu = cpuMs() - cpuBefore
  return exactly(
    clock.fired - before,
    `${harness.dialCount - dialsBefore} dials, ${cpu.toFixed(0)} ms of CPU in the hour`,
  )
}

const CHURN_SECONDS = 600

/**
 * Ten minutes in which nothing lasts: a third of the dials works, a third fails, a third is not answered; connections live
 * for 10 to 70 s; every second a LAN peer is heard again, every fifth a pub is named that nobody knew; pings come back and
 * data passes.
 */
function timeChurn(setting: Setting): { readonly cpu: Figure; readonly slow: Figure; readonly longest: Figure } {
  const { harness } = usual(setting)
  const { clock, random, manager } = harness
  const lan = lanReports(makeLan(LAN_PEERS.usual))
  const cpu: number[] = []
  const slow: number[] = []
  const longest: number[] = []
  let actions = 0
  let turns: number[] = []
  manager.internal.store.subscribe(() => {
    actions++
  })
  harness.onTurn = (us) => void turns.push(us)
  const live = (rpc: Rpc): void => void clock.setTimeout(() => rpc.end(), 10_000 + 60_000 * random.next())
  const second = (i: number, newcomers: readonly string[]): void => {
    const heard = lan[i % lan.length]
    if (heard) harness.learn([heard])
    const address = i % 5 === 0 ? newcomers[i / 5] : undefined
    if (address !== undefined) manager.peer.addRoute({ address, source: 'pub' })
    for (const peer of harness.state.outbound.keysArray())
      if (i % 10 === 0) manager.internal.pinged(peer, 80, 5)
      else if (i % 10 < 3) manager.internal.transferred(peer)
  }
  const runs = setting.isQuick ? 3 : 5
  for (let run = 0; run < runs; run++) {
    harness.refill()
    harness.onDial = (dial) => {
      const dice = random.next()
      if (dice < 1 / 3) clock.setTimeout(() => live(dial.accept()), 200)
      else if (dice < 2 / 3) clock.setTimeout(() => dial.refuse(), 100)
    }
    for (const rpc of harness.open) live(rpc)
    const newcomers = newcomersOf(run, CHURN_SECONDS / 5)
    for (let i = 0; i < CHURN_SECONDS; i++) clock.setTimeout(() => second(i, newcomers), 1000 * (i + 1))
    collectGarbage()
    turns = []
    const before = cpuMs()
    clock.advance(1000 * CHURN_SECONDS)
    cpu.push(cpuMs() - before)
    turns.sort((a, b) => b - a)
    slow.push(turns[Math.floor(turns.length / 100)] ?? 0)
    longest.push((turns[0] ?? 0) / 1000)
    // Dials under way end without a word; what is open then ends within the refill.
    harness.onDial = (dial) => void dial.accept()
    clock.advance(100_000)
  }
  const note = `about ${Math.round(actions / runs)} actions in the ten minutes`
  harness.onTurn = null
  return { cpu: figureOf(cpu, note), slow: figureOf(slow), longest: figureOf(longest) }
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
  for (let run = -2; run < (setting.isQuick ? 5 : 11); run++) {
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

const HISTORY = 'with up to five errors each, which the others do not keep, and the log of recent actions'

/** From the text of the file to the last action; and what that leaves on the heap. */
async function timeLoad(setting: Setting): Promise<{ readonly load: Figure; readonly heap: Figure }> {
  new Harness().load(snapshotText(100, 'usual'))
  const times: number[] = []
  const heaps: number[] = []
  for (let run = 0; run < (setting.size > 20_000 ? 1 : setting.isQuick ? 3 : 6); run++) {
    const bytes = await heapOf(() => {
      const harness = new Harness()
      const text = snapshotText(setting.size, 'usual')
      const elapsed = stopwatch()
      harness.load(text)
      times.push(elapsed() / 1000)
      return harness
    })
    heaps.push(bytes / setting.size)
  }
  // The first one is slower, as its code is not compiled yet; at a start it never is, but this is to be repeatable.
  return { load: figureOf(times.slice(times.length > 1 ? 1 : 0)), heap: figureOf(heaps, HISTORY) }
}

const redialOnce = once(redial)
const churnOnce = once(timeChurn)
const loadOnce = once(timeLoad)

export const ours: Subject = {
  benchmarks: {
    heap: async (setting) => (await loadOnce(setting)).heap,
    load: async (setting) => (await loadOnce(setting)).load,
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
    redial: (setting) => redialOnce(setting).work,
    redialDelay: (setting) => redialOnce(setting).wait,
    wakeUpsIdle: (setting) => wakeUps(paused(setting)),
    wakeUpsRotation: (setting) => wakeUps(usual(setting)),
    addBulk,
    addOne,
    churn: (setting) => churnOnce(setting).cpu,
    slowTurn: (setting) => churnOnce(setting).slow,
    longestTurn: (setting) => churnOnce(setting).longest,
  },
  absent: {},
}
