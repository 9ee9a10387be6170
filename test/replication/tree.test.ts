/** The trees of meta feeds: woven from branches in any order, against strangers who claim the feeds of others. */
import fc from 'fast-check'
import { isDeepStrictEqual } from 'util'

import test = require('tape')

import { createTree, type Tree, toBranch } from '../../src/replication/core/tree'
import type { Branch, FeedDetails } from '../../src/replication/core/types'

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const RUNS = Number(process.env.RUNS ?? 500)

function feed(id: string, purpose: string, change: Partial<FeedDetails> = {}): FeedDetails {
  return { id, purpose, feedFormat: 'bendybutt-v1', metadata: null, recps: null, isTombstoned: false, ...change }
}
/** As the source makes one up. */
const rootOf = (id: string): FeedDetails => feed(id, 'root')

const R = rootOf('R')
const V = feed('V', 'v1')
const S = feed('S', '7')
const L = feed('L', 'main', { feedFormat: 'classic', metadata: { a: [1] } })
const M = feed('M', 'chess', { feedFormat: 'classic' })

const ids = (found: Iterable<string>): string => [...found].sort().join(' ')
const branchIds = (tree: Tree, id: string): string | null =>
  tree
    .branchOf(id)
    ?.map((each) => each.id)
    .join(' ') ?? null

/** A tree with `R V S L` and `R V S M`. */
function grown(): Tree {
  const tree = createTree()
  for (const branch of [[R], [R, V], [R, V, S], [R, V, S, L], [R, V, S, M]]) tree.add(branch)
  return tree
}

test('a tree says of each feed how to get there', (t) => {
  const tree = grown()
  t.deepEqual(tree.branchOf('L'), [R, V, S, L])
  t.deepEqual(tree.branchOf('S'), [R, V, S])
  t.deepEqual(tree.branchOf('R'), [R])
  t.equal(tree.branchOf('nobody'), null)
  t.equal(tree.rootOf('L'), 'R')
  t.equal(tree.rootOf('R'), 'R')
  t.equal(tree.rootOf('nobody'), null)
  t.equal(tree.details('L'), L)
  t.equal(tree.details('constructor'), null)
  t.equal([...tree.under('R')].join(' '), 'R V S L M', 'parents before children')
  t.equal(ids(tree.under('S')), 'L M S')
  t.equal(ids(tree.under('nobody')), 'nobody')
  t.equal(tree.size, 5)
  t.end()
})

test('nothing has arrived until something below the root is known', (t) => {
  const tree = createTree()
  t.notOk(tree.hasArrived('R'))
  t.equal(ids(tree.add([R])), 'R')
  t.notOk(tree.hasArrived('R'), 'the root itself does not count')
  tree.add([R, V])
  t.ok(tree.hasArrived('R'))
  t.notOk(tree.hasArrived('V'))
  t.end()
})

test('what is added again changes nothing', (t) => {
  const tree = grown()
  const again: Branch[] = [
    [R, V, S, L],
    [R],
    [R, V, S, { ...L, metadata: { a: [1] } }],
    [R, V, S, { ...M, recps: null }],
    [{ ...R, metadata: {} }, V],
    [],
  ]
  for (const branch of again) t.equal(ids(tree.add(branch)), '')
  t.end()
})

test('what is described anew changes itself and all below', (t) => {
  const table: readonly (readonly [Branch, string])[] = [
    [[R, V, S, { ...L, metadata: { a: [2] } }], 'L'],
    [[R, V, S, { ...L, metadata: null }], 'L'],
    [[R, V, S, { ...L, feedFormat: 'indexed-v1' }], 'L'],
    [[R, V, S, { ...L, recps: ['x'] }], 'L'],
    [[R, V, S, { ...L, purpose: 'other' }], 'L'],
    [[R, V, { ...S, isTombstoned: true }], 'L M S'],
    [[R, V, { ...S, purpose: '8' }], 'L M S'],
    [[R, V, { ...S, purpose: 'root' }], 'L M S'],
    [[R, { ...V, metadata: { a: 1 } }], 'L M S V'],
    [[{ ...R, isTombstoned: true }], 'L M R S V'],
    [[R, V, { ...S, isTombstoned: true }, { ...L, isTombstoned: true }], 'L M S'],
    [[R, V, { ...S, purpose: 'no shard' }], 'L M S'],
    [[R, { ...V, purpose: 'v2' }], 'L M S V'],
  ]
  for (const [branch, changed] of table) {
    const tree = grown()
    t.equal(ids(tree.add(branch)), changed, JSON.stringify(branch[branch.length - 1]))
    t.equal(ids(tree.add(branch)), '', 'once')
  }
  t.end()
})

