/**
 * What docs/comparison.md says of ssb-conn 6.0.4 and of ssb-gossip 1.1.1, shown on the two themselves, on real stacks. What it
 * says of this package is shown by the tests that it names. A fact that ceases to be one, because a newer release of theirs is
 * installed, say, belongs out of the table.
 */
import { spawnSync } from 'child_process'
import { EventEmitter } from 'events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { dirname, join } from 'path'

import pull = require('pull-stream')
import test = require('tape')

import { hangAfterAccept, refused, slowHandshake, strangeKey } from './support/bad-servers'
import { collect, eventually, withTimeout } from './support/eventually'
import {
  bootConn,
  bootGossip,
  connOf,
  database,
  gossipOf,
  type LegacyEntry,
  type LegacyPeer,
  type LegacyRpc,
} from './support/legacy'
import { ask, bootClient, closeAll, type Stack, trackDialed } from './support/stack'

const ROOT = join(__dirname, '..')

// ---- timers -----------------------------------------------------------------------------------------------------------

interface Timer {
  readonly fn: () => void
  readonly ms: number
  readonly isRepeating: boolean
  isLive: boolean
  clear(): void
}

/** Every timer of this process, so that none of theirs has to be waited for, and none keeps the process alive. */
const timers: Timer[] = watchTimers()

function watchTimers(): Timer[] {
  const all = new Map<unknown, Timer>()
  const list: Timer[] = []
  const { setTimeout, setInterval, clearTimeout, clearInterval } = globalThis
  type Set = (fn: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) => NodeJS.Timeout
  const watched = (set: Set, isRepeating: boolean): Set => {
    return (fn, ms = 0, ...args) => {
      const handle: NodeJS.Timeout = set(() => {
        if (!isRepeating) timer.isLive = false
        fn(...args)
      }, ms)
      const timer: Timer = {
        fn: () => fn(...args),
        ms,
        isRepeating,
        isLive: true,
        clear: () => clearTimeout(handle),
      }
      all.set(handle, timer)
      list.push(timer)
      return handle
    }
  }
  const forget = (handle: unknown): void => {
    const timer = all.get(handle)
    if (timer) timer.isLive = false
  }
  // With what `promisify` looks for on it.
  globalThis.setTimeout = Object.assign(watched(setTimeout as Set, false), setTimeout) as typeof setTimeout
  globalThis.setInterval = watched(setInterval as Set, true) as unknown as typeof setInterval
  globalThis.clearTimeout = (handle) => {
    forget(handle)
    clearTimeout(handle)
  }
  globalThis.clearInterval = (handle) => {
    forget(handle)
    clearInterval(handle)
  }
  return list
}

// They listen to the wake-up of the machine once more for each stack and each start, for good.
EventEmitter.defaultMaxListeners = 0

test.onFinish(() => {
  for (const timer of timers) timer.clear()
})

/** The timers set while `work` runs. */
async function setDuring(work: () => unknown): Promise<Timer[]> {
  const before = timers.length
  await work()
  return timers.slice(before)
}

