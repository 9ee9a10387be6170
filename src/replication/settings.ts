/** The options of the replication scheduler: read from the config of a stack in either layout, and from `reconfigure`. */
import { InvalidArgumentError } from '../core/errors'
import { parsePartialReplication, type Templates } from './core/templates'
import type { ExcludedPolicy } from './core/wanted'

export interface ReplicationSettings {
  /** Start with the stack. Otherwise `start()` does. */
  readonly autostart: boolean
  /** ms that the graph must be quiet before new wishes are sent, 150 by default and at most six times that; 0: at once. */
  readonly debouncePeriod: number
  /** Null: everybody in full. */
  readonly templates: Templates | null
  /** What in `partialReplication` could not be understood, in sentences. */
  readonly problems: readonly string[]
  readonly excluded: ExcludedPolicy
  /** How many feeds of which nothing is here are asked for at the same time, closest first; null: all. 100 by default. */
  readonly newFeedsAtOnce: number | null
}

export const DEFAULT_SETTINGS: ReplicationSettings = {
  autostart: true,
  debouncePeriod: 150,
  templates: null,
  problems: [],
  excluded: 'replicate',
  newFeedsAtOnce: 100,
}

/** A longer one would be a mistake of units. */
const MAX_PERIOD_MS = 60_000

type Given = Readonly<Record<string, unknown>>

/**
 * What `given` says over what was set before. Throws InvalidArgumentError (ERR_INVALID_ARGUMENT), and then nothing is set.
 * Unknown options are ignored, as a config may be meant for a later version.
 */
export function applySettings(before: ReplicationSettings, given: unknown): ReplicationSettings {
  if (given === undefined || given === null || given === false) return before
  if (typeof given !== 'object' || Array.isArray(given)) {
    throw new InvalidArgumentError('replicationScheduler', 'an object of options', given)
  }
  const options = given as Given
  return { ...before, ...readAutostart(options), ...readPeriod(options), ...readPartial(options), ...readRest(options) }
}

/** Only true, the command line's "true", and nothing at all start it: as ever, null does not. */
function readAutostart({ autostart }: Given): Partial<ReplicationSettings> {
  return autostart === undefined ? {} : { autostart: autostart === true || autostart === 'true' }
}

function readPeriod({ debouncePeriod }: Given): Partial<ReplicationSettings> {
  if (debouncePeriod === undefined || debouncePeriod === null) return {}
  if (typeof debouncePeriod !== 'number' || !(debouncePeriod >= 0 && debouncePeriod <= MAX_PERIOD_MS)) {
    throw new InvalidArgumentError('debouncePeriod', `a number of ms from 0 to ${MAX_PERIOD_MS}`, debouncePeriod)
  }
  return { debouncePeriod }
}

function readPartial(options: Given): Partial<ReplicationSettings> {
  if (!('partialReplication' in options) || options.partialReplication === undefined) return {}
  return parsePartialReplication(options.partialReplication)
}

function readRest({ excluded, newFeedsAtOnce }: Given): Partial<ReplicationSettings> {
  if (excluded !== undefined && excluded !== 'replicate' && excluded !== 'stop') {
    throw new InvalidArgumentError('excluded', "'replicate' or 'stop'", excluded)
  }
  const isCount = Number.isInteger(newFeedsAtOnce) && (newFeedsAtOnce as number) >= 1
  if (newFeedsAtOnce !== undefined && newFeedsAtOnce !== null && !isCount) {
    throw new InvalidArgumentError('newFeedsAtOnce', 'an integer of at least 1, or null for no limit', newFeedsAtOnce)
  }
  return {
    ...(excluded === undefined ? {} : { excluded }),
    ...(newFeedsAtOnce === undefined ? {} : { newFeedsAtOnce: newFeedsAtOnce as number | null }),
  }
}
