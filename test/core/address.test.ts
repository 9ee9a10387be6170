/** Every accepted form with the exact route it gives, every rejection, and hostile values of all kinds. */
import test = require('tape')

import { hostKey, hostKeyOf, isFeedId, isStrangerSafe, parseAddress, parseFeedId } from '../../src/core/address'
import { ConnectionManagerError, InvalidAddressError } from '../../src/core/errors'
import type { ParsedRoute, Scope } from '../../src/core/types'

const ALICE = 'AwEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE='
const BOB = 'bob/+AEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE='
const ROOM = 'RoomRoomRoomRoomRoomRoomRoomRoomRoomRoomRo0='
const SEED = 'SeedSeedSeedSeedSeedSeedSeedSeedSeedSeedSec='
const A = `~shs:${ALICE}`
const id = (key: string) => `@${key}.ed25519`

/** A route to alice; `host` and `port` by default those of `protocol:host:port~shs:KEY`. */
function route(address: string, scope: Scope, fields: Partial<ParsedRoute> = {}): ParsedRoute {
  const [, protocol = '', host, port] = /^([a-z-]+):(.*):([0-9]+)~/.exec(address) ?? [undefined, address.split(':')[0]]
  const given = scope === null ? { host: null, port: null } : { host: host ?? null, port: Number(port) }
  return { address, peer: id(ALICE), protocol, ...given, portal: null, scope, ...fields }
}

const PUB = route(`net:pub.example.com:8008${A}`, 'name')
const LOOPBACK = route(`net:127.0.0.1:8008${A}`, 'loopback')
const LOOPBACK_6 = route(`net:::1:8008${A}`, 'loopback')
const ONION = route(`onion:abcdefghij234567.onion:8008${A}`, 'name')
const TUNNEL = route(`tunnel:${id(ROOM)}:${id(ALICE)}${A}`, null, { portal: id(ROOM) })
const BLUETOOTH = route(`bt:65D900DDB353${A}`, null)

const ws = (address: string, host: string, port: number, scope: Scope = 'name') => route(address, scope, { host, port })

interface Accepted {
  readonly title: string
  readonly input: unknown
  readonly routes: readonly ParsedRoute[]
}

const one = (title: string, input: unknown, ...routes: ParsedRoute[]): Accepted => ({ title, input, routes })

