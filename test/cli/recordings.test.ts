/** `record` and `replay`: against a real sbot, and what a recording says of what was. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import pull = require('pull-stream')
import test = require('tape')

import { Command } from 'commander'

import type { Cli, Output, RemoteSbot } from '../../src/cli/cli'
import { registerRecord } from '../../src/cli/commands/record'
import { type Io, run } from '../../src/cli/program'
import { RecordingBehindError } from '../../src/core/errors'
import {
  parseRecording,
  type RecordingItem,
  recordingEnd,
  recordingHeader,
  recordingLine,
} from '../../src/core/recording'
import { VERSION } from '../../src/core/version'

import Manager = require('../../src/index')

import type { ConnectionManager } from '../../src/manager'
import { systemClock } from '../../src/shell/clock'
import type { Source } from '../../src/shell/live'
import { replay } from '../../src/testing'
import { eventually } from '../support/eventually'
import { alice, bench, bob, carol, dave, MINUTE, person, SECOND } from '../support/manager'
import { bootStack, closeAll, type Stack } from '../support/stack'

const ROOT = join(__dirname, '..', '..')
const FOLDER = mkdtempSync(join(tmpdir(), 'recordings-'))
process.on('exit', () => rmSync(FOLDER, { recursive: true, force: true }))
let files = 0
const newFile = (): string => join(FOLDER, `recording-${++files}.jsonl`)

interface Ran {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

interface Running {
  interrupt(): void
  readonly done: Promise<Ran>
}

/** The command line, in this process. */
function start(...argv: string[]): Running {
  let stdout = ''
  let stderr = ''
  let interrupt: () => void = () => {}
  const interrupted = new Promise<void>((resolve) => {
    interrupt = resolve
  })
  const io: Io = {
    stdout: {
      write: (text) => {
        stdout += text
      },
    },
    stderr: {
      write: (text) => {
        stderr += text
      },
    },
    stdin: (async function* () {})(),
    env: {},
    home: FOLDER,
    cwd: FOLDER,
    clock: systemClock,
    interrupted,
  }
  return { interrupt, done: run(argv, io).then((code) => ({ stdout, stderr, code })) }
}

const cli = (...argv: string[]): Promise<Ran> => start(...argv).done

// ---- record -------------------------------------------------------------------------------------------------------------

function pathTo(stack: Stack): string[] {
  const config = { host: '127.0.0.1', port: stack.port, caps: { shs: stack.shs } }
  writeFileSync(join(stack.path, 'config'), JSON.stringify(config))
  return ['--path', stack.path]
}

/** Waits until all of the beginning is on disk. */
const begun = (file: string): Promise<unknown> =>
  eventually(() => existsSync(file) && readFileSync(file, 'utf8').includes('"checkpoint/end"'), {
    timeoutMs: 20_000,
    message: 'the beginning is on disk',
  })

