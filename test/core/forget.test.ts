/**
 * DESIGN 4, "Backoff", its last sentences: when a route is forgotten, in the life of a table. The bounds themselves are in
 * backoff.test.ts.
 */
import test = require('tape')

import { DAY, idOf, slots, stored, storedPeer, World } from '../support/builders'

/** Dials and fails until `days` have gone by; when the label disappeared, in ms since the start, or null. */
function failFor(world: World, label: string, days: number): number | null {
  world.isChecked = false
  const end = world.now + days * DAY
  while (world.now <= end) {
    world.settle()
    for (const each of world.inFlight()) world.fail(each)
    if (!world.has(label)) return world.now - world.first.now
    const wakeAt = world.wakeAt()
    if (wakeAt === null) return null
    world.now = Math.max(wakeAt, world.now + 1)
  }
  return null
}

test('a LOW route that never answers is forgotten 30 days after it was learned, and not before', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('ghost', { source: 'pub' })
  const goneAt = failFor(world, 'ghost', 60)
  t.ok(goneAt !== null && goneAt >= 30 * DAY && goneAt <= 31 * DAY, `after ${goneAt} ms, at the next failure`)
  t.equal(world.state.peers.size, 0, 'its peer too, as nothing else is known of it')
  t.equal(world.wakeAt(), null)
  t.end()
})

test('a MEDIUM, a HIGH and a long-term one never are', (t) => {
  for (const priority of ['MEDIUM', 'HIGH'] as const) {
    const world = World.started(slots({ net: 1 }))
    world.load([stored('friend')], [storedPeer('friend', { priority, prioritisedBy: 'user' })])
    t.equal(failFor(world, 'friend', 40), null, priority)
  }
  const world = World.started(slots({ net: 1 }))
  world.load([stored('friend', { source: 'pub' })], [storedPeer('friend', { priority: 'LOW', isLongTerm: true })])
  t.equal(failFor(world, 'friend', 40), null, 'long-term')
  t.end()
})

test('a failure that our own link explains forgets nobody', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.load(
    [stored('ghost', { source: 'pub', errorCount: 100, backoffStep: 20 })],
    [storedPeer('ghost', { priority: 'LOW' })],
  )
  world.settle()
  world.fail('ghost', { code: 'ENETUNREACH' })
  t.equal(world.route('ghost').errorCount, 100)
  t.end()
})

test('one route is forgotten, the others of its peer stay', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.load(
    [
      stored('ghost', { source: 'pub', errorCount: 19, backoffStep: 19 }),
      stored('ghost/net2', { source: 'pub', errorCount: 20, backoffStep: 20, nextAttemptAt: world.now + DAY }),
    ],
    [storedPeer('ghost', { priority: 'LOW' })],
  )
  t.deepEqual(world.settle(), ['dial ghost'])
  world.fail('ghost')
  t.notOk(world.has('ghost'))
  t.ok(world.has('ghost/net2'))
  t.equal(world.state.peers.get(idOf('ghost'))?.routes.length, 1)
  t.end()
})

test('a request for who is forgotten by it has failed', (t) => {
  const world = new World()
  world.load([stored('ghost', { source: 'pub', errorCount: 19 })], [storedPeer('ghost', { priority: 'LOW' })])
  world.request('ghost')
  world.settle()
  world.fail('ghost')
  t.equal(world.state.requests.size, 0)
  t.equal(world.state.peers.size, 0)
  t.equal(world.wakeAt(), null)
  t.end()
})

test('whoever is learned again starts anew', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.load([stored('ghost', { source: 'pub', errorCount: 19 })], [storedPeer('ghost', { priority: 'LOW' })])
  world.settle()
  world.fail('ghost')
  t.notOk(world.has('ghost'))
  world.add('ghost', { source: 'pub' })
  t.deepEqual([world.route('ghost').errorCount, world.route('ghost').addedAt], [0, world.now])
  t.end()
})
