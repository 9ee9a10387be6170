/** Figures from what a world wrote down (world.ts). Times in ms; null where there is nothing to say. */
import { mean, quantile } from './draws'
import { histogram, peak } from './herd'
import { HOUR, MINUTE, SECOND } from './people'
import type { Host, Message, Outage, World } from './world'

/** The network fills up in the first hour, and what is posted in the last one has no time to arrive. */
const WARM_UP_MS = HOUR
const LAST_MS = HOUR

/** Delays until a share of the followers had a message; the median over messages. Infinity: half of them never came so far. */
export interface Spread {
  readonly messages: number
  readonly half: number | null
  readonly most: number | null
  readonly nearlyAll: number | null
}

export interface OutageReport {
  readonly pub: number
  readonly how: string
  readonly forMs: number
  readonly clients: number
  readonly dialsWhileAway: number
  readonly peakWhileAwayPerSecond: number
  readonly peakAfterPerSecond: number
  /** Of those who were connected. */
  readonly backWithin: { readonly hour: number; readonly medianMs: number | null }
  /** Until they had as many connections as before, from when it went. */
  readonly asManyMedianMs: number | null
  readonly asManyP95Ms: number | null
  readonly asManyShare: number
  /** Dials at it per 10 s after the return. */
  readonly per10Seconds: readonly number[]
}

export interface Report {
  readonly seed: number
  readonly hours: number
  readonly managers: number
  readonly hash: string
  readonly messages: number
  readonly deliveries: number
  /** Followers who were on when it was posted: their time, from the post; and from when its author's machine had passed it on. */
  readonly online: Spread
  readonly onlineSincePassedOn: Spread
  /** Messages that went away with their author before anybody had them: passed on ten minutes later, or never. */
  readonly stuckShare: number
  /** Followers who were off: the time that they have been on since. */
  readonly offline: { readonly pairs: number; readonly medianMs: number | null; readonly p90Ms: number | null }
  /** Of followers with an hour or more on since the post; and those to whom some path leads, see `pathsOf`. */
  readonly undeliveredShare: number
  readonly undeliveredWithPathShare: number
  /** Followers to whom no path leads. */
  readonly pathlessShare: number
  readonly pubs: {
    readonly connectionsMean: number
    readonly connectionsMax: number
    readonly busiestMean: number
    readonly dialsPerHourMean: number
    readonly dialsPerHourMax: number
    readonly busiestShareOfDials: number
    readonly busiestShareOfConnections: number
    readonly busiestShareOfMembers: number
  }
  readonly clients: {
    readonly dialsPerOnlineHour: number
    readonly dialsPerOnlineHourP95: number
    readonly dialsPerHourAlways: number
    readonly wastedShare: number
    readonly briefShare: number
    readonly outboundMean: number
    readonly aloneShare: number
    readonly fillMedianMs: number | null
    readonly fillP95Ms: number | null
  }
  readonly newcomers: {
    readonly count: number
    readonly knownRoutesMedian: number | null
    readonly fillMedianMs: number | null
    readonly fillP95Ms: number | null
    readonly filledShare: number
    readonly spread: Spread
    readonly oldSpread: Spread
    readonly pathlessShare: number
    readonly undeliveredShare: number
    readonly undeliveredWithPathShare: number
    readonly outboundMean: number
  }
  /** Clients that are always on: of the pubs that they know, by priority, how many they had a connection to in the whole time. */
  readonly visits: readonly {
    readonly priority: string
    readonly pubs: number
    readonly visitedShare: number
    /** Since the last time, or the beginning. */
    readonly medianAgeMs: number | null
    readonly p95AgeMs: number | null
  }[]
  readonly outages: readonly OutageReport[]
  readonly doubles: { readonly count: number; readonly longestMs: number }
  readonly violations: readonly string[]
}

