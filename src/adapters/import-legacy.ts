/**
 * The tables of older software, read once: `conn.json` of ssb-conn and `gossip.json` of ssb-gossip, in all the shapes that
 * were ever written, as routes and peers that the action `table/loaded` takes. Pure text in, plain data out; who reads the
 * files is node-files.ts, who decides whether to import is shell/persistence.ts. Nothing is written back.
 *
 * The old tables say less than ours, so some of it is read between the lines:
 *
 * - `stateChange` is the last change of any kind. Without a failure since, it is the end (or start) of the last connection;
 *   after one, it is the time of that failure, and when the route last worked is unknown: at least it was not before
 *   `birth`. A route that is claimed to have worked later than it did would be dialed before better ones.
 * - That a route ever worked is shown by a duration or a round trip.
 * - `failure` counts failures in a row; it is the error count and the step of the backoff. No pause is set: the old ones
 *   are over by the time that somebody has changed the software.
 *
 * What was local announces itself and is left out, by the words that ssb-conn itself goes by when it cleans up its table:
 * source or type `local`, `lan` or `bt`.
 *
 * **`autoconnect: false`** means: known, but dialed only by hand, and that is what becomes of it. But for pubs: most such
 * entries were written by ssb-conn itself, for the pubs that it found in messages, and those count as heard of in messages,
 * like those that we find ourselves, at LOW priority. Their first dial is as far away as LOW routes are ever put off (a day),
 * which leaves time to remove them. Where an old ssb-conn had set the mark together with `defunct: true`, after many
 * failures, it is ignored, as later versions took both marks back.
 *
 * Whatever else an entry says (`type`, `name`, `room`, `membership`, …) is the business of the modules that wrote it, and
 * becomes the data of the route.
 */
import type { StoredRoute } from '../core/actions'
import { parseAddress } from '../core/address'
import { describe, errorInfo } from '../core/errors'
import { isPlainObject, isRouteData } from '../core/options'
import { own } from '../core/own'
import { firstOfEach, MAX_TIME, readEach, type StoredTables, statsFrom } from '../core/snapshot'
import type { EpochMs, ParsedRoute, RouteData, RouteError } from '../core/types'
import type { LegacyTexts } from './node-files'

/** A crash of ssb-conn in the middle of a write left the end of a longer text behind the new one. */
const MAX_TRAILING = 10
/** Words such as `manual`, `seed`, `pub`, `friends`, `stored`, `dht`; what does not look like one is not kept. */
const SOURCE = /^[a-z][a-z0-9-]{0,63}$/i
const LOCAL: readonly unknown[] = ['local', 'lan', 'bt']
/** The reducer brings it down to the longest pause that the route's priority allows. */
const AS_LATE_AS_POSSIBLE: EpochMs = MAX_TIME

type Entry = Readonly<Record<string, unknown>>

/** What the route itself knows, or what only the old software went by. */
const KNOWN_FIELDS: ReadonlySet<string> = new Set([
  ...['address', 'host', 'port', 'key', 'source', 'birth', 'failure', 'stateChange', 'duration', 'ping', 'error'],
  ...['state', 'hubBirth', 'hubUpdated', 'stagingBirth', 'stagingUpdated', 'inferredType', 'pool', 'defunct'],
  ...['announcers', 'client', 'stats', 'local', 'active', 'retry', 'verified'],
  // What an assignment would do with it depends on who makes it.
  '__proto__',
])

/**
 * Both tables as one. For an address in both, conn.json counts: ssb-conn began with a copy of gossip.json and learned more
 * since. Never throws: a text that cannot be read is one skipped entry.
 */
export function importLegacy({ connJson, gossipJson }: LegacyTexts): StoredTables {
  const tables = [
    ...(connJson === null ? [] : [importConnJson(connJson)]),
    ...(gossipJson === null ? [] : [importGossipJson(gossipJson)]),
  ]
  return {
    routes: firstOfEach(
      tables.flatMap((table) => table.routes),
      (stored) => stored.route.address,
    ),
    peers: firstOfEach(
      tables.flatMap((table) => table.peers),
      (peer) => peer.id,
    ),
    skipped: tables.flatMap((table) => table.skipped),
  }
}

/** `{[address]: data}`, as of ssb-conn-db. Never throws. */
export function importConnJson(text: string): StoredTables {
  return importTable('conn.json', text, (data) => {
    if (!isPlainObject(data)) throw new Error(`expected an object by address, found ${describe(data)}`)
    return Object.keys(data).map((address) => {
      const entry = own(data, address)
      // What is said of the address may be damaged; the address is the part that cannot be learned again.
      return isPlainObject(entry) ? { ...entry, address } : { address }
    })
  })
}

/**
 * `[{address, key, …}]`, `[{host, port, key, …}]`, or the older `{ts, peers: […]}`, which ssb-gossip took for an empty
 * table. Entries may be bare addresses. Never throws.
 */
export function importGossipJson(text: string): StoredTables {
  return importTable('gossip.json', text, (data) => {
    const list = isPlainObject(data) ? own(data, 'peers') : data
    if (!Array.isArray(list)) throw new Error(`expected a list of peers, found ${describe(data)}`)
    return list.map((entry: unknown) => (typeof entry === 'string' ? { address: entry } : entry))
  })
}

function importTable(file: string, text: string, listOf: (data: unknown) => readonly unknown[]): StoredTables {
  let entries: readonly unknown[]
  try {
    const data = parseJson(text)
    // An empty file is what a crash of the first start left; there was nothing in it.
    entries = data === undefined ? [] : listOf(data)
  } catch (error) {
    return { routes: [], peers: [], skipped: [{ entry: file, error: errorInfo(error) }] }
  }
  const { read, skipped } = readEach(file, 'address', entries, importEntry)
  return { routes: firstOfEach(read, (stored) => stored.route.address), peers: [], skipped }
}

