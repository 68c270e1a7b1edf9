import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import type { MediaSink } from '../../src/workers/main/live-call.js'
import { allCallsOn } from '../../src/backends/split.js'
import type { LegRateHz } from '../../src/core/units.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { WorkerCall } from '../../src/workers/worker/worker-call.js'
import { CallerIntake } from '../../src/workers/worker/caller-intake.js'
import { type PaceFacts, framesMayWaitUntilMs } from '../../src/workers/worker/call-pace.js'
import type { ForkedTrack } from '../../src/media/reframer.js'
import { dtmfTones } from '../../src/carrier/line.js'
import { inbound, orderStatusAgent, pass, startHost, time } from '../support/host.js'
import { bytesOf, seededRandom, whiteNoise } from '../support/tones.js'
import { sentences } from '../support/voices.js'
import { opened, servesVad } from './pace-backend.js'

const BACKEND = `module:${new URL('./pace-backend.js', import.meta.url).href}`
const CALL_MS = 10_000

const FACTS: PaceFacts = {
  ...{
    voicedAtMs: -Infinity,
    keyAtMs: -Infinity,
    inputAtMs: -Infinity,
    isWatched: false,
    loudWaits: false,
    countsFrames: false,
  },
  ...{ speaking: false, turnEndsAtMs: 0, turnEndFromMs: Infinity, turnEndToMs: 0, agentSilent: false },
}
const mayWait = (facts: Partial<PaceFacts>): number => framesMayWaitUntilMs(10_000, { ...FACTS, ...facts })

t.test('quiet frames may wait between turns', (t) => {
  t.equal(mayWait({}), Infinity)
  t.equal(mayWait({ voicedAtMs: 9200 }), Infinity)
  t.equal(mayWait({ voicedAtMs: 9200, turnEndToMs: 1500 }), -Infinity, 'a service that ends turns late')
  for (const facts of [
    { voicedAtMs: 9201 },
    { voicedAtMs: 9900 },
    { keyAtMs: 8001 },
    { inputAtMs: 9901 },
    { isWatched: true },
    { loudWaits: true },
    { countsFrames: true },
  ])
    t.equal(mayWait(facts), -Infinity, JSON.stringify(facts))
  t.end()
})

t.test('frames of a turn wait until the turn may end', (t) => {
  const turn = { speaking: true, voicedAtMs: 9980, turnEndsAtMs: 10_680, agentSilent: true }
  t.equal(mayWait(turn), 9980 + 200)
  t.equal(mayWait({ ...turn, turnEndsAtMs: 10_100 }), 10_040, 'a turn whose words are complete')
  t.equal(mayWait({ ...turn, turnEndFromMs: 0 }), 9980, 'a service that may end it at once')
  t.equal(mayWait({ ...turn, voicedAtMs: 9800 }), -Infinity)
  t.equal(mayWait({ ...turn, voicedAtMs: 8000 }), -Infinity, 'a turn that a longer pause ends')
  t.equal(mayWait({ ...turn, agentSilent: false }), -Infinity)
  t.equal(mayWait({ ...turn, keyAtMs: 9000 }), -Infinity)
  t.end()
})

/** What the worker's half of each call has done, noted when it is over. */
const ended: { readonly stats: CallerIntake['stats'] }[] = []
/** Ticks that looked at a call. */
const visits = new Map<string, number>()
const due = Reflect.get(WorkerCall.prototype, 'due')
WorkerCall.prototype.due = function (this: WorkerCall, ...args): boolean {
  const isDue = due.apply(this, args)
  if (isDue) visits.set(this.callSid, (visits.get(this.callSid) ?? 0) + 1)
  return isDue
}
const release = Reflect.get(CallerIntake.prototype, 'release')
CallerIntake.prototype.release = function (this: CallerIntake): void {
  ended.push({ stats: this.stats })
  release.call(this)
}

interface Line {
  readonly rateHz: LegRateHz
  readonly track: ForkedTrack
  readonly serverVad: boolean
  readonly seed: number
}

/** Two calls at once: one at the pace of production, one in which no frame waits. */
async function bothPaces(t: Test, { rateHz, track, serverVad, seed }: Line) {
  const shipped = await orderStatusAgent()
  const definition = { ...shipped, stream: { ...shipped.stream, track, outputSamplingRate: rateHz } }
  servesVad.now = serverVad
  const open = async (pace: (() => number) | null) => {
    const journal: string[] = []
    const sent: string[] = []
    const test = await startHost({
      agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn(BACKEND) }]]),
      journal: { build: 'test', audio: false },
      keepJournal: (_sid, lines) => journal.push(...lines),
      ...(pace === null ? {} : { pace }),
    })
    t.teardown(() => test.close())
    const callSid = `HD_pace0000${seed}${pace === null ? 'a' : 'b'}`
    const call = test.host.prepare(inbound(callSid))
    const sink: MediaSink = {
      sendAudio: (bytes) => sent.push(`${time.nowMs()} ${Buffer.from(bytes).toString('base64')}`) > 0,
      sendText: (text) => sent.push(`${time.nowMs()} ${text}`),
      close: () => undefined,
    }
    call.attach(sink)
    const end = () => {
      call.detach(1000)
      return test.recordOf(callSid)
    }
    return { callSid, call, journal, sent, end }
  }
  const calls = [await open(null), await open(() => -Infinity)]
  await pass(100)
  const backends = opened.slice(-2)
  return { calls, backends }
}

