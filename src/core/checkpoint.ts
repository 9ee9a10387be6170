/**
 * All of a state as plain JSON, and back. Pure. What decides the future is in it; what follows from that (indexes, counts, timers,
 * ranks) is built anew. A snapshot (snapshot.ts) is what is worth keeping of a table; a checkpoint is how things stand in the
 * middle of everything, so that a recording can begin there.
 *
 * It is a list of parts of a bounded size, made one by one, as there may be 100 000 routes:
 *
 *     {type: 'checkpoint', format: 1, version, root: {…}} options, mode, times, slots' figures
 *     {type: 'checkpoint/peers', peers: […]}              each with its routes and its connection
 *     {type: 'checkpoint/hosts', hosts: […]}              when each was last dialed
 *     {type: 'checkpoint/layers', layers: […]}            what takes the blame
 *     {type: 'checkpoint/suspects', layer, suspects: […]}
 *     {type: 'checkpoint/deferred', layer, addresses: […]}
 *     {type: 'checkpoint/requests', requests: […]}
 *     {type: 'checkpoint/end'}
 *
 * What is read was maybe damaged, edited by hand or made by another version: it is checked field by field, and then as a whole
 * by `checkInvariants`.
 */
import { parseAddress, parseFeedId } from './address'
import {
  type Codec,
  count,
  flag,
  list,
  Misfit,
  nullable,
  number,
  oneOf,
  optional,
  pair,
  type Read,
  record,
  routeData,
  text,
  time,
  usually,
  word,
} from './codec'
import { describe, errorInfo, RecordingError, shorten } from './errors'
import { tieOf } from './hash'
import { checkInvariants } from './invariants'
import type { Merit } from './merit'
import { DEFAULT_OPTIONS, isPlainObject, makeOptions, type Options } from './options'
import { changePeer, ErrorLog, IDLE, makePeer, makeRoute } from './records'
import { initialState, type Lingering, type State, Transaction } from './table'
import { byText, emptyTree } from './tree'
import type {
  Attempt,
  ClassState,
  CloseReason,
  Connection,
  DialCause,
  Direction,
  InitialSync,
  Layer,
  ParsedRoute,
  Peer,
  Priority,
  Request,
  Route,
  RouteError,
  Stats,
  Suspect,
} from './types'
import { VERSION } from './version'

/** Grows when an older reader would misunderstand what is written. */
export const CHECKPOINT_FORMAT = 1

/** Peers, routes or other entries in one part, beside the routes of the last peer. Some 2 ms to make and to send. */
const PART_ENTRIES = 256

export type CheckpointPart =
  | { readonly type: 'checkpoint'; readonly format: number; readonly version: string; readonly root: Json }
  | { readonly type: 'checkpoint/peers'; readonly peers: readonly Json[] }
  | { readonly type: 'checkpoint/hosts'; readonly hosts: readonly Json[] }
  | { readonly type: 'checkpoint/layers'; readonly layers: readonly Json[] }
  | { readonly type: 'checkpoint/suspects'; readonly layer: string; readonly suspects: readonly Json[] }
  | { readonly type: 'checkpoint/deferred'; readonly layer: string; readonly addresses: readonly Json[] }
  | { readonly type: 'checkpoint/requests'; readonly requests: readonly Json[] }
  | { readonly type: 'checkpoint/end' }

/** Plain JSON, whose shape is the business of this file. */
export type Json = unknown

// ---- what is in it ------------------------------------------------------------------------------------------------------

