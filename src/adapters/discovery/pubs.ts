/**
 * Pubs that people have announced: messages `{type: 'pub', address}` in the database, of ssb-db2 or of ssb-db before it. An
 * old log has many thousands of them, most of the same few pubs and many of pubs long gone. So the newest are read first,
 * and no more than are needed, a few at a time with a pause: a start costs neither the event loop nor a phone's disk much.
 *
 * Anybody whom we replicate can write such a message, so nobody gets to name more than a few, and the manager takes them
 * for a stranger's word: LOW, hosts of our own network dropped. What we have announced ourselves is our own word: ssb-invite
 * does so for the pub of each invite that was accepted, and after a recovery of the account it is the way back there.
 */
import { isStrangerSafe, parseAddress } from '../../core/address'
import type { Address, ParsedRoute } from '../../core/types'
import { unref } from '../../shell/clock'
import { authorOf, isSwitchedOff, memberOf, methodOf } from '../members'
import { isOffline } from '../mount'
import type { Sbot, Settings } from '../sbot'
import type { DiscoveryContext, DiscoverySource } from './source'
import { readStream, whenLoaded } from './stream'

/** The first query makes ssb-db2 build an index: not while the app starts, and not for a stop that follows at once. */
const FIRST_READ_MS = 1_000
/** ssb-db may still open its indexes. */
const READY_POLL_MS = 1_000
/** 50 000 messages take 100 s, and with ssb-db2 some 4 % of the main thread, mostly 10 ms at a time. */
const SLICE = { items: 50, pauseMs: 100 } as const
/** Of the old messages so many routes are taken; the network has had a few hundred pubs in all. */
const MAX_OLD_ROUTES = 1_000
/** With those announced since. */
const MAX_ROUTES = 2_000
/** Of one author: whoever runs pubs names a few, whoever floods us names all. */
const MAX_ROUTES_PER_AUTHOR = 32

/** The two ways to read messages of the type, each a stream of `{key, value}`. */
interface Log {
  /** What a second start goes on with. */
  readonly identity: object
  readonly isReady: () => boolean
  /** Newest first. */
  readonly old: () => unknown
  readonly live: () => unknown
}

/** What was read already, for as long as the process lives. */
interface Progress {
  readonly routes: Set<Address>
  readonly countByAuthor: Map<string, number>
  /** The newest message that was read, and whether all before it were. */
  newest: string | null
  isComplete: boolean
}

const progressOf = new WeakMap<object, Progress>()

export const startPubs: DiscoverySource = (context) => {
  const { sbot, settings } = context
  if (!isWanted(settings)) return () => {}
  const find = () => findDb2(sbot) ?? findDb1(sbot)
  return whenLoaded(context, 'a database with pubs', find, (database) => readPubs(context, database))
}

