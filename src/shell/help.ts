/**
 * Usage in the shape that the muxrpc command line prints (muxrpc-usage): a group is `{description, commands: {name: …}}`, a
 * command `{type, description, args}`. Names with a dot are groups in groups, as in the manifest: the command line looks
 * `peer.explain` up word by word, and takes for a command only what has `args`, be they none.
 */

export interface Argument {
  readonly type: string
  readonly description: string
  readonly optional?: boolean
}

export interface Command {
  readonly type: 'sync' | 'async' | 'source'
  readonly description: string
  readonly args: { readonly [name: string]: Argument }
  /** The argument that may be given without its name, in place of all. */
  readonly single?: string
}

export interface Help {
  readonly description: string
  readonly commands: { readonly [name: string]: Command | Help }
}

const address: Argument = { type: 'MultiserverAddress', description: 'a multiserver address, several joined by ;' }
const target: Argument = { type: 'Target', description: 'a feed id, or an address' }
const priority: Argument = { type: 'Priority', description: 'HIGH, MEDIUM, LOW or BANNED' }

export const HELP = {
  description: 'Keeps a table of peers and of the routes to them, decides whom to dial next, and says why not.',
  commands: {
    peer: {
      description: 'the table of peers, and each one in it',
      commands: {
        addRoute: {
          type: 'sync',
          description: 'add a route; true when it is new',
          single: 'address',
          args: {
            address,
            isLocal: { type: 'Boolean', description: 'found on the local network', optional: true },
            source: { type: 'String', description: 'who told of it', optional: true },
            priority: { ...priority, optional: true },
          },
        },
        removeRoute: {
          type: 'sync',
          description: 'remove a route; hangs up if it is in use',
          single: 'address',
          args: { address },
        },
        withdrawRoute: {
          type: 'sync',
          description: 'say that a route is no longer announced: it goes, unless it is stored or in use',
          single: 'address',
          args: { address },
        },
        setPriority: {
          type: 'sync',
          description: 'set the priority of a peer; BANNED hangs up and refuses it',
          args: { id: target, priority },
        },
        setLongTerm: {
          type: 'sync',
          description: 'keep a peer connected for as long as possible, or no longer',
          single: 'id',
          args: { id: target, isLongTerm: { type: 'Boolean', description: 'default true', optional: true } },
        },
        connect: {
          type: 'async',
          description: 'connect now, past slots and backoff',
          single: 'id',
          args: { id: target, isLongTerm: { type: 'Boolean', description: 'and keep it up', optional: true } },
        },
        disconnect: {
          type: 'async',
          description: 'hang up; not redialed for a minute',
          single: 'id',
          args: { id: target },
        },
        get: { type: 'sync', description: 'one peer with its routes', single: 'id', args: { id: target } },
        list: { type: 'sync', description: 'all peers with their routes', args: {} },
        explain: {
          type: 'sync',
          description: 'why a peer is not connected, and when it is next tried',
          single: 'id',
          args: { id: target },
        },
        remotePeerConnected: {
          type: 'sync',
          description: 'tell that a peer has connected to us',
          single: 'id',
          args: { id: target },
        },
        remotePeerDisconnected: {
          type: 'sync',
          description: 'tell that a peer has gone',
          single: 'id',
          args: { id: target },
        },
      },
    },
    peers: {
      type: 'source',
      description: 'all peers, {sync: true}, then each change',
      args: {
        old: { type: 'Boolean', description: 'what is there now; default true', optional: true },
        live: { type: 'Boolean', description: 'then each change; default true', optional: true },
      },
    },
    connections: {
      description: 'dialing as a whole',
      commands: {
        start: { type: 'sync', description: 'start dialing', args: {} },
        stop: { type: 'sync', description: 'hang up everything and stop dialing', args: {} },
        setMaxByType: {
          type: 'sync',
          description: 'slots by type, e.g. --net 5 --onion 0; merges with what is set',
          args: {},
        },
        setLifetime: {
          type: 'sync',
          description: 'hang up on whoever is not long-term after this many ms',
          args: {},
        },
        status: { type: 'sync', description: 'mode, slots and success rate by class, environment', args: {} },
        diagnose: { type: 'sync', description: 'what is wrong, worst first, and what to do about it', args: {} },
        changes: { type: 'source', description: 'dialing, connected, failed, disconnected, refused', args: {} },
        errors: {
          type: 'source',
          description: 'failed dials as {peer: address, id, error, errorCount}',
          args: {},
        },
        recording: {
          type: 'source',
          description: 'how things stand, then every action: a bug report that can be replayed, without keys',
          args: {},
        },
      },
    },
    status: { type: 'sync', description: 'the same as connections.status', args: {} },
    metrics: {
      type: 'sync',
      description: 'counters and gauges',
      args: { format: { type: 'String', description: 'text: the format of Prometheus', optional: true } },
    },
    connection: {
      description: 'another name for connections.errors',
      commands: { errors: { type: 'source', description: 'the same as connections.errors', args: {} } },
    },
    initialSync: {
      description: 'one connection only, until we have caught up',
      commands: {
        start: {
          type: 'sync',
          description: 'one connection only, to a peer or to the best one, until caught up or stopped',
          single: 'id',
          args: { id: { ...target, optional: true } },
        },
        stop: { type: 'sync', description: 'end the initial sync and go back to the mode from before', args: {} },
        progress: { type: 'source', description: '{phase, peer, have, want}, now and at each change', args: {} },
      },
    },
    help: { type: 'sync', description: 'this text', args: {} },
  },
} as const satisfies Help
