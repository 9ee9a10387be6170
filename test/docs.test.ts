/**
 * README.md and docs/*.md hold what they say: every code sample runs, every result that a sample shows is compared, every
 * table is compared with the code, and every link leads somewhere.
 *
 * A fence of `js` or `ts` has a comment above it that names what it may assume: `<!-- setup: NAME -->`, one of `FIXTURES`.
 * Samples run as the body of an async function. In them, `// → value` says what the statement before it gives (its value,
 * the variable it declares, or what its one `console.log` prints, call by call where there are several such lines), and
 * `// throws CODE` or `// rejects CODE` how it fails. In a value `…` stands for anything: the rest of an object or a list, a
 * whole value, or a part of a string. A fence of `sh` may only hold commands that exist.
 */
import { existsSync, readdirSync, readFileSync } from 'fs'
import { join } from 'path'
import { runInThisContext } from 'vm'

import pull = require('pull-stream')
import test = require('tape')
import ts = require('typescript')

import { connManifest } from '../src/adapters/conn/conn'
import { gossipManifest } from '../src/adapters/gossip'
import { manifest } from '../src/adapters/manifest'
import { DEFAULT_OPTIONS } from '../src/core/options'
import { RULES } from '../src/core/refusal'

import Manager = require('../src/index')
import testing = require('../src/testing')

import { generate } from 'ssb-keys'
import { eventually } from './support/eventually'
import { person } from './support/manager'
import {
  block,
  bootStack,
  closeAll,
  connect,
  findFreePort,
  follow,
  publish,
  type Stack,
  type StackVersion,
} from './support/stack'

const ROOT = join(__dirname, '..')
const DOCUMENTS = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]
const SAMPLE_LIMIT_MS = 20_000
/** Of the virtual clock, for samples that run on it. */
const VIRTUAL_LIMIT_MS = 24 * 3_600_000
const VIRTUAL_STEP_MS = 100

const texts = new Map(DOCUMENTS.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]))

function textOf(file: string): string {
  return texts.get(file) ?? readFileSync(join(ROOT, file), 'utf8')
}

// ---- samples ----------------------------------------------------------------------------------------------------------

interface Sample {
  /** `file:line` of the fence. */
  readonly name: string
  readonly language: string
  readonly setup: string | null
  readonly code: string
}

