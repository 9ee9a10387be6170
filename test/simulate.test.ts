/**
 * The simulator of bench/simulate, small and seeded: that it notices schedulers that are known to be wrong, that a world does
 * not depend on who lives in it, and what ours has to reach in a few hours. Counts and shares, no times of this machine.
 */
import test = require('tape')

import type { Figures } from '../bench/simulate/ledger'
import { ours } from '../bench/simulate/schedulers/ours'
import * as simple from '../bench/simulate/schedulers/simple'
import type { SchedulerModule, WorldSpec } from '../bench/simulate/types'
import { World } from '../bench/simulate/world'
import { makeWorld, WORLDS } from '../bench/simulate/worlds'

const SEED = Number(process.env.SEED ?? 1)

async function live(module: SchedulerModule, spec: WorldSpec): Promise<Figures> {
  return (await new World(spec, module, module.createClock()).run()).figures()
}

function world(name: string, hours: number, seed = SEED): WorldSpec {
  return makeWorld(name, seed, hours)
}

test(`the same seed gives the same world, and ours the same decisions (SEED=${SEED})`, async (t) => {
  for (const name of Object.keys(WORLDS)) t.deepEqual(world(name, 1), world(name, 1), name)
  t.notDeepEqual(world('desktop', 1, SEED), world('desktop', 1, SEED + 1))
  t.deepEqual(await live(ours, world('phone', 2)), await live(ours, world('phone', 2)))
  t.end()
})

test('nobody beats the bound, and the oracle is between it and everybody else', async (t) => {
  const spec = world('desktop', 4)
  const bound = await live(simple.bound, spec)
  const oracle = await live(simple.oracle, spec)
  const own = await live(ours, spec)
  const rotation = await live(simple.rotation, spec)
  const keeper = await live(simple.keeper, spec)
  t.ok(bound.meanAge <= oracle.meanAge, `age: bound ${bound.meanAge}, oracle ${oracle.meanAge}`)
  t.ok(oracle.meanAge * 2 < own.meanAge, `ours ${own.meanAge}`)
  t.ok(own.meanAge * 10 < keeper.meanAge, `whoever never lets go ${keeper.meanAge}`)
  t.ok((own.dials ?? 0) <= (rotation.dials ?? 0), 'no more dials than a plain rotation')
  t.ok(own.undelivered < rotation.undelivered + 0.02, `lost: ${own.undelivered}, rotation ${rotation.undelivered}`)
  t.equal(bound.undelivered, 0, 'all there was to have')
  t.end()
})

test('schedulers that are wrong are found out', async (t) => {
  const spec = world('churn', 4)
  const idle = await live(simple.idle, spec)
  t.equal(idle.slotUse, 0, 'whoever does nothing uses no slot')
  t.equal(idle.undelivered, 1, 'and gets nothing')
  t.equal(idle.fill, null)
  const greedy = await live(simple.greedy, world('desktop', 1))
  t.ok(greedy.inFlight > 8, `no bound: ${greedy.inFlight} dials at once`)
  const stuck = await live(simple.stuck, world('desktop', 4))
  t.ok((stuck.liveVisited ?? 1) < 0.1 && stuck.slotUse < 0.9, 'two peers for ever')
  const quiet = world('churn', 2)
  const blocks = quiet.peers.map(({ index }) => ({ at: 3_600_000, type: 'block' as const, peer: index }))
  const rude = await live(simple.rude, { ...quiet, happenings: blocks })
  t.ok((rude.blockedFor ?? 0) > 0, 'blocked peers are not hung up on')
  const keeper = await live(simple.keeper, world('lan', 3))
  t.ok((keeper.lanVisits ?? 1) < 0.5, 'whoever never lets go meets no guests')
  const captured = await live(simple.rotation, world('attack', 3))
  t.ok((captured.attackerTime ?? 0) > 0.4, `rotation without trust: ${captured.attackerTime}`)
  t.end()
})

test('ours, in a few hours of each kind of trouble', async (t) => {
  const attack = await live(ours, world('attack', 5))
  t.ok((attack.attackerDials ?? 1) <= 0.1, `dials of an attacker: ${attack.attackerDials}`)
  t.ok((attack.attackerTime ?? 1) <= 0.2, `connected time of an attacker: ${attack.attackerTime}`)
  const phone = await live(ours, world('phone', 8))
  t.ok((phone.recovery ?? 1e9) <= 2_000, `recovery: ${phone.recovery} ms`)
  t.equal(phone.worseOff, 0, 'nobody pays for an outage of ours')
  const lan = await live(ours, world('lan', 4))
  t.ok((lan.lanVisits ?? 0) >= 0.95, `visits met: ${lan.lanVisits}`)
  const churn = await live(ours, world('churn', 8))
  t.equal(churn.blockedFor, 0, 'hung up in the same turn')
  for (const [name, figures] of Object.entries({ attack, phone, lan, churn })) {
    t.equal(figures.doubled, 0, `${name}: never two connections to one peer`)
    t.ok(figures.inFlight <= 8 + 1, `${name}: ${figures.inFlight} dials in flight`)
    t.ok(figures.slotUse >= 0.98, `${name}: slots used ${figures.slotUse}`)
  }
  t.end()
})

test('nothing of a process that was killed is lost but the last moments', async (t) => {
  const figures = await live(ours, world('kills', 5))
  t.ok((figures.warmFill ?? 1e9) <= 1_000, `warm start: ${figures.warmFill} ms`)
  t.end()
})
