/** A checker that never complains proves nothing: each contradiction that `checkInvariants` knows is planted and found. */
import test = require('tape')

import { InvariantError } from '../../src/core/errors'
import { checkInvariants } from '../../src/core/invariants'
import { NEW_CLASS, type State } from '../../src/core/table'
import type { Tree } from '../../src/core/tree'
import type { Connection, Layer, Peer, Route } from '../../src/core/types'
import { addressOf, idOf, MINUTE, SECOND, START, slots, World } from '../support/builders'

/** Something of everything: connected both ways, a race, a close, a pause, a ban, a request, a layer in doubt. */
function fullState(): State {
  const world = World.started({ ...slots({ net: 9 }), maxDialing: 20, hostWindowMs: 0 })
  world.addAll(['out', 'race', 'race/net2', 'closing', 'paused', 'banned'])
  world.prioritise('banned', 'BANNED')
  world.settle()
  world.connect('out')
  world.connect('closing')
  world.callIn('in')
  world.fail('paused', { code: 'ETIMEDOUT' })
  world.now += SECOND
  world.settle()
  world.askToClose('closing', 'dead')
  world.request('race')
  world.settle()
  world.add('idle', { priority: 'LOW', source: 'pub' })
  return world.state
}

function changed<K, V>(tree: Tree<K, V>, change: (copy: Tree<K, V>) => void): Tree<K, V> {
  const copy = tree.clone()
  change(copy)
  return copy
}

/** A broken copy of a record; some fields are read through its prototype. */
function broken<T extends Peer | Route>(record: T, change: Partial<T>): T {
  const copy: T = Object.create(Object.getPrototypeOf(record), Object.getOwnPropertyDescriptors(record))
  for (const [name, value] of Object.entries(change)) Object.defineProperty(copy, name, { value, writable: true })
  return copy
}

function withPeer(state: State, name: string, change: Partial<Peer>): State {
  const peer = state.peers.get(idOf(name))!
  const after = broken(peer, change)
  const peers = changed(state.peers, (copy) => copy.set(idOf(name), after))
  const active = changed(state.active, (copy) => {
    if (!copy.has(peer)) return
    copy.delete(peer)
    copy.set(after, undefined)
  })
  return { ...state, peers, active }
}

function withRoute(state: State, label: string, change: Partial<Route>): State {
  const route = state.routes.get(addressOf(label))!
  const after = broken(route, change)
  const inIndex = (tree: State['ready']) =>
    changed(tree, (copy) => {
      if (!copy.has(route)) return
      copy.delete(route)
      copy.set(after, undefined)
    })
  return {
    ...state,
    routes: changed(state.routes, (copy) => copy.set(addressOf(label), after)),
    ready: inIndex(state.ready),
    waiting: inIndex(state.waiting),
  }
}

function withConnection(state: State, name: string, change: object): State {
  const { connection } = state.peers.get(idOf(name))!
  return withPeer(state, name, { connection: { ...connection, ...change } as Connection })
}

const attempts = (state: State) => {
  const { connection } = state.peers.get(idOf('race'))!
  return connection.status === 'dialing' ? connection.attempts : []
}

const LINK_SUSPECTS = (state: State): Layer => state.layers.get('link')!

