/** How long a route is kept: stored, announced, or for one connection; routes that only a user dials; whose word counts. */
import test = require('tape')

import { parseAddress } from '../../src/core/address'
import { fromSnapshot, stringifySnapshot, toSnapshot } from '../../src/core/snapshot'
import { addressOf, idOf, SECOND, slots, World } from '../support/builders'

const written = (world: World): string[] => toSnapshot(world.state, world.now).routes.map(({ address }) => address)
const has = (world: World, label: string): boolean => world.state.routes.has(addressOf(label))

test('a stored route that is announced as well stays when it is withdrawn, and is not local any more', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.add('alice', { isLocal: true, source: 'local' })
  t.equal(world.route('alice').class, 'local')
  t.deepEqual(written(world), [addressOf('alice')], 'what the user gave is written, near or not')
  world.dispatch({ type: 'route/withdrawn', address: addressOf('alice') })
  t.equal(world.route('alice').class, 'net')
  t.equal(world.route('alice').isLocal, false)
  t.end()
})

test('an announced route is not written, and goes when it is withdrawn, with a peer of whom nothing else is known', (t) => {
  const world = new World()
  world.add('alice', { source: 'room', standing: 'announced' })
  t.deepEqual(written(world), [])
  world.dispatch({ type: 'route/withdrawn', address: addressOf('alice') })
  t.equal(has(world, 'alice'), false)
  t.equal(world.state.peers.has(idOf('alice')), false)
  t.end()
})

test('a route that is withdrawn while it is in use goes when its connection ends', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice', { source: 'room', standing: 'announced' })
  world.settle()
  world.connect('alice')
  world.dispatch({ type: 'route/withdrawn', address: addressOf('alice') })
  t.equal(has(world, 'alice'), true)
  t.equal(world.state.peers.get(idOf('alice'))?.connection.status, 'connected')
  world.close('alice')
  t.equal(has(world, 'alice'), false)
  t.end()
})

test('a stored route that is forgotten stays as long as it is announced', (t) => {
  const world = new World()
  world.add('alice')
  world.add('alice', { source: 'room', standing: 'announced' })
  world.dispatch({ type: 'route/forgotten', address: addressOf('alice') })
  t.deepEqual(written(world), [])
  t.equal(has(world, 'alice'), true)
  world.dispatch({ type: 'route/withdrawn', address: addressOf('alice') })
  t.equal(has(world, 'alice'), false)
  t.end()
})

test('a temporary route goes with its connection, and when its dial has failed or is no longer wanted', (t) => {
  const asked = (): World => {
    const world = World.started(slots({ net: 1 }))
    world.add('alice', { standing: 'temporary' })
    world.request('alice', 'alice')
    t.deepEqual(world.settle(), ['dial alice (request)'])
    return world
  }
  const failed = asked()
  failed.fail('alice')
  t.equal(has(failed, 'alice'), false, 'failed')

  const dropped = asked()
  dropped.dispatch({ type: 'connection/requestDropped', peer: idOf('alice') })
  dropped.dispatch({ type: 'connection/closeRequested', peer: idOf('alice'), reason: 'disconnected' })
  t.equal(has(dropped, 'alice'), false, 'no longer wanted')

  const early = World.started(slots({ net: 1 }))
  early.add('alice', { standing: 'temporary' })
  early.request('alice', 'alice')
  early.dispatch({ type: 'connections/stopped' })
  t.equal(has(early, 'alice'), false, 'stopped before it was dialed')
  t.deepEqual(early.state.changedPeers, [idOf('alice')])

  const stopped = asked()
  stopped.dispatch({ type: 'connections/stopped' })
  t.equal(has(stopped, 'alice'), false, 'stopped')

  const connected = asked()
  connected.connect('alice')
  t.equal(has(connected, 'alice'), true)
  connected.close('alice')
  t.equal(has(connected, 'alice'), false, 'hung up')
  t.equal(connected.state.peers.has(idOf('alice')), false)
  t.end()
})

test('a route that is not automatic is dialed for a user only, and stays so over a restart', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  const data = { type: 'pub', note: 'x' }
  world.dispatch({ type: 'route/annotated', address: addressOf('alice'), data, isAutomatic: false })
  t.deepEqual(world.elapse(100 * SECOND), [])
  t.equal(world.wakeAt(), null, 'nothing to wake up for')
  t.equal(world.whyNot('alice')?.reason, 'manualOnly')
  const { routes } = fromSnapshot(JSON.parse(stringifySnapshot(toSnapshot(world.state, world.now))))
  const later = World.started(slots({ net: 1 }))
  later.load(routes)
  t.deepEqual([later.route('alice').isAutomatic, later.route('alice').data], [false, data])
  t.deepEqual(later.elapse(100 * SECOND), [])
  later.request('alice')
  t.deepEqual(later.settle(), ['dial alice (request)'])
  t.end()
})

test('what a module says of a peer is forgotten with its routes, what the user says and a ban are not', (t) => {
  const world = new World()
  world.dispatch({ type: 'peer/prioritised', peer: idOf('alice'), priority: 'HIGH', by: 'social' })
  t.equal(world.state.peers.has(idOf('alice')), false, 'nothing is kept of a peer that nobody can reach')
  world.dispatch({ type: 'peer/prioritised', peer: idOf('bob'), priority: 'BANNED', by: 'social' })
  world.prioritise('carol', 'HIGH')
  const { peers } = fromSnapshot(JSON.parse(stringifySnapshot(toSnapshot(world.state, world.now))))
  t.deepEqual(
    peers.map(({ id, prioritisedBy }) => [id, prioritisedBy]),
    [
      [idOf('bob'), 'social'],
      [idOf('carol'), 'user'],
    ].sort(),
  )
  world.dispatch({ type: 'peer/prioritised', peer: idOf('bob'), priority: null, by: 'social' })
  t.equal(world.state.peers.has(idOf('bob')), false, 'unbanned')
  t.end()
})

test('while much is taken in, dials go one by one, and nobody makes room', (t) => {
  const world = World.started(slots({ net: 3 }))
  world.dispatch({ type: 'environment/busy', isBusy: true })
  world.addAll(['alice', 'bob', 'carol'])
  t.equal(world.settle().length, 1)
  const [first] = world.inFlight()
  world.connect(first!)
  t.equal(world.settle().length, 1, 'the next one when the first has come')
  world.dispatch({ type: 'environment/busy', isBusy: false })
  t.equal(world.settle().length, 1, 'and the rest at once when it is over')
  t.end()
})

test('of an invite is kept where the peer is, not the key that lets a guest in once', (t) => {
  const world = World.started(slots({ net: 1 }))
  const [invite] = parseAddress(`${addressOf('alice')}:${Buffer.alloc(32, 9).toString('base64')}`)
  world.dispatch({ type: 'routes/added', reports: [{ route: invite!, isLocal: false, source: 'seed' }] })
  t.deepEqual(world.state.routes.keysArray(), [addressOf('alice')])
  t.deepEqual(world.settle(), ['dial alice'])
  t.end()
})
