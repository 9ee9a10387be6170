/**
 * The ping protocol of SSB, `gossip.ping`: a duplex stream of JSON numbers, each the sender's clock in epoch ms. Both ends are
 * here: the one that dialed opens the stream and pings first, the one that was dialed serves it. Who is pinged answers at
 * once with its own clock, and pings after a pause of its own, so that the two take turns. The point is threefold: traffic
 * that keeps the stack's inactivity timer from closing a quiet connection, the round trip, and the difference of the clocks.
 *
 * Interoperates with pull-ping 2, which every older stack runs, and replaces it: that one keeps the time of the last ping in
 * a global variable, so the round trips of concurrent peers mix. It sits at the edge: what a stranger sends here is bounded
 * in rate, in number of timers and in value, and the measured figures go to the state (`internal.pinged`).
 */
import pull = require('pull-stream')

import { isPlainObject } from '../core/options'
import type { FeedId } from '../core/types'
import type { Clock } from '../shell/clock'
import type { Source } from '../shell/live'

/** A pause between pings as ssb-gossip bounds it: shorter ones drain phones, longer ones outlive the inactivity timer. */
const MIN_TIMEOUT_MS = 10_000
const MAX_TIMEOUT_MS = 30 * 60_000
const DEFAULT_TIMEOUT_MS = 5 * 60_000
/**
 * Answers are at least this far apart. In the protocol a whole pause lies between two of them; some leeway is left for
 * implementations that ping by a ticker instead of taking turns.
 */
const MIN_ANSWER_GAP_MS = 1_000
/**
 * A number that comes this long after our ping is no answer to it: we slept in between, or the other side pings by a ticker
 * and never answers (go-ssb-room). Tor and phones take ten seconds at times.
 */
const MAX_RTT_MS = 60_000
/** The largest time that a Date can hold. Beyond, the sums of the statistics lose all meaning. */
const MAX_EPOCH_MS = 8.64e15

/** `rttMs`: from our ping to its answer. `skewMs`: how far their clock is ahead of ours, if both ways took equally long. */
export type OnPing = (rttMs: number, skewMs: number) => void

export interface PingOptions {
  readonly clock: Clock
  /** Pause before we ping in our turn; clamped to 10 s to 30 min, 5 min if it is no number (`config.timers.ping`). */
  readonly timeoutMs?: unknown
  readonly onPing?: OnPing | undefined
  /** Called once, when the stream has ended: true for the normal end, an error (of any shape) otherwise. */
  readonly onEnd?: ((reason: unknown) => void) | undefined
}

/** What muxrpc pipes to: what we send, and what takes what they send. */
export interface PingDuplex {
  readonly source: Source<number>
  readonly sink: (read: Source<unknown>) => void
}

interface Volley extends PingDuplex {
  readonly stop: () => void
}

interface VolleyOptions extends PingOptions {
  /** Whatever comes, be it what it may. */
  readonly onHeard?: () => void
}

/** What is used of a muxrpc connection. */
export interface PingableRpc {
  readonly closed?: boolean
  readonly gossip?: unknown
  readonly manifest?: unknown
}

/** The pause in ms that a setting stands for. Settings from a command line are strings. */
export function pingTimeout(setting: unknown): number {
  const ms = typeof setting === 'string' && setting.trim() !== '' ? Number(setting) : setting
  if (typeof ms !== 'number' || Number.isNaN(ms)) return DEFAULT_TIMEOUT_MS
  return Math.max(MIN_TIMEOUT_MS, Math.min(ms, MAX_TIMEOUT_MS))
}

/** The served end, for one caller. It answers the first ping, then both take turns, until either side ends the stream. */
export function servePing(options: PingOptions): PingDuplex {
  const { source, sink } = createVolley(options, false)
  return { source, sink }
}

/** Streams of pings that one caller may have open at once; a peer needs one. */
const MAX_PINGS_PER_CALLER = 16

/**
 * The method `ping` of a facade: serves each caller, a stranger too, so many streams and no more. `onPing` is told who was
 * measured; a caller in this process, null, measures nobody.
 */
export function createPingServer(given: {
  readonly clock: Clock
  /** `config.timers`. */
  readonly timers: unknown
  readonly onPing: (caller: FeedId, rttMs: number, skewMs: number) => void
}): (caller: FeedId | null) => PingDuplex {
  const { clock, timers, onPing } = given
  const timeoutMs = isPlainObject(timers) ? timers.ping : undefined
  const counts = new Map<FeedId, number>()
  return (caller) => {
    if (caller === null) return servePing({ clock, timeoutMs })
    const count = counts.get(caller) ?? 0
    if (count >= MAX_PINGS_PER_CALLER) throw new Error(`${MAX_PINGS_PER_CALLER} pings are open already`)
    counts.set(caller, count + 1)
    return servePing({
      clock,
      timeoutMs,
      onPing: (rttMs, skewMs) => onPing(caller, rttMs, skewMs),
      onEnd: () => {
        const left = (counts.get(caller) ?? 1) - 1
        if (left > 0) counts.set(caller, left)
        else counts.delete(caller)
      },
    })
  }
}

/**
 * Opens the stream on a connection that we dialed, and pings at once. Returns the function that ends it; the end of the
 * connection does so too. A peer that has no `gossip.ping`, or denies it, is as good as any other: nothing is measured,
 * nothing is closed, and `onEnd` says why.
 */
