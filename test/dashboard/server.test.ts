/** The live page over HTTP on real stacks: who is let in, what each attack meets, what the page is told and what it can do. */
import { subscribe } from 'diagnostics_channel'
import { existsSync } from 'fs'
import { createServer, type Socket } from 'net'
import { networkInterfaces } from 'os'
import { join } from 'path'

import test = require('tape')

import dashboard = require('../../src/dashboard')
import Manager = require('../../src/index')

import { mountedOn } from '../../src/adapters/mount'
import type { Answer, ExplainAnswer, Hello, HistoryEntry, PeerRow } from '../../src/dashboard/protocol'
import type { DashboardStatus } from '../../src/dashboard/service'
import { eventually } from '../support/eventually'
import { type Ask, enterPage, exchange, openEvents, type PageSession, type Reply, request } from '../support/http'
import { person } from '../support/manager'
import {
  ask,
  bootClient,
  bootStack,
  bootStranger,
  closeAll,
  databasePlugins,
  findFreePort,
  follow,
  publish,
  STACK_VERSIONS,
  type Stack,
  type StackOptions,
} from '../support/stack'

type Api = Pick<Manager.ConnectionManager, 'peer' | 'connections' | 'initialSync'>
const api = (stack: Stack): Api => stack.ssb.connectionManager as Api
const page = (stack: Stack) => stack.ssb.dashboard as unknown as dashboard.Api
const boot = (options: Partial<StackOptions> & Pick<StackOptions, 'version'>): Promise<Stack> =>
  bootStack({ ownPlugins: [Manager, dashboard], ...options })
const serving = (options: Partial<StackOptions> & Pick<StackOptions, 'version'>, section: object = {}) =>
  silently(async () => {
    const stack = await boot({
      ...options,
      config: { dashboard: { enabled: true, port: 0, ...section }, ...options.config },
    })
    await eventually(() => page(stack).status().isServing, { message: 'it serves' })
    return stack
  })

/** What is printed meanwhile is kept; tape prints as well, so that nothing may be asserted in between. */
const printed: string[] = []
async function silently<T>(fn: () => Promise<T>): Promise<T> {
  const { log, error } = console
  console.log = (...args: unknown[]) => void printed.push(args.join(' '))
  console.error = (...args: unknown[]) => void printed.push(args.join(' '))
  try {
    return await fn()
  } finally {
    console.log = log
    console.error = error
  }
}

const portOf = (stack: Stack): number => Number(new URL(page(stack).status().address ?? '').port)

/** What this process has written to connections of a port, and the system has not taken. */
const accepted = new Set<Socket>()
subscribe('net.server.socket', (message) => accepted.add((message as { socket: Socket }).socket))
const waitingBytes = (port: number): number =>
  [...accepted].reduce((sum, socket) => sum + (socket.localPort === port ? socket.writableLength : 0), 0)

const enter = async (stack: Stack): Promise<PageSession> => enterPage(await page(stack).url())

interface Browser extends PageSession {
  readonly port: number
  readonly session: PageSession
  readonly origin: string
  get(path: string, headers?: Ask['headers']): Promise<Reply>
  post(path: string, value: unknown, more?: Ask): Promise<Reply>
  act(act: object): Promise<Answer>
}

/** As a browser does it that shows the page. */
async function browser(stack: Stack): Promise<Browser> {
  const port = portOf(stack)
  const session = await enter(stack)
  const { cookie, key } = session
  const origin = `http://127.0.0.1:${port}`
  const post: Browser['post'] = (path, value, more = {}) =>
    request(port, {
      method: 'POST',
      path,
      body: typeof value === 'string' ? value : JSON.stringify(value),
      ...more,
      headers: {
        Cookie: cookie,
        Origin: origin,
        'Sec-Fetch-Site': 'same-origin',
        'Content-Type': 'application/json',
        'X-Page-Key': key,
        ...more.headers,
      },
    })
  return {
    port,
    ...session,
    session,
    origin,
    get: (path, headers) => request(port, { path, headers: { Cookie: cookie, ...headers } }),
    post,
    act: async (act) => {
      const reply = await post('/act', act)
      if (reply.status !== 200) throw new Error(reply.raw)
      return JSON.parse(reply.body) as Answer
    },
  }
}

