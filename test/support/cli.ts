/** Running the command line in the process of a test, and for real in one of its own. */
import { type ChildProcess, fork, spawn } from 'child_process'
import { rmSync } from 'fs'
import { join } from 'path'

import { type Io, run } from '../../src/cli/program'
import { systemClock } from '../../src/shell/clock'
import type { Ready } from './cli-sbot'
import { withTimeout } from './eventually'

const ROOT = join(__dirname, '..', '..')
export const MAIN = join(ROOT, 'src', 'cli', 'main.ts')
const LIMIT_MS = 30_000
/** What bob has written: a sync has to fetch it. */
export const MESSAGES = 30

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** The lines of a text, without the empty one after the last break. */
export function linesOf(text: string): string[] {
  return text.split('\n').slice(0, -1)
}

/** What `--json` printed. */
export function jsonOf(text: string): Record<string, unknown>[] {
  return linesOf(text).map((line) => JSON.parse(line) as Record<string, unknown>)
}

export interface World {
  readonly env?: Readonly<Record<string, string>>
  /** With this many columns stdout is a terminal. */
  readonly columns?: number
  readonly stdin?: string
  readonly home?: string
}

export interface Started {
  readonly stdout: () => string
  readonly stderr: () => string
  /** As Ctrl-C does. */
  interrupt(): void
  readonly ended: Promise<Ran>
}

export function start(args: readonly string[], world: World = {}): Started {
  const text = { stdout: '', stderr: '' }
  let interrupt: () => void = () => {}
  const interrupted = new Promise<void>((resolve) => {
    interrupt = resolve
  })
  const stream = (name: 'stdout' | 'stderr') => ({
    write: (chunk: string) => {
      text[name] += chunk
    },
    isTTY: world.columns !== undefined,
    columns: world.columns,
  })
  const io: Io = {
    stdout: stream('stdout'),
    stderr: stream('stderr'),
    stdin: (async function* () {
      yield Buffer.from(world.stdin ?? '')
    })(),
    env: world.env ?? {},
    home: world.home ?? '/nowhere',
    cwd: '/',
    clock: systemClock,
    interrupted,
  }
  const ended = withTimeout(run(args, io), LIMIT_MS, `sbot-connections ${args.join(' ')}`).then(
    (code): Ran => ({ code, ...text }),
  )
  return { stdout: () => text.stdout, stderr: () => text.stderr, interrupt, ended }
}

export function cli(args: readonly string[], world?: World): Promise<Ran> {
  return start(args, world).ended
}

export interface Spawned {
  readonly child: ChildProcess
  readonly stdout: () => string
  readonly ended: Promise<Ran & { readonly signal: string | null }>
}

/** A process of its own. `command` is a line for bash in which `$CLI` stands for the program. */
export function shell(command: string, env: Readonly<Record<string, string>> = {}): Spawned {
  const child = spawn('bash', ['-c', command], {
    cwd: ROOT,
    env: { ...process.env, CLI: `${process.execPath} --require tsx/cjs ${MAIN}`, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk
    })
  const ended = new Promise<Ran & { signal: string | null }>((resolve) => {
    child.once('close', (code, signal) => resolve({ code: code ?? -1, signal, ...text }))
  })
  return { child, stdout: () => text.stdout, ended: withTimeout(ended, LIMIT_MS, command) }
}

export interface SbotProcess extends Ready {
  /** As `kill -9`. */
  kill(): Promise<void>
}

export function bootSbotProcess(): Promise<SbotProcess> {
  const child = fork(join(__dirname, 'cli-sbot.ts'), {
    cwd: ROOT,
    env: { ...process.env, MESSAGES: String(MESSAGES) },
    execArgv: ['--require', 'tsx/cjs'],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  // Handshakes that fail are part of the tests, and printed there.
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-10_000)
  })
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const ready = new Promise<Ready>((resolve, reject) => {
    child.once('message', (message) => resolve(message as Ready))
    child.once('exit', (code) => reject(new Error(`the sbot ended with ${code}: ${said}`)))
  })
  return withTimeout(ready, LIMIT_MS, 'the sbot starts').then((each) => ({
    ...each,
    kill: async () => {
      child.kill('SIGKILL')
      await gone
      rmSync(each.path, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
    },
  }))
}
