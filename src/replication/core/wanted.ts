/**
 * What is wished of each feed, and why: from distances in the social graph, meta feed trees, private groups, templates and
 * what was asked by hand. A decision is always computed from these facts alone, never from earlier decisions, so that any
 * order of events leads to the same end. What changed is remembered as a set of feeds to look at again (`dirty`).
 *
 * Nothing is sent from here: requests.ts compares the wishes with what ssb-ebt was told.
 */
import { isInFavour } from './explain'
import { matchesBranch, type Template, type Templates, templateFor } from './templates'
import { createTree } from './tree'
import type { Branch, Decision, FeedDetails, FeedId, Hops, Reason, Wish } from './types'

/** What becomes of members who were excluded from a private group and are followed for nothing else. */
export type ExcludedPolicy = 'replicate' | 'stop'

export interface Group {
  /** Of all epochs, base64: the purposes of the group's feeds. */
  readonly keys: readonly string[]
  /** Root meta feeds of all who were ever added. */
  readonly members: readonly FeedId[]
  /** Those of them who are members no longer. */
  readonly excluded: readonly FeedId[]
}

export interface WantedOptions {
  readonly self: FeedId
  /** The shard of a purpose below a root; null if it cannot be computed: then any shard may be the one. */
  readonly shardOf: (root: FeedId, purpose: string) => string | null
}

export interface Wanted {
  /** Distance of a main feed; null: the graph does not name it (any more). Returns what it was before. */
  readonly setHops: (main: FeedId, hops: Hops | null) => Hops | null
  readonly hopsOf: (main: FeedId) => Hops | null
  readonly mains: () => Iterable<FeedId>
  /** The root meta feed that a main feed announced; null takes it back. */
  readonly setRoot: (main: FeedId, root: FeedId | null) => void
  readonly rootOf: (main: FeedId) => FeedId | null
  /** A branch of a meta feed tree, read or changed. */
  readonly addBranch: (branch: Branch) => void
  /** Null: left, or we were excluded. */
  readonly setGroup: (id: string, group: Group | null) => void
  /** By hand: true wants, false refuses, null leaves it to the graph. */
  readonly setManual: (feed: FeedId, isWanted: boolean | null) => void
  readonly manual: () => ReadonlyMap<FeedId, boolean>
  readonly setTemplates: (templates: Templates | null) => void
  readonly setExcludedPolicy: (policy: ExcludedPolicy) => void
  /** Announces and trees have been read: until then nobody who has a template is decided about. */
  readonly setLoaded: () => void

  /** Feeds to look at again. Taken out by whoever reads it. */
  readonly dirty: Set<FeedId>
  /** Hands over all of them; `dirty` is another, empty set from now on. */
  readonly takeDirty: () => Set<FeedId>
  /** Feeds whose decision waits until announces and trees have been read. */
  readonly isHeld: (feed: FeedId) => boolean
  readonly wishOf: (feed: FeedId) => Wish | null
  readonly orderOf: (feed: FeedId) => number
  readonly decide: (feed: FeedId) => Decision
  /** Main feeds within reach that a template speaks of, and whose meta feed is not known. */
  readonly needsRoot: (main: FeedId) => boolean
  readonly branchOf: (feed: FeedId) => Branch | null
  readonly groupsOf: (root: FeedId) => ReadonlySet<string>
  readonly detailsOf: (feed: FeedId) => FeedDetails | null
  readonly groupCount: () => number
}

const NO_IDS: ReadonlySet<string> = new Set()
const NO_TEMPLATE = { key: null, template: null }
const UNREACHED = Number.POSITIVE_INFINITY

/**
 * ssb-friends calls somebody blocked whose value rounds to -1, so -1.1, blocked by another device of ours, is a block too.
 * Null and what is no number are no distance: `null >= 0` is true in JavaScript.
 */
export function standingOf(hops: unknown): 'friend' | 'block' | 'drop' | null {
  if (typeof hops !== 'number' || Number.isNaN(hops)) return null
  if (hops >= 0) return 'friend'
  return Math.round(hops) === -1 ? 'block' : 'drop'
}

