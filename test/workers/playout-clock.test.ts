import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import t from 'tap'
import { PlayoutLedger } from '../../src/call/turns/playout-ledger.js'
import { FRAME_MS, type LegRateHz } from '../../src/core/units.js'
import { KILL_AUDIO } from '../../src/sautikit/stream-messages.js'
import { FrameHistogram } from '../../src/telemetry/frame-histogram.js'
import { CallSpeech, RECORDINGS_WAITING_MAX, SPEECH_WAITING_SAMPLES_MAX } from '../../src/workers/worker/call-speech.js'
import type { MediaSink } from '../../src/workers/main/live-call.js'
import { CallerIntake } from '../../src/workers/worker/caller-intake.js'
import { PlayoutClock } from '../../src/workers/main/call/playout-clock.js'
import { TickView } from '../../src/workers/worker/tick-view.js'
import { PLAYOUT_BACKLOG_MS_MAX, PlayoutFeed } from '../../src/workers/worker/playout-feed.js'
import { allocateSharedCall, SharedCall } from '../../src/workers/shared/shared-call.js'
import { OUTBOUND_RING_SAMPLES, RECALLED_SAMPLES, Time, Word } from '../../src/workers/shared/shared-call-layout.js'
import { loadResamplers, loadVads } from '../support/media-modules.js'
import type { DatedReaderData } from './dated-reader.js'

const FRAME = new Int16Array(320).fill(1000)

function sinkThat(sends: () => void): MediaSink {
  return {
    sendAudio: () => {
      sends()
      return true
    },
    sendText: () => undefined,
    close: () => undefined,
  }
}

t.test('echo is compared with the waiting sound as sent', (t) => {
  const shared = new SharedCall(allocateSharedCall())
  const loop = Int16Array.from({ length: 5000 }, (_, at) => 1000 + at)
  const playout = new PlayoutClock(shared, 16_000, () => loop)
  const sent: number[] = []
  const sink: MediaSink = {
    ...sinkThat(() => undefined),
    sendAudio: (bytes) => sent.push(...new Int16Array(bytes.slice().buffer)) > 0,
  }
  let nowMs = 1000
  const run = (ms: number): void => {
    for (const endMs = nowMs + ms; nowMs < endMs; nowMs += 10) playout.pump(nowMs, sink, null)
  }
  Atomics.store(shared.words, Word.waiting, 1)
  run(200)
  const alone = sent.length
  t.equal(Atomics.load(shared.words, Word.waitingSent), alone)
  t.same([...shared.waitingSent.subarray(0, alone)], sent)
  const endsAtMs = (shared.times[Time.waitingZeroMs] as number) + alone / 16
  for (let frame = 0; frame < 10; frame++) shared.outbound.write(FRAME)
  run(300)
  const speech = sent.slice(alone, alone + 3200)
  t.ok(
    speech.every((sample) => sample > 1000),
    'the sound is in it',
  )
  const recalled = new Int16Array(3200)
  t.ok(shared.outbound.recall(0, recalled, 3200))
  t.same([...recalled], speech)
  t.equal(Atomics.load(shared.words, Word.dated), 3200, 'and counts as nothing more')
  t.ok(Math.abs((shared.times[Time.sampleZeroMs] as number) - endsAtMs) < 0.01, 'played after what was sent before')
  t.equal(Atomics.load(shared.words, Word.waitingSent), sent.length - 3200)
  const after = sent.slice(alone + 3200)
  t.same([...shared.waitingSent.subarray(alone, alone + after.length)], after, 'while it comes back too')
  t.end()
})

