/** `watch` as a person sees it: the real command in a terminal emulator, on a real sbot with real neighbours. */
import { spawnSync } from 'child_process'
import { writeFileSync } from 'fs'
import { join } from 'path'

import test = require('tape')

import plugins = require('../../src/conn')

import type { ConnectionManager } from '../../src/manager'
import { eventually } from '../support/eventually'
import { bootStack, closeAll, findFreePort, type Stack } from '../support/stack'
import { hasTerminal, type Program, runInTerminal } from '../support/terminal'

const ROOT = join(__dirname, '..', '..')
const MAIN = join(ROOT, 'src', 'cli', 'main.ts')

const UP = '\u001b[A'
const DOWN = '\u001b[B'
const ESCAPE = '\u001b'

interface Scene {
  readonly me: Stack
  readonly manager: ConnectionManager
  readonly alice: Stack
  readonly bob: Stack
  readonly dead: string
}

async function setScene(): Promise<Scene> {
  const config = { conn: { autostart: false, populatePubs: false }, gossip: { local: false } }
  const [me, alice, bob] = await Promise.all([
    bootStack({ version: 6, name: 'me', ownPlugins: [...plugins], config }),
    bootStack({ version: 6, name: 'alice' }),
    bootStack({ version: 6, name: 'bob' }),
  ])
  const manager = me.ssb.connectionManager as ConnectionManager
  const dead = `net:127.0.0.1:${await findFreePort()}~shs:${Buffer.alloc(32, 9).toString('base64')}`
  manager.peer.addRoute({ address: alice.address, source: 'manual' })
  const conn = me.ssb.conn as { remember(address: string, data: object): void }
  // What a stranger calls himself.
  conn.remember(dead, { key: `@${dead.split(':').pop()}.ed25519`, name: 'dead 日本 \u001b[2J\u202epub' })
  const file = { host: '127.0.0.1', port: me.port, caps: { shs: me.shs } }
  writeFileSync(join(me.path, 'config'), JSON.stringify(file))
  return { me, manager, alice, bob, dead }
}

const command = (path: string): string => `"${process.execPath}" --require tsx/cjs "${MAIN}" watch --path "${path}"`

function startWatch(me: Stack, change: { columns?: number; env?: Record<string, string> } = {}): Promise<Program> {
  return runInTerminal(command(me.path), { columns: change.columns ?? 120, lines: 24, env: change.env ?? {} })
}

/** The line of the table that has a text, and the one with the selection. */
const lineWith = (text: string, part: string): string => text.split('\n').find((line) => line.includes(part)) ?? ''

