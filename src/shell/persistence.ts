/**
 * When the learned table is read and saved, and what happens if either fails. It knows neither disk nor format: the one is
 * behind `FileStore` (adapters/node-files.ts), the other are core/table-text.ts, the table as a whole, and core/journal.ts,
 * what has changed since. No Node import.
 *
 * The one promise above all: a good table is never replaced by an emptier one. So nothing is saved before the stored table
 * is in the state; nothing at all if it could not be read for a reason that may pass (permissions, a failing disk); and what
 * can be read but not understood is first set aside under another name.
 *
 * A save writes what has changed to the journal. The table is written whole when there is none yet, when the journal has
 * grown to half of it, and when anything is wrong with the journal: a new table makes the old journal void by its generation,
 * so that a crash between the two leaves no moment in which they do not fit. Reading and writing go in slices.
 */
import { type ErrorInfo, errorInfo, StoredStateError } from '../core/errors'
import { changedLines, JournalReader, journalEnd, journalHeader, removedRouteLine } from '../core/journal'
import type { SkippedEntry, StoredTables } from '../core/snapshot'
import type { State } from '../core/table'
import { TableReader, tablePieces } from '../core/table-text'
import type { Address, DurationMs, EpochMs, FeedId } from '../core/types'
import type { Clock } from './clock'

/** One file, whole; and beside it, where that is possible, a journal that can be added to. */
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
  /** As `read`, in pieces: for tables whose text alone would take too long to decode. */
  readPieces?(): Promise<AsyncIterable<string> | null>
  /** As `write`, in pieces. */
  writePieces?(pieces: AsyncIterable<string>): Promise<void>
  /** A store without it gets the whole table at each save. */
  readonly journal?: JournalStore
}

/** A file that grows at its end. */
export interface JournalStore {
  /** In pieces, a character for each byte, whatever it is; null if there is no such file. */
  read(): Promise<AsyncIterable<string> | null>
  /**
   * Adds `text`, which is ASCII, to a file that has exactly `size` bytes, and rejects if it has not; with 0 the file is made
   * anew, in place of any other. Resolves once it is on disk.
   */
  append(text: string, size: number): Promise<void>
}

export type Log = (level: 'info' | 'warning' | 'error', message: string) => void