t.test('a delayed worker ignores overwritten waiting sound', async (t) => {
  const shared = new SharedCall(allocateSharedCall())
  const loop = Int16Array.from({ length: 30_000 }, (_, at) => 1 + at)
  const playout = new PlayoutClock(shared, 16_000, () => loop)
  const played: { readonly frame: readonly number[]; readonly atMs: number }[] = []
  const intake = new CallerIntake({
    start: { legRateHz: 16_000, track: 'inbound_track' },
    context: { vads: await loadVads(), resamplers: await loadResamplers() },
    backend: { capabilities: { inputRateHz: 16_000 } },
    session: { secretTones: false },
    journal: {
      played: (frame: Int16Array, atMs: number) => played.push({ frame: [...frame], atMs }),
      tick: () => undefined,
    },
    shared,
    amd: null,
  } as never)
  t.teardown(() => intake.release())
  const sent: number[] = []
  const sink: MediaSink = {
    ...sinkThat(() => undefined),
    sendAudio: (bytes) => sent.push(...new Int16Array(bytes.slice().buffer)) > 0,
  }
  Atomics.store(shared.words, Word.waiting, 1)
  for (let nowMs = 1000; nowMs < 2500; nowMs += 10) playout.pump(nowMs, sink, null)
  const view = new TickView(shared)
  view.look()
  intake.receive(2500, view)
  const zeroMs = shared.times[Time.waitingZeroMs] as number
  t.ok(played.length > 5 && played.length * 320 <= shared.waitingSent.length / 2, `${played.length} frames`)
  for (const { frame, atMs } of played) {
    const from = Math.round((atMs - zeroMs) * 16)
    t.same(frame, sent.slice(from, from + 320))
  }
  t.equal(played.at(-1)?.frame.at(-1), sent.at(-1), 'up to the newest')
})

t.test('an answer is dated by its own first frame', (t) => {
  const shared = new SharedCall(allocateSharedCall())
  const playout = new PlayoutClock(shared, 16_000)
  const ledger = new PlayoutLedger({ sampleRateHz: 16_000 })
  const speak = (item: string): void => {
    shared.outbound.write(FRAME)
    ledger.appended(item, FRAME.length)
  }
  // Reads the shared memory as the worker's tick does, at the worst of times: in the middle of main's.
  const look = (nowMs: number) => {
    ledger.report(
      {
        sentSamples: shared.outbound.behind(Atomics.load(shared.words, Word.dated)),
        playoutEndMs: shared.times[Time.playoutEndMs] as number,
        lastSentAtMs: shared.times[Time.lastSentAtMs] as number,
      },
      nowMs,
    )
    return ledger.poll(nowMs)
  }
  speak('greeting')
  playout.pump(
    1000,
    sinkThat(() => undefined),
    null,
  )
  t.same(look(1000), [{ type: 'item-started', itemId: 'greeting', sentAtMs: 1000 }])
  ledger.finished('greeting')
  look(3000)

  let during: unknown = null
  speak('answer')
  playout.pump(
    9000,
    sinkThat(() => {
      during = look(9001)
      t.equal(ledger.playedMs('answer', 9001), 0, 'nor is it heard already')
    }),
    null,
  )
  t.same(during, [{ type: 'item-started', itemId: 'answer', sentAtMs: 9000 }])
  t.end()
})

/** Frames of 320 samples: the ring counts fewer than 2^31 of these. */
const FRAMES_MAX = 1_000_000

t.test('another thread sees sent samples together with their time', async (t) => {
  const memory = allocateSharedCall()
  const shared = new SharedCall(memory)
  const playout = new PlayoutClock(shared, 16_000)
  const looks = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(new URL('./dated-reader.js', import.meta.url), {
    workerData: { call: memory, looks: looks.buffer } satisfies DatedReaderData,
    execArgv: [],
  })
  t.teardown(() => worker.terminate())
  await once(worker, 'message')
  const sink = sinkThat(() => undefined)
  shared.words[Word.more] = 1
  let frames = 0
  // Until the two threads have met often enough: on a busy machine they take turns, and one sees little of the other. Each frame
  // waits a little for the reader. Without that the ring would count 2^31 samples, which are 37 hours of a call, in 4 s.
  while (Atomics.load(looks, 0) <= 2000 && frames < FRAMES_MAX) {
    const before = Atomics.load(looks, 0)
    shared.outbound.write(FRAME)
    playout.pump(++frames * 20, sink, null)
    for (let spins = 0; spins < 1000 && Atomics.load(looks, 0) === before; spins++);
  }
  const result = once(worker, 'message')
  Atomics.store(shared.words, Word.hangup, 1)
  const [{ stale, seen }] = (await result) as [{ readonly stale: number; readonly seen: number }]
  t.equal(seen, shared.outbound.behind(Atomics.load(shared.words, Word.dated)))
  t.ok((looks[0] as number) > 1000, `${looks[0]} looks at ${frames} frames`)
  t.equal(stale, 0)
})

