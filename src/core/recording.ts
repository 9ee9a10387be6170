/**
 * What a recording is: first how things stood (checkpoint.ts), then what happened, action by action. Pure. As the lines of a file:
 *
 *     {"recording":"sbot-connection-manager","format":1,"version":"1.0.0","at":1767225600000,"id":"@…"}
 *     {"type":"checkpoint",…}
 *     …
 *     {"type":"checkpoint/end"}
 *     {"type":"dial/started","at":1767225601000,…}
 *     …
 *     {"end":"interrupted","at":1767225660000,"actions":12}
 *
 * No secret is in it: an address of an invite goes without the seed of its key, and what other modules keep with a route is left
 * out, as that may be an invite too and decides nothing.
 */
import type { Action, RouteReport, StoredPeer, StoredRoute } from './actions'
import {
  type CheckpointPart,
  cause,
  closeReason,
  dialCause,
  direction,
  merit,
  options,
  priority,
  routeError,
  stats,
} from './checkpoint'
import {
  type Codec,
  count,
  flag,
  list,
  nullable,
  number,
  oneOf,
  optional,
  record,
  routeData,
  text,
  time,
  word,
} from './codec'
import { describe, errorInfo, RecordingError } from './errors'
import { isPlainObject } from './options'
import { own } from './own'
import type { Deferral, EpochMs, FeedId, ParsedRoute, Scope } from './types'

/** What follows each other in a recording. */
export type RecordingItem = CheckpointPart | Action
/** Begins with a checkpoint or, as `onAction` tells of everything from the start, with an action. */
export type Recording = readonly RecordingItem[]

// ---- making one ---------------------------------------------------------------------------------------------------------

/** The seed of an invite, after the key; wherever in a text an address stands. */
const SEED = /(~shs:[^:~;\s]+):[^~;\s]+/g
/** Not a seed, and not nothing: who looks for the address with the seed in the table does not find it without one either. */
const MASKED = '$1:…'

/**
 * A plain copy without secrets: shares nothing with `item`, has no `undefined` and no number that JSON does not know. The action
 * itself has the same effect.
 */
export function recordable<T extends RecordingItem>(item: T): T {
  return plainCopy(item) as T
}

function plainCopy(value: unknown): unknown {
  switch (typeof value) {
    case 'string':
      return value.includes('~shs:') ? value.replace(SEED, MASKED) : value
    case 'number':
      return number.write(value)
    case 'boolean':
      return value
    case 'object': {
      if (value === null) return null
      if (Array.isArray(value)) return value.map(plainCopy)
      const copy: Record<string, unknown> = {}
      for (const key of Object.keys(value)) {
        const field = (value as Readonly<Record<string, unknown>>)[key]
        if (field === undefined) continue
        copy[key] = key === 'data' ? null : plainCopy(field)
      }
      return copy
    }
    default:
      return null
  }
}

/** How many entries an action has: what it costs to make, to send and to keep. */
export function weightOf(item: Action): number {
  switch (item.type) {
    case 'routes/added':
      return 1 + item.reports.length
    case 'table/loaded':
      return 1 + item.routes.length + item.peers.length
    case 'routes/deferred':
      return 1 + item.deferrals.length
    default:
      return 1
  }
}

// ---- reading one --------------------------------------------------------------------------------------------------------

const scope: Codec<Scope> = nullable(
  word({
    loopback: true,
    private: true,
    linkLocal: true,
    multicast: true,
    unspecified: true,
    reserved: true,
    public: true,
    name: true,
  }),
)
const parsedRoute = record<ParsedRoute>({
  address: text,
  peer: text,
  protocol: text,
  host: nullable(text),
  port: nullable(count),
  portal: nullable(text),
  scope,
})
const standing = word({ stored: true, announced: true, temporary: true })
const report = {
  route: parsedRoute,
  isLocal: flag,
  source: text,
  standing: optional(standing),
  priority: optional(priority),
}
const storedRoute = record<StoredRoute>({
  ...report,
  addedAt: time,
  lastConnectionTime: time,
  lastErrorTime: time,
  connectionCount: count,
  errorCount: count,
  backoffStep: count,
  nextAttemptAt: time,
  errors: list(routeError),
  duration: nullable(stats),
  isAutomatic: optional(flag),
  data: optional(nullable(routeData)),
})
const storedPeer = record<StoredPeer>({
  id: text,
  priority,
  prioritisedBy: nullable(text),
  isLongTerm: flag,
  visitedAt: time,
  merit: optional(nullable(merit)),
})
const deferral = record<Deferral>({ address: text, until: time, layer: nullable(text) })

