/** `status`: how things stand as a whole. */
import type { ClassStatus, Status } from '../../core/selectors'
import type { Cli, Register } from '../cli'
import { table } from '../output'
import { duration, plural, until } from '../text'

export const registerStatus: Register = (program, run) => {
  program
    .command('status')
    .description('whether connections are on, the slots of each class, and the link')
    .addHelpText('after', '\nExample:\n  sbot-connections status --json | jq .classes.net.connected')
    .action(
      run((cli) =>
        cli.withSbot(async (sbot) => {
          const status = await sbot.manager.connections.status()
          if (cli.isJson) cli.out.json(status)
          else show(cli, status)
          return 0
        }),
      ),
    )
}

const MODES: { readonly [mode in Status['mode']]: string } = {
  on: 'on',
  off: 'off: nothing is dialed (sbot-connections start)',
  initialSync: 'initial sync: one connection until we have caught up',
}

interface Row extends ClassStatus {
  readonly name: string
}

function show({ out, clock }: Cli, status: Status): void {
  const { environment, inbound, lifetimeMs } = status
  const now = clock.now()
  const line = (name: string, text: string): void => out.line(`${out.paint('dim', name.padEnd(12))}${text}`)
  line('connections', out.paint(status.mode === 'off' ? 'yellow' : 'green', MODES[status.mode]))
  line('link', environment.link === 'up' ? out.paint('green', 'up') : out.paint('red', 'down: nobody can be reached'))
  for (const { layer, retryAt } of environment.down)
    if (layer !== 'link') line('down', `${out.paint('yellow', layer)}, tried again ${until(retryAt, now)}`)
  const limit = inbound.max === null ? '' : ` of at most ${inbound.max}`
  line('inbound', `${inbound.connected}${limit}`)
  line('known', `${plural(status.peers, 'peer')}, ${plural(status.routes, 'route')}`)
  if (lifetimeMs !== null) line('lifetime', duration(lifetimeMs))
  if (environment.isBusy) line('busy', 'much is being taken in: one dial at a time')
  out.line()
  const rows = Object.entries(status.classes)
    .map(([name, each]): Row => ({ name, ...each }))
    .filter((row) => row.max > 0 || row.connected + row.dialing + row.waiting > 0)
  const lines = table<Row>(
    out,
    [
      { title: 'CLASS', text: ({ name }) => name },
      { title: 'MAX', text: ({ max }) => String(max), align: 'right' },
      {
        title: 'CONNECTED',
        text: ({ connected }) => String(connected),
        align: 'right',
        color: ({ connected }) => (connected > 0 ? 'green' : null),
      },
      { title: 'DIALING', text: ({ dialing }) => String(dialing), align: 'right' },
      { title: 'WAITING', text: ({ waiting }) => String(waiting), align: 'right' },
      {
        title: 'NEXT',
        text: ({ max, nextAttemptAt }) =>
          nextAttemptAt === null || max === 0 || status.mode === 'off' ? '' : until(nextAttemptAt, now),
      },
      {
        title: 'DIALS THAT SUCCEED',
        text: ({ successRate }) => (successRate === null ? '' : `${Math.round(100 * successRate)} %`),
      },
    ],
    rows,
  )
  for (const each of lines) out.line(each)
}
