/**
 * Records of peers and routes in a compact form: there may be 100 000 of them, each copied whenever something about it
 * changes. What many routes have in common lies in one object that they share; what happened to a route lies in one that it
 * only has when something did; what its address says is read from the address when it is asked for.
 */
import { hostKeyOf, portalOf } from './address'
import type { Merit } from './merit'
import { statsOf } from './stats'
import type {
  Address,
  Connection,
  DurationMs,
  EpochMs,
  FeedId,
  Peer,
  Priority,
  Route,
  RouteData,
  RouteError,
  Scope,
  Stats,
} from './types'

// ---- what is shared ---------------------------------------------------------------------------------------------------

interface Kind {
  readonly queue: string
  readonly tier: number
  readonly protocol: string
  readonly class: string
  readonly isLocal: boolean
  readonly scope: Scope
  readonly source: string
  readonly isStored: boolean
  readonly isAnnounced: boolean
  readonly isAutomatic: boolean
}

/**
 * Values that are made once for all who have the same. Names of protocols and sources come from strangers: beyond `limit`
 * different ones it starts anew, and what was handed out stays valid, only no longer shared.
 */
class Pool<T> {
  private readonly known = new Map<string, T>()

  constructor(private readonly limit: number) {}

  get(key: string, make: () => T): T {
    const known = this.known.get(key)
    if (known !== undefined) return known
    if (this.known.size >= this.limit) this.known.clear()
    const made = make()
    this.known.set(key, made)
    return made
  }
}

const kinds = new Pool<Kind>(4_096)
const texts = new Pool<string>(1_024)

function kindOf(kind: Kind): Kind {
  const { queue, tier, protocol, isLocal, scope, source, isStored, isAnnounced, isAutomatic } = kind
  const flags = Number(isLocal) + 2 * Number(isStored) + 4 * Number(isAnnounced) + 8 * Number(isAutomatic)
  // With lengths, so that no two kinds have one key, whatever is in their names.
  const lengths = `${queue.length} ${protocol.length} ${kind.class.length}`
  const key = `${tier} ${flags} ${scope} ${lengths} ${queue}${protocol}${kind.class}${source}`
  return kinds.get(key, () => ({
    ...kind,
    // One string for each name, so that most comparisons end at the first look.
    queue: shared(queue),
    protocol: shared(protocol),
    class: shared(kind.class),
    source: shared(source),
  }))
}

/** As a name of a property, which V8 has only once: most texts that it is compared with are then the very same. */
function shared(text: string): string {
  return texts.get(text, () => Object.keys({ [text]: 0 })[0] ?? text)
}

const NO_KIND: Kind = {
  queue: '',
  tier: 0,
  protocol: '',
  class: '',
  isLocal: false,
  scope: null,
  source: '',
  isStored: false,
  isAnnounced: false,
  isAutomatic: true,
}

/**
 * In the place of a time in the first record of each class, which is kept. V8 gives the numbers of a field that has only ever
 * seen numbers a box in each record, zeros too; where the field has once held something else, zeros need none, and records
 * that are copies of each other share the others. It forgets what it has seen when no such record is left.
 */
const NO_NUMBER = null as unknown as number

// ---- what happened ----------------------------------------------------------------------------------------------------

/** What a failure said. Where it names the host there is a mark, so that all that fail alike share it. */
interface Complaint {
  readonly text: string
  readonly code: string | null
  readonly isMarked: boolean
}

const HOST_MARK = '\u0000'
const complaints = new Pool<Complaint>(1_024)

function complaintOf({ message, code }: RouteError, host: string): Complaint {
  const isMarked = host !== '' && message.includes(host) && !message.includes(HOST_MARK)
  const text = isMarked ? message.split(host).join(HOST_MARK) : message
  // Mostly the same as the last time, and to compare takes less than to look for it.
  if (lastComplaint.text === text && lastComplaint.code === code && lastComplaint.isMarked === isMarked)
    return lastComplaint
  lastComplaint = pooledComplaint(text, code, isMarked)
  return lastComplaint
}

