/**
 * What a connection manager costs: ours beside the two that exist, ssb-conn 6.0.4 and ssb-gossip 1.1.1. And what a
 * replication scheduler costs: ours beside ssb-replication-scheduler 3.1.1.
 *
 *     npm run bench -- [--quick] [--smoke] [--json FILE] [--suite connections] [--routes 1000,10000] [--feeds 50000]
 *                      [--only ours,ssb-conn] [--cpu-prof]
 *
 * `floor` is what a Map and a heap cost for the same events, without rules (managers/floor.ts): nobody gets below. `--smoke` runs
 * everything once, for a test; its times say nothing.
 *
 * How to read it. One table for each size. A cell is the median of several runs; behind ours stand least, greatest and the
 * number of runs. `×` says how many times as much the other manager needs. `-` says that it cannot be done there in a way
 * that would be fair; the reasons, and remarks on some figures, follow the table. `work` is time on this machine's
 * processor, `wait` is time that passes in the world, `stall` how long a timer of 1 ms had to wait. Targets are ours, for
 * 10 000 routes and 50 000 feeds unless for every size. The last table of a suite shows how our figures grow.
 *
 * How connections are measured. Virtual clock, fake stack, the same drawn table for all (world.ts). Sources are compiled as for the
 * package (tsx would add a call to every closure), then each manager at each size runs in a process of its own
 * (worker.ts). The existing managers run their own code from node_modules on fake timers (fake-stack.ts). What the stack adds
 * to any of them is left out on all sides: pings, the watches on the machine's network and on replication. In the rows of an hour, of churn and
 * of the start all write their tables to a real disk; what they wrote is what the system counted for the process. A row that takes longer
 * than a minute is given up; hours and minutes of the existing ones are reckoned from a part where that takes long. Starts and
 * stalls are taken in processes of their own, as then nothing is warm. Events are the opposite: before those that count, each
 * subject has 2 000 of each kind, or as many as it manages in 2 s of the processor, as V8 takes that long to compile what they
 * run; what the first 200 took, a remark tells.
 *
 * How replication is measured. Real time, a graph of ten edges for each feed in the real layered-graph, an ssb-ebt that only
 * counts, the default options; for meta feeds a fiftieth of the feeds, and one neighbour who knows half of them. Each run is a
 * process of its own, as what counts is the start of a peer, when nothing is warm (managers/replication.ts).
 *
 * The figures are as good as the machine is quiet; compare what was measured in one run only.
 *
 * A row is added in rows.ts and in the subjects that can do it; a size by `--routes` or `--feeds`. Results go to bench/results/, too, and
 * with `--cpu-prof` a profile of each process, for the developer tools of a browser.
 */
import { type ChildProcess, spawn } from 'child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'fs'
import { cpus } from 'os'
import { dirname, join, relative, resolve } from 'path'

import ts = require('typescript')

import { type Figure, joined } from './measure'
import { type Row, type RowId, SUITES, type SubjectName, type Suite, type Unit } from './rows'
import type { Job, Report } from './worker'

const ROOT = dirname(__dirname)
const RESULTS = join(__dirname, 'results')
const SUBJECTS: readonly SubjectName[] = [...new Set(SUITES.flatMap(({ subjects }) => subjects))]

interface Options {
  readonly isQuick: boolean
  readonly isSmoke: boolean
  readonly suites: readonly Suite[]
  /** In place of those of the suite. */
  readonly sizes: { readonly routes: readonly number[] | null; readonly feeds: readonly number[] | null }
  readonly subjects: readonly SubjectName[]
  readonly json: string | null
  readonly isProfiled: boolean
}

type Cell = { readonly figure: Figure; readonly seconds: number } | { readonly absent: string }
type Cells = { readonly [K in RowId]?: Cell }

interface Result {
  readonly suite: Suite
  readonly subject: SubjectName
  readonly size: number
  readonly cells: Cells
}

// ---- arguments --------------------------------------------------------------------------------------------------------

