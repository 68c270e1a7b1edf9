import t from 'tap'
import type { Test } from 'tap'
import { callWithAgent, DISTURBED } from '../../bench/echo/agent-call.js'
import { answerToHear, callerFrames } from '../../bench/generator/conversation.js'
import { LineEcho } from '../../bench/generator/line-echo.js'
import { samplesToMs } from '../../src/core/units.js'
import { EchoGate } from '../../src/media/echo/echo-gate.js'
import { LoudspeakerEcho } from '../../src/media/echo/loudspeaker-echo.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { atSpeechLevel, convertRate, dbToGain, type EchoPhone, PhoneLine } from '../../src/carrier/line.js'
import { seededRandom } from '../../src/carrier/random.js'
import { loadFlite } from '../../src/speech/flite.js'
import { call, disturbedLine, says } from '../support/agent-line.js'
import { loadVads } from '../support/media-modules.js'
import { concatenate, framesOf, mix, pinkNoise, silence, speechLike, tone } from '../support/tones.js'

const RATE = 8000
const F = 160

interface Scene {
  /** Audio that we send, from time 0 on. */
  readonly agent: Int16Array
  readonly caller?: Int16Array
  readonly delayMs: number
  readonly gainDb: number
  /** Frames are handed over up to this long before they are played. */
  readonly leadMs?: number
}

/** Plays a scene through a gate; says of each caller frame whether it was taken for echo. */
function listen(
  gate: EchoGate,
  { agent, caller, delayMs, gainDb, leadMs = 100 }: Scene,
): { echo: boolean[]; frames: Int16Array[] } {
  const gain = 10 ** (gainDb / 20)
  const returned = concatenate(
    silence(RATE, delayMs),
    agent.map((v) => Math.round(v * gain)),
  )
  const noise = pinkNoise({ sampleRateHz: RATE, ms: (returned.length * 1000) / RATE, amplitude: 20 }, 4)
  const line = mix(mix(returned, noise), caller ?? silence(RATE, 20))
  const sent = framesOf(agent, F)
  const frames = framesOf(line, F)
  let next = 0
  const echo = frames.map((frame, i) => {
    // The first frames go at once, as the lead allows; afterwards one every 20 ms.
    for (; next < sent.length && next * 20 <= i * 20 + leadMs; next++) {
      gate.reference(sent[next] as Int16Array, Math.max(0, next * 20 - leadMs))
    }
    return gate.isEcho(levelDbfs(frame), (i + 1) * 20)
  })
  return { echo, frames }
}

const talks = new Map<string, Int16Array>()

/** Made once. */
function talk(ms: number, seed: number): Int16Array {
  const known = talks.get(`${ms} ${seed}`)
  if (known !== undefined) return known
  const made = speechLike({ sampleRateHz: RATE, ms, amplitude: 15_000 }, seed)
  talks.set(`${ms} ${seed}`, made)
  return made
}

/** Share of the loud frames that are taken for echo, from `fromMs` on. */
function share({ echo, frames }: { echo: boolean[]; frames: Int16Array[] }, fromMs: number, toMs = Infinity): number {
  let loud = 0
  let taken = 0
  frames.forEach((frame, i) => {
    if (i * 20 < fromMs || i * 20 >= toMs || levelDbfs(frame) < -45) return
    loud++
    if (echo[i] === true) taken++
  })
  return taken / loud
}

for (const delayMs of [60, 180, 250, 480]) {
  for (const gainDb of [0, -12]) {
    t.test(`echo after ${delayMs} ms at ${gainDb} dB is not voice`, (t) => {
      const gate = new EchoGate({ assumeEcho: false })
      const scene = listen(gate, { agent: talk(12_000, 3), delayMs, gainDb })
      const learnt = gate.delayMs ?? -1000
      t.ok(Math.abs(learnt - delayMs) <= 20, `learnt ${learnt} ms`)
      t.ok(Math.abs(gate.gainDb - gainDb) < 4, `learnt ${gate.gainDb.toFixed(1)} dB`)
      const taken = share(scene, 3000)
      t.ok(taken > 0.97, `${(100 * taken).toFixed(1)} % of its loud frames`)
      t.end()
    })
  }
}

