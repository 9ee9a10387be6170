/** Connections as a whole: `start`, `stop`, `max`, `lifetime`. */
import type { Status } from '../../core/selectors'
import { type Cli, CliError, type Register } from '../cli'
import { table } from '../output'
import { EXIT } from '../settings'
import { duration, parseDuration, plural } from '../text'

export const registerSwitches: Register = (program, run) => {
  program
    .command('start')
    .description('start dialing')
    .addHelpText('after', '\nExample:\n  sbot-connections start && sbot-connections log')
    .action(
      run((cli) =>
        cli.withSbot(async (sbot) => {
          await sbot.manager.connections.start()
          const status = await sbot.manager.connections.status()
          if (cli.isJson) cli.out.json({ mode: status.mode })
          else cli.out.line(status.mode === 'initialSync' ? 'on, after the initial sync' : 'on')
          return 0
        }),
      ),
    )
  program
    .command('stop')
    .description('hang up on everybody and stop dialing')
    .addHelpText('after', '\nExample:\n  sbot-connections stop')
    .action(
      run((cli) =>
        cli.withSbot(async (sbot) => {
          const before = await sbot.manager.connections.status()
          await sbot.manager.connections.stop()
          const status = await sbot.manager.connections.status()
          const count = connectedIn(before)
          if (cli.isJson) cli.out.json({ mode: status.mode, closed: count })
          else cli.out.line(count > 0 ? `off, ${plural(count, 'connection')} closed` : 'off')
          return 0
        }),
      ),
    )
  program
    .command('max')
    .description('slots by class; without arguments: what they are')
    .argument('[class=slots...]', 'for example net=5 onion=0; what is not named stays as it is')
    .addHelpText(
      'after',
      '\nExample:\n  sbot-connections max net=5 onion=0\n\nWith fewer slots than connections the surplus is hung up on. It holds until the sbot is restarted;\nthe config has it for good (connectionManager.maxByType).',
    )
    .action(
      run((cli, given) => {
        const max = parseMax(given)
        return cli.withSbot(async (sbot) => {
          if (Object.keys(max).length > 0) {
            const { classes } = await sbot.manager.connections.status()
            await sbot.manager.connections.setMaxByType(max)
            for (const name of Object.keys(max).filter((each) => !Object.hasOwn(classes, each)))
              cli.out.note(`${name} is a class that had no slots and no addresses; if it is a typo: ${name}=0`)
          }
          showMax(cli, await sbot.manager.connections.status())
          return 0
        })
      }),
    )
  program
    .command('lifetime')
    .description('hang up on whoever is not kept up after this time; without an argument: what it is')
    .argument('[duration]', 'for example 30min or 2h; none: no limit')
    .addHelpText(
      'after',
      '\nExample:\n  sbot-connections lifetime 30min\n\nIt holds until the sbot is restarted; the config has it for good (connectionManager.lifetimeMs).',
    )
    .action(
      run((cli, [given]) => {
        const lifetimeMs = given === undefined ? undefined : parseLifetime(given)
        return cli.withSbot(async (sbot) => {
          if (lifetimeMs !== undefined) await sbot.manager.connections.setLifetime(lifetimeMs)
          const status = await sbot.manager.connections.status()
          if (cli.isJson) cli.out.json({ lifetimeMs: status.lifetimeMs })
          else cli.out.line(status.lifetimeMs === null ? 'none' : duration(status.lifetimeMs))
          return 0
        })
      }),
    )
}

function connectedIn({ classes, inbound }: Status): number {
  return Object.values(classes).reduce((sum, { connected }) => sum + connected, inbound.connected)
}

function parseMax(given: readonly string[]): { [name: string]: number } {
  const entries = given.map((text): [string, number] => {
    const [, name = '', count = ''] = /^([a-z][a-z0-9-]*)[=:](\d+)$/i.exec(text) ?? []
    if (name === '')
      throw new CliError(
        'ERR_INVALID_ARGUMENT',
        `expected class=slots, such as net=5, received ${text}`,
        'Classes: sbot-connections max. Without slots a class is not dialed: onion=0.',
        EXIT.usage,
      )
    return [name, Number(count)]
  })
  return Object.fromEntries(entries)
}

function parseLifetime(text: string): number | null {
  if (text === 'none') return null
  const ms = parseDuration(text)
  if (ms !== null && ms > 0) return ms
  throw new CliError(
    'ERR_INVALID_ARGUMENT',
    `expected a duration such as 30min, 2h or 1d, or none; received ${text}`,
    'Units: s, min, h, d, w.',
    EXIT.usage,
  )
}

function showMax({ out, isJson }: Cli, { classes }: Status): void {
  const rows = Object.entries(classes)
  if (isJson) return out.json(Object.fromEntries(rows.map(([name, { max }]) => [name, max])))
  const lines = table(
    out,
    [
      { title: 'CLASS', text: ([name]) => name },
      { title: 'MAX', text: ([, { max }]) => String(max), align: 'right' },
      { title: 'CONNECTED', text: ([, { connected }]) => String(connected), align: 'right' },
    ],
    rows,
  )
  for (const line of lines) out.line(line)
}