export const priority: Codec<Priority> = word({ HIGH: true, MEDIUM: true, LOW: true, BANNED: true })
export const direction: Codec<Direction> = word({ inbound: true, outbound: true })
export const dialCause: Codec<DialCause> = word({
  schedule: true,
  longTerm: true,
  request: true,
  initialSync: true,
  probe: true,
})
export const cause: Codec<DialCause | 'inbound' | 'foreign'> = word({
  schedule: true,
  longTerm: true,
  request: true,
  initialSync: true,
  probe: true,
  inbound: true,
  foreign: true,
})
export const closeReason: Codec<CloseReason> = word({
  stopped: true,
  closed: true,
  banned: true,
  routeRemoved: true,
  disconnected: true,
  lifetime: true,
  surplus: true,
  rotation: true,
  initialSync: true,
  stalled: true,
  dead: true,
  maxInbound: true,
})
export const stats: Codec<Stats> = record<Stats>({
  mean: number,
  stdev: number,
  count,
  sum: number,
  sqsum: number,
})
export const merit: Codec<Merit> = record<Merit>({ messages: number, coveredMs: number, at: time, broughtAt: time })
export const routeError: Codec<RouteError> = record<RouteError>({ message: text, code: nullable(text), at: time })

const attempt = record<Attempt>({
  id: count,
  address: text,
  class: text,
  cause: dialCause,
  startedAt: time,
  deadlineAt: time,
})

const connection = oneOf<'status', Connection>('status', {
  idle: record({ status: word({ idle: true }) }),
  dialing: record({ status: word({ dialing: true }), since: time, attempts: list(attempt), tried: list(text) }),
  connected: record({
    status: word({ connected: true }),
    direction,
    address: nullable(text),
    class: nullable(text),
    cause,
    since: time,
    closeReason: nullable(closeReason),
    isCaughtUp: flag,
    lastTransferAt: time,
    rtt: nullable(stats),
    skew: nullable(stats),
  }),
  closing: record({
    status: word({ closing: true }),
    direction,
    address: nullable(text),
    class: nullable(text),
    cause,
    reason: closeReason,
    since: time,
    connectedSince: time,
  }),
})

/** The rest is said by the address, or follows from the peer. */
type KeptRoute = Omit<
  Route,
  | 'peer'
  | 'protocol'
  | 'class'
  | 'scope'
  | 'hostKey'
  | 'portal'
  | 'queue'
  | 'tier'
  | 'tie'
  | 'turnAt'
  | 'errorLog'
  | 'errors'
> & {
  /** Undefined: none. */
  readonly errors: readonly RouteError[] | undefined
  /** It has fallen due and nobody has looked at it since, as is so where its class has no slots. */
  readonly isOverdue: boolean
}

const route = record<KeptRoute>({
  address: text,
  source: text,
  isLocal: usually(false, flag),
  isStored: usually(false, flag),
  isAnnounced: usually(false, flag),
  isAutomatic: usually(true, flag),
  isOverdue: usually(false, flag),
  addedAt: usually(0, time),
  dueAt: usually(0, time),
  nextAttemptAt: usually(0, time),
  lastConnectionTime: usually(0, time),
  lastErrorTime: usually(0, time),
  lastSignalAt: usually(0, time),
  connectionCount: usually(0, count),
  errorCount: usually(0, count),
  backoffStep: usually(0, count),
  errors: optional(list(routeError)),
  duration: usually(null, nullable(stats)),
  data: usually(null, nullable(routeData)),
})

type KeptPeer = Omit<Peer, 'tie' | 'timerAt' | 'routes' | 'connection'> & {
  readonly connection: Connection | undefined
  readonly routes: readonly KeptRoute[]
}

const peer = record<KeptPeer>({
  id: text,
  priority,
  prioritisedBy: usually(null, nullable(text)),
  isLongTerm: usually(false, flag),
  visitedAt: usually(0, time),
  heldUntil: usually(0, time),
  merit: usually(null, nullable(merit)),
  connection: optional(connection),
  routes: list(route),
})

const suspect = record<
  Omit<Suspect, 'errorLog'> & { readonly address: string; readonly errors: readonly RouteError[] }
>({
  address: text,
  at: time,
  errorCount: count,
  backoffStep: count,
  nextAttemptAt: time,
  lastErrorTime: time,
  errors: list(routeError),
  wasAlone: flag,
})

const layer = record<Omit<Layer, 'suspects' | 'deferred'>>({
  key: text,
  isDown: flag,
  since: time,
  failureCount: count,
  retryAt: time,
})

const request = record<Request>({ peer: text, address: nullable(text), at: time, tried: list(text) })
const host = pair(text, time)

