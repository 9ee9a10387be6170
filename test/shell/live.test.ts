/** Live sources: what a reader sees, when it ends, and that neither a slow nor an ended one costs memory. */
import { setFlagsFromString } from 'v8'
import { runInNewContext } from 'vm'

import pull = require('pull-stream')
import test = require('tape')

import { EventSource, KeyedSource, type Readers, SnapshotSource, type Source } from '../../src/shell/live'
import { virtualClock } from '../../src/testing'
import { alice, bench, bob, carol, catchThrown, FakeRpc, MINUTE, person, SECOND } from '../support/manager'

type End = Error | true | null

interface Thing {
  readonly id: string
  readonly value?: number
  readonly removed?: true
}

/** A keyed source over a table that the test writes. */
function table(initial: Readonly<Record<string, number>> = {}) {
  const things = new Map<string, number>(Object.entries(initial))
  const source = new KeyedSource<Thing>(
    () => [...things.keys()],
    (id) => {
      const value = things.get(id)
      return value === undefined ? { id, removed: true } : { id, value }
    },
  )
  return {
    source,
    set: (id: string, value: number): void => {
      things.set(id, value)
      source.changed([id])
    },
    remove: (id: string): void => {
      things.delete(id)
      source.changed([id])
    },
  }
}

/** Takes what a source gives without waiting: items so far, and its end. */
function take<T>(source: Source<T>, max = Number.POSITIVE_INFINITY): { items: T[]; end: End; isWaiting: boolean } {
  const items: T[] = []
  let end: End = null
  let isWaiting = false
  while (items.length < max && !end && !isWaiting) {
    isWaiting = true
    source(null, (reason, data) => {
      isWaiting = false
      if (reason) end = reason
      else items.push(data as T)
    })
  }
  return { items, end, isWaiting }
}

const SYNC = { sync: true }

// ---- what a reader sees -----------------------------------------------------------------------------------------------

test('a keyed source gives what is there, {sync: true} once, then each change as the whole thing', (t) => {
  const { source, set, remove } = table({ a: 1, b: 2 })
  const read = source.open()
  t.deepEqual(take(read, 3).items, [{ id: 'a', value: 1 }, { id: 'b', value: 2 }, SYNC], 'the snapshot')
  const seen: unknown[] = []
  const next = (): void =>
    read(null, (_end, data) => {
      seen.push(data)
      next()
    })
  next()
  set('a', 3)
  set('c', 4)
  remove('b')
  t.deepEqual(
    seen,
    [
      { id: 'a', value: 3 },
      { id: 'c', value: 4 },
      { id: 'b', removed: true },
    ],
    'the changes',
  )
  t.end()
})

test('an empty table gives {sync: true} at once', (t) => {
  const { source } = table()
  t.deepEqual(take(source.open(), 1).items, [SYNC])
  t.end()
})

test('old and live choose the snapshot, the changes, or both', (t) => {
  const { source, set } = table({ a: 1 })
  t.deepEqual(take(source.open({ live: false })), { items: [{ id: 'a', value: 1 }, SYNC], end: true, isWaiting: false })
  t.deepEqual(take(source.open({ old: false, live: false })), { items: [], end: true, isWaiting: false }, 'neither')
  const fresh = source.open({ old: false })
  set('b', 2)
  t.deepEqual(take(fresh, 1), { items: [{ id: 'b', value: 2 }], end: null, isWaiting: false }, 'only what changes')
  t.ok(take(fresh).isWaiting, 'and then waits')
  t.end()
})

test('what changes while the snapshot is read is read once, as it is then', (t) => {
  const { source, set } = table({ a: 1, b: 2, c: 3 })
  const read = source.open()
  t.deepEqual(take(read, 1).items, [{ id: 'a', value: 1 }])
  set('b', 20)
  set('a', 10)
  t.deepEqual(
    take(read).items,
    [{ id: 'b', value: 20 }, { id: 'c', value: 3 }, SYNC, { id: 'a', value: 10 }],
    'b, which had not been read yet, comes new in the snapshot; a, which had, comes again after it',
  )
  t.end()
})

