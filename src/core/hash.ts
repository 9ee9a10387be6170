/** The keyed hash that breaks ties: SipHash, as bitcoin's eviction does, so that nobody can pick a key that comes first. */
import siphash = require('siphash')

import type { FeedId } from './types'

/** A whole number in [0, 2^30): fits a small integer of the engine. */
export function tieOf(key: readonly number[], id: FeedId): number {
  return siphash.hash(Uint32Array.from(key), id).l >>> 2
}
