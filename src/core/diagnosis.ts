/**
 * What is wrong, if anything, and what to do about it: for people who ask why nothing is connected. Pure: computed from the
 * state and the time.
 */
import type { EpochMs, FeedId } from './types'

/** One thing that somebody should know. */
export interface Finding {
  /** Stable: programs may go by it. */
  readonly code: string
  /** `error`: nothing works until it is mended; `warning`: worse than it could be; `info`: good to know. */
  readonly severity: 'error' | 'warning' | 'info'
  /** One sentence: what is the case, with its numbers. */
  readonly message: string
  /** One sentence: what to do; null where nothing has to be done. */
  readonly remedy: string | null
  /** Since when, where that is known. */
  readonly since: EpochMs | null
  /** Whom it concerns; at most 20. */
  readonly peers: readonly FeedId[]
}
