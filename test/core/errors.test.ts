/** Each class with its code and text, what JSON leaves of it, and the two functions that read hostile values. */
import { readFileSync } from 'fs'
import { join } from 'path'

import fc = require('fast-check')
import test = require('tape')
import ts = require('typescript')

import * as errors from '../../src/core/errors'

const { describe, errorInfo, shorten } = errors
const CAUSE = Object.assign(new TypeError('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' })
const CAUSE_DATA = { name: 'TypeError', message: 'connect ECONNREFUSED 127.0.0.1:1', code: 'ECONNREFUSED' }
const ATTEMPT = { address: 'net:a.b:1~shs:K', code: 'ECONNREFUSED', message: 'refused' }

interface Row {
  readonly error: errors.ConnectionManagerError
  readonly class: new (...args: never[]) => errors.ConnectionManagerError
  readonly code: string
  readonly message: string | RegExp
  /** Own fields beside `code`. */
  readonly fields: object
  readonly cause?: object
}

const ROWS: readonly Row[] = [
  {
    error: new errors.InvalidAddressError('foo', 'no "~shs:KEY"', CAUSE),
    class: errors.InvalidAddressError,
    code: 'ERR_INVALID_ADDRESS',
    message: /^expected a multiserver address such as net:.*; received "foo": no "~shs:KEY"$/,
    fields: { address: 'foo' },
    cause: CAUSE_DATA,
  },
  {
    error: new errors.InvalidAddressError({ host: 1 }, 'no key'),
    class: errors.InvalidAddressError,
    code: 'ERR_INVALID_ADDRESS',
    message: /; received an object with host: no key$/,
    fields: { address: 'an object with host' },
  },
  {
    error: new errors.InvalidArgumentError('max.net', 'a whole number', 'three'),
    class: errors.InvalidArgumentError,
    code: 'ERR_INVALID_ARGUMENT',
    message: 'max.net: expected a whole number, received "three"',
    fields: { argument: 'max.net', expected: 'a whole number', received: '"three"' },
  },
  {
    error: new errors.UnknownPeerError('@a'),
    class: errors.UnknownPeerError,
    code: 'ERR_UNKNOWN_PEER',
    message: 'unknown peer @a',
    fields: { peer: '@a' },
  },
  {
    // The very text of ssb-gossip: ssb-tunnel relies on it.
    error: new errors.NoRouteError('@a'),
    class: errors.NoRouteError,
    code: 'ERR_NO_ROUTE',
    message: 'no known address for peer:@a',
    fields: { peer: '@a' },
  },
  {
    error: new errors.DialFailedError({ address: 'net:a', peer: '@a', cause: CAUSE }),
    class: errors.DialFailedError,
    code: 'ERR_DIAL_FAILED',
    message: 'could not connect to net:a: connect ECONNREFUSED 127.0.0.1:1',
    fields: { address: 'net:a', peer: '@a', attempts: [], attemptCount: 0 },
    cause: CAUSE_DATA,
  },
  {
    error: new errors.DialFailedError({ address: 'net:a', peer: '@a', attempts: [ATTEMPT, ATTEMPT] }),
    class: errors.DialFailedError,
    code: 'ERR_DIAL_FAILED',
    message: 'could not connect to net:a: unknown error (after 2 failed attempts to reach @a)',
    fields: { address: 'net:a', peer: '@a', attempts: [ATTEMPT, ATTEMPT], attemptCount: 2 },
  },
  {
    error: new errors.DialTimeoutError('net:a', 3000),
    class: errors.DialTimeoutError,
    code: 'ERR_DIAL_TIMEOUT',
    message: 'no connection to net:a within 3000 ms',
    fields: { address: 'net:a', timeoutMs: 3000 },
  },
  {
    error: new errors.BannedError('@a'),
    class: errors.BannedError,
    code: 'ERR_BANNED',
    message: 'peer @a is banned',
    fields: { peer: '@a' },
  },
  {
    error: new errors.NotRunningError('initialSync.start'),
    class: errors.NotRunningError,
    code: 'ERR_NOT_RUNNING',
    message: 'initialSync.start: connections are not started, call connections.start()',
    fields: { operation: 'initialSync.start' },
  },
  {
    error: new errors.ListenError('127.0.0.1:8990', 'the port is in use', CAUSE),
    class: errors.ListenError,
    code: 'ERR_LISTEN',
    message: 'the live page cannot be served on 127.0.0.1:8990: the port is in use',
    fields: { place: '127.0.0.1:8990' },
    cause: CAUSE_DATA,
  },
  {
    error: new errors.NameTakenError('gossip'),
    class: errors.NameTakenError,
    code: 'ERR_NAME_TAKEN',
    message: 'another plugin is mounted as sbot.gossip: two connection managers would both dial, so remove one of them',
    fields: { api: 'gossip' },
  },
  {
    error: new errors.MissingPluginError('ssb-ebt'),
    class: errors.MissingPluginError,
    code: 'ERR_MISSING_PLUGIN',
    message: 'the replication scheduler needs ssb-ebt: load it before',
    fields: { plugin: 'ssb-ebt' },
  },
  {
    error: new errors.ClosedError('peer.connect'),
    class: errors.ClosedError,
    code: 'ERR_CLOSED',
    message: 'peer.connect: the connection manager is closed',
    fields: { operation: 'peer.connect' },
  },
  {
    error: new errors.StoredStateError('/a/b.json', 'not JSON', CAUSE),
    class: errors.StoredStateError,
    code: 'ERR_STORED_STATE',
    message: 'stored state /a/b.json cannot be used: not JSON',
    fields: { path: '/a/b.json' },
    cause: CAUSE_DATA,
  },
  {
    error: new errors.StoredStateError('', 'from the future'),
    class: errors.StoredStateError,
    code: 'ERR_STORED_STATE',
    message: 'stored state cannot be used: from the future',
    fields: { path: '' },
  },
  {
    error: new errors.RecordingError(3, 'no such action', CAUSE),
    class: errors.RecordingError,
    code: 'ERR_RECORDING',
    message: 'the recording cannot be replayed: item 3: no such action',
    fields: { item: 3 },
    cause: CAUSE_DATA,
  },
  {
    error: new errors.RecordingError(null, 'it is empty'),
    class: errors.RecordingError,
    code: 'ERR_RECORDING',
    message: 'the recording cannot be replayed: it is empty',
    fields: { item: null },
  },
  {
    error: new errors.RecordingBehindError(50_001),
    class: errors.RecordingBehindError,
    code: 'ERR_RECORDING_BEHIND',
    message: 'the recording has ended, as its reader was 50001 entries behind: what it was given is whole up to here',
    fields: { waiting: 50_001 },
  },
  {
    error: new errors.InvariantError('two connections to @a', CAUSE),
    class: errors.InvariantError,
    code: 'ERR_INVARIANT',
    message: 'broken invariant: two connections to @a',
    fields: {},
    cause: CAUSE_DATA,
  },
]

