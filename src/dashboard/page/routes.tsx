/** All routes: searched, sorted, filtered; only the rows in sight are drawn, and only their reasons are asked for. */
import type { TargetedKeyboardEvent } from 'preact'
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'

import { useApp } from './app'
import { ago, ahead, clean, count, peerName, plural, shortId } from './format'
import { AddRoute } from './now'
import { PeerFlags, Section, StateMark, Text, useWidth } from './parts'
import { type Column, classesOf, FILTERS, type Filter, type Line, linesOf, type Query, select, windowOf } from './query'
import { reasonWords, STATE_WORDS } from './words'

const ROW_HEIGHT = 34
const CARD_HEIGHT = 118
/** For the words that there is none. */
const ROWS_LEAST = 2
/** Above and below, of the box. */
const BORDER = 2
/** A row of columns needs that much; below, a route is a card of some lines. */
const CARDS_BELOW = 700
/** A table of 10 000 is put in order again this often while events come; at once when the reader asks for something. */
const ORDER_EVERY_MS = 1_000

const COLUMN_WORDS: { readonly [column in Column]: string } = {
  peer: 'Peer',
  address: 'Address',
  class: 'Class',
  source: 'Source',
  state: 'State',
  errors: 'Errors',
  connected: 'Connected',
  lastError: 'Last error',
  next: 'Next',
}
const FILTER_WORDS: { readonly [filter in Filter]: string } = {
  all: 'All routes',
  connected: 'Connected',
  active: 'Connected or dialing',
  failing: 'With errors',
  followed: 'Of followed peers',
  longTerm: 'Long-term',
  local: 'Local',
  banned: 'Banned',
}
const ORDER: readonly Column[] = [
  'peer',
  'state',
  'address',
  'class',
  'source',
  'errors',
  'connected',
  'lastError',
  'next',
]
const FIRST: Query = { text: '', filter: 'all', class: null, sort: 'state', isDescending: false }

