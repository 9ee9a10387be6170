/**
 * The plugin that `.use(require('sbot-connection-manager'))` adds: the manager as `sbot.connectionManager`, and the legacy
 * facade as `sbot.gossip` unless another plugin holds that name.
 */
import createDebug = require('debug')
import hoox = require('hoox')

import { mount } from './mount'
import type { Sbot } from './sbot'

const debug = createDebug('ssb:connection-manager:plugin')

/** The plugin's `init`: mounts a manager on the stack and returns the API. */
export function init(sbot: Sbot, config: unknown, given?: unknown, whole?: unknown) {
  const mounted = mount(sbot, config)
  mountGossip(sbot, mounted, given, whole)
  return mounted.api
}

function mountGossip(sbot: Sbot, mounted: ReturnType<typeof mount>, given: unknown, whole: unknown): void {
  if (sbot.gossip !== undefined) {
    // Ours already, if `/conn` was loaded before.
    if (!mounted.hasGossip()) debug('another plugin holds the name gossip: the facade is not mounted')
    return
  }
  const gossip = mounted.gossip()
  const api: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(gossip.api)) {
    api[name] = typeof value === 'function' ? hoox(value as (...args: unknown[]) => unknown) : value
  }
  sbot.gossip = api
  // The objects that core hands to muxrpc: what is added here is served.
  if (typeof whole === 'object' && whole !== null) (whole as Record<string, unknown>).gossip = gossip.manifest
  const allow = (given as { anonymous?: { allow?: unknown } } | undefined)?.anonymous?.allow
  // One create() of the stack shares this list between its instances.
  if (Array.isArray(allow) && !allow.includes('gossip.ping')) allow.push('gossip.ping')
}
