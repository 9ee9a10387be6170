/**
 * A network in memory for tests: nodes with feed ids and addresses, dials that fail in every way that is known from real
 * ones, and connections that look like a muxrpc from both ends. It moves on the clock and draws from the random source that
 * it is given, so a test that brings a virtual clock and a seed repeats to the millisecond.
 *
 * It knows nothing of the manager: `node.connectToPeer` is what `createManager` takes, `node.onInbound` is where the other
 * side of a dial shows up. What happens on it can be heard through `onEvent`, which is how checkers watch a manager from the
 * outside.
 */
import { hostKey, parseAddress } from './core/address'
import type { Address, Direction, EpochMs, FeedId, ParsedRoute } from './core/types'
import type { Clock } from './shell/clock'
import type { ConnectToPeer } from './shell/connector'
import type { Random } from './shell/random'

/** Lower and upper bound, in ms. */
export type LatencyRange = readonly [number, number]

export interface SimulatedNetworkOptions {
  /** Time for everything on the network: usually a `virtualClock()`. */
  readonly clock: Clock
  /** Chance for everything on the network: usually a `seededRandom(seed)`. */
  readonly random: Random
  /** One way between two nodes, in ms; of a range each pair of nodes draws its own once. Default 10 to 80. */
  readonly latencyMs?: number | LatencyRange
  /** How long an end takes to close once it was told to. 0: `close` calls back before it returns. Default 1. */
  readonly closeMs?: number
  /** An end that gets through to nobody is closed between once and twice this time later. Default null: it stays half open. */
  readonly keepAliveMs?: number | null
}

/**
 * What goes wrong with a dial. Times are in ms and count from the dial, or from the opening where the connection came about.
 *
 * - `refused`, `reset`: ECONNREFUSED, ECONNRESET after a round trip
 * - `error`: any other failure, by its code and message, e.g. ETIMEDOUT after two minutes
 * - `silent`: no answer, ever
 * - `late`: succeeds, but only after `afterMs`, when whoever dialed has most likely given up
 * - `hangsUp`: is accepted, and the other side closes after `afterMs`
 * - `goesSilent`: is accepted; after `afterMs` nothing comes through any more and neither end is told
 * - `halfOpen`: the dialing end is open, the other side never heard of it
 * - `neverCloses`: the dialing end never confirms that it was closed
 * - `throws`: `connectToPeer` throws
 * - `rejects`: `connectToPeer` returns a promise that is rejected, and does not call back
 * - `promise`: succeeds by the returned promise and does not call back
 * - `both`: succeeds by the promise and by calling back, with the same connection
 * - `twice`: succeeds and calls back again, with the same connection, another one, or an error
 */
export type DialFault =
  | { readonly kind: 'refused' | 'reset' | 'silent' | 'halfOpen' | 'neverCloses' }
  | { readonly kind: 'throws' | 'rejects' | 'promise' | 'both' }
  | { readonly kind: 'error'; readonly code: string; readonly message?: string; readonly afterMs?: number }
  | { readonly kind: 'late' | 'hangsUp' | 'goesSilent'; readonly afterMs: number }
  | { readonly kind: 'twice'; readonly second: 'same' | 'other' | 'error' }

/** Which dials a fault applies to; what is left out applies to all. */
export interface FaultSelector {
  readonly from?: FeedId
  readonly to?: FeedId
  readonly address?: Address
}

/**
 * A node's link to the outside. Addresses of private, link-local and loopback hosts do without it.
 *
 * - `up`: works
 * - `unreachable`: the machine knows that there is no way out: dials fail at once with ENETUNREACH
 * - `noDns`: host names are not resolved (EAI_AGAIN), numbers work
 * - `silent`: swallows everything
 */
export type LinkState = 'up' | 'unreachable' | 'noDns' | 'silent'

