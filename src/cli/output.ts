/**
 * What commands print: lines and JSON on stdout, notes on stderr. Names, addresses and messages are written by strangers and
 * end on a terminal, so nothing that steers one gets through: no control characters, no bidi overrides, no line breaks, in
 * JSON neither. A reader that has gone (`| head`) is not a failure: what is written after it is dropped.
 */
import type { Output } from './cli'

/** Of `process.stdout` and `process.stderr`, what is used here. */
export interface TextStream {
  write(text: string): unknown
  on?(event: 'error', listener: (error: Error & { code?: string }) => void): unknown
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
}

export type Color = Parameters<Output['paint']>[0]

const ESC = '\x1b'
const COLOR_CODES: { readonly [color in Color]: string } = {
  bold: '\x1b[1m',
  dim: '\x1b[2m',
  red: '\x1b[31m',
  green: '\x1b[32m',
  yellow: '\x1b[33m',
  blue: '\x1b[34m',
  cyan: '\x1b[36m',
}
const COLOR_OFF = '\x1b[0m'
/** To the beginning of the line, and the rest of it away. */
const CLEAR_LINE = '\r\x1b[K'
/** Exactly what `paint` writes; any other escape sequence is none of ours. */
const OWN_CODES = new RegExp(`(${ESC}\\[(?:0|1|2|31|32|33|34|36)m)`)

const DEFAULT_COLUMNS = 80
const MAX_COLUMNS = 1_000
/** Breaks that would make two lines of one. */
const BREAKS = /[\t\n\v\f\r\u0085\u2028\u2029]+/gu
/** Control and format characters, lone surrogates; but for the two joiners that scripts and emoji need. */
const UNPRINTABLE = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}]/gu
/** More marks on one letter than any script needs grow over the lines around it. */
const STACKED_MARKS = /(\p{M}{4})\p{M}+/gu

/** One line that is safe on a terminal, whoever wrote it. */
export function clean(text: string): string {
  return text.replace(BREAKS, ' ').replace(UNPRINTABLE, '').replace(STACKED_MARKS, '$1')
}

