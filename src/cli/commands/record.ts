/**
 * `record`: what a bug report needs, in a file: how things stand, and then everything that happens, until there is enough of it. The
 * file is whole at any moment but for its last line, and says at its end how it came to that.
 */
import { access, type FileHandle, open, unlink } from 'fs/promises'

import { errorInfo } from '../../core/errors'
import { type RecordingItem, recordingEnd, recordingHeader, recordingLine } from '../../core/recording'
import type { Source } from '../../shell/live'
import { type Cli, CliError, type Register } from '../cli'
import { goneError, interruptedError } from '../sbot'
import { EXIT } from '../settings'
import { plural } from '../text'

export const registerRecord: Register = (program, run) => {
  program
    .command('record <file>')
    .description('write down everything that happens to connections, for a bug report; Ctrl-C ends it')
    .option('--seconds <n>', 'end after so many seconds')
    .option('--count <n>', 'end after so many actions')
    .option('--force', 'overwrite the file')
    .addHelpText(
      'after',
      `
In the file are the ids and addresses of all peers, and what is known of them: whom you know, and from where.
There are no keys and no messages in it; addresses of invites are without their secret part.

Example:
  sbot-connections record bug.jsonl --seconds 600
  sbot-connections replay bug.jsonl`,
    )
    .action(run((cli, [file = ''], options) => record(cli, file, readLimits(options))))
}

interface Limits {
  readonly seconds: number | null
  readonly count: number | null
  readonly isForced: boolean
}

function readLimits({ seconds, count, force }: Readonly<Record<string, unknown>>): Limits {
  return {
    seconds: positive('--seconds', seconds, 1e6),
    count: positive('--count', count, 1e9),
    isForced: force === true,
  }
}

function positive(name: string, value: unknown, max: number): number | null {
  if (value === undefined) return null
  const number = Number(value)
  if (!(number > 0) || number > max)
    throw new CliError('ERR_USAGE', `${name} takes a number from 1 to ${max}: ${String(value)}`, null, EXIT.usage)
  return number
}

async function record(cli: Cli, file: string, limits: Limits): Promise<number> {
  // Before the sbot is asked for anything; what comes into being meanwhile is not overwritten either.
  if (!limits.isForced && (await exists(file))) throw fileExists(file)
  const startedAt = cli.clock.now()
  const { tape, ending } = await cli.withSbot(async (sbot) => {
    const source = sbot.manager.connections.recording() as Source<RecordingItem>
    const made = new Tape(file, sbot.id, limits.isForced)
    if (!cli.isJson) cli.out.note(`recording to ${file} …${limits.seconds || limits.count ? '' : ' Ctrl-C ends it'}`)
    return { tape: made, ending: await copy(cli, source, made, limits) }
  })
  const { end, error } = ending
  await tape.finish(end, cli.clock.now())
  // Without all of its beginning a recording is of no use.
  if (!tape.hasBegun) throw error ?? interruptedError()
  const seconds = Math.round((cli.clock.now() - startedAt) / 1_000)
  if (cli.isJson) cli.out.json({ file, actions: tape.actions, seconds, end })
  else {
    cli.out.line(`${file}: ${plural(tape.actions, 'action')} in ${seconds} s`)
    cli.out.line(`See what happened: sbot-connections replay ${file}`)
  }
  if (!error) return 0
  throw new CliError(
    error.code,
    `the recording has ended early: ${error.message}`,
    `What was recorded until then is whole, in ${file}.`,
    error.exitCode,
  )
}

interface Ending {
  /** `interrupted`, `seconds`, `count` or the code of an error. */
  readonly end: string
  readonly error: CliError | null
}

