/** Partial replication: how the configuration is read, which template serves whom, and which feeds of a tree it asks for. */
import fc from 'fast-check'

import test = require('tape')

import {
  type MatchContext,
  matchesBranch,
  parsePartialReplication,
  type Template,
  templateFor,
  wantsIndexFeeds,
} from '../../src/replication/core/templates'
import type { Branch, Category, FeedDetails } from '../../src/replication/core/types'

const pickShard = require('ssb-meta-feeds/pick-shard') as (root: string, purpose: string) => string
type OldTemplate = new (
  shapes: readonly unknown[],
) => { matchBranch(branch: readonly unknown[], main: string | null, keys: ReadonlySet<string>): boolean }
const Old = require('ssb-replication-scheduler/template') as OldTemplate

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31)

const MAIN = `@${Buffer.alloc(32, 1).toString('base64')}.ed25519`
const OTHER = `@${Buffer.alloc(32, 2).toString('base64')}.ed25519`
const ROOT = `ssb:feed/bendybutt-v1/${Buffer.alloc(32, 3).toString('base64').replace(/\+/g, '-').replace(/\//g, '_')}`
const KEY = Buffer.alloc(32, 4).toString('base64')

const context = (change: Partial<MatchContext> = {}): MatchContext => ({
  main: MAIN,
  groupKeys: new Set(),
  shardOf: pickShard,
  ...change,
})

function feed(purpose: string, change: Partial<FeedDetails> = {}): FeedDetails {
  return {
    id: `id of ${purpose}`,
    purpose,
    feedFormat: 'classic',
    metadata: {},
    recps: null,
    isTombstoned: false,
    ...change,
  }
}
const root = feed('root', { id: ROOT, feedFormat: 'bendybutt-v1' })
const v1 = feed('v1', { feedFormat: 'bendybutt-v1' })
const shard = (purpose: string): Branch => [root, v1, feed(purpose)]
const leaf = (purpose: string, change: Partial<FeedDetails> = {}): Branch => [
  ...shard(pickShard(ROOT, purpose)),
  feed(purpose, change),
]
/** As ssb-index-feeds writes it. */
const query = (author: string, type: string | null, isPrivate: boolean): string =>
  `{"author":"${author}","type":${JSON.stringify(type)},"private":${isPrivate}}`
const index = (text: unknown): Branch =>
  leaf('index', { feedFormat: 'indexed-v1', metadata: { querylang: 'ssb-ql-0', query: text } })

function templateOf(...shapes: readonly unknown[]): Template {
  const { templates, problems } = parsePartialReplication({ 0: shapes })
  if (problems.length > 0) throw new Error(problems.join('\n'))
  return templateFor(templates, 0).template as Template
}

/** An object in JSON nested this deep. */
function nested(depth: number): string {
  return `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`
}

// ---- the configuration ------------------------------------------------------------------------------------------------

const indexShape = (type: string | null, isPrivate = false) => ({
  purpose: 'index',
  metadata: { querylang: 'ssb-ql-0', query: { author: '$main', type, private: isPrivate } },
})
/** The example of the README of ssb-replication-scheduler. */
const EXAMPLE = {
  0: [{ purpose: 'main' }, { purpose: 'coolgame' }, { purpose: 'git-ssb' }, { purpose: 'index' }],
  1: [indexShape(null, true), indexShape('post'), indexShape('vote'), indexShape('about'), indexShape('contact')],
  2: [indexShape('about'), indexShape('contact')],
  3: [indexShape('about')],
}

test('nothing that asks for less is full replication for everybody', (t) => {
  const table: readonly (readonly [unknown, number])[] = [
    [undefined, 0],
    [null, 0],
    [false, 0],
    [0, 0],
    ['', 0],
    [{}, 0],
    [{ 0: null, 1: false, 2: undefined, group: null }, 0],
    [{ 0: {}, 1: true, group: 'all' }, 3],
    [{ hops: [{ purpose: 'main' }], '-1': [{}] }, 2],
    [[], 0],
  ]
  for (const [given, problems] of table) {
    const parsed = parsePartialReplication(given)
    t.equal(parsed.templates, null, JSON.stringify(given))
    t.equal(parsed.problems.length, problems, 'problems')
  }
  t.end()
})

