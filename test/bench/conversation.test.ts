import t from 'tap'
import { TurnListener } from '../../bench/backend/turn-listener.js'
import { HeardAnswers } from '../../bench/generator/heard-answers.js'
import { newAudioCounts, type AudioCounts } from '../../bench/generator/received-audio.js'
import { seededRandom } from '../../src/simulator/random.js'

const F = 320
const ANSWER_FRAMES = 100
const random = seededRandom(3)
const answer = Int16Array.from({ length: ANSWER_FRAMES * F }, () => Math.round((random() - 0.5) * 8000))

t.test('a turn is over after the silence that was asked for, and its length is that of the audio', (t) => {
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

const silence = new Int16Array(F)

/** Counts of one call on which an answer begins 812 ms after a turn, and comes 20 ms by 20 ms as `frames` say, -1 for silence. */
function heard(frames: readonly number[], pauseBefore = -1): AudioCounts {
  const counts = newAudioCounts()
  counts.windowStartMs = 0
  const call = new HeardAnswers(16000, answer, counts)
  call.turnEnds(1000)
  let nowMs = 1812
  frames.forEach((frame, n) => {
    if (n === pauseBefore) nowMs += 60
    call.audio(frame < 0 ? silence : answer.subarray(frame * F, (frame + 1) * F), F, nowMs)
    nowMs += 20
  })
  call.turnEnds(6000)
  call.finish(8000)
  return counts
}

const whole = [...answer.keys()].slice(0, ANSWER_FRAMES)

t.test('an answer that came whole is true, and what was added is measured from the end of the turn', (t) => {
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

t.test('silence after an answer is none of its frames', (t) => {
  t.match(heard([...whole, -1, -1, -1, -1]), { framesLost: 100, framesAdded: 0, markersSeen: 1 })
  t.end()
})

t.test('a frame that is lost or comes twice, or a gap, makes an answer untrue', (t) => {
  const lost = heard(whole.filter((frame) => frame !== 40))
  t.match(lost, { framesLost: 101, markersSeen: 0 })
  t.ok(lost.blocksPoor > 50)
  t.match(heard([...whole.slice(0, 40), 39, ...whole.slice(40)]), { framesAdded: 1, markersSeen: 0 })
  t.match(heard(whole, 50), { framesLost: 100, gapsUnasked: 1, markersSeen: 1 })
  t.end()
})
