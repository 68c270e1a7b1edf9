import t from 'tap'
import { PlayoutQueue } from '../../src/carrier/playout-queue.js'
import type { LegRateHz } from '../../src/core/units.js'
import { Playout, type SampleSource } from '../../src/media/playout/playout.js'
import { seededRandom } from '../support/tones.js'

/** Speech as numbered samples (1 to 30000, again and again), so that a lost or repeated one shows. */
class NumberedSpeech implements SampleSource {
  produced = 0
  taken = 0
  /** What was sent in place of its own samples, by their place. */
  readonly replaced: number[] = []

  add(samples: number): void {
    this.produced += samples
  }

  available(): number {
    return this.produced - this.taken
  }

  peek(out: Int16Array, samples: number): number {
    const count = Math.min(samples, this.available())
    for (let i = 0; i < count; i++) out[i] = 1 + ((this.taken + i) % 30_000)
    return count
  }

  replace(samples: Int16Array, count: number): void {
    for (let i = 0; i < count; i++) this.replaced[this.taken + i] = samples[i] as number
  }

  consume(samples: number): void {
    this.taken += samples
  }

  drop(): void {
    this.taken = this.produced
  }
}

interface Bench {
  readonly playout: Playout
  readonly speech: NumberedSpeech
  nowMs: number
  /** Everything that was sent. */
  readonly sent: number[]
  tick(ms?: number): Int16Array
  run(ms: number): void
}

function bench(sampleRateHz: LegRateHz, leadMs?: number): Bench {
  const playout = new Playout(leadMs === undefined ? { sampleRateHz } : { sampleRateHz, leadMs })
  const speech = new NumberedSpeech()
  const out = new Int16Array(playout.outSamplesMax)
  return {
    playout,
    speech,
    nowMs: 1000,
    sent: [],
    tick(ms = 10) {
      this.nowMs += ms
      const sent = out.slice(0, playout.pump(this.nowMs, speech, out))
      this.sent.push(...sent)
      return sent
    },
    run(ms) {
      for (let i = 0; i < ms / 10; i++) this.tick()
    },
  }
}

