/**
 * Tables of peers as files: `gossip.json` of ssb-gossip, `conn.json` of ssb-conn, and a plain list with one address in each
 * line. Pure text in and out. What is read here is said to a running sbot, unlike what adapters/import-legacy.ts reads, which
 * goes into an empty table with all that the old software had learned: who is told of a peer finds out for himself.
 *
 * Both JSON forms take the fields `priority` and `isLongTerm`, which neither ssb-gossip nor ssb-conn know and both keep.
 */
import { parseAddress } from '../core/address'
import { describe, errorInfo } from '../core/errors'
import { isPlainObject, isRouteData } from '../core/options'
import { own } from '../core/own'
import type { PeerView, RouteView } from '../core/selectors'
import type { Address, FeedId, Priority, RouteData } from '../core/types'
import { CliError } from './cli'
import { EXIT } from './settings'

export type Format = 'gossip' | 'conn' | 'list'
export const FORMATS: readonly Format[] = ['gossip', 'conn', 'list']

export interface TableEntry {
  /** In the file, from 1. */
  readonly line: number
  readonly peer: FeedId
  /** The first is the one that old software would dial. */
  readonly addresses: readonly Address[]
  readonly source: string
  readonly priority: Priority | null
  readonly isLongTerm: boolean
  /** Dialed by hand only. */
  readonly isManualOnly: boolean
  /** What other modules keep with it (`type`, `name`, `room`, …); null for nothing. */
  readonly data: RouteData | null
}

export interface BadEntry {
  readonly line: number
  readonly message: string
}

export interface ReadTable {
  readonly format: Format
  readonly entries: readonly TableEntry[]
  readonly bad: readonly BadEntry[]
  /** Entries of the local network, which announce themselves and are left out. */
  readonly local: number
}

type Entry = Readonly<Record<string, unknown>>

/** Throws CliError where the text as a whole is none of the formats. */
export function readTable(given: string): ReadTable {
  const text = given.replace(/^\ufeff/, '')
  const [first] = text.trimStart()
  if (first === '[' || first === '{') return readJson(text)
  return readList(text)
}

