/** `import` and `export`: tables of peers as files. */

import { Option } from 'commander'
import { writeFileSync } from 'fs'

import type { FeedId } from '../../core/types'
import { type Cli, CliError, type Register, type RemoteSbot } from '../cli'
import { readText } from '../files'
import { pooled } from '../live'
import { EXIT } from '../settings'
import { type ConnData, FORMATS, type Format, type ReadTable, readTable, type TableEntry, writeTable } from '../tables'
import { listPeers } from '../targets'
import { plural, timestamp } from '../text'

/** Of bad lines, for people; JSON has all. */
const BAD_SHOWN = 20

export const registerTables: Register = (program, run) => {
  program
    .command('import')
    .description('tell of all peers in a file: gossip.json, conn.json, or a list of addresses')
    .argument('<file>', 'the format is seen by the content; - is stdin')
    .option('--dry-run', 'say what would be new, and change nothing')
    .addHelpText(
      'after',
      '\nExample:\n  sbot-connections import ~/.ssb/gossip.json\n\nA list has one address in each line; # begins a comment. Entries that cannot be read are named by their\nline and left out; the exit code is 1 if nothing was left.',
    )
    .action(
      run(async (cli, [file = ''], options) => {
        const table = readTable(await readInput(cli, file))
        return cli.withSbot((sbot) => importTable(cli, sbot, table, options.dryRun === true))
      }),
    )
  program
    .command('export')
    .description('write the known addresses to a file, or to stdout')
    .argument('[file]', 'is written anew; without it, and for -: stdout')
    .addOption(
      new Option('--format <format>', 'of ssb-conn, of ssb-gossip, or one address in each line')
        .choices([...FORMATS])
        .default('conn'),
    )
    .addHelpText('after', '\nExample:\n  sbot-connections export --format list peers.txt')
    .action(
      run((cli, [file = '-'], options) =>
        cli.withSbot((sbot) => exportTable(cli, sbot, file, options.format as Format)),
      ),
    )
}

async function readInput(cli: Cli, file: string): Promise<string> {
  if (file === '-') return (await cli.readInput?.()) ?? ''
  try {
    return await readText(file, cli.interrupted)
  } catch (error) {
    throw fileError('read', file, error)
  }
}

function fileError(what: 'read' | 'written', file: string, error: unknown): CliError {
  if (error instanceof CliError) return error
  const { code, message } = error as { code?: string; message: string }
  return new CliError(
    code === 'ENOENT' && what === 'read' ? 'ERR_NO_FILE' : 'ERR_FILE',
    `${file} cannot be ${what}: ${code ?? message}`,
    what === 'read' ? 'Check the name of the file.' : 'Check the folder and its permissions.',
    EXIT.setup,
  )
}

// ---- import -----------------------------------------------------------------------------------------------------------

type Outcome = 'new' | 'known' | 'refused'

async function importTable(cli: Cli, sbot: RemoteSbot, table: ReadTable, isDry: boolean): Promise<number> {
  const { out, isJson } = cli
  const known = new Set((await listPeers(sbot)).flatMap((peer) => peer.routes.map((route) => route.id)))
  const canAnnotate = typeof sbot.rpc.conn?.remember === 'function'
  let done = 0
  const outcomes = await pooled(table.entries, async (entry) => {
    const outcome = await importEntry(sbot, entry, known, canAnnotate && sbot.id !== entry.peer, isDry)
    if (++done % 100 === 0) out.progress?.(`${done} of ${table.entries.length}`)
    return outcome
  })
  out.progress?.(null)
  const count = (outcome: Outcome): number => outcomes.filter((each) => each === outcome).length
  const lost = canAnnotate ? 0 : table.entries.filter((entry) => entry.isManualOnly).length
  const result = {
    format: table.format,
    isDryRun: isDry,
    new: count('new'),
    known: count('known'),
    refused: count('refused'),
    local: table.local,
    bad: table.bad,
  }
  const exitCode = table.bad.length > 0 && table.entries.length === 0 ? EXIT.failed : 0
  if (isJson) {
    out.json(result)
    return exitCode
  }
  const parts = [
    `${result.new} new`,
    `${result.known} known`,
    ...(result.refused > 0 ? [`${result.refused} refused (our own, or there is no room)`] : []),
    ...(result.local > 0 ? [`${result.local} local (they announce themselves)`] : []),
    `${result.bad.length} bad`,
  ]
  out.line(`${isDry ? 'would be: ' : ''}${parts.join(', ')}`)
  for (const { line, message } of result.bad.slice(0, BAD_SHOWN)) out.note(`line ${line}: ${message}`)
  const more = result.bad.length - BAD_SHOWN
  if (more > 0) out.note(`… and ${plural(more, 'bad line')} more: --json has them all.`)
  if (lost > 0)
    out.note(
      `${plural(lost, 'peer')} that should be dialed by hand only ${lost === 1 ? 'has' : 'have'} LOW priority instead: the sbot has no conn facade.`,
    )
  return exitCode
}