for (const rate of [8000, 16000] as const) {
  const ms = rate / 1000
  const leadMs = rate === 8000 ? 140 : 100

  t.test(`${rate} Hz: the carrier holds at most the lead`, (t) => {
    const b = bench(rate)
    const random = seededRandom(rate)
    b.playout.speechEnded = false
    b.speech.add(20_000 * ms)
    for (let i = 0; i < 1500; i++) {
      const sent = b.tick(2 + 16 * random())
      if (sent.length % (20 * ms) !== 0) t.fail('not whole frames')
      const ahead = b.playout.playoutEndMs - b.nowMs
      if (ahead > leadMs + 1e-6) t.fail(`${ahead} ms ahead`)
      if (i > 0 && ahead < leadMs - 40 - 18) t.fail(`only ${ahead} ms ahead`)
    }
    t.ok(b.playout.sentSamples > 14_000 * ms)
    t.equal(b.playout.underruns, 0)
    t.same(
      b.sent.slice(0, 5000),
      Array.from({ length: 5000 }, (_, i) => i + 1),
      'in order, nothing lost',
    )
    t.end()
  })

  t.test(`${rate} Hz: an hour of speech drifts under one frame`, (t) => {
    const b = bench(rate)
    const random = seededRandom(3)
    b.playout.speechEnded = false
    b.speech.add(3_700_000 * ms)
    b.tick(0)
    const start = b.nowMs
    let sent = b.playout.sentSamples
    const out = new Int16Array(b.playout.outSamplesMax)
    for (let now = start; now < start + 3_600_000;) {
      now += 5 + 10 * random()
      sent += b.playout.pump(now, b.speech, out)
      b.nowMs = now
    }
    t.equal(b.playout.sentSamples, sent)
    const playedMs = sent / ms - b.playout.aheadMs(b.nowMs)
    t.ok(Math.abs(playedMs - (b.nowMs - start)) < 0.01, `${playedMs} ms played in ${b.nowMs - start}`)
    t.equal(b.playout.underruns, 0)
    t.end()
  })

  t.test(`${rate} Hz: speech is followed by 200 ms of zeros`, (t) => {
    const b = bench(rate)
    b.speech.add(333 * ms + 3)
    b.run(1000)
    const speech = b.sent.findLastIndex((v) => v !== 0) + 1
    t.equal(speech, 333 * ms + 3, 'to the last sample')
    const zeros = b.sent.length - speech
    t.ok(zeros >= 200 * ms && zeros < 221 * ms, `${zeros / ms} ms of zeros`)
    t.equal(b.sent.length % (20 * ms), 0, 'whole frames')
    t.equal(b.playout.state, 'idle')
    t.equal(b.playout.sentSamples, 333 * ms + 3)
    t.equal(b.playout.underruns, 0)
    t.end()
  })

  t.test(`${rate} Hz: a pause stops and resumes without loss`, (t) => {
    const b = bench(rate)
    b.speech.add(2000 * ms)
    b.run(300)
    const before = b.playout.sentSamples
    b.playout.pause(b.nowMs)
    const fade = b.tick()
    t.equal(b.playout.lastSentAtMs, b.nowMs, 'the fade counts as sound')
    t.equal(fade[0], before + 1, 'begins at full volume')
    t.ok((fade[4 * ms] as number) < (before + 1) * 0.25, 'nearly silent after 4 ms')
    t.ok(fade.slice(5 * ms).every((v) => v === 0))
    t.equal(b.playout.sentSamples, before, 'faded samples are not consumed')
    t.ok(b.playout.aheadMs(b.nowMs) <= leadMs + 5)
    b.run(400)
    t.equal(b.tick().length, 0, 'then nothing')
    t.equal(b.playout.state, 'paused')
    b.playout.resume(b.nowMs)
    const again = b.tick()
    t.equal(again[0], 0, 'fades in')
    t.ok((again[3 * ms] as number) > (before + 3 * ms) * 0.5)
    t.equal(again[5 * ms], before + 5 * ms + 1, 'resumes at the same sample')
    t.equal(b.playout.underruns, 0)
    b.run(3000)
    t.equal(b.playout.sentSamples, 2000 * ms)
    t.end()
  })

  t.test(`${rate} Hz: speech restarts 60 ms after a clear`, (t) => {
    const b = bench(rate)
    b.speech.add(2000 * ms)
    b.run(300)
    const sentBefore = b.playout.sentSamples
    b.speech.drop()
    b.playout.clear(b.nowMs)
    t.equal(b.playout.aheadMs(b.nowMs), 0, 'the carrier holds nothing')
    const clearedAt = b.nowMs
    b.speech.add(1000 * ms)
    while (b.tick().length === 0) {
      /* quiet */
    }
    t.equal(b.nowMs - clearedAt, 60)
    t.equal(b.playout.startedAtMs, b.nowMs)
    t.equal(b.playout.playoutEndMs, b.nowMs + leadMs)
    t.equal(b.playout.sentSamples - sentBefore, leadMs * ms)
    t.end()
  })

  t.test(`${rate} Hz: late ticks are caught up within the lead`, (t) => {
    const b = bench(rate)
    b.speech.add(5000 * ms)
    b.run(200)
    const short = b.tick(70)
    t.equal(b.playout.lateTicks, 1)
    t.ok(short.length >= 60 * ms && short.length <= 100 * ms)
    t.equal(b.tick(900).length, leadMs * ms, 'a gap longer than the lead is lost')
    t.equal(b.playout.playoutEndMs, b.nowMs + leadMs)
    t.equal(b.playout.lateTicks, 2)
    t.equal(b.playout.underruns, 0, 'the speech was there')
    t.end()
  })
}

