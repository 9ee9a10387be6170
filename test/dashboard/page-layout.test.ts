/** Where things stand on the map and the timeline, the figures of the plots, and when reasons are asked for. */
import test = require('tape')

import {
  AWAITED_EVERY_MS,
  BATCH_MAX,
  createExplainer,
  EVERY_MS,
  type Explainer,
  MAX_AGE_MS,
} from '../../src/dashboard/page/explainer'
import { outcomes, outcomesSentence, roundTrips, roundTripsSentence } from '../../src/dashboard/page/figures'
import { peerName } from '../../src/dashboard/page/format'
import {
  best,
  classOf,
  layoutMap,
  type MapFrame,
  neighbour,
  RINGS,
  ringOf,
  ringWordY,
} from '../../src/dashboard/page/map-layout'
import { layoutTimeline, type Shown, SPAN_NAMES, SPANS, spanFor } from '../../src/dashboard/page/timeline-layout'
import type { ExplainAnswer, PeerRow } from '../../src/dashboard/protocol'
import { explanation, fakeId, makeWorld, peerRow, routeRow } from '../support/page-world'

const NOW = Date.UTC(2026, 0, 15, 12)
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const FRAME: MapFrame = {
  now: NOW,
  nodesMax: 240,
  radius: 230,
  labelOf: (peer) => peer.name ?? 'nobody',
  selected: null,
}

test('on the map the fresh stand near, each in the sector of its class', (t) => {
  const world = makeWorld({ now: NOW, peers: 300 })
  const peers = new Map(world.peers.map((peer) => [peer.id, peer]))
  const { nodes, sectors, hidden } = layoutMap(peers, FRAME)
  t.equal(nodes.length, 240, 'at most as many as there is room for')
  t.equal(hidden, 60, 'the others are counted')
  t.equal(new Set(nodes.map((node) => node.peer.id)).size, 240, 'each once')
  for (const node of nodes) {
    const share = Math.hypot(node.x, node.y) / FRAME.radius
    const inner = node.ring === 0 ? 0 : (RINGS[node.ring - 1]?.edge ?? 0)
    const outer = RINGS[node.ring]?.edge ?? 1
    if (!(share >= inner && share <= outer)) t.fail(`${node.peer.id} is outside of ring ${node.ring}`)
    const angle = (Math.atan2(node.x, -node.y) + Math.PI * 2) % (Math.PI * 2)
    const sector = sectors.find((each) => each.class === classOf(node.peer))
    if (!sector || angle < sector.from || angle > sector.to) t.fail(`${node.peer.id} is outside of its sector`)
  }
  const connected = world.peers.filter((peer) => peer.connection.status === 'connected')
  t.ok(connected.length > 5, 'there are some')
  for (const peer of connected)
    t.equal(nodes.find((node) => node.peer.id === peer.id)?.ring, 0, `${peer.name} is drawn, in the middle`)
  t.equal(
    sectors.reduce((sum, sector) => sum + sector.count, 0),
    300,
    'sectors count all',
  )
  t.ok(
    nodes.some((node) => node.label !== null),
    'some have a label',
  )
  t.end()
})

test('labels on the map cover neither each other nor a peer', (t) => {
  const peers = new Map(makeWorld({ now: NOW }).peers.map((peer) => [peer.id, peer]))
  for (const radius of [FRAME.radius, 139]) {
    const small = layoutMap(peers, { ...FRAME, nodesMax: 120, radius, labelOf: peerName }).nodes
    const crossed = small.filter((node) => {
      const near = node.radius + 6
      const width = Math.min(18, peerName(node.peer).length) * 6
      const left = node.label === 'right' ? node.x + near : node.x - near - width
      return (
        node.label !== null &&
        left < 12 &&
        left + width > -12 &&
        RINGS.some((_, ring) => Math.abs(ringWordY(ring, radius) - node.y) < 10)
      )
    })
    t.deepEqual(
      crossed.map(({ peer }) => peer.name),
      [],
      'nor the words of a ring',
    )
  }
  const { nodes } = layoutMap(peers, FRAME)
  const labelled = nodes.filter((node) => node.label !== null)
  t.ok(labelled.length > 4, `${labelled.length} labels`)
  for (const node of labelled) {
    const width = Math.min(18, FRAME.labelOf(node.peer).length) * 6
    const left = node.label === 'right' ? node.x + node.radius + 6 : node.x - node.radius - 6 - width
    const covered = nodes.filter(
      (other) => other !== node && other.x > left && other.x < left + width && Math.abs(other.y - node.y) < 6,
    )
    t.deepEqual(
      covered.map((other) => other.peer.name),
      [],
      `label of ${node.peer.name}`,
    )
  }
  t.end()
})

