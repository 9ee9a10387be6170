/** `peers`: who is known, who is connected, and why the others are not. */
import type { Explanation, PeerRemoved, PeerView } from '../../core/selectors'
import type { FeedId } from '../../core/types'
import type { Source } from '../../shell/live'
import type { Cli, Register, RemoteSbot } from '../cli'
import { pooled, watch } from '../live'
import { type Color, type Column, clean, table } from '../output'
import { calledBy, listPeers, namesOf } from '../targets'
import { classOf, duration, place, plural, shortId, timestamp, until } from '../text'

/** Peers without a connection that are shown, unless all are asked for. */
const IDLE_SHOWN = 20
/** A narrower terminal shows no addresses. */
const WHERE_COLUMNS = 100

export const registerPeers: Register = (program, run) => {
  program
    .command('peers')
    .description('the peers: state, class, since when, and why not or when next')
    .option('--live', 'then a line for each change, until Ctrl-C')
    .option('--connected', 'only those that are connected')
    .option('--all', `more than ${IDLE_SHOWN} of those that are not connected`)
    .addHelpText(
      'after',
      '\nExamples:\n  sbot-connections peers --connected\n  sbot-connections peers --json | jq -r .id\n\nOn a terminal ids are cut off; what is left of one is enough to name the peer to another command.',
    )
    .action(
      run((cli, _, options) =>
        cli.withSbot((sbot) => {
          const choice: Choice = {
            isConnectedOnly: options.connected === true,
            isAll: options.all === true || cli.isJson,
          }
          return options.live === true ? showLive(cli, sbot, choice) : showOnce(cli, sbot, choice)
        }),
      ),
    )
}

interface Choice {
  readonly isConnectedOnly: boolean
  readonly isAll: boolean
}

interface Row {
  readonly peer: PeerView
  readonly explanation: Explanation | null
}

const ORDER = ['connected', 'closing', 'dialing', 'idle']

function inOrder(a: PeerView, b: PeerView): number {
  const nextOf = (peer: PeerView): number => Math.min(...peer.routes.map((route) => route.nextAttemptAt))
  return (
    ORDER.indexOf(a.connection.status) - ORDER.indexOf(b.connection.status) ||
    Number(b.isLongTerm) - Number(a.isLongTerm) ||
    Number(a.isBanned) - Number(b.isBanned) ||
    (a.connection.since ?? 0) - (b.connection.since ?? 0) ||
    // Of two without a route neither is next.
    (nextOf(a) === nextOf(b) ? 0 : nextOf(a) - nextOf(b)) ||
    (a.id < b.id ? -1 : 1)
  )
}

async function showOnce(cli: Cli, sbot: RemoteSbot, choice: Choice): Promise<number> {
  const all = await listPeers(sbot)
  await showTable(cli, sbot, all, choice)
  return 0
}

async function showTable(cli: Cli, sbot: RemoteSbot, all: readonly PeerView[], choice: Choice): Promise<void> {
  const { out, isJson } = cli
  const sorted = [...all].sort(inOrder)
  const wanted = choice.isConnectedOnly ? sorted.filter((peer) => peer.connection.status === 'connected') : sorted
  const busy = wanted.filter((peer) => peer.connection.status !== 'idle').length
  const shown = choice.isAll ? wanted : wanted.slice(0, busy + IDLE_SHOWN)
  const rows = await pooled(shown, async (peer): Promise<Row> => {
    const isPlain = peer.connection.status === 'connected'
    return { peer, explanation: isPlain ? null : await sbot.manager.peer.explain(peer.id) }
  })
  if (isJson) {
    for (const { peer, explanation } of rows) out.json({ ...peer, explanation })
    return
  }
  if (rows.length === 0) {
    const none = choice.isConnectedOnly ? 'nobody is connected' : 'no peer is known'
    return out.line(choice.isConnectedOnly ? none : `${none}: sbot-connections add ADDRESS`)
  }
  const names = await namesOf(sbot)
  for (const line of table(out, columns(cli, names), rows)) out.line(line)
  const left = wanted.length - shown.length
  if (left > 0) out.line(out.paint('dim', `… and ${plural(left, 'peer')} more: --all`))
}

const COLORS: { readonly [status: string]: Color } = { connected: 'green', dialing: 'yellow', closing: 'yellow' }

function stateOf(peer: PeerView): string {
  return peer.connection.status === 'idle' && peer.isBanned ? 'banned' : peer.connection.status
}

