/**
 * The parts that `/conn` is made of: plugins named `connectionManager`, `conn`, `connScheduler` and `gossip`, each of which
 * also works alone and when called as `new Part(sbot, config)` with a bare object, as people do with those of ssb-conn. All
 * of them share the manager of their stack (mount.ts).
 *
 * A name that somebody else holds is an error at the start: two connection managers would both dial, and on secret-stack 6
 * the one that is loaded last silently takes the place of the other.
 */
import { NameTakenError } from '../core/errors'
import { CONN_SLOTS } from '../core/options'
import { isolated } from '../shell/calls'
import { connManifest, connPermissions, createConn } from './conn/conn'
import { startDiscovery } from './discovery'
import type { DiscoveryContext } from './discovery/source'
import { watchDownloads } from './downloads'
import { gossipManifest, gossipPermissions } from './gossip'
import { manifest, permissions } from './manifest'
import { isOffline, type Mounted, mount, shout } from './mount'
import type { Sbot } from './sbot'
import { watchFriends } from './social'

import createDebug = require('debug')

const debug = createDebug('ssb:connection-manager:discovery')

const VERSION = '1.0.0'
/** ssb-friends has its index within this time on any account that was opened before. */
const GRAPH_WAIT_MS = 2_000

type Conn = ReturnType<typeof createConn>

/** What is kept beside the manager of a stack. */
interface Parts {
  conn: Conn | null
  scheduler: SchedulerApi | null
}

const parts = new WeakMap<Mounted, Parts>()

function partsOf(mounted: Mounted): Parts {
  const known = parts.get(mounted)
  if (known) return known
  const made: Parts = { conn: null, scheduler: null }
  parts.set(mounted, made)
  return made
}

/** Throws unless the name is free, or ours. */
function claim(sbot: Sbot, name: string, isOurs: boolean): void {
  if (sbot[name] === undefined || isOurs) return
  throw new NameTakenError(name)
}

/** Of what was loaded after us, an API under our name can only be found when all are there. */
function watchName(mounted: Mounted, name: string, isOurs: (api: unknown) => boolean): void {
  mounted.manager.internal.clock.defer(() => {
    const present = mounted.sbot[name]
    if (present === undefined || mounted.manager.internal.isClosed() || isolatedly(() => isOurs(present))) return
    shout(
      mounted.sbot,
      `a plugin that was loaded later has taken the place of sbot.${name}: two connection managers dial now, remove one`,
    )
  })
}

function isolatedly(ask: () => boolean): boolean {
  try {
    return ask()
  } catch {
    return false
  }
}

// ---- connectionManager ------------------------------------------------------------------------------------------------

export const connectionManagerPlugin = {
  name: 'connectionManager',
  version: VERSION,
  manifest,
  permissions,
  init: (sbot: Sbot, config: unknown) => mount(sbot, config).api,
}

// ---- conn -------------------------------------------------------------------------------------------------------------

/** `sbot.conn`: the API of ssb-conn 6. Dials nothing by itself but for `autostart`, and then by way of `sbot.connScheduler`. */
export function initConn(sbot: Sbot, config: unknown): Conn['api'] {
  const mounted = mount(sbot, config)
  const known = partsOf(mounted)
  claim(sbot, 'conn', known.conn !== null)
  if (known.conn) return known.conn.api
  const conn = createConn({
    manager: mounted.manager,
    sbot,
    config: { conn: mounted.settings.legacy('conn'), timers: mounted.settings.timers },
    clock: mounted.manager.internal.clock,
    whenReady: mounted.whenReady,
  })
  known.conn = conn
  mounted.onClose(conn.stop)
  watchName(mounted, 'conn', (api) => (api as { db(): unknown }).db() === conn.api.db())
  mounted.whenUsable(() => {
    if (!isAutostarted(mounted)) return
    conn.api.start().then(undefined, (error) => debug('autostart: %s', error))
  })
  return conn.api
}

/** On, unless the config says otherwise: what ssb-conn did, and the reason to load this entry and not the plain plugin. */
function isAutostarted({ settings }: Mounted): boolean {
  const isOff = (section: unknown): boolean => {
    const value = (section as { autostart?: unknown } | null | undefined)?.autostart
    return value === false || value === 'false'
  }
  return !isOffline(settings) && !isOff(settings.legacy('conn')) && !isOff(settings.own)
}

// ---- connScheduler ----------------------------------------------------------------------------------------------------

export interface SchedulerApi {
  /** Dials by the policy, and looks for peers. Idempotent. */
  start(): void
  /** Hangs up on everybody, and looks for nobody. Idempotent. */
  stop(): void
}

