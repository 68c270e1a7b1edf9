import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, Page } from 'playwright-core'

/** Path of Debian's package `chromium`. */
const CHROMIUM = '/usr/bin/chromium'
/** Time limit in ms for fast actions of a page; calls have separate limits. */
const PAGE_MS = 30_000

/** True if Chromium is installed. If not, the test is skipped with the name of the package. */
export const hasChromium = (t: Test): boolean => hasBrowser(t, 'Chromium', CHROMIUM)

/** @param file  program of the browser; its Debian package has the same name */
export function hasBrowser(t: Test, name: string, file: string): boolean {
  if (existsSync(file)) return true
  console.error(`SKIPPED: ${t.name}: apt-get install --no-install-recommends ${basename(file)}`)
  t.skip(`${name} is not installed (Debian: ${basename(file)})`, () => undefined)
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

/** One browser without a microphone for all tests of a file, because a start takes seconds of processor time. */
function sharedBrowser(): Promise<Browser> {
  if (browserOfFile === null) {
    browserOfFile = launch()
    t.teardown(async () => (await browserOfFile)?.close())
  }
  return browserOfFile
}

/**
 * Opens an empty profile of a browser; closed when the test ends. The test fails if a page had an error or a refused
 * action.
 * @param microphone  WAV file that the browser's microphone plays once, beginning when it is opened
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

/** Audio that a page received or sent over its sockets, s16le at 16 kHz, from now on. */
export function audioOf(page: Page, which: 'framereceived' | 'framesent' = 'framereceived'): { samples(): Int16Array } {
  const frames: Buffer[] = []
  const take = ({ payload }: { readonly payload: string | Buffer }): void => {
    if (typeof payload !== 'string') frames.push(payload)
  }
  page.on('websocket', (socket) => {
    // The names are overloads, each with a separate listener.
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