t.test('on a mixed stream echo is expected from the start', (t) => {
  const first = share(listen(new EchoGate({ assumeEcho: true }), { agent: talk(3000, 5), delayMs: 200, gainDb: 0 }), 0)
  t.ok(first > 0.97, `${(100 * first).toFixed(1)} %`)
  t.end()
})

t.test('a caller louder than the echo is heard', (t) => {
  const caller = concatenate(silence(RATE, 8000), speechLike({ sampleRateHz: RATE, ms: 2000, amplitude: 20_000 }, 8))
  const gate = new EchoGate({ assumeEcho: true })
  const scene = listen(gate, { agent: talk(12_000, 3), caller, delayMs: 180, gainDb: -20 })
  t.ok(share(scene, 3000, 8000) > 0.95, 'echo before')
  const heard = 1 - share(scene, 8200, 9800)
  t.ok(heard > 0.6, `${(100 * heard).toFixed(0)} % of the caller's frames are heard`)
  t.ok(share(scene, 10_600, 12_000) > 0.9, 'echo is recognised again afterwards')
  t.end()
})

t.test('a caller is heard while the agent is silent', (t) => {
  const gate = new EchoGate({ assumeEcho: true })
  const caller = concatenate(silence(RATE, 7000), talk(3000, 6))
  const scene = listen(gate, {
    agent: concatenate(talk(5000, 3), silence(RATE, 6000)),
    caller,
    delayMs: 200,
    gainDb: 0,
  })
  t.equal(share(scene, 7000), 0)
  t.end()
})

t.test('without echo the caller may interrupt', (t) => {
  for (const assumeEcho of [false, true]) {
    const gate = new EchoGate({ assumeEcho })
    const caller = concatenate(silence(RATE, 6000), talk(3000, 6))
    const scene = listen(gate, { agent: talk(10_000, 3), caller, delayMs: 200, gainDb: -100 })
    const taken = share(scene, 6000, 9000)
    t.ok(
      taken < 0.2,
      `${(100 * taken).toFixed(0)} % taken for echo, ${assumeEcho ? 'expected' : 'not expected'} before`,
    )
  }
  t.end()
})

t.test('an exact reference needs no delay search', (t) => {
  const gate = new EchoGate({ assumeEcho: false })
  const agent = framesOf(talk(6000, 3), F)
  let taken = 0
  let loud = 0
  agent.forEach((frame, i) => {
    gate.referenceAt(frame, i * 20)
    const leak = frame.map((v) => v / 8)
    const echo = gate.isEcho(levelDbfs(leak), (i + 1) * 20)
    if (i > 150 && levelDbfs(leak) > -45) {
      loud++
      if (echo) taken++
    }
  })
  t.ok(taken / loud > 0.97, `${taken} of ${loud}`)
  t.ok((gate.delayMs ?? 99) <= 10)
  t.end()
})

t.test('frames delayed by a stall match their own reference', (t) => {
  const gate = new EchoGate({ assumeEcho: false })
  const agent = talk(12_000, 3)
  listen(gate, { agent, delayMs: 200, gainDb: 0 })
  const frames = framesOf(concatenate(silence(RATE, 200), agent), F)
  // All of it once more, asked after everything was sent: only the last 2.5 s are still remembered.
  let taken = 0
  let loud = 0
  for (let i = 500; i < 600; i++) {
    if (levelDbfs(frames[i] as Int16Array) < -45) continue
    loud++
    if (gate.isEcho(levelDbfs(frames[i] as Int16Array), (i + 1) * 20)) taken++
  }
  t.ok(taken / loud > 0.9, `${taken} of ${loud}`)
  t.end()
})

