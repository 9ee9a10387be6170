/** The live page: from server-sent events to the screen. */
import { render } from 'preact'

render(<main />, document.body)
