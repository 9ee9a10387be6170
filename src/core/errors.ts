/**
 * The errors of the package, and the two functions that turn hostile values into short, safe text. Errors are thrown
 * for misuse and broken invariants; an expected failure, such as a dial, travels as data and becomes an error only at
 * the edge. Callers branch on `code`, which is stable; the text is for people and may change.
 *
 * Every field is bounded, because parts of it (addresses, messages of the other side) are written by strangers and end
 * in logs, in the state and on the wire.
 */

/** Longest text that an error keeps of something that a stranger wrote, in UTF-16 units. */
const MAX_MESSAGE = 300
const MAX_ADDRESS = 200
const MAX_DESCRIPTION = 120
const MAX_CODE = 64
/** Attempts that an error lists; as many as a peer has routes by default. */
const MAX_ATTEMPTS = 16

export interface ErrorInfo {
  /** One line, never empty, at most 300 characters. */
  readonly message: string
  /** `ECONNREFUSED`, `ERR_DIAL_TIMEOUT`, …; null where the failure carries none. At most 64 characters. */
  readonly code: string | null
}

export interface CauseData extends ErrorInfo {
  readonly name: string
}

/** What is left of an error after JSON: `name`, `code`, `message`, the fields of its class and the outermost cause. */
export interface ErrorData {
  readonly name: string
  readonly code: string
  readonly message: string
  readonly cause?: CauseData
  readonly [field: string]: unknown
}

/** One failed try to reach a peer by one of its routes. */
export interface AttemptInfo extends ErrorInfo {
  readonly address: string
}

/**
 * The base of every error here. `code` and the fields of the subclasses are own enumerable properties, all of them JSON
 * data; `name`, `message`, `stack` and `cause` are not enumerable, as with native errors.
 */
export class ConnectionManagerError extends Error {
  readonly code: string

  constructor(name: string, code: string, message: string, cause?: unknown) {
    super(message)
    // Old bundlers compile node_modules to ES5, where `super()` of Error returns a plain Error and instanceof fails.
    Object.setPrototypeOf(this, new.target.prototype)
    // A literal, not constructor.name: minifiers rename classes.
    Object.defineProperty(this, 'name', { value: name, configurable: true, writable: true })
    // Not by the second argument of Error: Node 16.0 to 16.8 and the phones' engines ignore it.
    if (cause !== undefined && cause !== null)
      Object.defineProperty(this, 'cause', { value: cause, configurable: true, writable: true })
    this.code = code
  }

  /** Survives JSON over muxrpc, where an Error alone would become `{}`. */
  toJSON(): ErrorData {
    const data: Record<string, unknown> = { name: this.name, code: this.code, message: this.message }
    const fields = this as unknown as Readonly<Record<string, unknown>>
    for (const key of Object.keys(fields)) data[key] = fields[key]
    if (this.cause !== undefined) data.cause = causeData(this.cause)
    return data as ErrorData
  }
}

/** The input is no address that could ever be dialed. `address`: what came, at most 200 characters. */
export class InvalidAddressError extends ConnectionManagerError {
  readonly address: string

  /** `reason`: what is wrong, a clause without capital and full stop. */
  constructor(received: unknown, reason: string, cause?: unknown) {
    super(
      'InvalidAddressError',
      'ERR_INVALID_ADDRESS',
      'expected a multiserver address such as net:example.com:8008~shs:KEY, several joined by ";", ' +
        `host:port:@KEY.ed25519 or {host, port, key}; received ${describe(received)}: ${shorten(reason, MAX_MESSAGE)}`,
      cause,
    )
    this.address = typeof received === 'string' ? shorten(received, MAX_ADDRESS) : describe(received)
  }
}

/** A call was given something else than it takes. `received` is a description, never the value itself. */
export class InvalidArgumentError extends ConnectionManagerError {
  readonly argument: string
  readonly expected: string
  readonly received: string

