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
import { errorInfo, MissingPluginError } from '../core/errors'
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
function queryAnnounces(sbot: unknown, ...names: readonly string[]): pull.Source<unknown> {
  const operators = operatorsOf(sbot)
  const query = need(methodOf(sbot, 'db', 'query'), 'db.query')
  const operator = (name: string): Method => need(methodOf(operators, name), `the operator ${name}`)
  return query(
    operator('where')(operator('type')(TYPE)),
    ...names.map((name) => operator(name)()),
    operator('toPullStream')(),
  ) as pull.Source<unknown>
}

function need<T>(found: T | null, name: string): T {
  if (found === null) throw missing(name)
  return found
}

const missing = (name: string): MissingPluginError => new MissingPluginError(`ssb-db2 with ${name}`)

/**
 * Tells of all announces of the database, then of new ones. A database without queries has none. If the reading breaks off,
 * as it may while the database is reset or compacted, all is read anew. Returns a function that stops it.
 */
export function startAnnounces(options: AnnouncesOptions): () => void {
  const { sbot, clock, log } = options
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
      isolate(() => options.onAnnounce(found.main, found.root, found.sequence))
    }
    return !isStopped
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
      start(queryAnnounces(sbot, 'live'), again, (record) => {
        failures = 0
        return take(record)
      })
      if (timer !== null) return
      start(queryAnnounces(sbot), (error) => {
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
 * log has it. Not for a main that is replicated in full: ssb-db2 6 to 8 does not look whether a message of a feed is there
 * already, so with its feed it would be in the log once more (ssb-db2#411). Many at a time are quick, one after the other
 * slow: each waits for the database to have written.
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