for (const rate of [8000, 16_000] as const)
  t.test(`${rate} Hz: two frames a message sound like single frames`, (t) => {
    // What the carrier plays in each of its ticks, and messages that it got.
    const played = (leadMs: number | undefined, phaseMs: number) => {
      const b = bench(rate, leadMs)
      const queue = new PlayoutQueue()
      const frame = new Int16Array(rate / 50)
      const heard: number[] = []
      let messages = 0
      b.playout.speechEnded = false
      b.speech.add(2 * rate)
      for (let ms = 0; ms < 3000; ms += 5) {
        if (ms === 1000) b.playout.speechEnded = true
        const sent = b.tick(5)
        if (sent.length > 0) messages++
        queue.push(new Uint8Array(sent.buffer))
        if (ms % 20 !== phaseMs) continue
        queue.tick(frame)
        heard.push(...frame)
      }
      return { heard, messages }
    }
    for (const phaseMs of [0, 5, 10, 15]) {
      const { heard, messages } = played(undefined, phaseMs)
      const from = heard.findIndex((sample) => sample !== 0)
      t.same(
        heard.slice(from, from + 2 * rate),
        Array.from({ length: 2 * rate }, (_, at) => 1 + (at % 30_000)),
      )
      t.ok(from <= rate * (rate === 8000 ? 0.04 : 0.02), `begins after ${(from * 1000) / rate} ms`)
      t.ok(messages <= 2200 / 40 + 3, `${messages} messages`)
    }
    t.end()
  })

t.test('a short gap in backend audio is not heard', (t) => {
  const b = bench(16000)
  b.playout.speechEnded = false
  b.speech.add(16 * 200)
  b.run(160)
  b.speech.add(16 * 200)
  b.run(160)
  t.equal(b.playout.underruns, 0)
  t.same(
    b.sent,
    Array.from({ length: b.sent.length }, (_, i) => i + 1),
    'no zeros in between',
  )
  t.end()
})

t.test('late backend speech is one underrun and restarts', (t) => {
  const b = bench(16000)
  b.playout.speechEnded = false
  b.speech.add(16 * 100 + 7)
  b.run(280)
  t.equal(b.playout.underruns, 1)
  t.equal(b.playout.state, 'dry')
  t.equal(b.sent.length, 1600 + 640, 'a fade, and zeros that push it out; no tail yet, and no broken frame')
  t.same(b.sent[1600], 1600, 'the fade begins at the last sample')
  t.ok((b.sent[1664] as number) < 1600 * 0.25)
  t.ok(b.sent.slice(1680).every((sample) => sample === 0))
  t.equal(b.playout.sentSamples, 1600, 'the fade does not count as speech')
  const started = b.playout.startedAtMs
  b.speech.add(16 * 500)
  const again = b.tick()
  t.equal(again.length, 1600, 'the whole lead')
  t.equal(again[0], 0, 'faded in')
  t.equal(b.playout.startedAtMs, started, 'the same run of speech')
  b.run(250)
  t.equal(b.playout.underruns, 1)
  t.end()
})

t.test('a long underrun flushes audio held by the carrier', (t) => {
  const b = bench(16000)
  b.playout.speechEnded = false
  b.speech.add(16 * 100)
  b.run(1000)
  t.equal(b.sent.length, 16 * (100 + 40 + 200), 'after the fade')
  t.equal(b.playout.state, 'idle')
  t.equal(b.playout.underruns, 1)
  t.end()
})

t.test('a pause resumed before the next tick is not heard', (t) => {
  const b = bench(16000)
  b.speech.add(16_000)
  b.run(200)
  b.playout.pause(b.nowMs)
  b.playout.resume(b.nowMs)
  b.run(200)
  t.same(
    b.sent.slice(0, 4000),
    Array.from({ length: 4000 }, (_, i) => i + 1),
  )
  t.end()
})

t.test('a pause during the tail still sends the tail', (t) => {
  const b = bench(16000)
  b.speech.add(16 * 100)
  b.run(120)
  t.equal(b.playout.state, 'tail')
  b.playout.pause(b.nowMs)
  b.run(400)
  t.equal(b.sent.length, 16 * 300)
  t.equal(b.playout.paused, true)
  b.speech.add(16 * 100)
  t.equal(b.tick().length, 0)
  b.playout.resume(b.nowMs)
  t.equal(b.tick()[0], 1601, 'speech that came during the pause begins without a fade')
  t.end()
})

t.test('clear while paused ends the pause', (t) => {
  const b = bench(16000)
  b.speech.add(16_000)
  b.run(100)
  b.playout.pause(b.nowMs)
  b.run(50)
  b.speech.drop()
  b.playout.clear(b.nowMs)
  t.equal(b.playout.paused, false)
  b.speech.add(1600)
  b.run(100)
  t.ok(b.sent.includes(17_600), 'the new speech is heard')
  t.end()
})

