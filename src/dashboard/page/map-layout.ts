/**
 * Where the peers stand on the map. Pure. We are in the middle; the nearer, the fresher: connected, in touch within the hour,
 * within the day, longer ago, never. Each class has a sector, so that a glance shows what works and what does not. Only the
 * most important ones are drawn, the others counted.
 */
import type { EpochMs, FeedId } from '../../core/types'
import type { PeerRow } from '../protocol'
import { type PeerState, peerState } from './words'

export interface MapNode {
  readonly peer: PeerRow
  readonly x: number
  readonly y: number
  readonly radius: number
  readonly ring: number
  readonly state: PeerState
  /** Which side its label goes, if there is room for one. */
  readonly label: 'left' | 'right' | null
}

export interface Sector {
  readonly class: string
  /** Radians, clockwise from above. */
  readonly from: number
  readonly to: number
  /** Peers in it, drawn or not, and of those connected. */
  readonly count: number
  readonly connected: number
}

export interface MapLayout {
  readonly nodes: readonly MapNode[]
  readonly sectors: readonly Sector[]
  readonly hidden: number
}

export interface MapFrame {
  readonly now: EpochMs
  readonly nodesMax: number
  /** Of the outermost ring; the middle is at 0, 0. */
  readonly radius: number
  readonly labelOf: (peer: PeerRow) => string
  /** Whose label is drawn even where it would not be otherwise. */
  readonly selected: FeedId | null
}

/** Outer edge of each ring, as a share of the radius. */
export const RINGS: readonly { readonly edge: number; readonly words: string }[] = [
  { edge: 0.4, words: 'connected' },
  { edge: 0.58, words: 'last hour' },
  { edge: 0.74, words: 'last day' },
  { edge: 0.88, words: 'longer ago' },
  { edge: 1, words: 'never' },
]
const RING_LETTER_WIDTH = 5.5

/** Where the words of a ring stand: the middle of their line, above ourselves. */
export function ringWordY(ring: number, radius: number): number {
  const inner = ring === 0 ? 0.24 : (RINGS[ring - 1]?.edge ?? 0)
  return -((inner + (RINGS[ring]?.edge ?? 1)) / 2) * radius
}

const HOUR = 3_600_000
const DAY = 24 * HOUR
const CLASS_ORDER = ['local', 'net', 'wss', 'ws', 'tunnel', 'onion', 'rtc', 'bt', 'dht', 'unix']
/** Between two nodes, from middle to middle. */
const SPACING = 13
const SECTOR_MIN = 0.34
/** Left free above, for the names of the rings. */
const GAP = 0.2
const SECTORS_MAX = 10
const FULL_RADIUS = 210
/** Of the disc in the middle, ourselves. */
export const MIDDLE_RADIUS = 11
const LETTER_WIDTH = 6.3
const LABEL_HEIGHT = 13

export function ringOf(peer: PeerRow, now: EpochMs): number {
  if (peer.connection.status === 'connected' || peer.connection.status === 'closing') return 0
  if (peer.connection.status === 'dialing') return 1
  if (!peer.visitedAt) return 4
  const age = now - peer.visitedAt
  return age < HOUR ? 1 : age < DAY ? 2 : 3
}

/** Of its connection, else of the route that worked last, else of the first. */
export function classOf(peer: PeerRow): string {
  if (peer.class !== null) return peer.class
  const [first, ...others] = peer.routes
  if (first === undefined) return 'no route'
  return others.reduce(
    (best, route) => ((route.lastConnectionTime ?? 0) > (best.lastConnectionTime ?? 0) ? route : best),
    first,
  ).class
}

const STATE_RANK: { readonly [state in PeerState]: number } = {
  connected: 0,
  closing: 1,
  dialing: 1,
  failing: 3,
  idle: 3,
  banned: 5,
}

/** Those first who would be missed first. */
export function moreImportantFirst(a: PeerRow, b: PeerRow): number {
  return (
    STATE_RANK[peerState(a)] - STATE_RANK[peerState(b)] ||
    Number(b.isLongTerm) - Number(a.isLongTerm) ||
    Number(b.hops === 1) - Number(a.hops === 1) ||
    (b.visitedAt ?? 0) - (a.visitedAt ?? 0) ||
    Number(b.priority === 'HIGH') - Number(a.priority === 'HIGH') ||
    (a.id < b.id ? -1 : 1)
  )
}

/** The first `max` of what `compare` orders, without sorting the others. */
export function best<T>(items: Iterable<T>, max: number, compare: (a: T, b: T) => number): T[] {
  let kept: T[] = []
  for (const item of items) {
    kept.push(item)
    if (kept.length >= max * 2 + 64) kept = kept.sort(compare).slice(0, max)
  }
  return kept.sort(compare).slice(0, max)
}

