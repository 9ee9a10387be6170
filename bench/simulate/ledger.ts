/** What happened in a world, and the figures that follow from it. */
import { ageWithin, contains, lengthWithin } from './intervals'
import { HOUR, type Intervals, MINUTE, type RouteSpec, SECOND, type Time, type WorldSpec } from './types'

/** From here on a world is in its steady state. */
const SETTLED_AFTER = 6 * HOUR
/** Younger dials are in flight by anybody's count; older ones only hold a socket. */
const IN_FLIGHT_MS = 10 * SECOND
/** A peer that could be reached for so long, while we could reach anybody, counts as live. */
const LIVE_MS = HOUR
/** Up for this share of the time: nothing but the scheduler makes it wait. */
const ALWAYS_UP = 0.95

interface DialRecord {
  readonly route: RouteSpec | null
  readonly at: Time
  endedAt: Time
  hasOpened: boolean
}

interface ConnectionRecord {
  readonly peer: number
  readonly route: RouteSpec
  readonly openedAt: Time
  closedAt: Time
}

interface Interruption {
  readonly at: Time
  resumedAt: Time | null
  /** Connections just before. */
  readonly count: number
  recoveredAt: Time | null
}

/** All times in ms, shares from 0 to 1; null where the world has nothing to measure it by. */
export interface Figures {
  /** Of the oldest undelivered message of a followed feed, over feeds and answerable time. Counted from when it was to be had first. */
  readonly meanAge: number
  /** From the post. */
  readonly meanDelay: number | null
  readonly undelivered: number
  readonly liveVisited: number | null
  /** From the first start to as many connections as there are slots, or peers that answer. */
  readonly fill: number | null
  /** The same after later starts; the median. */
  readonly warmFill: number | null
  /** 95th percentile over interruptions that are no new starts. Infinity: some never recovered before the next one. */
  readonly recovery: number | null
  readonly worseOff: number | null
  readonly slotUse: number
  readonly deadDials: number | null
  readonly dials: number | null
  readonly wasted: number | null
  readonly inFlight: number
  readonly sockets: number
  /** Time in which a peer had two connections. */
  readonly doubled: number
  readonly lanVisits: number | null
  readonly blockedFor: number | null
  readonly attackerDials: number | null
  readonly attackerTime: number | null
  /** Longest wait of a peer that was always up, by candidates ÷ slots × tenure. */
  readonly wait: number | null
}

export class Ledger {
  private readonly dials = new Map<number, DialRecord>()
  private readonly connections = new Map<number, ConnectionRecord>()
  private readonly open = new Map<number, ConnectionRecord>()
  private readonly interruptions: Interruption[] = []
  private readonly visits: { readonly peer: number; readonly from: Time; readonly to: Time }[] = []
  private readonly blocks: { readonly peer: number; readonly at: Time }[] = []
  private before: ReadonlyMap<string, number> | null = null
  private worse: number | null = null
  private ageSum = 0
  private delaySum = 0
  private deliveredCount = 0
  private lastDelivery: Time[]
  private filledAt: Time | null = null
  private endedAt: Time = 0
  private lost = 0

  /** Those that can always be filled: local ones are apart for when somebody is there. */
  private readonly slots: number

  constructor(
    private readonly spec: WorldSpec,
    private readonly answerable: Intervals,
    private readonly firstToBeHad: readonly Float64Array[],
  ) {
    this.slots = spec.slots - spec.localSlots
    this.lastDelivery = spec.feeds.map(() => 0)
  }

  dialed(number: number, route: RouteSpec | null, at: Time): void {
    this.dials.set(number, { route, at, endedAt: Number.POSITIVE_INFINITY, hasOpened: false })
  }

  dialEnded(number: number, at: Time): void {
    const dial = this.dials.get(number)
    if (dial) dial.endedAt = at
  }

  opened(number: number, peer: number, route: RouteSpec, at: Time): void {
    const record: ConnectionRecord = { peer, route, openedAt: at, closedAt: Number.POSITIVE_INFINITY }
    this.connections.set(number, record)
    this.open.set(number, record)
    const dial = this.dials.get(number)
    if (dial) dial.hasOpened = true
  }

