/**
 * Partial replication: which feeds of somebody's meta feed tree are wanted, by distance in the social graph and for members
 * of private groups. Reads `config.replicationScheduler.partialReplication` and matches branches of structure v1 with it.
 *
 * A template is a list of shapes. A leaf is wanted if it matches one of them, and it matches a shape if all fields that the
 * shape gives are equal, in `metadata` and in `metadata.query` likewise; a field that the shape omits may be anything. In
 * every string of a shape each `$main` and `$root` stands for the main feed and the root of the tree at hand.
 */
import { describe, InvalidArgumentError, shorten } from '../../core/errors'
import { copyJson, hasOwn, isRecord, isSameJson, type Json, type JsonObject } from './json'
import type { Branch, Category, FeedDetails, FeedId } from './types'

/** What a leaf must be; undefined: anything. */
export interface Shape {
  readonly id: string | undefined
  /** `$groupSecret`: one of our group keys in base64. */
  readonly purpose: string | undefined
  readonly feedFormat: string | undefined
  readonly recps: Json | undefined
  /** Null: the leaf has none. */
  readonly metadata: JsonObject | null | undefined
  /** Whether `$main` is in it, so that it matches nothing where the main feed is unknown. */
  readonly usesMain: boolean
}

/** Empty: nothing but the root and `v1`. */
export type Template = readonly Shape[]

/** A null template is full replication of the main feed; for `group` it means that groups ask for nothing. */
export interface Templates {
  /** Ascending. */
  readonly byHops: readonly { readonly hops: number; readonly template: Template | null }[]
  readonly group: Template | null
}

export interface MatchContext {
  /** Null: not known. */
  readonly main: FeedId | null
  /** In base64. */
  readonly groupKeys: ReadonlySet<string>
  /**
   * The purpose of the shard in which feeds of a purpose are. Null: cannot be computed, so that any shard matches. Called
   * for every shape, so it should remember its answers.
   */
  readonly shardOf: (root: FeedId, purpose: string) => string | null
}

const GROUP_SECRET = '$groupSecret'
const VARIABLES = /\$(main|root)/g
const FIELDS = ['id', 'purpose', 'feedFormat', 'recps', 'metadata']
const TEXT_FIELDS = ['id', 'purpose', 'feedFormat']
/** What a shape may cost to copy: far more than any that makes sense, as a message of a meta feed holds 8 kB. */
const SHAPE_UNITS = 100_000
/** Of a leaf's query; strangers write it. */
const QUERY_MAX = 10_000
const KEY_SHOWN_MAX = 40

/**
 * Reads `partialReplication`. `templates` null: full replication for everybody, which is so if nothing in it asks for
 * less. `problems`: a sentence on each thing that is ignored. Throws InvalidArgumentError if it is truthy and no object.
 */
export function parsePartialReplication(value: unknown): {
  readonly templates: Templates | null
  readonly problems: readonly string[]
} {
  const problems: string[] = []
  if (!value) return { templates: null, problems }
  if (typeof value !== 'object')
    throw new InvalidArgumentError('partialReplication', 'an object from hops to templates, or null', value)
  const byHops = new Map<number, Template | null>()
  let group: Template | null = null
  for (const [key, given] of Object.entries(value)) {
    const hops = hopsOf(key)
    const path = `partialReplication[${JSON.stringify(shorten(key, KEY_SHOWN_MAX))}]`
    if (key === 'group') group = parseTemplate(given, path, problems)
    else if (hops === null) problems.push(`${path} is ignored: expected a number of hops from 0, or "group".`)
    else if (byHops.has(hops)) problems.push(`${path} is ignored: another key is the same number.`)
    else byHops.set(hops, parseTemplate(given, path, problems))
  }
  if (!group && ![...byHops.values()].some((template) => template)) return { templates: null, problems }
  const ascending = [...byHops].sort(([a], [b]) => a - b)
  return { templates: { byHops: ascending.map(([hops, template]) => ({ hops, template })), group }, problems }
}

