/** Each attempt has exactly one outcome, whatever the function that dials does, and whatever happens meanwhile. */
import test = require('tape')

import { createManager } from '../../src/manager'
import type { ConnectToPeer } from '../../src/shell/connector'
import { seededRandom, virtualClock } from '../../src/testing'
import { collect } from '../support/eventually'
import { alice, bench, bob, FakeRpc, FIRST_ID, LAST_ID, MINUTE, SECOND } from '../support/manager'

type DialCallback = (error?: unknown, connection?: unknown) => void

/** A manager whose `connectToPeer` is given as it is: its length and what it returns matter. */
function dialing(connectToPeer: ConnectToPeer) {
  const clock = virtualClock()
  const manager = createManager({ connectToPeer, clock, random: seededRandom(1), backoffBaseMs: 30 * MINUTE })
  const changes = collect(manager.connections.changes())
  const errors = collect(manager.connections.errors())
  manager.peer.addRoute({ address: alice.address, priority: 'HIGH' })
  return {
    manager,
    clock,
    changes,
    errors,
    /** What became of the attempts so far. */
    outcomes: () => changes.items.map((change) => change.type).filter((type) => type !== 'dialing'),
    rpc: () => manager.internal.connectionOf(alice.id),
  }
}

const boom = Object.assign(new Error('boom'), { code: 'EBOOM' })

interface Row {
  readonly title: string
  readonly dial: (rpc: FakeRpc, other: FakeRpc) => ConnectToPeer
  readonly outcome: 'connected' | 'failed'
  /** Of the failure; null: none. */
  readonly code?: string | null
  readonly message?: RegExp
  /** The attempt ends by itself, not by our timeout. */
  readonly isSlow?: true
  /** The connection was made, but no handle was given. */
  readonly hasNoHandle?: true
  /** How often the other connection is hung up on; default 0. */
  readonly otherHangUps?: number
}

const later = <T>(value: T): Promise<T> => Promise.resolve().then(() => value)

