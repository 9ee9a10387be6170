/*
 * Runs the test files (`npm test`, or `npm test -- pattern ...` for those whose path contains a pattern).
 *
 * Each file is a process of its own, so that a hang, a crash or a leaked handle is blamed on its file. Two run at a time, and
 * beside them one of those that mostly wait for real sbots.
 * Prints one line per file, failures in full, and at the end "N passed, N failed", which counts assertions. A file that
 * crashes, does not end in time, is cut short or asserts nothing counts as one more failure. Exits non-zero when
 * something failed or no file was run.
 */
import { type ChildProcess, spawn } from 'child_process'
import { readdirSync } from 'fs'
import { extname, join, relative, sep } from 'path'

const ROOT = join(__dirname, '..')
/** `.js` where `npm run coverage` has compiled this file and the tests: it measures without the helpers tsx adds. */
const EXTENSION = extname(__filename)
const LOADER = EXTENSION === '.ts' ? ['--require', 'tsx/cjs'] : []
/** Lanes for files that compute, and for those that wait: a tenth of their time is work, so one more costs the others little. */
const COMPUTING_LANES = 2
const WAITING_LANES = 1
const WAITS = /(-stack|initial-sync)\.test\./
const FILE_TIME_LIMIT_MS = Number(process.env.TEST_TIME_LIMIT_MS ?? 180_000)
/** How much of the output of a broken file is shown, from its end. */
const TAIL_LINES_MAX = 60
/** Node quotes the source line of a crash, which in a minified package has no end. */
const LINE_LENGTH_MAX = 500

interface Tap {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** Points the file says it made; null if it was cut short before it could say. */
  readonly planned: number | null
  /** Text of each failed assertion, with the title of its test and tape's diagnostic block. */
  readonly failures: readonly string[]
}

interface FileResult {
  readonly file: string
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly report: readonly string[]
  readonly elapsedMs: number
}

function findTestFiles(directory: string): string[] {
  const found: string[] = []
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) found.push(...findTestFiles(path))
    else if (entry.name.endsWith(`.test${EXTENSION}`)) found.push(relative(ROOT, path).split(sep).join('/'))
  }
  return found.sort()
}

/** Reads tape's output. Lines that are no TAP (a stray console.log) are passed over. */
function parseTap(output: string): Tap {
  let passed = 0
  let failed = 0
  let skipped = 0
  let planned: number | null = null
  let title = ''
  const failures: string[] = []
  const lines = output.split(/\r?\n/)
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i] ?? ''
    const point = /^(not )?ok \d+/.exec(line)
    if (point === null) {
      const plan = /^1\.\.(\d+)\s*$/.exec(line)
      if (plan !== null) planned = Number(plan[1])
      else if (line.startsWith('# ')) title = line.slice(2)
    } else if (/ # (?:SKIP|TODO)\b/.test(line)) {
      skipped++
    } else if (point[1] === undefined) {
      passed++
    } else {
      failed++
      const block = [`# ${title}`, line]
      if (lines[i + 1]?.trim() === '---') {
        do block.push(lines[++i] ?? '')
        while (i + 1 < lines.length && lines[i]?.trim() !== '...')
      }
      failures.push(block.join('\n'))
    }
  }
  return { passed, failed, skipped, planned, failures }
}

/** What is wrong with a file beyond its failed assertions, or null. */
function findDefect(tap: Tap, exit: string | number | null, timedOut: boolean): string | null {
  if (timedOut) {
    return `still running after ${FILE_TIME_LIMIT_MS} ms: a test never ended, or something holds the process open`
  }
  if (exit !== 0 && tap.failed === 0) return `the process ended with ${exit}`
  const made = tap.passed + tap.failed + tap.skipped
  if (made === 0) return 'no test ran'
  if (tap.planned === null) return 'the output has no plan line: the process ended before its tests did'
  if (tap.planned !== made) return `${tap.planned} assertions announced, ${made} seen`
  return null
}

function tail(text: string): string {
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => line.slice(0, LINE_LENGTH_MAX))
  return lines.length <= TAIL_LINES_MAX ? lines.join('\n') : ['[...]', ...lines.slice(-TAIL_LINES_MAX)].join('\n')
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

function runFile(file: string): Promise<FileResult> {
  return new Promise((resolve) => {
    const startedAt = Date.now()
    const child = spawn(process.execPath, ['--enable-source-maps', ...LOADER, join(ROOT, file)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: process.platform !== 'win32', // a process group of its own, so that kill() reaches its children
    })
    running.add(child)
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      kill(child)
    }, FILE_TIME_LIMIT_MS)
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk
    })
    let spawnError: Error | null = null
    child.on('error', (error) => {
      spawnError = error
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      running.delete(child)
      const tap = parseTap(stdout)
      const defect = findDefect(tap, spawnError?.message ?? signal ?? code, timedOut)
      const report: string[] = [...tap.failures]
      if (defect !== null) report.push(`not ok: ${defect}`)
      if (defect !== null && stdout.trim() !== '') report.push(`stdout:\n${tail(stdout)}`)
      if (report.length > 0 && stderr.trim() !== '') report.push(`stderr:\n${tail(stderr)}`)
      resolve({
        file,
        passed: tap.passed,
        failed: tap.failed + (defect === null ? 0 : 1),
        skipped: tap.skipped,
        report,
        elapsedMs: Date.now() - startedAt,
      })
    })
  })
}

function printResult(result: FileResult): void {
  const counts = [`${result.passed} passed`]
  if (result.failed > 0) counts.push(`${result.failed} failed`)
  if (result.skipped > 0) counts.push(`${result.skipped} skipped`)
  const mark = result.failed > 0 ? 'FAIL' : 'ok  '
  console.log(`${mark} ${result.file} (${counts.join(', ')}, ${(result.elapsedMs / 1000).toFixed(1)} s)`)
  for (const text of result.report) console.log(text.replace(/^/gm, '     '))
}

async function main(patterns: readonly string[]): Promise<void> {
  const files = findTestFiles(__dirname).filter(
    (file) => patterns.length === 0 || patterns.some((pattern) => file.includes(pattern)),
  )
  let passed = 0
  let failed = 0
  const waiting = files.filter((file) => WAITS.test(file))
  const computing = files.filter((file) => !WAITS.test(file))
  const work = async (next: () => string | undefined): Promise<void> => {
    for (let file = next(); file !== undefined; file = next()) {
      const result = await runFile(file)
      printResult(result)
      passed += result.passed
      failed += result.failed
    }
  }
  await Promise.all([
    ...Array.from({ length: COMPUTING_LANES }, () => work(() => computing.shift() ?? waiting.pop())),
    ...Array.from({ length: WAITING_LANES }, () => work(() => waiting.shift())),
  ])
  if (files.length === 0) console.log(`no test file matches ${patterns.join(' ') || `test/**/*.test${EXTENSION}`}`)
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    for (const child of running) kill(child)
    process.exit(1)
  })
}

void main(process.argv.slice(2))
