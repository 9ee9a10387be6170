/**
 * Which peer is meant: an id, an address, the beginning of an id, or a name. Names are what the modules of the sbot call a
 * peer (`name` in the data of ssb-conn), where it has the conn facade.
 */
import { isFeedId, parseAddress, parseFeedId } from '../core/address'
import type { PeerView } from '../core/selectors'
import type { FeedId } from '../core/types'
import { CliError, type RemoteSbot } from './cli'
import { collect } from './live'
import { EXIT } from './settings'
import { place, shortId } from './text'

/** Shorter beginnings are too easily those of somebody else tomorrow. */
const MIN_PREFIX = 6
const MAX_CANDIDATES = 10
const MAX_ALIKE = 3
const MAX_NAME = 64

/** All peers as they are now. */
export async function listPeers(sbot: RemoteSbot): Promise<PeerView[]> {
  const items = await collect(sbot.manager.peers({ live: false }))
  return items.filter((item): item is PeerView => 'routes' in item)
}

/** Names by id; empty where the sbot knows none. */
export async function namesOf(sbot: RemoteSbot): Promise<Map<FeedId, string>> {
  const names = new Map<FeedId, string>()
  if (typeof sbot.rpc.conn?.dbPeers !== 'function') return names
  const entries: unknown = await sbot.rpc.conn.dbPeers()
  for (const [, data] of Array.isArray(entries) ? (entries as [string, { key?: unknown; name?: unknown }][]) : [])
    if (typeof data?.key === 'string' && typeof data.name === 'string' && data.name !== '')
      names.set(data.key, data.name.slice(0, MAX_NAME))
  return names
}

export function isAddress(text: string): boolean {
  try {
    return parseAddress(text).length > 0
  } catch {
    return false
  }
}

/**
 * What was typed in, as a full id or an address that the sbot takes. Throws CliError: unknown, ambiguous (with the
 * candidates), or too short.
 */
export async function resolveTarget(sbot: RemoteSbot, given: string): Promise<string> {
  const text = given.trim().replace(/(…|\.\.\.)$/, '')
  const id = parseFeedId(text)
  if (id !== null) return id
  if (isAddress(text)) return text
  const found = await candidates(sbot, text)
  if (found.length === 1) return (found[0] as Candidate).id
  if (found.length > 1) throw ambiguous(given, found)
  const alike = await namesLike(sbot, text)
  if (alike.length > 0)
    throw new CliError(
      'ERR_UNKNOWN_PEER',
      `no peer is called ${given}`,
      `Did you mean ${alike.join(' or ')}?`,
      EXIT.failed,
    )
  if (text.replace(/^@/, '').length < MIN_PREFIX)
    throw new CliError(
      'ERR_UNKNOWN_PEER',
      `no peer is called ${given}, and as the beginning of an id it is too short`,
      `Give ${MIN_PREFIX} characters of the id at least, the whole id, or an address.`,
      EXIT.failed,
    )
  throw new CliError(
    'ERR_UNKNOWN_PEER',
    `no peer is called ${given}, and no id begins like this`,
    'See sbot-connections peers --all; a peer that is not there yet is named by its whole id or an address.',
    EXIT.failed,
  )
}

interface Candidate {
  readonly id: FeedId
  readonly name: string | null
  readonly where: string | null
}

async function candidates(sbot: RemoteSbot, text: string): Promise<Candidate[]> {
  const peers = await listPeers(sbot)
  const names = await namesOf(sbot)
  const key = text.replace(/^@/, '')
  const candidate = (peer: PeerView): Candidate => ({
    id: peer.id,
    name: names.get(peer.id) ?? null,
    where: peer.routes[0] ? place(peer.routes[0].id) : null,
  })
  // Names are chosen by strangers: one that looks like the id of somebody else must not stand in for him.
  const isNamed = ({ id }: PeerView): boolean =>
    !text.startsWith('@') && names.get(id)?.toLowerCase() === text.toLowerCase()
  const isBegun = ({ id }: PeerView): boolean => key.length >= MIN_PREFIX && id.startsWith(`@${key}`)
  return peers.filter((peer) => isNamed(peer) || isBegun(peer)).map(candidate)
}

/** A few that begin as the text does, or as which the text begins. */
async function namesLike(sbot: RemoteSbot, text: string): Promise<string[]> {
  const wanted = text.toLowerCase()
  const names = new Set((await namesOf(sbot)).values())
  return [...names]
    .filter((name) => name.toLowerCase().startsWith(wanted) || wanted.startsWith(name.toLowerCase()))
    .slice(0, MAX_ALIKE)
}

function ambiguous(given: string, found: readonly Candidate[]): CliError {
  const lines = found
    .slice(0, MAX_CANDIDATES)
    .map(({ id, name, where }) => [id, name, where].filter((each) => each !== null).join(' '))
  const more = found.length > lines.length ? `, and ${found.length - lines.length} more` : ''
  return new CliError(
    'ERR_AMBIGUOUS',
    `${given} may be any of ${found.length} peers: ${lines.join(', ')}${more}`,
    'Give more of the id.',
    EXIT.failed,
  )
}

/** The id that is meant by a resolved target. */
export function idOf(target: string): FeedId {
  return isFeedId(target) ? target : (parseAddress(target)[0]?.peer ?? target)
}

/** As people are shown it: the name if there is one, and enough of the id. */
export function calledBy(id: FeedId, names: ReadonlyMap<FeedId, string>, isShort = true): string {
  const name = names.get(id)
  const shown = isShort ? shortId(id) : id
  return name === undefined ? shown : `${name} ${shown}`
}
