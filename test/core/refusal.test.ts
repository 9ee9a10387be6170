/** DESIGN 4, "Refusals": each of the twelve, in their order, with the exact time at which it ends. */
import test = require('tape')

import { RULES, whyNotDial } from '../../src/core/refusal'
import type { DialCause, RefusalReason } from '../../src/core/types'
import { DAY, idOf, MINUTE, SECOND, slots, World } from '../support/builders'

/** A world in which alice may be dialed, and carol holds the only slot that there is. */
function fullWorld(): World {
  const world = World.started(slots({ net: 1 }))
  world.add('carol')
  world.settle()
  world.connect('carol')
  world.add('alice/net-h')
  return world
}

const ALICE = 'alice/net-h'

test('of several reasons the first in the list speaks, as it is the one to be lifted first', (t) => {
  t.equal(RULES.length, 13)
  const world = fullWorld()
  const reason = (cause: DialCause = 'schedule') => world.whyNot(ALICE, cause)?.reason ?? null

  t.equal(reason(), 'slotsFull')

  world.addAll(['bob/net-h', 'dave/net-h'])
  world.request('bob')
  world.request('dave')
  world.settle()
  const dialedAt = world.now
  world.now += 5 * SECOND
  world.fail('bob/net-h', { code: 'ETIMEDOUT' })
  world.fail('dave/net-h', { code: 'ETIMEDOUT' })
  const failedAt = world.now
  world.now = dialedAt + MINUTE
  t.deepEqual([reason(), world.whyNot(ALICE)?.until], ['transportDown', failedAt + MINUTE])

  world.now -= 1
  t.deepEqual([reason(), world.whyNot(ALICE)?.until], ['hostThrottled', dialedAt + MINUTE])

  world.hold('alice')
  t.deepEqual([reason(), world.whyNot(ALICE)?.until], ['backoff', world.now + MINUTE])

  world.setMax({ net: 0 })
  t.equal(reason(), 'typeDisabled')

  world.dispatch({ type: 'route/annotated', address: world.route(ALICE).address, data: null, isAutomatic: false })
  t.equal(reason(), 'manualOnly')

  world.request('alice')
  world.settle()
  t.equal(reason(), 'peerDialing')

  world.callIn('alice')
  t.equal(reason(), 'peerConnected')

  world.dispatch({ type: 'environment/offline' })
  t.deepEqual([reason(), world.whyNot(ALICE)?.until], ['offline', world.now + 5 * MINUTE])

  world.dispatch({ type: 'initialSync/started', peer: null })
  t.equal(reason(), 'initialSync')

  const route = world.route(ALICE)
  const ourselves = { ...world.state.peers.get(idOf('alice'))!, id: idOf('self') }
  t.equal(whyNotDial(world.state, route, ourselves, world.now, 'schedule')?.reason, 'self')
  const bannedSelf = { ...ourselves, priority: 'BANNED' as const }
  t.equal(whyNotDial(world.state, route, bannedSelf, world.now, 'schedule')?.reason, 'banned')

  world.prioritise('alice', 'BANNED')
  t.equal(reason(), 'banned')

  world.dispatch({ type: 'initialSync/stopped' })
  world.dispatch({ type: 'connections/stopped' })
  t.equal(reason(), 'off')
  t.end()
})

test('off: until start is called', (t) => {
  const world = new World()
  world.add('alice')
  t.deepEqual(world.whyNot('alice'), {
    reason: 'off',
    until: null,
    message: 'the manager is off: connections.start() has not been called',
  })
  world.dispatch({ type: 'connections/started' })
  t.equal(world.whyNot('alice'), null)
  t.end()
})

test('banned: a banned peer is never dialed, however long it waits and whoever asks', (t) => {
  const world = World.started()
  world.add('alice')
  world.prioritise('alice', 'BANNED')
  world.longTerm('alice')
  world.request('alice')
  t.deepEqual(world.elapse(400 * DAY), [])
  for (const cause of ['schedule', 'longTerm', 'request', 'initialSync'] as const)
    t.equal(world.whyNot('alice', cause)?.reason, 'banned', cause)
  world.prioritise('alice', 'MEDIUM')
  t.deepEqual(world.settle(), ['dial alice (longTerm)'])
  t.end()
})

test('initialSync: nothing else is dialed until it ends', (t) => {
  const world = World.started()
  world.addAll(['alice', 'bob'])
  world.dispatch({ type: 'initialSync/started', peer: idOf('bob') })
  t.deepEqual(
    world.elapse(5 * SECOND).map(({ effect }) => effect),
    ['dial bob (initialSync)'],
  )
  t.equal(world.whyNot('alice')?.reason, 'initialSync')
  t.equal(world.whyNot('alice', 'initialSync'), null, 'the sync itself may')
  t.equal(world.whyNot('alice', 'request'), null, 'and so may a user')
  world.dispatch({ type: 'initialSync/stopped' })
  t.deepEqual(world.settle(), ['dial alice'])
  t.end()
})

