/** Times, ids and reasons in words. Pure. */
import type { PeerView } from '../core/selectors'
import type { EpochMs } from '../core/types'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const WEEK = 7 * DAY

/** `12 s`, `5 min`, `3 h`, `2 d`: one unit is enough to judge by. */
export function duration(ms: number): string {
  const abs = Math.max(0, ms)
  if (abs < MINUTE) return `${Math.round(abs / SECOND)} s`
  if (abs < HOUR) return `${Math.round(abs / MINUTE)} min`
  if (abs < 2 * DAY) return `${Math.round(abs / HOUR)} h`
  return `${Math.round(abs / DAY)} d`
}

const UNITS: { readonly [unit: string]: number } = {
  ms: 1,
  s: SECOND,
  sec: SECOND,
  m: MINUTE,
  min: MINUTE,
  h: HOUR,
  d: DAY,
  w: WEEK,
}

/** `30min`, `1.5 h`, `1h30min`; null for what is none. In ms. */
export function parseDuration(text: string): number | null {
  const compact = text.replace(/\s+/g, '').toLowerCase()
  if (!/^(\d+(\.\d+)?[a-z]+)+$/.test(compact)) return null
  let total = 0
  for (const [, count, unit] of compact.matchAll(/(\d+(?:\.\d+)?)([a-z]+)/g)) {
    const ms = Object.hasOwn(UNITS, unit as string) ? UNITS[unit as string] : undefined
    if (ms === undefined) return null
    total += Number(count) * ms
  }
  return Math.round(total)
}

/** `in 5 s`, `now`. */
export function until(at: EpochMs, now: EpochMs): string {
  return at - now < SECOND ? 'now' : `in ${duration(at - now)}`
}

/** Of this place: `2026-11-21 18:51:09`. */
export function timestamp(at: EpochMs): string {
  const date = new Date(at)
  const two = (value: number): string => String(value).padStart(2, '0')
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}

const SHORT_LENGTH = 9

/** Enough of an id to tell peers apart and to name it to another command. */
export function shortId(id: string): string {
  return id.startsWith('@') && id.length > SHORT_LENGTH ? `${id.slice(0, SHORT_LENGTH)}…` : id
}

/** The place in an address, without the key: `net:example.com:8008`. */
export function place(address: string): string {
  const [first = ''] = address.split('~')
  return first.startsWith('tunnel:') ? `tunnel by ${shortId(first.split(':')[1] ?? '')}` : first
}

/** Slot class of the connection of a peer; `inbound` takes no slot; null where there is none. */
export function classOf({ connection, routes }: PeerView): string | null {
  if (connection.status === 'idle') return null
  if (connection.address === null) return connection.direction
  const route = routes.find(({ id }) => id === connection.address)
  return route?.isLocal ? 'local' : (connection.address.split(':')[0] ?? '')
}

const REASONS: { readonly [reason: string]: string } = {
  // Why it was dialed.
  schedule: 'its turn',
  longTerm: 'kept up',
  request: 'asked for',
  probe: 'to see whether it works again',
  // Of either.
  initialSync: 'initial sync',
  // Who opened it.
  inbound: 'the other side dialed',
  foreign: 'dialed by another plugin',
  // Why it was closed.
  stopped: 'connections were stopped',
  closed: 'the sbot closes',
  banned: 'banned',
  routeRemoved: 'its address was removed',
  disconnected: 'asked for',
  lifetime: 'its time was over',
  surplus: 'more than there are slots',
  rotation: 'makes room for another peer',
  stalled: 'nothing came from it',
  dead: 'it no longer answers',
  maxInbound: 'more inbound connections than allowed',
}

/** A reason of `connections.changes()` in words; a code of an error stays as it is. */
export function reasonText(reason: string | null, type: string): string {
  if (reason === null) return type === 'disconnected' ? 'the other side hung up' : ''
  return Object.hasOwn(REASONS, reason) ? (REASONS[reason] as string) : reason
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