export interface PersistenceOptions {
  readonly files: FileStore
  readonly clock: Clock
  /** The state as it is now, which stays as it is while others follow. */
  readonly getState: () => State
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
  /** `close` came first; `apply` is not called any more. */
  | { readonly status: 'closed' }

/** Some of the stored table; peers go before routes. */
export type LoadedSlice = Pick<StoredTables, 'routes' | 'peers'>

/**
 * How soon a change is stored. `said`: in a moment; somebody said so, and would have to say it again. `learned`: within a minute,
 * together with what else is learned meanwhile. `passing`: with the next save, whenever that is.
 */
export type Weight = 'said' | 'learned' | 'passing'

export interface Persistence {
  /**
   * Reads the stored table and hands it to `apply` slice by slice, which must put each into the state before it returns; what
   * it leaves out is taken for removed. To be called once; until all is in, changes are only noted. Rejects with what `apply`
   * throws, and with nothing else; saving stays off then. `onUsable` is called once, as soon as the state is good for dialing:
   * all bans are in it, and the routes that worked last.
   */
  load(apply: (slice: LoadedSlice) => void, onUsable?: () => void): Promise<LoadOutcome>
  /**
   * Something that is stored may have changed, of these peers or their routes. `before`: the state before that. Cheap: may be
   * called for every event.
   */
  changed(peers: readonly FeedId[], before: State, weight?: Weight): void
  /** Saves now what has changed so far. True: all of it is stored. Never rejects; a failure is in the log. */
  flush(): Promise<boolean>
  /** Saves a last time if need be and ends for good, leaving no timer. Idempotent; never rejects. */
  close(): Promise<void>
}

/** A burst of what is said is one save. */
const PAUSE_MS: DurationMs = 1_000
/** A save begins this long after the first change that is not stored. The file is at most a minute behind, which leaves 5 s
 *  for a slow disk. */
const BEHIND_MAX_MS: DurationMs = 55_000
/** What was learned and is as old as this is stored when something else has woken us: so it seldom needs a timer of its own. */
const RIDE_ALONG_MS: DurationMs = 25_000
const RETRY_MAX_MS: DurationMs = 60_000
/** Skipped entries that are named in the log; the rest is counted. */
const MAX_NAMED = 5
/**
 * Entries that are read or written in one turn at most, and after how long a turn ends: then timers and sockets go first. What was
 * begun is done first, and there may be a collection of garbage, which together take as long again.
 */
const SLICE_ENTRIES = 512
const SLICE_MS: DurationMs = 1
/** Entries that are handed to the state at once, at most: one of the first, whose code is not compiled yet, takes as long. */
const BATCH = 32
/** Of one piece that is handed to the store, at least. */
const PIECE_LENGTH = 65_536
/** A journal that is shorter than this, or than half of the table, is not worth writing the table for. In characters. */
const JOURNAL_MIN = 1_048_576
/** Addresses that the state has not taken from the disk: more are not noted one by one. */
const MAX_GONE = 1_000

/** What is known to be on disk. */
interface Stored {
  /** Of the table; null: it has none, and no journal. */
  readonly generation: number | null
  readonly tableLength: number
  /** 0: there is none for this table. */
  readonly journalLength: number
  /** The state that table and journal amount to. */
  readonly state: State
}

/** What may differ from what is on disk. */
interface Changes {
  /** When the first change came that no save has begun with, and the last one that was said; null: nothing to save. */
  since: { readonly firstAt: EpochMs; saidAt: EpochMs | null } | null
  readonly peers: Set<FeedId>
  /** Of these it is not known what is on disk. */
  readonly unsure: Set<FeedId>
  /** Addresses that are on disk and were not in the state at some time. */
  readonly gone: Set<Address>
}

function noChanges(): Changes {
  return { since: null, peers: new Set(), unsure: new Set(), gone: new Set() }
}

export function startPersistence(options: PersistenceOptions): Persistence {
  const { files, clock, getState, log } = options
  const path = files.path ?? ''
  const where = path === '' ? 'the stored table' : path

  /** `waiting`: the stored table is not in the state yet. `off`: it never will be, so it must not be overwritten. */
  let saving: 'waiting' | 'on' | 'off' = 'waiting'
  let loading: Promise<unknown> | null = null
  let closing: Promise<void> | null = null
  /** The save under way; resolves with whether it went well, never rejects. */
  let writing: Promise<boolean> | null = null
  let changes = noChanges()
  /** Null: nothing that could be gone on from. The next save writes the table whole. */
  let stored: Stored | null = null
  /** Set while saves fail. */
  let retry: { readonly failedAt: EpochMs; readonly afterMs: DurationMs } | null = null
  let timer: { readonly id: unknown; readonly at: EpochMs } | null = null

  const say: Log = (level, message) => {
    try {
      log(level, message)
    } catch {
      // A logger that fails must not cost the table.
    }
  }

  // ---- slices -------------------------------------------------------------------------------------------------------

  /** Whether this turn has done enough, and the way to the next one. */
  const startPace = () => {
    let startedAt = clock.now()
    let lookedAt = startedAt
    let count = 0
    let batch = 1
    return {
      /** How many entries to take at once: more while that takes no time, fewer when the clock has gone on meanwhile. */
      batch: (): number => batch,
      /** Other work begins, whose code may not be compiled yet. */
      slowDown: (): void => {
        batch = 1
      },
      /** After waiting for the store. The count goes on, as a store may answer in the same turn. */
      restart: (): void => {
        startedAt = clock.now()
        lookedAt = startedAt
      },
      isOver: (cost: number): boolean => {
        count += cost
        const now = clock.now()
        if (now !== lookedAt) batch = Math.max(1, batch >> 1)
        else if (cost > 0) batch = Math.min(2 * batch, BATCH)
        lookedAt = now
        const spentMs = now - startedAt
        // A clock that was set back says nothing; then the count alone ends the slice.
        return count >= SLICE_ENTRIES || spentMs >= SLICE_MS
      },
      rest: async (): Promise<void> => {
        await new Promise<void>((resolve) => {
          clock.setTimeout(resolve, 0)
        })
        startedAt = clock.now()
        lookedAt = startedAt
        count = 0
      },
    }
  }

  // ---- saving -------------------------------------------------------------------------------------------------------

  /** How long until the next save is due. A clock that was set back says "now": early is harmless, never is not. */
  const waitMs = ({ firstAt, saidAt }: NonNullable<Changes['since']>): DurationMs => {
    const now = clock.now()
    if (retry) return now < retry.failedAt ? 0 : Math.max(0, retry.afterMs - (now - retry.failedAt))
    const behindMs = now - firstAt
    if (behindMs < 0) return 0
    if (saidAt === null) return Math.max(0, BEHIND_MAX_MS - behindMs)
    const quietMs = now - saidAt
    return quietMs < 0 ? 0 : Math.max(0, Math.min(PAUSE_MS - quietMs, BEHIND_MAX_MS - behindMs))
  }

  /** Sets the one timer if something is to be saved. Later changes are looked at when it fires, if it does so soon enough. */
  const arm = (): void => {
    if (saving !== 'on' || closing || writing || !changes.since) return
    const afterMs = waitMs(changes.since)
    const at = clock.now() + afterMs
    if (timer && timer.at <= at) return
    disarm()
    timer = { id: clock.setTimeout(onTimer, afterMs), at }
  }

  const disarm = (): void => {
    if (timer) clock.clearTimeout(timer.id)
    timer = null
  }

  const onTimer = (): void => {
    timer = null
    if (saving !== 'on' || closing || writing || !changes.since) return
    if (waitMs(changes.since) > 0) arm()
    else void save()
  }

  const noteChange = (isSaid = true): void => {
    const now = clock.now()
    changes.since ??= { firstAt: now, saidAt: null }
    if (isSaid) changes.since.saidAt = now
  }

  let isRiding = false

  /** Something has woken us anyway: a good moment to store what would soon need a timer. */
  const rideAlong = (): void => {
    if (saving !== 'on' || closing || writing || retry || isRiding || !changes.since) return
    // Where something was said, the timer is near.
    if (changes.since.saidAt !== null || clock.now() - changes.since.firstAt < RIDE_ALONG_MS) return
    isRiding = true
    const ride = (): void => {
      isRiding = false
      if (saving === 'on' && !closing && !writing && changes.since) void save()
    }
    // After the plan that this may lead to: what comes of it would have to wait for a timer.
    clock.defer(() => clock.defer(ride))
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
    const taken = changes
    changes = noChanges()
    try {
      const state = getState()
      const isDone = stored !== null && (await writeChanges(stored, state, taken))
      if (!isDone) await writeTable(state)
      if (retry) say('info', `${where} is saved again`)
      retry = null
      return true
    } catch (error) {
      const afterMs = Math.min(retry ? retry.afterMs * 2 : PAUSE_MS, RETRY_MAX_MS)
      const now = clock.now()
      retry = { failedAt: now, afterMs }
      // How much of it is on disk is not known: the next save is whole.
      stored = null
      // What could not be stored is as old as it was.
      const saidAt = changes.since?.saidAt ?? taken.since?.saidAt ?? null
      changes.since = { firstAt: taken.since?.firstAt ?? now, saidAt }
      say('error', `cannot save ${where}, next try in ${afterMs / 1000} s: ${errorInfo(error).message}`)
      return false
    }
  }

  /** Adds what has changed to the journal. False, and nothing is written, if it is time for the whole table. */
  const writeChanges = async (present: Stored, state: State, taken: Changes): Promise<boolean> => {
    const { journal } = files
    const { generation, tableLength, journalLength } = present
    const limit = Math.max(JOURNAL_MIN, tableLength / 2)
    if (!journal || generation === null || journalLength > limit) return false
    const parts: string[] = journalLength === 0 ? [journalHeader(generation)] : []
    let length = 0
    const pace = startPace()
    const ids = taken.unsure.size === 0 ? taken.peers : new Set([...taken.peers, ...taken.unsure])
    for (const id of ids) {
      const lines = changedLines(taken.unsure.has(id) ? null : present.state, state, id)
      length += lines.length
      if (lines !== '') parts.push(lines)
      if (journalLength + length > limit) return false
      if (pace.isOver(1)) await pace.rest()
    }
    for (const address of taken.gone) {
      if (state.routes.get(address)?.isStored) continue
      const line = removedRouteLine(address)
      length += line.length
      parts.push(line)
    }
    if (length > 0) {
      parts.push(journalEnd(clock.now()))
      const text = parts.join('')
      await journal.append(text, journalLength)
      stored = { ...present, journalLength: journalLength + text.length, state }
    } else {
      stored = { ...present, state }
    }
    return true
  }

  const writeTable = async (state: State): Promise<void> => {
    const now = clock.now()
    // Later than any that this disk has seen, so that no journal of an older table fits.
    lastGeneration = Math.max(Math.floor(now), lastGeneration + 1)
    const generation = files.journal ? lastGeneration : null
    const pieces = tablePieces(state, now, generation)
    let tableLength = 0
    /** The next piece of some length, after as many turns as it takes; null at the end. */
    const pace = startPace()
    const next = async (): Promise<string | null> => {
      let piece = ''
      for (;;) {
        const { done, value } = pieces.next()
        if (done) break
        piece += value
        if (pace.isOver(BATCH)) await pace.rest()
        if (piece.length >= PIECE_LENGTH) break
      }
      tableLength += piece.length
      return piece === '' ? null : piece
    }
    if (files.writePieces) {
      await files.writePieces(iterate(next))
    } else {
      const parts: string[] = []
      for (let piece = await next(); piece !== null; piece = await next()) parts.push(piece)
      await files.write(parts.join(''))
    }
    stored = { generation, tableLength, journalLength: 0, state }
  }

  let lastGeneration = 0

  const flush = async (): Promise<boolean> => {
    // Whatever load meets is reported by load itself.
    if (loading) await loading.then(nothing, nothing)
    while (writing) await writing
    if (saving !== 'on') return false
    return changes.since ? save() : true
  }

  // ---- loading ------------------------------------------------------------------------------------------------------

  const stayOff = (reason: string, error: unknown): LoadOutcome => {
    saving = 'off'
    changes = noChanges()
    say(
      'error',
      `${reason}: ${errorInfo(error).message}. Nothing is saved until the next start, so that no good table is overwritten`,
    )
    return { status: 'unreadable', error: errorInfo(error) }
  }

  const begin = (): void => {
    saving = 'on'
    arm()
  }

  const readAndApply = async (apply: (slice: LoadedSlice) => void, onUsable: () => void): Promise<LoadOutcome> => {
    let routeCount = 0
    let peerCount = 0
    const take = ({ routes, peers }: LoadedSlice): void => {
      try {
        apply({ routes, peers })
      } catch (error) {
        stayOff(`${where} could not be taken in`, error)
        throw new ApplyError(error)
      }
      routeCount += routes.length
      peerCount += peers.length
      const state = getState()
      for (const { route } of routes) if (!state.routes.get(route.address)?.isStored) changes.gone.add(route.address)
    }
    const report = (status: 'loaded' | 'imported' | 'fresh', skipped: readonly SkippedEntry[]): LoadOutcome => ({
      status,
      routeCount,
      peerCount,
      skippedCount: skipped.length,
    })

    let source: Pieces | null
    try {
      source = await openTable(files)
    } catch (error) {
      return stayOff(`cannot read ${where}`, error)
    }
    if (closing) {
      source?.close()
      return { status: 'closed' }
    }

    if (source === null) {
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
        return report('fresh', tables.skipped)
      }
      const pace = startPace()
      for (const slice of slicesOf(tables)) {
        take(slice)
        if (!pace.isOver(BATCH)) continue
        await pace.rest()
        if (closing) return { status: 'closed' }
      }
      say('info', `imported ${tables.routes.length} routes from the tables of older software`)
      noteChange()
      begin()
      return report('imported', tables.skipped)
    }

    const reader = new TableReader(path)
    let journal: JournalReader | null = null
    let isUsable = false
    const pace = startPace()
    try {
      for (;;) {
        const { isGiving } = reader
        const step = reader.next(isGiving ? pace.batch() : BATCH)
        if (step.kind === 'done') break
        if (step.kind === 'more') {
          const text = await source.next()
          if (text === null) reader.end()
          else reader.push(text)
          if (closing) return { status: 'closed' }
          pace.restart()
          continue
        }
        if (step.kind === 'journal') {
          journal = await readJournal(reader.generation ?? null)
          if (closing) return { status: 'closed' }
          reader.useJournal(journal)
          pace.restart()
          continue
        }
        // Reading and taking in are as much work each, and the first time the code of each is compiled.
        if (pace.isOver(step.lineCount)) {
          await pace.rest()
          if (closing) return { status: 'closed' }
        }
        if (!isGiving) pace.slowDown()
        if (step.routes.length > 0 || step.peers.length > 0) take(step)
        if (routeCount >= BATCH && !isUsable) {
          isUsable = true
          // The first decisions and dials have a turn of their own.
          await pace.rest()
          if (closing) return { status: 'closed' }
          onUsable()
          await pace.rest()
          if (closing) return { status: 'closed' }
        }
        if (!pace.isOver(0)) continue
        await pace.rest()
        if (closing) return { status: 'closed' }
      }
      if (routeCount > 0 && !isUsable) onUsable()
    } catch (error) {
      if (error instanceof ApplyError) throw error
      if (error instanceof StoredStateError) return await setAside(error)
      return stayOff(`cannot read ${where}`, error)
    } finally {
      source.close()
    }

    const { skipped } = reader
    lastGeneration = reader.generation ?? 0
    if (skipped.length > 0) {
      saySkipped(where, skipped)
      // The next table will be without these entries; somebody may be able to mend them.
      if (files.copyAside) {
        try {
          say('warning', `${where} was copied to ${await files.copyAside()} because of skipped entries`)
        } catch (error) {
          if (closing) return { status: 'closed' }
          return stayOff(`cannot copy ${where} aside, which has entries that cannot be read`, error)
        }
      }
      if (closing) return { status: 'closed' }
      noteChange()
    }
    if (journal) saySkipped(`the journal of ${where}`, journal.skipped)
    const isWhole = skipped.length === 0 && (journal?.skipped.length ?? 0) === 0 && !journal?.isTorn
    // What was learned meanwhile is not on disk; all else is.
    if (isWhole && changes.gone.size <= MAX_GONE)
      stored = {
        generation: reader.generation ?? null,
        tableLength: reader.length,
        journalLength: journal?.isUsable ? journal.length : 0,
        state: getState(),
      }
    if (changes.gone.size > 0) noteChange()
    begin()
    return report('loaded', skipped)
  }