const ACCEPTED: readonly Accepted[] = [
  // net
  one('host name', `net:pub.example.com:8008${A}`, PUB),
  one('IPv4', `net:127.0.0.1:8008${A}`, LOOPBACK),
  one('upper case', `net:Pub.EXAMPLE.com:8008${A}`, PUB),
  one('a root dot', `net:pub.example.com.:8008${A}`, PUB),
  one('white space around', `\n\t net:pub.example.com:8008${A} \r\n`, PUB),
  one('an underscore', `net:my_pub:1${A}`, route(`net:my_pub:1${A}`, 'name')),
  one('the highest port', `net:a.b:65535${A}`, route(`net:a.b:65535${A}`, 'name')),
  one('a label of 63', `net:${'x'.repeat(63)}:1${A}`, route(`net:${'x'.repeat(63)}:1${A}`, 'name')),
  one('a host of 253', `net:${'abc.'.repeat(63)}a:1${A}`, route(`net:${'abc.'.repeat(63)}a:1${A}`, 'name')),
  one('a host that objects inherit', `net:__proto__:1${A}`, route(`net:__proto__:1${A}`, 'name')),
  one('a key with @ and suffix', `net:pub.example.com:8008~shs:${id(ALICE)}`, PUB),
  one('the seed of an invite', `net:a.b:1${A}:${SEED}`, route(`net:a.b:1${A}:${SEED}`, 'name')),
  one('a seed behind an escaped colon', `net:a.b:1${A}!:${SEED}`, route(`net:a.b:1${A}:${SEED}`, 'name')),
  one('a later handshake', `net:a.b:1~shs2:${ALICE}:x!~`, route(`net:a.b:1~shs2:${ALICE}:x!~`, 'name')),

  // IPv6
  one('IPv6 as the stack writes it', `net:::1:8008${A}`, LOOPBACK_6),
  one('IPv6 as the grammar wants it', `net:!:!:1:8008${A}`, LOOPBACK_6),
  one('all colons escaped', `net:!:!:1!:8008${A}`, LOOPBACK_6),
  one('IPv6 in brackets', `net:[::1]:8008${A}`, LOOPBACK_6),
  one('IPv6 in full', `net:0:0:0:0:0:0:0:1:8008${A}`, LOOPBACK_6),
  one('IPv6 in upper case', `net:2606:4700:0::00AB:1${A}`, route(`net:2606:4700::ab:1${A}`, 'public')),
  one('mapped IPv4, as an inbound peer has', `net:::ffff:127.0.0.1:8008${A}`, LOOPBACK),
  one('mapped IPv4 in hex', `net:::FFFF:7f00:1:8008${A}`, LOOPBACK),
  one('a zone', `net:fe80::1%eth0:8008${A}`, route(`net:fe80::1%eth0:8008${A}`, 'linkLocal')),
  one('a zone keeps its case', `net:[FE80::1%br-LAN.2]:1${A}`, route(`net:fe80::1%br-LAN.2:1${A}`, 'linkLocal')),

  // IPv4 as resolvers read it
  one('IPv4 in two parts', `net:127.1:8008${A}`, LOOPBACK),
  one('IPv4 in hex', `net:0x7f.1:8008${A}`, LOOPBACK),
  one('IPv4 in upper hex', `net:0X7F000001:8008${A}`, LOOPBACK),
  one('IPv4 as a number', `net:2130706433:8008${A}`, LOOPBACK),
  one('IPv4 in octal', `net:0177.0.0.1:8008${A}`, LOOPBACK),
  one('IPv4 with a root dot', `net:127.0.0.1.:8008${A}`, LOOPBACK),

  // onion
  one('onion', `onion:abcdefghij234567.onion:8008${A}`, ONION),
  one('onion in upper case', `onion:ABCDEFGHIJ234567.onion:8008${A}`, ONION),
  one('a clear host over Tor', `onion:pub.example.com:8008${A}`, route(`onion:pub.example.com:8008${A}`, 'name')),

  // web sockets
  one('ws', `ws://pub.example.com:8989${A}`, ws(`ws://pub.example.com:8989${A}`, 'pub.example.com', 8989)),
  one(
    'ws without slashes',
    `ws:pub.example.com:8989${A}`,
    ws(`ws://pub.example.com:8989${A}`, 'pub.example.com', 8989),
  ),
  one('ws without a port', `ws://Pub.example.com${A}`, ws(`ws://pub.example.com${A}`, 'pub.example.com', 80)),
  one('ws with its own port', `ws://pub.example.com:80/${A}`, ws(`ws://pub.example.com${A}`, 'pub.example.com', 80)),
  one('ws at the port of wss', `ws://a.b:443${A}`, ws(`ws://a.b:443${A}`, 'a.b', 443)),
  one('wss without a port', `wss://a.b${A}`, ws(`wss://a.b${A}`, 'a.b', 443)),
  one('wss with its own port', `wss:a.b:443${A}`, ws(`wss://a.b${A}`, 'a.b', 443)),
  one('an empty port', `wss://a.b:/x${A}`, ws(`wss://a.b/x${A}`, 'a.b', 443)),
  one('ws with a path', `ws://a.b:1/x/Y?z=1&q=a:b${A}`, ws(`ws://a.b:1/x/Y?z=1&q=a:b${A}`, 'a.b', 1)),
  one('ws with a path as data', `ws:a.b:1:/x/Y${A}`, ws(`ws://a.b:1/x/Y${A}`, 'a.b', 1)),
  one('ws with a query only', `ws://a.b:1?z${A}`, ws(`ws://a.b:1/?z${A}`, 'a.b', 1)),
  one('ws with escapes', `ws://a.b:1/!~!!!:${A}`, ws(`ws://a.b:1/!~!!:${A}`, 'a.b', 1)),
  one('ws with IPv6', `ws://[::1]:8989${A}`, ws(`ws://[::1]:8989${A}`, '::1', 8989, 'loopback')),
  one(
    'ws with IPv6, no port',
    `ws://[2606:4700:0::1]/p${A}`,
    ws(`ws://[2606:4700::1]/p${A}`, '2606:4700::1', 80, 'public'),
  ),
  one('ws with bare IPv6', `ws:::1:8989${A}`, ws(`ws://[::1]:8989${A}`, '::1', 8989, 'loopback')),
  one('ws with IPv4 as a number', `ws://2130706433:80${A}`, ws(`ws://127.0.0.1${A}`, '127.0.0.1', 80, 'loopback')),

  // tunnel
  one('tunnel', `tunnel:${id(ROOM)}:${id(ALICE)}${A}`, TUNNEL),
  one('tunnel with bare keys', `tunnel:${ROOM}:${ALICE}${A}`, TUNNEL),
  one('tunnel without a key', `tunnel:${id(ROOM)}:${id(ALICE)}`, TUNNEL),
  one('the first instance', `tunnel:${id(ROOM)}:${id(ALICE)}:0${A}`, TUNNEL),
  one(
    'a further instance',
    `tunnel:${id(ROOM)}:${id(ALICE)}:02${A}`,
    route(`tunnel:${id(ROOM)}:${id(ALICE)}:2${A}`, null, { portal: id(ROOM) }),
  ),

  // without a host
  one('bluetooth', `bt:65D900DDB353${A}`, BLUETOOTH),
  one('bluetooth with colons', `bt:65:d9:00:dd:b3:53${A}`, BLUETOOTH),
  one('bluetooth with escaped colons', `bt:65!:d9!:00!:dd!:b3!:53${A}`, BLUETOOTH),
  one('bluetooth of another kind', `bt:6e-4f${A}`, route(`bt:6e-4f${A}`, null)),
  one('dht', `dht:${SEED}:${id(ALICE)}${A}`, route(`dht:${SEED}:${id(ALICE)}${A}`, null)),
  one('dht without a key', `dht:${SEED}:${id(ALICE)}`, route(`dht:${SEED}:${id(ALICE)}${A}`, null)),
  one('inbound dht, with the id of the other end', `dht:x:${id(BOB)}${A}`, route(`dht:x:${id(BOB)}${A}`, null)),
  one('unix', `unix:/home/a/.ssb/socket${A}`, route(`unix:/home/a/.ssb/socket${A}`, null)),
  one('unix, as older stacks wrote it', `unix:/a/socket:${A}`, route(`unix:/a/socket${A}`, null)),
  one('unix with escapes', `unix:/a!!b!~c!:d${A}`, route(`unix:/a!!b!~c:d${A}`, null)),
  one('noauth that says who', `unix:/a/s~noauth:${ALICE}`, route(`unix:/a/s~noauth:${ALICE}`, null)),
  one('noauth on a tunnel that says who', `tunnel:${id(ROOM)}:${id(ALICE)}~noauth`, {
    ...TUNNEL,
    address: `tunnel:${id(ROOM)}:${id(ALICE)}~noauth:${ALICE}`,
  }),
  one('rtc', `rtc:a.b:443${A}`, route(`rtc:a.b:443${A}`, 'name')),
  one('rtc of another form', `rtc:Some:Thing${A}`, route(`rtc:Some:Thing${A}`, null)),
  one('an unknown transport', `smoke-signal:Hill!:7!!${A}`, route(`smoke-signal:Hill:7!!${A}`, null)),
  one('an unknown transport alone', `smoke${A}`, route(`smoke${A}`, null, { protocol: 'smoke' })),
  one('to the letter, if unknown', `foo:A.B:1${A}`, route(`foo:A.B:1${A}`, 'name', { host: 'a.b' })),

  // the old forms
  one('host:port:@key', `pub.example.com:8008:${id(ALICE)}`, PUB),
  one('host:port:key', `pub.example.com:8008:${ALICE}`, PUB),
  one('[::1]:port:@key', `[::1]:8008:${id(ALICE)}`, LOOPBACK_6),
  one('::1:port:@key', `::1:8008:${id(ALICE)}`, LOOPBACK_6),
  one('an onion in the old form', `abcdefghij234567.onion:8008:${id(ALICE)}`, ONION),
  one('ws in the old form', `ws://a.b:81:${id(ALICE)}`, ws(`ws://a.b:81${A}`, 'a.b', 81)),
  one('a host named net', `net:8008:${id(ALICE)}`, route(`net:net:8008${A}`, 'name')),
  one('{host, port, key}', { host: 'pub.example.com', port: 8008, key: id(ALICE) }, PUB),
  one('{host, port, key} with text', { host: ' PUB.example.com ', port: '8008', key: ALICE }, PUB),
  one('{host, port, key} with IPv6', { host: '::1', port: 8008, key: ALICE }, LOOPBACK_6),
  one('{host, port, key} with brackets', { host: '[::1]', port: 8008, key: ALICE }, LOOPBACK_6),
  one('{host, port, key} with an onion', { host: 'abcdefghij234567.onion', port: 8008, key: ALICE }, ONION),
  one(
    '{host, port, key} with ws',
    { host: 'ws://[::1]', port: 80, key: ALICE },
    ws(`ws://[::1]${A}`, '::1', 80, 'loopback'),
  ),
  one('{address}', { address: PUB.address }, PUB),
  one('{address, key}', { address: PUB.address, key: id(ALICE) }, PUB),
  one('{address, bare key}', { address: PUB.address, key: ALICE }, PUB),
  one('an entry of gossip.json', { address: PUB.address, key: id(ALICE), host: 'x', port: 1, source: 'pub' }, PUB),
  one('an entry with nulls', { address: PUB.address, key: null, host: null }, PUB),
  one('{address, key}, the address without', { address: 'net:pub.example.com:8008', key: ALICE }, PUB),
  one('{address, key}, noauth', { address: 'unix:/a~noauth', key: ALICE }, route(`unix:/a~noauth:${ALICE}`, null)),
  one('an object without prototype', Object.assign(Object.create(null), { address: PUB.address }), PUB),

  // lists
  one('a list in its order', `${TUNNEL.address};${PUB.address};${ONION.address}`, TUNNEL, PUB, ONION),
  one('a list in another order', `${ONION.address};${TUNNEL.address};${PUB.address}`, ONION, TUNNEL, PUB),
  one('a list of old and new', `pub.example.com:8008:${ALICE} ; ${ONION.address}`, PUB, ONION),
  one('empty parts', `;;${PUB.address};;`, PUB),
  one('the same route twice', `${PUB.address};NET;net:PUB.example.com.:8008${A}`, PUB),
  one('a part without a key', `smoke:signal;${PUB.address};net:a.b:1`, PUB),
  one('a part with a bad port', `net:a.b:0${A};${PUB.address}`, PUB),
  one('a bad part of another peer', `net:a.b:0~shs:${BOB};${PUB.address}`, PUB),
  one('a key for all parts', { address: `net:pub.example.com:8008;${ONION.address}`, key: ALICE }, PUB, ONION),
  one(
    'eight parts',
    [1, 2, 3, 4, 5, 6, 7, 8].map((port) => `net:a.b:${port}${A}`).join(';'),
    ...[1, 2, 3, 4, 5, 6, 7, 8].map((port) => route(`net:a.b:${port}${A}`, 'name')),
  ),
]

