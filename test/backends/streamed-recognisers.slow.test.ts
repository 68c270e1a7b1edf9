import t from 'tap'
import { googleSpeechToText } from '../../src/vendors/google/speech-to-text.js'
import { serviceContext } from '../../src/backends/cascade/service-context.js'
import { KeptSound } from '../../src/backends/cascade/turn-sound.js'
import { GoogleSpeechDouble } from '../../src/vendors/google/speech-double.js'
import { until } from '../support/until.js'

const RATE_HZ = 8000

t.test('a silent gap within a turn keeps its Google stream', async (t) => {
  const double = await GoogleSpeechDouble.start()
  double.script.callerSays('one two three four')
  double.idleMs = 6000
  const recogniser = googleSpeechToText({ baseUrl: double.baseUrl, apiKey: null }).make(
    serviceContext('cascade', () => performance.now(), new AbortController().signal, { inputRateHz: RATE_HZ }),
  )
  t.teardown(async () => {
    recogniser.close()
    await double.close()
  })
  const texts: string[] = []
  recogniser.listen({
    words: () => undefined,
    part: () => undefined,
    final: (_, { text }) => texts.push(text),
    failed: (_, { message }) => t.fail(message),
  })
  await recogniser.open(new AbortController().signal, true)
  const sound = new KeptSound(RATE_HZ)
  const speech = Int16Array.from({ length: RATE_HZ / 2 }, (_, i) => Math.round(9000 * Math.sin(i / 8)))
  recogniser.begin(1, sound)
  const speak = (): void => {
    sound.push(speech)
    recogniser.audio(speech)
  }
  speak()
  await until(() => double.callerAudioMs === 800, 12_000, 'silence, three times')
  speak()
  recogniser.finalize(1, 0)
  await until(() => texts.length === 1, 10_000, 'the text')
  t.same(texts, ['one two three four'])
  t.equal(double.callerAudioMs, 1300, 'and no silence before and after the turn')
})
