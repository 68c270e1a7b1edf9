import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import t from 'tap'
import { CARRIER_FRAME_BYTES_MAX } from '../../src/core/limits.js'
import { CALL_SLAB_CALLS, CallMemoryPool } from '../../src/workers/shared/call-memory.js'
import {
  allocateSharedCall,
  type PacketRing,
  type SampleRing,
  SharedCall,
} from '../../src/workers/shared/shared-call.js'
import { INBOUND_RING_BYTES, OUTBOUND_RING_SAMPLES, Word } from '../../src/workers/shared/shared-call-layout.js'
import { Ticker } from '../../src/workers/shared/ticker.js'

/**
 * A clock that stands still until it is moved, and the timers that tickers set on it: a step goes to when the next one
 * is due, and `lateMs` past it, as on a thread that was blocked.
 */
class MovedTime {
  nowMs: number
  #timers: { readonly run: () => void; readonly atMs: number }[] = []

  constructor(startMs: number) {
    this.nowMs = startMs
  }

  readonly clock = (): number => this.nowMs

  readonly setTimer = (ms: number, run: () => void): (() => void) => {
    const timer = { run, atMs: this.nowMs + ms }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer)
    }
  }

  step(lateMs = 0): void {
    const next = this.#timers.reduce((first, timer) => (timer.atMs < first.atMs ? timer : first))
    this.#timers = this.#timers.filter((timer) => timer !== next)
    this.nowMs = Math.max(this.nowMs, next.atMs) + lateMs
    next.run()
  }

  get waiting(): number {
    return this.#timers.length
  }
}

t.test('a slow tick is counted and later ticks are punctual', async (t) => {
  const time = new MovedTime(1003)
  const ticks: number[] = []
  const lateness: number[] = []
  const ticker = new Ticker(
    { periodMs: 10 },
    time.clock,
    (nowMs, latenessMs) => {
      ticks.push(nowMs)
      lateness.push(latenessMs)
    },
    time.setTimer,
  )
  ticker.start()
  ticker.start()
  t.equal(time.waiting, 1, 'started twice is started once')
  for (const lateMs of [0, 0.5, 47, 0, 0]) time.step(lateMs)
  t.same(ticks, [1010, 1020.5, 1077, 1080, 1090], 'missed ticks are not made up in a burst')
  t.same(lateness, [0, 0.5, 47, 0, 0])
  t.equal(ticker.missed, 4, 'those due at 1040, 1050, 1060 and 1070')
  t.ok(ticker.running)
  ticker.stop()
  t.notOk(ticker.running)
})

t.test('a callback that throws does not stop the clock', async (t) => {
  const time = new MovedTime(0)
  let runs = 0
  const ticker = new Ticker(
    { periodMs: 2 },
    time.clock,
    () => {
      runs++
      if (runs === 1) throw new Error('one bad tick')
    },
    time.setTimer,
  )
  ticker.start()
  // The error goes to whoever watches the thread.
  t.throws(() => time.step(), { message: 'one bad tick' })
  time.step()
  t.equal(runs, 2)
})

t.test('a shorter period applies immediately, a longer one later', async (t) => {
  const time = new MovedTime(1000)
  const ticks: number[] = []
  const ticker = new Ticker(
    { periodMs: 5, phaseMs: 2.5 },
    time.clock,
    (nowMs) => {
      ticks.push(nowMs)
      ticker.periodMs = ticks.length < 4 ? 50 : 5
    },
    time.setTimer,
  )
  ticker.start()
  for (let i = 0; i < 3; i++) time.step()
  t.same(ticks, [1002.5, 1007.5, 1057.5])
  time.nowMs = 1061
  ticker.periodMs = 5
  time.step()
  time.step()
  t.same(ticks.slice(3), [1062.5, 1067.5])
  ticker.stop()
})

t.test('two tickers of one clock keep their phase distance', async (t) => {
  for (const [phaseMs, startAfterMs] of [
    [0, 0],
    [0, 3],
    [5, 7],
    [5, 2],
  ] as const) {
    const time = new MovedTime(1000.25 + startAfterMs)
    const ticks: number[] = []
    const ticker = new Ticker({ periodMs: 10, phaseMs }, time.clock, (nowMs) => ticks.push(nowMs % 10), time.setTimer)
    ticker.start()
    for (let i = 0; i < 5; i++) time.step(i % 2)
    t.same(
      ticks,
      [0, 1, 0, 1, 0].map((lateMs) => phaseMs + lateMs),
      `phase ${phaseMs}, started ${startAfterMs} ms later`,
    )
  }
})

