/** Every option of the policy: its default, what it takes, and what it refuses with ERR_INVALID_ARGUMENT. */
import test = require('tape')

import { InvalidArgumentError } from '../../src/core/errors'
import {
  checkDuration,
  checkLifetime,
  DEFAULT_OPTIONS,
  dialTimeout,
  isPlainObject,
  makeOptions,
  mergeMaxByType,
  slotsMax,
} from '../../src/core/options'
import { DAY, HOUR, MINUTE, SECOND, serialise, slots, World } from '../support/builders'

const YEAR = 365 * DAY

/** The argument that was refused, or what came of it. */
function refused(made: () => unknown): string | { readonly made: unknown } {
  try {
    return { made: made() }
  } catch (error) {
    if (!(error instanceof InvalidArgumentError) || error.code !== 'ERR_INVALID_ARGUMENT') throw error
    if (!error.message.startsWith(`${error.argument}: expected ${error.expected}, received `))
      throw new Error(`not the message: ${error.message}`)
    return error.argument
  }
}

const NOT_NUMBERS: readonly unknown[] = ['', '1', null, true, {}, [], [1], () => 1, Number.NaN, BigInt(1), Symbol('x')]
const INFINITE: readonly unknown[] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]

test('the defaults are those of DESIGN 4', (t) => {
  t.deepEqual(makeOptions({}), {
    selfId: null,
    tieKey: [0, 0, 0, 0],
    maxByType: { rtc: 3, net: 3, onion: 3, ws: 0, wss: 0, local: 5 },
    lifetimeMs: null,
    maxInbound: null,
    maxDialing: 8,
    dialTimeoutMs: {
      default: 10 * SECOND,
      local: 3 * SECOND,
      onion: 30 * SECOND,
      tunnel: 30 * SECOND,
      dht: 5 * MINUTE,
      bt: MINUTE,
    },
    staggerMs: 250,
    staggerLocalMs: 30,
    backoffBaseMs: 5 * SECOND,
    backoffMaxMs: { HIGH: 10 * MINUTE, MEDIUM: 2 * HOUR, LOW: DAY },
    stableMs: 10 * MINUTE,
    briefMs: 10 * SECOND,
    dwellMs: 30 * SECOND,
    rotationMinMs: 34 * SECOND,
    rotationMaxMs: 54 * SECOND,
    visitMs: 18 * MINUTE,
    visitMinMs: 3 * MINUTE,
    visitMaxMs: 40 * MINUTE,
    visitStayMs: 12 * SECOND,
    feelerMs: 20 * MINUTE,
    transferGraceMs: 10 * SECOND,
    hostWindowMs: MINUTE,
    disconnectHoldMs: MINUTE,
    signalWindowMs: 10 * SECOND,
    maxRoutesPerPeer: 16,
    maxRoutes: 100_000,
    forgetAfterMs: 30 * DAY,
    forgetAfterFailures: 20,
  })
  t.end()
})

// ---- one by one -------------------------------------------------------------------------------------------------------------

test('a duration is a finite number of ms from 0 to a year', (t) => {
  for (const name of [
    'staggerMs',
    'staggerLocalMs',
    'backoffBaseMs',
    'stableMs',
    'briefMs',
    'dwellMs',
    'visitMs',
    'visitStayMs',
    'feelerMs',
    'transferGraceMs',
    'hostWindowMs',
    'disconnectHoldMs',
    'signalWindowMs',
    'forgetAfterMs',
  ] as const) {
    for (const good of [0, 1, 0.5, YEAR]) t.equal(makeOptions({ [name]: good })[name], good, `${name}: ${good}`)
    for (const bad of [...NOT_NUMBERS, ...INFINITE, -1, YEAR + 1])
      t.equal(
        refused(() => makeOptions({ [name]: bad })),
        name,
        `${name}: ${String(bad)}`,
      )
    t.equal(makeOptions({ [name]: undefined })[name], DEFAULT_OPTIONS[name], 'undefined is not given')
  }
  t.end()
})

