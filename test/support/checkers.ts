/**
 * One checker for each promise that the simulation puts to the test. They watch from the outside: what the world tells the
 * managers, the dials and connections of the network, and the public API. None of them reads a manager's own bookkeeping of
 * slots, attempts or connections; what they need of that they keep themselves, in the ledger.
 *
 * A checker is lenient where the outside cannot tell who is right, and says so in a comment. checkers.test.ts shows each one a
 * manager that breaks its promise.
 */

import { hostKey, isStrangerSafe, parseAddress } from '../../src/core/address'
import { checkInvariants } from '../../src/core/invariants'
import { DEFAULT_OPTIONS, type MaxByType } from '../../src/core/options'
import { initialState, replay } from '../../src/core/reducer'
import type { PeerRemoved, PeerView, RouteView } from '../../src/core/selectors'
import type { State } from '../../src/core/table'
import type { Address, Direction, FeedId, Priority, RefusalReason } from '../../src/core/types'
import type { ConnectionChange } from '../../src/manager'
import type { Source } from '../../src/shell/live'
import type { LinkState } from '../../src/testing'
import {
  type CheckerFactory,
  HOUR,
  type Host,
  type HostOptions,
  type Kind,
  MINUTE,
  SECOND,
  type Told,
  type World,
  type WorldEvent,
} from './simulator'

// ---- the ledger -------------------------------------------------------------------------------------------------------

/** What a host was told of a route, and what has come of it. */
export interface Known {
  readonly address: Address
  readonly peer: FeedId
  readonly protocol: string
  isLocal: boolean
  readonly hostKey: string | null
  readonly isSafe: boolean
  readonly sources: Set<string>
  /** A dial of ours has connected by it. */
  isProven: boolean
}

export type Cause = 'request' | 'initialSync' | 'longTerm' | 'schedule'

export interface Dial {
  readonly attempt: number
  readonly peer: FeedId
  readonly address: Address
  readonly class: string
  readonly cause: Cause
  readonly t: number
  /** By the clock of the host. */
  readonly wallAt: number
  /** As the public API showed the route when it was dialed. */
  readonly view: RouteView | null
  /** Has an outcome, or nobody waits for it any more. */
  isOver: boolean
}

/** One end of a connection. */
export interface End {
  readonly connection: number
  readonly peer: FeedId
  readonly direction: Direction
  readonly class: string | null
  readonly attempt: number
  readonly isRequested: boolean
  readonly t: number
  /** The manager hung up. */
  closingAt: number | null
  /** Closed, or taken for closed by the manager. */
  isGone: boolean
}

/** All that is known of one host from the outside. */
export class Book {
  mode: 'off' | 'on' | 'closed' = 'closed'
  sync: { readonly peer: FeedId | null } | null = null
  /** Somebody has caught up, by which an initial sync may have come to its end. */
  mayHaveSynced = false
  /** Since when the mode is what it is. */
  modeAt = 0
  maxByType: { [type: string]: number } = {}
  maxDialing = 8
  rotationMinMs = 34 * SECOND
  lifetimeMs: number | null = null
  hasJumped = false
  /** When a jump of the clock or a sleep last made durations unreliable. */
  unsteadyAt = 0
  readonly priorities = new Map<FeedId, Priority>()
  readonly longTerm = new Set<FeedId>()
  readonly requests = new Map<FeedId, number>()
  readonly routes = new Map<Address, Known>()
  readonly dials = new Map<number, Dial>()
  readonly ends = new Map<number, End>()

  constructor(readonly host: Host) {}

  isBanned(peer: FeedId): boolean {
    return this.priorities.get(peer) === 'BANNED'
  }

  max(routeClass: string): number {
    return Object.prototype.hasOwnProperty.call(this.maxByType, routeClass) ? (this.maxByType[routeClass] ?? 0) : 0
  }

  /** Ends that are neither closed nor about to be. */
  open(peer?: FeedId): End[] {
    const found: End[] = []
    for (const end of this.ends.values())
      if (!end.isGone && end.closingAt === null && (peer === undefined || end.peer === peer)) found.push(end)
    return found
  }

  inFlight(): Dial[] {
    return [...this.dials.values()].filter((dial) => !dial.isOver)
  }

  /** Connections that take a slot of a class, those that are being closed included. */
  slotsTaken(routeClass: string): End[] {
    const found: End[] = []
    for (const end of this.ends.values())
      if (!end.isGone && end.class === routeClass && !end.isRequested && !this.longTerm.has(end.peer)) found.push(end)
    return found
  }
}

const DEFAULT_MAX: MaxByType = { rtc: 3, net: 3, onion: 3, ws: 0, wss: 0, local: 5 }
/** After this long a manager need not believe any more that a connection is still closing (DESIGN 4, Slots). */
const CLOSING_MS = 5 * SECOND

/** Beyond, those whose outcome is long known are let go of. */
const MAX_DIALS_KEPT = 200

export class Ledger {
  readonly books = new Map<FeedId, Book>()
  private last: WorldEvent | null = null

  constructor(readonly world: World) {}

  book(host: Host): Book {
    const known = this.books.get(host.id)
    if (known) return known
    const made = new Book(host)
    this.books.set(host.id, made)
    return made
  }

  bookOf(id: FeedId): Book | null {
    const host = this.world.hostOf.get(id)
    return host ? this.book(host) : null
  }

  /** Takes an event down; the second time it changes nothing, so every checker may show it. */
  see(event: WorldEvent): void {
    if (event === this.last) return
    this.last = event
    switch (event.type) {
      case 'told':
        return this.seeTold(this.book(event.host), event.told, event.t)
      case 'change':
        return this.seeChange(this.book(event.host), event.change)
      case 'network':
        return this.seeNetwork(event)
      case 'phase':
        return
    }
  }

  private seeTold(book: Book, told: Told, t: number): void {
    switch (told.type) {
      case 'created': {
        const { maxByType, maxDialing = 8, rotationMinMs = 34 * SECOND } = told.options
        Object.assign(book, { mode: 'off', modeAt: t, sync: null, lifetimeMs: null, maxDialing, rotationMinMs })
        book.maxByType = { ...DEFAULT_MAX, ...maxByType }
        for (const map of [book.priorities, book.longTerm, book.requests, book.routes, book.dials, book.ends])
          map.clear()
        return
      }
      case 'started':
        if (book.mode !== 'on') book.modeAt = t
        book.mode = 'on'
        return
      case 'stopped':
      case 'closed':
        book.mode = told.type === 'closed' ? 'closed' : 'off'
        book.modeAt = t
        book.sync = null
        for (const dial of book.dials.values()) dial.isOver = true
        return
      case 'routeAdded': {
        const { peer, isLocal, source } = told.route
        const [route] = parseAddress(told.route.address)
        if (!route) return
        const { address } = route
        const known = book.routes.get(address)
        if (known) {
          known.isLocal ||= isLocal
          known.sources.add(source)
          return
        }
        book.routes.set(address, {
          address,
          peer,
          protocol: route.protocol,
          isLocal,
          hostKey: hostKey(route),
          isSafe: isStrangerSafe(route),
          sources: new Set([source]),
          isProven: false,
        })
        return
      }
      case 'routeRemoved':
        book.routes.delete(told.address)
        for (const dial of book.dials.values()) if (dial.address === told.address) dial.isOver = true
        return
      case 'prioritised':
        book.priorities.set(told.peer, told.priority)
        if (told.priority === 'BANNED') giveUp(book, told.peer)
        return
      case 'longTermSet':
        if (told.isLongTerm) book.longTerm.add(told.peer)
        else book.longTerm.delete(told.peer)
        return
      case 'maxByTypeSet':
        book.maxByType = { ...book.maxByType, ...told.max }
        return
      case 'lifetimeSet':
        book.lifetimeMs = told.lifetimeMs
        return
      case 'requested':
        book.requests.set(told.peer, (book.requests.get(told.peer) ?? 0) + 1)
        return
      case 'requestSettled':
        book.requests.set(told.peer, (book.requests.get(told.peer) ?? 1) - 1)
        return
      case 'disconnected':
        giveUp(book, told.peer)
        return
      case 'syncStarted':
        book.sync = { peer: told.peer }
        book.mayHaveSynced = false
        return
      case 'syncStopped':
        if (book.mode === 'off')
          for (const dial of book.dials.values()) if (dial.cause === 'initialSync') dial.isOver = true
        book.sync = null
        return
      case 'clockJumped':
        book.hasJumped = true
        book.unsteadyAt = t
        for (const end of book.ends.values()) if (end.closingAt !== null) end.isGone = true
        return
      case 'slept':
      case 'woke':
        book.unsteadyAt = t
        for (const end of book.ends.values()) if (end.closingAt !== null) end.isGone = true
        return
      case 'used':
        book.mayHaveSynced ||= told.use === 'caughtUp'
        return
      case 'signal':
      case 'outageBegan':
      case 'outageEnded':
      case 'outageJudged':
        return
    }
  }

