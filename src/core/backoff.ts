/**
 * When a route that failed may be dialed again. Pure: the jitter is drawn in the shell and comes in with the action.
 *
 * Doubling with fresh full jitter (AWS architecture blog, "Exponential backoff and jitter"): peers that lost the same pub
 * at the same moment do not come back as one herd. The ceiling goes by how much the peer means to us: friends return often,
 * ghosts never (DESIGN 4, Backoff).
 */
import type { Options } from './options'
import type { DurationMs, EpochMs, Jitter, Priority } from './types'

/** Full jitter may draw zero; a floor keeps a route that fails at once from being dialed in a tight loop. */
export const BACKOFF_FLOOR_MS = 500
/** Beyond this many doublings every ceiling is long reached. */
export const MAX_STEP = 40

/** The longest pause that this kind of peer may be made to wait. */
export function backoffCeiling(options: Options, priority: Priority, isLongTerm: boolean): DurationMs {
  if (isLongTerm || priority === 'HIGH') return options.backoffMaxMs.HIGH
  if (priority === 'MEDIUM') return options.backoffMaxMs.MEDIUM
  return options.backoffMaxMs.LOW
}

/**
 * `step` failures back: a pause between the floor and min(ceiling, base · 2^(step − 1)), evenly drawn. Step 0 counts as 1.
 *
 * A draw below the floor is drawn again from the whole span, itself being the die. To raise it to the floor instead would have a
 * tenth of all that lost a pub at one moment back at one moment.
 */
export function backoffDelay(options: Options, step: number, ceilingMs: DurationMs, jitter: Jitter): DurationMs {
  const exponent = Math.min(Math.max(step - 1, 0), MAX_STEP)
  const windowMs = Math.min(ceilingMs, options.backoffBaseMs * 2 ** exponent)
  const drawnMs = windowMs * jitter
  if (drawnMs >= BACKOFF_FLOOR_MS) return Math.round(drawnMs)
  return Math.round(BACKOFF_FLOOR_MS + Math.max(0, windowMs - BACKOFF_FLOOR_MS) * (drawnMs / BACKOFF_FLOOR_MS))
}

/** Never later than the ceiling allows, e.g. after the clock was set back or a table came from a machine with a wrong clock. */
export function clampAttempt(nextAttemptAt: EpochMs, now: EpochMs, ceilingMs: DurationMs): EpochMs {
  if (!(nextAttemptAt > now)) return Number.isFinite(nextAttemptAt) ? Math.max(0, nextAttemptAt) : 0
  return Math.min(nextAttemptAt, now + ceilingMs)
}