t.test('no tick on thread timers comes early', async (t) => {
  let firstDueMs = 0
  const alive = setInterval(() => undefined, 1000) // the ticker keeps no process alive
  const lastMs = await new Promise<number>((resolve) => {
    let ticks = 0
    const ticker = new Ticker(
      { periodMs: 10 },
      () => performance.now(),
      (nowMs) => {
        if (++ticks < 12) return
        ticker.stop()
        resolve(nowMs)
      },
    )
    firstDueMs = (Math.floor(performance.now() / 10) + 1) * 10
    ticker.start()
  })
  clearInterval(alive)
  // Node cuts a delay to whole milliseconds and libuv its clock, so a timer may be two early. Any tick may be late, so the
  // time runs from when the first was due.
  const tookMs = lastMs - firstDueMs
  t.ok(tookMs >= 108, `12 ticks take 110 ms, and took ${tookMs}`)
})

const packetOut = new Uint8Array(CARRIER_FRAME_BYTES_MAX)

/** Takes the next packet. @returns its length; -1 when there is none. */
function read(ring: PacketRing): number {
  const packet = ring.next()
  if (packet === null) return -1
  packetOut.set(packet)
  ring.release()
  return packet.length
}

function take(ring: SampleRing, samples: Int16Array): void {
  ring.write(samples)
  ring.peek(new Int16Array(samples.length), samples.length)
  ring.consume(samples.length)
}

function packetOf(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (seed * 31 + i * 7) & 0xff)
}

