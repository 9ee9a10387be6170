/** `require('sbot-connection-manager/conn/compat')`: the plugin `gossip` alone, whole and not only `ping`. */
import { gossipPart } from '../adapters/conn-plugins'

// In the form that an ES module's `import { init } from` is resolved by: it reads CommonJS as text.
module.exports.version = gossipPart.version
module.exports.manifest = gossipPart.manifest
module.exports.permissions = gossipPart.permissions
module.exports.init = gossipPart.init

export = gossipPart
