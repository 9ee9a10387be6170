/** Private groups: all of them at once, their keys, members and exclusions, and what becomes of failures. */
import test = require('tape')

import type { Sbot } from '../../src/adapters/sbot'
import { type Groups, type GroupView, startGroups } from '../../src/replication/groups'
import { systemClock } from '../../src/shell/clock'
import { virtualClock } from '../../src/testing'
import { eventually } from '../support/eventually'
import {
  acceptInvite,
  addMembers,
  bootMetafeedStack,
  canInvite,
  connectStacks,
  createGroup,
  excludeMembers,
  findRoot,
  startGroups as startTribes,
} from '../support/metafeeds'
import { closeAll, follow, STACK_VERSIONS, type StackVersion } from '../support/stack'
import { Pushable } from '../support/streams'

const rootOf = (name: string): string =>
  `ssb:feed/bendybutt-v1/${Buffer.alloc(32, name).toString('base64').replace(/\+/g, '-').replace(/\//g, '_')}`
const [alice, bob, carol, dave] = ['alice', 'bob', 'carol', 'dave'].map(rootOf) as [string, string, string, string]
const keyOf = (name: string): { key: Buffer; scheme: string } => ({ key: Buffer.alloc(32, name), scheme: 'a scheme' })
const textOfKey = (name: string): string => keyOf(name).key.toString('base64')

interface FakeGroup {
  readonly id: string
  readonly readKeys: { key: Buffer; scheme: string }[]
  excluded?: boolean
}

/** ssb-tribes2 and the database below it. Streams stay open until the test ends them, as the real ones do. */
class FakeTribes {
  readonly groups: FakeGroup[] = []
  readonly lists: Pushable<FakeGroup>[] = []
  readonly exclusions: Pushable<FakeGroup>[] = []
  readonly members = new Map<string, Pushable[]>()
  /** What is listed in one go: now, when the test says so, or with an error. */
  snapshot: 'now' | 'later' | Error = 'now'
  readonly snapshots: Pushable<FakeGroup>[] = []
  listFailure: Error | null = null
  /** Of the stream of members of a group; 'throw' for one that does not even give a stream. */
  readonly memberFailures = new Map<string, Error | 'throw'>()
  readonly messages: Pushable[] = []
  readonly reindexed: Pushable[] = []
  queries: unknown[][] = []

  readonly tribes2 = {
    list: (options: { live?: boolean; excluded?: boolean } = {}) => {
      const wanted = this.groups.filter((group) => (group.excluded === true) === (options.excluded === true))
      const stream = new Pushable<FakeGroup>(wanted.map(copy))
      if (options.live) {
        if (this.listFailure) stream.finish(this.listFailure)
        ;(options.excluded ? this.exclusions : this.lists).push(stream)
        return stream.source
      }
      this.snapshots.push(stream)
      if (this.snapshot === 'now') stream.finish()
      else if (this.snapshot !== 'later') stream.finish(this.snapshot)
      return stream.source
    },
    listMembers: (id: string, options: object) => {
      if (JSON.stringify(options) !== '{"allAdded":true,"live":true}') throw new Error('not what was ever added')
      const failure = this.memberFailures.get(id)
      const stream = new Pushable()
      this.members.set(id, [...(this.members.get(id) ?? []), stream])
      if (failure === 'throw') throw new Error('listMembers throws')
      if (failure) stream.finish(failure)
      return stream.source
    },
  }

  readonly db = {
    operators: Object.fromEntries(
      ['where', 'and', 'or', 'type', 'isDecrypted', 'live', 'toPullStream'].map((name) => [
        name,
        (...args: unknown[]) => [name, ...args],
      ]),
    ),
    query: (...parts: unknown[]) => {
      this.queries.push(parts)
      const stream = new Pushable()
      this.messages.push(stream)
      return stream.source
    },
    reindexed: () => {
      const stream = new Pushable()
      this.reindexed.push(stream)
      return stream.source
    },
  }

