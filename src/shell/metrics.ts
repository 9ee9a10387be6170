/**
 * Figures for programs: counters of what has happened and gauges of how things stand, as data and in the text form of
 * Prometheus. Counters are kept by one subscription that looks at each action and allocates nothing; gauges are computed when
 * somebody asks. Labels have few values, none of which is an id, an address or a word of a stranger.
 */
import type { Action } from '../core/actions'
import { isDown, LINK } from '../core/blame'
import { diagnose, SEVERITIES } from '../core/diagnosis'
import { own } from '../core/own'
import { PRIORITIES, priorityOfTier } from '../core/rank'
import { type ClassStatus, status } from '../core/selectors'
import { attemptsOf, type State } from '../core/table'
import type { CloseReason, Connection, DialCause, EpochMs, FeedId } from '../core/types'
import type { Clock } from './clock'
import type { Scheduler } from './scheduler'
import type { Store } from './store'

export interface Sample {
  /** By the names of the definition; empty where it has none. */
  readonly labels: { readonly [name: string]: string }
  readonly value: number
}

export interface Metric {
  /** With the prefix `ssb_connection_manager_`; counters end in `_total`. */
  readonly name: string
  /** A counter never goes down while the manager lives. */
  readonly type: 'counter' | 'gauge'
  /** One sentence. */
  readonly help: string
  /** None where there is nothing to tell. Combinations of several labels are there once they have occurred. */
  readonly samples: readonly Sample[]
}

interface Definition {
  readonly type: Metric['type']
  readonly labels: readonly string[]
  readonly help: string
}

export const PREFIX = 'ssb_connection_manager_'

