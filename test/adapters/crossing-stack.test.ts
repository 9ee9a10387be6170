/**
 * Both sides dial, one of the two connections is closed, and messages go on by the other one. ssb-ebt has one stream for each
 * peer and moves it to whichever connection came last, so that without help it ends with that.
 */
import test = require('tape')

import { keepOneStream } from '../../src/adapters/one-stream'

import Manager = require('../../src/index')

import { virtualClock } from '../../src/testing'
import { eventually } from '../support/eventually'
import { bootStack, closeAll, connect, follow, publish, type Stack, vectorClock } from '../support/stack'

const managerOf = (stack: Stack): Manager.ConnectionManager => stack.ssb.connectionManager as Manager.ConnectionManager

test('when the later of two crossing connections is closed, messages go on by the earlier one', async (t) => {
  const config = { connectionManager: { persist: false } }
  const boot = (name: string): Promise<Stack> =>
    bootStack({ version: 6, name, withDb: true, ownPlugins: [Manager], config })
  const [a, b] = await Promise.all([boot('a'), boot('b')])
  t.teardown(() => closeAll(a, b))
  const [kept, loser] = a.id < b.id ? [a, b] : [b, a]
  await Promise.all([follow(kept, loser.id), follow(loser, kept.id)])
  for (const stack of [a, b]) managerOf(stack).connections.start()

  await connect(kept, loser.address)
  await eventually(() => managerOf(loser).peer.get(kept.id)?.connection.direction === 'inbound', {
    message: 'the first is up',
  })
  const second = await connect(loser, kept.address)
  await eventually(() => second.closed === true, { message: 'the second is closed' })

  await Promise.all([publish(kept, { type: 'post', text: 'one' }), publish(loser, { type: 'post', text: 'two' })])
  const have = async (reader: Stack, author: Stack): Promise<boolean> => (await vectorClock(reader))[author.id] === 2
  await eventually(async () => (await have(kept, loser)) && (await have(loser, kept)), {
    timeoutMs: 20_000,
    message: 'all messages have come',
  })
  t.equal(managerOf(loser).peer.get(kept.id)?.connection.direction, 'inbound', 'by the first connection')
  t.equal(managerOf(kept).peer.get(loser.id)?.connection.direction, 'outbound')
})

test('whoever was dialed opens the stream only if the other side does not', (t) => {
  const peer = '@kept'
  const duplex = () => ({ source: (_: unknown, cb: (end: true) => void) => cb(true), sink: () => {} })
  for (const { direction, isThere, opens } of [
    { direction: 'outbound', isThere: true, opens: [0, 1, 1] },
    { direction: 'inbound', isThere: false, opens: [0, 0, 1] },
    { direction: 'inbound', isThere: true, opens: [0, 0, 0] },
  ]) {
    const clock = virtualClock()
    let opened = 0
    const ebt = {
      replicate: () => {
        opened++
        return duplex()
      },
      peerStatus: () => ({ peers: isThere ? { [peer]: {} } : {} }),
    }
    const connection = () => {
      const listeners: (() => void)[] = []
      return {
        rpc: { id: peer, ebt: { replicate: duplex }, on: (_: string, fn: () => void) => listeners.push(fn) },
        close: () => {
          for (const fn of listeners) fn()
        },
      }
    }
    const [first, second] = [connection(), connection()]
    const internal = {
      connectionOf: () => first.rpc,
      store: { getState: () => ({ peers: new Map([[peer, { connection: { status: 'connected', direction } }]]) }) },
    }
    const streams = keepOneStream({ sbot: { ebt }, manager: { internal } as never, clock })
    const counts: number[] = []
    streams.opened(peer, first.rpc as never)
    streams.opened(peer, second.rpc as never)
    second.close()
    counts.push(opened)
    clock.advance(2_000)
    counts.push(opened)
    clock.advance(20_000)
    counts.push(opened)
    t.deepEqual(counts, opens, `${direction}, ${isThere ? 'with' : 'without'} a stream`)

    opened = 0
    const third = connection()
    streams.opened(peer, third.rpc as never)
    third.close()
    streams.stop()
    clock.advance(60_000)
    t.equal(opened, 0, 'nothing after the end')
  }
  t.end()
})
