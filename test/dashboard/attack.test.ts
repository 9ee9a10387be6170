/** Attacks on the live page's server: by programs on this machine, by what strangers wrote, by haste, and by our own faults. */
import { connect, type Socket } from 'net'

import test = require('tape')

import dashboard = require('../../src/dashboard')
import Manager = require('../../src/index')

import { startHistory } from '../../src/dashboard/history'
import { type ServerOptions, startServer } from '../../src/dashboard/http'
import { createLive, type Sink } from '../../src/dashboard/live'
import { plainText } from '../../src/dashboard/text'
import { systemClock } from '../../src/shell/clock'
import { eventually } from '../support/eventually'
import { type Ask, enterPage, openEvents, type PageSession, type Reply, request } from '../support/http'
import { alice, bench, bob } from '../support/manager'
import { bootStack, type Stack } from '../support/stack'

const page = (stack: Stack) => stack.ssb.dashboard as unknown as dashboard.Api

/** A server of a manager that is made up. */
const serve = (parts: Partial<ServerOptions> = {}) =>
  startServer({
    settings: { host: '127.0.0.1', port: 0, metricsToken: null },
    clock: systemClock,
    manager: {} as ServerOptions['manager'],
    live: { add: () => null, count: () => 0, namesChanged: () => {}, close: () => {} },
    metrics: () => null,
    log: () => {},
    ...parts,
  })

const post = (port: number, { cookie, key }: PageSession, path: string, value: unknown, more: Ask = {}) =>
  request(port, {
    method: 'POST',
    path,
    body: JSON.stringify(value),
    ...more,
    headers: {
      Cookie: cookie,
      Origin: `http://127.0.0.1:${port}`,
      'Content-Type': 'application/json',
      'X-Page-Key': key,
      ...more.headers,
    },
  })
const codeOf = ({ body }: Reply): string => (JSON.parse(body) as { error: { code: string } }).error.code

test('a server on another port, which the browser sends our cookie, can see nothing and do nothing with it', async (t) => {
  const explained: string[] = []
  const stopped: true[] = []
  const manager = {
    peer: { explain: (id: string) => explained.push(id) },
    connections: { stop: () => stopped.push(true) },
  }
  let readers = 0
  const live = {
    add: () => {
      readers++
      return null
    },
    count: () => 0,
    namesChanged: () => {},
    close: () => {},
  }
  const server = await serve({ manager: manager as never, live })
  const { port } = server
  const session = await enterPage(server.url())
  const other = await enterPage(server.url())
  for (const key of ['', 'A'.repeat(32), other.key, session.cookie.split('=')[1] ?? '']) {
    const stolen = { ...session, key }
    for (const [path, value] of [
      ['/act', { action: 'stop' }],
      ['/explain', { targets: ['x'] }],
    ] as const)
      t.equal(codeOf(await post(port, stolen, path, value)), 'ERR_KEY', `${path} with ${key || 'no key'}`)
    const events = await request(port, { path: `/events?key=${key}`, headers: { Cookie: session.cookie } })
    t.equal(codeOf(events), 'ERR_KEY', 'events')
  }
  t.equal(codeOf(await post(port, session, '/act?key=x', {}, { headers: { 'X-Page-Key': null } })), 'ERR_KEY')
  for (const path of ['/', '/main.js', '/?token=x', '/metrics', '/nothing']) {
    const { raw } = await request(port, { path, headers: { Cookie: session.cookie } })
    t.notOk(raw.includes(session.key), `the key is not to be had from ${path}`)
  }
  t.deepEqual([explained, stopped, readers], [[], [], 0], 'nothing came through')
  t.equal((await post(port, session, '/act', { action: 'stop' })).status, 200, 'with its key')
  t.deepEqual(stopped, [true])
  t.equal(
    codeOf(await request(port, { path: `/events?key=${session.key}`, headers: { Cookie: session.cookie } })),
    'ERR_TOO_MANY_READERS',
  )
  await server.close()
  t.end()
})

test('a fault of ours inside a request is an answer that tells nothing, and no end of the sbot', async (t) => {
  const logged: string[] = []
  const rejected: unknown[] = []
  const onRejected = (error: unknown): void => void rejected.push(error)
  process.on('unhandledRejection', onRejected)
  const fault = (): never => {
    throw new Error('secret detail')
  }
  const server = await serve({
    // What JSON has no word for.
    manager: { peer: { explain: () => ({ text: BigInt(1) }), disconnect: () => ({ toJSON: fault }) } } as never,
    live: { add: fault, count: () => 0, namesChanged: () => {}, close: () => {} },
    metrics: fault,
    log: (message) => logged.push(message),
  })
  const { port } = server
  const session = await enterPage(server.url())
  for (const [what, asked] of [
    ['explain', post(port, session, '/explain', { targets: ['x'] })],
    ['act', post(port, session, '/act', { action: 'disconnect', target: 'x' })],
    ['metrics', request(port, { path: '/metrics', headers: { Cookie: session.cookie } })],
    ['events', request(port, { path: `/events?key=${session.key}`, headers: { Cookie: session.cookie } })],
  ] as const) {
    const reply = await asked
    t.equal(reply.status, 500, what)
    t.equal(codeOf(reply), 'ERR_FAILED')
    t.notOk(reply.raw.includes('secret detail') || reply.raw.includes('BigInt'), 'without details')
  }
  t.equal(logged.length, 4, 'which the log has')
  await new Promise(setImmediate)
  t.deepEqual(rejected, [], 'nothing is left that ends the process')
  process.removeListener('unhandledRejection', onRejected)
  await server.close()
})

