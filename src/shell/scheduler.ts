/**
 * When to plan: after events that may change what is decided, once per turn however many there were, and when the plan said
 * that something falls due. One timer, no polling. What the plan says is begun by the connector; what comes of it are events, so
 * planning goes on until nothing is left to do.
 */
import type { Action } from '../core/actions'
import { isEmptyPlan, plan } from '../core/plan'
import { mayMatter } from '../core/relevance'
import { firstDue, type State } from '../core/table'
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
  /** What the plan said is being put into the state. */
  let isBeginning = false
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
    isBeginning = true
    let isWhole: boolean
    try {
      isWhole = begin(next, isOver) !== false
    } finally {
      isBeginning = false
    }
    // What is left is in the plan that is made then.
    if (!isWhole) waitForNextTurn()
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

  /** The plan's own: a plan that has begun leaves an empty one, and its `wakeAt` holds for what it has begun. */
  const isOwn = ({ type }: Action): boolean =>
    type === 'clock/advanced' || (isBeginning && (type === 'dial/started' || type === 'routes/deferred'))

  /** The timer does not hear that the clock was set. */
  const isClockOff = ({ at }: Action, { now }: State): boolean =>
    at < now - CLOCK_TOLERANCE_MS || (timerAt !== null && at >= timerAt)

  const unsubscribe = store.subscribe((action, before, after) => {
    if (isDeferred || isOwn(action)) return
    if (mayMatter(before, after) || isClockOff(action, before)) request()
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
