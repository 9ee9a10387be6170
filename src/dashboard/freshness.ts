/**
 * How fresh the feeds are that we follow: what we have of each, what connected peers say there is, when something last came.
 * Only while somebody looks. It asks nobody: ssb-ebt keeps the notes that the peers have sent by themselves, and looking at
 * those costs some microseconds a feed; the closest feeds are looked at by turns, a few at a time.
 */
import { authorOf, memberOf, methodOf } from '../adapters/members'
import type { EpochMs, FeedId } from '../core/types'
import type { Clock } from '../shell/clock'
import type { FeedRow } from './protocol'

/** The closest ones. */
export const MAX_FEEDS = 2_000
/** All are looked at anew within this time. */
const ROUND_MS = 10_000
const FEEDS_PER_LOOK = 100
const LOOK_MS = 500
/** Of these, the closest, it is looked up when their latest message was written. Each is a read from the disk. */
const MAX_DATED = 200

type Look = { -readonly [K in keyof Omit<FeedRow, 'name' | 'hops'>]: FeedRow[K] }

export interface Freshness {
  readonly rows: () => Iterable<FeedId>
  readonly rowOf: (id: FeedId, nameOf: (id: FeedId) => string | null) => FeedRow | null
  /** The social graph has changed; whom to look at is decided anew with the next round. */
  readonly graphChanged: () => void
  readonly stop: () => void
}

/** Whether the stack has what it takes. */
export function hasFreshness(sbot: object): boolean {
  return methodOf(sbot, 'ebt', 'peerStatus') !== null
}

export function startFreshness(options: {
  readonly sbot: { readonly id: string; readonly [plugin: string]: unknown }
  readonly clock: Clock
  /** Everybody that we can reach by follows, with the distance. */
  readonly reached: () => ReadonlyMap<FeedId, number>
  readonly onChange: (id: FeedId) => void
  readonly onGone: (id: FeedId) => void
}): Freshness {
  const { sbot, clock, reached, onChange, onGone } = options
  const feeds = new Map<FeedId, Look>()
  let isStopped = false
  let timer: unknown = null
  let queue: FeedId[] = []
  let roundAt = Number.NEGATIVE_INFINITY
  let isGraphNew = true
  const ends: (() => void)[] = []

  // ---- whom to look at ------------------------------------------------------------------------------------------------

  const choose = (): void => {
    if (!isGraphNew) return
    isGraphNew = false
    const closest = [...reached()].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1)).slice(0, MAX_FEEDS)
    const chosen = new Set(closest.map(([id]) => id))
    for (const id of [...feeds.keys()]) {
      if (chosen.has(id)) continue
      feeds.delete(id)
      onGone(id)
    }
    for (const [id] of closest) {
      if (feeds.has(id)) continue
      feeds.set(id, { id, have: null, want: null, arrivedAt: null, latestAt: null })
      onChange(id)
    }
  }

  // ---- what there is of it --------------------------------------------------------------------------------------------

  const look = (id: FeedId): void => {
    const feed = feeds.get(id)
    if (!feed) return
    let have: number | null = null
    let want: number | null = null
    try {
      const status = methodOf(sbot, 'ebt', 'peerStatus')?.(id)
      have = toCount(memberOf(status, 'seq'))
      const peers = memberOf(status, 'peers')
      if (typeof peers === 'object' && peers !== null)
        for (const peer of Object.values(peers)) {
          const offered = toCount(memberOf(peer, 'seq'))
          if (offered !== null && offered > (want ?? 0)) want = offered
        }
    } catch {
      // ssb-ebt still reads what it has: the next round.
    }
    // A message that has come is told by the database before ssb-ebt counts it.
    if (feed.have !== null) have = Math.max(have ?? 0, feed.have)
    // What we have is there, whoever else says so.
    if (want !== null && have !== null) want = Math.max(want, have)
    if (have === feed.have && want === feed.want) return
    feed.have = have
    feed.want = want
    onChange(id)
    if (have !== null && feed.latestAt === null) date(id)
  }

  const turn = (): void => {
    timer = null
    if (isStopped) return
    if (queue.length === 0 && clock.now() - roundAt >= ROUND_MS) {
      roundAt = clock.now()
      choose()
      queue = [...feeds.keys()]
    }
    for (const id of queue.splice(0, FEEDS_PER_LOOK)) look(id)
    timer = clock.setTimeout(turn, LOOK_MS)
  }

  // ---- when it was written --------------------------------------------------------------------------------------------

  /** One at a time. */
  const undated: FeedId[] = []
  let dated = 0
  let isDating = false

  const date = (id: FeedId): void => {
    if (dated >= MAX_DATED) return
    dated++
    undated.push(id)
    dateNext()
  }

  const dateNext = (): void => {
    const get = methodOf(sbot, 'getAtSequence')
    const id = undated[0]
    const feed = id === undefined ? undefined : feeds.get(id)
    if (isDating || isStopped || !get || id === undefined) return
    undated.shift()
    isDating = true
    const answered = (_: unknown, message?: unknown): void => {
      if (!isDating) return
      isDating = false
      if (isStopped) return
      // Of the message nothing else is looked at.
      arrivedOf(id, message, false)
      clock.defer(dateNext)
    }
    try {
      get([id, feed?.have ?? 1], answered)
    } catch {
      answered(null)
    }
  }

  const arrivedOf = (id: FeedId, message: unknown, isNew: boolean): void => {
    const feed = feeds.get(id)
    if (!feed) return
    const value = memberOf(memberOf(message, 'kvt') ?? message, 'value') ?? message
    const writtenAt = toTime(memberOf(value, 'timestamp'))
    if (writtenAt !== null && (isNew || feed.latestAt === null)) feed.latestAt = writtenAt
    if (isNew) {
      feed.arrivedAt = clock.now()
      const sequence = toCount(memberOf(value, 'sequence'))
      if (sequence !== null && sequence > (feed.have ?? 0)) {
        feed.have = sequence
        if (feed.want !== null) feed.want = Math.max(feed.want, sequence)
      }
    }
    onChange(id)
  }

  // ---- what comes -----------------------------------------------------------------------------------------------------

  const listen = (): void => {
    const subscribe = methodOf(sbot, 'db', 'onMsgAdded') ?? methodOf(sbot, 'post')
    let isActive = true
    try {
      // `false`: not the last message once more.
      const remove = subscribe?.((message: unknown) => {
        const author = isActive ? authorOf(message) : null
        if (author !== null) arrivedOf(author, message, true)
      }, false)
      if (typeof remove === 'function') ends.push(remove as () => void)
    } catch {
      // Some database that has no such thing: the rounds tell it, later.
    }
    ends.push(() => {
      isActive = false
    })
  }

  listen()
  timer = clock.setTimeout(turn, 0)

  return {
    rows: () => feeds.keys(),
    rowOf: (id, nameOf) => {
      const feed = feeds.get(id)
      return feed ? { ...feed, name: nameOf(id), hops: reached().get(id) ?? null } : null
    },
    graphChanged: () => {
      isGraphNew = true
      // Nobody waits for a round where there is none to look at yet.
      if (feeds.size === 0) roundAt = Number.NEGATIVE_INFINITY
    },
    stop: () => {
      isStopped = true
      if (timer !== null) clock.clearTimeout(timer)
      timer = null
      for (const end of ends.splice(0)) end()
      feeds.clear()
      queue = []
    },
  }
}

function toCount(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
}

function toTime(value: unknown): EpochMs | null {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : null
}
