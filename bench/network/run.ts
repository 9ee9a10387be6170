/**
 * A network of a thousand managers that dial each other, and what happens when a pub of ten thousand clients returns.
 *
 *     npm run simulate:network -- [--seeds 1,2,3] [--hours 24] [--managers 1000] [--pub-hops 1] [--herd 10000]
 *                                 [--only network|herd] [--policy JSON] [--json FILE]
 *
 * How to read it. Virtual time: a day takes some minutes. A column is a seed, and the same seed gives the same hash; what
 * the rows mean is said in docs/network.md. `--herd N` is how many clients lose their only pub; `--policy` are options of
 * docs/options.md for all managers, to compare. Results also go to bench/results/network.json.
 *
 * Sources are compiled as for the package (tsx would add a call to every closure), and each world and herd runs in a process
 * of its own. Two at a time where there are seeds enough.
 */
import { fork } from 'child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'fs'
import { dirname, join, relative, resolve } from 'path'

import ts = require('typescript')

import type { HerdOptions, HerdResult } from './herd'
import { type Job, usualWorld } from './main'
import { MINUTE, SECOND } from './people'
import { type Report, rowsOf, time } from './report'

const ROOT = dirname(dirname(__dirname))
const RESULTS = join(ROOT, 'bench', 'results')
const AT_ONCE = 2

interface Settings {
  readonly seeds: readonly number[]
  readonly hours: number
  readonly managers: number
  readonly pubHops: 1 | 2
  readonly herd: number
  readonly only: 'network' | 'herd' | null
  readonly policy: Readonly<Record<string, unknown>>
  readonly json: string
}

type Timed<T> = T & { readonly seconds: number }

function settingsFrom(args: readonly string[]): Settings {
  const given = new Map<string, string>()
  for (let at = 0; at < args.length; at++) {
    const [name = '', inline] = (args[at] ?? '').split(/=(.*)/s)
    if (!KNOWN.includes(name)) throw new Error(`unknown option ${name}; there are ${KNOWN.join(', ')}`)
    const value = inline ?? args[++at]
    if (value === undefined) throw new Error(`${name} needs a value`)
    given.set(name, value)
  }
  const number = (name: string, fallback: number, min: number): number => {
    const value = Number(given.get(name) ?? fallback)
    if (!(value >= min)) throw new Error(`${name}: expected a number from ${min}, found ${given.get(name)}`)
    return value
  }
  const only = given.get('--only') ?? null
  if (only !== null && only !== 'network' && only !== 'herd') throw new Error(`--only: network or herd, found ${only}`)
  return {
    seeds: (given.get('--seeds') ?? '1').split(',').map(Number),
    hours: number('--hours', 24, 0.1),
    managers: number('--managers', 1_000, 20),
    pubHops: number('--pub-hops', 1, 1) === 2 ? 2 : 1,
    herd: number('--herd', 10_000, 1),
    only,
    policy: JSON.parse(given.get('--policy') ?? '{}'),
    json: given.get('--json') ?? join(RESULTS, 'network.json'),
  }
}

const KNOWN = ['--seeds', '--hours', '--managers', '--pub-hops', '--herd', '--only', '--policy', '--json']

// ---- compiling and running --------------------------------------------------------------------------------------------

function sourcesIn(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) return sourcesIn(path)
    return path.endsWith('.ts') && !path.endsWith('.d.ts') ? [path] : []
  })
}

function compile(into: string): void {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => readFileSync(path, 'utf8'))
  const { moduleResolution: _, ...options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, ROOT).options
  const compilerOptions = { ...options, module: ts.ModuleKind.CommonJS, declaration: false }
  for (const path of [...sourcesIn(join(ROOT, 'src')), ...sourcesIn(__dirname)]) {
    const { outputText } = ts.transpileModule(readFileSync(path, 'utf8'), { fileName: path, compilerOptions })
    const target = join(into, relative(ROOT, path).replace(/\.ts$/, '.js'))
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, outputText)
  }
}

function runJob<T>(build: string, job: Job): Promise<Timed<T>> {
  return new Promise((done, fail) => {
    let result: Timed<T> | null = null
    const child = fork(join(build, 'bench/network/main.js'), [JSON.stringify(job)], {
      execArgv: ['--max-old-space-size=8000'],
      serialization: 'advanced',
    })
    child.on('message', (message) => {
      result = message as Timed<T>
    })
    child.on('error', fail)
    child.on('close', (code) => {
      if (result && code === 0) done(result)
      else fail(new Error(`${job.kind} ${JSON.stringify(job.options)} ended with ${code}`))
    })
  })
}

