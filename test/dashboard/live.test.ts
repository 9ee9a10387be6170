/** What a reader of the live page is told and when, and what it costs: on a virtual clock, with a reader that is no socket. */
import test = require('tape')

import { startHistory } from '../../src/dashboard/history'
import { createLive, type Live, MAX_READERS, MAX_ROWS, type Sink, STUCK_MS } from '../../src/dashboard/live'
import type { FeedRow, Hello, HistoryEntry, PeerRow, SyncState } from '../../src/dashboard/protocol'
import type { Status } from '../../src/index'
import { parseEvents } from '../support/http'
import { alice, type Bench, bench, bob, MINUTE, person, SECOND } from '../support/manager'

interface Reader extends Sink {
  /** Everything so far, in order; the comments are left out. */
  readonly events: { readonly name: string; readonly data: unknown }[]
  /** Each write. */
  readonly chunks: string[]
  /** After each write. */
  onWrite: () => void
  isFull: boolean
  isEnded: boolean
  drain(): void
  names(): string[]
  of<T>(name: string): T[]
  /** All rows of all events of a name. */
  rows<T>(name: string): T[]
  /** Forgets what came. */
  clear(): void
}

function reader(): Reader {
  let drained = (): void => {}
  const made: Reader = {
    events: [],
    chunks: [],
    onWrite: () => {},
    isFull: false,
    isEnded: false,
    write: (chunk) => {
      if (made.isEnded) throw new Error('write after end')
      made.chunks.push(chunk)
      made.events.push(...parseEvents(chunk))
      made.onWrite()
      return !made.isFull
    },
    onDrain: (fn) => {
      drained = fn
    },
    end: () => {
      made.isEnded = true
    },
    drain: () => {
      made.isFull = false
      drained()
    },
    names: () => made.events.map(({ name }) => name),
    of: <T>(name: string) => made.events.filter((event) => event.name === name).map(({ data }) => data as T),
    rows: <T>(name: string) => made.of<T[]>(name).flat(),
    clear: () => {
      made.events.length = 0
      made.chunks.length = 0
    },
  }
  return made
}

/** An ssb-friends that says this once; `count` is how many listen. */
function friendsOf(hops: Readonly<Record<string, number>>) {
  const friends = {
    count: 0,
    hopStream: () => {
      friends.count++
      let isTold = false
      let waiting = (_: unknown): void => {}
      return (abort: unknown, cb: (end: unknown, data?: unknown) => void): void => {
        if (abort) {
          friends.count--
          waiting(abort)
          return cb(abort)
        }
        if (isTold) {
          waiting = cb
          return
        }
        isTold = true
        cb(null, hops)
      }
    },
  }
  return friends
}

interface SetUp extends Bench {
  readonly live: Live
  readonly listeners: () => number
  readonly open: (mayStay?: () => boolean) => Reader & { leave: () => void }
}

function setUp(plugins: Readonly<Record<string, unknown>> = {}): SetUp {
  const made = bench()
  const { clock, manager } = made
  const { store } = manager.internal
  let listeners = 0
  const counted = {
    ...store,
    subscribe: (listener: Parameters<typeof store.subscribe>[0]) => {
      listeners++
      const end = store.subscribe(listener)
      return () => {
        listeners--
        end()
      }
    },
  }
  const watched = { ...manager, internal: { ...manager.internal, store: counted } }
  const history = startHistory({ store: counted, now: clock.now })
  const live = createLive({
    sbot: { id: person('me').id, connect: () => {}, ...plugins },
    manager: watched,
    clock,
    history,
    nameOf: (id) => (id === alice.id ? 'alice' : null),
    version: '1.2.3',
    log: () => {},
  })
  return {
    ...made,
    live,
    listeners: () => listeners,
    open: (mayStay = () => true) => {
      const sink = reader()
      const leave = live.add(sink, mayStay)
      if (!leave) throw new Error('too many readers')
      return Object.assign(sink, { leave })
    },
  }
}

