/** Text that strangers wrote, made short and harmless before it goes to the page. */
import { shorten } from '../core/errors'

export const MAX_NAME = 64
export const MAX_ERROR = 300

/** What is not seen, such as control characters, and what turns the direction of what follows: a name could rewrite the line that it stands in. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu

/** One line of at most `max` characters; null where nothing is left, or it is no text. */
export function plainText(value: unknown, max: number): string | null {
  if (typeof value !== 'string') return null
  const text = value
    .slice(0, 4 * max)
    .replace(UNSEEN, ' ')
    .trim()
  return text === '' ? null : shorten(text, max)
}
