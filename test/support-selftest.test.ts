/**
 * The fixtures for real sockets, tested on bare stacks: each behaves as the table of secret-stack's failures says, under
 * both versions. Should one of these fail after an update of secret-stack, then the table has changed, not the manager.
 */
import { EventEmitter } from 'events'
import { existsSync } from 'fs'

import pull = require('pull-stream')
import test = require('tape')

import * as bad from './support/bad-servers'
import { collect, eventually, once, withTimeout } from './support/eventually'
import {
  ask,
  block,
  bootClient,
  bootStack,
  bootStranger,
  closeAll,
  connect,
  follow,
  heldNoise,
  publish,
  STACK_VERSIONS,
  type Stack,
  vectorClock,
} from './support/stack'

const HANDSHAKE_TIMEOUT_MS = 300
/** Timers may be early by one, and a loaded machine is late. */
const EARLY_MS = 5
const LATE_MS = 1_500

interface Outcome {
  readonly code: unknown
  readonly message: string
  readonly elapsedMs: number
  readonly rpc: { readonly id: string; close(abort: boolean): void } | null
}

async function dial(from: Stack, address: string): Promise<Outcome> {
  const startedAt = Date.now()
  const elapsed = () => Date.now() - startedAt
  return connect(from, address).then(
    (rpc) => ({ code: undefined, message: 'connected', elapsedMs: elapsed(), rpc }),
    (error) => ({ code: error.code, message: String(error.message), elapsedMs: elapsed(), rpc: null }),
  )
}

interface Row {
  readonly name: string
  readonly make: (bob: Stack) => Promise<bad.BadServer>
  readonly code?: string
  readonly message: RegExp
  readonly fromMs?: number
}

const PHASE_1 = /^shs\.client: error when expecting server to accept challenge \(phase 1\)/

const ROWS: readonly Row[] = [
  {
    name: 'refused',
    make: () => bad.refused(),
    code: 'ECONNREFUSED',
    message: /^connect ECONNREFUSED 127\.0\.0\.1:\d+$/,
  },
  { name: 'reset', make: () => bad.reset(), message: PHASE_1 }, // the ECONNRESET below is only in the stack
  { name: 'closeMidDial', make: () => bad.closeMidDial(), message: PHASE_1 },
  { name: 'closeMidDial, later', make: () => bad.closeMidDial({ afterMs: 100 }), message: PHASE_1, fromMs: 100 },
  { name: 'hangAfterAccept', make: () => bad.hangAfterAccept(), message: PHASE_1, fromMs: HANDSHAKE_TIMEOUT_MS },
  {
    name: 'garbage',
    make: () => bad.garbage(),
    message: /^shs\.client: server responded with invalid challenge \(phase 2\)/,
  },
  {
    name: 'wrongKey',
    make: (bob) => bad.wrongKey(bob),
    message: /^shs\.client: server hung up when we sent hello \(phase 3\)/,
  },
  { name: 'wrongNetwork', make: ({ version }) => bad.wrongNetwork({ version }), message: PHASE_1 },
  { name: 'slowHandshake', make: (bob) => bad.slowHandshake(bob, 100), message: /^connected$/, fromMs: 100 },
  {
    name: 'slowHandshake, too slow',
    make: (bob) => bad.slowHandshake(bob, 3 * HANDSHAKE_TIMEOUT_MS),
    message: PHASE_1,
    fromMs: HANDSHAKE_TIMEOUT_MS,
  },
  { name: 'flaky, switched on', make: (bob) => bad.flaky(bob), message: /^connected$/ },
]

