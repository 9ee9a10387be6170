/**
 * Boots a complete sbot with this package, for people who just want a pub or a client to run: the database, replication, the social
 * graph, the local network, rooms, invites, our manager and our replication scheduler. The packages of Scuttlebutt are no
 * dependencies of ours: they are looked up when they are needed, and what is missing is named with the command that installs it.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'fs'
import { createRequire } from 'module'
import { connect, createServer } from 'net'
import { join } from 'path'

import { errorInfo } from '../core/errors'
import { isPlainObject } from '../core/options'
import type { ConnectionManager } from '../manager'
import { CliError } from './cli'
import { DEFAULT_PORT, EXIT, type Json, MAIN_NETWORK, type SbotKeys } from './settings'

// ---- packages ----------------------------------------------------------------------------------------------------------

/** With the versions that this package is tested with. */
const PACKAGES = {
  'secret-stack': '6',
  'ssb-keys': '8',
  'ssb-master': '1',
  'ssb-db2': '8',
  'ssb-classic': '1',
  'ssb-box': '1',
  'ssb-ebt': '9',
  'ssb-friends': '5',
  'ssb-invite': '3',
  'ssb-lan': '1',
  'ssb-room-client': '2',
} as const

type PackageName = keyof typeof PACKAGES

/** In the order in which they are loaded; those after `ssb-friends` come after our own. */
const DATABASE_MODULES = [
  'ssb-master',
  'ssb-db2/core',
  'ssb-classic',
  'ssb-box',
  'ssb-db2/compat/publish',
  'ssb-db2/compat/post',
  'ssb-db2/compat/db',
  'ssb-db2/compat/ebt',
  'ssb-db2/compat/history-stream',
  'ssb-ebt',
  'ssb-friends',
] as const

export type Load = (module: string) => unknown

/** From beside this package, else from the folder that one is in. */
export function loaderFor(cwd: string): Load {
  const there = createRequire(join(cwd, 'package.json'))
  return (module) => {
    try {
      return require(module)
    } catch (error) {
      if (!isMissing(error, module)) throw error
      return there(module)
    }
  }
}

const packageOf = (module: string): PackageName =>
  Object.keys(PACKAGES).find((name) => module === name || module.startsWith(`${name}/`)) as PackageName

/** The module itself is not there, rather than something that it needs. */
function isMissing(error: unknown, module: string): boolean {
  const { code, message } = errorInfo(error)
  return code === 'MODULE_NOT_FOUND' && message.includes(`'${module}'`)
}

/** The modules by name. Throws CliError that names all packages that are missing, and one command that installs them. */
export function loadAll(modules: readonly string[], load: Load): ReadonlyMap<string, unknown> {
  const loaded = new Map<string, unknown>()
  const missing = new Set<PackageName>()
  for (const module of modules) {
    try {
      loaded.set(module, load(module))
    } catch (error) {
      if (isMissing(error, module)) missing.add(packageOf(module))
      else
        throw new CliError(
          'ERR_BROKEN_PACKAGE',
          `the package ${packageOf(module)} cannot be loaded: ${errorInfo(error).message}`,
          `Install it again: npm install ${packageOf(module)}@${PACKAGES[packageOf(module)]}`,
          EXIT.setup,
        )
    }
  }
  if (missing.size === 0) return loaded
  const names = [...missing]
  throw new CliError(
    'ERR_MISSING_PACKAGES',
    `an sbot needs packages that are not installed: ${names.join(', ')}`,
    `Install them: npm install ${names.map((name) => `${name}@${PACKAGES[name]}`).join(' ')}`,
    EXIT.setup,
  )
}

export function modulesFor(options: Pick<ServeOptions, 'hasLan'>): readonly string[] {
  const lan = options.hasLan ? ['ssb-lan'] : []
  return ['secret-stack', 'ssb-keys', ...DATABASE_MODULES, ...lan, 'ssb-room-client', 'ssb-invite']
}

// ---- config ------------------------------------------------------------------------------------------------------------

export interface ServeOptions {
  readonly path: string
  /** What was given on the command line; null: what the config says. */
  readonly port: number | null
  /** The name or address by which others reach us. */
  readonly host: string | null
  /** The address that is listened on; null: all of this machine. */
  readonly listen: string | null
  /** Network key, base64. */
  readonly shs: string | null
  readonly isPub: boolean
  readonly hasLan: boolean
  /** The live page: its port, `default` for that of the config or its usual one; null: a page only if the config says so. */
  readonly page: number | 'default' | null
}

