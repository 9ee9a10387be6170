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
   * `exactly`; at the size of the suite's targets, or at every size.
   */
  readonly target?: Target
}

export interface Target {
  readonly below?: number
  readonly atMost?: number
  readonly existing?: SubjectName
  readonly exactly?: number
  readonly isForEverySize?: boolean
}

export type SubjectName = 'ours' | 'ssb-conn' | 'ssb-gossip' | 'ssb-replication-scheduler'

const CONNECTION_ROWS = [
  { id: 'planFull', title: 'plan: slots full, others waiting', unit: 'us', target: { below: 50 } },
  { id: 'planIdle', title: 'plan: slots full, nothing due', unit: 'us', target: { below: 50 } },
  { id: 'planFree', title: 'plan: one slot free', unit: 'us' },
  { id: 'planEmpty', title: 'plan: every slot free', unit: 'us' },
  { id: 'fallDue', title: 'many fall due at once, per route', unit: 'us' },
  { id: 'dialStarted', title: 'event: dial started', unit: 'us', target: { below: 50 } },
  { id: 'dialFailed', title: 'event: dial failed', unit: 'us', target: { below: 50 } },
  { id: 'connected', title: 'event: connected', unit: 'us', target: { below: 50 } },
  { id: 'closed', title: 'event: closed', unit: 'us', target: { below: 50 } },
  { id: 'announced', title: 'event: announced again', unit: 'us', target: { below: 50 } },
  { id: 'redial', title: 'lost connection to next dial: work', unit: 'us' },
  { id: 'redialDelay', title: 'lost connection to next dial: wait', unit: 'virtualMs' },
  {
    id: 'wakeUpsIdle',
    title: 'wake-ups in an hour, nothing due',
    unit: 'events',
    target: { exactly: 0, isForEverySize: true },
  },
  { id: 'wakeUpsRotation', title: 'wake-ups in an hour, rotating', unit: 'events' },
  { id: 'addBulk', title: 'add many at once, per route', unit: 'us' },
  { id: 'addOne', title: 'add one by one, per route', unit: 'us' },
  { id: 'load', title: 'load the stored table', unit: 'ms' },
  { id: 'heap', title: 'heap per route, with history', unit: 'bytes' },
  { id: 'churn', title: 'ten minutes of churn: CPU', unit: 'ms' },
  { id: 'slowTurn', title: 'ten minutes of churn: 1 turn in 100 above', unit: 'us' },
  { id: 'longestTurn', title: 'ten minutes of churn: longest turn', unit: 'ms' },
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
  /** Beyond this the existing ones take minutes for a single row. */
  readonly maxSizeOfExisting: number
  /** How many processes measure each subject at each size: what is warm after a run cannot be measured twice in one. */
  readonly processes: number
  readonly quickProcesses: number
}

export const SUITES: readonly Suite[] = [
  {
    name: 'connections',
    rows: CONNECTION_ROWS,
    subjects: ['ours', 'ssb-conn', 'ssb-gossip'],
    items: 'routes',
    sizes: [1_000, 10_000, 100_000],
    quickSizes: [1_000, 10_000],
    targetSize: 10_000,
    maxSizeOfExisting: 10_000,
    processes: 1,
    quickProcesses: 1,
  },
  {
    name: 'replication',
    rows: REPLICATION_ROWS,
    subjects: ['ours', 'ssb-replication-scheduler'],
    items: 'feeds',
    sizes: [10_000, 50_000],
    quickSizes: [10_000],
    targetSize: 50_000,
    maxSizeOfExisting: Number.POSITIVE_INFINITY,
    processes: 10,
    quickProcesses: 2,
  },
]
