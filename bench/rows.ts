/**
 * What is measured, in suites of subjects that do the same: one entry for each row of a table, in the order in which they are
 * printed. A new row is an entry here and a function of the same name in the subjects (managers/*.ts) that can do it.
 */

/** `events`: a plain count. `times`: one count by another. `virtualMs`: time that passes in the world, not work. */
export type Unit = 'us' | 'ms' | 'bytes' | 'events' | 'times' | 'virtualMs'

export interface Row {
  readonly id: string
  readonly title: string
  readonly unit: Unit
  /**
   * For our own: the median is to be below `below`, at most `atMost`, at most that of the `existing` one, or always
   * `exactly`; at the size of the suite's targets, or at every size. `atMostAt`: at other sizes.
   */
  readonly target?: Target
  /** Each sample comes from a process of its own, in which nothing is warm. */
  readonly isFresh?: boolean
  /** Measured before the others, while the heap is clean. */
  readonly isFirst?: boolean
  /** Measured after the others, whose managers do not outlive it: it lets hours pass. */
  readonly isLate?: boolean
  /** What a user does not see by itself; printed below the others. */
  readonly isFurther?: boolean
  /** Each route has its part in it, so that no bound of growth is set. */
  readonly growsFreely?: boolean
}

export interface Target {
  readonly below?: number
  readonly atMost?: number
  readonly atMostAt?: { readonly [size: number]: number }
  readonly existing?: SubjectName
  readonly exactly?: number
  readonly isForEverySize?: boolean
}

export type SubjectName = 'ours' | 'ssb-conn' | 'ssb-gossip' | 'floor' | 'ssb-replication-scheduler'

const CONNECTION_ROWS = [
  { id: 'planFull', title: 'decision, slots full (forced)', unit: 'us', target: { atMost: 20 } },
  {
    id: 'wakeUpsIdle',
    title: 'wake-ups in an hour, slots full, nothing due',
    unit: 'events',
    target: { exactly: 0, isForEverySize: true },
    isLate: true,
  },
  {
    id: 'planFree',
    title: 'decision, one slot free (without the dial)',
    unit: 'us',
    target: { atMost: 30, atMostAt: { 100000: 60 } },
  },
  { id: 'redial', title: 'lost connection to next dial: work', unit: 'us', target: { atMost: 120 } },
  {
    id: 'redialDelay',
    title: 'lost connection to next dial: wait',
    unit: 'virtualMs',
    target: { exactly: 0, isForEverySize: true },
  },
  { id: 'dialStarted', title: 'event: dial', unit: 'us', target: { atMost: 15 } },
  { id: 'connected', title: 'event: connected', unit: 'us', target: { atMost: 15 } },
  { id: 'dialFailed', title: 'event: failed', unit: 'us', target: { atMost: 15 } },
  { id: 'closed', title: 'event: closed', unit: 'us', target: { atMost: 15 } },
  {
    id: 'idleCpu',
    title: 'idle hour, slots full, others waiting: CPU',
    unit: 'ms',
    target: { atMost: 20 },
    isLate: true,
  },
  {
    id: 'wakeUpsRotation',
    title: 'idle hour, slots full, others waiting: wake-ups',
    unit: 'events',
    target: { atMost: 60 },
    isLate: true,
  },
  { id: 'churn', title: 'ten minutes of churn: CPU', unit: 'ms', target: { atMost: 150 }, isLate: true },
  {
    id: 'churnBytes',
    title: 'ten minutes of churn: written to disk',
    unit: 'bytes',
    target: { atMost: 2_000_000 },
    isLate: true,
  },
  {
    id: 'startUp',
    title: 'start-up with a stored table to the first dial: CPU',
    unit: 'ms',
    target: { atMost: 80 },
    isFresh: true,
    growsFreely: true,
  },
  {
    id: 'addBulk',
    title: 'add many at once, per route',
    unit: 'us',
    target: { atMost: 5 },
    growsFreely: true,
  },
  { id: 'heap', title: 'heap per route with history', unit: 'bytes', target: { atMost: 450 }, isFirst: true },
  {
    id: 'heapErrors',
    title: 'the same, with five errors each that failed',
    unit: 'bytes',
    target: { atMost: 450 },
    isFirst: true,
  },
  {
    id: 'stall',
    title: 'longest stall: start-up, load, add, save',
    unit: 'ms',
    target: { atMostAt: { 100000: 4 } },
    isFresh: true,
  },
  { id: 'planIdle', title: 'decision, slots full, nothing due', unit: 'us', isFurther: true },
  { id: 'planEmpty', title: 'decision, every slot free', unit: 'us', isFurther: true },
  { id: 'fallDue', title: 'many fall due at once, per route', unit: 'us', isFurther: true },
  { id: 'announced', title: 'event: announced again', unit: 'us', isFurther: true },
  { id: 'pinged', title: 'event: ping came back', unit: 'us', isFurther: true },
  { id: 'addOne', title: 'add one by one, per route', unit: 'us', isFurther: true },
  { id: 'load', title: 'load the stored table, warm', unit: 'ms', isFurther: true, growsFreely: true },
  { id: 'slowTurn', title: 'ten minutes of churn: 1 turn in 100 above', unit: 'us', isFurther: true, isLate: true },
  { id: 'longestTurn', title: 'ten minutes of churn: longest turn', unit: 'ms', isFurther: true, isLate: true },
] as const satisfies readonly Row[]

