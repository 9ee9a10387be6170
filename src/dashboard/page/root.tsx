/** The page as a whole: its parts, and what they share. */
import { useEffect, useReducer, useRef, useState } from 'preact/hooks'

import type { FeedId } from '../../core/types'
import type { Deed } from './actions'
import { act } from './api'
import { type App, AppContext } from './app'
import { Details } from './details'
import { ConfirmDialog, type Notice, Notices, type Question } from './dialogs'
import type { Explainer } from './explainer'
import { Header, LostBanner } from './header'
import type { Live } from './live'
import { PeerMap } from './map'
import { Now } from './now'
import { Plots } from './plots'
import { Replication } from './replication'
import { Routes } from './routes'
import { Slots } from './slots'
import type { Model } from './store'
import { applyTheme, onSystemTheme, storedTheme, type Theme } from './theme'
import { Timeline } from './timeline'
import { type Span, spanFor } from './timeline-layout'

const NOTICE_MS = 8_000
/** A dial takes a moment: somebody who clicked must see that something goes on. */
const WORKING_AFTER_MS = 400
const NOTICES_MAX = 5

export function Root({
  live,
  explainer,
  onReady,
}: {
  live: Live
  explainer: Explainer
  onReady: (draw: () => void) => void
}) {
  const [, draw] = useReducer((n: number) => n + 1, 0)
  const [selected, setSelected] = useState<FeedId | null>(null)
  const [theme, setTheme] = useState<Theme>(storedTheme)
  const [colours, changeColours] = useReducer((n: number) => n + 1, 0)
  const [question, setQuestion] = useState<Question | null>(null)
  const [notices, setNotices] = useState<readonly Notice[]>([])
  const [chosenSpan, setSpan] = useState<Span | null>(null)
  const [addressWanted, wantAddress] = useReducer((n: number) => n + 1, 0)
  const returnTo = useRef<Element | null>(null)
  const nextNotice = useRef(1)

  useEffect(() => {
    onReady(() => draw(undefined))
    return onSystemTheme(() => changeColours(undefined))
  }, [])

  const model = live.store.current
  // What is out of sight when a page opens, or a whole new table has come, follows in a task of its own: of 10 000 routes
  // neither then takes long enough to be felt.
  const [below, setBelow] = useState<Model | null>(null)
  useEffect(() => {
    const timer = setTimeout(() => setBelow(model))
    return () => clearTimeout(timer)
  }, [model])

  const connected =
    model.status === null
      ? 0
      : [...model.peers.values()].filter((peer) => peer.connection.status === 'connected').length
  useEffect(() => {
    document.title = live.phase.name === 'lost' ? 'lost · sbot connections' : `(${connected}) sbot connections`
  }, [connected, live.phase.name])

  const dismiss = (id: number): void => setNotices((all) => all.filter((notice) => notice.id !== id))
  const tell = (kind: Notice['kind'], text: string): number => {
    const id = nextNotice.current++
    setNotices((all) => [...all.slice(1 - NOTICES_MAX), { id, kind, text }])
    // An error stays until it is read.
    if (kind === 'done') setTimeout(() => dismiss(id), NOTICE_MS)
    return id
  }

  const confirm = (deed: Deed): Promise<boolean> =>
    new Promise((resolve) => {
      if (deed.confirmation === null) return resolve(true)
      setQuestion({
        confirmation: deed.confirmation,
        answer: (isConfirmed) => {
          setQuestion(null)
          resolve(isConfirmed)
        },
      })
    })

  const app: App = {
    live,
    model,
    now: live.now(),
    explainer,
    selected,
    addressWanted,
    select: (id, part) => {
      if (id !== null && selected === null) returnTo.current = document.activeElement
      setSelected(id)
      if (part === 'address') wantAddress(undefined)
      if (id === null && returnTo.current instanceof HTMLElement) returnTo.current.focus({ preventScroll: true })
      if (id === null && returnTo.current instanceof SVGElement) returnTo.current.focus({ preventScroll: true })
    },
    theme,
    setTheme: (next) => {
      applyTheme(next)
      setTheme(next)
      changeColours(undefined)
    },
    colours,
    perform: async (deed) => {
      if (!(await confirm(deed))) return false
      let working: number | null = null
      const timer = setTimeout(() => {
        working = tell('working', 'Working on it …')
      }, WORKING_AFTER_MS)
      const answer = await act(deed.act)
      clearTimeout(timer)
      if (working !== null) dismiss(working)
      if (answer.ok) tell('done', (answer.result === false ? deed.alreadyDone : undefined) ?? deed.done)
      else tell('failed', `${answer.error.message} (${answer.error.code})`)
      explainer.invalidate()
      return answer.ok
    },
  }

  const { hello } = model
  const span = chosenSpan ?? spanFor(hello === null ? 0 : app.now - hello.historySince)
  return (
    <AppContext.Provider value={app}>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <Header />
      <div role="status" aria-live="assertive">
        <LostBanner />
      </div>
      <div class={`page ${selected === null ? '' : 'has-details'} ${live.phase.name === 'lost' ? 'is-lost' : ''}`}>
        <main id="main" tabIndex={-1}>
          <Now />
          <div class="two">
            <PeerMap />
            <Slots />
          </div>
          {below !== null && (
            <AppContext.Provider value={below === model ? app : { ...app, model: below }}>
              <Timeline span={span} onSpan={setSpan} />
              <Plots span={span} />
              <Replication />
              <Routes />
            </AppContext.Provider>
          )}
          <footer class="faint">
            sbot-connection-manager {model.hello?.version ?? ''} · served by your own sbot, nothing is loaded from
            elsewhere
          </footer>
        </main>
        <Details />
      </div>
      <ConfirmDialog question={question} />
      <Notices notices={notices} dismiss={dismiss} />
    </AppContext.Provider>
  )
}