const ROWS: readonly Row[] = [
  // one outcome, by either way
  { title: 'calls back', dial: (rpc) => (_a, cb) => void later(0).then(() => cb(null, rpc)), outcome: 'connected' },
  { title: 'calls back before it returns', dial: (rpc) => (_a, cb) => cb(null, rpc), outcome: 'connected' },
  { title: 'returns a promise, takes no callback', dial: (rpc) => (_a) => later(rpc), outcome: 'connected' },
  { title: 'returns a promise, takes a callback', dial: (rpc) => (_a, _cb) => later(rpc), outcome: 'connected' },
  {
    title: 'returns a thenable that answers at once',
    // biome-ignore lint/suspicious/noThenProperty: it is meant to be one
    dial: (rpc) => () => ({ then: (resolve: (value: unknown) => void) => resolve(rpc) }) as PromiseLike<unknown>,
    outcome: 'connected',
  },
  {
    title: 'fails by callback',
    dial: () => (_a, cb) => void later(0).then(() => cb(boom)),
    outcome: 'failed',
    code: 'EBOOM',
  },
  { title: 'fails by callback before it returns', dial: () => (_a, cb) => cb(boom), outcome: 'failed', code: 'EBOOM' },
  { title: 'rejects', dial: () => (_a) => Promise.reject(boom), outcome: 'failed', code: 'EBOOM' },
  {
    title: 'throws',
    dial: () => () => {
      throw boom
    },
    outcome: 'failed',
    code: 'EBOOM',
  },

  // odd values
  {
    title: 'rejects with undefined',
    dial: () => (_a) => Promise.reject(undefined),
    outcome: 'failed',
    code: null,
    message: /reason/,
  },
  {
    title: 'throws undefined',
    dial: () => () => {
      throw undefined
    },
    outcome: 'failed',
    code: null,
    message: /threw nothing/,
  },
  { title: 'fails with a string', dial: () => (_a, cb) => cb('no'), outcome: 'failed', code: null, message: /^no$/ },
  { title: 'fails with a number', dial: () => (_a, cb) => cb(7), outcome: 'failed', code: null, message: /7/ },
  { title: 'fails with true, as pull-streams end', dial: () => (_a, cb) => cb(true), outcome: 'failed', code: null },
  {
    title: 'fails with an error that cannot be read',
    dial: () => (_a, cb) => {
      const { proxy, revoke } = Proxy.revocable({}, {})
      revoke()
      cb(proxy)
    },
    outcome: 'failed',
    code: null,
  },
  {
    title: 'calls back (null, false), as ssb-conn does',
    dial: () => (_a, cb) => cb(null, false),
    outcome: 'failed',
    code: null,
  },
  { title: 'resolves with false', dial: () => (_a) => later(false), outcome: 'failed', code: null },
  { title: 'calls back without a connection', dial: () => (_a, cb) => cb(), outcome: 'connected', hasNoHandle: true },
  { title: 'calls back with true', dial: () => (_a, cb) => cb(null, true), outcome: 'connected', hasNoHandle: true },
  {
    title: 'resolves with undefined and takes no callback',
    dial: () => async (_a) => {},
    outcome: 'connected',
    hasNoHandle: true,
  },
  {
    title: 'resolves with undefined, then calls back',
    dial: (rpc) => async (_a, cb) =>
      void later(0)
        .then(() => later(0))
        .then(() => cb(null, rpc)),
    outcome: 'connected',
  },
  {
    title: 'resolves with undefined, then fails by callback',
    dial: () => async (_a, cb) =>
      void later(0)
        .then(() => later(0))
        .then(() => cb(boom)),
    outcome: 'failed',
    code: 'EBOOM',
  },
  {
    title: 'resolves with null, then calls back',
    dial: (rpc) => (_a, cb) => {
      void later(0)
        .then(() => later(0))
        .then(() => cb(null, rpc))
      return later(null)
    },
    outcome: 'connected',
  },
  {
    title: 'resolves with undefined, takes a callback, and never calls it',
    dial: () => async (_a, _cb) => {},
    outcome: 'failed',
    code: 'ERR_DIAL_TIMEOUT',
    isSlow: true,
  },
  {
    title: 'returns an object whose then cannot be read',
    dial: () => () => ({
      // biome-ignore lint/suspicious/noThenProperty: it is meant to be one
      get then(): unknown {
        throw boom
      },
    }),
    outcome: 'failed',
    code: 'EBOOM',
  },
  {
    title: 'returns something that is no promise and never calls back',
    // biome-ignore lint/suspicious/noThenProperty: it is meant to look like one
    dial: () => (_a, _cb) => ({ then: 'not a function' }),
    outcome: 'failed',
    code: 'ERR_DIAL_TIMEOUT',
    isSlow: true,
  },
  { title: 'never answers', dial: () => () => {}, outcome: 'failed', code: 'ERR_DIAL_TIMEOUT', isSlow: true },
  {
    title: 'returns a promise that never settles',
    dial: () => (_a) => new Promise(() => {}),
    outcome: 'failed',
    code: 'ERR_DIAL_TIMEOUT',
    isSlow: true,
  },

  // more than one outcome: the first counts
  {
    title: 'calls back and resolves with the same connection',
    dial: (rpc) => (_a, cb) => {
      cb(null, rpc)
      return later(rpc)
    },
    outcome: 'connected',
  },
  {
    title: 'calls back and resolves with another connection',
    dial: (rpc, other) => (_a, cb) => {
      cb(null, rpc)
      return later(other)
    },
    outcome: 'connected',
    otherHangUps: 1,
  },
  {
    title: 'calls back twice with the same connection',
    dial: (rpc) => (_a, cb) => {
      cb(null, rpc)
      cb(null, rpc)
    },
    outcome: 'connected',
  },
  {
    title: 'calls back twice with two connections',
    dial: (rpc, other) => (_a, cb) => {
      cb(null, rpc)
      cb(null, other)
    },
    outcome: 'connected',
    otherHangUps: 1,
  },
  {
    title: 'succeeds, then fails',
    dial: (rpc) => (_a, cb) => {
      cb(null, rpc)
      cb(boom)
      return Promise.reject(boom)
    },
    outcome: 'connected',
  },
  {
    title: 'succeeds, then throws',
    dial: (rpc) => (_a, cb) => {
      cb(null, rpc)
      throw boom
    },
    outcome: 'connected',
  },
  {
    title: 'fails, then succeeds',
    dial: (_rpc, other) => (_a, cb) => {
      cb(boom)
      cb(null, other)
    },
    outcome: 'failed',
    code: 'EBOOM',
    otherHangUps: 1,
  },
  {
    title: 'fails twice',
    dial: () => (_a, cb) => {
      cb(boom)
      cb(new Error('again'))
    },
    outcome: 'failed',
    code: 'EBOOM',
  },
  {
    title: 'throws after it called back with an error',
    dial: () => (_a, cb) => {
      cb(boom)
      throw new Error('again')
    },
    outcome: 'failed',
    code: 'EBOOM',
  },
  {
    title: 'fails with both an error and a connection',
    dial: (_rpc, other) => (_a, cb) => cb(boom, other),
    outcome: 'failed',
    code: 'EBOOM',
    otherHangUps: 1,
  },
]

