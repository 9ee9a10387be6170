/**
 * One manager for each stack, whatever part of this package was loaded and in which order: the plugin, the facades, the
 * scheduler each ask for it here. Inbound connections, bans, disk, pings and the close hook are wired once. Works on
 * secret-stack 6.3 to 8.1, and on a bare object with `connect`. Everything that needs Node is required when it is used, so
 * that a bundle which only calls `Manager(options)` needs none of it.
 */
import createDebug = require('debug')

import type { Action } from '../core/actions'
import { parseFeedId } from '../core/address'
import { isDown, LINK } from '../core/blame'
import { BannedError, errorInfo } from '../core/errors'
import { type ConnectionManager, createManager } from '../manager'
import { isolated } from '../shell/calls'
import { startPersistence } from '../shell/persistence'
import { createGossip, type Gossip, hookStatus, startLog } from './gossip'
import { keepOneStream } from './one-stream'
import { openPing, type PingableRpc, pingTimeout, probePing } from './ping'
import { watchReplication } from './replication'
import { type Rpc, readSettings, type Sbot, type Settings } from './sbot'
import { weightOf } from './weight'

const debug = createDebug('ssb:connection-manager:plugin')
const debugStore = createDebug('ssb:connection-manager:actions')

/** After a wake-up a connection has this long to show that it lives. */
const PROBE_TIMEOUT_MS = 5_000
/** secret-stack emits `rpc:connect` before it calls back; a hook may call back later still. */
const CALLBACK_GRACE_MS = 1_000

export interface Mounted {
  readonly sbot: Sbot
  readonly manager: ConnectionManager
  /** Grows as more plugins of ours are loaded: on secret-stack 8 each is given its own section only. */
  readonly settings: Settings
  /** What is mounted as `sbot.connectionManager`. */
  readonly api: ReturnType<typeof publicApi>
  /** Calls `fn` when the table has been read and all plugins are loaded; never, if the stack is closed before. */
  whenReady(fn: () => void): void
  /** As `whenReady`, but once the best of a large table is in: what starts connections waits for this. */
  whenUsable(fn: () => void): void
  /** Called once, when the stack closes. */
  onClose(stop: () => void): void
  /** The legacy facade; made when it is first asked for. */
  gossip(): Gossip
  /** Whether the facade has been made: what lies at `sbot.gossip` may then be ours. */
  hasGossip(): boolean
}

const mounts = new WeakMap<object, Mounted>()

/** The manager of a stack; the first call makes it. `config`: as secret-stack hands it to `init`, in either layout. */
export function mount(sbot: Sbot, config: unknown): Mounted {
  const known = mounts.get(sbot)
  if (known) {
    known.settings.add(config)
    return known
  }
  const mounted = create(sbot, readSettings(config))
  mounts.set(sbot, mounted)
  return mounted
}

/** The manager of a stack, if it has one. */
export function mountedOn(sbot: object): Mounted | undefined {
  return mounts.get(sbot)
}