/** Every metric, in the order in which they are given; the names without prefix. */
export const METRICS = {
  dials_started_total: {
    type: 'counter',
    labels: ['class', 'cause'],
    help: 'Dials begun. Those that neither failed nor succeeded are in flight, or were given up because nobody wanted them any more.',
  },
  dials_succeeded_total: { type: 'counter', labels: ['class'], help: 'Dials that became a connection.' },
  dials_failed_total: {
    type: 'counter',
    labels: ['class'],
    help: 'Dials that failed or were given up for want of an answer.',
  },
  dial_failures_total: { type: 'counter', labels: ['code'], help: 'Failed dials by the code of the error.' },
  connections_opened_total: {
    type: 'counter',
    labels: ['class', 'direction', 'cause'],
    help: 'Connections that came about.',
  },
  connections_closed_total: {
    type: 'counter',
    labels: ['class', 'direction', 'reason'],
    help: 'Connections that ended.',
  },
  connection_seconds_total: {
    type: 'counter',
    labels: ['class', 'direction'],
    help: 'Time for which peers were connected, those that are now included.',
  },
  messages_transferred_total: {
    type: 'counter',
    labels: [],
    help: 'Messages that came and that we did not have.',
  },
  round_trips_total: { type: 'counter', labels: [], help: 'Pings that were answered.' },
  round_trip_seconds_total: { type: 'counter', labels: [], help: 'Sum of their round-trip times.' },
  layers_lost_total: {
    type: 'counter',
    labels: [],
    help: 'How often a layer (link, resolver, transport, room, host) was found to be down.',
  },
  deferrals_total: {
    type: 'counter',
    labels: [],
    help: 'Routes put off because of a layer that is down or a host dialed a moment ago.',
  },
  actions_total: {
    type: 'counter',
    labels: ['group'],
    help: 'Everything that has happened, by the kind of the action.',
  },
  plans_total: { type: 'counter', labels: [], help: 'Plans made.' },
  wakeups_total: { type: 'counter', labels: [], help: 'Times that the timer of the scheduler fired.' },
  time_seconds: { type: 'gauge', labels: [], help: 'The clock of the manager, in seconds since 1970.' },
  mode: { type: 'gauge', labels: ['mode'], help: '1 for the mode it is in, 0 for the others.' },
  initial_sync_running: { type: 'gauge', labels: [], help: '1 while an initial sync runs.' },
  busy: { type: 'gauge', labels: [], help: '1 while much is being taken in: one dial at a time.' },
  link_up: { type: 'gauge', labels: [], help: '0 while our own link is down.' },
  layers_down: { type: 'gauge', labels: ['kind'], help: 'Layers that take the blame now.' },
  slots: { type: 'gauge', labels: ['class'], help: 'Room for outbound connections.' },
  slots_connected: { type: 'gauge', labels: ['class'], help: 'Slots held by connections.' },
  slots_dialing: { type: 'gauge', labels: ['class'], help: 'Slots held by dials.' },
  slots_closing: { type: 'gauge', labels: ['class'], help: 'Slots held by connections that are being closed.' },
  routes_waiting: {
    type: 'gauge',
    labels: ['class'],
    help: 'Routes of idle peers, due or pausing.',
  },
  dial_success_ratio: {
    type: 'gauge',
    labels: ['class'],
    help: 'Share of dials that succeeded, a moving average; missing before the first dial.',
  },
  dials_in_flight: { type: 'gauge', labels: [], help: 'Dials that wait for their outcome.' },
  lingering_sockets: { type: 'gauge', labels: [], help: 'Dials given up whose sockets may still be open.' },
  connections: { type: 'gauge', labels: ['direction'], help: 'Peers that are connected.' },
  inbound_connections_max: {
    type: 'gauge',
    labels: [],
    help: 'Inbound connections before strangers are sent away; missing where there is no limit.',
  },
  peers: { type: 'gauge', labels: ['priority'], help: 'Peers in the table; BANNED ones are the bans.' },
  peers_long_term: { type: 'gauge', labels: [], help: 'Peers that are kept connected for as long as possible.' },
  routes: { type: 'gauge', labels: ['priority'], help: 'Routes in the table.' },
  requests_waiting: { type: 'gauge', labels: [], help: 'Calls of peer.connect without an outcome yet.' },
  next_wakeup_timestamp_seconds: {
    type: 'gauge',
    labels: [],
    help: 'When the timer of the scheduler fires next, in seconds since 1970; missing where it is not set.',
  },
  readers: { type: 'gauge', labels: ['source'], help: 'Readers of live sources.' },
  findings: { type: 'gauge', labels: ['severity'], help: 'What connections.diagnose() finds.' },
} as const satisfies { readonly [name: string]: Definition }

type MetricName = keyof typeof METRICS

// ---- bounded labels -----------------------------------------------------------------------------------------------------

/**
 * Names of classes come from addresses, and so from strangers: those that are neither in general use nor given slots by the user
 * (at most 32) are `other`.
 */
const CLASSES: ReadonlySet<string> = new Set([
  'local',
  'net',
  'onion',
  'ws',
  'wss',
  'rtc',
  'bt',
  'dht',
  'tunnel',
  'unix',
])
/** Of connections that hold no slot: inbound ones, and those that other modules dialed. */
const NO_CLASS = 'none'
const OTHER = 'other'

const CAUSES = ['schedule', 'longTerm', 'request', 'initialSync', 'probe', 'inbound', 'foreign'] as const
type Cause = DialCause | 'inbound' | 'foreign'
const DIRECTIONS = ['inbound', 'outbound'] as const
/** `remote`: the other side, or the network. `replaced`: by another connection of the same peer. */
const REASONS = [
  'remote',
  'replaced',
  'stopped',
  'closed',
  'banned',
  'routeRemoved',
  'disconnected',
  'lifetime',
  'surplus',
  'rotation',
  'initialSync',
  'stalled',
  'dead',
  'maxInbound',
] as const satisfies readonly (CloseReason | 'remote' | 'replaced')[]
type Reason = CloseReason | 'remote' | 'replaced'

/** Codes of errors that tell causes apart. `handshake`: secret-handshake's own words, which have no code; `none`: no code. */
const CODES = [
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EADDRNOTAVAIL',
  'EACCES',
  'EMFILE',
  'ENOENT',
  'ERR_DIAL_TIMEOUT',
] as const
const HANDSHAKE = 'shs.'