/** Null if the key is no number from 0. Infinity is one: it serves all beyond. */
function hopsOf(key: string): number | null {
  const hops = /\s/.test(key) || key === '' ? Number.NaN : Number(key)
  return hops >= 0 ? hops : null
}

function parseTemplate(value: unknown, path: string, problems: string[]): Template | null {
  if (!value) return null
  if (Array.isArray(value)) {
    const shapes = value.map((given, i) => parseShape(given, `${path}[${i}]`, problems))
    return shapes.filter((shape): shape is Shape => shape !== null)
  }
  problems.push(
    `${path} is ignored: expected an array of shapes, or null for full replication, not ${describe(value)}.`,
  )
  return null
}

/** Null, with a problem, if no leaf could ever match it. A shape holds no part of what was given, which may change. */
function parseShape(value: unknown, path: string, problems: string[]): Shape | null {
  const problem = shapeProblem(value)
  if (problem) {
    problems.push(`${path} is ignored: ${problem}.`)
    return null
  }
  const given = copyJson(value, { units: SHAPE_UNITS })
  if (!isRecord(given)) {
    problems.push(`${path} is ignored: expected JSON data, at most 16 levels deep and 100 000 characters long.`)
    return null
  }
  const shape = given as Partial<Shape>
  const metadata = shape.metadata && withParsedQuery(shape.metadata)
  const { id, purpose, feedFormat, recps } = shape
  return { id, purpose, feedFormat, recps, metadata, usesMain: usesMain(given as JsonObject) }
}

/** What is wrong, a clause without full stop; null if nothing is. */
function shapeProblem(shape: unknown): string | null {
  if (!isRecord(shape)) return `expected an object with fields of a leaf feed, not ${describe(shape)}`
  for (const field of Object.keys(shape)) {
    const value = shape[field]
    if (value === undefined) continue
    if (!FIELDS.includes(field))
      return `no feed has a field ${JSON.stringify(shorten(field, KEY_SHOWN_MAX))}, but one of ${FIELDS.join(', ')}`
    if (TEXT_FIELDS.includes(field) && typeof value !== 'string') return `${field} must be text, not ${describe(value)}`
    if (field === 'recps' && value !== null && !isTextList(value))
      return `recps must be a list of text or null, not ${describe(value)}`
    if (field === 'metadata' && value !== null && !isRecord(value))
      return `metadata must be an object or null, not ${describe(value)}`
  }
  return null
}

