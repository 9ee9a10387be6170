/**
 * Announces: messages of type `metafeed/announce`, by which the author of a main feed names its root meta feed. Verified
 * here, read from the database, and kept in it.
 *
 * An announce has two signatures. That of its content is by the meta feed, and anybody can make one with a meta feed of their
 * own; only the signature of the message shows that the author of the main feed meant it. A neighbour that could do without
 * the second would choose what we replicate of whom.
 */

import pull = require('pull-stream')

import { type Method, memberOf, methodOf } from '../adapters/members'
import { isFeedId } from '../core/address'
import { ConnectionManagerError, errorInfo } from '../core/errors'
import { isolated } from '../shell/calls'
import { type Clock, unref } from '../shell/clock'
import { copyJson, hasOwn, isRecord } from './core/json'
import type { FeedId } from './core/types'
import { readGently } from './reading'

export interface Announce {
  readonly main: FeedId
  readonly root: FeedId
  /** Of the message. The author's last word is the one with the highest. */
  readonly sequence: number
}

/** The stack's `caps.sign`; null or undefined for the public network. */
export type Hmac = string | Uint8Array | null | undefined

/**
 * What is wrong with a message: whoever sent it made it up; or its author wrote what is no announce, of which whoever hands
 * it on is innocent.
 */
export type Fault = 'sender' | 'author' | 'unverifiable'

export interface AnnouncesOptions {
  readonly sbot: unknown
  readonly clock: Clock
  /** Each announce of the database, more than once at times, in any order; then each new one. */
  readonly onAnnounce: (main: FeedId, root: FeedId, sequence: number) => void
  /** Once, when all that were there at the start have come, or cannot. */
  readonly onLoaded: () => void
  readonly log: (text: string) => void
}

type Done = (error?: unknown) => void

interface Verifiers {
  readonly verifyMessage: (author: FeedId, hmac: Hmac, value: object) => boolean
  /** By the meta feed, about this author. */
  readonly isValidContent: (value: object) => boolean
}

const TYPE = 'metafeed/announce'
/** Of a classic message, in UTF-16 units of its JSON as it was signed. */
const SIZE_MAX = 8192
const FIELDS = ['previous', 'sequence', 'author', 'timestamp', 'hash', 'content', 'signature']
/** 32 or 64 bytes in canonical base64: another spelling would be another id for the same feed, or message. */
const ROOT = /^ssb:feed\/bendybutt-v1\/[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]=$/
const SIGNATURE = /^[A-Za-z0-9+/]{85}[AQgw]==\.sig\.ed25519$/
const RETRY_MS = 1_000
const RETRY_MAX_MS = 300_000
/** Announces of which it is remembered how they are in the log. */
const COPIES_MAX = 100_000
/** Announces of one main that are looked at. */
const OFFSETS_MAX = 100

/* ---- verification ---- */

let verifiers: Verifiers | null | undefined

/** Null if the packages are not there. They are part of every stack that has meta feeds. */
function loadVerifiers(): Verifiers | null {
  if (verifiers !== undefined) return verifiers
  try {
    const verifyObj = methodOf(require('ssb-keys'), 'verifyObj')
    const validate = methodOf(require('ssb-meta-feeds/validate'), 'validateMetafeedAnnounce')
    verifiers =
      verifyObj && validate
        ? {
            verifyMessage: (author, hmac, value) =>
              verifyObj({ public: author.slice(1), curve: 'ed25519' }, hmac || null, value) === true,
            isValidContent: (value) => validate({ key: null, value }) === undefined,
          }
        : null
  } catch {
    verifiers = null
  }
  return verifiers
}

/** Whether announces can be verified at all; without, none is accepted. */
export function canVerify(): boolean {
  return loadVerifiers() !== null
}

/** The announce that a classic message value is, whoever it came from; null if it is none. Never throws. */
export function verifyAnnounce(message: unknown, options: { readonly hmac?: Hmac } = {}): Announce | null {
  const checked = checkAnnounce(message, options)
  return typeof checked === 'string' ? null : checked
}

/** As `verifyAnnounce`, and says whose fault it is. */
export function checkAnnounce(message: unknown, { hmac }: { readonly hmac?: Hmac } = {}): Announce | Fault {
  const loaded = loadVerifiers()
  if (!loaded) return 'unverifiable'
  try {
    if (!isClassicMessage(message)) return 'sender'
    if (!loaded.verifyMessage(message.author, hmac, message)) return 'sender'
  } catch {
    return 'sender'
  }
  return readAnnounce(message, loaded) ?? 'author'
}

interface ClassicMessage {
  readonly author: FeedId
  readonly sequence: number
  readonly content: { readonly [key: string]: unknown }
}

/** What can be said of it without the signature. Of encrypted messages none is meant here. */
function isClassicMessage(value: unknown): value is ClassicMessage {
  if (!isRecord(value) || Object.keys(value).length !== FIELDS.length) return false
  return (
    FIELDS.every((field) => hasOwn(value, field)) &&
    isFeedId(value.author) &&
    isSequence(value.sequence) &&
    typeof value.signature === 'string' &&
    SIGNATURE.test(value.signature) &&
    isRecord(value.content) &&
    isSmall(value)
  )
}

