/** Who is let in: tokens, sessions, and what a browser says of the caller. */
import test = require('tape')

import { type Caller, createDoorkeeper, SESSION_MS, TOKEN_MS, whyNotOurs } from '../../src/dashboard/guard'
import { virtualClock } from '../../src/testing'

const doorkeeper = () => {
  const clock = virtualClock()
  return { clock, door: createDoorkeeper({ clock, port: () => 8990 }) }
}

test('a token opens the door once', (t) => {
  const { door } = doorkeeper()
  const token = door.issueToken()
  t.match(token, /^[\w-]{32}$/, '192 bits')
  t.equal(door.trade(`${token}x`), null, 'another one')
  t.equal(door.trade(''), null, 'none')
  const { session, key } = door.trade(token) ?? {}
  t.ok(session && key && new Set([session, key, token]).size === 3, 'a session and its key, which are not the token')
  t.equal(door.trade(token), null, 'not again')
  t.ok(door.isSession(`dashboard_8990=${session}`))
  t.ok(door.isSession(`a=b; dashboard_8990=of-another; dashboard_8990=${session}; c`), 'among others')
  t.notOk(door.isSession(`dashboard_8991=${session}`), 'the cookie of another port')
  t.notOk(door.isSession(`dashboard_8990=${token}`), 'a token is no session')
  t.notOk(door.isSession(undefined))
  t.notOk(door.isSession(`dashboard_8990=`))
  t.deepEqual(door.counts(), { tokens: 0, sessions: 1 })
  const cookie = `dashboard_8990=${session}`
  t.ok(door.isPage(cookie, `${key}`))
  const other = door.trade(door.issueToken())
  for (const wrong of [null, '', `${key}x`, `${session}`, token, `${other?.key}`])
    t.notOk(door.isPage(cookie, wrong), `${wrong === other?.key ? 'the key of another session' : wrong} is not its key`)
  t.notOk(door.isPage(undefined, `${key}`), 'the key alone')
  door.reset()
  t.notOk(door.isPage(cookie, `${key}`), 'after the end')
  t.notOk(door.isSession(`dashboard_8990=${session}`), 'after the end')
  t.end()
})

test('tokens and sessions end by themselves', (t) => {
  const { clock, door } = doorkeeper()
  const late = door.issueToken()
  clock.advance(TOKEN_MS - 1)
  const session = door.trade(door.issueToken())?.session
  t.ok(door.trade(late), 'just in time')
  const tooLate = door.issueToken()
  clock.advance(TOKEN_MS)
  t.equal(door.trade(tooLate), null, 'ten minutes later')
  const cookie = `dashboard_8990=${session}`
  t.ok(door.isSession(cookie))
  for (let i = 0; i < 3; i++) {
    clock.advance(SESSION_MS - 1)
    t.ok(door.isSession(cookie), 'used, so it lasts')
  }
  clock.advance(SESSION_MS)
  t.notOk(door.isSession(cookie), 'not used for too long')
  t.equal(clock.pending, 0, 'without a timer')
  t.end()
})

test('a clock that is set back lets nobody in for ever', (t) => {
  const { clock, door } = doorkeeper()
  const token = door.issueToken()
  clock.jump(-30 * TOKEN_MS)
  t.equal(door.trade(token), null)
  t.end()
})

test('however many are asked for, the newest are kept', (t) => {
  const { clock, door } = doorkeeper()
  const tokens = Array.from({ length: 1_000 }, () => door.issueToken())
  t.equal(door.counts().tokens, 16)
  t.equal(door.trade(tokens[0]!), null, 'the oldest')
  t.ok(door.trade(tokens[999]!), 'the newest')
  for (let i = 0; i < 100; i++) {
    clock.advance(1)
    door.trade(door.issueToken())
  }
  t.equal(door.counts().sessions, 16)
  t.end()
})