test('what is truthy and no object is refused with a code', (t) => {
  for (const given of [1, true, 'full', () => {}, Symbol('x')])
    try {
      parsePartialReplication(given)
      t.fail(String(given))
    } catch (error) {
      t.equal((error as { code?: unknown }).code, 'ERR_INVALID_ARGUMENT', String(given))
      t.match(String(error), /partialReplication: expected an object/)
    }
  t.end()
})

test('keys are numbers from 0, fractions included, or "group"', (t) => {
  const table: readonly (readonly [string, number | null])[] = [
    ['0', 0],
    ['1', 1],
    ['10', 10],
    ['0.5', 0.5],
    ['.5', 0.5],
    ['1.0', 1],
    ['1e3', 1000],
    ['-0', 0],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['-1', null],
    ['-0.1', null],
    ['', null],
    [' ', null],
    [' 1', null],
    ['1a', null],
    ['NaN', null],
    ['Group', null],
    ['constructor', null],
    ['__proto__', null],
  ]
  for (const [key, hops] of table) {
    const given = JSON.parse(`{"7":[{}],${JSON.stringify(key)}:[]}`) as object
    const { templates, problems } = parsePartialReplication(given)
    const found = templates?.byHops.filter((each) => each.hops !== 7).map((each) => each.hops)
    t.deepEqual(found, hops === null ? [] : [hops], JSON.stringify(key))
    t.equal(problems.length, hops === null ? 1 : 0, 'problems')
    if (found) t.notOk(found.some((each) => Object.is(each, -0)))
  }
  t.end()
})

test('templates are in ascending order of numbers, and of two keys that are the same number the first counts', (t) => {
  const { templates, problems } = parsePartialReplication({
    '1.0': [{ purpose: 'a' }],
    10: [],
    2: null,
    1: [],
    '0.5': [],
  })
  t.deepEqual(
    templates?.byHops.map(({ hops }) => hops),
    [0.5, 1, 2, 10],
  )
  t.deepEqual(
    templates?.byHops.map(({ template }) => template?.length ?? null),
    [0, 0, null, 0],
    'key 1 comes before 1.0: JavaScript sorts whole numbers first',
  )
  t.equal(problems.length, 1)
  t.match(problems[0]!, /partialReplication\["1.0"\] is ignored/)
  t.end()
})

test('the smallest key that is not smaller serves a distance, else the largest', (t) => {
  const some = parsePartialReplication({ 0: [], 0.5: null, 1: [{}], 3: [{}, {}], group: [{}, {}, {}] }).templates
  const table: readonly (readonly [Category, number | null, number | null])[] = [
    [0, 0, 0],
    [0.1, 0.5, null],
    [0.5, 0.5, null],
    [0.6, 1, 1],
    [1, 1, 1],
    [1.1, 3, 2],
    [2, 3, 2],
    [3, 3, 2],
    [3.5, 3, 2],
    [900, 3, 2],
    ['group', null, 3],
  ]
  for (const [category, key, length] of table) {
    const found = templateFor(some, category)
    t.deepEqual([found.key, found.template?.length ?? null], [key, length], String(category))
  }
  const onlyGroup = parsePartialReplication({ group: [{}] }).templates
  t.deepEqual(templateFor(onlyGroup, 1), { key: null, template: null }, 'no number: in full')
  t.equal(templateFor(onlyGroup, 'group').template?.length, 1)
  const noGroup = parsePartialReplication({ 0: [{}] }).templates
  t.equal(templateFor(noGroup, 'group').template, null, 'a distance does not serve groups')
  t.deepEqual(templateFor(null, 1), { key: null, template: null })
  t.deepEqual(templateFor(null, 'group'), { key: null, template: null })
  t.end()
})

