/** The map of peers: who, how near in time, which class, which direction. */
import type { TargetedKeyboardEvent } from 'preact'
import { useMemo, useRef, useState } from 'preact/hooks'

import { useApp } from './app'
import { clean, count, peerName, plural } from './format'
import { layoutMap, type MapNode, MIDDLE_RADIUS, neighbour, RINGS, ringWordY, type Way } from './map-layout'
import { Section, StateMark, StateShape, Tip, useWidth } from './parts'
import { type PeerState, peerSentence, STATE_WORDS } from './words'

const NODES_MAX = 240
const SECTOR_LETTER_WIDTH = 6
/** Where a peer stands follows the hour it was last seen: looked at again this often without any event. */
const AGE_STEP_MS = 30_000
const WAYS: { readonly [key: string]: Way } = {
  ArrowUp: 'up',
  ArrowDown: 'down',
  ArrowLeft: 'left',
  ArrowRight: 'right',
}
const LEGEND: readonly PeerState[] = ['connected', 'dialing', 'idle', 'failing', 'banned']

export function PeerMap() {
  const app = useApp()
  const { model, now } = app
  const box = useRef<HTMLDivElement>(null)
  const width = useWidth(box)
  const [pointed, setPointed] = useState<string | null>(null)
  const [focused, setFocused] = useState<string | null>(null)
  const isNarrow = width < 520
  const margin = isNarrow ? 16 : 64
  const radius = Math.max(100, Math.min(width / 2 - margin, 236))
  const height = radius * 2 + 44
  const ages = Math.floor(now / AGE_STEP_MS)
  const { versions } = model

  const layout = useMemo(
    () =>
      layoutMap(model.peers, {
        now: ages * AGE_STEP_MS,
        nodesMax: isNarrow ? NODES_MAX / 2 : NODES_MAX,
        radius,
        labelOf: peerName,
        selected: app.selected,
      }),
    [model, versions.peers, ages, radius, isNarrow, app.selected],
  )
  const { nodes, sectors, hidden } = layout
  const tabbable =
    nodes.find((node) => node.peer.id === focused) ?? nodes.find((node) => node.state === 'connected') ?? nodes[0]
  const tipFor = nodes.find((node) => node.peer.id === (pointed ?? focused))

  const nodeOf = (event: Event): string | null =>
    (event.target as Element).closest('[data-peer]')?.getAttribute('data-peer') ?? null

  const onKeyDown = (event: TargetedKeyboardEvent<SVGSVGElement>): void => {
    const from = nodes.find((node) => node.peer.id === focused)
    if (!from) return
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault()
      app.select(from.peer.id)
      return
    }
    const way = WAYS[event.key]
    const next =
      event.key === 'Home'
        ? nodes[0]
        : event.key === 'End'
          ? nodes[nodes.length - 1]
          : way
            ? neighbour(nodes, from, way)
            : null
    if (!next) return
    event.preventDefault()
    const svg = event.currentTarget
    svg.querySelector<SVGGElement>(`[data-peer="${CSS.escape(next.peer.id)}"]`)?.focus()
  }

  const drawing = useMemo(
    () => (
      <>
        {[...RINGS].reverse().map((ring) => (
          <circle key={ring.words} class="ring" r={ring.edge * radius} />
        ))}
        {sectors.length > 1 &&
          sectors.map((sector) => (
            <line
              key={sector.class}
              class="sector-edge"
              x1={Math.sin(sector.from) * radius * 0.2}
              y1={-Math.cos(sector.from) * radius * 0.2}
              x2={Math.sin(sector.from) * radius}
              y2={-Math.cos(sector.from) * radius}
            />
          ))}
        {nodes.map((node) =>
          node.ring === 0 || node.state === 'dialing' ? <Spoke key={`to ${node.peer.id}`} node={node} /> : null,
        )}
        <circle class="middle" r={MIDDLE_RADIUS} />
        <text class="middle-word" text-anchor="middle" dy="4">
          me
        </text>
      </>
    ),
    [layout, radius],
  )

  return (
    <Section
      id="peers"
      title="Peers"
      aside={
        <span class="faint">
          {hidden > 0
            ? `the ${count(nodes.length)} that matter most of ${count(model.peers.size)}`
            : plural(model.peers.size, 'peer')}
        </span>
      }
    >
      {/* Heard here and not on the drawing, which Chromium would make a stop of the Tab key for it. */}
      <div class="map" ref={box} onFocusIn={(event) => setFocused(nodeOf(event))} onFocusOut={() => setFocused(null)}>
        {width > 0 && (
          <svg
            width={width}
            height={height}
            viewBox={`${-width / 2} ${-height / 2} ${width} ${height}`}
            role="group"
            aria-label="Map of peers. Arrow keys move from peer to peer, Enter opens the details."
            onKeyDown={onKeyDown}
            onPointerOver={(event) => setPointed(nodeOf(event))}
            onPointerLeave={() => setPointed(null)}
            onClick={(event) => {
              const id = nodeOf(event)
              if (id !== null) app.select(id)
            }}
          >
            {drawing}
            {nodes.map((node) => (
              <Node
                key={node.peer.id}
                node={node}
                isTabbable={node === tabbable}
                isSelected={node.peer.id === app.selected}
                label={`${peerName(node.peer)}: ${peerSentence(node.peer, now)}`}
              />
            ))}
            {/* Above the nodes, or the names of the rings are lost among them. */}
            <g aria-hidden="true">
              {RINGS.map((ring, i) => (
                <text key={ring.words} class="ring-word" text-anchor="middle" y={ringWordY(i, radius) + 3}>
                  {ring.words}
                </text>
              ))}
              {sectors.map((sector) => {
                const angle = (sector.from + sector.to) / 2
                const words = `${clean(sector.class, 12)} ${sector.connected > 0 ? `${count(sector.connected)}/` : ''}${count(sector.count)}`
                const side = Math.abs(Math.sin(angle)) < 0.25 ? 0 : Math.sign(Math.sin(angle))
                // Its middle: beside the ring, and never out of the picture.
                const half = (words.length * SECTOR_LETTER_WIDTH) / 2
                const x = Math.sin(angle) * (radius + 8) + side * half
                const most = Math.max(0, width / 2 - half - 2)
                return (
                  <text
                    key={sector.class}
                    class="sector-word"
                    x={Math.min(most, Math.max(-most, x))}
                    y={-Math.cos(angle) * (radius + 13) + 4}
                    text-anchor="middle"
                  >
                    {words}
                  </text>
                )
              })}
            </g>
          </svg>
        )}
        {tipFor && (
          <Tip at={{ x: tipFor.x + width / 2, y: tipFor.y + height / 2 + 14 }} width={width}>
            <strong>
              <bdi>{peerName(tipFor.peer)}</bdi>
            </strong>
            <span class="tip-line">{peerSentence(tipFor.peer, now)}</span>
          </Tip>
        )}
        {model.peers.size === 0 && <p class="empty">No peer is known yet.</p>}
      </div>
      <ul class="legend" aria-label="Legend">
        {LEGEND.map((state) => (
          <li key={state}>
            <StateMark state={state} /> {STATE_WORDS[state]}
          </li>
        ))}
        <li>
          <svg class="mark is-idle" width="14" height="14" viewBox="-8 -8 16 16" aria-hidden="true">
            <circle class="followed" r="7" />
            <circle class="lined" r="3.4" />
          </svg>{' '}
          followed
        </li>
        <li>
          <svg class="mark" width="22" height="12" viewBox="0 -6 22 12" aria-hidden="true">
            <path class="spoke-out" d="M0 0H20M15 -4L20 0L15 4" />
          </svg>{' '}
          we dialed
        </li>
        <li>
          <svg class="mark" width="22" height="12" viewBox="0 -6 22 12" aria-hidden="true">
            <path class="spoke-in" d="M2 0H22M7 -4L2 0L7 4" />
          </svg>{' '}
          it called
        </li>
      </ul>
    </Section>
  )
}

