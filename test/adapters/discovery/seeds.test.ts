/** `config.seeds`, as users of ssb-gossip wrote it. */
import test = require('tape')

import { startSeeds } from '../../../src/adapters/discovery/seeds'
import { scene } from '../../support/discovery'
import { alice, bob, carol } from '../../support/manager'

const LEGACY = `carol.example:8008:${carol.id}`

interface Row {
  readonly what: string
  readonly seeds: unknown
  readonly routes: readonly string[]
  /** Entries that are said to be left out. */
  readonly bad?: number
}

const ROWS: readonly Row[] = [
  { what: 'nothing', seeds: undefined, routes: [] },
  { what: 'null', seeds: null, routes: [] },
  { what: 'an empty text', seeds: ' ', routes: [] },
  { what: 'an empty list', seeds: [], routes: [] },
  { what: 'one address', seeds: alice.address, routes: [alice.address] },
  { what: 'a list', seeds: [alice.address, bob.address], routes: [alice.address, bob.address] },
  { what: 'the old form', seeds: LEGACY, routes: [carol.address] },
  {
    what: 'an object',
    seeds: [{ host: 'carol.example', port: 8008, key: carol.id }],
    routes: [carol.address],
  },
  {
    what: 'several joined by ;, not all of one peer',
    seeds: `${alice.address}; ${bob.address};${bob.by('onion')};`,
    routes: [alice.address, bob.address, bob.by('onion')],
  },
  {
    what: 'some that are bad',
    seeds: ['net:nobody', alice.address, 7, {}, `foo;${bob.address}`, '', null],
    routes: [alice.address, bob.address],
    bad: 4,
  },
  {
    what: 'a private host, which the user may well have',
    seeds: alice.by('net', '192.168.1.2'),
    routes: [alice.by('net', '192.168.1.2')],
  },
]

for (const { what, seeds, routes, bad = 0 } of ROWS) {
  test(`seeds: ${what}`, (t) => {
    for (const config of [{ seeds }, { global: { seeds } }]) {
      const made = scene({ config })
      made.start(startSeeds)
      t.deepEqual(made.routes(), [...routes].sort(), 'global' in config ? 'secret-stack 8' : 'secret-stack 6')
      t.equal(made.lines.length, bad)
    }
    t.end()
  })
}

test('seeds are peers of the user: MEDIUM, kept, and dialed', (t) => {
  const made = scene({ config: { seeds: alice.address } })
  made.start(startSeeds)
  const [route] = made.manager.peer.get(alice.id)?.routes ?? []
  t.deepEqual([route?.source, route?.priority, route?.isStored, route?.isLocal], ['seed', 'MEDIUM', true, false])
  made.manager.connections.start()
  made.flush()
  t.deepEqual(made.newDials(), [alice.address])
  t.end()
})

test('gossip.seed: false leaves them out', (t) => {
  const made = scene({ config: { seeds: alice.address, gossip: { seed: false } } })
  made.start(startSeeds)
  t.deepEqual(made.routes(), [])
  t.end()
})

test('a seed that the user has removed is not brought back by the next start, but by the next process', (t) => {
  const config = { seeds: [alice.address, bob.address] }
  const made = scene({ config })
  made.start(startSeeds)()
  made.manager.peer.removeRoute({ address: alice.address })
  made.start(startSeeds)()
  t.deepEqual(made.routes(), [bob.address])
  const next = scene({ config })
  next.start(startSeeds)
  t.deepEqual(next.routes(), [alice.address, bob.address].sort())
  t.end()
})

test('a list that is too long is cut', (t) => {
  const seeds = Array.from({ length: 3_000 }, (_, i) => alice.by('net', `h${i}.example`))
  const made = scene({ config: { seeds: seeds.join(';') }, maxRoutesPerPeer: 5_000 })
  made.start(startSeeds)
  t.equal(made.routes().length, 1_000)
  t.end()
})