export function report(world: World): Report {
  const end = world.t
  const all = world.feeds.flat().filter(({ at }) => at >= 0)
  const counted = all.filter(({ at }) => at >= Math.min(WARM_UP_MS, end / 4) && at <= end - Math.min(LAST_MS, end / 4))
  const old = counted.filter(({ isByNewcomer }) => !isByNewcomer)
  const paths = pathsOf(world)
  return {
    seed: world.options.seed,
    hours: world.options.hours,
    managers: world.hosts.length,
    hash: world.hash(),
    messages: all.length,
    deliveries: world.deliveries,
    online: spreadOf(old, () => 0),
    onlineSincePassedOn: spreadOf(old, ({ at, firstAt }) => (firstAt ?? Number.POSITIVE_INFINITY) - at),
    stuckShare: share(old, ({ at, firstAt }) => firstAt === null || firstAt - at > 10 * MINUTE),
    offline: offlineOf(world, old),
    undeliveredShare: undelivered(world, old, null),
    undeliveredWithPathShare: undelivered(world, old, paths),
    pathlessShare: pathless(world, paths),
    pubs: pubsOf(world),
    clients: clientsOf(world),
    newcomers: newcomersOf(world, counted, paths),
    visits: visitsOf(world),
    outages: world.outages.map((outage) => outageOf(outage)),
    doubles: world.doubles,
    violations: world.violations,
  }
}

function share<T>(list: readonly T[], holds: (each: T) => boolean): number {
  return list.filter(holds).length / Math.max(1, list.length)
}

function spreadOf(messages: readonly Message[], less: (message: Message) => number): Spread {
  const halves: number[] = []
  const most: number[] = []
  const nearlyAll: number[] = []
  for (const message of messages) {
    const delays: number[] = []
    const since = less(message)
    message.delay.forEach((delay, at) => {
      if (message.wasOn[at] === 1)
        delays.push(
          Number.isNaN(delay) || since === Number.POSITIVE_INFINITY
            ? Number.POSITIVE_INFINITY
            : Math.max(0, delay - since),
        )
    })
    if (delays.length === 0) continue
    halves.push(quantile(delays, 0.5) as number)
    most.push(quantile(delays, 0.9) as number)
    nearlyAll.push(quantile(delays, 0.99) as number)
  }
  return {
    messages: halves.length,
    half: quantile(halves, 0.5),
    most: quantile(most, 0.5),
    nearlyAll: quantile(nearlyAll, 0.5),
  }
}

function offlineOf(world: World, messages: readonly Message[]): Report['offline'] {
  const delays: number[] = []
  for (const message of messages)
    message.delay.forEach((delay, at) => {
      if (message.wasOn[at] === 1) return
      const follower = world.hosts[world.followers[message.feed]?.[at] as number] as Host
      const onSince = world.onlineMs(follower) - (message.base[at] as number)
      if (onSince > 0) delays.push(Number.isNaN(delay) ? Number.POSITIVE_INFINITY : delay)
    })
  return { pairs: delays.length, medianMs: quantile(delays, 0.5), p90Ms: quantile(delays, 0.9) }
}

/**
 * By feed, whom its messages could reach at all: along those who want the feed, where one knows an address of the other. What
 * they know at the end counts. Nothing that the manager decides can do better.
 */
function pathsOf(world: World): ReadonlySet<number>[] {
  const indexOf = new Map(world.hosts.map(({ id, index }) => [id, index]))
  const neighbours = world.hosts.map(() => new Set<number>())
  for (const { index, manager, table } of world.hosts) {
    const known = manager ? manager.internal.store.getState().routes.valuesArray() : (table?.routes ?? [])
    for (const each of known) {
      const other = indexOf.get('route' in each ? each.route.peer : each.peer) as number
      neighbours[index]?.add(other)
      neighbours[other]?.add(index)
    }
  }
  return world.feeds.map((_, feed) => {
    const reached = new Set([feed])
    for (const each of reached)
      for (const next of neighbours[each] ?? []) if (world.hosts[next]?.wants[feed] === 1) reached.add(next)
    return reached
  })
}

/** Who was never on knows nobody yet. */
function wasOn(world: World, index: number): boolean {
  return world.onlineMs(world.hosts[index] as Host) > 0
}

function pathless(world: World, paths: readonly ReadonlySet<number>[]): number {
  const pairs = world.followers.flatMap((followers, feed) =>
    world.people[feed]?.isNewcomer
      ? []
      : followers.filter((each) => wasOn(world, each)).map((follower) => paths[feed]?.has(follower) ?? false),
  )
  return share(pairs, (isReached) => !isReached)
}