const codeOf = (reply: Reply): string => (JSON.parse(reply.body) as { error: { code: string } }).error.code
const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })

test('a config that is not right, or would let others in, is an error with a code', (t) => {
  for (const section of [
    { host: '0.0.0.0' },
    { host: '192.168.1.5' },
    { host: '::' },
    { port: 80 },
    { port: 'x' },
    { port: 65_536 },
    { enabled: 'yes' },
    { prot: 8990 },
    { metricsToken: 'short' },
    'on',
    null,
  ])
    t.throws(
      () => dashboard.init({ id: '@', connect: () => {} }, { dashboard: section }),
      { code: 'ERR_INVALID_ARGUMENT' },
      JSON.stringify(section),
    )
  const secret = `${'x'.repeat(30)} `
  t.throws(
    () => dashboard.init({ id: '@', connect: () => {} }, { dashboard: { metricsToken: secret } }),
    (error: Error) => !error.message.includes('xxx'),
    'an error does not tell a secret',
  )
  t.end()
})

for (const version of STACK_VERSIONS) {
  test(`secret-stack ${version}: off by default; the owner starts it, strangers cannot, and it ends with the sbot`, async (t) => {
    const port = await findFreePort()
    const alice = await boot({ version, name: 'alice', config: { dashboard: { port } } })
    const client = await bootClient(alice)
    t.ok(await isFree(port), 'no port is open')
    t.deepEqual(await client.ask('dashboard.status'), {
      isServing: false,
      address: null,
      readers: 0,
      tokens: 0,
      sessions: 0,
      history: { entries: 0, since: null },
      problem: null,
    })
    await client.ask('dashboard.url').then(
      () => t.fail('an address of nothing'),
      (error: Error) => t.match(error.message, /call dashboard\.start\(\)/),
    )
    const stranger = await bootStranger(alice)
    for (const method of ['url', 'start', 'stop', 'status'])
      await stranger.ask(`dashboard.${method}`).then(
        () => t.fail(`a stranger called ${method}`),
        (error: Error) => t.match(error.message, /not in list of allowed methods|no permission|not allowed/i, method),
      )
    await stranger.close()

    const started = (await client.ask('dashboard.start')) as DashboardStatus
    t.equal(started.address, `http://127.0.0.1:${port}/`)
    const url = (await client.ask('dashboard.url')) as string
    t.match(url, new RegExp(`^http://127\\.0\\.0\\.1:${port}/\\?token=[\\w-]{32}$`))
    const { cookie, session } = await browser(alice)
    const reader = openEvents(port, session)
    await eventually(() => reader.of('synced').length === 1)
    t.equal((reader.of('hello')[0] as Hello).selfId, alice.id)
    t.equal(((await client.ask('dashboard.stop')) as DashboardStatus).isServing, false)
    await eventually(() => reader.isClosed)
    t.equal(reader.of('bye').length, 1, 'who looked is told')
    t.ok(await isFree(port), 'the port is free again')

    await client.ask('dashboard.start')
    t.equal((await request(port, { headers: { Cookie: cookie } })).status, 403, 'sessions end with it')
    const again = openEvents(port, await enter(alice))
    await eventually(() => again.of('synced').length === 1)
    await client.close()
    await alice.close()
    await eventually(() => again.isClosed)
    t.equal(again.of('bye').length, 1)
    await eventually(() => isFree(port), { message: 'closed with the sbot' })
    await page(alice)
      .start()
      .then(
        () => t.fail('started after the end'),
        (error: { code: string }) => t.equal(error.code, 'ERR_CLOSED'),
      )
  })

  test(`secret-stack ${version}: enabled, it prints its address once; what is wrong is said, and the sbot goes on`, async (t) => {
    const port = await findFreePort()
    const before = printed.length
    const alice = await serving({ version, name: 'alice' }, { port })
    t.deepEqual(
      printed.slice(before).map((line) => line.replace(/token=[\w-]{32}$/, 'token=…')),
      [`dashboard: http://127.0.0.1:${port}/?token=…`],
    )
    const url = new URL((printed[before] ?? '').slice('dashboard: '.length))
    t.equal((await request(port, { path: `/${url.search}` })).status, 303, 'and it opens')
    const mark = printed.length
    const [atBob, mode, atCarol] = await silently(async () => {
      const bob = await boot({ version, name: 'bob', config: { dashboard: { enabled: true, port } } })
      const problem = await eventually(() => page(bob).status().problem, { message: 'bob has noticed' })
      const { mode } = api(bob).connections.status()
      await bob.close()
      const config = { dashboard: { enabled: true } }
      const carol = await boot({ version, name: 'carol', ownPlugins: [dashboard], config })
      const missing = await eventually(() => page(carol).status().problem, { message: 'carol has noticed' })
      await carol.close()
      return [problem, mode, missing] as const
    })
    t.match(atBob, /cannot be served on 127\.0\.0\.1:\d+: the port is in use/)
    t.equal(mode, 'off', 'bob is there all the same')
    t.match(atCarol, /needs the connection manager/)
    const said = printed.slice(mark).filter((line) => line.startsWith('sbot-connection-manager: '))
    t.equal(said.filter((line) => line.includes('is in use')).length, 1, 'said aloud')
    t.equal(said.filter((line) => line.includes('needs the connection manager')).length, 1)
    await alice.close()
  })
}

