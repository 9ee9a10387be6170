/**
 * What the live page and its server say to each other: types only, shared by both sides. Everything that comes from peers
 * (names, addresses, errors) is hostile input: the server bounds its length, the page shows it as text and nothing else.
 *
 * - `GET /?token=…` trades a one-time token for a session: a cookie, and a key in the fragment of where it redirects, `/#key=…`.
 * - `GET /events?key=…` (server-sent events) begins with `hello`, the tables in slices, `synced`, then what changes, coalesced.
 * - `POST /act` with an `Act` answers with an `Answer`; `POST /explain` with `{targets}` (at most 100) with `Explanation[]`. Both
 *   with the key in the header `X-Page-Key`.
 */
import type { Finding } from '../core/diagnosis'
import type { ConnectionView, Explanation, Status } from '../core/selectors'
import type { Address, CloseReason, DialCause, EpochMs, FeedId, Priority, RouteError } from '../core/types'

export interface Hello {
  /** Of the package. */
  readonly version: string
  readonly selfId: FeedId
  /** Of the server's clock, so that the page can show ages where the clocks differ. */
  readonly now: EpochMs
  /** Since when the history reaches back. */
  readonly historySince: EpochMs
  /** What the stack has: without it the page hides the part that needs it. */
  readonly has: { readonly friends: boolean; readonly replication: boolean }
}

export interface RouteRow {
  readonly address: Address
  /** Slot class: `local`, or the protocol. */
  readonly class: string
  readonly source: string
  readonly isLocal: boolean
  readonly isStored: boolean
  readonly isAutomatic: boolean
  readonly status: 'idle' | 'dialing' | 'connected' | 'closing'
  readonly connectionCount: number
  /** Failed dials in a row. */
  readonly errorCount: number
  /** The last failure; its message at most 300 characters. */
  readonly lastError: RouteError | null
  readonly lastConnectionTime: EpochMs | null
  readonly nextAttemptAt: EpochMs
}

export interface PeerRow {
  readonly id: FeedId
  /** What a module has called it, at most 64 characters; null: nobody has. */
  readonly name: string | null
  readonly priority: Priority
  readonly isLongTerm: boolean
  /** 1: followed by us; null: unknown, or there is no social graph. */
  readonly hops: number | null
  readonly connection: ConnectionView
  /** Slot class of the connection; null for inbound and while idle. */
  readonly class: string | null
  /** Why it is connected. */
  readonly cause: DialCause | 'inbound' | 'foreign' | null
  readonly isCaughtUp: boolean
  /** When it was last connected, in either direction; null: never. */
  readonly visitedAt: EpochMs | null
  readonly routes: readonly RouteRow[]
}

/** One line of the timeline: a connection that was, or is, or a dial that failed. */
export type HistoryEntry =
  | {
      readonly kind: 'connection'
      readonly peer: FeedId
      readonly address: Address | null
      readonly direction: 'inbound' | 'outbound'
      readonly class: string | null
      readonly from: EpochMs
      /** Null while it lasts. The entry comes again, with the same peer and `from`, when it has ended. */
      readonly to: EpochMs | null
      readonly why: string | null
      readonly ended: CloseReason | string | null
    }
  | {
      readonly kind: 'failed'
      readonly peer: FeedId
      readonly address: Address
      readonly class: string
      /** When it was dialed, and when it failed. */
      readonly from: EpochMs
      readonly to: EpochMs
      readonly why: string | null
      /** Code of the error, or its message. */
      readonly error: string
    }
  | { readonly kind: 'rtt'; readonly peer: FeedId; readonly at: EpochMs; readonly rttMs: number }

/** A feed that we follow. */
export interface FeedRow {
  readonly id: FeedId
  readonly name: string | null
  readonly hops: number | null
  /** Messages that we have, and that some connected peer says there are; null: unknown. */
  readonly have: number | null
  readonly want: number | null
  /** When a message of it last arrived while somebody looked at the page; null: none did. */
  readonly arrivedAt: EpochMs | null
  /** What the latest message says of its own time; null: unknown. */
  readonly latestAt: EpochMs | null
}

export interface SyncState {
  readonly phase: 'off' | 'connecting' | 'syncing' | 'caughtUp' | 'stalled'
  readonly peer: FeedId | null
  readonly have: number | null
  readonly want: number | null
  /** Messages a second, and ms that are left; null: unknown. */
  readonly rate: number | null
  readonly etaMs: number | null
}

/** Server-sent events: the name, and what its data is (JSON). */
export interface Events {
  readonly hello: Hello
  /** At most 500 at a time; known ones are replaced. */
  readonly peers: readonly PeerRow[]
  readonly gone: readonly FeedId[]
  /** At most 500 at a time. A connection that has ended comes again, see there. */
  readonly history: readonly HistoryEntry[]
  /** What was there at the beginning is complete: peers and history; findings and feeds may follow. */
  readonly synced: Record<string, never>
  readonly status: Status
  readonly findings: readonly Finding[]
  /** At most 500 at a time; known ones are replaced. At most the 2 000 closest in all. */
  readonly feeds: readonly FeedRow[]
  /** No longer among them. */
  readonly feedsGone: readonly FeedId[]
  readonly sync: SyncState
  /** The sbot closes; the page says so and tries again. */
  readonly bye: Record<string, never>
}

/** What the page may ask for. A target is a feed id or an address. */
export type Act =
  | { readonly action: 'connect'; readonly target: string; readonly isLongTerm?: boolean }
  | { readonly action: 'disconnect'; readonly target: string }
  | { readonly action: 'setPriority'; readonly target: string; readonly priority: Priority | 'AUTO' }
  | { readonly action: 'setLongTerm'; readonly target: string; readonly isLongTerm: boolean }
  /** With `peer`: an address of anybody else is refused. */
  | { readonly action: 'addRoute'; readonly address: string; readonly peer?: FeedId }
  | { readonly action: 'removeRoute'; readonly address: string }
  | { readonly action: 'setMax'; readonly max: { readonly [type: string]: number } }
  | { readonly action: 'start' }
  | { readonly action: 'stop' }
  | { readonly action: 'syncStart'; readonly target?: string }
  | { readonly action: 'syncStop' }

/**
 * A request that is not understood is answered with 400 and an `Answer` that says why, one without a session with 403.
 * What the manager refuses is answered with 200 and `ok: false`, so that a browser does not report it as a broken page.
 */
export type Answer =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: { readonly code: string; readonly message: string } }

export interface ExplainRequest {
  readonly targets: readonly string[]
}
/** In the order of the targets; null where one is not an address or a feed id. */
export type ExplainAnswer = readonly (Explanation | null)[]
