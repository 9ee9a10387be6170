/** `serve`: a complete sbot in this process, a client's or a pub. `invite` and `accept`: how others come to a pub. */

import { InvalidArgumentError, Option } from 'commander'
import { homedir } from 'os'

import { errorInfo } from '../../core/errors'
import type { ConnectionChange } from '../../manager'
import type { Source } from '../../shell/live'
import { type Cli, CliError, type Register } from '../cli'
import { noPlugin } from '../sbot'
import {
  assertNotRunning,
  assertPortFree,
  bootServed,
  closeServed,
  loadAll,
  loaderFor,
  makeConfig,
  makeInvite,
  modulesFor,
  prepareFolder,
  quiet,
  readKeys,
  type ServedSbot,
  type ServeOptions,
  wantsPage,
  writeFirstConfig,
  writeManifest,
} from '../serve'
import { EXIT, type Json, readConfig, readSettings } from '../settings'

const LOG_LEVELS = ['error', 'notice', 'info'] as const

export const registerServe: Register = (program, run) => {
  program
    .command('serve')
    .description('a complete sbot with this package, until Ctrl-C: a client, or with --pub a pub')
    .option('--pub', 'for others to join: makes invites; needs --host')
    .option('--host <name>', 'the name or address by which others reach this machine')
    .option('--listen <address>', 'the address that it listens on (default: all)')
    .addOption(new Option('--port <number>', 'the port (default: 8008)').argParser(portOf))
    .option('--shs <key>', 'the network key, base64')
    .option('--no-lan', 'neither found on the local network nor looking there')
    .addOption(new Option('--invite [uses]', 'prints an invite at the start').preset(1).argParser(usesOf))
    .addOption(
      new Option('--dashboard [port]', 'the live page, on port 8990 or this one; prints its address')
        .preset('default')
        .argParser(pagePortOf),
    )
    .addOption(new Option('--log-level <level>', 'what is printed').choices(LOG_LEVELS).default('notice'))
    .addHelpText(
      'after',
      '\nExamples:\n  sbot-connections serve\n  sbot-connections serve --pub --host pub.example.com --invite 10 --path ~/.pub',
    )
    .action(run((cli, _, options) => serve(cli, options)))
}

export const registerInvites: Register = (program, run) => {
  program
    .command('invite')
    .description('an invite to a running pub')
    .addOption(new Option('--uses <count>', 'how many people may use it').argParser(usesOf).default(1))
    .action(
      run((cli, _, options) =>
        cli.withSbot(async ({ rpc }) => {
          if (typeof rpc.invite?.create !== 'function') throw noPlugin('invites', 'ssb-invite')
          const invite = String(await rpc.invite.create({ uses: options.uses }))
          if (cli.isJson) cli.out.json({ invite })
          else cli.out.line(invite)
          return 0
        }),
      ),
    )
  program
    .command('accept <invite>')
    .description('joins a pub by an invite: it follows us, we follow it')
    .action(
      run((cli, [invite]) =>
        cli.withSbot(async ({ rpc }) => {
          if (typeof rpc.invite?.accept !== 'function') throw noPlugin('invites', 'ssb-invite')
          await rpc.invite.accept(invite)
          if (cli.isJson) cli.out.json({ accepted: true })
          else cli.out.line('accepted: the pub follows us, and we follow it')
          return 0
        }),
      ),
    )
}

function portOf(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new InvalidArgumentError('A port is from 1 to 65535.')
  return port
}

function pagePortOf(text: string): number | 'default' {
  return text === 'default' ? text : text === '0' ? 0 : portOf(text)
}

function usesOf(text: string | number): number {
  const uses = Number(text)
  if (!Number.isInteger(uses) || uses < 1 || uses > 1e6) throw new InvalidArgumentError('It takes a number from 1 on.')
  return uses
}

const textOf = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null)
const numberOf = (value: unknown): number | null => (typeof value === 'number' ? value : null)

