/**
 * Real stacks for tests of partial replication and of private groups: what `bootStack` gives, with ssb-box2, ssb-bendy-butt,
 * ssb-meta-feeds, ssb-subset-rpc, ssb-index-feeds and, where groups are wanted, ssb-tribes2. Below that: what people do with
 * meta feeds and groups, as one function each.
 *
 * Nothing requests feeds unless a test passes a scheduler in `ownPlugins` or `plugins`, or asks for `requestsAll`.
 */
import pull = require('pull-stream')

import { eventually } from './eventually'
import {
  ask,
  bootStack,
  connect,
  type DatabasePackage,
  databasePlugins,
  publish,
  type Stack,
  type StackOptions,
} from './stack'

export interface MetafeedStackOptions extends Omit<StackOptions, 'withDb'> {
  readonly database?: DatabasePackage
  /** Adds ssb-tribes2. */
  readonly withGroups?: boolean
  /**
   * Requests every feed that was followed, announced or named in a tree: for tests whose subject is something other than a
   * scheduler. Stacks with a scheduler leave it out.
   */
  readonly requestsAll?: boolean
}

/** As much of ssb-meta-feeds' FeedDetails as tests look at. `keys` only of one's own. */
export interface Feed {
  readonly id: string
  readonly parent: string | null
  readonly purpose: string
  readonly feedFormat: string
  readonly keys: { readonly id: string } | null
  readonly recps: readonly string[] | null
  readonly tombstoned: boolean | undefined
}

export interface FeedWish {
  readonly purpose: string
  readonly feedFormat?: 'classic' | 'indexed-v1' | 'bendybutt-v1'
  readonly metadata?: Readonly<Record<string, unknown>>
}

/** As ssb-tribes2 describes a group; the keys are of 32 bytes. */
export interface Group {
  readonly id: string
  readonly root: string
  readonly readKeys: readonly { readonly key: Buffer }[]
}

/** A database has to find, index and hand on, and a scheduler frees stuck feeds once in 20 s; a busy machine takes several times as long. */
const SETTLE_MS = 45_000

/** A database collects what comes for a quarter of a second before it writes; making a meta feed takes ten such rounds. */
const QUICK = { writeTimeout: 20, addBatchThrottle: 20 }

export function bootMetafeedStack(options: MetafeedStackOptions): Promise<Stack> {
  const { database, withGroups = false, requestsAll = false, plugins = [], ...rest } = options
  return bootStack({
    ...rest,
    config: { db2: QUICK, ...options.config },
    plugins: [
      ...databasePlugins(database),
      require('ssb-box2'),
      require('ssb-bendy-butt'),
      require('ssb-meta-feeds'),
      require('ssb-subset-rpc'),
      require('ssb-index-feeds'),
      ...(withGroups ? [require('ssb-tribes2')] : []),
      ...(requestsAll ? [requestAll] : []),
      ...plugins,
    ],
  })
}

interface RequestAllApi {
  readonly id: string
  readonly ebt: { request(feed: string, wanted: boolean): void; registerFormat(format: object): void }
  readonly db: { onMsgAdded(cb: (event: { readonly kvt: Message }) => void): void }
  readonly metafeeds: { branchStream(options: object): pull.Source<readonly (Feed | null)[]> }
}

interface Message {
  readonly value: { readonly author: string; readonly content: Readonly<Record<string, unknown>> | string }
}

const requestAll = {
  name: 'testRequestAll',
  init(ssb: RequestAllApi): void {
    ssb.ebt.registerFormat(require('ssb-ebt/formats/bendy-butt'))
    ssb.ebt.registerFormat(require('ssb-ebt/formats/indexed'))
    ssb.ebt.request(ssb.id, true)
    ssb.db.onMsgAdded(({ kvt }) => {
      const { content } = kvt.value
      if (typeof content === 'string') return
      if (content.type === 'contact' && content.following === true) ssb.ebt.request(content.contact as string, true)
      if (content.type === 'metafeed/announce') ssb.ebt.request(content.metafeed as string, true)
    })
    pull(
      ssb.metafeeds.branchStream({ old: true, live: true }),
      pull.drain(
        (branch) => {
          for (const feed of branch) if (feed) ssb.ebt.request(feed.id, true)
        },
        () => {},
      ),
    )
  },
}

/* ---- people ---- */

/** Opens a connection between two stacks. */
export async function connectStacks(from: Stack, to: Stack): Promise<void> {
  await connect(from, to.address)
}

export function unfollow(stack: Stack, id: string): Promise<unknown> {
  return publish(stack, { type: 'contact', contact: id, following: false })
}

export function unblock(stack: Stack, id: string): Promise<unknown> {
  return publish(stack, { type: 'contact', contact: id, blocking: false })
}

/** How many messages of a feed, of any format, are in the database. */
export async function countMessages(stack: Stack, feed: string): Promise<number> {
  const { where, author, count, toPromise } = operators()
  // A page of the index of all feeds costs more than an index for this one.
  const { db } = stack.ssb as unknown as { readonly db: { query(...parts: unknown[]): unknown } }
  return (await db.query(where(author(feed, { dedicated: true })), count(), toPromise())) as number
}