test('a tombstone reaches all below and is never undone', (t) => {
  const tree = grown()
  tree.add([R, V, { ...S, isTombstoned: true }])
  t.deepEqual(
    tree.branchOf('L')?.map((each) => each.isTombstoned),
    [false, false, true, false],
  )
  t.equal(ids(tree.add([R, V, S, L])), '', 'told of as alive again')
  t.equal(tree.details('S')?.isTombstoned, true)
  t.equal(ids(tree.add([R, V, { ...S, metadata: { a: 1 } }])), 'L M S')
  t.equal(tree.details('S')?.isTombstoned, true, 'described anew')
  t.equal(ids(tree.add([R, V, S, feed('N', 'new')])), 'L M N S', 'a feed below it that comes later')
  t.equal(tree.branchOf('N')?.[2]?.isTombstoned, true)
  t.end()
})

test('a tombstone may be the first that is heard of a feed', (t) => {
  const tree = createTree()
  tree.add([R, V])
  t.equal(ids(tree.add([R, V, feed('S', '', { isTombstoned: true })])), '', 'without a purpose it is no shard')
  t.equal(ids(tree.add([R, V, S])), 'S')
  t.deepEqual(tree.details('S'), { ...S, isTombstoned: true })
  tree.add([{ ...rootOf('T'), isTombstoned: true }])
  tree.add([rootOf('T'), feed('U', 'v1')])
  t.equal(tree.branchOf('U')?.[0]?.isTombstoned, true, 'of a root')
  t.end()
})

test('a child that came before its parent is woven under it', (t) => {
  const tree = createTree()
  t.equal(ids(tree.add([rootOf('S')])), 'S', 'a made-up root, like any other for now')
  t.equal(ids(tree.add([rootOf('S'), L])), '', 'no structure v1 so far')
  t.equal(tree.branchOf('L'), null)
  t.equal(tree.rootOf('L'), 'S')
  t.equal(ids(tree.add([rootOf('V'), S])), 'S V', 'no longer a root')
  t.equal(tree.branchOf('S'), null)
  t.equal(ids(tree.add([R, V])), 'L R S V')
  t.equal(branchIds(tree, 'L'), 'R V S L')
  t.equal(ids(tree.under('R')), 'L R S V')
  t.equal(ids(tree.add([rootOf('S'), M])), 'M', 'the made-up root does not overwrite the real shard')
  t.deepEqual(tree.branchOf('M'), [R, V, S, M])
  t.equal(tree.rootOf('L'), 'R')
  t.end()
})

test('a made-up root says nothing of a feed, a branch that is cut off above does', (t) => {
  const tree = createTree()
  tree.add([{ ...rootOf('S'), metadata: { a: 1 }, recps: ['x'] }, L])
  t.deepEqual(tree.details('S'), rootOf('S'))
  t.equal(ids(tree.add([S, M])), 'S', 'no root any more')
  t.deepEqual(tree.details('S'), S)
  t.equal(ids(tree.add([{ ...rootOf('S'), metadata: { b: 1 } }])), '')
  t.equal(tree.details('S')?.purpose, '7')
  t.equal(ids(tree.add([R, V, S])), 'L M R S V')
  t.equal(ids(tree.add([{ ...S, isTombstoned: true }, L])), 'L M S')
  t.end()
})

