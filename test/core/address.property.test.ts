/** What holds for every address, drawn at random, with multiserver-address, ssb-ref and the WHATWG URL as judges. */
import fc = require('fast-check')
import multiserverAddress = require('multiserver-address')
import ssbRef = require('ssb-ref')
import test = require('tape')

import {
  hostKey,
  hostKeyOf,
  isFeedId,
  isStrangerSafe,
  parseAddress,
  parseFeedId,
  portalOf,
  splitAddress,
} from '../../src/core/address'
import { InvalidAddressError } from '../../src/core/errors'
import type { ParsedRoute } from '../../src/core/types'

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 })
/** Few keys, so that lists often name one peer, and sometimes two. */
const key = fc.constantFrom(1, 2, 255).map((byte) => Buffer.alloc(32, byte).toString('base64'))
const feedId = key.map((text) => `@${text}.ed25519`)
const anyKey = fc.oneof(key, feedId)

const host = fc.oneof(
  fc.domain(),
  fc.ipV4Extended(),
  fc.ipV6(),
  fc.ipV4().map((ip) => `::ffff:${ip}`),
  fc.ipV6().map((ip) => `[${ip}]`),
  fc.constantFrom('localhost', 'LOCALHOST.', 'a.local', 'fe80::1%Eth0', '__proto__', '1e3', '-', 'x'.repeat(64), ''),
)
const port = fc.oneof(fc.integer({ min: 1, max: 65535 }), fc.constantFrom(0, 80, 443, 65536, '08', '1e3', ''))
const text = fc.string({
  unit: fc.constantFrom('a', 'B', '1', ':', '/', '!!', '!~', '!:', '!', '?', '%'),
  maxLength: 8,
})
const path = fc.oneof(fc.constantFrom('', '/', '/a', '?q', ':'), text)

const transport = fc.oneof(
  fc.tuple(fc.constantFrom('net', 'onion', 'ws', 'wss', 'rtc', 'foo'), host, port).map((parts) => parts.join(':')),
  fc.tuple(fc.constantFrom('ws', 'wss'), host, port, path).map(([name, h, p, rest]) => `${name}://${h}:${p}${rest}`),
  fc.tuple(fc.constantFrom('ws', 'wss'), host, path).map(([name, h, rest]) => `${name}://${h}${rest}`),
  fc.tuple(anyKey, anyKey, fc.constantFrom('', ':0', ':1', ':x')).map(([a, b, n]) => `tunnel:${a}:${b}${n}`),
  fc.tuple(fc.constantFrom('bt', 'dht', 'unix', 'foo', 'constructor'), text).map((parts) => parts.join(':')),
  fc.constantFrom('bt:65:d9:00:dd:b3:53', 'unix:/a/b:', 'foo', ''),
)
const transform = fc.oneof(
  { weight: 4, arbitrary: anyKey.map((k) => `~shs:${k}`) },
  fc.tuple(key, fc.oneof(key, text)).map(([k, seed]) => `~shs:${k}:${seed}`),
  fc.tuple(fc.constantFrom('~noauth', '~shs2', '~shs', '~foo'), fc.oneof(key, text)).map((parts) => parts.join(':')),
  fc.constantFrom('', '~noauth', '~shs'),
)
const legacy = fc.tuple(host, port, anyKey).map((parts) => parts.join(':'))
const address = fc.oneof(
  fc.tuple(transport, transform).map((parts) => parts.join('')),
  legacy,
)
/** Addresses of which many are good, and what is left of them after a few cuts and pastes. */
const list = fc.array(address, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(';'))
const damaged = fc
  .tuple(
    list,
    fc.nat(),
    fc.nat(20),
    fc.string({ unit: fc.constantFrom('~', ':', ';', '!', 'a', '\0', 'é', ' '), maxLength: 3 }),
  )
  .map(([whole, at, length, patch]) => {
    const start = at % (whole.length + 1)
    return whole.slice(0, start) + patch + whole.slice(start + length)
  })
const object = fc.record(
  {
    address: fc.oneof(list, fc.anything()),
    key: fc.oneof(anyKey, fc.anything()),
    host: fc.oneof(host, fc.webUrl(), fc.anything()),
    port: fc.oneof(port, fc.anything()),
  },
  { requiredKeys: [] },
)
const input = fc.oneof(
  list,
  list,
  damaged,
  object,
  legacy.map((part) => ({ address: part })),
)

