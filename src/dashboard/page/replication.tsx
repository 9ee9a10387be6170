/** How fresh the feeds are that we follow, and how a sync goes on. */
import { useMemo, useState } from 'preact/hooks'

import type { FeedId } from '../../core/types'
import type { FeedRow, SyncState } from '../protocol'
import { syncStart, syncStop } from './actions'
import { useApp } from './app'
import { ago, count, duration, peerName, percent, plural, shortId } from './format'
import { moreImportantFirst } from './map-layout'
import { PeerButton, Section } from './parts'

const FEEDS_SHOWN = 8
const FEEDS_MAX = 200

export function Replication() {
  const { model } = useApp()
  const has = model.hello?.has
  if (has === undefined || (!has.replication && !has.friends)) return null
  return (
    <Section id="replication" title="Replication">
      <Sync />
      <Feeds />
    </Section>
  )
}

const PHASES: { readonly [phase in SyncState['phase']]: string } = {
  off: 'No initial sync is running.',
  connecting: 'Looking for a connection',
  syncing: 'Syncing',
  caughtUp: 'Caught up',
  stalled: 'Stalled: nothing comes at present',
}

function Sync() {
  const app = useApp()
  const { model } = app
  const { sync, status } = model
  const [peer, setPeer] = useState('')
  const phase = sync?.phase ?? 'off'
  const isRunning = status?.mode === 'initialSync' || (phase !== 'off' && phase !== 'caughtUp')
  const { have, want } = { have: sync?.have ?? null, want: sync?.want ?? null }
  const share = have !== null && want !== null && want > 0 ? Math.min(1, have / want) : null
  const peers = useMemo(
    () =>
      [...model.peers.values()]
        .filter((each) => each.connection.status === 'connected' || each.hops === 1)
        .sort(moreImportantFirst)
        .slice(0, 50),
    [model, model.versions.peers],
  )
  return (
    <div class="sync">
      <h3>Initial sync</h3>
      <p class="sync-words" role="status">
        {PHASES[phase] ?? PHASES.off}
        {isRunning && sync?.peer && ' with '}
        {isRunning && sync?.peer && <PeerButton id={sync.peer} />}
      </p>
      {isRunning && (
        <>
          <progress max={1} value={share ?? undefined} aria-label="Progress of the initial sync" />
          <p class="sync-figures">
            {have !== null && want !== null && (
              <span>
                {count(have)} of {plural(want, 'message')}
                {share !== null && ` (${percent(share)})`}
              </span>
            )}
            {sync?.rate != null && <span>{count(sync.rate)} messages/s</span>}
            {sync?.etaMs != null && <span>about {duration(sync.etaMs)} left</span>}
          </p>
        </>
      )}
      {status !== null && (
        <div class="sync-controls">
          {isRunning ? (
            <button type="button" onClick={() => void app.perform(syncStop())}>
              Stop the sync
            </button>
          ) : (
            <>
              <label>
                <span>From</span>
                <select value={peer} onChange={(event) => setPeer(event.currentTarget.value)}>
                  <option value="">whoever is best</option>
                  {peers.map((each) => (
                    <option key={each.id} value={each.id}>
                      {peerName(each)}
                    </option>
                  ))}
                </select>
              </label>
              <button type="button" onClick={() => void app.perform(syncStart(status, model.peers.get(peer) ?? null))}>
                Start an initial sync
              </button>
            </>
          )}
        </div>
      )}
    </div>
  )
}

const missing = (feed: FeedRow): number => Math.max(0, (feed.want ?? 0) - (feed.have ?? 0))

function Feeds() {
  const app = useApp()
  const { model, now } = app
  const [isAll, setAll] = useState(false)
  const { ordered, behind, unseen } = useMemo(() => {
    const all = [...model.feeds.values()]
    const nearest = (feed: FeedRow): number => feed.hops ?? 99
    const text = (feed: FeedRow): FeedId => feed.name ?? `\uffff${feed.id}`
    return {
      ordered: all.sort(
        (a, b) =>
          missing(b) - missing(a) ||
          (b.arrivedAt ?? 0) - (a.arrivedAt ?? 0) ||
          nearest(a) - nearest(b) ||
          (text(a) < text(b) ? -1 : 1),
      ),
      behind: all.filter((feed) => missing(feed) > 0).length,
      unseen: all.filter((feed) => !feed.have).length,
    }
  }, [model, model.versions.feeds])
  const shown = ordered.slice(0, isAll ? FEEDS_MAX : FEEDS_SHOWN)
  return (
    <div class="feeds">
      <h3>Followed feeds</h3>
      <p>
        {ordered.length === 0
          ? 'No feed is asked for.'
          : `${plural(ordered.length, 'feed')}: ${behind === 0 ? 'none is known to be behind' : `${count(behind)} behind`}` +
            `${unseen > 0 ? `, ${count(unseen)} of whom nothing has arrived` : ''}.`}
      </p>
      {ordered.length > 0 && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by the keyboard
        <div class="scroll-box" tabIndex={0} role="region" aria-label="Followed feeds">
          <table>
            <thead>
              <tr>
                <th scope="col">Feed</th>
                <th scope="col" class="number">
                  Have
                </th>
                <th scope="col" class="number">
                  There are
                </th>
                <th scope="col" class="bar-column">
                  Share
                </th>
                <th scope="col">Arrived</th>
                <th scope="col">Latest written</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((feed) => {
                const share = feed.want && feed.have !== null ? Math.min(1, feed.have / feed.want) : null
                return (
                  <tr key={feed.id}>
                    <td>
                      {model.peers.has(feed.id) ? (
                        <PeerButton id={feed.id} peer={model.peers.get(feed.id)} />
                      ) : (
                        <bdi>{feed.name === null ? shortId(feed.id) : peerName(feed)}</bdi>
                      )}
                    </td>
                    <td class="number">{feed.have === null ? '–' : count(feed.have)}</td>
                    <td class="number">{feed.want === null ? '–' : count(feed.want)}</td>
                    <td class="bar-column">
                      {share !== null && (
                        <span class={`share ${share < 1 ? 'is-behind' : ''}`} title={percent(share)}>
                          <i style={{ width: `${share * 100}%` }} />
                        </span>
                      )}
                    </td>
                    <td class="nowrap">{feed.arrivedAt === null ? '–' : ago(feed.arrivedAt, now)}</td>
                    <td class="nowrap">{feed.latestAt === null ? '–' : ago(Math.min(feed.latestAt, now), now)}</td>
                  </tr>
                )
              })}
            </tbody>
          </table>
        </div>
      )}
      {ordered.length > FEEDS_SHOWN && (
        <button type="button" class="quiet" aria-expanded={isAll} onClick={() => setAll(!isAll)}>
          {isAll
            ? 'Show fewer'
            : `Show ${ordered.length > FEEDS_MAX ? `the first ${count(FEEDS_MAX)}` : 'all'} of ${count(ordered.length)}`}
        </button>
      )}
    </div>
  )
}
