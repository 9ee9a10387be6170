/**
 * A world of many managers on one virtual clock and one simulated network. A seed draws everything: who knows whom, what
 * fails and when, what the users do. First comes a phase of faults, then a calm one in which all must converge.
 *
 * The world acts and tells; it judges nothing. Checkers (checkers.ts) listen to what it tells, to the network and to the
 * public API of the managers.
 */
import { createHash } from 'crypto'

import type { Action } from '../../src/core/actions'
import type { MaxByType } from '../../src/core/options'
import type { Address, FeedId, Priority } from '../../src/core/types'
import { type ConnectionChange, type ConnectionManager, createManager, type ManagerOptions } from '../../src/manager'
import {
  type Clock,
  type DialFault,
  type FaultSelector,
  type LinkState,
  type NetworkEvent,
  type SimulatedConnection,
  type SimulatedNetwork,
  type SimulatedNode,
  seededRandom,
  simulatedFeedId,
  simulatedNetwork,
  type VirtualClock,
  virtualClock,
} from '../../src/testing'
import { collect } from './eventually'

export const SECOND = 1000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE

/** How often checkers may look at the whole. */
const SAMPLE_MS = 30 * SECOND
/** Timers that one host may have fired in all; more is a loop. */
const MAX_FIRED_PER_HOST = 1_000_000

// ---- chance -----------------------------------------------------------------------------------------------------------

/** Draws of one process. Processes have streams of their own, so that a change in one does not shift all others. */
export class Dice {
  private readonly random: { next(): number }

  constructor(seed: number) {
    this.random = seededRandom(seed)
  }

  next(): number {
    return this.random.next()
  }

  fork(): Dice {
    return new Dice(Math.floor(this.next() * 2 ** 32))
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  /** A whole number, both bounds included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  /** Spread evenly over orders of magnitude: times of seconds occur as often as times of hours. */
  time(minMs: number, maxMs: number): number {
    return Math.round(minMs * (maxMs / minMs) ** this.next())
  }

  /** The pause before the next event of a process without memory. */
  pause(meanMs: number): number {
    return Math.max(1, Math.round(-Math.log(1 - this.next()) * meanMs))
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)] as T
  }

  pickOrNull<T>(list: readonly T[]): T | null {
    return list.length > 0 ? this.pick(list) : null
  }

  weighted<T>(rows: readonly (readonly [weight: number, value: T])[]): T {
    let left = this.next() * rows.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, value] of rows) {
      left -= weight
      if (left < 0) return value
    }
    return (rows[rows.length - 1] as readonly [number, T])[1]
  }

  shuffled<T>(list: readonly T[]): T[] {
    const rest = [...list]
    const result: T[] = []
    while (rest.length > 0) result.push(...rest.splice(this.int(0, rest.length - 1), 1))
    return result
  }
}

// ---- machines ---------------------------------------------------------------------------------------------------------

interface MachineTimer {
  fn: () => void
  dueAt: number
  leftMs: number
  handle: unknown
}

/** The clock of one machine: its wall clock may jump, and while it sleeps no timer runs, though the wall clock goes on. */
export class MachineClock implements Clock {
  offsetMs = 0
  isAsleep = false
  fired = 0
  private readonly timers = new Map<number, MachineTimer>()
  private lastId = 0

  constructor(private readonly base: VirtualClock) {}

  readonly now = (): number => this.base.now() + this.offsetMs

  readonly setTimeout = (fn: () => void, ms: number): number => {
    const id = ++this.lastId
    const timer: MachineTimer = { fn, dueAt: 0, leftMs: Math.max(0, ms), handle: null }
    this.timers.set(id, timer)
    if (!this.isAsleep) this.arm(id, timer)
    return id
  }

  readonly clearTimeout = (id: unknown): void => {
    const timer = this.timers.get(id as number)
    if (!timer) return
    this.timers.delete(id as number)
    if (!this.isAsleep) this.base.clearTimeout(timer.handle)
  }

  readonly defer = (fn: () => void): void => this.base.defer(fn)

  get pending(): number {
    return this.timers.size
  }

  sleep(): void {
    if (this.isAsleep) return
    this.isAsleep = true
    for (const timer of this.timers.values()) {
      timer.leftMs = timer.dueAt - this.base.now()
      this.base.clearTimeout(timer.handle)
    }
  }

  wake(): void {
    if (!this.isAsleep) return
    this.isAsleep = false
    for (const [id, timer] of this.timers) this.arm(id, timer)
  }

  private arm(id: number, timer: MachineTimer): void {
    timer.dueAt = this.base.now() + timer.leftMs
    timer.handle = this.base.setTimeout(() => {
      this.timers.delete(id)
      if (++this.fired > MAX_FIRED_PER_HOST) throw new Error('a manager sets timers without end')
      timer.fn()
    }, timer.leftMs)
  }
}

// ---- what is told -----------------------------------------------------------------------------------------------------

