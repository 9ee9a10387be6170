/** `connections.recording()`: what it gives replays to what was, costs nothing while nobody reads, and holds no secret. */
import { isDeepStrictEqual } from 'util'

import pull = require('pull-stream')
import test = require('tape')

import { isInvite } from '../../src/core/address'
import { DEFAULT_OPTIONS } from '../../src/core/options'
import { plan } from '../../src/core/plan'
import type { RecordingItem } from '../../src/core/recording'
import { initialState } from '../../src/core/reducer'
import { createManager } from '../../src/manager'
import type { Source } from '../../src/shell/live'
import { RecordingSource } from '../../src/shell/recording'
import { replay, replaySteps, seededRandom, virtualClock } from '../../src/testing'
import { alice, type Bench, bench, bob, carol, dave, erin, MINUTE, person, SECOND } from '../support/manager'

type Recorded = { readonly items: RecordingItem[]; end: Error | true | null }

/** Reads all that it is given, as fast as it comes, through JSON. */
function record(source: Source<RecordingItem>): Recorded {
  const recorded: Recorded = { items: [], end: null }
  pull(
    source as unknown as pull.Source<RecordingItem>,
    pull.drain(
      (item) => {
        recorded.items.push(JSON.parse(JSON.stringify(item)) as RecordingItem)
      },
      (end) => {
        recorded.end = end ?? true
      },
    ),
  )
  return recorded
}

const actionsOf = ({ items }: Recorded): string[] =>
  items.map(({ type }) => type).filter((type) => !/^checkpoint/.test(type))
const SEED = Buffer.alloc(32, 9).toString('base64')

/** A manager in the middle of everything. */
function busyBench(): Bench {
  const made = bench({ autostart: true, answer: (dial) => (dial.address === dave.address ? dial.refuse() : undefined) })
  made.add(alice.address, bob.address, carol.address, dave.address, erin.by('onion', `${'e'.repeat(56)}.onion`))
  made.clock.advance(SECOND)
  made.dial(alice.address).accept()
  made.clock.advance(SECOND)
  return made
}

test('a recording begins with how things stand, and replays to what came of it', (t) => {
  const { manager, clock, dial } = busyBench()
  const recorded = record(manager.connections.recording())
  clock.advance(1)
  t.equal(recorded.items[0]?.type, 'checkpoint')
  t.equal(recorded.items[recorded.items.length - 1]?.type, 'checkpoint/end')
  t.deepEqual(replay(recorded.items).peers, manager.peer.list(), 'as it stands')
  dial(bob.address).accept()
  dial(carol.address).refuse()
  manager.peer.setPriority({ id: dave.id, priority: 'HIGH' })
  manager.internal.pinged(bob.id, 20, 3)
  manager.connections.setMaxByType({ net: 1 })
  for (let i = 0; i < 30; i++) clock.advance(MINUTE / 2)
  const { peers, status, plan: next } = replay(recorded.items)
  t.deepEqual(peers, manager.peer.list(), 'the peers')
  t.deepEqual(status, JSON.parse(JSON.stringify(manager.connections.status())), 'the status')
  t.deepEqual(
    next,
    plan(manager.internal.store.getState(), manager.internal.store.getState().now),
    'and what comes next',
  )
  t.ok(actionsOf(recorded).length > 20, `after ${actionsOf(recorded).length} actions`)
  manager.close()
  t.equal(recorded.end, true, 'ended by close')
  t.equal(actionsOf(recorded).includes('connections/stopped'), true, 'which it still heard of')
  t.end()
})

test('recordings of onAction and of the source come to the same', (t) => {
  const actions: RecordingItem[] = []
  const { manager, clock, dial } = bench({ onAction: (action) => actions.push(action as RecordingItem) })
  const recorded = record(manager.connections.recording())
  manager.peer.addRoute(alice.address)
  manager.connections.start()
  clock.advance(SECOND)
  dial(alice.address).accept()
  clock.advance(MINUTE)
  t.deepEqual(replay(actions).peers, manager.peer.list())
  t.deepEqual(replay(recorded.items).peers, manager.peer.list())
  manager.close()
  t.end()
})

