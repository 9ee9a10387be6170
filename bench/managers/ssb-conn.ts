/**
 * ssb-conn 6.0.4: its own CONN, database, hub, staging, query and scheduler. Hops come from a `hopStream`, as without one it
 * never dials what it has stored. A table is read from `conn.json`, as at a start.
 */
import { writeFileSync } from 'fs'
import { join } from 'path'
import { type FakeDial, type FakeRpc, FakeStack, installFakeTime, pause, settle } from '../fake-stack'
import { type Churn, churn, type Hour, type Inhabited, idleHour, STALL_NEWCOMERS, stallFigure } from '../hours'
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
  stopwatch,
  TurnWatch,
  timePerCall,
} from '../measure'
import { type LanPeer, type Mood, makeLan, makeWorld, statsOf, type WorldRoute } from '../world'

const time = installFakeTime()
const { clock } = time

type Done = (error: unknown, result?: unknown) => void

interface Conn {
  remember(address: string, data: object): void
  stage(address: string, data: object): boolean
  connect: (address: string, data: object, cb?: Done) => void
  disconnect: (address: string, cb?: Done) => void
  db(): { loaded(): Promise<unknown> }
}

interface ConnScheduler {
  start(): void
  updateNow: () => void
}

const [CONN, , Scheduler] = require('ssb-conn') as typeof import('ssb-conn')

const LAN_PEERS = 20
const NEWCOMERS = 500
/** What the scheduler keeps up of peers that are no rooms; there are no rooms in the table. */
const QUOTA = 4

function stored(route: WorldRoute): object {
  const { key, addedAt, triedAt, failureCount, connectionCount, meanDurationMs, source } = route
  return {
    birth: addedAt,
    type: source === 'pub' ? 'pub' : 'internet',
    key,
    autoconnect: true,
    ...(triedAt > 0
      ? {
          stateChange: triedAt,
          failure: failureCount,
          duration: statsOf(connectionCount > 0 ? meanDurationMs : 0, Math.max(1, connectionCount)),
        }
      : {}),
  }
}

function lanData({ key }: LanPeer): object {
  return { type: 'lan', key, verified: true }
}

function save(stack: FakeStack, world: readonly WorldRoute[]): void {
  const entries = world.map((route) => [route.address, stored(route)])
  writeFileSync(join(stack.path, 'conn.json'), JSON.stringify(Object.fromEntries(entries)))
}

/** CONN with the table that lies in the stack's directory. */
async function open(stack: FakeStack): Promise<Conn> {
  if (!CONN) throw new Error('ssb-conn is not what it was')
  const conn = new CONN(stack, { path: stack.path, conn: { autostart: false } }) as Conn
  stack.conn = conn
  await conn.db().loaded()
  return conn
}

class Harness {
  private constructor(
    readonly stack: FakeStack,
    readonly conn: Conn,
    readonly scheduler: ConnScheduler,
    readonly world: readonly WorldRoute[],
  ) {}

  /** Started, and as many connections as the scheduler keeps. */
  static async filled(routes: number, mood: Mood = 'usual'): Promise<Harness> {
    if (!Scheduler) throw new Error('ssb-conn is not what it was')
    const stack = new FakeStack()
    const world = makeWorld(routes, mood)
    save(stack, world)
    const conn = await open(stack)
    const hops = Object.fromEntries(world.map((route) => [route.key, route.hops]))
    for (const { key } of makeLan(LAN_PEERS)) hops[key] = 1
    stack.friends = { hopStream: () => sourceOf(hops) }
    const scheduler = new Scheduler(stack, { path: stack.path }) as ConnScheduler
    stack.connScheduler = scheduler
    const harness = new Harness(stack, conn, scheduler, world)
    scheduler.start()
    await harness.refill()
    return harness
  }

  readonly refill = async (): Promise<void> => {
    for (let turn = 0; this.stack.open.size < QUOTA; turn++) {
      if (turn > 600) throw new Error(`${this.stack.open.size} of ${QUOTA} connections came about`)
      await clock.advanceAsync(1000)
    }
    await settle()
  }

  /** Counts what the scheduler would do from now on instead of doing it. */
  muzzle(): { connects: number } {
    const counts = { connects: 0 }
    this.conn.connect = () => {
      counts.connects++
    }
    this.conn.disconnect = () => {}
    return counts
  }

  lose(): void {
    const [rpc] = this.stack.open
    if (!rpc) throw new Error('nobody is connected')
    rpc.end()
  }
}

/** A pull-stream of one value that stays open. */
function sourceOf(value: unknown): (abort: unknown, cb: Done) => void {
  let isGiven = false
  return (abort, cb) => {
    if (abort) return cb(abort)
    if (isGiven) return
    isGiven = true
    cb(null, value)
  }
}

// ---- decisions --------------------------------------------------------------------------------------------------------

async function decide(setting: Setting, isFull: boolean): Promise<Figure> {
  const harness = await Harness.filled(setting.size)
  if (!isFull) harness.lose()
  const counts = harness.muzzle()
  const figure = timePerCall(setting, () => harness.scheduler.updateNow())
  if (counts.connects > 0 === isFull)
    throw new Error(`${counts.connects} dials with ${isFull ? 'no' : 'one'} slot free`)
  time.forget()
  return figure
}