test('every known form of an address gives its route, field by field', (t) => {
  for (const { title, input, routes } of ACCEPTED) t.deepEqual(parseAddress(input), routes, title)
  t.end()
})

test('the address of a route names the same route', (t) => {
  for (const { title, routes } of ACCEPTED)
    for (const each of routes) t.deepEqual(parseAddress(each.address), [each], title)
  t.end()
})

test('what multiserver makes of the address is what the route says', (t) => {
  // The plugins that secret-stack brings with it; they have no types.
  const load = (name: string) => require(require.resolve(name, { paths: [require.resolve('secret-stack')] }))
  const transports = [load('multiserver/plugins/net')({}), load('multiserver/plugins/onion')({})]
  const web = load('multiserver/plugins/ws')({})
  const unescapeParts = load('separator-escape')('~', '!').parse as (address: string) => string[]
  let count = 0
  for (const each of ACCEPTED.flatMap(({ routes }) => routes)) {
    const [transport = '', transform = '', ...more] = unescapeParts(each.address)
    t.deepEqual(each.address.split(';'), [each.address], 'multiserver does not split it')
    t.deepEqual(more, [], 'one transform')
    t.ok(transform.includes(each.peer.slice(1, 45)), 'the key')
    if (/^(net|onion):/.test(transport)) {
      const expected = { name: each.protocol, host: each.host, port: each.port }
      t.deepEqual(transports.map((plugin) => plugin.parse(transport)).find(Boolean), expected, each.address)
      count++
    } else if (/^wss?:/.test(transport)) {
      const { protocol, hostname, port, hash, auth } = web.parse(transport)
      const defaultPort = protocol === 'wss:' ? 443 : 80
      const got = { protocol, hostname, port: Number(port ?? defaultPort), hash, auth }
      const expected = { protocol: `${each.protocol}:`, hostname: each.host, port: each.port, hash: null, auth: null }
      t.deepEqual(got, expected, each.address)
      count++
    }
  }
  t.ok(count > 50, 'many were compared')
  t.end()
})

