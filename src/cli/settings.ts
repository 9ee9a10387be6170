/**
 * Where the sbot is and how to speak to it, as ssb-config and ssb-client go by it: the folder `~/.ssb` (another name by
 * `ssb_appname`), the config files of that name, the environment, then what was given on the command line. Nothing is ever
 * written, and a missing secret is not made: it would be the key of somebody else.
 */
import { readFileSync, statSync } from 'fs'
import { decode, encode } from 'multiserver-address'
import { dirname, join, resolve } from 'path'

import { isPlainObject } from '../core/options'
import { own } from '../core/own'
import { CliError } from './cli'

export const EXIT = {
  failed: 1,
  usage: 2,
  notRunning: 3,
  handshake: 4,
  noPermission: 5,
  noManager: 6,
  oldVersion: 7,
  gone: 8,
  setup: 9,
  interrupted: 130,
} as const

export interface SbotKeys {
  readonly id: string
  readonly public: string
  readonly private: string
}

export interface SbotSettings {
  readonly path: string
  /** Network key, base64. */
  readonly shs: string
  readonly keys: SbotKeys
  /** Multiserver addresses to try, in order; one at least. */
  readonly addresses: readonly string[]
}

export interface SettingsInput {
  readonly appname?: string | undefined
  readonly path?: string | undefined
  readonly remote?: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  readonly home: string
  readonly cwd: string
}

/** Of the main network, as ssb-caps has it. */
export const MAIN_NETWORK = '1KHLiKZvAvjbY1ziZEHMXawbCEIM6qwjCDm3VYRan/s='
export const DEFAULT_PORT = 8008
/** A config may list every interface of a machine with hundreds. */
const MAX_ADDRESSES = 6

export type Json = { readonly [key: string]: unknown }

export interface ConfigLayers {
  readonly path: string
  /** What the environment and the config files say, what counts most first. */
  readonly layers: readonly Json[]
}

/** The folder of the sbot and its config. Throws CliError where a file cannot be read. */
export function readConfig(input: Omit<SettingsInput, 'remote'>): ConfigLayers {
  const { env, home, cwd } = input
  const appname = input.appname ?? env.ssb_appname ?? 'ssb'
  if (!/^[\w.-]+$/.test(appname))
    throw new CliError('ERR_USAGE', `the name of an app has letters, digits, - and _: ${appname}`, null, EXIT.usage)
  const inEnv = fromEnvironment(env, appname)
  const shared = configFiles(appname, home, cwd, env).map(readConfigFile)
  const said = [inEnv, ...[...shared].reverse()]
  const path = resolve(cwd, input.path ?? firstString(said, 'path') ?? join(home, `.${appname}`))
  // A folder of its own has a config of its own; in the usual place it is among the shared ones already.
  return { path, layers: [inEnv, readConfigFile(join(path, 'config')), ...[...shared].reverse()] }
}

/** Throws CliError where a file that is needed is missing or cannot be read. */
export function readSettings(input: SettingsInput): SbotSettings {
  const { path, layers } = readConfig(input)
  const keys = readSecret(path)
  const shs = firstString(
    layers.map((layer) => objectIn(layer, 'caps')),
    'shs',
  )
  const remote = input.remote ?? firstString(layers, 'remote')
  return {
    path,
    shs: shs ?? MAIN_NETWORK,
    keys,
    addresses: remote === undefined ? addressesOf(layers, path, keys) : [completeRemote(remote, keys)],
  }
}

/** As the package rc looks for them, the last one counting most. */
function configFiles(name: string, home: string, cwd: string, env: SettingsInput['env']): string[] {
  const shared = process.platform === 'win32' ? [] : [join('/etc', name, 'config'), join('/etc', `${name}rc`)]
  const inHome = [
    join(home, '.config', name, 'config'),
    join(home, '.config', name),
    join(home, `.${name}`, 'config'),
    join(home, `.${name}rc`),
  ]
  const named = env[`${name}_config`]
  return [...shared, ...inHome, ...nearest(cwd, `.${name}rc`), ...(named ? [named] : [])]
}

function nearest(from: string, name: string): string[] {
  for (let folder = resolve(from); ; folder = dirname(folder)) {
    const file = join(folder, name)
    if (isFile(file)) return [file]
    if (dirname(folder) === folder) return []
  }
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile()
  } catch {
    return false
  }
}

function readConfigFile(file: string): Json {
  if (!isFile(file)) return {}
  try {
    const config: unknown = JSON.parse(withoutComments(readFileSync(file, 'utf8').replace(/^\ufeff/, '')) || '{}')
    if (!isPlainObject(config)) throw new Error('expected an object')
    return config
  } catch (error) {
    throw new CliError(
      'ERR_CONFIG',
      `the config ${file} cannot be read: ${(error as Error).message}`,
      'Mend the file (JSON, comments are allowed), or name another folder with --path.',
      EXIT.setup,
    )
  }
}

/** Comments as JavaScript has them, outside of strings. */
function withoutComments(text: string): string {
  return text.replace(/("(?:[^"\\]|\\.)*")|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (_, string?: string) => string ?? ' ').trim()
}

