/**
 * Stopwatches. Every figure is the median of several runs and carries the least and the greatest, so that a reader sees how
 * far it can be trusted; on a busy machine the least is often the better guess.
 */
import { readFileSync } from 'fs'

import type { RowId } from './rows'

export interface Figure {
  readonly median: number
  readonly min: number
  readonly max: number
  readonly runs: number
  /** What a reader has to know of it; printed below the table. */
  readonly note?: string
}

export interface Setting {
  /** Routes in the table, or feeds in the social graph. */
  readonly size: number
  /** Fewer and shorter runs. */
  readonly isQuick: boolean
  /** As few runs as there can be: for a test of the harness, whose times say nothing. */
  readonly isSmoke?: boolean
  /** Which of the processes this is that measure the same, from 0. */
  readonly run: number
}

/** What a subject can do of the rows, and why not of the others. */
export interface Subject {
  readonly benchmarks: { readonly [K in RowId]?: (setting: Setting) => Measured | Promise<Measured> }
  readonly absent: { readonly [K in RowId]?: string }
}

/** A text says why there is no figure, null that another run has it. */
export type Measured = Figure | string | null

export function figureOf(samples: readonly number[], note?: string): Figure {
  const sorted = [...samples].sort((a, b) => a - b)
  const at = (index: number): number => sorted[index] ?? Number.NaN
  const half = sorted.length >> 1
  return {
    median: sorted.length % 2 === 1 ? at(half) : (at(half - 1) + at(half)) / 2,
    min: at(0),
    max: at(sorted.length - 1),
    runs: sorted.length,
    ...(note === undefined ? {} : { note }),
  }
}

/** One figure of the same row from several processes, each of which counts as one run if it made one. */
export function joined(figures: readonly Figure[]): Figure {
  const [first] = figures
  if (first && figures.length === 1) return first
  const all = figureOf(
    figures.map(({ median }) => median),
    first?.note,
  )
  const runs = figures.reduce((sum, each) => sum + each.runs, 0)
  return {
    ...all,
    min: Math.min(...figures.map(({ min }) => min)),
    max: Math.max(...figures.map(({ max }) => max)),
    runs,
  }
}

/** A figure that is the same however often it is taken. */
export function exactly(value: number, note?: string): Figure {
  return figureOf([value], note)
}

/** Results go here, so that no compiler may leave the work out. */
let sink: unknown
export function keep(value: unknown): void {
  sink = value
}
export function kept(): unknown {
  return sink
}

/**
 * Starts a stopwatch, which tells the µs of work since then: the time that passed, or the CPU time of this process where that
 * is less, as then others had the processor meanwhile. (CPU time alone counts the threads of compiler and collector on top.)
 */
export function stopwatch(): () => number {
  const cpu = process.cpuUsage()
  const wall = performance.now()
  return () => {
    const wallUs = (performance.now() - wall) * 1000
    const { user, system } = process.cpuUsage(cpu)
    return Math.min(wallUs, user + system)
  }
}

const WARM_UP_MS = 150
const BATCH_MS = 8
const RUNS = 21

/**
 * µs of one call of `fn`, which leaves everything as it was. Warms up, then times batches that are long enough for the
 * clock. `budgetMs`: no run is begun after this, but three are made in any case.
 */
export function timePerCall(setting: Setting, fn: (i: number) => unknown, budgetMs = 2_000): Figure {
  const factor = setting.isSmoke ? 0.02 : setting.isQuick ? 0.3 : 1
  const startedAt = performance.now()
  const spentMs = (): number => performance.now() - startedAt
  let calls = 0
  const warmUp = stopwatch()
  do keep(fn(calls++))
  while (spentMs() < WARM_UP_MS * factor && calls < 1e6)
  const batch = Math.max(1, Math.round((BATCH_MS * factor * 1000) / (warmUp() / calls)))
  const samples: number[] = []
  for (let run = 0; run < RUNS && (run < 3 || spentMs() < budgetMs * factor); run++) {
    const elapsed = stopwatch()
    for (let i = 0; i < batch; i++) keep(fn(calls + i))
    samples.push(elapsed() / batch)
    calls += batch
  }
  return figureOf(samples)
}

