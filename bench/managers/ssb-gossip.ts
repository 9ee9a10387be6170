/**
 * ssb-gossip 1.1.1: its own table and scheduler. A table is read from `gossip.json`, as at a start; then friends are told, as
 * ssb-friends does. Connections count as long-term from the start, as after the first ping: others it hangs up after 10 s.
 */
import { writeFileSync } from 'fs'
import { join } from 'path'
import { seededRandom } from '../../src/testing'
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
import { type Mood, makeLan, makeWorld, statsOf, type WorldRoute } from '../world'

const time = installFakeTime()
const { clock } = time

/** The scheduler's decision, which it does not hand out: the function that it sets a timer to. */
let decision: (() => void) | null = null
const setTimer = globalThis.setTimeout
Object.assign(globalThis, {
  setTimeout: (fn: () => void, ms?: number) => {
    if (String(fn).includes('isCurrentlyDownloading')) decision = fn
    return setTimer(fn, ms)
  },
})

interface Entry {
  readonly address: string
  readonly key: string
  source?: string
  readonly ping?: { readonly rtt: { mean: number } }
}

interface Gossip {
  /** Its own list, not a copy. */
  peers(): Entry[]
  get(id: string): Entry | undefined
  add(address: string | object, source?: string): unknown
  connect: (peer: Entry, cb: (error?: unknown) => void) => void
  disconnect: (peer: Entry, cb?: () => void) => void
}

const plugin = require('ssb-gossip') as { init(server: object, config: object): Gossip }

const LAN_PEERS = 20
const NEWCOMERS = 100
const FRIENDS_QUOTA = 3
const READ_LIMIT_MS = 60_000
/** No dial for this long: it has what it wants. (Some of its groups dial once in five minutes, full or not.) */
const QUIET_MS = 15_000

function stored(route: WorldRoute): object {
  const { address, key, host, port, source, triedAt, failureCount, connectionCount, meanDurationMs } = route
  return {
    address,
    key,
    host,
    port,
    source,
    announcers: 1,
    duration: triedAt > 0 ? statsOf(connectionCount > 0 ? meanDurationMs : 0, Math.max(1, connectionCount)) : null,
    ...(triedAt > 0 ? { stateChange: triedAt, failure: failureCount } : {}),
  }
}

function save(stack: FakeStack, world: readonly WorldRoute[]): void {
  writeFileSync(join(stack.path, 'gossip.json'), JSON.stringify(world.map(stored)))
}

/** The plugin, once it has read the table that lies in the stack's directory. */
async function open(stack: FakeStack, routes: number): Promise<Gossip> {
  const gossip = plugin.init(stack, { path: stack.path, gossip: { autoPopulate: false } })
  const until = performance.now() + READ_LIMIT_MS
  while (gossip.peers().length < routes) {
    if (performance.now() > until) throw new Error(`${gossip.peers().length} of ${routes} routes were read`)
    await settle()
  }
  return gossip
}

/** Each route that is read is looked for among all before it: beyond this many, the list is filled by hand. */
const MAX_READ = 20_000

/** As `open`, with the same records in its list, in whatever way they came there. */
async function openWith(stack: FakeStack, world: readonly WorldRoute[]): Promise<Gossip> {
  const isRead = world.length <= MAX_READ
  save(stack, isRead ? world : [])
  const gossip = await open(stack, isRead ? world.length : 0)
  if (isRead) return gossip
  await pause(50)
  const records = JSON.parse(JSON.stringify(world.map(stored))) as Entry[]
  for (const record of records) {
    record.source = 'stored'
    gossip.peers().push(record)
  }
  return gossip
}

const BY_HAND = `beyond ${MAX_READ} routes its list is filled by hand, as it takes minutes to read it`

function noted(setting: Setting, figure: Figure): Figure {
  return setting.size > MAX_READ ? { ...figure, note: figure.note ? `${figure.note}; ${BY_HAND}` : BY_HAND } : figure
}

class Harness {
  private constructor(
    readonly stack: FakeStack,
    readonly gossip: Gossip,
  ) {}

  /** Started, and gone on until it has all that it wants. Any one before is at its end. */
  static async filled({ size: routes }: Setting, mood: Mood): Promise<Harness> {
    time.forget()
    const stack = new FakeStack()
    const world = makeWorld(routes, mood)
    const harness = new Harness(stack, await openWith(stack, world))
    const { gossip } = harness
    // As ssb-friends tells it by `add`, which looks for each of them.
    const friends = new Set(world.filter(({ source }) => source === 'friends').map(({ address }) => address))
    for (const peer of gossip.peers()) if (friends.has(peer.address)) peer.source = 'friends'
    for (const { address } of mood === 'usual' ? makeLan(LAN_PEERS) : []) gossip.add(address, 'local')
    harness.refill()
    return harness
  }

  readonly refill = (): void => {
    let lastDialAt = clock.now()
    this.stack.onDial = (dial) => {
      lastDialAt = clock.now()
      this.accept(dial)
    }
    for (let second = 0; clock.now() - lastDialAt < QUIET_MS; second++) {
      if (second > 3_600) throw new Error('it dials on and on')
      clock.advance(1000)
    }
  }