function samplesOf(file: string, text: string): Sample[] {
  const samples: Sample[] = []
  const lines = text.split('\n')
  let open: { line: number; language: string; code: string[]; setup: string | null; fence: string } | null = null
  lines.forEach((line, i) => {
    const fence = /^\s*(```+)(\w*)\s*$/.exec(line)
    if (!open && fence) {
      const above = lines
        .slice(Math.max(0, i - 2), i)
        .map((each) => /^\s*<!-- setup: (\w+) -->\s*$/.exec(each)?.[1])
        .filter((each) => each !== undefined)
      open = { line: i + 1, language: fence[2] ?? '', code: [], setup: above[0] ?? null, fence: fence[1] ?? '' }
    } else if (open && fence && fence[2] === '' && fence[1] === open.fence) {
      const { language, setup, code } = open
      samples.push({ name: `${file}:${open.line}`, language, setup, code: code.join('\n') })
      open = null
    } else if (open) {
      open.code.push(line)
    }
  })
  return samples
}

type ClaimKind = 'value' | 'log' | 'throws'

/** What a sample says about one statement. */
interface Claim {
  readonly line: number
  readonly kind: ClaimKind
  /** In order: one for a value or a failure, one for each call of `console.log`. */
  readonly expected: string[]
}

interface Found {
  word: string
  text: string
}

interface Edit {
  readonly at: number
  readonly text: string
}

const CLAIM = /^\s*\/\/ (→|throws|rejects) (.*)$/
const CONTINUATION = /^\s*\/\/ {2,}(\S.*)$/

/** The code with its claims made into calls. Throws for a claim that belongs to no statement. */
function instrument(code: string): { readonly code: string; readonly claims: readonly Claim[] } {
  const source = ts.createSourceFile('sample.ts', code, ts.ScriptTarget.ES2022, true)
  const edits: Edit[] = []
  const claims: Claim[] = []
  const claimed = new Set<number>()
  const lines = code.split('\n')
  const lineAt = (position: number): number => source.getLineAndCharacterOfPosition(position).line

  /** The claims on the rest of the line of a node, if that matches `tail`, and on the lines below it. */
  const claimsAfter = (node: ts.Node, tail: RegExp): Found[] => {
    const { line, character } = source.getLineAndCharacterOfPosition(node.getEnd())
    const found: Found[] = []
    const comment = (lines[line] ?? '').slice(character).replace(tail, '')
    if (comment !== '' && !CLAIM.test(comment)) return found
    for (let i = line; i < lines.length; i++) {
      const text = i === line ? comment : (lines[i] ?? '')
      const claim = CLAIM.exec(text)
      const last = found[found.length - 1]
      if (claim) found.push({ word: claim[1] ?? '', text: claim[2] ?? '' })
      else if (last && i > line && CONTINUATION.test(text)) last.text += ` ${CONTINUATION.exec(text)?.[1] ?? ''}`
      else if (i > line || text !== '') break
      if (claim && claimed.has(i)) return []
      if (claim) claimed.add(i)
    }
    return found
  }
  const visit = (node: ts.Node): void => {
    ts.forEachChild(node, visit)
    const line = lineAt(node.getStart()) + 1
    if (ts.isCallExpression(node) && node.expression.getText() === 'console.log') {
      // Whatever is closed behind it on the same line.
      const found = claimsAfter(node, /^[)\]};,\s]*/)
      if (found.length > 0) claims.push(claimOfLog(node, found, line, claims.length, edits))
    } else if (ts.isExpressionStatement(node) || ts.isVariableStatement(node)) {
      const found = claimsAfter(node, /^\s*/)
      if (found.length > 0) claims.push(claimOf(node, found, line, claims.length, edits))
    }
  }
  visit(source)
  lines.forEach((line, i) => {
    if (/\/\/ (→|throws [A-Z]|rejects [A-Z])/.test(line) && !claimed.has(i))
      throw new Error(`line ${i + 1}: the claim belongs to no statement: ${line.trim()}`)
  })
  edits.sort((a, b) => a.at - b.at)
  let made = ''
  let from = 0
  for (const { at, text } of edits) {
    made += code.slice(from, at) + text
    from = at
  }
  return { code: made + code.slice(from), claims }
}

function claimOf(
  node: ts.ExpressionStatement | ts.VariableStatement,
  found: readonly Found[],
  line: number,
  id: number,
  edits: Edit[],
): Claim {
  const expected = found.map(({ text }) => text)
  const isFailure = found.some(({ word }) => word !== '→')
  const value = expectation(expected[0] ?? '')
  if (ts.isVariableStatement(node)) {
    const [declaration] = node.declarationList.declarations
    if (!declaration || !ts.isIdentifier(declaration.name) || isFailure || found.length > 1)
      throw new Error(`line ${line}: a declaration can claim the value of one name`)
    edits.push({ at: node.getEnd(), text: `;__claim(${id}, ${declaration.name.text}, () => ${value})` })
    return { line, kind: 'value', expected }
  }
  const { expression } = node
  if (isFailure) {
    const call = `;await __throws(${id}, async () => (`
    edits.push({ at: expression.getStart(), text: call }, { at: expression.getEnd(), text: '))' })
    return { line, kind: 'throws', expected: [(expected[0] ?? '').trim()] }
  }
  if (found.length > 1) throw new Error(`line ${line}: several results, and no console.log`)
  edits.push({ at: expression.getStart(), text: `__claim(${id}, (` })
  edits.push({ at: expression.getEnd(), text: `), () => ${value})` })
  return { line, kind: 'value', expected }
}

/** Each call gives the next of the claims. */
function claimOfLog(node: ts.CallExpression, found: readonly Found[], line: number, id: number, edits: Edit[]): Claim {
  if (found.some(({ word }) => word !== '→')) throw new Error(`line ${line}: console.log does not fail`)
  const expected = found.map(({ text }) => text)
  const { expression } = node
  const lists = expected.map(expectation).join(', ')
  edits.push({ at: expression.getStart(), text: `__log(${id}, () => [${lists}]) /* ` })
  edits.push({ at: expression.getEnd(), text: ' */' })
  return { line, kind: 'log', expected }
}

const ANY = Symbol('anything')
const REST = Symbol('the rest')
/** Spread into a list or an object it leaves its mark there. */
const rest = Object.assign([REST], { [REST]: true })

/** The text of a claim as an expression for a list of values. */
function expectation(text: string): string {
  let made = ''
  let from = 0
  const token = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`|…/g
  for (let match = token.exec(text); match; match = token.exec(text)) {
    made += text.slice(from, match.index)
    from = match.index + match[0].length
    if (match[0] !== '…') made += match[0]
    else made += /[,{[]\s*$/.test(made) ? '...__rest' : '__any'
  }
  return `[${made + text.slice(from)}]`
}

function matches(actual: unknown, expected: unknown): boolean {
  if (expected === ANY) return true
  if (typeof expected === 'string' && expected.includes('…')) {
    const parts = expected.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    return typeof actual === 'string' && new RegExp(`^${parts.join('[^]*')}$`).test(actual)
  }
  if (Array.isArray(expected)) {
    if (!Array.isArray(actual)) return false
    const at = expected.indexOf(REST)
    const wanted = at < 0 ? expected : expected.slice(0, at)
    return (
      (at < 0 ? actual.length === wanted.length : actual.length >= wanted.length) &&
      wanted.every((each, i) => matches(actual[i], each))
    )
  }
  if (typeof expected === 'object' && expected !== null) {
    if (typeof actual !== 'object' || actual === null || Array.isArray(actual)) return false
    const fields = actual as Record<string, unknown>
    const wanted = expected as Record<PropertyKey, unknown>
    if (!Object.keys(wanted).every((key) => /^\d+$/.test(key) || matches(fields[key], wanted[key]))) return false
    const extra = Object.keys(fields).filter((key) => fields[key] !== undefined && !Object.hasOwn(wanted, key))
    return wanted[REST] === true || extra.length === 0
  }
  return Object.is(actual, expected)
}

function show(value: unknown): string {
  return value instanceof Error ? `${value}` : (JSON.stringify(value) ?? String(value))
}

/** Runs a sample on its fixture; what was wrong with it, nothing if all is as it says. */
async function run(sample: Sample, fixture: Fixture): Promise<string[]> {
  const problems: string[] = []
  const { code, claims } = instrument(sample.code)
  const seen = claims.map(() => 0)
  const wantedOf = (id: number): number => claims[id]?.expected.length ?? 0
  const check = (id: number, actual: unknown, expected: unknown): void => {
    const claim = claims[id]
    const text = claim?.expected[seen[id] ?? 0]
    seen[id] = (seen[id] ?? 0) + 1
    if (!matches(actual, expected))
      problems.push(`line ${claim?.line}: says ${text}, is ${(actual as unknown[]).map(show).join(', ')}`)
  }
  const names: Record<string, unknown> = {
    ...fixture.names,
    require: requireFor(fixture),
    exports: {},
    // What samples print is no TAP.
    console: { log: () => {}, error: () => {} },
    process: Object.create(process, { stdout: { value: { write: () => true } } }),
    __any: ANY,
    __rest: rest,
    __claim: (id: number, actual: unknown, expected: () => unknown) => check(id, [actual], expected()),
    __log:
      (id: number, expected: () => unknown[]) =>
      (...actual: unknown[]) => {
        const index = seen[id] ?? 0
        if (index < wantedOf(id)) check(id, actual, expected()[index])
      },
    __throws: async (id: number, fn: () => Promise<unknown>) => {
      const claim = claims[id]
      seen[id] = 1
      const outcome = await fn().then(
        (value) => `gave ${show(value)}`,
        (error: { code?: unknown }) => String(error?.code ?? error),
      )
      if (outcome !== claim?.expected[0])
        problems.push(`line ${claim?.line}: should fail with ${claim?.expected[0]}: ${outcome}`)
    },
  }
  const body = sample.language === 'ts' ? transpile(code) : code
  const AsyncFunction = (async () => {}).constructor as new (
    ...args: string[]
  ) => (...args: unknown[]) => Promise<unknown>
  const fn = new AsyncFunction(...Object.keys(names), `'use strict'; {\n${body}\n}\n//# sourceURL=${sample.name}`)
  const isComplete = (): boolean => claims.every((_, id) => (seen[id] ?? 0) >= wantedOf(id))
  try {
    await fixture.until(fn(...Object.values(names)))
    // What it has set in motion may still have to happen.
    if (!isComplete() && problems.length === 0) await fixture.wait(() => isComplete() || problems.length > 0)
  } catch (error) {
    problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
  }
  for (const manager of madeBySample.splice(0)) manager.close()
  claims.forEach((claim, id) => {
    if ((seen[id] ?? 0) < wantedOf(id) && problems.length === 0)
      problems.push(`line ${claim.line}: never came to pass: ${claim.expected.slice(seen[id] ?? 0).join(' / ')}`)
  })
  return problems
}

function transpile(code: string): string {
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.CommonJS }
  return ts.transpileModule(code, { compilerOptions }).outputText
}

// ---- what samples may assume ------------------------------------------------------------------------------------------

interface Fixture {
  /** What the sample finds under which name. */
  readonly names: Readonly<Record<string, unknown>>
  /** The secret-stack that it gets by `require`. */
  readonly version?: StackVersion
  /** Stacks that the sample starts by itself. */
  readonly started?: Stoppable[]
  /** The outcome of `promise`; lets time pass meanwhile. */
  until(promise: Promise<unknown>): Promise<unknown>
  /** Lets time pass until something holds, or for a while. */
  wait(isDone: () => boolean): Promise<void>
  close(): Promise<void>
}

interface Stoppable {
  close(abort: true, cb: () => void): void
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Nothing but time, as it passes. */
function realTime(names: Fixture['names'], close: () => Promise<void>, more: Partial<Fixture> = {}): Fixture {
  return {
    ...more,
    names: { pull, ...names },
    until: (promise) => {
      let timer: NodeJS.Timeout | undefined
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`not over after ${SAMPLE_LIMIT_MS} ms`)), SAMPLE_LIMIT_MS)
      })
      return Promise.race([promise, late]).finally(() => clearTimeout(timer))
    },
    wait: async (isDone) => {
      for (let waited = 0; !isDone() && waited < SAMPLE_LIMIT_MS / 2; waited += 20) await sleep(20)
    },
    close,
  }
}