/** What the world does to a host, just before it does it. */
export type Told =
  | { readonly type: 'created'; readonly options: HostOptions }
  | { readonly type: 'started' | 'stopped' | 'closed' }
  | { readonly type: 'routeAdded'; readonly route: RouteTold }
  | { readonly type: 'routeRemoved'; readonly address: Address }
  | { readonly type: 'prioritised'; readonly peer: FeedId; readonly priority: Priority }
  | { readonly type: 'longTermSet'; readonly peer: FeedId; readonly isLongTerm: boolean }
  | { readonly type: 'maxByTypeSet'; readonly max: MaxByType }
  | { readonly type: 'lifetimeSet'; readonly lifetimeMs: number | null }
  | { readonly type: 'requested'; readonly peer: FeedId }
  | { readonly type: 'requestSettled'; readonly peer: FeedId; readonly error: string | null }
  | { readonly type: 'disconnected'; readonly peer: FeedId }
  | { readonly type: 'syncStarted'; readonly peer: FeedId | null }
  | { readonly type: 'syncStopped' }
  | { readonly type: 'signal'; readonly signal: Signal }
  | { readonly type: 'used'; readonly use: 'transferred' | 'caughtUp' | 'pinged'; readonly peer: FeedId }
  | { readonly type: 'clockJumped'; readonly ms: number }
  | { readonly type: 'slept' | 'woke' }
  /** An outage of the host's own link, and the time after it at which all must be as before. */
  | { readonly type: 'outageBegan'; readonly link: LinkState }
  | { readonly type: 'outageEnded' | 'outageJudged' }

export type Signal = 'woke' | 'networkChanged' | 'online' | 'offline'

export interface RouteTold {
  readonly address: Address
  readonly peer: FeedId
  readonly isLocal: boolean
  readonly source: string
}

/** `judgement` is the moment at the end of the calm; at the `end` all managers have been closed for a while. */
export type Phase = 'faults' | 'calm' | 'judgement' | 'end'

/** `t`: ms since the world began, which no clock jump moves. */
export type WorldEvent =
  | { readonly type: 'told'; readonly t: number; readonly host: Host; readonly told: Told }
  | { readonly type: 'change'; readonly t: number; readonly host: Host; readonly change: ConnectionChange }
  | { readonly type: 'network'; readonly t: number; readonly event: NetworkEvent }
  | { readonly type: 'phase'; readonly t: number; readonly phase: Phase }

export interface Checker {
  readonly name: string
  readonly onEvent?: (event: WorldEvent) => void
  /** Every 30 s of virtual time. */
  readonly onSample?: () => void
}

/** `report` says what was broken; a checker that never does holds. */
export type CheckerFactory = (world: World, report: (text: string) => void) => Checker

// ---- hosts ------------------------------------------------------------------------------------------------------------

/** Policy that a manager of the world is created with. */
export interface HostOptions {
  readonly maxByType: MaxByType
  readonly maxDialing?: number
  readonly maxInbound?: number
  readonly dwellMs?: number
  readonly rotationMinMs?: number
  readonly rotationMaxMs?: number
  readonly visitMs?: number
  readonly visitMinMs?: number
  readonly visitMaxMs?: number
  readonly backoffMaxMs?: { readonly HIGH: number; readonly MEDIUM: number; readonly LOW: number }
}

export interface Host {
  readonly index: number
  readonly name: string
  readonly id: FeedId
  readonly lan: string
  readonly node: SimulatedNode
  readonly clock: MachineClock
  readonly dice: Dice
  options: HostOptions
  /** Null while the process does not run. */
  manager: ConnectionManager | null
  /** Of the present manager. */
  readonly actions: Action[]
  /** What it will be told again when it starts anew. */
  readonly knows: Map<Address, RouteTold>
  /** Whether strangers who are banned are turned away at the door, as the stack's auth hook does. */
  readonly hasAuth: boolean
  isOn: boolean
}

export type ManagerFactory = (options: ManagerOptions, host: Host) => ConnectionManager

export type Kind = 'chaos' | 'outage' | 'crossing' | 'hostile' | 'fairness'

export const KINDS: readonly Kind[] = ['chaos', 'outage', 'crossing', 'hostile', 'fairness']

export interface WorldOptions {
  readonly seed: number
  readonly kind: Kind
  readonly checkers?: readonly CheckerFactory[]
  /** What happens in the world instead of what its kind says. */
  readonly script?: (world: World) => Promise<void>
  /** What to use instead of `createManager`: how checkers are shown managers that are known to be wrong. */
  readonly createManager?: ManagerFactory
  /** Lines of the trace are kept, not only hashed. */
  readonly keepsTrace?: boolean
  /** Time stands still once something was broken: the rest would only cost time. */
  readonly stopsAtFirst?: boolean
}

export interface Outcome {
  readonly violations: readonly string[]
  /** The same for the same seed. */
  readonly hash: string
  readonly trace: readonly string[]
  readonly dials: number
  readonly connections: number
  readonly virtualMs: number
  /** Virtual time times managers. */
  readonly managerMs: number
}

/** More than this says nothing more. */
const MAX_VIOLATIONS = 40
/** No world needs as many; two managers that dial each other at the speed of the network get there. */
const MAX_DIALS = 60_000

export class World {
  readonly dice: Dice
  readonly kind: Kind
  readonly base: VirtualClock
  readonly network: SimulatedNetwork
  readonly hosts: Host[] = []
  readonly hostOf = new Map<FeedId, Host>()
  phase: Phase = 'faults'
  /** All peers have the same merit, so that they must be visited in turn. */
  areEqual = false
  dials = 0
  connections = 0
  private isOver = false
  private readonly stopsAtFirst: boolean
  private readonly checkers: Checker[] = []
  private readonly violations: string[] = []
  private violationCount = 0
  private readonly hash = createHash('sha256')
  private readonly trace: string[] = []
  private readonly keepsTrace: boolean
  private readonly startedAt: number
  private readonly create: ManagerFactory

