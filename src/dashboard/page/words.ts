/** What the core's words mean, for people. Pure. A word that is not known here is shown as it came, cleaned. */
import type { Finding } from '../../core/diagnosis'
import type { Explanation } from '../../core/selectors'
import type { EpochMs } from '../../core/types'
import type { HistoryEntry, PeerRow } from '../protocol'
import { ahead, clean, clockTime, count, duration, listed, plural, shortId } from './format'
import type { Model } from './store'

/** Own keys only: a class may be called `constructor`. */
function wordOf(table: { readonly [key: string]: string }, key: string): string | null {
  return Object.prototype.hasOwnProperty.call(table, key) ? (table[key] as string) : null
}

const CAUSES = {
  schedule: 'its turn in the schedule',
  longTerm: 'it is kept up for good',
  request: 'somebody asked for it',
  initialSync: 'the initial sync needs it',
  probe: 'a trial whether the way there works again',
  inbound: 'it dialed us',
  foreign: 'another module opened it',
}

const ENDS = {
  stopped: 'the manager was stopped',
  closed: 'the other side or the network ended it',
  banned: 'the peer was banned',
  routeRemoved: 'its route was removed',
  disconnected: 'somebody hung up here',
  lifetime: 'its lifetime was over',
  surplus: 'there were more than the slots allow',
  rotation: 'it gave its slot to a peer that waited',
  initialSync: 'the initial sync needs the line',
  stalled: 'nothing came any more',
  dead: 'it no longer answered',
  maxInbound: 'too many had called in',
}

export function causeWords(cause: string | null): string {
  return cause === null ? 'nobody noted why' : (wordOf(CAUSES, cause) ?? clean(cause, 120))
}

export function endWords(reason: string | null): string {
  return reason === null ? 'nobody noted why' : (wordOf(ENDS, reason) ?? clean(reason, 120))
}

/** What somebody can do where a refusal of this name stands in the way; null where time or the other side has to. */
const REMEDIES = {
  off: 'Start the manager, or connect to this peer alone: that works while it is off.',
  banned: 'Unban it, if it should be reached.',
  initialSync: 'It is dialed when the initial sync has ended; stop that to go on at once.',
  offline: 'Look after the network of this machine; all goes on by itself when it is back.',
  manualOnly: 'Nobody dials it by itself: connect by hand.',
  typeDisabled: 'Give its class a slot, or connect by hand: that needs none.',
  backoff: 'Connect by hand to try now; add another address of it if it has moved.',
  hostThrottled: 'Its host was dialed a moment ago; it is tried again by itself.',
  transportDown: 'Everything that goes this way fails at present; look after what carries it, e.g. Tor or the room.',
  slotsFull: 'Give its class more slots, hang up on another, or connect by hand: that needs none.',
  unknown: 'Add an address of it.',
  noRoute: 'Add an address of it, or wait until it calls or a room or the network announces it.',
}

/** In words of this page where there are any, for the core's own name the calls of a program. */
export function remedyFor(explanation: Explanation): string | null {
  if (explanation.connected) return null
  return (explanation.reason === null ? null : wordOf(REMEDIES, explanation.reason)) ?? explanation.remedy
}

const AWAY = [
  'Open it to see why; ask for an address that works, and add it there.',
  'Open each to see why; ask for an address that works, and add it there.',
] as const
const FAILING = [
  'Open it to see when it is tried again; add its new address if it has moved.',
  'Open each to see when it is tried again; add its new address if it has moved.',
] as const

