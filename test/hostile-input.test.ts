/**
 * Hostile input to every public call: each is refused with an error that has a code, and leaves everything as it was.
 * Nothing else is ever thrown, and nothing hangs.
 */
import test = require('tape')

import { type ConnectionManager, createManager } from '../src/manager'
import { seededRandom, virtualClock } from '../src/testing'
import { withTimeout } from './support/eventually'
import { commandsOf } from './support/help'
import { alice, bench, bob, carol, FIRST_ID, serialised } from './support/manager'

// ---- values -----------------------------------------------------------------------------------------------------------

const boom = new Error('boom')
const thrower = (): never => {
  throw boom
}

function revoked(target: object = {}): object {
  const { proxy, revoke } = Proxy.revocable(target, {})
  revoke()
  return proxy
}

/** Whatever is done to it throws. */
function trap(): object {
  return new Proxy(
    {},
    {
      get: thrower,
      has: thrower,
      ownKeys: thrower,
      getOwnPropertyDescriptor: thrower,
      getPrototypeOf: thrower,
      set: thrower,
    },
  )
}

function cyclic(): object {
  const value: Record<string, unknown> = {}
  for (const key of ['address', 'id', 'key', 'host', 'peer', 'self']) value[key] = value
  return value
}

function deep(): object {
  let value: object = {}
  for (let n = 0; n < 10_000; n++) value = { address: value }
  return value
}

interface Hostile {
  readonly title: string
  readonly make: () => unknown
}

const value = (title: string, fixed: unknown): Hostile => ({ title, make: () => fixed })
const made = (title: string, make: () => unknown): Hostile => ({ title, make })

const NOTHING: readonly Hostile[] = [value('undefined', undefined), value('null', null)]
const NUMBERS: readonly Hostile[] = [
  value('0', 0),
  value('-0', -0),
  value('-1', -1),
  value('0.5', 0.5),
  value('NaN', Number.NaN),
  value('1e400', Number.POSITIVE_INFINITY),
  value('-1e400', Number.NEGATIVE_INFINITY),
  value('2^53', 2 ** 53),
  value('10n', BigInt(10)),
]
const BOOLEANS: readonly Hostile[] = [value('true', true), value('false', false)]
const STRINGS: readonly Hostile[] = [
  value('an empty string', ''),
  value('a blank', ' '),
  value('a NUL', '\0'),
  value('a word', 'foo'),
  value('"__proto__"', '__proto__'),
  value('"constructor"', 'constructor'),
  value('"toString"', 'toString'),
  value('half a surrogate pair', '\ud800'),
  value('a megabyte', 'x'.repeat(1_000_000)),
  value('a megabyte of @', '@'.repeat(1_000_000)),
  value('a million joined addresses', `${alice.address};`.repeat(100_000)),
  value('a feed id of another kind', alice.id.replace('.ed25519', '.sha256')),
  value('a feed id that is not canonical', alice.id.replace(/.=\./, 'l=.')),
  value('an address without a key', 'net:alice.example:8008'),
  value('an address with a bad port', alice.address.replace('8008', '99999')),
  value('a transport of every object', alice.address.replace('net:', 'constructor:')),
  value('addresses of two peers', `${alice.address};${bob.address}`),
  value('two transforms', `${alice.address}~shs:${alice.key}`),
]
const OBJECTS: readonly Hostile[] = [
  value('an empty object', {}),
  value('an object without a prototype', Object.create(null)),
  value('an array', []),
  value('an array of an address', [alice.address]),
  value('a sparse array', new Array(2 ** 32 - 1)),
  value('a date', new Date(Number.NaN)),
  value('a map', new Map([['address', alice.address]])),
  value('a regular expression', /x/),
  value('an error', boom),
  value('bytes', Buffer.from(alice.address)),
  value('a boxed string', new String(alice.address)),
  made('a promise', () => Promise.resolve(alice.address)),
  // biome-ignore lint/suspicious/noThenProperty: it is meant to be one
  value('a thenable', { then: thrower }),
  made('a cyclic object', cyclic),
  made('a deep object', deep),
  made('a proxy whose every trap throws', trap),
  made('a revoked proxy', () => revoked()),
  made('a revoked proxy of an array', () => revoked([])),
  value('an object that cannot become a string', {
    toString: thrower,
    valueOf: thrower,
    [Symbol.toPrimitive]: thrower,
  }),
  value('a parsed __proto__', JSON.parse('{"__proto__": {"address": "x"}}')),
]
const SYMBOL = value('a symbol', Symbol('address'))
/** As a last argument they are callbacks; elsewhere just wrong. */
const FUNCTIONS: readonly Hostile[] = [
  made('a function', () => () => {}),
  made('a class', () => class Address {}),
  made('an async function', () => async () => {}),
]
const ANYTHING: readonly Hostile[] = [...NOTHING, ...NUMBERS, ...BOOLEANS, ...STRINGS, ...OBJECTS, SYMBOL]

