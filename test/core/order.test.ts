/** DESIGN 4, "Order": who is dialed first, by which route, and that nobody waits for ever. */
import fc from 'fast-check'

import test = require('tape')

import type { StoredPeer, StoredRoute } from '../../src/core/actions'
import { compareReady, lanesOf, STRANGER_TIER, turnOf } from '../../src/core/rank'
import type { Priority } from '../../src/core/types'
import { DAY, HOUR, idOf, labelOf, MINUTE, SECOND, START, slots, stored, storedPeer, World } from '../support/builders'

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31)

/** Somebody has called in, so this is no warm start. */
function busyWorld(change: Parameters<typeof World.started>[0] = slots({ net: 1 })): World {
  const world = World.started(change)
  world.callIn('zed')
  return world
}

interface Contender {
  readonly priority?: Priority
  readonly isLongTerm?: boolean
  readonly learned?: Partial<StoredRoute>
  /** Null, with LOW: a stranger. */
  readonly prioritisedBy?: string | null
  readonly merit?: StoredPeer['merit']
}

function load(world: World, label: string, contender: Contender): void {
  const { priority = 'MEDIUM', isLongTerm = false, learned = {}, prioritisedBy = 'user', merit } = contender
  const [name = ''] = label.split('/')
  const visitedAt = learned.lastConnectionTime ?? 0
  const peer = storedPeer(name, { priority, isLongTerm, prioritisedBy, visitedAt, ...(merit ? { merit } : {}) })
  world.load([stored(label, learned)], [peer])
}

const ago = (ms: number): number => START - ms

test('among the routes that may be dialed each criterion decides before those after it', (t) => {
  const erring = { errorCount: 1, lastErrorTime: ago(DAY), backoffStep: 1 }
  const muchBrought = { messages: 12_000, coveredMs: 12 * HOUR, at: ago(HOUR), broughtAt: ago(HOUR) }
  // In each row the second one is better by every later criterion.
  const table: readonly { readonly rule: string; readonly first: Contender; readonly second: Contender }[] = [
    {
      rule: 'long-term first',
      first: { priority: 'LOW', isLongTerm: true, learned: { ...erring, lastConnectionTime: ago(DAY) } },
      second: { priority: 'HIGH' },
    },
    {
      rule: 'then HIGH before MEDIUM',
      first: { priority: 'HIGH', learned: { ...erring, lastConnectionTime: ago(DAY) } },
      second: { priority: 'MEDIUM' },
    },
    {
      rule: 'and MEDIUM before LOW',
      first: { priority: 'MEDIUM', learned: { ...erring, lastConnectionTime: ago(DAY) } },
      second: { priority: 'LOW' },
    },
    {
      rule: 'and LOW of whom somebody said so before LOW of whom nobody said anything',
      first: { priority: 'LOW', learned: { ...erring, lastConnectionTime: ago(DAY) } },
      second: { priority: 'LOW', prioritisedBy: null },
    },
    {
      rule: 'then without a recent error before with one',
      first: { learned: { lastConnectionTime: ago(DAY), lastErrorTime: ago(2 * DAY) } },
      second: { learned: { ...erring, lastErrorTime: ago(9 * DAY) } },
    },
    {
      rule: 'then never connected before connected',
      first: { learned: { lastErrorTime: ago(DAY) } },
      second: { learned: { lastErrorTime: ago(9 * DAY), lastConnectionTime: ago(5 * DAY) } },
    },
    {
      rule: 'then whose turn comes first: who brings much has it sooner, however lately he was there',
      first: { merit: muchBrought, learned: { lastConnectionTime: ago(HOUR), lastErrorTime: ago(DAY) } },
      second: { learned: { lastConnectionTime: ago(HOUR + 10 * MINUTE), lastErrorTime: ago(9 * DAY) } },
    },
    {
      rule: 'which of equal ones is the one that was connected longest ago',
      first: { learned: { lastConnectionTime: ago(5 * DAY), lastErrorTime: ago(6 * DAY) } },
      second: { learned: { lastConnectionTime: ago(5 * DAY - 1), lastErrorTime: ago(9 * DAY) } },
    },
    {
      rule: 'then longest ago failed first',
      first: { learned: { ...erring, lastErrorTime: ago(DAY) } },
      second: { learned: { ...erring, lastErrorTime: ago(DAY - 1) } },
    },
  ]
  for (const { rule, first, second } of table) {
    // Both ways round, so that it is not the tie that decided.
    for (const [a, b] of [
      ['alice', 'bob'],
      ['bob', 'alice'],
    ] as const) {
      const world = busyWorld()
      load(world, b, second)
      load(world, a, first)
      const made = world.plan()
      t.equal(labelOf(made.dials[0]?.address ?? ''), a, `${rule} (${a})`)
      if (!first.isLongTerm)
        t.deepEqual(
          [...world.state.ready.keys()].map(({ address }) => labelOf(address)),
          [a, b],
          'so says the index',
        )
    }
  }
  t.end()
})

