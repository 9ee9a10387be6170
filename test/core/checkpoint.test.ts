/**
 * A checkpoint is all of a state: whoever goes on from it decides the same. Random worlds as in plan.property.test.ts;
 * `SEED=<seed> npm test -- checkpoint` replays a run, and `RUNS=<n>` looks further.
 */
import fc from 'fast-check'
import { isDeepStrictEqual } from 'util'

import test = require('tape')

import { type CheckpointPart, checkpointOf, stateFrom } from '../../src/core/checkpoint'
import { RecordingError } from '../../src/core/errors'
import { checkInvariants } from '../../src/core/invariants'
import { isEmptyPlan, plan } from '../../src/core/plan'
import { initialState, reduce } from '../../src/core/reducer'
import { peerView, status } from '../../src/core/selectors'
import type { State } from '../../src/core/table'
import { narrowOptions, perform, steps } from '../support/arbitraries'
import {
  addressOf,
  idOf,
  MINUTE,
  options,
  report,
  SECOND,
  START,
  slots,
  stored,
  storedPeer,
  World,
} from '../support/builders'

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const RUNS = Number(process.env.RUNS ?? 150)

const throughJson = (parts: Iterable<CheckpointPart>): unknown[] => JSON.parse(JSON.stringify([...parts])) as unknown[]
const copyOf = (state: State): State => stateFrom(throughJson(checkpointOf(state)))

/** Everything in it, indexes too, but for how failures are packed and the order in which classes were first seen. */
function wholeOf(state: State): unknown {
  const trees: { [name: string]: unknown } = {}
  for (const name of ['ready', 'waiting', 'active', 'outbound', 'hosts'] as const)
    trees[name] = state[name]
      .keysArray()
      .map((key: unknown) =>
        typeof key === 'string'
          ? key
          : ((key as { id?: string; address?: string }).address ?? (key as { id?: string }).id),
      )
  const routes = state.routes.valuesArray().map((route) => {
    const fields: { [name: string]: unknown } = {}
    for (const name of ROUTE_FIELDS) fields[name] = route[name]
    return fields
  })
  const layers = state.layers.valuesArray().map(({ suspects, deferred, ...layer }) => ({
    ...layer,
    deferred: deferred.keysArray(),
    suspects: suspects
      .toArray()
      .map(([address, { errorLog, ...suspect }]) => [address, suspect, errorLog.errorsOf(address)]),
  }))
  const { peers, hosts, requests, ready, waiting, active, outbound, changedPeers, ...root } = state
  return {
    ...root,
    ...trees,
    routes,
    layers,
    hosts: hosts.toArray(),
    requests: requests.toArray(),
    peers: peers.valuesArray().map((peer) => ({ ...peer, routes: peer.routes })),
    classes: Object.entries(root.classes).sort(),
    occupancy: Object.entries(root.occupancy).sort(),
  }
}

const ROUTE_FIELDS = [
  ...(['address', 'peer', 'protocol', 'class', 'isLocal', 'scope', 'hostKey', 'portal', 'source', 'isStored'] as const),
  ...([
    'isAnnounced',
    'isAutomatic',
    'data',
    'addedAt',
    'lastConnectionTime',
    'connectionCount',
    'backoffStep',
  ] as const),
  ...(['nextAttemptAt', 'errors', 'lastSignalAt', 'duration', 'queue', 'tier', 'errorCount', 'turnAt'] as const),
  ...(['lastErrorTime', 'tie', 'dueAt'] as const),
]

/** With its keys in order, and numbers that JSON does not know. */
const shown = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) => {
    if (typeof each === 'number' && !Number.isFinite(each)) return String(each)
    if (typeof each !== 'object' || each === null || Array.isArray(each)) return each
    return Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
  })

function mustEqual(a: unknown, b: unknown, what: string): void {
  if (isDeepStrictEqual(a, b)) return
  const [left, right] = [shown(a), shown(b)]
  let at = 0
  while (at < left.length && left[at] === right[at]) at++
  throw new Error(
    `${what}: …${left.slice(Math.max(0, at - 80), at + 80)}… is …${right.slice(Math.max(0, at - 80), at + 80)}…`,
  )
}

