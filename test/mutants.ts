/*
 * `npm run test:mutants`: plants deliberate faults in copies of src/core and src/replication, one at a time, and runs the tests
 * of that part against each copy. Prints which test noticed. Exits non-zero if a fault survives, or if the text that it replaces is not in the source
 * exactly once, so that a fault cannot silently stop being planted.
 */
import { type ChildProcess, spawn } from 'child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'fs'
import { tmpdir } from 'os'
import { join } from 'path'

interface Mutant {
  /** The rule that it breaks. */
  readonly rule: string
  readonly file: string
  readonly from: string
  readonly to: string
}

export const MUTANTS: readonly Mutant[] = [
  {
    rule: 'order: whose turn comes first is first',
    file: 'core/rank.ts',
    from: 'return a.turnAt - b.turnAt',
    to: 'return b.turnAt - a.turnAt',
  },
  {
    rule: 'order: every second dial goes to routes that have worked',
    file: 'core/rank.ts',
    from: 'dialCount % 2 === 1',
    to: 'dialCount % 2 === 3',
  },
  {
    rule: 'order: strangers after those of whom somebody said that they are LOW',
    file: 'core/rank.ts',
    from: 'isStranger(peer) ? STRANGER_TIER : tierOf(peer.priority)',
    to: 'tierOf(peer.priority)',
  },
  {
    rule: 'merit: sums fade',
    file: 'core/merit.ts',
    from: 'Math.exp(-passedMs / FADE_MS)',
    to: '1',
  },
  {
    rule: 'merit: who brings more has his turn sooner',
    file: 'core/merit.ts',
    from: 'Math.cbrt(1 / rateOf(peer.merit))',
    to: 'Math.cbrt(rateOf(peer.merit))',
  },
  {
    rule: 'backoff: doubles with each failure',
    file: 'core/backoff.ts',
    from: 'options.backoffBaseMs * 2 ** exponent',
    to: 'options.backoffBaseMs * 1 ** exponent',
  },
  {
    rule: 'strangers: one dial per host and window',
    file: 'core/refusal.ts',
    from: 'const until = dialedAt + state.options.hostWindowMs',
    to: 'const until = dialedAt',
  },
  {
    rule: 'blame: what a layer explains does not count against the route',
    file: 'core/blame.ts',
    from: 'errorCount: route.errorCount + 1,',
    to: 'errorCount: route.errorCount + 2,',
  },
  {
    rule: 'blame: a layer that comes back refunds its suspects',
    file: 'core/blame.ts',
    from: '  refund(tx, layer, true)\n  liftDeferrals(tx, layer)',
    to: '  liftDeferrals(tx, layer)',
  },
  {
    rule: 'slots: what is closing still holds its slot',
    file: 'core/refusal.ts',
    from: 'slotsMax(state.options, routeClass) - connected - closing',
    to: 'slotsMax(state.options, routeClass) - connected',
  },
  {
    rule: 'slots: a dial that does not answer soon is no longer counted on',
    file: 'core/refusal.ts',
    from: 'Math.ceil((deadlineAt - startedAt) / (isHurried ? HURRIED_PART : HOPE_PART))',
    to: 'deadlineAt - startedAt',
  },
  {
    rule: 'slots: no more dials in flight than maxDialing',
    file: 'core/plan.ts',
    from: 'const lanes = maxDialing - begun - losers.length',
    to: 'const lanes = 2 * maxDialing - begun - losers.length',
  },
  {
    rule: 'racing: local routes start 30 ms after the one before',
    file: 'core/table.ts',
    from: 'route?.isLocal ? options.staggerLocalMs : options.staggerMs',
    to: 'route?.isLocal ? options.staggerMs : options.staggerMs',
  },
  {
    rule: 'bans: a banned peer is hung up on at once',
    file: 'core/reducer.ts',
    from: "closeReason: 'banned' }",
    to: 'closeReason: null }',
  },
  {
    rule: 'rotation: not one that is transferring',
    file: 'core/visits.ts',
    from: 'Math.max(dwellOver, connection.lastTransferAt + transferGraceMs)',
    to: 'dwellOver',
  },
  {
    rule: 'rotation: one visit at a time',
    file: 'core/plan.ts',
    from: 'Math.max(ripeAt, hopeEndsAt(state, name, now), paceEndsAt(state, name, lanes))',
    to: 'Math.max(ripeAt, paceEndsAt(state, name, lanes))',
  },
  {
    rule: 'rotation: who brings least makes room',
    file: 'core/visits.ts',
    from: 'rateAt(a.peer.merit, now) - rateAt(b.peer.merit, now) ||',
    to: '0 ||',
  },
  {
    rule: 'rotation: for a visitor who is there somebody makes room, and not he himself',
    file: 'core/plan.ts',
    from: 'if (surplus <= 1 && max > 0 && isVisit && ripe.length > 0) {',
    to: 'if (surplus < 0 && max > 0 && isVisit && ripe.length > 0) {',
  },
  {
    rule: 'rotation: a visit only once in a while',
    file: 'core/reducer.ts',
    from: 'nextRotationAt: isVisit && !isNewcomer ? tx.at + Math.round(spanMs * pace) : nextRotationAt,',
    to: 'nextRotationAt,',
  },
  {
    rule: 'rotation: feelers seldom',
    file: 'core/reducer.ts',
    from: 'isSuccess ? feelerPauseMs / 4 : feelerPauseMs * growth',
    to: 'feelerPauseMs',
  },
  {
    rule: 'indexes: a route that is removed leaves them',
    file: 'core/table.ts',
    from: '    draft.now = undefined\n    this.routes.touch(draft)\n    this.noteChange(route.peer)',
    to: '    draft.now = undefined\n    this.noteChange(route.peer)',
  },
  {
    rule: 'forgetting: only after 30 days',
    file: 'core/reducer.ts',
    from: '>= tx.options.forgetAfterMs',
    to: '>= 0',
  },
  {
    rule: 'signals: at most once per 10 s and route',
    file: 'core/reducer.ts',
    from: 'tx.at - route.lastSignalAt < tx.options.signalWindowMs',
    to: 'tx.at < route.lastSignalAt',
  },
  {
    rule: 'wake-up: at the end of the first pause',
    file: 'core/plan.ts',
    from: '      if (next) wake(draft, next.dueAt)\n      break',
    to: '      if (next) wake(draft, next.dueAt + 1)\n      break',
  },
  {
    rule: 'replication: what was reachable only through an unfollowed one is dropped',
    file: 'replication/graph.ts',
    from: 'if (isLossy) reread()',
    to: 'if (isLossy) void reread',
  },
  {
    rule: 'replication: the graph at the end of an indexing pass counts',
    file: 'replication/plugin.ts',
    from: 'isStarted && !isClosed && !graph.isPaused()',
    to: 'isStarted && !isClosed',
  },
  {
    rule: 'replication: nothing is told twice',
    file: 'replication/requests.ts',
    from: 'if (wish === null || wish === before) return',
    to: 'if (wish === null) return',
  },
  {
    rule: 'replication: a request ends before the block begins',
    file: 'replication/requests.ts',
    from: "      ebt.request(feed, false)\n      ebt.block(self, feed, wish === 'block')",
    to: "      ebt.block(self, feed, wish === 'block')\n      ebt.request(feed, false)",
  },
  {
    rule: 'replication: a trickle of changes delays requests for a second',
    file: 'replication/plugin.ts',
    from: 'Math.min(settings.debouncePeriod - quietMs, ceilingMs - (now - waitingSince))',
    to: 'settings.debouncePeriod - quietMs',
  },
  {
    rule: 'replication: blocked by a device of ours is blocked',
    file: 'replication/core/wanted.ts',
    from: 'return Math.round(hops) === -1 ?',
    to: 'return hops === -1 ?',
  },
  {
    rule: 'replication: a tree of which nothing has arrived replaces nothing',
    file: 'replication/core/wanted.ts',
    from: 'root !== null && tree.hasArrived(root)',
    to: 'root !== null',
  },
  {
    rule: 'replication: a new key of a group concerns all trees',
    file: 'replication/core/wanted.ts',
    from: "    // Any template may name the group's secret.\n    touchTrees()",
    to: '',
  },
  {
    rule: 'replication: a tombstone reaches what is below it',
    file: 'replication/core/wanted.ts',
    from: 'branch?.find(({ isTombstoned }) => isTombstoned)',
    to: 'branch?.slice(-1).find(({ isTombstoned }) => isTombstoned)',
  },
  {
    rule: 'replication: the closest feeds go first',
    file: 'replication/core/lanes.ts',
    from: 'Math.min(...byOrder.keys())',
    to: 'Math.max(...byOrder.keys())',
  },
  {
    rule: 'replication: new feeds wait for those on their way',
    file: 'replication/core/pacing.ts',
    from: 'if (asked.size >= atOnce + extra) return undefined',
    to: '',
  },
  {
    rule: 'replication: a main feed is asked of three neighbours at most',
    file: 'replication/core/finder.ts',
    from: 'answersMax: 3,',
    to: 'answersMax: 4,',
  },
]

