/**
 * Random worlds. Ids and times are drawn from few values, so that the same peer is dialed, banned and closed in one run and
 * times fall on the boundaries (tigerbeetle `src/testing/fuzz.zig`, hot and cold ids).
 *
 * A step is data: a shrunk counterexample can be read, and pasted into a test. `perform` turns it into actions.
 */
import fc from 'fast-check'

import type { Action } from '../../src/core/actions'
import type { CloseReason, Priority } from '../../src/core/types'
import {
  addressOf,
  DAY,
  HOUR,
  idOf,
  labelOf,
  MINUTE,
  nameOf,
  report,
  SECOND,
  stored,
  storedPeer,
  type World,
} from './builders'

/** Hot ones first. */
export const NAMES = ['alice', 'bob', 'carol', 'dave', 'erin', 'self'] as const
const FORMS = ['net', 'net2', 'lan', 'onion', 'net-h', 'ws', 'tunnel-alice', 'home', 'ip6', 'bt', 'rtc'] as const
const SOURCES = ['manual', 'pub', 'seed', 'friends', 'local', 'stored'] as const
const CODES = [
  'ECONNREFUSED',
  'ETIMEDOUT',
  'ENETUNREACH',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ECONNRESET',
  'ENOTFOUND',
  'ERR_DIAL_TIMEOUT',
  null,
] as const
const MESSAGES = ['failed', 'shs.client: wrong key', 'could not connect to:x, only know:net'] as const
const REASONS: readonly CloseReason[] = ['disconnected', 'dead', 'rotation', 'lifetime', 'closed']

/** Around every boundary of the policy. */
const DURATIONS = [
  ...[0, 1, 29, 30, 31, 249, 250, 251, 499, 500, 501],
  ...[3 * SECOND, 5 * SECOND - 1, 5 * SECOND, 10 * SECOND - 1, 10 * SECOND, 10 * SECOND + 1, 30 * SECOND],
  ...[MINUTE - 1, MINUTE, MINUTE + 1, 3 * MINUTE, 7 * MINUTE, 10 * MINUTE, 30 * MINUTE],
  ...[2 * HOUR, DAY, 30 * DAY, 400 * DAY],
]
const JITTERS = [0, 0.1, 0.5, 0.999_999]

export type Step =
  | { readonly do: 'elapse'; readonly ms: number }
  | { readonly do: 'wake' }
  | { readonly do: 'settle' }
  | { readonly do: 'setBack'; readonly ms: number }
  /** The dial at `index` of those in flight comes to an end. */
  | {
      readonly do: 'outcome'
      readonly index: number
      readonly how: 'connect' | 'fail' | 'abandon'
      readonly code: string | null
      readonly message: string
    }
  /** The connection at `index` ends. */
  | { readonly do: 'end'; readonly index: number }
  | { readonly do: 'action'; readonly action: Action; readonly late: number }

const hot = <T>(values: readonly T[]): fc.Arbitrary<T> =>
  fc.nat(values.length * 2 - 1).map((n) => values[n % values.length === 0 ? 0 : n % values.length] as T)
const name = hot(NAMES)
const label = fc.tuple(hot(NAMES), hot(FORMS)).map(([who, form]) => (form === 'net' ? who : `${who}/${form}`))
const peer = name.map(idOf)
const address = label.map(addressOf)
const jitter = fc.constantFrom(...JITTERS)
const priority = fc.constantFrom<Priority>('HIGH', 'MEDIUM', 'LOW', 'BANNED')
const attempt = fc.integer({ min: 1, max: 12 })
const error = fc.record({ message: fc.constantFrom(...MESSAGES), code: fc.constantFrom(...CODES) })
const at = fc.constant(0)

const anyReport = fc
  .tuple(label, fc.constantFrom(...SOURCES), fc.constantFrom<Priority | undefined>('HIGH', 'MEDIUM', 'LOW', undefined))
  .map(([each, source, given]) => report(each, { source, ...(given === undefined ? {} : { priority: given }) }))