  private seeChange(book: Book, change: ConnectionChange): void {
    const { type, peer, address } = change
    if (type === 'failed') {
      for (const dial of book.dials.values()) if (dial.address === address) dial.isOver = true
    } else if (type === 'connected' || type === 'refused') {
      giveUp(book, peer)
    }
    if (type === 'disconnected' || type === 'refused') {
      for (const end of book.ends.values()) if (end.peer === peer && end.closingAt !== null) end.isGone = true
    }
  }

  private seeNetwork({ t, event }: WorldEvent & { type: 'network' }): void {
    if (event.type === 'dialed') {
      const book = this.bookOf(event.from)
      if (!book || event.to === null) return
      const { attempt, to: peer, address } = event
      const route = book.routes.get(address)
      const routeClass = !route ? 'unknown' : route.isLocal ? 'local' : route.protocol
      const { host } = book
      if (book.sync && book.mayHaveSynced && host.manager?.connections.status().mode !== 'initialSync') book.sync = null
      const view = host.manager?.peer.get(peer)?.routes.find((each) => each.id === address) ?? null
      const cause = causeOf(book, peer)
      const wallAt = host.clock.now()
      if (book.dials.size > MAX_DIALS_KEPT)
        for (const old of book.dials.values()) if (old.isOver && t - old.t > 10 * MINUTE) book.dials.delete(old.attempt)
      book.dials.set(attempt, { attempt, peer, address, class: routeClass, cause, t, wallAt, view, isOver: false })
      return
    }
    if (event.type === 'answered') {
      const dial = this.bookOf(event.from)?.dials.get(event.attempt)
      if (dial) dial.isOver = true
      return
    }
    const book = this.bookOf(event.end)
    if (!book) return
    if (event.type === 'opened') {
      const { connection, direction, attempt, other: peer } = event
      const dial = direction === 'outbound' ? book.dials.get(attempt) : undefined
      const route = dial && book.routes.get(dial.address)
      if (route) route.isProven = true
      // Our own dials to somebody who calls are needless, even if the call is refused right away.
      if (direction === 'inbound') giveUp(book, peer)
      // What another connection of this peer is replaced by is not counted twice, even if its end is never confirmed.
      for (const end of book.ends.values()) if (end.peer === peer && end.closingAt !== null) end.isGone = true
      book.ends.set(connection, {
        connection,
        peer,
        direction,
        class: dial ? dial.class : null,
        attempt,
        isRequested: dial?.cause === 'request' || (book.requests.get(peer) ?? 0) > 0,
        t,
        closingAt: null,
        isGone: false,
      })
      return
    }
    const end = book.ends.get(event.connection)
    if (!end) return
    if (event.type === 'closing') {
      end.closingAt ??= t
      // Replaced by another connection of the same peer, or closed as it came, too late: it holds no slot.
      if (book.open(end.peer).length > 0 || end.t === t) end.isGone = true
    } else book.ends.delete(event.connection)
  }
}

/** Nobody waits for the dials to a peer any more. */
function giveUp(book: Book, peer: FeedId): void {
  for (const dial of book.dials.values()) if (dial.peer === peer) dial.isOver = true
}

function causeOf(book: Book, peer: FeedId): Cause {
  if ((book.requests.get(peer) ?? 0) > 0) return 'request'
  if (book.sync) return 'initialSync'
  return book.longTerm.has(peer) ? 'longTerm' : 'schedule'
}

const ledgers = new WeakMap<World, Ledger>()

function ledgerOf(world: World): Ledger {
  const known = ledgers.get(world)
  if (known) return known
  const made = new Ledger(world)
  ledgers.set(world, made)
  return made
}

// ---- tools ------------------------------------------------------------------------------------------------------------

/** Reports what holds for longer than it may. While a host sleeps it is not to blame. */
class Lasting {
  private readonly since = new Map<string, { readonly t: number; readonly host: Host; isReported: boolean }>()

  constructor(
    private readonly world: World,
    private readonly limitMs: number,
    private readonly report: (text: string) => void,
  ) {}

  set(key: string, host: Host, isSo: boolean): void {
    const known = this.since.get(key)
    if (isSo === (known !== undefined)) return
    if (isSo) this.since.set(key, { t: this.world.t, host, isReported: false })
    else {
      this.judge(key)
      this.since.delete(key)
    }
  }

  /** Nothing that began before counts any more: the host slept, or its clock jumped. */
  forget(host: Host): void {
    for (const [key, entry] of this.since) if (entry.host === host) this.since.set(key, { ...entry, t: this.world.t })
  }

  /** What is not among these is over. */
  keep(keys: ReadonlySet<string>): void {
    for (const key of this.since.keys()) if (!keys.has(key)) this.since.delete(key)
  }

  look(): void {
    for (const key of this.since.keys()) this.judge(key)
  }

  private judge(key: string): void {
    const entry = this.since.get(key)
    if (!entry || entry.isReported || entry.host.clock.isAsleep) return
    const ms = this.world.t - entry.t
    if (ms <= this.limitMs) return
    entry.isReported = true
    this.report(`${key}, for ${ms} ms`)
  }
}

function isUnsteady(told: Told): boolean {
  return told.type === 'clockJumped' || told.type === 'slept' || told.type === 'woke'
}

function isDialed(event: WorldEvent): event is WorldEvent & { type: 'network' } {
  return event.type === 'network' && event.event.type === 'dialed'
}

/** The book and the dial of an event of the type `dialed`. */
function dialOf(ledger: Ledger, event: WorldEvent): { readonly book: Book; readonly dial: Dial } | null {
  if (event.type !== 'network' || event.event.type !== 'dialed') return null
  const book = ledger.bookOf(event.event.from)
  const dial = book?.dials.get(event.event.attempt)
  return book && dial ? { book, dial } : null
}

