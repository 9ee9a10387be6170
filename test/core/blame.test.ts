/** DESIGN 4, "Blame": each layer with what makes it guilty, what clears it, and the refund. */
import test = require('tape')

import type { StoredRoute } from '../../src/core/actions'
import { hostLayer, LINK, portalLayer, RESOLVER, transportLayer } from '../../src/core/blame'
import { NEW_CLASS } from '../../src/core/table'
import type { Route } from '../../src/core/types'
import {
  addressOf,
  DAY,
  type Ending,
  HOUR,
  idOf,
  MINUTE,
  report,
  SECOND,
  START,
  slots,
  stored,
  storedPeer,
  World,
} from '../support/builders'

const OPEN = {
  ...slots({ net: 9, local: 9, onion: 9, ws: 9, tunnel: 9, bt: 9, rtc: 9, unix: 9 }),
  maxDialing: 100,
  hostWindowMs: 0,
}
const UNREACHABLE = { code: 'ENETUNREACH' }
const SILENT = { code: 'ETIMEDOUT' }

/** All that a failure may cost a route. */
function charges(route: Route): object {
  const { errorCount, backoffStep, nextAttemptAt, lastErrorTime, errors } = route
  return { errorCount, backoffStep, nextAttemptAt, lastErrorTime, errors }
}

const layer = (world: World, key: string) => world.state.layers.get(key)
const isDown = (world: World, key: string): boolean => layer(world, key)?.isDown === true
const recently = (change: Partial<StoredRoute> = {}): Partial<StoredRoute> => ({
  lastConnectionTime: START - DAY,
  ...change,
})
const dials = (done: readonly { readonly at: number; readonly effect: string }[]): [number, string][] =>
  done.filter(({ effect }) => effect.startsWith('dial')).map(({ at, effect }) => [at, effect.slice('dial '.length)])

// ---- our own link ---------------------------------------------------------------------------------------------------------

test('a machine that says that it has no way out is believed, and no route is charged', (t) => {
  for (const code of ['ENETUNREACH', 'ENETDOWN', 'EAI_AGAIN']) {
    const world = World.started({ ...OPEN, ...slots({ net: 2 }) })
    world.addAll(['a', 'b', 'c'])
    world.settle()
    const [first = '', second = ''] = world.inFlight()
    world.fail(first, { code })
    t.equal(isDown(world, LINK), true, code)
    t.deepEqual([world.route(first).errorCount, world.route(first).backoffStep], [0, 0])
    t.equal(world.route(first).nextAttemptAt, 0)
    t.deepEqual(world.settle(), [], 'nobody else is tried')
    t.equal(world.whyNot('c')?.reason, 'offline')
    world.fail(second, { code })
    t.equal(layer(world, LINK)?.failureCount, 1, 'what was in flight already tells nothing new')
  }
  t.end()
})

test('a link that is down is probed by one dial after 1 s, 2 s, 4 s and so on, at most a minute', (t) => {
  const world = World.started({ ...OPEN, ...slots({ net: 5 }) })
  world.addAll(['a', 'b', 'c', 'd', 'e'])
  world.settle()
  for (const each of world.inFlight()) world.fail(each, UNREACHABLE)
  const probes: number[] = []
  for (let i = 0; i < 9; i++) {
    const from = world.now
    const pause = (layer(world, LINK)?.retryAt ?? 0) - from
    t.deepEqual(dials(world.elapse(pause - 1)), [], 'not a millisecond before')
    t.equal(dials(world.elapse(1)).length, 1, 'one dial')
    probes.push((world.now - from) / SECOND)
    t.deepEqual(dials(world.elapse(100)), [], 'and no other while it is under way')
    const [probe = ''] = world.inFlight()
    world.fail(probe, UNREACHABLE)
  }
  t.deepEqual(probes, [1, 2, 4, 8, 16, 32, 60, 60, 60])
  t.deepEqual(
    ['a', 'b', 'c', 'd', 'e'].map((label) => world.route(label).errorCount),
    [0, 0, 0, 0, 0],
  )
  t.end()
})

test('a probe that does not end holds the next one up until it is given up, and no longer', (t) => {
  const world = World.started({ ...OPEN, ...slots({ net: 2 }) })
  world.addAll(['a', 'b', 'c'])
  world.settle()
  for (const each of world.inFlight()) world.fail(each, UNREACHABLE)
  t.equal(dials(world.elapse(SECOND)).length, 1)
  t.deepEqual(dials(world.elapse(10 * SECOND - 1)), [])
  const done = world.elapse(2 * SECOND + 1).map(({ at, effect }) => [at, effect.split(' ')[0]])
  t.deepEqual(done, [
    [11_000, 'give'],
    [13_000, 'dial'],
  ])
  t.end()
})

