/** Priorities from the social graph, on a virtual clock: the rules, a graph that changes, misbehaves or is missing. */
import fc from 'fast-check'

import test = require('tape')

import { readSettings, type Sbot } from '../../src/adapters/sbot'
import { DEFAULT_SOCIAL_OPTIONS, readSocialOptions, watchFriends } from '../../src/adapters/social'
import { fromSnapshot, stringifySnapshot, toSnapshot } from '../../src/core/snapshot'
import type { ConnectionManager } from '../../src/manager'
import type { Clock } from '../../src/shell/clock'
import { BLOCK, FakeFriends, FOLLOW, friendsOnPaper, NEITHER, stackWith } from '../support/friends'
import {
  alice,
  type Bench,
  bench,
  bob,
  carol,
  catchThrown,
  dave,
  erin,
  FakeRpc,
  LAST_ID,
  MINUTE,
  type Person,
  person,
  SECOND,
} from '../support/manager'

const ME = LAST_ID

interface Social extends Bench {
  readonly sbot: Sbot
  readonly logged: string[]
  readonly stop: () => void
  /** Priority and who set it, as `HIGH social`; `none` for who is not in the table. */
  standing(who: Person): string
  /** Lets slices run to their end. */
  settle(): void
}

interface SocialOptions {
  readonly social?: unknown
  readonly bench?: Bench
  readonly sbot?: Sbot
}

function social(friends: unknown, options: SocialOptions = {}): Social {
  const made = options.bench ?? bench({ selfId: ME })
  const sbot = options.sbot ?? stackWith(ME, friends)
  const logged: string[] = []
  const { manager, clock } = made
  const settings = readSettings({ connectionManager: options.social === undefined ? {} : { social: options.social } })
  const stop = watchFriends({ sbot, manager, settings, clock, log: (message) => logged.push(message) })
  const settle = (): void => clock.advance(100)
  settle()
  return { ...made, sbot, logged, stop, settle, standing: (who) => standingOf(manager, who.id) }
}

function standingOf(manager: ConnectionManager, id: string): string {
  const peer = manager.peer.get(id)
  return peer ? `${peer.priority} ${peer.prioritisedBy ?? '-'}` : 'none'
}

/** Fake friends that know these hops. */
function knowing(hops: readonly [Person, number][] = []): FakeFriends {
  const friends = new FakeFriends()
  friends.whole = { [ME]: 0, ...Object.fromEntries(hops.map(([who, n]) => [who.id, n])) }
  return friends
}

/** A new manager with what the old one would have written. */
function restarted(before: Bench): Bench {
  const { store } = before.manager.internal
  const text = stringifySnapshot(toSnapshot(store.getState(), before.clock.now()))
  const after = bench({ selfId: ME })
  after.manager.internal.load(fromSnapshot(JSON.parse(text)))
  return after
}

const addPub = (manager: ConnectionManager, ...people: Person[]): void => {
  for (const { address } of people) manager.peer.addRoute({ address, source: 'pub' })
}

// ---- the rules --------------------------------------------------------------------------------------------------------

test('whom we follow is HIGH, whom the graph reaches MEDIUM, all others LOW, and whom we block BANNED', (t) => {
  const rows: [number | undefined, string, string][] = [
    [0.1, 'HIGH social', 'our other device'],
    [1, 'HIGH social', 'followed'],
    [1.1, 'MEDIUM social', 'followed by our other device'],
    [2, 'MEDIUM social', 'a friend of a friend'],
    [3, 'MEDIUM social', 'as far as ssb-friends counts, however far that is'],
    [-1, 'BANNED social', 'blocked by us'],
    [-1.1, 'LOW social', 'blocked by our other device: ssb-friends lets him in as well'],
    [-2, 'LOW social', 'unfollowed by us, or blocked by a friend'],
    [-3, 'LOW social', 'unfollowed by a friend'],
    [undefined, 'LOW social', 'unknown'],
    [Number.NaN, 'LOW social', 'no number'],
    [Number.POSITIVE_INFINITY, 'LOW social', 'out of reach'],
  ]
  for (const [hops, expected, remark] of rows) {
    const friends = knowing([[bob, 1]])
    if (hops !== undefined) friends.whole[alice.id] = hops
    const { manager, standing, settle } = social(friends)
    addPub(manager, alice)
    settle()
    t.equal(standing(alice), expected, `${hops}: ${remark}`)
  }
  t.end()
})

