/**
 * The connection of a command to the running sbot: ssb-client with the owner's keys, the calls of the manager as promises and
 * sources, and whatever goes wrong as an error that says what to do. muxrpc keeps the name and the message of an error and
 * loses the rest, so codes are read from those.
 */
import { subscribe, unsubscribe } from 'diagnostics_channel'

import fs = require('fs')

import type { Socket } from 'net'

import { errorInfo } from '../core/errors'
import { isPlainObject } from '../core/options'
import { type Clock, unref } from '../shell/clock'
import type { Source } from '../shell/live'
import { CliError, type RemoteManager, type RemoteSbot } from './cli'
import { EXIT, type SbotSettings } from './settings'

// biome-ignore lint/suspicious/noExplicitAny: what plugins mount has no types here
type Api = any
type Rpc = Api & { readonly id: string; readonly closed: boolean }
type ConnectClient = (keys: object, options: object, cb: (error: unknown, rpc?: Rpc) => void) => void

export interface ConnectOptions {
  readonly settings: SbotSettings
  readonly clock: Clock
  /** For the connection, and for each answer that does not wait for others; 0: for ever. */
  readonly timeoutMs: number
  /** Calls that are waiting when it resolves are given up. */
  readonly interrupted: Promise<void>
}

/** May take as long as dials do. */
const PATIENT: readonly string[] = ['connectionManager.peer.connect', 'connectionManager.peer.disconnect']
/** Of the object that muxrpc makes: no calls of the sbot. */
const NOT_CALLS: readonly string[] = ['id', 'closed', 'close', 'stream', 'domain']

/** The codes of errors.ts by the names of its classes. */
const CODES_BY_NAME: { readonly [name: string]: string } = {
  InvalidAddressError: 'ERR_INVALID_ADDRESS',
  InvalidArgumentError: 'ERR_INVALID_ARGUMENT',
  UnknownPeerError: 'ERR_UNKNOWN_PEER',
  NoRouteError: 'ERR_NO_ROUTE',
  DialFailedError: 'ERR_DIAL_FAILED',
  DialTimeoutError: 'ERR_DIAL_TIMEOUT',
  BannedError: 'ERR_BANNED',
  NotRunningError: 'ERR_NOT_RUNNING',
  NameTakenError: 'ERR_NAME_TAKEN',
  MissingPluginError: 'ERR_MISSING_PLUGIN',
  ClosedError: 'ERR_CLOSED',
  StoredStateError: 'ERR_STORED_STATE',
  InvariantError: 'ERR_INVARIANT',
  HookFailedError: 'ERR_HOOK_FAILED',
  RecordingBehindError: 'ERR_RECORDING_BEHIND',
}
const REMEDIES: { readonly [code: string]: string } = {
  ERR_INVALID_ADDRESS: 'Write it as net:HOST:PORT~shs:KEY, or HOST:PORT:@KEY.ed25519.',
  ERR_UNKNOWN_PEER: 'Tell of it by an address: sbot-connections add ADDRESS.',
  ERR_NO_ROUTE: 'Add an address of it: sbot-connections add ADDRESS.',
  ERR_BANNED: 'Lift the ban: sbot-connections unban ID.',
  ERR_NOT_RUNNING: 'Start connections: sbot-connections start.',
}

/** Tries the addresses in turn. Throws CliError. */
export async function connectSbot(options: ConnectOptions): Promise<RemoteSbot> {
  const { settings } = options
  const connectClient = loadClient()
  let failure: unknown = null
  for (const address of settings.addresses) {
    try {
      return wrap(await connectOnce(connectClient, address, options), options)
    } catch (error) {
      // Somebody was there: another address would be the same sbot, or a stranger.
      if (!isUnreachable(error)) throw connectError(error, address)
      failure = error
    }
  }
  throw connectError(failure, settings.addresses.join(', '))
}

