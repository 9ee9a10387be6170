/** The table on a real disk: what is in the folder before, during and after each operation. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import { JOURNAL_FILE, nodeFiles, readLegacyTexts, TABLE_FILE } from '../../src/adapters/node-files'
import { DEFAULT_OPTIONS } from '../../src/core/options'
import { initialState } from '../../src/core/reducer'
import { systemClock } from '../../src/shell/clock'
import { startPersistence } from '../../src/shell/persistence'

const isWindows = process.platform === 'win32'
const NOON = Date.UTC(2026, 0, 2, 12)
const clock = { ...systemClock, now: () => NOON }

/** A test with a folder of its own, which is removed whatever happens. */
function onDisk(title: string, run: (t: test.Test, folder: string) => Promise<void>): void {
  test(`node-files: ${title}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'node-files-'))
    try {
      await run(t, folder)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
    t.end()
  })
}

const listOf = (folder: string): string[] => readdirSync(folder).sort()
const contentOf = (folder: string, name = TABLE_FILE): string => readFileSync(join(folder, name), 'utf8')

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'none'
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

onDisk('what is written is read, by whoever comes next', async (t, folder) => {
  const files = nodeFiles(folder, clock)
  t.equal(files.path, join(folder, 'connection-manager.json'))
  t.equal(await files.read(), null, 'no file yet')
  const text = `é€😀${'x'.repeat(3_000_000)}\n`
  await files.write(text)
  t.equal(await nodeFiles(folder, clock).read(), text)
  await files.write('shorter')
  t.equal(await files.read(), 'shorter', 'nothing is left of the longer text')
  t.deepEqual(listOf(folder), [TABLE_FILE])
})

onDisk('a folder that is missing is no table, and is made by the first write', async (t, folder) => {
  const files = nodeFiles(join(folder, 'a', 'b'), clock)
  t.equal(await files.read(), null)
  t.deepEqual(listOf(folder), [], 'not by reading')
  await files.write('1')
  t.equal(await files.read(), '1')
})

if (!isWindows)
  onDisk('only the owner may read the file, whatever it was before', async (t, folder) => {
    writeFileSync(join(folder, TABLE_FILE), 'old')
    chmodSync(join(folder, TABLE_FILE), 0o644)
    const files = nodeFiles(folder, clock)
    const umask = process.umask(0)
    try {
      await files.write('new')
      const copy = (await files.copyAside?.()) ?? ''
      t.equal(statSync(join(folder, TABLE_FILE)).mode & 0o777, 0o600)
      t.equal(statSync(join(folder, copy)).mode & 0o777, 0o600, 'nor the copy')
    } finally {
      process.umask(umask)
    }
  })

onDisk('a reader finds the old text or the new one at every moment, never a part', async (t, folder) => {
  const files = nodeFiles(folder, clock)
  await files.write('0'.repeat(200_000))
  let isWriting = true
  const seen = new Set<string>()
  let reads = 0
  const reader = (async () => {
    while (isWriting) {
      const text = (await nodeFiles(folder, clock).read()) ?? 'missing'
      reads++
      seen.add(text.length === 200_000 && new Set(text).size === 1 ? 'whole' : `broken: ${text.slice(0, 20)}`)
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  for (let i = 0; i < 60; i++) await files.write(String(i % 10).repeat(200_000))
  isWriting = false
  await reader
  t.deepEqual([...seen], ['whole'])
  t.ok(reads > 10, `${reads} reads, each of which sweeps the folder: no write in progress was swept away`)
})

onDisk(
  'temporary files of killed processes are removed when the table is read, and nothing else',
  async (t, folder) => {
    const strangers = [
      'connection-manager.json.corrupt-2026-01-01T00-00-00-000Z',
      'connection-manager.json.bak',
      'connection-manager.json.12.tmp',
      'connection-manager.json.a.1.tmp',
      'x-connection-manager.json.12.1.tmp',
      'connection-manager.json.12.1.tmp.txt',
      'conn.json',
      'secret',
    ]
    for (const name of [...strangers, 'connection-manager.json.12.1.tmp', 'connection-manager.json.99999.123.tmp'])
      writeFileSync(join(folder, name), name)
    mkdirSync(join(folder, 'connection-manager.json.12.2.tmp'))
    const files = nodeFiles(folder, clock)
    t.equal(await files.read(), null, 'a temporary file is never taken for the table')
    t.deepEqual(listOf(folder), [...strangers, 'connection-manager.json.12.2.tmp'].sort())
  },
)

onDisk('a link in the place of the temporary file is not written through', async (t, folder) => {
  writeFileSync(join(folder, 'secret'), 'key')
  if (isWindows) return
  // The next names that this process will use; in a container the number of the process is easily guessed.
  for (let i = 1; i < 300; i++)
    symlinkSync(join(folder, 'secret'), join(folder, `${TABLE_FILE}.${process.pid}.${i}.tmp`))
  await nodeFiles(folder, clock).write('table')
  t.equal(contentOf(folder, 'secret'), 'key')
  t.equal(contentOf(folder), 'table')
})

onDisk('setAside renames the file, with the time in its name, and overwrites no earlier one', async (t, folder) => {
  const files = nodeFiles(folder, clock)
  const names: string[] = []
  for (const text of ['one', 'two', 'three']) {
    await files.write(text)
    names.push(await files.setAside())
    t.equal(await files.read(), null)
  }
  const first = 'connection-manager.json.corrupt-2026-01-02T12-00-00-000Z'
  t.deepEqual(names, [first, `${first}-2`, `${first}-3`])
  t.deepEqual(
    names.map((name) => contentOf(folder, name)),
    ['one', 'two', 'three'],
  )
  t.deepEqual(listOf(folder), names)
  t.equal(await codeOf(files.setAside()), 'ENOENT', 'nothing to set aside')
})

onDisk('copyAside leaves the file where it is', async (t, folder) => {
  const files = nodeFiles(folder, clock)
  await files.write('one')
  const name = await files.copyAside?.()
  t.equal(name, 'connection-manager.json.corrupt-2026-01-02T12-00-00-000Z')
  t.equal(contentOf(folder, name), 'one')
  t.equal(await files.read(), 'one')
  t.deepEqual(listOf(folder), [TABLE_FILE, name])
})

onDisk('what is there and cannot be read is an error, not an empty table', async (t, folder) => {
  mkdirSync(join(folder, TABLE_FILE))
  t.equal(await codeOf(nodeFiles(folder, clock).read()), 'EISDIR')
  writeFileSync(join(folder, 'file'), '')
  if (!isWindows) t.equal(await codeOf(nodeFiles(join(folder, 'file'), clock).read()), 'ENOTDIR')
})

onDisk('a failed write leaves the old file and no temporary one', async (t, folder) => {
  const files = nodeFiles(folder, clock)
  // A full folder cannot be renamed over.
  mkdirSync(join(folder, TABLE_FILE, 'x'), { recursive: true })
  t.notEqual(await codeOf(files.write('new')), 'none')
  t.deepEqual(listOf(folder), [TABLE_FILE])
  t.ok(existsSync(join(folder, TABLE_FILE, 'x')))
})

if (!isWindows && process.getuid?.() !== 0)
  onDisk('without permission to read, a table is an error', async (t, folder) => {
    writeFileSync(join(folder, TABLE_FILE), '{}')
    chmodSync(join(folder, TABLE_FILE), 0)
    t.equal(await codeOf(nodeFiles(folder, clock).read()), 'EACCES')
  })

async function textOf(pieces: Promise<AsyncIterable<string> | null> | undefined): Promise<string | null> {
  const source = await pieces
  if (!source) return null
  let text = ''
  for await (const piece of source) text += piece
  return text
}

onDisk('in pieces as in one: what is written is read, letters of several bytes included', async (t, folder) => {
  const files = nodeFiles(folder, clock)
  t.equal(await textOf(files.readPieces?.()), null, 'no file yet')
  const text = `x${'é€😀'.repeat(30_000)}\n`
  await files.writePieces?.(
    (async function* () {
      yield 'x'
      for (let at = 1; at < text.length; at += 4_000) yield text.slice(at, at + 4_000)
    })(),
  )
  t.ok(contentOf(folder) === text, 'written')
  t.ok((await textOf(files.readPieces?.())) === text, 'read')
  t.deepEqual(listOf(folder), [TABLE_FILE])
})

onDisk('pieces that come to no end leave the old file, and no temporary one', async (t, folder) => {
  const files = nodeFiles(folder, clock)
  await files.write('old')
  const failing = files.writePieces?.(
    (async function* () {
      yield 'new'
      throw Object.assign(new Error('no luck'), { code: 'EIO' })
    })(),
  )
  t.equal(await codeOf(failing ?? Promise.resolve()), 'EIO')
  t.equal(contentOf(folder), 'old')
  t.deepEqual(listOf(folder), [TABLE_FILE])
})

onDisk('the journal grows at its end, and only if it is as long as it should be', async (t, folder) => {
  const { journal } = nodeFiles(folder, clock)
  if (!journal) return t.fail('no journal')
  t.equal(await textOf(journal.read()), null, 'no file yet')
  t.equal(await codeOf(journal.append('x', 5)), 'ENOENT', 'nothing to add to')
  await journal.append('one\n', 0)
  await journal.append('two\n', 4)
  t.equal(await textOf(journal.read()), 'one\ntwo\n')
  t.match(await codeOf(journal.append('three\n', 4)), /has 8 bytes and should have 4/)
  t.match(await codeOf(journal.append('three\n', 12)), /has 8 bytes and should have 12/)
  t.equal(contentOf(folder, JOURNAL_FILE), 'one\ntwo\n', 'left as it is')
  await journal.append('new\n', 0)
  t.equal(contentOf(folder, JOURNAL_FILE), 'new\n')
  t.deepEqual(listOf(folder), [JOURNAL_FILE])
  if (!isWindows) t.equal(statSync(join(folder, JOURNAL_FILE)).mode & 0o777, 0o600, 'for the owner only')
})

onDisk('each byte of a journal is one character, whatever it is', async (t, folder) => {
  const { journal } = nodeFiles(folder, clock)
  writeFileSync(join(folder, JOURNAL_FILE), Buffer.from([0x7b, 0xc3, 0xff, 0x00, 0x0a]))
  t.equal(await textOf(journal?.read()), '{\xc3\xff\0\n')
})

onDisk('a link in the place of the journal is not written through', async (t, folder) => {
  if (isWindows) return
  writeFileSync(join(folder, 'secret'), 'key\n')
  symlinkSync(join(folder, 'secret'), join(folder, JOURNAL_FILE))
  const { journal } = nodeFiles(folder, clock)
  t.notEqual(await codeOf(journal?.append('line\n', 4) ?? Promise.resolve()), 'none')
  await journal?.append('line\n', 0)
  t.equal(contentOf(folder, 'secret'), 'key\n')
  t.equal(contentOf(folder, JOURNAL_FILE), 'line\n')
})

onDisk('setAside takes the journal along', async (t, folder) => {
  const files = nodeFiles(folder, clock)
  await files.write('table')
  await files.journal?.append('line\n', 0)
  const name = await files.setAside()
  t.deepEqual(listOf(folder), [name, `${name}.journal`])
})

onDisk('a table that is not read to its end is closed, at whatever point', async (t, folder) => {
  const files = nodeFiles(folder, clock)
  await files.write('x'.repeat(300_000))
  for (const count of [0, 1, 2]) {
    const iterator = (await files.readPieces?.())?.[Symbol.asyncIterator]()
    for (let i = 0; i < count; i++) t.notOk((await iterator?.next())?.done)
    await iterator?.return?.()
    t.equal((await iterator?.next())?.done, true)
  }
})

onDisk('two managers on one folder write one after the other, each text whole', async (t, folder) => {
  const one = nodeFiles(folder, clock)
  const two = nodeFiles(folder, clock)
  await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const digit = String(i % 10)
      await (i % 2 === 0 ? one : two).write(digit.repeat(100_000))
    }),
  )
  const text = (await one.read()) ?? ''
  t.ok(/^(\d)\1{99999}$/.test(text))
  t.deepEqual(listOf(folder), [TABLE_FILE])
})

onDisk('the old tables are read and left as they are', async (t, folder) => {
  t.deepEqual(await readLegacyTexts(folder, clock), { connJson: null, gossipJson: null })
  t.deepEqual(await readLegacyTexts(join(folder, 'missing'), clock), { connJson: null, gossipJson: null })
  writeFileSync(join(folder, 'conn.json'), '{}')
  writeFileSync(join(folder, 'gossip.json'), '[]')
  t.deepEqual(await readLegacyTexts(folder, clock), { connJson: '{}', gossipJson: '[]' })
  t.deepEqual(listOf(folder), ['conn.json', 'gossip.json'])
  rmSync(join(folder, 'gossip.json'))
  mkdirSync(join(folder, 'gossip.json'))
  t.equal(await codeOf(readLegacyTexts(folder, clock)), 'EISDIR')
})

onDisk('with persistence: saved, damaged, set aside, saved anew', async (t, folder) => {
  const state = initialState(DEFAULT_OPTIONS, NOON)
  const snapshot = { version: 1, savedAt: NOON, generation: NOON, peers: [], routes: [] } as const
  const start = () => startPersistence({ files: nodeFiles(folder, clock), clock, getState: () => state, log: () => {} })
  const first = start()
  t.equal((await first.load(() => {})).status, 'fresh')
  first.changed([], state)
  await first.close()
  const saved = contentOf(folder)
  t.deepEqual(JSON.parse(saved), snapshot)

  writeFileSync(join(folder, TABLE_FILE), saved.slice(0, 30))
  const second = start()
  const outcome = await second.load(() => {})
  t.equal(outcome.status, 'setAside')
  await second.close()
  t.equal(contentOf(folder), saved)
  t.equal(contentOf(folder, outcome.status === 'setAside' ? outcome.file : ''), saved.slice(0, 30))

  rmSync(join(folder, TABLE_FILE))
  mkdirSync(join(folder, TABLE_FILE))
  const third = start()
  t.equal((await third.load(() => {})).status, 'unreadable')
  third.changed([], state)
  await third.close()
  t.deepEqual(readdirSync(join(folder, TABLE_FILE)), [])
})
