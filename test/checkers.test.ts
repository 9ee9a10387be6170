/**
 * Each checker of the simulation is shown a manager that breaks its promise, and must say so; and the real manager in the
 * same world, where it must be silent. A checker that cannot fail proves nothing.
 */
import test = require('tape')

import { join } from 'path'

import type * as merit from '../src/core/merit'
import type * as rank from '../src/core/rank'
import type { RankKey } from '../src/core/types'
import { type ConnectionManager, createManager, type ManagerOptions } from '../src/manager'
import { type Clock, simulatedFeedId } from '../src/testing'
import * as checkers from './support/checkers'
import {
  type CheckerFactory,
  calmDown,
  Dice,
  type Kind,
  keyOf,
  type ManagerFactory,
  MINUTE,
  type Outcome,
  runWorld,
  SECOND,
  SHORT_BACKOFF,
  type World,
} from './support/simulator'

const YEAR = 365 * 24 * 60 * MINUTE

type ConnectToPeer = ManagerOptions['connectToPeer']

/** Nobody has to wait long for the next turn. */
const SOON = { visitMs: 10 * SECOND, visitMinMs: 10 * SECOND, visitMaxMs: 20 * SECOND }

/**
 * A small world in which everything that matters here happens once: more peers than slots, dead routes, several keys at one
 * host, a ban, a hang-up, a request, a stop, a clock that is set back.
 */
async function small(world: World): Promise<void> {
  const dice = world.dice.fork()
  const options = {
    maxByType: { net: 2 },
    dwellMs: 2 * MINUTE,
    rotationMinMs: MINUTE,
    rotationMaxMs: 2 * MINUTE,
    ...SOON,
    backoffMaxMs: SHORT_BACKOFF,
  }
  for (let at = 0; at < 7; at++) {
    const host = world.addHost(options, 'lan')
    host.node.listen(`net:44.0.0.${at}:8008~shs:${keyOf(host.id)}`)
  }
  const know = (host: World['hosts'][number], peer: string, place: string, source: string): void => {
    const address = `${place}~shs:${keyOf(peer)}`
    host.knows.set(address, { address, peer, isLocal: false, source })
  }
  for (const host of world.hosts) {
    for (const other of world.hosts)
      if (other !== host) know(host, other.id, `net:44.0.0.${other.index}:8008`, 'manual')
    know(host, simulatedFeedId(dice), 'net:45.1.1.1:8008', 'manual')
    know(host, simulatedFeedId(dice), 'net:44.0.0.1:9999', 'manual')
    for (let key = 0; key < 4; key++) know(host, simulatedFeedId(dice), 'net:44.0.0.2:9998', 'pub')
    know(host, simulatedFeedId(dice), 'net:10.0.0.1:22', 'pub')
  }
  for (const host of world.hosts) world.boot(host)
  for (const host of world.hosts) world.at(dice.int(0, 300), () => world.start(host))
  const [a, b, c, d, e, f] = world.hosts as [Host, Host, Host, Host, Host, Host]
  await world.run(5 * MINUTE)
  world.setPriority(a, b.id, 'BANNED')
  world.disconnect(a, c.id)
  world.request(a, d.id)
  world.shutDown(f, false)
  await world.run(5 * MINUTE)
  world.stop(e)
  await world.run(MINUTE)
  world.start(e)
  world.boot(f)
  world.start(f)
  await world.run(5 * MINUTE)
  calmDown(world, dice)
  for (const host of world.hosts) world.setMaxByType(host, { net: 2 })
  await world.run(40 * MINUTE)
}

/** One slot and seven who are there: six of HIGH priority, of whom somebody is always ready, and one of LOW. */
async function envious(world: World): Promise<void> {
  const pace = { dwellMs: SECOND, rotationMinMs: 5 * SECOND, rotationMaxMs: 5 * SECOND, ...SOON }
  const host = world.addHost({ maxByType: { net: 1 }, ...pace }, 'lan')
  const others = Array.from({ length: 7 }, () => world.addHost({ maxByType: {} }, 'lan'))
  for (const { id, index, node } of others) {
    const address = `net:44.0.0.${index}:8008~shs:${keyOf(id)}`
    node.listen(address)
    host.knows.set(address, { address, peer: id, isLocal: false, source: 'manual' })
  }
  for (const each of world.hosts) world.boot(each)
  for (const { id, index } of others) world.setPriority(host, id, index === 1 ? 'LOW' : 'HIGH')
  world.start(host)
  world.enter('calm')
  // Visits that bring nothing come at intervals of up to 80 s.
  await world.run(8 * 60 * MINUTE)
}

