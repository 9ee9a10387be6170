/**
 * The one parser of addresses: multiserver addresses, and the `host:port:key` forms from before them. It stands at the
 * edge: every address that enters the manager passes here once, and everything behind works with its `ParsedRoute`s. It
 * does not resolve names, and does not know which transports the stack has.
 *
 * Most of its input is written by strangers (messages of pubs, rooms, beacons), so length is bounded before anything
 * else looks at it, every step takes linear time, and each route has one spelling: a stranger who writes a host in five
 * ways gets one route, one throttle and one scope.
 *
 * The spelling is the one that dials. multiserver 3 splits a list at every `;`, whether escaped or not, takes a part
 * apart at `~`, dropping each escaping `!`, and hands the rest to a transport that splits at `:`. Hence `net:::1:8008`,
 * as the stack itself writes it, and not `net:!:!:1:8008`, which the grammar of multiserver-address would ask for: both
 * read the same here and there.
 *
 * The grammar is checked by multiserver-address; taking apart what it accepted is done here. Its `decode` takes 0.4 ms
 * for a usual address and 300 ms for 2000 letters in a row (quadratic), its `check` 0.2 µs (an unambiguous regular
 * expression: 0.3 ms for 20 000 characters of the worst kind). A whole parse takes 3 µs, 9 µs with IPv6, and below 0.1
 * ms whatever text comes. The tests compare `splitAddress` with `decode`.
 */
import ipaddr = require('ipaddr.js')
import isCanonicalBase64 = require('is-canonical-base64')
import multiserverAddress = require('multiserver-address')

import { describe, InvalidAddressError } from './errors'
import { own } from './own'
import type { Address, FeedId, ParsedRoute, Scope } from './types'

/** In UTF-16 units, before trimming. Eight addresses of tunnels, the longest usual ones, have 1311. */
const MAX_LENGTH = 2048
const MAX_PARTS = 8
/** Of one canonical address. It leaves the parser room to add a key and still accept its own output. */
const MAX_ADDRESS = 1024
/** RFC 1035, 2.3.4, as text. */
const MAX_HOST = 253
/** The limit that options.ts sets for the names of slot classes. */
const MAX_PROTOCOL = 32

const KEY_LENGTH = 44
const FEED_ID_LENGTH = 53
const KEY = isCanonicalBase64('', '', 32)
const FEED_ID = isCanonicalBase64('@', '\\.ed25519', 32)

/** A clause that says what is wrong with an address; a value, because a list may do without its bad parts. */
type Reason = string

interface Host {
  readonly host: string
  readonly scope: Exclude<Scope, null>
}

/** A transport read, with `rest` in canonical spelling: what follows its name, unescaped; null if nothing does. */
interface Transport {
  readonly rest: string | null
  readonly host: string | null
  readonly port: number | null
  readonly scope: Scope
  readonly portal: FeedId | null
  /** The peer that the transport itself names, as tunnels do; it stands in for a missing key. */
  readonly peer: FeedId | null
}

/** One link of the chain in an address, as the stack hands it to its transport or transform. */
export interface Protocol {
  readonly name: string
  /** All that follows the name and its colon, with the escapes gone; null without a colon. */
  readonly rest: string | null
}

const NOTHING: Protocol = { name: '', rest: null }

/**
 * The canonical feed id, `@…=.ed25519`, of a feed id or a bare key (canonical base64 of 32 bytes); null for all else.
 * Never throws. Nothing is trimmed. Stricter than ssb-ref's isFeed, which takes `.sha256`, and `Xed25519` for
 * `.ed25519`.
 */
export function parseFeedId(input: unknown): FeedId | null {
  if (typeof input !== 'string') return null
  if (input.length === FEED_ID_LENGTH && FEED_ID.test(input)) return input
  return isKey(input) ? `@${input}.ed25519` : null
}

function isKey(text: string): boolean {
  return text.length === KEY_LENGTH && KEY.test(text)
}

/** Is it a feed id in canonical form? A bare key is not. */
export function isFeedId(input: unknown): boolean {
  return typeof input === 'string' && input.length === FEED_ID_LENGTH && FEED_ID.test(input)
}