const ROOT = join(__dirname, '..')
/** One fault may make a loop endless; that counts as noticed. */
const FILE_LIMIT_MS = 90_000

/** How often the text that a fault replaces is in the source; it has to be once. */
export function placesOf({ from }: Mutant, source: string): number {
  return source.split(from).length - 1
}

function plant(mutant: Mutant | null): string {
  const folder = mkdtempSync(join(tmpdir(), 'connection-manager-mutant-'))
  for (const name of ['src', 'test', 'docs', 'tsconfig.json', 'package.json'])
    cpSync(join(ROOT, name), join(folder, name), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  if (mutant) {
    const path = join(folder, 'src', mutant.file)
    const source = readFileSync(path, 'utf8')
    const places = placesOf(mutant, source)
    if (places !== 1) throw new Error(`"${mutant.rule}": its text is in ${mutant.file} ${places} times, not once`)
    writeFileSync(
      path,
      source.replace(mutant.from, () => mutant.to),
    )
  }
  return folder
}

type Part = 'core' | 'replication'

const partOf = (mutant: Mutant): Part => (mutant.file.startsWith('core/') ? 'core' : 'replication')

/** Those that need no real stack. */
const REPLICATION_TESTS = ['contract', 'edges', 'finder', 'graph', 'order', 'pacing', 'settings', 'wanted']

/** The files that say most come first; the properties take longest. */
function testFiles(part: Part): string[] {
  if (part === 'replication') return REPLICATION_TESTS.map((name) => `test/replication/${name}.test.ts`)
  const files = readdirSync(join(ROOT, 'test/core')).filter((file) => file.endsWith('.test.ts'))
  const isSlow = (file: string): boolean => file.includes('property')
  const isRelevant = (file: string): boolean => !/^(address|errors|snapshot)\./.test(file)
  return files
    .filter(isRelevant)
    .sort((a, b) => Number(isSlow(a)) - Number(isSlow(b)) || (a < b ? -1 : 1))
    .map((file) => `test/core/${file}`)
}

/** The first line that says what went wrong, or null if the file passed. */
function runFile(folder: string, file: string, children: Set<ChildProcess>): Promise<string | null> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--require', 'tsx/cjs', file], {
      cwd: folder,
      env: { ...process.env, SEED: process.env.SEED ?? '1' },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    children.add(child)
    let output = ''
    let title = ''
    let failed: string | null = null
    const finish = (found: string | null): void => {
      clearTimeout(timer)
      children.delete(child)
      child.kill('SIGKILL')
      resolve(found)
    }
    const timer = setTimeout(() => finish('did not end in time'), FILE_LIMIT_MS)
    child.stdout?.setEncoding('utf8')
    child.stdout?.on('data', (text: string) => {
      output += text
      const lines = output.split('\n')
      output = lines.pop() ?? ''
      for (const line of lines) {
        if (line.startsWith('# ')) title = line.slice(2)
        if (failed === null && line.startsWith('not ok')) {
          failed = title
          finish(title)
        }
      }
    })
    child.on('close', (code) => finish(failed ?? (code === 0 ? null : `exit code ${code} in "${title}"`)))
  })
}