const flite = await loadFlite()
const voice = (text: string, name: string): Int16Array => {
  const { pcm, sampleRateHz } = flite.speak(text, name)
  return atSpeechLevel(convertRate(pcm, sampleRateHz, RATE), RATE)
}
const agent = concatenate(
  voice('Order four one two seven is out for delivery. It should be with you today between four and six.', 'slt'),
  silence(RATE, 900),
  voice('I am connecting you to a colleague. Please stay on the line, this may take half a minute.', 'slt'),
)
const interruption = voice('No, wait a moment please, that is the wrong order. I want to ask about another one.', 'rms')
const CALLER_AT_MS = 8000

interface Line {
  readonly phone: EchoPhone
  readonly echoDb: number
  readonly delayMs: number
  /** Level of a caller who begins at `CALLER_AT_MS`; null for none. */
  readonly callerDb: number | null
}

/** Frames in which a caller was found, by time, while the agent talks. */
function callerFoundMs(line: Line, echo = new LoudspeakerEcho({ sampleRateHz: RATE })): number[] {
  const { phone, echoDb, delayMs, callerDb } = line
  const phoneLine = new PhoneLine({ sampleRateHz: RATE, echo: { levelDb: echoDb, delayMs, phone }, snrDb: 45, seed: 5 })
  const caller =
    callerDb === null
      ? []
      : framesOf(
          concatenate(
            silence(RATE, CALLER_AT_MS),
            interruption.map((v) => v * dbToGain(callerDb)),
          ),
          F,
        )
  const found: number[] = []
  framesOf(agent, F).forEach((sent, i) => {
    const heard = caller[i]?.slice() ?? new Int16Array(F)
    phoneLine.up(heard)
    phoneLine.down(sent.slice())
    echo.reference(sent, i * 20)
    if (echo.judge(heard, (i + 1) * 20) === 'caller') found.push((i + 1) * 20)
  })
  return found
}

for (const phone of ['plain', 'speakerphone'] as const)
  for (const [echoDb, delayMs] of [
    [-10, 60],
    [-20, 250],
    [-28, 400],
  ] as const) {
    const name = `${phone}, ${echoDb} dB after ${delayMs} ms`
    t.test(`${name}: the agent's echo is not voice`, async (t) => {
      const echo = new LoudspeakerEcho({ sampleRateHz: RATE })
      const found = callerFoundMs({ phone, echoDb, delayMs, callerDb: null }, echo)
      t.ok(found.length <= 3, `${found.length} frames`)
      t.ok(Math.abs((echo.delayMs ?? Infinity) - delayMs) <= (phone === 'plain' ? 30 : 60), `${echo.delayMs} ms`)
    })

    t.test(`${name}: a caller is detected within a second`, async (t) => {
      const callerDb = echoDb + (phone === 'plain' ? 0 : 6)
      const found = callerFoundMs({ phone, echoDb, delayMs, callerDb })
      const before = found.filter((ms) => ms <= CALLER_AT_MS)
      t.ok(before.length <= 3, `${before.length} frames before`)
      const first = found.find((ms) => ms > CALLER_AT_MS) ?? Infinity
      t.ok(first <= CALLER_AT_MS + 1000, `${first} ms`)
      t.ok(found.length >= 50, `${found.length} frames of 150`)
    })
  }

t.test('without echo no delay is found and nothing is decided', async (t) => {
  const echo = new LoudspeakerEcho({ sampleRateHz: RATE })
  t.same(callerFoundMs({ phone: 'plain', echoDb: -100, delayMs: 60, callerDb: 0 }, echo), [])
  t.equal(echo.delayMs, null)
})

