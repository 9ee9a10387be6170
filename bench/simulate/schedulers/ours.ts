/** Our manager, as the plugin runs it: the same events of stack, machine and replication, and a file that survives the process. */
import type { RouteReport } from '../../../src/core/actions'
import { parseAddress } from '../../../src/core/address'
import { parseSnapshot, stringifySnapshot, toSnapshot } from '../../../src/core/snapshot'
import { type ConnectionManager, createManager } from '../../../src/manager'
import { virtualClock } from '../../../src/testing'
import { type Machine, MINUTE, type PeerSpec, type RouteSpec, type Scheduler, type SchedulerModule } from '../types'

const FILE = 'connection-manager.json'
/** The file is at most this old (shell/persistence.ts: usually a second, a minute at worst). */
const SAVE_MS = MINUTE / 2

function priorityOf(hops: PeerSpec['hops']): 'HIGH' | 'MEDIUM' | 'LOW' {
  return hops === 1 ? 'HIGH' : hops === 2 ? 'MEDIUM' : 'LOW'
}

function create(machine: Machine): Scheduler {
  const { spec, clock, random, ownId, disk } = machine
  let manager: ConnectionManager | null = null
  let saver: unknown = null
  const isKilled = spec.happenings.some(({ type }) => type === 'kill')

  const report = (route: RouteSpec): RouteReport[] =>
    parseAddress(route.address).map((parsed) => ({ route: parsed, isLocal: route.isLocal, source: route.source }))

  const prioritise = (id: string, hops: PeerSpec['hops']): void => {
    // As the social adapter of /conn: friends HIGH, friends of friends MEDIUM, others LOW.
    if (manager && hops !== null) manager.peer.setPriority({ id, priority: priorityOf(hops), source: 'friends' })
  }

  const save = (): void => {
    if (!manager) return
    disk.set(FILE, stringifySnapshot(toSnapshot(manager.internal.store.getState(), clock.now())))
    saver = clock.setTimeout(save, SAVE_MS)
  }

  return {
    start: () => {
      const made = createManager({
        connectToPeer: (address, cb) => {
          machine.dial(address, (error, rpc) => cb?.(error, rpc))
        },
        selfId: ownId,
        clock,
        random,
        probe: (connection) => (connection as { ping(): Promise<void> }).ping(),
        maxByType: { net: spec.slots - spec.localSlots, local: spec.localSlots, onion: 0, ws: 0, wss: 0, rtc: 0 },
        ...overrides(),
      })
      manager = made
      const text = disk.get(FILE)
      if (text !== undefined) made.internal.load(parseSnapshot(text, FILE))
      else made.internal.report(spec.table.flatMap(report))
      for (const { id, hops } of spec.peers) if (made.peer.get(id)) prioritise(id, hops)
      made.connections.start()
      if (isKilled) saver = clock.setTimeout(save, SAVE_MS)
    },
    kill: () => {
      clock.clearTimeout(saver)
      const dying = manager
      manager = null
      dying?.close()
    },
    learn: (route, hops) => {
      const peer = spec.peers[route.peer]
      if (!manager || !peer) return
      const isNew = manager.peer.get(peer.id) === null
      manager.internal.report(report(route))
      if (isNew) prioritise(peer.id, hops)
    },
    gone: (route) => {
      manager?.peer.withdrawRoute({ address: route.address })
    },
    block: (id) => {
      manager?.peer.setPriority({ id, priority: 'BANNED', source: 'friends' })
    },
    signal: (signal) => {
      if (!manager) return
      if (signal === 'offline') manager.internal.offline()
      else manager.internal[signal]()
    },
    received: (id, count) => {
      manager?.internal.transferred(id, count)
    },
    caughtUp: (id) => {
      if (manager) manager.internal.reportProgress({ peer: id, isCaughtUp: true })
    },
    errorCounts: () => {
      const state = manager?.internal.store.getState()
      if (!state) return null
      const counts = new Map<string, number>()
      for (const { address, errorCount } of state.routes.values()) counts.set(address, errorCount)
      return counts
    },
  }
}

/** For trials: policy options as JSON, over the defaults. */
function overrides(): Record<string, unknown> {
  return JSON.parse(process.env.POLICY ?? '{}') as Record<string, unknown>
}

export const ours: SchedulerModule = { name: 'ours', createClock: () => virtualClock(), create }