test('record writes what happens at a real sbot until it is told to end', async (t) => {
  const [me, friend] = await Promise.all([
    bootStack({ version: 6, name: 'me', ownPlugins: [Manager] }),
    bootStack({ version: 6, name: 'alice' }),
  ])
  const manager = me.ssb.connectionManager as ConnectionManager
  const sbot = pathTo(me)
  const seed = Buffer.alloc(32, 7).toString('base64')
  try {
    const file = newFile()
    manager.peer.addRoute(friend.address)
    const first = start('record', file, ...sbot)
    await begun(file)
    manager.peer.addRoute(`${dave.address}:${seed}`)
    await manager.peer.connect(friend.id)
    const peers = JSON.parse(JSON.stringify(manager.peer.list())) as unknown
    await eventually(() => readFileSync(file, 'utf8').includes('connection/opened'), { message: 'it is on disk' })
    first.interrupt()
    const { stdout, stderr, code } = await first.done
    t.equal(code, 0, stderr)
    t.match(stdout, /recording-1\.jsonl: \d+ actions in \d+ s\nSee what happened: sbot-connections replay /)
    const text = readFileSync(file, 'utf8')
    const recording = parseRecording(text)
    t.deepEqual([recording.version, recording.id, recording.end?.end], [VERSION, me.id, 'interrupted'])
    t.deepEqual(withoutTimes(replay(recording.items).peers), withoutTimes(peers), 'it replays to what was')
    t.equal(statSync(file).mode & 0o077, 0, 'nobody else may read it')
    for (const secret of [me.keys.private, me.keys.private.replace('.ed25519', ''), seed, me.shs])
      t.notOk(text.includes(secret), 'no key is in it, nor the seed of an invite')

    const again = await cli('record', file, ...sbot)
    t.equal(again.code, 9)
    t.match(again.stderr, /is there already\nName another file, or add --force/)
    t.equal(readFileSync(file, 'utf8'), text, 'it was left alone')
    const forced = start('record', file, '--force', '--count', '2', '--json', ...sbot)
    await eventually(
      () => readFileSync(file, 'utf8') !== text && readFileSync(file, 'utf8').includes('"checkpoint/end"'),
    )
    for (const priority of ['HIGH', 'LOW', 'MEDIUM']) manager.peer.setPriority({ id: bob.id, priority })
    const counted = await forced.done
    t.deepEqual({ ...JSON.parse(counted.stdout), seconds: 0 }, { file, actions: 2, seconds: 0, end: 'count' })
    t.equal(parseRecording(readFileSync(file, 'utf8')).end?.actions, 2)
    const timed = await cli('record', newFile(), '--seconds', '0.1', '--json', ...sbot)
    t.equal(JSON.parse(timed.stdout).end, 'seconds')
    for (const bad of ['0', 'x', '-1'])
      t.equal((await cli('record', newFile(), '--seconds', bad, ...sbot)).code, 2, bad)

    const unwritable = await cli('record', join(FOLDER, 'none', 'x.jsonl'), ...sbot)
    t.equal(unwritable.code, 9)
    t.match(unwritable.stderr, /cannot be written: ENOENT/)

    const last = newFile()
    const cut = start('record', last, ...sbot)
    await begun(last)
    await me.close({ keep: true })
    const gone = await cut.done
    t.equal(gone.code, 8)
    t.match(
      gone.stderr,
      /the recording has ended early: the sbot closed the connection\nWhat was recorded until then is whole/,
    )
    const whole = parseRecording(readFileSync(last, 'utf8'))
    t.equal(whole.end?.end, 'ERR_SBOT_GONE')
    t.ok(replay(whole.items).peers.length > 0, 'and it replays')

    const none = newFile()
    const absent = await cli('record', none, ...sbot)
    t.equal(absent.code, 3)
    t.notOk(existsSync(none), 'no file of nothing')
  } finally {
    await closeAll(me, friend)
  }
})

/** `record` against a source that the test makes. */
async function recordFrom(
  file: string,
  source: Source<RecordingItem>,
  { interrupted = new Promise<void>(() => {}), argv = [] as string[] } = {},
): Promise<{ readonly code: string | null; readonly lines: readonly string[] }> {
  const lines: string[] = []
  const out: Output = {
    isTerminal: false,
    columns: 80,
    hasColor: false,
    line: (text = '') => lines.push(text),
    json: () => {},
    note: () => {},
    paint: (_, text) => text,
  }
  const sbot = { id: bob.id, manager: { connections: { recording: () => source } } } as unknown as RemoteSbot
  const fake: Cli = { out, clock: systemClock, isJson: false, interrupted, withSbot: (use) => use(sbot) }
  const program = new Command()
  registerRecord(program, (action) => async (...given) => {
    await action(fake, given.slice(0, -2) as string[], (given[given.length - 1] as Command).opts())
  })
  const code = await program.parseAsync(['record', file, ...argv], { from: 'user' }).then(
    () => null,
    (error: { code?: string }) => String(error.code),
  )
  return { code, lines }
}

