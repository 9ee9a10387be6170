/**
 * Just enough of a secret-stack for the existing managers to run their own code: an emitter with `connect`, hookable methods
 * and connections that do nothing. And time: they keep it by the globals, so these are replaced by a virtual clock, before
 * the managers are loaded.
 */
import { EventEmitter } from 'events'
import { mkdtempSync, rmSync } from 'fs'
import { tmpdir } from 'os'
import { basename, dirname, join, sep } from 'path'
import { isDeepStrictEqual } from 'util'
import { seededRandom, type VirtualClock, virtualClock } from '../src/testing'
import type { Machine, PeerSpec, RouteSpec, Rpc } from './simulate/types'
import { START_AT } from './world'

/** Of nobody in the table. */
export const OWN_ID = `@${'A'.repeat(43)}=.ed25519`

// ---- time -------------------------------------------------------------------------------------------------------------

interface Timer {
  ref(): Timer
  unref(): Timer
}

export interface FakeTime {
  readonly clock: VirtualClock
  /** How many timers have fired. */
  readonly wakeUps: number
  /** Clears all timers: whoever is done must not go on working, and the existing managers do not clear all of theirs. */
  forget(): void
}

type Callback = (...args: unknown[]) => void

/** Modules with which the existing managers watch the machine. */
const WATCHES = ['on-wakeup', 'on-change-network', 'on-change-network-strict']

/** Replaces `setTimeout`, `setInterval`, `Date.now` and `Math.random`. Promises, `nextTick` and the disk go on as they are. */
function replaceTime(): FakeTime {
  const clock = virtualClock(START_AT)
  const random = seededRandom(1)
  const handles = new Map<Timer, unknown>()
  let wakeUps = 0
  const arm = (timer: Timer, fn: () => void, ms: number, isRepeating: boolean): Timer => {
    const fire = (): void => {
      wakeUps++
      if (isRepeating) arm(timer, fn, ms, true)
      else handles.delete(timer)
      fn()
    }
    handles.set(timer, clock.setTimeout(fire, ms))
    return timer
  }
  const makeTimer = (): Timer => {
    const timer: Timer = { ref: () => timer, unref: () => timer }
    return timer
  }
  const clear = (timer: Timer): void => {
    clock.clearTimeout(handles.get(timer))
    handles.delete(timer)
  }
  Object.assign(globalThis, {
    setTimeout: (fn: Callback, ms = 0, ...args: unknown[]) => arm(makeTimer(), () => fn(...args), ms, false),
    setInterval: (fn: Callback, ms = 0, ...args: unknown[]) => arm(makeTimer(), () => fn(...args), ms, true),
    clearTimeout: clear,
    clearInterval: clear,
  })
  Date.now = () => Math.floor(clock.now())
  Math.random = () => random.next()
  return {
    clock,
    get wakeUps() {
      return wakeUps
    },
    forget: () => {
      for (const timer of [...handles.keys()]) clear(timer)
    },
  }
}

/**
 * Fake time for measurements. Also replaces the modules with which the existing managers watch the machine: how often they
 * look at its network (every second, and every ten for sleep) is no matter of scheduling, and that a test machine has no
 * network must not stop them.
 */
export function installFakeTime(): FakeTime {
  const time = replaceTime()
  const nothing = (): void => {}
  for (const name of WATCHES) stub(name, nothing)
  for (const name of ['has-network', 'has-network2']) stub(name, () => true)
  return time
}

/** What `require(name)` gives from now on, in every module. */
function stub(name: string, exported: unknown): void {
  const path = require.resolve(name)
  require(path)
  const loaded = require.cache[path]
  if (!loaded) throw new Error(`${name} cannot be replaced`)
  loaded.exports = exported
}

// The real one, whatever is put in its place.
const setRealTimeout = globalThis.setTimeout

/** Time of this machine, in which the disk gets on. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setRealTimeout(resolve, ms)
  })
}

/** Waits until nothing is under way on the disk, so that it takes no time in the world. */
export async function diskAtRest(): Promise<void> {
  await settle()
  while (process.getActiveResourcesInfo().some((name) => name.startsWith('FSReq'))) {
    await pause(0)
    await settle()
  }
}