/** Reads a source as it comes, keeping nothing. Returns what ends it. */
function drain<T>(source: Source<T>, onItem: (item: T) => void): void {
  let isReading = false
  let again = false
  const read = (): void => {
    if (isReading) {
      again = true
      return
    }
    isReading = true
    do {
      again = false
      source(null, (end, item) => {
        if (end) return
        onItem(item as T)
        read()
      })
    } while (again)
    isReading = false
  }
  read()
}

// ---- checkers: slots and connections ----------------------------------------------------------------------------------

/**
 * Slots per class hold, but for one visit at a time and the instant in which it is decided who goes for it. Overcommit stays
 * in its bounds, and so does the number of dials in flight.
 */
export const slots: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  // A surplus connection is closed as it arrives; a second allows for the turn in which it happens.
  const surplus = new Lasting(world, SECOND, report)
  const recount = (book: Book): void => {
    const counts = new Map<string, number>()
    for (const end of book.ends.values())
      if (
        end.class !== null &&
        !end.isGone &&
        end.closingAt === null &&
        !end.isRequested &&
        !book.longTerm.has(end.peer)
      )
        counts.set(end.class, (counts.get(end.class) ?? 0) + 1)
    const surplusOf = (name: string): string => `${book.host.name}: more ${name} connections than slots`
    for (const [name, count] of counts) surplus.set(surplusOf(name), book.host, !book.sync && count > book.max(name))
    for (const name of Object.keys(book.maxByType))
      if (!counts.has(name)) surplus.set(surplusOf(name), book.host, false)
  }
  const judge = (book: Book, dial: Dial): void => {
    const isAsked = (each: Dial): boolean => each.cause === 'request' || each.cause === 'initialSync'
    if (isAsked(dial)) return
    const name = world.nameOf(dial.peer)
    const others = book.inFlight().filter((each) => each !== dial && !isAsked(each))
    if (others.length + 1 > book.maxDialing)
      report(`${book.host.name} dials ${name} with ${others.length} dials in flight, ${book.maxDialing} are allowed`)
    if (dial.cause !== 'schedule') return
    const rivals = others.filter((each) => each.class === dial.class && each.cause === 'schedule')
    // A further route of a peer that holds a slot already takes none.
    if (rivals.some((each) => each.peer === dial.peer)) return
    const taken = book.slotsTaken(dial.class).length
    const free = book.max(dial.class) - taken
    if (free < 0)
      report(`${book.host.name} dials ${name} by ${dial.class} with ${taken} of ${book.max(dial.class)} slots taken`)
    // A dial that has been in flight for longer than most that succeed is not counted on.
    const isYoung = (each: Dial): boolean => Math.max(dial.t - each.t, dial.wallAt - each.wallAt) < hopeMs(each.class)
    // Nor is one more route of a peer that has been dialed for that long: it goes on with the race, and takes nobody's turn.
    const hopeful = rivals.filter(
      (each) => isYoung(each) && rivals.every((other) => other.peer !== each.peer || isYoung(other)),
    )
    if (free === 0 && hopeful.length > 0)
      report(
        `${book.host.name} visits ${name} beside ${hopeful.length} dials with all ${taken} ${dial.class} slots taken`,
      )
    const peers = new Set(hopeful.map((each) => each.peer)).size + 1
    if (free > 0 && peers > 2 * free + 2)
      report(`${book.host.name} dials ${peers} peers for ${free} free ${dial.class} slots`)
  }
  return {
    name: 'slots',
    onEvent: (event) => {
      ledger.see(event)
      const found = dialOf(ledger, event)
      if (found) return judge(found.book, found.dial)
      if (event.type === 'told' && isUnsteady(event.told)) surplus.forget(event.host)
      if (event.type === 'network' && event.event.type !== 'dialed' && event.event.type !== 'answered') {
        const book = ledger.bookOf(event.event.end)
        if (book) recount(book)
      } else if (event.type === 'told' && event.told.type !== 'routeAdded') recount(ledger.book(event.host))
    },
    onSample: () => surplus.look(),
  }
}

/** At most one connection per pair, on both ends, after settling: what is too many is hung up (DESIGN 4, Both sides). */
export const oneConnection: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  const several = new Lasting(world, 5 * SECOND, report)
  // The other end hears of it after one way through the network, or by keep-alive if the word was lost.
  const unlike = new Lasting(world, 6 * MINUTE, report)
  const look = (book: Book, peer: FeedId): void => {
    const key = `${book.host.name}: several connections to ${world.nameOf(peer)}`
    several.set(key, book.host, book.open(peer).length > 1)
  }
  return {
    name: 'oneConnection',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type === 'told' && isUnsteady(event.told)) {
        several.forget(event.host)
        unlike.forget(event.host)
      }
      if (event.type !== 'network' || event.event.type === 'dialed' || event.event.type === 'answered') return
      const book = ledger.bookOf(event.event.end)
      if (book) look(book, event.event.other)
    },
    onSample: () => {
      several.look()
      if (world.phase !== 'calm') return
      const present = new Set<string>()
      for (const book of ledger.books.values())
        for (const end of book.open()) {
          const there = ledger.bookOf(end.peer)?.open(book.host.id) ?? []
          if (there.some((each) => each.connection === end.connection)) continue
          const key = `${book.host.name}: the other end of ${end.connection} to ${world.nameOf(end.peer)} is not there`
          present.add(key)
          unlike.set(key, book.host, true)
        }
      unlike.keep(present)
      unlike.look()
    },
  }
}

/**
 * Both sides dial at once: both ends keep the same connection, the one that the smaller id dialed. Only for worlds without
 * faults and with slots for all, where nothing else closes anything.
 */
export const crossing: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  const pairs = new Map<string, { readonly a: Host; readonly b: Host }>()
  return {
    name: 'crossing',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type !== 'network' || event.event.type !== 'opened') return
      const { end, other } = event.event
      const [a, b] = end < other ? [end, other] : [other, end]
      const bookA = ledger.bookOf(a)
      const bookB = ledger.bookOf(b)
      if (!bookA || !bookB) return
      const crossed = (book: Book, peer: FeedId): boolean =>
        [...book.dials.values()].some((dial) => dial.peer === peer && world.t - dial.t < 8 * SECOND)
      const key = `${a} ${b}`
      if (!crossed(bookA, b) || !crossed(bookB, a) || pairs.has(key)) return
      pairs.set(key, { a: bookA.host, b: bookB.host })
      world.at(15 * SECOND, () => {
        pairs.delete(key)
        if (bookA.mode !== 'on' || bookB.mode !== 'on' || world.t - Math.max(bookA.modeAt, bookB.modeAt) < 20 * SECOND)
          return
        const atA = bookA.open(b)
        const atB = bookB.open(a)
        const names = `${bookA.host.name} and ${bookB.host.name}`
        if (atA.length !== 1 || atB.length !== 1 || atA[0]?.connection !== atB[0]?.connection)
          return report(`${names} keep ${atA.map((each) => each.connection)} and ${atB.map((each) => each.connection)}`)
        if (atA[0]?.direction !== 'outbound') report(`${names} keep the connection that the larger id dialed`)
      })
    },
  }
}

// ---- checkers: dials --------------------------------------------------------------------------------------------------