test('the limits of HIGH and MEDIUM can be set, and what makes no sense is refused by name', (t) => {
  const friends = (): FakeFriends =>
    knowing([
      [alice, 1],
      [bob, 2],
      [carol, 3],
    ])
  const standings = (options: unknown): string[] => {
    const { manager, standing, settle } = social(friends(), { social: options })
    addPub(manager, alice, bob, carol)
    settle()
    return [alice, bob, carol].map((who) => standing(who).replace(' social', ''))
  }
  t.deepEqual(standings(true), ['HIGH', 'MEDIUM', 'MEDIUM'])
  t.deepEqual(standings({}), ['HIGH', 'MEDIUM', 'MEDIUM'])
  t.deepEqual(standings({ mediumHops: 2 }), ['HIGH', 'MEDIUM', 'LOW'])
  t.deepEqual(standings({ highHops: 2 }), ['HIGH', 'HIGH', 'MEDIUM'])
  t.deepEqual(standings({ highHops: 0, mediumHops: 1 }), ['MEDIUM', 'LOW', 'LOW'])
  t.deepEqual(readSocialOptions(undefined), DEFAULT_SOCIAL_OPTIONS)
  t.equal(readSocialOptions(false), null)
  const bad: [unknown, RegExp][] = [
    [null, /social/],
    ['false', /social/],
    [2, /social/],
    [[], /social/],
    [{ highHops: '1' }, /social\.highHops/],
    [{ highHops: -1 }, /social\.highHops/],
    [{ highHops: Number.NaN }, /social\.highHops/],
    [{ mediumHops: Number.POSITIVE_INFINITY }, /social\.mediumHops/],
    [{ highHops: 2, mediumHops: 1 }, /social\.mediumHops/],
    [{ hops: 2 }, /highHops and mediumHops/],
  ]
  for (const [given, message] of bad) {
    try {
      social(friends(), { social: given })
      t.fail(`${JSON.stringify(given)} was taken`)
    } catch (error) {
      const { code, message: text } = error as { code?: string; message: string }
      t.equal(code, 'ERR_INVALID_ARGUMENT', JSON.stringify(given))
      t.match(text, message)
    }
  }
  t.end()
})

test('priorities follow the graph as it changes', (t) => {
  // [who says what of whom, then the standing of alice, bob and carol], one after the other.
  const rounds: [Person | null, Person, number, string[]][] = [
    [null, alice, FOLLOW, ['HIGH', 'LOW', 'LOW']],
    [alice, bob, FOLLOW, ['HIGH', 'MEDIUM', 'LOW']],
    [bob, carol, FOLLOW, ['HIGH', 'MEDIUM', 'LOW']], // beyond hops: 2
    [null, bob, FOLLOW, ['HIGH', 'HIGH', 'MEDIUM']],
    [null, alice, NEITHER, ['LOW', 'HIGH', 'MEDIUM']],
    [null, carol, BLOCK, ['LOW', 'HIGH', 'BANNED']],
    [null, carol, NEITHER, ['LOW', 'HIGH', 'MEDIUM']], // bob follows him
    [null, bob, BLOCK, ['-', 'BANNED', '-']], // of those we follow nobody is left
    [null, alice, FOLLOW, ['HIGH', 'BANNED', 'LOW']], // alice follows bob, but our word counts
    [null, bob, NEITHER, ['HIGH', 'MEDIUM', 'LOW']],
    [bob, alice, BLOCK, ['HIGH', 'MEDIUM', 'LOW']],
    [alice, bob, BLOCK, ['HIGH', 'LOW', 'LOW']],
  ]
  const paper = friendsOnPaper(ME)
  const { manager, clock, standing } = social(paper.friends)
  addPub(manager, alice, bob, carol)
  for (const [from, to, what, expected] of rounds) {
    paper.say(from?.id ?? ME, to.id, what)
    // Some are out of sight without a word; they are found within seconds.
    clock.advance(10 * SECOND)
    const standings = [alice, bob, carol].map((who) => standing(who).replace(' social', '').replace('LOW -', '-'))
    t.deepEqual(standings, expected, `${from ? 'another' : 'we'} said ${what}`)
  }
  t.end()
})

test('who was known only through somebody we have unfollowed is LOW within seconds', (t) => {
  const paper = friendsOnPaper(ME)
  const { manager, clock, standing, settle } = social(paper.friends)
  addPub(manager, alice, bob)
  paper.say(ME, carol.id, FOLLOW)
  paper.say(ME, alice.id, FOLLOW)
  paper.say(alice.id, bob.id, FOLLOW)
  settle()
  t.equal(standing(bob), 'MEDIUM social')
  paper.say(ME, alice.id, NEITHER)
  settle()
  t.equal(standing(alice), 'LOW social', 'at once, as it was said')
  clock.advance(10 * SECOND)
  t.equal(standing(bob), 'LOW social')
  t.end()
})