/** Waits until `stack` has so many messages of a feed, or more. */
export function hasMessages(stack: Stack, feed: string, atLeast: number, timeoutMs = SETTLE_MS): Promise<unknown> {
  let seen = 0
  const look = async (): Promise<boolean> => {
    seen = await countMessages(stack, feed)
    return seen >= atLeast
  }
  return eventually(look, {
    timeoutMs,
    everyMs: 50,
    message: () => `${seen} of ${atLeast} messages of ${feed} are there`,
  })
}

interface Operators {
  where(operation: unknown): unknown
  author(feed: string, options?: object): unknown
  count(): unknown
  toPromise(): unknown
}

function operators(): Operators {
  return require('ssb-db2/operators') as Operators
}

/* ---- meta feeds ---- */

/** One's own root meta feed; announced on the main feed the first time. */
export async function findRoot(stack: Stack): Promise<Feed> {
  return (await ask(stack.ssb, 'metafeeds.findOrCreate')) as Feed
}

/** A leaf below one's own root, made the first time. */
export async function findLeaf(stack: Stack, wish: FeedWish): Promise<Feed> {
  return (await ask(stack.ssb, 'metafeeds.findOrCreate', wish)) as Feed
}

/** Appends to a feed of one's own. */
export function publishOn(stack: Stack, feed: Feed, content: object): Promise<unknown> {
  return ask(stack.ssb, 'db.create', { keys: feed.keys, feedFormat: feed.feedFormat, content })
}

/** Ends a leaf of one's own. */
export function tombstone(stack: Stack, wish: FeedWish, reason = 'a test'): Promise<unknown> {
  return ask(stack.ssb, 'metafeeds.findAndTombstone', wish, reason)
}

/** An index feed over one's own main feed, filled with what is there now. */
export async function startIndexFeed(stack: Stack, type: string): Promise<{ readonly subfeed: string }> {
  const query = { author: stack.id, type, private: false }
  const index = (await ask(stack.ssb, 'indexFeeds.start', query)) as { readonly subfeed?: string; readonly id?: string }
  await ask(stack.ssb, 'indexFeeds.doneOld', query)
  return { subfeed: (index.subfeed ?? index.id) as string }
}

/** All branches that a stack knows now, or those below one root. */
export function branchesOf(stack: Stack, root: string | null = null): Promise<readonly (readonly Feed[])[]> {
  const { branchStream } = stack.ssb.metafeeds as RequestAllApi['metafeeds']
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, branches: unknown[]): void =>
      error ? reject(error) : resolve(branches as (readonly Feed[])[])
    pull(branchStream({ root, old: true, live: false, tombstoned: null }), pull.collect(done))
  })
}

/** Waits until a stack knows a leaf for this purpose below a root. */
export async function knowsLeaf(stack: Stack, root: string, purpose: string): Promise<Feed> {
  const look = async (): Promise<Feed | undefined> => {
    const branches = await branchesOf(stack, root)
    return branches.find((branch) => branch.length === 4 && branch[3]?.purpose === purpose)?.[3]
  }
  return eventually(look, { timeoutMs: SETTLE_MS, everyMs: 50, message: `the leaf ${purpose} of ${root} is known` })
}

/* ---- groups ---- */

/** Once per stack and run: makes the additions feed, and listens for what concerns the groups one is in. */
export async function startGroups(stack: Stack): Promise<void> {
  await ask(stack.ssb, 'tribes2.start')
}

export async function createGroup(stack: Stack): Promise<Group> {
  return (await ask(stack.ssb, 'tribes2.create', {})) as Group
}

export async function getGroup(stack: Stack, id: string): Promise<Group> {
  return (await ask(stack.ssb, 'tribes2.get', id)) as Group
}

/** `roots` are root meta feeds, whose additions feeds must be known here: see `canInvite`. */
export function addMembers(stack: Stack, group: string, roots: readonly string[]): Promise<unknown> {
  return ask(stack.ssb, 'tribes2.addMembers', group, roots, {})
}

/** Opens a new epoch of the group without them. */
export function excludeMembers(stack: Stack, group: string, roots: readonly string[]): Promise<unknown> {
  return ask(stack.ssb, 'tribes2.excludeMembers', group, roots, {})
}

export function publishInGroup(stack: Stack, group: string, content: object): Promise<unknown> {
  return ask(stack.ssb, 'tribes2.publish', { ...content, recps: [group] }, null)
}

/** Waits until an invitation by `stack` can be encrypted for the owner of that root. */
export async function canInvite(stack: Stack, root: string): Promise<void> {
  const additions = await findLeaf(stack, { purpose: 'group/additions', feedFormat: 'classic' })
  await eventually(() => ask(stack.ssb, 'box2.canDM', additions.id, root), {
    timeoutMs: SETTLE_MS,
    everyMs: 50,
    message: `${root} can be invited`,
  })
}

/** Waits for the invitation to a group and takes it. */
export async function acceptInvite(stack: Stack, group: string): Promise<void> {
  const { listInvites } = stack.ssb.tribes2 as { listInvites(): pull.Source<{ readonly id: string }> }
  const isInvited = (): Promise<boolean> =>
    new Promise((resolve, reject) => {
      const done = (error: Error | null, invites: readonly { readonly id: string }[]): void =>
        error ? reject(error) : resolve(invites.some((invite) => invite.id === group))
      pull(listInvites(), pull.collect(done))
    })
  await eventually(isInvited, { timeoutMs: SETTLE_MS, everyMs: 50, message: `the invitation to ${group}` })
  await ask(stack.ssb, 'tribes2.acceptInvite', group)
}
