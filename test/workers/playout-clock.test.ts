import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { PlayoutLedger } from '../../src/call/playout-ledger.js'
import { PlayoutClock } from '../../src/workers/playout-clock.js'
import type { MediaSink } from '../../src/workers/live-call.js'
import { SharedCall, Time, Word, allocateSharedCall } from '../../src/workers/shared-call.js'
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

t.test(
  'an answer that begins while main is at its send is dated by its own first frame, not by the sentence before',
  (t) => {
    const shared = new SharedCall(allocateSharedCall())
    const playout = new PlayoutClock(shared, 16_000)
    const ledger = new PlayoutLedger({ sampleRateHz: 16_000 })
    const speak = (item: string): void => {
      shared.outbound.write(FRAME)
      ledger.appended(item, FRAME.length)
    }
    // What the worker's tick makes of the shared memory, at the worst of times: in the middle of main's.
    const look = (nowMs: number) => {
      ledger.report(
        {
          sentSamples: shared.outbound.dated,
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
  },
)

t.test('whoever sees from another thread that samples were sent sees when', async (t) => {
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
  // Until the two threads have met often enough: on a busy machine they take turns, and one sees little of the other.
  for (const endMs = performance.now() + 20_000; Atomics.load(looks, 0) <= 2000 && performance.now() < endMs;) {
    for (let i = 0; i < 1000; i++) {
      shared.outbound.write(FRAME)
      playout.pump(++frames * 20, sink, null)
    }
  }
  const result = once(worker, 'message')
  Atomics.store(shared.words, Word.hangup, 1)
  const [{ stale, seen }] = (await result) as [{ readonly stale: number; readonly seen: number }]
  t.equal(seen, shared.outbound.dated)
  t.ok((looks[0] as number) > 1000, `${looks[0]} looks at ${frames} frames`)
  t.equal(stale, 0)
})