  /** A journal that cannot be read is a table that cannot be read: rejects. */
  const readJournal = async (generation: number | null): Promise<JournalReader> => {
    const reader = new JournalReader(generation)
    const source = generation === null || !files.journal ? null : piecesOf(await files.journal.read())
    if (!source) return reader
    const pace = startPace()
    try {
      for (let text = await source.next(); text !== null; text = await source.next()) {
        reader.push(text)
        pace.restart()
        for (let count = reader.next(pace.batch()); count > 0; count = reader.next(pace.batch()))
          if (pace.isOver(count)) await pace.rest()
        if (closing) break
      }
    } finally {
      source.close()
    }
    return reader
  }

  const setAside = async (cause: StoredStateError): Promise<LoadOutcome> => {
    let file: string
    try {
      file = await files.setAside()
    } catch (failure) {
      say('error', errorInfo(cause).message)
      return stayOff(`cannot set ${where} aside`, failure)
    }
    say('error', `${errorInfo(cause).message}. It was set aside as ${file}; starting with an empty table`)
    // Written even if nothing more is learned: without a file, the next start would be taken for the first.
    noteChange()
    begin()
    return { status: 'setAside', file, error: errorInfo(cause) }
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
    changes = noChanges()
    stored = null
  }

  /** While the table is read, nothing can be compared with it: what has changed is written as it is then. */
  const noteUnsure = (peers: readonly FeedId[], before: State): void => {
    const after = getState()
    for (const id of peers) {
      changes.unsure.add(id)
      for (const address of before.peers.get(id)?.routes ?? [])
        if (before.routes.get(address)?.isStored && !after.routes.get(address)?.isStored) changes.gone.add(address)
    }
  }

