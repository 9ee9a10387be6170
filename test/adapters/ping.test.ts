import { createRequire } from 'module'

import pull = require('pull-stream')
import test = require('tape')

import {
  openPing,
  type PingableRpc,
  type PingDuplex,
  type PingOptions,
  pingTimeout,
  probePing,
  servePing,
} from '../../src/adapters/ping'
import { type VirtualClock, virtualClock } from '../../src/testing'
import { codeOf, MINUTE, SECOND } from '../support/manager'

const FIVE_MINUTES = 5 * MINUTE

/* ---- the other end ---- */

interface Duplex {
  readonly source: pull.Source<unknown>
  readonly sink: (read: pull.Source<number>) => void
}

/** Each item, and the end, arrive `ms` after they were sent. */
function delayed<T>(clock: VirtualClock, ms: number, source: pull.Source<T>): pull.Source<T> {
  return (abort, cb) => {
    if (abort) return source(abort, cb)
    source(null, (end, data) => {
      clock.setTimeout(() => cb(end, data as T), ms)
    })
  }
}

/** Both ends joined, each way taking `ms`. */
function join(clock: VirtualClock, ms: number, here: PingDuplex, there: Duplex): void {
  there.sink(delayed(clock, ms, here.source))
  here.sink(delayed(clock, ms, there.source))
}

/** A peer that sends what the test tells it to, and notes what it gets. */
function puppet(clock: VirtualClock) {
  const got: { at: number; value: unknown }[] = []
  const queue: unknown[] = []
  let waiting: ((end: true | Error | null, data?: unknown) => void) | null = null
  let ended: true | Error | null = null
  let isAborted = false
  let isTold = false
  let isReading = true
  const startedAt = clock.now()
  let read: pull.Source<number> = (_, cb) => cb(true)
  const next = (): void => {
    if (isReading)
      read(null, (end, value) => {
        if (end) {
          isTold = true
          return
        }
        got.push({ at: clock.now() - startedAt, value })
        next()
      })
  }
  return {
    got,
    send: (...values: unknown[]) => {
      for (const value of values) {
        const cb = waiting
        waiting = null
        if (cb) cb(null, value)
        else queue.push(value)
      }
    },
    end: (reason: true | Error = true) => {
      ended = reason
      waiting?.(reason)
      waiting = null
    },
    /** Does not take what is sent to it. */
    stopReading: () => {
      isReading = false
    },
    readOne: () => {
      const values: (number | undefined)[] = []
      read(null, (_, value) => values.push(value))
      return values[0]
    },
    /** Hangs up on what is sent to it. */
    abort: () => read(true, () => {}),
    isAborted: () => isAborted,
    /** What is sent to it has ended. */
    isTold: () => isTold,
    duplex: {
      source: (abort, cb) => {
        if (abort) {
          isAborted = true
          return cb(abort)
        }
        if (queue.length > 0) return cb(null, queue.shift())
        if (ended) return cb(ended)
        waiting = cb
      },
      sink: (source) => {
        read = source
        next()
      },
    } as Duplex,
  }
}

function serve(options: Partial<PingOptions> = {}) {
  const clock = virtualClock()
  const pings: [number, number][] = []
  const ends: unknown[] = []
  const served = servePing({
    clock,
    onPing: (rttMs, skewMs) => pings.push([rttMs, skewMs]),
    onEnd: (reason) => ends.push(reason),
    ...options,
  })
  const peer = puppet(clock)
  peer.duplex.sink(served.source)
  served.sink(peer.duplex.source)
  return { clock, pings, ends, peer, served }
}

function dialed(options: Partial<PingOptions> = {}, clock = virtualClock()) {
  const pings: [number, number][] = []
  const ends: unknown[] = []
  const args: unknown[] = []
  const peer = puppet(clock)
  const rpc: PingableRpc = {
    gossip: {
      ping: (given: unknown) => {
        args.push(given)
        return peer.duplex
      },
    },
  }
  const stop = openPing(rpc, {
    clock,
    onPing: (rttMs, skewMs) => pings.push([rttMs, skewMs]),
    onEnd: (reason) => ends.push(reason),
    ...options,
  })
  return { clock, pings, ends, peer, stop, args }
}

/* ---- pull-ping as it is published, on the virtual clock ---- */

interface PullPing extends Duplex {
  readonly rtt: { readonly count: number; readonly mean: number }
  readonly skew: { readonly count: number; readonly mean: number }
}

