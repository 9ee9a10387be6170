/** The timeline: who was connected when, which dials failed, and why each began and ended. */
import type { TargetedKeyboardEvent } from 'preact'
import { useMemo, useRef, useState } from 'preact/hooks'

import { useApp } from './app'
import { clockTime, count, duration } from './format'
import { Choice, Section, Text, Tip, useWidth } from './parts'
import {
  type Bar,
  layoutTimeline,
  type Mark,
  type Shown,
  SPAN_NAMES,
  SPANS,
  type Span,
  type TimelineRow,
} from './timeline-layout'
import { causeWords, endWords, entrySentence, nameIn } from './words'

const SPAN_OPTIONS = SPAN_NAMES.map((value) => ({ value, text: SPANS[value].text }))
export const ROW_HEIGHT = 22
const AXIS_HEIGHT = 20
const ROWS_SHOWN = 14
const ROWS_MAX = 100
const TABLE_MAX = 200
/** What a label tells of things that stand too close to be told apart. */
const SENTENCES_MAX = 3

type Item = Bar | Mark

interface Spot {
  readonly row: number
  readonly item: number
}

export function Timeline({ span, onSpan }: { span: Span; onSpan: (span: Span) => void }) {
  const app = useApp()
  const { model, now } = app
  const [isTable, setTable] = useState(false)
  const [isAll, setAll] = useState(false)
  const box = useRef<HTMLDivElement>(null)
  const width = useWidth(box)
  const labelWidth = width < 520 ? 92 : 150
  const { ms } = SPANS[span]
  const plotWidth = Math.max(0, width - labelWidth)
  // To the pixel: between two of them nothing moves.
  const to = plotWidth === 0 ? now : Math.ceil(now / (ms / plotWidth)) * (ms / plotWidth)
  const layout = useMemo(
    () =>
      layoutTimeline(model.history.values(), {
        from: to - ms,
        to,
        width: plotWidth,
        rowsMax: isAll ? ROWS_MAX : ROWS_SHOWN,
      }),
    [model, model.versions.history, to, ms, plotWidth, isAll],
  )
  return (
    <Section
      id="timeline"
      title="Timeline"
      aside={
        <div class="controls">
          <button type="button" class="quiet" aria-pressed={isTable} onClick={() => setTable(!isTable)}>
            As a table
          </button>
          <Choice label="Span of the timeline" value={span} options={SPAN_OPTIONS} onChange={onSpan} />
        </div>
      }
    >
      <div ref={box}>
        {isTable ? (
          <TimelineTable from={to - ms} />
        ) : (
          width > 0 && <Plot rows={layout.rows} ticks={layout.ticks} width={width} labelWidth={labelWidth} />
        )}
      </div>
      <div class="timeline-foot">
        <ul class="legend" aria-label="Legend">
          <li>
            <i class="swatch is-outbound" /> we dialed
          </li>
          <li>
            <i class="swatch is-inbound" /> it called
          </li>
          <li>
            <svg class="mark" width="12" height="12" viewBox="-6 -6 12 12" aria-hidden="true">
              <path class="fail" d="M-3.5 -3.5L3.5 3.5M3.5 -3.5L-3.5 3.5" />
            </svg>{' '}
            failed dial
          </li>
        </ul>
        {(layout.hidden > 0 || isAll) && !isTable && (
          <button type="button" class="quiet" aria-expanded={isAll} onClick={() => setAll(!isAll)}>
            {isAll ? 'Show fewer' : `Show more of ${count(layout.hidden + layout.rows.length)} peers`}
          </button>
        )}
      </div>
    </Section>
  )
}