test('each error has its class, a stable code, a text, its fields, and survives JSON', (t) => {
  for (const row of ROWS) {
    const { error } = row
    const title = row.class.name
    t.ok(error instanceof row.class && error instanceof errors.ConnectionManagerError && error instanceof Error, title)
    t.equal(error.name, row.class.name, `${title}: name`)
    t.equal(error.code, row.code, `${title}: code`)
    if (typeof row.message === 'string') t.equal(error.message, row.message, `${title}: message`)
    else t.match(error.message, row.message, `${title}: message`)
    t.equal(error.cause, row.cause && CAUSE, `${title}: cause`)
    t.match(String(error.stack), /errors\.test\.ts/, `${title}: stack`)
    const { message, name, code } = error
    const data = { name, code, message, ...row.fields, ...(row.cause && { cause: row.cause }) }
    t.deepEqual(JSON.parse(JSON.stringify(error)), data, `${title}: JSON`)
    t.deepEqual({ ...error }, { code, ...row.fields }, `${title}: own fields`)
  }
  t.deepEqual(
    Object.values(errors)
      .filter((value) => Object.getPrototypeOf(value) === errors.ConnectionManagerError)
      .map((value) => value.name)
      .sort(),
    [...new Set(ROWS.map((row) => row.class.name))].sort(),
    'every class is in the table',
  )
  t.end()
})

test('an error stays what it is when old tools compile the package', (t) => {
  const source = readFileSync(join(process.cwd(), 'src/core/errors.ts'), 'utf8')
  for (const target of [ts.ScriptTarget.ES5, ts.ScriptTarget.ES2018]) {
    const { outputText } = ts.transpileModule(source, { compilerOptions: { target, module: ts.ModuleKind.CommonJS } })
    const compiled = { exports: {} as typeof errors }
    new Function('module', 'exports', outputText)(compiled, compiled.exports)
    const { ConnectionManagerError, NoRouteError, BannedError } = compiled.exports
    const error = new NoRouteError('@a')
    const title = ts.ScriptTarget[target]
    t.ok(error instanceof NoRouteError && error instanceof ConnectionManagerError && error instanceof Error, title)
    t.notOk(error instanceof BannedError, `${title}: and no other`)
    t.equal(JSON.parse(JSON.stringify(error)).peer, '@a', `${title}: toJSON`)
  }
  t.end()
})

test('null, as callbacks give it, is no cause', (t) => {
  for (const cause of [null, undefined]) {
    const error = new errors.InvariantError('x', cause)
    t.notOk('cause' in error, 'no property')
    t.deepEqual(Object.keys(error.toJSON()), ['name', 'code', 'message'], 'not in JSON')
  }
  t.end()
})