// ---- events -----------------------------------------------------------------------------------------------------------

type Event = 'dialStarted' | 'dialFailed' | 'connected' | 'closed' | 'announced'
const CYCLES = 20

/** Its scheduler is off; what is timed is hub, staging, database and the glue between them. */
async function timeEvents(setting: Setting): Promise<Laps<Event>> {
  const harness = await Harness.filled(setting.size)
  const { stack, conn, scheduler } = harness
  harness.lose()
  const up = new Set([...stack.open].map((rpc) => rpc.id))
  const world = harness.world.filter((route) => !up.has(route.key))
  scheduler.updateNow = () => {}
  const laps = new Laps<Event>()
  const lan = makeLan(LAN_PEERS)
  for (const peer of lan) conn.stage(peer.address, lanData(peer))
  const held: FakeDial[] = []
  stack.onDial = (dial) => held.push(dial)
  let turn = 0

  /** Dials the next one, and lets `answer` answer; returns what that returned, once the outcome has been dealt with. */
  const dialOne = async <T>(name: Event, answer: (dial: FakeDial) => T): Promise<T> => {
    const route = world[turn++ % world.length]
    if (!route) throw new Error('there is nobody to dial')
    let done = (): void => {}
    const over = new Promise<void>((resolve) => {
      done = resolve
    })
    let outcome: (() => number) | null = null
    const data = { pool: 'db', ...stored(route) }
    const started = stopwatch()
    conn.connect(route.address, data, () => {
      if (outcome) laps.add(name, outcome())
      done()
    })
    laps.add('dialStarted', started())
    const dial = held.pop()
    if (!dial) throw new Error(`${route.address} is not dialed`)
    outcome = stopwatch()
    const answered = answer(dial)
    await over
    return answered
  }

  for (const _ of laps.runs(setting, { cycles: CYCLES, full: 15, quick: 7 })) {
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      await dialOne('dialFailed', (dial) => dial.refuse())
      const rpc: FakeRpc = await dialOne('connected', (dial) => dial.accept())
      clock.jump(1000)
      const closed = stopwatch()
      rpc.end()
      laps.add('closed', closed())
      const heard = lan[cycle % lan.length]
      if (!heard) continue
      const data = lanData(heard)
      const announced = stopwatch()
      conn.stage(heard.address, data)
      laps.add('announced', announced())
    }
    laps.endRun()
    await settle()
  }
  time.forget()
  return laps
}

async function redial(setting: Setting): Promise<{ readonly work: Figure; readonly wait: Figure }> {
  const harness = await Harness.filled(setting.size)
  const { stack } = harness
  const work: number[] = []
  const wait: number[] = []
  const until = performance.now() + runsOf(setting, 3_000, 1_000, 0)
  for (let run = -1; run < 15 && (run < 3 || performance.now() < until); run++) {
    let dials: FakeDial[] = []
    stack.onDial = (dial) => dials.push(dial)
    const lostAt = clock.now()
    const elapsed = stopwatch()
    harness.lose()
    for (let step = 0; dials.length === 0; step++) {
      if (step > 6_000) throw new Error('nobody is dialed')
      clock.advance(100)
    }
    const us = elapsed()
    if (run >= 0) {
      work.push(us)
      wait.push(clock.now() - lostAt)
    }
    stack.onDial = (dial) => void dial.accept()
    for (const dial of dials) dial.accept()
    dials = []
    await settle()
    await harness.refill()
  }
  time.forget()
  return { work: figureOf(work), wait: figureOf(wait) }
}

function inhabited({ stack, conn, refill }: Harness): Inhabited {
  return {
    clock,
    stack,
    wakeUps: () => time.wakeUps,
    accept: (dial) => dial.accept(),
    heard: (peer) => void conn.stage(peer.address, lanData(peer)),
    named: (address) => conn.remember(address, { key: keyIn(address), type: 'pub' }),
    refill,
  }
}

function keyIn(address: string): string {
  return `@${address.slice(address.lastIndexOf(':') + 1)}.ed25519`
}

async function hour(setting: Setting, mood: Mood): Promise<Hour> {
  const harness = await Harness.filled(setting.size, mood)
  const measured = await idleHour(setting, inhabited(harness))
  time.forget()
  return measured
}

async function timeChurn(setting: Setting): Promise<Churn> {
  const harness = await Harness.filled(setting.size)
  const measured = await churn(setting, inhabited(harness))
  time.forget()
  return measured
}

// ---- the start --------------------------------------------------------------------------------------------------------

/** Reads what lies in the stack's folder and starts; the hops are known from before. */
async function start(stack: FakeStack, world: readonly WorldRoute[]): Promise<Conn> {
  if (!Scheduler) throw new Error('ssb-conn is not what it was')
  const conn = await open(stack)
  const scheduler = new Scheduler(stack, { path: stack.path }) as ConnScheduler
  stack.connScheduler = scheduler
  stack.friends = { hopStream: () => sourceOf(Object.fromEntries(world.map((route) => [route.key, route.hops]))) }
  scheduler.start()
  return conn
}

