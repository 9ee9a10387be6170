/** The live page on real sbots: each button does on them what it says. */
import type { Page } from 'playwright-core'

import test = require('tape')

import dashboard = require('../../src/dashboard')
import Manager = require('../../src/index')

import { openBrowser, openPage, whyNoBrowser } from '../support/browser'
import { eventually } from '../support/eventually'
import { bundlePage } from '../support/page-server'
import { bootStack, closeAll, databasePlugins, follow, publish, type Stack } from '../support/stack'

const LIMIT_MS = 20_000
const missing = whyNoBrowser()
const until = (condition: () => unknown, message: string): Promise<unknown> =>
  eventually(condition, { timeoutMs: LIMIT_MS, everyMs: 30, message })
const api = (stack: Stack): Pick<Manager.ConnectionManager, 'peer' | 'connections'> =>
  stack.ssb.connectionManager as never

/** Says the address of the page while it boots: kept from the report of the tests. */
async function silently<T>(fn: () => Promise<T>): Promise<T> {
  const { log } = console
  console.log = () => {}
  try {
    return await fn()
  } finally {
    console.log = log
  }
}

test('on real sbots each button does what it says', async (t) => {
  if (missing !== null) return t.skip(missing)
  const full = {
    version: 8,
    plugins: databasePlugins(),
    ownPlugins: [Manager, require('../../src/replication-scheduler'), dashboard],
  } as const
  const [alice, bob, carol] = await silently(() =>
    Promise.all([
      bootStack({ ...full, name: 'alice', config: { dashboard: { enabled: true, port: 0 } } }),
      bootStack({ ...full, name: 'bob' }),
      bootStack({ version: 8, name: 'carol', ownPlugins: [Manager] }),
    ]),
  )
  const server = alice.ssb.dashboard as unknown as dashboard.Api
  await until(() => server.status().isServing, 'the page is served')
  server.addNames((id) => (id === bob.id ? 'bob' : id === carol.id ? 'carol' : undefined))
  const url = await server.url()
  const [browser, bundle] = await Promise.all([openBrowser(), bundlePage()])
  const { page, complaints, strangers } = await openPage(browser, new URL('/', url).href)
  page.setDefaultTimeout(LIMIT_MS)
  // The page as its sources are, whatever was built last; all else comes from the real server.
  for (const [name, body] of [
    ['main.js', bundle.js],
    ['main.css', bundle.css],
  ] as const)
    await page.route(`**/${name}`, async (route) => {
      const type = name.endsWith('.js') ? 'text/javascript' : 'text/css'
      await route.fulfill({ body, headers: { 'content-type': `${type}; charset=utf-8` } })
    })

  const isUp = (here: Stack, there: Stack): boolean => api(here).peer.get(there.id)?.connection.status === 'connected'
  const text = (selector: string): Promise<string> => page.locator(selector).first().innerText()
  const confirm = async (says: RegExp): Promise<void> => {
    await page.locator('dialog').waitFor({ state: 'visible' })
    t.match(await text('dialog'), says, 'it says what is cut')
    await page.click('dialog button.danger')
  }
  const add = async (stack: Stack): Promise<void> => {
    await page.fill('#routes .add-route input', stack.address)
    await page.click('#routes .add-route button')
  }
  const deed = (name: string): Promise<void> => page.click(`.details button:text-is("${name}")`)

  try {
    await page.goto(url)
    await page.waitForSelector('.live.is-live')
    t.notOk(/token|key/.test(page.url()), 'token and key have left the address')
    await page.reload()
    await page.waitForSelector('.live.is-live')
    t.pass('loaded again, it still has the key')
    t.equal(await text('#now h2'), 'Off')
    t.match(await text('.findings'), /Start it/, 'and what to do about it')
    await add(bob)
    await page.waitForSelector('.grid-row :text("bob")')
    t.ok(api(alice).peer.get(bob.id), 'the manager knows bob')

    await page.click('.mode button:text-is("Start")')
    await page.waitForSelector('.grid-row.is-connected :text("bob")')
    t.ok(isUp(alice, bob) && isUp(bob, alice), 'start: bob is dialed')
    await until(async () => (await text('#now h2')) === 'Connected to 1 peer', 'the headline says so')
    await add(carol)
    await until(() => isUp(carol, alice), 'carol too')

    await openDetails(page, 'carol')
    await deed('Hang up')
    await confirm(/Hang up on carol\?[\s\S]*cuts the connection that we dialed/)
    await until(() => !isUp(carol, alice), 'hang up: carol sees it')
    await page.waitForSelector('.details .why:not(.is-connected)')
    await deed('Connect now')
    await until(() => isUp(carol, alice), 'connect: carol sees it')
    await page.waitForSelector('.details .why.is-connected')
    t.match(await text('.details .why'), /somebody asked for it/, 'and the page says why')

    await page.click('.details input[type=checkbox]')
    await until(() => api(alice).peer.get(carol.id)?.isLongTerm === true, 'long-term')
    await page.waitForSelector('.details input[type=checkbox]:checked')
    await page.click('.details input[type=checkbox]')
    await until(() => api(alice).peer.get(carol.id)?.isLongTerm === false, 'and no longer')
    await page.selectOption('.details select', 'HIGH')
    await until(() => api(alice).peer.get(carol.id)?.priority === 'HIGH', 'priority')
    t.equal(api(alice).peer.get(carol.id)?.prioritisedBy, 'user')

    await deed('Ban')
    await confirm(/Ban carol\?[\s\S]*refused when it calls/)
    await until(() => !isUp(carol, alice) && api(alice).peer.get(carol.id)?.isBanned, 'ban: carol is cut off')
    await page.waitForSelector('.details .why.is-banned')
    t.ok(await page.isDisabled('.details button:text-is("Connect now")'), 'who is banned is not dialed')
    await deed('Unban')
    await until(() => api(alice).peer.get(carol.id)?.isBanned === false, 'unban')

    await page.locator('.route-list button:text-is("Remove")').click()
    await confirm(/Remove this route\?/)
    await until(
      () => api(alice).peer.get(carol.id) === undefined || !api(alice).peer.get(carol.id)?.routes.length,
      'its route goes',
    )
    await page.click('.details-head button')

    const slots = page.locator('.slot-class', { has: page.locator('bdi:text-is("net")') })
    await slots.locator('input').fill('7')
    await slots.locator('button').click()
    await until(() => api(alice).connections.status().classes.net?.max === 7, 'slots')
    await slots.locator('.slot-words:has-text("6 free")').waitFor()
    await slots.locator('input').fill('0')
    await slots.locator('button').click()
    await confirm(/from 7 to 0\?[\s\S]*cuts up to 1/)
    await until(() => !isUp(bob, alice), 'no slot, no bob')
    await slots.locator('.slot-words:has-text("no slots")').waitFor()
    await slots.locator('input').fill('3')
    await slots.locator('button').click()
    await until(() => isUp(bob, alice), 'with a slot bob again')
    await openDetails(page, 'bob')
    const addToBob = async (address: string): Promise<void> => {
      await page.fill('.details .add-route input', address)
      await page.click('.details .add-route button')
    }
    await addToBob(carol.address)
    await page.waitForSelector(`.notice.is-failed:has-text("${carol.id}")`)
    t.equal(api(alice).peer.get(carol.id)?.routes.length ?? 0, 0, "an address of carol's is not added for bob")
    await page.click('.notice.is-failed button')
    await addToBob(bob.address.replace('127.0.0.1', 'bob.example.com'))
    await until(() => api(alice).peer.get(bob.id)?.routes.length === 2, 'one of his own is')

    await follow(alice, bob.id)
    for (let n = 0; n < 3; n++) await publish(bob, { type: 'post', text: `${n}` })
    await page.waitForSelector('.details .facts :text("followed")')
    await page.waitForSelector('.feeds tr:has-text("bob")')
    await until(async () => /\b3\b/.test(await text('.feeds tr:has-text("bob")')), 'his messages arrive')
    await deed('Initial sync from it')
    await confirm(/initial sync from bob/)
    await until(() => api(alice).connections.status().mode === 'initialSync', 'initial sync')
    await page.click('button:text-is("Stop the sync")')
    await until(() => api(alice).connections.status().mode === 'on', 'and its end')

    await page.click('.mode button:text-is("Stop")')
    await confirm(/Stop all connections\?/)
    await until(() => !isUp(bob, alice), 'stop: bob sees it')
    await page.waitForSelector('.mode button:text-is("Start")')
    await api(bob).peer.addRoute({ address: alice.address })
    await api(bob).peer.connect({ id: alice.id })
    await page.waitForSelector('.grid-row.is-connected :text("it called us")')
    t.pass('a peer that calls in is shown as such')
    t.ok((await page.locator('.item.is-outbound, .item.is-inbound').count()) >= 2, 'the timeline has what was')
    t.match(await text('.peer-history'), /Ended because: the manager was stopped/, 'and why it ended')
    t.equal(await page.locator('.notice.is-failed').count(), 0, 'nothing was refused')
    t.deepEqual(complaints, [], 'no error, no violation of the content security policy')
    t.deepEqual(strangers, [], 'no request went elsewhere')

    await alice.close()
    await page.waitForSelector('.lost')
    t.pass('the end of the sbot is said')
  } finally {
    await browser.close()
    await closeAll(alice, bob, carol)
  }
})

async function openDetails(page: Page, name: string): Promise<void> {
  await page.fill('.search input', name)
  await page.locator(`.grid-row:has-text("${name}")`).first().click()
  await page.waitForSelector(`.details h2:has-text("${name}")`)
  await page.fill('.search input', '')
}
