import t from 'tap'
import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { EnergyGate } from '../../src/media/energy-gate.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { isPureTone } from '../../src/media/tone-guard.js'
import { FvadBank } from '../../src/media/vad.js'
import { loadFvad } from '../support/media-modules.js'
import { concatenate, framesOf, mix, pinkNoise, silence, speechLike, tone, whiteNoise } from '../support/tones.js'

const bank = new FvadBank(await loadFvad())

/** Detector and gate together, as the caller path has them. */
function decide(samples: Int16Array, sampleRateHz: LegRateHz): boolean[] {
  const vad = bank.open(sampleRateHz)
  const gate = new EnergyGate()
  const decisions = framesOf(samples, frameSamples(sampleRateHz)).map((frame) => {
    const open = gate.isOpen(levelDbfs(frame), true)
    return vad.isSpeech(frame) && open
  })
  vad.release()
  return decisions
}

function share(decisions: readonly boolean[]): number {
  return decisions.filter(Boolean).length / decisions.length
}

for (const rate of [8000, 16000] as const) {
  const speech = (ms: number, seed: number) => speechLike({ sampleRateHz: rate, ms, amplitude: 12_000 }, seed)
  const pink = (ms: number, amplitude: number, seed = 1) => pinkNoise({ sampleRateHz: rate, ms, amplitude }, seed)

  t.test(`${rate} Hz: speech is heard, within two frames of its beginning`, (t) => {
    for (const noise of [0, 40]) {
      const line = mix(concatenate(silence(rate, 1000), speech(4000, 2)), pink(5000, noise))
      const decisions = decide(line, rate)
      t.equal(share(decisions.slice(0, 50)), 0, 'nothing before it')
      t.ok(decisions.slice(50, 53).includes(true), `begins at frame ${decisions.indexOf(true)}`)
      t.ok(share(decisions.slice(50)) > 0.6, `${(100 * share(decisions.slice(50))).toFixed(0)} % of its frames`)
    }
    t.end()
  })

  t.test(`${rate} Hz: noise does not pass for speech, loud from the first frame or beginning in mid-call`, (t) => {
    for (const amplitude of [100, 500, 2000, 6000]) {
      for (const noise of [pink(10_000, amplitude), whiteNoise({ sampleRateHz: rate, ms: 10_000, amplitude }, 2)]) {
        t.ok(share(decide(noise, rate)) < 0.03, `rms ${amplitude}: ${(100 * share(decide(noise, rate))).toFixed(1)} %`)
      }
    }
    const late = decide(concatenate(silence(rate, 3000), pink(7000, 1500, 3)), rate)
    t.ok(share(late.slice(200)) < 0.05, `a second after it began: ${(100 * share(late.slice(200))).toFixed(1)} %`)
    t.end()
  })

  t.test(`${rate} Hz: after loud noise ends, and over steady noise, a voice is heard again`, (t) => {
    const line = concatenate(pink(4000, 3000, 5), mix(speech(4000, 2), pink(4000, 30)))
    t.ok(share(decide(line, rate).slice(220)) > 0.5)
    const over = decide(mix(concatenate(silence(rate, 3000), speech(4000, 2)), pink(7000, 400, 6)), rate)
    t.ok(share(over.slice(150)) > 0.4, `15 dB over noise: ${(100 * share(over.slice(150))).toFixed(0)} %`)
    t.end()
  })

  t.test(`${rate} Hz: tones of the telephone are tones, voices and noise are not`, (t) => {
    for (const hz of [[425], [440, 480], [350, 440], [400, 450], [480, 620], [1100], [2100], [697, 1209], [941, 1633]]) {
      for (const amplitude of [300, 8000]) {
        const signal = tone(hz, { sampleRateHz: rate, ms: 1000, amplitude })
        const noisy = mix(signal, whiteNoise({ sampleRateHz: rate, ms: 1000, amplitude: amplitude / 50 }, 3))
        t.ok(share(framesOf(noisy, rate / 50).map((f) => isPureTone(f, rate))) > 0.95, `${hz.join(' + ')} Hz at ${amplitude}`)
      }
    }
    const voiced = framesOf(speech(20_000, 4), rate / 50).filter((f) => levelDbfs(f) > -40)
    t.ok(share(voiced.map((f) => isPureTone(f, rate))) < 0.02)
    t.equal(share(framesOf(pink(2000, 1000), rate / 50).map((f) => isPureTone(f, rate))), 0)
    t.equal(isPureTone(silence(rate, 20), rate), false)
    t.end()
  })

  t.test(`${rate} Hz: a state that was another call's decides like a new one`, async (t) => {
    const used = new FvadBank(await loadFvad())
    const first = used.open(rate === 8000 ? 16000 : 8000)
    for (const frame of framesOf(pinkNoise({ sampleRateHz: first === null ? 0 : rate * (rate === 8000 ? 2 : 0.5), ms: 2000, amplitude: 4000 }, 1), rate === 8000 ? 320 : 160)) first.isSpeech(frame)
    first.release()
    first.release()
    const again = used.open(rate)
    const fresh = new FvadBank(await loadFvad()).open(rate)
    t.equal(used.states, 1, 'the state was reused')
    for (const frame of framesOf(mix(speech(3000, 7), pink(3000, 300)), rate / 50)) {
      if (again.isSpeech(frame) !== fresh.isSpeech(frame)) t.fail('another decision')
    }
    again.reset()
    const other = used.open(rate)
    for (const frame of framesOf(speech(500, 9), rate / 50)) t.equal(again.isSpeech(frame), other.isSpeech(frame))
    t.end()
  })
}

t.test('the heap may grow under the streams that are open', async (t) => {
  const module = await loadFvad()
  const grown = new FvadBank(module)
  const first = grown.open(8000)
  const reference = bank.open(8000)
  const before = module.HEAP16
  const frames = framesOf(speechLike({ sampleRateHz: 8000, ms: 2000, amplitude: 9000 }, 1), 160)
  frames.slice(0, 50).forEach((f) => t.equal(first.isSpeech(f), reference.isSpeech(f)))
  for (let i = 0; i < 40; i++) module._malloc(1 << 20)
  t.not(module.HEAP16, before, 'it has grown')
  frames.slice(50).forEach((f) => t.equal(first.isSpeech(f), reference.isSpeech(f)))
  t.end()
})

t.test('mistakes of the program are caught', (t) => {
  const vad = bank.open(8000)
  t.throws(() => vad.isSpeech(new Int16Array(159)), /20 ms/)
  vad.release()
  t.throws(() => vad.isSpeech(new Int16Array(160)), /after its release/)
  t.end()
})

t.test('echo does not feed the noise floor', (t) => {
  const gate = new EnergyGate()
  for (let i = 0; i < 50; i++) gate.isOpen(-60 + (i % 3), true)
  const floor = gate.floorDbfs
  for (let i = 0; i < 500; i++) gate.isOpen(-20, false)
  t.equal(gate.floorDbfs, floor)
  t.equal(gate.isOpen(-45, true), true)
  t.end()
})