async function importEntry(
  sbot: RemoteSbot,
  entry: TableEntry,
  known: ReadonlySet<string>,
  canAnnotate: boolean,
  isDry: boolean,
): Promise<Outcome> {
  const { addresses, peer, source, priority, isLongTerm, isManualOnly, data } = entry
  const isKnown = addresses.every((address) => known.has(address))
  if (isDry) return isKnown ? 'known' : 'new'
  // First, so that it is never dialed in between.
  if (priority === 'BANNED') await sbot.manager.peer.setPriority({ id: peer, priority })
  const isLow = isManualOnly && !canAnnotate
  const isNew = await sbot.manager.peer.addRoute({
    address: addresses.join(';'),
    source,
    ...(isLow && !isKnown ? { priority: 'LOW' } : {}),
  })
  if (!isNew && !isKnown) return 'refused'
  // What strangers said is not made the user's word by remembering it.
  if (canAnnotate && source !== 'pub' && (data !== null || isManualOnly))
    await sbot.rpc.conn.remember(addresses[0], { ...data, ...(isManualOnly ? { autoconnect: false } : {}) })
  if (priority !== null && priority !== 'BANNED') await sbot.manager.peer.setPriority({ id: peer, priority })
  if (isLongTerm) await sbot.manager.peer.setLongTerm({ id: peer, isLongTerm })
  return isNew ? 'new' : 'known'
}

// ---- export -----------------------------------------------------------------------------------------------------------

async function exportTable(cli: Cli, sbot: RemoteSbot, file: string, format: Format): Promise<number> {
  const peers = await listPeers(sbot)
  const comment = `addresses that ${sbot.id} knew at ${timestamp(cli.clock.now())}`
  const { text, count, leftOut } = writeTable(format, peers, await connData(sbot, format), comment)
  if (file === '-') for (const line of text.trimEnd().split('\n')) cli.out.line(line)
  else {
    try {
      writeFileSync(file, text)
    } catch (error) {
      throw fileError('written', file, error)
    }
    if (cli.isJson) cli.out.json({ file, format, count, leftOut })
    else cli.out.line(`${plural(count, 'address', 'addresses')} written to ${file}`)
  }
  if (cli.isJson) return 0
  if (leftOut.banned > 0)
    cli.out.note(
      `${plural(leftOut.banned, 'address', 'addresses')} of banned peers left out: this format would have them dialed.`,
    )
  if (leftOut.foreign > 0)
    cli.out.note(
      `${plural(leftOut.foreign, 'address', 'addresses')} left out that ssb-gossip cannot read: --format conn has them.`,
    )
  return 0
}

async function connData(sbot: RemoteSbot, format: Format): Promise<ConnData> {
  const found = new Map<FeedId, Record<string, unknown>>()
  if (format !== 'conn' || typeof sbot.rpc.conn?.dbPeers !== 'function') return found
  const entries = (await sbot.rpc.conn.dbPeers()) as readonly [string, Record<string, unknown>][]
  for (const [address, data] of entries) found.set(address, data)
  return found
}
