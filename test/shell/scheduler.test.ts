/** When plans are made: once per turn, at `wakeAt`, and never for nothing. Moved by a virtual clock; see virtual-clock.test. */
import test = require('tape')

import { parseAddress } from '../../src/core/address'
import { DEFAULT_OPTIONS, type Options } from '../../src/core/options'
import { initialState } from '../../src/core/reducer'
import { attemptsOf } from '../../src/core/table'
import type { Plan } from '../../src/core/types'
import { createManager } from '../../src/manager'
import type { Clock } from '../../src/shell/clock'
import { startScheduler } from '../../src/shell/scheduler'
import { createStore } from '../../src/shell/store'
import { type VirtualClock, virtualClock } from '../../src/testing'
import { alice, bench, bob, carol, DAY, dave, erin, HOUR, MINUTE, person, SECOND } from '../support/manager'

/** A scheduler with a store and a `begin` that only writes down what it is given, unless told otherwise. */
function scheduling(options: Partial<Options> = {}, begin: (plan: Plan) => void = () => {}) {
  const clock = virtualClock()
  const store = createStore(initialState({ ...DEFAULT_OPTIONS, ...options }, clock.now()))
  const plans: Plan[] = []
  const scheduler = startScheduler({
    store,
    clock,
    begin: (plan) => {
      plans.push(plan)
      begin(plan)
    },
  })
  const add = (address: string): void =>
    store.dispatch({
      type: 'routes/added',
      at: clock.now(),
      reports: parseAddress(address).map((route) => ({ route, isLocal: false, source: 'manual' })),
    })
  return { clock, store, plans, scheduler, add }
}

test('one plan per turn, however many events there were', (t) => {
  const { clock, plans, add } = scheduling()
  for (let n = 0; n < 500; n++) add(person(`peer ${n}`).by('net', `host${n}.example`))
  t.equal(plans.length, 0, 'none while the events come')
  clock.flush()
  t.equal(plans.length, 1, 'one afterwards')
  clock.advance(DAY)
  t.equal(plans.length, 1, 'and no other: nothing is due while the manager is off')
  t.equal(clock.fired, 0, 'no timer has fired')
  t.end()
})

test('no event, no plan', (t) => {
  const { clock, plans, scheduler } = scheduling()
  clock.advance(DAY)
  t.equal(plans.length, 0)
  t.equal(clock.pending, 0, 'no timer is set')
  t.equal(scheduler.wakeAt(), null, 'and it says so')
  t.end()
})

test('the one timer is set to wakeAt', (t) => {
  const { clock, store, plans, scheduler, add } = scheduling()
  store.dispatch({ type: 'connections/started', at: clock.now() })
  add(alice.address)
  const heldAt = clock.now()
  store.dispatch({ type: 'peer/held', at: heldAt, peer: alice.id })
  clock.flush()
  t.equal(plans[0]?.wakeAt, heldAt + DEFAULT_OPTIONS.disconnectHoldMs, 'the plan says when alice is free again')
  t.equal(scheduler.wakeAt(), plans[0]?.wakeAt, 'the timer is set to it')
  t.equal(clock.pending, 1, 'one timer')
  clock.advance(DEFAULT_OPTIONS.disconnectHoldMs - 1)
  t.equal(plans.length, 1, 'no plan before')
  clock.advance(1)
  t.equal(plans.length, 2, 'one at that time')
  t.deepEqual(
    plans[plans.length - 1]?.dials.map((dial) => dial.peer),
    [alice.id],
    'at that time she is dialed',
  )
  t.end()
})

test('an event that makes something due earlier sets the timer anew, and leaves one timer', (t) => {
  const { clock, store, scheduler, add } = scheduling()
  store.dispatch({ type: 'connections/started', at: clock.now() })
  const start = clock.now()
  add(alice.address)
  store.dispatch({ type: 'peer/held', at: start, peer: alice.id })
  clock.advance(10 * SECOND)
  t.equal(scheduler.wakeAt(), start + MINUTE)
  const deferrals = [{ address: bob.address, until: start + 30 * SECOND, layer: null }]
  add(bob.address)
  store.dispatch({ type: 'routes/deferred', at: clock.now(), deferrals })
  clock.flush()
  t.equal(scheduler.wakeAt(), start + 30 * SECOND, 'bob comes first')
  t.equal(clock.pending, 1, 'one timer')
  store.dispatch({ type: 'route/removed', at: clock.now(), address: bob.address })
  clock.flush()
  t.equal(scheduler.wakeAt(), start + MINUTE, 'without him it is alice again')
  t.equal(clock.pending, 1, 'one timer')
  store.dispatch({ type: 'connections/stopped', at: clock.now() })
  clock.flush()
  t.equal(scheduler.wakeAt(), null, 'off: nothing to wake for')
  t.equal(clock.pending, 0, 'no timer')
  t.end()
})

