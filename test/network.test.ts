/**
 * A small network of managers that dial each other and nobody else (bench/network): what holds in it, and what it counts. The
 * figures of a thousand are made by `npm run simulate:network`, see docs/network.md.
 */
import test = require('tape')

import { runHerd } from '../bench/network/herd'
import { HOUR, MINUTE } from '../bench/network/people'
import { report } from '../bench/network/report'
import { type Host, World, type WorldOptions } from '../bench/network/world'
import type { FeedId } from '../src/core/types'

const SMALL: WorldOptions = {
  seed: 1,
  hours: 1.5,
  pubs: 4,
  clients: 36,
  newcomers: 3,
  pubHops: 1,
  newcomersAtMs: 40 * MINUTE,
  outages: [
    { pub: 0, atMs: 20 * MINUTE, forMs: MINUTE, how: 'refused' },
    { pub: 1, atMs: 30 * MINUTE, forMs: 5 * MINUTE, how: 'silent' },
  ],
}

async function ran(change: Partial<WorldOptions> = {}): Promise<World> {
  const world = new World({ ...SMALL, ...change })
  await world.run()
  return world
}

test('a small network keeps its slots, its limits and one connection for each pair', async (t) => {
  const world = await ran()
  const made = report(world)
  t.deepEqual(
    world.violations,
    [],
    'no invariant was broken (slots, dials in flight, dials in all, double connections)',
  )
  t.ok(world.dials > 100 && world.connections > 100, `${world.dials} dials, ${world.connections} connections`)
  t.ok(world.deliveries > 100, `${world.deliveries} deliveries`)
  t.ok(made.doubles.longestMs <= 5_000, `two connections of a pair for ${made.doubles.longestMs} ms at most`)
  t.ok(made.clients.outboundMean > 2.5, `${made.clients.outboundMean} of 3 slots are taken on average`)
  t.equal(made.undeliveredShare, 0, 'who was on for an hour has everything')
  t.equal(made.newcomers.filledShare, 1, 'newcomers have their slots full')
  t.ok((made.newcomers.knownRoutesMedian ?? 0) >= 3, 'and have learned routes from what their pub announced')
  for (const { pub, clients, backWithin, asManyShare } of made.outages) {
    t.ok(clients >= 3, `pub ${pub}: ${clients} clients lost it`)
    t.ok(backWithin.hour > 0, `pub ${pub}: ${backWithin.hour} were back`)
    t.equal(asManyShare, 1, `pub ${pub}: all who stayed had as many connections as before`)
  }
})

test('the same seed gives the same network, another seed or policy another one', async (t) => {
  const short = { hours: 0.5, newcomersAtMs: 10 * MINUTE, outages: [] }
  const [one, again, other] = [await ran(short), await ran(short), await ran({ ...short, seed: 2 })]
  const impatient = await ran({ ...short, policy: { rotationMinMs: 15_000, rotationMaxMs: 25_000 } })
  t.equal(one.hash(), again.hash(), 'the same')
  t.notEqual(one.hash(), other.hash(), 'another seed')
  t.notEqual(one.hash(), impatient.hash(), 'another policy')
})

test('a pub with few places keeps to them, and its members find others', async (t) => {
  const world = await ran({ hours: 1, outages: [], pubMaxInbound: 5 })
  t.deepEqual(world.violations, [], 'no more than five are let in, slots hold')
  const most = Math.max(...world.samples.flatMap(({ pubConnections }) => pubConnections))
  t.ok(most <= 5 + 3, `${most} connections, with those that it dialed`)
})

test('the judge of the network sees a manager that is wrong', async (t) => {
  const world = new World({ ...SMALL, hours: 0.25, outages: [] })
  const [pub, client] = [world.hosts[0] as Host, world.hosts.find(({ person }) => person.habit === 'always') as Host]
  let dialed = 0
  // Somebody dials a pub past his manager, again and again, and neither he nor the pub hangs up on anything.
  const dial = (id: FeedId): void => {
    const address = world.hosts.find((host) => host.id === id)?.route?.address as string
    const { internal } = pub.manager as unknown as { internal: { accept: () => void } }
    internal.accept = () => {}
    for (let count = 0; count < 200; count++, dialed++) client.node.connectToPeer(address, () => {})
  }
  world.base.setTimeout(() => dial(pub.id), 10 * MINUTE + 1_000)
  await world.run()
  t.equal(dialed, 200, 'it did')
  t.ok(
    world.violations.some((text) => text.includes(`${client.index} dialed`)),
    'too many dials',
  )
  t.ok(
    world.violations.some((text) => text.includes('two connections')),
    'two connections for too long',
  )
})

test('what is posted is counted for whoever follows, by the time that he was on', async (t) => {
  const world = await ran({ hours: 0.75, outages: [] })
  let isPosted = 0
  for (const message of world.feeds.flat()) {
    if (message.at < 0) continue
    isPosted++
    t.equal(message.delay.length, world.followers[message.feed]?.length, 'a delay for each follower')
    message.delay.forEach((delay, at) => {
      const follower = world.hosts[world.followers[message.feed]?.[at] as number] as Host
      const isThere =
        (follower.have[message.feed] as number) >= (world.feeds[message.feed] as object[]).indexOf(message) + 1
      if (isThere === Number.isNaN(delay)) t.fail(`${follower.index} has it: ${isThere}; delay ${delay}`)
      if (delay < 0 || delay > world.t - message.at) t.fail(`delay ${delay} of ${world.t - message.at}`)
    })
  }
  t.ok(isPosted > 3, `${isPosted} messages`)
  t.ok(world.t === 0.75 * HOUR, 'the time was simulated')
})

test('three hundred clients whose pub was away for a minute come back one by one', async (t) => {
  const made = await runHerd({ seed: 1, clients: 300, outageMs: MINUTE, how: 'refused', connectedMs: 15 * MINUTE })
  t.ok(made.isAllBack, 'all of them')
  t.ok(made.peakPerSecond <= 0.1 * 300, `${made.peakPerSecond} in one second at most`)
  t.ok(made.dialsWhileAway < 8, `${made.dialsWhileAway} dials each while it was away`)
  const again = await runHerd({ seed: 1, clients: 300, outageMs: MINUTE, how: 'refused', connectedMs: 15 * MINUTE })
  const { heapPerManagerBytes: _, ...rest } = made
  const { heapPerManagerBytes: __, ...restAgain } = again
  t.deepEqual(rest, restAgain, 'the same seed, the same figures')
})
