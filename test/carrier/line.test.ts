import fc from 'fast-check'
import t from 'tap'
import { measureCaller, SharedTicker, UtterancePlayer } from '../../src/carrier/caller-leg.js'
import { convertRate, dtmfTones, PhoneLine, rmsOf } from '../../src/carrier/line.js'
import {
  HOLD_BACK_FIRST_SAMPLES,
  HOLD_BACK_SAMPLES,
  MARKS_WAITING_MAX,
  PlayoutQueue,
} from '../../src/carrier/playout-queue.js'
import { type Span, SpeechSpans, partsOf } from '../../src/carrier/speech-spans.js'

function sine(frequencyHz: number, samples: number, rateHz: number, peak = 10_000): Int16Array {
  return Int16Array.from({ length: samples }, (_, i) =>
    Math.round(peak * Math.sin((2 * Math.PI * frequencyHz * i) / rateHz)),
  )
}

void t.test('the rate conversion passes the phone band and nothing higher', (t) => {
  const middle = (pcm: Int16Array): Int16Array => pcm.subarray(400, pcm.length - 400)
  for (const hz of [300, 1000, 3000]) {
    const up = convertRate(sine(hz, 4000, 8000), 8000, 16000)
    t.ok(Math.abs(20 * Math.log10(rmsOf(middle(up)) / 7071)) < 0.2, `${hz} Hz up`)
    const back = convertRate(up, 16000, 8000)
    t.equal(back.length, 4000)
    t.ok(Math.abs(20 * Math.log10(rmsOf(middle(back)) / 7071)) < 0.4, `${hz} Hz up and down`)
  }
  t.ok(rmsOf(middle(convertRate(sine(5500, 8000, 16000), 16000, 8000))) < 20, 'no alias of 5.5 kHz')
  t.end()
})

void t.test('noise has the configured level and repeats for a seed', (t) => {
  const noiseOf = (seed: number): Int16Array => {
    const line = new PhoneLine({ sampleRateHz: 16000, snrDb: 20, seed })
    const frame = new Int16Array(16000)
    line.up(frame)
    return frame
  }
  t.ok(Math.abs(20 * Math.log10(rmsOf(noiseOf(1)) / 32_768) + 40) < 0.5, '20 dB below a voice at -20 dBFS')
  const bytesOf = (seed: number): Buffer => Buffer.from(noiseOf(seed).buffer)
  t.same(bytesOf(7), bytesOf(7))
  t.notOk(bytesOf(7).equals(bytesOf(8)))
  t.end()
})

void t.test('a phone that stops sending leaves silence or comfort noise', (t) => {
  const levels = (pauses: 'line' | 'nothing' | 'comfort-noise', snrDb: number | null): number[] => {
    const line = new PhoneLine({ sampleRateHz: 16000, pauses, snrDb })
    return Array.from({ length: 30 }, (_, i) => {
      const frame = i < 5 ? sine(500, 320, 16000) : new Int16Array(320)
      line.up(frame)
      return rmsOf(frame)
    })
  }
  const noiseRms = 32_768 * 10 ** (-50 / 20)
  for (const [pauses, rms] of [
    ['line', noiseRms],
    ['nothing', 0],
    ['comfort-noise', noiseRms],
  ] as const) {
    const heard = levels(pauses, 30)
    t.ok(
      heard.slice(0, 5).every((level) => level > 7000),
      `${pauses}: words are whole`,
    )
    t.ok(
      heard.slice(5, 15).every((level) => level > noiseRms / 2),
      `${pauses}: for 200 ms more it sends`,
    )
    t.ok(
      heard.slice(15).every((level) => Math.abs(level - rms) <= rms / 4),
      `${pauses}: then ${Math.round(rms)}`,
    )
  }
  t.ok(
    levels('comfort-noise', null)
      .slice(15)
      .every((level) => level > 10 && level < 30),
    'of a quiet line too',
  )
  t.end()
})

void t.test('the agent comes back as an echo, later and softer', (t) => {
  const line = new PhoneLine({ sampleRateHz: 16000, echo: { levelDb: -20, delayMs: 40 } })
  const levels: number[] = []
  for (let i = 0; i < 4; i++) {
    const up = new Int16Array(320)
    line.up(up)
    levels.push(Math.round(rmsOf(up)))
    line.down(i === 0 ? sine(1000, 320, 16000) : new Int16Array(320))
  }
  t.same(levels, [0, 0, 707, 0])
  t.end()
})