function isSequence(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1
}

/** The copy is thrown away: it only shows that writing it as JSON does not take long, however it is nested. */
function isSmall(value: object): boolean {
  return copyJson(value, { units: SIZE_MAX }) !== undefined && JSON.stringify(value, null, 2).length <= SIZE_MAX
}

/** Of a message whose own signature is known to be right. */
function readAnnounce(value: ClassicMessage, { isValidContent }: Verifiers): Announce | null {
  try {
    const { author, sequence, content } = value
    if (content.type !== TYPE || content.subfeed !== author) return null
    if (typeof content.metafeed !== 'string' || !ROOT.test(content.metafeed)) return null
    return isValidContent(value) ? { main: author, root: content.metafeed, sequence } : null
  } catch {
    return null
  }
}

/* ---- the database ---- */

/** Those of the database itself if it shows them, as they fit its version. */
function operatorsOf(sbot: unknown): unknown {
  const own = memberOf(memberOf(sbot, 'db'), 'operators')
  if (own) return own
  try {
    return require('ssb-db2/operators')
  } catch {
    return null
  }
}

/** What `db.query` gives for announces with these operators, each by its name and arguments. Throws if something is missing. */
function queryAnnounces(sbot: unknown, main: FeedId | null, ...names: readonly string[]): pull.Source<unknown> {
  const operators = operatorsOf(sbot)
  const query = need(methodOf(sbot, 'db', 'query'), 'db.query')
  const operator = (name: string): Method => need(methodOf(operators, name), `the operator ${name}`)
  const type = operator('type')(TYPE)
  const test = main === null ? type : operator('and')(operator('author')(main, { dedicated: false }), type)
  return query(
    operator('where')(test),
    ...names.map((name) => operator(name)()),
    operator('toPullStream')(),
  ) as pull.Source<unknown>
}

function need<T>(found: T | null, name: string): T {
  if (found === null) throw missing(name)
  return found
}

function missing(name: string): ConnectionManagerError {
  return new ConnectionManagerError('MissingPluginError', 'ERR_MISSING_PLUGIN', `this stack has no ${name}`)
}

/**
 * Tells of all announces of the database, then of new ones. A database without queries has none. If the reading breaks off,
 * as it may while the database is reset or compacted, all is read anew. Returns a function that stops it.
 *
 * An announce that was stored out of order, and came once more with the rest of its feed, is twice in the log; the first copy
 * is removed (see `releaseAnnounce`).
 */
export function startAnnounces(options: AnnouncesOptions): () => void {
  const { sbot, clock, log } = options
  const copies = new Map<string, 'inOrder' | 'outOfOrder'>()
  let stops: (() => void)[] = []
  let timer: unknown = null
  let failures = 0
  let isStopped = false
  let isLoaded = false

  const isolate = (fn: () => void): void => {
    try {
      fn()
    } catch (error) {
      log(`announces: a listener threw: ${errorInfo(error).message}`)
    }
  }

  const loaded = (): void => {
    if (isLoaded || isStopped) return
    isLoaded = true
    isolate(options.onLoaded)
  }

  const take = (record: unknown): boolean => {
    const value = memberOf(record, 'value')
    const found = isStored(value) ? readAnnounce(value, loadVerifiers() as Verifiers) : null
    if (found) {
      noteCopy(found, memberOf(record, 'key'), memberOf(record, 'ooo') === true)
      isolate(() => options.onAnnounce(found.main, found.root, found.sequence))
    }
    return !isStopped
  }

  const noteCopy = ({ main }: Announce, key: unknown, isOutOfOrder: boolean): void => {
    if (typeof key !== 'string') return
    const copy = isOutOfOrder ? 'outOfOrder' : 'inOrder'
    const before = copies.get(key)
    if (before === undefined && copies.size < COPIES_MAX) copies.set(key, copy)
    if (before === undefined || before === copy) return
    copies.set(key, 'inOrder')
    removeCopies(sbot, main, key).catch((error) => {
      log(`announces: one of ${main} is twice in the log: ${errorInfo(error).message}`)
    })
  }

  const stopReading = (): void => {
    for (const stop of stops) stop()
    stops = []
  }

  const again = (error: unknown): void => {
    if (isStopped || timer !== null) return
    stopReading()
    log(`announces: reading broke off: ${error ? errorInfo(error).message : 'end of the stream'}`)
    const pause = Math.min(RETRY_MAX_MS, RETRY_MS * 2 ** Math.min(failures++, 20))
    timer = clock.setTimeout(() => {
      timer = null
      read()
    }, pause)
    unref(timer)
    loaded()
  }

  /** New ones first, so that none falls between the two. */
  const read = (): void => {
    if (isStopped) return
    try {
      start(queryAnnounces(sbot, null, 'live'), again, (record) => {
        failures = 0
        return take(record)
      })
      if (timer !== null) return
      start(queryAnnounces(sbot, null), (error) => {
        if (error) {
          again(error)
          return
        }
        loaded()
      })
    } catch (error) {
      again(error)
    }
  }

  const start = (source: pull.Source<unknown>, end: (error: unknown) => void, item = take): void => {
    if (!isStopped) stops.push(readGently(clock, source, { item, end }))
  }

  if (!canVerify() || !methodOf(sbot, 'db', 'query') || !methodOf(operatorsOf(sbot), 'where')) loaded()
  else read()
  return () => {
    isStopped = true
    if (timer !== null) clock.clearTimeout(timer)
    timer = null
    stopReading()
  }
}

