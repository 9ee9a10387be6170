/** Which messages are announces, and reading them from a database: here one that is made up. */
import fc from 'fast-check'

import pull = require('pull-stream')
import test = require('tape')

import { checkAnnounce, persistAnnounce, startAnnounces, verifyAnnounce } from '../../src/replication/announces'
import { type VirtualClock, virtualClock } from '../../src/testing'
import { announce, keysOf, rootId } from '../support/announces'

const main = keysOf(1)
const root = keysOf(2)
const mallory = keysOf(3)
const HMAC = Buffer.alloc(32, 7).toString('base64')

const good = announce(main, root, { sequence: 5 })
const without = (field: string): object => Object.fromEntries(Object.entries(good).filter(([name]) => name !== field))
/** Deep enough that its JSON, indented, is huge. */
const nested = JSON.parse('['.repeat(3_000) + ']'.repeat(3_000)) as unknown

test('an announce has to be signed by the meta feed and by the author of the main feed', (t) => {
  const found = { main: main.id, root: rootId(root), sequence: 5 }
  t.deepEqual(verifyAnnounce(good), found)
  t.deepEqual(verifyAnnounce(JSON.parse(JSON.stringify(good))), found)
  const cases: readonly (readonly [string, unknown, 'sender' | 'author'])[] = [
    // B12: a neighbour redirects a main to a meta feed of its own.
    ['signed by another main', announce(main, mallory, { messageKeys: mallory }), 'sender'],
    ['changed after it was signed', { ...good, sequence: 6 }, 'sender'],
    ['signed for another network', announce(main, root, { hmac: HMAC }), 'sender'],
    ['without signature', without('signature'), 'sender'],
    ['with a field more', announce(main, root, { value: { more: 1 } }), 'sender'],
    ['another spelling of the signature', { ...good, signature: `${good.signature as string} ` }, 'sender'],
    ['sequence 0', announce(main, root, { sequence: 0 }), 'sender'],
    ['sequence 1.5', announce(main, root, { sequence: 1.5 }), 'sender'],
    ['too long', announce(main, root, { content: { text: 'x'.repeat(8_000) } }), 'sender'],
    ['nested too deep', announce(main, root, { content: { nested } }), 'sender'],
    ['encrypted', announce(main, root, { value: { content: 'AAAA.box' } }), 'sender'],
    ['author of another format', announce(main, root, { value: { author: rootId(root) } }), 'sender'],
    ['a text', 'announce', 'sender'],
    ['nothing', null, 'sender'],
    ['a list', [good], 'sender'],
    ['with its key', { key: '%x', value: good }, 'sender'],
    // By the author, who could do so at any time; the neighbour that hands it on is innocent.
    ['content signed by another meta feed', announce(main, root, { contentKeys: mallory }), 'author'],
    ['for another main', announce(main, root, { content: { subfeed: mallory.id } }), 'author'],
    ['of another type', announce(main, root, { content: { type: 'metafeed/tombstone' } }), 'author'],
    ['not of bendybutt', announce(main, root, { content: { metafeed: mallory.id } }), 'author'],
    [
      'another spelling of the root',
      announce(main, root, { content: { metafeed: rootId(root).replace('ssb:', 'ssb://') } }),
      'author',
    ],
  ]
  for (const [title, message, fault] of cases) {
    t.equal(checkAnnounce(message), fault, title)
    t.equal(verifyAnnounce(message), null, title)
  }
  t.end()
})

test('in a network of its own messages are signed with its key', (t) => {
  const signed = announce(main, root, { hmac: HMAC })
  t.equal(verifyAnnounce(signed, { hmac: HMAC })?.root, rootId(root))
  t.equal(verifyAnnounce(signed, { hmac: Buffer.from(HMAC, 'base64') })?.root, rootId(root))
  t.equal(verifyAnnounce(good, { hmac: HMAC }), null)
  t.equal(verifyAnnounce(good, { hmac: 'no key' }), null)
  t.end()
})

test('nothing that is given makes verification throw', (t) => {
  fc.assert(
    fc.property(fc.anything({ withNullPrototype: true, withDate: true, withMap: true }), (anything) => {
      if (verifyAnnounce(anything) !== null) return false
      return ['content', 'author', 'sequence', 'signature'].every(
        (name) => !verifyAnnounce({ ...good, [name]: anything }),
      )
    }),
  )
  const trap = new Proxy(good, {
    ownKeys: () => {
      throw new Error('trap')
    },
  })
  t.equal(verifyAnnounce(trap), null)
  t.end()
})

/* ---- reading ---- */

interface Feed {
  readonly push: (item: unknown) => void
  readonly end: (error: Error | true) => void
  readonly isAborted: () => boolean
  readonly source: pull.Source<unknown>
}

function pushable(): Feed {
  const items: unknown[] = []
  let waiting: ((end: pull.Abort, item?: unknown) => void) | null = null
  let ended: Error | true | null = null
  let isAborted = false
  const serve = (): void => {
    if (!waiting || (items.length === 0 && !ended)) return
    const cb = waiting
    waiting = null
    if (items.length > 0) cb(null, items.shift())
    else cb(ended)
  }
  return {
    push: (item) => {
      items.push(item)
      serve()
    },
    end: (error) => {
      ended = error
      serve()
    },
    isAborted: () => isAborted,
    source: (abort, cb) => {
      if (abort) {
        isAborted = true
        waiting?.(abort)
        cb(abort)
        return
      }
      waiting = cb
      serve()
    },
  }
}