test('an hour with all slots taken and nobody waiting: no timer fires', (t) => {
  const { manager, clock, dials, flush } = bench({ answer: (dial) => void dial.accept() })
  for (const { address } of [alice, bob, carol]) manager.peer.addRoute({ address })
  manager.connections.start()
  flush()
  clock.advance(SECOND)
  t.equal(manager.connections.status().classes.net?.connected, 3, 'three connected')
  const fired = clock.fired
  clock.advance(HOUR)
  t.equal(clock.fired - fired, 0, 'no timer fired')
  t.equal(clock.pending, 0, 'none is set')
  t.equal(dials.length, 3, 'nothing was dialed')
  t.end()
})

test('an hour with one peer connected, free slots and nobody to dial: no timer fires', (t) => {
  const { manager, clock, flush } = bench({ answer: (dial) => void dial.accept() })
  manager.peer.addRoute({ address: alice.address })
  manager.peer.addRoute({ address: bob.by('ws') })
  manager.connections.start()
  flush()
  clock.advance(SECOND)
  const fired = clock.fired
  clock.advance(HOUR)
  t.equal(clock.fired - fired, 0)
  t.equal(clock.pending, 0)
  t.end()
})

test('with one peer in its pause it wakes once, when the pause is over', (t) => {
  const { manager, clock, dials, flush } = bench({
    answer: (dial) => (dial.address === bob.address ? dial.refuse('ECONNRESET') : void dial.accept()),
  })
  manager.peer.addRoute({ address: alice.address })
  // HIGH: his host is not held back for a minute besides.
  manager.peer.addRoute({ address: bob.address, priority: 'HIGH' })
  manager.connections.start()
  flush()
  const fired = clock.fired
  const until = manager.peer.get(bob.id)?.routes[0]?.nextAttemptAt ?? 0
  t.ok(until > clock.now(), 'bob failed and pauses')
  clock.advance(until - clock.now() - 1)
  t.equal(clock.fired - fired, 0, 'no timer fires before')
  t.equal(dials.length, 2)
  clock.advance(1)
  t.equal(clock.fired - fired, 1, 'one at the time')
  t.equal(dials.length, 3, 'and he is dialed')
  t.end()
})

test('what has begun needs no further plan, and what comes of it does', (t) => {
  let attempt = 0
  const { clock, store, plans, add } = scheduling({}, (plan) => {
    for (const { peer, address, cause } of plan.dials)
      store.dispatch({ type: 'dial/started', at: clock.now(), attempt: ++attempt, peer, address, cause })
  })
  const dialCounts = (): number[] => plans.splice(0).map((plan) => plan.dials.length)
  store.dispatch({ type: 'connections/started', at: clock.now() })
  for (const { address } of [alice, bob]) add(address)
  clock.flush()
  t.deepEqual(dialCounts(), [2], 'two dials, and no look at what is left: there is nothing')
  const error = { message: 'refused', code: 'ECONNREFUSED' }
  const { id: peer, address } = alice
  const connection = store.getState().peers.get(peer)?.connection
  const [dialed] = connection ? attemptsOf(connection) : []
  const at = clock.now()
  store.dispatch({
    type: 'dial/failed',
    at,
    attempt: dialed?.id ?? 0,
    peer,
    address,
    error,
    jitter: 0.5,
    isGivenUp: false,
  })
  clock.flush()
  t.equal(dialCounts().length, 1, 'a plan when alice has failed')
  t.end()
})

