/**
 * What the adapters use of a secret-stack instance, as types of our own, and the one function that reads its two layouts of
 * config: one flat object up to version 7, `{global, [pluginName]}` from 8.
 */
import { parseFeedId } from '../core/address'
import type { FeedId } from '../core/types'

export type Hook = (this: unknown, fn: (...args: unknown[]) => unknown, args: unknown[]) => unknown

/** A method that other plugins may wrap (hoox). */
export interface Hookable {
  (...args: never[]): unknown
  hook?: (hook: Hook) => unknown
}

/** A muxrpc connection, as `rpc:connect` brings it. */
export interface Rpc {
  readonly id: string
  readonly closed?: boolean
  readonly stream?: { readonly address?: string }
  close?: (abort: unknown, cb?: () => void) => unknown
  on?: (event: string, listener: () => void) => unknown
}

export interface Sbot {
  readonly id: string
  connect: (address: string, cb: (error?: unknown, rpc?: unknown) => void) => unknown
  auth?: Hookable
  close?: Hookable
  on?: (event: string, listener: (...args: never[]) => void) => unknown
  emit?: (event: string, ...args: unknown[]) => unknown
  status?: Hookable
  /** The APIs of other plugins, looked up when they are needed: stacks load them in any order. */
  [plugin: string]: unknown
}

export interface Settings {
  /** Where the stack keeps its files; null if it was not said, as in a browser. */
  readonly path: string | null
  readonly timers: Readonly<Record<string, unknown>>
  /** Options of this plugin. */
  readonly own: Readonly<Record<string, unknown>>
  /** `config.gossip`, `config.seeds` and the like, wherever the layout puts them. */
  readonly legacy: (name: string) => unknown
  /** What another plugin of ours was given. */
  readonly add: (config: unknown) => void
}

/** Whose call it is, if it came over muxrpc: `this.id` is the caller's feed id there, in all versions. */
export function callerOf(self: unknown): FeedId | null {
  return typeof self === 'object' && self !== null ? parseFeedId((self as { id?: unknown }).id) : null
}

/** Where a connection leads, as its stream says. */
export function streamAddress(rpc: unknown): string | undefined {
  const address = (rpc as { stream?: { address?: unknown } } | null | undefined)?.stream?.address
  return typeof address === 'string' ? address : undefined
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

/** On version 8 a plugin sees only `global` and its own part: legacy settings have to be put into `global` there. */
export function readSettings(config: unknown): Settings {
  const all = asRecord(config)
  const global = asRecord(all.global ?? all)
  const given = [all]
  const legacy = (name: string): unknown => {
    for (const each of given) if (each[name] !== undefined) return each[name]
    return global[name]
  }
  return {
    path: typeof global.path === 'string' ? global.path : null,
    timers: asRecord(global.timers),
    own: { ...asRecord(global.connectionManager), ...asRecord(all.connectionManager) },
    legacy,
    add: (more) => {
      const record = asRecord(more)
      if (!given.includes(record)) given.push(record)
    },
  }
}