/** One for all the attacks, which change nothing. */
const target = (() => {
  const booting = async () => {
    const alice = await serving({ version: 6, name: 'alice' })
    const port = portOf(alice)
    const token = async (): Promise<string> => new URL(await page(alice).url()).search
    return { alice, token, own: `127.0.0.1:${port}`, ...(await browser(alice)) }
  }
  let made: ReturnType<typeof booting> | null = null
  return () => {
    made ??= booting()
    return made
  }
})()

test('tokens', async (t) => {
  const { port, token, get } = await target()
  t.equal((await request(port)).status, 403, 'none')
  const asked = await request(port, { headers: { Accept: 'text/html,*/*' } })
  t.equal(asked.status, 403)
  t.match(asked.body, /sbot-connections dashboard/, 'a person is told what to do')
  t.equal((await request(port, { path: `/?token=${'A'.repeat(32)}` })).status, 403, 'a wrong one')
  const good = await token()
  t.equal((await request(port, { method: 'HEAD', path: `/${good}` })).status, 403, 'a look does not use it up')
  t.equal(
    (await request(port, { path: `/${good}`, headers: { 'Sec-Purpose': 'prefetch;prerender' } })).status,
    403,
    'nor does a browser that looks ahead',
  )
  const reply = await request(port, { path: `/${good}` })
  t.equal(reply.status, 303)
  t.match(reply.headers.location ?? '', /^\/#key=[\w-]{32}$/, 'the key of the session is not in what others are sent')
  t.match(
    reply.headers['set-cookie'] ?? '',
    new RegExp(`^dashboard_${port}=[\\w-]{32}; Path=/; HttpOnly; SameSite=Strict; Max-Age=\\d+$`),
  )
  t.equal((await request(port, { path: `/${good}` })).status, 403, 'used')
  t.equal((await get(`/${good}`)).status, 303, 'but whoever is in stays in')
  const many = await Promise.all(Array.from({ length: 40 }, token))
  t.equal((await request(port, { path: `/${many[0]}` })).status, 403, 'the oldest of many')
  t.equal((await request(port, { path: `/${many[39]}` })).status, 303, 'the newest')
  const link = { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' }
  const followed = await request(port, { path: `/${await token()}`, headers: link })
  t.equal(followed.status, 200, 'a link from elsewhere')
  t.match(
    followed.body,
    /http-equiv="refresh" content="0; url=\/#key=[\w-]{32}"/,
    'goes on from here, so that the cookie is sent',
  )
})

test('other names, other pages', async (t) => {
  const { port, token, own, cookie, key, origin, get, post } = await target()
  for (const host of ['evil.example', `evil.example:${port}`, '127.0.0.1', `127.0.0.1:${port + 1}`, '']) {
    t.equal((await get('/', { Host: host })).status, 403, `Host: ${host}`)
    t.equal((await request(port, { path: `/${await token()}`, headers: { Host: host } })).status, 403, 'with a token')
  }
  const twice = `GET / HTTP/1.1\r\nHost: ${own}\r\nHost: evil.example\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`
  t.notOk((await exchange(port, twice)).includes(' 200 '), 'two hosts')
  const absolute = `GET http://evil.example/main.js HTTP/1.1\r\nHost: ${own}\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`
  t.match(await exchange(port, absolute), /^HTTP\/1\.1 404 /, 'the address of another server')
  t.equal((await get('/', { Host: `localhost:${port}` })).status, 200)
  for (const foreign of ['http://evil.example', `http://localhost:${port}`, 'null', `${origin}.evil.example`]) {
    t.equal((await get(`/events?key=${key}`, { Origin: foreign })).status, 403, `Origin: ${foreign}`)
    t.equal((await post('/act', { action: 'stop' }, { headers: { Origin: foreign } })).status, 403)
  }
  for (const site of ['cross-site', 'same-site']) {
    t.equal((await get(`/events?key=${key}`, { 'Sec-Fetch-Site': site })).status, 403, site)
    t.equal((await get('/main.js', { 'Sec-Fetch-Site': site })).status, 403)
    t.equal((await post('/act', { action: 'stop' }, { headers: { 'Sec-Fetch-Site': site } })).status, 403)
  }
  const preflight = await request(port, {
    method: 'OPTIONS',
    path: '/act',
    headers: { Cookie: cookie, Origin: 'http://evil.example' },
  })
  t.equal(preflight.status, 403)
  t.notOk(/access-control/i.test(preflight.raw), 'nobody else is invited')
})

test('what a form can send, and what is no request', async (t) => {
  const { alice, port, own, cookie, key, origin, get, post } = await target()
  const stop = { action: 'stop' }
  t.equal((await post('/act', stop, { headers: { Origin: null } })).status, 403, 'without an origin')
  t.equal((await post('/act', stop, { headers: { Cookie: null } })).status, 403, 'without a session')
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'text/json',
    '',
  ])
    t.equal((await post('/act', stop, { headers: { 'Content-Type': type } })).status, 415, type || 'no type')
  t.equal((await post('/act', `{"action":"${'x'.repeat(100_000)}"}`)).status, 413, 'too much')
  t.equal(
    (await post('/act', `{"action":"${'x'.repeat(20_000)}`, { headers: { 'Content-Length': '9000000000' } })).status,
    413,
    'more than that is announced',
  )
  const chunked = `POST /act HTTP/1.1\r\nHost: ${own}\r\nCookie: ${cookie}\r\nX-Page-Key: ${key}\r\nOrigin: ${origin}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${`1000\r\n${'x'.repeat(4_096)}\r\n`.repeat(20)}`
  t.match(await exchange(port, chunked), /^HTTP\/1\.1 413 /, 'in pieces')
  for (const bad of ['', '{', '{"action":"stop"', 'stop', '\ufeff\ufeff{}', '{"action":"stop"}x'])
    t.equal((await post('/act', bad)).status, 400, JSON.stringify(bad))
  const latin = Buffer.concat([
    Buffer.from(
      `POST /act HTTP/1.1\r\nHost: ${own}\r\nCookie: ${cookie}\r\nX-Page-Key: ${key}\r\nOrigin: ${origin}\r\nContent-Type: application/json\r\nContent-Length: 22\r\nConnection: close\r\n\r\n{"action":"stop","x":"`,
    ),
    Buffer.from([0xff]),
  ])
  t.match(await exchange(port, latin.subarray(0, -1)), /^HTTP\/1\.1 400 /, 'cut off')
  t.equal(codeOf(await post('/act', '{"__proto__":{"action":"stop"}}')), 'ERR_UNKNOWN_ACTION')
  t.equal(codeOf(await post('/act', '{"action":"stop","__proto__":{}}')), 'ERR_INVALID_ARGUMENT')
  t.equal(codeOf(await post('/act', { action: 'eval' })), 'ERR_UNKNOWN_ACTION')
  t.equal(codeOf(await post('/explain', { targets: Array(101).fill(alice.id) })), 'ERR_INVALID_ARGUMENT')
  t.equal((await post('/explain', { targets: [alice.id] })).status, 200)
  for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND']) {
    const reply = await request(port, {
      method,
      path: '/act',
      headers: { Cookie: cookie, 'X-Page-Key': key, Origin: origin },
    })
    t.equal(reply.status, 405, method)
    t.equal(reply.headers.allow, 'POST')
  }
  t.equal((await get('/act', { 'X-Page-Key': key })).status, 405, 'GET')
  t.equal((await post(`/events?key=${key}`, {})).status, 405)
  t.equal((await post('/', {})).status, 405)
  t.match(await exchange(port, 'nonsense\r\n\r\n'), /^HTTP\/1\.1 400 /)
  t.match(
    await exchange(port, `GET / HTTP/1.1\r\nHost: ${own}\r\nCookie: ${'x'.repeat(20_000)}\r\n\r\n`),
    /^HTTP\/1\.1 (400|431) /,
    'a head without end',
  )
})

