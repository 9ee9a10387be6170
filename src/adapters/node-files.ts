/**
 * The table on a real disk, for Node: `<folder>/connection-manager.json`, replaced atomically, and beside it
 * `connection-manager.journal`, which grows at its end. What stands in the files, and when they are written, is decided
 * elsewhere (core/snapshot.ts, core/journal.ts, shell/persistence.ts).
 *
 * A write goes to a temporary file beside the real one, which is forced to disk and then renamed over it: a process killed
 * at any moment leaves the old text or the new one, and at worst a temporary file that the next start removes. Without the
 * fsync before the rename, ext4 and others may write the name before the content, and a power cut leaves an empty file.
 */
import {
  close,
  constants,
  fdatasync,
  fstat,
  fsync,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  read as readInto,
  rename,
  unlink,
  writeFile,
} from 'fs'
import { basename, dirname, join } from 'path'
import { StringDecoder } from 'string_decoder'
import { promisify } from 'util'

import type { Clock } from '../shell/clock'
import type { FileStore, JournalStore } from '../shell/persistence'

export const TABLE_FILE = 'connection-manager.json'
export const JOURNAL_FILE = 'connection-manager.journal'

/** The texts of the tables that older software left; null: there is none. */
export interface LegacyTexts {
  readonly connJson: string | null
  readonly gossipJson: string | null
}

/** Not those of `fs.promises`, which Node loads when they are first asked for: a millisecond that others need not spend for us. */
const fs = {
  close: promisify(close),
  fdatasync: promisify(fdatasync),
  fstat: promisify(fstat),
  fsync: promisify(fsync),
  lstat: promisify(lstat),
  mkdir: promisify(mkdir),
  open: promisify(open),
  read: promisify(readInto),
  readdir: promisify(readdir),
  readFile: promisify(readFile),
  rename: promisify(rename),
  unlink: promisify(unlink),
  writeFile: promisify(writeFile),
}

/** Owner only: the table says whom its owner knows, and from where. */
const FILE_MODE = 0o600
/** Virus scanners and backups hold a file for a moment, mostly on Windows; all processes together may run out of handles. */
const PASSING_CODES: readonly string[] =
  process.platform === 'win32'
    ? ['EBUSY', 'EMFILE', 'ENFILE', 'EAGAIN', 'EPERM', 'EACCES']
    : ['EBUSY', 'EMFILE', 'ENFILE', 'EAGAIN']
const RETRY_PAUSES_MS: readonly number[] = [20, 40, 80, 160, 320]
/** A folder cannot be opened or forced to disk on Windows and on some file systems of phones. */
const NO_FOLDER_SYNC_CODES: readonly string[] = ['EISDIR', 'EPERM', 'EACCES', 'EINVAL', 'ENOTSUP', 'ENOSYS', 'EBADF']
/** Names tried for a file that is set aside. */
const MAX_NAMES = 100
/** Read at once: decoding it takes a fraction of a millisecond. */
const PIECE_BYTES = 65_536

/** Temporary files that this process is writing: a second manager on the same folder must not sweep them away. */
const inProgress = new Set<string>()
let lastTemporary = 0

