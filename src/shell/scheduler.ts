/**
 * When to plan: after events, once per turn however many there were, and when the plan said that something falls due. One
 * timer, no polling. What the plan says is begun by the connector; each beginning is an event, so planning goes on until
 * nothing is left to do.
 */

import { plan } from '../core/plan'
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
}

/** Clocks that are kept in step by small corrections step back by less than this. */
const CLOCK_TOLERANCE_MS = 1_000

export function startScheduler(options: {
  readonly store: Store
  readonly clock: Clock
  /** Turns a plan into attempts and hang-ups; has dispatched the actions of what it began when it returns. */
  readonly begin: (plan: Plan) => void
}): Scheduler {
  const { store, clock, begin } = options
  let timer: unknown = null
  let timerAt: number | null = null
  let isDeferred = false
  let isClosed = false
  let isPaused = false

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
    const next = plan(store.getState(), at)
    if (next.wakeAt !== timerAt) {
      clear()
      if (next.wakeAt !== null) {
        timerAt = next.wakeAt
        timer = clock.setTimeout(() => {
          timerAt = null
          request()
        }, next.wakeAt - at)
      }
    }
    begin(next)
  }

  const request = (): void => {
    if (isDeferred || isClosed) return
    isDeferred = true
    clock.defer(run)
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
    },
    pause: () => {
      isPaused = true
    },
    resume: () => {
      isPaused = false
      request()
    },
    wakeAt: () => timerAt,
  }
}
