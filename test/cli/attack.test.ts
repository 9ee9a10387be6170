/** Attacks on the command line: names that strangers chose, files that are none, disks that are full. */
import { spawnSync } from 'child_process'
import { existsSync, lstatSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'fs'
import { writeFile } from 'fs/promises'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import type { RemoteSbot } from '../../src/cli/cli'
import { offersOf } from '../../src/cli/commands/completion'
import { Tape } from '../../src/cli/commands/record'
import { createOutput } from '../../src/cli/output'
import { resolveTarget } from '../../src/cli/targets'
import type { PeerView } from '../../src/core/selectors'
import { cli, start } from '../support/cli'
import { alice, bob, person } from '../support/manager'

const FOLDER = mkdtempSync(join(tmpdir(), 'cli-attack-'))
process.on('exit', () => rmSync(FOLDER, { recursive: true, force: true }))

const view = (id: string): PeerView => ({ id, routes: [], connection: { status: 'idle' } }) as unknown as PeerView

/** An sbot that knows these peers by these names. */
function sbotOf(names: { readonly [id: string]: string }): RemoteSbot {
  const peers = Object.keys(names)
  const source = (): unknown => {
    const left = peers.map(view)
    return (abort: unknown, cb: (end: unknown, item?: PeerView) => void) =>
      abort || left.length === 0 ? cb(abort || true) : cb(null, left.shift())
  }
  return {
    manager: { peers: source },
    rpc: { conn: { dbPeers: async () => peers.map((key, i) => [`net:h${i}`, { key, name: names[key] }]) } },
  } as unknown as RemoteSbot
}

test('a name that looks like the id of somebody else is not him', async (t) => {
  const shown = alice.id.slice(0, 9)
  const evil = person('e').id
  const code = (error: { code: string }): string => error.code
  t.equal(await resolveTarget(sbotOf({ [alice.id]: 'alice', [evil]: shown }), shown), alice.id)
  t.equal(await resolveTarget(sbotOf({ [alice.id]: 'alice', [evil]: shown }), `${shown}…`), alice.id, 'as it is shown')
  t.equal(
    await resolveTarget(sbotOf({ [alice.id]: 'alice', [evil]: shown.slice(1) }), shown.slice(1)).catch(code),
    'ERR_AMBIGUOUS',
    'without its first sign it may be either',
  )
  t.equal(await resolveTarget(sbotOf({ [alice.id]: 'alice', [evil]: 'alice' }), 'alice').catch(code), 'ERR_AMBIGUOUS')
  t.equal(await resolveTarget(sbotOf({ [alice.id]: 'alice', [bob.id]: 'bob' }), 'bob'), bob.id)
})

test('what is offered to a shell is a word, and no option', (t) => {
  const offered = (name: string): readonly string[] => offersOf([view(bob.id)], new Map([[bob.id, name]]))
  for (const name of ['bob', 'böb.2', '日本']) t.deepEqual(offered(name), [name, bob.id], name)
  for (const name of [
    '--forever',
    '-f',
    '$(id)',
    '`id`',
    'a b',
    '*',
    '?',
    '~',
    'a;b',
    "a'b",
    'a\nb',
    '..',
    '',
    '\u202ebob',
  ])
    t.deepEqual(offered(name), [bob.id], JSON.stringify(name))
  t.end()
})

test('colours of a stranger end with his line', (t) => {
  for (const hasColor of [true, false]) {
    let text = ''
    const stream = {
      write: (chunk: string) => {
        text += chunk
      },
    }
    const out = createOutput({ stdout: stream, stderr: stream, env: {}, wantsColor: hasColor })
    for (const evil of ['\x1b[31mred', '\x1b[0m\x1b[1mloud', '\x1b[31m\x1b[0m\x1b[2m']) {
      text = ''
      out.line(evil)
      out.note(evil)
      for (const line of text.split('\n').slice(0, -1))
        t.ok(hasColor ? line.endsWith('\x1b[0m') : !line.includes('\x1b'), JSON.stringify(line))
    }
    text = ''
    out.line(out.paint('red', 'ours'))
    t.equal(text, hasColor ? '\x1b[31mours\x1b[0m\n' : 'ours\n')
  }
  t.end()
})

test('files that are none are said to be none, and Ctrl-C ends the wait for one', async (t) => {
  const fifo = join(FOLDER, 'fifo')
  const loop = join(FOLDER, 'loop')
  symlinkSync(loop, loop)
  spawnSync('mkfifo', [fifo])
  for (const command of ['replay', 'import']) {
    for (const file of [FOLDER, loop, '/dev/zero', join(FOLDER, 'no\x1b[2J\nFORGED: line')]) {
      const { code, stderr } = await cli([command, file])
      t.equal(code, 9, `${command} ${JSON.stringify(file)}: ${stderr}`)
      t.notOk(stderr.includes('\x1b') || stderr.includes('\nFORGED'))
    }
    const waiting = start([command, fifo])
    setTimeout(waiting.interrupt, 50)
    t.equal((await waiting.ended).code, 130, `${command}: Ctrl-C ends the wait for somebody who writes`)
    const [{ code, stderr }] = await Promise.all([cli([command, fifo]), writeFile(fifo, 'nothing good\n')])
    t.ok([1, 3, 9].includes(code), `${command}: what is written into a pipe is read: ${stderr}`)
  }
  const deep = join(FOLDER, 'deep')
  for (const text of [
    '['.repeat(200_000),
    `${'['.repeat(200_000)}${']'.repeat(200_000)}`,
    `{"a":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_001)}`,
  ]) {
    writeFileSync(deep, text)
    for (const command of ['replay', 'import']) {
      const { code, stderr } = await cli([command, deep])
      t.notEqual(code, 0)
      t.notOk(/Maximum call stack/.test(stderr), stderr)
    }
  }
})

test('a recording that cannot be written leaves nothing half behind', async (t) => {
  if (!existsSync('/dev/full')) return t.skip('there is no /dev/full')
  const part = { type: 'checkpoint/end' } as const
  const full = join(FOLDER, 'full')
  symlinkSync('/dev/full', full)
  const tape = new Tape(full, '@id', true)
  await tape.put(part, 0).then(
    () => t.fail('written to a full disk'),
    ({ code }: { code: string }) => t.equal(code, 'ERR_FILE'),
  )
  await tape.finish('ERR_FILE', 0)
  t.ok(lstatSync(full).isSymbolicLink(), 'what is no file of ours is not removed')
  t.notOk(tape.isOpen, 'and closed')

  const open = join(FOLDER, 'open')
  writeFileSync(open, 'old', { mode: 0o644 })
  const over = new Tape(open, '@id', true)
  await over.put(part, 0)
  await over.finish('count', 0)
  t.equal(statSync(open).mode & 0o777, 0o600, 'whom we know is nobody else’s business, whatever was there before')
  t.equal(readFileSync(open, 'utf8').split('\n').length, 4)
})
