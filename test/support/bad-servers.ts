/**
 * Servers that are down, rude, slow or not who they should be: one for each row of the table of dial failures. All are real
 * listeners on loopback; each counts the TCP connections that reached it and leaves nothing open after `close()`.
 *
 * Those in front of a stack (`wrongKey`, `slowHandshake`, `hangUpAfter`, `flaky`) do not own it: close both.
 */
import { createConnection, createServer, type Server, type Socket } from 'net'
import { Worker } from 'worker_threads'

import type SecretStack = require('secret-stack')

import { generate } from 'ssb-keys'
import { eventually } from './eventually'
import {
  bootStack,
  findFreePort,
  type Stack,
  type StackOptions,
  type Tracked,
  trackAccepted,
  trackDialed,
} from './stack'

export interface BadServer {
  /** Multiserver address, with the key asked for or one that nobody has. */
  readonly address: string
  readonly port: number
  /** TCP connections seen so far. Where nobody accepts any (`refused`, `blackHole`): attempts of this process. */
  connections(): number
  /** When each came, epoch ms. */
  readonly times: readonly number[]
  close(): Promise<void>
}

interface Options {
  /** The key in the address, base64. */
  readonly key?: string
}

/* ---- nobody answers ---- */

/** A port on which nothing listens: ECONNREFUSED at once. */
export async function refused({ key = strangeKey() }: Options = {}): Promise<BadServer> {
  const port = await findFreePort()
  return describe(port, key, trackDialed(port), async () => {})
}

/**
 * A listener whose backlog is full: SYNs get no answer at all, as behind a firewall that drops them. Linux only; elsewhere
 * the surplus may be refused.
 *
 * The listener lives in a worker that blocks its event loop, so that it never accepts, and is filled from here. Dials of
 * this process that still wait are cut at close with ETIMEDOUT: the kernel would hold them, and with them the process, for
 * minutes. On a Node without `connectionAttempt` (before 20.12) they end with the next retransmission instead.
 */
export async function blackHole({ key = strangeKey() }: Options = {}): Promise<BadServer> {
  const port = await findFreePort()
  const worker = new Worker(
    `const { parentPort, workerData } = require('worker_threads')
     require('net').createServer().listen({ port: workerData.port, host: '127.0.0.1', backlog: 1 }, () => {
       parentPort.postMessage('listening')
       Atomics.wait(workerData.never, 0, 0)
     })`,
    { eval: true, execArgv: [], workerData: { port, never: new Int32Array(new SharedArrayBuffer(4)) } },
  )
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
  const filling: Socket[] = []
  while (await isAccepted(port, filling)) {
    if (filling.length > 50) throw new Error('the backlog has no end')
  }
  const dialed = trackDialed(port)
  return describe(port, key, dialed, async () => {
    for (const socket of filling) socket.destroy()
    dialed.destroy(Object.assign(new Error('connect ETIMEDOUT (the black hole was closed)'), { code: 'ETIMEDOUT' }))
    await worker.terminate()
  })
}

/** Loopback answers a SYN in well under a millisecond. The socket stays open, to keep its place in the backlog. */
function isAccepted(port: number, filling: Socket[]): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1')
    const timer = setTimeout(() => resolve(false), 100)
    socket.on('error', () => {})
    socket.once('connect', () => {
      clearTimeout(timer)
      resolve(true)
    })
    filling.push(socket)
  })
}

/* ---- somebody answers who is no SSB peer ---- */

/** Accepts and cuts the connection with a RST, which arrives after the other side has seen itself connected. */
export function reset(options: Options = {}): Promise<BadServer> {
  return listen(options, (socket) => setImmediate(() => socket.resetAndDestroy()))
}

/** Accepts, then says nothing: ends when the one who dials gives up. */
export function hangAfterAccept(options: Options = {}): Promise<BadServer> {
  return listen(options, (socket) => socket.resume())
}

/** Closes in an orderly way `afterMs` after the handshake has begun. */
export function closeMidDial(options: Options & { readonly afterMs?: number } = {}): Promise<BadServer> {
  return listen(options, (socket) => {
    socket.once('data', () => {
      const timer = setTimeout(() => socket.end(), options.afterMs ?? 0)
      socket.once('close', () => clearTimeout(timer))
    })
  })
}

/** Answers with bytes that are no handshake. */
export function garbage(options: Options = {}): Promise<BadServer> {
  return listen(options, (socket) => {
    socket.resume()
    socket.write(
      'HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nWhat is it you want?\n',
    )
  })
}

async function listen({ key = strangeKey() }: Options, onSocket: (socket: Socket) => void): Promise<BadServer> {
  const port = await findFreePort()
  const accepted = trackAccepted(port)
  const server = await startServer(port, (socket) => {
    socket.on('error', () => {})
    onSocket(socket)
  })
  return describe(port, key, accepted, () => {
    accepted.destroy()
    return stopServer(server)
  })
}

/* ---- an SSB peer, but the wrong one ---- */

/** The address of a stack with the key of somebody else. */
export async function wrongKey(stack: Stack, { key = strangeKey() }: Options = {}): Promise<BadServer> {
  return describe(stack.port, key, trackAccepted(stack.port), async () => {})
}

