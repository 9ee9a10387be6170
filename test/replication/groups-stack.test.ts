/**
 * Private groups on real stacks with the scheduler: bob and carol, who block each other, are in two groups with alice, and get
 * each other's messages of the groups by way of her; then one is excluded, and the new epoch's feeds come at once.
 */
import test = require('tape')

import plugin = require('../../src/replication-scheduler')

import type { Explanation, Status } from '../../src/replication-scheduler'
import { eventually } from '../support/eventually'
import {
  acceptInvite,
  addMembers,
  bootMetafeedStack,
  branchesOf,
  canInvite,
  connectStacks,
  createGroup,
  excludeMembers,
  findRoot,
  type Group,
  getGroup,
  hasMessages,
  publishInGroup,
  startGroups,
} from '../support/metafeeds'
import { block, closeAll, follow, type Stack } from '../support/stack'

interface Scheduler {
  status(): Status
  explain(feed: string): Explanation
}

const schedulerOf = (stack: Stack): Scheduler =>
  (stack.ssb as unknown as { readonly replicationScheduler: Scheduler }).replicationScheduler

const PARTIAL = {
  0: [{}],
  1: [{ purpose: 'group/additions' }],
  group: [{ purpose: '$groupSecret' }, { purpose: 'group/additions' }],
}
/** A feed that gets stuck in the middle is freed once in 20 s. */
const LIMIT = { timeoutMs: 45_000 }

const boot = (version: 6 | 8, name: string): Promise<Stack> =>
  bootMetafeedStack({
    version,
    name,
    withGroups: true,
    ownPlugins: [plugin],
    config: { replicationScheduler: { partialReplication: PARTIAL } },
  })

/** The feed on which the owner of a root writes with this key of a group. */
async function groupFeedOf(stack: Stack, root: string, group: Group, epoch = 0): Promise<string> {
  const purpose = group.readKeys[epoch]?.key.toString('base64')
  return eventually(async () => {
    const branches = await branchesOf(stack, root)
    return branches.find((branch) => branch.length === 4 && branch[3]?.purpose === purpose)?.[3]?.id
  }, LIMIT)
}

for (const version of [6, 8] as const)
  test(`members who block each other replicate the feeds of all their groups: secret-stack ${version}`, async (t) => {
    const stacks = await Promise.all(['alice', 'bob', 'carol'].map((name) => boot(version, name)))
    const [alice, bob, carol] = stacks as [Stack, Stack, Stack]
    try {
      await Promise.all(stacks.map(startGroups))
      const [aliceRoot, bobRoot, carolRoot] = (await Promise.all(
        stacks.map(async (each) => (await findRoot(each)).id),
      )) as [string, string, string]
      for (const each of [bob, carol]) {
        await follow(alice, each.id)
        await follow(each, alice.id)
      }
      await Promise.all([block(bob, carol.id), block(carol, bob.id)])
      await Promise.all([connectStacks(bob, alice), connectStacks(carol, alice)])
      await Promise.all([canInvite(alice, bobRoot), canInvite(alice, carolRoot)])

      const groups = [await createGroup(alice), await createGroup(alice)] as const
      for (const { id } of groups) await addMembers(alice, id, [bobRoot, carolRoot])
      for (const { id } of groups) await Promise.all([acceptInvite(bob, id), acceptInvite(carol, id)])
      for (const { id } of groups) {
        await publishInGroup(bob, id, { type: 'post', text: 'from bob' })
        await publishInGroup(carol, id, { type: 'post', text: 'from carol' })
      }
      // B3: of the second group as well as of the first.
      for (const group of groups) {
        await hasMessages(carol, await groupFeedOf(carol, bobRoot, group), 1)
        await hasMessages(bob, await groupFeedOf(bob, carolRoot, group), 1)
      }
      t.pass('by way of alice each has what the other said, in both groups')
      t.equal(schedulerOf(bob).explain(carol.id).wish, 'block')
      t.match(schedulerOf(bob).explain(carolRoot).text, /is replicated: a member of the private group/)
      t.equal(schedulerOf(bob).status().groups, 2)

      // B4: the key of a new epoch of a known group.
      await excludeMembers(alice, groups[0].id, [carolRoot])
      await eventually(async () => (await getGroup(bob, groups[0].id)).readKeys.length === 2, LIMIT)
      await publishInGroup(alice, groups[0].id, { type: 'post', text: 'without carol' })
      const next = await groupFeedOf(bob, aliceRoot, await getGroup(alice, groups[0].id), 1)
      await hasMessages(bob, next, 1)
      t.match(schedulerOf(bob).explain(next).text, /private group/, 'the feed of the new epoch is replicated at once')
      // B23: carol, who is excluded, lets go of that group and keeps the other.
      await eventually(() => schedulerOf(carol).status().groups === 1, LIMIT)
      const kept = await groupFeedOf(carol, bobRoot, groups[1])
      const left = await groupFeedOf(carol, bobRoot, groups[0])
      await eventually(() => schedulerOf(carol).explain(left).wish !== 'want', LIMIT)
      t.equal(schedulerOf(carol).explain(kept).wish, 'want')
    } finally {
      await closeAll(...stacks)
    }
    t.end()
  })
