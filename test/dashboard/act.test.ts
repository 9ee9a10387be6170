/** What the page may ask for is read strictly, and nothing is done unless all of it was understood. */
import test = require('tape')

import { answerAct, answerExplain, readAct, readTargets } from '../../src/dashboard/act'
import { alice, bench, bob } from '../support/manager'

const codeOf = (fn: () => unknown): string => {
  try {
    fn()
    return 'understood'
  } catch (error) {
    return (error as { code: string }).code
  }
}

const UNKNOWN = 'ERR_UNKNOWN_ACTION'
const INVALID = 'ERR_INVALID_ARGUMENT'
const UNDERSTOOD = 'understood'

const ACTS: readonly [json: string, outcome: string][] = [
  ['{"action":"connect","target":"x"}', UNDERSTOOD],
  ['{"action":"connect","target":"x","isLongTerm":true}', UNDERSTOOD],
  ['{"action":"connect","target":"x","isLongTerm":"yes"}', INVALID],
  ['{"action":"connect","target":"x","isLongTerm":null}', INVALID],
  ['{"action":"connect"}', INVALID],
  ['{"action":"connect","target":""}', INVALID],
  ['{"action":"connect","target":7}', INVALID],
  ['{"action":"connect","target":{"id":"x"}}', INVALID],
  [`{"action":"connect","target":"${'x'.repeat(1_001)}"}`, INVALID],
  ['{"action":"connect","target":"x","source":"friends"}', INVALID],
  ['{"action":"connect","target":"x","__proto__":{"isLongTerm":true}}', INVALID],
  ['{"action":"setPriority","target":"x","priority":"BANNED"}', UNDERSTOOD],
  ['{"action":"setPriority","target":"x","priority":"AUTO"}', UNDERSTOOD],
  ['{"action":"setPriority","target":"x","priority":"GOD"}', INVALID],
  ['{"action":"setPriority","target":"x","priority":null}', INVALID],
  ['{"action":"setLongTerm","target":"x","isLongTerm":false}', UNDERSTOOD],
  ['{"action":"setLongTerm","target":"x"}', INVALID],
  ['{"action":"addRoute","address":"x"}', UNDERSTOOD],
  ['{"action":"addRoute","address":"x","peer":"y"}', UNDERSTOOD],
  ['{"action":"addRoute","address":"x","peer":null}', INVALID],
  ['{"action":"removeRoute","address":["x"]}', INVALID],
  ['{"action":"setMax","max":{"net":3}}', UNDERSTOOD],
  ['{"action":"setMax","max":{}}', INVALID],
  ['{"action":"setMax","max":[3]}', INVALID],
  ['{"action":"setMax","max":{"net":"3"}}', INVALID],
  ['{"action":"start"}', UNDERSTOOD],
  ['{"action":"start","target":"x"}', INVALID],
  ['{"action":"stop"}', UNDERSTOOD],
  ['{"action":"syncStart"}', UNDERSTOOD],
  ['{"action":"syncStart","target":"x"}', UNDERSTOOD],
  ['{"action":"syncStop"}', UNDERSTOOD],
  ['{"action":"close"}', UNKNOWN],
  ['{"action":"constructor"}', UNKNOWN],
  ['{"action":"__proto__"}', UNKNOWN],
  ['{"action":["start"]}', UNKNOWN],
  ['{"__proto__":{"action":"start"}}', UNKNOWN],
  ['{}', UNKNOWN],
  ['[]', INVALID],
  ['null', INVALID],
  ['"start"', INVALID],
]

test('an action is understood as a whole, or not at all', (t) => {
  for (const [json, outcome] of ACTS)
    t.equal(
      codeOf(() => readAct(JSON.parse(json))),
      outcome,
      json.slice(0, 80),
    )
  t.end()
})

test('what the manager refuses is an answer with its code', async (t) => {
  const { manager } = bench()
  const answer = (json: object) => answerAct(manager, readAct(json))
  const codes: [object, string][] = [
    [{ action: 'connect', target: 'nonsense' }, 'ERR_INVALID_ADDRESS'],
    [{ action: 'connect', target: alice.id }, 'ERR_NO_ROUTE'],
    [{ action: 'addRoute', address: 'net:' }, 'ERR_INVALID_ADDRESS'],
    [{ action: 'addRoute', address: 'net:', peer: bob.id }, 'ERR_INVALID_ADDRESS'],
    [{ action: 'addRoute', address: alice.address, peer: bob.id }, 'ERR_OTHER_PEER'],
    [{ action: 'setMax', max: { 'a b': 1 } }, INVALID],
    [{ action: 'setMax', max: { net: -1 } }, INVALID],
    [JSON.parse('{"action":"setMax","max":{"__proto__":3}}'), INVALID],
    [{ action: 'syncStart', target: alice.id }, 'ERR_UNKNOWN_PEER'],
  ]
  for (const [act, code] of codes) {
    const got = await answer(act)
    t.equal(got.ok ? 'done' : got.error.code, code, JSON.stringify(act))
  }
  t.equal(manager.peer.get(alice.id), null, 'an address of somebody else is not added')
  t.deepEqual(await answer({ action: 'addRoute', address: bob.address, peer: bob.id }), { ok: true, result: true })
  t.deepEqual(await answer({ action: 'setPriority', target: alice.id, priority: 'BANNED' }), { ok: true, result: true })
  t.equal(manager.peer.get(alice.id)?.prioritisedBy, 'user', 'a ban is the word of the user')
  t.equal(
    manager.peer.setPriority({ id: alice.id, priority: 'AUTO', source: 'friends' }),
    false,
    'which no module lifts',
  )
  const refused = await answer({ action: 'connect', target: alice.id })
  t.equal(refused.ok ? 'done' : refused.error.code, 'ERR_BANNED')
  manager.close()
})

test('a hundred are explained at a time, and what is no target is null', (t) => {
  const { manager, add } = bench()
  add(bob.address)
  const targets = readTargets({ targets: [bob.id, 'nonsense', bob.address] })
  t.deepEqual(
    answerExplain(manager, targets).map((each) => each?.reason),
    ['off', undefined, 'off'],
  )
  t.equal(
    codeOf(() => readTargets({ targets: Array(101).fill(bob.id) })),
    INVALID,
  )
  t.equal(
    codeOf(() => readTargets({ targets: [1] })),
    INVALID,
  )
  t.equal(
    codeOf(() => readTargets({ targets: 'x' })),
    INVALID,
  )
  t.equal(
    codeOf(() => readTargets({ targets: [], more: 1 })),
    INVALID,
  )
  t.equal(
    codeOf(() => readTargets(null)),
    INVALID,
  )
  manager.close()
  t.end()
})
