/**
 * An sbot for the tests of the command line, in a process of its own (fork it): alice, with all of this package and a
 * database, her friend bob, who has written
 * `MESSAGES` posts (from the environment), and a host that accepts and never answers. Sends `Ready`; ends when its parent goes.
 */
import { randomBytes } from 'crypto'
import { subscribe } from 'diagnostics_channel'
import { writeFileSync } from 'fs'
import type { Socket } from 'net'
import { join } from 'path'

import { bootHangingHost, bootSbot } from '../../src/demo/network'

export interface Ready {
  readonly path: string
  readonly id: string
  readonly address: string
  readonly bob: { readonly id: string; readonly address: string }
  /** Where a dial hangs in the handshake. */
  readonly hangingPort: number
}

async function main(): Promise<void> {
  const shs = randomBytes(32).toString('base64')
  const bob = await bootSbot({ name: 'cli-bob', shs })
  const alice = await bootSbot({ name: 'cli-alice', shs })
  const hanging = await bootHangingHost()
  await alice.publish({ type: 'contact', contact: bob.id, following: true })
  for (let i = 0; i < Number(process.env.MESSAGES); i++) await bob.publish({ type: 'post', text: String(i) })
  // What ssb-config would have told the sbot; comments are allowed there.
  const config = `{ // of a test\n  "caps": {"shs": "${shs}"},\n  "connections": {"incoming": {"net": [{"host": "127.0.0.1", "port": ${alice.port}, "scope": "device", "transform": "shs"}]}}\n}`
  writeFileSync(join(alice.path, 'config'), config)
  const { id, path, address } = alice
  process.send?.({
    path,
    id,
    address,
    bob: { id: bob.id, address: bob.address },
    hangingPort: hanging.port,
  } satisfies Ready)
}

// Else each answer is held back for 40 ms, until its first half has been confirmed; the tests have a hundred of them.
subscribe('net.server.socket', (message) => (message as { socket: Socket }).socket.setNoDelay(true))
process.on('disconnect', () => process.exit())
void main()
