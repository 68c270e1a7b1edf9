import fc from 'fast-check'
import t from 'tap'
import { TurnListener } from '../../bench/backend/turn-listener.js'
import { Wheel } from '../../bench/generator/caller.js'
import { HeardAnswers } from '../../bench/generator/heard-answers.js'
import { FrameReader, MASK, maskedFrame, OPCODE, patchMasked } from '../../bench/generator/lines.js'
import {
  type AudioCounts,
  newAudioCounts,
  ReceivedAudio,
  type ReceivedAudioOptions,
} from '../../bench/generator/received-audio.js'
import {
  MARKER_EVERY_FRAMES,
  MARKER_HZ,
  TALK_FRAMES,
  talkFrame,
  talkFrames,
  TONE_HZ,
  toneFrame,
} from '../../bench/generator/signal.js'
import { percentilesMs } from '../../bench/kit/histogram.js'
import { machineMs } from '../../bench/kit/process.js'
import { seededRandom } from '../../src/carrier/random.js'
import { until } from '../support/until.js'

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

t.test('frames that return on time are true audio', async (t) => {
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

t.test('a lost frame is detected at the next marker', async (t) => {
  const { received, counts } = listen()
  for (let i = 0; i < 200; i++) if (i !== 60 && i !== 61) received.audio(sent(i), 320, at(i, 7))
  t.equal(counts.framesLost, 2)
  t.equal(counts.framesAdded, 0)
  t.equal(received.framesReached, 200)
  t.ok(Math.abs((percentilesMs(counts.added)?.p50 ?? 0) - 7) < 0.1)
})

t.test('an invented frame is detected', async (t) => {
  const { received, counts } = listen()
  for (let i = 0; i < 200; i++) {
    received.audio(sent(i), 320, at(i, 27))
    if (i === 60) received.audio(tone, 320, at(i, 28))
  }
  t.equal(counts.framesAdded, 1)
  t.equal(counts.framesLost, 0)
})

t.test('noise and a gap of 63 ms are detected', async (t) => {
  const { received, counts } = listen()
  for (let i = 0; i < 100; i++) {
    const noisy = sent(i).map((sample, k) => sample + ((k * 7919) % 401) - 200)
    received.audio(noisy, 320, at(i, i < 50 ? 7 : 70))
  }
  t.equal(counts.gapsUnasked, 1, 'once the received ran dry for 63 ms')
  t.ok(counts.blocksPoor > 5)
})

t.test('waiting for a full message is not counted as latency', async (t) => {
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

t.test('frames that arrive together count as one message', async (t) => {
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

t.test('a frame held back belongs to the previous message', async (t) => {
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

t.test('each caller talks for 40 % of the time', async (t) => {
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

t.test('a talking caller is true audio, and losses are found', async (t) => {
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
})

t.test('numbered frames show a loss at once', async (t) => {
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

t.test('pieces of any size are joined into frames', async (t) => {
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

t.test("an interruption is timed to the agent's last sample", async (t) => {
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

t.test('an agent that keeps talking counts as not stopped', async (t) => {
  const { received, counts } = listen({ interrupted: true })
  for (let i = 0; i < 100; i++) received.audio(sent(i), 320, at(i, 7))
  received.interrupts(at(99, 0))
  for (let i = 100; i < 300; i++) received.audio(sent(i), 320, at(i, 7))
  received.finish(at(300, 0))
  t.match(counts.bargeIns, { tried: 1, stopped: 0 })
})

t.test('an interruption cut short by the end is not counted', async (t) => {
  const { received, counts } = listen({ interrupted: true })
  for (let i = 0; i < 102; i++) received.audio(sent(i), 320, at(i, 7))
  received.interrupts(at(101, 0))
  received.audio(sent(102), 320, at(102, 7))
  received.finish(at(103, 0))
  t.match(counts.bargeIns, { tried: 0, stopped: 0 })
})

function unmask(frame: Buffer): Buffer {
  const header = (frame[1] as number) === 0xfe ? 8 : 6
  return Buffer.from(frame.subarray(header).map((byte, i) => byte ^ (MASK[i & 3] as number)))
}

function serverFrame(opcode: number, payload: Uint8Array): Buffer {
  const length = payload.length
  const header =
    length <= 125 ? Buffer.from([0x80 | opcode, length]) : Buffer.from([0x80 | opcode, 126, length >> 8, length & 0xff])
  return Buffer.concat([header, payload])
}

t.test('a masked frame hides its payload and unmasks to it', async (t) => {
  const payload = Buffer.alloc(640, 1)
  const frame = maskedFrame(OPCODE.binary, payload)
  t.equal(frame[0], 0x82)
  t.equal(frame[1], 0x80 | 126, 'the mask bit is set')
  t.notOk(frame.includes(payload.subarray(0, 8)))
  t.same(unmask(frame), payload)
  patchMasked(frame, 8, 320, 0xdeadbeef)
  t.equal(unmask(frame).readUInt32LE(320), 0xdeadbeef, 'a number can be written into a masked frame')
  t.throws(() => maskedFrame(OPCODE.binary, new Uint8Array(65536)), RangeError)
})

t.test('server frames are found wherever the bytes are cut', async () => {
  const messages = fc.array(
    fc.tuple(fc.constantFrom(OPCODE.text, OPCODE.binary, OPCODE.ping), fc.uint8Array({ maxLength: 900 })),
    { minLength: 1, maxLength: 8 },
  )
  fc.assert(
    fc.property(messages, fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 20 }), (sent, cuts) => {
      const got: [number, Buffer][] = []
      const reader = new FrameReader((opcode, bytes, from, to) =>
        got.push([opcode, Buffer.from(bytes.subarray(from, to))]),
      )
      const all = Buffer.concat(sent.map(([opcode, payload]) => serverFrame(opcode, payload)))
      let at = 0
      for (let i = 0; at < all.length; i++) {
        const piece = Buffer.from(all.subarray(at, at + (cuts[i % cuts.length] as number)))
        at += piece.length
        reader.push(piece)
        piece.fill(0xff) // the socket's buffer is used again
      }
      return (
        got.length === sent.length &&
        got.every(
          ([opcode, payload], i) => opcode === sent[i]?.[0] && payload.equals(Buffer.from(sent[i]?.[1] as Uint8Array)),
        )
      )
    }),
  )
})

t.test('a server that masks or fragments frames is rejected', async (t) => {
  t.throws(() => new FrameReader(() => undefined).push(Buffer.from([0x82, 0x81, 0, 0, 0, 0, 1])), /masks/)
  t.throws(() => new FrameReader(() => undefined).push(Buffer.from([0x02, 0x01, 1])), /fragments/)
})

t.test('the wheel calls each spoke every 20 ms without gaps', async (t) => {
  const wheel = new Wheel()
  const due: number[][] = [[], [], []]
  for (const times of due) wheel.add({ due: (dueMs) => times.push(dueMs) })
  wheel.start()
  const turns = (): number => Math.min(...due.map((times) => times.length))
  await until(() => turns() >= 7, 10_000, 'seven turns')
  // This thread is held up: the turns are made up for, with the times at which they were due.
  for (const until = machineMs() + 70; machineMs() < until;) {
    /* busy */
  }
  await until(() => turns() >= 13, 10_000, 'six more, of which it was late for three')
  wheel.stop()
  for (const times of due) {
    t.ok(
      times.every((time, i) => i === 0 || Math.abs(time - (times[i - 1] as number) - 20) < 1e-6),
      'each due exactly 20 ms after the one before',
    )
  }
  t.equal(new Set(due.map((times) => (times[0] as number) % 20)).size, 3, 'spread over the turn')
})

const F = 320
const ANSWER_FRAMES = 100
const random = seededRandom(3)
const answer = Int16Array.from({ length: ANSWER_FRAMES * F }, () => Math.round((random() - 0.5) * 8000))

t.test('a turn ends after the configured silence', (t) => {
  const listener = new TurnListener(500, 8000)
  const message = (ms: number, sample: number): Int16Array => new Int16Array(ms * 8).fill(sample)
  t.equal(listener.hear(message(60, 100)), null)
  t.equal(listener.hear(message(60, -9000)), 'began')
  for (let i = 0; i < 8; i++) t.equal(listener.hear(message(60, 0)), null, 'a pause within a turn')
  t.equal(listener.hear(message(20, 9000)), null)
  for (let i = 0; i < 8; i++) listener.hear(message(60, 0))
  t.same(listener.hear(message(60, 0)), { turnMs: 560, surplusMs: 40 })
  t.equal(listener.hear(message(60, 0)), null)
  t.end()
})

const quietFrame = new Int16Array(F)

/** Counts of one call on which an answer begins 812 ms after a turn, and comes 20 ms by 20 ms as `frames` say, -1 for silence. */
function heard(frames: readonly number[], pauseBefore = -1): AudioCounts {
  const counts = newAudioCounts()
  counts.windowStartMs = 0
  const call = new HeardAnswers(16000, answer, counts)
  call.turnEnds(1000)
  let nowMs = 1812
  frames.forEach((frame, n) => {
    if (n === pauseBefore) nowMs += 60
    call.audio(frame < 0 ? quietFrame : answer.subarray(frame * F, (frame + 1) * F), F, nowMs)
    nowMs += 20
  })
  call.turnEnds(6000)
  call.finish(8000)
  return counts
}

const whole = [...answer.keys()].slice(0, ANSWER_FRAMES)

t.test('a complete answer is timed from the end of turn', (t) => {
  const counts = heard(whole)
  t.match(counts, {
    framesLost: 100,
    framesAdded: 0,
    markersSeen: 1,
    blocksPoor: 0,
    gapsUnasked: 0,
    framesReceived: 100,
  })
  t.equal(counts.added.totalCount, 1)
  t.ok(Math.abs(counts.added.mean - 12_000) < 20, 'the answer to the second turn never came: 100 frames lost')
  t.end()
})

t.test('silence after an answer does not count as frames', (t) => {
  t.match(heard([...whole, -1, -1, -1, -1]), { framesLost: 100, framesAdded: 0, markersSeen: 1 })
  t.end()
})

t.test('lost frames, repeated frames and gaps are detected', (t) => {
  const lost = heard(whole.filter((frame) => frame !== 40))
  t.match(lost, { framesLost: 101, markersSeen: 0 })
  t.ok(lost.blocksPoor > 50)
  t.match(heard([...whole.slice(0, 40), 39, ...whole.slice(40)]), { framesAdded: 1, markersSeen: 0 })
  t.match(heard(whole, 50), { framesLost: 100, gapsUnasked: 1, markersSeen: 1 })
  t.end()
})