/**
 * `manager`: a stand-alone manager, off, on a virtual clock and a simulated network. alice, bob and carol are up (bob has
 * two addresses), dave refuses connections. `sleep(ms)` passes virtual time; `connectToPeer` and `clock` are the manager's.
 */
async function managerFixture(): Promise<Fixture> {
  const clock = testing.virtualClock()
  const random = testing.seededRandom(1)
  const network = testing.simulatedNetwork({ clock, random, latencyMs: 20 })
  const [alice, bob, carol, dave, me] = ['alice', 'bob', 'carol', 'dave', 'me'].map(person) as [
    Person,
    Person,
    Person,
    Person,
    Person,
  ]
  const onion = bob.by('onion', `${'b'.repeat(56)}.onion`)
  for (const each of [alice, carol]) network.addNode({ id: each.id, addresses: [each.address] })
  network.addNode({ id: bob.id, addresses: [bob.address, onion] })
  network.setFault({ address: dave.address }, { kind: 'refused' })
  const node = network.addNode({ id: me.id })
  const { connectToPeer } = node
  const manager = recorded(Manager({ connectToPeer, selfId: me.id, clock, random }), '')
  let elapsed = 0
  const pass = async (isDone: () => boolean): Promise<void> => {
    for (; !isDone() && elapsed < VIRTUAL_LIMIT_MS; elapsed += VIRTUAL_STEP_MS) {
      await clock.advanceAsync(VIRTUAL_STEP_MS)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  return {
    names: {
      pull,
      manager,
      connectToPeer,
      clock,
      me,
      alice,
      bob: { ...bob, onion },
      carol,
      dave,
      sleep: (ms: number) => new Promise<void>((resolve) => clock.setTimeout(resolve, ms)),
    },
    until: async (promise) => {
      let isOver = false
      const over = promise.finally(() => {
        isOver = true
      })
      over.catch(() => {})
      await pass(() => isOver)
      if (!isOver) throw new Error('not over after a day of virtual time')
      return over
    },
    wait: async (isDone) => {
      const until = elapsed + 600_000
      await pass(() => isDone() || elapsed >= until)
    },
    close: async () => manager.close(),
  }
}

type Person = ReturnType<typeof person>

const remotePeer = (stack: Stack) => ({ id: stack.id, address: stack.address })

/** `config`: what a user's config holds (path, keys, caps, connections), and alice, a running sbot. */
async function configFixture(version: StackVersion): Promise<Fixture> {
  const alice = await bootStack({ version, name: 'alice', ownPlugins: [Manager] })
  const mine = await bootStack({ version, name: 'me', keep: true })
  await mine.close()
  const { path, keys, shs } = mine
  const port = await findFreePort()
  const config = {
    path,
    keys,
    caps: { shs },
    connections: {
      incoming: { net: [{ scope: ['device', 'local', 'public'], host: '127.0.0.1', port, transform: 'shs' }] },
      outgoing: { net: [{ transform: 'shs' }] },
    },
  }
  const started: Stoppable[] = []
  const close = async (): Promise<void> => {
    for (const sbot of started) await new Promise<void>((resolve) => sbot.close(true, resolve))
    await alice.close()
  }
  return realTime({ config, alice: remotePeer(alice) }, close, { version, started })
}

/** `sbot`: a running sbot without the plugin, and alice, another one. */
async function sbotFixture(version: StackVersion): Promise<Fixture> {
  const [alice, mine] = [await bootStack({ version, name: 'alice' }), await bootStack({ version, name: 'me' })]
  return realTime({ sbot: mine.ssb, alice: remotePeer(alice) }, () => closeAll(mine, alice))
}

/** `stack`: a running sbot with the plugin, off; and alice and bob, running. `keys`, `path` and `caps` are the sbot's. */
async function stackFixture(version: StackVersion): Promise<Fixture> {
  const [alice, bob, mine] = await Promise.all(
    ['alice', 'bob', 'me'].map((name) => bootStack({ version, name, ownPlugins: [Manager] })),
  )
  if (!alice || !bob || !mine) throw new Error('not booted')
  const { keys, path, address } = mine
  const names = {
    sbot: mine.ssb,
    alice: remotePeer(alice),
    bob: remotePeer(bob),
    keys,
    path,
    address,
    caps: { shs: mine.shs },
  }
  return realTime(names, () => closeAll(mine, alice, bob))
}

/** `database`: as `stack`, with ssb-db2, ssb-ebt and ssb-friends. We follow alice, who has published. */
async function databaseFixture(version: StackVersion): Promise<Fixture> {
  const [alice, mine] = await Promise.all(
    ['alice', 'me'].map((name) => bootStack({ version, name, ownPlugins: [Manager], withDb: true })),
  )
  if (!alice || !mine) throw new Error('not booted')
  for (let i = 0; i < 20; i++) await publish(alice, { type: 'post', text: `${i}` })
  await follow(mine, alice.id)
  return realTime({ sbot: mine.ssb, alice: remotePeer(alice) }, () => closeAll(mine, alice))
}

/**
 * `replication`: a sbot with ssb-db2, ssb-ebt, ssb-friends and the replication scheduler, connected to alice. We follow her and
 * block mallory; she follows bob.
 */
async function replicationFixture(version: StackVersion): Promise<Fixture> {
  const boot = (name: string) =>
    bootStack({ version, name, withDb: 'unrequested', ownPlugins: [require('../src/replication-scheduler') as object] })
  const [alice, mine] = [await boot('alice'), await boot('me')]
  const [bob, mallory] = [generate(), generate()]
  await follow(alice, bob.id)
  await follow(mine, alice.id)
  await block(mine, mallory.id)
  await connect(mine, alice.address)
  const scheduler = mine.ssb.replicationScheduler as {
    status(): { readonly feeds: { readonly requested: number; readonly blocked: number } }
  }
  await eventually(() => scheduler.status().feeds.requested === 3 && scheduler.status().feeds.blocked === 1, {
    timeoutMs: 10_000,
    message: 'the graph has been read',
  })
  return realTime({ sbot: mine.ssb, alice: remotePeer(alice), bob, mallory }, () => closeAll(mine, alice))
}

/** Where a sample runs on several versions of the stack, one fixture for each. */
const FIXTURES: { readonly [setup: string]: readonly (() => Promise<Fixture>)[] } = {
  nothing: [async () => realTime({}, async () => {})],
  manager: [managerFixture],
  sbot: [() => sbotFixture(6), () => sbotFixture(8)],
  stack: [() => stackFixture(6), () => stackFixture(8)],
  config6: [() => configFixture(6)],
  config8: [() => configFixture(8)],
  database: [() => databaseFixture(6)],
  replication: [() => replicationFixture(6), () => replicationFixture(8)],
}

/** Calls of the API that samples have made, by their dotted names. */
const called = new Set<string>()

/** An API that notes what is called of it. */
function recorded<T extends object>(api: T, path: string): T {
  const made: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(api)) {
    const full = path === '' ? name : `${path}.${name}`
    if (typeof value === 'function')
      made[name] = (...args: unknown[]) => {
        called.add(full)
        return (value as (...args: unknown[]) => unknown)(...args)
      }
    else made[name] = name === 'internal' || name === 'priority' ? value : recorded(value as object, full)
  }
  return made as T
}

/** Those that samples made by themselves: one that breaks off leaves its manager running. */
const madeBySample: Manager.ConnectionManager[] = []

const RecordedManager = new Proxy(Manager, {
  apply: (target, _, [options]) => {
    const manager = target(options as Manager.ManagerOptions)
    madeBySample.push(manager)
    return recorded(manager, '')
  },
})

/** `require` as in the folder of the repository, with the package itself from its sources. */
function requireFor(fixture: Fixture): (id: string) => unknown {
  return (id) => {
    if (id === 'sbot-connection-manager') return RecordedManager
    if (id === 'sbot-connection-manager/testing') return testing
    if (id.startsWith('sbot-connection-manager/'))
      return require(join(ROOT, id.replace('sbot-connection-manager/', 'src/')))
    if (id.startsWith('./lib/')) return require(join(ROOT, id.replace('./lib/', 'src/')))
    if (id !== 'secret-stack') return require(id)
    const SecretStack = require(fixture.version === 8 ? 'secret-stack-8' : 'secret-stack')
    return (options?: object) =>
      SecretStack(options).use((sbot: Stoppable) => {
        fixture.started?.push(sbot)
      })
  }
}

// ---- tables and links -------------------------------------------------------------------------------------------------

/** The part of a document below a heading, up to the next one of the same or a higher level. */
function sectionOf(file: string, heading: string): string {
  const lines = textOf(file).split('\n')
  const start = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, '') === heading)
  if (start < 0) throw new Error(`${file} has no section "${heading}"`)
  const level = /^#+/.exec(lines[start] ?? '')?.[0].length ?? 1
  const length = lines
    .slice(start + 1)
    .findIndex((line) => new RegExp(`^#{1,${level}} `).test(line) && !line.startsWith('```'))
  return lines.slice(start, length < 0 ? undefined : start + 1 + length).join('\n')
}