for (const row of ROWS)
  test(`exactly one outcome if connectToPeer ${row.title}`, async (t) => {
    const [rpc, other] = [new FakeRpc('first'), new FakeRpc('second')]
    const { manager, clock, outcomes, errors, changes } = dialing(row.dial(rpc, other))
    let seen: unknown = 'nothing'
    const answers: unknown[] = []
    manager.peer.connect({ id: alice.id }, (error?: unknown, connection?: unknown) => {
      answers.push(error ?? connection)
      seen = error ? (error as { code?: unknown }).code : connection
    })
    await clock.advanceAsync(row.isSlow ? 10 * SECOND : 0)
    t.deepEqual(outcomes(), [row.outcome], 'once')
    await clock.advanceAsync(20 * SECOND)
    t.deepEqual(outcomes(), [row.outcome], 'and no more')
    t.equal(answers.length, 1, 'whoever asked is told once')
    if (row.outcome === 'connected') {
      t.equal(seen, row.hasNoHandle ? null : rpc, 'of the connection')
      t.equal(manager.peer.get(alice.id)?.connection.status, 'connected')
      t.equal(rpc.hangUps, 0, 'which is left alone')
      t.equal(errors.items.length, 0, 'no error')
    } else {
      t.equal(seen, 'ERR_DIAL_FAILED', 'of the failure')
      t.equal(manager.peer.get(alice.id)?.connection.status, 'idle')
      const [last] = manager.peer.get(alice.id)!.routes[0]!.errors
      t.equal(last?.code, row.code, `code ${last?.code}`)
      if (row.message) t.match(last?.message ?? '', row.message)
      t.equal(errors.items.length, 1, 'one error')
      t.ok(changes.items.find((change) => change.type === 'failed')?.reason, 'with a reason')
    }
    t.equal(other.hangUps, row.otherHangUps ?? 0, 'what else was opened is closed')
    manager.close()
    t.equal(clock.pending, 0, 'no timer is left')
  })

// ---- too late ---------------------------------------------------------------------------------------------------------

test('a success after the attempt was given up is closed, and counts for nothing', (t) => {
  const { manager, clock, dial, changes, flush } = bench()
  manager.peer.connect({ address: alice.address }, () => {})
  flush()
  clock.advance(10 * SECOND)
  t.deepEqual(
    changes.items.map((change) => change.type),
    ['dialing', 'failed'],
  )
  t.equal(manager.connections.status().lingering, 1, 'its socket may still be there')
  const rpc = dial(alice.address).accept()
  t.equal(rpc.hangUps, 1, 'closed')
  t.equal(manager.peer.get(alice.id)?.connection.status, 'idle')
  t.equal(manager.connections.status().lingering, 0, 'its socket is gone')
  t.equal(changes.items.length, 2, 'nobody hears of it')
  t.end()
})

test('a failure after the attempt was given up is not counted again', (t) => {
  const { manager, clock, dial, flush } = bench()
  const errors = collect(manager.connections.errors())
  manager.peer.connect({ address: alice.address }, () => {})
  flush()
  clock.advance(10 * SECOND)
  dial(alice.address).refuse('ETIMEDOUT')
  t.equal(manager.peer.get(alice.id)?.routes[0]?.errorCount, 1)
  t.equal(errors.items.length, 1)
  t.equal(manager.connections.status().lingering, 0)
  t.end()
})

