/**
 * The stream of events: opens it, opens it again when it breaks, and stops all work while nobody looks at the page. What
 * comes goes into the store at once, and to the screen at most four times a second.
 */
import type { Events } from '../protocol'
import { eventsUrl } from './api'
import { EVENT_NAMES, emptyStore, receive, type Store } from './store'

export type Phase =
  | { readonly name: 'connecting' }
  | { readonly name: 'live' }
  /** `retryAt` is by the clock of the browser. */
  | { readonly name: 'lost'; readonly since: number; readonly retryAt: number; readonly isOver: boolean }

export interface Live {
  readonly store: Store
  readonly phase: Phase
  /** By the clock of the sbot, epoch ms. */
  now(): number
  /** Draws soon; `at once` for what the reader did. */
  redraw(): void
  retry(): void
}

export interface LiveParts {
  readonly draw: () => void
  readonly onEvent: (name: keyof Events) => void
  readonly onVisible: (isVisible: boolean) => void
}

const DRAW_EVERY_MS = 250
/** Ages grow without any event. */
const TICK_MS = 1_000
const RETRY_MS = [1_000, 2_000, 4_000, 8_000, 15_000]
/** A page in the background gives up its stream after this; then it costs the sbot nothing. */
const HIDDEN_MAX_MS = 60_000

export function startLive(parts: LiveParts): Live {
  let source: EventSource | null = null
  let offset = 0
  let failures = 0
  let lastDrawAt = 0
  let drawTimer: ReturnType<typeof setTimeout> | null = null
  let retryTimer: ReturnType<typeof setTimeout> | null = null
  let hiddenTimer: ReturnType<typeof setTimeout> | null = null
  let ticker: ReturnType<typeof setInterval> | null = null

  const live = {
    store: emptyStore(),
    phase: { name: 'connecting' } as Phase,
    now: () => Date.now() + offset,
    redraw: () => {
      if (drawTimer !== null || document.hidden) return
      const wait = Math.max(0, lastDrawAt + DRAW_EVERY_MS - performance.now())
      drawTimer = setTimeout(() => {
        drawTimer = null
        if (document.hidden) return
        requestAnimationFrame(() => {
          lastDrawAt = performance.now()
          parts.draw()
        })
      }, wait)
    },
    retry: () => open(),
  }

  const close = (): void => {
    source?.close()
    source = null
    if (retryTimer !== null) clearTimeout(retryTimer)
    retryTimer = null
  }

  const lose = (isOver: boolean): void => {
    close()
    const wait = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] as number
    failures++
    const since = live.phase.name === 'lost' ? live.phase.since : Date.now()
    live.phase = { name: 'lost', since, retryAt: Date.now() + wait, isOver }
    live.store.incoming = null
    if (!document.hidden) retryTimer = setTimeout(open, wait)
    live.redraw()
  }

  /** An EventSource does not say why it could not be opened: whether the session is over, a request of our own tells. */
  const lookWhy = async (): Promise<void> => {
    const abort = new AbortController()
    const timer = setTimeout(() => abort.abort(), 3_000)
    let isOver = false
    try {
      const response = await fetch(eventsUrl(), { signal: abort.signal, cache: 'no-store' })
      isOver = response.status === 401 || response.status === 403
    } catch {
      // Not there at all.
    }
    clearTimeout(timer)
    abort.abort()
    if (isOver && live.phase.name === 'lost') {
      live.phase = { ...live.phase, isOver }
      live.redraw()
    }
  }

  function open(): void {
    close()
    const opened = new EventSource(eventsUrl())
    source = opened
    let hasBegun = false
    for (const name of EVENT_NAMES)
      opened.addEventListener(name, (event) => {
        if (opened !== source) return
        let data: Events[typeof name]
        try {
          data = JSON.parse((event as MessageEvent<string>).data) as Events[typeof name]
        } catch {
          return
        }
        if (name === 'bye') return lose(false)
        receive(live.store, name, data)
        if (name === 'hello') {
          hasBegun = true
          offset = (data as Events['hello']).now - Date.now()
        }
        if (name === 'synced') {
          failures = 0
          live.phase = { name: 'live' }
        }
        parts.onEvent(name)
        // Until all of it is there nothing of a new stream is shown.
        if (live.store.incoming === null) live.redraw()
      })
    opened.onerror = () => {
      if (opened !== source) return
      lose(false)
      if (!hasBegun) void lookWhy()
    }
  }

  const tick = (isOn: boolean): void => {
    if (ticker !== null) clearInterval(ticker)
    ticker = isOn ? setInterval(live.redraw, TICK_MS) : null
  }

  document.addEventListener('visibilitychange', () => {
    const isVisible = !document.hidden
    parts.onVisible(isVisible)
    tick(isVisible)
    if (hiddenTimer !== null) clearTimeout(hiddenTimer)
    hiddenTimer = null
    if (isVisible) {
      if (source === null && retryTimer === null) open()
      live.redraw()
    } else {
      if (retryTimer !== null) close()
      hiddenTimer = setTimeout(close, HIDDEN_MAX_MS)
    }
  })

  if (!document.hidden) {
    tick(true)
    open()
  }
  return live
}