test('a shape that nothing could match is ignored with a sentence, and the others of its template stay', (t) => {
  const circle: Record<string, unknown> = {}
  circle.self = circle
  const table: readonly (readonly [unknown, RegExp])[] = [
    [null, /not null/],
    [undefined, /not undefined/],
    ['main', /not "main"/],
    [[], /not an empty array/],
    [new Map(), /not an object of type Map/],
    [{ purpose: 1 }, /purpose must be text/],
    [{ purpose: null }, /purpose must be text/],
    [{ feedFormat: {} }, /feedFormat must be text/],
    [{ id: 0 }, /id must be text/],
    [{ recps: 'a' }, /recps must be a list/],
    [{ recps: [1] }, /recps must be a list/],
    [{ metadata: 'x' }, /metadata must be an object/],
    [{ metadata: [] }, /metadata must be an object/],
    [{ feedpurpose: 'main' }, /no feed has a field "feedpurpose"/],
    [{ constructor: 'x' }, /no feed has a field "constructor"/],
    [JSON.parse('{"__proto__":{"purpose":"main"}}'), /no feed has a field "__proto__"/],
    [{ metadata: { at: new Date(0) } }, /expected JSON data/],
    [{ metadata: { at: Number.NaN } }, /expected JSON data/],
    [{ metadata: { list: [BigInt(1)] } }, /expected JSON data/],
    [{ metadata: circle }, /expected JSON data/],
    [{ metadata: JSON.parse(nested(40)) }, /expected JSON data/],
    [{ metadata: { text: 'x'.repeat(200_000) } }, /expected JSON data/],
    [{ metadata: { ['x'.repeat(200_000)]: 1 } }, /expected JSON data/],
  ]
  for (const [i, [shape, sentence]] of table.entries()) {
    const { templates, problems } = parsePartialReplication({ 1: [shape, { purpose: 'main' }] })
    t.equal(problems.length, 1, `row ${i}`)
    t.match(problems[0]!, sentence)
    t.ok(problems[0]!.startsWith('partialReplication["1"][0] is ignored: ') && problems[0]!.length < 300, problems[0])
    t.deepEqual(
      templates?.byHops[0]?.template?.map(({ purpose }) => purpose),
      ['main'],
      'the other one stays',
    )
  }
  t.end()
})

test('a shape keeps nothing of the object that it was read from', (t) => {
  const given = { 0: [{ purpose: 'main', recps: ['a'], metadata: { list: ['x'] } }] }
  const { templates } = parsePartialReplication(given)
  const before = JSON.stringify(templates)
  given[0][0]!.purpose = 'other'
  given[0][0]!.recps.push('b')
  given[0][0]!.metadata.list.push('y')
  given[0].push(given[0][0]!)
  t.equal(JSON.stringify(templates), before)
  t.end()
})

// ---- matching ---------------------------------------------------------------------------------------------------------

