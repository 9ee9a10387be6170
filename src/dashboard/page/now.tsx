/** The first screen: am I connected, to whom, and if not, why and what to do. */

import type { RefObject } from 'preact'
import { useEffect, useState } from 'preact/hooks'

import type { Finding } from '../../core/diagnosis'
import type { FeedId } from '../../core/types'
import type { PeerRow } from '../protocol'
import { addRoute, start, stop, syncStop } from './actions'
import { useApp } from './app'
import { ahead, count, duration, peerName, plural } from './format'
import { PeerButton, Text } from './parts'
import { findingMessage, findingPlace, findingRemedy, headline, layerWords, nameIn, sentence } from './words'

export function Now() {
  const app = useApp()
  const { model, now } = app
  const { status } = model
  const { tone, title, detail } = headline(model, now)
  return (
    <section id="now" class="now" aria-labelledby="now-title">
      <div class="headline">
        <ToneMark tone={tone} />
        <div class="headline-text">
          <h2 id="now-title">{title}</h2>
          {detail !== '' && <p>{detail}</p>}
        </div>
        {status !== null && (
          <div class="mode">
            <span class="mode-word">
              <span class="faint">Mode</span> {status.mode === 'initialSync' ? 'initial sync' : status.mode}
            </span>
            {status.mode === 'off' ? (
              <button type="button" class="primary" onClick={() => void app.perform(start())}>
                Start
              </button>
            ) : (
              <button type="button" onClick={() => void app.perform(stop(status))}>
                Stop
              </button>
            )}
          </div>
        )}
      </div>
      <Findings />
      <Environment />
    </section>
  )
}

function ToneMark({ tone }: { tone: 'good' | 'busy' | 'bad' | 'off' }) {
  return (
    <svg class={`tone is-${tone}`} width="34" height="34" viewBox="-17 -17 34 34" aria-hidden="true">
      <circle r="16" class="tone-disc" />
      {tone === 'good' && <path d="M-7 0.5L-2 5.5L7 -4.5" class="tone-line" />}
      {tone === 'bad' && <path d="M0 -8V2M0 6.5V7" class="tone-line" />}
      {tone === 'off' && <path d="M-4 -6V6M4 -6V6" class="tone-line" />}
      {tone === 'busy' && <path d="M0 -7V0L5 3" class="tone-line" />}
    </svg>
  )
}

const SEVERITY_WORDS: { readonly [severity in Finding['severity']]: string } = {
  error: 'Problem',
  warning: 'Warning',
  info: 'Note',
}
const SEVERITIES = ['error', 'warning', 'info'] as const
/** More are behind a button: five lines are read, twenty are not. */
const FINDINGS_SHOWN = 4

function Findings() {
  const { model, now } = useApp()
  const [isAll, setAll] = useState(false)
  const ordered = [...model.findings].sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity))
  const shown = isAll ? ordered : ordered.slice(0, FINDINGS_SHOWN)
  const [first] = ordered
  return (
    <div class="findings" id="findings">
      <h3 class="hidden">Findings</h3>
      {/* Only news are read out, not each second of "since". */}
      <p class="hidden" role="status">
        {ordered.length === 0
          ? 'Nothing is wrong.'
          : `${plural(ordered.length, 'finding')}. ${first ? sentence(findingMessage(first, model.peers), now) : ''}`}
      </p>
      {ordered.length === 0 && <p class="finding-none faint">Nothing is found to be wrong.</p>}
      <ul>
        {shown.map((finding, i) => (
          <FindingItem key={`${finding.code} ${i}`} finding={finding} />
        ))}
      </ul>
      {ordered.length > FINDINGS_SHOWN && (
        <button type="button" class="quiet" onClick={() => setAll(!isAll)} aria-expanded={isAll}>
          {isAll ? 'Show fewer' : `Show ${count(ordered.length - FINDINGS_SHOWN)} more`}
        </button>
      )}
    </div>
  )
}

/** The way to where it is mended on this page. */
function FindingDeed({ finding }: { finding: Finding }) {
  const app = useApp()
  switch (findingPlace(finding)) {
    case 'start':
      return (
        <button type="button" class="small" onClick={() => void app.perform(start())}>
          Start now
        </button>
      )
    case 'stopSync':
      return (
        <button type="button" class="small" onClick={() => void app.perform(syncStop())}>
          Stop it now
        </button>
      )
    case 'slots':
      return <a href="#slots">To the slots</a>
    case 'routes':
      return <a href="#routes">{finding.code === 'tableFull' ? 'To the routes' : 'Add an address'}</a>
    case 'replication':
      return <a href="#replication">To the replication</a>
    case 'peer':
      return (
        <button type="button" class="small" onClick={() => app.select(finding.peers[0] as FeedId, 'address')}>
          Add an address
        </button>
      )
    case null:
      return null
  }
}