/** The table in `folder`, which is made if it is missing. `clock`: for the names of set-aside files and short pauses. */
export function nodeFiles(folder: string, clock: Pick<Clock, 'now' | 'setTimeout'>): FileStore {
  const path = join(folder, TABLE_FILE)
  const journalPath = join(folder, JOURNAL_FILE)
  return {
    path,
    readPieces: async () => {
      await sweep(folder)
      return openIfPresent(path, 'utf8', clock)
    },
    writePieces: async (pieces) => {
      await fs.mkdir(folder, { recursive: true })
      await replace(path, pieces, clock)
      await syncFolder(folder)
    },
    journal: nodeJournal(folder, journalPath, clock),
    read: async () => {
      await sweep(folder)
      const content = await readIfPresent(path, clock)
      return content === null ? null : content.toString('utf8')
    },
    write: async (text) => {
      await fs.mkdir(folder, { recursive: true })
      await replace(path, text, clock)
      await syncFolder(folder)
    },
    setAside: async () => {
      const target = await freeName(`${path}.corrupt-${stamp(clock.now())}`)
      await patiently(clock, () => fs.rename(path, target))
      try {
        // It is of no use without its table.
        await fs.rename(journalPath, `${target}.journal`)
      } catch {
        // There is none, or it stays; a new table does not take it for its own.
      }
      await syncFolder(folder)
      return basename(target)
    },
    copyAside: async () => {
      const target = await freeName(`${path}.corrupt-${stamp(clock.now())}`)
      await replace(target, await patiently(clock, () => fs.readFile(path)), clock)
      await syncFolder(folder)
      return basename(target)
    },
  }
}

function nodeJournal(folder: string, path: string, clock: Pick<Clock, 'setTimeout'>): JournalStore {
  return {
    read: () => openIfPresent(path, 'latin1', clock),
    append: async (text, size) => {
      if (size === 0) {
        await fs.mkdir(folder, { recursive: true })
        await writeDurably(path, text, clock)
        await syncFolder(folder)
        return
      }
      const file = await patiently(clock, () => fs.open(path, APPEND))
      try {
        // Somebody else writes here, or has cut it off.
        const found = (await fs.fstat(file)).size
        if (found !== size) throw new Error(`the journal has ${found} bytes and should have ${size}`)
        await fs.writeFile(file, text)
        await fs.fdatasync(file)
      } finally {
        await fs.close(file)
      }
    },
  }
}

/** An existing file, at its end; a link in its place is not followed where the system can tell. */
const APPEND = constants.O_WRONLY | constants.O_APPEND | (constants.O_NOFOLLOW ?? 0)

/** The content in pieces; null if there is no such file. */
async function openIfPresent(
  path: string,
  encoding: 'utf8' | 'latin1',
  clock: Pick<Clock, 'setTimeout'>,
): Promise<AsyncIterable<string> | null> {
  let file: number
  try {
    file = await patiently(clock, () => fs.open(path, 'r'))
  } catch (error) {
    // Only this says that nothing is there. ENOTDIR, EACCES, EIO, … say that we cannot know.
    if (codeOf(error) === 'ENOENT') return null
    throw error
  }
  // Not an async generator: one that was never asked for anything would not close the file.
  const pieces = readOut(file, encoding)
  return { [Symbol.asyncIterator]: () => pieces }
}

function readOut(file: number, encoding: 'utf8' | 'latin1'): AsyncIterator<string, undefined> {
  // A letter of several bytes may end in the next piece.
  const decoder = new StringDecoder(encoding)
  const buffer = Buffer.allocUnsafe(PIECE_BYTES)
  let isOpen = true
  let reading: Promise<unknown> | null = null
  const end = async (): Promise<void> => {
    if (!isOpen) return
    isOpen = false
    // The number may be that of another file as soon as this one is closed.
    await reading?.then(nothing, nothing)
    await fs.close(file)
  }
  return {
    next: async () => {
      if (!isOpen) return { done: true, value: undefined }
      const answer = fs.read(file, buffer, 0, PIECE_BYTES, null)
      reading = answer
      const { bytesRead } = await answer
      if (bytesRead > 0) return { done: false, value: decoder.write(buffer.subarray(0, bytesRead)) }
      await end()
      return { done: false, value: decoder.end() }
    },
    return: async () => {
      await end()
      return { done: true, value: undefined }
    },
  }
}

/** Reads `conn.json` and `gossip.json` and leaves them as they are. Rejects if one is there and cannot be read. */
export async function readLegacyTexts(folder: string, clock: Pick<Clock, 'setTimeout'>): Promise<LegacyTexts> {
  const connJson = await readIfPresent(join(folder, 'conn.json'), clock)
  const gossipJson = await readIfPresent(join(folder, 'gossip.json'), clock)
  return {
    connJson: connJson === null ? null : connJson.toString('utf8'),
    gossipJson: gossipJson === null ? null : gossipJson.toString('utf8'),
  }
}