if (!hasTerminal()) {
  test('watch in a terminal', { skip: 'script of util-linux, which makes the terminal, is not installed' }, () => {})
} else {
  test('watch in a terminal', async (t) => {
    const scene = await setScene()
    const { me, manager, alice, bob, dead } = scene
    const short = (stack: Stack): string => stack.id.slice(0, 9)
    const deadId = `@${dead.split(':').pop()}.ed25519`
    const programs: Program[] = []
    const start = async (change = {}): Promise<Program> => {
      const program = await startWatch(me, change)
      programs.push(program)
      return program
    }
    try {
      const watch = await start()
      // ---- shows ----
      const first = await watch.until(
        (text) =>
          text.includes(short(alice)) &&
          text.includes('2 peers') &&
          text.includes('off:') &&
          text.includes('→ the key s, or autostart'),
        'the peers, why not, and what is wrong as a whole',
      )
      t.ok(first.includes('dead 日本 [2J pub'), 'a hostile name is cleaned')
      t.ok(watch.isAlternate() && watch.isCursorHidden(), 'it has a screen of its own')
      t.ok(/sbot-connections @\S+… {2}off/.test(first), 'the head says that it is off')
      t.ok(watch.colors().size > 0, 'in colours')

      // ---- start, asked first ----
      watch.type('s')
      await watch.until((text) => text.includes('start dialing? y yes, n no'), 'the question')
      watch.type('y')
      await watch.until((text) => /net █░+ 1\//.test(text), 'the slot is taken')
      const line = lineWith(watch.text(), short(alice))
      t.ok(/connected out net/.test(line), line)
      t.equal(manager.connections.status().mode, 'on')

      // ---- goes live ----
      manager.peer.addRoute({ address: bob.address, source: 'manual' })
      await watch.until((text) => /connected/.test(lineWith(text, short(bob))), 'bob, as he connects')
      await watch.until((text) => /connected +→/.test(text), 'the line about it')

      // ---- sort, filter ----
      watch.type('1r')
      const sorted = await watch.until(
        (text) => text.includes('by peer ▼') && text.includes('PEER▼'),
        'the other order',
      )
      const order = sorted.split('\n').filter((each) => each.startsWith('@') || each.startsWith('dead'))
      t.deepEqual(
        order.map((each) => each.slice(0, 4)),
        [
          'dead',
          ...[alice.id, bob.id]
            .sort((a, b) => (a.toLowerCase() < b.toLowerCase() ? 1 : -1))
            .map((id) => id.slice(0, 4)),
        ],
        'names first, then by id',
      )
      watch.type(`/${bob.address.split('~')[0]}`)
      await watch.until((text) => text.includes('1 of 3 peers') && text.includes(short(bob)), 'only bob')
      t.notOk(watch.isCursorHidden(), 'where one types there is a cursor')
      watch.type('\r')

      // ---- hang up, asked first ----
      watch.type('d')
      await watch.until((text) => text.includes(`hang up on ${short(bob)}? y yes, n no`), 'the question')
      watch.type('n')
      await watch.until((text) => text.includes('nothing was done'), 'no')
      t.equal(manager.peer.get(bob.id)?.connection.status, 'connected', 'nothing was done')
      watch.type('d')
      await watch.until((text) => text.includes('hang up on'), 'the question again')
      watch.type('y')
      await watch.until((text) => text.includes(`hang up on ${short(bob)}: done`), 'the answer')
      t.equal(manager.peer.get(bob.id)?.connection.status, 'idle')
      await watch.until((text) => lineWith(text, short(bob)).includes('backoff: we hung up'), 'why not')

      // ---- connect, priority, long-term ----
      watch.type('c')
      await watch.until((text) => text.includes(`connect ${short(bob)}: connected`), 'connected')
      t.equal(manager.peer.get(bob.id)?.connection.status, 'connected')
      watch.type('p')
      await watch.until((text) => text.includes('h high, m medium'), 'the choice')
      watch.type('h')
      await watch.until((text) => lineWith(text, short(bob)).includes(' high'), 'high')
      t.equal(manager.peer.get(bob.id)?.priority, 'HIGH')
      watch.type('l')
      await watch.until((text) => text.includes(`long-term of ${short(bob)}: on`), 'long-term')
      t.equal(manager.peer.get(bob.id)?.isLongTerm, true)

      // ---- details ----
      watch.type('\r')
      await watch.until(
        (text) => text.includes(bob.address) && text.includes('1 route') && text.includes('long-term'),
        'all about bob',
      )

      // ---- ban, from there, asked first; and its end ----
      watch.type('b')
      await watch.until((text) => text.includes(`ban ${short(bob)}? y yes`), 'the question')
      watch.type('y')
      await watch.until((text) => text.includes(`ban ${short(bob)}: banned`), 'banned')
      await eventually(() => manager.peer.get(bob.id)?.connection.status === 'idle', { message: 'he is hung up on' })
      t.equal(manager.peer.get(bob.id)?.isBanned, true)
      await watch.until((text) => text.includes('Keys: u ends the ban'), 'what to do')
      watch.type('u')
      await watch.until((text) => text.includes(`unban ${short(bob)}: not banned any more`), 'unbanned')
      t.equal(manager.peer.get(bob.id)?.isBanned, false)

      // ---- back, add an address, errors of the sbot ----
      watch.type(ESCAPE)
      await watch.until((text) => text.includes('1 of 3 peers') && text.includes('PEER▼'), 'the table')
      watch.type(ESCAPE)
      await watch.until((text) => text.includes('  3 peers'), 'all of it')
      watch.type('anonsense\r')
      await watch.until((text) => /add nonsense: .*multiserver address/.test(text), 'what is wrong with it')
      const added = `net:127.0.0.1:${await findFreePort()}~shs:${Buffer.alloc(32, 5).toString('base64')}`
      watch.type(`a${added}\r`)
      await watch.until((text) => text.includes(': added') && text.includes('  4 peers'), 'added')
      t.ok(manager.peer.get(`@${added.split(':').pop()}.ed25519`), 'it is in the table of the sbot')

      // ---- arrows; a peer that goes ----
      watch.type(`g${DOWN}${UP}/${dead.split('~')[0]}\r`)
      await watch.until((text) => text.includes('1 of 4 peers') && text.includes('dead 日本'), 'the dead one')
      watch.type('\r')
      await watch.until((text) => text.includes(deadId) && text.includes('ECONNREFUSED'), 'its errors')
      manager.peer.removeRoute({ address: dead })
      await watch.until((text) => text.includes('that peer has gone'), 'it has gone')
      watch.type(ESCAPE)

      // ---- another size ----
      watch.resize(50, 10)
      const small = await watch.until((text) => text.includes('STATE') && !text.includes('CLASS'), 'fewer columns')
      t.ok(small.split('\n').every((each) => each.length <= 50))
      t.ok(lineWith(small, short(alice)), 'the table is still there')

      // ---- help, quit ----
      watch.type('?')
      await watch.until((text) => text.includes('Keys') && text.includes('one line up'), 'the help')
      watch.type('?q')
      t.equal(await watch.ended(), 0, 'the exit code')
      t.notOk(watch.isAlternate(), 'the normal screen is back')
      t.notOk(watch.isCursorHidden(), 'with its cursor')
      t.notOk(watch.text().includes('STATE'), 'and nothing of ours on it')

      // ---- ends in other ways ----
      const [interrupted, abandoned] = await Promise.all([start(), start({ env: { NO_COLOR: '1' } })])
      for (const each of [interrupted, abandoned]) await each.until((text) => text.includes('STATE'), 'the table')
      t.equal(abandoned.colors().size, 0, 'NO_COLOR')
      interrupted.kill('SIGTERM')
      t.equal(await interrupted.ended(), 0, 'SIGTERM is no failure')
      t.notOk(interrupted.isAlternate() || interrupted.isCursorHidden(), 'the terminal is as before')
      await closeAll(me)
      t.equal(await abandoned.ended(), 8, 'a sbot that goes is one')
      t.notOk(abandoned.isAlternate() || abandoned.isCursorHidden(), 'the terminal is as before')
      t.ok(abandoned.text().includes('the sbot closed the connection'), abandoned.text())
    } finally {
      for (const each of programs) each.close()
      await closeAll(me, alice, bob)
    }
    t.end()
  })
}

test('without a terminal it says what to use', (t) => {
  const run = spawnSync(process.execPath, ['--require', 'tsx/cjs', MAIN, 'watch'], { cwd: ROOT, encoding: 'utf8' })
  t.equal(run.status, 2)
  t.ok(run.stderr.includes('sbot-connections peers --live'), run.stderr)
  t.equal(run.stdout, '')
  t.end()
})
