/** `metrics`: the figures of the manager, in the text form that Prometheus reads. */
import type { Metric } from '../../shell/metrics'
import type { Register } from '../cli'

export const registerMetrics: Register = (program, run) => {
  program
    .command('metrics')
    .description('counters and gauges, in the text form of Prometheus')
    .addHelpText(
      'after',
      '\nExamples:\n  sbot-connections metrics > ssb.prom.new && mv ssb.prom.new /var/lib/node_exporter/ssb.prom\n  sbot-connections metrics --json | jq -c "select(.type == \\"gauge\\")"',
    )
    .action(
      run((cli) =>
        cli.withSbot(async (sbot) => {
          if (cli.isJson) {
            for (const metric of (await sbot.manager.metrics()) as readonly Metric[]) cli.out.json(metric)
            return 0
          }
          const text = (await sbot.manager.metrics({ format: 'text' })) as string
          for (const line of text.trimEnd().split('\n')) cli.out.line(line)
          return 0
        }),
      ),
    )
}