/** A deep copy of plain JSON in which `over` counts more; lists are taken whole. */
function merged(under: Json, over: Json): Json {
  const result: Record<string, unknown> = {}
  for (const key of new Set([...Object.keys(under), ...Object.keys(over)])) {
    if (key === '__proto__') continue
    const [a, b] = [under[key], over[key]]
    result[key] = isPlainObject(a) && isPlainObject(b) ? merged(a, b) : b === undefined ? a : b
  }
  return result
}

function section(config: Json, name: string): Json {
  const value = config[name]
  return isPlainObject(value) ? value : {}
}

function portOf(value: unknown): number | null {
  const port = Number(value)
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : null
}

const NETWORK_KEY = /^[A-Za-z0-9+/]{43}=$/

/** Where it listens, as it is written to the config on the first start. Pure. */
export function addressConfig(given: Json, options: ServeOptions): Json {
  const first = listOf(section(section(given, 'connections'), 'incoming').net)[0] ?? {}
  const port = options.port ?? portOf(first.port) ?? portOf(given.port) ?? DEFAULT_PORT
  // Without the local network and without a name by which others know us, nobody but this machine has to reach us.
  const isPrivate = !options.hasLan && !options.isPub && options.host === null
  const host = options.listen ?? textOf(first.host) ?? textOf(given.host) ?? (isPrivate ? '127.0.0.1' : null)
  const external = options.host ?? textOf(first.external)
  const net = {
    scope: ['device', 'local', 'public'],
    ...(host === null ? {} : { host }),
    port,
    ...(external === null ? {} : { external }),
    transform: 'shs',
  }
  return { port, connections: { incoming: { net: [net] } } }
}

function listOf(value: unknown): readonly Json[] {
  return Array.isArray(value) ? value.filter(isPlainObject) : []
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}

/** Whether the live page is asked for, by an option or by the config. Pure. */
export function wantsPage(layers: readonly Json[], options: ServeOptions): boolean {
  if (options.page !== null) return true
  const said = layers.map((layer) => section(layer, 'dashboard').enabled).find((enabled) => enabled !== undefined)
  return said === true || said === 'true'
}

/** The config of the sbot: what is given, and what it cannot do without. Pure. Throws CliError. */
export function makeConfig(layers: readonly Json[], options: ServeOptions): Json {
  const given = [...layers].reverse().reduce(merged, {})
  const shs = options.shs ?? textOf(section(given, 'caps').shs) ?? MAIN_NETWORK
  if (!NETWORK_KEY.test(shs))
    throw new CliError(
      'ERR_USAGE',
      'the network key (--shs, or caps.shs in the config) is 32 bytes in base64',
      null,
      EXIT.usage,
    )
  const hasOwn = options.port !== null || options.host !== null || options.listen !== null
  const incoming = section(section(given, 'connections'), 'incoming')
  const listens = listOf(incoming.net).length > 0 && !hasOwn ? {} : addressConfig(given, options)
  const defaults: Json = {
    timers: { inactivity: 600_000, handshake: 15_000 },
    friends: { hops: 2 },
    connections: { outgoing: { net: [{ transform: 'shs' }] } },
  }
  const tunnel = [{ scope: 'public', transform: 'shs' }]
  return merged(merged(merged(defaults, given), listens), {
    path: options.path,
    caps: { shs },
    connections: {
      incoming: { tunnel },
      outgoing: { tunnel: [{ transform: 'shs' }] },
    },
    conn: { ...(options.hasLan ? {} : { lan: false }) },
    ...(options.hasLan ? {} : { gossip: { local: false } }),
    // An invite is made for the address that the user has named, whatever it is.
    ...(options.isPub ? { allowPrivate: true } : {}),
    // Started, and its address printed, when all is ready.
    dashboard: { enabled: false, ...(typeof options.page === 'number' ? { port: options.page } : {}) },
  })
}

// ---- the folder --------------------------------------------------------------------------------------------------------

