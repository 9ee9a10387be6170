/**
 * The commands doctor, why and metrics: on a real manager without a wire, where all can be brought about, and once on a real
 * sbot through ssb-client.
 */

import { Command } from 'commander'
import { readFileSync } from 'fs'
import { type AddressInfo, createServer } from 'net'
import { join } from 'path'

import test = require('tape')

import { type Cli, CliError, type RemoteSbot } from '../../src/cli/cli'
import { isListeningAt, registerDoctorWith } from '../../src/cli/commands/doctor'
import { registerMetrics } from '../../src/cli/commands/metrics'
import { registerWhy } from '../../src/cli/commands/why'
import { createOutput } from '../../src/cli/output'
import { run as runProgram } from '../../src/cli/program'
import { asCommands, asKeys, asSteps, withLocalTimes } from '../../src/cli/remedies'
import { timestamp } from '../../src/cli/text'
import { FINDING_CODES, type Finding } from '../../src/core/diagnosis'
import type { ConnectionManager } from '../../src/manager'
import { systemClock } from '../../src/shell/clock'
import { alice, type Bench, bench, bob, carol, dave, MINUTE, SECOND } from '../support/manager'
import { bootStack } from '../support/stack'

// ---- a command line without a wire --------------------------------------------------------------------------------------

interface Wire {
  /** What else is on the sbot. */
  readonly rpc?: Record<string, unknown>
  /** Calls of the manager that the sbot lacks; `*`: it has no manager. */
  readonly missing?: readonly string[]
  readonly listening?: readonly number[]
  readonly isTerminal?: boolean
  /** How far the clock of the sbot is ahead of ours. */
  readonly skewMs?: number
}

interface Outcome {
  readonly lines: readonly string[]
  readonly text: string
  readonly values: readonly Record<string, unknown>[]
  readonly code: number
  readonly probed: readonly string[]
}

/** As over the wire: answers are promises, of plain data. */
function remote(manager: ConnectionManager, { rpc = {}, missing = [] }: Wire): RemoteSbot {
  const wrap = (object: Record<string, unknown>): Record<string, unknown> => {
    const made: Record<string, unknown> = {}
    for (const [name, value] of Object.entries(object)) {
      if (typeof value === 'function')
        made[name] = (...args: unknown[]) => {
          const result: unknown = value(...args)
          return typeof result === 'function'
            ? result
            : Promise.resolve(result === undefined ? undefined : JSON.parse(JSON.stringify(result)))
        }
      else if (typeof value === 'object' && value !== null) made[name] = wrap(value as Record<string, unknown>)
    }
    return made
  }
  const { internal: _, ...api } = manager
  return {
    id: '@us',
    rpc,
    manager: wrap(api as unknown as Record<string, unknown>) as unknown as RemoteSbot['manager'],
    has: (call) => !missing.includes('*') && !missing.includes(call),
    close: async () => {},
  }
}

/** Runs one command line against a manager. */
async function run(made: Bench, argv: readonly string[], wire: Wire = {}): Promise<Outcome> {
  const chunks: string[] = []
  const stream = { write: (text: string) => chunks.push(text), isTTY: wire.isTerminal, columns: 100 }
  const out = createOutput({ stdout: stream, stderr: stream, env: {}, wantsColor: false })
  const probed: string[] = []
  let code = -1
  const program = new Command().exitOverride().option('--json').option('--remote <address>')
  const probe = () => async (host: string, port: number) => {
    probed.push(`${host}:${port}`)
    return wire.listening?.includes(port) ?? false
  }
  for (const register of [registerDoctorWith(probe), registerWhy, registerMetrics])
    register(program, (action) => async (...given) => {
      const options = (given[given.length - 1] as Command).optsWithGlobals()
      const cli: Cli = {
        out,
        clock: { ...made.clock, now: () => made.clock.now() - (wire.skewMs ?? 0) },
        isJson: options.json === true,
        interrupted: new Promise(() => {}),
        withSbot: (use) => use(remote(made.manager, wire)),
      }
      const args = given.slice(0, -2).filter((each): each is string => typeof each === 'string')
      code = (await action(cli, args, options)) ?? 0
    })
  await program.parseAsync([...argv], { from: 'user' })
  const text = chunks.join('')
  const lines = text.split('\n').slice(0, -1)
  return { lines, text, values: argv.includes('--json') ? lines.map((line) => JSON.parse(line)) : [], code, probed }
}