test('no plan after what cannot change a decision, unless the clock was set meanwhile', (t) => {
  let attempt = 0
  const { clock, store, plans, add } = scheduling({}, (plan) => {
    for (const { peer, address, cause } of plan.dials) {
      store.dispatch({ type: 'dial/started', at: clock.now(), attempt: ++attempt, peer, address, cause })
      const opened = { at: clock.now(), attempt, peer, address, cause }
      store.dispatch({ type: 'connection/opened', direction: 'outbound', ...opened })
    }
  })
  const ping = (): void =>
    store.dispatch({ type: 'connection/pinged', at: clock.now(), peer: alice.id, rttMs: 30, skewMs: 1 })
  const transfer = (): void => store.dispatch({ type: 'connection/transferred', at: clock.now(), peer: alice.id })
  store.dispatch({ type: 'connections/started', at: clock.now() })
  add(alice.address)
  clock.flush()
  // The first one says that the visit to somebody new was worth it.
  transfer()
  clock.flush()
  const made = plans.length
  ping()
  transfer()
  add(alice.address)
  clock.flush()
  t.equal(plans.length, made, 'none')
  t.equal(store.getState().peers.get(alice.id)?.connection.status, 'connected', 'she was heard, though')
  clock.jump(-HOUR)
  ping()
  clock.flush()
  t.ok(plans.length > made, 'some, as the clock has gone back')
  t.end()
})

test('an event after the time to wake leads to a plan, as the timer may not have heard of a new time', (t) => {
  const { clock, store, plans, scheduler, add } = scheduling({ maxInbound: null })
  store.dispatch({ type: 'connections/started', at: clock.now() })
  const inbound = { direction: 'inbound', address: null, attempt: null, cause: 'inbound' } as const
  store.dispatch({ type: 'connection/opened', at: clock.now(), peer: bob.id, ...inbound })
  add(alice.address)
  store.dispatch({ type: 'peer/held', at: clock.now(), peer: alice.id })
  clock.flush()
  const ping = (): void =>
    store.dispatch({ type: 'connection/pinged', at: clock.now(), peer: bob.id, rttMs: 30, skewMs: 1 })
  const dials = (): number => plans.splice(0).reduce((sum, plan) => sum + plan.dials.length, 0)
  t.ok(scheduler.wakeAt() !== null && dials() === 0, 'alice is held')
  clock.jump(DAY)
  ping()
  clock.flush()
  t.equal(dials(), 1, 'and dialed')
  t.end()
})

/** Times at which something is due, in ms from `from`. */
function nextDue(clock: VirtualClock, wakeAt: number | null): number | null {
  return wakeAt === null ? null : wakeAt - clock.now()
}

test('after the clock was set back by a month, no pause lasts longer than the longest of its kind', (t) => {
  const { manager, clock, newDials, flush } = bench({ answer: (dial) => dial.refuse('ECONNRESET') })
  manager.peer.addRoute({ address: alice.address, priority: 'HIGH' })
  manager.connections.start()
  flush()
  for (let hours = 0; hours < 6; hours++) clock.advance(HOUR)
  newDials()
  clock.jump(-30 * DAY)
  // Nothing tells us of the jump; the timer that was set before it is the first to notice.
  clock.advance(10 * MINUTE)
  const { nextAttemptAt } = manager.peer.get(alice.id)!.routes[0]!
  t.ok(nextAttemptAt <= clock.now() + 10 * MINUTE, 'the pause is one by the new clock')
  clock.advance(10 * MINUTE)
  t.ok(newDials().length >= 1, 'and ends')
  t.end()
})

test('after the clock was set back, the first event notices and sets the timer by the new clock', (t) => {
  const { manager, clock, flush, newDials } = bench({ answer: (dial) => dial.refuse('ECONNRESET') })
  manager.peer.addRoute({ address: alice.address })
  manager.connections.start()
  flush()
  clock.jump(-HOUR)
  manager.peer.addRoute({ address: bob.by('ws') })
  flush()
  newDials()
  const due = nextDue(clock, manager.internal.wakeAt())
  t.ok(due !== null && due <= 2 * HOUR, `due in ${due} ms, within the longest pause of alice's priority`)
  clock.advance(due ?? 0)
  t.deepEqual(newDials(), [alice.address], 'when she is dialed')
  t.end()
})