function Plot(props: {
  rows: readonly TimelineRow[]
  ticks: readonly { readonly x: number; readonly at: number }[]
  width: number
  labelWidth: number
}) {
  const app = useApp()
  const { model, now } = app
  const { rows, ticks, width, labelWidth } = props
  const plotWidth = width - labelWidth
  const height = rows.length * ROW_HEIGHT + AXIS_HEIGHT
  const [pointed, setPointed] = useState<Spot | null>(null)
  const [focused, setFocused] = useState<Spot | null>(null)
  const svg = useRef<SVGSVGElement>(null)

  const itemAt = (spot: Spot | null): Item | undefined => (spot === null ? undefined : rows[spot.row]?.items[spot.item])
  const firstRow = rows.findIndex((row) => row.items.length > 0)
  const tabbable: Spot = itemAt(focused)
    ? (focused as Spot)
    : { row: firstRow, item: (rows[firstRow]?.items.length ?? 1) - 1 }
  const shown = itemAt(pointed) ? pointed : itemAt(focused) ? focused : null
  const shownItem = itemAt(shown)

  const spotOf = (event: Event): Spot | null => {
    const found = (event.target as Element).closest('[data-spot]')?.getAttribute('data-spot')?.split(' ')
    return found ? { row: Number(found[0]), item: Number(found[1]) } : null
  }
  const onKeyDown = (event: TargetedKeyboardEvent<SVGSVGElement>): void => {
    const item = itemAt(focused)
    if (focused === null || !item) return
    const next = step(rows, focused, event.key)
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault()
      app.select((rows[focused.row] as TimelineRow).peer)
    } else if (next !== null) {
      event.preventDefault()
      svg.current?.querySelector<SVGGElement>(`[data-spot="${next.row} ${next.item}"]`)?.focus()
    }
  }

  if (rows.length === 0) return <p class="empty">No connection and no dial in this span.</p>
  return (
    <div class="timeline">
      <ul class="timeline-labels" style={{ width: `${labelWidth}px` }} aria-label="Peers in the timeline">
        {rows.map((row) => (
          <li key={row.peer}>
            <button
              type="button"
              class="peer-link"
              onClick={() => app.select(row.peer)}
              aria-label={`${nameIn(model, row.peer)}: details`}
            >
              <bdi>{nameIn(model, row.peer)}</bdi>
            </button>
          </li>
        ))}
      </ul>
      {/* Heard here and not on the drawing, which Chromium would make a stop of the Tab key for it. */}
      <div
        class="timeline-plot"
        style={{ width: `${plotWidth}px` }}
        onFocusIn={(event) => setFocused(spotOf(event))}
        onFocusOut={() => setFocused(null)}
      >
        <svg
          ref={svg}
          width={plotWidth}
          height={height}
          role="group"
          aria-label="Timeline of connections and failed dials. Arrow keys move from one to the next."
          onKeyDown={onKeyDown}
          onPointerOver={(event) => setPointed(spotOf(event))}
          onPointerLeave={() => setPointed(null)}
          onClick={(event) => {
            const spot = spotOf(event)
            const row = spot === null ? undefined : rows[spot.row]
            if (row) app.select(row.peer)
          }}
        >
          {ticks.map((tick) => (
            <g key={tick.at} aria-hidden="true">
              <line class="tick" x1={tick.x} x2={tick.x} y1="0" y2={height - AXIS_HEIGHT} />
              <text
                class="tick-word"
                x={Math.min(Math.max(tick.x, 16), plotWidth - 16)}
                y={height - 5}
                text-anchor="middle"
              >
                {clockTime(tick.at)}
              </text>
            </g>
          ))}
          {rows.map((row, r) => (
            <g key={row.peer} transform={`translate(0 ${r * ROW_HEIGHT})`}>
              <line class="row-line" x1="0" x2={plotWidth} y1={ROW_HEIGHT} y2={ROW_HEIGHT} />
              {row.items.map((item, i) => (
                <g
                  key={`${item.kind} ${item.entries[0]?.from}`}
                  class={`item ${item.kind === 'bar' ? `is-${item.direction}` : 'is-failed'}`}
                  role="img"
                  tabindex={tabbable.row === r && tabbable.item === i ? 0 : -1}
                  data-spot={`${r} ${i}`}
                  aria-label={`${nameIn(model, row.peer)}, ${timesOf(item.entries)}: ${sentencesOf(item.entries, now)}`}
                >
                  {item.kind === 'bar' ? <BarShape item={item} /> : <MarkShape item={item} />}
                </g>
              ))}
            </g>
          ))}
        </svg>
        {shown !== null && shownItem && (
          <Tip
            at={{
              x: shownItem.kind === 'bar' ? Math.min(shownItem.x + shownItem.width / 2, plotWidth) : shownItem.x,
              y: (shown.row + 1) * ROW_HEIGHT + 4,
            }}
            width={plotWidth}
          >
            <strong>
              <bdi>{nameIn(model, (rows[shown.row] as TimelineRow).peer)}</bdi>
            </strong>{' '}
            <span class="faint">{timesOf(shownItem.entries)}</span>
            {[...shownItem.entries].slice(-SENTENCES_MAX).map((entry) => (
              <span class="tip-line" key={`${entry.from} ${entry.to}`}>
                <bdi>{entrySentence(entry, now)}</bdi>
              </span>
            ))}
            {shownItem.entries.length > SENTENCES_MAX && (
              <span class="tip-line faint">and {count(shownItem.entries.length - SENTENCES_MAX)} before</span>
            )}
          </Tip>
        )}
      </div>
    </div>
  )
}

