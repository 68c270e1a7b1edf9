import t from 'tap'
import { loadFlite } from '../../src/speech/flite.js'
import { vocabularyOf } from '../../src/simulator/vocabulary.js'
import { agentGrammar } from '../../src/simulator/recogniser.js'
import { rmsOf } from '../../src/carrier/line.js'
import { voicedExtent } from '../../src/carrier/speech-spans.js'
import { numberWords, spokenWords } from '../../src/simulator/spoken-words.js'
import { CALLER_VOICES } from '../../src/carrier/choices.js'
import { speakAs } from '../../src/carrier/caller-voices.js'
import { DocumentRefused, parseVoiceDocument, readStream } from '../../src/carrier/voice-document.js'
import { signBody } from '../../src/carrier/carrier-call.js'

void t.test('every voice has the same level at both rates', async (t) => {
  const flite = await loadFlite()
  for (const voice of CALLER_VOICES) {
    for (const rateHz of [8000, 16000] as const) {
      const pcm = speakAs(flite, 'Where is my order?', voice, rateHz)
      const { from, to } = voicedExtent(pcm, rateHz)
      const levelDbfs = 20 * Math.log10(rmsOf(pcm.subarray(from, to)) / 32_768)
      t.ok(levelDbfs > -25 && levelDbfs < -18, `${voice} at ${rateHz} Hz: ${levelDbfs.toFixed(1)} dBFS`)
      t.ok(from / rateHz < 0.1 && (pcm.length - to) / rateHz < 0.1, 'without the silence around it')
    }
  }
  const digits = speakAs(flite, '4127', 'rms', 8000)
  t.ok(digits.length > 8000 * 1.2, 'long numbers are said digit by digit')
})

void t.test("the recogniser's vocabulary comes from the agent file", (t) => {
  const vocabulary = vocabularyOf(
    `
greeting: Hello, this is the order line.
instructions: You are an agent.
fillers: { phrases: [One moment please.] }
offline:
  maps: { status: { delayed: is running late } }
  intents: { 'yes': { phrases: [that is right] } }
  states:
    say-status:
      steps:
        - set: { reason: Nobody says this. }
        - say: Order {{slots.order}} {{order.status | map:status}}.
        - say: '{{order.courier}} should be with you {{order.eta}}.'
`,
    { orders: ['4127'], etas: ['today'], others: ['PikiPiki'] },
  )
  const { jsgf, words } = agentGrammar(vocabulary, 'known-orders')
  t.match(jsgf, /order <order> <status>/)
  t.match(jsgf, /<other> should be with you <eta>/)
  t.match(jsgf, /<order> = four one two seven;/)
  t.match(jsgf, /<status> = is running late;/)
  t.match(jsgf, /one moment please/)
  t.match(jsgf, /i am sorry we were cut off/, 'and what the gateway says by itself')
  t.match(jsgf, /<digit>\+ is too many digits/, 'what a dialogue says about numbers by default')
  t.notMatch(jsgf, /that is right|nobody says|you are an agent/)
  t.ok(words.includes('pikipiki'))
  t.same(vocabularyOf('{ not: [yaml').sentences, [])
  t.end()
})

void t.test('written text becomes spoken words', (t) => {
  t.same(spokenWords("It's 4127, between 4 and 6 PM."), [
    "it's",
    'four',
    'one',
    'two',
    'seven',
    'between',
    'four',
    'and',
    'six',
    'p',
    'm',
  ])
  t.same(spokenWords('I am here at 9AM'), ['i', 'am', 'here', 'at', 'nine', 'a', 'm'])
  t.same(['7', '12', '20', '45', '07'].map(numberWords), ['seven', 'twelve', 'twenty', 'forty five', 'zero seven'])
  t.end()
})

void t.test('webhooks are signed as documented, in both forms', (t) => {
  const body = '{"kind":"call.completed","event_id":"evt_1"}'
  t.equal(
    signBody(body, 'whsec_test_only', 'timestamped', 1_751_000_000_999),
    't=1751000000,v1=2b7745e15963caed3cf3b60d400915624bb5d780b9b30bb24232275ec4740e82',
  )
  t.equal(
    signBody(body, 'whsec_test_only', 'bare', 0),
    '77bbf4495337d6aac7a7e2b48b89663b47ba75a2a670f7e0b1f4e9fc83c02c40',
  )
  t.end()
})

void t.test('an invalid document is refused, and a bad Stream reported', (t) => {
  const [stream] = parseVoiceDocument(
    '<Response><Stream url="wss://h?x=1&amp;y=2" track="both_tracks" outputSamplingRate="8000"/></Response>',
  )
  t.ok(stream)
  if (stream !== undefined) {
    const complaints: string[] = []
    const request = readStream(stream, (complaint) => complaints.push(complaint))
    t.match(request, { url: 'wss://h?x=1&y=2', outputRateHz: 8000, inputRateHz: 8000, connect: false })
    t.equal(complaints.length, 2, complaints.join('; '))
  }
  for (const bad of [
    '<Response><Say>a & b</Say></Response>',
    '<Response><Shout/></Response>',
    '<Say>x</Say>',
    '<Response><Say><Play/></Say></Response>',
    '',
    '<Response>',
  ]) {
    t.throws(() => parseVoiceDocument(bad), DocumentRefused, bad)
  }
  t.end()
})