const time = fc.constantFrom(0, 1, Date.UTC(2025, 0, 1), Date.UTC(2026, 0, 15), Date.UTC(2036, 0, 1))

const storedRoute = fc
  .record({
    label,
    source: fc.constantFrom(...SOURCES),
    lastConnectionTime: time,
    lastErrorTime: time,
    nextAttemptAt: time,
    errorCount: fc.constantFrom(0, 1, 19, 20, 100),
    backoffStep: fc.constantFrom(0, 1, 40, 99),
  })
  .map(({ label: each, ...learned }) => stored(each, learned))

/** Table and environment, in any order and whether or not it fits: outcomes of attempts that never were, and so on. */
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant('routes/added' as const),
      at,
      reports: fc.array(anyReport, { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('table/loaded' as const),
      at,
      routes: fc.array(storedRoute, { maxLength: 4 }),
      peers: fc.array(
        fc
          .tuple(name, priority, fc.boolean())
          .map(([who, given, isLongTerm]) => storedPeer(who, { priority: given, isLongTerm, prioritisedBy: 'user' })),
        { maxLength: 2 },
      ),
    }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('route/removed' as const), at, address }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('peer/prioritised' as const), at, peer, priority }) },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant('peer/longTermSet' as const), at, peer, isLongTerm: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('peer/held' as const), at, peer }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('connection/requested' as const), at, peer, address: fc.option(address) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('connection/requestDropped' as const), at, peer }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('dial/started' as const),
      at,
      attempt: fc.integer({ min: 900, max: 903 }),
      peer,
      address,
      cause: fc.constantFrom('schedule' as const, 'request' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('dial/failed' as const),
      at,
      attempt,
      peer,
      address,
      error,
      jitter,
      isGivenUp: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('dial/ended' as const), at, attempt }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('dial/abandoned' as const), at, attempt, peer }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('connection/opened' as const),
      at,
      peer,
      direction: fc.constant('inbound' as const),
      address: fc.constant(null),
      attempt: fc.constant(null),
      cause: fc.constant('inbound' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('connection/opened' as const),
      at,
      peer,
      direction: fc.constant('outbound' as const),
      address: fc.option(address),
      attempt: fc.option(attempt),
      cause: fc.constantFrom('foreign' as const, 'schedule' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('connection/closeRequested' as const),
      at,
      peer,
      reason: fc.constantFrom(...REASONS),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('connection/closing' as const),
      at,
      peer,
      reason: fc.constantFrom(...REASONS),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('connection/closed' as const), at, peer, jitter }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('connection/pinged' as const),
      at,
      peer,
      rttMs: fc.nat(500),
      skewMs: fc.nat(500),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constantFrom(
        'connection/transferred' as const,
        'connection/caughtUp' as const,
        'connection/stalled' as const,
      ),
      at,
      peer,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constantFrom('connections/started' as const, 'environment/online' as const, 'clock/advanced' as const),
      at,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constantFrom(
        'connections/stopped' as const,
        'initialSync/stopped' as const,
        'environment/offline' as const,
      ),
      at,
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('initialSync/started' as const), at, peer: fc.option(peer) }) },
)

export const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('elapse' as const), ms: fc.constantFrom(...DURATIONS) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('wake' as const) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('settle' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('setBack' as const), ms: fc.constantFrom(...DURATIONS) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('outcome' as const),
      index: fc.nat(7),
      how: fc.constantFrom(
        'connect' as const,
        'connect' as const,
        'fail' as const,
        'fail' as const,
        'abandon' as const,
      ),
      code: fc.constantFrom(...CODES),
      message: fc.constantFrom(...MESSAGES),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('end' as const), index: fc.nat(7) }) },
  {
    weight: 14,
    arbitrary: fc.record({
      do: fc.constant('action' as const),
      action,
      late: fc.constantFrom(0, 0, 0, 1, 10 * SECOND, HOUR),
    }),
  },
)