/** All slots are free, and whoever is known refuses or is banned. */
async function deserted(world: World): Promise<void> {
  const dice = world.dice.fork()
  const host = world.addHost({ maxByType: { net: 2 }, backoffMaxMs: SHORT_BACKOFF }, 'lan')
  const other = world.addHost({ maxByType: {} }, 'lan')
  const there = `net:44.0.0.${other.index}:8008~shs:${keyOf(other.id)}`
  other.node.listen(there)
  host.knows.set(there, { address: there, peer: other.id, isLocal: false, source: 'manual' })
  for (const port of [9001, 9002, 9003]) {
    const peer = simulatedFeedId(dice)
    const address = `net:44.0.0.${other.index}:${port}~shs:${keyOf(peer)}`
    host.knows.set(address, { address, peer, isLocal: false, source: 'seed' })
  }
  for (const each of world.hosts) world.boot(each)
  world.setPriority(host, other.id, 'BANNED')
  world.start(host)
  await world.run(30 * MINUTE)
}

type Host = World['hosts'][number]

/** A manager with other options than it was told. */
const withOptions =
  (changed: Readonly<Record<string, unknown>>): ManagerFactory =>
  (options) =>
    createManager({ ...options, ...changed })

/** A manager some of whose methods are not what they seem. */
const withMethods =
  (
    change: (manager: ConnectionManager, options: ManagerOptions, host: Host) => Partial<ConnectionManager>,
  ): ManagerFactory =>
  (options, host) => {
    const manager = createManager(options)
    return { ...manager, ...change(manager, options, host) }
  }

/** Beside the real manager somebody dials whatever is known, without asking whether that may be. */
const withWildDialer: ManagerFactory = (options) => {
  const manager = createManager(options)
  const clock = options.clock as Clock
  let next = 0
  const dial = (): void => {
    if (manager.internal.isClosed()) return
    const routes = manager.peer.list().flatMap((peer) => peer.routes)
    const route = routes[next++ % Math.max(1, routes.length)]
    if (route) void options.connectToPeer(route.id, () => {})
    clock.setTimeout(dial, 20 * SECOND)
  }
  clock.setTimeout(dial, 20 * SECOND)
  return manager
}

/** Whatever it is given to close stays open. */
const withoutHangUps: ManagerFactory = (options) => {
  const keep = (connection: unknown): unknown => {
    const real = connection as { on(event: string, fn: () => void): unknown; closed: boolean }
    return {
      on: (event: string, fn: () => void) => real.on(event, fn),
      close: (_: unknown, cb: () => void) => cb(),
      get closed() {
        return real.closed
      },
    }
  }
  const connectToPeer: ConnectToPeer = (address, cb) =>
    options.connectToPeer(address, (error, connection) => cb(error, connection ? keep(connection) : connection))
  const manager = createManager({ ...options, connectToPeer })
  const remotePeerConnected = (id: unknown, connection?: unknown): boolean =>
    manager.peer.remotePeerConnected(id, keep(connection))
  return { ...manager, peer: { ...manager.peer, remotePeerConnected } }
}

/** Plans long after something has happened. */
const withSlowPlans: ManagerFactory = (options) => {
  const clock = options.clock as Clock
  return createManager({ ...options, clock: { ...copyOf(clock), defer: (fn) => clock.setTimeout(fn, 10 * MINUTE) } })
}

function copyOf(clock: Clock): Clock {
  return { now: clock.now, setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout, defer: clock.defer }
}

/** Looks whether there is anything to do every second, as of old. */
const withPolling: ManagerFactory = (options) => {
  const manager = createManager(options)
  const clock = options.clock as Clock
  const poll = (): void => {
    if (!manager.internal.isClosed()) clock.setTimeout(poll, SECOND)
  }
  poll()
  return manager
}

/** The real manager on a core in which something of one module is replaced, as all others see it. */
function withFault<T extends object>(path: string, change: (real: T) => Partial<T>): ManagerFactory {
  const file = require.resolve(path)
  const real = require(path) as T
  const source = join(__dirname, '..', 'src')
  const known = Object.entries(require.cache).filter(([name]) => name.startsWith(source))
  for (const [name] of known) if (name !== file) delete require.cache[name]
  const module = require.cache[file] as NodeJS.Module
  module.exports = { ...real, ...change(real) }
  try {
    return (require('../src/manager') as { createManager: ManagerFactory }).createManager
  } finally {
    module.exports = real
    for (const name of Object.keys(require.cache)) if (name.startsWith(source)) delete require.cache[name]
    for (const [name, each] of known) require.cache[name] = each
  }
}

/** Whoever is LOW never has another turn while somebody else waits. */
const withoutTurns = withFault<typeof merit>('../src/core/merit', (real) => ({
  turnAtOf: (options, peer) =>
    real.turnAtOf(options, peer) + (peer.priority === 'LOW' && peer.visitedAt > 0 ? YEAR : 0),
}))

