/**
 * A replication scheduler on stubs, in real time: ours and ssb-replication-scheduler 3.1.1 are measured by the same code.
 * Everything around it is made before the clock starts. Each process starts it once, as a peer does: what the compiler has
 * not seen yet and what the collector has to clear away belong to the figure.
 *
 * To look for stalls takes CPU itself, so every other process looks for stalls, and the others measure the rest.
 */
import { monitorEventLoopDelay } from 'perf_hooks'

import { collectGarbage, cpuMs, exactly, type Measured, once, type Setting, type Subject } from '../measure'
import { makeMains, Neighbour } from '../replication/announces'
import { Friends, makeSocialGraph } from '../replication/graph'
import { CountingEbt, makeStack } from '../replication/stack'
import type { RowId } from '../rows'

type Init = (sbot: object, config: object) => unknown

const ours: Init = (sbot, config) =>
  (require('../../src/replication-scheduler') as typeof import('../../src/replication-scheduler')).init(sbot, config)
const theirs: Init = (sbot, config) =>
  (require('ssb-replication-scheduler') as typeof import('ssb-replication-scheduler')).init(sbot, config)

const DEADLINE_MS = 60_000
/** Longer than any debounce. */
const QUIET_MS = 1_500

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

interface Span {
  readonly waitMs: number
  readonly cpuMs: number
  /** 0 unless it was looked for. */
  readonly stallMs: number
}

/** Starts to measure; what it gives ends it. */
async function spanFrom(isStallSought: boolean): Promise<() => Promise<Span>> {
  collectGarbage()
  const delays = isStallSought ? monitorEventLoopDelay({ resolution: 1 }) : null
  delays?.enable()
  // The first firing of its timer is where it counts from.
  await sleep(30)
  delays?.reset()
  const wall = performance.now()
  const cpu = cpuMs()
  return async () => {
    const waitMs = performance.now() - wall
    const spentMs = cpuMs() - cpu
    // Its timer has to fire once more to see what has just been.
    if (delays) await sleep(5)
    delays?.disable()
    return { waitMs, cpuMs: spentMs, stallMs: delays ? delays.max / 1e6 : 0 }
  }
}

function isForStalls({ run }: Setting): boolean {
  return run % 2 === 1
}

interface Cycle {
  readonly calls: number
  readonly span: Span
}

interface Outcome {
  readonly start: Span
  readonly requests: number
  readonly blocksOfOthers: number
  readonly blocksPerEdge: number
  readonly blocksOfSelf: number
  readonly note: string
  readonly cycle: Cycle
  /** Null: what was reachable only through the unfollowed one is requested for ever. */
  readonly unfollow: Span | null
}

async function live(init: Init, setting: Setting): Promise<Outcome> {
  const isStallSought = isForStalls(setting)
  const world = makeSocialGraph(setting.size)
  const friends = new Friends(world.self, world.edges)
  const ebt = new CountingEbt(world.self)
  const stack = makeStack(world.self, friends, ebt)
  const config = { replicationScheduler: { autostart: true, partialReplication: null } }
  const feeds = Object.keys(friends.hops()).length
  // Compiles what can be without starting anything.
  init({ ...stack.sbot, close: undefined }, { replicationScheduler: { autostart: false } })

  const started = await spanFrom(isStallSought)
  init(stack.sbot, config)
  // One for each feed, to want or to drop it; the own one is asked for at the start.
  if (!(await ebt.after(() => ebt.requests >= feeds, DEADLINE_MS)))
    throw new Error(`${ebt.requests} requests for ${feeds} feeds`)
  const start = await started()
  await sleep(QUIET_MS)
  const { requests, blocksOfOthers, blocksOfSelf } = ebt
  const blocksPerEdge = blocksOfOthers / world.blocksAmongOthers
  const note = `${feeds} feeds within reach or named, ${world.edgeCount} edges, of which ${world.blocksAmongOthers} block among others`

  const cycle = await indexWithoutChanges()
  const unfollow = await unfollowHub()
  stack.close()
  return { start, requests, blocksOfOthers, blocksPerEdge, blocksOfSelf, note, cycle, unfollow }

  async function indexWithoutChanges(): Promise<Cycle> {
    const before = ebt.calls()
    const end = await spanFrom(isStallSought)
    stack.indexing.set(1)
    await sleep(20)
    stack.indexing.set(0)
    await sleep(QUIET_MS)
    return { span: await end(), calls: ebt.calls() - before }
  }

  async function unfollowHub(): Promise<Span | null> {
    const drops = ebt.drops + world.throughHub.length + 1
    const end = await spanFrom(isStallSought)
    // What the graph needs itself for the new distances is no cost of the scheduler.
    const cpu = cpuMs()
    const wall = performance.now()
    friends.say(world.self, world.hub, -2)
    const ofGraph = { waitMs: performance.now() - wall, cpuMs: cpuMs() - cpu }
    if (!(await ebt.after(() => ebt.drops >= drops, 2 * QUIET_MS))) return null
    const span = await end()
    return { ...span, waitMs: span.waitMs - ofGraph.waitMs, cpuMs: span.cpuMs - ofGraph.cpuMs }
  }
}

