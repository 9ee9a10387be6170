/** Chromium without a window, as Debian has it, driven through playwright-core. Nothing is downloaded. */
import { existsSync } from 'fs'

import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core'

export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'

/** Null where there is one, else what to say for a test that is skipped. */
export function whyNoBrowser(): string | null {
  return existsSync(CHROMIUM) ? null : `there is no ${CHROMIUM}: install chromium, or set CHROMIUM to where it is`
}

export function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

export interface Watched {
  readonly context: BrowserContext
  readonly page: Page
  /** Errors and warnings of the console (violations of the content security policy are among them), and what was thrown. */
  readonly complaints: readonly string[]
  /** Requests that went anywhere but to `origin`. */
  readonly strangers: readonly string[]
}

/** A page of its own that keeps what the browser complains of. */
export async function openPage(
  browser: Browser,
  origin: string,
  options: BrowserContextOptions = {},
): Promise<Watched> {
  // Without motion nobody waits for a page that glides.
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    reducedMotion: 'reduce',
    ...options,
  })
  const page = await context.newPage()
  const complaints: string[] = []
  const strangers: string[] = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(`thrown: ${error.message}`))
  page.on('request', (request) => {
    const url = request.url()
    if (!url.startsWith(origin) && !url.startsWith('data:')) strangers.push(url)
  })
  return { context, page, complaints, strangers }
}