const without = (list: readonly Hostile[], ...titles: string[]): readonly Hostile[] =>
  list.filter(({ title }) => !titles.includes(title))

// ---- calls ------------------------------------------------------------------------------------------------------------

interface Attack {
  readonly call: string
  readonly kind: 'sync' | 'async' | 'source'
  /** The argument, made of one hostile value. */
  readonly wrap: (hostile: unknown) => unknown
  readonly shape: string
  readonly values: readonly Hostile[]
}

/** A value in place of a field of an otherwise good argument. */
const inField = (name: string, rest: object = {}): Pick<Attack, 'wrap' | 'shape'> => ({
  wrap: (hostile) => ({ ...rest, [name]: hostile }),
  shape: `{${name}}`,
})
/** A getter that throws in place of a field. */
const plain = { wrap: (hostile: unknown) => hostile, shape: '' }

const ADDRESSES = [...ANYTHING, ...FUNCTIONS]
const IDS = without([...ANYTHING, ...FUNCTIONS], 'undefined')
const BOOLEAN_FIELD = without([...ANYTHING, ...FUNCTIONS], 'undefined', 'true', 'false')
const MAYBE = without(ANYTHING, 'undefined', 'null')

const ATTACKS: readonly Attack[] = [
  ...(['addRoute', 'removeRoute', 'setPriority', 'setLongTerm', 'get', 'explain'] as const).map(
    (name): Attack => ({ call: `peer.${name}`, kind: 'sync', ...plain, values: ANYTHING }),
  ),
  ...(['remotePeerConnected', 'remotePeerDisconnected'] as const).map(
    (name): Attack => ({ call: `peer.${name}`, kind: 'sync', ...plain, values: ANYTHING }),
  ),
  ...(['connect', 'disconnect'] as const).map(
    (name): Attack => ({ call: `peer.${name}`, kind: 'async', ...plain, values: ANYTHING }),
  ),
  { call: 'peers', kind: 'source', ...plain, values: without([...STRINGS, ...NUMBERS, ...BOOLEANS, SYMBOL], '') },
  { call: 'initialSync.start', kind: 'sync', ...plain, values: MAYBE },
  { call: 'onPrioritise', kind: 'sync', ...plain, values: ANYTHING },
  {
    call: 'connections.setLifetime',
    kind: 'sync',
    ...plain,
    values: without(ANYTHING, 'null', '0', '-0', '0.5', '1e400'),
  },
  {
    call: 'connections.setMaxByType',
    kind: 'sync',
    ...plain,
    values: [
      ...without(
        ANYTHING,
        // Objects without any name of their own: nothing is asked for.
        'an empty object',
        'an object without a prototype',
        'a date',
        'a map',
        'a regular expression',
        'an error',
        'a promise',
        'an object that cannot become a string',
      ),
      value('33 types', Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`type${n}`, 1]))),
      value('an upper case name', { NET: 1 }),
      value('a name of 33 characters', { ['n'.repeat(33)]: 1 }),
      value('one good, one bad', { net: 1, onion: -1 }),
      value('a getter that throws', Object.defineProperty({}, 'net', { get: thrower, enumerable: true })),
    ],
  },
  {
    call: 'connections.setMaxByType',
    kind: 'sync',
    ...inField('net'),
    values: without([...ANYTHING, ...FUNCTIONS], '0', '-0'),
  },
  { call: 'peer.addRoute', kind: 'sync', ...inField('address'), values: ADDRESSES },
  { call: 'peer.addRoute', kind: 'sync', ...inField('isLocal', { address: carol.address }), values: BOOLEAN_FIELD },
  {
    call: 'peer.addRoute',
    kind: 'sync',
    ...inField('source', { address: carol.address }),
    values: without(
      [...ANYTHING, ...FUNCTIONS],
      // Words, if odd ones.
      ...[
        'undefined',
        'a blank',
        'a NUL',
        'a word',
        '"__proto__"',
        '"constructor"',
        '"toString"',
        'half a surrogate pair',
      ],
      ...['a feed id of another kind', 'a feed id that is not canonical', 'an address without a key'],
    ),
  },
  {
    call: 'peer.addRoute',
    kind: 'sync',
    ...inField('priority', { address: carol.address }),
    values: without([...ANYTHING, ...FUNCTIONS], 'undefined'),
  },
  { call: 'peer.removeRoute', kind: 'sync', ...inField('address'), values: ADDRESSES },
  { call: 'peer.withdrawRoute', kind: 'sync', ...inField('address'), values: ADDRESSES },
  { call: 'peer.setPriority', kind: 'sync', ...inField('address', { priority: 'HIGH' }), values: ADDRESSES },
  {
    call: 'peer.setPriority',
    kind: 'sync',
    ...inField('id', { priority: 'HIGH' }),
    values: [...ANYTHING, ...FUNCTIONS],
  },
  { call: 'peer.setPriority', kind: 'sync', ...inField('id', { priority: 'LOW', address: bob.address }), values: IDS },
  {
    call: 'peer.setPriority',
    kind: 'sync',
    ...inField('priority', { id: alice.id }),
    values: [...ANYTHING, ...FUNCTIONS],
  },
  { call: 'peer.setLongTerm', kind: 'sync', ...inField('address', { isLongTerm: true }), values: ADDRESSES },
  { call: 'peer.setLongTerm', kind: 'sync', ...inField('isLongTerm', { id: alice.id }), values: BOOLEAN_FIELD },
  { call: 'peer.connect', kind: 'async', ...inField('address'), values: ADDRESSES },
  { call: 'peer.connect', kind: 'async', ...inField('id'), values: [...ANYTHING, ...FUNCTIONS] },
  {
    call: 'peer.connect',
    kind: 'async',
    ...inField('address', { id: alice.id }),
    values: without(ADDRESSES, 'undefined'),
  },
  { call: 'peer.connect', kind: 'async', ...inField('isLongTerm', { address: carol.address }), values: BOOLEAN_FIELD },
  { call: 'peer.disconnect', kind: 'async', ...inField('address'), values: ADDRESSES },
  { call: 'peer.disconnect', kind: 'async', ...inField('id'), values: [...ANYTHING, ...FUNCTIONS] },
  { call: 'peer.get', kind: 'sync', ...inField('address'), values: ADDRESSES },
  { call: 'peer.get', kind: 'sync', ...inField('key'), values: ADDRESSES },
  { call: 'peer.explain', kind: 'sync', ...inField('id'), values: [...ANYTHING, ...FUNCTIONS] },
  {
    call: 'peer.explain',
    kind: 'sync',
    ...inField('host', { port: 8008, key: alice.id }),
    values: without(ADDRESSES, 'undefined', 'a word', '"constructor"', '"__proto__"', '"toString"'),
  },
  { call: 'peer.remotePeerConnected', kind: 'sync', ...inField('id'), values: [...ANYTHING, ...FUNCTIONS] },
  { call: 'peer.remotePeerDisconnected', kind: 'sync', ...inField('address'), values: ADDRESSES },
  { call: 'initialSync.start', kind: 'sync', ...inField('address'), values: ADDRESSES },
  { call: 'initialSync.start', kind: 'sync', ...inField('id'), values: [...ANYTHING, ...FUNCTIONS] },
  { call: 'metrics', kind: 'sync', ...plain, values: without([...STRINGS, ...NUMBERS, ...BOOLEANS, SYMBOL]) },
  { call: 'metrics', kind: 'sync', ...inField('format'), values: without([...ANYTHING, ...FUNCTIONS], 'undefined') },
  { call: 'peers', kind: 'source', ...inField('old'), values: BOOLEAN_FIELD },
  { call: 'peers', kind: 'source', ...inField('live'), values: BOOLEAN_FIELD },
]