const pullPing = createRequire(require.resolve('ssb-gossip'))('pull-ping') as (options: {
  serve?: boolean
  timeout: number
}) => PullPing

/** pull-ping asks the globals for the time: while `fn` runs, they tell that of the virtual clock, `aheadMs` off. */
function onClock<T>(clock: VirtualClock, aheadMs: number, fn: () => T): T {
  const { setTimeout, clearTimeout } = globalThis
  const { now } = Date
  Object.assign(globalThis, { setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout })
  Date.now = () => clock.now() + aheadMs
  try {
    return fn()
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout })
    Date.now = now
  }
}

test('serving: the first ping is answered at once, with our own clock', (t) => {
  const { clock, peer, pings } = serve()
  clock.advance(70)
  peer.send(12345)
  t.deepEqual(peer.got, [{ at: 70, value: clock.now() }])
  t.deepEqual(pings, [], 'their first ping tells us nothing')
  t.end()
})

test('serving: after the pause we ping, and measure by the answer', (t) => {
  const { clock, peer, pings } = serve({ timeoutMs: 10_000 })
  peer.send(1)
  clock.advance(10_000)
  t.equal(peer.got.length, 2, 'our ping, after the pause')
  t.equal(peer.got[1]!.at, 10_000)
  clock.advance(80)
  peer.send(clock.now() - 40 + 3_000)
  t.deepEqual(pings, [[80, 3_000]], 'half of the round trip is taken for the way here')
  clock.advance(60 * MINUTE)
  t.equal(peer.got.length, 2, 'it is their turn')
  t.end()
})

test('serving: nothing is sent before they ping, however long they wait', (t) => {
  const { clock, peer } = serve()
  clock.advance(60 * MINUTE)
  t.deepEqual(peer.got, [])
  t.equal(clock.pending, 0, 'and no timer is set')
  t.end()
})

test('the pause is clamped to 10 s and 30 min, 5 min by default', (t) => {
  const rows: [unknown, number][] = [
    [undefined, FIVE_MINUTES],
    [null, FIVE_MINUTES],
    [Number.NaN, FIVE_MINUTES],
    ['', FIVE_MINUTES],
    ['soon', FIVE_MINUTES],
    [{}, FIVE_MINUTES],
    [0, 10_000],
    [-1, 10_000],
    [1_000, 10_000],
    [10_001, 10_001],
    ['60000', 60_000],
    [30 * MINUTE, 30 * MINUTE],
    [31 * MINUTE, 30 * MINUTE],
    [Number.POSITIVE_INFINITY, 30 * MINUTE],
  ]
  for (const [setting, ms] of rows) t.equal(pingTimeout(setting), ms, String(JSON.stringify(setting)))
  const { clock, peer } = serve({ timeoutMs: 1 })
  peer.send(1)
  clock.advance(9_999)
  t.equal(peer.got.length, 1)
  clock.advance(1)
  t.equal(peer.got.length, 2)
  t.end()
})

test('dialing: we ping first, at once; the answer gives round trip and skew', (t) => {
  const { clock, peer, pings, args } = dialed()
  t.deepEqual(peer.got, [{ at: 0, value: clock.now() }])
  t.deepEqual(args, [{ timeout: FIVE_MINUTES }], 'the argument that ssb-gossip sends')
  clock.advance(44)
  peer.send(clock.now() - 22)
  t.deepEqual(pings, [[44, 0]])
  t.equal(clock.pending, 0, 'now it is their turn')
  t.end()
})

test('both ends of ours take turns for as long as they are joined', (t) => {
  const clock = virtualClock()
  const here: [number, number][] = []
  const there: [number, number][] = []
  const served = servePing({ clock, timeoutMs: FIVE_MINUTES, onPing: (...ping) => there.push(ping) })
  openPing(
    {
      gossip: {
        ping: () => ({
          source: delayed(clock, 25, served.source as pull.Source<number>),
          sink: (read: pull.Source<number>) => served.sink(delayed(clock, 25, read) as never),
        }),
      },
    },
    { clock, onPing: (...ping) => here.push(ping) },
  )
  clock.advance(60 * MINUTE)
  t.equal(here.length, 6, 'one of ours each ten minutes, and the one at the start')
  t.equal(there.length, 6)
  t.ok(
    [...here, ...there].every(([rtt, skew]) => rtt === 50 && skew === 0),
    'each round trip takes 50 ms',
  )
  t.ok(clock.pending <= 2, 'one timer at most, and one number on its way')
  t.end()
})