const GROUPS = [
  'routes',
  'table',
  'peer',
  'dial',
  'connection',
  'connections',
  'initialSync',
  'options',
  'environment',
  'clock',
] as const

/** Where an action is counted; a switch, as cutting its name in two would make a string each time. */
function groupOf(type: Action['type']): number {
  switch (type) {
    case 'routes/added':
    case 'route/removed':
    case 'route/withdrawn':
    case 'route/forgotten':
    case 'route/annotated':
    case 'routes/deferred':
      return 0
    case 'table/loaded':
      return 1
    case 'peer/prioritised':
    case 'peer/longTermSet':
    case 'peer/held':
      return 2
    case 'dial/started':
    case 'dial/failed':
    case 'dial/ended':
    case 'dial/abandoned':
      return 3
    case 'connection/requested':
    case 'connection/requestDropped':
    case 'connection/opened':
    case 'connection/closeRequested':
    case 'connection/closing':
    case 'connection/closed':
    case 'connection/pinged':
    case 'connection/transferred':
    case 'connection/caughtUp':
    case 'connection/stalled':
      return 4
    case 'connections/started':
    case 'connections/stopped':
      return 5
    case 'initialSync/started':
    case 'initialSync/stopped':
      return 6
    case 'options/changed':
      return 7
    case 'environment/busy':
    case 'environment/offline':
    case 'environment/online':
      return 8
    case 'clock/advanced':
    case 'clock/setBack':
      return 9
    default: {
      const unknown: never = type
      return unknown
    }
  }
}

// ---- counters -----------------------------------------------------------------------------------------------------------

/** Numbers in arrays, so that counting makes no object. */
interface ClassCounters {
  readonly started: Float64Array
  /** By direction and cause, and by direction and reason. */
  readonly opened: Float64Array
  readonly closed: Float64Array
  /** By direction. */
  readonly connectedMs: Float64Array
  /** What was last said of it: the clock may go back while somebody is connected, and a counter may not. */
  readonly saidSeconds: Float64Array
  succeeded: number
  failed: number
}

function emptyCounters(): ClassCounters {
  return {
    started: new Float64Array(CAUSES.length),
    opened: new Float64Array(DIRECTIONS.length * CAUSES.length),
    closed: new Float64Array(DIRECTIONS.length * REASONS.length),
    connectedMs: new Float64Array(DIRECTIONS.length),
    saidSeconds: new Float64Array(DIRECTIONS.length),
    succeeded: 0,
    failed: 0,
  }
}

function bump(counters: Float64Array, index: number): void {
  if (index >= 0) counters[index] = (counters[index] as number) + 1
}

export interface Metrics {
  read(): Metric[]
  /** Counts no more. */
  close(): void
}

