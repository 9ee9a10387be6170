/**
 * Who is let in. The page can steer the sbot, so it is not enough to listen on loopback: any page that the user opens can
 * make his browser call there, a name can be made to point there (DNS rebinding), and other users of the machine can too.
 *
 * - A one-time token, which only the owner can ask for, becomes a session; whoever has neither gets nothing.
 * - A session is a cookie and a key. Cookies know no ports, so the browser sends ours to whatever else listens on this host; the
 *   key goes to the page alone, behind the `#` of its address, and without it there is nothing to see and nothing to do.
 * - The Host is one of our own names with our port, so that a page of another name is not the same origin as ours.
 * - What the browser says of the caller (Origin, Sec-Fetch-Site) is ourselves, except for a link with a token in it.
 */
import { createHash, randomBytes, timingSafeEqual } from 'crypto'
import type { Clock } from '../shell/clock'

/** 192 bits: nobody finds one by trying. */
const SECRET_BYTES = 24
/** From the terminal to the browser. */
export const TOKEN_MS = 10 * 60_000
/** Since it was last used; an open page uses it. */
export const SESSION_MS = 12 * 60 * 60_000
const MAX_TOKENS = 16
const MAX_SESSIONS = 16
/** A browser sends the cookies of all ports of a host, and other pages there may set some. */
const MAX_COOKIES = 50
const MAX_SAME_COOKIES = 4

export interface Doorkeeper {
  /** A new token; the oldest gives way where there are too many. */
  readonly issueToken: () => string
  /** A new session if the token is good, which it is no more then; else null. */
  readonly trade: (token: string) => Session | null
  /** Whether the Cookie header names a session; it lasts longer by it. */
  readonly isSession: (cookie: string | undefined) => boolean
  /** Whether it names one, and this is its key. */
  readonly isPage: (cookie: string | undefined, key: string | null) => boolean
  readonly cookieFor: (session: string) => string
  readonly counts: () => { readonly tokens: number; readonly sessions: number }
  /** Nobody is let in by what was given out before. */
  readonly reset: () => void
}

export interface Session {
  /** The value of the cookie. */
  readonly session: string
  /** For the page alone. */
  readonly key: string
}

/** Secrets are kept as hashes: what is compared then says nothing of the secret by the time that it takes. */
function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}

/** In constant time, whatever the lengths. */
export function isSameSecret(a: string, b: string): boolean {
  return timingSafeEqual(hashOf(a), hashOf(b))
}

interface Kept {
  readonly hash: Buffer
  usedAt: number
}

interface KeptSession extends Kept {
  readonly keyHash: Buffer
}

const newSecret = (): string => randomBytes(SECRET_BYTES).toString('base64url')

/** All are looked at, so that the time says nothing of which one it was. */
function find<K extends Kept>(list: readonly K[], secret: string): K | null {
  const hash = hashOf(secret)
  let found: K | null = null
  for (const each of list) if (timingSafeEqual(each.hash, hash)) found = each
  return found
}

export function createDoorkeeper({ clock, port }: { readonly clock: Clock; readonly port: () => number }): Doorkeeper {
  let tokens: Kept[] = []
  let sessions: KeptSession[] = []

  /** Where the clock was set back, it is as if that were gone by: nobody is let in for more than twice as long. */
  const isFresh =
    (ms: number) =>
    ({ usedAt }: Kept): boolean =>
      Math.abs(clock.now() - usedAt) < ms
  const sweep = (): void => {
    tokens = tokens.filter(isFresh(TOKEN_MS))
    sessions = sessions.filter(isFresh(SESSION_MS))
  }

  /** With the port, as cookies know none: two sbots on one machine would log each other out. */
  const name = (): string => `dashboard_${port()}`

  const findSession = (cookie: string | undefined): KeptSession | null => {
    if (cookie === undefined) return null
    sweep()
    const prefix = `${name()}=`
    const given = cookie
      .split(';', MAX_COOKIES)
      .map((each) => each.trim())
      .filter((each) => each.startsWith(prefix))
    for (const each of given.slice(0, MAX_SAME_COOKIES)) {
      const found = find(sessions, each.slice(prefix.length))
      if (found) return found
    }
    return null
  }
  const use = (found: KeptSession): true => {
    found.usedAt = clock.now()
    return true
  }

  return {
    issueToken: () => {
      sweep()
      const token = newSecret()
      tokens = [...tokens.slice(1 - MAX_TOKENS), { hash: hashOf(token), usedAt: clock.now() }]
      return token
    },
    trade: (token) => {
      sweep()
      const found = find(tokens, token)
      if (!found) return null
      tokens = tokens.filter((each) => each !== found)
      const made = { session: newSecret(), key: newSecret() }
      const kept = { hash: hashOf(made.session), keyHash: hashOf(made.key), usedAt: clock.now() }
      sessions.sort((a, b) => a.usedAt - b.usedAt)
      sessions = [...sessions.slice(1 - MAX_SESSIONS), kept]
      return made
    },
    isSession: (cookie) => {
      const found = findSession(cookie)
      return found !== null && use(found)
    },
    isPage: (cookie, key) => {
      const found = findSession(cookie)
      return found !== null && key !== null && timingSafeEqual(found.keyHash, hashOf(key)) && use(found)
    },
    cookieFor: (session) => `${name()}=${session}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${SESSION_MS / 1000}`,
    counts: () => {
      sweep()
      return { tokens: tokens.length, sessions: sessions.length }
    },
    reset: () => {
      tokens = []
      sessions = []
    },
  }
}

export interface Caller {
  readonly method: string
  readonly host: string | undefined
  readonly origin: string | undefined
  readonly fetchSite: string | undefined
  readonly fetchMode: string | undefined
  readonly fetchDest: string | undefined
}

/** The names under which this server may be called. */
export function isOwnHost(host: string | undefined, port: number): host is string {
  return host === `127.0.0.1:${port}` || host === `localhost:${port}` || host === `[::1]:${port}`
}

/**
 * Null if the caller is the page itself, or no page at all; else why not. `hasToken`: a link may lead here from anywhere (an
 * editor, a chat, a mail), as long as a token is in it and the browser goes there as a whole.
 */
export function whyNotOurs(caller: Caller, port: number, { hasToken }: { readonly hasToken: boolean }): string | null {
  const { method, host, origin, fetchSite, fetchMode, fetchDest } = caller
  if (!isOwnHost(host, port)) return 'ERR_HOST'
  if (origin !== undefined && origin !== `http://${host}`) return 'ERR_ORIGIN'
  // A form of another page could send anything that needs no consent; browsers say with each POST where it comes from.
  if (method === 'POST' && origin === undefined) return 'ERR_ORIGIN'
  if (fetchSite === undefined || fetchSite === 'same-origin') return null
  const isNavigation = fetchMode === 'navigate' && fetchDest === 'document'
  // `none`: typed in, or opened by another program.
  if (fetchSite === 'none' && method !== 'POST') return null
  return hasToken && isNavigation && method === 'GET' ? null : 'ERR_CROSS_SITE'
}
