/**
 * What a connection manager costs: ours beside the two that exist, ssb-conn 6.0.4 and ssb-gossip 1.1.1.
 *
 *     npm run bench -- [--quick] [--json FILE] [--routes 1000,10000] [--only ours,ssb-conn] [--cpu-prof]
 *
 * How to read it. One table for each size. A cell is the median of several runs; behind ours stand least, greatest and the
 * number of runs. `×` says how many times as much the other manager needs. `-` says that it cannot be done there in a way
 * that would be fair; the reasons, and remarks on some figures, follow the table. `work` is time on this machine's
 * processor, `wait` is time that passes in the world. Targets are ours, for 10 000 routes unless for every size. The last
 * table shows how our figures grow with the number of routes.
 *
 * How it is made. Virtual clock, fake stack, the same drawn table for all (world.ts). Sources are compiled as for the
 * package (tsx would add a call to every closure), then each manager at each size runs in a process of its own
 * (worker.ts). The existing managers run their own code from node_modules on fake timers (fake-stack.ts) up to 10 000
 * routes. What the stack adds to any of them is left out on all sides: disk, pings, the watch on the machine's network.
 * The figures are as good as the machine is quiet; compare what was measured in one run only.
 *
 * A row is added in rows.ts and in the managers that can do it; a size by `--routes`. Results go to bench/results/, too, and
 * with `--cpu-prof` a profile of each process, for the developer tools of a browser.
 */
import { type ChildProcess, spawn } from 'child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'fs'
import { cpus } from 'os'
import { dirname, join, relative, resolve } from 'path'

import ts = require('typescript')

import type { Figure } from './measure'
import { ALL_ROWS, type Row, type RowId, TARGET_ROUTES, type Unit } from './rows'
import type { Job, Report, SubjectName } from './worker'

const ROOT = dirname(__dirname)
const RESULTS = join(__dirname, 'results')
const SUBJECTS: readonly SubjectName[] = ['ours', 'ssb-conn', 'ssb-gossip']
const DEFAULT_ROUTES = [1_000, 10_000, 100_000]
const QUICK_ROUTES = [1_000, 10_000]
/** Beyond this the existing managers take minutes for a single row. */
const MAX_ROUTES_OF_EXISTING = 10_000
const TIME_LIMIT_MS = 300_000

interface Options {
  readonly isQuick: boolean
  readonly routes: readonly number[]
  readonly subjects: readonly SubjectName[]
  readonly json: string | null
  readonly isProfiled: boolean
}

type Cell = { readonly figure: Figure; readonly seconds: number } | { readonly absent: string }
type Cells = { readonly [K in RowId]?: Cell }

interface Result {
  readonly subject: SubjectName
  readonly routes: number
  readonly cells: Cells
}

// ---- arguments --------------------------------------------------------------------------------------------------------

function parseArguments(args: readonly string[]): Options {
  let isQuick = false
  let isProfiled = false
  let json: string | null = null
  let routes: readonly number[] | null = null
  let subjects = SUBJECTS
  for (let i = 0; i < args.length; i++) {
    const [name = '', inline] = (args[i] ?? '').split('=')
    const value = (): string => {
      const given = inline ?? args[++i]
      if (given === undefined) throw new Error(`${name} needs a value`)
      return given
    }
    if (name === '--quick') isQuick = true
    else if (name === '--cpu-prof') isProfiled = true
    else if (name === '--json') json = value()
    else if (name === '--routes') routes = value().split(',').map(toCount)
    else if (name === '--only') subjects = value().split(',').map(toSubject)
    else throw new Error(`unknown option ${name}; the head of bench/run.ts names those that there are`)
  }
  return { isQuick, isProfiled, json, subjects, routes: routes ?? (isQuick ? QUICK_ROUTES : DEFAULT_ROUTES) }
}

function toCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 500) throw new Error(`--routes: expected numbers from 500, found ${text}`)
  return count
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

function runJob(build: string, job: Job, isProfiled: boolean): Promise<Cells> {
  return new Promise((done, fail) => {
    const cells: { [K in RowId]?: Cell } = {}
    const profile = isProfiled ? ['--cpu-prof', `--cpu-prof-dir=${RESULTS}`] : []
    const flags = ['--expose-gc', '--max-old-space-size=3000', ...profile]
    const child = spawn(process.execPath, [...flags, join(build, 'bench/worker.js'), JSON.stringify(job)], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      cwd: ROOT,
    })
    running = child
    const timer = setTimeout(() => child.kill('SIGKILL'), TIME_LIMIT_MS)
    let stderr = ''
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk
    })
    child.on('message', (report: Report) => {
      cells[report.row] =
        'absent' in report ? { absent: report.absent } : { figure: report.figure, seconds: report.seconds }
    })
    child.on('error', fail)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      running = null
      if (code === 0) done(cells)
      else fail(new Error(`${job.subject} at ${job.setting.routes} routes ended with ${signal ?? code}\n${stderr}`))
    })
  })
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
    case 'bytes':
      return `${grouped(Math.round(value))} B`
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

function verdict({ target }: Row, figure: Figure | null, routes: number): string {
  if (!target || !figure || (routes !== TARGET_ROUTES && !target.isForEverySize)) return ''
  if (target.exactly !== undefined)
    return `= ${target.exactly} ${figure.min === target.exactly && figure.max === target.exactly ? 'ok' : 'MISSED'}`
  return `< ${target.below} ${figure.median < (target.below ?? 0) ? 'ok' : 'MISSED'}`
}

