/**
 * The live page in a browser, over a made-up sbot: it loads without a complaint, goes live, does what it says, holds against
 * hostile input and against 10 000 routes, and can be used by the keyboard, by those who hear it, and on a small screen.
 */
import type { Browser, CDPSession, Page } from 'playwright-core'

import test = require('tape')

import type { Act, PeerRow } from '../../src/dashboard/protocol'
import { openBrowser, openPage, type Watched, whyNoBrowser } from '../support/browser'
import { eventually } from '../support/eventually'
import { type Bundle, bundlePage, type PageServer, servePage } from '../support/page-server'
import { explanation, fakeId, fakeKey, makeWorld, peerRow, routeRow, type World } from '../support/page-world'

const LIMIT_MS = 15_000
/** Controls, and what turns the direction of a line. The ends of lines in the text of a page are its own. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these must not be there
const HARMFUL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u200e\u200f]/g
const missing = whyNoBrowser()
if (missing !== null)
  test('the live page in a browser', (t) => {
    t.skip(missing)
    t.end()
  })
else {
  let browser: Browser
  let bundle: Bundle

  test('setup', async (t) => {
    ;[browser, bundle] = await Promise.all([openBrowser(), bundlePage()])
    t.ok(bundle.js.length > 10_000 && bundle.css.length > 1_000, 'the page is bundled as it is now')
  })

  interface Scene extends Watched {
    readonly server: PageServer
    readonly world: World
  }

  async function prepare(
    world: World,
    options: Parameters<typeof openPage>[2] = {},
    before: (page: Page) => Promise<void> = async () => {},
  ): Promise<Scene> {
    const server = await servePage(world, bundle)
    const watched = await openPage(browser, server.url, options)
    watched.page.setDefaultTimeout(LIMIT_MS)
    await before(watched.page)
    await watched.page.goto(server.url)
    await watched.page.waitForSelector('.live.is-live')
    await watched.page.waitForSelector('.grid-row')
    return { ...watched, server, world }
  }

  /** Presses the button, unless the page has tried by itself in this very moment and it is gone. */
  async function tryNow(page: Page): Promise<void> {
    await page.evaluate('document.querySelector(".lost button")?.click()')
  }

  /** A server with a world, a page that shows it, and the end of both. */
  async function scene(
    run: (scene: Scene) => Promise<void>,
    world?: World,
    options?: Parameters<typeof openPage>[2],
    before?: (page: Page) => Promise<void>,
  ): Promise<void> {
    const isUsual = world === undefined && options === undefined
    const opened = await (isUsual ? usual() : prepare(world ?? makeUsual(), options, before))
    try {
      await run(opened)
    } finally {
      await opened.context.close()
      await opened.server.close()
    }
  }

  const makeUsual = (): World => makeWorld({ now: Date.now(), peers: 60 })
  let next: Promise<Scene> | null = null
  /** The next one is opened while a test has this one: that takes a good part of what a short test does. */
  function usual(): Promise<Scene> {
    const mine = next ?? prepare(makeUsual())
    next = prepare(makeUsual())
    // Whoever takes it hears of what went wrong.
    next.catch(() => {})
    return mine
  }

  const until = (condition: () => unknown, message: string): Promise<unknown> =>
    eventually(condition, { timeoutMs: LIMIT_MS, everyMs: 30, message })
  const named = (world: World, name: string): PeerRow => {
    const found = world.peers.find((peer) => peer.name === name)
    if (!found) throw new Error(`no ${name}`)
    return found
  }
  const connectedIn = (world: World): PeerRow[] => world.peers.filter((peer) => peer.connection.status === 'connected')
  /** Opens the details of a peer by the table. */
  async function open(page: Page, text: string): Promise<void> {
    await page.fill('.search input', text)
    await page.locator('.grid-row').first().click()
    await page.waitForSelector('.details')
  }

  test('the page loads without a complaint and from nowhere else', async (t) => {
    await scene(async ({ page, complaints, strangers, world, server }) => {
      const up = connectedIn(world).length
      t.equal(await page.textContent('#now h2'), `Connected to ${up} peers`)
      t.equal(await page.locator('.findings .finding').count(), world.findings.length)
      t.ok((await page.locator('.map .node').count()) >= 50, 'the map is drawn')
      t.equal(await page.locator('.map .node.is-connected').count(), up, 'with who is connected')
      t.equal(await page.locator('.plot canvas').count(), 2, 'and the plots')
      t.equal(await page.textContent('#timeline [aria-pressed=true]'), '24 h', 'as far as the history reaches back')
      t.equal(await page.textContent('#dials .card-head .faint'), 'the last day')
      const classes = page.locator('.slot-class h3')
      t.deepEqual(await classes.allTextContents(), ['net', 'onion', 'wss', 'local', 'tunnel'], 'classes with anything')
      await page.click('#slots button:text-is("Show 2 more")')
      t.deepEqual((await classes.allTextContents()).slice(5), ['rtc', 'ws'], 'and the others when asked for')
      t.ok((await page.locator('.item.is-outbound').count()) > 5, 'and the timeline')
      t.equal(await page.title(), `(${up}) sbot connections`)
      await until(() => server.explained.length > 0, 'reasons are asked for')
      await page.waitForSelector('.grid-row .c-reason :text("connected for")')
      t.ok(
        server.explained.every((each) => each.targets.length <= 100),
        'in batches',
      )
      // The name of a peer on the map is as good as its mark.
      const word = page.locator('.node:not(.is-selected) .node-word').first()
      const name = (await word.textContent()) ?? ''
      await word.hover()
      t.ok((await page.textContent('.map .tip strong'))?.startsWith(name), `${name}: its name tells of it`)
      await word.click()
      await page.waitForSelector('.details')
      t.ok((await page.textContent('.details h2'))?.startsWith(name), 'and opens its details')
      await page.click('.finding button:text-is("Add an address")')
      t.equal(await page.textContent('.details h2'), 'dave', 'a finding leads to the peer that it names')
      t.ok(await page.evaluate('document.activeElement.matches(".details .add-route input")'), 'where it is mended')
      t.match((await page.textContent('.findings')) ?? '', /1 followed peer has not been connected/)
      t.deepEqual(complaints, [], 'no error, no violation of the content security policy')
      t.deepEqual(strangers, [], 'no request goes elsewhere')
    })
  })

  test('what happens is shown as it happens', async (t) => {
    await scene(async ({ page, server, world, complaints }) => {
      const carol = named(world, 'dave')
      await page.fill('.search input', carol.id)
      const row = page.locator('.grid-row').first()
      t.match((await row.textContent()) ?? '', /failing/)
      const up = connectedIn(world).length
      const connected: PeerRow = {
        ...carol,
        class: 'net',
        cause: 'request',
        connection: {
          status: 'connected',
          direction: 'outbound',
          address: carol.routes[0]?.address ?? null,
          since: Date.now(),
          rtt: null,
          skew: null,
        },
        routes: carol.routes.map((route, i) => ({ ...route, status: i === 0 ? 'connected' : 'idle', errorCount: 0 })),
      }
      server.send('peers', [connected])
      await page.waitForSelector('.grid-row.is-connected')
      t.match((await row.textContent()) ?? '', /connected/, 'the row changes')
      await page.waitForSelector(`.node.is-connected[data-peer="${carol.id}"]`)
      t.equal(await page.textContent('#now h2'), `Connected to ${up + 1} peers`, 'the headline too')
      server.send('gone', [carol.id])
      await until(async () => (await page.locator('.grid-row').count()) === 0, 'the row goes')
      t.match((await page.textContent('.matches')) ?? '', /^0 routes/)
      server.send('status', { ...world.status, mode: 'off' })
      await page.waitForSelector('.mode button:text("Start")')
      server.send('sync', { phase: 'syncing', peer: carol.id, have: 50, want: 200, rate: 12, etaMs: 90_000 })
      await page.waitForSelector('progress')
      t.equal(await page.getAttribute('progress', 'value'), '0.25')
      t.match(
        (await page.textContent('.sync-figures')) ?? '',
        /50 of 200 messages \(25 %\)12 messages\/sabout 1 min left/,
      )
      server.send('findings', [])
      await page.waitForSelector('.finding-none')
      t.deepEqual(complaints, [])
    })
  })

  test('a lost connection is said, and made again', async (t) => {
    await scene(async ({ page, server }) => {
      server.cut(503)
      await page.waitForSelector('.lost')
      t.match((await page.textContent('.lost')) ?? '', /Connection lost\. What is shown is \d+ s old/)
      t.equal(await page.textContent('.live'), 'Lost')
      t.ok((await page.locator('.map .node').count()) > 0, 'what was known stays')
      server.show(makeWorld({ now: Date.now(), peers: 5 }))
      t.equal(await page.textContent('.lost button'), 'Try now')
      server.admit()
      await tryNow(page)
      await page.waitForSelector('.live.is-live')
      await until(async () => (await page.locator('.map .node').count()) === 5, 'what is new is shown')
      t.ok(
        await page.evaluate(
          'document.querySelector(".grid").clientHeight < 560 && document.querySelector(".grid").scrollHeight <= document.querySelector(".grid").clientHeight',
        ),
        'the table is as high as its rows',
      )
      t.equal(await page.locator('.lost').count(), 0)
      server.send('bye', {})
      await page.waitForSelector('.lost')
      t.pass('the end of the sbot is noticed')
      await page.waitForSelector('.live.is-live')
      server.cut(403)
      await page.waitForSelector('.lost')
      await tryNow(page)
      await page.waitForSelector('.lost :text("no longer let in")')
      t.pass('so is the end of the session')
    })
  })

  test('the button does not wait for the page to try by itself', async (t) => {
    await scene(
      async ({ page, server }) => {
        await page.waitForSelector('.live.is-live')
        await page.clock.pauseAt((await page.evaluate<number>('Date.now()')) + 5_000)
        server.cut()
        // The end of the stream arrives in real time; from then on it is drawn within a moment, and tried again in a second.
        const isSaid = async (): Promise<boolean> => {
          await page.clock.runFor(20)
          return (await page.locator('.lost').count()) > 0
        }
        await until(isSaid, 'the loss is said')
        t.equal(server.streamsSoFar(), 1, 'nothing is tried while the clock stands')
        await page.click('.lost button')
        await until(() => server.streamsSoFar() === 2, 'the button opens a stream')
        t.pass('and once it is pressed, it is')
      },
      makeUsual(),
      {},
      (page) => page.clock.install(),
    )
  })

  const young = (peers: number): World => {
    const world = makeWorld({ now: Date.now(), peers })
    return { ...world, hello: { ...world.hello, historySince: Date.now() - 10 * 60_000 } }
  }

  test('while nobody looks nothing is drawn, and after a minute the stream is given up', async (t) => {
    await scene(
      async ({ page, server, world }) => {
        const look = (isHidden: boolean): Promise<unknown> =>
          page.evaluate(`
            Object.defineProperty(document, 'hidden', { value: ${isHidden}, configurable: true })
            document.dispatchEvent(new Event('visibilitychange'))`)
        const title = (): Promise<string | null> => page.textContent('#now h2')
        const before = await title()
        const span = (): Promise<string | null> => page.textContent('#timeline [aria-pressed=true]')
        t.equal(await span(), '15 min', 'a young history is not squeezed into a corner')
        await page.clock.fastForward(10 * 60_000)
        await until(async () => (await span()) === '1 h', 'what is shown grows with it')
        await page.click('#timeline button:text-is("15 min")')
        await page.clock.fastForward(10 * 60_000)
        await page.clock.runFor(2_000)
        t.equal(await span(), '15 min', 'until the reader chooses')
        // A stream of our own, to know when the other one has been told as well.
        await page.evaluate(
          `new EventSource('events').addEventListener('gone', (event) => { window.told = event.data; event.target.close() })`,
        )
        await until(() => server.streams() === 2, 'both streams are open')
        await look(true)
        server.send(
          'gone',
          world.peers.map((peer) => peer.id),
        )
        await until(() => page.evaluate('window.told'), 'it was told')
        await page.clock.runFor(10_000)
        t.equal(await title(), before, 'nothing is drawn')
        t.equal(server.streams(), 1, 'but kept')
        const asked = server.explained.length
        await page.clock.runFor(55_000)
        await until(() => server.streams() === 0, 'the stream is given up')
        await page.clock.runFor(600_000)
        t.equal(server.streamsSoFar(), 2, 'and not opened again')
        t.equal(server.explained.length, asked, 'nor is anything asked')
        server.show(makeWorld({ now: Date.now(), peers: 3 }))
        await look(false)
        await page.clock.runFor(1_000)
        await until(
          async () => (await page.locator('.map .node').count()) === 3,
          'whoever comes back sees how it is now',
        )
      },
      young(20),
      {},
      (page) => page.clock.install(),
    )
  })

  /** What each button posts, and which of them ask first. */
  test('each action posts what it says, after it was confirmed where it cuts', async (t) => {
    await scene(async ({ page, server, world, complaints }) => {
      const up = connectedIn(world).find((peer) => peer.connection.direction === 'outbound') as PeerRow
      const dave = named(world, 'dave')
      const banned = world.peers.find((peer) => peer.priority === 'BANNED') as PeerRow
      const dialog = page.locator('dialog')

      const expectAct = async (act: Act, doing: () => Promise<unknown>, asked: RegExp | null): Promise<void> => {
        const before = server.acts.length
        await doing()
        if (asked !== null) {
          await dialog.waitFor({ state: 'visible' })
          t.match((await dialog.textContent()) ?? '', asked, `${act.action} says what is cut`)
          t.equal(
            await page.evaluate('document.activeElement.textContent'),
            'Cancel',
            'the harmless button has the focus',
          )
          await page.keyboard.press('Escape')
          await dialog.waitFor({ state: 'hidden' })
          t.equal(server.acts.length, before, 'a no does nothing')
          await doing()
          await dialog.locator('button.danger').click()
          await dialog.waitFor({ state: 'hidden' })
        }
        await until(() => server.acts.length > before, `${act.action} is posted`)
        t.deepEqual(server.acts[before], act, act.action)
        await page.locator('.notice.is-done').last().waitFor()
        if (act.action === 'connect' && act.target === dave.id)
          t.equal(
            await page.evaluate(`(() => {
              const { left, top, height } = document.querySelector('.notice.is-done p').getBoundingClientRect()
              return document.elementFromPoint(left + 2, top + height / 2).closest('.notice')
            })()`),
            null,
            'what goes by itself lets the pointer through',
          )
      }
      const inDetails = (text: string) => () => page.click(`.details button:text-is("${text}")`)

      await open(page, up.id)
      await expectAct(
        { action: 'disconnect', target: up.id },
        inDetails('Hang up'),
        /Hang up on .*cuts the connection that we dialed/,
      )
      await expectAct({ action: 'setPriority', target: up.id, priority: 'BANNED' }, inDetails('Ban'), /Ban .*This cuts/)
      await expectAct(
        { action: 'setLongTerm', target: up.id, isLongTerm: !up.isLongTerm },
        () => page.click('.details input[type=checkbox]'),
        null,
      )
      await expectAct(
        { action: 'setPriority', target: up.id, priority: 'LOW' },
        () => page.selectOption('.details select', 'LOW'),
        null,
      )
      await expectAct(
        { action: 'setPriority', target: up.id, priority: 'AUTO' },
        () => page.selectOption('.details select', 'AUTO'),
        null,
      )
      await expectAct(
        { action: 'syncStart', target: up.id },
        inDetails('Initial sync from it'),
        /initial sync from .*This cuts the \d+ connections/,
      )
      const address = up.routes[0]?.address as string
      await expectAct(
        { action: 'removeRoute', address },
        () => page.locator('.route-list li').first().locator('button:text-is("Remove")').click(),
        /Remove this route\?.*this cuts that connection/,
      )

      await open(page, dave.id)
      await expectAct({ action: 'connect', target: dave.id }, inDetails('Connect now'), null)
      await expectAct(
        { action: 'connect', target: dave.routes[0]?.address as string },
        () => page.locator('.route-list li').first().locator('button:text-is("Connect by this")').click(),
        null,
      )
      const another = `net:moved.example.com:8008~shs:${fakeKey(3)}`
      const addInDetails = async (address: string): Promise<void> => {
        await page.fill('.details .add-route input', address)
        await page.click('.details .add-route button')
      }
      await expectAct({ action: 'addRoute', address: another, peer: dave.id }, () => addInDetails(another), null)
      server.answer({ ok: true, result: false })
      await expectAct({ action: 'addRoute', address: another, peer: dave.id }, () => addInDetails(another), null)
      await page.waitForSelector('.notice.is-done :text("known already")')
      t.pass('what was known is not said to be added')
      server.answer({ ok: false, error: { code: 'ERR_OTHER_PEER', message: 'that is an address of another peer' } })
      await addInDetails('net:other')
      await page.click('.notice.is-failed:has-text("of another peer") button')
      t.equal(await page.inputValue('.details .add-route input'), 'net:other', 'what was refused can be mended')
      server.answer(undefined)
      const posted = server.acts.length
      await page.fill('.details .add-route input', '  ')
      await page.click('.details .add-route button')
      await open(page, banned.id)
      t.equal(server.acts.length, posted, 'nothing is not posted')
      t.equal(await page.inputValue('.details .add-route input'), '', 'nor is it offered to the next peer')
      await expectAct({ action: 'setPriority', target: banned.id, priority: 'AUTO' }, inDetails('Unban'), null)
      await page.click('.details-head button')

      const slots = page.locator('.slot-class', { has: page.locator('bdi:text-is("net")') })
      const { max } = world.status.classes.net as { max: number }
      const setSlots = (value: number) => async (): Promise<void> => {
        await slots.locator('input').fill(String(value))
        await slots.locator('button').click()
      }
      await expectAct({ action: 'setMax', max: { net: max + 2 } }, setSlots(max + 2), null)
      await expectAct(
        { action: 'setMax', max: { net: 1 } },
        setSlots(1),
        /Lower the slots of net from \d+ to 1\?.*this cuts up to \d+/,
      )
      await slots.locator('input').fill('-3')
      t.ok(await slots.locator('button').isDisabled(), 'what is no count cannot be sent')

      const added = `net:new.example.com:8008~shs:${fakeKey(77)}`
      await expectAct(
        { action: 'addRoute', address: added },
        async () => {
          await page.fill('#routes .add-route input', `  ${added} `)
          await page.click('#routes .add-route button')
        },
        null,
      )
      // It goes with the answer, which may come later than the server has the request.
      const isCleared = async (): Promise<boolean> => (await page.inputValue('#routes .add-route input')) === ''
      await until(isCleared, 'what was added is no longer in the field')
      await expectAct(
        { action: 'syncStart' },
        () => page.click('button:text-is("Start an initial sync")'),
        /whoever is best/,
      )
      await expectAct(
        { action: 'stop' },
        () => page.click('.mode button'),
        /Stop all connections\? ?This cuts \d+ connections/,
      )
      server.send('status', { ...world.status, mode: 'off' })
      await page.waitForSelector('.mode button:text-is("Start")')
      await expectAct({ action: 'start' }, () => page.click('.mode button'), null)
      server.send('status', { ...world.status, mode: 'initialSync' })
      await page.waitForSelector('button:text-is("Stop the sync")')
      await expectAct({ action: 'syncStop' }, () => page.click('button:text-is("Stop the sync")'), null)

      server.answer({ ok: false, error: { code: 'ERR_BANNED', message: 'the peer is <b>banned</b>' } })
      await open(page, dave.id)
      await page.click('.details button:text-is("Connect now")')
      await page.waitForSelector('.notice.is-failed')
      t.equal(
        await page.textContent('.notice.is-failed p'),
        'the peer is <b>banned</b> (ERR_BANNED)',
        'a refusal is shown as it is',
      )
      t.equal(await page.locator('.notices').getAttribute('aria-live'), 'polite', 'and read out')
      t.deepEqual(complaints, [])
    })
  })

  test('hostile names, addresses and errors execute nothing and break nothing', async (t) => {
    const evil = [
      '<img src=x onerror="window.hacked=1">',
      '"><script>window.hacked=1</script>',
      'javascript:window.hacked=1',
      '\u202eexe.gpj\u2066\u200f',
      '\u001b]0;title\u0007\u001b[31mred',
      'A'.repeat(10_000),
      `Z${'\u0301'.repeat(3_000)}`,
      "'};window.hacked=1;//",
      `$${'{window.hacked=1}'}`,
      '\u0000\ud800\u2028',
      '</style><style>*{display:none}',
      '__proto__',
    ]
    const base = makeWorld({ now: Date.now(), peers: 8 })
    const peers = evil.map((text, n): PeerRow => {
      const address = `net:${text}:8008~shs:${fakeKey(300 + n)}`
      return peerRow(n === 0 ? '@"><svg onload=window.hacked=1>' : fakeId(300 + n), {
        name: text,
        hops: 1,
        class: text.slice(0, 50),
        visitedAt: Date.now() - 1_000,
        connection: {
          status: n % 2 === 0 ? 'connected' : 'idle',
          direction: n % 2 === 0 ? 'outbound' : null,
          address: n % 2 === 0 ? address : null,
          since: Date.now(),
          rtt: null,
          skew: null,
        },
        routes: [
          routeRow(address, {
            class: text.slice(0, 50),
            source: text,
            errorCount: 3,
            lastError: { code: text, message: text, at: Date.now() },
          }),
        ],
      })
    })
    const world: World = {
      ...base,
      peers: [...base.peers, ...peers],
      history: [
        ...base.history,
        ...peers.map((peer, n) => ({
          kind: 'failed' as const,
          peer: peer.id,
          address: peer.routes[0]?.address as string,
          class: evil[n] as string,
          from: Date.now() - 60_000,
          to: Date.now() - 50_000,
          why: evil[n] as string,
          error: evil[n] as string,
        })),
      ],
      feeds: peers.map((peer) => ({
        id: peer.id,
        name: peer.name,
        hops: 1,
        have: 1,
        want: 2,
        arrivedAt: null,
        latestAt: Number.MAX_SAFE_INTEGER,
      })),
      findings: evil.map((text) => ({
        code: text,
        severity: 'error' as const,
        message: text,
        remedy: text,
        since: Date.now(),
        peers: peers.map((peer) => peer.id),
      })),
      status: {
        ...base.status,
        classes: {
          ...base.status.classes,
          ...Object.fromEntries(
            evil.map((text) => [
              text,
              { max: 3, connected: 1, dialing: 0, closing: 0, waiting: 2, nextAttemptAt: null, successRate: 0.5 },
            ]),
          ),
        },
        environment: {
          ...base.status.environment,
          down: evil.map((text) => ({ layer: `portal:${text}`, since: 1, retryAt: 2 })),
        },
      },
      sync: { phase: 'syncing', peer: peers[1]?.id ?? null, have: 5, want: 1, rate: Number.NaN, etaMs: -1 },
      explain: () => explanation({ reason: 'backoff', until: 1, message: evil.join(' '), remedy: evil.join(' ') }),
    }
    await scene(async ({ page, complaints, strangers, server }) => {
      await page.click('.findings button.quiet[aria-expanded]')
      await page.click('button:text-is("As a table")')
      for (const n of [0, 6]) {
        await page.fill('.search input', (peers[n] as PeerRow).id)
        await page.locator('.grid-row').first().click()
        await page.waitForSelector('.details .why .remedy')
      }
      await page.fill('.search input', '')
      await page.hover('.node.is-connected >> nth=0')
      server.answer({ ok: false, error: { code: evil[1] as string, message: evil[0] as string } })
      await page.click('.details button:text-is("Hang up")')
      await page.locator('dialog button.danger').click()
      await page.waitForSelector('.notice.is-failed')
      t.equal(await page.evaluate('window.hacked'), undefined, 'nothing was executed')
      t.equal(
        await page.evaluate('document.querySelectorAll("img, iframe, body script, body style").length'),
        0,
        'no markup came of it',
      )
      t.deepEqual(
        await page.evaluate(
          '[...document.querySelectorAll("a")].map((a) => a.getAttribute("href")).filter((href) => !/^#[a-z]+$/.test(href))',
        ),
        [],
        'no link was made of it',
      )
      const text = (await page.evaluate(
        'document.body.innerText + [...document.querySelectorAll("[aria-label],[title]")].map((e) => e.ariaLabel + e.title).join(" ")',
      )) as string
      t.deepEqual([...new Set(text.match(HARMFUL) ?? [])], [], 'no control is left, in labels neither')
      t.notOk(/A{501}/.test(text), 'nor a text without end')
      t.equal(await page.evaluate('document.documentElement.scrollWidth'), 1280, 'the page is no wider')
      const tall = (await page.evaluate(
        'Math.max(...[...document.querySelectorAll(".finding, .slot-class, .down, .notice")].map((e) => e.clientHeight))',
      )) as number
      t.ok(tall < 500, `nothing is out of shape: the tallest has ${tall} px`)
      t.deepEqual(complaints, [])
      t.deepEqual(strangers, [])
    }, world)
  })

  test('10 000 routes are searched and scrolled without drawing them', async (t) => {
    await scene(
      async ({ page, server, complaints, world }) => {
        const total = world.peers.reduce((sum, peer) => sum + Math.max(1, peer.routes.length), 0)
        t.ok(total >= 10_000, `${total} routes`)
        const rows = page.locator('.grid-row')
        const nodes = async (): Promise<number> =>
          (await page.evaluate('document.querySelectorAll("*").length')) as number
        t.ok((await rows.count()) < 60, 'few rows are drawn')
        t.ok((await nodes()) < 4_500, 'and few elements in all')
        t.ok((await page.locator('.map .node').count()) <= 240, 'the map draws those that matter')
        t.match((await page.textContent('#peers .card-head')) ?? '', /240 that matter most of/, 'and says so')
        await page.evaluate(`
          window.longest = 0
          new PerformanceObserver((list) => { for (const e of list.getEntries()) window.longest = Math.max(window.longest, e.duration) })
            .observe({ type: 'longtask' })
          const grid = document.querySelector('.grid')
          grid.scrollTop = grid.scrollHeight / 2`)
        await until(async () => Number(await rows.first().getAttribute('data-index')) > 4_000, 'rows of the middle')
        t.ok((await rows.count()) < 60, 'still few')
        const inSight = (await rows.nth(10).getAttribute('data-line')) as string
        const askedFor = (): (typeof server.explained)[number] | undefined =>
          server.explained.find((each) => each.targets.includes(inSight))
        await until(askedFor, 'their reasons are asked for')
        t.ok((askedFor()?.targets.length ?? 100) < 60, 'and of no others')
        await page.fill('.search input', `${world.peers[7_000]?.id}`)
        await until(async () => /^[12] routes?/.test((await page.textContent('.matches')) ?? ''), 'one of all is found')
        await page.fill('.search input', '')
        await page.click('.c-errors button')
        await page.click('.c-errors button')
        await until(async () => Number(await rows.first().locator('.c-errors').textContent()) >= 8, 'most errors first')
        t.equal(await page.locator('.c-errors[role=columnheader]').getAttribute('aria-sort'), 'descending')
        // Many changes at once are drawn together.
        await page.evaluate(`
          window.drawn = 0
          new MutationObserver(() => { window.drawn++ }).observe(document.querySelector('#now h2'), { childList: true, characterData: true, subtree: true })`)
        const startedAt = performance.now()
        for (let i = 0; i < 100; i++) {
          server.send(
            'peers',
            world.peers.slice(2_000 + i, 2_001 + i).map((peer) => ({
              ...peer,
              connection: {
                status: 'connected',
                direction: 'inbound',
                address: null,
                since: Date.now(),
                rtt: null,
                skew: null,
              },
            })),
          )
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
        const up = connectedIn(world).length
        await until(
          async () => (await page.textContent('#now h2')) === `Connected to ${up + 100} peers`,
          'all have come',
        )
        const drawn = (await page.evaluate('window.drawn')) as number
        // The slower all of this is, the more frames there may be, but never more than four a second.
        const most = (performance.now() - startedAt) / 250 + 2
        t.ok(drawn >= 2 && drawn <= most, `${drawn} frames for 100 changes`)
        t.comment(`the longest task took ${Math.round((await page.evaluate('window.longest')) as number)} ms`)
        t.deepEqual(complaints, [])
      },
      makeWorld({ now: Date.now(), peers: 9_000 }),
    )
  })

  test('the keyboard alone reaches a peer and hangs up on it', async (t) => {
    await scene(async ({ page, server, world }) => {
      const focused = (): Promise<string> =>
        page.evaluate(
          '(document.activeElement.getAttribute("aria-label") || document.activeElement.textContent).trim()',
        ) as Promise<string>
      await page.keyboard.press('Tab')
      t.equal(await focused(), 'Skip to the content')
      await page.keyboard.press('Enter')
      t.equal(await page.evaluate('document.activeElement.id'), 'main')
      const seen: string[] = []
      for (let i = 0; i < 60 && !/: connected for/.test(seen[seen.length - 1] ?? ''); i++) {
        await page.keyboard.press('Tab')
        seen.push(await focused())
      }
      t.ok(seen.length < 20, `the map is reached after ${seen.length} stops, and is one of them`)
      t.ok(seen.includes('Stop'), 'the mode comes before it')
      const outline = await page.evaluate(
        'getComputedStyle(document.activeElement.querySelector(".touch")).strokeWidth',
      )
      t.equal(outline, '2.5px', 'the focus is seen')
      t.equal(await page.locator('.tip').count(), 1, 'and tells who it is')
      const first = seen[seen.length - 1]
      for (const way of ['ArrowRight', 'ArrowLeft', 'ArrowUp', 'ArrowDown']) {
        await page.keyboard.press(way)
        if ((await focused()) !== first) break
      }
      t.notEqual(await focused(), first, 'arrows go on from there')
      await page.keyboard.press('Home')
      await page.keyboard.press('Enter')
      await page.waitForSelector('.details')
      t.equal(
        await page.evaluate('document.activeElement.closest(".details") !== null'),
        true,
        'the details have the focus',
      )
      await page.keyboard.press('Escape')
      await until(async () => (await page.locator('.details').count()) === 0, 'Escape closes them')
      t.ok(await page.evaluate('document.activeElement.matches(".node")'), 'and the focus is back')

      await page.focus('.grid-row[tabindex="0"]')
      await page.keyboard.press('End')
      const last = world.peers.reduce((sum, peer) => sum + Math.max(1, peer.routes.length), 0) - 1
      await until(
        async () => Number(await page.evaluate('document.activeElement.dataset.index')) === last,
        'the last row has the focus',
      )
      await page.keyboard.press('Home')
      await until(async () => (await page.evaluate('document.activeElement.dataset.index')) === '0', 'the first again')
      await page.keyboard.press('ArrowDown')
      await until(async () => (await page.evaluate('document.activeElement.dataset.index')) === '1', 'the second')
      await page.keyboard.press('Enter')
      await page.waitForSelector('.details')
      for (let i = 0; i < 6 && (await focused()) !== 'Hang up'; i++) await page.keyboard.press('Tab')
      t.equal(await focused(), 'Hang up')
      await page.keyboard.press('Enter')
      await page.locator('dialog').waitFor({ state: 'visible' })
      await page.keyboard.press('Tab')
      await page.keyboard.press('Enter')
      await until(() => server.acts.length === 1, 'it is posted')
      t.equal(server.acts[0]?.action, 'disconnect')

      await page.focus('.item[tabindex="0"]')
      const item = await focused()
      t.match(item, /Began because|failed after/, 'the timeline says why')
      await page.keyboard.press('ArrowDown')
      t.notEqual(await focused(), item, 'and is walked by arrows')
    })
  })

  interface AxNode {
    readonly ignored: boolean
    readonly role?: { readonly value: string }
    readonly name?: { readonly value: string }
  }
  const CONTROLS = [
    'button',
    'link',
    'textbox',
    'searchbox',
    'combobox',
    'checkbox',
    'spinbutton',
    'progressbar',
    'dialog',
    'grid',
    'region',
    'navigation',
    'complementary',
    'image',
    'img',
    'columnheader',
    'group',
    'log',
  ]

  async function tree(page: Page): Promise<AxNode[]> {
    const session: CDPSession = await page.context().newCDPSession(page)
    const { nodes } = (await session.send('Accessibility.getFullAXTree')) as unknown as { nodes: AxNode[] }
    await session.detach()
    return nodes.filter((node) => !node.ignored)
  }

  test('everything has a role and a name', async (t) => {
    await scene(async ({ page, server }) => {
      server.send('sync', { phase: 'syncing', peer: null, have: 1, want: 4, rate: null, etaMs: null })
      await page.waitForSelector('progress')
      await open(page, 'dave')
      const nodes = await tree(page)
      const of = (role: string): AxNode[] => nodes.filter((node) => node.role?.value === role)
      const nameless = nodes.filter(
        (node) => CONTROLS.includes(node.role?.value ?? '') && (node.name?.value ?? '').trim() === '',
      )
      t.deepEqual(
        nameless.map((node) => node.role?.value),
        [],
        'no control without a name',
      )
      for (const [role, least] of [
        ['button', 60],
        ['heading', 10],
        ['link', 6],
        ['row', 5],
        ['gridcell', 5],
        ['columnheader', 10],
        ['searchbox', 1],
        ['spinbutton', 4],
        ['progressbar', 1],
        ['main', 1],
        ['banner', 1],
        ['navigation', 1],
        ['complementary', 1],
      ] as const)
        t.ok(of(role).length >= least, `${role}: ${of(role).length}`)
      const levels = (await page.evaluate(
        '[...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((each) => Number(each.tagName[1]))',
      )) as number[]
      t.equal(levels.filter((level) => level === 1).length, 1, 'one heading above all')
      t.ok(
        levels.every((level, i) => level <= (levels[i - 1] ?? 0) + 1),
        `no level is left out: ${levels}`,
      )
      t.equal(await page.getAttribute('html', 'lang'), 'en')
      t.deepEqual(
        await page.evaluate(
          '[...document.querySelectorAll("[id]")].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)',
        ),
        [],
        'no id twice',
      )
      t.deepEqual(
        await page.evaluate(`[...document.querySelectorAll('button, input, select, a')]
          .filter((e) => e.offsetParent !== null && !e.closest('.skip, .grid') && (e.getBoundingClientRect().height < 16 || e.getBoundingClientRect().width < 16)).map((e) => e.outerHTML.slice(0, 80))`),
        [],
        'nothing is too small to hit',
      )
    })
  })

  /** Contrast of each visible text with what is behind it, by WCAG 2; below `least` it is listed. */
  const CONTRAST = `((least) => {
    const parse = (text) => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d')
      canvas.fillStyle = text
      canvas.fillRect(0, 0, 1, 1)
      return [...canvas.getImageData(0, 0, 1, 1).data]
    }
    const seen = new Map()
    const colour = (text) => seen.get(text) ?? seen.set(text, parse(text)).get(text)
    const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
    const behind = (element) => {
      for (let e = element; e !== null; e = e.parentElement) {
        const found = colour(getComputedStyle(e).backgroundColor)
        if (found[3] > 250) return found
      }
      return [255, 255, 255, 255]
    }
    const bad = []
    let looked = 0
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement
      if (walker.currentNode.data.trim() === '' || element.closest('.hidden, .skip, noscript, [disabled], option')) continue
      if (element.getClientRects().length === 0) continue
      const style = getComputedStyle(element)
      const isDrawn = element.closest('svg') !== null
      const front = colour(isDrawn ? style.fill : style.color)
      const back = element.closest('.middle-word') ? colour(getComputedStyle(document.querySelector('.middle')).fill) : behind(element)
      const [a, b] = [light(front), light(back)].sort((x, y) => y - x)
      looked++
      if ((a + 0.05) / (b + 0.05) < least) bad.push(element.className + ' ' + element.textContent.slice(0, 30) + ' ' + ((a + 0.05) / (b + 0.05)).toFixed(2))
    }
    return { bad: [...new Set(bad)], looked }
  })(4.5)`

  test('text can be read in both themes, and the choice stays', async (t) => {
    await scene(
      async ({ page, server, world, complaints }) => {
        server.send('findings', [
          ...world.findings,
          { code: 'x', severity: 'error', message: 'x', remedy: 'y', since: 1, peers: [fakeId(1)] },
        ])
        await open(page, 'dave')
        await page.click('button:text-is("24 h")')
        const background = (): Promise<unknown> => page.evaluate('getComputedStyle(document.body).backgroundColor')
        const light = await background()
        const readable = async (theme: string): Promise<void> => {
          const { bad, looked } = (await page.evaluate(CONTRAST)) as { bad: string[]; looked: number }
          t.ok(looked > 200, `${looked} texts were looked at`)
          t.deepEqual(bad, [], `each has 4.5:1 in the ${theme} theme`)
        }
        await readable('light')
        await page.emulateMedia({ colorScheme: 'dark' })
        const dark = await background()
        t.notEqual(dark, light, 'dark where the system is')
        await readable('dark')
        await page.click('button.theme')
        t.equal(await background(), light, 'light where the reader says so')
        await page.click('button.theme')
        await page.emulateMedia({ colorScheme: 'light' })
        t.equal(await background(), dark, 'dark too')
        await page.reload()
        await page.waitForSelector('.live.is-live')
        t.equal(await background(), dark, 'and it stays')
        t.deepEqual(complaints, [])
      },
      undefined,
      { colorScheme: 'light' },
    )
  })

  test('on a small screen nothing is wider than it', async (t) => {
    await scene(
      async ({ page, complaints }) => {
        const width = (): Promise<unknown> =>
          page.evaluate('Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)')
        t.equal(await width(), 360)
        t.ok((await page.locator('.grid.is-cards .grid-row').count()) > 2, 'routes are cards')
        await open(page, 'dave')
        t.equal(await width(), 360, 'with the details too')
        await page.click('.details button:text-is("Ban")')
        await page.locator('dialog').waitFor({ state: 'visible' })
        t.equal(await width(), 360, 'and a question')
        const box = await page.locator('dialog').boundingBox()
        t.ok(box !== null && box.x >= 0 && box.x + box.width <= 360, 'which is all in sight')
        t.deepEqual(complaints, [])
      },
      makeWorld({ now: Date.now(), peers: 60 }),
      { viewport: { width: 360, height: 720 }, hasTouch: true },
    )
  })

  test('teardown', async (t) => {
    const last = await next?.catch(() => null)
    await browser.close()
    await last?.server.close()
    t.end()
  })
}