function readList(text: string): ReadTable {
  const entries: TableEntry[] = []
  const bad: BadEntry[] = []
  text.split('\n').forEach((each, i) => {
    const address = each.replace(/(^|\s)#.*$/, '').trim()
    if (address === '') return
    try {
      entries.push(entryOf({ address }, i + 1, 'manual'))
    } catch (error) {
      bad.push({ line: i + 1, message: errorInfo(error).message })
    }
  })
  return { format: 'list', entries, bad, local: 0 }
}

// ---- JSON -------------------------------------------------------------------------------------------------------------

/** A crash of ssb-conn in the middle of a write left the end of a longer text behind the new one. */
const MAX_TRAILING = 10

function readJson(text: string): ReadTable {
  const data = parseJson(text)
  const lines = childLines(text, text.search(/[[{]/))
  if (Array.isArray(data)) return readEntries('gossip', data.map(fromGossip), lines)
  if (!isPlainObject(data)) throw badFile('expected a list or an object')
  const peers = own(data, 'peers')
  // Before the list there was an object around it.
  if (Array.isArray(peers)) {
    const at = /"peers"\s*:\s*\[/.exec(text)
    const inner = at ? childLines(text, at.index + at[0].length - 1) : []
    return readEntries('gossip', peers.map(fromGossip), inner)
  }
  const entries = Object.keys(data).map((address): Entry => {
    const entry = own(data, address)
    return isPlainObject(entry) ? { ...entry, address } : { address }
  })
  return readEntries('conn', entries, lines)
}

function fromGossip(entry: unknown): unknown {
  return typeof entry === 'string' ? { address: entry } : entry
}

function parseJson(text: string): unknown {
  const trimmed = text.trimEnd()
  let first: unknown = null
  for (let cut = 0; cut <= MAX_TRAILING; cut++) {
    try {
      return JSON.parse(trimmed.slice(0, trimmed.length - cut))
    } catch (error) {
      first ??= error
    }
  }
  const { message } = errorInfo(first)
  const position = /position (\d+)/.exec(message)?.[1]
  const where = position === undefined ? '' : `line ${lineAt(text, Number(position))}: `
  throw badFile(`${where}${message}`)
}

function badFile(message: string): CliError {
  return new CliError(
    'ERR_BAD_FILE',
    `this is no table of peers: ${message}`,
    'It takes gossip.json, conn.json, or a list with one address in each line.',
    EXIT.setup,
  )
}

function lineAt(text: string, position: number): number {
  let line = 1
  for (let at = text.indexOf('\n'); at >= 0 && at < position; at = text.indexOf('\n', at + 1)) line++
  return line
}

/** In which lines the children of the list or object begin whose bracket is at `start`. The text is valid JSON up to its end. */
function childLines(text: string, start: number): number[] {
  const found: number[] = []
  let line = lineAt(text, start)
  let depth = 0
  let isInString = false
  let isExpected = false
  for (let i = start; i < text.length; i++) {
    const char = text[i] as string
    if (char === '\n') line++
    if (isInString) {
      if (char === '\\') i++
      else if (char === '"') isInString = false
      continue
    }
    if (/\s/.test(char)) continue
    if (isExpected && depth === 1 && char !== ']' && char !== '}') {
      found.push(line)
      isExpected = false
    }
    if (char === '"') isInString = true
    else if (char === '[' || char === '{') {
      depth++
      isExpected = depth === 1
    } else if (char === ']' || char === '}') {
      depth--
      if (depth === 0) return found
    } else if (char === ',' && depth === 1) isExpected = true
  }
  return found
}

const LOCAL: readonly unknown[] = ['local', 'lan', 'bt']

function readEntries(format: Format, given: readonly unknown[], lines: readonly number[]): ReadTable {
  const entries: TableEntry[] = []
  const bad: BadEntry[] = []
  let local = 0
  given.forEach((entry, i) => {
    const line = lines[i] ?? 0
    try {
      if (!isPlainObject(entry)) throw new Error(`expected an object, found ${describe(entry)}`)
      if (LOCAL.includes(own(entry, 'source')) || LOCAL.includes(own(entry, 'type'))) local++
      else entries.push(entryOf(entry, line, 'stored'))
    } catch (error) {
      bad.push({ line, message: errorInfo(error).message })
    }
  })
  return { format, entries, bad, local }
}

// ---- one entry --------------------------------------------------------------------------------------------------------

const SOURCE = /^[a-z][a-z0-9-]{0,63}$/i
const PRIORITIES: readonly unknown[] = ['HIGH', 'MEDIUM', 'LOW', 'BANNED']

/** What the sbot finds out by itself, or what this file reads by itself. */
const NOT_DATA: ReadonlySet<string> = new Set([
  ...['address', 'host', 'port', 'key', 'source', 'birth', 'failure', 'stateChange', 'duration', 'ping', 'error'],
  ...['state', 'hubBirth', 'hubUpdated', 'stagingBirth', 'stagingUpdated', 'inferredType', 'pool', 'defunct'],
  ...['announcers', 'client', 'stats', 'local', 'active', 'retry', 'verified', 'autoconnect'],
  ...['priority', 'isLongTerm', '__proto__'],
])

/** Throws where there is no address in it. */
function entryOf(entry: Entry, line: number, fallback: string): TableEntry {
  const routes = routesOf(entry)
  const first = routes[0] as { readonly peer: FeedId }
  const isByHand = own(entry, 'autoconnect') === false || own(entry, 'autoconnect') === 'false'
  // ssb-conn marked all pubs of messages like this by itself: heard of from strangers, and no word of the user.
  const isHearsay = isByHand && own(entry, 'type') === 'pub'
  const source = own(entry, 'source')
  const known = typeof source === 'string' && SOURCE.test(source) ? source : fallback
  const said = own(entry, 'priority')
  const priority = PRIORITIES.includes(said) ? (said as Priority) : null
  const data = Object.fromEntries(Object.entries(entry).filter(([name]) => !NOT_DATA.has(name)))
  return {
    line,
    peer: first.peer,
    addresses: routes.map(({ address }) => address),
    source: isHearsay ? 'pub' : known,
    priority,
    isLongTerm: own(entry, 'isLongTerm') === true,
    isManualOnly: isByHand && !isHearsay && own(entry, 'defunct') !== true && priority !== 'BANNED',
    data: Object.keys(data).length > 0 && isRouteData(data) ? data : null,
  }
}

/** The address counts; else the other fields, where it lacks the key or is missing. */
function routesOf(entry: Entry): readonly { readonly address: Address; readonly peer: FeedId }[] {
  const address = own(entry, 'address')
  const key = own(entry, 'key')
  const host = own(entry, 'host')
  const forms: readonly unknown[] = [
    ...(typeof address === 'string' && address !== '' ? [address] : []),
    ...(host === undefined ? [] : [{ host, port: own(entry, 'port'), key }]),
    ...(typeof address === 'string' && address !== '' && key !== undefined ? [{ address, key }] : []),
  ]
  let firstError: unknown = null
  for (const form of forms) {
    try {
      return parseAddress(form)
    } catch (error) {
      firstError ??= error
    }
  }
  throw firstError ?? new Error('expected an address, or host, port and key')
}

// ---- writing ----------------------------------------------------------------------------------------------------------

/** What modules keep with an address, as `conn.dbPeers` gives it. */
export type ConnData = ReadonlyMap<Address, Entry>

export interface WrittenTable {
  readonly text: string
  readonly count: number
  /** Addresses that the format has no word for, by why. */
  readonly leftOut: { readonly banned: number; readonly foreign: number }
}

/** All that is kept for good; local routes announce themselves. `now`: epoch ms, of the remark in a list. */
export function writeTable(format: Format, peers: readonly PeerView[], data: ConnData, comment: string): WrittenTable {
  const routes = peers.flatMap((peer) =>
    peer.routes.filter(({ isStored, isLocal }) => isStored && !isLocal).map((route) => ({ peer, route })),
  )
  switch (format) {
    case 'conn': {
      const entries = routes.map(({ peer, route }) => [route.id, connEntry(peer, route, own2(data, route.id))])
      return written(JSON.stringify(Object.fromEntries(entries), null, 2), entries.length)
    }
    case 'gossip': {
      // ssb-gossip has no word for a ban and would dial; other transports it cannot parse, and stops at the first.
      const allowed = routes.filter(({ peer }) => !peer.isBanned)
      const entries = allowed.map(({ peer, route }) => gossipEntry(peer, route)).filter((entry) => entry !== null)
      const text = JSON.stringify(entries, null, 2)
      return written(text, entries.length, routes.length - allowed.length, allowed.length - entries.length)
    }
    case 'list': {
      const allowed = routes.filter(({ peer }) => !peer.isBanned)
      const text = [`# ${comment}`, ...allowed.map(({ route }) => route.id)].join('\n')
      return written(text, allowed.length, routes.length - allowed.length)
    }
  }
}

function written(text: string, count: number, banned = 0, foreign = 0): WrittenTable {
  return { text: `${text}\n`, count, leftOut: { banned, foreign } }
}

function own2(data: ConnData, address: Address): Entry {
  return data.get(address) ?? {}
}

/** What only we know, in fields that the old software keeps and does not look at. */
function ourOwn(peer: PeerView): Entry {
  const isSaid = peer.prioritisedBy === 'user' || peer.isBanned
  return {
    ...(isSaid ? { priority: peer.priority } : {}),
    ...(peer.isLongTerm ? { isLongTerm: true } : {}),
  }
}

function changedAt(route: RouteView): number {
  return Math.max(route.lastConnectionTime ?? 0, route.lastErrorTime ?? 0)
}

function connEntry(peer: PeerView, route: RouteView, known: Entry): Entry {
  const stateChange = changedAt(route)
  return {
    key: route.peer,
    source: route.source,
    ...(stateChange > 0 ? { stateChange, failure: route.errorCount } : {}),
    ...known,
    ...ourOwn(peer),
    // ssb-conn has no word for a ban; this one keeps it from dialing.
    ...(route.isAutomatic && !peer.isBanned ? {} : { autoconnect: false }),
  }
}

const GOSSIP_ADDRESS = /^(?:net|onion):(?:\[([0-9a-f:]+)\]|([^:~]+)):(\d+)~shs:[^:~]+$/i

function gossipEntry(peer: PeerView, route: RouteView): Entry | null {
  const match = GOSSIP_ADDRESS.exec(route.id)
  if (!match) return null
  const [, ipv6, host = ipv6, port] = match
  const stateChange = changedAt(route)
  return {
    address: route.id,
    host,
    port: Number(port),
    key: route.peer,
    source: route.source,
    announcers: 1,
    ...(stateChange > 0 ? { stateChange, failure: route.errorCount } : {}),
    ...ourOwn(peer),
    ...(route.isAutomatic ? {} : { autoconnect: false }),
  }
}