/** Gives the items, and then `end`, or nothing more. */
function sourceOf(items: readonly RecordingItem[], end: Error | true | null = null): Source<RecordingItem> {
  const left = [...items]
  return (abort, cb) => {
    if (abort) return cb(abort)
    const item = left.shift()
    if (item) cb(null, item)
    else if (end) cb(end)
  }
}

test('record keeps nothing that cannot be replayed, and says why it has ended', async (t) => {
  const { items, manager } = story()
  manager.close()
  const cut = newFile()
  const interrupted = eventually(() => existsSync(cut)).then(() => {})
  t.equal((await recordFrom(cut, sourceOf(items.slice(0, 2)), { interrupted })).code, 'ERR_INTERRUPTED')
  t.notOk(existsSync(cut), 'of a beginning that was cut off nothing is left')

  const behind = newFile()
  const slow = await recordFrom(behind, sourceOf(items, new RecordingBehindError(50_001)))
  t.equal(slow.code, 'ERR_RECORDING_BEHIND')
  t.equal(parseRecording(readFileSync(behind, 'utf8')).end?.end, 'ERR_RECORDING_BEHIND')
  t.deepEqual(parseRecording(readFileSync(behind, 'utf8')).items, items, 'all until then')

  const mine = newFile()
  const late: Source<RecordingItem> = (abort, cb) => {
    // Somebody else makes a file of that name meanwhile.
    if (!abort) writeFileSync(mine, 'mine')
    sourceOf(items)(abort, cb)
  }
  t.equal((await recordFrom(mine, late)).code, 'ERR_FILE_EXISTS')
  t.equal(readFileSync(mine, 'utf8'), 'mine', 'it is left as it is')
  writeFileSync(mine, 'precious')
  t.equal((await recordFrom(mine, sourceOf([], true), { argv: ['--force'] })).code, 'ERR_SBOT_GONE')
  t.equal(readFileSync(mine, 'utf8'), 'precious', 'nothing is overwritten with nothing')
})

/** Round trips and their like are measured on and on. */
function withoutTimes(peers: unknown): unknown {
  return JSON.parse(JSON.stringify(peers, (key, value: unknown) => (key === 'rtt' || key === 'skew' ? null : value)))
}

// ---- replay -------------------------------------------------------------------------------------------------------------

/** What does more to a terminal than fill a line. */
const STEERING = /(?!\n)[\p{Cc}\u202e]/u
const HOSTILE = 'no \u001b[2J\u202eway\nERROR: send your secret'

/** A recording of a few things, in a file; the manager as it was at the end. */
function recordedFile(items: readonly RecordingItem[], change: { version?: string; end?: boolean } = {}): string {
  const file = newFile()
  const lines = items.map(recordingLine).join('')
  const at = 1_767_225_600_000
  const end =
    change.end === false ? '' : recordingEnd({ end: 'interrupted', at: at + 20 * MINUTE, actions: items.length })
  writeFileSync(file, recordingHeader({ version: change.version ?? VERSION, at, id: null }) + lines + end)
  return file
}

function story(): { readonly items: RecordingItem[]; readonly manager: ConnectionManager } {
  const { manager, clock, dial, add } = bench()
  add(alice.address, bob.address)
  const items: RecordingItem[] = []
  pull(
    manager.connections.recording() as unknown as pull.Source<RecordingItem>,
    pull.drain((item) => {
      items.push(JSON.parse(JSON.stringify(item)) as RecordingItem)
    }),
  )
  clock.advance(SECOND)
  manager.connections.start()
  clock.advance(SECOND)
  dial(alice.address).accept()
  dial(bob.address).cb(Object.assign(new Error(HOSTILE), { code: 'ECONNREFUSED' }))
  add(carol.address)
  clock.advance(20 * SECOND)
  manager.peer.disconnect(alice.id, () => {})
  clock.advance(MINUTE)
  return { items, manager }
}