/** The routes of an input, or none where it is refused in the one way it may be. */
function routesOf(value: unknown): ParsedRoute[] {
  try {
    const routes = parseAddress(value)
    if (routes.length === 0) throw new Error('neither a route nor an error')
    return routes
  } catch (error) {
    if (error instanceof InvalidAddressError && error.code === 'ERR_INVALID_ADDRESS') return []
    throw error
  }
}

function assert<T>(t: test.Test, title: string, property: fc.IProperty<T>, numRuns = 2000): void {
  const result = fc.check(property, { numRuns })
  t.notOk(result.failed, result.failed ? `${title}: ${fc.defaultReportMessage(result)}` : title)
}

test('no value at all brings forth another error than InvalidAddressError', (t) => {
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSet: true,
  })
  assert(
    t,
    'anything',
    fc.property(fc.oneof(anything, fc.string({ unit: 'binary' })), (value) => void routesOf(value)),
    5000,
  )
  assert(
    t,
    'nearly an address',
    fc.property(input, (value) => void routesOf(value)),
    5000,
  )
  t.end()
})

test('a route is its own spelling: parsed again, its address gives the same route', (t) => {
  let count = 0
  const property = fc.property(input, (value) => {
    for (const route of routesOf(value)) {
      count++
      const again = parseAddress(route.address)
      if (JSON.stringify(again) !== JSON.stringify([route])) throw new Error(JSON.stringify([route, again]))
    }
  })
  assert(t, 'the same again', property, 10_000)
  t.ok(count > 2000, `of ${count} routes`)
  t.end()
})

test('every route keeps the promises of its type', (t) => {
  const property = fc.property(input, (value) => {
    const routes = routesOf(value)
    for (const route of routes) {
      const { host, port, scope, portal } = route
      if (route.address.length > 1024 || route.address.includes(';')) throw new Error('not one address')
      if (!multiserverAddress.check(route.address)) throw new Error('multiserver-address refuses it')
      if (!route.address.startsWith(route.protocol)) throw new Error('another protocol')
      if (!isFeedId(route.peer) || route.peer !== routes[0]?.peer) throw new Error('another peer')
      if (!route.address.includes(route.peer.slice(1, 45))) throw new Error('a key from nowhere')
      if ((host === null) !== (port === null)) throw new Error('half a destination')
      if (host === null && hostKey(route) !== null) throw new Error('a host key without a host')
      if (host !== null && (scope === null || hostKey(route) !== `${host}:${port}`)) throw new Error('no scope')
      if (hostKeyOf(route.address) !== hostKey(route)) throw new Error(`${hostKeyOf(route.address)} from the address`)
      if (portalOf(route.address) !== portal) throw new Error(`the room ${portalOf(route.address)} from the address`)
      if (host !== null && !/^[a-z0-9._:-]+(?:%[\w.-]+)?$/.test(host)) throw new Error('a strange host')
      if (port !== null && !(Number.isInteger(port) && port > 0 && port < 65536)) throw new Error('no port')
      if ((portal !== null) !== (route.protocol === 'tunnel')) throw new Error('portal')
      if (isStrangerSafe(route) && scope !== null && scope !== 'public' && scope !== 'name') throw new Error('unsafe')
    }
    if (new Set(routes.map((route) => route.address)).size !== routes.length) throw new Error('twice the same')
  })
  assert(t, 'promises', property, 5000)
  t.end()
})

test('a list gives the routes of its parts, in their order', (t) => {
  // After "!" the separator would be none.
  const part = address.filter((text) => !text.endsWith('!'))
  const property = fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
    const separate = parts.flatMap(routesOf)
    const peers = new Set(separate.map((route) => route.peer))
    const expected = separate.filter((route, at) => separate.findIndex((r) => r.address === route.address) === at)
    const together = routesOf(parts.join(';'))
    return JSON.stringify(together) === JSON.stringify(peers.size === 1 ? expected : [])
  })
  assert(t, 'order', property, 5000)
  t.end()
})

