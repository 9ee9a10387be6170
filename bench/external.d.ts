/* Declarations for what the benchmark uses of the existing managers, which ship none that fit. */

declare module 'ssb-conn' {
  /** CONN, Gossip and ConnScheduler, in this order. */
  const plugins: readonly (new (ssb: object, config: object) => unknown)[]
  export = plugins
}
