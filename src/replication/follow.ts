/**
 * Reads a pull-stream of another plugin for as long as it is wanted: opens it again when it fails or ends, with pauses that
 * grow, and keeps whatever that plugin throws to itself. What came while nobody was listening is not made up for: sources
 * are asked for what is there already (`old`) each time.
 */
import pull = require('pull-stream')

import type { Clock } from '../shell/clock'

export interface Following<T> {
  /** What is read, for the log. */
  readonly name: string
  /** Asked each time; may throw. */
  readonly open: () => unknown
  readonly each: (item: T) => void
  /** A normal end is what was waited for. Without this an end is a failure like any other. */
  readonly done?: () => void
  /** After each failure, before the pause. */
  readonly failed?: () => void
}

export interface Follower {
  /** Opens it anew, at once. */
  restart(): void
  /** Nothing is read or called after this. */
  stop(): void
  /** Whether it waits to be opened again. */
  isFailing(): boolean
}

export interface FollowContext {
  readonly clock: Clock
  readonly log: (message: string) => void
}

const RETRY_MS = 1_000
const RETRY_MAX_MS = 60_000

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Opens it before it returns. */
export function follow<T>({ clock, log }: FollowContext, following: Following<T>): Follower {
  const { name } = following
  /** Counts openings, so that an abandoned one is not heard any more. */
  let opening = 0
  let openedAt = 0
  let failures = 0
  let timer: unknown = null
  let sink: { abort: () => void } | null = null

  const close = (): void => {
    opening++
    if (timer !== null) clock.clearTimeout(timer)
    timer = null
    const old = sink
    sink = null
    try {
      old?.abort()
    } catch (error) {
      log(`${name} could not be ended: ${textOf(error)}`)
    }
  }

  const contained = (fn: () => void): void => {
    try {
      fn()
    } catch (error) {
      log(`${name}: ${textOf(error)}`)
    }
  }

  const open = (): void => {
    const mine = ++opening
    openedAt = clock.now()
    const ended = (error: unknown): void => {
      if (mine !== opening) return
      opening++
      sink = null
      const { done, failed } = following
      if (!error && done) {
        failures = 0
        contained(done)
        return
      }
      log(`${name} ${error ? `failed: ${textOf(error)}` : 'has ended'}`)
      // Not reset by an item: one that gives something and then fails each time would be asked every second for good.
      if (clock.now() - openedAt >= RETRY_MAX_MS) failures = 0
      timer = clock.setTimeout(
        () => {
          timer = null
          open()
        },
        Math.min(RETRY_MS * 2 ** failures, RETRY_MAX_MS),
      )
      failures++
      if (failed) contained(failed)
    }
    const next = (item: T): boolean => {
      contained(() => following.each(item))
      return mine === opening
    }
    try {
      const source = following.open()
      if (mine !== opening) return
      if (typeof source !== 'function') throw new Error('there is no stream')
      const drain = pull.drain<T>(next, ended)
      sink = drain
      pull(source as pull.Source<T>, drain)
    } catch (error) {
      ended(error)
    }
  }

  open()

  return {
    restart: () => {
      close()
      failures = 0
      open()
    },
    stop: close,
    isFailing: () => timer !== null,
  }
}