t.test('new speech during the tail starts at once', (t) => {
  const b = bench(16000)
  b.speech.add(16 * 40)
  b.run(100)
  t.equal(b.playout.state, 'tail')
  b.speech.add(16 * 400)
  b.run(30)
  t.equal(b.playout.state, 'playing')
  t.ok(b.playout.aheadMs(b.nowMs) <= 100)
  t.end()
})

t.test('background sound fills silence within the lead [1]', (t) => {
  const b = bench(16000)
  const loop = Int16Array.from({ length: 700 }, (_, at) => -1 - at)
  b.playout.background = loop
  for (let i = 0; i < 50; i++) {
    const sent = b.tick()
    if (sent.length % 320 !== 0) t.fail('not whole frames')
    if (b.playout.aheadMs(b.nowMs) > 100 + 1e-6) t.fail('above the lead')
  }
  t.same(
    b.sent.slice(80, 1600),
    Array.from({ length: 1520 }, (_, at) => -1 - ((at + 80) % 700)),
    'looped, after a fade',
  )
  t.equal(b.playout.backgroundSamples, b.sent.length)
  t.equal(b.playout.sentSamples, 0)
  t.equal(b.playout.lastSentAtMs, 0)
  b.playout.background = null
  const before = b.sent.length
  b.tick()
  const end = b.sent.slice(before)
  t.same([end.length, end.at(-1)], [320, 0], 'a frame that fades')
  b.run(600)
  t.equal(b.playout.state, 'idle')
  t.equal(b.playout.dueMs, Infinity)
  t.end()
})

/** The gain of a background of -10000 in what was sent from `from` on, of which `speech` samples are speech that begins there. */
const gainsOf = ({ sent }: Bench, from: number, speech: number): number[] =>
  sent.slice(from).map((sample, i) => (sample - (i < speech ? 1 + (i % 30_000) : 0)) / -10_000)

for (const rate of [8000, 16000] as const)
  t.test(`${rate} Hz: background is 15 dB softer under speech`, (t) => {
    const ms = rate / 1000
    const b = bench(rate)
    b.playout.background = new Int16Array(700).fill(-10_000)
    b.run(500)
    const before = b.sent.length
    const speech = 1000 * ms
    b.speech.add(speech)
    b.run(40)
    t.ok(b.playout.sentSamples > 0, 'speech starts without waiting for the ramp')
    b.run(2500)
    const gains = gainsOf(b, before, speech)
    const dB = (gain: number | undefined): number => 20 * Math.log10(gain ?? 0)
    t.ok(Math.abs(dB(gains[0])) < 0.1, 'from full level')
    for (const at of [100 * ms, 500 * ms, speech - 1])
      t.ok(Math.abs(dB(gains[at]) + 15) < 0.1, `${dB(gains[at])} dB after ${at / ms} ms`)
    t.ok(dB(gains[speech + 250 * ms]) < -3, 'it comes back slowly')
    t.ok(Math.abs(dB(gains[speech + 500 * ms])) < 0.1)
    const steps = gains.slice(1).map((gain, at) => Math.abs(gain - (gains[at] ?? 0)))
    t.ok(Math.max(...steps) < 0.003, `no clicks: ${Math.max(...steps)}`)
    t.same(b.speech.replaced, b.sent.slice(before, before + speech), 'the source holds the samples as sent')
    t.equal(b.playout.sentSamples, speech)
    t.equal(b.playout.backgroundSamples, b.sent.length - speech)
    t.end()
  })

t.test('without a background, speech is sent unchanged', (t) => {
  const b = bench(16000)
  b.speech.add(16 * 500)
  b.run(800)
  t.same(b.speech.replaced, [])
  t.same(
    b.sent.slice(0, 8000),
    Array.from({ length: 8000 }, (_, at) => 1 + at),
  )
  t.end()
})

t.test('loud background and loud speech clip without wrapping', (t) => {
  const b = bench(16000)
  b.playout.background = new Int16Array(700).fill(32_767)
  b.run(200)
  const before = b.sent.length
  b.speech.add(30_000)
  b.run(2000)
  const sent = b.sent.slice(before, before + 30_000)
  t.ok(sent.every((sample, at) => sample >= 1 + at))
  t.equal(sent.at(-1), 32_767)
  t.end()
})