function loadClient(): ConnectClient {
  try {
    return require('ssb-client') as ConnectClient
  } catch (error) {
    throw new CliError(
      'ERR_NO_CLIENT',
      `the package ssb-client, by which an sbot is reached, cannot be loaded: ${errorInfo(error).message}`,
      'Install it beside this package: npm install ssb-client.',
      EXIT.setup,
    )
  }
}

function connectOnce(connectClient: ConnectClient, address: string, options: ConnectOptions): Promise<Rpc> {
  const { settings, clock, timeoutMs, interrupted } = options
  const { keys, shs } = settings
  return new Promise((resolve, reject) => {
    let isOver = false
    const timer =
      timeoutMs > 0
        ? clock.setTimeout(() => {
            isOver = true
            reject(tooSlow('the sbot', timeoutMs))
          }, timeoutMs)
        : null
    const settle = (fn: () => void): void => {
      if (timer !== null) clock.clearTimeout(timer)
      if (isOver) return
      isOver = true
      fn()
    }
    void interrupted.then(() => settle(() => reject(interruptedError())))
    const client = {
      remote: address,
      caps: { shs },
      // ssb-client asks the sbot for its manifest, which tells what there is.
      manifest: null,
      timers: { handshake: timeoutMs > 0 ? timeoutMs : 60_000 },
    }
    try {
      connectTidily(() =>
        connectClient(keys, client, (error, rpc) => {
          // Too late: nobody waits for it.
          if (isOver && rpc) rpc.close(true, () => {})
          settle(() => (error ? reject(error) : resolve(rpc)))
        }),
      )
    } catch (error) {
      settle(() => reject(error))
    }
  })
}

/**
 * ssb-client, without two habits of what it is made of. Each client of multiserver makes a folder for a socket that it will never
 * listen on, and leaves it; and muxrpc writes the head and the body of a packet one after the other, of which the system
 * holds the second back until the first is confirmed, a good 40 ms for each call. Both happen in the turn of the call, so
 * folders and socket can be had.
 */
function connectTidily(connect: () => void): void {
  const folders: string[] = []
  const original = fs.mkdtempSync
  fs.mkdtempSync = ((...args: Parameters<typeof original>) => {
    const folder = original(...args)
    folders.push(String(folder))
    return folder
  }) as typeof original
  const onSocket = (message: unknown): void => {
    ;(message as { readonly socket?: Socket }).socket?.setNoDelay(true)
  }
  subscribe(CLIENT_SOCKETS, onSocket)
  try {
    connect()
  } finally {
    unsubscribe(CLIENT_SOCKETS, onSocket)
    fs.mkdtempSync = original
    for (const folder of folders) {
      try {
        fs.rmdirSync(folder)
      } catch {
        // Not empty: then it is of use to somebody.
      }
    }
  }
}

/** Node tells of each socket as it is made. */
const CLIENT_SOCKETS = 'net.client.socket'

// ---- errors -----------------------------------------------------------------------------------------------------------

/** The message underneath: explain-error makes the original the prototype of the one that it throws. */
function innermostMessage(error: unknown): string {
  let found: unknown = error
  for (let at: unknown = error; at instanceof Error; at = Object.getPrototypeOf(at))
    if (Object.prototype.hasOwnProperty.call(at, 'message') && at.message !== '') found = at
  return errorInfo(found).message
}

const UNREACHABLE: readonly (string | null)[] = [
  'ECONNREFUSED',
  'ENOENT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EADDRNOTAVAIL',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'ENOTSOCK',
]

function isUnreachable(error: unknown): boolean {
  return !(error instanceof CliError) && UNREACHABLE.includes(errorInfo(error).code)
}