test('a reader is told who we are, then of the table and the history, then that this was all', (t) => {
  const { manager, clock, add, connected, open } = setUp()
  add(alice.address, bob.address)
  connected(alice.address)
  const page = open()
  clock.advance(0)
  const names = page.names()
  t.equal(names[0], 'hello')
  t.equal(names.filter((name) => name === 'synced').length, 1)
  for (const name of ['status', 'sync', 'peers', 'history'])
    t.ok(names.includes(name) && names.indexOf(name) < names.indexOf('synced'), name)
  t.deepEqual(page.of<Hello>('hello')[0], {
    version: '1.2.3',
    selfId: person('me').id,
    now: clock.now(),
    historySince: clock.now(),
    has: { friends: false, replication: false },
  })
  const rows = page.rows<PeerRow>('peers')
  const row = rows.find(({ id }) => id === alice.id)
  t.equal(rows.length, 2)
  t.deepEqual(
    { ...row, connection: row?.connection.status },
    {
      id: alice.id,
      name: 'alice',
      priority: 'MEDIUM',
      isLongTerm: false,
      hops: null,
      connection: 'connected',
      class: 'net',
      cause: 'request',
      isCaughtUp: false,
      visitedAt: clock.now(),
      routes: [
        {
          address: alice.address,
          class: 'net',
          source: 'manual',
          isLocal: false,
          isStored: true,
          isAutomatic: true,
          status: 'connected',
          connectionCount: 1,
          errorCount: 0,
          lastError: null,
          lastConnectionTime: clock.now(),
          nextAttemptAt: row?.routes[0]?.nextAttemptAt,
        },
      ],
    },
  )
  t.equal(page.rows<HistoryEntry>('history').length, 1)
  t.deepEqual(page.of<Status>('status')[0], JSON.parse(JSON.stringify(manager.connections.status())))
  t.equal(page.of<SyncState>('sync')[0]?.phase, 'off')
  manager.close()
  t.end()
})

test('a change is told at once, and what follows within a quarter of a second together', (t) => {
  const { manager, clock, add, connected, open, dial } = setUp()
  add(alice.address, bob.address)
  const page = open()
  clock.advance(SECOND)
  page.clear()
  connected(alice.address)
  clock.advance(0)
  const statuses = () => page.rows<PeerRow>('peers').map(({ id, connection }) => [id, connection.status])
  t.deepEqual(statuses(), [[alice.id, 'connected']])
  page.clear()
  for (let i = 0; i < 50; i++) manager.internal.transferred(alice.id, 1)
  manager.peer.connect(bob.id, () => {})
  clock.flush()
  dial(bob.address).refuse()
  clock.advance(200)
  t.deepEqual(statuses(), [], 'not yet')
  clock.advance(50)
  t.deepEqual(
    statuses().sort(),
    [
      [alice.id, 'connected'],
      [bob.id, 'idle'],
    ].sort(),
    'each once, as it is now',
  )
  t.equal(page.rows<HistoryEntry>('history').filter(({ kind }) => kind === 'failed').length, 1)
  page.clear()
  // Changes all the time.
  for (let i = 0; i < 400; i++) {
    manager.internal.transferred(alice.id, 1)
    clock.advance(25)
  }
  const batches = page.of('peers').length
  t.ok(batches >= 36 && batches <= 42, `${batches} in ten seconds`)
  t.ok(page.of('status').length <= 11, 'the status once a second at most')
  page.clear()
  clock.advance(MINUTE)
  t.deepEqual(page.events, [], 'and nothing where nothing changes')
  t.ok(page.chunks.length >= 3 && page.chunks.every((chunk) => chunk.startsWith(':')), 'but a sign of life')
  manager.close()
  t.end()
})

test('who goes out of the table is gone', (t) => {
  const { manager, clock, add, open } = setUp()
  add(alice.address, bob.address)
  const page = open()
  clock.advance(SECOND)
  page.clear()
  manager.peer.removeRoute({ address: alice.address })
  clock.advance(SECOND)
  t.equal(manager.peer.get(alice.id), null)
  t.deepEqual(page.rows('gone'), [alice.id])
  t.deepEqual(page.rows('peers'), [])
  manager.close()
  t.end()
})

