/**
 * How good decisions are: ours beside ssb-conn 6.0.4 and ssb-gossip 1.1.1, a plain rotation, an oracle that knows who is
 * there and who has what, and a bound that nobody can beat (connected to everybody), in simulated worlds.
 *
 *     npm run simulate -- [--world desktop,phone] [--seeds 3 | --seed 7] [--only ours,ssb-conn] [--hours 6] [--json FILE] [--quick]
 *
 * How to read it. One table for each world; a cell is the median over the seeds, behind ours stand least and greatest. `×` says
 * how many times as much the other one has. Targets are ours. `-`: the world has nothing to measure it by. Each run is a process
 * of its own, as the existing managers keep time by the globals. The same seed gives the same world and, for ours, the same
 * decisions. What a world is made of: world.ts; what there are: worlds.ts. Figures over time count only while the machine is
 * awake, the process runs and the link works.
 *
 * `--quick`: one seed, ours, the oracle and the bound, six hours. Policy options for a trial: `POLICY='{"visitMs":600000}'`.
 */
import { spawn } from 'child_process'
import { mkdirSync, writeFileSync } from 'fs'
import { cpus } from 'os'
import { dirname, join, resolve } from 'path'

import type { Figures } from './ledger'
import type { Job, Outcome } from './one'
import { type Context, ROWS, type Row, SCHEDULERS, type SchedulerName, type Target } from './rows'
import { makeWorld, WORLDS } from './worlds'

const ROOT = dirname(dirname(__dirname))
const TIME_LIMIT_MS = 1_800_000

interface Options {
  readonly worlds: readonly string[]
  readonly seeds: readonly number[]
  readonly schedulers: readonly SchedulerName[]
  readonly hours: number | undefined
  readonly json: string
}

interface Result extends Job, Outcome {
  readonly error?: string
}

// ---- arguments --------------------------------------------------------------------------------------------------------

function parseArguments(args: readonly string[]): Options {
  const given = new Map<string, string>()
  for (let i = 0; i < args.length; i++) {
    const [name = '', inline] = (args[i] ?? '').split('=')
    if (!['--world', '--seeds', '--seed', '--only', '--hours', '--json', '--quick'].includes(name))
      throw new Error(`unknown option ${name}; the head of bench/simulate/run.ts names those that there are`)
    if (name === '--quick') given.set(name, '')
    else {
      const value = inline ?? args[++i]
      if (value === undefined) throw new Error(`${name} needs a value`)
      given.set(name, value)
    }
  }
  const isQuick = given.has('--quick')
  const worlds = given.get('--world')?.split(',') ?? Object.keys(WORLDS)
  for (const world of worlds)
    if (!Object.keys(WORLDS).includes(world))
      throw new Error(`no world ${world}; there are ${Object.keys(WORLDS).join(', ')}`)
  const names = given.get('--only')?.split(',') ?? (isQuick ? ['ours', 'oracle', 'bound'] : SCHEDULERS)
  const schedulers = SCHEDULERS.filter((name) => names.includes(name))
  if (schedulers.length !== names.length) throw new Error(`--only: expected some of ${SCHEDULERS.join(', ')}`)
  const seed = given.get('--seed')
  const count = toNumber('--seeds', given.get('--seeds') ?? (isQuick ? '1' : '3'))
  const hours = given.get('--hours') ?? (isQuick ? '6' : undefined)
  return {
    worlds,
    schedulers,
    seeds: seed === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [toNumber('--seed', seed)],
    hours: hours === undefined ? undefined : toNumber('--hours', hours),
    json: resolve(given.get('--json') ?? join(ROOT, 'bench/results/simulate.json')),
  }
}