  constructor(options: WorldOptions, network: { readonly latencyMs?: number | readonly [number, number] } = {}) {
    this.dice = new Dice(options.seed)
    this.kind = options.kind
    this.keepsTrace = options.keepsTrace === true
    this.stopsAtFirst = options.stopsAtFirst === true
    this.base = virtualClock()
    this.startedAt = this.base.now()
    const dice = this.dice.fork()
    this.network = simulatedNetwork({
      clock: this.base,
      random: dice.fork(),
      closeMs: dice.pick([0, 1, 1, 50]),
      keepAliveMs: 2 * MINUTE,
      ...network,
    })
    this.create = options.createManager ?? ((given) => createManager(given))
    for (const factory of options.checkers ?? []) {
      let name = ''
      const checker = factory(this, (text) => this.violated(name, text))
      name = checker.name
      this.checkers.push(checker)
    }
    this.network.onEvent((event) => {
      if (event.type === 'dialed' && ++this.dials === MAX_DIALS) {
        this.violated('world', `${MAX_DIALS} dials`)
        this.isOver = true
      }
      if (event.type === 'opened' && event.direction === 'outbound') this.connections++
      this.tell({ type: 'network', t: this.t, event })
    })
  }

  /** Ms since the world began. */
  get t(): number {
    return this.base.now() - this.startedAt
  }

  private tell(event: WorldEvent): void {
    this.note(event)
    for (const checker of this.checkers) checker.onEvent?.(event)
  }

  violated(name: string, text: string): void {
    if (this.stopsAtFirst) this.isOver = true
    if (++this.violationCount <= MAX_VIOLATIONS) this.violations.push(`${name} at ${clockText(this.t)}: ${text}`)
  }

  /** A feed id as a short name, for people. */
  nameOf(id: FeedId | null): string {
    return id === null ? 'nobody' : (this.hostOf.get(id)?.name ?? id.slice(0, 6))
  }

  private note(event: WorldEvent): void {
    const line = `${event.t} ${this.describe(event)}`
    this.hash.update(line)
    if (this.keepsTrace) this.trace.push(line)
  }

  private describe(event: WorldEvent): string {
    switch (event.type) {
      case 'told':
        return `${event.host.name} told ${JSON.stringify(event.told)}`
      case 'change': {
        const { type, peer, address, direction, reason } = event.change
        return `${event.host.name} says ${type} ${this.nameOf(peer)} ${address} ${direction} ${reason}`
      }
      case 'phase':
        return `phase ${event.phase}`
      case 'network': {
        const seen = event.event
        switch (seen.type) {
          case 'dialed':
            return `${this.nameOf(seen.from)} dials ${this.nameOf(seen.to)} ${seen.address} #${seen.attempt}`
          case 'answered':
            return `#${seen.attempt} of ${this.nameOf(seen.from)} ${seen.error ?? `gives ${seen.connection}`}`
          case 'opened':
            return `${seen.connection} opened at ${this.nameOf(seen.end)} ${seen.direction}`
          default:
            return `${seen.connection} ${seen.type} at ${this.nameOf(seen.end)}`
        }
      }
    }
  }

  // ---- time -----------------------------------------------------------------------------------------------------------

  /** Lets time pass, with a look by the checkers every now and then. */
  async run(ms: number): Promise<void> {
    const end = this.t + ms
    while (this.t < end && !this.isOver) {
      await this.base.advanceAsync(Math.min(SAMPLE_MS - (this.t % SAMPLE_MS), end - this.t))
      if (this.t % SAMPLE_MS === 0) for (const checker of this.checkers) checker.onSample?.()
    }
  }

  at(ms: number, fn: () => void): void {
    this.base.setTimeout(fn, ms)
  }

  /** Calls `fn` again and again, with pauses of `meanMs` on average, for as long as there are faults. */
  process(meanMs: number, fn: (dice: Dice) => void): void {
    const dice = this.dice.fork()
    const next = (): void =>
      this.at(dice.pause(meanMs), () => {
        if (this.phase !== 'faults') return
        fn(dice)
        next()
      })
    next()
  }

  enter(phase: Phase): void {
    this.phase = phase
    this.tell({ type: 'phase', t: this.t, phase })
  }

  // ---- hosts ----------------------------------------------------------------------------------------------------------

  addHost(options: HostOptions, lan: string): Host {
    const dice = this.dice.fork()
    const index = this.hosts.length
    const id = simulatedFeedId(dice)
    const host: Host = {
      index,
      name: `n${index}`,
      id,
      lan,
      node: this.network.addNode({ id, lan }),
      clock: new MachineClock(this.base),
      dice,
      options,
      manager: null,
      actions: [],
      knows: new Map(),
      hasAuth: dice.chance(0.5),
      isOn: false,
    }
    this.hosts.push(host)
    this.hostOf.set(id, host)
    host.node.authorize((caller) => !(host.hasAuth && host.manager?.internal.isBanned(caller)))
    host.node.onInbound((connection) => {
      // Nobody is there to keep it: the process has ended and its port is about to close.
      if (!host.manager || host.manager.internal.isClosed()) return connection.close(true)
      host.manager.peer.remotePeerConnected(connection.id, connection)
    })
    return host
  }

  /** Starts the process of a host: a new manager that is told what the host knows. It is off. */
  boot(host: Host): void {
    if (host.manager) return
    this.told(host, { type: 'created', options: host.options })
    host.actions.length = 0
    const manager = this.create(
      {
        ...host.options,
        connectToPeer: host.node.connectToPeer,
        selfId: host.id,
        clock: host.clock,
        random: seededRandom(host.dice.int(0, 2 ** 31)),
        probe: (connection: unknown) => (connection as SimulatedConnection).ping(),
        onAction: (action: Action) => host.actions.push(action),
      },
      host,
    )
    host.manager = manager
    host.node.goOnline()
    const watched = collect(manager.connections.changes())
    let seen = 0
    // Read as they come: `collect` has them at once, the order among other events is kept by reading after each action.
    manager.internal.store.subscribe(() => {
      while (seen < watched.items.length)
        this.tell({ type: 'change', t: this.t, host, change: watched.items[seen++] as ConnectionChange })
    })
    for (const route of host.knows.values()) this.addRoute(host, route)
  }

