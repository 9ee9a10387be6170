/**
 * The learned part of the state as plain JSON, and back. Pure: what is kept and what is believed is decided here; when to
 * save is the business of shell/persistence.ts, and the disk that of adapters/node-files.ts.
 *
 * Kept is what was said and what was learned. Left out is what can be had again: parsed parts of addresses, ranks, indexes,
 * local routes (they announce themselves), connections, and every field at its default, as most routes of an old account
 * were never dialed.
 *
 * A file may be damaged, edited by hand or by another program, or come from another version, so nothing in it is believed
 * unseen. An entry is taken whole or skipped with a reason: half an entry would be a guess, and the caller keeps a copy of
 * the file. Times in the future are let through; the reducer, which knows the time, brings them down.
 */
import type { StoredPeer, StoredRoute } from './actions'
import { parseAddress, parseCanonical, parseFeedId } from './address'
import { describe, type ErrorInfo, errorInfo, StoredStateError, shorten } from './errors'
import { hasBrought, type Merit, roundedMerit } from './merit'
import { isPlainObject, isRouteData } from './options'
import { own } from './own'
import { PRIORITIES, USER } from './rank'
import { MAX_ERRORS } from './records'
import { isSameStats, statsOf } from './stats'
import type { State } from './table'
import type {
  Address,
  EpochMs,
  FeedId,
  ParsedRoute,
  Peer,
  Priority,
  Route,
  RouteData,
  RouteError,
  Stats,
} from './types'

/** Grows when an older reader would misunderstand what is written. New optional fields are no reason: they are ignored. */
export const SNAPSHOT_VERSION = 1

/** A field that is missing has its default: false, 0, nothing; MEDIUM. In any order. */
export interface Snapshot {
  readonly version: typeof SNAPSHOT_VERSION
  /** What a journal names to say that it goes on from here (journal.ts); missing: there is none. */
  readonly generation?: number
  /** For people and bug reports; not read again. */
  readonly savedAt: EpochMs
  readonly peers: readonly SnapshotPeer[]
  readonly routes: readonly SnapshotRoute[]
}

export interface SnapshotPeer {
  readonly id: FeedId
  readonly priority?: Priority
  readonly isPrioritised?: true
  /** Missing: the user, if `isPrioritised`. */
  readonly prioritisedBy?: string
  readonly isLongTerm?: true
  readonly visitedAt?: EpochMs
  /** What it brought: see merit.ts. Missing: nothing. */
  readonly merit?: Merit
}

export interface SnapshotRoute {
  readonly address: Address
  /** Missing: `stored`. */
  readonly source?: string
  readonly addedAt?: EpochMs
  readonly lastConnectionTime?: EpochMs
  readonly lastErrorTime?: EpochMs
  readonly connectionCount?: number
  readonly errorCount?: number
  readonly backoffStep?: number
  readonly nextAttemptAt?: EpochMs
  /** At most five, newest last. */
  readonly errors?: readonly SnapshotError[]
  /** Mean and deviation follow from these (ms and ms²). */
  readonly duration?: { readonly count: number; readonly sum: number; readonly sqsum: number }
  /** Missing: true. */
  readonly isAutomatic?: false
  readonly data?: RouteData
}

export interface SnapshotError {
  readonly message: string
  readonly code?: string
  readonly at: EpochMs
}

/** Tables as they were read, in the shape that the action `table/loaded` takes. */
export interface StoredTables {
  readonly routes: readonly StoredRoute[]
  readonly peers: readonly StoredPeer[]
  readonly skipped: readonly SkippedEntry[]
}

/** An entry that could not be used. */
export interface SkippedEntry {
  /** Which one, in a few words: its place, and its address or id where it has one. At most 200 characters. */
  readonly entry: string
  readonly error: ErrorInfo
}

/** The limits that errors.ts and the API set; a file may exceed them, the state may not. */
const MAX_MESSAGE = 300
const MAX_CODE = 64
const MAX_SOURCE = 64
const MAX_ENTRY = 200
/** Far above what a lifetime of dials reaches, far below where adding one stops working. */
const MAX_COUNT = 1e9
/** The last moment that a Date can show. */
export const MAX_TIME: EpochMs = 8.64e15
const DEFAULT_SOURCE = 'stored'
const NUMBERS = [
  'addedAt',
  'lastConnectionTime',
  'lastErrorTime',
  'connectionCount',
  'errorCount',
  'backoffStep',
  'nextAttemptAt',
] as const
const DEFAULT_PRIORITY: Priority = 'MEDIUM'

