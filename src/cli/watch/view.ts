/**
 * A model as lines of styled cells. Pure: the terminal is screen.ts. At most `lines` lines, none wider than `columns`; all text in
 * them is clean. Only what is on the screen is looked at, so that a frame costs the same with ten peers and ten thousand.
 */
import type { ClassStatus, Explanation, RouteView } from '../../core/selectors'
import type { EpochMs } from '../../core/types'
import type { ConnectionChange } from '../../manager'
import { asKeys, withLocalTimes } from '../remedies'
import { KEYS } from './keys'
import { baseMode, LOG_LINES, layoutOf, type Model, nameOf, visibleRows } from './model'
import { COLUMNS, type Column, type Row } from './rows'
import { clean, cut, displayWidth, duration, pad, wrap } from './text'

export type Color = 'red' | 'green' | 'yellow' | 'blue' | 'cyan'

export interface Style {
  readonly color?: Color
  readonly isBold?: boolean
  readonly isDim?: boolean
  readonly isInverse?: boolean
}

export interface Cell {
  /** Column of the first character, 0 at the left. Cells of a line do not overlap and are in order. */
  readonly x: number
  readonly text: string
  readonly style: Style
}

export type Line = readonly Cell[]

export interface Screen {
  readonly lines: readonly Line[]
  /** Where the user types; null: no cursor. */
  readonly cursor: { readonly x: number; readonly y: number } | null
}

const PLAIN: Style = {}
const DIM: Style = { isDim: true }
const BOLD: Style = { isBold: true }
const RED: Style = { color: 'red' }

/** Cells one after the other, with nothing between them, cut at the width. */
function join(width: number, ...parts: readonly (readonly [text: string, style?: Style])[]): Line {
  const cells: Cell[] = []
  let x = 0
  for (const [text, style = PLAIN] of parts) {
    if (x >= width) break
    const shown = cut(text, width - x)
    if (shown !== '') cells.push({ x, text: shown, style })
    x += displayWidth(shown)
  }
  return cells
}

// ---- head --------------------------------------------------------------------------------------------------------------

function titleLine(model: Model): Line {
  const { status, columns, filter, order, rows } = model
  const mode = status?.mode ?? '…'
  const link = status?.environment.link
  const down =
    status?.environment.down.filter((layer) => layer.layer !== 'link').map((layer) => clean(layer.layer)) ?? []
  const { column, isReversed } = model.sort
  return join(
    columns,
    ['sbot-connections ', BOLD],
    [`${columns >= 150 ? clean(model.selfId) : cut(clean(model.selfId), 10)}  `, DIM],
    [mode, { isBold: true, color: mode === 'on' ? 'green' : 'yellow' }],
    [link === undefined ? '' : `  link ${link}`, link === 'down' ? RED : PLAIN],
    ...(down.length > 0 ? [[`  down: ${down.slice(0, 3).join(', ')}`, { color: 'yellow' }] as const] : []),
    [filter === '' ? `  ${rows.size} peers` : `  ${order.length} of ${rows.size} peers`],
    [status ? `  ${status.routes} routes` : ''],
    [model.isSynced ? '' : '  loading…', DIM],
    [`  by ${column} ${isReversed ? '▼' : '▲'}`, DIM],
    [filter === '' ? '' : `  /${clean(filter)}`, { color: 'cyan' }],
  )
}

const BAR_MAX = 8

function bar({ max, connected, dialing, closing }: ClassStatus): { readonly full: string; readonly rest: string } {
  const size = Math.min(BAR_MAX, Math.max(max, connected))
  const scale = Math.max(max, connected, 1) / Math.max(1, size)
  const full = Math.min(size, Math.ceil(connected / scale))
  const half = Math.min(size - full, Math.ceil((dialing + closing) / scale))
  return { full: '█'.repeat(full), rest: `${'▒'.repeat(half)}${'░'.repeat(Math.max(0, size - full - half))}` }
}

function slotsLine({ status, columns }: Model): Line {
  if (!status) return []
  const shown = Object.entries(status.classes).filter(
    ([, each]) => each.max > 0 || each.connected + each.dialing + each.closing > 0,
  )
  const parts = shown.flatMap(([name, each]) => {
    const { full, rest } = bar(each)
    return [
      [`${clean(name).slice(0, 12)} `],
      [full, { color: 'green' }],
      [rest, DIM],
      [` ${each.connected}/${each.max}${each.dialing > 0 ? `+${each.dialing}` : ''}  `],
    ] as const
  })
  const { connected, max } = status.inbound
  // Before the classes, of which a narrow terminal cuts off the last.
  return join(columns, [`inbound ${connected}${max === null ? '' : `/${max}`}  `], ...parts)
}