  /** The keyring entry of a group is written: both live lists look at it. */
  put(id: string, ...keys: string[]): FakeGroup {
    const group = this.groups.find((each) => each.id === id) ?? { id, readKeys: [] }
    if (!this.groups.includes(group)) this.groups.push(group)
    group.readKeys.push(...keys.map(keyOf))
    if (keys.length > 0) delete group.excluded
    for (const stream of group.excluded ? this.exclusions : this.lists) stream.push(copy(group))
    return group
  }

  exclude(id: string): void {
    const group = this.put(id)
    group.excluded = true
    this.put(id)
  }

  leave(id: string): void {
    this.groups.splice(
      this.groups.findIndex((group) => group.id === id),
      1,
    )
  }

  memberStream(id: string): Pushable {
    return this.members.get(id)!.at(-1)!
  }

  add(id: string, ...roots: string[]): void {
    this.memberStream(id).push({ added: roots, toExclude: [] })
  }
}

/** As `get` of ssb-tribes2 does: the object is new, the array of keys is the one of the keyring. */
const copy = (group: FakeGroup): FakeGroup => ({ ...group })

function watching(tribes: FakeTribes | null, onGroup: (id: string, group: GroupView | null) => void = () => {}) {
  const clock = virtualClock()
  const sbot = { id: '@me', ...(tribes ? { tribes2: tribes.tribes2, db: tribes.db } : {}) } as unknown as Sbot
  const seen: [string, GroupView | null][] = []
  const logged: string[] = []
  const watch: Groups = startGroups({
    sbot,
    clock,
    onGroup: (id, group) => {
      seen.push([id, group])
      onGroup(id, group)
    },
    log: (message) => logged.push(message),
  })
  /** What was said since the last look. */
  const news = (): [string, GroupView | null][] => {
    clock.flush()
    return seen.splice(0)
  }
  return { clock, sbot, seen, logged, watch, news }
}

const view = (keys: string[], members: string[] = [], excluded: string[] = []): GroupView => ({
  keys: keys.map(textOfKey).sort(),
  members: [...members].sort(),
  excluded: [...excluded].sort(),
})

const message = (type: string, group: string, epoch: string, more: object, isPrivate = true): object => ({
  key: '%message.sha256',
  value: { author: '@somebody', content: { type, tangles: { members: { root: epoch } }, recps: [group], ...more } },
  ...(isPrivate ? { meta: { private: true, encryptionFormat: 'box2' } } : {}),
})
const adding = (group: string, epoch: string, ...roots: string[]): object =>
  message('group/add-member', group, epoch, { recps: [group, ...roots] })
const excluding = (group: string, epoch: string, ...roots: string[]): object =>
  message('group/exclude-member', group, epoch, { excludes: roots })

// ---- groups, keys, members ----------------------------------------------------------------------------------------------

test('each group is watched on its own: one whose stream never ends keeps none of the others', (t) => {
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  tribes.put('two', 'k2')
  const { news, watch, seen } = watching(tribes)
  t.deepEqual(seen, [], 'nothing within the call')
  t.deepEqual(news(), [
    ['one', view(['k1'])],
    ['two', view(['k2'])],
  ])
  tribes.add('two', alice, bob)
  tribes.add('one', carol)
  t.deepEqual(news(), [
    ['two', view(['k2'], [alice, bob])],
    ['one', view(['k1'], [carol])],
  ])
  tribes.put('three', 'k3')
  tribes.add('three', dave)
  t.deepEqual(news(), [['three', view(['k3'], [dave])]], 'joined later, said once for all of it')
  tribes.add('one', carol, dave)
  t.deepEqual(news(), [['one', view(['k1'], [carol, dave])]])
  t.deepEqual(watch.status(), { isFound: true, groups: 3, failing: 0 })
  watch.stop()
  t.end()
})

