/**
 * What is wished of each feed: a table of cases, and two properties. Whatever the order in which facts arrive, the decisions are
 * those of the final facts; and a feed whose decision has changed is always among those to look at again.
 */
import fc = require('fast-check')
import test = require('tape')

import { explainDecision } from '../../src/replication/core/explain'
import { parsePartialReplication } from '../../src/replication/core/templates'
import type { Branch, FeedDetails, Wish } from '../../src/replication/core/types'
import { createWanted, type Group, standingOf, type Wanted } from '../../src/replication/core/wanted'

const ME = 'me'

/** The shard of a purpose is its first letter. */
const shardOf = (_: string, purpose: string): string => purpose[0] ?? ''

function create(): Wanted {
  return createWanted({ self: ME, shardOf })
}

function templates(partialReplication: object) {
  return parsePartialReplication(partialReplication).templates
}

function details(id: string, purpose: string, more: Partial<FeedDetails> = {}): FeedDetails {
  return { id, purpose, feedFormat: 'bendybutt-v1', metadata: null, recps: null, isTombstoned: false, ...more }
}

/** `root(dan)` / `v1` / a shard / a leaf of this purpose. */
function branch(root: string, purpose?: string, more: Partial<FeedDetails> = {}, id?: string): Branch {
  const top = [details(root, 'root'), details(`${root}/v1`, 'v1')]
  if (purpose === undefined) return top
  const shard = shardOf(root, purpose)
  return [
    ...top,
    details(`${root}/v1/${shard}`, shard),
    details(id ?? `${root}/${purpose}`, purpose, { feedFormat: 'classic', ...more }),
  ]
}

const FULL = 'in full'
const PARTIAL = { 0: [{ purpose: 'main' }], 1: [{ purpose: 'chess' }], 2: null, 3: [{ purpose: 'about' }] }

interface Row {
  readonly name: string
  readonly partial?: object | typeof FULL
  readonly tell: (wanted: Wanted) => void
  readonly wishes: Readonly<Record<string, Wish | null>>
  readonly because?: Readonly<Record<string, RegExp>>
}

const group = (members: string[], keys: string[] = ['key'], excluded: string[] = []): Group => ({
  keys,
  members,
  excluded,
})