const SEVERITY_STYLES = {
  error: { color: 'red', isBold: true },
  warning: { color: 'yellow' },
  info: { color: 'cyan' },
} as const

function findingLines({ finding, findingsMore, columns }: Model, height: number): Line[] {
  if (!finding || height === 0) return []
  const more = findingsMore > 0 ? ` (and ${findingsMore} more: sbot-connections doctor)` : ''
  const style = SEVERITY_STYLES[finding.severity] ?? PLAIN
  const remedy = finding.remedy === null ? '' : ` → ${asKeys(finding.remedy)}`
  return wrap(clean(`${withLocalTimes(finding.message)}${remedy}${more}`), columns, height).map((text) =>
    join(columns, [text, style]),
  )
}

// ---- the table ---------------------------------------------------------------------------------------------------------

interface Shape {
  readonly title: string
  readonly width: number
  /** Grows with what is left, by this share. */
  readonly share: number
  /** The last that goes when there is no room has the highest. */
  readonly rank: number
  readonly text: (row: Row, model: Model) => string
  readonly style?: (row: Row, model: Model) => Style
}

const STATE_STYLES: Readonly<Record<Row['state'], Style>> = {
  connected: { color: 'green' },
  dialing: { color: 'cyan' },
  closing: { color: 'yellow' },
  idle: PLAIN,
  banned: { color: 'red' },
}

const SHAPES: Readonly<Record<Column, Shape>> = {
  peer: {
    title: 'PEER',
    width: 12,
    share: 3,
    rank: 9,
    text: (row) => (row.name === null ? clean(row.id) : `${row.name} ${clean(row.id)}`),
    style: (row) => (row.peer.isLongTerm ? BOLD : PLAIN),
  },
  state: {
    title: 'STATE',
    width: 9,
    share: 0,
    rank: 8,
    text: (row) => row.state,
    style: (row) => STATE_STYLES[row.state],
  },
  direction: {
    title: 'DIR',
    width: 3,
    share: 0,
    rank: 2,
    text: ({ direction }) => (direction === 'inbound' ? 'in' : direction === 'outbound' ? 'out' : ''),
  },
  class: { title: 'CLASS', width: 6, share: 0, rank: 3, text: (row) => row.class },
  since: {
    title: 'SINCE',
    width: 7,
    share: 0,
    rank: 4,
    text: (row, { now }) => (row.since === null ? '' : duration(now - row.since)),
  },
  rtt: {
    title: 'RTT',
    width: 7,
    share: 0,
    rank: 1,
    text: ({ rttMs }) => (rttMs === null ? '' : `${Math.min(99_999, Math.round(rttMs))} ms`),
  },
  errors: {
    title: 'ERR',
    width: 4,
    share: 0,
    rank: 5,
    text: ({ errorCount }) => (errorCount === 0 ? '' : errorCount > 999 ? '999+' : String(errorCount)),
    style: () => ({ color: 'red' }),
  },
  priority: {
    title: 'PRIORITY',
    width: 8,
    share: 0,
    rank: 6,
    text: ({ peer }) => peer.priority.toLowerCase(),
    style: ({ peer }) => (peer.priority === 'HIGH' ? BOLD : peer.priority === 'BANNED' ? { color: 'red' } : DIM),
  },
  next: { title: 'NEXT ATTEMPT', width: 16, share: 5, rank: 7, text: nextText, style: () => DIM },
}

/** Why it is not connected, and when it is tried: what the sbot has said, or what the row itself tells until it has. */
function nextText(row: Row, model: Model): string {
  if (row.state === 'connected') return row.peer.isLongTerm ? 'long-term' : ''
  const explanation = model.explanations.get(row.id)
  if (!explanation) {
    const ms = (row.nextAt ?? 0) - model.now
    return ms > 0 ? `in ${duration(ms)}` : ''
  }
  return whyNot(explanation, model.now)
}