test('the probes go round: a dead peer at the head of the order does not keep us from seeing that the link is back', (t) => {
  const world = World.started({ ...OPEN, ...slots({ net: 3 }) })
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  world.load(names.map((name, i) => stored(name, { lastConnectionTime: START - DAY - i * HOUR })))
  world.settle()
  for (const each of world.inFlight()) world.fail(each, SILENT)
  t.equal(isDown(world, LINK), true, 'three that worked yesterday are silent')
  // Now the link is back, but all except one have gone for good.
  const probed: string[] = []
  for (let i = 0; i < 40 && isDown(world, LINK); i++) {
    world.now = world.wakeAt() ?? 0
    world.settle()
    for (const each of world.inFlight()) {
      probed.push(each)
      if (each === 'f') world.connect(each)
      else world.fail(each, SILENT)
    }
  }
  t.equal(isDown(world, LINK), false, `probed ${probed.join()}`)
  t.ok(world.now - START < 10 * MINUTE, `found out after ${(world.now - START) / SECOND} s`)
  t.end()
})

test('a single known peer is probed as often as many', (t) => {
  const world = World.started(OPEN)
  world.add('a')
  world.settle()
  const probes: number[] = []
  for (let i = 0; i < 8; i++) {
    world.fail('a', UNREACHABLE)
    const from = world.now
    world.elapse((world.wakeAt() ?? 0) - from)
    if (world.inFlight().length === 0) world.elapse((world.wakeAt() ?? 0) - world.now)
    probes.push(Math.round((world.now - from) / SECOND))
  }
  t.deepEqual(probes, [1, 2, 4, 8, 16, 32, 60, 60])
  t.end()
})

test('three peers that worked within a week and are all silent, with nothing else connected, speak against our link', (t) => {
  const afterSilenceOf = (routes: readonly StoredRoute[], prepare: (world: World) => void = () => {}): World => {
    const world = World.started({ ...OPEN, ...slots({ net: 3, local: 3 }) })
    world.load(routes)
    prepare(world)
    world.settle()
    for (const each of world.inFlight()) world.fail(each, SILENT)
    return world
  }
  const three = (change?: Partial<StoredRoute>) => ['a', 'b', 'c'].map((label) => stored(label, recently(change)))
  t.equal(isDown(afterSilenceOf(three()), LINK), true)
  t.deepEqual(
    ['a', 'b', 'c'].map((label) => afterSilenceOf(three()).route(label).errorCount),
    [0, 0, 0],
    'what the first two were charged with is refunded',
  )
  t.equal(isDown(afterSilenceOf(three().slice(1)), LINK), false, 'two are not enough')
  t.equal(isDown(afterSilenceOf(three({ lastConnectionTime: 0 })), LINK), false, 'nor are three that never worked')
  t.equal(
    isDown(afterSilenceOf(three({ lastConnectionTime: START - 7 * DAY })), LINK),
    false,
    'nor within more than a week',
  )
  t.equal(isDown(afterSilenceOf(three({ lastConnectionTime: START - 7 * DAY + 1 })), LINK), true, 'a week it is')
  t.equal(
    isDown(
      afterSilenceOf(three(), (world) => world.callIn('zed')),
      LINK,
    ),
    false,
    'nor while somebody is connected',
  )
  const samePeer = ['a', 'a/net2', 'a/net3'].map((label) => stored(label, recently()))
  t.equal(isDown(afterSilenceOf(samePeer), LINK), false, 'nor three routes of one peer')
  t.end()
})

test('a neighbour on the LAN says nothing about the way out', (t) => {
  const outbound = World.started({ ...OPEN, ...slots({ net: 3, local: 3 }) })
  outbound.add('n/lan')
  outbound.settle()
  outbound.connect('n/lan')
  const inbound = World.started({ ...OPEN, ...slots({ net: 3, local: 3 }) })
  inbound.add('n/lan')
  inbound.callIn('n')
  for (const world of [outbound, inbound]) {
    world.load(['a', 'b', 'c'].map((label) => stored(label, recently())))
    world.settle()
    for (const each of world.inFlight()) world.fail(each, SILENT)
    t.equal(isDown(world, LINK), true, 'the neighbour is connected, and our provider is down')
    world.close('n')
    world.hold('n')
    world.callIn('n')
    t.equal(isDown(world, LINK), true, 'the neighbour calling again does not change that')
  }
  t.end()
})

test('no way to an IPv6 host is usual and says nothing about the link', (t) => {
  const world = World.started({ ...OPEN, ...slots({ net: 1 }) })
  world.add('a/ip6')
  world.settle()
  world.fail('a/ip6', UNREACHABLE)
  t.equal(world.state.layers.size, 0)
  t.equal(world.route('a/ip6').errorCount, 1)
  const other = World.started({ ...OPEN, ...slots({ net: 1 }) })
  other.add('a/ip6')
  other.settle()
  other.fail('a/ip6', { code: 'ENETDOWN' })
  t.equal(isDown(other, LINK), true, 'an interface that is down does')
  t.end()
})

test('what has nothing to do with our link neither charges nor clears it', (t) => {
  for (const label of ['a/bt', 'a/unix', 'a/home']) {
    const world = World.started(OPEN)
    world.add(label)
    world.settle()
    world.fail(label, UNREACHABLE)
    t.notOk(layer(world, LINK), `${label} fails`)
    const down = World.started(OPEN)
    down.dispatch({ type: 'environment/offline' })
    down.add(label)
    down.settle()
    down.connect(label)
    t.equal(isDown(down, LINK), true, `${label} connects`)
  }
  t.end()
})

