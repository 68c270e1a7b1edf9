import t from 'tap'
import { callWithAgent, DISTURBED } from '../../bench/echo/agent-call.js'
import { answerToHear, callerFrames } from '../../bench/generator/conversation.js'
import { LineEcho } from '../../bench/generator/line-echo.js'
import { call, disturbedLine, says } from '../support/agent-line.js'
import { loadVads } from '../support/media-modules.js'
import { concatenate, silence, tone } from '../support/tones.js'

// The agent's first sentence begins at 1000 ms, and the next each six seconds.
const track = 'inbound_track'
const NO_ECHO_DB = -100

for (const rate of [8000, 16000] as const) {
  t.test(`${rate} Hz: an agent who comes back 10 to 40 dB softer does not interrupt itself`, (t) => {
    for (const gainDb of [-10, -20, -30, -40]) {
      for (const delayMs of [80, 300]) {
        for (const telephone of rate === 8000 ? [false] : [false, true]) {
          const { onsetsAtMs } = call({
            track,
            rate,
            telephone,
            gainDb,
            delaysMs: [delayMs, delayMs, delayMs],
            seed: 1,
          })
          t.same(onsetsAtMs, [], `${gainDb} dB after ${delayMs} ms${telephone ? ', a telephone at the far end' : ''}`)
        }
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

  t.test(`${rate} Hz: where nothing comes back, a soft caller interrupts as if no echo were looked for`, (t) => {
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
      t.ok(commit <= 3500, `${gainDb} dB: the turn is taken at ${commit} ms`)
    }
    t.end()
  })

  // In the first seconds after an echo was found a caller must stand out more.
  t.test(`${rate} Hz: a caller who is louder than what comes back is heard over it`, (t) => {
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

  t.test(`${rate} Hz: audio that waits or is lost on its way does not make our echo a caller`, (t) => {
    for (const what of DISTURBED) {
      for (const ms of [60, 120]) {
        const line = disturbedLine({ track, rate, gainDb: -10 }, what, ms)
        const { onsetsAtMs, commitsAtMs } = call(line)
        t.same([onsetsAtMs, commitsAtMs], [[], []], `${what}, ${ms} ms`)
        const over = call({ ...line, caller: concatenate(silence(rate, 27_000), interruption) })
        t.ok(
          (over.commitsAtMs[0] ?? Infinity) < 29_000,
          `${what}, ${ms} ms: the turn is taken at ${over.commitsAtMs[0]} ms`,
        )
      }
    }
    t.end()
  })

  t.test(`${rate} Hz: keys count over the first word of a greeting`, (t) => {
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
    t.test(`${rate} Hz, ${track}: callers who answer at once are heard at once, and nobody else is`, async (t) => {
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