/** The rows of all tables in a text, without their heads. */
function rowsOf(text: string): string[][] {
  const rows: string[][] = []
  const lines = text.split('\n')
  lines.forEach((line, i) => {
    if (!line.startsWith('|') || /^\|[\s:|-]+\|$/.test(line) || /^\|[\s:|-]+\|$/.test(lines[i + 1] ?? '')) return
    rows.push(
      line
        .replace(/^\||\|\s*$/g, '')
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim().replace(/\\\|/g, '|')),
    )
  })
  return rows
}

const codesIn = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '')

/** Calls by name with their manifest type, as a table names them. */
function callsIn(text: string): Map<string, string> {
  const calls = new Map<string, string>()
  for (const [first = '', type = ''] of rowsOf(text))
    for (const code of codesIn(first)) calls.set(code.replace(/\(.*$/, ''), type)
  return calls
}

function flatten(tree: object, path = ''): Map<string, string> {
  const flat = new Map<string, string>()
  for (const [name, value] of Object.entries(tree))
    if (typeof value === 'string') flat.set(path + name, value)
    else for (const [inner, type] of flatten(value as object, `${path}${name}.`)) flat.set(inner, type)
  return flat
}

const sorted = (values: Iterable<string>): string[] => [...values].sort()

/** As GitHub names the anchor of a heading. */
function slug(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replace(/\s/g, '-')
}

function withoutFences(text: string): string {
  return text.replace(/^```[\s\S]*?^```/gm, '')
}

function brokenLinks(file: string): string[] {
  const broken: string[] = []
  for (const [, link, picture] of withoutFences(textOf(file)).matchAll(
    /\[[^\]]+\]\(([^)\s]+)\)| (?:src|srcset)="([^"]+)"/g,
  )) {
    const target = link ?? picture ?? ''
    if (/^https?:/.test(target)) continue
    const [path = '', anchor] = target.split('#')
    const linked = path === '' ? file : join(file, '..', path)
    if (!existsSync(join(ROOT, linked))) broken.push(target)
    else if (anchor !== undefined) {
      const headings = [...withoutFences(textOf(linked)).matchAll(/^#+ (.*)$/gm)].map((match) => slug(match[1] ?? ''))
      if (!headings.includes(anchor)) broken.push(target)
    }
  }
  return broken
}

function sourceFiles(folder = 'src'): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? sourceFiles(`${folder}/${entry.name}`) : [`${folder}/${entry.name}`],
  )
}

