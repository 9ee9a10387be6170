/**
 * All keys of `watch`: what the help shows, what docs/watch.md lists, and what update.ts obeys. Pure data.
 */
import type { Priority } from '../../core/types'
import { COLUMNS } from './rows'

export type Command =
  | 'up'
  | 'down'
  | 'pageUp'
  | 'pageDown'
  | 'first'
  | 'last'
  | 'details'
  | 'back'
  | 'filter'
  | 'sortLeft'
  | 'sortRight'
  | 'sortBy'
  | 'reverse'
  | 'connect'
  | 'hangUp'
  | 'ban'
  | 'unban'
  | 'priority'
  | 'longTerm'
  | 'startStop'
  | 'add'
  | 'help'
  | 'redraw'
  | 'quit'

export interface Key {
  readonly command: Command
  /** For people: in the help and in docs/watch.md. */
  readonly shown: string
  readonly does: string
  /** As terminal-kit names them. */
  readonly keys: readonly string[]
  /** Where it works; without it, in the table and in the details of a peer. */
  readonly only?: 'table'
}

export const KEYS: readonly Key[] = [
  { command: 'up', shown: '↑ k', does: 'one line up', keys: ['UP', 'k'] },
  { command: 'down', shown: '↓ j', does: 'one line down', keys: ['DOWN', 'j'] },
  { command: 'pageUp', shown: 'PgUp', does: 'one page up', keys: ['PAGE_UP'] },
  { command: 'pageDown', shown: 'PgDn Space', does: 'one page down', keys: ['PAGE_DOWN', ' '] },
  { command: 'first', shown: 'Home g', does: 'to the first line', keys: ['HOME', 'g'] },
  { command: 'last', shown: 'End G', does: 'to the last line', keys: ['END', 'G'] },
  {
    command: 'details',
    shown: 'Enter',
    does: 'details of the peer: all routes, their errors, why not and what to do; again to go back',
    keys: ['ENTER', 'KP_ENTER'],
  },
  { command: 'back', shown: 'Esc', does: 'back; in the table: no filter any more', keys: ['ESCAPE'] },
  {
    command: 'filter',
    shown: '/',
    does: 'filter: words that must all occur in the id, name, addresses, state, class or priority',
    keys: ['/'],
    only: 'table',
  },
  { command: 'sortLeft', shown: '<', does: 'sort by the column to the left', keys: ['<'], only: 'table' },
  { command: 'sortRight', shown: '>', does: 'sort by the column to the right', keys: ['>'], only: 'table' },
  {
    command: 'sortBy',
    shown: '1–9',
    does: `sort by a column: ${COLUMNS.join(', ')}`,
    keys: COLUMNS.map((_, at) => String(at + 1)),
    only: 'table',
  },
  { command: 'reverse', shown: 'r', does: 'reverse the order', keys: ['r'], only: 'table' },
  { command: 'connect', shown: 'c', does: 'connect now, past slots and pauses', keys: ['c'] },
  {
    command: 'hangUp',
    shown: 'd',
    does: 'hang up, and do not dial again for a minute; asks if the peer is connected',
    keys: ['d'],
  },
  { command: 'ban', shown: 'b', does: 'ban: hung up on, never dialed, refused when it calls; asks', keys: ['b'] },
  { command: 'unban', shown: 'u', does: 'end the ban', keys: ['u'] },
  { command: 'priority', shown: 'p', does: 'priority: then h high, m medium, l low, a automatic', keys: ['p'] },
  { command: 'longTerm', shown: 'l', does: 'long-term: kept up for as long as possible; again to end it', keys: ['l'] },
  { command: 'startStop', shown: 's', does: 'start dialing, or stop: hangs up on everybody; asks', keys: ['s'] },
  { command: 'add', shown: 'a', does: 'add an address', keys: ['a'] },
  { command: 'help', shown: '?', does: 'this help', keys: ['?'] },
  { command: 'redraw', shown: 'Ctrl-L', does: 'draw the whole screen again', keys: ['CTRL_L'] },
  { command: 'quit', shown: 'q Ctrl-C', does: 'quit', keys: ['q', 'CTRL_C'] },
]

/** What may follow `p`. */
export const PRIORITY_KEYS: Readonly<Record<string, Priority | 'AUTO'>> = {
  h: 'HIGH',
  m: 'MEDIUM',
  l: 'LOW',
  a: 'AUTO',
}
