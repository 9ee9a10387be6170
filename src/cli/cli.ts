/**
 * What every command of `sbot-connections` is given: where to write, the sbot to talk to, and how to fail. Commands know neither
 * `process` nor sockets, so that they can be run by a test in its own process.
 */
import type { Command } from 'commander'
import type { ConnectionManager } from '../manager'
import type { Clock } from '../shell/clock'
import type { Source } from '../shell/live'

/** The calls of a manager as muxrpc gives them: `sync` ones become promises. */
type Remote<T> = {
  // biome-ignore lint/suspicious/noExplicitAny: the arguments of any function
  readonly [K in keyof T]: T[K] extends (...args: any[]) => Source<infer R>
    ? (options?: unknown) => Source<R>
    : // biome-ignore lint/suspicious/noExplicitAny: the arguments of any function
      T[K] extends (...args: any[]) => infer R
      ? (...args: readonly unknown[]) => Promise<Awaited<R>>
      : Remote<T[K]>
}

export type RemoteManager = Remote<Omit<ConnectionManager, 'internal' | 'onPrioritise' | 'priority' | 'close'>>

/** A running sbot, over muxrpc with the owner's keys. */
export interface RemoteSbot {
  readonly id: string
  /** Everything the sbot offers, by the names of its manifest (`rpc.replicationScheduler`, `rpc.dashboard`, …). */
  // biome-ignore lint/suspicious/noExplicitAny: what other plugins mount has no types here
  readonly rpc: any
  readonly manager: RemoteManager
  /** Calls that the sbot has, as `connections.status`; an older version may lack some. */
  has(call: string): boolean
  close(): Promise<void>
}

/** An end of the command with a message for people, a stable code for programs and an exit code for scripts. */
export class CliError extends Error {
  constructor(
    readonly code: string,
    message: string,
    /** What to do about it, one sentence. */
    readonly remedy: string | null = null,
    readonly exitCode: number = 1,
  ) {
    super(message)
    this.name = 'CliError'
  }
}

export interface Output {
  readonly isTerminal: boolean
  /** 80 where there is no terminal. */
  readonly columns: number
  readonly hasColor: boolean
  /** One line on stdout. */
  line(text?: string): void
  /** What `--json` prints: one value a line. */
  json(value: unknown): void
  /** A line on stderr. */
  note(text: string): void
  /** On a terminal, a last line that the next one replaces; null takes it away. Elsewhere nothing. */
  progress?(text: string | null): void
  /** Wrapped in the colour where there is colour, else as it is. Control characters are taken out of what strangers wrote. */
  paint(color: 'red' | 'green' | 'yellow' | 'blue' | 'cyan' | 'dim' | 'bold', text: string): string
}

export interface Cli {
  readonly out: Output
  readonly clock: Clock
  /** True where `--json` was given. */
  readonly isJson: boolean
  /** Resolves when the user wants an end (Ctrl-C, SIGTERM, or a reader that has gone). */
  readonly interrupted: Promise<void>
  /** All of stdin as text, for `-` in the place of a file. */
  readonly readInput?: () => Promise<string>
  /** Connects, gives the sbot to `use`, and closes whatever happens. Throws CliError (sbot not running, no permission, …). */
  withSbot<T>(use: (sbot: RemoteSbot) => Promise<T>): Promise<T>
}

/** Adds a command to the program. Each file in `commands/` exports one or more of these. */
export type Register = (program: Command, run: Runner) => void

/** Wraps an action so that it gets a `Cli` made from the options in front of it, and its errors become exit codes. */
export type Runner = (
  action: (
    cli: Cli,
    args: readonly string[],
    options: Readonly<Record<string, unknown>>,
  ) => Promise<number | undefined>,
) => (...given: unknown[]) => Promise<void>
