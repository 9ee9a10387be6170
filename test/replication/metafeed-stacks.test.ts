/** The stacks that tests of partial replication run on: what the helpers of support/metafeeds do is there, and reaches others. */
import test = require('tape')

import { eventually } from '../support/eventually'
import {
  acceptInvite,
  addMembers,
  bootMetafeedStack,
  branchesOf,
  canInvite,
  connectStacks,
  countMessages,
  createGroup,
  findLeaf,
  findRoot,
  getGroup,
  hasMessages,
  knowsLeaf,
  publishInGroup,
  publishOn,
  startGroups,
  startIndexFeed,
  tombstone,
  unblock,
  unfollow,
} from '../support/metafeeds'
import { ask, block, closeAll, type DatabasePackage, follow, publish, type StackVersion } from '../support/stack'

const VARIANTS: readonly [StackVersion, DatabasePackage][] = [
  [6, 'ssb-db2'],
  [6, 'ssb-db2-6'],
  [8, 'ssb-db2'],
  [8, 'ssb-db2-6'],
]

async function play(version: StackVersion, database: DatabasePackage) {
  const options = { version, database, withGroups: true, requestsAll: true }
  const [alice, bob] = await Promise.all([
    bootMetafeedStack({ ...options, name: 'alice' }),
    bootMetafeedStack({ ...options, name: 'bob' }),
  ])
  await Promise.all([startGroups(alice), startGroups(bob)])
  await Promise.all([follow(alice, bob.id), follow(bob, alice.id)])
  const root = (await findRoot(alice)).id
  const leaf = await findLeaf(alice, { purpose: 'chess' })
  for (let i = 0; i < 3; i++) await publishOn(alice, leaf, { type: 'move', i })
  await publish(alice, { type: 'vote', vote: { link: '%x', value: 1 } })
  await publish(alice, { type: 'vote', vote: { link: '%y', value: 1 } })
  const index = await startIndexFeed(alice, 'vote')
  await connectStacks(alice, bob)

  const seen = await knowsLeaf(bob, root, 'chess')
  await hasMessages(bob, leaf.id, 3)
  await hasMessages(bob, index.subfeed, 2)
  const counts = [await countMessages(bob, leaf.id), await countMessages(bob, index.subfeed)]
  const paths = (await branchesOf(bob, root)).map((branch) => branch.length)

  await tombstone(alice, { purpose: 'chess' })
  await eventually(async () => (await knowsLeaf(bob, root, 'chess')).tombstoned === true, {
    timeoutMs: 15_000,
    message: 'the end of the leaf is known',
  })

  const group = await createGroup(alice)
  const bobsRoot = (await findRoot(bob)).id
  await canInvite(alice, bobsRoot)
  await addMembers(alice, group.id, [bobsRoot])
  await acceptInvite(bob, group.id)
  await publishInGroup(alice, group.id, { type: 'post', text: 'hello' })
  const keys = (await getGroup(bob, group.id)).readKeys.map(({ key }) => key.toString('base64'))
  const groupLeaf = await knowsLeaf(bob, root, keys[0] as string)
  await hasMessages(bob, groupLeaf.id, 2)

  const relation = async (how: 'isFollowing' | 'isBlocking'): Promise<unknown> =>
    ask(alice.ssb, `friends.${how}`, { source: alice.id, dest: bob.id })
  await unfollow(alice, bob.id)
  const isFollowing = await relation('isFollowing')
  await block(alice, bob.id)
  const isBlocking = await relation('isBlocking')
  await unblock(alice, bob.id)
  const relations = [isFollowing, isBlocking, await relation('isBlocking')]
  await closeAll(alice, bob)
  return { isSame: seen.id === leaf.id, counts, longest: Math.max(...paths), keys: keys.length, relations }
}

test('feeds, index feeds and groups of one stack reach another', async (t) => {
  const played = await Promise.all(VARIANTS.map(([version, database]) => play(version, database)))
  for (const [i, result] of played.entries())
    t.deepEqual(
      result,
      { isSame: true, counts: [3, 2], longest: 4, keys: 1, relations: [false, true, false] },
      `secret-stack and database: ${VARIANTS[i]}`,
    )
})