let lastComplaint: Complaint = { text: '', code: null, isMarked: false }

function pooledComplaint(text: string, code: string | null, isMarked: boolean): Complaint {
  const key = `${isMarked} ${code === null ? '' : code.length} ${code ?? ''}${text}`
  return complaints.get(key, () => ({ text, code, isMarked }))
}

/** As it stands in the messages of the system: without the port. Empty where there is none. */
function hostIn(address: Address): string {
  const key = hostKeyOf(address)
  return key === null ? '' : key.slice(0, key.lastIndexOf(':'))
}

/** What happened to a route, but for what it is ordered by. A duration is kept as its sums, which the rest follows from. */
interface Past {
  readonly errorLog: ErrorLog
  readonly lastConnectionTime: EpochMs
  readonly connectionCount: number
  readonly lastSignalAt: EpochMs
  readonly durationCount: number
  readonly durationSum: number
  readonly durationSqsum: number
  readonly data: RouteData | null
}

/** As many failures of a route are kept. */
export const MAX_ERRORS = 5

/**
 * The last failures of one route. Of their times the last one is kept, and for the others how long before the next one they
 * were: small whole numbers, which need no box, in fields, where a list would be two objects more. Most routes never did
 * anything but fail, so it is a whole past, of one to whom nothing else happened.
 */
export class ErrorLog implements Past {
  static readonly EMPTY = new ErrorLog([], NO_NUMBER, null, null, null, null)

  private constructor(
    /** Oldest first; one alone if they were all alike. */
    private readonly complaints: readonly Complaint[] | Complaint,
    readonly lastAt: EpochMs,
    private readonly gap1: DurationMs | null,
    private readonly gap2: DurationMs | null,
    private readonly gap3: DurationMs | null,
    private readonly gap4: DurationMs | null,
  ) {}

  /** Of the last ones, if there are more than are kept. */
  static of(errors: readonly RouteError[], address: Address): ErrorLog {
    const last = errors.slice(-MAX_ERRORS)
    let log = ErrorLog.EMPTY
    const host = last.length > 0 ? hostIn(address) : ''
    let complaint: Complaint | null = null
    for (let i = 0; i < last.length; i++) {
      const each = last[i] as RouteError
      const before = last[i - 1]
      // A route mostly fails as it failed before.
      const isSame = before?.message === each.message && before.code === each.code
      complaint = isSame && complaint ? complaint : complaintOf(each, host)
      log = log.and(complaint, each.at)
    }
    return log
  }

  /** With one more at the end, and without the first if there were as many as are kept. */
  with(error: RouteError, address: Address): ErrorLog {
    return this.and(complaintOf(error, hostIn(address)), error.at)
  }

  private and(added: Complaint, at: EpochMs): ErrorLog {
    if (this === ErrorLog.EMPTY) return new ErrorLog(added, at, null, null, null, null)
    const { gap1, gap2, gap3, lastAt } = this
    const complaints = this.complaints === added ? added : compact([...this.list().slice(1 - MAX_ERRORS), added])
    return new ErrorLog(complaints, at, inPlace(at - lastAt), gap1, gap2, gap3)
  }

  /** Oldest first. */
  private times(): EpochMs[] {
    if (this === ErrorLog.EMPTY) return []
    const times = [this.lastAt]
    let at = this.lastAt
    for (const gap of [this.gap1, this.gap2, this.gap3, this.gap4]) {
      if (gap === null) break
      at -= gap
      times.push(at)
    }
    return times.reverse()
  }

  private list(): readonly Complaint[] {
    const { complaints } = this
    return 'code' in complaints ? this.times().map(() => complaints) : complaints
  }

