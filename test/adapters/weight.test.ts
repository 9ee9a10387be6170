/** What has to be on the disk in a moment, and what may wait. */
import test = require('tape')

import { weightOf } from '../../src/adapters/weight'
import type { Action, RouteReport } from '../../src/core/actions'
import { idOf, report } from '../support/builders'

const at = 1_000
const peer = idOf('alice')

function added(...sources: string[]): Action {
  return { type: 'routes/added', at, reports: sources.map((source): RouteReport => report('alice', { source })) }
}

test('what somebody says is stored in a moment', (t) => {
  const said: Action[] = [
    added('manual'),
    added('invite'),
    added('seed'),
    added('stored'),
    added('pub', 'manual'),
    added('a module that nobody knows'),
    { type: 'route/removed', at, address: report('alice').route.address },
    { type: 'route/forgotten', at, address: report('alice').route.address },
    { type: 'peer/prioritised', at, peer, priority: 'BANNED' },
    { type: 'peer/prioritised', at, peer, priority: 'BANNED', by: 'user' },
    { type: 'peer/longTermSet', at, peer, isLongTerm: true },
  ]
  for (const action of said) t.equal(weightOf(action), 'said', JSON.stringify(action).slice(0, 120))
  t.end()
})

test('what dialing teaches, and what modules will find again, may wait', (t) => {
  const error = { message: 'nobody is there', code: 'ECONNREFUSED' }
  const { address } = report('alice').route
  const learned: Action[] = [
    { type: 'dial/failed', at, attempt: 1, peer, address, error, jitter: 0.5, isGivenUp: false },
    { type: 'connection/opened', at, peer, direction: 'outbound', address, attempt: 1, cause: 'schedule' },
    { type: 'connection/closed', at, peer, jitter: 0.5 },
    added('pub', 'local'),
    { type: 'peer/prioritised', at, peer, priority: 'HIGH', by: 'friends' },
  ]
  for (const action of learned) t.equal(weightOf(action), 'learned', JSON.stringify(action).slice(0, 120))
  t.end()
})

test('what happens all the time is no reason to write', (t) => {
  const { address } = report('alice').route
  const passing: Action[] = [
    { type: 'clock/advanced', at },
    { type: 'dial/started', at, attempt: 1, peer, address, cause: 'schedule' },
    { type: 'connection/pinged', at, peer, rttMs: 1, skewMs: 1 },
    { type: 'connection/transferred', at, peer, count: 1 },
    { type: 'connection/closing', at, peer, reason: 'rotation' },
  ]
  for (const action of passing) t.equal(weightOf(action), 'passing', JSON.stringify(action).slice(0, 120))
  t.end()
})
