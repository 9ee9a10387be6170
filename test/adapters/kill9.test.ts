/**
 * A process that saves without pause is killed with SIGKILL at random moments, over and over in one folder. After each kill
 * the file has to parse and to hold one whole table: the last one whose save was confirmed, or one that came after it.
 *
 * The file runs itself as the process to be killed. It shows nothing of power cuts: what the kernel has taken, a kill does
 * not undo.
 */
import assert = require('assert')

import { spawn } from 'child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import { nodeFiles, TABLE_FILE } from '../../src/adapters/node-files'
import { parseSnapshot, type Snapshot } from '../../src/core/snapshot'
import { systemClock } from '../../src/shell/clock'
import { type LoadOutcome, startPersistence } from '../../src/shell/persistence'

const KILLS = 20
/** Goes on up to this many until one has hit a write in progress. */
const KILLS_MAX = 60
/** About 100 kB: a write takes long enough to be hit. */
const ROUTES = 1_000
/** All children together. */
const TIME_LIMIT_MS = 150_000

const addresses = Array.from({ length: ROUTES }, (_, i) => {
  const bytes = Buffer.alloc(32)
  bytes.writeUInt32LE(i)
  return `net:host${i}.example.com:8008~shs:${bytes.toString('base64')}`
})

/** The table of a generation: each of its routes says which it is. */
function snapshotOf(generation: number): Snapshot {
  return {
    version: 1,
    savedAt: Date.now(),
    peers: [],
    routes: addresses.map((address) => ({ address, connectionCount: generation })),
  }
}

/** The generation in a text; throws unless all of the table is of that one. */
function generationIn(text: string): number {
  const { routes, skipped } = parseSnapshot(text)
  assert.deepStrictEqual(skipped, [])
  assert.strictEqual(routes.length, ROUTES)
  const generations = new Set(routes.map((route) => route.connectionCount))
  assert.strictEqual(generations.size, 1, 'parts of different tables')
  return routes[0]!.connectionCount
}

async function runChild(folder: string): Promise<void> {
  let generation = 0
  const persistence = startPersistence({
    files: nodeFiles(folder, systemClock),
    clock: systemClock,
    getSnapshot: () => snapshotOf(generation),
    // Nothing may go wrong here: a file set aside would be one that was broken by the kill before.
    log: (level, message) => say(`log ${level} ${message}`),
  })
  const outcome: LoadOutcome = await persistence.load(({ routes }) => {
    generation = routes[0]?.connectionCount ?? 0
  })
  say(`loaded ${outcome.status} ${generation}`)
  for (;;) {
    generation++
    persistence.changed()
    if (!(await persistence.flush())) throw new Error('a save has failed')
    say(`saved ${generation}`)
  }
}

/** Written before this returns, so that a line which is missing was not earned. */
function say(line: string): void {
  writeSync(1, `${line}\n`)
}

interface Life {
  readonly lines: readonly string[]
  readonly stderr: string
  readonly signal: string | null
}

/** Runs a child until it has confirmed a save, then some milliseconds more, and kills it. */
function liveAndDie(folder: string, moreMs: number): Promise<Life> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...process.execArgv, __filename, 'child', folder], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stdout = ''
    let stderr = ''
    let isDoomed = false
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk
      if (isDoomed || !stdout.includes('saved ')) return
      isDoomed = true
      setTimeout(() => child.kill('SIGKILL'), moreMs)
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk
    })
    child.on('error', reject)
    child.on('close', (_code, signal) => {
      // What comes after the last line feed was cut off by the kill.
      resolve({ lines: stdout.split('\n').slice(0, -1), stderr, signal })
    })
  })
}

async function killManyTimes(t: test.Test, folder: string): Promise<void> {
  const path = join(folder, TABLE_FILE)
  const startedAt = Date.now()
  let generation = 0
  let leftovers = 0
  let kills = 0
  while (kills < KILLS || (leftovers === 0 && kills < KILLS_MAX)) {
    if (Date.now() - startedAt > TIME_LIMIT_MS) break
    const kill = ++kills
    const moreMs = Math.random() * 60
    const { lines, stderr, signal } = await liveAndDie(folder, moreMs)
    const title = `kill ${kill}, ${moreMs.toFixed(1)} ms after the first save`
    if (signal !== 'SIGKILL') {
      t.fail(`${title}: the child ended by itself (${signal}): ${stderr.slice(0, 1_000)}`)
      return
    }
    t.deepEqual(
      lines.filter((line) => !line.startsWith('saved ')),
      [`loaded ${kill === 1 ? 'fresh' : 'loaded'} ${generation}`],
      `${title}: it found the table of its predecessor, and nothing went wrong`,
    )
    const confirmed = Number(lines[lines.length - 1]?.replace('saved ', ''))
    try {
      generation = generationIn(readFileSync(path, 'utf8'))
    } catch (error) {
      t.fail(`${title}: ${String(error)}`)
      return
    }
    t.ok(
      generation === confirmed || generation === confirmed + 1,
      `${title}: ${confirmed} was confirmed, the file has ${generation}`,
    )
    leftovers += readdirSync(folder).filter((name) => name.endsWith('.tmp')).length
    t.deepEqual(
      readdirSync(folder).filter((name) => !name.endsWith('.tmp')),
      [TABLE_FILE],
      'and nothing was set aside',
    )
  }
  t.ok(kills >= 15, `${kills} kills, of which ${leftovers} have hit a write in progress`)
  await nodeFiles(folder, systemClock).read()
  t.deepEqual(readdirSync(folder), [TABLE_FILE], 'the next start removes what they left')
}

const [mode, childFolder] = process.argv.slice(2)
if (mode === 'child' && childFolder !== undefined) {
  void runChild(childFolder).catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
} else {
  test('kill -9 at any moment leaves a whole table, no older than the last confirmed save', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'kill9-'))
    try {
      await killManyTimes(t, folder)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
    t.end()
  })
}
