/**
 * What holds whatever happens: random actions over few ids and times, in and out of order, twice and too late. A run prints
 * its seed; `SEED=<seed> npm test -- plan.property` replays it, and `RUNS=<n>` looks further.
 */

import fc from 'fast-check'
import { isDeepStrictEqual } from 'util'

import test = require('tape')

import type { Action } from '../../src/core/actions'
import { checkInvariants } from '../../src/core/invariants'
import { isEmptyPlan, plan } from '../../src/core/plan'
import { isFeeler, isTrial } from '../../src/core/rank'
import { changePeer } from '../../src/core/records'
import { advance, initialState, reduce, replay } from '../../src/core/reducer'
import { dialsWanted, hopeEndsAt, whyNotDial } from '../../src/core/refusal'
import { mayMatter } from '../../src/core/relevance'
import { attemptsOf, occupancyOf, type State } from '../../src/core/table'
import type { Dial, Peer, Plan, Route } from '../../src/core/types'
import { narrowOptions, perform, type Step, showStep, steps } from '../support/arbitraries'
import {
  DAY,
  describePlan,
  labelOf,
  nameOf,
  options,
  report,
  SECOND,
  serialise,
  slots,
  World,
} from '../support/builders'

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const RUNS = Number(process.env.RUNS ?? 400)
/** Plans are looked at this far ahead, where a plan says that nothing falls due. */
const FAR_AHEAD = 500 * DAY

interface World_ {
  readonly steps: readonly Step[]
  readonly options: ReturnType<typeof options>
}
const worlds: fc.Arbitrary<World_> = fc
  .tuple(steps, narrowOptions)
  .map(([each, change]) => ({ steps: each, options: options(change) }))

/** `holds` throws where the promise is broken; what it returns is ignored. */
function property(t: test.Test, title: string, holds: (given: World_) => unknown, runs = RUNS): void {
  const check = (given: World_): void => {
    holds(given)
  }
  const result = fc.check(fc.property(worlds, check), { seed: SEED, numRuns: runs })
  if (!result.failed) return t.pass(`${title} (SEED=${SEED}, ${result.numRuns} runs)`)
  const found = result.counterexample?.[0]
  for (const each of found?.steps ?? []) t.comment(showStep(each))
  t.comment(JSON.stringify(found?.options, (key, value: unknown) => (key === 'dialTimeoutMs' ? undefined : value)))
  const error = result.errorInstance
  t.comment(error instanceof Error ? (error.stack ?? error.message) : String(error))
  t.fail(`${title}: ${error instanceof Error ? error.message : String(error)} (replay with SEED=${SEED} RUNS=${runs})`)
}

function must(holds: boolean, broken: string): void {
  if (!holds) throw new Error(broken)
}

function run(given: World_, settle: (world: World) => void): World {
  const world = new World(given.options)
  for (const each of given.steps) perform(world, each, settle)
  settle(world)
  return world
}

/** Plans and begins until nothing is left, handing each plan and the state that it was made from to `look`. */
function settleWith(world: World, look: (world: World, made: Plan, state: State) => void): void {
  for (let round = 0; ; round++) {
    must(round < 100, 'still planning after 100 rounds')
    const state = world.state
    const made = world.plan()
    look(world, made, state)
    if (isEmptyPlan(made)) return
    world.begin(made)
  }
}

test('whatever happens, nothing throws and every derived thing equals its recomputation', (t) => {
  // The world checks the invariants after each action.
  property(t, 'invariants', (given) => run(given, (world) => settleWith(world, () => {})))
  t.end()
})

/** Connected by the scheduler for long enough that a visitor may take its place. */
function isRipe(state: State, now: number, peer: Peer, routeClass: string): boolean {
  const { connection } = peer
  if (connection.status !== 'connected' || connection.direction !== 'outbound' || connection.class !== routeClass)
    return false
  const { visitStayMs, dwellMs, transferGraceMs } = state.options
  const isMidTransfer = connection.lastTransferAt > 0 && now - connection.lastTransferAt < transferGraceMs
  const hasHadItsShare = now - connection.since >= (connection.isCaughtUp ? visitStayMs : dwellMs)
  return !peer.isLongTerm && connection.cause !== 'request' && hasHadItsShare && !isMidTransfer
}