test('small corrections of the clock are no jump', (t) => {
  const { manager, clock, flush } = bench()
  const types: string[] = []
  manager.internal.store.subscribe((action) => types.push(action.type))
  manager.connections.start()
  flush()
  for (let n = 0; n < 20; n++) {
    clock.jump(-50)
    manager.peer.addRoute({ address: person(`p${n}`).by('ws', `p${n}.example`) })
    flush()
    clock.advance(60)
  }
  t.notOk(types.includes('clock/setBack'))
  t.end()
})

test('suspended for 8 hours: the wake-up dials at once what fell due meanwhile, without a burst of timers', (t) => {
  let isUp = true
  const { manager, clock, newDials, flush } = bench({
    answer: (dial) => (isUp ? void dial.accept() : dial.refuse('ECONNRESET')),
  })
  for (const { address } of [alice, bob, carol]) manager.peer.addRoute({ address, priority: 'HIGH' })
  isUp = false
  manager.connections.start()
  flush()
  for (let n = 0; n < 60; n++) clock.advance(MINUTE)
  newDials()
  isUp = true
  const fired = clock.fired
  clock.jump(8 * HOUR)
  manager.internal.woke()
  flush()
  t.deepEqual(newDials().sort(), [alice, bob, carol].map((each) => each.address).sort(), 'all three at once')
  t.equal(clock.fired - fired, 0, 'no timer was needed')
  t.equal(manager.connections.status().classes.net?.connected, 3, 'and they are back')
  clock.advance(HOUR)
  t.equal(clock.fired - fired, 0, 'and none is needed after')
  t.end()
})

test('suspended for 8 hours and nobody says so: the next event is enough', (t) => {
  const { manager, clock, newDials, flush } = bench({ answer: (dial) => dial.refuse('ECONNRESET') })
  manager.peer.addRoute({ address: alice.address })
  manager.connections.start()
  flush()
  clock.advance(30 * MINUTE)
  newDials()
  clock.jump(8 * HOUR)
  manager.peer.addRoute({ address: bob.address })
  flush()
  t.deepEqual(newDials().sort(), [alice.address, bob.address].sort(), 'alice, whose pause is over, and bob')
  t.end()
})

test('paused: nothing is planned, whatever happens; resumed: one plan for all of it', (t) => {
  const { clock, store, plans, scheduler, add } = scheduling()
  scheduler.pause()
  store.dispatch({ type: 'connections/started', at: clock.now() })
  add(alice.address)
  clock.advance(DAY)
  add(bob.address)
  clock.advance(DAY)
  t.equal(plans.length, 0, 'two days without a plan')
  scheduler.resume()
  clock.flush()
  t.equal(plans.length, 1)
  t.deepEqual(plans[0]?.dials.map((dial) => dial.peer).sort(), [alice.id, bob.id].sort())
  t.end()
})

test('closed: no plan, no timer, whatever happens in the same turn', (t) => {
  const { clock, store, plans, scheduler, add } = scheduling()
  store.dispatch({ type: 'connections/started', at: clock.now() })
  add(alice.address)
  store.dispatch({ type: 'peer/held', at: clock.now(), peer: alice.id })
  clock.flush()
  t.equal(clock.pending, 1)
  add(bob.address)
  const made = plans.length
  scheduler.close()
  t.equal(clock.pending, 0, 'the timer is gone')
  t.equal(scheduler.wakeAt(), null)
  clock.flush()
  add(carol.address)
  clock.advance(DAY)
  t.equal(plans.length, made, 'no plan since')
  t.equal(clock.pending, 0)
  t.end()
})

test('closed from within the plan, by a listener: no timer is left behind', (t) => {
  for (const type of ['clock/advanced', 'clock/setBack'] as const) {
    const { clock, store, scheduler, add } = scheduling()
    store.dispatch({ type: 'connections/started', at: clock.now() })
    add(alice.address)
    add(bob.address)
    store.dispatch({ type: 'peer/held', at: clock.now(), peer: alice.id })
    clock.advance(SECOND)
    store.dispatch({ type: 'peer/held', at: clock.now(), peer: bob.id })
    clock.flush()
    let isClosed = false
    store.subscribe((action) => {
      if (action.type !== type) return
      isClosed = true
      scheduler.close()
    })
    if (type === 'clock/setBack') clock.jump(-HOUR)
    for (let seconds = 0; seconds < 100 && !isClosed; seconds++) clock.advance(SECOND)
    t.ok(isClosed, `${type} came and closed it`)
    t.equal(clock.pending, 0, 'no timer')
  }
  t.end()
})