  /** Ends the process of a host. `silently`: as a crash or a power cut, else its manager is closed. */
  shutDown(host: Host, silently: boolean): void {
    if (!host.manager) return
    this.wakeUp(host, false)
    this.told(host, { type: 'closed' })
    host.isOn = false
    if (silently) host.node.goOffline({ silently })
    host.manager.close()
    host.manager = null
    host.node.goOffline()
  }

  told(host: Host, told: Told): void {
    this.tell({ type: 'told', t: this.t, host, told })
  }

  start(host: Host): void {
    if (!host.manager) return
    this.told(host, { type: 'started' })
    host.isOn = true
    host.manager.connections.start()
  }

  stop(host: Host): void {
    if (!host.manager) return
    this.told(host, { type: 'stopped' })
    host.isOn = false
    host.manager.connections.stop()
  }

  addRoute(host: Host, route: RouteTold): void {
    if (!host.manager) return
    this.told(host, { type: 'routeAdded', route })
    host.knows.set(route.address, route)
    const { address, isLocal, source } = route
    host.manager.peer.addRoute({ address, isLocal, source })
  }

  removeRoute(host: Host, address: Address): void {
    if (!host.manager) return
    this.told(host, { type: 'routeRemoved', address })
    host.knows.delete(address)
    host.manager.peer.removeRoute({ address })
  }

  setPriority(host: Host, peer: FeedId, priority: Priority): void {
    if (!host.manager) return
    this.told(host, { type: 'prioritised', peer, priority })
    host.manager.peer.setPriority({ id: peer, priority })
  }

  setLongTerm(host: Host, peer: FeedId, isLongTerm: boolean): void {
    if (!host.manager) return
    this.told(host, { type: 'longTermSet', peer, isLongTerm })
    host.manager.peer.setLongTerm({ id: peer, isLongTerm })
  }

  setMaxByType(host: Host, max: MaxByType): void {
    if (!host.manager) return
    this.told(host, { type: 'maxByTypeSet', max })
    host.manager.connections.setMaxByType(max)
  }

  setLifetime(host: Host, lifetimeMs: number | null): void {
    if (!host.manager) return
    this.told(host, { type: 'lifetimeSet', lifetimeMs })
    host.manager.connections.setLifetime(lifetimeMs)
  }

  request(host: Host, peer: FeedId): void {
    const { manager } = host
    if (!manager) return
    this.told(host, { type: 'requested', peer })
    const settled = (error: unknown): void => {
      if (host.manager !== null && host.manager !== manager) return
      const code = error ? String((error as { code?: unknown }).code ?? error) : null
      this.told(host, { type: 'requestSettled', peer, error: code })
    }
    manager.peer.connect({ id: peer }).then(() => settled(null), settled)
  }

  disconnect(host: Host, peer: FeedId): void {
    if (!host.manager) return
    this.told(host, { type: 'disconnected', peer })
    host.manager.peer.disconnect({ id: peer }).catch(() => {})
  }

  startSync(host: Host, peer: FeedId | null): void {
    if (!host.manager) return
    this.told(host, { type: 'syncStarted', peer })
    if (peer === null) host.manager.initialSync.start()
    else host.manager.initialSync.start(peer)
  }

  stopSync(host: Host): void {
    if (!host.manager) return
    this.told(host, { type: 'syncStopped' })
    host.manager.initialSync.stop()
  }

  signal(host: Host, signal: Signal): void {
    if (!host.manager) return
    this.told(host, { type: 'signal', signal })
    host.manager.internal[signal]()
  }

  jump(host: Host, ms: number): void {
    this.told(host, { type: 'clockJumped', ms })
    host.clock.offsetMs += ms
  }

  fallAsleep(host: Host): void {
    if (host.clock.isAsleep) return
    this.told(host, { type: 'slept' })
    host.clock.sleep()
    host.node.suspend()
  }

  /** `tells`: the system adapter notices and says so. */
  wakeUp(host: Host, tells: boolean): void {
    if (!host.clock.isAsleep) return
    this.told(host, { type: 'woke' })
    host.clock.wake()
    host.node.resume()
    if (tells) this.signal(host, 'woke')
  }

  /** Ends the world: every manager is closed, and a while passes in which all must become quiet. */
  async finish(): Promise<Outcome> {
    const virtualMs = this.t
    this.enter('judgement')
    for (const host of this.hosts) {
      this.wakeUp(host, false)
      if (!host.manager) continue
      this.told(host, { type: 'closed' })
      host.isOn = false
      host.manager.close()
    }
    await this.base.advanceAsync(10 * MINUTE)
    this.enter('end')
    const more = this.violationCount - this.violations.length
    return {
      violations: more > 0 ? [...this.violations, `and ${more} more`] : this.violations,
      hash: this.hash.digest('hex'),
      trace: this.trace,
      dials: this.dials,
      connections: this.connections,
      virtualMs,
      managerMs: virtualMs * this.hosts.length,
    }
  }
}

// ---- worlds -----------------------------------------------------------------------------------------------------------

/** The key in a feed id, as addresses spell it. */
export function keyOf(id: FeedId): string {
  return id.slice(1, -'.ed25519'.length)
}

