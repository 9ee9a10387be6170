/**
 * `require('sbot-connection-manager/conn/core')`: the plugin `conn` alone. It dials for `conn.connect` only, unless a
 * `connScheduler` is loaded.
 */
import { connPart } from '../adapters/conn-plugins'

// In the form that an ES module's `import { init } from` is resolved by: it reads CommonJS as text.
module.exports.version = connPart.version
module.exports.manifest = connPart.manifest
module.exports.permissions = connPart.permissions
module.exports.init = connPart.init

export = connPart