function readPubs(context: DiscoveryContext, database: Log): () => void {
  const { sbot, manager, clock } = context
  const progress = progressOf.get(database.identity) ?? makeProgress()
  progressOf.set(database.identity, progress)
  const stops: (() => void)[] = []
  let timer: unknown = null

  const learn = (message: unknown, maxRoutes: number): void => {
    const address = memberOf(memberOf(memberOf(message, 'value'), 'content'), 'address')
    const author = authorOf(message) ?? ''
    const isOurs = author !== '' && author === sbot.id
    for (const route of routesOf(address, isOurs)) {
      const count = progress.countByAuthor.get(author) ?? 0
      if (progress.routes.has(route.address) || progress.routes.size >= maxRoutes || count >= MAX_ROUTES_PER_AUTHOR)
        continue
      progress.routes.add(route.address)
      progress.countByAuthor.set(author, count + 1)
      manager.peer.addRoute({ address: route.address, source: isOurs ? 'invite' : 'pub' })
    }
  }

  const readOld = (): void => {
    const { newest: readBefore, isComplete: wasComplete } = progress
    let isFirst = true
    progress.isComplete = false

    const onItem = (message: unknown): 'enough' | undefined => {
      const key = keyOf(message)
      const isReadBefore = wasComplete && key !== null && key === readBefore
      if (isFirst && key !== null) progress.newest = key
      isFirst = false
      if (!isReadBefore) learn(message, MAX_OLD_ROUTES)
      progress.isComplete = isReadBefore || progress.routes.size >= MAX_OLD_ROUTES
      return progress.isComplete ? 'enough' : undefined
    }
    const onEnd = (hasFailed: boolean): void => {
      progress.isComplete = !hasFailed
    }
    stops.push(readStream(context, 'old pub messages', database.old, { slice: SLICE, onItem, onEnd }))
  }

  const readLive = (): void => {
    const onItem = (message: unknown): void => learn(message, MAX_ROUTES)
    stops.push(readStream(context, 'new pub messages', database.live, { slice: SLICE, onItem }))
  }

  const begin = (): void => {
    timer = null
    if (!isReady(database)) return wait(READY_POLL_MS)
    // Live first, so that nothing is missed in between.
    readLive()
    readOld()
  }

  const wait = (ms: number): void => {
    timer = clock.setTimeout(begin, ms)
    unref(timer)
  }

  wait(FIRST_READ_MS)
  return () => {
    clock.clearTimeout(timer)
    for (const stop of stops) stop()
  }
}

function makeProgress(): Progress {
  return { routes: new Set(), countByAuthor: new Map(), newest: null, isComplete: false }
}

/** Who throws when he is asked is not. */
function isReady({ isReady }: Log): boolean {
  try {
    return isReady()
  } catch {
    return false
  }
}

function isWanted(settings: Settings): boolean {
  const gossip = settings.legacy('gossip')
  const isOff = ['autoPopulate', 'pub', 'global'].some((name) => isSwitchedOff(gossip, name))
  return !isOff && !isSwitchedOff(settings.legacy('conn'), 'populatePubs') && !isOffline(settings)
}

/** The routes of an announcement that are worth telling; those that the manager would drop must not count. */
function routesOf(address: unknown, isOurs: boolean): readonly ParsedRoute[] {
  if (address === undefined || address === null) return []
  try {
    return parseAddress(address).filter((route) => isOurs || isStrangerSafe(route))
  } catch {
    return []
  }
}

function keyOf(message: unknown): string | null {
  const key = memberOf(message, 'key')
  return typeof key === 'string' ? key : null
}

/** ssb-db2: queries put together from operators, of which older versions lack some. */
function findDb2(sbot: Sbot): Log | null {
  const { db } = sbot
  const query = methodOf(db, 'query')
  const operators = memberOf(db, 'operators')
  const [where, type, live, toPullStream] = ['where', 'type', 'live', 'toPullStream'].map((name) =>
    methodOf(operators, name),
  )
  if (!query || !where || !type || !live || !toPullStream) return null
  const optional = (name: string, ...args: unknown[]): unknown[] => {
    const operator = methodOf(operators, name)
    return operator ? [operator(...args)] : []
  }
  return {
    identity: db as object,
    isReady: () => true,
    // By arrival: what was written long ago and came today is new to us.
    old: () =>
      query(
        where(type('pub')),
        ...optional('descending'),
        ...optional('sortByArrival'),
        ...optional('batch', SLICE.items),
        toPullStream(),
      ),
    live: () => query(where(type('pub')), live(), toPullStream()),
  }
}

/** ssb-db: an index by type, in the order of arrival. */
function findDb1(sbot: Sbot): Log | null {
  const messagesByType = methodOf(sbot, 'messagesByType')
  const ready = methodOf(sbot, 'ready')
  if (!messagesByType) return null
  return {
    identity: sbot,
    isReady: () => ready === null || ready() !== false,
    old: () => messagesByType({ type: 'pub', reverse: true, live: false, keys: true, values: true }),
    live: () => messagesByType({ type: 'pub', live: true, old: false, sync: false, keys: true, values: true }),
  }
}