test('only structure v1 has branches', (t) => {
  const table: readonly (readonly [Branch, string])[] = [
    [[feed('x', 'v1')], ''],
    [[R, feed('a', 'v2')], 'R'],
    [[R, feed('a', 'main'), feed('b', '1')], 'R'],
    [[R, V, feed('a', '12')], 'R V'],
    [[R, V, feed('a', '')], 'R V'],
    [[R, V, feed('a', 'shard'), feed('b', 'main')], 'R V'],
    [[R, V, feed('a', 'f'), feed('b', 'root')], 'R V a b'],
    [[R, V, feed('a', 'f'), feed('b', '')], 'R V a b'],
    [[R, feed('a', 'root')], 'R'],
    [[R, V, S, L, feed('x', 'deeper')], ''],
  ]
  for (const [branch, changed] of table) {
    const tree = createTree()
    t.equal(ids(tree.add(branch)), changed, JSON.stringify(branch.map(({ purpose }) => purpose)))
    t.equal(ids(branch.map(({ id }) => id).filter((id) => tree.branchOf(id))), changed)
  }
  const tree = grown()
  tree.add([rootOf('L'), feed('x', 'v1')])
  t.equal(tree.branchOf('x'), null, 'a fifth feed, woven under a leaf')
  t.equal(tree.rootOf('x'), 'R')
  t.equal(ids(tree.under('R')), 'L M R S V x')
  t.end()
})

test('a feed keeps its first parent', (t) => {
  const tree = grown()
  const other = [rootOf('R2'), feed('V2', 'v1'), feed('S2', '1')] as const
  tree.add(other)
  t.equal(ids(tree.add([...other, { ...L, purpose: 'stolen', isTombstoned: true }])), '')
  t.deepEqual(tree.branchOf('L'), [R, V, S, L], 'neither moved nor described nor ended by another one')
  t.equal(ids(tree.under('R2')), 'R2 S2 V2')
  t.equal(ids(tree.add([rootOf('R2'), S, feed('x', 'y')])), '', 'nor what is said to be below it')
  t.equal(tree.details('x'), null)
  t.equal(ids(tree.add([rootOf('R3'), feed('V3', 'v1'), S])), 'R3 V3', 'what is above it counts')
  t.end()
})

test('feeds that add each other form no circle', (t) => {
  const tree = createTree()
  t.equal(ids(tree.add([rootOf('a'), feed('a', 'v1')])), 'a', 'itself')
  tree.add([rootOf('a'), feed('b', 'v1')])
  t.equal(ids(tree.add([rootOf('b'), feed('a', 'v1')])), '', 'its parent')
  tree.add([rootOf('b'), feed('c', '1'), feed('d', 'x')])
  t.equal(ids(tree.add([rootOf('d'), feed('a', 'v1')])), '', 'the parent of its parents')
  t.equal(ids(tree.add([rootOf('n'), feed('o', 'v1'), feed('n', '1')])), 'n o', 'within one branch')
  t.equal(ids(tree.add([rootOf('d'), feed('e', 'x'), feed('a', 'v1')])), '', 'by way of a new feed')
  t.equal(branchIds(tree, 'd'), 'a b c d')
  t.equal(tree.rootOf('e'), 'a')
  t.equal(ids(tree.under('a')), 'a b c d e')
  t.end()
})

test('no depth is too much', (t) => {
  const tree = createTree()
  const depth = 5_000
  for (let i = depth; i > 0; i--) tree.add([rootOf(`f${i - 1}`), feed(`f${i}`, 'v1')])
  t.equal(tree.rootOf(`f${depth}`), 'f0')
  t.equal([...tree.under('f0')].length, depth + 1)
  t.equal(tree.branchOf(`f${depth}`), null)
  t.equal(ids(tree.add([rootOf(`f${depth}`), feed('f0', 'v1')])), '', 'no circle')
  t.end()
})

// ---- properties -------------------------------------------------------------------------------------------------------

interface Said {
  /** In the order of what is said. */
  readonly branches: readonly Branch[]
  readonly names: readonly string[]
}

const NAMES = 'abcdefgh'.split('')
const PURPOSES = ['v1', '1', '2', 'main', 'root', ''] as const