const ROWS: readonly Row[] = [
  {
    name: 'our own feed, whatever is known',
    tell: () => {},
    wishes: { [ME]: 'want', bob: null },
    because: { [ME]: /our own feed/, bob: /nobody within reach/ },
  },
  {
    name: 'by distance, without templates',
    partial: FULL,
    tell: (wanted) => {
      for (const [feed, hops] of Object.entries({ a: 0.1, b: 1, c: 3, d: -1, e: -1.1, f: -2, g: -2.1 }))
        wanted.setHops(feed, hops)
    },
    wishes: { a: 'want', b: 'want', c: 'want', d: 'block', e: 'block', f: 'drop', g: 'drop' },
    because: { a: /another device of ours/, b: /a friend/, c: /3 hops/, d: /we block/, e: /device of ours blocks/ },
  },
  {
    name: 'a friend whose meta feed is not known stays in full',
    partial: PARTIAL,
    tell: (wanted) => wanted.setHops('bob', 1),
    wishes: { bob: 'want' },
    because: { bob: /in full for now/ },
  },
  {
    name: 'a friend whose meta feed is known and whose tree is not: both',
    partial: PARTIAL,
    tell: (wanted) => {
      wanted.setHops('bob', 1)
      wanted.setRoot('bob', 'R')
    },
    wishes: { bob: 'want', R: 'want' },
    because: { bob: /nothing of its tree has arrived/, R: /template for 1/ },
  },
  {
    name: 'a friend whose tree has arrived: what the template names, and the way to it',
    partial: PARTIAL,
    tell: (wanted) => {
      wanted.setHops('bob', 1)
      wanted.setRoot('bob', 'R')
      wanted.addBranch(branch('R', 'chess'))
      wanted.addBranch(branch('R', 'about'))
      wanted.addBranch(branch('R', 'main', {}, 'bob'))
    },
    wishes: {
      bob: null,
      R: 'want',
      'R/v1': 'want',
      'R/v1/c': 'want',
      'R/chess': 'want',
      'R/v1/a': null,
      'R/about': null,
    },
    because: { bob: /no template asks for this/ },
  },
  {
    name: 'the main feed as a leaf that the template names',
    partial: { 1: [{ purpose: 'main' }] },
    tell: (wanted) => {
      wanted.setHops('bob', 1)
      wanted.setRoot('bob', 'R')
      wanted.addBranch(branch('R', 'main', {}, 'bob'))
    },
    wishes: { bob: 'want', R: 'want' },
  },
  {
    name: 'B9: a level whose template is null is in full, meta feed or not',
    partial: PARTIAL,
    tell: (wanted) => {
      wanted.setHops('bob', 2)
      wanted.setRoot('bob', 'R')
      wanted.addBranch(branch('R', 'chess'))
    },
    wishes: { bob: 'want', R: null, 'R/chess': null },
  },
  {
    name: 'B9: our own main feed is never dropped, whatever its template',
    partial: { 0: null, 1: [{}] },
    tell: (wanted) => {
      wanted.setHops(ME, 0)
      wanted.setRoot(ME, 'R')
      wanted.addBranch(branch('R', 'chess'))
    },
    wishes: { [ME]: 'want' },
  },
  {
    name: 'our own tree by the template for 0',
    partial: PARTIAL,
    tell: (wanted) => {
      wanted.setRoot(ME, 'R')
      wanted.addBranch(branch('R', 'main', {}, ME))
      wanted.addBranch(branch('R', 'chess'))
    },
    wishes: { [ME]: 'want', R: 'want', 'R/v1/m': 'want', 'R/chess': null },
  },
  {
    name: 'B10: who is blocked is blocked with the main feed, the root, and all that is known below it',
    partial: PARTIAL,
    tell: (wanted) => {
      wanted.setHops('bob', -1)
      wanted.setRoot('bob', 'R')
      wanted.addBranch(branch('R', 'chess'))
      wanted.addBranch(branch('R', 'about', { isTombstoned: true }))
    },
    wishes: { bob: 'block', R: 'block', 'R/v1': 'block', 'R/chess': 'block', 'R/about': 'block' },
  },
  {
    name: 'an unfollowed one: nothing of the tree',
    partial: PARTIAL,
    tell: (wanted) => {
      wanted.setHops('bob', -2)
      wanted.setRoot('bob', 'R')
      wanted.addBranch(branch('R', 'chess'))
    },
    wishes: { bob: 'drop', R: null, 'R/chess': null },
  },
  {
    name: 'B11: what is below a tombstoned shard is not replicated, also if it comes after the tombstone',
    partial: { 1: [{}] },
    tell: (wanted) => {
      wanted.setHops('bob', 1)
      wanted.setRoot('bob', 'R')
      const [root, v1, shard, leaf] = branch('R', 'chess') as [FeedDetails, FeedDetails, FeedDetails, FeedDetails]
      wanted.addBranch([root, v1, { ...shard, isTombstoned: true }])
      wanted.addBranch([root, v1, { ...shard, isTombstoned: true }, leaf])
    },
    wishes: { bob: null, 'R/v1': 'want', 'R/v1/c': null, 'R/chess': null },
    because: { 'R/chess': /has ended it/ },
  },
  {
    name: 'B23: an ended root counts for nothing: the main feed is replicated in full again',
    partial: { 1: [{ purpose: 'chess' }] },
    tell: (wanted) => {
      wanted.setHops('bob', 1)
      wanted.setRoot('bob', 'R')
      wanted.addBranch(branch('R', 'chess'))
      wanted.addBranch([details('R', 'root', { isTombstoned: true })])
    },
    wishes: { bob: 'want', R: null, 'R/chess': null },
  },
  {
    name: 'B23: a later announce replaces the earlier one',
    partial: { 1: [{ purpose: 'chess' }] },
    tell: (wanted) => {
      wanted.setHops('bob', 1)
      wanted.setRoot('bob', 'R')
      wanted.addBranch(branch('R', 'chess'))
      wanted.setRoot('bob', 'S')
    },
    wishes: { bob: 'want', R: null, 'R/chess': null, S: 'want' },
  },
  {
    name: 'members of a group, whatever their distance, and only what the template names',
    partial: { group: [{ purpose: '$groupSecret' }] },
    tell: (wanted) => {
      wanted.setGroup('g', group(['R']))
      wanted.addBranch(branch('R', 'key'))
      wanted.addBranch(branch('R', 'chess'))
    },
    wishes: { R: 'want', 'R/v1': 'want', 'R/key': 'want', 'R/chess': null },
    because: { 'R/key': /private group g/ },
  },
  {
    name: 'group members who block each other still get the feeds of the group, and nothing else',
    partial: { 1: [{ purpose: 'chess' }], group: [{ purpose: '$groupSecret' }] },
    tell: (wanted) => {
      wanted.setHops('bob', -1)
      wanted.setRoot('bob', 'R')
      wanted.setGroup('g', group(['R']))
      wanted.addBranch(branch('R', 'key'))
      wanted.addBranch(branch('R', 'chess'))
    },
    wishes: { bob: 'block', R: 'want', 'R/key': 'want', 'R/chess': 'block' },
  },
  {
    name: 'without a template for groups nothing happens for them',
    partial: { 1: [{ purpose: 'chess' }] },
    tell: (wanted) => {
      wanted.setGroup('g', group(['R']))
      wanted.addBranch(branch('R', 'key'))
    },
    wishes: { R: null, 'R/key': null },
  },
  {
    name: 'B4: the key of a new epoch',
    partial: { group: [{ purpose: '$groupSecret' }] },
    tell: (wanted) => {
      wanted.setGroup('g', group(['R'], ['old']))
      wanted.addBranch(branch('R', 'old'))
      wanted.addBranch(branch('R', 'new'))
      wanted.setGroup('g', group(['R'], ['old', 'new']))
    },
    wishes: { 'R/old': 'want', 'R/new': 'want' },
  },
  {
    name: 'B23: a group that we have left',
    partial: { group: [{ purpose: '$groupSecret' }] },
    tell: (wanted) => {
      wanted.setGroup('g', group(['R']))
      wanted.addBranch(branch('R', 'key'))
      wanted.setGroup('g', null)
    },
    wishes: { R: null, 'R/key': null },
  },
  {
    name: 'B21: excluded members are replicated on by default',
    partial: { group: [{}] },
    tell: (wanted) => wanted.setGroup('g', group(['R', 'S'], ['key'], ['S'])),
    wishes: { R: 'want', S: 'want' },
  },
  {
    name: "B21: and not with excluded: 'stop'",
    partial: { group: [{}] },
    tell: (wanted) => {
      wanted.setExcludedPolicy('stop')
      wanted.setGroup('g', group(['R', 'S', 'T'], ['key'], ['S', 'T']))
      wanted.setGroup('h', group(['T']))
    },
    wishes: { R: 'want', S: null, T: 'want' },
    because: { S: /excluded from the private group g/ },
  },
  {
    name: 'by hand: wanted from nowhere, refused though a friend, and no way round a block',
    tell: (wanted) => {
      wanted.setHops('bob', 1)
      wanted.setHops('dan', -1)
      wanted.setManual('eve', true)
      wanted.setManual('bob', false)
      wanted.setManual('dan', true)
      wanted.setManual(ME, false)
    },
    wishes: { eve: 'want', bob: 'drop', dan: 'block', [ME]: 'want' },
    because: { eve: /requested by hand/, bob: /refused by hand/ },
  },
]