test('a new key of a known group is told at once, and nothing is told twice', (t) => {
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  tribes.put('two', 'k2')
  const { news, watch } = watching(tribes)
  tribes.groups[0]!.readKeys.push(keyOf('k1'))
  t.deepEqual(news().length, 2)
  tribes.add('one', alice)
  news()
  tribes.put('one', 'next')
  t.deepEqual(news(), [['one', view(['k1', 'next'], [alice])]], 'though the array is the one that was given before')
  tribes.put('one')
  tribes.add('one', alice)
  tribes.put('two')
  t.deepEqual(news(), [], 'the keyring writes an entry for many reasons')
  t.equal(tribes.members.get('one')!.length, 1, 'one subscription for the whole time')
  watch.stop()
  t.end()
})

test('what is no key, no root meta feed and no group is left out', (t) => {
  const tribes = new FakeTribes()
  const { news, watch } = watching(tribes)
  news()
  const short = { key: Buffer.alloc(31, 'x'), scheme: '' }
  const odd = [null, 5, {}, { id: 7 }, { id: 'odd', readKeys: [null, short, { key: 5 }, {}, keyOf('k')] }]
  tribes.lists[0]!.push(...(odd as FakeGroup[]))
  t.deepEqual(news(), [['odd', view(['k'])]])
  for (const item of [
    null,
    {},
    { added: 'no list' },
    { added: [null, '@main.ed25519', 'ssb:feed/bendybutt-v1/x', bob] },
  ])
    tribes.memberStream('odd').push(item)
  t.deepEqual(news(), [['odd', view(['k'], [bob])]])
  watch.stop()
  t.end()
})

test('ssb-tribes2 is found whenever it is mounted', (t) => {
  const next = watching(null)
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  Object.assign(next.sbot, { tribes2: tribes.tribes2, db: tribes.db })
  t.deepEqual(next.news(), [['one', view(['k1'])]], 'right after us')
  next.watch.stop()

  const later = watching(null)
  t.deepEqual(later.news(), [])
  later.watch.poke()
  t.deepEqual(later.watch.status(), { isFound: false, groups: 0, failing: 0 })
  Object.assign(later.sbot, { tribes2: tribes.tribes2, db: tribes.db })
  later.watch.poke()
  later.watch.poke()
  t.deepEqual(later.news(), [['one', view(['k1'])]], 'later')
  t.equal(tribes.lists.length, 2, 'one subscription each')
  later.watch.stop()
  t.end()
})

// ---- leaving and being excluded -------------------------------------------------------------------------------------------

test('a group that excludes us is withdrawn, and comes back when we are added again', (t) => {
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  tribes.put('two', 'k2')
  const { news, watch, clock } = watching(tribes)
  news()
  tribes.add('one', alice)
  news()
  const before = tribes.memberStream('one')
  tribes.exclude('one')
  t.deepEqual(news(), [['one', null]])
  t.ok(before.isAborted, 'its members are not asked for any more')
  tribes.exclude('one')
  t.deepEqual(news(), [], 'said once')
  t.equal(clock.pending, 0)
  tribes.put('one', 'k3')
  tribes.add('one', alice, bob)
  t.deepEqual(news(), [['one', view(['k1', 'k3'], [alice, bob])]])
  watch.stop()
  t.end()
})

test('a group that excluded us before we started is none of ours', (t) => {
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  tribes.exclude('one')
  const { news, watch } = watching(tribes)
  t.deepEqual(news(), [])
  t.equal(watch.status().groups, 0)
  watch.stop()
  t.end()
})

