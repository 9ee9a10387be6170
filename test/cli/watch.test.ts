/** The model and the view of `watch`: what each key does, and what never happens whatever comes. */

import * as fc from 'fast-check'
import { readFileSync } from 'fs'
import { join } from 'path'

import test = require('tape')

import { CliError } from '../../src/cli/cli'
import { KEYS } from '../../src/cli/watch/keys'
import {
  type Act,
  type Effect,
  initialModel,
  layoutOf,
  type Model,
  visibleRows,
  type WatchEvent,
  wantedExplanations,
} from '../../src/cli/watch/model'
import { arrange, COLUMNS, type Column, comparator, makeRow, type Row } from '../../src/cli/watch/rows'
import { encodeLine, loadTerminal } from '../../src/cli/watch/screen'
import { clean, cut, displayWidth, duration, wrap } from '../../src/cli/watch/text'
import { update } from '../../src/cli/watch/update'
import { draw, placeColumns, plainText, type Screen } from '../../src/cli/watch/view'
import type { Finding } from '../../src/core/diagnosis'
import type {
  ConnectionView,
  Explanation,
  PeerView,
  RouteExplanation,
  RouteView,
  Status,
} from '../../src/core/selectors'
import type { FeedId } from '../../src/core/types'
import { HOUR, idOf, MINUTE, SECOND, START } from '../support/builders'

// ---- what fills in the rest --------------------------------------------------------------------------------------------

const IDLE: ConnectionView = { status: 'idle', direction: null, address: null, since: null, rtt: null, skew: null }

function route(name: string, change: Partial<RouteView> = {}): RouteView {
  const id = idOf(name)
  return {
    id: `net:${name}.example:8008~shs:${id.slice(1, -8)}`,
    peer: id,
    priority: 'MEDIUM',
    isLocal: false,
    isLongTerm: false,
    source: 'manual',
    isStored: true,
    isAutomatic: true,
    connectionStatus: 'idle',
    connectionCount: 0,
    errorCount: 0,
    errors: [],
    lastConnectionTime: null,
    lastErrorTime: null,
    nextAttemptAt: 0,
    ...change,
  }
}

function peer(name: string, change: Partial<PeerView> = {}): PeerView {
  return {
    id: idOf(name),
    priority: 'MEDIUM',
    prioritisedBy: null,
    isBanned: change.priority === 'BANNED',
    isLongTerm: false,
    routes: [route(name)],
    connection: IDLE,
    ...change,
  }
}

const since = (at: number, change: Partial<ConnectionView> = {}): ConnectionView => ({
  ...IDLE,
  status: 'connected',
  direction: 'outbound',
  since: at,
  ...change,
})

const rtt = (mean: number) => ({ mean, stdev: 0, count: 1, sum: mean, sqsum: mean * mean })

const STATUS: Status = {
  mode: 'on',
  classes: {
    net: { max: 3, connected: 2, dialing: 1, closing: 0, waiting: 4, nextAttemptAt: null, successRate: 0.5 },
    onion: { max: 0, connected: 0, dialing: 0, closing: 0, waiting: 0, nextAttemptAt: null, successRate: null },
  },
  inbound: { connected: 7, max: null },
  environment: { link: 'up', isBusy: false, down: [{ layer: 'transport:onion', since: START, retryAt: START }] },
  lifetimeMs: null,
  peers: 3,
  routes: 5,
  dialing: 1,
  lingering: 0,
}

function explanation(change: Partial<Explanation> = {}): Explanation {
  return {
    connected: false,
    reason: 'backoff',
    until: START + 30 * SECOND,
    message: '3 failed dials',
    remedy: 'wait for it',
    address: null,
    routes: [],
    ...change,
  }
}

const named = ['alice', 'bob', 'carol'].map((name) => [idOf(name), name] as const)

function after(model: Model, ...events: readonly WatchEvent[]): Model {
  return events.reduce((so, event) => update(so, event).model, model)
}

const keys = (...pressed: readonly string[]): WatchEvent[] => pressed.map((key) => ({ type: 'key', key }))
const typing = (text: string): WatchEvent[] => keys(...text)

