/**
 * The private groups we are in, as ssb-tribes2 knows them: the keys of their feeds, and who was ever added to them.
 *
 * How we hear of what:
 * - a group made or joined, and each new key of a known one: `list({live})` gives the group once more whenever its keyring
 *   entry is written, keys included;
 * - members: `listMembers(id, {allAdded, live})`, one subscription per group, and the messages themselves (group-log.ts);
 * - others excluded: the messages;
 * - ourselves excluded: `list({live, excluded})` gives the group. It is ssb-tribes2 that finds out, if the app has called its
 *   `start`; being added again brings the group back by `list({live})`;
 * - a group left: nothing says so. `poke` compares what we hold with what is listed now, and so does each failure.
 *
 * What one group throws is kept to that group. Nothing is forgotten while a stream is down.
 */
import pull = require('pull-stream')

import { memberOf, methodOf } from '../adapters/members'
import type { Sbot } from '../adapters/sbot'
import type { Clock } from '../shell/clock'
import type { FeedId } from './core/types'
import { type Follower, follow, textOf } from './follow'
import { followGroupLog, type GroupLog, isRootId, MEMBERS_MAX } from './group-log'

export interface GroupView {
  /** Of all epochs that we can read, base64: the purposes of the feeds that members write to. */
  readonly keys: readonly string[]
  /** Root meta feeds of all who were ever added, ourselves included. */
  readonly members: readonly FeedId[]
  /** Those of them who were excluded and not added again. */
  readonly excluded: readonly FeedId[]
}

export interface GroupsOptions {
  readonly sbot: Sbot
  readonly clock: Clock
  /** The group as it is from now on, only if that is new; null when we are no longer in it. */
  readonly onGroup: (id: string, group: GroupView | null) => void
  readonly log: (message: string) => void
}

export interface GroupsStatus {
  /** Whether ssb-tribes2 is there. */
  readonly isFound: boolean
  /** How many groups we are in. */
  readonly groups: number
  /** How many streams wait to be opened again. */
  readonly failing: number
}

export interface Groups {
  /** Looks again: whether ssb-tribes2 is there, and whether we are still in each group. */
  poke(): void
  stop(): void
  status(): GroupsStatus
}

interface Group {
  readonly id: string
  keys: readonly string[]
  readonly members: Set<FeedId>
  /** What was said last; null for nothing yet. */
  last: GroupView | null
  isDue: boolean
  /** Number of the last time it was heard of. */
  heardAt: number
  follower: Follower | null
}

