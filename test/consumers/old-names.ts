/**
 * For `--require`: whoever asks for one of the existing managers by name gets ours, so that programs and tests of published
 * packages run unchanged on it. `MANAGER` says what they get:
 *
 * - `plugin` (or nothing): in place of ssb-gossip the plugin, in place of ssb-conn the entry `/conn`;
 * - `conn`: `/conn` in place of either;
 * - `originals`: what they ask for, and only what follows holds.
 *
 * The published tests were written for older releases of what they use than are installed here. What a package declares, or
 * what its tests can be seen to mean, is given them in every case: ssb-friends 4, an ssb-server that can encrypt (up to 14 it
 * could by itself), and a stand-in for ssb-identities, where that is not installed.
 *
 * Only requests of installed packages are answered like this; what is ours finds the originals under their names.
 */
import Module = require('module')

import { join } from 'path'

import { gossipFor } from './manager'

interface Requester {
  readonly filename?: string | null
}
type Resolve = (this: unknown, request: string, parent: Requester | null | undefined, ...rest: unknown[]) => string

const loader = Module as unknown as { _resolveFilename: Resolve }
const original = loader._resolveFilename
const isOriginals = process.env.MANAGER === 'originals'
const here = (name: string): string => join(__dirname, 'stand-ins', `${name}.ts`)
const ours = (name: string): string => join(__dirname, '..', '..', 'src', `${name}.ts`)

/** Names under which the gossip plugin was to be had. */
const GOSSIP = ['ssb-gossip', 'ssb-server/plugins/gossip', 'scuttlebot/plugins/gossip']

loader._resolveFilename = function (request, parent, ...rest) {
  const found = (name: string): string => original.call(this, name, parent, ...rest)
  const from = parent?.filename?.replace(/\\/g, '/') ?? ''
  const asking = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\/(.*)/.exec(from)
  if (!asking) return found(request)
  const [, requester = '', file = ''] = asking

  // Its own tests, which ask for it by the folder above them.
  const isGossip =
    GOSSIP.includes(request) || (requester === 'ssb-gossip' && file.startsWith('test/') && request === '..')
  if (isGossip) return gossipFor(process.env.MANAGER)

  const conn = /^ssb-conn(\/(?:core|scheduler|compat))?$/.exec(request)
  if (conn && !isOriginals) return ours(`conn${conn[1] ?? ''}`)

  if (request === 'scuttlebot') return here('server')
  if (request === 'ssb-server' && ['ssb-tunnel', 'ssb-peer-invites'].includes(requester)) return here('server')
  if (request === 'ssb-friends' && ['ssb-peer-invites', 'ssb-replicate', 'scuttle-testbot'].includes(requester))
    return require.resolve('ssb-friends-4')
  // Its tests run without any manager, and so would say nothing of one.
  if (request === 'scuttle-testbot' && requester === 'ssb-invite') return here('testbot')
  if (request !== 'ssb-identities') return found(request)
  try {
    return found(request)
  } catch {
    return here('identities')
  }
}