/** An action of a step, told in time. */
const told = (what: Action): Step => ({ do: 'action', action: what, late: 0 })
const outcomeOfFirst = (how: 'connect' | 'fail'): Step => ({
  do: 'outcome',
  index: 0,
  how,
  code: 'ECONNREFUSED',
  message: 'failed',
})

/** Full classes, in which somebody may make room, and some who wait for it: by chance alone that is rare. */
const fullClasses: readonly Step[] = [
  { do: 'settle' },
  ...Array.from({ length: 3 }, () => outcomeOfFirst('connect')),
  ...Array.from({ length: 4 }, () => outcomeOfFirst('fail')),
  { do: 'settle' },
  ...NAMES.map((each) => told({ type: 'connection/caughtUp', at: 0, peer: idOf(each) })),
  { do: 'elapse', ms: 30 * SECOND },
  told({
    type: 'routes/added',
    at: 0,
    reports: ['erin', 'dave', 'dave/onion', 'alice/net2', 'bob', 'carol/lan'].map((each) => report(each)),
  }),
  { do: 'settle' },
]

/** A world that has something to decide from the first step on. */
export const steps = fc
  .tuple(fc.constantFrom([], fullClasses), fc.array(step, { minLength: 1, maxLength: 60 }))
  .map(([opening, rest]): readonly Step[] => [
    told({ type: 'connections/started', at: 0 }),
    told({
      type: 'routes/added',
      at: 0,
      reports: ['alice', 'bob/lan', 'carol/onion', 'dave/net-h'].map((each) => report(each)),
    }),
    ...opening,
    ...rest,
  ])

/** Options under which the rules collide: few slots, few sockets, a lifetime, a small table. */
export const narrowOptions = fc.record({
  maxByType: fc.constantFrom<{ readonly [type: string]: number }>(
    { net: 1, local: 1, onion: 1 },
    { net: 2, local: 5, onion: 0, ws: 1 },
    { net: 3, local: 5, onion: 3, rtc: 3, ws: 0, wss: 0, bt: 1, tunnel: 1 },
  ),
  maxDialing: fc.constantFrom(1, 2, 8),
  lifetimeMs: fc.constantFrom(null, null, MINUTE),
  maxInbound: fc.constantFrom(null, null, 1),
  maxRoutes: fc.constantFrom(6, 100_000),
  maxRoutesPerPeer: fc.constantFrom(2, 16),
})

/** Does one step; `settle` is what the test does at each planning. */
export function perform(world: World, each: Step, settle: (world: World) => void): void {
  switch (each.do) {
    case 'elapse':
      world.now += each.ms
      return
    case 'wake': {
      const wakeAt = world.wakeAt()
      if (wakeAt !== null) world.now = wakeAt
      return settle(world)
    }
    case 'settle':
      return settle(world)
    case 'setBack':
      world.now -= each.ms
      world.dispatch({ type: 'clock/setBack' })
      return
    case 'outcome': {
      const inFlight = world.inFlight()
      const chosen = inFlight[each.index % Math.max(1, inFlight.length)]
      if (chosen === undefined) return
      if (each.how === 'connect') world.connect(chosen)
      else if (each.how === 'fail') world.fail(chosen, { code: each.code, message: each.message })
      else world.abandon(chosen)
      return
    }
    case 'end': {
      const connected = world.connected()
      const chosen = connected[each.index % Math.max(1, connected.length)]
      if (chosen !== undefined) world.close(chosen)
      return
    }
    case 'action':
      // An event that is told late carries its own, older time.
      world.dispatchAt(each.action, world.now - each.late)
      return
  }
}

/** A step on one line, with short names, for a counterexample. */
export function showStep(each: Step): string {
  return JSON.stringify(each, (key, value: unknown) => {
    if (key === 'route') return labelOf((value as { address: string }).address)
    return typeof value === 'string' ? labelOf(nameOf(value)) : value
  })
}
