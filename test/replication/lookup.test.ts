/** Looking for root meta feeds with neighbours of every kind, all of them made up. Time is virtual. */
import pull = require('pull-stream')
import test = require('tape')

import type { Keys } from 'ssb-keys'
import { type FoundAnnounce, startLookup } from '../../src/replication/lookup'
import { type VirtualClock, virtualClock } from '../../src/testing'
import { announce, keysOf, rootId } from '../support/announces'

const root = keysOf(1_000)
const mains = Array.from({ length: 5 }, (_, i) => keysOf(i))
const [alice, bob] = mains as [Keys, Keys]
const me = keysOf(2_000)

type Cb = (end: pull.Abort, item?: unknown) => void
type GetSubset = (query: unknown, options: unknown) => unknown

class Neighbour {
  readonly id: string
  closed = false
  readonly queries: { query: unknown; options: unknown }[] = []
  readonly listeners: (() => void)[] = []
  getSubset?: GetSubset

  constructor(number: number, answer: ((asked: readonly string[]) => unknown) | null) {
    this.id = keysOf(3_000 + number).id
    if (answer)
      this.getSubset = (query, options) => {
        this.queries.push({ query, options })
        return answer(askedFor(query))
      }
  }

  on(event: string, listener: () => void): void {
    if (event === 'closed') this.listeners.push(listener)
  }

  close(): void {
    this.closed = true
    for (const listener of this.listeners) listener()
  }
}

function askedFor(query: unknown): string[] {
  return (query as { args: { args: { feed: string }[] }[] }).args.map(({ args }) => args[1]!.feed)
}

const knows =
  (...messages: readonly Record<string, unknown>[]) =>
  (asked: readonly string[]): unknown =>
    pull.values(messages.filter(({ author }) => asked.includes(author as string)))

/** Notes when it is aborted. */
function silent(aborts: { count: number }): (asked: readonly string[]) => unknown {
  return () => {
    let waiting: Cb | null = null
    return (abort: pull.Abort, cb: Cb) => {
      if (!abort) {
        waiting = cb
        return
      }
      aborts.count++
      waiting?.(abort)
      cb(abort)
    }
  }
}

function start(peers: Readonly<Record<string, unknown>> = {}, hmac: string | null = null) {
  const clock: VirtualClock = virtualClock()
  const found: FoundAnnounce[] = []
  const logged: string[] = []
  const listeners = new Set<(rpc: unknown) => void>()
  const sbot = {
    id: me.id,
    peers,
    on: (event: string, listener: (rpc: unknown) => void) => event === 'rpc:connect' && listeners.add(listener),
    removeListener: (_: string, listener: (rpc: unknown) => void) => listeners.delete(listener),
  }
  const onFound = (each: FoundAnnounce): void => {
    found.push(each)
    if (each.sequence === 13) throw new Error('listener')
  }
  const lookup = startLookup({ sbot, clock, hmac, onFound, log: (text) => logged.push(text) })
  return {
    clock,
    lookup,
    found,
    logged,
    listeners,
    connect: (...rpcs: readonly unknown[]) => {
      for (const rpc of rpcs) for (const listener of listeners) listener(rpc)
    },
    want: (...keys: readonly Keys[]) => {
      for (const [i, { id }] of keys.entries()) lookup.want(id, i)
    },
    foundMains: () => found.map(({ main }) => main),
  }
}

test('mains are looked up with one query, and what is found is told with its message', (t) => {
  const message = announce(alice, root, { sequence: 3 })
  const carol = new Neighbour(0, knows(message))
  const { lookup, clock, found, connect, want } = start()
  connect(carol)
  want(alice, bob)
  clock.flush()
  t.deepEqual(found, [{ main: alice.id, root: rootId(root), sequence: 3, message }])
  t.deepEqual(carol.queries, [
    {
      query: {
        op: 'or',
        args: [alice, bob].map(({ id }) => ({
          op: 'and',
          args: [
            { op: 'type', string: 'metafeed/announce' },
            { op: 'author', feed: id },
          ],
        })),
      },
      options: { querylang: 'ssb-ql-1' },
    },
  ])
  t.equal(lookup.status().wanted, 1, 'the other one is looked for still')
  clock.advance(60_000)
  t.deepEqual(
    carol.queries.map(({ query }) => askedFor(query)),
    [[alice.id, bob.id], [bob.id]],
  )
  lookup.stop()
  t.end()
})

