import t from 'tap'
import { PLAYOUT_BACKLOG_MS_MAX } from '../../src/workers/playout-feed.js'
import { PlayoutLedger } from '../../src/call/playout-ledger.js'
import { CallSpeech, SPEECH_WAITING_SAMPLES_MAX } from '../../src/workers/call-speech.js'
import { SharedCall, allocateSharedCall } from '../../src/workers/shared-call.js'
import { FrameHistogram } from '../../src/telemetry/frame-histogram.js'
import { ResamplerBank } from '../../src/media/resample/resampler.js'
import { derivePolyphaseRows } from '../../src/media/resample/polyphase.js'
import { createSincMedium, firKernel } from '../support/media-modules.js'

const resamplers = new ResamplerBank({ rows: await derivePolyphaseRows(createSincMedium), kernel: firKernel() })

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

t.test('a filler that comes in the middle of an answer waits for its end', (t) => {
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

t.test('the next item of a backend ends the one before, which never said that it was over', (t) => {
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

t.test('an item without a single sample is over at once for whoever waits for its end', (t) => {
  const { out, ledger } = speech()
  out.finish('gateway', 'empty')
  t.match(ledger.poll(1), [{ type: 'item-heard', itemId: 'empty' }])
  t.end()
})

t.test('after a clear nothing old is heard, neither from the ring nor from the filters', (t) => {
  const { out, heard } = speech()
  out.append('backend', 'old', constant(12_000, 4800), 24000, 0)
  out.append('gateway', 'waits', constant(9000), 16000, 0)
  out.clear(5)
  out.append('backend', 'new', constant(0, 2400), 24000, 6)
  out.finish('backend', 'new')
  t.same([...new Set(heard())], [0])
  t.end()
})

t.test('speech at 24 kHz leaves at the rate of the leg with its last word whole', (t) => {
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

t.test('what waits for another item is bounded, and the rest counted', (t) => {
  const { out } = speech()
  out.append('backend', 'talks', constant(1), 16000, 0)
  for (let i = 0; i < 1000; i++) out.append('gateway', 'waits', constant(2, 1000), 16000, i)
  t.equal(out.droppedSamples, 1_000_000 - SPEECH_WAITING_SAMPLES_MAX)
  t.end()
})

t.test('speech beyond the playout backlog is counted too', (t) => {
  const { out, shared } = speech()
  const ms = PLAYOUT_BACKLOG_MS_MAX + 10_000
  for (let i = 0; i < ms; i += 1000) out.append('backend', 'long', constant(1, 16_000), 16000, i)
  t.equal(out.droppedSamples, ms * 16 - shared.outbound.available() - PLAYOUT_BACKLOG_MS_MAX * 16)
  t.ok(out.droppedSamples > 0)
  t.end()
})
