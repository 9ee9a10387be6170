/**
 * Feed formats beyond the classic one, for ssb-ebt: meta feeds (bendybutt-v1) and index feeds (indexed-v1). They are taken from
 * the ssb-ebt that is installed, and registered when templates are first configured.
 *
 * ssb-ebt reads its clock once, when the database is ready, and opens the streams of a format when a connection begins. A
 * format that is registered later gets the clock from us, and streams on the connections that are there, once the feeds
 * have been requested: of a feed that a peer asks for before we want it ourselves ssb-ebt sends it nothing until the next
 * connection.
 */
import pull = require('pull-stream')

import { memberOf, methodOf } from '../adapters/members'

type FormatName = 'bendybutt-v1' | 'indexed-v1'

interface Format {
  readonly name: string
  readonly isFeed: (feed: string) => boolean
}

export interface FormatsOptions {
  readonly sbot: object
  /** The connections that are there. */
  readonly connections: () => Iterable<unknown>
  /** A format that was registered late has its clock. */
  readonly onReady: () => void
  readonly log: (message: string) => void
}

export interface Formats {
  /** False if ssb-ebt cannot replicate this format. */
  readonly ensure: (name: FormatName) => boolean
  /** Opens the streams that are missing on the connections that are there. */
  readonly openStreams: () => void
}

export interface StreamOptions {
  readonly sbot: object
  readonly rpc: unknown
  readonly format: string
  readonly log: (message: string) => void
}

/** As ssb-ebt speaks it. */
const EBT_VERSION = 3

function load(name: FormatName): unknown {
  return name === 'bendybutt-v1' ? require('ssb-ebt/formats/bendy-butt') : require('ssb-ebt/formats/indexed')
}

export function createFormats({ sbot, connections, onReady, log }: FormatsOptions): Formats {
  const registered = new Map<FormatName, boolean>()
  /** Registered late, and with their clocks. */
  const waiting = new Set<string>()

  const register = (name: FormatName): boolean => {
    const add = methodOf(sbot, 'ebt', 'registerFormat')
    if (!add) {
      log(`${name}: this ssb-ebt knows no formats, version 9 or later is needed`)
      return false
    }
    try {
      const format = load(name) as Format
      add(format)
      catchUp(format)
      return true
    } catch (error) {
      log(`${name} cannot be replicated: ${memberOf(error, 'message')}`)
      return false
    }
  }

  /** Does nothing of note when the stack is just being built: the clock is read later anyway, and nobody is connected. */
  const catchUp = (format: Format): void => {
    const isLate = [...connections()].length > 0 || isDatabaseReady()
    if (!isLate) return
    const setClock = methodOf(sbot, 'ebt', 'setClockForSlicedReplication')
    methodOf(
      sbot,
      'getVectorClock',
    )?.((error: unknown, clock: unknown) => {
      if (error || typeof clock !== 'object' || clock === null) return
      for (const [feed, sequence] of Object.entries(clock))
        if (format.isFeed(feed)) setClock?.(feed, sequence, format.name)
      waiting.add(format.name)
      onReady()
    })
  }

  const isDatabaseReady = (): boolean => {
    let isReady = false
    try {
      // Called back at once if ssb-ebt has its clock.
      methodOf(
        sbot,
        'ebt',
        'clock',
      )?.({ format: 'classic' }, () => {
        isReady = true
      })
    } catch {
      // An older one.
    }
    return isReady
  }

  return {
    ensure: (name) => {
      const known = registered.get(name)
      if (known !== undefined) return known
      const isThere = register(name)
      registered.set(name, isThere)
      return isThere
    },
    openStreams: () => {
      for (const name of waiting) for (const rpc of connections()) openStream({ sbot, rpc, format: name, log })
      waiting.clear()
    },
  }
}

/**
 * Opens the EBT stream of a format on a connection that is there, as ssb-ebt does for whoever dialed. If the other side knows
 * the format too, its clock comes back. ssb-ebt ends the stream that was there before, on both sides ("reconnected to
 * peer", of which it makes no fuss).
 */
export function openStream({ sbot, rpc, format, log }: StreamOptions): void {
  const options = { version: EBT_VERSION, format }
  // Older peers have the one for classic feeds only.
  const name = format === 'classic' ? 'replicate' : 'replicateFormat'
  const accept = memberOf(memberOf(sbot, 'ebt'), name)
  const ask = methodOf(rpc, 'ebt', name)
  if (typeof accept !== 'function' || !ask) return
  try {
    const local = accept.call({ id: memberOf(rpc, 'id') }, options)
    const remote = ask(options, () => {
      // It does not know the format, or has hung up.
    })
    pull(local as never, remote as never, local as never)
  } catch (error) {
    log(`${format}: no stream to a neighbour: ${memberOf(error, 'message')}`)
  }
}