// ---- connections ------------------------------------------------------------------------------------------------------

test('a block cuts the connection in the same moment, of either direction, and the peer is refused from then on', (t) => {
  const friends = knowing([
    [alice, 1],
    [bob, 1],
  ])
  const { manager, connected, clock, changes, why, standing } = social(friends)
  const outbound = connected(alice.address)
  const inbound = new FakeRpc()
  manager.peer.remotePeerConnected(bob.id, inbound)
  clock.advance(SECOND)
  t.equal(standing(bob), 'HIGH social', 'who only calls in is known as well')
  friends.tell({ [alice.id]: -1, [bob.id]: -1 })
  clock.flush()
  t.deepEqual([outbound.hangUps, inbound.hangUps], [1, 1])
  t.deepEqual(
    changes.items.filter(({ type }) => type === 'disconnected').map(({ reason }) => reason),
    ['banned', 'banned'],
  )
  t.equal(why(alice.address), 'banned')
  t.ok(manager.internal.isBanned(bob.id), 'refused in the handshake')
  const again = new FakeRpc()
  manager.peer.remotePeerConnected(bob.id, again)
  clock.flush()
  t.equal(again.hangUps, 1, 'and hung up on, should he get through')
  t.end()
})

test('who only calls in has his priority while he is there, and leaves nothing behind', (t) => {
  const friends = knowing([
    [alice, 1],
    [bob, 2],
  ])
  const { manager, standing, settle, sbot } = social(friends)
  for (const { id } of [alice, bob, carol]) manager.peer.remotePeerConnected(id, new FakeRpc())
  settle()
  t.deepEqual([alice, bob, carol].map(standing), ['HIGH social', 'MEDIUM social', 'LOW social'])
  for (const { id } of [alice, bob, carol]) manager.peer.remotePeerDisconnected(id)
  settle()
  t.equal(manager.peer.list().length, 0)
  manager.peer.remotePeerConnected(sbot.id, new FakeRpc())
  settle()
  t.equal(manager.peer.list().length, 0, 'a client of our own is nobody')
  t.end()
})

test('a peer that is not in the table gets no record, except one that we block', (t) => {
  const friends = knowing([
    [alice, 1],
    [bob, 2],
    [carol, -2],
    [dave, -1],
  ])
  const { manager, standing, settle } = social(friends)
  t.deepEqual([alice, bob, carol, dave].map(standing), ['none', 'none', 'none', 'BANNED social'])
  friends.tell({ [erin.id]: -1, [dave.id]: 1 })
  settle()
  t.deepEqual([dave, erin].map(standing), ['none', 'BANNED social'])
  t.equal(manager.peer.list().length, 1)
  t.end()
})

test('bans hold while connections are off, and no timer is set when there is nothing to do', (t) => {
  const friends = knowing([[alice, 1]])
  const { manager, clock, standing } = social(friends)
  t.equal(manager.connections.status().mode, 'off')
  friends.tell({ [bob.id]: -1 })
  clock.flush()
  t.equal(standing(bob), 'BANNED social')
  t.equal(clock.pending, 0)
  t.end()
})

// ---- whose word counts ------------------------------------------------------------------------------------------------

test('the word of the user stands against the graph, until he hands the peer back', (t) => {
  const friends = knowing([
    [alice, 1],
    [bob, 2],
    [carol, -1],
  ])
  const { manager, standing, settle } = social(friends)
  addPub(manager, alice, bob)
  const words = { [alice.id]: 'BANNED', [bob.id]: 'LOW', [carol.id]: 'MEDIUM' }
  for (const [id, priority] of Object.entries(words)) manager.peer.setPriority({ id, priority })
  settle()
  friends.tell({ [alice.id]: 2 })
  friends.tell({ [alice.id]: 1, [bob.id]: 1, [bob.id]: 2 })
  friends.tell({ [carol.id]: -2 })
  friends.tell({ [carol.id]: -1 })
  settle()
  t.deepEqual([alice, bob, carol].map(standing), ['BANNED user', 'LOW user', 'MEDIUM user'])
  for (const id of Object.keys(words)) manager.peer.setPriority({ id, priority: 'AUTO' })
  settle()
  t.deepEqual([alice, bob, carol].map(standing), ['HIGH social', 'MEDIUM social', 'BANNED social'])
  t.end()
})