for (const version of STACK_VERSIONS) {
  const boot = (name: string, options: Partial<Parameters<typeof bootStack>[0]> = {}) =>
    bootStack({ version, name, global: { timeout: HANDSHAKE_TIMEOUT_MS }, ...options })

  test(`secret-stack ${version}: each bad server fails in its way, and a black hole does not fail at all`, async (t) => {
    const [alice, bob] = await Promise.all([boot('alice'), boot('bob')])
    t.teardown(() => closeAll(alice, bob))
    const hole = await bad.blackHole()
    t.teardown(() => hole.close())
    let isLost = true
    const lost = dial(alice, hole.address).finally(() => {
      isLost = false
    })
    for (const row of ROWS) {
      const server = await row.make(bob)
      t.teardown(() => server.close())
      const startedAt = Date.now()
      const outcome = await dial(alice, server.address)
      t.match(outcome.message, row.message, `${row.name}: message`)
      t.equal(outcome.code, row.code, `${row.name}: code`)
      const { fromMs = 0 } = row
      const inTime = outcome.elapsedMs >= fromMs - EARLY_MS && outcome.elapsedMs < fromMs + LATE_MS
      t.ok(inTime, `${row.name}: after ${outcome.elapsedMs} ms, expected from ${fromMs} ms on`)
      if (outcome.rpc !== null) t.equal(outcome.rpc.id, bob.id, `${row.name}: to bob`)
      await eventually(() => server.connections() === 1, { message: `${row.name}: one connection counted` })
      t.ok(Math.abs((server.times[0] ?? 0) - startedAt) < LATE_MS, `${row.name}: and its time`)
      await server.close()
    }
    t.ok(isLost, 'the black hole still swallows, long past the handshake timeout')
    t.equal(hole.connections(), 1, 'and counts what was dialed from here')
    await hole.close()
    t.equal((await lost).code, 'ETIMEDOUT', 'until it is closed')
  })

  test(`secret-stack ${version}: a flaky server drops, freezes and comes back`, async (t) => {
    const [alice, bob] = await Promise.all([boot('alice'), boot('bob')])
    t.teardown(() => closeAll(alice, bob))
    const server = await bad.flaky(bob)
    t.teardown(() => server.close())
    const rpc = await connect(alice, server.address)

    server.freeze()
    let answer: unknown = null
    const answered = ask(rpc, 'manifest').then((manifest) => {
      answer = manifest
    })
    const hung = await dial(alice, server.address)
    t.match(hung.message, PHASE_1, 'frozen, it accepts and is silent')
    t.ok(hung.elapsedMs >= HANDSHAKE_TIMEOUT_MS - EARLY_MS, 'until the handshake times out')
    t.equal(answer, null, 'and forwards nothing of a connection from before')
    t.notOk(rpc.closed, 'which nobody has told that it is dead')

    await server.on()
    await withTimeout(answered, 1_000, 'the answer')
    t.ok(answer, 'what was under way arrives after the thaw')

    const closed = once(rpc, 'closed')
    await server.off()
    await closed
    t.equal((await dial(alice, server.address)).code, 'ECONNREFUSED', 'switched off, it drops and refuses')
    await server.on()
    t.equal((await dial(alice, server.address)).message, 'connected', 'switched on, it serves again')
    t.equal(server.connections(), 3, 'refused dials were not seen')
  })

  test(`secret-stack ${version}: a stack closes though its peers are frozen`, async (t) => {
    const [alice, bob] = await Promise.all([boot('alice'), boot('bob')])
    const server = await bad.flaky(bob)
    await connect(alice, server.address)
    server.freeze()
    const startedAt = Date.now()
    await closeAll(alice, bob)
    t.ok(Date.now() - startedAt < LATE_MS, `after ${Date.now() - startedAt} ms`)
    t.notOk(existsSync(alice.path), 'and removes its folder')
    await server.close()
  })

  test(`secret-stack ${version}: hangUpAfter hangs up on those who dial, and only on those`, async (t) => {
    const [alice, bob, carol] = await Promise.all([boot('alice'), boot('bob'), boot('carol')])
    t.teardown(() => closeAll(alice, bob, carol))
    const server = await bad.hangUpAfter(bob, 100)
    t.teardown(() => server.close())
    const outbound = await connect(bob, carol.address)
    const startedAt = Date.now()
    const rpc = await connect(alice, server.address)
    await once(rpc, 'closed')
    const elapsedMs = Date.now() - startedAt
    t.ok(elapsedMs >= 100 - EARLY_MS && elapsedMs < 100 + LATE_MS, `after ${elapsedMs} ms`)
    t.notOk(outbound.closed)
  })

  test(`secret-stack ${version}: both sides see a connection, each from its side`, async (t) => {
    const other = version === 6 ? 8 : 6
    const [alice, bob] = await Promise.all([boot('alice'), bootStack({ version: other, name: 'bob' })])
    t.teardown(() => closeAll(alice, bob))
    const inbound = once<[{ id: string; stream: { address: string } }, boolean]>(bob.ssb, 'rpc:connect')
    const rpc = await connect(alice, bob.address)
    const [remote, isClient] = await inbound
    t.equal(rpc.id, bob.id, `a stack of version ${other} answers one of version ${version}`)
    t.equal(remote.id, alice.id)
    t.equal(isClient, false)
    t.match(remote.stream.address, /^net:127\.0\.0\.1:\d+~shs:/, 'with an ephemeral port')
    t.notEqual(remote.stream.address, alice.address)
    t.equal(alice.ssb.getAddress('device'), alice.address, 'its own address is what it says')
  })

  test(`secret-stack ${version}: our own plugins get the config of their version, and callers their rights`, async (t) => {
    const seen: Record<string, Record<string, unknown>> = {}
    const plugin = {
      name: 'fixtureProbe',
      manifest: { shout: 'async', deep: { count: 'source' }, secret: 'sync' },
      permissions: { anonymous: { allow: ['shout', 'deep.count'] } },
      init: (_: object, config: Record<string, unknown>) => {
        seen.own = config
        return {
          shout: (text: string, cb: (error: null, value: string) => void) => cb(null, `${text}!`),
          deep: { count: () => pull.values([1, 2, 3]) },
          secret: () => 'of the owner',
        }
      },
    }
    const foreign = {
      name: 'foreignProbe',
      init: (_: object, config: Record<string, unknown>) => {
        seen.foreign = config
      },
    }
    const alice = await boot('alice', {
      ownPlugins: [plugin],
      plugins: [foreign],
      config: { fixtureProbe: { mine: 1 }, other: { yours: 2 } },
    })
    t.teardown(() => alice.close())
    t.deepEqual(seen.own?.fixtureProbe, { mine: 1 }, 'its own section')
    t.deepEqual(seen.own?.other, version === 8 ? undefined : { yours: 2 }, 'another section in version 6 only')
    const root = (version === 8 ? seen.own?.global : seen.own) as Record<string, unknown>
    t.equal(root.path, alice.path, 'the shared part at its place')
    t.equal(seen.foreign?.path, alice.path, 'a plugin of the registry gets the flat config')
    t.deepEqual(seen.foreign?.other, { yours: 2 })

    const owner = await bootClient(alice)
    t.teardown(() => owner.close())
    t.equal(await owner.ask('fixtureProbe.secret'), 'of the owner')
    const stranger = await bootStranger(alice)
    t.teardown(() => stranger.close())
    t.notEqual(stranger.stack.id, alice.id)
    t.equal(await stranger.ask('fixtureProbe.shout', 'hi'), 'hi!')
    const counted = collect(stranger.open('fixtureProbe.deep.count') as pull.Source<number>)
    t.equal(await withTimeout(counted.ended, 1_000, 'the end of the source'), true)
    t.deepEqual(counted.items, [1, 2, 3], 'nested sources too')
    const refusal = await stranger.ask('fixtureProbe.secret').then(String, (error) => String(error.message))
    t.match(refusal, /^method:fixtureProbe,secret is not in list of allowed methods/, 'a stranger is refused')
    await stranger.close()
    await eventually(() => (alice.ssb.peers as Record<string, unknown[]>)[stranger.stack.id]?.length === 0, {
      message: 'the stranger has gone',
    })
  })

  test(`secret-stack ${version}: friends replicate, hops tell a block, and a restart keeps all`, async (t) => {
    const [alice, bob] = await Promise.all([
      bootStack({ version, name: 'alice', withDb: true, keep: true }),
      bootStack({ version, name: 'bob', withDb: true }),
    ])
    t.teardown(() => closeAll(alice, bob))
    await Promise.all([follow(alice, bob.id), follow(bob, alice.id)])
    await publish(bob, { type: 'post', text: 'hello' })
    await connect(alice, bob.address)
    await eventually(async () => (await vectorClock(alice))[bob.id] === 2, { message: 'alice has all of bob' })
    await eventually(async () => (await vectorClock(bob))[alice.id] === 1, { message: 'bob has all of alice' })
    await block(alice, bob.id)
    await eventually(async () => ((await ask(alice.ssb, 'friends.hops')) as Record<string, number>)[bob.id] === -1, {
      message: 'alice blocks bob',
    })
    await alice.close()

    const again = await bootStack({ version, path: alice.path, port: alice.port, withDb: true })
    t.teardown(() => again.close())
    t.equal(again.id, alice.id, 'the same keys')
    t.equal(again.address, alice.address, 'the same address')
    t.equal((await vectorClock(again))[bob.id], 2, 'the same messages')
  })
}