function create(sbot: Sbot, settings: Settings): Mounted {
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
  const { clock } = manager.internal
  const stops: (() => void)[] = []
  const onClose = (stop: () => void): void => {
    stops.push(stop)
  }

  trackConnections(sbot, manager, settings, onClose)
  refuseBanned(sbot, manager)
  onClose(startLog({ manager, sbot }))
  onClose(watchReplication({ sbot, manager, clock }))
  onClose(watchNetwork(manager))

  const ready = startMoment(manager)
  const usable = startMoment(manager)
  usable.when(() => {
    if (settings.own.autostart === true && !isOffline(settings)) manager.connections.start()
  })
  const disk = openDisk(sbot, manager, settings, {
    onUsable: usable.reached,
    onLoaded: () => {
      usable.reached()
      ready.reached()
    },
  })

  let gossip: Gossip | null = null
  onClose(hookStatus({ sbot, manager, gossip: { status: () => gossip?.status() } }))

  let isClosing = false
  sbot.close?.hook?.(function (fn, args) {
    if (isClosing) return fn.apply(this, args)
    isClosing = true
    // First, so that the facades and the log tell of the last connections, and what they taught is written.
    manager.close()
    for (const stop of stops) isolated(stop)
    const finish = (): void => {
      fn.apply(this, args)
    }
    disk.close().then(finish, finish)
    return undefined
  })

  return {
    sbot,
    manager,
    settings,
    api: publicApi(manager),
    whenReady: ready.when,
    whenUsable: usable.when,
    onClose,
    hasGossip: () => gossip !== null,
    gossip: () => {
      if (gossip) return gossip
      const section = settings.legacy('gossip')
      const made = createGossip({
        manager,
        sbot,
        config: { gossip: section, timers: settings.timers },
        clock,
        saveType: saveTypeTo(settings.path),
      })
      gossip = made
      onClose(made.stop)
      const net = slotsOf(section)
      if (net !== null && !isNamed(settings.own.maxByType, 'net')) manager.connections.setMaxByType({ net })
      return made
    },
  }
}

/** Something that is waited for, and happens once. */
function startMoment(manager: ConnectionManager) {
  let isReached = false
  const waiting: (() => void)[] = []
  return {
    when: (fn: () => void): void => {
      if (!isReached) waiting.push(fn)
      else if (!manager.internal.isClosed()) fn()
    },
    reached: (): void => {
      isReached = true
      for (const fn of waiting.splice(0)) isolated(fn)
    },
  }
}

/** `config.gossip.connections`, which ssb-gossip had ignored for years: how many peers of the internet to be connected to. */
function slotsOf(section: unknown): number | null {
  const { connections } = (section ?? {}) as { connections?: unknown }
  const count = typeof connections === 'string' ? Number(connections) : connections
  return typeof count === 'number' && Number.isInteger(count) && count >= 0 && count <= 1_000 ? count : null
}

function isNamed(max: unknown, name: string): boolean {
  return typeof max === 'object' && max !== null && Object.prototype.hasOwnProperty.call(max, name)
}

/** `config.offline`: nothing is started by itself. */
export function isOffline(settings: Settings): boolean {
  const offline = settings.legacy('offline')
  return offline === true || offline === 'true'
}

/** A name on the stack that somebody else holds, said so that nobody overlooks it: two managers would both dial. */
export function shout(sbot: Sbot, message: string): void {
  console.error(`sbot-connection-manager: ${message}`)
  sbot.emit?.('log:error', ['connection-manager', '', message])
}

