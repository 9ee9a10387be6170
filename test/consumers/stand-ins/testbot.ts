/** scuttle-testbot, whose next stack has the gossip plugin that old-names.ts is asked for. */
import Testbot = require('scuttle-testbot')

const gossip: object = process.env.MANAGER === 'originals' ? require('ssb-gossip') : require('./gossip')

export = { use: (plugin: object) => Testbot.use(gossip).use(plugin) }
