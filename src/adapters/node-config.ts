/**
 * Writes what `gossip.enable` and `gossip.disable` decide into the user's own config, `<folder>/config`, for Node. That file
 * is written by hand: what cannot be read as JSON is left alone (ssb-config also takes comments and INI; ssb-gossip replaced
 * such a file by its own setting), and everything else in it is kept.
 */
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'fs'
import { join } from 'path'

import { errorInfo, StoredStateError } from '../core/errors'

export const CONFIG_FILE = 'config'
/** Of a new file. One that is there keeps its own. */
const FILE_MODE = 0o600

type Json = { [key: string]: unknown }

/**
 * Merges `{gossip: {[type]: isEnabled}}` into `<folder>/config`, atomically: a process killed at any moment leaves the old
 * text or the new one. Throws StoredStateError when it cannot, and then nothing has changed.
 */
export function saveGossipType(folder: string, type: string, isEnabled: boolean): void {
  const path = resolveLink(join(folder, CONFIG_FILE))
  try {
    const present = read(path)
    const gossip = isObject(present.gossip) ? present.gossip : {}
    replace(path, JSON.stringify({ ...present, gossip: { ...gossip, [type]: isEnabled } }, null, 2))
  } catch (error) {
    if (error instanceof StoredStateError) throw error
    throw new StoredStateError(path, errorInfo(error).message, error)
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The file itself, if the name is a link to one among somebody's dotfiles: the rename would replace the link. */
function resolveLink(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

function read(path: string): Json {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return {}
    throw error
  }
  if (text.trim() === '') return {}
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new StoredStateError(path, 'it is no plain JSON, and is left as it is', error)
  }
  if (!isObject(value)) throw new StoredStateError(path, 'it holds no JSON object, and is left as it is')
  return value
}

function replace(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.tmp`
  try {
    // Exclusive, after what a killed process of the same number left: a link that somebody put there is not followed.
    remove(temporary)
    const file = openSync(temporary, 'wx', modeOf(path))
    try {
      writeFileSync(file, text)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(temporary, path)
  } catch (error) {
    remove(temporary)
    throw error
  }
}

function modeOf(path: string): number {
  try {
    return statSync(path).mode & 0o777
  } catch {
    return FILE_MODE
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // It was not there.
  }
}