/** A public host that is nobody else's. */
function publicHost(index: number, dice: Dice): string {
  return `44.${index}.${dice.int(1, 250)}.${dice.int(1, 250)}`
}

/** Gives a host the addresses that it listens on. */
function settle(host: Host, dice: Dice, rooms: readonly Host[]): void {
  const key = keyOf(host.id)
  const { node, index, name, lan } = host
  node.listen(`net:${dice.chance(0.3) ? `${name}.example.org` : publicHost(index, dice)}:8008~shs:${key}`)
  if (dice.chance(0.3)) node.listen(`wss://${name}.example.org~shs:${key}`)
  if (dice.chance(0.2)) node.listen(`onion:${name}aaaaaaaaaaaaaa.onion:8008~shs:${key}`)
  const room = dice.pickOrNull(rooms.filter((each) => each !== host))
  if (room && dice.chance(0.3)) node.listen(`tunnel:${room.id}:${host.id}~shs:${key}`)
  node.listen(`net:192.168.${lan.length}.${index + 2}:8008~shs:${key}`)
}

function isLanAddress(address: Address): boolean {
  return address.startsWith('net:192.168.')
}

/** An address at which nobody answers as `peer`: refused, silent, unknown name, or somebody else's. */
function deadAddress(world: World, peer: FeedId, dice: Dice): Address {
  const key = keyOf(peer)
  const other = dice.pick(world.hosts).node.addresses.find((each) => each.startsWith('net:') && !isLanAddress(each))
  const place = (other ?? 'net:44.0.0.1:8008~').split('~')[0] ?? ''
  return dice.weighted<Address>([
    [3, `net:45.${dice.int(0, 250)}.${dice.int(0, 250)}.9:8008~shs:${key}`],
    [2, `net:gone${dice.int(0, 99)}.example.org:8008~shs:${key}`],
    [2, `${place.slice(0, place.lastIndexOf(':'))}:${dice.int(9000, 9999)}~shs:${key}`],
    [2, `${place}~shs:${key}`],
  ])
}

/** Tells a host of routes to another one: some or all of those that work, and some that do not. */
function introduce(world: World, host: Host, other: Host, dice: Dice): void {
  const source = dice.pick(['manual', 'friends', 'stored', 'pub', 'seed'])
  const routes: RouteTold[] = []
  for (const address of other.node.addresses) {
    if (isLanAddress(address)) {
      if (host.lan === other.lan && dice.chance(0.6))
        routes.push({ address, peer: other.id, isLocal: true, source: 'local' })
    } else if (dice.chance(0.7)) {
      routes.push({ address, peer: other.id, isLocal: false, source })
    }
  }
  const deadCount = dice.chance(0.3) ? dice.int(1, 4) : 0
  for (let dead = 0; dead < deadCount; dead++)
    routes.push({ address: deadAddress(world, other.id, dice), peer: other.id, isLocal: false, source })
  for (const route of dice.shuffled(routes)) host.knows.set(route.address, route)
}

/** So short that a calm of an hour and a half is long enough for everybody. */
/** Pauses between two visits of a peer that a world can see the end of. */
export const SHORT_TURNS = { visitMs: MINUTE, visitMinMs: MINUTE, visitMaxMs: 5 * MINUTE }
export const SHORT_BACKOFF = { HIGH: 5 * MINUTE, MEDIUM: 10 * MINUTE, LOW: 20 * MINUTE }

function drawOptions(dice: Dice, isLong: boolean): HostOptions {
  const rotationMinMs = dice.time(20 * SECOND, 3 * MINUTE)
  return {
    maxByType: {
      net: dice.int(1, 4),
      local: dice.int(1, 3),
      wss: dice.int(0, 2),
      onion: dice.int(0, 2),
      tunnel: dice.int(0, 2),
    },
    ...(isLong ? {} : { backoffMaxMs: SHORT_BACKOFF }),
    ...(dice.chance(0.3) ? { maxDialing: dice.int(2, 8) } : {}),
    ...(dice.chance(0.1) ? { maxInbound: dice.int(1, 4) } : {}),
    ...(dice.chance(0.7)
      ? { dwellMs: dice.time(MINUTE, 5 * MINUTE), rotationMinMs, rotationMaxMs: 2 * rotationMinMs }
      : {}),
  }
}

function drawFault(dice: Dice): DialFault {
  return dice.weighted<DialFault>([
    [4, { kind: 'refused' }],
    [3, { kind: 'reset' }],
    [6, { kind: 'silent' }],
    [4, { kind: 'late', afterMs: dice.time(2 * SECOND, 5 * MINUTE) }],
    [4, { kind: 'hangsUp', afterMs: dice.time(1, 10 * MINUTE) }],
    [3, { kind: 'goesSilent', afterMs: dice.time(1, 10 * MINUTE) }],
    [3, { kind: 'halfOpen' }],
    [2, { kind: 'neverCloses' }],
    [2, { kind: 'throws' }],
    [2, { kind: 'rejects' }],
    [2, { kind: 'promise' }],
    [2, { kind: 'both' }],
    [3, { kind: 'twice', second: dice.pick(['same', 'other', 'error']) }],
    [2, { kind: 'error', code: 'ETIMEDOUT', afterMs: 127 * SECOND }],
    [2, { kind: 'error', code: 'EHOSTUNREACH', afterMs: 3 * SECOND }],
    [1, { kind: 'error', code: 'ENETUNREACH', afterMs: 2 }],
    [1, { kind: 'error', code: 'EAI_AGAIN', afterMs: 5 }],
  ])
}

