import t from 'tap'
import { JITTER_SLOTS } from '../../src/core/limits.js'
import { JITTER_FRAMES_MAX, JitterBuffer } from '../../src/media/jitter/jitter-buffer.js'
import { SocketsRead } from '../../src/workers/shared/worker-memory.js'
import { arrivals, type LineConditions } from '../support/netem.js'
import { toneLevelDb } from '../support/tones.js'

const N = 160

interface Played {
  /** Per frame given out: its number (-1 for a concealed one) and when. */
  readonly frames: { id: number; atMs: number }[]
  readonly buffer: JitterBuffer
  maxWaiting: number
  maxDelayMs: number
}

/** Writes a frame to its place and pushes it. */
function push(
  buffer: JitterBuffer,
  frame: Int16Array,
  ...[arrivalMs, quiet, levelDbfs, tags]: Parameters<JitterBuffer['push']>
): void {
  buffer.place().set(frame)
  buffer.push(arrivalMs, quiet, levelDbfs, tags)
}

/** Runs a line through a buffer with a tick every 10 ms; frame n holds the number n. */
function play(
  count: number,
  line: LineConditions,
  isQuiet: (frame: number) => boolean = () => false,
  keep = true,
): Played {
  const buffer = new JitterBuffer({ sampleRateHz: 8000 })
  const times = arrivals(count, line)
  const played: Played = { frames: [], buffer, maxWaiting: 0, maxDelayMs: 0 }
  const frame = new Int16Array(N)
  let next = 0
  // Ends with the last frame: that no more come after it would count as a stall.
  for (let now = 0; next < count || buffer.waiting > 0; now += 10) {
    for (; next < count && (times[next] as number) <= now; next++) {
      frame[0] = next % 30_000
      frame[1] = Math.floor(next / 30_000)
      push(buffer, frame, times[next] as number, isQuiet(next), -20, next % 256)
    }
    played.maxWaiting = Math.max(played.maxWaiting, buffer.waiting)
    for (let got = buffer.pull(now); got !== 'none'; got = buffer.pull(now)) {
      const id = got === 'frame' ? (buffer.frame[0] as number) + 30_000 * (buffer.frame[1] as number) : -1
      if (keep) played.frames.push({ id, atMs: now })
      if (got === 'frame') played.maxDelayMs = Math.max(played.maxDelayMs, now - (times[id] as number))
    }
  }
  return played
}