/** The signature of the message was checked when it was stored. */
function isStored(value: unknown): value is ClassicMessage {
  return isRecord(value) && isFeedId(value.author) && isSequence(value.sequence) && isRecord(value.content)
}

/* ---- announces out of order ---- */

/** Being stored now: the database looks for a copy first, and of two at once would find none. */
const storing = new WeakMap<object, Map<string, Done[]>>()

/**
 * Stores an announce that was found, so that it is known after a restart and others can find it with us. Does nothing if the
 * log has it. Many at a time are quick, one after the other slow: each waits for the database to have written.
 */
export function persistAnnounce(sbot: unknown, message: unknown, cb: Done): void {
  const db = memberOf(sbot, 'db')
  const add = methodOf(db, 'addOOO')
  const signature = memberOf(message, 'signature')
  if (!add || typeof signature !== 'string') {
    cb(missing('db.addOOO'))
    return
  }
  const owner = db as object
  const current = storing.get(owner) ?? new Map<string, Done[]>()
  storing.set(owner, current)
  const waiting = current.get(signature)
  if (waiting) {
    waiting.push(cb)
    return
  }
  current.set(signature, [cb])
  const done: Done = (error) => {
    const callbacks = current.get(signature) ?? []
    current.delete(signature)
    for (const each of callbacks) isolated(() => each(error ?? null))
  }
  try {
    add(message, done)
  } catch (error) {
    done(error)
  }
}

/**
 * Removes the announces of a main that were stored out of order, for before the whole feed is replicated: ssb-db2 6 to 8
 * does not look whether a message of a feed is there already, so it would be in the log twice. Copies that came with the
 * feed stay. Not by `db.del`, which takes the newest copy: that of the feed, if it has come by then.
 */
export function releaseAnnounce(sbot: unknown, main: FeedId, cb: Done): void {
  removeCopies(sbot, main, null).then(
    () => isolated(() => cb(null)),
    (error) => isolated(() => cb(error)),
  )
}

/** Of one message, or null for all. */
async function removeCopies(sbot: unknown, main: FeedId, key: string | null): Promise<void> {
  const source = queryAnnounces(sbot, main, 'asOffsets')
  const offsets = await called<unknown[]>((cb) => pull(source, pull.take(OFFSETS_MAX), pull.collect(cb)))
  const log = methodOf(sbot, 'db', 'getLog')?.()
  const get = need(methodOf(log, 'get'), 'db.getLog().get')
  const del = need(methodOf(log, 'del'), 'db.getLog().del')
  for (const offset of offsets) {
    // An error: it was removed already.
    const record = await called((cb) => get(offset, cb)).catch(() => null)
    if (isOutOfOrder(record, key)) await called((cb) => del(offset, cb))
  }
}

function called<T>(fn: (cb: (error: unknown, value?: T) => void) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    fn((error, value) => (error ? reject(error) : resolve(value as T)))
  })
}

const BIPF = { string: 0, bool: 6 }

/**
 * Whether a record of ssb-db2's log (an object in bipf: https://github.com/ssbc/bipf) has a field `ooo` that is true, and
 * this key. Its own fields only: a message can have any in its content. What cannot be read is not removed.
 */
function isOutOfOrder(record: unknown, key: string | null): boolean {
  if (!(record instanceof Uint8Array)) return false
  let at = 0
  const tag = (): { readonly type: number; readonly length: number } => {
    let value = 0
    for (let shift = 0; shift < 32; shift += 7) {
      const byte = record[at++] ?? 0
      value += (byte & 127) * 2 ** shift
      if (byte < 128) break
    }
    return { type: value % 8, length: Math.floor(value / 8) }
  }
  const text = (length: number): string => String.fromCharCode(...record.subarray(at, at + Math.min(length, 200)))
  const end = tag().length + at
  const fields = new Map<string, string | boolean>()
  while (at < end && at < record.length) {
    const name = tag()
    const field = text(name.length)
    at += name.length
    const value = tag()
    if (value.type === BIPF.string) fields.set(field, text(value.length))
    if (value.type === BIPF.bool) fields.set(field, record[at] === 1)
    at += value.length
  }
  return fields.get('ooo') === true && (key === null || fields.get('key') === key)
}
