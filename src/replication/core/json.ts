/**
 * JSON data that others wrote: what strangers say of their feeds, and what a user asks of them. Copied within bounds, since
 * the original may be huge, hold what is no JSON, or change later; compared by structure.
 */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }
export type JsonObject = { readonly [key: string]: Json }

/** A message of a meta feed holds at most 8 kB, so nobody nests deeper but to do harm. */
const DEPTH_MAX = 16

/** What a copy may still cost: one unit a value, and one for each character of a string or key. */
export interface Allowance {
  units: number
}

/** An object with fields: no array, no bytes, no Map. */
export function isRecord(value: unknown): value is { readonly [key: string]: unknown } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return (
    Object.getPrototypeOf(value) === Object.prototype || Object.prototype.toString.call(value) === '[object Object]'
  )
}

/** Undefined if something in it is no JSON, nests too deep or costs more than is allowed. Undefined fields are left out. */
export function copyJson(value: unknown, allowance: Allowance, depth = DEPTH_MAX): Json | undefined {
  allowance.units -= typeof value === 'string' ? value.length + 1 : 1
  if (allowance.units < 0 || depth === 0) return undefined
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined
  if (Array.isArray(value)) return copyList(value, allowance, depth)
  return isRecord(value) ? copyRecord(value, allowance, depth) : undefined
}

function copyList(list: readonly unknown[], allowance: Allowance, depth: number): Json | undefined {
  const copied: Json[] = []
  for (const item of list) {
    const copy = copyJson(item, allowance, depth - 1)
    if (copy === undefined) return undefined
    copied.push(copy)
  }
  return copied
}

function copyRecord(
  record: { readonly [key: string]: unknown },
  allowance: Allowance,
  depth: number,
): JsonObject | undefined {
  const copied: [string, Json][] = []
  for (const key of Object.keys(record)) {
    if (record[key] === undefined) continue
    allowance.units -= key.length
    const copy = copyJson(record[key], allowance, depth - 1)
    if (copy === undefined) return undefined
    copied.push([key, copy])
  }
  // Not by assignment, which takes `__proto__` for the prototype.
  return Object.fromEntries(copied)
}

/** As `copyJson` of an object, but fields that cannot be copied are left out, and those that are no longer allowed. */
export function copyFields(record: { readonly [key: string]: unknown }, allowance: Allowance): JsonObject {
  const copied: [string, Json][] = []
  for (const key of Object.keys(record)) {
    allowance.units -= key.length
    const copy = copyJson(record[key], allowance, DEPTH_MAX - 1)
    if (allowance.units < 0) break
    if (copy !== undefined) copied.push([key, copy])
  }
  return Object.fromEntries(copied)
}

/**
 * Whether `value` has the structure of `pattern`, whatever the order of keys; strings of the pattern go through `resolve`
 * first. Takes as long as the pattern is large, whatever the value is, but for the counting of keys.
 */
export function isSameJson(
  pattern: unknown,
  value: unknown,
  resolve: (text: string) => string = asIs,
  depth = DEPTH_MAX,
): boolean {
  if (depth === 0) return false
  if (typeof pattern === 'string') return typeof value === 'string' && resolve(pattern) === value
  if (typeof pattern !== 'object' || pattern === null) return pattern === value
  if (Array.isArray(pattern))
    return (
      Array.isArray(value) &&
      value.length === pattern.length &&
      pattern.every((item, i) => isSameJson(item, value[i], resolve, depth - 1))
    )
  if (!isRecord(value) || !isRecord(pattern)) return false
  const keys = Object.keys(pattern)
  if (Object.keys(value).length !== keys.length) return false
  return keys.every((key) => hasOwn(value, key) && isSameJson(pattern[key], value[key], resolve, depth - 1))
}

export function hasOwn(record: object, key: string): boolean {
  return Object.prototype.hasOwnProperty.call(record, key)
}

function asIs(text: string): string {
  return text
}