  errorsOf(address: Address): readonly RouteError[] {
    if (this === ErrorLog.EMPTY) return NO_ERRORS
    const host = hostIn(address)
    const times = this.times()
    return this.list().map(({ text, code, isMarked }, i) => ({
      message: isMarked ? text.split(HOST_MARK).join(host) : text,
      code,
      at: times[i] ?? 0,
    }))
  }

  get errorLog(): ErrorLog {
    return this
  }
  get lastConnectionTime(): EpochMs {
    return 0
  }
  get connectionCount(): number {
    return 0
  }
  get lastSignalAt(): EpochMs {
    return 0
  }
  get durationCount(): number {
    return 0
  }
  get durationSum(): number {
    return 0
  }
  get durationSqsum(): number {
    return 0
  }
  get data(): RouteData | null {
    return null
  }
}

function compact(complaints: readonly Complaint[]): readonly Complaint[] | Complaint {
  const [first] = complaints
  return first !== undefined && complaints.every((each) => each === first) ? first : complaints
}

const NO_ERRORS: readonly RouteError[] = Object.freeze([])

/** Of a route that did more than fail. */
class History implements Past {
  static readonly first = new History(ErrorLog.EMPTY, NO_NUMBER, 0, NO_NUMBER, 0, NO_NUMBER, NO_NUMBER, null)

  constructor(
    readonly errorLog: ErrorLog,
    readonly lastConnectionTime: EpochMs,
    readonly connectionCount: number,
    readonly lastSignalAt: EpochMs,
    readonly durationCount: number,
    readonly durationSum: number,
    readonly durationSqsum: number,
    readonly data: RouteData | null,
  ) {}
}

/**
 * Failed dials in a row and the step of the backoff in one whole number. By its bits: a field that has once held a number with
 * a box would have one in each record from then on, and the fields after it too.
 */
function packFailures(errorCount: number, backoffStep: number): number {
  return Math.min(errorCount, MAX_ERROR_COUNT) | (backoffStep << ERROR_COUNT_BITS)
}

/** Beyond that nobody counts: with a second between them, they are the failures of half a year. Six bits are left to the step. */
const ERROR_COUNT_BITS = 24
const MAX_ERROR_COUNT = 2 ** ERROR_COUNT_BITS - 1

// ---- routes -------------------------------------------------------------------------------------------------------

/** What of a route can be written; the rest is said by its address or follows from its peer. Of `dueAt` see table.ts. */
export type RouteChange = Partial<Omit<Route, 'address' | 'peer' | 'hostKey' | 'portal' | Exclude<keyof Fit, 'dueAt'>>>

class RouteRecord implements Route {
  static readonly first = new RouteRecord(
    '',
    '',
    NO_KIND,
    ErrorLog.EMPTY,
    0,
    0,
    NO_NUMBER,
    NO_NUMBER,
    NO_NUMBER,
    NO_NUMBER,
    NO_NUMBER,
  )

  constructor(
    readonly address: Address,
    readonly peer: FeedId,
    readonly kind: Kind,
    readonly past: Past,
    readonly tie: number,
    readonly failures: number,
    readonly turnAt: EpochMs,
    readonly lastErrorTime: EpochMs,
    readonly dueAt: EpochMs,
    readonly addedAt: EpochMs,
    readonly nextAttemptAt: EpochMs,
  ) {}

