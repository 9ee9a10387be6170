/**
 * Every option of the policy with its unit, default and reason, and the one function that checks them. Options are part of
 * the state, so that a recorded state replays the same decisions.
 */
import { InvalidArgumentError } from './errors'
import { own } from './own'
import type { DurationMs, FeedId, RouteData } from './types'

export type MaxByType = { readonly [type: string]: number }

export interface Options {
  /** Our own feed id; null when unknown: nothing is refused as `self` then. */
  readonly selfId: FeedId | null
  /** Four 32-bit words: key of the tie-breaking hash, drawn at start. */
  readonly tieKey: readonly number[]
  /** Slots per class. Legacy defaults of the issue; a class that is not named has none. */
  readonly maxByType: MaxByType
  /** Hard limit of a connection that is not long-term; null: none. */
  readonly lifetimeMs: DurationMs | null
  /** Inbound connections before strangers are refused; null: no limit. */
  readonly maxInbound: number | null
  /** Dials in flight that we started by ourselves. geth has 16, go-libp2p 8 per peer; phones have few sockets. */
  readonly maxDialing: number
  readonly dialTimeoutMs: { readonly [type: string]: DurationMs }
  /** Pause between the routes of one peer: one round trip (RFC 8305: 250 ms; go-libp2p: 30 ms on a LAN). */
  readonly staggerMs: DurationMs
  readonly staggerLocalMs: DurationMs
  readonly backoffBaseMs: DurationMs
  readonly backoffMaxMs: { readonly HIGH: DurationMs; readonly MEDIUM: DurationMs; readonly LOW: DurationMs }
  /** A connection of this length takes one step of backoff back (lnd). */
  readonly stableMs: DurationMs
  /** A connection that the other side ends sooner than this counts as a failure for the backoff. */
  readonly briefMs: DurationMs
  /** After this long a connection may make room, caught up or not. */
  readonly dwellMs: DurationMs
  /** Between two visits by rotation in a class, drawn anew for each. */
  readonly rotationMinMs: DurationMs
  readonly rotationMaxMs: DurationMs
  /** Between two visits of a peer that brings a message per hour; others by the inverse cube root (merit.ts). */
  readonly visitMs: DurationMs
  readonly visitMinMs: DurationMs
  readonly visitMaxMs: DurationMs
  /** A visit lasts at least this long. */
  readonly visitStayMs: DurationMs
  /** While a class is full, between two dials to routes that never worked. */
  readonly feelerMs: DurationMs
  /** Since the last transfer: a connection is not cut in the middle of one. */
  readonly transferGraceMs: DurationMs
  /** One dial per window and destination that nobody trusted has vouched for. */
  readonly hostWindowMs: DurationMs
  /** After a hang-up by the user the scheduler keeps away for this long. */
  readonly disconnectHoldMs: DurationMs
  readonly signalWindowMs: DurationMs
  readonly maxRoutesPerPeer: number
  readonly maxRoutes: number
  /** A LOW route without success for this long and with that many failures is forgotten. */
  readonly forgetAfterMs: DurationMs
  readonly forgetAfterFailures: number
}

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

export const DEFAULT_OPTIONS: Options = {
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
}

/**
 * Slots for what the discovery sources of `/conn` find, beside the defaults: tunnels through rooms, phones nearby, peers of
 * invites over the DHT, and web sockets, as ssb-conn dials whatever the stack has a transport for. Few, as its four slots
 * for everything but rooms were few.
 */
export const CONN_SLOTS: MaxByType = { tunnel: 3, bt: 3, dht: 2, ws: 2, wss: 2 }

/** Class names that a user may set; bounded so that a hostile caller cannot fill the state. */
const TYPE_NAME = /^[a-z][a-z0-9-]{0,31}$/
const MAX_TYPES = 32
const MAX_SLOTS = 10_000
/** setTimeout takes 31 bits; nothing of ours needs longer. */
const MAX_DURATION_MS = 365 * DAY

function invalid(argument: string, expected: string, received: unknown): InvalidArgumentError {
  return new InvalidArgumentError(argument, expected, received)
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The given maxima merged over the present ones; checked as a whole before anything is taken. */
export function mergeMaxByType(present: MaxByType, given: unknown): MaxByType {
  if (!isPlainObject(given)) throw invalid('max', 'an object such as {net: 3, onion: 0}', given)
  const merged: Record<string, number> = { ...present }
  for (const type of Object.keys(given)) {
    const value = given[type]
    if (!TYPE_NAME.test(type)) throw invalid('max', 'type names such as net, onion or local', type)
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > MAX_SLOTS)
      throw invalid(`max.${type}`, `a whole number from 0 to ${MAX_SLOTS}`, value)
    merged[type] = value
  }
  if (Object.keys(merged).length > MAX_TYPES) throw invalid('max', `at most ${MAX_TYPES} types`, given)
  return merged
}