for (const [title, hinder] of [
  ['stop', (manager) => manager.connections.stop()],
  ['close', (manager) => manager.close()],
  ['the removal of the route', (manager) => manager.peer.removeRoute({ address: alice.address })],
  ['a ban', (manager) => manager.peer.setPriority({ id: alice.id, priority: 'BANNED' })],
  ['disconnect', (manager) => manager.peer.disconnect({ id: alice.id })],
] as readonly (readonly [string, (manager: ReturnType<typeof createManager>) => unknown])[]) {
  test(`a success after ${title} is closed`, (t) => {
    for (const by of ['scheduler', 'request'] as const) {
      const { manager, clock, dial, changes, flush } = bench()
      manager.peer.addRoute({ address: alice.address })
      if (by === 'scheduler') manager.connections.start()
      else manager.peer.connect({ id: alice.id }, () => {})
      flush()
      const attempt = dial(alice.address)
      hinder(manager)
      flush()
      const rpc = attempt.accept()
      t.equal(rpc.hangUps, 1, `${by}: closed`)
      t.notOk(
        changes.items.some((change) => change.type === 'connected'),
        'nobody hears of it',
      )
      const status = manager.peer.get(alice.id)?.connection.status ?? 'idle'
      t.ok(status === 'idle' || status === 'dialing', `the peer is ${status}`)
      t.equal(manager.internal.connectionOf(alice.id), null, 'nothing is kept')
      clock.advance(MINUTE)
      t.equal(rpc.hangUps, 1, 'once')
      manager.close()
      t.equal(clock.pending, 0)
    }
    t.end()
  })
}

test('stopped and started again, the dial from before does not count', (t) => {
  const { manager, dials, flush } = bench()
  manager.peer.addRoute({ address: alice.address, priority: 'HIGH' })
  manager.connections.start()
  flush()
  manager.connections.stop()
  manager.connections.start()
  flush()
  t.equal(dials.length, 2, 'dialed anew')
  t.equal(dials[0]!.accept().hangUps, 1, 'the old one is closed')
  t.equal(manager.peer.get(alice.id)?.connection.status, 'dialing')
  t.equal(dials[1]!.accept().hangUps, 0, 'the new one stays')
  t.equal(manager.peer.get(alice.id)?.connection.status, 'connected')
  t.end()
})

test('of two racing routes the first to connect wins, and the loser is closed as it arrives', (t) => {
  const { manager, clock, dial, changes, flush } = bench()
  const other = alice.by('net', 'other.example')
  manager.peer.addRoute({ address: `${alice.address};${other}` })
  manager.connections.start()
  flush()
  clock.advance(250)
  const [first, second] = changes.items.map((change) => change.address!)
  t.equal(changes.items.length, 2, 'the second starts 250 ms after the first')
  const winner = dial(second!).accept()
  t.equal(manager.peer.get(alice.id)?.connection.address, second, 'the second was faster')
  const loser = dial(first!).accept()
  t.equal(loser.hangUps, 1, 'the first is closed')
  t.equal(winner.hangUps, 0, 'the second stays')
  t.deepEqual(
    changes.items.map((change) => change.type),
    ['dialing', 'dialing', 'connected'],
  )
  t.equal(manager.peer.get(alice.id)?.routes.find((route) => route.id === first)?.connectionCount, 0)
  t.equal(manager.internal.connectionOf(alice.id), winner)
  t.end()
})

test('a loser that fails late is no failure', (t) => {
  const { manager, clock, dial, changes, flush } = bench()
  manager.peer.addRoute({ address: `${alice.address};${alice.by('net', 'other.example')}` })
  manager.connections.start()
  flush()
  clock.advance(250)
  const [first, second] = changes.items.map((change) => change.address!)
  dial(second!).accept()
  dial(first!).refuse()
  t.deepEqual(
    changes.items.map((change) => change.type),
    ['dialing', 'dialing', 'connected'],
  )
  t.equal(manager.peer.get(alice.id)?.routes.find((route) => route.id === first)?.errorCount, 0)
  t.end()
})

test('attempts that never end are forgotten in time: memory does not grow with them', async (t) => {
  const { manager, clock } = bench()
  for (let n = 0; n < 20; n++) manager.peer.addRoute({ address: alice.by('net', `h${n}.example`), priority: 'HIGH' })
  manager.connections.start()
  // `isDialing` looks at what the connector remembers of a peer, given up or not.
  clock.advance(30 * MINUTE)
  t.ok(manager.internal.isDialing(alice.id), 'remembered, as a late success has to be closed')
  manager.connections.stop()
  clock.advance(3 * 60 * MINUTE)
  manager.peer.connect({ address: bob.address }, () => {})
  clock.flush()
  t.notOk(manager.internal.isDialing(alice.id), 'hours later the next dial drops them')
  t.ok(manager.internal.isDialing(bob.id))
})

// ---- both sides at once -----------------------------------------------------------------------------------------------