async function startUp({ size }: Setting): Promise<Figure> {
  const stack = new FakeStack()
  const world = makeWorld(size)
  save(stack, world)
  let spent: number | null = null
  collectGarbage()
  const before = cpuMs()
  stack.onDial = () => {
    spent ??= cpuMs() - before
  }
  await start(stack, world)
  for (let step = 0; spent === null; step++) {
    if (step > 6_000) throw new Error('nobody is dialed')
    clock.advance(100)
    await settle()
  }
  return exactly(spent)
}

/** Time goes on in small steps, each a turn of the event loop. */
async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 10) {
    clock.advance(10)
    await settle()
  }
}

async function stall(setting: Setting): Promise<Figure> {
  const stack = new FakeStack()
  const world = makeWorld(setting.size)
  save(stack, world)
  stack.onDial = (dial) => void dial.accept()
  collectGarbage()
  await settle()
  const watch = new TurnWatch()
  await pause(20)
  watch.takeLongest()
  const conn = await start(stack, world)
  await pass(500)
  const atStart = watch.takeLongest()
  const newcomers = makeWorld(STALL_NEWCOMERS, 'usual', 1_000)
  await pause(20)
  watch.takeLongest()
  for (const { address, key } of newcomers) conn.remember(address, { key, type: 'internet' })
  await settle()
  await settle()
  const add = watch.takeLongest()
  await pass(5_000)
  await pause(runsOf(setting, 500, 200, 10))
  const save_ = watch.takeLongest()
  watch.stop()
  time.forget()
  return stallFigure(atStart, add, save_)
}

// ---- the table as a whole ---------------------------------------------------------------------------------------------

async function addOne(setting: Setting): Promise<Figure> {
  const conn = await open(stackWith(setting.size))
  const samples: number[] = []
  for (let run = setting.isSmoke ? 0 : -1; run < runsOf(setting, 5, 5); run++) {
    const newcomers = makeWorld(NEWCOMERS, 'usual', 1_000 + run)
    const elapsed = stopwatch()
    for (const { address, key } of newcomers) conn.remember(address, { key, type: 'internet' })
    if (run >= 0) samples.push(elapsed() / NEWCOMERS)
  }
  time.forget()
  return figureOf(samples)
}

/** What was drawn is not reachable any more. */
function stackWith(routes: number): FakeStack {
  const stack = new FakeStack()
  save(stack, makeWorld(routes))
  return stack
}

async function load(setting: Setting): Promise<Figure> {
  const stack = stackWith(setting.size)
  const samples: number[] = []
  for (let run = setting.isSmoke ? 0 : -1; run < runsOf(setting, 5, 5); run++) {
    const elapsed = stopwatch()
    await open(stack)
    if (run >= 0) samples.push(elapsed() / 1000)
    time.forget()
  }
  return figureOf(samples)
}

async function heap(setting: Setting): Promise<Figure> {
  await open(stackWith(100))
  const stack = stackWith(setting.size)
  const samples: number[] = []
  for (let run = 0; run < runsOf(setting, 3, 3); run++) {
    const bytes = await heapOf(() => open(stack))
    stack.removeAllListeners()
    samples.push(bytes / setting.size)
  }
  return figureOf(samples)
}

const eventsOnce = once(timeEvents)
const redialOnce = once(redial)
const hourOnce = once((setting) => hour(setting, 'usual'))
const churnOnce = once(timeChurn)
const addOnce = once(addOne)
const event =
  (name: Event) =>
  async (setting: Setting): Promise<Figure> =>
    (await eventsOnce(setting)).figure(name)
const SAME_LOOP = 'its scheduler filters and sorts the whole table each time, whatever is due'

export const ssbConn: Subject = {
  benchmarks: {
    heap,
    planFull: (setting) => decide(setting, true),
    planFree: (setting) => decide(setting, false),
    dialStarted: event('dialStarted'),
    dialFailed: event('dialFailed'),
    connected: event('connected'),
    closed: event('closed'),
    announced: event('announced'),
    redial: async (setting) => (await redialOnce(setting)).work,
    redialDelay: async (setting) => (await redialOnce(setting)).wait,
    wakeUpsIdle: async (setting) => (await hour(setting, 'paused')).wakeUps,
    idleCpu: async (setting) => (await hourOnce(setting)).cpu,
    wakeUpsRotation: async (setting) => (await hourOnce(setting)).wakeUps,
    churn: async (setting) => (await churnOnce(setting)).cpu,
    churnBytes: async (setting) => (await churnOnce(setting)).bytes,
    startUp,
    stall,
    addBulk: async (setting) => ({ ...(await addOnce(setting)), note: 'one by one: it has no other call' }),
    addOne: addOnce,
    load,
  },
  absent: {
    planIdle: SAME_LOOP,
    planEmpty: SAME_LOOP,
    fallDue: 'it has no such step: each decision looks at every pause',
    heapErrors: 'it keeps no texts of errors',
    pinged: 'its pings are written into the record of the peer, without an event',
    slowTurn: 'each turn is a decision as above',
    longestTurn: 'each turn is a decision as above',
  },
}
