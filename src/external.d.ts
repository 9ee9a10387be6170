/*
 * Declarations for the packages we use that ship none (or, for secret-stack 6, only `any`).
 *
 * They cover what is used here, not all that a package offers. This file is not part of the published package, so a
 * public declaration must not name these types: publish a type of our own with the same shape instead.
 * The packages below the line are development dependencies: only src/demo, test and bench may import them.
 */

declare module 'pull-stream' {
  /** `true` is the normal end, an Error a failed one; null asks for or announces a value. */
  type EndOrError = true | Error | null
  type SourceCallback<T> = (end: EndOrError, data?: T) => void
  namespace pull {
    type Abort = EndOrError
    type Source<T> = (abort: EndOrError, cb: SourceCallback<T>) => void
    type Sink<T> = (source: Source<T>) => void
    type AbortableSink<T> = Sink<T> & { abort(err?: Error | true | null, cb?: (err: EndOrError) => void): void }
    type Through<A, B> = (source: Source<A>) => Source<B>
    type Done = (err: Error | null) => void
    interface Duplex<I, O> {
      readonly source: Source<O>
      readonly sink: Sink<I>
    }
  }
  interface Pull {
    <T>(source: pull.Source<T>, sink: pull.Sink<T>): void
    <A, B>(source: pull.Source<A>, through: pull.Through<A, B>, sink: pull.Sink<B>): void
    <A, B, C>(source: pull.Source<A>, ab: pull.Through<A, B>, bc: pull.Through<B, C>, sink: pull.Sink<C>): void
    <A, B>(source: pull.Source<A>, through: pull.Through<A, B>): pull.Source<B>
    <A, B, C>(source: pull.Source<A>, ab: pull.Through<A, B>, bc: pull.Through<B, C>): pull.Source<C>

    values<T>(values: readonly T[], onAbort?: (err: EndOrError) => void): pull.Source<T>
    once<T>(value: T, onAbort?: (err: EndOrError) => void): pull.Source<T>
    empty<T = never>(): pull.Source<T>
    error<T = never>(error: Error): pull.Source<T>

    map<A, B>(fn: (value: A) => B): pull.Through<A, B>
    asyncMap<A, B>(fn: (value: A, cb: (err: Error | null, value?: B) => void) => void): pull.Through<A, B>
    filter<T>(test: (value: T) => boolean): pull.Through<T, T>
    take<T>(countOrTest: number | ((value: T) => boolean), options?: { last?: boolean }): pull.Through<T, T>
    through<T>(op?: ((value: T) => void) | null, onEnd?: (err: Error | null) => void): pull.Through<T, T>
    flatten<T>(): pull.Through<readonly T[] | pull.Source<T>, T>

    /** Without `done` an error of the source is thrown. `op` returning false aborts the source. */
    drain<T>(op?: ((value: T) => unknown) | null, done?: pull.Done): pull.AbortableSink<T>
    collect<T>(cb: (err: Error | null, values: T[]) => void): pull.Sink<T>
    onEnd<T>(cb: pull.Done): pull.Sink<T>
  }
  const pull: Pull
  export = pull
}

declare module 'multiserver-address' {
  export interface Protocol {
    readonly name: string
    readonly data: readonly string[]
  }
  /** Alternatives joined by `;`, each a list of protocols joined by `~`. */
  export type Decoded = readonly (readonly Protocol[])[]
  /** Throws on what the grammar refuses. */
  export function decode(address: string): Protocol[][]
  export function encode(decoded: Decoded): string
  /** Expects a string; `constructor` and the like pass too. */
  export function check(address: string): boolean
}

declare module 'is-canonical-base64' {
  function createPattern(prefix?: string | null, suffix?: string | null, byteLength?: number): RegExp
  export = createPattern
}

