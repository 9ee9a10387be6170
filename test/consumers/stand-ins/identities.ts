/** What ssb-peer-invites and its tests use of ssb-identities 2: further feeds of one's own, and publishing on them. */
import { generate } from 'ssb-keys'

type Callback = (error: Error | null, value?: unknown) => void

interface Feed {
  readonly id: string
  publish(content: object, cb: Callback): void
}

interface Sbot extends Feed {
  createFeed(keys: object): Feed
}

const identities = {
  name: 'identities',
  version: '2.0.7',
  manifest: { create: 'async', publishAs: 'async' },
  init(sbot: Sbot) {
    const feeds = new Map<string, Feed>([[sbot.id, sbot]])
    return {
      create: (cb: Callback): void => {
        const keys = generate()
        feeds.set(keys.id, sbot.createFeed(keys))
        cb(null, keys.id)
      },
      publishAs: ({ id, content }: { readonly id: string; readonly content: object }, cb: Callback): void => {
        const feed = feeds.get(id)
        if (feed) feed.publish(content, cb)
        else cb(new Error(`${id} is none of our feeds`))
      },
    }
  },
}

export = identities
