/**
 * metrics(): the text form by a parser of its own, counters against what a manager on the simulated network has told by other
 * ways, and that no counter ever goes down.
 */
import { readdirSync, readFileSync } from 'fs'
import { join } from 'path'

import test = require('tape')

import type { ConnectionChange, ConnectionManager } from '../../src/manager'
import { createManager } from '../../src/manager'
import { METRICS, type Metric, metricsText, PREFIX, type Sample } from '../../src/shell/metrics'
import {
  type NetworkEvent,
  seededRandom,
  simulatedFeedId,
  simulatedNetwork,
  type VirtualClock,
  virtualClock,
} from '../../src/testing'
import { collect } from '../support/eventually'
import { alice, type Bench, bench, bob, carol, dave, HOUR, LAST_ID, MINUTE, SECOND } from '../support/manager'

// ---- a parser of the text form ------------------------------------------------------------------------------------------

interface Family {
  readonly help: string
  readonly type: string
  readonly samples: Sample[]
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/
const NUMBER = /^(?:NaN|[+-]Inf|[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)$/

/** Version 0.0.4, strictly: each family has its HELP and TYPE first, once, and its samples together. Throws. */
function parse(text: string): Map<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  const families = new Map<string, Family>()
  let helpOf: readonly [string, string] | null = null
  let present: string | null = null
  for (const line of text.slice(0, -1).split('\n')) {
    const help = /^# HELP (\S+) (.*)$/.exec(line)
    const type = /^# TYPE (\S+) (counter|gauge|summary|histogram|untyped)$/.exec(line)
    if (help) {
      if (helpOf) throw new Error(`two HELP lines: ${line}`)
      helpOf = [help[1] as string, unescaped(help[2] as string, '\\n')]
      continue
    }
    if (type) {
      const name = type[1] as string
      if (!NAME.test(name) || helpOf?.[0] !== name) throw new Error(`TYPE without its HELP: ${line}`)
      if (families.has(name)) throw new Error(`a family in two parts: ${name}`)
      families.set(name, { help: helpOf[1], type: type[2] as string, samples: [] })
      helpOf = null
      present = name
      continue
    }
    if (helpOf) throw new Error(`HELP without TYPE before ${line}`)
    const { name, labels, value } = parseSample(line)
    if (name !== present) throw new Error(`${name} stands among the samples of ${present}`)
    families.get(name)?.samples.push({ labels, value })
  }
  return families
}

function unescaped(text: string, allowed: string): string {
  return text.replace(/\\(.?)/g, (whole, char: string) => {
    if (char === '\\') return '\\'
    if (char === '' || !allowed.includes(char)) throw new Error(`an escape that there is not: ${whole}`)
    return char === 'n' ? '\n' : char
  })
}

function parseSample(line: string): { name: string; labels: { [name: string]: string }; value: number } {
  const match = /^([^\s{]+)(?:{(.*)})? (\S+)$/.exec(line)
  if (!match) throw new Error(`neither comment nor sample: ${JSON.stringify(line)}`)
  const [, name = '', inside, value = ''] = match
  if (!NAME.test(name) || !NUMBER.test(value)) throw new Error(`not a sample: ${line}`)
  const labels: { [name: string]: string } = {}
  let rest = inside ?? ''
  if (inside === '') throw new Error('braces without labels')
  while (rest !== '') {
    const pair = /^([^=]+)="((?:[^"\\]|\\.)*)"(,|$)/.exec(rest)
    if (!pair) throw new Error(`not a label: ${rest}`)
    const [whole, label = '', text = '', comma = ''] = pair
    if (!LABEL.test(label) || label in labels) throw new Error(`not the name of a label: ${label}`)
    labels[label] = unescaped(text, '\\n"')
    rest = rest.slice(whole.length)
    if (comma === ',' && rest === '') throw new Error('a comma at the end')
  }
  const number =
    value === '+Inf' ? Number.POSITIVE_INFINITY : value === '-Inf' ? Number.NEGATIVE_INFINITY : Number(value)
  return { name, labels, value: number }
}