t.test('packets are read whole, in order, with arrival times', (t) => {
  const step = fc.oneof(
    fc.record({ write: fc.integer({ min: 0, max: 5000 }), seed: fc.integer({ min: 0, max: 255 }) }),
    fc.record({ reads: fc.integer({ min: 1, max: 6 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const { inbound } = new SharedCall(allocateSharedCall())
      const waiting: { bytes: Uint8Array; atMs: number }[] = []
      let nowMs = 0
      const readOne = (): boolean => {
        const expected = waiting.shift()
        const length = read(inbound)
        if (expected === undefined) return length === -1
        return (
          length === expected.bytes.length &&
          inbound.arrivalMs === expected.atMs &&
          Buffer.compare(packetOut.subarray(0, length), expected.bytes) === 0
        )
      }
      for (const one of steps) {
        nowMs += 10.5
        if ('write' in one) {
          const bytes = packetOf(one.write, one.seed)
          if (inbound.write(bytes, nowMs)) waiting.push({ bytes, atMs: nowMs })
        } else {
          for (let i = 0; i < one.reads; i++) if (!readOne()) return false
        }
      }
      while (waiting.length > 0) if (!readOne()) return false
      return read(inbound) === -1
    }),
    { numRuns: 300 },
  )
  t.end()
})

t.test('ring counters wrap around at 2^32', (t) => {
  const call = new SharedCall(allocateSharedCall())
  // A multiple of 16, as packets begin at such.
  const nearWrap = 2 ** 32 - 704
  for (const word of [Word.inHead, Word.inTail, Word.inSkip, Word.outHead, Word.outTail, Word.outSkip, Word.outBase])
    call.words[word] = nearWrap
  const samples = new Int16Array(320)
  const back = new Int16Array(320)
  for (let i = 0; i < 20; i++) {
    const bytes = packetOf(640, i)
    t.ok(call.inbound.write(bytes, i))
    t.equal(read(call.inbound), 640)
    t.same(packetOut.subarray(0, 640), bytes)
    samples.fill(i + 1)
    call.outbound.write(samples)
    t.equal(call.outbound.peek(back, 320), 320)
    t.equal(back[319], i + 1)
    call.outbound.consume(320)
  }
  t.equal(call.outbound.available(), 0)
  t.end()
})

t.test("a steady caller touches only the ring's first page", (t) => {
  const memory = allocateSharedCall()
  const call = new SharedCall(memory)
  for (let i = 0; i < 1000; i++) {
    call.inbound.write(packetOf(640, i), i)
    read(call.inbound)
  }
  const ring = new Uint8Array(memory, 256, INBOUND_RING_BYTES)
  t.equal(ring.findLastIndex((byte) => byte !== 0) < 4096, true)
  t.end()
})

t.test('a full inbound ring drops and counts the packet', (t) => {
  const call = new SharedCall(allocateSharedCall())
  const big = packetOf(100_000, 3)
  t.ok(call.inbound.write(big, 1))
  t.ok(call.inbound.write(big, 2))
  t.notOk(call.inbound.write(big, 3), 'no room for a third')
  t.notOk(call.inbound.write(new Uint8Array(INBOUND_RING_BYTES), 4), 'larger than the ring')
  t.equal(call.inbound.dropped, 2)
  t.equal(read(call.inbound), big.length)
  t.ok(call.inbound.write(packetOf(10, 4), 5))
  t.equal(read(call.inbound), big.length)
  t.equal(read(call.inbound), 10)
  t.equal(call.inbound.arrivalMs, 5)
  t.end()
})

t.test('a packet larger than the ring is dropped', (t) => {
  const call = new SharedCall(allocateSharedCall())
  call.inbound.write(packetOf(640, 1), 1)
  read(call.inbound)
  t.notOk(call.inbound.write(new Uint8Array(INBOUND_RING_BYTES), 2))
  t.equal(call.inbound.fill, 0)
  t.ok(call.inbound.write(packetOf(640, 3), 3))
  t.equal(read(call.inbound), 640)
  t.end()
})

t.test('discarded speech is never played', (t) => {
  const { outbound } = new SharedCall(allocateSharedCall())
  const samples = Int16Array.from({ length: 1000 }, (_, i) => i)
  const out = new Int16Array(1000)
  outbound.write(samples)
  outbound.peek(out, 100)
  outbound.consume(100)
  outbound.discard()
  t.equal(outbound.available(), 0)
  t.equal(outbound.peek(out, 320), 0)
  outbound.write(samples.subarray(500, 520))
  t.equal(outbound.peek(out, 320), 20)
  t.equal(out[0], 500)
  t.equal(outbound.taken, 1000, 'discarded samples count as taken')
  t.end()
})

t.test('played audio can be recalled until it is overwritten', (t) => {
  const { outbound } = new SharedCall(allocateSharedCall())
  const samples = Int16Array.from({ length: 320 }, (_, i) => i + 1)
  const out = new Int16Array(320)
  outbound.recallFrom = 0
  take(outbound, samples)
  t.ok(outbound.recall(0, out, 320))
  t.same(out, samples)
  t.notOk(outbound.recall(1, out, 320), 'not written yet')
  for (let i = 0; i < OUTBOUND_RING_SAMPLES / 320; i++) {
    take(outbound, samples)
  }
  t.notOk(outbound.recall(0, out, 320), 'gone')
  t.end()
})

t.test('a ring with recalled samples reuses its memory', (t) => {
  const memory = allocateSharedCall()
  const { outbound } = new SharedCall(memory)
  const answer = Int16Array.from({ length: 960 }, (_, i) => i + 1)
  const out = new Int16Array(960)
  outbound.recallFrom = 0
  for (let i = 0; i < 100; i++) {
    take(outbound, answer)
    t.ok(outbound.recall(i * 960, out, 960))
    outbound.recallFrom = outbound.written
  }
  const ring = new Int16Array(memory, 256 + INBOUND_RING_BYTES, OUTBOUND_RING_SAMPLES)
  t.equal(
    ring.findLastIndex((sample) => sample !== 0),
    959,
  )
  take(outbound, answer)
  take(outbound, new Int16Array(960).fill(-1))
  t.ok(outbound.recall(100 * 960, out, 960))
  t.same(out, answer)
  t.end()
})

t.test('a ring with late recalls touches little memory', (t) => {
  const memory = allocateSharedCall()
  const { outbound } = new SharedCall(memory)
  const answerOf = (i: number): Int16Array => Int16Array.from({ length: 960 }, (_, at) => 1000 * (i % 30) + at + 1)
  const out = new Int16Array(960)
  outbound.recallFrom = 0
  for (let i = 0; i < 200; i++) {
    take(outbound, answerOf(i))
    if (i === 0) continue
    t.ok(outbound.recall((i - 1) * 960, out, 960))
    t.same(out, answerOf(i - 1), 'as they were written, wherever they lie now')
    outbound.recallFrom = i * 960
  }
  const ring = new Int16Array(memory, 256 + INBOUND_RING_BYTES, OUTBOUND_RING_SAMPLES)
  t.ok(ring.findLastIndex((sample) => sample !== 0) < 4096, 'two pages of sixteen')
  t.end()
})

t.test('a ring touches only the memory short answers need', (t) => {
  const memory = allocateSharedCall()
  const { outbound } = new SharedCall(memory)
  const answer = Int16Array.from({ length: 960 }, (_, i) => i + 1)
  const out = new Int16Array(960)
  for (let i = 0; i < 100; i++) {
    t.equal(outbound.written, i * 960, 'counts go on')
    outbound.write(answer)
    t.equal(outbound.peek(out, 960), 960)
    t.same(out, answer)
    outbound.consume(960)
    t.equal(outbound.taken, outbound.written)
  }
  const ring = new Int16Array(memory, 256 + INBOUND_RING_BYTES, OUTBOUND_RING_SAMPLES)
  t.equal(
    ring.findLastIndex((sample) => sample !== 0),
    959,
  )
  t.notOk(outbound.recall(98 * 960, out, 960), 'what was written over is gone')
  t.ok(outbound.recall(99 * 960, out, 960))
  t.end()
})

t.test('speech discarded while being read is counted once', (t) => {
  const { outbound } = new SharedCall(allocateSharedCall())
  const samples = new Int16Array(1000).fill(1)
  const out = new Int16Array(1000)
  outbound.write(samples)
  outbound.peek(out, 320)
  outbound.discard()
  outbound.consume(320)
  t.equal(outbound.available(), 0)
  t.equal(outbound.taken, 1000)
  outbound.write(samples.fill(2))
  t.equal(outbound.peek(out, 1000), 1000)
  t.ok(out.every((sample) => sample === 2))
  t.end()
})

t.test('two threads sharing a ring neither lose nor repeat samples', async (t) => {
  const memory = allocateSharedCall()
  const call = new SharedCall(memory)
  const source = new URL('./ring-producer.js', import.meta.url)
  const worker = new Worker(source, { workerData: memory, execArgv: [] })
  const done = new Promise<void>((resolve, reject) => {
    worker.once('error', reject)
    worker.once('exit', () => resolve())
  })
  const out = new Int16Array(777)
  let expected = 0
  let wrong = 0
  let over = false
  void done.then(() => {
    over = true
  })
  while (!over || call.outbound.available() > 0) {
    const count = call.outbound.peek(out, 1 + (expected % 777))
    for (let i = 0; i < count; i++) {
      if (out[i] !== ((expected + i) << 16) >> 16) wrong++
    }
    expected += count
    call.outbound.consume(count)
    if (count === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await done
  t.equal(wrong, 0)
  t.equal(expected, 2_000_000)
})

t.test('calls in one slab do not affect each other', (t) => {
  const pool = new CallMemoryPool()
  const lent = Array.from({ length: CALL_SLAB_CALLS + 3 }, () => pool.take())
  const calls = lent.map(({ buffer, at }) => new SharedCall(buffer, at))
  const out = new Int16Array(320)
  calls.forEach((call, i) => {
    call.outbound.write(new Int16Array(320).fill(i + 1))
    call.inbound.write(new Uint8Array(640).fill(i & 0xff), i)
  })
  calls.forEach((call, i) => {
    t.equal(call.outbound.peek(out, 320), 320)
    t.ok(out.every((sample) => sample === i + 1))
    t.ok(call.inbound.next()?.every((byte) => byte === (i & 0xff)))
  })
  t.equal(pool.lent, CALL_SLAB_CALLS + 3)
  pool.give(lent[5] as (typeof lent)[number])
  const again = pool.take()
  t.same(again.at, lent[5]?.at, 'memory that was touched already is used first')
  const next = new SharedCall(again.buffer, again.at)
  t.equal(next.outbound.available(), 0)
  t.equal(next.inbound.next(), null)
  t.ok(next.words.every((word) => word === 0))
  t.equal(calls[6]?.outbound.written, 320)
  t.end()
})