function printTable(heads: readonly string[], lines: readonly (readonly string[])[]): void {
  const widths = heads.map((head, i) => Math.max(head.length, ...lines.map((line) => (line[i] ?? '').length)))
  const show = (line: readonly string[]): string =>
    widths.map((width, i) => (i === 0 ? (line[i] ?? '').padEnd(width) : (line[i] ?? '').padStart(width))).join('  ')
  console.log(show(heads))
  console.log(widths.map((width) => '-'.repeat(width)).join('  '))
  for (const line of lines) console.log(show(line).trimEnd())
}

function figureIn(results: readonly Result[], subject: SubjectName, routes: number, row: RowId): Figure | null {
  const cell = results.find((each) => each.subject === subject && each.routes === routes)?.cells[row]
  return cell && 'figure' in cell ? cell.figure : null
}

function printSize(results: readonly Result[], routes: number): void {
  const present = SUBJECTS.filter((name) => results.some((each) => each.subject === name && each.routes === routes))
  const others = present.filter((name) => name !== 'ours')
  console.log(`\n${grouped(routes)} routes\n`)
  const lines = ALL_ROWS.map((row) => {
    const mine = figureIn(results, 'ours', routes, row.id)
    const line = [row.title]
    if (present.includes('ours'))
      line.push(
        mine ? format(mine.median, row.unit) : '-',
        mine && mine.runs > 1 ? `${format(mine.min, row.unit)} … ${format(mine.max, row.unit)}` : '',
        mine ? String(mine.runs) : '',
        verdict(row, mine, routes),
      )
    for (const name of others) {
      const theirs = figureIn(results, name, routes, row.id)
      line.push(theirs ? format(theirs.median, row.unit) : '-', theirs && mine ? ratio(theirs.median, mine.median) : '')
    }
    return line
  })
  const own = present.includes('ours') ? ['ours', 'min … max', 'runs', 'target'] : []
  printTable(['', ...own, ...others.flatMap((name) => [name, '×'])], lines)
  const ofThisSize = results.filter((each) => each.routes === routes)
  console.log()
  printRemarks(ofThisSize, (cell) => ('figure' in cell ? cell.figure.note : undefined))
}

/** One line for each text, with the rows that it goes for. */
function printRemarks(results: readonly Result[], remarkOf: (cell: Cell) => string | undefined): void {
  for (const subject of SUBJECTS) {
    const titles = new Map<string, Set<string>>()
    for (const { cells } of results.filter((each) => each.subject === subject))
      for (const { id, title } of ALL_ROWS) {
        const cell = cells[id]
        const text = cell && remarkOf(cell)
        if (text !== undefined) titles.set(text, (titles.get(text) ?? new Set()).add(title))
      }
    for (const [text, rows] of titles) console.log(`  ${subject}, ${[...rows].join(' / ')}: ${text}`)
  }
}

function printGrowth(results: readonly Result[], sizes: readonly number[]): void {
  const first = sizes[0]
  const last = sizes[sizes.length - 1]
  if (first === undefined || last === undefined || first === last) return
  console.log(`\nours, growth with the number of routes\n`)
  const lines = ALL_ROWS.map(({ id, title, unit }) => {
    const figures = sizes.map((routes) => figureIn(results, 'ours', routes, id))
    const [from, to] = [figures[0], figures[figures.length - 1]]
    return [
      title,
      ...figures.map((figure) => (figure ? format(figure.median, unit) : '-')),
      from && to ? ratio(to.median, from.median) : '',
    ]
  })
  printTable(['', ...sizes.map(grouped), `× for ${grouped(last / first)}`], lines)
}

function writeJson(path: string, options: Options, results: readonly Result[]): void {
  mkdirSync(dirname(path), { recursive: true })
  const { isQuick, routes } = options
  const machine = { node: process.version, cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length }
  const rows = ALL_ROWS.map(({ id, title, unit, target }) => ({ id, title, unit, target }))
  writeFileSync(
    path,
    `${JSON.stringify({ at: new Date().toISOString(), machine, isQuick, routes, rows, results }, null, 1)}\n`,
  )
}

// ---- all together -----------------------------------------------------------------------------------------------------

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
  const sizes = [...new Set(options.routes)].sort((a, b) => a - b)
  for (const routes of sizes) {
    for (const subject of options.subjects) {
      if (subject !== 'ours' && routes > MAX_ROUTES_OF_EXISTING) continue
      process.stderr.write(`… ${subject}, ${grouped(routes)} routes\n`)
      const job: Job = { subject, setting: { routes, isQuick: options.isQuick } }
      const cells = await runJob(build, job, options.isProfiled)
      results.push({ subject, routes, cells })
    }
    printSize(results, routes)
  }
  if (options.subjects.includes('ours')) printGrowth(results, sizes)
  console.log('\nwhy -\n')
  printRemarks(results, (cell) => ('absent' in cell ? cell.absent : undefined))
  const json = resolve(options.json ?? join(RESULTS, 'latest.json'))
  writeJson(json, options, results)
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(0)
  console.log(`\n${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim()}; ${seconds} s; written to ${json}`)
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
})
