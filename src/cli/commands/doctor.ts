/**
 * `doctor`: what the manager finds wrong, and what only the command line can see: whether there is a manager at all, whether
 * anything replicates, whether Tor listens on this machine, and whose clock is wrong.
 */

import { decode } from 'multiserver-address'
import { connect } from 'net'

import { type Finding, SEVERITIES, type Severity } from '../../core/diagnosis'
import type { Status } from '../../core/selectors'
import type { FeedId } from '../../core/types'
import type { Clock } from '../../shell/clock'
import type { Metric } from '../../shell/metrics'
import type { Cli, Register, RemoteSbot } from '../cli'
import { CliError } from '../cli'
import { clean } from '../output'
import { asSteps, withLocalTimes } from '../remedies'
import { EXIT } from '../settings'
import { calledBy, namesOf } from '../targets'
import { duration, plural, timestamp } from '../text'

/** Whether anybody listens there. */
export type IsListening = (host: string, port: number) => Promise<boolean>

/** Where multiserver looks for a SOCKS proxy: Tor itself, then Tor Browser. */
const TOR_HOST = '127.0.0.1'
const TOR_PORTS: readonly number[] = [9050, 9150]
const PROBE_LIMIT_MS = 2_000
/** An answer may take its time. */
const CLOCK_LIMIT_MS = 5_000
const MAX_PROBLEMS = 10
const MAX_SHOWN = 3

export const registerDoctor: Register = (program, run) => registerDoctorWith(() => isListeningAt)(program, run)

/** `probe`: made for each run, with its clock. */
export const registerDoctorWith =
  (probe: (clock: Clock) => IsListening): Register =>
  (program, run) => {
    program
      .command('doctor')
      .description('look at everything, and say what is wrong and what to do')
      .option('--strict', 'warnings count for the exit code too')
      .addHelpText(
        'after',
        '\nExample:\n  sbot-connections doctor --strict || echo "something is wrong"\n\nExit code 0: no errors (with --strict: nor warnings), 1: some.',
      )
      .action(
        run((cli, _, options) =>
          cli.withSbot(async (sbot) => {
            const isLocal = isOnThisMachine(options.remote)
            const found = await examine(cli, sbot, isLocal ? probe(cli.clock) : null)
            if (cli.isJson) for (const each of found) cli.out.json(each)
            else await show(cli, sbot, found)
            const isBad = ({ severity }: Finding): boolean =>
              severity === 'error' || (severity === 'warning' && options.strict === true)
            return found.some(isBad) ? EXIT.failed : 0
          }),
        ),
      )
  }

export const isListeningAt: IsListening = (host, port) =>
  new Promise((resolve) => {
    const socket = connect({ host, port })
    const end = (isThere: boolean): void => {
      socket.destroy()
      resolve(isThere)
    }
    socket.setTimeout(PROBE_LIMIT_MS, () => end(false))
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
  })

/** Without `--remote` it is found by its folder. */
function isOnThisMachine(remote: unknown): boolean {
  if (typeof remote !== 'string') return true
  try {
    return decode(remote).some(([transport]) => {
      const { name, data } = transport as { name: string; data: readonly string[] }
      return name === 'unix' || /^(\/\/)?(localhost|127\.|\[?::1)/.test(data[0] ?? '')
    })
  } catch {
    return false
  }
}

// ---- looking ------------------------------------------------------------------------------------------------------------

function finding(severity: Severity, code: string, message: string, remedy: string | null): Finding {
  return { code, severity, message, remedy, since: null, peers: [] }
}

/** All findings, worst first. `isListening`: null where this is not the machine of the sbot. */
export async function examine(
  { clock }: Pick<Cli, 'clock'>,
  sbot: RemoteSbot,
  isListening: IsListening | null,
): Promise<Finding[]> {
  const found: (Finding | null)[] = []
  if (sbot.has('connections.status')) {
    const status = await sbot.manager.connections.status()
    if (sbot.has('connections.diagnose')) found.push(...(await sbot.manager.connections.diagnose()))
    else found.push(OLD_VERSION, ...withoutDiagnosis(status))
    if (isListening) found.push(await torOf(status, found, isListening))
    if (sbot.has('metrics')) found.push(await clockOf(clock, sbot))
  } else found.push(noManager(sbot))
  found.push(...(await replicationOf(sbot)))
  return found
    .filter((each): each is Finding => each !== null)
    .sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity))
}

function noManager({ rpc }: RemoteSbot): Finding {
  const other = ['conn', 'gossip'].find((name) => rpc[name])
  const what = other === 'conn' ? 'ssb-conn' : 'ssb-gossip'
  return other
    ? finding(
        'error',
        'noManager',
        `connections of this sbot are managed by ${what}, not by this package`,
        "load this package in its place: .use(require('sbot-connection-manager/conn'))",
      )
    : finding(
        'error',
        'noManager',
        'this sbot has no connection manager: it dials nobody',
        "load this package: .use(require('sbot-connection-manager/conn'))",
      )
}

const OLD_VERSION = finding(
  'warning',
  'oldVersion',
  'the sbot runs an older version of this package, which cannot say all that is wrong',
  'update the package where the sbot runs, and restart it',
)

/** The little that the status of an older version tells. */
function withoutDiagnosis({ mode, environment, peers }: Status): (Finding | null)[] {
  return [
    mode === 'off' ? finding('error', 'off', 'the manager is off: nobody is dialed', 'connections.start()') : null,
    environment.link === 'down'
      ? finding('error', 'linkDown', 'our own link is down', 'check the network of the machine')
      : null,
    peers === 0 ? finding('error', 'nothingKnown', 'nobody is known', 'use an invite, or peer.addRoute') : null,
  ]
}

