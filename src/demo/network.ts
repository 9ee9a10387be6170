/**
 * Real sbots for the demo, in this process and on loopback: secret-stack, ssb-db2, ssb-ebt, ssb-friends, `/conn`
 * and `/replication-scheduler`.
 * Needs the development dependencies, so it is not part of the published package.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'fs'
import { createServer, type Server, type Socket } from 'net'
import { tmpdir } from 'os'
import { join } from 'path'

import SecretStack = require('secret-stack')

import { loadOrCreateSync } from 'ssb-keys'

import plugins = require('../conn')
import dashboard = require('../dashboard')
import replicationScheduler = require('../replication-scheduler')

import type Manager = require('../index')

/** What an app calls of `sbot.conn`. */
export interface Conn {
  start(): PromiseLike<unknown>
  remember(address: string, data?: object): void
}

/** What the demo asks the replication scheduler. */
export interface Replication {
  status(): { readonly feeds: { readonly requested: number; readonly blocked: number } }
  explain(feed: string): { readonly text: string }
}

/** Where the live page goes if nothing is said. */
export const PAGE_PORT = 8990

type Api = Pick<Manager.ConnectionManager, 'peer' | 'peers' | 'connections' | 'initialSync' | 'priority'>

export interface Sbot {
  readonly name: string
  readonly id: string
  readonly port: number
  readonly path: string
  readonly address: string
  readonly manager: Api
  readonly conn: Conn
  readonly replication: Replication
  /** The live page, if it was asked for. */
  readonly page: dashboard.Api | null
  publish(content: object): Promise<unknown>
  /** The latest sequence number by feed: what this sbot has. */
  clock(): Promise<Record<string, number>>
  close(): Promise<void>
}

interface Stack extends SecretStack.Stack {
  readonly connectionManager: Api
  readonly conn: Conn
  readonly db: { create(options: object, cb: (error: unknown, message?: unknown) => void): void }
  readonly replicationScheduler: Replication
  readonly dashboard?: dashboard.Api
  getVectorClock(cb: (error: unknown, clock?: Record<string, number>) => void): void
}

export function makeFolder(name: string): string {
  return mkdtempSync(join(tmpdir(), `sbot-demo-${name}-`))
}

export function removeFolder(path: string): void {
  rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
}

/** Boots a sbot; with the path and port of an earlier one, the same sbot again. */
export async function bootSbot(options: {
  readonly name: string
  readonly shs: string
  readonly path?: string
  readonly port?: number
  /** Serves the live page there. */
  readonly pagePort?: number
}): Promise<Sbot> {
  const { name, shs } = options
  const path = options.path ?? makeFolder(name)
  const port = options.port ?? (await freePort())
  const keys = loadOrCreateSync(join(path, 'secret'))
  const stack = SecretStack({ caps: { shs } })
  for (const plugin of [
    'ssb-master',
    'ssb-db2/core',
    'ssb-classic',
    'ssb-box',
    'ssb-db2/compat/publish',
    'ssb-db2/compat/ebt',
    'ssb-db2/compat/db',
    'ssb-ebt',
    'ssb-friends',
  ])
    stack.use(require(plugin))
  stack.use(replicationScheduler).use(plugins)
  if (options.pagePort !== undefined) stack.use(dashboard)
  // So that the command line finds it by its folder alone.
  writeFileSync(join(path, 'config'), JSON.stringify({ caps: { shs }, port }))
  const sbot = stack({
    path,
    keys,
    caps: { shs },
    timers: { inactivity: 120_000, handshake: 30_000 },
    connections: {
      incoming: { net: [{ scope: ['device', 'local', 'public'], host: '127.0.0.1', port, transform: 'shs' }] },
      outgoing: { net: [{ transform: 'shs' }] },
    },
    friends: { hops: 2 },
    connectionManager: { maxByType: { net: 5 } },
    // Started when the scene is set. Nobody but these six is to be heard of.
    conn: { autostart: false, populatePubs: false },
    gossip: { local: false },
    ...(options.pagePort === undefined ? {} : { dashboard: { port: options.pagePort } }),
  }) as Stack
  let isClosed = false
  return {
    name,
    id: sbot.id,
    port,
    path,
    address: `net:127.0.0.1:${port}~shs:${sbot.id.slice(1, -'.ed25519'.length)}`,
    manager: sbot.connectionManager,
    conn: sbot.conn,
    replication: sbot.replicationScheduler,
    page: sbot.dashboard ?? null,
    publish: (content) =>
      new Promise((resolve, reject) => {
        sbot.db.create({ keys, feedFormat: 'classic', content }, (error, message) =>
          error ? reject(error) : resolve(message),
        )
      }),
    clock: () =>
      new Promise((resolve, reject) => {
        if (isClosed) return resolve({})
        sbot.getVectorClock((error, clock) => (error ? reject(error) : resolve(clock ?? {})))
      }),
    close: () =>
      new Promise((resolve) => {
        isClosed = true
        sbot.close(true, () => resolve())
      }),
  }
}

/**
 * A message that comes in the moment in which a sbot closes is written by ssb-db2 after its log has been closed. The log throws, where
 * nobody can catch it, and would take the other sbots of this process with it. Anything else ends the process as ever.
 */
export function outliveLateWrites(): void {
  process.on('uncaughtException', (error: unknown) => {
    const { message, stack } = error instanceof Error ? error : new Error(String(error))
    if (message === 'Closed' && stack?.includes('async-append-only-log')) return
    process.stderr.write(`${stack}\n`)
    process.exit(1)
  })
}

/** A port on which nothing listens: `wanted` if that is one. */
export function freePort(wanted = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error) => (wanted === 0 ? reject(error) : resolve(freePort())))
    server.listen(wanted, '127.0.0.1', () => {
      const address = server.address()
      const port = typeof address === 'object' && address ? address.port : 0
      server.close(() => resolve(port))
    })
  })
}

export interface HangingHost {
  readonly port: number
  close(): Promise<void>
}

/** Accepts connections and never says a word: a dial hangs in the handshake. */
export function bootHangingHost(): Promise<HangingHost> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      resolve({
        port: typeof address === 'object' && address ? address.port : 0,
        close: () =>
          new Promise((done) => {
            for (const socket of sockets) socket.destroy()
            server.close(() => done())
          }),
      })
    })
  })
}
