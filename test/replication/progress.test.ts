/** The scheduler's progress on a virtual clock: whom it measures, for whom, and what it says of them. */
import { EventEmitter } from 'events'

import test = require('tape')

import {
  createProgress,
  type ProgressOptions,
  type ReplicationFacts,
  type ReplicationProgress,
} from '../../src/replication/progress'
import type { Clock } from '../../src/testing'
import { virtualClock } from '../../src/testing'
import { type Collected, collect } from '../support/eventually'
import { alice, bob, carol, dave, erin, FakeRpc, MINUTE, person, SECOND } from '../support/manager'

type Sequences = Record<string, number>
type Cb = (error: unknown, value?: unknown) => void

const me = person('me')
const friend = person('friend')
const other = person('other')
const ROOT = `ssb:feed/bendybutt-v1/${'r'.repeat(43)}=`

/** A connected peer whose `ebt.clock` says what the test wants. */
class Remote extends FakeRpc {
  readonly clocks: Record<string, unknown>
  isSilent = false
  hasClock = true
  /** The formats that it was asked for. */
  readonly asked: string[] = []
  readonly waiting: (() => void)[] = []

  constructor(
    readonly id: string,
    classic: unknown,
    others: Record<string, unknown> = {},
  ) {
    super(id)
    this.clocks = { classic, ...others }
  }

  readonly ebt = {
    clock: ({ format }: { format: string }, cb: Cb): void => {
      this.asked.push(format)
      const answer = (): void => {
        if (!this.hasClock) return cb(new Error('method:ebt,clock is not in list of allowed methods'))
        if (!(format in this.clocks)) return cb(new Error(`Unknown format: ${format}`))
        cb(null, this.clocks[format])
      }
      if (this.isSilent) this.waiting.push(answer)
      else answer()
    },
  }
}

