import t from 'tap'
import { agentSpans, answerMs, type SaidClip, stopTimes, ticksOf } from '../../bench/interaction/heard-call.js'
import { eventsOf } from '../../bench/interaction/panel.js'

/** Frames of the agent: each pair is a number of frames and their RMS. */
function framesOf(...parts: readonly (readonly [count: number, rms: number])[]): readonly number[] {
  return parts.flatMap(([count, rms]) => Array.from({ length: count }, () => rms))
}

const LOUD = 3000
const SAID = { kind: 'interruption', name: 'no', over: true, fromFrame: 60, toFrame: 80 } as const satisfies SaidClip

t.test('a stop is the first of ten silent frames', (t) => {
  const agentRms = framesOf([66, LOUD], [9, 0], [5, LOUD], [120, 0])
  t.same(stopTimes({ agentRms, said: [SAID] }, SAID), { duckedMs: 120, stoppedMs: 400, mutedMs: 1780 })
  t.end()
})

t.test('a ducking of 12 dB is not a stop', (t) => {
  const agentRms = framesOf([63, LOUD], [137, LOUD / 4])
  t.same(stopTimes({ agentRms, said: [SAID] }, SAID), { duckedMs: 60, stoppedMs: null, mutedMs: 0 })
  t.end()
})

t.test('a pause within a word is not counted as ducking', (t) => {
  const agentRms = framesOf([63, LOUD], [2, 0], [135, LOUD])
  t.same(stopTimes({ agentRms, said: [SAID] }, SAID), { duckedMs: null, stoppedMs: null, mutedMs: 40 })
  t.end()
})

t.test('a silent agent has nothing to stop', (t) => {
  t.equal(stopTimes({ agentRms: framesOf([40, LOUD], [160, 0]), said: [SAID] }, SAID), null)
  t.end()
})

t.test('the answer is counted from the last voiced frame', (t) => {
  const turn = { ...SAID, kind: 'turn', over: false } as const
  const call = { agentRms: framesOf([95, 0], [10, LOUD]), said: [turn] }
  t.equal(answerMs(call, turn), 300)
  t.equal(answerMs({ ...call, said: [turn, { ...turn, fromFrame: 90, toFrame: 92 }] }, turn), null)
  t.end()
})

t.test("the agent's spans include short gaps", (t) => {
  const agentRms = framesOf([2, 0], [3, LOUD], [4, 0], [1, LOUD], [10, 0], [1, LOUD])
  t.same(agentSpans({ agentRms, said: [] }), [
    [40, 200],
    [400, 420],
  ])
  t.end()
})

t.test('sounds become ticks of ten frames', (t) => {
  const said: readonly SaidClip[] = [
    { kind: 'backchannel', name: 'mm', over: true, fromFrame: 12, toFrame: 25 },
    { kind: 'tic', name: 'cough', over: true, fromFrame: 60, toFrame: 65 },
    { kind: 'tic', name: 'cough', over: false, fromFrame: 120, toFrame: 125 },
  ]
  const ticks = ticksOf({ agentRms: framesOf([95, LOUD], [205, 0]), said })
  t.same(
    ticks.slice(0, 4).map(({ caller, backchannel }) => [caller, backchannel]),
    [
      [false, false],
      [true, true],
      [true, false],
      [false, false],
    ],
  )
  t.same([ticks[9]?.agent, ticks[10]?.agent], [true, false], 'a tick with any sound of the agent has it')
  t.same([ticks[6]?.caller, ticks[6]?.effects.length], [true, 1], 'over the agent it is an utterance')
  t.same([ticks[12]?.caller, ticks[12]?.effects.length], [false, 1], 'in silence it is an effect')
  t.same(
    eventsOf(ticks).map(({ kind, right }) => [kind, right]),
    [
      ['backchannel', true],
      ['tic', false],
      ['tic', true],
    ],
  )
  t.end()
})
