/**
 * `watch`: the connections of a running sbot on the whole screen, live. Feeds the model with what the sbot tells, draws it, and
 * carries out what the keys ask for. What changes fast is gathered: four frames a second at most, one status a second at most.
 */
import type { Finding } from '../../core/diagnosis'
import { errorInfo } from '../../core/errors'
import { isPlainObject } from '../../core/options'
import type { Explanation, PeerRemoved, PeerView } from '../../core/selectors'
import type { FeedId } from '../../core/types'
import type { ConnectionChange } from '../../manager'
import type { Source } from '../../shell/live'
import { type Cli, CliError, type Register, type RemoteSbot } from '../cli'
import { goneError } from '../sbot'
import { EXIT } from '../settings'
import { type Act, type Effect, initialModel, type Model, type WatchEvent, wantedExplanations } from '../watch/model'
import { findTerminal, openScreen, type Terminal } from '../watch/screen'
import { update } from '../watch/update'
import { draw } from '../watch/view'

const FRAME_MS = 250
const TICK_MS = 1_000
const STATUS_MS = 1_000
/** Slots and modes that somebody else sets tell nobody. */
const STATUS_IDLE_MS = 15_000
/** Of the lines that come between two frames; the screen has room for a few. */
const CHANGES_MAX = 50
const NAMES_MAX = 20_000

export const registerWatch: Register = (program, run) => {
  program
    .command('watch')
    .description('everything on the whole screen, live; keys to connect, hang up, ban, … (? shows them)')
    .action(run((cli) => watch(cli)))
}

/** Resolves with the exit code when the user quits; throws CliError when the sbot has gone. */
async function watch(cli: Cli): Promise<number> {
  if (cli.isJson)
    throw new CliError(
      'ERR_USAGE',
      'watch draws on a terminal: it has no --json',
      'See sbot-connections peers --live --json.',
      EXIT.usage,
    )
  const terminal = findTerminal()
  return cli.withSbot((sbot) => show(cli, sbot, terminal))
}

