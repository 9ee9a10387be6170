/** `sync`: one connection until we have caught up, watched with a bar; and `replication`, the scheduler that chooses what to get. */
import { InvalidArgumentError } from 'commander'

import type scheduler = require('../../replication-scheduler')

import type { FeedId } from '../../core/types'
import type { SyncProgress } from '../../manager'
import type { Source } from '../../shell/live'
import { type Cli, CliError, type Register, type RemoteSbot } from '../cli'
import { watch } from '../live'
import { clean, cut } from '../output'
import { noPlugin } from '../sbot'
import { EXIT } from '../settings'
import { calledBy, namesOf, resolveTarget } from '../targets'
import { duration, plural, timestamp } from '../text'

export const registerSync: Register = (program, run) => {
  program
    .command('sync')
    .description('an initial sync: one connection only, until we have caught up')
    .argument('[peer]', 'with whom: an id, the beginning of one, a name or an address; without: whoever is best')
    .option('--stop', 'end a sync that runs, and do nothing else')
    .option('--stop-at-end', 'end the sync when this command is interrupted')
    .addHelpText(
      'after',
      '\nExamples:\n  sbot-connections sync\n  sbot-connections sync --stop\n\nCtrl-C ends the watching, not the sync, unless --stop-at-end is given. Where a sync runs already it is\nwatched. Exit code 0: caught up.',
    )
    .action(
      run((cli, [given], options) =>
        cli.withSbot(async (sbot) => {
          if (options.stop === true) return stopSync(cli, sbot)
          const isRunning = (await sbot.manager.connections.status()).mode === 'initialSync'
          if (given !== undefined) await sbot.manager.initialSync.start(await resolveTarget(sbot, given))
          else if (!isRunning) await sbot.manager.initialSync.start()
          return watchSync(cli, sbot, options.stopAtEnd === true)
        }),
      ),
    )
  registerReplication(program, run)
}

async function stopSync(cli: Cli, sbot: RemoteSbot): Promise<number> {
  const wasRunning = (await sbot.manager.connections.status()).mode === 'initialSync'
  await sbot.manager.initialSync.stop()
  if (cli.isJson) cli.out.json({ wasRunning })
  else cli.out.line(wasRunning ? 'the sync is ended' : 'no sync was running')
  return 0
}

async function watchSync(cli: Cli, sbot: RemoteSbot, stopsAtEnd: boolean): Promise<number> {
  const { out, clock, isJson } = cli
  const names = isJson ? new Map<FeedId, string>() : await namesOf(sbot)
  const meter = createMeter()
  const lines = createLines(cli)
  let last = 'connecting' as SyncProgress['phase']
  const ending = await watch(cli, sbot.manager.initialSync.progress() as Source<SyncProgress>, (progress) => {
    last = progress.phase
    const { rate, etaMs } = meter(progress, clock.now())
    if (isJson) out.json({ ...progress, rate, etaMs })
    else {
      const who = progress.peer === null ? null : clean(calledBy(progress.peer, names, out.isTerminal))
      lines(`${progress.phase} ${progress.peer}`, phaseText(progress.phase, who), { ...progress, rate, etaMs })
    }
    return last === 'caughtUp' || last === 'off'
  })
  out.progress?.(null)
  if (ending === 'interrupted') {
    if (stopsAtEnd) await sbot.manager.initialSync.stop()
    if (!isJson)
      out.note(stopsAtEnd ? 'The sync is ended.' : 'The sync goes on. To end it: sbot-connections sync --stop')
    return EXIT.interrupted
  }
  if (last === 'caughtUp') return 0
  throw new CliError('ERR_SYNC_STOPPED', 'the sync was stopped before it was done', null, EXIT.failed)
}

function phaseText(phase: SyncProgress['phase'], who: string | null): string {
  switch (phase) {
    case 'off':
      return 'stopped'
    case 'connecting':
      return who === null ? 'connecting' : `connecting to ${who}`
    case 'syncing':
      return `syncing${who === null ? '' : ` with ${who}`}`
    case 'stalled':
      return `nothing comes from ${who ?? 'the peer'}: the next one is tried`
    case 'caughtUp':
      return `caught up${who === null ? '' : ` with ${who}`}`
  }
}

