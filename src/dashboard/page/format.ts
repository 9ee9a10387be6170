/**
 * From values to the words on the page. Pure. Whatever came from a peer passes `clean` before it is shown: the page only ever
 * makes text nodes of it, and this takes what text itself can do to a reader.
 */
import type { EpochMs } from '../../core/types'

/**
 * Controls (ANSI escapes begin with one), what turns the direction of a line, what cannot be seen, and halves of a pair.
 * Joiners stay: names are written with them.
 */
const UNSHOWN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g
/** Marks on one letter, without end, cover the lines around. */
const PILED = /(\p{M}{4})\p{M}+/gu

/** The longest that is shown of anything, unless a caller allows less. */
export const TEXT_MAX = 300

/** `text` without what would harm the page around it, at most `max` characters with the ellipsis that tells of more. */
export function clean(text: unknown, max: number = TEXT_MAX): string {
  if (typeof text !== 'string') return ''
  // Cut twice: a text of megabytes is not searched, and the second cut counts what is shown.
  const shown = text
    .slice(0, max * 8)
    .replace(UNSHOWN, '\ufffd')
    .replace(PILED, '$1')
  if (shown.length <= max && text.length <= max * 8) return shown
  return `${shown.slice(0, max - 1).replace(/[\ud800-\udbff]$/, '')}…`
}

/** The beginning of a feed id: enough to tell it from others at a glance. */
export function shortId(id: string): string {
  return clean(id.slice(0, 9), 9) + (id.length > 9 ? '…' : '')
}

/** A name, or the beginning of the id where there is none. */
export function peerName(peer: { readonly id: string; readonly name: string | null }): string {
  const name = peer.name === null ? '' : clean(peer.name, 64).trim()
  return name === '' ? shortId(peer.id) : name
}

/** An address without the key, which the row shows already: `net:pub.example.com:8008`. */
export function shortAddress(address: string): string {
  const at = address.indexOf('~')
  return clean(at > 0 && !address.startsWith('tunnel:') ? address.slice(0, at) : address)
}

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** `4 s`, `12 min`, `3 h 20 min`, `5 d`; never below zero. */
export function duration(ms: number): string {
  if (!Number.isFinite(ms)) return '–'
  const least = Math.max(0, ms)
  if (least < MINUTE) return `${Math.round(least / SECOND) >= 60 ? 59 : Math.round(least / SECOND)} s`
  if (least < HOUR) return `${Math.floor(least / MINUTE)} min`
  if (least < 10 * HOUR) {
    const minutes = Math.floor((least % HOUR) / MINUTE)
    return minutes === 0 ? `${Math.floor(least / HOUR)} h` : `${Math.floor(least / HOUR)} h ${minutes} min`
  }
  if (least < 2 * DAY) return `${Math.floor(least / HOUR)} h`
  if (least < 400 * DAY) return `${Math.floor(least / DAY)} d`
  return `${Math.floor(least / (365 * DAY))} y`
}

/** `4 s ago`, `now`, or `never` for null and 0. */
export function ago(at: EpochMs | null, now: EpochMs): string {
  if (at === null || at === 0) return 'never'
  return now - at < 2 * SECOND ? 'now' : `${duration(now - at)} ago`
}

/** `in 4 s`, or `due` once it has come. */
export function ahead(at: EpochMs | null, now: EpochMs): string {
  if (at === null) return '–'
  return at <= now ? 'due' : `in ${duration(at - now)}`
}

/** Of the reader's own time zone: `14:05`, or `14:05:09`. */
export function clockTime(at: EpochMs, withSeconds = false): string {
  const date = new Date(at)
  const parts = [date.getHours(), date.getMinutes(), ...(withSeconds ? [date.getSeconds()] : [])]
  return parts.map((part) => String(part).padStart(2, '0')).join(':')
}

/** `1 234 567`, with narrow spaces that do not break. */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f')
}

/** `1 peer`, `2 peers`; `one` in the singular. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`
}

/** `84 ms`, `1.2 s` */
export function milliseconds(ms: number): string {
  if (!Number.isFinite(ms)) return '–'
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}

/** Of a share from 0 to 1: `62 %`. */
export function percent(share: number): string {
  return Number.isFinite(share) ? `${Math.round(Math.min(1, Math.max(0, share)) * 100)} %` : '–'
}

/** `a`, `a and b`, `a, b and c` */
export function listed(words: readonly string[]): string {
  if (words.length < 2) return words[0] ?? ''
  return `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`
}