/** Hears neither why a dial failed nor that its network changed. */
const deaf: ManagerFactory = (options) => {
  const connectToPeer: ConnectToPeer = (address, cb) =>
    options.connectToPeer(address, (error, connection) => cb(error ? new Error('failed') : null, connection))
  const manager = createManager({ ...options, connectToPeer })
  const nothing = (): void => {}
  Object.assign(manager.internal, { woke: nothing, networkChanged: nothing, online: nothing, offline: nothing })
  return manager
}

/** In each lane the same ones come first again and again, however lately they were connected. */
const withoutRounds = withFault<typeof rank>('../src/core/rank', (real) => {
  // All times are alike but for those of the ends of a lane, which no route has.
  const flat = (time: number): number => (Number.isFinite(time) ? Math.min(time, 1) : time)
  // Named one by one, as a record has its parts by getters, which a spread leaves out.
  const lane = ({ queue, tier, errorCount, turnAt, lastErrorTime, tie, address, dueAt }: RankKey): RankKey => ({
    ...{ queue, tier, errorCount, tie, address, dueAt },
    turnAt: flat(turnAt),
    lastErrorTime: flat(lastErrorTime),
  })
  return { compareReady: (a, b) => real.compareReady(lane(a), lane(b)) }
})

interface Row {
  readonly checker: CheckerFactory
  readonly wrong: string
  readonly manager: ManagerFactory
  readonly says: RegExp
  /** Where it is seen; the small world unless given. */
  readonly kind?: Kind
  readonly script?: (world: World) => Promise<void>
  readonly seed?: number
}

const ROWS: readonly Row[] = [
  {
    checker: checkers.slots,
    wrong: 'a manager with more slots than it was given',
    manager: withOptions({ maxByType: { net: 5 } }),
    says: /slots taken|more net connections than slots/,
  },
  {
    checker: checkers.slots,
    wrong: 'a manager that does not hang up on the surplus',
    manager: withoutHangUps,
    says: /more net connections than slots/,
  },
  {
    checker: checkers.oneConnection,
    wrong: 'a manager that keeps both connections',
    manager: withoutHangUps,
    says: /several connections to/,
  },
  {
    checker: checkers.crossing,
    wrong: 'a manager that does not know which id is its own',
    manager: withOptions({ selfId: null }),
    says: /keep /,
    kind: 'crossing',
  },
  {
    checker: checkers.forbiddenDials,
    wrong: 'a manager that does not hear of bans',
    manager: withMethods((manager) => ({
      peer: { ...manager.peer, setPriority: () => true },
    })),
    says: /who is banned/,
    script: deserted,
  },
  {
    checker: checkers.forbiddenDials,
    wrong: 'a manager that goes on while it is off',
    manager: withMethods((manager) => ({ connections: { ...manager.connections, stop: () => undefined } })),
    says: /while off/,
  },
  {
    checker: checkers.forbiddenDials,
    wrong: 'a manager that dials the connected',
    manager: withWildDialer,
    says: /who is connected/,
  },
  {
    checker: checkers.forbiddenDials,
    wrong: 'a manager that takes a stranger for a friend',
    manager: withMethods((manager) => ({
      peer: {
        ...manager.peer,
        addRoute: (route) => manager.peer.addRoute({ ...(route as object), source: 'friends' }),
      },
    })),
    says: /that a stranger named/,
  },
  {
    checker: checkers.hostThrottle,
    wrong: 'a manager with a window of a millisecond',
    manager: withOptions({ hostWindowMs: 1 }),
    says: /dials 44\.0\.0\.2:9998 again after/,
  },
  {
    checker: checkers.backoff,
    wrong: 'a manager that hardly pauses',
    manager: withOptions({ backoffBaseMs: 1000, backoffMaxMs: { HIGH: 1000, MEDIUM: 1000, LOW: 1000 } }),
    says: /times in ten minutes/,
    script: deserted,
  },
  {
    checker: checkers.backoff,
    wrong: 'a manager that dials before the time that it names',
    manager: withWildDialer,
    says: /before its next attempt/,
  },
  {
    checker: checkers.backoff,
    wrong: 'a manager that pauses longer than it may',
    manager: withOptions({ backoffBaseMs: 50 * MINUTE, backoffMaxMs: { HIGH: 50 * MINUTE, MEDIUM: 50 * MINUTE } }),
    says: /pauses .* for \d+ ms after/,
  },
  {
    checker: checkers.pace,
    wrong: 'a manager that visits without a pause',
    manager: withOptions({ rotationMinMs: 1, rotationMaxMs: 1, dwellMs: 10 * SECOND }),
    says: /visits net peers again/,
  },
  {
    checker: checkers.pace,
    wrong: 'a manager that takes back at once whom it has hung up on',
    manager: withOptions({ disconnectHoldMs: 1 }),
    says: /after the hang-up for/,
  },
  {
    checker: checkers.outcomes,
    wrong: 'a manager that dials without saying so',
    manager: withWildDialer,
    says: /without saying so/,
  },
  {
    checker: checkers.outcomes,
    wrong: 'a manager that never gives a dial up',
    manager: withOptions({ dialTimeoutMs: { default: 10 * MINUTE } }),
    says: /has had no outcome for/,
  },
  {
    checker: checkers.requests,
    wrong: 'a manager that never answers a request',
    manager: withMethods((manager) => ({ peer: { ...manager.peer, connect: () => new Promise(() => {}) } })),
    says: /is pending/,
  },
  {
    checker: checkers.nothingLeft,
    wrong: 'a manager that keeps its connections after stop()',
    manager: withoutHangUps,
    says: /keeps \d+ connections after stop/,
  },
  {
    checker: checkers.nothingLeft,
    wrong: 'a manager with a timer of its own',
    manager: withMethods((manager, options) => ({
      close: () => {
        manager.close()
        options.clock?.setTimeout(() => {}, 24 * 60 * MINUTE)
      },
    })),
    says: /timers after close/,
  },
  {
    checker: checkers.converges,
    wrong: 'a manager that does not start',
    manager: withMethods((manager) => ({ connections: { ...manager.connections, start: () => undefined } })),
    says: /has been alone for/,
  },
  {
    checker: checkers.prompt,
    wrong: 'a manager that plans ten minutes late',
    manager: withSlowPlans,
    says: /a free net slot and somebody to dial/,
  },
  {
    checker: checkers.fair,
    wrong: 'a manager for which LOW ones have had their turn',
    manager: withoutTurns,
    says: /net dials, none to n1/,
    script: envious,
  },
  {
    checker: checkers.roundRobin,
    wrong: 'a manager that does not look at who had the last turn',
    manager: withoutRounds,
    says: /has not seen/,
    kind: 'fairness',
    seed: 4,
  },
  {
    checker: checkers.quiet,
    wrong: 'a manager that polls',
    manager: withPolling,
    says: /woke \d+ times in the calm/,
    kind: 'fairness',
  },
  {
    checker: checkers.outage,
    wrong: 'a manager that does not understand why dials fail',
    manager: deaf,
    says: /before its link was/,
    kind: 'outage',
    seed: 2,
  },
  {
    checker: checkers.streams,
    wrong: 'a manager that loses changes',
    manager: withMethods((manager) => ({ peers: () => manager.peers({ live: false }) })),
    says: /reader has/,
  },
  {
    checker: checkers.recording,
    wrong: 'a manager that does not record everything',
    manager: (options) =>
      createManager({
        ...options,
        onAction: (action) => {
          if (action.type !== 'dial/failed') options.onAction?.(action)
        },
      }),
    says: /recorded actions lead to another state/,
  },
  {
    checker: checkers.invariants,
    wrong: 'a manager that miscounts',
    manager: withMethods((manager) => {
      const { store } = manager.internal
      const getState = () => ({ ...store.getState(), attemptCount: store.getState().attemptCount + 1 })
      return { internal: { ...manager.internal, store: { ...store, getState } } }
    }),
    says: /attemptCount/,
  },
]