test('concurrent peers do not mix, as they did by the global variable of pull-ping', (t) => {
  const clock = virtualClock()
  const near = dialed({}, clock)
  const far = dialed({}, clock)
  clock.advance(10)
  near.peer.send(clock.now())
  clock.advance(490)
  far.peer.send(clock.now())
  t.deepEqual(near.pings, [[10, 5]])
  t.deepEqual(far.pings, [[500, 250]])
  t.notOk('ts' in globalThis, 'and nothing is left in the global object')
  t.end()
})

test('pull-ping as published can be served, for hours', (t) => {
  const clock = virtualClock()
  const ours: [number, number][] = []
  onClock(clock, 2_000, () => {
    const theirs = pullPing({ serve: true, timeout: FIVE_MINUTES })
    join(clock, 30, servePing({ clock, onPing: (...ping) => ours.push(ping) }), theirs)
    clock.advance(3 * 60 * MINUTE)
    t.equal(ours.length, 18, 'every ten minutes they answer us')
    t.ok(
      ours.every(([rtt, skew]) => rtt === 60 && skew === 2_000),
      'round trip and skew are right',
    )
    t.equal(theirs.rtt.count, 18, 'and we answered them')
    t.equal(theirs.rtt.mean, 60)
    t.equal(theirs.skew.mean, -2_000)
  })
  t.end()
})

test('pull-ping as published can be dialed, for hours', (t) => {
  const clock = virtualClock()
  const ours: [number, number][] = []
  onClock(clock, -500, () => {
    const theirs = pullPing({ timeout: 10_000 })
    openPing(
      {
        gossip: {
          ping: () => ({
            source: delayed(clock, 20, theirs.source),
            sink: (read: pull.Source<number>) => theirs.sink(delayed(clock, 20, read)),
          }),
        },
      },
      { clock, timeoutMs: 10_000, onPing: (...ping) => ours.push(ping) },
    )
    clock.advance(60 * MINUTE)
    t.ok(ours.length >= 178, `${ours.length} answers in an hour, one each 20 s`)
    t.ok(
      ours.every(([rtt, skew]) => rtt === 40 && skew === -500),
      'round trip and skew are right',
    )
    t.equal(theirs.rtt.mean, 40)
  })
  t.end()
})

test('a peer that pings by a ticker and never answers, as go-ssb-room, is answered and not measured', (t) => {
  const { clock, peer, pings } = dialed()
  for (let i = 0; i < 12; i++) {
    clock.advance(7 * MINUTE)
    peer.send(clock.now())
  }
  t.deepEqual(pings, [], 'its ticks are no answers that took minutes')
  t.ok(peer.got.length >= 6, 'what we send keeps the connection alive')
  t.equal(clock.pending, 1)
  t.end()
})

test('values that are no times are neither answered nor measured', (t) => {
  const junk = [
    null,
    undefined,
    true,
    'now',
    '1',
    {},
    [],
    [1],
    Number.NaN,
    Number.POSITIVE_INFINITY,
    1e300,
    -1e300,
    9e15,
  ]
  const { clock, peer } = serve()
  peer.send(...junk)
  t.deepEqual(peer.got, [])
  t.equal(clock.pending, 0)
  const client = dialed()
  client.clock.advance(10)
  client.peer.send(...junk)
  t.deepEqual(client.pings, [])
  client.peer.send(client.clock.now())
  t.deepEqual(client.pings, [[10, 5]], 'the answer behind them still counts')
  t.end()
})

test('a clock that is decades off is measured, and its figure stays finite', (t) => {
  const { clock, peer, pings } = dialed()
  peer.send(0)
  t.deepEqual(pings, [[0, -clock.now()]])
  t.end()
})

test('a flood of pings is read to its end and answered once a second at most, by one timer', (t) => {
  const { clock, peer } = serve({ timeoutMs: 10_000 })
  peer.send(...new Array(50_000).fill(1))
  t.equal(peer.got.length, 1)
  t.equal(clock.pending, 1)
  for (let i = 0; i < 10_000; i++) {
    clock.advance(1)
    peer.send(1)
  }
  t.ok(peer.got.length <= 11, `${peer.got.length} answers to 60000 pings in ten seconds`)
  t.equal(clock.pending, 1)
  t.end()
})