test('ties are broken by a keyed hash: the same for the same key, another for another', (t) => {
  const names = ['alice', 'bob', 'carol', 'dave', 'erin']
  const orderWith = (tieKey: readonly number[]): string => {
    const world = busyWorld({ ...slots({ net: 1 }), tieKey })
    world.addAll(names)
    return [...world.state.ready.keys()].map(({ address }) => labelOf(address)).join()
  }
  t.equal(orderWith([1, 2, 3, 4]), orderWith([1, 2, 3, 4]))
  const orders = new Set(Array.from({ length: 20 }, (_, i) => orderWith([i, 0, 0, 0])))
  t.ok(orders.size > 10, `${orders.size} orders of 20 keys: nobody can pick an id that comes first`)
  t.end()
})

test("of one peer's routes: local first, then the last one that worked, then fewest errors", (t) => {
  const order = (routes: readonly StoredRoute[]): string[] => {
    const world = busyWorld({ ...slots({ net: 1, local: 1 }), staggerMs: 100, staggerLocalMs: 100 })
    world.load(routes)
    // Past the pause after one that worked the last time, and before anything is given up.
    return world.elapse(2 * SECOND).map(({ effect }) => effect.replace('dial ', ''))
  }
  const failed = { errorCount: 3, lastErrorTime: ago(DAY) }
  t.deepEqual(
    order([
      stored('a'),
      stored('a/lan', { ...failed, isLocal: true }),
      stored('a/net2', { lastConnectionTime: ago(1) }),
    ]),
    ['a/lan', 'a/net2', 'a'],
    'local first',
  )
  t.deepEqual(
    order([
      stored('a', { lastConnectionTime: ago(2 * DAY) }),
      stored('a/net2', { ...failed, lastConnectionTime: ago(DAY) }),
      stored('a/net3'),
    ]),
    ['a/net2', 'a', 'a/net3'],
    'the last one that worked',
  )
  t.deepEqual(
    order([stored('a', { errorCount: 2 }), stored('a/net2', { errorCount: 1 }), stored('a/net3')]),
    ['a/net3', 'a/net2', 'a'],
    'fewest errors',
  )
  t.end()
})

test('a request for a route dials that route first, then the others in the usual order', (t) => {
  const world = new World()
  world.load([stored('a'), stored('a/net2', { lastConnectionTime: ago(DAY) }), stored('a/net3', { errorCount: 1 })])
  world.request('a', 'a/net3')
  t.deepEqual(
    world.elapse(250 + 8 * 250).map(({ effect }) => effect),
    ['dial a/net3 (request)', 'dial a/net2 (request)', 'dial a (request)'],
  )
  t.end()
})

// ---- warm start ---------------------------------------------------------------------------------------------------------

test('while no connection is up at all, what worked before comes first, the most recent success at the head', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.addAll(['new1', 'new2'])
  load(world, 'friend', { priority: 'HIGH' })
  load(world, 'old', { learned: { lastConnectionTime: ago(3 * DAY) } })
  load(world, 'recent', { priority: 'LOW', learned: { lastConnectionTime: ago(MINUTE), errorCount: 1 } })
  load(world, 'older', { learned: { lastConnectionTime: ago(9 * DAY) } })
  const dialed: string[] = []
  for (let i = 0; i < 5; i++) {
    for (const effect of world.settle()) dialed.push(effect.replace('dial ', ''))
    for (const each of world.inFlight()) world.fail(each, { code: null, message: 'shs.client: bad answer' })
  }
  t.deepEqual(dialed.slice(0, 4), ['recent', 'old', 'older', 'friend'], 'then as usual')
  t.end()
})

test('as soon as anything is connected the usual order holds again', (t) => {
  const prepared = (maxDialing = 1): World => {
    const world = World.started({ ...slots({ net: 1 }), maxDialing })
    world.add('new')
    load(world, 'recent', { learned: { lastConnectionTime: ago(MINUTE) } })
    return world
  }
  t.deepEqual(prepared().settle(), ['dial recent'])
  const inbound = prepared()
  inbound.callIn('zed')
  t.deepEqual(inbound.settle(), ['dial new'])
  const outbound = prepared(2)
  outbound.add('zed/onion')
  outbound.request('zed')
  t.deepEqual(outbound.settle(), ['dial zed/onion (request)', 'dial recent'], 'a dial is no connection yet')
  outbound.connect('zed/onion')
  outbound.fail('recent')
  t.deepEqual(outbound.settle(), ['dial new'])
  t.end()
})

