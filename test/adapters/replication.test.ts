/**
 * What the replication signals are read as: the decision table of an initial sync and of rotation, on a virtual clock, with a
 * fake stack and a real manager.
 */
import type pull = require('pull-stream')
import test = require('tape')

import { watchReplication } from '../../src/adapters/replication'
import type { SyncProgress } from '../../src/manager'
import type { Clock } from '../../src/testing'
import { collect } from '../support/eventually'
import { alice, type BenchOptions, bench, bob, carol, dave, FakeRpc, MINUTE, person, SECOND } from '../support/manager'

type Sequences = Record<string, number>
type Cb = (error: unknown, value?: unknown) => void

/** A remote peer whose `ebt.clock` says what the test wants. */
class Remote extends FakeRpc {
  clock: unknown = {}
  /** How the clock is asked for: a value, an error, nothing at all, or after a while. */
  mode: 'answer' | 'error' | 'silent' | 'throw' | 'twice' = 'answer'
  calls = 0
  readonly waiting: Cb[] = []
  readonly ebt = {
    clock: (_options: unknown, cb: Cb): void => {
      this.calls++
      if (this.mode === 'throw') throw new Error('method:ebt,clock is not in list of allowed methods')
      if (this.mode === 'silent') this.waiting.push(cb)
      else if (this.mode === 'error') cb(new Error('muxrpc: no such command: ebt.clock'))
      else cb(null, this.clock)
      if (this.mode === 'twice') cb(null, {})
    },
  }

  answerNow(): void {
    for (const cb of this.waiting.splice(0)) cb(null, this.clock)
  }
}

const me = person('me')
const friend = person('friend')

function world(options: BenchOptions & { readonly isLate?: boolean } = {}) {
  const remotes = new Map<string, Remote>()
  const remote = (who: { address: string }): Remote => {
    const found = remotes.get(who.address) ?? new Remote(who.address)
    remotes.set(who.address, found)
    return found
  }
  const made = bench({
    selfId: me.id,
    answer: (dial) => {
      // A connection that has ended is not opened again: the next one is another.
      if (remotes.get(dial.address)?.closed) {
        const { clock, mode } = remote({ address: dial.address })
        remotes.set(dial.address, Object.assign(new Remote(dial.address), { clock, mode }))
      }
      dial.accept(remote({ address: dial.address }))
    },
    ...options,
  })
  const { clock, manager } = made
  const local: Sequences = {}
  const hops: Record<string, number | null> = { [me.id]: 0 }
  const indexing = { value: 0 }
  const statuses: Record<string, object> = {}
  const listeners = new Set<(message: unknown) => void>()
  const plugins = {
    ebt: {
      clock: (_options: unknown, cb: Cb) => cb(null, local),
      peerStatus: (id: string) => statuses[id] ?? { id, seq: local[id], peers: {} },
    },
    db: {
      onMsgAdded: (listener: (message: unknown) => void, immediately?: boolean) => {
        if (immediately !== false) listener({ kvt: { value: { author: friend.id } } })
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
      getIndexingActive: () => indexing,
    },
    friends: { hops: (_options: unknown, cb: Cb): unknown => cb(null, hops) },
  }
  const sbot: Record<string, unknown> & { readonly id: string } = {
    id: me.id,
    ...(options.isLate ? {} : plugins),
  }
  const timers = new Set<unknown>()
  const counting: Clock = {
    now: clock.now,
    setTimeout: (fn, ms) => {
      const timer = clock.setTimeout(() => {
        timers.delete(timer)
        fn()
      }, ms)
      timers.add(timer)
      return timer
    },
    clearTimeout: (timer) => {
      timers.delete(timer)
      clock.clearTimeout(timer)
    },
    defer: clock.defer,
  }
  const stop = watchReplication({ sbot, manager, clock: counting })
  const progress = collect(manager.initialSync.progress())
  const arrives = (author: string, sequence: number): void => {
    local[author] = sequence
    for (const listener of [...listeners]) listener({ kvt: { value: { author } } })
  }
  return {
    ...made,
    stop,
    remote,
    local,
    hops,
    indexing,
    statuses,
    listeners,
    plugins,
    sbot,
    /** Timers of the watcher, without those of the manager. */
    timers,
    arrives,
    progress: progress.items,
    last: (): SyncProgress => progress.items[progress.items.length - 1] as SyncProgress,
    phases: (): string[] => progress.items.map((each) => each.phase),
    connection: (id: string) => {
      const state = manager.internal.store.getState().peers.get(id)?.connection
      return state?.status === 'connected' ? state : null
    },
    run: (ms: number) => clock.advanceAsync(ms),
  }
}

type World = ReturnType<typeof world>

/** An initial sync with alice, of whom we want the friend's 200 messages. */
async function syncing(
  prepare: (w: World) => void = () => {},
  options: Parameters<typeof world>[0] = {},
): Promise<World> {
  const w = world(options)
  w.hops[friend.id] = 1
  w.remote(alice).clock = { [friend.id]: 200 }
  prepare(w)
  w.add(alice.address)
  w.manager.initialSync.start()
  await w.run(0)
  return w
}

// ---- done -----------------------------------------------------------------------------------------------------------------

test('a sync is not done while the graph still grows: the trace of a fresh peer', async (t) => {
  const w = await syncing((world) => {
    const clock: Sequences = { [friend.id]: 200 }
    for (let i = 0; i < 200; i++) clock[person(`f${i}`).id] = 50
    world.remote(alice).clock = clock
  })
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: 0, want: 200 }, 'the first look')
  await w.run(600)
  for (let i = 1; i <= 200; i++) w.arrives(friend.id, i)
  await w.run(600)
  t.equal(w.last().phase, 'syncing', 'all signals say done, 0.6 s after the messages')
  for (let i = 0; i < 200; i++) w.hops[person(`f${i}`).id] = 2
  await w.run(2_500)
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: 200, want: 10_200 }, 'the wanted set has grown')
  for (let i = 0; i < 200; i++) w.arrives(person(`f${i}`).id, 50)
  await w.run(2_400)
  t.equal(w.last().phase, 'syncing', 'not before the quiet time is over')
  await w.run(1_600)
  t.deepEqual(w.last(), { phase: 'caughtUp', peer: alice.id, have: 10_200, want: 10_200 })
  t.equal(w.manager.internal.store.getState().initialSync, null, 'it ends by itself')
  t.equal(w.status(alice.id), 'idle', 'the mode from before was off')
  t.equal(w.timers.size, 0, 'no timer is left')
  t.equal(w.listeners.size, 0, 'nor a listener')
  const calls = w.remote(alice).calls
  t.ok(calls <= 8, `${calls} clocks were asked for in 7.7 s`)
  t.end()
})

