/** What is done to single peers and addresses: `add`, `remove`, `connect`, `disconnect`, `ban`, `unban`, `priority`. */
import { Argument, type Command, InvalidArgumentError, Option } from 'commander'

import { parseAddress } from '../../core/address'
import { errorInfo } from '../../core/errors'
import type { PeerView, RouteView } from '../../core/selectors'
import type { FeedId } from '../../core/types'
import { type Cli, CliError, type Register, type RemoteSbot } from '../cli'
import { clean } from '../output'
import { EXIT } from '../settings'
import { calledBy, idOf, isAddress, namesOf, resolveTarget } from '../targets'
import { duration, place, plural } from '../text'

const PEER_HELP = 'id, the beginning of one (6 characters or more), a name, or an address'
/** Of an id in a command that can be copied: enough to be the only one. */
const ID_SHOWN = 12
const peerArgument = (): Argument => new Argument('<peer>', PEER_HELP)

const PRIORITIES = ['HIGH', 'MEDIUM', 'LOW']

/** Of `choices`, in whatever case it was typed. */
function upperCase(choices: readonly string[]): (text: string) => string {
  return (text) => {
    const choice = text.toUpperCase()
    if (!choices.includes(choice)) throw new InvalidArgumentError(`Allowed choices are ${choices.join(', ')}.`)
    return choice
  }
}

export const registerSteering: Register = (program, run) => {
  registerAdd(program, run)
  registerRemove(program, run)
  registerConnect(program, run)
  registerDisconnect(program, run)
  registerBans(program, run)
  registerPriority(program, run)
}

/** Before anything is sent: of several addresses none is taken if one is bad. Throws CliError. */
function checkAddresses(addresses: readonly string[]): void {
  for (const address of addresses) {
    try {
      parseAddress(address)
    } catch (error) {
      throw new CliError(
        'ERR_INVALID_ADDRESS',
        errorInfo(error).message,
        'Write it as net:HOST:PORT~shs:KEY, or HOST:PORT:@KEY.ed25519.',
        EXIT.usage,
      )
    }
  }
}

async function viewOf(sbot: RemoteSbot, target: string): Promise<PeerView | null> {
  return sbot.manager.peer.get(target)
}

async function knownView(sbot: RemoteSbot, target: string): Promise<PeerView> {
  const view = await viewOf(sbot, target)
  if (view) return view
  throw new CliError(
    'ERR_UNKNOWN_PEER',
    `nobody told the sbot of ${idOf(target)}`,
    'See sbot-connections peers --all, or tell of it: sbot-connections add ADDRESS.',
    EXIT.failed,
  )
}

async function nameOf(cli: Cli, sbot: RemoteSbot, id: FeedId): Promise<string> {
  return clean(calledBy(id, await namesOf(sbot), cli.out.isTerminal))
}

// ---- add, remove ------------------------------------------------------------------------------------------------------

function registerAdd(program: Command, run: Parameters<Register>[1]): void {
  program
    .command('add')
    .description('tell of peers by their addresses')
    .argument('<address...>', 'multiserver addresses, or HOST:PORT:@KEY.ed25519')
    .addOption(
      new Option('--priority <priority>', 'and say how much they matter')
        .choices(PRIORITIES)
        .argParser(upperCase(PRIORITIES)),
    )
    .addHelpText('after', '\nExample:\n  sbot-connections add "net:pub.example.com:8008~shs:KEY="')
    .action(
      run((cli, addresses, options) => {
        checkAddresses(addresses)
        const said = typeof options.priority === 'string' ? { priority: options.priority } : {}
        return cli.withSbot(async (sbot) => {
          let refused = 0
          for (const address of addresses) {
            const isNew = await sbot.manager.peer.addRoute({ address, ...said })
            const isThere = isNew || (await isKnown(sbot, address))
            if (!isThere) refused++
            const outcome = isNew ? 'new' : isThere ? 'known' : 'refused'
            if (cli.isJson) cli.out.json({ address, outcome })
            else if (isThere) cli.out.line(`${outcome === 'new' ? 'added' : 'known already'}: ${address}`)
            else cli.out.line(`not taken: ${address} (our own, or there is no room for it)`)
          }
          return refused > 0 ? EXIT.failed : 0
        })
      }),
    )
}

async function isKnown(sbot: RemoteSbot, address: string): Promise<boolean> {
  const view = await viewOf(sbot, address)
  const wanted = parseAddress(address).map((route) => route.address)
  return view?.routes.some((route) => wanted.includes(route.id)) ?? false
}

