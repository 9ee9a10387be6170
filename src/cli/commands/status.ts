/** `status`: how things stand as a whole. */
import type { Cli, Register, RemoteSbot } from '../cli'

export const registerStatus: Register = (program, run) => {
  program
    .command('status')
    .description('whether connections are on, the slots of each class, and the link')
    .action(run((cli) => cli.withSbot((sbot) => status(cli, sbot))))
}

async function status(cli: Cli, sbot: RemoteSbot): Promise<number> {
  const status = await sbot.manager.connections.status()
  if (cli.isJson) cli.out.json(status)
  else cli.out.line(status.mode)
  return 0
}
