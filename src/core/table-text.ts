/**
 * The whole table as text, in pieces: written a few entries at a time and read a few lines at a time, so that a table of
 * 100 000 routes never holds up the event loop. The text is the one of snapshot.ts, JSON with a line for each entry. Pure:
 * whoever calls decides when a turn was long enough.
 *
 * What is wanted first stands first: the peers that worked last, and nothing of the order is relied upon when it is read.
 */
import type { StoredPeer, StoredRoute } from './actions'
import { describe, errorInfo, StoredStateError } from './errors'
import type { JournalRecords } from './journal'
import { isPlainObject } from './options'
import {
  checkSnapshot,
  isKeptWithoutRoutes,
  nameEntry,
  readStoredPeer,
  readStoredRoute,
  type SkippedEntry,
  SNAPSHOT_VERSION,
  snapshotPeer,
  snapshotRoute,
} from './snapshot'
import type { State } from './table'
import type { Address, EpochMs, FeedId, Peer, Priority } from './types'

// ---- writing ----------------------------------------------------------------------------------------------------------

/** Entries that are looked at for one piece. */
export const PIECE_ENTRIES = 64
const HOUR_MS = 3_600_000
/** Peers by how much they are wanted; a doubling of the time since the last success is one step. */
const NEVER_WORKED = 32
const LAST = 33

/**
 * The text of the table, piece by piece; a piece may be empty, which is a good moment for a pause. `generation`: what ties a
 * journal to it; null if it has none.
 */
export function* tablePieces(state: State, now: EpochMs, generation: number | null): Generator<string, void> {
  const peers: Peer[][] = []
  let count = 0
  for (const peer of state.peers.values()) {
    const step = stepOf(state, peer, now)
    const list = peers[step]
    if (list) list.push(peer)
    else peers[step] = [peer]
    if (++count % PIECE_ENTRIES === 0) yield ''
  }
  const named = generation === null ? '' : `,"generation":${generation}`
  yield `{"version":${SNAPSHOT_VERSION},"savedAt":${JSON.stringify(now)}${named},"peers":`
  yield* listPieces(peers, (peer) => {
    const entry = snapshotPeer(state, peer)
    return entry ? [entry] : []
  })
  yield ',"routes":'
  yield* listPieces(peers, (peer) => {
    const entries: object[] = []
    for (const address of peer.routes) {
      const route = state.routes.get(address)
      if (route?.isStored) entries.push(snapshotRoute(route))
    }
    return entries
  })
  yield '}\n'
}

function* listPieces(
  peers: readonly (readonly Peer[] | undefined)[],
  entriesOf: (peer: Peer) => readonly object[],
): Generator<string, void> {
  let separator = '[\n'
  let count = 0
  let piece = ''
  for (const list of peers)
    for (const peer of list ?? []) {
      for (const entry of entriesOf(peer)) {
        piece += separator + JSON.stringify(entry)
        separator = ',\n'
      }
      if (++count % PIECE_ENTRIES !== 0) continue
      yield piece
      piece = ''
    }
  yield piece + (separator === '[\n' ? '[]' : '\n]')
}

function stepOf(state: State, peer: Peer, now: EpochMs): number {
  if (peer.priority === 'BANNED') return LAST
  if (peer.isLongTerm) return 0
  let lastAt = 0
  for (const address of peer.routes) lastAt = Math.max(lastAt, state.routes.get(address)?.lastConnectionTime ?? 0)
  if (lastAt === 0) return NEVER_WORKED
  const step = 2 + Math.floor(Math.log2(1 + Math.max(0, now - lastAt) / HOUR_MS))
  return Math.min(peer.priority === 'HIGH' ? 1 : step, NEVER_WORKED - 1)
}

// ---- reading ----------------------------------------------------------------------------------------------------------

/** What there is to be done next. */
export type TableStep =
  /** The reader waits for `push` or `end`. */
  | { readonly kind: 'more' }
  /** The reader waits for `useJournal`. */
  | { readonly kind: 'journal' }
  /** Some of the table, peers before their routes; `lineCount`: what it cost. */
  | {
      readonly kind: 'tables'
      readonly peers: readonly StoredPeer[]
      readonly routes: readonly StoredRoute[]
      readonly lineCount: number
    }
  | { readonly kind: 'done' }

