import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { Page, WebSocketRoute } from 'playwright-core'
import { readRecording } from '../../bench/material.js'
import { writeWav } from '../../src/media/wav.js'
import { speakAs } from '../../src/carrier/caller-voices.js'
import { loadFlite } from '../../src/speech/flite.js'
import { audioOf, hasChromium, openBrowser } from '../support/browser.js'
import { whole } from '../support/gateway.js'
import { hearRecording } from '../support/hear-recording.js'
import { hasMaterial } from '../support/material.js'
import { concatenate, pinkNoise } from '../support/tones.js'
import { capturedOf } from '../support/captured-sound.js'
import { until } from '../support/until.js'

const { at, gateway, close } = await whole()
t.teardown(close)

const RATE_HZ = 16_000
/** Longest wait for what a conversation brings. */
const TURN_MS = 45_000

interface Said {
  readonly atS: number
  /** Noise such as a cough, for so long. */
  readonly noiseMs?: number
  /** A sentence in the voice of the simulated callers. */
  readonly words?: string
  /** Recordings of one person, one after the other, with the pauses that they end in. */
  readonly recorded?: readonly string[]
}

/** Without gain control it is 0.5 dB softer; with it 8 dB louder. */
const GAIN_DB_MAX = 1

const digitsOf = (number: string): readonly string[] => [...number].map((digit) => `digits/${digit}`)

async function soundOf({ noiseMs, words, recorded = [] }: Said): Promise<Int16Array> {
  if (noiseMs !== undefined) return pinkNoise({ sampleRateHz: RATE_HZ, ms: noiseMs, amplitude: 2000 }, 1)
  if (words !== undefined) return speakAs(await loadFlite(), words, 'rms', RATE_HZ)
  const parts = await Promise.all(recorded.map((name) => readRecording('allison', name, RATE_HZ)))
  return concatenate(...parts)
}

interface Microphone {
  readonly file: string
  readonly samples: Int16Array
}

/** A file for a microphone that hears all this, each at its second of the line. */
async function microphone(said: readonly Said[], seconds: number): Promise<Microphone> {
  const samples = new Int16Array(seconds * RATE_HZ)
  for (const one of said) samples.set(await soundOf(one), one.atS * RATE_HZ)
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-microphone-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'microphone.wav')
  await writeFile(file, writeWav({ sampleRateHz: RATE_HZ, channels: 1, samples }))
  return { file, samples }
}

async function phonePage(browser: Awaited<ReturnType<typeof openBrowser>>, opsPort: number): Promise<Page> {
  const page = await browser.newPage()
  await page.goto(`http://127.0.0.1:${opsPort}/#/phone`)
  return page
}

/** Asserts that the sound which a page got tells the order's status: the recogniser hears its first or its second sentence. */
async function told(t: Test, samples: Int16Array, wav: string): Promise<void> {
  const stereo = new Int16Array(samples.length * 2)
  samples.forEach((sample, index) => (stereo[2 * index + 1] = sample))
  await writeFile(wav, writeWav({ sampleRateHz: RATE_HZ, channels: 2, samples: stereo }))
  const { facts, texts } = await hearRecording(wav)
  t.equal(facts.order, '4127')
  t.ok(
    facts.status === 'out_for_delivery' || facts.eta === 'today between 4 and 6 PM',
    `in the sound that came: ${JSON.stringify(texts)}`,
  )
}