test('who sends nonsense and does not hang up holds no place for long', async (t) => {
  const server = await serve()
  const sockets: Socket[] = []
  const closed: Socket[] = []
  const places = 64
  const waste = (): void => {
    const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true })
    socket.on('error', () => {})
    // All that is told is read, and nothing is said to it.
    socket.on('data', () => {})
    socket.on('end', () => closed.push(socket))
    socket.write('nonsense\r\n\r\n')
    sockets.push(socket)
  }
  for (let i = 0; i < places; i++) waste()
  await eventually(() => closed.length === places, { message: 'each is told that it is over' })
  const reply = await eventually(() => request(server.port), { message: 'somebody else is served' })
  t.equal(reply.status, 403)
  for (const socket of sockets) socket.destroy()
  await server.close()
})

test('figures that take long to count are not counted anew for each who asks', async (t) => {
  let now = 1_767_225_600_000
  let count = 0
  const server = await serve({
    settings: { host: '127.0.0.1', port: 0, metricsToken: 'a-token-for-the-scraper' },
    clock: { ...systemClock, now: () => now },
    metrics: () => {
      now += 100
      return `${++count}`
    },
  })
  const ask = async (): Promise<string> => {
    const headers = { Authorization: 'Bearer a-token-for-the-scraper' }
    return (await request(server.port, { path: '/metrics', headers })).body
  }
  t.equal(await ask(), '1')
  now += 1_999
  t.equal(await ask(), '1', 'those of a moment ago')
  now += 1
  t.equal(await ask(), '2', 'a twentieth of the time')
  now -= 3_600_000
  t.equal(await ask(), '3', 'whatever the clock does')
  await server.close()
})

test('start and stop in haste: the last word counts, and nothing is left behind', async (t) => {
  const stack = await bootStack({
    version: 8,
    name: 'alice',
    ownPlugins: [Manager, dashboard],
    config: { dashboard: { port: 0 } },
  })
  const { start, stop, status, url } = page(stack)
  await start()
  const [, , again] = await Promise.all([stop(), stop(), start()])
  t.ok(again.isServing && status().isServing, 'started once more before it had stopped')
  t.equal((await enterPage(await url())).key.length, 32, 'and it serves')
  await Promise.all([start(), stop(), start(), stop()])
  t.notOk(status().isServing, 'stopped in the end')

  const once = async (): Promise<void> => {
    await start()
    const reader = openEvents(Number(new URL(status().address ?? '').port), await enterPage(await url()))
    await eventually(() => reader.of('synced').length === 1)
    await stop()
    await eventually(() => reader.isClosed)
  }
  const things = (): string =>
    process
      .getActiveResourcesInfo()
      .filter((name) => !/^(Timeout|FSReq)/.test(name))
      .sort()
      .join(' ')
  await once()
  const before = await eventually(() => !things().includes('TCPSocketWrap') && things())
  for (let i = 0; i < 20; i++) await once()
  await eventually(() => things() === before, { message: () => `${before}, now ${things()}` })
  t.pass('twenty times later there is as much as after the first')
  await stack.close()
})

test('a fault of ours in what a page is told ends that page, and not the sbot', (t) => {
  const { manager, clock, add } = bench()
  const logged: string[] = []
  const ended: string[] = []
  const broken = { ...manager, connections: { ...manager.connections, status: () => fail() } }
  const fail = (): never => {
    throw new Error('out of order')
  }
  const history = startHistory({ store: manager.internal.store, now: () => clock.now() })
  const live = createLive({
    sbot: { id: alice.id } as never,
    manager: broken as never,
    clock,
    history,
    // What names come from is asked in a guarded way by the service, and here in none.
    nameOf: (id) => (id === bob.id ? fail() : null),
    version: '1',
    log: (message) => logged.push(message),
  })
  const sink = (name: string): Sink => ({ write: () => true, onDrain: () => {}, end: () => ended.push(name) })
  live.add(sink('first'), () => true)
  clock.advance(5_000)
  t.deepEqual(ended, [], 'without a status it goes on')
  add(bob.address)
  clock.advance(5_000)
  t.deepEqual(ended, ['first'])
  t.ok(
    logged.some((each) => each.includes('could not be told: out of order')),
    'and the log says why',
  )
  t.equal(live.count(), 0)
  live.close()
  history.stop()
  manager.close()
  t.equal(clock.pending, 0, 'no timer is left')
  t.end()
})

test('what strangers wrote is one line without what is not seen', (t) => {
  for (const [text, plain] of [
    ['a\r\n\r\nevent: bye\ndata: {}', 'a event: bye data: {}'],
    ['a\u2028b\u2029c', 'a b c'],
    ['\u202egpj.exe\u202c', 'gpj.exe'],
    ['a\ud800b\udc00', 'a b'],
    ['a\u00ad\u{e0041}b\ufff9', 'a b'],
    ['\u0000\u001b[2J', '[2J'],
    ['\u200b\u2060', null],
    ['👩\u200d🚀 é', '👩 🚀 é'],
    [{ toString: () => 'x' }, null],
  ] as const)
    t.equal(plainText(text, 64), plain, JSON.stringify(text))
  t.ok((plainText('x'.repeat(10_000_000), 64) ?? '').length <= 64)
  t.end()
})
