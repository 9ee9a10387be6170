/**
 * The secret-stack plugin: manifest, permissions, config of both layouts, inbound connections, bans, disk, the legacy facade,
 * and the close hook. Works on secret-stack 6.3 to 8.1. Everything that needs Node is required when the plugin starts, so
 * that a bundle which only calls `Manager(options)` needs none of it.
 */
import createDebug = require('debug')
import hoox = require('hoox')

import type { Action } from '../core/actions'
import { parseFeedId } from '../core/address'
import { isDown, LINK } from '../core/blame'
import { BannedError, errorInfo } from '../core/errors'
import { toSnapshot } from '../core/snapshot'
import { type ConnectionManager, createManager } from '../manager'
import { startPersistence } from '../shell/persistence'
import { createGossip, hookStatus, startLog } from './gossip'
import { openPing, type PingableRpc, pingTimeout, probePing } from './ping'
import { watchReplication } from './replication'
import { type Rpc, readSettings, type Sbot, type Settings } from './sbot'

const debug = createDebug('ssb:connection-manager:plugin')
const debugStore = createDebug('ssb:connection-manager:actions')

/** After a wake-up a connection has this long to show that it lives. */
const PROBE_TIMEOUT_MS = 5_000
/** secret-stack emits `rpc:connect` before it calls back; a hook may call back later still. */
const CALLBACK_GRACE_MS = 1_000

type Stops = (() => void)[]

/** The plugin's `init`: mounts a manager on the stack and returns the API. */
export function init(sbot: Sbot, config: unknown, given?: unknown, whole?: unknown) {
  const settings = readSettings(config)
  const selfId = parseFeedId(sbot.id)
  const manager = createManager({
    ...settings.own,
    // Looked up for each dial: other plugins hook `connect`, and may do so after us.
    connectToPeer: (address, cb) => sbot.connect(address, cb),
    ...(selfId === null ? {} : { selfId }),
    probe: (rpc) => probePing(rpc as PingableRpc, manager.internal.clock, PROBE_TIMEOUT_MS),
    autostart: false,
    onAction: (action: Action) => debugStore('%j', action),
  })
  const stops: Stops = []
  const isAutostarted = settings.own.autostart === true

  trackConnections(sbot, manager, settings, stops)
  refuseBanned(sbot, manager)
  mountGossip(sbot, manager, settings, given, whole, stops)
  stops.push(startLog({ manager, sbot }))
  stops.push(watchReplication({ sbot, manager, clock: manager.internal.clock }))
  stops.push(watchNetwork(manager))

  const disk = openDisk(sbot, manager, settings, () => {
    if (isAutostarted) manager.connections.start()
  })

  let isClosing = false
  sbot.close.hook?.(function (fn, args) {
    if (isClosing) return fn.apply(this, args)
    isClosing = true
    // First, so that the facade and the log tell of the last connections, and what they taught is written.
    manager.close()
    for (const stop of stops) stop()
    const finish = (): void => {
      fn.apply(this, args)
    }
    disk.close().then(finish, finish)
    return undefined
  })

  const { peer, peers, connections, connection, initialSync, onPrioritise, priority, help } = manager
  // The wire: a connection holds keys and live objects, so the owner's client is told that there is one, not shown it.
  return { peer: withSafeConnect(peer), peers, connections, connection, initialSync, onPrioritise, priority, help }
}

/** Whether a call came over muxrpc: `this.id` is the caller's feed id there. */
function isRemote(self: unknown): boolean {
  return typeof self === 'object' && self !== null && typeof (self as { id?: unknown }).id === 'string'
}

function withSafeConnect(peer: ConnectionManager['peer']): ConnectionManager['peer'] {
  function connect(this: unknown, ...args: Parameters<typeof peer.connect>): ReturnType<typeof peer.connect> {
    const cb = args[args.length - 1]
    if (!isRemote(this) || typeof cb !== 'function') return peer.connect(...args)
    const answer = cb as (error?: unknown, result?: unknown) => void
    return peer.connect(args[0], (error, rpc) =>
      error ? answer(error) : answer(null, { id: (rpc as Rpc | null)?.id ?? true }),
    )
  }
  return { ...peer, connect }
}

