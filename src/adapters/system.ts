/**
 * Notices that the machine slept, or that its network changed, by a look at the clock and at the network interfaces every
 * few seconds: Node announces neither. What follows from it is decided elsewhere; this file only tells.
 *
 * Only changes since the start are told. That there is no interface at the start proves nothing: on some systems (Android,
 * sandboxes) `os.networkInterfaces` shows none, or throws, and connections work all the same.
 *
 * Known gaps: a bridge or VPN interface counts as a network, so on a machine that has one `offline` may never be told; and
 * a wall clock set forward by hand, or a process stopped for long, looks like sleep. Both cost a round of probes at most.
 */
import { type Clock, unref } from '../shell/clock'

/**
 * - `woke`: time passed of which we saw nothing. What else has changed meanwhile is told after it.
 * - `offline`: the last address of the outside world has gone.
 * - `online`: the first one is back, be it the same or another.
 * - `networkChanged`: there are addresses before and after, and not the same.
 */
export type SystemEvent = 'woke' | 'offline' | 'online' | 'networkChanged'

/** The part of what `os.networkInterfaces` returns that is looked at. */
export type NetworkInterfaces = Readonly<
  Record<string, readonly { readonly address: string; readonly internal: boolean }[] | undefined>
>

export interface SystemOptions {
  readonly clock: Clock
  readonly report: (event: SystemEvent) => void
  /** That of `os`, unless given. May throw (Termux, WSL 1): then all stays as it was when it last worked. */
  readonly networkInterfaces?: () => NetworkInterfaces
  /** Pause between two looks. */
  readonly intervalMs?: number
}

const DEFAULT_INTERVAL_MS = 5_000
/** A look that is later than this was held up by more than a busy machine. */
const SLEEP_MS = 20_000
/** Any interface has one of these (fe80::/10); they come and go with containers and say nothing of the link. */
const LINK_LOCAL = /^fe[89ab][0-9a-f]:/i

/** Starts looking; returns what stops it, after which nothing is told. The timer does not keep the process alive. */
export function watchSystem(options: SystemOptions): () => void {
  const { clock, report, networkInterfaces = systemInterfaces, intervalMs = DEFAULT_INTERVAL_MS } = options
  let isStopped = false
  let timer: unknown
  let lastLookAt = clock.now()
  let network = look(networkInterfaces)

  const tell = (event: SystemEvent): void => {
    if (!isStopped) report(event)
  }

  const poll = (): void => {
    arm() // first, so that a report that throws does not end the watch, and one that stops it clears the timer
    const now = clock.now()
    const gapMs = now - lastLookAt
    lastLookAt = now
    const before = network
    network = look(networkInterfaces) ?? before

    if (gapMs > intervalMs + SLEEP_MS) tell('woke')
    if (before === null || network === null) return
    if (before.isUp && !network.isUp) tell('offline')
    else if (!before.isUp && network.isUp) tell('online')
    else if (before.addresses !== network.addresses) tell('networkChanged')
  }

  const arm = (): void => {
    timer = clock.setTimeout(poll, intervalMs)
    unref(timer)
  }

  arm()
  return () => {
    isStopped = true
    clock.clearTimeout(timer)
  }
}

interface Network {
  readonly isUp: boolean
  /** All but the link-local ones, sorted and joined, to compare. */
  readonly addresses: string
}

/** Null if the system does not say. */
function look(networkInterfaces: () => NetworkInterfaces): Network | null {
  let found: NetworkInterfaces
  try {
    found = networkInterfaces()
  } catch {
    return null
  }
  const addresses: string[] = []
  let isUp = false
  for (const entries of Object.values(found)) {
    for (const { address, internal } of entries ?? []) {
      if (internal) continue
      isUp = true
      if (!LINK_LOCAL.test(address)) addresses.push(address)
    }
  }
  return { isUp, addresses: addresses.sort().join(' ') }
}

function systemInterfaces(): NetworkInterfaces {
  // Required here, as the rest of the package runs where there is no `os`.
  return (require('os') as typeof import('os')).networkInterfaces()
}
