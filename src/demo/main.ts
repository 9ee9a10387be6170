/**
 * `npm start`: a small network of real sbots on loopback, watched from one of them, in the terminal and on its live page.
 * Without a terminal it prints plain lines. `--seconds N` ends by itself with a summary and exit code 0, or 1 if a message did
 * not reach a peer that could be reached within 40 s more. `--port N` is where the page is served if nobody else is there,
 * `--no-dashboard` leaves it out.
 */
import { randomBytes } from 'crypto'

import pull = require('pull-stream')

import { generate } from 'ssb-keys'

import type Manager = require('../index')

import { bootHangingHost, bootSbot, freePort, outliveLateWrites, PAGE_PORT, removeFolder, type Sbot } from './network'
import { flow, repaint, type Screen } from './screen'
import { type Row, render } from './table'

const EVERY_MS = 500
const PUBLISH_EVERY_MS = 2_000
/** Before the end nobody publishes or goes away any more, so that what is under way can arrive. */
const QUIET_MS = 7_000
/** How much longer than `--seconds` it may last where messages are still under way. */
const PATIENCE_MS = 40_000

interface Figure {
  readonly name: string
  readonly note: string
  readonly id: string
  sbot: Sbot | null
}

interface Options {
  /** Null: until it is interrupted. */
  readonly seconds: number | null
  /** Of the live page; null: none. */
  readonly pagePort: number | null
}

function usage(): never {
  process.stderr.write(
    'usage: npm start -- [--seconds N] [--port N] [--no-dashboard]\n' +
      '  --seconds N      end after N seconds, 1 to 86400\n' +
      `  --port N         serve the live page there, 1024 to 65535, or 0 for any port; by default ${PAGE_PORT}\n` +
      '  --no-dashboard   do not serve the live page\n',
  )
  process.exit(2)
}

function parseOptions(args: readonly string[]): Options {
  let seconds: number | null = null
  let pagePort: number | null = PAGE_PORT
  for (let at = 0; at < args.length; at++) {
    const value = args[at + 1] === undefined || args[at + 1] === '' ? Number.NaN : Number(args[at + 1])
    if (args[at] === '--no-dashboard') pagePort = null
    else if (args[at] === '--seconds' && value >= 1 && value <= 86_400) seconds = Number(args[++at])
    else if (args[at] === '--port' && (value === 0 || (value >= 1_024 && value <= 65_535)) && Number.isInteger(value))
      pagePort = Number(args[++at])
    else usage()
  }
  return { seconds, pagePort }
}

interface Page {
  /** One that has not been used yet, and is still good. */
  url(): Promise<string>
  /** The last one was used, or is too old. */
  isUsed(): boolean
}

