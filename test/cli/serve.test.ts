/** `serve` in processes of its own: a pub and a client on loopback, under a network key that nobody else has. */
import { type ChildProcess, spawn, spawnSync } from 'child_process'
import { randomBytes } from 'crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import { CliError, type RemoteSbot } from '../../src/cli/cli'
import { connectSbot } from '../../src/cli/sbot'
import { loadAll, makeConfig, modulesFor, prepareFolder, type ServeOptions, wantsPage } from '../../src/cli/serve'
import { type Json, MAIN_NETWORK, readSettings } from '../../src/cli/settings'
import { systemClock } from '../../src/shell/clock'
import { eventually, withTimeout } from '../support/eventually'
import { findFreePort } from '../support/stack'

const ROOT = join(__dirname, '..', '..')
const COMMAND = ['--require', 'tsx/cjs', join(ROOT, 'src', 'cli', 'main.ts')]
const SHS = randomBytes(32).toString('base64')

const root = mkdtempSync(join(tmpdir(), 'sbot-connection-manager-serve-'))
process.prependListener('exit', () => rmSync(root, { recursive: true, force: true, maxRetries: 5 }))
/** Whoever runs the tests may have an sbot and a config. */
const env = { ...process.env, HOME: root, ssb_appname: 'ssb' }
const folder = (name: string): string => join(root, name)

function codeOf(fn: () => unknown): {
  readonly code: string
  readonly message: string
  readonly remedy: string | null
} {
  try {
    fn()
  } catch (error) {
    if (error instanceof CliError) return error
    throw error
  }
  return { code: 'none', message: '', remedy: null }
}

// ---- packages ----------------------------------------------------------------------------------------------------------

test('packages that are missing are named in one error, with the one command that installs them', (t) => {
  const present = ['secret-stack', 'ssb-keys', 'ssb-master']
  const load = (name: string): unknown => {
    if (present.includes(name)) return {}
    throw Object.assign(new Error(`Cannot find module '${name}'\nRequire stack:\n- here`), { code: 'MODULE_NOT_FOUND' })
  }
  const { code, message, remedy } = codeOf(() => loadAll(modulesFor({ hasLan: false }), load))
  t.equal(code, 'ERR_MISSING_PACKAGES')
  t.ok(message.endsWith('ssb-db2, ssb-classic, ssb-box, ssb-ebt, ssb-friends, ssb-room-client, ssb-invite'), message)
  t.equal(
    remedy,
    'Install them: npm install ssb-db2@8 ssb-classic@1 ssb-box@1 ssb-ebt@9 ssb-friends@5 ssb-room-client@2 ssb-invite@3',
  )
  t.ok(codeOf(() => loadAll(modulesFor({ hasLan: true }), load)).message.includes('ssb-lan'))
  t.end()
})

test('a package that is there and broken is not called missing', (t) => {
  const load = (name: string): unknown => {
    if (name !== 'ssb-ebt') return {}
    throw Object.assign(new Error("Cannot find module 'epidemic-broadcast-trees'"), { code: 'MODULE_NOT_FOUND' })
  }
  const { code, message } = codeOf(() => loadAll(modulesFor({ hasLan: true }), load))
  t.equal(code, 'ERR_BROKEN_PACKAGE')
  t.ok(message.includes('ssb-ebt') && message.includes('epidemic-broadcast-trees'), message)
  t.end()
})

test('all modules that serve loads are those of the development dependencies', (t) => {
  const { devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    devDependencies: Record<string, string>
  }
  const load = (name: string): unknown => {
    throw Object.assign(new Error(`Cannot find module '${name}'`), { code: 'MODULE_NOT_FOUND' })
  }
  const remedy = codeOf(() => loadAll(modulesFor({ hasLan: true }), load)).remedy ?? ''
  for (const [, name = '', major] of remedy.matchAll(/(\S+)@(\d+)/g))
    t.ok(devDependencies[name]?.startsWith(`^${major}.`), `${name}@${major} is what the tests run with`)
  t.equal([...remedy.matchAll(/@\d+/g)].length, 11)
  t.end()
})