test('offline: only what needs our link waits for it', (t) => {
  const world = World.started({ ...slots({ net: 9, local: 9, bt: 9, unix: 9, onion: 9 }), maxDialing: 100 })
  const labels = ['a', 'b/lan', 'c/bt', 'd/home', 'e/unix', 'f/onion', 'g/tunnel-a']
  world.addAll(labels)
  world.dispatch({ type: 'environment/offline' })
  const offline = labels.filter((label) => world.whyNot(label)?.reason === 'offline')
  t.deepEqual(offline, ['a', 'f/onion', 'g/tunnel-a'])
  t.deepEqual(world.settle().sort(), ['dial b/lan', 'dial c/bt', 'dial d/home', 'dial e/unix'])
  t.end()
})

test('typeDisabled: a class without slots, unless the peer is long-term or a user asks', (t) => {
  const world = World.started()
  world.add('alice/ws')
  t.equal(world.whyNot('alice/ws')?.message, 'no slots for ws: connections.setMaxByType({ws: n})')
  t.equal(world.whyNot('alice/ws', 'request'), null)
  world.longTerm('alice')
  t.equal(world.whyNot('alice/ws', 'longTerm'), null)
  world.longTerm('alice', false)
  world.setMax({ ws: 1 })
  t.equal(world.whyNot('alice/ws'), null)
  t.end()
})

test('backoff: until exactly the time it names', (t) => {
  const world = World.started({ ...slots({ net: 1 }), hostWindowMs: 0 })
  world.add('alice')
  world.settle()
  world.fail('alice')
  const until = world.now + 2_500
  t.deepEqual(world.whyNot('alice'), { reason: 'backoff', until, message: '1 failed dial in a row' })
  t.equal(world.whyNot('alice', 'request'), null, 'a user does not wait')
  t.equal(world.whyNot('alice', 'longTerm')?.reason, 'backoff', 'a long-term peer does')
  world.now = until - 1
  t.equal(world.whyNot('alice')?.reason, 'backoff')
  world.now = until
  t.equal(world.whyNot('alice'), null)
  t.deepEqual(world.settle(), ['dial alice'])
  world.fail('alice')
  t.equal(world.whyNot('alice')?.message, '2 failed dials in a row')
  t.end()
})

test('backoff: after a hang-up by the user the scheduler keeps away for a minute, but not from a long-term peer', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.hold('alice')
  const message = 'we hung up on this peer a moment ago'
  t.deepEqual(world.whyNot('alice'), { reason: 'backoff', until: world.now + MINUTE, message })
  t.deepEqual(world.elapse(MINUTE - 1), [])
  t.deepEqual(
    world.elapse(1).map(({ effect }) => effect),
    ['dial alice'],
  )
  const other = World.started(slots({ net: 1 }))
  other.add('alice')
  other.longTerm('alice')
  other.hold('alice')
  t.deepEqual(other.settle(), ['dial alice (longTerm)'])
  const third = World.started(slots({ net: 1 }))
  third.add('alice')
  third.hold('alice')
  third.longTerm('alice')
  t.deepEqual(third.settle(), ['dial alice (longTerm)'], 'in whichever order')
  t.end()
})

test('backoff: a connection that was short is a reason of its own', (t) => {
  const world = World.started(slots({ net: 1 }))
  world.add('alice')
  world.settle()
  world.connect('alice')
  world.now += 11 * SECOND
  world.close('alice')
  t.equal(world.whyNot('alice')?.message, 'the last connection was short')
  t.end()
})

test('peerConnected and peerDialing: by whichever route and direction', (t) => {
  const world = World.started()
  world.addAll(['alice', 'alice/onion', 'bob'])
  world.settle()
  t.equal(world.whyNot('alice/onion')?.reason, 'peerDialing')
  world.connect('alice')
  t.equal(world.whyNot('alice/onion')?.message, 'the peer has a connection (outbound)')
  world.callIn('bob')
  t.equal(world.whyNot('bob', 'request')?.message, 'the peer has a connection (inbound)')
  world.askToClose('alice', 'dead')
  world.settle()
  t.equal(world.status('alice'), 'closing')
  t.equal(world.whyNot('alice')?.reason, 'peerConnected', 'until the close is confirmed')
  t.end()
})

test('slotsFull: says how the slots are taken', (t) => {
  const world = fullWorld()
  t.equal(world.whyNot(ALICE)?.message, 'all 1 slots for net are taken (1 connected, 0 dialing, 0 closing)')
  for (const cause of ['request', 'initialSync'] as const) t.equal(world.whyNot(ALICE, cause), null, cause)
  t.end()
})

test('what a request is refused for is only what can never be', (t) => {
  const refusedFor = (prepare: (world: World) => void): RefusalReason | null => {
    const world = fullWorld()
    prepare(world)
    return world.whyNot(ALICE, 'request')?.reason ?? null
  }
  t.equal(
    refusedFor((world) => world.dispatch({ type: 'connections/stopped' })),
    null,
    'off',
  )
  t.equal(
    refusedFor((world) => world.dispatch({ type: 'initialSync/started', peer: null })),
    null,
    'initialSync',
  )
  t.equal(
    refusedFor((world) => world.dispatch({ type: 'environment/offline' })),
    null,
    'offline',
  )
  t.equal(
    refusedFor((world) => world.setMax({ net: 0 })),
    null,
    'typeDisabled',
  )
  t.equal(
    refusedFor((world) => world.hold('alice')),
    null,
    'backoff',
  )
  t.equal(
    refusedFor((world) => world.prioritise('alice', 'BANNED')),
    'banned',
  )
  t.equal(
    refusedFor((world) => world.callIn('alice')),
    'peerConnected',
  )
  t.end()
})