async function readIfPresent(path: string, clock: Pick<Clock, 'setTimeout'>): Promise<Buffer | null> {
  try {
    return await patiently(clock, () => fs.readFile(path))
  } catch (error) {
    // Only this says that nothing is there. ENOTDIR, EACCES, EIO, … say that we cannot know.
    if (codeOf(error) === 'ENOENT') return null
    throw error
  }
}

type Content = string | Buffer | AsyncIterable<string>

/** Puts a file with this content at `path`, in place of any other, by way of a temporary one. */
async function replace(path: string, content: Content, clock: Pick<Clock, 'setTimeout'>): Promise<void> {
  const temporary = join(dirname(path), `${TABLE_FILE}.${process.pid}.${++lastTemporary}.tmp`)
  inProgress.add(temporary)
  try {
    await writeDurably(temporary, content, clock)
    await patiently(clock, () => fs.rename(temporary, path))
  } catch (error) {
    await remove(temporary)
    throw error
  } finally {
    inProgress.delete(temporary)
  }
}

async function writeDurably(path: string, content: Content, clock: Pick<Clock, 'setTimeout'>): Promise<void> {
  // What a killed process of the same number left; in a container all have the same.
  await remove(path)
  // Exclusive: a link that somebody put there is not followed.
  const file = await patiently(clock, () => fs.open(path, 'wx', FILE_MODE))
  try {
    if (typeof content === 'string' || Buffer.isBuffer(content)) await fs.writeFile(file, content)
    else for await (const piece of content) await fs.writeFile(file, piece)
    await fs.fsync(file)
  } finally {
    await fs.close(file)
  }
}

/** Makes the rename itself last, where the system can. */
async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await fs.open(folder, 'r')
    try {
      await fs.fsync(handle)
    } finally {
      await fs.close(handle)
    }
  } catch (error) {
    if (!NO_FOLDER_SYNC_CODES.includes(codeOf(error))) throw error
  }
}

/** Removes what killed processes left. Whatever goes wrong here is no reason to do without the table. */
async function sweep(folder: string): Promise<void> {
  let names: string[]
  try {
    names = await fs.readdir(folder)
  } catch {
    return
  }
  for (const name of names) {
    const isTemporary = name.startsWith(`${TABLE_FILE}.`) && /^\d+\.\d+\.tmp$/.test(name.slice(TABLE_FILE.length + 1))
    if (isTemporary && !inProgress.has(join(folder, name))) await remove(join(folder, name))
  }
}

async function remove(path: string): Promise<void> {
  try {
    await fs.unlink(path)
  } catch {
    // It is gone already, or the next start tries again.
  }
}

async function freeName(path: string): Promise<string> {
  for (let i = 1; i <= MAX_NAMES; i++) {
    const name = i === 1 ? path : `${path}-${i}`
    try {
      await fs.lstat(name)
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return name
      throw error
    }
  }
  throw new Error(`no free name like ${path}`)
}

/** Without colons, which Windows does not allow in names. */
function stamp(now: number): string {
  return new Date(now).toISOString().replace(/[:.]/g, '-')
}

async function patiently<T>(clock: Pick<Clock, 'setTimeout'>, act: () => Promise<T>): Promise<T> {
  for (const pauseMs of RETRY_PAUSES_MS) {
    try {
      return await act()
    } catch (error) {
      if (!PASSING_CODES.includes(codeOf(error))) throw error
    }
    await new Promise<void>((resolve) => {
      clock.setTimeout(resolve, pauseMs)
    })
  }
  return act()
}

function codeOf(error: unknown): string {
  return String((error as { readonly code?: unknown } | null)?.code ?? '')
}

function nothing(): void {}