  /** After a dial that succeeded, and whatever the scheduler did at once because of it. */
  settled(at: Time): void {
    if (this.filledAt === null && this.open.size >= this.reachable(at)) this.filledAt = at
    const last = this.interruptions[this.interruptions.length - 1]
    if (
      last &&
      last.resumedAt !== null &&
      last.recoveredAt === null &&
      this.open.size >= Math.min(last.count, this.reachable(at))
    )
      last.recoveredAt = at
  }

  /** As many connections as there can be now. */
  private reachable(at: Time): number {
    let count = 0
    for (const peer of this.spec.peers) {
      if (peer.isAttacker || (peer.behaviour !== 'serves' && peer.behaviour !== 'idle')) continue
      if (contains(peer.up, at) && peer.routes.some(({ isAlive, isLocal }) => isAlive && !isLocal)) count++
      if (count >= this.slots) break
    }
    return Math.max(1, Math.min(count, this.slots))
  }

  closed(number: number, at: Time): void {
    const record = this.open.get(number)
    if (!record) return
    record.closedAt = at
    this.open.delete(number)
  }

  delivered(feed: number, from: number, to: number, at: Time): void {
    const first = this.firstToBeHad[feed] as Float64Array
    const posts = this.spec.feeds[feed]?.posts ?? []
    let since = this.lastDelivery[feed] as number
    for (let seq = from; seq < to; seq++) {
      const hadAt = Math.min(first[seq] as number, at)
      this.addAge(hadAt, since, at)
      since = at
      const posted = posts[seq] as number
      if (posted < 0) continue
      this.delaySum += at - posted
      this.deliveredCount++
    }
    this.lastDelivery[feed] = at
  }

  private addAge(hadAt: Time, since: Time, until: Time): void {
    const from = Math.max(hadAt, since, 0)
    // The past of a fresh install is as old as the world at most: how long ago we were born is nobody's merit.
    if (until > from) this.ageSum += ageWithin(this.answerable, Math.max(hadAt, 0), from, until)
  }

  visited(peer: number, from: Time, to: Time): void {
    this.visits.push({ peer, from, to })
  }

  blocked(peer: number, at: Time): void {
    this.blocks.push({ peer, at })
  }

  interrupted(at: Time, count: number, errorCounts: ReadonlyMap<string, number> | null): void {
    this.interruptions.push({ at, resumedAt: null, count, recoveredAt: null })
    this.before = errorCounts
  }

  resumed(at: Time): void {
    const last = this.interruptions[this.interruptions.length - 1]
    if (last) last.resumedAt = at
  }

  /** Counts who has more failures than before the interruption, of those whom a dial would reach. */
  judged(errorCounts: ReadonlyMap<string, number> | null, isReachable: (address: string) => boolean): void {
    if (!this.before || !errorCounts) return
    let worse = 0
    for (const [address, count] of errorCounts)
      if (count > (this.before.get(address) ?? 0) && isReachable(address)) worse++
    this.worse = (this.worse ?? 0) + worse
  }

  end(at: Time, have: readonly number[]): void {
    this.endedAt = at
    for (const record of this.open.values()) record.closedAt = at
    this.firstToBeHad.forEach((first, feed) => {
      const next = have[feed] as number
      const hadAt = first[next]
      if (hadAt !== undefined && hadAt < at) this.addAge(hadAt, this.lastDelivery[feed] as number, at)
      for (let seq = next; seq < first.length; seq++) if ((first[seq] as number) < at) this.lost++
    })
  }

  // ---- figures ------------------------------------------------------------------------------------------------------