test('a flood of answers counts as one', (t) => {
  const { clock, peer, pings } = dialed()
  clock.advance(5)
  peer.send(...new Array(1_000).fill(clock.now()))
  t.equal(pings.length, 1)
  t.equal(peer.got.length, 2, 'the second is taken for their ping')
  t.equal(clock.pending, 1)
  t.end()
})

test('for a peer that does not read, one number waits, the latest', (t) => {
  const { clock, peer } = serve({ timeoutMs: 10_000 })
  peer.stopReading()
  peer.send(1)
  t.equal(peer.got.length, 1, 'the read that was under way')
  for (let i = 0; i < 5; i++) {
    clock.advance(2_000)
    peer.send(1)
  }
  t.equal(peer.readOne(), clock.now(), 'the last answer, not the oldest')
  t.equal(peer.readOne(), undefined, 'and no more')
  t.end()
})

test('a clock that is set back gives no negative round trip', (t) => {
  const { clock, peer, pings } = dialed()
  clock.jump(-60 * MINUTE)
  peer.send(clock.now())
  t.deepEqual(pings, [])
  t.end()
})

test('timers are cleared at the end, whoever ends', (t) => {
  const ways: [string, (s: ReturnType<typeof serve>) => void][] = [
    [
      'they end',
      ({ peer }) => {
        peer.end()
        t.notOk(peer.isAborted(), 'who has ended is not told to')
      },
    ],
    ['they fail', ({ peer }) => peer.end(new Error('unexpected end of parent stream'))],
    ['they hang up', ({ peer }) => peer.abort()],
  ]
  for (const [what, act] of ways) {
    const served = serve()
    served.peer.send(1)
    t.equal(served.clock.pending, 1)
    act(served)
    t.equal(served.clock.pending, 0, what)
    t.equal(served.ends.length, 1, 'onEnd once')
    t.ok(served.peer.isTold(), 'what we send ends as well')
    const before = served.peer.got.length
    served.clock.advance(60 * MINUTE)
    served.peer.send(1)
    t.equal(served.peer.got.length, before, 'nothing more is sent')
    t.equal(served.ends.length, 1)
  }
  const client = dialed()
  client.peer.send(client.clock.now())
  client.clock.advance(FIVE_MINUTES)
  client.peer.send(client.clock.now())
  t.equal(client.clock.pending, 1)
  client.stop()
  client.stop()
  t.equal(client.clock.pending, 0, 'we stop')
  t.ok(client.peer.isAborted() && client.peer.isTold(), 'and they hear of it')
  t.deepEqual(client.ends, [true])
  t.end()
})

test('the answer to what they send ends when they end', (t) => {
  const { peer, served } = serve()
  peer.end()
  served.source(null, (end) => t.equal(end, true))
  t.end()
})

test('a peer without gossip.ping loses nothing: the connection is left alone', (t) => {
  let closes = 0
  const close = (): void => {
    closes++
  }
  const rows: [string, object][] = [
    ['our manifest has none', {}],
    ['gossip is something else', { gossip: { ping: 1 } }],
    ['gossip is null', { gossip: null }],
    [
      'they deny it',
      {
        gossip: {
          // What muxrpc makes of it: a plain object from the wire.
          ping: (_: unknown, cb: (error: unknown) => void) => {
            const denied = { message: 'method:gossip,ping is not in list of allowed methods', name: 'Error' }
            cb(denied)
            return { source: pull.error(denied as never), sink: (read: pull.Source<number>) => read(true, () => {}) }
          },
        },
      },
    ],
    [
      'the call throws',
      {
        gossip: {
          ping: () => {
            throw new Error('stream is closed')
          },
        },
      },
    ],
  ]
  for (const [what, rpc] of rows) {
    const clock = virtualClock()
    const ends: unknown[] = []
    const stop = openPing({ ...rpc, close } as PingableRpc, {
      clock,
      onPing: () => t.fail('nothing was measured'),
      onEnd: (reason) => ends.push(reason),
    })
    t.equal(ends.length, 1, `${what}: onEnd says so`)
    t.equal(clock.pending, 0)
    stop()
    t.equal(ends.length, 1)
  }
  t.equal(closes, 0)
  t.end()
})

/* ---- probing ---- */

interface Probe {
  readonly what: string
  readonly rpc: (clock: VirtualClock) => PingableRpc
  /** Whether it is found alive, and when. */
  readonly isAlive: boolean
  readonly afterMs: number
}