/** What to do about a finding, by its code, where the core's words name the calls of a program: of one peer, and of several. */
const FINDING_REMEDIES: { readonly [code: string]: string | readonly [one: string, several: string] } = {
  off: 'Start it: then who is known is dialed.',
  initialSync: 'It ends by itself when it has caught up; stop it, and everybody else has their turn again.',
  nothingKnown:
    'Use an invite of a pub or a room, or add an address below. Peers on the local network come by themselves.',
  typeDisabled: 'Give one of these classes some slots.',
  manualOnly: 'Open a peer and connect to it.',
  allRoutesDead: 'They are tried again by themselves. Add another address, or use an invite.',
  classDead: 'They are tried again by themselves. Add another address of this kind, or remove these.',
  notConnected: 'Dials go on by themselves; open a peer to see why, or to connect at once.',
  slotsHeldByLongTerm: 'Give this class more slots, or let some of these peers take their turn as others do.',
  longTermOverSlots: 'Give this class more slots.',
  onlyStrangers: 'Use an invite, follow somebody, or add the address of somebody whom you know.',
  nothingTransferred: 'See below whether anything replicates, and whether ssb-ebt is on the stack.',
  bannedButWanted: 'Unban these peers, or no longer keep them up for good.',
  wantedWithoutRoute: ['Add an address of it.', 'Add an address of each.'],
  longTermAway: AWAY,
  friendsAway: AWAY,
  longTermFailing: FAILING,
  friendsFailing: FAILING,
  roomsDown: 'The room has to come back first; open it to see why it is not connected.',
  hostsDown: 'They have to come back first. Add the new address of one that has moved.',
  tableFull: 'Remove routes that are dead, or raise maxRoutes in the configuration.',
}

export function findingRemedy(finding: Finding): string | null {
  const { code } = finding
  const found = Object.prototype.hasOwnProperty.call(FINDING_REMEDIES, code) ? FINDING_REMEDIES[code] : undefined
  if (found === undefined || typeof found === 'string') return found ?? finding.remedy
  return finding.peers.length === 1 ? found[0] : found[1]
}

/** What is the case, without the core's names for priorities. */
export function findingMessage(finding: Finding, peers: ReadonlyMap<string, PeerRow>): string {
  // Most are HIGH as we follow them; who was made so by hand, or by a module, need not be followed.
  const areFollowed = finding.peers.length > 0 && finding.peers.every((id) => peers.get(id)?.hops === 1)
  return finding.message
    .replace(/\bHIGH (peers?)\b/, areFollowed ? 'followed $1' : '$1 of high priority')
    .replace(/\bthe worst LOW ones\b/, 'the worst ones of low priority')
}

/** Where on this page it is done; `peer`: in the details of the only one that it names. */
export function findingPlace(
  finding: Finding,
): 'start' | 'stopSync' | 'slots' | 'routes' | 'replication' | 'peer' | null {
  switch (finding.code) {
    case 'off':
      return 'start'
    case 'initialSync':
      return 'stopSync'
    case 'typeDisabled':
    case 'slotsHeldByLongTerm':
    case 'longTermOverSlots':
      return 'slots'
    case 'nothingKnown':
    case 'onlyStrangers':
    case 'allRoutesDead':
    case 'tableFull':
      return 'routes'
    case 'nothingTransferred':
      return 'replication'
    case 'wantedWithoutRoute':
    case 'longTermAway':
    case 'friendsAway':
    case 'longTermFailing':
    case 'friendsFailing':
      return finding.peers.length === 1 ? 'peer' : null
    default:
      return null
  }
}

/** Times as the core writes them. */
const ISO_TIME = /\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g
const HALF_DAY_MS = 43_200_000

/** Times in a sentence of the core, by the reader's clock. */
export function localTimes(text: string, now: EpochMs): string {
  return text.replace(ISO_TIME, (iso) => {
    const at = Date.parse(iso)
    if (Number.isNaN(at)) return iso
    const day = new Date(at).toLocaleDateString(undefined, { day: 'numeric', month: 'short', year: 'numeric' })
    return Math.abs(now - at) < HALF_DAY_MS ? clockTime(at, true) : `${day} ${clockTime(at)}`
  })
}

