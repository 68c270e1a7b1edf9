import t from 'tap'
import { ReceivedAudio, newAudioCounts } from '../../bench/generator/received-audio.js'
import type { ReceivedAudioOptions, AudioCounts } from '../../bench/generator/received-audio.js'
import {
  MARKER_EVERY_FRAMES,
  MARKER_HZ,
  TALK_FRAMES,
  TONE_HZ,
  talkFrame,
  talkFrames,
  toneFrame,
} from '../../bench/generator/signal.js'
import { percentilesMs } from '../../bench/kit/histogram.js'

const tone = toneFrame(16000, TONE_HZ)
const marker = toneFrame(16000, MARKER_HZ)
const silence = new Int16Array(320)
const sent = (index: number): Int16Array => (index % MARKER_EVERY_FRAMES === MARKER_EVERY_FRAMES - 1 ? marker : tone)

function listen(
  options: Partial<ReceivedAudioOptions> = {},
  talker: number | null = null,
): { received: ReceivedAudio; counts: AudioCounts } {
  const counts = newAudioCounts()
  counts.windowStartMs = 0
  const received = new ReceivedAudio(
    { rateHz: 16000, sequence: false, interrupted: false, messageFrames: 1, ...options },
    counts,
    tone,
    talker,
  )
  received.startMs = 1000
  return { received, counts }
}

/** Frame `index` was due at 1000 + 20 n; it comes back `lateMs` after. */
const at = (index: number, lateMs: number): number => 1000 + index * 20 + lateMs

t.test('frames that all come back on time are true audio, and their latency is from the due time', async (t) => {
  const { received, counts } = listen()
  received.audio(silence, 320, 990)
  for (let i = 0; i < 200; i++) received.audio(sent(i), 320, at(i, 7))
  t.equal(received.framesReached, 200)
  t.match(
    { lost: counts.framesLost, added: counts.framesAdded, gaps: counts.gapsUnasked, poor: counts.blocksPoor },
    { lost: 0, added: 0, gaps: 0, poor: 0 },
  )
  t.equal(counts.markersSeen, 8)
  t.ok(counts.snrsDb.length > 10 && Math.min(...counts.snrsDb) > 60)
  t.equal(percentilesMs(counts.added)?.p50.toFixed(1), '7.0')
})

t.test('a frame that is lost is noticed at the next marker and latencies are right again', async (t) => {
  const { received, counts } = listen()
  for (let i = 0; i < 200; i++) if (i !== 60 && i !== 61) received.audio(sent(i), 320, at(i, 7))
  t.equal(counts.framesLost, 2)
  t.equal(counts.framesAdded, 0)
  t.equal(received.framesReached, 200)
  t.ok(Math.abs((percentilesMs(counts.added)?.p50 ?? 0) - 7) < 0.1)
})

t.test('a frame that is made up is noticed', async (t) => {
  const { received, counts } = listen()
  for (let i = 0; i < 200; i++) {
    received.audio(sent(i), 320, at(i, 27))
    if (i === 60) received.audio(tone, 320, at(i, 28))
  }
  t.equal(counts.framesAdded, 1)
  t.equal(counts.framesLost, 0)
})

t.test('noise, and a stop of more than 40 ms, are found', async (t) => {
  const { received, counts } = listen()
  for (let i = 0; i < 100; i++) {
    const noisy = sent(i).map((sample, k) => sample + ((k * 7919) % 401) - 200)
    received.audio(noisy, 320, at(i, i < 50 ? 7 : 70))
  }
  t.equal(counts.gapsUnasked, 1, 'once the received ran dry for 63 ms')
  t.ok(counts.blocksPoor > 5)
})

