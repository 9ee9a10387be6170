/** DESIGN 4, "Off by default", "Slots" and "Overcommit": in rounds, each with everything that may happen in it. */
import test = require('tape')

import { dialsWanted } from '../../src/core/refusal'
import { CLOSING_TIMEOUT_MS, NEW_CLASS, occupancyOf } from '../../src/core/table'
import {
  DAY,
  HOUR,
  idOf,
  MINUTE,
  options,
  report,
  SECOND,
  START,
  serialise,
  slots,
  stored,
  storedPeer,
  World,
} from '../support/builders'

const effects = (done: readonly { readonly effect: string }[]): string[] => done.map(({ effect }) => effect)
const dialsOf = (done: readonly { readonly effect: string }[]): string[] =>
  effects(done).filter((effect) => effect.startsWith('dial'))
const sorted = (list: readonly string[]): string[] => [...list].sort()
/** Everybody on one host each, so that no two are throttled together. */
const people = (count: number): string[] => Array.from({ length: count }, (_, i) => `p${i}`)

// ---- off by default -----------------------------------------------------------------------------------------------------

test('nothing is dialed before start, however long one waits', (t) => {
  const world = new World()
  world.addAll(['alice', 'bob/lan', 'carol/onion'])
  world.longTerm('alice')
  t.deepEqual(world.elapse(400 * DAY), [])
  t.equal(world.wakeAt(), null, 'and no timer is set')
  world.dispatch({ type: 'connections/started' })
  t.deepEqual(sorted(world.settle()), ['dial alice (longTerm)', 'dial bob/lan', 'dial carol/onion'])
  t.end()
})

test('stop cancels dials, hangs up all peers and clears every timer', (t) => {
  const world = World.started()
  world.addAll(['alice', 'bob', 'carol'])
  world.longTerm('alice')
  world.settle()
  world.connect('alice')
  world.connect('bob')
  world.callIn('dave')
  world.request('carol')
  world.dispatch({ type: 'connections/stopped' })
  t.deepEqual(sorted(world.settle()), ['close alice stopped', 'close bob stopped', 'close dave stopped'])
  t.deepEqual(world.inFlight(), [], 'the dial to carol no longer counts')
  t.equal(world.state.requests.size, 0, 'nor does the wish for it')
  t.equal(world.state.lingering.length, 1, 'but its socket does')
  for (const name of ['alice', 'bob', 'dave']) world.close(name)
  t.equal(world.wakeAt(), null)
  t.deepEqual(world.elapse(400 * DAY), [])
  t.end()
})

test('start and stop are idempotent and leak nothing, however often they are called', (t) => {
  const world = World.started()
  world.addAll(['alice', 'bob', 'carol'])
  world.settle()
  const once = serialise(world.state)
  world.dispatch({ type: 'connections/started' })
  t.equal(serialise(world.state), once, 'a second start changes nothing')
  world.dispatch({ type: 'connections/stopped' })
  const stopped = serialise(world.dispatch({ type: 'connections/stopped' }))
  t.equal(serialise(world.dispatch({ type: 'connections/stopped' })), stopped, 'nor does a third stop')
  for (let i = 0; i < 200; i++) {
    world.dispatch({ type: 'connections/started' })
    world.settle()
    world.dispatch({ type: 'connections/stopped' })
    t.equal(world.settle().length, 0)
  }
  t.ok(
    world.state.lingering.length <= 32,
    'sockets of cancelled dials are counted, and no more are opened than allowed',
  )
  t.equal(world.state.attemptCount, 0)
  world.now += 3 * MINUTE
  world.dispatch({ type: 'connections/started' })
  t.equal(world.settle().length, 3, 'after three minutes nobody believes in those sockets any more')
  t.end()
})

test('a local client, which has our own id, is never touched', (t) => {
  const world = new World(options({ maxInbound: 0, lifetimeMs: SECOND }))
  world.dispatch({ type: 'connections/started' })
  const before = serialise(world.state)
  world.callIn('self')
  world.prioritise('self', 'BANNED')
  world.longTerm('self')
  world.add('self')
  t.equal(serialise(world.state), before, 'it is not even seen')
  world.dispatch({ type: 'connections/stopped' })
  t.deepEqual(world.elapse(HOUR), [])
  t.end()
})