interface Row {
  readonly what: string
  readonly prepare?: (w: World) => void
  /** Every second from then on. */
  readonly every?: (w: World, second: number) => void
  readonly seconds: number
  readonly phase: SyncProgress['phase']
  readonly have?: number | null
  readonly want?: number | null
}

const all = (w: World): void => {
  w.local[friend.id] = 200
}

const ROWS: readonly Row[] = [
  {
    what: 'all is there: done after the quiet time',
    prepare: all,
    seconds: 3,
    phase: 'caughtUp',
    have: 200,
    want: 200,
  },
  { what: 'all is there, a moment ago', prepare: all, seconds: 2, phase: 'syncing', have: 200, want: 200 },
  {
    what: 'indexing goes on',
    prepare: (w) => {
      all(w)
      w.indexing.value = 1
    },
    seconds: 60,
    phase: 'syncing',
  },
  {
    what: 'others send messages, of feeds that this peer does not have too',
    prepare: all,
    every: (w, second) => w.arrives(dave.id, second),
    seconds: 60,
    phase: 'syncing',
  },
  {
    what: 'our own posts do not keep it from being done',
    prepare: all,
    every: (w, second) => w.arrives(me.id, second),
    seconds: 4,
    phase: 'caughtUp',
  },
  {
    what: 'the wanted set grows, by feeds that the peer does not have',
    prepare: all,
    every: (w, second) => {
      w.hops[person(`g${second}`).id] = 2
    },
    seconds: 30,
    phase: 'syncing',
  },
  {
    what: 'the wanted set changes and keeps its size',
    prepare: all,
    every: (w, second) => {
      delete w.hops[person(`g${second - 1}`).id]
      w.hops[person(`g${second}`).id] = 2
    },
    seconds: 30,
    phase: 'syncing',
  },
  {
    what: 'our own feed is wanted too: it may have to be recovered',
    prepare: (w) => {
      all(w)
      w.local[me.id] = 1
      w.remote(alice).clock = { [friend.id]: 200, [me.id]: 8 }
    },
    seconds: 10,
    phase: 'syncing',
    have: 201,
    want: 208,
  },
  {
    what: 'blocked, unfollowed and unknown feeds are not wanted, nor is null a distance',
    prepare: (w) => {
      all(w)
      Object.assign(w.hops, { [bob.id]: -1, [carol.id]: -2, [dave.id]: null })
      w.remote(alice).clock = { [friend.id]: 200, [bob.id]: 9, [carol.id]: 9, [dave.id]: 9, [person('x').id]: 9 }
    },
    seconds: 3,
    phase: 'caughtUp',
    have: 200,
    want: 200,
  },
  { what: 'the peer holds a feed back: not yet', seconds: 11, phase: 'syncing', have: 0, want: 200 },
  { what: 'the peer holds a feed back: done with it', seconds: 14, phase: 'caughtUp', have: 0, want: 200 },
  {
    what: 'messages drip in',
    every: (w, second) => {
      if (second % 10 === 0) w.arrives(friend.id, second)
    },
    seconds: 60,
    phase: 'syncing',
  },
  {
    what: 'all is there, and the social graph is slow to say so',
    prepare: (w) => {
      all(w)
      w.plugins.friends.hops = (_options, cb) => w.clock.setTimeout(() => cb(null, w.hops), 2 * SECOND)
    },
    seconds: 9,
    phase: 'caughtUp',
    have: 200,
    want: 200,
  },
  {
    what: 'the social graph does not answer',
    prepare: (w) => {
      all(w)
      w.plugins.friends.hops = () => {}
    },
    seconds: 120,
    phase: 'syncing',
    have: null,
    want: null,
  },
  {
    what: 'our own clock does not come',
    prepare: (w) => {
      w.plugins.ebt.clock = () => {}
    },
    seconds: 120,
    phase: 'syncing',
    have: null,
    want: null,
  },
  {
    what: 'no ebt',
    prepare: (w) => {
      w.sbot.ebt = undefined
    },
    seconds: 120,
    phase: 'syncing',
    have: null,
    want: null,
  },
  {
    what: 'no database: the clocks alone tell',
    prepare: (w) => {
      all(w)
      w.sbot.db = undefined
    },
    seconds: 3,
    phase: 'caughtUp',
  },
  {
    what: 'no database, and messages come all the time',
    prepare: (w) => {
      w.sbot.db = undefined
    },
    every: (w, second) => {
      w.local[friend.id] = second
    },
    seconds: 30,
    phase: 'syncing',
    have: 30,
    want: 200,
  },
  {
    what: 'no ssb-friends: what ebt asks for and what we already have of',
    prepare: (w) => {
      w.sbot.friends = undefined
      w.local[bob.id] = 5
      w.remote(alice).clock = { [friend.id]: 200, [bob.id]: 7, [carol.id]: 9, constructor: 9, nonsense: 3 }
      w.statuses[friend.id] = { peers: { [alice.id]: { seq: 200, replicating: { requested: 0 } } } }
      w.statuses[carol.id] = { peers: { [alice.id]: { seq: 9, replicating: { requested: -1 } } } }
    },
    seconds: 1,
    phase: 'syncing',
    have: 5,
    want: 207,
  },
]