test('what is added while the snapshot is read comes after it', (t) => {
  const { source, set } = table({ a: 1 })
  const read = source.open()
  set('b', 2)
  t.deepEqual(take(read).items, [{ id: 'a', value: 1 }, SYNC, { id: 'b', value: 2 }])
  t.end()
})

test('an event source gives each event in order, from when it was opened on', (t) => {
  const source = new EventSource<Thing>((thing) => thing.id)
  source.push({ id: 'before' })
  const read = source.open()
  source.push({ id: 'a', value: 1 })
  source.push({ id: 'a', value: 2 })
  const seen: unknown[] = take(read, 2).items
  read(null, (_end, data) => seen.push(data))
  source.push({ id: 'b' })
  t.deepEqual(seen, [{ id: 'a', value: 1 }, { id: 'a', value: 2 }, { id: 'b' }])
  t.end()
})

// ---- ends -------------------------------------------------------------------------------------------------------------

/** A keyed and an event source under one roof, with what makes them give something. */
function eitherKind(): {
  name: string
  open: () => Source<unknown>
  push: () => void
  close: () => void
  count: () => number
}[] {
  const keyed = table()
  const events = new EventSource<Thing>((thing) => thing.id)
  let value = 0
  /** Readers, and what is kept for them. */
  const readersOf = (source: object): number => {
    const { readers, queues, pending } = source as { readers: Readers; queues?: Set<unknown>; pending?: Set<unknown> }
    const kept = (queues ?? pending)?.size ?? 0
    if (kept !== readers.size) throw new Error(`${readers.size} readers, and something is kept for ${kept}`)
    return kept
  }
  return [
    {
      name: 'keyed',
      open: () => keyed.source.open({ old: false }) as Source<unknown>,
      push: () => keyed.set('a', value++),
      close: () => keyed.source.close(),
      count: () => readersOf(keyed.source),
    },
    {
      name: 'events',
      open: () => events.open() as Source<unknown>,
      push: () => events.push({ id: 'a', value: value++ }),
      close: () => events.close(),
      count: () => readersOf(events),
    },
  ]
}

test('abort ends the source and lets go of the reader', (t) => {
  for (const { name, open, push, count } of eitherKind()) {
    const read = open()
    push()
    t.equal(count(), 1, `${name}: one reader`)
    const ends: End[] = []
    read(true, (end) => ends.push(end))
    t.deepEqual(ends, [true], 'the abort is answered')
    t.equal(count(), 0, 'no reader')
    push()
    t.deepEqual(take(read), { items: [], end: true, isWaiting: false }, 'nothing comes any more')
    read(true, (end) => ends.push(end))
    t.deepEqual(ends, [true, true], 'a second abort is answered too')
  }
  t.end()
})

test('abort in the middle of a wait answers the wait as well', (t) => {
  for (const { name, open, push, count } of eitherKind()) {
    const read = open()
    const ends: string[] = []
    const reason = new Error('enough')
    read(null, (end) => ends.push(`wait ${(end as Error).message}`))
    t.deepEqual(ends, [], `${name}: it waits`)
    read(reason, (end) => ends.push(`abort ${(end as Error).message}`))
    t.deepEqual(ends, ['wait enough', 'abort enough'], 'both are answered, once')
    t.equal(count(), 0, 'no reader')
    push()
    t.equal(ends.length, 2)
  }
  t.end()
})

test('close ends every reader: one that waits at once, one that comes later too', (t) => {
  for (const { name, open, push, close, count } of eitherKind()) {
    const waiting = open()
    const ends: End[] = []
    waiting(null, (end) => ends.push(end))
    close()
    t.deepEqual(ends, [true], `${name}: the one that waits`)
    t.equal(count(), 0, 'no reader')
    t.equal(take(open()).end, true, 'one that comes later ends at once')
    push()
    close()
    t.deepEqual(ends, [true], 'closing twice does no harm')
  }
  t.end()
})

test('a source works with pull-stream: take, drain, abort', (t) => {
  const { source, set } = table({ a: 1, b: 2, c: 3 })
  pull(
    source.open(),
    pull.take(2),
    pull.collect<Thing | { readonly sync: true }>((error, things) => {
      t.error(error)
      t.deepEqual(things, [
        { id: 'a', value: 1 },
        { id: 'b', value: 2 },
      ])
    }),
  )
  t.equal((source as unknown as { readers: Readers }).readers.size, 0, 'take has let go')
  const seen: unknown[] = []
  const drain = pull.drain<unknown>(
    (thing) => seen.push(thing),
    () => seen.push('end'),
  )
  pull(source.open({ old: false }), drain)
  set('d', 4)
  drain.abort()
  set('e', 5)
  t.deepEqual(seen, [{ id: 'd', value: 4 }, 'end'])
  t.end()
})