test('over maxInbound whoever means least goes, the newcomer among equals, however many go at once', (t) => {
  const kinds = ['stranger', 'low', 'medium', 'high', 'longTerm'] as const
  const kindOf = (name: string): number => Number(name[1])
  let seed = 1
  const draw = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  for (const maxInbound of [0, 1, 3]) {
    const world = World.started({ maxInbound })
    const inside: string[] = []
    for (let i = 0; i < 120; i++) {
      const name = `k${draw(kinds.length)}n${i}`
      const kind = kinds[kindOf(name)]
      if (kind === 'longTerm') world.longTerm(name)
      else if (kind !== 'stranger') world.prioritise(name, kind === 'low' ? 'LOW' : kind === 'high' ? 'HIGH' : 'MEDIUM')
      world.callIn(name)
      inside.push(name)
      if (inside.length > maxInbound) {
        const least = Math.min(...inside.map(kindOf))
        const victims = world.state.active
          .keysArray()
          .filter(({ connection }) => connection.status === 'connected' && connection.closeReason === 'maxInbound')
          .map(({ id }) => id)
        const left = inside.filter((each) => !victims.includes(idOf(each)))
        const [gone] = inside.filter((each) => victims.includes(idOf(each)))
        if (left.length !== maxInbound || gone === undefined || kindOf(gone) !== least)
          t.fail(`${name} came, ${gone} of ${inside} goes`)
        if (kindOf(name) === least && gone !== name) t.fail(`${gone} goes for ${name}, who means as little`)
        inside.splice(inside.indexOf(gone ?? ''), 1)
      }
      // Who is to be hung up on for another reason makes room as well.
      const banned = draw(4) === 0 ? inside.shift() : undefined
      if (banned !== undefined) world.prioritise(banned, 'BANNED')
      // Sometimes several come before anybody was hung up on.
      if (draw(3) === 0) {
        world.settle()
        for (const peer of world.state.active.keysArray())
          if (peer.connection.status === 'closing')
            world.dispatch({ type: 'connection/closed', peer: peer.id, jitter: 0 })
      }
    }
    const isThere = (name: string): boolean => {
      const connection = world.state.peers.get(idOf(name))?.connection
      return connection?.status === 'connected' && connection.closeReason === null
    }
    t.ok(inside.every(isThere), `of ${maxInbound}, ${inside.length} are there in the end`)
  }
  t.end()
})

// ---- slots --------------------------------------------------------------------------------------------------------------

test('each class has its own slots; a class that nobody named has none', (t) => {
  const names = ['net', 'rtc', 'onion', 'ws', 'wss', 'local', 'bt', 'tunnel', 'unix']
  const world = World.started({ maxDialing: 100 })
  for (const form of ['', '/rtc', '/onion', '/ws', '/wss', '/lan', '/bt', '/tunnel-room', '/unix'])
    world.addAll(people(8).map((name) => `${name}${form.slice(1)}${form}`))
  const counts = (status: 'dialing' | 'connected') =>
    Object.fromEntries(names.map((name) => [name, occupancyOf(world.state, name)[status]]))
  world.settle()
  for (const each of world.inFlight()) world.connect(each)
  for (const effect of world.settle()) world.close(effect.replace(/^close (.*) surplus$/, '$1'))
  const full = { net: 3, rtc: 3, onion: 3, ws: 0, wss: 0, local: 5, bt: 0, tunnel: 0, unix: 0 }
  t.deepEqual(counts('connected'), full)
  world.setMax({ ws: 1, bt: 2 })
  world.settle()
  const none = Object.fromEntries(names.map((name) => [name, 0]))
  t.deepEqual(counts('dialing'), { ...none, ws: 2, bt: 4 }, 'setting a maximum opens its slots at once')
  t.deepEqual(counts('connected'), full, 'and leaves the others')
  t.end()
})

