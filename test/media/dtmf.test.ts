import { readFileSync } from 'node:fs'
import t from 'tap'
import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { CallerKernel, KernelStream } from '../../src/media/vad/voice-detector.js'
import { DtmfDetector } from '../../src/media/dtmf.js'
import { decodeMuLaw, encodeMuLaw, levelDbfs } from '../../src/media/pcm.js'
import { loadVoiceModels } from '../../src/workers/shared/media-assets.js'
import {
  concatenate,
  framesOf,
  mix,
  pinkNoise,
  seededRandom,
  silence,
  speechLike,
  tone,
  whiteNoise,
} from '../support/tones.js'

const ROWS = [697, 770, 852, 941]
const COLUMNS = [1209, 1336, 1477, 1633]
const KEYS = '123A456B789C*0#D'

const wasm = new WebAssembly.Module(readFileSync(new URL('../../src/media/vad/caller-kernel.wasm', import.meta.url)))
const kernel = new CallerKernel(wasm, await loadVoiceModels())

interface Press {
  onMs?: number
  offMs?: number
  rowAmplitude?: number
  columnAmplitude?: number
  offFrequency?: number
}

function press(
  key: string,
  sampleRateHz: number,
  { onMs = 80, offMs = 80, rowAmplitude = 4000, columnAmplitude = 4000, offFrequency = 0 }: Press = {},
): Int16Array {
  const i = KEYS.indexOf(key)
  const detuned = 1 + offFrequency
  return concatenate(
    mix(
      tone([(ROWS[i >> 2] as number) * detuned], { sampleRateHz, ms: onMs, amplitude: rowAmplitude }),
      tone([(COLUMNS[i % 4] as number) * detuned], { sampleRateHz, ms: onMs, amplitude: columnAmplitude }),
    ),
    silence(sampleRateHz, offMs),
  )
}

/** The digits that the kernel finds. Where its TypeScript twin finds others, both, which no test expects. */
function heard(samples: Int16Array, sampleRateHz: LegRateHz): string {
  const twin = new DtmfDetector({ sampleRateHz })
  const detector = new KernelStream(kernel, sampleRateHz)
  let keys = ''
  let twins = ''
  for (const frame of framesOf(samples, frameSamples(sampleRateHz))) {
    const level = levelDbfs(frame)
    detector.detect(frame, level)
    keys += detector.digit ?? ''
    twins += twin.detect(frame, level) ?? ''
  }
  detector.release()
  return keys === twins ? keys : `${keys}, its twin ${twins}`
}

function dial(keys: string, sampleRateHz: number, options: Press = {}, offsetMs = 0): Int16Array {
  return concatenate(
    silence(sampleRateHz, 20 + offsetMs),
    ...[...keys].map((k) => press(k, sampleRateHz, options)),
    silence(sampleRateHz, 60),
  )
}