const classState = record<ClassState>({
  successRate: number,
  dialCount: count,
  visitYield: number,
  nextRotationAt: time,
  // Checkpoints of before it was kept are read as well.
  lastRotationAt: usually(0, time),
  nextTrialAt: time,
  trialsInVain: count,
  nextFeelerAt: time,
  feelerPauseMs: number,
})

/** Names and their numbers are those of the table alone: no default slips in. */
const BARE_OPTIONS: Options = { ...DEFAULT_OPTIONS, maxByType: {}, dialTimeoutMs: {} }

export const options: Codec<Options> = {
  write: (value) => JSON.parse(JSON.stringify(value)),
  read: (json) => {
    if (!isPlainObject(json)) throw new Misfit('expected an object of options')
    const selfId = nullable(text).read(json.selfId)
    const tieKey = list(count).read(json.tieKey)
    if (tieKey.length !== 4) throw new Misfit('tieKey: expected four numbers')
    return { ...makeOptions(json, BARE_OPTIONS), selfId, tieKey }
  },
}

/** All of a state but its tables and what is derived: a field that is added to it has to be put here or there. */
type Root = Omit<
  State,
  | 'peers'
  | 'routes'
  | 'requests'
  | 'layers'
  | 'hosts'
  | 'ready'
  | 'waiting'
  | 'active'
  | 'outbound'
  | 'downCount'
  | 'occupancy'
  | 'inboundCount'
  | 'attemptCount'
  | 'lowCount'
  | 'changedPeers'
  | 'classes'
> & { readonly classes: readonly (readonly [name: string, figures: ClassState])[] }

const root = record<Root>({
  now: time,
  options,
  mode: word({ on: true, off: true }),
  isBusy: flag,
  onlineAt: time,
  initialSync: nullable(record<InitialSync>({ peer: nullable(text), since: time, stalled: list(text) })),
  // A bound that goes by what happened, not by the table alone.
  nothingDueBefore: number,
  hostsSeen: text,
  classes: list(pair(text, classState)),
  lingering: list(record<Lingering>({ attempt: count, until: time, deadlineAt: time })),
})

// ---- writing ------------------------------------------------------------------------------------------------------------

/** All of a state, part by part; each costs about as much as a slice of work may. The state may be an old one by then. */
export function* checkpointOf(state: State): Generator<CheckpointPart, void> {
  const classes = Object.entries(state.classes)
  yield { type: 'checkpoint', format: CHECKPOINT_FORMAT, version: VERSION, root: root.write({ ...state, classes }) }
  for (const peers of portions(peersOf(state), ({ routes }) => 1 + routes.length))
    yield { type: 'checkpoint/peers', peers: peers.map(peer.write) }
  for (const hosts of portions(state.hosts.entries())) yield { type: 'checkpoint/hosts', hosts: hosts.map(host.write) }
  for (const layers of portions(state.layers.values()))
    yield { type: 'checkpoint/layers', layers: layers.map(layer.write) }
  for (const { key, suspects, deferred } of state.layers.values()) {
    for (const part of portions(suspects.entries()))
      yield {
        type: 'checkpoint/suspects',
        layer: key,
        suspects: part.map(([address, { errorLog, ...rest }]) =>
          suspect.write({ ...rest, address, errors: errorLog.errorsOf(address) }),
        ),
      }
    for (const addresses of portions(deferred.keys())) yield { type: 'checkpoint/deferred', layer: key, addresses }
  }
  for (const requests of portions(state.requests.values()))
    yield { type: 'checkpoint/requests', requests: requests.map(request.write) }
  yield { type: 'checkpoint/end' }
}

function* peersOf(state: State): Generator<KeptPeer, void> {
  for (const each of state.peers.values()) {
    const routes: KeptRoute[] = []
    for (const address of each.routes) {
      const found = state.routes.get(address)
      if (found) routes.push(keptRoute(state, found))
    }
    const { id, prioritisedBy, isLongTerm, visitedAt, heldUntil } = each
    yield {
      id,
      priority: each.priority,
      prioritisedBy,
      isLongTerm,
      visitedAt,
      heldUntil,
      merit: each.merit,
      connection: each.connection.status === 'idle' ? undefined : each.connection,
      routes,
    }
  }
}