  accept(dial: FakeDial): FakeRpc {
    const rpc = dial.accept()
    const rtt = this.gossip.get(rpc.id)?.ping?.rtt
    if (rtt) rtt.mean = 50
    return rpc
  }
}

// ---- decisions --------------------------------------------------------------------------------------------------------

/** Loading takes seconds at 10 000 routes, so the rows share it and leave it as they found it. */
const usual = once((setting) => Harness.filled(setting, 'usual'))

async function decide(setting: Setting, isFull: boolean): Promise<Figure> {
  const harness = await usual(setting)
  const { gossip, refill } = harness
  if (!decision) throw new Error('ssb-gossip is not what it was')
  if (!isFull) {
    waitForFriends(harness)
    loseFriend(harness)
  }
  // Beyond the pause of a group after a change.
  clock.jump(2_000)
  const { connect, disconnect } = gossip
  let connects = 0
  gossip.connect = () => {
    connects++
  }
  gossip.disconnect = () => {}
  const figure = timePerCall(setting, decision)
  if (connects > 0 === isFull) throw new Error(`${connects} dials with ${isFull ? 'no' : 'one'} slot free`)
  Object.assign(gossip, { connect, disconnect })
  refill()
  return figure
}

function friendsUp({ stack, gossip }: Harness): FakeRpc[] {
  return [...stack.open].filter((rpc) => gossip.get(rpc.id)?.source === 'friends')
}

/** It has quotas for overlapping groups: one friend fewer than that of friends are left. */
function loseFriend(harness: Harness): void {
  const friends = friendsUp(harness)
  if (friends.length < FRIENDS_QUOTA) throw new Error(`${friends.length} friends are connected`)
  for (const rpc of friends.slice(FRIENDS_QUOTA - 1)) rpc.end()
}

/** Goes on until the quota of friends is full: a friend that was lost waits for minutes. */
function waitForFriends(harness: Harness): void {
  harness.stack.onDial = (dial) => harness.accept(dial)
  for (let second = 0; friendsUp(harness).length < FRIENDS_QUOTA; second++) {
    if (second > 7_200) throw new Error('too few friends are dialed')
    clock.advance(1000)
  }
}

// ---- events -----------------------------------------------------------------------------------------------------------

type Event = 'dialStarted' | 'dialFailed' | 'connected' | 'closed' | 'announced'
const CYCLES = 20

async function timeEvents(setting: Setting): Promise<Laps<Event>> {
  const { stack, gossip, refill } = await usual(setting)
  const laps = new Laps<Event>()
  const up = new Set([...stack.open].map((rpc) => rpc.id))
  const peers = gossip.peers().filter(({ key, source }) => !up.has(key) && source !== 'local')
  const lan = makeLan(LAN_PEERS)
  const held: FakeDial[] = []
  stack.onDial = (dial) => held.push(dial)
  // It looks for a peer from the start of its list: near and far ones are to have their part.
  const draw = seededRandom(5)

  const dialOne = (): FakeDial => {
    const peer = peers[Math.floor(draw.next() * peers.length)]
    if (!peer) throw new Error('there is nobody to dial')
    const started = stopwatch()
    gossip.connect(peer, () => {})
    laps.add('dialStarted', started())
    const dial = held.pop()
    if (!dial) throw new Error(`${peer.address} is not dialed`)
    return dial
  }

  for (const _ of laps.runs(setting, { cycles: CYCLES, full: 15, quick: 7 })) {
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      const bad = dialOne()
      const failed = stopwatch()
      bad.refuse()
      laps.add('dialFailed', failed())
      const good = dialOne()
      const connected = stopwatch()
      const rpc = good.accept()
      laps.add('connected', connected())
      clock.jump(1000)
      const closed = stopwatch()
      rpc.end()
      laps.add('closed', closed())
      const heard = lan[cycle % lan.length]
      if (!heard) continue
      const announced = stopwatch()
      gossip.add(heard.address, 'local')
      laps.add('announced', announced())
    }
    laps.endRun()
    await settle()
  }
  refill()
  return laps
}

async function redial(setting: Setting): Promise<{ readonly work: Figure; readonly wait: Figure }> {
  const harness = await usual(setting)
  const { stack } = harness
  const work: number[] = []
  const wait: number[] = []
  const until = performance.now() + runsOf(setting, 3_000, 1_000, 0)
  for (let run = -1; run < 15 && (run < 3 || performance.now() < until); run++) {
    const dials: FakeDial[] = []
    waitForFriends(harness)
    stack.onDial = (dial) => dials.push(dial)
    const lostAt = clock.now()
    const elapsed = stopwatch()
    loseFriend(harness)
    for (let step = 0; dials.length === 0; step++) {
      if (step > 6_000) throw new Error('nobody is dialed')
      clock.advance(100)
    }
    const us = elapsed()
    if (run >= 0) {
      work.push(us)
      wait.push(clock.now() - lostAt)
    }
    stack.onDial = (dial) => harness.accept(dial)
    for (const dial of dials) harness.accept(dial)
    clock.advance(5_000)
  }
  return { work: figureOf(work), wait: figureOf(wait) }
}