  get queue(): string {
    return this.kind.queue
  }
  get tier(): number {
    return this.kind.tier
  }
  get protocol(): string {
    return this.kind.protocol
  }
  get class(): string {
    return this.kind.class
  }
  get isLocal(): boolean {
    return this.kind.isLocal
  }
  get scope(): Scope {
    return this.kind.scope
  }
  get source(): string {
    return this.kind.source
  }
  get isStored(): boolean {
    return this.kind.isStored
  }
  get isAnnounced(): boolean {
    return this.kind.isAnnounced
  }
  get isAutomatic(): boolean {
    return this.kind.isAutomatic
  }
  get lastConnectionTime(): EpochMs {
    return this.past.lastConnectionTime
  }
  get connectionCount(): number {
    return this.past.connectionCount
  }
  get errorCount(): number {
    return this.failures & MAX_ERROR_COUNT
  }
  get backoffStep(): number {
    return this.failures >>> ERROR_COUNT_BITS
  }
  get lastSignalAt(): EpochMs {
    return this.past.lastSignalAt
  }
  get errorLog(): ErrorLog {
    return this.past.errorLog
  }
  get duration(): Stats | null {
    const { durationCount, durationSum, durationSqsum } = this.past
    return durationCount === 0 ? null : statsOf(durationCount, durationSum, durationSqsum)
  }
  get data(): RouteData | null {
    return this.past.data
  }
  get errors(): readonly RouteError[] {
    return this.past.errorLog.errorsOf(this.address)
  }
  get hostKey(): string | null {
    return hostKeyOf(this.address)
  }
  get portal(): FeedId | null {
    return portalOf(this.address)
  }
}

/** A route that nothing has happened to yet. */
export function makeRoute(address: Address, peer: FeedId, addedAt: EpochMs): Route {
  return new RouteRecord(address, peer, NO_KIND, ErrorLog.EMPTY, 0, 0, 0, 0, 0, addedAt, 0)
}

/** The part of a route that follows from its peer and from when it is due: table.ts makes it fit with each change. */
export interface Fit {
  readonly queue: string
  readonly tier: number
  readonly tie: number
  readonly turnAt: EpochMs
  readonly dueAt: EpochMs
}

/** A copy with other values; the route itself where they are the values that it has. Of `change` all but `dueAt` counts, which is in `fit`. */
export function changeRoute(route: Route, change: RouteChange, fit: Fit = route): Route {
  const record = route as RouteRecord
  let { kind, past, errorCount, backoffStep, lastErrorTime, addedAt, nextAttemptAt } = record
  let isOfKind = false
  let isOfPast = false
  // By the names that are there: to ask for each that might be takes longer than all the rest.
  for (const name in change) {
    switch (name as keyof RouteChange) {
      case 'errorCount':
        errorCount = change.errorCount ?? errorCount
        break
      case 'backoffStep':
        backoffStep = change.backoffStep ?? backoffStep
        break
      case 'lastErrorTime':
        lastErrorTime = change.lastErrorTime ?? lastErrorTime
        break
      case 'addedAt':
        addedAt = change.addedAt ?? addedAt
        break
      case 'nextAttemptAt':
        nextAttemptAt = change.nextAttemptAt ?? nextAttemptAt
        break
      case 'lastConnectionTime':
      case 'connectionCount':
      case 'lastSignalAt':
      case 'errors':
      case 'errorLog':
      case 'duration':
      case 'data':
        isOfPast = true
        break
      case 'dueAt':
        break
      default:
        isOfKind = true
    }
  }
  const { queue, tier, tie, turnAt, dueAt } = fit
  if (isOfPast) past = changePast(record, change)
  // One number for both, as it is mostly the last failure that is noted in both places.
  if (lastErrorTime === past.errorLog.lastAt) lastErrorTime = past.errorLog.lastAt
  if (isOfKind || queue !== kind.queue || tier !== kind.tier) kind = changeKind(kind, change, queue, tier)
  const failures = packFailures(errorCount, backoffStep)
  const isSame =
    kind === record.kind &&
    past === record.past &&
    tie === record.tie &&
    failures === record.failures &&
    turnAt === record.turnAt &&
    lastErrorTime === record.lastErrorTime &&
    dueAt === record.dueAt &&
    addedAt === record.addedAt &&
    nextAttemptAt === record.nextAttemptAt
  if (isSame) return route
  return new RouteRecord(
    record.address,
    record.peer,
    kind,
    past,
    tie,
    failures,
    inPlace(turnAt),
    inPlace(lastErrorTime),
    dueAt === nextAttemptAt ? inPlace(nextAttemptAt) : inPlace(dueAt),
    addedAt,
    inPlace(nextAttemptAt),
  )
}