test('a leaf matches if all fields that the shape gives are equal', (t) => {
  const author = query(MAIN, 'post', false)
  const table: readonly { shape: object; branch: Branch; is: boolean; main?: null; why?: string }[] = [
    { shape: {}, branch: leaf('main'), is: true },
    { shape: {}, branch: leaf('', { metadata: null, recps: ['a'] }), is: true },
    { shape: { purpose: undefined }, branch: leaf('main'), is: true, why: 'undefined is omitted' },
    { shape: { purpose: 'main' }, branch: leaf('main'), is: true },
    { shape: { purpose: 'main' }, branch: leaf('mai'), is: false },
    { shape: { purpose: 'main' }, branch: leaf('Main'), is: false },
    { shape: { purpose: '' }, branch: leaf('main'), is: false, why: 'empty text is given, not omitted' },
    { shape: { purpose: 'toString' }, branch: leaf('toString'), is: true },
    { shape: { purpose: '$main' }, branch: leaf(MAIN), is: true },
    { shape: { purpose: '$main' }, branch: leaf('$main'), is: false },
    { shape: { id: '$main' }, branch: leaf('main', { id: MAIN }), is: true },
    { shape: { id: '$main' }, branch: leaf('main', { id: OTHER }), is: false },
    { shape: { feedFormat: 'classic' }, branch: leaf('main'), is: true },
    { shape: { feedFormat: 'classic' }, branch: leaf('main', { feedFormat: 'indexed-v1' }), is: false },
    { shape: { purpose: 'main', feedFormat: 'gabbygrove-v1' }, branch: leaf('main'), is: false },
    { shape: { recps: null }, branch: leaf('main'), is: true },
    { shape: { recps: null }, branch: leaf('main', { recps: ['a'] }), is: false },
    { shape: { recps: ['a'] }, branch: leaf('main'), is: false },
    { shape: { recps: ['a', '$root'] }, branch: leaf('main', { recps: ['a', ROOT] }), is: true },
    { shape: { recps: ['a'] }, branch: leaf('main', { recps: ['a', 'b'] }), is: false },
    { shape: { recps: ['a', 'b'] }, branch: leaf('main', { recps: ['a'] }), is: false },
    { shape: { metadata: {} }, branch: leaf('main', { metadata: null }), is: true, why: 'no field of it is given' },
    { shape: { metadata: null }, branch: leaf('main', { metadata: null }), is: true },
    { shape: { metadata: null }, branch: leaf('main', { metadata: {} }), is: true },
    { shape: { metadata: null }, branch: leaf('main', { metadata: { a: 1 } }), is: false },
    {
      shape: { metadata: { a: 1 } },
      branch: leaf('main', { metadata: null }),
      is: false,
      why: 'the old one let it pass',
    },
    { shape: { metadata: { a: 1 } }, branch: leaf('main'), is: false },
    { shape: { metadata: { a: 1 } }, branch: leaf('main', { metadata: { a: 1, b: 2 } }), is: true },
    { shape: { metadata: { a: 1 } }, branch: leaf('main', { metadata: { a: '1' } }), is: false },
    { shape: { metadata: { a: null } }, branch: leaf('main', { metadata: {} }), is: false },
    { shape: { metadata: { a: null } }, branch: leaf('main', { metadata: { a: null } }), is: true },
    { shape: { metadata: { a: false } }, branch: leaf('main', { metadata: { a: 0 } }), is: false },
    { shape: { metadata: { toString: {} } }, branch: leaf('main'), is: false, why: 'inherited is not given' },
    {
      shape: { metadata: { a: { b: [1, { c: 2 }] } } },
      branch: leaf('x', { metadata: { a: { b: [1, { c: 2 }] } } }),
      is: true,
    },
    {
      shape: { metadata: { a: { b: [1, { c: 2 }] } } },
      branch: leaf('x', { metadata: { a: { b: [1, { c: 3 }] } } }),
      is: false,
    },
    { shape: { metadata: { a: { b: 1, c: 2 } } }, branch: leaf('x', { metadata: { a: { c: 2, b: 1 } } }), is: true },
    {
      shape: { metadata: { a: { b: 1 } } },
      branch: leaf('x', { metadata: { a: { b: 1, c: 2 } } }),
      is: false,
      why: 'deeper fields are compared in whole',
    },
    { shape: { metadata: { a: { b: 1, c: 2 } } }, branch: leaf('x', { metadata: { a: { b: 1, d: 2 } } }), is: false },
    { shape: { metadata: { a: [] } }, branch: leaf('x', { metadata: { a: {} } }), is: false },
    { shape: { metadata: { a: {} } }, branch: leaf('x', { metadata: { a: [] } }), is: false },
    { shape: { metadata: { a: {} } }, branch: leaf('x', { metadata: { a: null } }), is: false },
    { shape: { metadata: { a: ['$main', '$root'] } }, branch: leaf('x', { metadata: { a: [MAIN, ROOT] } }), is: true },
    { shape: { metadata: { a: '$main' } }, branch: leaf('x', { metadata: { a: OTHER } }), is: false },
    {
      shape: { metadata: { a: '$main/$root/$main' } },
      branch: leaf('x', { metadata: { a: `${MAIN}/${ROOT}/${MAIN}` } }),
      is: true,
      why: 'each occurrence',
    },
    { shape: { metadata: { a: '$main' } }, branch: leaf('x', { metadata: { a: 'null' } }), main: null, is: false },
    { shape: { metadata: { a: ['$main'] } }, branch: leaf('x', { metadata: { a: ['$main'] } }), main: null, is: false },
    { shape: { metadata: { a: '$root' } }, branch: leaf('x', { metadata: { a: ROOT } }), main: null, is: true },
    {
      shape: { metadata: { a: '$groupSecret' } },
      branch: leaf('x', { metadata: { a: '$groupSecret' } }),
      is: true,
      why: 'means something in purpose only',
    },
    { shape: { metadata: { querylang: 'ssb-ql-0' } }, branch: index(author), is: true },
    { shape: { metadata: { querylang: 'ssb-ql-1' } }, branch: index(author), is: false },
    {
      shape: { metadata: { query: { author: '$main' } } },
      branch: index(author),
      is: true,
      why: 'querylang is omitted',
    },
    { shape: { metadata: { query: {} } }, branch: index(author), is: true },
    { shape: { metadata: { query: {} } }, branch: leaf('index'), is: false, why: 'it has no query' },
    { shape: { metadata: { query: { author: '$main' } } }, branch: index(query(OTHER, 'post', false)), is: false },
    { shape: { metadata: { query: { author: '$main' } } }, branch: index(author), main: null, is: false },
    { shape: { metadata: { query: { author: '$root' } } }, branch: index(query(ROOT, 'post', false)), is: true },
    { shape: { metadata: { query: { type: 'post', private: false } } }, branch: index(author), is: true },
    { shape: { metadata: { query: { type: 'post', private: true } } }, branch: index(author), is: false },
    { shape: { metadata: { query: { type: null } } }, branch: index(author), is: false },
    {
      shape: { metadata: { query: { type: null } } },
      branch: index(`{"author":"${MAIN}"}`),
      is: false,
      why: 'null is given',
    },
    { shape: { metadata: { query: { toString: {} } } }, branch: index(author), is: false },
    {
      shape: { metadata: { query: { author: '$main' } } },
      branch: index({ author: MAIN, type: 'x', private: false }),
      is: true,
    },
    {
      shape: { metadata: { query: { private: false, type: 'post', author: '$main' } } },
      branch: index(author),
      is: true,
    },
    {
      shape: { metadata: { query: '{"type":"post", "author":"$main"}' } },
      branch: index(author),
      is: true,
      why: 'JSON in the shape',
    },
    { shape: { metadata: { query: '{"author":"$main"}' } }, branch: index(author), main: null, is: false },
    {
      shape: { metadata: { query: 'SELECT $root' } },
      branch: index(`SELECT ${ROOT}`),
      is: true,
      why: 'no JSON: as it is',
    },
    { shape: { metadata: { query: { author: '$main' } } }, branch: index('{"author":'), is: false },
    { shape: { metadata: { query: {} } }, branch: index('null'), is: false },
    { shape: { metadata: { query: {} } }, branch: index('[]'), is: false },
    { shape: { metadata: { query: {} } }, branch: index(null), is: false },
    { shape: { metadata: { query: {} } }, branch: index(''), is: false },
    { shape: { metadata: { query: null } }, branch: index(null), is: true },
    {
      shape: { metadata: { query: { op: 'and', args: [{ op: 'author', feed: '$main' }] } } },
      branch: index(`{"args":[{"feed":"${MAIN}","op":"author"}],"op":"and"}`),
      is: true,
      why: 'ssb-ql-1',
    },
  ]
  for (const { shape, branch, is, main, why = '' } of table) {
    const given = context(main === null ? { main } : {})
    const title = `${JSON.stringify(shape)} ${is ? 'matches' : 'does not match'} ${JSON.stringify(branch[3])} ${why}`
    t.equal(matchesBranch(templateOf(shape), branch, given), is, title)
    t.equal(matchesBranch(templateOf({ purpose: 'no such' }, shape), branch, given), is, 'one of several shapes')
  }
  t.notOk(matchesBranch(templateOf(), leaf('main'), context()), 'no shape, no leaf')
  t.end()
})

