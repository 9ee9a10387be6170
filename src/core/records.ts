/**
 * Route records in a compact form: there may be 100 000 of them, each copied whenever something about it changes. What many
 * routes have in common lies in one object that they share; what happened to a route lies in one that it only has when
 * something did; what its address says is read from the address when it is asked for.
 */
import { hostKeyOf, portalOf } from './address'
import type { Address, EpochMs, FeedId, Route, RouteData, RouteError, Scope, Stats } from './types'

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
  const key = `${queue} ${tier} ${protocol} ${kind.class} ${scope} ${flags} ${source}`
  return kinds.get(key, () => ({
    ...kind,
    // One string for each name, so that most comparisons end at the first look.
    queue: shared(queue),
    protocol: shared(protocol),
    class: shared(kind.class),
    source: shared(source),
  }))
}

function shared(text: string): string {
  return texts.get(text, () => text)
}

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
  return complaints.get(`${isMarked} ${code} ${text}`, () => ({ text, code, isMarked }))
}

/** As it stands in the messages of the system: without the port. Empty where there is none. */
function hostIn(address: Address): string {
  const key = hostKeyOf(address)
  return key === null ? '' : key.slice(0, key.lastIndexOf(':'))
}

/** The last failures of one route, oldest first: as many times as complaints. */
export class ErrorLog {
  static readonly EMPTY = new ErrorLog([], [])

  private constructor(
    private readonly times: readonly EpochMs[],
    private readonly complaints: readonly Complaint[] | Complaint,
  ) {}

  static of(errors: readonly RouteError[], address: Address): ErrorLog {
    if (errors.length === 0) return ErrorLog.EMPTY
    const host = hostIn(address)
    const made = errors.map((each) => complaintOf(each, host))
    const [first] = made
    const isUniform = first !== undefined && made.every((each) => each === first)
    return new ErrorLog(
      errors.map(({ at }) => at),
      isUniform ? first : made,
    )
  }

  /** With one more at the end, and the last `limit` of them. */
  with(error: RouteError, limit: number, address: Address): ErrorLog {
    const added = complaintOf(error, hostIn(address))
    const times = this.times.slice(1 - limit).concat(error.at)
    if (this.times.length === 0 || this.complaints === added) return new ErrorLog(times, added)
    return new ErrorLog(
      times,
      this.list()
        .slice(1 - limit)
        .concat(added),
    )
  }

  private list(): readonly Complaint[] {
    const { complaints } = this
    return 'code' in complaints ? this.times.map(() => complaints) : complaints
  }

  errorsOf(address: Address): readonly RouteError[] {
    if (this.times.length === 0) return NO_ERRORS
    const host = hostIn(address)
    return this.list().map(({ text, code, isMarked }, i) => ({
      message: isMarked ? text.split(HOST_MARK).join(host) : text,
      code,
      at: this.times[i] ?? 0,
    }))
  }
}

const NO_ERRORS: readonly RouteError[] = Object.freeze([])

class Past {
  constructor(
    readonly lastConnectionTime: EpochMs,
    readonly connectionCount: number,
    readonly backoffStep: number,
    readonly lastSignalAt: EpochMs,
    readonly errorLog: ErrorLog,
    readonly duration: Stats | null,
    readonly data: RouteData | null,
  ) {}
}

// ---- the record -------------------------------------------------------------------------------------------------------

/** What of a route can be written; the rest is said by its address. */
export type RouteChange = Partial<Omit<Route, 'address' | 'peer' | 'hostKey' | 'portal'>>

class RouteRecord implements Route {
  constructor(
    readonly address: Address,
    readonly peer: FeedId,
    readonly kind: Kind,
    readonly past: Past,
    readonly tie: number,
    readonly errorCount: number,
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
  get backoffStep(): number {
    return this.past.backoffStep
  }
  get lastSignalAt(): EpochMs {
    return this.past.lastSignalAt
  }
  get errorLog(): ErrorLog {
    return this.past.errorLog
  }
  get duration(): Stats | null {
    return this.past.duration
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

// V8 keeps the numbers of a field that has only ever seen numbers in a box of each record's own, zeros too. A field that has
// once held something else has small numbers in place, and records that are copies of each other share the others.
const SOMETHING_ELSE = null as unknown as number
new Past(SOMETHING_ELSE, 0, 0, SOMETHING_ELSE, ErrorLog.EMPTY, null, null)

const NO_PAST = new Past(0, 0, 0, 0, ErrorLog.EMPTY, null, null)
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
const NO_TIME = SOMETHING_ELSE
new RouteRecord('', '', NO_KIND, NO_PAST, 0, 0, NO_TIME, NO_TIME, NO_TIME, NO_TIME, NO_TIME)

/** A route that nothing has happened to yet. */
export function makeRoute(address: Address, peer: FeedId, addedAt: EpochMs, change: RouteChange): Route {
  return changeRoute(new RouteRecord(address, peer, NO_KIND, NO_PAST, 0, 0, 0, 0, 0, addedAt, 0), change)
}

/** A copy with other values; the route itself where they are the values that it has. */
export function changeRoute(route: Route, change: RouteChange): Route {
  const record = route as RouteRecord
  const kind = changeKind(record.kind, change)
  const past = changePast(record, change)
  const {
    tie = record.tie,
    errorCount = record.errorCount,
    turnAt = record.turnAt,
    lastErrorTime = record.lastErrorTime,
    dueAt = record.dueAt,
    addedAt = record.addedAt,
    nextAttemptAt = record.nextAttemptAt,
  } = change
  const isSame =
    kind === record.kind &&
    past === record.past &&
    tie === record.tie &&
    errorCount === record.errorCount &&
    turnAt === record.turnAt &&
    lastErrorTime === record.lastErrorTime &&
    dueAt === record.dueAt &&
    addedAt === record.addedAt &&
    nextAttemptAt === record.nextAttemptAt
  if (isSame) return route
  const { address, peer } = record
  return new RouteRecord(
    address,
    peer,
    kind,
    past,
    tie,
    errorCount,
    turnAt,
    lastErrorTime,
    dueAt,
    addedAt,
    nextAttemptAt,
  )
}

function changeKind(kind: Kind, change: RouteChange): Kind {
  const {
    queue = kind.queue,
    tier = kind.tier,
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
  return kindOf({
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
}

function changePast({ past, address }: RouteRecord, change: RouteChange): Past {
  const {
    lastConnectionTime = past.lastConnectionTime,
    connectionCount = past.connectionCount,
    backoffStep = past.backoffStep,
    lastSignalAt = past.lastSignalAt,
    errorLog = change.errors ? ErrorLog.of(change.errors, address) : past.errorLog,
    duration = past.duration,
    data = past.data,
  } = change
  const isSame =
    lastConnectionTime === past.lastConnectionTime &&
    connectionCount === past.connectionCount &&
    backoffStep === past.backoffStep &&
    lastSignalAt === past.lastSignalAt &&
    errorLog === past.errorLog &&
    duration === past.duration &&
    data === past.data
  if (isSame) return past
  return new Past(lastConnectionTime, connectionCount, backoffStep, lastSignalAt, errorLog, duration, data)
}
