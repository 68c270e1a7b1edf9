import t from 'tap'
import { SpeechBody } from '../../src/backends/cascade/speech-body.js'
import { writeWav } from '../../src/media/wav.js'
import { bytesOf, sweep } from '../support/tones.js'
import { wavFile } from './wav-file.js'

// What voices answer to `/audio/speech` where raw samples were asked for.

const SOUND = sweep(3400, { sampleRateHz: 24_000, ms: 200, amplitude: 9000 })

/** @param step  bytes of a chunk */
function spoken(body: Uint8Array, step = 77): { readonly samples: number[]; readonly rateHz: number } {
  const speech = new SpeechBody(24_000)
  const samples: number[] = []
  for (let at = 0; at < body.length; at += step) samples.push(...speech.push(body.subarray(at, at + step)))
  samples.push(...speech.end())
  return { samples, rateHz: speech.sampleRateHz }
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

t.test('a WAV file of any width, rate and number of channels is played', async (t) => {
  for (const [name, file, lossless] of [
    ['16 bits', writeWav({ sampleRateHz: 24_000, channels: 1, samples: SOUND }), true],
    ['24 bits', wavFile({ encoding: 'integer', bits: 24, rateHz: 24_000 }, SOUND), true],
    ['32 bits', wavFile({ encoding: 'integer', bits: 32, rateHz: 24_000 }, SOUND), true],
    ['float', wavFile({ encoding: 'float', bits: 32, rateHz: 24_000 }, SOUND), true],
    ['double', wavFile({ encoding: 'float', bits: 64, rateHz: 24_000 }, SOUND), true],
    ['stereo', wavFile({ encoding: 'integer', bits: 16, rateHz: 24_000, channels: 2 }, SOUND), true],
    ['8 bits', wavFile({ encoding: 'integer', bits: 8, rateHz: 24_000 }, SOUND), false],
    ['mu-law', wavFile({ encoding: 'pcmu', bits: 8, rateHz: 8000 }, SOUND), false],
  ] as const) {
    const { samples } = spoken(file)
    t.equal(samples.length, SOUND.length, name)
    const worst = Math.max(...samples.map((sample, i) => Math.abs(sample - (SOUND[i] ?? 0))))
    t.ok(worst <= (lossless ? 1 : 300), `${name}: ${worst}`)
  }
  for (const rateHz of [11_025, 22_050, 32_000, 44_100, 48_000]) {
    const { samples, rateHz: playedHz } = spoken(wavFile({ encoding: 'integer', bits: 16, rateHz }, SOUND))
    t.equal(playedHz, 24_000)
    t.ok(Math.abs(samples.length - (SOUND.length * 24_000) / rateHz) <= 30, `${rateHz} Hz`)
  }
})

t.test('base64, bare, with its type, in a document, or of a file, is played', async (t) => {
  const raw = Buffer.from(bytesOf(SOUND)).toString('base64')
  const file = Buffer.from(wavFile({ encoding: 'integer', bits: 24, rateHz: 24_000 }, SOUND)).toString('base64')
  for (const body of [
    Buffer.from(raw),
    Buffer.from(`data:audio/pcm;rate=24000;base64,${raw}`),
    Buffer.from(raw.replace(/(.{76})/g, '$1\r\n')),
    Buffer.from(file),
    json({ audio: raw }),
    json({ audioContent: file }),
    json({ data: [{ b64_json: raw, format: 'pcm16' }] }),
    json({ id: 'x', output: { audio: { data: `data:audio/wav;base64,${file}` } } }),
    json(raw),
  ])
    t.same(spoken(body).samples, [...SOUND], Buffer.from(body).toString('latin1', 0, 40))
})

t.test('what is no sound is an error and never a sound', async (t) => {
  for (const [body, reason] of [
    [json({ error: { message: 'model not loaded', code: 500 } }), /JSON document without sound/],
    [json({ detail: 'Not Found' }), /JSON document without sound/],
    [json([]), /no sound|without sound/],
    [Buffer.from('{"error": "cut off in the mid'), /text in place of sound/],
    [Buffer.from('<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>'), /text in place of sound/],
    [Buffer.from('Internal Server Error: the voice could not be loaded right now'), /text in place of sound/],
    [Buffer.alloc(0), /no sound/],
    [Buffer.from([0]), /no sound/],
    [writeWav({ sampleRateHz: 24_000, channels: 1, samples: new Int16Array(0) }), /no sound|without samples/],
    [Buffer.from('ID3\u0004 and so on and so on'), /compressed/],
    [Buffer.from([0x1a, 0x45, 0xdf, 0xa3, 1, 2, 3, 4, 5, 6, 7, 8, 9]), /compressed/],
    [Buffer.from('\0\0\0\x20ftypM4A and more of it'), /compressed/],
    [Buffer.from('FORM\0\0\0\x20AIFFCOMM\0\0\0\0\0\0'), /big-endian/],
    [
      Buffer.from('RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x02\0\x01\0\xc0\x5d\0\0\0\0\0\0\0\x01\x04\0data', 'latin1'),
      /cannot be read/,
    ],
  ] as const) {
    let samples = 0
    t.throws(
      () => {
        const speech = new SpeechBody(24_000)
        for (let at = 0; at < body.length; at += 5) samples += speech.push(body.subarray(at, at + 5)).length
        samples += speech.end().length
      },
      reason,
      body.toString().slice(0, 30),
    )
    t.equal(samples, 0)
  }
})

t.test('raw samples that begin with silence, loud, or in odd pieces are played as they come', async (t) => {
  for (const samples of [
    new Int16Array(600),
    SOUND,
    Int16Array.from({ length: 700 }, (_, i) => ((i * 7919) % 65536) - 32768),
  ]) {
    for (const step of [1, 3, 640]) t.same(spoken(bytesOf(samples), step).samples, [...samples])
  }
  t.equal(new SpeechBody(24_000).push(bytesOf(SOUND).subarray(0, 640)).length, 320, 'at once')
})