/** Inbound connections, and outbound ones that other modules open, are known to the manager; local clients never are. */
function trackConnections(sbot: Sbot, manager: ConnectionManager, settings: Settings, stops: Stops): void {
  const { internal } = manager
  const timers = new Set<unknown>()
  const later = (fn: () => void): void => {
    const timer = internal.clock.setTimeout(() => {
      timers.delete(timer)
      fn()
    }, CALLBACK_GRACE_MS)
    timers.add(timer)
  }
  stops.push(() => {
    for (const timer of timers) internal.clock.clearTimeout(timer)
  })
  const onRpc = (rpc: Rpc, isClient: boolean): void => {
    if (internal.isClosed()) return
    const id = parseFeedId(rpc.id)
    if (id === null || id === sbot.id) return
    if (isClient && internal.isGuestOf(id)) return
    if (isClient) {
      const adopt = (): void => {
        if (rpc.closed || internal.isClosed()) return
        if (internal.isBanned(id)) return hangUp(rpc)
        internal.accept(id, rpc, 'outbound', null)
      }
      // Most likely the outcome of our own dial, whose callback follows.
      if (internal.isDialing(id)) later(adopt)
      else adopt()
      measure(rpc, id)
    } else if (internal.isBanned(id)) {
      hangUp(rpc)
    } else {
      internal.accept(id, rpc, 'inbound', null)
    }
  }
  /** Whoever dialed opens the ping: it keeps the connection alive and measures round trip and skew. */
  const measure = (rpc: Rpc, id: string): void => {
    const end = openPing(rpc as PingableRpc, {
      clock: internal.clock,
      timeoutMs: pingTimeout(settings.timers.ping),
      onPing: (rttMs, skewMs) => {
        if (internal.connectionOf(id) === rpc) internal.pinged(id, rttMs, skewMs)
      },
    })
    rpc.on?.('closed', end)
  }
  sbot.on('rpc:connect', onRpc as never)
}

function hangUp(rpc: Rpc): void {
  try {
    rpc.close?.(true, () => {})
  } catch {
    // It was going anyway.
  }
}

/** A banned peer is refused in the handshake already, so that it costs us nothing more. */
function refuseBanned(sbot: Sbot, manager: ConnectionManager): void {
  sbot.auth.hook?.(function (fn, args) {
    const [who, cb] = args
    const id = parseFeedId(who)
    if (id !== null && manager.internal.isBanned(id) && typeof cb === 'function') return cb(new BannedError(id))
    return fn.apply(this, args)
  })
}

/** `sbot.gossip`, unless another plugin holds the name. */
function mountGossip(
  sbot: Sbot,
  manager: ConnectionManager,
  settings: Settings,
  given: unknown,
  whole: unknown,
  stops: Stops,
): void {
  if (sbot.gossip !== undefined) {
    debug('another plugin holds the name gossip: the facade is not mounted')
    return
  }
  const gossip = createGossip({
    manager,
    sbot,
    config: { gossip: settings.legacy('gossip'), timers: settings.timers },
    clock: manager.internal.clock,
    saveType: saveTypeTo(settings.path),
  })
  const api: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(gossip.api)) {
    api[name] = typeof value === 'function' ? hoox(value as (...args: unknown[]) => unknown) : value
  }
  sbot.gossip = api
  stops.push(gossip.stop)
  // The objects that core hands to muxrpc: what is added here is served.
  if (typeof whole === 'object' && whole !== null) (whole as Record<string, unknown>).gossip = gossip.manifest
  const allow = (given as { anonymous?: { allow?: unknown } } | undefined)?.anonymous?.allow
  // One create() of the stack shares this list between its instances.
  if (Array.isArray(allow) && !allow.includes('gossip.ping')) allow.push('gossip.ping')
  stops.push(hookStatus({ sbot, manager, gossip }))
}

