/**
 * Which route first. One comparator for each index, and the turn-taking that keeps any group of routes from starving another.
 *
 * `ready` holds the routes whose pause is over, ordered as DESIGN 4 "Order" says: long-term first (their own queue), then by
 * priority, then routes without a recent error before those with one, then never connected or longest ago connected first,
 * then longest ago failed, ties by a keyed hash. `waiting` holds the others, by the time at which they fall due.
 */
import { isStranger } from './merit'
import { byText } from './tree'
import type { ClassState, Peer, Priority, RankKey, Route } from './types'

export const PRIORITIES: readonly Priority[] = ['HIGH', 'MEDIUM', 'LOW', 'BANNED']
/** By tier. Of LOW ones there are two: those of whom somebody we trust has said so come before mere addresses. */
export const TIERS: readonly Priority[] = ['HIGH', 'MEDIUM', 'LOW', 'LOW', 'BANNED']
export const STRANGER_TIER = 3

/** Who sets a priority by hand; no module overrides it. */
export const USER = 'user'

export function tierOf(priority: Priority): number {
  return TIERS.indexOf(priority)
}

/** The tier of a peer's routes. */
export function tierOfPeer(peer: Pick<Peer, 'priority' | 'prioritisedBy'>): number {
  return isStranger(peer) ? STRANGER_TIER : tierOf(peer.priority)
}

/** LOW, whoever says so. */
export function isLow(tier: number): boolean {
  return tier === 2 || tier === STRANGER_TIER
}

export function priorityOfTier(tier: number): Priority {
  return TIERS[tier] ?? 'BANNED'
}

function hasError(key: RankKey): number {
  return key.errorCount > 0 ? 1 : 0
}

export function higherPriorityFirst(a: RankKey, b: RankKey): number {
  return a.tier - b.tier
}

export function withoutErrorFirst(a: RankKey, b: RankKey): number {
  return hasError(a) - hasError(b)
}

/** By the end of the last connection and what the peer is worth (merit.ts). Never connected counts as longest ago. */
export function earliestTurnFirst(a: RankKey, b: RankKey): number {
  return a.turnAt - b.turnAt
}

export function longestAgoFailedFirst(a: RankKey, b: RankKey): number {
  return a.lastErrorTime - b.lastErrorTime
}

/** Ties: repeatable for us, unpredictable for somebody who picks his keys to come first (bitcoin, keyed netgroup). */
export function keyedTie(a: RankKey, b: RankKey): number {
  return a.tie - b.tie || byText(a.address, b.address)
}

export function compareReady(a: RankKey, b: RankKey): number {
  return byText(a.queue, b.queue) || compareInQueue(a, b)
}

export function compareInQueue(a: RankKey, b: RankKey): number {
  return (
    higherPriorityFirst(a, b) ||
    withoutErrorFirst(a, b) ||
    earliestTurnFirst(a, b) ||
    longestAgoFailedFirst(a, b) ||
    keyedTie(a, b)
  )
}

export function compareWaiting(a: RankKey, b: RankKey): number {
  return byText(a.queue, b.queue) || a.dueAt - b.dueAt || keyedTie(a, b)
}

/** Of one peer's routes: local first, then the last one that worked, then fewest errors. */
export function compareRoutesOfPeer(a: Route, b: Route): number {
  return (
    Number(b.isLocal) - Number(a.isLocal) ||
    b.lastConnectionTime - a.lastConnectionTime ||
    a.errorCount - b.errorCount ||
    keyedTie(a, b)
  )
}

/** Who makes room when a peer or the table is full: never connected, then most failures, then newest. */
export function worstRouteFirst(a: Route, b: Route): number {
  return (
    b.tier - a.tier ||
    Number(a.lastConnectionTime > 0) - Number(b.lastConnectionTime > 0) ||
    b.errorCount - a.errorCount ||
    b.addedAt - a.addedAt ||
    keyedTie(a, b)
  )
}