const ramp = (length: number, from = 0): Int16Array => Int16Array.from({ length }, (_, i) => (from + i) & 0x7fff)

/** Both ends of playout over one memory, and what the carrier gets. */
function line(rateHz: LegRateHz) {
  const shared = new SharedCall(allocateSharedCall())
  const feed = new PlayoutFeed(shared, rateHz)
  const clock = new PlayoutClock(shared, rateHz)
  const sent: number[] = []
  const texts: string[] = []
  const sink = {
    sendAudio: (bytes: Uint8Array) => {
      sent.push(...new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2))
      return true
    },
    sendText: (text: string) => {
      texts.push(text)
    },
    close: () => undefined,
  }
  let nowMs = 0
  const play = (ms: number): void => {
    for (const endMs = nowMs + ms; nowMs < endMs; nowMs += FRAME_MS) {
      clock.pump(nowMs, sink, null)
      feed.refill()
    }
  }
  return { feed, clock, sent, texts, play }
}

t.test('an answer longer than the ring is played without gaps', (t) => {
  const { feed, clock, sent, play } = line(16000)
  const total = OUTBOUND_RING_SAMPLES * 3 + 123
  feed.begin('a')
  for (let at = 0; at < total; at += 4800) feed.append(ramp(Math.min(4800, total - at), at))
  feed.finish('a')
  t.equal(feed.position, total)
  play(total / 16 + 500)
  t.ok(sent.length >= total, 'to its last sample')
  t.same(Int16Array.from(sent).subarray(0, total), ramp(total))
  t.equal(clock.underruns, 0)
  t.equal(feed.pendingMs, 0)
  t.end()
})

t.test('a long answer reuses existing blocks', (t) => {
  const { feed, play } = line(16000)
  const piece = ramp(1600)
  const answer = (): void => {
    feed.begin('a')
    for (let at = 0; at < 160_000; at += piece.length) feed.append(piece)
    feed.finish('a')
    play(11_000)
  }
  answer()
  const beforeBytes = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 5; i++) answer()
  const madeBytes = process.memoryUsage().arrayBuffers - beforeBytes
  t.ok(madeBytes < 160_000, `${madeBytes} bytes for five answers of 320,000`)
  t.end()
})

t.test('pieces of any length leave in order', (t) => {
  const other = new PlayoutFeed(new SharedCall(allocateSharedCall()), 16000)
  const out = new Int16Array(OUTBOUND_RING_SAMPLES)
  const pieces = fc.array(fc.tuple(fc.integer({ min: 1, max: 20_000 }), fc.nat({ max: 12_000 })), { maxLength: 30 })
  fc.assert(
    fc.property(pieces, (steps) => {
      const shared = new SharedCall(allocateSharedCall())
      const feed = new PlayoutFeed(shared, 16000)
      let [written, taken] = [0, 0]
      const take = (samples: number): boolean => {
        const count = shared.outbound.peek(out, samples)
        const isTrue = out.subarray(0, count).every((sample, i) => sample === ((taken + i) & 0x7fff))
        shared.outbound.consume(count)
        taken += count
        feed.refill()
        return isTrue
      }
      for (const [length, samples] of steps) {
        // Another call's blocks are full of its audio when it gives them back.
        other.append(new Int16Array(OUTBOUND_RING_SAMPLES + length).fill(-1))
        other.clear()
        feed.append(ramp(length, written))
        written += length
        if (!take(samples)) return false
      }
      while (feed.pendingMs > 0) if (!take(out.length)) return false
      return taken === written
    }),
    { numRuns: 30 },
  )
  t.end()
})