/** Counts from now on. `readers`: how many read each live source. */
export function createMetrics(options: {
  readonly store: Store
  readonly clock: Clock
  readonly scheduler: Pick<Scheduler, 'wakeAt' | 'counts'>
  readonly readers: () => { readonly [source: string]: number }
}): Metrics {
  const { store, clock, scheduler, readers } = options
  const classes = new Map<string, ClassCounters>()
  const groups = new Float64Array(GROUPS.length)
  /** By CODES, then `handshake`, `none` and `other`. */
  const codes = new Float64Array(CODES.length + 3)
  let messages = 0
  let roundTrips = 0
  let roundTripMs = 0
  let layersLost = 0
  let deferrals = 0

  const countersOf = (name: string | null): ClassCounters => {
    // A stranger's protocol may be called like what has no class.
    const known = name === NO_CLASS ? undefined : classes.get(name ?? NO_CLASS)
    if (known) return known
    const key = name === null ? NO_CLASS : classLabel(store.getState(), name)
    const made = classes.get(key) ?? emptyCounters()
    classes.set(key, made)
    return made
  }

  const countFailure = (code: string | null, message: string): void => {
    const last = CODES.length
    if (code === null) return bump(codes, message.startsWith(HANDSHAKE) ? last : last + 1)
    const index = (CODES as readonly string[]).indexOf(code)
    bump(codes, index >= 0 ? index : last + 2)
  }

  const countEnd = (connection: Connection, at: EpochMs, reason: Reason | null): void => {
    if (connection.status !== 'connected' && connection.status !== 'closing') return
    const counters = countersOf(connection.class)
    const direction = DIRECTIONS.indexOf(connection.direction)
    const isClosing = connection.status === 'closing'
    const why = reason ?? (isClosing ? connection.reason : (connection.closeReason ?? 'remote'))
    bump(counters.closed, direction * REASONS.length + REASONS.indexOf(why))
    const lastedMs = at - (isClosing ? connection.connectedSince : connection.since)
    if (lastedMs > 0) counters.connectedMs[direction] = (counters.connectedMs[direction] as number) + lastedMs
  }

  /** Of a dial in flight; null: there is no such dial, and the action changed nothing. */
  const classOfAttempt = (state: State, peer: FeedId, id: number): string | null => {
    const connection = state.peers.get(peer)?.connection
    if (!connection) return null
    for (const attempt of attemptsOf(connection)) if (attempt.id === id) return attempt.class
    return null
  }

  const count = (action: Action, before: State, after: State): void => {
    bump(groups, groupOf(action.type))
    if (after.downCount > before.downCount) layersLost += after.downCount - before.downCount
    switch (action.type) {
      case 'dial/started': {
        const name = classOfAttempt(after, action.peer, action.attempt)
        if (name !== null) bump(countersOf(name).started, CAUSES.indexOf(action.cause))
        return
      }
      case 'dial/failed': {
        const name = classOfAttempt(before, action.peer, action.attempt)
        if (name === null) return
        countersOf(name).failed++
        return countFailure(action.error.code, action.error.message)
      }
      case 'connection/opened': {
        const connection = after.peers.get(action.peer)?.connection
        if (connection?.status !== 'connected') return
        const previous = before.peers.get(action.peer)?.connection
        if (previous) countEnd(previous, action.at, 'replaced')
        const counters = countersOf(connection.class)
        if (action.attempt !== null) counters.succeeded++
        const cause: Cause = connection.cause
        const direction = DIRECTIONS.indexOf(connection.direction)
        return bump(counters.opened, direction * CAUSES.length + CAUSES.indexOf(cause))
      }
      case 'connection/closed': {
        const connection = before.peers.get(action.peer)?.connection
        if (connection) countEnd(connection, action.at, null)
        return
      }
      case 'connection/transferred':
        // A peer that is not connected brings nothing, and is not changed by it.
        if (after.changedPeers.length > 0 && (action.count ?? 1) > 0) messages += action.count ?? 1
        return
      case 'connection/pinged':
        if (after.changedPeers.length === 0 || !(action.rttMs >= 0)) return
        roundTrips++
        roundTripMs += action.rttMs
        return
      case 'routes/deferred':
        deferrals += action.deferrals.length
        return
      default:
    }
  }
  const close = store.subscribe(count)

  // ---- when somebody asks -----------------------------------------------------------------------------------------------

  const read = (): Metric[] => {
    const state = store.getState()
    const at = Math.max(clock.now(), state.now)
    const now = status(state, at)
    const samples = new Map<MetricName, Sample[]>()
    const add = (name: MetricName, value: number, ...values: readonly string[]): void => {
      const labels: { [label: string]: string } = {}
      METRICS[name].labels.forEach((label, i) => {
        labels[label] = values[i] ?? ''
      })
      const list = samples.get(name)
      if (list) list.push({ labels, value })
      else samples.set(name, [{ labels, value }])
    }
    const addEach = (name: MetricName, values: { readonly [label: string]: number }): void => {
      for (const label of Object.keys(values)) add(name, values[label] as number, label)
    }

    for (const name of Object.keys(now.classes)) if (isSlotted(now.classes[name])) countersOf(name)
    addRunning(classes, state, at, (name) => countersOf(name))
    for (const [name, counters] of classes) {
      CAUSES.forEach((cause, i) => {
        const value = counters.started[i] as number
        if (value > 0) add('dials_started_total', value, name, cause)
      })
      if (name !== NO_CLASS) {
        add('dials_succeeded_total', counters.succeeded, name)
        add('dials_failed_total', counters.failed, name)
      }
      DIRECTIONS.forEach((direction, d) => {
        CAUSES.forEach((cause, i) => {
          const value = counters.opened[d * CAUSES.length + i] as number
          if (value > 0) add('connections_opened_total', value, name, direction, cause)
        })
        REASONS.forEach((reason, i) => {
          const value = counters.closed[d * REASONS.length + i] as number
          if (value > 0) add('connections_closed_total', value, name, direction, reason)
        })
        const seconds = counters.saidSeconds[d] as number
        if (seconds > 0) add('connection_seconds_total', seconds, name, direction)
      })
    }
    ;[...CODES, 'handshake', 'none', OTHER].forEach((code, i) => {
      const value = codes[i] as number
      if (value > 0) add('dial_failures_total', value, code)
    })
    add('messages_transferred_total', messages)
    add('round_trips_total', roundTrips)
    add('round_trip_seconds_total', roundTripMs / 1_000)
    add('layers_lost_total', layersLost)
    add('deferrals_total', deferrals)
    GROUPS.forEach((group, i) => {
      add('actions_total', groups[i] as number, group)
    })
    const { plans, wakeUps } = scheduler.counts()
    add('plans_total', plans)
    add('wakeups_total', wakeUps)

    add('time_seconds', clock.now() / 1_000)
    for (const mode of ['off', 'on', 'initialSync']) add('mode', Number(now.mode === mode), mode)
    add('initial_sync_running', Number(state.initialSync !== null))
    add('busy', Number(state.isBusy))
    add('link_up', Number(!isDown(state, LINK)))
    addEach('layers_down', layersByKind(state))
    for (const [label, { max, connected, dialing, closing, waiting, successRate }] of byLabel(state, now.classes)) {
      add('slots', max, label)
      add('slots_connected', connected, label)
      add('slots_dialing', dialing, label)
      add('slots_closing', closing, label)
      add('routes_waiting', waiting, label)
      if (successRate !== null) add('dial_success_ratio', successRate, label)
    }
    add('dials_in_flight', now.dialing)
    add('lingering_sockets', now.lingering)
    addEach('connections', connectionsByDirection(state))
    if (now.inbound.max !== null) add('inbound_connections_max', now.inbound.max)
    const { peers, routes, longTerm } = byPriority(state)
    addEach('peers', peers)
    add('peers_long_term', longTerm)
    addEach('routes', routes)
    add('requests_waiting', state.requests.size)
    const wakeAt = scheduler.wakeAt()
    if (wakeAt !== null) add('next_wakeup_timestamp_seconds', wakeAt / 1_000)
    addEach('readers', readers())
    const found = diagnose(state, clock.now())
    for (const severity of SEVERITIES)
      add('findings', found.filter((each) => each.severity === severity).length, severity)

    return (Object.keys(METRICS) as MetricName[]).map((name) => {
      const { type, help } = METRICS[name]
      return { name: PREFIX + name, type, help, samples: samples.get(name) ?? [] }
    })
  }

  return { read, close }
}

