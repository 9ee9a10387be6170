/**
 * The words of the core as types: what a peer, a route, a connection and a plan are. Unit and invariant stand beside each
 * field; nothing here has behaviour. Everything is plain, immutable data, so a state and a time replay a decision.
 */
import type { Merit } from './merit'
import type { ErrorLog } from './records'
import type { Tree } from './tree'

/** A feed id in canonical form: `@<base64 of 32 bytes>=.ed25519`. */
export type FeedId = string
/** One multiserver address, without `;`. */
export type Address = string
/** Milliseconds since 1970; 0 stands for "never". */
export type EpochMs = number
export type DurationMs = number
/** A number in [0, 1) that was drawn in the shell and travels in the action, so that the core has no dice. */
export type Jitter = number

export type Priority = 'HIGH' | 'MEDIUM' | 'LOW' | 'BANNED'
export type Direction = 'inbound' | 'outbound'
/** Kind of host that an address names; `name` is a host name, null an address without a host. */
export type Scope =
  | 'loopback'
  | 'private'
  | 'linkLocal'
  | 'multicast'
  | 'unspecified'
  | 'reserved'
  | 'public'
  | 'name'
  | null

/** What `parseAddress` keeps of an address, so that it is parsed once, at the edge. */
export interface ParsedRoute {
  readonly address: Address
  readonly peer: FeedId
  /** First name in the address: `net`, `onion`, `ws`, `wss`, `rtc`, `bt`, `dht`, `tunnel`, `unix`, … */
  readonly protocol: string
  /** Lower case, IPv6 without brackets; null where the protocol has no host. */
  readonly host: string | null
  readonly port: number | null
  /** Feed id of the room that a tunnel goes through. */
  readonly portal: FeedId | null
  readonly scope: Scope
}

/** Running figures in the shape that `gossip.json`, `conn.json` and the pages built on them use. */
export interface Stats {
  readonly mean: number
  readonly stdev: number
  readonly count: number
  readonly sum: number
  readonly sqsum: number
}

export interface RouteError {
  /** At most 300 characters. */
  readonly message: string
  readonly code: string | null
  readonly at: EpochMs
}

/**
 * The fields by which `ready` and `waiting` are ordered (rank.ts). They are part of the route record, so that an index
 * entry costs no object of its own.
 */
export interface RankKey {
  /** Slot queue: `''` for routes of long-term peers, else the class. */
  readonly queue: string
  /** 0 HIGH, 1 MEDIUM, 2 LOW, 3 LOW and of nobody we know, 4 BANNED (rank.ts). */
  readonly tier: number
  /** Failed dials in a row. */
  readonly errorCount: number
  /** When the peer's next turn comes (merit.ts); the same in all its routes. 0: it was never connected. */
  readonly turnAt: EpochMs
  readonly lastErrorTime: EpochMs
  /** Keyed hash of the peer: repeatable for us, unpredictable for others. */
  readonly tie: number
  readonly address: Address
  /** No dial of ours before this: the latest of backoff, hang-up by the user and deferral. 0: due. */
  readonly dueAt: EpochMs
}

export type RouteData = { readonly [name: string]: unknown }

/** A record of records.ts, which makes and copies them: most fields are read through it, so spreading one loses them. */
export interface Route extends RankKey {
  readonly peer: FeedId
  readonly protocol: string
  /** Slot class: `local` for a local route, else the protocol. */
  readonly class: string
  readonly isLocal: boolean
  readonly scope: Scope
  /** `host:port`, the destination that is throttled; null where the protocol has no host. */
  readonly hostKey: string | null
  readonly portal: FeedId | null
  /** Who told us: `manual`, `seed`, `pub`, `local`, `friends`, `stored`, … */
  readonly source: string
  /** Written to the disk, and kept whether anybody announces it or not. */
  readonly isStored: boolean
  /**
   * Somebody announces it at present (a beacon, a room) and will withdraw it. A route that is neither stored nor announced
   * was only meant for one connection, and goes with it.
   */
  readonly isAnnounced: boolean
  /** False: the scheduler leaves it alone, only a user's `peer.connect` dials it. */
  readonly isAutomatic: boolean
  /** What other modules keep with it: plain JSON, of no meaning to us. Bounded (options.ts). */
  readonly data: RouteData | null
  readonly addedAt: EpochMs
  /** When this route was last connected. */
  readonly lastConnectionTime: EpochMs
  /** Connections that came about by this route. */
  readonly connectionCount: number
  /** Exponent of the backoff: grows with each failure, shrinks with each long connection. */
  readonly backoffStep: number
  /** Earliest next dial by backoff alone. 0: none. Always finite. */
  readonly nextAttemptAt: EpochMs
  /** The last five failures, newest last. Put together when it is asked for; `errorLog` is how they are kept. */
  readonly errors: readonly RouteError[]
  readonly errorLog: ErrorLog
  /** When a signal last lifted the backoff; at most once per 10 s. */
  readonly lastSignalAt: EpochMs
  /** How long connections by this route lasted, in ms; null before the first. */
  readonly duration: Stats | null
}