function BarShape({ item }: { item: Bar }) {
  return (
    <rect
      x={item.x + 0.5}
      y={item.direction === 'outbound' ? 4.5 : 6.5}
      width={Math.max(2, item.width - 1)}
      height={item.direction === 'outbound' ? 13 : 9}
      rx="2"
    />
  )
}

function MarkShape({ item }: { item: Mark }) {
  const x = item.x
  return (
    <>
      <rect class="touch" x={x - 6} y="3" width="12" height="16" />
      <path class="fail" d={`M${x - 3.5} 7.5L${x + 3.5} 14.5M${x + 3.5} 7.5L${x - 3.5} 14.5`} />
    </>
  )
}

function step(rows: readonly TimelineRow[], from: Spot, key: string): Spot | null {
  const items = rows[from.row]?.items ?? []
  switch (key) {
    case 'ArrowLeft':
      return from.item > 0 ? { ...from, item: from.item - 1 } : null
    case 'ArrowRight':
      return from.item < items.length - 1 ? { ...from, item: from.item + 1 } : null
    case 'Home':
      return { ...from, item: 0 }
    case 'End':
      return { ...from, item: items.length - 1 }
    case 'ArrowUp':
    case 'ArrowDown': {
      const x = items[from.item]?.x ?? 0
      const way = key === 'ArrowUp' ? -1 : 1
      for (let row = from.row + way; row >= 0 && row < rows.length; row += way) {
        const others = rows[row]?.items ?? []
        if (others.length === 0) continue
        let item = 0
        others.forEach((other, i) => {
          if (Math.abs(other.x - x) < Math.abs((others[item] as Item).x - x)) item = i
        })
        return { row, item }
      }
      return null
    }
    default:
      return null
  }
}

function timesOf(entries: readonly Shown[]): string {
  const first = entries[0] as Shown
  const last = entries[entries.length - 1] as Shown
  const end = last.to === null ? 'now' : clockTime(last.to, true)
  return `${clockTime(first.from, true)} to ${end}${entries.length > 1 ? ` (${count(entries.length)})` : ''}`
}

function sentencesOf(entries: readonly Shown[], now: number): string {
  const some = entries.slice(-SENTENCES_MAX).map((entry) => entrySentence(entry, now))
  return some.join(' ') + (entries.length > SENTENCES_MAX ? ` And ${entries.length - SENTENCES_MAX} before.` : '')
}

/** The same as rows of text, the latest first. */
function TimelineTable({ from }: { from: number }) {
  const { model, now } = useApp()
  const all = [...model.history.values()].filter((entry) => (entry.to ?? now) >= from).sort((a, b) => b.from - a.from)
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by the keyboard
    <div class="scroll-box" tabIndex={0} role="region" aria-label="Timeline as a table">
      <table>
        <caption class="faint">
          {all.length > TABLE_MAX
            ? `The latest ${count(TABLE_MAX)} of ${count(all.length)}`
            : `${count(all.length)} entries`}
        </caption>
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col">For</th>
            <th scope="col">Peer</th>
            <th scope="col">What</th>
            <th scope="col">Began because</th>
            <th scope="col">Ended because</th>
          </tr>
        </thead>
        <tbody>
          {all.slice(0, TABLE_MAX).map((entry) => (
            <tr key={`${entry.kind} ${entry.peer} ${entry.from} ${entry.address}`}>
              <td class="nowrap">{clockTime(entry.from, true)}</td>
              <td class="nowrap">{duration((entry.to ?? now) - entry.from)}</td>
              <td>
                <bdi>{nameIn(model, entry.peer)}</bdi>
              </td>
              <td class="nowrap">
                {entry.kind === 'failed' ? 'failed dial' : entry.direction === 'inbound' ? 'it called' : 'we dialed'}
              </td>
              <td>{causeWords(entry.why)}</td>
              <td>
                {entry.kind === 'failed' ? (
                  <Text value={entry.error} max={160} />
                ) : entry.to === null ? (
                  'it is up'
                ) : (
                  endWords(entry.ended)
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
