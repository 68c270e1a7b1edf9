import t from 'tap'
import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { DtmfDetector } from '../../src/media/dtmf.js'
import { dtmfTones } from '../../src/media/dtmf-tones.js'
import { levelDbfs, samplesOf } from '../../src/media/pcm.js'
import { PCM_8K, ffmpeg, hasFfmpeg } from '../support/ffmpeg.js'
import { bytesOf, concatenate, framesOf, silence } from '../support/tones.js'

const KEYS = '123A456B789C*0#D11'
const DBM0_BELOW_FULL_SCALE_DB = 3.14

function heard(samples: Int16Array, sampleRateHz: LegRateHz): string {
  const detector = new DtmfDetector({ sampleRateHz })
  return framesOf(samples, frameSamples(sampleRateHz))
    .map((frame) => detector.detect(frame, levelDbfs(frame)) ?? '')
    .join('')
}

/** Power of one frequency, in dBm0. */
function powerDbm0(samples: Int16Array, hz: number, rateHz: number): number {
  let [re, im] = [0, 0]
  for (const [i, sample] of samples.entries()) {
    re += sample * Math.cos((2 * Math.PI * hz * i) / rateHz)
    im += sample * Math.sin((2 * Math.PI * hz * i) / rateHz)
  }
  const peak = (2 * Math.hypot(re, im)) / samples.length
  return 20 * Math.log10(peak / 32_767) + DBM0_BELOW_FULL_SCALE_DB
}

const TO_PCM = ['-ar', '8000', '-ac', '1', '-f', 's16le', 'pipe:1']
/** Codecs on the way to a telephone: coding, and decoding. */
const CODECS: Readonly<Record<string, readonly [coded: readonly string[], read: readonly string[]]>> = {
  'G.711': [
    ['-f', 'mulaw'],
    ['-f', 'mulaw', '-ar', '8000', '-ac', '1'],
  ],
  'G.722': [
    ['-ar', '16000', '-f', 'g722'],
    ['-f', 'g722'],
  ],
  GSM: [
    ['-f', 'gsm', '-c:a', 'libgsm'],
    ['-f', 'gsm'],
  ],
  Opus: [
    ['-c:a', 'libopus', '-application', 'voip', '-b:a', '12k', '-f', 'ogg'],
    ['-f', 'ogg'],
  ],
}

t.test('each key is detected once, in order', (t) => {
  for (const rateHz of [8000, 16_000] as const) {
    const pcm = dtmfTones(`${KEYS}w5`, rateHz)
    t.equal(heard(concatenate(silence(rateHz, 40), pcm), rateHz), `${KEYS}5`, String(rateHz))
    t.equal(pcm.length, ((KEYS.length + 1) * 200 + 500) * (rateHz / 1000))
    const pause = pcm.subarray(KEYS.length * 200 * (rateHz / 1000), (KEYS.length * 200 + 500) * (rateHz / 1000))
    t.ok(pause.every((sample) => sample === 0))
  }
  for (const wrong of ['', '1 2', 'E', '1.2']) t.throws(() => dtmfTones(wrong, 8000), RangeError)
  t.end()
})

t.test('tone levels are -9 and -7 dBm0, without clicks', (t) => {
  for (const rateHz of [8000, 16_000] as const) {
    const pcm = dtmfTones('1', rateHz)
    const middle = pcm.subarray(0.01 * rateHz, 0.09 * rateHz)
    t.ok(Math.abs(powerDbm0(middle, 697, rateHz) + 9) < 0.5, `${powerDbm0(middle, 697, rateHz)}`)
    t.ok(Math.abs(powerDbm0(middle, 1209, rateHz) + 7) < 0.5, `${powerDbm0(middle, 1209, rateHz)}`)
    t.ok(Math.max(...pcm.map(Math.abs)) < 0.6 * 32_767)
    t.ok(Math.abs(pcm[1] ?? 0) < 1000 && Math.abs(pcm[0.1 * rateHz - 2] ?? 0) < 1000)
  }
  t.end()
})

for (const [name, [coded, read]] of Object.entries(CODECS))
  t.test(`the tones survive ${name}`, (t) => {
    if (!hasFfmpeg(t)) return void t.end()
    const sent = concatenate(silence(8000, 500), dtmfTones(KEYS, 8000), silence(8000, 500))
    const bytes = ffmpeg(ffmpeg(bytesOf(sent), ...PCM_8K, ...coded, 'pipe:1'), ...read, '-i', 'pipe:0', ...TO_PCM)
    t.equal(heard(samplesOf(bytes), 8000), KEYS)
    t.end()
  })
