/** Pubs that are announced in a real database, ssb-db2 on either stack and ssb-db on the one of its time, are dialed. */
import test = require('tape')

import db1 = require('ssb-db')

import conn = require('../../../src/conn')
import type Manager = require('../../../src/index')

import { type Keys, generate as newKeys } from 'ssb-keys'

import { isStrangerSafe, parseAddress } from '../../../src/core/address'
import { eventually } from '../../support/eventually'
import { ask, bootStack, type Stack, type StackOptions, type StackVersion } from '../../support/stack'

interface Row {
  readonly name: string
  readonly version: StackVersion
  readonly options: Partial<StackOptions>
  readonly announce: (stack: Stack, address: unknown) => Promise<unknown>
}

/** A feed that we replicate. */
const somebody = newKeys()

const ofPub = (address: unknown) => ({ type: 'pub', address })

const ROWS: readonly Row[] = [
  ...([6, 8] as const).map((version) => ({
    name: `ssb-db2 on secret-stack ${version}`,
    version,
    options: { withDb: true },
    announce: (stack: Stack, address: unknown) =>
      ask(stack.ssb, 'db.create', { keys: somebody, feedFormat: 'classic', content: ofPub(address) }),
  })),
  {
    name: 'ssb-db on secret-stack 6',
    version: 6,
    options: { plugins: [db1] },
    announce: (stack, address) =>
      ask((stack.ssb as unknown as { createFeed(keys: Keys): object }).createFeed(somebody), 'publish', ofPub(address)),
  },
]

const keyOf = (seed: string): string => Buffer.alloc(32, seed).toString('base64')
/** Of a range for documentation, which nobody answers; public to us, or a pub could not have it. */
const addressOf = (seed: string): string => `net:${seed}.example.org:8008~shs:${keyOf(seed)}`

test('the addresses of this test may be announced', (t) => {
  t.ok(parseAddress(addressOf('one')).every(isStrangerSafe))
  t.end()
})

for (const { name, version, options, announce } of ROWS) {
  test(`${name}: old and new announcements are dialed, and a second start hears as well`, async (t) => {
    const dialed: string[] = []
    /** Stands between the stack and the network: nobody on it answers. */
    const noNetwork = {
      version: '1.0.0',
      manifest: {},
      permissions: {},
      init(ssb: { connect: { hook(hook: (fn: unknown, args: unknown[]) => void): void } }) {
        ssb.connect.hook((_fn, [address, cb]) => {
          dialed.push(String(address))
          ;(cb as (error: Error) => void)(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }))
        })
      },
    }
    const stack = await bootStack({
      version,
      ...options,
      ownPlugins: [noNetwork, ...conn],
      config: { conn: { autostart: false }, connectionManager: { persist: false } },
    })
    const manager = stack.ssb.connectionManager as Manager.ConnectionManager
    const isDialed = (address: string) =>
      eventually(() => dialed.includes(address), { timeoutMs: 15_000, message: () => `${address} of ${dialed.join()}` })
    try {
      await announce(stack, addressOf('one'))
      await announce(stack, { host: 'two.example.org', port: 8008, key: `@${keyOf('two')}.ed25519` })
      await announce(stack, `net:127.0.0.1:8008~shs:${keyOf('private')}`)
      await announce(stack, 'rubbish')
      manager.connections.start()
      await isDialed(addressOf('one'))
      await isDialed(addressOf('two'))
      await announce(stack, addressOf('three'))
      await isDialed(addressOf('three'))
      const [route] = manager.peer.get(`@${keyOf('one')}.ed25519`)?.routes ?? []
      t.deepEqual([route?.source, route?.priority], ['pub', 'LOW'])

      manager.connections.stop()
      await announce(stack, addressOf('four'))
      manager.connections.start()
      await isDialed(addressOf('four'))
      await announce(stack, addressOf('five'))
      await isDialed(addressOf('five'))
      t.notOk(
        dialed.some((address) => address.includes('127.0.0.1')),
        'nothing in our own network',
      )
      t.equal(manager.peer.list().length, 5)
    } finally {
      await stack.close()
    }
    t.end()
  })
}