test('two routes that fall due within one millisecond of each other are two wake-ups, not a loop', (t) => {
  const { manager, clock, dials, flush } = bench({ answer: (dial) => dial.refuse('ECONNRESET') })
  for (const { address } of [alice, bob, carol, dave, erin]) manager.peer.addRoute({ address })
  manager.connections.start()
  flush()
  clock.advance(HOUR)
  t.ok(clock.fired <= dials.length + 5, `${clock.fired} timers for ${dials.length} dials`)
  t.end()
})

/** As on a phone that has just started: whenever somebody looks at the clock, 2 ms have passed. A turn at a time. */
function slowClock() {
  let now = Date.UTC(2026, 0, 1)
  const deferred: (() => void)[] = []
  const timers = new Map<object, { readonly fn: () => void; readonly at: number }>()
  const settle = (): void => {
    for (let next = deferred.shift(); next; next = deferred.shift()) next()
  }
  const clock: Clock = {
    now: () => {
      now += 2
      return now
    },
    setTimeout: (fn, ms) => {
      const timer = {}
      timers.set(timer, { fn, at: now + ms })
      return timer
    },
    clearTimeout: (timer) => void timers.delete(timer as object),
    defer: (fn) => void deferred.push(fn),
  }
  return {
    clock,
    timers,
    settle,
    /** What is due, and what follows from it but timers that are set on the way. */
    turn: (): void => {
      for (const [timer, { fn, at }] of [...timers])
        if (at <= now && timers.delete(timer)) {
          fn()
          settle()
        }
    },
  }
}

test('where plans and dials take long, each turn begins one dial and gives way', (t) => {
  const { clock, timers, settle, turn } = slowClock()
  const dialed: string[] = []
  const manager = createManager({
    connectToPeer: (address: string): void => void dialed.push(address),
    clock,
    maxByType: { net: 3 },
  })
  for (const { address } of [alice, bob, carol]) manager.peer.addRoute({ address })
  manager.connections.start()
  settle()
  t.equal(dialed.length, 0, 'the first plan has taken all of its turn')
  const counts: number[] = []
  for (; counts.length < 10 && dialed.length < 3; counts.push(dialed.length)) turn()
  t.deepEqual([...new Set(counts)], counts.includes(0) ? [0, 1, 2, 3] : [1, 2, 3], `one at a time: ${counts.join(' ')}`)
  t.deepEqual(dialed.sort(), [alice.address, bob.address, carol.address].sort(), 'all three')
  manager.close()
  t.equal(timers.size, 0, 'no timer is left')
  t.end()
})

test('what was asked for is dialed in the same turn, however long that takes', async (t) => {
  const { clock, settle } = slowClock()
  const dialed: string[] = []
  const manager = createManager({
    connectToPeer: (address: string): void => void dialed.push(address),
    clock,
    maxByType: { net: 3 },
  })
  for (const { address } of [alice, bob, carol, dave]) manager.peer.addRoute({ address })
  const asked = [alice, bob, carol].map(({ address }) => manager.peer.connect({ address }).catch(() => 'closed'))
  await Promise.resolve()
  settle()
  t.deepEqual(dialed.sort(), [alice.address, bob.address, carol.address].sort())
  manager.close()
  t.deepEqual(await Promise.all(asked), ['closed', 'closed', 'closed'])
  t.end()
})

test('closed between two turns of a slow plan: nothing is begun any more', (t) => {
  const { clock, timers, settle, turn } = slowClock()
  let dialCount = 0
  const manager = createManager({ connectToPeer: (): void => void dialCount++, clock, maxByType: { net: 3 } })
  for (const { address } of [alice, bob, carol]) manager.peer.addRoute({ address })
  manager.connections.start()
  settle()
  t.equal(timers.size, 1, 'the next turn is waited for')
  manager.close()
  t.equal(timers.size, 0, 'and is not any more')
  turn()
  t.equal(dialCount, 0)
  t.end()
})