t.test('an underrun is counted only within an item', (t) => {
  for (const ended of [false, true]) {
    const { feed, clock, play } = line(16000)
    feed.begin('a')
    feed.append(ramp(3200))
    if (ended) feed.finish('a')
    play(600)
    t.equal(clock.underruns, ended ? 0 : 1)
  }
  t.end()
})

t.test('a clear drops the audio, flushes the carrier, ends pauses', (t) => {
  const { feed, sent, texts, play } = line(8000)
  feed.begin('a')
  feed.append(ramp(OUTBOUND_RING_SAMPLES + 500))
  feed.pause()
  play(200)
  t.same(sent, [], 'a pause sends nothing')
  feed.clear()
  t.equal(feed.pendingMs, 0)
  play(200)
  t.same(texts, [KILL_AUDIO])
  t.same(sent, [])
  feed.begin('b')
  feed.append(new Int16Array(1600).fill(1000))
  feed.finish('b')
  play(500)
  t.ok(sent.includes(1000), 'what comes after it is played')
  t.equal(texts.length, 1)
  t.end()
})

t.test('speech beyond the bound is dropped and counted', (t) => {
  const { feed } = line(8000)
  const second = ramp(8000)
  const seconds = PLAYOUT_BACKLOG_MS_MAX / 1000 + 10
  for (let i = 0; i < seconds; i++) feed.append(second)
  const inRing = OUTBOUND_RING_SAMPLES - RECALLED_SAMPLES
  t.equal(feed.pendingMs, PLAYOUT_BACKLOG_MS_MAX + inRing / 8)
  t.equal(feed.droppedSamples, seconds * 8000 - inRing - PLAYOUT_BACKLOG_MS_MAX * 8)
  t.end()
})

const resamplers = await loadResamplers()

function speech(rateHz: 8000 | 16000 = 16000) {
  const shared = new SharedCall(allocateSharedCall())
  const ledger = new PlayoutLedger({ sampleRateHz: rateHz })
  const out = new CallSpeech({ shared, ledger, rateHz, resamplers, latencyOut: new FrameHistogram() })
  const heard = (): number[] => {
    const samples = new Int16Array(40_000)
    const count = shared.outbound.peek(samples, samples.length)
    shared.outbound.consume(count)
    return [...samples.subarray(0, count)]
  }
  return { shared, ledger, out, heard }
}

const constant = (value: number, length = 320): Int16Array => new Int16Array(length).fill(value)

t.test('a filler during an answer waits for its end', (t) => {
  const { out, heard } = speech()
  out.append('backend', 'answer', constant(100), 16000, 0)
  out.append('gateway', 'filler', constant(900), 16000, 1)
  out.append('backend', 'answer', constant(200), 16000, 2)
  out.finish('gateway', 'filler')
  t.same([...new Set(heard())], [100, 200], 'the answer is whole')
  out.finish('backend', 'answer')
  t.same([...new Set(heard())], [900], 'then the filler')
  t.end()
})

t.test('the next item of a backend ends the previous one', (t) => {
  const { out, heard, ledger } = speech()
  out.append('backend', 'one', constant(1), 16000, 0)
  out.append('backend', 'two', constant(2), 16000, 1)
  t.same([...new Set(heard())], [1, 2])
  out.finish('backend')
  ledger.report({ sentSamples: 640, playoutEndMs: 0, lastSentAtMs: 1 }, 10_000)
  t.same(
    ledger
      .poll(10_000)
      .filter((input) => input.type === 'item-heard')
      .map((input) => 'itemId' in input && input.itemId),
    ['one', 'two'],
  )
  t.end()
})