/** Starts ssb-conn with its clock stopped. What it gives lets the scheduler look once: its interval, and the timer that this sets. */
async function startByHand(stack: Stack): Promise<() => Promise<void>> {
  const intervals = (await setDuring(() => connOf(stack).start())).filter(({ ms }) => ms === 2_000)
  for (const interval of intervals) interval.clear()
  return async () => {
    const made = await setDuring(() => {
      for (const { fn } of intervals) fn()
    })
    for (const timer of made) {
      timer.clear()
      timer.fn()
    }
    await turn()
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

// ---- stacks -----------------------------------------------------------------------------------------------------------

const dialByConn = (stack: Stack, address: string): Promise<LegacyRpc | false> =>
  ask(connOf(stack), 'connect', address) as Promise<LegacyRpc | false>
const dialByGossip = (stack: Stack, address: string): Promise<LegacyRpc> =>
  ask(gossipOf(stack), 'connect', address) as Promise<LegacyRpc>
const hangUpByConn = (stack: Stack, address: string): Promise<boolean> =>
  ask(connOf(stack), 'disconnect', address) as Promise<boolean>

const rpcsTo = (stack: Stack, peer: Stack): LegacyRpc[] =>
  ((stack.ssb.peers as Record<string, LegacyRpc[]>)[peer.id] ?? []).slice()
const byName = (stack: Stack): string => stack.address.replace('127.0.0.1', 'localhost')
const connected = (stack: Stack): LegacyEntry[] =>
  [...connOf(stack).hub().entries()].filter(([, { state }]) => state === 'connected')
const nowhere = (n: number): string => `net:pub${n}.example.com:8008~shs:${strangeKey()}`

/** Fails every dial as a machine whose own link is down. */
const linkDown = {
  init: (ssb: { connect: { hook(hook: (fn: unknown, args: unknown[]) => void): void } }): void => {
    ssb.connect.hook((_, args) => {
      const cb = args[args.length - 1] as (error: Error) => void
      cb(Object.assign(new Error('connect ENETUNREACH'), { code: 'ENETUNREACH' }))
    })
  },
}

/** The word of ssb-friends that this peer is blocked, once `block` has been called. */
function friendsWhoBlock(): { readonly plugin: object; readonly block: (id: string) => void } {
  let say: (hops: object) => void = () => {}
  const source: pull.Source<object> = (abort, cb) => {
    if (abort) return cb(abort)
    say = (hops) => cb(null, hops)
  }
  const first: pull.Source<object> = pull.values([{}])
  let isFirst = true
  const hopStream = (): pull.Source<object> => (abort, cb) => {
    if (!isFirst || abort) return source(abort, cb)
    isFirst = false
    first(null, cb)
  }
  const plugin = { name: 'friends', version: '5.0.0', manifest: {}, init: () => ({ hopStream }) }
  return { plugin, block: (id) => say({ [id]: -1 }) }
}

/** A process of its own: in it `prelude` runs before anything is loaded, then `body`. */
function inChild(body: string, { prelude = '', home = tmpdir() } = {}): { status: number | null; output: string } {
  const script = `
    ${prelude}
    require('tsx/cjs')
    const { bootConn, bootGossip, database } = require('./test/support/legacy.ts')
    const { bootStack } = require('./test/support/stack.ts')
    const { eventually } = require('./test/support/eventually.ts')
    ;(async () => { ${body} })().then(() => process.exit(0), (error) => { console.log(error); process.exit(1) })`
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', script], {
    cwd: ROOT,
    encoding: 'utf8',
    timeout: 30_000,
    env: { ...process.env, HOME: home },
  })
  return { status, output: `${stdout}${stderr}` }
}

function folderFor(t: test.Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'connection-manager-theirs-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 }))
  return folder
}

const WITH_IP_1_1_9 = `
  const Module = require('module')
  const resolve = Module._resolveFilename
  Module._resolveFilename = function (id, ...rest) { return resolve.call(this, id === 'ip' ? 'ip-1.1.9' : id, ...rest) }`

/** What a stack tells the log of a peer: the word after who it is. */
function linesOf(stack: Stack): string[] {
  const lines: string[] = []
  stack.ssb.on('log:info', ([, , what]: [string, string, string]) => void lines.push(what))
  return lines
}

/** What is printed as a warning or an error while `work` runs, in place of printing it. */
async function muted(work: () => Promise<void>): Promise<string[]> {
  const { error, warn } = console
  const lines: string[] = []
  console.error = console.warn = (...args: unknown[]) => void lines.push(args.join(' '))
  try {
    await work()
  } finally {
    Object.assign(console, { error, warn })
  }
  return lines
}

/** The texts of a package itself, without its tests and what it depends on. */
function sourcesOf(name: string): string[] {
  const folder = dirname(require.resolve(`${name}/package.json`))
  const read = (path: string): string[] =>
    readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
      if (entry.isDirectory()) return ['node_modules', 'test'].includes(entry.name) ? [] : read(join(path, entry.name))
      return entry.name.endsWith('.js') ? [readFileSync(join(path, entry.name), 'utf8')] : []
    })
  return read(folder)
}

type Candidate = {
  readonly key: string
  readonly state?: string | undefined
  readonly failure?: number
  readonly stateChange: number
}
type Quota = { readonly quota: number; readonly factor: number; readonly max: number; readonly groupMin: number }

/** With it ssb-gossip's scheduler chooses whom to dial. */
const { select } = require('ssb-gossip/schedule') as {
  select(peers: Candidate[], at: number, filter: () => boolean, opts: Quota): Candidate[]
}

// ---- where they run ---------------------------------------------------------------------------------------------------

test('the versions that are compared are the ones that are installed', (t) => {
  const versionOf = (name: string): string => (require(`${name}/package.json`) as { version: string }).version
  t.equal(versionOf('ssb-conn'), '6.0.4')
  t.equal(versionOf('ssb-gossip'), '1.1.1')
  t.end()
})

