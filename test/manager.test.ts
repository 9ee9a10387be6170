/** Every call of the public API (DESIGN, section 5): how it may be called, what it gives, and what it does. */
import usage = require('muxrpc-usage')
import test = require('tape')

import { DialFailedError } from '../src/core/errors'
import type { ConnectionManager } from '../src/manager'
import { createManager, PRIORITY } from '../src/manager'
import { seededRandom, virtualClock } from '../src/testing'
import { type Collected, collect } from './support/eventually'
import { commandsOf } from './support/help'
import {
  alice,
  type Bench,
  bench,
  bob,
  carol,
  catchThrown,
  codeOf,
  DAY,
  dave,
  erin,
  FakeRpc,
  HOUR,
  LAST_ID,
  MINUTE,
  person,
  SECOND,
  serialised,
} from './support/manager'

// ---- how calls are made -----------------------------------------------------------------------------------------------

interface Call {
  readonly name: string
  readonly kind: 'sync' | 'async' | 'source'
  /** Good arguments. The bench has alice connected, and bob known. */
  readonly args: readonly unknown[]
  readonly check: (result: unknown) => boolean
}

const isUndefined = (value: unknown): boolean => value === undefined
const isTrue = (value: unknown): boolean => value === true
const isSource = (value: unknown): boolean => typeof value === 'function' && value.length === 2
const isView = (value: unknown): boolean => (value as { id?: unknown } | null)?.id === alice.id

const CALLS: readonly Call[] = [
  { name: 'peer.addRoute', kind: 'sync', args: [{ address: carol.address }], check: isTrue },
  { name: 'peer.addRoute', kind: 'sync', args: [carol.address], check: isTrue },
  { name: 'peer.removeRoute', kind: 'sync', args: [{ address: bob.address }], check: isTrue },
  { name: 'peer.withdrawRoute', kind: 'sync', args: [{ address: bob.address }], check: (was) => was === false },
  { name: 'peer.setPriority', kind: 'sync', args: [{ address: bob.address, priority: 'HIGH' }], check: isTrue },
  { name: 'peer.setPriority', kind: 'sync', args: [{ id: bob.id, priority: 'MED' }], check: isTrue },
  { name: 'peer.setLongTerm', kind: 'sync', args: [{ id: bob.id, isLongTerm: true }], check: isTrue },
  { name: 'peer.connect', kind: 'async', args: [{ id: alice.id }], check: (rpc) => rpc instanceof FakeRpc },
  { name: 'peer.connect', kind: 'async', args: [alice.address], check: (rpc) => rpc instanceof FakeRpc },
  { name: 'peer.disconnect', kind: 'async', args: [{ address: alice.address }], check: isTrue },
  { name: 'peer.get', kind: 'sync', args: [alice.id], check: isView },
  { name: 'peer.get', kind: 'sync', args: [alice.address], check: isView },
  { name: 'peer.list', kind: 'sync', args: [], check: (list) => (list as unknown[]).length === 2 },
  { name: 'peer.explain', kind: 'sync', args: [alice.id], check: (said) => (said as { connected: boolean }).connected },
  { name: 'peer.remotePeerConnected', kind: 'sync', args: [carol.id], check: isTrue },
  { name: 'peer.remotePeerConnected', kind: 'sync', args: [carol.id, new FakeRpc()], check: isTrue },
  { name: 'peer.remotePeerDisconnected', kind: 'sync', args: [alice.id], check: isTrue },
  { name: 'peers', kind: 'source', args: [], check: isSource },
  { name: 'peers', kind: 'source', args: [{ old: false, live: true }], check: isSource },
  { name: 'connections.start', kind: 'sync', args: [], check: isUndefined },
  { name: 'connections.stop', kind: 'sync', args: [], check: isUndefined },
  { name: 'connections.setMaxByType', kind: 'sync', args: [{ net: 1 }], check: isUndefined },
  { name: 'connections.setLifetime', kind: 'sync', args: [HOUR], check: isUndefined },
  { name: 'status', kind: 'sync', args: [], check: (said) => (said as { mode: string }).mode === 'off' },
  { name: 'connections.status', kind: 'sync', args: [], check: (said) => (said as { mode: string }).mode === 'off' },
  {
    name: 'connections.diagnose',
    kind: 'sync',
    args: [],
    check: (said) => (said as { code: string }[])[0]?.code === 'off',
  },
  { name: 'metrics', kind: 'sync', args: [], check: (said) => (said as unknown[]).length > 20 },
  { name: 'metrics', kind: 'sync', args: [{ format: 'text' }], check: (said) => typeof said === 'string' },
  { name: 'connections.changes', kind: 'source', args: [], check: isSource },
  { name: 'connections.errors', kind: 'source', args: [], check: isSource },
  { name: 'connections.recording', kind: 'source', args: [], check: isSource },
  { name: 'connection.errors', kind: 'source', args: [], check: isSource },
  { name: 'initialSync.start', kind: 'sync', args: [], check: isUndefined },
  { name: 'initialSync.start', kind: 'sync', args: [bob.id], check: isUndefined },
  { name: 'initialSync.stop', kind: 'sync', args: [], check: isUndefined },
  { name: 'initialSync.progress', kind: 'source', args: [], check: isSource },
  {
    name: 'help',
    kind: 'sync',
    args: [],
    check: (said) => typeof (said as { description?: unknown }).description === 'string',
  },
  { name: 'close', kind: 'sync', args: [], check: isUndefined },
]

type Method = (...args: unknown[]) => unknown

/** The method of a name, taken off its object. */
function method(manager: ConnectionManager, name: string): Method {
  let found: unknown = manager
  for (const part of name.split('.')) found = (found as Record<string, unknown>)[part]
  return found as Method
}

function withAliceConnected(): Bench {
  const made = bench()
  made.add(alice.address, bob.address)
  made.connected(alice.address)
  return made
}

test('every call works unbound, with and without a trailing callback', async (t) => {
  for (const { name, kind, args, check } of CALLS) {
    const first = withAliceConnected()
    const returned = method(first.manager, name)(...args)
    first.flush()
    if (kind === 'async') t.ok(returned instanceof Promise, `${name}: a promise`)
    t.ok(check(await returned), `${name}(${args.length}): its result`)
    if (kind === 'source') continue

    const second = withAliceConnected()
    const answers: unknown[][] = []
    const cb = (...answer: unknown[]): void => void answers.push(answer)
    const value = method(second.manager, name)(...args, cb)
    second.flush()
    if (kind === 'sync') t.equal(answers.length, 1, `${name}: called back before it returns`)
    else t.equal(value, undefined, `${name}: no promise besides`)
    await new Promise((resolve) => setImmediate(resolve))
    t.equal(answers.length, 1, `${name}: called back once`)
    t.equal(answers[0]?.[0], null, 'without error')
    t.ok(check(answers[0]?.[1]), 'with the same result')
  }
})

test('a call that fails throws, rejects, or calls back, one of them and once', async (t) => {
  const { manager } = bench()
  const bad = { address: 'nonsense' }
  const sync = [
    'addRoute',
    'removeRoute',
    'withdrawRoute',
    'setPriority',
    'setLongTerm',
    'get',
    'explain',
    'remotePeerConnected',
  ] as const
  for (const name of sync) {
    t.throws(() => (manager.peer[name] as Method)(bad), { code: /^ERR_INVALID_/ }, `${name} throws`)
    const answers: unknown[][] = []
    t.doesNotThrow(() => (manager.peer[name] as Method)(bad, (...answer: unknown[]) => answers.push(answer)))
    t.equal(answers.length, 1, `${name} calls back`)
    const [error] = answers[0] as [{ code?: unknown }]
    t.match(String(error.code), /^ERR_INVALID_/)
  }
  for (const name of ['connect', 'disconnect'] as const) {
    t.equal(await codeOf(manager.peer[name](bad)), 'ERR_INVALID_ADDRESS', `${name} rejects`)
    const code = await new Promise((resolve) =>
      manager.peer[name](bad, (error) => resolve((error as { code: string }).code)),
    )
    t.equal(code, 'ERR_INVALID_ADDRESS', `${name} calls back`)
  }
})

