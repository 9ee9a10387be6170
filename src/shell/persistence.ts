/**
 * When the learned table is read and saved, and what happens if either fails. It knows neither disk nor format: the one is
 * behind `FileStore` (adapters/node-files.ts), the other is core/snapshot.ts. No Node import.
 *
 * The one promise above all: a good table is never replaced by an emptier one. So nothing is saved before the stored table
 * is in the state; nothing at all if it could not be read for a reason that may pass (permissions, a failing disk); and what
 * can be read but not understood is first set aside under another name.
 */
import type { StoredPeer, StoredRoute } from '../core/actions'
import { type ErrorInfo, errorInfo } from '../core/errors'
import { parseSnapshot, type SkippedEntry, type Snapshot, type StoredTables, stringifySnapshot } from '../core/snapshot'
import type { DurationMs, EpochMs } from '../core/types'
import type { Clock } from './clock'

/** One file, whole. */
export interface FileStore {
  /** Where it lies, for messages. */
  readonly path?: string
  /** The text; null if there is no such file. Rejects if there may be one that cannot be read. */
  read(): Promise<string | null>
  /** Replaces the file atomically: whatever happens, the old text or the new one is there. Resolves once it is on disk. */
  write(text: string): Promise<void>
  /** Renames the file to `….corrupt-<time>`, never onto another; resolves with the new name. */
  setAside(): Promise<string>
  /** As `setAside`, but the file stays where it is. A store without it does without the copy. */
  copyAside?(): Promise<string>
}

export type Log = (level: 'info' | 'warning' | 'error', message: string) => void

export interface PersistenceOptions {
  readonly files: FileStore
  readonly clock: Clock
  /** The state as it is now; called once for each save. */
  readonly getSnapshot: () => Snapshot
  readonly log: Log
  /** Tables of older software, asked for if there is no file yet and only then. It leaves their files as they are. */
  readonly importLegacy?: () => Promise<StoredTables>
}

export type LoadOutcome =
  /** `fresh`: neither a file nor anything to import. */
  | {
      readonly status: 'loaded' | 'imported' | 'fresh'
      readonly routeCount: number
      readonly peerCount: number
      readonly skippedCount: number
    }
  /** The file made no sense and lies under another name now; saving starts anew. */
  | { readonly status: 'setAside'; readonly file: string; readonly error: ErrorInfo }
  /** There may be a good table that could not be read: nothing is saved until the next start. */
  | { readonly status: 'unreadable'; readonly error: ErrorInfo }
  /** `close` came first; `apply` was not called. */
  | { readonly status: 'closed' }

export interface Persistence {
  /**
   * Reads the stored table and hands it to `apply`, which must put it into the state before it returns: from then on the
   * state is what is saved. To be called once; until then changes are only noted. Rejects with what `apply` throws, and
   * with nothing else; saving stays off then.
   */
  load(apply: (tables: Pick<StoredTables, 'routes' | 'peers'>) => void): Promise<LoadOutcome>
  /** Something that is stored has changed. Cheap: may be called for every event. */
  changed(): void
  /** Saves now what has changed so far. True: all of it is stored. Never rejects; a failure is in the log. */
  flush(): Promise<boolean>
  /** Saves a last time if need be and ends for good, leaving no timer. Idempotent; never rejects. */
  close(): Promise<void>
}

/** A burst of events is one save. */
const PAUSE_MS: DurationMs = 1_000
/** While changes go on, a save begins this long after the first one that is not stored. The file is at most a minute
 *  behind, which leaves 5 s for a slow disk. */
const BEHIND_MAX_MS: DurationMs = 55_000
const RETRY_MAX_MS: DurationMs = 60_000
/**
 * Making the text blocks the process, about 10 µs for each route that was dialed often. The pause is at least this many
 * times as long, so that it takes 5 % of the time at most; up to some 5 000 routes that is less than the usual pause.
 */
const PAUSE_PER_COST = 20
/** Skipped entries that are named in the log; the rest is counted. */
const MAX_NAMED = 5