type ActionOf<T extends Action['type']> = Extract<Action, { readonly type: T }>

/** `fields`: all but the type and the time, which each action has. */
function action<T extends Action['type']>(
  type: T,
  fields: { readonly [K in Exclude<keyof ActionOf<T>, 'type' | 'at'>]-?: Codec<ActionOf<T>[K]> },
): Codec<ActionOf<T>> {
  const whole: object = { type: word({ [type]: true }), at: time, ...fields }
  return record(whole as never) as Codec<unknown> as Codec<ActionOf<T>>
}

const actions = oneOf<'type', Action>('type', {
  'routes/added': action('routes/added', { reports: list(record<RouteReport>(report)) }),
  'table/loaded': action('table/loaded', { routes: list(storedRoute), peers: list(storedPeer) }),
  'route/removed': action('route/removed', { address: text }),
  'route/withdrawn': action('route/withdrawn', { address: text }),
  'route/forgotten': action('route/forgotten', { address: text }),
  'route/annotated': action('route/annotated', { address: text, data: nullable(routeData), isAutomatic: flag }),
  'peer/prioritised': action('peer/prioritised', {
    peer: text,
    priority: nullable(priority),
    by: optional(text),
  }),
  'peer/longTermSet': action('peer/longTermSet', { peer: text, isLongTerm: flag }),
  'peer/held': action('peer/held', { peer: text }),
  'connection/requested': action('connection/requested', { peer: text, address: nullable(text) }),
  'connection/requestDropped': action('connection/requestDropped', { peer: text }),
  'dial/started': action('dial/started', { attempt: count, peer: text, address: text, cause: dialCause }),
  'dial/failed': action('dial/failed', {
    attempt: count,
    peer: text,
    address: text,
    error: record({ message: text, code: nullable(text) }),
    jitter: number,
    isGivenUp: flag,
  }),
  'dial/ended': action('dial/ended', { attempt: count }),
  'dial/abandoned': action('dial/abandoned', { attempt: count, peer: text }),
  'connection/opened': action('connection/opened', {
    peer: text,
    direction,
    address: nullable(text),
    attempt: nullable(count),
    cause,
  }),
  'connection/closeRequested': action('connection/closeRequested', { peer: text, reason: closeReason }),
  'connection/closing': action('connection/closing', { peer: text, reason: closeReason }),
  'connection/closed': action('connection/closed', { peer: text, jitter: number }),
  'connection/pinged': action('connection/pinged', { peer: text, rttMs: number, skewMs: number }),
  'connection/transferred': action('connection/transferred', { peer: text, count: optional(number) }),
  'connection/caughtUp': action('connection/caughtUp', { peer: text }),
  'connection/stalled': action('connection/stalled', { peer: text }),
  'connections/started': action('connections/started', {}),
  'connections/stopped': action('connections/stopped', {}),
  'initialSync/started': action('initialSync/started', { peer: nullable(text) }),
  'initialSync/stopped': action('initialSync/stopped', {}),
  'options/changed': action('options/changed', { options }),
  'routes/deferred': action('routes/deferred', { deferrals: list(deferral) }),
  'environment/offline': action('environment/offline', {}),
  'environment/busy': action('environment/busy', { isBusy: flag }),
  'environment/online': action('environment/online', {}),
  'clock/advanced': action('clock/advanced', {}),
  'clock/setBack': action('clock/setBack', {}),
})

/** An action, checked field by field. `item`: its place in the recording. Throws RecordingError. */
export function readAction(json: unknown, item: number): Action {
  try {
    return actions.read(json)
  } catch (error) {
    throw new RecordingError(item, errorInfo(error).message, error)
  }
}

