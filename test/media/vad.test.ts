import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { speakUtterances, truthOf } from '../../bench/vad/corpus.js'
import { FAULTY_LINES, overFaultyLine } from '../../bench/vad/quality.js'
import { recordedUtterances } from '../../bench/vad/recorded.js'
import {
  FIRST_NUMBERS,
  JsVoiceKernel,
  LAG_MIN,
  LAGS,
  MEMORY_INPUTS,
  MEMORY_UNITS,
  SECOND_NUMBERS,
  VoiceFeatures,
} from '../../bench/vad/voice-features.js'
import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { CallerPath, EnergyGate } from '../../src/media/caller-path.js'
import { bytesOfSamples, levelDbfs } from '../../src/media/pcm.js'
import { PitchTracker } from '../../src/media/pitch.js'
import { isPureTone } from '../../src/media/vad/pure-tone.js'
import type { Vad, VadBank } from '../../src/media/vad/vad.js'
import { writeWav } from '../../src/media/wav.js'
import { loadVoiceModels } from '../../src/workers/shared/media-assets.js'
import { loadVads } from '../support/media-modules.js'
import { concatenate, framesOf, mix, pinkNoise, silence, speechLike, tone, whiteNoise } from '../support/tones.js'
import { sentences } from '../support/voices.js'

const bank = await loadVads()

/** A call's decision about each frame. */
function decide(samples: Int16Array, sampleRateHz: LegRateHz, vadBank: VadBank = bank): boolean[] {
  const path = new CallerPath({ sampleRateHz, track: 'inbound_track', vadBank })
  const decisions: boolean[] = []
  framesOf(samples, frameSamples(sampleRateHz)).forEach((frame, i) => {
    path.push(bytesOfSamples(frame.slice()), (i + 1) * 20)
    while (path.pull((i + 1) * 20)) decisions.push(path.voiced)
  })
  path.release()
  return decisions
}

function share(decisions: readonly boolean[]): number {
  return decisions.filter(Boolean).length / decisions.length
}