function whyNot({ connected, reason, until, message }: Explanation, now: EpochMs): string {
  if (connected) return ''
  const when = until === null ? '' : `in ${duration(until - now)}, `
  return reason === null ? 'when its turn comes' : `${when}${reason}: ${clean(message)}`
}

interface Placed {
  readonly column: Column
  readonly x: number
  readonly width: number
}

/** Which columns there is room for, and where. The one that is sorted by is the last but two to go. */
export function placeColumns(columns: number, sorted: Column): readonly Placed[] {
  const rankOf = (column: Column): number => SHAPES[column].rank + (column === sorted ? 5 : 0)
  let shown = [...COLUMNS]
  const needed = (): number => shown.reduce((sum, column) => sum + SHAPES[column].width + 1, -1)
  while (shown.length > 1 && needed() > columns) {
    const least = shown.reduce((a, b) => (b !== 'peer' && (a === 'peer' || rankOf(b) < rankOf(a)) ? b : a))
    shown = shown.filter((column) => column !== least)
  }
  const shares = shown.reduce((sum, column) => sum + SHAPES[column].share, 0)
  const left = Math.max(0, columns - needed())
  let x = 0
  return shown.map((column) => {
    const { width, share } = SHAPES[column]
    const wider = shares === 0 ? 0 : Math.floor((left * share) / shares)
    const placed = { column, x, width: Math.min(width + wider, Math.max(0, columns - x)) }
    x += placed.width + 1
    return placed
  })
}

function headerLine({ columns, sort }: Model): Line {
  const mark = sort.isReversed ? '▼' : '▲'
  return placeColumns(columns, sort.column).map(({ column, x, width }) => ({
    x,
    text: pad(`${SHAPES[column].title}${column === sort.column ? mark : ''}`, width),
    style: column === sort.column ? { isBold: true, isInverse: true } : BOLD,
  }))
}

function rowLine(row: Row, model: Model): Line {
  const isSelected = row.id === model.selectedId
  const placed = placeColumns(model.columns, model.sort.column)
  const cells = placed.map(({ column, x, width }, at): Cell => {
    const { text, style } = SHAPES[column]
    // A selected line is one block of one colour, the gaps between the cells included.
    const gap = isSelected && at < placed.length - 1 ? 1 : 0
    const shown = pad(text(row, model), width) + ' '.repeat(gap)
    return { x, text: shown, style: isSelected ? { isInverse: true } : (style?.(row, model) ?? PLAIN) }
  })
  return cells.filter((cell) => cell.text !== '')
}

function tableLines(model: Model): Line[] {
  const rows = visibleRows(model)
  if (rows.length > 0) return rows.map((row) => rowLine(row, model))
  const text = !model.isSynced
    ? 'loading…'
    : model.filter === ''
      ? 'no peers are known: a adds an address'
      : 'no peer matches: Esc shows all'
  return [join(model.columns, [text, DIM])]
}

// ---- one peer, and the help --------------------------------------------------------------------------------------------

/** The keys that would change it. */
const HELPFUL_KEYS: Readonly<Record<string, string>> = {
  off: 's starts dialing, c connects to this peer alone',
  banned: 'u ends the ban',
  initialSync: 'c connects all the same',
  offline: 'c tries now',
  peerDialing: 'd gives it up',
  manualOnly: 'c connects, l has it kept up',
  typeDisabled: 'c and l need no slot',
  backoff: 'c dials it now, p h has it tried more often, l has it kept up',
  hostThrottled: 'c dials it now',
  transportDown: 'c tries now',
  slotsFull: 'c and l need no slot, p h goes before others',
  noRoute: 'a adds an address',
}

function ago(at: EpochMs | null, now: EpochMs): string {
  return at === null ? 'never' : `${duration(now - at)} ago`
}

