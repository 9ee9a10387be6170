/**
 * Looks for the root meta feeds of main feeds with our neighbours, by the subset RPC (`getSubset`, plugin ssb-subset-rpc).
 * Whom to ask for what and when is decided in core/finder.ts; here it is sent, and what comes back is verified.
 *
 * A neighbour may be without the method, never answer, answer without end, with something else, or with lies. It gets five
 * seconds for each query. What its answer held until then counts, as announces prove themselves; for the rest it counts as
 * failed.
 */

import type * as pull from 'pull-stream'

import { memberOf, methodOf } from '../adapters/members'
import { isFeedId } from '../core/address'
import { errorInfo } from '../core/errors'
import { type Clock, unref } from '../shell/clock'
import { type Announce, canVerify, checkAnnounce, type Hmac } from './announces'
import { createFinder, type Failure, type FinderStatus, type Query } from './core/finder'
import type { FeedId } from './core/types'
import { readGently } from './reading'

export interface FoundAnnounce extends Announce {
  /** The message value, verified: for `persistAnnounce`. */
  readonly message: unknown
}

export interface LookupStatus extends FinderStatus {
  /** Messages that a neighbour made up, or that are not what was asked for. */
  readonly forged: number
  /** Announces that their own authors got wrong. */
  readonly invalid: number
}

export interface LookupOptions {
  readonly sbot: unknown
  readonly clock: Clock
  readonly hmac?: Hmac
  /** Once for each main that was wanted; it is not looked for any more then. */
  readonly onFound: (found: FoundAnnounce) => void
  readonly log: (text: string) => void
}

export interface Lookup {
  /** The smallest `order` first. Again for one that was found: for a newer announce. */
  want(main: FeedId, order: number): void
  forget(main: FeedId): void
  status(): LookupStatus
  /** Nothing is asked or told from now on. */
  stop(): void
}

/** For the whole answer to a query. */
const TIMEOUT_MS = 5_000
/** A main can have several announces, but not many. */
const ANSWERS_PER_MAIN = 4
/** What muxrpc and ssb-subset-rpc say where the method, or the query language, is not known or not allowed. */
const UNSUPPORTED = /not in list of allowed methods|no source:getSubset|unknown querylang/i

