/**
 * Tells the manager while much is being taken in: messages of others that arrive in a burst, or an index that is being made.
 * Both are work for the same thread and the same disk that a handshake needs, and each further peer has its own to send.
 *
 * It is a weight and not a gate. While it lasts the scheduler dials one by one (`socketsLeft` in plan.ts) instead of several
 * at once. ssb-gossip and ssb-conn dialed nobody for as long as messages came: then a peer that sends one every 400 ms, by
 * ill will or because he is slow, keeps us from everybody else, the one from whom we would get all of it included.
 */
import { errorInfo } from '../core/errors'
import type { EpochMs } from '../core/types'
import { unref } from '../shell/clock'
import type { DiscoveryContext, DiscoverySource } from './discovery/source'
import { whenLoaded } from './discovery/stream'
import { authorOf, memberOf, methodOf } from './members'
import type { Sbot } from './sbot'

/** So many messages of others in so short a time are a burst; somebody who writes to us, or a few friends, never are. */
const BURST_MESSAGES = 20
const BURST_MS = 500
/** After the last moment that was part of a burst. ssb-db2 takes messages in by batches, 250 ms apart. */
const QUIET_MS = 500
/** How often is looked whether an index is still being made; one that is done by then was too small to matter. */
const INDEX_POLL_MS = 500
/** A counter that never comes back (ssb-db2 leaves it up when reindexing fails) is not believed for longer. */
const MAX_INDEXING_MS = 600_000

/** What is known of a database. */
interface Database {
  /** Calls with each message, our own included; returns what ends it. */
  readonly onMessage: (listener: (message: unknown) => void) => unknown
  readonly isIndexing: () => boolean
  /** Calls when indexing may have begun; returns what ends it. Null where only asking tells. */
  readonly onIndexing: ((listener: () => void) => unknown) | null
}

/** Starts to watch; returns what stops it, after which the manager counts as not busy. */
export const watchDownloads: DiscoverySource = (context) => {
  const { sbot } = context
  const find = () => findDb2(sbot) ?? findDb1(sbot)
  return whenLoaded(context, 'a database', find, (database) => watch(context, database))
}

function watch({ sbot, manager, clock, log }: DiscoveryContext, database: Database): () => void {
  /** When the last messages came, as a ring: the next to be replaced is the oldest. */
  const times: EpochMs[] = []
  let next = 0
  let burstAt: EpochMs | null = null
  let indexingSince: EpochMs | null = null
  let timer: unknown = null
  let isStopped = false

  const isIndexing = (): boolean => {
    let isActive = false
    try {
      isActive = database.isIndexing()
    } catch (error) {
      log(`downloads: ${errorInfo(error).message}`)
    }
    if (!isActive) indexingSince = null
    else indexingSince ??= clock.now()
    return indexingSince !== null && Math.abs(clock.now() - indexingSince) < MAX_INDEXING_MS
  }

  const arm = (ms: number): void => {
    if (timer !== null) return
    timer = clock.setTimeout(look, ms)
    unref(timer)
  }

  const look = (): void => {
    timer = null
    const now = clock.now()
    // Later than now: the clock was set back, and nothing is known of how long ago it was.
    if (burstAt !== null && (burstAt > now || burstAt + QUIET_MS <= now)) burstAt = null
    const isBusy = isIndexing() || burstAt !== null
    if (isBusy) arm(burstAt === null ? INDEX_POLL_MS : burstAt + QUIET_MS - now)
    manager.internal.busy(isBusy)
  }

  const onMessage = (message: unknown): void => {
    if (isStopped || authorOf(message) === sbot.id) return
    const now = clock.now()
    const before = times[next]
    times[next] = now
    next = (next + 1) % (BURST_MESSAGES - 1)
    if (before === undefined || Math.abs(now - before) > BURST_MS) return
    burstAt = now
    arm(QUIET_MS)
    manager.internal.busy(true)
  }

  /** Many indexes are brought up to date within a few ms: only one that takes longer weighs anything. */
  const onIndexing = (): void => {
    if (!isStopped && isIndexing()) arm(INDEX_POLL_MS)
  }

  const ends = [database.onMessage(onMessage), database.onIndexing?.(onIndexing)]
  onIndexing()
  return () => {
    isStopped = true
    clock.clearTimeout(timer)
    for (const end of ends) if (typeof end === 'function') end()
    manager.internal.busy(false)
  }
}

/** ssb-db2; `indexingProgress` is no help: it stays below 1 for as long as an index that nobody asks for lags behind. */
function findDb2(sbot: Sbot): Database | null {
  const onMsgAdded = methodOf(sbot, 'db', 'onMsgAdded')
  if (!onMsgAdded) return null
  const counters = [methodOf(sbot, 'db', 'getIndexingActive')?.(), memberOf(jitdbOf(sbot), 'indexingActive')].filter(
    (counter): counter is (listener: () => void) => unknown => typeof counter === 'function',
  )
  const isActive = (counter: unknown): boolean => {
    const value = memberOf(counter, 'value')
    return typeof value === 'number' && value > 0
  }
  return {
    // `false`: not with the one from before. A listener that returns false is dropped.
    onMessage: (listener) => onMsgAdded((message: unknown) => void listener(message), false),
    isIndexing: () => counters.some(isActive),
    onIndexing: (listener) => {
      const ends = counters.map((counter) => counter(() => void listener()))
      return () => {
        for (const end of ends) if (typeof end === 'function') end()
      }
    },
  }
}

function jitdbOf(sbot: Sbot): unknown {
  return methodOf(sbot, 'db', 'getJITDB')?.()
}

/** ssb-db before it: indexes are rebuilt at the start, and lag behind while messages pour in. */
function findDb1(sbot: Sbot): Database | null {
  const post = methodOf(sbot, 'post')
  if (!post) return null
  const progress = methodOf(sbot, 'progress')
  return {
    onMessage: (listener) => post((message: unknown) => void listener(message), false),
    isIndexing: () => {
      const indexes = memberOf(progress?.(), 'indexes')
      const [current, target] = [memberOf(indexes, 'current'), memberOf(indexes, 'target')]
      return typeof current === 'number' && typeof target === 'number' && current < target
    },
    onIndexing: null,
  }
}
