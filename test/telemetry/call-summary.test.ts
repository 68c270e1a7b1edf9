import t from 'tap'
import { callSummary } from '../../src/workers/call-record.js'
import { endedCall } from '../support/record.js'

t.test("the summary line has the figures of the call and nobody's words", async (t) => {
  const summary = callSummary(
    endedCall({
      endReason: 'agent-goodbye',
      endDetail: 'the caller Wanjiru was happy',
      turns: [
        { callerStoppedMs: 0, firstSoundMs: 300, answerMs: 300 },
        { callerStoppedMs: 1, firstSoundMs: 200, answerMs: 2400 },
        { callerStoppedMs: 2, firstSoundMs: null, answerMs: null },
      ],
      bargeIns: [
        { atMs: 1, stopMs: 40, committed: true, why: 'x' },
        { atMs: 2, stopMs: 900, committed: false, why: 'y' },
      ],
      stops: [
        { kind: 'interruption', atMs: 1, mark: 'barge-in', why: 'x' },
        { kind: 'hang-up', atMs: 2, mark: 'ended', why: 'y' },
      ],
    }),
  )
  t.match(summary, {
    outcome: 'deflected',
    turns: 3,
    turns_unanswered: 1,
    first_sound_p50_ms: 200,
    first_sound_max_ms: 300,
    answer_p50_ms: 300,
    answer_max_ms: 2400,
    barge_ins: 1,
    barge_in_stop_max_ms: 40,
    stops: { interruption: 1, 'hang-up': 1 },
  })
  t.notMatch(JSON.stringify(summary), /Wanjiru/)
})

t.test('a call without turns has no figures of turns', async (t) => {
  const summary = callSummary(
    endedCall({ endReason: 'socket-never-came', endDetail: 'no socket within 10000 ms', outcome: 'failed' }),
  )
  t.notOk('answer_p50_ms' in summary)
  t.equal(summary['detail'], 'no socket within 10000 ms')
})