function begin(peers: readonly PeerView[], size: { columns?: number; lines?: number } = {}): Model {
  const model = initialModel({ selfId: idOf('self'), now: START, columns: 120, lines: 30, ...size })
  return after(
    model,
    { type: 'named', names: named },
    { type: 'peers', changed: peers },
    { type: 'synced' },
    { type: 'status', status: STATUS },
  )
}

const trio = (): readonly PeerView[] => [
  peer('alice', { connection: since(START - HOUR, { rtt: rtt(80) }), priority: 'HIGH' }),
  peer('bob', { routes: [route('bob', { errorCount: 4, nextAttemptAt: START + MINUTE })] }),
  peer('carol', { priority: 'BANNED' }),
]

const names = (model: Model): string[] => model.order.map((row) => row.name ?? row.id)
const selected = (model: Model): string | null =>
  model.selectedId === null ? null : (model.rows.get(model.selectedId)?.name ?? model.selectedId)
const textOf = (model: Model): string => draw(model).lines.map(plainText).join('\n')
const actsOf = (effects: readonly Effect[]): Act[] => effects.filter((each): each is Act => each.type === 'act')

/** What the keys make the sbot do, one after the other. */
function actsAfter(model: Model, ...pressed: readonly string[]): Act[] {
  const acts: Act[] = []
  let so = model
  for (const key of pressed) {
    const step = update(so, { type: 'key', key })
    acts.push(...actsOf(step.effects))
    so = step.model
  }
  return acts
}

// ---- keys --------------------------------------------------------------------------------------------------------------

/** The cursor is on alice, who is connected; bob is idle, carol is banned. */
const ACTIONS: readonly (readonly [keys: string, call: string | null, args: readonly unknown[]])[] = [
  ['c', 'peer.connect', [{ id: idOf('alice') }]],
  // Cuts something: asks.
  ['d', null, []],
  ['d y', 'peer.disconnect', [{ id: idOf('alice') }]],
  ['d n', null, []],
  ['d ESCAPE y', null, []],
  ['d x y', 'peer.disconnect', [{ id: idOf('alice') }]],
  // Nothing to hang up.
  ['j d y', null, []],
  ['b', null, []],
  ['b y', 'peer.setPriority', [{ id: idOf('alice'), priority: 'BANNED' }]],
  ['b n', null, []],
  ['u', null, []],
  ['G u', 'peer.setPriority', [{ id: idOf('carol'), priority: 'AUTO' }]],
  ['G b y', null, []],
  ['p h', 'peer.setPriority', [{ id: idOf('alice'), priority: 'HIGH' }]],
  ['j p m', 'peer.setPriority', [{ id: idOf('bob'), priority: 'MEDIUM' }]],
  ['p l', 'peer.setPriority', [{ id: idOf('alice'), priority: 'LOW' }]],
  ['p a', 'peer.setPriority', [{ id: idOf('alice'), priority: 'AUTO' }]],
  ['p ESCAPE', null, []],
  // Words of Object.prototype are no priorities.
  ['p constructor', null, []],
  ['l', 'peer.setLongTerm', [{ id: idOf('alice'), isLongTerm: true }]],
  ['s', null, []],
  ['s y', 'connections.stop', []],
  ['s n', null, []],
  ['a n e t : ENTER', 'peer.addRoute', [{ address: 'net:', source: 'manual' }]],
  ['a ENTER', null, []],
  ['a q ESCAPE', null, []],
  // In the details of bob.
  ['j ENTER c', 'peer.connect', [{ id: idOf('bob') }]],
  ['j ENTER k c', 'peer.connect', [{ id: idOf('bob') }]],
  // What is typed into a filter is no command.
  ['/ c ENTER', null, []],
]

test('keys do what they say, and ask before they cut something', (t) => {
  for (const [pressed, call, args] of ACTIONS) {
    const acts = actsAfter(begin(trio()), ...pressed.split(' '))
    t.deepEqual(
      acts.map((act) => [act.call, act.args]),
      call === null ? [] : [[call, args]],
      pressed,
    )
  }
  t.end()
})