test('$groupSecret in purpose stands for each of our group keys', (t) => {
  const template = templateOf({ purpose: '$groupSecret', feedFormat: 'classic' })
  const member = context({ groupKeys: new Set(['other key', KEY]) })
  t.ok(matchesBranch(template, leaf(KEY), member))
  t.notOk(matchesBranch(template, leaf(KEY, { feedFormat: 'indexed-v1' }), member), 'other fields count too')
  t.notOk(matchesBranch(template, leaf(KEY), context()))
  t.notOk(matchesBranch(template, leaf('$groupSecret'), member))
  t.notOk(matchesBranch(template, leaf('main'), member))
  for (const digit of '0123456789abcdef') {
    const isOfKey = [pickShard(ROOT, 'other key'), pickShard(ROOT, KEY)].includes(digit)
    t.equal(matchesBranch(template, shard(digit), member), isOfKey, `shard ${digit}`)
    t.notOk(matchesBranch(template, shard(digit), context()), 'no key, no shard')
  }
  t.end()
})

test('the root and v1 always match, a shard if leaves of a shape are in it, other lengths never', (t) => {
  const template = templateOf({ purpose: 'main' }, { purpose: 'coolgame' })
  t.ok(matchesBranch(template, [root], context()))
  t.ok(matchesBranch(templateOf(), [root, v1], context()), 'even for a template without shapes')
  t.notOk(matchesBranch(template, [], context()))
  t.notOk(matchesBranch(templateOf({}), [...leaf('main'), feed('main')], context()))
  for (const digit of '0123456789abcdef') {
    const isIt = [pickShard(ROOT, 'main'), pickShard(ROOT, 'coolgame')].includes(digit)
    t.equal(matchesBranch(template, shard(digit), context()), isIt, `shard ${digit}`)
    t.ok(matchesBranch(templateOf({ feedFormat: 'classic' }), shard(digit), context()), 'no purpose: any')
    t.notOk(matchesBranch(templateOf(), shard(digit), context()))
    const unknown = context({ shardOf: () => null })
    t.ok(matchesBranch(template, shard(digit), unknown), 'cannot be computed: any')
  }
  const asked: string[] = []
  const shardOf = (of: string, purpose: string): string => {
    asked.push(of, purpose)
    return 'x'
  }
  matchesBranch(templateOf({ purpose: '$main' }), shard('0'), context({ shardOf }))
  t.deepEqual(asked, [ROOT, MAIN], 'of the root of the tree, and of what the purpose stands for')
  const lost = context({ main: null })
  t.notOk(matchesBranch(templateOf({ purpose: '$main' }), shard(pickShard(ROOT, 'null')), lost))
  t.notOk(matchesBranch(templateOf({ metadata: { a: '$main' } }), shard('0'), lost), 'nothing there could match')
  t.end()
})