t.test('frames that wait for a message to fill count from the message on, and the wait is shown apart', async (t) => {
  const { received, counts } = listen({ messageFrames: 3 })
  counts.windowStartMs = at(60, 0)
  // Three frames leave together when the third is there, 5 ms later they are back.
  for (let i = 0; i < 300; i += 3) {
    const message = new Int16Array(960)
    for (let k = 0; k < 3; k++) message.set(sent(i + k), k * 320)
    received.audio(message, 960, at(i + 2, 5))
  }
  const added = percentilesMs(counts.added)
  const whole = percentilesMs(counts.whole)
  t.ok(Math.abs((added?.max ?? 0) - 5) < 0.1, `added ${added?.max} ms`)
  t.ok(Math.abs((whole?.max ?? 0) - 45) < 0.1, `whole ${whole?.max} ms`)
  t.equal(counts.framesLost, 0)
})

t.test('where messages follow the call, frames that come together count as one message of three at most', async (t) => {
  const { received, counts } = listen({ messageFrames: null })
  counts.windowStartMs = at(60, 0)
  const come = (first: number, frames: number, afterMs: number): void => {
    const message = new Int16Array(320 * frames)
    for (let k = 0; k < frames; k++) message.set(sent(first + k), k * 320)
    received.audio(message, message.length, at(first + frames - 1, afterMs))
  }
  for (let i = 0; i < 180; i += 3) come(i, 3, 5)
  for (let i = 180; i < 240; i++) come(i, 1, 6)
  t.ok((percentilesMs(counts.added)?.max ?? 0) < 6.1, 'long messages and short ones')
  // Two long messages that were held up.
  come(240, 6, 7)
  come(246, 3, 5)
  come(249, 3, 5)
  t.ok(Math.abs((percentilesMs(counts.added)?.max ?? 0) - 67) < 0.5, 'the first of the two is 60 ms late')
})

t.test('a frame that is held back for want of room belongs to the message that came before it', async (t) => {
  const { received, counts } = listen({ messageFrames: null })
  counts.windowStartMs = at(60, 0)
  const come = (first: number, frames: number, atMs: number): void => {
    for (let k = 0; k < frames; k++) received.audio(sent(first + k), 320, atMs)
  }
  // The first message is late, so from then on the caller has 45 ms to play when one comes: no room for its third frame.
  come(0, 3, at(2, 50))
  for (let i = 3; i < 300; i += 3) {
    come(i, 2, at(i + 2, 5))
    come(i + 2, 1, at(i + 2, 15))
  }
  t.ok(Math.abs((percentilesMs(counts.added)?.max ?? 0) - 5) < 0.1, `added ${percentilesMs(counts.added)?.max} ms`)
  t.ok(Math.abs((percentilesMs(counts.whole)?.max ?? 0) - 45) < 0.1)
  // A message that was late itself is late.
  come(300, 2, at(302, 35))
  come(302, 1, at(302, 36))
  come(303, 3, at(305, 5))
  t.ok(Math.abs((percentilesMs(counts.added)?.max ?? 0) - 35) < 2, `late by ${percentilesMs(counts.added)?.max} ms`)
})

t.test('callers who talk do so for 40 % of the time, and 40 % of them at any moment', async (t) => {
  const share = (count: number, talks: (i: number) => boolean): number =>
    Array.from({ length: count }, (_, i) => talks(i)).filter(Boolean).length / count
  t.equal(
    share(2500, (index) => talkFrame(1000 + index, 3) >= 0),
    0.4,
  )
  for (const index of [500, 777, 1234])
    t.ok(Math.abs(share(100, (caller) => talkFrame(index, caller) >= 0) - 0.4) <= 0.02)
  t.notOk(
    Array.from({ length: 250 }, (_, caller) => talkFrame(0, caller)).some((frame) => frame >= 0),
    'not before they are connected',
  )
})