for (const row of ROWS)
  test(`wanted: ${row.name}`, (t) => {
    const wanted = create()
    if (row.partial !== undefined && row.partial !== FULL) wanted.setTemplates(templates(row.partial))
    wanted.setLoaded()
    row.tell(wanted)
    for (const [feed, wish] of Object.entries(row.wishes)) t.equal(wanted.wishOf(feed), wish, `${feed}: ${wish}`)
    for (const [feed, because] of Object.entries(row.because ?? {})) {
      const progress = { isRequested: true, isWaiting: false, isStopped: false }
      t.match(explainDecision(feed, wanted.decide(feed), progress), because)
    }
    t.end()
  })

test('B16: what is no number is no distance', (t) => {
  for (const each of [null, undefined, Number.NaN, '1', {}, true]) t.equal(standingOf(each), null, String(each))
  t.deepEqual([0, 0.1, 3, -1, -1.1, -1.4, -2, -2.1].map(standingOf), [
    ...['friend', 'friend', 'friend'],
    ...['block', 'block', 'block', 'drop', 'drop'],
  ])
  t.end()
})

test('until trees have been read, nobody who has a template is decided about; blocks and others are', (t) => {
  const wanted = create()
  wanted.setTemplates(templates(PARTIAL))
  wanted.setHops('friend', 1)
  wanted.setHops('full', 2)
  wanted.setHops('blocked', -1)
  wanted.setRoot('friend', 'R')
  t.deepEqual(
    ['friend', 'R', 'full', 'blocked', ME].map((feed) => wanted.isHeld(feed)),
    [true, true, false, false, false],
  )
  wanted.dirty.clear()
  wanted.setLoaded()
  t.ok(['friend', 'R'].every((feed) => wanted.dirty.has(feed) && !wanted.isHeld(feed)))
  t.end()
})