function connectError(error: unknown, where: string): CliError {
  if (error instanceof CliError) return error
  const { code } = errorInfo(error)
  const message = innermostMessage(error)
  if (code === 'EACCES' || code === 'EPERM')
    return new CliError(
      'ERR_NO_PERMISSION',
      `the system does not let us connect to ${where} (${code})`,
      'Run this as the user who runs the sbot.',
      EXIT.noPermission,
    )
  if (isUnreachable(error))
    return new CliError(
      'ERR_NO_SBOT',
      `no sbot answers at ${where} (${code})`,
      'Start the sbot, or say where it is: --path FOLDER, --appname NAME or --remote ADDRESS.',
      EXIT.notRunning,
    )
  if (/could not parse address|could not connect to:/.test(message))
    return new CliError(
      'ERR_USAGE',
      `no way is known to reach ${where}`,
      'Use an address that begins with net, ws, onion or unix and ends with ~shs:KEY or ~noauth.',
      EXIT.usage,
    )
  // Both sides say as little as they can when a handshake fails; after the first step it is the key of the sbot.
  const isOtherKey = /phase [23]/.test(message)
  return new CliError(
    'ERR_HANDSHAKE',
    `whoever listens at ${where} does not accept our handshake: ${message}`,
    isOtherKey
      ? 'The key in the address is not that of this sbot: check --path, --appname or --remote.'
      : 'Its network key (caps.shs) is another one, or it is no sbot: check --path, --appname or --remote, and the config there.',
    EXIT.handshake,
  )
}

function tooSlow(what: string, timeoutMs: number): CliError {
  return new CliError(
    'ERR_SBOT_TIMEOUT',
    `${what} did not answer within ${timeoutMs / 1_000} s`,
    'It may be busy: try again with --timeout SECONDS, or restart it.',
    EXIT.notRunning,
  )
}

export function interruptedError(): CliError {
  return new CliError('ERR_INTERRUPTED', 'interrupted', null, EXIT.interrupted)
}

export function goneError(): CliError {
  return new CliError(
    'ERR_SBOT_GONE',
    'the sbot closed the connection',
    'It has stopped or was restarted: start it again and repeat this.',
    EXIT.gone,
  )
}

function callError(error: unknown, name: string): CliError {
  if (error instanceof CliError) return error
  const { message } = errorInfo(error)
  if (/not in list of allowed methods|on list of disallowed methods/.test(message))
    return new CliError(
      'ERR_NO_PERMISSION',
      `the sbot does not let us call ${name}: our key is not that of its owner`,
      'Use the folder of the sbot itself (--path), or let it load ssb-master and list our key under `master` in its config.',
      EXIT.noPermission,
    )
  if (/^no (async|sync|source|sink|duplex):/.test(message)) return oldVersion(name)
  const given = isPlainObject(error) || error instanceof Error ? (error as { name?: unknown }).name : undefined
  const code = (typeof given === 'string' && CODES_BY_NAME[given]) || errorInfo(error).code || 'ERR_CALL_FAILED'
  const isUsage = code === 'ERR_INVALID_ADDRESS' || code === 'ERR_INVALID_ARGUMENT'
  return new CliError(code, message, REMEDIES[code] ?? null, isUsage ? EXIT.usage : EXIT.failed)
}

function oldVersion(name: string): CliError {
  return new CliError(
    'ERR_OLD_VERSION',
    `the sbot has no call ${name}`,
    'It runs an older version of sbot-connection-manager: update it there, and restart it.',
    EXIT.oldVersion,
  )
}

function noManager(api: Api): CliError {
  const other = ['conn', 'gossip'].find((name) => api[name])
  return new CliError(
    'ERR_NO_MANAGER',
    other
      ? `the sbot has no connection manager of ours, only another \`${other}\``
      : 'the sbot has no connection manager',
    other === 'conn'
      ? "Load this package in its place: .use(require('sbot-connection-manager/conn')) instead of ssb-conn."
      : "Load this package: .use(require('sbot-connection-manager')).",
    EXIT.noManager,
  )
}

/** A plugin beside the manager that is needed and not there; `entry` is what to load. */
export function noPlugin(name: string, entry: string): CliError {
  return new CliError('ERR_NO_PLUGIN', `the sbot has no ${name}`, `Load it: .use(require('${entry}')).`, EXIT.noManager)
}

// ---- calls ------------------------------------------------------------------------------------------------------------

