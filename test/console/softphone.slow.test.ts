import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Page } from 'playwright-core'
import { readRecording } from '../../bench/material.js'
import { writeWav } from '../../src/media/wav.js'
import { speakAs } from '../../src/simulator/caller-speech.js'
import { loadFlite } from '../../src/speech/flite.js'
import { audioOf, hasChromium, openBrowser } from '../support/browser.js'
import { whole } from '../support/gateway.js'
import { hearRecording } from '../support/hear-recording.js'
import { hasMaterial } from '../support/material.js'
import { until } from '../support/until.js'

t.setTimeout(120_000)

const RATE_HZ = 16_000
/** Longest wait for what a conversation brings. */
const TURN_MS = 25_000

interface Said {
  readonly atS: number
  /** A sentence in the voice of the simulated callers. */
  readonly words?: string
  /** Digits as one person was recorded saying them. */
  readonly digits?: string
}

async function voiceOf({ words, digits = '' }: Said): Promise<Int16Array> {
  if (words !== undefined) return speakAs(await loadFlite(), words, 'rms', RATE_HZ)
  const recorded = await Promise.all([...digits].map((digit) => readRecording('allison', `digits/${digit}`, RATE_HZ)))
  const joined = new Int16Array(recorded.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const digit of recorded) {
    joined.set(digit, at)
    at += digit.length
  }
  return joined
}

/** A file for a microphone that hears all this, each at its second of the line. */
async function microphone(said: readonly Said[], seconds: number): Promise<string> {
  const samples = new Int16Array(seconds * RATE_HZ)
  for (const one of said) samples.set(await voiceOf(one), one.atS * RATE_HZ)
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-microphone-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'microphone.wav')
  await writeFile(file, writeWav({ sampleRateHz: RATE_HZ, channels: 1, samples }))
  return file
}

async function phonePage(browser: Awaited<ReturnType<typeof openBrowser>>, opsPort: number): Promise<Page> {
  const page = await browser.newPage()
  await page.goto(`http://127.0.0.1:${opsPort}/#/phone`)
  return page
}

t.test('a person asks by microphone, hears the right status, interrupts, and hangs up', async (t) => {
  if (!hasChromium(t) || !hasMaterial(t, 'allison')) return
  const { at, close } = await whole()
  t.teardown(close)
  // The greeting takes 6 s; the answer begins 2 s after the question, names the status within 4 s, and takes 8 s.
  const file = await microphone(
    [
      { atS: 8, words: "where's my order" },
      { atS: 15, digits: '6403' },
    ],
    30,
  )
  const page = await phonePage(await openBrowser(t, file), at.opsPort)
  const heard = audioOf(page)
  await page.reload() // its socket was opened before anybody listened
  await page.getByRole('button', { name: 'Call', exact: true }).click()
  await page.getByText('On the line').waitFor()
  await page.getByText('end of the caller’s turn').first().waitFor({ timeout: TURN_MS })
  await page.getByText('interrupted by the caller').first().waitFor({ timeout: TURN_MS })
  const transcript = page.getByRole('list', { name: 'Transcript' })
  await transcript.getByText(/4127 is out for delivery/).waitFor({ timeout: TURN_MS })
  t.match(await page.getByText('Turn 1').locator('..').innerText(), /\d+ ms|\d\.\d\d s/, 'the response of the turn')
  await page.getByRole('button', { name: 'Hang up' }).click()
  await page.getByText('The call is over').waitFor()

  const samples = heard.samples()
  const stereo = new Int16Array(samples.length * 2)
  samples.forEach((sample, index) => (stereo[2 * index + 1] = sample))
  const wav = `${file}.heard.wav`
  await writeFile(wav, writeWav({ sampleRateHz: RATE_HZ, channels: 2, samples: stereo }))
  t.match((await hearRecording(wav)).facts, { order: '4127', status: 'out_for_delivery' }, 'in the sound that came')

  await page.getByRole('link', { name: 'Open this call' }).click()
  await page.getByText('ended: caller-hung-up').waitFor()
  t.match(await page.getByRole('list', { name: 'Transcript' }).innerText(), /lookup_order/)
})

t.test('an order number is understood by microphone, digit by digit as a person was recorded', async (t) => {
  if (!hasChromium(t) || !hasMaterial(t, 'allison')) return
  const { at, close } = await whole()
  t.teardown(close)
  // The question whether it is right ends within 15 s.
  const file = await microphone(
    [
      { atS: 8, digits: '4127' },
      { atS: 17, words: 'yes' },
    ],
    30,
  )
  const page = await phonePage(await openBrowser(t, file), at.opsPort)
  await page.getByRole('button', { name: 'Call', exact: true }).click()
  await page.getByText('On the line').waitFor()
  const transcript = page.getByRole('list', { name: 'Transcript' })
  await transcript.getByText('Order 4127. Is that right?').waitFor({ timeout: TURN_MS })
  await transcript.getByText(/4127 is out for delivery/).waitFor({ timeout: TURN_MS })
  await page.getByRole('button', { name: 'Hang up' }).click()
  await page.getByText('The call is over').waitFor()
  t.match(await transcript.innerText(), /lookup_order/)
})

t.test('a person without a microphone types, presses keys, and is answered', async (t) => {
  if (!hasChromium(t)) return
  const { at, close } = await whole()
  t.teardown(close)
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
  await page.getByText('The call is over').waitFor()
  t.pass('all of it was seen')
})

t.test('two tabs call at once, and each has a call of its own; a tab that is closed hangs up', async (t) => {
  if (!hasChromium(t)) return
  const { at, gateway, close } = await whole()
  t.teardown(close)
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
  await tabs[1]?.getByText('The call is over').waitFor()
})
