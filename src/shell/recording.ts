/**
 * The source of `connections.recording()`: a checkpoint, then every action. While nobody reads it, it costs nothing; a reader that takes
 * whatever it is given gets a portion in each turn, so that a table of 100 000 routes holds up nobody.
 *
 * A recording with holes would replay to something that never was. Whoever does not keep up is given all that was kept for him
 * and then an error: what he has is whole up to there.
 */
import type { Action } from '../core/actions'
import { type CheckpointPart, checkpointOf } from '../core/checkpoint'
import { type ConnectionManagerError, InvariantError, RecordingBehindError } from '../core/errors'
import { type RecordingItem, recordable, weightOf } from '../core/recording'
import type { State } from '../core/table'
import type { Clock } from './clock'
import { Readers, type Source } from './live'

/** Entries of a table that wait for one reader: some 20 MB of actions that would otherwise be gone. */
const MAX_WAITING = 50_000
/** Entries of actions that are handed out in one turn, or one part of a checkpoint; some 2 ms with what muxrpc makes of them. */
const PER_TURN = 200

interface Tape {
  /** As the reader has it, or will when it has read all that waits. */
  state: State
  waiting: Action[]
  weight: number
  /** An action was taken: from now on none may be missing. */
  hasBegun: boolean
  error: ConnectionManagerError | null
}

export class RecordingSource {
  private readonly readers = new Readers()
  private readonly tapes = new Set<Tape>()

  constructor(private readonly clock: Clock) {}

  /** Readers now. */
  get size(): number {
    return this.tapes.size
  }

  open(state: State): Source<RecordingItem> {
    const tape: Tape = { state, waiting: [], weight: 0, hasBegun: false, error: null }
    this.tapes.add(tape)
    let parts: Iterator<CheckpointPart> | null = checkpointOf(state)
    /** What is being read of `waiting`, from `at` on: taking the first out of a long list again and again is slow. */
    let reading: readonly Action[] = []
    let at = 0
    let given = 0
    let pause: { readonly timer: unknown } | null = null

    const pauseAfter = (entries: number): void => {
      given += entries
      if (given < PER_TURN) return
      given = 0
      const timer = this.clock.setTimeout(() => {
        pause = null
        this.readers.poke()
      }, 0)
      pause = { timer }
    }
    const nextPart = (): CheckpointPart | null => {
      const part = parts?.next()
      if (part && !part.done) return part.value
      parts = null
      return null
    }
    const nextAction = (): Action | null => {
      if (at === reading.length) {
        reading = tape.waiting
        tape.waiting = []
        at = 0
      }
      return at < reading.length ? (reading[at++] as Action) : null
    }
    return this.readers.open(
      () => {
        if (pause) return undefined
        const part = nextPart()
        if (part) {
          pauseAfter(PER_TURN)
          return recordable(part)
        }
        const action = nextAction()
        if (!action) return undefined
        const weight = weightOf(action)
        tape.weight -= weight
        pauseAfter(weight)
        return recordable(action)
      },
      () => (!pause && !parts && at === reading.length && tape.waiting.length === 0 && tape.error) || false,
      () => {
        this.tapes.delete(tape)
        if (pause) this.clock.clearTimeout(pause.timer)
      },
    )
  }

  /** Keeps an action for those who record. They are told by `poke`, when all else that follows from it has been done. */
  push(action: Action, before: State, after: State): void {
    for (const tape of this.tapes) {
      // Opened while this action was being told of: it is in the checkpoint.
      if (tape.error || (!tape.hasBegun && tape.state !== before)) continue
      if (tape.state !== before) tape.error = new InvariantError('an action was told of out of its order')
      tape.hasBegun = true
      tape.state = after
      tape.weight += weightOf(action)
      if (tape.weight > MAX_WAITING) tape.error = new RecordingBehindError(tape.weight)
      if (!tape.error) tape.waiting.push(action)
    }
  }

  poke(): void {
    this.readers.poke()
  }

  close(): void {
    this.readers.close()
  }
}
