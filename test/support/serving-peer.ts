/**
 * A peer in a process of its own, so that it can be frozen (SIGSTOP): serves what is in a folder. This file is both the
 * starter and, run by itself, the peer.
 */
import { type ChildProcess, spawn } from 'child_process'

import { eventually } from './eventually'
import { bootStack, publish, vectorClock } from './stack'

export interface ServingPeer {
  readonly id: string
  readonly address: string
  readonly process: ChildProcess
  /** Also when it is frozen. */
  kill(): void
}

/** Resolves once it listens and knows more than `feeds` feeds. It follows `friend`, unless it is that one itself. */
export function startServingPeer(options: {
  readonly path: string
  readonly shs: string
  readonly friend: string
  readonly feeds: number
}): Promise<ServingPeer> {
  const args = [...process.execArgv, __filename, JSON.stringify(options)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const kill = (): void => {
    child.kill('SIGKILL')
  }
  // First in line: tape ends the process in its own listener.
  process.prependListener('exit', kill)
  return new Promise((resolve, reject) => {
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      if (text.endsWith('\n')) resolve({ ...JSON.parse(text), process: child, kill })
    })
    child.on('exit', (code) => reject(new Error(`a serving peer has ended: ${code}`)))
  })
}

async function serve({ path, shs, friend, feeds }: Parameters<typeof startServingPeer>[0]): Promise<void> {
  const stack = await bootStack({ version: 6, path, shs, withDb: true, keep: true })
  // Who does not want a feed does not pass it on either.
  if (friend !== stack.id) await publish(stack, { type: 'contact', contact: friend, following: true })
  await eventually(async () => Object.keys(await vectorClock(stack)).length > feeds, { timeoutMs: 20_000 })
  process.stdout.write(`${JSON.stringify({ id: stack.id, address: stack.address })}\n`)
}

if (require.main === module) {
  void serve(JSON.parse(process.argv[2] ?? '')).catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
}
