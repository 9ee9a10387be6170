/** The completion scripts, loaded by real shells, which then complete. zsh is skipped where it is not installed. */
import { execFileSync, spawnSync } from 'child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { delimiter, join } from 'path'

import test = require('tape')

import { cli } from '../support/cli'

const folder = mkdtempSync(join(tmpdir(), 'cli-completion-'))
const PEER = `@${Buffer.alloc(32, 1).toString('base64')}.ed25519`

/** In the place of the program: says what it was asked, and answers with two peers. */
const PROGRAM = `#!/bin/sh
echo "$@" >> ${join(folder, 'asked')}
for last; do :; done
for offer in bob ${PEER}; do case "$offer" in "$last"*) echo "$offer" ;; esac; done
`

const isThere = (program: string): boolean => spawnSync('bash', ['-c', `command -v ${program}`]).status === 0
const env = { ...process.env, PATH: `${folder}${delimiter}${process.env.PATH}` }

test('the scripts are made', async (t) => {
  for (const shell of ['bash', 'zsh']) {
    const { code, stdout } = await cli(['completion', shell])
    t.equal(code, 0)
    writeFileSync(join(folder, shell), stdout)
  }
  writeFileSync(join(folder, 'sbot-connections'), PROGRAM)
  chmodSync(join(folder, 'sbot-connections'), 0o755)
  const other = await cli(['completion', 'fish'])
  t.equal(other.code, 2)
  t.match(other.stderr, /Allowed choices are bash, zsh/)
})

/** What bash would offer at the end of a line. */
function offers(line: string): string[] {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: for the shell
  const script = 'source "$1"; COMP_LINE=$2 COMP_POINT=${#2}; _sbot_connections; printf "%s\\n" "${COMPREPLY[@]}"'
  const found = execFileSync('bash', ['--norc', '-c', script, 'bash', join(folder, 'bash'), line], {
    cwd: folder,
    env,
    encoding: 'utf8',
  })
  return found.split('\n').filter((each) => each !== '')
}

interface Row {
  readonly line: string
  readonly offers: readonly string[]
  /** There may be others, too. */
  readonly isPart?: boolean
}

const ROWS: readonly Row[] = [
  { line: 'sbot-connections pee', offers: ['peers'] },
  { line: 'sbot-connections ', offers: ['status', 'peers', 'connect', 'completion', 'help'], isPart: true },
  { line: 'sbot-connections --path /x pee', offers: ['peers'] },
  { line: 'sbot-connections peers --c', offers: ['--color', '--connected'] },
  { line: 'sbot-connections peers --json --li', offers: ['--live'] },
  { line: 'sbot-connections connect ', offers: ['bob', PEER] },
  { line: `sbot-connections connect ${PEER.slice(0, 8)}`, offers: [PEER] },
  { line: 'sbot-connections connect bob ', offers: [] },
  { line: 'sbot-connections priority bob ', offers: ['HIGH', 'MEDIUM', 'LOW', 'AUTO'] },
  { line: 'sbot-connections priority bob M', offers: ['MEDIUM'] },
  { line: 'sbot-connections export --format ', offers: ['gossip', 'conn', 'list'] },
  { line: 'sbot-connections export --format list bas', offers: ['bash'] },
  { line: 'sbot-connections import as', offers: ['asked'] },
  { line: 'sbot-connections help comp', offers: ['completion'] },
  { line: 'sbot-connections completion ', offers: ['bash', 'zsh'] },
  { line: 'sbot-connections max net=', offers: [] },
  { line: 'sbot-connections --timeout ', offers: [] },
]

for (const { line, offers: expected, isPart = false } of ROWS)
  test(`bash completes: ${line}`, (t) => {
    const found = offers(line)
    if (isPart) for (const each of expected) t.ok(found.includes(each), each)
    else t.deepEqual([...found].sort(), [...expected].sort())
    if (isPart) t.notOk(found.includes('__complete'), 'what is hidden is not offered')
    t.end()
  })

test('the options that say where the sbot is go with the question', (t) => {
  writeFileSync(join(folder, 'asked'), '')
  offers('sbot-connections --path /x --remote=net:h:1 --json connect --forever b')
  const asked = execFileSync('cat', [join(folder, 'asked')], { encoding: 'utf8' })
  t.equal(asked, '--path /x --remote=net:h:1 --timeout 1 __complete peer b\n')
  t.end()
})

test('an interactive bash completes at the Tab', (t) => {
  if (!isThere('script')) {
    t.skip('there is no script(1) to give it a terminal')
    return t.end()
  }
  const line = `source ${join(folder, 'bash')}\nsbot-connections pee\t\x01echo GOT: \rexit\r`
  const command = 'bash --norc --noprofile -i'
  const { stdout } = spawnSync('script', ['-qec', command, '/dev/null'], { input: line, env, encoding: 'utf8' })
  t.match(stdout, /^GOT: sbot-connections peers\s*$/m)
  t.end()
})

test('zsh loads its script and completes', (t) => {
  if (!isThere('zsh')) {
    t.skip('there is no zsh here')
    return t.end()
  }
  // Without a terminal zsh does not complete: what would be offered is caught where it is handed over.
  const script = `
    autoload -Uz compinit && compinit -u -D
    source $1
    compadd() { print -l -- "\${@[2,-1]}" }
    _describe() { print -l -- "\${(@P)2%%:*}" }
    _files() { print files }
    complete() { words=("$@"); CURRENT=$#words; PREFIX=$words[-1]; _sbot_connections }
    complete sbot-connections pee
    complete sbot-connections priority bob ''
    complete sbot-connections connect b
    complete sbot-connections import ''`
  const { stdout, stderr } = spawnSync('zsh', ['-f', '-c', script, 'zsh', join(folder, 'zsh')], {
    env,
    encoding: 'utf8',
  })
  const found = stdout.split('\n')
  t.equal(stderr, '')
  for (const each of ['peers', 'HIGH', 'AUTO', 'bob', 'files']) t.ok(found.includes(each), each)
  t.end()
})

test.onFinish(() => rmSync(folder, { recursive: true, force: true }))