test('every call of help() is there, and every call is in help()', (t) => {
  const { manager } = bench()
  const commands = commandsOf(manager.help())
  const named = new Set(CALLS.map((call) => call.name).filter((name) => name !== 'close'))
  t.deepEqual(Object.keys(commands).sort(), [...named].sort())
  for (const [name, command] of Object.entries(commands)) {
    t.equal(typeof method(manager, name), 'function', name)
    t.equal(command.type, CALLS.find((call) => call.name === name)?.kind, `${name} is ${command.type}`)
  }
  t.deepEqual(JSON.parse(JSON.stringify(manager.help())), manager.help(), 'plain data')
  t.end()
})

test('muxrpc-usage prints every command of help(), the nested ones too', (t) => {
  const help = bench().manager.help()
  const long = usage.deep(help, [], ['connectionManager'])
  for (const [name, { description }] of Object.entries(commandsOf(help))) {
    t.ok(usage.isCommand(usage.get(help, name.split('.'))), `${name} is found`)
    t.match(long, new RegExp(`^connectionManager\\.${name}( {\\w+})? # `, 'm'))
    t.ok(long.includes(description))
  }
  t.equal(usage.quick(help, []), 'peer|peers|connections|status|metrics|connection|initialSync|help')
  t.equal(usage.quick(help, ['peer', 'setPriority']), '--id|priority')
  t.match(
    usage.deep(help, ['peer', 'explain'], ['connectionManager']),
    /^connectionManager\.peer\.explain {id} # why .*\n {2}--id/,
  )
  t.end()
})

test('priorities are constants, MED an alias', (t) => {
  const { manager } = bench()
  t.deepEqual(manager.priority, { HIGH: 'HIGH', MEDIUM: 'MEDIUM', MED: 'MEDIUM', LOW: 'LOW', BANNED: 'BANNED' })
  t.equal(manager.priority, PRIORITY)
  t.end()
})

// ---- routes and peers -------------------------------------------------------------------------------------------------

test('a peer and its routes have the fields that are promised, and all of it is plain data', (t) => {
  const { manager, connected, dial, clock } = bench()
  const start = clock.now()
  manager.peer.addRoute({ address: alice.by('onion'), source: 'seed' })
  manager.peer.addRoute({ address: alice.address, isLocal: true, priority: 'HIGH' })
  manager.peer.connect({ address: alice.address }, () => {})
  clock.flush()
  dial(alice.address).refuse('ECONNRESET')
  clock.flush()
  clock.advance(SECOND)
  dial(alice.by('onion')).accept()
  const view = manager.peer.get(alice.id)!
  t.deepEqual(
    { ...view, routes: view.routes.map((route) => ({ ...route, errors: route.errors.length, nextAttemptAt: 0 })) },
    {
      id: alice.id,
      priority: 'HIGH',
      prioritisedBy: null,
      isBanned: false,
      isLongTerm: false,
      routes: [
        {
          id: alice.by('onion'),
          peer: alice.id,
          priority: 'HIGH',
          isLocal: false,
          isLongTerm: false,
          source: 'seed',
          isStored: true,
          isAutomatic: true,
          connectionStatus: 'connected',
          connectionCount: 1,
          errorCount: 0,
          errors: 0,
          lastConnectionTime: start + SECOND,
          lastErrorTime: null,
          nextAttemptAt: 0,
        },
        {
          id: alice.address,
          peer: alice.id,
          priority: 'HIGH',
          isLocal: true,
          isLongTerm: false,
          source: 'manual',
          isStored: false,
          isAutomatic: true,
          connectionStatus: 'idle',
          connectionCount: 0,
          errorCount: 1,
          errors: 1,
          lastConnectionTime: null,
          lastErrorTime: start,
          nextAttemptAt: 0,
        },
      ],
      connection: {
        status: 'connected',
        direction: 'outbound',
        address: alice.by('onion'),
        since: start + SECOND,
        rtt: null,
        skew: null,
      },
    },
  )
  const failed = view.routes[1]!
  t.deepEqual(failed.errors, [{ message: 'connect ECONNRESET', code: 'ECONNRESET', at: start }])
  t.ok(failed.nextAttemptAt > start && Number.isFinite(failed.nextAttemptAt), 'nextAttemptAt')
  connected(bob.address)
  for (const each of [manager.peer.list(), manager.connections.status(), manager.peer.explain(alice.id)])
    t.deepEqual(JSON.parse(JSON.stringify(each)), each, 'survives JSON')
  t.end()
})

test('the last five errors of a route are kept', (t) => {
  const { manager, clock, dial } = bench()
  for (let n = 0; n < 7; n++) {
    manager.peer.connect({ address: alice.address }, () => {})
    clock.flush()
    dial(alice.address).refuse(`E${n}`)
  }
  const [route] = manager.peer.get(alice.id)!.routes
  t.equal(route?.errorCount, 7)
  t.deepEqual(
    route?.errors.map((error) => error.code),
    ['E2', 'E3', 'E4', 'E5', 'E6'],
  )
  t.end()
})

test('addRoute says whether the route is new', (t) => {
  const { manager } = bench({ selfId: LAST_ID, maxRoutesPerPeer: 2 })
  const { addRoute, removeRoute } = manager.peer
  t.equal(addRoute({ address: alice.address }), true, 'new')
  t.equal(addRoute({ address: alice.address }), false, 'known')
  t.equal(
    addRoute({ address: alice.address.replace('alice.example', 'ALICE.example.') }),
    false,
    'known, spelled otherwise',
  )
  t.equal(addRoute({ address: `${alice.address};${alice.by('onion')}` }), true, 'one of two is new')
  t.equal(
    addRoute({ address: `${alice.address};${alice.by('net', 'third.example')}` }),
    false,
    'there is no room for it',
  )
  t.equal(addRoute({ address: `alice.example:8008:${alice.id}` }), false, 'the old form of a known one')
  t.equal(addRoute({ address: `bob.example:8008:${bob.id}` }), true, 'the old form of a new one')
  t.equal(addRoute({ address: `net:me.example:8008~shs:${LAST_ID.slice(1, 45)}` }), false, 'our own address')
  t.equal(manager.peer.get(LAST_ID), null, 'is not kept')
  t.equal(
    addRoute({ address: `net:192.168.0.1:8008~shs:${carol.key}`, source: 'pub' }),
    false,
    "a stranger's private host",
  )
  t.equal(removeRoute({ address: bob.address }), true)
  t.equal(removeRoute({ address: bob.address }), false, 'gone already')
  t.equal(addRoute({ address: bob.address }), true, 'new again')
  t.end()
})

test('addRoute with a priority may raise it, and never lowers it; what was set stays', (t) => {
  const { manager } = bench()
  const { addRoute, setPriority, get } = manager.peer
  const priorityOf = (id: string): string | undefined => get(id)?.priority
  addRoute({ address: alice.address, source: 'pub' })
  t.equal(priorityOf(alice.id), 'LOW', 'of a stranger')
  addRoute({ address: alice.address })
  addRoute({ address: alice.by('onion'), priority: 'HIGH' })
  t.equal(priorityOf(alice.id), 'HIGH', 'raised')
  addRoute({ address: alice.address, priority: 'LOW' })
  t.equal(priorityOf(alice.id), 'HIGH', 'not lowered')
  setPriority({ id: alice.id, priority: 'LOW' })
  addRoute({ address: alice.address, priority: 'HIGH' })
  t.equal(priorityOf(alice.id), 'LOW', 'what setPriority set stays')
  addRoute({ address: bob.address, priority: 'BANNED' })
  t.equal(priorityOf(bob.id), 'BANNED', 'and may come with a ban')
  t.end()
})