  constructor(argument: string, expected: string, received: unknown) {
    const description = describe(received)
    const name = shorten(argument, MAX_DESCRIPTION)
    super('InvalidArgumentError', 'ERR_INVALID_ARGUMENT', `${name}: expected ${expected}, received ${description}`)
    this.argument = name
    this.expected = expected
    this.received = description
  }
}

/** The peer is not in the table. */
export class UnknownPeerError extends ConnectionManagerError {
  readonly peer: string

  constructor(peer: string) {
    const id = shorten(peer, MAX_ADDRESS)
    super('UnknownPeerError', 'ERR_UNKNOWN_PEER', `unknown peer ${id}`)
    this.peer = id
  }
}

/** The peer has no route to dial. The text is the one of ssb-gossip: users of ssb-tunnel see it and match on it. */
export class NoRouteError extends ConnectionManagerError {
  readonly peer: string

  constructor(peer: string) {
    const id = shorten(peer, MAX_ADDRESS)
    super('NoRouteError', 'ERR_NO_ROUTE', `no known address for peer:${id}`)
    this.peer = id
  }
}

/**
 * A peer could not be reached. `address`: the route that `cause` belongs to, the last one tried. `attempts`: one entry
 * per failed try, at most 16; `attemptCount` counts them all.
 */
export class DialFailedError extends ConnectionManagerError {
  readonly address: string
  readonly peer: string
  readonly attempts: readonly AttemptInfo[]
  readonly attemptCount: number

  constructor(dial: {
    readonly address: string
    readonly peer: string
    readonly cause?: unknown
    readonly attempts?: readonly AttemptInfo[]
  }) {
    const address = shorten(dial.address, MAX_ADDRESS)
    const peer = shorten(dial.peer, MAX_ADDRESS)
    const attempts = dial.attempts ?? []
    super(
      'DialFailedError',
      'ERR_DIAL_FAILED',
      `could not connect to ${address}: ${errorInfo(dial.cause).message}` +
        (attempts.length > 1 ? ` (after ${attempts.length} failed attempts to reach ${peer})` : ''),
      dial.cause,
    )
    this.address = address
    this.peer = peer
    this.attempts = attempts.slice(0, MAX_ATTEMPTS).map((attempt) => ({
      address: shorten(attempt.address, MAX_ADDRESS),
      code: attempt.code === null ? null : shorten(attempt.code, MAX_CODE),
      message: shorten(attempt.message, MAX_MESSAGE),
    }))
    this.attemptCount = attempts.length
  }
}

/** A dial was given up after `timeoutMs`. */
export class DialTimeoutError extends ConnectionManagerError {
  readonly address: string
  readonly timeoutMs: number

  constructor(address: string, timeoutMs: number) {
    const { message } = dialTimeoutInfo(address, timeoutMs)
    super('DialTimeoutError', 'ERR_DIAL_TIMEOUT', message)
    this.address = shorten(address, MAX_ADDRESS)
    this.timeoutMs = timeoutMs
  }
}

/** What a `DialTimeoutError` says, without the cost of one: most are read by nobody. */
export function dialTimeoutInfo(address: string, timeoutMs: number): ErrorInfo {
  return {
    code: 'ERR_DIAL_TIMEOUT',
    message: `no connection to ${shorten(address, MAX_ADDRESS)} within ${timeoutMs} ms`,
  }
}

/** The peer is banned: it is neither dialed nor let in. */
export class BannedError extends ConnectionManagerError {
  readonly peer: string

  constructor(peer: string) {
    const id = shorten(peer, MAX_ADDRESS)
    super('BannedError', 'ERR_BANNED', `peer ${id} is banned`)
    this.peer = id
  }
}

/** The call needs a started manager. `operation`: its name, such as `initialSync.start`. */
export class NotRunningError extends ConnectionManagerError {
  readonly operation: string

  constructor(operation: string) {
    super('NotRunningError', 'ERR_NOT_RUNNING', `${operation}: connections are not started, call connections.start()`)
    this.operation = operation
  }
}