const sources = new Map(sourceFiles().map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]))

/** Of all tests, without the version of the stack that some begin with. Those that are put together otherwise are not there. */
function titlesOfTests(): Set<string> {
  const titles = new Set<string>()
  const visit = (node: ts.Node): void => {
    ts.forEachChild(node, visit)
    // The rows of a table of tests.
    if (ts.isPropertyAssignment(node) && node.name.getText() === 'name' && ts.isStringLiteralLike(node.initializer))
      titles.add(node.initializer.text)
    if (!ts.isCallExpression(node) || node.expression.getText() !== 'test') return
    const [title] = node.arguments
    if (title && ts.isStringLiteralLike(title)) titles.add(title.text)
    if (!title || !ts.isTemplateExpression(title)) return
    // `${setting}: title` and `title: ${setting}`; several settings are joined by commas.
    const last = title.templateSpans[title.templateSpans.length - 1]?.literal.text ?? ''
    titles.add(title.head.text === '' ? last.replace(/^: /, '') : title.head.text.replace(/: $/, ''))
  }
  for (const file of sourceFiles('test'))
    if (file.endsWith('.test.ts'))
      visit(ts.createSourceFile(file, readFileSync(join(ROOT, file), 'utf8'), ts.ScriptTarget.ES2022, true))
  return titles
}