async function servePage({ page }: Sbot): Promise<Page | null> {
  if (!page) return null
  try {
    await page.start()
  } catch (error) {
    process.stdout.write(`${error instanceof Error ? error.message : error}\n`)
    return null
  }
  let last = ''
  const isUsed = (): boolean => page.status().tokens === 0
  return {
    url: async () => {
      if (isUsed()) last = await page.url()
      return last
    },
    isUsed,
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const stamp = (): string => new Date().toISOString().slice(11, 19)

async function main(): Promise<number> {
  const { seconds, pagePort } = parseOptions(process.argv.slice(2))
  const isTerminal = process.stdout.isTTY === true
  const say = (line: string): void => {
    if (!isTerminal) process.stdout.write(`${line}\n`)
  }
  // The stack reports each failed handshake on stderr; here they are meant to fail, and the table says so.
  console.error = () => {}
  outliveLateWrites()

  process.stdout.write(
    'booting seven sbots (secret-stack, ssb-db2, ssb-ebt, ssb-friends, sbot-connection-manager/conn and\n' +
      '/replication-scheduler) on loopback …\n',
  )
  const shs = randomBytes(32).toString('base64')
  const me = await bootSbot({
    name: 'me',
    shs,
    ...(pagePort === null ? {} : { pagePort: await freePort(pagePort) }),
  })
  const [alice, bob, carol, dave, frank, grace] = (await Promise.all(
    ['alice', 'bob', 'carol', 'dave', 'frank', 'grace'].map((name) => bootSbot({ name, shs })),
  )) as [Sbot, Sbot, Sbot, Sbot, Sbot, Sbot]
  const hanging = await bootHangingHost()
  const hangKey = generate().id.slice(1, -'.ed25519'.length)

  const figures: Figure[] = [
    { name: 'alice', note: 'up all the time', id: alice.id, sbot: alice },
    { name: 'bob', note: 'two routes, one of them dead', id: bob.id, sbot: bob },
    { name: 'carol', note: 'comes and goes', id: carol.id, sbot: carol },
    { name: 'dave', note: 'down at the address that is known', id: dave.id, sbot: dave },
    { name: 'erin', note: 'hangs in the handshake', id: `@${hangKey}.ed25519`, sbot: null },
    { name: 'frank', note: 'blocked', id: frank.id, sbot: frank },
    { name: 'grace', note: 'no route known: she dials us', id: grace.id, sbot: grace },
  ]
  const nameOf = (id: string): string => figures.find((figure) => figure.id === id)?.name ?? 'me'
  /** Somebody has given us his new address. */
  let hasDaveCome = false
  const friends = (): Sbot[] =>
    [me, alice, bob, figures[2]?.sbot, hasDaveCome ? dave : null, grace].filter((each): each is Sbot => Boolean(each))

  // Everybody follows everybody; frank only follows, and nobody follows him.
  const circle = [me, alice, bob, carol, dave, grace]
  for (const one of circle)
    for (const other of circle)
      if (one !== other) await one.publish({ type: 'contact', contact: other.id, following: true })
  await me.publish({ type: 'contact', contact: frank.id, blocking: true })
  for (const one of circle) for (let n = 1; n <= 5; n++) await one.publish({ type: 'post', text: `${one.name} ${n}` })

  const { manager } = me
  // As an app of today would, through sbot.conn; who is a friend and who is blocked comes from the social graph.
  for (const [address, name] of [
    [alice.address, 'alice'],
    [`net:127.0.0.1:${await freePort()}~shs:${bob.id.slice(1, -8)}`, 'bob'],
    [bob.address, 'bob'],
    [carol.address, 'carol'],
    [`net:127.0.0.1:${await freePort()}~shs:${dave.id.slice(1, -8)}`, 'dave'],
    [`net:127.0.0.1:${hanging.port}~shs:${hangKey}`, 'erin'],
    [frank.address, 'frank'],
  ] as const)
    me.conn.remember(address, { name })
  for (const other of [frank, grace, carol]) other.conn.remember(me.address)

  // Of grace no route is known, to keep her name with.
  me.page?.addNames((id) => [...figures, me].find((each) => each.id === id)?.name)

  // The block has just been published; ssb-friends hears of it when it is indexed.
  while (!manager.peer.get(frank.id)?.isBanned) await sleep(50)

  let hasRefused = false
  pull(
    manager.connections.changes(),
    pull.drain(
      (change: Manager.ConnectionChange) => {
        if (change.peer === dave.id && change.type === 'connected') hasDaveCome = true
        const where = change.address === null ? '' : ` ${change.address.split('~')[0]}`
        const why = change.reason === null ? '' : ` (${change.reason})`
        say(`${stamp()} ${change.type} ${nameOf(change.peer)}${where}${why}`)
      },
      () => {},
    ),
  )
  pull(
    frank.manager.connections.errors(),
    pull.drain(
      () => {
        if (!hasRefused) say(`${stamp()} frank, who is blocked, dialed us and was refused`)
        hasRefused = true
      },
      () => {},
    ),
  )

  await Promise.all([me, alice, bob, carol, frank, grace].map((each) => each.conn.start()))
  const page = await servePage(me)
  const commandLine = `npx sbot-connections --path ${me.path}`
  if (page) say(`live page: ${await page.url()} (opens once; then there is a new one)`)
  say(`command line: ${commandLine} why dave`)
  say(
    `dave has moved: his new address is ${dave.address}; add it, on the page or by: ${commandLine} add '${dave.address}'`,
  )

  const startedAt = Date.now()
  const endsAt = seconds === null ? Number.POSITIVE_INFINITY : startedAt + seconds * 1000

  let isOver = false
  let interrupt: () => void = () => {}
  const interrupted = new Promise<void>((resolve) => {
    interrupt = () => {
      isOver = true
      resolve()
    }
  })
  process.once('SIGINT', interrupt)
  process.once('SIGTERM', interrupt)

  /** No longer than until somebody wants an end. */
  const pause = (ms: number): Promise<unknown> => Promise.race([sleep(ms), interrupted])

  /** How many messages there are of each feed, as its owner counts them; carol keeps her count while she is away. */
  const published: Record<string, number> = {}
  const snapshot = async (): Promise<Row[]> => {
    for (const each of new Set([...friends(), dave]))
      published[each.id] = (await each.clock())[each.id] ?? published[each.id] ?? 0
    const mine = await me.clock()
    return figures.map((figure): Row => {
      const all = published[figure.id]
      return {
        name: figure.name,
        note: figure.note,
        peer: manager.peer.get(figure.id),
        explanation: manager.peer.explain(figure.id),
        messages: all === undefined ? null : { have: mine[figure.id] ?? 0, all },
      }
    })
  }

  let drawn: Screen = []
  const draw = async (): Promise<void> => {
    const seen = await snapshot()
    const { columns = 120, rows = 40 } = process.stdout
    const uptime = `${Math.round((Date.now() - startedAt) / 1000)} s`
    const lines = [
      `sbot-connection-manager · ${uptime} · Ctrl-C ends`,
      ...(page ? [`live page: ${await page.url()}`] : []),
      `command line: ${commandLine} why dave`,
      // A line with nothing else, as it is there to be copied.
      ...(hasDaveCome
        ? []
        : [`dave has moved. Add his new address, ${page ? 'on the page or ' : ''}by … add 'ADDRESS':`, dave.address]),
      '',
      ...render(seen, manager.connections.status(), Date.now(), Math.max(80, columns)).map((line) =>
        line.slice(0, columns),
      ),
      '',
      ...flow(
        figures.map(
          ({ name, note }) => `${name}: ${hasDaveCome && name === 'dave' ? 'has moved, and was found' : note}`,
        ),
        columns,
      ),
    ]
    const { text, screen } = repaint(lines, drawn, { columns, rows })
    process.stdout.write(text)
    drawn = screen
  }
  process.stdout.on('resize', () => {
    drawn = []
  })

  const publishing = async (): Promise<void> => {
    for (let n = 6; !isOver && Date.now() < endsAt - QUIET_MS; n++) {
      await pause(PUBLISH_EVERY_MS)
      const present = friends()
      const author = present[n % present.length]
      if (author && !isOver) await author.publish({ type: 'post', text: `${author.name} ${n}` }).catch(() => {})
    }
  }

  const comingAndGoing = async (): Promise<void> => {
    const figure = figures[2]
    if (!figure) return
    while (!isOver && Date.now() + 4_000 + 3_000 < endsAt - QUIET_MS / 2) {
      await pause(4_000)
      if (isOver || !figure.sbot) return
      const { path, port } = figure.sbot
      const leaving = figure.sbot
      published[leaving.id] = (await leaving.clock())[leaving.id] ?? 0
      figure.sbot = null
      await leaving.close()
      say(`${stamp()} carol has gone`)
      await pause(3_000)
      if (isOver) return
      figure.sbot = await bootSbot({ name: 'carol', shs, path, port })
      await figure.sbot.conn.start()
      say(`${stamp()} carol is back`)
      // What somebody said in the moment in which she left may have reached her and not her disk, and ssb-ebt believes that she
      // has it, until there is more.
      for (const each of friends()) await each.publish({ type: 'post', text: `${each.name}: carol is back` })
      if (seconds !== null) return
      await pause(12_000)
    }
  }

  const jobs = [publishing(), comingAndGoing()]
  while (Date.now() < endsAt) {
    if (isTerminal) await draw()
    else if (page?.isUsed()) say(`live page, once more: ${await page.url()}`)
    await pause(Math.min(EVERY_MS, endsAt - Date.now()))
    if (isOver) break
  }
  isOver = true
  await Promise.all(jobs)

  /** What has not reached whom yet. Nobody publishes any more. */
  const undelivered = async (): Promise<{ readonly missing: readonly string[]; readonly total: number }> => {
    const missing: string[] = []
    let total = 0
    for (const each of friends()) published[each.id] = (await each.clock())[each.id] ?? 0
    for (const reader of friends()) {
      const clock = await reader.clock()
      for (const author of circle.filter((each) => hasDaveCome || each !== dave)) {
        const all = published[author.id] ?? 0
        total += all
        const have = Math.min(all, clock[author.id] ?? 0)
        if (have < all) missing.push(`${reader.name} lacks ${all - have} of ${all} messages of ${author.name}`)
      }
    }
    return { missing, total }
  }

  // On a machine that is busy with other things a handshake may take seconds: what is on its way is waited for.
  const patientUntil = seconds === null ? 0 : Date.now() + PATIENCE_MS
  let { missing, total } = await undelivered()
  while ((missing.length > 0 || !hasRefused) && Date.now() < patientUntil) {
    await sleep(EVERY_MS)
    ;({ missing, total } = await undelivered())
  }
  const rows = await snapshot()
  const width = isTerminal ? Math.max(80, process.stdout.columns || 120) : 130
  process.stdout.write(`\n${render(rows, manager.connections.status(), Date.now(), width).join('\n')}\n\n`)
  const frankHas = Object.keys(await frank.clock()).filter((id) => id !== frank.id).length
  process.stdout.write(
    missing.length === 0
      ? `all messages reached every peer that could be reached: ${friends().length} peers, ${total} copies\n`
      : `${missing.join('\n')}\n`,
  )
  process.stdout.write(
    `frank, who is blocked, ${frankHas === 0 ? 'got nothing' : 'GOT SOMETHING'} and ${hasRefused ? 'was refused' : 'never called'}; ` +
      (hasDaveCome
        ? 'dave was reached at his new address; erin hangs: nobody could reach her\n'
        : 'dave is down at the address that is known and erin hangs: nobody could reach them\n'),
  )

  const { feeds } = me.replication.status()
  const withNames = (text: string): string =>
    figures.reduce((so, figure) => so.split(figure.id).join(figure.name), text.split(me.id).join('me'))
  process.stdout.write(
    `ssb-ebt was asked for ${feeds.requested} feeds and told of ${feeds.blocked} block: ` +
      `${[alice.id, frank.id].map((id) => withNames(me.replication.explain(id).text)).join(' ')}\n`,
  )

  await Promise.all([...new Set([...friends(), dave, frank])].map((each) => each.close()))
  await hanging.close()
  for (const each of [me, alice, bob, carol, dave, frank, grace]) removeFolder(each.path)
  return missing.length === 0 && frankHas === 0 ? 0 : 1
}

main().then(
  // Sockets of dials that hang would keep the process for minutes.
  (code) => process.exit(code),
  (error) => {
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`)
    process.exit(1)
  },
)
