/** Every command against a real sbot in a process of its own: as a person, with --json, and when the sbot is not as it should be. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import { generate } from 'ssb-keys'

import { displayWidth } from '../../src/cli/output'
import {
  bootSbotProcess,
  cli,
  jsonOf,
  linesOf,
  MESSAGES,
  type Ran,
  type SbotProcess,
  shell,
  start,
  type World,
} from '../support/cli'
import { eventually } from '../support/eventually'
import { bootConn } from '../support/legacy'
import { bootStack, closeAll, findFreePort, type Stack } from '../support/stack'

let alice: SbotProcess
const folder = mkdtempSync(join(tmpdir(), 'cli-test-'))

const run = (args: readonly string[], world?: World): Promise<Ran> => cli(['--path', alice.path, ...args], world)
const open = (args: readonly string[], world?: World) => start(['--path', alice.path, ...args], world)

/** The only line of `--json`. */
async function json(args: readonly string[]): Promise<Record<string, unknown>> {
  const { stdout, stderr } = await run([...args, '--json'])
  const [first, ...more] = jsonOf(stdout)
  if (!first || more.length > 0) throw new Error(`expected one line: ${stdout}${stderr}`)
  return first
}

/** What `--json` says of a failure. */
function errorOf({ stderr }: Ran): { readonly code: string; readonly message: string; readonly remedy: string | null } {
  return (JSON.parse(stderr) as { error: ReturnType<typeof errorOf> }).error
}

const key = (...bytes: number[]): string =>
  Buffer.from([...bytes, ...Buffer.alloc(32 - bytes.length, 9)]).toString('base64')
const idOf = (publicKey: string): string => `@${publicKey}.ed25519`
/** Two that begin alike; nothing listens there. */
const [CAROL, DAVE] = [key(1, 2, 3, 4, 5, 6, 7), key(1, 2, 3, 4, 5, 6, 8)]
const carolAddress = (port: number): string => `net:127.0.0.1:${port}~shs:${CAROL}`
const DAVE_ADDRESS = `net:dave.invalid:8008~shs:${DAVE}`
const ERIN = key(200)
let deadPort = 0

test('the sbot starts', async (t) => {
  const [booted, port] = await Promise.all([bootSbotProcess(), findFreePort()])
  alice = booted
  deadPort = port
  t.ok(alice.id)
})

// ---- look -------------------------------------------------------------------------------------------------------------

test('status', async (t) => {
  const { code, stdout, stderr } = await run(['status'])
  t.equal(code, 0)
  t.equal(stderr, '')
  t.match(stdout, /^connections off: nothing is dialed/m)
  t.match(stdout, /^link +up$/m)
  t.match(stdout, /^net +5 +0 +0 +0$/m, 'the slots of a class')
  t.notOk(stdout.includes('\x1b'), 'no colour without a terminal')
  t.ok((await run(['status'], { columns: 80 })).stdout.includes('\x1b[33moff'), 'colour on one')
  t.ok((await run(['status', '--color'])).stdout.includes('\x1b[33moff'), 'and where it is asked for')
  const status = await json(['status'])
  t.equal(status.mode, 'off')
  t.equal((status.classes as Record<string, { max: number }>).net?.max, 5)
})

test('add: new, known, refused; of several addresses none is taken if one is none', async (t) => {
  t.match((await run(['peers'])).stdout, /^no peer is known: sbot-connections add ADDRESS$/m)
  const bad = await run(['add', alice.bob.address, 'nonsense'])
  t.equal(bad.code, 2)
  t.match(bad.stderr, /expected a multiserver address/)
  t.match((await run(['peers'])).stdout, /^no peer is known/m, 'nothing was added')
  const added = await run(['add', alice.bob.address, carolAddress(deadPort)])
  t.equal(added.stdout, `added: ${alice.bob.address}\nadded: ${carolAddress(deadPort)}\n`)
  t.equal(added.code, 0)
  t.deepEqual(await json(['add', alice.bob.address]), { address: alice.bob.address, outcome: 'known' })
  t.deepEqual(await json(['add', DAVE_ADDRESS, '--priority', 'HIGH']), { address: DAVE_ADDRESS, outcome: 'new' })
  const own = await run(['add', alice.address])
  t.equal(own.code, 1)
  t.match(own.stdout, /^not taken: /, 'our own address')
})

