/**
 * Many clients, each a full manager, whose only pub goes away and returns: how many dials meet it when, and how long the clients
 * wait. No network and no content: the pub is a switch, which refuses, says nothing, or lets in.
 *
 * What is compared. An even spread over a window W has N ÷ W dials a second and its median client back after W ÷ 2. So the
 * measured median M stands for a window of 2 M, and a peak of P dials a second is P ÷ (N ÷ 2 M) times the even spread.
 */

import { parseAddress } from '../../src/core/address'
import type { ParsedRoute } from '../../src/core/types'
import { type ConnectionManager, createManager } from '../../src/manager'
import { seededRandom, simulatedFeedId, virtualClock } from '../../src/testing'
import { Draws, quantile } from './draws'
import { MINUTE, SECOND } from './people'

export interface HerdOptions {
  readonly seed: number
  readonly clients: number
  /** 0: the pub hangs up on all and is there at once. */
  readonly outageMs: number
  readonly how: 'refused' | 'silent'
  /** How long they had been connected. */
  readonly connectedMs: number
  readonly policy?: Readonly<Record<string, unknown>>
}

export interface HerdResult {
  readonly options: HerdOptions
  readonly isAllBack: boolean
  /** Of one client during the outage, on average; the greatest number of all in one second of it. */
  readonly dialsWhileAway: number
  readonly peakWhileAway: number
  /** After the return. */
  readonly peakPer100Ms: number
  readonly peakPerSecond: number
  readonly medianBackMs: number
  readonly p95BackMs: number
  readonly lastBackMs: number
  /** By the peak of a second, and of 100 ms; see the file's head. */
  readonly timesEven: number
  readonly timesEvenPer100Ms: number
  /** The same of as many dials drawn evenly at random over the window: less is luck. */
  readonly timesEvenByLuck: number
  readonly timesEvenByLuckPer100Ms: number
  readonly heapPerManagerBytes: number
  /** Dials in each second after the return, for the first minutes. */
  readonly perSecond: readonly number[]
}

const SPREAD_START_MS = MINUTE
const LONGEST_WAIT_MS = 30 * MINUTE

/** Runs one herd from its start until all are back, or half an hour has passed. */
export async function runHerd(options: HerdOptions): Promise<HerdResult> {
  const draws = new Draws(options.seed)
  const clock = virtualClock()
  const startedAt = clock.now()
  const t = (): number => clock.now() - startedAt
  const ids = draws.fork()
  const pub = simulatedFeedId(ids)
  const address = `net:60.0.0.1:8008~shs:${pub.slice(1, -'.ed25519'.length)}`
  const route = parseAddress(address)[0] as ParsedRoute
  let isThere = true
  const dials: number[] = []
  const connected = new Set<number>()
  const hangUps = new Map<number, () => void>()
  const backAt = new Map<number, number>()

  const connect = (client: number, latencyMs: number) => (_: string, cb: (error?: unknown, made?: unknown) => void) => {
    dials.push(t())
    if (!isThere && options.how === 'silent') return
    clock.setTimeout(() => {
      if (!isThere)
        return options.how === 'silent' ? undefined : cb(Object.assign(new Error(), { code: 'ECONNREFUSED' }))
      const listeners = new Set<() => void>()
      const end = (): void => {
        connected.delete(client)
        hangUps.delete(client)
        for (const listener of listeners) listener()
      }
      const connection = {
        on: (_event: string, listener: () => void) => listeners.add(listener),
        close: (_abort: unknown, done?: () => void) => {
          end()
          done?.()
        },
      }
      connected.add(client)
      hangUps.set(client, () => clock.setTimeout(end, latencyMs))
      if (!backAt.has(client)) backAt.set(client, t())
      cb(null, connection)
    }, 4 * latencyMs)
  }

  const before = process.memoryUsage().heapUsed
  const managers: ConnectionManager[] = []
  for (let client = 0; client < options.clients; client++) {
    const latencyMs = draws.int(10, 80)
    const manager = createManager({
      ...(options.policy ?? {}),
      connectToPeer: connect(client, latencyMs),
      selfId: simulatedFeedId(ids),
      clock,
      random: seededRandom(draws.seed()),
    })
    manager.internal.report([{ route, isLocal: false, source: 'invite', standing: 'stored' }])
    manager.peer.setPriority({ id: pub, priority: 'HIGH', source: 'social' })
    clock.setTimeout(() => manager.connections.start(), draws.int(0, SPREAD_START_MS))
    managers.push(manager)
  }
  clock.advance(SPREAD_START_MS + options.connectedMs)
  const heapPerManagerBytes = (process.memoryUsage().heapUsed - before) / options.clients

  const wasConnected = connected.size
  isThere = options.outageMs === 0
  backAt.clear()
  dials.length = 0
  const wentAt = t()
  for (const hangUp of [...hangUps.values()]) hangUp()
  clock.advance(options.outageMs)
  isThere = true
  const returnedAt = t()
  const dialsBefore = dials.length
  for (let waited = 0; waited < LONGEST_WAIT_MS && backAt.size < wasConnected; waited += SECOND) clock.advance(SECOND)
  await Promise.resolve()

  const away = dials.slice(0, dialsBefore).map((at) => at - wentAt)
  const after = dials.slice(dialsBefore).map((at) => at - returnedAt)
  const back = [...backAt.values()].map((at) => at - returnedAt)
  const medianBackMs = quantile(back, 0.5) ?? Number.NaN
  const even = wasConnected / (2 * medianBackMs)
  const peakPerSecond = peak(after, SECOND)
  const peakPer100Ms = peak(after, 100)
  const luck = new Draws(options.seed)
  const byLuck = back.map(() => luck.between(0, 2 * medianBackMs))
  for (const manager of managers) manager.close()
  return {
    options,
    isAllBack: backAt.size >= wasConnected,
    dialsWhileAway: away.length / Math.max(1, wasConnected),
    peakWhileAway: peak(away, SECOND),
    peakPer100Ms,
    peakPerSecond,
    medianBackMs,
    p95BackMs: quantile(back, 0.95) ?? Number.NaN,
    lastBackMs: quantile(back, 1) ?? Number.NaN,
    timesEven: peakPerSecond / (SECOND * even),
    timesEvenPer100Ms: peakPer100Ms / (100 * even),
    timesEvenByLuck: peak(byLuck, SECOND) / (SECOND * even),
    timesEvenByLuckPer100Ms: peak(byLuck, 100) / (100 * even),
    heapPerManagerBytes,
    perSecond: histogram(after, SECOND, 120),
  }
}

/** How many fall into each bin. */
export function histogram(times: readonly number[], binMs: number, bins: number): number[] {
  const counts = new Array<number>(bins).fill(0)
  for (const time of times) {
    const bin = Math.floor(time / binMs)
    if (bin >= 0 && bin < bins) counts[bin] = (counts[bin] as number) + 1
  }
  return counts
}

/** Most in one bin. */
export function peak(times: readonly number[], binMs: number): number {
  const counts = new Map<number, number>()
  let most = 0
  for (const time of times) {
    const bin = Math.floor(time / binMs)
    const count = (counts.get(bin) ?? 0) + 1
    counts.set(bin, count)
    most = Math.max(most, count)
  }
  return most
}