const MORE: TableStep = { kind: 'more' }
/** As `tablePieces` and older versions begin it; anything else is read in one piece. */
const HEADER = /^\{"version":1,"savedAt":[0-9.e+]+(?:,"generation":([0-9]{1,16}))?,"peers":(\[\],"routes":)?\[(\]\})?$/
const MAX_HEADER = 300
/** An id stands between these, as it is written. */
const ID_AT = '{"id":"'.length
const ID_END = ID_AT + 53
/** An entry of a peer that has to be known before anybody is dialed or let in. */
const SAID = /BANNED|isPrioritised|isLongTerm/
const ROUTE_START = '{"address":'
const COMMA = 44
/** Lines of peers that are only put by cost less. */
const PEERS_PER_LINE = 4

type PeerSlot = { readonly peer: StoredPeer; isGiven: boolean }

/**
 * Reads a table with its journal. First come the peers about whom something was said, bans among them; then what the journal
 * has; then the rest, in the order of the text, each peer with the first of its routes. Of two entries of the same name the
 * first counts, and the journal before both.
 *
 * A line that cannot be read is skipped, as is the end that a damaged file has lost. What was not written line by line is
 * parsed whole when it has ended.
 */
export class TableReader {
  readonly skipped: SkippedEntry[] = []
  /** Of the table; null for one without a journal, undefined until it is known. */
  generation: number | null | undefined = undefined
  /** Characters of text so far. */
  length = 0
  private phase: 'header' | 'peers' | 'said' | 'journal' | 'routes' | 'done' = 'header'
  private rest = ''
  private at = 0
  private hasEnded = false
  private isLineByLine = true
  private readonly pieces: string[] = []
  private whole: { readonly peers: readonly unknown[]; readonly routes: readonly unknown[] } | null = null
  private index = 0
  private journal: JournalRecords | null = null
  /** Peers of whom an entry was seen: as a line, or read. */
  private readonly slots = new Map<FeedId, string | PeerSlot>()
  private readonly seen = new Set<Address>()
  private said: PeerSlot[] = []
  private journalRoutes: Iterator<StoredRoute | null> | null = null

  /** `path`: where the text lies, for messages. */
  constructor(private readonly path = '') {}

  /** What comes next are peers and routes, unless it is the end. */
  get isGiving(): boolean {
    return this.phase === 'said' || this.phase === 'journal' || this.phase === 'routes'
  }

  push(text: string): void {
    const part = this.length === 0 ? text.replace(/^\ufeff/, '') : text
    this.length += text.length
    if (!this.isLineByLine) {
      this.pieces.push(part)
      return
    }
    this.rest = this.at === this.rest.length ? part : this.rest.slice(this.at) + part
    this.at = 0
  }

  /** There is no more text. */
  end(): void {
    this.hasEnded = true
  }

  /** What the journal says; asked for once, when `generation` is known. */
  useJournal(journal: JournalRecords): void {
    this.journal = journal
    for (const [id, peer] of journal.peers) {
      if (peer === null) continue
      const slot = { peer, isGiven: false }
      this.slots.set(id, slot)
      if (isKeptWithoutRoutes(peer)) this.said.push(slot)
    }
    this.journalRoutes = journal.routes.values()
  }

  /** The next step, of at most `limit` lines. Throws StoredStateError, before it has given anything, for a text that is no table. */
  next(limit: number): TableStep {
    if (this.phase === 'header' && !this.readHeader()) return MORE
    if (!this.journal) return { kind: 'journal' }
    switch (this.phase) {
      case 'peers':
        return this.indexPeers(limit)
      case 'said':
        return this.giveSaid(limit)
      case 'journal':
        return this.giveJournal(limit)
      case 'routes':
        return this.giveRoutes(limit)
      default:
        return { kind: 'done' }
    }
  }