// ---- writing ----------------------------------------------------------------------------------------------------------

/** What is worth keeping of a state. `now`: epoch ms. O(n), about 3 µs for a route that was dialed often. */
export function toSnapshot(state: State, now: EpochMs): Snapshot {
  const peers: SnapshotPeer[] = []
  const routes: SnapshotRoute[] = []
  for (const peer of state.peers.values()) {
    const entry = snapshotPeer(state, peer)
    if (entry) peers.push(entry)
  }
  for (const route of state.routes.values()) if (route.isStored) routes.push(snapshotRoute(route))
  return { version: SNAPSHOT_VERSION, savedAt: now, peers, routes }
}

/**
 * Null where the peer's routes say as much as an entry would: nobody set anything, it has the priority that the sources of
 * its routes give it, and no visit but theirs. A peer without a stored route about whom nothing was said is not kept at
 * all: it would stay in the table for good, as nothing would ever remove it.
 */
export function snapshotPeer(state: State, peer: Peer): SnapshotPeer | null {
  let hasRoute = false
  let visitedAt = 0
  let priority: Priority = 'LOW'
  for (const address of peer.routes) {
    const route = state.routes.get(address)
    if (!route?.isStored) continue
    hasRoute = true
    visitedAt = Math.max(visitedAt, route.lastConnectionTime)
    if (route.source !== 'pub') priority = DEFAULT_PRIORITY
  }
  const { id, isLongTerm } = peer
  const isPrioritised = isSaid(peer)
  const merit = peer.merit !== null && hasBrought(peer.merit) ? peer.merit : null
  const isLearned = peer.visitedAt !== visitedAt || peer.priority !== priority || merit !== null
  if (!isPrioritised && !isLongTerm && !(hasRoute && isLearned)) return null
  const entry: Writable<SnapshotPeer> = { id }
  if (peer.priority !== DEFAULT_PRIORITY) entry.priority = peer.priority
  if (isPrioritised) {
    entry.isPrioritised = isPrioritised
    if (peer.prioritisedBy !== null && peer.prioritisedBy !== USER) entry.prioritisedBy = peer.prioritisedBy
  }
  if (isLongTerm) entry.isLongTerm = isLongTerm
  if (isWorthKeeping(peer.visitedAt)) entry.visitedAt = peer.visitedAt
  if (merit) entry.merit = roundedMerit(merit)
  return entry
}

/**
 * What the user said, and a ban, whoever pronounced it, must outlive the routes of the peer. Other modules say it anew.
 */