test('what follows from a change that a reader makes as he reads is recorded once, in its order', (t) => {
  const { manager, clock } = bench()
  const items: RecordingItem[] = []
  const second: Recorded[] = []
  pull(
    manager.connections.recording() as unknown as pull.Source<RecordingItem>,
    pull.drain((item) => {
      items.push(item)
      if (item.type !== 'connections/started') return
      second.push(record(manager.connections.recording()))
      manager.peer.addRoute(alice.address)
    }),
  )
  // Told of before the manager's own sources: opened in the middle of an action.
  manager.internal.store.subscribe((action) => {
    if (action.type === 'connections/started') second.push(record(manager.connections.recording()))
  })
  const changing = record(manager.connections.recording())
  clock.advance(1)
  manager.connections.start()
  clock.advance(SECOND)
  for (const [name, recorded] of Object.entries([{ items, end: null }, ...second, changing]))
    t.deepEqual(replay(recorded.items).peers, manager.peer.list(), name)
  t.equal(second.length, 2)
  manager.close()
  t.end()
})

test('a recording that is opened while an action is told of has it in its beginning, and not twice', (t) => {
  const made: Recorded[] = []
  const { manager, clock } = bench({
    onAction: ({ type }) => {
      if (type === 'connections/started') made.push(record(manager.connections.recording()))
    },
  })
  manager.connections.start()
  manager.peer.addRoute(alice.address)
  clock.advance(1)
  const [recorded] = made
  t.deepEqual(recorded && actionsOf(recorded), ['routes/added', 'dial/started'])
  t.deepEqual(replay(recorded?.items ?? []).peers, manager.peer.list())
  manager.close()
  t.end()
})

test('a recording ends when its reader has enough, and nothing is kept of it', (t) => {
  const only = new RecordingSource(virtualClock())
  const opened = only.open(initialState(DEFAULT_OPTIONS, 0))
  t.equal(only.size, 1)
  opened(true, () => {})
  t.equal(only.size, 0)
  const { manager, clock } = bench()
  const source = manager.connections.recording()
  const before = clock.pending
  source(null, () => {})
  let ended: unknown
  source(true, (end) => {
    ended = end
  })
  t.equal(ended, true)
  manager.connections.start()
  t.equal(clock.pending, before, 'no timer is left')
  source(null, (end) => t.equal(end, true, 'and it stays ended'))
  manager.close()
  let late: unknown
  manager.connections.recording()(null, (end) => {
    late = end
  })
  t.equal(late, true, 'none begins after close')
  t.end()
})

/** An action with 5 000 entries, all of them of the same route. */
const MANY = Array.from({ length: 5_000 }, () => ({ route: storedAt('hal').route, isLocal: false, source: 'seed' }))

test('a reader who falls far behind gets what was kept for him, and then ERR_RECORDING_BEHIND', (t) => {
  const { manager, clock } = bench()
  const source = manager.connections.recording()
  manager.peer.addRoute(alice.address)
  let known = manager.peer.list()
  for (let i = 0; i < 12; i++) {
    manager.internal.report(MANY)
    manager.peer.addRoute(person(`n${i}`).address)
    // Nine of the large ones fit.
    if (i === 8) known = manager.peer.list()
  }
  const recorded = record(source)
  clock.advance(1)
  const error = recorded.end as unknown as { readonly code?: string; readonly waiting?: number }
  t.equal(error.code, 'ERR_RECORDING_BEHIND')
  t.ok((error.waiting ?? 0) > 50_000)
  t.equal(actionsOf(recorded).length, 1 + 2 * 9)
  t.deepEqual(replay(recorded.items).peers, known, 'whole up to there')
  manager.close()
  t.end()
})

test('a reader who keeps up is never behind, however much happens', (t) => {
  const { manager, clock } = bench()
  const recorded = record(manager.connections.recording())
  clock.advance(1)
  for (let i = 0; i < 12; i++) {
    manager.internal.report(MANY)
    clock.advance(1)
  }
  t.equal(recorded.end, null)
  t.equal(actionsOf(recorded).length, 12, '60 000 entries')
  manager.close()
  t.end()
})