declare module 'siphash' {
  /** Four 32-bit words. */
  export type Key = Uint32Array
  export function hash(key: Key | string, message: string | Uint8Array): { readonly h: number; readonly l: number }
  export function hash_hex(key: Key | string, message: string | Uint8Array): string
  /** 53 bits, as a safe integer. */
  export function hash_uint(key: Key | string, message: string | Uint8Array): number
  /** The string must have 16 bytes. */
  export function string16_to_key(key: string): Key
  export function string_to_u8(text: string): Uint8Array
}

declare module 'hoox' {
  namespace hoox {
    type Hook<A extends unknown[], R, This = unknown> = (this: This, fn: (...args: A) => R, args: A) => R
    interface Hooked<A extends unknown[], R> {
      (...args: A): R
      hook(hook: Hook<A, R>): this
    }
  }
  function hoox<A extends unknown[], R>(fn: (...args: A) => R): hoox.Hooked<A, R>
  export = hoox
}

/* ---- development dependencies ---- */

declare module 'secret-stack' {
  namespace SecretStack {
    type Callback<T = unknown> = (err: Error | null, value?: T) => void
    /** A muxrpc peer, as `rpc:connect` hands it over. */
    interface Rpc {
      readonly id: string
      readonly closed?: boolean
      close(err?: boolean | Error, cb?: () => void): void
      on(event: string, listener: (...args: never[]) => void): unknown
      once(event: string, listener: (...args: never[]) => void): unknown
      readonly [name: string]: unknown
    }
    interface Stack {
      readonly id: string
      readonly config: Record<string, unknown>
      getAddress(scope?: string): string | undefined
      getManifest(): object
      connect(address: string, cb: Callback<Rpc>): void
      close(cb?: (err?: unknown) => void): void
      close(err: boolean | Error, cb?: (err?: unknown) => void): void
      on(event: string, listener: (...args: never[]) => void): unknown
      once(event: string, listener: (...args: never[]) => void): unknown
      removeListener(event: string, listener: (...args: never[]) => void): unknown
      readonly [name: string]: unknown
    }
    interface Builder {
      (config: object): Stack
      use(plugin: object): Builder
    }
  }
  function SecretStack(config?: object): SecretStack.Builder
  export = SecretStack
}

declare module 'secret-stack-8' {
  import SecretStack = require('secret-stack')
  export = SecretStack
}

declare module 'ssb-keys' {
  export interface Keys {
    readonly curve: 'ed25519'
    readonly public: string
    readonly private: string
    readonly id: string
  }
  /** The seed is 32 bytes. */
  export function generate(curve?: 'ed25519' | null, seed?: Uint8Array): Keys
  export function loadOrCreateSync(filename: string): Keys
  export function hash(data: string | Uint8Array): string
}

declare module 'ssb-ref' {
  export function isFeed(data: unknown): boolean
  export function isFeedId(data: unknown): boolean
  export function isAddress(data: unknown): boolean
  export function isInvite(data: unknown): boolean
  export function parseAddress(address: unknown): Record<string, unknown>
  export function toMultiServerAddress(address: unknown): string
  export function getKeyFromAddress(address: unknown): string | undefined
  export function parseInvite(invite: string): Record<string, unknown> | null
}

declare module 'ssb-client' {
  import SecretStack = require('secret-stack')
  function connect(keys: object, options: object, cb: SecretStack.Callback<SecretStack.Rpc>): void
  function connect(keys: object, options: object): Promise<SecretStack.Rpc>
  export = connect
}

declare module 'ssb-master' {
  const plugin: object
  export = plugin
}

declare module 'ssb-db2' {
  const plugins: object[]
  export = plugins
}

declare module 'ssb-db2/core' {
  const plugin: object
  export = plugin
}

declare module 'ssb-ebt' {
  const plugin: object
  export = plugin
}

declare module 'ssb-friends' {
  const plugin: object
  export = plugin
}

declare module 'ssb-classic' {
  const plugin: object
  export = plugin
}

declare module 'ssb-box' {
  const plugin: object
  export = plugin
}

declare module 'ssb-gossip' {
  const plugin: object
  export = plugin
}
