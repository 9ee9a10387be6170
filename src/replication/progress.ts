/**
 * `progress()` of the replication scheduler: how far replication has come, as a live source, over all connected peers or of
 * one. Measured by measure.ts, judged by core/progress.ts, over the feeds that the scheduler wants; here is decided whom to
 * measure, and for whom.
 *
 * It costs nothing while nobody reads. Over all peers at most three are measured at a time: each look costs a clock.
 */

import { memberOf } from '../adapters/members'
import { parseFeedId } from '../core/address'
import { InvalidArgumentError } from '../core/errors'
import type { EpochMs } from '../core/types'
import type { Clock } from '../shell/clock'
import { Readers, type Source } from '../shell/live'
import {
  addSample,
  type Bar,
  etaOf,
  isDead,
  nextBar,
  type ReplicationPhase,
  rateOf,
  type Sample,
  summarize,
  type Totals,
  toSequence,
  type Watch,
} from './core/progress'
import type { FeedId, Hops } from './core/types'
import {
  createMeasure,
  type Look,
  type Reading,
  type ReplicationHost,
  SLICE_FEEDS,
  type Wanted,
  type Watching,
} from './measure'

/** Peers that are measured at a time, unless asked for by name. */
const MAX_MEASURED = 3

/** What the scheduler knows, as far as it matters here. */
export interface ReplicationFacts {
  /** Feeds of any format that are wanted: requested, or waiting for their turn. Read after `onChange` only. */
  readonly wanted: () => Iterable<FeedId>
  /** The name of the format by which ssb-ebt knows it: `classic`, `bendybutt-v1`, `indexed-v1`, … */
  readonly formatOf: (feed: FeedId) => string
  readonly isStarted: () => boolean
  /** The social graph, and the meta feed trees where they matter, have been read for the first time. */
  readonly isLoaded: () => boolean
  /** Nothing is queued, no lookup pending, no indexing: what is wanted now is the last word for now. */
  readonly isSettled: () => boolean
  /** Which peers come first. Null: not in the graph. */
  readonly hopsOf?: (feed: FeedId) => Hops | null
  /** `listener` is called whenever any of the above may have changed, and costs little. Returns what ends it. */
  readonly onChange: (listener: () => void) => () => void
}

export interface ProgressOptions {
  /** Only what this peer has to give. Default: all connected peers together. */
  readonly peer?: FeedId
  /** Default true. False: one item, as soon as it is known how things stand. */
  readonly live?: boolean
  /** Does not take a peer for stalled that answers and says nothing of our feeds: its notes may yet come. */
  readonly patient?: boolean
}

export interface ReplicationProgress {
  /**
   * `stopped`: `start()` has not been called. `loading`: the graph or the trees are not read yet. `indexing`: the database
   * catches up. `waiting`: nobody is connected, or not the peer asked for. `syncing`. `stalled`: none of the peers answers, or
   * says anything of our feeds. `caughtUp`.
   */
  readonly phase: ReplicationPhase
  /** Messages of wanted feeds that we have; null while nobody could be measured. */
  readonly have: number | null
  /**
   * The same and those that we could get. While the wanted feeds stay the same it does not get less before all is done, so
   * that a bar `have / want` does not run back and forth when peers come and go. With other feeds it begins anew: a fresh
   * account has "all" of its first 200 messages, and then learns of 10 000 more.
   */
  readonly want: number | null
  /** Whom it is about; null: several or nobody. */
  readonly peer: FeedId | null
  /** Messages per second over the last seconds, of whatever peer; null while unknown. */
  readonly rate: number | null
  /** Seconds left at this rate; null while unknown. Of what is known now: see `want`. */
  readonly eta: number | null
  /**
   * Nothing has changed for some seconds and nothing is missing, or the rest is held back by the peers; see core/progress.ts.
   * Of all peers: those that have stalled do not count.
   */
  readonly caughtUp: boolean
  readonly stalled: boolean
  /**
   * Our own feed: how many messages we have, and the highest sequence number that any connected peer knows (0: none of those
   * asked has anything of it); null while unknown. A new device with an old key must not publish before it has its feed back: wait for `caughtUp` with
   * `own.known !== null && own.have >= own.known`. A peer may claim more than there is, which delays but forges nothing.
   */
  readonly own: { readonly have: number | null; readonly known: number | null }
}