/** Everything that a pattern's first group finds in the sources. */
function inSources(pattern: RegExp, isIncluded: (file: string) => boolean = () => true): string[] {
  const found = new Set<string>()
  for (const [file, text] of sources)
    if (isIncluded(file)) for (const match of text.matchAll(pattern)) found.add(match[1] ?? '')
  return sorted(found)
}

/** The codes of the errors that are made anywhere: an error class that nothing makes need not be told of. */
function errorCodes(): string[] {
  const classes = sources.get('src/core/errors.ts') ?? ''
  const made = new Set(inSources(/new (\w+Error)\(/g, (file) => file !== 'src/core/errors.ts'))
  const codes = inSources(/'(ERR_[A-Z_]+)'/g, (file) => file === 'src/manager.ts')
  for (const match of classes.matchAll(/super\(\s*'(\w+)',\s*'(ERR_\w+)'/g))
    if (made.has(match[1] ?? '')) codes.push(match[2] ?? '')
  return sorted(codes)
}

// ---- shell ------------------------------------------------------------------------------------------------------------

const scripts = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> })
  .scripts
const REMOTE_CALLS = new Set([
  ...[...flatten(manifest).keys()].map((name) => `connectionManager.${name}`),
  ...[...flatten(gossipManifest).keys()].map((name) => `gossip.${name}`),
  ...[...flatten(connManifest).keys()].map((name) => `conn.${name}`),
])