test('what is not in the list is not there', async (t) => {
  const { get } = await target()
  for (const path of [
    '/../package.json',
    '/..%2f..%2fpackage.json',
    '/%2e%2e/%2e%2e/package.json',
    '/main.js/../../../package.json',
    '/main.js%00.css',
    '//main.js',
    '/MAIN.JS',
    '/main.tsx',
    '/constructor',
    '/__proto__',
    '/toString',
    '/index.html',
    '/\\main.js',
    '*',
  ])
    t.equal((await get(path)).status, 404, path)
  const injected = await get('/?token=%0d%0aSet-Cookie:%20a=b&x=%0d%0a')
  t.equal(injected.status, 303)
  t.notOk(/a=b/.test(injected.raw), 'no header of theirs')
})

test('what every answer says', async (t) => {
  const { port, token, get, post } = await target()
  const replies = [
    await get('/'),
    await get('/nothing'),
    await request(port, { headers: { Accept: 'text/html' } }),
    await post('/explain', { targets: [] }),
    await request(port, { path: `/${await token()}` }),
  ]
  for (const { headers, status } of replies) {
    t.equal(
      headers['content-security-policy'],
      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      `${status}`,
    )
    t.equal(headers['x-content-type-options'], 'nosniff')
    t.equal(headers['x-frame-options'], 'DENY')
    t.equal(headers['referrer-policy'], 'no-referrer')
    t.equal(headers['cross-origin-opener-policy'], 'same-origin')
    t.equal(headers['cross-origin-resource-policy'], 'same-origin')
    t.equal(headers['cache-control'], 'no-store')
  }
  const { body } = await get('/')
  t.match(body, /<script type="module" src="\/main\.js"><\/script>/)
  t.match(body, /<noscript>/)
  t.notOk(/<script(?![^>]*src=)|<style|style=|\son\w+=/.test(body), 'nothing that the policy forbids')
})