test('a dial is counted on until it has failed', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.addAll(people(3))
  t.equal(world.settle().length, 2, 'one in two is expected to succeed')
  const last = people(3).find((name) => !world.inFlight().includes(name))
  t.deepEqual(effects(world.elapse(SECOND)), [], 'the other one waits')
  world.fail(world.inFlight()[0] ?? '')
  t.deepEqual(world.settle(), [`dial ${last}`])
  t.end()
})

test('a dial that has not answered within a sixth of its time is counted on no more: another begins beside it', (t) => {
  for (const [form, hopeMs] of [
    ['', 1_667],
    ['/lan', 500],
    ['/onion', 5_000],
  ] as const) {
    const world = World.started(slots({ net: 1, local: 1, onion: 1 }))
    world.addAll(people(12).map((name) => `${name}${form}`))
    t.equal(world.settle().length, 2)
    t.deepEqual(world.elapse(hopeMs - 1), [], `${hopeMs} ms`)
    t.deepEqual(
      world.elapse(1).map(({ at, effect }) => [at, effect.slice(0, 4)]),
      [
        [hopeMs, 'dial'],
        [hopeMs, 'dial'],
      ],
    )
    t.equal(world.inFlight().length, 4, 'the first two may answer yet')
    const [first = ''] = world.inFlight()
    world.connect(first)
    t.deepEqual(world.settle(), [])
    t.deepEqual(dialsOf(world.elapse(hopeMs)), [], 'when one does nobody else is dialed')
  }
  t.end()
})

test('after an interruption a dial is counted on for a twentieth of its time only, for five seconds', (t) => {
  const begun = (afterMs: number): number | undefined => {
    const world = World.started(slots({ net: 1 }))
    world.dispatch({ type: 'environment/online' })
    world.now += afterMs
    world.addAll(people(12))
    t.equal(world.settle().length, 2)
    return world.elapse(2 * SECOND)[0]?.at
  }
  t.equal(begun(SECOND), SECOND + 500)
  t.equal(begun(5 * SECOND - 1), 5 * SECOND - 1 + 500)
  t.equal(begun(5 * SECOND), 5 * SECOND + 1_667)
  t.end()
})

test('a free slot goes to a peer that may be there before it goes to a closer one that never was', (t) => {
  const world = World.started({ ...slots({ net: 1 }), maxDialing: 1 })
  world.load([stored('friend', { errorCount: 3, lastErrorTime: START - DAY })])
  world.dispatch({ type: 'peer/prioritised', peer: idOf('friend'), priority: 'HIGH' })
  world.add('pub')
  t.deepEqual(world.settle(), ['dial pub'])
  world.fail('pub')
  t.deepEqual(world.settle(), ['dial friend'], 'but he does not wait for more than that')
  t.end()
})

test('however many are silent, dials that nobody counts on any more take their place among maxDialing', (t) => {
  const world = World.started({ ...slots({ net: 1 }), maxDialing: 3 })
  world.addAll(people(12))
  t.equal(world.settle().length, 2)
  t.equal(dialsOf(world.elapse(2 * SECOND)).length, 1)
  t.deepEqual(effects(world.elapse(8 * SECOND - 1)), [], 'no fourth one')
  t.equal(dialsOf(world.elapse(1)).length, 2, 'until two are given up')
  t.equal(world.state.attemptCount, 3)
  t.end()
})

test('a closing connection occupies its slot until the close is confirmed', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.settle()
  world.connect('alice')
  world.add('bob')
  t.deepEqual(world.settle(), [])
  world.hold('alice')
  world.askToClose('alice', 'disconnected')
  t.deepEqual(world.settle(), ['close alice disconnected'])
  t.deepEqual(world.elapse(CLOSING_TIMEOUT_MS - 1), [])
  world.close('alice')
  t.deepEqual(world.settle(), ['dial bob'])
  t.end()
})

