import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { hasBrowser } from './browser.js'
import { comesUp } from './until.js'

/** Path of Debian's package `firefox-esr`. */
const FIREFOX = '/usr/bin/firefox-esr'
/** Maximum time in ms of a browser's start on a busy machine. */
const START_MS = 40_000
const PAGE_MS = 20_000
/** Maximum number of characters of a page in a failure's message. */
const SHOWN_CHARS = 1000

/**
 * Preferences that prevent requests to Mozilla's servers, which a test cannot reach, and the pages of a first start.
 */
const PREFERENCES = {
  'app.normandy.enabled': false,
  'app.update.enabled': false,
  'browser.aboutwelcome.enabled': false,
  'browser.newtabpage.enabled': false,
  'browser.region.network.url': '',
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.startup.homepage': 'about:blank',
  'browser.startup.page': 0,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.getAddons.cache.enabled': false,
  'extensions.update.enabled': false,
  'media.gmp-manager.updateEnabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'http://127.0.0.1:9/',
  'toolkit.telemetry.enabled': false,
}

/** True if Firefox is installed. If not, the test is skipped with the name of the package. */
export const hasFirefox = (t: Test): boolean => hasBrowser(t, 'Firefox', FIREFOX)

/** One tab of a Firefox with an empty profile. */
export interface FirefoxPage {
  /** Errors of the console, uncaught exceptions, and requests that failed or had a status of 400 or more. */
  readonly faults: string[]
  open(url: string): Promise<void>
  resize(width: number, height: number): Promise<void>
  /** Value of an expression: a text, a number or a boolean. */
  evaluate(expression: string): Promise<unknown>
  /** Waits until the page shows a text. */
  shows(text: string): Promise<void>
}

interface Message {
  readonly id?: number
  readonly error?: string
  readonly message?: string
  readonly method?: string
  readonly result?: Readonly<Record<string, unknown>>
  readonly params?: Readonly<Record<string, unknown>>
}

/**
 * Starts Firefox and opens a tab, by WebDriver BiDi; closed when the test ends. Playwright's own client uses a command
 * that Firefox 153 lacks (`emulation.setMediaFeaturesOverride`).
 */
export async function openFirefox(t: Test): Promise<FirefoxPage> {
  const profile = await mkdtemp(join(tmpdir(), 'mkondo-firefox-'))
  const lines = Object.entries(PREFERENCES).map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`)
  await writeFile(join(profile, 'user.js'), lines.join(''))
  const args = ['--headless', '--remote-debugging-port=0', '--profile', profile, '--no-remote']
  // Firefox refuses a home folder of another user.
  const child = spawn(FIREFOX, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, HOME: profile } })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
    await rm(profile, { recursive: true, force: true, maxRetries: 5 })
  })
  let address: string | null = null
  let said = ''
  createInterface({ input: child.stderr }).on('line', (line) => {
    said += `${line}\n`
    address ??= /WebDriver BiDi listening on (ws:\S+)$/.exec(line)?.[1] ?? null
  })
  await comesUp(
    child,
    () => address !== null,
    START_MS,
    'Firefox',
    () => said,
  )
  const socket = new WebSocket(`${address}/session`, { perMessageDeflate: false })
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))

  const faults: string[] = []
  const waiting = new Map<number, (message: Message) => void>()
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString()) as Message
    if (message.id !== undefined) return waiting.get(message.id)?.(message)
    const fault = faultOf(message)
    if (fault !== null) faults.push(fault)
  })
  let ids = 0
  const send = async (method: string, params: object): Promise<Readonly<Record<string, unknown>>> => {
    const id = ++ids
    const answer = await new Promise<Message>((resolve) => {
      waiting.set(id, resolve)
      socket.send(JSON.stringify({ id, method, params }))
    })
    waiting.delete(id)
    if (answer.result === undefined) throw new Error(`${method}: ${answer.error}: ${answer.message}`)
    return answer.result
  }
  await send('session.new', { capabilities: {} })
  await send('session.subscribe', { events: ['log.entryAdded', 'network.fetchError', 'network.responseCompleted'] })
  const { context } = await send('browsingContext.create', { type: 'tab' })

  const evaluate = async (expression: string): Promise<unknown> => {
    const { result, exceptionDetails } = (await send('script.evaluate', {
      // A page may play sound only after a click.
      ...{ expression, target: { context }, awaitPromise: true, userActivation: true },
    })) as { readonly result?: { readonly value?: unknown }; readonly exceptionDetails?: { readonly text: string } }
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${exceptionDetails.text}`)
    return result?.value
  }
  return {
    faults,
    evaluate,
    open: async (url) => void (await send('browsingContext.navigate', { context, url, wait: 'complete' })),
    resize: async (width, height) =>
      void (await send('browsingContext.setViewport', { context, viewport: { width, height } })),
    shows: async (text) => {
      const shown = await evaluate(`new Promise((resolve) => {
        const untilMs = performance.now() + ${PAGE_MS}
        const look = () => {
          const shown = document.body.innerText
          if (shown.includes(${JSON.stringify(text)})) resolve(null)
          else if (performance.now() > untilMs) resolve(shown.slice(0, ${SHOWN_CHARS}))
          else setTimeout(look, 50)
        }
        look()
      })`)
      if (typeof shown === 'string') throw new Error(`no "${text}" within ${PAGE_MS} ms on the page: ${shown}`)
    },
  }
}

/** Fault that a message reports; null for any other message. */
function faultOf({ method, params = {} }: Message): string | null {
  const request = params['request'] as { readonly url: string } | undefined
  if (method === 'log.entryAdded') return params['level'] === 'error' ? `console: ${String(params['text'])}` : null
  if (method === 'network.fetchError') return `${request?.url}: ${String(params['errorText'])}`
  const { status = 0 } = (params['response'] ?? {}) as { readonly status?: number }
  return method === 'network.responseCompleted' && status >= 400 ? `${request?.url}: ${status}` : null
}