/** Fields whose getter throws, one at a time, in an otherwise good argument. */
const GETTERS: readonly {
  readonly call: string
  readonly kind: Attack['kind']
  readonly good: object
  readonly fields: readonly string[]
}[] = [
  {
    call: 'peer.addRoute',
    kind: 'sync',
    good: { address: carol.address },
    fields: ['address', 'isLocal', 'source', 'priority'],
  },
  { call: 'peer.removeRoute', kind: 'sync', good: {}, fields: ['address'] },
  { call: 'peer.withdrawRoute', kind: 'sync', good: {}, fields: ['address'] },
  {
    call: 'peer.setPriority',
    kind: 'sync',
    good: { id: alice.id, priority: 'LOW' },
    fields: ['id', 'address', 'priority'],
  },
  { call: 'peer.setLongTerm', kind: 'sync', good: { id: alice.id }, fields: ['id', 'address', 'isLongTerm'] },
  { call: 'peer.connect', kind: 'async', good: { id: bob.id }, fields: ['id', 'address', 'isLongTerm'] },
  { call: 'peer.disconnect', kind: 'async', good: { id: alice.id }, fields: ['id', 'address'] },
  { call: 'peer.get', kind: 'sync', good: { id: alice.id }, fields: ['id', 'address'] },
  {
    call: 'peer.explain',
    kind: 'sync',
    good: { host: 'a.example', port: 1, key: alice.id },
    fields: ['host', 'port', 'key'],
  },
  { call: 'peer.remotePeerConnected', kind: 'sync', good: { id: carol.id }, fields: ['id', 'address'] },
  { call: 'peer.remotePeerDisconnected', kind: 'sync', good: { id: alice.id }, fields: ['id', 'address'] },
  { call: 'initialSync.start', kind: 'sync', good: { id: bob.id }, fields: ['id', 'address'] },
  { call: 'metrics', kind: 'sync', good: {}, fields: ['format'] },
  { call: 'peers', kind: 'source', good: {}, fields: ['old', 'live'] },
  { call: 'connections.setMaxByType', kind: 'sync', good: { net: 1 }, fields: ['net', 'onion'] },
]