test('after all that it stands, nothing was done, and nobody hears of it elsewhere', async (t) => {
  const { alice, port } = await target()
  t.ok(
    (api(alice).connections.status() as { mode: string }).mode === 'off' && page(alice).status().isServing,
    'it stands, and nothing was done',
  )
  const others = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).filter(({ internal }) => !internal))
  for (const { address } of others.filter(({ family }) => family === 'IPv4'))
    await exchange(port, 'GET / HTTP/1.1\r\n\r\n', address).then(
      () => t.fail(`it listens on ${address}`),
      (error: { code: string }) => t.equal(error.code, 'ECONNREFUSED', 'not on other interfaces'),
    )
  await alice.close()
})

test('the files of the page are served as built, and a page that is not built says so', async (t) => {
  const alice = await serving({ version: 6, name: 'alice' })
  const { get } = await browser(alice)
  for (const [name, type] of [
    ['main.js', 'text/javascript; charset=utf-8'],
    ['main.css', 'text/css; charset=utf-8'],
  ] as const) {
    const isBuilt = existsSync(join(__dirname, '..', '..', 'lib', 'dashboard', 'page', name))
    const { status, headers, body } = await get(`/${name}`)
    t.equal(status, isBuilt ? 200 : 503, name)
    t.equal(headers['content-type'], isBuilt ? type : 'text/html; charset=utf-8')
    t.ok(isBuilt ? body.length > 0 : body.includes('npm run build'))
  }
  await alice.close()
})

test('too many pages, and a reader that does not read, are held off; the rest is served', async (t) => {
  const alice = await serving({ version: 6, name: 'alice' })
  const { port, session, get } = await browser(alice)
  const readers = Array.from({ length: 8 }, () => openEvents(port, session))
  await eventually(() => readers.every((reader) => reader.of('synced').length === 1))
  const reply = await get(`/events?key=${session.key}`)
  t.equal(reply.status, 503)
  t.equal(codeOf(reply), 'ERR_TOO_MANY_READERS')
  t.equal((await get('/')).status, 200, 'the rest goes on')
  readers[0]?.close()
  await eventually(() => page(alice).status().readers === 7, { message: 'a place is free' })
  const late = openEvents(port, session)
  await eventually(() => late.of('synced').length === 1, { message: 'for somebody else' })
  for (const reader of [...readers, late]) reader.close()
  await eventually(() => page(alice).status().readers === 0, { message: 'all have gone' })
  await alice.close()
})

