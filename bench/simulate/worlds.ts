/**
 * The worlds: each a function of a seed. What they have in common is drawn by the functions above them; a new world is one
 * more entry below.
 */
import { seededRandom, simulatedFeedId } from '../../src/testing'
import {
  type Behaviour,
  DAY,
  type FeedSpec,
  type Happening,
  HOUR,
  type Intervals,
  MINUTE,
  type PeerSpec,
  type RouteSpec,
  SECOND,
  type Time,
  type WorldSpec,
} from './types'

const ALWAYS: Intervals = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]

class Draw {
  private readonly random: { next(): number }

  constructor(seed: number) {
    this.random = seededRandom(seed)
  }

  next = (): number => this.random.next()

  chance(probability: number): boolean {
    return this.next() < probability
  }

  /** A whole number, both bounds included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  /** Times of seconds are as likely as times of hours. */
  spread(min: number, max: number): number {
    return min * (max / min) ** this.next()
  }

  pause(mean: number): number {
    return -Math.log(1 - this.next()) * mean
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next())
  }

  pick<T>(list: readonly T[]): T {
    return list[this.int(0, list.length - 1)] as T
  }

  some<T>(list: readonly T[], count: number): T[] {
    const rest = [...list]
    const found: T[] = []
    while (found.length < count && rest.length > 0) found.push(...rest.splice(this.int(0, rest.length - 1), 1))
    return found
  }
}

interface Content {
  readonly feeds: number
  /** Messages of a feed on a day, the median; a few write twenty times as many. */
  readonly perDay: number
  /** Written before the world begins, and lacking. */
  readonly backlog?: number
}

interface PubOptions {
  readonly count: number
  readonly alive: number
  readonly routes?: number
  readonly behaviours?: readonly (readonly [share: number, behaviour: Behaviour])[]
  readonly up?: (draw: Draw) => Intervals
  readonly hops?: (draw: Draw) => PeerSpec['hops']
  /** In this world from the start, or announced later. */
  readonly isKnown?: (index: number) => boolean
}

class Builder {
  readonly draw: Draw
  readonly peers: { -readonly [K in keyof PeerSpec]: PeerSpec[K] }[] = []
  readonly carries: Map<number, Time>[] = []
  readonly feeds: FeedSpec[] = []
  readonly table: RouteSpec[] = []
  readonly happenings: Happening[] = []

  constructor(
    readonly name: string,
    readonly title: string,
    readonly seed: number,
    readonly ms: Time,
  ) {
    this.draw = new Draw(seed * 65_537 + 11)
  }

  peer(options: {
    readonly up: Intervals
    readonly routes: readonly { readonly isAlive: boolean; readonly isLocal?: boolean }[]
    readonly source: RouteSpec['source']
    readonly hops: PeerSpec['hops']
    readonly behaviour?: Behaviour
    readonly isAttacker?: boolean
  }): PeerSpec {
    const { draw } = this
    const index = this.peers.length
    const id = simulatedFeedId(draw)
    const key = id.slice(1, id.indexOf('.'))
    const carries = new Map<number, Time>()
    this.carries.push(carries)
    const isLocal = options.routes.every((route) => route.isLocal === true)
    const peer: PeerSpec = {
      index,
      id,
      routes: options.routes.map(({ isAlive, isLocal: local = false }, i) => ({
        address: `net:${local ? `192.168.${i}.${index % 250}` : `${11 + (index >> 14)}.${(index >> 7) & 127}.${i + 1}.${1 + (index & 127)}`}:8008~shs:${key}`,
        peer: index,
        isAlive,
        isLocal: local,
        source: local ? 'local' : options.source,
      })),
      up: options.up,
      behaviour: options.behaviour ?? 'serves',
      hops: options.hops,
      isAttacker: options.isAttacker ?? false,
      rttMs: Math.round(isLocal ? draw.spread(1, 20) : draw.spread(15, 300)),
      refuses: draw.chance(0.5),
      carries,
    }
    this.peers.push(peer)
    return peer
  }

