/** What is written so that a terminal shows these lines. Pure. */

/** One for each row of the screen: the line that stands there, or goes on there. */
export type Screen = readonly string[]

/**
 * What to write, and the screen that it makes. A line longer than the terminal is written in one piece, so that the terminal breaks it and
 * whoever copies it has it whole; only lines that have changed since `drawn` are written, so that what is being marked stays marked. Lines
 * for which there is no row left are dropped.
 */
export function repaint(
  lines: readonly string[],
  drawn: Screen,
  size: { readonly columns: number; readonly rows: number },
): { readonly text: string; readonly screen: Screen } {
  const screen: string[] = []
  let text = drawn.length === 0 ? '\x1b[2J' : ''
  for (const line of lines) {
    const height = Math.max(1, Math.ceil(line.length / size.columns))
    const top = screen.length
    if (top + height > size.rows) break
    const rows = Array.from({ length: height }, (_, row) => `${row} ${line}`)
    screen.push(...rows)
    if (rows.every((each, row) => each === drawn[top + row])) continue
    text += `${rows.map((_, row) => `\x1b[${top + row + 1};1H\x1b[2K`).join('')}\x1b[${top + 1};1H${line}`
  }
  // Below it, where the cursor waits too.
  const below = Math.min(screen.length + 1, size.rows)
  for (let row = screen.length; row < drawn.length; row++) text += `\x1b[${row + 1};1H\x1b[2K`
  return { text: `${text}\x1b[${below};1H`, screen }
}

/** Lines of at most `columns`, broken between the parts. */
export function flow(parts: readonly string[], columns: number): string[] {
  const lines: string[] = []
  for (const part of parts) {
    const last = lines[lines.length - 1]
    if (last !== undefined && last.length + 3 + part.length <= columns) lines[lines.length - 1] = `${last} · ${part}`
    else lines.push(part)
  }
  return lines
}
