/** Reading what the user names: files, and pipes such as `<(command)`. */
import { constants, open as openFd } from 'fs'
import { open, stat } from 'fs/promises'
import { Socket } from 'net'
import { promisify } from 'util'

import { interruptedError } from './sbot'

/** Of a file. More is no text that could be held in one piece. */
const MAX_BYTES = 500_000_000

class NoFileError extends Error {}

/**
 * The whole text. Rejects with the error of the system, with one that says that this is no file, or with ERR_INTERRUPTED when
 * the user does not want to wait any more: an `open` of a pipe into which nobody writes would never return, nor let the process end.
 */
export async function readText(file: string, interrupted: Promise<void>): Promise<string> {
  const found = await stat(file)
  if (found.isDirectory()) throw new NoFileError('it is a folder')
  if (!found.isFile() && !found.isFIFO()) throw new NoFileError('it is neither a file nor a pipe')
  if (found.isFile() && found.size > MAX_BYTES) throw new NoFileError(`it is larger than ${MAX_BYTES / 1e6} MB`)
  if (found.isFIFO()) return readPipe(file, interrupted)
  const handle = await open(file, 'r')
  try {
    return await handle.readFile('utf8')
  } finally {
    await handle.close()
  }
}

async function readPipe(file: string, interrupted: Promise<void>): Promise<string> {
  // The number alone: the socket closes it.
  const fd = await promisify(openFd)(file, constants.O_RDONLY | constants.O_NONBLOCK)
  const socket = new Socket({ fd, readable: true, writable: false })
  void interrupted.then(() => socket.destroy(interruptedError()))
  return collect(socket)
}

/** All that comes of it, as text. */
export async function collect(source: AsyncIterable<Uint8Array | string>): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of source) {
    const bytes = Buffer.from(chunk as Uint8Array)
    size += bytes.length
    if (size > MAX_BYTES) throw new NoFileError(`there is more than ${MAX_BYTES / 1e6} MB of it`)
    chunks.push(bytes)
  }
  return Buffer.concat(chunks).toString('utf8')
}