test('a count is a whole number from 1 to a million', (t) => {
  for (const name of ['maxDialing', 'maxRoutesPerPeer', 'maxRoutes', 'forgetAfterFailures'] as const) {
    for (const good of [1, 2, 1_000_000]) t.equal(makeOptions({ [name]: good })[name], good, `${name}: ${good}`)
    for (const bad of [...NOT_NUMBERS, ...INFINITE, 0, -1, 1.5, 1_000_001])
      t.equal(
        refused(() => makeOptions({ [name]: bad })),
        name,
        `${name}: ${String(bad)}`,
      )
    t.equal(makeOptions({ [name]: undefined })[name], DEFAULT_OPTIONS[name], 'undefined is not given')
  }
  t.end()
})

test('rotationMaxMs is at least rotationMinMs', (t) => {
  const made = makeOptions({ rotationMinMs: 5, rotationMaxMs: 5 })
  t.deepEqual([made.rotationMinMs, made.rotationMaxMs], [5, 5])
  t.equal(
    refused(() => makeOptions({ rotationMinMs: 6, rotationMaxMs: 5 })),
    'rotationMaxMs',
  )
  t.equal(
    refused(() => makeOptions({ rotationMinMs: 54 * SECOND + 1 })),
    'rotationMaxMs',
    'against the default too',
  )
  for (const name of ['rotationMinMs', 'rotationMaxMs'])
    for (const bad of [...NOT_NUMBERS, ...INFINITE, -1, YEAR + 1])
      t.equal(
        refused(() => makeOptions({ [name]: bad })),
        name,
        `${name}: ${String(bad)}`,
      )
  t.end()
})

test('visitMaxMs is at least visitMinMs', (t) => {
  const made = makeOptions({ visitMinMs: 5, visitMaxMs: 5 })
  t.deepEqual([made.visitMinMs, made.visitMaxMs], [5, 5])
  t.equal(
    refused(() => makeOptions({ visitMinMs: 6, visitMaxMs: 5 })),
    'visitMaxMs',
  )
  t.equal(
    refused(() => makeOptions({ visitMinMs: 2 * HOUR + 1 })),
    'visitMaxMs',
    'against the default too',
  )
  for (const name of ['visitMinMs', 'visitMaxMs'])
    for (const bad of [...NOT_NUMBERS, ...INFINITE, -1, YEAR + 1])
      t.equal(
        refused(() => makeOptions({ [name]: bad })),
        name,
        `${name}: ${String(bad)}`,
      )
  t.end()
})

test('a lifetime of null, 0 or Infinity is none', (t) => {
  for (const none of [null, 0, -0, Number.POSITIVE_INFINITY]) {
    t.equal(checkLifetime(none), null, String(none))
    t.equal(makeOptions({ lifetimeMs: none }).lifetimeMs, null)
  }
  for (const good of [1, 1.5, YEAR]) t.equal(makeOptions({ lifetimeMs: good }).lifetimeMs, good, String(good))
  for (const bad of [
    ...NOT_NUMBERS.filter((each) => each !== null),
    undefined,
    -1,
    0.5,
    Number.NEGATIVE_INFINITY,
    YEAR + 1,
  ])
    t.equal(
      refused(() => checkLifetime(bad)),
      'lifetime',
      String(bad),
    )
  t.equal(makeOptions({ lifetimeMs: undefined }).lifetimeMs, null, 'undefined is not given')
  t.end()
})

test('maxInbound is null or a whole number', (t) => {
  for (const good of [null, 0, 1, 1_000]) t.equal(makeOptions({ maxInbound: good }).maxInbound, good, String(good))
  for (const bad of [...NOT_NUMBERS.filter((each) => each !== null), ...INFINITE, -1, 1.5])
    t.equal(
      refused(() => makeOptions({ maxInbound: bad })),
      'maxInbound',
      String(bad),
    )
  t.equal(makeOptions({ maxInbound: undefined }, { ...DEFAULT_OPTIONS, maxInbound: 3 }).maxInbound, 3)
  t.end()
})

test('checkDuration names the argument and the least that is allowed', (t) => {
  t.equal(checkDuration('x', 5, 5), 5)
  t.equal(
    refused(() => checkDuration('x', 4.9, 5)),
    'x',
  )
  t.throws(() => checkDuration('pingInterval', 'soon', 5), /^InvalidArgumentError: pingInterval: expected a number of /)
  t.end()
})

// ---- slots ------------------------------------------------------------------------------------------------------------------

