/**
 * How records of the core become plain JSON, and come back checked. A codec of a record names each field of its type, so that a
 * field that is added to the type is not forgotten: it does not compile without one.
 *
 * JSON has no Infinity, NaN and -0, and a stranger's clock is enough to bring some of them about: they are written as text.
 */
import { describe, errorInfo, shorten } from './errors'
import { isPlainObject, isRouteData } from './options'
import { own } from './own'
import { MAX_TIME } from './snapshot'
import type { EpochMs, RouteData } from './types'

export interface Codec<T> {
  /** Plain JSON that shares nothing with `value`; undefined: leave it out. */
  readonly write: (value: T) => unknown
  /** The value again. Throws Misfit, and nothing else, if `json` is none. */
  readonly read: (json: unknown) => T
}

export type Read<C> = C extends Codec<infer T> ? T : never

/** What was found is not what was expected. */
export class Misfit extends Error {
  constructor(
    readonly reason: string,
    readonly path: readonly (string | number)[] = [],
  ) {
    super(path.length === 0 ? reason : `${shorten(path.join('.'), MAX_PATH)}: ${reason}`)
    Object.setPrototypeOf(this, new.target.prototype)
  }

  /** The same, seen from further out. */
  below(name: string | number): Misfit {
    return new Misfit(this.reason, [name, ...this.path])
  }
}

const MAX_PATH = 120

function misfit(expected: string, found: unknown): Misfit {
  return new Misfit(`expected ${expected}, found ${describe(found)}`)
}

function plain<T>(expected: string, is: (json: unknown) => json is T): Codec<T> {
  return {
    write: (value) => value,
    read: (json) => {
      if (!is(json)) throw misfit(expected, json)
      return json
    },
  }
}

export const text: Codec<string> = plain('text', (json): json is string => typeof json === 'string')
export const flag: Codec<boolean> = plain('true or false', (json): json is boolean => typeof json === 'boolean')
export const count: Codec<number> = plain(
  'a whole number from 0',
  (json): json is number => typeof json === 'number' && Number.isSafeInteger(json) && json >= 0,
)
export const time: Codec<EpochMs> = plain(
  'milliseconds since 1970',
  (json): json is number => typeof json === 'number' && json >= 0 && json <= MAX_TIME,
)

const STRANGE_NUMBERS = ['Infinity', '-Infinity', 'NaN', '-0']

export const number: Codec<number> = {
  write: (value) =>
    Number.isFinite(value) && !Object.is(value, -0) ? value : Object.is(value, -0) ? '-0' : `${value}`,
  read: (json) => {
    if (typeof json === 'number') return json
    if (typeof json === 'string' && STRANGE_NUMBERS.includes(json)) return Number(json)
    throw misfit('a number', json)
  },
}

/** What other modules keep with a route. */
export const routeData: Codec<RouteData> = {
  // Whoever keeps what JSON cannot say, a cycle for one, has no part in what we decide.
  write: (value) => (isRouteData(value) ? JSON.parse(JSON.stringify(value)) : {}),
  read: (json) => {
    if (!isRouteData(json)) throw misfit('an object of a few kilobytes', json)
    return json
  },
}

/** One of the words of a union; named as keys, so that none is missing. */
export function word<T extends string>(words: { readonly [W in T]: true }): Codec<T> {
  return plain(
    `one of ${shorten(Object.keys(words).join(', '), MAX_PATH)}`,
    (json): json is T => typeof json === 'string' && own<true>(words, json) === true,
  )
}

export function nullable<T>(codec: Codec<T>): Codec<T | null> {
  return {
    write: (value) => (value === null ? null : codec.write(value)),
    read: (json) => (json === null ? null : codec.read(json)),
  }
}

export function optional<T>(codec: Codec<T>): Codec<T | undefined> {
  return {
    write: (value) => (value === undefined ? undefined : codec.write(value)),
    read: (json) => (json === undefined ? undefined : codec.read(json)),
  }
}

/** Left out where it is `usual`, as most fields of most routes are. */
export function usually<T>(usual: T, codec: Codec<T>): Codec<T> {
  return {
    write: (value) => (Object.is(value, usual) ? undefined : codec.write(value)),
    read: (json) => (json === undefined ? usual : codec.read(json)),
  }
}

export function list<T>(codec: Codec<T>): Codec<readonly T[]> {
  return {
    write: (values) => values.map(codec.write),
    read: (json) => {
      if (!Array.isArray(json)) throw misfit('a list', json)
      return json.map((each, i) => below(i, codec, each))
    },
  }
}

export function pair<A, B>(first: Codec<A>, second: Codec<B>): Codec<readonly [A, B]> {
  return {
    write: ([a, b]) => [first.write(a), second.write(b)],
    read: (json) => {
      if (!Array.isArray(json) || json.length !== 2) throw misfit('a list of two', json)
      return [below(0, first, json[0]), below(1, second, json[1])]
    },
  }
}

export function record<T extends object>(fields: { readonly [K in keyof T]-?: Codec<T[K]> }): Codec<T> {
  const names = Object.keys(fields) as (keyof T & string)[]
  return {
    write: (value) => {
      const made: Record<string, unknown> = {}
      for (const name of names) {
        const written = fields[name].write(value[name])
        if (written !== undefined) made[name] = written
      }
      return made
    },
    read: (json) => {
      if (!isPlainObject(json)) throw misfit('an object', json)
      const made: Record<string, unknown> = {}
      for (const name of names) {
        const value = below(name, fields[name], own(json, name))
        if (value !== undefined) made[name] = value
      }
      return made as T
    },
  }
}

/** Records that a field tells apart. */
export function oneOf<F extends string, T extends { readonly [K in F]: string }>(
  field: F,
  codecs: { readonly [W in T[F]]: Codec<Extract<T, { readonly [K in F]: W }>> },
): Codec<T> {
  const table = codecs as unknown as { readonly [word: string]: Codec<T> }
  return {
    write: (value) => {
      const codec = own(table, value[field])
      return codec ? codec.write(value) : undefined
    },
    read: (json) => {
      if (!isPlainObject(json)) throw misfit('an object', json)
      const found = own(json, field)
      const codec = typeof found === 'string' ? own(table, found) : undefined
      if (!codec) throw misfit(`one of ${shorten(Object.keys(table).join(', '), MAX_PATH)}`, found).below(field)
      return codec.read(json)
    },
  }
}

function below<T>(name: string | number, codec: Codec<T>, json: unknown): T {
  try {
    return codec.read(json)
  } catch (error) {
    throw (error instanceof Misfit ? error : new Misfit(errorInfo(error).message)).below(name)
  }
}