test('whoever is selected has a label, room or not', (t) => {
  const crowd = Array.from({ length: 200 }, (_, n) => peerRow(fakeId(n), { routes: [routeRow('net:a')] }))
  const peers = new Map(crowd.map((peer) => [peer.id, peer]))
  const labelled = (selected: string | null): string[] =>
    layoutMap(peers, { ...FRAME, selected })
      .nodes.filter((node) => node.label !== null)
      .map((node) => node.peer.id)
  t.deepEqual(labelled(null), [])
  t.deepEqual(labelled(fakeId(7)), [fakeId(7)])
  const world = new Map(makeWorld({ now: NOW }).peers.map((peer) => [peer.id, peer]))
  const frame = { ...FRAME, labelOf: peerName }
  const covering: string[] = []
  for (const { peer, label } of layoutMap(world, frame).nodes) {
    if (label === null) continue
    const { nodes } = layoutMap(world, { ...frame, selected: peer.id })
    const mine = nodes.find((node) => node.peer.id === peer.id) as (typeof nodes)[number]
    const width = Math.min(18, peerName(peer).length) * 6
    const left = mine.x + (mine.label === 'right' ? mine.radius + 6 : -mine.radius - 6 - width)
    if (nodes.some(({ x, y }) => x > left && x < left + width && Math.abs(y - mine.y) < 6))
      covering.push(peerName(peer))
  }
  t.deepEqual(covering, [], 'where there is room it covers nobody')
  t.end()
})

test('a map of strange classes, of one peer, of none', (t) => {
  const strange = Array.from({ length: 40 }, (_, n) => peerRow(fakeId(n), { routes: [routeRow(`x${n}:host`)] }))
  const { sectors, nodes } = layoutMap(new Map(strange.map((peer) => [peer.id, peer])), FRAME)
  t.ok(sectors.length <= 10, 'only so many sectors')
  t.equal(sectors[sectors.length - 1]?.class, 'other')
  t.equal(nodes.length, 40, 'all are drawn')
  t.ok(nodes.every((node) => Number.isFinite(node.x) && Number.isFinite(node.y)))
  t.deepEqual(layoutMap(new Map(), FRAME), { nodes: [], sectors: [], hidden: 0 })
  const one = layoutMap(new Map([[fakeId(1), peerRow(fakeId(1))]]), FRAME)
  t.equal(one.sectors[0]?.class, 'no route')
  t.equal(one.nodes.length, 1)
  t.end()
})

test('how fresh a peer is', (t) => {
  const seen = (at: number | null): PeerRow => peerRow(fakeId(1), { visitedAt: at })
  t.equal(ringOf(seen(NOW - MINUTE), NOW), 1)
  t.equal(ringOf(seen(NOW - 3 * HOUR), NOW), 2)
  t.equal(ringOf(seen(NOW - 30 * HOUR), NOW), 3)
  t.equal(ringOf(seen(null), NOW), 4)
  t.end()
})