test('what another module says stands too, but for a block', (t) => {
  const friends = knowing([
    [alice, 1],
    [bob, 1],
    [carol, 1],
  ])
  const { manager, standing, settle } = social(friends)
  addPub(manager, alice, bob, carol)
  settle()
  manager.peer.setPriority({ id: alice.id, priority: 'LOW', source: 'quality' })
  manager.peer.setPriority({ id: bob.id, priority: 'BANNED', source: 'firewall' })
  manager.peer.setPriority({ id: carol.id, priority: 'HIGH', source: 'quality' })
  settle()
  t.deepEqual([alice, bob, carol].map(standing), ['LOW quality', 'BANNED firewall', 'HIGH quality'])
  friends.tell({ [carol.id]: -1, [bob.id]: -1 })
  settle()
  friends.tell({ [bob.id]: 1 })
  settle()
  t.equal(standing(carol), 'BANNED social')
  t.equal(standing(bob), 'BANNED firewall', 'a ban of somebody else is not ours to lift')
  manager.peer.setPriority({ id: alice.id, priority: 'AUTO', source: 'quality' })
  settle()
  t.equal(standing(alice), 'HIGH social', 'handed back')
  t.end()
})

test('a hook that makes something else of it, or vetoes it, is asked once for each change', (t) => {
  const friends = knowing([
    [alice, 1],
    [bob, 2],
    [carol, -1],
  ])
  const asked: string[] = []
  const made = bench({ selfId: ME })
  made.manager.onPrioritise(({ id, priority }) => {
    asked.push(`${[alice, bob, carol].findIndex((who) => who.id === id)} ${priority}`)
    if (id === bob.id) throw new Error('not him')
    return id === alice.id ? 'LOW' : 'MEDIUM'
  })
  const { manager, standing, settle, clock } = social(friends, { bench: made })
  addPub(manager, alice, bob)
  settle()
  // Each of these is a change of the peer, and none of what the graph says.
  for (const { address } of [alice, bob]) {
    manager.peer.addRoute({ address: address.replace('8008', '8009'), source: 'pub' })
    settle()
  }
  clock.advance(MINUTE)
  t.deepEqual(asked.sort(), ['0 HIGH', '1 MEDIUM', '2 BANNED'])
  t.deepEqual([alice, bob, carol].map(standing), ['LOW social', 'LOW -', 'none'])
  asked.length = 0
  friends.tell({ [alice.id]: 2, [carol.id]: -2 })
  friends.tell({ [carol.id]: -1 })
  settle()
  t.deepEqual(asked.sort(), ['0 MEDIUM'], 'what it has answered before is remembered')
  manager.peer.setPriority({ id: alice.id, priority: 'HIGH' })
  settle()
  manager.peer.setPriority({ id: alice.id, priority: 'AUTO' })
  settle()
  t.ok(asked.includes('0 MEDIUM'), 'and asked anew when the user hands the peer back')
  t.end()
})

test('an unblock lifts the ban that the block has set, also that of an earlier run, and no other', (t) => {
  const friends = knowing([
    [erin, 1],
    [alice, -1],
    [bob, -1],
    [carol, -1],
  ])
  const first = social(friends)
  addPub(first.manager, alice)
  first.manager.peer.setPriority({ id: dave.id, priority: 'BANNED' })
  first.manager.peer.setPriority({ id: bob.id, priority: 'BANNED' })
  first.settle()
  first.stop()
  const everybody = [alice, bob, carol, dave]
  t.deepEqual(everybody.map(first.standing), ['BANNED social', 'BANNED user', 'BANNED social', 'BANNED user'])
  // Before the restart alice was unblocked, and carol is not in the graph any more.
  const later = knowing([
    [erin, 1],
    [alice, 2],
    [bob, -2],
  ])
  const second = social(later, { bench: restarted(first) })
  t.deepEqual(everybody.map(second.standing), ['MEDIUM social', 'BANNED user', 'none', 'BANNED user'])
  t.end()
})

// ---- who is not in the graph ------------------------------------------------------------------------------------------

test('while we follow nobody nothing is set, so that who was invited finds his way', (t) => {
  const friends = knowing([
    [carol, -1],
    [dave, -2],
  ])
  const { manager, standing, settle, clock, newDials } = social(friends)
  manager.connections.start()
  manager.peer.addRoute({ address: alice.address, source: 'invite' })
  addPub(manager, bob)
  clock.advance(5 * SECOND)
  t.deepEqual([alice, bob, carol].map(standing), ['MEDIUM -', 'LOW -', 'BANNED social'])
  t.ok(newDials().includes(alice.address), 'dialed within seconds')
  friends.tell({ [alice.id]: 1 })
  settle()
  t.deepEqual([alice, bob].map(standing), ['HIGH social', 'LOW social'])
  friends.tell({ [alice.id]: -2 })
  settle()
  t.deepEqual([alice, bob].map(standing), ['MEDIUM -', 'LOW -'], 'and handed back when the last follow is gone')
  t.end()
})

