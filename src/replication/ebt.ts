/** ssb-ebt, as the rest of the replication scheduler sees it. Its methods are looked up at each call, as other plugins may wrap them. */

import { memberOf, methodOf } from '../adapters/members'
import { own } from '../core/own'
import type { Supply } from './core/pacing'
import type { Ebt } from './requests'

/** `log` hears of calls that throw: one feed must not keep the others waiting. */
export function ebtOf(sbot: object, log: (message: string) => void): Ebt {
  const present = memberOf(sbot, 'ebt') as Record<'request' | 'block', (...args: unknown[]) => unknown>
  const failed = (error: unknown): void => log(`ssb-ebt: ${memberOf(error, 'message')}`)
  const guarded = (fn: () => unknown): void => {
    try {
      fn()
    } catch (error) {
      failed(error)
    }
  }
  const hasClock = methodOf(sbot, 'ebt', 'clock') !== null && methodOf(sbot, 'ebt', 'peerStatus') !== null
  return {
    // Not by way of `guarded`: there are 100 000 of these.
    request: (feed, isWanted) => {
      try {
        present.request(feed, isWanted)
      } catch (error) {
        failed(error)
      }
    },
    block: (source, dest, isBlocking) => {
      try {
        present.block(source, dest, isBlocking)
      } catch (error) {
        failed(error)
      }
    },
    readClock: hasClock
      ? (cb) => {
          guarded(() =>
            methodOf(
              sbot,
              'ebt',
              'clock',
            )?.({ format: 'classic' }, (error: unknown, clock: unknown) => {
              cb(error || typeof clock !== 'object' ? null : (clock as Readonly<Record<string, unknown>> | null))
            }),
          )
        }
      : null,
    supplyOf: (feed) => {
      try {
        return toSupply(methodOf(sbot, 'ebt', 'peerStatus')?.(feed))
      } catch {
        return { have: 0, offered: null }
      }
    },
  }
}

function toSequence(value: unknown): number | null {
  return typeof value === 'number' && value > 0 ? value : null
}

function toSupply(status: unknown): Supply {
  const peers = memberOf(status, 'peers')
  let offered: number | null = null
  if (typeof peers === 'object' && peers !== null) {
    for (const id of Object.keys(peers)) {
      const sequence = toSequence(memberOf(own(peers as Record<string, unknown>, id), 'seq'))
      if (sequence !== null && sequence > (offered ?? 0)) offered = sequence
    }
  }
  return { have: toSequence(memberOf(status, 'seq')) ?? 0, offered }
}