test('removeRoute hangs up if the route is in use, and leaves another one alone', (t) => {
  const { manager, connected, flush } = bench()
  manager.peer.addRoute({ address: alice.by('onion') })
  const rpc = connected(alice.address)
  manager.peer.removeRoute({ address: alice.by('onion') })
  flush()
  t.equal(rpc.hangUps, 0, 'the other one')
  manager.peer.removeRoute({ address: alice.address })
  flush()
  t.equal(rpc.hangUps, 1, 'the one in use')
  t.equal(manager.peer.get(alice.id), null, 'a peer of whom nothing is left is forgotten')
  t.end()
})

test('list and get are snapshots: they do not change afterwards', (t) => {
  const { manager, connected, add } = bench()
  add(alice.address)
  const [before, list] = [manager.peer.get(alice.id), manager.peer.list()]
  const text = JSON.stringify([before, list])
  connected(alice.address)
  manager.peer.setPriority({ id: alice.id, priority: 'LOW' })
  add(bob.address)
  t.equal(JSON.stringify([before, list]), text)
  t.equal(manager.peer.get(carol.id), null, 'null for a stranger')
  t.end()
})

test('our own id is never a peer', (t) => {
  const { manager } = bench({ selfId: LAST_ID })
  t.equal(manager.peer.setPriority({ id: LAST_ID, priority: 'BANNED' }), false, 'not banned')
  t.equal(manager.peer.setLongTerm({ id: LAST_ID }), false, 'not kept up')
  t.equal(manager.peer.remotePeerConnected(LAST_ID), false, 'a client of ours is no peer')
  t.deepEqual(manager.peer.list(), [])
  t.equal(manager.internal.isBanned(LAST_ID), false)
  t.end()
})

test('who calls in is known while connected, and forgotten after, unless something was said about him', (t) => {
  const { manager } = bench()
  const { remotePeerConnected, remotePeerDisconnected, get } = manager.peer
  remotePeerConnected(alice.id)
  t.equal(get(alice.id)?.connection.direction, 'inbound')
  t.equal(remotePeerDisconnected(alice.id), true)
  t.equal(get(alice.id), null, 'a stranger is forgotten')
  t.equal(remotePeerDisconnected(alice.id), false, 'he has gone already')
  manager.peer.addRoute({ address: bob.address })
  remotePeerConnected(bob.id)
  remotePeerDisconnected(bob.id)
  t.ok(get(bob.id), 'somebody with a route is not')
  t.end()
})

// ---- hooks ------------------------------------------------------------------------------------------------------------

test('hooks of onPrioritise see each change and may change it, one after the other, until removed', (t) => {
  const { manager } = bench()
  const seen: unknown[] = []
  const removeFirst = manager.onPrioritise((change) => {
    seen.push(change)
    return change.priority === 'LOW' ? 'HIGH' : undefined
  })
  const removeSecond = manager.onPrioritise(({ priority }) => (priority === 'HIGH' ? 'MED' : undefined))
  manager.peer.setPriority({ id: alice.id, priority: 'LOW' })
  t.equal(manager.peer.get(alice.id)?.priority, 'MEDIUM', 'LOW to HIGH to MEDIUM')
  t.deepEqual(seen, [{ id: alice.id, from: null, priority: 'LOW' }])
  removeSecond()
  manager.peer.setPriority({ id: alice.id, priority: 'LOW' })
  t.equal(manager.peer.get(alice.id)?.priority, 'HIGH', 'without the second')
  t.deepEqual(seen[1], { id: alice.id, from: 'MEDIUM', priority: 'LOW' })
  removeFirst()
  removeFirst()
  manager.peer.setPriority({ id: alice.id, priority: 'LOW' })
  t.equal(manager.peer.get(alice.id)?.priority, 'LOW', 'without any')
  t.equal(seen.length, 2)
  t.end()
})

test('a hook also sees the priority that comes with a route, and the same function may be added twice', (t) => {
  const { manager } = bench()
  let calls = 0
  const hook = () => {
    calls++
    return 'BANNED' as const
  }
  const remove = manager.onPrioritise(hook)
  manager.onPrioritise(hook)
  manager.peer.addRoute({ address: alice.address, priority: 'HIGH' })
  t.equal(manager.peer.get(alice.id)?.isBanned, true)
  t.equal(calls, 2)
  remove()
  manager.peer.setPriority({ id: bob.id, priority: 'LOW' })
  t.equal(calls, 3, 'one is left')
  t.end()
})

test('a hook that throws, or answers nonsense, vetoes the change with an error of its own code', (t) => {
  for (const answer of [7, 'high', null, {}, [], () => 'HIGH', Promise.resolve('HIGH'), boom]) {
    const { manager } = bench()
    manager.peer.addRoute({ address: alice.address })
    manager.onPrioritise((() => {
      if (answer === boom) throw boom
      return answer
    }) as never)
    const before = serialised(manager)
    const state = manager.internal.store.getState()
    t.throws(() => manager.peer.setPriority({ id: alice.id, priority: 'HIGH' }), { code: 'ERR_HOOK_FAILED' })
    t.throws(() => manager.peer.addRoute({ address: bob.address, priority: 'HIGH' }), { code: 'ERR_HOOK_FAILED' })
    t.equal(serialised(manager), before, 'nothing has changed')
    t.equal(manager.internal.store.getState(), state, 'at all')
  }
  t.end()
})

const boom = new Error('boom')

// ---- start, stop, close -----------------------------------------------------------------------------------------------

test('start, stop and close are idempotent', (t) => {
  const { manager, clock, dials, add } = bench()
  add(alice.address)
  manager.connections.stop()
  manager.connections.start()
  manager.connections.start()
  clock.flush()
  const state = manager.internal.store.getState()
  manager.connections.start()
  t.equal(manager.internal.store.getState(), state, 'nothing to do')
  clock.flush()
  t.equal(dials.length, 1, 'dialed once')
  t.equal(manager.connections.status().mode, 'on')
  const rpc = dials[0]!.accept()
  manager.connections.stop()
  manager.connections.stop()
  clock.flush()
  t.equal(rpc.hangUps, 1, 'hung up on once')
  t.equal(manager.connections.status().mode, 'off')
  manager.close()
  manager.close()
  manager.connections.stop()
  t.throws(() => manager.connections.start(), { code: 'ERR_CLOSED' }, 'closed is for good')
  t.equal(clock.pending, 0)
  t.end()
})

test('stop cancels dials, hangs up all peers of either direction, and clears every timer', (t) => {
  const { manager, clock, connected, add } = bench({ probe: () => new Promise(() => {}) })
  const outbound = connected(alice.address)
  const inbound = new FakeRpc('inbound')
  manager.peer.remotePeerConnected(bob.id, inbound)
  manager.connections.setLifetime(HOUR)
  manager.connections.start()
  add(carol.address)
  clock.flush()
  manager.internal.woke()
  t.equal(manager.connections.status().dialing, 1)
  t.ok(clock.pending > 0)
  manager.connections.stop()
  clock.flush()
  t.equal(manager.connections.status().dialing, 0, 'no dial')
  t.deepEqual([outbound.hangUps, inbound.hangUps], [1, 1], 'nobody is connected')
  t.equal(clock.pending, 0, 'no timer')
  t.end()
})

test('1000 cycles of start and stop leave no timer, no listener and no dial behind', (t) => {
  const { manager, clock, add, dials } = bench()
  for (let n = 0; n < 20; n++) add(person(`peer ${n}`).by('net', `host${n}.example`))
  for (let cycle = 0; cycle < 1_000; cycle++) {
    manager.connections.start()
    if (cycle % 2 === 0) clock.flush()
    const reader = manager.peers()
    reader(null, () => {})
    manager.connections.stop()
    reader(true, () => {})
    if (cycle % 3 === 0) clock.flush()
  }
  clock.flush()
  t.equal(clock.pending, 0, 'no timer')
  t.equal(manager.connections.status().dialing, 0, 'no dial counts')
  t.ok(dials.length <= 32, `${dials.length} sockets at most: what hangs is not dialed over and over`)
  const { changedPeers: _, now: __, ...rest } = JSON.parse(serialised(manager)) as Record<string, unknown>
  t.ok(JSON.stringify(rest).length < 50_000, 'and the state has not grown')
  const fired = clock.fired
  clock.advance(DAY)
  t.equal(clock.fired, fired, 'nothing happens while it is off')
  t.end()
})