// ---- config ------------------------------------------------------------------------------------------------------------

const OPTIONS: ServeOptions = {
  path: '/pub',
  port: null,
  host: null,
  listen: null,
  shs: null,
  isPub: false,
  hasLan: true,
  page: null,
}

interface Made {
  readonly port: number
  readonly caps: Json
  readonly connections: { readonly incoming: { readonly net: readonly Json[] } & Json; readonly outgoing: Json }
  readonly [key: string]: unknown
}

test('the config is that of the files, what was said on the command line counting more', (t) => {
  const make = (layers: readonly Json[], options: Partial<ServeOptions> = {}): Made =>
    makeConfig(layers, { ...OPTIONS, ...options }) as unknown as Made
  const netOf = (made: Made): Json => made.connections.incoming.net[0] ?? {}
  const bare = make([])
  t.deepEqual(netOf(bare), { scope: ['device', 'local', 'public'], port: 8008, transform: 'shs' }, 'on all addresses')
  t.deepEqual(bare.caps, { shs: MAIN_NETWORK })
  t.equal(netOf(make([], { hasLan: false })).host, '127.0.0.1', 'whom nobody is to find listens to nobody else')
  t.equal(netOf(make([], { hasLan: false, isPub: true, host: 'pub.example' })).host, undefined)

  const said = make([{ port: 1 }, { port: 2, caps: { shs: SHS }, friends: { hops: 1 } }])
  t.equal(netOf(said).port, 1, 'the first layer counts most')
  t.deepEqual([said.caps, said.friends], [{ shs: SHS }, { hops: 1 }])
  t.equal(netOf(make([{ port: 1 }], { port: 5 })).port, 5)

  const net = [{ scope: 'public', host: '1.2.3.4', external: 'pub.example', port: 7, transform: 'shs' }]
  const file = { connections: { incoming: { net, ws: [{ port: 9 }] } } }
  t.deepEqual(make([file]).connections.incoming.net, net, 'untouched')
  t.deepEqual(make([file]).connections.incoming.ws, [{ port: 9 }])
  const moved = netOf(make([file], { port: 8 }))
  t.deepEqual([moved.port, moved.host, moved.external], [8, '1.2.3.4', 'pub.example'])

  // It is started apart from the sbot, so that its address is printed with the rest.
  t.deepEqual(make([{ dashboard: { enabled: true, port: 80 } }]).dashboard, { enabled: false, port: 80 })
  t.deepEqual(make([{ dashboard: { port: 80 } }], { page: 90 }).dashboard, { enabled: false, port: 90 })
  t.deepEqual(make([{ conn: { hops: 3 } }], { hasLan: false }).conn, { hops: 3, lan: false })
  t.equal(codeOf(() => make([], { shs: 'abc' })).code, 'ERR_USAGE')
  t.equal(({} as { polluted?: unknown }).polluted, undefined)
  make([JSON.parse('{"__proto__": {"polluted": 1}}') as Json])
  t.equal(({} as { polluted?: unknown }).polluted, undefined, 'a config cannot touch the prototype')
  t.end()
})

test('the live page is served if an option or the config says so', (t) => {
  const wants = (layers: readonly Json[], page: ServeOptions['page']): boolean =>
    wantsPage(layers, { ...OPTIONS, page })
  t.deepEqual(
    [wants([], null), wants([], 'default'), wants([{ dashboard: { enabled: true } }], null)],
    [false, true, true],
  )
  t.equal(wants([{ dashboard: { enabled: false } }, { dashboard: { enabled: true } }], null), false)
  t.end()
})

test('a folder with a database of another kind is left alone', (t) => {
  const path = folder('patchwork')
  mkdirSync(join(path, 'flume'), { recursive: true })
  t.equal(codeOf(() => prepareFolder(path, () => {})).code, 'ERR_OTHER_DATABASE')
  const notes: string[] = []
  prepareFolder(folder('new'), (text) => notes.push(text))
  prepareFolder(folder('new'), (text) => notes.push(text))
  t.equal(notes.length, 1, 'it says once that it made the folder')
  t.end()
})