function publicApi(manager: ConnectionManager) {
  const { peer, peers, connections, status, metrics, connection, initialSync, onPrioritise, priority, help } = manager
  // The wire: a connection holds keys and live objects, so the owner's client is told that there is one, not shown it.
  return {
    peer: withSafeConnect(peer),
    peers,
    connections,
    status,
    metrics,
    connection,
    initialSync,
    onPrioritise,
    priority,
    help,
  }
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
function trackConnections(
  sbot: Sbot,
  manager: ConnectionManager,
  settings: Settings,
  onClose: Mounted['onClose'],
): void {
  const { internal } = manager
  /** Connections whose callback has not come yet, each with the timer that waits for it. */
  const expected = new Map<Rpc, { readonly id: string; readonly timer: unknown }>()
  const expectCallback = (rpc: Rpc, id: string, otherwise: () => void): void => {
    const timer = internal.clock.setTimeout(() => {
      expected.delete(rpc)
      otherwise()
    }, CALLBACK_GRACE_MS)
    expected.set(rpc, { id, timer })
  }
  const unsubscribe = internal.store.subscribe((action) => {
    if (expected.size === 0 || action.type !== 'connection/opened') return
    for (const [rpc, { id, timer }] of expected) {
      if (id !== action.peer || internal.connectionOf(id) !== rpc) continue
      internal.clock.clearTimeout(timer)
      expected.delete(rpc)
    }
  })
  onClose(() => {
    unsubscribe()
    for (const { timer } of expected.values()) internal.clock.clearTimeout(timer)
  })
  const streams = keepOneStream({ sbot, manager, clock: internal.clock })
  onClose(streams.stop)
  const onRpc = (rpc: Rpc, isClient: boolean): void => {
    if (internal.isClosed()) return
    const id = parseFeedId(rpc.id)
    if (id === null || id === sbot.id) return
    if (isClient && internal.isGuestOf(id)) return
    streams.opened(id, rpc)
    if (isClient) {
      const adopt = (): void => {
        if (rpc.closed || internal.isClosed()) return
        if (internal.isBanned(id)) return hangUp(rpc)
        internal.accept(id, rpc, 'outbound', null)
      }
      // Most likely the outcome of our own dial, whose callback follows.
      if (internal.isDialing(id)) expectCallback(rpc, id, adopt)
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
  sbot.on?.('rpc:connect', onRpc as never)
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
  sbot.auth?.hook?.(function (fn, args) {
    const [who, cb] = args
    const id = parseFeedId(who)
    if (id !== null && manager.internal.isBanned(id) && typeof cb === 'function') return cb(new BannedError(id))
    return fn.apply(this, args)
  })
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

interface DiskEvents {
  /** All bans are known, and the routes that worked last: it may be dialed. Not called if there is nothing on disk. */
  readonly onUsable: () => void
  /** All of the table is in, or there is none. Not called if the stack is closed before. */
  readonly onLoaded: () => void
}

/** The table on disk; nothing is dialed before the best of it has been read, so that what worked last time comes first. */
function openDisk(
  sbot: Sbot,
  manager: ConnectionManager,
  settings: Settings,
  { onUsable, onLoaded }: DiskEvents,
): Disk {
  const { internal } = manager
  const { path } = settings
  if (path === null || settings.own.persist === false) {
    // When all plugins are loaded, as with a disk.
    internal.clock.defer(() => {
      if (!internal.isClosed()) onLoaded()
    })
    return { close: () => Promise.resolve() }
  }
  const { nodeFiles, readLegacyTexts } = require('./node-files') as typeof import('./node-files')
  const say = (level: 'info' | 'warning' | 'error', message: string): void => {
    debug('%s: %s', level, message)
    sbot.emit?.(`log:${level}`, ['connection-manager', '', message])
  }
  const persistence = startPersistence({
    files: nodeFiles(path, internal.clock),
    clock: internal.clock,
    getState: () => internal.store.getState(),
    log: say,
    importLegacy: async () => {
      // Needed once in the life of a table.
      const { importLegacy } = require('./import-legacy') as typeof import('./import-legacy')
      return importLegacy(await readLegacyTexts(path, internal.clock))
    },
  })
  const unsubscribe = internal.store.subscribe((action, before, after) => {
    if (action.type !== 'table/loaded' && after.changedPeers.length > 0)
      persistence.changed(after.changedPeers, before, weightOf(action))
  })
  const usable = (): void => {
    if (internal.isClosed()) return
    onUsable()
    internal.resume()
  }
  const ready = (): void => {
    internal.loadingEnded()
    if (internal.isClosed()) return
    onLoaded()
    internal.resume()
  }
  internal.pause()
  internal.loadingBegins()
  // Not in this turn, in which all other plugins begin too.
  const timer = internal.clock.setTimeout(() => {
    persistence
      // Throws when the manager was closed meanwhile: then nothing of the unread table may be written over.
      .load((slice) => internal.load(slice), usable)
      .then(ready, (error) => {
        say('error', `the stored table could not be loaded: ${errorInfo(error).message}`)
        ready()
      })
  }, 0)
  return {
    close: () => {
      internal.clock.clearTimeout(timer)
      unsubscribe()
      return persistence.close()
    },
  }
}
