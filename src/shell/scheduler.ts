/**
 * When to plan: after events, once per turn however many there were, and when the plan said that something falls due. One
 * timer, no polling. What the plan says is begun by the connector; each beginning is an event, so planning goes on until
 * nothing is left to do.
 */

import { isEmptyPlan, plan } from '../core/plan'
import { firstDue } from '../core/table'
import type { Plan } from '../core/types'
import type { Clock } from './clock'
import type { Store } from './store'

export interface Scheduler {
  /** Stops for good: no timer is left. */
  close(): void
  /** Nothing is begun until `resume`: the table is still being read. */
  pause(): void
  resume(): void
  /** When the timer is set to, or null; for `status()`. */
  wakeAt(): number | null
  /** Plans made so far, and how often the timer fired. */
  counts(): { readonly plans: number; readonly wakeUps: number }
}

/** A turn that takes this long is over: what else is to be begun is begun in the next one, after timers and sockets. */
const SLICE_MS = 1
/** Clocks that are kept in step by small corrections step back by less than this. */
const CLOCK_TOLERANCE_MS = 1_000

export function startScheduler(options: {
  readonly store: Store
  readonly clock: Clock
  /**
   * Turns a plan into attempts and hang-ups; has dispatched the actions of what it began when it returns. May leave out further
   * dials, but none that was asked for, once `isOver` says that the turn was long enough, and returns false then.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: one that always begins all returns nothing
  readonly begin: (plan: Plan, isOver: () => boolean) => boolean | void
}): Scheduler {
  const { store, clock, begin } = options
  let timer: unknown = null
  let timerAt: number | null = null
  let isDeferred = false
  /** Waits for the next turn. */
  let rest: { readonly id: unknown } | null = null
  /** The plan before this one was not begun, as it took long to make. */
  let wasSlow = false
  let isClosed = false
  let isPaused = false
  let plans = 0
  let wakeUps = 0

  const clear = (): void => {
    if (timerAt !== null) clock.clearTimeout(timer)
    timerAt = null
  }

  const run = (): void => {
    isDeferred = false
    if (isClosed || isPaused) return
    const now = clock.now()
    const known = store.getState().now
    if (now < known - CLOCK_TOLERANCE_MS) store.dispatch({ type: 'clock/setBack', at: now })
    const at = Math.max(now, store.getState().now)
    if (firstDue(store.getState(), at)) store.dispatch({ type: 'clock/advanced', at })
    // A listener may have closed us meanwhile: a timer set now would have no owner.
    if (isClosed) return
    plans++
    const next = plan(store.getState(), at)
    // The first plans and dials take many times as long as later ones, as their code is not compiled yet.
    const isOver = (): boolean => clock.now() - now >= SLICE_MS
    const isAskedFor = next.dials.some(({ cause }) => cause === 'request')
    if (!isEmptyPlan(next) && !isAskedFor && !wasSlow && isOver()) {
      wasSlow = true
      return waitForNextTurn()
    }
    wasSlow = false
    if (next.wakeAt !== timerAt) {
      clear()
      if (next.wakeAt !== null) {
        timerAt = next.wakeAt
        timer = clock.setTimeout(() => {
          timerAt = null
          wakeUps++
          request()
        }, next.wakeAt - at)
      }
    }
    // What is left is in the plan that is made then.
    if (begin(next, isOver) === false) waitForNextTurn()
  }

  /** Takes the place of what was requested for the end of this turn. */
  const waitForNextTurn = (): void => {
    if (isClosed) return
    isDeferred = true
    rest = {
      id: clock.setTimeout(() => {
        rest = null
        run()
      }, 0),
    }
  }

  const request = (): void => {
    if (isDeferred || isClosed) return
    isDeferred = true
    clock.defer(() => {
      if (!rest) run()
    })
  }

  const unsubscribe = store.subscribe((action) => {
    // The plan's own bookkeeping: what it changes is what the plan was made of.
    if (action.type !== 'clock/advanced') request()
  })

  return {
    close: () => {
      isClosed = true
      unsubscribe()
      clear()
      if (rest) clock.clearTimeout(rest.id)
      rest = null
    },
    pause: () => {
      isPaused = true
    },
    resume: () => {
      isPaused = false
      request()
    },
    wakeAt: () => timerAt,
    counts: () => ({ plans, wakeUps }),
  }
}