interface Search {
  readonly span: Span
  readonly count: number
  readonly questions: number
}

/** How many main feeds are looked up: a thousand at the size of the target. */
function mainsFor(size: number): number {
  return Math.floor(size / 50)
}

/** Null: nobody is asked. */
async function search(init: Init, setting: Setting, count: number): Promise<Search | null> {
  const { self, mains, announced } = makeMains(count)
  const friends = new Friends(self, { [self]: Object.fromEntries(mains.map((main) => [main, 1])) })
  const ebt = new CountingEbt(self, true)
  const neighbour = new Neighbour(announced)
  const stack = makeStack(self, friends, ebt, [neighbour])
  const config = { replicationScheduler: { partialReplication: { 0: null, 1: [{ purpose: 'main' }] } } }
  const isDecided = (main: string): boolean => {
    const found = announced.get(main)
    return found ? ebt.wanted?.has(found.root) === true : ebt.wanted?.has(main) === true && neighbour.answered.has(main)
  }
  const end = await spanFrom(isForStalls(setting))
  init(stack.sbot, config)
  const begunAt = performance.now()
  let decided = 0
  while (decided < count) {
    const waitedMs = performance.now() - begunAt
    if (waitedMs > QUIET_MS && neighbour.questions === 0) return null
    if (waitedMs > DEADLINE_MS)
      throw new Error(`${decided} of ${count} mains decided after ${neighbour.questions} questions`)
    while (decided < count && isDecided(mains[decided] as string)) decided++
    if (decided < count) await sleep(5)
  }
  const span = await end()
  stack.close()
  return { span, count, questions: neighbour.questions }
}

// ---- rows -------------------------------------------------------------------------------------------------------------

const NEVER = 'never: they stay requested until the next start'
const UNASKED = 'no neighbour is asked'

function subjectOf(init: Init, searchedAtOnce: number | null): Subject {
  const outcome = once((setting) => live(init, setting))
  const found = once((setting) => search(init, setting, searchedAtOnce ?? mainsFor(setting.size)))

  type Benchmark = (setting: Setting) => Promise<Measured>
  const count =
    (read: (outcome: Outcome) => number): Benchmark =>
    async (setting) =>
      exactly(read(await outcome(setting)))
  const work =
    (read: (outcome: Outcome) => Span | null, part: 'waitMs' | 'cpuMs'): Benchmark =>
    async (setting) => {
      if (isForStalls(setting)) return null
      const span = read(await outcome(setting))
      return span ? exactly(span[part]) : NEVER
    }
  const stall =
    (read: (outcome: Outcome) => Span | null): Benchmark =>
    async (setting) => {
      if (!isForStalls(setting)) return null
      const span = read(await outcome(setting))
      return span ? exactly(span.stallMs) : NEVER
    }
  const ofSearch =
    (part: keyof Span): Benchmark =>
    async (setting) => {
      if (isForStalls(setting) !== (part === 'stallMs')) return null
      // One after the other, they take minutes: once is enough.
      if (searchedAtOnce !== null && setting.run > 1) return null
      const result = await found(setting)
      if (!result) return UNASKED
      const { span, questions } = result
      const factor = part === 'stallMs' ? 1 : mainsFor(setting.size) / result.count
      const scale = factor === 1 ? '' : `measured with ${result.count} main feeds, times ${factor}; `
      return exactly(span[part] * factor, `${scale}${questions} questions`)
    }

  const benchmarks: { readonly [K in RowId]?: Benchmark } = {
    startCpu: async (setting) => {
      if (isForStalls(setting)) return null
      const { start, note } = await outcome(setting)
      return exactly(start.cpuMs, note)
    },
    startStall: stall(({ start }) => start),
    startWait: work(({ start }) => start, 'waitMs'),
    requests: count(({ requests }) => requests),
    blocksOfOthers: count(({ blocksOfOthers }) => blocksOfOthers),
    blocksPerEdge: count(({ blocksPerEdge }) => blocksPerEdge),
    blocksOfSelf: count(({ blocksOfSelf }) => blocksOfSelf),
    cycleCalls: count(({ cycle }) => cycle.calls),
    cycleCpu: work(({ cycle }) => cycle.span, 'cpuMs'),
    cycleStall: stall(({ cycle }) => cycle.span),
    unfollowWait: work(({ unfollow }) => unfollow, 'waitMs'),
    unfollowCpu: work(({ unfollow }) => unfollow, 'cpuMs'),
    unfollowStall: stall(({ unfollow }) => unfollow),
    searchWait: ofSearch('waitMs'),
    searchCpu: ofSearch('cpuMs'),
    searchStall: ofSearch('stallMs'),
  }
  return { benchmarks, absent: {} }
}

export const ourScheduler: Subject = subjectOf(ours, null)
/** 0.7 s for each feed: all of them would take a quarter of an hour. */
export const existingScheduler: Subject = subjectOf(theirs, 20)