test('peers: a table that fits the terminal, whole ids in a pipe, all with --json', async (t) => {
  const terminal = await run(['peers'], { columns: 80 })
  t.equal(terminal.code, 0)
  const shown = linesOf(terminal.stdout)
  t.equal(shown.length, 4, 'a head and three peers')
  t.ok(
    shown.every((line) => displayWidth(line) <= 80),
    'no line is wider than the terminal',
  )
  t.ok(terminal.stdout.includes(`${alice.bob.id.slice(0, 9)}… `), 'ids are cut off')
  t.match(terminal.stdout, / connections are off/, 'there is room for the reason')
  t.notOk(terminal.stdout.includes('net:'), 'and not for an address as well')
  t.match((await run(['peers'], { columns: 100 })).stdout, / net:/, 'there is in a wider one')
  const piped = await run(['peers'])
  t.match(piped.stdout, /^PEER +STATE +CLASS +SINCE +PRIORITY +WHERE +WHY NOT$/m)
  t.ok(
    linesOf(piped.stdout).some((line) => line.startsWith(`${alice.bob.id} `)),
    'and not in a pipe',
  )
  t.match(piped.stdout, / idle +HIGH +net:dave.invalid:8008 +connections are off/, 'why not')
  const peers = jsonOf((await run(['peers', '--json'])).stdout)
  t.deepEqual(peers.map(({ id }) => id).sort(), [alice.bob.id, idOf(CAROL), idOf(DAVE)].sort())
  t.equal(((peers[0]?.explanation ?? {}) as { reason?: string }).reason, 'off')
  t.equal((await run(['peers', '--connected'])).stdout, 'nobody is connected\n')
})

// ---- connect and disconnect -----------------------------------------------------------------------------------------------

test('connect: by the beginning of an id, and what is connected already', async (t) => {
  const beginning = alice.bob.id.slice(0, 9)
  const first = await run(['connect', beginning])
  t.equal(first.code, 0)
  t.match(first.stdout, / connected in \d+\.\d s by net:127\.0\.0\.1:\d+$/m)
  const again = await json(['connect', `${beginning}…`, '--forever'])
  t.equal(again.connected, true)
  t.equal(again.peer, alice.bob.id)
  t.equal(again.isLongTerm, true)
  const table = await run(['peers', '--connected'])
  t.match(table.stdout, / connected +net +\d+ s +HIGH, kept +net:127\.0\.0\.1:\d+$/m)
})

test('connect: each address says why it failed', async (t) => {
  const { code, stdout, stderr } = await run(['connect', carolAddress(deadPort)])
  t.equal(code, 1)
  t.match(stdout, /^failed: net:127\.0\.0\.1:\d+~shs:.*: connect ECONNREFUSED/m)
  t.match(stderr, /^sbot-connections: no connection to @.*: 1 address tried$/m)
  const failed = await run(['connect', idOf(CAROL), '--json'])
  t.equal(failed.code, 1)
  t.equal(errorOf(failed).code, 'ERR_DIAL_FAILED')
  const [result] = jsonOf(failed.stdout)
  t.equal(result?.connected, false)
  const [route] = (result?.routes ?? []) as { isTried: boolean; code: string }[]
  t.equal(route?.isTried, true)
  t.equal(route?.code, 'ECONNREFUSED')
})

test('whom a word means: the beginning of an id, or nobody, or several', async (t) => {
  const several = await run(['connect', CAROL.slice(0, 8), '--json'])
  t.equal(several.code, 1)
  t.equal(errorOf(several).code, 'ERR_AMBIGUOUS')
  t.match(errorOf(several).message, new RegExp(`may be any of 2 peers: .*${idOf(DAVE).replace(/[+.]/g, '.')}`))
  const short = await run(['connect', alice.bob.id.slice(0, 5), '--json'])
  t.equal(errorOf(short).code, 'ERR_UNKNOWN_PEER')
  t.match(errorOf(short).message, /too short/)
  const nobody = await run(['disconnect', 'nobody-like-this'])
  t.equal(nobody.code, 1)
  t.match(nobody.stderr, /no peer is called nobody-like-this/)
  const unknown = await run(['disconnect', idOf(ERIN), '--json'])
  t.equal(errorOf(unknown).code, 'ERR_UNKNOWN_PEER')
  const noRoute = await run(['connect', idOf(ERIN), '--json'])
  t.equal(errorOf(noRoute).code, 'ERR_NO_ROUTE')
  t.match(errorOf(noRoute).remedy ?? '', /sbot-connections add ADDRESS/)
})