interface Rejected {
  readonly title: string
  readonly input: unknown
  /** What the message says is wrong. */
  readonly reason: RegExp
}

const no = (title: string, input: unknown, reason: RegExp): Rejected => ({ title, input, reason })

const REJECTED: readonly Rejected[] = [
  no('nothing', '', /: empty$/),
  no('white space', ' \n ', /: empty$/),
  no('separators', ';; ;', /: empty$/),
  no('a word', 'foo', /no "~shs:KEY"/),
  no('a feed id', id(ALICE), /no host and port before the key/),
  no('a bare key', ALICE, /no host and port before the key/),
  no('an http URL', 'http://example.com', /no "~shs:KEY"/),
  no('no key', 'net:a.b:8008', /no "~shs:KEY"/),
  no('noauth, and no key anywhere', 'unix:/a~noauth', /no key after "~noauth"/),
  no('noauth with a bad key', 'unix:/a~noauth:x', /no key after "~noauth"/),
  no('noauth with a list', `unix:/a~noauth:${ALICE}:${BOB}`, /no key after "~noauth"/),
  no('an unknown transform', `net:a.b:1~foo:${ALICE}`, /"~foo" carries no key/),
  no('two transforms', `net:a.b:1~noauth${A}`, /more than one "~"/),
  no('no transport', `shs:${ALICE}`, /no host and port|no transport/),
  no('only keys', `shs:x${A}`, /no transport before the key/),
  no('a key that is short', 'net:a.b:1~shs:AAAA', /not canonical base64/),
  no('a key of 33 bytes', `net:a.b:1~shs:${'A'.repeat(44)}`, /not canonical base64/),
  no('a key without padding', `net:a.b:1~shs:${ALICE.slice(0, -1)}`, /not canonical base64/),
  no('a key with loose bits', `net:a.b:1~shs:${'A'.repeat(42)}B=`, /not canonical base64/),
  no('a key in URL-safe letters', `net:a.b:1~shs:${'-_'.repeat(21)}A=`, /not canonical base64/),
  no('an empty key', 'net:a.b:1~shs:', /not canonical base64/),
  no('shs alone', 'net:a.b:1~shs', /not canonical base64/),
  no('a bad seed', `net:a.b:1${A}:seed`, /seed/),
  no('more than a seed', `net:a.b:1${A}:${SEED}:${SEED}`, /seed/),
  no('no port', `net:a.b${A}`, /no port/),
  no('an empty port', `net:a.b:${A}`, /"" is not a port/),
  no('port 0', `net:a.b:0${A}`, /"0" is not a port/),
  no('port 65536', `net:a.b:65536${A}`, /"65536" is not a port/),
  no('a port that multiserver would take', `net:a.b:1e3${A}`, /"1e3" is not a port/),
  no('a port with a zero before it', `net:a.b:08008${A}`, /"08008" is not a port/),
  no('an empty host, localhost to multiserver', `net::8008${A}`, /"" is not a host/),
  no('two hosts', `net:a.b:c.d:8008${A}`, /"a.b:c.d" is not a host/),
  no('a number that is no IPv4', `net:4294967296:1${A}`, /is not a host/),
  no('five numbers', `net:1.2.3.4.5:1${A}`, /is not a host/),
  no('an octet of 256', `net:1.2.3.256:1${A}`, /is not a host/),
  no('no octal', `net:192.168.008.1:1${A}`, /is not a host/),
  no('a zone on a public address', `net:2606:4700::1%eth0:1${A}`, /is not a host/),
  no('an empty zone', `net:fe80::1%:1${A}`, /is not a host/),
  no('a zone in a URL', `ws://[fe80::1%eth0]:1${A}`, /interface/),
  no('a hyphen in front', `net:-a.b:1${A}`, /is not a host/),
  no('an empty label', `net:a..b:1${A}`, /is not a host/),
  no('two root dots', `net:a.b..:1${A}`, /is not a host/),
  no('a label of 64', `net:${'x'.repeat(64)}.b:1${A}`, /is not a host/),
  no('a host of 254', `net:${'abc.'.repeat(63)}ab:1${A}`, /is not a host/),
  no('letters outside ASCII', `net:bücher.example:1${A}`, /not a multiserver address/),
  no('a space in the host', `net:a b:1${A}`, /not a multiserver address/),
  no('an escape of nothing special', `unix:/a!b${A}`, /not a multiserver address/),
  no('an upper case transport', `NET:a.b:1${A}`, /not a multiserver address/),
  no('a transport that objects inherit', `constructor:a.b:1${A}`, /not the name of a transport/),
  no('a long transport', `${'x'.repeat(33)}:a.b:1${A}`, /not the name of a transport/),
  no('a user in a URL', `ws://a.b:80@127.0.0.1${A}`, /is not a host/),
  no('a backslash in a URL', `ws://a.b\\@127.0.0.1${A}`, /is not a host/),
  no('a backslash in a path', `ws://a.b/x\\y${A}`, /character that a URL may not have/),
  no('a fragment', `ws://a.b/x#y${A}`, /character that a URL may not have/),
  no('the origin of a page on disk', `ws:null${A}`, /no port/),
  no('no host in a URL', `ws:///x${A}`, /is not a host/),
  no('a tunnel to another peer', `tunnel:${id(ROOM)}:${id(BOB)}${A}`, /tunnel ends at another peer/),
  no('a tunnel through nobody', `tunnel:${id(ALICE)}${A}`, /tunnel:@PORTAL:@TARGET/),
  no('a tunnel with a bad instance', `tunnel:${ROOM}:${ALICE}:x${A}`, /tunnel:@PORTAL:@TARGET/),
  no('a tunnel with more', `tunnel:${ROOM}:${ALICE}:1:2${A}`, /tunnel:@PORTAL:@TARGET/),
  no('no bluetooth device', `bt${A}`, /no device/),
  no('no channel', `dht:${A}`, /no channel/),
  no('no path', `unix:${A}`, /no path/),
  no('only colons for a path', `unix:/a::${A}`, /no path/),
  no('an escaped separator', `unix:/a!;b${A}`, /";" in an address cannot be dialed/),
  no('nine parts', `net:a.b:1${A};`.repeat(9), /more than 8/),
  no('2049 characters', `${PUB.address};`.padEnd(2049, ' '), /longer than 2048/),
  no('1025 characters', `unix:/${'x'.repeat(1025 - 6 - A.length)}${A}`, /longer than 1024/),
  no('two peers', `net:a.b:1${A};net:a.b:1~shs:${BOB}`, /different peers/),
  no('a list of bad parts', `net:a.b:0${A};foo;bar`, /"0" is not a port/),
  no('a key for another peer', { address: PUB.address, key: BOB }, /its key is not the one/),
  no('a key for one part of two', { address: `net:a.b:1;net:a.b:1~shs:${BOB}`, key: ALICE }, /its key is not the one/),
  no('a bad key beside a good one', { address: PUB.address, key: 'x' }, /its key should be a feed id and is "x"/),
  no(
    'an address in an address',
    { address: { host: 'a.b', port: 1, key: ALICE } },
    /should be a string and is an object/,
  ),
  no('no port in the object', { host: 'a.b', key: ALICE }, /its port should be a number and is undefined/),
  no('no host in the object', { port: 1, key: ALICE }, /its host should be a string and is undefined/),
  no('no key in the object', { host: 'a.b', port: 1 }, /its key is not a feed id/),
  no('half a port', { host: 'a.b', port: 8008.5, key: ALICE }, /"8008.5" is not a port/),
  no('a path in the port', { host: 'ws://a.b', port: '80/é', key: ALICE }, /is not a port/),
  no('a path in the host', { host: 'ws://a.b:1/é', port: 80, key: ALICE }, /is not a host/),
  no('an address in the host', { host: `a.b:1${A};net:a.b`, port: 80, key: ALICE }, /is not a host/),
  no('a huge host', { host: 'x'.repeat(2049), port: 1, key: ALICE }, /longer than 2048/),
  no('noauth that says somebody else', { address: `unix:/a~noauth:${BOB}`, key: ALICE }, /its key is not the one/),
  no(
    'a tunnel without a key to another peer',
    { address: `tunnel:${ROOM}:${BOB}`, key: ALICE },
    /its key is not the one/,
  ),
  no('a dht channel of another peer', { address: `dht:x:${id(BOB)}`, key: ALICE }, /its key is not the one/),
  no('an address for the old form', `net:a.b:8008:${id(ALICE)}`, /"net:a.b" is not a host/),
  no('the Kelvin sign, k in lower case', { host: 'lo\u212Aal', port: 1, key: ALICE }, /is not a host/),
  no('an array', [PUB.address], /neither a string nor an object/),
  no('null', null, /received null: neither/),
  no('undefined', undefined, /received undefined: neither/),
  no('a number', 8008, /received 8008: neither/),
]