function makeSectors(peers: Iterable<PeerRow>): { sectors: Sector[]; sectorOf: (peer: PeerRow) => Sector } {
  const counts = new Map<string, { count: number; connected: number }>()
  for (const peer of peers) {
    const name = classOf(peer)
    const entry = counts.get(name) ?? { count: 0, connected: 0 }
    entry.count++
    if (peer.connection.status === 'connected') entry.connected++
    counts.set(name, entry)
  }
  const order = (name: string): number =>
    (CLASS_ORDER.indexOf(name) + CLASS_ORDER.length + 1) % (CLASS_ORDER.length + 1)
  // Strangers name protocols as they like: only the most frequent have a sector of their own.
  const names = best(
    counts.keys(),
    SECTORS_MAX - 1,
    (a, b) => (counts.get(b)?.count ?? 0) - (counts.get(a)?.count ?? 0),
  )
  names.sort((a, b) => order(a) - order(b) || (a < b ? -1 : 1))
  const kept = new Set(names)
  const others = { count: 0, connected: 0 }
  for (const [name, entry] of counts)
    if (!kept.has(name)) {
      others.count += entry.count
      others.connected += entry.connected
    }
  if (others.count > 0) names.push('other')
  const weights = names.map((name) => Math.sqrt((name === 'other' ? others : counts.get(name))?.count ?? 1))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const free = Math.PI * 2 - GAP - SECTOR_MIN * names.length
  let at = GAP / 2
  const sectors = names.map((name, i): Sector => {
    const from = at
    at += SECTOR_MIN + ((weights[i] as number) / total) * free
    return { class: name, from, to: at, ...((name === 'other' ? others : counts.get(name)) ?? others) }
  })
  const byName = new Map(sectors.map((sector) => [sector.class, sector]))
  return {
    sectors,
    sectorOf: (peer) => (byName.get(classOf(peer)) ?? byName.get('other')) as Sector,
  }
}

/** Places `members` in rows along the arc of their cell, the first in the middle of the innermost row. */
function place(
  members: readonly PeerRow[],
  sector: Sector,
  inner: number,
  outer: number,
): { peer: PeerRow; x: number; y: number }[] {
  const angle = sector.to - sector.from
  const rowsFit = Math.max(1, Math.floor((outer - inner) / SPACING))
  const perRow = (row: number): number => {
    const radius = inner + ((row + 0.5) * (outer - inner)) / rowsFit
    return Math.max(1, Math.floor((radius * angle) / SPACING))
  }
  let capacity = 0
  for (let row = 0; row < rowsFit; row++) capacity += perRow(row)
  // More than fit stand closer together.
  const squeeze = Math.max(1, members.length / capacity)
  const placed: { peer: PeerRow; x: number; y: number }[] = []
  let next = 0
  // Few are set in the middle of their ring rather than at its inner edge.
  const rowsUsed = members.length <= perRow(Math.floor(rowsFit / 2)) ? 1 : rowsFit
  for (let row = 0; row < rowsUsed && next < members.length; row++) {
    const radius = rowsUsed === 1 ? (inner + outer) / 2 : inner + ((row + 0.5) * (outer - inner)) / rowsFit
    const isLast = row === rowsUsed - 1
    const room = rowsUsed === 1 ? members.length : Math.ceil(perRow(row) * squeeze)
    const here = members.slice(next, isLast ? members.length : next + room)
    here.forEach((peer, i) => {
      const theta = sector.from + ((i + 0.5) / here.length) * angle
      placed.push({ peer, x: Math.sin(theta) * radius, y: -Math.cos(theta) * radius })
    })
    next += here.length
  }
  return placed
}

/** Strangers of whom nothing came are small: there may be many. */
function radiusOf(peer: PeerRow, ring: number): number {
  if (ring === 0) return 7
  return peer.hops === 1 || peer.isLongTerm || ring === 1 ? 5.5 : ring === 4 ? 3.6 : 4.4
}

interface Box {
  readonly left: number
  readonly right: number
  readonly top: number
  readonly bottom: number
}

const overlap = (a: Box, b: Box): boolean =>
  a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom

