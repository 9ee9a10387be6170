/** `plan` itself: what it promises of its wake-ups, of large tables, and of being asked twice or at odd times. */
import test = require('tape')

import { isEmptyPlan, plan } from '../../src/core/plan'
import { advance } from '../../src/core/reducer'
import { perform, type Step } from '../support/arbitraries'
import {
  addressOf,
  DAY,
  describePlan,
  HOUR,
  idOf,
  isSame,
  MINUTE,
  options,
  report,
  SECOND,
  START,
  serialise,
  slots,
  stored,
  World,
} from '../support/builders'

const people = (count: number): string[] => Array.from({ length: count }, (_, i) => `p${i}`)

test('asked twice, the same plan; and asking changes nothing', (t) => {
  const world = World.started()
  world.addAll(['a', 'b/lan', 'c/onion'])
  const before = serialise(world.state)
  t.deepEqual(world.plan(), world.plan())
  t.equal(serialise(world.state), before)
  t.end()
})

test('a plan that was begun only in part is completed by the next one', (t) => {
  const world = World.started()
  world.addAll(['a', 'b/lan', 'c/onion'])
  const made = world.plan()
  t.equal(made.dials.length, 3)
  world.begin({ ...made, dials: made.dials.slice(0, 1) })
  t.deepEqual(world.plan().dials, made.dials.slice(1), 'a lost event strands nobody')
  t.end()
})

test('an empty table needs no timer, nor one in which all that there is to do depends on others', (t) => {
  t.equal(World.started().wakeAt(), null)
  const world = World.started(slots({ net: 1 }))
  world.add('a')
  world.longTerm('a')
  world.settle()
  world.connect('a')
  world.add('b')
  t.equal(world.wakeAt(), null, 'a long-term peer holds the only slot')
  t.end()
})

test('a plan wakes when a dial is no longer counted on, if another may begin then', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('a')
  world.settle()
  t.equal(world.wakeAt(), START + 10 * SECOND, 'one of two that are wanted: there is nobody else')
  world.addAll(['b', 'c'])
  world.settle()
  t.equal(world.inFlight().length, 2)
  t.equal(world.wakeAt(), START + 1_667, 'a sixth of their time, in whole ms')
  world.connect('a')
  t.equal(world.wakeAt(), START + 10 * SECOND, 'for a full class it makes no difference')
  t.end()
})

test('the timer is set to the first of all that will fall due', (t) => {
  const world = World.started({ ...slots({ net: 2, onion: 1 }), hostWindowMs: 0 })
  world.load([
    stored('a', { nextAttemptAt: START + 3 * HOUR }),
    stored('b', { nextAttemptAt: START + 2 * HOUR }),
    stored('c/onion', { nextAttemptAt: START + HOUR }),
    stored('d/ws', { nextAttemptAt: START + MINUTE }),
  ])
  t.equal(world.wakeAt(), START + HOUR, 'a class without slots wakes nobody')
  world.longTerm('d')
  t.equal(world.wakeAt(), START + MINUTE)
  const done = world.elapse(2 * HOUR - 1).map(({ at, effect }) => `${at} ${effect}`)
  t.deepEqual(done.slice(0, 1), [`${MINUTE} dial d/ws (longTerm)`])
  t.ok(done.includes(`${HOUR} dial c/onion`))
  t.end()
})