/** What is seen of it from outside. */
const viewsOf = (state: State): unknown => [
  state.peers.valuesArray().map((peer) => peerView(state, peer)),
  status(state, state.now),
]

function settle(world: World): void {
  for (let round = 0; round < 100; round++) {
    world.dispatchDue()
    const made = world.plan()
    if (isEmptyPlan(made)) return
    world.begin(made)
  }
  throw new Error('still planning after 100 rounds')
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const each of Object.values(value)) deepFreeze(each)
  }
  return value
}

test('whatever happened, the state of a checkpoint is the same in everything, and so is all that follows', (t) => {
  const worlds = fc.tuple(steps, narrowOptions, fc.nat(1_000))
  let checkpoints = 0
  const result = fc.check(
    fc.property(worlds, ([each, change, cutAt]) => {
      const world = new World(options(change))
      world.isChecked = false
      const cut = Math.floor((each.length * cutAt) / 1_000)
      for (const step of each.slice(0, cut)) perform(world, step, settle)
      const made = deepFreeze(throughJson(checkpointOf(world.state)))
      const text = JSON.stringify(made)
      let copy = stateFrom(made)
      checkpoints++
      checkInvariants(copy)
      mustEqual(wholeOf(copy), wholeOf(world.state), 'the state')
      const before = world.actions.length
      for (const step of each.slice(cut)) perform(world, step, settle)
      for (const action of world.actions.slice(before)) copy = reduce(copy, action)
      mustEqual(wholeOf(copy), wholeOf(world.state), 'the state after more')
      mustEqual(viewsOf(copy), viewsOf(world.state), 'the views')
      for (const later of [0, SECOND, 10 * MINUTE])
        mustEqual(plan(copy, world.now + later), plan(world.state, world.now + later), 'the plan')
      checkInvariants(copy)
      if (JSON.stringify(made) !== text) throw new Error('the checkpoint was written to')
    }),
    { seed: SEED, numRuns: RUNS },
  )
  t.ok(checkpoints >= RUNS, `${checkpoints} checkpoints`)
  t.notOk(result.failed, result.failed ? `${String(result.errorInstance)} (SEED=${SEED} RUNS=${RUNS})` : 'the same')
  t.end()
})

/** Something of everything that a state can have. */
function fullWorld(): World {
  const world = World.started({ ...slots({ net: 3, onion: 2, local: 2 }), lifetimeMs: 30 * MINUTE, hostWindowMs: 500 })
  world.load(
    [
      stored('frank', {
        errorCount: 3,
        lastErrorTime: START - MINUTE,
        nextAttemptAt: START + MINUTE,
        backoffStep: 4,
        errors: [
          { message: 'connect ETIMEDOUT frank.example.com:8008', code: 'ETIMEDOUT', at: START - MINUTE },
          { message: 'other', code: null, at: START - SECOND },
        ],
        duration: { mean: 5, stdev: 0, count: 1, sum: 5, sqsum: 25 },
      }),
    ],
    [
      storedPeer('gina', {
        priority: 'HIGH',
        prioritisedBy: 'user',
        visitedAt: START - 9,
        merit: { messages: 1.5, coveredMs: 7, at: START - 8, broughtAt: START - 8 },
      }),
    ],
  )
  world.addAll(['alice', 'bob', 'bob/net2', 'carol', 'dave', 'erin/onion', 'hans/lan', 'ida/tunnel-alice', 'bob/ws'])
  world.add('mallory', { source: 'pub', priority: 'LOW' })
  world.prioritise('mallory', 'BANNED')
  world.longTerm('carol')
  world.dispatch({
    type: 'route/annotated',
    address: addressOf('dave'),
    data: { name: 'Dave', nested: [1, { a: null }] },
    isAutomatic: false,
  })
  world.settle()
  world.connect('alice')
  world.connect('carol')
  world.callIn('ida')
  world.dispatch({ type: 'connection/pinged', peer: idOf('alice'), rttMs: 12, skewMs: -3.5 })
  world.dispatch({ type: 'connection/transferred', peer: idOf('alice'), count: 7 })
  world.fail('erin/onion', { code: 'ECONNREFUSED' })
  world.now += SECOND
  // Announced again: the pause is lifted.
  world.add('erin/onion', { priority: 'HIGH' })
  world.settle()
  for (const label of world.inFlight()) world.fail(label, { code: 'ENETUNREACH' })
  world.askToClose('carol', 'dead')
  world.hold('ida')
  world.request('dave', 'dave')
  world.dispatch({ type: 'environment/busy', isBusy: true })
  world.now += MINUTE
  world.settle()
  world.dispatch({ type: 'initialSync/started', peer: idOf('alice') })
  world.dispatch({ type: 'environment/offline' })
  return world
}