/** A zero or another small whole number needs no box, and has one nevertheless if it comes out of an object or a sum. */
function inPlace(value: number): number {
  const whole = value | 0
  return whole === value ? whole : value
}

function changeKind(kind: Kind, change: RouteChange, queue: string, tier: number): Kind {
  const {
    protocol = kind.protocol,
    class: routeClass = kind.class,
    isLocal = kind.isLocal,
    scope = kind.scope,
    source = kind.source,
    isStored = kind.isStored,
    isAnnounced = kind.isAnnounced,
    isAutomatic = kind.isAutomatic,
  } = change
  const isSame =
    queue === kind.queue &&
    tier === kind.tier &&
    protocol === kind.protocol &&
    routeClass === kind.class &&
    isLocal === kind.isLocal &&
    scope === kind.scope &&
    source === kind.source &&
    isStored === kind.isStored &&
    isAnnounced === kind.isAnnounced &&
    isAutomatic === kind.isAutomatic
  if (isSame) return kind
  for (const recent of recentKinds)
    if (
      queue === recent.queue &&
      tier === recent.tier &&
      protocol === recent.protocol &&
      routeClass === recent.class &&
      isLocal === recent.isLocal &&
      scope === recent.scope &&
      source === recent.source &&
      isStored === recent.isStored &&
      isAnnounced === recent.isAnnounced &&
      isAutomatic === recent.isAutomatic
    )
      return recent
  const next = kindOf({
    queue,
    tier,
    protocol,
    class: routeClass,
    isLocal,
    scope,
    source,
    isStored,
    isAnnounced,
    isAutomatic,
  })
  recentKinds[recentAt] = next
  recentAt = (recentAt + 1) % RECENT_KINDS
  return next
}

/** What comes by the hundred is mostly of few kinds, and to look for the key of a kind costs more than to compare. */
const RECENT_KINDS = 8
const recentKinds: Kind[] = []
let recentAt = 0

function changePast({ past, address }: RouteRecord, change: RouteChange): Past {
  const {
    errorLog = change.errors ? ErrorLog.of(change.errors, address) : past.errorLog,
    lastConnectionTime = past.lastConnectionTime,
    connectionCount = past.connectionCount,
    lastSignalAt = past.lastSignalAt,
    data = past.data,
  } = change
  let { durationCount, durationSum, durationSqsum } = past
  if (change.duration !== undefined) {
    durationCount = change.duration?.count ?? 0
    durationSum = change.duration?.sum ?? 0
    durationSqsum = change.duration?.sqsum ?? 0
  }
  const isSame =
    errorLog === past.errorLog &&
    lastConnectionTime === past.lastConnectionTime &&
    connectionCount === past.connectionCount &&
    lastSignalAt === past.lastSignalAt &&
    durationCount === past.durationCount &&
    durationSum === past.durationSum &&
    durationSqsum === past.durationSqsum &&
    data === past.data
  if (isSame) return past
  const hasOnlyFailed =
    lastConnectionTime === 0 && connectionCount === 0 && lastSignalAt === 0 && durationCount === 0 && data === null
  if (hasOnlyFailed) return errorLog
  return new History(
    errorLog,
    inPlace(lastConnectionTime),
    connectionCount,
    inPlace(lastSignalAt),
    durationCount,
    inPlace(durationSum),
    inPlace(durationSqsum),
    data,
  )
}

// ---- peers ------------------------------------------------------------------------------------------------------------

export const IDLE: Connection = { status: 'idle' }
const NO_ROUTES: readonly Address[] = Object.freeze([])

/** What is thought of a peer: many are thought of alike. */
interface Standing {
  readonly priority: Priority
  readonly prioritisedBy: string | null
  readonly isLongTerm: boolean
}

const standings = new Pool<Standing>(1_024)