test('a plan wakes for the end of a pause of the host, where a route waits for its turn at probing the link', (t) => {
  const add = (...labels: string[]): Step => {
    const reports = labels.map((label) => {
      const isLocal = label.endsWith('/lan')
      return report(label, { isLocal, source: isLocal ? 'local' : 'manual' })
    })
    return { do: 'action', late: 0, action: { type: 'routes/added', at: 0, reports } }
  }
  const outcome = (how: 'connect' | 'fail'): Step => ({
    do: 'outcome',
    index: 0,
    how,
    code: 'ECONNREFUSED',
    message: 'failed',
  })
  const caughtUpAt = (name: string): Step => ({
    do: 'action',
    late: 0,
    action: { type: 'connection/caughtUp', at: 0, peer: idOf(name) },
  })
  // Found by plan.property, which sees the like once in some thousand runs.
  const steps: Step[] = [
    { do: 'action', late: 0, action: { type: 'connections/started', at: 0 } },
    add('alice', 'bob/lan', 'carol/onion', 'dave/net-h'),
    { do: 'settle' },
    ...(['connect', 'connect', 'connect', 'fail', 'fail'] as const).map(outcome),
    { do: 'settle' },
    ...['alice', 'bob', 'carol', 'dave'].map(caughtUpAt),
    { do: 'elapse', ms: 30 * SECOND },
    add('erin', 'dave', 'dave/onion', 'alice/net2', 'bob', 'carol/lan'),
    { do: 'settle' },
    { do: 'action', late: 1, action: { type: 'environment/offline', at: 0 } },
    { do: 'wake' },
    { do: 'wake' },
    { do: 'elapse', ms: 10 * SECOND },
  ]
  const maxByType = { net: 3, local: 5, onion: 3, rtc: 3, ws: 0, wss: 0, bt: 1, tunnel: 1 }
  const world = new World(options({ maxByType, maxRoutesPerPeer: 2 }))
  let looks = 0
  const settle = (): void => {
    for (;;) {
      const made = world.plan()
      const begun = world.fork()
      begun.begin(made)
      // What ends a dial frees a slot, and who gets it is seen in the next plan.
      const isQuiet = made.giveUps.length === 0 && made.lost.length === 0
      const end = made.wakeAt ?? world.now + HOUR
      for (let at = world.now + SECOND; isQuiet && at < end; at += SECOND, looks++) {
        const later = plan(begun.state, at)
        if (!isEmptyPlan(later)) return t.fail(`${at - world.now} ms later: ${describePlan(later)}`)
      }
      if (isEmptyPlan(made)) return
      world.begin(made)
    }
  }
  for (const step of steps) perform(world, step, settle)
  settle()
  t.ok(looks > 0, `${looks} looks ahead`)
  t.end()
})

test('there is no polling: a table in which everything fails wakes up little more often than it dials', (t) => {
  const world = World.started(slots({ net: 3, local: 2 }))
  world.isChecked = false
  world.addAll(people(40))
  world.addAll(people(10).map((name) => `${name}l/lan`))
  let wakes = 0
  let done = 0
  while (world.now < START + 6 * HOUR) {
    wakes++
    done += world.settle().length
    for (const each of world.inFlight()) world.fail(each)
    const wakeAt = world.wakeAt()
    if (wakeAt === null) break
    world.now = wakeAt
  }
  t.ok(done > 500, `${done} effects`)
  t.ok(wakes <= done, `${wakes} wake-ups`)
  t.end()
})

test('routes that fall due together become ready in portions, and all of them in the end', (t) => {
  const world = World.started({ ...slots({ net: 1 }), maxDialing: 1 })
  world.isChecked = false
  const labels = people(5_000)
  world.load(labels.map((label) => stored(label, { nextAttemptAt: START + HOUR, errorCount: 1 })))
  t.equal(world.state.waiting.size, 5_000)
  world.now = START + HOUR
  const first = advance(world.state, world.now)
  t.equal(first.ready.size, 2_048, 'one event stays bounded')
  const made = plan(world.state, world.now)
  t.equal(made.dials.length, 1, 'which is enough to go on with')
  t.equal(made.wakeAt, world.now + 1, 'the rest follows at once')
  world.settle()
  t.equal(world.state.ready.size + world.state.waiting.size, 4_999)
  for (let i = 0; i < 5; i++) world.dispatchDue()
  t.equal(world.state.waiting.size, 0)
  t.end()
})

test('an event of another kind makes fewer ready at a time', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.isChecked = false
  world.load(people(600).map((label) => stored(label, { nextAttemptAt: START + HOUR, errorCount: 1 })))
  world.now = START + HOUR
  world.callIn('zed')
  t.equal(world.state.ready.size, 256)
  t.end()
})

test('hundreds of routes to one host are put off in portions, and the one behind them is found', (t) => {
  const world = World.started(slots({ net: 2 }))
  world.isChecked = false
  world.callIn('zed')
  world.add('first/net-h')
  world.settle()
  world.addAll(
    people(700).map((name) => `${name}/net-h`),
    { source: 'pub' },
  )
  world.add('good', { source: 'pub' })
  // Behind all the others, as it has failed once.
  world.load([stored('good', { errorCount: 1, lastErrorTime: START - DAY })])
  const deferrals: number[] = []
  for (let i = 0; i < 6; i++) {
    const made = world.plan()
    deferrals.push(made.deferrals.length)
    world.begin(made)
    if (made.dials.length > 0) {
      t.deepEqual(describePlan(made).slice(-1), ['dial good'])
      break
    }
    t.equal(made.wakeAt, world.now + 1)
    world.now++
  }
  t.deepEqual(deferrals.slice(0, 2), [256, 256])
  t.equal(
    deferrals.reduce((sum, count) => sum + count, 0),
    700,
  )
  t.end()
})