/** We dial alice, she dials us; both arrive. `order`: whose connection is there first. */
function crossing(selfId: string | undefined, order: 'ours' | 'theirs') {
  const made = bench(selfId === undefined ? {} : { selfId })
  const { manager, dial, flush } = made
  manager.peer.addRoute({ address: alice.address })
  manager.connections.start()
  flush()
  const [ours, theirs] = [new FakeRpc('ours'), new FakeRpc('theirs')]
  if (order === 'ours') dial(alice.address).accept(ours)
  manager.peer.remotePeerConnected(alice.id, theirs)
  if (order === 'theirs') dial(alice.address).accept(ours)
  flush()
  return { ...made, ours, theirs }
}

for (const [title, selfId, kept] of [
  ['ours is the smaller id: both ends keep our dial', FIRST_ID, 'ours'],
  ['ours is the larger id: both ends keep her dial', LAST_ID, 'theirs'],
] as const)
  for (const order of ['ours', 'theirs'] as const)
    test(`both dial at once, ${title}, ${order} arriving first`, (t) => {
      const { manager, clock, ours, theirs } = crossing(selfId, order)
      const [stays, goes] = kept === 'ours' ? [ours, theirs] : [theirs, ours]
      t.equal(manager.internal.connectionOf(alice.id), stays, `${kept} is kept`)
      t.equal(stays.hangUps, 0, 'and left alone')
      t.equal(goes.hangUps, 1, 'the other one is closed, once')
      const { connection } = manager.peer.get(alice.id)!
      t.equal(connection.status, 'connected')
      t.equal(connection.direction, kept === 'ours' ? 'outbound' : 'inbound')
      goes.end()
      t.equal(manager.peer.get(alice.id)?.connection.status, 'connected', 'the end of the other one changes nothing')
      const { net } = manager.connections.status().classes
      t.equal(net?.connected, kept === 'ours' ? 1 : 0, 'a slot is taken for ours only')
      t.equal(net?.dialing, 0)
      t.equal(manager.connections.status().lingering, 0)
      clock.advance(MINUTE)
      t.equal(stays.hangUps, 0, 'it stays')
      stays.end()
      t.equal(manager.peer.get(alice.id)?.connection.status, 'idle', 'its end is the end')
      t.end()
    })

test('both dial at once, and the other end drops hers before ours is through: ours is kept', (t) => {
  const { manager, dial, flush } = bench({ selfId: FIRST_ID })
  manager.peer.addRoute({ address: alice.address })
  manager.connections.start()
  flush()
  const theirs = new FakeRpc('theirs')
  manager.peer.remotePeerConnected(alice.id, theirs)
  theirs.end()
  const ours = dial(alice.address).accept()
  t.equal(ours.hangUps, 0)
  t.equal(manager.internal.connectionOf(alice.id), ours)
  t.end()
})

test('whose own id is unknown keeps what came first, unless the other side leaves it', (t) => {
  const first = crossing(undefined, 'theirs')
  t.equal(first.manager.internal.connectionOf(alice.id), first.theirs)
  t.equal(first.ours.hangUps, 1)
  const second = crossing(undefined, 'ours')
  t.equal(second.manager.internal.connectionOf(alice.id), second.ours)
  t.equal(second.theirs.hangUps, 0, 'she may want it')
  second.ours.end()
  t.equal(second.manager.internal.connectionOf(alice.id), second.theirs)
  t.end()
})

test('both dial at once, hers has ended, and we stop and start again: our dial from before is not kept', (t) => {
  const { manager, dials, flush } = bench({ selfId: FIRST_ID })
  manager.peer.addRoute({ address: alice.address, priority: 'HIGH' })
  manager.connections.start()
  flush()
  const theirs = new FakeRpc('theirs')
  manager.peer.remotePeerConnected(alice.id, theirs)
  theirs.end()
  manager.connections.stop()
  manager.connections.start()
  flush()
  t.equal(dials[0]!.accept().hangUps, 1)
  t.equal(manager.internal.connectionOf(alice.id), null)
  t.end()
})

