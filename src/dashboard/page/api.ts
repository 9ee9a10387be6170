/** What the page asks of the server. Never rejects: an answer that does not come is an answer too. */
import type { Act, Answer, ExplainAnswer } from '../protocol'

const KEY = 'page-key'

/**
 * The server has put the key of the session behind the `#`. It is kept for this host and port alone, unlike the cookie, and for the
 * other tabs, which share the session; it ends with that.
 */
let key = /^#key=([\w-]+)$/.exec(location.hash)?.[1] ?? ''
if (key !== '') {
  history.replaceState(null, '', location.pathname)
  try {
    localStorage.setItem(KEY, key)
  } catch {
    // A browser that keeps nothing: until this tab is loaded again.
  }
}

/** Of the newest session, which another tab may have begun. */
function currentKey(): string {
  try {
    key = localStorage.getItem(KEY) ?? key
  } catch {
    // As it was.
  }
  return key
}

/** Where the stream of events is. */
export function eventsUrl(): string {
  return `events?key=${encodeURIComponent(currentKey())}`
}

const TIMEOUT_MS = 330_000 // a dial over dht may take five minutes

async function post(path: string, body: object, timeoutMs: number): Promise<unknown> {
  const abort = new AbortController()
  const timer = setTimeout(() => abort.abort(), timeoutMs)
  try {
    const response = await fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-page-key': currentKey() },
      body: JSON.stringify(body),
      signal: abort.signal,
    })
    return await response.json()
  } finally {
    clearTimeout(timer)
  }
}

export async function act(what: Act): Promise<Answer> {
  try {
    return (await post('act', what, TIMEOUT_MS)) as Answer
  } catch {
    return {
      ok: false,
      error: { code: 'noAnswer', message: 'The sbot did not answer. Is it still running?' },
    }
  }
}

/** Null: no answer. */
export async function explain(targets: readonly string[]): Promise<ExplainAnswer | null> {
  try {
    const answer = await post('explain', { targets }, 10_000)
    return Array.isArray(answer) ? (answer as ExplainAnswer) : null
  } catch {
    return null
  }
}