test('an answer clears the link: a connection, a refusal, a failed handshake, somebody who calls in, a ping', (t) => {
  const offline = (): World => {
    const world = World.started(OPEN)
    world.addAll(['a', 'b'])
    world.settle()
    world.fail('a', UNREACHABLE)
    return world
  }
  const table: readonly (readonly [string, (world: World) => void, boolean])[] = [
    ['connects', (world) => world.connect('b'), true],
    ['refuses', (world) => world.fail('b', { code: 'ECONNREFUSED' }), true],
    ['resets', (world) => world.fail('b', { code: 'ECONNRESET' }), true],
    ['no such name', (world) => world.fail('b', { code: 'ENOTFOUND' }), true],
    ['handshake', (world) => world.fail('b', { code: null, message: 'shs.client: wrong key' }), true],
    ['something unknown', (world) => world.fail('b', { code: null, message: 'broken' }), false],
    ['silent', (world) => world.fail('b', SILENT), false],
    ['calls in', (world) => world.callIn('zed'), true],
    ['the system says so', (world) => world.dispatch({ type: 'environment/online' }), true],
  ]
  for (const [what, happens, isCleared] of table) {
    const world = offline()
    happens(world)
    t.equal(!layer(world, LINK), isCleared, what)
    t.equal(world.route('a').errorCount, 0, 'and nobody was charged')
  }
  const pinged = World.started(OPEN)
  pinged.callIn('zed')
  pinged.dispatch({ type: 'environment/offline' })
  pinged.dispatch({ type: 'connection/pinged', peer: idOf('zed'), rttMs: 20, skewMs: 0 })
  t.notOk(layer(pinged, LINK), 'an answer over a connection that is open')
  pinged.dispatch({ type: 'connection/pinged', peer: idOf('nobody'), rttMs: 20, skewMs: 0 })
  t.end()
})

test('a proxy on this machine that refuses says nothing about the link', (t) => {
  const world = World.started(OPEN)
  world.addAll(['a', 'b/onion'])
  world.settle()
  world.fail('a', UNREACHABLE)
  world.fail('b/onion', { code: 'ECONNREFUSED' })
  t.equal(isDown(world, LINK), true)
  t.end()
})

test('told that there is no link, we try none for five minutes, and then one route', (t) => {
  const world = World.started(OPEN)
  world.dispatch({ type: 'environment/offline' })
  world.addAll(['a', 'b', 'n/lan'])
  t.deepEqual(
    dials(world.elapse(5 * MINUTE - 1)).filter(([, what]) => !what.includes('lan')),
    [],
  )
  const [, ...more] = dials(world.elapse(1)).filter(([, what]) => !what.includes('lan'))
  t.deepEqual(more, [])
  t.equal(world.inFlight().filter((label) => !label.includes('lan')).length, 1)
  world.dispatch({ type: 'environment/offline' })
  t.equal(layer(world, LINK)?.retryAt, world.now + 5 * MINUTE, 'said again')
  t.end()
})

test('while the link is down 300 routes that need it are looked at without polling, and the others are still dialed', (t) => {
  const world = World.started({ ...slots({ net: 3, local: 3 }), maxDialing: 8 })
  world.isChecked = false
  world.addAll(Array.from({ length: 300 }, (_, i) => `p${i}`))
  world.dispatch({ type: 'environment/offline' })
  world.add('n/lan')
  t.deepEqual(world.settle(), ['dial n/lan'])
  world.connect('n/lan')
  t.equal(world.wakeAt(), world.now + 5 * MINUTE)
  t.end()
})