const PAGE: Caller = {
  method: 'GET',
  host: '127.0.0.1:8990',
  origin: undefined,
  fetchSite: undefined,
  fetchMode: undefined,
  fetchDest: undefined,
}
const NAVIGATION = { fetchMode: 'navigate', fetchDest: 'document' }

/** What the browser says, whether a token is in the address, and what comes of it. */
const CALLERS: readonly [what: string, caller: Partial<Caller>, hasToken: boolean, why: string | null][] = [
  ['a tool that says nothing', {}, false, null],
  ['by name', { host: 'localhost:8990' }, false, null],
  ['by IPv6', { host: '[::1]:8990' }, false, null],
  ['no host', { host: undefined }, true, 'ERR_HOST'],
  ['a name that was made to point here', { host: 'evil.example:8990' }, true, 'ERR_HOST'],
  ['our name in another', { host: '127.0.0.1:8990.evil.example' }, true, 'ERR_HOST'],
  ['another port', { host: '127.0.0.1:8991' }, true, 'ERR_HOST'],
  ['no port', { host: '127.0.0.1' }, true, 'ERR_HOST'],
  ['in capitals', { host: 'LOCALHOST:8990' }, true, 'ERR_HOST'],
  ['another spelling', { host: '127.1:8990' }, true, 'ERR_HOST'],
  ['with a user', { host: 'x@127.0.0.1:8990' }, true, 'ERR_HOST'],
  ['the page', { origin: 'http://127.0.0.1:8990', fetchSite: 'same-origin' }, false, null],
  ['another page', { origin: 'http://evil.example' }, true, 'ERR_ORIGIN'],
  ['a page of another port', { origin: 'http://127.0.0.1:3000', fetchSite: 'same-site' }, true, 'ERR_ORIGIN'],
  ['the same by another name', { origin: 'http://localhost:8990' }, false, 'ERR_ORIGIN'],
  ['over https', { origin: 'https://127.0.0.1:8990' }, false, 'ERR_ORIGIN'],
  ['a sandboxed page', { origin: 'null' }, true, 'ERR_ORIGIN'],
  [
    'an image in another page',
    { fetchSite: 'cross-site', fetchMode: 'no-cors', fetchDest: 'image' },
    true,
    'ERR_CROSS_SITE',
  ],
  [
    'a frame in another page',
    { fetchSite: 'cross-site', fetchMode: 'navigate', fetchDest: 'iframe' },
    true,
    'ERR_CROSS_SITE',
  ],
  [
    'a script of another port',
    { fetchSite: 'same-site', fetchMode: 'no-cors', fetchDest: 'script' },
    false,
    'ERR_CROSS_SITE',
  ],
  ['typed in', { fetchSite: 'none', ...NAVIGATION }, false, null],
  ['a link with a token', { fetchSite: 'cross-site', ...NAVIGATION }, true, null],
  ['a link without', { fetchSite: 'cross-site', ...NAVIGATION }, false, 'ERR_CROSS_SITE'],
  ['a value yet unknown', { fetchSite: 'moon' }, false, 'ERR_CROSS_SITE'],
  ['a POST of the page', { method: 'POST', origin: 'http://127.0.0.1:8990', fetchSite: 'same-origin' }, false, null],
  ['a POST of nobody', { method: 'POST' }, false, 'ERR_ORIGIN'],
  [
    'a form of another page',
    { method: 'POST', origin: 'http://evil.example', fetchSite: 'cross-site', ...NAVIGATION },
    true,
    'ERR_ORIGIN',
  ],
  [
    'a POST that was typed in',
    { method: 'POST', origin: 'http://127.0.0.1:8990', fetchSite: 'none' },
    true,
    'ERR_CROSS_SITE',
  ],
]

test('nobody is let in but the page, a tool, and a link with a token', (t) => {
  for (const [what, caller, hasToken, why] of CALLERS)
    t.equal(whyNotOurs({ ...PAGE, ...caller }, 8990, { hasToken }), why, what)
  t.end()
})
