/** Branches of meta feed trees: in which order they come, what is not lost, and what becomes of failures. */
import test = require('tape')

import type { Sbot } from '../../src/adapters/sbot'
import { type Metafeeds, startMetafeeds } from '../../src/replication/metafeeds'
import { systemClock } from '../../src/shell/clock'
import { virtualClock } from '../../src/testing'
import { eventually } from '../support/eventually'
import { bootMetafeedStack, type Feed, findLeaf, tombstone } from '../support/metafeeds'
import { STACK_VERSIONS } from '../support/stack'
import { Pushable } from '../support/streams'

/** ssb-meta-feeds as far as it matters here: branches are names, and the state may still be loading. */
class FakeMetafeeds {
  readonly branches: string[] = []
  /** Every stream that was opened, `old` or `live`, in order. */
  readonly opened: string[] = []
  readonly streams: Pushable<string>[] = []
  isLoading = false
  failure: Error | null = null
  private waiting: (() => void)[] = []

  readonly branchStream = (options: { old?: boolean; live?: boolean; tombstoned?: unknown }) => {
    if (options.tombstoned !== null) throw new Error('tombstoned branches are left out')
    if (options.old === options.live) throw new Error('nobody can tell where the old ones end')
    const which = options.old ? 'old' : 'live'
    this.opened.push(which)
    const stream = new Pushable<string>()
    if (this.failure) stream.finish(this.failure)
    else {
      const fill = (): void => {
        if (which === 'live') this.streams.push(stream)
        else {
          stream.push(...this.branches)
          stream.finish()
        }
      }
      if (this.isLoading) this.waiting.push(fill)
      else fill()
    }
    return stream.source
  }

  add(name: string): void {
    this.branches.push(name)
    for (const stream of this.streams) stream.push(name)
  }

  loaded(): void {
    this.isLoading = false
    const { waiting } = this
    this.waiting = []
    for (const fill of waiting) {
      fill()
      // What happens at the worst of times: after one stream was made and before the next.
      if (waiting.length > 1 && fill === waiting[0]) this.add('meanwhile')
    }
  }
}

function watching(metafeeds: FakeMetafeeds | undefined, onBranch: (branch: unknown) => void = () => {}) {
  const clock = virtualClock()
  const sbot = { id: '@me', metafeeds } as unknown as Sbot
  const seen: unknown[] = []
  const logged: string[] = []
  const watch: Metafeeds = startMetafeeds({
    sbot,
    clock,
    onBranch: (branch) => {
      seen.push(branch)
      onBranch(branch)
    },
    onLoaded: () => seen.push('LOADED'),
    log: (message) => logged.push(message),
  })
  return { clock, sbot, seen, logged, watch }
}

test('what is there comes first, then it is loaded, then what is new', (t) => {
  const metafeeds = new FakeMetafeeds()
  metafeeds.add('a')
  metafeeds.add('b')
  const { clock, seen, watch } = watching(metafeeds)
  t.deepEqual(seen, [], 'nothing within the call')
  t.notOk(watch.isLoaded())
  clock.flush()
  t.deepEqual(seen, ['a', 'b', 'LOADED'])
  t.ok(watch.isLoaded())
  metafeeds.add('c')
  t.deepEqual(seen, ['a', 'b', 'LOADED', 'c'])
  watch.stop()
  t.end()
})

test('a branch made between the old ones and the live ones is not lost', (t) => {
  const metafeeds = new FakeMetafeeds()
  metafeeds.add('a')
  metafeeds.isLoading = true
  const { clock, seen, watch } = watching(metafeeds)
  clock.advance(3_600_000)
  t.deepEqual(seen, [], 'the state is not there yet, however long it takes')
  t.notOk(watch.isLoaded())
  metafeeds.loaded()
  t.deepEqual(metafeeds.opened, ['live', 'old'])
  t.ok(seen.includes('meanwhile'), 'it came')
  t.ok(seen.indexOf('a') >= 0 && seen.indexOf('a') < seen.indexOf('LOADED'), 'loaded after the old ones')
  watch.stop()
  t.end()
})

test('without ssb-meta-feeds it is loaded at once; when that appears its branches come after all', (t) => {
  const { clock, sbot, seen, watch } = watching(undefined)
  t.notOk(watch.isLoaded(), 'not within the call: the next plugin may be it')
  clock.flush()
  t.deepEqual(seen, ['LOADED'])
  watch.poke()
  clock.flush()
  t.deepEqual(seen, ['LOADED'], 'still not there')
  const metafeeds = new FakeMetafeeds()
  metafeeds.add('a')
  sbot.metafeeds = metafeeds
  watch.poke()
  watch.poke()
  clock.flush()
  metafeeds.add('b')
  t.deepEqual(seen, ['LOADED', 'a', 'b'], 'each once')
  watch.stop()
  t.end()
})

test('ssb-meta-feeds that is mounted right after us is found without being told', (t) => {
  const { clock, sbot, seen, watch } = watching(undefined)
  const metafeeds = new FakeMetafeeds()
  metafeeds.add('a')
  sbot.metafeeds = metafeeds
  clock.flush()
  t.deepEqual(seen, ['a', 'LOADED'])
  watch.stop()
  t.end()
})