test('the example of the old README works as given', (t) => {
  const { templates, problems } = parsePartialReplication(EXAMPLE)
  t.deepEqual(problems, [])
  const leaves: Record<string, Branch> = {
    main: leaf('main', { id: MAIN }),
    coolgame: leaf('coolgame'),
    'git-ssb': leaf('git-ssb'),
    chess: leaf('chess'),
    private: index(query(MAIN, null, true)),
    post: index(query(MAIN, 'post', false)),
    vote: index(query(MAIN, 'vote', false)),
    about: index(query(MAIN, 'about', false)),
    contact: index(query(MAIN, 'contact', false)),
    'contact of another': index(query(OTHER, 'contact', false)),
    pub: index(query(MAIN, 'pub', false)),
  }
  const table: readonly (readonly [number, readonly string[]])[] = [
    [0, 'main coolgame git-ssb private post vote about contact pub'.split(' ').concat('contact of another')],
    [1, ['private', 'post', 'vote', 'about', 'contact']],
    [2, ['about', 'contact']],
    [3, ['about']],
    [4, ['about']],
  ]
  for (const [hops, wanted] of table) {
    const { template } = templateFor(templates, hops)
    const found = Object.keys(leaves).filter((name) => matchesBranch(template!, leaves[name]!, context()))
    t.deepEqual(found.sort(), [...wanted].sort(), `hops ${hops}`)
    const old = new Old(EXAMPLE[Math.min(hops, 3) as 0])
    const theirs = Object.keys(leaves).filter((name) => old.matchBranch(leaves[name]!, MAIN, new Set()))
    t.deepEqual(found, theirs.sort(), 'as the old plugin has it')
    for (const digit of '0123456789abcdef')
      t.equal(
        matchesBranch(template!, shard(digit), context()),
        old.matchBranch(shard(digit), MAIN, new Set()),
        `shard ${digit}`,
      )
  }
  t.end()
})