test('after an outage of our own, however long, no peer is worse off than before it', (t) => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  const forms = ['', '/onion', '/ws']
  for (const durationMs of [20 * SECOND, 3 * MINUTE, HOUR, 12 * HOUR, 3 * DAY])
    for (const isNoticed of ['by a signal', 'by a probe', 'with a neighbour connected all the time'] as const) {
      if (durationMs > DAY && isNoticed !== 'by a signal') continue
      const world = World.started({ ...slots({ net: 3, onion: 2, ws: 1, local: 2 }), lifetimeMs: null })
      world.isChecked = false
      world.jitter = 0.999
      world.load(
        names.map((name, i) => {
          const learned = { backoffStep: i, errorCount: i % 3, lastConnectionTime: START - (i + 1) * HOUR }
          return stored(`${name}${forms[i % 3]}`, { ...learned, lastErrorTime: START - DAY, addedAt: START - 90 * DAY })
        }),
        names.map((name, i) =>
          storedPeer(name, { priority: i % 2 ? 'LOW' : 'HIGH', visitedAt: START - (i + 1) * HOUR }),
        ),
      )
      world.add('n/lan')
      if (isNoticed === 'with a neighbour connected all the time') world.callIn('n')
      // A normal hour: three answer, the others refuse, and have their fair charges.
      const answering = ['a', 'd', 'b/onion', 'n/lan']
      const live = (until: number, react: (label: string) => void): void => {
        for (;;) {
          world.settle()
          for (const label of world.inFlight()) react(label)
          world.settle()
          const next = world.wakeAt() ?? until
          if (next >= until) break
          world.now = next
        }
        world.now = until
        world.settle()
      }
      live(START + HOUR, (label) => {
        if (answering.includes(label)) world.connect(label)
        else world.fail(label)
      })
      const labels = names.map((name, i) => `${name}${forms[i % 3]}`)
      const before = new Map(labels.map((label) => [label, world.route(label)]))
      // The link dies: what is dialed is silent, and after two minutes the open connections are seen to be dead.
      const from = world.now
      live(from + Math.min(durationMs, 2 * MINUTE), () => {})
      if (durationMs > 2 * MINUTE) {
        for (const name of world.connected()) if (name !== 'n') world.close(name)
        live(from + durationMs, (label) => {
          if (label !== 'n/lan') world.fail(label, SILENT)
        })
      }
      // It is back.
      if (isNoticed === 'by a signal') {
        world.dispatch({ type: 'environment/online' })
      } else {
        const until = world.now + 3 * HOUR
        for (let i = 0; i < 10_000 && layer(world, LINK) && world.now < until; i++) {
          world.settle()
          const [label] = world.inFlight().filter((each) => answering.includes(each) && each !== 'n/lan')
          if (label !== undefined) world.connect(label)
          else world.now = world.wakeAt() ?? until
        }
      }
      const worse = labels.filter((label) => {
        const was = before.get(label)
        const is = world.route(label)
        if (!was) return true
        const isLater = is.nextAttemptAt > Math.max(world.now, was.nextAttemptAt)
        return is.errorCount > was.errorCount || is.backoffStep > was.backoffStep || isLater
      })
      t.deepEqual(worse, [], `${durationMs / SECOND} s, noticed ${isNoticed}`)
    }
  t.end()
})

test('what failed while something else was connected through the link is refunded if the link turns out to have died', (t) => {
  const world = World.started({ ...OPEN, ...slots({ net: 4 }) })
  world.load(['a', 'b', 'c', 'd'].map((label) => stored(label, recently({ backoffStep: 2 }))))
  world.settle()
  world.connect('a')
  const before = charges(world.route('b'))
  world.fail('b', SILENT)
  t.equal(world.route('b').errorCount, 1, 'for now it is charged: a is connected')
  t.equal(isDown(world, LINK), false)
  world.now += 5 * SECOND
  world.close('a')
  t.ok(world.route('a').nextAttemptAt > world.now, 'a seems to have hung up on us')
  for (const label of ['c', 'd']) world.fail(label, SILENT)
  t.equal(isDown(world, LINK), false, 'two are silent while nothing is connected')
  world.request('b')
  world.settle()
  world.fail('b', SILENT)
  t.equal(isDown(world, LINK), true, 'with b it is three')
  t.deepEqual([world.route('b').errorCount, world.route('b').nextAttemptAt], [0, 0])
  world.dispatch({ type: 'environment/online' })
  t.deepEqual(charges(world.route('b')), before, 'b is as before')
  t.deepEqual([world.route('a').nextAttemptAt, world.route('a').backoffStep], [0, 2], 'and so is a')
  t.end()
})

test('what failed while the link worked stays charged', (t) => {
  const world = World.started({ ...OPEN, ...slots({ net: 3 }) })
  world.load(['a', 'b', 'c'].map((label) => stored(label, recently())))
  world.settle()
  world.connect('a')
  world.fail('b', SILENT)
  const charged = charges(world.route('b'))
  world.connect('c')
  t.deepEqual(charges(world.route('b')), charged, 'c connects, so it was not the link')
  t.equal(world.state.layers.size, 0)
  t.end()
})

test('what failed while nothing was connected is refunded by the first success, found out or not', (t) => {
  const world = World.started({ ...OPEN, ...slots({ net: 3 }) })
  world.addAll(['a', 'b'])
  world.settle()
  const before = charges(world.route('a'))
  world.fail('a', SILENT)
  t.equal(world.route('a').errorCount, 1)
  world.connect('b')
  t.deepEqual(charges(world.route('a')), before)
  t.end()
})

test('LAN peers are not worse off either, and do not speak for the link', (t) => {
  const world = World.started({ ...OPEN, ...slots({ local: 9 }) })
  world.addAll(['a/lan', 'b/lan', 'c/lan', 'd/lan'])
  world.settle()
  const before = charges(world.route('a/lan'))
  for (const each of world.inFlight()) world.fail(each, UNREACHABLE)
  t.equal(isDown(world, LINK), false, 'on another network the LAN of home is out of reach')
  t.equal(world.route('a/lan').errorCount, 1)
  world.dispatch({ type: 'environment/online' })
  t.deepEqual(charges(world.route('a/lan')), before)
  t.end()
})

test('a route that has worked since its failure owes nothing, and is owed nothing', (t) => {
  const world = World.started(OPEN)
  world.add('a')
  world.settle()
  world.fail('a', UNREACHABLE)
  world.now += SECOND
  const { peer, address } = report('a').route
  // Dialed by another module, over something that we do not see as our link.
  world.load([stored('b')])
  world.dispatch({ type: 'connection/opened', peer, direction: 'outbound', address, attempt: null, cause: 'foreign' })
  t.notOk(layer(world, LINK))
  t.equal(world.route('a').lastConnectionTime, world.now)
  t.end()
})

