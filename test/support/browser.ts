import { existsSync } from 'node:fs'
import t from 'tap'
import type { Test } from 'tap'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, Page } from 'playwright-core'

/** Debian's package `chromium`. */
const CHROMIUM = '/usr/bin/chromium'
/** For what a page does within a moment; calls have limits of their own. */
const PAGE_MS = 30_000

/** Whether Chromium is here. If not, the test is skipped with the package's name. */
export function hasChromium(t: Test): boolean {
  if (existsSync(CHROMIUM)) return true
  console.error(`SKIPPED: ${t.name}: apt-get install --no-install-recommends chromium`)
  t.skip('Chromium is not installed (Debian: chromium)', () => undefined)
  return false
}

const launch = (microphone?: string): Promise<Browser> =>
  chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--autoplay-policy=no-user-gesture-required',
      ...(microphone === undefined
        ? []
        : [
            '--use-fake-device-for-media-stream',
            '--use-fake-ui-for-media-stream',
            `--use-file-for-fake-audio-capture=${microphone}%noloop`,
          ]),
    ],
  })

let browserOfFile: Promise<Browser> | null = null

/** One browser without a microphone for all tests of a file: a start takes seconds of processor time. */
function sharedBrowser(): Promise<Browser> {
  if (browserOfFile === null) {
    browserOfFile = launch()
    t.teardown(async () => (await browserOfFile)?.close())
  }
  return browserOfFile
}

/**
 * An empty profile of a browser; closed when the test ends. What its pages could not run, or were not allowed to, is a
 * failure of the test.
 * @param microphone  a WAV file that its microphone plays once from the moment at which it is opened
 */
export async function openBrowser(t: Test, microphone?: string): Promise<BrowserContext> {
  const browser = await (microphone === undefined ? sharedBrowser() : launch(microphone))
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
  context.setDefaultTimeout(PAGE_MS)
  const watch = (page: Page): void => {
    page.on('pageerror', (error) => t.fail(`the page threw: ${error.message}`))
    page.on('console', (message) => {
      if (/Content Security Policy/.test(message.text())) t.fail(message.text())
    })
  }
  context.on('page', watch)
  context.pages().forEach(watch)
  t.teardown(async () => {
    await context.close()
    if (microphone !== undefined) await browser.close()
  })
  return context
}

/** Audio that a page got or sent over its sockets, s16le at 16 kHz, from now on. */
export function audioOf(page: Page, which: 'framereceived' | 'framesent' = 'framereceived'): { samples(): Int16Array } {
  const frames: Buffer[] = []
  const take = ({ payload }: { readonly payload: string | Buffer }): void => {
    if (typeof payload !== 'string') frames.push(payload)
  }
  page.on('websocket', (socket) => {
    // The names are overloads, each with a listener of its own.
    if (which === 'framereceived') socket.on('framereceived', take)
    else socket.on('framesent', take)
  })
  return {
    samples: () => {
      const bytes = new Uint8Array(Buffer.concat(frames))
      return new Int16Array(bytes.buffer, 0, bytes.length >> 1)
    },
  }
}