function rejection(input: unknown): unknown {
  try {
    return parseAddress(input)
  } catch (error) {
    return error
  }
}

test('what can never be dialed is refused with the reason', (t) => {
  for (const { title, input, reason } of REJECTED) {
    const error = rejection(input)
    if (!(error instanceof InvalidAddressError)) t.fail(`${title}: ${String(error)}`)
    else t.match(error.message, reason, title)
  }
  t.end()
})

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

function trap(name: keyof ProxyHandler<object>): unknown {
  const throws = () => {
    throw new Error(`${name} is a trap`)
  }
  return new Proxy({}, { [name]: throws })
}

function getter(key: string, fields: object = {}): unknown {
  return Object.defineProperty({ ...fields }, key, {
    enumerable: true,
    get() {
      throw new TypeError('not for you')
    },
  })
}

const CYCLE: Record<string, unknown> = {}
CYCLE.address = CYCLE

const NO_ADDRESS: readonly unknown[] = [
  ...[0, -0, 1, -1, 8008, 0.5, 1e300, NaN, Infinity, -Infinity, BigInt(8008), BigInt(2) ** BigInt(20_000)],
  ...[true, false, null, undefined, Symbol('net'), Symbol.iterator, Symbol('x'.repeat(100_000))],
  ...[() => PUB.address, class Address {}, Object, String, parseAddress, async () => PUB.address],
  ...[
    [],
    [[]],
    [[[PUB.address]]],
    [PUB.address, PUB.address],
    new Array(1e6),
    Array.from({ length: 1000 }, () => 'foo'),
  ],
  ...[
    {},
    { ...PUB, address: undefined },
    { address: 1 },
    { address: [PUB.address] },
    { address: '' },
    { address: CYCLE },
  ],
  ...[CYCLE, new Date(0), /net/, new Map([['address', PUB.address]]), new Set([PUB.address]), new WeakMap()],
  ...[new Uint8Array(44), new ArrayBuffer(8), Buffer.from(PUB.address), Promise.resolve(1), new Error(PUB.address)],
  ...[new String(PUB.address), new Number(1), Object(Symbol('a')), globalThis, Math, JSON, Reflect, process],
  ...[revoked(), trap('get'), trap('ownKeys'), trap('getPrototypeOf'), trap('has'), new Proxy([], {})],
  ...[new Proxy(() => 1, {}), new Proxy({}, { get: () => PUB }), { address: revoked() }, [revoked()]],
  ...[getter('address'), getter('key'), getter('host', { key: ALICE }), getter('port', { host: 'a.b', key: ALICE })],
  ...[
    getter('toString'),
    getter('toJSON'),
    { toString: () => PUB.address },
    { [Symbol.toPrimitive]: () => PUB.address },
  ],
  {
    get [Symbol.toStringTag]() {
      throw new Error('tag')
    },
  },
  ...[
    { address: getter('x') },
    { host: getter('x'), port: 1, key: ALICE },
    { host: 'a.b', port: getter('x'), key: ALICE },
  ],
  ...[
    { host: 'a.b', port: revoked(), key: ALICE },
    { host: 'a.b', port: 1, key: revoked() },
    { address: 'x', key: {} },
  ],
  ...[
    { host: 'a.b', port: Symbol('p'), key: ALICE },
    { host: 'a.b', port: BigInt(8008), key: ALICE },
  ],
  ...[
    { host: 'a.b', port: '0x50', key: ALICE },
    { host: 'a.b', port: -1, key: ALICE },
    { host: 'a.b', port: '', key: ALICE },
  ],
  ...[
    { host: 'a.b', port: NaN, key: ALICE },
    { host: 'a.b', port: 65536, key: ALICE },
    { host: 'a.b', port: 1e21, key: ALICE },
  ],
  ...[
    { host: '', port: 1, key: ALICE },
    { host: 'x'.repeat(1e6), port: 1, key: ALICE },
    { host: '.', port: 1, key: ALICE },
  ],
  ...[
    { host: 'a.b', port: '1'.repeat(1e6), key: ALICE },
    { host: 'a.b', port: 1, key: 'A'.repeat(1e6) },
  ],
  ...[
    { host: 'a.b', port: 1, key: [ALICE] },
    { host: ['a.b'], port: 1, key: ALICE },
    { host: 'a.b', port: [1], key: ALICE },
  ],
  ...[
    { host: 'a.b', port: 1, key: `${ALICE}\n` },
    { host: 'a.b\n', port: 1, key: `@${ALICE}.sha256` },
  ],
  ...[JSON.parse('{"__proto__": {"address": "x"}}'), JSON.parse('{"constructor": 1, "__proto__": 2}')],
  ...[
    'constructor',
    '__proto__',
    'hasOwnProperty',
    'toString',
    'prototype',
    'constructor:prototype',
    'null',
    'undefined',
  ],
  ...[
    'NaN',
    '[object Object]',
    '{}',
    '[]',
    '@',
    '~',
    ':',
    '!',
    '::',
    '~~',
    '!!',
    '!~',
    ':~:',
    '@.ed25519',
    '~shs',
    ':::',
  ],
  ...[`~shs:${ALICE}`, `:${A}`, `:::${A}`, `a${'~'.repeat(50)}`, `net${A}`, `net:${A}`, `net::${A}`, `net:::${A}`],
  ...[
    `net:a.b:-1${A}`,
    `net:a.b:+1${A}`,
    `net:a.b:1.0${A}`,
    `net:a.b:8008abc${A}`,
    `net:a.b:0x1f48${A}`,
    `net:a.b:١${A}`,
  ],
  ...[`net:a.b:8008\0${A}`, `net:a\0.b:8008${A}`, `\0net:a.b:8008${A}`, `net:a.b:8008${A}\0`, `net:a.b\r\n:8008${A}`],
  ...[`net:a.b:8008~shs:${ALICE}x`, `net:a.b:8008~shs:x${ALICE}`, `net:a.b:8008~shs:${ALICE}${ALICE}`],
  ...[
    `net:a.b:8008~shs: ${ALICE}`,
    `net:a.b:8008~ shs:${ALICE}`,
    `net:a.b:8008 ~shs:${ALICE}`,
    `net:a.b:8008~SHS:${ALICE}`,
  ],
  ...[
    `net:a\u202Eb:8008${A}`,
    `net:a\u200Bb:8008${A}`,
    `net:\uFEFFa.b:8008${A}`,
    `net:а.b:8008${A}`,
    `nеt:a.b:8008${A}`,
  ],
  ...[
    `net:127。0。0。1:8008${A}`,
    `net:①②⑦.0.0.1:8008${A}`,
    `net:a.b：8008${A}`,
    `net:a.b:8008～shs:${ALICE}`,
    '\ud800',
    '\udfff',
  ],
  ...[
    `net:a%00.b:8008${A}`,
    `net:%61.b:8008${A}`,
    `net:a@b:8008${A}`,
    `net:a/b:8008${A}`,
    `net:a*b:8008${A}`,
    `net:$(x):1${A}`,
  ],
  ...[`net:[::1:8008${A}`, `net:::1]:8008${A}`, `net:[[::1]]:8008${A}`, `net:[a.b]:8008${A}`, `net:1::2::3:8008${A}`],
  ...[
    `net:::ffff:1.2.3:8008${A}`,
    `net:12345::1:8008${A}`,
    `net:fe80::1%a%b:1${A}`,
    `net:fe80::1%a/b:1${A}`,
    `net:::ffff:1.2.3.4%a:1${A}`,
  ],
  ...[
    `ws://${A}`,
    `ws://:80${A}`,
    `ws:///${A}`,
    `ws://a.b:99999${A}`,
    `ws://a.b:80:80${A}`,
    `ws://[::1${A}`,
    `ws://u:p@a.b${A}`,
  ],
  ...[
    `ws:http://a.b${A}`,
    `wss:${A}`,
    `ws://a.b%2f@c${A}`,
    `ws://[::1]x:80${A}`,
    `ws://a.b:80#${A}`,
    `ws://a.b\t:80${A}`,
  ],
  ...[
    `tunnel:${A}`,
    `tunnel:@x:@y${A}`,
    `tunnel:${id(ROOM)}${A}`,
    `tunnel:${id(ROOM)}:${A}`,
    `tunnel::${id(ALICE)}${A}`,
  ],
  ...[
    'x'.repeat(1 << 20),
    ' '.repeat(1 << 20),
    ';'.repeat(1 << 20),
    '~'.repeat(1 << 20),
    '!'.repeat(1 << 20),
    '\0'.repeat(1 << 20),
  ],
  ...[
    `net:${'a'.repeat(1 << 20)}:1${A}`,
    `net:${'a.'.repeat(999)}:1${A}`,
    `net:${'1.'.repeat(500)}1:1${A}`,
    `net:${'9'.repeat(1500)}:1${A}`,
  ],
  ...[
    `net:${'f:'.repeat(900)}1:1${A}`,
    `net:${'::'.repeat(900)}1:1${A}`,
    `net:${'!:'.repeat(900)}1:1${A}`,
    `a:${':'.repeat(2000)}`,
  ],
  ...[
    `net:${'0x'.repeat(120)}:1${A}`,
    `net:${'a-'.repeat(126)}:1${A}`,
    'a!'.repeat(1000),
    'a~'.repeat(1000),
    ':a'.repeat(1000),
  ],
]

