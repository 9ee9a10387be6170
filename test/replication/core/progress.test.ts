/** Verdicts on series of looks, and what is shown of them: tables over seconds, without any clock. */
import test = require('tape')

import {
  addSample,
  type Bar,
  beginWatch,
  etaOf,
  isNonsense,
  judge,
  type Measured,
  type Measurement,
  nextBar,
  type PhaseFacts,
  QUIET_MS,
  rateOf,
  restartSpans,
  type Sample,
  type Signals,
  STALL_MS,
  summarize,
  toSequence,
  type Watch,
} from '../../../src/replication/core/progress'

const START = 1_000_000
const EVERY_MS = 500

const FEW = new Set(['a', 'b'])
const MORE = new Set(['a', 'b', 'c'])
const OTHERS = new Set(['a', 'c'])

function saw(have: number, remaining: number, change: Partial<Measured> = {}): Measured {
  return { kind: 'measured', wanted: FEW, have, others: have, remaining, isFresh: true, ...change }
}
const ALL = saw(10, 0)
const SILENT: Measurement = { kind: 'silent' }
const MUTE: Measurement = { kind: 'mute' }
const UNKNOWN: Measurement = { kind: 'unknown' }

// ---- the verdict ------------------------------------------------------------------------------------------------------------

interface Row {
  readonly what: string
  /** What a look finds, this long after the start. */
  readonly look: (ms: number) => Measurement
  readonly signals?: (ms: number) => Partial<Signals>
  /** The clock is set at this time. */
  readonly jumpAt?: number
  /** When the verdict changes, and to what. */
  readonly expected: readonly (readonly [ms: number, verdict: 'caughtUp' | 'stalled' | 'open'])[]
  readonly untilMs?: number
}

const message = (ms: number): Partial<Signals> => ({ lastMessageAt: START + ms })

const ROWS: readonly Row[] = [
  { what: 'all is there: done after the quiet time', look: () => ALL, expected: [[QUIET_MS, 'caughtUp']] },
  {
    what: 'the peer holds feeds back: done with it after the stall time',
    look: () => saw(10, 5),
    expected: [[STALL_MS, 'caughtUp']],
  },
  { what: 'nothing is known: nothing is said', look: () => UNKNOWN, expected: [] },
  { what: 'a peer that does not answer has stalled', look: () => SILENT, expected: [[0, 'stalled']] },
  {
    what: 'a frozen peer has stalled, even if nothing was missing before',
    look: (ms) => (ms < 2_000 ? ALL : SILENT),
    expected: [[2_000, 'stalled']],
  },
  {
    what: 'one that freezes after the verdict has stalled too',
    look: (ms) => (ms < 5_000 ? ALL : SILENT),
    expected: [
      [QUIET_MS, 'caughtUp'],
      [5_000, 'stalled'],
    ],
  },
  {
    what: 'one that answers again goes on, and its time was no quiet time',
    look: (ms) => (ms < 4_000 ? SILENT : saw(ms, 9_000 - ms > 0 ? 9_000 - ms : 0)),
    expected: [
      [0, 'stalled'],
      [4_000, 'open'],
    ],
    untilMs: 9_000,
  },
  { what: 'a peer that says nothing of our feeds: a room', look: () => MUTE, expected: [[STALL_MS, 'stalled']] },
  {
    what: 'a room that was asked for by name is waited for',
    look: () => MUTE,
    signals: () => ({ keepsMute: true }),
    expected: [],
  },
  {
    what: 'a mute peer is given time while messages come',
    look: () => MUTE,
    signals: (ms) => message(Math.min(ms, 8_000)),
    expected: [[8_000 + STALL_MS, 'stalled']],
  },
  {
    what: 'the graph grows just before the quiet time is over',
    look: (ms) =>
      ms < 2_000
        ? saw(200, 0)
        : ms < 4_000
          ? saw(200 + ms, 6_000 - ms, { wanted: MORE })
          : saw(9_000, 0, { wanted: MORE }),
    expected: [[4_000 + QUIET_MS, 'caughtUp']],
  },
  {
    what: 'the wanted set changes and keeps its size',
    look: (ms) => ({ ...ALL, wanted: ms < 2_000 ? FEW : OTHERS }),
    expected: [[2_000 + QUIET_MS, 'caughtUp']],
  },
  {
    what: 'an equal set that is another object is no change',
    look: () => ({ ...ALL, wanted: new Set(FEW) }),
    expected: [[QUIET_MS, 'caughtUp']],
  },
  {
    what: 'what is wanted is not the last word',
    look: (ms) => ({ ...ALL, isFresh: ms >= 7_000 }),
    expected: [[6_500 + QUIET_MS, 'caughtUp']],
  },
  {
    what: 'the database catches up',
    look: () => ALL,
    signals: (ms) => ({ isIndexing: ms < 5_000 }),
    expected: [[4_500 + QUIET_MS, 'caughtUp']],
  },
  {
    what: 'it begins to catch up after the verdict',
    look: () => ALL,
    signals: (ms) => ({ isIndexing: ms >= 5_000 }),
    expected: [
      [QUIET_MS, 'caughtUp'],
      [5_000, 'open'],
    ],
  },
  {
    what: 'messages drip in: never done while something is missing',
    look: (ms) => saw(Math.floor(ms / 10_000), 50 - Math.floor(ms / 10_000)),
    signals: (ms) => message(Math.floor(ms / 10_000) * 10_000),
    expected: [],
    untilMs: 60_000,
  },
  {
    what: 'messages of feeds that nobody counts keep it open',
    look: () => ALL,
    signals: (ms) => message(Math.min(ms, 6_000)),
    expected: [[6_000 + QUIET_MS, 'caughtUp']],
  },
  {
    what: 'once done, a single message that has arrived changes nothing',
    look: (ms) => (ms < 5_000 ? ALL : saw(11, 0)),
    signals: (ms) => (ms < 5_000 ? {} : message(5_000)),
    expected: [[QUIET_MS, 'caughtUp']],
  },
  {
    what: 'once done, a message to get opens it again until it is here and quiet',
    look: (ms) => (ms < 5_000 ? ALL : ms < 6_000 ? saw(10, 1) : saw(11, 0)),
    expected: [
      [QUIET_MS, 'caughtUp'],
      [5_000, 'open'],
      [6_000 + QUIET_MS, 'caughtUp'],
    ],
  },
  {
    what: 'once done, other wanted feeds open it again',
    look: (ms) => ({ ...ALL, wanted: ms < 5_000 ? FEW : MORE }),
    expected: [
      [QUIET_MS, 'caughtUp'],
      [5_000, 'open'],
      [5_000 + QUIET_MS, 'caughtUp'],
    ],
  },
  {
    what: 'once done with what is held back, that it is held back still changes nothing',
    look: (ms) => saw(10, ms < 20_000 ? 5 : 4),
    expected: [[STALL_MS, 'caughtUp']],
    untilMs: 40_000,
  },
  {
    what: 'after a jump of the clock all times begin anew',
    look: () => ALL,
    jumpAt: 2_000,
    expected: [[2_000 + QUIET_MS, 'caughtUp']],
  },
  {
    what: 'a verdict from before a jump does not hold after it',
    look: () => ALL,
    jumpAt: 5_000,
    expected: [
      [QUIET_MS, 'caughtUp'],
      [5_000, 'open'],
      [5_000 + QUIET_MS, 'caughtUp'],
    ],
  },
]