/** Makes the folder; says what was made. Throws CliError. */
export function prepareFolder(path: string, note: (text: string) => void): void {
  if (existsSync(join(path, 'flume')) && !existsSync(join(path, 'db2')))
    throw new CliError(
      'ERR_OTHER_DATABASE',
      `${path} holds a database of ssb-db 1, as Patchwork and ssb-server write it`,
      'Two databases under one identity break its feed. Use a new folder (--path), or migrate the old one with ssb-db2 first.',
      EXIT.setup,
    )
  try {
    if (!existsSync(path)) {
      mkdirSync(path, { recursive: true, mode: 0o700 })
      note(`made the folder ${path}`)
    }
  } catch (error) {
    throw new CliError(
      'ERR_FOLDER',
      `the folder ${path} cannot be made: ${errorInfo(error).message}`,
      'Name another one with --path.',
      EXIT.setup,
    )
  }
}

interface KeysModule {
  loadOrCreateSync(file: string): SbotKeys
}

/** The identity; made on the first start. Throws CliError. */
export function readKeys(path: string, ssbKeys: unknown, note: (text: string) => void): SbotKeys {
  const file = join(path, 'secret')
  const isNew = !existsSync(file)
  try {
    const keys = (ssbKeys as KeysModule).loadOrCreateSync(file)
    if (isNew) {
      note(`made a new identity: ${file} (keep a copy, and never run two sbots with it)`)
    } else if (!existsSync(join(path, 'db2'))) {
      note(
        'the identity was there, its messages are not: publish nothing before they have come back from a peer, or its feed breaks',
      )
    }
    return keys
  } catch (error) {
    throw new CliError(
      'ERR_SECRET_UNREADABLE',
      `the key of the sbot at ${file} cannot be read or made: ${errorInfo(error).message}`,
      'Run this as the user who owns the folder, or restore the file from a backup.',
      EXIT.setup,
    )
  }
}

/** Where there is no config yet, what the command line said is written down, so that the other commands find the sbot. */
export function writeFirstConfig(config: Json, options: ServeOptions, note: (text: string) => void): void {
  const file = join(options.path, 'config')
  const { port, host, listen, shs } = options
  if (existsSync(file) || (port === null && host === null && listen === null && shs === null)) return
  const { incoming } = section(config, 'connections') as { incoming?: Json }
  const said = {
    port: config.port,
    connections: { incoming: { net: incoming?.net } },
    ...(shs === null ? {} : { caps: { shs } }),
  }
  // A network key may be a secret, and the folder one that others can look into.
  writeFileSync(file, `${JSON.stringify(said, null, 2)}\n`, { mode: 0o600 })
  note(`wrote ${file}: where this sbot listens, for the next start and the other commands`)
}

// ---- is anybody else there? --------------------------------------------------------------------------------------------

type Level = (
  path: string,
  options: object,
  cb: (error: Error | null, db?: { close(cb: () => void): void }) => void,
) => void

/** The database of ssb-db2 belongs to one process: whoever else has it open keeps its lock. Throws CliError. */
export async function assertNotRunning(path: string, load: Load): Promise<void> {
  const index = join(path, 'db2', 'indexes', 'base')
  if (!existsSync(index)) return
  const level = findLevel(load)
  if (level === null) return
  await new Promise<void>((resolve, reject) => {
    level(index, { createIfMissing: false }, (error, db) => {
      if (db && !error) return db.close(resolve)
      // Of a database that is broken ssb-db2 says more than this would.
      if (!/lock/i.test(errorInfo(error).message)) return resolve()
      reject(
        new CliError(
          'ERR_SBOT_RUNS',
          `another sbot runs on ${path}`,
          `Ask it: sbot-connections status --path ${path}. Or stop it first, or name another folder with --path.`,
          EXIT.failed,
        ),
      )
    })
  })
}

/** The one that ssb-db2 uses. */
function findLevel(load: Load): Level | null {
  try {
    const { resolve } = createRequire(__filename)
    return createRequire(resolve('ssb-db2/core'))('level') as Level
  } catch {
    try {
      return load('level') as Level
    } catch {
      return null
    }
  }
}