for (const row of ROWS) {
  test(`initial sync, after ${row.seconds} s: ${row.what}: ${row.phase}`, async (t) => {
    const w = await syncing(row.prepare)
    for (let second = 1; second <= row.seconds; second++) {
      await w.run(SECOND - 1)
      row.every?.(w, second)
      await w.run(1)
    }
    t.equal(w.last().phase, row.phase)
    t.equal(w.last().peer, alice.id)
    if (row.have !== undefined) t.equal(w.last().have, row.have, 'have')
    if (row.want !== undefined) t.equal(w.last().want, row.want, 'want')
    w.stop()
    t.equal(w.timers.size, 0, 'no timer is left')
    t.equal(w.listeners.size, 0, 'nor a listener')
    t.end()
  })
}

test('while the social graph is busy the bar goes on with what was wanted before, and no verdict is given', async (t) => {
  const w = await syncing()
  const waiting: Cb[] = []
  w.plugins.friends.hops = (_options, cb) => waiting.push(cb)
  for (let second = 1; second <= 8; second++) {
    await w.run(SECOND)
    w.arrives(friend.id, second * 25)
  }
  await w.run(2 * SECOND)
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: 200, want: 200 })
  await w.run(20 * SECOND)
  t.equal(w.last().phase, 'syncing', 'all is there, but the graph may have grown')
  t.ok(waiting.length <= 4, `${waiting.length} questions are open after half a minute`)
  w.hops[dave.id] = 2
  w.remote(alice).clock = { [friend.id]: 200, [dave.id]: 50 }
  for (const cb of waiting.splice(0)) cb(null, w.hops)
  await w.run(12 * SECOND) // (the next question waits again)
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: 200, want: 250 }, 'it had')
  w.stop()
  t.equal(w.timers.size, 0)
  t.end()
})

// ---- stalled --------------------------------------------------------------------------------------------------------------