test('the order of requests: ourselves, groups and what was asked by hand, then by distance, trees as their main feed', (t) => {
  const wanted = create()
  wanted.setTemplates(templates({ 1: [{}], group: [{}] }))
  wanted.setLoaded()
  wanted.setHops('bob', 2)
  wanted.setRoot('bob', 'R')
  wanted.addBranch(branch('R', 'chess'))
  wanted.setGroup('g', group(['S']))
  wanted.setManual('eve', true)
  t.deepEqual(
    [ME, 'S', 'eve', 'bob', 'R', 'R/chess', 'nobody'].map((feed) => wanted.orderOf(feed)),
    [-1, 0, 0, 2, 2, 2, Number.POSITIVE_INFINITY],
  )
  t.end()
})

test('a new key of a group concerns friends who are in no group of ours, too', (t) => {
  const wanted = create()
  wanted.setTemplates(templates({ 1: [{ purpose: '$groupSecret' }] }))
  wanted.setLoaded()
  wanted.setHops('bob', 1)
  wanted.setRoot('bob', 'R')
  wanted.addBranch(branch('R', 'key'))
  t.equal(wanted.wishOf('R/key'), null)
  wanted.dirty.clear()
  wanted.setGroup('g', group(['S']))
  t.equal(wanted.wishOf('R/key'), 'want')
  t.ok(wanted.dirty.has('R/key'))
  t.end()
})

// ---- properties ---------------------------------------------------------------------------------------------------------

const MAINS = [ME, 'bob', 'cat', 'dan']
const ROOTS = ['R', 'S', 'T']
const PURPOSES = ['main', 'chess', 'key', 'other']
const CONFIGS: readonly (object | null)[] = [
  null,
  PARTIAL,
  { 1: [{}] },
  { 0: [{ purpose: 'main' }], 2: [{ purpose: '$groupSecret' }], group: [{ purpose: '$groupSecret' }] },
  { group: [{}] },
]

type Step =
  | { readonly kind: 'hops'; readonly main: string; readonly hops: number | null }
  | { readonly kind: 'root'; readonly main: string; readonly root: string | null }
  | { readonly kind: 'branch'; readonly root: string; readonly purpose: string; readonly dead: number }
  | { readonly kind: 'group'; readonly id: string; readonly group: Group | null }
  | { readonly kind: 'manual'; readonly feed: string; readonly isWanted: boolean | null }
  | { readonly kind: 'templates'; readonly index: number }
  | { readonly kind: 'excluded'; readonly policy: 'replicate' | 'stop' }
  | { readonly kind: 'loaded' }

