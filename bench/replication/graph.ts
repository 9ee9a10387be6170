/**
 * The social graph that replication schedulers are measured with, drawn from a fixed seed: ten edges for each feed, one in
 * twenty of them a block. The real layered-graph computes the distances, behind the API of ssb-friends 5; no database.
 */
import createLayeredGraph = require('layered-graph')

import type * as pull from 'pull-stream'

import { type Draw, drawer, drawKey } from '../world'

type Value = 1 | -1 | -2
export type Edges = Record<string, Record<string, number | null>>

export interface SocialGraph {
  readonly self: string
  readonly edges: Edges
  readonly edgeCount: number
  /** Blocks that neither come from us nor are meant for us. */
  readonly blocksAmongOthers: number
  /** A friend of ours. */
  readonly hub: string
  /** Whom the hub follows, and nobody else names. */
  readonly throughHub: readonly string[]
}

const HOPS = 3
const EDGES_PER_FEED = 10
const FRIENDS = 100
const BLOCKED_BY_US = 30
const UNFOLLOWED_BY_US = 20
const BLOCKING_US = 10

export function drawFeedIds(count: number, draw: Draw): string[] {
  return Array.from({ length: count }, () => `@${drawKey(draw)}.ed25519`)
}

/** Each feed but ourselves is followed by one that is a hop closer; the other edges are between any two. */
export function makeSocialGraph(size: number, seed = 1): SocialGraph {
  const draw = drawer(seed)
  const [self = '', ...others] = drawFeedIds(size, draw)
  const edges: Edges = {}
  let edgeCount = 0
  let blocksAmongOthers = 0
  const say = (from: string, to: string, value: Value): void => {
    const known = edges[from] ?? {}
    edges[from] = known
    if (from === to || known[to] !== undefined) return
    known[to] = value
    edgeCount++
    if (value === -1 && from !== self && to !== self) blocksAmongOthers++
  }
  const oneOf = (list: readonly string[]): string => list[draw(list.length)] as string

  const rest = [...others]
  const friends = rest.splice(0, FRIENDS)
  const throughHub = rest.splice(0, Math.floor(size / 50))
  const near = rest.splice(0, Math.floor(size / 10))
  const far = rest
  const hub = friends[0] as string
  for (const friend of friends) say(self, friend, 1)
  for (const feed of throughHub) say(hub, feed, 1)
  for (const feed of near) say(oneOf(friends.slice(1)), feed, 1)
  for (const feed of far) say(oneOf(near), feed, 1)
  const named = [...near, ...far]
  for (let i = 0; i < BLOCKED_BY_US; i++) say(self, oneOf(far), -1)
  for (let i = 0; i < UNFOLLOWED_BY_US; i++) say(self, oneOf(near), -2)
  for (let i = 0; i < BLOCKING_US; i++) say(oneOf(far), self, -1)
  while (edgeCount < size * EDGES_PER_FEED) say(oneOf(others), oneOf(named), draw(100) < 5 ? -1 : 1)
  return { self, edges, edgeCount, blocksAmongOthers, hub, throughHub }
}

// ---- ssb-friends ------------------------------------------------------------------------------------------------------

type Cb = (error: unknown, value?: unknown) => void

/** A source to which one pushes. */
export function pushable(onEnd: () => void = () => {}): {
  push: (item: unknown) => void
  source: pull.Source<unknown>
} {
  const items: unknown[] = []
  let waiting: Cb | null = null
  let isOver = false
  const source = (abort: unknown, cb: Cb): void => {
    if (abort || isOver) {
      if (!isOver) onEnd()
      isOver = true
      waiting?.(true)
      waiting = null
      return cb(abort ?? true)
    }
    if (items.length > 0) cb(null, items.shift())
    else waiting = cb
  }
  return {
    push: (item) => {
      const cb = waiting
      waiting = null
      if (cb) cb(null, item)
      else items.push(item)
    },
    source: source as pull.Source<unknown>,
  }
}

export class Friends {
  private readonly layered: ReturnType<typeof createLayeredGraph>
  private readonly update: (from: string | object, to?: string, value?: number | null) => unknown

  /** Takes over the edges and computes all distances. */
  constructor(self: string, edges: Edges) {
    this.layered = createLayeredGraph({ start: self, max: HOPS })
    this.update = this.layered.createLayer('contacts')
    this.update(edges)
  }

  say(from: string, to: string, value: Value): void {
    this.update(from, to, value)
  }

  hops(): Readonly<Record<string, number>> {
    return this.layered.getHops()
  }

  readonly api = {
    hops: (opts: object, cb: Cb): void => this.layered.onReady(() => cb(null, this.layered.getHops(opts))),
    graph: (cb: Cb): void => this.layered.onReady(() => cb(null, this.layered.getGraph())),
    hopStream: (opts: object): unknown => this.layered.hopStream(opts),
    graphStream: ({ old }: { old?: boolean }): unknown => {
      const { push, source } = pushable(() => unsubscribe())
      const unsubscribe = this.layered.onEdge((from, to, value) => push({ [from]: { [to]: value } }))
      if (old) push(this.layered.getGraph())
      return source
    },
  }
}
