/*
 * Runs the tests that consumers of the existing managers ship in their packages, unmodified, with our manager in the place of
 * theirs (`npm run test:consumers`, or `npm run test:consumers -- [--conn] [--originals] [package ...]`).
 *
 * Who asks for ssb-gossip gets the plugin, or with `--conn` the entry /conn, which who asks for ssb-conn gets in any case.
 *
 * Each file is a process of its own with a home folder of its own and a time limit. They run one after the other, as they
 * share ports, but for one long one that does not. Prints a line for each file with what passed and failed, with `--originals` also of a run with the manager that
 * the tests were written for, and the output of files that did worse than expected. Exits non-zero if there were any. Files
 * that cannot pass with that manager either are run with `--originals` only, to show it.
 */
import { type ChildProcess, spawn } from 'child_process'
import { mkdtempSync, rmSync } from 'fs'
import { tmpdir } from 'os'
import { dirname, join } from 'path'

import type { ManagerName } from './manager'

const NODE_OPTIONS = [require.resolve('tsx/cjs'), join(__dirname, 'old-names.ts')]
  .map((path) => `--require ${JSON.stringify(path)}`)
  .join(' ')
const FILE_TIME_LIMIT_MS = 30_000
const TRIES_OF_RACY = 4
const LONG_FILE_TIME_LIMIT_MS = 120_000
/** How much of the output of a file is shown that did worse than expected, from its end. */
const TAIL_LINES_MAX = 40

interface TestFile {
  readonly name: string
  /** Assertions that pass, and that is all there are: with us none may fail, and the process must end by itself. */
  readonly passes: number
  readonly env?: Readonly<Record<string, string>>
  /** It waits most of its time, on ports of its own: it runs beside the others. */
  readonly isLong?: boolean
  /** It asserts which of two things comes first, which is left to chance with any manager: it may try again. */
  readonly isRacy?: boolean
  /** Why it cannot pass with today's packages, whatever the manager. */
  readonly flaw?: string
}

const DB1 = { SSB_DB1: 'true' }

const PACKAGES: { readonly [name: string]: readonly TestFile[] } = {
  'ssb-gossip': [{ name: 'gossip.js', passes: 9 }],
  'ssb-server': [
    { name: 'bin.js', passes: 45, isLong: true },
    { name: 'caps.js', passes: 4 },
    { name: 'multiple-sbots.js', passes: 1 },
  ],
  'ssb-tunnel': [
    { name: 'basic.js', passes: 1 },
    { name: 'private.js', passes: 1 },
    { name: 'private2.js', passes: 3 },
    { name: 'tunnel.js', passes: 4 },
  ],
  'ssb-device-address': [
    { name: 'index.js', passes: 13 },
    { name: 'scope.js', passes: 11 },
  ],
  'ssb-peer-invites': [
    { name: 'accept.js', passes: 5 },
    { name: 'accept2.js', passes: 5 },
    { name: 'accept3.js', passes: 7 },
    { name: 'accept4.js', passes: 5 },
    { name: 'accept5.js', passes: 7 },
    { name: 'error-without-pubs.js', passes: 1 },
    { name: 'happy.js', passes: 9 },
    { name: 'invalid.js', passes: 22 },
    { name: 'invite-with-pubs.js', passes: 6 },
    { name: 'will-replicate.js', passes: 5 },
  ],
  'ssb-invite': [
    { name: 'basic.test.js', passes: 22, env: DB1 },
    { name: 'modern.test.js', passes: 10, env: DB1 },
    { name: 'note.test.js', passes: 4, env: DB1 },
  ],
  'ssb-replicate': [
    { name: 'block.test.js', passes: 21, flaw: 'it ends its second test twice' },
    { name: 'block2.test.js', passes: 6 },
    { name: 'block3.test.js', passes: 3, isRacy: true },
    { name: 'realtime.test.js', passes: 4 },
    // Hangs with ssb-conn, which reads pub messages of ssb-db 2 only.
    { name: 'server.test.js', passes: 2 },
  ],
  'scuttle-testbot': [
    { name: 'color-log.js', passes: 0 },
    { name: 'connect.js', passes: 5 },
    { name: 'connect.js', passes: 6, env: DB1 },
    { name: 'index.js', passes: 12 },
    { name: 'index.js', passes: 12, env: DB1 },
    { name: 'replicate.js', passes: 6 },
    { name: 'replicate.js', passes: 6, env: DB1 },
  ],
}

interface Outcome {
  readonly passed: number
  readonly failed: number
  /** How the process ended, if not well. */
  readonly end: string | null
  readonly output: string
}

const running = new Set<ChildProcess>()