/** Why we dial. */
export type DialCause = 'schedule' | 'longTerm' | 'request' | 'initialSync' | 'probe'

export interface Attempt {
  readonly id: number
  readonly address: Address
  readonly class: string
  readonly cause: DialCause
  readonly startedAt: EpochMs
  readonly deadlineAt: EpochMs
}

export type CloseReason =
  | 'stopped'
  | 'closed'
  | 'banned'
  | 'routeRemoved'
  | 'disconnected'
  | 'lifetime'
  | 'surplus'
  | 'rotation'
  | 'initialSync'
  | 'stalled'
  | 'dead'
  | 'maxInbound'

export type Connection =
  | { readonly status: 'idle' }
  | {
      readonly status: 'dialing'
      readonly since: EpochMs
      /** In flight, oldest first; never empty. */
      readonly attempts: readonly Attempt[]
      /** Routes that were tried and failed in this race. */
      readonly tried: readonly Address[]
    }
  | Connected
  | Closing

export interface Connected {
  readonly status: 'connected'
  readonly direction: Direction
  /** The route that we dialed; null for inbound. */
  readonly address: Address | null
  /** Slot class for outbound, null for inbound: it takes no slot. */
  readonly class: string | null
  readonly cause: DialCause | 'inbound' | 'foreign'
  readonly since: EpochMs
  /** Set by the reducer when it has to end; `plan` hands it on. */
  readonly closeReason: CloseReason | null
  readonly isCaughtUp: boolean
  readonly lastTransferAt: EpochMs
  readonly rtt: Stats | null
  readonly skew: Stats | null
}

export interface Closing {
  readonly status: 'closing'
  readonly direction: Direction
  readonly address: Address | null
  readonly class: string | null
  readonly cause: DialCause | 'inbound' | 'foreign'
  readonly reason: CloseReason
  readonly since: EpochMs
  readonly connectedSince: EpochMs
}

/** A record of records.ts, as a route is: spreading one loses its `routes`. */
export interface Peer {
  readonly id: FeedId
  readonly priority: Priority
  /**
   * Who set the priority: `user`, or the `source` of the module that did. What the user has said, no module changes. Null
   * while nobody has: then it follows the routes.
   */
  readonly prioritisedBy: string | null
  readonly isLongTerm: boolean
  /** Last time of a connection, of either direction. */
  readonly visitedAt: EpochMs
  /** What its connections brought; null before the first. */
  readonly merit: Merit | null
  /** Keyed hash of the id (hash.ts). */
  readonly tie: number
  /** At most `maxRoutesPerPeer`. */
  readonly routes: readonly Address[]
  readonly connection: Connection
  /** The user hung up: not dialed by the scheduler before this. */
  readonly heldUntil: EpochMs
  /** When `plan` has to look at this peer again, whatever happens elsewhere; Infinity for never. Owned by table.ts. */
  readonly timerAt: EpochMs
}

/** A user's `peer.connect`, until it has an outcome. */
export interface Request {
  readonly peer: FeedId
  /** The route asked for, dialed first; null: the best one. */
  readonly address: Address | null
  readonly at: EpochMs
  /** Routes that failed since; when all have, the request has failed. */
  readonly tried: readonly Address[]
}

