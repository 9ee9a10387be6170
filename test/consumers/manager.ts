/** Which manager a run of a consumer is with. */
import { join } from 'path'

export type ManagerName = 'plugin' | 'conn' | 'originals'

/** The file that stands where ssb-gossip is asked for. */
export function gossipFor(manager: string | undefined): string {
  switch (manager) {
    case 'originals':
      return require.resolve('ssb-gossip')
    case 'conn':
      return join(__dirname, '..', '..', 'src', 'conn.ts')
    default:
      return join(__dirname, 'stand-ins', 'gossip.ts')
  }
}