/** `gossip.enable` and `disable` last: they are written into the user's config, as users of ssb-gossip know it. */
function saveTypeTo(path: string | null): ((type: string, isEnabled: boolean) => void) | undefined {
  if (path === null) return undefined
  const { saveGossipType } = require('./node-config') as typeof import('./node-config')
  return (type, isEnabled) => saveGossipType(path, type, isEnabled)
}

/** Wake-up and changes of the network; polls only while connections are on. */
function watchNetwork(manager: ConnectionManager): () => void {
  const { internal } = manager
  let stop: (() => void) | null = null
  const follow = (): void => {
    const { mode, initialSync } = internal.store.getState()
    const isOn = mode === 'on' || initialSync !== null
    if (isOn && !stop) {
      // The link may have come back while nobody was watching.
      if (isDown(internal.store.getState(), LINK)) internal.online()
      const { watchSystem } = require('./system') as typeof import('./system')
      stop = watchSystem({
        clock: internal.clock,
        report: (event) => {
          debug('system: %s', event)
          internal[event]()
        },
      })
    } else if (!isOn && stop) {
      stop()
      stop = null
    }
  }
  const unsubscribe = internal.store.subscribe((action) => {
    if (action.type.startsWith('connections/') || action.type.startsWith('initialSync/')) follow()
  })
  return () => {
    unsubscribe()
    stop?.()
    stop = null
  }
}

interface Disk {
  close(): Promise<unknown>
}

/** What happens all the time and is not stored; every other action may have changed the table. */
const NOT_STORED: ReadonlySet<Action['type']> = new Set<Action['type']>([
  'clock/advanced',
  'connection/caughtUp',
  'connection/closeRequested',
  'connection/pinged',
  'connection/requested',
  'connection/requestDropped',
  'connection/transferred',
  'dial/abandoned',
  'dial/ended',
  'dial/started',
  'routes/deferred',
  'table/loaded',
])

interface Disk {
  close(): Promise<unknown>
}

/** The table on disk; nothing is dialed before it has been read, so that what worked last time comes first. */
function openDisk(sbot: Sbot, manager: ConnectionManager, settings: Settings, onLoaded: () => void): Disk {
  const { internal } = manager
  const { path } = settings
  if (path === null || settings.own.persist === false) {
    onLoaded()
    return { close: () => Promise.resolve() }
  }
  const { nodeFiles, readLegacyTexts } = require('./node-files') as typeof import('./node-files')
  const { importLegacy } = require('./import-legacy') as typeof import('./import-legacy')
  const say = (level: 'info' | 'warning' | 'error', message: string): void => {
    debug('%s: %s', level, message)
    sbot.emit?.(`log:${level}`, ['connection-manager', '', message])
  }
  const persistence = startPersistence({
    files: nodeFiles(path, internal.clock),
    clock: internal.clock,
    getSnapshot: () => toSnapshot(internal.store.getState(), internal.clock.now()),
    log: say,
    importLegacy: async () => importLegacy(await readLegacyTexts(path, internal.clock)),
  })
  const unsubscribe = internal.store.subscribe((action) => {
    if (!NOT_STORED.has(action.type)) persistence.changed()
  })
  const ready = (): void => {
    if (internal.isClosed()) return
    onLoaded()
    internal.resume()
  }
  internal.pause()
  persistence
    // Throws when the manager was closed meanwhile: then nothing of the unread table may be written over.
    .load((tables) => internal.load(tables))
    .then(ready, (error) => {
      say('error', `the stored table could not be loaded: ${errorInfo(error).message}`)
      ready()
    })
  return {
    close: () => {
      unsubscribe()
      return persistence.close()
    },
  }
}
