/**
 * What the replication scheduler speaks of: feeds of any format, meta feed trees (structure v1), and what is wished of each
 * feed with its reasons. Everything below `replication/core` is pure: no clock, no dice, no I/O, no Node.
 */

/** A feed of any format: `@….ed25519` (classic), or `ssb:feed/<format>/<key>`. */
export type FeedId = string

/**
 * Distance in the social graph as ssb-friends says it: 0 is oneself, 0.1 the same person's other device, 1 a friend, …;
 * -1 blocked by us, -1.1 by our same-as, ≤ -2 no longer followed or blocked by a friend.
 */
export type Hops = number

/** Where a template applies: to feeds at a distance, or to members of private groups. */
export type Category = Hops | 'group'

/** What is to become of a feed. `drop`: not asked for. `block`: not asked for, and its author gets nothing of ours. */
export type Wish = 'want' | 'drop' | 'block'

/** Why. A feed can have several reasons to be wanted; what is dropped or blocked says what stands against it. */
export type Reason =
  /** Our own main feed: always, so that it can be recovered and so that others get it from us. */
  | { readonly kind: 'self' }
  /** Within the configured distance. `main` is whose feed it is; `template` the key of the template that it matched, or null in full. */
  | { readonly kind: 'hops'; readonly main: FeedId; readonly hops: Hops; readonly template: number | null }
  /** A member of this group has it. */
  | { readonly kind: 'group'; readonly group: string }
  /** Asked for, or refused, by hand: `replicationScheduler.request(feed, true | false)`. */
  | { readonly kind: 'manual'; readonly isWanted: boolean }
  /** In full for now: partial replication is configured, and no meta feed of this main feed is known yet. */
  | { readonly kind: 'metafeedUnknown' }
  /** In full for now: the meta feed is known, and nothing of its tree has arrived yet. */
  | { readonly kind: 'treeMissing'; readonly root: FeedId }
  /** Against: we, or another device of ours, block the main feed. */
  | { readonly kind: 'blocked'; readonly main: FeedId; readonly hops: Hops }
  /** Against: no longer within reach. Null hops: the graph does not name it any more. */
  | { readonly kind: 'unreachable'; readonly main: FeedId; readonly hops: Hops | null }
  /** Against: replicated in part, and no template asks for this feed. */
  | { readonly kind: 'notInTemplate'; readonly main: FeedId | null }
  /** Against: its author ended it, or a feed above it in the tree. */
  | { readonly kind: 'tombstoned'; readonly feed: FeedId }
  /** Against: no longer a member of this group, and `excluded: 'stop'` is set. */
  | { readonly kind: 'excluded'; readonly group: string }

export interface Decision {
  /** Null: nothing is known of this feed, and nothing was ever asked. */
  readonly wish: Wish | null
  /** The deciding ones first. */
  readonly reasons: readonly Reason[]
  /** Distance that orders the requests: closest first; groups and manual ones count as 0. Infinity if not wanted. */
  readonly order: number
}

/** A feed in a meta feed tree, as `metafeeds.branchStream` describes it. */
export interface FeedDetails {
  readonly id: FeedId
  readonly purpose: string
  /** `classic`, `bendybutt-v1`, `indexed-v1`, … */
  readonly feedFormat: string
  readonly metadata: Readonly<Record<string, unknown>> | null
  readonly recps: readonly string[] | null
  readonly isTombstoned: boolean
}

/** From the root to a feed, at most four: root, `v1`, a shard, a leaf. */
export type Branch = readonly FeedDetails[]