/** Never dials whom it must not: itself, the banned, the connected, the unknown, nobody while it is off. */
export const forbiddenDials: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  return {
    name: 'forbiddenDials',
    onEvent: (event) => {
      ledger.see(event)
      if (!isDialed(event)) return
      const found = dialOf(ledger, event)
      if (!found) return report('a dial to no address')
      const { book, dial } = found
      const who = `${book.host.name} dials ${world.nameOf(dial.peer)} (${dial.address})`
      const route = book.routes.get(dial.address)
      if (dial.peer === book.host.id) report(`${who}, itself`)
      if (book.isBanned(dial.peer)) report(`${who}, who is banned`)
      if (book.mode === 'closed') report(`${who} after close()`)
      if (book.mode === 'off' && !book.sync && dial.cause !== 'request') report(`${who} while off`)
      if (book.open(dial.peer).length > 0) report(`${who}, who is connected`)
      if (!route) return report(`${who}, which nobody told it`)
      const isStrangers = [...route.sources].every((source) => source === 'pub')
      if (isStrangers && !route.isSafe) report(`${who}, a place on its own network that a stranger named`)
      if (dial.cause === 'initialSync' && book.sync?.peer && book.sync.peer !== dial.peer)
        report(`${who} during the initial sync with ${world.nameOf(book.sync.peer)}`)
    },
  }
}

const HOST_WINDOW_MS = MINUTE
/** Clocks are read at either end of a call, and small steps backwards are not treated as such. */
const SLACK_MS = SECOND

/** At most one dial per minute to one host and port for routes that nobody vouched for, whatever keys claim it. */
export const hostThrottle: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  const dialed = new Map<string, { readonly t: number; readonly wallAt: number }>()
  return {
    name: 'hostThrottle',
    onEvent: (event) => {
      ledger.see(event)
      // A route that was taken away and told again is the user's doing; so is a new process.
      if (event.type === 'told' && (event.told.type === 'routeRemoved' || event.told.type === 'created'))
        for (const key of dialed.keys()) if (key.startsWith(event.host.id)) dialed.delete(key)
      const found = dialOf(ledger, event)
      if (!found) return
      const { book, dial } = found
      const route = book.routes.get(dial.address)
      if (!route?.hostKey) return
      const key = `${book.host.id} ${route.hostKey}`
      const before = dialed.get(key)
      dialed.set(key, { t: dial.t, wallAt: dial.wallAt })
      const isVouchedFor =
        route.isLocal ||
        route.isProven ||
        route.sources.has('seed') ||
        dial.cause === 'request' ||
        (dial.cause === 'initialSync' && book.sync?.peer === dial.peer) ||
        book.longTerm.has(dial.peer) ||
        book.priorities.get(dial.peer) === 'HIGH'
      if (!before || isVouchedFor) return
      // By either clock: what jumps in between makes one of them wrong.
      const ms = Math.max(dial.t - before.t, dial.wallAt - before.wallAt)
      if (ms < HOST_WINDOW_MS - SLACK_MS) report(`${book.host.name} dials ${route.hostKey} again after ${ms} ms`)
    },
  }
}

const BACKOFF_FLOOR_MS = 500
const DEFAULT_CEILINGS = { HIGH: 10 * MINUTE, MEDIUM: 2 * HOUR, LOW: 24 * HOUR }

function ceilingOf(ceilings: HostOptions['backoffMaxMs'] = DEFAULT_CEILINGS, priority: Priority): number {
  return priority === 'BANNED' ? ceilings.LOW : ceilings[priority]
}

/** No schedule that doubles from 5 s comes near this, nor do the probes of a link that is down. */
const MAX_DIALS_PER_WINDOW = 40
const RATE_WINDOW_MS = 10 * MINUTE

/** No route is dialed before the time that its view names, that time is far enough, and no route is hammered. */
export const backoff: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  const recent = new Map<string, number[]>()
  const judgeDial = (book: Book, dial: Dial): void => {
    // A user who waits for somebody is not made to wait as long as a stranger.
    if (dial.cause === 'request' || (dial.cause === 'initialSync' && book.sync?.peer === dial.peer)) return
    const early = (dial.view?.nextAttemptAt ?? 0) - dial.wallAt
    if (early > (book.hasJumped ? SLACK_MS : 0))
      report(`${book.host.name} dials ${dial.address} ${early} ms before its next attempt`)
    const key = `${book.host.id} ${dial.address}`
    const times = (recent.get(key) ?? []).filter((t) => t > world.t - RATE_WINDOW_MS)
    times.push(world.t)
    recent.set(key, times)
    const last = dial.view?.errors[dial.view.errors.length - 1]
    // What our own machine says costs no packet, and the probe of a link comes back every second at first.
    const isLocalWord = last?.code === 'ENETUNREACH' || last?.code === 'EAI_AGAIN'
    if (times.length > (isLocalWord ? 5 : 1) * MAX_DIALS_PER_WINDOW)
      report(`${book.host.name} dials ${dial.address} ${times.length} times in ten minutes`)
  }
  /** Failures that no layer above the route could explain: the other side answered, and has one address that we know. */
  const judgeFailure = (book: Book, address: Address, reason: string | null): void => {
    const route = book.routes.get(address)
    const { manager, clock } = book.host
    if (!route || !manager || (route.protocol !== 'net' && route.protocol !== 'wss')) return
    if (reason !== 'ECONNREFUSED' && reason !== 'ECONNRESET') return
    const namesakes = [...book.routes.values()].filter((each) => each.hostKey === route.hostKey)
    if (namesakes.length > 1) return
    const view = manager.peer.get(route.peer)?.routes.find((each) => each.id === address)
    const dial = [...book.dials.values()].reverse().find((each) => each.address === address)
    // A LOW route that has failed for ever may have been forgotten.
    if (!view || !dial?.view) return
    const pause = view.nextAttemptAt - clock.now()
    const ceilings = book.host.options.backoffMaxMs
    const ceiling = ceilingOf(ceilings, book.longTerm.has(route.peer) ? 'HIGH' : view.priority)
    if (view.errorCount < 1) report(`${book.host.name} does not count the failure of ${address}`)
    if (pause < BACKOFF_FLOOR_MS || pause > ceiling + SLACK_MS)
      report(`${book.host.name} pauses ${address} for ${pause} ms after ${view.errorCount} failures`)
  }
  return {
    name: 'backoff',
    onEvent: (event) => {
      ledger.see(event)
      const found = dialOf(ledger, event)
      if (found) judgeDial(found.book, found.dial)
      if (event.type === 'change' && event.change.type === 'failed' && event.change.address !== null)
        judgeFailure(ledger.book(event.host), event.change.address, event.change.reason)
    },
  }
}

const HOLD_MS = MINUTE
/** Between two routes that were never tried, at the least: a quarter less than three seconds. */
const TRIAL_MIN_MS = 2_250
/** A visit that nobody answers takes nobody's turn: after so long the next may follow. */
const IN_VAIN_MS = 10_000