test('what stacks print of failed handshakes is held back, anything else is not', async (t) => {
  const bob = await bootStack({ version: 6, name: 'bob' })
  t.teardown(() => bob.close())
  const alice = await bootStack({ version: 8, name: 'alice' })
  t.teardown(() => alice.close())
  const before = heldNoise().length
  await dial(alice, (await bad.wrongKey(bob)).address)
  await eventually(() => heldNoise().length >= before + 2, { message: 'two lines more' })
  t.match(heldNoise()[before] ?? '', /^server error, from /)
  t.match(heldNoise()[before + 1] ?? '', /shs\./)
})

test('eventually gives the first truthy value and says what it waited for', async (t) => {
  let looks = 0
  t.equal(await eventually(() => (++looks > 2 ? 'yes' : ''), { everyMs: 1 }), 'yes')
  const options = { timeoutMs: 20, everyMs: 1, message: () => 'pigs fly' }
  const error = await eventually(() => Promise.reject(new Error('no wings')), options).catch((e) => e)
  t.equal(error.message, 'not within 20 ms: pigs fly')
  t.equal(error.cause.message, 'no wings')
  const stuck = await eventually(() => new Promise<boolean>(() => {}), options).catch((e) => e)
  t.equal(stuck.message, 'not within 20 ms: pigs fly', 'a predicate that never settles does not outlive the limit')
})