/** Queries are told apart by the operators they were made of. */
function database(): { readonly sbot: object; readonly live: Feed[]; readonly old: Feed[] } {
  const live: Feed[] = []
  const old: Feed[] = []
  const operator =
    (name: string) =>
    (...args: unknown[]) => [name, ...args]
  const names = ['where', 'type', 'live', 'toPullStream']
  const query = (...operators: unknown[][]): unknown => {
    const feed = pushable()
    ;(operators.some(([name]) => name === 'live') ? live : old).push(feed)
    return feed.source
  }
  const operators = Object.fromEntries(names.map((name) => [name, operator(name)]))
  return { sbot: { db: { query, operators } }, live, old }
}

function reading(sbot: object, clock: VirtualClock) {
  const seen: string[] = []
  const logged: string[] = []
  let loaded = 0
  const stop = startAnnounces({
    sbot,
    clock,
    onAnnounce: (id, metafeed, sequence) => {
      seen.push(`${id === main.id ? 'main' : id} ${metafeed === rootId(root) ? 'root' : metafeed} ${sequence}`)
      if (sequence === 13) throw new Error('listener')
    },
    onLoaded: () => loaded++,
    log: (text) => logged.push(text),
  })
  return { seen, logged, stop, loaded: () => loaded }
}

const record = (value: object, key = '%a'): object => ({ key, value, timestamp: 1 })

test('the announces of the database come first, then new ones', (t) => {
  const clock = virtualClock()
  const { sbot, live, old } = database()
  const { seen, loaded, stop } = reading(sbot, clock)
  old[0]?.push(record(good))
  old[0]?.push(record(announce(main, root, { contentKeys: mallory })))
  old[0]?.push({ key: '%b' })
  old[0]?.push(null)
  t.equal(loaded(), 0)
  old[0]?.end(true)
  t.equal(loaded(), 1)
  live[0]?.push(record(announce(main, root, { sequence: 13 })))
  live[0]?.push(record(announce(main, root, { sequence: 14 })))
  t.deepEqual(seen, ['main root 5', 'main root 13', 'main root 14'], 'a listener that throws ends nothing')
  stop()
  t.ok(live[0]?.isAborted())
  t.equal(clock.pending, 0)
  t.end()
})

test('many announces are taken in slices', (t) => {
  const clock = virtualClock()
  const { sbot, old } = database()
  const { seen, loaded, stop } = reading(sbot, clock)
  for (let i = 0; i < 100; i++) old[0]?.push(record(good))
  old[0]?.end(true)
  t.ok(seen.length < 50, 'timers and sockets go first')
  clock.advance(10)
  t.equal(seen.length, 100)
  t.equal(loaded(), 1)
  stop()
  t.end()
})

test('reading that breaks off begins anew, and nobody waits for it', (t) => {
  const clock = virtualClock()
  const { sbot, live, old } = database()
  const { seen, loaded, logged, stop } = reading(sbot, clock)
  old[0]?.end(new Error('broken'))
  t.equal(loaded(), 1)
  t.ok(live[0]?.isAborted())
  t.ok(logged[0]?.includes('broken'))
  clock.advance(1_000)
  old[1]?.push(record(good))
  old[1]?.end(true)
  live[1]?.push(record(good))
  t.equal(seen.length, 2)
  t.equal(loaded(), 1, 'said once')
  live[1]?.end(true)
  clock.advance(2_000)
  t.equal(live.length, 3)
  live[2]?.end(new Error('again'))
  clock.advance(1_999)
  t.equal(live.length, 3, 'later each time')
  stop()
  clock.advance(100_000)
  t.equal(live.length, 3, 'not after the end')
  t.equal(clock.pending, 0)
  t.end()
})

test('a stack without such a database has no announces', (t) => {
  const throwing = (): never => {
    throw new Error('not now')
  }
  for (const sbot of [{}, { db: {} }, { db: { query: throwing, operators: {} } }]) {
    const clock = virtualClock()
    const { seen, loaded, stop } = reading(sbot, clock)
    t.equal(loaded(), 1)
    clock.advance(1_000_000)
    t.deepEqual(seen, [])
    stop()
  }
  const clock = virtualClock()
  const { sbot } = database()
  const { loaded, logged, stop } = reading({ db: { ...(sbot as { db: object }).db, query: throwing } }, clock)
  t.equal(loaded(), 1)
  t.ok(logged[0]?.includes('not now'))
  stop()
  t.equal(clock.pending, 0)
  t.end()
})

/* ---- storing ---- */

test('the same announce is stored once, however many ask for it at a time', (t) => {
  const calls: ((error?: unknown) => void)[] = []
  const sbot = { db: { addOOO: (_: unknown, cb: (error?: unknown) => void) => calls.push(cb) } }
  const results: unknown[] = []
  const store = (message: unknown): void => persistAnnounce(sbot, message, (error) => results.push(error))
  store(good)
  store(good)
  store(announce(main, root, { sequence: 6 }))
  t.equal(calls.length, 2)
  calls[0]?.()
  t.deepEqual(results, [null, null])
  const error = new Error('full')
  calls[1]?.(error)
  t.equal(results[2], error)
  store(good)
  t.equal(calls.length, 3, 'the database decides then')
  t.end()
})

test('storing without a database, or with one that throws, is an error', (t) => {
  const codes: unknown[] = []
  persistAnnounce({}, good, (error) => codes.push((error as { code: string }).code))
  t.deepEqual(codes, ['ERR_MISSING_PLUGIN'])
  const thrown = new Error('no')
  const addOOO = (): never => {
    throw thrown
  }
  persistAnnounce({ db: { addOOO } }, good, (error) => t.equal(error, thrown))
  t.end()
})
