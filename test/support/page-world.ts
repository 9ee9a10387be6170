/**
 * A made-up sbot for the live page: peers, routes, a day of history, feeds, as the server would tell of them. The same seed
 * makes the same world, so that pictures of it only change when the page does.
 */
import type { Finding } from '../../src/core/diagnosis'
import type { ClassStatus, ConnectionView, Explanation, RouteExplanation, Status } from '../../src/core/selectors'
import type { CloseReason, DialCause, RefusalReason } from '../../src/core/types'
import type { FeedRow, Hello, HistoryEntry, PeerRow, RouteRow, SyncState } from '../../src/dashboard/protocol'

export interface World {
  readonly hello: Hello
  readonly peers: readonly PeerRow[]
  readonly history: readonly HistoryEntry[]
  readonly feeds: readonly FeedRow[]
  readonly status: Status
  readonly findings: readonly Finding[]
  readonly sync: SyncState
  readonly explain: (target: string) => Explanation | null
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const NAMES =
  'alice bob carol dave erin frank grace heidi ivan judy mallory niaj olivia peggy rupert sybil trent victor walter yara zoe'.split(
    ' ',
  )

/** mulberry32 */
function dice(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

export function fakeKey(n: number, seed = 1): string {
  const roll = dice(n * 7919 + seed)
  return Buffer.from(Array.from({ length: 32 }, () => Math.floor(roll() * 256))).toString('base64')
}

export const fakeId = (n: number): string => `@${fakeKey(n)}.ed25519`

const IDLE: ConnectionView = { status: 'idle', direction: null, address: null, since: null, rtt: null, skew: null }
const stats = (mean: number): NonNullable<ConnectionView['rtt']> => ({
  mean,
  stdev: mean / 10,
  count: 4,
  sum: mean * 4,
  sqsum: mean * mean * 4,
})

export function routeRow(address: string, more: Partial<RouteRow> = {}): RouteRow {
  const protocol = address.split(':')[0] as string
  return {
    address,
    class: protocol,
    source: 'pub',
    isLocal: false,
    isStored: true,
    isAutomatic: true,
    status: 'idle',
    connectionCount: 0,
    errorCount: 0,
    lastError: null,
    lastConnectionTime: null,
    nextAttemptAt: 0,
    ...more,
  }
}

export function peerRow(id: string, more: Partial<PeerRow> = {}): PeerRow {
  return {
    id,
    name: null,
    priority: 'LOW',
    isLongTerm: false,
    hops: null,
    connection: IDLE,
    class: null,
    cause: null,
    isCaughtUp: false,
    visitedAt: null,
    routes: [],
    ...more,
  }
}

const ERRORS: readonly (readonly [code: string | null, message: string, weight: number])[] = [
  ['ECONNREFUSED', 'connect ECONNREFUSED', 5],
  ['ETIMEDOUT', 'dial timed out after 10 s', 4],
  ['ENOTFOUND', 'getaddrinfo ENOTFOUND', 3],
  ['EHOSTUNREACH', 'connect EHOSTUNREACH', 1],
  [null, 'shs.client: expected "accept" to be length 80', 1],
]

interface Kind {
  readonly class: string
  readonly host: (n: number) => string
  readonly source: string
  readonly weight: number
}

const KINDS: readonly Kind[] = [
  { class: 'net', host: (n) => `net:pub${n}.example.com:8008`, source: 'pub', weight: 10 },
  { class: 'net', host: (n) => `net:198.51.100.${n % 250}:8008`, source: 'pub', weight: 5 },
  { class: 'tunnel', host: (n) => `tunnel:@${fakeKey(901)}.ed25519:@${fakeKey(n)}.ed25519`, source: 'room', weight: 3 },
  { class: 'local', host: (n) => `net:192.168.1.${n % 250}:8008`, source: 'local', weight: 1 },
  {
    class: 'onion',
    host: (n) => `onion:${'abcdefgh234567klmnop'.repeat(3).slice(n % 9, (n % 9) + 32)}.onion:8008`,
    source: 'pub',
    weight: 2,
  },
  { class: 'wss', host: (n) => `wss:ssb${n}.example.org:443`, source: 'pub', weight: 1 },
]

export interface WorldOptions {
  readonly now: number
  readonly peers?: number
  readonly seed?: number
}

export function makeWorld({ now, peers: size = 140, seed = 7 }: WorldOptions): World {
  const roll = dice(seed)
  const pick = <T extends { readonly weight: number }>(list: readonly T[]): T => {
    let left = roll() * list.reduce((sum, each) => sum + each.weight, 0)
    for (const each of list) {
      left -= each.weight
      if (left < 0) return each
    }
    return list[0] as T
  }
  const between = (low: number, high: number): number => low + roll() * (high - low)
  const peers: PeerRow[] = []
  const history: HistoryEntry[] = []
  const connectedMax = 11
  let connected = 0

  for (let n = 0; n < size; n++) {
    const id = fakeId(n)
    const name = n < NAMES.length ? (NAMES[n] as string) : n % 5 === 0 ? `pub${n}.example.com` : null
    const hops = n < 16 ? 1 : n % 3 === 0 ? 2 : n % 3 === 1 ? 3 : null
    const isBanned = n === 10 || n % 53 === 52
    const kind = pick(KINDS)
    const key = id.slice(1, -'.ed25519'.length)
    const isUp =
      !isBanned && n !== 3 && n !== 6 && kind.class !== 'onion' && connected < connectedMax && n < 24 && roll() < 0.6
    const isDialing = !isUp && !isBanned && (n === 6 || n === 19)
    const isInbound = isUp && connected % 4 === 3
    const since = now - between(2 * MINUTE, 5 * HOUR)
    const isFailing = n === 3 || (!isUp && !isBanned && roll() < 0.45)
    const seen = isUp
      ? now
      : isFailing && n !== 3
        ? roll() < 0.7
          ? null
          : now - between(DAY, 60 * DAY)
        : n === 3
          ? now - 9 * DAY
          : roll() < 0.5
            ? now - between(5 * MINUTE, 3 * DAY)
            : null
    const routes: RouteRow[] = []
    const count = n % 7 === 0 ? 2 : 1
    for (let r = 0; r < count; r++) {
      const used = r === 0 ? kind : (KINDS[0] as Kind)
      const address = `${used.host(n + r * 500)}~shs:${key}`
      const errorCount = n === 3 ? 9 : isFailing || r > 0 ? 1 + Math.floor(between(0, 9)) : 0
      const [code, message] = pick(ERRORS.map(([c, m, weight]) => ({ pair: [c, m] as const, weight }))).pair
      routes.push(
        routeRow(address, {
          class: used.class,
          isLocal: used.class === 'local',
          isStored: used.class !== 'local',
          source: used.source,
          status: r > 0 || isInbound ? 'idle' : isUp ? 'connected' : isDialing ? 'dialing' : 'idle',
          connectionCount: seen === null ? 0 : 1 + Math.floor(between(0, 40)),
          errorCount,
          lastError: errorCount === 0 ? null : { code, message, at: Math.round(now - between(MINUTE, 5 * HOUR)) },
          lastConnectionTime: seen === null || isInbound ? null : Math.round(isUp ? since : seen),
          nextAttemptAt: errorCount === 0 ? 0 : Math.round(now + between(5_000, errorCount * HOUR)),
        }),
      )
    }
    if (isUp) connected++
    const cause: DialCause = n % 6 === 0 ? 'longTerm' : 'schedule'
    peers.push(
      peerRow(id, {
        name,
        priority: isBanned ? 'BANNED' : hops === 1 ? 'HIGH' : hops === 2 ? 'MEDIUM' : 'LOW',
        isLongTerm: isUp && cause === 'longTerm',
        hops,
        connection: isUp
          ? {
              status: 'connected',
              direction: isInbound ? 'inbound' : 'outbound',
              address: isInbound ? null : (routes[0]?.address ?? null),
              since: Math.round(since),
              rtt: stats(kind.class === 'onion' ? 780 : between(20, 220)),
              skew: stats(between(1, 300)),
            }
          : isDialing
            ? {
                ...IDLE,
                status: 'dialing',
                direction: 'outbound',
                address: routes[0]?.address ?? null,
                since: Math.round(now - 3_000),
              }
            : IDLE,
        class: (isUp && !isInbound) || isDialing ? kind.class : null,
        cause: isUp ? (isInbound ? 'inbound' : cause) : null,
        isCaughtUp: isUp && roll() < 0.7,
        visitedAt: seen === null ? null : Math.round(isUp ? since : seen),
        routes,
      }),
    )
    if (n < 60) history.push(...dayOf(peers[n] as PeerRow, { now, since, between, roll }))
  }
  history.sort((a, b) => (a.kind === 'rtt' ? a.at : a.from) - (b.kind === 'rtt' ? b.at : b.from))

  const feeds = peers.slice(0, 48).map((peer, n): FeedRow => {
    const want = Math.round(between(40, 9_000))
    const isBehind = n % 9 === 4
    return {
      id: peer.id,
      name: peer.name,
      hops: peer.hops,
      have: n === 22 ? null : isBehind ? Math.round(want * between(0.2, 0.98)) : want,
      want: n % 13 === 12 ? null : want,
      arrivedAt: n % 4 === 0 ? Math.round(now - between(5_000, 4 * HOUR)) : null,
      latestAt: Math.round(now - between(MINUTE, 20 * DAY)),
    }
  })

  const status = statusOf(peers, now)
  const byTarget = new Map<string, PeerRow>()
  for (const peer of peers) {
    byTarget.set(peer.id, peer)
    for (const route of peer.routes) byTarget.set(route.address, peer)
  }
  const dead = (peers[3] ?? peers[0]) as PeerRow
  return {
    hello: {
      version: '1.0.0',
      selfId: fakeId(900),
      now,
      historySince: now - DAY,
      has: { friends: true, replication: true },
    },
    peers,
    history,
    feeds,
    status,
    findings: [
      {
        code: 'transportDown',
        severity: 'warning',
        message: `every onion dial fails: most likely Tor does not run (12 routes); it is tried again on ${new Date(now + 2 * MINUTE).toISOString()}`,
        remedy: 'start Tor: its SOCKS proxy is looked for at 127.0.0.1, port 9050 (or 9150, the one of Tor Browser)',
        since: now - 25 * MINUTE,
        peers: [],
      },
      {
        code: 'friendsAway',
        severity: 'info',
        message: '1 HIGH peer has not been connected for more than 7 d',
        remedy: 'peer.explain says why, for each; ask them for an address that works',
        since: now - 9 * DAY,
        peers: [dead.id],
      },
    ],
    sync: { phase: 'off', peer: null, have: null, want: null, rate: null, etaMs: null },
    explain: (target) => {
      const peer = byTarget.get(target)
      return peer ? explanationOf(peer, target, now) : null
    },
  }
}

function dayOf(
  peer: PeerRow,
  {
    now,
    since,
    between,
    roll,
  }: { now: number; since: number; between: (a: number, b: number) => number; roll: () => number },
): HistoryEntry[] {
  const found: HistoryEntry[] = []
  const address = peer.routes[0]?.address ?? ''
  const kind = peer.routes[0]?.class ?? 'net'
  const isUp = peer.connection.status === 'connected'
  const ends: readonly CloseReason[] = ['rotation', 'closed', 'closed', 'lifetime', 'dead']
  if (isUp)
    found.push({
      kind: 'connection',
      peer: peer.id,
      address: peer.connection.address,
      direction: peer.connection.direction ?? 'outbound',
      class: peer.class,
      from: Math.round(since),
      to: null,
      why: peer.cause,
      ended: null,
    })
  if (peer.visitedAt !== null) {
    let at = isUp ? since : (peer.visitedAt ?? now)
    while (at > now - DAY) {
      const to = at - between(4 * MINUTE, 90 * MINUTE)
      const from = to - between(6 * MINUTE, 60 * MINUTE)
      if (to < now - DAY) break
      const isInbound = roll() < 0.25
      found.push({
        kind: 'connection',
        peer: peer.id,
        address: isInbound ? null : address,
        direction: isInbound ? 'inbound' : 'outbound',
        class: isInbound ? null : kind,
        from: Math.round(from),
        to: Math.round(to),
        why: isInbound ? 'inbound' : 'schedule',
        ended: ends[Math.floor(roll() * ends.length)] as string,
      })
      if (roll() < 0.3) found.push(failure(peer.id, address, kind, to + 30_000, 'ECONNRESET'))
      at = from - between(0, 2 * HOUR)
    }
  }
  const errors = peer.routes[0]?.errorCount ?? 0
  let at = now - between(MINUTE, 30 * MINUTE)
  for (let n = 0; n < errors * 2; n++) {
    found.push(failure(peer.id, address, kind, at, peer.routes[0]?.lastError?.code ?? 'ETIMEDOUT'))
    at -= between(2 * MINUTE, 80 * MINUTE)
  }
  if (isUp && peer.connection.rtt !== null)
    for (let rttAt = since + MINUTE; rttAt < now; rttAt += 5 * MINUTE)
      found.push({
        kind: 'rtt',
        peer: peer.id,
        at: Math.round(rttAt),
        rttMs: Math.round(peer.connection.rtt.mean * between(0.8, 1.4)),
      })
  return found
}

const failure = (peer: string, address: string, kind: string, at: number, error: string): HistoryEntry => ({
  kind: 'failed',
  peer,
  address,
  class: kind,
  from: Math.round(at - 4_000),
  to: Math.round(at),
  why: 'schedule',
  error,
})

export function statusOf(peers: readonly PeerRow[], now: number): Status {
  const classes: { [name: string]: ClassStatus } = {}
  const max: Readonly<Record<string, number>> = { rtc: 3, net: 8, onion: 3, ws: 0, wss: 2, local: 5, tunnel: 4 }
  for (const name of Object.keys(max)) {
    const of = (status: string): number =>
      peers.filter((peer) => peer.class === name && peer.connection.status === status).length
    const routes = peers
      .flatMap((peer) => peer.routes)
      .filter((route) => route.class === name && route.status === 'idle')
    const pauses = routes.map((route) => route.nextAttemptAt).filter((at) => at > now)
    classes[name] = {
      max: max[name] as number,
      connected: of('connected'),
      dialing: of('dialing'),
      closing: of('closing'),
      waiting: routes.length,
      nextAttemptAt: pauses.length === 0 ? null : Math.min(...pauses),
      successRate: routes.length === 0 ? null : name === 'onion' ? 0 : 0.62,
    }
  }
  return {
    mode: 'on',
    classes,
    inbound: { connected: peers.filter((peer) => peer.connection.direction === 'inbound').length, max: null },
    environment: {
      link: 'up',
      isBusy: false,
      down: [{ layer: 'transport:onion', since: now - 25 * MINUTE, retryAt: now + 2 * MINUTE }],
    },
    lifetimeMs: null,
    peers: peers.length,
    routes: peers.reduce((sum, peer) => sum + peer.routes.length, 0),
    dialing: peers.filter((peer) => peer.connection.status === 'dialing').length,
    lingering: 0,
  }
}

/** As `peer.explain` answers. */
export function explanation(more: Partial<Explanation>): Explanation {
  return {
    connected: false,
    reason: null,
    until: null,
    message: 'nothing stands in its way',
    remedy: null,
    address: null,
    routes: [],
    ...more,
  }
}

function explanationOf(peer: PeerRow, target: string, now: number): Explanation {
  const refusal = (route: RouteRow): Pick<RouteExplanation, 'reason' | 'until' | 'message' | 'remedy'> => {
    const { connection } = peer
    const so = (reason: RefusalReason, message: string, until: number | null = null) => ({
      reason,
      until,
      message,
      remedy: null,
    })
    if (peer.priority === 'BANNED') return so('banned', 'the peer is banned')
    if (connection.status === 'connected')
      return so('peerConnected', `the peer has a connection (${connection.direction})`)
    if (connection.status === 'dialing') return so('peerDialing', 'the peer is being dialed')
    if (route.nextAttemptAt > now)
      return so(
        'backoff',
        `${route.errorCount} failed dial${route.errorCount === 1 ? '' : 's'} in a row`,
        route.nextAttemptAt,
      )
    return so('slotsFull', `all slots of ${route.class} are taken`)
  }
  const routes = peer.routes
    .filter((route) => target === peer.id || route.address === target)
    .map(
      (route): RouteExplanation => ({
        address: route.address,
        ...refusal(route),
        source: route.source,
        errorCount: route.errorCount,
        lastError: route.lastError,
        connectionCount: route.connectionCount,
        lastConnectionTime: route.lastConnectionTime,
        lastErrorTime: route.lastError?.at ?? null,
        nextAttemptAt: route.nextAttemptAt,
        slots: { class: route.class, max: 3, connected: 3, dialing: 0, closing: 0 },
        down: [],
      }),
    )
  const [first] = routes
  if (peer.connection.status === 'connected') {
    const since = new Date(peer.connection.since ?? 0).toISOString()
    return explanation({ connected: true, message: `connected ${peer.connection.direction} since ${since}`, routes })
  }
  return explanation({
    reason: first?.reason ?? 'noRoute',
    until: first?.until ?? null,
    message: first?.message ?? 'the peer is known, but no route to it',
    address: first?.address ?? null,
    routes,
  })
}
