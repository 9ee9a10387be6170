/** The timeline: what was connected and what failed, bounded in number and time, at the cost of a record each. */
import test = require('tape')

import { HISTORY_MS, MAX_HISTORY, startHistory } from '../../src/dashboard/history'
import type { HistoryEntry } from '../../src/dashboard/protocol'
import { createManager } from '../../src/manager'
import { virtualClock } from '../../src/testing'
import { alice, bench, bob, FIRST_ID, HOUR, MINUTE, person, SECOND } from '../support/manager'

const setUp = () => {
  const made = bench()
  const { clock, manager } = made
  const history = startHistory({ store: manager.internal.store, now: clock.now })
  const all = (): readonly HistoryEntry[] => {
    const entries: HistoryEntry[] = []
    for (let at: number | null = 0; at !== null; ) {
      const read = history.read(at, 7)
      entries.push(...read.entries)
      at = read.next
    }
    return entries
  }
  return { ...made, history, all }
}

test('a connection is one entry, from its beginning to its end, with the reason of both', (t) => {
  const { manager, clock, history, all, add, connected } = setUp()
  const told: HistoryEntry[] = []
  history.onEntry = (entry) => told.push({ ...entry })
  add(alice.address)
  connected(alice.address)
  const from = clock.now()
  const begun = {
    kind: 'connection',
    peer: alice.id,
    address: alice.address,
    direction: 'outbound',
    class: 'net',
    from,
    to: null,
    why: 'request',
    ended: null,
  }
  t.deepEqual(all(), [begun])
  clock.advance(5 * SECOND)
  manager.peer.disconnect(alice.id, () => {})
  clock.flush()
  const ended = { ...begun, to: from + 5 * SECOND, ended: 'disconnected' }
  t.deepEqual(all(), [ended])
  t.deepEqual(told, [begun, ended], 'whoever looks is told of both')
  manager.close()
  t.end()
})

test('who hangs up on us has given no reason; who calls us has a reason of his own', (t) => {
  const { manager, clock, all } = setUp()
  manager.peer.remotePeerConnected(bob.id)
  clock.advance(SECOND)
  manager.peer.remotePeerDisconnected(bob.id)
  const [entry] = all()
  t.ok(entry?.kind === 'connection')
  if (entry?.kind === 'connection') {
    t.equal(entry.direction, 'inbound')
    t.equal(entry.why, 'inbound')
    t.equal(entry.class, null)
    t.equal(entry.ended, null)
    t.equal(entry.to, clock.now())
  }
  manager.close()
  t.end()
})

test('a dial that fails says when it was dialed, why, and what was wrong, in few words', (t) => {
  const { manager, clock, dial, add, all } = setUp()
  add(alice.address)
  manager.connections.start()
  clock.flush()
  const from = clock.now()
  clock.advance(40)
  dial(alice.address).refuse(`E${'X'.repeat(5_000)}\u0000\u202e`)
  const [entry] = all()
  t.ok(entry?.kind === 'failed' && entry.error.length <= 300, 'short')
  t.deepEqual(
    { ...entry, error: '' },
    {
      kind: 'failed',
      peer: alice.id,
      address: alice.address,
      class: 'net',
      from,
      to: from + 40,
      why: 'schedule',
      error: '',
    },
  )
  manager.close()
  t.end()
})

test('where both sides have dialed, the connection that gives way is an entry of its own', (t) => {
  const made = bench({ selfId: FIRST_ID })
  const { manager, clock, dial, add } = made
  const history = startHistory({ store: manager.internal.store, now: clock.now })
  add(alice.address)
  manager.peer.connect(alice.id, () => {})
  clock.flush()
  manager.peer.remotePeerConnected(alice.id)
  clock.advance(SECOND)
  dial(alice.address).accept()
  t.deepEqual(
    history
      .read(0, 10)
      .entries.map((entry) => entry.kind === 'connection' && [entry.direction, entry.to !== null, entry.ended]),
    [
      ['inbound', true, 'replaced'],
      ['outbound', false, null],
    ],
  )
  manager.close()
  t.end()
})

test('what was connected before it began is in it', (t) => {
  const { manager, clock, connected, add } = bench()
  add(alice.address)
  connected(alice.address)
  const from = clock.now()
  clock.advance(HOUR)
  const history = startHistory({ store: manager.internal.store, now: clock.now })
  const [entry] = history.read(0, 10).entries
  t.ok(entry?.kind === 'connection' && entry.from === from && entry.to === null)
  t.equal(history.since(), clock.now(), 'but it does not say that it knows of that time')
  manager.close()
  t.end()
})

test('a round trip is noted once in five minutes, and anew for each connection', (t) => {
  const { manager, clock, all, add, connected } = setUp()
  add(alice.address)
  connected(alice.address)
  for (let i = 0; i < 11; i++) {
    manager.internal.pinged(alice.id, 10 + i, 0)
    clock.advance(MINUTE)
  }
  const rtts = () => all().flatMap((entry) => (entry.kind === 'rtt' ? [entry.rttMs] : []))
  t.deepEqual(rtts(), [10, 15, 20])
  manager.peer.disconnect(alice.id, () => {})
  clock.flush()
  manager.internal.pinged(alice.id, 99, 0)
  t.deepEqual(rtts(), [10, 15, 20], 'of nobody who is not connected')
  connected(alice.address)
  manager.internal.pinged(alice.id, 7, 0)
  t.deepEqual(rtts(), [10, 15, 20, 7])
  manager.close()
  t.end()
})

test('what is older than a day goes; a connection that lasts does not', (t) => {
  const { manager, clock, all, history, add, connected } = setUp()
  add(alice.address)
  connected(alice.address)
  manager.peer.remotePeerConnected(bob.id)
  manager.peer.remotePeerDisconnected(bob.id)
  t.equal(all().length, 2)
  clock.advance(HISTORY_MS + 1)
  t.deepEqual(
    all().map(({ peer }) => peer),
    [alice.id],
  )
  t.equal(history.since(), clock.now() - HISTORY_MS)
  manager.close()
  t.end()
})

test('however much happens it is bounded, and a reader in between loses his place to nobody', (t) => {
  // Not on a bench, which looks at the whole state after each of the 46 000 actions.
  const clock = virtualClock()
  const manager = createManager({ connectToPeer: () => {}, clock })
  const history = startHistory({ store: manager.internal.store, now: clock.now })
  const strangers = Array.from({ length: 50 }, (_, i) => person(`stranger${i}`).id)
  const visit = (id: string): void => {
    manager.peer.remotePeerConnected(id)
    manager.peer.remotePeerDisconnected(id)
    clock.advance(1)
  }
  for (let i = 0; i < MAX_HISTORY; i++) visit(strangers[i % 50]!)
  const first = history.read(0, 500)
  t.equal(first.entries.length, 500)
  for (let i = 0; i < 3_000; i++) visit(strangers[i % 50]!)
  t.equal(history.size(), MAX_HISTORY)
  const second = history.read(first.next ?? 0, 500)
  const at = (entry?: HistoryEntry): number => (entry?.kind === 'connection' ? (entry.to ?? 0) : 0)
  t.equal(at(second.entries[0]) - at(first.entries[0]), 3_000, 'the oldest that are left')
  t.equal(history.since(), at(second.entries[0]), 'it says how far it reaches')
  t.equal(clock.pending, 0, 'no timer')
  history.stop()
  t.equal(history.size(), 0)
  visit(strangers[0]!)
  t.equal(history.size(), 0, 'after the end nothing is kept')
  manager.close()
  t.end()
})
