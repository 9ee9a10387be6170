/**
 * How public methods are called: unbound, with or without a trailing callback. secret-stack wraps only top-level `sync`
 * methods so that a callback works; nested ones have to do it themselves (reference: legacy-apis 1b).
 */

export type Callback<T> = (error?: unknown, result?: T) => void

/** Promises inside, callbacks at the edge, converted here once. */
function isCallback(value: unknown): value is Callback<unknown> {
  return typeof value === 'function'
}

/** Takes a trailing callback off the arguments, if there is one. */
function split(args: readonly unknown[]): { readonly rest: unknown[]; readonly cb: Callback<unknown> | null } {
  const rest = [...args]
  const last = rest[rest.length - 1]
  if (!isCallback(last)) return { rest, cb: null }
  rest.pop()
  return { rest, cb: last }
}

/**
 * Runs somebody else's function from within our own work. What it throws is its fault and must not leave us half done: it
 * surfaces as an unhandled rejection, as what a callback of an async call throws does.
 */
export function isolated(fn: () => void): void {
  try {
    fn()
  } catch (error) {
    void Promise.reject(error)
  }
}

/** A method that answers at once: returns or throws; with a trailing callback it calls back instead of throwing. */
export function syncCall<A extends readonly unknown[], R>(fn: (...args: A) => R): (...args: [...A, Callback<R>?]) => R {
  return (...args) => {
    const { rest, cb } = split(args)
    if (!cb) return fn(...(rest as unknown as A))
    let result: R
    try {
      result = fn(...(rest as unknown as A))
    } catch (error) {
      cb(error)
      return undefined as unknown as R
    }
    cb(null, result)
    return result
  }
}

/** A method that answers later: a promise, or the trailing callback. Bad input comes the same way as any other failure. */
export function asyncCall<A extends readonly unknown[], R>(
  fn: (...args: A) => Promise<R>,
): (...args: [...A, Callback<R>?]) => Promise<R> {
  return (...args) => {
    const { rest, cb } = split(args)
    const promise = new Promise<R>((resolve) => {
      resolve(fn(...(rest as unknown as A)))
    })
    if (!cb) return promise
    // What the callback throws is its caller's; it must not look like a second failure of ours.
    promise.then(
      (result) => cb(null, result),
      (error) => cb(error),
    )
    return undefined as unknown as Promise<R>
  }
}

/** Legacy callers drop what they get: a failure that nobody asked for must not end the process. */
export function settled<T>(promise: Promise<T>): Promise<T> {
  // undefined where a callback was given.
  ;(promise as Promise<T> | undefined)?.catch(() => {})
  return promise
}