/** Each with a word of the complaint. */
const FAULTS: readonly (readonly [string, RegExp, (state: State) => State])[] = [
  // Records.
  ['a peer under another key', /under the key/, (s) => withPeer(s, 'idle', { id: idOf('other') })],
  ['a priority that is none', /has the priority/, (s) => withPeer(s, 'idle', { priority: 'WHATEVER' as never })],
  ['a visit at no time', /time that is none/, (s) => withPeer(s, 'idle', { visitedAt: Number.NaN })],
  ['a hold for ever', /time that is none/, (s) => withPeer(s, 'idle', { heldUntil: Number.POSITIVE_INFINITY })],
  [
    'a route listed twice',
    /route twice/,
    (s) => withPeer(s, 'idle', { routes: [addressOf('idle'), addressOf('idle')] }),
  ],
  ['a route that does not exist', /is not in the table/, (s) => withPeer(s, 'idle', { routes: [addressOf('other')] })],
  ['another timer', /timer of peer/, (s) => withPeer(s, 'out', { timerAt: 5 })],
  ['too many routes', /has 2 routes/, (s) => ({ ...s, options: { ...s.options, maxRoutesPerPeer: 1 } })],
  ['ourselves', /peer of our own/, (s) => ({ ...s, options: { ...s.options, selfId: idOf('idle') } })],
  [
    'a peer of whom nothing is known',
    /nothing is known/,
    (s) => {
      const nobody = broken(s.peers.get(idOf('idle'))!, { id: idOf('x'), routes: [], priority: 'MEDIUM' })
      return { ...s, peers: changed(s.peers, (copy) => copy.set(nobody.id, nobody)) }
    },
  ],
  ['a dial without an attempt', /without an attempt/, (s) => withConnection(s, 'race', { attempts: [] })],
  ['a race since no time', /since NaN/, (s) => withConnection(s, 'race', { since: Number.NaN })],
  ['a banned peer that is dialed', /banned and dialed/, (s) => withPeer(s, 'race', { priority: 'BANNED' })],
  ['a banned peer that stays', /banned and kept/, (s) => withPeer(s, 'out', { priority: 'BANNED' })],
  [
    'an attempt twice',
    /an attempt twice/,
    (s) => withConnection(s, 'race', { attempts: attempts(s).map((each) => ({ ...each, id: 1 })) }),
  ],
  [
    'a route dialed twice',
    /route dialed twice/,
    (s) =>
      withConnection(s, 'race', { attempts: attempts(s).map((each) => ({ ...each, address: addressOf('race') })) }),
  ],
  [
    'an attempt that ends before it starts',
    /ends before it starts/,
    (s) => withConnection(s, 'race', { attempts: attempts(s).map((each) => ({ ...each, deadlineAt: 1 })) }),
  ],
  [
    'an attempt without an end',
    /without a time/,
    (s) =>
      withConnection(s, 'race', {
        attempts: attempts(s).map((each) => ({ ...each, deadlineAt: Number.POSITIVE_INFINITY })),
      }),
  ],
  [
    'an attempt by no route',
    /which is no route/,
    (s) => withConnection(s, 'race', { attempts: [{ ...attempts(s)[0], address: 'net:x' }] }),
  ],
  [
    'a route that failed and is in flight',
    /both failed and in flight/,
    (s) => withConnection(s, 'race', { tried: [addressOf('race')] }),
  ],
  ['a transfer at no time', /time that is none/, (s) => withConnection(s, 'out', { lastTransferAt: Number.NaN })],
  ['an inbound connection by a route', /inbound by a route/, (s) => withConnection(s, 'in', { address: 'net:x' })],
  ['an inbound connection in a slot', /inbound in a slot/, (s) => withConnection(s, 'in', { class: 'net' })],
  ['a cause that does not fit', /cause schedule/, (s) => withConnection(s, 'in', { cause: 'schedule' })],
  ['a close at no time', /time that is none/, (s) => withConnection(s, 'closing', { connectedSince: Number.NaN })],
  ['a route under another key', /calls itself/, (s) => withRoute(s, 'idle', { address: 'net:x' })],
  [
    'a route without its peer',
    /has no peer|is not in the table/,
    (s) => ({ ...s, peers: changed(s.peers, (copy) => copy.delete(idOf('idle'))) }),
  ],
  ['a route that its peer does not list', /among the routes of its peer/, (s) => withPeer(s, 'idle', { routes: [] })],
  ['another class', /has the class/, (s) => withRoute(s, 'idle', { class: 'onion' })],
  ['another queue', /in the queue/, (s) => withRoute(s, 'idle', { queue: '' })],
  ['another tier', /has the tier/, (s) => withRoute(s, 'idle', { tier: 0 })],
  ['another tie', /another tie/, (s) => withRoute(s, 'idle', { tie: 1 })],
  ['another turn', /another turn/, (s) => withRoute(s, 'idle', { turnAt: START })],
  ['an error at no time', /has the time/, (s) => withRoute(s, 'idle', { lastErrorTime: Number.NaN })],
  ['due before the pause is over', /before its pause/, (s) => withRoute(s, 'idle', { nextAttemptAt: START + MINUTE })],
  ['a count that is none', /count that is none/, (s) => withRoute(s, 'idle', { errorCount: -1 })],
  ['a step beyond the last', /has step 41/, (s) => withRoute(s, 'idle', { backoffStep: 41 })],
  ['six errors', /keeps 6 errors/, (s) => withRoute(s, 'idle', { errors: Array(6).fill({}) as never })],
  // Indexes.
  ['a tree out of order', /out of order/, (s) => ({ ...s, ready: disordered(s) })],
  ['ready although it is not due', /before it is due/, (s) => withRoute(s, 'idle', { dueAt: START + MINUTE })],
  ['missing in both indexes', /none of ready and waiting/, (s) => ({ ...s, ready: cleared(s.ready) })],
  [
    'in both indexes',
    /both of ready and waiting/,
    (s) => ({ ...s, waiting: changed(s.waiting, (copy) => copy.set(only(s.ready), undefined)) }),
  ],
  [
    'a route in an index that cannot be dialed',
    /cannot be dialed/,
    (s) => ({ ...s, ready: changed(s.ready, (copy) => copy.set(routeOf(s, 'banned'), undefined)) }),
  ],
  [
    'an old record in an index',
    /old record of net:idle/,
    (s) => ({ ...s, ready: changed(s.ready, (copy) => copy.set(broken(only(s.ready), {}), undefined)) }),
  ],
  [
    'an index entry of nobody',
    /index entries for/,
    (s) => {
      const ghost = broken(only(s.ready), { address: 'net:ghost' })
      return { ...s, ready: changed(s.ready, (copy) => copy.set(ghost, undefined)) }
    },
  ],
  ['missing among the active', /not in active/, (s) => ({ ...s, active: cleared(s.active) })],
  [
    'an old record among the active',
    /active holds an old record/,
    (s) => {
      const peer = s.peers.get(idOf('out'))!
      return { ...s, active: replaced(s.active, peer, broken(peer, {})) }
    },
  ],
  ['missing among the outbound', /is not in outbound/, (s) => ({ ...s, outbound: cleared(s.outbound) })],
  [
    'too many among the outbound',
    /in outbound, should be/,
    (s) => ({ ...s, outbound: changed(s.outbound, (copy) => copy.set(idOf('in'), undefined)) }),
  ],
  // Counts.
  ['inbound', /inboundCount 2, should be 1/, (s) => ({ ...s, inboundCount: 2 })],
  ['attempts', /attemptCount 0, should be 2/, (s) => ({ ...s, attemptCount: 0 })],
  ['LOW routes', /lowCount 0, should be 1/, (s) => ({ ...s, lowCount: 0 })],
  ['layers that are down', /downCount 7, should be 0/, (s) => ({ ...s, downCount: 7 })],
  ['occupancy', /occupancy of net is nothing/, (s) => ({ ...s, occupancy: {} })],
  [
    'occupancy by kind',
    /occupancy of net is/,
    (s) => ({ ...s, occupancy: { net: { connected: 2, dialing: 1, closing: 0 } } }),
  ],
  [
    'occupancy of a class in which nobody is',
    /occupancy of onion/,
    (s) => ({ ...s, occupancy: { ...s.occupancy, onion: { connected: 0, dialing: 0, closing: 0 } } }),
  ],
  // Hosts, requests, layers, the rest.
  [
    'a host dialed at no time',
    /was dialed at/,
    (s) => ({
      ...s,
      hosts: changed(s.hosts, (copy) => copy.set('idle.example.com:8008', Number.NaN)),
    }),
  ],
  ['a request for a stranger', /who is unknown/, (s) => withRequest(s, 'stranger')],
  ['a request for a banned peer', /who is banned/, (s) => withRequest(s, 'banned')],
  ['a request for who is here', /who is connected/, (s) => withRequest(s, 'out')],
  ['a request without a route left', /no route left/, (s) => withRequest(s, 'idle', [addressOf('idle')])],
  [
    'a request under another key',
    /under the key/,
    (s) => {
      const request = s.requests.get(idOf('race'))!
      return { ...s, requests: changed(s.requests, (copy) => copy.set(idOf('idle'), request)) }
    },
  ],
  ['a layer under another key', /layer x under the key/, (s) => withLayer(s, { key: 'x' })],
  ['a layer at no time', /layer link has a time/, (s) => withLayer(s, { retryAt: Number.NaN })],
  ['a layer that failed half a time', /has failed 0.5/, (s) => withLayer(s, { failureCount: 0.5 })],
  ['a layer that is down without a failure', /is down after 0/, (s) => withLayer(s, { isDown: true })],
  ['a layer that is up with one', /is up after 1/, (s) => withLayer(s, { failureCount: 1 })],
  [
    'a suspect with a pause for ever',
    /broken suspect/,
    (s) => {
      const [address = '', before] = [...LINK_SUSPECTS(s).suspects.entries()][0]!
      const broken = { ...before, nextAttemptAt: Number.POSITIVE_INFINITY }
      return withLayer(s, { suspects: changed(LINK_SUSPECTS(s).suspects, (copy) => copy.set(address, broken)) })
    },
  ],
  ['a state of no time', /now is NaN/, (s) => ({ ...s, now: Number.NaN })],
  ['a success rate of nothing', /succeeds at 0/, (s) => withClass(s, { successRate: 0 })],
  ['a success rate beyond all', /succeeds at 1.5/, (s) => withClass(s, { successRate: 1.5 })],
  ['half a dial', /0.5 dials/, (s) => withClass(s, { dialCount: 0.5 })],
  ['a rotation at no time', /rotates at NaN/, (s) => withClass(s, { nextRotationAt: Number.NaN })],
  ['an attempt that lingers twice', /lingers twice/, (s) => ({ ...s, lingering: [lingerer(1), lingerer(1)] })],
  ['an attempt that lingers for ever', /for ever/, (s) => ({ ...s, lingering: [lingerer(Number.POSITIVE_INFINITY)] })],
  ['a peer that changed twice', /changed ones twice/, (s) => ({ ...s, changedPeers: [idOf('in'), idOf('in')] })],
]

