/**
 * Reads what callers give, over the wire or in the process: each field once, and whatever is wrong with it, even a getter that
 * throws, becomes an error with a code before anything has happened.
 */
import { parseAddress, parseFeedId, withoutSeed } from '../core/address'
import { ConnectionManagerError, InvalidArgumentError } from '../core/errors'
import { isPlainObject } from '../core/options'
import type { FeedId, ParsedRoute, Priority } from '../core/types'
import type { SourceOptions } from './live'

export function toPriority(value: unknown, more = ''): Priority {
  if (value === 'MED') return 'MEDIUM'
  if (value === 'HIGH' || value === 'MEDIUM' || value === 'LOW' || value === 'BANNED') return value
  throw new InvalidArgumentError('priority', `HIGH, MEDIUM (or MED), LOW or BANNED${more}`, value)
}

export function toBoolean(argument: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback
  if (typeof value !== 'boolean') throw new InvalidArgumentError(argument, 'true or false', value)
  return value
}

export function toSource(value: unknown): string {
  if (value === undefined) return 'manual'
  if (typeof value !== 'string' || value.length === 0 || value.length > 64)
    throw new InvalidArgumentError('source', 'a word of at most 64 characters', value)
  return value
}

/** Asked of what others have thrown; a revoked proxy throws when it is asked anything. */
export function isOurError(error: unknown): error is ConnectionManagerError {
  try {
    return error instanceof ConnectionManagerError
  } catch {
    return false
  }
}

/** What `read` gives; what it throws, unless it is an error of ours, becomes one: getters and proxies may throw anything. */
export function reading<T>(argument: string, expected: string, value: unknown, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw isOurError(error) ? error : new InvalidArgumentError(argument, expected, value)
  }
}

/** The named fields of an object, each read once: a getter may answer differently the second time, or throw. */
export function toFields(
  argument: string,
  expected: string,
  value: unknown,
  names: readonly string[],
): Record<string, unknown> {
  return reading(argument, expected, value, () => {
    if (!isPlainObject(value)) throw new InvalidArgumentError(argument, expected, value)
    const fields: Record<string, unknown> = {}
    for (const name of names) fields[name] = value[name]
    return fields
  })
}

export function toSourceOptions(value: unknown): SourceOptions {
  if (value === undefined || value === null) return {}
  const given = toFields('options', '{old?, live?}', value, ['old', 'live'])
  return { old: toBoolean('old', given.old, true), live: toBoolean('live', given.live, true) }
}

/** A peer, and the routes to it that an address spelled out. */
interface Meant {
  readonly id: FeedId
  readonly routes: readonly ParsedRoute[]
}

/** Where a peer is, whoever gave an invite to it. */
export function toPlaces(address: unknown): readonly ParsedRoute[] {
  return parseAddress(address).map(withoutSeed)
}

/** The fields that say which peer is meant. */
export const TARGET = ['id', 'address', 'host', 'port', 'key'] as const

/** `{address}`, `{id}`, a feed id or an address: the peer that is meant, and the routes that the address spells out. */
export function toTarget(value: unknown): Meant {
  const asId = typeof value === 'string' ? parseFeedId(value) : null
  if (asId !== null) return { id: asId, routes: [] }
  if (typeof value === 'string') return ofRoutes(parseAddress(value))
  return ofFields(toFields('target', '{address} or {id}, a feed id or an address', value, TARGET))
}

/** The same of fields that were read already. */
export function ofFields({ id: givenId, address, host, port, key }: Record<string, unknown>): Meant {
  if (givenId !== undefined) {
    const id = parseFeedId(givenId)
    if (id === null) throw new InvalidArgumentError('id', 'a feed id such as @KEY.ed25519', givenId)
    if (address === undefined) return { id, routes: [] }
    const found = ofAddress(address)
    if (found.id !== id) throw new InvalidArgumentError('address', `an address of ${id}`, address)
    return found
  }
  if (address !== undefined) return ofAddress(address)
  const id = parseFeedId(key)
  if (host === undefined && id !== null) return { id, routes: [] }
  return ofRoutes(parseAddress({ host, port, key }))
}

function ofAddress(address: unknown): Meant {
  const id = parseFeedId(address)
  return id === null ? ofRoutes(parseAddress(address)) : { id, routes: [] }
}

function ofRoutes(routes: readonly ParsedRoute[]): Meant {
  const first = routes[0]
  if (!first) throw new InvalidArgumentError('address', 'an address', routes)
  return { id: first.peer, routes }
}
