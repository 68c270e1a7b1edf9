import t from 'tap'
import { callSummary } from '../../src/workers/call-record.js'
import { endedCall } from '../support/record.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { CallerLatency, EAR_WAIT_MS } from '../../src/workers/caller-latency.js'
import { loadVads } from '../support/media-modules.js'

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
      outbound: { result: 'person', ringMs: 4000, clientRequestId: 'x', externalId: null },
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
    placed: 'person',
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

const turn = { callerStoppedMs: 4000, firstSoundMs: 300, answerMs: 900 }
/** The stream opened here. */
const ZERO_MS = 10_000

t.test('a turn is timed to the first sounds at the ear after its filler and its answer were sent', async (t) => {
  const clock = new CallerLatency()
  clock.onset(12_000) // the greeting, long before
  clock.onset(14_380) // the filler: sent at 14,300
  clock.turn(turn, ZERO_MS)
  t.equal(clock.take(14_910), null, 'the answer is on its way')
  clock.onset(14_985)
  t.same(clock.take(15_000), { callerStoppedMs: 4000, ear: { firstSoundMs: 380, answerMs: 985 } })
  t.equal(clock.take(15_100), null, 'once')
})

t.test('an answer that follows its filler without a gap has no beginning of its own', async (t) => {
  const clock = new CallerLatency()
  clock.onset(14_380)
  clock.turn(turn, ZERO_MS)
  t.equal(clock.take(14_900 + EAR_WAIT_MS - 1), null)
  t.same(clock.take(14_900 + EAR_WAIT_MS), { callerStoppedMs: 4000, ear: { firstSoundMs: 380, answerMs: null } })
})

t.test('a carrier that forks one track only is never heard, and says nothing', async (t) => {
  const clock = new CallerLatency()
  clock.turn(turn, ZERO_MS)
  t.equal(clock.take(20_000), null)
  clock.turn({ callerStoppedMs: 9000, firstSoundMs: 100, answerMs: null }, ZERO_MS)
  t.equal(clock.take(40_000), null, 'nor does a turn without an answer wait')
})

t.test("the agent's voice on the outbound track is dated when it begins, and again after a gap", async (t) => {
  const vadBank = await loadVads()
  const path = new CallerPath({ sampleRateHz: 16000, track: 'both_tracks', vadBank })
  const onsets: number[] = []
  // 20 ms of stereo a packet: silence of the caller, and what is played.
  for (let frame = 0; frame < 200; frame++) {
    const played = (frame >= 60 && frame < 100) || (frame >= 102 && frame < 110) || frame >= 150
    const samples = new Int16Array(640)
    if (played) for (let i = 0; i < 320; i++) samples[2 * i + 1] = 8000 * Math.sin(i / 5)
    path.push(new Uint8Array(samples.buffer), 1000 + frame * 20)
    while (path.pull(1000 + frame * 20)) {
      /* taken */
    }
    if (path.agentHeardAtMs !== onsets.at(-1) && Number.isFinite(path.agentHeardAtMs)) onsets.push(path.agentHeardAtMs)
  }
  t.equal(onsets.length, 2, 'a pause of 40 ms is part of the words')
  t.ok(Math.abs((onsets[0] ?? 0) - (1000 + 60 * 20)) <= 40, `about ${1000 + 60 * 20}: ${onsets[0] ?? 'never'}`)
  t.ok(Math.abs((onsets[1] ?? 0) - (1000 + 150 * 20)) <= 40)
  path.release()
})