/** A stack says that it listens in either case, and then cannot be reached. Throws CliError. */
export async function assertPortFree(port: number, host: string | null): Promise<void> {
  const isTaken = await new Promise<boolean>((resolve) => {
    const server = createServer()
    server.once('error', (error: Error & { code?: string }) => resolve(error.code === 'EADDRINUSE'))
    const listening = (): void => {
      server.close(() => resolve(false))
    }
    if (host === null) server.listen(port, listening)
    else server.listen(port, host, listening)
  })
  // On some systems who listens on one address does not keep others from listening on all.
  if (isTaken || (host === null && (await isAnswered(port))))
    throw new CliError(
      'ERR_PORT_IN_USE',
      `something listens on port ${port} already, perhaps another sbot`,
      'Stop it, or choose another port with --port.',
      EXIT.failed,
    )
}

function isAnswered(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

// ---- the sbot ----------------------------------------------------------------------------------------------------------

/** What is used of the stack. */
export interface ServedSbot {
  readonly id: string
  readonly connectionManager: ConnectionManager
  readonly invite?: { create(options: object, cb: (error: unknown, invite?: string) => void): void }
  readonly dashboard?: { start(): Promise<unknown>; url(): Promise<string> }
  getAddress(scope?: string): string | null | undefined
  getManifest(): object
  close(isEnd: true, cb: () => void): void
  on(event: string, listener: (...args: never[]) => void): unknown
  once(event: string, listener: (...args: never[]) => void): unknown
}

interface Builder {
  use(plugin: unknown): Builder
  (config: object): ServedSbot
}

const LISTEN_LIMIT_MS = 30_000

/** Resolves when it listens. */
export async function bootServed(
  modules: ReadonlyMap<string, unknown>,
  config: Json,
  hasPage: boolean,
): Promise<ServedSbot> {
  const SecretStack = modules.get('secret-stack') as (config: object) => Builder
  const builder = SecretStack({ caps: config.caps })
  for (const name of DATABASE_MODULES) builder.use(modules.get(name))
  // As late as this: plugins that replace the database or the network are loaded with them.
  builder.use(require('../replication-scheduler')).use(require('../conn'))
  for (const name of ['ssb-lan', 'ssb-room-client', 'ssb-invite']) {
    const plugin = modules.get(name)
    if (plugin !== undefined) builder.use(plugin)
  }
  if (hasPage) builder.use(require('../dashboard'))
  const sbot = builder(config)
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new CliError('ERR_NOT_LISTENING', `the sbot does not listen after ${LISTEN_LIMIT_MS / 1000} s`, null))
    }, LISTEN_LIMIT_MS)
    sbot.once('multiserver:listening', () => {
      clearTimeout(timer)
      resolve()
    })
  })
  return sbot
}

/** As ssb-server does: old clients read there what they may call. */
export function writeManifest(path: string, sbot: ServedSbot): void {
  const file = join(path, 'manifest.json')
  const text = `${JSON.stringify(sbot.getManifest(), null, 2)}\n`
  if (existsSync(file) && readFileSync(file, 'utf8') === text) return
  writeFileSync(file, text)
}

export function makeInvite(sbot: ServedSbot, uses: number): Promise<string> {
  return new Promise((resolve, reject) => {
    if (!sbot.invite) return reject(new CliError('ERR_NO_PLUGIN', 'this sbot makes no invites', null))
    sbot.invite.create({ uses }, (error, invite) => (error ? reject(error) : resolve(String(invite))))
  })
}

/**
 * Of what the packages print by themselves: nothing about calls that they would rather not have, and about strangers who fail to
 * shake hands only if it is wanted.
 */
export function quiet(isWanted: () => boolean): void {
  let isFollowing = false
  for (const method of ['error', 'warn'] as const) {
    const print = console[method].bind(console)
    console[method] = (...args: unknown[]) => {
      const first = typeof args[0] === 'string' ? args[0] : ''
      if (first.startsWith('Trace: deprecated api used')) return
      const isNoise =
        first.startsWith('server error, from') ||
        first.startsWith('rpc.ebt.replicate exception') ||
        first.includes('does not support RPC ebt.') ||
        (isFollowing && args[0] instanceof Error)
      // It comes in two calls, the second of which is the error.
      isFollowing = first.startsWith('server error, from')
      if (!isNoise || isWanted()) print(...args)
    }
  }
}

const CLOSE_LIMIT_MS = 5_000

/** Resolves when all is stored, or after 5 s: sockets of dials that hang are not waited for. */
export function closeServed(sbot: ServedSbot): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, CLOSE_LIMIT_MS)
    sbot.close(true, () => {
      clearTimeout(timer)
      resolve()
    })
  })
}
