/** The live page: from server-sent events to the screen. */
import { render } from 'preact'

import { explain } from './api'
import { createExplainer } from './explainer'
import { startLive } from './live'
import './main.css'
import { Root } from './root'
import { applyTheme, storedTheme } from './theme'

applyTheme(storedTheme())

let draw = (): void => {}
const explainer = createExplainer({
  ask: explain,
  now: () => performance.now(),
  setTimer: (fn, ms) => setTimeout(fn, ms),
  changed: () => live.redraw(),
})
const live = startLive({
  draw: () => draw(),
  onEvent: (name) => {
    // What peers and slots do decides what stands in the way of whom.
    if (name === 'peers' || name === 'gone' || name === 'status' || name === 'synced') explainer.invalidate()
  },
  onVisible: (isVisible) => explainer.pause(!isVisible),
})

const place = document.createElement('div')
document.body.append(place)
render(
  <Root
    live={live}
    explainer={explainer}
    onReady={(ready) => {
      draw = ready
    }}
  />,
  place,
)
