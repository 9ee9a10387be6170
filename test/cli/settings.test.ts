/** The sbot is found as ssb-config and ssb-client find it; what is missing is said, and nothing is made. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'fs'
import { createServer } from 'net'
import { tmpdir } from 'os'
import { dirname, join } from 'path'

import test = require('tape')

import { generate } from 'ssb-keys'

import { CliError } from '../../src/cli/cli'
import { EXIT, readSettings } from '../../src/cli/settings'

const KEYS = generate()
const KEY = KEYS.public.replace('.ed25519', '')
const OTHER_NETWORK = Buffer.alloc(32, 7).toString('base64')
const SECRET = `# WARNING: Never show this to anyone.\n${JSON.stringify(KEYS, null, 2)}\n# ${KEYS.id}\n`

/** A home folder with these files, gone after `use`. */
function withHome<T>(files: Readonly<Record<string, string>>, use: (home: string) => T): T {
  const home = mkdtempSync(join(tmpdir(), 'cli-home-'))
  const end = (): void => rmSync(home, { recursive: true, force: true })
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(home, name)), { recursive: true })
      writeFileSync(join(home, name), text)
    }
    const result = use(home)
    if (!(result instanceof Promise)) end()
    else result.then(end, end)
    return result
  } catch (error) {
    end()
    throw error
  }
}

type Given = Partial<Parameters<typeof readSettings>[0]>
const read = (home: string, given: Given = {}) => readSettings({ env: {}, home, cwd: home, ...given })

interface Row {
  readonly title: string
  readonly files: Readonly<Record<string, string>>
  readonly given?: Given
  /** Below the home folder. */
  readonly path?: string
  readonly shs?: string
  readonly addresses?: readonly string[]
}

const AT_HOME = { '.ssb/secret': SECRET }
const LOCAL = `net:localhost:8008~shs:${KEY}`

const ROWS: readonly Row[] = [
  { title: 'without a word: ~/.ssb, port 8008, the main network', files: AT_HOME, addresses: [LOCAL] },
  { title: 'ssb_appname', files: { '.zap/secret': SECRET }, given: { env: { ssb_appname: 'zap' } }, path: '.zap' },
  {
    title: '--appname wins over ssb_appname',
    files: { '.zap/secret': SECRET },
    given: { appname: 'zap', env: { ssb_appname: 'other' } },
    path: '.zap',
  },
  { title: '--path, relative to where we are', files: { 'x/secret': SECRET }, given: { path: 'x' }, path: 'x' },
  { title: 'ssb_path', files: { 'x/secret': SECRET }, given: { env: { ssb_path: 'x' } }, path: 'x' },
  {
    title: 'the config: network and port, with comments',
    files: {
      ...AT_HOME,
      '.ssb/config': `{ "port": 9000, // not "8008"\n /* our own */ "caps": {"shs": "${OTHER_NETWORK}", "note": "a // b"} }`,
    },
    shs: OTHER_NETWORK,
    addresses: [`net:localhost:9000~shs:${KEY}`],
  },
  {
    title: 'the config beside the secret, wherever that is',
    files: {
      '.ssb/config': '{"port": 1}',
      'x/secret': SECRET,
      'x/config': `{"port": 9001, "caps": {"shs": "${OTHER_NETWORK}"}}`,
    },
    given: { path: 'x' },
    path: 'x',
    shs: OTHER_NETWORK,
    addresses: [`net:localhost:9001~shs:${KEY}`],
  },
  {
    title: 'a config in the usual places of rc counts, too',
    files: {
      ...AT_HOME,
      '.config/ssb': `{"caps": {"shs": "${OTHER_NETWORK}"}, "port": 1}`,
      '.ssb/config': '{"port": 2}',
    },
    shs: OTHER_NETWORK,
    addresses: [`net:localhost:2~shs:${KEY}`],
  },
  {
    title: 'the environment wins over the config',
    files: { ...AT_HOME, '.ssb/config': '{"port": 2}' },
    given: { env: { ssb_port: '3', ssb_caps__shs: OTHER_NETWORK } },
    shs: OTHER_NETWORK,
    addresses: [`net:localhost:3~shs:${KEY}`],
  },
  {
    title: 'connections.incoming: what is bound to this machine first, without what we do not speak',
    files: {
      ...AT_HOME,
      '.ssb/config': JSON.stringify({
        connections: {
          incoming: {
            net: [
              { host: '192.168.1.5', port: 9, transform: 'shs' },
              { host: '::', port: 10, transform: 'shs' },
              { host: '127.0.0.1', port: 11, transform: 'noauth' },
              { host: '127.0.0.1', port: 12, transform: 'strange' },
            ],
            ws: [{ port: 13, transform: 'shs' }],
          },
        },
      }),
    },
    addresses: [
      `net:localhost:10~shs:${KEY}`,
      'net:127.0.0.1:11~noauth',
      `net:192.168.1.5:9~shs:${KEY}`,
      `ws:localhost:13~shs:${KEY}`,
    ],
  },
  {
    title: '--remote as it is',
    files: AT_HOME,
    given: { remote: 'net:example.com:8008~shs:AAAA' },
    addresses: ['net:example.com:8008~shs:AAAA'],
  },
  {
    title: '--remote without a key: that of the secret',
    files: AT_HOME,
    given: { remote: 'net:example.com:8008' },
    addresses: [`net:example.com:8008~shs:${KEY}`],
  },
]

