import { MessageChannel } from 'node:worker_threads'
import t from 'tap'
import { DecoderSet } from '../../src/speech/decoder-set.js'
import { SpeechClient, type Utterance } from '../../src/speech/speech-client.js'
import type { PartlyRecognised, SpeechRefusal } from '../../src/speech/speech-protocol.js'
import { SpeechSession } from '../../src/speech/speech-session.js'

const NUMBER = '#JSGF V1.0; grammar g; public <said> = number;'
const NOISE = '#JSGF V1.0; grammar g; public <said> = noise;'
/** 20 ms at 8 kHz. */
const FRAME = new Int16Array(160).fill(500)

/** A decoder that hears "four one two seven" with `NUMBER` and nothing with any other grammar. */
function fakeDecoder() {
  let grammar = ''
  return {
    lookup_word: (word: string) => word,
    add_words: () => undefined,
    set_config: () => undefined,
    set_grammar: (jsgf: string) => {
      grammar = jsgf
    },
    start: () => undefined,
    stop: () => undefined,
    process_audio: () => undefined,
    get_text: () => (grammar === NUMBER ? 'four one two seven' : ''),
    get_alignment: () => ({ w: [] }),
  }
}

/** Four decoders of one thread, and callers who share them. */
function thread() {
  const refusals: SpeechRefusal[] = []
  const decoders = new DecoderSet(4, {
    onRefusal: (why) => refusals.push(why),
    makeDecoder: () => Promise.resolve(fakeDecoder() as never),
  })
  const engine = { decoders, synthesiser: null, samplesDropped: 0 }
  const clients: SpeechClient[] = []
  const speaker = (grammar: string, ms: number, onPartial?: (soFar: PartlyRecognised) => void): Utterance => {
    const { port1, port2 } = new MessageChannel()
    new SpeechSession(port2, engine)
    const client = new SpeechClient({ port: port1 })
    clients.push(client)
    const utterance = client.startUtterance(grammar, [], onPartial)
    for (let at = 0; at < ms; at += 20) utterance.push(FRAME)
    return utterance
  }
  /** Resolves when the caller's sound so far was decoded. */
  const listened = (grammar: string, ms: number): Promise<Utterance> =>
    new Promise((resolve) => {
      const utterance: Utterance = speaker(grammar, ms, ({ ofMs }) => {
        if (ofMs > ms - 300) resolve(utterance)
      })
    })
  return { decoders, refusals, speaker, listened, close: () => clients.forEach((client) => client.close()) }
}

t.test('a caller among four noisy ones is heard whole [1]', async (t) => {
  const { decoders, refusals, speaker, listened, close } = thread()
  await decoders.prepare()
  const noisy = await Promise.all(Array.from({ length: 4 }, () => listened(NOISE, 2700)))
  t.equal(decoders.stats.leased, 4)
  const heard = await speaker(NUMBER, 1500).end()
  t.equal(heard.text, 'four one two seven')
  noisy.forEach((utterance) => utterance.push(FRAME))
  const outcomes = await Promise.allSettled(noisy.map((utterance) => utterance.end()))
  t.ok(
    outcomes.every((outcome) => outcome.status === 'fulfilled' && outcome.value.text === ''),
    'and the noise has no words, as before',
  )
  t.same(refusals, ['wordless'])
  close()
})

t.test('a caller who speaks keeps the decoder [2]', async (t) => {
  const { decoders, refusals, speaker, listened, close } = thread()
  await decoders.prepare()
  await Promise.all([
    ...Array.from({ length: 2 }, () => listened(NUMBER, 2700)),
    ...Array.from({ length: 2 }, () => listened(NOISE, 1500)),
  ])
  await t.rejects(speaker(NUMBER, 1500).end(), { code: 'SPEECH_BUSY', message: /in time/, retryable: true })
  t.same(refusals, ['late'], 'and the caller is told')
  t.equal(decoders.stats.refused, 1)
  close()
})

t.test('noise that waited gives up its decoder too', async (t) => {
  const { decoders, refusals, speaker, listened, close } = thread()
  await decoders.prepare()
  const first = await Promise.all(Array.from({ length: 4 }, () => listened(NOISE, 2700)))
  await Promise.all(Array.from({ length: 4 }, () => listened(NOISE, 2700)))
  first.forEach((utterance) => utterance.push(FRAME))
  t.equal((await speaker(NUMBER, 900).end()).text, 'four one two seven')
  t.ok(refusals.every((why) => why === 'wordless'))
  close()
})

t.test('a first digit without a decoder is counted', async (t) => {
  const { decoders, refusals, listened, close } = thread()
  await decoders.prepare()
  await Promise.all(Array.from({ length: 4 }, () => listened(NUMBER, 900)))
  const { port1, port2 } = new MessageChannel()
  new SpeechSession(port2, { decoders, synthesiser: null, samplesDropped: 0 })
  const client = new SpeechClient({ port: port1 })
  await new Promise<void>((onLost) => client.startUtterance(NUMBER, [], undefined, { spare: true, onLost }))
  t.same(refusals, ['first-digit'])
  client.close()
  close()
})
