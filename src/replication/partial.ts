/**
 * What replication in part needs beyond the social graph: announces of meta feeds in the database, their trees, a search
 * for those that are not known yet, private groups, and the formats. Starts when a template is first configured, with
 * whatever of it the stack has; what is missing is said in `problems`, and feeds stay in full meanwhile.
 *
 * Never creates a meta feed: an announce published before our own feed is recovered would fork it.
 */
import { memberOf, methodOf } from '../adapters/members'
import type { Sbot } from '../adapters/sbot'
import type { Clock } from '../shell/clock'
import { canVerify, persistAnnounce, startAnnounces } from './announces'
import { type Templates, wantsIndexFeeds } from './core/templates'
import { toBranch } from './core/tree'
import type { FeedId } from './core/types'
import type { Wanted } from './core/wanted'
import { createFormats } from './formats'
import { type Groups, startGroups } from './groups'
import { type Lookup, startLookup } from './lookup'
import { type Metafeeds, startMetafeeds } from './metafeeds'

/** Of a slice's 500: some 8 µs for each branch. */
const BRANCH_COST = 2
/** After this, a database or a plugin that never answers keeps nobody waiting. */
const LOAD_LIMIT_MS = 30_000

export interface PartialOptions {
  readonly sbot: Sbot
  readonly clock: Clock
  readonly wanted: Wanted
  /** `caps.sign` of the stack: part of what is signed. */
  readonly hmac: string | null
  readonly connections: () => Iterable<unknown>
  /** Facts have changed, or everything has been read. */
  readonly onFacts: () => void
  /** There is something to do for `step`. */
  readonly wake: () => void
  readonly log: (message: string) => void
}

export interface Partial {
  /** Registers the formats that these templates need, while the stack is being built: ssb-ebt is prepared for it then. */
  readonly prepare: (templates: Templates | null) => void
  /** Follows the templates: null ends the search for meta feeds. */
  readonly configure: (templates: Templates | null) => void
  /** The distance of a main feed, or what is known of it, has changed. */
  readonly consider: (main: FeedId) => void
  /** Plugins may have come, and groups may have been left. */
  readonly poke: () => void
  /** ssb-ebt was told not to replicate this feed, any more or at all. */
  readonly dropped: (feed: FeedId) => void
  /** What was wished has been told to ssb-ebt. */
  readonly settled: () => void
  /** Everything that could be read has been. */
  readonly isLoaded: () => boolean
  /** Whether branches are there that have not been taken in, or neighbours are being asked. */
  readonly isBusy: () => boolean
  /** One small piece of that; its cost, 0 if there is none. */
  readonly step: () => number
  readonly status: () => PartialStatus
  readonly problems: () => readonly string[]
  readonly stop: () => void
}

export interface PartialStatus {
  /** Main feeds whose meta feed is looked for with neighbours. */
  readonly lookups: {
    readonly wanted: number
    /** Of these: those that no neighbour knew who was asked; they are asked again later. */
    readonly notFound: number
    readonly found: number
    /** Announces that somebody made up. */
    readonly forged: number
  }
  readonly groups: number
}

/** The shard of a purpose, as ssb-meta-feeds computes it; null without it. */
export function createShardOf(): (root: FeedId, purpose: string) => string | null {
  let pick: ((root: FeedId, purpose: string) => string) | null | undefined
  const known = new Map<string, string | null>()
  const compute = (root: FeedId, purpose: string): string | null => {
    try {
      pick ??= require('ssb-meta-feeds/pick-shard') as (root: FeedId, purpose: string) => string
      return pick(root, purpose)
    } catch {
      return null
    }
  }
  return (root, purpose) => {
    const key = `${root} ${purpose}`
    const found = known.get(key)
    if (found !== undefined) return found
    // A few purposes for each root; strangers add roots.
    if (known.size >= 100_000) known.clear()
    const shard = compute(root, purpose)
    known.set(key, shard)
    return shard
  }
}

