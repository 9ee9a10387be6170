/**
 * A program in a terminal of its own: the pseudo terminal is that of `script` (util-linux), what it prints goes to a terminal
 * emulator, whose screen is read as a person sees it.
 */

import { Terminal } from '@xterm/headless'
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'child_process'

import { eventually, withTimeout } from './eventually'

/** False where the machine cannot make a pseudo terminal for a test. */
export function hasTerminal(): boolean {
  return spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux') === true
}

export interface TerminalOptions {
  readonly columns: number
  readonly lines: number
  readonly env?: Readonly<Record<string, string>>
}

export interface Program {
  /** The lines on the screen, without what is blank at their end. */
  screen(): string[]
  text(): string
  /** All that it has printed, escapes included. */
  printed(): string
  /** True while the program draws on the screen beside the normal one. */
  isAlternate(): boolean
  isCursorHidden(): boolean
  /** The colours of the characters on the screen, by number; the usual one is not among them. */
  colors(): Set<number>
  /** What a person types; `\x1b[A` and the like for other keys. */
  type(keys: string): void
  resize(columns: number, lines: number): void
  /** Sent to the program itself. */
  kill(signal: NodeJS.Signals): void
  /** The first screen of which `predicate` is true. */
  until(predicate: (text: string) => unknown, message: string, timeoutMs?: number): Promise<string>
  /** The exit code; fails if it takes longer than 20 s. */
  ended(): Promise<number>
  close(): void
}

const SHOW = '\u001b[?25h'
const HIDE = '\u001b[?25l'
const SAYS_WHERE = /^tty=(\S+) pid=(\d+)\r?\n/

/** Runs a shell command in a terminal. */
export async function runInTerminal(command: string, options: TerminalOptions): Promise<Program> {
  const { columns, lines } = options
  const emulator = new Terminal({ cols: columns, rows: lines, allowProposedApi: true, scrollback: 100 })
  const shell = `stty rows ${lines} cols ${columns}; echo "tty=$(tty) pid=$$"; exec ${command}`
  const child: ChildProcess = spawn('script', ['-qfec', shell, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, TERM: 'xterm-256color', NO_COLOR: '', ...options.env },
  })
  const exited = new Promise<number>((resolve) => {
    child.on('exit', (code, signal) => resolve(code ?? (signal ? 128 : 0)))
  })
  let hidden = false
  let written = Promise.resolve()
  let head: string | null = ''
  let where: { tty: string; pid: number } | null = null
  let printed = ''
  const write = (text: string): void => {
    printed += text
    const [shown, gone] = [text.lastIndexOf(SHOW), text.lastIndexOf(HIDE)]
    if (shown !== gone) hidden = gone > shown
    written = new Promise((resolve) => emulator.write(text, resolve))
  }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    if (head === null) return write(text)
    head += text
    const found = SAYS_WHERE.exec(head)
    if (!found) return
    where = { tty: found[1] as string, pid: Number(found[2]) }
    const rest = head.slice(found[0].length)
    head = null
    if (rest !== '') write(rest)
  })
  const screen = (): string[] => {
    const { active } = emulator.buffer
    return Array.from(
      { length: emulator.rows },
      (_, y) => active.getLine(active.baseY + y)?.translateToString(true) ?? '',
    )
  }
  const text = (): string => screen().join('\n')
  const { tty, pid } = await eventually(() => where, { timeoutMs: 20_000, message: 'the terminal begins' })
  return {
    screen,
    text,
    printed: () => printed,
    isAlternate: () => emulator.buffer.active.type === 'alternate',
    isCursorHidden: () => hidden,
    colors: () => {
      const { active } = emulator.buffer
      const found = new Set<number>()
      for (let y = 0; y < emulator.rows; y++)
        for (let x = 0; x < emulator.cols; x++) {
          const cell = active.getLine(active.baseY + y)?.getCell(x)
          if (cell && !cell.isFgDefault()) found.add(cell.getFgColor())
        }
      return found
    },
    type: (keys) => {
      child.stdin?.write(keys)
    },
    resize: (toColumns, toLines) => {
      emulator.resize(toColumns, toLines)
      execFileSync('stty', ['-F', tty, 'rows', String(toLines), 'cols', String(toColumns)])
    },
    kill: (signal) => {
      process.kill(pid, signal)
    },
    until: async (predicate, message, timeoutMs = 20_000) => {
      await eventually(() => written.then(() => predicate(text())), {
        timeoutMs,
        message: () => `${message}; on the screen:\n${text()}`,
      })
      return text()
    },
    ended: async () => {
      const code = await withTimeout(exited, 20_000, 'the program ends')
      await written
      return code
    },
    close: () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      emulator.dispose()
    },
  }
}
