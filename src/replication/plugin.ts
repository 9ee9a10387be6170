/**
 * The replication scheduler on a stack: wires the social graph, what is known of meta feeds and groups, and ssb-ebt.
 *
 * Facts come in from graph.ts and partial.ts; core/wanted.ts says what follows from them; requests.ts tells ssb-ebt what has
 * changed. This file says when: drops and blocks in the turn in which they are heard of, the rest once the graph has been
 * quiet for the debounce period, and nothing while ssb-db2 catches up or after the stack has closed.
 */

import { memberOf } from '../adapters/members'
import { type Hookable, readSettings, type Sbot } from '../adapters/sbot'
import { isFeedId } from '../core/address'
import { ClosedError, InvalidArgumentError, MissingPluginError } from '../core/errors'
import { type Clock, systemClock, unref } from '../shell/clock'
import { KeyedSource, type Source, type SourceOptions } from '../shell/live'
import { startSlices } from '../shell/slices'
import type { Choices } from './choices'
import { createEdges } from './core/edges'
import { explainDecision } from './core/explain'
import type { FeedId, Hops, Reason, Wish } from './core/types'
import { createWanted } from './core/wanted'
import { ebtOf } from './ebt'
import { startGraph } from './graph'
import { createPartial, createShardOf, type PartialStatus } from './partial'
import { createProgress } from './progress'
import { createRequests } from './requests'
import { applySettings, DEFAULT_SETTINGS, type ReplicationSettings } from './settings'
import { createStuckStreams } from './stuck'

import createDebug = require('debug')

const debug = createDebug('ssb:replication-scheduler')

/** A graph that is never quiet does not delay requests for longer than this many periods, and a second at least. */
const MAX_PERIODS = 6
const MIN_CEILING_MS = 1_000

/** What is known of a feed, and what was made of it. */
export interface FeedStatus {
  readonly id: FeedId
  /** Null: nothing was ever asked, and nothing is. */
  readonly wish: Wish | null
  /** ssb-ebt was told to get it. */
  readonly isRequested: boolean
  /** It is wanted, and closer feeds go first. */
  readonly isWaiting: boolean
  /** Those that decide come first. */
  readonly reasons: readonly Reason[]
}

export interface FeedExplanation extends FeedStatus {
  /** One sentence. */
  readonly text: string
  /** Of a main feed: its distance, if the graph names it. */
  readonly hops: Hops | null
  /** Of a feed in a meta feed tree: the purposes from the root to it. */
  readonly path: readonly string[] | null
}

/** A graph of 50 000 feeds is read once, and should not take half its time between slices. */
const SLICE_MS = 5
/** More than anybody types in. */
const MAX_CHOICES = 10_000

interface Db {
  readonly getIndexingActive?: () => (listener: (active: number) => void, isImmediate: boolean) => unknown
}

export interface ReplicationStatus extends PartialStatus {
  readonly isStarted: boolean
  /** ssb-db2 catches up: nothing is decided meanwhile. */
  readonly isIndexing: boolean
  /** Templates are configured. */
  readonly isPartial: boolean
  /** What ssb-ebt was told, by number of feeds, and what waits for closer ones to arrive. */
  readonly feeds: {
    readonly requested: number
    readonly waiting: number
    readonly dropped: number
    readonly blocked: number
  }
  readonly queue: {
    /** Feeds to be decided about. */
    readonly undecided: number
    readonly waiting: number
    /** New ones that were asked for and have not arrived, for which others wait. */
    readonly onTheirWay: number
  }
  /** Blocking edges among others that ssb-ebt knows of. */
  readonly blocks: number
  /** Sentences on what is missing, or was not understood. */
  readonly problems: readonly string[]
}

export type ReplicationScheduler = ReturnType<typeof createReplicationScheduler>

/** What secret-stack calls. Throws MissingPluginError and InvalidArgumentError. */
export function init(stack: object, config: unknown): ReplicationScheduler {
  return createReplicationScheduler({ sbot: stack as Sbot, config, clock: systemClock })
}

