/**
 * ssb-gossip 1.1.1 on the machine of a simulated world: its own table, scheduler and watches, in the stack that it is used in:
 * ssb-db 1 (announced pubs, stored messages), ssb-friend-pub (marks the pubs of friends), ssb-local (discoveries), ssb-ebt 5
 * (hangs up on whom we block; nobody keeps it from dialing them again).
 *
 * How many connections it keeps is in constants, by groups that overlap and can be turned off but not changed: 3 friends,
 * 2 others that have answered a ping, 3 local ones, and whom it tries in other groups until it has 3. That is about the usual 4
 * without local peers; in a world of other `slots` it has what it has.
 *
 * Marking friends is to its advantage: in the desktop world it misses a third of the messages, without it 70 %. The price is
 * that it dials dead ones among them every quarter of a minute: its backoff is added to the low 32 bits of a date only, and so
 * has no effect.
 */
import type { VirtualClock } from '../../../src/testing'
import {
  AccountLog,
  announced,
  type FakeMachine,
  installFakeMachine,
  keyOf,
  type Link,
  loadAnew,
  pushable,
  WorldStack,
} from '../../fake-stack'
import type { Machine, PeerSpec, RouteSpec, Scheduler, SchedulerModule } from '../types'

interface Entry {
  readonly key: string
  readonly state?: string
  readonly failure?: number
}

interface Gossip {
  peers(): readonly Entry[]
  get(id: string): Entry | undefined
  add(address: string | object, source: string): unknown
  remove(address: object): void
  disconnect(id: string, cb: () => void): void
}

const FILE = 'gossip.json'
/** ssb-friend-pub marks those of whom we follow. */
const FRIEND_HOPS = 1

let fake: FakeMachine | null = null
/** Of each machine, whatever process runs on it. */
const links = new WeakMap<Map<string, string>, Link>()

/** Known, never tried. */
function stored({ address, source }: RouteSpec): object {
  return { address, ...announced(address), source, announcers: 1, duration: null }
}

class SsbGossip implements Scheduler {
  private readonly stack: WorldStack
  private readonly log: AccountLog
  private readonly link: Link
  private readonly announces = pushable()
  private readonly listeners = new Set<(message: unknown) => void>()
  private gossip: Gossip | null = null

  constructor(
    private readonly machine: Machine,
    private readonly fake: FakeMachine,
  ) {
    const { disk } = machine
    this.link = links.get(disk) ?? { isUp: true, host: 2 }
    links.set(disk, this.link)
    fake.setLink(this.link)
    fake.setDisk(disk)
    fake.setRandom(machine.random)
    this.log = new AccountLog(disk)
    this.stack = new WorldStack(machine)
    if (!disk.has(FILE)) this.moveIn()
  }

  /** The first start. */
  private moveIn(): void {
    const { spec, disk } = this.machine
    disk.set(FILE, JSON.stringify(spec.table.filter(({ isLocal }) => !isLocal).map(stored)))
    for (const { peer } of spec.table) {
      const { id, hops } = spec.peers[peer] as PeerSpec
      this.log.place(id, hops)
    }
  }

  async start(): Promise<void> {
    const { stack, log } = this
    const plugin = loadAnew('ssb-gossip') as { init(server: object, config: object): Gossip }
    stack.messagesByType = () => this.announces
    stack.post = (listener: (message: unknown) => void) => void this.listeners.add(listener)
    for (const address of log.pubs) this.announces.push(message(address))
    const gossip = plugin.init(stack, { path: stack.path, gossip: {} })
    // The table is read meanwhile.
    for (let turn = 0; turn < 10; turn++) await Promise.resolve()
    this.gossip = gossip
    for (const { key } of [...gossip.peers()]) this.befriend(key)
  }

  kill(): void {
    this.stack.kill()
    this.listeners.clear()
    this.fake.time.forget()
  }

  learn(route: RouteSpec, hops: PeerSpec['hops']): void {
    const { address, source, isLocal } = route
    const key = keyOf(route)
    this.log.place(key, hops)
    // ssb-local gives the text only; what is local is told by the host, so that such peers would pass for pubs.
    if (isLocal) this.gossip?.add({ address, ...announced(address) }, 'local')
    else if (source === 'manual') this.gossip?.add({ address, ...announced(address) }, 'manual')
    else if (this.log.announce(address)) this.announces.push(message(address))
    if (!isLocal) this.befriend(key)
  }

  private befriend(key: string): void {
    const hops = this.log.hops.get(key)
    if (hops === undefined || hops < 0 || hops > FRIEND_HOPS) return
    const entry = this.gossip?.get(key)
    if (entry) this.gossip?.add({ ...entry }, 'friends')
  }

  gone(route: RouteSpec): void {
    // ssb-local does so, by the key.
    this.gossip?.remove(announced(route.address))
  }

  block(id: string): void {
    this.log.place(id, -1)
    if (this.stack.peers[id]?.length && this.gossip?.get(id)) this.gossip.disconnect(id, () => {})
  }

  signal(signal: 'woke' | 'offline' | 'online' | 'networkChanged'): void {
    // Of sleep the clock tells.
    if (signal === 'offline') this.link.isUp = false
    else if (signal === 'online') this.link.isUp = true
    else if (signal === 'networkChanged') this.link.host++
  }

  received(id: string): void {
    // It only looks when the last one came.
    for (const listener of this.listeners) listener({ value: { author: id } })
  }

  caughtUp(): void {}

  errorCounts(): ReadonlyMap<string, number> {
    return new Map(this.gossip?.peers().map(({ key, failure }) => [key, failure ?? 0]))
  }
}

function message(address: string): object {
  return { content: { type: 'pub', address: announced(address) } }
}

export const ssbGossip: SchedulerModule = {
  name: 'ssb-gossip',
  createClock: (): VirtualClock => {
    fake = installFakeMachine()
    return fake.time.clock
  },
  create: (machine) => {
    if (!fake) throw new Error('its clock comes first')
    return new SsbGossip(machine, fake)
  },
}