test('a close that is never confirmed is taken for done after five seconds', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.settle()
  world.connect('alice')
  world.add('bob')
  world.hold('alice')
  world.askToClose('alice', 'dead')
  t.deepEqual(world.settle(), ['close alice dead'])
  t.equal(world.wakeAt(), world.now + 5_000)
  t.deepEqual(world.elapse(4_999), [])
  t.deepEqual(effects(world.elapse(1)), ['lose alice', 'dial bob'])
  t.end()
})

test('lowering a maximum hangs up the surplus, worst first', (t) => {
  const world = World.started(slots({ net: 4 }))
  for (const name of ['alice', 'bob', 'carol', 'dave']) {
    world.add(name)
    world.settle()
    world.connect(name)
    world.now += MINUTE
  }
  world.prioritise('carol', 'HIGH')
  world.prioritise('alice', 'LOW')
  world.setMax({ net: 1 })
  t.deepEqual(
    world.settle(),
    ['close alice surplus', 'close dave surplus', 'close bob surplus'],
    'the lowest priority, then the newest; who is kept means most to us',
  )
  for (const name of ['alice', 'dave', 'bob']) world.close(name)
  t.deepEqual(world.settle(), [])
  world.setMax({ net: 0 })
  t.deepEqual(world.settle(), ['close carol surplus'], 'with no slot left nobody stays')
  t.end()
})

test('long-term peers are not refused for want of a slot, and hold theirs', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.settle()
  world.connect('alice')
  world.addAll(['bob', 'carol/ws'])
  world.longTerm('bob')
  world.longTerm('carol')
  t.deepEqual(sorted(world.settle()), ['dial bob (longTerm)', 'dial carol/ws (longTerm)'])
  world.connect('bob')
  world.connect('carol/ws')
  t.deepEqual(world.settle(), [], 'nor hung up on for it: alice has the slot that there is')
  world.close('alice')
  t.deepEqual(world.elapse(HOUR), [], 'a long-term peer fills the slot like any other')
  t.end()
})

test('an explicit connect goes past slots and classes without any, and is not hung up on for it', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.settle()
  world.connect('alice')
  world.addAll(['bob', 'carol/ws'])
  world.request('bob')
  world.request('carol')
  t.deepEqual(sorted(world.settle()), ['dial bob (request)', 'dial carol/ws (request)'])
  world.connect('bob')
  world.connect('carol/ws')
  t.deepEqual(world.settle(), [])
  t.equal(world.state.requests.size, 0, 'both wishes are met')
  t.end()
})

test('an explicit connect works before start too', (t) => {
  const world = new World()
  world.add('alice')
  world.request('alice')
  t.deepEqual(world.settle(), ['dial alice (request)'])
  world.connect('alice')
  t.deepEqual(world.elapse(HOUR), [])
  t.end()
})

test('whoever joins a dial under way gets a connection that is not cut for want of a slot', (t) => {
  const world = World.started(slots({ net: 2 }))
  world.addAll(['alice', 'bob'])
  world.settle()
  world.request('bob')
  t.deepEqual(world.settle(), [], 'bob is being dialed already')
  world.connect('alice')
  world.connect('bob')
  world.setMax({ net: 0 })
  t.deepEqual(world.settle(), ['close alice surplus'])
  t.end()
})

test('inbound connections take no slot, and who is connected inbound is not dialed', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.callIn('alice')
  t.deepEqual(world.elapse(HOUR), [])
  world.add('bob')
  t.deepEqual(world.settle(), ['dial bob'], 'the slot is free')
  world.close('alice')
  world.connect('bob')
  t.deepEqual(world.settle(), [], 'now it is not')
  t.end()
})

test('a connection that another module dialed takes no slot', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.addAll(['alice', 'bob'])
  const address = report('alice').route.address
  const peer = idOf('alice')
  world.dispatch({ type: 'connection/opened', peer, direction: 'outbound', address, attempt: null, cause: 'foreign' })
  t.deepEqual(world.settle(), ['dial bob'])
  t.equal(world.route('alice').connectionCount, 1, 'but says that the route works')
  world.setMax({ net: 0 })
  world.connect('bob')
  t.deepEqual(world.settle(), ['close bob surplus'], 'and is not ours to cut')
  t.end()
})