t.test('a background that ends during speech fades out', (t) => {
  for (const endMs of [200, 1000]) {
    const b = bench(16000)
    b.playout.background = new Int16Array(700).fill(-10_000)
    b.run(200)
    const before = b.sent.length
    b.speech.add(16 * 1000)
    b.run(endMs)
    b.playout.background = null
    b.run(1600)
    const gains = gainsOf(b, before, 16_000)
    const steps = gains.slice(1).map((gain, at) => Math.abs(gain - (gains[at] ?? 0)))
    t.ok(Math.max(...steps) < 0.004, `no clicks: ${Math.max(...steps)}`)
    t.equal(gains.at(-1), 0)
    t.equal(b.playout.state, 'idle')
    t.equal(b.playout.dueMs, Infinity)
  }
  t.end()
})

t.test('a barge-in silences speech and background; the background returns [2]', (t) => {
  const b = bench(16000)
  b.playout.background = new Int16Array(700).fill(-10_000)
  b.run(300)
  b.speech.add(16 * 2000)
  b.run(500)
  b.playout.pause(b.nowMs)
  const { taken } = b.speech
  const fade = b.tick()
  t.ok(Math.abs((fade[0] ?? 0) - (taken + 1 - 1778)) < 60, 'both are in the fade')
  t.ok(Math.abs(fade[79] ?? 0) < 100)
  t.same(
    [...fade.subarray(80)].filter((sample) => sample !== 0),
    [],
  )
  const at = b.sent.length
  b.run(500)
  t.same(
    b.sent.slice(at).filter((sample) => sample !== 0),
    [],
    'speech and background are silent',
  )
  b.playout.resume(b.nowMs)
  b.run(100)
  t.ok(b.sent.at(-1) !== 0)
  b.speech.drop()
  b.playout.clear(b.nowMs)
  t.equal(b.tick().length, 0)
  const cleared = b.sent.length
  b.run(200)
  t.ok(Math.abs(b.sent[cleared] ?? -1) < 200, 'from silence')
  t.equal(b.sent.at(-1), -10_000)
  t.end()
})

t.test('a pause fades out a background playing alone', (t) => {
  const b = bench(16000)
  b.playout.background = new Int16Array(700).fill(-10_000)
  b.run(300)
  b.playout.pause(b.nowMs)
  const fade = b.tick()
  t.ok((fade[0] ?? 0) < -9000)
  t.ok(Math.abs(fade[79] ?? -1) < 200)
  b.run(500)
  t.equal(b.playout.state, 'paused')
  b.playout.resume(b.nowMs)
  b.run(100)
  t.equal(b.sent.at(-1), -10_000)
  t.end()
})

t.test('an ended background is not in a later fade', (t) => {
  const fadeAfter = (background: Int16Array | null): readonly number[] => {
    const b = bench(16000)
    b.playout.background = background
    b.run(300)
    b.playout.background = null
    b.run(600)
    b.speech.add(16 * 1000)
    b.run(300)
    b.playout.pause(b.nowMs)
    return [...b.tick()]
  }
  t.ok((fadeAfter(null)[0] ?? 0) > 1000)
  t.same(fadeAfter(new Int16Array(700).fill(-10_000)), fadeAfter(null))
  t.end()
})

t.test('the background continues during an underrun', (t) => {
  const b = bench(16000)
  b.playout.background = new Int16Array(700).fill(-10_000)
  b.run(300)
  b.playout.speechEnded = false
  b.speech.add(16 * 400)
  for (let ticks = 0; ticks < 200 && b.playout.underruns === 0; ticks++) b.tick()
  const before = b.playout.backgroundSamples
  b.run(100)
  t.ok(b.playout.backgroundSamples >= before + 16 * 100, 'at once')
  b.speech.add(16 * 400)
  b.run(300)
  b.playout.speechEnded = true
  b.run(1000)
  t.equal(b.playout.underruns, 1)
  t.equal(b.playout.sentSamples, 16 * 800)
  t.end()
})