export function Routes() {
  const app = useApp()
  const { model, now } = app
  const [query, setQuery] = useState<Query>(FIRST)
  const body = useRef<HTMLDivElement>(null)
  const width = useWidth(body)
  const isNarrow = width > 0 && width < CARDS_BELOW
  const rowHeight = isNarrow ? CARD_HEIGHT : ROW_HEIGHT
  const [view, setView] = useState({ top: 0, height: 480 })
  const [active, setActive] = useState<string | null>(null)

  const lines = useOrdered(query)
  const classes = useMemo(() => classesOf(model.peers), [lines])
  const total = lines.length
  // Of all routes, not of those that match: what is below does not jump while somebody types.
  const all = useMemo(() => {
    let lines = 0
    for (const peer of model.peers.values()) lines += Math.max(1, peer.routes.length)
    return lines
  }, [lines])
  const height = (isNarrow ? 0 : ROW_HEIGHT) + Math.max(all, ROWS_LEAST) * rowHeight + BORDER
  const { first, last } = windowOf(view.top, view.height, rowHeight, total)
  const shown = lines.slice(first, last)

  useLayoutEffect(() => {
    const { current } = body
    if (current === null) return
    const measure = (): void => setView({ top: current.scrollTop, height: current.clientHeight })
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(current)
    return () => observer.disconnect()
  }, [])
  // Another question: from the top again.
  useLayoutEffect(() => {
    if (body.current !== null) body.current.scrollTop = 0
  }, [query])
  useEffect(
    () =>
      app.explainer.want(
        'routes',
        shown.map((line) => line.key),
      ),
    [lines, first, last],
  )

  const activeIndex = active === null ? -1 : lines.findIndex((line) => line.key === active)
  const tabbable = activeIndex >= first && activeIndex < last ? activeIndex : first

  const focusRow = (index: number): void => {
    const line = lines[index]
    const { current } = body
    if (!line || current === null) return
    const top = index * rowHeight
    // Below the row of headings, which stays in sight.
    const head = isNarrow ? 0 : ROW_HEIGHT
    if (top < current.scrollTop) current.scrollTop = top
    else if (top + rowHeight + head > current.scrollTop + current.clientHeight)
      current.scrollTop = top + rowHeight + head - current.clientHeight
    setActive(line.key)
    setView({ top: current.scrollTop, height: current.clientHeight })
    wantsFocus.current = line.key
  }
  const wantsFocus = useRef<string | null>(null)
  // The row may only be drawn now that it was scrolled to.
  useLayoutEffect(() => {
    if (wantsFocus.current === null) return
    const row = [...(body.current?.querySelectorAll<HTMLElement>('[data-line]') ?? [])].find(
      (each) => each.dataset.line === wantsFocus.current,
    )
    if (row) {
      row.focus({ preventScroll: true })
      wantsFocus.current = null
    }
  })

  const onKeyDown = (event: TargetedKeyboardEvent<HTMLDivElement>): void => {
    const index = Number(
      (event.target as HTMLElement).closest<HTMLElement>('[data-index]')?.dataset.index ?? Number.NaN,
    )
    if (Number.isNaN(index)) return
    const page = Math.max(1, Math.floor(view.height / rowHeight) - 1)
    const steps: { readonly [key: string]: number } = {
      ArrowDown: index + 1,
      ArrowUp: index - 1,
      PageDown: index + page,
      PageUp: index - page,
      Home: 0,
      End: total - 1,
    }
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault()
      const line = lines[index]
      if (line) app.select(line.peer.id)
      return
    }
    const next = steps[event.key]
    if (next === undefined) return
    event.preventDefault()
    focusRow(Math.min(total - 1, Math.max(0, next)))
  }

  const sortBy = (sort: Column): void =>
    setQuery({ ...query, sort, isDescending: query.sort === sort ? !query.isDescending : false })

  return (
    <Section id="routes" title="Routes" aside={<AddRoute />}>
      <div class="filters">
        <label class="search">
          <span class="hidden">Search routes</span>
          <input
            type="search"
            value={query.text}
            placeholder="Search: name, id, address, error …"
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => setQuery({ ...query, text: event.currentTarget.value.slice(0, 200) })}
          />
        </label>
        <label>
          <span class="hidden">Which routes</span>
          <select
            value={query.filter}
            onChange={(event) => setQuery({ ...query, filter: event.currentTarget.value as Filter })}
          >
            {FILTERS.map((filter) => (
              <option key={filter} value={filter}>
                {FILTER_WORDS[filter]}
              </option>
            ))}
          </select>
        </label>
        <label>
          <span class="hidden">Class</span>
          <select
            value={query.class ?? ''}
            onChange={(event) => setQuery({ ...query, class: event.currentTarget.value || null })}
          >
            <option value="">Every class</option>
            {classes.map((name) => (
              <option key={name} value={name}>
                {clean(name, 30)}
              </option>
            ))}
          </select>
        </label>
        {isNarrow && (
          <label>
            <span class="hidden">Order</span>
            <select
              value={query.sort}
              onChange={(event) => setQuery({ ...query, sort: event.currentTarget.value as Column })}
            >
              {ORDER.map((column) => (
                <option key={column} value={column}>
                  By {COLUMN_WORDS[column].toLowerCase()}
                </option>
              ))}
            </select>
          </label>
        )}
        <p class="matches" role="status">
          {plural(total, 'route')}
          {model.status !== null &&
          total !== model.status.routes &&
          (query.text !== '' || query.filter !== 'all' || query.class !== null)
            ? ` of ${count(model.status.routes)}`
            : ''}
        </p>
      </div>
      <div
        class={`grid ${isNarrow ? 'is-cards' : ''}`}
        style={{ height: `${height}px` }}
        role="grid"
        aria-label="Routes"
        aria-rowcount={total + 1}
        aria-colcount={ORDER.length + 1}
        ref={body}
        onScroll={(event) => setView({ top: event.currentTarget.scrollTop, height: event.currentTarget.clientHeight })}
        onKeyDown={onKeyDown}
        onFocusIn={(event) => {
          const line = (event.target as HTMLElement).closest<HTMLElement>('[data-line]')?.dataset.line
          if (line !== undefined) setActive(line)
        }}
      >
        <div class="grid-head" role="row" aria-rowindex={1}>
          {ORDER.map((column) => (
            <div
              key={column}
              role="columnheader"
              class={`c-${column}`}
              aria-sort={query.sort === column ? (query.isDescending ? 'descending' : 'ascending') : 'none'}
            >
              <button type="button" onClick={() => sortBy(column)}>
                {COLUMN_WORDS[column]}
                <span class="sort-mark" aria-hidden="true">
                  {query.sort === column ? (query.isDescending ? '▾' : '▴') : ''}
                </span>
              </button>
            </div>
          ))}
          <div role="columnheader" class="c-reason">
            <span>Reason</span>
          </div>
        </div>
        <div class="grid-space" role="presentation" style={{ height: `${total * rowHeight}px` }}>
          {shown.map((line, i) => (
            <RouteRowView
              key={line.key}
              line={line}
              index={first + i}
              top={(first + i) * rowHeight}
              height={rowHeight}
              isTabbable={first + i === tabbable}
              now={now}
            />
          ))}
        </div>
        {total === 0 && <p class="empty">{model.peers.size === 0 ? 'No route is known yet.' : 'No route matches.'}</p>}
      </div>
    </Section>
  )
}