/**
 * The routes that an address names, in its order, without duplicates; at least one, all to the same peer. It takes
 * - a multiserver address, or up to eight joined by `;`: parts that can never be dialed are left out while one remains
 * - `host:port:@key.ed25519`, `host:port:key`, also with `[::1]` or `ws://host` for the host
 * - `{host, port, key}`, and `{address, key}` with the key optional: added where the address has none, else it must
 *   match
 *
 * `parseAddress(route.address)` gives the same route again. Throws InvalidAddressError, and nothing else, for all other
 * input, whatever it is. Sources: README of multiserver-address, the transports of multiserver 3, ssb-tunnel,
 * ssb-room-client 2, multiserver-bluetooth and multiserver-dht; ssb-ref for the old forms.
 */
export function parseAddress(input: unknown): ParsedRoute[] {
  const routes = readInput(input)
  if (typeof routes === 'string') throw new InvalidAddressError(input, routes)
  return routes
}

/**
 * The route of the usual kinds of address in canonical spelling, as `parseAddress` would give it; null for all others, which
 * are no worse for it. It takes a third of the time, or less where nothing is compiled yet.
 */
export function parseCanonical(address: Address): ParsedRoute | null {
  const match = USUAL.exec(address)
  if (!match) return null
  const [, protocol = '', host = '', portText = '', key = ''] = match
  const port = Number(portText)
  if (port > 65535 || host.length > MAX_HOST) return null
  if (ENDS_IN_DIGIT.test(host)) {
    if (!PLAIN_IPV4.test(host)) return null
    return { address, peer: `@${key}.ed25519`, protocol, host, port, portal: null, scope: 'public' }
  }
  if (!HOST_NAME.test(host) || ENDS_IN_NUMBER.test(host)) return null
  return { address, peer: `@${key}.ed25519`, protocol, host, port, portal: null, scope: scopeOfName(host) }
}