// ---- nothing starves ------------------------------------------------------------------------------------------------------

test('every second dial goes to routes that worked before, every eighth goes round all lanes', (t) => {
  const kinds = Array.from({ length: 16 }, (_, i) => turnOf(i).kind)
  const eight = ['strict', 'proven', 'strict', 'proven', 'strict', 'proven', 'lane', 'proven']
  t.deepEqual(kinds, [...eight, ...eight])
  const lanes = new Set<number>()
  for (let i = 0; i < 128; i++) {
    const turn = turnOf(i)
    if (turn.kind === 'lane') lanes.add(turn.index)
  }
  t.deepEqual(
    [...lanes],
    lanesOf('net').map((_, index) => index),
  )
  t.equal(lanes.size, 16, 'four tiers, with and without an error, proven or not')
  t.end()
})

test('the dial for those that worked before goes by turns, whatever the priority, and to those with an error last', (t) => {
  const oldest: Contender = { priority: 'LOW', learned: { lastConnectionTime: ago(9 * DAY) } }
  const older: Contender = { priority: 'MEDIUM', learned: { lastConnectionTime: ago(5 * DAY) } }
  const recent: Contender = { priority: 'HIGH', learned: { lastConnectionTime: ago(DAY) } }
  const erring: Contender = {
    priority: 'HIGH',
    learned: { lastConnectionTime: ago(20 * DAY), errorCount: 1, lastErrorTime: ago(DAY), backoffStep: 1 },
  }
  const world = busyWorld({ ...slots({ net: 1 }), maxDialing: 1, backoffMaxMs: { HIGH: DAY, MEDIUM: DAY, LOW: DAY } })
  load(world, 'oldest', oldest)
  load(world, 'older', older)
  load(world, 'recent', recent)
  load(world, 'erring', erring)
  for (let i = 0; i < 9; i++) load(world, `new${i}`, { priority: 'HIGH' })
  const proven: string[] = []
  for (let dial = 0; dial < 8; dial++) {
    const [effect = ''] = world.settle()
    if (dial % 2 === 1) proven.push(effect)
    for (const each of world.inFlight()) world.fail(each, { jitter: 1 })
  }
  t.deepEqual(proven, ['dial oldest', 'dial older', 'dial recent', 'dial erring'])
  t.end()
})

const tierOf = ({ priority, prioritisedBy }: Contender): number =>
  priority === 'MEDIUM' ? 1 : prioritisedBy === null ? STRANGER_TIER : 2

test('however many better ones fail without a pause, the worst one is tried within 128 dials', (t) => {
  const lanes: readonly Contender[] = [
    { priority: 'LOW', learned: { errorCount: 3, lastErrorTime: ago(DAY), lastConnectionTime: ago(DAY) } },
    { priority: 'LOW', learned: { errorCount: 3, lastErrorTime: ago(DAY) } },
    { priority: 'LOW', learned: { lastConnectionTime: ago(DAY) } },
    { priority: 'LOW' },
    { priority: 'MEDIUM', learned: { errorCount: 3, lastErrorTime: ago(DAY) } },
    { priority: 'LOW', prioritisedBy: null, learned: { errorCount: 3, lastErrorTime: ago(DAY) } },
    { priority: 'LOW', prioritisedBy: null },
  ]
  for (const worst of lanes) {
    // Friends that are always back when they are wanted: they connect and leave at once, and have no pause.
    const world = busyWorld({ ...slots({ net: 1 }), backoffMaxMs: { HIGH: 1, MEDIUM: 1, LOW: 1 }, hostWindowMs: 0 })
    for (let i = 0; i < 12; i++) {
      load(world, `friend${i}`, { priority: 'HIGH', learned: { lastConnectionTime: i % 2 ? ago(DAY) : 0 } })
    }
    load(world, 'worst', worst)
    let dials = 0
    for (; dials < 200 && world.route('worst').lastErrorTime < START; dials++) {
      world.settle()
      const [each = ''] = world.inFlight()
      if (each === 'worst') world.fail(each)
      else {
        world.connect(each)
        world.close(each)
      }
      world.now += SECOND
    }
    t.equal(world.route('worst').tier, tierOf(worst))
    t.ok(dials <= 129, `after ${dials} dials: ${JSON.stringify(worst)}`)
  }
  t.end()
})

type Behaviour = 'refuses' | 'isSilent' | 'answers'