function visitsOf(world: World): Report['visits'] {
  const ages = new Map<string, number[]>()
  let visited = new Map<string, number>()
  const now = world.base.now()
  for (const { person, manager, sessions } of world.hosts) {
    if (person.habit !== 'always' || person.isNewcomer || !manager || sessions > 1) continue
    const { routes, peers } = manager.internal.store.getState()
    for (const route of routes.values()) {
      const other = world.hosts.find(({ id }) => id === route.peer)
      if (other?.person.habit !== 'pub') continue
      const peer = peers.get(route.peer)
      const priority = peer?.priority ?? 'LOW'
      const isConnected = peer?.connection.status === 'connected'
      const lastAt = isConnected ? now : Math.max(route.lastConnectionTime, peer?.visitedAt ?? 0)
      if (lastAt > 0) visited = visited.set(priority, (visited.get(priority) ?? 0) + 1)
      const list = ages.get(priority) ?? []
      list.push(lastAt > 0 ? now - lastAt : world.t)
      ages.set(priority, list)
    }
  }
  return ['HIGH', 'MEDIUM', 'LOW'].flatMap((priority) => {
    const list = ages.get(priority) ?? []
    if (list.length === 0) return []
    const visitedShare = (visited.get(priority) ?? 0) / list.length
    return [
      { priority, pubs: list.length, visitedShare, medianAgeMs: quantile(list, 0.5), p95AgeMs: quantile(list, 0.95) },
    ]
  })
}

function undelivered(world: World, messages: readonly Message[], paths: readonly ReadonlySet<number>[] | null): number {
  let pairs = 0
  let missing = 0
  for (const message of messages)
    message.delay.forEach((delay, at) => {
      const follower = world.hosts[world.followers[message.feed]?.[at] as number] as Host
      if (world.onlineMs(follower) - (message.base[at] as number) < HOUR) return
      if (paths && !paths[message.feed]?.has(follower.index)) return
      pairs++
      if (Number.isNaN(delay)) missing++
    })
  return missing / Math.max(1, pairs)
}

function pubsOf(world: World): Report['pubs'] {
  const samples = world.samples.filter(({ at }) => at >= WARM_UP_MS / 2)
  const means = world.dialsAtPubs.map((_, pub) =>
    mean(samples.map(({ pubConnections }) => pubConnections[pub] as number)),
  )
  const busiest = means.indexOf(Math.max(...means))
  const dials = world.dialsAtPubs.map((hours) => hours.reduce((sum, each) => sum + each, 0))
  const members = world.dialsAtPubs.map((_, pub) => world.people.filter(({ pubs }) => pubs.includes(pub)).length)
  const shareOf = (list: readonly number[]): number =>
    (list[busiest] as number) /
    Math.max(
      1,
      list.reduce((sum, each) => sum + each, 0),
    )
  return {
    connectionsMean: mean(means),
    connectionsMax: Math.max(0, ...samples.flatMap(({ pubConnections }) => pubConnections)),
    busiestMean: means[busiest] as number,
    dialsPerHourMean: mean(dials) / world.options.hours,
    dialsPerHourMax: Math.max(...world.dialsAtPubs.flat().filter((each) => each !== undefined)),
    busiestShareOfDials: shareOf(dials),
    busiestShareOfConnections: shareOf(means),
    busiestShareOfMembers: shareOf(members),
  }
}

function clientsOf(world: World): Report['clients'] {
  const clients = world.hosts.filter(({ person }) => person.habit !== 'pub' && !person.isNewcomer)
  const rates = clients
    .map((host) => ({ host, hours: world.onlineMs(host) / HOUR }))
    .filter(({ hours }) => hours > 0.5)
    .map(({ host, hours }) => ({ host, rate: host.dials / hours }))
  const on = clients.reduce((sum, host) => sum + world.onlineMs(host), 0) / HOUR
  const samples = world.samples.filter(({ at }) => at >= WARM_UP_MS / 2)
  const clientsOn = samples.reduce((sum, each) => sum + each.clientsOn, 0)
  const fills = world.fills
    .filter(({ host, isFirst }) => !isFirst && world.people[host]?.habit !== 'pub')
    .map(({ ms }) => ms)
  return {
    dialsPerOnlineHour: clients.reduce((sum, host) => sum + host.dials, 0) / on,
    dialsPerOnlineHourP95:
      quantile(
        rates.map(({ rate }) => rate),
        0.95,
      ) ?? 0,
    dialsPerHourAlways: mean(rates.filter(({ host }) => host.person.habit === 'always').map(({ rate }) => rate)),
    wastedShare: 1 - world.connections / Math.max(1, world.dials),
    briefShare: world.briefConnections / Math.max(1, world.connections),
    outboundMean: samples.reduce((sum, each) => sum + each.clientOutbound, 0) / clientsOn,
    aloneShare: samples.reduce((sum, each) => sum + each.clientsAlone, 0) / clientsOn,
    fillMedianMs: quantile(fills, 0.5),
    fillP95Ms: quantile(fills, 0.95),
  }
}

