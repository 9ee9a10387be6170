/*
 * Runs the tests that consumers of the existing managers ship in their packages, unmodified, with our manager in the place of
 * theirs (`npm run test:consumers`, or `npm run test:consumers -- [--conn] [--originals] [package ...]`).
 *
 * Who asks for ssb-gossip gets the plugin, or with `--conn` the entry /conn, which who asks for ssb-conn gets in any case.
 *
 * Each file is a process of its own with a home folder of its own and a time limit. They run one after the other: their ports
 * are fixed. Prints a line for each file with what passed and failed, with `--originals` also of a run with the manager that
 * the tests were written for, and the output of files that did worse than expected. Exits non-zero if there were any. Files
 * that cannot pass with that manager either are run with `--originals` only, to show it.
 */
import { type ChildProcess, spawn } from 'child_process'
import { mkdtempSync, rmSync } from 'fs'
import { tmpdir } from 'os'
import { dirname, join } from 'path'

import type { ManagerName } from './manager'

const HOOK = join(__dirname, 'old-names.ts')
const FILE_TIME_LIMIT_MS = 30_000
/** How much of the output of a file is shown that did worse than expected, from its end. */
const TAIL_LINES_MAX = 40

interface TestFile {
  readonly name: string
  /** Assertions that pass, and that is all there are: with us none may fail, and the process must end by itself. */
  readonly passes: number
  readonly env?: Readonly<Record<string, string>>
  /** Why it cannot pass with today's packages, whatever the manager. */
  readonly flaw?: string
}

const DB1 = { SSB_DB1: 'true' }

const PACKAGES: { readonly [name: string]: readonly TestFile[] } = {
  'ssb-gossip': [{ name: 'gossip.js', passes: 9 }],
  'ssb-server': [
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
    { name: 'block3.test.js', passes: 3 },
    { name: 'realtime.test.js', passes: 4 },
    { name: 'server.test.js', passes: 2, flaw: 'ssb-conn reads pub messages of ssb-db 2 only, and this is 1' },
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

let running: ChildProcess | null = null

/** Ends a test process together with what it started. */
function kill(child: ChildProcess | null): void {
  try {
    if (process.platform !== 'win32' && child?.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    else child?.kill('SIGKILL')
  } catch {
    // It has ended by itself in the meantime.
  }
}

function run(path: string, file: TestFile, manager: ManagerName): Promise<Outcome> {
  const home = mkdtempSync(join(tmpdir(), 'consumers-'))
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--require', require.resolve('tsx/cjs'), '--require', HOOK, path], {
      cwd: home,
      env: { ...process.env, HOME: home, TMPDIR: home, MANAGER: manager, ...file.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: process.platform !== 'win32', // a process group of its own, so that kill() reaches its children
    })
    running = child
    let isOver = false
    const timer = setTimeout(() => {
      isOver = true
      kill(child)
    }, FILE_TIME_LIMIT_MS)
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk
      })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      running = null
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
  for (const [name, files] of Object.entries(PACKAGES)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue
    const { version } = require(`${name}/package.json`) as { readonly version: string }
    const folder = join(dirname(require.resolve(`${name}/package.json`)), 'test')
    for (const file of files) {
      if (file.flaw !== undefined && !withOriginals) continue
      const path = join(folder, file.name)
      const outcome = await run(path, file, ours)
      const theirs = withOriginals ? await run(path, file, 'originals') : null
      const isWhole = outcome.passed >= file.passes && outcome.failed === 0 && outcome.end === null
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
  }
  console.log(`${totals.passed} passed, ${totals.failed} failed`)
  process.exitCode = worse > 0 || totals.passed === 0 ? 1 : 0
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    kill(running)
    process.exit(1)
  })
}

void main(process.argv.slice(2))