t.test('a ducked voice is 12 dB softer within 10 ms', (t) => {
  const one = bench(16_000)
  one.speech.add(20_000)
  one.run(200)
  const from = one.sent.length
  one.playout.ducked = true
  one.run(200)
  const ratio = (at: number): number => (one.sent[at] as number) / (1 + (at % 30_000))
  t.equal(ratio(from - 1), 1)
  t.ok(Math.abs(20 * Math.log10(ratio(from + 160)) + 12) < 0.1, `${ratio(from + 160)}`)
  t.ok(
    one.sent.slice(from + 1).every((sample, at) => Math.abs(sample - (one.sent[from + at] as number)) < 100),
    'without a step',
  )
  t.same(one.speech.replaced.slice(from), one.sent.slice(from))
  one.playout.ducked = false
  const back = one.sent.length
  one.run(200)
  t.equal(ratio(back + 160), 1)
  t.end()
})

/** A tone of 300 Hz as speech, by the place of each sample. */
class Tone extends NumberedSpeech {
  readonly #rateHz: LegRateHz

  constructor(rateHz: LegRateHz) {
    super()
    this.#rateHz = rateHz
  }

  override peek(out: Int16Array, samples: number): number {
    const count = Math.min(samples, this.available())
    for (let i = 0; i < count; i++)
      out[i] = Math.round(TONE * Math.sin((2 * Math.PI * 300 * (this.taken + i)) / this.#rateHz))
    return count
  }
}

const TONE = 12_000

/** What the caller hears of a backend that sends pieces of 20 to 250 ms with pauses of up to 400 ms. */
function heardOfLateBackend(rateHz: LegRateHz, seed: number) {
  const random = seededRandom(seed)
  const playout = new Playout({ sampleRateHz: rateHz })
  const [speech, queue] = [new Tone(rateHz), new PlayoutQueue()]
  const out = new Int16Array(playout.outSamplesMax)
  const frame = new Int16Array(rateHz / 50)
  const heard: number[] = []
  const phaseMs = Math.floor(20 * random())
  let nextMs = 0
  playout.speechEnded = false
  for (let ms = 0; ms < 7000 || speech.available() >= frame.length || playout.aheadMs(1000 + ms) > 0; ms++) {
    if (ms >= nextMs && ms < 7000) {
      speech.add(Math.floor((rateHz / 1000) * (20 + 230 * random())))
      nextMs = ms + 1 + Math.floor(400 * random() ** 2)
    }
    if (ms % 5 === 0) {
      const samples = playout.pump(1000 + ms, speech, out)
      if (samples > 0) queue.push(new Uint8Array(out.slice(0, samples).buffer))
    }
    if (ms % 20 !== phaseMs) continue
    queue.tick(frame)
    heard.push(...frame)
  }
  return { heard, playout, speech }
}

for (const rate of [8000, 16000] as const)
  t.test(`${rate} Hz: late speech causes no audible step`, (t) => {
    let underruns = 0
    for (let seed = 1; seed <= 40; seed++) {
      const { heard, playout, speech } = heardOfLateBackend(rate, seed)
      const steps = heard.slice(1).map((sample, at) => Math.abs(sample - (heard[at] as number)))
      const worst = steps.reduce((most, step) => Math.max(most, step), 0)
      const natural = (TONE * 2 * Math.PI * 300) / rate
      if (worst > 1.2 * natural) t.fail(`seed ${seed}: a step of ${worst}, where the tone has ${Math.round(natural)}`)
      if (playout.sentSamples !== speech.taken) t.fail(`seed ${seed}: speech was lost`)
      underruns += playout.underruns
    }
    t.ok(underruns > 100, `${underruns} times it was`)
    t.end()
  })

t.test('speech interrupted at its last sample fades out', (t) => {
  for (const left of [0, 1, 50, 79]) {
    const b = bench(16000)
    b.playout.speechEnded = false
    b.speech.add(1600 + left)
    b.tick()
    b.playout.pause(b.nowMs)
    b.tick()
    const fade = b.sent.slice(1600)
    t.ok(Math.abs((fade[0] as number) - 1600) <= 1, `${left} left`)
    t.ok(Math.abs(fade[79] as number) < 50)
    t.ok(fade.slice(80).every((sample) => sample === 0))
  }
  t.end()
})

t.test('speech after late ticks fades in', (t) => {
  const b = bench(16000)
  b.speech.add(16 * 5000)
  b.run(200)
  t.equal(b.tick(900)[0], 0)
  t.ok((b.tick(40)[0] as number) > 0, 'once')
  t.end()
})

t.test('the lead follows line bursts up to 300 ms', (t) => {
  for (const rate of [8000, 16_000] as const) {
    const b = bench(rate)
    const usual = rate === 8000 ? 140 : 100
    b.playout.speechEnded = false
    b.speech.add(20 * rate)
    const aheadOf = (lineBurstMs: number): number => {
      b.playout.lineBurstMs = lineBurstMs
      b.run(600)
      let aheadMs = 0
      for (let ticks = 0; ticks < 4; ticks++) {
        aheadMs = Math.max(aheadMs, b.playout.aheadMs(b.nowMs))
        b.tick()
      }
      return aheadMs
    }
    t.equal(aheadOf(0), usual)
    t.equal(aheadOf(40), usual, 'the usual lead covers the burst')
    t.equal(aheadOf(120), usual + 80)
    t.equal(aheadOf(2000), 300)
    t.equal(aheadOf(0), usual)
    t.equal(b.playout.underruns, 0)
    aheadOf(2000)
    b.speech.drop()
    b.playout.clear(b.nowMs)
    t.equal(b.playout.aheadMs(b.nowMs), 0, 'a clear drops all audio ahead')
  }
  t.end()
})

t.test('repeated line stalls of 240 ms are bridged', (t) => {
  const queue = new PlayoutQueue()
  const b = bench(16000)
  const frame = new Int16Array(320)
  b.playout.speechEnded = false
  b.speech.add(16 * 60_000)
  const waiting: Uint8Array[] = []
  const dry: number[] = []
  for (let ms = 0; ms < 20_000; ms += 10) {
    if (ms === 10_000) b.playout.lineBurstMs = 240
    const sent = b.tick()
    if (sent.length > 0) waiting.push(new Uint8Array(sent.buffer))
    // Stalled in the last 240 ms of every second.
    if (ms % 1000 < 760) for (const bytes of waiting.splice(0)) queue.push(bytes)
    if (ms % 20 === 0 && queue.tick(frame).samples < 320 && ms > 100) dry.push(ms)
  }
  t.ok(dry.some((ms) => ms < 10_000))
  t.same(
    dry.filter((ms) => ms >= 11_000),
    [],
  )
  t.end()
})

/** Longest silence that the carrier plays while the agent is paused from `pauseMs` to `resumeMs`, over all phases of its ticks. */
function heardSilenceMs(rateHz: LegRateHz, pauseMs: number, resumeMs: number): number {
  let heard = 0
  for (let phaseMs = 0; phaseMs < 20; phaseMs += 2) {
    const b = bench(rateHz)
    const queue = new PlayoutQueue()
    const frame = new Int16Array(rateHz / 50)
    b.playout.speechEnded = false
    b.speech.add(4 * rateHz)
    let [silent, longest] = [0, 0]
    for (let ms = 0; ms < 3000; ms++) {
      if (ms === 1000 + pauseMs) b.playout.pause(b.nowMs)
      if (ms === 1000 + resumeMs) b.playout.resume(b.nowMs)
      if (ms % 10 === phaseMs % 10) queue.push(new Uint8Array(b.tick().buffer))
      if (ms % 20 !== 0) continue
      queue.tick(frame)
      for (const sample of frame) {
        silent = sample === 0 ? silent + 1 : 0
        if (ms >= 1000) longest = Math.max(longest, silent)
      }
    }
    heard = Math.max(heard, (longest * 1000) / rateHz)
  }
  return heard
}

t.test('a listening sound mutes the agent at most 455 ms', (t) => {
  // When the session orders the pause and the end of it: test/call/barge-in.test.ts.
  const heard = ([rateHz, pauseMs]: readonly [LegRateHz, number]): number[] =>
    [180, 300, 400, 560]
      .filter((ms) => ms > pauseMs)
      .map((ms) => Math.round(heardSilenceMs(rateHz, pauseMs, ms + (ms < 500 ? 100 : 160))))
  t.same(heard([16_000, 200]), [200, 235, 455])
  t.same(heard([8000, 160]), [120, 200, 235, 455])
  t.end()
})

t.test('a lead above 200 ms is rejected', (t) => {
  t.throws(() => new Playout({ sampleRateHz: 16000, leadMs: 240 }), /lead of 240 ms/)
  t.equal(new Playout({ sampleRateHz: 8000, leadMs: 200 }).leadMs, 200)
  t.end()
})