test('whatever comes, the only error is InvalidAddressError, with bounded text that survives JSON', (t) => {
  t.ok(NO_ADDRESS.length >= 100, 'many hostile values')
  for (const [index, input] of NO_ADDRESS.entries()) {
    const error = rejection(input)
    const title = `number ${index}`
    if (!(error instanceof InvalidAddressError)) {
      t.fail(`${title}: ${typeof input} gave ${JSON.stringify(error)}`)
      continue
    }
    const { name, code, address, message } = JSON.parse(JSON.stringify(error))
    const isRight =
      error instanceof ConnectionManagerError &&
      error.code === 'ERR_INVALID_ADDRESS' &&
      name === 'InvalidAddressError' &&
      code === error.code &&
      message.length < 800 &&
      address.length <= 200
    t.ok(isRight, `${title}: ${message.slice(-80)}`)
  }
  t.end()
})

test('a getter is asked once', (t) => {
  const asked: string[] = []
  const input = new Proxy(
    {},
    {
      get(_, key) {
        asked.push(String(key))
        return key === 'address' ? PUB.address : undefined
      },
    },
  )
  t.deepEqual(parseAddress(input), [PUB])
  t.deepEqual(asked.sort(), ['address', 'host', 'key', 'port'])
  t.end()
})

const SCOPES: ReadonlyArray<readonly [host: string, scope: Scope, canonical?: string]> = [
  ['localhost', 'loopback'],
  ['LOCALHOST.', 'loopback', 'localhost'],
  ['a.localhost', 'loopback'],
  ['localhost.localdomain', 'loopback'],
  ['ip6-localhost', 'loopback'],
  ['ip6-loopback', 'loopback'],
  ['localhost6', 'loopback'],
  ['mylocalhost', 'name'],
  ['localhost.example.com', 'name'],
  ['127.255.255.254', 'loopback'],
  ['::1', 'loopback'],
  ['::ffff:127.0.0.1', 'loopback', '127.0.0.1'],
  ['printer.local', 'linkLocal'],
  ['local', 'name'],
  ['alocal', 'name'],
  ['169.254.1.1', 'linkLocal'],
  ['fe80::1', 'linkLocal'],
  ['febf::1', 'linkLocal'],
  ['10.0.0.1', 'private'],
  ['172.16.0.1', 'private'],
  ['172.31.255.255', 'private'],
  ['172.32.0.1', 'public'],
  ['192.168.0.1', 'private'],
  ['100.64.0.1', 'private'],
  ['100.128.0.1', 'public'],
  ['fc00::1', 'private'],
  ['fd12:3456::1', 'private'],
  ['fec0::1', 'private'],
  ['::ffff:10.0.0.1', 'private', '10.0.0.1'],
  ['::ffff:a00:1', 'private', '10.0.0.1'],
  ['nas.home.arpa', 'private'],
  ['nas.lan', 'private'],
  ['db.internal', 'private'],
  ['lan', 'name'],
  ['224.0.0.1', 'multicast'],
  ['ff02::1', 'multicast'],
  ['0.0.0.0', 'unspecified'],
  ['0', 'unspecified', '0.0.0.0'],
  ['0.1.2.3', 'unspecified'],
  ['::', 'unspecified'],
  ['255.255.255.255', 'reserved'],
  ['240.0.0.1', 'reserved'],
  ['192.0.2.1', 'reserved'],
  ['198.18.0.1', 'reserved'],
  ['2001:db8::1', 'reserved'],
  ['100::1', 'reserved'],
  ['::2', 'reserved'],
  ['4000::1', 'reserved'],
  ['2001::1', 'reserved'],
  ['8.8.8.8', 'public'],
  ['2606:4700:4700::1111', 'public'],
  ['3ffe::1', 'public'],
  ['64:ff9b::8.8.8.8', 'public', '64:ff9b::808:808'],
  ['64:ff9b::10.0.0.1', 'private', '64:ff9b::a00:1'],
  ['64:ff9b:1::8.8.8.8', 'private', '64:ff9b:1::808:808'],
  ['2002:7f00:1::', 'loopback'],
  ['2002:c0a8:101::1', 'private'],
  ['2002:808:808::1', 'public'],
  ['::ffff:0:127.0.0.1', 'loopback', '::ffff:0:7f00:1'],
  ['pub.example.com', 'name'],
  ['xn--bcher-kva.example', 'name'],
]