/** Whoever was made to leave is not taken back at once, and visits keep their pace. */
export const pace: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  const left = new Map<string, { readonly t: number; readonly wallAt: number; readonly why: string }>()
  const visited = new Map<
    string,
    { readonly t: number; readonly wallAt: number; readonly peer: string; isInVain: boolean }
  >()
  /** Peers that somebody was connected with, in either direction. */
  const met = new Set<string>()
  /** What speeds a visit goes by; null where the outside cannot tell. */
  const kindOf = (book: Book, { peer, address, view }: Dial): 'regular' | 'trial' | null => {
    const isProven = book.routes.get(address)?.isProven === true
    if (isProven || (view && view.errorCount > 0)) return 'regular'
    return !met.has(`${book.host.id} ${peer}`) && view?.priority !== 'LOW' ? 'trial' : null
  }
  /** A dial in a class all of whose slots are taken, unless it is a further route of a peer that is being dialed. */
  const judgeVisit = (book: Book, dial: Dial): void => {
    if (book.slotsTaken(dial.class).length < book.max(dial.class) || book.max(dial.class) === 0) return
    if (book.inFlight().some((each) => each !== dial && each.peer === dial.peer)) return
    const kind = kindOf(book, dial)
    if (!kind) return
    const { t, wallAt } = dial
    const key = `${book.host.id} ${dial.class} ${kind}`
    const before = visited.get(key)
    visited.set(key, { t, wallAt, peer: dial.peer, isInVain: false })
    if (!before) return
    const ms = Math.max(t - before.t, wallAt - before.wallAt)
    const regularMs = before.isInVain ? Math.min(IN_VAIN_MS, book.rotationMinMs) : book.rotationMinMs
    const dueMs = kind === 'trial' ? TRIAL_MIN_MS : regularMs
    if (ms < dueMs - SLACK_MS)
      report(`${book.host.name} visits ${dial.class} peers again after ${ms} ms, at least ${dueMs} are due`)
  }
  return {
    name: 'pace',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type === 'told' && event.told.type === 'created')
        for (const map of [left, visited])
          for (const key of map.keys()) if (key.startsWith(event.host.id)) map.delete(key)
      if (event.type === 'told' && event.told.type === 'disconnected') {
        const peer = event.told.peer
        const view = event.host.manager?.peer.get(peer)
        if (view)
          left.set(`${event.host.id} ${peer}`, { t: world.t, wallAt: event.host.clock.now(), why: 'disconnect' })
      }
      if (event.type === 'change' && event.change.type === 'failed')
        for (const [key, visit] of visited)
          if (key.startsWith(event.host.id) && visit.peer === event.change.peer) visit.isInVain = true
      if (event.type === 'change' && event.change.type === 'connected') met.add(`${event.host.id} ${event.change.peer}`)
      if (event.type === 'change' && event.change.type === 'disconnected') {
        const { peer, reason } = event.change
        const now = { t: world.t, wallAt: event.host.clock.now() }
        // Of somebody of whom nothing else is known, the hang-up is forgotten with him.
        const isKnown = event.host.manager?.peer.get(peer) ?? null
        if (isKnown && (reason === 'rotation' || reason === 'lifetime'))
          left.set(`${event.host.id} ${peer}`, { ...now, why: reason })
      }
      const found = dialOf(ledger, event)
      if (found?.dial.cause !== 'schedule') return
      const { book, dial } = found
      judgeVisit(book, dial)
      const held = left.get(`${book.host.id} ${dial.peer}`)
      if (!held) return
      const ms = Math.max(dial.t - held.t, dial.wallAt - held.wallAt)
      if (ms < HOLD_MS - CLOSING_MS - SLACK_MS)
        report(`${book.host.name} dials ${world.nameOf(dial.peer)} ${ms} ms after the hang-up for ${held.why}`)
    },
  }
}

// ---- checkers: outcomes -----------------------------------------------------------------------------------------------

/** Time that a dial may take before it is given up, by class, with some slack. */
function dialTimeout(routeClass: string): number {
  const limits: { readonly [name: string]: number } = { local: 3, onion: 30, tunnel: 30 }
  return (limits[routeClass] ?? 10) * SECOND + 2 * SECOND
}

/** How long a dial is certainly counted on: a twentieth of its time, as after an interruption, but for what the clocks may differ. */
function hopeMs(routeClass: string): number {
  return (dialTimeout(routeClass) - 2 * SECOND) / 20 - 100
}

/** Every attempt has exactly one outcome in `changes()`, in time, unless it was abandoned; and no dial goes unannounced. */
export const outcomes: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  interface Attempt {
    readonly peer: FeedId
    since: number
  }
  const open = new Map<Host, Map<Address, Attempt>>()
  /** The last dialing change that no dial of the network has followed yet. */
  const announced = new Map<Host, Address>()
  /** Dials that the network has not answered, whether or not anybody waits for them. */
  const unanswered = new Map<number, { readonly host: Host; readonly address: Address; readonly peer: FeedId }>()
  /** Those of them beside which an inbound connection of the same peer came: they may still win the crossing. */
  const crossed = new Map<Host, Map<Address, FeedId>>()
  const of = <T>(map: Map<Host, Map<Address, T>>, host: Host): Map<Address, T> => {
    const known = map.get(host) ?? new Map<Address, T>()
    map.set(host, known)
    return known
  }
  const abandon = (host: Host, isMeant: (attempt: Attempt, address: Address) => boolean): void => {
    for (const [address, attempt] of of(open, host)) if (isMeant(attempt, address)) of(open, host).delete(address)
  }
  const seeChange = (host: Host, change: ConnectionChange): void => {
    const { type, peer, address, direction } = change
    const attempts = of(open, host)
    const who = `${host.name}: ${type} ${address}`
    if (type === 'dialing' && address !== null) {
      if (attempts.has(address)) report(`${who}, whose last attempt has no outcome yet`)
      attempts.set(address, { peer, since: world.t })
      announced.set(host, address)
    } else if (type === 'failed' && address !== null) {
      if (!attempts.delete(address)) report(`${who}, which was not being dialed`)
    } else if (type === 'connected') {
      if (direction === 'outbound' && address !== null && !attempts.delete(address) && !of(crossed, host).has(address))
        report(`${who}, which was not being dialed`)
      abandon(host, (attempt) => attempt.peer === peer)
    }
  }
  /** Whoever calls need not be dialed, even if he is refused right away. */
  const seeCall = (host: Host, peer: FeedId): void => {
    for (const each of unanswered.values())
      if (each.host === host && each.peer === peer) of(crossed, host).set(each.address, peer)
    abandon(host, (attempt) => attempt.peer === peer)
  }
  const seeTold = (host: Host, told: Told): void => {
    switch (told.type) {
      case 'created':
      case 'stopped':
      case 'closed':
      case 'syncStopped':
        of(crossed, host).clear()
        return abandon(host, () => told.type !== 'syncStopped' || ledger.book(host).mode === 'off')
      case 'prioritised':
        return abandon(host, (attempt) => told.priority === 'BANNED' && attempt.peer === told.peer)
      case 'disconnected':
        return abandon(host, (attempt) => attempt.peer === told.peer)
      case 'routeRemoved':
        return abandon(host, (_, address) => address === told.address)
      default:
        if (isUnsteady(told)) for (const attempt of of(open, host).values()) attempt.since = world.t
    }
  }
  return {
    name: 'outcomes',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type === 'told') seeTold(event.host, event.told)
      if (event.type === 'change') seeChange(event.host, event.change)
      if (event.type === 'network' && event.event.type === 'answered') unanswered.delete(event.event.attempt)
      if (event.type === 'network' && event.event.type === 'opened' && event.event.direction === 'inbound') {
        const host = world.hostOf.get(event.event.end)
        if (host) seeCall(host, event.event.other)
      }
      const found = dialOf(ledger, event)
      if (!found) return
      const { host } = found.book
      const { attempt, address, peer } = found.dial
      unanswered.set(attempt, { host, address, peer })
      if (announced.get(host) !== address) report(`${host.name} dials ${address} without saying so`)
      announced.delete(host)
    },
    onSample: () => {
      for (const [host, attempts] of open) {
        if (host.clock.isAsleep) continue
        for (const [address, attempt] of attempts) {
          const route = ledger.book(host).routes.get(address)
          const ms = world.t - attempt.since
          // Where the wall clock was set back in the middle, nobody can tell how long it took; it may count again.
          const limitMs = dialTimeout(route?.isLocal ? 'local' : (route?.protocol ?? ''))
          if (ms > (ledger.book(host).hasJumped ? 2 * limitMs : limitMs))
            report(`${host.name}: the attempt at ${address} has had no outcome for ${ms} ms`)
        }
      }
    },
  }
}