test('a peer that does not answer any more has stalled after 12 s: the next one is dialed', async (t) => {
  const w = await syncing()
  await w.run(2 * SECOND)
  w.arrives(friend.id, 10)
  w.remote(alice).mode = 'silent'
  w.remote(bob).clock = { [friend.id]: 200 }
  w.add(bob.address)
  await w.run(11_900)
  t.deepEqual(w.phases().slice(-1), ['syncing'], 'not before')
  t.equal(w.last().peer, alice.id)
  await w.run(SECOND)
  t.ok(w.progress.some((each) => each.phase === 'stalled' && each.peer === alice.id))
  t.equal(w.last().phase, 'syncing')
  t.equal(w.last().peer, bob.id)
  t.equal(w.status(alice.id), 'idle')
  for (let i = 11; i <= 200; i++) w.arrives(friend.id, i)
  await w.run(5 * SECOND)
  t.deepEqual(w.last(), { phase: 'caughtUp', peer: bob.id, have: 200, want: 200 })
  t.equal(w.timers.size, 0)
  t.end()
})

test('a peer that never answered has stalled too', async (t) => {
  const w = await syncing((world) => {
    world.remote(alice).mode = 'silent'
  })
  w.add(bob.address)
  await w.run(13 * SECOND)
  t.equal(w.last().peer, bob.id)
  t.equal(w.remote(alice).calls, 1, 'no second call while the first is open')
  t.end()
})

test('the only peer stalls: it is tried again, and not at network speed', async (t) => {
  const w = await syncing((world) => {
    world.remote(alice).mode = 'silent'
  })
  await w.run(MINUTE)
  t.ok(w.dials.length >= 2, 'tried again')
  t.ok(w.dials.length <= 6, `${w.dials.length} dials in a minute`)
  w.manager.initialSync.stop()
  await w.run(0)
  t.equal(w.timers.size, 0)
  t.end()
})

test('on a slow line, messages that come show that the peer is alive, and it is asked only once', async (t) => {
  const w = await syncing((world) => {
    world.remote(alice).mode = 'silent'
  })
  w.add(bob.address)
  for (let i = 1; i <= 60; i++) {
    await w.run(SECOND)
    w.arrives(friend.id, i)
  }
  t.equal(w.last().peer, alice.id, 'still with alice')
  t.equal(w.remote(alice).calls, 1)
  w.remote(alice).mode = 'answer'
  w.remote(alice).answerNow()
  await w.run(0)
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: 60, want: 200 }, 'the late answer counts')
  await w.run(9 * SECOND)
  t.equal(w.remote(alice).calls, 1, 'the next look waits in proportion')
  await w.run(2 * SECOND)
  t.equal(w.remote(alice).calls, 2)
  w.stop()
  t.end()
})

test('sleeping is no silence, nor quiet', async (t) => {
  for (const ms of [8 * 60 * MINUTE, -60 * MINUTE]) {
    const w = await syncing()
    w.add(bob.address)
    await w.run(5 * SECOND)
    w.remote(alice).mode = 'silent'
    await w.run(2 * SECOND)
    w.clock.jump(ms)
    await w.run(9 * SECOND)
    t.equal(w.last().peer, alice.id, 'no verdict on one who had no time to answer')
    w.remote(alice).mode = 'answer'
    w.remote(alice).answerNow()
    await w.run(SECOND)
    t.equal(w.last().phase, 'syncing', 'nor on what is missing')
    w.arrives(friend.id, 200)
    await w.run(14 * SECOND) // (the answer was slow, so the next look waits)
    t.equal(w.last().phase, 'caughtUp', 'and the clock that was set delays nothing')
    w.stop()
  }
  t.end()
})

// ---- what remotes say -----------------------------------------------------------------------------------------------------

const HUGE: Sequences = {}
for (let i = 0; i <= 200_000; i++) HUGE[`x${i}`] = 1

const HOSTILE: readonly { readonly what: string; readonly clock: unknown }[] = [
  { what: 'null', clock: null },
  { what: 'a list', clock: [1, 2] },
  { what: 'a string', clock: 'all of it' },
  { what: 'a number', clock: 7 },
  { what: 'a fraction', clock: { [friend.id]: 0.5 } },
  { what: 'a negative number', clock: { [friend.id]: -7 } },
  { what: 'a number as a string', clock: { [friend.id]: '200' } },
  { what: 'not a number', clock: { [friend.id]: Number.NaN } },
  { what: 'a sequence that no feed reaches', clock: { [friend.id]: Number.MAX_SAFE_INTEGER } },
  { what: 'an object for a sequence', clock: { [friend.id]: { valueOf: 200 } } },
]

for (const { what, clock } of HOSTILE) {
  test(`hostile clock: ${what}: nothing is taken for done, and the next peer is dialed`, async (t) => {
    const w = await syncing((world) => {
      world.remote(alice).clock = clock
    })
    await w.run(11 * SECOND)
    t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: null, want: null })
    w.add(bob.address)
    await w.run(4 * SECOND)
    t.equal(w.last().peer, bob.id)
    w.stop()
    t.end()
  })
}