function parseArguments(args: readonly string[]): Options {
  let isQuick = false
  let isSmoke = false
  let isProfiled = false
  let json: string | null = null
  let suites = SUITES
  let routes: readonly number[] | null = null
  let feeds: readonly number[] | null = null
  let subjects = SUBJECTS
  for (let i = 0; i < args.length; i++) {
    const [name = '', inline] = (args[i] ?? '').split('=')
    const value = (): string => {
      const given = inline ?? args[++i]
      if (given === undefined) throw new Error(`${name} needs a value`)
      return given
    }
    if (name === '--quick') isQuick = true
    else if (name === '--smoke') isSmoke = true
    else if (name === '--cpu-prof') isProfiled = true
    else if (name === '--json') json = value()
    else if (name === '--suite') suites = value().split(',').map(toSuite)
    else if (name === '--routes') routes = value().split(',').map(toCount)
    else if (name === '--feeds') feeds = value().split(',').map(toCount)
    else if (name === '--only') subjects = value().split(',').map(toSubject)
    else throw new Error(`unknown option ${name}; the head of bench/run.ts names those that there are`)
  }
  return { isQuick: isQuick || isSmoke, isSmoke, isProfiled, json, suites, subjects, sizes: { routes, feeds } }
}

function toCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 100)
    throw new Error(`--routes, --feeds: expected numbers from 100, found ${text}`)
  return count
}

function toSuite(text: string): Suite {
  const found = SUITES.find(({ name }) => name === text)
  if (!found) throw new Error(`--suite: expected some of ${SUITES.map(({ name }) => name).join(', ')}, found ${text}`)
  return found
}

function toSubject(text: string): SubjectName {
  const found = SUBJECTS.find((name) => name === text)
  if (!found) throw new Error(`--only: expected some of ${SUBJECTS.join(', ')}, found ${text}`)
  return found
}

// ---- compiling --------------------------------------------------------------------------------------------------------

function sourcesIn(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) return path === RESULTS ? [] : sourcesIn(path)
    return path.endsWith('.ts') && !path.endsWith('.d.ts') ? [path] : []
  })
}

/** The sources as JavaScript, by the options of the package but without checking types, which takes longer than measuring. */
function compile(into: string): void {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => readFileSync(path, 'utf8'))
  const { moduleResolution: _, ...given } = ts.convertCompilerOptionsFromJson(config.compilerOptions, ROOT).options
  const compilerOptions = { ...given, module: ts.ModuleKind.CommonJS, declaration: false }
  for (const path of [...sourcesIn(join(ROOT, 'src')), ...sourcesIn(__dirname)]) {
    const { outputText } = ts.transpileModule(readFileSync(path, 'utf8'), { fileName: path, compilerOptions })
    const target = join(into, relative(ROOT, path).replace(/\.ts$/, '.js'))
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, outputText)
  }
}

// ---- running ----------------------------------------------------------------------------------------------------------

let running: ChildProcess | null = null

/** How many times the limit may pass while others have the processor. */
const PATIENCE = 4

/** Seconds on the processor so far, of all threads; null where the system does not tell. */
function cpuSecondsOf(pid: number | undefined): number | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // After the name, which may hold anything; in hundredths.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const seconds = (Number(fields[11]) + Number(fields[12])) / 100
    return Number.isFinite(seconds) ? seconds : null
  } catch {
    return null
  }
}

interface Ended {
  readonly cells: Cells
  /** What took too long, and has ended the process before all were measured. */
  readonly cutShort: RowId | null
}

function runProcess(build: string, job: Job, limitMs: number, isProfiled: boolean): Promise<Ended> {
  return new Promise((done, fail) => {
    const cells: { [K in RowId]?: Cell } = {}
    const profile = isProfiled ? ['--cpu-prof', `--cpu-prof-dir=${RESULTS}`] : []
    const flags = ['--expose-gc', '--max-old-space-size=3000', ...profile]
    const child = spawn(process.execPath, [...flags, join(build, 'bench/worker.js'), JSON.stringify(job)], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      cwd: ROOT,
      // So that what is written to disk is written by calls that the system counts.
      env: { ...process.env, UV_USE_IO_URING: '0' },
    })
    running = child
    let present: RowId | null = null
    let isTooLong = false
    let timer: ReturnType<typeof setTimeout> | null = null
    const stop = (): void => {
      if (timer) clearTimeout(timer)
    }
    let stderr = ''
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk
    })
    child.on('message', (report: Report) => {
      const { row } = report
      if ('isBegun' in report) {
        stop()
        present = row
        const cpuBefore = cpuSecondsOf(child.pid)
        const giveUpAt = Date.now() + PATIENCE * limitMs
        const look = (): void => {
          const cpu = cpuSecondsOf(child.pid)
          const leftMs = cpu === null || cpuBefore === null ? 0 : limitMs - 1000 * (cpu - cpuBefore)
          if (leftMs > 0 && Date.now() < giveUpAt) {
            timer = setTimeout(look, Math.max(100, leftMs))
            return
          }
          isTooLong = true
          child.kill('SIGKILL')
        }
        timer = setTimeout(look, limitMs)
      } else
        cells[row] = 'absent' in report ? { absent: report.absent } : { figure: report.figure, seconds: report.seconds }
    })
    child.on('error', fail)
    child.on('close', (code, signal) => {
      stop()
      running = null
      if (code === 0) done({ cells, cutShort: null })
      else if (isTooLong && present) done({ cells, cutShort: present })
      else fail(new Error(`${job.subject}, size ${job.setting.size}, ended with ${signal ?? code}\n${stderr}`))
    })
  })
}

