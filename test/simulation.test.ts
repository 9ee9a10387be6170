/**
 * Worlds of many managers on one virtual clock: faults first, then calm, in which all must converge. A seed draws everything;
 * each property has a checker of its own, which checkers.test.ts shows to find managers that are known to be wrong.
 *
 *   SEEDS=20 npm test -- test/simulation            more worlds of each kind
 *   KIND=outage SEED=8 npm test -- test/simulation  one world, e.g. one that failed
 */
import test = require('tape')

import { CHECKERS } from './support/checkers'
import { KINDS, type Kind, type Outcome, runWorld } from './support/simulator'

/** Worlds of each kind by default, by what they cost. */
const WORLDS: Record<Kind, number> = { chaos: 4, outage: 6, crossing: 6, hostile: 3, fairness: 4 }

function run(kind: Kind, seed: number): Promise<Outcome> {
  return runWorld({ seed, kind, checkers: CHECKERS[kind] })
}

const kinds = KINDS.filter((kind) => process.env.KIND === undefined || process.env.KIND === kind)

for (const kind of kinds) {
  const first = Number(process.env.SEED ?? 1)
  const count = process.env.SEED === undefined ? Number(process.env.SEEDS ?? WORLDS[kind]) : 1
  test(`${kind}: every property holds in ${count} world${count === 1 ? '' : 's'} from seed ${first}`, async (t) => {
    for (let seed = first; seed < first + count; seed++) {
      const { violations, dials, connections } = await run(kind, seed)
      const replay = `replay with KIND=${kind} SEED=${seed} npm test -- test/simulation`
      t.equal(violations.length, 0, `${kind} ${seed} (${replay}): ${violations.slice(0, 3).join('; ') || 'all hold'}`)
      t.ok(dials > 0 && connections > 0, `${kind} ${seed}: ${dials} dials, ${connections} connections`)
    }
  })
}

test('the same seed gives the same world, another seed another one', async (t) => {
  const [one, again, other] = [await run('crossing', 1), await run('crossing', 1), await run('crossing', 2)]
  t.equal(one.hash, again.hash, 'the same trace')
  t.notEqual(one.hash, other.hash, 'another trace')
})
