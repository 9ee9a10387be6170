/**
 * Opens and closes: turns dials into calls of `connectToPeer` and their outcomes into actions. Whatever the function does
 * (calls back, returns a promise, both, twice, never, throws), an attempt has exactly one outcome. The state is the judge: a
 * success for an attempt that the state no longer holds came late, and is closed.
 */
import { DialTimeoutError, dialTimeoutInfo, type ErrorInfo, errorInfo } from '../core/errors'
import { attemptsOf } from '../core/table'
import type { Address, Close, CloseReason, Dial, DialCause, Direction, FeedId, GiveUp, Plan } from '../core/types'
import type { Clock } from './clock'
import type { Random } from './random'
import type { Store } from './store'

/** Dials. May call back or return a promise with the connection, e.g. a muxrpc; `sbot.connect` is one. */
export type ConnectToPeer = (
  address: Address,
  cb: (error?: unknown, connection?: unknown) => void,
) => PromiseLike<unknown> | unknown

/** A connection as the manager sees it: something that can be closed and says when it is. All of it is optional. */
export interface Closable {
  close?: (abort: true, cb: (error?: unknown) => void) => unknown
  on?: (event: string, listener: () => void) => unknown
  closed?: boolean
}

interface Live {
  readonly connection: Closable | null
  readonly direction: Direction
  readonly since: number
}

/** A second connection of a peer, beside one that is up: which of the two the other side means shows in a moment. */
interface Rival {
  readonly connection: Closable
  readonly direction: Direction
  readonly address: Address | null
  readonly timer: unknown
}

/** What is said of a failed dial. */
export interface Failing {
  readonly info: ErrorInfo
  /** As it came, or made now: an error of our own takes a stack with it, and mostly nobody asks for one. */
  readonly error: () => unknown
}

interface InFlight {
  readonly dial: Dial
  readonly startedAt: number
}

export interface Connector {
  /** Of the dials, at least one and all that somebody asked for, and no further ones once `isOver`: false if some are left. */
  begin(plan: Plan, isOver: () => boolean): boolean
  /** A connection that we did not dial: inbound, or opened by another module. */
  accept(peer: FeedId, connection: unknown, direction: Direction, address: Address | null): void
  /** The other side has gone. */
  gone(peer: FeedId): void
  /** The live connection of a peer, as `connectToPeer` gave it. */
  get(peer: FeedId): unknown
  has(peer: FeedId): boolean
  isDialing(peer: FeedId): boolean
  /** Closes everything at once, without waiting for the plan. */
  close(): void
}

/** Two connections of unlike direction within this time were dialed at once; later ones replace what the other side lost. */
const CROSSING_MS = 10_000
/**
 * When routes of one peer race, more than one may get through, and the side that dialed hangs up on the later ones. This side
 * sees them in another order, so it waits for that this long: if both took the second for the better, none would be left.
 */
const RIVAL_MS = 3_000
/** No transport is believed to call back after this; its attempt is no longer remembered. */
const STALE_MS = 3_600_000

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

function asClosable(value: unknown): Closable | null {
  return (typeof value === 'object' || typeof value === 'function') && value !== null ? (value as Closable) : null
}

/** How long the dial of an invite may take; the table of dial timeouts is for routes. */
const GUEST_TIMEOUT_MS = 30_000

/** One dial that is nobody's route: resolves with the connection, rejects with what went wrong, closes what comes late. */
export function dialOnce(connectToPeer: ConnectToPeer, address: Address, clock: Clock): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let isOver = false
    const settle = (error: unknown, connection: unknown): void => {
      if (isOver) {
        asClosable(connection)?.close?.(true, () => {})
        return
      }
      isOver = true
      clock.clearTimeout(timer)
      if (error || !connection) reject(error || new Error('connectToPeer gave no connection'))
      else resolve(connection)
    }
    const timer = clock.setTimeout(
      () => settle(new DialTimeoutError(address, GUEST_TIMEOUT_MS), undefined),
      GUEST_TIMEOUT_MS,
    )
    try {
      const returned = connectToPeer(address, settle)
      if (isThenable(returned))
        returned.then(
          (connection) => connection && settle(null, connection),
          (error) => settle(error || new Error('connectToPeer was rejected without a reason'), undefined),
        )
    } catch (error) {
      settle(error || new Error('connectToPeer threw nothing'), undefined)
    }
  })
}

