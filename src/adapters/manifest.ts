/** What the plugin offers over muxrpc, and to whom. Apart from plugin.ts, as it is needed before anything is loaded. */

/** The manifest types are behaviour: secret-stack wraps methods by them. */
export const manifest = {
  peer: {
    addRoute: 'sync',
    removeRoute: 'sync',
    withdrawRoute: 'sync',
    setPriority: 'sync',
    setLongTerm: 'sync',
    connect: 'async',
    disconnect: 'async',
    get: 'sync',
    list: 'sync',
    explain: 'sync',
    remotePeerConnected: 'sync',
    remotePeerDisconnected: 'sync',
  },
  peers: 'source',
  connections: {
    start: 'sync',
    stop: 'sync',
    setMaxByType: 'sync',
    setLifetime: 'sync',
    status: 'sync',
    diagnose: 'sync',
    changes: 'source',
    errors: 'source',
    recording: 'source',
  },
  status: 'sync',
  metrics: 'sync',
  connection: { errors: 'source' },
  initialSync: { start: 'sync', stop: 'sync', progress: 'source' },
  help: 'sync',
} as const

/** Strangers may call nothing of this; `gossip.ping` is added with the facade. */
export const permissions = { anonymous: { allow: [] as string[] } }