function registerRemove(program: Command, run: Parameters<Register>[1]): void {
  program
    .command('remove')
    .description('forget addresses; hangs up where one is in use')
    .argument('<address...>', 'as peers --json shows them')
    .addHelpText('after', '\nExample:\n  sbot-connections remove "net:old.example.com:8008~shs:KEY="')
    .action(
      run((cli, addresses) => {
        checkAddresses(addresses)
        return cli.withSbot(async (sbot) => {
          let unknown = 0
          for (const address of addresses) {
            const wasKnown = await sbot.manager.peer.removeRoute({ address })
            if (!wasKnown) unknown++
            if (cli.isJson) cli.out.json({ address, wasKnown })
            else cli.out.line(`${wasKnown ? 'removed' : 'not known'}: ${address}`)
          }
          return unknown > 0 ? EXIT.failed : 0
        })
      }),
    )
}

// ---- connect, disconnect ----------------------------------------------------------------------------------------------

function registerConnect(program: Command, run: Parameters<Register>[1]): void {
  program
    .command('connect')
    .description('connect to a peer now, past slots and pauses, and wait for the outcome')
    .addArgument(peerArgument())
    .option('--forever', 'and keep it up for as long as possible')
    .addHelpText(
      'after',
      '\nExample:\n  sbot-connections connect --forever "net:pub.example.com:8008~shs:KEY="\n\nIf it fails, it is said of each address why, and the exit code is 1.',
    )
    .action(
      run((cli, [given = ''], options) =>
        cli.withSbot(async (sbot) => {
          const target = await resolveTarget(sbot, given)
          return connect(cli, sbot, target, options.forever === true)
        }),
      ),
    )
}

async function connect(cli: Cli, sbot: RemoteSbot, target: string, isLongTerm: boolean): Promise<number> {
  const { out, clock, isJson } = cli
  const id = idOf(target)
  const before = await viewOf(sbot, target)
  const startedAt = clock.now()
  const call = isAddress(target) ? { address: target } : { id: target }
  try {
    await sbot.manager.peer.connect(isLongTerm ? { ...call, isLongTerm } : call)
  } catch (error) {
    if (!(error instanceof CliError) || error.code !== 'ERR_DIAL_FAILED') throw error
    const failures = await failuresOf(sbot, id, before)
    if (isJson) out.json({ peer: id, connected: false, routes: failures })
    else
      for (const { address, message, code, isTried } of failures)
        out.line(
          `${isTried ? out.paint('red', 'failed') : out.paint('dim', 'not tried')}: ${address}: ${reason(message, code)}`,
        )
    throw new CliError(
      'ERR_DIAL_FAILED',
      `no connection to ${await nameOf(cli, sbot, id)}: ${plural(failures.filter((each) => each.isTried).length, 'address', 'addresses')} tried`,
      isLongTerm
        ? `The sbot goes on trying. What stands in the way: sbot-connections why ${id.slice(0, ID_SHOWN)}`
        : `What stands in the way: sbot-connections why ${id.slice(0, ID_SHOWN)}. If it has moved: sbot-connections add ADDRESS. To have the sbot go on trying: connect --forever.`,
      EXIT.failed,
    )
  }
  const view = await viewOf(sbot, target)
  const connection = view?.connection ?? null
  if (isJson) {
    out.json({ peer: id, connected: true, isLongTerm: view?.isLongTerm ?? isLongTerm, connection })
    return 0
  }
  const who = await nameOf(cli, sbot, id)
  const where = connection?.address == null ? (connection?.direction ?? '') : place(connection.address)
  const wasUp = before?.connection.status === 'connected'
  const how = wasUp
    ? `has been connected for ${duration(startedAt - (before.connection.since ?? startedAt))}`
    : `connected in ${((clock.now() - startedAt) / 1_000).toFixed(1)} s`
  out.line(
    `${who} ${out.paint('green', how)}${where === '' ? '' : ` by ${clean(where)}`}${isLongTerm ? ', and kept up' : ''}`,
  )
  return 0
}

interface Failure {
  readonly address: string
  readonly isTried: boolean
  readonly code: string | null
  readonly message: string
}

/** muxrpc hands on the last failure only; the others are what the routes have learned since. */
async function failuresOf(sbot: RemoteSbot, id: FeedId, before: PeerView | null): Promise<Failure[]> {
  const after = await viewOf(sbot, id)
  if (!after) return []
  const { routes } = await sbot.manager.peer.explain(id)
  const lastError = (route: RouteView | undefined): RouteView['errors'][number] | undefined =>
    route?.errors.slice(-1)[0]
  return after.routes.map((route): Failure => {
    const error = lastError(route)
    const known = lastError(before?.routes.find((each) => each.id === route.id))
    const isTried = error !== undefined && error.at !== known?.at
    if (isTried) return { address: route.id, isTried, code: error.code, message: error.message }
    const why = routes.find((each) => each.address === route.id)
    return { address: route.id, isTried, code: why?.reason ?? null, message: why?.message ?? 'nobody tried it' }
  })
}

/** Most messages hold their code. */
function reason(message: string, code: string | null): string {
  return code === null || message.includes(code) ? message : `${message} (${code})`
}