t.test('levels stay finite for any input', async (t) => {
  const random = seededRandom(3)
  const echo = new LoudspeakerEcho({ sampleRateHz: 16000 })
  const odd: number[] = []
  for (let i = 0; i < 1500; i++) {
    const loud = 32_767 * random() ** 4
    const noise = () => Int16Array.from({ length: 320 }, () => Math.round((2 * random() - 1) * loud))
    if (random() < 0.9) echo.reference(noise(), i * 20 + Math.round(600 * random() - 300))
    echo.judge(random() < 0.1 ? new Int16Array(320) : noise(), i * 20 + Math.round(200 * random()))
    if (!Number.isFinite(echo.overDb) || !Number.isFinite(echo.gainDb)) odd.push(i)
  }
  t.same(odd, [])
})

t.test('reused echo memory holds nothing of the ended call', async (t) => {
  const line: Line = { phone: 'plain', echoDb: -20, delayMs: 250, callerDb: -20 }
  const first = new LoudspeakerEcho({ sampleRateHz: RATE })
  const found = callerFoundMs(line, first)
  const { delayMs, gainDb, overDb } = first
  first.release()
  const second = new LoudspeakerEcho({ sampleRateHz: RATE })
  t.equal(second.delayMs, null)
  t.same(callerFoundMs(line, second), found)
  t.same([second.delayMs, second.gainDb, second.overDb], [delayMs, gainDb, overDb])
  t.not(delayMs, null)
  second.release()
})

t.test('a double release gives the memory to one call only', async (t) => {
  const ended = new LoudspeakerEcho({ sampleRateHz: RATE })
  ended.release()
  ended.release()
  const known = new LoudspeakerEcho({ sampleRateHz: RATE })
  callerFoundMs({ phone: 'plain', echoDb: -20, delayMs: 250, callerDb: null }, known)
  const { gainDb } = known
  const other = new LoudspeakerEcho({ sampleRateHz: RATE })
  t.equal(known.gainDb, gainDb)
  known.release()
  other.release()
})

/** When the caller of a disturbed line speaks: after all that disturbs it. */
const SPEAKS_AT_MS = 27_000

/** Nobody is heard before the caller, whose turn is taken by `untilMs`. What was lost of the line brings them forward a little. */
function expectTurn(t: Test, { onsetsAtMs, commitsAtMs }: ReturnType<typeof call>, untilMs: number): void {
  const [onsetMs = NaN] = onsetsAtMs
  const [commitMs = NaN] = commitsAtMs
  t.ok(
    onsetMs > SPEAKS_AT_MS - 400 && commitMs > onsetMs && commitMs < untilMs,
    `onset ${onsetMs} ms, turn ${commitMs} ms`,
  )
}

// The agent's first sentence begins at 1000 ms, and the next each six seconds.
const track = 'inbound_track'
const NO_ECHO_DB = -100

