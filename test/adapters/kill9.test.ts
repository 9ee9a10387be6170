/**
 * A process that saves without pause is killed with SIGKILL at random moments, over and over in one folder. After each kill
 * the files have to parse and to hold one whole table: the last one whose save was confirmed, or one that came after it. Most
 * saves go to the journal, some make a new table and a new journal.
 *
 * The file runs itself as the process to be killed. It shows nothing of power cuts: what the kernel has taken, a kill does
 * not undo.
 */
import assert = require('assert')

import { spawn } from 'child_process'
import { mkdtempSync, readdirSync, rmSync, writeSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import { JOURNAL_FILE, nodeFiles, TABLE_FILE } from '../../src/adapters/node-files'
import type { Action } from '../../src/core/actions'
import { parseAddress } from '../../src/core/address'
import { DEFAULT_OPTIONS } from '../../src/core/options'
import { initialState, reduce } from '../../src/core/reducer'
import type { State } from '../../src/core/table'
import { systemClock } from '../../src/shell/clock'
import { type Log, startPersistence } from '../../src/shell/persistence'

const KILLS = 20
/** Goes on up to this many until one has hit a write in progress. */
const KILLS_MAX = 60
/** About 200 kB to the journal for each save, which is full after five of them: both ways are hit. */
const ROUTES = 1_000
/** All children together. */
const TIME_LIMIT_MS = 150_000

const addresses = Array.from({ length: ROUTES }, (_, i) => {
  const bytes = Buffer.alloc(32)
  bytes.writeUInt32LE(i)
  return `net:host${i}.example.com:8008~shs:${bytes.toString('base64')}`
})

/** What a folder holds, loaded as at a start; whoever has it may save. */
async function start(folder: string, log: Log) {
  let state = initialState(DEFAULT_OPTIONS, Date.now())
  const persistence = startPersistence({
    files: nodeFiles(folder, systemClock),
    clock: systemClock,
    getState: () => state,
    log,
  })
  const dispatch = (action: Action): void => {
    const before = state
    state = reduce(before, action)
    if (action.type !== 'table/loaded') persistence.changed(state.changedPeers, before)
  }
  const outcome = await persistence.load((slice) => {
    dispatch({ type: 'table/loaded', at: Date.now(), ...slice })
  })
  return { persistence, outcome, dispatch, getState: () => state }
}

/** The generation of the table in a state, which each of its routes carries; throws unless all are of the same one. */
function generationIn(state: State): number {
  const generations = new Set(state.routes.valuesArray().map((route) => route.data?.generation ?? 0))
  assert.ok(state.routes.size === 0 || state.routes.size === ROUTES, `${state.routes.size} routes`)
  assert.ok(generations.size <= 1, 'parts of different tables')
  return Number([...generations][0] ?? 0)
}

async function runChild(folder: string): Promise<void> {
  // Nothing may go wrong here: a file set aside would be one that was broken by the kill before.
  const { persistence, outcome, dispatch, getState } = await start(folder, (level, message) =>
    say(`log ${level} ${message}`),
  )
  let generation = generationIn(getState())
  say(`loaded ${outcome.status} ${generation}`)
  const at = Date.now()
  if (outcome.status === 'fresh') {
    const routes = addresses.flatMap((address) => parseAddress(address))
    dispatch({
      type: 'routes/added',
      at,
      reports: routes.map((route) => ({ route, isLocal: false, source: 'stored' })),
    })
  }
  for (;;) {
    generation++
    for (const address of addresses)
      dispatch({ type: 'route/annotated', at, address, data: { generation }, isAutomatic: true })
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
  const startedAt = Date.now()
  let generation = 0
  let leftovers = 0
  let journals = 0
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
    let found: Awaited<ReturnType<typeof start>>
    const wrong: string[] = []
    try {
      leftovers += readdirSync(folder).filter((name) => name.endsWith('.tmp')).length
      found = await start(folder, (level, message) => wrong.push(`${level} ${message}`))
      generation = generationIn(found.getState())
      await found.persistence.close()
    } catch (error) {
      t.fail(`${title}: ${String(error)}`)
      return
    }
    t.ok(
      generation === confirmed || generation === confirmed + 1,
      `${title}: ${confirmed} was confirmed, the file has ${generation}`,
    )
    t.deepEqual(wrong, [], 'nothing was skipped')
    const names = readdirSync(folder)
    if (names.includes(JOURNAL_FILE)) journals++
    t.deepEqual(
      names.filter((name) => name !== JOURNAL_FILE),
      [TABLE_FILE],
      'nothing was set aside, and nothing of the interrupted write is left',
    )
  }
  t.ok(kills >= 15, `${kills} kills, of which ${leftovers} have hit a write in progress`)
  t.ok(journals > 0, `a journal was there ${journals} times`)
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