function isSaid(peer: { readonly priority: Priority; readonly prioritisedBy: string | null }): boolean {
  return peer.prioritisedBy === USER || peer.priority === 'BANNED'
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** The entry of a route. */
export function snapshotRoute(route: Route): SnapshotRoute {
  const { address, source, errors, duration } = route
  const entry: Writable<SnapshotRoute> = { address }
  if (source !== DEFAULT_SOURCE) entry.source = source
  for (const name of NUMBERS) if (isWorthKeeping(route[name])) entry[name] = route[name]
  if (errors.length > 0) entry.errors = errors.slice(-MAX_ERRORS).map(snapshotError)
  if (duration !== null) entry.duration = { count: duration.count, sum: duration.sum, sqsum: duration.sqsum }
  if (!route.isAutomatic) entry.isAutomatic = false
  if (route.data !== null) entry.data = route.data
  return entry
}

/** Would the entries of two states of a route be the same? What did not change has kept its identity. */
export function isSameStored(a: Route, b: Route): boolean {
  if (a === b) return true
  for (const name of NUMBERS) if (a[name] !== b[name]) return false
  const { source, errorLog, duration, isAutomatic, data } = a
  return (
    source === b.source &&
    // Not `errors`, which are put together anew each time they are asked for.
    errorLog === b.errorLog &&
    isSameStats(duration, b.duration) &&
    isAutomatic === b.isAutomatic &&
    data === b.data
  )
}

/** Are two entries of a peer the same? */
export function isSameEntry(a: SnapshotPeer, b: SnapshotPeer): boolean {
  return (
    a.id === b.id &&
    a.priority === b.priority &&
    a.isPrioritised === b.isPrioritised &&
    a.prioritisedBy === b.prioritisedBy &&
    a.isLongTerm === b.isLongTerm &&
    a.visitedAt === b.visitedAt &&
    JSON.stringify(a.merit) === JSON.stringify(b.merit)
  )
}

/** Not 0, nor NaN or Infinity: JSON would make null of those, and the whole entry would be lost when it is read. */
function isWorthKeeping(value: number): boolean {
  return value > 0 && Number.isFinite(value)
}

function snapshotError({ message, code, at }: RouteError): SnapshotError {
  return code === null ? { message, at } : { message, code, at }
}

/** The text of the file: JSON with a line for each entry, so that people can read and compare it. */
export function stringifySnapshot({ version, savedAt, peers, routes }: Snapshot): string {
  const list = (entries: readonly unknown[]): string =>
    entries.length === 0 ? '[]' : `[\n${entries.map((entry) => JSON.stringify(entry)).join(',\n')}\n]`
  return `{"version":${version},"savedAt":${JSON.stringify(savedAt)},"peers":${list(peers)},"routes":${list(routes)}}\n`
}

// ---- reading ----------------------------------------------------------------------------------------------------------

/**
 * The tables in the text of a file. Throws StoredStateError, and nothing else, if it is no whole snapshot. `path`: where it
 * lies, for the message.
 */
export function parseSnapshot(text: string, path = ''): StoredTables {
  let data: unknown
  try {
    // Some editors put a byte order mark in front.
    data = JSON.parse(text.replace(/^\ufeff/, ''))
  } catch (error) {
    throw new StoredStateError(path, `it is no JSON, ${errorInfo(error).message}`, error)
  }
  return fromSnapshot(data, path)
}

/**
 * The tables in a snapshot, whoever wrote it. Throws StoredStateError, and nothing else, if the whole cannot be used: it is
 * no snapshot, or was written by a newer version, whose file must not be overwritten with what this one understood of it.
 */
export function fromSnapshot(data: unknown, path = ''): StoredTables {
  try {
    return readTables(data)
  } catch (error) {
    throw new StoredStateError(path, errorInfo(error).message, error)
  }
}

/** The lists of a snapshot, whose entries nobody has looked at yet. Throws if it is none. */
export function checkSnapshot(data: unknown): {
  readonly peers: readonly unknown[]
  readonly routes: readonly unknown[]
} {
  if (!isPlainObject(data)) throw new Error(`expected an object, found ${describe(data)}`)
  const version = own(data, 'version')
  if (typeof version === 'number' && version > SNAPSHOT_VERSION)
    throw new Error(`version ${version} is newer than ${SNAPSHOT_VERSION}, the last one known here`)
  if (version !== SNAPSHOT_VERSION) throw new Error(`expected version ${SNAPSHOT_VERSION}, found ${describe(version)}`)
  return { peers: listIn(data, 'peers'), routes: listIn(data, 'routes') }
}

function listIn(data: Readonly<Record<string, unknown>>, name: string): readonly unknown[] {
  const entries = own(data, name)
  if (!Array.isArray(entries)) throw new Error(`expected a list of ${name}, found ${describe(entries)}`)
  return entries
}

function readTables(data: unknown): StoredTables {
  const lists = checkSnapshot(data)
  const peers = readEach('peers', 'id', lists.peers, (entry) => [readStoredPeer(entry)])
  const priorities = new Map<FeedId, Priority>()
  for (const peer of peers.read) if (!priorities.has(peer.id)) priorities.set(peer.id, peer.priority)
  const routes = readEach('routes', 'address', lists.routes, (entry) => [readRoute(entry, priorities)])
  // A peer of whom nothing was said and whose routes are gone is a ghost; see snapshotPeer.
  const reachable = new Set(routes.read.map((stored) => stored.route.peer))
  const isKept = (peer: StoredPeer): boolean => isKeptWithoutRoutes(peer) || reachable.has(peer.id)
  return {
    routes: firstOfEach(routes.read, (stored) => stored.route.address),
    peers: firstOfEach(peers.read, (peer) => peer.id).filter(isKept),
    skipped: [...peers.skipped, ...routes.skipped],
  }
}

export function firstOfEach<T>(entries: readonly T[], keyOf: (entry: T) => string): readonly T[] {
  const seen = new Set<string>()
  return entries.filter((entry) => !seen.has(keyOf(entry)) && seen.add(keyOf(entry)))
}

/** Was anything said about the peer that has to outlive its routes? */
export function isKeptWithoutRoutes(peer: StoredPeer): boolean {
  return peer.prioritisedBy !== null || peer.isLongTerm
}

/**
 * What `read` makes of each entry; those for which it throws are skipped. `list` and `label`: the name of the list and the
 * field by which people know an entry, for the report.
 */
export function readEach<T>(
  list: string,
  label: string,
  entries: readonly unknown[],
  read: (entry: Readonly<Record<string, unknown>>) => readonly T[],
): { readonly read: readonly T[]; readonly skipped: readonly SkippedEntry[] } {
  const all: T[] = []
  const skipped: SkippedEntry[] = []
  for (let i = 0; i < entries.length; i++) {
    try {
      const entry = entries[i]
      if (!isPlainObject(entry)) throw new Error(`expected an object, found ${describe(entry)}`)
      all.push(...read(entry))
    } catch (error) {
      skipped.push({ entry: nameEntry(`${list}[${i}]`, label, entries[i]), error: errorInfo(error) })
    }
  }
  return { read: all, skipped }
}

/** Which entry it is, for a report: its place, and its name where it has one. */
export function nameEntry(place: string, label: string, entry: unknown): string {
  try {
    const name = isPlainObject(entry) ? own(entry, label) : undefined
    return name === undefined ? place : shorten(`${place} ${describe(name)}`, MAX_ENTRY)
  } catch {
    return place
  }
}

/** A peer from its entry. Throws if anything in it is wrong. */
export function readStoredPeer(entry: Readonly<Record<string, unknown>>): StoredPeer {
  const id = parseFeedId(own(entry, 'id'))
  if (id === null) throw new Error(`id: expected a feed id, found ${describe(own(entry, 'id'))}`)
  const priority = readPriority(own(entry, 'priority'))
  return {
    id,
    priority,
    prioritisedBy: readPrioritisedBy(entry, priority),
    isLongTerm: readFlag(entry, 'isLongTerm'),
    visitedAt: readTime(entry, 'visitedAt'),
    merit: readMerit(own(entry, 'merit')),
  }
}

function readMerit(value: unknown): Merit | null {
  if (value === undefined) return null
  if (!isPlainObject(value)) throw new Error(`merit: expected an object, found ${describe(value)}`)
  const messages = own(value, 'messages')
  const coveredMs = own(value, 'coveredMs')
  if (!isAmount(messages)) throw new Error(`merit.messages: expected a number from 0, found ${describe(messages)}`)
  if (!isAmount(coveredMs)) throw new Error(`merit.coveredMs: expected a number from 0, found ${describe(coveredMs)}`)
  return { messages, coveredMs, at: readTime(value, 'at'), broughtAt: readTime(value, 'broughtAt') }
}

/**
 * A route of a peer with an entry carries the priority of that entry: a source that is better than what the peer was known
 * for would raise it in the reducer, and a banned peer would be dialable if its routes were loaded first.
 */
function readRoute(entry: Readonly<Record<string, unknown>>, priorities: ReadonlyMap<FeedId, Priority>): StoredRoute {
  const stored = readStoredRoute(entry)
  const priority = priorities.get(stored.route.peer)
  return priority === undefined ? stored : { ...stored, priority }
}

/** A route from its entry. Throws if anything in it is wrong. */
export function readStoredRoute(entry: Readonly<Record<string, unknown>>): StoredRoute {
  const route = readAddress(own(entry, 'address'))
  return {
    route,
    isLocal: false,
    source: readSource(own(entry, 'source')),
    addedAt: readTime(entry, 'addedAt'),
    lastConnectionTime: readTime(entry, 'lastConnectionTime'),
    lastErrorTime: readTime(entry, 'lastErrorTime'),
    connectionCount: readCount(entry, 'connectionCount'),
    errorCount: readCount(entry, 'errorCount'),
    backoffStep: readCount(entry, 'backoffStep'),
    nextAttemptAt: readTime(entry, 'nextAttemptAt'),
    errors: readErrors(own(entry, 'errors')),
    duration: readDuration(own(entry, 'duration')),
    isAutomatic: readFlag(entry, 'isAutomatic', true),
    data: readRouteData(own(entry, 'data')),
  }
}

function readAddress(value: unknown): ParsedRoute {
  const known = typeof value === 'string' ? parseCanonical(value) : null
  if (known !== null) return known
  const [route, ...more] = parseAddress(value)
  if (!route || more.length > 0) throw new Error(`address: expected one address, found ${more.length + 1}`)
  return route
}

function readPriority(value: unknown): Priority {
  if (value === undefined) return DEFAULT_PRIORITY
  const priority = PRIORITIES.find((name) => name === value)
  if (priority === undefined)
    throw new Error(`priority: expected one of ${PRIORITIES.join(', ')}, found ${describe(value)}`)
  return priority
}

/** A ban that nobody is named for is the user's: as long as nobody is known who would lift it, it must hold. */
function readPrioritisedBy(entry: Readonly<Record<string, unknown>>, priority: Priority): string | null {
  if (!readFlag(entry, 'isPrioritised') && priority !== 'BANNED') return null
  const value = own(entry, 'prioritisedBy')
  return value === undefined ? USER : readSource(value)
}

/** Of no meaning to us: what cannot be used is left out, not the route. */
function readRouteData(value: unknown): RouteData | null {
  return isRouteData(value) ? value : null
}

function readFlag(entry: Readonly<Record<string, unknown>>, name: string, fallback = false): boolean {
  const value = own(entry, name) ?? fallback
  if (typeof value !== 'boolean') throw new Error(`${name}: expected true or false, found ${describe(value)}`)
  return value
}

function readTime(entry: Readonly<Record<string, unknown>>, name: string): EpochMs {
  const value = own(entry, name)
  if (value === undefined) return 0
  if (typeof value !== 'number' || !(value >= 0 && value <= MAX_TIME))
    throw new Error(`${name}: expected milliseconds since 1970, found ${describe(value)}`)
  return value
}

function readCount(entry: Readonly<Record<string, unknown>>, name: string): number {
  const value = own(entry, name)
  if (value === undefined) return 0
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0)
    throw new Error(`${name}: expected a whole number, found ${describe(value)}`)
  return Math.min(value, MAX_COUNT)
}

