/**
 * `replay`: a recording put into the same core again, step by step: what happened, what it changed, and what the manager decided then
 * and why. Or how things stood at a moment; or where another version of the package would have decided otherwise.
 */
import type { Action } from '../../core/actions'
import { describe, errorInfo, RecordingError } from '../../core/errors'
import { parseRecording, RECORDING_FORMAT, RECORDING_NAME, type RecordingFile } from '../../core/recording'
import { type Change, type Decisions, type ReplayStep, replaySteps } from '../../core/replay'
import type { PeerView } from '../../core/selectors'
import type { Close, Deferral, Dial, EpochMs, FeedId, GiveUp } from '../../core/types'
import { VERSION } from '../../core/version'
import { type Cli, CliError, type Register } from '../cli'
import { readText } from '../files'
import { differences, loadOther, type Other } from '../replay-diff'
import { EXIT } from '../settings'
import { parseDuration, plural, reasonText } from '../text'

export const registerReplay: Register = (program, run) => {
  program
    .command('replay <file>')
    .description('show a recording step by step: what happened, what it changed, what was decided and why')
    .option('--at <moment>', 'how things stood then')
    .option('--why <id>', 'why this peer was not connected then, or at the end')
    .option('--from <moment>', 'begin there')
    .option('--to <moment>', 'end there')
    .option('--diff <folder>', 'where another version of this package, installed there, would have decided otherwise')
    .addHelpText(
      'after',
      `
A moment is a time (2026-01-31T12:00:00Z, or ms since 1970), +90s or +1h30m from the beginning, or the number of an action.
With --diff the exit code is 1 where the two differ.

Examples:
  sbot-connections replay bug.jsonl --from +5m --to +6m
  sbot-connections replay bug.jsonl --at 2026-01-31T12:00:00Z --why @KEY.ed25519
  npm install --prefix /tmp/other sbot-connection-manager@1.1.0
  sbot-connections replay bug.jsonl --diff /tmp/other/node_modules/sbot-connection-manager`,
    )
    .action(run((cli, [file = ''], options) => replay(cli, file, options)))
}

async function replay(cli: Cli, file: string, options: Readonly<Record<string, unknown>>): Promise<number> {
  const given = (name: string): string | null => (typeof options[name] === 'string' ? (options[name] as string) : null)
  const [at, why, from, to, diff] = ['at', 'why', 'from', 'to', 'diff'].map(given)
  const moments = { from: from ? momentOf('--from', from) : null, to: to ? momentOf('--to', to) : null }
  const moment = at ? momentOf('--at', at) : null
  const recording = await readRecording(cli, file)
  if (recording.isTorn) cli.out.note('The last line of the recording was cut off, and is left out.')
  else if (!recording.end) cli.out.note('The recording has no last line: whoever made it was cut off.')
  if (recording.version !== VERSION && diff === null)
    cli.out.note(`It was recorded by version ${recording.version}; this is ${VERSION}, which may decide otherwise.`)
  try {
    if (diff) return compare(cli, recording, loadOther(diff), moments)
    if (moment || why) return showMoment(cli, recording, moment, why ?? null)
    return showSteps(cli, recording, moments)
  } catch (error) {
    throw error instanceof RecordingError ? damaged(file, error) : error
  }
}

// ---- the file -----------------------------------------------------------------------------------------------------------