for (const rate of [8000, 16000] as const) {
  t.test(`${rate} Hz: every digit is reported once`, (t) => {
    t.equal(heard(dial(KEYS, rate), rate), KEYS)
    t.equal(heard(dial('5', rate, { onMs: 2000 }), rate), '5', 'a held key counts once')
    t.equal(heard(dial('5555', rate), rate), '5555', 'repeated presses count')
    t.end()
  })

  t.test(`${rate} Hz: shortest legal digits count at any offset`, (t) => {
    for (let offset = 0; offset < 20; offset += 1.25) {
      t.equal(heard(dial(KEYS, rate, { onMs: 50, offMs: 50 }, offset), rate), KEYS, `50/50 at ${offset} ms`)
      t.equal(heard(dial('1599#', rate, { onMs: 40, offMs: 45 }, offset), rate), '1599#', `40/45 at ${offset} ms`)
    }
    t.end()
  })

  t.test(`${rate} Hz: 20 ms blips are not digits`, (t) => {
    for (let offset = 0; offset < 20; offset += 2.5) {
      t.equal(heard(dial('159', rate, { onMs: 20 }, offset), rate), '', `blip at ${offset} ms`)
      const torn = concatenate(
        silence(rate, 20 + offset),
        press('7', rate, { onMs: 60, offMs: 10 }),
        press('7', rate, { onMs: 60 }),
      )
      t.equal(heard(torn, rate), '7', `gap at ${offset} ms`)
    }
    t.end()
  })

  t.test(`${rate} Hz: only twist within Q.24 is accepted`, (t) => {
    t.equal(
      heard(dial(KEYS, rate, { rowAmplitude: 2000, columnAmplitude: 2000 * 10 ** (8 / 20) }), rate),
      KEYS,
      'column 8 dB louder',
    )
    t.equal(
      heard(dial(KEYS, rate, { rowAmplitude: 2000 * 10 ** (4 / 20), columnAmplitude: 2000 }), rate),
      KEYS,
      'row 4 dB louder',
    )
    t.equal(
      heard(dial(KEYS, rate, { rowAmplitude: 1000, columnAmplitude: 1000 * 10 ** (14 / 20) }), rate),
      '',
      'column 14 dB louder',
    )
    t.equal(
      heard(dial(KEYS, rate, { rowAmplitude: 1000 * 10 ** (12 / 20), columnAmplitude: 1000 }), rate),
      '',
      'row 12 dB louder',
    )
    t.end()
  })

  t.test(`${rate} Hz: tones 1 % off pass, 4 % fail`, (t) => {
    for (const off of [-0.01, 0.01]) t.equal(heard(dial(KEYS, rate, { offFrequency: off }), rate), KEYS, `${off}`)
    for (const off of [-0.04, 0.04]) t.equal(heard(dial('159D', rate, { offFrequency: off }), rate), '', `${off}`)
    t.end()
  })

  t.test(`${rate} Hz: digits are detected on poor lines`, (t) => {
    t.equal(heard(dial(KEYS, rate, { rowAmplitude: 500, columnAmplitude: 500 }), rate), KEYS, 'each tone at -36 dBFS')
    t.equal(heard(dial(KEYS, rate, { rowAmplitude: 16_000, columnAmplitude: 16_000 }), rate), KEYS, 'nearly full scale')
    const clean = dial(KEYS, rate)
    const tonesRms = 4000
    for (const seed of [1, 2, 3]) {
      const amplitude = tonesRms / 10 ** (15 / 20)
      const shape = { sampleRateHz: rate, ms: (clean.length * 1000) / rate, amplitude }
      t.equal(heard(mix(clean, whiteNoise(shape, seed)), rate), KEYS, `15 dB over white noise, seed ${seed}`)
      t.equal(heard(mix(clean, pinkNoise(shape, seed)), rate), KEYS, `15 dB over pink noise, seed ${seed}`)
    }
    const bytes = new Uint8Array(clean.length)
    const coded = new Int16Array(clean.length)
    encodeMuLaw(clean, bytes)
    decodeMuLaw(bytes, coded)
    t.equal(heard(coded, rate), KEYS, 'mu-law')
    t.end()
  })

  t.test(`${rate} Hz: voice, noise and single tones are not digits`, (t) => {
    let found = ''
    for (let seed = 1; seed <= 4; seed++)
      found += heard(speechLike({ sampleRateHz: rate, ms: 15_000, amplitude: 20_000 }, seed), rate)
    t.equal(found, '', 'in a minute')
    t.equal(heard(whiteNoise({ sampleRateHz: rate, ms: 5000, amplitude: 5000 }, 3), rate), '')
    t.equal(
      heard(tone([440, 480], { sampleRateHz: rate, ms: 2000, amplitude: 5000 }), rate),
      '',
      'ringback is not a digit',
    )
    t.equal(
      heard(tone([941], { sampleRateHz: rate, ms: 2000, amplitude: 5000 }), rate),
      '',
      'a single tone is not a digit',
    )
    t.end()
  })

  t.test(`${rate} Hz: two sines with octaves are not digits`, (t) => {
    const sung = mix(
      tone([852, 1477], { sampleRateHz: rate, ms: 400, amplitude: 4000 }),
      tone([1704, 2954], { sampleRateHz: rate, ms: 400, amplitude: 2200 }),
    )
    t.equal(heard(sung, rate), '')
    t.end()
  })
}

t.test('the detector is active while a digit sounds', (t) => {
  const detector = new DtmfDetector({ sampleRateHz: 16000 })
  const frames = framesOf(concatenate(silence(16000, 100), press('4', 16000, { onMs: 200, offMs: 200 })), 320)
  const active = frames.map((f) => {
    detector.detect(f, levelDbfs(f))
    return detector.active
  })
  t.same(active.slice(0, 5), Array(5).fill(false))
  t.same(active.slice(5, 15), Array(10).fill(true))
  t.same(active.slice(17), Array(active.length - 17).fill(false))
  t.equal(detector.digits, 1)
  t.end()
})

t.test('digits are reported in the order they were pressed', (t) => {
  const random = seededRandom(5)
  const keys = Array.from({ length: 60 }, () => KEYS[Math.floor(random() * 16)]).join('')
  const pieces = [...keys].map((k) => press(k, 8000, { onMs: 45 + 100 * random(), offMs: 45 + 100 * random() }))
  t.equal(heard(concatenate(silence(8000, 20), ...pieces, silence(8000, 100)), 8000), keys)
  t.end()
})
