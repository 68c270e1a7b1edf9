import t from 'tap'
import { loadFlite } from '../../src/speech/flite.js'
import { LoudspeakerEcho } from '../../src/media/echo/loudspeaker-echo.js'
import { atSpeechLevel, convertRate, dbToGain, type EchoPhone, PhoneLine } from '../../src/simulator/line.js'
import { seededRandom } from '../../src/simulator/random.js'
import { concatenate, framesOf, silence } from '../support/tones.js'

const RATE = 8000
const F = 160
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
    t.test(`${name}: the agent is not taken for a caller, and his delay is known`, async (t) => {
      const echo = new LoudspeakerEcho({ sampleRateHz: RATE })
      const found = callerFoundMs({ phone, echoDb, delayMs, callerDb: null }, echo)
      t.ok(found.length <= 3, `${found.length} frames`)
      t.ok(Math.abs((echo.delayMs ?? Infinity) - delayMs) <= (phone === 'plain' ? 30 : 60), `${echo.delayMs} ms`)
    })

    t.test(`${name}: a caller is found within a second`, async (t) => {
      const callerDb = echoDb + (phone === 'plain' ? 0 : 6)
      const found = callerFoundMs({ phone, echoDb, delayMs, callerDb })
      const before = found.filter((ms) => ms <= CALLER_AT_MS)
      t.ok(before.length <= 3, `${before.length} frames before`)
      const first = found.find((ms) => ms > CALLER_AT_MS) ?? Infinity
      t.ok(first <= CALLER_AT_MS + 1000, `${first} ms`)
      t.ok(found.length >= 50, `${found.length} frames of 150`)
    })
  }

t.test('where nothing comes back no echo is found, and nothing is decided', async (t) => {
  const echo = new LoudspeakerEcho({ sampleRateHz: RATE })
  t.same(callerFoundMs({ phone: 'plain', echoDb: -100, delayMs: 60, callerDb: 0 }, echo), [])
  t.equal(echo.delayMs, null)
})

t.test('whatever comes, figures stay numbers', async (t) => {
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

t.test('a call in the memory of one that has ended knows nothing of it', async (t) => {
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

t.test('memory that is given back twice is given to one call only', async (t) => {
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
