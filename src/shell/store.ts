/** The redux store: the one owner of the state. Every action passes here and is heard by the listeners with both states. */
import { legacy_createStore } from 'redux'
import type { Action } from '../core/actions'
import { reduce } from '../core/reducer'
import type { State } from '../core/table'

export type StoreListener = (action: Action, before: State, after: State) => void

export interface Store {
  getState(): State
  dispatch(action: Action): void
  /** Returns the function that ends the subscription. */
  subscribe(listener: StoreListener): () => void
  /**
   * The last actions, oldest first, bounded: what a bug report needs. Without what was read from the disk: a table of many
   * routes comes in as many actions, which would push out all others and keep the whole of it in memory.
   */
  recent(): readonly Action[]
}

const RECENT_ACTIONS = 500

export function createStore(initial: State): Store {
  // redux sends actions of its own when it starts; they are not ours to reduce.
  const redux = legacy_createStore(
    (state: State = initial, action: Action | { type: `@@redux/${string}` }): State =>
      action.type.startsWith('@@') ? state : reduce(state, action as Action),
  )
  const listeners = new Set<StoreListener>()
  /** As it was when the last one came or went: they do so while they are called. */
  let present: readonly StoreListener[] = []
  let log: Action[] = []
  return {
    getState: () => redux.getState(),
    dispatch: (action) => {
      const before = redux.getState()
      redux.dispatch(action)
      if (action.type !== 'table/loaded') log.push(action)
      if (log.length > 2 * RECENT_ACTIONS) log = log.slice(-RECENT_ACTIONS)
      const after = redux.getState()
      for (const listener of present) listener(action, before, after)
    },
    subscribe: (listener) => {
      listeners.add(listener)
      present = [...listeners]
      return () => {
        listeners.delete(listener)
        present = [...listeners]
      }
    },
    recent: () => log.slice(-RECENT_ACTIONS),
  }
}