async function readRecording({ interrupted }: Cli, file: string): Promise<RecordingFile> {
  let content: string
  try {
    content = await readText(file, interrupted)
  } catch (error) {
    if (error instanceof CliError) throw error
    const { code, message } = errorInfo(error)
    throw new CliError(
      code === 'ENOENT' ? 'ERR_NO_FILE' : 'ERR_FILE',
      code === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read: ${message}`,
      code === 'ENOENT' ? `Make one: sbot-connections record ${file}` : 'Run this as a user who may read it.',
      EXIT.setup,
    )
  }
  try {
    return parseRecording(content)
  } catch (error) {
    if (!(error instanceof RecordingError)) throw error
    const other = otherFormat(content)
    if (!other) throw damaged(file, error)
    throw new CliError(
      'ERR_RECORDING_FORMAT',
      `${file} is a recording of format ${describe(other.format)}, and this version ${VERSION} reads format ${RECORDING_FORMAT}`,
      other.version
        ? `Use the version that made it: npx -p sbot-connection-manager@${other.version} sbot-connections replay ${file}`
        : 'Use the version that made it.',
      EXIT.setup,
    )
  }
}

/** A recording, and yet not one of ours: of which format and version. */
function otherFormat(content: string): { readonly format: unknown; readonly version: string | null } | null {
  try {
    const { recording, format, version } = JSON.parse(content.slice(0, content.indexOf('\n'))) as Record<
      string,
      unknown
    >
    if (recording !== RECORDING_NAME || format === RECORDING_FORMAT) return null
    return { format, version: typeof version === 'string' && /^\d[\w.+-]{0,40}$/.test(version) ? version : null }
  } catch {
    return null
  }
}

function damaged(file: string, error: RecordingError): CliError {
  const line = error.item === null ? '' : ` (line ${error.item + 2})`
  return new CliError(
    'ERR_RECORDING',
    `${file}: ${error.message}${line}`,
    error.item === null
      ? 'Take a file that `sbot-connections record` has made, as it is, or record anew.'
      : 'What is shown of the steps before it is right. To go on, record anew, or take the file as it was made.',
    EXIT.setup,
  )
}

// ---- moments ------------------------------------------------------------------------------------------------------------

/** Of a recording: the number of an action, a time, or a time after the beginning. */
type Moment = { readonly index: number } | { readonly at: EpochMs } | { readonly after: number }

function momentOf(option: string, text: string): Moment {
  const trimmed = text.trim()
  if (/^#?\d{1,9}$/.test(trimmed)) return { index: Number(trimmed.replace('#', '')) }
  if (/^\d{10,16}$/.test(trimmed)) return { at: Number(trimmed) }
  const after = trimmed.startsWith('+') ? parseDuration(trimmed.slice(1)) : null
  if (after !== null) return { after }
  const at = /^\d{4}-\d\d-\d\d/.test(trimmed) ? Date.parse(trimmed) : Number.NaN
  if (Number.isFinite(at)) return { at }
  throw new CliError(
    'ERR_USAGE',
    `${option} takes a moment, and this is none: ${text}`,
    'Write it as 2026-01-31T12:00:00Z, as milliseconds since 1970, as +90s, or as the number of an action.',
    EXIT.usage,
  )
}

/** Whether a step comes after a moment. Where the clock was set back, the first passing counts. */
function isAfter(step: ReplayStep, moment: Moment, beginning: EpochMs): boolean {
  return 'index' in moment ? step.index > moment.index : step.at > timeOf(moment, beginning)
}

function isBefore(step: ReplayStep, moment: Moment, beginning: EpochMs): boolean {
  return 'index' in moment ? step.index < moment.index : step.at < timeOf(moment, beginning)
}

function timeOf(moment: Exclude<Moment, { readonly index: number }>, beginning: EpochMs): EpochMs {
  return 'at' in moment ? moment.at : beginning + moment.after
}

interface Span {
  readonly from: Moment | null
  readonly to: Moment | null
}

/** Those of the steps that are within. */
function* within(steps: Iterable<ReplayStep>, { from, to }: Span): Generator<ReplayStep, void> {
  let beginning: EpochMs | null = null
  let hasBegun = from === null
  for (const step of steps) {
    beginning ??= step.at
    if (to && isAfter(step, to, beginning)) return
    hasBegun ||= from !== null && !isBefore(step, from, beginning)
    if (hasBegun) yield step
  }
}

// ---- step by step -------------------------------------------------------------------------------------------------------

function showSteps(cli: Cli, recording: RecordingFile, span: Span): number {
  let count = 0
  for (const step of within(replaySteps(recording.items), span)) {
    count++
    if (cli.isJson) cli.out.json(stepJson(step))
    else for (const line of stepLines(cli, step)) cli.out.line(line)
  }
  if (count === 0) cli.out.note('Nothing happened within that time.')
  return 0
}

function stepJson({ index, at, action, due, changes, decided, plan, status }: ReplayStep): object {
  const beginning = action ? {} : { status: status() }
  return { index, at, action, due, changes, decided, wakeAt: plan.wakeAt, ...beginning }
}

/** Of a table that is read there may be thousands. */
const MAX_LINES = 12

function stepLines({ out }: Cli, step: ReplayStep): string[] {
  const lines: string[] = []
  const time = out.paint('dim', iso(step.at))
  const number = String(step.index).padStart(6)
  if (step.due)
    for (const line of decisionLines(step.due))
      lines.push(`${' '.repeat(6)}  ${out.paint('cyan', `time is up: ${line}`)}`)
  if (step.action)
    lines.push(
      `${number}  ${time}  ${out.paint('bold', step.action.type)} ${out.paint('dim', aboutAction(step.action))}`.trimEnd(),
    )
  else lines.push(`${number}  ${time}  ${out.paint('bold', 'the beginning')} ${summaryOf(step)}`)
  for (const line of atMost(changeLines(step.changes))) lines.push(`          ${line}`)
  for (const line of atMost(decisionLines(step.decided))) lines.push(`          ${out.paint('green', `> ${line}`)}`)
  return lines
}

function atMost(lines: readonly string[]): readonly string[] {
  if (lines.length <= MAX_LINES) return lines
  return [...lines.slice(0, MAX_LINES), `… and ${lines.length - MAX_LINES} more`]
}

function summaryOf(step: ReplayStep): string {
  const { mode, peers, routes } = step.status()
  return `mode ${mode}, ${plural(peers, 'peer')}, ${plural(routes, 'route')}`
}

const iso = (at: EpochMs): string => new Date(at).toISOString()

/** What an action says beside its type. */
function aboutAction(action: Action): string {
  switch (action.type) {
    case 'routes/added':
      return listOf(action.reports.map(({ route, source }) => `${route.address} (${source})`))
    case 'table/loaded':
      return `${plural(action.routes.length, 'route')}, ${plural(action.peers.length, 'peer')}`
    case 'routes/deferred':
      return listOf(action.deferrals.map(({ address }) => address))
    case 'dial/failed':
      return `${action.address} ${action.error.message}${action.isGivenUp ? ' (given up)' : ''}`
    case 'options/changed':
      return ''
    default: {
      const { type: _, at: __, ...fields } = action as Action & { readonly [field: string]: unknown }
      const { peer, address, jitter: ___, attempt: ____, ...rest } = fields as { readonly [field: string]: unknown }
      const named = Object.entries(rest).map(([name, value]) => `${name} ${textOf(value)}`)
      return [address ?? peer ?? '', ...named].join(' ')
    }
  }
}

function listOf(texts: readonly string[]): string {
  return texts.length <= 3 ? texts.join(', ') : `${texts.slice(0, 3).join(', ')} and ${texts.length - 3} more`
}

/** Said by others, or of no interest beside them; `--json` has them. */
const QUIET = [
  'connection.direction',
  'connection.address',
  'connection.since',
  'connectionStatus',
  'lastErrorTime',
  'id',
]
const TIMES = /(?:At|Time|Until|since)$/

/** A line for each peer, route and the manager, with all that has changed about it. */
function changeLines(changes: readonly Change[]): string[] {
  const bySubject = new Map<string, string[]>()
  for (const { peer, field, from, to } of changes) {
    // Of a route; its key says whose it is.
    const [, address, rest = ''] = /^(\S+):(?: (.*))?$/.exec(field) ?? []
    const subject = address ?? peer ?? 'manager'
    const name = address === undefined ? field : rest
    if (QUIET.includes(name)) continue
    const list = bySubject.get(subject) ?? []
    bySubject.set(subject, list)
    if (to === undefined) list.push(`${name} gone`.trim())
    else if (from === undefined) list.push(`${name} new`.trim())
    else list.push(`${name} ${valueText(name, from)} → ${valueText(name, to)}`)
  }
  return [...bySubject].map(([subject, list]) => `${subject} ${list.join(', ')}`)
}

function valueText(name: string, value: unknown): string {
  return typeof value === 'number' && value > 0 && TIMES.test(name) ? iso(value) : textOf(value)
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing')
}

/** In words, with the word of the API behind them. */
const meaning = (word: string): string => {
  const text = reasonText(word, '')
  return text === word ? word : `${text} (${word})`
}

const dialLine = ({ address, cause }: Dial): string => `dial ${address}: ${meaning(cause)}`
const closeLine = ({ peer, reason }: Close): string => `hang up on ${peer}: ${meaning(reason)}`
const giveUpLine = ({ address, timeoutMs }: GiveUp): string => `give up ${address}: no answer within ${timeoutMs} ms`
const deferralLine = ({ address, until, layer }: Deferral): string =>
  `put off ${address} until ${iso(until)}: ${layer === null ? 'its host was dialed a moment ago' : `${layer} is down`}`

function decisionLines({ dials, closes, giveUps, lost, deferrals }: Decisions): string[] {
  return [
    ...giveUps.map(giveUpLine),
    ...closes.map(closeLine),
    ...lost.map((peer) => `take the connection to ${peer} for closed: nobody confirmed it`),
    ...deferrals.map(deferralLine),
    ...dials.map(dialLine),
  ]
}

// ---- a moment -----------------------------------------------------------------------------------------------------------

function showMoment(cli: Cli, recording: RecordingFile, moment: Moment | null, why: string | null): number {
  const { step, at } = find(recording, moment)
  const peers = step.peers()
  const status = step.status(at)
  const plan = step.planAt(at)
  const target = why === null ? null : targetOf(why, peers)
  const explanation = target === null ? null : step.explain(target, at)
  const { out } = cli
  if (cli.isJson) {
    out.json({
      at,
      index: step.index,
      action: step.action,
      status,
      peers,
      plan,
      why: explanation && { id: target, ...explanation },
    })
    return 0
  }
  const after = step.action ? `after ${step.action.type}` : 'as the recording begins'
  out.line(`${out.paint('bold', iso(at))}  step ${step.index}, ${after}`)
  out.line(`${summaryOf(step)}, link ${status.environment.link}`)
  for (const [name, { max, connected, dialing, closing, waiting }] of Object.entries(status.classes))
    if (max + connected + dialing + closing + waiting > 0)
      out.line(
        `  ${name}: ${connected} of ${max} connected, ${dialing} dialing, ${closing} closing, ${waiting} waiting`,
      )
  if (status.inbound.connected > 0) out.line(`  inbound: ${status.inbound.connected} connected`)
  for (const { layer, retryAt } of status.environment.down)
    out.line(`  ${layer} is down, tried again at ${iso(retryAt)}`)
  const active = peers.filter(({ connection }) => connection.status !== 'idle')
  out.line(out.paint('bold', `peers: ${active.length} not idle, ${peers.length - active.length} idle`))
  for (const line of active.map(peerLine)) out.line(`  ${line}`)
  out.line(out.paint('bold', 'what it would do next'))
  const decisions = decisionLines(plan)
  for (const line of decisions.length > 0 ? atMost(decisions) : ['nothing']) out.line(`  ${line}`)
  if (plan.wakeAt !== null) out.line(`  and look again at ${iso(plan.wakeAt)}, or when something happens`)
  if (explanation) {
    out.line(out.paint('bold', `why ${target}`))
    out.line(`  ${explanation.message}${untilText(explanation.until)}`)
    if (explanation.remedy) out.line(`  ${explanation.remedy}`)
    for (const route of explanation.routes) out.line(`  ${route.address}: ${route.message}${untilText(route.until)}`)
  }
  return 0
}

const untilText = (until: EpochMs | null): string => (until === null ? '' : `, until ${iso(until)}`)

function peerLine({ id, priority, isLongTerm, connection }: PeerView): string {
  const { status, direction, address, since } = connection
  const marks = `${priority}${isLongTerm ? ', long-term' : ''}`
  return `${id} ${status} ${address ?? direction ?? ''} since ${since === null ? '?' : iso(since)} (${marks})`
}

function find(recording: RecordingFile, moment: Moment | null): { readonly step: ReplayStep; readonly at: EpochMs } {
  let found: ReplayStep | null = null
  let beginning: EpochMs | null = null
  let isPast = false
  for (const step of replaySteps(recording.items)) {
    beginning ??= step.at
    isPast = moment !== null && isAfter(step, moment, beginning)
    if (isPast) break
    found = step
  }
  const end = recording.end?.at ?? found?.at ?? 0
  if (!found || (moment && !isPast && isBeyond(found, moment, beginning ?? 0, end)))
    throw new CliError(
      'ERR_NO_MOMENT',
      found
        ? `the recording ends with step ${found.index}, at ${iso(Math.max(end, found.at))}`
        : `it begins at ${iso(beginning ?? 0)}`,
      'Name a moment within it.',
      EXIT.usage,
    )
  const at = moment && !('index' in moment) ? timeOf(moment, beginning ?? 0) : found.at
  return { step: found, at: Math.max(at, found.at) }
}

/** Of a moment that the last step is not after. */
function isBeyond(last: ReplayStep, moment: Moment, beginning: EpochMs, end: EpochMs): boolean {
  if ('index' in moment) return moment.index > last.index
  return timeOf(moment, beginning) > Math.max(end, last.at)
}

/** The peer that is meant: its id, or enough of it. */
function targetOf(text: string, peers: readonly PeerView[]): FeedId {
  const start = text.startsWith('@') ? text : `@${text}`
  const whole = start.endsWith('.ed25519') ? start : null
  const found = peers.filter(({ id }) => id.startsWith(start) || id === whole)
  const exact = found.find(({ id }) => id === start)
  if (exact) return exact.id
  if (found.length === 1) return (found[0] as PeerView).id
  if (found.length === 0 && whole) return whole
  throw new CliError(
    'ERR_UNKNOWN_PEER',
    found.length === 0 ? `no peer of the recording begins with ${start}` : `${found.length} peers begin with ${start}`,
    'Give the whole id, as the steps show it.',
    EXIT.failed,
  )
}

// ---- another version ----------------------------------------------------------------------------------------------------

/** Steps that are shown of those that differ. */
const MAX_STEPS_SHOWN = 50

function compare(cli: Cli, recording: RecordingFile, other: Other, span: Span): number {
  const { out } = cli
  let steps = 0
  let different = 0
  let first: number | null = null
  let beginning: EpochMs | null = null
  for (const { step, found } of differences(recording.items, other)) {
    beginning ??= step.at
    if (span.to && isAfter(step, span.to, beginning)) break
    if (span.from && isBefore(step, span.from, beginning)) continue
    steps++
    if (found.length === 0) continue
    different++
    first ??= step.index
    if (different > MAX_STEPS_SHOWN && !cli.isJson) continue
    if (cli.isJson) out.json({ index: step.index, at: step.at, action: step.action, differences: found })
    else {
      const what = step.action ? `${step.action.type} ${aboutAction(step.action)}` : 'the beginning'
      out.line(`${String(step.index).padStart(6)}  ${out.paint('dim', iso(step.at))}  ${out.paint('bold', what)}`)
      for (const { what: where, here, there } of found.slice(0, MAX_LINES)) {
        out.line(`          ${where}`)
        out.line(`            ${out.paint('red', `${VERSION}:`)} ${textOf(here)}`)
        out.line(`            ${out.paint('green', `${other.version}:`)} ${textOf(there)}`)
      }
      if (found.length > MAX_LINES) out.line(`          … and ${found.length - MAX_LINES} more`)
    }
  }
  if (different > MAX_STEPS_SHOWN && !cli.isJson) out.line(`… and ${different - MAX_STEPS_SHOWN} more steps`)
  const names = `${VERSION} and ${other.version} (${other.folder})`
  if (!cli.isJson)
    out.line(
      different === 0
        ? `${steps} steps, and no difference between ${names}`
        : `${different} of ${steps} steps differ between ${names}, the first is step ${first}`,
    )
  return different === 0 ? 0 : 1
}
