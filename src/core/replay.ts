/**
 * A recording, step by step: the state after each action, what the action changed, and what the manager decided then and why.
 * Pure. A step costs little until it is asked for more: views of all peers and the status are made then.
 */
import type { Action } from './actions'
import { Builder, isCheckpointPart } from './checkpoint'
import { errorInfo, RecordingError } from './errors'
import { DEFAULT_OPTIONS } from './options'
import { own } from './own'
import { plan } from './plan'
import { readAction } from './recording'
import { initialState, reduce } from './reducer'
import {
  type Explanation,
  explain,
  type PeerRemoved,
  type PeerView,
  peerView,
  type Status,
  status as statusOf,
  viewOf,
} from './selectors'
import type { State } from './table'
import type { Close, Deferral, Dial, EpochMs, FeedId, GiveUp, Plan } from './types'

/** What a plan has that the one before it had not. */
export type Decisions = Omit<Plan, 'wakeAt'>

/** A field of the manager, a peer or a route that an action has changed. */
export interface Change {
  /** Null: of the manager itself. */
  readonly peer: FeedId | null
  /** As in the view of the peer, such as `connection.status`; of a route with its address first: `net:…: errorCount`. Empty: all. */
  readonly field: string
  /** Plain JSON; undefined: it was not there, or is no more. */
  readonly from: unknown
  readonly to: unknown
}

export interface ReplayStep {
  /** 0: how things stood at the beginning. */
  readonly index: number
  /** Time of the state, epoch ms. */
  readonly at: EpochMs
  /** Null for the beginning. */
  readonly action: Action | null
  /** What the manager had decided meanwhile, when the time was up, and before the action; null where no time was. */
  readonly due: Decisions | null
  /** Peers that the action changed, as they are now. */
  readonly changed: readonly (PeerView | PeerRemoved)[]
  readonly changes: readonly Change[]
  /** All that the manager would do now. */
  readonly plan: Plan
  /** What of it is new. */
  readonly decided: Decisions
  /** Of all peers, as `peer.list()` showed them. */
  peers(): readonly PeerView[]
  /** `now`: epoch ms, not before `at`, as is so for all of these. Default: `at`. */
  status(now?: EpochMs): Status
  planAt(now: EpochMs): Plan
  explain(id: FeedId, now?: EpochMs): Explanation
}

/** The state at the beginning of a recording, and after each of its actions. Throws as `replaySteps` does. */
export function* replayStates(
  recording: Iterable<unknown>,
): Generator<{ readonly state: State; readonly action: Action | null; readonly item: number }, void> {
  let state: State | null = null
  let builder: Builder | null = null
  let item = -1
  for (const each of recording) {
    item++
    if (!state && !builder && isCheckpointPart(each)) builder = new Builder()
    if (builder) {
      if (!builder.take(each, item)) continue
      state = builder.finish()
      builder = null
      yield { state, action: null, item }
      continue
    }
    const action = readAction(each, item)
    if (!state) {
      state = initialState(DEFAULT_OPTIONS, action.at)
      yield { state, action: null, item }
    }
    const before: State = state
    state = replaying(item, () => reduce(before, action))
    yield { state, action, item }
  }
  // It says what is missing.
  builder?.finish()
  if (!state) yield { state: initialState(DEFAULT_OPTIONS, 0), action: null, item: 0 }
}

/**
 * The steps of a recording, which begins with a checkpoint or with an action. Throws RecordingError, and nothing else, when it comes
 * upon what cannot be replayed; the steps before are good.
 */
export function* replaySteps(recording: Iterable<unknown>): Generator<ReplayStep, void> {
  let before: Reached | null = null
  for (const { state, action, item } of replayStates(recording)) {
    const from: Reached | null = before
    // What fell due until then was decided by a plan of its own, which left no trace but the actions that followed from it.
    const isDue = from !== null && action !== null && from.plan.wakeAt !== null && from.plan.wakeAt <= action.at
    const due = isDue ? replaying(item, () => plan(from.state, action.at)) : null
    const index: number = from ? from.index + 1 : 0
    before = { state, index, plan: replaying(item, () => plan(state, state.now)) }
    yield stepOf(from, before, action, due)
  }
}

/** How things stand at the end of a recording. Throws as `replaySteps` does. */
export function replayEnd(recording: Iterable<unknown>): ReplayStep {
  let state = initialState(DEFAULT_OPTIONS, 0)
  let index = -1
  for (const each of replayStates(recording)) {
    state = each.state
    index++
  }
  return stepOf(null, { state, index, plan: replaying(null, () => plan(state, state.now)) }, null, null)
}