test('whom the user has added himself is not put back for being unknown, and dialed within seconds', (t) => {
  const friends = knowing([[erin, 1]])
  const { manager, standing, clock, newDials, settle } = social(friends)
  manager.connections.start()
  const sources = ['manual', 'seed', 'invite'] as const
  sources.forEach((source, i) => {
    manager.peer.addRoute({ address: ([alice, bob, carol][i] as Person).address, source })
  })
  addPub(manager, dave)
  clock.advance(5 * SECOND)
  t.deepEqual([alice, bob, carol].map(standing), ['MEDIUM -', 'MEDIUM -', 'MEDIUM -'])
  t.equal(standing(dave), 'LOW social')
  t.equal(newDials().length, 4, 'all at once: half of the first dials are expected to fail')
  manager.peer.setLongTerm({ id: dave.id })
  settle()
  t.equal(standing(dave), 'LOW -', 'nor whom he wants to keep')
  friends.tell({ [alice.id]: -1, [bob.id]: 1 })
  settle()
  t.deepEqual([alice, bob].map(standing), ['BANNED social', 'HIGH social'], 'but what the graph says of them counts')
  t.end()
})

test('LOW peers are dialed within seconds if nobody better is there', (t) => {
  const { manager, clock, newDials, standing } = social(knowing([[erin, 1]]))
  addPub(manager, alice)
  manager.connections.start()
  clock.advance(5 * SECOND)
  t.equal(standing(alice), 'LOW social')
  t.deepEqual(newDials(), [alice.address])
  t.end()
})

test('as long as the index is not up to date nobody is LOW for not being in it, and no ban is lifted', (t) => {
  const before = social(
    knowing([
      [alice, -1],
      [bob, -1],
      [erin, 1],
    ]),
  )
  before.stop()
  const friends = knowing([])
  friends.onHops = 'wait'
  const { manager, standing, settle } = social(friends, { bench: restarted(before) })
  addPub(manager, carol, dave)
  // The log is read from the beginning: alice was a friend once.
  friends.tell({ [alice.id]: 1 })
  friends.tell({ [carol.id]: 1, [erin.id]: -1 })
  settle()
  t.deepEqual([alice, bob].map(standing), ['BANNED social', 'BANNED social'])
  t.deepEqual([carol, dave, erin].map(standing), ['HIGH social', 'LOW -', 'BANNED social'], 'what is known counts')
  friends.tell({ [alice.id]: -1 })
  friends.answer()
  settle()
  t.deepEqual([alice, bob, dave].map(standing), ['BANNED social', 'none', 'LOW social'])
  t.end()
})

test('an index that is built anew lifts no ban on its way', (t) => {
  const friends = knowing([
    [alice, -1],
    [bob, 1],
    [carol, 1],
  ])
  const { manager, standing, settle } = social(friends)
  addPub(manager, alice, bob, carol)
  settle()
  friends.onHops = 'wait'
  friends.whole = {}
  // What ssb-friends 5 says when it begins again, and when it comes by the old messages.
  friends.tell({ [ME]: 0 })
  friends.tell({ [alice.id]: 1 })
  settle()
  t.deepEqual([alice, bob].map(standing), ['BANNED social', 'HIGH social'])
  friends.tell({ [alice.id]: -1, [carol.id]: 2 })
  friends.answer()
  settle()
  t.deepEqual([alice, bob, carol].map(standing), ['BANNED social', 'LOW social', 'MEDIUM social'])
  t.end()
})

// ---- ssb-friends that is missing, late, or broken ---------------------------------------------------------------------

test('without ssb-friends nothing is set, bans of an earlier run stay, and no timer is left', (t) => {
  const before = social(
    knowing([
      [alice, -1],
      [erin, 1],
    ]),
  )
  before.stop()
  for (const friends of [undefined, null, {}, { hopStream: 1 }]) {
    const { manager, standing, settle, clock, logged } = social(friends, { bench: restarted(before) })
    addPub(manager, bob)
    settle()
    t.deepEqual([alice, bob].map(standing), ['BANNED social', 'LOW -'])
    t.equal(clock.pending, 0)
    t.match(logged.join(), /no ssb-friends/)
  }
  t.end()
})