test('what strangers wrote is shortened before an error keeps it', (t) => {
  const huge = 'x'.repeat(1 << 20)
  const attempts = Array.from({ length: 100 }, () => ({ address: huge, code: huge, message: huge }))
  const all: readonly errors.ConnectionManagerError[] = [
    new errors.InvalidAddressError(huge, huge, huge),
    new errors.InvalidArgumentError(huge, 'less', huge),
    new errors.UnknownPeerError(huge),
    new errors.NoRouteError(huge),
    new errors.DialTimeoutError(huge, 1),
    new errors.BannedError(huge),
    new errors.RecordingError(1, huge, huge),
    new errors.StoredStateError('', huge, { message: huge, code: huge, name: huge }),
  ]
  for (const error of all) t.ok(JSON.stringify(error).length < 2000, error.name)
  t.equal(new errors.InvalidAddressError(huge, '').address.length, 200, 'an address of 200')
  const failed = new errors.DialFailedError({ address: huge, peer: huge, cause: huge, attempts })
  t.equal(failed.attempts.length, 16, 'as many attempts as a peer has routes')
  t.equal(failed.attemptCount, 100, 'the rest is counted')
  t.ok(JSON.stringify(failed).length < 16 * 600 + 2000, failed.name)
  t.end()
})

const throws = () => {
  throw new Error('a trap')
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable([], {})
  revoke()
  return proxy
}

function hostile(): object {
  const handler: Record<string, unknown> = {}
  for (const name of Object.getOwnPropertyNames(Reflect)) handler[name] = throws
  return new Proxy(throws, handler as ProxyHandler<() => never>)
}

const getter = (key: string) => Object.defineProperty(new Error('fine'), key, { get: throws })
const UNREADABLE = 'an object that cannot be read'

const DESCRIPTIONS: ReadonlyArray<readonly [value: unknown, description: string]> = [
  [undefined, 'undefined'],
  [null, 'null'],
  [true, 'true'],
  [0, '0'],
  [-0, '-0'],
  [NaN, 'NaN'],
  [1e21, '1e+21'],
  [BigInt(5), '5n'],
  [BigInt(-5), '-5n'],
  [BigInt(2) ** BigInt(100_000), 'a huge bigint'],
  ['', '""'],
  ['net:a\n"b"\0', '"net:a\\n\\"b\\"\\u0000"'],
  ['x'.repeat(80), `"${'x'.repeat(80)}"`],
  ['x'.repeat(1 << 20), `"${'x'.repeat(59)}…" of 1048576 characters`],
  ['\u0000'.repeat(80), `"${'\\u0000'.repeat(80)}`.slice(0, 119).concat('…')],
  [Symbol('a'), 'Symbol(a)'],
  [Symbol('x'.repeat(1000)), `Symbol(${'x'.repeat(72)}…`],
  [throws, 'a function'],
  [hostile(), 'a function'],
  [[], 'an empty array'],
  [[1, 2], 'an array of length 2'],
  [new Array(1e9), 'an array of length 1000000000'],
  [{}, 'an empty object'],
  [Object.create(null), 'an empty object'],
  [{ host: 1, port: 2 }, 'an object with host, port'],
  [{ a: 1, b: 2, c: 3, d: 4, e: 5, f: 6 }, 'an object with a, b, c, d, e, …'],
  [{ 'a b': 1, ['x'.repeat(99)]: 2 }, `an object with "a b", "${'x'.repeat(19)}…"`],
  [new Date(0), 'an object of type Date'],
  [new Map(), 'an object of type Map'],
  [new String('a'), 'an object of type String'],
  [{ [Symbol.toStringTag]: 'x'.repeat(999) }, `an object of type ${'x'.repeat(39)}…`],
  [new RangeError('too\nbig'), 'an error: "too big"'],
  [getter('message'), 'an error without a message'],
  [new Error(''), 'an error without a message'],
  [{ toString: throws, toJSON: throws, valueOf: throws }, 'an object with toString, toJSON, valueOf'],
  [Object.defineProperty({}, 'a', { get: throws, enumerable: true }), 'an object with a'],
  [Object.defineProperty({}, Symbol.toStringTag, { get: throws }), UNREADABLE],
  [revoked(), UNREADABLE],
  [new Proxy({}, { ownKeys: throws }), UNREADABLE],
  [new Proxy({}, { getPrototypeOf: throws }), UNREADABLE],
]

test('any value is described in a few words, whatever it does when it is looked at', (t) => {
  for (const [index, [value, description]] of DESCRIPTIONS.entries()) {
    t.equal(describe(value), description, `${index}: ${description.slice(0, 40)}`)
  }
  t.end()
})

