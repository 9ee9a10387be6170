/**
 * Entry `sbot-connection-manager/replication-scheduler`: the plugin `replicationScheduler`, in the place of
 * ssb-replication-scheduler. Tells ssb-ebt which feeds to replicate, from the social graph and private groups, in full or in
 * part along meta feed trees. Needs ssb-ebt and ssb-friends; everything else is used where it is there.
 */

import { manifest, permissions } from './replication/manifest'
import type * as scheduler from './replication/plugin'

interface ReplicationSchedulerPlugin {
  readonly name: 'replicationScheduler'
  readonly version: string
  readonly manifest: typeof manifest
  readonly permissions: typeof permissions
  /** secret-stack calls it; returns the API that is mounted as `sbot.replicationScheduler`. */
  readonly init: (sbot: object, config: object) => scheduler.ReplicationScheduler
}

const plugin: ReplicationSchedulerPlugin = {
  name: 'replicationScheduler',
  version: '1.0.0',
  manifest,
  permissions,
  init: (sbot, config) => (require('./replication/plugin') as typeof import('./replication/plugin')).init(sbot, config),
}

// In the form that an ES module's `import { init } from` is resolved by: it reads CommonJS as text.
module.exports.name = plugin.name
module.exports.version = plugin.version
module.exports.manifest = plugin.manifest
module.exports.permissions = plugin.permissions
module.exports.init = plugin.init

/** Types for those who call `sbot.replicationScheduler`. */
namespace plugin {
  export type Api = scheduler.ReplicationScheduler
  export type Status = scheduler.ReplicationStatus
  export type FeedStatus = scheduler.FeedStatus
  export type Explanation = scheduler.FeedExplanation
}

export = plugin