test('ssb-friends that is loaded after us is found', (t) => {
  const sbot: { -readonly [K in keyof Sbot]: Sbot[K] } = stackWith(ME)
  const made = bench({ selfId: ME })
  const { manager, clock } = made
  const stop = watchFriends({ sbot, manager, clock, settings: readSettings({}), log: t.fail })
  addPub(manager, alice)
  sbot.friends = knowing([[alice, 1]])
  clock.advance(SECOND)
  t.equal(standingOf(manager, alice.id), 'HIGH social')
  stop()
  t.end()
})

test('a stream that throws, fails or ends is opened again, ever more seldom, and what is known stays', (t) => {
  const friends = knowing([
    [alice, 1],
    [bob, -1],
  ])
  friends.onStream = 'throw'
  const { manager, standing, clock, settle, logged } = social(friends)
  addPub(manager, alice, carol)
  settle()
  t.deepEqual([alice, bob, carol].map(standing), ['HIGH social', 'BANNED social', 'LOW social'], 'hops still answers')
  t.match(logged.join(), /hopStream is broken/)
  clock.advance(60 * MINUTE)
  const attempts = logged.length
  t.ok(attempts > 10 && attempts < 30, `${attempts} attempts within an hour`)
  friends.onStream = 'open'
  clock.advance(5 * MINUTE)
  t.equal(friends.open, 1)
  friends.end(new Error('index gone'))
  settle()
  t.match(logged.join(), /index gone/)
  friends.whole[carol.id] = -1
  friends.whole[bob.id] = 1
  t.deepEqual([alice, bob].map(standing), ['HIGH social', 'BANNED social'])
  clock.advance(2 * SECOND)
  t.equal(friends.open, 1, 'open again')
  friends.end()
  clock.advance(5 * SECOND)
  t.equal(friends.open, 1)
  t.deepEqual([bob, carol].map(standing), ['none', 'BANNED social'], 'what was missed meanwhile is found')
  t.end()
})

test('hops that throws or fails is asked again, ever more seldom, and what the stream says counts', (t) => {
  for (const onHops of ['throw', 'fail'] as const) {
    const friends = knowing([
      [alice, 1],
      [bob, -1],
    ])
    friends.onHops = onHops
    const { manager, standing, clock, settle } = social(friends)
    addPub(manager, alice, carol)
    settle()
    t.deepEqual([alice, bob, carol].map(standing), ['HIGH social', 'BANNED social', 'LOW -'], onHops)
    clock.advance(60 * MINUTE)
    t.ok(friends.asked > 5 && friends.asked < 30, `${friends.asked} times within an hour`)
    friends.onHops = 'twice'
    clock.advance(6 * MINUTE)
    t.deepEqual([alice, bob, carol].map(standing), ['HIGH social', 'BANNED social', 'LOW social'], 'answered at last')
    t.equal(clock.pending, 0)
  }
  t.end()
})

test('a module named friends that has a stream only is believed', (t) => {
  const friends = knowing([
    [alice, 1],
    [bob, -1],
  ])
  const hopStream = friends.hopStream.bind(friends)
  const { manager, standing, settle } = social({ hopStream })
  addPub(manager, alice, carol)
  settle()
  t.deepEqual([alice, bob, carol].map(standing), ['HIGH social', 'BANNED social', 'LOW social'])
  friends.tell({ [bob.id]: 1, [alice.id]: -2 })
  settle()
  t.deepEqual([alice, bob].map(standing), ['LOW social', 'none'])
  t.end()
})

test('junk from ssb-friends harms nobody', (t) => {
  const caught = catchThrown()
  const friends = knowing([[alice, 1]])
  const { manager, standing, settle, clock } = social(friends)
  addPub(manager, alice)
  settle()
  for (const item of [null, undefined, 'hops', 7, [], [1], { [ME]: -1 }, { 'not a feed': -1 }, { [bob.id]: '-1' }])
    friends.send(item)
  friends.send({ ssb: -1, 'ssb:feed/bendybutt-v1/AAA': -1, constructor: -1, [carol.id]: null })
  settle()
  clock.advance(MINUTE)
  t.equal(standing(alice), 'HIGH social')
  t.equal(manager.peer.list().length, 1)
  t.notOk(manager.internal.isBanned(ME), 'nobody bans himself')
  caught.restore()
  t.deepEqual(caught.thrown, [])
  t.end()
})

