/** Imports point inwards (adapters → shell → core), and clock, dice and Node appear only where they belong. */
import { spawnSync } from 'child_process'
import { readdirSync, readFileSync } from 'fs'
import { builtinModules } from 'module'
import { dirname, join, normalize, relative } from 'path'

import test = require('tape')

import { MUTANTS, placesOf } from './mutants'

const ROOT = join(__dirname, '..')
const SRC = join(ROOT, 'src')

function sources(folder = SRC): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? sources(join(folder, entry.name))
      : entry.name.endsWith('.ts') && !entry.name.endsWith('.d.ts')
        ? [relative(SRC, join(folder, entry.name))]
        : [],
  )
}

/** What a file takes from elsewhere, types included; own files as paths below src. */
function imports(file: string): string[] {
  const text = readFileSync(join(SRC, file), 'utf8')
  const found = [...text.matchAll(/(?:\bfrom\s+|\brequire\(|\bimport\()'([^']+)'/g)].map((match) => match[1] as string)
  return found.map((name) => (name.startsWith('.') ? normalize(join(dirname(file), name)) : name))
}

/** The replication scheduler is a shell of its own around a core of its own. */
const layerOf = (file: string): string =>
  file.startsWith('replication/core/')
    ? 'replication/core'
    : file.includes('/')
      ? (file.split('/')[0] as string)
      : 'top'
const isOwn = (name: string): boolean => sources().includes(`${name}.ts`)
const isNode = (name: string): boolean => builtinModules.includes(name) || name.startsWith('node:')
const withoutComments = (text: string): string => text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')

/** What each layer may take from which other. */
const INWARDS: Record<string, readonly string[]> = {
  core: ['core'],
  shell: ['core', 'shell'],
  adapters: ['core', 'shell', 'adapters', 'replication', 'replication/core', 'top'],
  'replication/core': ['replication/core', 'core'],
  // Beside the adapters: it looks other plugins up with their help, and tells them how replication goes.
  replication: ['core', 'shell', 'adapters', 'replication', 'replication/core'],
  top: ['core', 'shell', 'adapters', 'replication', 'dashboard', 'top'],
  // The parts of the entry `/conn`, which are entries themselves.
  conn: ['adapters'],
  demo: ['demo', 'top', 'dashboard'],
  // Surfaces for people: they use the manager as its users do, and name Node modules freely.
  cli: ['cli', 'core', 'shell', 'top', 'dashboard'],
  dashboard: ['dashboard', 'core', 'shell', 'adapters', 'top'],
}
/** Processes of their own, or plugins that serve one: they are not part of the manager. */
const SURFACES = ['demo', 'cli', 'dashboard']
/** Pure packages: no clock, no dice, no I/O in what we use of them. */
const CORE_PACKAGES = ['sorted-btree', 'siphash', 'ipaddr.js', 'is-canonical-base64', 'multiserver-address']
/** The only files that may name a Node module; all are required when they are first needed. */
const NODE_FILES = ['adapters/node-files.ts', 'adapters/node-config.ts', 'adapters/system.ts', 'replication/choices.ts']

test('imports point inwards', (t) => {
  for (const file of sources())
    for (const name of imports(file).filter(isOwn)) {
      const allowed = INWARDS[layerOf(file)] ?? []
      if (!allowed.includes(layerOf(`${name}.ts`))) t.fail(`${file} takes ${name}`)
    }
  t.ok(sources().length > 30, `${sources().length} files were looked at`)
  t.end()
})

test('the cores use pure packages only', (t) => {
  const used = new Set(
    sources()
      .filter((file) => ['core', 'replication/core'].includes(layerOf(file)))
      .flatMap(imports),
  )
  t.deepEqual(
    [...used].filter((name) => !isOwn(name) && !CORE_PACKAGES.includes(name)),
    [],
  )
  t.end()
})

test('clock and dice appear only in clock.ts and random.ts', (t) => {
  const allowed = ['shell/clock.ts', 'shell/random.ts']
  for (const file of sources().filter((each) => !SURFACES.includes(layerOf(each)) && !allowed.includes(each))) {
    const found = withoutComments(readFileSync(join(SRC, file), 'utf8')).match(
      /Date\.now\(|new Date\(\)|Math\.random\(|performance\.now\(/,
    )
    t.notOk(found, file)
  }
  t.end()
})

test('Node modules are named only in files that are required when they are needed', (t) => {
  for (const file of sources().filter((each) => !SURFACES.includes(layerOf(each)))) {
    const found = imports(file).filter(isNode)
    if (!NODE_FILES.includes(file)) t.deepEqual(found, [], file)
  }
  t.end()
})

test('Manager(options) loads no Node module, nor any package that does', (t) => {
  const script = `
    const Module = require('module')
    const loaded = new Set()
    const load = Module._load
    require('tsx/cjs')
    const under = Module._load
    Module._load = function (name, parent, ...rest) {
      const from = parent && parent.filename ? parent.filename : ''
      if (!from.includes('/tsx/') && !from.includes('/esbuild/')) loaded.add(name)
      return under.call(this, name, parent, ...rest)
    }
    const Manager = require('./src/index.ts')
    const manager = Manager({ connectToPeer: () => {} })
    manager.peer.addRoute({ address: 'net:pub.example.com:8008~shs:' + Buffer.alloc(32, 1).toString('base64') })
    manager.connections.start()
    manager.close()
    process.stdout.write(JSON.stringify([...loaded]))
    process.exit()`
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { cwd: ROOT, encoding: 'utf8' })
  t.equal(stderr, '', 'nothing on stderr')
  const loaded = JSON.parse(stdout) as string[]
  t.ok(loaded.includes('redux'), 'what it does load was seen')
  t.deepEqual(loaded.filter(isNode), [], 'no Node module')
  t.end()
})

test('plain use loads none of the optional packages', (t) => {
  const script = `
    const Module = require('module')
    const loaded = new Set()
    require('tsx/cjs')
    const under = Module._load
    Module._load = function (name, parent, ...rest) {
      loaded.add(name)
      return under.call(this, name, parent, ...rest)
    }
    const ended = () => (abort, cb) => cb(true)
    const sbot = {
      id: '@' + Buffer.alloc(32, 1).toString('base64') + '.ed25519',
      ebt: { request: () => {}, block: () => {} },
      friends: { hopStream: ended, graphStream: ended },
    }
    const api = require('./src/replication-scheduler.ts').init(sbot, {})
    api.reconfigure({ debouncePeriod: 0 })
    process.stdout.write(JSON.stringify([...loaded]))
    process.exit()`
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { cwd: ROOT, encoding: 'utf8' })
  t.equal(stderr, '', 'nothing on stderr')
  const loaded = JSON.parse(stdout) as string[]
  t.ok(loaded.includes('pull-stream'), 'what it does load was seen')
  t.deepEqual(
    loaded.filter((name) => /^ssb-|^secret-stack|sodium|leveldown/.test(name)),
    [],
    'no plugin of a stack, and no native code',
  )
  t.end()
})

test('the faults of test:mutants can be planted: the code that they change is where they look for it', (t) => {
  t.ok(MUTANTS.length > 0)
  for (const mutant of MUTANTS) {
    t.equal(placesOf(mutant, readFileSync(join(SRC, mutant.file), 'utf8')), 1, mutant.rule)
    t.notEqual(mutant.to, mutant.from, `${mutant.rule}: it changes something`)
  }
  t.end()
})