test('ssb-conn on secret-stack 8 starts and keeps its table in ~/.ssb, whatever the path', (t) => {
  const home = folderFor(t)
  const body = `
      const stack = await bootStack({ version: 8, ownPlugins: [require('ssb-conn')], config: { conn: { autostart: false } } })
      const { existsSync } = require('fs')
      await eventually(() => existsSync(${JSON.stringify(home)} + '/.ssb/conn.json'))
      console.log('in its own folder: ' + existsSync(stack.path + '/conn.json'))
      await stack.close()`
  mkdirSync(join(home, '.ssb'))
  const { status, output } = inChild(body, { home })
  t.equal(status, 0, output)
  t.match(output, /in its own folder: false/)
  t.ok(existsSync(join(home, '.ssb', 'conn.json')))
  t.end()
})

test('ssb-gossip on secret-stack 8 throws at the start', (t) => {
  // What has begun to listen by then is never closed.
  const { status, output } = inChild("await bootStack({ version: 8, ownPlugins: [database, require('ssb-gossip')] })")
  t.equal(status, 1)
  t.match(output, /"path" argument must be of type string/)
  t.end()
})

test('with ip 1.1.9 a connection to a host name ends the process of ssb-conn', (t) => {
  const body = `
    const [alice, bob] = [await bootConn('alice'), await bootConn('bob')]
    alice.ssb.conn.connect(bob.address.replace('127.0.0.1', 'localhost'), console.log)
    await new Promise((resolve) => setTimeout(resolve, 5_000))`
  const { status, output } = inChild(body, { prelude: WITH_IP_1_1_9 })
  t.notEqual(status, 0)
  t.match(output, /inferPeerType/, output)
  t.end()
})

test('with ip 1.1.9 a host name in its table ends the process of ssb-gossip', (t) => {
  const body = `
    const stack = await bootGossip('alice', { isQuiet: false })
    stack.ssb.gossip.add({ host: 'pub.example.com', port: 8008, key: '@${strangeKey()}.ed25519' })
    await new Promise((resolve) => setTimeout(resolve, 5_000))`
  const { status, output } = inChild(body, { prelude: WITH_IP_1_1_9 })
  t.notEqual(status, 0)
  t.match(output, /ssb-gossip.schedule\.js/, 'thrown by its scheduler')
  t.end()
})