/** The lines in order. While events come they are put in order now and then, so that rows do not run from the pointer. */
function useOrdered(query: Query): readonly Line[] {
  const { model } = useApp()
  const kept = useRef<{ query: Query; model: unknown; version: number; at: number; lines: readonly Line[] } | null>(
    null,
  )
  const [, again] = useState(0)
  const { current } = kept
  const version = model.versions.peers
  const isSame = current !== null && current.query === query && current.version === version && current.model === model
  const isEarly =
    current !== null &&
    current.query === query &&
    current.model === model &&
    performance.now() - current.at < ORDER_EVERY_MS
  useEffect(() => {
    if (isSame || !isEarly) return
    const timer = setTimeout(() => again((n) => n + 1), ORDER_EVERY_MS)
    return () => clearTimeout(timer)
  }, [isSame, isEarly, version])
  if (current !== null && (isSame || isEarly)) return current.lines
  const lines = select(model.peers, query)
  kept.current = { query, model, version, at: performance.now(), lines }
  return lines
}

function RouteRowView(props: {
  line: Line
  index: number
  top: number
  height: number
  isTabbable: boolean
  now: number
}) {
  const app = useApp()
  const { now } = props
  // What a row says is always the latest; only its place may be a moment old.
  const peer = app.model.peers.get(props.line.peer.id) ?? props.line.peer
  const route = peer.routes.find((each) => each.address === props.line.key) ?? props.line.route
  const { state } = linesOf(peer).find((each) => each.key === props.line.key) ?? props.line
  const explanation = app.explainer.get(props.line.key)
  const name = peerName(peer)
  return (
    <div
      class={`grid-row is-${state} ${peer.id === app.selected ? 'is-selected' : ''}`}
      role="row"
      tabIndex={props.isTabbable ? 0 : -1}
      aria-rowindex={props.index + 2}
      aria-selected={peer.id === app.selected}
      data-line={props.line.key}
      data-index={props.index}
      style={{ top: `${props.top}px`, height: `${props.height}px` }}
      onClick={() => app.select(peer.id)}
      onKeyDown={() => {}}
    >
      <div role="gridcell" class="c-peer">
        <strong>
          <bdi>{name}</bdi>
        </strong>
        <PeerFlags peer={peer} />
        {name !== shortId(peer.id) && <span class="faint mono"> {shortId(peer.id)}</span>}
      </div>
      <div role="gridcell" class="c-state">
        <StateMark state={state} /> {STATE_WORDS[state]}
      </div>
      <div role="gridcell" class="c-address mono">
        {route === null ? <span class="faint">no address</span> : <Text value={route.address} />}
      </div>
      <div role="gridcell" class="c-class">
        {route === null ? '–' : <Text value={route.class} max={20} />}
      </div>
      <div role="gridcell" class="c-source">
        {route === null ? '–' : <Text value={route.source} max={30} />}
      </div>
      <div role="gridcell" class="c-errors">
        {route === null ? '–' : count(route.errorCount)}
      </div>
      <div role="gridcell" class="c-connected">
        {route === null ? '–' : state === 'connected' ? 'now' : ago(route.lastConnectionTime, now)}
      </div>
      <div role="gridcell" class="c-lastError">
        {route?.lastError ? (
          <>
            <span class="faint">{ago(route.lastError.at, now)}</span> <Text value={route.lastError.message} />
          </>
        ) : (
          <span class="faint none">–</span>
        )}
      </div>
      <div role="gridcell" class="c-next">
        {route === null || peer.connection.status === 'connected' || state === 'banned'
          ? '–'
          : explanation?.until
            ? ahead(explanation.until, now)
            : ahead(route.nextAttemptAt, now)}
      </div>
      <div role="gridcell" class="c-reason">
        {explanation === undefined ? (
          <span class="faint">…</span>
        ) : explanation === null ? (
          <span class="faint">–</span>
        ) : (
          <Text value={reasonWords(peer, explanation, now)} />
        )}
      </div>
    </div>
  )
}