function columns({ out, clock }: Cli, names: ReadonlyMap<FeedId, string>): Column<Row>[] {
  const now = clock.now()
  const hasNames = names.size > 0
  // What stands in the way says more than an address that is cut off, and both have no room.
  const hasRoom = !out.isTerminal || out.columns >= WHERE_COLUMNS
  return [
    { title: 'PEER', text: ({ peer }) => (out.isTerminal ? shortId(peer.id) : peer.id) },
    ...(hasNames
      ? [{ title: 'NAME', text: ({ peer }: Row) => names.get(peer.id) ?? '', canShrink: true, minWidth: 6 }]
      : []),
    {
      title: 'STATE',
      text: ({ peer }) => stateOf(peer),
      color: ({ peer }) => (peer.isBanned ? 'red' : (COLORS[peer.connection.status] ?? null)),
    },
    { title: 'CLASS', text: ({ peer }) => classOf(peer) ?? '' },
    {
      title: 'SINCE',
      text: ({ peer }) => (peer.connection.since === null ? '' : duration(now - peer.connection.since)),
      align: 'right',
    },
    {
      title: 'PRIORITY',
      text: ({ peer }) => (peer.isLongTerm ? `${peer.priority}, kept` : peer.priority),
    },
    ...(hasRoom ? [{ title: 'WHERE', text: ({ peer }: Row) => whereOf(peer), canShrink: true, minWidth: 12 }] : []),
    { title: 'WHY NOT', text: (row) => whyNot(row, now), canShrink: true, minWidth: 12 },
  ]
}

function whereOf({ connection, routes }: PeerView): string {
  const address = connection.address ?? routes[0]?.id
  if (address === undefined) return ''
  const more = routes.length > 1 ? ` +${routes.length - 1}` : ''
  return `${place(address)}${more}`
}

function whyNot({ peer, explanation }: Row, now: number): string {
  if (explanation === null || explanation.connected || peer.connection.status !== 'idle') return ''
  if (explanation.reason === 'off') return 'connections are off: sbot-connections start'
  const next = explanation.until === null ? '' : `${until(explanation.until, now)}: `
  return `${next}${explanation.message}`
}

type Item = PeerView | PeerRemoved | { readonly sync: true }

async function showLive(cli: Cli, sbot: RemoteSbot, choice: Choice): Promise<number> {
  const { out, isJson } = cli
  const first: PeerView[] = []
  const last = new Map<FeedId, string>()
  const names = isJson ? new Map<FeedId, string>() : await namesOf(sbot)
  /** Lines that wait for the table; null once it is there. */
  let held: string[] | null = []
  let isSynced = false
  const say = (line: string): void => {
    if (held) held.push(line)
    else out.line(line)
  }
  const showFirst = async (): Promise<void> => {
    await showTable(cli, sbot, first, choice)
    const lines = held ?? []
    held = null
    for (const line of lines) out.line(line)
  }
  const isShown = (peer: PeerView): boolean =>
    !choice.isConnectedOnly || peer.connection.status === 'connected' || last.has(peer.id)
  const onItem = (item: Item): undefined => {
    if ('sync' in item) {
      isSynced = true
      if (isJson) out.json(item)
      // If the sbot goes away in the middle of it, the source says so as well.
      else void showFirst().catch(() => {})
    } else if ('removed' in item) {
      if (isJson) out.json(item)
      else if (last.has(item.id)) say(liveLine(cli, item.id, names, 'forgotten', null))
      last.delete(item.id)
    } else if (isShown(item)) {
      const line = stateLine(item)
      if (isJson) out.json(item)
      else if (!isSynced) first.push(item)
      else if (last.get(item.id) !== line)
        say(liveLine(cli, item.id, names, line, COLORS[item.connection.status] ?? null))
      last.set(item.id, line)
    }
  }
  await watch(cli, sbot.manager.peers() as Source<Item>, onItem)
  return 0
}

/** What is worth a line when it changes. */
function stateLine(peer: PeerView): string {
  const { status, address } = peer.connection
  const parts = [stateOf(peer), classOf(peer), address === null ? null : place(address)]
  const failed = peer.routes.reduce((most, route) => Math.max(most, route.errorCount), 0)
  if (status === 'idle' && failed > 0) parts.push(`${plural(failed, 'failed dial')} in a row`)
  if (peer.isLongTerm) parts.push('kept')
  return parts.filter((part) => part !== null).join(' ')
}

function liveLine(
  { out, clock }: Cli,
  id: FeedId,
  names: ReadonlyMap<FeedId, string>,
  text: string,
  color: Color | null,
): string {
  const who = clean(calledBy(id, names, out.isTerminal))
  return `${out.paint('dim', timestamp(clock.now()))} ${who} ${color === null ? clean(text) : out.paint(color, text)}`
}