test('10 000 routes come in slices, and what changes meanwhile is right at the end', (t) => {
  const { manager, clock, open } = setUp()
  const people = Array.from({ length: 10_000 }, (_, i) => person(`${i}`.padStart(32, 'p')))
  for (const { address } of people.slice(0, 9_999)) manager.peer.addRoute({ address })
  const known = new Map<string, PeerRow>()
  const page = open()
  const before = clock.fired
  // In the middle of the table, the changes on either side of where it is.
  page.onWrite = () => {
    if (page.of('peers').length !== 10) return
    page.onWrite = () => {}
    for (const { id } of [people[0]!, people[5_000]!, people[9_998]!])
      manager.peer.setPriority({ id, priority: 'HIGH' })
    manager.peer.addRoute({ address: people[9_999]!.address })
  }
  clock.advance(SECOND)
  for (const row of page.rows<PeerRow>('peers')) known.set(row.id, row)
  t.equal(known.size, 10_000)
  t.ok(
    page.of<PeerRow[]>('peers').every(({ length }) => length <= MAX_ROWS),
    'at most 500 at a time',
  )
  for (const i of [0, 5_000, 9_998]) t.equal(known.get(people[i]!.id)?.priority, 'HIGH', `peer ${i}`)
  t.ok(clock.fired - before >= 20, `others had their turn ${clock.fired - before} times`)
  manager.close()
  t.end()
})

test('a slow reader is told the newest of each, however much has happened; nothing piles up', (t) => {
  const { manager, clock, add, open, connected } = setUp()
  add(alice.address, bob.address)
  const page = open()
  clock.advance(SECOND)
  page.clear()
  page.isFull = true
  connected(alice.address)
  clock.advance(0)
  const written = page.chunks.length
  t.equal(written, 1, 'one event, after which it has enough')
  for (let i = 0; i < 5_000; i++) {
    manager.internal.pinged(alice.id, i, 0)
    manager.peer.setPriority({ id: bob.id, priority: i % 2 ? 'HIGH' : 'LOW' })
    clock.advance(1)
  }
  t.equal(page.chunks.length, written, 'nothing is written meanwhile')
  page.clear()
  page.drain()
  clock.advance(SECOND)
  const rows = page.rows<PeerRow>('peers')
  t.ok(rows.length <= 4, `${rows.length} rows`)
  t.equal(rows.filter(({ id }) => id === bob.id).pop()?.priority, 'HIGH')
  t.ok(page.of('status').length <= 2)
  manager.close()
  t.end()
})

test('a reader that does not read is cut, the others are not', (t) => {
  const { manager, clock, add, live, open } = setUp()
  add(alice.address)
  const stuck = open()
  const page = open()
  clock.advance(SECOND)
  stuck.isFull = true
  manager.peer.setPriority({ id: alice.id, priority: 'HIGH' })
  clock.advance(STUCK_MS - 1)
  t.notOk(stuck.isEnded)
  clock.advance(2)
  t.ok(stuck.isEnded)
  t.notOk(page.isEnded)
  t.equal(live.count(), 1)
  manager.close()
  t.end()
})

test('who has no session any more is cut', (t) => {
  const { manager, clock, live, open } = setUp()
  let isWelcome = true
  const page = open(() => isWelcome)
  clock.advance(MINUTE)
  t.notOk(page.isEnded)
  isWelcome = false
  clock.advance(MINUTE)
  t.ok(page.isEnded)
  t.equal(live.count(), 0)
  manager.close()
  t.end()
})

test('nothing runs while nobody looks: no timer, and one listener for the history', (t) => {
  let messageListeners = 0
  const friends = friendsOf({ [person('me').id]: 0, [alice.id]: 1, [bob.id]: 2 })
  const { manager, clock, add, connected, open, live, listeners } = setUp({
    friends,
    ebt: { peerStatus: (id: string) => ({ id, seq: 3, peers: { [bob.id]: { seq: 5 } } }) },
    db: {
      onMsgAdded: () => {
        messageListeners++
        return () => {
          messageListeners--
        }
      },
    },
  })
  add(alice.address, bob.address)
  connected(alice.address)
  clock.advance(10)
  const idle = { timers: clock.pending, listeners: listeners() }
  t.equal(idle.listeners, 1, 'the history')
  for (let i = 0; i < 100; i++) manager.internal.transferred(alice.id, 1)
  t.equal(clock.pending, idle.timers)
  const one = open()
  const other = open()
  clock.advance(MINUTE)
  t.equal(listeners(), 2, 'however many look')
  t.equal(friends.count, 1)
  t.equal(messageListeners, 1)
  t.ok(clock.pending > idle.timers)
  t.equal(
    one
      .rows<PeerRow>('peers')
      .filter(({ id }) => id === alice.id)
      .pop()?.hops,
    1,
    'it knows how far somebody is',
  )
  const feeds = new Map(other.rows<FeedRow>('feeds').map((row) => [row.id, row]))
  t.deepEqual(feeds.get(alice.id), {
    id: alice.id,
    name: 'alice',
    hops: 1,
    have: 3,
    want: 5,
    arrivedAt: null,
    latestAt: null,
  })
  one.leave()
  t.equal(friends.count, 1)
  other.leave()
  t.deepEqual({ timers: clock.pending, listeners: listeners() }, idle, 'all is as before')
  t.equal(friends.count, 0)
  t.equal(messageListeners, 0)
  open()
  clock.advance(SECOND)
  t.equal(listeners(), 2, 'and it begins anew')
  live.close()
  t.deepEqual({ timers: clock.pending, listeners: listeners() }, idle)
  manager.close()
  t.end()
})