/** Field by field: of a record most are read through it. */
function keptRoute(state: State, from: Route): KeptRoute {
  const { errors } = from
  return {
    address: from.address,
    source: from.source,
    isLocal: from.isLocal,
    isStored: from.isStored,
    isAnnounced: from.isAnnounced,
    isAutomatic: from.isAutomatic,
    isOverdue: from.dueAt <= state.now && state.waiting.has(from),
    addedAt: from.addedAt,
    dueAt: from.dueAt,
    nextAttemptAt: from.nextAttemptAt,
    lastConnectionTime: from.lastConnectionTime,
    lastErrorTime: from.lastErrorTime,
    lastSignalAt: from.lastSignalAt,
    connectionCount: from.connectionCount,
    errorCount: from.errorCount,
    backoffStep: from.backoffStep,
    errors: errors.length > 0 ? errors : undefined,
    duration: from.duration,
    data: from.data,
  }
}

function* portions<T>(all: Iterable<T>, costOf: (each: T) => number = () => 1): Generator<T[], void> {
  let portion: T[] = []
  let cost = 0
  for (const each of all) {
    portion.push(each)
    cost += costOf(each)
    if (cost < PART_ENTRIES) continue
    yield portion
    portion = []
    cost = 0
  }
  if (portion.length > 0) yield portion
}

// ---- reading ------------------------------------------------------------------------------------------------------------

export function isCheckpointPart(item: unknown): item is CheckpointPart {
  const type = isPlainObject(item) ? item.type : undefined
  return typeof type === 'string' && (type === 'checkpoint' || type.startsWith('checkpoint/'))
}

/**
 * The state that a checkpoint was made of; also of one that went through JSON. Throws RecordingError, and nothing else, if the
 * parts are not all there, or are none, or contradict each other. `changedPeers` is empty: nothing has changed yet.
 */
export function stateFrom(checkpoint: Iterable<unknown>): State {
  const builder = new Builder()
  let item = 0
  for (const part of checkpoint) {
    builder.take(part, item)
    item++
  }
  return builder.finish()
}

const head = record({ format: number, root: optional({ write: (json: Json) => json, read: (json: Json) => json }) })
const peersPart = record({ peers: list(peer) })
const hostsPart = record({ hosts: list(host) })
const layersPart = record({ layers: list(layer) })
const suspectsPart = record({ layer: text, suspects: list(suspect) })
const deferredPart = record({ layer: text, addresses: list(text) })
const requestsPart = record({ requests: list(request) })

/** Puts the parts of a checkpoint together, each as it is read. */
export class Builder {
  private root: Read<typeof root> | null = null
  private readonly peers: { readonly kept: KeptPeer; readonly item: number }[] = []
  private readonly hosts: Read<typeof host>[] = []
  private readonly layers = new Map<string, Layer>()
  private readonly requests: Read<typeof request>[] = []
  private isEnded = false

  /** True when this was the last one. `item`: its place in the recording, for errors. */
  take(part: unknown, item: number): boolean {
    try {
      this.read(part, item)
    } catch (error) {
      throw new RecordingError(item, errorInfo(error).message, error)
    }
    return this.isEnded
  }