  private readHeader(): boolean {
    const end = this.rest.indexOf('\n')
    if (this.isLineByLine && end < 0 && !this.hasEnded && this.rest.length <= MAX_HEADER) return false
    const match = this.isLineByLine && end >= 0 ? HEADER.exec(this.rest.slice(0, Math.min(end, MAX_HEADER))) : null
    if (match) {
      const [, generation, hasNoPeers, hasNoRoutes] = match
      // `"peers":[]}` would be a file without routes, which is for the strict reader to refuse.
      if (hasNoPeers !== undefined || hasNoRoutes === undefined) {
        this.generation = generation === undefined ? null : Number(generation)
        this.at = end + 1
        this.phase = hasNoPeers === undefined ? 'peers' : 'said'
        this.isRoutesOver = hasNoRoutes !== undefined
        return true
      }
    }
    if (this.isLineByLine) {
      this.isLineByLine = false
      this.pieces.push(this.rest)
      this.rest = ''
      this.at = 0
    }
    if (!this.hasEnded) return false
    this.readWhole(this.pieces.join(''))
    this.pieces.length = 0
    this.phase = 'peers'
    return true
  }

  /** The list of routes has ended. */
  private isRoutesOver = false

  private readWhole(text: string): void {
    let data: unknown
    try {
      data = JSON.parse(text)
    } catch (error) {
      throw new StoredStateError(this.path, `it is no JSON, ${errorInfo(error).message}`, error)
    }
    try {
      this.whole = checkSnapshot(data)
    } catch (error) {
      throw new StoredStateError(this.path, errorInfo(error).message, error)
    }
    const generation = isPlainObject(data) ? data.generation : undefined
    this.generation = typeof generation === 'number' ? generation : null
  }

  /** The next line of a list, without its comma; null at the end of the list, undefined if more text is needed. */
  private nextLine(end: string): string | null | undefined {
    const stop = this.rest.indexOf('\n', this.at)
    if (stop < 0 && !this.hasEnded) return undefined
    if (stop < 0) {
      this.skipped.push({
        entry: 'the end of the file',
        error: { message: this.at < this.rest.length ? 'cut off within an entry' : 'missing', code: null },
      })
      this.at = this.rest.length
      this.isRoutesOver = true
      return null
    }
    const start = this.at
    this.at = stop + 1
    if (this.rest.startsWith(end, start)) {
      // An empty list of routes ends where it begins.
      this.isRoutesOver = this.phase === 'routes' || this.rest.startsWith('],"routes":[]}', start)
      return null
    }
    return this.rest.slice(start, this.rest.charCodeAt(stop - 1) === COMMA ? stop - 1 : stop)
  }

  private indexPeers(limit: number): TableStep {
    let count = 0
    for (; count < limit * PEERS_PER_LINE; count++) {
      if (this.whole) {
        if (this.index >= this.whole.peers.length) break
        this.noteWholePeer(this.whole.peers[this.index])
      } else {
        const line = this.nextLine('],"routes":[')
        if (line === undefined) return count > 0 ? { kind: 'tables', peers: [], routes: [], lineCount: count } : MORE
        if (line === null) break
        // The line between the lists is damaged: what belongs to the next one is not lost with it.
        if (line.startsWith(ROUTE_START)) {
          this.at -= line.length + (this.rest.charCodeAt(this.at - 2) === COMMA ? 2 : 1)
          break
        }
        this.notePeer(line)
      }
      this.index++
    }
    if (count < limit * PEERS_PER_LINE) {
      this.phase = 'said'
      this.index = 0
    }
    return { kind: 'tables', peers: [], routes: [], lineCount: Math.ceil(count / PEERS_PER_LINE) }
  }

  /** Most peers are only put by: they are read with their routes. */
  private notePeer(line: string): void {
    const isPlain = line.startsWith('{"id":"@') && line[ID_END] === '"' && !SAID.test(line)
    const id = isPlain ? line.slice(ID_AT, ID_END) : null
    if (id === null) this.readPeerOf(() => JSON.parse(line))
    else if (!this.slots.has(id) && !this.journal?.peers.has(id)) this.slots.set(id, line)
  }

  private noteWholePeer(entry: unknown): void {
    this.readPeerOf(() => entry)
  }

