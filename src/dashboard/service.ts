/**
 * The live page as a part of a stack: finds the manager, keeps the history, serves, and ends with the stack. Before it is
 * asked to serve, no port is open and nothing is listened to.
 */
import { methodOf } from '../adapters/members'
import { mountedOn, shout } from '../adapters/mount'
import type { Sbot } from '../adapters/sbot'
import {
  ConnectionManagerError,
  errorInfo,
  InvalidArgumentError,
  ListenError,
  MissingPluginError,
} from '../core/errors'
import type { EpochMs, FeedId } from '../core/types'
import { asyncCall, syncCall } from '../shell/calls'
import type { Clock } from '../shell/clock'
import type { History } from './history'
import type { DashboardServer } from './http'
import type { Live } from './live'
import type { DashboardSettings } from './settings'

export interface DashboardStatus {
  readonly isServing: boolean
  /** Where, without a token; null while it does not serve. */
  readonly address: string | null
  /** Pages that are open. */
  readonly readers: number
  /** Addresses that were given out and not used yet, and browsers that have used one. */
  readonly tokens: number
  readonly sessions: number
  /** Entries of the timeline, and since when it reaches back. */
  readonly history: { readonly entries: number; readonly since: EpochMs | null }
  /** Why it does not serve although it was asked to, in a sentence. */
  readonly problem: string | null
}

/** Says what a feed is called; null or undefined where it does not know. */
export type NameSource = (id: FeedId) => string | null | undefined

export type Dashboard = ReturnType<typeof createDashboard>

interface Serving {
  readonly server: DashboardServer
  readonly live: Live
  readonly history: History
}

const VERSION = '1.0.0'

export function createDashboard(options: {
  readonly sbot: Sbot
  readonly settings: DashboardSettings
  readonly clock: Clock
  readonly log: (message: string) => void
  /** For the owner's eyes: the address has a token in it. */
  readonly print: (line: string) => void
}) {
  const { sbot, settings, clock, log, print } = options
  const names = new Set<NameSource>()
  let serving: Serving | null = null
  let starting: Promise<Serving> | null = null
  /** Resolves when what was stopped last has ended. */
  let ending: Promise<void> = Promise.resolve()
  let problem: string | null = null
  let isClosed = false

  const nameOf = (id: FeedId): string | null => {
    for (const source of names) {
      try {
        const name = source(id)
        if (typeof name === 'string' && name !== '') return name
      } catch (error) {
        log(`a source of names failed: ${errorInfo(error).message}`)
      }
    }
    return null
  }

  const open = async (): Promise<Serving> => {
    const mounted = mountedOn(sbot)
    if (!mounted)
      throw new MissingPluginError('the connection manager', 'the live page', 'load it, or /conn, on the same stack')
    const { manager } = mounted
    const { startHistory } = require('./history') as typeof import('./history')
    const { createLive } = require('./live') as typeof import('./live')
    const { startServer } = require('./http') as typeof import('./http')
    const history = startHistory({ store: manager.internal.store, now: () => clock.now() })
    const live = createLive({ sbot, manager, clock, history, nameOf, version: VERSION, log })
    const metrics = (): string | null => {
      const text = methodOf(manager, 'metrics')?.({ format: 'text' })
      return typeof text === 'string' ? text : null
    }
    let server: DashboardServer
    try {
      server = await startServer({ settings, clock, manager, live, metrics, log })
    } catch (error) {
      history.stop()
      throw whyNotListening(error, settings)
    }
    const made = { server, live, history }
    if (isClosed) {
      await end(made)
      throw closed('dashboard.start')
    }
    return made
  }

  const end = ({ server, live, history }: Serving): Promise<void> => {
    live.close()
    history.stop()
    return server.close()
  }

  /** Idempotent: several calls wait for the same beginning, which waits for the end of what was before, as it may have the port. */
  const begin = (): Promise<Serving> => {
    if (isClosed) return Promise.reject(closed('dashboard.start'))
    if (starting) return starting
    const made = ending.then(open).then(
      (opened) => {
        serving = opened
        problem = null
        return opened
      },
      (error) => {
        if (starting === made) starting = null
        problem = errorInfo(error).message
        throw error
      },
    )
    starting = made
    return made
  }

  /** What is just beginning ends as well; what is begun after this call does not. */
  const stop = (): Promise<void> => {
    const begun = starting
    starting = null
    if (!begun) return ending
    ending = begun.then(
      (opened) => {
        serving = null
        return end(opened)
      },
      () => {},
    )
    return ending
  }

  const status = (): DashboardStatus => ({
    isServing: serving !== null,
    address: serving ? `http://${settings.host === '::1' ? '[::1]' : settings.host}:${serving.server.port}/` : null,
    readers: serving?.live.count() ?? 0,
    ...(serving?.server.counts() ?? { tokens: 0, sessions: 0 }),
    history: { entries: serving?.history.size() ?? 0, since: serving?.history.since() ?? null },
    problem,
  })

  const url = (): string => {
    if (serving) return serving.server.url()
    throw new ConnectionManagerError(
      'NotRunningError',
      'ERR_NOT_RUNNING',
      `the live page is not served: call dashboard.start(), or set dashboard.enabled in the config${problem === null ? '' : ` (${problem})`}`,
    )
  }

  const api = {
    /** A fresh address of the page with a one-time token, good for ten minutes. Rejects with ERR_NOT_RUNNING. */
    url: asyncCall(async () => url()),
    /** Serves from now on, whatever the config says; resolves when it does. Rejects with ERR_LISTEN or ERR_MISSING_PLUGIN. */
    start: asyncCall(async () => {
      await begin()
      return status()
    }),
    /** Ends every stream and session, forgets the history and frees the port. */
    stop: asyncCall(async () => {
      await stop()
      return status()
    }),
    status: syncCall(() => status()),
    /** In the same process only: adds a source of names, which is asked often and answers at once. Returns what removes it. */
    addNames: (source: NameSource): (() => void) => {
      if (typeof source !== 'function') throw new InvalidArgumentError('source', 'a function (id) => name', source)
      const added: NameSource = (id) => source(id)
      names.add(added)
      serving?.live.namesChanged()
      return () => {
        names.delete(added)
        serving?.live.namesChanged()
      }
    },
  }

  let timer: unknown = null
  if (settings.isEnabled)
    // Not in this turn, in which the other plugins are loaded, the manager maybe among them.
    timer = clock.setTimeout(() => {
      timer = null
      begin().then(
        ({ server }) => print(`dashboard: ${server.url()}`),
        (error) => {
          if (!isClosed) shout(sbot, errorInfo(error).message)
        },
      )
    }, 0)

  sbot.close?.hook?.(function (fn, args) {
    isClosed = true
    if (timer !== null) clock.clearTimeout(timer)
    stop().catch((error) => log(`the live page did not end well: ${errorInfo(error).message}`))
    return fn.apply(this, args)
  })

  return api
}

function closed(operation: string): ConnectionManagerError {
  return new ConnectionManagerError('ClosedError', 'ERR_CLOSED', `${operation}: the stack is closed`)
}

function whyNotListening(error: unknown, { host, port }: DashboardSettings): ListenError {
  const { code, message } = errorInfo(error)
  const why = code === 'EADDRINUSE' ? 'the port is in use: set dashboard.port to another one, or to 0 for any' : message
  return new ListenError(host === '::1' ? `[::1]:${port}` : `${host}:${port}`, why, error)
}