/** Runs a world in which each route behaves in one way; when each was dialed first, in ms after the start. */
function firstDials(world: World, behaviour: (label: string) => Behaviour, forMs: number): Map<string, number> {
  const count = world.state.routes.size
  const first = new Map<string, number>()
  const end = world.now + forMs
  for (let round = 0; world.now < end && first.size < count; round++) {
    if (round > 50_000) throw new Error('too many rounds')
    world.settle()
    for (const label of world.inFlight()) if (!first.has(label)) first.set(label, world.now - START)
    let isOver = true
    for (const label of world.inFlight()) {
      if (behaviour(label) === 'isSilent') continue
      isOver = false
      if (behaviour(label) === 'refuses') world.fail(label)
      else world.connect(label)
    }
    for (const peer of world.state.active.keys())
      if (peer.connection.status === 'closing') {
        isOver = false
        world.dispatch({ type: 'connection/closed', peer: peer.id, jitter: 0.5 })
      }
    if (isOver) world.now = Math.min(end, world.wakeAt() ?? end)
  }
  return first
}

test('every eligible route is tried within a bounded time', (t) => {
  const contender: fc.Arbitrary<Contender> = fc.record({
    priority: fc.constantFrom<Priority>('HIGH', 'MEDIUM', 'LOW'),
    prioritisedBy: fc.constantFrom('user', null),
    learned: fc.record({
      lastConnectionTime: fc.constantFrom(0, 0, ago(MINUTE), ago(DAY), ago(9 * DAY)),
      lastErrorTime: fc.constantFrom(0, ago(HOUR), ago(DAY)),
      errorCount: fc.constantFrom(0, 0, 1, 5),
      backoffStep: fc.constantFrom(0, 3, 9),
    }),
  })
  const allForms = ['', '/onion', '/rtc'] as const
  const bounds: readonly {
    readonly title: string
    readonly mix: readonly Behaviour[]
    readonly bound: (count: number) => number
    readonly forms?: readonly string[]
    readonly seed?: number
  }[] = [
    { title: 'all refuse', mix: ['refuses'], forms: [''], bound: () => 30 * SECOND },
    // Transports that go through something of ours are thought to be down, and probed.
    { title: 'all refuse, on all transports', mix: ['refuses'], bound: (count) => (2 * count + 10) * MINUTE },
    // Our link is thought to be down, and probed at most once a minute.
    { title: 'all are silent', mix: ['isSilent'], bound: (count) => (2 * count + 10) * MINUTE },
    {
      title: 'some refuse, some are silent',
      mix: ['refuses', 'isSilent'],
      bound: (count) => (2 * count + 10) * MINUTE,
    },
    // Nobody ever says that he has caught up, so each of six slots has somebody new every 10 min.
    { title: 'all answer', mix: ['answers'], bound: (count) => (2 * count + 20) * MINUTE },
    {
      title: 'one that starved while those that the order prefers were every probe of their transport',
      mix: ['refuses', 'isSilent'],
      bound: (count) => (2 * count + 10) * MINUTE,
      seed: 14,
    },
    { title: 'all kinds', mix: ['refuses', 'isSilent', 'answers'], bound: (count) => (2 * count + 10) * MINUTE },
  ]
  for (const { title, mix, bound, forms = allForms, seed = SEED } of bounds) {
    let worst = 0
    const result = fc.check(
      fc.property(fc.array(contender, { minLength: 1, maxLength: 24 }), fc.nat(99), (contenders, salt) => {
        const world = World.started(slots({ net: 2, onion: 2, rtc: 2 }))
        world.isChecked = false
        const labels = contenders.map((each, i) => {
          const label = `p${salt}x${i}${forms[i % forms.length]}`
          load(world, label, each)
          return label
        })
        const behaviour = (label: string): Behaviour =>
          mix[Math.floor(labels.indexOf(label) / forms.length) % mix.length] ?? 'refuses'
        const limit = bound(labels.length)
        const first = firstDials(world, behaviour, limit)
        for (const label of labels) {
          const at = first.get(label)
          if (at === undefined) throw new Error(`${label} was not tried within ${limit / MINUTE} min`)
          worst = Math.max(worst, at / limit)
        }
      }),
      { seed, numRuns: 25 },
    )
    const error = result.errorInstance instanceof Error ? result.errorInstance.message : ''
    t.notOk(result.failed, `${title}: at most ${Math.round(worst * 100)} % of the bound (SEED=${seed}) ${error}`)
    if (result.failed) t.comment(JSON.stringify(result.counterexample))
  }
  t.end()
})

test('the order is total: no two routes compare as equal', (t) => {
  const world = new World()
  world.addAll(['alice', 'alice/net2', 'alice/onion', 'bob'])
  const keys = [...world.state.ready.keys()]
  for (const a of keys)
    for (const b of keys) t.equal(compareReady(a, b) === 0, a === b, `${labelOf(a.address)} and ${labelOf(b.address)}`)
  t.equal(keys.length, 4)
  t.equal(world.state.peers.has(idOf('alice')), true)
  t.end()
})
