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
    outcome: 'contained',
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

t.test('the summary line says how the call was set up, carried and closed', async (t) => {
  const summary = callSummary(
    endedCall({
      direction: 'outbound',
      timeline: [
        { name: 'webhook', atMs: 0 },
        { name: 'stream-opened', atMs: 412.4 },
        { name: 'backend-failover', atMs: 900 },
        { name: 'socket-closed', atMs: 9000, detail: 'code 1006, socket-lost: no pong' },
      ],
      backends: {
        sessions: [
          { backend: 'a', role: 'first', connectMs: 90, fault: null },
          { backend: 'b', role: 'takeover', connectMs: null, fault: 'refused' },
        ],
        failover: null,
        irregular: {},
      },
      escalation: {
        reason: 'Wanjiru wants a human',
        strategy: 'conference',
        outcome: 'no-answer',
        attempts: [{ strategy: 'conference', human: 1, outcome: 'no-answer', detail: '', ms: 20_000 }],
        callback: { asked: 'key', number: '+254700000001', note: 'about Wanjiru', at: '2026-11-20T12:00:00.000Z' },
      },
      outbound: { result: 'answered', ringMs: 4000, clientRequestId: 'x' },
      recording: 'recordings/HD_record000001.wav',
    }),
  )
  t.match(summary, {
    direction: 'outbound',
    started_at: '2026-11-20T12:00:00.000Z',
    setup_ms: 412,
    socket_closed: 'code 1006, socket-lost: no pong',
    backend_sessions: 2,
    backend_faults: 1,
    backend_changes: 1,
    escalation: 'no-answer',
    escalation_strategy: 'conference',
    escalation_attempts: 1,
    callback: 'key',
    placed: 'answered',
    ring_ms: 4000,
    recorded: true,
  })
  t.notMatch(JSON.stringify(summary), /Wanjiru|254700000001/)
})

t.test('a call without turns has no figures of turns', async (t) => {
  const summary = callSummary(
    endedCall({ endReason: 'socket-never-came', endDetail: 'no socket within 10000 ms', outcome: 'failed' }),
  )
  t.notOk('answer_p50_ms' in summary)
  t.equal(summary['detail'], 'no socket within 10000 ms')
})