test('those connected before are asked, ourselves and what is no neighbour are not', (t) => {
  const before = new Neighbour(0, knows(announce(alice, root)))
  const self = Object.assign(new Neighbour(1, knows(announce(alice, root))), { id: me.id })
  const gone = Object.assign(new Neighbour(2, knows(announce(alice, root))), { closed: true })
  const { clock, connect, want, lookup, foundMains } = start({
    [before.id]: [before],
    [me.id]: [self],
    [gone.id]: [gone],
    odd: 'nobody',
  })
  connect(null, 7, {}, { id: 'alice' })
  t.equal(lookup.status().neighbours, 1)
  want(alice)
  clock.flush()
  t.deepEqual(foundMains(), [alice.id])
  t.equal(self.queries.length, 0)
  lookup.stop()
  t.end()
})

test('of several announces of a main the latest counts', (t) => {
  const sequences = [4, 9, 2]
  const { clock, connect, want, found, lookup } = start()
  connect(new Neighbour(0, knows(...sequences.map((sequence) => announce(alice, root, { sequence })))))
  want(alice)
  clock.flush()
  t.deepEqual(
    found.map(({ sequence }) => sequence),
    [9],
  )
  lookup.stop()
  t.end()
})

test('a later announce is found when the main is wanted again', (t) => {
  const messages = [announce(alice, root, { sequence: 1 })]
  const { clock, connect, want, found, lookup } = start()
  connect(new Neighbour(0, (asked) => knows(...messages)(asked)))
  want(alice)
  clock.flush()
  messages.push(announce(alice, keysOf(1_001), { sequence: 2 }))
  clock.advance(10_000)
  t.equal(found.length, 1, 'not by itself')
  want(alice)
  clock.flush()
  t.deepEqual(
    found.map((each) => each.root),
    [rootId(root), rootId(keysOf(1_001))],
  )
  lookup.stop()
  t.end()
})

/** Neighbours that are no use, and for how long each holds up the search. B12, B13, B14. */
const useless: readonly (readonly [string, ((asked: readonly string[]) => unknown) | null, number])[] = [
  ['has no getSubset', null, 0],
  [
    'throws',
    () => {
      throw new Error('no')
    },
    0,
  ],
  ['gives no source', () => 7, 0],
  ['refuses', () => pull.error(new Error('method:getSubset is not in list of allowed methods')), 0],
  ['never answers', silent({ count: 0 }), 5_000],
  ['never calls back', () => () => {}, 5_000],
  ['answers with garbage', () => pull.values([1, 'x', null, {}]), 0],
  ['answers with an error', () => pull.error(new Error('broken')), 0],
  [
    'gives a source that throws',
    () => () => {
      throw new Error('no')
    },
    0,
  ],
  ['forges', ([asked]) => pull.once({ ...announce(alice, keysOf(9)), author: asked, sequence: 99 }), 0],
  ['signs for another', () => pull.once(announce(alice, keysOf(9), { messageKeys: keysOf(9) })), 0],
  ['tells of others only', () => pull.values([announce(keysOf(8), root)]), 0],
  ['floods', () => (_: unknown, cb: Cb) => cb(null, announce(keysOf(8), root)), 0],
]