test('a state with something of everything is there again, with every field', (t) => {
  const { state } = fullWorld()
  const copy = copyOf(state)
  mustEqual(wholeOf(copy), wholeOf(state), 'the state')
  checkInvariants(copy)
  for (const name of ROUTE_FIELDS)
    t.ok(new Set(state.routes.valuesArray().map((route) => shown(route[name]))).size > 1, `${name} differs among them`)
  t.ok(state.layers.size > 0 && state.hosts.size > 0 && state.initialSync && state.isBusy, 'layers, hosts, a sync')
  t.ok(
    state.layers.valuesArray().some((layer) => layer.suspects.size > 0),
    'suspects',
  )
  t.deepEqual(copy.routes.get(addressOf('dave'))?.data, { name: 'Dave', nested: [1, { a: null }] }, 'data of others')
  t.deepEqual(copy.routes.get(addressOf('frank'))?.errors, state.routes.get(addressOf('frank'))?.errors, 'failures')
  t.deepEqual(copy.options, state.options)
  t.end()
})

test('a checkpoint of before the last visit of a class was kept is read as one without visits', (t) => {
  const { state } = fullWorld()
  const names = Object.keys(state.classes)
  t.ok(names.length > 0)
  const older: unknown[] = JSON.parse(
    JSON.stringify(throughJson(checkpointOf(state)), (key, value: unknown) =>
      key === 'lastRotationAt' ? undefined : value,
    ),
  )
  const { classes } = stateFrom(older)
  for (const name of names) t.deepEqual(classes[name], { ...state.classes[name], lastRotationAt: 0 }, name)
  t.end()
})

test('an empty state, and numbers that JSON does not know', (t) => {
  const empty = initialState(options(), START)
  mustEqual(wholeOf(copyOf(empty)), wholeOf(empty), 'empty')
  t.equal(copyOf(empty).nothingDueBefore, Number.POSITIVE_INFINITY)
  const world = fullWorld()
  // A clock that is ahead by more than can be squared.
  world.dispatch({ type: 'connection/pinged', peer: idOf('alice'), rttMs: 0, skewMs: 1e200 })
  const strange = copyOf(world.state).peers.get(idOf('alice'))?.connection
  t.deepEqual(strange, world.state.peers.get(idOf('alice'))?.connection)
  t.ok(shown(strange).includes('Infinity'), 'an infinite deviation is kept')
  t.end()
})

test('routes of a class without slots stay where nobody looks at them', (t) => {
  const world = World.started(slots({ net: 3, ws: 1 }))
  world.addAll(['alice/ws', 'bob/ws'])
  world.settle()
  for (const label of world.inFlight()) world.fail(label, { code: 'ETIMEDOUT' })
  world.setMax({ ws: 0 })
  world.now += 60 * MINUTE
  world.settle()
  t.equal(world.state.waiting.size, 2, 'overdue and waiting')
  mustEqual(wholeOf(copyOf(world.state)), wholeOf(world.state), 'the state')
  t.end()
})

