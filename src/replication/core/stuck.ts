/**
 * Which feeds are stuck with a neighbour, and whose stream has to be opened anew for that.
 *
 * ssb-ebt 9 loses a request that comes too early: a peer that does not want a feed yet answers "not shared", and says later
 * how much it has, once it wants the feed itself. We have asked already and do not ask again, and it waits for us to ask. So
 * it stays until the next connection. New feeds that spread over two hops run into this: the one in the middle tells
 * of them before it has asked for them.
 *
 * A stream that begins anew has both sides say what they have and want. Only one side may do that at a time: where both
 * do, each ends the stream of the other, and none is left. So the side with the smaller id goes first, and whoever opened
 * a stream looks whether it is there afterwards.
 *
 * Pure: time is an argument, and never goes back.
 */
import type { FeedId } from './types'

/** Between two looks. */
export const LOOK_MS = 2_000
/** A new feed is watched for no longer than this. */
const WATCH_MS = 60_000
const MAX_WATCHED = 1_000
/** A feed that does not move for as long is stuck; EBT itself turns to another peer after 3 s. */
const STUCK_MS = 3_000
/** While messages come in, nothing is opened: one that has come and is not written yet would come twice. */
const QUIET_MS = 2_000
/** Of one connection and format. */
const REST_MS = 20_000
const MAX_PER_CONNECTION = 5
/** Whoever opened a stream looks for so long whether it stays. */
const CHECK_MS = 12_000
/** A stream that is not there for as long is lost; the other side may be opening it. */
const LOST_MS = 3_000
/** The side with the larger id waits for this much longer, so that it sees what the other one does. */
const YIELD_MS = { stuck: LOOK_MS, lost: 2 * LOOK_MS }

/** What a neighbour says of a feed. */
export interface Offer {
  /** Null: nothing yet. */
  readonly sequence: number | null
  /** We have asked it for more. */
  readonly isAsked: boolean
  /** Another one: another stream, or another request. */
  readonly mark: unknown
}

export interface Sight {
  /** Messages that we have. */
  readonly have: number
  /** By neighbours. Whoever has no stream with us is not in it. */
  readonly offers: ReadonlyMap<FeedId, Offer>
}

export interface Opening {
  readonly peer: FeedId
  readonly format: string
  /** Because of this one. */
  readonly feed: FeedId
  /** `lost`: it was opened before, and is not there. */
  readonly reason: 'stuck' | 'lost'
}

export interface Stuck {
  /** It was just asked for, and we have that much of it. */
  readonly watch: (feed: FeedId, have: number, at: number) => void
  readonly forget: (feed: FeedId) => void
  /** Nobody is connected any more: whoever comes next hears from the start what we want. */
  readonly clear: () => void
  /** Whether looks are of no use. */
  readonly isIdle: () => boolean
  /** A message has come, of whatever feed. */
  readonly heard: () => void
  /** `connections`: whatever stands for the connection, by neighbour. Null: what is known of a feed cannot be had now. */
  readonly look: (
    at: number,
    connections: ReadonlyMap<FeedId, object>,
    sightOf: (feed: FeedId) => Sight | null,
  ) => readonly Opening[]
}

interface Watched {
  readonly until: number
  /** Before it was asked for. */
  readonly base: number
  have: number
  /** Since when nothing has changed, by those who have more than we do. */
  readonly since: Map<FeedId, { readonly mark: unknown; readonly at: number }>
}

/** A stream that was opened, and is looked after. */
interface Opened {
  readonly feed: FeedId
  readonly at: number
  readonly isRestored: boolean
  absentSince: number | null
}

interface Connection {
  opened: number
  readonly formats: Map<string, Opened>
}

