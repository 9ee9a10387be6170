/** One peer: what it is to us, why it is connected or not, what can be done about it. */
import type { RefObject } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'

import type { Priority } from '../../core/types'
import type { PeerRow, RouteRow } from '../protocol'
import { ban, connect, hangUp, prioritise, removeRoute, setLongTerm, syncStart, unban } from './actions'
import { useApp } from './app'
import { ago, ahead, clean, clockTime, count, milliseconds, peerName, plural } from './format'
import { AddRoute } from './now'
import { StateMark, Text } from './parts'
import type { Shown } from './timeline-layout'
import {
  causeWords,
  entrySentence,
  hopsWords,
  peerSentence,
  peerState,
  reasonWords,
  remedyFor,
  STATE_WORDS,
  sentence,
} from './words'

const HISTORY_SHOWN = 8
const PRIORITIES: readonly (Exclude<Priority, 'BANNED'> | 'AUTO')[] = ['AUTO', 'HIGH', 'MEDIUM', 'LOW']

export function Details() {
  const app = useApp()
  const { model, selected, now, addressWanted } = app
  const heading = useRef<HTMLHeadingElement>(null)
  const field = useRef<HTMLInputElement>(null)
  const answered = useRef(addressWanted)
  const peer = selected === null ? undefined : model.peers.get(selected)
  // Before it is painted, so that the next key is for the details.
  useLayoutEffect(() => {
    if (answered.current !== addressWanted && field.current !== null) field.current.focus()
    else if (selected !== null) heading.current?.focus({ preventScroll: true })
    answered.current = addressWanted
  }, [selected, addressWanted])
  useEffect(() => {
    app.explainer.want('details', selected === null ? [] : [selected], true)
  }, [selected])
  if (selected === null) return null
  return (
    <aside
      class="details"
      aria-label="Details of a peer"
      onKeyDown={(event) => {
        if (event.key === 'Escape') app.select(null)
      }}
    >
      <div class="details-head">
        <h2 ref={heading} tabIndex={-1}>
          {peer ? <StateMark state={peerState(peer)} size={16} /> : null}
          <bdi>{peer ? peerName(peer) : clean(selected, 20)}</bdi>
        </h2>
        <button type="button" class="quiet" onClick={() => app.select(null)} aria-label="Close the details">
          ✕
        </button>
      </div>
      <div class="details-body">
        <OwnId id={selected} />
        {peer ? <Known peer={peer} now={now} field={field} /> : <p>This peer is not in the table any more.</p>}
      </div>
    </aside>
  )
}

function OwnId({ id }: { id: string }) {
  const [isCopied, setCopied] = useState(false)
  useEffect(() => setCopied(false), [id])
  return (
    <p class="full-id">
      <Text value={id} max={100} mono />
      <button
        type="button"
        class="small quiet"
        onClick={() => {
          void navigator.clipboard.writeText(id).then(
            () => setCopied(true),
            () => setCopied(false),
          )
        }}
      >
        {isCopied ? 'Copied' : 'Copy id'}
      </button>
    </p>
  )
}