function nameOf(checker: CheckerFactory): string {
  const found = Object.entries(checkers).find(([, each]) => each === checker)
  return found ? found[0] : 'unknown'
}

function run({ checker, kind, script, seed = 1 }: Row, wrong?: ManagerFactory): Promise<Outcome> {
  return runWorld({
    seed,
    kind: kind ?? 'chaos',
    checkers: [checker],
    ...(wrong ? { createManager: wrong } : {}),
    ...(kind ? {} : { script: script ?? small }),
  })
}

for (const row of ROWS) {
  test(`${nameOf(row.checker)} tells ${row.wrong} from the real one`, async (t) => {
    const wrong = await run(row, row.manager)
    t.ok(
      wrong.violations.some((each) => row.says.test(each)),
      `the wrong one is found out: ${wrong.violations[0] ?? 'nothing was said'}`,
    )
    t.deepEqual((await run(row)).violations, [], 'the real one is not')
  })
}

test('every checker that the simulation uses has been shown a wrong manager', (t) => {
  const shown = new Set(ROWS.map((row) => row.checker))
  const used = new Set(Object.values(checkers.CHECKERS).flat())
  t.deepEqual(
    [...used].filter((each) => !shown.has(each)),
    [],
  )
  t.end()
})

test('dice of the same seed fall alike, and those of a fork do not follow them', (t) => {
  const draw = (dice: Dice): number[] => [dice.next(), dice.int(1, 6), dice.time(1, 1000), dice.pause(10)]
  t.deepEqual(draw(new Dice(7)), draw(new Dice(7)))
  t.notDeepEqual(draw(new Dice(7)), draw(new Dice(7).fork()))
  t.end()
})
