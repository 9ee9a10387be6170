/**
 * What somebody can do here: the request for the server, what is asked before it where it cuts something, and what is said
 * when it is done. Pure.
 */
import type { ClassStatus, Status } from '../../core/selectors'
import type { EpochMs, Priority } from '../../core/types'
import type { Act, PeerRow, RouteRow } from '../protocol'
import { clean, count, duration, peerName, plural, shortAddress } from './format'

export interface Deed {
  readonly act: Act
  /** Said when it has worked. */
  readonly done: string
  /** Said where the answer is that nothing had to be done. */
  readonly alreadyDone?: string
  /** Null where nothing is cut. */
  readonly confirmation: Confirmation | null
}

export interface Confirmation {
  readonly title: string
  /** What will be cut, and what comes after. */
  readonly lines: readonly string[]
  /** The word on the button. */
  readonly verb: string
}

/** The connection of a peer in words: `the connection that we dialed 12 min ago`. */
function connectionWords(peer: PeerRow, now: EpochMs): string {
  const { status, direction, since } = peer.connection
  const age = since === null ? '' : ` ${duration(now - since)} ago`
  if (status === 'dialing') return 'the dial under way'
  return direction === 'inbound' ? `the connection that it opened${age}` : `the connection that we dialed${age}`
}

export function connect(peer: PeerRow, route: RouteRow | null = null): Deed {
  return {
    act: { action: 'connect', target: route === null ? peer.id : route.address },
    done: `Connected to ${peerName(peer)}.`,
    confirmation: null,
  }
}

export function hangUp(peer: PeerRow, now: EpochMs): Deed {
  const name = peerName(peer)
  return {
    act: { action: 'disconnect', target: peer.id },
    done: `Hung up on ${name}.`,
    confirmation: {
      title: `Hang up on ${name}?`,
      lines: [
        `This cuts ${connectionWords(peer, now)}.`,
        peer.isLongTerm
          ? 'It is long-term, so it is dialed again at once.'
          : 'Nobody dials it for a minute; then it has its turn again. Ban it to keep it away.',
      ],
      verb: 'Hang up',
    },
  }
}

export function ban(peer: PeerRow, now: EpochMs): Deed {
  const name = peerName(peer)
  const isUp = peer.connection.status !== 'idle'
  return {
    act: { action: 'setPriority', target: peer.id, priority: 'BANNED' },
    done: `Banned ${name}.`,
    confirmation: {
      title: `Ban ${name}?`,
      lines: [
        isUp ? `This cuts ${connectionWords(peer, now)}.` : 'It is not connected, so nothing is cut now.',
        'It is never dialed, and refused when it calls, until somebody unbans it.',
      ],
      verb: 'Ban',
    },
  }
}

export function unban(peer: PeerRow): Deed {
  return {
    act: { action: 'setPriority', target: peer.id, priority: 'AUTO' },
    done: `${peerName(peer)} is no longer banned by hand.`,
    confirmation: null,
  }
}

export function prioritise(peer: PeerRow, priority: Exclude<Priority, 'BANNED'> | 'AUTO'): Deed {
  return {
    act: { action: 'setPriority', target: peer.id, priority },
    done:
      priority === 'AUTO'
        ? `The priority of ${peerName(peer)} is left to the modules.`
        : `The priority of ${peerName(peer)} is ${priority.toLowerCase()}.`,
    confirmation: null,
  }
}

export function setLongTerm(peer: PeerRow, isLongTerm: boolean): Deed {
  return {
    act: { action: 'setLongTerm', target: peer.id, isLongTerm },
    done: isLongTerm ? `${peerName(peer)} is kept up for good.` : `${peerName(peer)} takes its turn as others do.`,
    confirmation: null,
  }
}

/** With a peer: an address of anybody else is refused. */
export function addRoute(address: string, peer: PeerRow | null = null): Deed {
  return {
    act: peer === null ? { action: 'addRoute', address } : { action: 'addRoute', address, peer: peer.id },
    done: `Added ${shortAddress(address)}${peer === null ? '' : ` to ${peerName(peer)}`}.`,
    alreadyDone: `Nothing new in ${shortAddress(address)}: it is known already, or it is our own address.`,
    confirmation: null,
  }
}

export function removeRoute(peer: PeerRow, route: RouteRow): Deed {
  const isUsed = route.status !== 'idle'
  return {
    act: { action: 'removeRoute', address: route.address },
    done: `Removed ${shortAddress(route.address)}.`,
    confirmation: {
      title: 'Remove this route?',
      lines: [
        clean(route.address),
        isUsed
          ? `${peerName(peer)} is ${route.status} by it: this cuts that connection.`
          : 'It is not in use, so nothing is cut now.',
        'It comes back if somebody announces it again.',
      ],
      verb: 'Remove',
    },
  }
}

export function start(): Deed {
  return { act: { action: 'start' }, done: 'Started.', confirmation: null }
}

/** How many connections there are, of ours and of others. */
function connectionsOf(status: Status): number {
  return Object.keys(status.classes).reduce(
    (sum, name) => sum + (status.classes[name] as ClassStatus).connected,
    status.inbound.connected,
  )
}

export function stop(status: Status): Deed {
  const up = connectionsOf(status)
  return {
    act: { action: 'stop' },
    done: 'Stopped: nobody is dialed.',
    confirmation: {
      title: 'Stop all connections?',
      lines: [
        up + status.dialing === 0
          ? 'Nothing is connected, so nothing is cut now.'
          : `This cuts ${plural(up, 'connection')} and ${plural(status.dialing, 'dial')} under way.`,
        'Nobody is dialed until somebody starts it again. Others can still call.',
      ],
      verb: 'Stop',
    },
  }
}

export function setMax(name: string, max: number, status: ClassStatus): Deed {
  const taken = status.connected + status.dialing + status.closing
  const surplus = Math.max(0, taken - max)
  const shown = clean(name, 40)
  return {
    act: { action: 'setMax', max: { [name]: max } },
    done: `${shown}: ${plural(max, 'slot')}.`,
    confirmation:
      max >= status.max
        ? null
        : {
            title: `Lower the slots of ${shown} from ${count(status.max)} to ${count(max)}?`,
            lines: [
              surplus === 0
                ? `${plural(taken, 'slot is', 'slots are')} taken, so nothing is cut now.`
                : `${plural(taken, 'slot is', 'slots are')} taken: this cuts up to ${count(surplus)}, the worst first. Long-term peers stay.`,
            ],
            verb: 'Lower',
          },
  }
}

export function syncStart(status: Status, peer: PeerRow | null): Deed {
  const name = peer === null ? 'the best route there is' : peerName(peer)
  const up = connectionsOf(status) - status.inbound.connected
  return {
    act: peer === null ? { action: 'syncStart' } : { action: 'syncStart', target: peer.id },
    done: `Initial sync from ${name} has begun.`,
    confirmation: {
      title: `Start an initial sync from ${peer === null ? 'whoever is best' : name}?`,
      lines: [
        up === 0
          ? 'We dialed nobody yet, so nothing is cut now.'
          : `This cuts the ${plural(up, 'connection')} that we dialed, but for the one it needs.`,
        'Nobody else is dialed until it has caught up, or somebody stops it.',
      ],
      verb: 'Start sync',
    },
  }
}

export function syncStop(): Deed {
  return { act: { action: 'syncStop' }, done: 'The initial sync has ended.', confirmation: null }
}
