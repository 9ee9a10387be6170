/** What an action means to whoever watches connections come and go. */
import type { Action } from '../core/actions'
import type { State } from '../core/table'
import type { Address, Direction, EpochMs, FeedId } from '../core/types'

export interface ConnectionChange {
  readonly type: 'dialing' | 'connected' | 'failed' | 'disconnected' | 'refused'
  readonly peer: FeedId
  readonly address: Address | null
  readonly direction: Direction
  /** Why it was dialed, failed, closed or refused; null where nothing is known, as when the other side hung up. */
  readonly reason: string | null
  readonly at: EpochMs
}

export class Changes {
  /** Peers whose connection was to be closed as it came; of these, only that is told. */
  private readonly refused = new Set<FeedId>()

  /** Null where nobody was dialed, came or went. To be asked once for each action, in order. */
  of(action: Action, before: State, after: State): ConnectionChange | null {
    switch (action.type) {
      case 'dial/started':
        return {
          type: 'dialing',
          peer: action.peer,
          address: action.address,
          direction: 'outbound',
          reason: action.cause,
          at: action.at,
        }
      case 'dial/failed':
        return {
          type: 'failed',
          peer: action.peer,
          address: action.address,
          direction: 'outbound',
          reason: action.error.code ?? action.error.message,
          at: action.at,
        }
      case 'connection/opened': {
        const { peer, address, direction, cause, at } = action
        const opened = after.peers.get(peer)?.connection
        if (opened?.status === 'connected' && opened.closeReason !== null) {
          this.refused.add(peer)
          return null
        }
        this.refused.delete(peer)
        return { type: 'connected', peer, address, direction, reason: cause, at }
      }
      case 'connection/closed': {
        const connection = before.peers.get(action.peer)?.connection
        if (!connection || (connection.status !== 'connected' && connection.status !== 'closing')) return null
        if (after.peers.get(action.peer)?.connection === connection) return null
        const reason = connection.status === 'closing' ? connection.reason : connection.closeReason
        return {
          type: this.refused.delete(action.peer) ? 'refused' : 'disconnected',
          peer: action.peer,
          address: connection.address,
          direction: connection.direction,
          reason,
          at: action.at,
        }
      }
      default:
        return null
    }
  }
}