export function createReplicationScheduler(options: {
  readonly sbot: Sbot
  readonly config: unknown
  readonly clock: Clock
}) {
  const { sbot, clock } = options
  const self = sbot.id
  const whole = readSettings(options.config)
  if (!memberOf(sbot, 'ebt')) throw new MissingPluginError('ssb-ebt')
  if (!memberOf(sbot, 'friends')) throw new MissingPluginError('ssb-friends')
  let settings: ReplicationSettings = applySettings(DEFAULT_SETTINGS, whole.legacy('replicationScheduler'))

  let isStarted = false
  let isClosed = false
  /** The social graph has been read for the first time. */
  let isGraphRead = false
  /** Of the progress. */
  const listeners = new Set<() => void>()
  const tellListeners = (): void => {
    for (const listener of listeners) listener()
  }
  /** ssb-db2 catches up. */
  let isIndexing = false
  const ends: (() => void)[] = []

  const log = (message: string): void => {
    debug('%s', message)
    sbot.emit?.('log:warning', ['replication-scheduler', '', message])
  }

  // ---- parts ----------------------------------------------------------------------------------------------------------

  const wanted = createWanted({ self, shardOf: createShardOf() })
  const edges = createEdges(self)
  const ebt = ebtOf(sbot, log)
  const slices = startSlices(clock, [() => graph.step(), () => partial.step(), () => requests.step()], {
    sliceMs: SLICE_MS,
  })
  const feeds = new KeyedSource<FeedStatus>(
    () => knownFeeds(),
    (feed) => statusOf(feed),
  )
  const requests = createRequests({
    self,
    wanted,
    ebt,
    clock,
    newFeedsAtOnce: settings.newFeedsAtOnce,
    onChange: (feed) => {
      if (requests.toldOf(feed) !== 'want') {
        partial.dropped(feed)
        stuck.forget(feed)
      }
      // Before the first connection asking is safe: both sides say what they want when it begins.
      else if (neighbours.size > 0) stuck.watch(feed)
      feeds.changed([feed])
      tellListeners()
    },
    onSettled: () => {
      partial.settled()
      tellListeners()
    },
    wake: slices.wake,
  })
  const stuck = createStuckStreams({
    sbot,
    self,
    clock,
    connections: () => neighbours,
    formatOf,
    debug: (message) => debug('%s', message),
    log,
  })
  const graph = startGraph({
    sbot,
    clock,
    mains: wanted.mains,
    onHops: (feed, hops) => {
      const before = wanted.setHops(feed, hops)
      partial.consider(feed)
      return before
    },
    hasBlocks: edges.hasSource,
    onEdge: (source, dest, value) => {
      const call = edges.set(source, dest, value)
      if (call) ebt.block(call.source, call.dest, call.isBlocking)
    },
    onEdgesBegin: edges.begin,
    onEdgesEnd: () => {
      for (const { source, dest } of edges.end()) ebt.block(source, dest, false)
    },
    onTaken: (taken) => {
      if (canDecide()) requests.applyUrgent(taken)
      scheduleFlush()
    },
    onRead: () => {
      isGraphRead = true
      scheduleFlush()
    },
    wake: slices.wake,
    log,
  })

  const partial = createPartial({
    sbot,
    clock,
    wanted,
    hmac: hmacOf(whole.legacy('caps')),
    connections: () => neighbours,
    // Trees and groups do not change in bursts, and what waits too long is refused to peers who ask for it meanwhile.
    onFacts: () => flush(),
    wake: slices.wake,
    log,
  })

  // ---- when -----------------------------------------------------------------------------------------------------------

  const canDecide = (): boolean => isStarted && !isClosed && !graph.isPaused()

  let timer: unknown = null
  let waitingSince = 0
  let lastAt = 0

  /** Once nothing has come for a period, or the ceiling is reached. */
  const scheduleFlush = (): void => {
    if (!canDecide()) return
    if (settings.debouncePeriod === 0) return flush()
    lastAt = clock.now()
    if (timer !== null) return
    waitingSince = lastAt
    wait(settings.debouncePeriod)
  }

  const wait = (ms: number): void => {
    timer = clock.setTimeout(() => {
      timer = null
      const now = clock.now()
      const ceilingMs = Math.max(MIN_CEILING_MS, MAX_PERIODS * settings.debouncePeriod)
      const quietMs = now - lastAt
      const leftMs = Math.min(settings.debouncePeriod - quietMs, ceilingMs - (now - waitingSince))
      // A clock that was set back gives no more than one period.
      if (leftMs > 0 && leftMs <= settings.debouncePeriod) wait(leftMs)
      else flush()
    }, ms)
    unref(timer)
  }

  const flush = (): void => {
    // What is still being read comes with the end of the reading.
    if (!canDecide() || graph.isBusy()) return
    requests.flush(settings.debouncePeriod === 0)
  }

  const cancelFlush = (): void => {
    if (timer !== null) clock.clearTimeout(timer)
    timer = null
  }

  /** The catch-up passes of ssb-db2 show graphs that were never true together: the end of the pass counts. */
  const followIndexing = (): void => {
    const active = (memberOf(sbot, 'db') as Db | undefined)?.getIndexingActive?.()
    if (typeof active !== 'function') return graph.resume()
    const remove = active((count) => {
      if (isClosed || !isStarted) return
      isIndexing = count > 0
      tellListeners()
      if (isIndexing) {
        cancelFlush()
        graph.pause()
      } else {
        graph.resume()
        partial.poke()
        scheduleFlush()
      }
    }, true)
    if (typeof remove === 'function') ends.push(remove as () => void)
  }

  // ---- neighbours -----------------------------------------------------------------------------------------------------

  const neighbours = new Set<unknown>()
  const addNeighbour = (rpc: { id?: unknown; on?: (event: string, fn: () => void) => void }): void => {
    if (isClosed || rpc.id === self || neighbours.has(rpc)) return
    neighbours.add(rpc)
    rpc.on?.('closed', () => {
      neighbours.delete(rpc)
      if (!isClosed) requests.setConnected(neighbours.size > 0)
    })
    requests.setConnected(true)
  }
  sbot.on?.('rpc:connect', addNeighbour as never)
  for (const rpcs of Object.values((sbot.peers ?? {}) as Record<string, unknown>))
    if (Array.isArray(rpcs)) rpcs.forEach(addNeighbour)

  // ---- progress -------------------------------------------------------------------------------------------------------

  function* wantedFeeds(): Iterable<FeedId> {
    for (const [feed, wish] of requests.told()) if (wish === 'want') yield feed
    yield* requests.waitingFeeds()
  }

  /** What is wanted now is the last word for now. */
  const isSettled = (): boolean => {
    if (timer !== null || graph.isPaused() || graph.isBusy() || partial.isBusy()) return false
    const { queued, waiting } = requests.counts()
    return queued === 0 && waiting === 0
  }

  const progress = createProgress({
    sbot,
    clock,
    facts: {
      wanted: wantedFeeds,
      formatOf,
      isStarted: () => isStarted,
      isLoaded: () => isGraphRead && partial.isLoaded(),
      isSettled,
      hopsOf: wanted.hopsOf,
      onChange: (listener) => {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
    },
  })

  // ---- by hand --------------------------------------------------------------------------------------------------------

  const choices: Choices | null = whole.path === null ? null : openChoices(whole.path, log)
  for (const [feed, isWanted] of choices?.load() ?? []) wanted.setManual(feed, isWanted)

  const request = (given: unknown, isWanted: unknown = true): void => {
    assertOpen('replicationScheduler.request')
    const feed = assertFeed(given)
    if (isWanted !== true && isWanted !== false && isWanted !== null) {
      throw new InvalidArgumentError('isWanted', 'true, false or null', isWanted)
    }
    if (feed === self) throw new InvalidArgumentError('feed', 'the feed of somebody else', feed)
    const before = wanted.manual().get(feed) ?? null
    if (before === isWanted) return
    if (isWanted !== null && wanted.manual().size >= MAX_CHOICES) {
      throw new InvalidArgumentError('feed', `at most ${MAX_CHOICES} feeds asked for by hand`, feed)
    }
    const next = new Map(wanted.manual())
    if (isWanted === null) next.delete(feed)
    else next.set(feed, isWanted)
    choices?.save(next)
    wanted.setManual(feed, isWanted)
    if (!canDecide()) return
    requests.applyUrgent([feed])
    flush()
  }

  // ---- API ------------------------------------------------------------------------------------------------------------

  function* knownFeeds(): Iterable<FeedId> {
    yield* requests.told().keys()
    for (const feed of requests.waitingFeeds()) if (!requests.told().has(feed)) yield feed
  }

  const statusOf = (feed: FeedId): FeedStatus => {
    const told = requests.toldOf(feed)
    const { wish, reasons } = wanted.decide(feed)
    const common = { id: feed, isRequested: told === 'want', isWaiting: requests.isWaiting(feed) }
    if (wish !== null || told === null) return { ...common, wish, reasons }
    // It was wanted or blocked once, and nothing is known of it any more.
    return { ...common, wish: 'drop', reasons: [{ kind: 'unreachable', main: feed, hops: null }] }
  }

  const assertFeed = (feed: unknown): FeedId => {
    if (typeof feed === 'string' && (isFeedId(feed) || isFeedUri(feed))) return feed
    throw new InvalidArgumentError('feed', 'a feed id', feed)
  }

  const assertOpen = (operation: string): void => {
    if (isClosed) throw new ClosedError(operation)
  }

  const start = (): void => {
    assertOpen('replicationScheduler.start')
    if (isStarted) return
    isStarted = true
    tellListeners()
    requests.requestSelf()
    partial.configure(settings.templates)
    followIndexing()
  }

  const close = (): void => {
    if (isClosed) return
    isClosed = true
    cancelFlush()
    slices.stop()
    requests.stop()
    stuck.stop()
    graph.stop()
    partial.stop()
    progress.close()
    for (const end of ends.splice(0)) end()
    feeds.close()
  }

  ;(sbot.close as Hookable | undefined)?.hook?.(function (fn, args) {
    close()
    return fn.apply(this, args)
  })

  const api = {
    start,
    reconfigure: (given: unknown): void => {
      assertOpen('replicationScheduler.reconfigure')
      settings = applySettings(settings, given)
      wanted.setTemplates(settings.templates)
      wanted.setExcludedPolicy(settings.excluded)
      requests.setNewFeedsAtOnce(settings.newFeedsAtOnce)
      if (isStarted) partial.configure(settings.templates)
      if (canDecide()) flush()
    },
    request,
    status: (): ReplicationStatus => {
      const { waiting, onTheirWay, queued } = requests.counts()
      let requested = 0
      let blocked = 0
      let dropped = 0
      for (const wish of requests.told().values()) {
        if (wish === 'want') requested++
        else if (wish === 'block') blocked++
        else dropped++
      }
      return {
        isStarted,
        isIndexing,
        isPartial: settings.templates !== null,
        feeds: { requested, waiting, dropped, blocked },
        queue: { undecided: queued, waiting, onTheirWay },
        blocks: edges.size(),
        ...partial.status(),
        problems: [...settings.problems, ...partial.problems()],
      }
    },
    feeds: (given?: SourceOptions): Source<FeedStatus | { readonly sync: true }> => feeds.open(given),
    explain: (given: unknown): FeedExplanation => {
      const feed = assertFeed(given)
      const status = statusOf(feed)
      return {
        ...status,
        text: explainDecision(feed, { ...status, order: 0 }, { ...status, isStopped: !isStarted }),
        hops: wanted.hopsOf(feed),
        path: wanted.branchOf(feed)?.map(({ purpose }) => purpose) ?? null,
      }
    },
    progress: progress.open,
  }
  wanted.setTemplates(settings.templates)
  wanted.setExcludedPolicy(settings.excluded)
  partial.prepare(settings.templates)
  if (settings.autostart) start()
  return api
}

/** `caps.sign`: the key that a network of one's own mixes into all signatures. */
function hmacOf(caps: unknown): string | null {
  const key = memberOf(caps, 'sign')
  return typeof key === 'string' && key !== '' ? key : null
}

/** Loaded late: a browser has no such folder, and no module for it. */
function openChoices(path: string, log: (message: string) => void): Choices {
  const { choicesIn } = require('./choices') as typeof import('./choices')
  return choicesIn(path, log)
}

function formatOf(feed: FeedId): string {
  return /^ssb:feed\/([^/]+)\//.exec(feed)?.[1] ?? 'classic'
}

/** Feeds of other formats than classic, as ssb-uri2 writes them. */
function isFeedUri(text: string): boolean {
  return text.length <= 200 && /^ssb:feed\/[a-z0-9-]+\/[A-Za-z0-9_-]{43}=$/.test(text)
}