function isTextList(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

/** A query may be written as a leaf has it, in JSON. Other languages are compared as they are. */
function withParsedQuery(metadata: JsonObject): JsonObject {
  if (!hasOwn(metadata, 'query') || typeof metadata.query !== 'string') return metadata
  const query = copyJson(parseQuery(metadata.query), { units: SHAPE_UNITS })
  return isRecord(query) ? { ...metadata, query: query as JsonObject } : metadata
}

function usesMain(value: Json | undefined): boolean {
  if (typeof value === 'string') return value.includes('$main')
  if (typeof value !== 'object' || value === null) return false
  return Object.values(value).some(usesMain)
}

/**
 * The template for a distance: the one of the smallest key that is not smaller, else of the largest; key null if there is
 * none. A null template is full replication.
 */
export function templateFor(
  templates: Templates | null,
  category: Category,
): { readonly key: number | null; readonly template: Template | null } {
  if (category === 'group') return { key: null, template: templates?.group ?? null }
  const byHops = templates?.byHops ?? []
  const entry = byHops.find(({ hops }) => hops >= category) ?? byHops[byHops.length - 1]
  return entry ? { key: entry.hops, template: entry.template } : { key: null, template: null }
}

/**
 * Whether a template asks for the last feed of a branch. The root and `v1` are always wanted, as nothing is known of a
 * tree without them; a shard, if leaves of some shape are in it.
 */
export function matchesBranch(template: Template, branch: Branch, context: MatchContext): boolean {
  const [root, v1, shard, leaf, beyond] = branch
  if (!root || beyond) return false
  if (!v1 || !shard) return true
  const { main } = context
  const resolve = (text: string): string => resolveVariables(text, main, root.id)
  const shapes = main === null ? template.filter((shape) => !shape.usesMain) : template
  if (!leaf) return shapes.some((shape) => matchesShard(shape, root.id, shard, resolve, context))
  const query = lazyQuery(leaf)
  return shapes.some((shape) => matchesLeaf(shape, leaf, query, resolve, context))
}

type Resolve = (text: string) => string

/** In a single pass: what is put in is not searched again. `main` may only be null if `$main` is not in the text. */
function resolveVariables(text: string, main: FeedId | null, root: FeedId): string {
  if (!text.includes('$')) return text
  if (text === '$main') return String(main)
  return text.replace(VARIABLES, (_, name) => (name === 'main' ? String(main) : root))
}

function matchesShard(
  shape: Shape,
  root: FeedId,
  shard: FeedDetails,
  resolve: Resolve,
  { groupKeys, shardOf }: MatchContext,
): boolean {
  if (shape.purpose === undefined) return true
  const isInShard = (purpose: string): boolean => (shardOf(root, purpose) ?? shard.purpose) === shard.purpose
  if (shape.purpose !== GROUP_SECRET) return isInShard(resolve(shape.purpose))
  for (const key of groupKeys) if (isInShard(key)) return true
  return false
}

function matchesLeaf(
  shape: Shape,
  leaf: FeedDetails,
  query: () => unknown,
  resolve: Resolve,
  { groupKeys }: MatchContext,
): boolean {
  const { id, purpose, feedFormat, recps, metadata } = shape
  if (purpose === GROUP_SECRET) {
    if (!groupKeys.has(leaf.purpose)) return false
  } else if (purpose !== undefined && resolve(purpose) !== leaf.purpose) return false
  if (feedFormat !== undefined && resolve(feedFormat) !== leaf.feedFormat) return false
  if (id !== undefined && resolve(id) !== leaf.id) return false
  if (recps !== undefined && !isSameJson(recps, leaf.recps, resolve)) return false
  return metadata === undefined || matchesMetadata(metadata, leaf.metadata ?? {}, query, resolve)
}

function matchesMetadata(
  pattern: JsonObject | null,
  metadata: Readonly<Record<string, unknown>>,
  query: () => unknown,
  resolve: Resolve,
): boolean {
  if (pattern === null) return Object.keys(metadata).length === 0
  return Object.keys(pattern).every((field) => {
    const wanted = pattern[field]
    if (field === 'query' && isRecord(wanted)) return matchesFields(wanted, query(), resolve)
    return hasOwn(metadata, field) && isSameJson(wanted, metadata[field], resolve)
  })
}

/** Fields of the record that the pattern does not give may be anything. */
function matchesFields(pattern: { readonly [key: string]: unknown }, record: unknown, resolve: Resolve): boolean {
  if (!isRecord(record)) return false
  return Object.keys(pattern).every(
    (field) => hasOwn(record, field) && isSameJson(pattern[field], record[field], resolve),
  )
}

/** The query of an index feed, read once for all shapes, and only if one asks for it. Index feeds have it in JSON. */
function lazyQuery({ metadata }: FeedDetails): () => unknown {
  let query: unknown
  let isRead = false
  return () => {
    if (!isRead && metadata && hasOwn(metadata, 'query'))
      query = typeof metadata.query === 'string' ? parseQuery(metadata.query) : metadata.query
    isRead = true
    return query
  }
}

/** Undefined if it is not JSON, or too long. */
function parseQuery(text: string): unknown {
  if (text.length > QUERY_MAX) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/**
 * Whether some shape can match an index feed. Those have the format `indexed-v1`, which ssb-ebt must be told of, and by
 * convention the purpose `index`.
 */
export function wantsIndexFeeds(templates: Templates | null): boolean {
  if (!templates) return false
  const all = [...templates.byHops.map(({ template }) => template), templates.group]
  return all.some((template) => template?.some(canBeIndexFeed))
}

function canBeIndexFeed({ purpose, feedFormat }: Shape): boolean {
  if (feedFormat !== undefined) return feedFormat === 'indexed-v1'
  return purpose === undefined || purpose === 'index'
}
