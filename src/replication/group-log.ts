/**
 * Who was added to which private group and who was excluded again, read from the messages themselves.
 *
 * ssb-tribes2 says who was ever added, but not who has been excluded since: its list of present members names exclusions of
 * the present epoch only, is empty for a while whenever an epoch begins, and never says anything if it was opened before the
 * first message of the group had come. And no live query of ssb-db2 gives a message that could not be read when it came: on
 * joining a group, and with every new key, some become readable, and are told of by `db.reindexed` alone.
 *
 * Somebody is excluded when each epoch that they were added in says so. This does not depend on the order in which messages
 * arrive, nor on which epoch is the present one: who is added again after an exclusion has an epoch that does not exclude
 * them, and keeps it while the next one is being filled.
 */
import { memberOf, methodOf } from '../adapters/members'
import type { Sbot } from '../adapters/sbot'
import type { FeedId } from './core/types'
import { type FollowContext, follow } from './follow'

export interface GroupLog {
  /** Those ever added, as far as messages say; empty for a group that nothing is known of. */
  membersOf(group: string): readonly FeedId[]
  /** Those who were excluded, and not added again; some may not be known as members yet. */
  excludedOf(group: string): readonly FeedId[]
  stop(): void
}

export interface GroupLogOptions extends FollowContext {
  readonly sbot: Sbot
  /** Whether we are in this group: it is not forgotten for others. */
  readonly isOurs: (group: string) => boolean
  /** Something about this group has come. */
  readonly changed: (group: string) => void
}

interface Epochs {
  readonly added: Set<string>
  readonly excluded: Set<string>
}

/** Anybody who can write to us can name groups, feeds and epochs at will. Of groups that are not ours the oldest goes first. */
const GROUPS_MAX = 1_000
export const MEMBERS_MAX = 10_000
const EPOCHS_MAX = 1_000

/** Without the database there is nothing to read, and nobody is excluded. */
export function followGroupLog({ sbot, clock, log, isOurs, changed }: GroupLogOptions): GroupLog {
  const groups = new Map<string, Map<FeedId, Epochs>>()

  const epochsOf = (group: string, feed: FeedId): Epochs | null => {
    const feeds = groups.get(group) ?? new Map<FeedId, Epochs>()
    const known = feeds.get(feed)
    if (known) return known
    if (feeds.size >= MEMBERS_MAX) return null
    if (!groups.has(group)) makeRoom()
    groups.set(group, feeds)
    const epochs = { added: new Set<string>(), excluded: new Set<string>() }
    feeds.set(feed, epochs)
    return epochs
  }

  const makeRoom = (): void => {
    for (const oldest of groups.keys()) {
      if (groups.size < GROUPS_MAX) return
      if (!isOurs(oldest)) groups.delete(oldest)
    }
  }

  const heard = (message: unknown): void => {
    const said = readMessage(message)
    if (!said) return
    let isNew = false
    for (const feed of said.feeds) {
      const epochs = epochsOf(said.group, feed)?.[said.kind]
      if (!epochs || epochs.has(said.epoch) || epochs.size >= EPOCHS_MAX) continue
      epochs.add(said.epoch)
      isNew = true
    }
    if (isNew) changed(said.group)
  }

  const followers = [
    follow(
      { clock, log },
      {
        name: 'the stream of messages that add to groups and exclude from them',
        open: () => openQuery(sbot),
        each: heard,
      },
    ),
    follow(
      { clock, log },
      {
        name: 'the stream of messages that can be read by now',
        open: () => methodOf(sbot, 'db', 'reindexed')?.(),
        each: heard,
      },
    ),
  ]

  return {
    membersOf: (group) => [...(groups.get(group) ?? [])].flatMap(([feed, { added }]) => (added.size > 0 ? [feed] : [])),
    excludedOf: (group) =>
      [...(groups.get(group) ?? [])].flatMap(([feed, { added, excluded }]) =>
        [...added].every((epoch) => excluded.has(epoch)) ? [feed] : [],
      ),
    stop: () => {
      for (const follower of followers) follower.stop()
      groups.clear()
    },
  }
}

/** The operators come with the database: no package has to be there, and they are of its version. */
function openQuery(sbot: Sbot): unknown {
  const operator = (name: string, ...args: unknown[]): unknown => methodOf(sbot, 'db', 'operators', name)?.(...args)
  const isOfGroups = operator('or', operator('type', 'group/add-member'), operator('type', 'group/exclude-member'))
  return methodOf(sbot, 'db', 'query')?.(
    operator('where', operator('and', operator('isDecrypted', 'box2'), isOfGroups)),
    operator('live', { old: true }),
    operator('toPullStream'),
  )
}

interface Said {
  readonly kind: keyof Epochs
  readonly group: string
  /** Id of the message that began it. */
  readonly epoch: string
  readonly feeds: readonly FeedId[]
}

/** Null for any other message. Only feeds of the form that ssb-tribes2 adds are taken. */
function readMessage(message: unknown): Said | null {
  if (memberOf(memberOf(message, 'meta'), 'private') !== true) return null
  const content = memberOf(memberOf(message, 'value'), 'content')
  const recps = memberOf(content, 'recps')
  const epoch = memberOf(memberOf(memberOf(content, 'tangles'), 'members'), 'root')
  if (!Array.isArray(recps) || typeof recps[0] !== 'string' || typeof epoch !== 'string') return null
  const told = (kind: keyof Epochs, feeds: readonly unknown[]): Said => ({
    kind,
    group: recps[0] as string,
    epoch,
    feeds: feeds.filter(isRootId),
  })
  switch (memberOf(content, 'type')) {
    case 'group/add-member':
      return told('added', recps.slice(1))
    case 'group/exclude-member': {
      const excludes = memberOf(content, 'excludes')
      return Array.isArray(excludes) ? told('excluded', excludes) : null
    }
    default:
      return null
  }
}

export function isRootId(value: unknown): value is FeedId {
  return typeof value === 'string' && /^ssb:feed\/bendybutt-v1\/[\w-]{43}=$/.test(value)
}