test('switched off it asks nobody and sets nothing, and lifts the bans that it had set', (t) => {
  const before = social(
    knowing([
      [alice, -1],
      [erin, 1],
    ]),
  )
  before.manager.peer.setPriority({ id: bob.id, priority: 'BANNED' })
  before.stop()
  const friends = knowing([[carol, 1]])
  const { manager, standing, settle, stop, clock } = social(friends, { social: false, bench: restarted(before) })
  addPub(manager, carol)
  settle()
  t.deepEqual([alice, bob, carol].map(standing), ['none', 'BANNED user', 'LOW -'])
  t.deepEqual([friends.asked, friends.opened], [0, 0])
  stop()
  t.equal(clock.pending, 0)
  t.end()
})

// ---- size, and the end ------------------------------------------------------------------------------------------------

test('a large table and a large graph are taken in by slices, which let timers through', (t) => {
  const made = bench({ selfId: ME })
  const { manager, clock } = made
  const people = Array.from({ length: 3_000 }, (_, i) => person(`peer${i}`))
  for (const { address } of people) manager.peer.addRoute({ address, source: 'pub' })
  const friends = knowing([])
  people.forEach(({ id }, i) => {
    if (i % 2 === 0) friends.whole[id] = 1 + (i % 3)
  })
  let inTurn = 0
  let most = 0
  let turns = 0
  manager.internal.store.subscribe(({ type }) => {
    if (type === 'peer/prioritised') most = Math.max(most, ++inTurn)
  })
  const byTurns: Clock = {
    ...clock,
    setTimeout: (fn, ms) =>
      clock.setTimeout(() => {
        inTurn = 0
        turns++
        fn()
      }, ms),
  }
  const sbot = stackWith(ME, friends)
  const stop = watchFriends({ sbot, manager, clock: byTurns, settings: readSettings({}), log: t.fail })
  t.equal(most, 0, 'nothing is set while plugins are loaded')
  clock.advance(SECOND)
  t.ok(
    people.every(({ id }) => manager.peer.get(id)?.prioritisedBy === 'social'),
    `all are told of, in ${turns} turns`,
  )
  t.ok(most > 0 && most <= 100, `at most ${most} changes in one turn`)
  t.deepEqual(
    people.slice(0, 4).map((who) => standingOf(manager, who.id)),
    ['HIGH social', 'LOW social', 'MEDIUM social', 'LOW social'],
  )
  stop()
  manager.close()
  t.end()
})

test('after stop nothing is set, nobody is listened to, and no timer is left', (t) => {
  const friends = knowing([[alice, 1]])
  const { manager, standing, settle, stop, clock } = social(friends)
  addPub(manager, alice, bob)
  settle()
  friends.tell({ [alice.id]: -2 })
  t.equal(clock.pending > 0, true, 'it was about to ask again')
  friends.onHops = 'wait'
  friends.tell({ [ME]: 0 })
  stop()
  stop()
  t.equal(clock.pending, 0)
  t.equal(friends.open, 0)
  friends.answer()
  addPub(manager, carol)
  manager.peer.setPriority({ id: bob.id, priority: 'AUTO', source: 'social' })
  clock.advance(60 * MINUTE)
  t.deepEqual([bob, carol].map(standing), ['LOW -', 'LOW -'])
  t.equal(clock.pending, 0)

  const late = social(undefined)
  late.stop()
  const never = stackWith(ME, knowing([[alice, 1]]))
  const early = bench({ selfId: ME })
  watchFriends({ sbot: never, manager: early.manager, clock: early.clock, settings: readSettings({}), log: t.fail })()
  addPub(early.manager, alice)
  early.clock.advance(MINUTE)
  t.equal(standingOf(early.manager, alice.id), 'LOW -', 'stopped before it began')
  t.end()
})

test('a manager that is closed first does no harm', (t) => {
  const caught = catchThrown()
  const friends = knowing([[alice, 1]])
  const { manager, clock, stop } = social(friends)
  addPub(manager, alice, bob)
  manager.close()
  friends.tell({ [alice.id]: -1 })
  clock.advance(MINUTE)
  stop()
  caught.restore()
  t.deepEqual(caught.thrown, [])
  t.equal(clock.pending, 0)
  t.end()
})

// ---- properties -------------------------------------------------------------------------------------------------------

const PEOPLE = [alice, bob, carol, dave] as const
const WORDS = ['HIGH', 'MEDIUM', 'LOW', 'BANNED', 'AUTO'] as const

