import fc from 'fast-check'
import t from 'tap'
import { CallerSpeech } from '../../src/call/caller-speech.js'
import type { CallerFrame } from '../../src/call/frame-figures.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'

const OPTIONS = { ...DEFAULT_CALL_OPTIONS.speech, endOfSpeechMs: 600, adaptive: false }
const frameOf = (voiced: boolean, doubtful = false): CallerFrame => ({
  voiced,
  doubtful,
  levelDbfs: voiced ? -20 : -70,
  pitchHz: 0,
  early: false,
})

t.test("a caller's turn ends with the frame that is due, however the ticks of the clock jitter", async (t) => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: -4, max: 4, noNaN: true }), { minLength: 60, maxLength: 60 }), (jitterMs) => {
      const speech = new CallerSpeech(OPTIONS)
      const at = (frame: number): number => 1000 + frame * 20 + (jitterMs[frame] ?? 0)
      for (let frame = 0; frame < 10; frame++) speech.frame(frameOf(true), at(frame))
      let ended = -1
      for (let frame = 10; frame < 60 && ended < 0; frame++)
        if (speech.frame(frameOf(false), at(frame)) === 'end') ended = frame
      return ended === 39 // the 30th frame of silence: 600 ms
    }),
  )
  t.pass('never a frame late, never one early')
})

t.test('voice within the pause goes on with the same segment', async (t) => {
  const speech = new CallerSpeech(OPTIONS)
  let nowMs = 0
  const frames = (voiced: boolean, count: number): string[] =>
    Array.from({ length: count }, () => speech.frame(frameOf(voiced), (nowMs += 20))).filter((edge) => edge !== 'none')
  frames(true, 10)
  t.same(frames(false, 29), [], '580 ms of quiet are a pause')
  frames(true, 1)
  t.same(frames(false, 29), [])
  t.same(frames(false, 1), ['end'])
})

t.test('over the agent, voice that may be noise begins a segment later, and from its first frame', async (t) => {
  const onsetAt = (doubtful: readonly boolean[], overAgent: boolean): readonly [number, number] => {
    const speech = new CallerSpeech({ ...OPTIONS, onsetMs: 40, doubtfulOnsetMs: 100 })
    for (let i = 0; i < 20; i++)
      if (speech.frame(frameOf(true, doubtful[i % doubtful.length]), 1020 + i * 20, true, overAgent) === 'onset')
        return [i + 1, speech.firstVoicedMs]
    return [0, NaN]
  }
  t.same(onsetAt([true], true), [5, 1000])
  t.same(onsetAt([true], false), [2, 1000], 'an onset that stops nobody is cheap')
  t.same(onsetAt([false], true), [2, 1000])
  t.same(onsetAt([true, false], true), [2, 1000], 'half of it may be')
  const speech = new CallerSpeech({ ...OPTIONS, onsetMs: 40, doubtfulOnsetMs: 0 })
  speech.frame(frameOf(true, true), 20, true, true)
  t.notOk(speech.speaking, 'never before onsetMs')
})