test('a clock without bounds is not walked through, nor asked for again', async (t) => {
  const w = await syncing((world) => {
    world.sbot.friends = undefined
    world.remote(alice).clock = HUGE
  })
  w.add(bob.address)
  await w.run(11 * SECOND)
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: null, want: null })
  t.equal(w.remote(alice).calls, 1)
  await w.run(3 * SECOND)
  t.equal(w.last().peer, bob.id, 'the next one')
  w.stop()
  t.end()
})

test('keys such as __proto__ are nobody', async (t) => {
  const w = await syncing((world) => {
    world.local[friend.id] = 200
    world.remote(alice).clock = JSON.parse(
      `{"__proto__": {"${friend.id}": 999}, "constructor": 5, "${friend.id}": 200}`,
    )
  })
  await w.run(4 * SECOND)
  t.deepEqual(w.last(), { phase: 'caughtUp', peer: alice.id, have: 200, want: 200 })
  t.end()
})

test('a remote that answers twice, first truly, is heard once', async (t) => {
  const w = await syncing((world) => {
    world.remote(alice).mode = 'twice'
  })
  await w.run(5 * SECOND)
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: 0, want: 200 })
  w.stop()
  t.end()
})

for (const mode of ['error', 'throw'] as const) {
  test(`a remote without ebt.clock (${mode}) is judged by its notes`, async (t) => {
    const w = await syncing((world) => {
      world.remote(alice).mode = mode
    })
    await w.run(5 * SECOND)
    t.equal(w.last().have, null, 'no note of any wanted feed: unknown')
    w.statuses[friend.id] = { seq: 20, peers: { [alice.id]: { seq: 200 }, [bob.id]: { seq: 900 } } }
    await w.run(2 * SECOND)
    t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: 20, want: 200 })
    w.statuses[friend.id] = { seq: 200, peers: { [alice.id]: { seq: 200 } } }
    await w.run(5 * SECOND)
    t.deepEqual(w.last(), { phase: 'caughtUp', peer: alice.id, have: 200, want: 200 })
    t.end()
  })
}

test('a peer that tells nothing, a room say, is left for the next; one asked for by name is kept', async (t) => {
  const free = await syncing((world) => {
    world.remote(alice).mode = 'error'
  })
  free.add(bob.address)
  await free.run(14 * SECOND)
  t.equal(free.last().peer, bob.id)
  free.stop()

  const named = world()
  named.hops[friend.id] = 1
  named.remote(alice).mode = 'error'
  named.add(alice.address)
  named.manager.initialSync.start(alice.id)
  await named.run(2 * MINUTE)
  t.deepEqual(named.last(), { phase: 'syncing', peer: alice.id, have: null, want: null })
  t.equal(named.dials.length, 1)
  named.stop()
  t.equal(named.timers.size, 0)
  t.end()
})

// ---- life ---------------------------------------------------------------------------------------------------------------

test('plugins that come later are found when they are there', async (t) => {
  const w = await syncing(() => {}, { isLate: true })
  await w.run(10 * SECOND)
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: null, want: null })
  Object.assign(w.sbot, w.plugins)
  await w.run(2 * SECOND)
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: 0, want: 200 })
  t.equal(w.listeners.size, 1)
  w.arrives(friend.id, 200)
  await w.run(4 * SECOND)
  t.equal(w.last().phase, 'caughtUp')
  t.end()
})

test('an old stack: messages by sbot.post', async (t) => {
  const w = await syncing((world) => {
    world.sbot.post = world.plugins.db.onMsgAdded
    world.sbot.db = undefined
  })
  t.equal(w.listeners.size, 1)
  w.stop()
  t.equal(w.listeners.size, 0)
  t.end()
})

test('with nothing connected there is no timer, whatever the mode', async (t) => {
  const w = world()
  t.equal(w.timers.size, 0)
  w.manager.connections.start()
  await w.run(MINUTE)
  t.equal(w.timers.size, 0, 'on, no routes')
  w.add(alice.address)
  await w.run(SECOND)
  t.equal(w.status(alice.id), 'connected')
  t.equal(w.timers.size, 1, 'on, connected')
  w.remote(alice).end()
  await w.run(0)
  t.equal(w.timers.size, 0, 'hung up')
  t.equal(w.listeners.size, 0)
  w.manager.connections.stop()
  w.add(bob.address)
  w.manager.initialSync.start()
  await w.run(SECOND)
  t.equal(w.timers.size, 1, 'a sync')
  w.manager.initialSync.stop()
  await w.run(SECOND)
  t.equal(w.timers.size, 0, 'stopped')
  t.end()
})