// ---- memory -----------------------------------------------------------------------------------------------------------

test('a slow reader of 10 000 changes of 100 things has at most 100 waiting', (t) => {
  const { source, set } = table()
  const read = source.open({ old: false })
  for (let n = 0; n < 10_000; n++) set(`thing ${n % 100}`, n)
  const { items, isWaiting } = take(read)
  t.equal(items.length, 100, 'each once')
  t.ok(isWaiting)
  t.ok(
    items.every((item) => ((item as Thing).value ?? 0) >= 9_900),
    'each as it was last',
  )
  t.end()
})

test('a slow reader of 10 000 changes of 100 peers has at most 100 waiting', (t) => {
  const { manager } = bench()
  const people = Array.from({ length: 100 }, (_, n) => person(`peer ${n}`))
  const read = manager.peers({ old: false })
  for (let n = 0; n < 10_000; n++) {
    const { id } = people[n % 100]!
    manager.peer.setPriority({ id, priority: n % 200 < 100 ? 'HIGH' : 'LOW' })
  }
  const { items, isWaiting } = take(read as Source<{ id: string; priority: string }>)
  t.equal(items.length, 100)
  t.ok(isWaiting)
  t.equal(new Set(items.map((item) => item.id)).size, 100, 'each peer once')
  t.ok(
    items.every((item) => item.priority === 'LOW'),
    'as it was last',
  )
  t.end()
})

test('a slow reader of events keeps a bounded number: the newest of each peer', (t) => {
  const source = new EventSource<Thing>((thing) => thing.id)
  const read = source.open()
  const queue = [...(source as unknown as { queues: Set<unknown[]> }).queues][0]!
  let most = 0
  for (let n = 0; n < 10_000; n++) {
    source.push({ id: `peer ${n % 100}`, value: n })
    most = Math.max(most, queue.length)
  }
  t.ok(most <= 1_000, `at most ${most} waited`)
  const { items } = take(read)
  t.deepEqual(new Set(items.map((item) => item.id)).size, 100, 'no peer is lost')
  t.equal(items[items.length - 1]?.value, 9_999, 'the newest is there')
  const values = items.map((item) => item.value ?? 0)
  t.deepEqual(
    values,
    [...values].sort((a, b) => a - b),
    'in order',
  )

  for (let n = 0; n < 10_000; n++) source.push({ id: `peer ${n}`, value: n })
  const flood = take(read).items
  t.ok(flood.length <= 1_000, `${flood.length} events of 10 000 peers wait`)
  t.equal(flood[flood.length - 1]?.value, 9_999, 'the newest is there')
  t.end()
})

test('changes() and errors() stay bounded for readers that never read', (t) => {
  const { manager, clock, dials } = bench({ answer: (dial) => dial.refuse('ECONNRESET') })
  const changes = manager.connections.changes()
  const errors = manager.connections.errors()
  // 100 friends, of whom none is there.
  for (let n = 0; n < 100; n++)
    manager.peer.addRoute({ address: person(`peer ${n}`).by('net', `host${n}.example`), priority: 'HIGH' })
  manager.connections.setMaxByType({ net: 100 })
  manager.connections.start()
  for (let minutes = 0; minutes < 40; minutes++) clock.advance(MINUTE)
  t.ok(dials.length > 1_000, `${dials.length} dials have failed`)
  const waiting = [take(changes as Source<unknown>).items.length, take(errors as Source<unknown>).items.length]
  t.ok(
    waiting.every((count) => count >= 100 && count <= 1_000),
    `${waiting} waited`,
  )
  t.end()
})

/** Collects garbage for real. */
function gc(): void {
  setFlagsFromString('--expose_gc')
  const collectGarbage = runInNewContext('gc') as () => void
  collectGarbage()
}

