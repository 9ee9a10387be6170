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

function stateText(row: Row, now: number): string {
  const connection = row.peer?.connection
  if (!connection || connection.status === 'idle') return row.peer?.isBanned ? 'banned' : 'not connected'
  const since = connection.since === null ? '' : ` ${seconds(now - connection.since)}`
  const rtt = connection.rtt ? `, ${Math.round(connection.rtt.mean)} ms` : ''
  return `${connection.status} ${connection.direction === 'inbound' ? '←' : '→'}${since}${rtt}`
}

function nextText(row: Row, now: number): string {
  const { connected, reason, until } = row.explanation
  if (connected || reason === null || row.peer?.isBanned) return ''
  return until === null ? 'on an event' : `in ${seconds(until - now)}`
}

/** One line for each row and a head; at most `width` columns. */
export function render(rows: readonly Row[], status: Manager.Status, now: number, width = 120): string[] {
  const lines: string[] = []
  const why = Math.max(20, width - 8 - 26 - 34 - 12 - 9 - 5)
  const line = (...cells: string[]): string => {
    const [name = '', state = '', routes = '', reason = '', next = '', messages = ''] = cells
    return [pad(name, 8), pad(state, 26), pad(routes, 34), pad(reason, why), pad(next, 12), pad(messages, 9)]
      .join(' ')
      .trimEnd()
  }
  lines.push(line('PEER', 'STATE', 'ROUTES', 'WHY NOT', 'NEXT', 'MESSAGES'))
  for (const row of rows) {
    const { connected, reason, message } = row.explanation
    const routes = row.peer?.routes ?? []
    const messages = row.messages ? `${row.messages.have}/${row.messages.all}` : ''
    const whyNot = connected ? '' : reason === null ? message : `${reason}: ${message}`
    lines.push(
      line(
        row.name,
        stateText(row, now),
        routes[0] ? routeText(routes[0]) : 'none',
        whyNot,
        nextText(row, now),
        messages,
      ),
    )
    for (const route of routes.slice(1)) lines.push(line('', '', routeText(route)))
  }
  const classes = Object.keys(status.classes)
    .filter((name) => (status.classes[name]?.max ?? 0) > 0)
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