test('start is offered where dialing is off, and neither before it is known', (t) => {
  const model = begin(trio())
  const off = after(model, { type: 'status', status: { ...STATUS, mode: 'off' } })
  t.deepEqual(
    actsAfter(off, 's', 'y').map((act) => act.call),
    ['connections.start'],
  )
  t.deepEqual(actsAfter({ ...model, status: null }, 's', 'y'), [])
  t.end()
})

test('a dial under way is given up without a question', (t) => {
  const model = begin([peer('bob', { connection: { ...since(START), status: 'dialing' } })])
  t.deepEqual(
    actsAfter(model, 'd').map((act) => act.call),
    ['peer.disconnect'],
  )
  t.end()
})

test('without a peer the keys say so and do nothing', (t) => {
  for (const key of ['c', 'd', 'b', 'u', 'p', 'l', 'ENTER']) {
    const { model, effects } = update(begin([]), { type: 'key', key })
    t.deepEqual([effects, model.message?.text], [[], 'no peer is selected'], key)
  }
  t.end()
})

test('q and Ctrl-C end it; in an entry only Ctrl-C does', (t) => {
  const ends = (model: Model, key: string): boolean =>
    update(model, { type: 'key', key }).effects.some((effect) => effect.type === 'quit')
  const model = begin(trio())
  const entry = after(model, ...keys('/'))
  t.deepEqual(
    [ends(model, 'q'), ends(model, 'CTRL_C'), ends(entry, 'q'), ends(entry, 'CTRL_C')],
    [true, true, false, true],
  )
  t.end()
})

test('the bottom line tells what was asked for, then the answer', (t) => {
  const asked = update(begin(trio()), { type: 'key', key: 'c' })
  const act = actsOf(asked.effects)[0] as Act
  const lastLine = (model: Model): string => textOf(model).split('\n').at(-1) ?? ''
  t.equal(lastLine(asked.model), 'connect alice …')
  t.equal(lastLine(after(asked.model, { type: 'answered', act, result: null })), 'connect alice: connected')
  t.equal(lastLine(after(asked.model, { type: 'answered', act, result: false })), 'connect alice: not connected')
  t.equal(
    lastLine(after(asked.model, { type: 'failed', act, message: 'no\u001b[31m route' })),
    'connect alice: no [31m route',
  )
  t.end()
})

