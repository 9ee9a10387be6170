/**
 * `require('sbot-connection-manager/conn/scheduler')`: the plugin `connScheduler` alone: the policy, discovery and social
 * priorities.
 */
import { schedulerPart } from '../adapters/conn-plugins'

// In the form that an ES module's `import { init } from` is resolved by: it reads CommonJS as text.
module.exports.version = schedulerPart.version
module.exports.manifest = schedulerPart.manifest
module.exports.permissions = schedulerPart.permissions
module.exports.init = schedulerPart.init

export = schedulerPart