// ---- as a file ----------------------------------------------------------------------------------------------------------

/** What the first line of each recording says. */
export const RECORDING_NAME = 'sbot-connection-manager'
/** Grows when an older reader would misunderstand a file. */
export const RECORDING_FORMAT = 1

export interface RecordingHeader {
  /** Of the package that recorded: actions may change with any release. */
  readonly version: string
  readonly at: EpochMs
  /** Whose it is; null: unknown. */
  readonly id: FeedId | null
}

/** How a recording came to its end. */
export interface RecordingEnd {
  /** `interrupted`, `seconds`, `count`, `closed` or the code of an error. */
  readonly end: string
  readonly at: EpochMs
  readonly actions: number
}

export interface RecordingFile extends RecordingHeader {
  readonly items: Recording
  /** Null: whoever wrote it was cut off. */
  readonly end: RecordingEnd | null
  /** The last line was cut off in the middle, and is left out. */
  readonly isTorn: boolean
}

const header = record({
  recording: text,
  format: count,
  version: text,
  at: time,
  id: nullable(text),
})
const end = record<RecordingEnd>({ end: text, at: time, actions: count })

/** The first line of a file. */
export function recordingHeader({ version, at, id }: RecordingHeader): string {
  return `${JSON.stringify({ recording: RECORDING_NAME, format: RECORDING_FORMAT, version, at, id })}\n`
}

/** The line of an item that is `recordable`. */
export function recordingLine(item: RecordingItem): string {
  return `${JSON.stringify(item)}\n`
}

/** The last line of a file that came to its end. */
export function recordingEnd(how: RecordingEnd): string {
  return `${JSON.stringify(how)}\n`
}

/**
 * The text of a file. Throws RecordingError, and nothing else, if it is no recording, of another format, or has a line that is no
 * JSON. What the items say is checked when they are replayed; the first of them, number 0, stands in line 2.
 */
export function parseRecording(content: string): RecordingFile {
  const lines = content.replace(/^\ufeff/, '').split('\n')
  const first = readHeader(lines[0] ?? '')
  const items: RecordingItem[] = []
  let ended: RecordingEnd | null = null
  let isTorn = false
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i] as string
    if (line === '' && i === lines.length - 1) break
    if (ended) throw new RecordingError(null, `line ${i + 1} stands behind its end: are these two recordings in one?`)
    let json: unknown
    try {
      json = JSON.parse(line)
    } catch (error) {
      // Each line ends in a newline: what has none was being written.
      if (i === lines.length - 1) {
        isTorn = true
        break
      }
      throw new RecordingError(null, `line ${i + 1} is no JSON, ${errorInfo(error).message}`, error)
    }
    if (isPlainObject(json) && own(json, 'type') === undefined && own(json, 'end') !== undefined)
      ended = readEnd(json, i)
    else items.push(json as RecordingItem)
  }
  return { ...first, items, end: ended, isTorn }
}

function readHeader(line: string): RecordingHeader {
  let json: unknown
  try {
    json = JSON.parse(line)
  } catch (error) {
    throw new RecordingError(null, 'its first line is not that of a recording', error)
  }
  if (!isPlainObject(json) || own(json, 'recording') !== RECORDING_NAME)
    throw new RecordingError(null, 'its first line is not that of a recording')
  const format = own(json, 'format')
  if (format !== RECORDING_FORMAT) {
    const version = own(json, 'version')
    const by = typeof version === 'string' ? `, written by version ${describe(version)},` : ''
    throw new RecordingError(
      null,
      `it is of format ${describe(format)}${by} and ${RECORDING_FORMAT} is the one known here`,
    )
  }
  try {
    const { version, at, id } = header.read(json)
    return { version, at, id }
  } catch (error) {
    throw new RecordingError(null, errorInfo(error).message, error)
  }
}

function readEnd(json: unknown, index: number): RecordingEnd {
  try {
    return end.read(json)
  } catch (error) {
    throw new RecordingError(null, `line ${index + 1}: ${errorInfo(error).message}`, error)
  }
}