/** The caller's side of a random call, samples from its beginning on: noise, sentences, keys, and silence. */
function callerOf(rateHz: LegRateHz, seed: number, random: () => number): Int16Array {
  const samples = new Int16Array((CALL_MS * rateHz) / 1000)
  const noise = whiteNoise({ sampleRateHz: rateHz, ms: CALL_MS, amplitude: [0, 30, 200][seed % 3] as number }, seed)
  samples.set(noise.subarray(0, samples.length))
  for (let ms = 300 + 1500 * random(); ms < CALL_MS - 3000; ms += 1500 + 3000 * random()) {
    const sound =
      random() < 0.2 ? dtmfTones('42', rateHz) : sentences(rateHz, 200 + 2200 * random(), Math.floor(8 * random()))
    const gain = 10 ** -random()
    const at = Math.round((ms * rateHz) / 1000)
    for (let i = 0; i < sound.length && at + i < samples.length; i++)
      samples[at + i] = Math.max(-32_768, Math.min(32_767, (samples[at + i] as number) + gain * (sound[i] as number)))
  }
  return samples
}

/** What happens in a random call: packets of several sizes that come early and late, and what backend and carrier do. */
async function run(t: Test, line: Line) {
  const random = seededRandom(line.seed)
  const { calls, backends } = await bothPaces(t, line)
  const samples = callerOf(line.rateHz, line.seed, random)
  const packetMs = [20, 20, 10, 40][line.seed % 4] as number
  const length = (packetMs * line.rateHz) / 1000
  const stallMs = packetMs * Math.floor((CALL_MS * random()) / packetMs)
  let readyMs = 0
  for (let at = 0, ms = 0; at + length <= samples.length; at += length, ms += packetMs) {
    // One burst: after two playout has a longer lead, which it learns with the packets.
    const late = ms === stallMs ? 300 * random() : random() < 0.2 ? 12 * random() : 2 * random()
    readyMs = Math.max(readyMs, ms + packetMs + late)
    // Beside the ticks, whose order with a packet at the same time nobody knows.
    const dueMs = Math.floor(readyMs) + 0.3
    const bytes = bytesOf(samples.subarray(at, at + length))
    time.after(dueMs, () => calls.forEach(({ call }) => call.audio(bytes)))
  }
  const both = (
    atMs: number,
    act: (backend: (typeof backends)[number], call: (typeof calls)[number]['call']) => void,
  ) => time.after(Math.floor(atMs) + 0.7, () => calls.forEach(({ call }, i) => act(backends[i] as never, call)))
  for (let ms = 500; ms < CALL_MS - 3000; ms += 800 + 2500 * random()) {
    const what = random()
    const spokenMs = 300 + 3500 * random()
    if (what < 0.55) both(ms, (backend) => backend.speaks('It is on its way, is that right?', spokenMs))
    else if (what < 0.65) both(ms, (_, call) => call.text([{ type: 'dtmf', digit: '5' }]))
    else if (what < 0.8)
      both(ms, (backend) =>
        backend.reports((generation) => ({
          ...{ type: 'transcript', role: 'caller', text: 'I want to know where it is', final: true },
          ...{ itemId: `caller-${ms}`, generation: generation + 1 },
        })),
      )
    else if (line.serverVad) {
      both(ms, (backend) => backend.reports(() => ({ type: 'speech-started' })))
      both(ms + 400, (backend) => backend.reports(() => ({ type: 'speech-stopped' })))
    }
  }
  await pass(CALL_MS + 1000)
  const from = ended.length
  await Promise.all(calls.map(({ end }) => end()))
  const [paced, each] = ended.slice(from)
  return { calls, backends, paced, each }
}

const looked = { fewer: 0, all: 0 }

for (let seed = 1; seed <= 4; seed++)
  t.test(`both paces decide and send the same, call ${seed}`, async (t) => {
    const line: Line = {
      rateHz: seed % 2 === 0 ? 8000 : 16_000,
      track: seed % 3 === 0 ? 'both_tracks' : 'inbound_track',
      serverVad: seed % 4 < 2,
      seed,
    }
    const { calls, backends, paced, each } = await run(t, line)
    const [one, other] = calls as [(typeof calls)[number], (typeof calls)[number]]
    const lines = (journal: readonly string[]): string[] =>
      journal.slice(1).map((text) => text.replaceAll(/HD_pace\w+/g, 'SID'))
    t.ok(lines(one.journal).length > 20, `${one.journal.length} lines`)
    const differs = lines(one.journal).findIndex((text, at) => text !== lines(other.journal)[at])
    t.equal(differs, -1, `${lines(one.journal)[differs]}\n${lines(other.journal)[differs]}`)
    t.equal(one.journal.length, other.journal.length)
    t.same(one.sent, other.sent, 'what the caller hears, and when')
    t.same(backends[0]?.got, backends[1]?.got, 'what the model hears')
    t.same(paced?.stats, each?.stats)
    looked.fewer += visits.get(one.callSid) ?? 0
    looked.all += visits.get(other.callSid) ?? 0
  })

t.test('the slower pace processes calls less often', (t) => {
  t.ok(looked.fewer < 0.7 * looked.all, `${looked.fewer} times in place of ${looked.all}`)
  t.end()
})

t.test('the first sound of an answer is sent at once', async (t) => {
  const { calls, backends } = await bothPaces(t, { rateHz: 16_000, track: 'inbound_track', serverVad: false, seed: 9 })
  await pass(1000)
  const before = calls.map(({ sent }) => sent.length)
  backends.forEach((backend) => backend.speaks('It is on its way.', 2000))
  // The clock stands still, so no tick runs.
  for (let turns = 0; turns < 3; turns++) await setImmediate()
  t.same(
    calls.map(({ sent }, i) => sent.length - (before[i] as number)),
    [1, 1],
  )
  await Promise.all(calls.map(({ end }) => end()))
})