/** A message of the core as a sentence begins and ends, with times by the reader's clock. */
export function sentence(text: string, now: EpochMs): string {
  const shown = localTimes(clean(text, 500), now)
  // Not the first letter of an id or an address.
  const first = /^[a-z]+(?=[\s,.]|$)/.exec(shown)
  const begun = first === null ? shown : shown.charAt(0).toUpperCase() + shown.slice(1)
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`
}

/** Where the core's words name a call of a program. */
const REASONS = {
  off: 'the manager is off',
  manualOnly: 'this route is only dialed by hand',
  typeDisabled: 'its class has no slots',
}

/**
 * Why a peer is not connected; for one that is, for how long, as the core says it by the clock of the world. The explanation
 * may be older than the row: where they differ on whether it is connected, the row counts.
 */
export function reasonWords(peer: PeerRow, explanation: Explanation, now: EpochMs): string {
  const { status, direction, since } = peer.connection
  if (status === 'connected')
    return `connected for ${duration(now - (since ?? now))}, ${direction === 'inbound' ? 'it called us' : 'we dialed'}`
  if (explanation.connected) return '…'
  const { reason } = explanation
  return (reason === null ? null : wordOf(REASONS, reason)) ?? localTimes(clean(explanation.message, 500), now)
}

/** The key of a layer (core/types.ts, Layer) in words: `transport:onion` is `everything over onion`. */
export function layerWords(key: string, nameOf: (id: string) => string): string {
  const at = key.indexOf(':')
  const kind = at < 0 ? key : key.slice(0, at)
  const what = at < 0 ? '' : key.slice(at + 1)
  switch (kind) {
    case 'link':
      return 'our own network'
    case 'resolver':
      return 'looking up host names'
    case 'transport':
      return `everything over ${clean(what, 40)}`
    case 'portal':
      return `the room ${clean(nameOf(what), 64)}`
    case 'host':
      return `the host ${clean(what, 80)}`
    default:
      return clean(key, 80)
  }
}

export type PeerState = 'connected' | 'dialing' | 'closing' | 'banned' | 'failing' | 'idle'

/** One word for a peer: its connection, else what keeps it from one. */
export function peerState(peer: PeerRow): PeerState {
  if (peer.connection.status !== 'idle') return peer.connection.status
  if (peer.priority === 'BANNED') return 'banned'
  const automatic = peer.routes.filter((route) => route.isAutomatic)
  return automatic.length > 0 && automatic.every((route) => route.errorCount > 0) ? 'failing' : 'idle'
}

export const STATE_WORDS: { readonly [state in PeerState]: string } = {
  connected: 'connected',
  dialing: 'dialing',
  closing: 'closing',
  banned: 'banned',
  failing: 'failing',
  idle: 'idle',
}

/** `followed`, `2 hops`; null where nothing is known. */
export function hopsWords(hops: number | null): string | null {
  if (hops === null) return null
  if (hops < 0) return 'blocked'
  return hops === 0 ? 'ourselves' : hops === 1 ? 'followed' : `${count(hops)} hops away`
}

/** One sentence on a peer, for a tip and for those who hear the page. */
export function peerSentence(peer: PeerRow, now: EpochMs): string {
  const parts: string[] = []
  const { connection } = peer
  const since = connection.since === null ? '' : ` for ${duration(now - connection.since)}`
  switch (peerState(peer)) {
    case 'connected':
      parts.push(`connected${since}, ${connection.direction === 'inbound' ? 'it called us' : 'we dialed'}`)
      break
    case 'dialing':
      parts.push(`dialing${since}`)
      break
    case 'closing':
      parts.push('closing')
      break
    case 'banned':
      parts.push('banned')
      break
    case 'failing': {
      const least = Math.min(...peer.routes.map((route) => route.errorCount))
      parts.push(`failing, ${plural(least, 'dial')} in a row`)
      break
    }
    case 'idle':
      parts.push('not connected')
  }
  const hops = hopsWords(peer.hops)
  if (hops !== null) parts.push(hops)
  if (peer.isLongTerm) parts.push('long-term')
  if (connection.status !== 'connected')
    parts.push(peer.visitedAt ? `last in touch ${duration(now - peer.visitedAt)} ago` : 'never in touch')
  return parts.join(', ')
}

/** What an entry of the history was, when, and why it began and ended. */
export function entrySentence(entry: HistoryEntry, now: EpochMs): string {
  if (entry.kind === 'rtt') return `round trip ${Math.round(entry.rttMs)} ms`
  if (entry.kind === 'failed')
    return `A dial over ${clean(entry.class, 20)} failed after ${duration(entry.to - entry.from)}: ${clean(entry.error, 160)}. Dialed because: ${causeWords(entry.why)}.`
  const direction = entry.direction === 'inbound' ? 'It called us' : `We dialed over ${clean(entry.class ?? '?', 20)}`
  const length = duration((entry.to ?? now) - entry.from)
  const end = entry.to === null ? 'It is up.' : `Ended because: ${endWords(entry.ended)}.`
  return `${direction}, ${entry.to === null ? `up for ${length}` : `was up for ${length}`}. Began because: ${causeWords(entry.why)}. ${end}`
}

export interface Headline {
  readonly tone: 'good' | 'busy' | 'bad' | 'off'
  readonly title: string
  readonly detail: string
}

/** The first thing to read: am I connected, to whom, and if not why. */
export function headline(model: Model, now: EpochMs): Headline {
  const { status } = model
  const connected = [...model.peers.values()].filter((peer) => peer.connection.status === 'connected')
  const inbound = connected.filter((peer) => peer.connection.direction === 'inbound').length
  const followed = connected.filter((peer) => peer.hops === 1).length
  const who = [
    ...(connected.length - inbound > 0 ? [`${count(connected.length - inbound)} that we dialed`] : []),
    ...(inbound > 0 ? [`${count(inbound)} that called us`] : []),
  ]
  const detail = `${listed(who)}${followed > 0 ? `; ${count(followed)} of them followed` : ''}.`
  if (status === null) return { tone: 'busy', title: 'Loading …', detail: '' }
  if (status.mode === 'off')
    return {
      tone: 'off',
      title: connected.length === 0 ? 'Off' : `Off, with ${plural(connected.length, 'connection')}`,
      detail:
        connected.length === 0 ? 'Nobody is dialed until somebody starts it.' : `Nobody else is dialed: ${detail}`,
    }
  if (connected.length > 0) {
    const title = `Connected to ${plural(connected.length, 'peer')}`
    return status.mode === 'initialSync'
      ? { tone: 'busy', title: `Initial sync: ${title.toLowerCase()}`, detail }
      : { tone: 'good', title, detail: detail.charAt(0).toUpperCase() + detail.slice(1) }
  }
  if (status.environment.link === 'down')
    return {
      tone: 'bad',
      title: 'Not connected',
      detail: 'This machine has no network; all goes on by itself when it is back.',
    }
  if (status.dialing > 0)
    return { tone: 'busy', title: 'Not connected yet', detail: `${plural(status.dialing, 'dial')} under way.` }
  if (status.routes === 0)
    return { tone: 'bad', title: 'Not connected', detail: 'No address of anybody is known: add one, or use an invite.' }
  const next = Object.keys(status.classes)
    .map((name) => status.classes[name])
    .filter((each) => each !== undefined && each.max > 0 && each.nextAttemptAt !== null)
    .map((each) => each?.nextAttemptAt as number)
  return {
    tone: 'bad',
    title: 'Not connected',
    detail:
      next.length > 0
        ? `The next attempt is ${ahead(Math.min(...next), now)}.`
        : 'None of the routes that are known may be dialed; the table below says why.',
  }
}

/** The name of a peer if it is in the table. */
export function nameIn(model: Model, id: string): string {
  const peer = model.peers.get(id)
  return peer?.name ? clean(peer.name, 64) : shortId(id)
}
