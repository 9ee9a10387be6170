/**
 * The search for the root meta feeds of main feeds: which neighbour is asked for which mains, and when. It says what to send
 * next and is told what came of it; sending, and checking what comes back, is the shell's job (lookup.ts).
 *
 * - Many mains go into one query, the closest first, and the next query follows the answer at once: a thousand unknown mains
 *   take as long as the other side needs for sixteen answers.
 * - A query tells a neighbour whose feeds we look for, so each main is asked of three neighbours at most, one after the
 *   other, and then rests: a minute at first, twice as long each time, an hour at most.
 * - Who does not answer rests as well, and gets smaller queries afterwards: it may be slow, or trip over one of the mains. What
 *   it was asked for goes to others at once.
 *
 * The times given may jump back, as clocks do when they are set; here time only goes on.
 */
import BTree from 'sorted-btree'

import type { FeedId } from './types'

export interface Query {
  readonly id: number
  readonly peer: FeedId
  /** Closest first; never empty. */
  readonly mains: readonly FeedId[]
}

/** `unsupported`: not asked again while it is connected. The others: not asked again for a while. */
export type Failure = 'timeout' | 'error' | 'unsupported'

export interface FinderStatus {
  /** Mains that are looked for. */
  readonly wanted: number
  /** Of these: in a query now. */
  readonly asking: number
  /** Of these: as many neighbours as may be asked have answered, and none knew it. Looked for again after a rest. */
  readonly notFound: number
  /** All that were ever found. */
  readonly found: number
  readonly neighbours: number
  /** Of these: those that cannot be asked. */
  readonly unsupported: number
  readonly queriesInFlight: number
  readonly queries: number
  readonly failures: number
}

export interface Finder {
  /** Look for it. The smallest `order` first; one that is looked for already is moved. */
  want(main: FeedId, order: number): void
  /** Do not. Who was asked for it is remembered for as long as it would have rested. */
  forget(main: FeedId): void
  isWanted(main: FeedId): boolean
  connected(peer: FeedId): void
  /** Its query ends with it. A neighbour that leaves in the middle of one counts as failed when it comes back. */
  disconnected(peer: FeedId, now: number): void
  /** What to send now. All of it counts as sent: `answered` or `failed` has to follow, or the neighbour's `disconnected`. */
  next(now: number): readonly Query[]
  /** `found` is what the answer had, among the mains of the query. Returns false if the query is none of those in flight. */
  answered(query: Query, found: Iterable<FeedId>, now: number): boolean
  /** As `answered`; `found` is what had come before it failed. */
  failed(query: Query, now: number, kind: Failure, found?: Iterable<FeedId>): boolean
  /** When `next` may have something that it has not now: later than `now`, or null if time alone changes nothing. */
  wakeAt(now: number): number | null
  status(): FinderStatus
}

export interface FinderOptions {
  /**
   * Mains in one query. A thousand mains of one neighbour with ssb-db2 8, by 16: 6.0 s, by 64: 2.0 s, by 128: 2.1 s. More only
   * tells more to a neighbour that then does not answer.
   */
  readonly chunkMax: number
  /** Queries at a time, over all neighbours; one at most to each. */
  readonly inFlightMax: number
  /** Neighbours that have to say that they do not know a main before it rests. */
  readonly answersMax: number
  readonly restMs: number
  readonly restMaxMs: number
  readonly failureMs: number
  readonly failureMaxMs: number
  /** Mains remembered, wanted or not. Of too many wanted ones the farthest are given up. */
  readonly mainsMax: number
  /** Neighbours remembered after they left. */
  readonly neighboursMax: number
}

export const FINDER_DEFAULTS: FinderOptions = {
  chunkMax: 64,
  inFlightMax: 4,
  answersMax: 3,
  restMs: 60_000,
  restMaxMs: 3_600_000,
  failureMs: 10_000,
  failureMaxMs: 600_000,
  mainsMax: 100_000,
  neighboursMax: 1_000,
}

/** Of one main and one turn, those that failed included: more neighbours are not bothered before it has rested. */
const ASKED_MAX = 16
/** Beyond this many doublings every ceiling is long reached. */
const STEP_MAX = 30
/** What is dealt with in one call of `next`, so that no call takes long. The rest follows at once, as `wakeAt` says. */
const RESTED_PER_CALL = 1_000

interface Main {
  readonly id: FeedId
  order: number
  isWanted: boolean
  /** In this turn: since it was wanted, or had rested. */
  asked: FeedId[]
  answers: number
  /** In earlier turns. Others are asked first. */
  readonly askedBefore: Set<FeedId>
  turns: number
  /** End of the turn; null while nobody was asked. */
  restedAt: number | null
  query: Query | null
}

interface Neighbour {
  readonly id: FeedId
  isConnected: boolean
  isUnsupported: boolean
  failures: number
  /** Not asked before. */
  retryAt: number
  askedAt: number
  query: Query | null
}

type Rest = Pick<Main, 'id' | 'restedAt'>

function closestFirst(a: Main, b: Main): number {
  return a.order === b.order ? compareIds(a, b) : a.order < b.order ? -1 : 1
}