test('replay tells step by step what happened, what it changed, and what was decided and why', async (t) => {
  const { items, manager } = story()
  const file = recordedFile(items)
  const { stdout, stderr, code } = await cli('replay', file)
  t.equal(code, 0)
  t.equal(stderr, '', 'nothing to complain of')
  const lines = stdout.split('\n')
  t.match(lines[0] ?? '', /^ +0 {2}2026-01-01T00:00:00\.000Z {2}the beginning mode off, 2 peers, 2 routes$/)
  t.match(lines[1] ?? '', /^ +1 {2}2026-01-01T00:00:01\.000Z {2}connections\/started$/)
  t.match(lines[2] ?? '', /^ {10}manager mode off → on$/)
  t.ok(
    lines.some((line) => line.endsWith(`> dial ${alice.address}: its turn (schedule)`)),
    'a dial, and why',
  )
  t.ok(
    lines.some((line) => line.endsWith(`> hang up on ${alice.id}: asked for (disconnected)`)),
    'a hang-up, and why',
  )
  t.ok(
    lines.some((line) => line.includes(`time is up: give up ${carol.address}: no answer within`)),
    'what time brought',
  )
  t.ok(
    lines.some((line) => line.includes(`${bob.address} errorCount 0 → 1, nextAttemptAt 0 → 2026-01-01T00:00:`)),
    'what was changed',
  )
  t.ok(stdout.includes('no [2Jway ERROR: send your secret'), 'what strangers wrote is on one line and steers nothing')
  t.notOk(STEERING.test(stdout))
  const count = items.filter(({ type }) => !type.startsWith('checkpoint')).length
  manager.close()

  const json = await cli('replay', file, '--json')
  const steps = json.stdout
    .trim()
    .split('\n')
    .map(
      (line) =>
        JSON.parse(line) as { index: number; action: { type: string } | null; decided: { dials: { cause: string }[] } },
    )
  t.equal(steps.length, count + 1, 'a line for each step')
  t.equal(steps.find(({ decided }) => decided.dials.length > 0)?.decided.dials[0]?.cause, 'schedule')
  t.notOk(STEERING.test(json.stdout), 'the JSON steers nothing')

  const span = await cli('replay', file, '--json', '--from', '2', '--to', '2026-01-01T00:00:02Z')
  const some = span.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { index: number; at: number })
  t.equal(some[0]?.index, 2)
  t.ok(some.every(({ at }) => at <= Date.UTC(2026, 0, 1, 0, 0, 2)) && some.length > 2, 'a part of it')
})

test('replay --at shows how things stood, and --why', async (t) => {
  const { items, manager } = story()
  const file = recordedFile(items)
  const connected = await cli('replay', file, '--at', '+10s')
  t.match(connected.stdout, /^2026-01-01T00:00:10\.000Z {2}step \d+, after /)
  t.ok(connected.stdout.includes(`${alice.id} connected ${alice.address}`), 'who is connected')
  t.match(connected.stdout, /net: 1 of 3 connected, 1 dialing/)
  const before = await cli('replay', file, '--at', '0', '--json')
  t.equal(JSON.parse(before.stdout).status.mode, 'off')
  const why = await cli('replay', file, '--at', String(Date.UTC(2026, 0, 1, 0, 0, 2)), '--why', bob.id, '--json')
  const { why: explanation } = JSON.parse(why.stdout) as { why: { id: string; reason: string; until: number } }
  t.deepEqual([explanation.id, explanation.reason], [bob.id, 'backoff'])
  const end = await cli('replay', file, '--why', bob.id.slice(0, 8))
  t.ok(end.stdout.includes(`why ${bob.id}`), 'at the end, by the beginning of an id')
  t.ok(end.stdout.includes(manager.peer.explain(bob.id).message))
  for (const [moment, code] of [
    ['+2h', 2],
    ['999999', 2],
    ['yesterday', 2],
    ['', 0],
  ] as const)
    t.equal((await cli('replay', file, '--at', moment)).code, code, `--at ${moment}`)
  t.match((await cli('replay', file, '--at', '+2h')).stderr, /the recording ends with step \d+/)
  t.match((await cli('replay', file, '--why', 'zzzzz')).stderr, /no peer of the recording begins with/)
  manager.close()
})

