import t from 'tap'
import { GatewayError } from '../../src/core/errors.js'
import { readVoice } from '../../bench/material.js'
import { offlineSchema } from '../../src/agents/offline/offline.js'
import { digitsOf } from '../../src/backends/embedded/dialogue/heard-digits.js'
import { NOISE_WORDS, Understanding, recognisedWords } from '../../src/backends/embedded/dialogue/understanding.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { SpeechClient } from '../../src/speech/speech-client.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { ORDER_LINE } from '../backends/embedded/order-line.js'
import { framesOf, throughMuLaw } from '../backends/embedded/phone-line.js'
import { hasMaterial } from '../support/material.js'
import { concatenate } from '../support/tones.js'

/** One after the other; -12 clips a little. */
const LEVELS_DBFS = [-12, -40, -50]
const NUMBERS = ['4127', '8214', '3056', '6403', '9638', '2750', '1895', '7361']

const dialogue = offlineSchema.parse(ORDER_LINE.offline)
/** Vocabulary of the shipped order line in a call from somebody with these orders. */
const understanding = new Understanding(dialogue)
const grammarOf = (numbers: readonly string[]): string =>
  understanding.grammar({
    intents: Object.keys(dialogue.intents),
    slots: ['order'],
    known: new Map([['order', numbers]]),
    number: { slot: 'order', have: '', partMin: 2 },
  })
const GRAMMAR = grammarOf(NUMBERS)

const silence = (ms: number): Int16Array => new Int16Array(8 * ms)

// One decoder: what it heard before could change what it hears.
const pool = new SpeechPool({ decodersPerThread: 1 })
t.teardown(() => pool.close())
await pool.ready()

/** A person's digits, recorded one by one, at a level; what is louder than full scale is clipped, as by a telephone. */
async function spoken(number: string, dbfs: number, zero = 'digits/0'): Promise<Int16Array> {
  const digits: Int16Array[] = []
  for (const digit of number) {
    digits.push(await readVoice('allison', digit === '0' ? zero : `digits/${digit}`, 8000), silence(60))
  }
  const pcm = concatenate(...digits)
  const gain = 10 ** ((dbfs - levelDbfs(pcm)) / 20)
  const levelled = pcm.map((sample) => Math.max(-32_768, Math.min(32_767, Math.round(sample * gain))))
  return throughMuLaw(concatenate(silence(200), levelled, silence(600)))
}

/**
 * The digits that were heard. On a busy machine the decoder may still be occupied by the utterance before, so a retryable
 * error is tried again.
 */
async function recognise(speech: SpeechClient, pcm: Int16Array, grammar = GRAMMAR, tries = 3): Promise<string> {
  const utterance = speech.startUtterance(grammar, NOISE_WORDS, undefined, { check: understanding.digitCheck(false) })
  for (const frame of framesOf(pcm)) utterance.push(frame)
  try {
    const { text } = await utterance.end()
    return digitsOf(recognisedWords(text, dialogue.digits), dialogue.digits)
  } catch (thrown) {
    if (tries > 1 && thrown instanceof GatewayError && thrown.retryable)
      return recognise(speech, pcm, grammar, tries - 1)
    throw thrown
  }
}

t.test('order numbers are recognised at every loudness', async (t) => {
  if (!hasMaterial(t, 'allison')) return
  const speech = new SpeechClient({ port: pool.openSession() })
  for (const dbfs of LEVELS_DBFS) {
    const heard: string[] = []
    for (const number of NUMBERS) {
      heard.push(await recognise(speech, await spoken(number, dbfs)))
    }
    t.same(heard, NUMBERS, `${dbfs} dBFS`)
  }
  speech.close()
})

t.test('a zero within a number may be an "oh"', async (t) => {
  if (!hasMaterial(t, 'allison')) return
  const speech = new SpeechClient({ port: pool.openSession() })
  for (const number of NUMBERS.filter((number) => number.includes('0')))
    t.equal(await recognise(speech, await spoken(number, -26, 'letters/o')), number)
  speech.close()
})

t.test('a number lost in mid-utterance is recognised at its end', async (t) => {
  if (!hasMaterial(t, 'allison')) return
  const numbers = ['5722', '6571', '5709', '5729', '5282', '1895', '3056', '9638']
  const grammar = grammarOf(numbers)
  const speech = new SpeechClient({ port: pool.openSession() })
  const heard: string[] = []
  for (const number of numbers) heard.push(await recognise(speech, await spoken(number, -26), grammar))
  t.same(heard, numbers)
  speech.close()
})