/** Nothing is called before this has returned: plugins are mounted in any order, and ssb-tribes2 may be one of the next. */
export function startGroups({ sbot, clock, onGroup, log }: GroupsOptions): Groups {
  const groups = new Map<string, Group>()
  let streams: readonly Follower[] = []
  let messages: GroupLog | null = null
  let hearings = 0
  let readings = 0
  let isStopped = false

  const tell = (id: string, view: GroupView | null): void => {
    try {
      onGroup(id, view)
    } catch (error) {
      log(`${id} could not be taken in: ${textOf(error)}`)
    }
  }

  /** Once for all that comes at the same time: members are named one by one. */
  const changed = (group: Group): void => {
    if (group.isDue) return
    group.isDue = true
    clock.defer(() => {
      group.isDue = false
      if (groups.get(group.id) !== group) return
      const view = viewOf(group)
      if (group.last && isSame(group.last, view)) return
      group.last = view
      tell(group.id, view)
    })
  }

  const viewOf = ({ id, keys, members }: Group): GroupView => {
    const all = new Set([...members, ...(messages?.membersOf(id) ?? [])])
    const excluded = (messages?.excludedOf(id) ?? []).filter((feed) => all.has(feed))
    return { keys, members: [...all].sort(), excluded: excluded.sort() }
  }

  const joined = (id: string): Group => {
    const group: Group = {
      id,
      keys: [],
      members: new Set(),
      last: null,
      isDue: false,
      heardAt: ++hearings,
      follower: null,
    }
    groups.set(id, group)
    group.follower = follow(
      { clock, log },
      {
        name: `the stream of members of ${id}`,
        open: () => methodOf(sbot, 'tribes2', 'listMembers')?.(id, { allAdded: true, live: true }),
        each: (item) => hearMembers(group, item),
        // We may have been excluded: then it is not listed any more.
        failed: reconcile,
      },
    )
    // It may have failed at once, and the group have turned out to be none of ours.
    if (groups.get(id) !== group) group.follower.stop()
    return group
  }

  const hearMembers = (group: Group, item: unknown): void => {
    const before = group.members.size
    const added = memberOf(item, 'added')
    for (const feed of Array.isArray(added) ? added : [])
      if (isRootId(feed) && group.members.size < MEMBERS_MAX) group.members.add(feed)
    if (group.members.size > before) changed(group)
  }

  const withdraw = (id: string): void => {
    const group = groups.get(id)
    if (!group) return
    groups.delete(id)
    group.follower?.stop()
    if (group.last) tell(id, null)
  }

  /** As either list gives it: a group that we were excluded from says so. Null if it makes no sense. */
  const hear = (item: unknown): string | null => {
    const id = memberOf(item, 'id')
    if (isStopped || typeof id !== 'string') return null
    if (memberOf(item, 'excluded') === true) {
      withdraw(id)
      return null
    }
    const group = groups.get(id) ?? joined(id)
    group.heardAt = ++hearings
    // The array goes on to grow in the keyring.
    group.keys = readKeys(item)
    changed(group)
    return id
  }

  /** Takes what is listed now for all there is, but for what has been heard of meanwhile. */
  const reconcile = (): void => {
    const mine = ++readings
    const startedAt = hearings
    const read = (error: unknown, items: readonly unknown[]): void => {
      if (isStopped || mine !== readings) return
      if (error) {
        log(`the groups could not be listed: ${textOf(error)}`)
        return
      }
      const listed = new Set(items.map(hear))
      for (const group of [...groups.values()])
        if (!listed.has(group.id) && group.heardAt <= startedAt) withdraw(group.id)
    }
    try {
      const list = methodOf(sbot, 'tribes2', 'list')
      if (list) pull(list() as pull.Source<unknown>, pull.collect(read))
    } catch (error) {
      read(error, [])
    }
  }

  const isFound = (): boolean => streams.length > 0

  const look = (): void => {
    if (isStopped || isFound() || !methodOf(sbot, 'tribes2', 'list')) return
    messages = followGroupLog({
      sbot,
      clock,
      log,
      isOurs: (id) => groups.has(id),
      changed: (id) => {
        const group = groups.get(id)
        if (group) changed(group)
      },
    })
    const open = (name: string, options: object): Follower =>
      follow(
        { clock, log },
        { name, open: () => methodOf(sbot, 'tribes2', 'list')?.(options), each: hear, failed: reconcile },
      )
    streams = [
      open('the stream of groups', { live: true }),
      open('the stream of groups that exclude us', { live: true, excluded: true }),
    ]
  }

  clock.defer(look)

  return {
    poke: () => {
      if (isStopped) return
      if (isFound()) reconcile()
      else look()
    },
    stop: () => {
      isStopped = true
      for (const stream of streams) stream.stop()
      for (const { follower } of groups.values()) follower?.stop()
      messages?.stop()
      groups.clear()
    },
    status: () => ({
      isFound: isFound(),
      groups: groups.size,
      failing: [...streams, ...[...groups.values()].map(({ follower }) => follower)].filter((each) => each?.isFailing())
        .length,
    }),
  }
}

/** Of 32 bytes each, as base64; what is no key is left out. */
function readKeys(item: unknown): readonly string[] {
  const found = memberOf(item, 'readKeys')
  const keys = (Array.isArray(found) ? found : []).map((each: unknown) => {
    const key = memberOf(each, 'key')
    return typeof key === 'string' ? key : methodOf(key, 'toString')?.('base64')
  })
  return [...new Set(keys.filter((key): key is string => typeof key === 'string' && /^[\w+/]{43}=$/.test(key)))].sort()
}

function isSame(a: GroupView, b: GroupView): boolean {
  const same = (left: readonly string[], right: readonly string[]): boolean =>
    left.length === right.length && left.every((each, i) => each === right[i])
  return same(a.keys, b.keys) && same(a.members, b.members) && same(a.excluded, b.excluded)
}