test('close hangs up, ends every source, and refuses what would change anything', async (t) => {
  const { manager, clock, connected, add, changes } = bench()
  const rpc = connected(alice.address)
  add(bob.address)
  const pending = manager.peer.connect({ id: bob.id })
  const sources: Collected<unknown>[] = [
    collect(manager.peers() as never),
    collect(manager.connections.errors()),
    collect(manager.initialSync.progress()),
  ]
  clock.flush()
  manager.close()
  t.equal(rpc.hangUps, 1, 'hung up')
  t.deepEqual(
    [...sources, changes].map((source) => source.end),
    [true, true, true, true],
    'sources have ended',
  )
  t.equal(await codeOf(pending), 'ERR_CLOSED', 'who waits is told')
  t.equal(clock.pending, 0, 'no timer')
  const state = manager.internal.store.getState()
  for (const [name, call] of Object.entries<() => unknown>({
    addRoute: () => manager.peer.addRoute({ address: carol.address }),
    removeRoute: () => manager.peer.removeRoute({ address: alice.address }),
    setPriority: () => manager.peer.setPriority({ id: alice.id, priority: 'LOW' }),
    setLongTerm: () => manager.peer.setLongTerm({ id: alice.id }),
    remotePeerConnected: () => manager.peer.remotePeerConnected(alice.id),
    remotePeerDisconnected: () => manager.peer.remotePeerDisconnected(alice.id),
    start: () => manager.connections.start(),
    setMaxByType: () => manager.connections.setMaxByType({ net: 1 }),
    setLifetime: () => manager.connections.setLifetime(1),
    initialSync: () => manager.initialSync.start(),
  }))
    t.throws(call, { code: 'ERR_CLOSED' }, name)
  t.equal(await codeOf(manager.peer.connect({ id: alice.id })), 'ERR_CLOSED', 'connect')
  t.equal(await codeOf(manager.peer.disconnect({ id: alice.id })), 'ERR_CLOSED', 'disconnect')
  manager.initialSync.stop()
  manager.internal.woke()
  t.equal(manager.internal.store.getState(), state, 'the state is as it was')
  t.equal(clock.pending, 0, 'and no timer was set')
  t.ok(manager.peer.get(alice.id), 'it may still be asked')
  t.equal(collect(manager.peers() as never).end, true, 'a source that is opened now ends at once')
})

test('autostart starts it; nothing is dialed otherwise', (t) => {
  for (const [autostart, count] of [
    [true, 1],
    [false, 0],
    [undefined, 0],
  ] as const) {
    const { manager, clock, dials } = bench(autostart === undefined ? {} : { autostart })
    manager.peer.addRoute({ address: alice.address })
    clock.advance(DAY)
    t.equal(Math.min(dials.length, 1), count, `autostart ${autostart}`)
    t.equal(manager.connections.status().mode, count ? 'on' : 'off')
    manager.close()
  }
  t.end()
})

// ---- options ----------------------------------------------------------------------------------------------------------

test('setMaxByType merges, and lowering a maximum hangs up the surplus, worst first', (t) => {
  const { manager, clock, flush } = bench({ answer: (dial) => void dial.accept() })
  manager.peer.addRoute({ address: alice.address, priority: 'HIGH' })
  manager.peer.addRoute({ address: bob.address, priority: 'LOW' })
  manager.peer.addRoute({ address: carol.address, priority: 'MEDIUM' })
  manager.connections.start()
  flush()
  manager.connections.setMaxByType({ net: 2, ws: 1 })
  clock.advance(0)
  const { classes } = manager.connections.status()
  t.deepEqual(Object.fromEntries(Object.entries(classes).map(([name, { max }]) => [name, max])), {
    rtc: 3,
    net: 2,
    onion: 3,
    ws: 1,
    wss: 0,
    local: 5,
  })
  t.equal(classes.net?.connected, 2)
  t.equal(manager.peer.get(bob.id)?.connection.status, 'idle', 'the LOW one has gone')
  manager.connections.setMaxByType({ net: 1 })
  clock.advance(0)
  t.equal(manager.peer.get(alice.id)?.connection.status, 'connected', 'the HIGH one stays')
  t.equal(manager.peer.get(carol.id)?.connection.status, 'idle')
  manager.connections.setMaxByType({})
  t.equal(manager.connections.status().classes.net?.max, 1, 'nothing given, nothing changed')
  t.end()
})

test('setMaxByType checks all before it takes any', (t) => {
  const { manager } = bench()
  const state = manager.internal.store.getState()
  t.throws(() => manager.connections.setMaxByType({ net: 9, onion: -1 }), { code: 'ERR_INVALID_ARGUMENT' })
  t.equal(manager.internal.store.getState(), state)
  t.end()
})

test('setLifetime holds for connections that are up already, and can be taken back', (t) => {
  const { manager, clock, connected } = bench()
  const rpc = connected(alice.address)
  clock.advance(HOUR)
  manager.connections.setLifetime(2 * HOUR)
  clock.advance(30 * MINUTE)
  manager.connections.setLifetime(Number.POSITIVE_INFINITY)
  clock.advance(DAY)
  t.equal(rpc.hangUps, 0, 'taken back')
  manager.connections.setLifetime(30 * DAY)
  clock.advance(28 * DAY)
  t.equal(rpc.hangUps, 0, 'more than a day, and more ms than 31 bits hold')
  clock.advance(2 * DAY)
  t.equal(rpc.hangUps, 1, 'over')
  t.end()
})

test('status() says mode, slots, inbound, environment and counts', (t) => {
  const { manager, clock, connected, flush } = bench({ maxInbound: 10 })
  connected(alice.address)
  manager.peer.remotePeerConnected(bob.id)
  manager.peer.addRoute({ address: carol.address })
  manager.peer.addRoute({ address: dave.by('ws') })
  manager.connections.setLifetime(HOUR)
  manager.connections.start()
  flush()
  const status = manager.connections.status()
  t.equal(status.mode, 'on')
  t.deepEqual(status.classes.net, {
    max: 3,
    connected: 1,
    dialing: 1,
    closing: 0,
    waiting: 0,
    nextAttemptAt: null,
    // One half at first, and one success more.
    successRate: 0.5625,
  })
  t.equal(status.classes.ws?.max, 0)
  t.equal(status.classes.ws?.waiting, 1, 'dave waits for a slot that there is not')
  t.equal(status.classes.onion?.successRate, null, 'nothing known before the first dial')
  t.deepEqual(status.inbound, { connected: 1, max: 10 })
  t.deepEqual(status.environment, { link: 'up', isBusy: false, down: [] })
  t.equal(status.lifetimeMs, HOUR)
  t.equal(status.peers, 4)
  t.equal(status.routes, 3)
  t.equal(status.dialing, 1)
  t.equal(status.lingering, 0)
  clock.advance(10 * SECOND)
  t.equal(manager.connections.status().lingering, 1, 'given up, its socket may be there')
  t.ok(manager.connections.status().classes.net?.nextAttemptAt, 'carol is tried again')
  manager.internal.offline()
  t.equal(manager.connections.status().environment.link, 'down')
  manager.initialSync.start()
  t.equal(manager.connections.status().mode, 'initialSync')
  t.end()
})

// ---- explain ----------------------------------------------------------------------------------------------------------

interface Explained {
  readonly reason: string | null
  readonly options?: Readonly<Record<string, unknown>>
  /** Brings it about for alice. */
  readonly given: (made: Bench) => void
  /** Ends by itself. */
  readonly hasEnd?: true
  readonly target?: string
}

