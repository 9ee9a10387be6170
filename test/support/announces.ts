/** Announces as the author of a main feed publishes them, and wrong ones. */
import { generate, type Keys } from 'ssb-keys'

const { signObj } = require('ssb-keys') as {
  signObj(keys: Keys, hmac: string | null, object: object): Record<string, unknown>
}

export interface AnnounceChange {
  readonly sequence?: number
  readonly hmac?: string | null
  /** Changes the content before it is signed. */
  readonly content?: object
  /** Changes the message before it is signed. */
  readonly value?: object
  readonly contentKeys?: Keys
  readonly messageKeys?: Keys
}

export function rootId(keys: Keys): string {
  const key = keys.public.replace('.ed25519', '').replace(/\+/g, '-').replace(/\//g, '_')
  return `ssb:feed/bendybutt-v1/${key}`
}

/** A classic message value by which `main` names `root`. */
export function announce(main: Keys, root: Keys, change: AnnounceChange = {}): Record<string, unknown> {
  const content = signObj(change.contentKeys ?? root, null, {
    type: 'metafeed/announce',
    metafeed: rootId(root),
    subfeed: main.id,
    tangles: { metafeed: { root: null, previous: null } },
    ...change.content,
  })
  return signObj(change.messageKeys ?? main, change.hmac ?? null, {
    previous: null,
    sequence: change.sequence ?? 1,
    author: main.id,
    timestamp: 1_700_000_000_000,
    hash: 'sha256',
    content,
    ...change.value,
  })
}

/** Repeatable keys. */
export function keysOf(number: number): Keys {
  const seed = Buffer.alloc(32)
  seed.writeUInt32BE(number + 1)
  return generate('ed25519', seed)
}