/** The line from us to a peer, with an arrow the way it was opened. */
function Spoke({ node }: { node: MapNode }) {
  const length = Math.hypot(node.x, node.y)
  const [ux, uy] = [node.x / length, node.y / length]
  const [from, to] = [14, length - node.radius - 3]
  const isInbound = node.peer.connection.direction === 'inbound'
  // The head of the arrow stands at the end it points to.
  const tip = isInbound ? from : to
  const back = isInbound ? 6 : -6
  const head = [-1, 0, 1]
    .map((side) => {
      const along = side === 0 ? tip : tip + back
      return `${(ux * along - uy * side * 3.5).toFixed(1)} ${(uy * along + ux * side * 3.5).toFixed(1)}`
    })
    .join('L')
  const kind = node.state === 'dialing' ? 'spoke-dialing' : isInbound ? 'spoke-in' : 'spoke-out'
  return (
    <path
      class={kind}
      d={`M${(ux * from).toFixed(1)} ${(uy * from).toFixed(1)}L${(ux * to).toFixed(1)} ${(uy * to).toFixed(1)}M${head}`}
    />
  )
}

function Node(props: { node: MapNode; isTabbable: boolean; isSelected: boolean; label: string }) {
  const { node, isSelected } = props
  const { peer, state, radius } = node
  return (
    <g
      class={`node is-${state} ${isSelected ? 'is-selected' : ''}`}
      transform={`translate(${node.x.toFixed(1)} ${node.y.toFixed(1)})`}
      role="button"
      // In a drawing names of attributes are taken as they are written.
      tabindex={props.isTabbable ? 0 : -1}
      data-peer={peer.id}
      aria-label={props.label}
      aria-pressed={isSelected}
    >
      <circle class="touch" r={Math.max(10, radius + 4)} />
      {peer.hops === 1 && <circle class="followed" r={radius + 3.5} />}
      <StateShape state={state} radius={radius} />
      {node.label !== null && (
        <text
          class="node-word"
          x={node.label === 'right' ? radius + 6 : -radius - 6}
          y="4"
          text-anchor={node.label === 'right' ? 'start' : 'end'}
        >
          {[...peerName(peer)].slice(0, 18).join('')}
        </text>
      )}
    </g>
  )
}