async function serve(cli: Cli, given: Readonly<Record<string, unknown>>): Promise<number> {
  const level = LOG_LEVELS.indexOf(given.logLevel as (typeof LOG_LEVELS)[number])
  const isAtLeast = (wanted: (typeof LOG_LEVELS)[number]): boolean => level >= LOG_LEVELS.indexOf(wanted)
  const note = (text: string): void => {
    if (isAtLeast('notice')) cli.out.note(text)
  }
  const where = {
    appname: given.appname as string | undefined,
    path: given.path as string | undefined,
    env: process.env,
    home: homedir(),
    cwd: process.cwd(),
  }
  const { path, layers } = readConfig(where)
  const options: ServeOptions = {
    path,
    port: numberOf(given.port),
    host: textOf(given.host),
    listen: textOf(given.listen),
    shs: textOf(given.shs),
    isPub: given.pub === true,
    hasLan: given.lan !== false,
    page: given.dashboard === undefined ? null : (given.dashboard as number | 'default'),
  }
  const load = loaderFor(where.cwd)
  const modules = loadAll(modulesFor(options), load)
  const config = makeConfig(layers, options)
  const net = netOf(config)
  if (options.isPub && net.external === null)
    throw new CliError(
      'ERR_USAGE',
      'a pub needs the name by which others reach it',
      'Give it with --host NAME, or as `external` in connections.incoming.net of the config.',
      EXIT.usage,
    )
  await assertNotRunning(path, load)
  await assertPortFree(net.port, net.host)
  // Nothing is written before this.
  prepareFolder(path, note)
  const keys = readKeys(path, modules.get('ssb-keys'), note)
  writeFirstConfig(config, options, note)

  quiet(() => isAtLeast('info'))
  const hasPage = wantsPage(layers, options)
  const sbot = await bootServed(modules, { ...config, keys }, hasPage)
  try {
    writeManifest(path, sbot)
    const invite = given.invite === undefined ? null : await makeInvite(sbot, given.invite as number)
    let page: string | null = null
    if (hasPage && sbot.dashboard) {
      await sbot.dashboard.start().catch((error: unknown) => {
        const { code, message } = errorInfo(error)
        if (code !== 'ERR_LISTEN') throw error
        throw new CliError(
          'ERR_LISTEN',
          message.replace(/: set dashboard\.port.*$/, ''),
          'Choose another port for the page: --dashboard PORT, or 0 for any that is free.',
          EXIT.failed,
        )
      })
      page = await sbot.dashboard.url()
    }
    tell(cli, { sbot, path, config, invite, page, ask: askCommand(where, config) })
    if (isAtLeast('info')) log(cli, sbot)
    await cli.interrupted
    note('closing')
    return 0
  } finally {
    await closeServed(sbot)
  }
}

function netOf(config: Json): {
  readonly port: number
  readonly host: string | null
  readonly external: string | null
} {
  const { connections } = config as { connections: { incoming: { net: readonly Json[] } } }
  const [net] = connections.incoming.net
  return { port: Number(net?.port ?? config.port), host: textOf(net?.host), external: textOf(net?.external) }
}

/** How the other commands find it: by its folder alone where the config there says the rest. */
function askCommand(where: Parameters<typeof readConfig>[0], config: Json): string {
  const { path, caps } = config as { path: string; caps: { shs: string } }
  const { port, host } = netOf(config)
  const found = readSettings({ ...where, path, env: {} })
  const isKnown = found.addresses.some((address) => address.includes(`:${port}~`))
  const remote = isKnown ? '' : ` --remote net:${host ?? 'localhost'}:${port}`
  const network = found.shs === caps.shs ? '' : `ssb_caps__shs=${caps.shs} `
  return `${network}sbot-connections status --path ${quoted(path)}${remote}`
}

const quoted = (text: string): string => (/^[\w./~-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\\''")}'`)

interface Started {
  readonly sbot: ServedSbot
  readonly path: string
  readonly config: Json
  readonly invite: string | null
  readonly page: string | null
  readonly ask: string
}

function tell({ out, isJson }: Cli, { sbot, path, config, invite, page, ask }: Started): void {
  const scope = netOf(config).external === null ? 'local' : 'public'
  const address = sbot.getAddress(scope) || sbot.getAddress('public') || sbot.getAddress('device') || ''
  if (isJson) {
    out.json({ id: sbot.id, address, path, ...(invite ? { invite } : {}), ...(page ? { page } : {}), ask })
    return
  }
  const line = (title: string, text: string | null): void => {
    if (text !== null) out.line(`${out.paint('dim', title.padEnd(10))}${text}`)
  }
  line('id', sbot.id)
  // One would do: a machine has as many as it has interfaces.
  line('address', address.split(';')[0] ?? '')
  line('folder', path)
  line('invite', invite)
  line('page', page)
  line('ask it', ask)
}

/** A line for each connection that comes or goes, and for each dial that fails. */
function log({ out, isJson, clock }: Cli, sbot: ServedSbot): void {
  const source = sbot.connectionManager.connections.changes() as Source<ConnectionChange>
  const next = (): void =>
    source(null, (end, change) => {
      if (end || !change) return
      const { type, peer, direction, reason, address } = change
      if (isJson) out.json(change)
      else
        out.line(
          [new Date(change.at).toISOString(), type, direction, peer, reason ?? '', address ?? '']
            .filter(Boolean)
            .join(' '),
        )
      // A turn of its own: a stack that answers at once would fill this one.
      clock.setTimeout(next, 0)
    })
  next()
}
