/**
 * Real secret-stacks on loopback, of version 6 and of version 8, for tests that need true sockets, handshakes and muxrpc.
 *
 * A stack has a network key of its own process, a temporary folder, a free port and ssb-master. Everything it starts ends
 * with `close()`; folders that a test leaves behind go when the process ends.
 *
 * Failed handshakes are part of many tests, and the stacks print them with console.error. Those lines are held back and
 * printed when an assertion fails or the process ends badly; anything else is printed as ever.
 */
import { randomBytes } from 'crypto'
import { subscribe, unsubscribe } from 'diagnostics_channel'
import { mkdirSync, mkdtempSync, rmSync } from 'fs'
import { createServer, type Socket } from 'net'
import { tmpdir } from 'os'
import { join } from 'path'

import pull = require('pull-stream')
import SecretStack6 = require('secret-stack')
import SecretStack8 = require('secret-stack-8')
import connectClient = require('ssb-client')

import { type Keys, loadOrCreateSync, generate as newKeys } from 'ssb-keys'
import { eventually, withTimeout } from './eventually'

export type StackVersion = 6 | 8
/** Every test of what depends on secret-stack loops over these. */
export const STACK_VERSIONS: readonly StackVersion[] = [6, 8]

export interface StackOptions {
  readonly version: StackVersion
  /** For the name of the folder. */
  readonly name?: string
  /** Plugins of today's registry. Version 8 gets them through a shim that hands them the flat config of version 6. */
  readonly plugins?: readonly object[]
  /** Our own plugins, which read the config of either version. After the others, unless `ownFirst`. */
  readonly ownPlugins?: readonly object[]
  readonly ownFirst?: boolean
  /** The sections of plugins by name, e.g. `{connectionManager: {autostart: true}}`. */
  readonly config?: Readonly<Record<string, unknown>>
  /** Added to what is at the root of the config in version 6 and below `global` in 8: timers, timeout, seeds. */
  readonly global?: Readonly<Record<string, unknown>>
  /** Network key, base64. One per process unless given, so that the stacks of a test can talk. */
  readonly shs?: string
  /**
   * Adds ssb-db2, ssb-ebt and ssb-friends, and requests the feeds of oneself and of all within two hops; `'unrequested'`
   * leaves that to a plugin of the test.
   */
  readonly withDb?: boolean | 'unrequested'
  /** Of an earlier stack, to restart it. */
  readonly port?: number
  readonly path?: string
  readonly keys?: Keys
  /** Leaves the folder in place at close, for a restart. */
  readonly keep?: boolean
}

export interface Stack {
  readonly version: StackVersion
  readonly ssb: SecretStack6.Stack
  readonly path: string
  readonly port: number
  readonly id: string
  readonly keys: Keys
  readonly shs: string
  /** `net:127.0.0.1:<port>~shs:<key>` */
  readonly address: string
  /** Hangs up on everybody, stops listening and removes the folder if it is one of ours. More than once does no harm. */
  close(options?: { readonly keep?: boolean }): Promise<void>
}

/** Of this process only: a stack of another test, or of the user of this machine, is a wrong number. */
const PROCESS_SHS = randomBytes(32).toString('base64')
/** What a graceful end may take before the sockets are cut. */
const CLOSE_GRACE_MS = 250
const CLOSE_LIMIT_MS = 5_000

