/**
 * The closed union of what can happen. Each action says what took place, when (`at`, epoch ms) and, where chance has a part,
 * what was drawn. A list of actions replays to the same state and the same plans.
 */
import type { Merit } from './merit'
import type { Options } from './options'
import type {
  Address,
  CloseReason,
  Deferral,
  DialCause,
  Direction,
  EpochMs,
  FeedId,
  Jitter,
  ParsedRoute,
  Priority,
  RouteData,
  RouteError,
  Stats,
} from './types'

/**
 * `stored`: for good. `announced`: until it is withdrawn or the process ends. `temporary`: for one connection, unless it
 * has another standing already.
 */
export type Standing = 'stored' | 'announced' | 'temporary'

/** What a module tells of a route. */
export interface RouteReport {
  readonly route: ParsedRoute
  readonly isLocal: boolean
  readonly source: string
  /** What becomes of the route; without it `announced` for a local one, else `stored`. */
  readonly standing?: Standing
  /** Only for peers on whom `setPriority` was never called; it may raise, never lower. */
  readonly priority?: Priority
}

/** A route as it was stored: the report and what had been learned. */
export interface StoredRoute extends RouteReport {
  readonly addedAt: EpochMs
  readonly lastConnectionTime: EpochMs
  readonly lastErrorTime: EpochMs
  readonly connectionCount: number
  readonly errorCount: number
  readonly backoffStep: number
  readonly nextAttemptAt: EpochMs
  readonly errors: readonly RouteError[]
  readonly duration: Stats | null
  readonly isAutomatic?: boolean
  readonly data?: RouteData | null
}

export interface StoredPeer {
  readonly id: FeedId
  readonly priority: Priority
  /** See `Peer`. */
  readonly prioritisedBy: string | null
  readonly isLongTerm: boolean
  readonly visitedAt: EpochMs
  readonly merit?: Merit | null
}

export type Action =
  | { readonly type: 'routes/added'; readonly at: EpochMs; readonly reports: readonly RouteReport[] }
  | {
      readonly type: 'table/loaded'
      readonly at: EpochMs
      readonly routes: readonly StoredRoute[]
      readonly peers: readonly StoredPeer[]
    }
  | { readonly type: 'route/removed'; readonly at: EpochMs; readonly address: Address }
  /** Nobody announces it any more. */
  | { readonly type: 'route/withdrawn'; readonly at: EpochMs; readonly address: Address }
  /** It is no longer to be kept for good: it goes unless somebody announces it or it is in use. */
  | { readonly type: 'route/forgotten'; readonly at: EpochMs; readonly address: Address }
  | {
      readonly type: 'route/annotated'
      readonly at: EpochMs
      readonly address: Address
      readonly data: RouteData | null
      readonly isAutomatic: boolean
    }
  /** A null `priority`: nobody says anything any more. */
  | {
      readonly type: 'peer/prioritised'
      readonly at: EpochMs
      readonly peer: FeedId
      readonly priority: Priority | null
      /** Missing: the user. */
      readonly by?: string
    }
  | { readonly type: 'peer/longTermSet'; readonly at: EpochMs; readonly peer: FeedId; readonly isLongTerm: boolean }
  | { readonly type: 'peer/held'; readonly at: EpochMs; readonly peer: FeedId }
  | {
      readonly type: 'connection/requested'
      readonly at: EpochMs
      readonly peer: FeedId
      readonly address: Address | null
    }
  | { readonly type: 'connection/requestDropped'; readonly at: EpochMs; readonly peer: FeedId }
  | {
      readonly type: 'dial/started'
      readonly at: EpochMs
      readonly attempt: number
      readonly peer: FeedId
      readonly address: Address
      readonly cause: DialCause
    }
  | {
      readonly type: 'dial/failed'
      readonly at: EpochMs
      readonly attempt: number
      readonly peer: FeedId
      readonly address: Address
      readonly error: { readonly message: string; readonly code: string | null }
      readonly jitter: Jitter
      /** True when we gave it up: its socket may linger until `dial/ended`. */
      readonly isGivenUp: boolean
    }
  /** An attempt that was given up has come to its real end. */
  | { readonly type: 'dial/ended'; readonly at: EpochMs; readonly attempt: number }
  /** An attempt is over and nobody is to blame: it lost a race, or we stopped. */
  | {
      readonly type: 'dial/abandoned'
      readonly at: EpochMs
      readonly attempt: number
      readonly peer: FeedId
    }
  | {
      readonly type: 'connection/opened'
      readonly at: EpochMs
      readonly peer: FeedId
      readonly direction: Direction
      /** The route, for our dials. */
      readonly address: Address | null
      /** The attempt that it came from; null for inbound and for what other modules dialed. */
      readonly attempt: number | null
      readonly cause: DialCause | 'inbound' | 'foreign'
    }
  | {
      readonly type: 'connection/closeRequested'
      readonly at: EpochMs
      readonly peer: FeedId
      readonly reason: CloseReason
    }
  | {
      readonly type: 'connection/closing'
      readonly at: EpochMs
      readonly peer: FeedId
      readonly reason: CloseReason
    }
  | { readonly type: 'connection/closed'; readonly at: EpochMs; readonly peer: FeedId; readonly jitter: Jitter }
  | {
      readonly type: 'connection/pinged'
      readonly at: EpochMs
      readonly peer: FeedId
      readonly rttMs: number
      readonly skewMs: number
    }
  /** Messages came from this peer; `count`: those that we did not have, as far as that is known. */
  | {
      readonly type: 'connection/transferred'
      readonly at: EpochMs
      readonly peer: FeedId
      readonly count?: number
    }
  | { readonly type: 'connection/caughtUp'; readonly at: EpochMs; readonly peer: FeedId }
  | { readonly type: 'connection/stalled'; readonly at: EpochMs; readonly peer: FeedId }
  | { readonly type: 'connections/started'; readonly at: EpochMs }
  | { readonly type: 'connections/stopped'; readonly at: EpochMs }
  | { readonly type: 'initialSync/started'; readonly at: EpochMs; readonly peer: FeedId | null }
  | { readonly type: 'initialSync/stopped'; readonly at: EpochMs }
  | { readonly type: 'options/changed'; readonly at: EpochMs; readonly options: Options }
  | { readonly type: 'routes/deferred'; readonly at: EpochMs; readonly deferrals: readonly Deferral[] }
  | { readonly type: 'environment/offline'; readonly at: EpochMs }
  /** We are taking in much at present (a burst of messages, an index being made), or no longer. */
  | { readonly type: 'environment/busy'; readonly at: EpochMs; readonly isBusy: boolean }
  /** Our link is back, or we woke, or the network changed: whatever was charged to the link is refunded. */
  | { readonly type: 'environment/online'; readonly at: EpochMs }
  /** Time went on: what has fallen due becomes ready. */
  | { readonly type: 'clock/advanced'; readonly at: EpochMs }
  /** The wall clock was set back: no pause may become longer by it. */
  | { readonly type: 'clock/setBack'; readonly at: EpochMs }
