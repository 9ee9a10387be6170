/**
 * A stand-alone manager on a virtual clock with a transport that does what the test says: peers by name, dials that wait
 * for their outcome, and connections whose every misbehaviour can be chosen. Nothing here sleeps.
 */
import { checkInvariants } from '../../src/core/invariants'
import { type ConnectionChange, type ConnectionManager, createManager, type ManagerOptions } from '../../src/manager'
import { seededRandom, type VirtualClock, virtualClock } from '../../src/testing'
import { type Collected, collect } from './eventually'

export interface Person {
  readonly id: string
  /** The id without `@` and suffix. */
  readonly key: string
  /** A `net` address; nobody shares a host. */
  readonly address: string
  /** Another address of the same person, by a protocol and, if need be, a host. */
  by(protocol: string, host?: string): string
}

/** Somebody with a key, and a host for each protocol, that come from the name. */
export function person(name: string): Person {
  return withKey(name, Buffer.alloc(32, name).toString('base64'))
}

function withKey(name: string, key: string): Person {
  const by = (
    protocol: string,
    host = protocol === 'net' ? `${name}.example` : `${protocol}.${name}.example`,
  ): string => `${protocol}:${/^wss?$/.test(protocol) ? '//' : ''}${host}:8008~shs:${key}`
  return { id: `@${key}.ed25519`, key, address: by('net'), by }
}

export const alice = person('alice')
export const bob = person('bob')
export const carol = person('carol')
export const dave = person('dave')
export const erin = person('erin')
/** Own ids that sort before and after everybody else's. */
export const FIRST_ID = withKey('first', `${'A'.repeat(43)}=`).id
export const LAST_ID = withKey('last', `${'z'.repeat(42)}w=`).id

/** A connection as a muxrpc shows it: `close(abort, cb)`, `closed`, and the event `closed`. */
export class FakeRpc {
  closed = false
  /** How often somebody hung up on it. */
  hangUps = 0
  /** What `close` does: call back at once, never, twice, throw, or return a promise. */
  onClose: 'answer' | 'silent' | 'twice' | 'throw' | 'promise' | 'reject' = 'answer'
  /** Whether a probe would hear of it. */
  isAlive = true
  private readonly listeners: (() => void)[] = []

  constructor(readonly name = 'rpc') {}

  readonly on = (event: string, listener: () => void): this => {
    if (event === 'closed') this.listeners.push(listener)
    return this
  }

  readonly close = (_abort: unknown, cb?: (error?: unknown) => void): unknown => {
    this.hangUps++
    if (this.onClose === 'throw') throw new Error('cannot close')
    if (this.onClose === 'silent') return undefined
    this.closed = true
    if (this.onClose === 'promise') return Promise.resolve()
    if (this.onClose === 'reject') return Promise.reject(new Error('cannot close'))
    cb?.()
    if (this.onClose === 'twice') cb?.()
    return undefined
  }

  /** The other side hangs up, or the network does. */
  end(): void {
    this.closed = true
    for (const listener of this.listeners.splice(0)) listener()
  }
}

export interface FakeDial {
  readonly address: string
  readonly at: number
  readonly cb: (error?: unknown, connection?: unknown) => void
  /** Succeeds with a connection, a new one unless given. */
  accept(rpc?: FakeRpc): FakeRpc
  /** Fails as a socket would. */
  refuse(code?: string): void
}

export interface Bench {
  readonly manager: ConnectionManager
  readonly clock: VirtualClock
  /** Every dial so far, oldest first. */
  readonly dials: FakeDial[]
  /** The newest dial to an address. Throws if there is none. */
  dial(address: string): FakeDial
  /** The addresses that were dialed since this was last called, in order. */
  newDials(): string[]
  /** Everything that `connections.changes()` has said since the start. */
  readonly changes: Collected<ConnectionChange>
  /** Adds routes at default priority; they are dialed at once if the manager is on and has slots. */
  add(...addresses: string[]): void
  /** Dials that are due go out. */
  flush(): void
  /** `connect`, with the dial accepted: the connection. */
  connected(address: string, rpc?: FakeRpc): FakeRpc
  /** Why the peer of an address or an id is not connected. */
  why(target: string): string | null
  /** Of the connection of a peer. */
  status(id: string): string
}