test('a peer may be named by what modules call it; disconnect', async (t) => {
  const table = JSON.stringify({ [alice.bob.address]: { key: alice.bob.id, name: 'Bob\x1b[2J' } })
  const imported = await run(['import', '-'], { stdin: table })
  t.equal(imported.stdout, '0 new, 1 known, 0 bad\n', imported.stderr)
  t.match((await run(['peers'])).stdout, / Bob\[2J +connected /, 'the name is shown, and steers nothing')
  const renamed = JSON.stringify({ [alice.bob.address]: { key: alice.bob.id, name: 'Bob' } })
  await run(['import', '-'], { stdin: renamed })
  const kept = await run(['disconnect', 'bob'])
  t.match(kept.stdout, /^Bob @.* disconnected$/m)
  t.match(kept.stderr, /It is kept up, so it is dialed again: disconnect --no-longer ends that/)
  const ended = await json(['disconnect', 'bob', '--no-longer'])
  t.equal(ended.isLongTerm, false)
  t.equal((await json(['disconnect', alice.bob.id])).wasConnected, false)
})

// ---- bans and priorities ----------------------------------------------------------------------------------------------

test('ban, unban, priority', async (t) => {
  const banned = await run(['ban', idOf(CAROL)])
  t.equal(banned.code, 0)
  t.match(banned.stdout, / banned$/m)
  t.match((await run(['peers'])).stdout, new RegExp(`^${idOf(CAROL).replace(/[+.]/g, '.')} +banned .*BANNED`, 'm'))
  const refused = await run(['connect', idOf(CAROL), '--json'])
  t.equal(errorOf(refused).code, 'ERR_BANNED')
  t.match(errorOf(refused).remedy ?? '', /unban/)
  t.match((await run(['unban', idOf(CAROL)])).stdout, / no longer banned$/m)
  t.match((await run(['unban', idOf(CAROL)])).stdout, / was not banned$/m)
  t.deepEqual(await json(['priority', idOf(CAROL), 'low']), {
    peer: idOf(CAROL),
    priority: 'LOW',
    prioritisedBy: 'user',
  })
  t.match((await run(['priority', idOf(CAROL), 'AUTO'])).stdout, / MEDIUM, by its addresses$/m)
  const wrong = await run(['priority', idOf(CAROL), 'VERY', '--json'])
  t.equal(wrong.code, 2)
  t.match(errorOf(wrong).message, /Allowed choices are HIGH, MEDIUM, LOW, AUTO/)
  const ourselves = await run(['ban', alice.id])
  t.equal(ourselves.code, 2)
  t.equal((await json(['ban', idOf(ERIN)])).priority, 'BANNED', 'somebody who is not there yet')
})

// ---- as a whole -------------------------------------------------------------------------------------------------------

test('max and lifetime', async (t) => {
  t.deepEqual(await json(['max', 'net=4', 'onion=0']).then(({ net, onion, ws }) => [net, onion, ws]), [4, 0, 2])
  t.match((await run(['max'])).stdout, /^net +4 +0$/m)
  t.match(
    (await run(['max', 'nte=4'])).stderr,
    /nte is a class that had no slots.*typo: nte=0/,
    'a new name is remarked on',
  )
  t.equal((await run(['max', 'nte=0'])).stderr, '')
  for (const [args, said] of [
    [['max', 'net'], /expected class=slots, such as net=5, received net/],
    [['max', 'net=-1'], /received net=-1/],
    [['max', 'net=1000000000'], /max\.net/],
    [['lifetime', 'soon'], /expected a duration such as 30min/],
    [['lifetime', '0s'], /expected a duration/],
    [['lifetime', '30min', '1h'], /too many arguments/],
  ] as const) {
    const { code, stderr } = await run(args)
    t.equal(code, 2, args.join(' '))
    t.match(stderr, said)
  }
  t.equal((await run(['lifetime', '1h', '--json'])).stdout, '{"lifetimeMs":3600000}\n')
  t.equal((await run(['lifetime'])).stdout, '60 min\n'.replace('60 min', '1 h'))
  t.match((await run(['status'])).stdout, /^lifetime +1 h$/m)
  t.equal((await run(['lifetime', 'none'])).stdout, 'none\n')
})

test('log, peers --live, start, stop: what changes comes as lines', async (t) => {
  await run(['connect', alice.bob.id])
  const log = open(['log'])
  const news = open(['log', '--since', 'none', '--json'])
  const live = open(['peers', '--live', '--connected'])
  const machine = open(['peers', '--live', '--json'])
  await eventually(() => log.stdout().includes('connected'), { message: 'the present connection' })
  t.match(log.stdout(), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d connected {4}Bob @.* net:127\.0\.0\.1:\d+$/m)
  await eventually(() => live.stdout().includes('PEER'), { message: 'the table' })
  await eventually(() => jsonOf(machine.stdout()).some(({ sync }) => sync === true), { message: 'the mark' })
  const stopped = await run(['stop'])
  t.equal(stopped.stdout, 'off, 1 connection closed\n')
  t.deepEqual(await json(['stop']), { mode: 'off', closed: 0 })
  t.equal((await run(['start'])).stdout, 'on\n')
  t.deepEqual(await json(['start']), { mode: 'on' })
  await run(['connect', alice.bob.id])
  await eventually(() => /disconnected Bob .* \(connections were stopped\)$/m.test(log.stdout()), {
    message: log.stdout,
  })
  await eventually(() => / Bob @\S+ connected net .*$/m.test(live.stdout()), { message: live.stdout })
  const types = () => jsonOf(news.stdout()).map(({ type }) => type)
  await eventually(() => types().includes('connected'), { message: news.stdout })
  t.equal(types()[0], 'disconnected', 'nothing of what was before')
  const bobs = () => jsonOf(machine.stdout()).filter(({ id }) => id === alice.bob.id)
  await eventually(() => bobs().some((each) => (each.connection as { status: string }).status === 'idle'))
  for (const each of [log, news, live, machine]) each.interrupt()
  for (const each of [log, news, live, machine]) t.equal((await each.ended).code, 0, 'Ctrl-C is how they end')
  t.equal((await log.ended).stderr, '')
})

// ---- sync and replication ---------------------------------------------------------------------------------------------

test('sync: until we have caught up, as lines, as JSON and as a bar', async (t) => {
  const piped = open(['sync', 'bob'])
  await eventually(() => piped.stdout() !== '', { message: 'the sync begins' })
  // What runs already is joined.
  const [lines, values, terminal] = await Promise.all([
    piped.ended,
    run(['sync', '--json']),
    run(['sync'], { columns: 100 }),
  ])
  t.deepEqual([lines.code, values.code, terminal.code], [0, 0, 0])
  t.match(lines.stdout, /^\S+ \S+ caught up with Bob @.*: 100 % +(\d+) of \1 messages/m)
  t.notOk(lines.stdout.includes('\r'))
  const amounts = jsonOf(values.stdout)
  const last = amounts[amounts.length - 1]
  t.equal(last?.phase, 'caughtUp')
  t.ok((last?.have as number) >= MESSAGES, 'with what bob has written')
  t.equal(last?.etaMs, 0)
  t.match(terminal.stdout, /\[#{10,}\] 100 % {2}(\d+) of \1 messages/, 'a bar that is full')
  t.ok(terminal.stdout.includes('\r\x1b[K'), 'drawn over')
})

test('sync: Ctrl-C ends the watching, or the sync where that is asked for', async (t) => {
  const hanging = `net:127.0.0.1:${alice.hangingPort}~shs:${ERIN}`
  await run(['unban', idOf(ERIN)])
  const watching = open(['sync', hanging])
  await eventually(() => watching.stdout().includes('connecting'), { message: 'the sync begins' })
  watching.interrupt()
  const left = await watching.ended
  t.equal(left.code, 130)
  t.match(left.stderr, /The sync goes on\. To end it: sbot-connections sync --stop/)
  t.equal((await json(['status'])).mode, 'initialSync')
  const joined = open(['sync', '--stop-at-end'])
  await eventually(() => joined.stdout().includes(`connecting to ${idOf(ERIN)}`), { message: 'the same sync' })
  joined.interrupt()
  t.equal((await joined.ended).code, 130)
  t.equal((await json(['status'])).mode, 'on', 'the mode from before')
  t.equal((await run(['sync', '--stop'])).stdout, 'no sync was running\n')
  const ended = open(['sync', hanging, '--json'])
  await eventually(() => ended.stdout().includes('connecting'))
  t.deepEqual(await json(['sync', '--stop']), { wasRunning: true })
  const stopped = await ended.ended
  t.equal(stopped.code, 1)
  t.equal(errorOf(stopped).code, 'ERR_SYNC_STOPPED')
})

test('replication: the status, why a feed, how far', async (t) => {
  t.match((await run(['replication'])).stdout, /^scheduler +on\nrequested +2 feeds$/m)
  t.equal(((await json(['replication'])).feeds as { requested: number }).requested, 2)
  t.match((await run(['replication', 'bob'])).stdout, /is replicated.* friend.*\nhops +1$/m)
  t.equal((await json(['replication', alice.bob.id])).isRequested, true)
  t.match((await run(['replication', idOf(ERIN)])).stdout, /is not replicated/)
  await run(['connect', 'bob'])
  const progress = jsonOf((await run(['replication', '--progress', '--json'])).stdout)
  t.equal(progress[progress.length - 1]?.caughtUp, true)
  t.equal((await run(['replication', 'bob', '--progress'])).code, 2)
})

// ---- files --------------------------------------------------------------------------------------------------------------

test('export and import: the table of one sbot becomes that of another', async (t) => {
  await run(['priority', idOf(DAVE), 'HIGH'])
  const file = join(folder, 'conn.json')
  const exported = await run(['export', file])
  t.match(exported.stdout, /^\d+ addresses written to /)
  const conn = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Record<string, unknown>>
  t.equal(conn[alice.bob.address]?.name, 'Bob')
  t.equal(conn[DAVE_ADDRESS]?.priority, 'HIGH')
  for (const address of [alice.bob.address, DAVE_ADDRESS]) t.equal((await run(['remove', address])).code, 0)
  t.equal((await run(['remove', DAVE_ADDRESS])).code, 1, 'it is not there any more')
  const dry = await json(['import', file, '--dry-run'])
  t.equal(dry.new, 2)
  t.equal((await json(['import', file, '--dry-run'])).new, 2, 'which changed nothing')
  t.equal((await json(['import', file])).new, 2)
  const peers = jsonOf((await run(['peers', '--json'])).stdout)
  t.equal(peers.find(({ id }) => id === idOf(DAVE))?.priority, 'HIGH')
  const list = await run(['export', '--format', 'list'])
  t.match(list.stdout, /^# addresses that @/)
  t.ok(linesOf(list.stdout).includes(alice.bob.address))
  const gossip = JSON.parse((await run(['export', '--format', 'gossip'])).stdout) as { address: string }[]
  t.ok(gossip.some(({ address }) => address === DAVE_ADDRESS))
})

test('import: what is bad is told by its line', async (t) => {
  const mixed = join(folder, 'list')
  writeFileSync(mixed, `${alice.bob.address}\nnonsense\n`)
  const some = await run(['import', mixed])
  t.equal(some.code, 0)
  t.equal(some.stdout, '0 new, 1 known, 1 bad\n')
  t.match(some.stderr, /^line 2: expected a multiserver address/)
  const none = await run(['import', '-', '--json'], { stdin: 'nonsense\n' })
  t.equal(none.code, 1)
  t.deepEqual(
    ((jsonOf(none.stdout)[0]?.bad ?? []) as { line: number }[]).map(({ line }) => line),
    [1],
  )
  t.match((await run(['import', join(folder, 'nowhere')])).stderr, /cannot be read: ENOENT/)
  t.match((await run(['import', '-'], { stdin: '[1' })).stderr, /this is no table of peers/)
  t.match((await run(['export', folder])).stderr, /cannot be written: EISDIR/)
  const banned = JSON.stringify([{ address: carolAddress(1), priority: 'BANNED' }])
  await run(['import', '-'], { stdin: banned })
  const peers = jsonOf((await run(['peers', '--json'])).stdout)
  t.equal(peers.find(({ id }) => id === idOf(CAROL))?.isBanned, true, 'a ban goes with the table')
})

// ---- completion -----------------------------------------------------------------------------------------------------------

test('peers for the completion: names, then ids; without an sbot nothing, and no word of it', async (t) => {
  const { stdout } = await run(['__complete', 'peer', ''])
  t.ok(linesOf(stdout).includes('Bob'))
  t.ok(linesOf(stdout).includes(alice.bob.id))
  t.equal((await run(['__complete', 'peer', 'Bo'])).stdout, 'Bob\n')
  t.deepEqual(await cli(['--path', '/nowhere', '__complete', 'peer', '']), { code: 0, stdout: '', stderr: '' })
})

// ---- an sbot that is not as it should be ------------------------------------------------------------------------------

/** A folder with a key, and maybe a config. */
function makeFolder(name: string, keys: object, config: object): string {
  const path = join(folder, name)
  mkdirSync(path)
  writeFileSync(join(path, 'secret'), JSON.stringify(keys))
  writeFileSync(join(path, 'config'), JSON.stringify(config))
  return path
}

const OLD = {
  name: 'connectionManager',
  version: '0.1.0',
  manifest: { peers: 'source', connections: { start: 'sync' } },
  init: () => ({ connections: { start: () => {} }, peers: () => (_: unknown, cb: (end: true) => void) => cb(true) }),
}
const PAGE = {
  name: 'dashboard',
  version: '1.0.0',
  manifest: { url: 'sync' },
  init: () => ({ url: () => 'http://127.0.0.1:1/?token=x' }),
}

/** On a socket in its folder, too. */
const SOCKET: readonly object[] = [require('ssb-unix-socket'), require('ssb-no-auth')]
const listening = (port: number): object => ({
  incoming: {
    unix: [{ scope: 'device', transform: 'noauth' }],
    net: [{ scope: ['device'], host: '127.0.0.1', port, transform: 'shs' }],
  },
  outgoing: { net: [{ transform: 'shs' }] },
})

test('what is wrong with the sbot has a code, an exit code and a remedy', async (t) => {
  const stacks: Stack[] = []
  const port = await findFreePort()
  try {
    const [other, old] = await Promise.all([
      bootConn('cli-other'),
      bootStack({
        version: 6,
        name: 'cli-old',
        plugins: [OLD, PAGE, ...SOCKET],
        port,
        global: { connections: listening(port) },
      }),
    ])
    stacks.push(other, old)
    const secret = JSON.parse(readFileSync(join(alice.path, 'secret'), 'utf8').replace(/\s*#[^\n]*/g, '')) as object
    const config = JSON.parse(readFileSync(join(alice.path, 'config'), 'utf8').replace(/\/\/ of a test/, '')) as object
    const stranger = makeFolder('stranger', generate(), config)
    const wrongNetwork = makeFolder('network', secret, { ...config, caps: { shs: key(1) } })
    const at = ({ keys, address, shs }: Stack, name: string): string[] => [
      ...['--path', makeFolder(name, keys, { caps: { shs } })],
      ...['--remote', address],
    ]
    const rows: readonly (readonly [args: string[], exitCode: number, code: string, remedy: RegExp])[] = [
      [['--path', alice.path, '--remote', `net:127.0.0.1:${deadPort}`, 'status'], 3, 'ERR_NO_SBOT', /Start the sbot/],
      [
        ['--path', alice.path, '--remote', `net:127.0.0.1:${alice.hangingPort}`, '--timeout', '0.3', 'status'],
        ...([3, 'ERR_SBOT_TIMEOUT', /try again with --timeout/] as const),
      ],
      [['--path', wrongNetwork, 'status'], 4, 'ERR_HANDSHAKE', /network key \(caps\.shs\)/],
      [['--path', alice.path, '--remote', other.address, 'status'], 4, 'ERR_HANDSHAKE', /caps\.shs/],
      [['--path', stranger, '--remote', alice.address, 'status'], 5, 'ERR_NO_PERMISSION', /--path/],
      [['--path', stranger, '--remote', alice.address, 'peers', '--live'], 5, 'ERR_NO_PERMISSION', /ssb-master/],
      [['--path', stranger, 'peers'], 4, 'ERR_HANDSHAKE', /not that of this sbot/],
      [[...at(other, 'conn'), 'status'], 6, 'ERR_NO_MANAGER', /instead of ssb-conn/],
      [['--path', alice.path, 'dashboard'], 6, 'ERR_NO_PLUGIN', /sbot-connection-manager\/dashboard/],
      [[...at(old, 'old'), 'status'], 7, 'ERR_OLD_VERSION', /update it there/],
      [['--path', join(folder, 'old'), '--remote', old.address, 'ban', idOf(ERIN)], 7, 'ERR_OLD_VERSION', /update/],
      // Its sources end at once, as those of an sbot do that is stopped.
      [
        ['--path', join(folder, 'old'), '--remote', old.address, 'peers', '--live'],
        8,
        'ERR_SBOT_GONE',
        /start it again/,
      ],
      [['--path', folder, 'status'], 9, 'ERR_NO_SECRET', /--path FOLDER/],
    ]
    for (const [args, exitCode, code, remedy] of rows) {
      const ran = await cli([...args, '--json'])
      const name = `${code} of ${args.slice(-1)}`
      t.equal(ran.stdout, '', `${name}: nothing on stdout`)
      t.equal(errorOf(ran).code, code, name)
      t.equal(ran.code, exitCode, `${name}: exit code`)
      t.match(errorOf(ran).remedy ?? '', remedy, `${name}: remedy`)
    }
    const said = await cli(['--path', stranger, '--remote', alice.address, 'status'])
    t.match(
      said.stderr,
      /^sbot-connections: the sbot does not let us call .*\nUse the folder of the sbot/,
      'for people',
    )
    const page = await cli(['--path', join(folder, 'old'), '--remote', old.address, 'dashboard'])
    t.equal(page.stdout, 'http://127.0.0.1:1/?token=x\n', 'what an older sbot has is used')
    const bySocket = await cli(['--path', old.path, 'dashboard', '--json'])
    t.equal(bySocket.stdout, '{"url":"http://127.0.0.1:1/?token=x"}\n', 'by its socket, without a word of its port')
  } finally {
    await closeAll(...stacks)
  }
})

// ---- as a process of its own ----------------------------------------------------------------------------------------------

test('in a pipe: whoever has read enough ends it, quietly and well', async (t) => {
  const { ended } = shell(`set -o pipefail; $CLI --path ${alice.path} peers --live --json | head -1`)
  let isOver = false
  const over = ended.finally(() => {
    isOver = true
  })
  // Each change is a line, of which the second finds nobody who reads it.
  while (!isOver) {
    await run(['disconnect', alice.bob.id])
    await run(['connect', alice.bob.id])
  }
  const { code, stdout, stderr } = await over
  t.equal(code, 0)
  t.equal(linesOf(stdout).length, 1)
  t.equal(stderr, '')
})

test('as a process: exit codes, and Ctrl-C', async (t) => {
  const wrong = await shell('$CLI peerz').ended
  t.equal(wrong.code, 2)
  t.equal(wrong.stdout, '')
  t.match(wrong.stderr, /unknown command 'peerz'\nDid you mean peers\?/)
  const log = shell(`exec $CLI --path ${alice.path} log`)
  await eventually(() => log.stdout().includes('connected'), { timeoutMs: 20_000, message: 'the log begins' })
  log.child.kill('SIGINT')
  const { code, signal, stderr } = await log.ended
  t.deepEqual([code, signal, stderr], [0, null, ''])
})

test('the sbot dies in the middle', async (t) => {
  const hanging = `net:127.0.0.1:${alice.hangingPort}~shs:${ERIN}`
  const commands = [
    ['log'],
    ['peers', '--live'],
    ['sync', hanging],
    ['replication', '--progress'],
    ['connect', hanging],
  ]
  const started = commands.map((args) => ({ args, each: open([...args, '--json']) }))
  const isUnderWay = ({ args, each }: (typeof started)[number]): boolean =>
    args[0] === 'connect' || args[0] === 'log' || each.stdout() !== ''
  await eventually(() => started.every(isUnderWay), { message: 'all of them have begun' })
  await eventually(async () => (await json(['status'])).dialing !== 0, { message: 'the dial hangs' })
  await alice.kill()
  for (const { args, each } of started) {
    const ran = await each.ended
    t.equal(ran.code, 8, `${args[0]}: exit code`)
    t.equal(errorOf(ran).code, 'ERR_SBOT_GONE', args[0])
  }
})

test.onFinish(() => {
  void alice?.kill()
  rmSync(folder, { recursive: true, force: true })
})
