import t from 'tap'
import { CallerIdentity } from '../../../src/agents/tool.js'
import { EmbeddedBackend } from '../../../src/backends/embedded/embedded-backend.js'
import { textIn } from '../../../src/call/phrase.js'
import { loadFlite } from '../../../src/speech/flite.js'
import { SpeechClient } from '../../../src/speech/speech-client.js'
import { SpeechPool } from '../../../src/speech/speech-pool.js'
import { AMINA, contextOf, openLine } from '../../agents/support-line.js'
import { Line, speakInto } from './order-line.js'

t.setTimeout(120_000)

const pool = new SpeechPool({ decodersPerThread: 1 })
t.teardown(() => pool.close())
await pool.ready()
const flite = await loadFlite()
const support = await openLine('support')
t.teardown(() => support.close())

/** A spoken call on the support line, with its real tools. */
async function call(from: string) {
  const speech = new SpeechClient({ port: pool.openSession(), reopen: async () => pool.openSession() })
  const line = new Line()
  const caller = new CallerIdentity()
  const backend = new EmbeddedBackend(
    {
      event: (event) => {
        line.event(event)
        if (event.type !== 'tool-call' || event.name === 'escalate_to_human' || event.name === 'end_call') return
        void support.tools
          .run(event.name, event.args, contextOf(from, { caller, idempotencyKey: `HD_000000000001:${event.callId}` }))
          .then(({ ok, value }) => backend.toolResult(event.callId, { ok, value }))
      },
      audio: (pcm, rateHz, itemId) => line.audio(pcm, rateHz, itemId),
    },
    { speech },
  )
  await backend.connect(
    {
      callSid: 'HD_000000000001',
      agent: 'support',
      from,
      to: '+254700000100',
      instructions: '',
      greeting: textIn(support.agent.greeting ?? '', 'en'),
      tools: [],
      language: 'en',
      languages: ['en'],
      voice: 'slt',
      history: [],
      toolLedger: [],
      offline: support.agent.offline,
      resume: null,
    },
    new AbortController().signal,
  )
  backend.sendText('The call is open.', { role: 'system', respond: true })
  await line.when(() => line.said.length > 0)
  return {
    line,
    backend,
    caller,
    says: async (text: string, answer: RegExp, voice = 'rms'): Promise<void> => {
      const before = line.said.length
      speakInto(backend, line, flite, text, voice)
      await line.says(answer, before)
    },
    end: async () => {
      await backend.close('test over')
      speech.close()
    },
  }
}

t.test('a spoken question, a spoken and a keyed proof, the balance, and a fix', async (t) => {
  const { line, backend, caller, says, end } = await call(AMINA)
  await says('what are your opening hours', /open every day from 7 in the morning/)
  await says('what is my balance', /last four digits of your ID number/, 'awb')
  let before = line.said.length
  for (const key of '7386') backend.dtmf(key)
  await line.says(/last four digits of your customer number/, before)
  before = line.said.length
  for (const key of '5291') backend.dtmf(key)
  await line.says(/Your plan is Home 20, and your balance is KES 350/, before)
  t.match(caller.verified, { accountId: 'AC-1001' })
  t.same(
    line.heard.filter((text) => /^[•\d]+$/.test(text)),
    ['••••', '••••'],
    'the transcript has dots in place of what was keyed',
  )
  await says('my internet is not working', /switch the router off/)
  await says('okay done', /working now/, 'awb')
  await says('no it is not', /cable at the back/)
  t.match(line.calls.at(-1), { name: 'note_fix', args: { helped: false } })
  await end()
})

t.test('small talk that no grammar has is not taken for a wish to speak to a human', async (t) => {
  for (const small of ['lovely weather today', 'let me think about it']) {
    const { line, backend, end } = await call(AMINA)
    const before = line.said.length
    speakInto(backend, line, flite, small, 'rms')
    await line.when(() => line.said.length > before)
    t.notOk(
      line.calls.some(({ name }) => name === 'escalate_to_human'),
      `${small}: ${line.said.at(-1) ?? ''}`,
    )
    await end()
  }
})
