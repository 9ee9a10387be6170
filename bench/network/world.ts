/**
 * A network of full managers and nobody else: each is made by `createManager`, dials the others over the simulated network, and
 * is told by what it replicates what ssb-ebt would tell it (src/adapters/replication.ts). Time is virtual, a seed draws
 * everything, and the hash of what happened is the same for the same seed.
 *
 * Content is as little as it takes: a feed is a list of messages, a store the highest number that is held of each feed. Where
 * two are connected, what one has and the other wants flows a second later, as a batch. A message may announce addresses.
 *
 * The world measures and judges nothing but its invariants (`violations`); report.ts makes figures of what it wrote down.
 */
import { createHash } from 'crypto'

import type { RouteReport } from '../../src/core/actions'
import { parseAddress } from '../../src/core/address'
import { fromSnapshot, type StoredTables, toSnapshot } from '../../src/core/snapshot'
import type { ParsedRoute, Priority } from '../../src/core/types'
import { type ConnectionManager, createManager } from '../../src/manager'
import {
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
import { Draws } from './draws'
import { DAY, drawPeople, HOUR, MINUTE, type Person, SECOND, type Shape, wantedFeeds } from './people'

/** Promises settle between slices only, as nothing but probes uses any; a probe has 5 s. */
const SLICE_MS = SECOND
const SAMPLE_MS = MINUTE
/** From having a message to sending it on. */
const BATCH_MS = SECOND
/** A batch that meets a broken path is sent again, as a socket would. */
const RESEND_MS = 5 * SECOND
/** As src/adapters/replication.ts looks at a connection. */
const FIRST_CHECK_MS = 30 * SECOND
const RECHECK_MS = 2 * MINUTE
const CHECK_QUIET_MS = 10 * SECOND
/** Two connections of a pair: the manager looks for 3 s which of them the other side means, then hangs up on one. */
const MAX_DOUBLE_MS = 5 * SECOND
/**
 * Of a client, per hour that it is on and per session. A backoff of seconds at the start of each, a visit every 44 s, and the next
 * one sooner where nobody answers.
 */
const MAX_DIALS_PER_HOUR = 150
const MAX_DIALS_PER_SESSION = 60
/** 15:00: most people are awake. */
const STARTS_AT = 15 * HOUR
const BOOT_WITHIN_MS = 10 * MINUTE

export interface Message {
  readonly feed: number
  readonly at: number
  /** By index, whose address it gives. */
  readonly announces: readonly number[]
  readonly isByNewcomer: boolean
  /** Of each follower, in order: what its count of online time was, whether it was on, and the online time it took, or NaN. */
  readonly base: Float64Array
  readonly wasOn: Uint8Array
  readonly delay: Float64Array
  /** When somebody else had it; until then it may go away with its author. */
  firstAt: number | null
}

interface Link {
  readonly number: number
  /** Who dialed. */
  readonly from: Host
  readonly to: Host
  isFromOpen: boolean
  isToOpen: boolean
  isUp: boolean
  upAt: number
  isOver: boolean
  /** What is to be sent, by direction: feeds, or all that is wanted. */
  readonly batches: [Batch | null, Batch | null]
  readonly visit: Visit
}

interface Batch {
  readonly feeds: Set<number>
  isWhole: boolean
}

interface Visit {
  nextCheckAt: number
  isChecking: boolean
  isCaughtUp: boolean
}

export interface Host {
  readonly index: number
  readonly person: Person
  readonly id: string
  readonly route: ParsedRoute | null
  readonly node: SimulatedNode
  readonly draws: Draws
  manager: ConnectionManager | null
  /** Counts the processes that it has had; what was begun for an earlier one ends by itself. */
  session: number
  onSince: number
  onMs: number
  table: StoredTables | null
  readonly have: Int32Array
  readonly wants: Uint8Array
  readonly wanted: readonly number[]
  readonly hops: Uint8Array
  readonly links: Set<Link>
  lastMessageAt: number
  outbound: number
  /** Of this session: when all slots were taken first. */
  fullAt: number | null
  dials: number
  dialedBy: number
  sessions: number
}

/** A time without one of the pubs. */
export interface OutagePlan {
  /** By fame: 0 is the pub with most members. */
  readonly pub: number
  readonly atMs: number
  readonly forMs: number
  /** `refused`: the process is gone. `silent`: the machine is. */
  readonly how: 'refused' | 'silent'
}

export interface Outage extends OutagePlan {
  readonly pubIndex: number
  /** Who was connected, with how many outbound connections; and the session that it was in. */
  readonly before: ReadonlyMap<number, { readonly outbound: number; readonly session: number }>
  /** Ms since the outage began. */
  readonly dialsAt: number[]
  readonly backAt: Map<number, number>
  readonly asManyAt: Map<number, number>
  /** Who went away himself before he had as many. */
  readonly gone: Set<number>
}

export interface WorldOptions extends Shape {
  readonly seed: number
  readonly hours: number
  readonly outages: readonly OutagePlan[]
  readonly newcomersAtMs: number
  /** Policy of every manager. */
  readonly policy?: Readonly<Record<string, unknown>>
  /** Of pubs; null: as many as come. */
  readonly pubMaxInbound?: number | null
}

/** One look at the network, each minute. */
export interface Sample {
  readonly at: number
  readonly clientsOn: number
  /** By pub: connections of either direction, and those that it dialed. */
  readonly pubConnections: readonly number[]
  readonly clientConnections: number
  readonly clientOutbound: number
  readonly clientsAlone: number
}

export class World {
  readonly people: readonly Person[]
  readonly hosts: Host[] = []
  readonly feeds: Message[][] = []
  readonly followers: readonly (readonly number[])[]
  readonly samples: Sample[] = []
  readonly outages: Outage[] = []
  /** Ms from the start of a session until all slots were taken. */
  readonly fills: { readonly host: number; readonly at: number; readonly ms: number; readonly isFirst: boolean }[] = []
  readonly violations: string[] = []
  readonly doubles = { count: 0, longestMs: 0, totalMs: 0 }
  /** By pub and hour. */
  readonly dialsAtPubs: number[][] = []
  dials = 0
  failedDials = 0
  dialsAtPubsCount = 0
  connections = 0
  /** Hung up within a second: dialed for a slot that another dial took. */
  briefConnections = 0
  deliveries = 0
  readonly base: VirtualClock = virtualClock()
  private readonly network: SimulatedNetwork
  private readonly byId = new Map<string, Host>()
  private readonly links = new Map<number, Link>()
  private readonly pairs = new Map<number, { count: number; since: number }>()
  private readonly positions: Map<number, number>[] = []
  private readonly startedAt: number
  private readonly digest = createHash('sha256')
  private lines: string[] = []
  private readonly maxNet: number
  private readonly maxDialing: number

  constructor(readonly options: WorldOptions) {
    const draws = new Draws(options.seed)
    this.startedAt = this.base.now()
    this.people = drawPeople(options, draws.fork())
    const wanted = wantedFeeds(this.people, options.pubHops)
    const followers: number[][] = this.people.map(() => [])
    for (const person of this.people)
      if (person.habit !== 'pub') for (const feed of person.follows) followers[feed]?.push(person.index)
    this.followers = followers
    for (const list of followers) this.positions.push(new Map(list.map((follower, at) => [follower, at])))
    this.network = simulatedNetwork({
      clock: this.base,
      random: seededRandom(draws.seed()),
      latencyMs: [10, 80],
      keepAliveMs: 2 * MINUTE,
    })
    this.network.onEvent((event) => this.heard(event))
    const policy = options.policy ?? {}
    this.maxNet = (policy.maxByType as { net?: number } | undefined)?.net ?? 3
    this.maxDialing = (policy.maxDialing as number | undefined) ?? 8
    const ids = draws.fork()
    for (const person of this.people) this.addHost(person, wanted[person.index] as ReadonlySet<number>, ids)
    for (const host of this.hosts) this.addAnnouncements(host)
    for (const host of this.hosts) if (!host.person.isNewcomer) this.startKnowing(host)
    for (const person of this.people) if (person.habit === 'pub') this.dialsAtPubs.push([])
    for (const host of this.hosts) this.live(host)
    for (const plan of options.outages) this.planOutage(plan)
  }

  /** Ms since the beginning. */
  get t(): number {
    return this.base.now() - this.startedAt
  }

  async run(onHour: (hour: number) => void = () => {}): Promise<void> {
    const end = this.options.hours * HOUR
    while (this.t < end) {
      this.base.advance(Math.min(SLICE_MS, end - this.t))
      for (let turn = 0; turn < 6; turn++) {
        await Promise.resolve()
        this.base.flush()
      }
      if (this.t % SAMPLE_MS === 0) this.sample()
      if (this.t % HOUR === 0) onHour(this.t / HOUR)
    }
    for (const host of this.hosts) this.judgeDials(host)
    for (const [key, { count, since }] of this.pairs)
      if (count > 1 && this.t - since > MAX_DOUBLE_MS) this.violated(`${this.pairOf(key)} since ${since} ms`)
  }

  hash(): string {
    this.digest.update(this.lines.join(''))
    this.lines = []
    return this.digest.copy().digest('hex').slice(0, 16)
  }

  private note(line: string): void {
    if (this.lines.push(`${this.t} ${line}\n`) < 10_000) return
    this.digest.update(this.lines.join(''))
    this.lines = []
  }

  private violated(text: string): void {
    if (this.violations.length < 50) this.violations.push(`at ${(this.t / SECOND).toFixed(3)} s: ${text}`)
  }

  private after(ms: number, fn: () => void): void {
    // Whole ms: the wall clock has no digits for fractions of one.
    this.base.setTimeout(fn, Math.round(ms))
  }

  // ---- who knows what -----------------------------------------------------------------------------------------------

  private addHost(person: Person, wanted: ReadonlySet<number>, ids: Draws): void {
    const { index } = person
    const id = simulatedFeedId(ids)
    const key = id.slice(1, -'.ed25519'.length)
    const draws = ids.fork()
    const address = person.isReachable ? `net:60.${index >> 8}.${index & 255}.1:8008~shs:${key}` : null
    const node = this.network.addNode({ id, addresses: address === null ? [] : [address], isOnline: false })
    const wants = new Uint8Array(this.people.length)
    for (const feed of wanted) wants[feed] = 1
    const hops = new Uint8Array(this.people.length)
    for (const friend of person.follows) {
      hops[friend] = 1
      for (const other of this.people[friend]?.follows ?? []) if (hops[other] === 0) hops[other] = 2
    }
    const host: Host = {
      index,
      person,
      id,
      route: address === null ? null : (parseAddress(address)[0] as ParsedRoute),
      node,
      draws,
      manager: null,
      session: 0,
      onSince: 0,
      onMs: 0,
      table: null,
      have: new Int32Array(this.people.length),
      wants,
      wanted: [...wanted],
      hops,
      links: new Set(),
      lastMessageAt: Number.NEGATIVE_INFINITY,
      outbound: 0,
      fullAt: null,
      dials: 0,
      dialedBy: 0,
      sessions: 0,
    }
    this.hosts.push(host)
    this.byId.set(id, host)
    node.onInbound((connection) => {
      if (!host.manager) return connection.close(true)
      host.manager.internal.accept(connection.id, connection, 'inbound', null)
    })
  }

  /** The first message of each feed: where its author is to be found, and its pubs. */
  private addAnnouncements(host: Host): void {
    const { person, index } = host
    const pubs = person.habit === 'pub' ? [...person.follows].filter((each) => this.isPub(each)) : person.pubs
    const announces = host.route ? [index, ...pubs] : [...pubs]
    const none = new Float64Array(0)
    this.feeds.push([
      {
        feed: index,
        at: -1,
        announces,
        isByNewcomer: person.isNewcomer,
        base: none,
        wasOn: new Uint8Array(0),
        delay: none,
        firstAt: 0,
      },
    ])
    host.have[index] = 1
  }

  /** Who was there before the beginning has read all that there was. */
  private startKnowing(host: Host): void {
    for (const feed of host.wanted) if (this.people[feed]?.isNewcomer !== true) host.have[feed] = 1
  }

  private isPub(index: number): boolean {
    return this.people[index]?.habit === 'pub'
  }

  /** As src/adapters/social.ts: friends, whoever they follow, others. */
  private priorityOf(host: Host, other: number): Priority {
    const hops = host.hops[other]
    return hops === 1 ? 'HIGH' : hops === 2 ? 'MEDIUM' : 'LOW'
  }

  private learn(host: Host, others: readonly number[], source: string): void {
    const { manager } = host
    if (!manager) return
    const reports: RouteReport[] = []
    const fresh: number[] = []
    for (const other of others) {
      const route = this.hosts[other]?.route
      if (!route || other === host.index) continue
      if (!manager.internal.store.getState().routes.has(route.address)) fresh.push(other)
      reports.push({ route, isLocal: false, source, standing: 'stored' })
    }
    if (reports.length === 0) return
    manager.internal.report(reports)
    this.judge(host, fresh)
  }

  private judge(host: Host, others: Iterable<number>): void {
    for (const other of others) {
      const id = this.hosts[other]?.id as string
      host.manager?.peer.setPriority({ id, priority: this.priorityOf(host, other), source: 'social' })
    }
  }

  // ---- coming and going ---------------------------------------------------------------------------------------------

  private isAwake(person: Person): boolean {
    const sinceWaking = (STARTS_AT + this.t - person.wakesAt + 2 * DAY) % DAY
    return sinceWaking < 16 * HOUR
  }

  private live(host: Host): void {
    const { person, draws } = host
    if (person.isNewcomer)
      return this.after(this.options.newcomersAtMs + draws.between(0, MINUTE), () => this.boot(host))
    const isSoon =
      person.habit === 'pub' ||
      person.habit === 'always' ||
      (this.isAwake(person) && draws.chance(person.habit === 'desktop' ? 0.6 : 0.15))
    // Pubs were there before.
    if (isSoon) this.after(person.habit === 'pub' ? 0 : draws.between(SECOND, BOOT_WITHIN_MS), () => this.boot(host))
    else this.rest(host)
  }

  /** Off until the next session. */
  private rest(host: Host): void {
    const { person, draws } = host
    if (person.habit === 'pub' || person.isNewcomer) return
    const isAwake = this.isAwake(person)
    const ms = person.habit === 'phone' ? draws.pause(isAwake ? 35 * MINUTE : 3 * HOUR) : draws.pause(1.5 * HOUR)
    this.after(ms, () => {
      // Desktops sleep while their people do.
      if (person.habit === 'desktop' && !this.isAwake(person)) this.rest(host)
      else this.boot(host)
    })
  }

  private boot(host: Host): void {
    if (host.manager) return
    const { person, draws, node } = host
    const isFirst = host.sessions === 0
    host.session++
    host.sessions++
    host.onSince = this.t
    host.outbound = 0
    host.fullAt = null
    this.note(`on ${host.index}`)
    node.goOnline()
    node.setLink('up')
    const manager = createManager({
      ...(this.options.policy ?? {}),
      ...(person.habit === 'pub' ? { maxInbound: this.options.pubMaxInbound ?? null } : {}),
      connectToPeer: node.connectToPeer,
      selfId: host.id,
      clock: this.base,
      random: seededRandom(draws.seed()),
      probe: (connection: unknown) => (connection as SimulatedConnection).ping(),
    })
    host.manager = manager
    if (host.table) {
      manager.internal.load(host.table)
      const known = new Set<number>()
      for (const { route } of host.table.routes) known.add((this.byId.get(route.peer) as Host).index)
      this.judge(host, known)
    } else {
      this.learn(host, person.pubs, 'invite')
      const announced = new Set<number>()
      for (const feed of host.wanted)
        for (const message of (this.feeds[feed] as Message[]).slice(0, host.have[feed]))
          for (const each of message.announces) announced.add(each)
      this.learn(host, [...announced], 'pub')
    }
    manager.connections.start()
    const { session } = host
    const isStill = (): boolean => host.session === session && host.manager !== null
    if (person.writesEveryMs > 0)
      this.write(host, isStill, person.isNewcomer ? MINUTE : draws.pause(person.writesEveryMs))
    if (person.habit === 'phone') this.flap(host, isStill)
    const lastsMs =
      person.habit === 'desktop'
        ? draws.pause(2.5 * HOUR)
        : person.habit === 'phone'
          ? draws.logBetween(1, 20) * MINUTE
          : null
    if (lastsMs !== null)
      this.after(lastsMs, () => {
        if (!isStill()) return
        this.shutDown(host, person.habit === 'phone' && draws.chance(0.5))
        this.rest(host)
      })
    if (isFirst && person.isNewcomer) this.note(`newcomer ${host.index}`)
  }

  /** `silently`: frozen or killed, so that nobody hears of it. */
  private shutDown(host: Host, silently: boolean): void {
    const { manager } = host
    if (!manager) return
    this.note(`off ${host.index}`)
    for (const { before, asManyAt, gone } of this.outages)
      if (before.get(host.index)?.session === host.session && !asManyAt.has(host.index)) gone.add(host.index)
    host.onMs += this.t - host.onSince
    // What the disk would give back, no more and no less.
    host.table = fromSnapshot(toSnapshot(manager.internal.store.getState(), this.base.now()))
    if (silently) host.node.goOffline({ silently })
    manager.close()
    host.manager = null
    host.node.goOffline()
  }

  /** A phone's link comes and goes. */
  private flap(host: Host, isStill: () => boolean): void {
    const { draws, node } = host
    this.after(draws.pause(10 * MINUTE), () => {
      if (!isStill()) return
      const isKnown = draws.chance(0.5)
      node.setLink(isKnown ? 'unreachable' : 'silent')
      if (isKnown) host.manager?.internal.offline()
      this.after(draws.logBetween(2, 60) * SECOND, () => {
        if (!isStill()) return
        node.setLink('up')
        if (isKnown || draws.chance(0.5)) host.manager?.internal.networkChanged()
        this.flap(host, isStill)
      })
    })
  }

  private planOutage(plan: OutagePlan): void {
    const pub = this.hosts.filter(({ person }) => person.habit === 'pub').sort((a, b) => this.fame(b) - this.fame(a))[
      plan.pub
    ]
    if (!pub) throw new Error(`there is no pub ${plan.pub}`)
    this.after(plan.atMs, () => {
      const before = new Map<number, { outbound: number; session: number }>()
      for (const link of pub.links) {
        const other = link.from === pub ? link.to : link.from
        if (link.isUp && other.person.habit !== 'pub' && link.to === pub)
          before.set(other.index, { outbound: other.outbound, session: other.session })
      }
      const outage: Outage = {
        ...plan,
        pubIndex: pub.index,
        before,
        dialsAt: [],
        backAt: new Map(),
        asManyAt: new Map(),
        gone: new Set(),
      }
      this.outages.push(outage)
      if (plan.how === 'refused') this.network.setFault({ to: pub.id }, { kind: 'refused' })
      this.shutDown(pub, plan.how === 'silent')
      this.after(plan.forMs, () => {
        this.network.setFault({ to: pub.id }, null)
        this.boot(pub)
      })
    })
  }

  private fame(pub: Host): number {
    return this.people.filter(({ pubs }) => pubs.includes(pub.index)).length
  }

  /** Ms that a host has been on, in all. */
  onlineMs(host: Host): number {
    return host.onMs + (host.manager ? this.t - host.onSince : 0)
  }

  // ---- content ------------------------------------------------------------------------------------------------------

  private write(host: Host, isStill: () => boolean, ms: number): void {
    this.after(ms, () => {
      if (!isStill()) return
      const followers = this.followers[host.index] as readonly number[]
      const message: Message = {
        feed: host.index,
        at: this.t,
        announces: [],
        isByNewcomer: host.person.isNewcomer,
        base: new Float64Array(followers.length),
        wasOn: new Uint8Array(followers.length),
        delay: new Float64Array(followers.length).fill(Number.NaN),
        firstAt: null,
      }
      followers.forEach((follower, at) => {
        const other = this.hosts[follower] as Host
        message.base[at] = this.onlineMs(other)
        message.wasOn[at] = other.manager ? 1 : 0
      })
      const feed = this.feeds[host.index] as Message[]
      feed.push(message)
      host.have[host.index] = feed.length
      this.passOn(host, host.index, null)
      const everyMs = host.person.isNewcomer ? 30 * MINUTE : host.person.writesEveryMs
      this.write(host, isStill, host.draws.pause(everyMs))
    })
  }

  /** Something new of a feed: to be sent to all who want it and are connected. */
  private passOn(host: Host, feed: number, except: Host | null): void {
    const held = host.have[feed] as number
    for (const link of host.links) {
      const other = link.from === host ? link.to : link.from
      if (other === except || !link.isUp || other.wants[feed] !== 1 || (other.have[feed] as number) >= held) continue
      this.plan(link, host, feed)
    }
  }

  /** Puts a feed, or with null all that the other wants, into the next batch of a link. */
  private plan(link: Link, sender: Host, feed: number | null): void {
    const direction = sender === link.from ? 0 : 1
    let batch = link.batches[direction]
    if (!batch) {
      batch = { feeds: new Set(), isWhole: false }
      link.batches[direction] = batch
      this.after(BATCH_MS, () => this.send(link, direction))
    }
    if (feed === null) batch.isWhole = true
    else batch.feeds.add(feed)
  }

  private send(link: Link, direction: 0 | 1): void {
    const batch = link.batches[direction]
    if (!batch || !link.isUp) return
    if (link.from.node.link !== 'up' || link.to.node.link !== 'up')
      return this.after(RESEND_MS, () => this.send(link, direction))
    link.batches[direction] = null
    const [sender, receiver] = direction === 0 ? [link.from, link.to] : [link.to, link.from]
    const feeds = batch.isWhole ? receiver.wanted : batch.feeds
    const arrived: number[] = []
    let count = 0
    for (const feed of feeds) {
      const [from, to] = [receiver.have[feed] as number, sender.have[feed] as number]
      if (from >= to) continue
      receiver.have[feed] = to
      arrived.push(feed)
      count += to - from
      for (const message of (this.feeds[feed] as Message[]).slice(from, to)) this.arrive(message, receiver)
    }
    if (arrived.length === 0) return
    this.note(`sent ${sender.index} ${receiver.index} ${arrived.join()}`)
    receiver.lastMessageAt = this.t
    // Only who dialed looks at how a visit goes, as in the adapter.
    if (receiver === link.from) {
      receiver.manager?.internal.transferred(sender.id, count)
      const { visit } = link
      visit.isCaughtUp = false
      visit.nextCheckAt = Math.max(visit.nextCheckAt, this.t + CHECK_QUIET_MS)
      this.check(link)
    }
    for (const feed of arrived) this.passOn(receiver, feed, sender)
  }

  private arrive(message: Message, receiver: Host): void {
    this.deliveries++
    message.firstAt ??= this.t
    const at = this.positions[message.feed]?.get(receiver.index)
    if (at !== undefined && at < message.delay.length)
      message.delay[at] = this.onlineMs(receiver) - (message.base[at] as number)
    if (message.announces.length > 0) this.learn(receiver, message.announces, 'pub')
  }

  /** Looks, when it is due, whether the peer that was dialed has anything more for us. */
  private check(link: Link): void {
    const { visit, from, to } = link
    if (visit.isChecking || visit.isCaughtUp) return
    visit.isChecking = true
    this.after(Math.max(visit.nextCheckAt, from.lastMessageAt + CHECK_QUIET_MS) - this.t, () => {
      visit.isChecking = false
      if (!link.isUp || visit.isCaughtUp) return
      if (this.t - from.lastMessageAt < CHECK_QUIET_MS || this.t < visit.nextCheckAt) return this.check(link)
      visit.nextCheckAt = this.t + RECHECK_MS
      const isDone =
        from.node.link === 'up' && from.wanted.every((feed) => (to.have[feed] as number) <= (from.have[feed] as number))
      if (!isDone) return this.check(link)
      visit.isCaughtUp = true
      from.manager?.internal.reportProgress({ peer: to.id, isCaughtUp: true })
    })
  }

  // ---- what is heard of the network ---------------------------------------------------------------------------------

  private heard(event: NetworkEvent): void {
    switch (event.type) {
      case 'dialed':
        return this.onDialed(event.from, event.to)
      case 'answered':
        if (event.error !== null) this.failedDials++
        return
      case 'opened':
        return this.onOpened(event)
      case 'closing':
      case 'closed':
        return this.onClosed(event.connection, event.end)
      default: {
        const unknown: never = event
        return unknown
      }
    }
  }

  private onDialed(from: string, to: string | null): void {
    const [dialer, target] = [this.byId.get(from) as Host, this.byId.get(to ?? '')]
    this.dials++
    dialer.dials++
    this.note(`dial ${dialer.index} ${target?.index}`)
    if (!target) return this.violated(`${dialer.index} dialed an address of nobody`)
    target.dialedBy++
    if (target.person.habit !== 'pub') return
    this.dialsAtPubsCount++
    const hours = this.dialsAtPubs[target.index] as number[]
    const hour = Math.floor(this.t / HOUR)
    hours[hour] = (hours[hour] ?? 0) + 1
    for (const outage of this.outages) if (outage.pubIndex === target.index) outage.dialsAt.push(this.t - outage.atMs)
  }

  private onOpened(event: Extract<NetworkEvent, { type: 'opened' }>): void {
    const [end, other] = [this.byId.get(event.end) as Host, this.byId.get(event.other) as Host]
    const isDialer = event.direction === 'outbound'
    let link = this.links.get(event.connection)
    if (!link) {
      const visit = { nextCheckAt: 0, isChecking: false, isCaughtUp: false }
      const [from, to] = isDialer ? [end, other] : [other, end]
      link = {
        number: event.connection,
        from,
        to,
        isFromOpen: false,
        isToOpen: false,
        isUp: false,
        upAt: 0,
        isOver: false,
        batches: [null, null],
        visit,
      }
      this.links.set(event.connection, link)
    }
    this.note(`open ${event.connection} ${end.index} ${other.index} ${event.direction}`)
    if (isDialer) link.isFromOpen = true
    else link.isToOpen = true
    this.countPair(end, other, 1)
    if (isDialer) {
      end.outbound++
      this.onOutbound(end)
    }
    if (!link.isFromOpen || !link.isToOpen || link.isOver) return
    link.isUp = true
    link.upAt = this.t
    this.connections++
    link.from.links.add(link)
    link.to.links.add(link)
    this.plan(link, link.from, null)
    this.plan(link, link.to, null)
    link.visit.nextCheckAt = this.t + FIRST_CHECK_MS
    this.check(link)
    for (const outage of this.outages) {
      const client =
        link.to.index === outage.pubIndex ? link.from : link.from.index === outage.pubIndex ? link.to : null
      const ms = this.t - outage.atMs
      if (client && ms >= outage.forMs && !outage.backAt.has(client.index)) outage.backAt.set(client.index, ms)
    }
  }

  private onOutbound(host: Host): void {
    if (host.outbound >= this.maxNet && host.fullAt === null) {
      host.fullAt = this.t
      const isFirst = host.sessions === 1
      this.fills.push({ host: host.index, at: this.t, ms: this.t - host.onSince, isFirst })
    }
    for (const { before, asManyAt, atMs } of this.outages) {
      const was = before.get(host.index)
      if (was?.session === host.session && host.outbound >= was.outbound && !asManyAt.has(host.index))
        asManyAt.set(host.index, this.t - atMs)
    }
  }

  /** Of an end that closes both is told, that it is closing and that it is closed; or only the latter. */
  private onClosed(number: number, endId: string): void {
    const link = this.links.get(number)
    if (!link) return
    const isDialer = link.from.id === endId
    if (isDialer ? !link.isFromOpen : !link.isToOpen) return
    if (isDialer) link.isFromOpen = false
    else link.isToOpen = false
    const [end, other] = isDialer ? [link.from, link.to] : [link.to, link.from]
    this.note(`close ${number} ${end.index}`)
    this.countPair(end, other, -1)
    if (isDialer) end.outbound--
    if (link.isUp && this.t - link.upAt < SECOND) this.briefConnections++
    link.isUp = false
    link.isOver = true
    link.from.links.delete(link)
    link.to.links.delete(link)
    if (!link.isFromOpen && !link.isToOpen) this.links.delete(number)
  }

  /** As an end sees it: how many open connections to one peer. */
  private countPair(end: Host, other: Host, by: 1 | -1): void {
    const key = end.index * this.people.length + other.index
    const pair = this.pairs.get(key) ?? { count: 0, since: 0 }
    pair.count += by
    if (pair.count === 0) this.pairs.delete(key)
    else this.pairs.set(key, pair)
    if (by === 1 && pair.count === 2) pair.since = this.t
    if (by === -1 && pair.count === 1) {
      const ms = this.t - pair.since
      this.doubles.count++
      this.doubles.totalMs += ms
      this.doubles.longestMs = Math.max(this.doubles.longestMs, ms)
      if (ms > MAX_DOUBLE_MS) this.violated(`${this.pairOf(key)} for ${ms} ms`)
    }
  }

  private pairOf(key: number): string {
    return `${Math.floor(key / this.people.length)} had two connections to ${key % this.people.length}`
  }

  // ---- once a minute ------------------------------------------------------------------------------------------------

  private sample(): void {
    const pubConnections: number[] = []
    let clientsOn = 0
    let clientConnections = 0
    let clientOutbound = 0
    let clientsAlone = 0
    for (const host of this.hosts) {
      if (host.person.habit === 'pub') pubConnections.push(host.links.size)
      if (!host.manager) continue
      this.judgeState(host)
      if (host.person.habit === 'pub') continue
      clientsOn++
      clientConnections += host.links.size
      clientOutbound += host.outbound
      if (host.links.size === 0) clientsAlone++
    }
    this.samples.push({ at: this.t, clientsOn, pubConnections, clientConnections, clientOutbound, clientsAlone })
  }

  private judgeState(host: Host): void {
    const state = host.manager?.internal.store.getState()
    if (!state) return
    const connected = state.occupancy.net?.connected ?? 0
    if (connected > this.maxNet) this.violated(`${host.index} has ${connected} connections in ${this.maxNet} slots`)
    if (state.attemptCount > this.maxDialing) this.violated(`${host.index} has ${state.attemptCount} dials in flight`)
    const limit = this.options.pubMaxInbound ?? null
    if (host.person.habit === 'pub' && limit !== null && state.inboundCount > limit)
      this.violated(`${host.index} lets in ${state.inboundCount}, of ${limit}`)
  }

  private judgeDials(host: Host): void {
    const most = (MAX_DIALS_PER_HOUR * this.onlineMs(host)) / HOUR + MAX_DIALS_PER_SESSION * host.sessions
    if (host.dials > most)
      this.violated(`${host.index} dialed ${host.dials} times, at most ${Math.round(most)} expected`)
  }
}
