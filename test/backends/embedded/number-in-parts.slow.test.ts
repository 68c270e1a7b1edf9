import t from 'tap'
import { readVoice } from '../../../bench/material.js'
import { SpeechPool } from '../../../src/speech/speech-pool.js'
import { loadFlite } from '../../../src/speech/flite.js'
import { levelDbfs } from '../../../src/media/pcm.js'
import { hasMaterial } from '../../support/material.js'
import { concatenate } from '../../support/tones.js'
import { type OpenCall, openCall, STRANGER, TWO_ORDERS } from './order-line.js'
import { framesOf, throughMuLaw } from './phone-line.js'

const RATE_HZ = 8000
const silence = (ms: number): Int16Array => new Int16Array((RATE_HZ * ms) / 1000)

const pool = new SpeechPool({ decodersPerThread: 2 })
t.teardown(() => pool.close())
await pool.ready()
const flite = await loadFlite()

/** A person's digits, recorded one by one, as a telephone carries them. */
async function spoken(digits: string): Promise<Int16Array> {
  const parts = [silence(200)]
  for (const digit of digits) {
    parts.push(await readVoice('allison', `digits/${digit}`, RATE_HZ), silence(60))
  }
  parts.push(silence(600))
  return throughMuLaw(concatenate(...parts))
}

/** A sentence of somebody else, as a telephone carries it. */
async function sentence(voice: 'june' | 'carlo', recording: string): Promise<Int16Array> {
  const pcm = await readVoice(voice, recording, RATE_HZ)
  const gain = 10 ** ((-26 - levelDbfs(pcm)) / 20)
  const levelled = pcm.map((sample) => Math.round(sample * gain))
  return throughMuLaw(concatenate(silence(200), levelled, silence(600)))
}

/** The caller says this; recognition goes on when this returns. */
function says({ backend, line }: OpenCall, speech: Int16Array): void {
  const frames = framesOf(speech)
  backend.interrupt({ itemId: line.lastItem, playedMs: 1e6 })
  for (const [i, frame] of frames.entries()) {
    if (i === 20) backend.speechStart(0)
    backend.pushAudio(frame)
  }
  backend.speechEnd(0)
}

t.test('an order number may be spoken in parts', async (t) => {
  if (!hasMaterial(t, 'allison')) return
  for (const parts of [
    ['82', '14'],
    ['3', '05', '6'],
    ['821', '4'],
  ]) {
    const call = await openCall(pool, flite, { from: TWO_ORDERS })
    const { line } = call
    const from = line.said.length
    for (const [i, part] of parts.entries()) {
      says(call, await spoken(part))
      await line.when(() => line.heard.length > i)
    }
    await line.when(() => line.said.length > from)
    t.same(line.heard, parts)
    t.equal(line.said[from], `Order ${parts.join('')}. Is that right?`)
    await call.end()
  }
})

t.test('the next part may come before the first is recognised', async (t) => {
  if (!hasMaterial(t, 'allison')) return
  const call = await openCall(pool, flite, { from: TWO_ORDERS })
  const from = call.line.said.length
  const [first, second] = [await spoken('82'), await spoken('14')]
  says(call, first)
  says(call, second)
  await call.line.says(/^Order 8214\. Is that right\?$/, from)
  await call.end()
  const keyed = await openCall(pool, flite, { from: TWO_ORDERS })
  says(keyed, await spoken('30'))
  for (const key of '56') keyed.backend.dtmf(key)
  await keyed.line.says(/^Order 3056\. Is that right\?$/)
  t.same(keyed.line.heard, ['30', '56'])
  await keyed.end()
})

t.test('a number with too many digits is read back', async (t) => {
  if (!hasMaterial(t, 'allison')) return
  const call = await openCall(pool, flite, { from: STRANGER })
  says(call, await spoken('27314'))
  await call.line.says(/^2 7 3 1 4 is too many digits\. Sorry/)
  await call.end()
  t.pass()
})

t.test('a sentence in another language is not taken for digits', async (t) => {
  if (!hasMaterial(t, 'june', 'carlo')) return
  for (const [voice, recording] of [
    ['june', 'im-sorry'],
    ['june', 'feature-not-avail-line'],
    ['carlo', 'digits/h-40'],
    ['carlo', 'digits/h-60'],
    ['carlo', 'conf-noempty'],
    ['carlo', 'vm-undelete'],
  ] as const) {
    const call = await openCall(pool, flite, { from: STRANGER })
    const { line } = call
    const from = line.said.length
    says(call, await sentence(voice, recording))
    await line.when(() => line.said.length > from)
    t.notMatch(line.heard.join(' '), /\d/, recording)
    await call.end()
  }
})