for (const { title, files, given, path = '.ssb', shs, addresses } of ROWS)
  test(`found: ${title}`, (t) => {
    withHome(files, (home) => {
      const settings = read(home, given)
      t.equal(settings.path, join(home, path))
      t.equal(settings.keys.id, KEYS.id)
      t.equal(settings.shs, shs ?? '1KHLiKZvAvjbY1ziZEHMXawbCEIM6qwjCDm3VYRan/s=')
      if (addresses) t.deepEqual(settings.addresses, addresses)
    })
    t.end()
  })

test('found: the socket of the sbot, before its port', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'cli-home-'))
  mkdirSync(join(home, '.ssb'))
  writeFileSync(join(home, '.ssb/secret'), SECRET)
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(join(home, '.ssb/socket'), resolve))
  t.deepEqual(read(home).addresses, [`unix:${join(home, '.ssb/socket')}~noauth`, LOCAL])
  await new Promise((resolve) => server.close(resolve))
  rmSync(home, { recursive: true, force: true })
})

interface Missing {
  readonly title: string
  readonly files: Readonly<Record<string, string>>
  readonly given?: Given
  readonly code: string
  readonly exitCode: number
}

const MISSING: readonly Missing[] = [
  { title: 'no folder', files: {}, code: 'ERR_NO_SECRET', exitCode: EXIT.setup },
  { title: 'no secret', files: { '.ssb/config': '{}' }, code: 'ERR_NO_SECRET', exitCode: EXIT.setup },
  {
    title: 'a secret that is a folder',
    files: { '.ssb/secret/x': '' },
    code: 'ERR_SECRET_UNREADABLE',
    exitCode: EXIT.setup,
  },
  {
    title: 'a secret that is none',
    files: { '.ssb/secret': 'hello' },
    code: 'ERR_SECRET_UNREADABLE',
    exitCode: EXIT.setup,
  },
  {
    title: 'a config that is no JSON',
    files: { ...AT_HOME, '.ssb/config': '{port' },
    code: 'ERR_CONFIG',
    exitCode: EXIT.setup,
  },
  {
    title: 'an address that is none',
    files: AT_HOME,
    given: { remote: 'example.com' },
    code: 'ERR_USAGE',
    exitCode: EXIT.usage,
  },
  {
    title: 'a name with a path in it',
    files: AT_HOME,
    given: { appname: '../x' },
    code: 'ERR_USAGE',
    exitCode: EXIT.usage,
  },
]

for (const { title, files, given, code, exitCode } of MISSING)
  test(`said: ${title}`, (t) => {
    withHome(files, (home) => {
      try {
        read(home, given)
        t.fail('it was found')
      } catch (error) {
        t.ok(error instanceof CliError, 'an error for people')
        const said = error as CliError
        t.equal(said.code, code)
        t.equal(said.exitCode, exitCode)
        t.ok(said.code === 'ERR_USAGE' || said.remedy, 'it says what to do')
        t.notOk(`${said.message}${said.remedy}`.includes(KEYS.private.slice(0, 20)), 'and keeps the secret')
      }
    })
    t.end()
  })

test('a secret that is missing is not made', (t) => {
  withHome({}, (home) => {
    t.throws(() => read(home), /there is no key of an sbot/)
    t.deepEqual(readdirSync(home), [], 'the home folder is as it was')
    t.notOk(existsSync(join(home, '.ssb')))
  })
  t.end()
})
