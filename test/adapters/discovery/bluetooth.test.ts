/** The rules of devices nearby, on a virtual clock: the plugin runs on Android only. */
import test = require('tape')

import { startBluetooth } from '../../../src/adapters/discovery/bluetooth'
import { FakeStreams, scene } from '../../support/discovery'
import { alice, bob, person } from '../../support/manager'

const MAC = 'AA:bb:0C:1D:2e:3f'
const address = (key: string): string => `bt:AABB0C1D2E3F~shs:${key}`

function begin() {
  const streams = new FakeStreams()
  const asked: unknown[] = []
  const nearbyScuttlebuttDevices = (refreshMs: unknown) => {
    asked.push(refreshMs)
    return streams.open()
  }
  const made = scene({ plugins: { bluetooth: { nearbyScuttlebuttDevices } }, maxByType: { bt: 1 } })
  const stop = made.start(startBluetooth)
  const see = (...discovered: unknown[]): void => streams.last.push({ discovered })
  return { ...made, asked, stop, see }
}

const device = ({ id }: { readonly id: string }, remoteAddress: unknown = MAC) => ({
  remoteAddress,
  id,
  displayName: 'x',
})

test('a device nearby is a route by bluetooth, in a class of its own, and is not written to the disk', (t) => {
  const { see, asked, manager, clock, newDials } = begin()
  see(device(alice))
  const [route] = manager.peer.get(alice.id)?.routes ?? []
  t.deepEqual([route?.id, route?.isLocal, route?.source, route?.isStored], [address(alice.key), false, 'bt', false])
  t.deepEqual(asked, [1_000], 'it is asked for its list every second')
  manager.connections.start()
  clock.flush()
  t.deepEqual(newDials(), [address(alice.key)])
  t.end()
})

test('a device that is not seen for 30 s is withdrawn', (t) => {
  const { see, clock, routes } = begin()
  for (let i = 0; i < 60; i++) {
    see(device(alice), device(bob, '01-02-03-04-05-06'))
    clock.advance(1_000)
  }
  t.equal(routes().length, 2)
  see(device(alice))
  clock.advance(29_999)
  t.deepEqual(routes(), [address(alice.key)])
  clock.advance(1)
  t.deepEqual(routes(), [])
  t.equal(clock.pending, 0)
  t.end()
})

test('what is no device with a key is passed over', (t) => {
  const { see, routes } = begin()
  see(null, 7, {}, device(alice, 'aa:bb'), device(alice, `${MAC};net:h:1`), device(alice, 5), device({ id: '@nobody' }))
  see(device(alice, 'x'.repeat(1e6)))
  t.deepEqual(routes(), [])
  see(device(bob))
  t.deepEqual(routes(), [address(bob.key)])
  t.end()
})

test('no more than 64 are kept', (t) => {
  const { see, routes } = begin()
  const crowd = Array.from({ length: 500 }, (_, i) => device(person(`p${i}`), `aabbccdd${1000 + i}`))
  for (let i = 0; i < 500; i += 50) see(...crowd.slice(i, i + 50))
  t.equal(routes().length, 64)
  t.end()
})