/** Goes on in another process after a row that took too long. */
async function runJob(build: string, job: Job, limitMs: number, isProfiled: boolean): Promise<Cells> {
  const cells: { [K in RowId]?: Cell } = {}
  for (let rows = job.rows; rows.length > 0; ) {
    const ended = await runProcess(build, { ...job, rows }, limitMs, isProfiled)
    Object.assign(cells, ended.cells)
    if (ended.cutShort === null) break
    cells[ended.cutShort] = { absent: `given up after ${limitMs / 1000} s` }
    rows = rows.slice(rows.indexOf(ended.cutShort) + 1)
  }
  return cells
}

/** The figures of one row from several processes as one. */
function joinCells(all: readonly Cells[]): Cells {
  const cells: { [K in RowId]?: Cell } = {}
  for (const row of new Set(all.flatMap((each) => Object.keys(each) as RowId[]))) {
    const found = all.flatMap((each) => each[row] ?? [])
    const measured = found.flatMap((cell) => ('figure' in cell ? [cell] : []))
    const seconds = measured.reduce((sum, cell) => sum + cell.seconds, 0)
    const [first] = found
    if (measured.length > 0) cells[row] = { figure: joined(measured.map(({ figure }) => figure)), seconds }
    else if (first) cells[row] = first
  }
  return cells
}

// ---- printing ---------------------------------------------------------------------------------------------------------

function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ' ')
}

/** Three digits, in the unit that suits. */
function format(value: number, unit: Unit): string {
  switch (unit) {
    case 'events':
      return grouped(Math.round(value))
    case 'times':
      return digits(value)
    case 'bytes':
      return value < 1e5 ? `${grouped(Math.round(value))} B` : `${digits(value / 1e6)} MB`
    case 'virtualMs':
    case 'ms':
      return duration(value * 1000)
    case 'us':
      return duration(value)
    default: {
      const unknown: never = unit
      return unknown
    }
  }
}

function duration(us: number): string {
  if (us === 0) return '0'
  if (us < 1000) return `${digits(us)} µs`
  return us < 1e6 ? `${digits(us / 1000)} ms` : `${digits(us / 1e6)} s`
}

function digits(value: number): string {
  return value >= 100 ? String(Math.round(value)) : value.toPrecision(3)
}

function ratio(theirs: number, mine: number): string {
  if (mine === 0) return theirs === 0 ? '1' : '∞'
  const times = theirs / mine
  return times >= 100 ? grouped(Number(times.toPrecision(2))) : times.toPrecision(2)
}

function verdict({ target, unit }: Row, figure: Figure | null, table: Table): string {
  if (!target) return ''
  const isForThis = table.size === table.suite.targetSize || target.isForEverySize === true
  if (!isForThis && target.atMostAt?.[table.size] === undefined) return ''
  if (!figure) return 'MISSED'
  const { below, existing, exactly } = target
  const atMost = target.atMostAt?.[table.size] ?? target.atMost
  const ok = (isMet: boolean): string => (isMet ? 'ok' : 'MISSED')
  if (exactly !== undefined) return `= ${exactly} ${ok(figure.min === exactly && figure.max === exactly)}`
  if (atMost !== undefined) return `≤ ${format(atMost, unit)} ${ok(figure.median <= atMost)}`
  if (below !== undefined) return `< ${format(below, unit)} ${ok(figure.median < below)}`
  const theirs = existing ? table.figure(existing) : null
  return theirs ? `≤ theirs ${ok(figure.median <= theirs.median)}` : ''
}

function printTable(heads: readonly string[], lines: readonly (readonly string[])[]): void {
  const widths = heads.map((head, i) => Math.max(head.length, ...lines.map((line) => (line[i] ?? '').length)))
  const show = (line: readonly string[]): string =>
    widths.map((width, i) => (i === 0 ? (line[i] ?? '').padEnd(width) : (line[i] ?? '').padStart(width))).join('  ')
  console.log(show(heads))
  console.log(widths.map((width) => '-'.repeat(width)).join('  '))
  for (const line of lines) console.log(show(line).trimEnd())
}