test('metadata of strangers neither throws nor costs more than the shape', (t) => {
  const template = templateOf({
    purpose: 'index',
    metadata: { a: { b: 1 }, query: { author: '$main', type: { x: 1 } } },
  })
  const deep = JSON.parse(nested(5_000)) as Record<string, unknown>
  const wide = JSON.parse(`[${'0,'.repeat(100_000)}0]`) as unknown
  const hostile: readonly Record<string, unknown>[] = [
    deep,
    { a: deep, query: deep },
    { a: { b: 1 }, query: nested(50_000) },
    { a: { b: 1 }, query: '['.repeat(9_000) },
    { a: { b: 1 }, query: `{"author":"${MAIN}","type":${nested(1_000)}}` },
    { a: { b: 1 }, query: `{"__proto__":{"author":"${MAIN}","type":{"x":1}}}` },
    JSON.parse(`{"a":{"__proto__":{"b":1}},"query":{"author":"${MAIN}","type":{"x":1}}}`),
    JSON.parse(`{"__proto__":{"a":{"b":1},"query":{"author":"${MAIN}","type":{"x":1}}}}`),
    { a: wide, query: wide },
    { a: { b: 1 }, query: { author: MAIN, type: { x: 1, y: wide } } },
    { a: { b: 1 }, query: `{"author":"${MAIN}","type":{"x":1}}${' '.repeat(10_000)}` },
  ]
  for (const [i, metadata] of hostile.entries())
    t.equal(matchesBranch(template, leaf('index', { metadata }), context()), false, `row ${i}`)
  const fair = { a: { b: 1 }, query: `{"author":"${MAIN}","type":{"x":1}}` }
  t.ok(matchesBranch(template, leaf('index', { metadata: fair }), context()), 'the shape can be matched')
  const own = templateOf({ metadata: JSON.parse('{"__proto__":{"b":1}}') as object })
  t.ok(
    matchesBranch(own, leaf('x', { metadata: JSON.parse('{"__proto__":{"b":1}}') }), context()),
    'a field like others',
  )
  t.notOk(matchesBranch(own, leaf('x', { metadata: JSON.parse('{"__proto__":{"b":2}}') }), context()))
  const proto = JSON.parse('{"__proto__":{}}') as object
  const inherited: readonly (readonly [object, Record<string, unknown>])[] = [
    [proto, { b: 1 }],
    [{ a: proto }, { a: { b: 1 } }],
    [{ query: proto }, { query: { b: 1 } }],
  ]
  for (const [metadata, theirs] of inherited)
    t.notOk(
      matchesBranch(templateOf({ metadata }), leaf('x', { metadata: theirs }), context()),
      'inherited by all objects',
    )
  t.end()
})

