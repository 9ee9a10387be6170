/**
 * The page of `src/dashboard/page`, bundled as it is now, served with the headers of the real server over a made-up sbot: for
 * tests of the page alone and for pictures. It answers as the protocol says, keeps what was asked, and sends what a test
 * tells it to.
 */

import { build } from 'esbuild'
import { createServer, type ServerResponse } from 'http'
import type { AddressInfo } from 'net'
import { join } from 'path'

import type { Act, Answer, Events } from '../../src/dashboard/protocol'
import type { World } from './page-world'

const PAGE = join(__dirname, '..', '..', 'src', 'dashboard', 'page')
/** What the real server sends: what breaks it is seen in the console. */
export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
const SLICE = 500
const BODY_MAX = 1_000_000

export interface Bundle {
  readonly js: string
  readonly css: string
}

/** Of the sources as they are, so that no test runs against an old build. */
export async function bundlePage(): Promise<Bundle> {
  const result = await build({
    entryPoints: [join(PAGE, 'main.tsx')],
    bundle: true,
    minify: true,
    target: 'es2020',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'none',
    logLevel: 'silent',
    write: false,
    outdir: '/bundle',
  })
  const text = (end: string): string => result.outputFiles.find((file) => file.path.endsWith(end))?.text ?? ''
  return { js: text('.js'), css: text('.css') }
}

export interface PageServer {
  readonly url: string
  readonly acts: readonly Act[]
  /** Targets of each `/explain`, and when it came (ms of performance.now). */
  readonly explained: readonly { readonly at: number; readonly targets: readonly string[] }[]
  /** Streams that are open now, and how many there were. */
  readonly streams: () => number
  readonly streamsSoFar: () => number
  send<Name extends keyof Events>(name: Name, data: Events[Name]): void
  /** What the next acts are answered with; undefined: `ok`. */
  answer(answer: Answer | undefined): void
  /** Who opens a stream from now on sees this. */
  show(world: World): void
  /** Cuts the streams; while `refuse` is set new ones get that status. */
  cut(refuse?: number): void
  admit(): void
  close(): Promise<void>
}

const HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Connections</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/main.css">
<script type="module" src="/main.js"></script>
</head>
<body>
<noscript>JavaScript is needed.</noscript>
</body>
</html>
`

export async function servePage(first: World, bundle: Bundle): Promise<PageServer> {
  let world = first
  let refusal: number | null = null
  let answer: Answer | undefined
  let count = 0
  const acts: Act[] = []
  const explained: { at: number; targets: string[] }[] = []
  const streams = new Set<ServerResponse>()

  const write = (to: ServerResponse, name: string, data: unknown): void => {
    to.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`)
  }
  const slices = <T>(items: readonly T[]): T[][] => {
    const found: T[][] = []
    for (let i = 0; i < items.length; i += SLICE) found.push(items.slice(i, i + SLICE))
    return found
  }
  const tellAll = (to: ServerResponse): void => {
    write(to, 'hello', { ...world.hello, now: Date.now() })
    write(to, 'status', world.status)
    for (const slice of slices(world.peers)) write(to, 'peers', slice)
    for (const slice of slices(world.history)) write(to, 'history', slice)
    write(to, 'synced', {})
    write(to, 'findings', world.findings)
    for (const slice of slices(world.feeds)) write(to, 'feeds', slice)
    write(to, 'sync', world.sync)
  }

  const server = createServer((req, res) => {
    const headers = {
      'content-security-policy': POLICY,
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
    }
    const give = (type: string, body: string, status = 200): void => {
      res.writeHead(status, { ...headers, 'content-type': `${type}; charset=utf-8` })
      res.end(body)
    }
    const path = (req.url ?? '/').split('?')[0]
    if (req.method === 'GET' && path === '/') return give('text/html', HTML)
    if (req.method === 'GET' && path === '/main.js') return give('text/javascript', bundle.js)
    if (req.method === 'GET' && path === '/main.css') return give('text/css', bundle.css)
    if (req.method === 'GET' && path === '/events') {
      if (refusal !== null) return give('application/json', '{}', refusal)
      res.writeHead(200, { ...headers, 'content-type': 'text/event-stream' })
      streams.add(res)
      count++
      res.on('close', () => streams.delete(res))
      return tellAll(res)
    }
    if (req.method === 'POST' && (path === '/act' || path === '/explain')) {
      let body = ''
      req.setEncoding('utf8').on('data', (chunk: string) => {
        if (body.length < BODY_MAX) body += chunk
      })
      req.on('end', () => {
        if (path === '/act') {
          acts.push(JSON.parse(body) as Act)
          return give('application/json', JSON.stringify(answer ?? { ok: true, result: true }))
        }
        const { targets } = JSON.parse(body) as { targets: string[] }
        explained.push({ at: performance.now(), targets })
        give('application/json', JSON.stringify(targets.map(world.explain)))
      })
      return
    }
    give('text/plain', 'not here', 404)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    acts,
    explained,
    streams: () => streams.size,
    streamsSoFar: () => count,
    send: (name, data) => {
      for (const stream of streams) write(stream, name, data)
    },
    answer: (next) => {
      answer = next
    },
    show: (next) => {
      world = next
    },
    cut: (refuse) => {
      refusal = refuse ?? null
      for (const stream of streams) stream.destroy()
    },
    admit: () => {
      refusal = null
    },
    close: () =>
      new Promise((resolve) => {
        for (const stream of streams) stream.destroy()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