for (const [title, answer, ms] of useless)
  test(`a neighbour that ${title} keeps nobody from being found`, (t) => {
    const bad = new Neighbour(0, answer)
    const { clock, connect, want, found, lookup } = start()
    connect(bad)
    want(alice)
    clock.advance(1)
    t.deepEqual(found, [])
    t.equal(lookup.status().queriesInFlight, ms > 0 ? 1 : 0)
    connect(new Neighbour(1, knows(announce(alice, root, { sequence: 2 }))))
    clock.advance(ms)
    t.deepEqual(
      found.map((each) => [each.main, each.root, each.sequence]),
      [[alice.id, rootId(root), 2]],
    )
    t.equal(lookup.status().queriesInFlight, 0)
    t.ok(bad.queries.length <= 1, 'and is not asked again at once')
    lookup.stop()
    t.equal(clock.pending, 0)
    t.end()
  })

test('who forges has failed, and is not asked for a while; it is counted', (t) => {
  const forger = new Neighbour(0, ([asked]) => pull.once({ ...announce(alice, keysOf(9)), author: asked }))
  const { clock, connect, want, lookup } = start()
  connect(forger)
  want(bob)
  clock.flush()
  t.equal(lookup.status().forged, 1)
  t.equal(lookup.status().failures, 1)
  want(alice)
  clock.advance(9_999)
  t.equal(forger.queries.length, 1)
  clock.advance(1)
  t.equal(forger.queries.length, 2)
  lookup.stop()
  t.end()
})

test('who hands on what an author got wrong has not failed', (t) => {
  const wrong = announce(alice, root, { contentKeys: keysOf(9) })
  const carol = new Neighbour(0, knows(wrong, announce(bob, root)))
  const { clock, connect, want, lookup, foundMains } = start()
  connect(carol)
  want(alice, bob)
  clock.flush()
  t.deepEqual(foundMains(), [bob.id])
  t.equal(lookup.status().invalid, 1)
  t.equal(lookup.status().failures, 0)
  lookup.stop()
  t.end()
})

test('what had come before an answer broke off counts', (t) => {
  const half = new Neighbour(0, ([first]) => {
    let sent = false
    const mine = mains.find(({ id }) => id === first) as Keys
    return (abort: pull.Abort, cb: Cb) => {
      if (abort) return cb(abort)
      if (sent) return
      sent = true
      cb(null, announce(mine, root))
    }
  })
  const { clock, connect, want, lookup, foundMains } = start()
  connect(half)
  want(alice, bob)
  clock.advance(4_999)
  t.deepEqual(foundMains(), [])
  clock.advance(1)
  t.deepEqual(foundMains(), [alice.id])
  t.equal(lookup.status().failures, 1)
  lookup.stop()
  t.end()
})

test('who announces without end, and never rightly, is given up, and spoils no other query', (t) => {
  const noise = Array.from({ length: 50 }, (_, i) => announce(alice, root, { sequence: i + 1, contentKeys: keysOf(9) }))
  const carol = new Neighbour(0, knows(...noise, announce(bob, root)))
  const { clock, connect, want, lookup, foundMains } = start()
  connect(carol)
  want(alice, bob)
  clock.advance(120_000)
  t.deepEqual(foundMains(), [bob.id])
  t.equal(lookup.status().wanted, 0)
  lookup.stop()
  t.end()
})

test('an answer without end is read no further than four times what was asked for', (t) => {
  let given = 0
  let isAborted = false
  const flood = new Neighbour(0, () => (abort: pull.Abort, cb: Cb) => {
    if (abort) isAborted = true
    else given++
    cb(abort, announce(keysOf(8), root))
  })
  const { clock, connect, want, lookup } = start()
  connect(flood)
  want(...mains)
  clock.advance(1_000)
  t.equal(given, 20)
  t.ok(isAborted)
  lookup.stop()
  t.end()
})