function newcomersOf(
  world: World,
  counted: readonly Message[],
  paths: readonly ReadonlySet<number>[],
): Report['newcomers'] {
  const newcomers = world.hosts.filter(({ person, manager }) => person.isNewcomer && manager)
  const fills = world.fills.filter(({ host, isFirst }) => isFirst && world.people[host]?.isNewcomer).map(({ ms }) => ms)
  const since = world.options.newcomersAtMs
  // The same hours, and authors that stay on as the newcomers do.
  const recent = counted.filter(({ at, feed }) => at >= since && world.people[feed]?.habit === 'always')
  return {
    count: newcomers.length,
    knownRoutesMedian: quantile(
      newcomers.map(({ manager }) => manager?.internal.store.getState().routes.size ?? 0),
      0.5,
    ),
    fillMedianMs: quantile(fills, 0.5),
    fillP95Ms: quantile(fills, 0.95),
    filledShare: fills.length / Math.max(1, newcomers.length),
    spread: spreadOf(
      recent.filter(({ isByNewcomer }) => isByNewcomer),
      () => 0,
    ),
    oldSpread: spreadOf(
      recent.filter(({ isByNewcomer }) => !isByNewcomer),
      () => 0,
    ),
    outboundMean: mean(newcomers.map(({ outbound }) => outbound)),
    pathlessShare: share(
      newcomers.flatMap(({ index }) =>
        (world.followers[index] ?? [])
          .filter((each) => wasOn(world, each))
          .map((follower) => paths[index]?.has(follower)),
      ),
      (isReached) => isReached !== true,
    ),
    undeliveredShare: undelivered(
      world,
      recent.filter(({ isByNewcomer }) => isByNewcomer),
      null,
    ),
    undeliveredWithPathShare: undelivered(
      world,
      recent.filter(({ isByNewcomer }) => isByNewcomer),
      paths,
    ),
  }
}

function outageOf(outage: Outage): OutageReport {
  const { forMs, before } = outage
  const away = outage.dialsAt.filter((at) => at < forMs)
  const after = outage.dialsAt.filter((at) => at >= forMs && at < forMs + HOUR).map((at) => at - forMs)
  const back = [...outage.backAt]
    .filter(([client, ms]) => before.has(client) && ms < forMs + HOUR)
    .map(([, ms]) => ms - forMs)
  const asMany = [...outage.asManyAt.values()]
  return {
    pub: outage.pub,
    how: outage.how,
    forMs,
    clients: before.size,
    dialsWhileAway: away.length,
    peakWhileAwayPerSecond: peak(away, SECOND),
    peakAfterPerSecond: peak(after, SECOND),
    backWithin: { hour: back.length, medianMs: quantile(back, 0.5) },
    asManyMedianMs: quantile(asMany, 0.5),
    asManyP95Ms: quantile(asMany, 0.95),
    asManyShare: asMany.length / Math.max(1, before.size - outage.gone.size),
    per10Seconds: histogram(after, 10 * SECOND, 12),
  }
}

// ---- as text ----------------------------------------------------------------------------------------------------------

export function time(ms: number | null): string {
  if (ms === null) return '-'
  if (ms === Number.POSITIVE_INFINITY) return 'never'
  if (ms < SECOND) return `${Math.round(ms)} ms`
  if (ms < 2 * MINUTE) return `${(ms / SECOND).toFixed(1)} s`
  return ms < 2 * HOUR ? `${(ms / MINUTE).toFixed(1)} min` : `${(ms / HOUR).toFixed(1)} h`
}

const percent = (part: number): string => `${(100 * part).toFixed(part < 0.01 ? 2 : 1)} %`
const count = (value: number): string => (value >= 100 ? String(Math.round(value)) : value.toFixed(1))
const spread = ({ half, most, nearlyAll }: Spread): string => `${time(half)}, ${time(most)}, ${time(nearlyAll)}`

