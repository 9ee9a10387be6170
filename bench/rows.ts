/**
 * What is measured: one entry for each row of the table, in the order in which they are printed. A new row is an entry here
 * and a function of the same name in the managers (managers/*.ts) that can do it.
 */

/** `events`: a plain count. `virtualMs`: time that passes in the world, not work. */
export type Unit = 'us' | 'ms' | 'bytes' | 'events' | 'virtualMs'

export interface Row {
  readonly id: string
  readonly title: string
  readonly unit: Unit
  /** For our own manager: the median is to be below `below`, or to be `exactly`; at 10 000 routes, or at every size. */
  readonly target?: { readonly below?: number; readonly exactly?: number; readonly isForEverySize?: boolean }
}

/** The size for which the targets are set. */
export const TARGET_ROUTES = 10_000

export const ROWS = [
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

export type RowId = (typeof ROWS)[number]['id']

/** Read through this where the optional fields matter. */
export const ALL_ROWS: readonly (Row & { readonly id: RowId })[] = ROWS
