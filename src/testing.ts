/**
 * For people who test their own modules against the manager: a virtual clock and a simulated network. Nothing here sleeps;
 * time moves when the test says so.
 */
import type { RecordingItem } from './core/recording'
import { replayEnd } from './core/replay'
import type { PeerView, Status } from './core/selectors'
import type { Plan } from './core/types'
import type { Clock } from './shell/clock'
import type { ConnectToPeer } from './shell/connector'

export { parseRecording, type Recording, type RecordingFile, type RecordingItem } from './core/recording'
export { type Change, type Decisions, type ReplayStep, replaySteps } from './core/replay'
export { seededRandom } from './shell/random'
export * from './simulated-network'
export type { Clock, ConnectToPeer }

export interface Replayed {
  /** What the manager would do next, had no time passed since the last action. */
  readonly plan: Plan
  readonly status: Status
  /** All peers, as `peer.list()` showed them. */
  readonly peers: readonly PeerView[]
}

/**
 * Replays a recording to its end: of `connections.recording()`, which begins with a checkpoint, or of `onAction` (or
 * `DEBUG=ssb:connection-manager:actions`), which begins with an action. Stop it early to see how things stood at any moment:
 * `replay(recording.slice(0, n))`, or go through it with `replaySteps`. Throws an error with the code ERR_RECORDING if something in it
 * is damaged, or comes from a version that knows other actions.
 */
export function replay(recording: readonly RecordingItem[]): Replayed {
  const end = replayEnd(recording)
  return { plan: end.plan, status: end.status(), peers: end.peers() }
}

interface Timer {
  readonly id: number
  readonly at: number
  readonly fn: () => void
}

export interface VirtualClock extends Clock {
  /** Runs what is due within `ms`, each timer at its own time, those set on the way included. */
  advance(ms: number): void
  /** As `advance`, and lets promises settle in between: for code that awaits. */
  advanceAsync(ms: number): Promise<void>
  /** Runs what was deferred and what is due now. */
  flush(): void
  /** Lets the wall clock jump without any timer running (suspend, or set by hand). */
  jump(ms: number): void
  /** How many timers are set. */
  readonly pending: number
  /** How many timers have fired so far. */
  readonly fired: number
}

/** Steps that one call of `advance` may take before it is taken for an endless loop. */
const MAX_STEPS = 1_000_000
/** The same for `advanceAsync`, whose steps take longer. */
const MAX_ASYNC_STEPS = 100_000

function isEarlier(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.id < b.id)
}

/** Puts a timer into a binary heap with the earliest at index 0. */
function pushTimer(heap: Timer[], timer: Timer): void {
  let at = heap.length
  heap.push(timer)
  while (at > 0) {
    const above = (at - 1) >> 1
    const parent = heap[above] as Timer
    if (!isEarlier(timer, parent)) break
    heap[at] = parent
    at = above
  }
  heap[at] = timer
}

/** Takes the earliest out. */
function dropEarliest(heap: Timer[]): void {
  const last = heap.pop()
  if (!last || heap.length === 0) return
  let at = 0
  for (;;) {
    let below = 2 * at + 1
    if (below >= heap.length) break
    if (below + 1 < heap.length && isEarlier(heap[below + 1] as Timer, heap[below] as Timer)) below++
    const child = heap[below] as Timer
    if (!isEarlier(child, last)) break
    heap[at] = child
    at = below
  }
  heap[at] = last
}

/** Cleared timers that the heap may hold before it is built anew, beside as many as there are set ones. */
const MAX_CLEARED = 1_024

/**
 * A clock that starts at a real date and visits due times one by one, ties in order of setting. Setting, clearing and firing
 * cost O(log n): a thousand managers have tens of thousands of timers.
 */
export function virtualClock(startAt: number = Date.UTC(2026, 0, 1)): VirtualClock {
  let now = startAt
  let lastId = 0
  let fired = 0
  // Timers run on elapsed time, not on the wall clock: a jump does not bring them nearer.
  let elapsed = 0
  const timers = new Map<number, Timer>()
  // Cleared timers stay in it until they come up, or until they are too many.
  let heap: Timer[] = []
  let deferred: (() => void)[] = []

  const flush = (): void => {
    for (let steps = 0; deferred.length > 0; steps++) {
      if (steps > MAX_STEPS) throw new Error('virtualClock: deferred functions defer each other without end')
      const batch = deferred
      deferred = []
      for (const fn of batch) fn()
    }
  }

  const nextUntil = (end: number): Timer | null => {
    for (let timer = heap[0]; timer; timer = heap[0]) {
      if (timers.has(timer.id)) return timer.at <= end ? timer : null
      dropEarliest(heap)
    }
    return null
  }

  const fire = (timer: Timer): void => {
    timers.delete(timer.id)
    if (timer.at > elapsed) {
      now += timer.at - elapsed
      elapsed = timer.at
    }
    fired++
    timer.fn()
    flush()
  }

  const finish = (end: number): void => {
    now += end - elapsed
    elapsed = end
  }

  return {
    now: () => now,
    setTimeout: (fn, ms) => {
      // What is no number fires at once, as a real timer does.
      const timer = { id: ++lastId, at: elapsed + (ms > 0 ? ms : 0), fn }
      timers.set(timer.id, timer)
      pushTimer(heap, timer)
      return timer.id
    },
    clearTimeout: (id) => {
      if (!timers.delete(id as number) || heap.length < 2 * timers.size + MAX_CLEARED) return
      // In order of their times a list is a heap.
      heap = [...timers.values()].sort((a, b) => (isEarlier(a, b) ? -1 : 1))
    },
    defer: (fn) => {
      deferred.push(fn)
    },
    advance: (ms) => {
      const end = elapsed + ms
      flush()
      for (let steps = 0; ; steps++) {
        if (steps > MAX_STEPS) throw new Error(`virtualClock: more than ${MAX_STEPS} timers within ${ms} ms`)
        const timer = nextUntil(end)
        if (!timer) break
        fire(timer)
      }
      finish(end)
    },
    advanceAsync: async (ms) => {
      const end = elapsed + ms
      const settle = async (): Promise<void> => {
        for (let turn = 0; turn < 20; turn++) {
          await Promise.resolve()
          flush()
        }
      }
      await settle()
      for (let steps = 0; ; steps++) {
        if (steps > MAX_ASYNC_STEPS)
          throw new Error(`virtualClock: more than ${MAX_ASYNC_STEPS} timers within ${ms} ms`)
        const timer = nextUntil(end)
        if (!timer) break
        fire(timer)
        await settle()
      }
      finish(end)
    },
    flush,
    jump: (ms) => {
      now += ms
    },
    get pending() {
      return timers.size
    },
    get fired() {
      return fired
    },
  }
}
