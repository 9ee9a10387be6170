/** `why`: one sentence on why a peer is not connected, the numbers behind it for each route, and what would change it. */
import { Argument } from 'commander'

import type { Explanation, RouteExplanation } from '../../core/selectors'
import type { EpochMs } from '../../core/types'
import { type Cli, CliError, type Register, type RemoteSbot } from '../cli'
import { clean } from '../output'
import { asSteps, withLocalTimes } from '../remedies'
import { calledBy, idOf, namesOf, resolveTarget } from '../targets'
import { duration, plural, timestamp, until } from '../text'

export const registerWhy: Register = (program, run) => {
  program
    .command('why')
    .description('why a peer is not connected, and what would change it')
    .addArgument(new Argument('<peer>', 'id, the beginning of one (6 characters or more), a name, or an address'))
    .addHelpText(
      'after',
      '\nExample:\n  sbot-connections why @kEyOfA\n\nOf an id it also says whether the feed is replicated, if the sbot has the replication scheduler. The exit\ncode is 0 whatever the answer is.',
    )
    .action(run((cli, [given = '']) => cli.withSbot((sbot) => why(cli, sbot, given))))
}

interface Replicated {
  readonly text: string
}

async function why(cli: Cli, sbot: RemoteSbot, given: string): Promise<number> {
  // Feeds of other formats are no peers, and only the replication scheduler knows them.
  const isForeign = given.startsWith('ssb:')
  const target = isForeign ? given : await resolveTarget(sbot, given)
  const explanation = isForeign ? null : await sbot.manager.peer.explain(target)
  const id = isForeign ? given : idOf(target)
  const replication = await replicationOf(sbot, id)
  if (!explanation && !replication)
    throw new CliError('ERR_UNKNOWN_PEER', `no peer can have the id ${given}`, 'Peers have classic ids: @KEY.ed25519.')
  if (cli.isJson) {
    cli.out.json({ id, ...(explanation ?? {}), replication })
    return 0
  }
  if (explanation) {
    const name = calledBy(id, await namesOf(sbot), cli.out.isTerminal)
    show(cli, explanation, clean(name), id)
  }
  if (replication) cli.out.line(`${label(cli, 'feed')}${replication.text}`)
  return 0
}

/** Null where nobody can say: no scheduler, another one of that name, or an id that it does not take. */
async function replicationOf(sbot: RemoteSbot, id: string): Promise<Replicated | null> {
  const { replicationScheduler } = sbot.rpc
  if (typeof replicationScheduler?.explain !== 'function') return null
  try {
    const said: unknown = await replicationScheduler.explain(id)
    const { text } = (said ?? {}) as { text?: unknown }
    return typeof text === 'string' ? (said as Replicated) : null
  } catch {
    return null
  }
}

/** The whole answer in one sentence. */
function sentence({ connected, reason, message, until: end }: Explanation, name: string, now: EpochMs): string {
  if (connected) return `${name} is ${withLocalTimes(message)}.`
  if (reason === 'self') return `${name} is ourselves.`
  if (reason === 'unknown') return `${name} is no peer: ${message}.`
  const when = end === null ? '' : `, tried again ${until(end, now)}`
  return `${name} is not connected: ${message}${when}.`
}

const WIDTH = 12
const label = ({ out }: Cli, name: string): string => out.paint('dim', name.padEnd(WIDTH))

function show(cli: Cli, explanation: Explanation, name: string, id: string): void {
  const { out, clock } = cli
  const { connected, remedy, routes } = explanation
  out.line(out.paint(connected ? 'green' : 'yellow', sentence(explanation, name, clock.now())))
  for (const route of routes) {
    out.line()
    out.line(out.paint('bold', route.address))
    for (const [what, text] of numbersOf(route, connected && route.address === explanation.address, clock.now()))
      out.line(`  ${label(cli, what)}${text}`)
  }
  if (remedy === null) return
  if (routes.length > 0) out.line()
  asSteps(remedy, id).forEach((step, i) => {
    out.line(`${label(cli, i === 0 ? 'to do' : '')}${step}`)
  })
}

function numbersOf(route: RouteExplanation, isInUse: boolean, now: EpochMs): [string, string][] {
  const { reason, message, until: end, errorCount, lastError, lastErrorTime, slots, down } = route
  const ago = (at: EpochMs): string => `${timestamp(at)} (${duration(now - at)} ago)`
  const lines: [string, string][] = []
  if (isInUse) lines.push(['state', 'connected'])
  else lines.push(['state', `${reason ?? 'free'}: ${message}${end === null ? '' : `, until ${timestamp(end)}`}`])
  if (errorCount > 0) lines.push(['failed', `${plural(errorCount, 'time')} in a row`])
  // An older sbot tells less.
  if (lastError) {
    const { code, at } = lastError
    const text =
      code === null || lastError.message.includes(code) ? lastError.message : `${lastError.message} (${code})`
    lines.push(['last error', `${text}, ${ago(at)}`])
  } else if (lastErrorTime) lines.push(['last error', ago(lastErrorTime)])
  const { lastConnectionTime, connectionCount } = route
  lines.push([
    'worked',
    lastConnectionTime ? `${plural(connectionCount, 'time')}, last ${ago(lastConnectionTime)}` : 'never',
  ])
  if (slots)
    lines.push([
      'slots',
      `${slots.max} for ${slots.class}: ${slots.connected} connected, ${slots.dialing} dialing, ${slots.closing} closing`,
    ])
  for (const { layer, since, retryAt } of down ?? [])
    lines.push(['down', `${layer} since ${ago(since)}, tried again ${until(retryAt, now)}`])
  if (route.source) lines.push(['source', route.source])
  return lines
}
