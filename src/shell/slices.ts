/** Long work in slices, so that a table of 10 000 peers or a graph of 50 000 feeds never holds up the event loop. */
import type { Clock } from './clock'

/** Does a small piece of work and says what it cost, 1 for a look at something; 0 when there is nothing to do. */
export type Step = () => number

export interface Slices {
  /** There may be something to do. */
  readonly wake: () => void
  /** Nothing is done from now on, and no timer is left. */
  readonly stop: () => void
}

/** Some 2 ms on a fast machine; on a slow one time counts. */
const SLICE_COST = 500
const SLICE_MS = 2

/**
 * Takes the pieces from the first of the steps that has any. Whatever wakes it may be in the middle of something, as an
 * action is when it is told of: the first slice waits for the end of that, the others let timers and sockets go first.
 */
export function startSlices(
  clock: Clock,
  steps: readonly Step[],
  /** Longer slices cost less between them, and hold up the event loop for longer. */
  { sliceMs = SLICE_MS }: { readonly sliceMs?: number } = {},
): Slices {
  const sliceCost = (SLICE_COST * sliceMs) / SLICE_MS
  let timer: unknown = null
  let isDeferred = false
  let isStopped = false

  const next = (): number => {
    for (const step of steps) {
      const cost = step()
      if (cost > 0) return cost
    }
    return 0
  }

  const slice = (): void => {
    const startedAt = clock.now()
    let spent = 0
    while (!isStopped) {
      const cost = next()
      if (cost === 0) return
      spent += cost
      // Also when the clock was set back: then the cost alone ends the slice.
      if (spent < sliceCost && clock.now() - startedAt < sliceMs) continue
      if (!isStopped) pause()
      return
    }
  }

  const pause = (): void => {
    timer = clock.setTimeout(() => {
      timer = null
      slice()
    }, 0)
  }

  return {
    wake: () => {
      if (isStopped || isDeferred || timer !== null) return
      isDeferred = true
      clock.defer(() => {
        isDeferred = false
        if (!isStopped && timer === null) slice()
      })
    },
    stop: () => {
      isStopped = true
      if (timer !== null) clock.clearTimeout(timer)
      timer = null
    },
  }
}