export function createConnector(options: {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly connectToPeer: ConnectToPeer
  /** Whether it can call back at all; if not, a promise of nothing is a success. */
  readonly takesCallback: boolean
  /** Hangs up on a peer whose connection the manager was only told of. */
  readonly disconnectFromPeer?: ((peer: FeedId) => unknown) | undefined
  /** Before a failure becomes state. */
  readonly onFailing: (peer: FeedId, address: Address, failure: Failing) => void
  /** After it has. */
  readonly onFailure: (peer: FeedId, address: Address, failure: Failing) => void
}): Connector {
  const { store, clock, random, connectToPeer } = options
  const live = new Map<FeedId, Live>()
  const inFlight = new Map<number, InFlight>()
  /** Of these, those during which an inbound connection of the same peer came. */
  const crossed = new Set<InFlight>()
  const rivals = new Map<FeedId, Rival>()
  let lastAttempt = 0
  let isClosed = false

  const isOpen = (id: FeedId): boolean => {
    const status = store.getState().peers.get(id)?.connection.status
    return status === 'connected' || status === 'closing'
  }

  /** Both ends keep the connection that the smaller feed id dialed. */
  const isOursKept = (peer: FeedId): boolean => {
    const { selfId } = store.getState().options
    return selfId !== null && selfId < peer
  }

  const hangUp = (connection: Closable | null, done: () => void): void => {
    try {
      if (!connection || typeof connection.close !== 'function') return done()
      const returned = connection.close(true, () => done())
      if (isThenable(returned)) returned.then(done, done)
    } catch {
      done()
    }
  }

  const ended = (peer: FeedId, entry: Live): void => {
    if (live.get(peer) !== entry) return
    live.delete(peer)
    store.dispatch({ type: 'connection/closed', at: clock.now(), peer, jitter: random.next() })
    const rival = takeRival(peer)
    if (rival) adopt(peer, rival.connection, rival.direction, rival.address, null, causeOf(rival.direction))
  }

  const causeOf = (direction: Direction): 'inbound' | 'foreign' => (direction === 'inbound' ? 'inbound' : 'foreign')

  const takeRival = (peer: FeedId): Rival | null => {
    const rival = rivals.get(peer)
    if (!rival) return null
    rivals.delete(peer)
    clock.clearTimeout(rival.timer)
    return rival
  }

  const dropRival = (peer: FeedId): void => {
    const rival = takeRival(peer)
    if (rival) hangUp(rival.connection, () => {})
  }

  /** Takes over when the one that is up ends, or in the end: whoever calls again has most likely lost the first. */
  const addRival = (peer: FeedId, connection: Closable, direction: Direction, address: Address | null): void => {
    dropRival(peer)
    const timer = clock.setTimeout(() => {
      if (rivals.get(peer) !== rival) return
      rivals.delete(peer)
      adopt(peer, connection, direction, address, null, causeOf(direction))
    }, RIVAL_MS)
    const rival: Rival = { connection, direction, address, timer }
    rivals.set(peer, rival)
    watch(connection, () => {
      if (rivals.get(peer) === rival) takeRival(peer)
    })
  }

  const adopt = (
    peer: FeedId,
    connection: Closable | null,
    direction: Direction,
    address: Address | null,
    attempt: number | null,
    cause: DialCause | 'inbound' | 'foreign',
  ): void => {
    const previous = live.get(peer)
    const entry: Live = { connection, direction, since: clock.now() }
    live.set(peer, entry)
    dropRival(peer)
    if (previous) hangUp(previous.connection, () => {})
    store.dispatch({ type: 'connection/opened', at: clock.now(), peer, direction, address, attempt, cause })
    watch(connection, () => ended(peer, entry))
  }

  /** Calls `done` when the connection is closed, at once if it is already. */
  const watch = (connection: Closable | null, done: () => void): void => {
    let isOver = false
    try {
      isOver = connection?.closed === true
      if (!isOver && typeof connection?.on === 'function') connection.on('closed', done)
    } catch {
      // An object that cannot be asked: it is taken for open until somebody says that it has gone.
    }
    if (isOver) done()
  }

  /** Whether the state still holds an attempt. */
  const isAwaitedBy = (peer: FeedId, id: number): boolean => {
    const present = store.getState().peers.get(peer)
    return present !== undefined && attemptsOf(present.connection).some((attempt) => attempt.id === id)
  }

  const succeeded = (id: number, entry: InFlight, connection: Closable | null): void => {
    const { peer, address, cause } = entry.dial
    const state = store.getState()
    const present = state.peers.get(peer)
    const isAwaited = isAwaitedBy(peer, id)
    // Late, but the other side keeps it too: by the rule for dials of both sides at once, unless another of ours won already.
    const isCrossing = crossed.delete(entry) && isOursKept(peer) && live.get(peer)?.direction !== 'outbound'
    const isWanted = isAwaited || (isCrossing && present?.priority !== 'BANNED')
    if (isWanted && !isClosed && (isAwaited || state.mode === 'on' || cause === 'request')) {
      adopt(peer, connection, 'outbound', address, id, cause)
    } else {
      hangUp(connection, () => {})
    }
    if (!isAwaited) store.dispatch({ type: 'dial/ended', at: clock.now(), attempt: id })
  }

  const settle = (id: number, error: unknown, connection: unknown): void => {
    const entry = inFlight.get(id)
    if (!entry) {
      // A second outcome: the first one counts, and what else was opened is closed.
      const extra = asClosable(connection)
      if (extra && ![...live.values()].some((each) => each.connection === extra)) hangUp(extra, () => {})
      return
    }
    inFlight.delete(id)
    if (!error && connection !== false) return succeeded(id, entry, asClosable(connection))
    crossed.delete(entry)
    hangUp(asClosable(connection), () => {})
    const { peer, address } = entry.dial
    if (!isAwaitedBy(peer, id)) return store.dispatch({ type: 'dial/ended', at: clock.now(), attempt: id })
    const cause = error || new Error('connectToPeer gave no connection')
    fail(id, peer, address, { info: errorInfo(cause), error: () => cause }, false)
  }

  const fail = (attempt: number, peer: FeedId, address: Address, failure: Failing, isGivenUp: boolean): void => {
    options.onFailing(peer, address, failure)
    store.dispatch({
      type: 'dial/failed',
      at: clock.now(),
      attempt,
      peer,
      address,
      error: failure.info,
      jitter: random.next(),
      isGivenUp,
    })
    options.onFailure(peer, address, failure)
  }

  /** Whether nothing has happened since the plan was made that speaks against a dial of it: listeners may do anything. */
  const isStillWanted = ({ peer, address, cause }: Dial): boolean => {
    const { peers, routes, requests, mode, initialSync } = store.getState()
    const present = peers.get(peer)
    if (isClosed || !present || !routes.has(address) || present.priority === 'BANNED') return false
    if (present.connection.status !== 'idle' && present.connection.status !== 'dialing') return false
    if (cause === 'request') return requests.has(peer)
    return cause === 'initialSync' ? initialSync !== null : mode === 'on' && initialSync === null
  }

  const forgetStale = (): void => {
    const before = clock.now() - STALE_MS
    for (const [id, entry] of inFlight) {
      if (entry.startedAt > before) return
      if (isAwaitedBy(entry.dial.peer, id)) continue
      inFlight.delete(id)
      crossed.delete(entry)
    }
  }

  const dial = (wanted: Dial): void => {
    if (!isStillWanted(wanted)) return
    forgetStale()
    const id = ++lastAttempt
    const { peer, address, cause } = wanted
    store.dispatch({ type: 'dial/started', at: clock.now(), attempt: id, peer, address, cause })
    if (!isAwaitedBy(peer, id)) return store.dispatch({ type: 'dial/ended', at: clock.now(), attempt: id })
    inFlight.set(id, { dial: wanted, startedAt: clock.now() })
    try {
      const returned = connectToPeer(address, (error, connection) => settle(id, error, connection))
      if (!isThenable(returned)) return
      returned.then(
        (connection) => {
          // An async function that also takes a callback resolves with nothing, maybe before it has dialed.
          const isVoid = connection === undefined || connection === null
          if (!isVoid || !options.takesCallback) settle(id, null, connection)
        },
        (error) => settle(id, error || new Error('connectToPeer was rejected without a reason'), undefined),
      )
    } catch (error) {
      settle(id, error || new Error('connectToPeer threw nothing'), undefined)
    }
  }

  const giveUp = ({ attempt, peer, address, timeoutMs }: GiveUp): void => {
    const info = dialTimeoutInfo(address, timeoutMs)
    fail(attempt, peer, address, { info, error: () => new DialTimeoutError(address, timeoutMs) }, true)
  }

  const close = (peer: FeedId, reason: CloseReason): void => {
    store.dispatch({ type: 'connection/closing', at: clock.now(), peer, reason })
    dropRival(peer)
    const entry = live.get(peer)
    if (entry?.connection) return hangUp(entry.connection, () => ended(peer, entry))
    try {
      const returned = options.disconnectFromPeer?.(peer)
      if (isThenable(returned)) returned.then(undefined, () => {})
    } catch {
      // Told to hang up and could not: what matters here is that we no longer count on the connection.
    }
    if (entry) return ended(peer, entry)
    store.dispatch({ type: 'connection/closed', at: clock.now(), peer, jitter: random.next() })
  }

  // Whoever hangs up on a peer, or gives up a route, does not want the other one of two crossing dials either.
  const unsubscribe = store.subscribe((action) => {
    for (const entry of crossed.size > 0 ? crossed : []) {
      const { peer, address } = entry.dial
      const isOver =
        action.type === 'connections/stopped' ||
        ((action.type === 'connection/closing' || action.type === 'peer/held') && action.peer === peer) ||
        (action.type === 'route/removed' && action.address === address)
      if (isOver) crossed.delete(entry)
    }
  })

  return {
    begin: (plan, isOver) => {
      for (const each of plan.giveUps) giveUp(each)
      for (const each of plan.closes as readonly Close[]) close(each.peer, each.reason)
      for (const peer of plan.lost) {
        const entry = live.get(peer)
        if (entry) ended(peer, entry)
        else store.dispatch({ type: 'connection/closed', at: clock.now(), peer, jitter: random.next() })
      }
      if (plan.deferrals.length > 0)
        store.dispatch({ type: 'routes/deferred', at: clock.now(), deferrals: plan.deferrals })
      let isWhole = true
      for (const [i, each] of plan.dials.entries()) {
        // Whoever asked for a dial waits for it.
        if (i === 0 || each.cause === 'request' || !isOver()) dial(each)
        else isWhole = false
      }
      return isWhole
    },
    accept: (peer, given, direction, address) => {
      const connection = asClosable(given)
      const present = live.get(peer)
      const isKnown = present?.connection === connection || rivals.get(peer)?.connection === connection
      if (isClosed || (connection !== null && isKnown)) return
      for (const entry of inFlight.values()) if (entry.dial.peer === peer && direction === 'inbound') crossed.add(entry)
      if (isOpen(peer)) {
        // Only told of it (no handle): the connection that we know about may well be the same one.
        if (connection === null) return
        const isCrossing =
          present !== undefined &&
          present.direction !== direction &&
          clock.now() - present.since < CROSSING_MS &&
          store.getState().options.selfId !== null
        if (isCrossing && (direction === 'outbound') !== isOursKept(peer)) return hangUp(connection, () => {})
        const isUp = store.getState().peers.get(peer)?.connection.status === 'connected' && present?.connection
        if (!isCrossing && isUp) return addRival(peer, connection, direction, address)
      }
      adopt(peer, connection, direction, address, null, causeOf(direction))
    },
    gone: (peer) => {
      const entry = live.get(peer)
      if (entry) ended(peer, entry)
      else if (isOpen(peer)) store.dispatch({ type: 'connection/closed', at: clock.now(), peer, jitter: random.next() })
    },
    get: (peer) => live.get(peer)?.connection ?? null,
    has: (peer) => live.has(peer),
    isDialing: (peer) => [...inFlight.values()].some((entry) => entry.dial.peer === peer),
    close: () => {
      isClosed = true
      unsubscribe()
      for (const peer of [...rivals.keys()]) dropRival(peer)
      for (const [peer, entry] of [...live]) {
        hangUp(entry.connection, () => {})
        ended(peer, entry)
      }
    },
  }
}