void t.test('a speakerphone limits the echo of a louder agent', (t) => {
  const line = new PhoneLine({ sampleRateHz: 16000, echo: { levelDb: -10, delayMs: 40, phone: 'speakerphone' } })
  const peaks: number[] = []
  for (const peak of [2000, 16_000]) {
    let heard = new Int16Array(320)
    for (let i = 0; i < 10; i++) {
      heard = new Int16Array(320)
      line.up(heard)
      line.down(sine(1000, 320, 16000, peak))
    }
    peaks.push(rmsOf(heard))
  }
  const [soft = NaN, loud = NaN] = peaks
  t.ok(loud < 3 * soft, `eight times as loud into it is ${(loud / soft).toFixed(1)} times as loud out of it`)
  t.ok(soft > 100, `${soft.toFixed(0)} rms`)
  t.end()
})

void t.test('speech is split into pieces and turns by its silences', (t) => {
  const log: string[] = []
  const spans = new SpeechSpans(
    { sampleRateHz: 8000, pieceSilenceMs: 100, turnSilenceMs: 300, pieceMsMax: 10_000 },
    {
      onTurnStart: (atMs) => log.push(`start ${atMs}`),
      onPiece: (piece: Span, pcm) =>
        log.push(`piece ${piece.startMs}-${piece.endMs} of ${Math.round(pcm.length / 8)} ms`),
      onTurnEnd: (turn) => log.push(`end ${turn.startMs}-${turn.endMs}`),
    },
  )
  const voice = sine(500, 160, 8000)
  const loud = new Set([5, 6, 7, 15, 16])
  for (let i = 0; i < 40; i++) spans.push(loud.has(i) ? voice : new Int16Array(160), i * 20)
  t.same(log, ['start 100', 'piece 100-160 of 260 ms', 'piece 300-340 of 240 ms', 'end 100-340'])
  const two = new Int16Array(8000)
  two.set(sine(500, 1600, 8000), 800)
  two.set(sine(500, 1600, 8000), 4400) // 250 ms after it
  t.equal(partsOf(two, 8000, 240).length, 2)
  t.equal(partsOf(two, 8000, 300).length, 1)
  t.end()
})

void t.test('latencies are measured from voiced sample to voiced sample', (t) => {
  const said = [
    { text: 'a', startMs: 3000, endMs: 4000 },
    { text: 'b', startMs: 6000, endMs: 6500 },
    { text: 'c', startMs: 6800, endMs: 7000 },
  ]
  const heard = [
    { startMs: 1000, endMs: 1500 },
    { startMs: 1700, endMs: 2000 },
    { startMs: 4700, endMs: 6150 },
    { startMs: 7900, endMs: 9000 },
  ]
  t.same(measureCaller(said, heard, 800), {
    greetingMs: 200,
    turns: [{ firstSoundMs: 700 }, { firstSoundMs: null }, { firstSoundMs: 900 }],
    bargeIns: [{ stopMs: 150 }],
  })
  t.end()
})

void t.test('an utterance is timed from its voice, not its file', (t) => {
  const player = new UtterancePlayer(8000)
  const pcm = new Int16Array(1600)
  pcm.set(sine(500, 800, 8000), 400)
  player.say({ text: 'hello', pcm })
  const out = new Int16Array(160)
  let frames = 0
  while (player.read(out, 1000 + frames * 20) === null) frames++
  t.same(player.said, [{ text: 'hello', startMs: 1050, endMs: 1150 }])
  t.equal(frames, 9)
  t.end()
})

void t.test('DTMF digits have two tones and a pause', (t) => {
  const pcm = dtmfTones('5#', 8000)
  t.equal(pcm.length, 3200)
  const power = (hz: number, part: Int16Array): number => {
    let re = 0
    let im = 0
    part.forEach((sample, i) => {
      re += sample * Math.cos((2 * Math.PI * hz * i) / 8000)
      im += sample * Math.sin((2 * Math.PI * hz * i) / 8000)
    })
    return Math.hypot(re, im) / part.length
  }
  const loudest = (part: Int16Array): number[] =>
    [697, 770, 852, 941, 1209, 1336, 1477, 1633].filter((hz) => power(hz, part) > 1000)
  t.same(loudest(pcm.subarray(0, 800)), [770, 1336])
  t.same(loudest(pcm.subarray(1600, 2400)), [941, 1477])
  t.equal(rmsOf(pcm.subarray(800, 1600)), 0)
  t.throws(() => dtmfTones('5x', 8000), RangeError)
  t.end()
})

