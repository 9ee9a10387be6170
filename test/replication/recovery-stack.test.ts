/** Somebody comes back with an old key and an empty database: the own feed is fetched before anything may be published. */
import pull = require('pull-stream')
import test = require('tape')

import plugin = require('../../src/replication-scheduler')

import type { ReplicationProgress } from '../../src/replication/progress'
import { eventually } from '../support/eventually'
import {
  bootStack,
  closeAll,
  connect,
  databasePlugins,
  follow,
  publish,
  type Stack,
  vectorClock,
} from '../support/stack'

for (const version of [6, 8] as const)
  test(`the own feed comes back, progress() says when, and what is published then goes on from there: secret-stack ${version}`, async (t) => {
    const boot = (name: string, more: object = {}): Promise<Stack> =>
      bootStack({ version, name, plugins: databasePlugins(), ownPlugins: [plugin], ...more })
    const [alice, bob] = await Promise.all([boot('alice'), boot('bob')])
    await follow(bob, alice.id)
    for (let i = 0; i < 5; i++) await publish(alice, { type: 'post', text: `${i}` })
    await connect(alice, bob.address)
    await eventually(async () => (await vectorClock(bob))[alice.id] === 5, {
      timeoutMs: 20_000,
      message: 'bob has it all',
    })
    const { keys } = alice
    await alice.close()

    const again = await boot('again', { keys })
    t.equal((await vectorClock(again))[keys.id], undefined, 'the database is empty')
    const items: ReplicationProgress[] = []
    const { progress } = again.ssb.replicationScheduler as unknown as { progress(): pull.Source<ReplicationProgress> }
    pull(
      progress(),
      pull.drain(
        (item) => {
          items.push(item)
        },
        () => {},
      ),
    )
    const isRecovered = ({ caughtUp, own }: ReplicationProgress): boolean =>
      caughtUp && own.known !== null && own.have !== null && own.have >= own.known
    t.notOk(items.some(isRecovered), 'nobody is connected: not recovered')
    await connect(again, bob.address)
    await eventually(() => items.some(isRecovered), {
      timeoutMs: 30_000,
      message: () => JSON.stringify(items.slice(-1)),
    })
    t.deepEqual(items.find(isRecovered)?.own, { have: 5, known: 5 })
    const message = (await publish(again, { type: 'post', text: 'I am back' })) as { value: { sequence: number } }
    t.equal(message.value.sequence, 6, 'no fork')
    await eventually(async () => (await vectorClock(bob))[keys.id] === 6, {
      timeoutMs: 20_000,
      message: 'bob takes it',
    })
    await closeAll(again, bob)
    t.end()
  })