test('a table of 10 000 routes is handed out a portion a turn, however fast it is read', (t) => {
  // A turn of its own is one that the test lets come.
  const clock = virtualClock()
  const waiting: (() => void)[] = []
  const inTurns = {
    ...clock,
    setTimeout: (fn: () => void, ms: number) => (ms > 0 ? clock.setTimeout(fn, ms) : waiting.push(fn)),
  }
  const manager = createManager({ connectToPeer: () => {}, clock: inTurns, random: seededRandom(1) })
  for (let i = 0; i < 10; i++)
    manager.internal.load({ peers: [], routes: Array.from({ length: 1_000 }, (_, n) => storedAt(`p${i}x${n}`)) })
  const recorded = record(manager.connections.recording())
  const turns = [recorded.items.length]
  while (waiting.length > 0) {
    // Something happens meanwhile, and is told of afterwards.
    if (turns.length === 3) for (let i = 0; i < 1_000; i++) manager.internal.busy(i % 2 === 0)
    const seen = recorded.items.length
    waiting.shift()?.()
    turns.push(recorded.items.length - seen)
  }
  const checkpoint = recorded.items.findIndex(({ type }) => type === 'checkpoint/end')
  t.ok(checkpoint > 40, `the checkpoint has ${checkpoint} parts`)
  t.ok(Math.max(...turns.slice(0, checkpoint)) <= 1, 'of which a turn takes one')
  t.ok(Math.max(...turns) <= 200, `at most ${Math.max(...turns)} actions in one`)
  t.equal(actionsOf(recorded).length, 1_000)
  clock.advance(1)
  // The comparison of tape takes seconds.
  t.ok(isDeepStrictEqual(replay(recorded.items).peers, manager.peer.list()))
  manager.close()
  t.end()
})

function storedAt(name: string) {
  const { address, id } = person(name)
  return {
    route: {
      address,
      peer: id,
      protocol: 'net',
      host: `${name}.example`,
      port: 8008,
      portal: null,
      scope: 'name' as const,
    },
    isLocal: false,
    source: 'stored',
    addedAt: 1,
    lastConnectionTime: 0,
    lastErrorTime: 0,
    connectionCount: 0,
    errorCount: 0,
    backoffStep: 0,
    nextAttemptAt: 0,
    errors: [],
    duration: null,
  }
}

test('no seed of an invite and nothing of what other modules keep gets into a recording, nor to onAction', async (t) => {
  const seen: string[] = []
  const clock = virtualClock()
  const { manager, dials } = bench({
    clock,
    random: seededRandom(2),
    onAction: (action) => seen.push(JSON.stringify(action)),
  })
  const recorded = record(manager.connections.recording())
  const invite = (who: typeof alice): string => `${who.address}:${SEED}`
  t.ok(isInvite(invite(alice)), 'it is one')
  manager.peer.addRoute(invite(alice))
  manager.peer.setLongTerm({ address: invite(bob) })
  const guest = manager.peer.connect(invite(carol))
  clock.flush()
  dials[dials.length - 1]?.refuse()
  await guest.then(
    () => t.fail('refused'),
    (error: { code?: string }) => t.equal(error.code, 'ERR_DIAL_FAILED'),
  )
  manager.connections.start()
  manager.peer.removeRoute(invite(alice))
  const route = { ...storedAt('fay').route, address: invite(person('fay')) }
  manager.internal.load({ peers: [], routes: [{ ...storedAt('fay'), route, data: { invite: SEED } }] })
  manager.internal.report([
    { route: { ...route, address: invite(erin), peer: erin.id }, isLocal: false, source: 'manual' },
  ])
  manager.internal.annotate(bob.address, { key: SEED }, true)
  manager.internal.forget(invite(erin))
  clock.advance(SECOND)
  const refusing = dials.find(({ address }) => address === bob.address)
  t.ok(refusing, 'bob is dialed, by an address without a seed')
  refusing?.cb(Object.assign(new Error(`could not connect to:${invite(bob)}, only know:net`), { code: 'ENOTRANSPORT' }))
  manager.initialSync.start(invite(dave))
  clock.advance(MINUTE)
  const later = record(manager.connections.recording())
  clock.advance(1)
  t.ok(manager.internal.store.getState().routes.get(bob.address)?.data, 'the table has what was kept')
  for (const [what, items] of [
    ['from the beginning', recorded.items],
    ['from the middle', later.items],
  ] as const) {
    const text = JSON.stringify(items)
    t.notOk(text.includes(SEED), what)
    t.ok(text.includes(bob.id), `${what}: ids are there`)
    t.deepEqual(
      replay(items).peers.map(({ id }) => id),
      manager.peer.list().map(({ id }) => id),
      `${what}: and it replays`,
    )
  }
  const told = seen.filter((line) => line.includes(`:${SEED}`)).map((line) => (JSON.parse(line) as RecordingItem).type)
  t.deepEqual(
    told,
    ['route/forgotten', 'dial/failed'],
    'nor is onAction given it, where no module of ours and no error says it',
  )
  manager.close()
  t.end()
})

