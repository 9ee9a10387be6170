/** Time as an argument: the one place that reads the wall clock and sets timers. Tests bring a virtual clock (testing.ts). */

export interface Clock {
  /** Epoch ms. May jump, forwards (suspend) and backwards (set by hand). */
  now(): number
  /**
   * Calls `fn` once after `ms`; longer than 31 bits of ms fires early, which a planner that plans again does not mind. With 0 it is
   * called in a turn of its own, and what sockets and timers have waiting comes before it.
   */
  setTimeout(fn: () => void, ms: number): unknown
  clearTimeout(timer: unknown): void
  /** Calls `fn` after the present event has been dealt with, before any timer. */
  defer(fn: () => void): void
}

const MAX_TIMEOUT_MS = 2 ** 31 - 1

/**
 * Node makes 1 ms of a timer of 0, and if the turn took longer than that it may fire before any socket was looked at: long work in
 * slices then runs on end, and waits where it need not. What is called `setImmediate` elsewhere does not promise to let others go
 * first, so it is asked whether this is Node.
 */
const isNode = typeof process === 'object' && typeof process.versions?.node === 'string'

/** What waits for a turn of its own, in order: Node would run all immediates that are set in one. */
const waiting = new Set<{ readonly fn: () => void }>()
let isAwaited = false

function soon(fn: () => void): object {
  const timer = { fn }
  waiting.add(timer)
  awaitTurn()
  return timer
}

function awaitTurn(): void {
  if (isAwaited || waiting.size === 0) return
  isAwaited = true
  setImmediate(() => {
    isAwaited = false
    const [timer] = waiting
    if (!timer) return
    waiting.delete(timer)
    try {
      timer.fn()
    } finally {
      awaitTurn()
    }
  })
}

export const systemClock: Clock = {
  now: () => Date.now(),
  setTimeout: (fn, ms) => (isNode && ms <= 0 ? soon(fn) : setTimeout(fn, Math.min(Math.max(0, ms), MAX_TIMEOUT_MS))),
  clearTimeout: (timer) => {
    if (!waiting.delete(timer as { readonly fn: () => void })) clearTimeout(timer as ReturnType<typeof setTimeout>)
  },
  defer: (fn) => {
    Promise.resolve().then(fn)
  },
}

/** A timer that only watches must not keep a process alive. Timers of Node have `unref`; those of a browser and of tests do not. */
export function unref(timer: unknown): void {
  if (typeof timer === 'object' && timer !== null) (timer as { unref?: () => void }).unref?.()
}