  return {
    load: (apply, onUsable = nothing) => {
      if (loading) return Promise.reject(new Error('the stored table is loaded once'))
      if (closing) return Promise.resolve({ status: 'closed' })
      const task = readAndApply(apply, onUsable).catch((error: unknown) => {
        throw error instanceof ApplyError ? error.reason : error
      })
      loading = task
      return task
    },
    changed: (peers, before, weight = 'said') => {
      if (saving === 'off') return
      if (saving === 'waiting') noteUnsure(peers, before)
      else for (const id of peers) changes.peers.add(id)
      if (weight !== 'passing') {
        noteChange(weight === 'said')
        arm()
      }
      rideAlong()
    },
    flush,
    close: () => {
      // Assigned before `finish` begins, as it stops new timers.
      closing = closing ?? Promise.resolve().then(finish)
      return closing
    },
  }
}

/** What `apply` has thrown, told from what reading throws. */
class ApplyError {
  constructor(readonly reason: unknown) {}
}

interface Pieces {
  /** Null at the end. */
  next(): Promise<string | null>
  /** Lets go of whatever is open. */
  close(): void
}

async function openTable(files: FileStore): Promise<Pieces | null> {
  if (files.readPieces) return piecesOf(await files.readPieces())
  let text = await files.read()
  if (text === null) return null
  return {
    next: async () => {
      const given = text
      text = null
      return given
    },
    close: nothing,
  }
}

function piecesOf(source: AsyncIterable<string> | null): Pieces | null {
  const iterator = source?.[Symbol.asyncIterator]()
  if (!iterator) return null
  return {
    next: async () => {
      const { done, value } = await iterator.next()
      return done ? null : value
    },
    close: () => {
      iterator.return?.().then(nothing, nothing)
    },
  }
}

async function* iterate(next: () => Promise<string | null>): AsyncGenerator<string, void> {
  for (let piece = await next(); piece !== null; piece = await next()) yield piece
}

/** All peers first: how long a route may pause goes by what its peer means to us. */
function* slicesOf({ routes, peers }: StoredTables): Generator<LoadedSlice, void> {
  for (let at = 0; at < peers.length; at += BATCH) yield { routes: [], peers: peers.slice(at, at + BATCH) }
  for (let at = 0; at < routes.length; at += BATCH) yield { routes: routes.slice(at, at + BATCH), peers: [] }
}

function nothing(): void {}