const verdictOf = ({ isCaughtUp, isStalled }: Watch): 'caughtUp' | 'stalled' | 'open' =>
  isStalled ? 'stalled' : isCaughtUp ? 'caughtUp' : 'open'

for (const { what, look, signals, jumpAt, expected, untilMs = 30_000 } of ROWS) {
  test(`verdict: ${what}`, (t) => {
    let watch = beginWatch(START)
    const changes: [number, string][] = []
    for (let ms = 0; ms <= untilMs; ms += EVERY_MS) {
      const before = verdictOf(watch)
      if (ms === jumpAt) watch = restartSpans(watch, START + ms)
      const given = { lastMessageAt: 0, isIndexing: false, keepsMute: false, ...signals?.(ms) }
      watch = judge(watch, look(ms), START + ms, given)
      if (watch.isCaughtUp && watch.isStalled) t.fail('both at once')
      if (verdictOf(watch) !== before) changes.push([ms, verdictOf(watch)])
    }
    t.deepEqual(changes, expected)
    t.end()
  })
}

test('what the times mean: the constants that the reference names', (t) => {
  t.ok(QUIET_MS >= 2_000 && QUIET_MS <= 3_000, 'quiet')
  t.ok(STALL_MS >= 10_000 && STALL_MS <= 15_000, 'stalled')
  t.end()
})

test('sequence numbers: what remotes may say', (t) => {
  const rows: readonly (readonly [unknown, number | null, boolean])[] = [
    [0, 0, false],
    [7, 7, false],
    [-1, null, false],
    [undefined, null, false],
    [-7, null, true],
    [0.5, null, true],
    ['7', null, true],
    [Number.NaN, null, true],
    [Number.MAX_SAFE_INTEGER, null, true],
    [null, null, true],
    [{ valueOf: 7 }, null, true],
  ]
  for (const [value, sequence, nonsense] of rows) {
    t.equal(toSequence(value), sequence, `${String(value)}: sequence`)
    t.equal(isNonsense(value), nonsense, `${String(value)}: nonsense`)
  }
  t.end()
})

// ---- what is shown ----------------------------------------------------------------------------------------------------------

test('the bar: it does not run backwards while the wanted feeds stay the same, and begins anew with others', (t) => {
  const rows: readonly (readonly [string, Measured, boolean, have: number, want: number])[] = [
    ['the first look', saw(0, 100), false, 0, 100],
    ['something came', saw(40, 60), false, 40, 100],
    ['the peer with most of it has gone', saw(40, 10), false, 40, 100],
    ['an equal set is the same phase', saw(45, 5, { wanted: new Set(FEW) }), false, 45, 100],
    ['it is back', saw(50, 50), false, 50, 100],
    ['more than ever: growth', saw(50, 70), false, 50, 120],
    ['it has gone for good, and all the others have is here', saw(60, 0), true, 60, 60],
    ['from then on that is the measure', saw(60, 1), false, 60, 61],
    ['other feeds: a new phase', saw(60, 9_000, { wanted: MORE }), false, 60, 9_060],
    ['fewer feeds, too', saw(50, 2), false, 50, 52],
  ]
  let bar: Bar | null = null
  for (const [what, seen, isDone, have, want] of rows) {
    bar = nextBar(bar, seen, isDone)
    t.deepEqual({ have: bar.have, want: bar.want }, { have, want }, what)
  }
  t.end()
})

