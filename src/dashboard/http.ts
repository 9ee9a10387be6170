/**
 * The HTTP side: who is let in is decided by guard.ts, here is what there is to be had. Every answer forbids the browser
 * whatever the page does not need. No path is ever made of what was asked for: there is a list of what is served.
 */
import { readFile } from 'fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'http'
import type { AddressInfo, Socket } from 'net'
import { join } from 'path'
import { ConnectionManagerError, errorInfo } from '../core/errors'
import type { Clock } from '../shell/clock'
import { answerAct, answerExplain, failure, type ManagerApi, readAct, readTargets } from './act'
import { createDoorkeeper, type Doorkeeper, isSameSecret, whyNotOurs } from './guard'
import type { Live } from './live'
import type { DashboardSettings } from './settings'

/** In the package, and in a checkout whose sources are run as they are. */
const PAGE_FOLDER = join(__dirname, '..', '..', 'lib', 'dashboard', 'page')
const MAX_CONNECTIONS = 64
const MAX_HEADER_BYTES = 8_192
const HEADERS_MS = 10_000
/** How often it is looked for requests that take longer than they may. */
const CHECK_MS = 5_000
const REQUEST_MS = 15_000
const KEEP_ALIVE_MS = 5_000
/** How long a reader may take to hear that it is over. */
const CLOSING_MS = 500
const MAX_ACT_BYTES = 8_192
/** A hundred long addresses. */
const MAX_EXPLAIN_BYTES = 65_536
const MAX_URL = 2_048
/** The figures of 100 000 routes take 100 ms to count: at most this part of the time, however often they are asked for. */
const METRICS_SHARE = 1 / 20

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
const HEADERS: Readonly<Record<string, string>> = {
  'Content-Security-Policy': POLICY,
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
}
const HTML = 'text/html; charset=utf-8'
const JSON_TYPE = 'application/json; charset=utf-8'

/** What takes the key of the session beside the cookie. */
const KEYED: readonly string[] = ['/events', '/act', '/explain']
const KEY_HEADER = 'x-page-key'

/** What is served of the page's folder, and as what. */
const FILES: Readonly<Record<string, string>> = {
  '/main.js': 'text/javascript; charset=utf-8',
  '/main.css': 'text/css; charset=utf-8',
  '/main.js.LEGAL.txt': 'text/plain; charset=utf-8',
}
const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E" +
  "%3Cpath d='M4 11 8 4l4 7z' fill='none' stroke='%23579'/%3E%3Ccircle cx='8' cy='4' r='3' fill='%23579'/%3E" +
  "%3Ccircle cx='4' cy='11' r='3' fill='%23579'/%3E%3Ccircle cx='12' cy='11' r='3' fill='%23579'/%3E%3C/svg%3E"

function document(title: string, head: string, body: string): string {
  return (
    `<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>${title}</title>\n` +
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n' +
    `${head}</head>\n<body>\n${body}\n</body>\n</html>\n`
  )
}

const INDEX = document(
  'Connections',
  `<link rel="icon" href="${ICON}">\n<link rel="stylesheet" href="/main.css">\n<script type="module" src="/main.js"></script>\n`,
  '<noscript>This page shows what happens as it happens, which takes JavaScript. ' +
    'Without it there is the command line: <code>sbot-connections status</code>.</noscript>',
)
/** Who comes from another page has no session with that request, strict as the cookie is; with the next one he has. */
const welcome = (to: string): string =>
  document(
    'Connections',
    `<meta http-equiv="refresh" content="0; url=${to}">\n`,
    `<p><a href="${to}">Go on to the page</a></p>`,
  )
const NO_ENTRY = document(
  'Connections: no entry',
  '',
  '<h1>No entry without a new address</h1>\n' +
    '<p>This page steers your sbot, so it opens only by an address that your sbot has just given out. Each works once, within ' +
    'ten minutes. To get a new one, as the owner of the sbot: <code>sbot-connections dashboard</code>.</p>',
)
const NOT_BUILT = document(
  'Connections: not built',
  '',
  '<p>The page has not been built. In a checkout that is done by <code>npm run build</code>.</p>',
)

export interface DashboardServer {
  readonly port: number
  /** A fresh address with a token of its own. */
  readonly url: () => string
  readonly counts: Doorkeeper['counts']
  /** Ends every stream, cuts every connection and frees the port. */
  readonly close: () => Promise<void>
}

export interface ServerOptions {
  readonly settings: Pick<DashboardSettings, 'host' | 'port' | 'metricsToken'>
  readonly clock: Clock
  readonly manager: ManagerApi
  readonly live: Live
  /** In the text form of Prometheus; null where the manager has none. */
  readonly metrics: () => string | null
  readonly log: (message: string) => void
}

