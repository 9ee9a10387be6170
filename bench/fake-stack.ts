/**
 * Just enough of a secret-stack for the existing managers to run their own code: an emitter with `connect`, hookable methods
 * and connections that do nothing. And time: they keep it by the globals, so these are replaced by a virtual clock, before
 * the managers are loaded.
 */
import { EventEmitter } from 'events'
import { mkdtempSync, rmSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'
import { seededRandom, type VirtualClock, virtualClock } from '../src/testing'
import { HOUR_MS, START_AT } from './world'

/** Of nobody in the table. */
export const OWN_ID = `@${'A'.repeat(43)}=.ed25519`

// ---- time -------------------------------------------------------------------------------------------------------------

interface Timer {
  ref(): Timer
  unref(): Timer
}

export interface FakeTime {
  readonly clock: VirtualClock
  /** How many timers have fired. */
  readonly wakeUps: number
  /** Clears all timers: whoever is done must not go on working, and the existing managers do not clear all of theirs. */
  forget(): void
}

type Callback = (...args: unknown[]) => void

/**
 * Replaces `setTimeout`, `setInterval`, `Date.now` and `Math.random`. Promises, `nextTick` and the disk go on as they are.
 * Also replaces the modules with which the existing managers watch the machine: how often they look at its network (every
 * second, and every ten for sleep) is no matter of scheduling, and that a test machine has no network must not stop them.
 */
export function installFakeTime(): FakeTime {
  const clock = virtualClock(START_AT)
  const random = seededRandom(1)
  const handles = new Map<Timer, unknown>()
  let wakeUps = 0
  const arm = (timer: Timer, fn: () => void, ms: number, isRepeating: boolean): Timer => {
    const fire = (): void => {
      wakeUps++
      if (isRepeating) arm(timer, fn, ms, true)
      else handles.delete(timer)
      fn()
    }
    handles.set(timer, clock.setTimeout(fire, ms))
    return timer
  }
  const makeTimer = (): Timer => {
    const timer: Timer = { ref: () => timer, unref: () => timer }
    return timer
  }
  const clear = (timer: Timer): void => {
    clock.clearTimeout(handles.get(timer))
    handles.delete(timer)
  }
  Object.assign(globalThis, {
    setTimeout: (fn: Callback, ms = 0, ...args: unknown[]) => arm(makeTimer(), () => fn(...args), ms, false),
    setInterval: (fn: Callback, ms = 0, ...args: unknown[]) => arm(makeTimer(), () => fn(...args), ms, true),
    clearTimeout: clear,
    clearInterval: clear,
  })
  Date.now = () => clock.now()
  Math.random = () => random.next()
  const nothing = (): void => {}
  for (const name of ['on-wakeup', 'on-change-network', 'on-change-network-strict']) stub(name, nothing)
  for (const name of ['has-network', 'has-network2']) stub(name, () => true)
  return {
    clock,
    get wakeUps() {
      return wakeUps
    },
    forget: () => {
      for (const timer of [...handles.keys()]) clear(timer)
    },
  }
}

/** What `require(name)` gives from now on, in every module. */
function stub(name: string, exported: unknown): void {
  const path = require.resolve(name)
  require(path)
  const loaded = require.cache[path]
  if (!loaded) throw new Error(`${name} cannot be replaced`)
  loaded.exports = exported
}

/** Lets promises settle and the disk answer. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Timers that fire in an idle hour. Where an hour takes too long, those of some minutes, times as many. */
export async function countWakeUps(
  time: FakeTime,
  budgetMs: number,
): Promise<{ readonly perHour: number; readonly note: string }> {
  const startedAt = performance.now()
  const cpuBefore = process.cpuUsage()
  const before = time.wakeUps
  let minutes = 0
  while (minutes < 60 && performance.now() - startedAt < budgetMs) {
    await time.clock.advanceAsync(HOUR_MS / 60)
    await settle()
    minutes++
  }
  const { user, system } = process.cpuUsage(cpuBefore)
  const seconds = (((user + system) / 1e6) * 60) / minutes
  const part = minutes === 60 ? '' : `, reckoned from ${minutes} min`
  return {
    perHour: Math.round(((time.wakeUps - before) * 60) / minutes),
    note: `${seconds.toFixed(1)} s of CPU in the hour${part}`,
  }
}

// ---- the stack --------------------------------------------------------------------------------------------------------

type Hook = (this: unknown, fn: (...args: unknown[]) => unknown, args: unknown[]) => unknown
type Hooked = ((...args: unknown[]) => unknown) & { hook(hook: Hook): void }

/** A method that is called as it is: what plugins hook on it is not run. */
function hookable(fn: (...args: unknown[]) => unknown): Hooked {
  return Object.assign(fn, { hook: () => {} })
}

export class FakeRpc extends EventEmitter {
  readonly stream: { readonly address: string; readonly meta: string }
  closed = false
  /** A ping that is never answered: no data passes in these measurements. */
  readonly gossip = { ping: () => ({ source: () => {}, sink: () => {} }) }

  constructor(
    readonly id: string,
    address: string,
  ) {
    super()
    this.stream = { address, meta: 'net' }
  }

  close(_error: unknown, cb?: () => void): void {
    this.end()
    cb?.()
  }

  end(): void {
    if (this.closed) return
    this.closed = true
    this.emit('closed')
  }
}

export interface FakeDial {
  readonly address: string
  /** The connection is up: the stack tells its plugins, then whoever dialed. */
  accept(): FakeRpc
  refuse(): void
}

export class FakeStack extends EventEmitter {
  readonly id = OWN_ID
  readonly path = mkdtempSync(join(tmpdir(), 'ssb-bench-'))
  readonly peers: Record<string, unknown[]> = {}
  readonly close = hookable(() => {})
  readonly status = hookable(() => ({}))
  readonly ready = (): boolean => true
  readonly post = (): void => {}
  /** Open connections, oldest first. */
  readonly open = new Set<FakeRpc>()
  /** What becomes of a dial. */
  onDial: (dial: FakeDial) => void = (dial) => void dial.accept();
  /** Other plugins are looked up by name. */
  [plugin: string]: unknown

  constructor() {
    super()
    this.setMaxListeners(0)
    process.once('exit', () => rmSync(this.path, { recursive: true, force: true }))
  }

  readonly connect = (address: string, cb: (error: unknown, rpc?: unknown) => void): void => {
    this.onDial({
      address,
      accept: () => {
        const key = `@${address.slice(address.lastIndexOf(':') + 1)}.ed25519`
        const rpc = new FakeRpc(key, address)
        this.open.add(rpc)
        rpc.on('closed', () => this.open.delete(rpc))
        this.emit('rpc:connect', rpc, true)
        cb(null, rpc)
        return rpc
      },
      refuse: () => cb(Object.assign(new Error(`connect ECONNREFUSED ${address}`), { code: 'ECONNREFUSED' })),
    })
  }
}
