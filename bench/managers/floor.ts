/**
 * What the same events cost at the least: a Map of records and a binary heap by due time, changed in place. No rules, no
 * slots by class, no history of states, nobody who is told. Its table is JSON; what changes is appended to a journal. A free slot is
 * given to the next one that is due, and each of them is changed on every event.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'fs'
import { join } from 'path'
import { seededRandom, virtualClock } from '../../src/testing'
import { type FakeDial, type FakeRpc, FakeStack, pause } from '../fake-stack'
import { churn, type Inhabited, idleHour, STALL_NEWCOMERS, stallFigure } from '../hours'
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
import { makeWorld, START_AT, statsOf, type WorldRoute } from '../world'

interface Entry {
  readonly address: string
  readonly key: string
  source: string
  addedAt: number
  triedAt: number
  connectedAt: number
  connectionCount: number
  failureCount: number
  duration: { mean: number; stdev: number; count: number; sum: number; sqsum: number } | null
  dueAt: number
  /** Place in the heap; -1 while it is in none. */
  at: number
}

/** Until the next dial of one that failed or was connected. */
const PAUSE_MS = 60_000
const SLOTS = 5
const SAVE_AFTER_MS = 1_000

class Heap {
  private readonly entries: Entry[] = []

  get first(): Entry | undefined {
    return this.entries[0]
  }

  add(entry: Entry): void {
    entry.at = this.entries.length
    this.entries.push(entry)
    this.up(entry.at)
  }

  take(entry: Entry): void {
    const last = this.entries.pop()
    if (last && last !== entry) {
      this.put(last, entry.at)
      this.up(last.at)
      this.down(last.at)
    }
    entry.at = -1
  }

  private put(entry: Entry, at: number): void {
    this.entries[at] = entry
    entry.at = at
  }

  private up(from: number): void {
    const entry = this.entries[from]!
    let at = from
    while (at > 0) {
      const parent = this.entries[(at - 1) >> 1]!
      if (parent.dueAt <= entry.dueAt) break
      this.put(parent, at)
      at = (at - 1) >> 1
    }
    this.put(entry, at)
  }

  private down(from: number): void {
    const entry = this.entries[from]!
    let at = from
    for (;;) {
      let child = 2 * at + 1
      if (child >= this.entries.length) break
      if (child + 1 < this.entries.length && this.entries[child + 1]!.dueAt < this.entries[child]!.dueAt) child++
      if (this.entries[child]!.dueAt >= entry.dueAt) break
      this.put(this.entries[child]!, at)
      at = child
    }
    this.put(entry, at)
  }
}

type Stored = Omit<Entry, 'at'>

class Floor {
  readonly table = new Map<string, Entry>()
  readonly heap = new Heap()
  readonly changed = new Set<Entry>()

  add(stored: Stored): void {
    const { address, key, source, addedAt, triedAt, connectedAt, connectionCount, failureCount, duration, dueAt } =
      stored
    const history = { addedAt, triedAt, connectedAt, connectionCount, failureCount }
    const entry: Entry = { address, key, source, ...history, duration, dueAt, at: -1 }
    this.table.set(address, entry)
    this.heap.add(entry)
  }

  load(text: string): void {
    for (const entry of JSON.parse(text) as Stored[]) this.add(entry)
  }

  next(now: number): Entry | null {
    const { first } = this.heap
    return first && first.dueAt <= now ? first : null
  }

  dialed(address: string, now: number): void {
    const entry = this.entry(address)
    if (entry.at >= 0) this.heap.take(entry)
    entry.triedAt = now
    this.changed.add(entry)
  }

  failed(address: string, now: number): void {
    const entry = this.entry(address)
    entry.failureCount++
    this.back(entry, now)
  }

  connected(address: string, now: number): void {
    const entry = this.entry(address)
    entry.connectedAt = now
    entry.connectionCount++
    entry.failureCount = 0
    this.changed.add(entry)
  }

  closed(address: string, now: number): void {
    const entry = this.entry(address)
    const ms = now - entry.connectedAt
    const { sum, sqsum, count } = entry.duration ?? { sum: 0, sqsum: 0, count: 0 }
    const mean = (sum + ms) / (count + 1)
    const square = (sqsum + ms * ms) / (count + 1)
    const stdev = Math.sqrt(Math.max(0, square - mean * mean))
    entry.duration = { mean, stdev, count: count + 1, sum: sum + ms, sqsum: sqsum + ms * ms }
    this.back(entry, now)
  }