for (const rate of [8000, 16000] as const) {
  t.test(`${rate} Hz: a soft echo does not interrupt`, (t) => {
    for (const telephone of rate === 8000 ? [false] : [false, true]) {
      for (const [gainDb, delayMs] of [
        [-10, 80],
        [-20, 300],
        [-30, 80],
        [-40, 300],
      ] as const) {
        const { onsetsAtMs } = call({ track, rate, telephone, gainDb, delaysMs: [delayMs, delayMs, delayMs], seed: 1 })
        t.same(onsetsAtMs, [], `${gainDb} dB after ${delayMs} ms${telephone ? ', a telephone at the far end' : ''}`)
      }
    }
    t.end()
  })

  const interruption = says(
    'No, wait a moment please, that is the wrong order. I want to ask about another one.',
    rate,
    'rms',
  )
  const softer = (gainDb: number): Int16Array => interruption.map((v) => Math.round(v * 10 ** (gainDb / 20)))

  t.test(`${rate} Hz: without echo a soft caller interrupts as usual`, (t) => {
    for (const gainDb of [0, -6, -10]) {
      const { onsetsAtMs, commitsAtMs } = call({
        track,
        rate,
        gainDb: NO_ECHO_DB,
        delaysMs: [80],
        seed: 3,
        caller: concatenate(silence(rate, 2500), softer(gainDb)),
      })
      const [onset = NaN] = onsetsAtMs
      const [commit = NaN] = commitsAtMs
      t.ok(onset > 2500 && onset <= 2740, `${gainDb} dB: the agent falls silent at ${onset} ms`)
      // A soft voice that is not known yet needs a quarter more of it.
      t.ok(commit <= 3650, `${gainDb} dB: the turn is taken at ${commit} ms`)
    }
    t.end()
  })

  // In the first seconds after an echo was found a caller must stand out more.
  t.test(`${rate} Hz: a caller louder than the echo interrupts`, (t) => {
    const { onsetsAtMs, commitsAtMs } = call({
      track,
      rate,
      gainDb: -20,
      delaysMs: [80],
      seed: 3,
      caller: concatenate(silence(rate, 2500), interruption),
    })
    const [onset = NaN] = onsetsAtMs
    const [commit = NaN] = commitsAtMs
    t.ok(onset > 2500 && onset <= 2950, `the agent falls silent at ${onset} ms`)
    t.ok(commit <= 3800, `the turn is taken at ${commit} ms`)
    t.end()
  })

  t.test(`${rate} Hz: delayed or lost audio leaves echo recognised`, (t) => {
    for (const what of DISTURBED) {
      for (const ms of [60, 120]) {
        const line = disturbedLine({ track, rate, gainDb: -10 }, what, ms)
        expectTurn(t, call({ ...line, caller: concatenate(silence(rate, SPEAKS_AT_MS), interruption) }), 29_000)
      }
    }
    t.end()
  })

  t.test(`${rate} Hz: keys are detected during the greeting's first word`, (t) => {
    const shape = { sampleRateHz: rate, ms: 100, amplitude: 1500 }
    const keys = [
      [770, 1336],
      [941, 1209],
      [697, 1477],
    ].flatMap((hz) => [tone(hz, shape), silence(rate, 100)])
    const { digits } = call({
      track,
      rate,
      gainDb: NO_ECHO_DB,
      delaysMs: [80],
      seed: 3,
      caller: concatenate(silence(rate, 1300), ...keys),
    })
    t.equal(digits, '5*3')
    t.end()
  })

  // The bench's conversation: of every 5 s the caller talks 2, the agent answers 0.8 s later, and its echo ends 20 ms before the
  // caller's next word.
  for (const track of ['inbound_track', 'both_tracks'] as const)
    t.test(`${rate} Hz, ${track}: callers who answer immediately are heard`, async (t) => {
      const answer = await answerToHear(rate, rate === 8000 ? 'pcma' : 'pcm')
      const frames = await callerFrames(rate)
      const turns = [0, 1, 2, 3]
      const line = new LineEcho(rate, true, track === 'both_tracks')
      const { onsetsAtMs } = callWithAgent({
        track,
        rate,
        vadBank: await loadVads(),
        seed: 1,
        pieces: turns.map((turn) => ({ atMs: 1000 + 5000 * turn + 2800, samples: answer })),
        lastMs: 1000 + 5000 * turns.length,
        delayMsAt: () => 20,
        fork: (played, n) => {
          line.heard(played, played.length)
          const own = n < 50 ? undefined : frames[(n - 50) % frames.length]
          return line.play().map((sample, i) => sample + (own?.[i] ?? 0))
        },
      })
      t.equal(onsetsAtMs.length, turns.length, `onsets at ${onsetsAtMs.join(', ')} ms`)
      for (const turn of turns) {
        const tookMs = (onsetsAtMs[turn] ?? Infinity) - 1000 - 5000 * turn
        t.ok(tookMs > 0 && tookMs <= 120, `turn ${turn}: heard after ${tookMs} ms`)
      }
    })
}