/** Results in the order of the jobs. */
async function runAll<T>(build: string, jobs: readonly Job[], atOnce: number): Promise<Timed<T>[]> {
  const results: Timed<T>[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    for (let at = next++; at < jobs.length; at = next++) results[at] = await runJob<T>(build, jobs[at] as Job)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return results
}

// ---- printing ---------------------------------------------------------------------------------------------------------

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)))
  const line = (row: readonly string[]): string =>
    `| ${widths.map((width, column) => (row[column] ?? '').padEnd(width)).join(' | ')} |`
  return [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)].join('\n')
}

function networkTable(reports: readonly Timed<Report>[]): string {
  const columns = reports.map(rowsOf)
  const rows = (columns[0] ?? []).map(([name], at) => [name, ...columns.map((column) => column[at]?.[1] ?? '')])
  rows.push(['hash', ...reports.map(({ hash }) => hash)], ['took', ...reports.map(({ seconds }) => `${seconds} s`)])
  return table(['', ...reports.map(({ seed }) => `seed ${seed}`)], rows)
}

function herdTable(results: readonly Timed<HerdResult>[]): string {
  const ratio = (value: number, luck: number): string => `${value.toFixed(2)} (${luck.toFixed(2)})`
  return table(
    [
      'away',
      'dials each',
      'most/s',
      'back: most/s',
      'most/100 ms',
      'median',
      '95 %',
      'last',
      '× even',
      'by 100 ms',
      'took',
    ],
    results.map((result) => [
      `${time(result.options.outageMs)}, ${result.options.how}`,
      result.dialsWhileAway.toFixed(1),
      String(result.peakWhileAway),
      String(result.peakPerSecond),
      String(result.peakPer100Ms),
      time(result.medianBackMs),
      time(result.p95BackMs),
      result.isAllBack ? time(result.lastBackMs) : 'not all',
      ratio(result.timesEven, result.timesEvenByLuck),
      ratio(result.timesEvenPer100Ms, result.timesEvenByLuckPer100Ms),
      `${result.seconds} s`,
    ]),
  )
}

async function main(): Promise<void> {
  const settings = settingsFrom(process.argv.slice(2))
  const { seeds, policy } = settings
  const build = join(RESULTS, `network-build-${process.pid}`)
  const seed = seeds[0] as number
  let networks: readonly Timed<Report>[] = []
  let herds: readonly Timed<HerdResult>[] = []
  try {
    compile(build)
    if (settings.only !== 'herd') {
      const { hours, managers, pubHops } = settings
      const jobs = seeds.map((each): Job => {
        return { kind: 'network', options: { ...usualWorld(each, hours, managers, pubHops), policy } }
      })
      networks = await runAll<Report>(build, jobs, AT_ONCE)
      console.log(`\n${managers} managers, ${hours} h, pubs of ${pubHops} hop${pubHops === 1 ? '' : 's'}\n`)
      console.log(networkTable(networks))
    }
    if (settings.only !== 'network') {
      const away = (outageMs: number, how: HerdOptions['how']): Job => {
        return {
          kind: 'herd',
          options: { seed, clients: settings.herd, outageMs, how, connectedMs: 30 * MINUTE, policy },
        }
      }
      // The memory of one is counted, so they do not share a process.
      const jobs = [
        away(0, 'refused'),
        away(5 * SECOND, 'refused'),
        away(MINUTE, 'refused'),
        away(MINUTE, 'silent'),
        away(10 * MINUTE, 'refused'),
      ]
      herds = await runAll<HerdResult>(build, jobs, AT_ONCE)
      const heap = Math.max(...herds.map(({ heapPerManagerBytes }) => heapPerManagerBytes))
      console.log(
        `\n${settings.herd} clients whose only pub goes away and returns, seed ${seed}; heap of one ${(heap / 1000).toFixed(0)} kB`,
      )
      console.log('(in brackets: the same number of dials, evenly at random)\n')
      console.log(herdTable(herds))
    }
    mkdirSync(dirname(resolve(settings.json)), { recursive: true })
    writeFileSync(settings.json, `${JSON.stringify({ settings, networks, herds }, null, 1)}\n`)
  } finally {
    rmSync(build, { recursive: true, force: true })
  }
  if (networks.some(({ violations }) => violations.length > 0)) process.exitCode = 1
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