test('a group that was left is withdrawn when we are told to look', (t) => {
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  tribes.put('two', 'k2')
  const { news, watch } = watching(tribes)
  news()
  tribes.leave('one')
  watch.poke()
  t.deepEqual(news(), [['one', null]])
  t.ok(tribes.memberStream('one').isAborted)
  t.notOk(tribes.memberStream('two').isAborted)

  tribes.snapshot = 'later'
  watch.poke()
  tribes.put('three', 'k3')
  tribes.leave('two')
  news()
  tribes.snapshots.at(-1)!.finish()
  t.deepEqual(news(), [], 'what was listed before somebody left or joined tells nothing of that')
  tribes.snapshot = new Error('no list today')
  watch.poke()
  t.deepEqual(news(), [], 'and a failed one nothing at all')

  tribes.snapshot = 'later'
  tribes.leave('three')
  watch.poke()
  tribes.put('three', 'k3')
  news()
  tribes.snapshots.at(-1)!.finish()
  t.deepEqual(news(), [['two', null]], 'who came back meanwhile is in')

  tribes.snapshot = 'later'
  watch.poke()
  const slow = tribes.snapshots.at(-1)!
  tribes.leave('three')
  tribes.snapshot = 'now'
  watch.poke()
  t.deepEqual(news(), [['three', null]])
  slow.finish()
  t.deepEqual(news(), [], 'a list that comes after a newer one is not looked at')
  watch.stop()
  t.end()
})

// ---- failures -------------------------------------------------------------------------------------------------------------

test('a group whose members cannot be listed is kept, and asked again at growing pauses; others go on', (t) => {
  for (const failure of [new Error('a case of three tips'), 'throw'] as const) {
    const tribes = new FakeTribes()
    tribes.put('bad', 'k1')
    tribes.put('good', 'k2')
    const { news, watch, clock, logged } = watching(tribes)
    news()
    tribes.add('bad', alice)
    news()
    tribes.memberFailures.set('bad', failure)
    tribes.memberStream('bad').finish(new Error('broken'))
    tribes.add('good', bob)
    t.deepEqual(news(), [['good', view(['k2'], [bob])]], 'the others go on, nothing is forgotten')
    t.equal(watch.status().failing, 1)
    const pauses: number[] = []
    for (let waited = 1; pauses.length < 8; waited++) {
      const before = tribes.members.get('bad')!.length
      clock.advance(1_000)
      if (tribes.members.get('bad')!.length === before) continue
      pauses.push(waited)
      waited = 0
    }
    t.deepEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60], 'seconds')
    t.match(logged.join('\n'), /members of bad failed: broken/)
    tribes.memberFailures.clear()
    clock.advance(60_000)
    tribes.add('bad', alice, carol)
    t.deepEqual(news(), [['bad', view(['k1'], [alice, carol])]])
    t.equal(watch.status().failing, 0)
    watch.stop()
    t.equal(clock.pending, 0)
  }
  t.end()
})

test('a group that fails because it excludes us ends there and then', (t) => {
  const tribes = new FakeTribes()
  tribes.put('bad', 'k1')
  tribes.put('good', 'k2')
  const { news, watch, clock } = watching(tribes)
  news()
  tribes.groups[0]!.excluded = true
  tribes.memberStream('bad').finish(new Error("We're excluded from this group, can't list members"))
  t.deepEqual(news(), [['bad', null]])
  t.equal(clock.pending, 0, 'it is not asked for again')
  tribes.add('good', bob)
  t.deepEqual(news(), [['good', view(['k2'], [bob])]])
  watch.stop()

  const late = new FakeTribes()
  late.put('bad', 'k1')
  late.groups[0]!.excluded = true
  late.memberFailures.set('bad', 'throw')
  const second = watching(late)
  second.news()
  late.lists[0]!.push({ id: 'bad', readKeys: [keyOf('k1')] })
  t.deepEqual(second.news(), [], 'one that fails as it is first heard of was never there')
  t.equal(second.clock.pending, 0)
  second.watch.stop()
  t.end()
})

test('when the list fails nothing is withdrawn, and what was missed is made up for', (t) => {
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  const { news, watch, clock } = watching(tribes)
  news()
  tribes.snapshot = new Error('nor at once')
  tribes.listFailure = new Error('broken')
  tribes.lists[0]!.finish(new Error('broken'))
  t.deepEqual(news(), [])
  tribes.groups[0]!.readKeys.push(keyOf('next'))
  clock.advance(1_000)
  t.deepEqual(news(), [['one', view(['k1', 'next'])]], 'the second one gave something before it failed')
  const before = tribes.lists.length
  clock.advance(1_999)
  t.equal(tribes.lists.length, before)
  clock.advance(1)
  t.equal(tribes.lists.length, before + 1, 'which does not make the pause any shorter')
  t.deepEqual(news(), [])
  watch.stop()
  t.equal(clock.pending, 0)
  t.end()
})

