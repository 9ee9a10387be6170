/**
 * The command line as a function: parses arguments, runs the command that they name, and tells its exit code. All that it
 * knows of the world is in `Io`, so that a test can run it in its own process; main.ts is the edge to the real one.
 */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'

import { errorInfo } from '../core/errors'
import type { Clock } from '../shell/clock'
import { type Cli, CliError, type Runner } from './cli'
import { GROUPS } from './commands'
import { collect } from './files'
import { clean, cleanJson, createOutput, type TextStream } from './output'
import { connectSbot, interruptedError } from './sbot'
import { EXIT, readSettings } from './settings'

export interface Io {
  readonly stdout: TextStream
  readonly stderr: TextStream
  readonly stdin: AsyncIterable<Uint8Array | string>
  readonly env: Readonly<Record<string, string | undefined>>
  /** The user's own folder, in which `.ssb` is. */
  readonly home: string
  /** Relative paths of options begin here. */
  readonly cwd: string
  readonly clock: Clock
  /** Resolves at Ctrl-C or SIGTERM. */
  readonly interrupted: Promise<void>
}

const DEFAULT_TIMEOUT_S = 10

const EXIT_HELP = `
Exit codes:
    0  done
    1  the command failed: the peer could not be reached, nothing was found
    2  wrong usage
    3  no sbot answers (ERR_NO_SBOT, ERR_SBOT_TIMEOUT)
    4  the handshake failed: another network key, another sbot (ERR_HANDSHAKE)
    5  no permission: our key is not that of the owner (ERR_NO_PERMISSION)
    6  the sbot has not loaded this package (ERR_NO_MANAGER, ERR_NO_PLUGIN)
    7  the sbot runs an older version, which lacks the call (ERR_OLD_VERSION)
    8  the sbot went away in the middle (ERR_SBOT_GONE)
    9  a file or a package that is needed is missing or cannot be read
       (ERR_NO_SECRET, ERR_SECRET_UNREADABLE, ERR_CONFIG, ERR_NO_CLIENT)
  130  interrupted

The sbot is found as ssb-client finds it: its folder is ~/.ssb, or ~/.NAME by
--appname or the variable ssb_appname; its port and network key are those of the
config there, its key is the file \`secret\`.`

/** What is shown where no command is given: fits a small screen, unlike the whole help. */
const BEGIN_HELP = `Usage: sbot-connections [options] <command>

Watches and steers the connections of a running sbot: who is connected, who is
not and why.

Begin with:
  sbot-connections doctor    what is wrong, and what to do about it
  sbot-connections peers     who is connected, who is not and why
  sbot-connections why PEER  all about one of them: an id, a name or an address
  sbot-connections watch     everything on the whole screen, live
  sbot-connections serve     a complete sbot, where none is running yet

All commands and options: sbot-connections help
One of them, with examples: sbot-connections help COMMAND
`

/** Runs one command line, without the name of the program in front. Resolves with the exit code; never rejects. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const isJson = hasFlag(argv, '--json')
  const out = createOutput({ stdout: io.stdout, stderr: io.stderr, env: io.env, wantsColor: colorIn(argv) })
  let exitCode = 0
  const runner = runnerOf(io, out, (code) => {
    exitCode = code
  })
  const program = createProgram(runner, out, io)
  try {
    await program.parseAsync(withoutHelpFor(argv, program), { from: 'user' })
    return out.isReaderGone() ? 0 : exitCode
  } catch (error) {
    if (out.isReaderGone()) return 0
    const { code, message, remedy, exitCode: failed } = toCliError(error, program, argv)
    if (failed === 0 || code === 'ERR_INTERRUPTED') return failed
    if (isJson) io.stderr.write(`${cleanJson({ error: { code, message, remedy } })}\n`)
    else {
      out.note(`sbot-connections: ${message}`)
      if (remedy !== null) out.note(remedy)
    }
    return failed
  }
}

/** `help` for a command that does not exist is answered as that command would be: with what may be meant. */
function withoutHelpFor(argv: readonly string[], program: Command): string[] {
  const at = argv.indexOf('help')
  const name = argv[at + 1]
  const isHelp = at >= 0 && commandIn(argv.slice(0, at), program) === undefined && name !== undefined && name !== 'help'
  const isUnknown = isHelp && !name.startsWith('-') && commandIn([name], program) === undefined
  return argv.filter((_, i) => !isUnknown || i !== at)
}

function commandIn(argv: readonly string[], program: Command): string | undefined {
  return argv.find((word) => program.commands.some((command) => command.name() === word))
}

/** Before parsing, as errors of the parser are to be in the right form too. */
function hasFlag(argv: readonly string[], flag: string): boolean {
  const end = argv.indexOf('--')
  return (end < 0 ? argv : argv.slice(0, end)).includes(flag)
}