test('maxByType merges, and what is not named stays', (t) => {
  t.deepEqual(mergeMaxByType(DEFAULT_OPTIONS.maxByType, { onion: 0, ws: 10_000, bt: 1 }), {
    rtc: 3,
    net: 3,
    onion: 0,
    ws: 10_000,
    wss: 0,
    local: 5,
    bt: 1,
  })
  t.deepEqual(makeOptions({ maxByType: { net: 1 } }).maxByType, { ...DEFAULT_OPTIONS.maxByType, net: 1 })
  t.deepEqual(makeOptions({ maxByType: undefined }).maxByType, DEFAULT_OPTIONS.maxByType)
  t.equal(DEFAULT_OPTIONS.maxByType.net, 3, 'the defaults stay as they are')
  t.end()
})

test('maxByType refuses what is no number of slots, and then takes nothing', (t) => {
  const world = World.started(slots({ net: 1 }))
  const before = serialise(world.state)
  for (const bad of [...NOT_NUMBERS, ...INFINITE, undefined, -1, 0.5, 10_001])
    t.equal(
      refused(() => mergeMaxByType(world.state.options.maxByType, { onion: 2, net: bad })),
      'max.net',
      String(bad),
    )
  t.equal(serialise(world.state), before)
  for (const bad of [undefined, null, 3, 'net', true, [], [3], () => ({})])
    t.equal(
      refused(() => mergeMaxByType({}, bad)),
      'max',
      String(bad),
    )
  t.equal(
    refused(() => makeOptions({ maxByType: [] })),
    'max',
  )
  t.end()
})

test('names of types are short and plain, and there are at most 32', (t) => {
  for (const good of ['a', 'net', 'x-1', 'a'.repeat(32)])
    t.equal(slotsMax({ ...DEFAULT_OPTIONS, maxByType: mergeMaxByType({}, { [good]: 2 }) }, good), 2, good)
  for (const bad of ['', 'Net', '1a', '-a', 'a b', 'a.b', 'ä', '__proto__', 'toString', 'a'.repeat(33), 'HIGH'])
    t.equal(
      refused(() => mergeMaxByType({}, Object.fromEntries([[bad, 1]]))),
      'max',
      bad,
    )
  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`t${i}`, 1]))
  t.equal(Object.keys(mergeMaxByType({}, many(32))).length, 32)
  t.equal(
    refused(() => mergeMaxByType({}, many(33))),
    'max',
  )
  t.equal(
    refused(() => mergeMaxByType(many(32), { another: 1 })),
    'max',
    'together with those that are there',
  )
  t.end()
})

test('names that every object has mean nothing', (t) => {
  for (const name of ['constructor', '__proto__', 'toString', 'valueOf', 'hasOwnProperty']) {
    t.equal(slotsMax(DEFAULT_OPTIONS, name), 0, name)
    t.equal(dialTimeout(DEFAULT_OPTIONS, name, name), 10 * SECOND, name)
  }
  t.equal(
    slotsMax({ ...DEFAULT_OPTIONS, maxByType: mergeMaxByType({}, { constructor: 2 }) }, 'constructor'),
    2,
    'if set',
  )
  // As JSON brings it: an own entry of this name.
  const hostile = JSON.parse('{"__proto__": {"maxDialing": 1, "net": 0}}') as Record<string, unknown>
  t.deepEqual(makeOptions(hostile), DEFAULT_OPTIONS)
  t.equal(
    refused(() => makeOptions({ maxByType: hostile })),
    'max',
  )
  t.equal(
    refused(() => makeOptions({ dialTimeoutMs: hostile })),
    'dialTimeoutMs',
  )
  t.equal(({} as Record<string, unknown>).maxDialing, undefined, 'and no other object is changed')
  t.end()
})

// ---- tables of times --------------------------------------------------------------------------------------------------------

test('dialTimeoutMs merges: by class, by protocol, else the default', (t) => {
  const made = makeOptions({ dialTimeoutMs: { default: 1, net: 2, local: 3 } })
  t.equal(dialTimeout(made, 'local', 'net'), 3, 'the class counts')
  t.equal(dialTimeout(made, 'net', 'net'), 2)
  t.equal(dialTimeout(made, 'other', 'net'), 2, 'then the protocol')
  t.equal(dialTimeout(made, 'ws', 'ws'), 1, 'then the default')
  t.equal(dialTimeout(made, 'onion', 'onion'), 30 * SECOND, 'what was not named stays')
  t.equal(dialTimeout({ ...made, dialTimeoutMs: {} }, 'net', 'net'), 10 * SECOND)
  t.end()
})