/** Another plugin is mounted under a name of ours. `api`: the name on the stack. */
export class NameTakenError extends ConnectionManagerError {
  readonly api: string

  constructor(api: string) {
    super(
      'NameTakenError',
      'ERR_NAME_TAKEN',
      `another plugin is mounted as sbot.${api}: two connection managers would both dial, so remove one of them`,
    )
    this.api = api
  }
}

/** A plugin that another one cannot do without is not on the stack, or was loaded after it. */
export class MissingPluginError extends ConnectionManagerError {
  readonly plugin: string

  constructor(plugin: string, who = 'the replication scheduler', remedy = 'load it before') {
    super('MissingPluginError', 'ERR_MISSING_PLUGIN', `${who} needs ${plugin}: ${remedy}`)
    this.plugin = plugin
  }
}

/** The live page cannot be served. `place`: host and port. */
export class ListenError extends ConnectionManagerError {
  readonly place: string

  /** `reason`: what is wrong and what to do, a clause without capital and full stop. */
  constructor(place: string, reason: string, cause?: unknown) {
    super(
      'ListenError',
      'ERR_LISTEN',
      `the live page cannot be served on ${place}: ${shorten(reason, MAX_MESSAGE)}`,
      cause,
    )
    this.place = place
  }
}

/** The manager is closed for good. */
export class ClosedError extends ConnectionManagerError {
  readonly operation: string

  constructor(operation: string) {
    super('ClosedError', 'ERR_CLOSED', `${operation}: the connection manager is closed`)
    this.operation = operation
  }
}

/** The file with the table cannot be used. `path`: where it lies, '' if it has no path. */
export class StoredStateError extends ConnectionManagerError {
  readonly path: string

  /** `reason`: what is wrong, a clause without capital and full stop. */
  constructor(path: string, reason: string, cause?: unknown) {
    super(
      'StoredStateError',
      'ERR_STORED_STATE',
      `stored state ${path === '' ? '' : `${path} `}cannot be used: ${shorten(reason, MAX_MESSAGE)}`,
      cause,
    )
    this.path = path
  }
}

/** A recording cannot be replayed. `item`: the place in it of what is wrong, counted from 0; null where it is the whole. */
export class RecordingError extends ConnectionManagerError {
  readonly item: number | null

  /** `reason`: what is wrong, a clause without capital and full stop. */
  constructor(item: number | null, reason: string, cause?: unknown) {
    super(
      'RecordingError',
      'ERR_RECORDING',
      `the recording cannot be replayed: ${item === null ? '' : `item ${item}: `}${shorten(reason, MAX_MESSAGE)}`,
      cause,
    )
    this.item = item
  }
}

/** More has happened than a reader of `connections.recording()` took in time. What it was given until then is whole. */
export class RecordingBehindError extends ConnectionManagerError {
  /** How many entries were waiting. */
  readonly waiting: number

  constructor(waiting: number) {
    super(
      'RecordingBehindError',
      'ERR_RECORDING_BEHIND',
      `the recording has ended, as its reader was ${waiting} entries behind: what it was given is whole up to here`,
    )
    this.waiting = waiting
  }
}

/** The state contradicts itself: a fault of ours, not of the caller. */
export class InvariantError extends ConnectionManagerError {
  constructor(broken: string, cause?: unknown) {
    super('InvariantError', 'ERR_INVARIANT', `broken invariant: ${broken}`, cause)
  }
}

/**
 * Anything that was thrown, called back or ended a stream with, as one bounded line and a code. Never throws, whatever
 * `error` is: it may come from any transport, and over muxrpc from the other side.
 */
export function errorInfo(error: unknown): ErrorInfo {
  try {
    return { message: messageOf(error, 0), code: codeOf(error) }
  } catch {
    return { message: 'an error that cannot be read', code: null }
  }
}

