/**
 * The meta feed trees that are known, by feed id: what hangs below which root, and what each feed says of itself.
 *
 * The source, `metafeeds.branchStream`, tells of one feed at a time with all that is above it, in any order. A feed may be
 * told of before its parent; the branch then starts with a root that is made up, and when the parent turns up only that one
 * is told of again. So branches are woven together here, and what changes on a feed reaches all below it.
 *
 * Meta feeds are written by strangers, who can claim the feeds of others, or each other: a feed keeps its first parent, and
 * a claim that would close a circle is refused. Nothing here recurses, however deep a tree is made.
 */
import { copyFields, isRecord, isSameJson } from './json'
import type { Branch, FeedDetails, FeedId } from './types'

export interface Tree {
  /**
   * Takes a branch as `metafeeds.branchStream` gives it, read by `toBranch`. Returns exactly the feeds of which `branchOf`
   * says something else than before: what is new, described anew, tombstoned or hung below something, and all below that.
   */
  add(branch: Branch): ReadonlySet<FeedId>
  /** From its root to the feed. Null if the feed is unknown, or if the way to it is not of structure v1. */
  branchOf(feed: FeedId): Branch | null
  /** The topmost feed known above it, or itself; of structure v1 or not. Null if the feed is unknown. */
  rootOf(feed: FeedId): FeedId | null
  /** The feed itself, known or not, and everything below it; parents before their children. */
  under(root: FeedId): Iterable<FeedId>
  /** Whether anything below the root is known. */
  hasArrived(root: FeedId): boolean
  details(feed: FeedId): FeedDetails | null
  /** How many feeds are known, roots included. */
  readonly size: number
}

interface Node {
  details: FeedDetails
  /** Null: a root, or a feed whose parent is not known yet. Never changes once it is set. */
  parent: Node | null
  readonly children: Node[]
}

/** What a branch changes about one feed. */
interface Change {
  readonly node: Node
  readonly details: FeedDetails
  readonly parent: Node | null
  readonly isNew: boolean
}

/** Root, `v1`, a shard, a leaf. */
const LENGTH_MAX = 4
const NOTHING: ReadonlySet<FeedId> = new Set()

/** Bounds of what strangers say of a feed. Ids of the known formats take less than 100 characters. */
const ID_MAX = 200
const PURPOSE_MAX = 1000
const FORMAT_MAX = 100
const RECPS_MAX = 64
/** A message holds 8 kB, but updates of a feed's metadata add up. */
const METADATA_UNITS = 16_384

export function createTree(): Tree {
  const nodes = new Map<FeedId, Node>()

  /** Changes nothing itself, so that what holds before and after can be compared. Stops where a claim is refused. */
  function changesBy(branch: Branch): readonly Change[] {
    const changes: Change[] = []
    const path: Node[] = []
    for (const [i, given] of branch.entries()) {
      const known = nodes.get(given.id)
      const parent = path[i - 1] ?? known?.parent ?? null
      if (path.some((above) => above.details.id === given.id)) break
      if (known && i > 0 && !mayHang(known, parent, path[0])) break
      const details = known ? described(known.details, given, i === 0) : i === 0 ? unplaced(given) : given
      const node = known ?? { details, parent, children: [] }
      path.push(node)
      if (!known || details !== known.details || parent !== known.parent)
        changes.push({ node, details, parent, isNew: !known })
    }
    return changes
  }

  return {
    add(branch) {
      if (branch.length > LENGTH_MAX) return NOTHING
      const changes = changesBy(branch)
      if (changes.length === 0) return NOTHING
      const changed = new Set<FeedId>()
      for (const { node, isNew } of changes) if (!isNew) addWellPlaced(node, changed)
      for (const { node, details, parent, isNew } of changes) {
        if (isNew) nodes.set(details.id, node)
        if (parent && (isNew || !node.parent)) parent.children.push(node)
        node.details = details
        node.parent = parent
      }
      for (const { node } of changes) addWellPlaced(node, changed)
      return changed
    },

    branchOf(feed) {
      const node = nodes.get(feed)
      const path = node ? wellPlacedPath(node) : null
      return path?.map((each) => each.details) ?? null
    },

    rootOf(feed) {
      let node = nodes.get(feed)
      while (node?.parent) node = node.parent
      return node ? node.details.id : null
    },

    under(root) {
      const found = [root]
      const open = [nodes.get(root)]
      for (const node of open)
        for (const child of node?.children ?? []) {
          found.push(child.details.id)
          open.push(child)
        }
      return found
    },

    hasArrived(root) {
      return (nodes.get(root)?.children.length ?? 0) > 0
    },

    details(feed) {
      return nodes.get(feed)?.details ?? null
    },

    get size() {
      return nodes.size
    },
  }
}