test('a refund after the clock was set back makes no pause longer than its ceiling', (t) => {
  const world = World.started(OPEN)
  world.load([stored('a', { nextAttemptAt: START + HOUR, lastErrorTime: START, errorCount: 3 })])
  world.request('a')
  world.settle()
  world.fail('a', UNREACHABLE)
  world.now -= 300 * DAY
  world.dispatch({ type: 'clock/setBack' })
  world.dispatch({ type: 'environment/online' })
  const { nextAttemptAt, lastErrorTime, errorCount } = world.route('a')
  t.deepEqual([nextAttemptAt - world.now, lastErrorTime - world.now, errorCount], [2 * HOUR, 0, 3])
  t.end()
})

// ---- the transport --------------------------------------------------------------------------------------------------------

const ONIONS = ['a/onion', 'b/onion', 'c/onion', 'd/onion', 'e/onion']
const NO_TOR = { code: 'ECONNREFUSED', message: 'connect ECONNREFUSED 127.0.0.1:9050' }

test('when each onion dial fails, unlike destinations, and none is connected, it is Tor that is down', (t) => {
  const world = World.started({ ...OPEN, ...slots({ net: 1, onion: 4 }), maxDialing: 5 })
  world.addAll([...ONIONS, 'z'])
  world.settle()
  world.connect('z')
  const [first = '', second = '', third = '', fourth = ''] = world.inFlight()
  const left = ONIONS.find((label) => !world.inFlight().includes(label)) ?? ''
  // Who has failed under it lets those go first who have not.
  const putOff = (failed: readonly string[], others: readonly string[]) =>
    [
      ...failed.map((label) => `put off ${label} until 30001`),
      ...others.map((label) => `put off ${label} until 30000`),
    ].sort()
  world.fail(first, NO_TOR)
  world.fail(second, NO_TOR)
  t.equal(world.route(first).errorCount, 1, 'two may be dead')
  world.fail(third, NO_TOR)
  t.equal(isDown(world, transportLayer('onion')), true, 'three are a pattern')
  t.deepEqual(
    [first, second, third].map((label) => world.route(label).errorCount + world.route(label).backoffStep),
    [0, 0, 0],
    'all three are refunded',
  )
  const until = world.now + 30 * SECOND
  t.deepEqual(world.settle().sort(), putOff([first, second, third], [left]), 'nobody else is tried')
  t.deepEqual([world.whyNot(left)?.reason, world.whyNot(left)?.until], ['transportDown', until])
  world.fail(fourth, NO_TOR)
  t.equal(layer(world, transportLayer('onion'))?.retryAt, until, 'a fourth that was in flight tells nothing new')
  t.end()
})

test('Tor is probed by one dial after 30 s, doubling to 10 min, and its first success brings all back', (t) => {
  const world = World.started({ ...OPEN, ...slots({ onion: 5 }) })
  world.addAll(ONIONS)
  world.callIn('zed')
  world.settle()
  const before = new Map(ONIONS.map((label) => [label, charges(world.route(label))]))
  for (const each of world.inFlight()) world.fail(each, NO_TOR)
  const probes: number[] = []
  const seen = new Set<string>()
  for (let i = 0; i < 7; i++) {
    const from = world.now
    for (;;) {
      world.now = world.wakeAt() ?? 0
      world.settle()
      const [probe] = world.inFlight()
      if (probe === undefined) continue
      t.equal(world.inFlight().length, 1)
      seen.add(probe)
      probes.push(Math.round((world.now - from) / SECOND))
      world.fail(probe, NO_TOR)
      break
    }
  }
  t.deepEqual(probes, [30, 60, 120, 240, 480, 600, 600])
  t.ok(seen.size >= 3, `not always the same one: ${[...seen].join()}`)
  while (world.inFlight().length === 0) {
    world.now = world.wakeAt() ?? 0
    world.settle()
  }
  const [probe = ''] = world.inFlight()
  world.connect(probe)
  t.notOk(layer(world, transportLayer('onion')))
  for (const label of ONIONS) if (label !== probe) t.deepEqual(charges(world.route(label)), before.get(label), label)
  t.equal(world.settle().length, 4, 'and all are dialed at once')
  t.end()
})

test('a dead onion at the head of the order does not hide that Tor works again', (t) => {
  const world = World.started({ ...OPEN, ...slots({ onion: 1 }) })
  world.callIn('zed')
  world.load(
    ONIONS.map((label, i) => stored(label, { lastConnectionTime: START - (9 - i) * DAY })),
    ONIONS.map((label, i) =>
      storedPeer(label.split('/')[0] ?? '', { priority: 'HIGH', visitedAt: START - (9 - i) * DAY }),
    ),
  )
  world.elapse(0)
  for (let i = 0; i < 200; i++) {
    for (const each of world.inFlight()) {
      // For the first hour Tor is down; then all but one are dead.
      if (each === 'e/onion' && world.now > START + HOUR) world.connect(each)
      else world.fail(each, { code: null, message: 'socks: host unreachable' })
    }
    if (world.connected().length === 2) break
    world.now = world.wakeAt() ?? 0
    world.settle()
  }
  t.deepEqual(world.connected(), ['e', 'zed'])
  t.ok(world.now < START + 2 * HOUR, `after ${Math.round((world.now - START - HOUR) / MINUTE)} minutes`)
  t.end()
})