export function openPing(rpc: PingableRpc, options: PingOptions): () => void {
  const call = methodOf(rpc.gossip, 'ping')
  if (call) return open(call, options)
  options.onEnd?.(new Error('our own manifest has no gossip.ping'))
  return () => {}
}

/**
 * Resolves as soon as the other end of a connection answers anything: a ping, a manifest, or an error, which a living muxrpc
 * sent as well. Rejects when the connection closes or nothing has come after `timeoutMs`. Asked after a wake-up, when a
 * socket may look open whose other end is long gone.
 *
 * Two questions are put at once. go-ssb-room, which many rooms run, takes pings and answers none; `manifest` is a plain
 * request, to which every muxrpc owes one reply. Where neither can be asked, the connection is believed to live.
 */
export function probePing(rpc: PingableRpc, clock: Clock, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let stop: (() => void) | null = null
    let isSettled = false
    const settle = (error: Error | null): void => {
      if (isSettled) return
      isSettled = true
      clock.clearTimeout(timer)
      stop?.()
      if (error) reject(error)
      else resolve()
    }
    // The end of a connection ends what is asked on it just before it shows as closed: looked at a moment later.
    const heard = (): void => clock.defer(() => settle(rpc.closed ? new Error('the connection is closed') : null))
    const timer = clock.setTimeout(() => settle(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
    const manifest = methodOf(rpc, 'manifest')
    const ping = methodOf(rpc.gossip, 'ping')
    if (rpc.closed || (!manifest && !ping)) return heard()
    if (manifest) ask(manifest, heard)
    if (ping) stop = open(ping, { clock, onHeard: heard, onEnd: heard })
  })
}

function ask(request: (...args: unknown[]) => unknown, onAnswer: () => void): void {
  try {
    request(onAnswer)
  } catch {
    onAnswer()
  }
}

function open(call: (...args: unknown[]) => unknown, options: VolleyOptions): () => void {
  const volley = createVolley(options, true)
  try {
    // ssb-gossip sends this argument, and no known server looks at it. Without a callback muxrpc throws what ends a stream.
    const remote = call({ timeout: pingTimeout(options.timeoutMs) }, () => {}) as PingDuplex
    remote.sink(volley.source)
    volley.sink(remote.source)
  } catch (error) {
    volley.sink(pull.error(error instanceof Error ? error : new Error(String(error))))
  }
  return volley.stop
}

/** The method of that name, bound, or null. */
function methodOf(owner: unknown, name: string): ((...args: unknown[]) => unknown) | null {
  if ((typeof owner !== 'object' && typeof owner !== 'function') || owner === null) return null
  const method = (owner as Readonly<Record<string, unknown>>)[name]
  return typeof method === 'function' ? (method.bind(owner) as (...args: unknown[]) => unknown) : null
}

/** One end of the protocol. At most one timer, one number waiting to be read, and one ping in the air. */
function createVolley(options: VolleyOptions, isFirst: boolean): Volley {
  const { clock, onPing, onHeard, onEnd } = options
  const timeoutMs = pingTimeout(options.timeoutMs)
  let unread: number | null = null
  let waiting: ((end: Error | true | null, data?: number) => void) | null = null
  /** When our ping went out that has no answer yet. */
  let pingedAt: number | null = null
  let answeredAt = Number.NEGATIVE_INFINITY
  let timer: unknown = null
  let over: Error | true | null = null
  /** Their end has said that it is over: it must not be told to stop. */
  let isDrained = false

  const send = (): void => {
    const now = clock.now()
    if (!waiting) {
      // Whoever does not read gets the latest when he does.
      unread = now
      return
    }
    const cb = waiting
    waiting = null
    cb(null, now)
  }

  const ping = (): void => {
    timer = null
    pingedAt = clock.now()
    send()
  }

  const receive = (value: unknown): void => {
    onHeard?.()
    if (over || typeof value !== 'number' || !(Math.abs(value) <= MAX_EPOCH_MS)) return
    const now = clock.now()
    if (pingedAt !== null) {
      const sentAt = pingedAt
      pingedAt = null
      const rttMs = now - sentAt
      if (rttMs >= 0 && rttMs <= MAX_RTT_MS) {
        onPing?.(rttMs, value - (now + sentAt) / 2)
        return
      }
    }
    // A flood is read, or muxrpc would queue it without bound, and left unanswered.
    if (Math.abs(now - answeredAt) < MIN_ANSWER_GAP_MS) return
    answeredAt = now
    clock.clearTimeout(timer)
    timer = clock.setTimeout(ping, timeoutMs)
    send()
  }

  const drain = pull.drain<unknown>(receive, (error) => {
    isDrained = true
    end(error ?? true)
  })

  const end = (reason: unknown): void => {
    if (over) return
    over = reason instanceof Error ? reason : true
    clock.clearTimeout(timer)
    timer = null
    unread = null
    const cb = waiting
    waiting = null
    if (!isDrained) drain.abort(over)
    cb?.(over)
    onEnd?.(reason)
  }

  if (isFirst) ping()
  return {
    source: (abort, cb) => {
      if (abort) {
        end(abort)
        cb(abort)
      } else if (over) {
        cb(over)
      } else if (unread !== null) {
        const data = unread
        unread = null
        cb(null, data)
      } else {
        waiting = cb
      }
    },
    sink: drain,
    stop: () => end(true),
  }
}