export async function bootStack(options: StackOptions): Promise<Stack> {
  const { version, name = 'stack', shs = PROCESS_SHS } = options
  holdNoise()
  const path = options.path ?? makeFolder(name)
  mkdirSync(path, { recursive: true })
  const keys = options.keys ?? loadOrCreateSync(join(path, 'secret'))
  const port = options.port ?? (await findFreePort())
  // The stack says "listening" in either case and then cannot be reached.
  await eventually(() => isFree(port), { message: `port ${port} is free` })

  const shared: Record<string, unknown> = {
    path,
    keys,
    caps: { shs },
    timeout: 2_000,
    timers: { inactivity: 120_000 },
    connections: {
      incoming: { net: [{ scope: ['device', 'local', 'public'], host: '127.0.0.1', port, transform: 'shs' }] },
      outgoing: { net: [{ transform: 'shs' }] },
    },
    ...options.global,
  }
  const sections: Record<string, unknown> = { friends: { hops: 2 }, ...options.config }
  const flat = { ...shared, ...sections }
  const foreign = [
    require('ssb-master'),
    ...(options.withDb ? databasePlugins() : []),
    ...(options.withDb === true ? [requestFeeds] : []),
    ...(options.plugins ?? []),
  ]
  const own = options.ownPlugins ?? []
  const adapted = version === 8 ? foreign.map((plugin) => withFlatConfig(plugin, flat)) : foreign

  const builder = version === 8 ? SecretStack8({}) : SecretStack6({})
  const sockets = trackAccepted(port)
  // First, so that its hook is the innermost: a database takes its time before the core is told to close.
  let grace: NodeJS.Timeout | undefined
  const cutAfterGrace = (api: { close: { hook(hook: (fn: () => void, args: []) => void): void } }) => {
    api.close.hook(function (this: unknown, close, args) {
      // The listener ends when its last connection has; a frozen other side would never let go of one.
      grace ??= setTimeout(() => sockets.destroy(), CLOSE_GRACE_MS)
      close.apply(this, args)
    })
  }
  builder.use(cutAfterGrace)
  for (const plugin of options.ownFirst ? [...own, ...adapted] : [...adapted, ...own]) builder.use(plugin)
  let ssb: SecretStack6.Stack
  try {
    ssb = builder(version === 8 ? { ...sections, global: shared } : flat)
  } catch (error) {
    sockets.stop()
    throw error
  }
  await withTimeout(
    new Promise<void>((resolve) => ssb.once('multiserver:listening', () => resolve())),
    CLOSE_LIMIT_MS,
    `${name} listens on port ${port}`,
  )

  const closeCore = async () => {
    try {
      const closed = new Promise<void>((resolve) => ssb.close(true, () => resolve()))
      await withTimeout(closed, CLOSE_LIMIT_MS, `${name} closes`)
    } finally {
      clearTimeout(grace)
      sockets.destroy()
      sockets.stop()
    }
  }
  let closing: Promise<void> | null = null
  return {
    version,
    ssb,
    path,
    port,
    id: keys.id,
    keys,
    shs,
    address: `net:127.0.0.1:${port}~shs:${keys.public.replace('.ed25519', '')}`,
    close: ({ keep = options.keep === true } = {}) => {
      closing ??= closeCore().then(() => (!keep && path.startsWith(folders()) ? removeFolder(path) : undefined))
      return closing
    },
  }
}

/** For teardowns; any fixture has `close`. */
export async function closeAll(...fixtures: readonly { close(): Promise<void> }[]): Promise<void> {
  await Promise.all(fixtures.map((fixture) => fixture.close()))
}

/* ---- plugins ---- */

type Init = (api: object, config: object, permissions: object, manifest: object) => unknown

/** Version 8 hands a plugin `{global, [its name]}`; today's plugins read `config.path` and each other's sections. */
function withFlatConfig(plugin: object, flat: object): object {
  if (Array.isArray(plugin)) return plugin.map((one) => withFlatConfig(one, flat))
  const { init } = plugin as { init?: Init }
  if (typeof plugin === 'function' && init === undefined) {
    const bare = plugin as Init
    return { init: ((api, _, ...rest) => bare(api, flat, ...rest)) satisfies Init }
  }
  return Object.assign(Object.create(plugin), plugin, {
    init: ((api, _, ...rest) => init?.call(plugin, api, flat, ...rest)) satisfies Init,
  })
}

/** `ssb-db2-6` is version 6 of ssb-db2, the last that the older plugins ask for. */
export type DatabasePackage = 'ssb-db2' | 'ssb-db2-6'

/** The database with ssb-ebt and ssb-friends; nothing requests feeds. Required when wanted: they take most of a second to load. */
export function databasePlugins(database: DatabasePackage = 'ssb-db2'): object[] {
  return [
    require(`${database}/core`),
    require('ssb-classic'),
    require('ssb-box'),
    require(`${database}/compat/publish`),
    require(`${database}/compat/post`),
    require(`${database}/compat/ebt`),
    require(`${database}/compat/db`),
    require('ssb-ebt'),
    require('ssb-friends'),
  ]
}

interface DatabaseApi {
  readonly id: string
  readonly ebt: {
    request(feed: string, wanted: boolean): void
    block(from: string, to: string, isBlocked: boolean): void
  }
  readonly friends: { hopStream(options: object): pull.Source<Record<string, number>> }
}

