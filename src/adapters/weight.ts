/**
 * How soon what happens is stored. What somebody says is, in a moment; what dialing teaches comes again, and may lie together for
 * most of a minute: written at once it would be a file to be opened for every visit, and a timer that wakes a phone.
 */
import type { Action } from '../core/actions'
import { USER } from '../core/rank'
import type { Weight } from '../shell/persistence'

/** What happens all the time and is hardly ever stored: no reason for a save, though it may change what the next one writes. */
const PASSING: ReadonlySet<Action['type']> = new Set<Action['type']>([
  'clock/advanced',
  'connection/caughtUp',
  'connection/closeRequested',
  'connection/closing',
  'connection/pinged',
  'connection/requested',
  'connection/requestDropped',
  'connection/stalled',
  'connection/transferred',
  'dial/abandoned',
  'dial/ended',
  'dial/started',
  'routes/deferred',
])
/** What comes of dialing. The last minute of it may be lost. */
const LEARNED: ReadonlySet<Action['type']> = new Set<Action['type']>([
  'connection/closed',
  'connection/opened',
  'dial/failed',
  'environment/offline',
  'environment/online',
  'peer/held',
])
/** Modules that will find the same again. */
const FOUND_BY: ReadonlySet<string> = new Set(['local', 'lan', 'bt', 'bluetooth', 'room', 'pub', 'friends', 'dht'])

/** How soon what an action changes has to be on the disk. */
export function weightOf(action: Action): Weight {
  if (PASSING.has(action.type)) return 'passing'
  if (LEARNED.has(action.type)) return 'learned'
  if (action.type === 'routes/added')
    return action.reports.every(({ source }) => FOUND_BY.has(source)) ? 'learned' : 'said'
  if (action.type === 'peer/prioritised') return (action.by ?? USER) === USER ? 'said' : 'learned'
  return 'said'
}
