/**
 * The terminal of `watch`: the alternate screen, keys, size, and lines drawn where they differ from what is there. By terminal-kit,
 * which is optional and loaded when it is first needed. However the process ends, the terminal is as it was before.
 */
import { errorInfo } from '../../core/errors'
import { CliError } from '../cli'
import { EXIT } from '../settings'
import type { Cell, Line, Screen, Style } from './view'

/** What is used of a terminal of terminal-kit. */
export interface Terminal {
  readonly width: number
  readonly height: number
  fullscreen(isOn: boolean): unknown
  hideCursor(isHidden?: boolean): unknown
  grabInput(isOn: boolean): unknown
  moveTo(x: number, y: number): unknown
  clear(): unknown
  styleReset(): unknown
  raw(text: string): unknown
  on(event: string, listener: (...args: never[]) => void): unknown
  removeListener(event: string, listener: (...args: never[]) => void): unknown
}

export interface OpenScreen {
  readonly columns: () => number
  readonly lines: () => number
  draw(screen: Screen): void
  /** The next frame is drawn as a whole: something else has written on the screen. */
  forget(): void
  /** Idempotent. */
  close(): void
}

export interface ScreenHandlers {
  /** As terminal-kit names keys. */
  readonly onKey: (key: string) => void
  readonly onResize: () => void
}

const NO_WRAP = '\x1b[?7l'
const WRAP = '\x1b[?7h'
/** The wheel as arrow keys, which leaves the mouse to the terminal: to select and copy an id. */
const WHEEL_AS_ARROWS = '\x1b[?1007h'
const WHEEL_AS_BEFORE = '\x1b[?1007l'
const STYLE_OFF = '\x1b[0m'
const ERASE_REST = '\x1b[K'

const COLORS: Readonly<Record<NonNullable<Style['color']>, string>> = {
  red: '31',
  green: '32',
  yellow: '33',
  blue: '34',
  cyan: '36',
}

function styled({ text, style }: Cell, hasColor: boolean): string {
  const codes = [
    ...(style.isBold ? ['1'] : []),
    ...(style.isDim ? ['2'] : []),
    ...(style.isInverse ? ['7'] : []),
    ...(style.color && hasColor ? [COLORS[style.color]] : []),
  ]
  return codes.length === 0 ? text : `\x1b[${codes.join(';')}m${text}${STYLE_OFF}`
}

/**
 * A line as the terminal takes it, the cursor being at its start. Each cell is put at its column by number, so that a sign that the
 * terminal measures otherwise than we do moves nothing else.
 */
export function encodeLine(line: Line, hasColor: boolean): string {
  return `${STYLE_OFF}${ERASE_REST}${line.map((cell) => `\x1b[${cell.x + 1}G${styled(cell, hasColor)}`).join('')}`
}

/** The terminal of this process; nothing is drawn yet. Throws CliError where there is none, or no package to draw on it. */
export function findTerminal(load: () => unknown = () => require('terminal-kit')): Terminal {
  if (!process.stdin.isTTY || !process.stdout.isTTY || process.env.TERM === 'dumb')
    throw new CliError(
      'ERR_NO_TERMINAL',
      'watch draws on a terminal, and this is none',
      'For a program or a file: sbot-connections peers --live.',
      EXIT.usage,
    )
  return loadTerminal(load)
}

export function loadTerminal(load: () => unknown): Terminal {
  try {
    return (load() as { readonly terminal: Terminal }).terminal
  } catch (error) {
    throw new CliError(
      'ERR_NO_TERMINAL_KIT',
      `the package terminal-kit, which draws the screen, cannot be loaded: ${errorInfo(error).message}`,
      'Install it beside this package: npm install terminal-kit. Without it: sbot-connections peers --live.',
      EXIT.setup,
    )
  }
}

/** Takes the terminal, until `close` or the end of the process. */
export function openScreen(term: Terminal, handlers: ScreenHandlers, hasColor: boolean): OpenScreen {
  let isOpen = true
  let drawn: string[] = []
  let width = term.width
  let height = term.height

  const close = (): void => {
    if (!isOpen) return
    isOpen = false
    process.removeListener('exit', close)
    term.removeListener('key', onKey)
    term.removeListener('resize', onResize)
    term.grabInput(false)
    term.raw(WRAP + WHEEL_AS_BEFORE)
    term.styleReset()
    term.hideCursor(false)
    term.fullscreen(false)
  }
  const onKey = (key: string): void => {
    if (isOpen) handlers.onKey(key)
  }
  const onResize = (): void => {
    if (!isOpen) return
    drawn = []
    handlers.onResize()
  }

  // Whatever ends the process, an exception included, this is run.
  process.on('exit', close)
  term.fullscreen(true)
  term.hideCursor()
  term.raw(NO_WRAP + WHEEL_AS_ARROWS)
  term.grabInput(true)
  term.on('key', onKey)
  term.on('resize', onResize)

  return {
    columns: () => term.width,
    lines: () => term.height,
    draw: (screen) => {
      if (!isOpen) return
      let out = ''
      if (term.width !== width || term.height !== height || drawn.length === 0) {
        ;({ width, height } = term)
        drawn = []
        out += `${STYLE_OFF}\x1b[2J`
      }
      screen.lines.slice(0, height).forEach((line, y) => {
        const encoded = encodeLine(line, hasColor)
        if (drawn[y] === encoded) return
        drawn[y] = encoded
        out += `\x1b[${y + 1};1H${encoded}`
      })
      const { cursor } = screen
      out += cursor ? `\x1b[${cursor.y + 1};${cursor.x + 1}H\x1b[?25h` : '\x1b[?25l'
      term.raw(out)
    },
    forget: () => {
      drawn = []
    },
    close,
  }
}