for (const rate of [8000, 16000] as const) {
  const speech = (ms: number, seed: number) => speechLike({ sampleRateHz: rate, ms, amplitude: 12_000 }, seed)
  const pink = (ms: number, amplitude: number, seed = 1) => pinkNoise({ sampleRateHz: rate, ms, amplitude }, seed)

  t.test(`${rate} Hz: speech is detected within two frames`, (t) => {
    for (const noise of [0, 40]) {
      const line = mix(concatenate(silence(rate, 1000), speech(4000, 2)), pink(5000, noise))
      const decisions = decide(line, rate)
      t.equal(share(decisions.slice(0, 50)), 0, 'nothing before it')
      t.ok(decisions.slice(50, 53).includes(true), `begins at frame ${decisions.indexOf(true)}`)
      t.ok(share(decisions.slice(50)) > 0.6, `${(100 * share(decisions.slice(50))).toFixed(0)} % of its frames`)
    }
    t.end()
  })

  t.test(`${rate} Hz: the line's loudness does not change detection`, (t) => {
    const line = mix(concatenate(silence(rate, 1000), sentences(rate, 4000, 2)), pink(5000, 60))
    const [soft, loud] = [1 / 8, 2].map((gain) =>
      share(
        decide(
          line.map((v) => v * gain),
          rate,
        ).slice(50),
      ),
    ) as [number, number]
    t.ok(Math.abs(soft - loud) < 0.1, `${(100 * soft).toFixed(0)} and ${(100 * loud).toFixed(0)} %`)
    t.end()
  })

  t.test(`${rate} Hz: noise is not speech, early or mid-call`, (t) => {
    for (const amplitude of [100, 500, 2000, 6000]) {
      for (const noise of [pink(10_000, amplitude), whiteNoise({ sampleRateHz: rate, ms: 10_000, amplitude }, 2)]) {
        t.ok(share(decide(noise, rate)) < 0.03, `rms ${amplitude}: ${(100 * share(decide(noise, rate))).toFixed(1)} %`)
      }
    }
    const late = decide(concatenate(silence(rate, 3000), pink(7000, 1500, 3)), rate)
    t.ok(share(late.slice(200)) < 0.1, `a second after it began: ${(100 * share(late.slice(200))).toFixed(1)} %`)
    const longest = Math.max(
      ...late
        .map((voiced) => (voiced ? 'v' : ' '))
        .join('')
        .split(' ')
        .map((row) => row.length),
    )
    t.ok(longest < 10, `at most ${20 * longest} ms in a row: too little to give up what the agent says`)
    t.end()
  })

  t.test(`${rate} Hz: speech is detected after and over loud noise`, (t) => {
    const line = concatenate(pink(4000, 3000, 5), mix(sentences(rate, 4000, 2), pink(4000, 30)))
    const heard = share(decide(line, rate).slice(220))
    t.ok(heard > 0.6, `${(100 * heard).toFixed(0)} % of its frames`)
    const over = decide(mix(concatenate(silence(rate, 3000), sentences(rate, 4000, 2)), pink(7000, 400, 6)), rate)
    t.ok(share(over.slice(150)) > 0.6, `15 dB over noise: ${(100 * share(over.slice(150))).toFixed(0)} %`)
    t.end()
  })

  t.test(`${rate} Hz: speech starting as loud noise ends is detected`, async (t) => {
    const { voices } = await speakUtterances(rate, 8)
    let heard = 0
    let spoken = 0
    voices.forEach((voice, i) => {
      const words = Int16Array.from(voice, Math.round)
      const ms = Math.floor(voice.length / (rate / 1000))
      const decisions = decide(concatenate(pink(4000, 3000, i), mix(words, pink(ms, 30))), rate).slice(200)
      truthOf(voice, rate).forEach((speaks, frame) => {
        if (!speaks || frame < 20) return
        spoken++
        // A gap of up to 100 ms is a word's, as in the session.
        if (decisions.slice(frame - 4, frame + 1).includes(true)) heard++
      })
    })
    t.ok(heard > 0.9 * spoken, `${((100 * heard) / spoken).toFixed(1)} % of the frames from 400 ms on`)
    t.end()
  })

  t.test(`${rate} Hz: offset or hum neither hides nor imitates speech`, (t) => {
    const line = mix(concatenate(silence(rate, 2000), sentences(rate, 6000, 2)), pink(8000, 40))
    const clean = decide(line, rate)
    for (const fault of FAULTY_LINES) {
      const heard = decide(overFaultyLine(line, rate, fault), rate)
      t.ok(share(heard.slice(10, 95)) < 0.02, `${fault}: nothing before the voice`)
      const found = clean.filter((voiced, i) => voiced && heard[i] === true).length / clean.filter(Boolean).length
      t.ok(found > (fault.startsWith('hum') ? 0.85 : 0.95), `${fault}: ${(100 * found).toFixed(0)} % of its frames`)
    }
    t.end()
  })

  t.test(`${rate} Hz: a tone over an offset is a tone`, (t) => {
    const shape = { sampleRateHz: rate, ms: 1000, amplitude: 3000 }
    const pureShare = (samples: Int16Array, faultyDbfs: number | null = null): number =>
      share(framesOf(samples, rate / 50).map((frame) => isPureTone(frame, rate, faultyDbfs)))
    for (const hz of [[425], [440, 480]])
      for (const fault of ['offset 8000', 'offset -8000'] as const)
        t.equal(pureShare(overFaultyLine(tone(hz, shape), rate, fault), -24), 1, `${hz.join(' and ')} Hz, ${fault}`)
    const hum = tone([50, 100], shape)
    t.equal(pureShare(hum), 1)
    t.equal(pureShare(hum, -50), 0, 'hum that the filter removes is not a tone')
    t.end()
  })

  t.test(`${rate} Hz: telephone tones are distinguished from voices`, (t) => {
    for (const hz of [
      [425],
      [440, 480],
      [350, 440],
      [400, 450],
      [480, 620],
      [1100],
      [2100],
      [697, 1209],
      [941, 1633],
    ]) {
      for (const amplitude of [300, 8000]) {
        const signal = tone(hz, { sampleRateHz: rate, ms: 1000, amplitude })
        const noisy = mix(signal, whiteNoise({ sampleRateHz: rate, ms: 1000, amplitude: amplitude / 50 }, 3))
        t.ok(
          share(framesOf(noisy, rate / 50).map((f) => isPureTone(f, rate))) > 0.95,
          `${hz.join(' + ')} Hz at ${amplitude}`,
        )
      }
    }
    const voiced = framesOf(speech(20_000, 4), rate / 50).filter((f) => levelDbfs(f) > -40)
    t.ok(share(voiced.map((f) => isPureTone(f, rate))) < 0.02)
    t.equal(share(framesOf(pink(2000, 1000), rate / 50).map((f) => isPureTone(f, rate))), 0)
    t.equal(isPureTone(silence(rate, 20), rate), false)
    t.end()
  })

  t.test(`${rate} Hz: streams share no state, and reset clears it`, async (t) => {
    const shared = await loadVads()
    const first = shared.open(rate === 8000 ? 16000 : 8000)
    const noise = framesOf(
      pinkNoise({ sampleRateHz: rate === 8000 ? 16000 : 8000, ms: 2000, amplitude: 4000 }, 1),
      rate === 8000 ? 320 : 160,
    )
    for (const frame of noise) first.isSpeech(frame)
    first.release()
    first.release()
    const again = shared.open(rate)
    const beside = shared.open(rate)
    const fresh = (await loadVads()).open(rate)
    const frames = framesOf(mix(speech(3000, 7), pink(3000, 300)), rate / 50)
    for (const frame of frames) {
      if (again.isSpeech(frame) !== fresh.isSpeech(frame)) t.fail('another decision')
      beside.isSpeech(frame.map((v) => -v / 3))
    }
    again.reset()
    const other = shared.open(rate)
    for (const frame of framesOf(speech(500, 9), rate / 50)) t.equal(again.isSpeech(frame), other.isSpeech(frame))
    t.end()
  })

  t.test(`${rate} Hz: wrong frame sizes and use after release throw`, async (t) => {
    const vad = (await loadVads()).open(rate)
    t.throws(() => vad.isSpeech(new Int16Array(rate / 50 - 1)), /20 ms/)
    vad.release()
    t.throws(() => vad.isSpeech(new Int16Array(rate / 50)), /after its release/)
    t.end()
  })
}