t.test('an item without samples is finished immediately', (t) => {
  const { out, ledger } = speech()
  out.finish('gateway', 'empty')
  t.match(ledger.poll(1), [{ type: 'item-heard', itemId: 'empty' }])
  t.end()
})

t.test('a clear removes old sound from ring and filters', (t) => {
  const { out, heard } = speech()
  out.append('backend', 'old', constant(12_000, 4800), 24000, 0)
  out.append('gateway', 'waits', constant(9000), 16000, 0)
  out.clear(5)
  out.append('backend', 'new', constant(0, 2400), 24000, 6)
  out.finish('backend', 'new')
  t.same([...new Set(heard())], [0])
  t.end()
})

t.test('24 kHz speech is resampled up to its end', (t) => {
  for (const rateHz of [8000, 16000] as const) {
    const { out, heard } = speech(rateHz)
    const tone = Int16Array.from({ length: 24_000 }, (_, i) => 8000 * Math.sin((2 * Math.PI * 440 * i) / 24_000))
    for (let at = 0; at < tone.length; at += 2399)
      out.append('backend', 'tone', tone.subarray(at, at + 2399), 24000, at)
    out.finish('backend', 'tone')
    const samples = heard()
    const energy = (from: number, to: number): number =>
      samples.slice(from, to).reduce((sum, sample) => sum + sample * sample, 0) / (to - from)
    t.ok(Math.abs(samples.length - rateHz) <= rateHz / 50, `${samples.length} samples at ${rateHz} Hz`)
    t.ok(energy(rateHz - rateHz / 50, rateHz) > 0.7 * energy(0, rateHz), 'the end is as loud as the whole')
  }
  t.end()
})

t.test('audio waiting for another item is bounded and counted', (t) => {
  const { out } = speech()
  out.append('backend', 'talks', constant(1), 16000, 0)
  for (let i = 0; i < 1000; i++) out.append('gateway', 'waits', constant(2, 1000), 16000, i)
  t.equal(out.droppedSamples, 1_000_000 - SPEECH_WAITING_SAMPLES_MAX)
  t.end()
})

t.test('recordings waiting for another item are played completely', (t) => {
  const { out } = speech()
  const recording = new Int16Array(new SharedArrayBuffer(2 * SPEECH_WAITING_SAMPLES_MAX)).fill(7)
  out.append('backend', 'talks', constant(1), 16000, 0)
  out.append('gateway', 'first', recording, 16000, 1)
  out.finish('gateway', 'first')
  out.append('gateway', 'second', recording, 16000, 2)
  out.finish('gateway', 'second')
  out.append('gateway', 'third', constant(2, 1000), 16000, 3)
  out.finish('backend', 'talks')
  t.equal(out.droppedSamples, 0)
  t.end()
})

t.test('recordings beyond the waiting limit are dropped and counted', (t) => {
  const { out, heard } = speech()
  const recording = new Int16Array(new SharedArrayBuffer(2 * 320)).fill(7)
  out.append('backend', 'talks', constant(1), 16000, 0)
  for (let i = 0; i < RECORDINGS_WAITING_MAX + 5; i++) {
    out.append('gateway', `recording ${i}`, recording, 16000, i)
    out.finish('gateway', `recording ${i}`)
  }
  t.equal(out.droppedSamples, 5 * recording.length)
  out.finish('backend', 'talks')
  t.equal(heard().length, 320 * (1 + RECORDINGS_WAITING_MAX), 'those that waited are heard')
  t.end()
})

t.test('speech beyond the playout backlog is dropped and counted', (t) => {
  const { out, shared } = speech()
  const ms = PLAYOUT_BACKLOG_MS_MAX + 10_000
  for (let i = 0; i < ms; i += 1000) out.append('backend', 'long', constant(1, 16_000), 16000, i)
  t.equal(out.droppedSamples, ms * 16 - shared.outbound.available() - PLAYOUT_BACKLOG_MS_MAX * 16)
  t.ok(out.droppedSamples > 0)
  t.end()
})
