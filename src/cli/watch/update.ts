/**
 * How each event changes the model of `watch`: `update` gives the next model and what is to be done outside (calls to the sbot, the
 * end). Pure: no terminal, no sbot, no clock.
 */
import type { PeerRemoved, PeerView } from '../../core/selectors'
import type { FeedId, Priority } from '../../core/types'
import { type Command, KEYS, PRIORITY_KEYS } from './keys'
import {
  type Act,
  layoutOf,
  type Message,
  type Mode,
  type Model,
  nameOf,
  type Step,
  selectedRow,
  type WatchEvent,
} from './model'
import { arrange, COLUMNS, type Column, makeRow, type Row, rearrange, type Sort } from './rows'
import { clean, cut } from './text'
import { scrollMax } from './view'

const LOG_MAX = 50
/** More than any screen has lines. */
const EXPLANATIONS_MAX = 500
const ENTRY_MAX = 500
const NAMES_MAX = 100_000

// ---- keys --------------------------------------------------------------------------------------------------------------

const only = (model: Model): Step => ({ model, effects: [] })
const say = (model: Model, text: string, kind: Message['kind'] = 'info'): Step =>
  only({ ...model, message: { kind, text } })

function perform(model: Model, act: Act): Step {
  return { model: { ...model, message: { kind: 'pending', text: `${act.label} …` } }, effects: [act] }
}

/** Whom the keys are about. */
function target(model: Model): Row | null {
  if (model.mode.kind === 'details') return model.rows.get(model.mode.id) ?? null
  return selectedRow(model)
}

function aboutPeer(model: Model, run: (row: Row, name: string) => Step): Step {
  const row = target(model)
  return row ? run(row, nameOf(model, row.id)) : say(model, 'no peer is selected')
}

function ask(model: Model, question: string, act: Act): Step {
  return only({ ...model, message: null, mode: { kind: 'confirm', question, act, back: model.mode } })
}

function move(model: Model, by: number): Step {
  const { mode } = model
  if (mode.kind === 'details' || mode.kind === 'help')
    return only({ ...model, mode: { ...mode, scroll: Math.max(0, Math.min(mode.scroll + by, scrollMax(model))) } })
  const { order } = model
  const at = order.findIndex((row) => row.id === model.selectedId)
  const next = order[Math.max(0, Math.min(at + by, order.length - 1))]
  return only(scrolled({ ...model, selectedId: next?.id ?? null }))
}

function page(model: Model): number {
  return Math.max(1, layoutOf(model).body - 1)
}

function sortBy(model: Model, sort: Sort): Model {
  return scrolled({ ...model, sort, order: arrange(model.rows.values(), model.filter, sort) })
}

function sortedNextTo(model: Model, by: number): Step {
  const at = COLUMNS.indexOf(model.sort.column)
  const column = COLUMNS[(at + by + COLUMNS.length) % COLUMNS.length] as Column
  return only(sortBy(model, { column, isReversed: false }))
}

const priorityAct = (row: Row, name: string, priority: Priority | 'AUTO', done: string): Act => ({
  type: 'act',
  call: 'peer.setPriority',
  args: [{ id: row.id, priority }],
  label: priority === 'BANNED' ? `ban ${name}` : `priority of ${name}`,
  done,
  vain: 'nothing changed',
})