test('the help and docs/watch.md list the same keys, each obeyed', (t) => {
  const doc = readFileSync(join(__dirname, '..', '..', 'docs', 'watch.md'), 'utf8')
  const rows = [...doc.matchAll(/^\| (`.*?`) \| (.*) \|$/gm)].map(([, shown = '', does]) => [
    shown.replace(/`/g, ''),
    does,
  ])
  t.deepEqual(
    rows,
    KEYS.map(({ shown, does }) => [shown, does]),
  )
  const help = textOf(after(begin(trio(), { lines: 60, columns: 200 }), ...keys('?')))
  for (const { shown, does } of KEYS) t.ok(help.includes(shown) && help.includes(does), `the help has ${shown}`)
  t.end()
})

// ---- the table ---------------------------------------------------------------------------------------------------------

test('the table is sorted by each column, both ways; what is unknown comes last', (t) => {
  const peers = [
    peer('alice', { connection: since(START - HOUR, { rtt: rtt(80) }), priority: 'HIGH' }),
    peer('bob', { connection: since(START - MINUTE, { direction: 'inbound', rtt: rtt(20) }), priority: 'LOW' }),
    peer('carol', { routes: [route('carol', { isLocal: true, errorCount: 3, nextAttemptAt: START + 5 })] }),
  ]
  const orders: Readonly<Record<Column, readonly [up: string, down: string]>> = {
    peer: ['alice bob carol', 'carol bob alice'],
    state: ['alice bob carol', 'carol alice bob'],
    direction: ['alice bob carol', 'carol bob alice'],
    class: ['carol alice bob', 'alice carol bob'],
    since: ['alice bob carol', 'bob alice carol'],
    rtt: ['bob alice carol', 'alice bob carol'],
    errors: ['alice bob carol', 'carol alice bob'],
    priority: ['alice carol bob', 'bob carol alice'],
    next: ['alice bob carol', 'carol alice bob'],
  }
  const byId = (text: string): string => text
  for (const [at, column] of COLUMNS.entries()) {
    const model = after(begin(peers), ...keys(String(at + 1)))
    const [up, down] = orders[column]
    t.equal(names(model).join(' '), byId(up), column)
    t.equal(names(after(model, ...keys('r'))).join(' '), byId(down), `${column}, reversed`)
    t.ok(textOf(model).includes(`by ${column} ▲`), 'the head says so')
  }
  t.end()
})

test('< and > go through all columns and around', (t) => {
  let model = begin(trio())
  const seen = COLUMNS.map(() => {
    model = after(model, ...keys('>'))
    return model.sort.column
  })
  t.equal(new Set(seen).size, COLUMNS.length)
  t.equal(model.sort.column, 'state', 'back where it began')
  t.equal(after(model, ...keys('<')).sort.column, 'peer')
  t.end()
})

test('a filter shows those in which all words occur, as one types', (t) => {
  const model = begin(trio())
  const typed = after(model, ...keys('/'), ...typing('BOB'))
  t.deepEqual(names(typed), ['bob'])
  t.ok(textOf(typed).includes('1 of 3 peers'))
  t.deepEqual(names(after(typed, ...keys('ESCAPE'))), names(model), 'Esc brings back what was')
  const kept = after(typed, ...keys('ENTER'))
  t.deepEqual(names(kept), ['bob'])
  t.deepEqual(names(after(kept, ...keys('ESCAPE'))), names(model), 'Esc in the table shows all')
  t.deepEqual(names(after(model, ...keys('/'), ...typing('carol idle'))), [], 'all words')
  t.deepEqual(names(after(model, ...keys('/'), ...typing('banned example'))), ['carol'], 'state and address')
  t.deepEqual(names(after(typed, ...keys('BACKSPACE', 'BACKSPACE', 'BACKSPACE', ...'ali'))), ['alice'])
  t.deepEqual(
    names(after(kept, { type: 'peers', changed: [peer('dave')] })),
    ['bob'],
    'who comes later is filtered too',
  )
  t.end()
})

test('the selection stays on the same peer when rows move, and goes to the next when it leaves', (t) => {
  const model = after(begin(trio()), ...keys('j'))
  t.equal(selected(model), 'bob')
  const moved = after(model, { type: 'peers', changed: [peer('bob', { connection: since(START - 2 * HOUR) })] })
  t.equal(selected(moved), 'bob')
  t.equal(selected(after(moved, ...keys('r'))), 'bob')
  const gone = after(model, { type: 'peers', changed: [{ id: idOf('bob'), removed: true }] })
  t.equal(selected(gone), 'carol')
  t.end()
})

test('details of a peer show all routes, errors, the explanation and what to do', (t) => {
  const bob = peer('bob', {
    routes: [
      route('bob', { errorCount: 4, errors: [{ message: 'refused', code: 'ECONNREFUSED', at: START - MINUTE }] }),
      route('bob', { id: 'onion:bob.onion:8008~shs:x', source: 'pub' }),
    ],
  })
  const model = after(begin([bob], { columns: 100 }), ...keys('ENTER'))
  t.deepEqual(wantedExplanations(model), [idOf('bob')])
  const why = { address: route('bob').id, reason: 'backoff', until: START + 30 * SECOND, message: '4 failed' }
  const routes = [why as RouteExplanation]
  const text = textOf(after(model, { type: 'explained', explanations: [[idOf('bob'), explanation({ routes })]] }))
  for (const part of [
    route('bob').id,
    'onion:bob.onion:8008~shs:x',
    '60 s ago: ECONNREFUSED refused',
    'Not connected: in 30 s, backoff: 3 failed dials',
    'To change it: wait for it',
    'Keys: c dials it now',
    'backoff: 4 failed, next in 30 s',
    '2 routes',
  ])
    t.ok(text.includes(part), part)
  const gone = after(model, { type: 'peers', changed: [{ id: bob.id, removed: true }] })
  t.equal(gone.mode.kind, 'table', 'one who has gone has none')
  t.end()
})

test('the head says how things stand, and the worst finding comes first', (t) => {
  const text = textOf(begin(trio()))
  for (const part of ['on', 'link up', 'down: transport:onion', '3 peers', '5 routes', 'net ██▒ 2/3+1', 'inbound 7'])
    t.ok(text.includes(part), part)
  t.notOk(text.includes('onion ░'), 'a class without slots takes no room')
  const finding = (severity: Finding['severity'], message: string): Finding => ({
    code: 'x',
    severity,
    message,
    remedy: 'Do this.',
    since: null,
    peers: [],
  })
  const found = after(begin(trio()), {
    type: 'findings',
    findings: [finding('info', 'fine'), finding('error', 'nothing works'), finding('warning', 'slow')],
  })
  t.ok(textOf(found).includes('nothing works → Do this. (and 2 more: sbot-connections doctor)'))
  t.notOk(textOf(after(found, { type: 'findings', findings: [] })).includes('nothing works'))
  t.end()
})

test('only what is on the screen is explained and drawn', (t) => {
  const many = Array.from({ length: 10_000 }, (_, at) => peer(`peer ${at}`))
  const model = begin(many)
  t.equal(visibleRows(model).length, draw(model).lines.filter((line) => plainText(line).startsWith('@')).length)
  t.ok(wantedExplanations(model).length < 30)
  const last = after(model, ...keys('G'))
  t.equal(visibleRows(last).at(-1)?.id, last.selectedId, 'the end can be reached')
  t.equal(last.selectedId, last.order.at(-1)?.id)
  // As many as come in a busy second. Sorted anew each time they would cost seconds.
  const before = Date.now()
  let so = last
  for (let at = 0; at < 40; at++)
    so = after(so, { type: 'peers', changed: [peer(`peer ${at}`, { connection: since(START + at) })] })
  t.equal(so.order.length, 10_000)
  t.comment(`40 changes of 10 000 rows: ${Date.now() - before} ms`)
  t.end()
})

test('a narrow terminal drops columns, the one that is sorted by late', (t) => {
  const at = (columns: number, sorted: Column = 'state'): string[] =>
    placeColumns(columns, sorted).map(({ column }) => column)
  t.deepEqual(at(120), [...COLUMNS])
  t.deepEqual(at(60), ['peer', 'state', 'errors', 'priority', 'next'])
  t.deepEqual(at(30), ['peer', 'state'])
  t.deepEqual(at(10), ['peer'])
  t.ok(at(60, 'rtt').includes('rtt'))
  t.end()
})

// ---- text --------------------------------------------------------------------------------------------------------------

test('hostile text is cleaned', (t) => {
  const table: readonly (readonly [text: string, cleaned: string])[] = [
    ['plain', 'plain'],
    ['\u001b[2J\u0007red\u001b[0m', '[2J red [0m'],
    ['a\nb\r\nc\td', 'a b c d'],
    ['abc\u202egnp.exe', 'abc gnp.exe'],
    ['zero\u200bwidth\u2066x', 'zero width x'],
    ['half \ud800 pair', 'half pair'],
    ['\u0301\u0302 on nothing', 'on nothing'],
    [`e${'\u0301'.repeat(50)}`, 'e\u0301\u0301'],
    ['日本語', '日本語'],
    ['❤\ufe0f', '❤'],
  ]
  for (const [text, cleaned] of table) t.equal(clean(text), cleaned, JSON.stringify(text))
  t.ok(clean('x'.repeat(1e6)).length <= 1_000, 'bounded')
  t.end()
})

test('durations are short', (t) => {
  t.deepEqual([-5, 400, 61_000, 2 * MINUTE, 119 * MINUTE, 2 * HOUR, 47 * HOUR, 48 * HOUR].map(duration), [
    '0 s',
    '0 s',
    '61 s',
    '2 min',
    '119 min',
    '2 h',
    '47 h',
    '2 d',
  ])
  t.end()
})

const anyText = fc.oneof(
  fc.string({ maxLength: 60 }),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom('日本語の名前', '👨‍👩‍👧‍👦 family', '🇩🇪🇫🇷', 'עברית', '\u001b[31m', 'x'.repeat(5_000)),
)

test('text is cut and wrapped to its width', (t) => {
  fc.assert(
    fc.property(anyText, fc.integer({ min: 1, max: 40 }), (text, width) => {
      const cleaned = clean(text)
      return (
        displayWidth(cut(cleaned, width)) <= width &&
        wrap(cleaned, width, 5).length <= 5 &&
        wrap(cleaned, width, 5).every((line) => displayWidth(line) <= width)
      )
    }),
  )
  t.pass('never wider')
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z]{1,8}$/), { maxLength: 30 }), (words) => {
      const text = words.join(' ')
      return wrap(text, 10, 1_000).join(' ') === text
    }),
  )
  t.pass('no word is lost')
  t.end()
})

// ---- whatever comes ----------------------------------------------------------------------------------------------------

const NAMES = ['alice', 'bob', 'carol', 'dave', 'erin'] as const
const anyTime = fc.constantFrom(0, START - HOUR, START, START + MINUTE)
const anyConnection: fc.Arbitrary<ConnectionView> = fc.oneof(
  fc.constant(IDLE),
  fc.record({
    status: fc.constantFrom('dialing', 'connected', 'closing'),
    direction: fc.constantFrom('inbound', 'outbound'),
    address: fc.option(anyText),
    since: anyTime,
    rtt: fc.option(fc.double({ min: 0, max: 1e7, noNaN: true }).map(rtt)),
    skew: fc.constant(null),
  }),
)
const anyPeer: fc.Arbitrary<PeerView> = fc
  .record({
    name: fc.constantFrom(...NAMES),
    priority: fc.constantFrom('HIGH', 'MEDIUM', 'LOW', 'BANNED'),
    isLongTerm: fc.boolean(),
    connection: anyConnection,
    routes: fc.array(
      fc.record({ id: anyText, source: anyText, errorCount: fc.nat(2_000), nextAttemptAt: anyTime, text: anyText }),
      { maxLength: 3 },
    ),
  })
  .map(({ name, routes, ...rest }) =>
    peer(name, {
      ...rest,
      routes: routes.map(({ text, ...each }) =>
        route(name, { ...each, errors: [{ message: text, code: text.slice(0, 20), at: START }] }),
      ),
    }),
  )
const anyKey = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...KEYS.flatMap((key) => key.keys)) },
  { weight: 2, arbitrary: fc.constantFrom('y', 'n', 'h', 'm', 'BACKSPACE', 'CTRL_U', 'TAB', 'F5', '__proto__') },
  { weight: 1, arbitrary: anyText },
)
const anyEvent: fc.Arbitrary<WatchEvent> = fc.oneof(
  { weight: 5, arbitrary: anyKey.map((key) => ({ type: 'key' as const, key })) },
  {
    weight: 3,
    arbitrary: fc.array(anyPeer, { maxLength: 4 }).map((changed) => ({ type: 'peers' as const, changed })),
  },
  fc
    .constantFrom(...NAMES)
    .map((name) => ({ type: 'peers' as const, changed: [{ id: idOf(name), removed: true as const }] })),
  fc.constant({ type: 'synced' as const }),
  anyText.map((name) => ({ type: 'named' as const, names: [[idOf('bob'), name] as const] })),
  fc.constant({ type: 'status' as const, status: STATUS }),
  anyText.map((message) => ({
    type: 'findings' as const,
    findings: [{ code: 'x', severity: 'error' as const, message, remedy: message, since: null, peers: [] }],
  })),
  fc.tuple(anyText, fc.constantFrom(...NAMES)).map(([message, name]) => ({
    type: 'explained' as const,
    explanations: [[idOf(name), explanation({ message })] as const],
  })),
  fc.tuple(anyText, fc.constantFrom('dialing', 'connected', 'failed')).map(([text, type]) => ({
    type: 'changes' as const,
    changes: [{ type, peer: text, address: text, direction: 'outbound' as const, reason: text, at: START }] as const,
  })),
  fc
    .record({
      columns: fc.integer({ min: 0, max: 150 }),
      lines: fc.oneof(fc.integer({ min: 0, max: 8 }), fc.constant(30)),
    })
    .map((size) => ({ type: 'resized' as const, ...size })),
  anyTime.map((now) => ({ type: 'tick' as const, now })),
)

/** What is wrong with a screen, or null. */
function faultOf({ lines, cursor }: Screen, model: Model): string | null {
  if (lines.length > model.lines) return `${lines.length} lines of ${model.lines}`
  for (const line of lines) {
    let x = 0
    for (const cell of line) {
      if (cell.x < x) return `a cell at ${cell.x} where the one before ends at ${x}`
      if (clean(cell.text) !== cell.text.trim().replace(/ +/g, ' ')) return `not clean: ${JSON.stringify(cell.text)}`
      x = cell.x + displayWidth(cell.text)
    }
    if (x > model.columns) return `${x} columns of ${model.columns}: ${plainText(line)}`
  }
  if (cursor && (cursor.x >= model.columns || cursor.y >= model.lines)) return 'the cursor is outside'
  return null
}

function faultOfModel(model: Model): string | null {
  const expected = arrange(model.rows.values(), model.filter, model.sort)
  if (model.order.map((row) => row.id).join() !== expected.map((row) => row.id).join())
    return 'the order is not that of a sort'
  const shown = visibleRows(model)
  if (model.selectedId !== null && layoutOf(model).body > 0)
    if (!shown.some((row) => row.id === model.selectedId)) return 'the selected peer is not on the screen'
  if (model.top > 0 && model.top >= model.order.length) return 'it is scrolled past the end'
  return null
}

test('whatever happens, the screen fits the terminal, is clean, and in order', (t) => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 40 }), (events) => {
      let model = begin(trio())
      for (const event of events) {
        const { selectedId } = model
        model = update(model, event).model
        const fault = faultOf(draw(model), model) ?? faultOfModel(model)
        if (fault !== null) throw new Error(fault)
        // Only keys, and its own leaving, move the selection off a peer.
        const isThere = selectedId !== null && model.order.some((row) => row.id === selectedId)
        if (event.type !== 'key' && isThere && model.selectedId !== selectedId) throw new Error('the selection moved')
      }
      return true
    }),
    { numRuns: 150 },
  )
  t.pass('no sequence of events breaks it')
  t.end()
})

test('every order is total: the same rows give the same order, whatever order they come in', (t) => {
  const rows: Row[] = NAMES.map((name, at) => makeRow(peer(name, { isLongTerm: at % 2 === 0 }), null))
  fc.assert(
    fc.property(
      fc.constantFrom(...COLUMNS),
      fc.boolean(),
      fc.shuffledSubarray(rows, { minLength: rows.length }),
      (column, isReversed, shuffled) => {
        const sort = { column, isReversed }
        const compare = comparator(sort)
        const idsOf = (list: readonly Row[]): FeedId[] => list.map((row) => row.id)
        return (
          idsOf(arrange(shuffled, '', sort)).join() === idsOf(arrange(rows, '', sort)).join() &&
          shuffled.every((a) => shuffled.every((b) => (a === b) === (compare(a, b) === 0)))
        )
      },
    ),
  )
  t.pass('no two peers are equal')
  t.end()
})

// ---- the terminal ------------------------------------------------------------------------------------------------------

test('colours go where there are none, and what is selected is still seen', (t) => {
  const line = [
    { x: 0, text: 'a', style: { color: 'red', isInverse: true } },
    { x: 5, text: 'b', style: {} },
  ] as const
  t.equal(encodeLine(line, true), '\u001b[0m\u001b[K\u001b[1G\u001b[7;31ma\u001b[0m\u001b[6Gb')
  t.equal(encodeLine(line, false), '\u001b[0m\u001b[K\u001b[1G\u001b[7ma\u001b[0m\u001b[6Gb')
  t.end()
})

test('without terminal-kit it says what to install', (t) => {
  try {
    loadTerminal(() => {
      throw new Error("Cannot find module 'terminal-kit'")
    })
    t.fail('it was found')
  } catch (error) {
    t.ok(error instanceof CliError && error.code === 'ERR_NO_TERMINAL_KIT')
    t.ok((error as CliError).remedy?.includes('npm install terminal-kit'))
  }
  t.end()
})