interface Witness {
  deref(): object | undefined
}
/** The phones' engines do not have it, hence it is not in our `lib`. */
const { WeakRef: Weak } = globalThis as unknown as { readonly WeakRef: new (target: object) => Witness }

/** Lets a reader wait; the witness tells whether its callback is still there. */
function startToWait(source: Source<unknown>): Witness {
  const held = { name: 'what the callback of a reader holds' }
  source(null, () => held.name)
  return new Weak(held)
}

/** Of a source that has something to say at once. */
function afterFirst(source: Source<unknown>): Source<unknown> {
  source(null, () => {})
  return source
}

test('nothing is kept of a reader that has ended', async (t) => {
  const { manager } = bench()
  const sources: Record<string, () => Source<unknown>> = {
    peers: () => manager.peers({ old: false }) as Source<unknown>,
    changes: () => manager.connections.changes() as Source<unknown>,
    errors: () => manager.connections.errors() as Source<unknown>,
    recording: () => afterFirst(manager.connections.recording() as Source<unknown>),
    progress: () => afterFirst(manager.initialSync.progress() as Source<unknown>),
  }
  for (const [name, open] of Object.entries(sources)) {
    const [liveSource, endedSource] = [open(), open()]
    const live = startToWait(liveSource)
    const ended = startToWait(endedSource)
    endedSource(true, () => {})
    // A WeakRef keeps its target alive until the present task is over.
    await new Promise((resolve) => setImmediate(resolve))
    gc()
    t.notOk(ended.deref(), `${name}: the ended one is gone`)
    t.ok(live.deref(), `${name}: the one that waits is there`)
  }
})

test('hundreds of readers each see everything, and may come and go', (t) => {
  const { source, set } = table({ a: 0 })
  const seen = Array.from({ length: 500 }, () => [] as unknown[])
  const sources = seen.map((items) => {
    const read = source.open({ old: false })
    const next = (): void =>
      read(null, (end, data) => {
        if (end) return
        items.push(data)
        next()
      })
    next()
    return read
  })
  for (let n = 1; n <= 100; n++) {
    set('a', n)
    if (n === 50) for (const read of sources.slice(0, 250)) read(true, () => {})
  }
  t.ok(
    seen.slice(0, 250).every((items) => items.length === 50),
    'those who left saw the first half',
  )
  t.ok(
    seen.slice(250).every((items) => items.length === 100),
    'the others all',
  )
  t.equal((source as unknown as { readers: Readers }).readers.size, 250)
  t.end()
})

// ---- reentrancy -------------------------------------------------------------------------------------------------------

test('a reader that changes things as it reads gets its own changes, in order, and so does another', (t) => {
  const { source, set } = table()
  const first: unknown[] = []
  const second: unknown[] = []
  const follow = (items: unknown[], react: (value: number) => void): void => {
    const read = source.open({ old: false })
    const next = (): void =>
      read(null, (end, data) => {
        if (end) return
        const { value = 0 } = data as Thing
        items.push(value)
        react(value)
        next()
      })
    next()
  }
  follow(first, (value) => {
    if (value < 5) set('a', value + 1)
  })
  follow(second, () => {})
  set('a', 1)
  t.deepEqual(first, [1, 2, 3, 4, 5])
  t.equal(second[second.length - 1], 5, 'the other one ends at the last value')
  t.deepEqual(second, [...second].sort(), 'and never goes back')
  t.end()
})

test('events pushed from within a reader come after the one it reads, for every reader', (t) => {
  const source = new EventSource<Thing>((thing) => thing.id)
  const seen: number[][] = [[], []]
  for (const [index, items] of seen.entries()) {
    const read = source.open()
    const next = (): void =>
      read(null, (end, data) => {
        if (end) return
        const { value = 0 } = data as Thing
        items.push(value)
        if (index === 0 && value < 5) source.push({ id: 'a', value: value + 1 })
        next()
      })
    next()
  }
  source.push({ id: 'a', value: 1 })
  t.deepEqual(seen, [
    [1, 2, 3, 4, 5],
    [1, 2, 3, 4, 5],
  ])
  t.end()
})

