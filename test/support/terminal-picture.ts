/** A picture of a terminal: its screen, drawn by the browser as text in the colours that it has. */
import { type IBufferCell, Terminal } from '@xterm/headless'
import type { Browser } from 'playwright-core'

export interface TerminalPictureOptions {
  readonly columns?: number
  readonly lines?: number
}

const FRONT = '#d6dee8'
const BACK = '#10161d'
/** The sixteen that programs name by number; those of the page's dark theme. */
const BASIC = [
  '#10161d', '#ff8c80', '#4ccb95', '#efb453', '#74b6ff', '#bda2ff', '#5fd0d6', '#d6dee8',
  '#7d8a99', '#ffaaa1', '#7fe0b5', '#f6cb85', '#a3cfff', '#d4c2ff', '#93e3e7', '#ffffff',
] // biome-ignore format: a row of eight and a row of eight

function colourOf(cell: IBufferCell, isFront: boolean): string | null {
  const value = isFront ? cell.getFgColor() : cell.getBgColor()
  if (isFront ? cell.isFgDefault() : cell.isBgDefault()) return null
  if (isFront ? cell.isFgRGB() : cell.isBgRGB()) return `#${value.toString(16).padStart(6, '0')}`
  if (value < 16) return BASIC[value] ?? null
  if (value >= 232) {
    const grey = 8 + (value - 232) * 10
    return `rgb(${grey}, ${grey}, ${grey})`
  }
  const part = (step: number): number => (step === 0 ? 0 : 55 + step * 40)
  const cube = value - 16
  return `rgb(${part(Math.floor(cube / 36))}, ${part(Math.floor(cube / 6) % 6)}, ${part(cube % 6)})`
}

function styleOf(cell: IBufferCell): string {
  const [front, back] = [colourOf(cell, true), colourOf(cell, false)]
  const isInverse = cell.isInverse() !== 0
  const color = isInverse ? (back ?? BACK) : (front ?? FRONT)
  const ground = isInverse ? (front ?? FRONT) : back
  return [
    `color:${color}`,
    ...(ground === null ? [] : [`background:${ground}`]),
    ...(cell.isBold() ? ['font-weight:700'] : []),
    ...(cell.isDim() ? ['opacity:.72'] : []),
    ...(cell.isUnderline() ? ['text-decoration:underline'] : []),
  ].join(';')
}

const escapeHtml = (text: string): string =>
  text.replace(/[&<>]/g, (sign) => (sign === '&' ? '&amp;' : sign === '<' ? '&lt;' : '&gt;'))

/** Writes the screen that `ansiText` leaves as a PNG. Blank lines at its end are left out. */
export async function terminalPicture(
  browser: Browser,
  ansiText: string,
  file: string,
  { columns = 110, lines = 30 }: TerminalPictureOptions = {},
): Promise<void> {
  const terminal = new Terminal({ cols: columns, rows: lines, allowProposedApi: true, scrollback: 0, convertEol: true })
  await new Promise<void>((resolve) => terminal.write(ansiText, resolve))
  const { active } = terminal.buffer
  const rows: string[] = []
  for (let y = 0; y < lines; y++) {
    const line = active.getLine(active.baseY + y)
    let html = ''
    let run = ''
    let style = ''
    for (let x = 0; x < columns; x++) {
      const cell = line?.getCell(x)
      if (!cell || cell.getWidth() === 0) continue
      const next = styleOf(cell)
      if (next !== style) {
        if (run !== '') html += `<span style="${style}">${escapeHtml(run)}</span>`
        run = ''
        style = next
      }
      run += cell.getChars() || ' '
    }
    rows.push(`${html}<span style="${style}">${escapeHtml(run.replace(/ +$/, ''))}</span>`)
  }
  terminal.dispose()
  while (rows.length > 1 && /^(?:<span style="[^"]*"><\/span>)?$/.test(rows[rows.length - 1] ?? '')) rows.pop()
  const page = await browser.newPage({ viewport: { width: 1400, height: 900 } })
  try {
    await page.setContent(
      `<body style="margin:0;background:transparent"><pre style="display:inline-block;margin:0;padding:16px 20px;border-radius:10px;
        background:${BACK};color:${FRONT};font:14px/1.35 ui-monospace,'SF Mono','Cascadia Mono',Consolas,'DejaVu Sans Mono',monospace">${rows.join('\n')}</pre></body>`,
    )
    await page.locator('pre').screenshot({ path: file, omitBackground: true })
  } finally {
    await page.close()
  }
}