test('the parser of this test is strict', (t) => {
  const head = '# HELP a x\n# TYPE a counter\n'
  t.equal(parse(`${head}a 1\na{b="c"} 2\n`).get('a')?.samples.length, 2)
  const wrong = [
    'a 1\n',
    '# TYPE a counter\na 1\n',
    '# HELP a x\na 1\n',
    `${head}a 1`,
    `${head}a  1\n`,
    `${head}a one\n`,
    `${head}b 1\n`,
    `${head}a{} 1\n`,
    `${head}a{b="c",} 1\n`,
    `${head}a{b="\\x"} 1\n`,
    `${head}a{b="c",b="d"} 1\n`,
    `${head}a{b-c="d"} 1\n`,
    `${head}a 1\n\n`,
    `${head}a 1\n${head}a 2\n`,
  ]
  for (const text of wrong) t.throws(() => parse(text), Error, JSON.stringify(text))
  t.end()
})

// ---- reading ------------------------------------------------------------------------------------------------------------

type Metered = Pick<ConnectionManager, 'metrics'>

function find(all: readonly Metric[], name: string): Metric {
  const found = all.find((metric) => metric.name === PREFIX + name)
  if (!found) throw new Error(`no metric ${name}`)
  return found
}

/** The value of one sample; null where there is none. */
function value(manager: Metered, name: string, labels: { readonly [name: string]: string } = {}): number | null {
  const samples = find(manager.metrics(), name).samples.filter((sample) =>
    Object.keys(labels).every((label) => sample.labels[label] === labels[label]),
  )
  return samples.length === 0 ? null : samples.reduce((sum, sample) => sum + sample.value, 0)
}

const counters = (all: readonly Metric[]): Map<string, number> =>
  new Map(
    all
      .filter(({ type }) => type === 'counter')
      .flatMap(({ name, samples }) => samples.map((each) => [`${name} ${JSON.stringify(each.labels)}`, each.value])),
  )

// ---- the text form ------------------------------------------------------------------------------------------------------

test('the text form says the same as the data', (t) => {
  const { manager, add, flush, dial } = bench()
  manager.connections.start()
  add(alice.address, bob.address)
  flush()
  dial(alice.address).accept()
  dial(bob.address).refuse()
  flush()
  const text = manager.metrics({ format: 'text' })
  const families = parse(text)
  const data = manager.metrics()
  t.deepEqual(
    [...families.keys()],
    data.map(({ name }) => name),
  )
  for (const { name, type, help, samples } of data) {
    t.deepEqual({ ...families.get(name) }, { help, type, samples }, name)
    t.equal(/_total$/.test(name), type === 'counter', `${name} is a ${type}`)
    t.ok(name.startsWith(PREFIX) && help.endsWith('.'), help)
    const labels = METRICS[name.slice(PREFIX.length) as keyof typeof METRICS].labels
    for (const sample of samples) t.deepEqual(Object.keys(sample.labels), [...labels], 'its labels')
    const keys = samples.map((sample) => JSON.stringify(sample.labels))
    t.equal(new Set(keys).size, keys.length, 'each once')
  }
  t.deepEqual(JSON.parse(JSON.stringify(data)), data, 'plain data')
  t.end()
})

