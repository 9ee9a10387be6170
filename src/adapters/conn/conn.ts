/** The legacy `sbot.conn`, in terms of the manager. */
import type { ConnectionManager } from '../../manager'
import type { Clock } from '../../shell/clock'
import type { Sbot } from '../sbot'

export interface ConnOptions {
  readonly manager: ConnectionManager
  readonly sbot: Sbot
  readonly config: { readonly conn: unknown; readonly timers: unknown }
  readonly clock: Clock
}

export const connManifest = { start: 'sync', stop: 'sync' } as const
export const connPermissions = { anonymous: { allow: ['ping'] } }

export function createConn({ sbot }: ConnOptions) {
  const scheduler = () => sbot.connScheduler as { start(): void; stop(): void } | undefined
  const db = {}
  const api = {
    start: async () => scheduler()?.start(),
    stop: () => scheduler()?.stop(),
    db: () => db,
  }
  return { api, manifest: connManifest, permissions: connPermissions, stop: () => {} }
}