// ---- real ones ---------------------------------------------------------------------------------------------------------

interface Served {
  readonly child: ChildProcess
  /** The line that it prints at the start. */
  readonly told: {
    readonly id: string
    readonly address: string
    readonly path: string
    readonly invite?: string
    readonly page?: string
    readonly ask: string
  }
  readonly notes: () => string
  end(): Promise<number | null>
}

async function startServe(args: readonly string[]): Promise<Served> {
  const child = spawn(process.execPath, [...COMMAND, 'serve', '--json', '--no-lan', ...args], { cwd: ROOT, env })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const exited = new Promise<number | null>((resolve) => {
    child.once('exit', resolve)
  })
  const end = (): Promise<number | null> => {
    child.kill('SIGTERM')
    return withTimeout(exited, 20_000, 'serve ends')
  }
  try {
    const line = await eventually(
      () => {
        if (child.exitCode !== null) throw new Error(stderr)
        return stdout.includes('\n') && stdout.split('\n')[0]
      },
      { timeoutMs: 60_000, everyMs: 50, message: () => `serve says that it runs; stderr: ${stderr}` },
    )
    return { child, told: JSON.parse(line) as Served['told'], notes: () => stderr, end }
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
}

function run(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [...COMMAND, ...args], { cwd: ROOT, env, encoding: 'utf8', timeout: 60_000 })
}

function reach(path: string): Promise<RemoteSbot> {
  const settings = readSettings({ path, env: {}, home: root, cwd: root })
  return connectSbot({ settings, clock: systemClock, timeoutMs: 20_000, interrupted: new Promise(() => {}) })
}

