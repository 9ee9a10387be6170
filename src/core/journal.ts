/**
 * The journal: what has changed since the table was last written whole, a line for each peer or route that is not as it was.
 * Pure, like snapshot.ts; the entries are the same as there. A save is a block of lines, and counts when the line that ends it
 * is there: whatever a crash has cut off, what is read is the table as it was at one of the saves.
 *
 *     {"version":1,"journalOf":1767225600000}
 *     {"route":{"address":"net:…","errorCount":1,…}}
 *     {"noRoute":"net:…"}
 *     {"peer":{"id":"@…","priority":"HIGH"}}
 *     {"noPeer":"@…"}
 *     {"savedAt":1767225661000}
 *
 * `journalOf` is the `generation` of the table that it continues; a journal of another one counts for nothing. All of it is
 * ASCII, so that a character is a byte and its length says where to go on.
 */
import type { StoredPeer, StoredRoute } from './actions'
import { describe, errorInfo } from './errors'
import { isPlainObject } from './options'
import { own } from './own'
import {
  isSameEntry,
  isSameStored,
  readStoredPeer,
  readStoredRoute,
  type SkippedEntry,
  SNAPSHOT_VERSION,
  snapshotPeer,
  snapshotRoute,
} from './snapshot'
import type { State } from './table'
import type { Address, EpochMs, FeedId } from './types'

// ---- writing ----------------------------------------------------------------------------------------------------------

/** The first line. `generation`: of the table that the journal continues. */
export function journalHeader(generation: number): string {
  return `{"version":${SNAPSHOT_VERSION},"journalOf":${generation}}\n`
}

/** The line that ends a save. */
export function journalEnd(savedAt: EpochMs): string {
  return `{"savedAt":${savedAt}}\n`
}

/** That an address is not in the table any more. */
export function removedRouteLine(address: Address): string {
  return lineOf({ noRoute: address })
}

/**
 * What is to be written of a peer and its routes: a line for each entry that differs between `before`, which is on disk, and
 * `after`; empty if none does. Without `before` it is not known what is on disk, and all of the peer is written.
 */
export function changedLines(before: State | null, after: State, id: FeedId): string {
  const wasPeer = before?.peers.get(id)
  const peer = after.peers.get(id)
  let lines = ''
  for (const address of peer?.routes ?? []) {
    const route = after.routes.get(address)
    if (!route?.isStored) continue
    const was = before?.routes.get(address)
    if (!was?.isStored || !isSameStored(was, route)) lines += lineOf({ route: snapshotRoute(route) })
  }
  for (const address of wasPeer?.routes ?? [])
    if (before?.routes.get(address)?.isStored && !after.routes.get(address)?.isStored)
      lines += removedRouteLine(address)
  const entry = peer ? snapshotPeer(after, peer) : null
  const was = before && wasPeer ? snapshotPeer(before, wasPeer) : null
  const isSame = was === null ? entry === null : entry !== null && isSameEntry(was, entry)
  if (before !== null && isSame) return lines
  return lines + (entry === null ? lineOf({ noPeer: id }) : lineOf({ peer: entry }))
}

function lineOf(record: object): string {
  const text = JSON.stringify(record)
  return `${NOT_ASCII.test(text) ? text.replace(EACH_NOT_ASCII, escapeUnit) : text}\n`
}

const NOT_ASCII = /[\u0080-\uffff]/
const EACH_NOT_ASCII = /[\u0080-\uffff]/g

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}

// ---- reading ----------------------------------------------------------------------------------------------------------

/** The last word of the journal about each; null: it is gone. */
export interface JournalRecords {
  readonly peers: ReadonlyMap<FeedId, StoredPeer | null>
  readonly routes: ReadonlyMap<Address, StoredRoute | null>
}

type JournalRecord =
  | { readonly peer: StoredPeer }
  | { readonly route: StoredRoute }
  | { readonly noPeer: FeedId }
  | { readonly noRoute: Address }
  | { readonly savedAt: EpochMs }

/** Reads a journal piece by piece. Never throws: what makes no sense is skipped and counted. */
export class JournalReader {
  readonly peers = new Map<FeedId, StoredPeer | null>()
  readonly routes = new Map<Address, StoredRoute | null>()
  readonly skipped: SkippedEntry[] = []
  /** Characters up to the end of the last whole save: there the next one goes. */
  length = 0
  private rest = ''
  private at = 0
  private position = 0
  private lineCount = 0
  private isOurs: boolean | null = null
  /** Of a save whose end was not seen yet. */
  private pending: JournalRecord[] = []

  /** `generation`: of the table; null for one that has no journal. */
  constructor(private readonly generation: number | null) {}

  /** Is it the journal of this table? False until its first line was read. */
  get isUsable(): boolean {
    return this.isOurs === true
  }

  /** Something lies behind the last whole save: a crash has cut off what came after it. */
  get isTorn(): boolean {
    return this.isUsable && (this.at < this.rest.length || this.position > this.length)
  }

  push(text: string): void {
    this.rest = this.at === this.rest.length ? text : this.rest.slice(this.at) + text
    this.at = 0
  }

  /** Takes in at most `limit` lines; says how many there were, 0 when it needs more text or is of no use. */
  next(limit: number): number {
    let count = 0
    while (count < limit && this.isOurs !== false) {
      const end = this.rest.indexOf('\n', this.at)
      if (end < 0) {
        // A first line is short.
        if (this.isOurs === null && this.rest.length > MAX_HEADER) this.isOurs = false
        break
      }
      const line = this.rest.slice(this.at, end)
      this.position += end + 1 - this.at
      this.at = end + 1
      count++
      this.take(line)
    }
    return count
  }

  private take(line: string): void {
    this.lineCount++
    if (this.isOurs === null) {
      this.isOurs = this.generation !== null && `${line}\n` === journalHeader(this.generation)
      if (this.isOurs) this.length = this.position
      return
    }
    try {
      const record = readRecord(JSON.parse(line))
      if ('savedAt' in record) this.commit()
      else this.pending.push(record)
    } catch (error) {
      this.skipped.push({ entry: `line ${this.lineCount} of the journal`, error: errorInfo(error) })
    }
  }

  private commit(): void {
    for (const record of this.pending) {
      if ('peer' in record) this.peers.set(record.peer.id, record.peer)
      else if ('noPeer' in record) this.peers.set(record.noPeer, null)
      else if ('route' in record) this.routes.set(record.route.route.address, record.route)
      else if ('noRoute' in record) this.routes.set(record.noRoute, null)
    }
    this.pending = []
    this.length = this.position
  }
}

const MAX_HEADER = 200

function readRecord(line: unknown): JournalRecord {
  if (!isPlainObject(line)) throw new Error(`expected an object, found ${describe(line)}`)
  const route = own(line, 'route')
  if (isPlainObject(route)) return { route: readStoredRoute(route) }
  const peer = own(line, 'peer')
  if (isPlainObject(peer)) return { peer: readStoredPeer(peer) }
  const noRoute = own(line, 'noRoute')
  if (typeof noRoute === 'string') return { noRoute }
  const noPeer = own(line, 'noPeer')
  if (typeof noPeer === 'string') return { noPeer }
  const savedAt = own(line, 'savedAt')
  if (typeof savedAt === 'number') return { savedAt }
  throw new Error(`expected a peer, a route, what is gone or the end of a save, found ${describe(line)}`)
}