/** Takes one item after the other, each when the one before is on disk. */
async function copy(
  { clock, interrupted }: Cli,
  source: Source<RecordingItem>,
  tape: Tape,
  { seconds, count }: Limits,
): Promise<Ending> {
  let timer: unknown = null
  let end: (how: Ending) => void = () => {}
  const enough = new Promise<Ending>((resolve) => {
    end = resolve
  })
  void interrupted.then(() => end({ end: 'interrupted', error: null }))
  try {
    for (;;) {
      const next = await Promise.race([enough, read(source)])
      if ('end' in next) return next
      await tape.put(next.item, clock.now())
      if (count !== null && tape.actions >= count) return { end: 'count', error: null }
      // The time that it takes to say how things stand does not count.
      if (seconds !== null && tape.hasBegun)
        timer ??= clock.setTimeout(() => end({ end: 'seconds', error: null }), seconds * 1_000)
    }
  } finally {
    if (timer !== null) clock.clearTimeout(timer)
    source(true, () => {})
  }
}

function read(source: Source<RecordingItem>): Promise<Ending | { readonly item: RecordingItem }> {
  return new Promise((resolve) => {
    source(null, (end, item) => {
      if (!end) return resolve({ item: item as RecordingItem })
      const error = end === true ? goneError() : end instanceof CliError ? end : failed(end)
      // As it is when somebody else made us give up.
      resolve(error.code === 'ERR_INTERRUPTED' ? { end: 'interrupted', error: null } : { end: error.code, error })
    })
  })
}

function failed(error: unknown): CliError {
  const { message, code } = errorInfo(error)
  return new CliError(code ?? 'ERR_FAILED', message)
}

/** The file. It comes into being with the first item, so that what was there is not lost to an sbot that has nothing to say. */
export class Tape {
  private handle: FileHandle | null = null
  private isFile = false
  actions = 0
  /** All of the beginning is there. */
  hasBegun = false

  constructor(
    private readonly file: string,
    private readonly id: string,
    private readonly isForced: boolean,
  ) {}

  async put(item: RecordingItem, now: number): Promise<void> {
    try {
      if (!this.handle) {
        // Nobody else's business: whom we know.
        this.handle = await open(this.file, this.isForced ? 'w' : 'wx', 0o600)
        this.isFile = (await this.handle.stat()).isFile()
        // One that is overwritten keeps its mode.
        if (this.isFile && this.isForced) await this.handle.chmod(0o600)
        const version = item.type === 'checkpoint' ? item.version : UNKNOWN_VERSION
        await this.handle.appendFile(recordingHeader({ version, at: now, id: this.id }))
      }
      // Not `write`, which may write a part of it where there is little room.
      await this.handle.appendFile(recordingLine(item))
    } catch (error) {
      throw await this.giveUp(error)
    }
    if (item.type === 'checkpoint/end') this.hasBegun = true
    else if (this.hasBegun) this.actions++
  }

  get isOpen(): boolean {
    return this.handle !== null
  }

  async finish(end: string, at: number): Promise<void> {
    if (!this.handle) return
    try {
      if (this.hasBegun) await this.handle.appendFile(recordingEnd({ end, at, actions: this.actions }))
      await this.close()
    } catch (error) {
      throw await this.giveUp(error)
    }
  }

  /** What has begun is whole but for its last line, and stays. */
  private async giveUp(error: unknown): Promise<CliError> {
    await this.close().catch(() => {})
    return this.failure(error)
  }

  private async close(): Promise<void> {
    const { handle } = this
    this.handle = null
    await handle?.close()
    // Of a device, such as /dev/null, the name is not ours to remove.
    if (handle && !this.hasBegun && this.isFile) await unlink(this.file)
  }

  private failure(error: unknown): CliError {
    const { code, message } = errorInfo(error)
    if (code === 'EEXIST') return fileExists(this.file)
    return new CliError(
      'ERR_FILE',
      `${this.file} cannot be written: ${message}`,
      'Name a file in a folder that is yours and has room.',
      EXIT.setup,
    )
  }
}

const UNKNOWN_VERSION = 'unknown'

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  )
}

function fileExists(file: string): CliError {
  return new CliError('ERR_FILE_EXISTS', `${file} is there already`, 'Name another file, or add --force.', EXIT.setup)
}