function routeLines(
  route: RouteView,
  explanation: Explanation | undefined,
  model: Model,
): readonly (readonly [string, Style])[] {
  const { now } = model
  const why = explanation?.routes.find((each) => each.address === route.id)
  const facts = [
    clean(route.source),
    route.connectionStatus === 'idle' ? null : route.connectionStatus,
    route.isAutomatic ? null : 'by hand only',
    route.isStored ? 'stored' : 'not stored',
    route.connectionCount === 0
      ? 'never connected'
      : `${route.connectionCount} connection${route.connectionCount === 1 ? '' : 's'}, the last ${ago(route.lastConnectionTime, now)}`,
    route.errorCount === 0 ? null : `${route.errorCount} failed in a row`,
  ].filter((each) => each !== null)
  return [
    [clean(route.id), BOLD],
    [`  ${facts.join(' · ')}`, PLAIN],
    ...(why && why.reason !== null && route.connectionStatus === 'idle'
      ? [
          [
            `  ${why.reason}: ${clean(why.message)}${why.until === null ? '' : `, next in ${duration(why.until - now)}`}`,
            PLAIN,
          ] as const,
        ]
      : []),
    ...[...route.errors]
      .reverse()
      .map(
        (error) =>
          [
            `  ${ago(error.at, now)}: ${error.code === null ? '' : `${clean(error.code)} `}${clean(error.message)}`,
            { color: 'red' },
          ] as const,
      ),
  ]
}

function detailsText(model: Model, row: Row): readonly (readonly [string, Style])[] {
  const { now } = model
  const { peer } = row
  const { connection } = peer
  const explanation = model.explanations.get(row.id)
  const parts = [
    row.state,
    connection.direction,
    row.class === '' ? null : row.class,
    row.since === null ? null : `for ${duration(now - row.since)}`,
    row.rttMs === null ? null : `round trip ${Math.round(row.rttMs)} ms`,
    `priority ${peer.priority.toLowerCase()}${peer.prioritisedBy === null ? '' : ` (by ${clean(peer.prioritisedBy)})`}`,
    peer.isLongTerm ? 'long-term' : null,
  ].filter((each) => each !== null)
  const reason = explanation?.reason ?? null
  return [
    [`${row.name === null ? '' : `${row.name} `}${clean(row.id)}`, BOLD],
    [parts.join(' · '), STATE_STYLES[row.state]],
    ...(explanation
      ? [
          [
            explanation.connected
              ? clean(withLocalTimes(explanation.message))
              : `Not connected: ${whyNot(explanation, now)}`,
            PLAIN,
          ] as const,
        ]
      : [['…', DIM] as const]),
    ...(explanation && explanation.remedy !== null && !explanation.connected
      ? [[`To change it: ${clean(asKeys(explanation.remedy))}`, { color: 'cyan' }] as const]
      : []),
    ...(reason !== null && Object.hasOwn(HELPFUL_KEYS, reason)
      ? [[`Keys: ${HELPFUL_KEYS[reason] ?? ''}`, { color: 'cyan' }] as const]
      : []),
    ['', PLAIN],
    [peer.routes.length === 0 ? 'no routes' : `${peer.routes.length} route${peer.routes.length === 1 ? '' : 's'}`, DIM],
    ...peer.routes.flatMap((route) => routeLines(route, explanation, model)),
  ]
}

function helpText(): readonly (readonly [string, Style])[] {
  const width = Math.max(...KEYS.map(({ shown }) => displayWidth(shown)))
  return [
    ['Keys', BOLD],
    ...KEYS.map(({ shown, does }) => [`${pad(shown, width)}  ${does}`, PLAIN] as const),
    ['', PLAIN],
    ['Bold peers are long-term. In the bars, █ is a connection, ▒ a dial under way, ░ a free slot.', DIM],
  ]
}

/** All lines of what is shown in the place of the table; long ones go on in the next. Null: the table itself is shown. */
function pageLines(model: Model): { readonly lines: readonly Line[]; readonly scroll: number } | null {
  const shown = baseMode(model.mode)
  if (shown.kind === 'table') return null
  const row = shown.kind === 'details' ? model.rows.get(shown.id) : undefined
  const text = shown.kind === 'help' ? helpText() : row ? detailsText(model, row) : []
  const lines = text.flatMap(([each, style]): Line[] => {
    const indent = each.startsWith('  ') ? '  ' : ''
    const wrapped = wrap(each.slice(indent.length), model.columns - indent.length, 20)
    return wrapped.length === 0 ? [[]] : wrapped.map((line) => join(model.columns, [indent + line, style]))
  })
  return { lines, scroll: shown.scroll }
}

/** How far down one can go in the help or in the details of a peer. */
export function scrollMax(model: Model): number {
  const { header, body } = layoutOf(model)
  return Math.max(0, (pageLines(model)?.lines.length ?? 0) - header - body)
}

// ---- below -------------------------------------------------------------------------------------------------------------