t.test(
  'a caller that talks is true audio too: its speech is no marker and no poor tone, and what is lost in it is found after it',
  async (t) => {
    const talk = await talkFrames(16000, tone)
    t.equal(talk.length, TALK_FRAMES)
    const said = (index: number): Int16Array => talk[talkFrame(index, 5)] ?? sent(index)
    const whole = listen({}, 5)
    for (let i = 0; i < 600; i++) whole.received.audio(said(i), 320, at(i, 7))
    t.match(
      { lost: whole.counts.framesLost, added: whole.counts.framesAdded, poor: whole.counts.blocksPoor },
      { lost: 0, added: 0, poor: 0 },
    )
    t.ok(whole.counts.markersSeen >= 6 && whole.counts.snrsDb.length > 10)
    t.equal(whole.received.framesReached, 600)
    const inTalk = Array.from({ length: 600 }, (_, i) => i)
      .filter((i) => talkFrame(i, 5) >= 40)
      .slice(0, 4)
    const lossy = listen({}, 5)
    for (let i = 0; i < 600; i++) if (!inTalk.includes(i)) lossy.received.audio(said(i), 320, at(i, 7))
    t.equal(lossy.counts.framesLost, 4)
    t.equal(lossy.received.framesReached, 600)
  },
)

t.test('numbers in the frames show loss at once', async (t) => {
  const { received, counts } = listen({ sequence: true })
  for (let i = 0; i < 70; i++) {
    if (i === 10) continue
    const frame = sent(i).slice()
    frame[160] = i & 0xffff
    frame[161] = i >>> 16
    received.audio(frame, 320, at(i, 3))
  }
  t.equal(counts.framesLost, 1)
  t.equal(received.framesReached, 70)
  t.ok(Math.min(...counts.snrsDb) > 60, 'the number itself is no noise')
})

t.test('pieces of any size are put together to frames', async (t) => {
  const { received, counts } = listen()
  const all = new Int16Array(320 * 100)
  for (let i = 0; i < 100; i++) all.set(sent(i), i * 320)
  for (let from = 0; from < all.length; from += 227) {
    const piece = all.subarray(from, from + 227)
    received.audio(piece, piece.length, at(Math.floor((from + 226) / 320), 5))
  }
  t.equal(received.framesReached, 100)
  t.equal(counts.framesLost, 0)
})

t.test('an interruption is timed from the first voiced sample to the last of the agent', async (t) => {
  const { received, counts } = listen({ interrupted: true })
  for (let i = 0; i < 100; i++) received.audio(sent(i), 320, at(i, 7))
  received.interrupts(at(99, 0))
  received.audio(sent(100), 320, at(100, 7))
  received.audio(sent(101), 320, at(101, 7))
  received.audio(sent(102), 320, at(102, 7))
  received.cleared(at(103, 7))
  for (let i = 103; i < 130; i++) received.audio(silence, 320, at(i, 7))
  for (let i = 140; i < 160; i++) received.audio(sent(i), 320, at(i, 7))
  t.same(counts.bargeIns, { tried: 1, stopped: 1, cleared: 1, resumed: 1 })
  t.equal(Math.round(percentilesMs(counts.stops)?.max ?? 0), 67)
  t.equal(counts.gapsUnasked, 0, 'the silence was asked for')
})

t.test('an agent that talks on counts as not stopped', async (t) => {
  const { received, counts } = listen({ interrupted: true })
  for (let i = 0; i < 100; i++) received.audio(sent(i), 320, at(i, 7))
  received.interrupts(at(99, 0))
  for (let i = 100; i < 300; i++) received.audio(sent(i), 320, at(i, 7))
  received.finish(at(300, 0))
  t.match(counts.bargeIns, { tried: 1, stopped: 0 })
})

t.test('an interruption that the end of the run cuts short counts for nothing', async (t) => {
  const { received, counts } = listen({ interrupted: true })
  for (let i = 0; i < 102; i++) received.audio(sent(i), 320, at(i, 7))
  received.interrupts(at(101, 0))
  received.audio(sent(102), 320, at(102, 7))
  received.finish(at(103, 0))
  t.match(counts.bargeIns, { tried: 0, stopped: 0 })
})