/**
 * A forest without contradictions, told in random order, each feed with as much of what is above it as the source might
 * know then: the branch starts with a made-up root or the real one, or is cut off.
 */
const USUAL_PARENTS = [null, 0, 1, 2, 2, 1, 5, null]
const usually = <T>(usual: T, other: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(usual) }, other)
const forests: fc.Arbitrary<Said> = fc
  .record({
    // The parent of each comes before it: no circle.
    parents: fc.tuple(
      ...USUAL_PARENTS.map((usual, i) => usually(usual, fc.option(i === 0 ? fc.constant(0) : fc.nat(i - 1)))),
    ),
    purposes: fc.tuple(...NAMES.map(() => usually<string | null>(null, fc.constantFrom(...PURPOSES)))),
    told: fc.array(
      fc.record({
        i: fc.nat(NAMES.length - 1),
        above: fc.nat(3),
        isTombstoned: usually(false, fc.boolean()),
        isMadeUp: fc.boolean(),
      }),
      { maxLength: 30 },
    ),
  })
  .map(({ parents, purposes, told }) => {
    const parentOf = (i: number): number | null => (i === 0 ? null : (parents[i] ?? null))
    const levelOf = (i: number): number => {
      const parent = parentOf(i)
      return parent === null ? 0 : levelOf(parent) + 1
    }
    const real = NAMES.map((name, i) =>
      levelOf(i) === 0 ? rootOf(name) : feed(name, purposes[i] ?? ['', 'v1', '1'][levelOf(i)] ?? 'main'),
    )
    const branches = told.map(({ i, above, isTombstoned, isMadeUp }) => {
      const branch = [{ ...(real[i] as FeedDetails), isTombstoned }]
      let parent = parentOf(i)
      while (parent !== null && branch.length <= above) {
        branch.unshift(real[parent] as FeedDetails)
        parent = parentOf(parent)
      }
      const [first, ...below] = branch as [FeedDetails, ...FeedDetails[]]
      return isMadeUp ? [{ ...first, purpose: 'root' }, ...below] : branch
    })
    return { branches, names: NAMES }
  })

/** Strangers say anything. */
const lies: fc.Arbitrary<Said> = fc
  .array(
    fc.array(
      fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom(...PURPOSES), fc.boolean(), fc.constantFrom(null, { a: 1 })),
      { maxLength: 5 },
    ),
    { maxLength: 25 },
  )
  .map((said) => ({
    branches: said.map((branch) =>
      branch.map(([name, purpose, isTombstoned, metadata], i) => {
        const usual = i < 3 && isTombstoned ? (['root', 'v1', '1'][i] as string) : purpose
        return feed(name, usual, { isTombstoned: isTombstoned && metadata !== null, metadata })
      }),
    ),
    names: NAMES,
  }))

/** `holds` throws where the promise is broken. */
function property<T>(t: test.Test, title: string, given: fc.Arbitrary<T>, holds: (given: T) => void): void {
  const result = fc.check(fc.property(given, holds), { seed: SEED, numRuns: RUNS })
  t.notOk(result.failed, `${title} (SEED=${SEED}, ${result.numRuns} runs)`)
  if (result.failed) t.comment(`${JSON.stringify(result.counterexample)}\n${String(result.errorInstance)}`)
}

function must(holds: boolean, broken: string): void {
  if (!holds) throw new Error(broken)
}

const branchesOf = (tree: Tree, { names }: Said): ReadonlyMap<string, Branch | null> =>
  new Map(names.map((name) => [name, tree.branchOf(name)]))

test('add returns exactly the feeds whose branch changed, whatever is said', (t) => {
  const exactly = (said: Said): void => {
    const tree = createTree()
    let before = branchesOf(tree, said)
    for (const branch of said.branches) {
      const changed = tree.add(branch)
      const after = branchesOf(tree, said)
      const differ = said.names.filter((name) => !isDeepStrictEqual(before.get(name), after.get(name)))
      must(ids(differ) === ids(changed), `changed ${ids(differ)}, returned ${ids(changed)}`)
      before = after
    }
  }
  property(t, 'for lies', lies, exactly)
  property(t, 'for true branches', forests, exactly)
  t.end()
})