test('while one onion is connected the others answer for themselves', (t) => {
  const world = World.started({ ...OPEN, ...slots({ onion: 5 }) })
  world.addAll(ONIONS)
  world.settle()
  world.connect('a/onion')
  for (const each of world.inFlight()) world.fail(each, NO_TOR)
  t.notOk(layer(world, transportLayer('onion')))
  t.deepEqual(
    ONIONS.slice(1).map((label) => world.route(label).errorCount),
    [1, 1, 1, 1],
  )
  t.end()
})

test('a transport that is not installed is found out by the first dial', (t) => {
  for (const message of ['could not connect to:rtc:a, only know:net', 'no transport, only know: net,onion']) {
    const world = World.started({ ...OPEN, ...slots({ rtc: 1, net: 1 }) })
    world.addAll(['a/rtc', 'b/rtc', 'z'])
    world.settle()
    const [first = ''] = world.inFlight().filter((label) => label.includes('rtc'))
    world.fail(first, { code: null, message })
    t.equal(isDown(world, transportLayer('rtc')), true, message)
    t.equal(world.route(first).errorCount, 0)
    t.equal(dials(world.elapse(9 * SECOND)).length, 0)
  }
  t.end()
})

test('net and its like speak to the other host directly, so their failures are not the transport’s', (t) => {
  for (const form of ['net', 'ws']) {
    const world = World.started({ ...OPEN, ...slots({ [form]: 9 }) })
    world.callIn('zed')
    world.addAll(['a', 'b', 'c', 'd', 'e'].map((name) => `${name}/${form}`))
    world.settle()
    for (const each of world.inFlight()) world.fail(each)
    t.equal(world.state.layers.size, 0, form)
  }
  t.end()
})

// ---- the intermediary -----------------------------------------------------------------------------------------------------

test('a tunnel that fails while its room is not connected is the room’s failure', (t) => {
  const world = World.started({ ...OPEN, ...slots({ tunnel: 1 }) })
  world.callIn('zed')
  world.addAll(['a/tunnel-room', 'b/tunnel-room'])
  world.settle()
  const before = charges(world.route('b/tunnel-room'))
  world.fail('a/tunnel-room', { code: null, message: 'no room' })
  const key = portalLayer(idOf('room'))
  t.equal(isDown(world, key), true, 'at once: nothing can come of it')
  t.equal(world.route('a/tunnel-room').errorCount, 0)
  world.fail('b/tunnel-room', { code: null, message: 'no room' })
  world.add('d/tunnel-room')
  world.add('e/tunnel-other')
  const putOff = [
    `put off a/tunnel-room until 10001`,
    `put off b/tunnel-room until 10001`,
    `put off d/tunnel-room until 10000`,
  ]
  t.deepEqual(world.settle().sort(), ['dial e/tunnel-other', ...putOff])
  t.equal(world.whyNot('d/tunnel-room')?.reason, 'transportDown')
  world.callIn('room')
  t.notOk(layer(world, key), 'the room is there')
  t.deepEqual(charges(world.route('b/tunnel-room')), before)
  t.equal(world.settle().length, 1, 'and the tunnels are dialed as far as slots go')
  t.end()
})

test('a tunnel that fails while its room is connected is on its own', (t) => {
  const world = World.started({ ...OPEN, ...slots({ tunnel: 3 }) })
  world.callIn('room')
  world.addAll(['a/tunnel-room', 'b/tunnel-room'])
  world.settle()
  world.fail('a/tunnel-room', { code: null, message: 'not in the room' })
  t.equal(world.state.layers.size, 0)
  t.equal(world.route('a/tunnel-room').errorCount, 1)
  t.end()
})

test('a room is probed after 10 s, and a tunnel through it clears it', (t) => {
  const world = World.started({ ...OPEN, ...slots({ tunnel: 1 }) })
  world.callIn('zed')
  world.add('a/tunnel-room')
  world.settle()
  world.fail('a/tunnel-room', { code: null, message: 'no room' })
  t.deepEqual(dials(world.elapse(10 * SECOND - 1)), [])
  t.deepEqual(dials(world.elapse(2)), [[10_001, 'a/tunnel-room']])
  world.connect('a/tunnel-room')
  t.equal(world.state.layers.size, 0)
  t.end()
})

// ---- the host -------------------------------------------------------------------------------------------------------------