/** As in docs/VAD.md: a detector that answers later, here by a rule that is easy to follow. */
class LateBank implements VadBank {
  opened = 0
  released = 0
  readonly batches: number[] = []
  #queue: { readonly frame: Int16Array; readonly tell: (speech: boolean) => void }[] = []

  open(): Vad {
    this.opened++
    let speech = false
    return {
      isSpeech: (frame) => {
        this.#queue.push({ frame: frame.slice(), tell: (answer) => (speech = answer) })
        return speech
      },
      reset: () => (speech = false),
      release: () => this.released++,
    }
  }

  /** All frames of a tick at once, as a network would have them. */
  run(): void {
    this.batches.push(this.#queue.length)
    for (const { frame, tell } of this.#queue) tell(levelDbfs(frame) > -30)
    this.#queue = []
  }
}

t.test('a plugged-in detector decides each frame except tones', (t) => {
  const late = new LateBank()
  const paths = [1, 2].map(() => new CallerPath({ sampleRateHz: 8000, track: 'inbound_track', vadBank: late }))
  const shape = { sampleRateHz: 8000, ms: 600, amplitude: 9000 }
  const frames = framesOf(concatenate(silence(8000, 400), whiteNoise(shape, 1), tone([440, 480], shape)), 160)
  const decisions = frames.map((frame, i) => {
    for (const path of paths) path.push(bytesOfSamples(frame.slice()), (i + 1) * 20)
    const voiced = paths.map((path) => path.pull((i + 1) * 20) && path.voiced)
    late.run()
    return voiced[0] === true
  })
  t.equal(late.opened, 2)
  t.ok(Math.max(...late.batches) >= 2, 'both calls in one batch')
  const began = decisions.indexOf(true)
  t.ok(began >= 21 && began <= 24, `voice from frame ${began}, as the plugged-in detector decides`)
  t.equal(decisions.slice(54).includes(true), false, 'tones are never voice')
  for (const path of paths) path.release()
  t.equal(late.released, 2)
  t.end()
})

t.test('echo does not raise the noise floor', (t) => {
  const gate = new EnergyGate()
  for (let i = 0; i < 50; i++) gate.isOpen(-60 + (i % 3), true)
  const floor = gate.floorDbfs
  for (let i = 0; i < 500; i++) gate.isOpen(-20, false)
  t.equal(gate.floorDbfs, floor)
  t.equal(gate.isOpen(-45, true), true)
  t.end()
})

const sentence = (ms: number, seed: number) => speechLike({ sampleRateHz: 8000, ms, amplitude: 9000 }, seed)

t.test('only sentences of a folder of prompts are read', async (t) => {
  const folder = t.testdir({ 'README.txt': 'prompts', 'broken.wav': 'RIFF' })
  const keep = async (name: string, samples: Int16Array): Promise<void> => {
    await mkdir(join(folder, name, '..'), { recursive: true })
    await writeFile(join(folder, name), writeWav({ sampleRateHz: 8000, channels: 1, samples }))
  }
  for (const i of [0, 1, 2, 3]) await keep(`voice/${i}.WAV`, sentence(1000 + 200 * i, i))
  await keep('digits/word.wav', sentence(500, 7))
  await keep('demo/instructions.wav', sentence(9000, 8))
  await keep('silence/2.wav', silence(8000, 2000))
  await keep('beep.wav', tone([1000], { sampleRateHz: 8000, ms: 1500, amplitude: 8000 }))

  const all = await recordedUtterances(folder, 8000, 4)
  t.same(
    all.voices.map((voice) => Math.round(voice.length / 80) / 100),
    [1, 1.2, 1.4, 1.6],
  )
  const [first, third] = (await recordedUtterances(folder, 16000, 2)).voices as [Float64Array, Float64Array]
  t.same(
    [first, third].map((voice) => Math.round(voice.length / 160) / 100),
    [1, 1.4],
    'at the rate of the leg',
  )
  await t.rejects(recordedUtterances(folder, 8000, 5), /5 sentences .* has 4/)
  await t.rejects(recordedUtterances(join(folder, 'nowhere'), 8000, 1), /ENOENT/)
  t.end()
})

const models = await loadVoiceModels()

t.test('the models have the lengths that the kernel expects', (t) => {
  t.equal(models.first.length, FIRST_NUMBERS)
  t.equal(models.second.length, SECOND_NUMBERS)
  t.ok([...models.first, ...models.second].every(Number.isFinite))
  t.end()
})

t.test('silence has no pitch and a hum keeps its own', (t) => {
  const kernel = new JsVoiceKernel(models)
  kernel.history.fill(0)
  kernel.correlate()
  t.same(Array.from(kernel.correlation), new Array(LAGS).fill(0))
  // 125 Hz and its second harmonic at 2 kHz: 16 samples.
  kernel.history.forEach(
    (_, i) => (kernel.history[i] = 900 * Math.sin((2 * Math.PI * i) / 16) + 700 * Math.sin((2 * Math.PI * i) / 8 + 1)),
  )
  kernel.correlate()
  const best = kernel.correlation.indexOf(Math.max(...kernel.correlation))
  t.equal(LAG_MIN + LAGS - 1 - best, 16)
  t.ok((kernel.correlation[best] as number) > 0.98)
  t.end()
})

t.test('features of a frame stay finite for any input', (t) => {
  for (const sampleRateHz of [8000, 16000] as const) {
    const kernel = new JsVoiceKernel(models)
    const features = new VoiceFeatures({ sampleRateHz, kernel })
    const memory = new Float32Array(MEMORY_UNITS)
    const shape = { sampleRateHz, ms: 2000, amplitude: 30_000 }
    const clipped = speechLike(shape, 1).map((v) => Math.max(-32_768, Math.min(32_767, 20 * v)))
    const constant = new Int16Array(sampleRateHz).fill(-32_768)
    let least = Infinity
    let most = -Infinity
    for (const part of [
      silence(sampleRateHz, 5000),
      clipped,
      constant,
      tone([200], shape),
      silence(sampleRateHz, 100),
      mix(pinkNoise(shape, 1), clipped),
    ]) {
      for (const frame of framesOf(part, sampleRateHz / 50)) {
        features.take(frame)
        if (!Number.isFinite(kernel.secondOdds(kernel.odds(), memory))) t.fail('no number')
        for (let i = 0; i < MEMORY_INPUTS; i++) {
          least = Math.min(least, kernel.inputs[i] as number)
          most = Math.max(most, kernel.inputs[i] as number)
        }
      }
    }
    t.ok(least > -12 && most < 12, `${least.toFixed(1)} to ${most.toFixed(1)}`)
  }
  t.end()
})

/** A voice: harmonics up to 4 kHz whose fundamental goes from one pitch to another, through a telephone's highpass. */
function voice(rateHz: LegRateHz, fromHz: number, toHz: number, ms: number, lowestHz = 0): Int16Array {
  const count = (rateHz * ms) / 1000
  let cycles = 0
  return Int16Array.from({ length: count }, (_, i) => {
    const hz = fromHz + ((toHz - fromHz) * i) / count
    cycles += hz / rateHz
    let sum = 0
    for (let harmonic = 1; harmonic * hz < 3400; harmonic++)
      if (harmonic * hz > lowestHz) sum += Math.cos(2 * Math.PI * harmonic * cycles) / harmonic
    return 3000 * sum
  })
}

function pitches(samples: Int16Array, sampleRateHz: LegRateHz): number[] {
  const tracker = new PitchTracker({ sampleRateHz })
  return framesOf(samples, frameSamples(sampleRateHz))
    .map((frame) => {
      tracker.take(frame)
      return tracker.pitchHz()
    })
    .slice(3)
}

for (const rateHz of [8000, 16_000] as const) {
  t.test(`pitch is found within 3 % at ${rateHz} Hz`, async (t) => {
    for (const hz of [85, 110, 150, 210, 300]) {
      const found = pitches(voice(rateHz, hz, hz, 400), rateHz)
      t.ok(
        found.every((one) => Math.abs(one / hz - 1) < 0.03),
        `${hz} Hz: ${found.map(Math.round).join(' ')}`,
      )
    }
  })
}

t.test('the pitch is found without the fundamental', async (t) => {
  const found = pitches(voice(8000, 120, 120, 400, 300), 8000)
  t.ok(
    found.filter((one) => Math.abs(one / 120 - 1) < 0.05).length > 0.8 * found.length,
    found.map(Math.round).join(' '),
  )
})

t.test('the pitch of a falling voice decreases', async (t) => {
  const found = pitches(voice(8000, 220, 110, 600), 8000)
  t.ok((found[0] ?? 0) > 190 && (found.at(-1) ?? 999) < 130)
  t.ok(found.every((hz, i) => i === 0 || hz < (found[i - 1] ?? 0) * 1.02))
})

t.test('the pitch of a voice in noise is found', async (t) => {
  t.ok(pitches(new Int16Array(8000), 8000).every((hz) => hz === 0))
  const noise = pitches(whiteNoise({ sampleRateHz: 8000, ms: 4000, amplitude: 3000 }, 3), 8000)
  t.ok(
    noise.filter((hz) => hz > 0).length < 0.1 * noise.length,
    `${noise.filter((hz) => hz > 0).length} of ${noise.length}`,
  )
  const both = mix(voice(8000, 140, 140, 1000), pinkNoise({ sampleRateHz: 8000, ms: 1000, amplitude: 1000 }, 5))
  const found = pitches(both, 8000)
  t.ok(found.filter((hz) => Math.abs(hz / 140 - 1) < 0.05).length > 0.9 * found.length)
})
