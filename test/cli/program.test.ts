/** The program as a whole: its help, what it says of wrong usage, and that docs/cli.md tells of all of it. No sbot needed. */

import type { Command } from 'commander'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

import Module = require('module')
import test = require('tape')

import { createOutput } from '../../src/cli/output'
import { createProgram } from '../../src/cli/program'
import { EXIT } from '../../src/cli/settings'
import { systemClock } from '../../src/shell/clock'
import { cli, linesOf } from '../support/cli'

const ROOT = join(__dirname, '..', '..')
const DOCUMENT = readFileSync(join(ROOT, 'docs/cli.md'), 'utf8')

function makeProgram(): Command {
  const silent = { write: () => true }
  const out = createOutput({ stdout: silent, stderr: silent, env: {}, wantsColor: null })
  const stdin = (async function* () {})()
  const io = { stdout: silent, stderr: silent, stdin, env: {}, home: '/', cwd: '/', clock: systemClock }
  return createProgram(() => async () => {}, out, { ...io, interrupted: new Promise(() => {}) })
}

const program = makeProgram()
const commands = program.createHelp().visibleCommands(program)

test('every command is in docs/cli.md with an example, and nothing else is', (t) => {
  const sections = DOCUMENT.split(/^### /m).slice(1)
  const documented = new Map(sections.map((text) => [/^`([a-z]+)`$/m.exec(text)?.[1] ?? '', text]))
  t.deepEqual(
    [...documented.keys()],
    commands.map((command) => command.name()),
    'the same commands, in the order of the help',
  )
  for (const [name, text] of documented) {
    t.match(text, new RegExp(`^sbot-connections ${name}`, 'm'), `${name}: an example`)
    const command = commands.find((each) => each.name() === name)
    for (const option of command?.options ?? []) {
      const isElsewhere = /metrics|recording|watch|serve/.test(/See \[(.*?)\.md\]/.exec(text)?.[1] ?? '')
      if (!option.hidden && !isElsewhere) t.ok(text.includes(option.long ?? ''), `${name}: ${option.long}`)
    }
  }
  for (const group of new Set(commands.map((command) => command.helpGroup())))
    t.ok(DOCUMENT.includes(`\n## ${group.replace(/:$/, '')}\n`), `the group ${group}`)
  t.end()
})

test('every option for all commands, and every exit code, is in docs/cli.md and in the help', async (t) => {
  const { code, stdout, stderr } = await cli(['--help'])
  t.equal(code, 0)
  t.equal(stderr, '')
  for (const option of program.options.filter((each) => each.long !== '--version'))
    t.ok(DOCUMENT.includes(`\`${option.long}`), option.long)
  for (const exitCode of [0, ...Object.values(EXIT)]) {
    t.match(DOCUMENT, new RegExp(`^\\| ${exitCode} \\|`, 'm'), `docs: ${exitCode}`)
    t.match(stdout, new RegExp(`^ +${exitCode}  `, 'm'), `help: ${exitCode}`)
  }
  for (const code of stdout.match(/ERR_[A-Z_]+/g) ?? []) t.ok(DOCUMENT.includes(`\`${code}\``), code)
  t.ok(
    linesOf(stdout).every((line) => line.length <= 80),
    'the help fits 80 columns',
  )
})

test('every command says what it does, in the help as a whole and in its own', async (t) => {
  for (const command of commands.filter((each) => each.name() !== 'help')) {
    const { code, stdout } = await cli(['help', command.name()])
    t.equal(code, 0, command.name())
    t.ok(command.description().length > 0, 'a description')
    t.match(stdout, /^Usage: sbot-connections \w+/, 'usage')
    t.match(stdout, /--path <folder>/, 'the options for all')
  }
})

test('wrong usage: exit code 2, what is meant, and nothing on stdout', async (t) => {
  const rows: readonly (readonly [args: string[], message: RegExp, remedy: RegExp])[] = [
    [['peerz'], /unknown command 'peerz'/, /^Did you mean peers\?$/],
    [['peers', '--conected'], /unknown option '--conected'/, /^Did you mean --connected\?$/],
    [['help', 'peerz'], /unknown command 'peerz'/, /^Did you mean peers\?$/],
    [['connect'], /missing required argument 'peer'/, /help connect\.$/],
    [['priority', 'bob', 'urgent'], /Allowed choices are HIGH, MEDIUM, LOW, AUTO/, /help priority\.$/],
    [['status', 'now'], /too many arguments/, /help/],
    [['status', '--timeout', 'soon'], /number of seconds/, /help/],
    [['status', '--timeout'], /argument missing/, /help/],
    [['export', '--format', 'xml'], /Allowed choices are gossip, conn, list/, /help/],
  ]
  for (const [args, message, remedy] of rows) {
    const person = await cli(args)
    t.equal(person.code, 2, args.join(' '))
    t.equal(person.stdout, '')
    t.match(person.stderr, message)
    const program = await cli(['--json', ...args])
    const { error } = JSON.parse(program.stderr) as { error: { code: string; message: string; remedy: string } }
    t.equal(error.code, 'ERR_USAGE')
    t.match(error.message, message)
    t.match(error.remedy, remedy)
  }
})

test('without a command it is shown how to begin, on a small screen, as something is missing', async (t) => {
  const { code, stdout, stderr } = await cli([])
  t.equal(code, 2)
  t.equal(stdout, '')
  t.match(stderr, /^Usage: sbot-connections/)
  const lines = linesOf(stderr)
  t.ok(lines.length <= 22 && lines.every((line) => line.length <= 80), 'it fits 80 columns and 24 lines')
  for (const [, name] of stderr.matchAll(/^ {2}sbot-connections (\w+)/gm))
    t.ok(
      commands.some((command) => command.name() === name),
      `a command: ${name}`,
    )
  const { version } = require('../../package.json') as { version: string }
  t.deepEqual(await cli(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
})

test('without ssb-client it is said what to install', async (t) => {
  const path = mkdtempSync(join(tmpdir(), 'cli-program-'))
  writeFileSync(join(path, 'secret'), JSON.stringify({ public: 'a', private: 'b' }))
  const loader = Module as unknown as { _load(name: string, ...more: unknown[]): unknown }
  const load = loader._load
  loader._load = function (name, ...more) {
    if (name === 'ssb-client') throw new Error("Cannot find module 'ssb-client'")
    return load.call(this, name, ...more)
  }
  try {
    const { code, stderr } = await cli(['--path', path, 'status', '--json'])
    t.equal(code, 9)
    const { error } = JSON.parse(stderr) as { error: { code: string; remedy: string } }
    t.equal(error.code, 'ERR_NO_CLIENT')
    t.match(error.remedy, /npm install ssb-client/)
  } finally {
    loader._load = load
    rmSync(path, { recursive: true, force: true })
  }
})