/** What was measured at one size, and the row that is being printed. */
interface Table {
  readonly suite: Suite
  readonly size: number
  readonly figure: (subject: SubjectName) => Figure | null
}

function figureIn(results: readonly Result[], subject: SubjectName, size: number, row: RowId): Figure | null {
  const cell = results.find((each) => each.subject === subject && each.size === size)?.cells[row]
  return cell && 'figure' in cell ? cell.figure : null
}

function printSize(suite: Suite, results: readonly Result[], size: number): void {
  const ofThisSize = results.filter((each) => each.size === size)
  const present = suite.subjects.filter((name) => ofThisSize.some(({ subject }) => subject === name))
  const others = present.filter((name) => name !== 'ours')
  console.log(`\n${grouped(size)} ${suite.items}\n`)
  const lineOf = (row: Suite['rows'][number]): string[] => {
    const figure = (name: SubjectName): Figure | null => figureIn(results, name, size, row.id)
    const mine = figure('ours')
    const line: string[] = [row.title]
    if (present.includes('ours'))
      line.push(
        mine ? format(mine.median, row.unit) : '-',
        mine && mine.runs > 1 ? `${format(mine.min, row.unit)} … ${format(mine.max, row.unit)}` : '',
        mine ? String(mine.runs) : '',
        verdict(row, mine, { suite, size, figure }),
      )
    for (const name of others) {
      const theirs = figure(name)
      line.push(theirs ? format(theirs.median, row.unit) : '-', theirs && mine ? ratio(theirs.median, mine.median) : '')
    }
    return line
  }
  const own = present.includes('ours') ? ['ours', 'min … max', 'runs', 'target'] : []
  const heads = ['', ...own, ...others.flatMap((name) => [name, '×'])]
  const lines = suite.rows.filter((row) => !row.isFurther).map(lineOf)
  const further = suite.rows.filter((row) => row.isFurther).map(lineOf)
  printTable(heads, further.length > 0 ? [...lines, ['further'], ...further] : lines)
  console.log()
  printRemarks(suite, ofThisSize, (cell) => ('figure' in cell ? cell.figure.note : undefined))
}

/** One line for each text, with the rows that it goes for. */
function printRemarks(suite: Suite, results: readonly Result[], remarkOf: (cell: Cell) => string | undefined): void {
  for (const subject of suite.subjects) {
    const titles = new Map<string, Set<string>>()
    for (const { cells } of results.filter((each) => each.subject === subject))
      for (const { id, title } of suite.rows) {
        const cell = cells[id]
        const text = cell && remarkOf(cell)
        if (text !== undefined) titles.set(text, (titles.get(text) ?? new Set()).add(title))
      }
    for (const [text, rows] of titles) console.log(`  ${subject}, ${[...rows].join(' / ')}: ${text}`)
  }
}

/** By what power of the size a figure grows; null where that has no meaning. */
function exponentOf(results: readonly Result[], row: RowId, growth: NonNullable<Suite['growth']>): number | null {
  const from = figureIn(results, 'ours', growth.from, row)?.median
  const to = figureIn(results, 'ours', growth.to, row)?.median
  if (!from || !to) return null
  return Math.log(to / from) / Math.log(growth.to / growth.from)
}

function printGrowth(suite: Suite, results: readonly Result[], sizes: readonly number[]): void {
  const first = sizes[0]
  const last = sizes[sizes.length - 1]
  if (first === undefined || last === undefined || first === last) return
  console.log(`\nours, growth with the number of ${suite.items}\n`)
  const { growth } = suite
  const hasBoth = growth && sizes.includes(growth.from) && sizes.includes(growth.to)
  const lines = suite.rows.map(({ id, title, unit, growsFreely }) => {
    const figures = sizes.map((size) => figureIn(results, 'ours', size, id))
    const [from, to] = [figures[0], figures[figures.length - 1]]
    const power = hasBoth ? exponentOf(results, id, growth) : null
    const isFine = growth && power !== null && Number(power.toFixed(2)) <= growth.exponent
    return [
      title,
      ...figures.map((figure) => (figure ? format(figure.median, unit) : '-')),
      from && to ? ratio(to.median, from.median) : '',
      power === null ? '' : power.toFixed(2),
      power === null || !growth ? '' : growsFreely ? 'apart' : `≤ ${growth.exponent} ${isFine ? 'ok' : 'MISSED'}`,
    ]
  })
  const powerHeads = hasBoth ? [`power, ${grouped(growth.from)} to ${grouped(growth.to)}`, 'target'] : []
  printTable(['', ...sizes.map(grouped), `× for ${grouped(last / first)}`, ...powerHeads], lines)
}