// ---- how far ----------------------------------------------------------------------------------------------------------

interface Amount {
  readonly have: number | null
  readonly want: number | null
  /** Messages a second. */
  readonly rate: number | null
  readonly etaMs: number | null
}

/** Over the last seconds: a longer memory shows a stop too late, a shorter one jumps. */
const RATE_WINDOW_MS = 10_000
const RATE_MIN_MS = 1_000

/** The rate and the time left of counts as they come. */
export function createMeter(): (
  counts: { readonly have: number | null; readonly want: number | null; readonly peer: FeedId | null },
  now: number,
) => { readonly rate: number | null; readonly etaMs: number | null } {
  let samples: { at: number; have: number }[] = []
  let peer: FeedId | null = null
  return (counts, now) => {
    // Another peer counts from another beginning.
    if (counts.peer !== peer || (samples[0] && (counts.have ?? 0) < samples[0].have)) samples = []
    peer = counts.peer
    const { have, want } = counts
    if (have === null) return { rate: null, etaMs: null }
    samples.push({ at: now, have })
    samples = samples.filter((sample, i) => i === samples.length - 1 || now - sample.at <= RATE_WINDOW_MS)
    const first = samples[0] as { at: number; have: number }
    const span = now - first.at
    const rate = span >= RATE_MIN_MS ? ((have - first.have) * 1_000) / span : null
    const left = want === null ? null : Math.max(0, want - have)
    if (left === 0) return { rate, etaMs: 0 }
    return { rate, etaMs: left !== null && rate !== null && rate > 0 ? Math.ceil((left * 1_000) / rate) : null }
  }
}

const BAR_MAX = 40
const BAR_MIN = 8

/** `[#####.....] 52 %  1040 of 2000 messages, 120/s, 8 s left`; '' where nothing is known. */
export function amountText({ have, want, rate, etaMs }: Amount, barWidth: number): string {
  if (have === null) return ''
  const parts: string[] = []
  if (want === null) parts.push(plural(have, 'message'))
  else parts.push(`${have} of ${plural(want, 'message')}`)
  if (rate !== null && rate > 0) parts.push(`${rate < 10 ? rate.toFixed(1) : Math.round(rate)}/s`)
  if (etaMs !== null && etaMs > 0) parts.push(`${duration(etaMs)} left`)
  if (want === null || want === 0) return parts.join(', ')
  const share = Math.min(1, have / want)
  // Rounded down: what is not all there is not 100 %.
  const percent = `${Math.floor(share * 100)} %`
  if (barWidth < BAR_MIN) return `${percent}  ${parts.join(', ')}`
  const width = Math.min(BAR_MAX, barWidth)
  const filled = Math.floor(share * width)
  return `[${'#'.repeat(filled)}${'.'.repeat(width - filled)}] ${percent}  ${parts.join(', ')}`
}

/** Where lines are all there is, counts come this often at most. */
const LINE_PAUSE_MS = 2_000

/** A bar that is drawn anew on a terminal; elsewhere lines: each new phase, and now and then the counts. */
function createLines({ out, clock }: Cli): (phase: string, text: string, amount: Amount) => void {
  let shownPhase = ''
  let shownAt = Number.NEGATIVE_INFINITY
  return (phase, text, amount) => {
    const isNew = phase !== shownPhase
    const counts = amountText(amount, 0)
    if (isNew || (!out.isTerminal && counts !== '' && clock.now() - shownAt >= LINE_PAUSE_MS)) {
      out.line(`${out.paint('dim', timestamp(clock.now()))} ${text}${counts === '' ? '' : `: ${counts}`}`)
      shownPhase = phase
      shownAt = clock.now()
    }
    if (!out.isTerminal) return
    const room = out.columns - amountText(amount, 0).length - 4
    const bar = amountText(amount, room)
    out.progress?.(bar === '' ? null : cut(bar, out.columns - 1))
  }
}

// ---- replication ------------------------------------------------------------------------------------------------------