function replaying<T>(item: number | null, compute: () => T): T {
  try {
    return compute()
  } catch (error) {
    throw new RecordingError(item, errorInfo(error).message, error)
  }
}

/** A state that a replay has come to, and what would be done then. */
interface Reached {
  readonly state: State
  readonly index: number
  readonly plan: Plan
}

function stepOf(before: Reached | null, after: Reached, action: Action | null, due: Plan | null): ReplayStep {
  const { state, index, plan: made } = after
  const no = before ? [before.plan] : []
  return {
    index,
    at: state.now,
    action,
    due: due && newIn(due, no),
    plan: made,
    decided: newIn(made, due ? [...no, due] : no),
    get changed() {
      return state.changedPeers.map((id) => viewOf(state, id))
    },
    get changes() {
      return before ? changesBetween(before.state, state) : []
    },
    peers: () => state.peers.valuesArray().map((peer) => peerView(state, peer)),
    status: (now = state.now) => statusOf(state, Math.max(now, state.now)),
    planAt: (now) => plan(state, Math.max(now, state.now)),
    explain: (id, now = state.now) => explain(state, id, null, Math.max(now, state.now)),
  }
}

// ---- decisions ----------------------------------------------------------------------------------------------------------

function newIn(made: Plan, before: readonly Plan[]): Decisions {
  return {
    dials: without(
      made.dials,
      before.flatMap(({ dials }) => dials),
      dialKey,
    ),
    closes: without(
      made.closes,
      before.flatMap(({ closes }) => closes),
      closeKey,
    ),
    giveUps: without(
      made.giveUps,
      before.flatMap(({ giveUps }) => giveUps),
      giveUpKey,
    ),
    lost: without(
      made.lost,
      before.flatMap(({ lost }) => lost),
      (id) => id,
    ),
    deferrals: without(
      made.deferrals,
      before.flatMap(({ deferrals }) => deferrals),
      deferralKey,
    ),
  }
}

function without<T>(list: readonly T[], known: readonly T[], keyOf: (each: T) => string): readonly T[] {
  if (list.length === 0 || known.length === 0) return list
  const keys = new Set(known.map(keyOf))
  return list.filter((each) => !keys.has(keyOf(each)))
}

const dialKey = ({ address, cause }: Dial): string => `${cause} ${address}`
const closeKey = ({ peer, reason }: Close): string => `${reason} ${peer}`
const giveUpKey = ({ attempt, address }: GiveUp): string => `${attempt} ${address}`
const deferralKey = ({ address, until }: Deferral): string => `${until} ${address}`

// ---- changes ------------------------------------------------------------------------------------------------------------

/** What an action changed, as far as it can be seen from outside. */
function changesBetween(before: State, after: State): Change[] {
  const changes: Change[] = []
  compare(changes, null, '', managerView(before), managerView(after))
  for (const id of after.changedPeers) {
    const was = before.peers.has(id) ? shownPeer(before, id) : undefined
    compare(changes, id, '', was, after.peers.has(id) ? shownPeer(after, id) : undefined)
  }
  return changes
}

/** What is not said by its peers. */
function managerView(state: State): object {
  const { mode, isBusy, onlineAt, initialSync, options, layers } = state
  const down: { [layer: string]: unknown } = {}
  if (state.downCount > 0)
    for (const { key, isDown, failureCount, retryAt } of layers.values())
      if (isDown) down[key] = { failureCount, retryAt }
  return { mode, isBusy, onlineAt, initialSync, options, down }
}

/** The view of a peer with its routes by address. */
function shownPeer(state: State, id: FeedId): object {
  const view = viewOf(state, id) as PeerView
  const shown: { [field: string]: unknown } = {
    priority: view.priority,
    prioritisedBy: view.prioritisedBy,
    isLongTerm: view.isLongTerm,
    connection: {
      ...view.connection,
      rtt: view.connection.rtt?.mean ?? null,
      skew: view.connection.skew?.mean ?? null,
    },
  }
  for (const { id: address, peer: _, priority: __, isLongTerm: ___, errors, ...route } of view.routes)
    shown[`${address}:`] = { ...route, lastError: errors[errors.length - 1] ?? null }
  return shown
}

function compare(changes: Change[], peer: FeedId | null, path: string, from: unknown, to: unknown): void {
  if (from === to) return
  if (!isBranch(from) || !isBranch(to)) {
    if (JSON.stringify(from) !== JSON.stringify(to)) changes.push({ peer, field: path, from, to })
    return
  }
  for (const name of new Set([...Object.keys(from), ...Object.keys(to)])) {
    const joint = path === '' ? '' : path.endsWith(':') ? ' ' : '.'
    compare(changes, peer, `${path}${joint}${name}`, own(from, name), own(to, name))
  }
}

function isBranch(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
