/**
 * What `require('sbot-connection-manager')` gives: a function that makes a stand-alone manager, which is at the same time a
 * secret-stack plugin. The plugin's part is loaded when it is first used, so that the function needs no Node module.
 */

import { manifest, permissions } from './adapters/manifest'
import type { Action as CoreAction } from './core/actions'
import type * as diagnosis from './core/diagnosis'
import type * as errors from './core/errors'
import type * as selectors from './core/selectors'
import type { Priority as CorePriority } from './core/types'
import * as manager from './manager'
import type { Source as LiveSource } from './shell/live'
import type * as metrics from './shell/metrics'

interface Plugin {
  /**
   * Makes a stand-alone manager: no disk, no network of its own.
   * Throws InvalidArgumentError (code ERR_INVALID_ARGUMENT) when an option is not what it has to be.
   */
  (options: manager.ManagerOptions): manager.ConnectionManager
  readonly version: string
  readonly manifest: typeof manifest
  readonly permissions: typeof permissions
  /** secret-stack calls it; returns the API that is mounted as `sbot.connectionManager`. */
  readonly init: (sbot: object, config: object, permissions?: object, manifest?: object) => object
  readonly priority: typeof manager.PRIORITY
  readonly HIGH: 'HIGH'
  readonly MEDIUM: 'MEDIUM'
  readonly MED: 'MEDIUM'
  readonly LOW: 'LOW'
  readonly BANNED: 'BANNED'
}

function create(options: manager.ManagerOptions): manager.ConnectionManager {
  return manager.createManager(options)
}

// secret-stack takes the mount name from `name`; of a function that is a property which cannot be assigned.
Object.defineProperty(create, 'name', { value: 'connectionManager' })

const Manager: Plugin = Object.assign(create, {
  version: '1.0.0',
  manifest,
  permissions,
  init: (sbot: object, config: object, given?: object, whole?: object): object => {
    const plugin = require('./adapters/plugin') as typeof import('./adapters/plugin')
    return plugin.init(sbot as Parameters<typeof plugin.init>[0], config, given, whole)
  },
  priority: manager.PRIORITY,
  ...manager.PRIORITY,
})

// Once more, in the form that an ES module's `import { priority } from` is resolved by: it reads CommonJS as text.
module.exports.version = Manager.version
module.exports.manifest = Manager.manifest
module.exports.permissions = Manager.permissions
module.exports.init = Manager.init
module.exports.priority = Manager.priority
module.exports.HIGH = Manager.HIGH
module.exports.MEDIUM = Manager.MEDIUM
module.exports.MED = Manager.MED
module.exports.LOW = Manager.LOW
module.exports.BANNED = Manager.BANNED

namespace Manager {
  export type ConnectionManager = manager.ConnectionManager
  export type ManagerOptions = manager.ManagerOptions
  export type ConnectToPeer = manager.ManagerOptions['connectToPeer']
  export type ConnectionChange = manager.ConnectionChange
  export type ConnectionError = manager.ConnectionError
  export type SyncProgress = manager.SyncProgress
  export type PrioritiseHook = manager.PrioritiseHook
  export type Priority = CorePriority
  export type PeerView = selectors.PeerView
  export type PeerRemoved = selectors.PeerRemoved
  export type RouteView = selectors.RouteView
  export type Explanation = selectors.Explanation
  export type Finding = diagnosis.Finding
  export type Metric = metrics.Metric
  export type Status = selectors.Status
  export type Action = CoreAction
  export type Source<T> = LiveSource<T>
  export type ConnectionManagerError = errors.ConnectionManagerError
}

export = Manager