const REASONS: readonly Explained[] = [
  { reason: 'unknown', given: () => {} },
  {
    reason: 'noRoute',
    given: ({ manager }) => void manager.peer.setPriority({ id: alice.id, priority: 'HIGH' }),
  },
  {
    reason: 'noRoute',
    given: ({ add }) => add(alice.by('onion')),
    target: alice.address,
  },
  { reason: 'off', given: ({ add }) => add(alice.address) },
  {
    reason: 'banned',
    given: ({ manager, add }) => {
      add(alice.address)
      manager.peer.setPriority({ id: alice.id, priority: 'BANNED' })
      manager.connections.start()
    },
  },
  {
    reason: 'banned',
    given: ({ manager }) => void manager.peer.setPriority({ id: alice.id, priority: 'BANNED' }),
  },
  { reason: 'self', options: { selfId: alice.id }, given: ({ manager }) => manager.connections.start() },
  {
    reason: 'initialSync',
    given: ({ manager, add, flush, dial }) => {
      add(alice.address, bob.address)
      manager.initialSync.start(bob.id)
      flush()
      dial(bob.address).accept()
    },
  },
  {
    reason: 'offline',
    given: ({ manager, add }) => {
      manager.connections.start()
      manager.internal.offline()
      add(alice.address)
    },
    hasEnd: true,
  },
  {
    reason: 'peerConnected',
    given: ({ manager, connected, flush }) => {
      connected(alice.address).onClose = 'silent'
      manager.connections.start()
      void manager.peer.disconnect({ id: alice.id })
      flush()
    },
  },
  {
    reason: 'peerDialing',
    given: ({ manager, add, flush }) => {
      add(alice.address)
      manager.connections.start()
      flush()
    },
  },
  {
    reason: 'typeDisabled',
    given: ({ manager, add, flush }) => {
      add(alice.by('ws'))
      manager.connections.start()
      flush()
    },
  },
  {
    reason: 'backoff',
    given: ({ manager, add, flush, dial }) => {
      add(alice.address)
      manager.connections.start()
      flush()
      dial(alice.address).refuse('ECONNRESET')
      flush()
    },
    hasEnd: true,
  },
  {
    reason: 'backoff',
    given: ({ manager, connected, flush }) => {
      connected(alice.address)
      manager.connections.start()
      void manager.peer.disconnect({ id: alice.id })
      flush()
    },
    hasEnd: true,
  },
  {
    reason: 'hostThrottled',
    given: ({ manager, add, flush }) => {
      add(bob.by('net', 'alice.example'))
      manager.connections.start()
      flush()
      add(alice.address)
      flush()
    },
    hasEnd: true,
    target: alice.address,
  },
  {
    reason: 'transportDown',
    given: ({ manager, add, flush, dial }) => {
      const people = [bob, carol, dave].map((each) => each.by('onion'))
      add(...people)
      manager.connections.start()
      flush()
      for (const address of people) dial(address).refuse('ECONNREFUSED')
      flush()
      add(alice.by('onion'))
      flush()
    },
    hasEnd: true,
  },
  {
    reason: 'slotsFull',
    given: ({ manager, add, flush, dial }) => {
      add(bob.address, carol.address, dave.address)
      manager.connections.start()
      flush()
      for (const each of [bob, carol, dave]) dial(each.address).accept()
      flush()
      add(alice.address)
      flush()
    },
  },
]

for (const [index, { reason, options, given, hasEnd, target }] of REASONS.entries())
  test(`explain() answers ${reason} (${index})`, (t) => {
    const made = bench({ selfId: LAST_ID, ...options })
    given(made)
    const { manager, clock } = made
    const said = manager.peer.explain(target ?? alice.id)
    t.equal(said.reason, reason, said.message)
    t.equal(said.connected, false)
    t.ok(said.message.length > 10, 'in words, too')
    if (hasEnd) t.ok(said.until !== null && said.until > clock.now(), `until ${said.until}`)
    else t.equal(said.until, null, 'only an event can end it')
    if (target === undefined)
      t.equal(manager.peer.explain({ id: alice.id }).reason, reason, 'asked otherwise, the same')
    t.end()
  })

test('every reason that there is has been explained', (t) => {
  const all =
    'off banned self initialSync offline peerConnected peerDialing typeDisabled backoff hostThrottled transportDown slotsFull'
  t.deepEqual([...new Set(REASONS.map((row) => row.reason))].sort(), [...all.split(' '), 'unknown', 'noRoute'].sort())
  t.end()
})

test('explain() of a connected peer says so, and of one that may be dialed that nothing stands in its way', (t) => {
  const { manager, connected, add, why } = bench()
  connected(alice.address)
  const said = manager.peer.explain(alice.id)
  t.deepEqual([said.connected, said.reason, said.until], [true, null, null])
  t.match(said.message, /outbound since 2026-01-01/)
  manager.connections.start()
  add(bob.address)
  t.deepEqual([why(bob.id), manager.peer.explain(bob.id).connected], [null, false])
  t.end()
})

test('explain() of a peer with several routes answers with the nearest, and lists all', (t) => {
  const { manager, add, flush, why } = bench()
  add(alice.by('ws'), alice.by('onion'))
  manager.connections.start()
  manager.connections.setMaxByType({ onion: 0 })
  t.equal(why(alice.id), 'typeDisabled')
  manager.connections.setMaxByType({ ws: 1 })
  t.equal(why(alice.id), null, 'by ws it can')
  t.equal(why(alice.by('onion')), 'typeDisabled', 'by onion not')
  t.equal(manager.peer.explain(alice.id).routes.length, 2)
  flush()
  t.end()
})

// ---- connect ----------------------------------------------------------------------------------------------------------

test('connect goes past slots, types, backoff, being off and our link being down', async (t) => {
  const { manager, clock, dial, dials, flush } = bench()
  manager.connections.setMaxByType({ net: 0 })
  manager.internal.offline()
  for (let n = 0; n < 3; n++) {
    const asked = manager.peer.connect({ address: alice.by('ws') })
    flush()
    t.equal(dials.length, n + 1, 'dialed at once')
    dial(alice.by('ws')).refuse('ECONNRESET')
    t.equal(await codeOf(asked), 'ERR_DIAL_FAILED')
  }
  const asked = manager.peer.connect({ address: alice.by('ws') })
  flush()
  const rpc = dial(alice.by('ws')).accept()
  t.equal(await asked, rpc)
  clock.advance(DAY)
  t.equal(rpc.hangUps, 0, 'and the connection stays')
})

test('connect returns the connection of a peer that is connected, of either direction', async (t) => {
  const { manager, connected, dials } = bench()
  const rpc = connected(alice.address)
  const inbound = new FakeRpc()
  manager.peer.remotePeerConnected(bob.id, inbound)
  t.equal(await manager.peer.connect({ id: alice.id }), rpc)
  t.equal(await manager.peer.connect(alice.address), rpc)
  t.equal(await manager.peer.connect({ id: bob.id }), inbound)
  t.equal(dials.length, 1, 'without dialing again')
})

test('connect joins a dial under way, of the scheduler or of another call', async (t) => {
  const { manager, add, dial, dials, flush } = bench()
  add(alice.address)
  manager.connections.start()
  flush()
  const first = manager.peer.connect({ id: alice.id })
  const second = manager.peer.connect({ address: alice.address })
  flush()
  t.equal(dials.length, 1, 'one dial')
  const rpc = dial(alice.address).accept()
  t.deepEqual(await Promise.all([first, second]), [rpc, rpc], 'both get it')
})

test('connect fails when every route has, and lists the attempts', async (t) => {
  const { manager, clock, dial, dials } = bench()
  const addresses = [alice.address, alice.by('onion'), alice.by('ws')]
  for (const address of addresses) manager.peer.addRoute({ address })
  const asked = manager.peer.connect({ address: addresses[1]! })
  const joined = manager.peer.connect({ id: alice.id })
  clock.flush()
  t.equal(dials[0]?.address, addresses[1], 'the one asked for first')
  clock.advance(SECOND)
  t.equal(dials.length, 3, 'then all others race')
  dial(addresses[1]!).refuse('EHOSTDOWN')
  dial(addresses[0]!).refuse('ECONNREFUSED')
  t.equal(manager.peer.get(alice.id)?.connection.status, 'dialing', 'one is left')
  dial(addresses[2]!).refuse('ECONNRESET')
  for (const promise of [asked, joined]) {
    const error = await promise.then(
      () => null,
      (reason) => reason as DialFailedError,
    )
    t.ok(error instanceof DialFailedError)
    t.equal(error?.code, 'ERR_DIAL_FAILED')
    t.equal(error?.peer, alice.id)
    t.equal(error?.address, addresses[2], 'the address of the last one')
    t.equal((error?.cause as { code?: string })?.code, 'ECONNRESET', 'and its cause, as it came')
    t.deepEqual(
      error?.attempts.map(({ address, code }) => [address, code]),
      [
        [addresses[1], 'EHOSTDOWN'],
        [addresses[0], 'ECONNREFUSED'],
        [addresses[2], 'ECONNRESET'],
      ],
      'all three attempts',
    )
  }
  t.equal(manager.peer.get(alice.id)?.connection.status, 'idle')
})