/** Why the plan may not dial this route beyond the slots of its class, or null: a visit, alone, to one whose turn it is. */
function whyNoVisit(state: State, now: number, route: Route, made: Plan): string | null {
  const { connected, closing } = occupancyOf(state, route.class)
  const known = Object.hasOwn(state.classes, route.class) ? state.classes[route.class] : undefined
  const beside = made.dials.filter((other) => state.routes.get(other.address)?.class === route.class).length - 1
  if (connected < (state.options.maxByType[route.class] ?? 0)) return 'a slot is about to be free'
  if (beside > 0) return `${beside} others are being dialed`
  if (hopeEndsAt(state, route.class, now) > now) return 'another is counted on to answer'
  if (closing > 0) return 'somebody is going'
  if (state.isBusy) return 'much is being taken in'
  if (!isTrial(route) && (known?.nextRotationAt ?? 0) > now) return 'the last visit was a moment ago'
  // By a route that was never dialed a peer may be visited whose turn it is for another route.
  const isNew = (state.peers.get(route.peer)?.routes ?? []).every((each) => isTrial(state.routes.get(each) ?? route))
  const newAt = isNew ? (known?.nextTrialAt ?? 0) : Math.min(known?.nextTrialAt ?? 0, known?.nextRotationAt ?? 0)
  if (isTrial(route) && newAt > now) return 'another new one was dialed a moment ago'
  if (isFeeler(route) && (known?.nextFeelerAt ?? 0) > now) return 'the last feeler was a moment ago'
  if (route.errorCount === 0 && route.turnAt > now) return 'its turn has not come'
  if (![...state.active.keys()].some((peer) => isRipe(state, now, peer, route.class))) return 'nobody could make room'
  return null
}

/**
 * A peer's race is looked at as if the peer were idle: that it is being dialed is no reason against its next route. Returns
 * whether the dial is a visit.
 */
function checkDial(state: State, now: number, dial: Dial, made: Plan): boolean {
  const route = state.routes.get(dial.address)
  const peer = route && state.peers.get(route.peer)
  if (!route || !peer) throw new Error(`dials ${dial.address}, which is not in the table`)
  must(peer.id === dial.peer, `dials ${dial.address} for another peer`)
  const inFlight = attemptsOf(peer.connection)
  const refused = whyNotDial(state, route, changePeer(peer, { connection: { status: 'idle' } }), now, dial.cause)
  const isSecondOfRace = inFlight.some((attempt) => attempt.class === route.class)
  const isVisit = refused?.reason === 'slotsFull' && dial.cause === 'schedule' && !isSecondOfRace
  if (isVisit) {
    const noVisit = whyNoVisit(state, now, route, made)
    if (noVisit) throw new Error(`visits ${nameOf(dial.peer)} by ${route.class} although ${noVisit}`)
  } else if (refused && !(refused.reason === 'slotsFull' && isSecondOfRace))
    throw new Error(`dials ${nameOf(dial.peer)} although ${refused.reason}: ${refused.message}`)
  must(peer.connection.status === 'idle' || peer.connection.status === 'dialing', 'dials who is connected')
  must(inFlight.length < 4, 'a fifth route in one race')
  must(!inFlight.some((attempt) => attempt.address === dial.address), 'dials a route that is being dialed')
  return isVisit
}

test('no refused route is dialed, except for a visit, and no peer twice in a plan', (t) => {
  let visits = 0
  property(t, 'dials', (given) =>
    run(given, (world) =>
      settleWith(world, ({ now }, made, state) => {
        const settled = advance(state, now)
        for (const dial of made.dials) if (checkDial(settled, now, dial, made)) visits++
        const peers = [...made.dials, ...made.closes, ...made.giveUps].map((each) => each.peer)
        const dialed = made.dials.map((each) => each.peer)
        must(new Set(dialed).size === dialed.length, 'a peer is dialed twice')
        for (const each of dialed) must(peers.filter((other) => other === each).length === 1, 'dialed and closed')
        for (const { peer } of made.closes) {
          const connection = state.peers.get(peer)?.connection
          must(connection?.status === 'connected', `closes ${nameOf(peer)}, who is not connected`)
        }
        for (const { peer, reason } of made.closes)
          must(reason === 'banned' || state.peers.get(peer)?.priority !== 'BANNED', 'hangs up on the banned politely')
      }),
    ),
  )
  t.ok(visits > 0 || RUNS < 100, `${visits} visits were among them`)
  t.end()
})