function toNumber(name: string, text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name}: expected a whole number from 1, found ${text}`)
  return value
}

// ---- running ----------------------------------------------------------------------------------------------------------

function run(job: Job): Promise<Result> {
  return new Promise((done) => {
    const child = spawn(process.execPath, ['--require', 'tsx/cjs', join(__dirname, 'one.ts'), JSON.stringify(job)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: ROOT,
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), TIME_LIMIT_MS)
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr = (stderr + chunk).slice(-2_000)
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      const line = stdout.trim().split('\n').pop() ?? ''
      if (code === 0 && line.startsWith('{')) {
        const outcome = JSON.parse(line, (_, value) =>
          value === 'Infinity' ? Number.POSITIVE_INFINITY : value,
        ) as Outcome
        process.stderr.write(`… ${job.world}, seed ${job.seed}, ${job.scheduler}: ${outcome.cpuSeconds.toFixed(0)} s\n`)
        return done({ ...job, ...outcome })
      }
      process.stderr.write(
        `… ${job.world}, seed ${job.seed}, ${job.scheduler}: ended with ${signal ?? code}\n${stderr}\n`,
      )
      done({ ...job, figures: {} as Figures, cpuSeconds: 0, error: `ended with ${signal ?? code}` })
    })
  })
}

async function runAll(jobs: readonly Job[]): Promise<Result[]> {
  const results: Result[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    for (let job = jobs[next++]; job; job = jobs[next++]) results.push(await run(job))
  }
  await Promise.all(Array.from({ length: Math.max(1, cpus().length) }, worker))
  return results
}

// ---- printing ---------------------------------------------------------------------------------------------------------

function valuesOf(results: readonly Result[], world: string, scheduler: string, row: Row): number[] {
  return results
    .filter((each) => each.world === world && each.scheduler === scheduler && !each.error)
    .map(({ figures }) => figures[row.id])
    .filter((value): value is number => value !== null && value !== undefined)
    .sort((a, b) => a - b)
}

function median(sorted: readonly number[]): number | null {
  return sorted.length > 0 ? (sorted[Math.floor((sorted.length - 1) / 2)] as number) : null
}

function targetOf(results: readonly Result[], world: string, row: Row): Target | null {
  const medianOf = (name: SchedulerName): number | null => median(valuesOf(results, world, name, row))
  const theirs = (['ssb-conn', 'ssb-gossip'] as const).map(medianOf).filter((value): value is number => value !== null)
  const pick = row.isLessBetter ? Math.min : Math.max
  const context: Context = { world, existing: theirs.length > 0 ? pick(...theirs) : null, oracle: medianOf('oracle') }
  return row.target?.(context) ?? null
}

function ratio(theirs: number, mine: number): string {
  if (mine === 0) return theirs === 0 ? '1' : '∞'
  const times = theirs / mine
  return times >= 100 ? times.toFixed(0) : times.toPrecision(2)
}

function printTable(heads: readonly string[], lines: readonly (readonly string[])[]): void {
  const widths = heads.map((head, i) => Math.max(head.length, ...lines.map((line) => (line[i] ?? '').length)))
  const show = (line: readonly string[]): string =>
    widths
      .map((width, i) => (i === 0 ? (line[i] ?? '').padEnd(width) : (line[i] ?? '').padStart(width)))
      .join('  ')
      .trimEnd()
  console.log(show(heads))
  console.log(widths.map((width) => '-'.repeat(width)).join('  '))
  for (const line of lines) console.log(show(line))
}

/** Returns the rows that miss their target. */
function printWorld(results: readonly Result[], world: string, { schedulers, seeds, hours }: Options): string[] {
  const spec = makeWorld(world, seeds[0] ?? 1, hours)
  console.log(`\n${world}: ${spec.title}; ${spec.ms / 3_600_000} h, ${spec.slots} slots, seeds ${seeds.join(', ')}\n`)
  const missed: string[] = []
  const others = schedulers.filter((name) => name !== 'ours')
  const lines = ROWS.flatMap((row) => {
    const all = schedulers.map((name) => valuesOf(results, world, name, row))
    if (all.every((values) => values.length === 0)) return []
    const mine = valuesOf(results, world, 'ours', row)
    const middle = median(mine)
    const target = middle === null ? null : targetOf(results, world, row)
    const isMet = middle === null || target === null || target.isMet(middle)
    if (!isMet) missed.push(row.title)
    const line = [row.title]
    if (schedulers.includes('ours'))
      line.push(
        middle === null ? '-' : row.format(middle),
        mine.length > 1 ? `${row.format(mine[0] as number)} … ${row.format(mine[mine.length - 1] as number)}` : '',
        target ? `${target.text} ${isMet ? 'ok' : 'MISSED'}` : '',
      )
    for (const name of others) {
      const theirs = median(valuesOf(results, world, name, row))
      line.push(
        theirs === null ? '-' : row.format(theirs),
        theirs === null || middle === null ? '' : ratio(theirs, middle),
      )
    }
    return [line]
  })
  const own = schedulers.includes('ours') ? ['ours', 'min … max', 'target'] : []
  printTable(['', ...own, ...others.flatMap((name) => [name, '×'])], lines)
  return missed
}

async function main(): Promise<void> {
  const options = parseArguments(process.argv.slice(2))
  const { worlds, seeds, schedulers, hours } = options
  const startedAt = Date.now()
  const all: Result[] = []
  const missed = new Map<string, string[]>()
  for (const world of worlds) {
    const jobs = seeds.flatMap((seed) =>
      schedulers.map((scheduler): Job => ({ world, seed, scheduler, ...(hours === undefined ? {} : { hours }) })),
    )
    all.push(...(await runAll(jobs)))
    for (const row of printWorld(all, world, options)) missed.set(row, [...(missed.get(row) ?? []), world])
  }
  if (schedulers.includes('ours')) {
    console.log(missed.size > 0 ? '\nmissed\n' : '\nall targets are met')
    for (const [row, where] of missed) console.log(`  ${row}: ${where.join(', ')}`)
  }
  mkdirSync(dirname(options.json), { recursive: true })
  const machine = { node: process.version, cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length }
  writeFileSync(
    options.json,
    `${JSON.stringify({ at: new Date().toISOString(), machine, results: all }, withInfinity, 1)}\n`,
  )
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(0)
  console.log(
    `\n${process.version}, ${cpus().length} × ${machine.cpu.trim()}; ${seconds} s; written to ${options.json}`,
  )
  if (all.some(({ error }) => error)) process.exitCode = 1
}

function withInfinity(_: string, value: unknown): unknown {
  return value === Number.POSITIVE_INFINITY ? 'Infinity' : value
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
})