type Method = (...args: unknown[]) => unknown

function method(manager: ConnectionManager, name: string): Method {
  let found: unknown = manager
  for (const part of name.split('.')) found = (found as Record<string, unknown>)[part]
  return found as Method
}

/** What came of a call: the error that it ended in, by whichever way is right for its kind, or what went wrong. */
async function outcomeOf(
  call: Method,
  kind: Attack['kind'],
  args: readonly unknown[],
  withCallback: boolean,
): Promise<unknown> {
  let answer: ((error: unknown) => void) | null = null
  const answered = new Promise<unknown>((resolve) => {
    answer = (error) => resolve(error ?? 'called back without an error')
  })
  try {
    if (kind === 'source') {
      const source = call(...args) as (abort: null, cb: (end: unknown, data: unknown) => void) => void
      return await new Promise((resolve) => source(null, (end, data) => resolve(end ?? `gave ${typeof data}`)))
    }
    const returned = withCallback ? call(...args, answer) : call(...args)
    if (withCallback) return await withTimeout(answered, 1_000, 'the callback')
    if (kind === 'sync') return `returned ${typeof returned}`
    return await withTimeout(returned as Promise<unknown>, 1_000, 'the promise').then(
      (result) => `resolved with ${typeof result}`,
      (error: unknown) => error,
    )
  } catch (error) {
    return withCallback ? `threw in spite of its callback: ${String(error)}` : error
  }
}