  private read(part: unknown, item: number): void {
    if (!isCheckpointPart(part)) throw new Misfit('expected a part of a checkpoint')
    if (this.isEnded) throw new Misfit('the checkpoint had ended before')
    if ((part.type === 'checkpoint') !== (this.root === null))
      throw new Misfit(`expected ${this.root ? 'the rest' : 'the beginning'} of a checkpoint`)
    switch (part.type) {
      case 'checkpoint': {
        const { format, root: json } = head.read(part)
        if (format !== CHECKPOINT_FORMAT)
          throw new Misfit(`it is of format ${format}, and ${CHECKPOINT_FORMAT} is the one that is known here`)
        this.root = root.read(json)
        return
      }
      case 'checkpoint/peers':
        for (const kept of peersPart.read(part).peers) this.peers.push({ kept, item })
        return
      case 'checkpoint/hosts':
        this.hosts.push(...hostsPart.read(part).hosts)
        return
      case 'checkpoint/layers':
        for (const each of layersPart.read(part).layers)
          this.layers.set(each.key, { ...each, suspects: emptyTree(byText), deferred: emptyTree(byText) })
        return
      case 'checkpoint/suspects': {
        const { layer: key, suspects } = suspectsPart.read(part)
        for (const { address, errors, ...rest } of suspects)
          this.layer(key).suspects.set(address, { ...rest, errorLog: ErrorLog.of(errors, address) })
        return
      }
      case 'checkpoint/deferred': {
        const { layer: key, addresses } = deferredPart.read(part)
        for (const address of addresses) this.layer(key).deferred.set(address, undefined)
        return
      }
      case 'checkpoint/requests':
        this.requests.push(...requestsPart.read(part).requests)
        return
      case 'checkpoint/end':
        this.isEnded = true
        return
      default: {
        const unknown: never = part
        throw new Misfit(`there is no ${String((unknown as CheckpointPart).type)}`)
      }
    }
  }

  finish(): State {
    if (!this.root || !this.isEnded) throw new RecordingError(null, 'the checkpoint at its beginning is cut off')
    try {
      const state = this.build(this.root)
      checkInvariants(state)
      return state
    } catch (error) {
      if (error instanceof RecordingError) throw error
      throw new RecordingError(null, `its checkpoint contradicts itself, ${errorInfo(error).message}`, error)
    }
  }

  private build({ classes, ...given }: Read<typeof root>): State {
    const first = initialState(given.options, given.now)
    const tx = new Transaction(first, given.now)
    const overdue: string[] = []
    for (const { kept, item } of this.peers) {
      try {
        putPeer(tx, kept, overdue)
      } catch (error) {
        throw new RecordingError(item, errorInfo(error).message, error)
      }
    }
    for (const [key, dialedAt] of this.hosts) tx.putHost(key, dialedAt)
    for (const each of this.layers.values()) tx.putLayer(each)
    for (const each of this.requests) tx.putRequest(each)
    const state: State = {
      ...tx.commit(),
      ...given,
      classes: Object.fromEntries(classes),
      changedPeers: [],
    }
    // The trees are new, and nobody else has them yet.
    for (const address of overdue) {
      const late = state.routes.get(address)
      if (!late || !state.ready.delete(late)) continue
      state.waiting.set(late, undefined)
    }
    return state
  }

  private layer(key: string): Layer {
    const known = this.layers.get(key)
    if (!known) throw new Misfit(`there is no layer ${shorten(key, MAX_NAME)}`)
    return known
  }
}

const MAX_NAME = 100

/** Puts a peer with its routes; those that are to wait, due as they are, are noted in `overdue`. */
function putPeer(tx: Transaction, { routes, connection: present, ...kept }: KeptPeer, overdue: string[]): void {
  const { id } = kept
  if (parseFeedId(id) !== id) throw new Misfit(`${describe(id)} is no feed id`)
  if (tx.peer(id)) throw new Misfit(`peer ${id} is there twice`)
  const addresses = routes.map(({ address }) => address)
  const bare = makePeer(id, tieOf(tx.options.tieKey, id))
  tx.putPeer(changePeer(bare, { ...kept, routes: addresses, connection: present ?? IDLE }))
  for (const { address, addedAt, isOverdue, errors, ...learned } of routes) {
    const { protocol, scope } = parsed(address, id)
    if (tx.route(address)) throw new Misfit(`route ${describe(address)} is there twice`)
    tx.putRoute(makeRoute(address, id, addedAt), {
      ...learned,
      errors: errors ?? [],
      protocol,
      scope,
      class: learned.isLocal ? 'local' : protocol,
    })
    if (isOverdue) overdue.push(address)
  }
}

function parsed(address: string, id: string): ParsedRoute {
  const [found] = parseAddress(address)
  if (found?.address !== address || found.peer !== id)
    throw new Misfit(`${describe(address)} is no address of ${describe(id)} as it is written here`)
  return found
}