export function startLookup(options: LookupOptions): Lookup {
  const { sbot, clock, log } = options
  const finder = createFinder()
  const connections = new Map<FeedId, Set<object>>()
  /** How to break off what is under way, by query. */
  const underWay = new Map<Query, () => void>()
  const canAsk = canVerify()
  let timer: unknown = null
  let isPlanned = false
  let isStopped = false
  let forged = 0
  let invalid = 0

  if (!canAsk) log('lookup: announces cannot be verified without ssb-keys and ssb-meta-feeds, so nobody is asked')

  /* ---- neighbours ---- */

  function opened(rpc: unknown): void {
    const id = memberOf(rpc, 'id')
    if (isStopped || !isFeedId(id) || id === memberOf(sbot, 'id') || memberOf(rpc, 'closed') === true) return
    const peer = id as FeedId
    const known = connections.get(peer) ?? new Set()
    if (known.has(rpc as object)) return
    connections.set(peer, known.add(rpc as object))
    guarded(() => methodOf(rpc, 'on')?.('closed', () => closed(peer, rpc as object)))
    finder.connected(peer)
    plan()
  }

  function closed(peer: FeedId, rpc: object): void {
    const known = connections.get(peer)
    if (isStopped || !known?.delete(rpc) || known.size > 0) return
    connections.delete(peer)
    for (const [query, breakOff] of [...underWay])
      if (query.peer === peer) {
        underWay.delete(query)
        breakOff()
      }
    finder.disconnected(peer, clock.now())
    plan()
  }

  function guarded(fn: () => void): void {
    try {
      fn()
    } catch (error) {
      log(`lookup: ${errorInfo(error).message}`)
    }
  }

  /* ---- queries ---- */

  /** Once a turn, however much has happened. */
  function plan(): void {
    if (isStopped || isPlanned || !canAsk) return
    isPlanned = true
    clock.defer(() => {
      isPlanned = false
      if (isStopped) return
      for (const query of finder.next(clock.now())) {
        if (isStopped) return
        ask(query)
      }
      setTimer()
    })
  }

  function setTimer(): void {
    if (timer !== null) clock.clearTimeout(timer)
    const now = clock.now()
    const wakeAt = finder.wakeAt(now)
    timer = null
    if (wakeAt === null) return
    timer = clock.setTimeout(() => {
      timer = null
      plan()
    }, wakeAt - now)
    unref(timer)
  }

  function ask(query: Query): void {
    const best = new Map<FeedId, FoundAnnounce>()
    /** How many announces are by this author indeed, right or wrong. */
    const said = new Map<FeedId, number>()
    let stopReading: (() => void) | null = null
    let isOver = false
    let left = query.mains.length * ANSWERS_PER_MAIN

    const breakOff = (): void => {
      isOver = true
      clock.clearTimeout(timeout)
      underWay.delete(query)
      stopReading?.()
    }
    const finish = (failure: Failure | null): void => {
      if (isOver) return
      breakOff()
      // Who announces without end, and never rightly, would spoil each query that it is part of.
      const noisy = [...said].filter(([main, times]) => times > ANSWERS_PER_MAIN && !best.has(main))
      settle(
        query,
        [...best.values()],
        noisy.map(([main]) => main),
        failure,
      )
    }
    const take = (message: unknown): boolean => {
      const author = memberOf(message, 'author')
      const isAsked = typeof author === 'string' && query.mains.includes(author)
      const fault = isAsked ? note(author, message) : typeof author === 'string' ? null : 'sender'
      if (fault === 'sender') forged++
      if (fault === 'author') invalid++
      if (fault !== 'sender' && --left > 0) return true
      finish('error')
      return false
    }
    const note = (main: FeedId, message: unknown): 'sender' | 'author' | null => {
      const before = best.get(main)
      if (before && !((memberOf(message, 'sequence') as number) > before.sequence)) return null
      const checked = checkAnnounce(message, { hmac: options.hmac })
      if (typeof checked === 'string' && checked !== 'author') return 'sender'
      said.set(main, (said.get(main) ?? 0) + 1)
      if (checked === 'author') return 'author'
      best.set(main, { ...checked, message })
      return null
    }

    const timeout = clock.setTimeout(() => finish('timeout'), TIMEOUT_MS)
    unref(timeout)
    underWay.set(query, breakOff)
    const source = open(query)
    if (typeof source === 'string') {
      finish(source)
      return
    }
    const stop = readGently<unknown>(clock, source, {
      item: take,
      end: (error) => finish(error ? failureOf(error) : null),
    })
    stopReading = stop
    // It was over before we knew how to stop it.
    if (isOver) stop()
  }

  function open(query: Query): pull.Source<unknown> | Failure {
    const rpc = [...(connections.get(query.peer) ?? [])].pop()
    try {
      const getSubset = methodOf(rpc, 'getSubset')
      if (!getSubset) return 'unsupported'
      const source = getSubset(toSubset(query.mains), { querylang: 'ssb-ql-1' })
      return typeof source === 'function' ? (source as pull.Source<unknown>) : 'error'
    } catch (error) {
      return failureOf(error)
    }
  }

  /** Those given up count as found: they are not looked for until they are wanted again. */
  function settle(
    query: Query,
    all: readonly FoundAnnounce[],
    givenUp: readonly FeedId[],
    failure: Failure | null,
  ): void {
    const found = all.filter(({ main }) => finder.isWanted(main))
    const mains = [...all.map(({ main }) => main), ...givenUp]
    if (failure) {
      log(`lookup: ${query.peer}: ${failure} for ${query.mains.length} mains`)
      finder.failed(query, clock.now(), failure, mains)
    } else finder.answered(query, mains, clock.now())
    plan()
    for (const each of found) if (!isStopped) guarded(() => options.onFound(each))
  }

  /* ---- life ---- */

  const onConnect = (rpc: unknown): void => opened(rpc)
  guarded(() => methodOf(sbot, 'on')?.('rpc:connect', onConnect))
  for (const rpcs of Object.values(memberOf(sbot, 'peers') ?? {}))
    if (Array.isArray(rpcs)) for (const rpc of rpcs) opened(rpc)

  return {
    want: (main, order) => {
      if (isStopped || !isFeedId(main)) return
      finder.want(main, order)
      plan()
    },
    forget: (main) => {
      finder.forget(main)
    },
    status: () => ({ ...finder.status(), forged, invalid }),
    stop: () => {
      if (isStopped) return
      isStopped = true
      if (timer !== null) clock.clearTimeout(timer)
      timer = null
      guarded(() => methodOf(sbot, 'removeListener')?.('rpc:connect', onConnect))
      for (const breakOff of [...underWay.values()]) breakOff()
      connections.clear()
    },
  }
}

function failureOf(error: unknown): Failure {
  return UNSUPPORTED.test(errorInfo(error).message) ? 'unsupported' : 'error'
}

/** As ssb-ql-1 says "announces of any of these". */
function toSubset(mains: readonly FeedId[]): object {
  return {
    op: 'or',
    args: mains.map((feed) => ({
      op: 'and',
      args: [
        { op: 'type', string: 'metafeed/announce' },
        { op: 'author', feed },
      ],
    })),
  }
}