/** `top`: where the branch begins that puts `node` below `parent`; all between them is not `node`. */
function mayHang(node: Node, parent: Node | null, top: Node | undefined): boolean {
  if (node.parent) return node.parent === parent
  for (let above = top?.parent ?? null; above; above = above.parent) if (above === node) return false
  return true
}

/**
 * The first feed of a branch as long as nothing else is known of it. The source makes roots up, so nothing is kept of what
 * it says of one; a branch that was cut off above begins with a real description.
 */
function unplaced(given: FeedDetails): FeedDetails {
  if (given.purpose !== 'root') return given
  return { ...given, metadata: null, recps: null }
}

/** The same object if nothing changes. Tombstones are never undone: whoever has one ended the feed for good. */
function described(known: FeedDetails, given: FeedDetails, isFirst: boolean): FeedDetails {
  const isMadeUp = isFirst && given.purpose === 'root'
  const isTombstoned = known.isTombstoned || given.isTombstoned
  const next = { ...(isMadeUp ? known : given), isTombstoned }
  return isSameDetails(known, next) ? known : next
}

function isSameDetails(a: FeedDetails, b: FeedDetails): boolean {
  return (
    a.purpose === b.purpose &&
    a.feedFormat === b.feedFormat &&
    a.isTombstoned === b.isTombstoned &&
    (a.recps === b.recps || isSameJson(a.recps, b.recps)) &&
    (a.metadata === b.metadata || isSameJson(a.metadata, b.metadata))
  )
}

/** Whether a feed may stand there in structure v1. Level 0 has no parent. */
function fits({ details: { purpose } }: Node, level: number): boolean {
  if (level === 0) return purpose === 'root'
  if (level === 1) return purpose === 'v1'
  if (level === 2) return purpose.length === 1
  return level < LENGTH_MAX
}

/** From the root to the node; null if the structure is another one. */
function wellPlacedPath(node: Node): readonly Node[] | null {
  const path = [node]
  for (let above = node.parent; above; above = above.parent) {
    if (path.length === LENGTH_MAX) return null
    path.unshift(above)
  }
  return path.every(fits) ? path : null
}

/** Adds the node and all below it, as far as structure v1 goes. */
function addWellPlaced(node: Node, found: Set<FeedId>): void {
  const path = wellPlacedPath(node)
  if (!path) return
  let row: readonly Node[] = [node]
  for (let level = path.length; row.length > 0; level++) {
    for (const each of row) found.add(each.details.id)
    row = row.flatMap((each) => each.children.filter((child) => fits(child, level)))
  }
}

/**
 * Reads an array of ssb-meta-feeds' `FeedDetails`; null if it is malformed, longer than structure v1 allows, or says of a
 * feed that it hangs below another than its own parent. Copies all, because the source changes its objects later on, and
 * never the keys and seeds that they hold.
 *
 * Metadata that no template can name (bytes, beyond 16 levels, beyond 16 KiB in sum) is left out: the feed itself, and
 * the news of its end, must not be lost for it.
 */
export function toBranch(value: unknown): Branch | null {
  if (!Array.isArray(value) || value.length === 0 || value.length > LENGTH_MAX) return null
  const branch: FeedDetails[] = []
  for (const given of value as readonly unknown[]) {
    const details = toDetails(given)
    if (!details) return null
    const above = branch[branch.length - 1]
    if (above && (given as { readonly parent?: unknown }).parent !== above.id) return null
    branch.push(details)
  }
  return branch
}

function toDetails(value: unknown): FeedDetails | null {
  if (!isRecord(value)) return null
  const { id, feedFormat, tombstoned } = value
  // A tombstone may be the first that is heard of a feed, and says nothing of its purpose.
  const purpose = value.purpose ?? ''
  if (!isText(id, ID_MAX) || !/^(@|ssb:feed\/)/.test(id)) return null
  if (!isText(purpose, PURPOSE_MAX) || !isText(feedFormat, FORMAT_MAX)) return null
  const metadata = toMetadata(value.metadata)
  return { id, purpose, feedFormat, metadata, recps: toRecps(value.recps), isTombstoned: tombstoned === true }
}

function isText(value: unknown, max: number): value is string {
  return typeof value === 'string' && value.length <= max
}

/** Of our own feeds of a group it holds the key of the group too, which is not kept. */
function toRecps(value: unknown): readonly string[] | null {
  if (!Array.isArray(value)) return null
  return (value as readonly unknown[]).slice(0, RECPS_MAX).filter((each): each is string => isText(each, ID_MAX))
}

function toMetadata(value: unknown): FeedDetails['metadata'] {
  if (!isRecord(value)) return null
  return copyFields(value, { units: METADATA_UNITS })
}
