/** scuttle-testbot, whose next stack has the gossip plugin that old-names.ts is asked for. */
import Testbot = require('scuttle-testbot')

import { gossipFor } from '../manager'

const gossip = require(gossipFor(process.env.MANAGER)) as object

export = { use: (plugin: object) => Testbot.use(gossip).use(plugin) }