export function layoutMap(peers: ReadonlyMap<FeedId, PeerRow>, frame: MapFrame): MapLayout {
  const { radius, now } = frame
  const drawn = best(peers.values(), frame.nodesMax, moreImportantFirst)
  const { sectors, sectorOf } = makeSectors(peers.values())
  const cells = new Map<Sector, PeerRow[][]>()
  for (const peer of drawn) {
    const sector = sectorOf(peer)
    const rings = cells.get(sector) ?? RINGS.map((): PeerRow[] => [])
    ;(rings[ringOf(peer, now)] as PeerRow[]).push(peer)
    cells.set(sector, rings)
  }
  // On a small screen they are smaller, but not too small to be hit.
  const scale = Math.min(1, Math.max(0.75, radius / FULL_RADIUS))
  const placed: Omit<MapNode, 'label'>[] = []
  for (const [sector, rings] of cells)
    rings.forEach((members, ring) => {
      // By id: whom we see does not jump about when one of them was in touch.
      const ordered = [...members].sort((a, b) => (a.id < b.id ? -1 : 1))
      const inner = ring === 0 ? 0.2 : (RINGS[ring - 1]?.edge ?? 0)
      const outer = RINGS[ring]?.edge ?? 1
      for (const spot of place(ordered, sector, inner * radius, outer * radius))
        placed.push({ ...spot, ring, state: peerState(spot.peer), radius: radiusOf(spot.peer, ring) * scale })
    })
  return { nodes: withLabels(placed, frame), sectors, hidden: peers.size - drawn.length }
}

/** Labels where they cover neither a node nor another label; those of connected peers first. */
function withLabels(nodes: readonly Omit<MapNode, 'label'>[], frame: MapFrame): MapNode[] {
  const taken: Box[] = nodes.map(({ x, y, radius }) => ({
    left: x - radius,
    right: x + radius,
    top: y - radius,
    bottom: y + radius,
  }))
  const middle = MIDDLE_RADIUS + 2
  taken.push({ left: -middle, right: middle, top: -middle, bottom: middle })
  // These are drawn above the labels.
  RINGS.forEach(({ words }, ring) => {
    const half = (words.length * RING_LETTER_WIDTH) / 2
    const y = ringWordY(ring, frame.radius)
    taken.push({ left: -half, right: half, top: y - LABEL_HEIGHT / 2, bottom: y + LABEL_HEIGHT / 2 })
  })
  const labels = new Map<FeedId, 'left' | 'right'>()
  const isWanted = (node: Omit<MapNode, 'label'>): boolean =>
    node.ring <= 1 || node.peer.isLongTerm || (node.peer.hops === 1 && node.peer.name !== null)
  const isSelected = (node: Omit<MapNode, 'label'>): boolean => node.peer.id === frame.selected
  const inTurn = [...nodes]
    .filter((node) => isWanted(node) || isSelected(node))
    .sort(
      (a, b) => Number(isSelected(b)) - Number(isSelected(a)) || a.ring - b.ring || moreImportantFirst(a.peer, b.peer),
    )
  for (const node of inTurn) {
    const width = Math.min(18, frame.labelOf(node.peer).length) * LETTER_WIDTH
    const sides = node.x >= 0 ? (['right', 'left'] as const) : (['left', 'right'] as const)
    const near = node.radius + 6
    const boxes = sides
      .map((side) => {
        const left = side === 'right' ? node.x + near : node.x - near - width
        return {
          side,
          left,
          right: left + width,
          top: node.y - LABEL_HEIGHT / 2,
          bottom: node.y + LABEL_HEIGHT / 2,
        }
      })
      .filter((box) => box.left >= -frame.radius * 1.12 && box.right <= frame.radius * 1.12)
    const free = boxes.find((box) => !taken.some((other) => overlap(box, other)))
    // Whoever is selected is named, room or not.
    const box = free ?? (isSelected(node) ? boxes[0] : undefined)
    if (!box) continue
    taken.push(box)
    labels.set(node.peer.id, box.side)
  }
  return nodes.map((node) => ({ ...node, label: labels.get(node.peer.id) ?? null }))
}

export type Way = 'up' | 'down' | 'left' | 'right'

/** The nearest node in a direction, for arrow keys; null: there is none that way. */
export function neighbour<T extends { readonly x: number; readonly y: number }>(
  nodes: readonly T[],
  from: T,
  way: Way,
): T | null {
  let found: T | null = null
  let least = Number.POSITIVE_INFINITY
  for (const node of nodes) {
    if (node === from) continue
    const dx = node.x - from.x
    const dy = node.y - from.y
    const along = way === 'up' ? -dy : way === 'down' ? dy : way === 'left' ? -dx : dx
    if (along <= 0) continue
    const across = way === 'up' || way === 'down' ? dx : dy
    // What lies aside is further than it looks, but never out of reach.
    const distance = along * along + across * across * 4
    if (distance < least) {
      least = distance
      found = node
    }
  }
  return found
}
