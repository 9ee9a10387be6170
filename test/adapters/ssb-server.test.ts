/**
 * ssb-server 16 as it is published, with this plugin or the entry /conn where it asks for ssb-gossip, used as its owner uses
 * it: by its command line, each command a process of its own. Its other plugins are its own too; it is kept off the local
 * network.
 */
import { type ChildProcess, spawn } from 'child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'fs'
import { connect as connectSocket } from 'net'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import { generate } from 'ssb-keys'
import type { GossipPeer } from '../../src/adapters/gossip'
import type { Explanation, Status } from '../../src/core/selectors'
import { HELP, type Help } from '../../src/shell/help'
import type { ManagerName } from '../consumers/manager'
import { eventually } from '../support/eventually'
import { bootStack, findFreePort, type Stack } from '../support/stack'

const BIN = require.resolve('ssb-server/bin.js')
const HOOK = require.resolve('../consumers/old-names')
const APP = 'cmtest'
const COMMAND_LIMIT_MS = 20_000

interface Answer {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** What stands where ssb-server asks for ssb-gossip. */
type Entry = Extract<ManagerName, 'plugin' | 'conn'>

interface Server {
  readonly path: string
  /** Runs `ssb-server <words>` to its end. */
  run(...words: readonly string[]): Promise<Answer>
  /** What a command prints, as JSON. Throws if it fails or complains. */
  ask(...words: readonly string[]): Promise<unknown>
  /** The first thing that a command prints which goes on for ever. */
  first(...words: readonly string[]): Promise<unknown>
}

const children = new Set<ChildProcess>()
const folders: string[] = []

process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
})

function start(home: string, options: readonly string[], words: readonly string[], entry?: Entry): ChildProcess {
  const child = spawn(process.execPath, [...options, BIN, ...words], {
    cwd: home,
    // Its config is looked for in all of these.
    env: { ...process.env, HOME: home, TMPDIR: home, XDG_CONFIG_HOME: home, ssb_appname: APP, MANAGER: entry },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.add(child)
  child.once('close', () => children.delete(child))
  return child
}

/** What a process prints until it ends, or until `isEnough` of its output, and then it is ended. */
function read(child: ChildProcess, isEnough: (stdout: string) => boolean = () => false): Promise<Answer> {
  let stdout = ''
  let stderr = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
    if (isEnough(stdout)) child.kill()
  })
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, stdout, stderr })))
}

function commandsIn(home: string): Omit<Server, 'path'> {
  const command = async (words: readonly string[], isEnough?: (stdout: string) => boolean): Promise<Answer> => {
    const child = start(home, [], words)
    const timer = setTimeout(() => child.kill('SIGKILL'), COMMAND_LIMIT_MS)
    const answer = await read(child, isEnough)
    clearTimeout(timer)
    return answer
  }
  const complain = (words: readonly string[], { code, stderr }: Answer): never => {
    throw new Error(`${words.join(' ')} ended with ${code}: ${stderr}`)
  }
  return {
    run: (...words) => command(words),
    ask: async (...words) => {
      const answer = await command(words)
      return answer.code === 0 && answer.stderr === '' ? JSON.parse(answer.stdout) : complain(words, answer)
    },
    first: async (...words) => {
      // An empty line stands behind each item.
      const answer = await command(words, (stdout) => stdout.includes('\n\n'))
      const [item] = answer.stdout.split('\n\n')
      return item && answer.stderr === '' ? JSON.parse(item) : complain(words, answer)
    },
  }
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectSocket(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    }).once('error', () => resolve(false))
  })
}

