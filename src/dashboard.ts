/**
 * Entry `sbot-connection-manager/dashboard`: the optional plugin `dashboard`, which serves a live page of the connection
 * manager on loopback. Off unless it is asked for: `config.dashboard.enabled`, or `sbot.dashboard.start()`.
 */
import { plugin as dashboard } from './dashboard/plugin'
import type * as service from './dashboard/service'

const plugin = dashboard

/** Types for those who call `sbot.dashboard`. */
namespace plugin {
  export type Api = service.Dashboard
  export type Status = service.DashboardStatus
  export type NameSource = service.NameSource
}

export = plugin
