/**
 * Schedulers that do one thing: two that know everything, two that are plain, and some that are wrong, to see whether the
 * simulator notices.
 */
import { virtualClock } from '../../../src/testing'
import { type Machine, MINUTE, type RouteSpec, type Rpc, type Scheduler, type SchedulerModule, SECOND } from '../types'

/** What all of these need: dials by peer, connections by peer, a step now and then. */
abstract class Simple implements Scheduler {
  protected readonly open = new Map<number, { readonly rpc: Rpc; readonly since: number; caughtUpAt: number | null }>()
  protected readonly dialing = new Map<number, number>()
  protected readonly known = new Map<number, RouteSpec[]>()
  protected readonly blockedPeers = new Set<number>()
  private readonly indexOf = new Map<string, number>()
  private timer: unknown = null
  private isRunning = false

  constructor(
    protected readonly machine: Machine,
    private readonly stepMs: number,
  ) {
    for (const { id, index } of machine.spec.peers) this.indexOf.set(id, index)
    for (const route of machine.spec.table) this.know(route)
  }

  protected get now(): number {
    return this.machine.clock.now()
  }

  protected abstract step(): void

  start(): void {
    this.isRunning = true
    this.tick()
  }

  private readonly tick = (): void => {
    if (!this.isRunning) return
    this.step()
    this.timer = this.machine.clock.setTimeout(this.tick, this.stepMs)
  }

  kill(): void {
    this.isRunning = false
    this.machine.clock.clearTimeout(this.timer)
  }

  private know(route: RouteSpec): void {
    const routes = this.known.get(route.peer) ?? []
    if (routes.every(({ address }) => address !== route.address)) this.known.set(route.peer, [...routes, route])
  }

  learn(route: RouteSpec): void {
    this.know(route)
  }

  gone(): void {}

  block(id: string): void {
    const peer = this.indexOf.get(id)
    if (peer === undefined) return
    this.blockedPeers.add(peer)
    this.hangUp(peer)
  }

  signal(signal: string): void {
    if (signal === 'offline') return
    // Whether it is alive is not asked.
    for (const peer of [...this.open.keys()]) if (!this.machine.oracle.isConnected(peer)) this.hangUp(peer)
    this.step()
  }

  received(id: string): void {
    const entry = this.open.get(this.indexOf.get(id) ?? -1)
    if (entry) entry.caughtUpAt = null
  }

  caughtUp(id: string): void {
    const entry = this.open.get(this.indexOf.get(id) ?? -1)
    if (entry) entry.caughtUpAt = this.now
  }

  protected get busy(): number {
    return this.open.size + this.dialing.size
  }

  protected dial(route: RouteSpec): void {
    const { peer, address } = route
    if (this.dialing.has(peer) || this.open.has(peer) || this.blockedPeers.has(peer)) return
    const startedAt = this.now
    this.dialing.set(peer, startedAt)
    const giveUp = this.machine.clock.setTimeout(() => {
      if (this.dialing.get(peer) === startedAt) this.dialing.delete(peer)
    }, 10 * SECOND)
    this.machine.dial(address, (_error, rpc) => {
      this.machine.clock.clearTimeout(giveUp)
      const isLate = this.dialing.get(peer) !== startedAt
      if (!isLate) this.dialing.delete(peer)
      if (!rpc) return
      if (isLate || !this.isRunning || this.blockedPeers.has(peer)) return rpc.close()
      this.open.set(peer, { rpc, since: this.now, caughtUpAt: null })
      rpc.on('closed', () => {
        if (this.open.get(peer)?.rpc === rpc) this.open.delete(peer)
      })
    })
  }

  protected hangUp(peer: number): void {
    const entry = this.open.get(peer)
    this.open.delete(peer)
    entry?.rpc.close()
  }
}

/** Connected to whoever answers, all at once: nobody can beat that. */
class Bound extends Simple {
  protected step(): void {
    for (const { index } of this.machine.spec.peers) {
      const route = this.machine.oracle.routeTo(index)
      if (route) this.dial(route)
    }
  }
}

/**
 * Knows who answers and who has what, of those that it was told of; as many slots as everybody. Greedy: whoever has the oldest
 * first.
 */