function readSource(value: unknown): string {
  if (value === undefined) return DEFAULT_SOURCE
  if (typeof value !== 'string' || value === '') throw new Error(`source: expected a word, found ${describe(value)}`)
  return shorten(value, MAX_SOURCE)
}

function readErrors(value: unknown): readonly RouteError[] {
  if (value === undefined) return []
  if (!Array.isArray(value)) throw new Error(`errors: expected a list, found ${describe(value)}`)
  return value.slice(-MAX_ERRORS).map(readError)
}

function readError(entry: unknown): RouteError {
  const found = isPlainObject(entry) ? entry : {}
  const message = own(found, 'message')
  const code = own(found, 'code') ?? null
  if (typeof message !== 'string' || (code !== null && typeof code !== 'string'))
    throw new Error(`errors: expected entries with a message and a code, found ${describe(entry)}`)
  return {
    message: shorten(message, MAX_MESSAGE),
    code: code === null ? null : shorten(code, MAX_CODE),
    at: readTime(found, 'at'),
  }
}

function readDuration(value: unknown): Stats | null {
  if (value === undefined) return null
  const stats = statsFrom(value)
  if (stats === null) throw new Error(`duration: expected {count, sum, sqsum}, found ${describe(value)}`)
  return stats
}

/**
 * Running figures from their sums; null if these are none. Mean and deviation are computed, as `addToStats` does, so that
 * figures which contradict each other cannot come in.
 */
export function statsFrom(value: unknown): Stats | null {
  if (!isPlainObject(value)) return null
  const count = own(value, 'count')
  const sum = own(value, 'sum')
  const sqsum = own(value, 'sqsum')
  if (!isAmount(count) || !isAmount(sum) || !isAmount(sqsum) || !Number.isInteger(count) || count < 1) return null
  return statsOf(count, sum, sqsum)
}

function isAmount(value: unknown): value is number {
  // mean² must not overflow: JSON could not write the deviation.
  return typeof value === 'number' && value >= 0 && value <= 1e100
}