/** One end of a connection, in the shape of a muxrpc. */
export interface SimulatedConnection {
  /** The feed id at the other end. */
  readonly id: FeedId
  /** `outbound` at the end that dialed. */
  readonly direction: Direction
  /** The same number at both ends; counts the connections of the network. */
  readonly number: number
  /** The address that was dialed, at both ends. */
  readonly address: Address
  readonly closed: boolean
  /** Closes this end and tells the other one, if anything still comes through. `cb` once it is closed. */
  close(abort?: unknown, cb?: (error?: unknown) => void): void
  /** `closed` is the only event; it comes once. */
  on(event: string, listener: () => void): this
  removeListener(event: string, listener: () => void): this
  /** Resolves after a round trip if the other end is still there; else it stays pending, like a call on a dead socket. */
  ping(): Promise<void>
}

export interface SimulatedNode {
  readonly id: FeedId
  /** Where it listens. */
  readonly addresses: readonly Address[]
  readonly isOnline: boolean
  readonly isSuspended: boolean
  readonly link: LinkState
  /** Dials as this node: what a manager takes. Without a callback the outcome comes as a promise. */
  readonly connectToPeer: ConnectToPeer
  /** The open ends of this node, in the order in which they opened. */
  readonly connections: readonly SimulatedConnection[]
  /** Hears of each connection that somebody else dialed. Returns what ends it. */
  onInbound(handler: (connection: SimulatedConnection) => void): () => void
  /** Whether a caller is let in; the stack's `auth` hook. Everybody by default. */
  authorize(decide: (id: FeedId) => boolean): void
  listen(address: Address): void
  unlisten(address: Address): void
  /** Ends the node as a process ends: all its connections close, the other sides are told. `silently`: as a power cut. */
  goOffline(how?: { readonly silently?: boolean }): void
  goOnline(): void
  setLink(state: LinkState): void
  /** Nothing reaches the node and nothing is told to it before `resume`, where all that came meanwhile arrives in order. */
  suspend(): void
  resume(): void
}

/** What can be heard of a network. `at` is the time of the network's clock. */
export type NetworkEvent =
  | {
      readonly type: 'dialed'
      readonly at: EpochMs
      readonly attempt: number
      readonly from: FeedId
      /** The feed id in the address; null if the address has none. */
      readonly to: FeedId | null
      readonly address: string
    }
  /** An outcome was handed to whoever dialed; a second time for dials that have two. `connection`: the number, if one. */
  | {
      readonly type: 'answered'
      readonly at: EpochMs
      readonly attempt: number
      readonly from: FeedId
      readonly error: string | null
      readonly connection: number | null
    }
  /** An end came into being; it is handed out right after this. `attempt`: the dial that it came from. */
  | {
      readonly type: 'opened'
      readonly at: EpochMs
      readonly connection: number
      readonly attempt: number
      readonly end: FeedId
      readonly other: FeedId
      readonly direction: Direction
      readonly address: Address
    }
  /** `close` was called at an end, or the node itself went offline. */
  | {
      readonly type: 'closing' | 'closed'
      readonly at: EpochMs
      readonly connection: number
      readonly end: FeedId
      readonly other: FeedId
    }

export interface SimulatedNetwork {
  addNode(options: {
    readonly id: FeedId
    readonly addresses?: readonly Address[]
    /** Name of the local network that it is in; private addresses are reached within one only. Default `lan`. */
    readonly lan?: string
    readonly isOnline?: boolean
  }): SimulatedNode
  node(id: FeedId): SimulatedNode | undefined
  readonly nodes: readonly SimulatedNode[]
  /** Sets or, with null, takes back a fault. The one with the narrowest selector applies: address, then pair, then node. */
  setFault(selector: FaultSelector, fault: DialFault | null): void
  clearFaults(): void
  /** Nodes of different groups cannot reach each other any more; nodes in no group form one of their own. */
  partition(groups: readonly (readonly FeedId[])[]): void
  heal(): void
  onEvent(listener: (event: NetworkEvent) => void): () => void
}

/** Round trips of a handshake: the side that was dialed is done one way before the side that dialed. */
const LISTENER_DONE = 3
const DIALER_DONE = 4