test('what a reader throws is logged, and the next group is told', (t) => {
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  tribes.put('two', 'k2')
  const { news, watch, logged } = watching(tribes, (id) => {
    if (id === 'one') throw new Error('no taste for it')
  })
  t.deepEqual(
    news().map(([id]) => id),
    ['one', 'two'],
  )
  t.match(logged.join(), /no taste for it/)
  watch.stop()
  t.end()
})

test('after stop nothing is told, asked or open', (t) => {
  const early = watching(new FakeTribes())
  early.watch.stop()
  early.watch.poke()
  t.deepEqual(early.news(), [])

  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  tribes.put('two', 'k2')
  const { seen, watch, clock } = watching(tribes, () => watch.stop())
  clock.flush()
  t.deepEqual(seen.length, 1, 'stopped by the reader')
  const all = [...tribes.lists, ...tribes.exclusions, ...tribes.messages, ...tribes.reindexed]
  for (const streams of tribes.members.values()) all.push(...(streams as Pushable<FakeGroup>[]))
  t.equal(all.length, 6)
  t.ok(all.every(({ isAborted }) => isAborted))
  const asked = tribes.snapshots.length
  watch.poke()
  clock.advance(3_600_000)
  t.equal(tribes.snapshots.length, asked)
  t.equal(seen.length, 1)
  t.equal(clock.pending, 0)
  t.deepEqual(watch.status().groups, 0)
  t.end()
})

// ---- excluded members -------------------------------------------------------------------------------------------------------

test('who was excluded is told, whatever the order of the messages', (t) => {
  const log = [
    adding('one', 'epoch 0', alice, bob, carol, dave),
    excluding('one', 'epoch 0', carol, dave),
    adding('one', 'epoch 1', alice, bob),
    adding('one', 'epoch 1', dave),
  ]
  const orders = [log, [...log].reverse(), [log[2]!, log[1]!, log[0]!, log[3]!]]
  for (const order of orders) {
    const tribes = new FakeTribes()
    tribes.put('one', 'k1')
    const { news, watch } = watching(tribes)
    news()
    tribes.messages[0]!.push(...order)
    t.deepEqual(news(), [['one', view(['k1'], [alice, bob, carol, dave], [carol])]], 'dave was added again')
    watch.stop()
  }
  t.end()
})

test('an exclusion shows when it comes, and is over when the member is added to a later epoch', (t) => {
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  const { news, watch } = watching(tribes)
  const [messages] = [news(), tribes.messages[0]!].slice(1) as [Pushable]
  messages.push(adding('one', 'epoch 0', alice, bob, carol))
  news()
  messages.push(excluding('one', 'epoch 0', carol))
  t.deepEqual(news(), [['one', view(['k1'], [alice, bob, carol], [carol])]])
  messages.push(adding('one', 'epoch 0', carol))
  t.deepEqual(news(), [], 'an epoch that excludes somebody is over for them')
  messages.push(adding('one', 'epoch 1', alice))
  t.deepEqual(news(), [], 'bob, who is not in the new epoch yet, was not excluded by anybody')
  messages.push(adding('one', 'epoch 1', bob, carol))
  t.deepEqual(news(), [['one', view(['k1'], [alice, bob, carol])]])
  messages.push(excluding('one', 'epoch 1', carol))
  t.deepEqual(news(), [['one', view(['k1'], [alice, bob, carol], [carol])]], 'and again')
  watch.stop()
  t.end()
})