/** Tor counts where there is somebody to dial by it. */
async function torOf(
  { classes }: Status,
  found: readonly (Finding | null)[],
  isListening: IsListening,
): Promise<Finding | null> {
  const onion = Object.hasOwn(classes, 'onion') ? classes.onion : undefined
  if (!onion || onion.max === 0 || onion.waiting + onion.dialing + onion.connected === 0) return null
  const isFailing = (code: string): boolean =>
    found.some((each) => each?.code === code && /\bonion\b/.test(each.message))
  // Nobody here would ask Tor.
  if (isFailing('transportMissing')) return null
  const ports: number[] = []
  for (const port of TOR_PORTS) if (await isListening(TOR_HOST, port)) ports.push(port)
  if (ports.length === 0)
    return finding(
      onion.connected > 0 ? 'info' : 'warning',
      'torNotListening',
      `nothing listens on ${TOR_HOST}, ports ${TOR_PORTS.join(' and ')}, and onion addresses are known`,
      'start Tor (systemctl start tor, or Tor Browser), or leave onion out: connections.setMaxByType({onion: 0})',
    )
  if (!isFailing('transportDown')) return null
  return finding(
    'warning',
    'torWithoutWay',
    `something listens on ${TOR_HOST}, port ${ports[0]}, and yet every onion dial fails`,
    'see whether that is Tor, and whether it has a way out (its log says "Bootstrapped 100%")',
  )
}

/** The manager tells its time; what the answer took is given to the sbot. */
async function clockOf(clock: Clock, sbot: RemoteSbot): Promise<Finding | null> {
  const before = clock.now()
  const metrics = (await sbot.manager.metrics()) as readonly Metric[]
  const after = clock.now()
  const seconds = metrics.find(({ name }) => name.endsWith('_time_seconds'))?.samples[0]?.value
  if (typeof seconds !== 'number') return null
  const theirs = seconds * 1_000
  const differenceMs = theirs < before ? theirs - before : theirs > after ? theirs - after : 0
  if (Math.abs(differenceMs) < CLOCK_LIMIT_MS) return null
  return finding(
    'warning',
    'clockDiffers',
    `the clock of the sbot is ${duration(Math.abs(differenceMs))} ${differenceMs < 0 ? 'behind' : 'ahead of'} the one of this machine`,
    'set the one that is wrong; messages carry the time of the sbot',
  )
}

interface SchedulerStatus {
  readonly isStarted?: unknown
  readonly isIndexing?: unknown
  readonly problems?: unknown
}

async function replicationOf({ rpc }: RemoteSbot): Promise<Finding[]> {
  const { replicationScheduler } = rpc
  if (!replicationScheduler) {
    if (rpc.ebt || rpc.replicate) return []
    return [
      finding(
        'warning',
        'noReplication',
        'nothing on this sbot replicates feeds: connections bring no messages',
        "load ssb-ebt and .use(require('sbot-connection-manager/replication-scheduler'))",
      ),
    ]
  }
  // ssb-replication-scheduler has the name too, and no status.
  if (typeof replicationScheduler.status !== 'function') return []
  let status: SchedulerStatus
  try {
    status = await replicationScheduler.status()
  } catch (error) {
    if (error instanceof CliError && error.code !== 'ERR_OLD_VERSION') throw error
    return []
  }
  const found: Finding[] = []
  if (status.isStarted === false)
    found.push(
      finding(
        'warning',
        'replicationOff',
        'the replication scheduler is not started: no feed is asked for',
        'replicationScheduler.start(), or autostart in its configuration',
      ),
    )
  if (status.isIndexing === true)
    found.push(finding('info', 'indexing', 'the database catches up: what to replicate is decided after that', null))
  const problems = Array.isArray(status.problems) ? status.problems : []
  for (const problem of problems.slice(0, MAX_PROBLEMS))
    found.push(finding('warning', 'replicationProblem', `replication: ${clean(String(problem))}`, null))
  return found
}

// ---- telling ------------------------------------------------------------------------------------------------------------

const COLORS = { error: 'red', warning: 'yellow', info: 'cyan' } as const

async function show({ out, clock }: Cli, sbot: RemoteSbot, found: readonly Finding[]): Promise<void> {
  if (found.length === 0) return out.line(out.paint('green', 'Nothing is wrong.'))
  const isNaming = found.some(({ peers }) => peers.length > 0)
  const names = isNaming ? await namesOf(sbot) : new Map<FeedId, string>()
  for (const { severity, message, remedy, since, peers } of found) {
    out.line(`${out.paint(COLORS[severity], severity.padEnd(8))}${withLocalTimes(message)}`)
    const more = (label: string, text: string): void => out.line(`        ${out.paint('dim', label.padEnd(6))}${text}`)
    if (since !== null) more('since', `${timestamp(since)} (${duration(clock.now() - since)})`)
    if (peers.length > 0) {
      const shown = peers.slice(0, MAX_SHOWN).map((id) => clean(calledBy(id, names, out.isTerminal)))
      const rest = peers.length - shown.length
      more('who', `${shown.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`)
    }
    const steps = remedy === null ? [] : asSteps(remedy, peers.length === 1 ? peers[0] : undefined)
    steps.forEach((step, i) => {
      more(i === 0 ? 'to do' : '', step)
    })
  }
  const counts = SEVERITIES.map(
    (severity) => [severity, found.filter((each) => each.severity === severity).length] as const,
  )
  const words = { error: 'error', warning: 'warning', info: 'remark' }
  out.line(
    counts
      .filter(([, count]) => count > 0)
      .map(([severity, count]) => plural(count, words[severity]))
      .join(', '),
  )
}