test('a reader may abort itself, end another one, or close the source from within', (t) => {
  for (const { name, open, push, close, count } of eitherKind()) {
    const victim = open()
    const seen: string[] = []
    const own = open()
    own(null, () => {
      seen.push('item')
      own(true, () => seen.push('own end'))
      victim(true, () => seen.push('victim end'))
    })
    victim(null, (end) => seen.push(end ? 'victim wait ended' : 'victim item'))
    push()
    t.ok(seen.includes('item') && seen.includes('own end') && seen.includes('victim end'), `${name}: ${seen}`)
    t.equal(count(), 0, 'both are gone')

    const closer = open()
    const ends: End[] = []
    closer(null, () => close())
    const bystander = open()
    const wait = (): void => bystander(null, (end) => (end ? ends.push(end) : wait()))
    wait()
    push()
    t.deepEqual(ends, [true], 'closing from within ends the others, once')
    t.equal(count(), 0)
  }
  t.end()
})

test('a reader of the manager may call it back at any moment', async (t) => {
  const { manager, clock, dial } = bench()
  const seen: string[] = []
  const next = (): void =>
    read(null, (end, data) => {
      if (end) return void seen.push('end')
      react(data)
      next()
    })
  const read = manager.connections.changes()
  const react = (change: unknown): void => {
    const { type, peer } = change as { type: string; peer: string }
    seen.push(`${type} ${peer === alice.id ? 'alice' : 'bob'}`)
    if (type === 'dialing') manager.peer.setPriority({ id: peer, priority: 'HIGH' })
    if (type === 'connected' && peer === alice.id) manager.peer.connect({ address: bob.address }, () => {})
    if (type === 'connected' && peer === bob.id) manager.connections.stop()
    if (type === 'disconnected' && peer === bob.id) manager.close()
  }
  next()
  manager.peer.addRoute({ address: alice.address })
  manager.connections.start()
  clock.flush()
  dial(alice.address).accept()
  clock.flush()
  dial(bob.address).accept()
  clock.flush()
  clock.advance(MINUTE)
  t.deepEqual(seen, [
    'dialing alice',
    'connected alice',
    'dialing bob',
    'connected bob',
    'disconnected alice',
    'disconnected bob',
    'end',
  ])
  t.equal(clock.pending, 0, 'no timer is left')
})

test('stopping from within a reader stops what the same plan had yet to dial', (t) => {
  for (const way of ['stop', 'close'] as const) {
    const { manager, clock, newDials } = bench()
    for (const { address } of [alice, bob, carol]) manager.peer.addRoute({ address })
    const read = manager.connections.changes()
    read(null, () => (way === 'stop' ? manager.connections.stop() : manager.close()))
    manager.connections.start()
    clock.advance(5 * MINUTE)
    t.deepEqual(newDials(), [], `${way}: nobody is dialed after it`)
    t.equal(clock.pending, 0, 'no timer')
    t.equal(manager.connections.status().dialing, 0)
  }
  t.end()
})

test('removing a route, or banning a peer, from within a reader keeps the plan from dialing it', (t) => {
  const { manager, clock, newDials } = bench()
  const everybody = [alice, bob, carol]
  for (const { address } of everybody) manager.peer.addRoute({ address })
  const read = manager.connections.changes()
  let first = ''
  read(null, (_end, change) => {
    first = everybody.find((each) => each.id === change?.peer)?.address ?? ''
    const [second, third] = everybody.filter((each) => each.id !== change?.peer)
    manager.peer.removeRoute({ address: second!.address })
    manager.peer.setPriority({ id: third!.id, priority: 'BANNED' })
  })
  manager.connections.start()
  clock.advance(SECOND)
  t.deepEqual(newDials(), [first], 'only the one that had begun')
  t.end()
})

test('a reader that throws has ended', async (t) => {
  const { thrown, restore } = catchThrown()
  for (const { name, open, push, count } of eitherKind()) {
    const read = open()
    read(null, () => {
      throw new Error(name)
    })
    push()
    t.equal(count(), 0, `${name}: nothing is kept of it`)
    t.equal(take(read).end, true, 'it reads the end')
  }
  await new Promise((resolve) => setImmediate(resolve))
  restore()
  t.deepEqual(thrown.map(String), ['Error: keyed', 'Error: events'], 'what it threw is not swallowed')
})

