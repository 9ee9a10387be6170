/**
 * ssb-conn 6.0.4 on the machine of a simulated world: its own CONN, database, hub, staging, query, scheduler and watches, in
 * the stack that it is used in: ssb-db2 (announced pubs, stored messages), ssb-friends 5 (hops; hangs up on whom we block),
 * ssb-lan (discoveries). It keeps 4 connections to peers that are no rooms, and there are no rooms: that quota is a constant,
 * so in a world of other `slots` it has what it has. Local peers share them.
 *
 * It is not told when a local peer goes (it forgets one that has announced nothing for 10 s) nor when replication is done.
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
  readonly key?: string
  readonly failure?: number
}

interface Conn {
  remember(address: string, data: object): void
  dbPeers(): readonly [address: string, data: Entry][]
  db(): { loaded(): Promise<unknown> }
}

interface ConnScheduler {
  start(): void
}

const FILE = 'conn.json'

let fake: FakeMachine | null = null
/** Of each machine, whatever process runs on it. */
const links = new WeakMap<Map<string, string>, Link>()

/** Known, never tried. */
function stored(route: RouteSpec, at: number): object {
  return { birth: at, type: route.source === 'pub' ? 'pub' : 'internet', key: keyOf(route), autoconnect: true }
}

class SsbConn implements Scheduler {
  private readonly stack: WorldStack
  private readonly log: AccountLog
  private readonly link: Link
  private readonly hops = pushable()
  private readonly discoveries = pushable()
  private readonly announces = pushable()
  private readonly listeners = new Set<(message: unknown) => void>()
  private conn: Conn | null = null

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
    const { spec, disk, clock } = this.machine
    const routes = spec.table.filter(({ isLocal }) => !isLocal)
    disk.set(FILE, JSON.stringify(Object.fromEntries(routes.map((each) => [each.address, stored(each, clock.now())]))))
    for (const { peer } of spec.table) {
      const { id, hops } = spec.peers[peer] as PeerSpec
      this.log.place(id, hops)
    }
  }

  async start(): Promise<void> {
    const { stack, log } = this
    const [CONN, , ConnScheduler] = loadAnew('ssb-conn') as typeof import('ssb-conn')
    if (!CONN || !ConnScheduler) throw new Error('ssb-conn is not what it was')
    this.hops.push({ [stack.id]: 0, ...Object.fromEntries(log.hops) })
    for (const address of log.pubs) this.announces.push(message(address))
    stack.friends = { hopStream: () => this.hops }
    stack.lan = { start: () => {}, stop: () => {}, discoveredPeers: () => this.discoveries }
    const operator = (): null => null
    stack.db = {
      operators: { where: operator, type: operator, live: operator, toPullStream: operator },
      query: () => this.announces,
      onMsgAdded: (listener: (message: unknown) => void) => {
        this.listeners.add(listener)
        return () => this.listeners.delete(listener)
      },
    }
    const config = { path: stack.path, conn: { autostart: false } }
    const conn = new CONN(stack, config) as Conn
    stack.conn = conn
    const scheduler = new ConnScheduler(stack, config) as ConnScheduler
    stack.connScheduler = scheduler
    await conn.db().loaded()
    this.conn = conn
    // As CONN itself does, were it left to start by itself.
    scheduler.start()
  }

  kill(): void {
    this.stack.kill()
    this.listeners.clear()
    this.fake.time.forget()
  }

  learn(route: RouteSpec, hops: PeerSpec['hops']): void {
    const { address } = route
    const key = keyOf(route)
    if (this.log.place(key, hops)) this.hops.push({ [key]: hops })
    if (route.isLocal) this.discoveries.push({ address, verified: true })
    // As an invite does.
    else if (route.source === 'manual') this.conn?.remember(address, { key, type: 'pub', autoconnect: true })
    else if (this.log.announce(address)) this.announces.push(message(address))
  }

  gone(): void {}

  block(id: string): void {
    if (this.log.place(id, -1)) this.hops.push({ [id]: -1 })
    for (const rpc of this.stack.peers[id] ?? []) rpc.close(true)
  }

  signal(signal: 'woke' | 'offline' | 'online' | 'networkChanged'): void {
    // Of sleep the clock tells.
    if (signal === 'offline') this.link.isUp = false
    else if (signal === 'online') this.link.isUp = true
    else if (signal === 'networkChanged') this.link.host++
  }

  received(id: string): void {
    // It only looks when the last one came.
    for (const listener of this.listeners) listener({ kvt: { value: { author: id } } })
  }

  caughtUp(): void {}

  /** A peer stands as well as its best route. */
  errorCounts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>()
    for (const [, { key, failure = 0 }] of this.conn?.dbPeers() ?? [])
      if (key) counts.set(key, Math.min(failure, counts.get(key) ?? failure))
    return counts
  }
}

function message(address: string): object {
  return { value: { content: { type: 'pub', address: announced(address) } } }
}

export const ssbConn: SchedulerModule = {
  name: 'ssb-conn',
  createClock: (): VirtualClock => {
    fake = installFakeMachine()
    return fake.time.clock
  },
  create: (machine) => {
    if (!fake) throw new Error('its clock comes first')
    return new SsbConn(machine, fake)
  },
}