test('replay of what is no recording, a damaged one or one of another format says what to do', async (t) => {
  const { items, manager } = story()
  manager.close()
  const good = readFileSync(recordedFile(items), 'utf8')
  const lines = good.split('\n')
  const write = (text: string): string => {
    const file = newFile()
    writeFileSync(file, text)
    return file
  }
  const bad: readonly (readonly [what: string, file: string, message: RegExp])[] = [
    ['no file', join(FOLDER, 'none'), /there is no file .*\nMake one: sbot-connections record/],
    ['empty', write(''), /not that of a recording\nTake a file that/],
    ['something else', write('{"peers":[]}\n'), /not that of a recording/],
    ['binary', write('\u0000\u0001\u001b[2J'), /not that of a recording/],
    [
      'another format',
      write(
        good
          .replace('"format":1,"version"', '"format":2,"version"')
          .replace(`"version":"${VERSION}"`, '"version":"9.8.7"'),
      ),
      /of format 2, and this version .* reads format 1\nUse the version that made it: npx -p sbot-connection-manager@9\.8\.7/,
    ],
    [
      'a hostile version',
      write(
        good
          .replace('"format":1,"version"', '"format":2,"version"')
          .replace(`"version":"${VERSION}"`, '"version":"$(rm -rf)"'),
      ),
      /of format 2.*\nUse the version that made it\.$/m,
    ],
    ['a line that is no JSON', write([...lines.slice(0, 3), 'x', ...lines.slice(3)].join('\n')), /line 4 is no JSON/],
    [
      'an action that there is not',
      write(good.replace('connections/started', 'connections/eaten')),
      /type: expected one of .* \(line \d+\)\nWhat is shown of the steps before it/,
    ],
    [
      'an action that lacks something',
      write(good.replace(/"attempt":1,/, '')),
      /attempt: expected a whole number.* \(line \d+\)/,
    ],
    [
      'without its beginning',
      write([lines[0], ...lines.slice(3)].join('\n')),
      /expected the beginning of a checkpoint/,
    ],
    ['cut off in its beginning', write(`${lines.slice(0, 2).join('\n')}\n`), /cut off/],
    ['two in one', write(good + good), /stands behind its end/],
  ]
  for (const [what, file, message] of bad) {
    const { code, stderr, stdout } = await cli('replay', file)
    t.equal(code, 9, `${what}: exit code`)
    t.match(stderr, message, what)
    t.notOk(STEERING.test(stderr + stdout), `${what}: nothing steers the terminal`)
  }
  const torn = await cli('replay', write(good.slice(0, good.lastIndexOf('{"end"') - 9)))
  t.equal(torn.code, 0, 'one that was cut off at its end is replayed')
  t.match(torn.stderr, /The last line of the recording was cut off/)
  const endless = await cli('replay', recordedFile(items, { end: false, version: '0.9.0' }))
  t.match(endless.stderr, /whoever made it was cut off\.\nIt was recorded by version 0\.9\.0/)
})

// ---- replay --diff --------------------------------------------------------------------------------------------------------

/** A folder with a package that replays as we do, but for `change`. */
function otherPackage(change: string, { version = '7.0.0' } = {}): string {
  const folder = mkdtempSync(join(FOLDER, 'package-'))
  mkdirSync(join(folder, 'lib'))
  const manifest = {
    name: 'sbot-connection-manager',
    version,
    exports: { './testing': { default: './lib/testing.js' } },
  }
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  writeFileSync(
    join(folder, 'lib', 'testing.js'),
    `const ours = require(${JSON.stringify(join(ROOT, 'src/testing.ts'))})\n${change}\n`,
  )
  return folder
}