  figures(): Figures {
    const answerableMs = lengthWithin(this.answerable, 0, this.endedAt)
    const dials = [...this.dials.values()]
    const connections = [...this.connections.values()]
    const settledHours = lengthWithin(this.answerable, SETTLED_AFTER, this.endedAt) / HOUR
    const late = dials.filter(({ at }) => at >= SETTLED_AFTER && contains(this.answerable, at))
    const perHour = (count: number): number | null => (settledHours > 0 ? count / settledHours : null)
    const deadRoutes = this.deadRoutes()
    return {
      meanAge: this.spec.feeds.length > 0 ? this.ageSum / answerableMs / this.spec.feeds.length : 0,
      meanDelay: this.deliveredCount > 0 ? this.delaySum / this.deliveredCount : null,
      undelivered: this.lost / Math.max(1, this.lost + this.deliveredInAll()),
      liveVisited: this.liveVisited(connections),
      fill: this.filledAt,
      warmFill: this.recoveryOf('kill', 0.5),
      recovery: this.recoveryOf('other', 0.95),
      worseOff: this.worse,
      slotUse: this.slotUse(connections, answerableMs),
      deadDials: perHour(late.filter(({ route }) => route && deadRoutes.has(route.address)).length),
      dials: perHour(late.length),
      wasted: late.length > 0 ? late.filter(({ hasOpened }) => !hasOpened).length / late.length : null,
      inFlight: most(dials.map(({ at, endedAt }) => [at, Math.min(endedAt, at + IN_FLIGHT_MS)])),
      sockets: most(dials.map(({ at, endedAt }) => [at, endedAt])),
      doubled: this.doubled(connections),
      lanVisits: this.lanVisits(connections),
      blockedFor: this.blockedFor(connections),
      attackerDials: this.attackerShare(dials.map(({ route }) => [route?.peer ?? -1, 1])),
      attackerTime: this.attackerShare(connections.map(({ peer, openedAt, closedAt }) => [peer, closedAt - openedAt])),
      wait: this.wait(connections),
    }
  }

  private deliveredInAll(): number {
    return this.deliveredCount
  }

  private deadRoutes(): ReadonlySet<string> {
    const dead = new Set<string>()
    for (const { up, routes } of this.spec.peers)
      for (const { address, isAlive, isLocal } of routes)
        if (!isAlive || (up.length === 0 && !isLocal)) dead.add(address)
    return dead
  }

  private liveVisited(connections: readonly ConnectionRecord[]): number | null {
    const reached = new Set(
      connections.filter((each) => each.closedAt - each.openedAt > SECOND).map(({ peer }) => peer),
    )
    let live = 0
    let count = 0
    for (const { index, up, hops, routes, behaviour, isAttacker } of this.spec.peers) {
      if (isAttacker || hops === null || behaviour !== 'serves') continue
      if (!routes.some(({ isAlive, isLocal }) => isAlive && !isLocal)) continue
      if (this.blocks.some(({ peer }) => peer === index)) continue
      if (overlap(up, this.answerable, this.endedAt) < LIVE_MS) continue
      live++
      if (reached.has(index)) count++
    }
    return live > 0 ? count / live : null
  }

  private recoveryOf(kind: 'kill' | 'other', quantile: number): number | null {
    const isKill = (at: Time): boolean => this.spec.happenings.some((each) => each.type === 'kill' && each.at === at)
    const times = this.interruptions
      .filter(({ at, count }) => count > 0 && isKill(at) === (kind === 'kill'))
      // The world may end before there was time to recover.
      .filter(({ resumedAt }) => resumedAt !== null && resumedAt < this.endedAt - MINUTE)
      .map(({ resumedAt, recoveredAt }) =>
        resumedAt === null || recoveredAt === null ? Number.POSITIVE_INFINITY : recoveredAt - resumedAt,
      )
      .sort((a, b) => a - b)
    return times.length > 0 ? (times[Math.min(times.length - 1, Math.floor(quantile * times.length))] as number) : null
  }

  /** Of the slots that could be filled, from the first time that they were. */
  private slotUse(connections: readonly ConnectionRecord[], answerableMs: number): number {
    const from = this.filledAt ?? 0
    const bounds: [Time, number][] = []
    for (const { openedAt, closedAt } of connections) bounds.push([openedAt, 1], [closedAt, -1])
    bounds.sort((a, b) => a[0] - b[0] || b[1] - a[1])
    let used = 0
    let count = 0
    let last = from
    for (const [at, change] of bounds) {
      if (at > last) {
        used += Math.min(count, this.slots) * lengthWithin(this.answerable, last, at)
        last = at
      }
      count += change
    }
    const whole = this.slots * lengthWithin(this.answerable, from, this.endedAt)
    return whole > 0 ? used / whole : answerableMs > 0 ? 0 : 1
  }