/** Lets promises settle and the disk answer. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

// ---- the stack --------------------------------------------------------------------------------------------------------

type Hook = (this: unknown, fn: (...args: unknown[]) => unknown, args: unknown[]) => unknown
type Hooked = ((...args: unknown[]) => unknown) & { hook(hook: Hook): void }

/** A method that is called as it is: what plugins hook on it is not run. */
function hookable(fn: (...args: unknown[]) => unknown): Hooked {
  return Object.assign(fn, { hook: () => {} })
}

export class FakeRpc extends EventEmitter {
  readonly stream: { readonly address: string; readonly meta: string }
  closed = false
  /** A ping that is never answered: no data passes in these measurements. Null: there are none. */
  readonly gossip: { readonly ping: () => object } | null

  constructor(
    readonly id: string,
    address: string,
    hasPing: boolean,
  ) {
    super()
    this.gossip = hasPing ? { ping: () => ({ source: () => {}, sink: () => {} }) } : null
    this.stream = { address, meta: 'net' }
  }

  close(_error: unknown, cb?: () => void): void {
    this.end()
    cb?.()
  }

  end(): void {
    if (this.closed) return
    this.closed = true
    this.emit('closed')
  }
}

export interface FakeDial {
  readonly address: string
  /** The connection is up: the stack tells its plugins, then whoever dialed. */
  accept(): FakeRpc
  refuse(): void
}

export class FakeStack extends EventEmitter {
  readonly id = OWN_ID
  readonly path: string
  readonly peers: Record<string, unknown[]> = {}
  readonly close = hookable(() => {})
  readonly status = hookable(() => ({}))
  readonly ready = (): boolean => true
  readonly post = (): void => {}
  /** Open connections, oldest first. */
  readonly open = new Set<FakeRpc>()
  /** What becomes of a dial. */
  onDial: (dial: FakeDial) => void = (dial) => void dial.accept();
  /** Other plugins are looked up by name. */
  [plugin: string]: unknown

  /** The existing managers ask every peer for pings. */
  protected readonly hasPings: boolean = true

  /** `path`: where the tables lie; a new folder that goes with the process, unless given. */
  constructor(path?: string) {
    super()
    this.setMaxListeners(0)
    this.path = path ?? mkdtempSync(join(tmpdir(), 'ssb-bench-'))
    if (path === undefined) process.once('exit', () => rmSync(this.path, { recursive: true, force: true }))
  }

  readonly connect = (address: string, cb: (error: unknown, rpc?: unknown) => void): void => {
    this.onDial({
      address,
      accept: () => {
        const key = `@${address.slice(address.lastIndexOf(':') + 1)}.ed25519`
        const rpc = new FakeRpc(key, address, this.hasPings)
        this.open.add(rpc)
        rpc.on('closed', () => this.open.delete(rpc))
        this.emit('rpc:connect', rpc, true)
        cb(null, rpc)
        return rpc
      },
      refuse: () => cb(Object.assign(new Error(`connect ECONNREFUSED ${address}`), { code: 'ECONNREFUSED' })),
    })
  }
}

// ---- the machine of a simulated world -----------------------------------------------------------------------------------

/** Where the files of a simulated machine seem to lie. */
const DISK_PATH = `${sep}simulated`
/** A file of some hundred kilobytes, synced and renamed. */
const WRITE_MS = 20

export interface FakeMachine {
  readonly time: FakeTime
  /** What the modules that watch the network see from now on. */
  setLink(link: Link): void
  /** What is read and written from now on. */
  setDisk(disk: Map<string, string>): void
  /** What is drawn from now on. */
  setRandom(random: { next(): number }): void
}

/** Of a machine's one network interface. */
export interface Link {
  isUp: boolean
  /** Changes with the network. */
  host: number
}

/**
 * Fake time, and around it a machine: the modules that watch it work as they are, on its clock and its interfaces, so that
 * they notice what happens as late as they do. Files are kept in memory: a disk that takes real time would answer hours later.
 */
