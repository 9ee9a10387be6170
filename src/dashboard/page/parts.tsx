/** Small pieces that several parts of the page use. */
import type { ComponentChildren, RefObject } from 'preact'
import { useLayoutEffect, useState } from 'preact/hooks'

import type { FeedId } from '../../core/types'
import type { PeerRow } from '../protocol'
import { useApp } from './app'
import { clean, peerName, shortId, TEXT_MAX } from './format'
import { nameIn, type PeerState } from './words'

/** Text from a peer or from anywhere outside: as text, of bounded length, and unable to turn the line around it. */
export function Text({ value, max = TEXT_MAX, mono = false }: { value: string; max?: number; mono?: boolean }) {
  return <bdi class={mono ? 'mono' : undefined}>{clean(value, max)}</bdi>
}

/** The shape and colour of a state; the word stands beside it or in the label of what it belongs to. */
export function StateMark({ state, size = 12 }: { state: PeerState; size?: number }) {
  return (
    <svg class={`mark is-${state}`} width={size} height={size} viewBox="-8 -8 16 16" aria-hidden="true">
      <StateShape state={state} radius={6} />
    </svg>
  )
}

/** One shape per state, around 0, 0: told apart without colours too. */
export function StateShape({ state, radius }: { state: PeerState; radius: number }) {
  const r = radius
  switch (state) {
    case 'connected':
      return <circle class="filled" r={r} />
    case 'dialing':
      return (
        <>
          <circle class="lined" r={r} />
          <circle class="filled" r={r * 0.4} />
        </>
      )
    case 'closing':
      return (
        <>
          <circle class="lined" r={r} />
          <path class="filled" d={`M0 ${-r}A${r} ${r} 0 0 1 0 ${r}Z`} />
        </>
      )
    case 'failing':
      return <path class="lined" d={`M0 ${-r}L${r} ${r * 0.8}L${-r} ${r * 0.8}Z`} />
    case 'banned':
      return (
        <path
          class="lined"
          d={`M${-r * 0.75} ${-r * 0.75}L${r * 0.75} ${r * 0.75}M${r * 0.75} ${-r * 0.75}L${-r * 0.75} ${r * 0.75}`}
        />
      )
    case 'idle':
      return <circle class="lined" r={r * 0.8} />
  }
}

/** Small signs beside a name: followed, kept up for good. */
export function PeerFlags({ peer }: { peer: PeerRow }) {
  return (
    <>
      {peer.hops === 1 && (
        <span class="flag" title="followed">
          <svg width="12" height="12" viewBox="-8 -8 16 16" aria-hidden="true">
            <circle class="lined" r="6.5" />
            <circle class="filled" r="2.6" />
          </svg>
          <span class="hidden">followed</span>
        </span>
      )}
      {peer.isLongTerm && (
        <span class="flag" title="long-term: kept up for good">
          <svg width="12" height="12" viewBox="-8 -8 16 16" aria-hidden="true">
            <path class="lined" d="M-4 -6H4M-2.5 -6V-1L-5 2H5L2.5 -1V-6M0 2V7" />
          </svg>
          <span class="hidden">long-term</span>
        </span>
      )}
    </>
  )
}

/** Opens the details of a peer. */
export function PeerButton({ id, peer }: { id: FeedId; peer?: PeerRow | undefined }) {
  const app = useApp()
  const name = peer ? peerName(peer) : nameIn(app.model, id)
  return (
    <button type="button" class="peer-link" onClick={() => app.select(id)} aria-label={`${name}: details`}>
      <bdi>{name}</bdi>
      {name !== shortId(id) && <span class="faint mono"> {shortId(id)}</span>}
    </button>
  )
}

/** A part of the page with its heading; `id` is where the links at the top lead. */
export function Section(props: {
  id: string
  title: string
  aside?: ComponentChildren
  class?: string
  children: ComponentChildren
}) {
  return (
    <section id={props.id} class={`card ${props.class ?? ''}`} aria-labelledby={`${props.id}-title`}>
      <div class="card-head">
        <h2 id={`${props.id}-title`}>{props.title}</h2>
        {props.aside}
      </div>
      {props.children}
    </section>
  )
}

/** Of several, one: as buttons in a row. */
export function Choice<Value extends string>(props: {
  label: string
  value: Value
  options: readonly { readonly value: Value; readonly text: string }[]
  onChange: (value: Value) => void
}) {
  return (
    <div class="choice" role="group" aria-label={props.label}>
      {props.options.map((option) => (
        <button
          type="button"
          key={option.value}
          aria-pressed={option.value === props.value}
          onClick={() => props.onChange(option.value)}
        >
          {option.text}
        </button>
      ))}
    </div>
  )
}

/** The width that an element has, in whole pixels; 0 before it is measured. */
export function useWidth(element: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0)
  useLayoutEffect(() => {
    const { current } = element
    if (current === null) return
    setWidth(Math.floor(current.clientWidth))
    const observer = new ResizeObserver(() => setWidth(Math.floor(current.clientWidth)))
    observer.observe(current)
    return () => observer.disconnect()
  }, [element])
  return width
}

export interface TipAt {
  readonly x: number
  readonly y: number
}

/** Words beside what the pointer or the focus is on. The same words are in its label, so this one is not read out. */
export function Tip({ at, width, children }: { at: TipAt; width: number; children: ComponentChildren }) {
  const isRight = at.x > width / 2
  return (
    <div
      class="tip"
      aria-hidden="true"
      style={{
        top: `${at.y}px`,
        left: isRight ? 'auto' : `${Math.max(0, at.x)}px`,
        right: isRight ? `${Math.max(0, width - at.x)}px` : 'auto',
      }}
    >
      {children}
    </div>
  )
}
