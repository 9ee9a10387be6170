/* Declarations for development packages that src/external.d.ts does not name. */

declare module 'ssb-db2/compat/publish' {
  const plugin: object
  export = plugin
}

declare module 'ssb-db2/compat/post' {
  const plugin: object
  export = plugin
}

declare module 'ssb-db2/compat/ebt' {
  const plugin: object
  export = plugin
}

declare module 'ssb-db2/compat/db' {
  const plugin: object
  export = plugin
}

declare module 'ssb-lan' {
  const plugin: object
  export = plugin
}

declare module 'ssb-local' {
  const plugin: object
  export = plugin
}

declare module 'ssb-db' {
  const plugin: object
  export = plugin
}

declare module 'ssb-server' {
  import SecretStack = require('secret-stack')
  const server: { createSsbServer(): SecretStack.Builder }
  export = server
}

declare module 'scuttle-testbot' {
  import SecretStack = require('secret-stack')
  const testbot: { use(plugin: object): SecretStack.Builder }
  export = testbot
}

declare module 'muxrpc-usage' {
  export function get(help: object, path?: readonly string[]): object | undefined
  export function isCommand(usage: object | undefined): unknown
  export function quick(help: object, path: readonly string[], prefix?: readonly string[]): string
  export function deep(help: object, path: readonly string[], prefix?: readonly string[]): string
}

declare module 'ssb-room/tunnel/server' {
  const plugin: object
  export = plugin
}

declare module 'ssb-room-client' {
  const plugins: object[]
  export = plugins
}

declare module 'layered-graph' {
  type Layer = (from: string | object, to?: string, value?: number | null) => unknown
  interface LayeredGraph {
    createLayer(name: string): Layer
    onReady(fn: () => void): void
    onEdge(fn: (from: string, to: string, value: number | null) => void): () => void
    getHops(options?: object): Record<string, number>
    getGraph(): Record<string, Record<string, number | null>>
    hopStream(options?: object): unknown
    reset(): void
  }
  function create(options: { start: string; max: number }): LayeredGraph
  export = create
}

declare module 'ssb-replication-scheduler' {
  const plugin: { init(sbot: object, config: object): { start(): void; reconfigure(options: object): void } }
  export = plugin
}