function inhabited(harness: Harness): Inhabited {
  const { stack, gossip } = harness
  return {
    clock,
    stack,
    wakeUps: () => time.wakeUps,
    accept: (dial) => harness.accept(dial),
    heard: ({ address }) => void gossip.add(address, 'local'),
    named: (address) => void gossip.add(address, 'pub'),
    // That it wants fewer after the churn is no matter here.
    refill: async () => {
      harness.refill()
      await settle()
    },
  }
}

async function hour(setting: Setting, mood: Mood): Promise<Hour> {
  const harness = await Harness.filled(setting, mood)
  const measured = await idleHour(setting, inhabited(harness))
  time.forget()
  return measured
}

async function timeChurn(setting: Setting): Promise<Churn> {
  const harness = await Harness.filled(setting, 'usual')
  const measured = await churn(setting, inhabited(harness))
  time.forget()
  return measured
}

// ---- the start --------------------------------------------------------------------------------------------------------

async function startUp({ size }: Setting): Promise<Figure> {
  const stack = new FakeStack()
  save(stack, makeWorld(size))
  let spent: number | null = null
  collectGarbage()
  const before = cpuMs()
  stack.onDial = () => {
    spent ??= cpuMs() - before
  }
  await open(stack, size)
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
  stack.onDial = (dial) => void dial.accept()
  collectGarbage()
  const isRead = setting.size <= MAX_READ
  if (isRead) save(stack, world)
  const watch = new TurnWatch()
  await pause(20)
  watch.takeLongest()
  const gossip = isRead ? await open(stack, setting.size) : await openWith(stack, world)
  const loaded = watch.takeLongest()
  await pass(1_500)
  const decided = watch.takeLongest()
  const newcomers = makeWorld(STALL_NEWCOMERS, 'usual', 1_000)
  await pause(20)
  watch.takeLongest()
  for (const { address } of newcomers) gossip.add(address, 'pub')
  await settle()
  await settle()
  const add = watch.takeLongest()
  await pass(11_000)
  await pause(runsOf(setting, 500, 200, 10))
  const atSave = watch.takeLongest()
  watch.stop()
  time.forget()
  return noted(setting, stallFigure(isRead ? Math.max(loaded, decided) : null, add, Math.max(decided, atSave)))
}

// ---- the table as a whole ---------------------------------------------------------------------------------------------

async function addOne(setting: Setting): Promise<Figure> {
  const { gossip } = await usual(setting)
  const samples: number[] = []
  for (let run = setting.isSmoke ? 0 : -1; run < runsOf(setting, 3, 3); run++) {
    const newcomers = makeWorld(NEWCOMERS, 'usual', 1_000 + run)
    const elapsed = stopwatch()
    for (const { address } of newcomers) gossip.add(address, 'friends')
    if (run >= 0) samples.push(elapsed() / NEWCOMERS)
  }
  return figureOf(samples)
}

/** Each new route is looked for among all before it. */
const LOAD_BUDGET_MS = 3_000

/** What was drawn is not reachable any more. */
function stackWith(routes: number): FakeStack {
  const stack = new FakeStack()
  save(stack, makeWorld(routes))
  return stack
}

async function timeLoad(setting: Setting): Promise<{ readonly load: Figure | string; readonly heap: Figure }> {
  await open(stackWith(100), 100)
  const times: number[] = []
  const heaps: number[] = []
  const startedAt = performance.now()
  const isEnough = (run: number): boolean => run >= 1 && performance.now() - startedAt >= LOAD_BUDGET_MS
  for (let run = 0; run < runsOf(setting, 3, 1) && !isEnough(run); run++) {
    const isRead = setting.size <= MAX_READ
    const stack = isRead ? stackWith(setting.size) : new FakeStack()
    const bytes = await heapOf(async () => {
      const elapsed = stopwatch()
      const gossip = isRead ? await open(stack, setting.size) : await openWith(stack, makeWorld(setting.size))
      times.push(elapsed() / 1000)
      return gossip
    })
    heaps.push(bytes / setting.size)
    stack.removeAllListeners()
    time.forget()
  }
  const load =
    setting.size <= MAX_READ ? figureOf(times) : 'it takes minutes, as each route is looked for among all before it'
  return { load, heap: noted(setting, figureOf(heaps)) }
}

const loadOnce = once(timeLoad)
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

export const ssbGossip: Subject = {
  benchmarks: {
    heap: async (setting) => (await loadOnce(setting)).heap,
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
    load: async (setting) => (await loadOnce(setting)).load,
  },
  absent: {
    planIdle: SAME_LOOP,
    planEmpty: SAME_LOOP,
    fallDue: 'it has no such step: each decision looks at every pause',
    heapErrors: 'it keeps one text at most, not five',
    pinged: 'its pings are written into the record of the peer, without an event',
    slowTurn: 'each turn is a decision as above',
    longestTurn: 'each turn is a decision as above',
  },
}