function registerDisconnect(program: Command, run: Parameters<Register>[1]): void {
  program
    .command('disconnect')
    .description('hang up on a peer, which is then not dialed for a minute')
    .addArgument(peerArgument())
    .option('--no-longer', 'and do not keep it up any more: takes back connect --forever')
    .addHelpText('after', '\nExample:\n  sbot-connections disconnect @kEyOfA')
    .action(
      run((cli, [given = ''], options) =>
        cli.withSbot(async (sbot) => {
          const target = await resolveTarget(sbot, given)
          const view = await knownView(sbot, target)
          const isNoLonger = options.longer === false
          if (isNoLonger) await sbot.manager.peer.setLongTerm({ id: view.id, isLongTerm: false })
          const wasConnected = await sbot.manager.peer.disconnect({ id: view.id })
          const isKept = view.isLongTerm && !isNoLonger
          if (cli.isJson) cli.out.json({ peer: view.id, wasConnected, isLongTerm: isKept })
          else {
            cli.out.line(`${await nameOf(cli, sbot, view.id)} ${wasConnected ? 'disconnected' : 'was not connected'}`)
            if (isKept) cli.out.note('It is kept up, so it is dialed again: disconnect --no-longer ends that.')
          }
          return 0
        }),
      ),
    )
}

// ---- ban, unban, priority ---------------------------------------------------------------------------------------------

function registerBans(program: Command, run: Parameters<Register>[1]): void {
  program
    .command('ban')
    .description('hang up on a peer, never dial it, and refuse it when it dials')
    .addArgument(peerArgument())
    .addHelpText('after', '\nExample:\n  sbot-connections ban @kEyOfA')
    .action(
      run((cli, [given = '']) =>
        cli.withSbot(async (sbot) => {
          const id = idOf(await resolveTarget(sbot, given))
          await setPriority(cli, sbot, id, 'BANNED')
          if (!cli.isJson) cli.out.line(`${await nameOf(cli, sbot, id)} banned`)
          return 0
        }),
      ),
    )
  program
    .command('unban')
    .description('lift a ban')
    .addArgument(peerArgument())
    .addHelpText('after', '\nExample:\n  sbot-connections unban @kEyOfA')
    .action(
      run((cli, [given = '']) =>
        cli.withSbot(async (sbot) => {
          const view = await knownView(sbot, await resolveTarget(sbot, given))
          if (view.isBanned) await setPriority(cli, sbot, view.id, 'AUTO')
          else if (cli.isJson)
            cli.out.json({ peer: view.id, priority: view.priority, prioritisedBy: view.prioritisedBy })
          if (cli.isJson) return 0
          const who = await nameOf(cli, sbot, view.id)
          cli.out.line(view.isBanned ? `${who} no longer banned` : `${who} was not banned`)
          if (view.isBanned && view.prioritisedBy !== 'user')
            cli.out.note(
              `It was banned by ${view.prioritisedBy ?? 'nobody'}, which may do so again. To overrule that: sbot-connections priority PEER MEDIUM.`,
            )
          return 0
        }),
      ),
    )
}

function registerPriority(program: Command, run: Parameters<Register>[1]): void {
  program
    .command('priority')
    .description('say how much a peer matters; AUTO takes back what was said')
    .addArgument(peerArgument())
    .addArgument(
      new Argument('<priority>', 'HIGH, MEDIUM, LOW or AUTO')
        .choices([...PRIORITIES, 'AUTO'])
        .argParser(upperCase([...PRIORITIES, 'AUTO'])),
    )
    .addHelpText('after', '\nExample:\n  sbot-connections priority @kEyOfA HIGH')
    .action(
      run((cli, [given = '', priority = '']) =>
        cli.withSbot(async (sbot) => {
          const id = idOf(await resolveTarget(sbot, given))
          const view = await setPriority(cli, sbot, id, priority)
          if (cli.isJson) return 0
          const by =
            view?.prioritisedBy == null
              ? ', by its addresses'
              : view.prioritisedBy === 'user'
                ? ''
                : `, by ${view.prioritisedBy}`
          cli.out.line(`${await nameOf(cli, sbot, id)} ${view?.priority ?? priority}${clean(by)}`)
          return 0
        }),
      ),
    )
}

async function setPriority(cli: Cli, sbot: RemoteSbot, id: FeedId, priority: string): Promise<PeerView | null> {
  const isSet = await sbot.manager.peer.setPriority({ id, priority })
  if (!isSet) throw new CliError('ERR_INVALID_ARGUMENT', 'this is our own id: it has no priority', null, EXIT.usage)
  const view = await viewOf(sbot, id)
  if (cli.isJson)
    cli.out.json({ peer: id, priority: view?.priority ?? null, prioritisedBy: view?.prioritisedBy ?? null })
  return view
}