/** `peer.connect` always answers. */
export const requests: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  // All routes of a peer, four at a time, each up to its timeout.
  const pending = new Lasting(world, 3 * MINUTE, report)
  const textOf = (host: Host, peer: FeedId): string => `${host.name}: connect(${world.nameOf(peer)}) is pending`
  return {
    name: 'requests',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type !== 'told') return
      const { host, told } = event
      const book = ledger.book(host)
      if (isUnsteady(told)) pending.forget(host)
      if (told.type === 'created') for (const peer of world.hostOf.keys()) pending.set(textOf(host, peer), host, false)
      if (told.type === 'requested' || told.type === 'requestSettled')
        pending.set(textOf(host, told.peer), host, (book.requests.get(told.peer) ?? 0) > 0)
    },
    onSample: () => pending.look(),
  }
}

/** After stop() nothing is open and no timer is left; after close() the same, for good. */
export const nothingLeft: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  /** Ends that were open at the stop. */
  const doomed = new Map<Host, { readonly t: number; readonly ends: readonly End[] }>()
  const judgeClosed = (host: Host): void => {
    if (host.clock.pending > 0) report(`${host.name} has ${host.clock.pending} timers after close()`)
    const open = ledger.book(host).open()
    if (open.length > 0) report(`${host.name} has ${open.length} open connections after close()`)
  }
  return {
    name: 'nothingLeft',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type === 'phase' && event.phase === 'end') for (const host of world.hosts) judgeClosed(host)
      if (event.type !== 'told') return
      const { host, told } = event
      if (told.type === 'stopped' || told.type === 'closed')
        doomed.set(host, { t: world.t, ends: ledger.book(host).open() })
      // Whatever asks for connections again ends the silence.
      if (
        told.type === 'created' ||
        told.type === 'started' ||
        told.type === 'syncStarted' ||
        told.type === 'requested'
      )
        doomed.delete(host)
      if (isUnsteady(told) || told.type === 'signal') {
        const known = doomed.get(host)
        if (known) doomed.set(host, { ...known, t: world.t })
      }
    },
    onSample: () => {
      for (const [host, { t, ends }] of doomed) {
        if (world.t - t < 10 * SECOND || host.clock.isAsleep) continue
        doomed.delete(host)
        const book = ledger.book(host)
        const kept = ends.filter((end) => end.closingAt === null && book.ends.has(end.connection))
        if (kept.length > 0) report(`${host.name} keeps ${kept.length} connections after stop() or close()`)
        // A connection that somebody else made to a manager that is off may have a lifetime.
        if (book.ends.size === 0 && host.clock.pending > 0)
          report(`${host.name} has ${host.clock.pending} timers after stop() or close()`)
      }
    },
  }
}

// ---- checkers: liveness -----------------------------------------------------------------------------------------------

/** A route of `host` by which `other` would answer now. */
function worksNow(world: World, host: Host, route: Known): boolean {
  const other = world.hostOf.get(route.peer)
  if (!other?.manager || other.clock.isAsleep || !other.node.addresses.includes(route.address)) return false
  return !isNearby(route.address) || other.lan === host.lan
}

/** Routes by which a host could have somebody, given what it was told and still knows. */
function liveRoutes(world: World, ledger: Ledger, host: Host): Known[] {
  const book = ledger.book(host)
  const found: Known[] = []
  for (const route of book.routes.values()) {
    const other = world.hostOf.get(route.peer)
    if (!other || !worksNow(world, host, route) || book.isBanned(route.peer)) continue
    const there = ledger.book(other)
    if (there.isBanned(host.id) || other.options.maxInbound !== undefined) continue
    if (book.max(route.isLocal ? 'local' : route.protocol) === 0 && !book.longTerm.has(route.peer)) continue
    // A stranger's word about our own network is not to be followed.
    if (!route.isSafe && [...route.sources].every((source) => source === 'pub')) continue
    if (host.manager?.peer.get(route.peer)?.routes.some((each) => each.id === route.address)) found.push(route)
  }
  return found
}

/** In the calm every manager that knows somebody who is there ends up connected. */
export const converges: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  const lonelySince = new Map<Host, number>()
  return {
    name: 'converges',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type !== 'phase' || event.phase !== 'judgement') return
      for (const host of world.hosts) {
        const book = ledger.book(host)
        const since = lonelySince.get(host)
        if (book.mode !== 'on' || since === undefined || world.t - since < 2 * MINUTE) continue
        const routes = liveRoutes(world, ledger, host)
        if (routes.length === 0) continue
        const why = routes.map(({ address, peer }) => `${world.nameOf(peer)} ${explained(host, address)}`)
        report(`${host.name} has been alone for ${world.t - since} ms, though it knows ${why.join(', ')}`)
      }
    },
    onSample: () => {
      if (world.phase !== 'calm') return
      for (const host of world.hosts) {
        if (ledger.book(host).open().length > 0) lonelySince.delete(host)
        else if (!lonelySince.has(host)) lonelySince.set(host, world.t)
      }
    },
  }
}

function explained(host: Host, address: Address): string {
  const answer = host.manager?.peer.explain(address)
  return answer ? `(${answer.reason}: ${answer.message})` : ''
}

/** Peers that `prompt` asks about in one look; it goes on with the next ones at the next look. */
const ASKED_AT_ONCE = 40

/** Sockets that a manager may hold for strangers, as a multiple of the dials that it may have in flight (plan.ts). */
const SOCKETS_FACTOR = 4

/** What stands in the way of each route of some peers, as the public API explains it. */
function explanations(host: Host, peers: Iterable<FeedId>): Map<Address, RefusalReason | null> {
  const found = new Map<Address, RefusalReason | null>()
  for (const peer of peers)
    for (const route of host.manager?.peer.explain(peer).routes ?? []) found.set(route.address, route.reason)
  return found
}

/** A free slot and a peer that nothing stands in the way of: dialed within a minute and a half. */
export const prompt: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  const idle = new Lasting(world, 90 * SECOND, report)
  let asked = 0
  /** Classes with a free slot and a route that could be dialed. */
  const openClasses = (book: Book): Set<string> => {
    const found = new Set<string>()
    if (book.mode !== 'on' || book.sync) return found
    // Those that are not refused for want of a slot take one all the same.
    const taken = (name: string): number =>
      [...book.ends.values()].filter((end) => end.class === name && !end.isGone).length +
      book.inFlight().filter((dial) => dial.class === name).length
    const free = new Set(Object.keys(book.maxByType).filter((name) => taken(name) < book.max(name)))
    if (free.size === 0) return found
    const status = book.host.manager?.connections.status()
    // Then there is one probe at a time, at its own pace.
    if (!status || status.environment.down.some(({ layer }) => layer === 'link' || layer === 'resolver')) return found
    // Dials that were given up hold sockets for a while; when there are too many, strangers have to wait for them.
    const isClogged = status.lingering >= SOCKETS_FACTOR * book.maxDialing
    const peers = [...new Set([...book.routes.values()].map((route) => route.peer))]
    const start = peers.length > ASKED_AT_ONCE ? asked % peers.length : 0
    const some = [...peers.slice(start), ...peers.slice(0, start)].slice(0, ASKED_AT_ONCE)
    for (const [address, reason] of explanations(book.host, some)) {
      const route = book.routes.get(address)
      const name = !route ? '' : route.isLocal ? 'local' : route.protocol
      if (!route || (isClogged && !route.isProven) || book.open(route.peer).length > 0) continue
      if ((reason === null || reason === 'slotsFull') && free.has(name)) found.add(name)
    }
    return found
  }
  return {
    name: 'prompt',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type === 'told' && event.told.type !== 'routeAdded') idle.forget(event.host)
      const found = dialOf(ledger, event)
      // One dial is a sign of life; the next is due within the same time again.
      if (found) idle.forget(found.book.host)
    },
    onSample: () => {
      if (world.phase !== 'calm') return
      asked += ASKED_AT_ONCE
      for (const host of world.hosts) {
        if (!host.manager || host.clock.isAsleep) continue
        const book = ledger.book(host)
        const waiting = openClasses(book)
        for (const name of Object.keys(book.maxByType))
          idle.set(`${host.name}: a free ${name} slot and somebody to dial`, host, waiting.has(name))
      }
      idle.look()
    },
  }
}