test('the lines of theirs that docs/comparison.md names are there in what is installed', (t) => {
  const text = readFileSync(join(ROOT, 'docs/comparison.md'), 'utf8').replace(/\\\|/g, '|')
  const named = [...text.matchAll(/`([\w/.-]+\.js):(\d+)` `([^`]+)`/g)]
  t.ok(named.length > 0)
  for (const [, file = '', line = '', code = ''] of named) {
    const found = readFileSync(require.resolve(file), 'utf8').split('\n')[Number(line) - 1] ?? ''
    t.ok(found.includes(code), `${file}:${line}: ${found.trim()}`)
  }
  t.end()
})

// ---- whom they know and dial ------------------------------------------------------------------------------------------

test('ssb-conn does not read seeds of the config', async (t) => {
  const stack = await bootConn('alice', { global: { seeds: [nowhere(1)] } })
  await connOf(stack).db().loaded()
  await connOf(stack).start()
  t.deepEqual(connOf(stack).dbPeers(), [])
  t.notOk(
    sourcesOf('ssb-conn').some((text) => /\bseeds?\b/.test(text)),
    'the word is not in its sources',
  )
  await stack.close()
})

test('ssb-gossip takes seeds from the config', async (t) => {
  const stack = await bootGossip('alice', { global: { seeds: [nowhere(1)] } })
  t.deepEqual(
    gossipOf(stack)
      .peers()
      .map(({ source }) => source),
    ['seed'],
  )
  await stack.close()
})

test('without ssb-friends ssb-conn passes over a remembered pub in the look in which it dials a room', async (t) => {
  const [alice, pub, room] = await Promise.all([bootConn('alice'), bootConn('pub'), bootConn('room')])
  await connOf(alice).db().loaded()
  connOf(alice).remember(pub.address, { type: 'pub', key: pub.id })
  connOf(alice).remember(room.address, { type: 'room', key: room.id })
  await connOf(alice).start()
  await eventually(() => connOf(alice).hub().getState(room.address), { message: 'the room is dialed' })
  t.equal(connOf(alice).hub().getState(pub.address), undefined)
  await closeAll(alice, pub, room)
})

test('ssb-gossip dials whom it knows, without ssb-friends', async (t) => {
  const [alice, bob] = await Promise.all([bootGossip('alice', { isQuiet: false }), bootGossip('bob')])
  gossipOf(alice).add(bob.address, 'manual')
  await eventually(() => rpcsTo(alice, bob).length === 1, { message: 'dialed' })
  t.equal(gossipOf(alice).get(bob.id)?.state, 'connected')
  await closeAll(alice, bob)
})

test('ssb-conn keeps two addresses of a peer as two peers, and dials both', async (t) => {
  const [alice, bob] = await Promise.all([bootConn('alice'), bootConn('bob')])
  await connOf(alice).db().loaded()
  // Of type room, as it dials no others without ssb-friends.
  for (const address of [bob.address, byName(bob)]) connOf(alice).remember(address, { type: 'room', key: bob.id })
  t.equal(connOf(alice).dbPeers().length, 2)
  await connOf(alice).start()
  await eventually(() => rpcsTo(alice, bob).length === 2, { message: 'two connections' })
  await closeAll(alice, bob)
})

test('ssb-gossip keeps the first address of a peer and drops the others', async (t) => {
  const stack = await bootGossip('alice')
  const first = nowhere(1)
  t.equal(gossipOf(stack).add(first).address, first)
  t.equal(gossipOf(stack).add(first.replace('pub1', 'pub2')).address, first)
  t.equal(gossipOf(stack).peers().length, 1)
  await stack.close()
})

test('ssb-conn dials a peer that is blocked when connect is called', async (t) => {
  const friends = friendsWhoBlock()
  const [alice, bob] = await Promise.all([bootConn('alice', { plugins: [friends.plugin] }), bootConn('bob')])
  await connOf(alice).start()
  friends.block(bob.id)
  t.ok(await dialByConn(alice, bob.address))
  await closeAll(alice, bob)
})

test('ssb-conn hangs up on a peer that was blocked at its next look, and not before', async (t) => {
  const friends = friendsWhoBlock()
  const [alice, bob] = await Promise.all([bootConn('alice', { plugins: [friends.plugin] }), bootConn('bob')])
  const look = await startByHand(alice)
  await dialByConn(alice, bob.address)
  friends.block(bob.id)
  await turn()
  t.equal(rpcsTo(alice, bob).length, 1)
  await look()
  await eventually(() => rpcsTo(alice, bob).length === 0, { message: 'after a look of its scheduler' })
  await closeAll(alice, bob)
})

test('ssb-gossip does not know of blocks', (t) => {
  t.notOk(sourcesOf('ssb-gossip').some((text) => /block/i.test(text)))
  t.end()
})

// ---- connections ------------------------------------------------------------------------------------------------------

test('ssb-conn opens a second connection to a connected peer when asked by another address', async (t) => {
  const [alice, bob] = await Promise.all([bootConn('alice'), bootConn('bob')])
  const first = await dialByConn(alice, bob.address)
  t.equal(await dialByConn(alice, bob.address), first, 'by the same address it gives the same')
  t.notEqual(await dialByConn(alice, byName(bob)), first)
  t.equal(rpcsTo(alice, bob).length, 2)
  await closeAll(alice, bob)
})

test('ssb-gossip opens a second connection to a connected peer', async (t) => {
  const [alice, bob] = await Promise.all([bootGossip('alice'), bootGossip('bob')])
  await dialByGossip(alice, bob.address)
  await dialByGossip(alice, bob.address)
  t.equal(rpcsTo(alice, bob).length, 2)
  await dialByGossip(alice, byName(bob))
  t.equal(rpcsTo(alice, bob).length, 3, 'and a third one by another address')
  await closeAll(alice, bob)
})

test('when both sides dial at once ssb-conn keeps both connections, and loses sight of the peer when one closes', async (t) => {
  const [alice, bob] = await Promise.all([bootConn('alice'), bootConn('bob')])
  await Promise.all([dialByConn(alice, bob.address), dialByConn(bob, alice.address)])
  await eventually(() => rpcsTo(alice, bob).length === 2 && rpcsTo(bob, alice).length === 2, { message: 'two each' })
  t.equal(connected(alice).length, 1, 'as one entry')
  rpcsTo(alice, bob)[0]?.close(true, () => {})
  await eventually(() => rpcsTo(alice, bob).length === 1, { message: 'one is left' })
  t.equal(connected(alice).length, 0)
  await closeAll(alice, bob)
})

test('when both sides dial at once ssb-gossip keeps both connections, and loses sight of the peer when one closes', async (t) => {
  const [alice, bob] = await Promise.all([bootGossip('alice'), bootGossip('bob')])
  await Promise.all([dialByGossip(alice, bob.address), dialByGossip(bob, alice.address)])
  await eventually(() => rpcsTo(alice, bob).length === 2 && rpcsTo(bob, alice).length === 2, { message: 'two each' })
  t.equal(gossipOf(alice).get(bob.id)?.state, 'connected')
  rpcsTo(alice, bob)[0]?.close(true, () => {})
  await eventually(() => rpcsTo(alice, bob).length === 1, { message: 'one is left' })
  t.equal(gossipOf(alice).get(bob.id)?.state, undefined)
  await closeAll(alice, bob)
})

test('who joins a failing attempt of ssb-conn hears of it after 60 s, as false', async (t) => {
  const alice = await bootConn('alice')
  const nobody = await refused()
  const first = dialByConn(alice, nobody.address).catch((error: { code?: string }) => error.code)
  let answer: unknown = 'none'
  const waits = await setDuring(async () => {
    connOf(alice).connect(nobody.address, (error, rpc) => {
      answer = error ?? rpc
    })
    t.equal(await first, 'ECONNREFUSED')
    await turn()
  })
  t.equal(answer, 'none')
  const minute = waits.find(({ ms, isRepeating }) => ms === 60_000 && !isRepeating)
  minute?.fn()
  await turn()
  t.equal(answer, false, 'after the minute')
  await nobody.close()
  await alice.close()
})

test('ssb-gossip dials again while an attempt is under way', async (t) => {
  const alice = await bootGossip('alice')
  const nobody = await hangAfterAccept()
  const dialed = trackDialed(nobody.port)
  for (let i = 0; i < 3; i++) gossipOf(alice).connect(nobody.address, () => {})
  await eventually(() => dialed.times.length === 3, { message: 'three dials' })
  dialed.stop()
  await nobody.close()
  await alice.close()
  t.pass('one for each call')
})

test('ssb-conn connects after it was told to disconnect while connecting', async (t) => {
  const [alice, bob] = await Promise.all([bootConn('alice'), bootConn('bob')])
  const slow = await slowHandshake(bob, 200)
  const attempt = dialByConn(alice, slow.address)
  t.equal(await hangUpByConn(alice, slow.address), true)
  t.equal(connOf(alice).hub().getState(slow.address), undefined, 'gone')
  t.ok(await attempt)
  t.equal(connOf(alice).hub().getState(slow.address), 'connected', 'and back')
  await slow.close()
  await closeAll(alice, bob)
})

test('ssb-gossip connects after it was told to disconnect while connecting', async (t) => {
  const [alice, bob] = await Promise.all([bootGossip('alice'), bootGossip('bob')])
  const slow = await slowHandshake(bob, 200)
  const attempt = dialByGossip(alice, slow.address)
  await ask(gossipOf(alice), 'disconnect', bob.id)
  t.equal(gossipOf(alice).get(bob.id)?.state, 'disconnecting')
  t.ok(await attempt)
  t.equal(gossipOf(alice).get(bob.id)?.state, 'connected')
  await slow.close()
  await closeAll(alice, bob)
})

test('ssb-conn tells of one hang-up twice', async (t) => {
  const [alice, bob] = await Promise.all([bootConn('alice'), bootConn('bob')])
  const events = collect(connOf(alice).hub().listen())
  await dialByConn(alice, bob.address)
  await hangUpByConn(alice, bob.address)
  await eventually(() => rpcsTo(alice, bob).length === 0)
  t.equal(events.items.filter(({ type }) => type === 'disconnected').length, 2)
  await closeAll(alice, bob)
})

test('ssb-gossip tells of a hang-up once', async (t) => {
  const [alice, bob] = await Promise.all([bootGossip('alice'), bootGossip('bob')])
  const events = collect(gossipOf(alice).changes())
  await dialByGossip(alice, bob.address)
  await ask(gossipOf(alice), 'disconnect', bob.id)
  await eventually(() => rpcsTo(alice, bob).length === 0)
  t.equal(events.items.filter(({ type }) => type === 'disconnect').length, 1)
  await closeAll(alice, bob)
})

// ---- what they leave behind -------------------------------------------------------------------------------------------

test('ssb-conn leaves a poll of the network behind each time it is started and stopped', async (t) => {
  const stack = await bootConn('alice')
  await connOf(stack).db().loaded()
  const made = await setDuring(async () => {
    for (let i = 0; i < 50; i++) {
      await connOf(stack).start()
      connOf(stack).stop()
    }
  })
  await stack.close()
  t.equal(made.filter(({ isLive, isRepeating, ms }) => isLive && isRepeating && ms === 1_000).length, 50)
})

test('ssb-conn starts all the same when it is stopped right after start', async (t) => {
  const stack = await bootConn('alice')
  const made = await setDuring(async () => {
    const started = connOf(stack).start()
    connOf(stack).stop()
    await started
  })
  t.equal(made.filter(({ isLive, isRepeating, ms }) => isLive && isRepeating && ms === 2_000).length, 1)
  await stack.close()
})

test('stagedPeers of ssb-conn does not end when the stack closes', async (t) => {
  const stack = await bootConn('alice')
  const [peers, staged] = [collect(connOf(stack).peers()), collect(connOf(stack).stagedPeers())]
  await stack.close()
  t.equal(await withTimeout(peers.ended, 2_000, 'peers ends'), true)
  await turn()
  t.equal(staged.end, null)
})

// ---- when they dial ---------------------------------------------------------------------------------------------------

test('ssb-conn dials five more rooms at each look, however many dials are in flight', async (t) => {
  const alice = await bootConn('alice')
  const nobody = await hangAfterAccept()
  await connOf(alice).db().loaded()
  const key = nobody.address.split('~shs:')[1] ?? ''
  for (let i = 0; i < 30; i++)
    connOf(alice).remember(nobody.address.replace(key, strangeKey()), { type: 'room', key: `@${i}.ed25519` })
  const inFlight: number[] = []
  const look = await startByHand(alice)
  for (let i = 0; i < 6; i++) {
    inFlight.push([...connOf(alice).hub().entries()].filter(([, { state }]) => state === 'connecting').length)
    await look()
  }
  t.deepEqual(inFlight, [5, 10, 15, 20, 25, 30])
  await nobody.close()
  await alice.close()
})

test('ssb-gossip counts dials in flight against its quotas', (t) => {
  const peers = [1, 2, 3, 4].map((n) => ({ key: `${n}`, state: n < 4 ? 'connecting' : undefined, stateChange: n }))
  const opts = { quota: 3, factor: 1, max: 1, groupMin: 0 }
  t.deepEqual(
    select(peers, Date.now(), () => true, opts),
    [],
  )
  t.equal(select(peers, Date.now(), () => true, { ...opts, quota: 4 }).length, 1)
  t.end()
})

test('ssb-gossip cuts times to 32 bits, so that no failure makes it wait longer', (t) => {
  const now = Date.now()
  const peer = { key: 'a', failure: 20, stateChange: now - 60_000 }
  // A pause of three hours, of which a minute is over.
  const opts = { quota: 3, factor: 300_000, max: 3 * 3_600_000, groupMin: 50_000 }
  t.deepEqual(
    select([peer], now, () => true, opts),
    [peer],
  )
  t.end()
})

test('ssb-gossip dials a seed again that has refused', async (t) => {
  const alice = await bootGossip('alice', { isQuiet: false })
  const nobody = await refused()
  gossipOf(alice).add(nobody.address, 'seed')
  await eventually(() => nobody.connections() >= 2, { message: 'dialed twice' })
  t.ok((gossipOf(alice).peers()[0]?.failure ?? 0) >= 1)
  await nobody.close()
  await alice.close()
})

test('ssb-conn charges an outage of our own to each peer that it dials', async (t) => {
  const alice = await bootConn('alice', { plugins: [linkDown] })
  await connOf(alice).db().loaded()
  const addresses = [1, 2, 3].map(nowhere)
  for (const address of addresses) {
    connOf(alice).remember(address, { type: 'pub' })
    await dialByConn(alice, address).catch(() => {})
  }
  t.deepEqual(
    addresses.map((address) => connOf(alice).db().get(address)?.failure),
    [1, 1, 1],
  )
  await alice.close()
})

test('ssb-gossip charges an outage of our own to each peer that it dials', async (t) => {
  const alice = await bootGossip('alice', { plugins: [linkDown] })
  for (const address of [1, 2, 3].map(nowhere)) await dialByGossip(alice, address).catch(() => {})
  t.deepEqual(
    gossipOf(alice)
      .peers()
      .map(({ failure }) => failure),
    [1, 1, 1],
  )
  await alice.close()
})

test('neither ssb-conn nor ssb-gossip reads gossip.connections', (t) => {
  for (const name of ['ssb-conn', 'ssb-gossip'])
    t.notOk(
      sourcesOf(name).some((text) => /\.connections\b|['"]connections['"]/.test(text)),
      name,
    )
  t.end()
})

// ---- what can be asked of them ----------------------------------------------------------------------------------------

test('ssb-conn hands out its private key over muxrpc, to an owner who asks for hub or query', async (t) => {
  const stack = await bootConn('alice')
  const owner = await bootClient(stack)
  for (const call of ['conn.hub', 'conn.query'])
    t.ok(JSON.stringify(await owner.ask(call)).includes(stack.keys.private), call)
  await owner.close()
  await stack.close()
})

test('no call of ssb-conn says why a peer is not connected, syncs from one first, or gives help', async (t) => {
  const stack = await bootConn('alice')
  const { conn, gossip } = stack.ssb.getManifest() as { conn: object; gossip: object }
  const calls =
    'remember forget dbPeers connect disconnect peers stage unstage stagedPeers start stop ping db hub staging query'
  t.deepEqual(Object.keys(conn), calls.split(' '))
  t.deepEqual(Object.keys(gossip), ['ping'], 'nor is there gossip.add, which other plugins call')
  t.equal((stack.ssb.conn as { help?: unknown }).help, undefined)
  await stack.close()
})

test('no call of ssb-gossip says why a peer is not connected, syncs from one first, starts or stops', async (t) => {
  const stack = await bootGossip('alice')
  const { gossip } = stack.ssb.getManifest() as { gossip: object }
  t.deepEqual(
    Object.keys(gossip),
    'add remove connect disconnect changes reconnect disable enable ping get peers help'.split(' '),
  )
  t.ok('connect' in gossipOf(stack).help().commands, 'it has help')
  await stack.close()
})

test('neither ssb-conn nor ssb-gossip brings a command line, a page or figures for a monitor', async (t) => {
  for (const name of ['ssb-conn', 'ssb-gossip']) {
    const { bin, exports } = require(`${name}/package.json`) as { bin?: unknown; exports?: unknown }
    t.equal(bin, undefined, `${name} has no program`)
    t.equal(exports, undefined, `${name} has no entries beside its own`)
  }
  const [conn, gossip] = [await bootConn('alice'), await bootGossip('bob')]
  for (const { ssb } of [conn, gossip])
    t.notOk(/metrics|dashboard/.test(JSON.stringify(ssb.getManifest())), 'no call for figures or a page')
  await conn.close()
  await gossip.close()
})

test('ssb-conn tells who is connected by a stream only, and adds nothing to status', async (t) => {
  const [alice, bob] = await Promise.all([bootConn('alice', { plugins: [database] }), bootConn('bob')])
  await dialByConn(alice, bob.address)
  const { conn } = alice.ssb.getManifest() as { conn: Record<string, string> }
  t.equal(conn.peers, 'source')
  const owner = await bootClient(alice)
  t.deepEqual(await owner.ask('conn.dbPeers'), [], 'the list is of those that are stored')
  t.deepEqual((alice.ssb.status as () => object)(), {})
  await owner.close()
  await closeAll(alice, bob)
})

test('ssb-gossip lists its peers over muxrpc, and in status', async (t) => {
  const [alice, bob] = await Promise.all([bootGossip('alice'), bootGossip('bob')])
  await dialByGossip(alice, bob.address)
  const owner = await bootClient(alice)
  const peers = (await owner.ask('gossip.peers')) as LegacyPeer[]
  t.deepEqual(
    peers.map(({ key, state }) => [key, state]),
    [[bob.id, 'connected']],
  )
  const { gossip } = (alice.ssb.status as () => { gossip: object })()
  t.deepEqual(Object.keys(gossip), [bob.id])
  t.notOk(JSON.stringify(peers).includes(alice.keys.private.slice(0, 40)), 'and no key')
  await owner.close()
  await closeAll(alice, bob)
})

test('ssb-conn writes nothing to the log', async (t) => {
  const [alice, bob] = await Promise.all([bootConn('alice'), bootConn('bob')])
  const lines = linesOf(alice)
  await dialByConn(alice, bob.address)
  await hangUpByConn(alice, bob.address)
  await eventually(() => rpcsTo(alice, bob).length === 0)
  t.deepEqual(lines, [])
  await closeAll(alice, bob)
})

test('ssb-gossip writes to the log what becomes of a peer', async (t) => {
  const [alice, bob] = await Promise.all([bootGossip('alice'), bootGossip('bob')])
  const lines = linesOf(alice)
  await dialByGossip(alice, bob.address)
  await ask(gossipOf(alice), 'disconnect', bob.id)
  await eventually(() => lines.length === 3)
  t.deepEqual(
    lines.map((line) => line.split(/[. ]/)[0]),
    ['CONNECTING', 'PEER', 'DISCONNECTED'],
  )
  await closeAll(alice, bob)
})

test('ssb-conn remembers what is no address', async (t) => {
  const stack = await bootConn('alice')
  connOf(stack).remember('nonsense', {})
  t.deepEqual(
    connOf(stack)
      .dbPeers()
      .map(([address]) => address),
    ['nonsense'],
  )
  await stack.close()
})

test('ssb-gossip throws on what is no address', async (t) => {
  const stack = await bootGossip('alice')
  t.throws(() => gossipOf(stack).add('nonsense'))
  await stack.close()
})

// ---- what they keep on the disk ---------------------------------------------------------------------------------------

test('ssb-conn mends a table with nine characters too many, and takes one with ten for empty and overwrites it', async (t) => {
  const table = JSON.stringify({ [nowhere(1)]: { type: 'pub' } })
  for (const count of [9, 10]) {
    const folder = folderFor(t)
    const file = join(folder, 'conn.json')
    writeFileSync(file, `${table}${'x'.repeat(count)}`)
    const said = await muted(async () => {
      const stack = await bootConn('alice', { path: folder })
      await connOf(stack).db().loaded()
      t.equal(connOf(stack).dbPeers().length, count === 9 ? 1 : 0, `${count} too many`)
      connOf(stack).remember(nowhere(2), { type: 'pub' })
      await stack.close()
      await eventually(() => readFileSync(file, 'utf8').includes('pub2'), { message: 'written' })
    })
    t.equal(readFileSync(file, 'utf8').includes('pub1'), count === 9)
    t.equal(
      said.some((line) => line.includes('failed to heal')),
      count === 10,
    )
  }
})

test('ssb-gossip takes a table with a broken end for an empty one, and overwrites it', async (t) => {
  const folder = folderFor(t)
  const file = join(folder, 'gossip.json')
  writeFileSync(file, `${JSON.stringify([{ address: nowhere(1) }])}x`)
  let stack!: Stack
  const intervals = await setDuring(async () => {
    stack = await bootGossip('alice', { path: folder })
  })
  gossipOf(stack).add(nowhere(2))
  t.equal(gossipOf(stack).peers().length, 1)
  // It saves every ten seconds.
  for (const { ms, isRepeating, fn } of intervals) if (isRepeating && ms === 10_000) fn()
  await eventually(() => readFileSync(file, 'utf8').includes('pub2'), { message: 'written' })
  await stack.close()
  t.notOk(readFileSync(file, 'utf8').includes('pub1'))
})

test('one entry that is null in conn.json ends the process of ssb-conn when it starts', (t) => {
  const folder = folderFor(t)
  writeFileSync(join(folder, 'conn.json'), JSON.stringify({ [nowhere(1)]: { type: 'pub' }, [nowhere(2)]: null }))
  const body = `
      const stack = await bootConn('alice', { path: ${JSON.stringify(folder)} })
      await stack.ssb.conn.db().loaded()
      await stack.ssb.conn.start()`
  const { status, output } = inChild(body)
  t.equal(status, 1)
  t.match(output, /cleanUpDB/)
  t.end()
})

test('one entry without a key in gossip.json ends the process of ssb-gossip', (t) => {
  const folder = folderFor(t)
  writeFileSync(join(folder, 'gossip.json'), JSON.stringify([{ host: 'pub1.example.com', port: 8008 }]))
  const body = `
      await bootGossip('alice', { path: ${JSON.stringify(folder)} })
      await new Promise((resolve) => setTimeout(resolve, 5_000))`
  const { status, output } = inChild(body)
  t.notEqual(status, 0)
  t.match(output, /toBase64|coearseAddress/)
  t.end()
})

// ---- as packages ------------------------------------------------------------------------------------------------------

test('ssb-conn has types, ssb-gossip has none', (t) => {
  t.equal((require('ssb-conn/package.json') as { types?: string }).types, 'lib/index.d.ts')
  t.equal((require('ssb-gossip/package.json') as { types?: string }).types, undefined)
  t.end()
})

test('ssb-conn and ssb-gossip depend on ip, and nothing that this package depends on does', (t) => {
  for (const name of ['ssb-conn', 'ssb-gossip'])
    t.ok((require(`${name}/package.json`) as Package).dependencies?.ip, `${name} does`)
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Package | undefined>
  }
  const seen = new Set<string>()
  const visit = (owner: string): void => {
    for (const name of Object.keys(packages[owner]?.dependencies ?? {})) {
      // As Node looks for it: in the folder of who asks, then in those around it.
      let folder = owner
      while (folder !== '' && !packages[`${folder}/node_modules/${name}`])
        folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))
      const found = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`
      if (seen.has(found)) continue
      seen.add(found)
      visit(found)
    }
  }
  visit('')
  t.ok(seen.has('node_modules/pull-stream') && seen.size > 8, [...seen].join(' '))
  t.notOk([...seen].some((path) => path.endsWith('/ip')))
  t.end()
})

interface Package {
  readonly dependencies?: Readonly<Record<string, string>>
}