const COMMANDS: Readonly<Record<Command, (model: Model, key: string) => Step>> = {
  up: (model) => move(model, -1),
  down: (model) => move(model, 1),
  pageUp: (model) => move(model, -page(model)),
  pageDown: (model) => move(model, page(model)),
  first: (model) => move(model, -1e9),
  last: (model) => move(model, 1e9),
  details: (model) => {
    if (model.mode.kind === 'details') return only({ ...model, mode: { kind: 'table' } })
    const row = selectedRow(model)
    return row
      ? only({ ...model, message: null, mode: { kind: 'details', id: row.id, scroll: 0 } })
      : say(model, 'no peer is selected')
  },
  back: (model) =>
    model.mode.kind === 'details'
      ? only({ ...model, mode: { kind: 'table' }, message: null })
      : only({ ...filtered(model, ''), message: null }),
  filter: (model) =>
    only({
      ...model,
      message: null,
      mode: { kind: 'entry', purpose: 'filter', text: model.filter, before: model.filter, back: model.mode },
    }),
  sortLeft: (m) => sortedNextTo(m, -1),
  sortRight: (m) => sortedNextTo(m, 1),
  sortBy: (model, key) =>
    only(sortBy(model, { column: COLUMNS[Number(key) - 1] ?? model.sort.column, isReversed: false })),
  reverse: (model) => only(sortBy(model, { ...model.sort, isReversed: !model.sort.isReversed })),
  connect: (model) =>
    aboutPeer(model, (row, name) =>
      perform(model, {
        type: 'act',
        call: 'peer.connect',
        args: [{ id: row.id }],
        label: `connect ${name}`,
        done: 'connected',
        vain: 'not connected',
      }),
    ),
  hangUp: (model) =>
    aboutPeer(model, (row, name) => {
      const act: Act = {
        type: 'act',
        call: 'peer.disconnect',
        args: [{ id: row.id }],
        label: `hang up on ${name}`,
        done: 'done',
        vain: 'there was no connection',
      }
      if (row.state === 'idle' || row.state === 'banned') return say(model, `${name} is not connected`)
      return row.state === 'dialing' ? perform(model, act) : ask(model, `hang up on ${name}?`, act)
    }),
  ban: (model) =>
    aboutPeer(model, (row, name) =>
      row.peer.isBanned
        ? say(model, `${name} is banned already: u ends the ban`)
        : ask(model, `ban ${name}?`, priorityAct(row, name, 'BANNED', 'banned')),
    ),
  unban: (model) =>
    aboutPeer(model, (row, name) =>
      row.peer.isBanned
        ? perform(model, { ...priorityAct(row, name, 'AUTO', 'not banned any more'), label: `unban ${name}` })
        : say(model, `${name} is not banned`),
    ),
  priority: (model) =>
    aboutPeer(model, (row) =>
      only({ ...model, message: null, mode: { kind: 'priority', id: row.id, back: model.mode } }),
    ),
  longTerm: (model) =>
    aboutPeer(model, (row, name) => {
      const isLongTerm = !row.peer.isLongTerm
      return perform(model, {
        type: 'act',
        call: 'peer.setLongTerm',
        args: [{ id: row.id, isLongTerm }],
        label: `long-term of ${name}`,
        done: isLongTerm ? 'on' : 'off',
        vain: 'nothing changed',
      })
    }),
  startStop: (model) => {
    const act = { type: 'act', args: [], vain: 'nothing changed' } as const
    if (model.status === null) return say(model, 'not known yet whether it is on')
    return model.status.mode === 'off'
      ? ask(model, 'start dialing?', { ...act, call: 'connections.start', label: 'start', done: 'on' })
      : ask(model, 'stop, and hang up on everybody?', {
          ...act,
          call: 'connections.stop',
          label: 'stop',
          done: 'off',
        })
  },
  add: (model) =>
    only({
      ...model,
      message: null,
      mode: { kind: 'entry', purpose: 'address', text: '', before: model.filter, back: model.mode },
    }),
  help: (model) => only({ ...model, message: null, mode: { kind: 'help', scroll: 0, back: model.mode } }),
  redraw: (model) => ({ model, effects: [{ type: 'redraw' }] }),
  quit: (model) => ({ model, effects: [{ type: 'quit' }] }),
}

const keyOf = new Map(KEYS.flatMap((key) => key.keys.map((name) => [name, key] as const)))
const MOVES: readonly Command[] = ['up', 'down', 'pageUp', 'pageDown', 'first', 'last']

/** Keys that go back from wherever one is. */
const isBack = (key: string): boolean => key === 'ESCAPE' || key === 'n' || key === 'N'

function pressed(model: Model, key: string): Step {
  const { mode } = model
  const found = keyOf.get(key)
  if (key === 'CTRL_C') return { model, effects: [{ type: 'quit' }] }
  if (key === 'CTRL_L') return { model, effects: [{ type: 'redraw' }] }
  switch (mode.kind) {
    case 'confirm':
      if (key === 'y' || key === 'Y') return perform({ ...model, mode: mode.back }, mode.act)
      return isBack(key) ? say({ ...model, mode: mode.back }, 'nothing was done') : only(model)
    case 'priority': {
      const priority = Object.hasOwn(PRIORITY_KEYS, key) ? PRIORITY_KEYS[key] : undefined
      const back = { ...model, mode: mode.back }
      const row = model.rows.get(mode.id)
      if (!row) return say(back, 'that peer has gone')
      if (priority) return perform(back, priorityAct(row, nameOf(model, row.id), priority, priority.toLowerCase()))
      return isBack(key) ? say(back, 'nothing was done') : only(model)
    }
    case 'entry':
      return typed(model, mode, key)
    case 'help':
      if (key === '?' || key === 'q' || key === 'ENTER' || isBack(key)) return only({ ...model, mode: mode.back })
      return found && MOVES.includes(found.command) ? COMMANDS[found.command](model, key) : only(model)
    case 'table':
    case 'details':
      if (!found || (found.only === 'table' && mode.kind !== 'table')) return only(model)
      return COMMANDS[found.command](model, key)
  }
}

function typed(model: Model, mode: Extract<Mode, { kind: 'entry' }>, key: string): Step {
  const { purpose, text, back, before } = mode
  const withText = (next: string): Step => {
    const typing = { ...model, mode: { ...mode, text: next } }
    return only(purpose === 'filter' ? filtered(typing, next) : typing)
  }
  switch (key) {
    case 'ESCAPE': {
      const left = { ...model, mode: back }
      return only(purpose === 'filter' ? filtered(left, before) : left)
    }
    case 'ENTER':
    case 'KP_ENTER': {
      const left = { ...model, mode: back }
      const address = text.trim()
      if (purpose === 'filter') return only(left)
      if (address === '') return say(left, 'nothing was added')
      return perform(left, {
        type: 'act',
        call: 'peer.addRoute',
        args: [{ address, source: 'manual' }],
        label: `add ${cut(address, 40)}`,
        done: 'added',
        vain: 'known already',
      })
    }
    case 'BACKSPACE':
      return withText([...text].slice(0, -1).join(''))
    case 'CTRL_U':
      return withText('')
    default: {
      const isSign = key === ' ' || ([...key].length === 1 && clean(key) === key)
      return isSign && text.length < ENTRY_MAX ? withText(text + key) : only(model)
    }
  }
}