/** Control and format characters, and breaks of lines. */
const STEERING = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u

const ALL_THERE = { rpc: { ebt: {} } }

const connected = (): Bench => {
  const made = bench()
  made.manager.connections.start()
  made.connected(alice.address)
  return made
}

// ---- doctor -------------------------------------------------------------------------------------------------------------

test('doctor: where all is well it says so, and exits with 0', async (t) => {
  const { text, code } = await run(connected(), ['doctor', '--strict'], ALL_THERE)
  t.equal(text, 'Nothing is wrong.\n')
  t.equal(code, 0)
  const { values } = await run(connected(), ['doctor', '--json'], ALL_THERE)
  t.deepEqual(values, [], 'nothing for programs either')
})

test('doctor: findings come worst first, with what to do in the words of the command line', async (t) => {
  const made = bench()
  made.add(alice.address)
  made.manager.peer.setLongTerm({ id: bob.id })
  const { lines, code } = await run(made, ['doctor'], ALL_THERE)
  t.deepEqual(lines, [
    'error   the manager is off: nobody is dialed (2 peers known)',
    '        to do sbot-connections start, or autostart: true in the configuration',
    'warning 1 long-term peer cannot be dialed: no address of it is known',
    `        who   ${bob.id}`,
    '        to do sbot-connections add ADDRESS with an address',
    '1 error, 1 warning',
  ])
  t.equal(code, 1, 'an error')
})

test('doctor: warnings count for the exit code only where they are asked to', async (t) => {
  const made = connected()
  made.manager.peer.setLongTerm({ id: bob.id })
  t.equal((await run(made, ['doctor'], ALL_THERE)).code, 0)
  const { code, values } = await run(made, ['doctor', '--strict', '--json'], ALL_THERE)
  t.equal(code, 1)
  t.deepEqual(
    values.map((each) => [each.code, each.severity]),
    [['wantedWithoutRoute', 'warning']],
  )
  t.deepEqual(values, JSON.parse(JSON.stringify(made.manager.connections.diagnose())), 'as the manager said it')
})

test('doctor: an sbot without our manager is told apart from one without any', async (t) => {
  const codes = async (rpc: Record<string, unknown>) => (await run(bench(), ['doctor'], { rpc, missing: ['*'] })).text
  t.match(await codes({ conn: {}, ebt: {} }), /^error {3}connections of this sbot are managed by ssb-conn/)
  t.match(await codes({ gossip: {}, ebt: {} }), /managed by ssb-gossip/)
  t.match(await codes({ ebt: {} }), /has no connection manager/)
  t.equal((await run(bench(), ['doctor'], { rpc: { ebt: {} }, missing: ['*'] })).code, 1)
})

test('doctor: of an older version it says what it can', async (t) => {
  const wire = { ...ALL_THERE, missing: ['connections.diagnose', 'metrics'] }
  const { values, code } = await run(bench(), ['doctor', '--json'], wire)
  t.deepEqual(
    values.map((each) => each.code),
    ['off', 'nothingKnown', 'oldVersion'],
  )
  t.equal(code, 1)
})

/** Three dials by Tor, all refused at once. */
function withoutTor(): Bench {
  const made = bench()
  const people = [bob, carol, dave].map((each) => each.by('onion'))
  made.add(...people)
  made.manager.connections.start()
  made.flush()
  for (const address of people) made.dial(address).refuse()
  made.flush()
  return made
}

test('doctor: looks for Tor where onion addresses are known, and nowhere else', async (t) => {
  const codes = async (made: Bench, wire: Wire, ...more: string[]) => {
    const { values, probed } = await run(made, ['doctor', '--json', ...more], { ...ALL_THERE, ...wire })
    return { codes: values.map((each) => each.code).filter((code) => /^tor|transport/.test(String(code))), probed }
  }
  t.deepEqual(await codes(connected(), {}), { codes: [], probed: [] }, 'no onion address')
  const both = ['127.0.0.1:9050', '127.0.0.1:9150']
  t.deepEqual(await codes(withoutTor(), {}), { codes: ['transportDown', 'torNotListening'], probed: both })
  t.deepEqual(await codes(withoutTor(), { listening: [9150] }), {
    codes: ['transportDown', 'torWithoutWay'],
    probed: both,
  })
  const missing = bench()
  missing.add(bob.by('onion'))
  missing.manager.connections.start()
  missing.flush()
  missing.dial(bob.by('onion')).cb(new Error('could not connect to:onion:…, only know:net'))
  missing.flush()
  t.deepEqual(await codes(missing, {}), { codes: ['transportMissing'], probed: [] }, 'nobody here would ask Tor')
  const made = connected()
  made.add(bob.by('onion'))
  t.deepEqual((await codes(made, { listening: [9050] })).codes, [], 'it runs')
  made.manager.connections.setMaxByType({ onion: 0 })
  t.deepEqual((await codes(made, {})).probed, [], 'onion has no slots')
  const elsewhere = ['--remote', `net:pub.example.com:8008~shs:${alice.key}`]
  t.deepEqual((await codes(withoutTor(), {}, ...elsewhere)).probed, [], 'another machine')
  const here = ['--remote', `net:127.0.0.1:8008~shs:${alice.key}`]
  t.deepEqual((await codes(withoutTor(), {}, ...here)).probed, both, 'this machine')
})

