/**
 * What users asked for or refused by hand, kept in `<folder>/replication-scheduler.json` over a restart. Read and written
 * synchronously: the file is tiny, written when a person acts, and whoever asked may close the stack in the next moment.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'fs'
import { dirname, join } from 'path'

import type { FeedId } from './core/types'

const FILE = 'replication-scheduler.json'
const VERSION = 1
/** A file with more than this was not written by us. */
const MAX_CHOICES = 10_000

export interface Choices {
  readonly load: () => ReadonlyMap<FeedId, boolean>
  /** Throws if it cannot be written; then the file is as it was. */
  readonly save: (choices: ReadonlyMap<FeedId, boolean>) => void
}

export function choicesIn(folder: string, log: (message: string) => void): Choices {
  const path = join(folder, FILE)
  return {
    load: () => {
      let text: string
      try {
        text = readFileSync(path, 'utf8')
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'ENOENT') log(`${FILE} cannot be read: ${(error as Error).message}`)
        return new Map()
      }
      const choices = parse(text)
      if (choices) return choices
      log(`${FILE} is not understood; it was set aside as ${FILE}.corrupt`)
      try {
        renameSync(path, `${path}.corrupt`)
      } catch {
        // It is written over when something is asked for by hand.
      }
      return new Map()
    },
    save: (choices) => {
      mkdirSync(dirname(path), { recursive: true })
      const temporary = `${path}.tmp`
      const file = openSync(temporary, 'w', 0o600)
      try {
        writeSync(file, JSON.stringify({ version: VERSION, manual: Object.fromEntries(choices) }))
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
      try {
        renameSync(temporary, path)
      } catch (error) {
        rmSync(temporary, { force: true })
        throw error
      }
    },
  }
}

function parse(text: string): Map<FeedId, boolean> | null {
  try {
    const stored = JSON.parse(text) as { version?: unknown; manual?: unknown } | null
    if (stored?.version !== VERSION || typeof stored.manual !== 'object' || stored.manual === null) return null
    const choices = new Map<FeedId, boolean>()
    for (const [feed, isWanted] of Object.entries(stored.manual)) {
      if (typeof isWanted !== 'boolean' || choices.size >= MAX_CHOICES) return null
      choices.set(feed, isWanted)
    }
    return choices
  } catch {
    return null
  }
}