function timeText(at: EpochMs): string {
  const date = new Date(at)
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((each) => String(each).padStart(2, '0')).join(':')
}

const CHANGE_STYLES: Readonly<Record<ConnectionChange['type'], Style>> = {
  dialing: DIM,
  connected: { color: 'green' },
  failed: { color: 'red' },
  disconnected: { color: 'yellow' },
  refused: { color: 'yellow' },
}

function logLines(model: Model, height: number): Line[] {
  if (height === 0) return []
  const latest = model.log.slice(-LOG_LINES)
  const lines = latest.map((change) => {
    const { type, peer, address, direction, reason, at } = change
    const arrow = direction === 'inbound' ? '←' : '→'
    const via = address === null ? '' : ` ${clean(address)}`
    return join(
      model.columns,
      [`${timeText(at)} `, DIM],
      [pad(type, 13), CHANGE_STYLES[type]],
      [`${arrow} ${nameOf(model, peer)}`],
      [reason === null ? '' : ` (${clean(reason)})`],
      [via, DIM],
    )
  })
  return [join(model.columns, ['─'.repeat(Math.max(0, model.columns)), DIM]), ...lines]
}

const HINTS = 'Enter details  c connect  d hang up  b ban  p priority  l long-term  / filter  < > sort  ? help  q quit'

function bottomLine(model: Model): { readonly line: Line; readonly cursorX: number | null } {
  const { mode, message, columns } = model
  const still = (line: Line) => ({ line, cursorX: null })
  switch (mode.kind) {
    case 'confirm':
      return still(join(columns, [`${mode.question} `, { color: 'yellow', isBold: true }], ['y yes, n no']))
    case 'priority':
      return still(
        join(
          columns,
          [`priority of ${nameOf(model, mode.id)}: `, { color: 'yellow', isBold: true }],
          ['h high, m medium, l low, a automatic, Esc'],
        ),
      )
    case 'entry': {
      const label = mode.purpose === 'filter' ? '/' : 'address: '
      const room = Math.max(0, columns - displayWidth(label) - 1)
      // The end is what one types.
      const signs = [...clean(mode.text)]
      while (displayWidth(signs.join('')) > room) signs.shift()
      const text = signs.join('') + (mode.text.endsWith(' ') && signs.length > 0 ? ' ' : '')
      const line = join(columns, [label, { color: 'cyan', isBold: true }], [text])
      return { line, cursorX: Math.min(columns - 1, displayWidth(label) + displayWidth(text)) }
    }
    default: {
      if (message)
        return still(
          join(columns, [
            clean(message.text),
            message.kind === 'error' ? { color: 'red' } : message.kind === 'pending' ? DIM : PLAIN,
          ]),
        )
      return still(join(columns, [mode.kind === 'table' ? HINTS : 'Esc back  ↑ ↓ scroll  ? help  q quit', DIM]))
    }
  }
}

/** The whole screen. */
export function draw(model: Model): Screen {
  const { columns, lines: height } = model
  if (columns <= 0 || height <= 0) return { lines: [], cursor: null }
  const layout = layoutOf(model)
  const lines: Line[] = []
  if (layout.title > 0) lines.push(titleLine(model))
  if (layout.slots > 0) lines.push(slotsLine(model))
  const finding = findingLines(model, layout.finding)
  for (let at = 0; at < layout.finding; at++) lines.push(finding[at] ?? [])
  const space = layout.header + layout.body
  const page = pageLines(model)
  const top = page ? Math.max(0, Math.min(page.scroll, page.lines.length - space)) : 0
  const header = layout.header > 0 ? [headerLine(model)] : []
  const body = page ? page.lines.slice(top, top + space) : [...header, ...tableLines(model)]
  for (let at = 0; at < space; at++) lines.push(body[at] ?? [])
  const log = logLines(model, layout.log)
  for (let at = 0; at < layout.log; at++) lines.push(log[at] ?? [])
  const { line, cursorX } = bottomLine(model)
  if (layout.bottom > 0) lines.push(line)
  return { lines, cursor: cursorX === null || layout.bottom === 0 ? null : { x: cursorX, y: lines.length - 1 } }
}

/** A line as it looks without styles: for tests and logs. */
export function plainText(line: Line): string {
  let text = ''
  for (const cell of line) text += ' '.repeat(Math.max(0, cell.x - displayWidth(text))) + cell.text
  return text
}
