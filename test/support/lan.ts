/**
 * A local network for the plugins that broadcast by UDP, kept on loopback: real sockets, real packets, and no other machine
 * hears any. Two things are pretended: the machine has an address in a private network, else the plugins find no network to
 * broadcast to, and take what comes from this machine for their own echo; and what they send to a broadcast address goes to
 * that of loopback. What they leave open at the end, ssb-local leaves everything, is closed here.
 */
import dgram = require('dgram')
import os = require('os')

import { type Interval, watchIntervals } from './intervals'

const LOOPBACK_BROADCAST = '127.255.255.255'
const INTERFACES = {
  wlan0: [
    {
      address: '10.255.0.7',
      netmask: '255.255.255.0',
      family: 'IPv4' as const,
      mac: '00:00:00:00:00:01',
      internal: false,
      cidr: '10.255.0.7/24',
    },
  ],
}

/** What one plugin has opened. */
export interface Opened {
  readonly intervals: readonly Interval[]
  /** As if its machine were switched off: it says and hears nothing more. */
  switchOff(): void
}

export interface LoopbackLan {
  /** Runs `fn`, and tells what was opened meanwhile. */
  watch<T>(fn: () => Promise<T>): Promise<readonly [T, Opened]>
  restore(): void
}

export function loopbackLan(): LoopbackLan {
  const { networkInterfaces } = os
  const { createSocket } = dgram
  const { send } = dgram.Socket.prototype
  const sockets: dgram.Socket[] = []
  const watched = watchIntervals()

  os.networkInterfaces = () => INTERFACES
  dgram.createSocket = ((...args: unknown[]) => {
    const socket = (createSocket as (...args: unknown[]) => dgram.Socket)(...args)
    sockets.push(socket)
    return socket
  }) as typeof createSocket
  dgram.Socket.prototype.send = function (this: dgram.Socket, ...args: unknown[]) {
    const redirected = args.map((arg) => (isBroadcast(arg) ? LOOPBACK_BROADCAST : arg))
    return (send as (...args: never[]) => void).apply(this, redirected as never[])
  } as typeof send
  const close = (ofSockets: readonly dgram.Socket[], intervals: readonly Interval[]): void => {
    for (const interval of intervals) interval.clear()
    for (const socket of ofSockets) {
      try {
        socket.close()
      } catch {
        // It is closed.
      }
    }
  }

  return {
    watch: async (fn) => {
      const [firstSocket, firstInterval] = [sockets.length, watched.intervals.length]
      const result = await fn()
      const [ofSockets, ofIntervals] = [sockets.slice(firstSocket), watched.intervals.slice(firstInterval)]
      return [result, { intervals: ofIntervals, switchOff: () => close(ofSockets, ofIntervals) }]
    },
    restore: () => {
      os.networkInterfaces = networkInterfaces
      dgram.createSocket = createSocket
      dgram.Socket.prototype.send = send
      watched.restore()
      close(sockets, [])
    },
  }
}

function isBroadcast(arg: unknown): boolean {
  return typeof arg === 'string' && /^\d+\.\d+\.\d+\.255$/.test(arg)
}