const main = fc.constantFrom(...MAINS)
const root = fc.constantFrom(...ROOTS)
const roots = fc.subarray(ROOTS)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('hops' as const),
      main,
      hops: fc.constantFrom(null, 0.1, 1, 2, 3, -1, -2),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('root' as const), main, root: fc.option(root, { freq: 5 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('branch' as const),
      root,
      purpose: fc.constantFrom(...PURPOSES),
      dead: fc.constantFrom(-1, -1, -1, 0, 2, 3),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('group' as const),
      id: fc.constantFrom('g', 'h'),
      group: fc.option(fc.record({ keys: fc.subarray(['key', 'other']), members: roots, excluded: roots }), {
        freq: 4,
      }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('manual' as const),
      feed: fc.constantFrom(...MAINS, ...ROOTS, 'R/chess'),
      isWanted: fc.constantFrom(true, false, null),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('templates' as const), index: fc.nat({ max: CONFIGS.length - 1 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('excluded' as const),
      policy: fc.constantFrom('replicate' as const, 'stop' as const),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'loaded' as const }) },
)

function take(wanted: Wanted, each: Step): void {
  switch (each.kind) {
    case 'hops':
      wanted.setHops(each.main, each.hops)
      return
    case 'root':
      return wanted.setRoot(each.main, each.root)
    case 'branch': {
      const full = branch(each.root, each.purpose, {}, each.purpose === 'main' ? mainOf(each.root) : undefined)
      const dead = full.map((feed, i) => (i === each.dead ? { ...feed, isTombstoned: true } : feed))
      return wanted.addBranch(each.dead === 2 ? dead.slice(0, 3) : dead)
    }
    case 'group':
      return wanted.setGroup(each.id, each.group)
    case 'manual':
      return wanted.setManual(each.feed, each.isWanted)
    case 'templates':
      return wanted.setTemplates(templates(CONFIGS[each.index] ?? {}))
    case 'excluded':
      return wanted.setExcludedPolicy(each.policy)
    case 'loaded':
      return wanted.setLoaded()
  }
}

const mainOf = (of: string): string => MAINS[1 + ROOTS.indexOf(of)] ?? 'bob'

const FEEDS: readonly string[] = [
  ...MAINS,
  ...ROOTS,
  ...ROOTS.flatMap((each) => PURPOSES.flatMap((purpose) => branch(each, purpose).map(({ id }) => id))),
]

const wishes = (wanted: Wanted) =>
  new Map(FEEDS.map((feed) => [feed, wanted.isHeld(feed) ? 'held' : wanted.wishOf(feed)]))

test('property: a feed whose decision changes is among those to look at again', (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const wanted = create()
      wanted.setTemplates(templates(CONFIGS[3] as object))
      for (const each of steps) {
        const before = wishes(wanted)
        wanted.dirty.clear()
        take(wanted, each)
        for (const feed of FEEDS) {
          const { wish } = wanted.decide(feed)
          const same = (wanted.wishOf(feed) ?? 'drop') === (wish ?? 'drop')
          if (!same) throw new Error(`${feed}: ${wanted.wishOf(feed)}, and explained as ${wish}`)
        }
        for (const [feed, wish] of wishes(wanted))
          if (wish !== before.get(feed) && !wanted.dirty.has(feed))
            throw new Error(`${feed}: ${before.get(feed)} → ${wish} by ${JSON.stringify(each)}`)
      }
    }),
    { numRuns: 1_000 },
  )
  t.pass('1000 random histories')
  t.end()
})

test('property: the order in which facts arrive does not matter', (t) => {
  /** Only the last word on each subject counts; a tombstone is never undone. */
  const subject = (each: Step): string => {
    switch (each.kind) {
      case 'hops':
      case 'root':
        return `${each.kind} ${each.main}`
      case 'branch':
        return JSON.stringify(each)
      case 'group':
        return `group ${each.id}`
      case 'manual':
        return `manual ${each.feed}`
      default:
        return each.kind
    }
  }
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.infiniteStream(fc.nat()), (steps, dice) => {
      const history = create()
      for (const each of steps) take(history, each)
      history.setLoaded()
      const last = [...new Map(steps.map((each) => [subject(each), each])).values()]
      const shuffled = last.map((each) => ({ each, at: dice.next().value })).sort((a, b) => a.at - b.at)
      const fresh = create()
      for (const { each } of shuffled) take(fresh, each)
      fresh.setLoaded()
      for (const feed of FEEDS) {
        const [a, b] = [history.decide(feed), fresh.decide(feed)]
        if (a.wish !== b.wish || a.order !== b.order)
          throw new Error(`${feed}: ${JSON.stringify(a)} ${JSON.stringify(b)}`)
      }
    }),
    { numRuns: 1_000 },
  )
  t.pass('1000 random histories')
  t.end()
})
