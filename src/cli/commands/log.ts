/** `log`: what happens to connections, a line each. */
import { Option } from 'commander'

import type { FeedId } from '../../core/types'
import type { ConnectionChange } from '../../manager'
import type { Cli, Register, RemoteSbot } from '../cli'
import { watch } from '../live'
import { type Color, clean, pad } from '../output'
import { calledBy, listPeers, namesOf } from '../targets'
import { place, reasonText, timestamp } from '../text'

export const registerLog: Register = (program, run) => {
  program
    .command('log')
    .description('a line for each dial, connection and failure, until Ctrl-C')
    .addOption(
      new Option('--since <moment>', 'what comes first: a line for each present connection, or nothing')
        .choices(['connected', 'none'])
        .default('connected'),
    )
    .addHelpText(
      'after',
      '\nExample:\n  sbot-connections log --since none --json | jq -c "select(.type == \\"failed\\")"',
    )
    .action(run((cli, _, options) => cli.withSbot((sbot) => log(cli, sbot, options.since === 'connected'))))
}

async function log(cli: Cli, sbot: RemoteSbot, withPresent: boolean): Promise<number> {
  const names = cli.isJson ? new Map<FeedId, string>() : await namesOf(sbot)
  const show = (change: ConnectionChange): void =>
    cli.isJson ? cli.out.json(change) : cli.out.line(lineOf(cli, change, names))
  const waiting: ConnectionChange[] = []
  let isShown = false
  // Asked for before the list, so that nothing is lost between the two.
  const changes = watch(cli, sbot.manager.connections.changes(), (change) => {
    if (isShown) show(change)
    else waiting.push(change)
    return undefined
  })
  const present = withPresent ? presentConnections(sbot) : Promise.resolve([])
  // Whichever fails first; the other is over then, too.
  for (const each of [changes, present]) each.catch(() => {})
  const first = await Promise.race([present, changes.then((): ConnectionChange[] => [])])
  for (const change of first) show(change)
  isShown = true
  for (const change of waiting) show(change)
  await changes
  return 0
}

async function presentConnections(sbot: RemoteSbot): Promise<ConnectionChange[]> {
  const peers = await listPeers(sbot)
  return peers
    .filter(({ connection }) => connection.status === 'connected')
    .map(({ id, connection }): ConnectionChange => {
      const { address, direction, since } = connection
      return {
        type: 'connected',
        peer: id,
        address,
        direction: direction ?? 'inbound',
        reason: null,
        at: since ?? 0,
      }
    })
    .sort((a, b) => a.at - b.at)
}

const COLORS: { readonly [type in ConnectionChange['type']]: Color } = {
  dialing: 'dim',
  connected: 'green',
  failed: 'red',
  disconnected: 'yellow',
  refused: 'yellow',
}
const TYPE_WIDTH = 'disconnected'.length

function lineOf({ out }: Cli, change: ConnectionChange, names: ReadonlyMap<FeedId, string>): string {
  const { type, peer, address, direction, at } = change
  const who = clean(calledBy(peer, names, out.isTerminal))
  const where = address === null ? direction : place(address)
  const why = reasonText(change.reason, type)
  const parts = [
    out.paint('dim', timestamp(at)),
    out.paint(COLORS[type] ?? 'dim', pad(type, TYPE_WIDTH)),
    who,
    clean(where),
    ...(why === '' ? [] : [clean(`(${why})`)]),
  ]
  return parts.join(' ')
}