type Step =
  | { readonly do: 'say'; readonly from: number; readonly to: number; readonly what: number }
  | { readonly do: 'add' | 'remove'; readonly who: number; readonly source: 'pub' | 'manual' }
  | { readonly do: 'call' | 'hangUp'; readonly who: number }
  | { readonly do: 'user'; readonly who: number; readonly word: (typeof WORDS)[number] }
  | { readonly do: 'restart' | 'pass' | 'reload' }

const who = fc.nat({ max: PEOPLE.length - 1 })
const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('say' as const),
        // Ourselves, half of the time.
        from: fc.integer({ min: -PEOPLE.length, max: PEOPLE.length - 1 }),
        to: who,
        what: fc.constantFrom(FOLLOW, FOLLOW, BLOCK, NEITHER),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constantFrom('add' as const, 'add' as const, 'remove' as const),
        who,
        source: fc.constantFrom('pub' as const, 'manual' as const),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('call' as const, 'hangUp' as const), who }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('user' as const), who, word: fc.constantFrom(...WORDS) }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constantFrom('restart' as const, 'pass' as const, 'reload' as const) }),
    },
  ),
  { maxLength: 30 },
)

/** Each source has an address of its own, so that adding one never changes the other. */
const addressBy = (each: Person, source: 'pub' | 'manual'): string =>
  source === 'pub' ? each.address : each.address.replace('8008', '8009')

/** What everybody's standing comes to; where no module has a say, what remains of the routes' is left out. */
function standings(manager: ConnectionManager): string[] {
  return PEOPLE.map(({ id }) => standingOf(manager, id).replace(/^(HIGH|MEDIUM|LOW) -$/, '-'))
}

test('property: whatever happened, everybody ends as a fresh start with the same graph would see him', (t) => {
  const run = (script: readonly Step[]): void => {
    const paper = friendsOnPaper(ME)
    let present = social(paper.friends)
    const routes = new Set<string>()
    const words = new Map<string, string>()
    for (const step of script) {
      const { manager, clock } = present
      switch (step.do) {
        case 'say': {
          const from = PEOPLE[step.from]?.id ?? ME
          const to = (PEOPLE[step.to] as Person).id
          if (from !== to) paper.say(from, to, step.what)
          break
        }
        case 'add': {
          const address = addressBy(PEOPLE[step.who] as Person, step.source)
          manager.peer.addRoute({ address, source: step.source })
          routes.add(`${step.who} ${step.source}`)
          break
        }
        case 'remove':
          manager.peer.removeRoute({ address: addressBy(PEOPLE[step.who] as Person, step.source) })
          routes.delete(`${step.who} ${step.source}`)
          break
        case 'call': {
          const { id } = PEOPLE[step.who] as Person
          manager.peer.remotePeerConnected(id, new FakeRpc())
          break
        }
        case 'hangUp':
          manager.peer.remotePeerDisconnected((PEOPLE[step.who] as Person).id)
          break
        case 'user': {
          const { id } = PEOPLE[step.who] as Person
          manager.peer.setPriority({ id, priority: step.word })
          if (step.word === 'AUTO') words.delete(id)
          else words.set(id, step.word)
          break
        }
        case 'restart':
          present.stop()
          present = social(paper.friends, { bench: restarted(present) })
          break
        case 'reload':
          paper.reload()
          break
        case 'pass':
          clock.advance(7 * SECOND)
          break
      }
    }
    present.clock.advance(10 * SECOND)
    // Who called twice and hung up once is still there.
    const callers = PEOPLE.map(({ id }) => id).filter((id) => present.status(id) === 'connected')

    const fresh = bench({ selfId: ME })
    for (const [id, priority] of words) fresh.manager.peer.setPriority({ id, priority })
    for (const each of routes) {
      const [index, source] = each.split(' ') as [string, 'pub' | 'manual']
      fresh.manager.peer.addRoute({ address: addressBy(PEOPLE[Number(index)] as Person, source), source })
    }
    for (const id of callers) fresh.manager.peer.remotePeerConnected(id, new FakeRpc())
    const again = social(paper.friends, { bench: fresh })
    again.clock.advance(10 * SECOND)
    const expected = standings(again.manager)
    const actual = standings(present.manager)
    const pending = [present.clock.pending, again.clock.pending]
    present.stop()
    again.stop()
    if (JSON.stringify(actual) !== JSON.stringify(expected))
      throw new Error(`is ${actual}, should be ${expected}; hops ${JSON.stringify(paper.hopsNow())}`)
    if (pending.some((count) => count > 0)) throw new Error('it goes on and on')
  }
  fc.assert(fc.property(steps, run), { numRuns: 1_000 })
  t.pass('1000 scripts')
  t.end()
})