test('label values, help and numbers of any kind come through the text form as they are', (t) => {
  const nasty = ['', '"', '\\', '\n', '\\n', 'a"b\\c\nd', '{x="y"} 1', '# HELP', 'ünïcode 漢字', '\\\\"']
  const values = [0, -1, 0.1, 1e300, 5e-324, 1e21, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  const metric: Metric = {
    name: 'a',
    type: 'gauge',
    help: 'back\\slash, "quotes" and\nlines',
    samples: nasty.map((label, i) => ({
      labels: { label, other: nasty[nasty.length - 1 - i] as string },
      value: values[i % values.length] as number,
    })),
  }
  const family = parse(metricsText([metric])).get('a')
  t.equal(family?.help, metric.help)
  t.deepEqual(family?.samples, metric.samples)
  t.end()
})

// ---- counters -----------------------------------------------------------------------------------------------------------

interface Run {
  readonly manager: ConnectionManager
  readonly clock: VirtualClock
  readonly changes: ConnectionChange[]
  readonly events: readonly NetworkEvent[]
  readonly step: (ms: number) => void
  readonly me: string
}

/** A manager among peers of which some refuse, some hang, some hang up, and some call in. */
function simulatedRun(seed: number, look: (manager: ConnectionManager) => void): Run {
  const clock = virtualClock()
  const random = seededRandom(seed)
  const network = simulatedNetwork({ clock, random })
  const me = simulatedFeedId(random)
  const node = network.addNode({ id: me, addresses: [`net:me.example:8008~shs:${me.slice(1, -8)}`] })
  const manager = createManager({
    connectToPeer: node.connectToPeer,
    selfId: me,
    clock,
    random,
    maxByType: { net: 3, ws: 1, onion: 1 },
    maxInbound: 2,
  })
  node.onInbound((connection) => manager.peer.remotePeerConnected(connection.id, connection))
  const changes = collect(manager.connections.changes()).items as ConnectionChange[]
  const events: NetworkEvent[] = []
  network.onEvent((event) => events.push(event))
  const protocols = ['net', 'net', 'ws', 'onion']
  const faults = ['refused', 'reset', 'silent', 'hangsUp', null, null, null] as const
  for (let n = 0; n < 24; n++) {
    const id = simulatedFeedId(random)
    const protocol = protocols[n % protocols.length] as string
    const host = protocol === 'ws' ? `//p${n}.example` : `p${n}.example`
    const address = `${protocol}:${host}:8008~shs:${id.slice(1, -8)}`
    const peer = network.addNode({ id, addresses: [address] })
    const fault = faults[n % faults.length]
    if (fault === 'hangsUp') network.setFault({ address }, { kind: fault, afterMs: 20 * SECOND })
    else if (fault) network.setFault({ address }, { kind: fault })
    manager.peer.addRoute({ address })
    // Some call in, one after the other.
    if (n % 6 === 0)
      clock.setTimeout(
        () => peer.connectToPeer(`net:me.example:8008~shs:${me.slice(1, -8)}`, () => {}),
        (n + 1) * 7 * SECOND,
      )
  }
  const step = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 5 * SECOND) {
      clock.advance(5 * SECOND)
      look(manager)
    }
  }
  return { manager, clock, changes, events, step, me }
}