const REPLICATION_ROWS = [
  {
    id: 'startCpu',
    title: 'start to last request: CPU',
    unit: 'ms',
    target: { existing: 'ssb-replication-scheduler' },
  },
  { id: 'startStall', title: 'start to last request: longest stall', unit: 'ms', target: { below: 15 } },
  { id: 'startWait', title: 'start to last request: wait', unit: 'ms' },
  { id: 'requests', title: 'start: calls of ebt.request', unit: 'events' },
  { id: 'blocksOfOthers', title: 'start: calls of ebt.block, among others', unit: 'events' },
  {
    id: 'blocksPerEdge',
    title: 'start: the same, per blocking edge',
    unit: 'times',
    target: { atMost: 1, isForEverySize: true },
  },
  { id: 'blocksOfSelf', title: 'start: calls of ebt.block, of our own', unit: 'events' },
  {
    id: 'cycleCalls',
    title: 'indexing without changes: calls',
    unit: 'events',
    target: { exactly: 0, isForEverySize: true },
  },
  { id: 'cycleCpu', title: 'indexing without changes: CPU', unit: 'ms' },
  { id: 'cycleStall', title: 'indexing without changes: longest stall', unit: 'ms', target: { below: 15 } },
  { id: 'unfollowWait', title: 'unfollow to last drop: wait', unit: 'ms' },
  { id: 'unfollowCpu', title: 'unfollow to last drop: CPU', unit: 'ms' },
  { id: 'unfollowStall', title: 'unfollow to last drop: longest stall', unit: 'ms', target: { below: 15 } },
  { id: 'searchWait', title: 'all meta feeds looked up: wait', unit: 'ms', target: { below: 5_000 } },
  { id: 'searchCpu', title: 'all meta feeds looked up: CPU', unit: 'ms' },
  { id: 'searchStall', title: 'all meta feeds looked up: longest stall', unit: 'ms' },
] as const satisfies readonly Row[]

export type RowId = (typeof CONNECTION_ROWS)[number]['id'] | (typeof REPLICATION_ROWS)[number]['id']
export type SuiteName = 'connections' | 'replication'

export interface Suite {
  readonly name: SuiteName
  readonly rows: readonly (Row & { readonly id: RowId })[]
  readonly subjects: readonly SubjectName[]
  /** What its size counts. */
  readonly items: 'routes' | 'feeds'
  readonly sizes: readonly number[]
  readonly quickSizes: readonly number[]
  /** The size for which the targets are set. */
  readonly targetSize: number
  /** How many processes measure each subject at each size: what is warm after a run cannot be measured twice in one. */
  readonly processes: number
  readonly quickProcesses: number
  /** The same for rows that are `isFresh`. */
  readonly freshProcesses: number
  readonly quickFreshProcesses: number
  /** No row of one process may take longer than this on the processor, preparations included. */
  readonly rowLimitMs: number
  /** By what power of the size a figure may grow between these two sizes. */
  readonly growth?: { readonly from: number; readonly to: number; readonly exponent: number }
}

export const SUITES: readonly Suite[] = [
  {
    name: 'connections',
    rows: CONNECTION_ROWS,
    subjects: ['ours', 'ssb-conn', 'ssb-gossip', 'floor'],
    items: 'routes',
    sizes: [100, 1_000, 10_000, 100_000],
    quickSizes: [1_000, 10_000],
    targetSize: 10_000,
    processes: 1,
    quickProcesses: 1,
    freshProcesses: 3,
    quickFreshProcesses: 1,
    rowLimitMs: 60_000,
    growth: { from: 1_000, to: 100_000, exponent: 0.25 },
  },
  {
    name: 'replication',
    rows: REPLICATION_ROWS,
    subjects: ['ours', 'ssb-replication-scheduler'],
    items: 'feeds',
    sizes: [10_000, 50_000],
    quickSizes: [10_000],
    targetSize: 50_000,
    processes: 10,
    quickProcesses: 2,
    freshProcesses: 0,
    quickFreshProcesses: 0,
    rowLimitMs: 300_000,
  },
]