function writeJson(path: string, options: Options, results: readonly Result[]): void {
  mkdirSync(dirname(path), { recursive: true })
  const machine = { node: process.version, cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length }
  const suites = options.suites.map(({ name, items, targetSize, rows, growth }) => ({
    name,
    items,
    targetSize,
    rows,
    growth: growth && {
      ...growth,
      exponents: Object.fromEntries(rows.map(({ id }) => [id, exponentOf(results, id, growth)])),
    },
  }))
  const named = results.map(({ suite, ...rest }) => ({ suite: suite.name, ...rest }))
  const { isQuick, isSmoke } = options
  writeFileSync(
    path,
    `${JSON.stringify({ at: new Date().toISOString(), machine, isQuick, isSmoke, suites, results: named }, null, 1)}\n`,
  )
}

// ---- all together -----------------------------------------------------------------------------------------------------

/** The subjects take turns, so that what else the machine does meanwhile hits them alike. */
async function runSize(build: string, suite: Suite, size: number, options: Options): Promise<Result[]> {
  const { isQuick, isSmoke, isProfiled } = options
  const subjects = suite.subjects.filter((name) => options.subjects.includes(name))
  const cells = new Map<SubjectName, Cells[]>()
  const warm = suite.rows.filter((row) => !row.isFresh)
  const turnOf = (row: Suite['rows'][number]): number => (row.isFirst ? 0 : row.isLate ? 2 : 1)
  const ids = [0, 1, 2].flatMap((turn) => warm.filter((row) => turnOf(row) === turn)).map(({ id }) => id)
  const jobs = [
    { rows: ids, processes: isQuick ? suite.quickProcesses : suite.processes },
    ...suite.rows
      .filter((row) => row.isFresh)
      .map(({ id }) => ({ rows: [id], processes: isQuick ? suite.quickFreshProcesses : suite.freshProcesses })),
  ]
  for (const { rows, processes } of jobs)
    for (let run = 0; run < processes; run++)
      for (const subject of subjects) {
        const done = cells.get(subject) ?? []
        // What could not be done once is not tried again.
        const isGivenUp = (row: RowId): boolean => done.some((each) => each[row] && 'absent' in each[row])
        if (run > 0 && rows.every(isGivenUp)) continue
        const what = rows.length === 1 ? `, ${rows[0]}` : ''
        const counter = processes > 1 ? `, ${run + 1} of ${processes}` : ''
        process.stderr.write(`… ${subject}, ${grouped(size)} ${suite.items}${what}${counter}\n`)
        const job: Job = { suite: suite.name, subject, setting: { size, isQuick, isSmoke, run }, rows }
        cells.set(subject, [...done, await runJob(build, job, suite.rowLimitMs, isProfiled)])
      }
  return subjects.map((subject) => ({ suite, subject, size, cells: joinCells(cells.get(subject) ?? []) }))
}

async function runSuite(build: string, suite: Suite, options: Options): Promise<Result[]> {
  const given = options.sizes[suite.items] ?? (options.isQuick ? suite.quickSizes : suite.sizes)
  const sizes = [...new Set(given)].sort((a, b) => a - b)
  const results: Result[] = []
  if (!suite.subjects.some((name) => options.subjects.includes(name))) return results
  for (const size of sizes) {
    results.push(...(await runSize(build, suite, size, options)))
    printSize(suite, results, size)
  }
  if (options.subjects.includes('ours')) printGrowth(suite, results, sizes)
  if (results.some(({ cells }) => Object.values(cells).some((cell) => 'absent' in cell))) console.log('\nwhy -\n')
  printRemarks(suite, results, (cell) => ('absent' in cell ? cell.absent : undefined))
  return results
}

async function main(): Promise<void> {
  const options = parseArguments(process.argv.slice(2))
  const startedAt = Date.now()
  mkdirSync(RESULTS, { recursive: true })
  const build = join(RESULTS, `build-${process.pid}`)
  process.once('exit', () => {
    running?.kill('SIGKILL')
    if (existsSync(build)) rmSync(build, { recursive: true, force: true })
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
  compile(build)
  const results: Result[] = []
  for (const suite of options.suites) results.push(...(await runSuite(build, suite, options)))
  const json = resolve(options.json ?? join(RESULTS, 'latest.json'))
  writeJson(json, options, results)
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(0)
  console.log(`\n${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim()}; ${seconds} s; written to ${json}`)
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
})