/** Null if it is an error of ours, short and with a code; else what it is. */
function flawOf(outcome: unknown): string | null {
  if (typeof outcome === 'string') return outcome
  if (!(outcome instanceof Error)) return `no Error but ${typeof outcome}`
  const { code } = outcome as { code?: unknown }
  if (typeof code !== 'string' || !/^ERR_[A-Z_]+$/.test(code)) return `no code: ${outcome.message}`
  if (outcome.message.length > 1_000) return `a message of ${outcome.message.length} characters`
  if (!/received|expected|unknown|banned/.test(outcome.message))
    return `a message that does not help: ${outcome.message}`
  JSON.stringify(outcome)
  return null
}

function target() {
  const made = bench({ selfId: FIRST_ID })
  made.connected(alice.address)
  made.add(bob.address)
  return made
}

let cases = 0

test('hostile arguments are refused with a code, by every call, and change nothing', async (t) => {
  for (const { call, kind, wrap, shape, values } of ATTACKS) {
    const { manager, clock, dials } = target()
    const state = manager.internal.store.getState()
    const before = serialised(manager)
    const flaws: string[] = []
    for (const { title, make } of values)
      for (const withCallback of kind === 'source' || call === 'onPrioritise' ? [false] : [false, true]) {
        cases++
        const flaw = flawOf(await outcomeOf(method(manager, call), kind, [wrap(make())], withCallback))
        if (flaw !== null) flaws.push(`${title}${withCallback ? ' with a callback' : ''}: ${flaw}`)
        if (manager.internal.store.getState() !== state) {
          flaws.push(`${title}: changed the state`)
          break
        }
      }
    clock.advance(1_000)
    t.deepEqual(flaws, [], `${call}(${shape}): ${values.length} values`)
    t.equal(serialised(manager), before, 'nothing has changed')
    t.equal(dials.length, 1, 'nothing was dialed')
  }
})

test('getters that throw are refused with a code, field by field', async (t) => {
  for (const { call, kind, good, fields } of GETTERS)
    for (const field of fields) {
      const { manager } = target()
      const before = manager.internal.store.getState()
      const argument = Object.defineProperty({ ...good }, field, { get: thrower, enumerable: true })
      cases++
      t.equal(flawOf(await outcomeOf(method(manager, call), kind, [argument], false)), null, `${call}({${field}})`)
      t.equal(manager.internal.store.getState(), before, 'nothing has changed')
    }
})

test('a function where an argument should be is taken for the callback, which gets the error', async (t) => {
  const { manager } = target()
  const state = manager.internal.store.getState()
  for (const name of [
    'addRoute',
    'removeRoute',
    'setPriority',
    'setLongTerm',
    'connect',
    'disconnect',
    'get',
    'explain',
    'remotePeerConnected',
    'remotePeerDisconnected',
  ]) {
    cases++
    const error = await withTimeout(new Promise((resolve) => method(manager, `peer.${name}`)(resolve)), 1_000, name)
    t.equal(flawOf(error), null, name)
  }
  t.equal(manager.internal.store.getState(), state)
})

test('a getter that answers differently the second time is read once', (t) => {
  const { manager } = target()
  let reads = 0
  const tricky = {
    get address() {
      return reads++ === 0 ? carol.address : 'nonsense'
    },
  }
  t.equal(manager.peer.addRoute(tricky), true)
  t.equal(reads, 1)
  let priorities = 0
  manager.peer.setPriority({
    id: carol.id,
    get priority() {
      return priorities++ === 0 ? 'LOW' : 'BANNED'
    },
  })
  t.equal(manager.peer.get(carol.id)?.priority, 'LOW')
  t.end()
})

