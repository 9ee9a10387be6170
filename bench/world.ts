/**
 * The table that every manager is measured with: peers of whom some were never tried, most failed and some worked, as on an
 * account that is years old. Drawn from a fixed seed; the same for all.
 */
import { seededRandom } from '../src/testing'

export const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** When the virtual clock starts. */
export const START_AT = Date.UTC(2026, 0, 1)

export interface WorldRoute {
  readonly address: string
  /** Feed id of the peer; every route has a peer of its own, as ssb-gossip knows one address of a peer. */
  readonly key: string
  readonly protocol: 'net' | 'onion' | 'ws' | 'rtc'
  readonly host: string
  readonly port: number
  readonly priority: 'HIGH' | 'MEDIUM' | 'LOW'
  readonly hops: number
  readonly source: 'friends' | 'pub' | 'manual'
  readonly addedAt: number
  /** 0: never tried. */
  readonly triedAt: number
  /** 0: never connected. */
  readonly connectedAt: number
  readonly connectionCount: number
  /** In a row, up to now. */
  readonly failureCount: number
  readonly meanDurationMs: number
}

/**
 * - `usual`: a good part of the routes may be dialed now
 * - `paused`: but for a few of each protocol, all have failed a moment ago and for so long that nobody dials them within the
 *   hour
 */
export type Mood = 'usual' | 'paused'

/** How many of each protocol may be dialed in the mood `paused`: as many as there are slots. */
const FRESH_WHEN_PAUSED = 3
/** However few routes there are: these many of each protocol, and friends, so that all slots can be filled. */
const PROTOCOLS = ['net', 'onion', 'ws', 'rtc'] as const
const FIRST_BY_TURNS = 20
const FIRST_FRIENDS = 8
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

export type Draw = (max: number) => number

export function drawer(seed: number): Draw {
  const random = seededRandom(seed)
  return (max) => Math.floor(random.next() * max)
}

export function drawKey(draw: Draw): string {
  let key = ''
  for (let at = 0; at < 42; at++) key += BASE64[draw(64)]
  // 32 bytes leave four bits for the last character.
  return `${key}${BASE64[4 * draw(16)]}=`
}

function drawHost(draw: Draw, protocol: WorldRoute['protocol']): string {
  if (protocol === 'onion') {
    let name = ''
    for (let at = 0; at < 56; at++) name += 'abcdefghijklmnopqrstuvwxyz234567'[draw(32)]
    return `${name}.onion`
  }
  // 11 to 99: no block that is private or reserved.
  return `${11 + draw(88)}.${draw(256)}.${draw(256)}.${1 + draw(254)}`
}

function drawProtocol(draw: Draw): WorldRoute['protocol'] {
  const dice = draw(100)
  return dice < 85 ? 'net' : dice < 93 ? 'onion' : dice < 98 ? 'ws' : 'rtc'
}

export function makeWorld(count: number, mood: Mood = 'usual', seed = 1): WorldRoute[] {
  const draw = drawer(seed)
  const fresh = new Map<string, number>()
  const routes: WorldRoute[] = []
  for (let i = 0; i < count; i++) {
    const drawn = drawProtocol(draw)
    const protocol = i < FIRST_BY_TURNS ? (PROTOCOLS[i % PROTOCOLS.length] ?? drawn) : drawn
    const key = drawKey(draw)
    const host = drawHost(draw, protocol)
    const port = 8008 + draw(3)
    const slashes = protocol === 'ws' ? '//' : ''
    const dice = draw(100)
    const ago = 1 + draw(30 * DAY_MS)
    const fate = draw(100)
    const isPaused = mood === 'paused' && (fresh.get(protocol) ?? 0) >= FRESH_WHEN_PAUSED
    fresh.set(protocol, (fresh.get(protocol) ?? 0) + 1)
    const isFriend = (dice < 5 || i < FIRST_FRIENDS) && !isPaused
    const isKnown = dice < 40 && !isPaused
    const isProven = fate >= 80
    const isTried = isPaused || fate >= 30
    const failureCount = isPaused ? 60 : isTried ? (isProven ? draw(3) : 1 + draw(12)) : 0
    routes.push({
      address: `${protocol}:${slashes}${host}:${port}~shs:${key}`,
      key: `@${key}.ed25519`,
      protocol,
      host,
      port,
      priority: isFriend ? 'HIGH' : isKnown ? 'MEDIUM' : 'LOW',
      hops: isFriend ? 1 : isKnown ? 2 : 3,
      source: isFriend ? 'friends' : isKnown ? 'manual' : 'pub',
      addedAt: START_AT - 60 * DAY_MS - draw(300 * DAY_MS),
      triedAt: isPaused ? START_AT - 1000 : isTried ? START_AT - ago : 0,
      connectedAt: isProven ? START_AT - ago - draw(DAY_MS) : 0,
      connectionCount: isProven ? 1 + draw(50) : 0,
      failureCount,
      meanDurationMs: isProven ? 60_000 + draw(HOUR_MS) : 0,
    })
  }
  return routes
}

export interface LanPeer {
  readonly address: string
  readonly key: string
  readonly host: string
  readonly port: number
}

/** Peers of the local network, which no manager stores. */
export function makeLan(count: number): LanPeer[] {
  const draw = drawer(2)
  const peers: LanPeer[] = []
  for (let i = 0; i < count; i++) {
    const key = drawKey(draw)
    const host = `192.168.1.${10 + i}`
    peers.push({ address: `net:${host}:8008~shs:${key}`, key: `@${key}.ed25519`, host, port: 8008 })
  }
  return peers
}

/** Running figures as both existing managers and ours store them. */
export function statsOf(mean: number, count: number): Record<'mean' | 'stdev' | 'count' | 'sum' | 'sqsum', number> {
  return { mean, stdev: mean / 2, count, sum: mean * count, sqsum: 1.25 * mean * mean * count }
}

/** Texts of the errors that a failed dial leaves behind. */
export function errorText(route: { readonly host: string; readonly port: number }): string {
  return `connect ECONNREFUSED ${route.host}:${route.port}`
}
