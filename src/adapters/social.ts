/** Priorities from the social graph. */
import type { DiscoverySource } from './discovery/source'

export const watchFriends: DiscoverySource = () => () => {}
