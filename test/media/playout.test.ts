import t from 'tap'
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

  t.test(`${rate} Hz: the carrier never holds more than the lead, and never runs dry`, (t) => {
    const b = bench(rate)
    const random = seededRandom(rate)
    b.playout.speechEnded = false
    b.speech.add(20_000 * ms)
    for (let i = 0; i < 1500; i++) {
      const sent = b.tick(2 + 16 * random())
      if (sent.length % (20 * ms) !== 0) t.fail('not whole frames')
      const ahead = b.playout.playoutEndMs - b.nowMs
      if (ahead > leadMs + 1e-6) t.fail(`${ahead} ms ahead`)
      if (i > 0 && ahead < leadMs - 20 - 18) t.fail(`only ${ahead} ms ahead`)
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

  t.test(`${rate} Hz: an hour of speech drifts by less than a frame`, (t) => {
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

  t.test(`${rate} Hz: the end of an utterance is pushed out with at least 200 ms of zeros`, (t) => {
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

  t.test(`${rate} Hz: a pause falls silent at the next tick and resumes at the very sample`, (t) => {
    const b = bench(rate)
    b.speech.add(2000 * ms)
    b.run(300)
    const before = b.playout.sentSamples
    b.playout.pause(b.nowMs)
    const fade = b.tick()
    t.equal(b.playout.lastSentAtMs, b.nowMs, 'the fade counts as sound')
    t.equal(fade[0], before + 1, 'begins at full volume')
    t.ok((fade[4 * ms] as number) < (before + 1) * 0.25, 'and is nearly gone after 4 ms')
    t.ok(fade.slice(5 * ms).every((v) => v === 0))
    t.equal(b.playout.sentSamples, before, 'what was faded is not consumed')
    t.ok(b.playout.aheadMs(b.nowMs) <= leadMs + 5)
    b.run(400)
    t.equal(b.tick().length, 0, 'then nothing')
    t.equal(b.playout.state, 'paused')
    b.playout.resume(b.nowMs)
    const again = b.tick()
    t.equal(again[0], 0, 'fades in')
    t.ok((again[3 * ms] as number) > (before + 3 * ms) * 0.5)
    t.equal(again[5 * ms], before + 5 * ms + 1, 'where it stopped')
    t.equal(b.playout.underruns, 0)
    b.run(3000)
    t.equal(b.playout.sentSamples, 2000 * ms)
    t.end()
  })

  t.test(`${rate} Hz: after clear 60 ms of nothing, then a fresh start`, (t) => {
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

  t.test(`${rate} Hz: late ticks are caught up, but not above the lead`, (t) => {
    const b = bench(rate)
    b.speech.add(5000 * ms)
    b.run(200)
    const short = b.tick(70)
    t.equal(b.playout.lateTicks, 1)
    t.ok(short.length >= 60 * ms && short.length <= 80 * ms)
    t.equal(b.tick(900).length, leadMs * ms, 'a long gap is silence that cannot be caught up')
    t.equal(b.playout.playoutEndMs, b.nowMs + leadMs)
    t.equal(b.playout.lateTicks, 2)
    t.equal(b.playout.underruns, 0, 'the speech was there')
    t.end()
  })
}

t.test('a short dry spell between two chunks of the backend adds nothing to what the caller hears', (t) => {
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

t.test('a backend that is late is one underrun; its speech starts again with the lead', (t) => {
  const b = bench(16000)
  b.playout.speechEnded = false
  b.speech.add(16 * 100 + 7)
  b.run(280)
  t.equal(b.playout.underruns, 1)
  t.equal(b.playout.state, 'dry')
  t.equal(b.sent.length, 1600, 'no tail yet, and no broken frame')
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

t.test('a backend that stays away lets out what the carrier held back', (t) => {
  const b = bench(16000)
  b.playout.speechEnded = false
  b.speech.add(16 * 100)
  b.run(1000)
  t.equal(b.sent.length, 16 * 300)
  t.equal(b.playout.state, 'idle')
  t.equal(b.playout.underruns, 1)
  t.end()
})

t.test('a pause that is taken back before the next tick is not heard at all', (t) => {
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

t.test('a pause in the tail lets the tail out', (t) => {
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

t.test('speech that comes during the tail does not wait for its end', (t) => {
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

t.test('a background fills the silence in order and within the lead, and counts as no speech', (t) => {
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
  t.test(`${rate} Hz: under speech the background goes on 15 dB softer, with ramps, and is then back`, (t) => {
    const ms = rate / 1000
    const b = bench(rate)
    b.playout.background = new Int16Array(700).fill(-10_000)
    b.run(500)
    const before = b.sent.length
    const speech = 1000 * ms
    b.speech.add(speech)
    b.run(20)
    t.ok(b.playout.sentSamples > 0, 'speech waits for no ramp')
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
    t.same(b.speech.replaced, b.sent.slice(before, before + speech), 'who reads the speech again finds what was sent')
    t.equal(b.playout.sentSamples, speech)
    t.equal(b.playout.backgroundSamples, b.sent.length - speech)
    t.end()
  })

t.test('without a background, speech is sent as it is, and stays so in its source', (t) => {
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

t.test('a loud background under loud speech meets full scale and does not wrap around', (t) => {
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

t.test('a background that ends under speech, or with it, fades, and the tail of the speech follows', (t) => {
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

t.test('a caller who interrupts ends the background with the speech above it, and it comes back', (t) => {
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
    'nothing of either',
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

t.test('a pause while nothing but the background plays ends it with a fade', (t) => {
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

t.test('a background that is over is in no later fade', (t) => {
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

t.test('a voice that is late in a wait leaves the background on', (t) => {
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

t.test('a lead above 200 ms is a mistake', (t) => {
  t.throws(() => new Playout({ sampleRateHz: 16000, leadMs: 240 }), /lead of 240 ms/)
  t.equal(new Playout({ sampleRateHz: 8000, leadMs: 200 }).leadMs, 200)
  t.end()
})