test('a pub and a client meet by an invite and replicate each other', async (t) => {
  const [pubPort, clientPort] = [await findFreePort(), await findFreePort()]
  const running: Served[] = []
  const open: RemoteSbot[] = []
  try {
    const at = (path: string, port: number): string[] => ['--path', path, '--port', String(port), '--shs', SHS]
    const [pub, client] = await Promise.all([
      startServe([
        ...at(folder('pub'), pubPort),
        '--pub',
        '--host',
        'localhost',
        '--listen',
        '127.0.0.1',
        '--invite',
        '2',
      ]),
      startServe([...at(folder('client'), clientPort), '--dashboard', String(await findFreePort())]),
    ])
    running.push(pub, client)

    // ---- what it says and writes ----
    t.equal(pub.told.address, `net:localhost:${pubPort}~shs:${pub.told.id.slice(1, -8)}`)
    t.ok(pub.notes().includes('made a new identity'), pub.notes())
    t.equal(statSync(folder('pub')).mode & 0o077, 0, 'the folder is for nobody else')
    for (const name of ['secret', 'config'])
      t.equal(statSync(join(folder('pub'), name)).mode & 0o077, 0, `the file ${name} neither, wherever it lies`)
    const manifest = JSON.parse(readFileSync(join(folder('pub'), 'manifest.json'), 'utf8')) as Json
    t.ok(manifest.connectionManager && manifest.replicationScheduler && manifest.ebt, 'what old clients read')
    t.equal(pub.told.ask, `sbot-connections status --path ${folder('pub')}`)
    const status = run('status', '--json', '--path', folder('pub'))
    t.equal((JSON.parse(status.stdout) as { mode: string }).mode, 'on', 'it is found as it says, and dials')

    t.notOk(pub.told.page, 'no page that nobody asked for')
    const page = await fetch(client.told.page ?? '', { redirect: 'manual' })
    t.equal(page.status, 303, 'the address of the page lets in')

    // ---- the invite ----
    const accepted = run('accept', pub.told.invite ?? '', '--path', folder('client'))
    t.equal(accepted.status, 0, accepted.stderr)
    const [atPub, atClient] = await Promise.all([reach(folder('pub')), reach(folder('client'))])
    open.push(atPub, atClient)
    const say = async (sbot: RemoteSbot, text: string): Promise<string> =>
      ((await sbot.rpc.publish({ type: 'post', text })) as { key: string }).key
    const [ofPub, ofClient] = await Promise.all([say(atPub, 'welcome'), say(atClient, 'hello')])
    const reads = (sbot: RemoteSbot, key: string): Promise<unknown> =>
      eventually(() => sbot.rpc.db.get(key) as Promise<unknown>, {
        timeoutMs: 30_000,
        everyMs: 100,
        message: 'the message of the other',
      })
    t.ok(await reads(atClient, ofPub), 'the client reads the pub')
    t.ok(await reads(atPub, ofClient), 'the pub reads the client')

    // ---- another invite, by the command ----
    const invite = run('invite', '--uses', '3', '--path', folder('pub'))
    t.ok(invite.stdout.startsWith(`localhost:${pubPort}:${pub.told.id}~`), invite.stdout + invite.stderr)

    // ---- a second one on the same folder, or on the same port ----
    const second = run('serve', '--json', '--path', folder('pub'), '--port', String(await findFreePort()))
    t.deepEqual([second.status, JSON.parse(second.stderr).error.code], [1, 'ERR_SBOT_RUNS'])
    const third = run('serve', '--json', '--path', folder('third'), '--port', String(pubPort))
    t.deepEqual([third.status, JSON.parse(third.stderr).error.code], [1, 'ERR_PORT_IN_USE'])
    t.notOk(existsSync(folder('third')), 'nothing was made for it')
    const pagePort = new URL(client.told.page ?? '').port
    const fourth = run('serve', '--json', ...at(folder('fourth'), await findFreePort()), '--dashboard', pagePort)
    const { code: ofPage, remedy } = (
      JSON.parse(fourth.stderr.trim().split('\n').pop() ?? '') as { error: { code: string; remedy: string } }
    ).error
    t.deepEqual([fourth.status, ofPage], [1, 'ERR_LISTEN'], 'the port of the page is in use')
    t.match(remedy, /--dashboard PORT/, 'in words of the command line')

    // ---- the end ----
    await Promise.all(open.splice(0).map((sbot) => sbot.close()))
    t.deepEqual(await Promise.all([pub.end(), client.end()]), [0, 0], 'SIGTERM is a good end')
    running.length = 0
    const stored = readFileSync(join(folder('client'), 'connection-manager.json'), 'utf8')
    t.ok(stored.includes(pub.told.id.slice(1, -8)), 'the table is stored')

    // ---- again, without a word about where ----
    const again = await startServe(['--path', folder('client')])
    running.push(again)
    t.equal(again.told.id, client.told.id, 'the same one')
    t.ok(again.told.address.includes(`:${clientPort}~`), 'at the same place')
    t.notOk(again.notes().includes('made'), again.notes())
    t.equal(await again.end(), 0)
    running.length = 0
  } finally {
    await Promise.all(open.map((sbot) => sbot.close()))
    for (const each of running) each.child.kill('SIGKILL')
  }
  t.end()
})

test('a pub without a name is not started, and nothing is made for it', (t) => {
  const { status, stderr } = run('serve', '--pub', '--json', '--path', folder('nameless'))
  t.deepEqual([status, JSON.parse(stderr).error.code], [2, 'ERR_USAGE'])
  t.notOk(existsSync(folder('nameless')))
  t.end()
})

test('docs/serve.md lists the options that there are', (t) => {
  const doc = readFileSync(join(ROOT, 'docs', 'serve.md'), 'utf8')
  const [, part = ''] = doc.split('## Options')
  const listed = [...part.matchAll(/^\| `(--[a-z-]+)`/gm)].map(([, option]) => option)
  const help = run('serve', '--help').stdout
  const own = help.split(/^Global/m)[0] ?? ''
  const present = [...own.matchAll(/^ +(?:-\w, )?(--[a-z-]+)/gm)].map(([, option]) => option)
  t.deepEqual(
    [...listed].filter((option) => option !== '--path' && option !== '--json').sort(),
    present.filter((option) => option !== '--help').sort(),
  )
  t.end()
})