test('connect that is not answered fails after the timeout of the dial', async (t) => {
  const { manager, clock } = bench()
  const asked = manager.peer.connect({ address: alice.address })
  clock.flush()
  clock.advance(10 * SECOND)
  const error = await asked.then(
    () => null,
    (reason) => reason as DialFailedError,
  )
  t.equal(error?.code, 'ERR_DIAL_FAILED')
  t.deepEqual(
    error?.attempts.map((attempt) => attempt.code),
    ['ERR_DIAL_TIMEOUT'],
  )
})

test('connect is refused for the banned, for ourselves, and for whom we know no way to', async (t) => {
  const { manager, dials, flush } = bench({ selfId: LAST_ID })
  manager.peer.setPriority({ id: alice.id, priority: 'BANNED' })
  t.equal(await codeOf(manager.peer.connect({ address: alice.address })), 'ERR_BANNED')
  t.equal(manager.peer.get(alice.id)?.routes.length, 0, 'the route is not even taken')
  t.equal(await codeOf(manager.peer.connect({ id: LAST_ID })), 'ERR_INVALID_ARGUMENT')
  t.equal(await codeOf(manager.peer.connect({ id: bob.id })), 'ERR_NO_ROUTE')
  t.equal(await codeOf(manager.peer.connect({ id: bob.id, isLongTerm: true })), 'ERR_NO_ROUTE')
  t.equal(manager.peer.get(bob.id), null, 'nothing is half done')
  manager.peer.setPriority({ id: carol.id, priority: 'HIGH' })
  t.equal(await codeOf(manager.peer.connect({ id: carol.id, isLongTerm: true })), 'ERR_NO_ROUTE')
  t.equal(manager.peer.get(carol.id)?.isLongTerm, false, 'nothing is half done')
  flush()
  t.equal(dials.length, 0)
})

test('who waits for a connection is told when it is cut short', async (t) => {
  for (const [title, cut, code] of [
    ['stop', ({ manager }) => manager.connections.stop(), 'ERR_NOT_RUNNING'],
    ['close', ({ manager }) => manager.close(), 'ERR_CLOSED'],
    ['a ban', ({ manager }) => manager.peer.setPriority({ id: alice.id, priority: 'BANNED' }), 'ERR_BANNED'],
    ['the removal of the route', ({ manager }) => manager.peer.removeRoute({ address: alice.address }), 'ERR_NO_ROUTE'],
    ['disconnect', ({ manager }) => void manager.peer.disconnect({ id: alice.id }), 'ERR_DIAL_FAILED'],
  ] as readonly (readonly [string, (made: Bench) => unknown, string])[])
    for (const phase of ['asked', 'dialing'] as const) {
      const made = bench()
      const asked = made.manager.peer.connect({ address: alice.address })
      if (phase === 'dialing') made.flush()
      cut(made)
      made.flush()
      t.equal(await codeOf(asked), code, `${title}, while ${phase}`)
      t.equal(made.clock.pending, 0, 'no timer')
      t.equal(made.dials.length, phase === 'asked' ? 0 : 1, 'and nothing is dialed any more')
    }
})

test('connect with isLongTerm keeps the peer up: dialed again when it goes, and exempt from the lifetime', async (t) => {
  const { manager, clock, dial, dials, flush } = bench()
  manager.connections.setLifetime(HOUR)
  manager.connections.start()
  const asked = manager.peer.connect({ address: alice.by('ws'), isLongTerm: true })
  flush()
  const rpc = dial(alice.by('ws')).accept()
  t.equal(await asked, rpc)
  t.equal(manager.peer.get(alice.id)?.isLongTerm, true)
  clock.advance(DAY)
  t.equal(rpc.hangUps, 0, 'past the lifetime')
  rpc.end()
  clock.advance(10 * MINUTE)
  t.ok(dials.length >= 2, 'dialed again, though its type has no slot')
  t.end()
})

// ---- disconnect -------------------------------------------------------------------------------------------------------

test('disconnect waits for the end of the connection', async (t) => {
  const { manager, clock, connected, flush } = bench()
  const rpc = connected(alice.address)
  rpc.onClose = 'silent'
  let isDone = false
  const asked = manager.peer.disconnect({ id: alice.id }).then((result) => {
    isDone = true
    return result
  })
  const again = manager.peer.disconnect({ id: alice.id })
  await clock.advanceAsync(4 * SECOND)
  t.equal(rpc.hangUps, 1)
  t.equal(isDone, false, 'not before it has ended')
  rpc.end()
  t.equal(await asked, true, 'then')
  t.equal(await again, true, 'for everybody who asked')
  flush()
})

test('disconnect ends when the connection was replaced by another one meanwhile', async (t) => {
  const { manager, connected, flush } = bench()
  connected(alice.address).onClose = 'silent'
  const asked = manager.peer.disconnect({ id: alice.id })
  flush()
  manager.peer.remotePeerConnected(alice.id, new FakeRpc())
  t.equal(await asked, true)
})

test('disconnect says false where there is no connection, and cancels a dial', async (t) => {
  const { manager, add, dial, flush } = bench()
  t.equal(await manager.peer.disconnect({ id: alice.id }), false, 'a stranger')
  add(alice.address)
  t.equal(await manager.peer.disconnect({ id: alice.id }), false, 'somebody known')
  manager.connections.start()
  flush()
  add(bob.address)
  flush()
  t.equal(await manager.peer.disconnect({ id: bob.id }), true, 'somebody who is being dialed')
  t.equal(manager.peer.get(bob.id)?.connection.status, 'idle')
  t.equal(dial(bob.address).accept().hangUps, 1, 'a late success is closed')
})

test('after disconnect the scheduler keeps away for a minute, unless the peer is long-term', async (t) => {
  for (const isLongTerm of [false, true]) {
    const { manager, clock, connected, newDials, flush } = bench()
    connected(alice.address)
    manager.connections.start()
    if (isLongTerm) manager.peer.setLongTerm({ id: alice.id })
    flush()
    newDials()
    const asked = manager.peer.disconnect({ id: alice.id })
    flush()
    t.equal(await asked, true)
    clock.advance(isLongTerm ? 0 : MINUTE - 1)
    t.deepEqual(
      newDials(),
      isLongTerm ? [alice.address] : [],
      isLongTerm ? 'long-term: at once' : 'not within a minute',
    )
    if (isLongTerm) continue
    clock.advance(1)
    t.deepEqual(newDials(), [alice.address], 'then she is dialed again')
  }
})

test('connect lifts what disconnect has put on a peer', async (t) => {
  const { manager, connected, dials, flush } = bench()
  connected(alice.address)
  const gone = manager.peer.disconnect({ id: alice.id })
  flush()
  await gone
  manager.peer.connect({ id: alice.id }, () => {})
  flush()
  t.equal(dials.length, 2, 'at once')
})

// ---- changes and errors -----------------------------------------------------------------------------------------------