/**
 * Nothing starves: whoever may be dialed is tried before his class has made a number of dials that depends on how many there
 * are of his priority, not on who they are. Every eighth dial goes round sixteen lanes (rank.ts), so it is 128 for each.
 */
export const fair: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  const dialCounts = new Map<string, number>()
  const waiting = new Map<string, number>()
  const look = (book: Book): void => {
    const { host } = book
    const views = host.manager?.peer.list() ?? []
    const alike = new Map<Priority, number>()
    for (const { priority } of views) alike.set(priority, (alike.get(priority) ?? 0) + 1)
    const known = new Set([...book.routes.values()].map((route) => route.peer))
    for (const [address, reason] of explanations(host, known)) {
      const route = book.routes.get(address)
      if (!route) continue
      const name = route.isLocal ? 'local' : route.protocol
      const key = `${host.id} ${address}`
      const count = dialCounts.get(`${host.id} ${name}`) ?? 0
      const since = waiting.get(key)
      const priority = views.find((view) => view.id === route.peer)?.priority
      const limit = 128 * ((priority && alike.get(priority)) || 1)
      if ((reason !== null && reason !== 'slotsFull') || book.open(route.peer).length > 0) waiting.delete(key)
      else if (since === undefined) waiting.set(key, count)
      else if (count - since > limit) {
        report(`${host.name} has made ${count - since} ${name} dials, none to ${world.nameOf(route.peer)}`)
        waiting.delete(key)
      }
    }
  }
  return {
    name: 'fair',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type === 'told' && (event.told.type === 'created' || isUnsteady(event.told)))
        for (const key of waiting.keys()) if (key.startsWith(event.host.id)) waiting.delete(key)
      const found = dialOf(ledger, event)
      if (!found) return
      const { book, dial } = found
      // Whichever route of his: the peer was tried.
      for (const route of book.routes.values())
        if (route.peer === dial.peer) waiting.delete(`${book.host.id} ${route.address}`)
      if (dial.cause !== 'schedule') return
      const key = `${book.host.id} ${dial.class}`
      dialCounts.set(key, (dialCounts.get(key) ?? 0) + 1)
    },
    onSample: () => {
      if (world.phase !== 'calm' || world.t % (2 * MINUTE) !== 0) return
      for (const host of world.hosts) if (ledger.book(host).mode === 'on') look(ledger.book(host))
    },
  }
}

/** Among equals it goes round: after his pause nobody waits longer than twice the time in which all could have their turn. */
export const roundRobin: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  const visited = new Map<string, number>()
  let startedAt = 0
  return {
    name: 'roundRobin',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type === 'phase' && event.phase === 'calm') {
        startedAt = event.t
        for (const host of world.hosts) for (const other of world.hosts) visited.set(`${host.id} ${other.id}`, event.t)
      }
      if (event.type === 'network' && (event.event.type === 'opened' || event.event.type === 'closed'))
        visited.set(`${event.event.end} ${event.event.other}`, event.t)
    },
    onSample: () => {
      if (world.phase !== 'calm' || !world.areEqual) return
      for (const host of world.hosts) {
        const book = ledger.book(host)
        const { dwellMs = 30 * SECOND, rotationMaxMs = 54 * SECOND, visitMaxMs = 40 * MINUTE } = host.options
        const peers = new Set([...book.routes.values()].map((route) => route.peer))
        // A connection has its share, then rotation its pause, before somebody else has a turn; visits that bring nothing, as
        // all do here, come at up to sixteen times the pause.
        const turnMs = 16 * rotationMaxMs + dwellMs / Math.max(1, book.max('net')) + CLOSING_MS
        for (const peer of peers) {
          const key = `${host.id} ${peer}`
          const since = visited.get(key)
          // Until all have been seen once, every second turn goes to one that has been.
          const limitMs = visitMaxMs + dwellMs + (since === startedAt ? 3 : 2) * peers.size * turnMs
          if (since === undefined || book.open(peer).length > 0 || world.t - since <= limitMs) continue
          report(`${host.name} has not seen ${world.nameOf(peer)} for ${world.t - since} ms of ${limitMs}`)
          visited.set(key, world.t)
        }
      }
    },
  }
}

/** Managers sleep when nothing is due: timers in the calm are in proportion to what happens. */
export const quiet: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  const events = new Map<Host, number>()
  const atStart = new Map<Host, number>()
  let startedAt = 0
  return {
    name: 'quiet',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type === 'phase' && event.phase === 'calm') {
        startedAt = event.t
        for (const host of world.hosts) atStart.set(host, host.clock.fired)
        events.clear()
      }
      if (event.type === 'network' && event.event.type !== 'dialed' && event.event.type !== 'answered') {
        const host = world.hostOf.get(event.event.end)
        if (host) events.set(host, (events.get(host) ?? 0) + 1)
      } else if (event.type === 'change') events.set(event.host, (events.get(event.host) ?? 0) + 1)
      if (event.type !== 'phase' || event.phase !== 'judgement') return
      for (const host of world.hosts) {
        const fired = host.clock.fired - (atStart.get(host) ?? 0)
        // Each event may set a timer for each class and for its peer; each hour has its probes and throttled hosts.
        const allowed = 200 + 8 * (events.get(host) ?? 0) + ((event.t - startedAt) / HOUR) * 120
        if (fired > allowed) report(`${host.name} woke ${fired} times in the calm for ${events.get(host) ?? 0} events`)
      }
    },
  }
}

/** Peers that are silent together before a manager may take it for a silence of its own. */
const WITNESSES = 3

