/**
 * Who is in the network: pubs, clients of several habits, newcomers, and who follows whom. Drawn from a seed, before anything
 * happens; nothing here knows of time or managers.
 */
import { type Draws, runningSums } from './draws'

export const SECOND = 1_000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** `always` and pubs never go; a desktop is on for hours, a phone for minutes, each by the hours of its day. */
export type Habit = 'pub' | 'always' | 'desktop' | 'phone'

export interface Person {
  readonly index: number
  readonly habit: Habit
  readonly isNewcomer: boolean
  /** Has a public address. */
  readonly isReachable: boolean
  readonly cluster: number
  /** By index, the pubs it is a member of included. */
  readonly follows: ReadonlySet<number>
  /** Pubs it is a member of, which follow it. */
  readonly pubs: readonly number[]
  /** Ms after midnight of the simulation at which its day begins; it ends 16 hours later. */
  readonly wakesAt: number
  /** Mean ms of being on between two of its messages; 0: it never writes. */
  readonly writesEveryMs: number
}

export interface Shape {
  readonly pubs: number
  readonly clients: number
  readonly newcomers: number
  /** 1: pubs take the feeds of their members; 2: of those whom they follow, too. */
  readonly pubHops: 1 | 2
}

const CLUSTER_SIZE = 25
const REACHABLE_SHARE = 0.1
/** The share of people, and the hours of a day that they are on, about. */
const HABITS: readonly (readonly [Habit, share: number, hoursOn: number])[] = [
  ['always', 0.1, 24],
  ['desktop', 0.45, 9],
  ['phone', 0.45, 2.5],
]
const MESSAGES_A_DAY = 5

/**
 * Clients follow 5 to 100 others, 30 on average: most of them in their own cluster, some by fame, a few in the next cluster,
 * which is what makes a small world. They are members of 3 to 10 pubs: those of their cluster and the famous.
 */
export function drawPeople(shape: Shape, draws: Draws): Person[] {
  const people: Person[] = []
  const pubFame = runningSums(Array.from({ length: shape.pubs }, (_, rank) => 1 / (rank + 1) ** 0.8))
  const clusters = Math.max(1, Math.round(shape.clients / CLUSTER_SIZE))
  const homePubs = Array.from({ length: clusters }, () => [0, 1, 2].map(() => draws.int(0, shape.pubs - 1)))
  const first = shape.pubs
  const fame = runningSums(Array.from({ length: shape.clients }, () => 1 / (draws.next() * 50 + 1)))
  const members = Array.from({ length: clusters }, (_, cluster) => {
    const inIt: number[] = []
    for (let client = cluster; client < shape.clients; client += clusters) inIt.push(first + client)
    return inIt
  })

  for (let index = 0; index < shape.pubs; index++) {
    const follows = new Set<number>()
    const wanted = Math.min(shape.pubs - 1, Math.round(draws.logBetween(3, 10)))
    while (follows.size < wanted) {
      const other = draws.weighted(pubFame)
      if (other !== index) follows.add(other)
    }
    people.push({
      index,
      habit: 'pub',
      isNewcomer: false,
      isReachable: true,
      cluster: -1,
      follows,
      pubs: [],
      wakesAt: 0,
      writesEveryMs: 0,
    })
  }

  for (let each = 0; each < shape.clients + shape.newcomers; each++) {
    const index = first + each
    const isNewcomer = each >= shape.clients
    const cluster = isNewcomer ? draws.int(0, clusters - 1) : each % clusters
    const follows = new Set<number>()
    const wanted = Math.min(shape.clients - 1, Math.round(draws.logBetween(5, isNewcomer ? 30 : 100)))
    for (let tries = 0; follows.size < wanted && tries < 40 * wanted; tries++) {
      const way = draws.next()
      const other =
        way < 0.6
          ? draws.pick(members[cluster] as number[])
          : way < 0.9
            ? first + draws.weighted(fame)
            : draws.pick(members[(cluster + 1) % clusters] as number[])
      if (other !== index) follows.add(other)
    }
    const pubs = new Set<number>()
    const pubCount = Math.min(shape.pubs, isNewcomer ? 1 : Math.round(draws.logBetween(3, 10)))
    while (pubs.size < pubCount)
      pubs.add(draws.chance(0.4) ? draws.pick(homePubs[cluster] as number[]) : draws.weighted(pubFame))
    for (const pub of pubs) follows.add(pub)
    // Newcomers stay for a while, so that what is seen of them is not their habit.
    const [habit, , hoursOn] = isNewcomer
      ? (['always', 1, 24] as const)
      : (HABITS[draws.weighted(runningSums(HABITS.map(([, share]) => share)))] as (typeof HABITS)[number])
    const isReachable = habit !== 'phone' && draws.chance(REACHABLE_SHARE / 0.55)
    const perDay = MESSAGES_A_DAY * Math.exp(draws.bell() - 0.5)
    // Most live within a few hours of each other, the others anywhere.
    const wakesAt = draws.chance(0.7) ? draws.between(5, 11) * HOUR : draws.between(0, 24) * HOUR
    const writesEveryMs = (hoursOn * HOUR) / perDay
    people.push({ index, habit, isNewcomer, isReachable, cluster, follows, pubs: [...pubs], wakesAt, writesEveryMs })
  }

  // Pubs follow their members back. Somebody follows a newcomer as it comes, else nobody would read it.
  const follow = (who: number, whom: number): void => {
    const { follows } = people[who] as Person
    ;(follows as Set<number>).add(whom)
  }
  for (const { index, pubs } of people) for (const pub of pubs) follow(pub, index)
  for (const { index, isNewcomer, cluster } of people)
    if (isNewcomer) for (const each of members[cluster] as number[]) if (draws.chance(0.5)) follow(each, index)
  return people
}

/** The feeds that each of them replicates. */
export function wantedFeeds(people: readonly Person[], pubHops: 1 | 2): ReadonlySet<number>[] {
  return people.map((person) => {
    const wanted = new Set(person.follows)
    if (person.habit === 'pub' && pubHops === 2)
      for (const member of person.follows) for (const feed of people[member]?.follows ?? []) wanted.add(feed)
    wanted.delete(person.index)
    return wanted
  })
}