async function show(cli: Cli, sbot: RemoteSbot, terminal: Terminal): Promise<number> {
  const { clock } = cli
  const { manager } = sbot
  // Before the screen is taken: what is missing is said on the normal one.
  const status = await manager.connections.status()
  let end: (error: unknown) => void = () => {}
  const ended = new Promise<unknown>((resolve) => {
    end = resolve
  })
  /** What an event handler throws must not leave the terminal behind. */
  const guarded = (fn: () => void): void => {
    try {
      fn()
    } catch (error) {
      end(error)
    }
  }

  let isOver = false
  let isStale = false
  const peers = new Map<FeedId, PeerView | PeerRemoved>()
  let changes: ConnectionChange[] = []
  let isSynced = false
  let frameTimer: unknown = null
  let drawnAt = 0
  let statusAt = clock.now()
  let isAsking = false

  const screen = openScreen(
    terminal,
    { onKey: (key) => guarded(() => feed({ type: 'key', key }, true)), onResize: () => guarded(resize) },
    cli.out.hasColor,
  )
  let model: Model = initialModel({
    selfId: sbot.id,
    now: clock.now(),
    columns: screen.columns(),
    lines: screen.lines(),
  })

  const frame = (): void => {
    clock.clearTimeout(frameTimer)
    frameTimer = null
    if (isOver) return
    if (peers.size > 0) {
      const changed = [...peers.values()]
      peers.clear()
      model = update(model, { type: 'peers', changed }).model
    }
    if (isSynced && !model.isSynced) model = update(model, { type: 'synced' }).model
    if (changes.length > 0) {
      model = update(model, { type: 'changes', changes }).model
      changes = []
    }
    screen.draw(draw(model))
    drawnAt = clock.now()
    askForMissing()
  }
  /** Soon: what comes until then is in the same frame. */
  const invalidate = (): void => {
    if (isOver || frameTimer !== null) return
    const waitMs = Math.min(FRAME_MS, Math.max(0, drawnAt + FRAME_MS - clock.now()))
    frameTimer = clock.setTimeout(() => guarded(frame), waitMs)
  }
  const feed = (event: WatchEvent, isUrgent = false): void => {
    if (isOver) return
    const step = update(model, event)
    model = step.model
    for (const effect of step.effects) carryOut(effect)
    if (isUrgent) frame()
    else invalidate()
  }
  const resize = (): void => feed({ type: 'resized', columns: screen.columns(), lines: screen.lines() }, true)

  const carryOut = (effect: Effect): void => {
    if (effect.type === 'quit') end(null)
    else if (effect.type === 'redraw') screen.forget()
    else
      call(manager, effect).then(
        (result) => {
          isStale = true
          feed({ type: 'answered', act: effect, result })
        },
        (error) => feed({ type: 'failed', act: effect, message: messageOf(error) }),
      )
  }

  // ---- what the sbot tells ----

  const read = <T>(source: Source<T>, use: (item: T) => void): void => {
    const next = (): void => {
      let isSync = true
      let isAgain = true
      // A loop where the source answers at once: a call for each item would end in too deep a stack.
      while (isAgain) {
        isAgain = false
        isSync = true
        source(isOver ? true : null, (reason, item) => {
          if (reason) return isOver ? undefined : end(reason === true ? goneError() : reason)
          guarded(() => use(item as T))
          if (isSync) isAgain = true
          else next()
        })
        isSync = false
      }
    }
    next()
  }
  read(manager.peers({ old: true, live: true }) as Source<PeerView | PeerRemoved | { readonly sync: true }>, (item) => {
    if ('sync' in item) {
      isSynced = true
    } else {
      peers.set(item.id, item)
      isStale = true
    }
    // While the table comes, there is no point in sorting it again and again.
    if (isSynced || peers.size === 1) invalidate()
  })
  read(manager.connections.changes() as Source<ConnectionChange>, (change) => {
    changes.push(change)
    if (changes.length > CHANGES_MAX) changes.shift()
    isStale = true
    invalidate()
  })
  askForNames(sbot).then(
    (names) => feed({ type: 'named', names }),
    () => {},
  )

  /** What it answers is shown when it comes; what it refuses is left out. */
  const explain = async (ids: readonly FeedId[]): Promise<void> => {
    const explanations = await Promise.all(
      ids.map((id) =>
        manager.peer.explain(id).then(
          (explanation) => [id, explanation as Explanation] as const,
          () => null,
        ),
      ),
    )
    feed({
      type: 'explained',
      explanations: explanations.filter((each): each is NonNullable<typeof each> => each !== null),
    })
  }
  const refresh = async (): Promise<void> => {
    if (isAsking || isOver) return
    isAsking = true
    isStale = false
    statusAt = clock.now()
    try {
      feed({ type: 'status', status: (await manager.connections.status()) as Model['status'] & object })
      const findings = await diagnose(sbot)
      if (findings) feed({ type: 'findings', findings })
      await explain(wantedExplanations(model))
    } catch (error) {
      if (error instanceof CliError && error.code === 'ERR_SBOT_GONE') end(error)
      // A sbot that is busy answers the next time.
    } finally {
      isAsking = false
    }
  }
  const asked = new Set<FeedId>()
  /** Rows that have come onto the screen are not kept waiting for the next second. */
  const askForMissing = (): void => {
    const missing = wantedExplanations(model).filter((id) => !model.explanations.has(id) && !asked.has(id))
    if (missing.length === 0) return
    for (const id of missing) asked.add(id)
    explain(missing).finally(() => {
      for (const id of missing) asked.delete(id)
    })
  }
  const tick = (): void => {
    const now = clock.now()
    feed({ type: 'tick', now })
    const isDue = wantedExplanations(model).some((id) => {
      const until = model.explanations.get(id)?.until ?? null
      return until !== null && until <= now
    })
    if (now - statusAt >= (isStale || isDue ? STATUS_MS : STATUS_IDLE_MS)) void refresh()
    schedule()
  }
  let tickTimer: unknown = null
  const schedule = (): void => {
    tickTimer = clock.setTimeout(() => guarded(tick), TICK_MS)
  }

  feed({ type: 'status', status: status as Model['status'] & object }, true)
  void refresh()
  schedule()

  void cli.interrupted.then(() => end(null))
  const onUncaught = (error: unknown): void => end(error)
  process.on('uncaughtException', onUncaught)
  try {
    const error = await ended
    if (error !== null) throw error
    return 0
  } finally {
    isOver = true
    clock.clearTimeout(frameTimer)
    clock.clearTimeout(tickTimer)
    screen.close()
    process.removeListener('uncaughtException', onUncaught)
  }
}

function messageOf(error: unknown): string {
  const { message } = errorInfo(error)
  return error instanceof CliError && error.remedy !== null ? `${message} (${error.remedy})` : message
}

function call(manager: RemoteSbot['manager'], { call: name, args }: Act): Promise<unknown> {
  switch (name) {
    case 'peer.connect':
      return manager.peer.connect(...args)
    case 'peer.disconnect':
      return manager.peer.disconnect(...args)
    case 'peer.setPriority':
      return manager.peer.setPriority(...args)
    case 'peer.setLongTerm':
      return manager.peer.setLongTerm(...args)
    case 'peer.addRoute':
      return manager.peer.addRoute(...args)
    case 'connections.start':
      return manager.connections.start()
    case 'connections.stop':
      return manager.connections.stop()
  }
}

/** What is wrong; null from a sbot of a version that does not look. */
async function diagnose(sbot: RemoteSbot): Promise<readonly Finding[] | null> {
  if (!sbot.has('connections.diagnose')) return null
  return (await sbot.manager.connections.diagnose()) as readonly Finding[]
}

/** What the modules of the sbot call peers: it is kept beside their addresses. */
async function askForNames({ rpc }: RemoteSbot): Promise<(readonly [FeedId, string])[]> {
  const entries: unknown = await rpc.conn?.dbPeers?.()
  if (!Array.isArray(entries)) return []
  return entries.slice(0, NAMES_MAX).flatMap((entry) => {
    const data: unknown = Array.isArray(entry) ? entry[1] : null
    if (!isPlainObject(data)) return []
    const { key, name } = data
    return typeof key === 'string' && typeof name === 'string' ? [[key, name] as const] : []
  })
}