test('a live stream that ends is opened again, and what came meanwhile is made up for', (t) => {
  const metafeeds = new FakeMetafeeds()
  const { clock, seen, logged, watch } = watching(metafeeds)
  clock.flush()
  metafeeds.streams[0]!.finish(new Error('broken'))
  t.match(logged.join(), /broken/)
  metafeeds.branches.push('missed')
  clock.advance(999)
  t.deepEqual(seen, ['LOADED'])
  clock.advance(1)
  t.deepEqual(seen, ['LOADED', 'missed'])
  metafeeds.add('new')
  t.deepEqual(seen, ['LOADED', 'missed', 'new'], 'loaded once, and each branch once')
  watch.stop()
  t.end()
})

test('it is loaded only when all old ones were given, at pauses from one second to one minute', (t) => {
  const metafeeds = new FakeMetafeeds()
  metafeeds.add('a')
  metafeeds.failure = new Error('not now')
  const { clock, seen, watch } = watching(metafeeds)
  clock.flush()
  const pauses: number[] = []
  for (let waited = 0; pauses.length < 9; waited++) {
    const before = metafeeds.opened.filter((which) => which === 'live').length
    clock.advance(1_000)
    if (metafeeds.opened.filter((which) => which === 'live').length === before) continue
    pauses.push(waited + 1)
    waited = -1
  }
  t.deepEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60], 'seconds')
  t.notOk(watch.isLoaded())
  metafeeds.failure = null
  clock.advance(60_000)
  t.deepEqual(seen.slice(0, 2), ['a', 'LOADED'])
  watch.stop()
  t.equal(clock.pending, 0)
  t.end()
})

test('what a reader or ssb-meta-feeds throws is logged, and the others come', (t) => {
  const metafeeds = new FakeMetafeeds()
  for (const name of ['a', 'b']) metafeeds.add(name)
  const { clock, seen, logged, watch } = watching(metafeeds, (branch) => {
    if (branch === 'a') throw new Error('no taste for it')
  })
  clock.flush()
  t.deepEqual(seen, ['a', 'b', 'LOADED'])
  t.match(logged.join(), /no taste for it/)
  watch.stop()

  const broken = new FakeMetafeeds()
  const second = watching(Object.assign(broken, { branchStream: () => undefined }))
  second.clock.flush()
  t.match(second.logged.join(), /no stream/)
  second.watch.stop()
  t.equal(second.clock.pending, 0)
  t.end()
})

test('after stop nothing comes, whatever was under way', (t) => {
  const untouched = new FakeMetafeeds()
  const early = watching(untouched)
  early.watch.stop()
  early.clock.flush()
  t.deepEqual(early.seen, [], 'stopped before it looked')
  t.deepEqual(untouched.opened, [])

  const half = watching(undefined)
  half.clock.flush()
  half.sbot.metafeeds = untouched
  half.watch.poke()
  half.watch.stop()
  half.clock.flush()
  t.deepEqual(untouched.opened, ['live'], 'stopped between the two')

  const metafeeds = new FakeMetafeeds()
  metafeeds.add('a')
  metafeeds.isLoading = true
  const loading = watching(metafeeds)
  loading.clock.flush()
  loading.watch.stop()
  metafeeds.loaded()
  loading.watch.poke()
  loading.clock.flush()
  t.deepEqual(loading.seen, [], 'stopped while it was loading')

  const other = new FakeMetafeeds()
  const later = watching(other, () => later.watch.stop())
  later.clock.flush()
  other.add('a')
  other.add('b')
  t.deepEqual(later.seen, ['LOADED', 'a'], 'stopped by the reader')
  t.ok(other.streams[0]!.isAborted)
  t.equal(later.clock.pending, 0)
  t.end()
})

for (const version of STACK_VERSIONS)
  test(`secret-stack ${version}: real trees: what is there, what is added, and what is ended`, async (t) => {
    const stack = await bootMetafeedStack({ version, name: 'forest' })
    const leaves: string[] = []
    const purposes = (): string[] => [...new Set(leaves)].sort()
    await findLeaf(stack, { purpose: 'chess' })
    const watch = startMetafeeds({
      sbot: stack.ssb as unknown as Sbot,
      clock: systemClock,
      onBranch: (branch) => {
        const [, , , leaf] = branch as readonly Feed[]
        if (leaf) leaves.push(leaf.tombstoned ? `${leaf.purpose} ended` : leaf.purpose)
      },
      onLoaded: () => leaves.push('LOADED'),
      log: (message) => t.comment(message),
    })
    await eventually(() => watch.isLoaded(), { timeoutMs: 15_000, message: 'the state is loaded' })
    t.deepEqual([...new Set(leaves.slice(0, leaves.indexOf('LOADED')))].sort(), ['chess', 'main'], 'old ones')
    await findLeaf(stack, { purpose: 'draughts' })
    await eventually(() => leaves.includes('draughts'), { timeoutMs: 15_000, message: 'the new leaf' })
    await tombstone(stack, { purpose: 'chess' })
    await eventually(() => leaves.includes('chess ended'), { timeoutMs: 15_000, message: 'the end of a leaf' })
    t.deepEqual(purposes(), ['LOADED', 'chess', 'chess ended', 'draughts', 'main'])
    watch.stop()
    await stack.close()
  })
