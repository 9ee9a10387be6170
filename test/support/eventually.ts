/**
 * Waiting in tests against real sockets: for a condition, an event, a promise. Every wait has a limit and says what it waited
 * for, so a broken test fails by name instead of hanging its file. To prove that something does not happen, use a virtual
 * clock: nothing here does.
 */
import type * as pull from 'pull-stream'

const DEFAULT_TIMEOUT_MS = 5_000

export interface EventuallyOptions {
  readonly timeoutMs?: number
  /** Pause between two looks. */
  readonly everyMs?: number
  /** What was expected, e.g. 'alice knows bob'; a function is asked at the end, to show what there was instead. */
  readonly message?: string | (() => string)
}

/**
 * The first truthy value of `predicate`, which may be async. One that throws or rejects counts as not yet true; its last
 * error becomes the cause of the failure.
 */
export async function eventually<T>(
  predicate: () => T | PromiseLike<T>,
  options: EventuallyOptions = {},
): Promise<Exclude<T, false | null | undefined | 0 | ''>> {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, everyMs = 10, message = 'the condition' } = options
  const deadline = Date.now() + timeoutMs
  let cause: unknown
  for (;;) {
    try {
      // A predicate that never settles must not outlive the limit either.
      const value = await withTimeout(Promise.resolve(predicate()), Math.max(1, deadline - Date.now()), 'the predicate')
      if (value) return value as Exclude<T, false | null | undefined | 0 | ''>
      cause = undefined
    } catch (error) {
      cause = error
    }
    if (Date.now() >= deadline) break
    await delay(everyMs)
  }
  const text = typeof message === 'function' ? message() : message
  throw new Error(`not within ${timeoutMs} ms: ${text}`, cause === undefined ? {} : { cause })
}

/** The same outcome as `promise`, or an error naming `message` after `ms`. */
export function withTimeout<T>(promise: PromiseLike<T>, ms: number, message: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const error = new Error(`not within ${ms} ms: ${message}`) // made here for the stack of the caller
    const timer = setTimeout(() => reject(error), ms)
    promise.then(
      (value) => {
        clearTimeout(timer)
        resolve(value)
      },
      (reason) => {
        clearTimeout(timer)
        reject(reason)
      },
    )
  })
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** What `once` needs of an emitter; a stack, a muxrpc and a node emitter have it. */
export interface Emitter {
  on(event: string, listener: (...args: unknown[]) => void): unknown
  removeListener?(event: string, listener: (...args: unknown[]) => void): unknown
}

/** The arguments of the next `event`. Listens before it returns. */
export function once<A extends unknown[] = unknown[]>(
  emitter: Emitter,
  event: string,
  { timeoutMs = DEFAULT_TIMEOUT_MS, message = `the event ${event}` }: { timeoutMs?: number; message?: string } = {},
): Promise<A> {
  let listener: ((...args: unknown[]) => void) | null = null
  const seen = new Promise<A>((resolve) => {
    listener = (...args) => resolve(args as A)
    emitter.on(event, listener)
  })
  const forget = () => {
    if (listener !== null) emitter.removeListener?.(event, listener)
  }
  return withTimeout(seen, timeoutMs, message).then(
    (args) => {
      forget()
      return args
    },
    (error) => {
      forget()
      throw error
    },
  )
}

export interface Collected<T> {
  /** What has come so far; grows. */
  readonly items: readonly T[]
  /** True for the normal end, an Error for a failed one. Never rejects. */
  readonly ended: Promise<true | Error>
  /** Set at the end. */
  readonly end: true | Error | null
  /** Ends the source from the reader's side; settles like `ended`, once the source has said so. */
  abort(): Promise<true | Error>
}

/** Reads a pull-stream source as fast as it gives, from now on. */
export function collect<T>(source: pull.Source<T>): Collected<T> {
  const items: T[] = []
  let end: true | Error | null = null
  let isAborted = false
  let settle: (end: true | Error) => void = () => {}
  const ended = new Promise<true | Error>((resolve) => {
    settle = resolve
  })
  const finish = (reason: true | Error) => {
    end ??= reason
    settle(end)
  }
  const read = () => {
    let isSync = true
    let again = true
    // A loop where the source answers at once: a recursion per item would overflow the stack.
    while (again) {
      again = false
      isSync = true
      source(null, (reason, data) => {
        if (reason) return finish(reason)
        items.push(data as T)
        if (isAborted) return
        if (isSync) again = true
        else read()
      })
      isSync = false
    }
  }
  read()
  return {
    items,
    ended,
    get end() {
      return end
    },
    abort: () => {
      if (!isAborted && end === null) {
        isAborted = true
        source(true, (reason) => finish(reason || true))
      }
      return ended
    },
  }
}