test('connections while the manager is off are not looked at', async (t) => {
  const w = world()
  w.manager.internal.accept(alice.id, w.remote(alice), 'outbound', null)
  w.manager.internal.accept(bob.id, w.remote(bob), 'inbound', null)
  await w.run(10 * MINUTE)
  t.equal(w.remote(alice).calls + w.remote(bob).calls, 0)
  t.equal(w.timers.size, 0)
  w.manager.connections.start()
  await w.run(MINUTE)
  t.equal(w.remote(alice).calls, 1, 'on: the outbound one')
  t.equal(w.remote(bob).calls, 0, 'inbound holds no slot: whether it has caught up does not matter')
  w.stop()
  t.equal(w.timers.size, 0)
  w.stop()
  t.end()
})

test('a call that is open when its connection ends leaves nothing behind', async (t) => {
  const w = await syncing((world) => {
    world.remote(alice).mode = 'silent'
  })
  await w.run(SECOND)
  const { waiting } = w.remote(alice)
  w.remote(alice).end()
  w.manager.initialSync.stop()
  await w.run(0)
  t.equal(w.timers.size, 0)
  for (const cb of waiting) cb(null, { [friend.id]: 1 })
  await w.run(MINUTE)
  t.equal(w.last().phase, 'off', 'the late answer is nobody’s')
  t.end()
})

// ---- a replication scheduler ------------------------------------------------------------------------------------------------

test('a replication scheduler is preferred; its verdict counts if it is on the kept peer', async (t) => {
  let push: (item: unknown) => void = () => {}
  let aborted = 0
  const w = await syncing((world) => {
    world.sbot.replicationScheduler = {
      progress: (): pull.Source<unknown> => {
        let cb: Parameters<pull.Source<unknown>>[1] | null = null
        push = (item) => {
          const present = cb
          cb = null
          present?.(null, item)
        }
        return (abort, next) => {
          if (abort) {
            aborted++
            cb?.(abort)
            return next(abort)
          }
          cb = next
        }
      },
    }
  })
  await w.run(MINUTE)
  t.equal(w.remote(alice).calls, 0, 'no clock is asked for')
  t.equal(w.timers.size, 0, 'nor is there a timer')
  push({ phase: 'syncing', have: 3, want: 9, peer: alice.id, caughtUp: false, stalled: false })
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: 3, want: 9 })
  push({ have: 9, want: 9, peer: null, caughtUp: true })
  t.equal(w.last().phase, 'syncing', 'a verdict on nobody')
  push({ have: 9, want: 9, peer: bob.id, caughtUp: true })
  t.equal(w.last().phase, 'syncing', 'a verdict on another')
  push(null)
  push({ have: 'x', want: -1, peer: alice.id })
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: null, want: null }, 'nonsense is unknown')
  push({ have: 9, want: 9, peer: alice.id, caughtUp: true, stalled: false })
  t.deepEqual(w.last(), { phase: 'caughtUp', peer: alice.id, have: 9, want: 9 })
  await w.run(0)
  t.equal(aborted, 1, 'the source is let go of, once')
  t.equal(w.timers.size, 0)
  t.end()
})

test('when the scheduler’s source ends, the clocks are asked again', async (t) => {
  const w = await syncing((world) => {
    world.sbot.replicationScheduler = { progress: () => (_abort: unknown, cb: (end: true) => void) => cb(true) }
  })
  await w.run(2 * SECOND)
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: 0, want: 200 })
  w.stop()
  t.equal(w.timers.size, 0)
  t.end()
})

/** A scheduler whose progress says what the test wants. */
function scheduled(world: World) {
  const asked: unknown[] = []
  let push: (item: object) => void = () => {}
  world.sbot.replicationScheduler = {
    progress: (options: unknown): pull.Source<unknown> => {
      asked.push(options)
      const items: object[] = []
      let waiting: Parameters<pull.Source<unknown>>[1] | null = null
      const read = (): void => {
        if (!waiting || items.length === 0) return
        const cb = waiting
        waiting = null
        cb(null, items.shift())
      }
      push = (item) => {
        items.push(item)
        read()
      }
      return (abort, cb) => {
        if (abort) return cb(abort)
        waiting = cb
        read()
      }
    },
  }
  return { asked, push: (item: object) => push(item) }
}