test('maxInbound refuses strangers first', (t) => {
  const world = new World(options({ maxInbound: 2 }))
  world.addAll(['alice', 'bob'])
  world.prioritise('bob', 'HIGH')
  world.callIn('mallory')
  world.callIn('alice')
  t.deepEqual(world.settle(), [], 'there is room for two')
  world.callIn('trudy')
  t.deepEqual(world.settle(), ['close trudy maxInbound'], 'a stranger makes no room for a stranger')
  world.close('trudy')
  world.callIn('bob')
  t.deepEqual(world.settle(), ['close mallory maxInbound'], 'the stranger goes')
  world.close('mallory')
  world.callIn('oscar')
  t.deepEqual(world.settle(), ['close oscar maxInbound'])
  world.close('oscar')
  world.prioritise('carol', 'HIGH')
  world.callIn('carol')
  t.deepEqual(world.settle(), ['close alice maxInbound'], 'without strangers, who means least')
  world.close('alice')
  world.longTerm('dave')
  world.callIn('dave')
  t.deepEqual(world.connected(), ['bob', 'carol', 'dave'])
  t.equal(world.settle().length, 1, 'a long-term peer is the last to go')
  t.end()
})

test('a caller of whom a module says that it does not know him makes room as any stranger', (t) => {
  const world = new World(options({ maxInbound: 2 }))
  world.add('alice', { source: 'pub' })
  for (const name of ['mallory', 'bob']) world.callIn(name)
  world.dispatch({ type: 'peer/prioritised', peer: idOf('mallory'), priority: 'LOW', by: 'social' })
  world.dispatch({ type: 'peer/prioritised', peer: idOf('bob'), priority: 'MEDIUM', by: 'social' })
  world.callIn('alice')
  t.deepEqual(world.settle(), ['close mallory maxInbound'], 'for somebody of whom there is an address')
  t.end()
})

test('who is being hung up on no longer counts against maxInbound', (t) => {
  const world = new World(options({ maxInbound: 2 }))
  world.addAll(['alice', 'bob', 'carol'])
  world.callIn('mallory')
  world.callIn('trudy')
  world.callIn('alice')
  world.close('trudy')
  world.callIn('bob')
  t.deepEqual(world.settle(), ['close mallory maxInbound'], 'alice and bob stay')
  t.end()
})

test('a stranger who calls in and leaves is forgotten', (t) => {
  const world = World.started()
  world.callIn('mallory')
  t.equal(world.state.peers.size, 1)
  world.close('mallory')
  t.equal(world.state.peers.size, 0)
  t.end()
})

// ---- overcommit -----------------------------------------------------------------------------------------------------------

test('as many dials as are expected to fill the free slots, at most twice those plus two', (t) => {
  const table: readonly {
    readonly free: number
    readonly rate: number
    readonly wanted: number
    readonly why: string
  }[] = [
    { free: 3, rate: 1, wanted: 3, why: 'all succeed' },
    { free: 3, rate: 0.5, wanted: 6, why: 'every second' },
    { free: 3, rate: 0.38, wanted: 8, why: 'round(7.9)' },
    { free: 3, rate: 0.05, wanted: 8, why: 'twice the free slots plus two' },
    { free: 1, rate: 0.999_999, wanted: 1, why: 'one, and not two for the last bit of an average' },
    { free: 1, rate: 0.9, wanted: 1, why: 'round(1.1): a second one would mostly be hung up on' },
    { free: 1, rate: 0.3, wanted: 3, why: 'round(3.3)' },
    { free: 1, rate: 0.2, wanted: 4, why: 'past it' },
    { free: 0, rate: 0.05, wanted: 0, why: 'nothing is free' },
  ]
  for (const { free, rate, wanted, why } of table) {
    const { state } = World.started(slots({ net: free }))
    const known = { net: { ...NEW_CLASS, successRate: rate } }
    t.equal(dialsWanted({ ...state, classes: known }, 'net', START), wanted, `${free} free, ${rate}: ${why}`)
  }
  t.end()
})