test('backoffMaxMs merges by priority', (t) => {
  t.deepEqual(makeOptions({ backoffMaxMs: { LOW: HOUR } }).backoffMaxMs, {
    HIGH: 10 * MINUTE,
    MEDIUM: 2 * HOUR,
    LOW: HOUR,
  })
  t.end()
})

test('tables of times refuse what is none', (t) => {
  for (const [name, key] of [
    ['dialTimeoutMs', 'net'],
    ['backoffMaxMs', 'HIGH'],
  ] as const) {
    for (const bad of [null, 3, 'net', true, [], () => ({})])
      t.equal(
        refused(() => makeOptions({ [name]: bad })),
        name,
        `${name}: ${String(bad)}`,
      )
    for (const bad of [...NOT_NUMBERS, ...INFINITE, undefined, 0, 0.5, -1, YEAR + 1])
      t.equal(
        refused(() => makeOptions({ [name]: { [key]: bad } })),
        `${name}.${key}`,
        `${name}.${key}: ${String(bad)}`,
      )
    for (const bad of ['', 'High', '1', 'a b', 'BANNED'])
      t.equal(
        refused(() => makeOptions({ [name]: { [bad]: 5 } })),
        name,
        `${name}: ${bad}`,
      )
    t.deepEqual(makeOptions({ [name]: undefined })[name], DEFAULT_OPTIONS[name])
  }
  t.end()
})

// ---- as a whole -------------------------------------------------------------------------------------------------------------

test('options are an object', (t) => {
  for (const bad of [undefined, null, 3, 'x', true, [], () => ({})])
    t.equal(
      refused(() => makeOptions(bad as unknown as Record<string, unknown>)),
      'options',
      String(bad),
    )
  t.deepEqual(makeOptions(Object.assign(Object.create(null) as object, { maxDialing: 3 })).maxDialing, 3)
  t.deepEqual(
    [isPlainObject({}), isPlainObject(null), isPlainObject([]), isPlainObject('x'), isPlainObject(undefined)],
    [true, false, false, false, false],
  )
  t.end()
})

test('unknown names are ignored, as other modules share the object', (t) => {
  const made = makeOptions({ autostart: true, path: '/tmp', constructor: 3, maxDialling: 'typo' })
  t.deepEqual(made, DEFAULT_OPTIONS)
  t.end()
})

test('whose manager it is, and its ties, are not options', (t) => {
  const base = { ...DEFAULT_OPTIONS, selfId: '@x.ed25519', tieKey: [1, 2, 3, 4] }
  const made = makeOptions({ selfId: '@y.ed25519', tieKey: [9], maxDialing: 2 }, base)
  t.deepEqual([made.selfId, made.tieKey, made.maxDialing], ['@x.ed25519', [1, 2, 3, 4], 2])
  const world = new World(base)
  world.add('alice')
  world.dispatch({ type: 'options/changed', options: { ...made, selfId: null, tieKey: [9, 9, 9, 9] } })
  t.deepEqual([world.state.options.selfId, world.state.options.tieKey], ['@x.ed25519', [1, 2, 3, 4]])
  t.equal(world.state.options.maxDialing, 2)
  t.end()
})

test('with a base, what is not given is as in the base, and the base stays as it is', (t) => {
  const base = Object.freeze(makeOptions({ maxDialing: 3, maxByType: { net: 1 }, dialTimeoutMs: { net: 5 } }))
  const made = makeOptions({ maxByType: { ws: 2 }, dialTimeoutMs: { ws: 6 } }, base)
  t.deepEqual([made.maxDialing, made.maxByType.net, made.maxByType.ws], [3, 1, 2])
  t.deepEqual([made.dialTimeoutMs.net, made.dialTimeoutMs.ws], [5, 6])
  t.deepEqual([base.maxByType.ws, base.dialTimeoutMs.ws], [0, undefined])
  t.end()
})