// ---- the rest of the events --------------------------------------------------------------------------------------------

/** With the selected row on the screen, moved as little as possible. */
function scrolled(model: Model): Model {
  const height = Math.max(1, layoutOf(model).body)
  const at = model.order.findIndex((row) => row.id === model.selectedId)
  const last = Math.max(0, model.order.length - height)
  let top = Math.max(0, Math.min(model.top, last))
  if (at >= 0) top = Math.min(Math.max(top, at - height + 1), at)
  return top === model.top ? model : { ...model, top }
}

/** With `order` in the place of the one before, and the selection on the same peer, or on the one that took its place. */
function reordered(model: Model, order: readonly Row[]): Model {
  const isThere = order.some((row) => row.id === model.selectedId)
  if (isThere || (model.selectedId === null && !model.isSynced)) return scrolled({ ...model, order })
  const at = Math.max(
    0,
    model.order.findIndex((row) => row.id === model.selectedId),
  )
  return scrolled({ ...model, order, selectedId: order[Math.min(at, order.length - 1)]?.id ?? null })
}

function filtered(model: Model, filter: string): Model {
  if (filter === model.filter) return model
  return reordered({ ...model, filter }, arrange(model.rows.values(), filter, model.sort))
}

function withRows(model: Model, changed: ReadonlyMap<FeedId, Row | null>): Model {
  if (changed.size === 0) return model
  const rows = new Map(model.rows)
  for (const [id, row] of changed)
    if (row) rows.set(id, row)
    else rows.delete(id)
  const next = reordered({ ...model, rows }, rearrange(model.order, changed, model.filter, model.sort))
  const { mode } = next
  if (mode.kind !== 'details' || rows.has(mode.id)) return next
  return { ...next, mode: { kind: 'table' }, message: { kind: 'info', text: 'that peer has gone' } }
}

function withPeers(model: Model, changed: readonly (PeerView | PeerRemoved)[]): Model {
  const rows = new Map<FeedId, Row | null>()
  for (const peer of changed)
    rows.set(peer.id, 'removed' in peer ? null : makeRow(peer, model.names.get(peer.id) ?? null))
  return withRows(model, rows)
}

function withNames(model: Model, given: readonly (readonly [FeedId, string])[]): Model {
  const names = new Map(model.names)
  const changed = new Map<FeedId, Row | null>()
  for (const [id, name] of given) {
    if (names.size >= NAMES_MAX || names.get(id) === name) continue
    names.set(id, name)
    const row = model.rows.get(id)
    if (row) changed.set(id, makeRow(row.peer, name))
  }
  return withRows({ ...model, names }, changed)
}

const SEVERITIES = ['error', 'warning', 'info'] as const

/** The next model, and what is to be done. Never throws, whatever the keys are. */
export function update(model: Model, event: WatchEvent): Step {
  switch (event.type) {
    case 'peers':
      return only(withPeers(model, event.changed))
    case 'synced': {
      const synced = { ...model, isSynced: true }
      return only(scrolled({ ...synced, selectedId: model.selectedId ?? model.order[0]?.id ?? null }))
    }
    case 'named':
      return only(withNames(model, event.names))
    case 'status':
      return only({ ...model, status: event.status })
    case 'findings': {
      const worst = [...event.findings].sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity))
      const finding = worst[0] ?? null
      return only(scrolled({ ...model, finding, findingsMore: Math.max(0, worst.length - 1) }))
    }
    case 'changes':
      return only({ ...model, log: [...model.log, ...event.changes].slice(-LOG_MAX) })
    case 'explained': {
      const explanations = new Map(model.explanations)
      for (const [id, explanation] of event.explanations) {
        // The latest are the last, so that those go first that nobody looks at any more.
        explanations.delete(id)
        explanations.set(id, explanation)
      }
      for (const id of explanations.keys()) {
        if (explanations.size <= EXPLANATIONS_MAX) break
        explanations.delete(id)
      }
      return only({ ...model, explanations })
    }
    case 'key':
      return pressed(model, event.key)
    case 'resized':
      return only(scrolled({ ...model, columns: event.columns, lines: event.lines }))
    case 'tick':
      return only({ ...model, now: event.now })
    case 'answered': {
      const { act, result } = event
      return say(model, `${act.label}: ${result === false ? act.vain : act.done}`)
    }
    case 'failed':
      return say(model, `${event.act.label}: ${clean(event.message)}`, 'error')
  }
}