test('names that objects inherit are names like any other', (t) => {
  const { manager, clock } = target()
  for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
    t.equal(
      manager.peer.addRoute({ address: `net:${name.toLowerCase()}:1~shs:${carol.key}`, source: name }),
      true,
      `host and source ${name}`,
    )
    t.equal(manager.peer.get(carol.id)?.routes[0]?.source, name)
    t.equal(manager.peer.removeRoute({ address: `net:${name.toLowerCase()}:1~shs:${carol.key}` }), true)
  }
  manager.connections.setMaxByType({ constructor: 1 })
  manager.connections.start()
  clock.advance(1_000)
  t.equal(
    Object.getOwnPropertyDescriptor(manager.connections.status().classes, 'constructor')?.value.max,
    1,
    'a type of that name',
  )
  t.equal(manager.connections.status().classes.net?.max, 3, 'harms no other')
  t.equal(({} as { max?: unknown }).max, undefined, 'Object.prototype is as ever')
  t.end()
})

// ---- options of the manager -------------------------------------------------------------------------------------------

const connectToPeer = (): void => {}
const DURATIONS = [
  'staggerMs',
  'staggerLocalMs',
  'backoffBaseMs',
  'stableMs',
  'briefMs',
  'dwellMs',
  'rotationMinMs',
  'rotationMaxMs',
  'transferGraceMs',
  'hostWindowMs',
  'disconnectHoldMs',
  'signalWindowMs',
  'forgetAfterMs',
]
const COUNTS = ['maxDialing', 'maxRoutesPerPeer', 'maxRoutes', 'forgetAfterFailures']

const OPTION_ATTACKS: readonly { readonly field: string; readonly values: readonly Hostile[] }[] = [
  { field: 'connectToPeer', values: ANYTHING },
  { field: 'selfId', values: without([...ANYTHING, ...FUNCTIONS], 'undefined', 'null') },
  { field: 'autostart', values: BOOLEAN_FIELD },
  { field: 'probe', values: without(ANYTHING, 'undefined') },
  { field: 'disconnectFromPeer', values: without(ANYTHING, 'undefined') },
  { field: 'onAction', values: without(ANYTHING, 'undefined') },
  ...DURATIONS.map((field) => ({ field, values: without([...ANYTHING, ...FUNCTIONS], 'undefined', '0', '-0', '0.5') })),
  ...COUNTS.map((field) => ({ field, values: without([...ANYTHING, ...FUNCTIONS], 'undefined') })),
  { field: 'lifetimeMs', values: without([...ANYTHING, ...FUNCTIONS], 'undefined', 'null', '0', '-0', '0.5', '1e400') },
  { field: 'maxInbound', values: without([...ANYTHING, ...FUNCTIONS], 'undefined', 'null', '0', '-0', '2^53') },
  ...['maxByType', 'dialTimeoutMs', 'backoffMaxMs'].map((field) => ({
    field,
    values: [
      ...NUMBERS,
      ...STRINGS,
      SYMBOL,
      ...FUNCTIONS,
      value('null', null),
      value('an array', []),
      value('a negative one', { net: -1 }),
      value('a string', { net: '3' }),
      value('NaN', { net: Number.NaN }),
      value('a bad name', { 'a b': 3 }),
      value('a parsed __proto__', JSON.parse('{"__proto__": 3}')),
      made('a proxy whose every trap throws', trap),
      made('a revoked proxy', () => revoked()),
      made('a getter that throws', () => Object.defineProperty({}, 'net', { get: thrower, enumerable: true })),
    ],
  })),
]

test('hostile options make no manager, and an error with a code', (t) => {
  const attempt = (options: unknown): string | null => {
    cases++
    try {
      createManager(options as never).close()
      return 'made a manager'
    } catch (error) {
      return flawOf(error)
    }
  }
  for (const { title, make } of [...ANYTHING, ...FUNCTIONS]) t.equal(attempt(make()), null, `Manager(${title})`)
  for (const { field, values } of OPTION_ATTACKS) {
    const flaws: string[] = []
    for (const { title, make } of values) {
      const flaw = attempt({ connectToPeer, [field]: make() })
      if (flaw !== null) flaws.push(`${title}: ${flaw}`)
    }
    const getter = Object.defineProperty({ connectToPeer }, field, { get: thrower, enumerable: true })
    const flaw = attempt(getter)
    if (flaw !== null) flaws.push(`a getter that throws: ${flaw}`)
    t.deepEqual(flaws, [], `${field}: ${values.length} values`)
  }
  t.equal(attempt({ connectToPeer, rotationMinMs: 10, rotationMaxMs: 5 }), null, 'a minimum above its maximum')
  t.end()
})

