/** Outcomes of dials and round trips, as small plots with their figures in words. */
import { useEffect, useMemo, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'

import { useApp } from './app'
import { outcomes, outcomesSentence, roundTrips, roundTripsSentence } from './figures'
import { clockTime, milliseconds } from './format'
import { Section, useWidth } from './parts'
import { colour } from './theme'
import { SPANS, type Span } from './timeline-layout'

const HEIGHT = 132

export function Plots({ span }: { span: Span }) {
  const { model, now } = useApp()
  const { ms, words, bucketMs: step } = SPANS[span]
  const buckets = ms / step
  const to = Math.ceil(now / step) * step
  const dials = useMemo(
    () => outcomes(model.history.values(), to - ms, to, buckets),
    [model, model.versions.history, to, ms, buckets],
  )
  const trips = useMemo(
    () => roundTrips(model.roundTrips, to - ms, to, buckets),
    [model, model.versions.roundTrips, to, ms, buckets],
  )
  const dialData = useMemo((): uPlot.AlignedData => {
    const times = dials.times.map((at) => (at + step / 2) / 1000)
    // Drawn over each other: all dials behind, those that succeeded before them. A bar of no height would be a dash.
    const drawn = (n: number): number | null => (n === 0 ? null : n)
    return [times, dials.succeeded.map((n, i) => drawn(n + (dials.failed[i] as number))), dials.succeeded.map(drawn)]
  }, [dials, step])
  const tripData = useMemo(
    (): uPlot.AlignedData => [trips.times.map((at) => at / 1000), [...trips.high], [...trips.median]],
    [trips],
  )
  const dialWords = outcomesSentence(dials, words)
  const tripWords = roundTripsSentence(trips, words)
  return (
    <Section id="dials" title="Dials and round trips" aside={<span class="faint">{words}</span>} class="plots">
      <figure>
        <figcaption>
          <h3>Outcomes of dials</h3>
          <ul class="legend" aria-label="Legend">
            <li>
              <i class="swatch is-good" /> succeeded
            </li>
            <li>
              <i class="swatch is-failed" /> failed
            </li>
          </ul>
        </figcaption>
        <Plot label={dialWords} data={dialData} from={to - ms} to={to} kind="bars" />
        <p class="plot-words">
          <bdi>{dialWords}</bdi>
        </p>
      </figure>
      <figure>
        <figcaption>
          <h3>Round trips</h3>
          <ul class="legend" aria-label="Legend">
            <li>
              <i class="swatch is-line" /> median
            </li>
            <li>
              <i class="swatch is-dashed" /> nine in ten below
            </li>
          </ul>
        </figcaption>
        <Plot label={tripWords} data={tripData} from={to - ms} to={to} kind="lines" />
        <p class="plot-words">{tripWords}</p>
      </figure>
    </Section>
  )
}

type Kind = 'bars' | 'lines'

function makeOptions(kind: Kind, width: number, span: { from: number; to: number }): uPlot.Options {
  const text = colour('--faint')
  const line = colour('--line')
  const font = `11px ${colour('--sans')}`
  const bars = (uPlot.paths.bars as NonNullable<typeof uPlot.paths.bars>)({ size: [0.8, 14], radius: 0.15 })
  const series: uPlot.Series[] =
    kind === 'bars'
      ? [
          {},
          { paths: bars, fill: colour('--bad-soft'), stroke: colour('--bad'), width: 1, points: { show: false } },
          { paths: bars, fill: colour('--good'), stroke: colour('--good'), width: 1, points: { show: false } },
        ]
      : [
          {},
          { stroke: colour('--faint'), width: 1, dash: [4, 3], points: { show: true, size: 3 } },
          { stroke: colour('--accent'), width: 2, points: { show: true, size: 4 } },
        ]
  return {
    width,
    height: HEIGHT,
    padding: [8, 18, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { time: true, range: () => [span.from / 1000, span.to / 1000] },
      y: { range: (_, _min, max) => [0, Math.max(kind === 'bars' ? 4 : 50, (max ?? 0) * 1.15)] },
    },
    axes: [
      {
        stroke: text,
        font,
        size: 22,
        gap: 3,
        space: 58,
        grid: { show: false },
        ticks: { show: false },
        values: (_, splits) => splits.map((at) => clockTime(at * 1000)),
      },
      {
        stroke: text,
        font,
        size: kind === 'bars' ? 30 : 50,
        gap: 4,
        space: 28,
        grid: { stroke: line, width: 1 },
        ticks: { show: false },
        incrs:
          kind === 'bars'
            ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
            : [10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 60_000],
        values: (_, splits) => splits.map((value) => (kind === 'bars' ? String(value) : milliseconds(value))),
      },
    ],
    series,
  }
}

function Plot(props: { label: string; data: uPlot.AlignedData; from: number; to: number; kind: Kind }) {
  const { colours } = useApp()
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const span = useRef({ from: 0, to: 1 })
  const width = useWidth(box)
  span.current.from = props.from
  span.current.to = props.to
  useEffect(() => {
    if (box.current === null || width === 0) return
    plot.current = new uPlot(makeOptions(props.kind, width, span.current), props.data, box.current)
    return () => {
      plot.current?.destroy()
      plot.current = null
    }
    // The data comes by the effect below.
  }, [width, colours, props.kind])
  useEffect(() => plot.current?.setData(props.data), [props.data])
  return <div class="plot" ref={box} role="img" aria-label={props.label} />
}