function world() {
  const clock = virtualClock()
  const timers = new Set<unknown>()
  const counting: Clock = {
    now: clock.now,
    setTimeout: (fn, ms) => {
      const timer = clock.setTimeout(() => {
        timers.delete(timer)
        fn()
      }, ms)
      timers.add(timer)
      return timer
    },
    clearTimeout: (timer) => {
      timers.delete(timer)
      clock.clearTimeout(timer)
    },
    defer: clock.defer,
  }
  const local: Record<string, Sequences> = { classic: {} }
  const localAsked: string[] = []
  const notes: Record<string, Sequences> = {}
  const indexing = { value: 0 }
  const messages = new Set<(message: unknown) => void>()
  const emitter = new EventEmitter()
  const peers: Record<string, unknown[]> = {}
  const sbot: Record<string, unknown> & { readonly id: string } = {
    id: me.id,
    peers,
    on: (event: string, fn: (...args: unknown[]) => void) => emitter.on(event, fn),
    ebt: {
      clock: ({ format }: { format: string }, cb: Cb): void => {
        localAsked.push(format)
        if (!local[format]) throw new Error(`Unknown format: ${format}`)
        cb(null, local[format])
      },
      peerStatus: (id: string) => ({
        seq: Object.values(local).find((each) => id in each)?.[id],
        peers: Object.fromEntries(Object.entries(notes[id] ?? {}).map(([peer, seq]) => [peer, { seq }])),
      }),
    },
    db: {
      onMsgAdded: (listener: (message: unknown) => void) => {
        messages.add(listener)
        return () => messages.delete(listener)
      },
      getIndexingActive: () => indexing,
    },
  }
  const wanted = new Set<string>([me.id, friend.id])
  const listeners = new Set<() => void>()
  const state = { isStarted: true, isLoaded: true, isSettled: true, reads: 0 }
  const hops: Record<string, number> = {}
  const facts: ReplicationFacts = {
    wanted: () => {
      state.reads++
      return wanted
    },
    formatOf: (feed) => (feed.startsWith('@') ? 'classic' : 'bendybutt-v1'),
    isStarted: () => state.isStarted,
    isLoaded: () => state.isLoaded,
    isSettled: () => state.isSettled,
    hopsOf: (feed) => hops[feed] ?? null,
    onChange: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  const progress = createProgress({ sbot: sbot as never, clock: counting, facts })
  const connect = (who: { readonly id: string }, classic: unknown = {}, others = {}): Remote => {
    const remote = new Remote(who.id, classic, others)
    peers[who.id] = [...(peers[who.id] ?? []), remote]
    remote.on('closed', () => {
      peers[who.id] = (peers[who.id] ?? []).filter((each) => each !== remote)
    })
    emitter.emit('rpc:connect', remote)
    return remote
  }
  return {
    clock,
    timers,
    local,
    localAsked,
    notes,
    indexing,
    messages,
    peers,
    sbot,
    wanted,
    listeners,
    state,
    hops,
    facts,
    progress,
    connect,
    changed: (): void => {
      for (const listener of [...listeners]) listener()
    },
    arrives: (author: string, sequence: number): void => {
      local.classic![author] = sequence
      for (const listener of [...messages]) listener({ kvt: { value: { author } } })
    },
    read: (options?: ProgressOptions): Collected<ReplicationProgress> => collect(progress.open(options)),
    run: (ms: number) => clock.advanceAsync(ms),
    isIdle: (): boolean => timers.size === 0 && messages.size === 0 && listeners.size === 0,
  }
}

const last = ({ items }: Collected<ReplicationProgress>): ReplicationProgress =>
  items[items.length - 1] as ReplicationProgress
const phases = ({ items }: Collected<ReplicationProgress>): string[] =>
  items.map(({ phase }) => phase).filter((each, i, all) => each !== all[i - 1])

// ---- one peer -------------------------------------------------------------------------------------------------------------

test('a sync from nothing to all: each item, and done only after the quiet time', async (t) => {
  const w = world()
  const reader = w.read()
  t.deepEqual(last(reader), {
    phase: 'waiting',
    have: null,
    want: null,
    peer: null,
    rate: null,
    eta: null,
    caughtUp: false,
    stalled: false,
    own: { have: null, known: null },
  })
  w.connect(alice, { [friend.id]: 200 })
  await w.run(0)
  t.deepEqual(last(reader), {
    phase: 'syncing',
    have: 0,
    want: 200,
    peer: alice.id,
    rate: null,
    eta: null,
    caughtUp: false,
    stalled: false,
    own: { have: 0, known: 0 },
  })
  for (let i = 1; i <= 50; i++) {
    await w.run(50)
    w.arrives(friend.id, i)
  }
  await w.run(10)
  const { have, want, rate, eta } = last(reader)
  t.deepEqual({ have, want, rate }, { have: 49, want: 200, rate: 19.6 }, 'at the last look')
  t.equal(eta, Math.ceil(151 / 19.6), 'what is left at this rate')
  w.arrives(friend.id, 200)
  await w.run(2_400)
  t.equal(last(reader).caughtUp, false, 'not yet quiet')
  await w.run(2_500)
  t.equal(last(reader).phase, 'caughtUp')
  t.equal(last(reader).caughtUp, true)
  t.equal(last(reader).eta, null)
  t.deepEqual([last(reader).have, last(reader).want], [200, 200])
  t.deepEqual(phases(reader), ['waiting', 'syncing', 'caughtUp'])
  t.end()
})

test('it costs nothing while nobody reads', async (t) => {
  const w = world()
  const remote = w.connect(alice, { [friend.id]: 200 })
  w.changed()
  await w.run(10 * MINUTE)
  t.equal(remote.asked.length, 0, 'no clock was asked for')
  t.equal(w.state.reads, 0, 'nor what is wanted')
  t.ok(w.isIdle(), 'no timer, no listener')
  const one = w.read()
  const two = w.read({ peer: alice.id })
  await w.run(10 * SECOND)
  const asked = remote.asked.length
  t.ok(asked >= 5 && asked <= 9, `${asked} clocks in 10 s for two readers`)
  await one.abort()
  await w.run(10 * SECOND)
  t.ok(remote.asked.length > asked, 'one still reads')
  await two.abort()
  t.ok(w.isIdle(), 'nothing is left')
  const then = remote.asked.length
  w.arrives(friend.id, 10)
  w.changed()
  await w.run(10 * MINUTE)
  t.equal(remote.asked.length, then)
  const again = w.read()
  await w.run(0)
  t.equal(last(again).have, 10, 'who comes back is served again')
  t.end()
})

test('what has caught up is looked at now and then, and at once when other feeds are wanted', async (t) => {
  const w = world()
  const remote = w.connect(alice, { [friend.id]: 5, [other.id]: 7 })
  w.arrives(friend.id, 5)
  const reader = w.read()
  await w.run(5 * SECOND)
  t.equal(last(reader).phase, 'caughtUp')
  const asked = remote.asked.length
  await w.run(MINUTE)
  t.ok(remote.asked.length - asked <= 7, `${remote.asked.length - asked} looks in a minute`)
  w.wanted.add(other.id)
  w.changed()
  await w.run(1_300)
  t.equal(last(reader).phase, 'syncing')
  t.deepEqual([last(reader).have, last(reader).want], [5, 12])
  t.end()
})

test('phases by what the scheduler says of itself', async (t) => {
  const w = world()
  w.connect(alice, { [friend.id]: 5 })
  w.arrives(friend.id, 5)
  Object.assign(w.state, { isStarted: false, isLoaded: false })
  const reader = w.read()
  await w.run(MINUTE)
  t.deepEqual(phases(reader), ['stopped'])
  t.equal(last(reader).want, null, 'what is wanted is not known')
  w.state.isStarted = true
  w.changed()
  await w.run(MINUTE)
  t.equal(last(reader).phase, 'loading')
  Object.assign(w.state, { isLoaded: true, isSettled: false })
  w.indexing.value = 1
  w.changed()
  await w.run(MINUTE)
  t.equal(last(reader).phase, 'indexing')
  w.indexing.value = 0
  w.changed()
  await w.run(MINUTE)
  t.equal(last(reader).phase, 'syncing', 'requests are queued')
  t.equal(last(reader).caughtUp, false)
  w.state.isSettled = true
  w.changed()
  await w.run(15 * SECOND)
  t.deepEqual(phases(reader), ['stopped', 'loading', 'indexing', 'syncing', 'caughtUp'])
  w.state.isSettled = false
  w.changed()
  await w.run(0)
  t.equal(last(reader).caughtUp, false, 'taken back at once when there is more to do')
  t.end()
})

test('a frozen peer has stalled after 12 s, one that is gone is waited for', async (t) => {
  const w = world()
  const remote = w.connect(alice, { [friend.id]: 200 })
  const reader = w.read({ peer: alice.id })
  await w.run(2 * SECOND)
  remote.isSilent = true
  await w.run(10 * SECOND)
  t.equal(last(reader).stalled, false)
  await w.run(2 * SECOND)
  t.equal(last(reader).phase, 'stalled')
  t.equal(last(reader).stalled, true)
  t.equal(last(reader).want, 200, 'as it was last known')
  remote.end()
  await w.run(0)
  t.deepEqual(
    { ...last(reader), own: null },
    {
      phase: 'waiting',
      have: null,
      want: null,
      peer: alice.id,
      rate: null,
      eta: null,
      caughtUp: false,
      stalled: false,
      own: null,
    },
    'nobody is there: unknown, and neither stalled nor done',
  )
  w.connect(alice, { [friend.id]: 200 })
  w.arrives(friend.id, 200)
  await w.run(5 * SECOND)
  t.equal(last(reader).phase, 'caughtUp')
  t.end()
})

test('a jump of the clock is neither silence nor quiet', async (t) => {
  for (const ms of [8 * 60 * MINUTE, -60 * MINUTE]) {
    const w = world()
    const remote = w.connect(alice, { [friend.id]: 200 })
    const reader = w.read()
    await w.run(5 * SECOND)
    remote.isSilent = true
    await w.run(2 * SECOND)
    w.clock.jump(ms)
    await w.run(9 * SECOND)
    t.equal(last(reader).stalled, false, 'it had no time to answer')
    remote.isSilent = false
    for (const answer of remote.waiting.splice(0)) answer()
    await w.run(SECOND)
    t.equal(last(reader).caughtUp, false, 'nor had it time to send')
    t.equal(last(reader).phase, 'syncing')
  }
  t.end()
})

test('a clock that was set delays no verdict', async (t) => {
  for (const ms of [8 * 60 * MINUTE, -60 * MINUTE]) {
    const quiet = world()
    quiet.connect(alice, { [friend.id]: 5 })
    quiet.arrives(friend.id, 5)
    const reader = quiet.read()
    await quiet.run(SECOND)
    quiet.clock.jump(ms)
    await quiet.run(6 * SECOND)
    t.equal(last(reader).phase, 'caughtUp', `${ms}: quiet`)

    const frozen = world()
    frozen.connect(alice, { [friend.id]: 5 }).isSilent = true
    const other = frozen.read()
    await frozen.run(SECOND)
    frozen.clock.jump(ms)
    await frozen.run(16 * SECOND)
    t.equal(last(other).phase, 'stalled', `${ms}: frozen`)
  }
  t.end()
})

test('a peer that says nothing of our feeds has stalled, but not for the patient', async (t) => {
  const w = world()
  const room = w.connect(alice)
  room.hasClock = false
  const reader = w.read({ peer: alice.id })
  const patient = w.read({ peer: alice.id, patient: true })
  await w.run(11 * SECOND)
  t.equal(last(reader).phase, 'syncing')
  await w.run(3 * SECOND)
  t.equal(last(reader).phase, 'stalled')
  t.equal(last(patient).phase, 'syncing')
  t.equal(last(patient).want, null)
  w.notes[friend.id] = { [alice.id]: 30 }
  await w.run(2 * SECOND)
  t.deepEqual([last(patient).have, last(patient).want], [0, 30], 'its notes have come')
  t.equal(last(reader).phase, 'syncing', 'that wakes the other, too')
  t.end()
})

// ---- several peers ----------------------------------------------------------------------------------------------------------

test('over several peers: of each feed what the best has; done when all are', async (t) => {
  const w = world()
  w.wanted.add(other.id)
  w.arrives(friend.id, 10)
  w.connect(alice, { [friend.id]: 100, [other.id]: 5 })
  w.connect(bob, { [friend.id]: 40, [other.id]: 50 })
  const reader = w.read()
  await w.run(0)
  t.deepEqual([last(reader).have, last(reader).want], [10, 150])
  t.equal(last(reader).peer, null)
  w.arrives(friend.id, 100)
  await w.run(14 * SECOND)
  t.equal(last(reader).phase, 'caughtUp', 'what is still missing is held back by both')
  w.arrives(other.id, 5)
  await w.run(14 * SECOND)
  t.deepEqual([last(reader).have, last(reader).want], [105, 150])
  t.equal(last(w.read({ peer: alice.id })).peer, alice.id)
  t.end()
})

test('of one peer among several: its own verdict', async (t) => {
  const w = world()
  w.arrives(friend.id, 40)
  w.connect(alice, { [friend.id]: 100 })
  w.connect(bob, { [friend.id]: 40 })
  const [whole, ofAlice, ofBob, ofCarol] = [
    w.read(),
    w.read({ peer: alice.id }),
    w.read({ peer: bob.id.slice(1, -8) }),
    w.read({ peer: carol.id }),
  ]
  await w.run(4 * SECOND)
  t.equal(last(ofBob).phase, 'caughtUp')
  t.equal(last(ofBob).peer, bob.id, 'a bare key was made canonical')
  t.deepEqual([last(ofAlice).phase, last(ofAlice).have, last(ofAlice).want], ['syncing', 40, 100])
  t.deepEqual([last(whole).phase, last(whole).want], ['syncing', 100])
  t.deepEqual([last(ofCarol).phase, last(ofCarol).peer], ['waiting', carol.id])
  t.end()
})

test('a bar does not run back when a peer leaves and comes again, and shows what is there at the end', async (t) => {
  const w = world()
  w.connect(alice, { [friend.id]: 50 })
  const rich = w.connect(bob, { [friend.id]: 1_000 })
  const reader = w.read()
  w.arrives(friend.id, 10)
  await w.run(SECOND)
  rich.end()
  await w.run(2 * SECOND)
  t.deepEqual([last(reader).have, last(reader).want], [10, 1_000], 'alice has 50')
  const again = w.connect(bob, { [friend.id]: 1_000 })
  await w.run(2 * SECOND)
  t.deepEqual([last(reader).have, last(reader).want], [10, 1_000])
  again.end()
  w.arrives(friend.id, 50)
  await w.run(5 * SECOND)
  t.equal(last(reader).phase, 'caughtUp')
  t.deepEqual([last(reader).have, last(reader).want], [50, 50])
  const wants = reader.items.flatMap(({ want }) => want ?? [])
  t.deepEqual(
    [...new Set(wants)].sort((a, b) => a - b),
    [50, 1_000],
  )
  t.end()
})

test('when the one who had more leaves, the verdict on the rest is given with what they have', async (t) => {
  for (const rest of [[alice], [alice, carol]]) {
    const w = world()
    for (const who of rest) w.connect(who, { [friend.id]: 10 })
    const rich = w.connect(bob, { [friend.id]: 1_000 })
    w.arrives(friend.id, 10)
    const reader = w.read()
    await w.run(6 * SECOND)
    t.deepEqual([last(reader).phase, last(reader).want], ['syncing', 1_000])
    rich.end()
    await w.run(0)
    t.deepEqual([last(reader).phase, last(reader).have, last(reader).want], ['caughtUp', 10, 10])
    t.notOk(
      reader.items.some((each) => each.caughtUp && each.want !== 10),
      'at no time with what he had',
    )
  }
  t.end()
})

test('the bar shows what is there when the verdict comes by the last request that was queued', async (t) => {
  const w = world()
  w.connect(alice, { [friend.id]: 10 })
  w.arrives(friend.id, 10)
  const reader = w.read()
  await w.run(4 * SECOND)
  t.equal(last(reader).phase, 'caughtUp')
  w.state.isSettled = false
  w.changed()
  const rich = w.connect(bob, { [friend.id]: 1_000 })
  await w.run(2 * SECOND)
  rich.end()
  await w.run(0)
  t.deepEqual([last(reader).phase, last(reader).want], ['syncing', 1_000])
  w.state.isSettled = true
  w.changed()
  await w.run(0)
  t.deepEqual([last(reader).phase, last(reader).have, last(reader).want], ['caughtUp', 10, 10])
  t.end()
})

test('at most three are measured: the closest, then the longest connected; who is dead makes room', async (t) => {
  const w = world()
  Object.assign(w.hops, { [dave.id]: 1, [erin.id]: 2, [carol.id]: -1 })
  const remotes = new Map<typeof alice, Remote>()
  for (const who of [alice, bob, carol, dave, erin]) {
    remotes.set(who, w.connect(who, { [friend.id]: 5 }))
    await w.run(SECOND)
  }
  const asked = (): string[] => [...remotes].flatMap(([who, { asked }]) => (asked.length > 0 ? [who.id] : []))
  w.read()
  await w.run(SECOND)
  t.deepEqual(asked().sort(), [alice.id, dave.id, erin.id].sort(), 'near ones, and the first to connect')
  remotes.get(dave)!.isSilent = true
  await w.run(20 * SECOND)
  t.equal(asked().length, 4, 'the frozen one has made room')
  t.ok(asked().includes(bob.id))
  w.read({ peer: carol.id })
  await w.run(0)
  t.ok(asked().includes(carol.id), 'asked for by name: beyond the three')
  t.end()
})

test('the verdict of a peer that is measured for one reader alone is no part of the whole', async (t) => {
  const w = world()
  for (const who of [alice, bob, carol]) w.connect(who, { [friend.id]: 5 })
  w.arrives(friend.id, 5)
  const whole = w.read()
  await w.run(4 * SECOND)
  t.equal(last(whole).phase, 'caughtUp')
  w.connect(dave, { [friend.id]: 900 })
  const named = w.read({ peer: dave.id })
  await w.run(4 * SECOND)
  t.equal(last(named).want, 900)
  t.equal(last(whole).phase, 'caughtUp')
  t.end()
})

test('connections from before, second ones and clients of our own', async (t) => {
  const before = world()
  const early = new Remote(alice.id, { [friend.id]: 9 })
  const w = {
    ...before,
    progress: createProgress({
      sbot: { ...before.sbot, peers: { [alice.id]: [early] } } as never,
      clock: before.clock,
      facts: before.facts,
    }),
  }
  const reader = collect(w.progress.open())
  await w.run(0)
  t.equal(last(reader).want, 9, 'connected before the scheduler was loaded')

  const two = world()
  const first = two.connect(bob, { [friend.id]: 3 })
  const second = two.connect(bob, { [friend.id]: 3 })
  const client = two.connect(me, { [friend.id]: 77 })
  const ofBob = two.read()
  await two.run(SECOND)
  t.deepEqual([first.asked.length > 0, second.asked.length > 0], [false, true], 'the newer one is asked')
  second.end()
  await two.run(SECOND)
  t.ok(first.asked.length > 0, 'then the other')
  t.equal(last(ofBob).phase, 'syncing')
  first.end()
  await two.run(SECOND)
  t.equal(last(ofBob).phase, 'waiting')
  t.equal(client.asked.length, 0, 'a client is no peer')
  t.end()
})

// ---- formats, own feed --------------------------------------------------------------------------------------------------------

test('feeds of other formats count by clocks of their own', async (t) => {
  const w = world()
  w.wanted.add(ROOT)
  w.local['bendybutt-v1'] = { [ROOT]: 2 }
  const remote = w.connect(alice, { [friend.id]: 10 }, { 'bendybutt-v1': { [ROOT]: 6 } })
  const reader = w.read()
  await w.run(0)
  t.deepEqual([last(reader).have, last(reader).want], [2, 16])
  t.deepEqual(remote.asked, ['classic', 'bendybutt-v1'])
  t.end()
})

test('another format is asked for after an answered classic clock only, and not again after an error', async (t) => {
  const w = world()
  w.wanted.add(ROOT)
  const remote = w.connect(alice, { [friend.id]: 10 })
  remote.isSilent = true
  const reader = w.read()
  await w.run(5 * SECOND)
  t.deepEqual(remote.asked, ['classic'], 'its database may not be read yet: the question would bring it down')
  t.notOk(w.localAsked.includes('bendybutt-v1'), 'nor is our own ebt asked')
  remote.isSilent = false
  for (const answer of remote.waiting.splice(0)) answer()
  await w.run(20 * SECOND)
  t.ok(remote.asked.length > 4, `${remote.asked.length} questions`)
  t.equal(remote.asked.filter((each) => each !== 'classic').length, 1)
  t.deepEqual([last(reader).have, last(reader).want], [0, 10], 'the rest counts all the same')
  w.notes[ROOT] = { [alice.id]: 4 }
  await w.run(11 * SECOND)
  t.equal(last(reader).want, 14, 'its notes count')
  t.end()
})

test('only formats that are wanted are asked for', async (t) => {
  const w = world()
  const remote = w.connect(alice, { [friend.id]: 10 }, { 'bendybutt-v1': { [ROOT]: 6 } })
  w.read()
  await w.run(5 * SECOND)
  t.deepEqual([...new Set(remote.asked)], ['classic'])
  t.end()
})

test('our own feed: what we have, and what others know of it', async (t) => {
  const w = world()
  const reader = w.read()
  await w.run(0)
  t.deepEqual(last(reader).own, { have: 0, known: null }, 'nobody is connected')
  const remote = w.connect(alice, { [me.id]: 30 })
  await w.run(0)
  t.deepEqual(last(reader).own, { have: 0, known: 30 })
  t.equal(last(reader).want, 30, 'it is wanted as any other')
  w.arrives(me.id, 30)
  await w.run(0)
  t.deepEqual(last(reader).own, { have: 30, known: 30 }, 'told at once')
  w.connect(bob, {})
  w.notes[me.id] = { [bob.id]: 31, [carol.id]: 99 }
  await w.run(2 * SECOND)
  t.deepEqual(last(reader).own, { have: 30, known: 31 }, 'notes of those who are connected count')
  remote.clocks.classic = { [me.id]: 'many' }
  w.notes[me.id] = {}
  await w.run(2 * SECOND)
  t.equal(last(reader).own.known, 30, 'nonsense is no news')
  t.end()
})

test('a peer whose clock does not name our feed knows nothing of it; one without a clock says nothing', async (t) => {
  const w = world()
  w.connect(alice, { [friend.id]: 1 })
  const reader = w.read()
  await w.run(0)
  t.equal(last(reader).own.known, 0)
  const silent = world()
  silent.connect(alice).hasClock = false
  silent.notes[friend.id] = { [alice.id]: 1 }
  const other = silent.read()
  await silent.run(2 * SECOND)
  t.equal(last(other).want, 1)
  t.equal(last(other).own.known, null)
  t.end()
})

test('a large table is counted in slices, and looked at less often', async (t) => {
  const w = world()
  const theirs: Sequences = {}
  for (let i = 0; i < 40_000; i++) {
    const id = `@${i}`
    w.wanted.add(id)
    theirs[id] = 2
    w.local.classic![id] = 1
  }
  const remote = w.connect(alice, theirs)
  const reader = w.read()
  await w.run(0)
  t.deepEqual([last(reader).have, last(reader).want], [40_000, 80_000])
  await w.run(12 * SECOND)
  t.ok(remote.asked.length <= 4, `${remote.asked.length} clocks in 12 s`)
  t.equal(w.state.reads, 1, 'what is wanted is read again after a change only')
  t.end()
})

// ---- readers ------------------------------------------------------------------------------------------------------------------

test('live: false: one item, as soon as it is known how things stand', async (t) => {
  const w = world()
  const alone = w.read({ live: false })
  await alone.ended
  t.deepEqual(phases(alone), ['waiting'])
  const remote = w.connect(alice, { [friend.id]: 200 })
  remote.isSilent = true
  const reader = w.read({ live: false })
  await w.run(SECOND)
  t.deepEqual(reader.items, [], 'not before the first look')
  remote.isSilent = false
  for (const answer of remote.waiting.splice(0)) answer()
  await w.run(0)
  await reader.ended
  t.equal(reader.items.length, 1)
  t.deepEqual([last(reader).have, last(reader).want], [0, 200])
  await w.run(0)
  t.ok(w.isIdle())
  t.end()
})

test('a slow reader is given the newest only', async (t) => {
  const w = world()
  w.connect(alice, { [friend.id]: 200 })
  const quick = w.read()
  const source = w.progress.open()
  const items: ReplicationProgress[] = []
  source(null, (_end, item) => items.push(item as ReplicationProgress))
  for (let i = 1; i <= 10; i++) {
    w.arrives(friend.id, i * 10)
    await w.run(2 * SECOND)
  }
  source(null, (_end, item) => items.push(item as ReplicationProgress))
  t.ok(quick.items.length > 5, `${quick.items.length} items`)
  t.equal(items[1], last(quick))
  t.end()
})

test('close ends every reader and all else; who comes later finds the end', async (t) => {
  const w = world()
  const remote = w.connect(alice, { [friend.id]: 200 })
  const readers = [w.read(), w.read({ peer: alice.id }), w.read({ live: false, peer: alice.id })]
  remote.isSilent = true
  await w.run(SECOND)
  w.progress.close()
  for (const reader of readers) t.equal(await reader.ended, true)
  t.ok(w.isIdle(), 'no timer, no listener')
  const asked = remote.asked.length
  for (const answer of remote.waiting.splice(0)) answer()
  w.connect(bob, { [friend.id]: 1 })
  const late = w.read()
  t.equal(await late.ended, true)
  t.deepEqual(late.items, [])
  await w.run(MINUTE)
  t.equal(remote.asked.length, asked)
  t.ok(w.isIdle())
  w.progress.close()
  t.end()
})

test('bad input is an error with a code, and opens nothing', async (t) => {
  const w = world()
  for (const given of [{ peer: 'alice' }, { peer: 7 }, { live: 'yes' }, { patient: 1 }, 'all']) {
    t.throws(() => w.progress.open(given as never), { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(given))
  }
  for (const given of [undefined, null, {}, { peer: null }]) {
    const reader = w.read(given as never)
    t.equal(last(reader).phase, 'waiting', JSON.stringify(given))
    await reader.abort()
  }
  t.ok(w.isIdle())
  t.end()
})

test('a source that nobody pulls costs nothing', async (t) => {
  const w = world()
  const remote = w.connect(alice, { [friend.id]: 200 })
  const source = w.progress.open()
  await w.run(MINUTE)
  t.equal(remote.asked.length, 0)
  t.ok(w.isIdle())
  source(true, (end) => t.equal(end, true, 'it can be ended all the same'))
  source(null, (end) => t.equal(end, true, 'for good'))
  await w.run(MINUTE)
  t.equal(remote.asked.length, 0)
  t.end()
})