t.test('a person asks by microphone, interrupts and hangs up', async (t) => {
  if (!hasChromium(t) || !hasMaterial(t, 'allison')) return
  // The greeting takes 6 s; the answer begins 2 s after the question, names the status within 4 s, and takes 8 s, with
  // the pause for the backchannel 9.
  const { file, samples } = await microphone(
    [
      { atS: 7.5, noiseMs: 500 },
      { atS: 9.5, words: "where's my order" },
      { atS: 15.5, words: 'okay' },
      { atS: 18, recorded: digitsOf('6403') },
    ],
    32,
  )
  const page = await phonePage(await openBrowser(t, file), at.opsPort)
  const heard = audioOf(page)
  const sent = audioOf(page, 'framesent')
  await page.reload() // its socket was opened before anybody listened
  await page.getByRole('button', { name: 'Call', exact: true }).click()
  await page.getByText('On the line').waitFor()
  const decided = (words: string) => page.getByText(words).first().waitFor({ timeout: TURN_MS })
  await decided('sound classified as noise')
  await decided('end of the caller’s turn')
  await decided('not an interruption: the agent resumes')
  await page.getByText('interrupted by the caller').first().waitFor({ timeout: TURN_MS })
  const transcript = page.getByRole('list', { name: 'Transcript' })
  await transcript.getByText(/4127 is out for delivery/).waitFor({ timeout: TURN_MS })
  t.match(await page.getByText('Turn 1').locator('..').innerText(), /\d+ ms|\d\.\d\d s/, 'the response of the turn')
  await page.getByRole('button', { name: 'Hang up' }).click()
  await page.getByText('The call has ended').waitFor()

  // The person's last words may not have been sent when the call ends.
  const { lostMs, gainDb } = capturedOf(samples.subarray(0, 17 * RATE_HZ), sent.samples())
  t.comment(`what the browser made of the file: ${lostMs} ms of voice lost, ${gainDb.toFixed(1)} dB louder`)
  t.ok(Math.abs(gainDb) < GAIN_DB_MAX, 'the page does not change the caller’s loudness')
  await told(t, heard.samples(), `${file}.heard.wav`)
  await page.getByRole('link', { name: 'Open this call' }).click()
  await page.getByText('ended: caller-hung-up').waitFor()
  t.match(await page.getByRole('list', { name: 'Transcript' }).innerText(), /lookup_order/)
})

t.test('a person without a microphone can type and press keys', async (t) => {
  if (!hasChromium(t)) return
  const page = await phonePage(await openBrowser(t), at.opsPort)
  await page.getByRole('button', { name: 'Call', exact: true }).click()
  await page.getByText(/No microphone was found|The browser refused the microphone/).waitFor()
  await page.getByRole('button', { name: 'Call without a microphone' }).click()
  await page.getByText('On the line').waitFor()
  await page.getByLabel('Type instead').fill("where's my order")
  await page.getByRole('button', { name: 'Say it' }).click()
  await page.getByText(/4127 is out for delivery/).waitFor({ timeout: TURN_MS })
  await page.getByRole('button', { name: 'Key 0' }).click()
  await page
    .getByText(/escalation/)
    .first()
    .waitFor({ timeout: TURN_MS })
  await page.getByRole('button', { name: 'Hang up' }).click()
  await page.getByText('The call has ended').waitFor()
  t.pass('all of it was seen')
})

t.test('two tabs have separate calls, and closing one hangs up [1]', async (t) => {
  if (!hasChromium(t)) return
  const browser = await openBrowser(t)
  const tabs = [await phonePage(browser, at.opsPort), await phonePage(browser, at.opsPort)]
  for (const tab of tabs) await tab.getByRole('button', { name: 'Call without a microphone' }).click()
  const sids = await Promise.all(
    tabs.map(async (tab) => /HD_\w+/.exec(await tab.getByText('On the line').innerText())?.[0]),
  )
  t.not(sids[0], sids[1])
  t.same(new Set([...gateway.calls.live()].map(({ callSid }) => String(callSid))), new Set(sids))
  await tabs[0]?.close()
  await until(() => gateway.calls.record(sids[0] ?? '') !== undefined, TURN_MS, 'the end of the closed tab’s call')
  t.equal(gateway.calls.record(sids[0] ?? '')?.endReason, 'caller-hung-up')
  await tabs[1]?.getByRole('button', { name: 'Hang up' }).click()
  await tabs[1]?.getByText('The call has ended').waitFor()
})

t.test('a call whose gateway is lost ends with an explanation', async (t) => {
  if (!hasChromium(t)) return
  const browser = await openBrowser(t)
  const ends: WebSocketRoute[] = []
  await browser.routeWebSocket(/api\/phone/, (socket) => void ends.push(socket, socket.connectToServer()))
  const page = await phonePage(browser, at.opsPort)
  await page.getByRole('button', { name: 'Call without a microphone' }).click()
  const sid = /HD_\w+/.exec(await page.getByText('On the line').innerText())?.[0] ?? ''
  await Promise.all(ends.map((end) => end.close()))
  await page.getByText('The call has ended: the connection to the gateway was lost.').waitFor()
  await page.getByText('Connected again.').waitFor()
  await until(() => gateway.calls.record(sid) !== undefined, TURN_MS, 'the end of the call at the gateway')
  await page.getByRole('button', { name: 'Call without a microphone' }).click()
  await page.getByText('On the line').waitFor()
  t.equal([...gateway.calls.live()].length, 1)
  await page.getByRole('button', { name: 'Hang up' }).click()
  await page.getByText('The call has ended').waitFor()
})