function wrap(rpc: Rpc, { clock, timeoutMs, interrupted }: ConnectOptions): RemoteSbot {
  let isClosing = false
  const giveUps = new Set<(error: CliError) => void>()
  void interrupted.then(() => {
    for (const giveUp of [...giveUps]) giveUp(interruptedError())
  })

  /** The connection tells its calls of its end before it counts as closed. */
  const failure = (error: unknown, name: string, use: (error: CliError) => void): void => {
    setImmediate(() => {
      const isGone = rpc.closed === true && !isClosing
      use(isGone && !(error instanceof CliError) ? goneError() : callError(error, name))
    })
  }

  const promised = (answer: Promise<unknown>, name: string): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const end = (): void => {
        clock.clearTimeout(timer)
        giveUps.delete(giveUp)
      }
      const giveUp = (error: CliError): void => {
        end()
        reject(error)
      }
      const timer =
        timeoutMs > 0 && !PATIENT.includes(name)
          ? clock.setTimeout(() => giveUp(tooSlow(name, timeoutMs)), timeoutMs)
          : null
      giveUps.add(giveUp)
      answer.then(
        (value) => {
          end()
          resolve(value)
        },
        (error) => {
          end()
          failure(error, name, reject)
        },
      )
    })

  const sourced =
    (source: Source<unknown>, name: string): Source<unknown> =>
    (abort, cb) =>
      source(abort, (end, data) => {
        if (end && end !== true && !abort) failure(end, name, (error) => cb(error))
        else cb(end, data)
      })

  const callOf =
    (fn: (...args: unknown[]) => unknown, name: string) =>
    (...args: readonly unknown[]): unknown => {
      if (rpc.closed) return Promise.reject(goneError())
      // Without a callback muxrpc answers with a promise, or with a source, as its manifest says.
      const answer = fn(...args)
      if (typeof answer === 'function') return sourced(answer as Source<unknown>, name)
      return answer instanceof Promise ? promised(answer, name) : answer
    }

  const apiOf = (object: Api, path: readonly string[]): Api => {
    const api: Record<string, unknown> = {}
    for (const key of Object.keys(object)) {
      if (path.length === 0 && (NOT_CALLS.includes(key) || key.startsWith('_'))) continue
      const value = object[key]
      const at = [...path, key]
      if (typeof value === 'function') api[key] = callOf(value, at.join('.'))
      else if (isPlainObject(value)) api[key] = apiOf(value, at)
    }
    return api
  }
  const api = apiOf(rpc, [])

  /** What an older version lacks throws when it is called, not before. */
  const completed = (object: Api, path: string): Api =>
    new Proxy(object, {
      get: (target, key) => {
        // Whoever awaits it would take it for a promise.
        if (typeof key !== 'string' || key === 'then') return undefined
        const value = Object.prototype.hasOwnProperty.call(target, key) ? target[key] : undefined
        const name = `${path}.${key}`
        if (typeof value === 'function') return value
        if (value !== undefined) return completed(value, name)
        const missing = (): never => {
          throw oldVersion(name)
        }
        return new Proxy(missing, { get: (_, next) => (next === 'then' ? undefined : missing) })
      },
    })

  return {
    id: rpc.id,
    rpc: api,
    get manager(): RemoteManager {
      if (!api.connectionManager) throw noManager(api)
      return completed(api.connectionManager, 'connectionManager')
    },
    has: (call) => {
      let at: Api = api.connectionManager
      for (const word of call.split('.')) at = isPlainObject(at) && Object.hasOwn(at, word) ? at[word] : undefined
      return at !== undefined
    },
    close: () =>
      new Promise((resolve) => {
        isClosing = true
        if (rpc.closed) return resolve()
        const timer = clock.setTimeout(resolve, CLOSE_LIMIT_MS)
        unref(timer)
        rpc.close(true, () => {
          clock.clearTimeout(timer)
          resolve()
        })
      }),
  }
}

const CLOSE_LIMIT_MS = 1_000