function FindingItem({ finding }: { finding: Finding }) {
  const { model, now } = useApp()
  const remedy = findingRemedy(finding)
  const severity = Object.prototype.hasOwnProperty.call(SEVERITY_WORDS, finding.severity) ? finding.severity : 'info'
  return (
    <li class={`finding is-${severity}`}>
      <span class="finding-word">{SEVERITY_WORDS[severity]}</span>
      <div class="finding-text">
        <p>
          <Text value={sentence(findingMessage(finding, model.peers), now)} max={500} />
          {finding.since !== null && <span class="faint"> Since {duration(now - finding.since)}.</span>}
        </p>
        {remedy !== null && (
          <p class="remedy">
            <Text value={sentence(remedy, now)} max={500} /> <FindingDeed finding={finding} />
          </p>
        )}
        {finding.peers.length > 0 && (
          <p class="finding-peers">
            {finding.peers.slice(0, 5).map((id) => (
              <PeerButton key={id} id={id} />
            ))}
            {finding.peers.length > 5 && <span class="faint">and {count(finding.peers.length - 5)} more</span>}
          </p>
        )}
      </div>
    </li>
  )
}

function Environment() {
  const { model, now } = useApp()
  const { status } = model
  if (status === null) return null
  const { environment, inbound } = status
  const down = environment.down.filter((each) => each.layer !== 'link')
  const nameOf = (id: string): string => nameIn(model, id)
  return (
    <dl class="environment" aria-label="Environment">
      <div class={environment.link === 'up' ? '' : 'is-bad'}>
        <dt>Network</dt>
        <dd>{environment.link === 'up' ? 'up' : 'down'}</dd>
      </div>
      <div class={`wide ${down.length > 0 ? 'is-warned' : ''}`}>
        <dt>Takes the blame</dt>
        <dd>
          {down.length === 0
            ? 'nothing'
            : down.slice(0, 4).map((each) => (
                <span class="down" key={each.layer}>
                  <bdi>{layerWords(each.layer, nameOf)}</bdi>
                  <span class="faint">
                    {' '}
                    down since {duration(now - each.since)}, tried{' '}
                    {ahead(each.retryAt, now) === 'due' ? 'now' : ahead(each.retryAt, now)}
                  </span>
                </span>
              ))}
          {down.length > 4 && <span class="faint">and {count(down.length - 4)} more</span>}
        </dd>
      </div>
      <div>
        <dt>Dials under way</dt>
        <dd>
          {count(status.dialing)}
          {status.lingering > 0 && <span class="faint"> + {count(status.lingering)} given up</span>}
        </dd>
      </div>
      <div>
        <dt>Called in</dt>
        <dd>
          {count(inbound.connected)}
          {inbound.max !== null && <span class="faint"> of {count(inbound.max)}</span>}
        </dd>
      </div>
      <div>
        <dt>Load</dt>
        <dd>{environment.isBusy ? 'taking in a lot: one dial at a time' : 'normal'}</dd>
      </div>
      <div>
        <dt>Lifetime</dt>
        <dd>{status.lifetimeMs === null ? 'no limit' : duration(status.lifetimeMs)}</dd>
      </div>
      <div>
        <dt>Known</dt>
        <dd>
          {plural(status.peers, 'peer')}, {plural(status.routes, 'route')}
        </dd>
      </div>
    </dl>
  )
}

/** For an address that somebody was given: the way in where nothing is known. With a peer: for another address of it. */
export function AddRoute({
  peer = null,
  field,
}: {
  peer?: PeerRow | null
  field?: RefObject<HTMLInputElement | null> | undefined
}) {
  const app = useApp()
  const [address, setAddress] = useState('')
  // What was entered for one peer is not offered to the next.
  useEffect(() => setAddress(''), [peer?.id])
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault()
    const entered = address.trim()
    if (entered !== '' && (await app.perform(addRoute(entered, peer)))) setAddress('')
  }
  return (
    <form class="add-route" onSubmit={(event) => void submit(event)}>
      <label>
        <span>
          {peer === null ? (
            'Add an address'
          ) : (
            <>
              Add {peer.routes.length > 0 ? 'another' : 'an'} address of <bdi>{peerName(peer)}</bdi>
            </>
          )}
        </span>
        <input
          ref={field ?? null}
          type="text"
          name="address"
          value={address}
          placeholder="net:host:port~shs:key"
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          onInput={(event) => setAddress(event.currentTarget.value)}
        />
      </label>
      <button type="submit">Add</button>
    </form>
  )
}
