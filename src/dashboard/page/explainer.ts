/**
 * Keeps the reasons of what is in sight, and asks for those it lacks: in batches, never more often than every two seconds
 * (sooner for what somebody waits for), and never for what nobody sees. No DOM, and its clock and timer are given, so that it can be tested.
 */
import type { Explanation } from '../../core/selectors'
import type { ExplainAnswer } from '../protocol'

export interface ExplainerParts {
  readonly ask: (targets: readonly string[]) => Promise<ExplainAnswer | null>
  readonly now: () => number
  readonly setTimer: (fn: () => void, ms: number) => unknown
  /** Some answers have come. */
  readonly changed: () => void
}

export interface Explainer {
  /**
   * What `asker` (a part of the page) has in sight now, in the place of what it had. `isAwaited`: somebody asked for just
   * these, and reads "Asking why …" until the first answer comes.
   */
  want(asker: string, targets: readonly string[], isAwaited?: boolean): void
  /** Undefined: not known yet; null: the server knows no such target. */
  get(target: string): Explanation | null | undefined
  /** The state has changed: what is known may not hold any more. */
  invalidate(): void
  /** While paused nothing is asked. */
  pause(isPaused: boolean): void
}

export const BATCH_MAX = 100
export const EVERY_MS = 2_000
/** Whoever goes through one peer after the other asks no more often than this. */
export const AWAITED_EVERY_MS = 300
/** Reasons end by themselves: they are asked for again after this, without any event. */
export const MAX_AGE_MS = 20_000
/** Scrolling on, one sees rows that are gone again in a moment. */
const SETTLE_MS = 120
const KEPT_MAX = 2_000

export function createExplainer(parts: ExplainerParts): Explainer {
  const wanted = new Map<string, readonly string[]>()
  /** Waited for, and never asked for so far: an answer that does not come is not asked for in haste again. */
  let awaited = new Set<string>()
  const known = new Map<string, { at: number; explanation: Explanation | null }>()
  let staleAt = Number.NEGATIVE_INFINITY
  let askedAt = Number.NEGATIVE_INFINITY
  let isAsking = false
  let isPaused = false
  let timerAt: number | null = null
  let generation = 0

  const due = (): string[] => {
    const now = parts.now()
    const found = new Set<string>(awaited)
    for (const targets of wanted.values())
      for (const target of targets) {
        const entry = known.get(target)
        if (!entry || entry.at < staleAt || now - entry.at >= MAX_AGE_MS) found.add(target)
      }
    return [...found].slice(0, BATCH_MAX)
  }

  const ask = async (): Promise<void> => {
    const targets = due()
    if (targets.length === 0 || isPaused || isAsking) return
    for (const target of targets) awaited.delete(target)
    isAsking = true
    askedAt = parts.now()
    const at = askedAt
    const answer = await parts.ask(targets)
    isAsking = false
    targets.forEach((target, i) => {
      // Without an answer the old one stands; it is asked again in its time.
      const explanation = answer === null ? (known.get(target)?.explanation ?? null) : (answer[i] ?? null)
      known.delete(target)
      if (answer !== null || explanation !== null) known.set(target, { at, explanation })
    })
    for (const target of known.keys()) {
      if (known.size <= KEPT_MAX) break
      known.delete(target)
    }
    parts.changed()
    schedule()
  }

  const schedule = (): void => {
    if (isPaused || isAsking) return
    const now = parts.now()
    let at: number
    if (awaited.size > 0) at = Math.max(now, askedAt + AWAITED_EVERY_MS)
    else if (due().length > 0) at = Math.max(now + SETTLE_MS, askedAt + EVERY_MS)
    else {
      let oldest = Number.POSITIVE_INFINITY
      for (const targets of wanted.values())
        for (const target of targets) oldest = Math.min(oldest, known.get(target)?.at ?? oldest)
      if (oldest === Number.POSITIVE_INFINITY) return
      at = Math.max(oldest + MAX_AGE_MS, askedAt + EVERY_MS)
    }
    if (timerAt !== null && timerAt <= at) return
    timerAt = at
    const mine = ++generation
    parts.setTimer(() => {
      if (mine !== generation) return
      timerAt = null
      void ask()
      schedule()
    }, at - now)
  }

  return {
    want: (asker, targets, isAwaited = false) => {
      const before = wanted.get(asker)
      if (before && before.length === targets.length && before.every((each, i) => each === targets[i])) return
      if (isAwaited) awaited = new Set(targets.filter((target) => !known.has(target)))
      if (targets.length === 0) wanted.delete(asker)
      else wanted.set(asker, targets)
      schedule()
    },
    get: (target) => {
      const entry = known.get(target)
      return entry === undefined ? undefined : entry.explanation
    },
    invalidate: () => {
      staleAt = parts.now()
      schedule()
    },
    pause: (paused) => {
      isPaused = paused
      if (!paused) schedule()
    },
  }
}
