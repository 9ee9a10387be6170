/** HTTP as bytes, so that a test can send what no client would, and a reader of server-sent events. */
import { get, type IncomingMessage } from 'http'
import { connect } from 'net'

import { withTimeout } from './eventually'

export interface Reply {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** All of it, as it came. */
  readonly raw: string
}

export interface Ask {
  readonly method?: string
  readonly path?: string
  /** Over the defaults (a right Host); null leaves one out. */
  readonly headers?: Readonly<Record<string, string | null>>
  readonly body?: string
}

const LIMIT_MS = 10_000

/** Sends these bytes and reads to the end of the connection. Resolves with what came, however it ended. */
export function exchange(port: number, bytes: string | Buffer, host = '127.0.0.1'): Promise<string> {
  const done = new Promise<string>((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(port, host, () => socket.write(bytes))
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // It may answer and cut while we still write.
      if (chunks.length === 0 && error.code === 'ECONNREFUSED') reject(error)
    })
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('utf8')))
  })
  return withTimeout(done, LIMIT_MS, 'the server answers and closes')
}

/** One request on a connection of its own. */
export async function request(port: number, ask: Ask = {}): Promise<Reply> {
  const { method = 'GET', path = '/', body } = ask
  const headers: Record<string, string | null> = { Host: `127.0.0.1:${port}`, Connection: 'close', ...ask.headers }
  if (body !== undefined && headers['Content-Length'] === undefined)
    headers['Content-Length'] = String(Buffer.byteLength(body))
  const head = Object.entries(headers).flatMap(([name, value]) => (value === null ? [] : [`${name}: ${value}`]))
  const raw = await exchange(port, `${method} ${path} HTTP/1.1\r\n${head.join('\r\n')}\r\n\r\n${body ?? ''}`)
  return parseReply(raw)
}

export function parseReply(raw: string): Reply {
  const at = raw.indexOf('\r\n\r\n')
  const [first = '', ...lines] = raw.slice(0, at < 0 ? raw.length : at).split('\r\n')
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  return { status: Number(first.split(' ')[1]), headers, body: at < 0 ? '' : raw.slice(at + 4), raw }
}

/** Name and data of each event in a text of whole events; comments are left out. */
export function parseEvents(text: string): { readonly name: string; readonly data: unknown }[] {
  return text
    .split('\n\n')
    .filter((block) => block.startsWith('event: '))
    .map((block) => {
      const [name = '', data = ''] = block.split('\n')
      return { name: name.slice('event: '.length), data: JSON.parse(data.slice('data: '.length)) }
    })
}

export interface EventReader {
  /** Of the answer; 0 before it. */
  readonly status: number
  /** All that came so far, in order. */
  readonly events: readonly { readonly name: string; readonly data: unknown }[]
  of(name: string): readonly unknown[]
  readonly isClosed: boolean
  /** The body as it came. */
  readonly raw: string
  /** Takes nothing more, until `resume`. */
  pause(): void
  resume(): void
  close(): void
}

/** What a browser has of a session of the live page. */
export interface PageSession {
  /** Name and value. */
  readonly cookie: string
  readonly key: string
}

/** Trades the token in an address of the live page for a session. */
export async function enterPage(address: string): Promise<PageSession> {
  const url = new URL(address)
  const reply = await request(Number(url.port), { path: `/${url.search}`, headers: { Host: url.host } })
  const [, key] = /^\/#key=([\w-]{32})$/.exec(reply.headers.location ?? '') ?? []
  if (reply.status !== 303 || key === undefined) throw new Error(reply.raw)
  return { cookie: (reply.headers['set-cookie'] ?? '').split(';')[0] ?? '', key }
}

/** Opens a stream of events. */
export function openEvents(port: number, { cookie, key }: PageSession): EventReader {
  let raw = ''
  let rest = ''
  let isClosed = false
  let response: IncomingMessage | null = null
  const events: { readonly name: string; readonly data: unknown }[] = []
  const sent = get(
    { host: '127.0.0.1', port, path: `/events?key=${key}`, headers: { Cookie: cookie }, agent: false },
    (answered) => {
      response = answered
      reader.status = answered.statusCode ?? 0
      answered.setEncoding('utf8')
      answered.on('data', (text: string) => {
        raw += text
        rest += text
        const end = rest.lastIndexOf('\n\n')
        if (end < 0) return
        events.push(...parseEvents(rest.slice(0, end + 2)))
        rest = rest.slice(end + 2)
      })
      // An early end is told by `close`.
      answered.on('error', () => {})
    },
  )
  sent.on('error', () => {})
  sent.on('close', () => {
    isClosed = true
  })
  const reader = {
    status: 0,
    events,
    of: (name: string) => events.filter((event) => event.name === name).map(({ data }) => data),
    get isClosed() {
      return isClosed
    },
    get raw() {
      return raw
    },
    pause: () => void response?.pause(),
    resume: () => void response?.resume(),
    close: () => void sent.destroy(),
  }
  return reader
}