/** At most this much is kept with one route for other modules: a room's name and invites fit well. */
export const MAX_ROUTE_DATA = 8_192

/** Plain JSON of a bounded size: what survives the disk and cannot fill it. */
export function isRouteData(value: unknown): value is RouteData {
  if (!isPlainObject(value)) return false
  try {
    return (JSON.stringify(value) ?? '').length <= MAX_ROUTE_DATA
  } catch {
    return false
  }
}

export function checkDuration(argument: string, value: unknown, minMs = 0): DurationMs {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < minMs || value > MAX_DURATION_MS)
    throw invalid(argument, `a number of milliseconds from ${minMs} to ${MAX_DURATION_MS}`, value)
  return value
}

/** A lifetime in ms; null, Infinity and 0 mean none. */
export function checkLifetime(value: unknown): DurationMs | null {
  if (value === null || value === 0 || value === Number.POSITIVE_INFINITY) return null
  return checkDuration('lifetime', value, 1)
}

const DURATIONS = [
  'staggerMs',
  'staggerLocalMs',
  'backoffBaseMs',
  'stableMs',
  'briefMs',
  'dwellMs',
  'rotationMinMs',
  'rotationMaxMs',
  'visitMs',
  'visitMinMs',
  'visitMaxMs',
  'visitStayMs',
  'feelerMs',
  'transferGraceMs',
  'hostWindowMs',
  'disconnectHoldMs',
  'signalWindowMs',
  'forgetAfterMs',
] as const
const COUNTS = ['maxDialing', 'maxRoutesPerPeer', 'maxRoutes', 'forgetAfterFailures'] as const

function mergeDurations(argument: string, present: { readonly [type: string]: number }, given: unknown) {
  if (!isPlainObject(given)) throw invalid(argument, 'an object of milliseconds', given)
  const merged: Record<string, number> = { ...present }
  for (const key of Object.keys(given)) {
    if (!TYPE_NAME.test(key) && !/^(HIGH|MEDIUM|LOW)$/.test(key)) throw invalid(argument, 'names of types', key)
    merged[key] = checkDuration(`${argument}.${key}`, given[key], 1)
  }
  return merged
}

/** The defaults with the given policy options over them. Unknown names are ignored: other modules share the object. */
export function makeOptions(given: Readonly<Record<string, unknown>>, base: Options = DEFAULT_OPTIONS): Options {
  if (!isPlainObject(given)) throw invalid('options', 'an object', given)
  const made: Record<string, unknown> = { ...base }
  for (const name of DURATIONS) if (given[name] !== undefined) made[name] = checkDuration(name, given[name])
  for (const name of COUNTS) {
    const value = given[name]
    if (value === undefined) continue
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > 1_000_000)
      throw invalid(name, 'a whole number from 1 to 1000000', value)
    made[name] = value
  }
  if (given.maxByType !== undefined) made.maxByType = mergeMaxByType(base.maxByType, given.maxByType)
  if (given.dialTimeoutMs !== undefined)
    made.dialTimeoutMs = mergeDurations('dialTimeoutMs', base.dialTimeoutMs, given.dialTimeoutMs)
  if (given.backoffMaxMs !== undefined)
    made.backoffMaxMs = mergeDurations('backoffMaxMs', { ...base.backoffMaxMs }, given.backoffMaxMs)
  if (given.lifetimeMs !== undefined) made.lifetimeMs = checkLifetime(given.lifetimeMs)
  if (given.maxInbound !== undefined) {
    const value = given.maxInbound
    if (value !== null && (typeof value !== 'number' || !Number.isInteger(value) || value < 0))
      throw invalid('maxInbound', 'null or a whole number', value)
    made.maxInbound = value
  }
  const options = made as unknown as Options
  if (options.rotationMaxMs < options.rotationMinMs)
    throw invalid('rotationMaxMs', 'at least rotationMinMs', options.rotationMaxMs)
  if (options.visitMaxMs < options.visitMinMs) throw invalid('visitMaxMs', 'at least visitMinMs', options.visitMaxMs)
  return { ...options, selfId: base.selfId, tieKey: base.tieKey }
}

/** Slots of a class; a class that nobody named has none. */
export function slotsMax(options: Options, routeClass: string): number {
  return own(options.maxByType, routeClass) ?? 0
}

/** How long a dial of this class may take before it is given up. */
export function dialTimeout(options: Options, routeClass: string, protocol: string): DurationMs {
  const table = options.dialTimeoutMs
  return own(table, routeClass) ?? own(table, protocol) ?? own(table, 'default') ?? 10 * SECOND
}