  private doubled(connections: readonly ConnectionRecord[]): number {
    const byPeer = new Map<number, ConnectionRecord[]>()
    for (const each of connections) byPeer.set(each.peer, [...(byPeer.get(each.peer) ?? []), each])
    let sum = 0
    for (const list of byPeer.values()) {
      list.sort((a, b) => a.openedAt - b.openedAt)
      let until = 0
      for (const { openedAt, closedAt } of list) {
        if (openedAt < until) sum += Math.min(until, closedAt) - openedAt
        until = Math.max(until, closedAt)
      }
    }
    return sum
  }

  private lanVisits(connections: readonly ConnectionRecord[]): number | null {
    if (this.visits.length === 0) return null
    const met = this.visits.filter(({ peer, from, to }) =>
      connections.some(
        (each) => each.peer === peer && each.openedAt <= Math.min(from + 5 * SECOND, to) && each.closedAt > from,
      ),
    )
    return met.length / this.visits.length
  }

  /** Time that blocked peers were still connected for, or dialed again. */
  private blockedFor(connections: readonly ConnectionRecord[]): number | null {
    if (this.blocks.length === 0) return null
    let sum = 0
    for (const { peer, at } of this.blocks)
      for (const each of connections)
        if (each.peer === peer && each.closedAt > at) sum += each.closedAt - Math.max(at, each.openedAt)
    return sum
  }

  private attackerShare(parts: readonly (readonly [peer: number, amount: number])[]): number | null {
    if (!this.spec.peers.some(({ isAttacker }) => isAttacker)) return null
    let all = 0
    let theirs = 0
    for (const [peer, amount] of parts) {
      all += amount
      if (this.spec.peers[peer]?.isAttacker) theirs += amount
    }
    return all > 0 ? theirs / all : 0
  }

  /**
   * Candidates are those that an even rotation goes through: who serves, each for the share of the time in which it is up. Whoever
   * lets in and hangs up at once takes nobody's turn. Local peers and slots are apart.
   */
  private wait(connections: readonly ConnectionRecord[]): number | null {
    const eligible = this.spec.peers.filter(
      ({ index, up, hops, routes, behaviour, isAttacker }) =>
        !isAttacker &&
        hops !== null &&
        behaviour === 'serves' &&
        up.length > 0 &&
        routes.some(({ isAlive, isLocal }) => isAlive && !isLocal) &&
        !this.blocks.some(({ peer }) => peer === index),
    )
    const isEligible = new Set(eligible.map(({ index }) => index))
    const scheduled = connections.filter(({ peer, route }) => !route.isLocal && isEligible.has(peer))
    const upMs = new Map(eligible.map(({ index, up }) => [index, lengthWithin(up, 0, this.endedAt)]))
    const candidates = [...upMs.values()].reduce((sum, ms) => sum + ms, 0) / this.endedAt
    const always = eligible.filter(({ index }) => (upMs.get(index) ?? 0) >= ALWAYS_UP * this.endedAt)
    if (always.length === 0 || candidates <= this.slots || scheduled.length === 0) return null
    const tenure = scheduled.reduce((sum, each) => sum + each.closedAt - each.openedAt, 0) / scheduled.length
    let longest = 0
    for (const { index } of always) {
      const own = scheduled.filter(({ peer }) => peer === index).sort((a, b) => a.openedAt - b.openedAt)
      let since = 0
      for (const { openedAt, closedAt } of own) {
        longest = Math.max(longest, lengthWithin(this.answerable, since, openedAt))
        since = Math.max(since, closedAt)
      }
      longest = Math.max(longest, lengthWithin(this.answerable, since, this.endedAt))
    }
    return longest / Math.max(MINUTE, (candidates / this.slots) * tenure)
  }
}

function overlap(a: Intervals, b: Intervals, until: Time): number {
  let sum = 0
  for (let i = 0; i < a.length; i += 2)
    sum += lengthWithin(b, a[i] as number, Math.min(a[i + 1] ?? Number.POSITIVE_INFINITY, until))
  return sum
}

/** How many of these overlap at most. */
function most(spans: readonly (readonly [from: Time, to: Time])[]): number {
  const bounds: [Time, number][] = []
  for (const [from, to] of spans) bounds.push([from, 1], [to, -1])
  bounds.sort((x, y) => x[0] - y[0] || x[1] - y[1])
  let count = 0
  let top = 0
  for (const [, change] of bounds) {
    count += change
    top = Math.max(top, count)
  }
  return top
}
