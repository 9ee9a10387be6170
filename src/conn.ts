/**
 * `require('sbot-connection-manager/conn')`: the line that replaces `require('ssb-conn')`. An array of plugins with exactly
 * the names `connectionManager`, `conn`, `connScheduler` and `gossip`, as secret-stack 8 checks `needs` by name.
 */
import * as parts from './adapters/conn-plugins'

const plugins = [parts.connectionManagerPlugin, parts.connPart, parts.schedulerPart, parts.gossipPart] as const

export = plugins