function standingOf(priority: Priority, prioritisedBy: string | null, isLongTerm: boolean): Standing {
  // Names may be anything, so they come last.
  const by = prioritisedBy === null ? '' : ` ${prioritisedBy}`
  return standings.get(`${priority} ${isLongTerm}${by}`, () => ({ priority, prioritisedBy, isLongTerm }))
}

/** What only a peer has to whom something is going on at present, or was a moment ago; all others share one. */
class Activity {
  static readonly none = new Activity(IDLE, 0, Number.POSITIVE_INFINITY)

  constructor(
    readonly connection: Connection,
    readonly heldUntil: EpochMs,
    readonly timerAt: EpochMs,
  ) {}
}

class PeerRecord implements Peer {
  static readonly first = new PeerRecord(
    '',
    standingOf('MEDIUM', null, false),
    NO_NUMBER,
    0,
    NO_ROUTES,
    Activity.none,
    null,
  )

  constructor(
    readonly id: FeedId,
    private readonly standing: Standing,
    readonly visitedAt: EpochMs,
    readonly tie: number,
    /** The only route as it is, as most peers have one. */
    private readonly addresses: Address | readonly Address[],
    private readonly activity: Activity,
    readonly merit: Merit | null,
  ) {}

  get priority(): Priority {
    return this.standing.priority
  }
  get prioritisedBy(): string | null {
    return this.standing.prioritisedBy
  }
  get isLongTerm(): boolean {
    return this.standing.isLongTerm
  }
  get routes(): readonly Address[] {
    return typeof this.addresses === 'string' ? [this.addresses] : this.addresses
  }
  get connection(): Connection {
    return this.activity.connection
  }
  get heldUntil(): EpochMs {
    return this.activity.heldUntil
  }
  get timerAt(): EpochMs {
    return this.activity.timerAt
  }

  /** A copy with other values. */
  with(change: Partial<Peer>): Peer {
    let { standing, visitedAt, addresses, activity, merit } = this
    let isOfStanding = false
    let isOfActivity = false
    // By the names that are there, as with routes.
    for (const name in change) {
      switch (name as keyof Peer) {
        case 'visitedAt':
          visitedAt = inPlace(change.visitedAt ?? visitedAt)
          break
        case 'merit':
          if (change.merit !== undefined) merit = change.merit
          break
        case 'routes':
          if (change.routes) addresses = addressesOf(change.routes)
          break
        case 'connection':
        case 'heldUntil':
        case 'timerAt':
          isOfActivity = true
          break
        default:
          isOfStanding = true
      }
    }
    if (isOfStanding) {
      const { priority = standing.priority, prioritisedBy = standing.prioritisedBy } = change
      standing = standingOf(priority, prioritisedBy, change.isLongTerm ?? standing.isLongTerm)
    }
    if (isOfActivity) {
      const { connection = activity.connection, heldUntil = activity.heldUntil, timerAt = activity.timerAt } = change
      const isNone = connection === IDLE && heldUntil === 0 && timerAt === Number.POSITIVE_INFINITY
      activity = isNone ? Activity.none : new Activity(connection, heldUntil, timerAt)
    }
    return new PeerRecord(this.id, standing, visitedAt, this.tie, addresses, activity, merit)
  }
}

function addressesOf(routes: readonly Address[]): Address | readonly Address[] {
  const [only] = routes
  if (only === undefined) return NO_ROUTES
  return routes.length === 1 ? only : routes
}

/** A peer of whom nothing is known but maybe an address. */
export function makePeer(
  id: FeedId,
  tie: number,
  { priority = 'MEDIUM', address }: { readonly priority?: Priority; readonly address?: Address } = {},
): Peer {
  return new PeerRecord(id, standingOf(priority, null, false), 0, tie, address ?? NO_ROUTES, Activity.none, null)
}

/** A copy with other values. */
export function changePeer(peer: Peer, change: Partial<Peer>): Peer {
  return (peer as PeerRecord).with(change)
}