/** Resolves when it listens; rejects with what the system says (EADDRINUSE). */
export function startServer(options: ServerOptions): Promise<DashboardServer> {
  const { settings, clock, manager, live, metrics, log } = options
  const sockets = new Set<Socket>()
  let port = 0
  let isClosing = false
  const doorkeeper = createDoorkeeper({ clock, port: () => port })

  // ---- answers --------------------------------------------------------------------------------------------------------

  const send = (
    res: ServerResponse,
    status: number,
    type: string,
    body: string | Buffer,
    more: Readonly<Record<string, string>> = {},
  ): void => {
    if (res.headersSent || res.destroyed) return
    res.writeHead(status, { ...HEADERS, 'Content-Type': type, 'Content-Length': Buffer.byteLength(body), ...more })
    res.end(body)
  }
  const sendJson = (res: ServerResponse, status: number, value: unknown): void =>
    send(res, status, JSON_TYPE, JSON.stringify(value))
  const refuse = (res: ServerResponse, status: number, code: string, message: string): void =>
    sendJson(res, status, { ok: false, error: { code, message } })

  /** Somebody who may be a person: a page that says what to do. */
  const noEntry = (req: IncomingMessage, res: ServerResponse, code: string): void => {
    drain(req, res)
    if (`${req.headers.accept ?? ''}`.includes('text/html')) return send(res, 403, HTML, NO_ENTRY, { 'X-Reason': code })
    send(res, 403, JSON_TYPE, JSON.stringify({ ok: false, error: { code, message: 'no entry without a session' } }))
  }

  /** A fault of ours: the log has the details. */
  const failed = (req: IncomingMessage, res: ServerResponse, error: unknown): void => {
    log(`a request failed: ${errorInfo(error).message}`)
    if (res.headersSent) return void req.socket.destroy()
    drain(req, res)
    refuse(res, 500, 'ERR_FAILED', 'the request failed')
  }

  /** A body that nobody wants: the connection ends with the answer. */
  const drain = (req: IncomingMessage, res: ServerResponse): void => {
    if (req.method !== 'GET' && req.method !== 'HEAD' && !res.headersSent) res.setHeader('Connection', 'close')
    req.resume()
  }

  // ---- requests -------------------------------------------------------------------------------------------------------

  const handle = (req: IncomingMessage, res: ServerResponse): void => {
    const { method = '', url = '', headers } = req
    if (isClosing) return refuse(res, 503, 'ERR_CLOSED', 'the page is closing')
    const at = url.indexOf('?')
    const path = at < 0 ? url : url.slice(0, at)
    const token =
      path === '/' && at >= 0 && url.length <= MAX_URL ? new URLSearchParams(url.slice(at)).get('token') : null
    const caller = {
      method,
      host: onlyHost(req),
      origin: headers.origin,
      fetchSite: oneOf(headers['sec-fetch-site']),
      fetchMode: oneOf(headers['sec-fetch-mode']),
      fetchDest: oneOf(headers['sec-fetch-dest']),
    }
    const why = whyNotOurs(caller, port, { hasToken: token !== null })
    if (why !== null) return noEntry(req, res, why)
    if (path === '/metrics' && isScraper(headers.authorization)) return serveMetrics(req, res)
    const isSession = doorkeeper.isSession(headers.cookie)
    if (token !== null && method === 'GET') return trade(req, res, token, { isSession, isForeign: isForeign(caller) })
    if (!isSession) return noEntry(req, res, 'ERR_NO_SESSION')
    // The cookie alone, which others on this host are sent too, opens the empty page and the figures.
    if (KEYED.includes(path) && !doorkeeper.isPage(headers.cookie, keyIn(req, path, url)))
      return noEntry(req, res, 'ERR_KEY')
    serve(req, res, path)
  }

  /** Once only: a link that was used, or that lies in the history of a browser, opens nothing. */
  const trade = (
    req: IncomingMessage,
    res: ServerResponse,
    token: string,
    { isSession, isForeign }: { readonly isSession: boolean; readonly isForeign: boolean },
  ): void => {
    // A browser that looks ahead would use it up.
    const purpose = `${oneOf(req.headers['sec-purpose']) ?? ''}${oneOf(req.headers.purpose) ?? ''}`
    if (purpose.includes('prefetch')) return noEntry(req, res, 'ERR_PREFETCH')
    const made = doorkeeper.trade(token)
    if (made === null && !isSession) return noEntry(req, res, 'ERR_TOKEN')
    // What is behind the `#` no browser sends to anybody.
    const to = made === null ? '/' : `/#key=${made.key}`
    const cookie = made === null ? {} : { 'Set-Cookie': doorkeeper.cookieFor(made.session) }
    if (isForeign) return send(res, 200, HTML, welcome(to), cookie)
    send(res, 303, HTML, '', { Location: to, ...cookie })
  }

  const serve = (req: IncomingMessage, res: ServerResponse, path: string): void => {
    const isRead = req.method === 'GET' || req.method === 'HEAD'
    const isPosted = path === '/act' || path === '/explain'
    const isKnown = isPosted || ['/', '/events', '/metrics'].includes(path) || Object.keys(FILES).includes(path)
    if (!isKnown) {
      drain(req, res)
      return refuse(res, 404, 'ERR_NOT_FOUND', 'there is nothing here')
    }
    if (isPosted ? req.method !== 'POST' : !isRead || (path === '/events' && req.method !== 'GET')) {
      drain(req, res)
      const body = JSON.stringify({ ok: false, error: { code: 'ERR_METHOD', message: 'not by this method' } })
      return send(res, 405, JSON_TYPE, body, { Allow: isPosted ? 'POST' : path === '/events' ? 'GET' : 'GET, HEAD' })
    }
    if (isPosted) return void takePost(req, res, path).catch((error) => failed(req, res, error))
    if (path === '/events') return serveEvents(req, res)
    if (path === '/metrics') return serveMetrics(req, res)
    if (path === '/') return send(res, 200, HTML, INDEX)
    serveFile(res, path)
  }

  const serveFile = (res: ServerResponse, path: string): void => {
    // Looked up in the list again: what is read is ours, never what was asked for.
    const [name, type] = Object.entries(FILES).find(([known]) => known === path) ?? []
    if (name === undefined || type === undefined) return refuse(res, 404, 'ERR_NOT_FOUND', 'there is nothing here')
    readFile(join(PAGE_FOLDER, name.slice(1)), (error, body) => {
      if (error) return send(res, 503, HTML, NOT_BUILT)
      send(res, 200, type, body)
    })
  }

  const isScraper = (authorization: string | undefined): boolean =>
    settings.metricsToken !== null &&
    authorization !== undefined &&
    isSameSecret(authorization, `Bearer ${settings.metricsToken}`)

  let counted: { readonly text: string | null; readonly at: number; readonly tookMs: number } | null = null
  const figures = (): string | null => {
    const startedAt = clock.now()
    const ageMs = counted === null ? 0 : startedAt - counted.at
    if (counted !== null && ageMs >= 0 && ageMs < counted.tookMs / METRICS_SHARE) return counted.text
    const text = metrics()
    counted = { text, at: clock.now(), tookMs: clock.now() - startedAt }
    return text
  }

  const serveMetrics = (req: IncomingMessage, res: ServerResponse): void => {
    if (req.method !== 'GET' && req.method !== 'HEAD') {
      drain(req, res)
      return refuse(res, 405, 'ERR_METHOD', 'not by this method')
    }
    const text = figures()
    if (text === null) return refuse(res, 404, 'ERR_NOT_FOUND', 'this version of the manager has no figures')
    send(res, 200, 'text/plain; version=0.0.4; charset=utf-8', text)
  }

  const serveEvents = (req: IncomingMessage, res: ServerResponse): void => {
    const { cookie } = req.headers
    let end: (() => void) | null = null
    req.socket.setNoDelay(true)
    const sink = {
      write: (chunk: string): boolean => res.write(chunk),
      onDrain: (fn: () => void): void => {
        res.on('drain', fn)
      },
      end: (): void => {
        res.end()
        // Who does not read does not hear of the end either.
        const timer = setTimeout(() => req.socket.destroy(), CLOSING_MS)
        timer.unref()
        req.socket.once('close', () => clearTimeout(timer))
      },
    }
    const isThere = (): boolean => !res.destroyed && doorkeeper.isSession(cookie)
    end = live.add(sink, isThere)
    if (end === null) return refuse(res, 503, 'ERR_TOO_MANY_READERS', 'the page is open too many times')
    res.on('close', end)
    res.on('error', end)
    res.writeHead(200, { ...HEADERS, 'Content-Type': 'text/event-stream; charset=utf-8' })
    res.flushHeaders()
  }

  const takePost = async (req: IncomingMessage, res: ServerResponse, path: string): Promise<void> => {
    const isAct = path === '/act'
    if (!isJson(req.headers['content-type'])) {
      drain(req, res)
      return refuse(res, 415, 'ERR_CONTENT_TYPE', 'expected application/json')
    }
    let answer: unknown
    try {
      const value = await readJson(req, isAct ? MAX_ACT_BYTES : MAX_EXPLAIN_BYTES)
      const [act, targets] = isAct ? [readAct(value), null] : [null, readTargets(value)]
      if (isClosing) throw new ConnectionManagerError('ClosedError', 'ERR_CLOSED', 'the page is closing')
      answer = act ? await answerAct(manager, act) : answerExplain(manager, targets ?? [])
    } catch (error) {
      const { code } = errorInfo(error)
      if (code === 'ERR_TOO_LARGE') drain(req, res)
      return sendJson(res, code === 'ERR_TOO_LARGE' ? 413 : code === 'ERR_CLOSED' ? 503 : 400, failure(error))
    }
    sendJson(res, 200, answer)
  }

  // ---- the server -----------------------------------------------------------------------------------------------------

  const onRequest = (req: IncomingMessage, res: ServerResponse): void => {
    try {
      handle(req, res)
    } catch (error) {
      failed(req, res, error)
    }
  }
  // Known to Node 18 and later; before, each request has a timer.
  const checks: object = { connectionsCheckingInterval: CHECK_MS }
  const server: Server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, ...checks }, onRequest)
  server.maxConnections = MAX_CONNECTIONS
  server.maxHeadersCount = 100
  server.headersTimeout = HEADERS_MS
  server.requestTimeout = REQUEST_MS
  server.keepAliveTimeout = KEEP_ALIVE_MS
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('clientError', (_, socket) => {
    if (!socket.writable) return void socket.destroy()
    // Who does not hang up would hold one of the few places for ever.
    socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n', () => socket.destroy())
  })

  const urlOf = (path: string): string => `http://${settings.host === '::1' ? '[::1]' : settings.host}:${port}${path}`

  const close = (): Promise<void> =>
    new Promise((resolve) => {
      isClosing = true
      doorkeeper.reset()
      server.close(() => resolve())
      live.close()
      for (const socket of sockets) {
        const timer = setTimeout(() => socket.destroy(), CLOSING_MS)
        timer.unref()
        socket.once('close', () => clearTimeout(timer))
        // What is written goes out, and no more is heard.
        socket.end()
      }
    })

  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: settings.host, port: settings.port, exclusive: true }, () => {
      server.removeListener('error', reject)
      server.on('error', (error) => log(`the server of the live page: ${errorInfo(error).message}`))
      port = (server.address() as AddressInfo).port
      resolve({
        port,
        url: () => urlOf(`/?token=${doorkeeper.issueToken()}`),
        counts: doorkeeper.counts,
        close,
      })
    })
  })
}