for (const rate of [8000, 16000] as const) {
  for (const gainDb of [0, -10, -20, -30]) {
    t.test(`${rate} Hz, ${gainDb} dB: agents never interrupt themselves`, (t) => {
      for (const [i, delaysMs] of [
        [20, 20, 20, 20, 20],
        [400, 400, 400, 400],
        [20, 60, 40, 80, 50],
        [20, 400, 20, 200, 380],
      ].entries()) {
        t.same(
          call({ track: 'both_tracks', rate, gainDb, delaysMs, seed: 10 + i }).onsetsAtMs,
          [],
          `delays ${delaysMs.join(', ')} ms`,
        )
      }
      t.end()
    })
  }

  t.test(`${rate} Hz: an agent resuming mid-word does not interrupt itself`, (t) => {
    for (let seed = 1; seed <= 4; seed++) {
      const outcome = call({
        track: 'both_tracks',
        rate,
        gainDb: 0,
        delaysMs: [100, 120],
        seed,
        pauseAtMs: 2000 + 110 * seed,
      })
      t.same(outcome.onsetsAtMs, [])
      t.ok(outcome.heard.length > 0)
    }
    t.end()
  })

  t.test(`${rate} Hz: delayed or lost mixed audio hides no caller`, (t) => {
    // Over what is left of the agent a voice is doubtful at first, and takes the turn later for it.
    const interruption = says('No, wait a moment please, that is the wrong order. I want another one.', rate, 'rms')
    for (const what of DISTURBED) {
      for (const ms of what === 'waits' ? [60, 120, 200] : [60, 120]) {
        const line = disturbedLine({ track: 'both_tracks', rate, gainDb: 0 }, what, ms)
        expectTurn(t, call({ ...line, caller: concatenate(silence(rate, SPEAKS_AT_MS), interruption) }), 29_800)
      }
    }
    t.end()
  })

  t.test(`${rate} Hz: a caller as loud as the agent interrupts`, (t) => {
    const interruption = says('No, wait a moment please, that is the wrong order.', rate, 'rms')
    // A voice rises slowly: from its first breath on.
    const startsAt = interruption.findIndex((v) => Math.abs(v) > 300)
    for (const delayMs of [20, 150, 400]) {
      // It depends on the agent's sound of that moment whether the first word is heard, or the second one 500 ms later.
      const took = Array.from({ length: 16 }, (_, i) => {
        const atMs = 8400 + 37 * i
        const { onsetsAtMs } = call({
          track: 'both_tracks',
          rate,
          gainDb: 0,
          delaysMs: [delayMs, delayMs],
          seed: 20 + i,
          caller: concatenate(silence(rate, atMs), interruption),
        })
        return (onsetsAtMs[0] ?? Infinity) - atMs - samplesToMs(startsAt, rate)
      }).toSorted((a, b) => a - b)
      const times = took.map((ms) => ms.toFixed(0)).join(' ')
      // Within a frame: the carrier's tick and the voice's beginning fall where they fall.
      t.ok(Number(took[0]) > -20 && Number(took.at(-1)) <= 600, `${times} ms at a delay of ${delayMs} ms`)
      t.ok(
        took.filter((ms) => ms <= 300).length >= took.length / 3,
        `first words at a delay of ${delayMs} ms: ${times}`,
      )
    }
    t.end()
  })
}

t.test('on a mixed line the backend receives only the caller', (t) => {
  const { heard, onsetsAtMs } = call({ track: 'both_tracks', rate: 16000, gainDb: 0, delaysMs: [60, 60], seed: 5 })
  t.same(onsetsAtMs, [])
  // From the second sentence on: the first 100 ms of a call are spent on finding our own speech in it.
  const rest = heard.subarray(16 * 7000, 16 * 11_000)
  const rms = Math.sqrt(rest.reduce((sum, v) => sum + v * v, 0) / rest.length)
  t.ok(rms < 100, `${rms.toFixed(0)} rms of an agent at about 4000`)
  t.end()
})