test('what the steps of a replay say is what was', (t) => {
  const { manager, clock, dial } = busyBench()
  const recorded = record(manager.connections.recording())
  clock.advance(1)
  dial(bob.address).refuse('ETIMEDOUT')
  manager.peer.disconnect(alice.id, () => {})
  clock.advance(20 * SECOND)
  const steps = [...replaySteps(recorded.items)]
  t.equal(steps[0]?.action, null, 'the first is the beginning')
  t.deepEqual(
    steps.map(({ index }) => index),
    steps.map((_, i) => i),
  )
  const failed = steps.find(({ action }) => action?.type === 'dial/failed' && action.address === bob.address)
  t.deepEqual(
    failed?.changes.filter(({ field }) => /errorCount/.test(field)),
    [{ peer: bob.id, field: `${bob.address}: errorCount`, from: 0, to: 1 }],
  )
  t.deepEqual(
    failed?.changed.map(({ id }) => id),
    [bob.id],
  )
  const asked = steps.find(({ action }) => action?.type === 'connection/closeRequested')
  t.deepEqual(asked?.decided.closes, [{ peer: alice.id, reason: 'disconnected' }], 'what it decided, and why')
  const gaveUp = steps.find(({ due }) => (due?.giveUps.length ?? 0) > 0)
  t.ok(gaveUp?.action?.type === 'dial/failed', 'what time alone brought is told before what followed from it')
  t.equal(steps[steps.length - 1]?.explain(dave.id).reason, manager.peer.explain(dave.id).reason)
  manager.close()
  t.end()
})

test('what a step has decided is what was not decided before it', (t) => {
  const { manager, clock } = bench()
  const recorded = record(manager.connections.recording())
  clock.advance(1)
  manager.peer.addRoute(alice.address)
  manager.peer.addRoute(bob.address)
  manager.connections.start()
  clock.flush()
  const last = [...replaySteps(recorded.items)].slice(-3)
  t.deepEqual(
    last.map(({ action, plan: made, decided }) => [action?.type, made.dials.length, decided.dials.length]),
    [
      ['connections/started', 2, 2],
      ['dial/started', 1, 0],
      ['dial/started', 0, 0],
    ],
  )
  manager.close()
  t.end()
})

test('while nobody records, nothing is copied', (t) => {
  const { manager, clock } = bench()
  let reads = 0
  const report = {
    route: storedAt('gus').route,
    isLocal: false,
    get source() {
      reads++
      return 'manual'
    },
  }
  const readsOf = (): number => {
    const before = reads
    manager.internal.report([report])
    return reads - before
  }
  readsOf()
  const usual = readsOf()
  const source = manager.connections.recording()
  const recorded = record(source)
  clock.advance(1)
  t.equal(readsOf(), usual + 1, 'who records gets a copy')
  t.equal(actionsOf(recorded).length, 1)
  source(true, () => {})
  t.equal(readsOf(), usual, 'and when he has gone, none is made')
  manager.close()
  t.end()
})