export function installFakeMachine(): FakeMachine {
  const time = replaceTime()
  let link: Link = { isUp: true, host: 2 }
  let disk = new Map<string, string>()
  const face = (address: string, internal: boolean): object => ({ address, family: 'IPv4', internal })
  Object.assign(require('os') as object, {
    networkInterfaces: () => ({
      lo: [face('127.0.0.1', true)],
      ...(link.isUp ? { wlan0: [face(`192.168.0.${link.host}`, false)] } : {}),
    }),
  })
  replaceFiles(() => disk)
  hurry()
  return {
    time,
    setLink: (next) => {
      link = next
    },
    setDisk: (next) => {
      disk = next
    },
    setRandom: (random) => {
      Math.random = () => random.next()
    },
  }
}

type Done<T> = (error: unknown, result?: T) => void

/** The two modules that read and write the tables as a whole, and the one question that is asked without them. */
function replaceFiles(disk: () => Map<string, string>): void {
  const read = (path: string, cb: Done<string>): void => {
    const text = disk().get(basename(path))
    // Before any time passes: a process that starts is waited for.
    queueMicrotask(() => {
      if (text === undefined) cb(Object.assign(new Error(`ENOENT ${path}`), { code: 'ENOENT' }))
      else cb(null, text)
    })
  }
  const write = (path: string, text: () => string, cb: Done<string>): void => {
    const target = disk()
    // All or nothing, and nothing if the process is killed before.
    setTimeout(() => {
      target.set(basename(path), text())
      cb(null)
    }, WRITE_MS)
  }
  stub('atomic-file-rw', {
    readFile: (path: string, _options: unknown, cb: Done<string>) => read(path, cb),
    writeFile: (path: string, text: string, _options: unknown, cb: Done<string>) => write(path, () => text, cb),
  })
  const ofGossip = require.resolve('atomic-file', { paths: [dirname(require.resolve('ssb-gossip'))] })
  stub(ofGossip, (path: string) => ({
    get: (cb: Done<unknown>) => read(path, (error, text) => (error ? cb(error) : cb(null, JSON.parse(text ?? '[]')))),
    set: (value: unknown, cb: Done<string>) => write(path, () => JSON.stringify(value), cb),
  }))
  const fs = require('fs') as { existsSync(path: string): boolean }
  const { existsSync } = fs
  Object.assign(fs, {
    existsSync: (path: string) =>
      String(path).startsWith(DISK_PATH + sep) ? disk().has(basename(path)) : existsSync(path),
  })
}

/**
 * What their time goes to is measured elsewhere; here a day of theirs is to pass soon. The same answers at less cost: of a
 * regular expression that is asked about each route at each look, and of a comparison of the whole table every ten seconds.
 */
function hurry(): void {
  const addresses = require('multiserver-address') as { check(address: string): boolean }
  const { check } = addresses
  const known = new Map<string, boolean>()
  addresses.check = (address) => {
    const found = known.get(address) ?? check(address)
    known.set(address, found)
    return found
  }
  stub('deep-equal', isDeepStrictEqual)
}

/** The module as a process that starts loads it: what it draws or remembers at its head is new. */
export function loadAnew(name: string): unknown {
  const modules = `${sep}node_modules${sep}`
  for (const path of Object.keys(require.cache)) {
    const [own] = path.slice(path.lastIndexOf(modules) + modules.length).split(sep)
    if (own === name || WATCHES.includes(own ?? '')) delete require.cache[path]
  }
  return require(name)
}

/** A live source: what is pushed comes out, in order. */
export interface Pushable {
  (abort: unknown, cb: unknown): void
  push(value: unknown): void
  end(): void
}

export const pushable = (): Pushable => (require('pull-pushable') as () => Pushable)()

/** One connection, as a secret-stack hands it to its plugins. */
class WorldRpc extends EventEmitter {
  readonly id: string
  readonly stream: { readonly address: string; readonly meta: string }
  readonly gossip = { ping: () => this.ping() }