test('of what is wanted, dials in flight are taken off while they are young', (t) => {
  const world = World.started(slots({ net: 3, onion: 3 }))
  t.equal(dialsWanted(world.state, 'net', START), 6, 'of a class that is new every second dial is expected to succeed')
  world.addAll(['alice', 'bob', 'carol/onion'])
  world.settle()
  t.equal(dialsWanted(world.state, 'net', START), 4)
  t.equal(dialsWanted(world.state, 'net', START + 1_666), 4)
  t.equal(dialsWanted(world.state, 'net', START + 1_667), 6)
  t.equal(dialsWanted(world.state, 'onion', START), 5, 'each class has its own')
  world.connect('alice')
  t.equal(dialsWanted(world.state, 'net', START), 3, 'two slots, of a class that succeeds more often than before')
  t.end()
})

test('the success rate of a class is a moving average of its dials, and never so low that nothing is tried', (t) => {
  const world = World.started({ ...slots({ net: 1, onion: 1 }), backoffMaxMs: { HIGH: 1, MEDIUM: 1, LOW: 1 } })
  world.addAll(['alice'])
  world.prioritise('alice', 'HIGH')
  const rate = () => world.state.classes.net?.successRate
  world.settle()
  world.fail('alice')
  t.equal(rate(), 7 / 16)
  world.elapse(SECOND)
  world.connect('alice')
  t.equal(rate(), 7 / 16 + 9 / 128)
  world.close('alice')
  for (let i = 0; i < 60; i++) {
    world.elapse(SECOND)
    world.fail('alice', { code: 'ECONNREFUSED' })
  }
  t.equal(rate(), 0.05)
  t.equal(world.state.classes.onion, undefined, 'another class has its own')
  t.end()
})

test('a class whose dials fail dials more at a time, and what arrives beyond its slots is closed, the newest first', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.addAll(people(8))
  const failOne = (): void => world.fail(world.inFlight()[0] ?? '')
  world.settle()
  t.equal(world.inFlight().length, 2)
  failOne()
  world.settle()
  t.equal(world.inFlight().length, 2, '1 / 0.4375 is nearer to two')
  failOne()
  world.settle()
  t.equal(world.inFlight().length, 3, '1 / 0.3828 is nearer to three')
  const [early = '', late = '', other = ''] = world.inFlight()
  world.connect(early)
  world.now += 1
  world.connect(late)
  t.deepEqual(world.settle(), [`close ${late} surplus`])
  world.close(late)
  world.fail(other)
  t.deepEqual(world.elapse(SECOND), [])
  t.deepEqual(world.connected(), [early])
  t.end()
})

test('never more than maxDialing at a time, races included', (t) => {
  const world = World.started({ ...slots({ net: 6, local: 6, onion: 6 }), maxDialing: 8 })
  world.addAll(people(6).flatMap((name) => [name, `${name}/net2`, `${name}/net3`]))
  world.addAll(people(6).map((name) => `${name}x/lan`))
  world.addAll(people(6).map((name) => `${name}y/onion`))
  t.equal(world.settle().length, 8)
  const classes = ['net', 'local', 'onion'].map((name) => occupancyOf(world.state, name).dialing)
  t.deepEqual(sorted(classes.map(String)), ['2', '3', '3'], 'one of each class in turn, so that none takes all')
  t.deepEqual(world.elapse(2_999), [], 'no second route of anybody while eight are in flight')
  const [first = ''] = world.inFlight()
  world.fail(first)
  t.equal(world.settle().length, 1)
  t.equal(world.state.attemptCount, 8)
  t.end()
})