  private readPeerOf(parse: () => unknown): void {
    let entry: unknown
    try {
      entry = parse()
      if (!isPlainObject(entry)) throw new Error(`expected an object, found ${describe(entry)}`)
      const peer = readStoredPeer(entry)
      if (this.slots.has(peer.id) || this.journal?.peers.has(peer.id)) return
      const slot = { peer, isGiven: false }
      this.slots.set(peer.id, slot)
      if (isKeptWithoutRoutes(peer)) this.said.push(slot)
    } catch (error) {
      this.skipped.push({ entry: nameEntry(`peers[${this.index}]`, 'id', entry), error: errorInfo(error) })
    }
  }

  private giveSaid(limit: number): TableStep {
    const peers = this.said.splice(0, limit)
    for (const slot of peers) slot.isGiven = true
    if (this.said.length === 0) this.phase = 'journal'
    return { kind: 'tables', peers: peers.map((slot) => slot.peer), routes: [], lineCount: peers.length }
  }

  private giveJournal(limit: number): TableStep {
    const peers: StoredPeer[] = []
    const routes: StoredRoute[] = []
    let count = 0
    for (; count < limit; count++) {
      const next = this.journalRoutes?.next()
      if (!next || next.done) {
        this.phase = 'routes'
        break
      }
      if (next.value) this.give(next.value, peers, routes)
    }
    return { kind: 'tables', peers, routes, lineCount: count }
  }

  private giveRoutes(limit: number): TableStep {
    const peers: StoredPeer[] = []
    const routes: StoredRoute[] = []
    let count = 0
    for (; count < limit; count++) {
      let entry: unknown
      if (this.whole) {
        if (this.index >= this.whole.routes.length) return this.finish(peers, routes, count)
        entry = this.whole.routes[this.index]
        this.readRouteOf(() => entry, peers, routes)
      } else {
        const line = this.isRoutesOver ? null : this.nextLine(']}')
        if (line === null) return this.finish(peers, routes, count)
        if (line === undefined) return count > 0 ? { kind: 'tables', peers, routes, lineCount: count } : MORE
        this.readRouteOf(() => JSON.parse(line), peers, routes)
      }
      this.index++
    }
    return { kind: 'tables', peers, routes, lineCount: count }
  }

  private finish(peers: readonly StoredPeer[], routes: readonly StoredRoute[], lineCount: number): TableStep {
    this.phase = 'done'
    return { kind: 'tables', peers, routes, lineCount }
  }

  private readRouteOf(parse: () => unknown, peers: StoredPeer[], routes: StoredRoute[]): void {
    let entry: unknown
    try {
      entry = parse()
      if (!isPlainObject(entry)) throw new Error(`expected an object, found ${describe(entry)}`)
      const stored = readStoredRoute(entry)
      const { address } = stored.route
      if (this.seen.has(address) || this.journal?.routes.has(address)) return
      this.seen.add(address)
      this.give(stored, peers, routes)
    } catch (error) {
      this.skipped.push({ entry: nameEntry(`routes[${this.index}]`, 'address', entry), error: errorInfo(error) })
    }
  }

  /** A route, with its peer if that has an entry and was not given before. */
  private give(stored: StoredRoute, peers: StoredPeer[], routes: StoredRoute[]): void {
    const slot = this.slotOf(stored.route.peer)
    if (slot && !slot.isGiven) {
      slot.isGiven = true
      peers.push(slot.peer)
    }
    routes.push(slot ? withPriority(stored, slot.peer.priority) : stored)
  }

  private slotOf(id: FeedId): PeerSlot | null {
    const found = this.slots.get(id)
    if (found === undefined) return null
    if (typeof found !== 'string') return found
    try {
      const slot = { peer: readStoredPeer(JSON.parse(found)), isGiven: false }
      this.slots.set(id, slot)
      return slot
    } catch (error) {
      this.slots.delete(id)
      this.skipped.push({ entry: nameEntry('peers', 'id', { id }), error: errorInfo(error) })
      return null
    }
  }
}

/**
 * A route of a peer with an entry carries the priority of that entry: a source that is better than what the peer was known
 * for would raise it in the reducer.
 */
function withPriority(stored: StoredRoute, priority: Priority): StoredRoute {
  return { ...stored, priority }
}