test('counters are what the manager and the network have told by other ways, and never go down', (t) => {
  let before = new Map<string, number>()
  let looks = 0
  const { manager, changes, events, step, me } = simulatedRun(1, (manager) => {
    const after = counters(parseBack(manager.metrics({ format: 'text' })))
    for (const [key, count] of before)
      if (!((after.get(key) ?? Number.NEGATIVE_INFINITY) >= count)) t.fail(`${key}: ${count}, then ${after.get(key)}`)
    before = after
    looks++
  })
  const actions = { dial: 0, connection: 0 }
  let messages = 0
  manager.internal.store.subscribe(({ type }) => {
    if (type.startsWith('dial/')) actions.dial++
    if (type.startsWith('connection/')) actions.connection++
  })
  manager.connections.start()
  step(10 * MINUTE)
  for (const peer of manager.peer.list()) {
    manager.internal.transferred(peer.id, 3)
    if (peer.connection.status === 'connected') messages += 3
    manager.internal.pinged(peer.id, 40, 0)
  }
  t.ok(messages >= 6, `${messages} messages came`)
  manager.connections.stop()
  step(MINUTE)
  t.equal(value(manager, 'connections'), 0, 'all are gone')
  manager.connections.start()
  manager.connections.start()
  step(10 * MINUTE)
  manager.connections.stop()
  step(MINUTE)
  manager.initialSync.start()
  step(MINUTE)
  manager.initialSync.stop()
  step(2 * MINUTE)
  t.ok(looks > 200, `${looks} looks`)

  const told = (type: ConnectionChange['type'], reason?: string | null, direction?: string): number =>
    changes.filter(
      (each) =>
        each.type === type &&
        (reason === undefined || each.reason === reason) &&
        (direction === undefined || each.direction === direction),
    ).length
  const mine = events.filter((event) => 'from' in event && event.from === me)
  t.equal(value(manager, 'dials_started_total'), told('dialing'), 'dials begun')
  t.equal(value(manager, 'dials_started_total'), mine.filter(({ type }) => type === 'dialed').length, 'on the network')
  t.ok((value(manager, 'dials_started_total', { cause: 'initialSync' }) ?? 0) > 0, 'some for the initial sync')
  t.equal(value(manager, 'dials_started_total', { cause: 'schedule' }), told('dialing', 'schedule'))
  t.equal(value(manager, 'dials_failed_total'), told('failed'), 'dials failed')
  t.ok(told('failed') > 20, `${told('failed')} failed`)
  t.equal(value(manager, 'dial_failures_total'), told('failed'), 'each with a code')
  for (const code of ['ECONNREFUSED', 'ECONNRESET', 'ERR_DIAL_TIMEOUT'])
    t.equal(value(manager, 'dial_failures_total', { code }), told('failed', code), code)
  // Who is sent away as he comes is told once, as refused; who comes in the place of another connection, as connected.
  const refused = told('refused')
  const replaced = value(manager, 'connections_closed_total', { reason: 'replaced' }) ?? 0
  t.ok(refused > 0, `${refused} refused, ${replaced} replaced`)
  const opened = told('connected') + refused
  t.equal(value(manager, 'connections_opened_total'), opened, 'connections opened')
  t.equal(value(manager, 'connections_opened_total', { cause: 'inbound' }), told('connected', 'inbound') + refused)
  t.equal(value(manager, 'connections_opened_total', { direction: 'inbound' }), told('connected', 'inbound') + refused)
  t.equal(value(manager, 'dials_succeeded_total'), told('connected', undefined, 'outbound'), 'dials succeeded')
  const closed = told('disconnected') + refused + replaced
  t.equal(value(manager, 'connections_closed_total'), closed, 'connections closed')
  t.equal(value(manager, 'connections_closed_total', { reason: 'maxInbound' }), refused, 'maxInbound')
  for (const reason of ['stopped', 'rotation', 'surplus'])
    t.equal(value(manager, 'connections_closed_total', { reason }), told('disconnected', reason), reason)
  t.equal(value(manager, 'connections_closed_total', { reason: 'remote' }), told('disconnected', null), 'remote')
  for (const direction of ['inbound', 'outbound'])
    t.equal(
      value(manager, 'connections_closed_total', { reason: 'stopped', direction }),
      told('disconnected', 'stopped', direction),
      direction,
    )
  t.equal(opened - closed, value(manager, 'connections'), 'the others are up')
  t.equal(value(manager, 'messages_transferred_total'), messages)
  t.equal(value(manager, 'round_trips_total'), messages / 3)
  t.ok(Math.abs((value(manager, 'round_trip_seconds_total') ?? 0) - (0.04 * messages) / 3) < 1e-9, 'in seconds')
  for (const group of ['dial', 'connection'] as const)
    t.equal(value(manager, 'actions_total', { group }), actions[group], `actions of ${group}`)
  t.ok((value(manager, 'plans_total') ?? 0) > 100, 'plans')
  t.ok((value(manager, 'wakeups_total') ?? 0) > 10, 'wake-ups')
  manager.close()
  const last = counters(manager.metrics())
  t.ok(
    [...before].every(([key, count]) => (last.get(key) ?? -1) >= count),
    'closed, it still tells',
  )
  t.end()
})

/** What a scraper makes of the text. */
function parseBack(text: string): Metric[] {
  return [...parse(text)].map(([name, { type, help, samples }]) => ({
    name,
    type: type as Metric['type'],
    help,
    samples,
  }))
}

test('the time for which peers were connected goes on while they are, and never back', (t) => {
  const { manager, clock, connected } = bench()
  const seconds = (direction?: string): number =>
    value(manager, 'connection_seconds_total', direction ? { direction } : {}) ?? 0
  t.equal(seconds(), 0)
  const rpc = connected(alice.address)
  clock.advance(90 * SECOND)
  t.equal(seconds(), 90, 'while it lasts')
  manager.peer.remotePeerConnected(bob.id)
  clock.advance(10 * SECOND)
  t.deepEqual([seconds('outbound'), seconds('inbound')], [100, 10], 'of each direction')
  rpc.end()
  clock.advance(50 * SECOND)
  t.deepEqual([seconds('outbound'), seconds('inbound')], [100, 60], 'no more once it has ended')
  manager.connections.start()
  clock.jump(-HOUR)
  manager.peer.addRoute({ address: carol.address })
  clock.flush()
  t.equal(manager.internal.store.getState().now, clock.now(), 'the clock was set back')
  t.equal(seconds('inbound'), 60, 'and what was counted stays')
  clock.advance(2 * HOUR)
  t.ok(seconds('inbound') > 60, 'and goes on')
  t.end()
})