function ids(played: Played): number[] {
  return played.frames.filter((f) => f.id >= 0).map((f) => f.id)
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

t.test('a clean line adds no delay', (t) => {
  const played = play(1000, { seed: 1, startMs: 3, jitterMs: 3 })
  t.equal(played.buffer.depthMs, 0)
  t.ok(played.maxDelayMs <= 10, `${played.maxDelayMs} ms`)
  t.same(ids(played), upTo(1000))
  t.equal(played.buffer.stalls, 0)
  t.equal(played.buffer.framesConcealed, 0)
  t.end()
})

t.test('bursts of 60 ms are smoothed once learnt', (t) => {
  const played = play(2000, { seed: 1, burstFrames: 3 })
  t.same(ids(played), upTo(2000))
  t.equal(played.buffer.depthMs, 40)
  const steady = played.frames.filter((f) => f.id > 200)
  const gaps = steady.slice(1).map((f, i) => f.atMs - (steady[i]?.atMs ?? 0))
  t.ok(Math.max(...gaps) <= 30 && Math.min(...gaps) >= 10, `gaps from ${Math.min(...gaps)} to ${Math.max(...gaps)} ms`)
  t.ok(gaps.filter((g) => g === 20).length > gaps.length * 0.9)
  t.equal(played.buffer.framesSkipped + played.buffer.framesDropped, 0)
  t.end()
})

t.test('the depth shrinks when the line is clean again', (t) => {
  const times = [...arrivals(500, { seed: 1, burstFrames: 4 })]
  const buffer = new JitterBuffer({ sampleRateHz: 8000 })
  for (let i = 500; i < 1500; i++) times.push((i + 1) * 20)
  let learnt = 0
  let next = 0
  for (let now = 0; now < 30_500; now += 10) {
    for (; next < 1500 && (times[next] as number) <= now; next++)
      push(buffer, new Int16Array(N), times[next] as number, false)
    while (buffer.pull(now) !== 'none') {
      /* to the backend */
    }
    if (next === 500) learnt = buffer.depthMs
  }
  t.equal(learnt, 60)
  t.equal(buffer.depthMs, 0)
  t.equal(buffer.waiting, 0)
  t.end()
})

t.test('after a stall all speech is played, but faster', (t) => {
  const played = play(300, { seed: 1, stalls: [{ atMs: 2000, ms: 1000 }] })
  t.same(ids(played), upTo(300))
  t.equal(played.buffer.framesSkipped, 0)
  t.equal(played.buffer.stalls, 1)
  const afterStall = played.frames.filter((f) => f.atMs >= 3000)
  const atRest = afterStall.find((f) => f.id >= 0 && f.atMs - (f.id + 1) * 20 <= 20)
  t.ok(atRest !== undefined && atRest.atMs <= 4100, `back on time ${atRest?.atMs} ms after the start`)
  t.end()
})

t.test('after a stall only long silences are skipped', (t) => {
  // A word of 200 ms, a pause of 60 ms, a word, then 400 ms of silence, again and again.
  const quiet = (n: number) => {
    const k = n % 44
    return (k >= 10 && k < 13) || k >= 23
  }
  const played = play(500, { seed: 1, stalls: [{ atMs: 3000, ms: 1500 }] }, quiet)
  const heard = ids(played)
  t.same(
    heard.filter((n) => !quiet(n)),
    upTo(500).filter((n) => !quiet(n)),
    'all speech, in order',
  )
  t.same(
    upTo(500).filter((n) => n % 44 >= 10 && n % 44 < 13 && !heard.includes(n)),
    [],
    'short pauses stay',
  )
  t.ok(played.buffer.framesSkipped > 10, `${played.buffer.framesSkipped} frames given up`)
  t.equal(played.buffer.framesSkipped, 500 - heard.length)
  const late = played.frames.find((f) => f.id > 226 && f.atMs - (f.id + 1) * 20 <= 20)
  t.ok(late !== undefined && late.atMs <= 5300, 'back on time sooner than by faster playout alone')
  t.end()
})

t.test('a stall within a word is concealed once, then waits', (t) => {
  const buffer = new JitterBuffer({ sampleRateHz: 8000 })
  const hum = Int16Array.from({ length: N }, (_, i) => 8000 * Math.sin((2 * Math.PI * 200 * i) / 8000))
  for (let i = 0; i < 10; i++) {
    push(buffer, hum, i * 20, false)
    t.equal(buffer.pull(i * 20), 'frame')
  }
  t.equal(buffer.pull(200), 'none', 'due, but not yet overdue')
  t.equal(buffer.pull(210), 'none')
  t.equal(buffer.pull(220), 'concealed')
  t.ok(toneLevelDb(buffer.frame.slice(0, 80), 200, 8000) > -24, 'the concealed frame continues the hum')
  t.ok(Math.abs(buffer.frame[N - 1] as number) < 200, 'the concealed frame ends in silence')
  for (let now = 230; now < 1000; now += 10) t.equal(buffer.pull(now), 'none')
  t.equal(buffer.state, 'stalled')
  t.equal(buffer.framesConcealed, 1)
  push(buffer, hum, 1000, false)
  t.equal(buffer.pull(1000), 'frame')
  t.equal(buffer.state, 'steady')
  t.end()
})

t.test('a frame is not overdue before its socket was read', (t) => {
  const buffer = new JitterBuffer({ sampleRateHz: 8000 })
  for (let i = 0; i < 10; i++) {
    push(buffer, new Int16Array(N).fill(8000), i * 20, false)
    t.equal(buffer.pull(i * 20), 'frame')
  }
  const sockets = new SocketsRead()
  const asRead = new SocketsRead(sockets.memory)
  sockets.ticked(205)
  t.equal(asRead.untilMs, 0, 'what came before the first tick may not be read yet')
  sockets.ticked(215)
  t.equal(asRead.untilMs, 205)
  t.equal(buffer.pull(235, asRead.untilMs), 'none', 'the main thread stands still')
  push(buffer, new Int16Array(N).fill(8000), 236, false)
  t.equal(buffer.pull(240, asRead.untilMs), 'frame', 'a late frame without concealment')
  sockets.ticked(241)
  sockets.ticked(245)
  t.equal(buffer.pull(245, asRead.untilMs), 'concealed', 'the next frame is overdue')
  t.end()
})

t.test('a stall in silence is not concealed', (t) => {
  const played = play(100, { seed: 1, stalls: [{ atMs: 500, ms: 500 }] }, () => true)
  t.equal(played.buffer.stalls, 1)
  t.equal(played.buffer.framesConcealed, 0)
  t.end()
})

for (const driftPpm of [-200, 200]) {
  t.test(`a clock ${driftPpm} ppm off keeps the buffer stable`, (t) => {
    const played = play(180_000, { seed: 9, driftPpm, jitterMs: 8 }, () => false, false)
    t.ok(played.maxWaiting <= 3, `${played.maxWaiting} frames waited at most`)
    t.ok(played.maxDelayMs <= 40, `${played.maxDelayMs} ms at most`)
    t.equal(played.buffer.framesOut, 180_000)
    t.ok(played.buffer.framesConcealed < 10)
    t.equal(played.buffer.framesSkipped + played.buffer.framesDropped, 0)
    t.end()
  })
}

t.test('frames keep their order and their counts add up', (t) => {
  for (let seed = 1; seed <= 25; seed++) {
    const line: LineConditions = {
      seed,
      jitterMs: seed * 3,
      lateShare: 0.05,
      lateMs: 200,
      burstFrames: 1 + (seed % 4),
      driftPpm: 50 * (seed - 12),
      stalls: [{ atMs: 1000 + 50 * seed, ms: 80 * seed }],
    }
    const played = play(600, line, (n) => n % 50 > 25)
    const heard = ids(played)
    t.ok(
      heard.every((id, i) => i === 0 || id > (heard[i - 1] as number)),
      `seed ${seed}: in order`,
    )
    const b = played.buffer
    t.equal(b.framesIn, b.framesOut + b.framesSkipped + b.framesDropped + b.waiting, `seed ${seed}: adds up`)
    t.equal(b.waiting, 0)
    t.same(
      upTo(600).filter((n) => n % 50 <= 25 && !heard.includes(n)),
      [],
      `seed ${seed}: all speech`,
    )
    t.ok(b.framesConcealed <= b.stalls)
  }
  t.end()
})

t.test('lost audio does not raise the depth', (t) => {
  // 2 s are missing: every frame now comes 2 s later than its number says.
  const buffer = new JitterBuffer({ sampleRateHz: 8000 })
  const burstAt: number[] = []
  for (let i = 0; i < 600; i++) {
    const at = (i + 1) * 20 + (i < 200 ? 0 : 2000)
    push(buffer, new Int16Array(N), at + (i > 300 ? (2 - (i % 3)) * 20 : 0), false)
    if (buffer.pull(at) !== 'none' && i > 500) burstAt.push(at)
  }
  t.equal(buffer.framesSkipped, 0)
  t.ok(buffer.depthMs <= 60, 'lost audio is not jitter')
  t.end()
})

t.test('excess frames are dropped, oldest first, and counted', (t) => {
  const buffer = new JitterBuffer({ sampleRateHz: 8000 })
  const frame = new Int16Array(N)
  for (let i = 0; i < JITTER_FRAMES_MAX + 50; i++) {
    frame[0] = i
    push(buffer, frame, 20, false)
  }
  t.equal(buffer.waiting, JITTER_FRAMES_MAX)
  t.equal(buffer.framesDropped, 50)
  t.equal(buffer.pull(20), 'frame')
  t.equal(buffer.frame[0], 50)
  t.equal(buffer.mediaMs, 51 * 20)
  t.end()
})

t.test('burst memory is released within a second', (t) => {
  const buffer = new JitterBuffer({ sampleRateHz: 8000 })
  t.equal(buffer.capacity, JITTER_SLOTS)
  for (let i = 0; i < 100; i++) push(buffer, new Int16Array(N), 20, false)
  t.equal(buffer.capacity, 128)
  for (let now = 20; buffer.waiting > 0; now += 10) buffer.pull(now)
  for (let i = 0; i < 50; i++) {
    push(buffer, new Int16Array(N), 3000 + i * 20, false)
    while (buffer.pull(3000 + i * 20) !== 'none') {
      /* drained */
    }
  }
  t.equal(buffer.capacity, JITTER_SLOTS)
  t.end()
})

t.test('each frame keeps its times, level and tags', (t) => {
  const buffer = new JitterBuffer({ sampleRateHz: 8000 })
  t.equal(buffer.pull(0), 'none')
  t.equal(buffer.state, 'empty')
  for (let i = 0; i < 5; i++) push(buffer, new Int16Array(N), 100 + i, false, -10 - i, i)
  for (let i = 0; i < 5; i++) {
    t.equal(buffer.pull(200 + 20 * i), 'frame')
    t.equal(buffer.mediaMs, (i + 1) * 20)
    t.equal(buffer.arrivalMs, 100 + i)
    t.equal(buffer.levelDbfs, -10 - i)
    t.equal(buffer.tags, i)
  }
  t.end()
})

t.test('frames use the given slots except during a burst', (t) => {
  const slots: Int16Array[] = Array.from({ length: JITTER_SLOTS }, () => new Int16Array(N))
  const buffer = new JitterBuffer({ sampleRateHz: 8000, slots })
  for (let i = 0; i < 3; i++) {
    push(buffer, new Int16Array(N).fill(i), 20 + i, false)
    t.equal(buffer.pull(20 + 20 * i), 'frame')
    t.equal(buffer.frame, slots[0], 'one place on a line without jitter')
  }
  for (let i = 0; i < JITTER_SLOTS; i++) push(buffer, new Int16Array(N).fill(100 + i), 200, false)
  t.notOk(slots.includes(buffer.place()), 'more than the slots hold')
  for (let i = 0, nowMs = 200; i < JITTER_SLOTS; nowMs += 10) {
    if (buffer.pull(nowMs) === 'frame') t.equal(buffer.frame[0], 100 + i++)
  }
  t.end()
})