export function startPersistence(options: PersistenceOptions): Persistence {
  const { files, clock, getSnapshot, log } = options
  const path = files.path ?? ''
  const where = path === '' ? 'the stored table' : path

  /** `waiting`: the stored table is not in the state yet. `off`: it never will be, so it must not be overwritten. */
  let saving: 'waiting' | 'on' | 'off' = 'waiting'
  let loading: Promise<unknown> | null = null
  let closing: Promise<void> | null = null
  /** The save under way; resolves with whether it went well, never rejects. */
  let writing: Promise<boolean> | null = null
  /** Times of the first and of the last change that no save has begun with; null: none. */
  let unsaved: { readonly firstAt: EpochMs; lastAt: EpochMs } | null = null
  let pauseMs = PAUSE_MS
  /** Set while saves fail. */
  let retry: { readonly failedAt: EpochMs; readonly afterMs: DurationMs } | null = null
  let timer: { readonly id: unknown } | null = null

  const say: Log = (level, message) => {
    try {
      log(level, message)
    } catch {
      // A logger that fails must not cost the table.
    }
  }

  // ---- saving -------------------------------------------------------------------------------------------------------

  /** How long until the next save is due. A clock that was set back says "now": early is harmless, never is not. */
  const waitMs = (changes: { readonly firstAt: EpochMs; readonly lastAt: EpochMs }): DurationMs => {
    const now = clock.now()
    if (retry) return now < retry.failedAt ? 0 : Math.max(0, retry.afterMs - (now - retry.failedAt))
    const quietMs = now - changes.lastAt
    const behindMs = now - changes.firstAt
    if (quietMs < 0 || behindMs < 0) return 0
    return Math.max(0, Math.min(pauseMs - quietMs, BEHIND_MAX_MS - behindMs))
  }

  /** Sets the one timer if something is to be saved. Changes that come while it runs are looked at when it fires. */
  const arm = (): void => {
    if (saving !== 'on' || closing || writing || timer || !unsaved) return
    timer = { id: clock.setTimeout(onTimer, waitMs(unsaved)) }
  }

  const disarm = (): void => {
    if (timer) clock.clearTimeout(timer.id)
    timer = null
  }

  const onTimer = (): void => {
    timer = null
    if (saving !== 'on' || closing || writing || !unsaved) return
    if (waitMs(unsaved) > 0) arm()
    else void save()
  }

  const noteChange = (): void => {
    const now = clock.now()
    if (unsaved) unsaved.lastAt = now
    else unsaved = { firstAt: now, lastAt: now }
  }

  /** One save at a time; whoever comes while one is under way waits for it first. */
  const save = (): Promise<boolean> => {
    disarm()
    const task = writeOut().then((isDone) => {
      writing = null
      arm()
      return isDone
    })
    writing = task
    return task
  }

  const writeOut = async (): Promise<boolean> => {
    const changes = unsaved
    unsaved = null
    try {
      const startedAt = clock.now()
      const text = stringifySnapshot(getSnapshot())
      const costMs = Math.max(0, clock.now() - startedAt)
      pauseMs = Math.min(Math.max(PAUSE_MS, costMs * PAUSE_PER_COST), BEHIND_MAX_MS)
      await files.write(text)
      if (retry) say('info', `${where} is saved again`)
      retry = null
      return true
    } catch (error) {
      const afterMs = Math.min(retry ? retry.afterMs * 2 : PAUSE_MS, RETRY_MAX_MS)
      const now = clock.now()
      retry = { failedAt: now, afterMs }
      // What could not be stored is as old as it was.
      unsaved = { firstAt: changes?.firstAt ?? now, lastAt: (unsaved ?? changes)?.lastAt ?? now }
      say('error', `cannot save ${where}, next try in ${afterMs / 1000} s: ${errorInfo(error).message}`)
      return false
    }
  }

  const flush = async (): Promise<boolean> => {
    // Whatever load meets is reported by load itself.
    if (loading) await loading.then(nothing, nothing)
    while (writing) await writing
    if (saving !== 'on') return false
    return unsaved ? save() : true
  }

  // ---- loading ------------------------------------------------------------------------------------------------------

  const stayOff = (reason: string, error: unknown): LoadOutcome => {
    saving = 'off'
    unsaved = null
    say(
      'error',
      `${reason}: ${errorInfo(error).message}. Nothing is saved until the next start, so that no good table is overwritten`,
    )
    return { status: 'unreadable', error: errorInfo(error) }
  }

  const readAndApply = async (
    apply: (tables: { readonly routes: readonly StoredRoute[]; readonly peers: readonly StoredPeer[] }) => void,
  ): Promise<LoadOutcome> => {
    const take = ({ routes, peers }: StoredTables): void => {
      try {
        apply({ routes, peers })
      } catch (error) {
        stayOff(`${where} could not be taken in`, error)
        throw error
      }
    }
    const begin = (): void => {
      saving = 'on'
      arm()
    }
    const report = (status: 'loaded' | 'imported' | 'fresh', tables: StoredTables): LoadOutcome => ({
      status,
      routeCount: tables.routes.length,
      peerCount: tables.peers.length,
      skippedCount: tables.skipped.length,
    })

    let text: string | null
    try {
      text = await files.read()
    } catch (error) {
      return stayOff(`cannot read ${where}`, error)
    }
    if (closing) return { status: 'closed' }

    if (text === null) {
      let tables: StoredTables = { routes: [], peers: [], skipped: [] }
      try {
        if (options.importLegacy) tables = await options.importLegacy()
      } catch (error) {
        return stayOff('cannot read the tables of older software', error)
      }
      if (closing) return { status: 'closed' }
      saySkipped('the tables of older software', tables.skipped)
      if (tables.routes.length === 0 && tables.peers.length === 0) {
        begin()
        return report('fresh', tables)
      }
      take(tables)
      say('info', `imported ${tables.routes.length} routes from the tables of older software`)
      noteChange()
      begin()
      return report('imported', tables)
    }

    let tables: StoredTables
    try {
      tables = parseSnapshot(text, path)
    } catch (error) {
      let file: string
      try {
        file = await files.setAside()
      } catch (failure) {
        say('error', errorInfo(error).message)
        return stayOff(`cannot set ${where} aside`, failure)
      }
      say('error', `${errorInfo(error).message}. It was set aside as ${file}; starting with an empty table`)
      // Written even if nothing more is learned: without a file, the next start would be taken for the first.
      noteChange()
      begin()
      return { status: 'setAside', file, error: errorInfo(error) }
    }

    if (tables.skipped.length > 0) {
      saySkipped(where, tables.skipped)
      // The next save will be without these entries; somebody may be able to mend them.
      if (files.copyAside) {
        try {
          say('warning', `${where} was copied to ${await files.copyAside()} because of skipped entries`)
        } catch (error) {
          return applyWithoutSaving(take, tables, error)
        }
      }
      if (closing) return { status: 'closed' }
      noteChange()
    }
    take(tables)
    begin()
    return report('loaded', tables)
  }

  /** The good entries are of use even if the bad ones cannot be brought to safety. */
  const applyWithoutSaving = (
    take: (tables: StoredTables) => void,
    tables: StoredTables,
    error: unknown,
  ): LoadOutcome => {
    const outcome = stayOff(`cannot copy ${where} aside, which has entries that cannot be read`, error)
    if (closing) return { status: 'closed' }
    take(tables)
    return outcome
  }

  const saySkipped = (source: string, skipped: readonly SkippedEntry[]): void => {
    if (skipped.length === 0) return
    const named = skipped.slice(0, MAX_NAMED).map(({ entry, error }) => `${entry}: ${error.message}`)
    const rest = skipped.length - named.length
    say(
      'warning',
      `${source}: ${skipped.length} entries skipped. ${named.join('; ')}${rest > 0 ? `; ${rest} more` : ''}`,
    )
  }

  const finish = async (): Promise<void> => {
    await flush()
    disarm()
    saving = 'off'
    unsaved = null
  }

  return {
    load: (apply) => {
      if (loading) return Promise.reject(new Error('the stored table is loaded once'))
      if (closing) return Promise.resolve({ status: 'closed' })
      const task = readAndApply(apply)
      loading = task
      return task
    },
    changed: () => {
      if (saving === 'off') return
      noteChange()
      arm()
    },
    flush,
    close: () => {
      // Assigned before `finish` begins, as it stops new timers.
      closing = closing ?? Promise.resolve().then(finish)
      return closing
    },
  }
}

function nothing(): void {}
