/**
 * What `watch` knows and shows: the state of its screen, and what happens to it. Pure. update.ts says how each event changes a
 * model, view.ts draws it, commands/watch.ts feeds it.
 */
import type { Finding } from '../../core/diagnosis'
import type { Explanation, PeerRemoved, PeerView, Status } from '../../core/selectors'
import type { EpochMs, FeedId } from '../../core/types'
import type { ConnectionChange } from '../../manager'
import type { Row, Sort } from './rows'
import { clean, cut } from './text'

/** A call to the manager of the sbot. */
export interface Act {
  readonly type: 'act'
  readonly call:
    | 'peer.connect'
    | 'peer.disconnect'
    | 'peer.setPriority'
    | 'peer.setLongTerm'
    | 'peer.addRoute'
    | 'connections.start'
    | 'connections.stop'
  readonly args: readonly unknown[]
  /** What it does and to whom, for the bottom line. */
  readonly label: string
  /** What to say when it is done, and when it answered `false`: nothing was to be done. */
  readonly done: string
  readonly vain: string
}

export type Effect = Act | { readonly type: 'quit' } | { readonly type: 'redraw' }

export interface Step {
  readonly model: Model
  readonly effects: readonly Effect[]
}

export type Mode =
  | { readonly kind: 'table' }
  | { readonly kind: 'details'; readonly id: FeedId; readonly scroll: number }
  | { readonly kind: 'help'; readonly scroll: number; readonly back: Mode }
  | { readonly kind: 'confirm'; readonly question: string; readonly act: Act; readonly back: Mode }
  | { readonly kind: 'priority'; readonly id: FeedId; readonly back: Mode }
  | {
      readonly kind: 'entry'
      readonly purpose: 'filter' | 'address'
      readonly text: string
      /** The filter to go back to. */
      readonly before: string
      readonly back: Mode
    }

export interface Message {
  readonly kind: 'info' | 'pending' | 'error'
  readonly text: string
}

export interface Model {
  readonly selfId: FeedId
  readonly now: EpochMs
  /** Of the terminal. */
  readonly columns: number
  readonly lines: number
  readonly rows: ReadonlyMap<FeedId, Row>
  readonly names: ReadonlyMap<FeedId, string>
  /** All peers that there were at the start have come. */
  readonly isSynced: boolean
  /** Of `rows`, those that match the filter, sorted. */
  readonly order: readonly Row[]
  readonly sort: Sort
  readonly filter: string
  readonly selectedId: FeedId | null
  /** Index of the first row on the screen. */
  readonly top: number
  readonly status: Status | null
  readonly finding: Finding | null
  /** How many more findings there are. */
  readonly findingsMore: number
  /** Oldest first; the latest 50. */
  readonly log: readonly ConnectionChange[]
  /** Of the rows on the screen, and of some that were. */
  readonly explanations: ReadonlyMap<FeedId, Explanation>
  readonly mode: Mode
  readonly message: Message | null
}

export type WatchEvent =
  | { readonly type: 'peers'; readonly changed: readonly (PeerView | PeerRemoved)[] }
  | { readonly type: 'synced' }
  | { readonly type: 'named'; readonly names: readonly (readonly [FeedId, string])[] }
  | { readonly type: 'status'; readonly status: Status }
  | { readonly type: 'findings'; readonly findings: readonly Finding[] }
  | { readonly type: 'changes'; readonly changes: readonly ConnectionChange[] }
  | { readonly type: 'explained'; readonly explanations: readonly (readonly [FeedId, Explanation])[] }
  /** As terminal-kit names them: a character, or `UP`, `ENTER`, `CTRL_C`, … */
  | { readonly type: 'key'; readonly key: string }
  | { readonly type: 'resized'; readonly columns: number; readonly lines: number }
  | { readonly type: 'tick'; readonly now: EpochMs }
  | { readonly type: 'answered'; readonly act: Act; readonly result: unknown }
  | { readonly type: 'failed'; readonly act: Act; readonly message: string }

/** Of the log on the screen. */
export const LOG_LINES = 3

export function initialModel(given: {
  readonly selfId: FeedId
  readonly now: EpochMs
  readonly columns: number
  readonly lines: number
}): Model {
  return {
    ...given,
    rows: new Map(),
    names: new Map(),
    isSynced: false,
    order: [],
    sort: { column: 'state', isReversed: false },
    filter: '',
    selectedId: null,
    top: 0,
    status: null,
    finding: null,
    findingsMore: 0,
    log: [],
    explanations: new Map(),
    mode: { kind: 'table' },
    message: null,
  }
}

// ---- what is where on the screen ---------------------------------------------------------------------------------------

/** Lines of each part, from top to bottom; together as many as the terminal has. */
export interface Layout {
  readonly title: number
  readonly slots: number
  readonly finding: number
  readonly header: number
  readonly body: number
  readonly log: number
  readonly bottom: number
}

/** A small terminal keeps the table, its head and the bottom line the longest. */
export function layoutOf(model: Pick<Model, 'lines' | 'finding'>): Layout {
  const { lines, finding } = model
  const bottom = Math.min(1, lines)
  const header = lines >= 4 ? 1 : 0
  const title = lines >= 5 ? 1 : 0
  const slots = lines >= 7 ? 1 : 0
  const findingLines = finding === null || lines < 9 ? 0 : lines < 16 ? 1 : 2
  const log = lines >= 20 ? LOG_LINES + 1 : 0
  const body = Math.max(0, lines - bottom - header - title - slots - findingLines - log)
  return { title, slots, finding: findingLines, header, body, log, bottom }
}

/** The rows that are on the screen now. */
export function visibleRows(model: Model): readonly Row[] {
  return model.order.slice(model.top, model.top + layoutOf(model).body)
}

/** What is on the screen above a question or an entry. */
export function baseMode(mode: Mode): Extract<Mode, { kind: 'table' | 'details' | 'help' }> {
  return mode.kind === 'table' || mode.kind === 'details' || mode.kind === 'help' ? mode : baseMode(mode.back)
}

/** Whose explanation is shown now. */
export function wantedExplanations(model: Model): readonly FeedId[] {
  const base = baseMode(model.mode)
  if (base.kind === 'details') return [base.id]
  return visibleRows(model)
    .filter((row) => row.state !== 'connected')
    .map((row) => row.id)
}

export function selectedRow(model: Model): Row | null {
  return model.selectedId === null ? null : (model.rows.get(model.selectedId) ?? null)
}

/** For people: the name, else the beginning of the id. */
export function nameOf(model: Pick<Model, 'names'>, id: FeedId): string {
  const name = clean(model.names.get(id) ?? '')
  return name === '' ? clean(id).slice(0, 9) : cut(name, 24)
}