/** What somebody who can publish messages tells everybody who reads them. */
function hostileRoutes(world: World, victim: Host, dice: Dice): RouteTold[] {
  const routes: RouteTold[] = []
  const add = (peer: FeedId, place: string): void => {
    routes.push({ address: `${place}~shs:${keyOf(peer)}`, peer, isLocal: false, source: 'pub' })
  }
  const [target = ''] = (dice.pick(world.hosts).node.addresses[0] ?? '').split('~')
  const count = dice.int(3, 12)
  for (let each = 0; each < count; each++) {
    const stranger = simulatedFeedId(dice)
    switch (dice.int(0, 4)) {
      case 0:
        add(stranger, target)
        break
      case 1:
        add(stranger, dice.pick(['net:127.0.0.1:8008', 'net:10.0.0.1:22', 'net:169.254.1.1:80', 'net:::1:8008']))
        break
      case 2:
        add(dice.pick(world.hosts).id, `net:45.${dice.int(0, 250)}.7.7:${dice.int(1, 65535)}`)
        break
      case 3:
        add(victim.id, target)
        break
      case 4:
        add(stranger, `net:45.9.9.9:${dice.pick([80, 8008])}`)
        break
    }
  }
  return routes
}

const canAct = (host: Host): boolean => host.manager !== null && !host.clock.isAsleep

/** One thing that happens to somebody. */
function mishap(world: World, dice: Dice): void {
  const host = dice.pick(world.hosts)
  const other = dice.pick(world.hosts)
  const known = dice.pickOrNull([...host.knows.values()])
  const forAWhile = (undo: () => void): void =>
    world.at(dice.time(5 * SECOND, 10 * MINUTE), () => {
      // In the calm all of it has been undone already.
      if (world.phase === 'faults') undo()
    })
  const acts: readonly (readonly [number, () => void])[] = [
    [
      22,
      () => {
        const selector = dice.weighted<FaultSelector>([
          [3, { from: host.id, to: other.id }],
          [3, { to: other.id }],
          [3, known ? { address: known.address } : { to: other.id }],
          [1, { from: host.id }],
        ])
        world.network.setFault(selector, drawFault(dice))
        forAWhile(() => world.network.setFault(selector, null))
      },
    ],
    [
      8,
      () => {
        world.shutDown(host, dice.chance(0.3))
        forAWhile(() => {
          world.boot(host)
          world.start(host)
        })
      },
    ],
    [
      8,
      () => {
        const tells = dice.chance(0.5)
        host.node.setLink(dice.pick<LinkState>(['unreachable', 'noDns', 'silent']))
        if (tells && canAct(host)) world.signal(host, 'offline')
        forAWhile(() => {
          host.node.setLink('up')
          if (tells && canAct(host)) world.signal(host, 'online')
        })
      },
    ],
    [
      3,
      () => {
        world.network.partition([world.hosts.filter(() => dice.chance(0.5)).map((each) => each.id)])
        forAWhile(() => world.network.heal())
      },
    ],
    [
      5,
      () => {
        world.fallAsleep(host)
        const tells = dice.chance(0.7)
        forAWhile(() => world.wakeUp(host, tells))
      },
    ],
    [5, () => world.jump(host, dice.time(100, 2 * HOUR) * dice.pick([1, -1]))],
  ]
  const deeds: readonly (readonly [number, () => void])[] = [
    [
      5,
      () => {
        world.stop(host)
        world.at(dice.chance(0.3) ? 0 : dice.time(10, MINUTE), () => {
          if (canAct(host)) world.start(host)
        })
      },
    ],
    [8, () => known && world.setPriority(host, known.peer, dice.pick<Priority>(['HIGH', 'MEDIUM', 'LOW']))],
    [
      5,
      () => {
        if (!known) return
        world.setPriority(host, known.peer, 'BANNED')
        if (dice.chance(0.8))
          forAWhile(() => {
            if (canAct(host)) world.setPriority(host, known.peer, dice.pick<Priority>(['HIGH', 'MEDIUM', 'LOW']))
          })
      },
    ],
    [4, () => known && world.setLongTerm(host, known.peer, dice.chance(0.5))],
    [6, () => world.setMaxByType(host, { [dice.pick(['net', 'local', 'wss', 'onion', 'tunnel'])]: dice.int(0, 5) })],
    [2, () => world.setLifetime(host, dice.chance(0.5) ? null : dice.time(10 * SECOND, 20 * MINUTE))],
    [7, () => known && world.request(host, known.peer)],
    [5, () => known && world.disconnect(host, known.peer)],
    [3, () => known && world.removeRoute(host, known.address)],
    [
      10,
      () => known && world.addRoute(host, { ...known, source: known.isLocal ? 'local' : dice.pick(['room', 'pub']) }),
    ],
    [
      6,
      () => {
        if (other === host) return
        introduce(world, host, other, dice)
        for (const route of host.knows.values()) if (route.peer === other.id) world.addRoute(host, route)
      },
    ],
    [
      4,
      () => {
        for (const route of hostileRoutes(world, host, dice)) world.addRoute(host, route)
      },
    ],
    [
      3,
      () => {
        world.startSync(host, known && dice.chance(0.5) && mayAskFor(host, known.peer) ? known.peer : null)
        forAWhile(() => {
          if (canAct(host)) world.stopSync(host)
        })
      },
    ],
    [4, () => world.signal(host, dice.pick<Signal>(['woke', 'networkChanged', 'online']))],
    [6, () => use(world, host, dice)],
  ]
  if (dice.chance(0.4)) return dice.weighted(acts)()
  if (canAct(host)) dice.weighted(deeds)()
}