test('any order of the same branches gives the same tree', (t) => {
  const shuffled = forests.chain((said) =>
    fc
      .shuffledSubarray([...said.branches], { minLength: said.branches.length })
      .map((branches) => [said, { ...said, branches }] as const),
  )
  let leafCount = 0
  property(t, 'same tree', shuffled, (orders) => {
    const [one, two] = orders.map((said) => {
      const tree = createTree()
      for (const branch of said.branches) tree.add(branch)
      leafCount += said.names.filter((name) => tree.branchOf(name)?.length === 4).length
      return said.names.map((name) => ({
        branch: tree.branchOf(name),
        root: tree.rootOf(name),
        details: tree.details(name),
        under: ids(tree.under(name)),
        hasArrived: tree.hasArrived(name),
        size: tree.size,
      }))
    })
    must(isDeepStrictEqual(one, two), 'differs')
  })
  t.ok(leafCount > RUNS / 10, `${leafCount} leaves of structure v1 were seen`)
  t.end()
})

test('whatever is said: no circle, parents and tombstones stay, what is known stays', (t) => {
  property(t, 'for lies', lies, (said) => {
    const tree = createTree()
    let rows = new Map<string, FeedDetails>()
    const parents = new Map<string, string>()
    for (const branch of said.branches) {
      tree.add(branch)
      const known = said.names.filter((name) => tree.details(name))
      must(known.length === tree.size, 'size')
      for (const name of known) {
        const root = tree.rootOf(name) as string
        const under = [...tree.under(root)]
        must(under.includes(name), `${name} is not under its root ${root}`)
        must(new Set(under).size === under.length, `${root} has a feed twice`)
        must(!rows.get(name)?.isTombstoned || tree.details(name)?.isTombstoned === true, `${name} lives again`)
        const path = tree.branchOf(name)?.map(({ id }) => id) ?? []
        const parent = path[path.length - 2]
        if (parent && (parents.get(name) ?? parent) !== parent) throw new Error(`${name} was moved`)
        if (parent) parents.set(name, parent)
      }
      for (const name of rows.keys()) must(known.includes(name), `${name} is forgotten`)
      rows = new Map(known.map((name) => [name, tree.details(name) as FeedDetails]))
    }
  })
  t.end()
})

test('add changes neither the branch nor what it returned before', (t) => {
  const tree = createTree()
  const frozen = [R, V, S, L].map((each) => Object.freeze({ ...each }))
  const first = tree.branchOf('L') ?? tree.add(Object.freeze(frozen))
  t.equal(ids(first as ReadonlySet<string>), 'L R S V')
  const branch = tree.branchOf('L')
  tree.add([R, V, { ...S, isTombstoned: true }, { ...L, metadata: null }])
  t.deepEqual(branch, [R, V, S, L])
  t.equal(ids(first as ReadonlySet<string>), 'L R S V')
  t.end()
})

// ---- what the source gives --------------------------------------------------------------------------------------------

interface SourceDetails {
  readonly id: string
  update(details: SourceDetails): void
}
const Source = require('ssb-meta-feeds/FeedDetails') as {
  fromRootId(id: string): SourceDetails
  fromOtherMsg(msg: { value: { content: object } }): SourceDetails
}
const bendyButt = (n: number): string =>
  `ssb:feed/bendybutt-v1/${Buffer.alloc(32, n).toString('base64').replace(/\+/g, '-').replace(/\//g, '_')}`
const classic = (n: number): string => `@${Buffer.alloc(32, n).toString('base64')}.ed25519`
const message = (content: object): SourceDetails => Source.fromOtherMsg({ value: { content } })
const added = (metafeed: string, subfeed: string, feedpurpose: string, more: object = {}): SourceDetails =>
  message({ type: 'metafeed/add/derived', metafeed, subfeed, feedpurpose, nonce: Buffer.alloc(32), ...more })

