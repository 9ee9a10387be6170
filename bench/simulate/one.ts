/** One scheduler in one world, in this process; `run.ts` starts one for each. Prints the figures as JSON. */

import type { Figures } from './ledger'
import type { SchedulerModule } from './types'
import { World } from './world'
import { makeWorld } from './worlds'

export interface Job {
  readonly world: string
  readonly seed: number
  readonly scheduler: string
  readonly hours?: number
}

export interface Outcome {
  readonly figures: Figures
  readonly cpuSeconds: number
}

/** Loaded late: the existing ones replace the timers of the process. */
function moduleOf(name: string): SchedulerModule {
  if (name === 'ours') return (require('./schedulers/ours') as typeof import('./schedulers/ours')).ours
  if (name === 'ssb-conn') return (require('./schedulers/ssb-conn') as { ssbConn: SchedulerModule }).ssbConn
  if (name === 'ssb-gossip') return (require('./schedulers/ssb-gossip') as { ssbGossip: SchedulerModule }).ssbGossip
  const simple = require('./schedulers/simple') as Record<string, SchedulerModule | undefined>
  const found = simple[name]
  if (!found) throw new Error(`no scheduler ${name}`)
  return found
}

export async function runJob({ world, seed, scheduler, hours }: Job): Promise<Outcome> {
  const module = moduleOf(scheduler)
  const clock = module.createClock()
  const before = process.cpuUsage()
  const ledger = await new World(makeWorld(world, seed, hours), module, clock).run()
  const { user, system } = process.cpuUsage(before)
  return { figures: ledger.figures(), cpuSeconds: (user + system) / 1e6 }
}

if (require.main === module)
  runJob(JSON.parse(process.argv[2] ?? '{}') as Job).then(
    (outcome) => {
      process.stdout.write(
        `${JSON.stringify(outcome, (_, value) => (value === Number.POSITIVE_INFINITY ? 'Infinity' : value))}\n`,
        () => process.exit(0),
      )
    },
    (error: unknown) => {
      console.error(error)
      process.exit(1)
    },
  )
