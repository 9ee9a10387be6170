/** Reads of what other plugins mount on a stack: each may be missing, and have any shape. */
import type { FeedId } from '../core/types'

export type Method = (...args: unknown[]) => unknown

export function memberOf(target: unknown, name: string): unknown {
  if ((typeof target !== 'object' && typeof target !== 'function') || target === null) return undefined
  return (target as Readonly<Record<string, unknown>>)[name]
}

/** A method by its path, bound to its owner; null where anything on the way is missing. */
export function methodOf(target: unknown, ...path: readonly string[]): Method | null {
  let owner: unknown = null
  let found: unknown = target
  for (const name of path) {
    owner = found
    found = memberOf(found, name)
  }
  return typeof found === 'function' ? (...args) => (found as Method).apply(owner, args) : null
}

/** Whether a section of a config switches something off; the command line hands on text. */
export function isSwitchedOff(section: unknown, name: string): boolean {
  const value = memberOf(section, name)
  return value === false || value === 'false'
}

/** Of a message as ssb-db (`{key, value}`) or ssb-db2 (`{kvt: {key, value}}`) tell of it. */
export function authorOf(message: unknown): FeedId | null {
  const kvt = memberOf(message, 'kvt') ?? message
  const author = memberOf(memberOf(kvt, 'value'), 'author')
  return typeof author === 'string' ? author : null
}
