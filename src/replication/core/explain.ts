/** Reasons as sentences, for people who ask why a feed is replicated or not. */
import type { Decision, FeedId, Reason } from './types'

/** How far the wish has been carried out. */
export interface Progress {
  readonly isRequested: boolean
  /** Held back, because closer feeds go first. */
  readonly isWaiting: boolean
  /** The scheduler has not been started. */
  readonly isStopped: boolean
}

function distance(hops: number): string {
  if (hops === 0) return 'it is ours'
  if (hops < 1) return 'it belongs to another device of ours'
  return hops === 1 ? 'it is a friend' : `it is ${hops} hops away`
}

function describe(reason: Reason): string {
  switch (reason.kind) {
    case 'self':
      return 'it is our own feed'
    case 'hops':
      return reason.template === null
        ? distance(reason.hops)
        : `${distance(reason.hops)}, and the template for ${reason.template} asks for it`
    case 'group':
      return `a member of the private group ${reason.group} has it`
    case 'manual':
      return reason.isWanted ? 'it was requested by hand' : 'it was refused by hand'
    case 'metafeedUnknown':
      return 'no meta feed of its author is known yet, so the main feed is replicated in full for now'
    case 'treeMissing':
      return 'the meta feed of its author is known, but nothing of its tree has arrived, so the main feed is replicated in full for now'
    case 'blocked':
      return reason.hops === -1 ? 'we block its author' : 'another device of ours blocks its author'
    case 'unreachable':
      if (reason.hops === null) return 'nobody within reach follows its author'
      return reason.hops === -2
        ? 'we no longer follow its author, or a friend blocks its author'
        : 'somebody between us and its author unfollowed or blocks'
    case 'notInTemplate':
      return 'its author is replicated in part, and no template asks for this feed'
    case 'tombstoned':
      return 'its author has ended it'
    case 'excluded':
      return `its owner was excluded from the private group ${reason.group}`
  }
}

function head({ wish }: Decision, progress: Progress): string {
  if (wish === 'block') return 'is blocked'
  if (wish !== 'want') return 'is not replicated'
  if (progress.isStopped) return 'would be replicated, if the scheduler were started'
  if (progress.isRequested) return 'is replicated'
  return progress.isWaiting ? 'waits until closer feeds have arrived' : 'is about to be requested'
}

/** One sentence: the outcome and the reasons that decide it. */
export function explainDecision(feed: FeedId, decision: Decision, progress: Progress): string {
  if (decision.wish === null) return `${feed} is not replicated: nobody within reach follows its author.`
  const isPositive = decision.wish === 'want'
  const reasons = decision.reasons.filter((reason) => isInFavour(reason) === isPositive)
  const because = [...new Set(reasons.map(describe))].join('; ')
  return `${feed} ${head(decision, progress)}${because === '' ? '' : `: ${because}`}.`
}

export function isInFavour(reason: Reason): boolean {
  switch (reason.kind) {
    case 'self':
    case 'hops':
    case 'group':
    case 'metafeedUnknown':
    case 'treeMissing':
      return true
    case 'manual':
      return reason.isWanted
    default:
      return false
  }
}