  /** Lines for the journal. */
  takeChanges(): string {
    let text = ''
    for (const entry of this.changed) text += `${JSON.stringify(entry)}\n`
    this.changed.clear()
    return text
  }

  private back(entry: Entry, now: number): void {
    if (entry.at >= 0) this.heap.take(entry)
    entry.dueAt = now + PAUSE_MS
    this.heap.add(entry)
    this.changed.add(entry)
  }

  private entry(address: string): Entry {
    const entry = this.table.get(address)
    if (!entry) throw new Error(`${address} is unknown`)
    return entry
  }
}

function stored(route: WorldRoute): Stored {
  const { address, key, source, addedAt, triedAt, connectedAt, connectionCount, failureCount } = route
  const duration = connectionCount > 0 ? statsOf(route.meanDurationMs, connectionCount) : null
  const dueAt = failureCount % 2 === 1 ? START_AT + failureCount * 1000 : 0
  return { address, key, source, addedAt, triedAt, connectedAt, connectionCount, failureCount, duration, dueAt }
}

function textOf(size: number): string {
  return JSON.stringify(makeWorld(size).map(stored))
}

function filled({ size }: Setting): Floor {
  const floor = new Floor()
  floor.load(textOf(size))
  return floor
}

const usual = once(filled)

// ---- events -----------------------------------------------------------------------------------------------------------

type Event = 'dialStarted' | 'dialFailed' | 'connected' | 'closed'
const CYCLES = 40

function timeEvents(setting: Setting): Laps<Event> {
  const floor = usual(setting)
  const addresses = [...floor.table.keys()]
  const laps = new Laps<Event>()
  const random = seededRandom(5)
  let now = START_AT
  const timed = (name: Event, work: () => void): void => {
    const elapsed = stopwatch()
    work()
    laps.add(name, elapsed())
  }
  const next = (): string => addresses[Math.floor(random.next() * addresses.length)]!
  for (const _ of laps.runs(setting, { cycles: CYCLES, full: 25, quick: 9 })) {
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      const bad = next()
      timed('dialStarted', () => floor.dialed(bad, now))
      timed('dialFailed', () => floor.failed(bad, now))
      const good = next()
      timed('dialStarted', () => floor.dialed(good, now))
      timed('connected', () => floor.connected(good, now))
      now += 1000
      timed('closed', () => floor.closed(good, now))
    }
    laps.endRun()
  }
  return laps
}

/** One is lost, the next one is dialed. */
function redial(setting: Setting): Figure {
  const floor = usual(setting)
  let now = START_AT + 86_400_000
  let up = floor.next(now)!
  floor.dialed(up.address, now)
  return timePerCall(setting, () => {
    now += 1_000
    floor.closed(up.address, now)
    up = floor.next(now)!
    floor.dialed(up.address, now)
  })
}

// ---- hours ------------------------------------------------------------------------------------------------------------

function inhabited(floor: Floor): Inhabited {
  const clock = virtualClock(START_AT)
  const stack = new FakeStack()
  const journal = join(stack.path, 'journal')
  let isArmed = false
  let up = 0
  let wakeUps = 0
  const save = (): void => {
    if (isArmed) return
    isArmed = true
    clock.setTimeout(() => {
      wakeUps++
      isArmed = false
      appendFileSync(journal, floor.takeChanges())
    }, SAVE_AFTER_MS)
  }
  const decide = (): void => {
    for (let entry = floor.next(clock.now()); up < SLOTS && entry; entry = floor.next(clock.now())) dial(entry.address)
    save()
  }
  const dial = (address: string): void => {
    up++
    floor.dialed(address, clock.now())
    const timer = clock.setTimeout(() => fail(), 10_000)
    const fail = (): void => {
      clock.clearTimeout(timer)
      up--
      floor.failed(address, clock.now())
      decide()
    }
    stack.connect(address, (error, rpc) => {
      if (error) return fail()
      clock.clearTimeout(timer)
      floor.connected(address, clock.now())
      ;(rpc as FakeRpc).on('closed', () => {
        up--
        floor.closed(address, clock.now())
        decide()
      })
    })
  }
  return {
    clock,
    stack,
    wakeUps: () => wakeUps,
    accept: (given: FakeDial) => given.accept(),
    heard: () => {},
    named: (address) => {
      const key = `@${address.slice(address.lastIndexOf(':') + 1)}.ed25519`
      const now = clock.now()
      floor.add({ ...NEW, address, key, addedAt: now, dueAt: now })
      decide()
    },
    refill: async () => {
      stack.onDial = (given) => void given.accept()
      decide()
      clock.advance(60_000)
    },
  }
}