/** After an outage of its own a host is as it was: nobody is worse off, and whoever was connected to somebody is so again. */
export const outage: CheckerFactory = (world, report) => {
  const ledger = ledgerOf(world)
  interface Before {
    readonly routes: Map<Address, RouteView>
    readonly connected: number
    readonly link: LinkState
    /** Routes that failed in silence while connections over the link still seemed to be there: nobody can tell why. */
    readonly doubtful: Set<Address>
  }
  const before = new Map<Host, Before>()
  const routesOf = (host: Host): Map<Address, RouteView> => {
    const found = new Map<Address, RouteView>()
    for (const peer of host.manager?.peer.list() ?? []) for (const route of peer.routes) found.set(route.id, route)
    return found
  }
  const outside = (book: Book): Known[] => [...book.routes.values()].filter((route) => !route.isLocal)
  const seemsUp = (host: Host): boolean =>
    ledger
      .book(host)
      .open()
      .some((end) => host.node.connections.some((each) => each.number === end.connection && !isNearby(each.address)))
  const compare = (host: Host, known: Before): void => {
    const now = host.clock.now()
    const book = ledger.book(host)
    const witnesses = new Set(outside(book).flatMap((route) => (route.isProven ? [route.peer] : [])))
    if (known.link === 'silent' && witnesses.size < WITNESSES) return
    // Nobody has had to be found by name since then, so the refund is still to come.
    if (host.manager?.connections.status().environment.down.some(({ layer }) => layer === 'resolver')) return
    for (const [address, after] of routesOf(host)) {
      const was = known.routes.get(address)
      const route = book.routes.get(address)
      // Who is gone for reasons of his own may well be counted as such.
      if (!was || !route || !worksNow(world, host, route) || known.doubtful.has(address)) continue
      const why = `its link was ${known.link}`
      if (after.errorCount > was.errorCount)
        report(`${host.name} counts ${after.errorCount} failures of ${address}, ${was.errorCount} before ${why}`)
      if (after.nextAttemptAt > Math.max(was.nextAttemptAt, now))
        report(`${host.name} pauses ${address} for another ${after.nextAttemptAt - now} ms after ${why}`)
    }
  }
  return {
    name: 'outage',
    onEvent: (event) => {
      ledger.see(event)
      if (event.type === 'change' && event.change.type === 'failed' && event.change.address !== null) {
        const known = before.get(event.host)
        if (known?.link === 'silent' && seemsUp(event.host)) known.doubtful.add(event.change.address)
      }
      if (event.type !== 'told') return
      const { host, told } = event
      const connected = ledger.book(host).open().length
      if (told.type === 'outageBegan')
        before.set(host, { routes: routesOf(host), connected, link: told.link, doubtful: new Set() })
      const known = before.get(host)
      if (told.type !== 'outageJudged' || !known) return
      if (connected < Math.min(known.connected, 1))
        report(`${host.name} had ${known.connected} connections before the outage and has ${connected} after it`)
      compare(host, known)
    },
  }
}

function isNearby(address: Address): boolean {
  return address.startsWith('net:192.168.')
}

// ---- checkers: what the API says --------------------------------------------------------------------------------------

/** `peers()` replayed into a map is what `peer.list()` says; a reader that comes back late sees the same. */
export const streams: CheckerFactory = (world, report) => {
  const fast = new Map<Host, Map<FeedId, PeerView>>()
  const slow = new Map<Host, { readonly read: () => Map<FeedId, PeerView> }>()
  const apply = (map: Map<FeedId, PeerView>, item: PeerView | PeerRemoved | { readonly sync: true }): void => {
    if ('sync' in item) return
    if ('removed' in item) map.delete(item.id)
    else map.set(item.id, item)
  }
  const subscribe = (host: Host): void => {
    if (!host.manager) return
    const map = new Map<FeedId, PeerView>()
    drain(host.manager.peers(), (item) => apply(map, item))
    fast.set(host, map)
    const late = new Map<FeedId, PeerView>()
    const source = host.manager.peers()
    // Asks again only when it is looked at; what came in between is coalesced.
    let isWaiting = false
    const read = (): Map<FeedId, PeerView> => {
      while (!isWaiting) {
        isWaiting = true
        source(null, (end, item) => {
          isWaiting = end !== null
          if (!end && item !== undefined) apply(late, item)
        })
      }
      return late
    }
    slow.set(host, { read })
  }
  const compare = (host: Host, kind: string, map: ReadonlyMap<FeedId, PeerView>): void => {
    const list = host.manager?.peer.list() ?? []
    if (list.length !== map.size) report(`${host.name}: the ${kind} reader has ${map.size} peers of ${list.length}`)
    for (const peer of list)
      if (JSON.stringify(peer) !== JSON.stringify(map.get(peer.id)))
        report(`${host.name}: the ${kind} reader has another view of ${world.nameOf(peer.id)}`)
  }
  const managers = new Map<Host, unknown>()
  return {
    name: 'streams',
    onSample: () => {
      const isLook = world.t % (10 * MINUTE) === 0
      for (const host of world.hosts) {
        if (managers.get(host) !== host.manager) {
          managers.set(host, host.manager)
          subscribe(host)
        }
        if (!isLook || !host.manager) continue
        const map = fast.get(host)
        const reader = slow.get(host)
        if (map) compare(host, 'fast', map)
        // The item that a waiting reader was handed meanwhile may be older than what followed it; it reads on.
        if (reader) {
          reader.read()
          compare(host, 'slow', reader.read())
        }
      }
    },
  }
}

/** A state as plain data, trees as lists, so that two can be compared and shown. */
function plain(state: State): string {
  const of = (value: unknown): unknown => {
    if (value === Number.POSITIVE_INFINITY) return 'Infinity'
    if (typeof value !== 'object' || value === null) return value
    if (Array.isArray(value)) return value.map(of)
    const tree = value as { toArray?: () => unknown[] }
    if (typeof tree.toArray === 'function') return tree.toArray().map(of)
    return Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, each]) => [key, of(each)])
  }
  return JSON.stringify(of(state))
}

/** Few hosts are replayed, as it means reducing everything a second time. */
const REPLAYED_HOSTS = 2

/** A recording of the actions leads to the same state, from the defaults on. */
export const recording: CheckerFactory = (_world, report) => ({
  name: 'recording',
  onEvent: (event) => {
    if (event.type !== 'told' || event.told.type !== 'closed' || event.host.index >= REPLAYED_HOSTS) return
    const { name, manager, actions } = event.host
    if (!manager) return
    // As data, the way it would come out of a log.
    const recorded = JSON.parse(JSON.stringify(actions)) as typeof actions
    const replayed = replay(initialState(DEFAULT_OPTIONS, recorded[0]?.at ?? 0), recorded)
    if (plain(replayed) !== plain(manager.internal.store.getState()))
      report(`${name}: ${actions.length} recorded actions lead to another state`)
  },
})

/** The derived parts of every state agree with a recomputation. */
export const invariants: CheckerFactory = (world, report) => {
  const look = (host: Host): void => {
    if (!host.manager) return
    try {
      checkInvariants(host.manager.internal.store.getState())
    } catch (error) {
      report(`${host.name}: ${String(error)}`)
    }
  }
  return {
    name: 'invariants',
    onEvent: (event) => {
      if (event.type === 'phase') for (const host of world.hosts) look(host)
      // One host is looked at whenever anything happens to it.
      if (event.type === 'change' && event.host.index === 0) look(event.host)
    },
    onSample: () => {
      const host = world.hosts[(world.t / (30 * SECOND)) % world.hosts.length]
      if (host) look(host)
    },
  }
}

/** What holds in every world, at any time. */
export const ALWAYS: readonly CheckerFactory[] = [
  slots,
  oneConnection,
  forbiddenDials,
  hostThrottle,
  backoff,
  pace,
  outcomes,
  requests,
  nothingLeft,
  converges,
  prompt,
  fair,
  quiet,
  streams,
  recording,
  invariants,
]

/** What holds only where the world is made for it. */
export const CHECKERS: { readonly [K in Kind]: readonly CheckerFactory[] } = {
  chaos: ALWAYS,
  outage: [...ALWAYS, outage],
  crossing: [...ALWAYS, crossing],
  hostile: ALWAYS,
  fairness: [...ALWAYS, roundRobin],
}