test('the rate: of the last seconds, null until there is something to compare', (t) => {
  const rates = (samples: readonly (readonly [at: number, count: number])[]): (number | null)[] => {
    let kept: readonly Sample[] = []
    return samples.map(([at, count]) => {
      kept = addSample(kept, { at, count })
      return rateOf(kept)
    })
  }
  t.deepEqual(rates([[0, 5]]), [null], 'one look')
  t.deepEqual(
    rates([
      [0, 5],
      [900, 500],
    ]),
    [null, null],
    'less than a second',
  )
  t.deepEqual(
    rates([
      [0, 0],
      [2_000, 100],
    ]),
    [null, 50],
  )
  t.deepEqual(
    rates([
      [0, 0],
      [5_000, 500],
      [10_000, 500],
      [15_000, 500],
    ]),
    [null, 100, 50, 0],
    'it follows',
  )
  t.deepEqual(
    rates([
      [0, 0],
      [10_000, 100],
      [20_000, 200],
    ]),
    [null, 10, 10],
    'on a slow line looks are far apart',
  )
  t.deepEqual(
    rates([
      [0, 0],
      [60_000, 100],
    ]),
    [null, null],
    'too far apart',
  )
  t.deepEqual(
    rates([
      [9_000, 0],
      [3_000, 100],
    ]),
    [null, null],
    'the clock was set back',
  )
  t.end()
})

test('the memory of the rate is bounded', (t) => {
  let kept: readonly Sample[] = []
  for (let i = 0; i < 1_000; i++) kept = addSample(kept, { at: i * 1_000, count: i })
  t.ok(kept.length <= 10, `${kept.length} samples`)
  t.end()
})

test('the time left', (t) => {
  const rows: readonly (readonly [number | null, number | null, number | null])[] = [
    [100, 10, 10],
    [101, 10, 11],
    [0, null, 0],
    [100, null, null],
    [100, 0, null],
    [null, 10, null],
  ]
  for (const [remaining, rate, eta] of rows) t.equal(etaOf(remaining, rate), eta, `${remaining} at ${rate}`)
  t.end()
})

// ---- over several peers -----------------------------------------------------------------------------------------------------

const fresh = beginWatch(START)
const done: Watch = { ...fresh, isCaughtUp: true }
const stalled: Watch = { ...fresh, isStalled: true }
const room: Watch = { ...fresh, isMute: true }
const oldRoom: Watch = { ...fresh, isMute: true, isStalled: true }

const OVERALL: readonly (readonly [string, Partial<PhaseFacts>, phase: string, caughtUp: boolean, stalled: boolean])[] =
  [
    ['nobody is connected', {}, 'waiting', false, false],
    ['not started', { isStarted: false, watches: [done] }, 'stopped', false, false],
    ['the graph is not read', { isLoaded: false, watches: [done] }, 'loading', false, false],
    ['indexing', { isIndexing: true, watches: [done] }, 'indexing', false, false],
    ['indexing, and the peer is dead', { isIndexing: true, watches: [stalled] }, 'indexing', false, true],
    ['requests are queued', { isSettled: false, watches: [done] }, 'syncing', false, false],
    ['one peer, done', { watches: [done] }, 'caughtUp', true, false],
    ['one of two', { watches: [done, fresh] }, 'syncing', false, false],
    ['both', { watches: [done, done] }, 'caughtUp', true, false],
    ['one done, one frozen', { watches: [done, stalled] }, 'caughtUp', true, false],
    ['one done, one room', { watches: [done, room] }, 'caughtUp', true, false],
    ['one frozen, one that is not done', { watches: [stalled, fresh] }, 'syncing', false, false],
    ['a room alone is not done', { watches: [room] }, 'syncing', false, false],
    ['nor when it has stalled', { watches: [oldRoom] }, 'stalled', false, true],
    ['with patience it has not', { watches: [oldRoom], isPatient: true }, 'syncing', false, false],
    ['patience does not wake the dead', { watches: [stalled], isPatient: true }, 'stalled', false, true],
    ['all frozen', { watches: [stalled, stalled] }, 'stalled', false, true],
  ]

for (const [what, given, phase, isCaughtUp, isStalled] of OVERALL) {
  test(`overall: ${what}: ${phase}`, (t) => {
    const facts = { isStarted: true, isLoaded: true, isIndexing: false, isSettled: true, isPatient: false, watches: [] }
    t.deepEqual(summarize({ ...facts, ...given }), { phase, isCaughtUp, isStalled })
    t.end()
  })
}