test('10 000 routes come over a socket, also to a reader who stops in the middle, and wait nowhere in memory', async (t) => {
  const alice = await serving({ version: 6, name: 'alice' })
  const internal = mountedOn(alice.ssb)?.manager.internal
  const people = Array.from({ length: 10_000 }, (_, i) => person(`${i}`.padStart(32, 'p')))
  internal?.report(
    people.map(({ address, id: peer }, i) => ({
      route: { address, peer, protocol: 'net', host: `h${i}.example`, port: 8008, portal: null, scope: 'name' },
      isLocal: false,
      source: 'manual',
    })),
  )
  const { port, session } = await browser(alice)
  const reader = openEvents(port, session)
  await eventually(() => reader.of('peers').length > 0)
  reader.pause()
  const isStuck = (): boolean => waitingBytes(port) > 0
  await eventually(isStuck, { message: 'the server has more than the socket takes' })
  for (let round = 0; round < 20; round++)
    for (const { id } of people.slice(0, 100))
      api(alice).peer.setPriority({ id, priority: round % 2 === 0 ? 'HIGH' : 'LOW' })
  t.ok(waitingBytes(port) < 2_000_000, 'one event waits, not the rest')
  reader.resume()
  await eventually(() => reader.of('synced').length === 1, { message: 'all of it', timeoutMs: 20_000 })
  const rows = () => (reader.of('peers') as PeerRow[][]).flat()
  await eventually(() => rows().filter(({ priority }) => priority === 'LOW').length >= 100, { message: 'as it is now' })
  t.equal(new Set(rows().map(({ id }) => id)).size, 10_000)
  t.ok(rows().length <= 10_000 + 300, `${rows().length} rows: of what has changed twenty times, the last is told`)
  reader.close()
  await alice.close()
})