test('the scheduler is asked about the kept peer; when that one stalls, the next is dialed', async (t) => {
  let scheduler: ReturnType<typeof scheduled> | null = null
  const w = await syncing((world) => {
    scheduler = scheduled(world)
  })
  const { asked, push } = scheduler as unknown as ReturnType<typeof scheduled>
  t.deepEqual(asked, [{ peer: alice.id, live: true, patient: false }])
  w.add(bob.address)
  push({ phase: 'waiting', have: null, want: null, peer: alice.id, caughtUp: false, stalled: false })
  await w.run(MINUTE)
  t.equal(w.last().peer, alice.id, 'nothing is known yet: no verdict')
  push({ phase: 'stalled', have: 3, want: 9, peer: alice.id, caughtUp: false, stalled: true })
  await w.run(SECOND)
  t.ok(w.progress.some((each) => each.phase === 'stalled' && each.peer === alice.id && each.want === 9))
  t.deepEqual(asked[1], { peer: bob.id, live: true, patient: false })
  t.equal(w.last().peer, bob.id)
  push({ phase: 'caughtUp', have: 9, want: 9, peer: bob.id, caughtUp: true, stalled: false })
  t.deepEqual(w.last(), { phase: 'caughtUp', peer: bob.id, have: 9, want: 9 })
  await w.run(0)
  t.equal(w.timers.size, 0)
  t.end()
})

test('with one who was asked for by name the scheduler is asked for patience', async (t) => {
  const w = world()
  const { asked } = scheduled(w)
  w.add(alice.address)
  w.manager.initialSync.start(alice.id)
  await w.run(0)
  t.deepEqual(asked, [{ peer: alice.id, live: true, patient: true }])
  w.stop()
  t.end()
})

test('a scheduler that has not been started requests nothing: the clocks are asked instead', async (t) => {
  let scheduler: ReturnType<typeof scheduled> | null = null
  const w = await syncing((world) => {
    scheduler = scheduled(world)
  })
  const { asked, push } = scheduler as unknown as ReturnType<typeof scheduled>
  push({ phase: 'stopped', have: null, want: null, peer: alice.id, caughtUp: false, stalled: false })
  await w.run(2 * SECOND)
  t.deepEqual(w.last(), { phase: 'syncing', peer: alice.id, have: 0, want: 200 })
  t.equal(asked.length, 1)
  w.arrives(friend.id, 200)
  await w.run(5 * SECOND)
  t.equal(w.last().phase, 'caughtUp')
  t.equal(w.timers.size, 0)
  t.end()
})

test('the old scheduler has no progress: it is passed over', async (t) => {
  const w = await syncing((world) => {
    world.sbot.replicationScheduler = { start: () => {}, reconfigure: () => {} }
  })
  t.equal(w.last().want, 200)
  w.stop()
  t.end()
})

// ---- rotation -------------------------------------------------------------------------------------------------------------

async function visiting(...people: readonly { readonly address: string }[]): Promise<World> {
  const w = world({ autostart: true })
  w.hops[friend.id] = 1
  w.local[friend.id] = 200
  for (const each of people) w.remote(each).clock = { [friend.id]: 200 }
  w.add(...people.map((each) => each.address))
  await w.run(SECOND)
  return w
}

test('whether a connection has caught up is asked after a minute, and no more once it has', async (t) => {
  const w = await visiting(alice)
  await w.run(58 * SECOND)
  t.equal(w.remote(alice).calls, 0)
  t.equal(w.connection(alice.id)?.isCaughtUp, false)
  await w.run(3 * SECOND)
  t.equal(w.remote(alice).calls, 1)
  t.equal(w.connection(alice.id)?.isCaughtUp, true)
  t.equal(w.timers.size, 0)
  await w.run(10 * MINUTE)
  t.equal(w.remote(alice).calls, 1)
  t.end()
})

test('it is not asked while messages come, and every two minutes until it has caught up', async (t) => {
  const w = await visiting(alice)
  for (let second = 2; second <= 60; second++) {
    w.arrives(friend.id, 200 + second)
    await w.run(SECOND)
  }
  t.equal(w.remote(alice).calls, 0, 'a minute of messages')
  w.remote(alice).clock = { [friend.id]: 900 }
  await w.run(11 * SECOND)
  t.equal(w.remote(alice).calls, 1, 'quiet for 10 s')
  t.equal(w.connection(alice.id)?.isCaughtUp, false)
  await w.run(118 * SECOND)
  t.equal(w.remote(alice).calls, 1)
  await w.run(3 * SECOND)
  t.equal(w.remote(alice).calls, 2)
  t.equal(w.connection(alice.id)?.isCaughtUp, true, 'the same gap as before: the peer holds these back')
  w.stop()
  t.end()
})