test("branches of ssb-meta-feeds' own objects are read", (t) => {
  const root = Source.fromRootId(bendyButt(1))
  const v1 = added(root.id, bendyButt(2), 'v1')
  const shard = added(v1.id, bendyButt(3), 'a')
  const leaf = added(shard.id, classic(4), 'main', { recps: ['group'], query: '{}', querylang: 'ssb-ql-0' })
  const expected = [
    { ...rootOf(bendyButt(1)), metadata: {} },
    { ...feed(bendyButt(2), 'v1'), metadata: {} },
    { ...feed(bendyButt(3), 'a'), metadata: {} },
    {
      id: classic(4),
      purpose: 'main',
      feedFormat: 'classic',
      metadata: { query: '{}', querylang: 'ssb-ql-0' },
      recps: ['group'],
      isTombstoned: false,
    },
  ]
  const branch = toBranch([root, v1, shard, leaf])
  t.deepEqual(branch, expected)
  for (const length of [1, 2, 3]) t.deepEqual(toBranch([root, v1, shard].slice(0, length)), expected.slice(0, length))

  leaf.update(message({ type: 'metafeed/tombstone', metafeed: shard.id, subfeed: leaf.id, color: 'red' }))
  t.deepEqual(branch, expected, 'a change of the object afterwards is not seen')
  const later = toBranch([root, v1, shard, leaf])
  t.equal(later?.[3]?.isTombstoned, true)
  t.equal(later?.[3]?.metadata?.color, 'red')
  t.equal(later?.[3]?.purpose, 'main')
  t.end()
})

test('a made-up root that the source turns into a real feed is woven', (t) => {
  const tree = createTree()
  const root = Source.fromRootId(bendyButt(1))
  const v1 = Source.fromRootId(bendyButt(2))
  const shard = added(v1.id, bendyButt(3), 'a')
  const early = [v1, shard]
  tree.add(toBranch(early) as Branch)
  v1.update(added(root.id, v1.id, 'v1'))
  tree.add(toBranch(early) as Branch)
  t.equal(tree.details(v1.id)?.purpose, 'v1', 'read after the change, the old branch is one that is cut off above')
  t.equal(ids(tree.add(toBranch([root, v1]) as Branch)), ids([root.id, v1.id, shard.id]))
  t.equal(branchIds(tree, shard.id), [root, v1, shard].map(({ id }) => id).join(' '))
  t.end()
})

test('keys and seeds are not kept', (t) => {
  const mine = { ...Source.fromRootId(bendyButt(1)), seed: Buffer.alloc(32), keys: { private: 'secret' } }
  t.deepEqual(Object.keys(toBranch([mine])![0]!).sort(), Object.keys(R).sort())
  t.end()
})

test('what is malformed is no branch', (t) => {
  const root = Source.fromRootId(bendyButt(1))
  const good: Record<string, unknown> = { ...added(root.id, bendyButt(2), 'v1') }
  t.ok(toBranch([root, good]), 'the base of the table is well-formed')
  const table: Record<string, unknown>[] = [
    { id: undefined },
    { id: 5 },
    { id: '' },
    { id: 'ssb:message/classic/x' },
    { id: `@${'x'.repeat(200)}` },
    { purpose: 5 },
    { purpose: {} },
    { purpose: 'x'.repeat(1001) },
    { feedFormat: null },
    { feedFormat: undefined },
    { feedFormat: 'x'.repeat(101) },
    { parent: undefined },
    { parent: null },
    { parent: bendyButt(9) },
  ]
  for (const change of table)
    t.equal(toBranch([root, { ...good, ...change }]), null, JSON.stringify(change).slice(0, 60))
  const others: unknown[] = [
    undefined,
    null,
    true,
    'x',
    {},
    [],
    [null],
    [[]],
    ['x'],
    [root, null],
    { 0: root, length: 1 },
  ]
  for (const value of others) t.equal(toBranch(value), null, JSON.stringify(value))
  const deep = [root]
  for (let n = 2; n < 6; n++) deep.push(added(bendyButt(n - 1), bendyButt(n), 'x'))
  t.ok(toBranch(deep.slice(0, 4)))
  t.equal(toBranch(deep), null, 'five feeds')
  t.end()
})

