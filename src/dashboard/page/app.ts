/** What the components share: the stream, the selected peer, how to do something. */
import { createContext } from 'preact'
import { useContext } from 'preact/hooks'

import type { FeedId } from '../../core/types'
import type { Deed } from './actions'
import type { Explainer } from './explainer'
import type { Live } from './live'
import type { Model } from './store'
import type { Theme } from './theme'

export interface App {
  readonly live: Live
  readonly model: Model
  /** By the clock of the sbot. */
  readonly now: number
  readonly explainer: Explainer
  readonly selected: FeedId | null
  /** Opens the details of a peer, where an address is added if that is what somebody came for; null closes them. */
  select(id: FeedId | null, part?: 'address'): void
  /** Grows each time when somebody came for an address. */
  readonly addressWanted: number
  readonly theme: Theme
  setTheme(theme: Theme): void
  /** Grows when the colours change, so that what is on a canvas is drawn again. */
  readonly colours: number
  /** Asks first where something is cut, does it and says how it went. False: not done. */
  perform(deed: Deed): Promise<boolean>
}

export const AppContext = createContext<App | null>(null)

export function useApp(): App {
  const app = useContext(AppContext)
  if (app === null) throw new Error('used outside of the page')
  return app
}