void t.test('twenty listeners share due times 20 ms apart', async (t) => {
  const ticker = new SharedTicker()
  const dues: number[][] = []
  await new Promise<void>((resolve) => {
    const stops = Array.from({ length: 20 }, (_, call) => {
      const due: number[] = []
      dues.push(due)
      return ticker.subscribe((nowMs) => {
        due.push(nowMs)
        if (call === 0 && due.length === 3) for (const untilMs = performance.now() + 130; performance.now() < untilMs;);
        if (call === 19 && due.length === 15) {
          for (const stop of stops) stop()
          resolve()
        }
      })
    })
  })
  const first = dues[0] ?? []
  t.ok(dues.every((due) => due.every((dueMs, i) => dueMs === first[i])))
  t.ok(first.slice(1).every((dueMs, i) => Math.abs(dueMs - (first[i] as number) - 20) < 1e-6))
  t.ok(ticker.ticksLate > 0, 'the hold-up was noticed')
  t.equal(ticker.ticksSkipped, 0)
})

function bytes(samples: number, value = 1000): Buffer {
  return Buffer.from(new Int16Array(samples).fill(value).buffer)
}

/** Plays until nothing comes; returns how many samples were heard. */
function playOut(queue: PlayoutQueue, frame = 320): number {
  let heard = 0
  for (let i = 0; i < 1000; i++) {
    const { samples } = queue.tick(new Int16Array(frame))
    if (samples === 0) break
    heard += samples
  }
  return heard
}

void t.test('nothing is heard before 1,280 samples arrive', (t) => {
  const queue = new PlayoutQueue()
  queue.push(bytes(HOLD_BACK_FIRST_SAMPLES - 1))
  t.equal(playOut(queue), 0)
  queue.push(bytes(1))
  t.equal(playOut(queue), HOLD_BACK_FIRST_SAMPLES)
  t.end()
})

void t.test('a queue of 500 ms first plays 480 ms', (t) => {
  const queue = new PlayoutQueue()
  for (let i = 0; i < 25; i++) queue.push(bytes(320))
  t.equal(playOut(queue) / 16, 480)
  for (let i = 0; i < 2; i++) queue.push(bytes(320, 0))
  t.equal(playOut(queue), 640, 'the tail and 20 ms of the silence')
  t.end()
})

void t.test('killAudio clears new audio too at the next tick', (t) => {
  const queue = new PlayoutQueue()
  queue.push(bytes(1280 * 2, 7))
  queue.push(bytes(300, 9))
  queue.kill()
  queue.push(bytes(640, 11))
  const out = new Int16Array(320)
  t.equal(queue.tick(out).samples, 0, 'all that was released is gone, the burst after killAudio included')
  t.equal(queue.samplesFlushed, 2560 + 940)
  queue.push(bytes(300, 13))
  queue.kill()
  queue.tick(out)
  queue.push(bytes(340, 15))
  t.equal(queue.tick(out).samples, 320, 'audio after the tick plays')
  t.equal(out[0], 13, 'led by what was held back')
  t.end()
})

void t.test('a mark is reported when playout reaches it', (t) => {
  const queue = new PlayoutQueue()
  queue.push(bytes(1280, 5))
  queue.mark('one')
  queue.push(bytes(640, -1))
  const marks: string[] = []
  let heard = 0
  for (let i = 0; i < 7; i++) {
    const tick = queue.tick(new Int16Array(320))
    marks.push(...tick.marks)
    heard += tick.samples
  }
  t.same(marks, ['one'])
  t.equal(heard, 1280 + 640)
  queue.mark('two')
  t.same(queue.kill(), ['two'], 'killAudio clears waiting marks')
  for (let i = 0; i < MARKS_WAITING_MAX; i++) t.ok(queue.mark(`m${i}`))
  t.notOk(queue.mark('one too many'))
  t.end()
})

void t.test('the samples are identical wherever the bytes are cut', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -32_768, max: 32_767 }), { minLength: 1, maxLength: 400 }),
      fc.array(fc.integer({ min: 1, max: 33 })),
      (samples, cuts) => {
        const queue = new PlayoutQueue()
        const all = Buffer.concat([Buffer.from(Int16Array.from(samples).buffer), bytes(HOLD_BACK_FIRST_SAMPLES)])
        let at = 0
        for (const cut of cuts) {
          queue.push(all.subarray(at, at + cut))
          at += cut
        }
        if (at < all.length) queue.push(all.subarray(at))
        const out = new Int16Array(samples.length)
        queue.tick(out)
        return out.every((sample, index) => sample === samples[index])
      },
    ),
  )
  t.end()
})

void t.test('later audio waits for 640 samples', (t) => {
  const queue = new PlayoutQueue()
  queue.push(bytes(HOLD_BACK_FIRST_SAMPLES))
  playOut(queue)
  queue.push(bytes(HOLD_BACK_SAMPLES - 1))
  t.equal(playOut(queue), 0)
  queue.push(bytes(1))
  t.equal(playOut(queue), HOLD_BACK_SAMPLES)
  t.end()
})
