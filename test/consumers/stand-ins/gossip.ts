/**
 * Our plugin as the README tells users of ssb-gossip to load it: dialing from the start, as that one did, and with
 * `config.seeds`, which the plugin leaves to others, added by its API.
 */
import Manager = require('../../../src/index')

interface Config {
  readonly connectionManager?: object
  readonly seeds?: string | readonly string[]
}

const gossip = {
  name: Manager.name,
  version: Manager.version,
  manifest: Manager.manifest,
  permissions: Manager.permissions,
  init: (sbot: object, config: Config, permissions?: object, manifest?: object): object => {
    const own = { autostart: true, ...config.connectionManager }
    const api = Manager.init(
      sbot,
      { ...config, connectionManager: own },
      permissions,
      manifest,
    ) as Manager.ConnectionManager
    for (const address of [config.seeds ?? []].flat()) api.peer.addRoute({ address, source: 'seed' })
    return api
  },
}

export = gossip