test('doctor: a port that somebody listens on is told from one that nobody does', async (t) => {
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  t.equal(await isListeningAt('127.0.0.1', port), true)
  await new Promise((resolve) => server.close(resolve))
  t.equal(await isListeningAt('127.0.0.1', port), false)
})

test('doctor: tells of replication that is missing, off, or in trouble', async (t) => {
  const codes = async (rpc: Record<string, unknown>) =>
    (await run(connected(), ['doctor', '--json'], { rpc })).values.map((each) => each.code)
  const scheduler = (status: object) => ({ replicationScheduler: { status: async () => status } })
  t.deepEqual(await codes({}), ['noReplication'])
  t.deepEqual(await codes({ replicationScheduler: { reconfigure: () => {} } }), [], 'the other one has no status')
  t.deepEqual(await codes(scheduler({ isStarted: true, isIndexing: false, problems: [] })), [])
  t.deepEqual(await codes(scheduler({ isStarted: false, isIndexing: true, problems: ['a', 'b'] })), [
    'replicationOff',
    'replicationProblem',
    'replicationProblem',
    'indexing',
  ])
  const broken = { replicationScheduler: { status: () => Promise.reject(new CliError('ERR_SBOT_GONE', 'gone')) } }
  const failed = await run(connected(), ['doctor'], { rpc: broken }).then(
    () => null,
    (error) => error.code,
  )
  t.equal(failed, 'ERR_SBOT_GONE', 'an sbot that goes away is no finding')
})

test('doctor: tells of clocks that differ', async (t) => {
  const messages = async (skewMs: number) =>
    (await run(connected(), ['doctor', '--json'], { ...ALL_THERE, skewMs })).values.map((each) => each.message)
  t.deepEqual(await messages(4 * SECOND), [])
  t.deepEqual(await messages(5 * MINUTE), ['the clock of the sbot is 5 min ahead of the one of this machine'])
  t.deepEqual(await messages(-5 * MINUTE), ['the clock of the sbot is 5 min behind the one of this machine'])
})

test('doctor: what strangers wrote does not steer the terminal', async (t) => {
  const rpc = {
    replicationScheduler: {
      status: async () => ({ isStarted: true, problems: ['\u001b[2J\u202Eevil\nerror forged'] }),
    },
  }
  for (const isTerminal of [false, true]) {
    const { text, lines } = await run(connected(), ['doctor'], { rpc, isTerminal })
    t.notOk(STEERING.test(text.replace(/\n/g, '')), JSON.stringify(text))
    t.equal(lines.length, 2, 'nor make lines of its own')
    t.match(text, /evil error forged/)
  }
})

// ---- why ----------------------------------------------------------------------------------------------------------------

test('why: a sentence, the numbers of each route, and what would change it', async (t) => {
  const made = bench()
  made.add(alice.address, alice.by('ws'))
  made.manager.connections.start()
  made.flush()
  made.dial(alice.address).refuse('ECONNRESET')
  made.flush()
  const { text, code } = await run(made, ['why', alice.id], ALL_THERE)
  t.equal(code, 0)
  const [first = '', second = '', third = '', ...rest] = text.split('\n\n')
  t.match(first, /^@\S+ is not connected: 1 failed dial in a row, tried again in \d+ s\.$/)
  const routes = [second, third].sort((a, b) => a.localeCompare(b))
  const [byNet = '', byWs = ''] = routes
  t.ok(byNet.startsWith(`${alice.address}\n`), byNet)
  t.match(byNet, /state {7}backoff: 1 failed dial in a row, until 2026-/)
  t.match(byNet, /failed {6}1 time in a row\n/)
  t.match(byNet, /last error {2}connect ECONNRESET, 2026-.* \(0 s ago\)/)
  t.match(byNet, /worked {6}never/)
  t.match(byNet, /slots {7}3 for net: 0 connected, 0 dialing, 0 closing/)
  t.match(byWs, /state {7}typeDisabled: no slots for ws/)
  const steps = rest.join().split('\n')
  t.match(steps[0] ?? '', /^to do {7}it is tried again at 2026-01-01 \d\d:\d\d:\d\d$/, 'by the clock of this place')
  t.deepEqual(steps.slice(1), [
    `            sbot-connections connect ${alice.id} dials now`,
    '            sbot-connections add ADDRESS with the new address if it has moved',
    '            sbot-connections remove ADDRESS if the address is out of date',
    '',
  ])
})