const denied = { message: 'method:manifest is not in list of allowed methods', name: 'Error' }
const silence = { source: () => {}, sink: () => {} }

const PROBES: readonly Probe[] = [
  {
    what: 'a peer that answers the ping',
    rpc: (clock) => {
      const served = servePing({ clock })
      return {
        gossip: {
          ping: () => ({
            source: delayed(clock, 100, served.source as pull.Source<number>),
            sink: (read: pull.Source<number>) => served.sink(delayed(clock, 100, read) as never),
          }),
        },
      }
    },
    isAlive: true,
    afterMs: 200,
  },
  {
    what: 'a peer that takes pings and never answers, but has a manifest (go-ssb-room)',
    rpc: (clock) => ({
      gossip: { ping: () => silence },
      manifest: (cb: (error: unknown, value?: unknown) => void) => clock.setTimeout(() => cb(null, {}), 300),
    }),
    isAlive: true,
    afterMs: 300,
  },
  {
    what: 'a peer that answers with an error',
    rpc: (clock) => ({
      gossip: { ping: () => silence },
      manifest: (cb: (error: unknown) => void) => clock.setTimeout(() => cb(denied), 50),
    }),
    isAlive: true,
    afterMs: 50,
  },
  {
    what: 'a peer that denies the ping',
    rpc: (clock) => ({
      gossip: {
        ping: () => ({
          source: (_: unknown, cb: (end: unknown) => void) => clock.setTimeout(() => cb(denied), 70),
          sink: () => {},
        }),
      },
    }),
    isAlive: true,
    afterMs: 70,
  },
  {
    what: 'a peer that answers something odd',
    rpc: (clock) => {
      const odd = puppet(clock)
      clock.setTimeout(() => odd.send('hello'), 20)
      return { gossip: { ping: () => odd.duplex } }
    },
    isAlive: true,
    afterMs: 20,
  },
  { what: 'a connection on which nothing can be asked', rpc: () => ({}), isAlive: true, afterMs: 0 },
  {
    what: 'a peer that is silent',
    rpc: () => ({ gossip: { ping: () => silence }, manifest: () => {} }),
    isAlive: false,
    afterMs: 5_000,
  },
  {
    what: 'a connection that is closed',
    rpc: () => ({ closed: true, manifest: () => {} }),
    isAlive: false,
    afterMs: 0,
  },
  {
    what: 'a connection whose requests end because it does',
    rpc: (clock) => {
      const rpc = {
        closed: false,
        manifest: (cb: (error: unknown) => void) =>
          clock.setTimeout(() => {
            // In this order, as in packet-stream.
            cb(new Error('unexpected end of parent stream'))
            rpc.closed = true
          }, 30),
      }
      return rpc
    },
    isAlive: false,
    afterMs: 30,
  },
  {
    what: 'a connection on which every call throws, because it is closed',
    rpc: () => {
      const rpc = {
        closed: false,
        manifest: () => {
          rpc.closed = true
          throw new Error('stream is closed')
        },
      }
      return rpc
    },
    isAlive: false,
    afterMs: 0,
  },
]

for (const { what, rpc, isAlive, afterMs } of PROBES)
  test(`probing ${what}: ${isAlive ? 'it lives' : 'it is dead'}`, async (t) => {
    const clock = virtualClock()
    const seen: string[] = []
    probePing(rpc(clock), clock, 5_000).then(
      () => seen.push('alive'),
      (error: unknown) => seen.push(error instanceof Error ? 'dead' : 'no error'),
    )
    if (afterMs > 0) await clock.advanceAsync(afterMs - 1)
    t.deepEqual(seen, [], 'not before')
    await clock.advanceAsync(1)
    t.deepEqual(seen, [isAlive ? 'alive' : 'dead'])
    await clock.advanceAsync(10 * SECOND)
    t.equal(clock.pending, 0, 'no timer is left')
    t.end()
  })

test('a clock that is set right after a wake-up does not make a living connection look dead', async (t) => {
  const clock = virtualClock()
  const peer = puppet(clock)
  const probe = probePing({ gossip: { ping: () => peer.duplex } }, clock, 5_000)
  clock.jump(-3_600_000)
  peer.send(clock.now())
  await clock.advanceAsync(0)
  t.equal(await codeOf(probe), 'resolved')
  t.ok(peer.isAborted(), 'and the stream that asked is ended')
  t.end()
})