const INFOS: ReadonlyArray<readonly [error: unknown, message: string, code: string | null]> = [
  [CAUSE, CAUSE_DATA.message, 'ECONNREFUSED'],
  [new Error('plain'), 'plain', null],
  ['a string', 'a string', null],
  ['', 'unknown error', null],
  [' \n ', 'unknown error', null],
  [null, 'unknown error', null],
  [undefined, 'unknown error', null],
  [true, 'the stream ended', null],
  [false, 'false', null],
  [42, '42', null],
  [Symbol('s'), 'Symbol(s)', null],
  [{ message: 'over muxrpc', name: 'Error', stack: '' }, 'over muxrpc', null],
  [{ message: 5, code: 'EFIVE' }, 'EFIVE', 'EFIVE'],
  [{ message: 'number', code: -111 }, 'number', '-111'],
  [{ message: 'object', code: {} }, 'object', null],
  [{ message: 'long', code: 'E'.repeat(1000) }, 'long', `${'E'.repeat(63)}…`],
  [{ message: 'blank', code: ' ' }, 'blank', null],
  [{ some: 'thing' }, 'an object with some', null],
  [[], 'an empty array', null],
  [throws, 'a function', null],
  [
    new Error('shs.client: server hung up when we sent hello (phase 3).\nPossibly we dailed a wrong number.\n\r\t'),
    'shs.client: server hung up when we sent hello (phase 3). Possibly we dailed a wrong number.',
    null,
  ],
  [new Error('\u001b[31mred\u0000\u0085'), '[31mred', null],
  [new Error('x'.repeat(1 << 20)), `${'x'.repeat(299)}…`, null],
  ['x'.repeat(300), 'x'.repeat(300), null],
  [`${'x'.repeat(298)}😀y`, `${'x'.repeat(298)}…`, null],
  [' '.repeat(1 << 20), 'unknown error', null],
  // Only the beginning is looked at.
  [`${' '.repeat(1200)}x`, 'unknown error', null],
  // As Node gives it where a name has several addresses and all refuse.
  [
    Object.assign(new Error(''), { errors: [CAUSE, new Error('second')], code: 'ECONNREFUSED' }),
    CAUSE.message,
    'ECONNREFUSED',
  ],
  [Object.assign(new Error(''), { code: 'EONLY' }), 'EONLY', 'EONLY'],
  [Object.assign(new Error(''), { errors: [] }), 'an error without a message', null],
  [getter('code'), 'fine', null],
  [Object.defineProperty(Object.assign(new Error(''), { code: 'E' }), 'message', { get: throws }), 'E', 'E'],
  [hostile(), 'a function', null],
  [revoked(), UNREADABLE, null],
]

test('anything that was thrown or called back becomes one bounded line and a code', (t) => {
  for (const [index, [error, message, code]] of INFOS.entries())
    t.deepEqual(errorInfo(error), { message, code }, `${index}: ${message.slice(0, 40)}`)
  t.end()
})

test('an error that contains itself is described all the same', (t) => {
  const error: Error & { errors?: unknown } = new Error('')
  error.errors = [error]
  t.equal(errorInfo(error).message, 'an error without a message', 'errorInfo')
  t.equal(describe(error), 'an error without a message', 'describe')
  const wrapped = new errors.InvariantError('x')
  Object.defineProperty(wrapped, 'cause', { value: wrapped })
  t.ok(JSON.stringify(wrapped).length < 500, 'toJSON keeps the outermost cause only')
  t.end()
})

test('no value makes describe or errorInfo throw, and what they give is bounded', (t) => {
  const value = fc.oneof(
    fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true, withSet: true }),
    fc.record({ message: fc.anything(), code: fc.anything(), errors: fc.anything(), name: fc.anything() }),
    fc.string({ unit: 'binary', maxLength: 2000 }),
  )
  const property = fc.property(value, (error) => {
    const description = describe(error)
    const { message, code } = errorInfo(error)
    const json = JSON.stringify(new errors.InvariantError('x', error))
    return (
      description.length <= 120 &&
      message.length > 0 &&
      message.length <= 300 &&
      !/[\n\r\0]/.test(message + description) &&
      (code === null || (code.length > 0 && code.length <= 64)) &&
      json.length < 4000
    )
  })
  const result = fc.check(property, { numRuns: 3000 })
  t.notOk(result.failed, result.failed ? fc.defaultReportMessage(result) : 'bounded')
  t.end()
})

test('a text is shortened to a length, its last pair of surrogates whole or gone', (t) => {
  t.equal(shorten('abc', 3), 'abc')
  t.equal(shorten('abcd', 3), 'ab…')
  t.equal(shorten('a😀bc', 3), 'a…')
  t.equal(shorten('😀😀', 4), '😀😀')
  t.end()
})
