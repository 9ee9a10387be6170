/**
 * `require('sbot-connection-manager/conn')`: the line that replaces `require('ssb-conn')`. An array of plugins with exactly
 * the names `connectionManager`, `conn`, `connScheduler` and `gossip`, as secret-stack 8 checks `needs` by name.
 */
import type * as facade from './adapters/conn/conn'
import * as parts from './adapters/conn-plugins'

const plugins = [parts.connectionManagerPlugin, parts.connPart, parts.schedulerPart, parts.gossipPart] as const

/** Types for those who call `sbot.conn`: `import type { CONN } from 'sbot-connection-manager/conn'`. */
namespace plugins {
  export type CONN = facade.Conn
  export type ConnDB = facade.ConnDB
  export type ConnHub = facade.ConnHub
  export type ConnStaging = facade.ConnStaging
  export type ConnQuery = facade.ConnQuery
  export type DbEntry = facade.DbEntry
  export type HubEntry = facade.HubEntry
  export type HubEvent = facade.HubEvent
  export type StagedEntry = facade.StagedEntry
}

export = plugins