function isSlotted(known: ClassStatus | undefined): boolean {
  return known !== undefined && known.max + known.connected + known.dialing + known.closing > 0
}

/** Brings `saidSeconds` up to date: what has ended, and what lasts. */
function addRunning(
  classes: ReadonlyMap<string, ClassCounters>,
  state: State,
  at: EpochMs,
  countersOf: (name: string | null) => ClassCounters,
): void {
  const running = new Map<ClassCounters, [number, number]>()
  for (const { connection } of state.active.keys()) {
    if (connection.status !== 'connected' && connection.status !== 'closing') continue
    const counters = countersOf(connection.class)
    const sums = running.get(counters) ?? [0, 0]
    running.set(counters, sums)
    const since = connection.status === 'connected' ? connection.since : connection.connectedSince
    sums[DIRECTIONS.indexOf(connection.direction) as 0 | 1] += Math.max(0, at - since)
  }
  for (const counters of classes.values())
    DIRECTIONS.forEach((_, d) => {
      const ms = (counters.connectedMs[d] as number) + (running.get(counters)?.[d] ?? 0)
      counters.saidSeconds[d] = Math.max(counters.saidSeconds[d] as number, ms / 1_000)
    })
}

function classLabel({ options }: State, name: string): string {
  return CLASSES.has(name) || (name !== NO_CLASS && own(options.maxByType, name) !== undefined) ? name : OTHER
}