test('at most one clock is asked for at a time, and one that never comes is given up', async (t) => {
  const w = await visiting(alice, bob, carol)
  for (const each of [alice, bob, carol]) w.remote(each).mode = 'silent'
  const open = (): number => [alice, bob, carol].reduce((sum, each) => sum + w.remote(each).calls, 0)
  await w.run(MINUTE)
  t.equal(open(), 1)
  await w.run(15 * SECOND)
  t.equal(open(), 2)
  await w.run(15 * SECOND)
  t.equal(open(), 3)
  for (const each of [alice, bob, carol]) t.equal(w.connection(each.id)?.isCaughtUp, false, 'no answer is not done')
  await w.run(70 * SECOND)
  t.equal(open(), 3, 'then every two minutes')
  w.stop()
  t.equal(w.timers.size, 0)
  t.end()
})

test('who does not catch up is asked less and less often', async (t) => {
  const w = await visiting(alice)
  w.remote(alice).mode = 'silent'
  const times: number[] = []
  for (let minute = 1; minute <= 130; minute++) {
    const before = w.remote(alice).calls
    await w.run(MINUTE)
    if (w.remote(alice).calls > before) times.push(minute)
  }
  const pauses = times.slice(1).map((at, i) => at - (times[i] ?? 0))
  t.ok(times.length >= 6 && times.length <= 9, `${times.length} looks in 130 minutes`)
  const last = pauses[pauses.length - 1] ?? 0
  t.ok(last >= 32 && last <= 33, `${pauses.join(', ')}: half an hour at last`)
  t.ok(
    pauses.every((pause, i) => i === 0 || pause >= Math.min((pauses[i - 1] ?? 0) * 1.7, 32) || i === 1),
    'about twice as long each time',
  )
  w.stop()
  t.end()
})

test('indexing and unknown are not caught up', async (t) => {
  const w = await visiting(alice)
  w.indexing.value = 1
  await w.run(70 * SECOND)
  t.equal(w.connection(alice.id)?.isCaughtUp, false)
  w.indexing.value = 0
  w.plugins.friends.hops = () => {}
  await w.run(3 * MINUTE)
  t.equal(w.connection(alice.id)?.isCaughtUp, false)
  w.stop()
  t.end()
})

test('messages of others are told to the manager, at most once a second, of those who send them', async (t) => {
  const w = await visiting(alice, bob)
  const told: string[] = []
  let count = 0
  w.manager.internal.store.subscribe((action) => {
    if (action.type !== 'connection/transferred') return
    told.push(action.peer)
    count += action.count ?? 0
  })
  const burst = async (author: string, messages: number): Promise<string[]> => {
    count = 0
    for (let i = 0; i < messages; i++) {
      w.arrives(author, i + 1)
      await w.run(3_000 / messages)
    }
    await w.run(SECOND)
    return told.splice(0)
  }
  t.deepEqual(await burst(me.id, 300), [], 'our own do not count')
  const anybody = await burst(friend.id, 300)
  t.ok(
    anybody.length >= 6 && anybody.length <= 8,
    `${anybody.length} reports of 300 messages in 3 s: both may have sent them`,
  )
  t.equal(count, 0, 'and so neither gets the credit')
  w.statuses[friend.id] = {
    peers: { [alice.id]: { replicating: { rx: true } }, [bob.id]: { replicating: { rx: false } } },
  }
  t.deepEqual([...new Set(await burst(friend.id, 10))], [alice.id], 'ebt knows who does')
  t.equal(count, 10, 'each message counts for her, once')
  w.statuses[friend.id] = { peers: { [carol.id]: { replicating: { rx: true } } } }
  t.deepEqual(await burst(friend.id, 10), [], 'somebody who called us')
  delete w.statuses[friend.id]
  w.manager.peer.disconnect({ id: bob.id })
  await w.run(SECOND)
  t.deepEqual([...new Set(await burst(friend.id, 10))], [alice.id])
  t.equal(count, 10, 'nobody else can have sent them')
  w.stop()
  t.equal(w.timers.size, 0)
  t.end()
})

test('a peer that had caught up and sends again is looked at again', async (t) => {
  const w = await visiting(alice)
  await w.run(70 * SECOND)
  t.equal(w.connection(alice.id)?.isCaughtUp, true)
  w.arrives(friend.id, 201)
  await w.run(2 * SECOND)
  t.equal(w.connection(alice.id)?.isCaughtUp, false)
  await w.run(2 * MINUTE)
  t.equal(w.connection(alice.id)?.isCaughtUp, true)
  t.equal(w.remote(alice).calls, 2)
  w.stop()
  t.end()
})

test('an initial sync takes over from the looks for rotation, and hands back', async (t) => {
  const w = await visiting(alice)
  w.manager.initialSync.start()
  await w.run(5 * SECOND)
  t.equal(w.phases().includes('caughtUp'), true)
  t.equal(w.connection(alice.id) !== null, true, 'on before, so it stays')
  t.equal(w.manager.connections.status().mode, 'on')
  t.end()
})