class OracleScheduler extends Simple {
  protected step(): void {
    const { oracle, spec } = this.machine
    const known = spec.peers.filter(({ index }) => this.known.has(index))
    const wanted = known
      .map(({ index }) => ({ index, staleness: this.open.has(index) ? 0 : oracle.staleness(index) }))
      .filter(({ index, staleness }) => staleness > 0 && !this.blockedPeers.has(index))
      .sort((a, b) => b.staleness - a.staleness)
    for (const { index } of wanted) {
      if (this.dialing.size >= spec.slots) return
      const route = oracle.routeTo(index)
      if (!route || !this.makeRoom()) continue
      this.dial(route)
    }
    if (this.busy >= spec.slots) return
    // Slots that are left go to those who have something next.
    const next = known
      .filter(({ index }) => !this.open.has(index) && !this.dialing.has(index) && !this.blockedPeers.has(index))
      .map(({ index }) => ({ index, at: oracle.nextAt(index) }))
      .sort((a, b) => a.at - b.at)
    for (const { index } of next) {
      if (this.busy >= spec.slots) return
      const route = oracle.routeTo(index)
      if (route) this.dial(route)
    }
  }

  private makeRoom(): boolean {
    const { oracle, spec } = this.machine
    if (this.busy < spec.slots) return true
    let worst: number | null = null
    let worstAt = 10 * SECOND
    for (const [peer] of this.open) {
      if (oracle.missingAt(peer) > 0) continue
      const at = oracle.nextAt(peer)
      if (at > worstAt) {
        worst = peer
        worstAt = at
      }
    }
    if (worst === null) return false
    this.hangUp(worst)
    return true
  }
}

/** Round and round: each connection for so long, longest ago visited first, failed ones after a pause that doubles. */
class Rotation extends Simple {
  private readonly lastAt = new Map<number, number>()
  private readonly pauses = new Map<number, { step: number; until: number }>()

  constructor(
    machine: Machine,
    private readonly tenureMs: number,
    private readonly slots = machine.spec.slots,
  ) {
    super(machine, SECOND)
  }

  protected step(): void {
    for (const [peer, { since }] of [...this.open]) if (this.now - since >= this.tenureMs) this.hangUp(peer)
    while (this.busy < this.slots) {
      let best: number | null = null
      for (const peer of this.known.keys()) {
        if (this.open.has(peer) || this.dialing.has(peer) || this.blockedPeers.has(peer)) continue
        if ((this.pauses.get(peer)?.until ?? 0) > this.now) continue
        if (best === null || (this.lastAt.get(peer) ?? 0) < (this.lastAt.get(best) ?? 0)) best = peer
      }
      if (best === null) return
      const routes = this.known.get(best) ?? []
      const step = (this.pauses.get(best)?.step ?? 0) + 1
      this.pauses.set(best, { step, until: this.now + Math.min(30 * SECOND * 2 ** step, 120 * MINUTE) })
      this.lastAt.set(best, this.now)
      this.dial(routes[step % routes.length] as RouteSpec)
    }
    for (const peer of this.open.keys()) this.pauses.delete(peer)
  }
}

/** Fills the slots and never lets go. */
class Keeper extends Rotation {
  constructor(machine: Machine) {
    super(machine, Number.POSITIVE_INFINITY)
  }
}

/** Wrong: knows no slots. */
class Greedy extends Rotation {
  constructor(machine: Machine) {
    super(machine, Number.POSITIVE_INFINITY, machine.spec.slots * 4)
  }
}

/** Wrong: the same two peers for ever, whoever they are. */
class Stuck extends Keeper {
  protected override step(): void {
    if (this.open.size < 2) super.step()
  }
}

/** Wrong: does nothing. */
class Idle extends Simple {
  protected step(): void {}
}

/** Wrong: hangs up on nobody who is blocked, and dials whoever it dialed before, without a pause. */
class Rude extends Keeper {
  override block(): void {}
  protected override step(): void {
    super.step()
    for (const routes of this.known.values()) for (const route of routes) if (this.dialing.size < 20) this.dial(route)
  }
}

function moduleOf(name: string, create: (machine: Machine) => Scheduler): SchedulerModule {
  return { name, createClock: () => virtualClock(), create }
}

export const bound = moduleOf('bound', (machine) => new Bound(machine, SECOND))
export const oracle = moduleOf('oracle', (machine) => new OracleScheduler(machine, SECOND))
export const rotation = moduleOf('rotation', (machine) => new Rotation(machine, 3 * MINUTE))
export const keeper = moduleOf('keeper', (machine) => new Keeper(machine))
export const greedy = moduleOf('greedy', (machine) => new Greedy(machine))
export const stuck = moduleOf('stuck', (machine) => new Stuck(machine))
export const idle = moduleOf('idle', (machine) => new Idle(machine, MINUTE))
export const rude = moduleOf('rude', (machine) => new Rude(machine))
