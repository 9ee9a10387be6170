/**
 * What happens to a manager in an hour without events, and in ten minutes full of them: the same for all, on a virtual clock, with
 * the table on a real disk.
 */

import { seededRandom, type VirtualClock } from '../src/testing'
import { diskAtRest, type FakeDial, type FakeRpc, type FakeStack } from './fake-stack'
import { collectGarbage, cpuMs, exactly, type Figure, figureOf, runsOf, type Setting, writtenBytes } from './measure'
import { type LanPeer, makeLan, makeWorld } from './world'

export interface Inhabited {
  readonly clock: VirtualClock
  readonly stack: FakeStack
  /** Timers that have fired so far. */
  readonly wakeUps: () => number
  /** Lets the dial succeed. */
  readonly accept: (dial: FakeDial) => FakeRpc
  readonly heard: (peer: LanPeer) => void
  /** A pub of which somebody told. */
  readonly named: (address: string) => void
  /** Called each second of the churn, for what else comes by a connection. */
  readonly passed?: (second: number) => void
  /** As many connections as it wants to have. */
  readonly refill: () => Promise<void>
}

/** What the ten minutes consist of: one in three dials works, one fails, one is not answered. */
const CHURN_SECONDS = 600
/** Fewer are not worth a reckoning. */
const MIN_CHURN_SECONDS = 20
const NAMED_EVERY = 5
const SECONDS_PER_STEP = 10
const LAN_PEERS = 20

/** One second, at the end of which the disk is at rest. */
async function second({ clock }: Inhabited): Promise<void> {
  const before = clock.fired
  clock.advance(1_000)
  if (clock.fired !== before) await diskAtRest()
}

export interface Hour {
  readonly cpu: Figure
  readonly wakeUps: Figure
}

/** One hour, or as much of it as can be had in the time that there is, times as many. */
export async function idleHour(setting: Setting, subject: Inhabited): Promise<Hour> {
  const budgetMs = runsOf(setting, 6_000, 1_000, 200)
  subject.stack.onDial = subject.accept
  collectGarbage()
  const startedAt = performance.now()
  const cpuBefore = cpuMs()
  const before = subject.wakeUps()
  let seconds = 0
  while (seconds < 3_600 && performance.now() - startedAt < budgetMs)
    for (let i = 0; i < SECONDS_PER_STEP; i++, seconds++) await second(subject)
  const factor = 3_600 / seconds
  const note = seconds < 3_600 ? `reckoned from ${seconds} s` : undefined
  return {
    cpu: exactly((cpuMs() - cpuBefore) * factor, note),
    wakeUps: exactly(Math.round((subject.wakeUps() - before) * factor), note),
  }
}

export interface Churn {
  readonly cpu: Figure
  readonly bytes: Figure | string
}

/**
 * Ten minutes in which nothing lasts: connections live for 10 to 70 s; every second a LAN peer is heard again, every fifth a
 * pub is named that nobody knew.
 */
export async function churn(setting: Setting, subject: Inhabited): Promise<Churn> {
  const budgetMs = runsOf(setting, 12_000, 2_500, 200)
  const { clock, stack } = subject
  const random = seededRandom(7)
  const lan = makeLan(LAN_PEERS)
  const cpu: number[] = []
  const bytes: number[] = []
  let shortest = CHURN_SECONDS
  const live = (rpc: FakeRpc): void => void clock.setTimeout(() => rpc.end(), 10_000 + 60_000 * random.next())
  const startedAt = performance.now()
  for (let run = 0; run < runsOf(setting, 5, 3) && (run === 0 || performance.now() - startedAt < budgetMs); run++) {
    await subject.refill()
    stack.onDial = (dial) => {
      const dice = random.next()
      if (dice < 1 / 3) clock.setTimeout(() => live(subject.accept(dial)), 200)
      else if (dice < 2 / 3) clock.setTimeout(() => dial.refuse(), 100)
    }
    for (const rpc of stack.open) live(rpc)
    const newcomers = makeWorld(CHURN_SECONDS / NAMED_EVERY, 'usual', 2_000 + run)
    await diskAtRest()
    collectGarbage()
    const runAt = performance.now()
    const cpuBefore = cpuMs()
    const bytesBefore = writtenBytes()
    let seconds = 0
    for (
      ;
      seconds < CHURN_SECONDS && (seconds < MIN_CHURN_SECONDS || performance.now() - runAt < budgetMs);
      seconds++
    ) {
      await second(subject)
      const heard = lan[seconds % lan.length]
      if (heard) subject.heard(heard)
      const newcomer = seconds % NAMED_EVERY === 0 ? newcomers[seconds / NAMED_EVERY] : undefined
      if (newcomer) subject.named(newcomer.address)
      subject.passed?.(seconds)
    }
    const factor = CHURN_SECONDS / seconds
    cpu.push((cpuMs() - cpuBefore) * factor)
    const written = writtenBytes()
    if (written !== null && bytesBefore !== null) bytes.push((written - bytesBefore) * factor)
    shortest = Math.min(shortest, seconds)
    // Dials under way end without a word; what is open then ends within the refill.
    stack.onDial = subject.accept
    for (let i = 0; i < 100 && shortest === CHURN_SECONDS; i++) await second(subject)
  }
  const note = shortest < CHURN_SECONDS ? `reckoned from ${shortest} s` : undefined
  return {
    cpu: figureOf(cpu, note),
    bytes: bytes.length > 0 ? figureOf(bytes, note) : 'the system does not tell what a process writes',
  }
}

/** Routes that are told in one turn while stalls are looked for. */
export const STALL_NEWCOMERS = 100

/** The longest of the three, which the remark tells apart. */
export function stallFigure(start: number | null, add: number, save: number): Figure {
  const parts = [
    ...(start === null ? [] : [`start-up and load ${start.toFixed(1)} ms`]),
    `${STALL_NEWCOMERS} routes added in a turn ${add.toFixed(1)} ms`,
    `saving and deciding ${save.toFixed(1)} ms`,
  ]
  return exactly(Math.max(start ?? 0, add, save), parts.join(', '))
}