export interface Progress {
  /** Throws InvalidArgumentError. */
  readonly open: (options?: ProgressOptions) => Source<ReplicationProgress>
  /** Ends every reader. */
  readonly close: () => void
}

interface Neighbour {
  readonly id: FeedId
  readonly connection: unknown
  readonly since: EpochMs
  /** Of the last look; kept when it is no longer measured, so that those who give nothing come last. */
  isDead: boolean
}

/** A neighbour that is measured. */
interface Session {
  readonly neighbour: Neighbour
  readonly watching: Watching
  reading: Reading | null
  /** Of our own feed. */
  known: number | null
}

/** What readers ask for: one peer, or all; with or without patience. */
interface Target {
  readonly peer: FeedId | null
  readonly isPatient: boolean
  readonly readers: Readers
  bar: Bar | null
  remaining: number
  samples: readonly Sample[]
  /** Messages by the looks, for where there is no database to listen to. */
  counted: number
  item: ReplicationProgress | null
}

export function createProgress(options: {
  readonly sbot: ReplicationHost & { readonly on?: (event: string, listener: (...args: never[]) => void) => unknown }
  readonly clock: Clock
  readonly facts: ReplicationFacts
}): Progress {
  const { sbot, clock, facts } = options
  const neighbours = new Map<FeedId, Neighbour>()
  const sessions = new Map<FeedId, Session>()
  const targets = new Map<string, Target>()
  let ownHave: number | null = null
  let isClosed = false

  // ---- what is wanted ---------------------------------------------------------------------------------------------------

  let wantedFeeds: ReadonlySet<FeedId> = new Set()
  let isWantedDirty = true

  let reading: Promise<void> | null = null

  /** Copies it, some at a time, and keeps the old set if the new one is equal: then looks need not compare them. */
  const copyWanted = async (): Promise<void> => {
    isWantedDirty = false
    const scope = measure.openScope()
    const next = new Set<FeedId>([sbot.id])
    let isSame = true
    let counted = 0
    for (const feed of facts.wanted()) {
      if (++counted % SLICE_FEEDS === 0) await measure.pause(scope)
      next.add(feed)
      if (!wantedFeeds.has(feed)) isSame = false
    }
    scope.end()
    if (!isSame || next.size !== wantedFeeds.size) wantedFeeds = next
  }

  const readWanted = async (): Promise<Wanted> => {
    if (isWantedDirty && !reading) {
      const begun = copyWanted()
      reading = begun
      void begun.then(() => {
        if (reading === begun) reading = null
      })
    }
    if (reading) await reading
    // What has changed since is for the next look.
    return { feeds: facts.isLoaded() ? wantedFeeds : null, isFresh: facts.isSettled() && !isWantedDirty }
  }

  const measure = createMeasure({
    sbot,
    clock,
    wanted: readWanted,
    formatOf: facts.formatOf,
    onMessage: (author) => {
      if (author === sbot.id) lookAtOwn()
    },
  })

  // ---- who is connected -------------------------------------------------------------------------------------------------

  const addNeighbour = (connection: unknown): void => {
    const id = memberOf(connection, 'id')
    // Not a client of our own.
    if (isClosed || typeof id !== 'string' || id === sbot.id || memberOf(connection, 'closed') === true) return
    if (neighbours.get(id)?.connection === connection) return
    neighbours.set(id, { id, connection, since: clock.now(), isDead: false })
    const { on } = connection as { on?: (event: string, listener: () => void) => unknown }
    on?.call(connection, 'closed', () => {
      if (neighbours.get(id)?.connection !== connection) return
      neighbours.delete(id)
      // Of two connections the other may be left.
      addPresent(id)
      update()
    })
    update()
  }

  const addPresent = (id: FeedId): void => {
    const connections = memberOf(memberOf(sbot, 'peers'), id)
    if (!Array.isArray(connections)) return
    for (const each of connections) if (memberOf(each, 'id') === id) addNeighbour(each)
  }

  // ---- who is measured --------------------------------------------------------------------------------------------------

  /** Those that may give something first, then those that are measured already, then the closest, the longest connected. */
  const better = (a: Neighbour, b: Neighbour): number =>
    Number(a.isDead) - Number(b.isDead) ||
    Number(sessions.has(b.id)) - Number(sessions.has(a.id)) ||
    distance(a.id) - distance(b.id) ||
    a.since - b.since ||
    (a.id < b.id ? -1 : 1)

  const distance = (id: FeedId): number => {
    const hops = facts.hopsOf?.(id) ?? null
    return hops !== null && hops >= 0 ? hops : Number.MAX_SAFE_INTEGER
  }

  const chosen = (): ReadonlySet<Neighbour> => {
    const named = new Set<Neighbour>()
    let isForAll = false
    for (const { peer } of targets.values()) {
      if (peer === null) isForAll = true
      const neighbour = peer === null ? undefined : neighbours.get(peer)
      if (neighbour) named.add(neighbour)
    }
    if (!isForAll) return named
    for (const each of [...neighbours.values()].sort(better).slice(0, MAX_MEASURED)) named.add(each)
    return named
  }

  const startSession = (neighbour: Neighbour): void => {
    const { id, connection } = neighbour
    const onLook = (watch: Watch, { seen, reading, ownKnown }: Look): void => {
      neighbour.isDead = isDead(watch)
      if (seen.kind === 'measured' && reading) {
        session.reading = reading
        session.known = ownKnown
      }
      lookAtOwn()
      void count(session)
    }
    const scope = measure.openScope()
    const watching = measure.watch({ peer: id, connection, scope, keepsMute: () => false, onLook })
    const session: Session = { neighbour, watching, reading: null, known: null }
    sessions.set(id, session)
  }

  /** Measures whom it should. True if somebody is no longer measured. */
  const followNeighbours = (): boolean => {
    const next = chosen()
    let hasEnded = false
    for (const [id, { neighbour, watching }] of sessions) {
      if (next.has(neighbour)) continue
      watching.end()
      sessions.delete(id)
      hasEnded = true
    }
    for (const each of next) if (!sessions.has(each.id)) startSession(each)
    if (targets.size > 0) measure.attach()
    return hasEnded
  }

  // ---- what is shown ------------------------------------------------------------------------------------------------------

  /** The sessions that a target is about. */
  const sessionsOf = ({ peer }: Target): Session[] => {
    if (peer === null) return [...sessions.values()].filter(({ neighbour }) => !isNamedOnly(neighbour))
    const session = sessions.get(peer)
    return session ? [session] : []
  }

  /** Measured for somebody who asked for it, beyond the three: its verdict is no part of the whole. */
  const isNamedOnly = (neighbour: Neighbour): boolean => {
    if (sessions.size <= MAX_MEASURED) return false
    const first = [...neighbours.values()].sort(better).slice(0, MAX_MEASURED)
    return !first.includes(neighbour)
  }

  /** After a look: what the targets of this peer have, and what is there over all. */
  const count = async (looked: Session): Promise<void> => {
    for (const target of [...targets.values()]) {
      const about = sessionsOf(target)
      if (!about.includes(looked)) continue
      const able = about.filter(({ neighbour, reading }) => reading !== null && !neighbour.isDead)
      const last = looked.watching.state().last
      if (able.length === 0 || !last) continue
      // Of one it has been counted just now.
      const isOne = able.length === 1 && able[0] === looked
      const totals = isOne ? last : await totalOf(able, last.wanted)
      if (totals) take(target, totals, last.wanted)
    }
    // Not before: a verdict goes with the count that it is about.
    update()
  }

  const totalOf = async (able: readonly Session[], wanted: ReadonlySet<FeedId>): Promise<Totals | null> => {
    const scope = measure.openScope()
    const totals = await measure.total(
      scope,
      wanted,
      able.flatMap(({ reading }) => reading ?? []),
    )
    const isOver = scope.isOver()
    scope.end()
    return isOver ? null : totals
  }

  const take = (target: Target, totals: Totals, wanted: ReadonlySet<FeedId>): void => {
    const { bar } = target
    if (bar && bar.wanted === wanted) target.counted += Math.max(0, totals.have - bar.have)
    target.bar = nextBar(bar, { ...totals, wanted }, verdictOf(target).isCaughtUp)
    target.remaining = totals.remaining
    const at = clock.now()
    target.samples = addSample(target.samples, { at, count: measure.messageCount() ?? target.counted })
  }

  const verdictOf = (target: Target) =>
    summarize({
      isStarted: facts.isStarted(),
      isLoaded: facts.isLoaded(),
      isIndexing: measure.isIndexing(),
      isSettled: facts.isSettled(),
      isPatient: target.isPatient,
      watches: sessionsOf(target).map(({ watching }) => watching.state()),
    })

  /** The highest that any connected peer says, measured or not. */
  const highestKnown = (): number | null => {
    let highest: number | null = null
    const see = (sequence: number | null): void => {
      if (sequence !== null) highest = Math.max(highest ?? 0, sequence)
    }
    for (const { known: each } of sessions.values()) see(each)
    const peers = memberOf(measure.statusOf(sbot.id), 'peers')
    for (const id of neighbours.keys()) see(toSequence(memberOf(memberOf(peers, id), 'seq')))
    return highest
  }

  const itemOf = (target: Target): ReplicationProgress => {
    const { phase, isCaughtUp, isStalled } = verdictOf(target)
    const about = sessionsOf(target)
    const bar = about.some(({ reading }) => reading !== null) ? target.bar : null
    const rate = bar && rateOf(target.samples)
    return {
      phase,
      have: bar?.have ?? null,
      want: bar && (isCaughtUp ? bar.have + target.remaining : bar.want),
      peer: target.peer ?? (about.length === 1 ? (about[0]?.neighbour.id ?? null) : null),
      rate: rate === null ? null : Math.round(rate * 10) / 10,
      eta: bar && phase === 'syncing' ? etaOf(target.remaining, rate) : null,
      caughtUp: isCaughtUp,
      stalled: isStalled,
      own: { have: ownHave, known: highestKnown() },
    }
  }

  const publish = (): void => {
    for (const target of [...targets.values()]) {
      const item = itemOf(target)
      if (target.item && isSameItem(item, target.item)) continue
      target.item = item
      target.readers.poke()
    }
  }

  let isUpdateDue = false
  /** Once a turn, however much happens in it. */
  const update = (): void => {
    if (isUpdateDue || targets.size === 0) return
    isUpdateDue = true
    clock.defer(() => {
      isUpdateDue = false
      if (isClosed) return
      const left = followNeighbours() && [...sessions.values()].find(({ reading }) => reading !== null)
      // What somebody had who has gone is no longer to be had: counted anew before a verdict is given without him.
      if (left) void count(left)
      else publish()
    })
  }

  let isLookingAtOwn = false
  const lookAtOwn = (): void => {
    if (isLookingAtOwn) return
    isLookingAtOwn = true
    const scope = measure.openScope()
    scope.onEnd(() => {
      isLookingAtOwn = false
    })
    void measure.localClock(scope).then((ours) => {
      if (scope.isOver()) return
      scope.end()
      if (ours) ownHave = toSequence(ours[sbot.id] ?? 0)
      update()
    })
  }

  // ---- readers ------------------------------------------------------------------------------------------------------------

  let endFacts: (() => void) | null = null

  const onFacts = (): void => {
    isWantedDirty = true
    for (const { watching } of sessions.values()) watching.hurry()
    update()
  }

  const targetFor = (peer: FeedId | null, isPatient: boolean): Target => {
    const key = `${peer}${isPatient}`
    const found = targets.get(key)
    if (found) return found
    const readers = new Readers()
    const blank = { peer, isPatient, readers, bar: null, remaining: 0, samples: [], counted: 0 }
    const target: Target = { ...blank, item: null }
    targets.set(key, target)
    endFacts ??= facts.onChange(onFacts)
    return target
  }

  const leave = (target: Target): void => {
    if (target.readers.size > 0) return
    targets.delete(`${target.peer}${target.isPatient}`)
    if (targets.size > 0) return update()
    endFacts?.()
    endFacts = null
    isWantedDirty = true
    reading = null
    sessions.clear()
    measure.stop()
  }

  /** Whether the item says how things stand, and not just that nobody has looked yet. */
  const isInformed = ({ phase, have, stalled }: ReplicationProgress): boolean =>
    have !== null || stalled || phase === 'stopped' || phase === 'waiting'

  const read = ({ peer, isLive, isPatient }: ReturnType<typeof readOptions>): Source<ReplicationProgress> => {
    if (isClosed) return ended()
    const target = targetFor(peer, isPatient)
    followNeighbours()
    target.item ??= itemOf(target)
    lookAtOwn()
    let last: ReplicationProgress | null = null
    return target.readers.open(
      () => {
        const { item } = target
        if (!item || item === last || (!isLive && (last !== null || !isInformed(item)))) return undefined
        last = item
        return item
      },
      () => !isLive && last !== null,
      () => leave(target),
    )
  }

  /** Work begins with the first read: a source that nobody pulls costs nothing either. */
  const open = (given?: ProgressOptions): Source<ReplicationProgress> => {
    const options = readOptions(given)
    let source: Source<ReplicationProgress> | null = null
    return (abort, cb) => {
      if (abort && !source) source = ended()
      source ??= read(options)
      source(abort, cb)
    }
  }

  const ended = (): Source<ReplicationProgress> => {
    const readers = new Readers()
    readers.close()
    return readers.open<ReplicationProgress>(
      () => undefined,
      () => true,
      () => {},
    )
  }

  // From here on, and those of before.
  const present = memberOf(sbot, 'peers')
  if (typeof present === 'object' && present !== null) for (const id of Object.keys(present)) addPresent(id)
  sbot.on?.('rpc:connect', addNeighbour as (...args: never[]) => void)

  return {
    open,
    close: () => {
      if (isClosed) return
      isClosed = true
      for (const { readers } of [...targets.values()]) readers.close()
      neighbours.clear()
      measure.stop()
    },
  }
}

function readOptions(given: unknown) {
  const options = given ?? {}
  if (typeof options !== 'object') throw new InvalidArgumentError('options', 'an object', given)
  const { peer, live = true, patient = false } = options as Record<string, unknown>
  const id = peer === undefined || peer === null ? null : parseFeedId(peer)
  if (id === null && peer !== undefined && peer !== null) throw new InvalidArgumentError('peer', 'a feed id', peer)
  if (typeof live !== 'boolean') throw new InvalidArgumentError('live', 'true or false', live)
  if (typeof patient !== 'boolean') throw new InvalidArgumentError('patient', 'true or false', patient)
  return { peer: id, isLive: live, isPatient: patient }
}

function isSameItem(a: ReplicationProgress, b: ReplicationProgress): boolean {
  return (
    a.phase === b.phase &&
    a.have === b.have &&
    a.want === b.want &&
    a.peer === b.peer &&
    a.rate === b.rate &&
    a.eta === b.eta &&
    a.caughtUp === b.caughtUp &&
    a.stalled === b.stalled &&
    a.own.have === b.own.have &&
    a.own.known === b.own.known
  )
}