test('changes() tells of dialing, connected, failed, disconnected and refused, with peer, address, direction, reason, time', (t) => {
  const { manager, clock, dial, changes, flush } = bench({ maxInbound: 1 })
  const start = clock.now()
  manager.peer.addRoute({ address: alice.address, priority: 'HIGH' })
  manager.connections.start()
  flush()
  clock.advance(SECOND)
  dial(alice.address).refuse('ECONNRESET')
  manager.peer.connect({ id: alice.id }, () => {})
  flush()
  const rpc = dial(alice.address).accept()
  clock.advance(SECOND)
  rpc.end()
  manager.peer.remotePeerConnected(bob.id, new FakeRpc())
  manager.peer.remotePeerConnected(carol.id, new FakeRpc())
  flush()
  const of = (who: typeof alice, type: string, at: number, rest: object) => ({
    type,
    peer: who.id,
    address: who === alice ? alice.address : null,
    direction: who === alice ? 'outbound' : 'inbound',
    at: start + at,
    ...rest,
  })
  t.deepEqual(changes.items, [
    of(alice, 'dialing', 0, { reason: 'schedule' }),
    of(alice, 'failed', SECOND, { reason: 'ECONNRESET' }),
    of(alice, 'dialing', SECOND, { reason: 'request' }),
    of(alice, 'connected', SECOND, { reason: 'request' }),
    of(alice, 'disconnected', 2 * SECOND, { reason: null }),
    of(bob, 'connected', 2 * SECOND, { reason: 'inbound' }),
    of(carol, 'refused', 2 * SECOND, { reason: 'maxInbound' }),
  ])
  t.end()
})

test('refused is who was not let in; who was connected and has to go is disconnected', (t) => {
  const { manager, changes, connected, flush } = bench({ maxInbound: 1 })
  manager.peer.setPriority({ id: alice.id, priority: 'BANNED' })
  manager.peer.remotePeerConnected(alice.id, new FakeRpc())
  flush()
  manager.peer.remotePeerConnected(bob.id, new FakeRpc())
  manager.peer.addRoute({ address: carol.address })
  manager.peer.remotePeerConnected(carol.id, new FakeRpc())
  flush()
  connected(dave.address)
  for (const { id } of [carol, dave]) manager.peer.setPriority({ id, priority: 'BANNED' })
  flush()
  const names = new Map([alice, bob, carol, dave].map((who, n) => [who.id, ['alice', 'bob', 'carol', 'dave'][n]!]))
  t.deepEqual(
    changes.items.map(({ type, peer, reason }) => `${names.get(peer)} ${type}: ${reason}`),
    [
      'alice refused: banned',
      'bob connected: inbound',
      'carol connected: inbound',
      'bob disconnected: maxInbound',
      'dave dialing: request',
      'dave connected: request',
      'carol disconnected: banned',
      'dave disconnected: banned',
    ],
  )
  t.end()
})

test('errors() gives {peer: address, error}, and the error survives JSON', (t) => {
  const { manager, dial, flush } = bench()
  for (const open of [manager.connections.errors, manager.connection.errors]) {
    const errors = collect(open())
    manager.peer.connect({ address: alice.address }, () => {})
    flush()
    dial(alice.address).refuse('ECONNRESET')
    t.equal(errors.items.length, 1)
    const { peer, id, error, errorCount } = errors.items[0]!
    t.equal(peer, alice.address)
    t.equal(id, alice.id)
    t.equal(error.code, 'ERR_DIAL_FAILED')
    t.equal(errorCount, manager.peer.get(alice.id)?.routes[0]?.errorCount, 'failures of the route in a row')
    const read = JSON.parse(JSON.stringify(errors.items[0])) as { error: { code: string; cause: { code: string } } }
    t.equal(read.error.code, 'ERR_DIAL_FAILED', 'its code')
    t.equal(read.error.cause.code, 'ECONNRESET', 'and the one of its cause survive')
    void errors.abort()
  }
  t.end()
})

// ---- initial sync -----------------------------------------------------------------------------------------------------

/** Three connected by the scheduler, one by the user, one inbound; all answer at once. */
function busy(options: { readonly isOn: boolean }) {
  const rpcs = new Map<string, FakeRpc>()
  const made = bench({ answer: (dial) => void rpcs.set(dial.address, dial.accept()) })
  const { manager, flush, add } = made
  if (options.isOn) manager.connections.start()
  add(alice.address, bob.address, carol.address)
  flush()
  return {
    ...made,
    rpcs,
    up: () => manager.peer.list().filter((peer) => peer.connection.status === 'connected').length,
  }
}

test('initialSync keeps one connection, and the mode from before comes back with stop()', (t) => {
  const { manager, clock, up, add, flush } = busy({ isOn: true })
  t.equal(up(), 3)
  manager.initialSync.start()
  clock.advance(0)
  t.equal(manager.connections.status().mode, 'initialSync')
  t.equal(up(), 1, 'one is kept')
  add(dave.address)
  clock.advance(DAY)
  t.equal(up(), 1, 'nobody else is dialed')
  manager.initialSync.start()
  manager.initialSync.stop()
  manager.initialSync.stop()
  flush()
  t.equal(manager.connections.status().mode, 'on')
  clock.advance(MINUTE)
  t.equal(up(), 3, 'the slots fill again')
  t.end()
})

test('initialSync from off: what it opened goes with it', (t) => {
  const { manager, clock, up, dials } = busy({ isOn: false })
  t.equal(up(), 0)
  manager.initialSync.start(bob.id)
  clock.advance(0)
  t.equal(manager.peer.get(bob.id)?.connection.status, 'connected')
  t.equal(up(), 1)
  manager.initialSync.stop()
  clock.advance(0)
  t.equal(up(), 0)
  t.equal(manager.connections.status().mode, 'off')
  clock.advance(DAY)
  t.equal(dials.length, 1, 'and that is all')
  t.equal(clock.pending, 0)
  t.end()
})

test('initialSync with a peer tries that one until it is there', (t) => {
  let isUp = false
  const { manager, clock, newDials, flush } = bench({
    answer: (dial) => (isUp ? void dial.accept() : dial.refuse('ECONNRESET')),
  })
  manager.peer.addRoute({ address: bob.address })
  manager.initialSync.start(alice.address)
  flush()
  clock.advance(6 * HOUR)
  const tried = newDials()
  t.ok(tried.length >= 3, `${tried.length} tries`)
  t.deepEqual([...new Set(tried)], [alice.address], 'of nobody else')
  isUp = true
  clock.advance(3 * HOUR)
  t.equal(manager.peer.get(alice.id)?.connection.status, 'connected')
  t.end()
})

test('initialSync without a peer goes on to the next best when one fails or stalls', (t) => {
  const { manager, clock, dials, add, flush } = bench()
  add(alice.address, bob.address, carol.address)
  manager.initialSync.start()
  flush()
  t.equal(dials.length, 1, 'one at a time')
  dials[0]!.refuse()
  flush()
  t.equal(dials.length, 2)
  t.notEqual(dials[1]!.address, dials[0]!.address, 'the next')
  const rpc = dials[1]!.accept()
  const { id } = [alice, bob, carol].find((each) => each.address === dials[1]!.address)!
  manager.internal.reportProgress({ peer: id, have: 1, want: 10, isStalled: true })
  clock.advance(0)
  t.equal(rpc.hangUps, 1, 'a stalled one is hung up on')
  t.equal(dials.length, 3)
  t.notOk(
    dials.slice(0, 2).some((each) => each.address === dials[2]!.address),
    'and the third is tried',
  )
  t.end()
})

test('progress() tells how it goes, from off to caught up', (t) => {
  const { manager, clock, dial, add, flush } = bench()
  add(alice.address)
  const progress = collect(manager.initialSync.progress())
  manager.initialSync.start()
  flush()
  dial(alice.address).accept()
  manager.internal.reportProgress({ peer: alice.id, have: 1, want: 10 })
  manager.internal.reportProgress({ peer: bob.id, have: 5, want: 10 })
  manager.internal.reportProgress({ peer: alice.id, have: 10, want: 10, isCaughtUp: true })
  clock.advance(0)
  const at = (phase: string, peer: string | null = null, have: number | null = null, want: number | null = null) => ({
    phase,
    peer,
    have,
    want,
  })
  t.deepEqual(progress.items, [
    at('off'),
    at('connecting'),
    at('syncing', alice.id),
    at('syncing', alice.id, 1, 10),
    at('caughtUp', alice.id, 10, 10),
  ])
  t.equal(manager.connections.status().mode, 'off', 'it has ended by itself')
  manager.initialSync.start()
  manager.initialSync.stop()
  t.equal(progress.items[progress.items.length - 1]?.phase, 'off', 'by stop()')
  t.end()
})