async function bootServer(entry: Entry, shs: string): Promise<Server> {
  const home = mkdtempSync(join(tmpdir(), 'ssb-server-'))
  folders.push(home)
  const path = join(home, `.${APP}`)
  const port = await findFreePort()
  mkdirSync(path)
  const config = {
    caps: { shs },
    host: '127.0.0.1',
    port,
    connections: {
      incoming: {
        net: [{ scope: ['device', 'local', 'public'], host: '127.0.0.1', port, transform: 'shs' }],
      },
      outgoing: { net: [{ transform: 'shs' }] },
    },
    // ssb-local sends no beacons.
    gossip: { local: false },
  }
  writeFileSync(join(path, 'config'), JSON.stringify(config))
  const child = start(home, ['--require', require.resolve('tsx/cjs'), '--require', HOOK], ['start'], entry)
  const ended = read(child).then(({ stderr }) => {
    throw new Error(`the server has ended: ${stderr}`)
  })
  const isUp = eventually(async () => existsSync(join(path, 'manifest.json')) && (await isListening(port)), {
    timeoutMs: 20_000,
    everyMs: 50,
    message: 'ssb-server listens',
  })
  await Promise.race([isUp, ended])
  ended.catch(() => {})
  return { path, ...commandsIn(home) }
}

interface Booted {
  readonly server: Server
  /** Whom it can reach. */
  readonly alice: Stack
}

const booted = new Map<Entry, Promise<Booted>>()

/** One of each for all tests. */
function boot(entry: Entry): Promise<Booted> {
  const known = booted.get(entry)
  if (known) return known
  const making = (async () => {
    const alice = await bootStack({ version: 6, name: 'alice' })
    return { alice, server: await bootServer(entry, alice.shs) }
  })()
  booted.set(entry, making)
  return making
}

test.onFinish(() => {
  for (const child of children) child.kill('SIGKILL')
  for (const making of booted.values()) void making.then(({ alice }) => alice.close())
})

const NOBODY = generate()
/** Nothing listens there. */
const NOWHERE = `net:127.0.0.1:1~shs:${NOBODY.public.replace('.ed25519', '')}`

const ENTRIES: readonly Entry[] = ['plugin', 'conn']

for (const entry of ENTRIES) {
  test(`${entry}: gossip.add, get, peers and remove keep the table from the command line`, async (t) => {
    const { server } = await boot(entry)
    t.deepEqual(await server.ask('gossip.peers'), [], 'the command line itself is no peer')
    const added = (await server.ask('gossip.add', NOWHERE, 'friends')) as GossipPeer
    t.deepEqual(
      [added.key, added.address, added.host, added.port, added.source, added.announcers],
      [NOBODY.id, NOWHERE, '127.0.0.1', 1, 'friends', 1],
    )
    const [byId, byOption, peers] = (await Promise.all([
      server.ask('gossip.get', NOBODY.id),
      server.ask('gossip.get', '--id', NOBODY.id),
      server.ask('gossip.peers'),
    ])) as [GossipPeer, GossipPeer, GossipPeer[]]
    t.deepEqual([byId.address, byOption.address], [NOWHERE, NOWHERE])
    t.deepEqual(
      peers.map((peer) => peer.key),
      [NOBODY.id],
    )
    t.equal(await server.ask('gossip.remove', NOBODY.id), true)
    t.deepEqual(await server.ask('gossip.peers'), [])
  })

  test(`${entry}: gossip.connect and disconnect do so, and peers, status and explain say so`, async (t) => {
    const { server, alice } = await boot(entry)
    t.deepEqual(await server.ask('gossip.connect', alice.address), { id: alice.id, address: alice.address })
    const [peers, status, explanation, slots] = (await Promise.all([
      server.ask('gossip.peers'),
      server.ask('status'),
      server.ask('connectionManager.peer.explain', alice.id),
      server.ask('connectionManager.connections.status'),
    ])) as [GossipPeer[], { gossip: Record<string, GossipPeer>; connectionManager: Status }, Explanation, Status]
    t.deepEqual(
      peers.map(({ key, state, client, source }) => ({ key, state, client, source })),
      [{ key: alice.id, state: 'connected', client: true, source: 'manual' }],
    )
    t.equal(status.gossip[alice.id]?.state, 'connected', 'status has gossip')
    t.equal(status.connectionManager.classes.net?.connected, 1, 'and connectionManager')
    t.deepEqual([explanation.connected, explanation.reason], [true, null])
    t.deepEqual([slots.mode, slots.classes.net?.connected, slots.peers], ['on', 1, 1])

    t.equal(await server.ask('gossip.disconnect', alice.id), true)
    const after = (await server.ask('connectionManager.peer.explain', alice.id)) as Explanation
    t.equal(after.connected, false)
    t.equal(after.reason, 'backoff', 'not redialed at once')
    t.ok((after.until ?? 0) > Date.now(), 'and it says until when')
    t.equal(await server.ask('gossip.disconnect', alice.id), false, 'there is nothing to end any more')

    t.deepEqual(await server.ask('connectionManager.peer.connect', '--id', alice.id), { id: alice.id })
    t.equal(await server.ask('connectionManager.peer.disconnect', alice.id), true)
  })

  test(`${entry}: gossip.enable and disable say what they did, and keep it in the config file of ssb-server`, async (t) => {
    const { server } = await boot(entry)
    const config = (): { readonly gossip: object; readonly caps: object } =>
      JSON.parse(readFileSync(join(server.path, 'config'), 'utf8'))
    const before = config()
    t.equal(await server.ask('gossip.disable', 'friends'), 'disabled gossip type friends')
    t.deepEqual(config(), { ...before, gossip: { local: false, friends: false } }, 'beside what was there')
    t.equal(await server.ask('gossip.enable', '--type', 'friends'), 'enabled gossip type friends')
    t.deepEqual(config().gossip, { local: false, friends: true })
  })
}