test('the best of many, in order', (t) => {
  const numbers = Array.from({ length: 1_000 }, (_, i) => (i * 7919) % 1_000)
  t.deepEqual(
    best(numbers, 5, (a, b) => a - b),
    [0, 1, 2, 3, 4],
  )
  t.deepEqual(
    best([3, 1], 5, (a, b) => a - b),
    [1, 3],
  )
  t.end()
})

test('arrow keys find the nearest that way', (t) => {
  const [middle, right, far, up] = [
    { x: 0, y: 0 },
    { x: 10, y: 1 },
    { x: 40, y: 0 },
    { x: 1, y: -10 },
  ]
  const nodes = [middle, right, far, up]
  t.equal(neighbour(nodes, middle, 'right'), right)
  t.equal(neighbour(nodes, right, 'right'), far)
  t.equal(neighbour(nodes, middle, 'up'), up)
  t.equal(neighbour(nodes, middle, 'down'), right, 'what lies aside is not out of reach')
  t.equal(neighbour(nodes, up, 'up'), null)
  t.end()
})

const bar = (peer: number, from: number, to: number | null, more: object = {}): Shown => ({
  kind: 'connection',
  peer: fakeId(peer),
  address: null,
  direction: 'outbound',
  class: 'net',
  from,
  to,
  why: 'schedule',
  ended: to === null ? null : 'closed',
  ...more,
})
const fail = (peer: number, to: number): Shown => ({
  kind: 'failed',
  peer: fakeId(peer),
  address: 'net:a',
  class: 'net',
  from: to - 1_000,
  to,
  why: 'schedule',
  error: 'ECONNREFUSED',
})

test('the timeline has a row per peer, who is up first', (t) => {
  const from = NOW - HOUR
  const { rows, hidden, ticks } = layoutTimeline(
    [
      bar(1, from + 10 * MINUTE, from + 20 * MINUTE),
      bar(2, from - 30 * MINUTE, null),
      fail(3, from + 5 * MINUTE),
      bar(4, from - 3 * HOUR, from - 2 * HOUR),
      fail(1, from + 30 * MINUTE),
    ],
    { from, to: NOW, width: 600, rowsMax: 2 },
  )
  t.deepEqual(
    rows.map((row) => row.peer),
    [fakeId(2), fakeId(1)],
    'the one before the span has no row',
  )
  t.equal(hidden, 1)
  const [up] = rows[0]?.items ?? []
  t.ok(up?.kind === 'bar' && up.x === 0 && up.width === 600 && up.isOpenLeft && up.isOpenRight, 'from before until now')
  const [past, mark] = rows[1]?.items ?? []
  t.ok(past?.kind === 'bar' && past.x === 100 && past.width === 100 && !past.isOpenRight, 'ten minutes of sixty')
  t.equal(mark?.kind, 'mark')
  t.equal(mark?.x, 300)
  t.ok(ticks.length > 2 && ticks.every((tick) => tick.at % (5 * MINUTE) === 0), 'ticks at full minutes')
  t.end()
})

test('the shortest span that holds the history is shown first', (t) => {
  const rows: readonly (readonly [ageMs: number, span: string])[] = [
    [-5_000, 'quarter'],
    [0, 'quarter'],
    [15 * MINUTE, 'quarter'],
    [15 * MINUTE + 1, 'hour'],
    [6 * HOUR, 'sixHours'],
    [7 * HOUR, 'day'],
    [900 * HOUR, 'day'],
    [Number.NaN, 'day'],
  ]
  for (const [ageMs, span] of rows) t.equal(spanFor(ageMs), span, String(ageMs))
  for (const name of SPAN_NAMES) {
    const { ms, bucketMs } = SPANS[name]
    t.ok(Number.isInteger(ms / bucketMs) && ms / bucketMs >= 30 && ms / bucketMs <= 60, `${name}: whole buckets`)
  }
  t.end()
})