test('the scope of a host is what the IANA registries and the resolvers say', (t) => {
  for (const [host, scope, canonical = host] of SCOPES) {
    for (const address of [`net:${host}:1${A}`, `onion:${host}:1${A}`, `${host}:1:${ALICE}`, `wss:${host}:1${A}`]) {
      const [got] = parseAddress(address)
      t.deepEqual([got?.host, got?.scope], [canonical, scope], address.slice(0, -ALICE.length))
    }
  }
  t.end()
})

test('an address from a stranger is dialed only where it leads out of this machine and this network', (t) => {
  for (const [host, scope] of SCOPES)
    for (const address of [`net:${host}:1${A}`, `ws:${host}:1${A}`, `foo:${host}:1${A}`]) {
      const [got] = parseAddress(address)
      t.equal(got && isStrangerSafe(got), scope === 'public' || scope === 'name', address.slice(0, -ALICE.length))
    }
  const others: ReadonlyArray<readonly [address: string, isSafe: boolean]> = [
    [TUNNEL.address, true],
    [`dht:x${A}`, true],
    [`rtc:x${A}`, true],
    [`rtc:192.168.1.1:1${A}`, false],
    [ONION.address, true],
    [BLUETOOTH.address, false],
    [`unix:/a${A}`, false],
    [`foo:localhost${A}`, false],
    [`net:a.b:1~noauth:${ALICE}`, false],
    [`tunnel:${ROOM}:${ALICE}~noauth`, false],
  ]
  for (const [address, isSafe] of others) {
    const [got] = parseAddress(address)
    t.equal(got && isStrangerSafe(got), isSafe, address.slice(0, 30))
  }
  t.end()
})