test('withTimeout and once pass on what comes and name what does not', async (t) => {
  t.equal(await withTimeout(Promise.resolve(1), 1_000, 'one'), 1)
  t.equal((await withTimeout(Promise.reject(new Error('bad')), 1_000, 'x').catch((e) => e)).message, 'bad')
  t.equal(
    (await withTimeout(new Promise<void>(() => {}), 5, 'Godot').catch((e) => e)).message,
    'not within 5 ms: Godot',
  )
  const emitter = new EventEmitter()
  const seen = once(emitter, 'ping')
  emitter.emit('ping', 1, 2)
  t.deepEqual(await seen, [1, 2])
  const error = await once(emitter, 'pong', { timeoutMs: 5 }).catch((e) => e)
  t.equal(error.message, 'not within 5 ms: the event pong')
  t.equal(emitter.listenerCount('ping') + emitter.listenerCount('pong'), 0, 'and leave no listener')
})

test('collect reads a source to its end, its error or an abort', async (t) => {
  const many = collect(pull.values(Array.from({ length: 100_000 }, (_, i) => i)))
  t.equal(await many.ended, true)
  t.equal(many.items.length, 100_000, 'without a recursion per item')
  const failed = collect(pull.error(new Error('broken')))
  t.equal(String(await failed.ended), 'Error: broken')
  t.equal(failed.end, await failed.ended)

  let answer: ((end: true | null, data?: number) => void) | null = null
  let aborted: unknown = null
  const live = collect<number>((abort, cb) => {
    if (abort) {
      aborted = abort
      answer?.(true)
      cb(true)
    } else answer = cb
  })
  const give = (n: number) => answer?.(null, n)
  give(1)
  give(2)
  t.deepEqual(live.items, [1, 2])
  t.equal(live.end, null)
  t.equal(await live.abort(), true)
  t.equal(aborted, true)
  t.deepEqual(live.items, [1, 2])
})
