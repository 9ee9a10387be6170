/**
 * The routes that a source hears of for the time being: told to the manager as they are heard, withdrawn when they are lost
 * or not heard any more, and all of them when the source ends, as nobody would hear then that they are gone. What is heard
 * comes from strangers, so there is a limit to how many routes are kept, of one peer and in all; those that are known stay,
 * newcomers wait until some have gone.
 */
import { parseAddress } from '../../core/address'
import type { Address, EpochMs, FeedId, ParsedRoute } from '../../core/types'
import { unref } from '../../shell/clock'
import type { DiscoveryContext } from './source'
import { attempt } from './stream'

export interface AnnouncedOptions {
  readonly source: string
  readonly isLocal: boolean
  readonly maxRoutes: number
  /** Of one peer. */
  readonly maxRoutesPerPeer: number
  /** Withdrawn when not heard for this long; null: only when it is lost. */
  readonly silenceMs: number | null
  /** Whether a source like this may say such a thing. */
  readonly isPlausible: (route: ParsedRoute) => boolean
  /** For a source that is not told of every loss: whether the manager has let go of a route. Asked when there is no room. */
  readonly isGone?: (address: Address, peer: FeedId) => boolean
  /** Whether to tell again what was told before: the manager takes it for a sign of life. */
  readonly isNews: (address: Address, peer: FeedId, toldAt: EpochMs) => boolean
}

/** Between two searches for what is gone: they cost a look at each route. */
const SWEEP_PAUSE_MS = 1_000

export interface Announced {
  /** One address, or several of one peer. Anything else is passed over. */
  readonly hear: (address: unknown) => void
  /** Withdraws all and clears the timer. */
  readonly stop: () => void
}

interface Heard {
  readonly peer: FeedId
  readonly heardAt: EpochMs
  readonly toldAt: EpochMs
}

export function keepAnnounced(context: DiscoveryContext, options: AnnouncedOptions): Announced {
  const { manager, clock, log } = context
  const { source, isLocal, maxRoutes, maxRoutesPerPeer, silenceMs, isPlausible, isNews, isGone } = options
  /** The one heard longest ago first. */
  const heard = new Map<Address, Heard>()
  const countByPeer = new Map<FeedId, number>()
  let timer: unknown = null
  let sweptAt: EpochMs = Number.NEGATIVE_INFINITY
  let isOver = false

  const count = (peer: FeedId, change: 1 | -1): void => {
    const next = (countByPeer.get(peer) ?? 0) + change
    if (next > 0) countByPeer.set(peer, next)
    else countByPeer.delete(peer)
  }

  const withdraw = (address: Address, { peer }: Heard): void => {
    heard.delete(address)
    count(peer, -1)
    if (manager.internal.isClosed()) return
    attempt(log, source, () => manager.peer.withdrawRoute({ address }))
  }

  const arm = (afterMs: number): void => {
    timer = clock.setTimeout(expire, afterMs)
    unref(timer)
  }

  const expire = (): void => {
    timer = null
    if (silenceMs === null) return
    const now = clock.now()
    for (const [address, entry] of heard) {
      // The clock was set back: from now on, then, or it would be kept for longer.
      if (entry.heardAt > now) heard.set(address, { ...entry, heardAt: now, toldAt: now })
      else if (entry.heardAt + silenceMs <= now) withdraw(address, entry)
    }
    const [next] = heard.values()
    if (next) arm(next.heardAt + silenceMs - now)
  }

  const sweep = (): void => {
    if (!isGone || Math.abs(clock.now() - sweptAt) < SWEEP_PAUSE_MS) return
    sweptAt = clock.now()
    for (const [address, entry] of [...heard]) if (isGone(address, entry.peer)) withdraw(address, entry)
  }

  const tell = (address: Address): void => {
    manager.peer.addRoute({ address, isLocal, source, isStored: false })
  }

  const hearRoute = ({ address, peer }: ParsedRoute): void => {
    const known = heard.get(address)
    const now = clock.now()
    if (!known) {
      if (heard.size >= maxRoutes) sweep()
      if (heard.size >= maxRoutes || (countByPeer.get(peer) ?? 0) >= maxRoutesPerPeer) return
      count(peer, 1)
    }
    const isTold = known !== undefined && !isNews(address, peer, known.toldAt)
    heard.delete(address)
    heard.set(address, { peer, heardAt: now, toldAt: isTold ? known.toldAt : now })
    if (timer === null && silenceMs !== null) arm(silenceMs)
    if (!isTold) tell(address)
  }

  return {
    hear: (given) => {
      if (isOver) return
      let routes: readonly ParsedRoute[]
      try {
        routes = parseAddress(given)
      } catch {
        // Anybody can send rubbish at any rate: not even the log shall grow by it.
        return
      }
      for (const route of routes) if (!isOver && isPlausible(route)) hearRoute(route)
    },
    stop: () => {
      isOver = true
      clock.clearTimeout(timer)
      timer = null
      for (const [address, entry] of [...heard]) withdraw(address, entry)
    },
  }
}