const NEW = { source: 'pub', triedAt: 0, connectedAt: 0, connectionCount: 0, failureCount: 0, duration: null }

const hour = once(async (setting) => {
  const subject = inhabited(filled(setting))
  await subject.refill()
  return idleHour(setting, subject)
})
const churnOnce = once((setting) => churn(setting, inhabited(filled(setting))))

// ---- the table as a whole ---------------------------------------------------------------------------------------------

function addBulk(setting: Setting): Figure {
  const samples: number[] = []
  for (let run = 0; run < runsOf(setting, 11, 5); run++) {
    const floor = filled(setting)
    const newcomers = makeWorld(500, 'usual', 1_000).map(stored)
    const elapsed = stopwatch()
    for (const each of newcomers) floor.add(each)
    samples.push(elapsed() / newcomers.length)
  }
  return figureOf(samples)
}

async function heap(setting: Setting): Promise<Figure> {
  const samples: number[] = []
  for (let run = 0; run < runsOf(setting, 3, 3); run++)
    samples.push((await heapOf(() => filled(setting))) / setting.size)
  return figureOf(samples)
}

function storedStack(size: number): string {
  const path = join(new FakeStack().path, 'table.json')
  writeFileSync(path, textOf(size))
  return path
}

function startUp({ size }: Setting): Figure {
  const path = storedStack(size)
  collectGarbage()
  const before = cpuMs()
  const floor = new Floor()
  floor.load(readFileSync(path, 'utf8'))
  const first = floor.next(START_AT)
  const spent = cpuMs() - before
  if (!first) throw new Error('nobody is due')
  return exactly(spent)
}

function load(setting: Setting): Figure {
  const text = textOf(setting.size)
  const samples: number[] = []
  for (let run = 0; run < runsOf(setting, 5, 3); run++) {
    const elapsed = stopwatch()
    new Floor().load(text)
    samples.push(elapsed() / 1000)
  }
  return figureOf(samples)
}

async function stall({ size }: Setting): Promise<Figure> {
  const path = storedStack(size)
  const newcomers = makeWorld(STALL_NEWCOMERS, 'usual', 1_000).map(stored)
  collectGarbage()
  const watch = new TurnWatch()
  const longest = async (work: () => void): Promise<number> => {
    await pause(20)
    watch.takeLongest()
    work()
    await pause(20)
    return watch.takeLongest()
  }
  const floor = new Floor()
  const start = await longest(() => floor.load(readFileSync(path, 'utf8')))
  const add = await longest(() => {
    for (const each of newcomers) {
      floor.add(each)
      floor.changed.add(floor.table.get(each.address)!)
    }
  })
  const save = await longest(() => appendFileSync(`${path}.journal`, floor.takeChanges()))
  watch.stop()
  return stallFigure(start, add, save)
}

const eventsOnce = once(timeEvents)
const event =
  (name: Event) =>
  (setting: Setting): Figure =>
    eventsOnce(setting).figure(name)

export const floor: Subject = {
  benchmarks: {
    heap,
    planFull: (setting) => {
      // Whether there is a slot is one comparison.
      const subject = usual(setting)
      return timePerCall(setting, (i) => (i < 0 ? subject.next(START_AT) : null))
    },
    planFree: (setting) => {
      const subject = usual(setting)
      const now = START_AT + 86_400_000
      return timePerCall(setting, () => {
        const entry = subject.next(now)!
        subject.heap.take(entry)
        subject.heap.add(entry)
      })
    },
    redial,
    redialDelay: () => exactly(0),
    dialStarted: event('dialStarted'),
    dialFailed: event('dialFailed'),
    connected: event('connected'),
    closed: event('closed'),
    wakeUpsIdle: async (setting) => (await hour(setting)).wakeUps,
    wakeUpsRotation: async (setting) => (await hour(setting)).wakeUps,
    idleCpu: async (setting) => (await hour(setting)).cpu,
    churn: async (setting) => (await churnOnce(setting)).cpu,
    churnBytes: async (setting) => (await churnOnce(setting)).bytes,
    addBulk,
    addOne: addBulk,
    load,
    startUp,
    stall,
  },
  absent: {
    heapErrors: 'it keeps no texts of errors',
    planIdle: 'as with others waiting',
    planEmpty: 'as with one slot free',
    fallDue: 'it has no such step',
    announced: 'it takes no notice',
    pinged: 'it takes no notice',
    slowTurn: 'not measured',
    longestTurn: 'not measured',
  },
}
