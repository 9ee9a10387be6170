/** The bar at the top: whose sbot this is, whether what is shown is live, where to go. */
import { useApp } from './app'
import { count, duration, shortId } from './format'
import { THEMES, type Theme } from './theme'

const PLACES = [
  ['peers', 'Peers'],
  ['slots', 'Slots'],
  ['timeline', 'Timeline'],
  ['dials', 'Dials'],
  ['replication', 'Replication'],
  ['routes', 'Routes'],
] as const

const THEME_WORDS: { readonly [theme in Theme]: string } = { auto: 'auto', light: 'light', dark: 'dark' }

export function Header() {
  const app = useApp()
  const { hello } = app.model
  const nextTheme = THEMES[(THEMES.indexOf(app.theme) + 1) % THEMES.length] as Theme
  return (
    <header class="top">
      <div class="top-row">
        <svg class="logo" width="22" height="22" viewBox="-12 -12 24 24" aria-hidden="true">
          <circle r="10.5" class="logo-ring" />
          <path d="M0 0L6.5 -5M0 0L-7 -3M0 0L1 8" class="logo-line" />
          <circle r="3" class="logo-dot" />
          <circle cx="6.5" cy="-5" r="2" class="logo-dot" />
          <circle cx="-7" cy="-3" r="2" class="logo-dot" />
          <circle cx="1" cy="8" r="2" class="logo-dot" />
        </svg>
        <h1>sbot connections</h1>
        {hello !== null && (
          <span class="own-id mono" title={hello.selfId}>
            {shortId(hello.selfId)}
          </span>
        )}
        <nav aria-label="Parts of this page">
          {PLACES.map(([id, text]) =>
            id === 'replication' && hello?.has.replication !== true && hello?.has.friends !== true ? null : (
              <a key={id} href={`#${id}`}>
                {text}
              </a>
            ),
          )}
        </nav>
        <LiveBadge />
        <button
          type="button"
          class="quiet theme"
          onClick={() => app.setTheme(nextTheme)}
          aria-label={`Colours: ${THEME_WORDS[app.theme]}. Change to ${THEME_WORDS[nextTheme]}`}
        >
          <svg width="14" height="14" viewBox="-8 -8 16 16" aria-hidden="true">
            <circle r="6.5" class="lined" />
            <path d="M0 -6.5A6.5 6.5 0 0 1 0 6.5Z" class="filled" />
          </svg>
          <span class="theme-word">{THEME_WORDS[app.theme]}</span>
        </button>
      </div>
    </header>
  )
}

function LiveBadge() {
  const { live } = useApp()
  const { name } = live.phase
  const words = name === 'live' ? 'Live' : name === 'connecting' ? 'Loading' : 'Lost'
  return (
    <span class={`live is-${name}`}>
      <span class="live-dot" aria-hidden="true" />
      {words}
    </span>
  )
}

/** Says that what is shown is old, and what becomes of it. */
export function LostBanner() {
  const { live } = useApp()
  const { phase } = live
  if (phase.name !== 'lost') return null
  return (
    <div class="lost">
      <p>
        <strong>Connection lost.</strong>{' '}
        {phase.isOver
          ? 'This page is no longer let in; the sbot was probably started anew. Open the address that it prints, or ask for one.'
          : `What is shown is ${count((Date.now() - phase.since) / 1000)} s old. Is the sbot running? ${
              phase.retryAt > Date.now() ? `Tried again in ${duration(phase.retryAt - Date.now())}.` : 'Trying again …'
            }`}
      </p>
      <button type="button" onClick={() => live.retry()}>
        Try now
      </button>
    </div>
  )
}
