/**
 * Entry `sbot-connection-manager/dashboard`: the optional plugin `dashboard`, which serves a live page of the connection
 * manager on loopback. Off unless it is asked for: `config.dashboard.enabled`, or `sbot.dashboard.start()`.
 */
import { plugin as dashboard } from './dashboard/plugin'
import type * as service from './dashboard/service'

const plugin = dashboard

// In the form that an ES module's `import { init } from` is resolved by: it reads CommonJS as text.
module.exports.name = plugin.name
module.exports.version = plugin.version
module.exports.manifest = plugin.manifest
module.exports.permissions = plugin.permissions
module.exports.init = plugin.init

/** Types for those who call `sbot.dashboard`. */
namespace plugin {
  export type Api = service.Dashboard
  export type Status = service.DashboardStatus
  export type NameSource = service.NameSource
}

export = plugin