/** The bit of a replication scheduler that friends need to find each other's messages. */
export const requestFeeds = {
  name: 'testRequestFeeds',
  init(ssb: DatabaseApi, config: { friends: { hops: number } }): void {
    ssb.ebt.request(ssb.id, true)
    pull(
      ssb.friends.hopStream({ live: true, old: true }),
      pull.drain(
        (hops) => {
          for (const [feed, distance] of Object.entries(hops)) {
            if (feed === ssb.id) continue
            ssb.ebt.request(feed, distance >= 0 && distance <= config.friends.hops)
            ssb.ebt.block(ssb.id, feed, distance === -1)
          }
        },
        () => {},
      ),
    )
  },
}

/* ---- the database of a stack `withDb` ---- */

/** Appends to the stack's own feed. */
export function publish(stack: Stack, content: object): Promise<unknown> {
  return ask(stack.ssb, 'db.create', { keys: stack.keys, feedFormat: 'classic', content })
}

export function follow(stack: Stack, id: string): Promise<unknown> {
  return publish(stack, { type: 'contact', contact: id, following: true })
}

export function block(stack: Stack, id: string): Promise<unknown> {
  return publish(stack, { type: 'contact', contact: id, blocking: true })
}

/** The latest sequence by feed. */
export function vectorClock(stack: Stack): Promise<Record<string, number>> {
  return ask(stack.ssb, 'getVectorClock') as Promise<Record<string, number>>
}

/* ---- callers from outside ---- */

/** A muxrpc to a stack, with the rights of whoever opened it. */
export interface Caller {
  readonly rpc: SecretStack6.Rpc
  /** The answer of a `sync` or `async` method, e.g. `ask('connectionManager.peer.list')`. */
  ask(method: string, ...args: unknown[]): Promise<unknown>
  /** A `source` or `duplex` method. */
  open(method: string, ...args: unknown[]): unknown
  close(): Promise<void>
}

/** The owner: ssb-client with the keys of the stack, as the command line and the apps connect. */
export async function bootClient(stack: Stack): Promise<Caller> {
  const rpc = await connectClient(stack.keys, { remote: stack.address, caps: { shs: stack.shs } })
  return makeCaller(rpc, async () => {})
}

/**
 * A stranger: a stack with keys of its own that dials this one. A stack calls others by its own manifest, so this one has
 * the manifest of the stack it calls (as of now) with nothing behind it.
 */
export async function bootStranger(
  stack: Stack,
  options: Partial<StackOptions> = {},
): Promise<Caller & { readonly stack: Stack }> {
  const manifest = JSON.parse(JSON.stringify(stack.ssb.getManifest())) as object
  const mirror = { manifest, init: () => ({}) }
  const stranger = await bootStack({
    version: stack.version,
    name: 'stranger',
    shs: stack.shs,
    keys: newKeys(),
    ...options,
    ownPlugins: [mirror, ...(options.ownPlugins ?? [])],
  })
  try {
    const rpc = await connect(stranger, stack.address)
    return { ...makeCaller(rpc, () => stranger.close()), stack: stranger }
  } catch (error) {
    await stranger.close()
    throw error
  }
}

function makeCaller(rpc: SecretStack6.Rpc, after: () => Promise<void>): Caller {
  return {
    rpc,
    ask: (method, ...args) => ask(rpc, method, ...args),
    open: (method, ...args) => findMethod(rpc, method)(...args),
    close: async () => {
      if (rpc.closed !== true) await new Promise<void>((resolve) => rpc.close(true, () => resolve()))
      await after()
    },
  }
}

/** What `ssb.connect` of a bare stack comes to. */
export function connect(stack: Stack, address: string | object): Promise<SecretStack6.Rpc> {
  return new Promise((resolve, reject) => {
    stack.ssb.connect(address as string, (error, rpc) => (error ? reject(error) : resolve(rpc as SecretStack6.Rpc)))
  })
}

/** Calls a method by its dotted name with a callback, and settles as that is called. */
export function ask(target: object, method: string, ...args: unknown[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    findMethod(target, method)(...args, (error: unknown, value: unknown) => (error ? reject(error) : resolve(value)))
  })
}

function findMethod(target: object, method: string): (...args: unknown[]) => unknown {
  let found: unknown = target
  let owner: unknown = target
  for (const part of method.split('.')) {
    owner = found
    found = (found as Record<string, unknown> | undefined)?.[part]
  }
  if (typeof found !== 'function') throw new Error(`${method} is not in the manifest`)
  return found.bind(owner) as (...args: unknown[]) => unknown
}

/* ---- ports and sockets ---- */

/**
 * Below the range the system takes for outgoing connections (32768 to 60999 here), of which a test has many: one of those
 * could get the port between our looking and our listening. Test files run side by side, so each process has its own part.
 */