/** `ssb_caps__shs=…` is `{caps: {shs: …}}`. */
function fromEnvironment(env: SettingsInput['env'], name: string): Json {
  const root: Record<string, unknown> = {}
  const prefix = `${name}_`
  for (const [key, value] of Object.entries(env)) {
    if (!key.toLowerCase().startsWith(prefix.toLowerCase()) || value === undefined) continue
    const words = key.slice(prefix.length).split('__')
    const last = words.pop()
    if (!last || [...words, last].includes('__proto__')) continue
    let at = root
    for (const word of words) {
      const next = own(at, word)
      at = isPlainObject(next) ? (next as Record<string, unknown>) : assign(at, word)
    }
    at[last] = value
  }
  return root
}

function assign(target: Record<string, unknown>, key: string): Record<string, unknown> {
  const made: Record<string, unknown> = {}
  target[key] = made
  return made
}

function firstString(layers: readonly Json[], key: string): string | undefined {
  for (const layer of layers) {
    const value = own(layer, key)
    if (typeof value === 'string' && value !== '') return value
  }
  return undefined
}

function objectIn(layer: Json, key: string): Json {
  const value = own(layer, key)
  return isPlainObject(value) ? value : {}
}

function portIn(layer: Json): number | undefined {
  const port = Number(own(layer, 'port'))
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined
}

/** The file that ssb-keys writes: JSON between comments. What is in it is never printed. */
function readSecret(path: string): SbotKeys {
  const file = join(path, 'secret')
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new CliError(
        'ERR_NO_SECRET',
        `there is no key of an sbot at ${file}`,
        'Start the sbot once, or say where it is with --path FOLDER or --appname NAME.',
        EXIT.setup,
      )
    throw new CliError(
      'ERR_SECRET_UNREADABLE',
      `the key of the sbot at ${file} cannot be read: ${code ?? (error as Error).message}`,
      'Run this as the user who runs the sbot.',
      EXIT.setup,
    )
  }
  try {
    const keys: unknown = JSON.parse(text.replace(/\s*#[^\n]*/g, ''))
    if (!isPlainObject(keys)) throw new Error()
    const [publicKey, privateKey] = [own(keys, 'public'), own(keys, 'private')]
    if (typeof publicKey !== 'string' || typeof privateKey !== 'string') throw new Error()
    const id = own(keys, 'id')
    return { id: typeof id === 'string' ? id : `@${publicKey}`, public: publicKey, private: privateKey }
  } catch {
    throw new CliError(
      'ERR_SECRET_UNREADABLE',
      `the file ${file} holds no key`,
      'Restore it from a backup, or say where the sbot is with --path FOLDER.',
      EXIT.setup,
    )
  }
}

const keyOf = (keys: SbotKeys): string => keys.public.replace(/\.ed25519$/, '')

/** An address without a key is that of the sbot whose key we have. */
function completeRemote(remote: string, keys: SbotKeys): string {
  try {
    const decoded = decode(remote)
    const [route] = decoded
    if (decoded.length !== 1 || !route || !route[0]) throw new Error('expected one address')
    if (route.length > 1) return remote
    return encode([[...route, { name: 'shs', data: [keyOf(keys)] }]])
  } catch {
    throw new CliError(
      'ERR_USAGE',
      `--remote takes a multiserver address, and this is none: ${remote}`,
      'Write it as net:HOST:PORT~shs:KEY, or net:HOST:PORT for the sbot whose secret is at --path.',
      EXIT.usage,
    )
  }
}

/** Where an sbot with this config listens on this machine. */
function addressesOf(layers: readonly Json[], path: string, keys: SbotKeys): string[] {
  const shs = { name: 'shs', data: [keyOf(keys)] }
  const noauth = { name: 'noauth', data: [] }
  const found: string[] = []
  const add = (protocol: string, data: string[], transform: unknown): void => {
    if (transform !== undefined && transform !== 'shs' && transform !== 'noauth') return
    const address = encode([[{ name: protocol, data }, transform === 'noauth' ? noauth : shs]])
    if (!found.includes(address) && found.length < MAX_ADDRESSES) found.push(address)
  }
  const socket = join(path, 'socket')
  if (isSocket(socket)) add('unix', [socket], 'noauth')
  const port = layers.map(portIn).find((each) => each !== undefined) ?? DEFAULT_PORT
  const incoming = layers
    .map((layer) => objectIn(objectIn(layer, 'connections'), 'incoming'))
    .find((each) => Object.keys(each).length > 0)
  for (const protocol of ['net', 'ws']) {
    const list = incoming ? own(incoming, protocol) : undefined
    const entries = (Array.isArray(list) ? list : []).filter(isPlainObject)
    // What is bound to this machine alone goes first.
    const local = entries.map((entry) => ({ entry, host: reachable(own(entry, 'host')) }))
    local.sort((a, b) => Number(LOOPBACK.includes(b.host)) - Number(LOOPBACK.includes(a.host)))
    for (const { entry, host } of local) add(protocol, [host, String(portIn(entry) ?? port)], own(entry, 'transform'))
  }
  const host = firstString(layers, 'host')
  if (host !== undefined) add('net', [reachable(host), String(port)], 'shs')
  if (found.every((address) => address.startsWith('unix:'))) add('net', ['localhost', String(port)], 'shs')
  return found
}

const LOOPBACK: readonly string[] = ['localhost', '127.0.0.1', '::1']

/** Who listens everywhere is reached here. */
function reachable(host: unknown): string {
  const everywhere = ['', '0.0.0.0', '::', '[::]']
  return typeof host !== 'string' || everywhere.includes(host) ? 'localhost' : host
}

function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket()
  } catch {
    return false
  }
}
