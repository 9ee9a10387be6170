/** Tables as files: what ssb-gossip and ssb-conn have written is read, and what is written they can read. */
import assert = require('assert')

import { mkdtempSync, rmSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import test = require('tape')

import { CliError } from '../../src/cli/cli'
import { readTable, writeTable } from '../../src/cli/tables'
import type { PeerView, RouteView } from '../../src/core/selectors'
import { eventually } from '../support/eventually'
import { bootConn, bootGossip, connOf, gossipOf } from '../support/legacy'

const key = (byte: number): string => Buffer.alloc(32, byte).toString('base64')
const idOf = (byte: number): string => `@${key(byte)}.ed25519`
const addressOf = (byte: number, host = `host${byte}.example`): string => `net:${host}:8008~shs:${key(byte)}`

// ---- reading ----------------------------------------------------------------------------------------------------------

const PLAIN = { source: 'stored', priority: null, isLongTerm: false, isManualOnly: false, data: null }

test('a list: an address in each line, comments, and the lines of what is none', (t) => {
  const text = `# friends\n${addressOf(1)}\n\n  host2.example:8008:${idOf(2)}  # bob\nnonsense\r\n${addressOf(3)}\r\n`
  const { format, entries, bad } = readTable(text)
  t.equal(format, 'list')
  t.deepEqual(
    entries.map(({ line, addresses }) => [line, addresses]),
    [
      [2, [addressOf(1)]],
      [4, [addressOf(2)]],
      [6, [addressOf(3)]],
    ],
  )
  t.deepEqual(
    bad.map(({ line }) => line),
    [5],
  )
  t.match(bad[0]?.message ?? '', /received "nonsense"/)
  t.end()
})

test('gossip.json: every shape of an entry, each with its line', (t) => {
  const text = `[
  {"address": "${addressOf(1)}", "key": "${idOf(1)}", "source": "friends", "announcers": 2, "failure": 3},
  {"host": "host2.example", "port": 8008, "key": "${idOf(2)}", "source": "pub", "note": "a ] { , \\" b"},
  "${addressOf(3)}", {"address": "host4.example:8008:${idOf(4)}",
    "source": "local"},
  {"key": "${idOf(5)}"},
  {"address": "${addressOf(6)}", "priority": "HIGH", "isLongTerm": true}, 7
]`
  const { format, entries, bad, local } = readTable(text)
  t.equal(format, 'gossip')
  t.deepEqual(entries, [
    { ...PLAIN, line: 2, peer: idOf(1), addresses: [addressOf(1)], source: 'friends' },
    { ...PLAIN, line: 3, peer: idOf(2), addresses: [addressOf(2)], source: 'pub', data: { note: 'a ] { , " b' } },
    { ...PLAIN, line: 4, peer: idOf(3), addresses: [addressOf(3)] },
    { ...PLAIN, line: 7, peer: idOf(6), addresses: [addressOf(6)], priority: 'HIGH', isLongTerm: true },
  ])
  t.deepEqual(
    bad.map(({ line }) => line),
    [6, 7],
  )
  t.equal(local, 1, 'what is of the local network announces itself')
  t.end()
})

test('gossip.json of the first days: an object around the list', (t) => {
  const { format, entries } = readTable(`{\n"ts": 1,\n"peers": [\n"${addressOf(1)}",\n"${addressOf(2)}"]\n}`)
  t.equal(format, 'gossip')
  t.deepEqual(
    entries.map(({ line }) => line),
    [4, 5],
  )
  t.end()
})

test('conn.json: what modules keep is data; who is dialed by hand, and who was heard of from strangers', (t) => {
  const text = JSON.stringify(
    {
      [addressOf(1)]: { key: idOf(1), type: 'room', name: 'a room', birth: 1, stateChange: 2, failure: 0 },
      [addressOf(2)]: { key: idOf(2), autoconnect: false },
      [addressOf(3)]: { key: idOf(3), autoconnect: false, type: 'pub' },
      [addressOf(4)]: { key: idOf(4), type: 'lan' },
      [addressOf(5)]: { key: idOf(5), priority: 'BANNED', autoconnect: false },
      [addressOf(6)]: 'damaged',
      constructor: {},
    },
    null,
    2,
  )
  const { format, entries, bad, local } = readTable(text)
  t.equal(format, 'conn')
  t.deepEqual(
    entries.map(({ line: _, ...entry }) => entry),
    [
      { ...PLAIN, peer: idOf(1), addresses: [addressOf(1)], data: { type: 'room', name: 'a room' } },
      { ...PLAIN, peer: idOf(2), addresses: [addressOf(2)], isManualOnly: true },
      { ...PLAIN, peer: idOf(3), addresses: [addressOf(3)], source: 'pub', data: { type: 'pub' } },
      { ...PLAIN, peer: idOf(5), addresses: [addressOf(5)], priority: 'BANNED' },
      { ...PLAIN, peer: idOf(6), addresses: [addressOf(6)] },
    ],
  )
  t.deepEqual([entries[0]?.line, entries[1]?.line, bad[0]?.line, local], [2, 10, 29, 1])
  t.end()
})

test('a table that was cut off is told by line; the tail of a crash of ssb-conn does not matter', (t) => {
  t.throws(() => readTable('[\n\n{"address": 1'), /this is no table of peers: (line 3: )?/)
  t.throws(() => readTable('{"a": {]'), CliError)
  t.equal(readTable(`{"${addressOf(1)}": {}}"}}`).entries.length, 1)
  t.deepEqual(readTable('').entries, [], 'an empty file is an empty list')
  t.end()
})

// ---- writing ----------------------------------------------------------------------------------------------------------

function route(byte: number, more: Partial<RouteView> = {}): RouteView {
  return {
    id: addressOf(byte),
    peer: idOf(byte),
    priority: 'MEDIUM',
    isLocal: false,
    isLongTerm: false,
    source: 'manual',
    isStored: true,
    isAutomatic: true,
    connectionStatus: 'idle',
    connectionCount: 0,
    errorCount: 0,
    errors: [],
    lastConnectionTime: null,
    lastErrorTime: null,
    nextAttemptAt: 0,
    ...more,
  }
}

function peer(byte: number, more: Partial<PeerView> = {}, ...routes: Partial<RouteView>[]): PeerView {
  return {
    id: idOf(byte),
    priority: 'MEDIUM',
    prioritisedBy: null,
    isBanned: false,
    isLongTerm: false,
    connection: { status: 'idle', direction: null, address: null, since: null, rtt: null, skew: null },
    routes: (routes.length > 0 ? routes : [{}]).map((each) => route(byte, each)),
    ...more,
  } as PeerView
}

const CHANGED = 1_795_226_246_134
const IPV6 = `net:[2001:db8::1]:8008~shs:${key(7)}`
const PEERS: readonly PeerView[] = [
  peer(1, {}, { lastErrorTime: CHANGED, errorCount: 3, source: 'friends' }),
  peer(2, { priority: 'HIGH', prioritisedBy: 'user', isLongTerm: true }),
  peer(3, { priority: 'BANNED', prioritisedBy: 'user', isBanned: true }),
  peer(4, {}, { isLocal: true, isStored: false }),
  peer(5, {}, { isAutomatic: false }),
  peer(6, {}, { id: `tunnel:${idOf(1)}:${idOf(6)}~shs:${key(6)}` }),
  peer(7, {}, { id: IPV6 }),
]
const DATA = new Map([[addressOf(1), { key: idOf(1), name: 'alice', type: 'room', birth: 1 }]])

test('what is exported is imported as it was', (t) => {
  for (const format of ['conn', 'gossip', 'list'] as const) {
    const { text, count, leftOut } = writeTable(format, PEERS, DATA, 'a remark')
    const { entries, bad, format: seen } = readTable(text)
    t.equal(seen, format)
    t.deepEqual(bad, [])
    t.equal(entries.length, count)
    t.deepEqual(
      leftOut,
      {
        conn: { banned: 0, foreign: 0 },
        gossip: { banned: 1, foreign: 1 },
        list: { banned: 1, foreign: 0 },
      }[format],
    )
    const found = entries.map(({ peer: id }) => id)
    t.notOk(found.includes(idOf(4)), 'but for what announces itself')
    t.equal(found.includes(idOf(3)), format === 'conn', 'a banned peer only where its ban goes with it')
    const bob = entries.find(({ peer: id }) => id === idOf(2))
    t.equal(bob?.priority, format === 'list' ? null : 'HIGH')
    t.equal(bob?.isLongTerm, format !== 'list')
    t.equal(entries.find(({ peer: id }) => id === idOf(5))?.isManualOnly, format !== 'list')
    if (format === 'conn') {
      t.equal(entries.find(({ peer: id }) => id === idOf(3))?.priority, 'BANNED')
      t.deepEqual(entries.find(({ peer: id }) => id === idOf(1))?.data, { name: 'alice', type: 'room' })
    }
  }
  t.end()
})

/** A folder with this file. ssb-conn writes once more after it has closed, so the folders go when the process does, before tape ends it. */
function folderWith(name: string, text: string): string {
  const path = mkdtempSync(join(tmpdir(), 'cli-table-'))
  process.prependOnceListener('exit', () => rmSync(path, { recursive: true, force: true }))
  writeFileSync(join(path, name), text)
  return path
}

test('ssb-conn reads an exported conn.json, and dials no peer that is banned', async (t) => {
  const { text, count } = writeTable('conn', PEERS, DATA, '')
  const stack = await bootConn('cli-conn', { path: folderWith('conn.json', text) })
  await connOf(stack).db().loaded()
  const entries = connOf(stack).dbPeers()
  t.equal(entries.length, count, 'all of it')
  const of = (byte: number) => entries.find(([address]) => address === addressOf(byte))?.[1]
  t.equal(of(1)?.name, 'alice')
  t.equal(of(1)?.failure, 3)
  t.equal(of(3)?.autoconnect, false)
  await stack.close()
})

test('ssb-gossip reads an exported gossip.json', async (t) => {
  const { text, count } = writeTable('gossip', PEERS, DATA, '')
  const stack = await bootGossip('cli-gossip', { path: folderWith('gossip.json', text) })
  const peers = await eventually(() => {
    const found = gossipOf(stack).peers()
    return found.length > 0 && found
  })
  assert.strictEqual(peers.length, count)
  t.deepEqual(
    peers.map((each) => each.key).sort(),
    [idOf(1), idOf(2), idOf(5), idOf(7)].sort(),
    'all that it has a word for',
  )
  await stack.close()
})
