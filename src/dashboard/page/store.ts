/**
 * What the server has told so far. `receive` puts one event into it; nothing here has a clock or draws anything. The maps
 * are changed in place (10 000 peers come and change all day): `versions` tell what has.
 */
import type { Finding } from '../../core/diagnosis'
import type { Status } from '../../core/selectors'
import type { FeedId } from '../../core/types'
import type { Events, FeedRow, Hello, HistoryEntry, PeerRow, SyncState } from '../protocol'

/** Of each kind. The server keeps about as many; a page that is left open for weeks must not grow. */
export const HISTORY_MAX = 20_000

export interface Model {
  hello: Hello | null
  status: Status | null
  sync: SyncState | null
  findings: readonly Finding[]
  readonly peers: Map<FeedId, PeerRow>
  readonly feeds: Map<FeedId, FeedRow>
  /** Connections and failed dials by what makes them one, in the order in which they began to be known. */
  readonly history: Map<string, Exclude<HistoryEntry, { kind: 'rtt' }>>
  readonly roundTrips: Extract<HistoryEntry, { kind: 'rtt' }>[]
  readonly versions: { peers: number; feeds: number; history: number; roundTrips: number }
}

export interface Store {
  /** What is shown. */
  current: Model
  /** What a new stream has told, until it is complete: then it takes the place of `current`, and nothing flickers. */
  incoming: Model | null
  /** False before the first stream was complete. */
  isSynced: boolean
}

export function emptyModel(): Model {
  return {
    hello: null,
    status: null,
    sync: null,
    findings: [],
    peers: new Map(),
    feeds: new Map(),
    history: new Map(),
    roundTrips: [],
    versions: { peers: 0, feeds: 0, history: 0, roundTrips: 0 },
  }
}

export function emptyStore(): Store {
  return { current: emptyModel(), incoming: null, isSynced: false }
}

export const EVENT_NAMES: readonly (keyof Events)[] = [
  'hello',
  'peers',
  'gone',
  'history',
  'synced',
  'status',
  'findings',
  'feeds',
  'feedsGone',
  'sync',
  'bye',
]

/** Entries of one connection or dial replace each other. */
function historyKey(entry: Exclude<HistoryEntry, { kind: 'rtt' }>): string {
  return `${entry.kind} ${entry.from} ${entry.peer} ${entry.kind === 'failed' ? entry.address : ''}`
}

function record(model: Model, entries: readonly HistoryEntry[]): void {
  for (const entry of entries) {
    if (entry.kind === 'rtt') {
      model.roundTrips.push(entry)
      model.versions.roundTrips++
    } else {
      model.history.set(historyKey(entry), entry)
      model.versions.history++
    }
  }
  // A quarter at once: cutting one off the front for each that comes would move all the others.
  if (model.roundTrips.length > HISTORY_MAX) model.roundTrips.splice(0, model.roundTrips.length - (HISTORY_MAX * 3) / 4)
  for (const [key, entry] of model.history) {
    if (model.history.size <= HISTORY_MAX) break
    // One that is still up is the last thing to lose.
    if (entry.kind === 'failed' || entry.to !== null || model.history.size > HISTORY_MAX * 1.5)
      model.history.delete(key)
  }
}

/** Puts an event into the store. An event of a name that is not known changes nothing. */
export function receive<Name extends keyof Events>(store: Store, name: Name, data: Events[Name]): void {
  if (name === 'hello') {
    store.incoming = emptyModel()
    store.incoming.hello = data as Events['hello']
    return
  }
  if (name === 'synced') {
    if (store.incoming !== null) {
      // Versions only grow, so that whoever compares them sees that everything may have changed.
      const { versions } = store.current
      const next = store.incoming
      next.versions.peers += versions.peers + 1
      next.versions.feeds += versions.feeds + 1
      next.versions.history += versions.history + 1
      next.versions.roundTrips += versions.roundTrips + 1
      // These may follow a moment later: until then the last known say more than none.
      if (next.findings.length === 0) next.findings = store.current.findings
      next.status ??= store.current.status
      store.current = next
      store.incoming = null
      store.isSynced = true
    }
    return
  }
  const model = store.incoming ?? store.current
  switch (name) {
    case 'peers':
      for (const peer of data as Events['peers']) model.peers.set(peer.id, peer)
      model.versions.peers++
      return
    case 'gone':
      for (const id of data as Events['gone']) model.peers.delete(id)
      model.versions.peers++
      return
    case 'history':
      record(model, data as Events['history'])
      return
    case 'status':
      model.status = data as Events['status']
      return
    case 'findings':
      model.findings = data as Events['findings']
      return
    case 'feeds':
      for (const feed of data as Events['feeds']) model.feeds.set(feed.id, feed)
      model.versions.feeds++
      return
    case 'feedsGone':
      for (const id of data as Events['feedsGone']) model.feeds.delete(id)
      model.versions.feeds++
      return
    case 'sync':
      model.sync = data as Events['sync']
      return
  }
}
