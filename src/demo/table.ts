/** The demo's table as text: peers, routes, states, why not, next attempt, slots per class, messages. Pure. */
import type Manager = require('../index')

export interface Row {
  readonly name: string
  readonly note: string
  readonly peer: Manager.PeerView | null
  readonly explanation: Manager.Explanation
  /** Messages of this peer's feed: that we have, and that exist. Null where there is no feed to replicate. */
  readonly messages: { readonly have: number; readonly all: number } | null
}

function seconds(ms: number): string {
  return ms < 60_000 ? `${Math.max(0, Math.ceil(ms / 1000))} s` : `${Math.round(ms / 60_000)} min`
}

function pad(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, width - 1)}…` : text.padEnd(width)
}

function routeText(route: Manager.RouteView): string {
  const [place] = route.id.split('~')
  const failed = route.errorCount > 0 ? ` ✗${route.errorCount}` : ''
  const used = route.connectionStatus === 'idle' ? '' : ` ${route.connectionStatus}`
  return `${place}${used}${failed}`
}

function stateText(row: Row, now: number, isNarrow: boolean): string {
  const connection = row.peer?.connection
  if (!connection || connection.status === 'idle') return row.peer?.isBanned ? 'banned' : 'not connected'
  const since = connection.since === null ? '' : ` ${seconds(now - connection.since)}`
  const rtt = connection.rtt && !isNarrow ? `, ${Math.round(connection.rtt.mean)} ms` : ''
  return `${connection.status} ${connection.direction === 'inbound' ? '←' : '→'}${since}${rtt}`
}

/** As much in less room: at how many columns a table with all that there is would cut off the reasons. */
const NARROW = 110

function narrowRouteText(route: Manager.RouteView): string {
  const used = { connected: ' ✓', dialing: ' …' }[route.connectionStatus as string] ?? ''
  return `${route.id.split('~')[0]}${used}${route.errorCount > 0 ? ` ✗${route.errorCount}` : ''}`
}

function nextText(row: Row, now: number): string {
  const { connected, reason, until } = row.explanation
  if (connected || reason === null || row.peer?.isBanned) return ''
  return until === null ? 'on an event' : `in ${seconds(until - now)}`
}

/** One line for each row and a head; at most `width` columns. */
export function render(rows: readonly Row[], status: Manager.Status, now: number, width = 120): string[] {
  const lines: string[] = []
  const isNarrow = width < NARROW
  const widths = isNarrow ? [6, 19, 24] : [8, 26, 34]
  const used = widths.reduce((sum, each) => sum + each + 1, 0)
  const why = Math.max(20, width - used - (isNarrow ? 0 : 12 + 9 + 2))
  const line = (...cells: string[]): string =>
    [...widths, why, ...(isNarrow ? [] : [12, 9])]
      .map((each, i) => pad(cells[i] ?? '', each))
      .join(' ')
      .trimEnd()
  const textOf = isNarrow ? narrowRouteText : routeText
  lines.push(line('PEER', 'STATE', 'ROUTES', 'WHY NOT', 'NEXT', 'MESSAGES'))
  for (const row of rows) {
    const { connected, message } = row.explanation
    const routes = row.peer?.routes ?? []
    const messages = row.messages ? `${row.messages.have}/${row.messages.all}` : ''
    const next = nextText(row, now)
    const whyNot = connected ? '' : isNarrow && next !== '' ? `${next}: ${message}` : message
    lines.push(
      line(row.name, stateText(row, now, isNarrow), routes[0] ? textOf(routes[0]) : 'none', whyNot, next, messages),
    )
    for (const route of routes.slice(1)) lines.push(line('', '', textOf(route)))
  }
  const classes = Object.keys(status.classes)
    // The others have nobody to dial.
    .filter((name) => {
      const { max = 0, connected = 0, dialing = 0, waiting = 0 } = status.classes[name] ?? {}
      return max > 0 && connected + dialing + waiting > 0
    })
    .map((name) => {
      const found = status.classes[name]
      return found ? `${name} ${found.connected}+${found.dialing}/${found.max}` : name
    })
  lines.push('')
  lines.push(
    `slots (connected+dialing/max): ${classes.join('  ')}   inbound ${status.inbound.connected}   link ${status.environment.link}`,
  )
  return lines
}
