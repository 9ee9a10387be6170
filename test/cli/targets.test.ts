/** Whom a word on the command line means, where modules of the sbot have names for peers. */
import test = require('tape')

import pull = require('pull-stream')

import type { CliError, RemoteSbot } from '../../src/cli/cli'
import { resolveTarget } from '../../src/cli/targets'
import { fakeId } from '../support/page-world'

const NAMES = ['alice', 'Dave', 'alina']

const sbot = {
  rpc: { conn: { dbPeers: async () => NAMES.map((name, i) => [`net:${name}`, { key: fakeId(i), name }]) } },
  manager: { peers: () => pull.values(NAMES.map((_, i) => ({ id: fakeId(i), routes: [] }))) },
} as unknown as RemoteSbot

test('a peer is meant by its whole name, and who is almost meant is asked about', async (t) => {
  t.equal(await resolveTarget(sbot, 'dave'), fakeId(1))
  for (const [given, message, remedy] of [
    ['dav', 'no peer is called dav', 'Did you mean Dave?'],
    ['dave2', 'no peer is called dave2', 'Did you mean Dave?'],
    ['ali', 'no peer is called ali', 'Did you mean alice or alina?'],
    ['x', 'no peer is called x, and as the beginning of an id it is too short', 'Give 6 characters'],
    ['nobody', 'no peer is called nobody, and no id begins like this', 'See sbot-connections peers'],
  ] as const) {
    const error = await resolveTarget(sbot, given).then(
      () => null,
      (thrown: CliError) => thrown,
    )
    t.equal(error?.message, message)
    t.ok(error?.remedy?.startsWith(remedy), error?.remedy ?? 'no remedy')
    t.equal(error?.code, 'ERR_UNKNOWN_PEER')
  }
})