const routeOf = (state: State, label: string): Route => state.routes.get(addressOf(label))!
const only = (tree: State['ready']): Route => tree.keysArray()[0]!
function replaced(tree: Tree<Peer, undefined>, old: Peer, other: Peer): Tree<Peer, undefined> {
  return changed(tree, (copy) => {
    copy.delete(old)
    copy.set(other, undefined)
  })
}
const lingerer = (until: number) => ({ attempt: 1, until, deadlineAt: START })
const cleared = <K, V>(tree: Tree<K, V>): Tree<K, V> => changed(tree, (copy) => copy.clear())

function withRequest(state: State, name: string, tried: readonly string[] = []): State {
  const request = { peer: idOf(name), address: null, at: START, tried }
  return { ...state, requests: changed(state.requests, (copy) => copy.set(idOf(name), request)) }
}

function withLayer(state: State, change: Partial<Layer>): State {
  const layer = { ...LINK_SUSPECTS(state), ...change }
  return { ...state, downCount: Number(layer.isDown), layers: changed(state.layers, (copy) => copy.set('link', layer)) }
}

function withClass(state: State, change: object): State {
  return { ...state, classes: { net: { ...NEW_CLASS, ...change } } }
}

/** Two entries, of which the first was made to come last after it had gone in. */
function disordered(state: State): State['ready'] {
  const copy = state.ready.clone()
  const a = broken(only(state.ready), { tier: 0 })
  const b = broken(only(state.ready), { tier: 1 })
  copy.set(a, undefined)
  copy.set(b, undefined)
  ;(a as { tier: number }).tier = 9
  return copy
}

test('a state that the reducer made is sound', (t) => {
  const state = fullState()
  t.doesNotThrow(() => checkInvariants(state))
  const statuses = ['out', 'in', 'race', 'closing', 'idle'].map(
    (name) => state.peers.get(idOf(name))?.connection.status,
  )
  t.deepEqual(statuses, ['connected', 'connected', 'dialing', 'closing', 'idle'], 'and has something of everything')
  t.equal(attempts(state).length, 2)
  t.equal(state.requests.size, 1)
  t.equal(LINK_SUSPECTS(state).isDown, false)
  t.end()
})

for (const [what, complaint, plant] of FAULTS)
  test(`found: ${what}`, (t) => {
    const broken = plant(fullState())
    try {
      checkInvariants(broken)
      t.fail('no complaint')
    } catch (error) {
      t.ok(error instanceof InvariantError, String(error))
      t.match(String(error), complaint)
    }
    t.end()
  })
