/** A neighbour that knows the announces of half of the main feeds, and answers each question after a while. */
import { createHash } from 'crypto'

import pull = require('pull-stream')

import { generate, type Keys } from 'ssb-keys'

const { signObj } = require('ssb-keys') as {
  signObj(keys: Keys, hmac: null, object: object): object
}

export interface Mains {
  readonly self: string
  readonly mains: readonly string[]
  /** Of those who announced one: the root meta feed, and the message. */
  readonly announced: ReadonlyMap<string, { readonly root: string; readonly message: object }>
}

function keysOf(text: string): Keys {
  return generate('ed25519', createHash('sha256').update(text).digest())
}

function rootIdOf({ public: key }: Keys): string {
  return `ssb:feed/bendybutt-v1/${key.replace('.ed25519', '').replace(/\+/g, '-').replace(/\//g, '_')}`
}

/** As ssb-meta-feeds publishes it: the content signed by the meta feed, the message by the main feed. */
function announce(main: Keys, root: Keys): object {
  const content = signObj(root, null, {
    type: 'metafeed/announce',
    metafeed: rootIdOf(root),
    subfeed: main.id,
    tangles: { metafeed: { root: null, previous: null } },
  })
  return signObj(main, null, {
    previous: null,
    sequence: 1,
    author: main.id,
    timestamp: 1_700_000_000_000,
    hash: 'sha256',
    content,
  })
}

export function makeMains(count: number): Mains {
  const announced = new Map<string, { root: string; message: object }>()
  const mains = Array.from({ length: count }, (_, i) => {
    const main = keysOf(`main ${i}`)
    if (i % 2 === 0) {
      const root = keysOf(`root ${i}`)
      announced.set(main.id, { root: rootIdOf(root), message: announce(main, root) })
    }
    return main.id
  })
  return { self: keysOf('self').id, mains, announced }
}

interface Query {
  readonly op: string
  readonly string?: string
  readonly feed?: string
  readonly args?: readonly Query[]
}

function authorsIn({ feed, args = [] }: Query): string[] {
  return [...(feed === undefined ? [] : [feed]), ...args.flatMap(authorsIn)]
}

const ANSWER_MS = 20

export class Neighbour {
  readonly id = keysOf('neighbour').id
  /** Mains of which it has said what it knows. */
  readonly answered = new Set<string>()
  questions = 0

  constructor(private readonly announced: Mains['announced']) {}

  readonly on = (): void => {}

  readonly getSubset = (query: Query): pull.Source<object> => {
    this.questions++
    const authors = authorsIn(query)
    let answers: object[] | null = null
    const isReady = new Promise<void>((resolve) => setTimeout(resolve, ANSWER_MS))
    const end = (cb: (end: true) => void): void => {
      for (const author of authors) this.answered.add(author)
      cb(true)
    }
    return (abort, cb) => {
      if (abort) return end(cb as (end: true) => void)
      isReady.then(() => {
        answers ??= authors.flatMap((author) => this.announced.get(author)?.message ?? [])
        const next = answers.shift()
        if (next === undefined) end(cb as (end: true) => void)
        else cb(null, next)
      })
    }
  }
}