test('what was put off stays so when something else about its peer changes, and comes back with a better opinion', (t) => {
  const world = World.started(slots({ net: 2 }))
  world.callIn('zed')
  world.add('first/net-h')
  world.settle()
  world.add('late/net-h')
  t.deepEqual(world.settle(), ['put off late/net-h until 60000'])
  const { dueAt } = world.route('late/net-h')
  world.callIn('late')
  world.now += 11 * SECOND
  world.close('late')
  t.equal(world.route('late/net-h').dueAt, dueAt)
  world.prioritise('late', 'HIGH')
  t.ok(world.settle().includes('dial late/net-h'), 'a friend is not held up by the throttle')
  t.end()
})

test('a deferral of a route that is gone, or by a layer that is gone, does no harm', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('a')
  world.dispatch({
    type: 'routes/deferred',
    deferrals: [
      { address: addressOf('gone'), until: START + DAY, layer: null },
      { address: addressOf('a'), until: START + MINUTE, layer: 'transport:net' },
    ],
  })
  t.equal(world.state.layers.size, 0)
  t.deepEqual(world.elapse(MINUTE - 1), [])
  t.deepEqual(
    world.elapse(1).map(({ effect }) => effect),
    ['dial a'],
  )
  t.end()
})

test('asked at a time before the last event, it dials nobody too early and throws nothing', (t) => {
  const world = World.started({ ...slots({ net: 1 }), hostWindowMs: 0 })
  world.load([stored('a', { nextAttemptAt: START + HOUR, errorCount: 1 })])
  world.now = START + HOUR
  world.dispatchDue()
  t.deepEqual(plan(world.state, START).dials, [])
  t.equal(plan(world.state, START + HOUR).dials.length, 1)
  t.ok(isEmptyPlan(plan(world.state, 0)))
  t.end()
})

test('events about peers, routes and attempts that nobody knows change nothing', (t) => {
  const world = World.started()
  world.add('a')
  const peer = idOf('nobody')
  const address = addressOf('nobody')
  const before = world.state
  world.hold('nobody')
  world.longTerm('nobody', false)
  world.askToClose('nobody', 'dead')
  world.close('nobody')
  world.dispatch({ type: 'dial/started', attempt: 1, peer, address, cause: 'schedule' })
  const error = { message: 'x', code: null }
  world.dispatch({ type: 'dial/failed', attempt: 1, peer, address, error, jitter: 0, isGivenUp: false })
  world.dispatch({ type: 'dial/abandoned', attempt: 1, peer })
  world.dispatch({ type: 'dial/ended', attempt: 1 })
  world.dispatch({ type: 'connection/closing', peer, reason: 'dead' })
  world.dispatch({ type: 'connection/pinged', peer, rttMs: 1, skewMs: 1 })
  world.dispatch({ type: 'connection/transferred', peer })
  world.dispatch({ type: 'connection/caughtUp', peer })
  t.ok(isSame(world.state, before))
  t.end()
})

test('events about a peer that is not connected change nothing', (t) => {
  const world = World.started(slots({ net: 0 }))
  world.add('a')
  const before = world.state
  const peer = idOf('a')
  world.askToClose('a', 'dead')
  world.close('a')
  world.dispatch({ type: 'connection/closing', peer, reason: 'dead' })
  world.dispatch({ type: 'connection/transferred', peer })
  t.ok(isSame(world.state, before))
  t.end()
})

test('round trips and clock skew are kept with the connection', (t) => {
  const world = World.started()
  world.callIn('a')
  for (const rttMs of [10, 30]) world.dispatch({ type: 'connection/pinged', peer: idOf('a'), rttMs, skewMs: -rttMs })
  const connection = world.state.peers.get(idOf('a'))?.connection
  if (connection?.status !== 'connected') return t.end('not connected')
  t.deepEqual([connection.rtt?.mean, connection.rtt?.count, connection.skew?.mean], [20, 2, -20])
  t.end()
})

test('a state names the peers that its last action changed, each once', (t) => {
  const world = World.started(slots({ net: 2 }))
  const names = () => [...world.state.changedPeers].sort()
  world.addAll(['a', 'a/net2', 'b'])
  t.deepEqual(names(), [idOf('a'), idOf('b')].sort())
  world.dispatchDue()
  t.deepEqual(names(), [])
  world.dispatch({ type: 'route/removed', address: report('b').route.address })
  t.deepEqual(names(), [idOf('b')], 'a peer that is gone is among them')
  t.end()
})