export function createPartial(options: PartialOptions): Partial {
  const { sbot, clock, wanted, hmac, onFacts, log } = options
  const problems = new Set<string>()
  const ends: (() => void)[] = []
  const formats = createFormats({ sbot, connections: options.connections, onReady: () => onFacts(), log })
  /** Of the announce that counts, by main feed: a later statement replaces an earlier one. */
  const sequences = new Map<FeedId, number>()
  /** Announces that neighbours told us, while the main feed is replicated and may bring them itself. */
  const unstored = new Map<FeedId, unknown>()
  let templates: Templates | null = null
  let lookup: Lookup | null = null
  let metafeeds: Metafeeds | null = null
  let groups: Groups | null = null
  let isStarted = false
  let isStopped = false
  const unread = new Set(['announces', 'trees'])
  /** Branches that are there to be taken in, as they came; those before `nextBranch` have been. */
  const branches: unknown[] = []
  let nextBranch = 0
  let areTreesGiven = false

  // ---- what has been read ---------------------------------------------------------------------------------------------

  const read = (what: string): void => {
    if (!unread.delete(what) || unread.size > 0 || isStopped) return
    wanted.setLoaded()
    for (const main of wanted.mains()) consider(main)
    onFacts()
  }

  const announced = (main: FeedId, root: FeedId, sequence: number): void => {
    if (isStopped || sequence < (sequences.get(main) ?? 0)) return
    sequences.set(main, sequence)
    if (wanted.rootOf(main) === root) return
    wanted.setRoot(main, root)
    consider(main)
    if (unread.size === 0) onFacts()
  }

  const consider = (main: FeedId): void => {
    if (!lookup || unread.size > 0) return
    if (wanted.needsRoot(main)) lookup.want(main, wanted.orderOf(main))
    else lookup.forget(main)
  }

  /** Into the log, for the next start and for others who ask us. */
  const store = (main: FeedId): void => {
    const message = unstored.get(main)
    if (message === undefined) return
    unstored.delete(main)
    persistAnnounce(sbot, message, (error) => {
      if (error && !isStopped) log(`an announce could not be stored: ${memberOf(error, 'message')}`)
    })
  }

  // ---- life -----------------------------------------------------------------------------------------------------------

  const start = (): void => {
    isStarted = true
    if (!canVerify()) {
      problems.add('ssb-keys and ssb-meta-feeds cannot be loaded: announces of meta feeds cannot be verified')
    }
    if (!methodOf(sbot, 'getSubset')) {
      problems.add('ssb-subset-rpc is not loaded: meta feeds cannot be looked up, only found in feeds that are here')
    }
    if (!memberOf(memberOf(sbot, 'db'), 'query'))
      problems.add('there is no ssb-db2: announces of meta feeds cannot be read')
    metafeeds = startMetafeeds({
      sbot,
      clock,
      onBranch: (raw) => {
        branches.push(raw)
        options.wake()
      },
      onLoaded: () => {
        areTreesGiven = true
        options.wake()
      },
      log,
    })
    ends.push(
      startAnnounces({ sbot, clock, onAnnounce: announced, onLoaded: () => read('announces'), log }),
      metafeeds.stop,
    )
    lookup = startLookup({
      sbot,
      clock,
      hmac,
      onFound: ({ main, root, sequence, message }) => {
        unstored.set(main, message)
        announced(main, root, sequence)
      },
      log,
    })
    ends.push(lookup.stop)
    const limit = clock.setTimeout(() => {
      for (const what of unread) log(`${what} could not be read within ${LOAD_LIMIT_MS / 1000} s`)
      for (const what of [...unread]) read(what)
    }, LOAD_LIMIT_MS)
    ends.push(() => clock.clearTimeout(limit))
  }

  /** All that is in the database comes in one go: it is taken in in slices. */
  const step = (): number => {
    if (nextBranch < branches.length) {
      const branch = toBranch(branches[nextBranch])
      branches[nextBranch++] = undefined
      if (branch) wanted.addBranch(branch)
      return BRANCH_COST
    }
    if (nextBranch > 0) {
      branches.length = 0
      nextBranch = 0
      if (unread.size === 0) onFacts()
    }
    if (areTreesGiven) read('trees')
    return 0
  }

  const followGroups = (): void => {
    if (groups || !templates?.group) return
    groups = startGroups({
      sbot,
      clock,
      onGroup: (id, group) => {
        if (isStopped) return
        wanted.setGroup(id, group)
        onFacts()
      },
      log,
    })
    ends.push(groups.stop)
  }

  const prepare = (next: Templates | null): void => {
    if (!next || isStopped) return
    if (!formats.ensure('bendybutt-v1')) problems.add('ssb-ebt cannot replicate meta feeds: everybody stays in full')
    if (wantsIndexFeeds(next)) formats.ensure('indexed-v1')
  }

  return {
    prepare,
    configure: (next) => {
      if (isStopped) return
      templates = next
      prepare(next)
      if (next) {
        if (!isStarted) start()
        followGroups()
      }
      for (const main of wanted.mains()) consider(main)
    },
    consider,
    poke: () => {
      metafeeds?.poke()
      groups?.poke()
    },
    dropped: store,
    settled: () => {
      if (unread.size === 0 && branches.length === 0) formats.openStreams()
    },
    isLoaded: () => !isStarted || unread.size === 0,
    isBusy: () => branches.length > 0 || (lookup?.status().queriesInFlight ?? 0) > 0,
    step: () => (isStopped ? 0 : step()),
    status: () => {
      const { wanted: sought = 0, notFound = 0, found = 0, forged = 0 } = lookup?.status() ?? {}
      return { lookups: { wanted: sought, notFound, found, forged }, groups: wanted.groupCount() }
    },
    problems: () => [...problems],
    stop: () => {
      isStopped = true
      for (const end of ends.splice(0)) end()
    },
  }
}