interface Node {
  readonly id: FeedId
  readonly addresses: Set<Address>
  readonly lan: string
  isOnline: boolean
  isSuspended: boolean
  link: LinkState
  group: number
  readonly mailbox: (() => void)[]
  readonly handlers: Set<(connection: SimulatedConnection) => void>
  authorize: (id: FeedId) => boolean
  readonly ends: Set<End>
}

interface Wire {
  readonly number: number
  readonly attempt: number
  readonly address: Address
  readonly isLocal: boolean
  readonly portal: Node | null
  readonly latencyMs: number
  isDead: boolean
}

interface End {
  readonly node: Node
  readonly wire: Wire
  readonly direction: Direction
  other: End | null
  readonly handle: SimulatedConnection
  isOpened: boolean
  isClosing: boolean
  isClosed: boolean
  readonly listeners: Set<() => void>
  readonly callbacks: ((error?: unknown) => void)[]
  /** Set by the fault of that name. */
  neverCloses: boolean
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** A feed id that nobody has the key of, drawn from `random`. */
export function simulatedFeedId(random: Random): FeedId {
  const draw = (max: number): number => Math.floor(random.next() * max)
  let text = ''
  for (let at = 0; at < 42; at++) text += BASE64[draw(64)]
  // 32 bytes leave four bits for the last character; canonical base64 has zeros in the other two.
  return `@${text}${BASE64[4 * draw(16)]}=.ed25519`
}

function failure(code: string | null, message: string): Error {
  return Object.assign(new Error(message), code === null ? {} : { code })
}

/** See the file's head. Nothing on it sleeps: time passes when the clock's owner says so. */
export function simulatedNetwork(options: SimulatedNetworkOptions): SimulatedNetwork {
  const { clock, random, latencyMs = [10, 80], closeMs = 1, keepAliveMs = null } = options
  const nodes = new Map<FeedId, Node>()
  const handles = new Map<FeedId, SimulatedNode>()
  /** By the address without its key. */
  const listening = new Map<string, Node>()
  const hosts = new Map<string, number>()
  const faults = new Map<string, DialFault>()
  const latencies = new Map<string, number>()
  const listeners = new Set<(event: NetworkEvent) => void>()
  const parsed = new Map<Address, ParsedRoute | null>()
  let lastAttempt = 0
  let lastConnection = 0

  const emit = (event: NetworkEvent): void => {
    for (const listener of [...listeners]) listener(event)
  }

  /** Hands something to a node; while it is suspended it waits in its mailbox. */
  const deliver = (node: Node, fn: () => void): void => {
    if (node.isSuspended) node.mailbox.push(fn)
    else fn()
  }

  const after = (ms: number, fn: () => void): void => {
    clock.setTimeout(fn, ms)
  }

  const parse = (address: string): ParsedRoute | null => {
    const known = parsed.get(address)
    if (known !== undefined) return known
    let route: ParsedRoute | null = null
    try {
      route = parseAddress(address)[0] ?? null
    } catch {
      // No address at all: the dial fails, as it would in a stack.
    }
    parsed.set(address, route)
    return route
  }

  const isLocal = (route: ParsedRoute): boolean =>
    route.protocol === 'unix' ||
    route.protocol === 'bt' ||
    route.scope === 'private' ||
    route.scope === 'linkLocal' ||
    route.scope === 'loopback'

  const place = (address: Address): string => address.slice(0, address.lastIndexOf('~'))

  const latencyBetween = (a: FeedId, b: FeedId): number => {
    if (typeof latencyMs === 'number') return latencyMs
    const key = a < b ? `${a} ${b}` : `${b} ${a}`
    const known = latencies.get(key)
    if (known !== undefined) return known
    const drawn = Math.round(latencyMs[0] + random.next() * (latencyMs[1] - latencyMs[0]))
    latencies.set(key, drawn)
    return drawn
  }

  /** Whether a packet gets from one node to another. */
  const isOpen = (a: Node, b: Node, local: boolean): boolean => {
    if (!a.isOnline || !b.isOnline || a.group !== b.group) return false
    if (local) return a.lan === b.lan
    return a.link !== 'unreachable' && a.link !== 'silent' && b.link !== 'unreachable' && b.link !== 'silent'
  }

  const isPathOpen = (a: Node, b: Node, local: boolean, portal: Node | null): boolean =>
    portal === null ? isOpen(a, b, local) : isOpen(a, portal, false) && isOpen(portal, b, false)

  // ---- connections --------------------------------------------------------------------------------------------------

  const finish = (end: End): void => {
    if (end.isClosed) return
    end.isClosed = true
    end.isClosing = true
    end.node.ends.delete(end)
    if (!end.isOpened) return
    emit({ type: 'closed', at: clock.now(), connection: end.wire.number, end: end.node.id, other: end.handle.id })
    for (const listener of [...end.listeners]) listener()
    end.listeners.clear()
    for (const cb of end.callbacks.splice(0)) cb()
  }

  /** Tells the other end that this one is gone. What is sent into a broken path is lost, and the other end stays half open. */
  const tellOther = (end: End): void => {
    const { other, wire } = end
    if (!other || other.isClosed || wire.isDead || !isPathOpen(end.node, other.node, wire.isLocal, wire.portal)) return
    // The side that dialed hears that it is in before it hears that the other one has hung up.
    after(wire.latencyMs + (other.isOpened ? 0 : 1), () => deliver(other.node, () => finish(other)))
  }

  const closeEnd = (end: End): void => {
    if (end.isClosing) return
    end.isClosing = true
    emit({ type: 'closing', at: clock.now(), connection: end.wire.number, end: end.node.id, other: end.handle.id })
    tellOther(end)
    if (end.neverCloses) return
    if (closeMs === 0) return finish(end)
    after(closeMs, () => deliver(end.node, () => finish(end)))
  }

  const isThere = (end: End): boolean => {
    const { other, wire } = end
    if (!other || end.isClosed || other.isClosing || other.node.isSuspended || wire.isDead) return false
    return isPathOpen(end.node, other.node, wire.isLocal, wire.portal)
  }

  const makeEnd = (node: Node, otherId: FeedId, wire: Wire, direction: Direction): End => {
    const handle: SimulatedConnection = {
      id: otherId,
      direction,
      number: wire.number,
      address: wire.address,
      get closed() {
        return end.isClosed
      },
      close: (abort, cb) => {
        const callback = typeof abort === 'function' ? (abort as (error?: unknown) => void) : cb
        if (end.isClosed) return callback?.()
        if (callback) end.callbacks.push(callback)
        closeEnd(end)
      },
      on: (event, listener) => {
        if (event === 'closed' && !end.isClosed) end.listeners.add(listener)
        return handle
      },
      removeListener: (event, listener) => {
        if (event === 'closed') end.listeners.delete(listener)
        return handle
      },
      ping: () =>
        new Promise((resolve) => {
          after(wire.latencyMs, () => {
            if (!isThere(end)) return
            after(wire.latencyMs, () => {
              if (isThere(end)) deliver(node, () => resolve())
            })
          })
        }),
    }
    const end: End = {
      node,
      wire,
      direction,
      other: null,
      handle,
      isOpened: false,
      isClosing: false,
      isClosed: false,
      listeners: new Set(),
      callbacks: [],
      neverCloses: false,
    }
    return end
  }

  const open = (end: End): void => {
    const { node, wire, direction } = end
    node.ends.add(end)
    end.isOpened = true
    const { number: connection, attempt, address } = wire
    const other = end.handle.id
    emit({ type: 'opened', at: clock.now(), connection, attempt, end: node.id, other, direction, address })
    if (keepAliveMs !== null) keepAlive(end, keepAliveMs, true)
  }

  /** What keep-alive packets do for a socket: two in a row without an answer end it. */
  const keepAlive = (end: End, everyMs: number, wasThere: boolean): void => {
    after(everyMs, () => {
      if (end.isClosed) return
      const isAnswered = end.node.isSuspended || isThere(end)
      if (isAnswered || wasThere) return keepAlive(end, everyMs, isAnswered)
      end.neverCloses = false
      deliver(end.node, () => finish(end))
    })
  }

  // ---- dials --------------------------------------------------------------------------------------------------------

  const faultKey = (from: string | undefined, to: string | undefined, address: string | undefined): string =>
    `${from ?? '*'} ${to ?? '*'} ${address ?? '*'}`

  const faultOf = (from: FeedId, to: FeedId, address: Address): DialFault | null =>
    faults.get(faultKey(from, undefined, address)) ??
    faults.get(faultKey(undefined, undefined, address)) ??
    faults.get(faultKey(from, to, undefined)) ??
    faults.get(faultKey(undefined, to, undefined)) ??
    faults.get(faultKey(from, undefined, undefined)) ??
    null

  /** Why a dial fails before it reaches anybody; `silent` if nothing is heard; null if it gets through. */
  const obstacle = (
    from: Node,
    route: ParsedRoute,
    fault: DialFault | null,
  ): { readonly afterMs: number; readonly error: Error } | 'silent' | null => {
    const local = isLocal(route)
    const { host } = route
    if (from.isOnline && from.link !== 'up' && from.link !== 'noDns' && route.protocol === 'onion')
      // The proxy runs on the node itself, so it answers whether or not there is a link.
      return { afterMs: 1000, error: failure(null, 'Socks5 proxy rejected connection - HostUnreachable') }
    if (!from.isOnline || (!local && from.link === 'unreachable'))
      return { afterMs: 1, error: failure('ENETUNREACH', `connect ENETUNREACH ${host ?? route.address}`) }
    // Tor resolves names at the far end.
    if (!local && from.link === 'noDns' && route.scope === 'name' && route.protocol !== 'onion')
      return { afterMs: 5, error: failure('EAI_AGAIN', `getaddrinfo EAI_AGAIN ${host}`) }
    if (!local && from.link === 'silent') return 'silent'
    const roundTrip = 2 * latencyBetween(from.id, route.peer)
    switch (fault?.kind) {
      case 'refused':
        return { afterMs: roundTrip, error: failure('ECONNREFUSED', `connect ECONNREFUSED ${hostKey(route)}`) }
      case 'reset':
        return { afterMs: roundTrip, error: failure('ECONNRESET', 'read ECONNRESET') }
      case 'error': {
        const error = failure(fault.code, fault.message ?? `connect ${fault.code}`)
        return { afterMs: fault.afterMs ?? roundTrip, error }
      }
      case 'rejects':
        return { afterMs: roundTrip, error: failure(null, 'the dial was rejected') }
      case 'silent':
        return 'silent'
    }
    const target = listening.get(place(route.address))
    if (!target) {
      if (route.portal !== null)
        return { afterMs: roundTrip, error: failure(null, 'the room does not know the target') }
      if (route.scope === 'name')
        return { afterMs: roundTrip, error: failure('ENOTFOUND', `getaddrinfo ENOTFOUND ${host}`) }
      if (host === null || !hosts.has(host)) return 'silent'
      return { afterMs: roundTrip, error: failure('ECONNREFUSED', `connect ECONNREFUSED ${hostKey(route)}`) }
    }
    const portal = portalOf(route)
    if (route.portal !== null && (!portal || !isOpen(from, portal, false)))
      return { afterMs: roundTrip, error: failure(null, `could not connect to room ${route.portal}`) }
    if (target.isSuspended || !isPathOpen(from, target, local, portal)) return 'silent'
    if (target.id !== route.peer || !target.authorize(from.id)) {
      // The words of secret-handshake, for a server with another key as for one that does not want us.
      const error = failure(null, 'shs.client: error when expecting server to accept challenge (phase 2)')
      return { afterMs: 2 * roundTrip, error }
    }
    return null
  }

  const portalOf = (route: ParsedRoute): Node | null =>
    route.portal === null ? null : (nodes.get(route.portal) ?? null)

  const shakeHands = (
    from: Node,
    route: ParsedRoute,
    fault: DialFault | null,
    attempt: number,
    answer: (error: Error | null, end: End | null) => void,
  ): void => {
    const latency = latencyBetween(from.id, route.peer)
    const local = isLocal(route)
    const portal = portalOf(route)
    const startsAfter = fault?.kind === 'late' ? Math.max(0, fault.afterMs - DIALER_DONE * latency) : 0
    after(startsAfter + LISTENER_DONE * latency, () => {
      const target = listening.get(place(route.address))
      // The path broke during the handshake: nothing is heard of it any more.
      if (!target || target.isSuspended || !isPathOpen(from, target, local, portal)) return
      const wire: Wire = {
        number: ++lastConnection,
        attempt,
        address: route.address,
        isLocal: local,
        portal,
        latencyMs: latency,
        isDead: fault?.kind === 'halfOpen',
      }
      const far = makeEnd(target, from.id, wire, 'inbound')
      const near = makeEnd(from, target.id, wire, 'outbound')
      far.other = near
      near.other = far
      near.neverCloses = fault?.kind === 'neverCloses'
      if (fault?.kind !== 'halfOpen')
        deliver(target, () => {
          if (far.isClosed || !target.isOnline) return
          open(far)
          for (const handler of [...target.handlers]) handler(far.handle)
        })
      after(latency, () => {
        if (!isPathOpen(from, target, local, portal)) return
        deliver(from, () => {
          if (near.isClosed || !from.isOnline) return
          open(near)
          answer(null, near)
          if (fault?.kind === 'hangsUp') after(fault.afterMs, () => closeEnd(far))
          if (fault?.kind === 'goesSilent')
            after(fault.afterMs, () => {
              wire.isDead = true
            })
        })
      })
    })
  }

  const dial = (from: Node, address: string, cb: ((error?: unknown, connection?: unknown) => void) | null): unknown => {
    const attempt = ++lastAttempt
    const route = parse(address)
    emit({ type: 'dialed', at: clock.now(), attempt, from: from.id, to: route?.peer ?? null, address })
    const fault = route && faultOf(from.id, route.peer, route.address)
    const answered = (error: Error | null, connection: number | null): void => {
      const text = error && (((error as { code?: string }).code ?? error.message) || 'failed')
      emit({ type: 'answered', at: clock.now(), attempt, from: from.id, error: text, connection })
    }
    if (fault?.kind === 'throws') {
      const error = failure(null, 'connectToPeer threw')
      answered(error, null)
      throw error
    }
    const returnsPromise =
      cb === null || fault?.kind === 'promise' || fault?.kind === 'both' || fault?.kind === 'rejects'
    const callsBack = cb !== null && fault?.kind !== 'promise' && fault?.kind !== 'rejects'
    let resolve: (connection: unknown) => void = () => {}
    let reject: (error: unknown) => void = () => {}
    const promise = returnsPromise
      ? new Promise<unknown>((fulfil, refuse) => {
          resolve = fulfil
          reject = refuse
        })
      : undefined
    const answer = (error: Error | null, end: End | null): void => {
      answered(error, end ? end.wire.number : null)
      if (error) reject(error)
      else resolve(end?.handle)
      if (callsBack) cb?.(error, end?.handle)
    }
    const fail = (afterMs: number, error: Error): void => after(afterMs, () => deliver(from, () => answer(error, null)))
    if (!route) {
      fail(0, failure(null, `could not connect to:${address}`))
      return promise
    }
    const obstructed = obstacle(from, route, fault)
    if (obstructed === 'silent') return promise
    if (obstructed) {
      fail(obstructed.afterMs, obstructed.error)
      return promise
    }
    shakeHands(from, route, fault, attempt, (error, end) => {
      answer(error, end)
      if (fault?.kind !== 'twice') return
      if (fault.second === 'same') after(1, () => deliver(from, () => answer(null, end)))
      if (fault.second === 'error')
        after(1, () => deliver(from, () => answer(failure(null, 'called back a second time'), null)))
      if (fault.second === 'other') shakeHands(from, route, null, attempt, answer)
    })
    return promise
  }

  // ---- nodes --------------------------------------------------------------------------------------------------------

  const listen = (node: Node, address: Address): void => {
    const route = parse(address)
    if (!route) throw new Error(`simulatedNetwork: ${address} is not an address`)
    node.addresses.add(route.address)
    listening.set(place(route.address), node)
    if (route.host !== null) hosts.set(route.host, (hosts.get(route.host) ?? 0) + 1)
  }

  const unlisten = (node: Node, address: Address): void => {
    const route = parse(address)
    if (!route || !node.addresses.delete(route.address)) return
    listening.delete(place(route.address))
    if (route.host === null) return
    const count = (hosts.get(route.host) ?? 1) - 1
    if (count > 0) hosts.set(route.host, count)
    else hosts.delete(route.host)
  }

  const goOffline = (node: Node, silently: boolean): void => {
    if (!node.isOnline) return
    for (const end of [...node.ends]) {
      if (!silently && !end.isClosing) tellOther(end)
      end.neverCloses = false
      if (!end.isClosing) {
        end.isClosing = true
        emit({ type: 'closing', at: clock.now(), connection: end.wire.number, end: node.id, other: end.handle.id })
      }
    }
    node.isOnline = false
    for (const end of [...node.ends]) finish(end)
    node.mailbox.length = 0
  }

  const handleOf = (node: Node): SimulatedNode => ({
    id: node.id,
    get addresses() {
      return [...node.addresses]
    },
    get isOnline() {
      return node.isOnline
    },
    get isSuspended() {
      return node.isSuspended
    },
    get link() {
      return node.link
    },
    get connections() {
      return [...node.ends].map((end) => end.handle)
    },
    // Two named parameters: by the length of the function a manager sees that it may call back.
    connectToPeer: (address, cb) => dial(node, address, typeof cb === 'function' ? cb : null),
    onInbound: (handler) => {
      node.handlers.add(handler)
      return () => {
        node.handlers.delete(handler)
      }
    },
    authorize: (decide) => {
      node.authorize = decide
    },
    listen: (address) => listen(node, address),
    unlisten: (address) => unlisten(node, address),
    goOffline: (how = {}) => goOffline(node, how.silently === true),
    goOnline: () => {
      node.isOnline = true
    },
    setLink: (state) => {
      node.link = state
    },
    suspend: () => {
      node.isSuspended = true
    },
    resume: () => {
      if (!node.isSuspended) return
      node.isSuspended = false
      for (const fn of node.mailbox.splice(0)) fn()
    },
  })

  return {
    addNode: ({ id, addresses = [], lan = 'lan', isOnline = true }) => {
      if (nodes.has(id)) throw new Error(`simulatedNetwork: there is a node ${id} already`)
      const node: Node = {
        id,
        addresses: new Set(),
        lan,
        isOnline,
        isSuspended: false,
        link: 'up',
        group: 0,
        mailbox: [],
        handlers: new Set(),
        authorize: () => true,
        ends: new Set(),
      }
      nodes.set(id, node)
      for (const address of addresses) listen(node, address)
      const handle = handleOf(node)
      handles.set(id, handle)
      return handle
    },
    node: (id) => handles.get(id),
    get nodes() {
      return [...handles.values()]
    },
    setFault: ({ from, to, address }, fault) => {
      const key = faultKey(from, address === undefined ? to : undefined, address)
      if (fault) faults.set(key, fault)
      else faults.delete(key)
    },
    clearFaults: () => faults.clear(),
    partition: (groups) => {
      for (const node of nodes.values()) node.group = groups.findIndex((group) => group.includes(node.id)) + 1
    },
    heal: () => {
      for (const node of nodes.values()) node.group = 0
    },
    onEvent: (listener) => {
      listeners.add(listener)
      return () => {
        listeners.delete(listener)
      }
    },
  }
}