function mayAskFor(host: Host, peer: FeedId): boolean {
  return peer !== host.id && host.manager?.internal.isBanned(peer) !== true
}

/** What replication and pings tell of a connection. */
function use(world: World, host: Host, dice: Dice): void {
  const connection = dice.pickOrNull(host.node.connections)
  if (!connection || !host.manager) return
  const how = dice.pick(['transferred', 'caughtUp', 'pinged'] as const)
  const peer = connection.id
  world.told(host, { type: 'used', use: how, peer })
  if (how === 'transferred') host.manager.internal.transferred(peer)
  if (how === 'pinged') host.manager.internal.pinged(peer, dice.int(1, 500), dice.int(-50, 50))
  if (how === 'caughtUp') host.manager.internal.reportProgress({ peer, isCaughtUp: true })
}

/** Everything works again, everybody is there, and nobody touches anything. */
export function calmDown(world: World, dice: Dice): void {
  world.enter('calm')
  world.network.clearFaults()
  world.network.heal()
  for (const host of world.hosts) {
    host.node.setLink('up')
    world.wakeUp(host, true)
    world.boot(host)
    world.stopSync(host)
    world.setLifetime(host, null)
    world.setMaxByType(host, { net: dice.int(1, 4), local: dice.int(1, 3) })
    world.start(host)
  }
}

/** Faults of every kind, then calm. */
async function chaos(world: World): Promise<void> {
  const dice = world.dice.fork()
  const hostCount = 8 + Math.floor(dice.next() ** 4 * 33)
  // The defaults of the backoff need a calm of three hours, which few worlds can afford.
  const isLong = dice.chance(0.15)
  const lans = Array.from({ length: dice.int(1, 4) }, (_, at) => `lan${'.'.repeat(at)}`)
  for (let at = 0; at < hostCount; at++) world.addHost(drawOptions(dice, isLong), dice.pick(lans))
  const rooms = world.hosts.slice(0, 2)
  for (const host of world.hosts) settle(host, dice, rooms)
  const ghosts = Array.from({ length: dice.int(0, 5) }, () => simulatedFeedId(dice))
  const share = dice.pick([0.3, 0.6, 1]) * Math.min(1, 16 / hostCount)
  for (const host of world.hosts) {
    for (const other of dice.shuffled(world.hosts))
      if (other !== host && dice.chance(share)) introduce(world, host, other, dice)
    for (const peer of ghosts) {
      const address = deadAddress(world, peer, dice)
      host.knows.set(address, { address, peer, isLocal: false, source: 'manual' })
    }
  }
  for (const host of world.hosts) {
    world.at(dice.time(1, 30 * SECOND), () => {
      if (world.phase !== 'faults') return
      world.boot(host)
      for (const peer of new Set([...host.knows.values()].map((route) => route.peer))) {
        if (dice.chance(0.3)) world.setPriority(host, peer, dice.pick<Priority>(['HIGH', 'HIGH', 'LOW', 'BANNED']))
        if (dice.chance(0.05)) world.setLongTerm(host, peer, true)
      }
      world.start(host)
    })
  }
  const mishapEveryMs = dice.time(20 * SECOND, 4 * MINUTE)
  world.process(mishapEveryMs / hostCount, (each) => mishap(world, each))
  await world.run(dice.int(10, 30) * MINUTE)
  calmDown(world, dice)
  await world.run(isLong ? 3 * HOUR : 90 * MINUTE)
}

/** Everybody knows everybody, nothing fails, there are slots for all, and all start at about the same time, again and again. */
async function crossing(world: World): Promise<void> {
  const dice = world.dice.fork()
  const hostCount = dice.int(2, 5)
  for (let at = 0; at < hostCount; at++) world.addHost({ maxByType: { net: 50, wss: 50 }, maxDialing: 50 }, 'lan')
  for (const host of world.hosts) {
    const key = keyOf(host.id)
    host.node.listen(`net:${publicHost(host.index, dice)}:8008~shs:${key}`)
    if (dice.chance(0.3)) host.node.listen(`wss://${host.name}.example.org~shs:${key}`)
  }
  for (const host of world.hosts)
    for (const other of world.hosts)
      if (other !== host)
        for (const address of other.node.addresses)
          host.knows.set(address, { address, peer: other.id, isLocal: false, source: 'manual' })
  for (const host of world.hosts) world.boot(host)
  for (let round = 0; round < 12; round++) {
    const spreadMs = dice.pick([0, 0, 20, 200, 2000])
    for (const host of world.hosts) world.at(dice.int(0, spreadMs), () => world.start(host))
    await world.run(2 * MINUTE)
    for (const host of world.hosts) world.stop(host)
    await world.run(2 * MINUTE)
  }
}