test('a shape matches what it was made of, and no longer once one thing differs', (t) => {
  const json = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      fc.constantFrom(0, 1, true, false, null, '', 'a', '__proto__'),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom('a', 'b', '__proto__', 'constructor'), tie('value'), { maxKeys: 3 }),
    ),
  })).value
  const metadata = fc.dictionary(fc.constantFrom('a', 'b', 'toString', 'query'), json, { maxKeys: 3 })
  const outcomes = [0, 0]
  const result = fc.check(
    fc.property(metadata, metadata, fc.constantFrom(0, 1, 2, 3), (wanted, others, keptCount) => {
      const kept = Object.entries(wanted).slice(0, keptCount)
      const found = reversed({ ...others, ...Object.fromEntries(kept) }) as Record<string, unknown>
      const template = templateOf({ metadata: wanted })
      const copy = JSON.parse(JSON.stringify({ other: 1, ...wanted })) as Record<string, unknown>
      if (!matchesBranch(template, leaf('x', { metadata: copy }), context())) throw new Error('does not match itself')
      // Fields of a query may be anything where they are omitted, and that is the only exception to being the same.
      const isSame = Object.keys(wanted).every((key) => sorted(wanted[key]) === sorted(found[key]))
      if (Object.keys(wanted).length > 0) outcomes[isSame ? 1 : 0]!++
      const isQueryPartial = typeof wanted.query === 'object' && wanted.query !== null
      if (!isQueryPartial && matchesBranch(template, leaf('x', { metadata: found }), context()) !== isSame)
        throw new Error(isSame ? 'same, and does not match' : 'differs, and matches')
    }),
    { seed: SEED, numRuns: 500 },
  )
  t.ok(Math.min(...outcomes) > 10, `${outcomes[1]} matched, ${outcomes[0]} did not`)
  t.notOk(result.failed, `SEED=${SEED} ${JSON.stringify(result.counterexample)} ${String(result.errorInstance ?? '')}`)
  t.end()
})

/** The same with all keys in the opposite order. */
function reversed(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(reversed)
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, each]) => [key, reversed(each)]),
  )
}

/** In JSON with sorted keys; undefined for what is not there. */
function sorted(value: unknown): string | undefined {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? ['fields', ...Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))]
      : each,
  )
}

test('index feeds are asked for by shapes that can match one', (t) => {
  const table: readonly (readonly [unknown, boolean])[] = [
    [null, false],
    [{ 0: null }, false],
    [{ 0: [] }, false],
    [{ 0: [{}] }, true],
    [{ 0: [{ metadata: { a: 1 } }] }, true],
    [{ 0: [{ purpose: 'index' }] }, true],
    [{ 0: [{ purpose: 'main' }] }, false],
    [{ 0: [{ purpose: '$groupSecret' }] }, false],
    [{ 0: [{ feedFormat: 'classic' }] }, false],
    [{ 0: [{ purpose: 'index', feedFormat: 'classic' }] }, false],
    [{ 0: [{ purpose: 'other', feedFormat: 'indexed-v1' }] }, true],
    [{ 0: [{ purpose: 'main' }], 1: null, 2: [{ purpose: 'main' }, { purpose: 'index' }] }, true],
    [{ group: [{ purpose: 'index' }] }, true],
    [{ 0: [{ purpose: 'main' }], group: [{ purpose: '$groupSecret' }] }, false],
    [EXAMPLE, true],
  ]
  for (const [given, is] of table)
    t.equal(wantsIndexFeeds(parsePartialReplication(given).templates), is, JSON.stringify(given))
  t.end()
})