test('slots are set by options', async (t) => {
  const { server } = await boot('plugin')
  // It answers nothing, which muxrpc brings as false.
  t.equal((await server.run('connectionManager.connections.setMaxByType', '--net', '5', '--ws', '2')).code, 0)
  const { classes } = (await server.ask('connectionManager.connections.status')) as Status
  t.deepEqual([classes.net?.max, classes.ws?.max, classes.onion?.max], [5, 2, 3])
})

test('usage is printed for the plugins, for groups and for single commands', async (t) => {
  const { server } = await boot('plugin')
  const [gossip, bare, group, long, command, legacy] = await Promise.all([
    server.ask('gossip.help'),
    server.run('gossip'),
    server.run('connectionManager.peer'),
    server.run('connectionManager', '--help'),
    server.run('connectionManager.peer.explain', '--help'),
    server.run('gossip.connect', '--help'),
  ])
  t.deepEqual(Object.keys((gossip as Help).commands), bare.stdout.trim().split('|'), 'gossip.help is the whole of it')
  t.match(bare.stdout, /^add\|remove\|connect\|disconnect\|/, 'a bare gossip lists its commands')
  t.match(group.stdout, /^addRoute\|.*\|explain\|/, 'so does a group')
  t.match(long.stdout, /^connectionManager\.peer\.explain \{id\} # why a peer is not connected/m)
  t.match(long.stdout, /^connectionManager\.connections\.status # /m)
  t.match(
    command.stdout,
    /^connectionManager\.peer\.explain \{id\} # why .*\n {2}--id \[Target\] # a feed id, or an address/,
  )
  t.match(legacy.stdout, /^gossip\.connect \{id\} # connect to a peer\n {2}--id /)
  t.deepEqual(
    [bare, group, long, command, legacy].map((each) => each.stderr),
    ['', '', '', '', ''],
  )
  t.deepEqual([long.code, command.code, legacy.code], [0, 0, 0])
  t.deepEqual(await server.ask('connectionManager.help'), HELP)
})

test('bad input ends with 1 and says what was expected', async (t) => {
  const { server } = await boot('plugin')
  const cases: readonly { readonly words: readonly string[]; readonly says: RegExp }[] = [
    { words: ['gossip.add', 'nonsense'], says: /expected a multiserver address such as .*received "nonsense"/ },
    { words: ['gossip.add'], says: /expected a multiserver address/ },
    { words: ['gossip.get', 'nonsense'], says: /received "nonsense"/ },
    { words: ['gossip.connect'], says: /gossip\.connect: expected an address, or a peer id/ },
    { words: ['gossip.connect', NOBODY.id], says: /no known address for peer:@/ },
    { words: ['gossip.connect', NOWHERE], says: /ECONNREFUSED/ },
    { words: ['gossip.enable', 'everything'], says: /expected one of global, local, friends, seed/ },
    { words: ['connectionManager.peer.explain', 'nonsense'], says: /received "nonsense"/ },
    { words: ['connectionManager.peer.explain'], says: /expected \{address\} or \{id\}/ },
    { words: ['connectionManager.peer.setPriority', '--id', NOBODY.id, '--priority', 'TOP'], says: /HIGH/ },
    { words: ['connectionManager.connections.setLifetime', 'soon'], says: /received "soon"/ },
  ]
  for (const { words, says } of cases) {
    const { code, stdout, stderr } = await server.run(...words)
    t.equal(code, 1, words.join(' '))
    t.match(stderr, says)
    t.equal(stdout, '', 'nothing that could be taken for an answer')
  }
})

/** As `peers()` and the like of ssb-conn give them. */
type ConnEntry = readonly [address: string, data: Record<string, unknown>]

test('conn: remember, dbPeers and forget keep the table', async (t) => {
  const { server } = await boot('conn')
  const before = (await server.ask('conn.dbPeers')) as readonly ConnEntry[]
  t.notOk(before.some(([address]) => address === NOWHERE))
  t.equal((await server.run('conn.remember', NOWHERE, '--type', 'pub', '--autoconnect', 'false')).code, 0)
  const known = (await server.ask('conn.dbPeers')) as readonly ConnEntry[]
  const [, data] = known.find(([address]) => address === NOWHERE) ?? []
  t.equal(data?.type, 'pub', 'with what was said of it')
  t.equal(typeof data?.birth, 'number')
  t.equal((await server.run('conn.forget', NOWHERE)).code, 0)
  t.deepEqual(await server.ask('conn.dbPeers'), before)
})

test('conn: connect and disconnect do so, and the first that peers prints is who is connected', async (t) => {
  const { server, alice } = await boot('conn')
  t.ok(await server.ask('conn.connect', alice.address), 'something that can be read')
  const [[address, data] = []] = (await server.first('conn.peers')) as readonly ConnEntry[]
  t.deepEqual([address, data?.key, data?.state], [alice.address, alice.id, 'connected'])
  t.equal(await server.ask('conn.disconnect', alice.address), true)
  t.deepEqual(await server.first('conn.peers'), [])
  t.equal(await server.ask('conn.disconnect', NOWHERE), false, 'there is nothing to end')
})

test('conn: stage is seen in stagedPeers, until unstage', async (t) => {
  const { server } = await boot('conn')
  // Not with --key, which the command line takes for a key of its own, as it does --host, --port and --path.
  t.equal(await server.ask('conn.stage', NOWHERE, '--type', 'lan'), true)
  const [[address, data] = []] = (await server.first('conn.stagedPeers')) as readonly ConnEntry[]
  t.deepEqual([address, data?.type], [NOWHERE, 'lan'])
  t.equal(await server.ask('conn.unstage', NOWHERE), true)
  t.deepEqual(await server.first('conn.stagedPeers'), [])
})

test('conn: stop and start, as often as one likes', async (t) => {
  const { server } = await boot('conn')
  const mode = async () => ((await server.ask('connectionManager.connections.status')) as Status).mode
  t.equal(await mode(), 'on', 'it dials from the start')
  for (const [word, said] of [
    ['stop', 'off'],
    ['stop', 'off'],
    ['start', 'on'],
    ['start', 'on'],
  ] as const) {
    t.equal((await server.run(`conn.${word}`)).code, 0, word)
    t.equal(await mode(), said)
  }
})

test('conn: usage and bad input', async (t) => {
  const { server } = await boot('conn')
  const [help, bare, command, nonsense] = await Promise.all([
    server.ask('conn.help'),
    server.run('conn'),
    server.run('conn.remember', '--help'),
    server.run('conn.connect', 'nonsense'),
  ])
  t.deepEqual(Object.keys((help as Help).commands), bare.stdout.trim().split('|'))
  for (const name of [
    'connect',
    'disconnect',
    'remember',
    'forget',
    'dbPeers',
    'peers',
    'stagedPeers',
    'start',
    'stop',
  ])
    t.ok(name in (help as Help).commands, name)
  t.match(command.stdout, /^conn\.remember .*# /)
  t.equal(nonsense.code, 1)
  t.match(nonsense.stderr, /nonsense/)
})