export interface BenchOptions extends Partial<ManagerOptions> {
  /** What a dial does as it is made; nothing by default: it waits for the test. */
  readonly answer?: (dial: FakeDial) => void
}

/** A manager that is off, with `net: 3` and so on as by default. */
export function bench(options: BenchOptions = {}): Bench {
  const { answer, ...given } = options
  const clock = (given.clock as VirtualClock | undefined) ?? virtualClock()
  const dials: FakeDial[] = []
  const connectToPeer = (address: string, cb: (error?: unknown, connection?: unknown) => void): void => {
    const dial: FakeDial = {
      address,
      at: clock.now(),
      cb,
      accept: (rpc = new FakeRpc(address)) => {
        cb(null, rpc)
        return rpc
      },
      refuse: (code = 'ECONNREFUSED') => cb(Object.assign(new Error(`connect ${code}`), { code })),
    }
    dials.push(dial)
    answer?.(dial)
  }
  const manager = createManager({ connectToPeer, random: seededRandom(1), ...given, clock })
  watchInvariants(manager)
  const changes = collect(manager.connections.changes())
  let seen = 0
  const made: Bench = {
    manager,
    clock,
    dials,
    changes,
    dial: (address) => {
      const found = dials.filter((each) => each.address === address).pop()
      if (!found) throw new Error(`${address} was not dialed, but ${dials.map((each) => each.address).join(', ')}`)
      return found
    },
    newDials: () => {
      const fresh = dials.slice(seen).map((each) => each.address)
      seen = dials.length
      return fresh
    },
    add: (...addresses) => {
      for (const address of addresses) manager.peer.addRoute({ address })
    },
    flush: () => clock.flush(),
    connected: (address, rpc) => {
      manager.peer.connect({ address }, () => {})
      clock.flush()
      return made.dial(address).accept(rpc)
    },
    why: (target) => manager.peer.explain(target).reason,
    status: (id) => manager.peer.get(id)?.connection.status ?? 'unknown',
  }
  return made
}

/** Tables above this are left to the property tests: looking at all of it after each action takes quadratic time. */
const MAX_CHECKED = 40

/** A state that contradicts itself ends the file, whatever the test was about. */
function watchInvariants(manager: ConnectionManager): void {
  manager.internal.store.subscribe((action, _before, after) => {
    if (after.routes.size > MAX_CHECKED) return
    try {
      checkInvariants(after)
    } catch (error) {
      process.nextTick(() => {
        throw new Error(`after ${action.type}: ${String(error)}`)
      })
    }
  })
}

export const SECOND = 1_000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** The whole state as text, to show that a refused call left it alone. */
export function serialised(manager: ConnectionManager): string {
  return JSON.stringify(manager.internal.store.getState(), (_key, value: unknown) =>
    isTree(value) ? value.toArray() : value === Number.POSITIVE_INFINITY ? 'Infinity' : value,
  )
}

function isTree(value: unknown): value is { toArray(): unknown[] } {
  return typeof value === 'object' && value !== null && typeof (value as { toArray?: unknown }).toArray === 'function'
}

/** Takes what surfaces outside of any call, an uncaught error or a rejection, until `restore`. */
export function catchThrown(): { readonly thrown: readonly unknown[]; restore(): void } {
  const thrown: unknown[] = []
  const events = ['uncaughtException', 'unhandledRejection'] as const
  const before = events.map((event) => process.listeners(event as 'uncaughtException'))
  for (const event of events) {
    process.removeAllListeners(event)
    process.on(event, (error: unknown) => thrown.push(error))
  }
  return {
    thrown,
    restore: () => {
      for (const [index, event] of events.entries()) {
        process.removeAllListeners(event)
        for (const listener of before[index] ?? []) process.on(event, listener)
      }
    },
  }
}

/** The `code` of what a promise was rejected with, or what happened instead. */
export async function codeOf(promise: PromiseLike<unknown>): Promise<unknown> {
  try {
    await promise
    return 'resolved'
  } catch (error) {
    return (error as { code?: unknown }).code ?? `no code: ${String(error)}`
  }
}