/** A sub-queue of one class: routes of one priority, with or without a recent error, that did or never did connect. */
export interface Lane {
  readonly queue: string
  readonly tier: number
  readonly hasError: boolean
  readonly isProven: boolean
  /** Its place among the lanes of its queue. */
  readonly index: number
  /** A key that sorts before every route of the lane. */
  readonly start: RankKey
  /** A key that sorts after every route of the lane. */
  readonly end: RankKey
}

function makeLane(queue: string, tier: number, hasError: boolean, isProven: boolean): Lane {
  const errorCount = hasError ? 1 : 0
  const start = { queue, tier, errorCount, turnAt: isProven ? 1 : 0, lastErrorTime: -1, tie: -1, address: '', dueAt: 0 }
  const end = { ...start, turnAt: isProven ? Number.POSITIVE_INFINITY : 0, lastErrorTime: Number.POSITIVE_INFINITY }
  return { queue, tier, hasError, isProven, index: indexOf(tier, hasError, isProven), start, end }
}

function indexOf(tier: number, hasError: boolean, isProven: boolean): number {
  return 4 * tier + 2 * Number(hasError) + Number(isProven)
}

export function isInLane(route: RankKey, lane: Lane): boolean {
  return (
    route.queue === lane.queue &&
    route.tier === lane.tier &&
    hasError(route) === Number(lane.hasError) &&
    route.turnAt > 0 === lane.isProven
  )
}

/** Of a route that is in the index: whose peer is banned is not. */
export function laneOf(route: RankKey): Lane {
  return lanesOf(route.queue)[indexOf(route.tier, route.errorCount > 0, route.turnAt > 0)] as Lane
}

/** The lanes of a queue in the strict order; BANNED routes are in no index. */
export function lanesOf(queue: string): readonly Lane[] {
  const known = lanesByQueue.get(queue)
  if (known) return known
  const lanes: Lane[] = []
  for (const tier of [0, 1, 2, STRANGER_TIER])
    for (const error of [false, true])
      for (const isProven of [false, true]) lanes.push(makeLane(queue, tier, error, isProven))
  if (lanesByQueue.size >= MAX_KEPT) lanesByQueue.clear()
  lanesByQueue.set(queue, lanes)
  return lanes
}

/** Made once for each queue, as they are walked over with each plan. */
const lanesByQueue = new Map<string, readonly Lane[]>()
const MAX_KEPT = 64

/**
 * Neither proven nor vouched for, or it has failed and never worked: most likely nobody is there. While all slots are full
 * such routes are tried one at a time and seldom, as Bitcoin Core does with its feeler connections.
 */
export function isFeeler(route: Pick<RankKey, 'tier' | 'errorCount' | 'turnAt'>): boolean {
  return route.turnAt === 0 && (route.errorCount > 0 || route.tier === STRANGER_TIER)
}

/** Never dialed, and more than a stranger's word speaks for it: it may be worth much, and nobody knows yet. */
export function isTrial(route: Pick<RankKey, 'tier' | 'errorCount' | 'turnAt'>): boolean {
  return route.turnAt === 0 && !isFeeler(route)
}

/** Of one queue: four tiers, with or without a recent error, proven or not. */
export const LANES = 16

/** `vouched`: there is room only for routes that something more speaks for than a stranger's word. */
export type Turn =
  | { readonly kind: 'strict' }
  | { readonly kind: 'vouched' }
  | { readonly kind: 'proven' }
  | { readonly kind: 'lane'; readonly index: number }

/**
 * Whose turn the next scheduled dial of a class is. Every second dial goes to routes that have connected before, if one is
 * due: a flood of new addresses, which the strict order puts first, delays a known good one by one dial at most. Every eighth
 * goes round the lanes, so that each eligible route is reached in bounded time, however many better ones there are.
 */
export function turnOf(dialCount: ClassState['dialCount']): Turn {
  if (dialCount % 8 === 6) return { kind: 'lane', index: Math.floor(dialCount / 8) % LANES }
  return dialCount % 2 === 1 ? { kind: 'proven' } : { kind: 'strict' }
}