/** V8 compiles a function for good after some hundred calls, and some only after it was wrong about them once or twice. */
const WARM_EVENTS = 2_000
/** … or for as long as this on the processor, where an event takes long. */
const WARM_EVENTS_MS = 2_000

/** Samples of several stopwatches that run side by side, each a mean over the parts of one run. */
export class Laps<K extends string> {
  private readonly samples = new Map<K, number[]>()
  private readonly present = new Map<K, { sum: number; count: number }>()
  /** Of the first runs, when nothing was warm. */
  private readonly cold = new Map<K, Figure>()

  add(name: K, us: number): void {
    const entry = this.present.get(name) ?? { sum: 0, count: 0 }
    entry.sum += us
    entry.count++
    this.present.set(name, entry)
  }

  /** What was added since the last run is a sample. */
  endRun(): void {
    for (const [name, { sum, count }] of this.present) {
      const list = this.samples.get(name) ?? []
      list.push(sum / count)
      this.samples.set(name, list)
    }
    this.present.clear()
  }

  /**
   * The numbers of the runs to be made, each of `cycles` events of each kind, the same for all subjects: so many that count,
   * after a warm-up whose first runs are told in a remark. It is as long as the code of all of them needs to be compiled.
   */
  *runs(setting: Setting, { cycles, full, quick }: { cycles: number; full: number; quick: number }): Generator<number> {
    const count = runsOf(setting, full, quick)
    let run = 0
    if (!setting.isSmoke) {
      const until = cpuMs() + WARM_EVENTS_MS
      const cold = Math.ceil(COLD_EVENTS / cycles)
      while (run < cold || (run * cycles < WARM_EVENTS && cpuMs() < until)) {
        yield run++
        if (run === cold) for (const name of this.samples.keys()) this.cold.set(name, this.figure(name))
      }
      this.samples.clear()
    }
    for (const end = run + count; run < end; ) yield run++
  }

  figure(name: K): Figure {
    const cold = this.cold.get(name)
    const note = cold && `${cold.median.toFixed(1)} µs before anything is warm: the first ${COLD_EVENTS} of a process`
    return figureOf(this.samples.get(name) ?? [], note)
  }
}

const COLD_EVENTS = 200

export function collectGarbage(): void {
  if (!globalThis.gc) throw new Error('the worker has to run with --expose-gc')
  for (let i = 0; i < 3; i++) globalThis.gc()
}

/** Bytes on the heap that `make` leaves behind, while what it returned is held. */
export async function heapOf(make: () => unknown): Promise<number> {
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  const made = await make()
  collectGarbage()
  const after = process.memoryUsage().heapUsed
  keep(made)
  return after - before
}

/** ms of CPU, of all threads of this process: the collector's too. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** For rows that come from the same runs: `measure` is called for the first of them. */
export function once<T>(measure: (setting: Setting) => T): (setting: Setting) => T {
  let done: { readonly setting: Setting; readonly result: T } | null = null
  return (setting) => {
    if (done?.setting !== setting) done = { setting, result: measure(setting) }
    return done.result
  }
}

/** How often something is repeated, by how much time there is. */
export function runsOf(setting: Setting, full: number, quick: number, smoke = 1): number {
  return setting.isSmoke ? smoke : setting.isQuick ? quick : full
}

/** Bytes that this process has handed to the system to be written so far; null where the system does not tell. */
export function writtenBytes(): number | null {
  try {
    const [, count] = /^wchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8')) ?? []
    return count === undefined ? null : Number(count)
  } catch {
    return null
  }
}

/** Measures every turn of the event loop, which is kept busy meanwhile: for stalls, not for CPU. */
export class TurnWatch {
  private longestUs = 0
  private isStopped = false

  constructor() {
    let elapsed = stopwatch()
    const look = (): void => {
      if (this.isStopped) return
      this.longestUs = Math.max(this.longestUs, elapsed())
      elapsed = stopwatch()
      setImmediate(look)
    }
    setImmediate(look)
  }

  /** ms of the longest turn since this was last asked, the one under way apart. */
  takeLongest(): number {
    const longest = this.longestUs / 1000
    this.longestUs = 0
    return longest
  }

  stop(): void {
    this.isStopped = true
  }
}

export function scaled({ median, min, max, runs, note }: Figure, by: number): Figure {
  return { median: median * by, min: min * by, max: max * by, runs, ...(note === undefined ? {} : { note }) }
}