test('slots hold: never more dials than wanted, never more connections kept than there are slots', (t) => {
  property(t, 'slots', (given) =>
    run(given, (world) => {
      settleWith(world, ({ now }, made, before) => {
        const state = advance(before, now)
        const own = made.dials.filter((dial) => dial.cause === 'schedule')
        for (const name of new Set(own.map((dial) => state.routes.get(dial.address)?.class ?? ''))) {
          const peers = own.filter((dial) => {
            const isNew = !attemptsOf(state.peers.get(dial.peer)?.connection ?? { status: 'idle' }).some(
              (attempt) => attempt.class === name,
            )
            return isNew && state.routes.get(dial.address)?.class === name
          })
          const { connected, dialing, closing } = occupancyOf(state, name)
          const free = (state.options.maxByType[name] ?? 0) - connected - closing
          // A visit goes beyond the slots, as long as nobody else is counted on to answer.
          const isVisit = free <= 0 && hopeEndsAt(state, name, now) <= now && peers.length === 1
          const isWithin = peers.length === 0 || isVisit || peers.length <= dialsWanted(state, name, now)
          must(isWithin, `${dialing} + ${peers.length} dials of ${name} for ${free} free slots`)
        }
        const scheduled = made.dials.filter((dial) => dial.cause === 'schedule' || dial.cause === 'longTerm')
        const total = state.attemptCount + scheduled.length
        must(scheduled.length === 0 || total <= state.options.maxDialing, `${total} dials in flight`)
      })
      if (world.state.initialSync) return
      for (const name of Object.keys(world.state.occupancy)) {
        let kept = 0
        for (const peer of world.state.active.keys()) {
          const { connection } = peer
          if (connection.status !== 'connected' || connection.class !== name) continue
          if (!peer.isLongTerm && connection.cause !== 'request') kept++
        }
        must(kept <= (world.state.options.maxByType[name] ?? 0), `${kept} connections of ${name} are kept`)
      }
    }),
  )
  t.end()
})

test('a plan that has begun leaves an empty one, and nothing falls due before it said', (t) => {
  property(t, 'wakeAt', (given) =>
    run(given, (world) =>
      settleWith(world, ({ now }, made) => {
        must(made.wakeAt === null || made.wakeAt > now, `wakes at ${made.wakeAt}, which is not after ${now}`)
        // What ends a dial or a connection frees a slot, and who gets it depends on how it ended.
        const hasOutcome = made.giveUps.length > 0 || made.lost.length > 0
        must(!hasOutcome || made.wakeAt === now + 1, 'outcomes, and no look at what follows')
        if (hasOutcome) return
        const begun = world.fork()
        begun.begin(made)
        const next = begun.plan()
        must(isEmptyPlan(next), `begun, and yet: ${describePlan(next)}`)
        const quietUntil = made.wakeAt === null ? now + FAR_AHEAD : made.wakeAt - 1
        for (const at of [now + Math.floor((quietUntil - now) / 2), quietUntil]) {
          const later = plan(begun.state, at)
          must(isEmptyPlan(later), `${at - now} ms later, before it wakes: ${describePlan(later)}`)
        }
      }),
    ),
  )
  t.end()
})

/** What is heard all the time, of everybody who is there. */
function hearsay({ peers, routes }: State): Action[] {
  const at = 0
  const heard: Action[] = []
  for (const { id: peer, connection } of peers.values()) {
    heard.push({ type: 'peer/prioritised', at, peer, priority: 'HIGH' })
    if (connection.status !== 'connected') continue
    heard.push({ type: 'connection/pinged', at, peer, rttMs: 80, skewMs: 5 }, { type: 'connection/caughtUp', at, peer })
    heard.push({ type: 'connection/transferred', at, peer })
  }
  for (const address of routes.keys())
    heard.push({ type: 'routes/added', at, reports: [report(labelOf(address), { source: 'local' })] })
  return heard
}

test('after what cannot matter there is nothing to do, and nothing before the time that was said', (t) => {
  const spared = new Map<string, number>()
  property(
    t,
    'relevance',
    (given) =>
      run(given, (world) =>
        settleWith(world, ({ now }, { wakeAt, ...made }, state) => {
          if (!isEmptyPlan({ wakeAt, ...made })) return
          const quiet = advance(state, now)
          for (const action of [
            ...hearsay(quiet),
            ...given.steps.flatMap((each) => (each.do === 'action' ? each.action : [])),
          ]) {
            const after = reduce(quiet, { ...action, at: now })
            if (mayMatter(quiet, after)) continue
            const next = plan(after, now)
            must(isEmptyPlan(next), `${action.type} was not to matter, and yet: ${describePlan(next)}`)
            // It may ask to be woken sooner than before, for those that were looked at in vain before.
            const last = wakeAt === null ? now + FAR_AHEAD : wakeAt - 1
            for (const at of [next.wakeAt ?? last, now + Math.floor((last - now) / 2), last]) {
              const later = plan(after, Math.min(at, last))
              must(isEmptyPlan(later), `${action.type} was not to matter; ${at - now} ms later: ${describePlan(later)}`)
            }
            if (after.changedPeers.length > 0) spared.set(action.type, (spared.get(action.type) ?? 0) + 1)
          }
        }),
      ),
    RUNS / 8,
  )
  for (const type of ['connection/pinged', 'connection/transferred', 'routes/added'])
    t.ok((spared.get(type) ?? 0) > 0 || RUNS < 100, `${spared.get(type)} times it was ${type}`)
  t.end()
})

