/** One measurement, in the process that run.ts starts: a network, or a herd. Prints lines of progress, sends the result. */
import { type HerdOptions, runHerd } from './herd'
import { HOUR, MINUTE } from './people'
import { report } from './report'
import { World, type WorldOptions } from './world'

export type Job =
  | { readonly kind: 'network'; readonly options: WorldOptions }
  | { readonly kind: 'herd'; readonly options: HerdOptions }

/** The network that the figures of docs/network.md are of. A tenth as many clients have a tenth as many newcomers, and so on. */
export function usualWorld(seed: number, hours: number, managers: number, pubHops: 1 | 2): WorldOptions {
  const pubs = Math.max(4, Math.round(0.03 * managers))
  const newcomers = Math.max(2, Math.round(0.05 * managers))
  return {
    seed,
    hours,
    pubs,
    clients: managers - pubs,
    newcomers,
    pubHops,
    newcomersAtMs: (hours / 2) * HOUR,
    // In the first half, by the hour so that there is time to return.
    outages: [
      { pub: 0, atMs: 0.25 * hours * HOUR, forMs: MINUTE, how: 'refused' },
      { pub: 1, atMs: 0.35 * hours * HOUR, forMs: 10 * MINUTE, how: 'silent' },
    ],
  }
}

async function main(): Promise<void> {
  const job = JSON.parse(process.argv[2] ?? '{}') as Job
  const startedAt = Date.now()
  const seconds = (): number => Math.round((Date.now() - startedAt) / 1000)
  if (job.kind === 'herd') {
    const result = await runHerd(job.options)
    process.send?.({ ...result, seconds: seconds() })
    return
  }
  const world = new World(job.options)
  await world.run((hour) => {
    process.stderr.write(`  hour ${hour}: ${world.dials} dials, ${world.deliveries} deliveries, ${seconds()} s\n`)
  })
  process.send?.({ ...report(world), seconds: seconds() })
}

if (require.main === module)
  main().catch((error) => {
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`)
    process.exitCode = 1
  })