/** Undefined unless it was said once: whoever says two hopes that others go by the other one. */
function onlyHost(req: IncomingMessage): string | undefined {
  let count = 0
  for (let i = 0; i < req.rawHeaders.length; i += 2) if (req.rawHeaders[i]?.toLowerCase() === 'host') count++
  return count === 1 ? req.headers.host : undefined
}

function oneOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(', ') : header
}

/** An EventSource has no headers of its own. */
function keyIn(req: IncomingMessage, path: string, url: string): string | null {
  if (path !== '/events') return oneOf(req.headers[KEY_HEADER]) ?? null
  return url.length <= MAX_URL ? new URLSearchParams(url.slice(path.length)).get('key') : null
}

function isForeign({ fetchSite }: { readonly fetchSite: string | undefined }): boolean {
  return fetchSite !== undefined && fetchSite !== 'none' && fetchSite !== 'same-origin'
}

/** A type that forms can send needs no consent of ours, so it is none. */
function isJson(type: string | undefined): boolean {
  return type !== undefined && /^application\/json\s*(;\s*charset=utf-8\s*)?$/i.test(type)
}

/** Rejects with ERR_TOO_LARGE or ERR_BAD_JSON. */
function readJson(req: IncomingMessage, maxBytes: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    const fail = (code: string, message: string): void => {
      chunks.length = 0
      req.removeAllListeners('data')
      reject(new ConnectionManagerError('BadRequestError', code, message))
    }
    req.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > maxBytes) return fail('ERR_TOO_LARGE', `expected at most ${maxBytes} bytes`)
      chunks.push(chunk)
    })
    req.on('error', () => fail('ERR_BAD_JSON', 'the request ended early'))
    req.on('aborted', () => fail('ERR_BAD_JSON', 'the request ended early'))
    req.on('end', () => {
      try {
        // Throws for what is not UTF-8.
        resolve(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))))
      } catch {
        fail('ERR_BAD_JSON', 'expected JSON')
      }
    })
  })
}