test('both dial at once, and we hang up or stop meanwhile: neither is kept', async (t) => {
  for (const [title, hinder] of [
    ['disconnect', (manager) => manager.peer.disconnect({ id: alice.id })],
    ['stop', (manager) => manager.connections.stop()],
    ['stop and start', (manager) => [manager.connections.stop(), manager.connections.start()]],
    ['ban', (manager) => manager.peer.setPriority({ id: alice.id, priority: 'BANNED' })],
    ['route removed', (manager) => manager.peer.removeRoute({ address: alice.address })],
  ] as readonly (readonly [string, (manager: ReturnType<typeof createManager>) => unknown])[]) {
    const { manager, dials, flush } = bench({ selfId: FIRST_ID })
    manager.peer.addRoute({ address: alice.address })
    manager.connections.start()
    flush()
    const theirs = new FakeRpc('theirs')
    manager.peer.remotePeerConnected(alice.id, theirs)
    void hinder(manager)
    flush()
    const ours = dials[0]!.accept()
    t.equal(ours.hangUps, 1, `${title}: our dial is closed as it arrives`)
    t.equal(theirs.hangUps, title === 'route removed' ? 0 : 1, 'hers too, unless only our way to her was removed')
    manager.close()
  }
})

test('a stale connection gives way to a new inbound one, once it is 10 s old, whoever has the smaller id', (t) => {
  for (const selfId of [FIRST_ID, LAST_ID]) {
    const { manager, clock, connected, changes } = bench({ selfId })
    const stale = connected(alice.address)
    clock.advance(10 * SECOND - 1)
    if (selfId === FIRST_ID) {
      const early = new FakeRpc('early')
      manager.peer.remotePeerConnected(alice.id, early)
      t.equal(early.hangUps, 1, 'before, it is one of two that crossed')
    }
    clock.advance(1)
    const fresh = new FakeRpc('fresh')
    manager.peer.remotePeerConnected(alice.id, fresh)
    clock.advance(3 * SECOND - 1)
    t.deepEqual(
      [stale.hangUps, fresh.hangUps],
      [0, 0],
      'both may stay for 3 s: of racing routes, the other side picks one',
    )
    t.equal(manager.internal.connectionOf(alice.id), stale)
    clock.advance(1)
    t.equal(manager.internal.connectionOf(alice.id), fresh, 'then the new one counts')
    t.equal(fresh.hangUps, 0)
    t.equal(stale.hangUps, 1, 'and the old one is closed')
    stale.end()
    t.equal(manager.peer.get(alice.id)?.connection.direction, 'inbound')
    t.equal(manager.peer.get(alice.id)?.connection.status, 'connected')
    t.equal(manager.connections.status().classes.net?.connected, 0, 'its slot is free')
    t.equal(changes.items[changes.items.length - 1]?.type, 'connected')
  }
  t.end()
})

/** Alice calls twice. */
function callingTwice(options: Parameters<typeof bench>[0] = {}) {
  const made = bench({ selfId: FIRST_ID, ...options })
  const [first, second] = [new FakeRpc('first'), new FakeRpc('second')]
  made.manager.peer.remotePeerConnected(alice.id, first)
  made.manager.peer.remotePeerConnected(alice.id, second)
  return { ...made, first, second }
}

test('of two inbound connections the one that the other side leaves open is kept', (t) => {
  for (const [title, end] of [
    ['first', 'second'],
    ['second', 'first'],
  ] as const) {
    const { manager, clock, first, second } = callingTwice()
    const [kept, goes] = title === 'first' ? [first, second] : [second, first]
    goes.end()
    t.equal(manager.internal.connectionOf(alice.id), kept, `the ${end} is closed: the ${title} counts at once`)
    clock.advance(MINUTE)
    t.equal(manager.internal.connectionOf(alice.id), kept)
    t.equal(kept.hangUps, 0)
    t.equal(manager.connections.status().inbound.connected, 1, 'one inbound')
    t.equal(clock.pending, 0, 'no timer is left')
  }
  t.end()
})

test('of two inbound connections that both stay open for 3 s the second is kept: the other side has lost the first', (t) => {
  const { manager, clock, first, second } = callingTwice()
  clock.advance(3 * SECOND)
  t.equal(first.hangUps, 1)
  t.equal(second.hangUps, 0)
  t.equal(manager.internal.connectionOf(alice.id), second)
  t.equal(manager.connections.status().inbound.connected, 1, 'one inbound')
  t.equal(clock.pending, 0)
  t.end()
})

test('of three inbound connections the newest is waited for, and the one between is closed', (t) => {
  const { manager, clock, first, second } = callingTwice()
  const third = new FakeRpc('third')
  clock.advance(2 * SECOND)
  manager.peer.remotePeerConnected(alice.id, third)
  clock.advance(2 * SECOND)
  t.deepEqual([first.hangUps, second.hangUps, third.hangUps], [0, 1, 0])
  clock.advance(SECOND)
  t.deepEqual([first.hangUps, second.hangUps, third.hangUps], [1, 1, 0])
  t.equal(manager.internal.connectionOf(alice.id), third)
  t.end()
})