const schedulerManifest = { start: 'sync', stop: 'sync' } as const

/** `sbot.connScheduler`: the policy, the discovery sources and the social priorities. */
export function initScheduler(sbot: Sbot, config: unknown): SchedulerApi {
  const mounted = mount(sbot, config)
  const known = partsOf(mounted)
  if (known.scheduler) return known.scheduler
  const { manager, settings } = mounted
  const { clock, store } = manager.internal
  const context: DiscoveryContext = { sbot, manager, settings, clock, log: (message) => debug('%s', message) }

  manager.connections.setMaxByType(slotsFor(mounted))
  let isGraphKnown = false
  let whenKnown: (() => void) | null = null
  // Always, as bans hold whether we dial or not.
  mounted.onClose(
    watchFriends(context, () => {
      isGraphKnown = true
      whenKnown?.()
    }),
  )

  let stops: readonly (() => void)[] | null = null
  const stopAll = (): void => {
    const running = stops ?? []
    stops = null
    for (const stop of running) isolated(stop)
  }
  const follow = (): void => {
    const { mode, initialSync } = store.getState()
    const isOn = mode === 'on' || initialSync !== null
    if (isOn && !stops) stops = [startDiscovery(context), watchDownloads(context)]
    else if (!isOn && stops) stopAll()
  }
  mounted.onClose(
    store.subscribe((action) => {
      if (!action.type.startsWith('connections/') && !action.type.startsWith('initialSync/')) return
      // Sources add routes as they start, which is no business of the middle of an action.
      clock.defer(() => {
        if (!manager.internal.isClosed()) follow()
      })
    }),
  )
  mounted.onClose(stopAll)

  const cancelStart = (): void => {
    whenKnown = null
    clock.clearTimeout(graphTimer)
  }
  let graphTimer: unknown
  mounted.onClose(cancelStart)

  const scheduler: SchedulerApi = {
    start: () => {
      if (whenKnown || store.getState().mode === 'on' || manager.internal.isClosed()) return
      if (isGraphKnown) return manager.connections.start()
      // Whom we have blocked is not to be dialed once more before that is known; nobody waits long for it.
      whenKnown = () => {
        cancelStart()
        manager.connections.start()
      }
      graphTimer = clock.setTimeout(() => whenKnown?.(), GRAPH_WAIT_MS)
    },
    stop: () => {
      cancelStart()
      manager.connections.stop()
    },
  }
  known.scheduler = scheduler
  return scheduler
}

/** What the sources find has to have slots; those that the user has set stay as they are. */
function slotsFor({ settings }: Mounted): Record<string, number> {
  const own = settings.own.maxByType
  const set = typeof own === 'object' && own !== null ? Object.keys(own) : []
  return Object.fromEntries(Object.entries(CONN_SLOTS).filter(([name]) => !set.includes(name)))
}

// ---- gossip -----------------------------------------------------------------------------------------------------------

/** `sbot.gossip`: the API of ssb-gossip, of which ssb-conn had only `ping`. */
export function initGossip(sbot: Sbot, config: unknown) {
  const mounted = mount(sbot, config)
  claim(sbot, 'gossip', mounted.hasGossip())
  const gossip = mounted.gossip()
  const help = gossip.api.help()
  watchName(mounted, 'gossip', (api) => (api as { help(): unknown }).help() === help)
  return gossip.api
}

// ---- both a plugin and a class ----------------------------------------------------------------------------------------

export interface Part<Api extends object> {
  /** Makes the API for a stack, or for a bare object with `connect`; the same one each time. */
  new (sbot: object, config?: object): Api
  (sbot: object, config?: object): Api
  readonly version: string
  readonly manifest: object
  readonly permissions: object
  readonly init: (sbot: object, config: object) => Api
}

function makePart<Api extends object>(
  name: string,
  given: { readonly manifest: object; readonly permissions: object },
  init: (sbot: Sbot, config: unknown) => Api,
): Part<Api> {
  function part(sbot: object, config: object = {}): Api {
    return init(sbot as Sbot, config)
  }
  // secret-stack takes the mount name from `name`; of a function that is a property which cannot be assigned.
  Object.defineProperty(part, 'name', { value: name })
  return Object.assign(part, { version: VERSION, ...given, init: part }) as unknown as Part<Api>
}

export const connPart = makePart('conn', { manifest: connManifest, permissions: connPermissions }, initConn)
export const schedulerPart = makePart('connScheduler', { manifest: schedulerManifest, permissions: {} }, initScheduler)
export const gossipPart = makePart('gossip', { manifest: gossipManifest, permissions: gossipPermissions }, initGossip)