test('a reader that throws does not keep the news from the others, nor the caller from what he did', async (t) => {
  const { thrown, restore } = catchThrown()
  const { manager, clock, dials } = bench()
  const fault = new Error('a fault of the reader')
  manager.peers({ old: false })(null, () => {
    throw fault
  })
  const other: unknown[] = []
  manager.peers({ old: false })(null, (_end, data) => other.push((data as { id: string }).id))
  t.doesNotThrow(() => manager.peer.addRoute({ address: alice.address }), 'addRoute')
  t.deepEqual(other, [alice.id], 'the other reader has heard of it')
  manager.connections.start()
  clock.flush()
  t.equal(dials.length, 1, 'and she is dialed')
  await new Promise((resolve) => setImmediate(resolve))
  t.deepEqual(thrown, [fault], 'the fault is not swallowed: it surfaces once, outside of the manager')
  restore()
})

// ---- the sources of the manager ---------------------------------------------------------------------------------------

test('peers(): each peer, {sync: true}, then whole peers, and removals', (t) => {
  const { manager, clock, add, connected } = bench()
  add(alice.address)
  const read = manager.peers() as Source<Record<string, unknown>>
  t.deepEqual(take(read, 2).items, [manager.peer.get(alice.id), SYNC], 'the snapshot')
  add(bob.address)
  t.deepEqual(take(read, 1).items, [manager.peer.get(bob.id)], 'a new peer')
  connected(alice.address, new FakeRpc())
  t.deepEqual(take(read, 1).items, [manager.peer.get(alice.id)], 'alice as she is now')
  manager.peer.removeRoute({ address: bob.address })
  t.deepEqual(
    take(read),
    { items: [{ id: bob.id, removed: true }], end: null, isWaiting: true },
    'bob is gone, and no more',
  )
  clock.flush()
  t.end()
})

test('progress() gives how it stands first, and a slow reader the newest only', (t) => {
  const { manager, clock, add, dial } = bench()
  add(alice.address)
  const slow = manager.initialSync.progress()
  manager.initialSync.start()
  clock.flush()
  dial(alice.address).accept()
  for (let have = 0; have < 2_000; have++) manager.internal.reportProgress({ peer: alice.id, have, want: 2_000 })
  const { items, isWaiting } = take(slow)
  t.deepEqual(items, [{ phase: 'syncing', peer: alice.id, have: 1_999, want: 2_000 }])
  t.ok(isWaiting, 'and waits for the next')
  t.end()
})

test('a snapshot source gives the whole at once, then one for each turn, and nothing is made for nobody', (t) => {
  const clock = virtualClock()
  let value = 0
  let reads = 0
  const source = new SnapshotSource<number>((fn) => clock.defer(fn))
  const change = (): void => {
    value++
    source.changed()
  }
  const open = () =>
    source.open(() => {
      reads++
      return value
    })
  change()
  clock.flush()
  t.equal(reads, 0, 'nobody reads')
  const reader = open()
  t.deepEqual(take(reader, 1).items, [1])
  for (let i = 0; i < 100; i++) change()
  const late = open()
  t.deepEqual(take(late, 1).items, [101], 'the first one at once, in the middle of a turn too')
  t.equal(reads, 2)
  t.ok(take(reader, 1).isWaiting, 'the others when it is over')
  clock.flush()
  t.equal(reads, 3, 'one for the hundred')
  clock.flush()
  t.equal(reads, 3)
  change()
  clock.flush()
  change()
  clock.flush()
  t.deepEqual(take(late, 1).items, [103], 'whoever is slow is given the newest only')
  t.ok(take(late, 1).isWaiting)
  t.end()
})

test('a snapshot source ends for present and later readers, and lets go of who stops', (t) => {
  const clock = virtualClock()
  let reads = 0
  const source = new SnapshotSource<number>((fn) => clock.defer(fn))
  const open = () => source.open(() => ++reads)
  const [gone, present] = [open(), open()]
  take(gone, 1)
  gone(true, () => {})
  take(present, 1)
  source.changed()
  clock.flush()
  t.equal(reads, 2, 'nobody waits: nothing is made')
  source.close()
  t.equal(take(present, 1).end, true)
  t.equal(take(open(), 1).end, true)
  source.changed()
  clock.flush()
  t.equal(reads, 2)
  t.end()
})