test('members and exclusions that can be read only later are not missed', (t) => {
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  const { news, watch } = watching(tribes)
  news()
  tribes.reindexed[0]!.push(adding('one', 'epoch 0', bob, carol))
  t.deepEqual(news(), [['one', view(['k1'], [bob, carol])]])
  tribes.reindexed[0]!.push(excluding('one', 'epoch 0', carol))
  t.deepEqual(news(), [['one', view(['k1'], [bob, carol], [carol])]])
  tribes.reindexed[0]!.push(excluding('one', 'epoch 0', dave))
  t.deepEqual(news(), [], 'dave, whose addition has not come yet, is no member by that')
  tribes.reindexed[0]!.push(adding('one', 'epoch 0', dave))
  t.deepEqual(news(), [['one', view(['k1'], [bob, carol, dave], [carol, dave])]])
  watch.stop()
  t.end()
})

test('an exclusion that was read before the group was joined counts', (t) => {
  const tribes = new FakeTribes()
  const { news, watch } = watching(tribes)
  news()
  tribes.messages[0]!.push(adding('one', 'epoch 0', bob, carol), excluding('one', 'epoch 0', carol))
  t.deepEqual(news(), [], 'an invitation is no group')
  tribes.put('one', 'k1')
  t.deepEqual(news(), [['one', view(['k1'], [bob, carol], [carol])]])
  watch.stop()
  t.end()
})

test('the database is asked for what could be decrypted, old and new', (t) => {
  const tribes = new FakeTribes()
  const { news, watch } = watching(tribes)
  news()
  t.deepEqual(tribes.queries, [
    [
      [
        'where',
        ['and', ['isDecrypted', 'box2'], ['or', ['type', 'group/add-member'], ['type', 'group/exclude-member']]],
      ],
      ['live', { old: true }],
      ['toPullStream'],
    ],
  ])
  watch.stop()
  t.end()
})

test('what was never encrypted, or makes no sense, excludes nobody', (t) => {
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  const { news, watch } = watching(tribes)
  news()
  const good = { meta: { private: true } }
  const odd: unknown[] = [
    message('group/exclude-member', 'one', 'epoch 0', { excludes: [bob] }, false),
    message('group/add-member', 'one', 'epoch 0', { recps: ['one', null, 5, '@main.ed25519', 'one'] }),
    message('post', 'one', 'epoch 0', { excludes: [bob] }),
    message('group/exclude-member', 'one', 'epoch 0', { excludes: bob }),
    message('group/exclude-member', 'one', 'epoch 0', { excludes: [null, '@main.ed25519', 5] }),
    message('group/exclude-member', 'one', 'epoch 0', { recps: [], excludes: [bob] }),
    message('group/exclude-member', 'one', 'epoch 0', { tangles: {}, excludes: [bob] }),
    { ...good, value: { content: 'cipher.box2' } },
    { ...good },
    null,
  ]
  tribes.messages[0]!.push(adding('one', 'epoch 0', bob), ...odd)
  t.deepEqual(news(), [['one', view(['k1'], [bob])]])
  watch.stop()
  t.end()
})

test('groups and feeds that a stranger makes up do not push out ours, nor grow without end', (t) => {
  const tribes = new FakeTribes()
  tribes.put('one', 'k1')
  const { news, watch } = watching(tribes)
  news()
  const [messages] = tribes.messages
  messages!.push(adding('early', 'epoch 0', bob))
  messages!.push(adding('one', 'epoch 0', bob, carol), excluding('one', 'epoch 0', carol))
  for (let i = 0; i < 2_000; i++) messages!.push(adding(`made up ${i}`, 'epoch 0', bob))
  news()
  messages!.push(adding('one', 'epoch 0', dave))
  t.deepEqual(news(), [['one', view(['k1'], [bob, carol, dave], [carol])]], 'ours is remembered')
  tribes.put('early', 'k2')
  t.deepEqual(news(), [['early', view(['k2'])]], 'the oldest that is not is forgotten')
  const many = Array.from({ length: 10_500 }, (_, i) => rootOf(`feed ${i}`))
  messages!.push(adding('one', 'epoch 0', ...many))
  const [[, group]] = news() as [[string, GroupView]]
  t.equal(group.members.length, 10_000)
  tribes.add('early', ...many)
  const [[, early]] = news() as [[string, GroupView]]
  t.equal(early.members.length, 10_000)
  watch.stop()
  t.end()
})

