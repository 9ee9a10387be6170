/** Reading the live sources of the sbot: to the end, until somebody has had enough, or until the user wants an end. */
import type { Source } from '../shell/live'
import type { Cli } from './cli'
import { goneError } from './sbot'

export type Ending = 'ended' | 'enough' | 'interrupted'

/**
 * Reads as fast as the source gives. `onItem` ends it by returning true. Rejects with the error of the source, and with what
 * `onItem` throws; the source is let go of in any case.
 */
export function follow<T>(
  source: Source<T>,
  onItem: (item: T) => boolean | undefined,
  interrupted: Promise<void> = new Promise(() => {}),
): Promise<Ending> {
  return new Promise((resolve, reject) => {
    let isOver = false
    const finish = (fn: () => void): void => {
      if (isOver) return
      isOver = true
      fn()
    }
    const abort = (ending: Ending): void => finish(() => source(true, () => resolve(ending)))
    void interrupted.then(() => abort('interrupted'))
    const read = (): void => {
      let isAnswered = true
      // A loop where the source answers at once: a call in a call for each item would be too deep.
      while (isAnswered && !isOver) {
        isAnswered = false
        let isSync = true
        source(null, (end, item) => {
          if (isOver) return
          if (end === true) return finish(() => resolve('ended'))
          if (end) return finish(() => reject(end))
          try {
            if (onItem(item as T) === true) return abort('enough')
          } catch (error) {
            return finish(() => source(true, () => reject(error)))
          }
          if (isSync) isAnswered = true
          else read()
        })
        isSync = false
      }
    }
    read()
  })
}

/** All that a source gives before it ends by itself. */
export async function collect<T>(source: Source<T>): Promise<T[]> {
  const items: T[] = []
  await follow(source, (item) => {
    items.push(item)
    return undefined
  })
  return items
}

/** Shows what comes until the user ends it. A live source that ends by itself means that the sbot has gone. */
export async function watch<T>(cli: Cli, source: Source<T>, onItem: (item: T) => boolean | undefined): Promise<Ending> {
  const ending = await follow(source, onItem, cli.interrupted)
  if (ending === 'ended') throw goneError()
  return ending
}

/** Calls `work` for each, a few at a time, as each is a round trip. In order. */
export async function pooled<A, B>(items: readonly A[], work: (item: A) => Promise<B>, atOnce = 64): Promise<B[]> {
  const results: B[] = new Array(items.length)
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const at = next++
      results[at] = await work(items[at] as A)
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker))
  return results
}