export function createStuck({
  self,
  formatOf,
}: {
  readonly self: FeedId
  readonly formatOf: (feed: FeedId) => string
}): Stuck {
  const watched = new Map<FeedId, Watched>()
  const known = new WeakMap<object, Connection>()
  let hasHeard = false
  let heardAt = 0
  let lastAt = 0
  /** No stream that was opened is looked after from then on. */
  let checkUntil = 0

  const yieldMs = (peer: FeedId, reason: Opening['reason']): number => (self < peer ? 0 : YIELD_MS[reason])

  const connectionOf = (key: object): Connection => {
    let connection = known.get(key)
    if (!connection) {
      connection = { opened: 0, formats: new Map() }
      known.set(key, connection)
    }
    return connection
  }

  const mayOpen = (connection: Connection, format: string, at: number): boolean => {
    const last = connection.formats.get(format)
    return connection.opened < MAX_PER_CONNECTION && (last === undefined || at - last.at >= REST_MS)
  }

  const note = (connection: Connection, { feed, format, reason }: Opening, at: number): void => {
    if (reason === 'stuck') connection.opened++
    connection.formats.set(format, { feed, at, isRestored: reason === 'lost', absentSince: null })
    checkUntil = at + CHECK_MS
  }

  /** Takes in what is known of a feed now; the neighbours with whom it is stuck, or null if it need not be watched. */
  const update = (feed: Watched, { have, offers }: Sight, at: number): FeedId[] | null => {
    if (have !== feed.have) feed.since.clear()
    feed.have = have
    const stuck: FeedId[] = []
    let isOffered = false
    for (const [peer, { sequence, isAsked, mark }] of offers) {
      const isAhead = sequence !== null && sequence > have
      isOffered ||= isAhead
      const before = feed.since.get(peer)
      if (!isAhead || !isAsked) feed.since.delete(peer)
      else if (before === undefined || before.mark !== mark) feed.since.set(peer, { mark, at })
      else if (at - before.at >= STUCK_MS + yieldMs(peer, 'stuck')) stuck.push(peer)
    }
    for (const peer of feed.since.keys()) if (!offers.has(peer)) feed.since.delete(peer)
    return have > feed.base && !isOffered ? null : stuck
  }

  /** Streams that were opened and are not there any more. */
  const findLost = (
    at: number,
    connections: ReadonlyMap<FeedId, object>,
    sightOf: (feed: FeedId) => Sight | null,
  ): Opening[] => {
    const lost: Opening[] = []
    if (at > checkUntil) return lost
    for (const [peer, key] of connections) {
      for (const [format, opened] of known.get(key)?.formats ?? []) {
        if (opened.isRestored || at > opened.at + CHECK_MS) continue
        const sight = sightOf(opened.feed)
        if (!sight) continue
        if (sight.offers.has(peer)) opened.absentSince = null
        else opened.absentSince ??= at
        if (opened.absentSince === null || at - opened.absentSince < LOST_MS + yieldMs(peer, 'lost')) continue
        lost.push({ peer, format, feed: opened.feed, reason: 'lost' })
      }
    }
    return lost
  }

  return {
    watch: (feed, have, at) => {
      watched.delete(feed)
      if (watched.size >= MAX_WATCHED) {
        const oldest = watched.keys().next().value
        if (oldest !== undefined) watched.delete(oldest)
      }
      if (watched.size === 0) hasHeard = true
      watched.set(feed, { until: at + WATCH_MS, base: have, have, since: new Map() })
    },
    forget: (feed) => {
      watched.delete(feed)
    },
    clear: () => {
      watched.clear()
      checkUntil = 0
    },
    isIdle: () => watched.size === 0 && lastAt >= checkUntil,
    heard: () => {
      hasHeard = true
    },
    look: (at, connections, sightOf) => {
      lastAt = at
      if (hasHeard) heardAt = at
      hasHeard = false
      const openings = findLost(at, connections, sightOf)
      for (const { peer, ...rest } of openings)
        note(connectionOf(connections.get(peer) as object), { peer, ...rest }, at)
      const isQuiet = at - heardAt >= QUIET_MS
      for (const [id, feed] of watched) {
        if (at >= feed.until) {
          watched.delete(id)
          continue
        }
        const sight = sightOf(id)
        if (!sight) continue
        const stuck = update(feed, sight, at)
        if (stuck === null) watched.delete(id)
        if (!isQuiet) continue
        for (const peer of stuck ?? []) {
          const key = connections.get(peer)
          if (key === undefined) continue
          const connection = connectionOf(key)
          const opening: Opening = { peer, format: formatOf(id), feed: id, reason: 'stuck' }
          if (!mayOpen(connection, opening.format, at)) continue
          note(connection, opening, at)
          openings.push(opening)
        }
      }
      return openings
    },
  }
}