test('initialSync stopped from within a reader is over', (t) => {
  const { manager, add, flush } = bench()
  add(alice.address)
  const progress = collect(manager.initialSync.progress())
  const read = manager.peers({ old: false })
  manager.onPrioritise(() => undefined)
  read(null, () => manager.initialSync.stop())
  manager.initialSync.start()
  flush()
  manager.peer.setPriority({ id: alice.id, priority: 'HIGH' })
  flush()
  t.equal(manager.connections.status().mode, 'off')
  t.equal(progress.items[progress.items.length - 1]?.phase, 'off')
  t.end()
})

test('initialSync is refused for whom we do not know, for the banned and for ourselves', (t) => {
  const { manager } = bench({ selfId: LAST_ID })
  manager.peer.setPriority({ id: alice.id, priority: 'BANNED' })
  const state = manager.internal.store.getState()
  t.throws(() => manager.initialSync.start(alice.address), { code: 'ERR_BANNED' })
  t.throws(() => manager.initialSync.start(bob.id), { code: 'ERR_UNKNOWN_PEER' })
  t.throws(() => manager.initialSync.start(LAST_ID), { code: 'ERR_INVALID_ARGUMENT' })
  t.equal(manager.internal.store.getState(), state)
  t.end()
})

// ---- wake-up and change of the network --------------------------------------------------------------------------------

for (const event of ['woke', 'networkChanged', 'online'] as const)
  test(`${event}: connections that answer a probe stay, dead ones are closed and dialed again`, async (t) => {
    const rpcs = new Map<string, FakeRpc>()
    const probed: unknown[] = []
    const probe = (rpc: unknown): Promise<unknown> => {
      probed.push(rpc)
      if (rpc === rpcs.get(bob.address)) return Promise.reject(new Error('gone'))
      if (rpc === rpcs.get(carol.address)) return new Promise(() => {})
      if (rpc === rpcs.get(dave.address)) throw new Error('gone')
      return Promise.resolve()
    }
    const { manager, clock, newDials, add, status } = bench({
      probe,
      answer: (dial) => void rpcs.set(dial.address, dial.accept()),
    })
    manager.connections.setMaxByType({ net: 4 })
    manager.connections.start()
    add(alice.address, bob.address, carol.address, dave.address)
    clock.flush()
    clock.advance(MINUTE)
    newDials()
    const before = new Map(rpcs)
    manager.internal[event]()
    manager.internal[event]()
    await clock.advanceAsync(0)
    t.equal(probed.length, 4, 'each is asked once, though the event came twice')
    t.equal(before.get(bob.address)?.hangUps, 1, 'a probe that fails')
    t.equal(before.get(dave.address)?.hangUps, 1, 'a probe that throws')
    t.equal(before.get(carol.address)?.hangUps, 0, 'a probe without an answer is waited for')
    t.deepEqual(newDials().sort(), [bob.address, dave.address].sort(), 'the dead ones are dialed again at once')
    await clock.advanceAsync(SECOND - 1)
    t.equal(before.get(carol.address)?.hangUps, 0, 'for not quite a second')
    await clock.advanceAsync(1)
    t.equal(before.get(carol.address)?.hangUps, 1, 'then it is taken for dead')
    t.deepEqual(newDials(), [carol.address])
    t.equal(before.get(alice.address)?.hangUps, 0, 'the one that answers stays')
    t.deepEqual(
      [alice, bob, carol, dave].map((each) => status(each.id)),
      ['connected', 'connected', 'connected', 'connected'],
    )
    const reasons = (await Promise.resolve(manager)).peer.list().map((peer) => peer.routes[0]?.errorCount)
    t.deepEqual(reasons, [0, 0, 0, 0], 'nobody is blamed')
    manager.close()
    t.equal(clock.pending, 0)
  })

test('a probe is for the connection that was asked, not for its successor', async (t) => {
  const probes: ((error: Error) => void)[] = []
  const { manager, clock, connected } = bench({ probe: () => new Promise((_resolve, reject) => probes.push(reject)) })
  const old = connected(alice.address)
  manager.internal.woke()
  await clock.advanceAsync(SECOND)
  old.end()
  const fresh = connected(alice.address)
  probes[0]!(new Error('gone'))
  await clock.advanceAsync(10 * SECOND)
  t.equal(fresh.hangUps, 0, 'the new one stays')
  t.equal(manager.peer.get(alice.id)?.connection.status, 'connected')
})

test('stop and close end the probes under way', async (t) => {
  for (const way of ['stop', 'close'] as const) {
    const { manager, clock, connected } = bench({ probe: () => new Promise(() => {}) })
    const rpc = connected(alice.address)
    manager.internal.woke()
    await clock.advanceAsync(0)
    t.equal(clock.pending, 1, 'a probe waits')
    if (way === 'stop') manager.connections.stop()
    else manager.close()
    clock.flush()
    t.equal(clock.pending, 0, `${way}: no timer`)
    t.equal(rpc.hangUps, 1)
  }
})

test('without a probe nothing is closed at a wake-up, and what is due is dialed', (t) => {
  const { manager, clock, connected, newDials } = bench()
  const rpc = connected(alice.address)
  manager.connections.start()
  manager.internal.offline()
  manager.peer.addRoute({ address: bob.address })
  clock.flush()
  newDials()
  manager.internal.online()
  clock.flush()
  t.equal(rpc.hangUps, 0)
  t.deepEqual(newDials(), [bob.address])
  t.end()
})

// ---- recording --------------------------------------------------------------------------------------------------------

test('a fault in onAction is not ours, and is not swallowed', async (t) => {
  const { thrown, restore } = catchThrown()
  const fault = new Error('a fault of the listener')
  const { manager, dials, flush } = bench({
    onAction: () => {
      throw fault
    },
  })
  manager.peer.addRoute({ address: alice.address })
  manager.connections.start()
  flush()
  t.equal(dials.length, 1, 'dialed all the same')
  await new Promise((resolve) => setImmediate(resolve))
  restore()
  t.deepEqual([...new Set(thrown)], [fault], 'it surfaces outside of the manager')
})

test('onAction sees every action in order', (t) => {
  const types: string[] = []
  const { manager, flush, add } = bench({ onAction: (action) => types.push(action.type) })
  add(alice.address)
  manager.connections.start()
  flush()
  t.deepEqual(types, ['options/changed', 'routes/added', 'connections/started', 'dial/started'])
  t.deepEqual(
    manager.internal.store.recent().map((action) => action.type),
    types.slice(1),
    'the log is the same, without what the state began with',
  )
  t.end()
})

test('two managers with the same seed and the same events do the same', (t) => {
  const run = (): string[] => {
    const { manager, clock, dials } = bench({
      answer: (dial) => (dials.length % 3 ? dial.refuse('ECONNRESET') : void dial.accept()),
    })
    for (let n = 0; n < 30; n++) manager.peer.addRoute({ address: person(`peer ${n}`).by('net', `host${n}.example`) })
    manager.connections.start()
    clock.advance(HOUR)
    return dials.map((dial) => `${dial.at} ${dial.address}`)
  }
  t.deepEqual(run(), run())
  t.end()
})

test('a manager needs nothing but connectToPeer', (t) => {
  const manager = createManager({ connectToPeer: () => {} })
  manager.peer.addRoute({ address: erin.address })
  t.equal(manager.peer.list().length, 1)
  manager.close()
  const other = createManager({
    connectToPeer: () => {},
    clock: virtualClock(),
    random: seededRandom(2),
    hello: 'world',
  })
  t.equal(other.connections.status().mode, 'off', 'names that it does not know are not its own')
  t.end()
})