test('whoever hangs up on a peer hangs up on the second connection too', async (t) => {
  for (const [title, hangUp] of [
    ['disconnect', (manager) => manager.peer.disconnect({ id: alice.id })],
    ['stop', (manager) => manager.connections.stop()],
    ['close', (manager) => manager.close()],
    ['ban', (manager) => manager.peer.setPriority({ id: alice.id, priority: 'BANNED' })],
  ] as readonly (readonly [string, (manager: ReturnType<typeof createManager>) => unknown])[]) {
    const { manager, clock, first, second } = callingTwice()
    void hangUp(manager)
    clock.flush()
    t.deepEqual([first.hangUps, second.hangUps], [1, 1], title)
    t.equal(manager.internal.connectionOf(alice.id), null)
    t.equal(clock.pending, 0, 'no timer is left')
  }
})

test('the same connection reported twice is one', (t) => {
  const { manager, connected, changes } = bench({ selfId: LAST_ID })
  const rpc = connected(alice.address)
  manager.peer.remotePeerConnected(alice.id, rpc)
  manager.peer.remotePeerConnected(alice.id)
  t.equal(rpc.hangUps, 0)
  t.equal(manager.peer.get(alice.id)?.connection.direction, 'outbound')
  t.deepEqual(
    changes.items.map((change) => change.type),
    ['dialing', 'connected'],
  )
  t.end()
})

test('an inbound connection while we wait for our dial: whoever asked gets it', async (t) => {
  const { manager, dial, flush } = bench({ selfId: LAST_ID })
  const asked = manager.peer.connect({ address: alice.address })
  flush()
  const theirs = new FakeRpc('theirs')
  manager.peer.remotePeerConnected(alice.id, theirs)
  t.equal(await asked, theirs)
  t.equal(dial(alice.address).accept().hangUps, 1)
})

// ---- connections of all kinds -----------------------------------------------------------------------------------------

test('a connection that is closed as it arrives is opened and closed', (t) => {
  const { manager, changes, flush } = bench()
  const rpc = new FakeRpc()
  rpc.closed = true
  manager.peer.remotePeerConnected(alice.id, rpc)
  t.deepEqual(
    changes.items.map((change) => change.type),
    ['connected', 'disconnected'],
  )
  t.equal(manager.peer.get(alice.id), null, 'nothing is kept of a stranger')
  t.equal(manager.internal.connectionOf(alice.id), null)

  manager.peer.addRoute({ address: bob.address })
  manager.peer.connect({ id: bob.id }, () => {})
  flush()
  t.end()
})

test('what is asked to close and does not say so within 5 s is taken for closed', (t) => {
  const { manager, clock, connected, changes } = bench()
  const rpc = connected(alice.address)
  rpc.onClose = 'silent'
  manager.connections.stop()
  clock.flush()
  t.equal(rpc.hangUps, 1, 'asked')
  t.equal(manager.peer.get(alice.id)?.connection.status, 'closing')
  t.equal(manager.connections.status().classes.net?.closing, 1, 'it holds its slot')
  clock.advance(5 * SECOND - 1)
  t.equal(manager.peer.get(alice.id)?.connection.status, 'closing', 'for not quite 5 s')
  clock.advance(1)
  t.equal(manager.peer.get(alice.id)?.connection.status, 'idle', 'then it is taken for closed')
  t.equal(changes.items[changes.items.length - 1]?.type, 'disconnected')
  t.equal(clock.pending, 0, 'no timer is left')
  rpc.end()
  t.equal(changes.items.filter((change) => change.type === 'disconnected').length, 1, 'its late end is no second one')
  t.end()
})

for (const onClose of ['answer', 'twice', 'throw', 'promise', 'reject'] as const)
  test(`hanging up on a connection whose close does this: ${onClose}`, async (t) => {
    const { manager, clock, connected, changes } = bench()
    const rpc = connected(alice.address)
    rpc.onClose = onClose
    manager.connections.stop()
    await clock.advanceAsync(0)
    t.equal(manager.peer.get(alice.id)?.connection.status, 'idle', 'closed')
    rpc.end()
    t.deepEqual(
      changes.items.map((change) => change.type),
      ['dialing', 'connected', 'disconnected'],
      'once',
    )
    t.equal(changes.items[2]?.reason, 'stopped')
    t.equal(rpc.hangUps, 1)
    t.equal(clock.pending, 0)
  })