const PORTS_PER_PROCESS = 100
const FIRST_PORT = 10_000 + (process.pid % 200) * PORTS_PER_PROCESS
let portsGiven = 0

/** Never gives the same port twice in a process, until a hundred were given. */
export async function findFreePort(): Promise<number> {
  for (let i = 0; i < 1_000; i++) {
    const port = FIRST_PORT + (portsGiven++ % PORTS_PER_PROCESS)
    if (await isFree(port)) return port
  }
  throw new Error(`no port is free from ${FIRST_PORT} on`)
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

export interface Tracked {
  /** Epoch ms of each, oldest first. */
  readonly times: readonly number[]
  /** Cuts those that are still open. */
  destroy(error?: Error): void
  /** Sees no more. */
  stop(): void
}

/** The TCP connections that servers of this process accept on a port, whoever listens there. */
export function trackAccepted(port: number): Tracked {
  return track('net.server.socket', (socket, add) => {
    if (socket.localPort === port) add()
  })
}

/** The TCP connections that this process tries to open to a loopback port, answered or not. */
export function trackDialed(port: number): Tracked {
  return track('net.client.socket', (socket, add) => {
    socket.on('connectionAttempt', (_, attempted) => {
      if (attempted === port) add()
    })
  })
}

function track(channel: string, look: (socket: Socket, add: () => void) => void): Tracked {
  const times: number[] = []
  const open = new Set<Socket>()
  const onSocket = (message: unknown) => {
    const { socket } = message as { socket: Socket }
    look(socket, () => {
      times.push(Date.now())
      open.add(socket)
      socket.once('close', () => open.delete(socket))
    })
  }
  subscribe(channel, onSocket)
  return {
    times,
    destroy: (error) => {
      for (const socket of open) socket.destroy(error)
    },
    stop: () => {
      unsubscribe(channel, onSocket)
    },
  }
}

/* ---- folders ---- */

let root: string | null = null

/** The folder of this process; removed when it ends. */
function folders(): string {
  root ??= mkdtempSync(join(tmpdir(), 'sbot-connection-manager-'))
  return root
}

function makeFolder(name: string): string {
  return mkdtempSync(join(folders(), `${name}-`))
}

/**
 * ssb-db2 may still be saving an index when it has closed: then a file comes into a folder that was just emptied. What cannot be
 * removed now goes with all the others when the process ends.
 */
async function removeFolder(path: string): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    try {
      return rmSync(path, { recursive: true, force: true })
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

// First in line: tape ends the process in its own listener.
process.prependListener('exit', (code) => {
  if (code !== 0) printNoise()
  if (root !== null) rmSync(root, { recursive: true, force: true })
})

/* ---- what the stacks print ---- */

type Print = (...args: unknown[]) => void

const held: { readonly print: Print; readonly args: readonly unknown[] }[] = []
let isHolding = false

/** Held lines so far, for tests of the fixtures themselves. */
export function heldNoise(): readonly string[] {
  return held.map(({ args }) => args.map(String).join(' '))
}

function isNoise(first: unknown, previous: unknown): boolean {
  if (typeof first === 'string') {
    // multiserver, when a handshake fails: this line, then the error in a call of its own.
    if (first.startsWith('server error, from')) return true
    // ssb-ref, at the first call of each function that it would rather not have.
    if (first.startsWith('Trace: deprecated api used')) return true
    // ssb-ebt, when the other side has none, or goes in the middle.
    return first.startsWith('rpc.ebt.replicate exception') || first.includes('does not support RPC ebt.')
  }
  return first instanceof Error && typeof previous === 'string' && previous.startsWith('server error, from')
}

function holdNoise(): void {
  if (isHolding) return
  isHolding = true
  let previous: unknown
  for (const method of ['error', 'warn'] as const) {
    const print: Print = console[method].bind(console)
    console[method] = (...args: unknown[]) => {
      if (isNoise(args[0], previous)) held.push({ print, args })
      else print(...args)
      previous = args[0]
    }
  }
  // Only if the tests use tape: asking for its harness would make one, which prints an empty report.
  const tape = require.cache[require.resolve('tape')]?.exports as { onFailure(cb: () => void): void } | undefined
  tape?.onFailure(printNoise)
}

function printNoise(): void {
  if (held.length === 0) return
  process.stderr.write('(printed by the stacks up to here:)\n')
  for (const { print, args } of held.splice(0)) print(...args)
}
