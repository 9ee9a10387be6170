/** `dashboard`: where the live page is. */
import type { Register } from '../cli'
import { noPlugin } from '../sbot'

export const registerDashboard: Register = (program, run) => {
  program
    .command('dashboard')
    .description('the address of the live page, good for one visit')
    .addHelpText('after', '\nExample:\n  xdg-open "$(sbot-connections dashboard)"')
    .action(
      run((cli) =>
        cli.withSbot(async (sbot) => {
          if (typeof sbot.rpc.dashboard?.url !== 'function')
            throw noPlugin('live page', 'sbot-connection-manager/dashboard')
          const url: unknown = await sbot.rpc.dashboard.url()
          if (cli.isJson) cli.out.json({ url })
          else cli.out.line(String(url))
          return 0
        }),
      ),
    )
}