test('an address is taken apart as multiserver-address takes it apart', (t) => {
  const grammar = fc.string({
    unit: fc.constantFrom('a', 'bc', '-9', ':', '~', '!!', '!:', '!~', '!', '=', 'É'),
    maxLength: 20,
  })
  let count = 0
  const property = fc.property(
    fc.oneof(
      grammar,
      grammar.map((end) => `ab${end}`),
      address,
    ),
    (part) => {
      if (part.includes(';') || !multiserverAddress.check(part)) return
      count++
      const [decoded] = multiserverAddress.decode(part)
      const expected = decoded?.map(({ name, data }) => ({ name, rest: data.length === 0 ? null : data.join(':') }))
      if (JSON.stringify(splitAddress(part)) !== JSON.stringify(expected)) throw new Error(JSON.stringify(expected))
    },
  )
  assert(t, 'like decode', property, 4000)
  t.ok(count > 500, `${count} were compared`)
  t.end()
})

test('an IP address means the same host as in a URL', (t) => {
  const asHost = (text: string) => routesOf(`net:${text}:1~shs:${Buffer.alloc(32).toString('base64')}`)[0]?.host ?? null
  const asUrl = (text: string) => {
    try {
      return new URL(`http://${text}:1`).hostname.replace(/^\[(.*)\]$/, '$1')
    } catch {
      return null
    }
  }
  const v4 = fc.array(
    fc.constantFrom('0', '7', '08', '010', '0x', '0xFf', '127', '255', '256', '65536', '4294967295', 'a'),
    {
      minLength: 1,
      maxLength: 5,
    },
  )
  const isNumeric = (text: string) => /(?:^|\.)(?:\d+|0x[0-9a-f]*)\.?$/i.test(text)
  const property4 = fc.property(
    fc.oneof(
      v4.map((parts) => parts.join('.')),
      fc.ipV4Extended(),
    ),
    (text) => {
      // The URL reads an empty number, `0x`, as 0. getaddrinfo does not, and so we do not.
      if (!isNumeric(text) || /0x(?:\.|$)/i.test(text)) return
      if (asHost(text) !== asUrl(text)) throw new Error(`${asHost(text)} and ${asUrl(text)}`)
    },
  )
  assert(t, 'IPv4', property4, 5000)
  const group = fc.constantFrom('0', '0', '1', 'ffff', 'FFFF', '7f00', '0abc', '12345', '')
  const v6 = fc.array(group, { minLength: 2, maxLength: 9 }).map((groups) => groups.join(':'))
  const property6 = fc.property(fc.oneof(fc.ipV6(), v6), (text) => {
    // Mapped IPv4 is IPv4 here; `::1.2.3.4`, out of use since 2006, is taken for it by ipaddr.js.
    const expected = asUrl(`[${text}]`)
    if (!text.includes(':') || /^::ffff:[^:]+:[^:]+$/.test(expected ?? '') || /^::\d+\.\d+\.\d+\.\d+$/.test(text))
      return
    const got = asHost(text)
    if (got !== expected) throw new Error(`${got} and ${expected}`)
  })
  assert(t, 'IPv6', property6, 5000)
  t.end()
})

test('a feed id is what ssb-ref says, but for its wrong suffixes', (t) => {
  const good = bytes32.map((bytes) => `@${Buffer.from(bytes).toString('base64')}.ed25519`)
  const changed = fc
    .tuple(good, fc.nat(53), fc.nat(2), fc.constantFrom('', '=', 'A', 'B', '-', '@', '.', '\n', 'é'))
    .map(([id, at, length, patch]) => id.slice(0, at) + patch + id.slice(at + length))
  let count = 0
  const property = fc.property(fc.oneof(good, changed, fc.anything()), (value) => {
    const expected = ssbRef.isFeed(value) && String(value).endsWith('.ed25519')
    if (expected) count++
    if (isFeedId(value) !== expected) throw new Error(`isFeed: ${expected}`)
    if (expected && parseFeedId(value) !== value) throw new Error('changed')
  })
  assert(t, 'isFeedId', property, 5000)
  t.ok(count > 1000, `${count} feed ids`)
  const bare = fc.property(bytes32, (bytes) => {
    const text = Buffer.from(bytes).toString('base64')
    return parseFeedId(text) === `@${text}.ed25519` && !isFeedId(text)
  })
  assert(t, 'bare keys', bare)
  t.end()
})