/** JSON of the same value in printable characters: what could steer a terminal is escaped. */
export function cleanJson(value: unknown): string {
  const text = JSON.stringify(value) ?? 'null'
  return text.replace(/(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, (char) =>
    [...Array(char.length).keys()].map((i) => `\\u${char.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
  )
}

// ---- width ------------------------------------------------------------------------------------------------------------

/** East Asian wide and fullwidth ranges, and emoji that are drawn in two columns. */
const WIDE =
  /[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{16fe0}-\u{18aff}\u{1b000}-\u{1b2ff}\u{1f200}-\u{1f2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\p{Regional_Indicator}|\ufe0f/u
const ZERO_WIDTH = /^[\p{M}\p{Cc}\p{Cf}]*$/u

interface Segmenter {
  segment(text: string): Iterable<{ readonly segment: string }>
}
// Known to Node, not to the library of types that the package is compiled with.
const { Segmenter } = Intl as unknown as { Segmenter: new (locale?: string) => Segmenter }
const segmenter = new Segmenter('en')
const ASCII = /^[\x20-\x7e]*$/

function graphemes(text: string): string[] {
  return ASCII.test(text) ? [...text] : [...segmenter.segment(text)].map(({ segment }) => segment)
}

function graphemeWidth(grapheme: string): number {
  if (ZERO_WIDTH.test(grapheme)) return 0
  return WIDE.test(grapheme) ? 2 : 1
}

/** Columns that a text takes on a terminal; colours take none. */
export function displayWidth(text: string): number {
  const plain = text.split(OWN_CODES).filter((_, i) => i % 2 === 0)
  let width = 0
  for (const part of plain) {
    if (ASCII.test(part)) width += part.length
    else for (const grapheme of graphemes(part)) width += graphemeWidth(grapheme)
  }
  return width
}

/** At most `width` columns, the last one `…` where something was cut off. Of a text without colours. */
export function cut(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  if (width <= 0) return ''
  let kept = ''
  let used = 0
  for (const grapheme of graphemes(text)) {
    const next = graphemeWidth(grapheme)
    if (used + next > width - 1) break
    kept += grapheme
    used += next
  }
  return `${kept}…`
}

/** Filled up with spaces to `width` columns. */
export function pad(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const fill = ' '.repeat(Math.max(0, width - displayWidth(text)))
  return align === 'left' ? text + fill : fill + text
}

// ---- tables -----------------------------------------------------------------------------------------------------------

export interface Column<Row> {
  readonly title: string
  /** What stands in the column; cleaned here. */
  readonly text: (row: Row) => string
  readonly color?: (row: Row) => Color | null
  readonly align?: 'left' | 'right'
  /** Gives way when the line is too long, down to `minWidth` (default 8); the others keep their width. */
  readonly canShrink?: boolean
  readonly minWidth?: number
}

const GAP = '  '
const MIN_WIDTH = 8

/**
 * The lines of a table, a head first. On a terminal it fits the width: columns that can shrink do so, the widest first, then lines are cut.
 * Elsewhere nothing is cut, as programs and files read on.
 */
export function table<Row>(out: Output, columns: readonly Column<Row>[], rows: readonly Row[]): string[] {
  const cells = rows.map((row) => columns.map((column) => clean(column.text(row))))
  const widths = columns.map((column, i) =>
    Math.max(displayWidth(column.title), ...sliceMax(cells.map((line) => displayWidth(line[i] ?? '')))),
  )
  if (out.isTerminal) shrink(columns, widths, out.columns)
  const lineOf = (texts: readonly string[], paintOf: (i: number) => Color | null): string => {
    const parts: string[] = []
    let left = out.isTerminal ? out.columns : Number.POSITIVE_INFINITY
    for (let i = 0; i < columns.length && left > 0; i++) {
      const width = Math.min(widths[i] ?? 0, left)
      const text = cut(texts[i] ?? '', width)
      const color = paintOf(i)
      const isLast = i === columns.length - 1
      const padded = isLast && columns[i]?.align !== 'right' ? text : pad(text, width, columns[i]?.align)
      parts.push(color === null ? padded : out.paint(color, padded))
      left -= width + GAP.length
    }
    return parts.join(GAP).trimEnd()
  }
  const head = lineOf(
    columns.map(({ title }) => title),
    () => 'dim',
  )
  return [head, ...cells.map((line, at) => lineOf(line, (i) => columns[i]?.color?.(rows[at] as Row) ?? null))]
}

/** As one argument each they would be too many for a call. */
function sliceMax(values: readonly number[]): number[] {
  let most = 0
  for (const value of values) if (value > most) most = value
  return [most]
}

function shrink<Row>(columns: readonly Column<Row>[], widths: number[], available: number): void {
  const total = (): number => widths.reduce((sum, width) => sum + width, GAP.length * (widths.length - 1))
  for (let over = total() - available; over > 0; over = total() - available) {
    let widest = -1
    columns.forEach((column, i) => {
      const width = widths[i] ?? 0
      if (!column.canShrink || width <= (column.minWidth ?? MIN_WIDTH)) return
      if (widest < 0 || width > (widths[widest] ?? 0)) widest = i
    })
    if (widest < 0) return
    const width = widths[widest] ?? 0
    widths[widest] = Math.max(columns[widest]?.minWidth ?? MIN_WIDTH, width - Math.max(1, Math.floor(over / 2)))
  }
}

// ---- output -----------------------------------------------------------------------------------------------------------

export interface OutputOptions {
  readonly stdout: TextStream
  readonly stderr: TextStream
  readonly env: Readonly<Record<string, string | undefined>>
  /** Of `--color` and `--no-color`; null: neither was given. */
  readonly wantsColor: boolean | null
}

/** An output, and the moment at which its reader has gone. */
export function createOutput(options: OutputOptions): Output & {
  readonly isReaderGone: () => boolean
  readonly readerGone: Promise<void>
} {
  const { stdout, stderr, env } = options
  const isTerminal = stdout.isTTY === true
  const hasColor = options.wantsColor ?? colorByEnvironment(env, isTerminal)
  let isGone = false
  let tellGone: () => void = () => {}
  const readerGone = new Promise<void>((resolve) => {
    tellGone = resolve
  })
  const onError = (error: Error & { code?: string }): void => {
    // Whatever it is that happened to stdout: nobody reads it any more.
    if (error.code !== 'EPIPE') stderr.write(`${clean(error.message)}\n`)
    isGone = true
    tellGone()
  }
  stdout.on?.('error', onError)
  // There is nowhere left to say it.
  stderr.on?.('error', () => {})

  const safe = (text: string): string => {
    if (!hasColor) return clean(text)
    const parts = text.split(OWN_CODES)
    const last = parts[parts.length - 2]
    const line = parts.map((part, i) => (i % 2 === 0 ? clean(part) : part)).join('')
    // What a stranger wrote in our codes ends with the line.
    return last === undefined || last === COLOR_OFF ? line : line + COLOR_OFF
  }
  const write = (text: string): void => {
    if (!isGone) stdout.write(text)
  }
  let isProgressShown = false
  const clearProgress = (): void => {
    if (isProgressShown) write(CLEAR_LINE)
    isProgressShown = false
  }
  return {
    isTerminal,
    get columns() {
      return Math.min(Math.max(20, (isTerminal ? stdout.columns : null) || DEFAULT_COLUMNS), MAX_COLUMNS)
    },
    hasColor,
    line: (text = '') => {
      clearProgress()
      write(`${safe(text)}\n`)
    },
    json: (value) => write(`${cleanJson(value)}\n`),
    note: (text) => {
      clearProgress()
      stderr.write(`${safe(text)}\n`)
    },
    progress: (text) => {
      if (!isTerminal) return
      clearProgress()
      if (text === null) return
      write(safe(text))
      isProgressShown = true
    },
    paint: (color, text) => (hasColor ? `${COLOR_CODES[color]}${clean(text)}${COLOR_OFF}` : clean(text)),
    isReaderGone: () => isGone,
    readerGone,
  }
}

/** no-color.org, and FORCE_COLOR as Node and most tools read it. */
function colorByEnvironment(env: OutputOptions['env'], isTerminal: boolean): boolean {
  if (env.NO_COLOR) return false
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR !== '0' && env.FORCE_COLOR !== 'false'
  return isTerminal && env.TERM !== 'dumb'
}