// ---- the real thing -----------------------------------------------------------------------------------------------------------

async function playGroups(version: StackVersion) {
  const names = ['alice', 'bob', 'carol']
  const stacks = await Promise.all(
    names.map((name) => bootMetafeedStack({ version, name, withGroups: true, requestsAll: true })),
  )
  const [first, second, third] = stacks as [(typeof stacks)[0], (typeof stacks)[0], (typeof stacks)[0]]
  const views = names.map(() => new Map<string, GroupView | null>())
  const watches = stacks.map((stack, i) =>
    startGroups({
      sbot: stack.ssb as unknown as Sbot,
      clock: systemClock,
      onGroup: (id, group) => views[i]!.set(id, group),
      log: () => {},
    }),
  )
  await Promise.all(stacks.map(startTribes))
  const roots = await Promise.all(stacks.map(async (stack) => (await findRoot(stack)).id))
  const nameOf = (root: string): string => names[roots.indexOf(root)] ?? root
  /** What one of the three was told last of a group, in names. */
  const told = (who: number, id: string) => {
    const group = views[who]!.get(id)
    if (!group) return group
    const sorted = (ids: readonly string[]): string => ids.map(nameOf).sort().join(' ')
    return { keys: group.keys.length, members: sorted(group.members), excluded: sorted(group.excluded) }
  }
  const becomes = (who: number, id: string, expected: object | null): Promise<unknown> =>
    eventually(() => JSON.stringify(told(who, id)) === JSON.stringify(expected), {
      timeoutMs: 15_000,
      message: () => `${names[who]} has ${JSON.stringify(expected)}: ${JSON.stringify(told(who, id))}`,
    })

  for (const stack of stacks) for (const { id } of stacks) if (id !== stack.id) await follow(stack, id)
  await Promise.all([connectStacks(first, second), connectStacks(first, third), connectStacks(second, third)])
  await Promise.all([canInvite(first, roots[1]!), canInvite(first, roots[2]!), canInvite(second, roots[0]!)])
  const one = await createGroup(first)
  const two = await createGroup(second)
  await addMembers(first, one.id, [roots[1]!, roots[2]!])
  await addMembers(second, two.id, [roots[0]!])
  await Promise.all([acceptInvite(second, one.id), acceptInvite(third, one.id), acceptInvite(first, two.id)])
  const all = { keys: 1, members: 'alice bob carol', excluded: '' }
  const couple = { keys: 1, members: 'alice bob', excluded: '' }
  const oneSeen = Promise.all([0, 1, 2].map((who) => becomes(who, one.id, all)))
  const twoSeen = Promise.all([0, 1].map((who) => becomes(who, two.id, couple)))
  await Promise.all([oneSeen, twoSeen])
  await excludeMembers(first, one.id, [roots[2]!])
  const next = { keys: 2, members: 'alice bob carol', excluded: 'carol' }
  await Promise.all([becomes(0, one.id, next), becomes(1, one.id, next), becomes(2, one.id, null)])
  const after = [0, 1, 2].map((who) => [told(who, one.id), told(who, two.id)])
  for (const watch of watches) watch.stop()
  await closeAll(...stacks)
  return { all, couple, next, after }
}

// Both at once: nearly all of the time goes by as databases wait to write.
test('real groups: all members of both, and a new epoch brings its key to those who stay', async (t) => {
  const played = await Promise.all(STACK_VERSIONS.map(playGroups))
  for (const [i, { after, next, couple }] of played.entries())
    t.deepEqual(
      after,
      [
        [next, couple],
        [next, couple],
        [null, undefined],
      ],
      `secret-stack ${STACK_VERSIONS[i]}: alice, bob and carol`,
    )
})
