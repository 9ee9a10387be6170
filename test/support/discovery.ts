/** For tests of what listens to other plugins: streams that do what the test says, and a context on a virtual clock. */
import type { DiscoveryContext, DiscoverySource } from '../../src/adapters/discovery/source'
import { readSettings, type Sbot } from '../../src/adapters/sbot'
import { type Bench, type BenchOptions, bench } from './manager'

type End = true | Error | null
type Answer = (end: End, item?: unknown) => void

/** A live stream of a plugin, and what became of it. */
export class FakeStream {
  isAborted = false
  /** How often an item was asked for. */
  reads = 0
  private readonly buffer: unknown[] = []
  private waiting: Answer | null = null
  private ended: End = null

  readonly source = (abort: End, cb: Answer): void => {
    if (abort) {
      this.isAborted = true
      const waiting = this.waiting
      this.waiting = null
      waiting?.(abort)
      return cb(abort)
    }
    this.reads++
    if (this.buffer.length > 0) cb(null, this.buffer.shift())
    else if (this.ended) cb(this.ended)
    else this.waiting = cb
  }

  push(...items: unknown[]): void {
    for (const item of items) {
      const waiting = this.waiting
      this.waiting = null
      if (waiting) waiting(null, item)
      else this.buffer.push(item)
    }
  }

  end(reason: true | Error = true): void {
    this.ended = reason
    const waiting = this.waiting
    this.waiting = null
    waiting?.(reason)
  }
}

/** Hands out a new stream at each call. */
export class FakeStreams {
  readonly opened: FakeStream[] = []

  readonly open = (): FakeStream['source'] => {
    const stream = new FakeStream()
    this.opened.push(stream)
    return stream.source
  }

  get last(): FakeStream {
    const last = this.opened[this.opened.length - 1]
    if (!last) throw new Error('no stream was opened')
    return last
  }

  /** Those that are being read. */
  get live(): number {
    return this.opened.filter((stream) => !stream.isAborted).length
  }
}

export interface Scene extends Bench {
  readonly context: DiscoveryContext
  /** Plugins; may be added to at any time. */
  readonly sbot: Record<string, unknown>
  /** What was said. */
  readonly lines: string[]
  start(source: DiscoverySource): () => void
  /** The addresses that the manager has, sorted. */
  routes(): string[]
}

export interface SceneOptions extends BenchOptions {
  readonly plugins?: Readonly<Record<string, unknown>>
  readonly config?: object
}

/** A manager that is off, and a stack with the given plugins beside it. */
export function scene({ plugins = {}, config = {}, ...options }: SceneOptions = {}): Scene {
  const made = bench(options)
  const sbot: Record<string, unknown> = { id: options.selfId ?? '', ...plugins }
  const lines: string[] = []
  const context: DiscoveryContext = {
    sbot: sbot as unknown as Sbot,
    manager: made.manager,
    settings: readSettings(config),
    clock: made.clock,
    log: (message) => lines.push(message),
  }
  return {
    ...made,
    context,
    sbot,
    lines,
    start: (source) => {
      const stop = source(context)
      made.flush()
      return stop
    },
    routes: () =>
      made.manager.peer
        .list()
        .flatMap((peer) => peer.routes.map((route) => route.id))
        .sort(),
  }
}