async function judge(mutant: Mutant | null, part: Part): Promise<string | null> {
  const folder = plant(mutant)
  const children = new Set<ChildProcess>()
  try {
    const queue = testFiles(part)
    let noticed: string | null = null
    const work = async (): Promise<void> => {
      for (let file = queue.shift(); file !== undefined && noticed === null; file = queue.shift()) {
        const found = await runFile(folder, file, children)
        if (found !== null && noticed === null) noticed = `${file}: ${found}`
        if (noticed !== null) for (const child of children) child.kill('SIGKILL')
      }
    }
    await Promise.all([work(), work()])
    return noticed
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function main(): Promise<number> {
  const only = process.argv[2]
  const wanted = MUTANTS.filter((mutant) => only === undefined || mutant.rule.includes(only))
  for (const part of new Set(wanted.map(partOf))) {
    const broken = await judge(null, part)
    if (broken === null) continue
    process.stderr.write(`the tests fail without any fault: ${broken}\n`)
    return 1
  }
  let caught = 0
  for (const mutant of wanted) {
    const noticed = await judge(mutant, partOf(mutant))
    if (noticed !== null) caught++
    process.stdout.write(`${noticed === null ? 'SURVIVED' : 'caught  '} ${mutant.rule}\n`)
    if (noticed !== null) process.stdout.write(`         by ${noticed.slice(0, 160)}\n`)
  }
  process.stdout.write(`${caught} of ${wanted.length} faults caught\n`)
  return caught === wanted.length && wanted.length > 0 ? 0 : 1
}

if (require.main === module)
  main().then(
    (code) => process.exit(code),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
      process.exit(1)
    },
  )