/** Ends a test process together with what it started. */
function kill(child: ChildProcess): void {
  try {
    if (process.platform !== 'win32' && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    else child.kill('SIGKILL')
  } catch {
    // It has ended by itself in the meantime.
  }
}

function run(path: string, file: TestFile, manager: ManagerName): Promise<Outcome> {
  const home = mkdtempSync(join(tmpdir(), 'consumers-'))
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [path], {
      cwd: home,
      // Not as arguments: what a test starts is to have them, too.
      env: { ...process.env, NODE_OPTIONS, HOME: home, TMPDIR: home, MANAGER: manager, ...file.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: process.platform !== 'win32', // a process group of its own, so that kill() reaches its children
    })
    running.add(child)
    let isOver = false
    const timer = setTimeout(
      () => {
        isOver = true
        kill(child)
      },
      file.isLong ? LONG_FILE_TIME_LIMIT_MS : FILE_TIME_LIMIT_MS,
    )
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk
      })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      running.delete(child)
      rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
      const count = (pattern: RegExp): number => output.match(pattern)?.length ?? 0
      const failed = count(/^not ok \d/gm)
      // A file with failed assertions ends with 1 as well, which says nothing new.
      const isBad = signal !== null || (code !== 0 && failed === 0) || count(/^1\.\.\d+\s*$/gm) === 0
      const end = isOver ? 'timed out' : isBad ? `ended with ${signal ?? code}` : null
      resolve({ passed: count(/^ok \d/gm), failed, end, output })
    })
  })
}

function passes(file: TestFile, { passed, failed, end }: Outcome): boolean {
  return passed >= file.passes && failed === 0 && end === null
}

async function attempt(path: string, file: TestFile, manager: ManagerName): Promise<Outcome> {
  let outcome = await run(path, file, manager)
  for (let tries = 1; file.isRacy && tries < TRIES_OF_RACY && !passes(file, outcome); tries++)
    outcome = await run(path, file, manager)
  return outcome
}

function summary({ passed, failed, end }: Outcome): string {
  const parts = [`${passed} passed`]
  if (failed > 0) parts.push(`${failed} failed`)
  if (end !== null) parts.push(end)
  return parts.join(', ')
}

function tail(text: string): string {
  return text.trimEnd().split('\n').slice(-TAIL_LINES_MAX).join('\n')
}

async function main(args: readonly string[]): Promise<void> {
  const withOriginals = args.includes('--originals')
  const ours: ManagerName = args.includes('--conn') ? 'conn' : 'plugin'
  const wanted = args.filter((arg) => !arg.startsWith('--'))
  const totals = { passed: 0, failed: 0 }
  let worse = 0
  const measure = async (name: string, file: TestFile): Promise<void> => {
    const { version } = require(`${name}/package.json`) as { readonly version: string }
    const path = join(dirname(require.resolve(`${name}/package.json`)), 'test', file.name)
    const outcome = await attempt(path, file, ours)
    const theirs = withOriginals ? await attempt(path, file, 'originals') : null
    const isWhole = passes(file, outcome)
    const isWorse = !isWhole && file.flaw === undefined
    if (isWorse) worse++
    if (file.flaw === undefined) {
      totals.passed += outcome.passed
      totals.failed += outcome.failed + (outcome.end === null ? 0 : 1)
    }
    const columns = [
      isWorse ? 'FAIL' : isWhole ? 'ok  ' : '-   ',
      `${name} ${version} ${file.name}${file.env === DB1 ? ' (ssb-db 1)' : ''}`.padEnd(48),
      `ours: ${summary(outcome)}`.padEnd(24),
      theirs && `originals: ${summary(theirs)}`.padEnd(28),
      file.flaw && `(${file.flaw})`,
    ]
    console.log(columns.filter(Boolean).join(' ').trimEnd())
    if (isWorse) console.log(tail(outcome.output).replace(/^/gm, '     '))
  }
  const chosen = Object.entries(PACKAGES)
    .filter(([name]) => wanted.length === 0 || wanted.includes(name))
    .flatMap(([name, files]) => files.map((file) => ({ name, file })))
    .filter(({ file }) => file.flaw === undefined || withOriginals)
  const beside = chosen.filter(({ file }) => file.isLong).map(({ name, file }) => measure(name, file))
  for (const { name, file } of chosen) if (!file.isLong) await measure(name, file)
  await Promise.all(beside)
  console.log(`${totals.passed} passed, ${totals.failed} failed`)
  process.exitCode = worse > 0 || totals.passed === 0 ? 1 : 0
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    for (const child of running) kill(child)
    process.exit(1)
  })
}

void main(process.argv.slice(2))