test('what stands too close on the timeline is one, and still counted', (t) => {
  const from = NOW - 24 * HOUR
  const flaps = Array.from({ length: 500 }, (_, i) => bar(1, from + i * 10_000, from + i * 10_000 + 5_000))
  const fails = Array.from({ length: 500 }, (_, i) => fail(1, from + i * 10_000))
  const { rows } = layoutTimeline([...flaps, ...fails], { from, to: NOW, width: 900, rowsMax: 10 })
  const items = rows[0]?.items ?? []
  t.ok(items.length < 80, `${items.length} shapes for 1000 entries`)
  t.equal(
    items.reduce((sum, item) => sum + item.entries.length, 0),
    1_000,
  )
  const both = layoutTimeline(
    [bar(1, from, from + HOUR), bar(1, from + HOUR, from + 2 * HOUR, { direction: 'inbound' })],
    { from, to: NOW, width: 900, rowsMax: 10 },
  )
  t.equal(both.rows[0]?.items.length, 2, 'directions are never merged')
  t.end()
})

test('outcomes of dials by time, and in words', (t) => {
  const from = NOW - HOUR
  const entries = [
    bar(1, from + MINUTE, null),
    bar(2, from + MINUTE, null, { direction: 'inbound' }),
    bar(3, from - MINUTE, null),
    fail(1, from + 59 * MINUTE),
    fail(1, NOW),
  ]
  const found = outcomes(entries, from, NOW, 6)
  t.deepEqual(found.succeeded, [1, 0, 0, 0, 0, 0], 'inbound and earlier ones are no dials of this hour')
  t.deepEqual(found.failed, [0, 0, 0, 0, 0, 2])
  t.equal(
    outcomesSentence(found, 'the last hour'),
    '3 dials in the last hour: 1 succeeded (33 %), 2 failed. Failures: 2 × ECONNREFUSED.',
  )
  t.equal(outcomesSentence(outcomes([], from, NOW, 6), 'the last hour'), 'No dial in the last hour.')
  t.end()
})

test('round trips by time, and in words', (t) => {
  const from = NOW - HOUR
  const trips = Array.from({ length: 10 }, (_, i) => ({
    kind: 'rtt' as const,
    peer: fakeId(i % 2),
    at: from + 1,
    rttMs: (i + 1) * 10,
  }))
  const found = roundTrips([...trips, { kind: 'rtt', peer: fakeId(9), at: from - 1, rttMs: 9_999 }], from, NOW, 6)
  t.deepEqual([found.times.length, found.median[0], found.high[0]], [1, 60, 100])
  t.match(
    roundTripsSentence(found, 'the last hour'),
    /^Half of 10 round trips to 2 peers in the last hour took less than 60 ms, nine in ten less than 100 ms\.$/,
  )
  t.equal(
    roundTripsSentence(roundTrips([], from, NOW, 6), 'the last hour'),
    'No round trip was measured in the last hour.',
  )
  t.end()
})

/** An explainer under a clock of its own; `pass` moves it on. */
function makeExplainer(): {
  readonly explainer: Explainer
  readonly asked: { at: number; targets: readonly string[] }[]
  pass(ms: number): Promise<void>
} {
  let now = 0
  const timers: { at: number; fn: () => void }[] = []
  const asked: { at: number; targets: readonly string[] }[] = []
  const explainer = createExplainer({
    now: () => now,
    setTimer: (fn, ms) => timers.push({ at: now + ms, fn }),
    changed: () => {},
    ask: (targets) => {
      asked.push({ at: now, targets })
      if (targets.includes('lost')) return Promise.resolve(null)
      const answer: ExplainAnswer = targets.map((target) => explanation({ reason: 'off', message: target }))
      return Promise.resolve(answer)
    },
  })
  return {
    explainer,
    asked,
    pass: async (ms) => {
      const end = now + ms
      for (;;) {
        timers.sort((a, b) => a.at - b.at)
        const next = timers[0]
        if (!next || next.at > end) break
        timers.shift()
        now = next.at
        next.fn()
        // The answer is a promise.
        await new Promise<void>((resolve) => setImmediate(resolve))
      }
      now = end
    },
  }
}