test('a query that takes too long is broken off', (t) => {
  const aborts = { count: 0 }
  const { clock, connect, want, lookup } = start()
  connect(new Neighbour(0, silent(aborts)))
  want(alice)
  clock.advance(4_999)
  t.equal(aborts.count, 0)
  clock.advance(1)
  t.equal(aborts.count, 1)
  lookup.stop()
  t.end()
})

test('a neighbour that leaves ends its query; with two connections it has to close both', (t) => {
  const aborts = { count: 0 }
  const first = new Neighbour(0, silent(aborts))
  const second = new Neighbour(0, silent(aborts))
  const { clock, connect, want, lookup, foundMains } = start()
  connect(first, second)
  want(alice)
  clock.flush()
  t.equal(first.queries.length + second.queries.length, 1)
  first.close()
  t.equal(lookup.status().queriesInFlight, 1)
  second.close()
  t.equal(aborts.count, 1)
  t.deepEqual([lookup.status().queriesInFlight, lookup.status().neighbours], [0, 0])
  connect(new Neighbour(1, knows(announce(alice, root))))
  clock.flush()
  t.deepEqual(foundMains(), [alice.id])
  lookup.stop()
  t.end()
})

test('what is forgotten meanwhile is not told of', (t) => {
  let answer: (() => void) | null = null
  const slow = new Neighbour(0, () => {
    const source = pull.once(announce(alice, root)) as pull.Source<unknown>
    return (abort: pull.Abort, cb: Cb) => {
      answer = () => source(abort, cb)
      if (abort) cb(abort)
    }
  })
  const { clock, connect, want, lookup, foundMains } = start()
  connect(slow)
  want(alice)
  clock.flush()
  lookup.forget(alice.id)
  ;(answer as (() => void) | null)?.()
  ;(answer as (() => void) | null)?.()
  clock.advance(10)
  t.deepEqual(foundMains(), [])
  t.equal(lookup.status().queriesInFlight, 0)
  lookup.stop()
  t.end()
})

test('a listener that throws keeps nobody else from being told', (t) => {
  const { clock, connect, want, lookup, foundMains, logged } = start()
  connect(new Neighbour(0, knows(announce(alice, root, { sequence: 13 }), announce(bob, root))))
  want(alice, bob)
  clock.flush()
  t.deepEqual(foundMains(), [alice.id, bob.id])
  t.ok(logged.some((text) => text.includes('listener')))
  lookup.stop()
  t.end()
})

test('on a network of its own announces have to be signed for it', (t) => {
  const hmac = Buffer.alloc(32, 1).toString('base64')
  const { clock, connect, want, lookup, foundMains } = start({}, hmac)
  connect(new Neighbour(0, knows(announce(alice, root, { hmac }))), new Neighbour(1, knows(announce(bob, root))))
  want(alice, bob)
  clock.flush()
  t.deepEqual(foundMains(), [alice.id])
  t.equal(lookup.status().forged, 1)
  lookup.stop()
  t.end()
})

test('after the end nothing is asked or told, and nothing is left', (t) => {
  const aborts = { count: 0 }
  const carol = new Neighbour(0, silent(aborts))
  const dave = new Neighbour(1, knows(announce(alice, root)))
  const { clock, connect, want, lookup, foundMains, listeners } = start()
  connect(carol)
  want(alice)
  clock.flush()
  const late = [...listeners][0]
  lookup.stop()
  t.equal(aborts.count, 1)
  t.equal(listeners.size, 0)
  late?.(dave)
  want(bob)
  carol.close()
  clock.advance(10_000_000)
  t.equal(dave.queries.length, 0)
  t.deepEqual(foundMains(), [])
  t.equal(clock.pending, 0)
  t.end()
})

test('what was about to be asked when it ended is not asked', (t) => {
  const carol = new Neighbour(0, knows(announce(alice, root)))
  const { clock, connect, want, lookup } = start()
  connect(carol)
  want(alice)
  lookup.stop()
  clock.flush()
  t.equal(carol.queries.length, 0)
  t.equal(clock.pending, 0)
  t.end()
})
