/**
 * `npm run screenshots`: makes the pictures of docs/images from what is there now: the live page over a made-up sbot with a day
 * of history, and the command line on a real one. Needs Chromium (`CHROMIUM` names another than /usr/bin/chromium).
 */
import { mkdirSync, statSync, writeFileSync } from 'fs'
import { join } from 'path'

import type { Browser, Page } from 'playwright-core'

import plugins = require('../src/conn')

import type { ConnectionManager } from '../src/manager'
import { openBrowser, openPage, whyNoBrowser } from './support/browser'
import { eventually } from './support/eventually'
import { bundlePage, servePage } from './support/page-server'
import { fakeKey, makeWorld } from './support/page-world'
import { bootStack, closeAll, findFreePort } from './support/stack'
import { runInTerminal } from './support/terminal'
import { terminalPicture } from './support/terminal-picture'

const ROOT = join(__dirname, '..')
const IMAGES = join(ROOT, 'docs', 'images')
const MAIN = join(ROOT, 'src', 'cli', 'main.ts')
const SIZE_MAX = 400_000
const LIMIT_MS = 30_000

const say = (name: string): void => {
  const { size } = statSync(join(IMAGES, name))
  process.stdout.write(`docs/images/${name} ${Math.round(size / 1024)} kB\n`)
  if (size > SIZE_MAX) throw new Error(`${name} is larger than ${SIZE_MAX} bytes`)
}

async function picturePage(browser: Browser): Promise<void> {
  const server = await servePage(makeWorld({ now: Date.now() }), await bundlePage())
  const take = async (name: string, colorScheme: 'light' | 'dark', prepare: (page: Page) => Promise<void>) => {
    const { context, page } = await openPage(browser, server.url, {
      viewport: { width: 1280, height: 960 },
      colorScheme,
    })
    await page.goto(server.url)
    await page.waitForSelector('.live.is-live')
    await prepare(page)
    await page.waitForSelector('.plot canvas')
    await page.screenshot({ path: join(IMAGES, name) })
    await context.close()
    say(name)
  }
  try {
    await take('dashboard-light.png', 'light', async () => {})
    // A dead friend, and why.
    await take('dashboard-dark.png', 'dark', async (page) => {
      await page.locator('.findings .peer-link').first().click()
      await page.waitForSelector('.details .remedy')
      await page.evaluate('document.activeElement.blur(); scrollTo(0, 0)')
    })
  } finally {
    await server.close()
  }
}

/** A sbot with neighbours that answer and pubs that do not. */
async function pictureCommands(browser: Browser): Promise<void> {
  const config = { conn: { autostart: false, populatePubs: false }, gossip: { local: false } }
  const me = await bootStack({ version: 6, name: 'me', ownPlugins: [...plugins], config })
  const names = ['alice', 'bob', 'carol', 'erin', 'frank']
  const others = await Promise.all(names.map((name) => bootStack({ version: 6, name })))
  const manager = me.ssb.connectionManager as ConnectionManager
  const conn = me.ssb.conn as { remember(address: string, data: object): void }
  try {
    others.forEach((other, n) => {
      conn.remember(other.address, { key: other.id, name: names[n] })
      manager.peer.setPriority({ id: other.id, priority: n < 3 ? 'HIGH' : 'MEDIUM' })
    })
    const dead: string[] = []
    for (let n = 0; n < 7; n++) {
      const key = fakeKey(n + 40)
      conn.remember(`net:127.0.0.1:${await findFreePort()}~shs:${key}`, {
        key: `@${key}.ed25519`,
        name: n === 0 ? 'dave' : `pub${n}.example.com`,
      })
      dead.push(`@${key}.ed25519`)
    }
    manager.peer.setLongTerm({ id: others[0]?.id as string, isLongTerm: true })
    manager.peer.setPriority({ id: dead[0] as string, priority: 'HIGH' })
    manager.peer.setPriority({ id: dead[6] as string, priority: 'BANNED' })
    manager.connections.setMaxByType({ net: 6 })
    writeFileSync(join(me.path, 'config'), JSON.stringify({ host: '127.0.0.1', port: me.port, caps: { shs: me.shs } }))
    const run = (command: string) => `"${process.execPath}" --require tsx/cjs "${MAIN}" ${command} --path "${me.path}"`

    const watch = await runInTerminal(run('watch'), { columns: 116, lines: 24 })
    await watch.until((text) => text.includes('alice') && /\d+ peers/.test(text) && text.includes('dave'), 'the peers')
    // Under its eyes, so that the last lines tell of it.
    manager.connections.start()
    const errorsOf = (id: string): number => manager.peer.get(id)?.routes[0]?.errorCount ?? 0
    await eventually(
      () =>
        others.slice(0, 3).every((other) => manager.peer.get(other.id)?.connection.status === 'connected') &&
        dead.slice(0, 6).every((id) => errorsOf(id) > 0),
      { timeoutMs: LIMIT_MS, message: 'some are connected and some have failed' },
    )
    // A row below the first, so that the selection is seen.
    watch.type('\u001b[B')
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    await terminalPicture(browser, watch.printed(), join(IMAGES, 'watch.png'), { columns: 116, lines: 24 })
    watch.type('q')
    await watch.ended()
    watch.close()
    say('watch.png')

    const lines = 40
    const why = await runInTerminal(run(`why ${dead[0]}`), { columns: 110, lines })
    await why.ended()
    const prompt = `\u001b[2m$\u001b[0m sbot-connections why ${dead[0]}\n`
    await terminalPicture(browser, prompt + why.printed(), join(IMAGES, 'why.png'), { columns: 110, lines: lines + 1 })
    why.close()
    say('why.png')
  } finally {
    await closeAll(me, ...others)
  }
}

async function main(): Promise<void> {
  const missing = whyNoBrowser()
  if (missing !== null) throw new Error(missing)
  mkdirSync(IMAGES, { recursive: true })
  const browser = await openBrowser()
  try {
    await picturePage(browser)
    await pictureCommands(browser)
  } finally {
    await browser.close()
  }
}

main().then(
  () => process.exit(0),
  (error: Error) => {
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  },
)
