/** Usage in the shape that the muxrpc command line prints: `{description, commands: {name: {type, description, args}}}`. */

interface Argument {
  readonly type: string
  readonly description: string
  readonly optional?: boolean
}

interface Command {
  readonly type: 'sync' | 'async' | 'source'
  readonly description: string
  readonly args?: { readonly [name: string]: Argument }
}

export interface Help {
  readonly description: string
  readonly commands: { readonly [name: string]: Command }
}

const address: Argument = { type: 'MultiserverAddress', description: 'a multiserver address, several joined by ;' }
const target: Argument = { type: 'Target', description: 'a feed id, or an address' }

export const HELP: Help = {
  description: 'Keeps a table of peers and of the routes to them, decides whom to dial next, and says why not.',
  commands: {
    'peer.addRoute': {
      type: 'sync',
      description: 'add a route; true when it is new',
      args: {
        address,
        isLocal: { type: 'Boolean', description: 'found on the local network', optional: true },
        source: { type: 'String', description: 'who told of it', optional: true },
        priority: { type: 'Priority', description: 'HIGH, MEDIUM, LOW or BANNED', optional: true },
      },
    },
    'peer.removeRoute': { type: 'sync', description: 'remove a route; hangs up if it is in use', args: { address } },
    'peer.withdrawRoute': {
      type: 'sync',
      description: 'say that a route is no longer announced: it goes, unless it is stored or in use',
      args: { address },
    },
    'peer.setPriority': {
      type: 'sync',
      description: 'set the priority of a peer; BANNED hangs up and refuses it',
      args: { id: target, priority: { type: 'Priority', description: 'HIGH, MEDIUM, LOW or BANNED' } },
    },
    'peer.setLongTerm': {
      type: 'sync',
      description: 'keep a peer connected for as long as possible, or no longer',
      args: { id: target, isLongTerm: { type: 'Boolean', description: 'default true', optional: true } },
    },
    'peer.connect': {
      type: 'async',
      description: 'connect now, past slots and backoff',
      args: { id: target, isLongTerm: { type: 'Boolean', description: 'and keep it up', optional: true } },
    },
    'peer.disconnect': { type: 'async', description: 'hang up; not redialed for a minute', args: { id: target } },
    'peer.get': { type: 'sync', description: 'one peer with its routes', args: { id: target } },
    'peer.list': { type: 'sync', description: 'all peers with their routes' },
    'peer.explain': {
      type: 'sync',
      description: 'why a peer is not connected, and when it is next tried',
      args: { id: target },
    },
    'peer.remotePeerConnected': {
      type: 'sync',
      description: 'tell that a peer has connected to us',
      args: { id: target },
    },
    'peer.remotePeerDisconnected': { type: 'sync', description: 'tell that a peer has gone', args: { id: target } },
    peers: {
      type: 'source',
      description: 'all peers, {sync: true}, then each change',
      args: {
        old: { type: 'Boolean', description: 'what is there now; default true', optional: true },
        live: { type: 'Boolean', description: 'then each change; default true', optional: true },
      },
    },
    'connections.start': { type: 'sync', description: 'start dialing' },
    'connections.stop': { type: 'sync', description: 'hang up everything and stop dialing' },
    'connections.setMaxByType': {
      type: 'sync',
      description: 'slots by type, e.g. --net 5 --onion 0; merges with what is set',
    },
    'connections.setLifetime': { type: 'sync', description: 'hang up on whoever is not long-term after this many ms' },
    'connections.status': { type: 'sync', description: 'mode, slots and success rate by class, environment' },
    'connections.changes': { type: 'source', description: 'dialing, connected, failed, disconnected, refused' },
    'connections.errors': { type: 'source', description: 'failed dials as {peer: address, id, error, errorCount}' },
    'connection.errors': { type: 'source', description: 'the same as connections.errors' },
    'initialSync.start': {
      type: 'sync',
      description: 'one connection only, to a peer or to the best one, until caught up or stopped',
      args: { peer: { ...target, optional: true } },
    },
    'initialSync.stop': { type: 'sync', description: 'end the initial sync and go back to the mode from before' },
    'initialSync.progress': { type: 'source', description: '{phase, peer, have, want}, now and at each change' },
    help: { type: 'sync', description: 'this text' },
  },
}