// ---- hooks ------------------------------------------------------------------------------------------------------------

interface HookAttack {
  readonly title: string
  readonly hook: (manager: ConnectionManager) => unknown
}

const HOOKS: readonly HookAttack[] = [
  ...[boom, 'a string', undefined, null, 0, Symbol('s'), revoked(), trap(), { code: 'EFAKE' }].map(
    (thrown, index): HookAttack => ({
      title: `throws (${index})`,
      hook: () => {
        throw thrown
      },
    }),
  ),
  ...without([...ANYTHING, ...FUNCTIONS], 'undefined').map(
    ({ title, make }): HookAttack => ({ title: `answers ${title}`, hook: () => make() }),
  ),
  {
    title: 'calls setPriority again without end',
    hook: (manager) => manager.peer.setPriority({ id: alice.id, priority: 'LOW' }),
  },
]

test('a hostile hook vetoes the change with a code, and changes nothing', (t) => {
  for (const { title, hook } of HOOKS) {
    const { manager } = target()
    manager.onPrioritise((() => hook(manager)) as never)
    const state = manager.internal.store.getState()
    for (const change of [
      () => manager.peer.setPriority({ id: alice.id, priority: 'HIGH' }),
      () => manager.peer.addRoute({ address: carol.address, priority: 'LOW' }),
    ]) {
      cases++
      try {
        change()
        t.fail(`${title}: was accepted`)
      } catch (error) {
        const { code, message } = error as { code?: unknown; message: string }
        t.equal(code, 'ERR_HOOK_FAILED', title)
        t.ok(message.length < 1_000, 'in few words')
      }
    }
    t.equal(manager.internal.store.getState(), state, 'nothing has changed')
  }
  t.end()
})

test('a hook that closes the manager, or removes itself, does no harm', (t) => {
  const { manager } = target()
  const remove = manager.onPrioritise(() => remove())
  manager.peer.setPriority({ id: alice.id, priority: 'LOW' })
  t.equal(manager.peer.get(alice.id)?.priority, 'LOW')
  manager.onPrioritise(() => manager.close() as undefined)
  t.throws(() => manager.peer.setPriority({ id: alice.id, priority: 'HIGH' }), { code: 'ERR_CLOSED' })
  t.equal(manager.peer.get(alice.id)?.priority, 'LOW')
  t.end()
})

// ---- what has no arguments --------------------------------------------------------------------------------------------

test('calls without arguments pass over what they are given', (t) => {
  for (const { title, make } of [...ANYTHING, ...without(FUNCTIONS, 'a class')]) {
    const { manager } = target()
    const given = make()
    t.doesNotThrow(() => {
      manager.connections.start(given as never)
      manager.connections.stop(given as never)
      manager.peer.list(given as never)
      manager.connections.status(given as never)
      manager.connections.diagnose(given as never)
      manager.help(given as never)
      manager.initialSync.stop(given as never)
      const { changes, errors, recording } = manager.connections
      const open = [changes, errors, recording, manager.initialSync.progress] as Method[]
      for (const source of open) (source(given) as (abort: true, cb: () => void) => void)(true, () => {})
    }, title)
    manager.close()
  }
  t.end()
})

test('the table is as long as it should be', (t) => {
  t.ok(cases >= 150, `${cases} hostile inputs`)
  const attacked = new Set(ATTACKS.map((attack) => attack.call))
  const manager = createManager({ connectToPeer, clock: virtualClock(), random: seededRandom(1) })
  const noArguments = [
    'peer.list',
    'connections.start',
    'connections.stop',
    'connections.status',
    'connections.diagnose',
    'status',
    'connections.changes',
    'connections.errors',
    'connections.recording',
    'connection.errors',
    'initialSync.stop',
    'initialSync.progress',
    'help',
  ]
  t.deepEqual(
    Object.keys(commandsOf(manager.help())).filter((name) => !attacked.has(name) && !noArguments.includes(name)),
    [],
    'no call was left out',
  )
  t.end()
})