function colorIn(argv: readonly string[]): boolean | null {
  if (hasFlag(argv, '--no-color')) return false
  return hasFlag(argv, '--color') ? true : null
}

/** The whole tree of commands. `runner` is what each action goes through. */
export function createProgram(runner: Runner, out: ReturnType<typeof createOutput>, io: Io): Command {
  const program = new Command('sbot-connections')
  let usageError = ''
  program
    .description('Watches and steers the connections of a running sbot: who is connected, who is not and why.')
    .version(versionOf(), '-V, --version', 'the version of this package')
    .helpOption('-h, --help', 'how to use this, or the command before it')
    .option('--path <folder>', 'the folder of the sbot (default: ~/.ssb)')
    .option('--appname <name>', 'the folder is ~/.NAME')
    .option('--remote <address>', 'where the sbot is: a multiserver address')
    .addOption(
      new Option('--timeout <seconds>', 'how long to wait for the sbot to answer; 0: for ever')
        .argParser(secondsOf)
        .default(DEFAULT_TIMEOUT_S),
    )
    .option('--json', 'values for programs: one in each line; errors as JSON on stderr')
    .option('--color', 'colours even where there is no terminal')
    .option('--no-color', 'no colours')
    .exitOverride()
    .showSuggestionAfterError(true)
    .configureHelp({
      showGlobalOptions: true,
      styleTitle: (title) => (out.hasColor ? out.paint('bold', title) : title),
    })
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      // Said by `run`, in the form that was asked for.
      outputError: (text) => {
        usageError = text
      },
      getOutHelpWidth: () => out.columns,
      getErrHelpWidth: () => out.columns,
      getOutHasColors: () => out.hasColor,
      getErrHasColors: () => out.hasColor,
    })
    .addHelpText('after', ({ error }) => (error ? '' : EXIT_HELP))
  const wholeHelp = program.helpInformation.bind(program)
  program.helpInformation = (context) => (context?.error ? BEGIN_HELP : wholeHelp(context))
  for (const { title, commands } of GROUPS) {
    program.commandsGroup(title)
    for (const register of commands) register(program, runner)
  }
  program.commandsGroup('Help:').helpCommand('help [command]', 'how to use a command')
  usageErrors.set(program, () => usageError)
  return program
}

const usageErrors = new WeakMap<Command, () => string>()

function secondsOf(text: string): number {
  const seconds = Number(text)
  if (text.trim() === '' || !(seconds >= 0) || seconds > 1e6)
    throw new InvalidArgumentError('It takes a number of seconds.')
  return seconds
}

function versionOf(): string {
  return (require('../../package.json') as { readonly version: string }).version
}

function toCliError(error: unknown, program: Command, argv: readonly string[]): CliError {
  if (error instanceof CliError) return error
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return new CliError(error.code, error.message, null, 0)
    // Without a command the help has been printed: nothing is left to say.
    if (error.code === 'commander.help') return new CliError('ERR_INTERRUPTED', error.message, null, EXIT.usage)
    const [message = '', ...more] = (usageErrors.get(program)?.() || error.message).trim().split('\n')
    const hint = more
      .join(' ')
      .trim()
      .replace(/^\((.*)\)$/, '$1')
    const command = commandIn(argv, program)
    return new CliError(
      'ERR_USAGE',
      clean(message.replace(/^error: /, '')),
      hint === '' ? `See sbot-connections help${command === undefined ? '' : ` ${command}`}.` : clean(hint),
      EXIT.usage,
    )
  }
  const { message, code } = errorInfo(error)
  return new CliError(code ?? 'ERR_FAILED', message, null, EXIT.failed)
}

function runnerOf(io: Io, out: ReturnType<typeof createOutput>, setExitCode: (code: number) => void): Runner {
  const interrupted = Promise.race([io.interrupted, out.readerGone])
  return (action) =>
    async (...given) => {
      const command = given[given.length - 1] as Command
      const options = command.optsWithGlobals<Record<string, unknown>>()
      const args = given
        .slice(0, -2)
        .flat()
        .filter((each): each is string => typeof each === 'string')
      const cli: Cli = {
        out,
        clock: io.clock,
        isJson: options.json === true,
        interrupted,
        readInput: () =>
          Promise.race([
            collect(io.stdin),
            interrupted.then((): never => {
              throw interruptedError()
            }),
          ]),
        withSbot: async (use) => {
          const sbot = await connectSbot({
            settings: readSettings({
              appname: options.appname as string | undefined,
              path: options.path as string | undefined,
              remote: options.remote as string | undefined,
              env: io.env,
              home: io.home,
              cwd: io.cwd,
            }),
            clock: io.clock,
            timeoutMs: (options.timeout as number) * 1_000,
            interrupted,
          })
          try {
            return await use(sbot)
          } finally {
            await sbot.close()
          }
        },
      }
      setExitCode((await action(cli, args, options)) ?? 0)
    }
}