test('a message that comes makes its feed fresh', (t) => {
  let hear = (_: unknown): void => {}
  const { manager, clock, open } = setUp({
    friends: friendsOf({ [person('me').id]: 0, [alice.id]: 1 }),
    ebt: { peerStatus: (id: string) => ({ id, seq: 3, peers: { [bob.id]: { seq: 5 } } }) },
    db: {
      onMsgAdded: (fn: (message: unknown) => void) => {
        hear = fn
        return () => {}
      },
    },
  })
  const page = open()
  clock.advance(SECOND)
  page.clear()
  hear({
    kvt: { key: '%1', value: { author: alice.id, sequence: 4, timestamp: 1_700_000_000_000.5, content: 'secret' } },
  })
  hear({ kvt: { key: '%2', value: { author: bob.id, sequence: 4, timestamp: 1 } } })
  clock.advance(SECOND)
  t.deepEqual(page.rows<FeedRow>('feeds'), [
    {
      id: alice.id,
      have: 4,
      want: 5,
      arrivedAt: clock.now() - SECOND,
      latestAt: 1_700_000_000_000.5,
      name: 'alice',
      hops: 1,
    },
  ])
  t.notOk(page.chunks.join('').includes('secret'), 'and nothing of what it says')
  page.clear()
  clock.advance(MINUTE)
  t.deepEqual(page.rows('feeds'), [], 'which ssb-ebt, that counts it later, does not take back')
  manager.close()
  t.end()
})

test('at most eight look at a time, and all hear of the end', (t) => {
  const { manager, clock, live, open } = setUp()
  const pages = Array.from({ length: MAX_READERS }, () => open())
  t.equal(
    live.add(reader(), () => true),
    null,
  )
  clock.advance(SECOND)
  live.close()
  for (const page of pages) t.equal(page.names().pop(), 'bye')
  t.ok(pages.every(({ isEnded }) => isEnded))
  manager.close()
  t.end()
})

test('what strangers wrote is cut short, and cannot begin another event', (t) => {
  const { manager, clock, add, open, dial } = setUp()
  add(alice.address, bob.address)
  const evil = `</script><img src=x onerror=alert(1)>\n\nevent: bye\ndata: {}\n\n\u202e${'x'.repeat(500)}`
  manager.internal.annotate(bob.address, { name: evil }, true)
  manager.connections.start()
  clock.flush()
  dial(bob.address).cb(new Error(evil))
  const page = open()
  clock.advance(SECOND)
  t.equal(page.of('bye').length, 0)
  const row = page.rows<PeerRow>('peers').find(({ id }) => id === bob.id)
  t.equal(row?.name?.length, 64)
  t.ok((row?.routes[0]?.lastError?.message.length ?? 999) <= 300)
  t.notOk(/[\n\u202e]/.test(`${row?.name}${row?.routes[0]?.lastError?.message}`), 'in one line, from left to right')
  manager.close()
  t.end()
})

test('the progress of a sync has a rate and a time left', (t) => {
  const { manager, clock, add, open, connected } = setUp()
  add(alice.address)
  connected(alice.address)
  const page = open()
  clock.advance(SECOND)
  manager.initialSync.start(alice.id)
  clock.flush()
  for (let have = 0; have <= 400; have += 100) {
    manager.internal.reportProgress({ peer: alice.id, have, want: 1_000 })
    clock.advance(SECOND)
  }
  const last = page.of<SyncState>('sync').pop()
  t.deepEqual(last, { phase: 'syncing', peer: alice.id, have: 400, want: 1_000, rate: 100, etaMs: 6_000 })
  manager.initialSync.stop()
  clock.advance(SECOND)
  t.deepEqual(page.of<SyncState>('sync').pop()?.phase, 'off')
  manager.close()
  t.end()
})