/** Rows of a table of two columns. */
export function rowsOf(made: Report): readonly (readonly [string, string])[] {
  const { pubs, clients, newcomers } = made
  return [
    ['messages; deliveries', `${made.messages}; ${made.deliveries}`],
    ['until 50, 90, 99 % of the followers that are on have it', spread(made.online)],
    ['the same since its author passed it on', spread(made.onlineSincePassedOn)],
    ['messages not passed on within 10 min (the author left)', percent(made.stuckShare)],
    [
      'followers that were off: on again for (median, 90 %)',
      `${time(made.offline.medianMs)}, ${time(made.offline.p90Ms)}`,
    ],
    [
      'not delivered, though an hour or more on since; to whom a path leads',
      `${percent(made.undeliveredShare)}; ${percent(made.undeliveredWithPathShare)}`,
    ],
    ['followers to whom no path leads', percent(made.pathlessShare)],
    ...made.visits.map(({ priority, pubs, visitedShare, medianAgeMs, p95AgeMs }): [string, string] => [
      `always on: ${priority} pubs known, visited ever; last visit, median, 95 %`,
      `${pubs}, ${percent(visitedShare)}; ${time(medianAgeMs)}, ${time(p95AgeMs)}`,
    ]),
    [
      'pubs: connections, mean of all; of the busiest; most seen',
      `${count(pubs.connectionsMean)}; ${count(pubs.busiestMean)}; ${pubs.connectionsMax}`,
    ],
    ['pubs: dials an hour, mean; most in an hour at one', `${count(pubs.dialsPerHourMean)}; ${pubs.dialsPerHourMax}`],
    [
      'busiest pub: share of members, connections, dials',
      [pubs.busiestShareOfMembers, pubs.busiestShareOfConnections, pubs.busiestShareOfDials].map(percent).join(', '),
    ],
    [
      'clients: dials per hour on, mean; 95 %; those always on',
      `${count(clients.dialsPerOnlineHour)}; ${count(clients.dialsPerOnlineHourP95)}; ${count(clients.dialsPerHourAlways)}`,
    ],
    [
      'dials that led to no connection; connections hung up within 1 s',
      `${percent(clients.wastedShare)}; ${percent(clients.briefShare)}`,
    ],
    [
      'clients: connections dialed, mean; without any connection',
      `${clients.outboundMean.toFixed(2)}; ${percent(clients.aloneShare)}`,
    ],
    [
      'clients: start of a session to full slots, median, 95 %',
      `${time(clients.fillMedianMs)}, ${time(clients.fillP95Ms)}`,
    ],
    [
      'newcomers: to full slots, median, 95 %; of all',
      `${time(newcomers.fillMedianMs)}, ${time(newcomers.fillP95Ms)}; ${percent(newcomers.filledShare)}`,
    ],
    [
      'newcomers: routes known at the end; connections dialed',
      `${newcomers.knownRoutesMedian}; ${newcomers.outboundMean.toFixed(2)}`,
    ],
    ['newcomers: 50, 90, 99 % of the followers have a message', spread(newcomers.spread)],
    [
      'newcomers: not delivered in an hour; where a path leads; no path',
      `${percent(newcomers.undeliveredShare)}; ${percent(newcomers.undeliveredWithPathShare)}; ${percent(newcomers.pathlessShare)}`,
    ],
    ['old members who are always on, the same hours', spread(newcomers.oldSpread)],
    ...made.outages.flatMap((outage): [string, string][] => [
      [
        `pub ${outage.pub + 1} away for ${time(outage.forMs)} (${outage.how}), ${outage.clients} clients: dials while away; most per s`,
        `${outage.dialsWhileAway}; ${outage.peakWhileAwayPerSecond}`,
      ],
      [
        '… most dials per s after its return; back within an hour; their median',
        `${outage.peakAfterPerSecond}; ${outage.backWithin.hour}; ${time(outage.backWithin.medianMs)}`,
      ],
      [
        '… as many connections as before: median, 95 %; of those who stayed',
        `${time(outage.asManyMedianMs)}, ${time(outage.asManyP95Ms)}; ${percent(outage.asManyShare)}`,
      ],
    ]),
    ['two connections of a pair: times; longest', `${made.doubles.count}; ${time(made.doubles.longestMs)}`],
    ['invariants broken', made.violations.length === 0 ? 'none' : made.violations.slice(0, 3).join('; ')],
  ]
}