test('the page sees on real sbots what happens, and each action does what it says', async (t) => {
  const names = new Map<string, string>()
  const full = {
    version: 8,
    plugins: [...databasePlugins()],
    ownPlugins: [Manager, require('../../src/replication-scheduler'), dashboard],
  } as const
  const [alice, bob, carol] = await Promise.all([
    serving({ ...full, name: 'alice' }, { metricsToken: 'a-token-for-the-scraper' }),
    bootStack({ ...full, name: 'bob' }),
    bootStack({ version: 8, name: 'carol', ownPlugins: [Manager] }),
  ])
  page(alice).addNames((id) => names.get(id))
  const { port, session, act, post, get } = await browser(alice)
  const reader = openEvents(port, session)
  await eventually(() => reader.of('synced').length === 1)
  const hello = reader.of('hello')[0] as Hello
  t.deepEqual(hello.has, { friends: true, replication: true })
  const rows = (): Map<string, PeerRow> =>
    new Map((reader.of('peers') as PeerRow[][]).flat().map((row) => [row.id, row] as const))
  const isUp = (stack: Stack) => rows().get(stack.id)?.connection.status === 'connected'

  t.deepEqual(await act({ action: 'addRoute', address: bob.address }), { ok: true, result: true })
  t.deepEqual(await act({ action: 'addRoute', address: bob.address }), { ok: true, result: false }, 'known already')
  await eventually(() => rows().get(bob.id)?.routes[0]?.address === bob.address)
  await act({ action: 'start' })
  await eventually(() => isUp(bob), { message: 'bob is dialed' })
  t.equal(rows().get(bob.id)?.cause, 'schedule')
  await follow(alice, bob.id)
  await eventually(() => rows().get(bob.id)?.hops === 1, { message: 'followed', timeoutMs: 10_000 })
  await publish(bob, { type: 'post', text: 'what nobody but the database shall see' })
  await eventually(
    () =>
      (reader.of('feeds') as { id: string; have: number }[][])
        .flat()
        .some(({ id, have }) => id === bob.id && have === 1),
    { message: 'the message arrives', timeoutMs: 15_000 },
  )

  t.deepEqual(await act({ action: 'connect', target: carol.address, isLongTerm: true }), { ok: true, result: true })
  await eventually(() => isUp(carol) && rows().get(carol.id)?.isLongTerm, { message: 'carol, for long' })
  await act({ action: 'setLongTerm', target: carol.id, isLongTerm: false })
  await act({ action: 'disconnect', target: carol.id })
  await eventually(() => rows().get(carol.id)?.connection.status === 'idle' && !rows().get(carol.id)?.isLongTerm)
  const why = JSON.parse((await post('/explain', { targets: [carol.id, bob.id] })).body) as ExplainAnswer
  t.deepEqual(
    why.map((each) => each?.connected),
    [false, true],
  )
  await act({ action: 'setPriority', target: carol.id, priority: 'BANNED' })
  await eventually(() => rows().get(carol.id)?.priority === 'BANNED')
  t.equal(api(alice).peer.get(carol.id)?.prioritisedBy, 'user')
  const refused = await act({ action: 'connect', target: carol.id })
  t.equal(refused.ok ? '' : refused.error.code, 'ERR_BANNED')
  await act({ action: 'setPriority', target: carol.id, priority: 'AUTO' })
  await act({ action: 'removeRoute', address: carol.address })
  await eventually(() => (reader.of('gone') as string[][]).flat().includes(carol.id), { message: 'carol is forgotten' })
  await act({ action: 'setMax', max: { net: 2 } })
  t.equal(api(alice).connections.status().classes.net?.max, 2)
  await act({ action: 'syncStart', target: bob.id })
  await eventually(() => (reader.of('sync') as { phase: string }[]).some(({ phase }) => phase === 'syncing'))
  await act({ action: 'syncStop' })
  await eventually(() => (reader.of('sync') as { phase: string }[]).pop()?.phase !== 'syncing')
  await act({ action: 'stop' })
  await eventually(() => !isUp(bob), { message: 'all are hung up on' })
  const ends = (reader.of('history') as HistoryEntry[][])
    .flat()
    .flatMap((entry) => (entry.kind === 'connection' ? [entry] : []))
  t.ok(
    ends.some(({ peer, ended }) => peer === carol.id && ended === 'disconnected'),
    'and the timeline says why',
  )

  const evil = '"><script>alert(1)</script>\r\n\r\nevent: bye\ndata: {}\n\n'
  names.set(bob.id, evil)
  await act({ action: 'setPriority', target: bob.id, priority: 'LOW' })
  await eventually(() => rows().get(bob.id)?.name?.startsWith('"><script>'), { message: 'the name is known' })
  t.equal(reader.of('bye').length, 0, 'a name is a name')

  const metrics = await get('/metrics')
  const scraped = await request(port, {
    path: '/metrics',
    headers: { Authorization: 'Bearer a-token-for-the-scraper' },
  })
  t.equal(scraped.status, metrics.status, 'the scraper is let in')
  t.ok([200, 404].includes(metrics.status))
  for (const wrong of ['Bearer a-token-for-the-scrapeR', 'a-token-for-the-scraper', 'Basic x', 'Bearer '])
    t.equal((await request(port, { path: '/metrics', headers: { Authorization: wrong } })).status, 403, wrong)
  t.equal(
    (await request(port, { path: '/', headers: { Authorization: 'Bearer a-token-for-the-scraper' } })).status,
    403,
    'to the figures only',
  )

  const all = [reader.raw, metrics.raw, (await get('/')).raw, JSON.stringify(why)].join('')
  t.notOk(all.includes(alice.keys.private.replace('.ed25519', '')), 'no secret key')
  t.notOk(all.includes('what nobody but'), 'nothing of what messages say')
  t.notOk(all.includes(session.cookie.split('=')[1] ?? '') || all.includes(session.key), 'no session')
  reader.close()
  await eventually(() => page(alice).status().readers === 0)
  await closeAll(alice, bob, carol)
})

test('a manager that is read from the disk later is the same manager', async (t) => {
  const alice = await serving({ version: 6, name: 'alice', ownPlugins: [dashboard, Manager] })
  t.ok(mountedOn(alice.ssb), 'loaded after the page')
  t.equal((await (await browser(alice)).get('/')).status, 200)
  await ask(alice.ssb, 'dashboard.stop')
  await alice.close()
})