test('one destination has one host key, however it is written and whatever transport leads there', (t) => {
  const keys = (addresses: readonly string[]) => addresses.map((address) => hostKey(parseAddress(address)[0]!))
  const same = [
    `net:127.0.0.1:80${A}`,
    `net:0x7f.1:80${A}`,
    `ws:127.1${A}`.replace('127.1', '//127.1'),
    `onion:127.0.0.1.:80${A}`,
  ]
  t.deepEqual(
    same.map((address) => hostKeyOf(parseAddress(address)[0]!.address)),
    keys(same),
    'from the canonical address alone, too',
  )
  t.equal(hostKeyOf(`soon:[::1]:80${A}`), '::1:80', 'of a transport that is not known yet')
  t.deepEqual(keys([...same, `net:::ffff:127.0.0.1:80~shs:${BOB}`]), Array(5).fill('127.0.0.1:80'))
  t.deepEqual(keys([`net:::1:80${A}`, `ws://[0::1]${A}`]), ['::1:80', '::1:80'])
  t.deepEqual(keys([TUNNEL.address, BLUETOOTH.address, `dht:x${A}`, `unix:/a${A}`]), [null, null, null, null])
  t.end()
})

const FEED_IDS: ReadonlyArray<readonly [input: unknown, id: string | null]> = [
  [id(ALICE), id(ALICE)],
  [ALICE, id(ALICE)],
  [`@${ALICE}`, null],
  [`${ALICE}.ed25519`, null],
  [` ${id(ALICE)}`, null],
  [`${id(ALICE)}\n`, null],
  [`@${ALICE}.sha256`, null],
  [`@${ALICE}Xed25519`, null],
  [`@${ALICE}.ed25519.ed25519`, null],
  [`%${ALICE}.ed25519`, null],
  [`@${'A'.repeat(42)}B=.ed25519`, null],
  [`@${'A'.repeat(44)}.ed25519`, null],
  [`@${'-'.repeat(42)}A=.ed25519`, null],
  [id(id(ALICE)), null],
  ['', null],
  ['@.ed25519', null],
  ['x'.repeat(1 << 20), null],
  [null, null],
  [undefined, null],
  [[ALICE], null],
  [{ toString: () => id(ALICE) }, null],
  [Symbol('a'), null],
  [revoked(), null],
  [53, null],
]

test('a feed id is canonical base64 of 32 bytes, in full or bare', (t) => {
  for (const [index, [input, expected]] of FEED_IDS.entries()) {
    t.equal(parseFeedId(input), expected, `number ${index}`)
    t.equal(isFeedId(input), expected !== null && input === expected, `number ${index}, in full`)
  }
  t.end()
})