test('reasons are asked for what is in sight, in batches, no more than every two seconds', async (t) => {
  const { explainer, asked, pass } = makeExplainer()
  await pass(60_000)
  t.equal(asked.length, 0, 'nothing is in sight')
  explainer.want('table', ['a', 'b'])
  explainer.want('details', ['a'])
  t.equal(explainer.get('a'), undefined)
  await pass(1_000)
  t.deepEqual(
    asked.map((each) => each.targets),
    [['a', 'b']],
    'each once',
  )
  t.equal(explainer.get('b')?.message, 'b')
  for (let i = 0; i < 100; i++) {
    explainer.want('table', [`row ${i}`])
    await pass(50)
  }
  await pass(EVERY_MS * 2)
  const gaps = asked.slice(1).map((each, i) => each.at - (asked[i]?.at ?? 0))
  t.ok(asked.length > 2 && asked.length < 6, `${asked.length} requests while scrolling for five seconds`)
  t.ok(
    gaps.every((gap) => gap >= EVERY_MS),
    `${gaps}`,
  )
  t.equal(explainer.get('row 99')?.message, 'row 99', 'where it stops is explained')
  t.equal(explainer.get('row 1'), undefined, 'what rushed by is not')
  const many = Array.from({ length: 250 }, (_, i) => `many ${i}`)
  explainer.want('table', many)
  await pass(EVERY_MS * 4)
  t.ok(
    asked.every((each) => each.targets.length <= BATCH_MAX),
    'no batch is too large',
  )
  t.ok(
    many.every((target) => explainer.get(target)),
    'all have come in the end',
  )
  t.end()
})

test('what somebody waits for is asked for at once, and before all else', async (t) => {
  const { explainer, asked, pass } = makeExplainer()
  const many = Array.from({ length: 250 }, (_, i) => `many ${i}`)
  explainer.want('table', many)
  await pass(200)
  t.equal(asked.length, 1)
  explainer.want('details', ['alice'], true)
  await pass(AWAITED_EVERY_MS)
  t.equal(asked.length, 2, 'long before its turn')
  t.equal(asked[1]?.targets[0], 'alice')
  t.equal(explainer.get('alice')?.message, 'alice')
  for (let i = 0; i < 20; i++) {
    explainer.want('details', [`peer ${i}`], true)
    await pass(50)
  }
  const gaps = asked.slice(1).map((each, i) => each.at - (asked[i]?.at ?? 0))
  t.ok(Math.min(...gaps) >= AWAITED_EVERY_MS, `who goes through many does not flood: ${gaps}`)
  explainer.want('table', [])
  explainer.want('details', [], true)
  const before = asked.length
  await pass(MAX_AGE_MS * 2)
  t.equal(asked.length, before, 'nothing is in sight any more')
  explainer.want('details', ['lost'], true)
  await pass(10_000)
  t.ok(asked.length - before <= 1 + 10_000 / EVERY_MS, 'an answer that does not come is not asked for in haste')
  t.end()
})

test('reasons are asked for again when something changed, and when they are old', async (t) => {
  const { explainer, asked, pass } = makeExplainer()
  explainer.want('table', ['a'])
  await pass(5_000)
  t.equal(asked.length, 1)
  explainer.invalidate()
  explainer.invalidate()
  await pass(1_000)
  t.equal(asked.length, 2, 'once for both')
  await pass(MAX_AGE_MS + 1_000)
  t.equal(asked.length, 3, 'an old one may have ended by itself')
  explainer.pause(true)
  explainer.invalidate()
  await pass(10 * MAX_AGE_MS)
  t.equal(asked.length, 3, 'nothing while nobody looks')
  explainer.pause(false)
  await pass(1_000)
  t.equal(asked.length, 4)
  explainer.want('table', [])
  await pass(10 * MAX_AGE_MS)
  t.equal(asked.length, 4, 'nothing is in sight any more')
  t.end()
})
