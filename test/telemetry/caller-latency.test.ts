import t from 'tap'
import { CallerPath } from '../../src/media/caller-path.js'
import { CallerLatency, EAR_WAIT_MS } from '../../src/workers/caller-latency.js'
import { loadVads } from '../support/media-modules.js'

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