/** A stack, with its true key, in another network. */
export async function wrongNetwork(options: Pick<StackOptions, 'version'>): Promise<BadServer> {
  const stack = await bootStack({ ...options, name: 'elsewhere', shs: strangeKey() })
  return describe(stack.port, keyOf(stack), trackAccepted(stack.port), () => stack.close())
}

/* ---- an SSB peer on a bad line ---- */

/** A proxy in front of a stack that lets nothing through for the first `ms` of each connection. */
export function slowHandshake(stack: Stack, ms: number): Promise<BadServer> {
  return proxy(stack, ms).then(({ server }) => server)
}

/** Makes a stack hang up `ms` after each connection that it accepts. */
export async function hangUpAfter(stack: Stack, ms: number): Promise<BadServer> {
  const timers = new Set<NodeJS.Timeout>()
  const onConnect = (rpc: SecretStack.Rpc, isClient: boolean) => {
    if (isClient) return
    const timer = setTimeout(() => {
      timers.delete(timer)
      rpc.close(true)
    }, ms)
    timers.add(timer)
  }
  stack.ssb.on('rpc:connect', onConnect)
  return describe(stack.port, keyOf(stack), trackAccepted(stack.port), async () => {
    stack.ssb.removeListener('rpc:connect', onConnect)
    for (const timer of timers) clearTimeout(timer)
  })
}

export interface Flaky extends BadServer {
  /** Drops every connection and refuses new ones. */
  off(): Promise<void>
  /** Accepts and forwards again, after `off` or `freeze`. What came while frozen is delivered, if its sockets still live. */
  on(): Promise<void>
  /** Forwards nothing more and answers nobody, but keeps all sockets open and goes on accepting: a dead link. */
  freeze(): void
}

/** A proxy in front of a stack that can be switched. Starts switched on. */
export async function flaky(stack: Stack): Promise<Flaky> {
  const { server, ...switches } = await proxy(stack, 0)
  return { ...server, ...switches }
}

interface Proxy extends Omit<Flaky, keyof BadServer> {
  readonly server: BadServer
}

interface Pair {
  readonly near: Socket
  /** None while the delay lasts. */
  far: Socket | null
  readonly timer: NodeJS.Timeout
}

async function proxy(stack: Stack, delayMs: number): Promise<Proxy> {
  const port = await findFreePort()
  const accepted = trackAccepted(port)
  const pairs = new Set<Pair>()
  let isFrozen = false
  let server: Server | null = null

  const cut = (pair: Pair) => {
    clearTimeout(pair.timer)
    pair.near.destroy()
    pair.far?.destroy()
    pairs.delete(pair)
  }

  const watch = (pair: Pair, socket: Socket) => {
    socket.on('error', () => {})
    // Frozen, the loss of one side is kept from the other.
    socket.once('close', () => {
      if (!isFrozen) cut(pair)
    })
  }

  const join = (pair: Pair) => {
    const far = createConnection({ port: stack.port, host: '127.0.0.1', allowHalfOpen: true })
    pair.far = far
    watch(pair, far)
    far.on('data', (chunk) => pair.near.write(chunk)).on('end', () => pair.near.end())
    pair.near.on('data', (chunk) => far.write(chunk)).on('end', () => far.end())
    pair.near.resume()
  }

  const onSocket = (near: Socket) => {
    near.pause()
    const timer = setTimeout(() => {
      if (!isFrozen) join(pair)
    }, delayMs)
    const pair: Pair = { near, far: null, timer }
    pairs.add(pair)
    watch(pair, near)
  }

  const off = async () => {
    for (const pair of pairs) cut(pair)
    const stopping = server
    server = null
    if (stopping !== null) await stopServer(stopping)
  }

  const on = async () => {
    server ??= await startServer(port, onSocket)
    if (!isFrozen) return
    isFrozen = false
    for (const pair of pairs) {
      if (pair.near.destroyed || pair.far?.destroyed) cut(pair)
      else if (pair.far === null) join(pair)
      else {
        pair.near.resume()
        pair.far.resume()
      }
    }
  }

  const freeze = () => {
    isFrozen = true
    for (const { near, far } of pairs) {
      near.pause()
      far?.pause()
    }
  }

  await on()
  return { server: describe(port, keyOf(stack), accepted, off), off, on, freeze }
}

/* ---- common ---- */

function describe(port: number, key: string, tracked: Tracked, stop: () => Promise<void>): BadServer {
  let stopping: Promise<void> | null = null
  return {
    address: `net:127.0.0.1:${port}~shs:${key}`,
    port,
    connections: () => tracked.times.length,
    times: tracked.times,
    close: () => {
      stopping ??= stop().finally(tracked.stop)
      return stopping
    },
  }
}

/** A key that no stack has. (Of any 32 bytes, half are no point on the curve, and fail earlier.) */
export function strangeKey(): string {
  return generate().public.replace('.ed25519', '')
}

function keyOf(stack: Stack): string {
  return stack.id.slice(1, -'.ed25519'.length)
}

async function startServer(port: number, onSocket: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, onSocket)
  // The port may still be in use for a moment by the listener that was here before.
  await eventually(
    () =>
      new Promise((resolve) => {
        server.once('error', () => resolve(false))
        server.listen(port, '127.0.0.1', () => resolve(true))
      }),
    { message: `listens on port ${port}` },
  )
  return server
}

function stopServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}