test('10 000 routes come in parts, none of them large', (t) => {
  const world = new World()
  world.isChecked = false
  for (let i = 0; i < 10; i++)
    world.dispatch({ type: 'routes/added', reports: Array.from({ length: 1_000 }, (_, n) => report(`p${i}x${n}`)) })
  const parts = [...checkpointOf(world.state)]
  const sizes = parts.map((part) => JSON.stringify(part).length)
  t.ok(parts.length > 40, `${parts.length} parts`)
  t.ok(Math.max(...sizes) < 100_000, `the largest has ${Math.max(...sizes)} characters`)
  t.equal(stateFrom(parts).routes.size, 10_000)
  t.end()
})

// ---- bad input ----------------------------------------------------------------------------------------------------------

const codeOf = (fn: () => unknown): string => {
  try {
    fn()
    return 'none'
  } catch (error) {
    return error instanceof RecordingError ? error.code : `another: ${String(error)}`
  }
}

const BAD: readonly (readonly [what: string, change: (parts: { [field: string]: unknown }[]) => unknown])[] = [
  ['nothing', () => []],
  ['null', () => [null]],
  ['without an end', (parts) => parts.slice(0, -1)],
  ['without a beginning', (parts) => parts.slice(1)],
  ['two beginnings', (parts) => [parts[0], ...parts]],
  ['something behind the end', (parts) => [...parts, parts[0]]],
  ['a part that is none', (parts) => [parts[0], { type: 'checkpoint/other' }, ...parts.slice(1)]],
  ['another format', (parts) => [{ ...parts[0], format: 2 }, ...parts.slice(1)]],
  ['peers twice', (parts) => [...parts.slice(0, 2), parts[1], ...parts.slice(2)]],
  [
    'suspects of no layer',
    (parts) => [
      ...parts.slice(0, -1),
      { type: 'checkpoint/deferred', layer: 'x', addresses: ['y'] },
      ...parts.slice(-1),
    ],
  ],
]

for (const [what, change] of BAD)
  test(`a checkpoint that cannot be used is refused with ERR_RECORDING: ${what}`, (t) => {
    const parts = throughJson(checkpointOf(fullWorld().state)) as { [field: string]: unknown }[]
    t.equal(
      codeOf(() => stateFrom(change(parts) as unknown[])),
      'ERR_RECORDING',
    )
    t.end()
  })

/** Every place in a value where something else can be put. */
function placesIn(value: unknown, path: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  if (typeof value !== 'object' || value === null) return [path]
  return [path, ...Object.entries(value).flatMap(([key, each]) => placesIn(each, [...path, key]))]
}

test('whatever stands in the place of a value, it is refused or gives a state that holds together', (t) => {
  const parts = throughJson(checkpointOf(fullWorld().state))
  const places = placesIn(parts).filter((path) => path.length > 0)
  const junk = fc.constantFrom<unknown>(
    null,
    undefined,
    true,
    -1,
    0,
    1.5,
    1e300,
    '',
    'x',
    '__proto__',
    [],
    [[]],
    {},
    { type: 1 },
  )
  let refused = 0
  const result = fc.check(
    fc.property(fc.nat(places.length - 1), junk, (index, value) => {
      const path = places[index] as readonly string[]
      const broken = JSON.parse(JSON.stringify(parts)) as { [key: string]: unknown }
      let target = broken
      for (const key of path.slice(0, -1)) target = target[key] as { [key: string]: unknown }
      target[path[path.length - 1] as string] = value
      const code = codeOf(() => {
        const state = stateFrom(broken as unknown as unknown[])
        checkInvariants(state)
        plan(state, state.now + MINUTE)
      })
      if (code === 'ERR_RECORDING') refused++
      else if (code !== 'none') throw new Error(`${path.join('.')} = ${JSON.stringify(value)}: ${code}`)
    }),
    { seed: SEED, numRuns: 4 * RUNS },
  )
  t.notOk(
    result.failed,
    result.failed ? `${String(result.errorInstance)} (SEED=${SEED} RUNS=${RUNS})` : 'refused or whole',
  )
  t.ok(refused > RUNS, `${refused} were refused`)
  t.end()
})