/** Of several classes that have one label, the sums, and no rate. */
function byLabel(state: State, classes: { readonly [name: string]: ClassStatus }): Map<string, ClassStatus> {
  const found = new Map<string, ClassStatus>()
  for (const name of Object.keys(classes)) {
    const label = classLabel(state, name)
    const more = classes[name] as ClassStatus
    const known = found.get(label)
    found.set(
      label,
      known === undefined
        ? more
        : {
            max: known.max + more.max,
            connected: known.connected + more.connected,
            dialing: known.dialing + more.dialing,
            closing: known.closing + more.closing,
            waiting: known.waiting + more.waiting,
            nextAttemptAt: null,
            successRate: null,
          },
    )
  }
  return found
}

const LAYER_KINDS = ['link', 'resolver', 'transport', 'portal', 'host'] as const

function layersByKind(state: State): { readonly [kind: string]: number } {
  const found: { [kind: string]: number } = {}
  for (const kind of LAYER_KINDS) found[kind] = 0
  if (state.downCount === 0) return found
  for (const { key, isDown: isLayerDown } of state.layers.values()) {
    if (!isLayerDown) continue
    const kind = key.split(':', 1)[0] as string
    found[kind] = (found[kind] ?? 0) + 1
  }
  return found
}

function connectionsByDirection(state: State): { readonly [direction: string]: number } {
  const found = { inbound: 0, outbound: 0 }
  for (const { connection } of state.active.keys()) if (connection.status === 'connected') found[connection.direction]++
  return found
}

function byPriority(state: State) {
  const none = (): { [priority: string]: number } => Object.fromEntries(PRIORITIES.map((each) => [each, 0]))
  const peers = none()
  const routes = none()
  let longTerm = 0
  for (const { priority, isLongTerm } of state.peers.values()) {
    peers[priority] = (peers[priority] as number) + 1
    if (isLongTerm) longTerm++
  }
  for (const { tier } of state.routes.values()) {
    const priority = priorityOfTier(tier)
    routes[priority] = (routes[priority] as number) + 1
  }
  return { peers, routes, longTerm }
}

// ---- text ---------------------------------------------------------------------------------------------------------------

/** The text exposition format of Prometheus, version 0.0.4. */
export function metricsText(metrics: readonly Metric[]): string {
  const lines: string[] = []
  for (const { name, type, help, samples } of metrics) {
    lines.push(`# HELP ${name} ${help.replace(/\\/g, '\\\\').replace(/\n/g, '\\n')}`, `# TYPE ${name} ${type}`)
    for (const { labels, value } of samples) lines.push(`${name}${labelsText(labels)} ${valueText(value)}`)
  }
  return `${lines.join('\n')}\n`
}

function labelsText(labels: Sample['labels']): string {
  const pairs = Object.keys(labels).map((name) => `${name}="${escaped(labels[name] as string)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escaped(value: string): string {
  return value.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')
}

function valueText(value: number): string {
  if (Number.isFinite(value)) return String(value)
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf'
}