/** Networks that are well, until the link of one host is not, for seconds or for days; then it is as if nothing had been. */
async function outage(world: World): Promise<void> {
  const dice = world.dice.fork()
  const hostCount = dice.int(6, 14)
  // A manager that does not know that a caller is a neighbour takes it for proof of its link, unless the system says no.
  const knowsNeighbours = dice.chance(0.8)
  const options = { net: dice.int(2, 4), local: 2, wss: dice.int(0, 2), onion: dice.int(0, 2), tunnel: dice.int(0, 1) }
  for (let at = 0; at < hostCount; at++) world.addHost({ maxByType: options }, at < 3 ? 'lan' : 'lan.')
  for (const host of world.hosts) settle(host, dice, world.hosts.slice(-1))
  for (const host of world.hosts)
    for (const other of world.hosts) {
      if (other === host) continue
      introduce(world, host, other, dice)
      const nearby = other.node.addresses.find(isLanAddress)
      if (knowsNeighbours && nearby && host.lan === other.lan)
        host.knows.set(nearby, { address: nearby, peer: other.id, isLocal: true, source: 'local' })
      // Dead routes fail for reasons of their own, and are not what this is about.
      for (const route of [...host.knows.values()])
        if (route.peer === other.id && !other.node.addresses.includes(route.address)) host.knows.delete(route.address)
    }
  for (const host of world.hosts) world.boot(host)
  for (const host of world.hosts) world.start(host)
  world.enter('calm')
  const [host] = world.hosts as [Host]
  for (let round = 0; round < 3; round++) {
    await world.run(dice.int(10, 40) * MINUTE)
    const how = knowsNeighbours ? dice.pick<LinkState>(['unreachable', 'noDns', 'silent']) : 'unreachable'
    const tells = dice.chance(0.3)
    world.told(host, { type: 'outageBegan', link: how })
    host.node.setLink(how)
    if (tells) world.signal(host, 'offline')
    await world.run(dice.time(10 * SECOND, dice.chance(0.2) ? 72 * HOUR : 2 * HOUR))
    host.node.setLink('up')
    world.told(host, { type: 'outageEnded' })
    const isSignalled = tells || dice.chance(0.5)
    if (isSignalled) world.signal(host, 'online')
    // Without a word the link is found by a probe a minute; five where the system had said that it was gone.
    await world.run(isSignalled ? MINUTE : 3 * MINUTE)
    world.told(host, { type: 'outageJudged' })
  }
}

/** One host that is flooded with what strangers make up, and friends that come and go. */
async function hostile(world: World): Promise<void> {
  const dice = world.dice.fork()
  const hostCount = dice.int(6, 12)
  const max = { net: dice.int(1, 4), wss: 2, local: 2, onion: 1, tunnel: 1 }
  for (let at = 0; at < hostCount; at++) world.addHost({ maxByType: max, backoffMaxMs: SHORT_BACKOFF }, 'lan')
  for (const host of world.hosts) settle(host, dice, [])
  const [victim, ...friends] = world.hosts as [Host, ...Host[]]
  for (const friend of friends) introduce(world, victim, friend, dice)
  for (const host of world.hosts) world.boot(host)
  for (const host of world.hosts) world.start(host)
  world.process(20 * SECOND, (each) => {
    for (const route of hostileRoutes(world, victim, each)) world.addRoute(victim, route)
  })
  world.process(MINUTE, (each) => {
    const friend = each.pick(friends)
    world.shutDown(friend, each.chance(0.5))
    world.at(each.time(10 * SECOND, 10 * MINUTE), () => {
      world.boot(friend)
      world.start(friend)
    })
  })
  await world.run(40 * MINUTE)
  calmDown(world, dice)
  await world.run(90 * MINUTE)
}

/** More peers than slots: all of equal merit, or of every priority, and now and then one that is not there. */
async function fairness(world: World): Promise<void> {
  const dice = world.dice.fork()
  const areEqual = dice.chance(0.5)
  const hostCount = dice.int(8, 16)
  for (let at = 0; at < hostCount; at++) {
    const rotationMinMs = dice.time(3 * SECOND, 8 * SECOND)
    const options: HostOptions = {
      maxByType: { net: dice.int(1, 3) },
      dwellMs: 2 * MINUTE,
      rotationMinMs,
      rotationMaxMs: 2 * rotationMinMs,
      ...SHORT_TURNS,
      backoffMaxMs: SHORT_BACKOFF,
    }
    const host = world.addHost(options, 'lan')
    host.node.listen(`net:${publicHost(at, dice)}:8008~shs:${keyOf(host.id)}`)
  }
  const dead = Array.from({ length: areEqual ? 0 : dice.int(0, 6) }, () => simulatedFeedId(dice))
  // A few of them dial; the others are there to be dialed.
  const dialers = world.hosts.slice(0, 3)
  for (const host of dialers) {
    for (const other of world.hosts)
      for (const address of other === host ? [] : other.node.addresses)
        host.knows.set(address, { address, peer: other.id, isLocal: false, source: 'manual' })
    for (const peer of dead) {
      const address = deadAddress(world, peer, dice)
      host.knows.set(address, { address, peer, isLocal: false, source: 'manual' })
    }
  }
  for (const host of world.hosts) {
    world.boot(host)
    const peers = areEqual ? [] : [...new Set([...host.knows.values()].map((route) => route.peer))]
    for (const peer of peers) world.setPriority(host, peer, dice.pick<Priority>(['HIGH', 'MEDIUM', 'LOW']))
    world.start(host)
  }
  if (areEqual) world.areEqual = true
  world.enter('calm')
  await world.run(4 * HOUR)
}

const SCRIPTS: { readonly [K in Kind]: (world: World) => Promise<void> } = {
  chaos,
  outage,
  crossing,
  hostile,
  fairness,
}

/** Runs one world from beginning to end. */
export async function runWorld(options: WorldOptions): Promise<Outcome> {
  const world = new World(options)
  await (options.script ?? SCRIPTS[options.kind])(world)
  return world.finish()
}

/** `1:02:03.004`. */
export function clockText(ms: number): string {
  const pad = (value: number, width: number): string => String(Math.floor(value)).padStart(width, '0')
  return `${Math.floor(ms / HOUR)}:${pad((ms / MINUTE) % 60, 2)}:${pad((ms / SECOND) % 60, 2)}.${pad(ms % 1000, 3)}`
}