/** State of a route before a failure that a layer above may explain: what a refund restores. */
export interface Suspect {
  readonly errorCount: number
  readonly backoffStep: number
  readonly nextAttemptAt: EpochMs
  readonly lastErrorTime: EpochMs
  readonly errorLog: ErrorLog
  /** When it failed. */
  readonly at: EpochMs
  /** Nothing of the layer was connected when it failed, so that the next success there says that the layer was the cause. */
  readonly wasAlone: boolean
}

/**
 * A layer that failures may be charged to instead of the routes below it. Keys: `link`, `resolver`, `transport:<protocol>`,
 * `portal:<feed id>`, `host:<host:port>`. A layer that works has no entry.
 */
export interface Layer {
  readonly key: string
  readonly isDown: boolean
  readonly since: EpochMs
  readonly failureCount: number
  /** While down, one probe at or after this. */
  readonly retryAt: EpochMs
  readonly suspects: Tree<Address, Suspect>
  /** Routes that were put off because of this layer; they come back with it. Bounded. */
  readonly deferred: Tree<Address, undefined>
}

export interface ClassState {
  /** Share of dials that succeeded, a moving average. */
  readonly successRate: number
  /** Scheduled dials so far; decides whose turn it is (rank.ts). */
  readonly dialCount: number
  /** Share of its connections that brought anything, a moving average. */
  readonly visitYield: number
  /** No visit by rotation before this. */
  readonly nextRotationAt: EpochMs
  /** When the last of these visits was dialed. */
  readonly lastRotationAt: EpochMs
  /** While the class is full, no dial before this to a route that was never dialed. */
  readonly nextTrialAt: EpochMs
  /** Of these, how many in a row failed. */
  readonly trialsInVain: number
  /** While the class is full, no dial before this to a route that nothing speaks for. */
  readonly nextFeelerAt: EpochMs
  /** Between two of these; shorter while they succeed. */
  readonly feelerPauseMs: DurationMs
}

/** How many peers hold a slot of a class; derived from the peers, owned by table.ts. */
export interface Occupancy {
  readonly connected: number
  readonly dialing: number
  readonly closing: number
}

export interface InitialSync {
  /** The peer asked for; null: the best one. */
  readonly peer: FeedId | null
  readonly since: EpochMs
  /** Peers that stalled or failed in this sync, in order; they come last. Bounded. */
  readonly stalled: readonly FeedId[]
}

export interface Dial {
  readonly peer: FeedId
  readonly address: Address
  readonly cause: DialCause
  readonly timeoutMs: DurationMs
}

export interface Close {
  readonly peer: FeedId
  readonly reason: CloseReason
}

export interface GiveUp {
  readonly peer: FeedId
  readonly address: Address
  readonly attempt: number
  readonly timeoutMs: DurationMs
}

export interface Deferral {
  readonly address: Address
  readonly until: EpochMs
  /** Layer that explains it, or null for the throttle of one host. */
  readonly layer: string | null
}

/** What to open, close and give up now. Once it has begun (become actions), a plan at the same time is empty. */
export interface Plan {
  /** Best first. */
  readonly dials: readonly Dial[]
  readonly closes: readonly Close[]
  readonly giveUps: readonly GiveUp[]
  /** Peers whose close was asked for long ago and never confirmed: presumed closed. */
  readonly lost: readonly FeedId[]
  readonly deferrals: readonly Deferral[]
  /** Later than now; nothing falls due before it. Null: only an event can change anything. */
  readonly wakeAt: EpochMs | null
}

export type RefusalReason =
  | 'off'
  | 'banned'
  | 'self'
  | 'initialSync'
  | 'offline'
  | 'peerConnected'
  | 'peerDialing'
  | 'manualOnly'
  | 'typeDisabled'
  | 'backoff'
  | 'hostThrottled'
  | 'transportDown'
  | 'slotsFull'

/** Why a route may not be dialed now. `until` is null where only an event can lift it. */
export interface Refusal {
  readonly reason: RefusalReason
  readonly until: EpochMs | null
  readonly message: string
}