test('why: of a connected peer, of ourselves, and of somebody unknown it says that', async (t) => {
  const made = bench({ selfId: dave.id })
  made.connected(alice.address)
  made.clock.advance(90 * SECOND)
  const { text } = await run(made, ['why', alice.address], ALL_THERE)
  t.match(text, /is connected outbound since 2026-.*\.\n/)
  t.match(text, /state {7}connected\n/)
  t.match(text, /worked {6}1 time, last 2026-.* \(2 min ago\)/)
  t.notOk(/to do/.test(text), 'nothing to do')
  t.match((await run(made, ['why', dave.id])).text, /is ourselves\.\n$/)
  const unknown = await run(made, ['why', bob.id])
  t.deepEqual(unknown.lines, [
    `${bob.id} is no peer: nobody told us of this peer.`,
    'to do       sbot-connections add ADDRESS with an address of it, as from an invite',
  ])
  t.equal(unknown.code, 0)
})

test('why: of a feed it says whether it is replicated, where somebody knows', async (t) => {
  const asked: unknown[] = []
  const explain = async (feed: string) => {
    asked.push(feed)
    if (feed === carol.id) throw new CliError('ERR_INVALID_ARGUMENT', 'no')
    return { text: `${feed} is replicated: it is 1 hop away.`, hops: 1 }
  }
  const rpc = { replicationScheduler: { explain } }
  const made = bench()
  const { lines } = await run(made, ['why', bob.id], { rpc })
  t.equal(lines[lines.length - 1], `feed        ${bob.id} is replicated: it is 1 hop away.`)
  const foreign = 'ssb:feed/bendybutt-v1/ALNBR4Y8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
  t.deepEqual((await run(made, ['why', foreign], { rpc })).lines, [
    `feed        ${foreign} is replicated: it is 1 hop away.`,
  ])
  t.equal((await run(made, ['why', carol.id], { rpc })).lines.length, 2, 'what it does not take is left out')
  t.deepEqual(asked, [bob.id, foreign, carol.id])
  const failed = await run(made, ['why', foreign]).then(
    () => null,
    (error) => error.code,
  )
  t.equal(failed, 'ERR_UNKNOWN_PEER', 'and nobody knows it without the scheduler')
  const [value] = (await run(made, ['--json', 'why', bob.id], { rpc })).values
  t.equal(value?.id, bob.id)
  t.equal(value?.reason, 'unknown')
  t.equal((value?.replication as { hops: number } | undefined)?.hops, 1)
})

test('why: names the layer that is down, and since when', async (t) => {
  const made = withoutTor()
  made.clock.advance(5 * SECOND)
  const { text } = await run(made, ['why', bob.id], ALL_THERE)
  t.match(text, /down {8}transport:onion since 2026-.* \(5 s ago\), tried again in 25 s/)
  t.match(text, /to do {7}start Tor/)
})

test('why: hostile errors and addresses do not steer the terminal', async (t) => {
  const made = bench()
  made.add(alice.address)
  made.manager.connections.start()
  made.flush()
  made.dial(alice.address).cb(new Error('\u001b]0;evil\u0007\u001b[31m\u202Eoops\u2028forged'))
  made.flush()
  for (const argv of [
    ['why', alice.id],
    ['--json', 'why', alice.id],
  ]) {
    const { text } = await run(made, argv, { ...ALL_THERE, isTerminal: true })
    t.notOk(STEERING.test(text.replace(/\n/g, '')), JSON.stringify(text))
    t.match(text, /oops/)
  }
})

// ---- metrics ------------------------------------------------------------------------------------------------------------

