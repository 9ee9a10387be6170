/** Tells the manager when much is being taken in. */
import type { DiscoverySource } from './discovery/source'

export const watchDownloads: DiscoverySource = () => () => {}