  constructor(private readonly rpc: Rpc) {
    super()
    this.setMaxListeners(0)
    this.id = rpc.id
    this.stream = { address: rpc.address, meta: 'net' }
  }

  get closed(): boolean {
    return this.rpc.closed
  }

  close(abort: unknown, cb?: (error?: unknown) => void): void {
    this.rpc.close(abort, cb)
  }

  /**
   * The other side's `gossip.ping`, which pubs answer whoever they are. It answers each ping; it sends none itself, as it would
   * five minutes after the first: nobody decides anything by those.
   */
  private ping(): object {
    const source = pushable()
    this.once('closed', () => source.end())
    const { drain } = require('pull-stream') as { drain(each: () => void): unknown }
    return { source, sink: drain(() => void this.rpc.ping().then(() => source.push(Date.now()))) }
  }
}

/** A stack whose dials go out into a simulated world. */
export class WorldStack extends EventEmitter {
  readonly id: string
  readonly path = DISK_PATH
  readonly peers: Record<string, WorldRpc[]> = {}
  readonly close = hookable(() => {})
  readonly status = hookable(() => ({}))
  readonly ready = (): boolean => true
  private isRunning = true;
  /** Other plugins are looked up by name. */
  [plugin: string]: unknown

  constructor(private readonly machine: Machine) {
    super()
    this.setMaxListeners(0)
    this.id = machine.ownId
  }

  readonly connect = (address: string, cb: (error: unknown, rpc?: unknown) => void): void => {
    if (!this.isRunning) return
    this.machine.dial(address, (error, rpc) => {
      if (!this.isRunning) return
      if (rpc) cb(null, this.accept(rpc))
      else cb(error)
    })
  }

  /** Nobody hears of anything any more. */
  kill(): void {
    this.isRunning = false
    this.removeAllListeners()
  }

  private accept(underlying: Rpc): WorldRpc {
    const rpc = new WorldRpc(underlying)
    const { id } = rpc
    this.peers[id] = [...(this.peers[id] ?? []), rpc]
    underlying.on('closed', () => {
      if (!this.isRunning) return
      this.peers[id] = (this.peers[id] ?? []).filter((each) => each !== rpc)
      rpc.emit('closed')
    })
    this.emit('rpc:connect', rpc, true)
    return rpc
  }
}

/** What the account's log holds that bears on connections: how far each peer is in the social graph, and announced pubs. */
export class AccountLog {
  readonly hops = new Map<string, number>()
  readonly pubs = new Set<string>()

  constructor(private readonly disk: Map<string, string>) {
    for (const line of (disk.get(LOG_FILE) ?? '').split('\n')) {
      const [kind, subject = '', hops] = line.split(' ')
      if (kind === 'hops') this.hops.set(subject, Number(hops))
      else if (kind === 'pub') this.pubs.add(subject)
    }
  }

  /** False if nothing changes. */
  place(id: string, hops: PeerSpec['hops'] | -1): boolean {
    if (hops === null || this.hops.get(id) === hops || this.hops.get(id) === -1) return false
    this.hops.set(id, hops)
    this.append(`hops ${id} ${hops}`)
    return true
  }

  /** False if it was before. */
  announce(address: string): boolean {
    if (this.pubs.has(address)) return false
    this.pubs.add(address)
    this.append(`pub ${address}`)
    return true
  }

  private append(line: string): void {
    this.disk.set(LOG_FILE, `${this.disk.get(LOG_FILE) ?? ''}${line}\n`)
  }
}

const LOG_FILE = 'log'

/** The address in a message that announces a pub. */
export function announced(address: string): { readonly host: string; readonly port: number; readonly key: string } {
  const found = /^\w+:(?:\/\/)?(.+):(\d+)~shs:([^:]+)$/.exec(address)
  if (!found) throw new Error(`${address} is no address of a pub`)
  return { host: found[1] as string, port: Number(found[2]), key: `@${found[3]}.ed25519` }
}

export function keyOf({ address }: RouteSpec): string {
  return announced(address).key
}