/** As ssb-conn's own reader: what cannot be parsed is tried again with its end cut off. Undefined for an empty text. */
function parseJson(text: string): unknown {
  const trimmed = text.replace(/^\ufeff/, '').trimEnd()
  if (trimmed === '') return undefined
  for (let cut = 0; cut <= MAX_TRAILING; cut++) {
    try {
      return JSON.parse(trimmed.slice(0, trimmed.length - cut))
    } catch (error) {
      if (cut === MAX_TRAILING) throw error
    }
  }
  return undefined
}

function importEntry(entry: Entry): readonly StoredRoute[] {
  const source = own(entry, 'source')
  const type = own(entry, 'type')
  if (LOCAL.includes(source) || LOCAL.includes(type)) return []
  const parsed = parseEntry(entry)
  const isByHand = isFalse(own(entry, 'autoconnect')) && own(entry, 'defunct') !== true
  const isPubOfMessages = isByHand && type === 'pub'
  const knownSource = typeof source === 'string' && SOURCE.test(source) ? source : 'stored'
  const data = dataOf(entry)
  return parsed.map(
    (route, i): StoredRoute => ({
      route,
      isLocal: false,
      source: isPubOfMessages ? 'pub' : knownSource,
      ...(isPubOfMessages ? { priority: 'LOW' } : {}),
      // Of several addresses in one entry, the old software dialed the first only.
      ...learned(i === 0 ? entry : { birth: own(entry, 'birth') }),
      nextAttemptAt: isPubOfMessages ? AS_LATE_AS_POSSIBLE : 0,
      ...(isByHand && !isPubOfMessages ? { isAutomatic: false } : {}),
      ...(data === null ? {} : { data }),
    }),
  )
}

/** What other modules have kept with an entry; null for nothing, and for what is too much to keep. */
function dataOf(entry: Entry): RouteData | null {
  const data: Record<string, unknown> = {}
  for (const name of Object.keys(entry)) {
    const isMark = name === 'autoconnect' && entry[name] !== true
    if (!KNOWN_FIELDS.has(name) && !isMark) data[name] = entry[name]
  }
  return Object.keys(data).length > 0 && isRouteData(data) ? data : null
}

/** The address counts, as it is what would be dialed; the other fields, where it lacks the key or is missing. */
function parseEntry(entry: Entry): ParsedRoute[] {
  const address = own(entry, 'address')
  const key = own(entry, 'key')
  const host = own(entry, 'host')
  const forms: readonly unknown[] = [
    ...(typeof address === 'string' && address !== '' ? [address] : []),
    ...(host === undefined ? [] : [{ host, port: own(entry, 'port'), key }]),
    // Last, as with a key any word is an address: it may name a transport that is not known here.
    ...(typeof address === 'string' && address !== '' ? [{ address, key }] : []),
  ]
  let firstError: unknown = null
  for (const form of forms) {
    try {
      return parseAddress(form)
    } catch (error) {
      firstError = firstError ?? error
    }
  }
  throw firstError ?? new Error('expected an address, or host, port and key')
}

/** The command line stored option values as strings. */
function isFalse(value: unknown): boolean {
  return value === false || value === 'false'
}

function learned(
  entry: Entry,
): Omit<StoredRoute, 'route' | 'isLocal' | 'source' | 'priority' | 'nextAttemptAt' | 'isAutomatic' | 'data'> {
  const changedAt = timeOf(own(entry, 'stateChange'))
  const bornAt = timeOf(own(entry, 'birth'))
  const duration = statsFrom(own(entry, 'duration'))
  const failureCount = countOf(own(entry, 'failure'))
  const hasWorked = duration !== null || hasPinged(own(entry, 'ping'))
  const hasFailed = failureCount > 0
  return {
    addedAt: bornAt > 0 ? bornAt : changedAt,
    lastConnectionTime: !hasWorked ? 0 : hasFailed ? Math.min(bornAt, changedAt) : changedAt,
    lastErrorTime: hasFailed ? changedAt : 0,
    connectionCount: Math.max(duration === null ? 0 : duration.count, hasWorked ? 1 : 0),
    errorCount: failureCount,
    backoffStep: Math.min(failureCount, MAX_BACKOFF_STEP),
    errors: hasFailed ? errorsOf(own(entry, 'error'), changedAt) : [],
    duration,
  }
}

/** As far as the reducer counts; the pause has reached its ceiling long before. */
const MAX_BACKOFF_STEP = 40
const MAX_FAILURES = 1e9

function hasPinged(ping: unknown): boolean {
  return isPlainObject(ping) && statsFrom(own(ping, 'rtt')) !== null
}

function timeOf(value: unknown): EpochMs {
  return typeof value === 'number' && value > 0 && value <= MAX_TIME ? value : 0
}

function countOf(value: unknown): number {
  return typeof value === 'number' && value > 0 ? Math.min(Math.floor(value), MAX_FAILURES) : 0
}

/** ssb-gossip keeps the stack of the last error as text. */
function errorsOf(value: unknown, at: EpochMs): readonly RouteError[] {
  if (typeof value !== 'string' || value.trim() === '') return []
  const [firstLine = ''] = value.trim().split('\n', 1)
  const { message } = errorInfo(firstLine.replace(/^Error: /, ''))
  return [{ message, code: null, at }]
}