  pubs(options: PubOptions): PeerSpec[] {
    const { draw } = this
    const made: PeerSpec[] = []
    const alive = new Set(draw.some([...Array(options.count).keys()], Math.round(options.count * options.alive)))
    for (let i = 0; i < options.count; i++) {
      const count = options.routes ?? 1
      const good = draw.int(0, count - 1)
      const isAlive = alive.has(i)
      const hops = options.hops?.(draw) ?? (draw.chance(0.1) ? 1 : draw.chance(0.4) ? 2 : 3)
      let left = draw.next()
      const behaviour = options.behaviours?.find(([share]) => {
        left -= share
        return left < 0
      })?.[1]
      const peer = this.peer({
        up: isAlive ? (options.up?.(draw) ?? mostlyUp(draw, this.ms)) : [],
        routes: Array.from({ length: count }, (_, route) => ({ isAlive: route === good })),
        source: hops === 1 ? 'friends' : hops === 2 ? 'manual' : 'pub',
        hops,
        ...(isAlive && behaviour ? { behaviour } : {}),
      })
      made.push(peer)
      if (options.isKnown?.(i) ?? true) this.table.push(...peer.routes)
    }
    return made
  }

  /** Feeds with one to four homes, where they arrive within seconds; elsewhere they may be had hours later. */
  content({ feeds, perDay, backlog = 0 }: Content, pubs: readonly PeerSpec[]): void {
    const { draw } = this
    const homes = pubs.filter(({ up, behaviour }) => up.length > 0 && behaviour === 'serves')
    for (let i = 0; i < feeds; i++) {
      const rate = (perDay * Math.exp(1.2 * draw.normal())) / DAY
      const posts: Time[] = Array.from({ length: Math.round((backlog / feeds) * 2 * draw.next()) }, () => -DAY)
      for (let at = draw.pause(1 / rate); at < this.ms; at += draw.pause(1 / rate)) posts.push(at)
      const index = this.feeds.push({ posts, hasAtStart: 0 }) - 1
      const own = draw.some(homes, draw.int(1, 4))
      for (const peer of homes) {
        const isHome = own.includes(peer)
        if (isHome || draw.chance(0.25))
          this.carries[peer.index]?.set(
            index,
            isHome ? draw.spread(SECOND, 20 * SECOND) : draw.spread(HOUR / 2, 6 * HOUR),
          )
      }
    }
  }

  build(options: { readonly slots?: number; readonly localSlots?: number } = {}): WorldSpec {
    const { name, title, seed, ms, peers, feeds, table, happenings } = this
    happenings.sort((a, b) => a.at - b.at)
    const { slots = 4, localSlots = 0 } = options
    return { name, title, seed, ms, slots, localSlots, peers, feeds, table, happenings }
  }
}

/** Days up, minutes down now and then; one in ten is down for a third of the time. */
function mostlyUp(draw: Draw, ms: Time): Intervals {
  return draw.chance(0.1) ? onAndOff(draw, ms, 4 * HOUR, 2 * HOUR) : onAndOff(draw, ms, 20 * HOUR, 5 * MINUTE)
}

function onAndOff(draw: Draw, ms: Time, meanUp: number, meanDown: number): Intervals {
  const found: number[] = []
  let at = draw.chance(meanUp / (meanUp + meanDown)) ? -HOUR : draw.pause(meanDown)
  while (at < ms) {
    const end = Math.max(at, 0) + draw.pause(meanUp)
    found.push(at, end)
    at = end + draw.pause(meanDown)
  }
  return found
}

type Make = (seed: number, hours?: number) => WorldSpec

function desktop(seed: number, hours = 24): Builder {
  const b = new Builder('desktop', '200 known pubs of which a third is alive', seed, hours * HOUR)
  b.content({ feeds: 150, perDay: 6 }, b.pubs({ count: 200, alive: 1 / 3 }))
  return b
}

/** Every so often, for so long; apart from each other. */
function gaps(b: Builder, every: number, min: number, max: number, make: (at: Time, ms: Time) => Happening): void {
  for (let at = b.draw.pause(every) + MINUTE; at < b.ms - 10 * MINUTE; ) {
    const ms = Math.round(b.draw.spread(min, max))
    b.happenings.push(make(Math.round(at), ms))
    at += ms + 2 * MINUTE + b.draw.pause(every)
  }
}