/** A root of which nothing but its announce, or its membership in a group, is known. */
function bareRoot(id: FeedId): FeedDetails {
  return { id, purpose: 'root', feedFormat: 'bendybutt-v1', metadata: null, recps: null, isTombstoned: false }
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each, i) => each === b[i])
}

export function createWanted({ self, shardOf }: WantedOptions): Wanted {
  let dirty = new Set<FeedId>()
  const hops = new Map<FeedId, Hops>()
  const roots = new Map<FeedId, FeedId>()
  const mainsByRoot = new Map<FeedId, Set<FeedId>>()
  const tree = createTree()
  const groups = new Map<string, Group>()
  const groupsByRoot = new Map<FeedId, Set<string>>()
  const manual = new Map<FeedId, boolean>()
  let groupKeys: ReadonlySet<string> = NO_IDS
  let templates: Templates | null = null
  let excludedPolicy: ExcludedPolicy = 'replicate'
  let isLoaded = false

  // ---- what has to be looked at again ---------------------------------------------------------------------------------

  const touchTree = (root: FeedId): void => {
    dirty.add(root)
    for (const feed of tree.under(root)) dirty.add(feed)
  }

  const touchMain = (main: FeedId): void => {
    dirty.add(main)
    const root = roots.size > 0 ? roots.get(main) : undefined
    if (root !== undefined) touchTree(root)
  }

  const touchRoot = (root: FeedId): void => {
    touchTree(root)
    for (const main of mainsByRoot.get(root) ?? []) dirty.add(main)
  }

  const touchTrees = (): void => {
    for (const root of mainsByRoot.keys()) touchRoot(root)
    for (const root of groupsByRoot.keys()) touchTree(root)
  }

  const touchAll = (): void => {
    for (const main of hops.keys()) dirty.add(main)
    for (const feed of manual.keys()) dirty.add(feed)
    touchTrees()
  }

  // ---- facts ----------------------------------------------------------------------------------------------------------

  const setHops = (main: FeedId, value: Hops | null): Hops | null => {
    const before = hops.get(main) ?? null
    const next = standingOf(value) === null ? null : value
    if (next === before) return before
    if (next === null) hops.delete(main)
    else hops.set(main, next)
    touchMain(main)
    return before
  }

  const setRoot = (main: FeedId, root: FeedId | null): void => {
    const before = roots.get(main) ?? null
    if (before === root) return
    if (before !== null) {
      const mains = mainsByRoot.get(before)
      mains?.delete(main)
      touchTree(before)
      if (mains?.size === 0) mainsByRoot.delete(before)
    }
    if (root === null) roots.delete(main)
    else {
      roots.set(main, root)
      const mains = mainsByRoot.get(root)
      if (mains) mains.add(main)
      else mainsByRoot.set(root, new Set([main]))
    }
    touchMain(main)
  }

  const addBranch = (branch: Branch): void => {
    for (const feed of tree.add(branch)) {
      dirty.add(feed)
      // Whether anything of the tree has arrived decides about the main feed.
      const root = tree.rootOf(feed)
      if (root !== null) for (const main of mainsByRoot.get(root) ?? []) dirty.add(main)
    }
  }

  const setGroup = (id: string, group: Group | null): void => {
    const before = groups.get(id) ?? null
    if (before === group) return
    if (before)
      for (const root of before.members) {
        const ids = groupsByRoot.get(root)
        ids?.delete(id)
        touchTree(root)
        if (ids?.size === 0) groupsByRoot.delete(root)
      }
    if (!group) groups.delete(id)
    else {
      groups.set(id, group)
      for (const root of group.members) {
        const ids = groupsByRoot.get(root)
        if (ids) ids.add(id)
        else groupsByRoot.set(root, new Set([id]))
        touchTree(root)
      }
    }
    if (isSameList(before?.keys ?? [], group?.keys ?? [])) return
    groupKeys = new Set([...groups.values()].flatMap(({ keys }) => keys))
    // Any template may name the group's secret.
    touchTrees()
  }

  const setManual = (feed: FeedId, isWanted: boolean | null): void => {
    if (isWanted === null) manual.delete(feed)
    else manual.set(feed, isWanted)
    dirty.add(feed)
  }

  // ---- decisions ------------------------------------------------------------------------------------------------------

  const hopsOf = (main: FeedId): Hops | null => (main === self ? 0 : (hops.get(main) ?? null))

  /** Also of a root of which nothing has arrived. */
  const branchOf = (feed: FeedId): Branch | null => (hasTrees() ? findBranch(feed) : null)

  /** Where nobody has a meta feed, nothing is looked up. */
  const hasTrees = (): boolean => tree.size > 0 || mainsByRoot.size > 0 || groupsByRoot.size > 0

  const findBranch = (feed: FeedId): Branch | null =>
    tree.branchOf(feed) ?? (mainsByRoot.has(feed) || groupsByRoot.has(feed) ? [bareRoot(feed)] : null)

  const isMatch = (template: Template, branch: Branch, main: FeedId | null): boolean =>
    matchesBranch(template, branch, { main, groupKeys, shardOf })

  /** Whose root this is. */
  const mainsOf = (root: FeedId): Iterable<FeedId> => mainsByRoot.get(root) ?? NO_IDS

  /** A root that its owner has ended counts for nothing: the main feed is all there is. */
  const livingRootOf = (main: FeedId): FeedId | null => {
    const root = roots.get(main)
    return root === undefined || tree.details(root)?.isTombstoned ? null : root
  }

  const isWantedByGroup = (branch: Branch, reasons: Reason[] | null): boolean => {
    const template = templates?.group
    const root = branch[0]?.id
    const ids = root === undefined ? undefined : groupsByRoot.get(root)
    if (!template || root === undefined || !ids) return false
    const [main = null] = mainsOf(root)
    let isWanted = false
    for (const id of ids) {
      if (excludedPolicy === 'stop' && groups.get(id)?.excluded.includes(root)) {
        reasons?.push({ kind: 'excluded', group: id })
      } else if (isMatch(template, branch, main)) {
        isWanted = true
        reasons?.push({ kind: 'group', group: id })
      }
    }
    return isWanted
  }

  /** As a part of somebody's tree. */
  const standingInTree = (branch: Branch, reasons: Reason[] | null): 'want' | 'block' | null => {
    const root = branch[0]?.id
    if (root === undefined) return null
    let isWanted = false
    let isBlocked = false
    for (const main of mainsOf(root)) {
      const distance = hopsOf(main)
      const standing = standingOf(distance)
      if (standing === 'block') {
        isBlocked = true
        reasons?.push({ kind: 'blocked', main, hops: distance as Hops })
      } else if (standing === 'friend') {
        const { key, template } = templateFor(templates, distance as Hops)
        if (!template) continue
        if (isMatch(template, branch, main)) {
          isWanted = true
          reasons?.push({ kind: 'hops', main, hops: distance as Hops, template: key })
        } else reasons?.push({ kind: 'notInTemplate', main })
      } else reasons?.push({ kind: 'unreachable', main, hops: distance })
    }
    // Two main feeds may share a root; what the friend among them wants is wanted.
    return isWanted ? 'want' : isBlocked ? 'block' : null
  }

  /** As a main feed, apart from what its tree says. */
  const standingAsMain = (feed: FeedId, reasons: Reason[] | null): Wish | null => {
    const distance = hops.get(feed)
    if (distance === undefined) return null
    const standing = standingOf(distance)
    if (standing === 'block') {
      reasons?.push({ kind: 'blocked', main: feed, hops: distance })
      return 'block'
    }
    if (standing === 'drop') {
      reasons?.push({ kind: 'unreachable', main: feed, hops: distance })
      return 'drop'
    }
    const { key, template } = templates ? templateFor(templates, distance) : NO_TEMPLATE
    const root = template ? livingRootOf(feed) : null
    if (template && root !== null && tree.hasArrived(root)) {
      // Unless its own tree wants it as a leaf, which the caller has asked.
      reasons?.push({ kind: 'notInTemplate', main: feed })
      return null
    }
    reasons?.push({ kind: 'hops', main: feed, hops: distance, template: template ? key : null })
    if (template) reasons?.push(root === null ? { kind: 'metafeedUnknown' } : { kind: 'treeMissing', root })
    return 'want'
  }

  /**
   * In this order: oneself; what a group needs, whatever lies between its members; blocks; what was said by hand; the graph.
   * Null: nothing was asked and nothing is.
   */
  const judge = (feed: FeedId, reasons: Reason[] | null): Wish | null => {
    if (feed === self) {
      reasons?.push({ kind: 'self' })
      return 'want'
    }
    // Without meta feeds, and where nobody asks why, the distance says it all: at a start this is asked of everybody.
    if (reasons === null && templates === null && manual.size === 0 && mainsByRoot.size === 0)
      return standingAsMain(feed, null)
    const branch = branchOf(feed)
    const ended = branch?.find(({ isTombstoned }) => isTombstoned)
    if (ended) reasons?.push({ kind: 'tombstoned', feed: ended.id })
    const isOfGroup = branch !== null && !ended && isWantedByGroup(branch, reasons)
    const inTree = branch && !ended ? standingInTree(branch, reasons) : null
    const asMain = standingAsMain(feed, reasons)
    if (isOfGroup) return 'want'
    if (asMain === 'block' || (inTree === 'block' && asMain === null)) return 'block'
    if (ended && asMain === null && isOfBlocked(branch)) return 'block'
    const asked = manual.get(feed)
    if (asked !== undefined) {
      reasons?.push({ kind: 'manual', isWanted: asked })
      return asked ? 'want' : 'drop'
    }
    return inTree === 'want' ? 'want' : asMain
  }

  /** What its author has ended stays blocked all the same. */
  const isOfBlocked = (branch: Branch | null): boolean => {
    const root = branch?.[0]?.id
    if (root === undefined) return false
    for (const main of mainsOf(root)) if (standingOf(hopsOf(main)) === 'block') return true
    return false
  }

  const orderOf = (feed: FeedId): number => {
    if (feed === self) return -1
    if (manual.get(feed) === true) return 0
    const distance = hops.get(feed)
    let order = distance !== undefined && distance >= 0 ? distance : UNREACHED
    const root = branchOf(feed)?.[0]?.id
    if (root === undefined) return order
    if (groupsByRoot.has(root)) return 0
    for (const main of mainsOf(root)) {
      const ofMain = hopsOf(main)
      if (ofMain !== null && ofMain >= 0 && ofMain < order) order = ofMain
    }
    return order
  }

  return {
    get dirty() {
      return dirty
    },
    takeDirty: () => {
      const taken = dirty
      dirty = new Set()
      return taken
    },
    setHops,
    hopsOf,
    mains: () => hops.keys(),
    setRoot,
    rootOf: (main) => roots.get(main) ?? null,
    addBranch,
    setGroup,
    setManual,
    manual: () => manual,
    setTemplates: (next) => {
      templates = next
      touchAll()
    },
    setExcludedPolicy: (policy) => {
      if (policy === excludedPolicy) return
      excludedPolicy = policy
      touchTrees()
    },
    setLoaded: () => {
      if (isLoaded) return
      isLoaded = true
      touchAll()
    },
    isHeld: (feed) => {
      if (isLoaded || templates === null || feed === self || manual.has(feed)) return false
      const distance = hops.get(feed)
      if (standingOf(distance) === 'friend') return templateFor(templates, distance as Hops).template !== null
      const root = distance === undefined ? branchOf(feed)?.[0]?.id : undefined
      return root !== undefined && (mainsByRoot.has(root) || groupsByRoot.has(root))
    },
    wishOf: (feed) => judge(feed, null),
    orderOf,
    decide: (feed) => {
      const reasons: Reason[] = []
      const wish = judge(feed, reasons)
      const known = wish ?? (reasons.length > 0 ? 'drop' : null)
      // Those that speak for the outcome first.
      const isFor = (reason: Reason): boolean => isInFavour(reason) === (known === 'want')
      reasons.sort((a, b) => Number(isFor(b)) - Number(isFor(a)))
      return { wish: known, reasons, order: wish === 'want' ? orderOf(feed) : UNREACHED }
    },
    needsRoot: (main) => {
      if (main === self || templates === null) return false
      const distance = hops.get(main)
      if (distance === undefined || standingOf(distance) !== 'friend') return false
      return templateFor(templates, distance).template !== null && !roots.has(main)
    },
    branchOf,
    groupsOf: (root) => groupsByRoot.get(root) ?? NO_IDS,
    detailsOf: (feed) => tree.details(feed),
    groupCount: () => groups.size,
  }
}
