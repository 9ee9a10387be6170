/**
 * The managers before this one, ssb-conn 6.0.4 and ssb-gossip 1.1.1, as they are in the registry, on stacks of stack.ts.
 *
 * Import this before anything that loads them: both look for a network that a test machine need not have.
 */
import type * as pull from 'pull-stream'

import { bootStack, type Stack, type StackOptions } from './stack'

type Callback<T = unknown> = (error: unknown, value?: T) => void

export interface LegacyRpc {
  readonly id: string
  close(error?: unknown, cb?: () => void): void
}

export type LegacyEntry = [address: string, data: { key?: string; state?: string; [more: string]: unknown }]

/** What the tests use of ssb-conn. */
export interface LegacyConn {
  start(): Promise<void>
  stop(): void
  remember(address: string, data?: object): void
  dbPeers(): LegacyEntry[]
  connect(address: string, cb: Callback<LegacyRpc | false>): void
  disconnect(address: string, cb: Callback<boolean>): void
  peers(): pull.Source<LegacyEntry[]>
  stage(address: string, data: object): boolean
  stagedPeers(): pull.Source<LegacyEntry[]>
  db(): { loaded(): Promise<unknown>; get(address: string): { failure?: number } | undefined }
  hub(): {
    listen(): pull.Source<{ readonly type: string; readonly address: string }>
    entries(): Iterable<LegacyEntry>
    getState(address: string): string | undefined
  }
}

export interface LegacyPeer {
  readonly address: string
  readonly key: string
  readonly source?: string
  readonly state?: string
  readonly failure?: number
}

/** What the tests use of ssb-gossip. */
export interface LegacyGossip {
  peers(): LegacyPeer[]
  add(address: string, source?: string): LegacyPeer
  get(id: string): LegacyPeer | undefined
  connect(target: string, cb: Callback<LegacyRpc>): void
  disconnect(id: string, cb: Callback): void
  changes(): pull.Source<{ readonly type: string; readonly peer: LegacyPeer }>
  help(): { readonly commands: object }
}

/** What ssb-gossip asks of a database. */
export const database = {
  name: 'database',
  version: '1.0.0',
  manifest: {},
  init(sbot: Record<string, unknown>): void {
    Object.assign(sbot, { ready: () => true, post: () => {}, status: hookable(() => ({})) })
  },
}

function hookable(fn: () => object) {
  let current = fn
  const outer = (): object => current()
  return Object.assign(outer, {
    hook: (hook: (fn: () => object, args: []) => object) => {
      const inner = current
      current = () => hook(inner, [])
    },
  })
}

for (const name of ['has-network', 'has-network2']) {
  const path = require.resolve(name)
  require(path)
  const loaded = require.cache[path]
  if (loaded) loaded.exports = () => true
}

/** A stack with the whole of ssb-conn, not started. */
export function bootConn(name: string, options: Partial<StackOptions> = {}): Promise<Stack> {
  const { plugins = [], config, ...more } = options
  return bootStack({
    version: 6,
    name,
    plugins: [...plugins, require('ssb-conn')],
    config: { conn: { autostart: false }, ...config },
    // It writes its table at close, and nobody waits for that: the folder goes when the process ends.
    keep: true,
    ...more,
  })
}

/** A stack with ssb-gossip. It cannot be told not to start; `isQuiet`: it dials nobody by itself. */
export function bootGossip(
  name: string,
  { isQuiet = true, plugins = [], config, ...more }: Partial<StackOptions> & { readonly isQuiet?: boolean } = {},
): Promise<Stack> {
  const quiet = isQuiet ? { friends: false, seed: false, local: false, global: false } : {}
  return bootStack({
    version: 6,
    name,
    plugins: [database, ...plugins, require('ssb-gossip')],
    config: { gossip: { autoPopulate: false, ...quiet }, ...config },
    ...more,
  })
}

export const connOf = (stack: Stack): LegacyConn => stack.ssb.conn as LegacyConn
export const gossipOf = (stack: Stack): LegacyGossip => stack.ssb.gossip as LegacyGossip