test('one connection that takes the place of another has ended the other', (t) => {
  const { manager, connected, clock } = bench({ selfId: LAST_ID })
  connected(alice.address)
  clock.advance(MINUTE)
  manager.internal.accept(alice.id, { close: (_: unknown, cb: () => void) => cb() }, 'inbound', null)
  clock.advance(MINUTE)
  t.equal(value(manager, 'connections_opened_total'), 2)
  t.equal(value(manager, 'connections_closed_total', { reason: 'replaced' }), 1)
  t.equal(value(manager, 'connections'), 1)
  t.end()
})

// ---- labels -------------------------------------------------------------------------------------------------------------

test('a protocol that is called like no class is one', (t) => {
  const { manager, clock, dial } = bench()
  manager.peer.remotePeerConnected(bob.id)
  clock.flush()
  manager.peer.connect({ address: alice.by('none') }, () => {})
  clock.flush()
  dial(alice.by('none')).refuse()
  clock.flush()
  t.equal(value(manager, 'dials_started_total', { class: 'other' }), 1)
  t.equal(value(manager, 'dials_failed_total', { class: 'other' }), 1)
  t.equal(value(manager, 'connections_opened_total', { class: 'none' }), 1, 'of inbound ones, which have none')
  t.end()
})

test('labels have few values, whatever strangers call their protocols and their errors', (t) => {
  const { manager, clock, dials } = bench()
  for (let n = 0; n < 60; n++) {
    manager.peer.connect({ address: alice.by(`proto${n}`) }, () => {})
    clock.flush()
    for (const each of dials.splice(0)) each.refuse(`E${n}`)
    clock.flush()
  }
  const all = manager.metrics()
  t.equal(value(manager, 'dials_failed_total', { class: 'other' }), 60, 'classes')
  t.equal(value(manager, 'dial_failures_total', { code: 'other' }), 60, 'codes')
  const size = JSON.stringify(all).length
  t.ok(
    all.every(({ samples }) => samples.length <= 40),
    `${size} characters`,
  )
  t.notOk(/proto\d|"E\d/.test(JSON.stringify(all)), 'no word of theirs')
  manager.connections.setMaxByType({ proto7: 1 })
  t.equal(value(manager, 'slots', { class: 'proto7' }), 1, 'but what the user has named')
  t.end()
})

test('no id and no address is in the figures', (t) => {
  const run = simulatedRun(2, () => {})
  run.manager.connections.start()
  run.step(3 * MINUTE)
  const text = run.manager.metrics({ format: 'text' })
  for (const { id, routes } of run.manager.peer.list()) {
    if (text.includes(id.slice(1, 20))) t.fail('an id')
    for (const route of routes) if (text.includes(route.id.slice(0, 12))) t.fail('an address')
  }
  t.ok(run.manager.peer.list().length > 20)
  t.end()
})

test('failures of the handshake and those without a code are told apart', (t) => {
  const { manager, add, flush, dials } = bench()
  manager.connections.start()
  const messages = ['shs.client: error when expecting server to accept challenge', 'something else']
  add(alice.address, bob.address)
  flush()
  for (const dial of dials.splice(0)) dial.cb(new Error(messages.pop()))
  flush()
  t.equal(value(manager, 'dial_failures_total', { code: 'handshake' }), 1)
  t.equal(value(manager, 'dial_failures_total', { code: 'none' }), 1)
  t.end()
})

// ---- gauges -------------------------------------------------------------------------------------------------------------

interface Gauged {
  readonly name: string
  readonly labels?: { readonly [name: string]: string }
  readonly before: number | null
  readonly after: number | null
  readonly given: (made: Bench) => void
  readonly options?: Parameters<typeof bench>[0]
}

const onions = [bob, carol, dave].map((each) => each.by('onion'))

const GAUGES: readonly Gauged[] = [
  { name: 'mode', labels: { mode: 'on' }, before: 0, after: 1, given: ({ manager }) => manager.connections.start() },
  { name: 'mode', labels: { mode: 'off' }, before: 1, after: 0, given: ({ manager }) => manager.connections.start() },
  { name: 'initial_sync_running', before: 0, after: 1, given: ({ manager }) => manager.initialSync.start() },
  {
    name: 'mode',
    labels: { mode: 'initialSync' },
    before: 0,
    after: 1,
    given: ({ manager }) => manager.initialSync.start(),
  },
  { name: 'busy', before: 0, after: 1, given: ({ manager }) => manager.internal.busy(true) },
  { name: 'link_up', before: 1, after: 0, given: ({ manager }) => manager.internal.offline() },
  {
    name: 'layers_down',
    labels: { kind: 'link' },
    before: 0,
    after: 1,
    given: ({ manager }) => manager.internal.offline(),
  },
  { name: 'layers_lost_total', before: 0, after: 1, given: ({ manager }) => manager.internal.offline() },
  {
    name: 'layers_down',
    labels: { kind: 'transport' },
    before: 0,
    after: 1,
    given: ({ manager, add, flush, dial }) => {
      add(...onions)
      manager.connections.start()
      flush()
      for (const address of onions) dial(address).refuse()
      flush()
    },
  },
  {
    name: 'deferrals_total',
    before: 0,
    after: 4,
    given: ({ manager, add, flush, dial }) => {
      add(...onions)
      manager.connections.start()
      flush()
      for (const address of onions) dial(address).refuse()
      flush()
      add(alice.by('onion'))
      flush()
    },
  },
  {
    name: 'slots',
    labels: { class: 'net' },
    before: 3,
    after: 7,
    given: ({ manager }) => manager.connections.setMaxByType({ net: 7 }),
  },
  {
    name: 'slots_connected',
    labels: { class: 'net' },
    before: 0,
    after: 1,
    given: ({ connected }) => void connected(alice.address),
  },
  {
    name: 'slots_dialing',
    labels: { class: 'net' },
    before: 0,
    after: 1,
    given: ({ manager, add, flush }) => {
      add(alice.address)
      manager.connections.start()
      flush()
    },
  },
  {
    name: 'slots_closing',
    labels: { class: 'net' },
    before: 0,
    after: 1,
    given: ({ manager, connected, flush }) => {
      connected(alice.address).onClose = 'silent'
      void manager.peer.disconnect(alice.id)
      flush()
    },
  },
  {
    name: 'routes_waiting',
    labels: { class: 'net' },
    before: 0,
    after: 2,
    given: ({ add }) => add(alice.address, bob.address),
  },
  {
    name: 'dial_success_ratio',
    labels: { class: 'net' },
    before: null,
    after: 0.5625,
    given: ({ connected }) => void connected(alice.address),
  },
  {
    name: 'dials_in_flight',
    before: 0,
    after: 1,
    given: ({ manager, flush }) => {
      void manager.peer.connect(alice.address)
      flush()
    },
  },
  {
    name: 'requests_waiting',
    before: 0,
    after: 1,
    given: ({ manager, flush }) => {
      void manager.peer.connect(alice.address)
      flush()
    },
  },
  {
    name: 'lingering_sockets',
    before: 0,
    after: 1,
    given: ({ manager, add, flush, clock }) => {
      add(alice.address)
      manager.connections.start()
      flush()
      clock.advance(11 * SECOND)
    },
  },
  {
    name: 'connections',
    labels: { direction: 'inbound' },
    before: 0,
    after: 1,
    given: ({ manager }) => void manager.peer.remotePeerConnected(alice.id),
  },
  {
    name: 'connections',
    labels: { direction: 'outbound' },
    before: 0,
    after: 1,
    given: ({ connected }) => void connected(alice.address),
  },
  { name: 'inbound_connections_max', before: null, after: null, given: () => {} },
  { name: 'inbound_connections_max', before: 5, after: 5, given: () => {}, options: { maxInbound: 5 } },
  {
    name: 'peers',
    labels: { priority: 'BANNED' },
    before: 0,
    after: 1,
    given: ({ manager }) => void manager.peer.setPriority({ id: alice.id, priority: 'BANNED' }),
  },
  {
    name: 'routes',
    labels: { priority: 'LOW' },
    before: 0,
    after: 1,
    given: ({ manager }) => void manager.peer.addRoute({ address: alice.address, source: 'pub' }),
  },
  {
    name: 'peers_long_term',
    before: 0,
    after: 1,
    given: ({ manager }) => void manager.peer.setLongTerm({ id: alice.id }),
  },
  {
    name: 'readers',
    labels: { source: 'peers' },
    before: 0,
    after: 1,
    given: ({ manager }) => void collect(manager.peers()),
  },
  {
    name: 'readers',
    labels: { source: 'errors' },
    before: 0,
    after: 1,
    given: ({ manager }) => void collect(manager.connections.errors()),
  },
  {
    name: 'readers',
    labels: { source: 'progress' },
    before: 0,
    after: 1,
    given: ({ manager }) => void collect(manager.initialSync.progress()),
  },
  {
    name: 'findings',
    labels: { severity: 'error' },
    before: 2,
    after: 0,
    given: ({ manager, connected }) => {
      manager.connections.start()
      connected(alice.address)
    },
  },
]

for (const { name, labels, before, after, given, options } of GAUGES)
  test(`${name} ${JSON.stringify(labels ?? {})} says how things stand`, (t) => {
    const made = bench(options)
    t.equal(value(made.manager, name, labels), before, 'before')
    given(made)
    t.equal(value(made.manager, name, labels), after, 'after')
    t.end()
  })

test('times are in seconds since 1970: now, and when the scheduler wakes up', (t) => {
  const { manager, clock, add, flush, dial } = bench()
  t.equal(value(manager, 'time_seconds'), clock.now() / 1_000)
  t.equal(value(manager, 'next_wakeup_timestamp_seconds'), null, 'nothing is due')
  manager.connections.start()
  add(alice.address)
  flush()
  dial(alice.address).refuse()
  flush()
  const at = manager.peer.get(alice.id)?.routes[0]?.nextAttemptAt ?? 0
  t.equal(value(manager, 'next_wakeup_timestamp_seconds'), at / 1_000)
  const before = value(manager, 'wakeups_total') ?? 0
  clock.advance(at - clock.now())
  t.equal(value(manager, 'wakeups_total'), before + 1)
  t.end()
})

test('each metric that there is has a value in one of these tests', (t) => {
  const run = simulatedRun(3, () => {})
  run.manager.connections.start()
  run.step(2 * MINUTE)
  const empty = run.manager.metrics().filter(({ samples }) => samples.length === 0)
  t.deepEqual(
    empty.map(({ name }) => name),
    [],
  )
  t.end()
})

test('metrics() refuses what it does not know', (t) => {
  const { manager } = bench()
  for (const wrong of ['text', 1, { format: 'xml' }, { format: null }, []])
    t.throws(() => manager.metrics(wrong), { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(wrong))
  t.ok(Array.isArray(manager.metrics(undefined)) && Array.isArray(manager.metrics(null)), 'no options are fine')
  t.equal(typeof manager.metrics({ format: 'text' }), 'string')
  t.end()
})

// ---- documentation ------------------------------------------------------------------------------------------------------

const ROOT = join(__dirname, '../..')
const DOCUMENT = readFileSync(join(ROOT, 'docs/metrics.md'), 'utf8')

/** The cells of the table below a heading, without its head. */
function rowsUnder(heading: string): string[][] {
  const section = DOCUMENT.split(/^## /m).find((each) => each.startsWith(`${heading}\n`)) ?? ''
  return section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .slice(2)
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
}

test('docs/metrics.md has each metric, in the words of the code', (t) => {
  const documented = rowsUnder('Metrics').map(([name, type, labels, help]) => ({
    name: name?.replace(/`/g, ''),
    type,
    labels: (labels ?? '').replace(/`/g, '').split(', ').filter(Boolean),
    help,
  }))
  const real = Object.entries(METRICS).map(([name, { type, labels, help }]) => ({
    name,
    type,
    labels: [...labels],
    help,
  }))
  t.deepEqual(documented, real)
  t.end()
})

test('docs/metrics.md has each debug name that is used', (t) => {
  const sources = (folder: string): string[] =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? sources(join(folder, entry.name)) : [join(folder, entry.name)],
    )
  const used = new Set<string>()
  for (const file of sources(join(ROOT, 'src')))
    for (const [, name = ''] of readFileSync(file, 'utf8').matchAll(/createDebug\('([^']+)'\)/g)) used.add(name)
  const documented = rowsUnder('Debug names').map(([name = '']) => name.replace(/`/g, ''))
  t.deepEqual([...documented].sort(), [...used].sort())
  t.end()
})