export const WORLDS: Readonly<Record<string, Make>> = {
  desktop: (seed, hours) => desktop(seed, hours).build(),

  phone: (seed, hours = 24) => {
    const b = new Builder('phone', 'a link that flaps, and hours of sleep', seed, hours * HOUR)
    b.content({ feeds: 100, perDay: 6 }, b.pubs({ count: 60, alive: 1 / 2 }))
    gaps(b, 25 * MINUTE, 5 * SECOND, 4 * HOUR, (at, ms) =>
      ms > 10 * MINUTE
        ? { at, type: 'suspend', ms }
        : b.draw.chance(0.3)
          ? { at, type: 'newAddress' }
          : { at, type: 'outage', ms, isKnown: b.draw.chance(0.7) },
    )
    return b.build()
  },

  lan: (seed, hours = 12) => {
    const b = new Builder('lan', 'thirty peers come and go in the local network', seed, hours * HOUR)
    const pubs = b.pubs({ count: 30, alive: 1 / 3 })
    b.content({ feeds: 60, perDay: 6 }, pubs)
    for (let i = 0; i < 30; i++) {
      const hops = b.draw.pick([1, 2, 3] as const)
      const peer = b.peer({ up: [], routes: [{ isAlive: true, isLocal: true }], source: 'local', hops })
      const [route] = peer.routes
      if (!route) continue
      const at = b.draw.next() * (b.ms - HOUR)
      const ms = b.draw.chance(0.6) ? 2 * MINUTE : b.draw.spread(10 * MINUTE, HOUR)
      b.happenings.push({ at: Math.round(at), type: 'visit', route, ms: Math.round(ms) })
      // Its owner's feed is new here, and some of its friends'.
      for (let feed = 0; feed < 60; feed++) if (b.draw.chance(0.2)) b.carries[peer.index]?.set(feed, 10 * SECOND)
    }
    return b.build({ localSlots: 2 })
  },

  large: (seed, hours = 6) => {
    const b = new Builder('large', '5 000 routes with one in twenty alive', seed, hours * HOUR)
    b.content({ feeds: 150, perDay: 6 }, b.pubs({ count: 5_000, alive: 1 / 20 }))
    return b.build()
  },

  routes: (seed, hours = 24) => {
    const b = new Builder('routes', 'sixty peers with three routes of which one works', seed, hours * HOUR)
    b.content({ feeds: 100, perDay: 6 }, b.pubs({ count: 60, alive: 2 / 3, routes: 3 }))
    return b.build()
  },

  fresh: (seed, hours = 12) => {
    const b = new Builder('fresh', 'a fresh install with one pub and 20 000 messages to get', seed, hours * HOUR)
    const pubs = b.pubs({ count: 60, alive: 1 / 3, isKnown: () => false })
    b.content({ feeds: 150, perDay: 6, backlog: 20_000 }, pubs)
    const [first] = pubs.filter(({ up }) => up.length > 0).sort((x, y) => y.carries.size - x.carries.size)
    if (first) {
      first.routes.forEach((route) => void b.table.push(route))
      ;(first as { -readonly [K in keyof PeerSpec]: PeerSpec[K] }).up = ALWAYS
    }
    // Addresses are in the messages: they come as these do.
    pubs
      .filter((pub) => pub !== first)
      .forEach((pub, i) => void b.happenings.push({ at: (10 + 4 * i) * SECOND, type: 'learn', routes: pub.routes }))
    return b.build()
  },

  blackout: (seed, hours = 24) => {
    const b = new Builder('blackout', 'everybody is gone for eight hours, then back', seed, hours * HOUR)
    const pubs = b.pubs({ count: 100, alive: 1 / 3, up: () => [-HOUR, 4 * HOUR, 12 * HOUR, Number.POSITIVE_INFINITY] })
    b.content({ feeds: 100, perDay: 6 }, pubs)
    return b.build()
  },

  attack: (seed, hours = 24) => {
    const b = new Builder('attack', 'an attacker announces nine routes of ten', seed, hours * HOUR)
    const pubs = b.pubs({ count: 150, alive: 1 / 3 })
    b.content({ feeds: 150, perDay: 6 }, pubs)
    for (let i = 0; i < 1_350; i++) {
      const sybil = b.peer({
        up: ALWAYS,
        routes: [{ isAlive: true }],
        source: 'pub',
        hops: null,
        behaviour: b.draw.pick(['idle', 'idle', 'idle', 'hangs', 'hangsUp'] as const),
        isAttacker: true,
      })
      b.happenings.push({ at: Math.round((b.draw.next() * b.ms) / 4), type: 'learn', routes: sybil.routes })
    }
    return b.build()
  },

  kills: (seed, hours = 24) => {
    const base = desktop(seed, hours)
    const b = Object.assign(base, { name: 'kills', title: 'the desktop, killed every two hours' })
    for (let at = 2 * HOUR; at < b.ms; at += 2 * HOUR) b.happenings.push({ at, type: 'kill', ms: MINUTE })
    return b.build()
  },

  crowded: (seed, hours = 24) => {
    const b = new Builder('crowded', 'pubs that are full, that hang, that hang up', seed, hours * HOUR)
    const behaviours = [
      [0.2, 'full'],
      [0.2, 'hangs'],
      [0.2, 'hangsUp'],
      [0.4, 'serves'],
    ] as const
    b.content({ feeds: 100, perDay: 6 }, b.pubs({ count: 120, alive: 1 / 2, behaviours }))
    return b.build()
  },

  outages: (seed, hours = 120) => {
    const b = new Builder('outages', 'our link is gone for ten seconds, minutes, hours, three days', seed, hours * HOUR)
    b.content({ feeds: 60, perDay: 6 }, b.pubs({ count: 60, alive: 1 / 2 }))
    let at = 2 * HOUR
    for (const ms of [10 * SECOND, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, 3 * DAY]) {
      b.happenings.push({ at, type: 'outage', ms, isKnown: b.draw.chance(0.5) })
      at += ms + 2 * HOUR
    }
    return b.build()
  },

  friends: (seed, hours = 24) => {
    const b = new Builder('friends', 'forty friends who are up for an hour or two, and ten pubs', seed, hours * HOUR)
    const pubs = b.pubs({ count: 20, alive: 1 / 2 })
    b.content({ feeds: 60, perDay: 6 }, pubs)
    const friends = b.pubs({
      count: 40,
      alive: 1,
      hops: () => 1,
      up: (draw) => onAndOff(draw, hours * HOUR, HOUR, 5 * HOUR),
    })
    for (const [i, friend] of friends.entries()) {
      // What he writes is to be had from him first, and from pubs late.
      b.carries[friend.index]?.set(i, 2 * SECOND)
      for (let feed = 0; feed < 60; feed++) if (b.draw.chance(0.1)) b.carries[friend.index]?.set(feed, MINUTE)
    }
    return b.build()
  },

  churn: (seed, hours = 24) => {
    const b = new Builder('churn', 'pubs that are up half of the time', seed, hours * HOUR)
    const up = (draw: Draw): Intervals => onAndOff(draw, hours * HOUR, 2 * HOUR, 2 * HOUR)
    b.content({ feeds: 100, perDay: 6 }, b.pubs({ count: 120, alive: 1 / 2, up }))
    const there = b.peers.filter((peer) => peer.up.length > 0)
    for (let at = HOUR; at < b.ms; at += 3 * HOUR)
      b.happenings.push({ at, type: 'block', peer: b.draw.pick(there).index })
    return b.build()
  },
}

/** A world by its name; shorter or longer than usual if asked. */
export function makeWorld(name: string, seed: number, hours?: number): WorldSpec {
  const make = Object.prototype.hasOwnProperty.call(WORLDS, name) ? WORLDS[name] : undefined
  if (!make) throw new Error(`no world ${name}; there are ${Object.keys(WORLDS).join(', ')}`)
  return make(seed, hours)
}