/** The last of 43 letters carries two bits of the key and ends in zeros. */
const USUAL = /^(net|onion):([a-z0-9._-]+):([1-9][0-9]{0,4})~shs:([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)$/
const ENDS_IN_DIGIT = /[0-9]$/
/** Four bytes, of which the first belongs to no block that anything special was carved from. */
const PLAIN_IPV4 =
  /^(?!(?:0|10|100|127|169|172|192|198|203|22[4-9]|23[0-9]|24[0-9]|25[0-9])\.)(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}$/

/**
 * May an address be dialed that was learned from a message of a stranger? Not if it points into this machine or this
 * network, which only the stranger's neighbours could profit from: by host, or by a transport that is local by nature.
 * Of transports without a host only those are let through that are known to lead out. Nor without authentication: to
 * multiserver, whoever answers a `noauth` dial is ourselves.
 * A host name is let through, as it would have to be resolved; its owner can make it point anywhere, at any time.
 */
export function isStrangerSafe(route: ParsedRoute): boolean {
  if (route.address.includes('~noauth')) return false
  if (route.scope !== null) return route.scope === 'public' || route.scope === 'name'
  return route.protocol === 'tunnel' || route.protocol === 'dht' || route.protocol === 'rtc'
}

/** An invite: with the seed of a key that is not ours, under which it lets a guest in once. */
export function isInvite(address: Address): boolean {
  // Where the key comes last there is no seed after it: nearly always, and for less than a search.
  return !address.startsWith(KEY_START, address.lastIndexOf(':') + 1 - KEY_START.length) && INVITE.test(address)
}

const KEY_START = '~shs:'

const INVITE = /(~shs:[^:~;]+):[^~;]+/

/** The route of a peer who gave an invite: it is dialed under our own key. */
export function withoutSeed(route: ParsedRoute): ParsedRoute {
  return isInvite(route.address) ? { ...route, address: route.address.replace(INVITE, '$1') } : route
}

/** `host:port`, the destination that is throttled as one, whatever transport leads there; null without a host. */
export function hostKey(route: { readonly host: string | null; readonly port: number | null }): string | null {
  return route.host === null || route.port === null ? null : `${route.host}:${route.port}`
}

/** The same of a canonical address, as `parseAddress` writes it, without parsing it where its form is known. */
export function hostKeyOf(address: Address): string | null {
  const [protocol, rest] = headOf(address)
  switch (protocol) {
    case 'net':
    case 'onion':
      return detached(rest)
    case 'ws':
    case 'wss': {
      const authority = rest.slice(2).replace(/[/?].*$/, '')
      const target = authority.startsWith('[') ? authority.replace(/[[\]]/g, '') : authority
      const hasPort = authority.startsWith('[') ? !authority.endsWith(']') : authority.includes(':')
      return hasPort ? target : `${target}:${protocol === 'ws' ? 80 : 443}`
    }
    case 'tunnel':
    case 'bt':
    case 'dht':
    case 'unix':
      return null
    default: {
      // One that we know nothing of, kept to the letter. Without a port at its end it has no host.
      if (!/:[0-9]+$/.test(rest)) return null
      let known = unknownHosts.get(address)
      if (known === undefined) {
        const route = parseAddress(address)[0]
        known = route ? hostKey(route) : null
        if (unknownHosts.size >= MAX_UNKNOWN_HOSTS) unknownHosts.clear()
        unknownHosts.set(address, known)
      }
      return known
    }
  }
}

/** Parsing takes as long as all else that an event costs, and what is being dialed is asked for several times. */
const unknownHosts = new Map<Address, string | null>()
const MAX_UNKNOWN_HOSTS = 256

/** Feed id of the room that a canonical address leads through, or null. */
export function portalOf(address: Address): FeedId | null {
  return address.startsWith('tunnel:') ? address.slice(TUNNEL_START, TUNNEL_START + FEED_ID_LENGTH) : null
}

const TUNNEL_START = 'tunnel:'.length

/**
 * How the canonical addresses begin that lead to the same host and port by the same transport. They stand together where
 * addresses are in order.
 */
export function destinationStarts(address: Address): readonly string[] {
  const web = address.startsWith('ws') ? /^wss?:\/\/[^/~]*/.exec(address) : null
  if (web) return [`${web[0]}~`, `${web[0]}/`]
  return [detached(address.slice(0, address.indexOf('~') + 1))]
}

/**
 * The same text as one of its own. V8 keeps a slice as a window on the whole text, which it compares seven times as slowly, and
 * keeps in memory; what is put together is written out when it is first compared.
 */
function detached(slice: string): string {
  return slice.slice(0, -1) + slice.slice(-1)
}

/** The first protocol of an address and what stands between it and the first `~`, escapes and all. */
function headOf(address: Address): readonly [protocol: string, rest: string] {
  const colon = address.indexOf(':')
  return [address.slice(0, colon), address.slice(colon + 1, address.indexOf('~'))]
}

function readInput(input: unknown): ParsedRoute[] | Reason {
  if (typeof input === 'string') return parseList(input, null)
  if (typeof input !== 'object' || input === null) return 'neither a string nor an object'
  // One read of each property: a getter may answer differently the second time.
  let given: { readonly address: unknown; readonly host: unknown; readonly port: unknown; readonly key: unknown }
  try {
    if (Array.isArray(input)) return 'neither a string nor an object'
    const { address, host, port, key } = input as Readonly<Record<string, unknown>>
    given = { address, host, port, key }
  } catch (error) {
    return `its properties cannot be read, ${describe(error)}`
  }
  const peer = parseFeedId(given.key)
  if (given.address === undefined || given.address === null) return parseHostPortKey(given.host, given.port, peer)
  if (typeof given.address !== 'string') return `its address should be a string and is ${describe(given.address)}`
  if (peer === null && given.key !== undefined && given.key !== null)
    return `its key should be a feed id and is ${describe(given.key)}`
  return parseList(given.address, peer)
}

function parseHostPortKey(host: unknown, port: unknown, peer: FeedId | null): ParsedRoute[] | Reason {
  if (typeof host !== 'string') return `its host should be a string and is ${describe(host)}`
  if (typeof port !== 'string' && typeof port !== 'number')
    return `its port should be a number and is ${describe(port)}`
  if (peer === null) return 'its key is not a feed id'
  const route = legacyRoute(host, String(port), peer)
  return typeof route === 'string' ? route : [route]
}

function parseList(list: string, givenPeer: FeedId | null): ParsedRoute[] | Reason {
  if (list.length > MAX_LENGTH) return `longer than ${MAX_LENGTH} characters`
  const usual = parseCanonical(list)
  if (usual !== null && (givenPeer === null || givenPeer === usual.peer)) return [usual]
  const parts = splitUnescaped(list, ';')
    .map((part) => part.trim())
    .filter((part) => part !== '')
  if (parts.length === 0) return 'empty'
  if (parts.length > MAX_PARTS) return `more than ${MAX_PARTS} addresses in one list`
  const routes: ParsedRoute[] = []
  let firstReason: Reason | null = null
  for (const part of parts) {
    const route = parsePart(part, givenPeer)
    if (typeof route === 'string') {
      firstReason = firstReason ?? route
      continue
    }
    if (givenPeer !== null && route.peer !== givenPeer) return 'its key is not the one in the address'
    const first = routes[0]
    if (first && first.peer !== route.peer) return 'its parts name different peers'
    if (!routes.some((other) => other.address === route.address)) routes.push(route)
  }
  return routes.length > 0 ? routes : (firstReason ?? 'empty')
}

function parsePart(part: string, givenPeer: FeedId | null): ParsedRoute | Reason {
  if (!part.includes('~')) {
    const legacy = parseLegacy(part)
    if (legacy !== null) return legacy
  }
  if (!multiserverAddress.check(part)) return 'not a multiserver address'
  const [transport = NOTHING, transform = NOTHING, ...more] = splitAddress(part)
  // secret-stack puts exactly one transform on a transport; multiserver throws a TypeError for a further one.
  if (more.length > 0) return 'more than one "~", the stack can dial "transport~shs:KEY" only'
  return joinRoute(transport, transform, givenPeer)
}

/** `host:port:key`; null if it is no such thing. The last two colons count, so an IPv6 host needs no brackets. */
function parseLegacy(part: string): ParsedRoute | Reason | null {
  // Without "~" these two name the peer themselves, and could be mistaken for a host.
  if (/^(?:tunnel|dht):/.test(part)) return null
  const beforeKey = part.lastIndexOf(':')
  const peer = parseFeedId(part.slice(beforeKey + 1))
  if (peer === null) return null
  const beforePort = part.lastIndexOf(':', beforeKey - 1)
  if (beforePort < 0) return 'no host and port before the key'
  return legacyRoute(part.slice(0, beforePort), part.slice(beforePort + 1, beforeKey), peer)
}

/** The transport is guessed from the host, as ssb-ref's toMultiServerAddress and secret-stack's connect do. */
function legacyRoute(host: string, port: string, peer: FeedId): ParsedRoute | Reason {
  if (host.length > MAX_LENGTH) return `longer than ${MAX_LENGTH} characters`
  // Checked before it is joined to the rest: `80/path` would become part of a URL.
  if (parsePort(port) === null) return `${describe(port)} is not a port from 1 to 65535`
  const name = host.trim()
  const web = /^(wss?):\/\/([^/?]*)$/.exec(name)
  if (web) return joinRoute({ name: web[1] ?? '', rest: `${web[2]}:${port}` }, NOTHING, peer)
  return joinRoute({ name: /\.onion\.?$/i.test(name) ? 'onion' : 'net', rest: `${name}:${port}` }, NOTHING, peer)
}

/** The route of `transport~transform`; `givenPeer` stands in for a key that they do not carry. */
function joinRoute({ name, rest }: Protocol, transform: Protocol, givenPeer: FeedId | null): ParsedRoute | Reason {
  // In tables keyed by protocol, `constructor` would find what every object inherits.
  if (name.length > MAX_PROTOCOL || name in Object.prototype) return 'not the name of a transport'
  const transport = readTransport(name, rest)
  if (typeof transport === 'string') return transport
  const secured = readTransform(transform, transport.peer ?? givenPeer)
  if (typeof secured === 'string') return secured
  if (name === 'tunnel' && transport.peer !== secured.peer) return 'the tunnel ends at another peer than the key says'
  const { host, port, portal, scope } = transport
  const address = `${name}${transport.rest === null ? '' : `:${addEscapes(transport.rest)}`}~${secured.text}`
  if (address.length > MAX_ADDRESS) return `longer than ${MAX_ADDRESS} characters`
  // Nobody unescapes it: multiserver splits the list before it looks for escapes.
  if (address.includes(';')) return '";" in an address cannot be dialed, escaped or not'
  return { address, peer: secured.peer, protocol: name, host, port, portal, scope }
}

/** Whose key it is, and the transform in canonical spelling. `peer`: who it is if the transform has no key. */
function readTransform(
  { name, rest }: Protocol,
  peer: FeedId | null,
): { readonly peer: FeedId; readonly text: string } | Reason {
  if (name === '') return peer === null ? 'no "~shs:KEY"' : { peer, text: `shs:${bareKey(peer)}` }
  if (name === 'noauth') {
    const named = rest === null || rest === '' ? peer : parseFeedId(rest)
    return named === null ? 'no key after "~noauth"' : { peer: named, text: `noauth:${bareKey(named)}` }
  }
  // Forwards compatible with future versions of the handshake, like ssb-ref's getKeyFromAddress.
  if (!name.startsWith('shs')) return `${describe(`~${name}`)} carries no key`
  const [key, ...more] = (rest ?? '').split(':')
  const named = parseFeedId(key)
  if (named === null) return 'the key after "~shs" is not canonical base64 of 32 bytes'
  const [seed, ...beyond] = more
  // Of an invite. multiserver's shs dials with no other seed; a later handshake may add what it likes.
  if (name === 'shs' && seed !== undefined && (!isKey(seed) || beyond.length > 0))
    return 'the seed after the key is not canonical base64 of 32 bytes'
  return { peer: named, text: `${name}:${addEscapes([bareKey(named), ...more].join(':'))}` }
}

function bareKey(peer: FeedId): string {
  return peer.slice(1, 1 + KEY_LENGTH)
}

function readTransport(name: string, rest: string | null): Transport | Reason {
  switch (name) {
    case 'net':
    case 'onion':
      return readHostAndPort(rest ?? '', (host, port) => `${host}:${port}`)
    case 'ws':
    case 'wss':
      return readWebSocket(name, rest ?? '')
    case 'tunnel':
      return readTunnel(rest ?? '')
    case 'bt':
      return readBluetooth(rest ?? '')
    case 'dht':
      // The channel of ssb-dht-invite is `seed:id`. An inbound address has our own id there, so another key may follow.
      if (rest === null || rest === '') return 'no channel after "dht:"'
      return { ...NO_HOST, rest, peer: parseFeedId(rest.slice(rest.lastIndexOf(':') + 1)) }
    case 'unix': {
      // Older stacks wrote `unix:/path/socket:`, newer ones would look for a file of that name.
      const path = (rest ?? '').replace(/:$/, '')
      return path === '' || path.endsWith(':') ? 'no path after "unix:"' : { ...NO_HOST, rest: path }
    }
    case 'shs':
    case 'noauth':
      return 'no transport before the key'
    default:
      return readUnknown(rest)
  }
}

const NO_HOST = { host: null, port: null, scope: null, portal: null, peer: null }

/** `host:port`, where the last colon counts; `spell` writes it in canonical form. */
function readHostAndPort(rest: string, spell: (host: string, port: number) => string): Transport | Reason {
  const colon = rest.lastIndexOf(':')
  const host = colon < 0 ? null : parseHost(rest.slice(0, colon))
  if (host === null) return colon < 0 ? 'no port' : `${describe(rest.slice(0, colon))} is not a host`
  const port = parsePort(rest.slice(colon + 1))
  if (port === null) return `${describe(rest.slice(colon + 1))} is not a port from 1 to 65535`
  return { rest: spell(host.host, port), host: host.host, port, scope: host.scope, portal: null, peer: null }
}

/**
 * `//host[:port][/path]`, the form that multiserver writes and dials, or `host:port[/path]`, which it would dial at
 * localhost, taking all of it for a path. Written without the default port, as URL.format and multiserver's stringify
 * do.
 */
function readWebSocket(name: 'ws' | 'wss', rest: string): Transport | Reason {
  const isUrl = rest.startsWith('//')
  const text = isUrl ? rest.slice(2) : rest
  const end = text.search(/[/?]/)
  const authority = (end < 0 ? text : text.slice(0, end)).replace(/:$/, '')
  const path = end < 0 ? '' : text.slice(end).replace(/^\?/, '/?')
  // A fragment is refused by `ws`; a backslash is a slash to one URL parser and not to the next.
  if (/[#\\]/.test(path)) return 'the path has a character that a URL may not have'
  const defaultPort = name === 'ws' ? 80 : 443
  const target = isUrl && !/:[0-9]+$/.test(authority) ? `${authority}:${defaultPort}` : authority
  const transport = readHostAndPort(target, (host, port) => {
    const shownHost = host.includes(':') ? `[${host}]` : host
    return `//${shownHost}${port === defaultPort ? '' : `:${port}`}${path === '/' ? '' : path}`
  })
  if (typeof transport !== 'string' && transport.host?.includes('%')) return 'a URL cannot name the interface of a host'
  return transport
}

/** `@portal:@target`, and in ssb-tunnel a third field, the number of an instance, of which 0 is the first. */
function readTunnel(rest: string): Transport | Reason {
  const [portalText, targetText, instance = '0', ...more] = rest.split(':')
  const portal = parseFeedId(portalText)
  const peer = parseFeedId(targetText)
  if (portal === null || peer === null || more.length > 0 || !/^[0-9]{1,9}$/.test(instance))
    return 'not of the form tunnel:@PORTAL:@TARGET'
  const index = Number(instance)
  return { ...NO_HOST, portal, peer, rest: `${portal}:${peer}${index === 0 ? '' : `:${index}`}` }
}

/** A MAC address is written as multiserver-bluetooth and Android read it: twelve capitals, no colons. */
function readBluetooth(rest: string): Transport | Reason {
  if (rest === '') return 'no device after "bt:"'
  const digits = rest.replace(/:/g, '')
  return { ...NO_HOST, rest: /^[0-9a-f]{12}$/i.test(digits) ? digits.toUpperCase() : rest }
}

/** A transport that we know nothing of: kept to the letter. If it looks like `host:port`, throttle and scope apply. */
function readUnknown(rest: string | null): Transport {
  const read = readHostAndPort(rest ?? '', () => rest ?? '')
  return typeof read === 'string' ? { ...NO_HOST, rest } : read
}

function parsePort(text: string): number | null {
  if (!/^[1-9][0-9]{0,4}$/.test(text)) return null
  const port = Number(text)
  return port <= 65535 ? port : null
}

const LABEL = '[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?'
const HOST_NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`)
/** A name whose last label is a number is meant as IPv4 by every resolver (WHATWG URL, "ends in a number checker"). */
const ENDS_IN_NUMBER = /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/

/** A host in canonical form with its scope; null if it is none. Brackets around IPv6 are taken off. */
function parseHost(text: string): Host | null {
  // Before lower case: some letters outside ASCII, such as the Kelvin sign, turn into one inside.
  if (text.length > MAX_HOST + 1 || !/^[!-~]+$/.test(text)) return null
  if (text.includes(':')) return parseIPv6(/^\[.*\]$/.test(text) ? text.slice(1, -1) : text)
  const name = text.toLowerCase().replace(/\.$/, '')
  if (ENDS_IN_NUMBER.test(name)) {
    // `127.1`, `0x7f.1`, `2130706433` and `0177.0.0.1` are loopback to getaddrinfo; once written out, to everybody.
    return ipaddr.IPv4.isValid(name) ? hostOfIPv4(ipaddr.IPv4.parse(name)) : null
  }
  return name.length <= MAX_HOST && HOST_NAME.test(name) ? { host: name, scope: scopeOfName(name) } : null
}

function parseIPv6(text: string): Host | null {
  const [address = '', zone, ...more] = text.split('%')
  if (!/^[0-9a-f:.]{2,45}$/i.test(address) || more.length > 0 || !ipaddr.IPv6.isValid(address)) return null
  const ip = ipaddr.IPv6.parse(address)
  // A server that listens on `::` sees IPv4 peers this way; to dial, both are the same.
  if (ip.isIPv4MappedAddress()) return zone === undefined ? hostOfIPv4(ip.toIPv4Address()) : null
  const scope = scopeOfIPv6(ip)
  if (zone === undefined) return { host: ip.toString(), scope }
  // Link-local addresses need the interface to be dialed; its name keeps its case, as systems tell eth0 from Eth0.
  return scope === 'linkLocal' && /^[\w.-]{1,32}$/.test(zone) ? { host: `${ip.toString()}%${zone}`, scope } : null
}

function hostOfIPv4(ip: ipaddr.IPv4): Host {
  return { host: ip.toString(), scope: scopeOfIPv4(ip) }
}

/** Names of ipaddr.js for the ranges of the IANA registries of special-purpose addresses; the rest is reserved. */
const SCOPE_OF_RANGE: { readonly [range: string]: Exclude<Scope, null> } = {
  unicast: 'public',
  loopback: 'loopback',
  private: 'private',
  // Networks behind a provider's NAT, and overlays such as Tailscale, that borrow its range.
  carrierGradeNat: 'private',
  uniqueLocal: 'private',
  deprecatedSiteLocal: 'private',
  linkLocal: 'linkLocal',
  multicast: 'multicast',
  unspecified: 'unspecified',
}

function scopeOfIPv4(ip: ipaddr.IPv4): Exclude<Scope, null> {
  return own(SCOPE_OF_RANGE, ip.range()) ?? 'reserved'
}

function scopeOfIPv6(ip: ipaddr.IPv6): Exclude<Scope, null> {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = ip.parts
  const range: string = ip.range()
  // Addresses that a router turns into the IPv4 address inside them reach what that one reaches.
  if (range === '6to4') return scopeOfEmbedded(b, c)
  if (range === 'rfc6145') return scopeOfEmbedded(g, h)
  // 64:ff9b::/96; the rest of that range of ipaddr.js is 64:ff9b:1::/48, for use inside a network (RFC 8215).
  if (range === 'rfc6052') return c === 0 && d === 0 && e === 0 && f === 0 ? scopeOfEmbedded(g, h) : 'private'
  const scope = own(SCOPE_OF_RANGE, range) ?? 'reserved'
  // Only 2000::/3 is in use as global unicast (RFC 4291, 2.4); ipaddr.js calls all unassigned ranges unicast.
  return scope === 'public' && a >> 13 !== 1 ? 'reserved' : scope
}

function scopeOfEmbedded(high: number, low: number): Exclude<Scope, null> {
  return scopeOfIPv4(new ipaddr.IPv4([high >> 8, high & 255, low >> 8, low & 255]))
}

/**
 * RFC 6761 (localhost), RFC 6762 (local), RFC 8375 (home.arpa), and the names that Linux distributions write into
 * /etc/hosts. The private top-level names are those of RFC 6762, appendix G: none is delegated, routers use them.
 */
function scopeOfName(name: string): Exclude<Scope, null> {
  if (/(?:^|\.)(?:localhost|localdomain)$|^(?:localhost[46]|ip6-(?:localhost|loopback))$|\.localdomain6$/.test(name))
    return 'loopback'
  if (name.endsWith('.local')) return 'linkLocal'
  return /\.(?:internal|intranet|private|corp|home|lan|home\.arpa)$/.test(name) ? 'private' : 'name'
}

/**
 * One address that multiserver-address's `check` accepts, taken apart at `~` as its `decode` would. The data of a
 * protocol are not: multiserver drops the escapes first, so an escaped colon separates like any other.
 */
export function splitAddress(address: Address): Protocol[] {
  return splitUnescaped(address, '~').map((protocol) => {
    const colon = protocol.indexOf(':')
    return colon < 0
      ? { name: protocol, rest: null }
      : { name: protocol.slice(0, colon), rest: dropEscapes(protocol.slice(colon + 1)) }
  })
}

function splitUnescaped(text: string, separator: string): string[] {
  if (!text.includes('!')) return text.split(separator)
  const parts: string[] = []
  let start = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '!') i++
    else if (text[i] === separator) {
      parts.push(text.slice(start, i))
      start = i + 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

function dropEscapes(text: string): string {
  return text.includes('!') ? text.replace(/!(.)/g, '$1') : text
}

/**
 * What separator-escape, which multiserver uses, would write. A colon needs none: transports split after unescaping.
 */
function addEscapes(text: string): string {
  return /[!~]/.test(text) ? text.replace(/[!~]/g, '!$&') : text
}