type Progress = NonNullable<Parameters<Parameters<ReturnType<scheduler.Api['progress']>>[1]>[1]>

function registerReplication(program: Parameters<Register>[0], run: Parameters<Register>[1]): void {
  program
    .command('replication')
    .description('what the replication scheduler gets; of one feed: whether and why')
    .argument('[feed]', 'a feed id, the beginning of one, or a name')
    .option('--progress', 'how far it has come, until all has arrived or Ctrl-C', false)
    .addHelpText(
      'after',
      '\nExamples:\n  sbot-connections replication\n  sbot-connections replication @kEyOfA\n  sbot-connections replication --progress',
    )
    .action(
      run((cli, [feed], options) => {
        if (feed !== undefined && options.progress === true)
          throw new InvalidArgumentError('--progress is of all feeds: give no feed with it.')
        return cli.withSbot(async (sbot) => {
          const scheduler = sbot.rpc.replicationScheduler
          if (!scheduler) throw noPlugin('replication scheduler', 'sbot-connection-manager/replication-scheduler')
          if (options.progress === true) return watchReplication(cli, scheduler.progress({}) as Source<Progress>)
          if (feed !== undefined) return explainFeed(cli, sbot, await scheduler.explain(await feedOf(sbot, feed)))
          return showReplication(cli, await scheduler.status())
        })
      }),
    )
}

/** Feeds of other formats than the classic one have no short form. */
async function feedOf(sbot: RemoteSbot, given: string): Promise<string> {
  return given.startsWith('ssb:') ? given : resolveTarget(sbot, given)
}

function showReplication({ out, isJson }: Cli, status: scheduler.Status): number {
  if (isJson) {
    out.json(status)
    return 0
  }
  const { feeds, queue, lookups } = status
  const line = (name: string, text: string): void => out.line(`${out.paint('dim', name.padEnd(12))}${text}`)
  line('scheduler', status.isStarted ? out.paint('green', 'on') : out.paint('yellow', 'not started'))
  if (status.isIndexing) line('database', 'catches up: nothing is decided meanwhile')
  line('requested', plural(feeds.requested, 'feed'))
  line('waiting', `${plural(feeds.waiting, 'feed')} until closer ones have arrived (${queue.onTheirWay} on their way)`)
  line('dropped', plural(feeds.dropped, 'feed'))
  line('blocked', `${plural(feeds.blocked, 'feed')}, ${plural(status.blocks, 'block')} among others`)
  if (status.isPartial)
    line('meta feeds', `${lookups.found} found, ${lookups.wanted} looked for, ${lookups.notFound} not found`)
  if (status.groups > 0) line('groups', String(status.groups))
  for (const problem of status.problems) line('problem', out.paint('yellow', problem))
  return 0
}

async function explainFeed({ out, isJson }: Cli, _: RemoteSbot, explanation: scheduler.Explanation): Promise<number> {
  if (isJson) out.json(explanation)
  else {
    out.line(explanation.text)
    if (explanation.hops !== null) out.line(`${out.paint('dim', 'hops'.padEnd(12))}${explanation.hops}`)
    if (explanation.path !== null) out.line(`${out.paint('dim', 'path'.padEnd(12))}${explanation.path.join(' / ')}`)
  }
  return 0
}

const PHASES: { readonly [phase in Progress['phase']]: string } = {
  stopped: 'the scheduler is not started',
  loading: 'the social graph is being read',
  indexing: 'the database catches up',
  waiting: 'nobody is connected',
  syncing: 'syncing',
  stalled: 'nothing comes from those who are connected',
  caughtUp: 'caught up',
}

async function watchReplication(cli: Cli, source: Source<Progress>): Promise<number> {
  const lines = createLines(cli)
  const ending = await watch(cli, source, (progress) => {
    const { phase, have, want, rate, eta } = progress
    if (cli.isJson) cli.out.json(progress)
    else lines(phase, PHASES[phase] ?? phase, { have, want, rate, etaMs: eta === null ? null : eta * 1_000 })
    return progress.caughtUp
  })
  cli.out.progress?.(null)
  return ending === 'interrupted' ? EXIT.interrupted : 0
}
