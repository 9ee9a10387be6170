/** One subject at one size, in a process of its own: heaps and compiled code of the others are out of the way. */
import type { Figure, Setting, Subject } from './measure'
import type { RowId, SubjectName, SuiteName } from './rows'

export interface Job {
  readonly suite: SuiteName
  readonly subject: SubjectName
  readonly setting: Setting
  /** What to measure, in this order. */
  readonly rows: readonly RowId[]
}

/** What the worker tells for each row: that it begins, and how it ended; neither where another run has it. */
export type Report =
  | { readonly row: RowId; readonly isBegun: true }
  | { readonly row: RowId; readonly figure: Figure; readonly seconds: number }
  | { readonly row: RowId; readonly absent: string }

/** Loaded late, as the existing managers keep time by the globals and are measured with others in their place. */
function subjectOf({ suite, subject: name }: Job): Subject {
  switch (name) {
    case 'ours':
      if (suite === 'replication') return replication().ourScheduler
      return (require('./managers/ours') as typeof import('./managers/ours')).ours
    case 'ssb-conn':
      return (require('./managers/ssb-conn') as typeof import('./managers/ssb-conn')).ssbConn
    case 'ssb-gossip':
      return (require('./managers/ssb-gossip') as typeof import('./managers/ssb-gossip')).ssbGossip
    case 'floor':
      return (require('./managers/floor') as typeof import('./managers/floor')).floor
    case 'ssb-replication-scheduler':
      return replication().existingScheduler
    default: {
      const unknown: never = name
      return unknown
    }
  }
}

function replication(): typeof import('./managers/replication') {
  return require('./managers/replication')
}

/** Waits until it is sent, as the process exits as soon as it is done. */
function tell(report: Report): Promise<void> {
  return new Promise((resolve, reject) => {
    if (!process.send) return reject(new Error('the worker is started by run.ts'))
    process.send(report, (error: Error | null) => (error ? reject(error) : resolve()))
  })
}

async function main(job: Job): Promise<void> {
  const { setting } = job
  const { benchmarks, absent } = subjectOf(job)
  for (const row of job.rows) {
    const measure = benchmarks[row]
    if (!measure) {
      await tell({ row, absent: absent[row] ?? 'not measured' })
      continue
    }
    await tell({ row, isBegun: true })
    const startedAt = process.hrtime.bigint()
    const figure = await measure(setting)
    if (figure === null) continue
    if (typeof figure === 'string') await tell({ row, absent: figure })
    else await tell({ row, figure, seconds: Number(process.hrtime.bigint() - startedAt) / 1e9 })
  }
}

main(JSON.parse(process.argv[2] ?? '') as Job).then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error)
    process.exit(1)
  },
)