function soonestFirst(a: Rest, b: Rest): number {
  return (a.restedAt as number) - (b.restedAt as number) || compareIds(a, b)
}

function compareIds(a: { readonly id: string }, b: { readonly id: string }): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0
}

function doubled(baseMs: number, step: number, maxMs: number): number {
  return Math.min(maxMs, baseMs * 2 ** Math.min(step, STEP_MAX))
}

export function createFinder(given: Partial<FinderOptions> = {}): Finder {
  const options = { ...FINDER_DEFAULTS, ...given }
  const mains = new Map<FeedId, Main>()
  const neighbours = new Map<FeedId, Neighbour>()
  const wanted = new BTree<Main, true>(undefined, closestFirst)
  /** Wanted, in no query, and somebody may still be asked in this turn. */
  const open = new BTree<Main, true>(undefined, closestFirst)
  /** In no query, with a turn that has begun; wanted or not. */
  const resting = new BTree<Rest, true>(undefined, soonestFirst)
  /** Not wanted any more: the first to go when there are too many. */
  const remembered = new Set<Main>()
  const inFlight = new Map<number, Query>()
  let lastId = 0
  let latest = Number.NEGATIVE_INFINITY
  /** What is added to times given, so that none is before an earlier one. */
  let skew = 0
  let foundCount = 0
  let failureCount = 0

  function time(now: number): number {
    if (now + skew < latest) skew = latest - now
    latest = now + skew
    return latest
  }

  /* ---- mains ---- */

  function mayBeAsked(main: Main): boolean {
    return main.answers < options.answersMax && main.asked.length < ASKED_MAX
  }

  /** Out of the sorted sets, before anything that they sort by, or that decides who is in them, changes. */
  function lift(main: Main): void {
    wanted.delete(main)
    open.delete(main)
    remembered.delete(main)
    if (main.restedAt !== null) resting.delete(main)
  }

  /** Back into them. One that is not wanted, and of which there is nothing to remember, is gone. */
  function place(main: Main): void {
    if (main.isWanted) wanted.set(main, true)
    else remembered.add(main)
    if (main.query) return
    if (main.restedAt !== null) resting.set(main, true)
    if (main.isWanted && mayBeAsked(main)) open.set(main, true)
    if (!main.isWanted && main.restedAt === null) drop(main)
  }

  function change(main: Main, by: () => void): void {
    lift(main)
    by()
    place(main)
  }

  function drop(main: Main): void {
    lift(main)
    mains.delete(main.id)
  }

  /** Whoever makes up accounts by the thousand is far away, so it is those that are given up. */
  function makeRoom(): void {
    if (mains.size <= options.mainsMax) return
    const [oldest] = remembered
    const least = oldest ?? wanted.maxKey()
    if (least) drop(least)
  }

  function endTurn(main: Main): void {
    for (const peer of main.asked) main.askedBefore.add(peer)
    main.asked = []
    main.answers = 0
    main.turns++
    main.restedAt = null
  }

  function endTurns(at: number): void {
    for (let i = 0; i < RESTED_PER_CALL; i++) {
      const first = resting.minKey()
      if (!first || (first.restedAt as number) > at) return
      const main = mains.get(first.id) as Main
      change(main, () => endTurn(main))
    }
  }

  /* ---- neighbours ---- */

  function canBeAsked(neighbour: Neighbour, at: number): boolean {
    return neighbour.isConnected && !neighbour.isUnsupported && neighbour.retryAt <= at
  }

  /** The longest unasked first, so that they take turns. */
  function idle(at: number): readonly Neighbour[] {
    return [...neighbours.values()]
      .filter((each) => canBeAsked(each, at) && !each.query)
      .sort((a, b) => a.failures - b.failures || a.askedAt - b.askedAt)
  }

  /** Whether to ask this one of all: not twice in a turn, and those who were never asked for it go first. */
  function suits(main: Main, neighbour: Neighbour, all: readonly Neighbour[]): boolean {
    if (main.asked.includes(neighbour.id)) return false
    if (!main.askedBefore.has(neighbour.id)) return true
    return all.every((each) => main.askedBefore.has(each.id) || main.asked.includes(each.id))
  }

  function choose(neighbour: Neighbour, all: readonly Neighbour[]): readonly Main[] {
    const chosen: Main[] = []
    const size = Math.max(1, Math.floor(options.chunkMax / 2 ** Math.min(neighbour.failures, STEP_MAX)))
    for (const main of open.keys()) {
      if (suits(main, neighbour, all)) chosen.push(main)
      if (chosen.length >= size) break
    }
    return chosen
  }

  function send(neighbour: Neighbour, chosen: readonly Main[]): Query {
    const query: Query = { id: ++lastId, peer: neighbour.id, mains: chosen.map((main) => main.id) }
    inFlight.set(query.id, query)
    neighbour.query = query
    neighbour.askedAt = query.id
    for (const main of chosen)
      change(main, () => {
        main.query = query
      })
    return query
  }

  /** Takes a query back. What was found is done with; of the others it is noted that this neighbour was asked, if it was. */
  function settle(query: Query, found: Iterable<FeedId>, at: number, outcome: 'answer' | Failure): boolean {
    if (!inFlight.delete(query.id)) return false
    const neighbour = neighbours.get(query.peer) as Neighbour
    neighbour.query = null
    const known = new Set(found)
    for (const id of query.mains) {
      const main = mains.get(id)
      if (main && known.has(id)) {
        foundCount++
        drop(main)
      }
      // Another one: it was given up meanwhile, and wanted again.
      if (!main || known.has(id) || main.query !== query) continue
      change(main, () => {
        main.query = null
        if (outcome === 'unsupported') return
        main.asked.push(query.peer)
        if (outcome === 'answer') main.answers++
        main.restedAt = at + doubled(options.restMs, main.turns, options.restMaxMs)
        // Bounded: whom we asked in the distant past does not matter.
        if (main.askedBefore.size > 2 * ASKED_MAX) main.askedBefore.clear()
      })
    }
    return true
  }

  function punish(neighbour: Neighbour, at: number): void {
    failureCount++
    neighbour.retryAt = at + doubled(options.failureMs, neighbour.failures, options.failureMaxMs)
    neighbour.failures++
  }

  function forgetNeighbours(): void {
    if (neighbours.size <= options.neighboursMax) return
    for (const each of neighbours.values())
      if (!each.isConnected) {
        neighbours.delete(each.id)
        return
      }
  }

  return {
    want: (id, order) => {
      const known = mains.get(id)
      const main: Main = known ?? {
        id,
        order: 0,
        isWanted: true,
        asked: [],
        answers: 0,
        askedBefore: new Set(),
        turns: 0,
        restedAt: null,
        query: null,
      }
      mains.set(id, main)
      change(main, () => {
        main.order = Number.isNaN(order) ? Number.POSITIVE_INFINITY : order
        main.isWanted = true
      })
      makeRoom()
    },

    forget: (id) => {
      const main = mains.get(id)
      if (main)
        change(main, () => {
          main.isWanted = false
        })
    },

    isWanted: (id) => mains.get(id)?.isWanted === true,

    connected: (id) => {
      const known = neighbours.get(id)
      if (known?.isConnected) return
      if (known) {
        known.isConnected = true
        known.isUnsupported = false
        return
      }
      neighbours.set(id, {
        id,
        isConnected: true,
        isUnsupported: false,
        failures: 0,
        retryAt: Number.NEGATIVE_INFINITY,
        askedAt: 0,
        query: null,
      })
      forgetNeighbours()
    },

    disconnected: (id, now) => {
      const neighbour = neighbours.get(id)
      if (!neighbour?.isConnected) return
      const at = time(now)
      neighbour.isConnected = false
      if (neighbour.query) {
        settle(neighbour.query, [], at, 'error')
        punish(neighbour, at)
      }
      if (neighbour.failures === 0) neighbours.delete(id)
    },

    next: (now) => {
      const at = time(now)
      endTurns(at)
      const all = [...neighbours.values()].filter((each) => canBeAsked(each, at))
      const queries: Query[] = []
      for (const neighbour of idle(at)) {
        if (inFlight.size >= options.inFlightMax || open.size === 0) break
        const chosen = choose(neighbour, all)
        if (chosen.length > 0) queries.push(send(neighbour, chosen))
      }
      return queries
    },

    answered: (query, found, now) => {
      const at = time(now)
      const isKnown = settle(query, found, at, 'answer')
      const neighbour = neighbours.get(query.peer)
      if (isKnown && neighbour && neighbour.failures > 0) neighbour.failures--
      return isKnown
    },

    failed: (query, now, kind, found = []) => {
      const at = time(now)
      if (!settle(query, found, at, kind)) return false
      const neighbour = neighbours.get(query.peer) as Neighbour
      if (kind === 'unsupported') neighbour.isUnsupported = true
      else punish(neighbour, at)
      return true
    },

    wakeAt: (now) => {
      const at = time(now)
      let isAnybodyThere = false
      let first = Number.POSITIVE_INFINITY
      for (const each of neighbours.values()) {
        if (!each.isConnected || each.isUnsupported) continue
        isAnybodyThere = true
        if (each.retryAt > at && open.size > 0) first = Math.min(first, each.retryAt)
      }
      if (!isAnybodyThere) return null
      const rest = resting.minKey()
      if (rest) first = Math.min(first, rest.restedAt as number)
      return first === Number.POSITIVE_INFINITY ? null : Math.max(first, at + 1) - skew
    },

    status: () => {
      let asking = 0
      let notFound = 0
      let unsupported = 0
      let connected = 0
      for (const query of inFlight.values()) for (const id of query.mains) if (mains.get(id)?.isWanted) asking++
      for (const main of wanted.keys()) if (main.answers >= options.answersMax) notFound++
      for (const each of neighbours.values()) {
        if (!each.isConnected) continue
        connected++
        if (each.isUnsupported) unsupported++
      }
      return {
        wanted: wanted.size,
        asking,
        notFound,
        found: foundCount,
        neighbours: connected,
        unsupported,
        queriesInFlight: inFlight.size,
        queries: lastId,
        failures: failureCount,
      }
    },
  }
}
