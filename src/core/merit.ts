/**
 * What a peer is worth as a source, learned from what its connections brought, and how soon its next turn comes.
 *
 * A peer's rate is the number of messages that it brought which we did not have, by the time that passed meanwhile, connected
 * or not; both sums fade, so that it follows the peer. What another connection brought first does not count, so of two peers
 * that have the same, one is enough. The visits of a peer lie apart by the inverse cube root of its rate: a message waits for
 * half a pause on average, and what has gathered meanwhile grows with the pause, so the sum of all waits grows by
 * rate × pause²; for a given number of visits in all it is least where rate × pause³ is the same for all.
 */
import type { Options } from './options'
import type { DurationMs, EpochMs, Peer } from './types'

export interface Merit {
  /** Messages that came from the peer; fades. */
  readonly messages: number
  /** Time that they were gathered in; fades with them. */
  readonly coveredMs: DurationMs
  /** Up to when. */
  readonly at: EpochMs
  /** When the last of them came. */
  readonly broughtAt: EpochMs
}

const HOUR_MS = 3_600_000
/** A day later, a message counts a third. */
const FADE_MS = 24 * HOUR_MS
/** A first visit brings what has gathered for longer than we know of. */
const FIRST_COVER_MS = 12 * HOUR_MS
/** Before anything is known, and as long as little is: a message in four hours. */
const PRIOR_MESSAGES = 0.5
const PRIOR_MS = 2 * HOUR_MS

/** The sums after `count` messages more, or none, up to `at`. */
export function credit(merit: Merit | null, at: EpochMs, count: number): Merit {
  if (!merit) return { messages: count, coveredMs: FIRST_COVER_MS, at, broughtAt: count > 0 ? at : 0 }
  const passedMs = Math.max(0, at - merit.at)
  const rest = Math.exp(-passedMs / FADE_MS)
  const messages = merit.messages * rest + count
  return { messages, coveredMs: merit.coveredMs * rest + passedMs, at, broughtAt: count > 0 ? at : merit.broughtAt }
}

/** Messages per hour. */
export function rateOf(merit: Merit | null): number {
  if (!merit) return (PRIOR_MESSAGES / PRIOR_MS) * HOUR_MS
  return ((merit.messages + PRIOR_MESSAGES) / (merit.coveredMs + PRIOR_MS)) * HOUR_MS
}

/** Messages per hour, if none comes until then: the sums are brought up to date only when something is told about the peer. */
export function rateAt(merit: Merit | null, at: EpochMs): number {
  return rateOf(merit && credit(merit, at, 0))
}

/** How long after a visit the next one is wanted. */
export function visitPause(options: Options, peer: Pick<Peer, 'priority' | 'prioritisedBy' | 'merit'>): DurationMs {
  const pause = options.visitMs * Math.cbrt(1 / rateOf(peer.merit))
  const bounded = Math.min(Math.max(pause, options.visitMinMs), options.visitMaxMs)
  // Who brought nothing and is nobody that we know has seldom anything to bring.
  return isStranger(peer) && !hasBrought(peer.merit) ? bounded * STRANGER_FACTOR : bounded
}

const STRANGER_FACTOR = 6

/** Anything that has not faded yet. */
export function hasBrought(merit: Merit | null): boolean {
  return merit !== null && merit.messages > 0.1
}

/** Of a clock that was ahead. */
export function noLater(merit: Merit, at: EpochMs): Merit {
  if (merit.at <= at) return merit
  return { ...merit, at, broughtAt: Math.min(merit.broughtAt, at) }
}

/** As it is stored: no more digits than anybody needs. */
export function roundedMerit({ messages, coveredMs, at, broughtAt }: Merit): Merit {
  return { messages: Math.round(messages * 1000) / 1000, coveredMs: Math.round(coveredMs), at, broughtAt }
}

/** When the peer's next turn comes; 0 for one that was never connected: at once. */
export function turnAtOf(
  options: Options,
  peer: Pick<Peer, 'priority' | 'prioritisedBy' | 'merit' | 'visitedAt'>,
): EpochMs {
  return peer.visitedAt === 0 ? 0 : peer.visitedAt + Math.round(visitPause(options, peer))
}

/** LOW, and nobody that we trust has said so: only an address that somebody wrote down. */
export function isStranger(peer: Pick<Peer, 'priority' | 'prioritisedBy'>): boolean {
  return peer.priority === 'LOW' && peer.prioritisedBy === null
}