const thrower = (): never => {
  throw new Error('do not touch')
}

interface Odd {
  readonly title: string
  readonly connection: () => unknown
}

const ODD_CONNECTIONS: readonly Odd[] = [
  { title: 'an empty object', connection: () => ({}) },
  { title: 'an object without a prototype', connection: () => Object.create(null) as unknown },
  { title: 'only close', connection: () => ({ close: (_: unknown, cb: () => void) => cb() }) },
  { title: 'only on', connection: () => ({ on: () => {} }) },
  { title: 'close and on that are no functions', connection: () => ({ close: 1, on: 'x', closed: 'no' }) },
  { title: 'a closed that is a method', connection: () => ({ closed: () => false }) },
  { title: 'on that throws', connection: () => ({ on: thrower }) },
  {
    title: 'getters that throw',
    connection: () =>
      Object.defineProperties({}, { close: { get: thrower }, on: { get: thrower }, closed: { get: thrower } }),
  },
  {
    title: 'a revoked proxy',
    connection: () => {
      const { proxy, revoke } = Proxy.revocable({}, {})
      revoke()
      return proxy
    },
  },
  { title: 'a symbol', connection: () => Symbol('connection') },
  { title: 'a string', connection: () => 'connection' },
  { title: 'a frozen object', connection: () => Object.freeze({}) },
]

for (const { title, connection } of ODD_CONNECTIONS)
  test(`a connection that is ${title} can be counted and hung up on`, async (t) => {
    const { manager, clock, dial, flush, changes } = bench()
    manager.peer.connect({ address: alice.address }, () => {})
    flush()
    t.doesNotThrow(() => dial(alice.address).cb(null, connection()), 'by our dial')
    t.doesNotThrow(() => manager.peer.remotePeerConnected(bob.id, connection()), 'inbound')
    t.doesNotThrow(() => manager.peer.remotePeerConnected(bob.id, connection()), 'and again')
    t.equal(manager.peer.get(alice.id)?.connection.status, 'connected')
    t.equal(manager.peer.get(bob.id)?.connection.status, 'connected')
    manager.connections.stop()
    await clock.advanceAsync(5 * SECOND)
    t.equal(manager.peer.get(alice.id)?.connection.status, 'idle')
    t.equal(manager.peer.get(bob.id), null)
    t.equal(changes.items.filter((change) => change.type === 'disconnected').length, 2)
    t.equal(clock.pending, 0)
  })

test('a peer of whom only a report came is hung up on by disconnectFromPeer, whatever that does', async (t) => {
  for (const way of ['returns', 'throws', 'rejects', 'missing'] as const) {
    const asked: string[] = []
    const disconnectFromPeer = (peer: string): unknown => {
      asked.push(peer)
      if (way === 'throws') throw boom
      return way === 'rejects' ? Promise.reject(boom) : undefined
    }
    const { manager, clock } = bench(way === 'missing' ? {} : { disconnectFromPeer })
    manager.peer.remotePeerConnected(alice.id)
    t.equal(manager.peer.get(alice.id)?.connection.status, 'connected')
    manager.connections.stop()
    await clock.advanceAsync(5 * SECOND)
    t.deepEqual(asked, way === 'missing' ? [] : [alice.id], way)
    t.equal(manager.peer.get(alice.id), null, 'gone')
    t.equal(clock.pending, 0)
  }
})

test('connectToPeer is called as it is at that moment, and with nothing but address and callback', (t) => {
  const seen: string[] = []
  const settings = {
    connectToPeer(this: unknown, ...args: [string, DialCallback]) {
      seen.push(`first ${args.length} ${this === settings}`)
      args[1](boom)
    },
    clock: virtualClock(),
    random: seededRandom(1),
  }
  const manager = createManager(settings)
  manager.peer.connect({ address: alice.address }, () => {})
  settings.clock.flush()
  settings.connectToPeer = (...args: [string, DialCallback]) => {
    seen.push(`second ${args.length}`)
    args[1](boom)
  }
  manager.peer.connect({ address: alice.address }, () => {})
  settings.clock.flush()
  t.deepEqual(seen, ['first 2 true', 'second 2'])
  t.end()
})