function Known({ peer, now, field }: { peer: PeerRow; now: number; field: RefObject<HTMLInputElement | null> }) {
  const app = useApp()
  const { model } = app
  const { status } = model
  const explanation = app.explainer.get(peer.id)
  const isBanned = peer.priority === 'BANNED'
  const isIdle = peer.connection.status === 'idle'
  const remedy = explanation ? remedyFor(explanation) : null
  const history = [...model.history.values()]
    .filter((entry) => entry.peer === peer.id)
    .sort((a, b) => b.from - a.from)
    .slice(0, HISTORY_SHOWN)
  return (
    <>
      <div class={`why is-${peerState(peer)}`}>
        <p class="why-state">
          {STATE_WORDS[peerState(peer)]}
          {peer.cause !== null && peer.connection.status === 'connected' && (
            <span class="faint">: {causeWords(peer.cause)}</span>
          )}
        </p>
        <p>
          {explanation === undefined ? (
            <span class="faint">Asking why …</span>
          ) : explanation === null ? (
            'Nothing is known of it.'
          ) : (
            <>
              <Text value={sentence(reasonWords(peer, explanation, now), now)} max={500} />
              {explanation.until !== null && explanation.until > now && isIdle && (
                <span> Tried again {ahead(explanation.until, now)}.</span>
              )}
            </>
          )}
        </p>
        {remedy !== null && (
          <p class="remedy">
            <Text value={sentence(remedy, now)} max={500} />
          </p>
        )}
      </div>

      <div class="deeds">
        {peer.connection.status === 'connected' || peer.connection.status === 'dialing' ? (
          <button type="button" onClick={() => void app.perform(hangUp(peer, now))}>
            {peer.connection.status === 'dialing' ? 'Stop dialing' : 'Hang up'}
          </button>
        ) : (
          <button
            type="button"
            class="primary"
            disabled={isBanned || !isIdle}
            onClick={() => void app.perform(connect(peer))}
          >
            Connect now
          </button>
        )}
        {isBanned ? (
          <button type="button" onClick={() => void app.perform(unban(peer))}>
            Unban
          </button>
        ) : (
          <button type="button" class="danger" onClick={() => void app.perform(ban(peer, now))}>
            Ban
          </button>
        )}
        {status !== null && model.hello?.has.replication === true && status.mode !== 'initialSync' && !isBanned && (
          <button type="button" onClick={() => void app.perform(syncStart(status, peer))}>
            Initial sync from it
          </button>
        )}
        <label class="inline">
          <input
            type="checkbox"
            checked={peer.isLongTerm}
            onClick={(event) => {
              // It shows what is, not what was asked for.
              event.preventDefault()
              void app.perform(setLongTerm(peer, !peer.isLongTerm))
            }}
          />
          <span>Keep it up for good</span>
        </label>
        <label class="inline">
          <span>Priority</span>
          <select
            value={isBanned ? 'BANNED' : peer.priority}
            onChange={(event) => {
              const wanted = event.currentTarget.value
              event.currentTarget.value = peer.priority
              const priority = PRIORITIES.find((each) => each === wanted)
              if (priority) void app.perform(prioritise(peer, priority))
            }}
          >
            {isBanned && <option value="BANNED">banned</option>}
            {PRIORITIES.map((each) => (
              <option key={each} value={each}>
                {each === 'AUTO' ? 'left to the modules' : each.toLowerCase()}
              </option>
            ))}
          </select>
        </label>
      </div>

      <dl class="facts">
        <div>
          <dt>To us</dt>
          <dd>{hopsWords(peer.hops) ?? 'unknown'}</dd>
        </div>
        <div>
          <dt>Last in touch</dt>
          <dd>{peer.connection.status === 'connected' ? 'now' : ago(peer.visitedAt, now)}</dd>
        </div>
        {peer.connection.status === 'connected' && (
          <>
            <div>
              <dt>Connected</dt>
              <dd>{ago(peer.connection.since, now)}</dd>
            </div>
            <div>
              <dt>Round trip</dt>
              <dd>{peer.connection.rtt === null ? 'not measured yet' : milliseconds(peer.connection.rtt.mean)}</dd>
            </div>
            <div>
              <dt>Clock differs by</dt>
              <dd>
                {peer.connection.skew === null ? 'not measured yet' : milliseconds(Math.abs(peer.connection.skew.mean))}
              </dd>
            </div>
            <div>
              <dt>Caught up</dt>
              <dd>{peer.isCaughtUp ? 'yes' : 'not yet'}</dd>
            </div>
          </>
        )}
      </dl>

      <h3>{plural(peer.routes.length, 'route')}</h3>
      {peer.routes.length === 0 && <p class="faint">No address of it is known.</p>}
      <ul class="route-list">
        {peer.routes.map((route) => {
          const found = explanation?.routes.find((each) => each.address === route.address)
          return <RouteItem key={route.address} peer={peer} route={route} reason={found?.message ?? null} now={now} />
        })}
      </ul>
      <AddRoute peer={peer} field={field} />

      <h3>Lately</h3>
      {history.length === 0 && <p class="faint">Neither a connection nor a dial in the history.</p>}
      <ul class="peer-history">
        {history.map((entry: Shown) => (
          <li key={`${entry.kind} ${entry.from} ${entry.address}`}>
            <span class="mono faint">{clockTime(entry.from, true)}</span> <bdi>{entrySentence(entry, now)}</bdi>
          </li>
        ))}
      </ul>
      <p class="hidden" role="status">
        {`${peerName(peer)}: ${STATE_WORDS[peerState(peer)]}`}
      </p>
      <p class="hidden">{peerSentence(peer, now)}</p>
    </>
  )
}

function RouteItem(props: { peer: PeerRow; route: RouteRow; reason: string | null; now: number }) {
  const app = useApp()
  const { peer, route, reason, now } = props
  const facts = [
    route.class,
    `from ${route.source}`,
    ...(route.isStored ? [] : ['not stored']),
    ...(route.isAutomatic ? [] : ['by hand only']),
    `${plural(route.connectionCount, 'connection')}, last ${route.status === 'connected' ? 'now' : ago(route.lastConnectionTime, now)}`,
  ]
  return (
    <li>
      <p class="mono address">
        <Text value={route.address} />
      </p>
      <p class="faint">
        <bdi>{facts.map((fact) => clean(fact, 60)).join(' · ')}</bdi>
      </p>
      {route.errorCount > 0 && (
        <p class="route-error">
          {plural(route.errorCount, 'failure')} in a row
          {route.lastError && (
            <>
              , the last {ago(route.lastError.at, now)}: <Text value={route.lastError.message} />
              {route.lastError.code !== null && !route.lastError.message.includes(route.lastError.code) && (
                <span class="faint"> ({clean(route.lastError.code, 40)})</span>
              )}
            </>
          )}
        </p>
      )}
      {route.status === 'idle' && peer.connection.status !== 'connected' && (
        <p>
          {/* Of the only route it stands above. */}
          {reason !== null && peer.routes.length > 1 && <Text value={sentence(reason, now)} />}
          {route.nextAttemptAt > now && <span class="faint"> Next attempt {ahead(route.nextAttemptAt, now)}.</span>}
        </p>
      )}
      <p class="route-deeds">
        {route.status === 'idle' && peer.connection.status === 'idle' && peer.priority !== 'BANNED' && (
          <button
            type="button"
            class="small"
            onClick={() => void app.perform(connect(peer, route))}
            aria-label={`Connect by ${clean(route.address, 80)}`}
          >
            Connect by this
          </button>
        )}
        <button
          type="button"
          class="small"
          onClick={() => void app.perform(removeRoute(peer, route))}
          aria-label={`Remove the route ${clean(route.address, 80)}`}
        >
          Remove
        </button>
        {route.status !== 'idle' && <span class="faint">{route.status}</span>}
        {route.errorCount > 0 && <span class="hidden">{count(route.errorCount)} errors</span>}
      </p>
    </li>
  )
}