test('two unlike keys that fail at the same host and port are the host’s failure', (t) => {
  for (const code of ['ETIMEDOUT', 'EHOSTUNREACH', 'EHOSTDOWN', 'ERR_DIAL_TIMEOUT', 'ECONNREFUSED', 'ENOTFOUND']) {
    const world = World.started(OPEN)
    world.callIn('zed')
    world.addAll(['a/net-h', 'b/net-h'])
    world.request('a')
    world.request('b')
    world.settle()
    world.add('c/net-h')
    world.fail('a/net-h', { code })
    t.equal(world.route('a/net-h').errorCount, 1, `${code}: one alone cannot tell the host's fault from its own`)
    world.fail('b/net-h', { code })
    const key = hostLayer('h.example.com:8008')
    t.equal(isDown(world, key), true)
    t.deepEqual([world.route('a/net-h').errorCount, world.route('b/net-h').errorCount], [0, 0])
    t.deepEqual(
      [world.whyNot('c/net-h')?.reason, world.whyNot('c/net-h')?.until],
      ['transportDown', world.now + MINUTE],
    )
  }
  t.end()
})

test('a host that answers anybody is not down', (t) => {
  const doubted = (): World => {
    const world = World.started(OPEN)
    world.callIn('zed')
    world.addAll(['a/net-h', 'b/net-h', 'c/net-h'])
    world.request('a')
    world.request('b')
    world.settle()
    world.fail('a/net-h', SILENT)
    return world
  }
  const key = hostLayer('h.example.com:8008')
  const wrongKey = doubted()
  wrongKey.fail('b/net-h', { code: null, message: 'shs.client: wrong key' })
  t.notOk(layer(wrongKey, key), 'a failed handshake is an answer')
  t.equal(wrongKey.route('b/net-h').errorCount, 1, 'and the failure of that route')
  const connected = doubted()
  connected.connect('b/net-h')
  t.notOk(layer(connected, key))
  const unclear = doubted()
  unclear.fail('b/net-h', { code: 'EPIPE' })
  t.equal(layer(unclear, key)?.isDown, false, 'what may mean anything neither clears nor condemns it')
  t.end()
})

test('a host that nobody else names takes no blame, nor does a route without one', (t) => {
  const world = World.started(OPEN)
  world.callIn('zed')
  world.addAll(['a/net-h', 'b/rtc'])
  world.settle()
  world.fail('a/net-h', SILENT)
  t.notOk(layer(world, hostLayer('h.example.com:8008')))
  t.equal(world.route('a/net-h').errorCount, 1)
  world.fail('b/rtc', SILENT)
  t.equal(world.route('b/rtc').errorCount, 1)
  t.end()
})

test('a host that is down keeps no friend away for longer than his own backoff could', (t) => {
  const world = World.started({ ...OPEN, ...slots({ net: 3 }) })
  world.isChecked = false
  world.jitter = 0.999
  world.callIn('zed')
  // Whoever claims a friend's host under keys of his own would keep us from the friend.
  world.addAll(['friend/net-h'])
  world.prioritise('friend', 'HIGH')
  world.addAll(['m1/net-h', 'm2/net-h', 'm3/net-h'], { source: 'pub' })
  const friendly: number[] = []
  while (world.now < START + 12 * HOUR) {
    world.settle()
    for (const each of world.inFlight()) {
      if (each === 'friend/net-h') friendly.push(world.now)
      world.fail(each, SILENT)
    }
    world.now = world.wakeAt() ?? Number.POSITIVE_INFINITY
  }
  const gaps = friendly.slice(1).map((at, i) => at - (friendly[i] ?? 0))
  t.ok(Math.max(...gaps) <= 10 * MINUTE, `at most ${Math.max(...gaps) / MINUTE} min between two dials`)
  t.ok(isDown(world, hostLayer('h.example.com:8008')))
  t.ok((layer(world, hostLayer('h.example.com:8008'))?.retryAt ?? 0) - world.now < HOUR + MINUTE)
  t.end()
})

test('nor does the probe by one friend keep another one away', (t) => {
  const world = World.started({ ...OPEN, ...slots({ net: 3 }) })
  world.callIn('zed')
  const friends = ['f1', 'f2', 'f3']
  world.addAll(friends.map((name) => `${name}/net-h`))
  for (const name of friends) world.prioritise(name, 'HIGH')
  const failAll = (): void => {
    for (const each of world.inFlight()) world.fail(each, SILENT)
  }
  const key = hostLayer('h.example.com:8008')
  while ((layer(world, key)?.retryAt ?? 0) < world.now + 50 * MINUTE) {
    world.settle()
    failAll()
    world.now = world.wakeAt() ?? 0
  }
  // The user tries them all, past every pause, so that they fall due together.
  for (const name of friends) world.request(name)
  world.settle()
  failAll()
  world.elapse(10 * MINUTE)
  t.deepEqual(world.inFlight().sort(), ['f1/net-h', 'f2/net-h', 'f3/net-h'])
  t.ok((layer(world, key)?.retryAt ?? 0) > world.now, 'though the host is not due yet')
  t.end()
})

test('with the last route that names a host what we think of the host goes too', (t) => {
  const world = World.started(OPEN)
  world.callIn('zed')
  world.addAll(['a/net-h', 'b/net-h'])
  world.settle()
  for (const each of world.inFlight()) world.fail(each, SILENT)
  t.ok(layer(world, hostLayer('h.example.com:8008')))
  for (const label of ['a/net-h', 'b/net-h']) world.dispatch({ type: 'route/removed', address: addressOf(label) })
  t.notOk(layer(world, hostLayer('h.example.com:8008')))
  t.end()
})

