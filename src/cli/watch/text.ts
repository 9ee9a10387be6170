/**
 * Text for the cells of a full screen, on top of what output.ts has for lines. Pure. Names, addresses and errors are written by strangers: one
 * that moves the cursor, turns the direction of writing or never ends must not get through.
 */
import { cut, displayWidth } from '../output'

export { cut, displayWidth } from '../output'

/** Looked at of a text, whatever its length. */
const MAX_UNITS = 1_000
/** Accents on one letter; more of them climb out of their line. */
const MAX_MARKS = 2

/** Control, format (bidi, zero width), private use, unassigned and half characters, and line ends. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]/u
const SPACE = /\s/u
const MARK = /\p{M}/u
/** Chooses the coloured form of a sign, which some terminals draw wider. */
const VARIATION = /[\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/u

/** One line without anything that a terminal obeys; at most 1000 UTF-16 units of it are looked at. */
export function clean(text: string): string {
  let out = ''
  let marks = 0
  let wasSpace = true
  for (const sign of text.slice(0, MAX_UNITS)) {
    if (SPACE.test(sign) || UNSAFE.test(sign)) {
      if (!wasSpace) out += ' '
      wasSpace = true
      continue
    }
    if (VARIATION.test(sign)) continue
    const isMark = MARK.test(sign)
    // An accent on nothing would land on what stands before it on the screen.
    if (isMark && (wasSpace || ++marks > MAX_MARKS)) continue
    if (!isMark) marks = 0
    wasSpace = false
    out += sign
  }
  return out.trimEnd()
}

/** Cut, and filled with spaces to exactly `width` columns. */
export function pad(text: string, width: number): string {
  const short = cut(text, width)
  return short + ' '.repeat(Math.max(0, width - displayWidth(short)))
}

/** A cleaned text in lines of at most `width` columns, broken at spaces where there are any; at most `linesMax`. */
export function wrap(text: string, width: number, linesMax: number): string[] {
  const lines: string[] = []
  let rest = text
  while (rest !== '' && lines.length < linesMax) {
    if (lines.length === linesMax - 1 || displayWidth(rest) <= width) {
      lines.push(cut(rest, width))
      break
    }
    let end = 0
    let used = 0
    let lastSpace = 0
    for (const sign of rest) {
      used += displayWidth(sign)
      if (used > width) break
      if (sign === ' ') lastSpace = end
      end += sign.length
    }
    // A sign that is wider than the line would never leave it.
    if (end === 0) break
    const at = lastSpace > 0 && rest[end] !== ' ' ? lastSpace : end
    lines.push(rest.slice(0, at).trimEnd())
    rest = rest.slice(at).trimStart()
  }
  return lines
}

/** `4 s`, `12 min`, `3 h`, `5 d`: the largest unit of which there are at least two, or seconds. At most 6 columns up to years. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}