const CLI_COMMANDS = new Set(inSources(/\.(?:command|helpCommand)\('([a-z]+)/g, (file) => file.startsWith('src/cli/')))

/** What is wrong with a command line, or null. */
function brokenCommand(line: string): string | null {
  const words = line
    .replace(/^\$ /, '')
    .trim()
    .split(/\s+/)
    .filter((word) => !/^[A-Z_]+=/.test(word) && word !== 'npx')
  const [program, verb = ''] = words
  if (program === 'ssb-server' || program === 'sbot') {
    if (verb === 'start' || verb === 'status' || REMOTE_CALLS.has(verb)) return null
    return `no such call: ${verb}`
  }
  if (program === 'sbot-connections')
    return CLI_COMMANDS.has(verb) ? null : `no such command of sbot-connections: ${verb}`
  if (program === '.ci/run') return existsSync(join(ROOT, '.ci/run')) ? null : 'there is no .ci/run'
  if (program !== 'npm') return `unknown program: ${program}`
  const script = verb === 'run' ? (words[2] ?? '') : verb
  if (script === 'install' || script === 'ci') return null
  return Object.hasOwn(scripts, script) ? null : `no such npm script: ${script}`
}

function brokenCommands(code: string): string[] {
  return code
    .split('\n')
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .flatMap((line) => line.split(/\s*(?:&&|\||;)\s*/))
    .map(brokenCommand)
    .filter((problem): problem is string => problem !== null)
}

// ---- types ------------------------------------------------------------------------------------------------------------

/** What the compiler says of samples in TypeScript. */
function typeErrors(samples: readonly Sample[]): string[] {
  const files = new Map(
    samples.map((sample, i) => [join(ROOT, 'test', `docs-sample-${i}.ts`), `${sample.code}\nexport {}\n`]),
  )
  const { config } = ts.readConfigFile(join(ROOT, 'test/tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, join(ROOT, 'test'))
  const compilerOptions: ts.CompilerOptions = {
    ...options,
    noUnusedLocals: false,
    target: ts.ScriptTarget.ES2022,
    paths: {
      'sbot-connection-manager': ['./src/index.ts'],
      'sbot-connection-manager/conn': ['./src/conn.ts'],
      'sbot-connection-manager/testing': ['./src/testing.ts'],
    },
    baseUrl: ROOT,
  }
  const host = ts.createCompilerHost(compilerOptions)
  const { fileExists, getSourceFile } = host
  host.fileExists = (name) => files.has(name) || fileExists(name)
  host.getSourceFile = (name, ...rest) => {
    const text = files.get(name)
    return text === undefined ? getSourceFile(name, ...rest) : ts.createSourceFile(name, text, ts.ScriptTarget.ES2022)
  }
  const program = ts.createProgram([...files.keys(), join(ROOT, 'src/external.d.ts')], compilerOptions, host)
  return [...files.keys()].flatMap((name, i) => {
    const source = program.getSourceFile(name)
    if (!source) return [`${samples[i]?.name}: not read`]
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map(
      (each) => `${samples[i]?.name}: ${ts.flattenDiagnosticMessageText(each.messageText, ' ')}`,
    )
  })
}

// ---- the tests --------------------------------------------------------------------------------------------------------

const all = DOCUMENTS.flatMap((file) => samplesOf(file, textOf(file)))

test('the harness: a sample that is wrong is found out', async (t) => {
  const problemsOf = async (code: string, setup = 'nothing'): Promise<string[]> => {
    const fixture = await (FIXTURES[setup] as (() => Promise<Fixture>)[])[0]?.()
    if (!fixture) throw new Error('no fixture')
    const sample: Sample = { name: 'sample', language: 'js', setup, code }
    return run(sample, { ...fixture, wait: async () => {} }).finally(() => fixture.close())
  }
  const right = [
    'const sum = 1 + 1 // → 2',
    "({ a: 1, b: [1, 2] }) // → {a: 1, …}\nconst list = [1, 2, 3] // → [1, …]\n'a long text' // → 'a…text'",
    "for (const n of [1, 2]) {\n  console.log(n, 'x')\n  // → 1, 'x'\n  // → 2, …\n}",
    "Object.assign({ id: '@abc' }) // → {\n//   id: '@…'}",
    '[1].forEach((n) => console.log(n)) // → 1',
    "await Promise.reject(Object.assign(new Error(), { code: 'X' })) // rejects X",
  ]
  for (const code of right) t.deepEqual(await problemsOf(code), [], `right: ${code}`)
  const wrong: [string, RegExp][] = [
    ['const sum = 1 + 1 // → 3', /says 3, is 2/],
    ['({ a: 1, b: 2 }) // → {a: 1}', /says/],
    ["'a text' // → 'b…'", /says/],
    ['throw new Error("broken")', /broken/],
    ['await Promise.resolve(1) // rejects X', /should fail with X/],
    ['if (false) {\n  Math.max(1) // → 1\n}', /never came to pass/],
    ['console.log(1)\n// → 1\n// → 2', /never came to pass/],
    ["require('no-such-package')", /no-such-package/],
  ]
  for (const [code, problem] of wrong) t.match((await problemsOf(code)).join(), problem, `wrong: ${code}`)
  t.match((await problemsOf('manager.peer.noSuchCall()', 'manager')).join(), /noSuchCall/, 'a call that does not exist')
  t.throws(() => instrument('if (true) {\n  // → 1\n}'), /belongs to no statement/, 'a claim about nothing')
  t.deepEqual(brokenCommands('npm run no-such && npm test'), ['no such npm script: no-such'])
  t.deepEqual(brokenCommands('ssb-server gossip.noSuch'), ['no such call: gossip.noSuch'])
  t.deepEqual(brokenCommands('sbot-connections noSuch'), ['no such command of sbot-connections: noSuch'])
})

for (const sample of all) {
  if (sample.language !== 'js' && sample.language !== 'ts') continue
  const makers = FIXTURES[sample.setup ?? '']
  if (!makers) {
    test(`${sample.name} says what it assumes`, (t) => {
      t.fail(sample.setup === null ? 'no setup comment above it' : `no such setup: ${sample.setup}`)
      t.end()
    })
    continue
  }
  makers.forEach((make, i) => {
    test(`${sample.name} (${sample.setup}${makers.length > 1 ? ` ${i + 1}` : ''})`, async (t) => {
      const fixture = await make()
      try {
        t.deepEqual(await run(sample, fixture), [], 'runs, and all that it says is so')
      } finally {
        await fixture.close()
      }
    })
  })
}

test('samples in TypeScript have the types that they use', (t) => {
  t.deepEqual(typeErrors(all.filter(({ language }) => language === 'ts')), [])
  t.end()
})

test('every fence is of a language that is checked, and commands exist', (t) => {
  for (const { name, language, code } of all) {
    t.ok(['js', 'ts', 'sh', 'json', 'text'].includes(language), `${name}: ${language || 'no language'}`)
    if (language === 'sh') t.deepEqual(brokenCommands(code), [], `${name}: commands`)
    if (language === 'json') t.doesNotThrow(() => JSON.parse(code), `${name}: JSON`)
  }
  t.end()
})

test('the API table names the calls of the manifest, with their types, and each has an example', (t) => {
  const documented = callsIn(sectionOf('README.md', 'API'))
  const local = new Map([...documented].filter(([, type]) => type === 'local'))
  const remote = new Map([...documented].filter(([, type]) => type !== 'local'))
  const real = flatten(manifest)
  t.deepEqual(sorted(remote.keys()), sorted(real.keys()), 'the same calls')
  for (const [name, type] of real) {
    t.equal(documented.get(name), type, `type of ${name}`)
    t.ok(called.has(name), `a sample calls ${name}`)
  }
  const api = Manager({ connectToPeer: () => {} }) as unknown as Record<string, unknown>
  t.deepEqual(
    sorted(local.keys()),
    Object.keys(api)
      .filter((name) => name !== 'internal' && ![...real.keys()].some((call) => call.split('.')[0] === name))
      .sort(),
    'and what is there in the same process only',
  )
  ;(api.close as () => void)()
  t.end()
})

test('the table of the gossip facade names its calls, with their types', (t) => {
  const documented = callsIn(sectionOf('README.md', 'The legacy gossip facade'))
  const real = flatten(gossipManifest)
  t.deepEqual(sorted(documented.keys()), sorted(real.keys()))
  for (const [name, type] of real) t.equal(documented.get(name), type, `type of ${name}`)
  t.end()
})

test('the table of the conn facade names its calls, with their types', (t) => {
  const documented = callsIn(sectionOf('README.md', 'The legacy conn facade'))
  const real = flatten(connManifest)
  t.deepEqual(sorted(documented.keys()), sorted(real.keys()))
  for (const [name, type] of real) t.equal(documented.get(name), type, `type of ${name}`)
  t.end()
})

test('the options that are documented are those that there are, with their defaults', (t) => {
  const { selfId: _, tieKey: __, ...policy } = DEFAULT_OPTIONS
  const defaults = { autostart: false, persist: true, ...policy } as Readonly<Record<string, unknown>>
  const inPlugin = inSources(/settings\.own\.(\w+)/g).filter((name) => !(name in policy))
  t.deepEqual(inPlugin, ['autostart', 'persist'], 'options of the plugin alone')
  const check = (file: string, section: string): string[] =>
    rowsOf(sectionOf(file, section)).map(([first = '', , value = '']) => {
      const name = codesIn(first)[0] ?? first
      t.deepEqual(runInThisContext(`(${codesIn(value)[0]})`), defaults[name], `${file}: default of ${name}`)
      return name
    })
  t.deepEqual(sorted(check('docs/options.md', 'All options')), sorted(Object.keys(defaults)), 'docs/options.md has all')
  for (const name of check('README.md', 'Configuration')) t.ok(name in defaults, `README.md: ${name} exists`)
  t.end()
})

test('error codes, reasons and debug namespaces are those of the code', (t) => {
  const errors = rowsOf(sectionOf('README.md', 'Errors')).map(([code = '']) => codesIn(code)[0] ?? '')
  t.deepEqual(sorted(errors), errorCodes(), 'error codes')
  const ofCommands = inSources(/'(ERR_[A-Z_]+)'/g, (file) => file.startsWith('src/cli/'))
  const toldOfCommands = rowsOf(sectionOf('docs/cli.md', 'Errors')).flatMap(([, codes = '']) => codesIn(codes))
  const alone = (codes: readonly string[]): string[] => sorted(codes.filter((code) => !errors.includes(code)))
  t.deepEqual(alone(toldOfCommands), alone(ofCommands), 'error codes of the command line alone')
  for (const file of DOCUMENTS)
    for (const code of new Set(textOf(file).match(/\bERR_[A-Z_]+/g) ?? []))
      t.ok(errors.includes(code) || toldOfCommands.includes(code), `${file}: ${code} is in a table`)
  const refusals = rowsOf(sectionOf('docs/policy.md', 'Refusals')).map(([name = '']) => codesIn(name)[0] ?? '')
  t.deepEqual(
    refusals,
    RULES.map((rule) => rule.name),
    'refusals, in their order',
  )
  const types = sources.get('src/core/types.ts') ?? ''
  const union = /export type CloseReason =([\s\S]*?)\n\n/.exec(types)?.[1] ?? ''
  const reasons = [...union.matchAll(/'(\w+)'/g)].map((match) => match[1] ?? '')
  const documented = rowsOf(sectionOf('docs/policy.md', 'Why connections end')).map(
    ([name = '']) => codesIn(name)[0] ?? '',
  )
  t.deepEqual(sorted(documented), sorted(reasons), 'reasons for which connections end')
  const namespaces = inSources(/createDebug\('([^']+)'\)/g)
  const listed = new Set(textOf('README.md').match(/ssb:(?:conn(?:ection-manager:|-)[a-z]+|replication-scheduler)/g))
  t.deepEqual(sorted(listed), namespaces, 'debug namespaces')
  t.end()
})

test('the comparison cites tests that there are, and the README says the same in the same words', (t) => {
  const titles = titlesOfTests()
  const benchmarks = textOf('bench/rows.ts')
  const rows = rowsOf(textOf('docs/comparison.md'))
  t.ok(rows.length > 20)
  for (const row of rows) {
    const [feature = '', , , , shownBy = ''] = row
    const cited = codesIn(shownBy.replace(/`[\w/.-]+\.js:\d+` `[^`]+`/g, ''))
    t.equal(row.length, 5, `${feature}: five cells`)
    t.ok(cited.length > 0, `${feature}: something shows it`)
    const measured = /^(.*) \(`npm run bench`\)$/.exec(feature)?.[1]
    if (measured !== undefined) t.ok(benchmarks.includes(`title: '${measured}'`), `${feature}: it is measured`)
    t.deepEqual(
      cited.filter((title) => !titles.has(title)),
      [],
      feature,
    )
  }
  const all = rows.map((row) => row.slice(0, 4).join(' | '))
  const some = rowsOf(sectionOf('README.md', 'Comparison')).map((row) => row.join(' | '))
  t.ok(some.length > 0)
  t.deepEqual(
    some.filter((row) => !all.includes(row)),
    [],
  )
  t.equal(new Set(all.map((row) => row.split(' | ')[0])).size, all.length, 'one row for each feature')
  t.end()
})

test('what is said of the other replication scheduler is shown by tests that there are', (t) => {
  const titles = titlesOfTests()
  const rows = rowsOf(sectionOf('docs/replication.md', 'Compared with ssb-replication-scheduler 3.1.1'))
  t.deepEqual(
    rows.map(([number]) => number),
    Array.from({ length: 25 }, (_, i) => `B${i + 1}`),
    'each of its faults',
  )
  for (const [number = '', , , shownBy = ''] of rows) {
    const cited = codesIn(shownBy)
    t.ok(cited.length > 0, `${number}: something shows it`)
    t.deepEqual(
      cited.filter((title) => !titles.has(title)),
      [],
      number,
    )
  }
  t.end()
})

test('links lead somewhere', (t) => {
  for (const file of DOCUMENTS) t.deepEqual(brokenLinks(file), [], file)
  t.end()
})