test('what strangers name cannot fill the list of layers', (t) => {
  const world = World.started({ ...OPEN, maxRoutes: 100_000 })
  world.isChecked = false
  world.callIn('zed')
  for (let i = 0; i < 4_200; i++) {
    const { route } = report(`s${i}/tunnel-room${i}`)
    world.dispatch({ type: 'routes/added', reports: [{ route, isLocal: false, source: 'pub' }] })
    const { address, peer } = route
    world.dispatch({ type: 'dial/started', attempt: i, peer, address, cause: 'schedule' })
    const error = { message: 'no room', code: null }
    world.dispatch({ type: 'dial/failed', attempt: i, peer, address, error, jitter: 0.5, isGivenUp: false })
  }
  t.equal(world.state.layers.size, 4_096)
  t.equal(world.route('s4199/tunnel-room4199').errorCount, 1, 'what is beyond answers for itself')
  t.end()
})

// ---- whose turn it is ----------------------------------------------------------------------------------------------------

test('when those whose turn it is to probe a layer have gone, whoever is left steps in as soon as the probe is due', (t) => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  const rows: readonly (readonly [key: string, form: string, ending: Ending])[] = [
    [RESOLVER, 'net', { code: 'EAI_AGAIN' }],
    [transportLayer('onion'), 'onion', NO_TOR],
    [portalLayer(idOf('room')), 'tunnel-room', { code: null, message: 'no room' }],
    [hostLayer('h.example.com:8008'), 'net-h', SILENT],
  ]
  for (const [key, form, ending] of rows) {
    const world = World.started({ ...OPEN, ...slots({ net: 1, onion: 1, tunnel: 1 }), maxDialing: 1 })
    world.callIn('zed')
    world.addAll(names.map((name) => `${name}/${form}`))
    let last = ''
    for (let i = 0; i < 12 || !isDown(world, key); i++) {
      world.settle()
      for (const each of world.inFlight()) {
        last = each
        world.fail(each, ending)
      }
      world.now = world.wakeAt() ?? 0
    }
    // Those who failed before would all be tried again before this one.
    for (const name of names) if (!last.startsWith(`${name}/`)) world.callIn(name)
    const dueAt = layer(world, key)?.retryAt ?? 0
    t.ok(world.route(last).dueAt > dueAt && dueAt >= world.now, `${key}: it is not the turn of ${last}`)
    // It has failed before, so it waits a moment for those that have not, of which there are none.
    const probedAt = (at: number): number => {
      const [probe, ...more] = dials(world.elapse(at + 2 * SECOND - world.now))
      t.deepEqual([probe?.[1], more], [last, []])
      return Number(probe?.[0]) + START - at
    }
    const delay = probedAt(dueAt)
    t.ok(delay >= 0 && delay <= 2 * SECOND, `but it is the probe, after ${delay} ms`)
    world.fail(last, ending)
    const nextDelay = probedAt(layer(world, key)?.retryAt ?? 0)
    t.ok(nextDelay >= 0 && nextDelay <= 2 * SECOND, `and the next one too, after ${nextDelay} ms`)
  }
  t.end()
})

// ---- the route ------------------------------------------------------------------------------------------------------------

test('only what is left counts against the route', (t) => {
  const table: readonly (readonly [string | null, string])[] = [
    ['ECONNREFUSED', 'refused'],
    [null, 'shs.client: wrong key'],
    [null, 'stream ended'],
    ['ECONNRESET', 'reset'],
    ['ETIMEDOUT', 'silent'],
  ]
  for (const [code, message] of table) {
    const world = World.started(OPEN)
    world.callIn('zed')
    world.add('a')
    world.settle()
    world.fail('a', { code, message })
    const { errorCount, backoffStep, nextAttemptAt, lastErrorTime } = world.route('a')
    t.deepEqual([errorCount, backoffStep, nextAttemptAt - world.now, lastErrorTime], [1, 1, 2_500, world.now], message)
  }
  t.end()
})

test('an explained failure is noted on the route, without counting', (t) => {
  const world = World.started(OPEN)
  world.add('a')
  world.settle()
  world.fail('a', UNREACHABLE)
  const { errors, lastErrorTime } = world.route('a')
  t.deepEqual(errors, [{ message: 'ENETUNREACH', code: 'ENETUNREACH', at: world.now }])
  t.equal(lastErrorTime, world.now)
  world.dispatch({ type: 'environment/online' })
  t.deepEqual(charges(world.route('a')), {
    errorCount: 0,
    backoffStep: 0,
    nextAttemptAt: 0,
    lastErrorTime: 0,
    errors: [],
  })
  t.end()
})

test('a failure that a layer explains does not lower the success rate of its class', (t) => {
  const world = World.started(OPEN)
  world.add('a')
  world.settle()
  world.fail('a', UNREACHABLE)
  t.equal(world.state.classes.net?.successRate, NEW_CLASS.successRate)
  t.end()
})