test('explicit connects come on top of maxDialing', (t) => {
  const world = World.started({ ...slots({ net: 3 }), maxDialing: 1 })
  world.addAll(['alice', 'bob', 'carol'])
  world.settle()
  const [first = ''] = world.inFlight()
  for (const name of ['alice', 'bob', 'carol']) if (name !== first) world.request(name)
  t.equal(world.settle().length, 2)
  t.end()
})

test('a class that is new here, with dials that take long, does not shut out one that has dialed for years', (t) => {
  const world = World.started({ ...slots({ net: 3, onion: 3 }), maxDialing: 4 })
  world.addAll(people(40))
  for (let i = 0; i < 10; i++) {
    world.settle()
    for (const each of world.inFlight()) world.fail(each)
  }
  t.ok((world.state.classes.net?.dialCount ?? 0) >= 30, 'net has dialed much more often')
  world.addAll(people(30).map((name) => `${name}/onion`))
  world.addAll(people(30).map((name) => `${name}z`))
  const inFlight: string[] = []
  for (let i = 0; i < 20; i++) {
    world.elapse(SECOND)
    inFlight.push(`${occupancyOf(world.state, 'net').dialing} + ${occupancyOf(world.state, 'onion').dialing}`)
  }
  t.deepEqual([...new Set(inFlight)], ['2 + 2'], 'each has its half of the dials in flight, all the time')
  t.end()
})

test('dials that were given up are believed to hold their sockets, four times maxDialing at most', (t) => {
  const world = World.started({ ...slots({ net: 8 }), maxDialing: 1 })
  world.addAll(people(20))
  world.settle()
  const done = world.elapse(HOUR)
  const dials = done.filter(({ effect }) => effect.startsWith('dial'))
  t.deepEqual(
    dials.slice(0, 5).map(({ at }) => at),
    [10 * SECOND, 20 * SECOND, 30 * SECOND, 190 * SECOND, 200 * SECOND],
    'three more after the first, then none until the oldest socket is given up as well, three minutes after its dial',
  )
  const again = World.started({ ...slots({ net: 8 }), maxDialing: 1 })
  again.addAll(people(20))
  again.settle()
  again.elapse(40 * SECOND)
  t.deepEqual(again.inFlight(), [])
  again.dispatch({ type: 'dial/ended', attempt: 2 })
  t.equal(again.settle().length, 1, 'one that came to its end makes room')
  t.end()
})

test('when junk that hangs holds all its sockets, there are some left for whom something vouches', (t) => {
  const clogged = (): World => {
    const world = World.started({ ...slots({ net: 8, local: 8 }), maxDialing: 1 })
    world.isChecked = false
    // More than a plan looks at in vain.
    world.addAll(people(400), { source: 'pub' })
    world.elapse(40 * SECOND)
    t.deepEqual([world.inFlight().length, world.state.lingering.length], [0, 4])
    return world
  }
  const stranger = clogged()
  stranger.add('mallory')
  t.deepEqual(stranger.settle(), [], 'a stranger waits, whatever his turn')
  const friend = clogged()
  friend.load(
    [stored('friend', { lastConnectionTime: START - DAY })],
    [storedPeer('friend', { visitedAt: START - DAY })],
  )
  t.deepEqual(friend.settle(), ['dial friend'], 'one that has worked')
  const high = clogged()
  high.add('friend', { priority: 'HIGH', source: 'friends' })
  t.deepEqual(high.settle(), ['dial friend'], 'one of HIGH priority')
  const neighbour = clogged()
  neighbour.add('friend/lan')
  t.deepEqual(neighbour.settle(), ['dial friend/lan'], 'one nearby')
  const caller = clogged()
  caller.add('mallory')
  caller.callIn('mallory')
  caller.close('mallory')
  t.deepEqual(
    dialsOf(caller.elapse(2 * MINUTE)),
    [],
    'who has only called in is a stranger: his address has not worked',
  )
  const friends = clogged()
  friends.addAll(['friend', 'friend2'], { priority: 'HIGH', source: 'friends' })
  t.equal(dialsOf(friends.elapse(MINUTE)).length, 1, 'five times maxDialing in all, if friends hang too')
  t.end()
})