test('replay --diff says where another version comes to something else', async (t) => {
  const { items, manager } = story()
  manager.close()
  const file = recordedFile(items)
  const same = await cli('replay', file, '--diff', otherPackage('module.exports = ours'))
  t.equal(same.code, 0)
  t.match(same.stdout, /^\d+ steps, and no difference between .* and 7\.0\.0/)

  const otherCause = otherPackage(`module.exports = {
    *replaySteps(recording) {
      for (const step of ours.replaySteps(recording)) {
        const { dials } = step.plan
        yield { ...step, changed: step.changed, plan: { ...step.plan, dials: dials.map((dial) => ({ ...dial, cause: 'probe' })) } }
      }
    },
  }`)
  const inModules = mkdtempSync(join(FOLDER, 'prefix-'))
  mkdirSync(join(inModules, 'node_modules'))
  symlinkSync(otherCause, join(inModules, 'node_modules', 'sbot-connection-manager'))
  for (const folder of [otherCause, inModules]) {
    const different = await cli('replay', file, '--diff', folder)
    t.equal(different.code, 1)
    t.match(different.stdout, /plan\.dials\.0\.cause\n +1\.0\.0: schedule\n +7\.0\.0: probe/)
    t.match(different.stdout, /\n\d of \d+ steps differ between 1\.0\.0 and 7\.0\.0 .*, the first is step 1\n$/)
  }
  const json = await cli('replay', file, '--diff', otherCause, '--json', '--to', '1')
  t.deepEqual(JSON.parse(json.stdout.split('\n')[0] ?? '').differences[0], {
    what: 'plan.dials.0.cause',
    here: 'schedule',
    there: 'probe',
  })

  const failing = otherPackage(`module.exports = {
    *replaySteps(recording) {
      for (const step of ours.replaySteps(recording)) {
        if (step.index === 3) throw new Error('no such action')
        yield step
      }
    },
  }`)
  const broken = await cli('replay', file, '--diff', failing)
  t.equal(broken.code, 1)
  t.match(broken.stdout, /replay\n.*goes on\n.*no such action/)

  for (const [folder, code, message] of [
    [FOLDER, 9, /there is no sbot-connection-manager in .*\nInstall a version/],
    [otherPackage('throw new Error("not built")'), 9, /cannot be loaded: not built/],
    [otherPackage('module.exports = {}'), 7, /cannot replay step by step/],
  ] as const) {
    const refused = await cli('replay', file, '--diff', folder)
    t.equal(refused.code, code)
    t.match(refused.stderr, message)
  }
})

test('a recording of a table of thousands is compared at its beginning and its end', async (t) => {
  const { manager, clock } = bench()
  for (let i = 0; i < 600; i++) manager.peer.addRoute(person(`n${i}`).address)
  const items: RecordingItem[] = []
  pull(
    manager.connections.recording() as unknown as pull.Source<RecordingItem>,
    pull.drain((item) => {
      items.push(JSON.parse(JSON.stringify(item)) as RecordingItem)
    }),
  )
  clock.advance(SECOND)
  manager.connections.setLifetime(MINUTE)
  manager.close()
  const other = otherPackage(`module.exports = {
    *replaySteps(recording) {
      for (const step of ours.replaySteps(recording))
        yield { ...step, changed: step.changed, status: () => ({ ...step.status(), lifetimeMs: 5 }) }
    },
  }`)
  const { stdout, code } = await cli('replay', recordedFile(items), '--diff', other)
  t.equal(code, 1)
  t.match(stdout, /2 of 3 steps differ/, 'of the three the one in the middle is not')
})

test('the version in recordings is that of the package', (t) => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  t.equal(VERSION, version)
  t.end()
})
