/** Time as an argument: the one place that reads the wall clock and sets timers. Tests bring a virtual clock (testing.ts). */

export interface Clock {
  /** Epoch ms. May jump, forwards (suspend) and backwards (set by hand). */
  now(): number
  /** Calls `fn` once after `ms`; longer than 31 bits of ms fires early, which a planner that plans again does not mind. */
  setTimeout(fn: () => void, ms: number): unknown
  clearTimeout(timer: unknown): void
  /** Calls `fn` after the present event has been dealt with, before any timer. */
  defer(fn: () => void): void
}

const MAX_TIMEOUT_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  setTimeout: (fn, ms) => setTimeout(fn, Math.min(Math.max(0, ms), MAX_TIMEOUT_MS)),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
  defer: (fn) => {
    Promise.resolve().then(fn)
  },
}

/** A timer that only watches must not keep a process alive. Timers of Node have `unref`; those of a browser and of tests do not. */
export function unref(timer: unknown): void {
  if (typeof timer === 'object' && timer !== null) (timer as { unref?: () => void }).unref?.()
}