test('metrics: the text as the manager gives it, or a value in each line', async (t) => {
  const made = connected()
  const { text } = await run(made, ['metrics'])
  t.equal(text, made.manager.metrics({ format: 'text' }))
  const { values } = await run(made, ['metrics', '--json'])
  t.deepEqual(values, JSON.parse(JSON.stringify(made.manager.metrics())))
})

// ---- remedies -----------------------------------------------------------------------------------------------------------

test('calls become commands', (t) => {
  const rows: readonly (readonly [string, string])[] = [
    ['connections.setMaxByType({onion: 3, ws: 0}) now', 'sbot-connections max onion=3 ws=0 now'],
    ["peer.setPriority({id, priority: 'AUTO'}) lifts", 'sbot-connections unban PEER lifts'],
    ["peer.setPriority({id, priority: 'MEDIUM'})", 'sbot-connections priority PEER MEDIUM'],
    [
      'peer.setLongTerm({id, isLongTerm: false}) or peer.setLongTerm and peer.connect',
      'sbot-connections disconnect --no-longer PEER or sbot-connections connect --forever PEER and sbot-connections connect PEER',
    ],
    ['initialSync.stop() ends it', 'sbot-connections sync --stop ends it'],
    ['start Tor', 'start Tor'],
  ]
  for (const [call, command] of rows) t.equal(asCommands(call), command)
  t.equal(asKeys('peer.connect dials now; peer.removeRoute'), 'the key c dials now; sbot-connections remove ADDRESS')
  t.deepEqual(asSteps('connections.start(); or wait', '@x'), ['sbot-connections start', 'or wait'])
  t.equal(withLocalTimes('at 2026-01-01T00:00:05.123Z, then'), `at ${timestamp(Date.UTC(2026, 0, 1, 0, 0, 5))}, then`)
  t.equal(asCommands('peer.connect', '@$&'), 'sbot-connections connect @$&', 'an id is no pattern')
  t.end()
})

test('docs/metrics.md has each finding of the doctor', (t) => {
  const read = (file: string): string => readFileSync(join(__dirname, '../..', file), 'utf8')
  const section =
    read('docs/metrics.md')
      .split(/^#+ /m)
      .find((each) => each.startsWith('On the command line\n')) ?? ''
  const documented = [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, code]) => code)
  const known = new Set<string>(FINDING_CODES)
  const used = [...read('src/cli/commands/doctor.ts').matchAll(/finding\(\s*[^,]+,\s*'(\w+)'/g)].map(
    ([, code = '']) => code,
  )
  t.deepEqual([...documented].sort(), [...new Set(used)].filter((code) => !known.has(code)).sort())
  t.end()
})

// ---- the real thing -----------------------------------------------------------------------------------------------------

test('doctor, why and metrics work on a real sbot', async (t) => {
  const stack = await bootStack({ version: 6, name: 'figures', ownPlugins: [require('../../src/index')] })
  const cli = async (...argv: string[]) => {
    const printed = { out: '', err: '' }
    const code = await runProgram(['--path', stack.path, '--remote', stack.address, ...argv], {
      stdout: { write: (text) => (printed.out += text) },
      stderr: { write: (text) => (printed.err += text) },
      stdin: [] as never,
      env: { ssb_caps__shs: stack.shs },
      home: stack.path,
      cwd: stack.path,
      clock: systemClock,
      interrupted: new Promise(() => {}),
    })
    return { ...printed, code }
  }
  try {
    const doctor = await cli('doctor', '--json')
    t.equal(doctor.code, 1, doctor.err)
    const found = doctor.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Finding)
    t.deepEqual(
      found.map(({ code }) => code),
      ['off', 'nothingKnown', 'noReplication'],
    )
    t.ok((FINDING_CODES as readonly string[]).includes(found[0]?.code ?? ''))
    t.match((await cli('doctor')).out, /^error {3}the manager is off.*\n.*sbot-connections start/)
    t.match((await cli('why', alice.id)).out, /is no peer/)
    t.match((await cli('why', stack.id)).out, /is ourselves/)
    const { out } = await cli('metrics')
    t.match(out, /^# HELP ssb_connection_manager_dials_started_total /)
    t.match(out, /\nssb_connection_manager_mode\{mode="off"\} 1\n/)
    const nowhere = await cli('why', '@nobodyAtAll')
    t.deepEqual([nowhere.code, nowhere.out], [1, ''])
    t.match(nowhere.err, /no id begins like this/)
  } finally {
    await stack.close()
  }
})