function messageOf(error: unknown, depth: number): string {
  if (error === undefined || error === null) return 'unknown error'
  // Pull streams end with `true`.
  if (error === true) return 'the stream ended'
  if (typeof error === 'string') return oneLine(error) || 'unknown error'
  if (typeof error !== 'object' && typeof error !== 'function') return describe(error)
  const message = ownMessage(error)
  if (message) return message
  // Node's AggregateError, when a name resolves to several hosts and all refuse, has an empty message and a list.
  const list = read(error, 'errors')
  if (depth === 0 && Array.isArray(list) && list.length > 0) return messageOf(list[0], 1)
  return codeOf(error) ?? describe(error)
}

/** The text that an error carries itself, '' if it has none. */
function ownMessage(error: object): string {
  const message = read(error, 'message')
  return typeof message === 'string' ? oneLine(message) : ''
}

function codeOf(error: unknown): string | null {
  if ((typeof error !== 'object' && typeof error !== 'function') || error === null) return null
  const code = read(error, 'code')
  if (typeof code === 'number') return String(code)
  return typeof code === 'string' ? oneLine(code, MAX_CODE) || null : null
}

function causeData(cause: unknown): CauseData {
  const name = typeof cause === 'object' && cause !== null ? read(cause, 'name') : undefined
  return { name: typeof name === 'string' ? oneLine(name, MAX_CODE) || 'Error' : 'Error', ...errorInfo(cause) }
}

/** A property, or undefined where its getter throws. */
function read(value: object, key: string): unknown {
  try {
    return (value as Readonly<Record<string, unknown>>)[key]
  } catch {
    return undefined
  }
}

/**
 * The errors of secret-handshake have several lines, and a hostile peer's may have megabytes: cut first, then clean.
 */
function oneLine(text: string, max = MAX_MESSAGE): string {
  const start = text.slice(0, 4 * max).replace(/[\s\p{Cc}]+/gu, ' ')
  return shorten(start.trim(), max)
}

/** At most `max` UTF-16 units, the last one `…` where something was cut off. No surrogate pair is cut in half. */
export function shorten(text: string, max: number): string {
  if (text.length <= max) return text
  return `${text.slice(0, max - 1).replace(/[\ud800-\udbff]$/, '')}…`
}

/**
 * What a value is, in at most 120 characters, for messages of the kind "expected …, received …". Never throws: getters
 * that throw, revoked proxies, symbols and huge values are all described. Traps and getters of a proxy may run.
 */
export function describe(value: unknown): string {
  try {
    return shorten(describeValue(value), MAX_DESCRIPTION)
  } catch {
    return 'an object that cannot be read'
  }
}

function describeValue(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return value.length <= 80
        ? JSON.stringify(value)
        : `${JSON.stringify(shorten(value, 60))} of ${value.length} characters`
    case 'number':
      return Object.is(value, -0) ? '-0' : String(value)
    case 'bigint':
      // The digits of a huge one take quadratic time.
      return value > -1e21 && value < 1e21 ? `${value}n` : 'a huge bigint'
    case 'symbol':
      return shorten(String(value), 80)
    case 'function':
      return 'a function'
    case 'object':
      return value === null ? 'null' : describeObject(value)
    default:
      return String(value)
  }
}

function describeObject(value: object): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : `an array of length ${value.length}`
  if (value instanceof Error) {
    const message = ownMessage(value)
    return message ? `an error: ${JSON.stringify(message)}` : 'an error without a message'
  }
  const kind = Object.prototype.toString.call(value).slice('[object '.length, -1)
  if (kind !== 'Object') return `an object of type ${shorten(oneLine(kind), 40)}`
  const keys = Object.keys(value)
  if (keys.length === 0) return 'an empty object'
  const shown = keys.slice(0, 5).map((key) => (/^[\w$]{1,20}$/.test(key) ? key : JSON.stringify(shorten(key, 20))))
  return `an object with ${shown.join(', ')}${keys.length > 5 ? ', …' : ''}`
}