test('what may be missing may be missing', (t) => {
  const root = Source.fromRootId(bendyButt(1))
  const least = { id: bendyButt(2), parent: root.id, feedFormat: 'bendybutt-v1' }
  t.deepEqual(toBranch([root, least])?.[1], feed(bendyButt(2), ''))
  t.deepEqual(
    toBranch([root, { ...least, purpose: 'x'.repeat(1000), tombstoned: true }])?.[1],
    feed(bendyButt(2), 'x'.repeat(1000), { isTombstoned: true }),
  )
  t.equal(toBranch([root, { ...least, tombstoned: false }])?.[1]?.isTombstoned, false)
  t.end()
})

test('metadata is copied, and what is no JSON or beyond all bounds is left out', (t) => {
  const root = Source.fromRootId(bendyButt(1))
  const read = (metadata: unknown): unknown => {
    const branch = toBranch([root, { ...added(root.id, bendyButt(2), 'v1'), metadata }])
    t.ok(branch, 'the feed itself is not lost')
    return branch?.[1]?.metadata
  }
  const given = {
    list: [1, { a: 'b' }],
    bytes: Buffer.alloc(3),
    big: BigInt(1),
    call: () => {},
    none: undefined,
    nan: Number.NaN,
  }
  const copy = read(given) as { list: unknown[] }
  t.deepEqual(copy, { list: [1, { a: 'b' }] })
  given.list.push(2)
  t.deepEqual(copy, { list: [1, { a: 'b' }] })
  t.equal(read(undefined), null)
  t.equal(read('text'), null)
  const proto = read(JSON.parse('{"__proto__":{"a":1}}')) as object
  t.deepEqual(Object.keys(proto), ['__proto__'])
  t.equal((proto as { a?: unknown }).a, undefined)
  const nested = (depth: number): unknown => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`)
  t.deepEqual(read({ deep: nested(5_000), a: 1 }), { a: 1 })
  t.deepEqual(read({ a: 1, large: 'x'.repeat(20_000), b: 1 }), { a: 1 }, 'beyond that nothing more is read')
  const keys = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`key ${i}`, i]))
  const kept = Object.keys(read(keys) as object).length
  t.ok(kept > 1_000 && kept < 5_000, `${kept} of 50 000 fields`)
  t.end()
})

test('the deepest metadata that is kept is no change when it comes again', (t) => {
  const root = Source.fromRootId(bendyButt(1))
  let kept = 0
  for (let depth = 1; depth < 30; depth++) {
    const metadata = { deep: JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as unknown }
    const read = (): Branch => toBranch([root, { ...added(root.id, bendyButt(2), 'v1'), metadata }]) as Branch
    const tree = createTree()
    tree.add(read())
    if (ids(tree.add(read())) !== '') t.fail(`depth ${depth}`)
    if (read()[1]?.metadata?.deep) kept = depth
  }
  t.equal(kept, 15, 'levels below metadata')
  t.end()
})

test('of recipients the ids are kept: ssb-meta-feeds hands out the key of a group with them', (t) => {
  const key = { key: Buffer.alloc(32, 7), scheme: 'envelope-large-symmetric-group' }
  const recpsOf = (recps: unknown): unknown => {
    const root = 'ssb:feed/bendybutt-v1/AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE='
    const given = [{ id: root, purpose: 'root', feedFormat: 'bendybutt-v1', parent: null, recps }]
    const branch = toBranch(given)
    t.notOk(JSON.stringify(branch).includes('scheme'), 'no key in it')
    return branch?.[0]?.recps
  }
  t.deepEqual(recpsOf([key, 'a', 'b']), ['a', 'b'])
  t.deepEqual([undefined, null, 'all', {}, 5].map(recpsOf), [null, null, null, null, null])
  t.deepEqual(recpsOf([5, 'x'.repeat(201)]), [])
  t.equal((recpsOf(new Array(1_000).fill('x')) as string[]).length, 64)
  t.end()
})