test('states that were handed out stay as they were', (t) => {
  property(t, 'frozen', (given) => {
    const world = new World(given.options)
    const kept: { state: State; text: string }[] = []
    const keep = (): void => {
      kept.push({ state: world.state, text: serialise(world.state) })
    }
    for (const each of given.steps) {
      keep()
      perform(world, each, (within) => settleWith(within, keep))
    }
    for (const { state, text } of kept) {
      must(serialise(state) === text, 'an old state has changed')
      checkInvariants(state)
    }
  })
  t.end()
})

test('a recording replays to the same state and the same plans', (t) => {
  property(t, 'replay', (given) => {
    const plans: { after: number; now: number; made: string }[] = []
    const world = run(given, (within) =>
      settleWith(within, ({ now, actions }, made) => {
        plans.push({ after: actions.length, now, made: JSON.stringify(made) })
      }),
    )
    // Through JSON, as a bug report would carry it; only trees would not survive, and no action has one.
    const recording = JSON.parse(JSON.stringify(world.actions)) as Action[]
    must(serialise(replay(world.first, recording)) === serialise(world.state), 'another state')
    let state = initialState(given.options, world.first.now)
    let done = 0
    for (const { after, now, made } of plans) {
      for (; done < after; done++) state = reduce(state, recording[done] as Action)
      must(JSON.stringify(plan(state, now)) === made, `another plan after ${after} actions`)
    }
  })
  t.end()
})

test('a clock that goes back changes no count and makes no pause longer than its ceiling', (t) => {
  property(t, 'set back', (given) => {
    const world = run(given, (within) => settleWith(within, () => {}))
    const before = world.state
    world.now -= 3 * DAY
    const after = world.dispatch({ type: 'clock/setBack' })
    for (const [address, was] of before.routes.entries()) {
      const is = after.routes.get(address)
      if (!is) throw new Error(`${address} is gone`)
      const counts = [was.errorCount, was.connectionCount, was.backoffStep, was.errors.length]
      must(
        JSON.stringify([is.errorCount, is.connectionCount, is.backoffStep, is.errors.length]) ===
          JSON.stringify(counts),
        `counts of ${address} have changed`,
      )
      must(is.dueAt <= world.now + DAY, `${address} waits for ${is.dueAt - world.now} ms`)
    }
    const parts = (state: State) => [
      state.classes,
      state.occupancy,
      state.inboundCount,
      state.attemptCount,
      state.lowCount,
    ]
    const withoutTimes = (state: State) =>
      JSON.parse(JSON.stringify(parts(state), (key, value: unknown) => (key.endsWith('At') ? 0 : value))) as unknown
    must(isDeepStrictEqual(withoutTimes(after), withoutTimes(before)), 'a count has changed')
    settleWith(world, () => {})
  })
  t.end()
})

const LABELS = [
  'alice',
  'alice/net2',
  'alice/onion',
  'bob',
  'bob/lan',
  'carol/net-h',
  'dave/net-h',
  'erin',
  'frank',
  'gina',
]

test('the order in which routes were learned is irrelevant', (t) => {
  const priorities = fc.constantFrom('HIGH' as const, 'MEDIUM' as const, 'LOW' as const, undefined)
  const reports = fc.tuple(...LABELS.map((label) => priorities.map((priority) => ({ label, priority }))))
  const orders = reports.chain((all) => fc.tuple(fc.shuffledSubarray(all, { minLength: all.length }), fc.constant(all)))
  const result = fc.check(
    fc.property(orders, fc.boolean(), ([shuffled, plain], isAtOnce) => {
      const [a, b] = [shuffled, plain].map((list) => {
        const world = World.started({ maxDialing: 3, ...slots({ net: 2, local: 1, onion: 1 }) })
        const all = list.map(({ label, priority }) => report(label, priority === undefined ? {} : { priority }))
        if (isAtOnce) world.dispatch({ type: 'routes/added', reports: all })
        else for (const each of all) world.dispatch({ type: 'routes/added', reports: [each] })
        return JSON.stringify([world.settle(), world.elapse(30 * SECOND)])
      })
      must(a === b, `${a}\n${b}`)
    }),
    { seed: SEED, numRuns: Math.ceil(RUNS / 4) },
  )
  t.notOk(result.failed, `the same dials for 30 s (SEED=${SEED}) ${fc.defaultReportMessage(result) ?? ''}`)
  t.end()
})
