import { Behavior, FunctionResponseScheduling, GoogleGenAI, Modality, ThinkingLevel } from '@google/genai'
import type { FunctionDeclaration, LiveConnectConfig, LiveServerMessage, Session } from '@google/genai'
import t from 'tap'
import type { Test } from 'tap'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { until as untilWithin } from '../support/until.js'

/** Checks the double with the vendor's own client: our backend must understand whatever that client understands. */
t.test("the vendor's client uses a tool and an interruption", async (t) => {
  const double = await GeminiDouble.start({ key: 'vendor-client-key' })
  const messages: LiveServerMessage[] = []
  let look = (): void => undefined
  const until = (condition: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      look = () => {
        if (condition()) resolve()
      }
      look()
    })
  const genai = new GoogleGenAI({ apiKey: 'vendor-client-key', httpOptions: { baseUrl: double.baseUrl } })
  const session: Session = await genai.live.connect({
    model: 'gemini-live',
    config: { responseModalities: [Modality.AUDIO], systemInstruction: 'You answer the phone.' },
    callbacks: {
      onmessage: (message) => {
        messages.push(message)
        look()
      },
    },
  })
  t.teardown(async () => {
    session.close()
    await double.close()
  })
  double.script.reply(
    { calls: [{ callId: 'c1', name: 'lookup_order', args: { orderNumber: '4711' } }] },
    { say: 'On its way.', audioMs: 500 },
    { say: 'A long answer.', audioMs: 5000, paceMs: 10 },
  )
  session.sendClientContent({ turns: [{ role: 'user', parts: [{ text: 'Where is my order?' }] }], turnComplete: true })
  await until(() => messages.some((message) => message.toolCall !== undefined))
  t.match(messages.find((message) => message.toolCall !== undefined)?.toolCall?.functionCalls, [
    { id: 'c1', name: 'lookup_order', args: { orderNumber: '4711' } },
  ])
  session.sendToolResponse({
    functionResponses: [{ id: 'c1', name: 'lookup_order', response: { output: 'out for delivery' } }],
  })
  await until(() => messages.some((message) => message.serverContent?.turnComplete === true))
  const bytes = messages.reduce(
    (sum, message) =>
      sum + Buffer.from(message.serverContent?.modelTurn?.parts?.[0]?.inlineData?.data ?? '', 'base64').length,
    0,
  )
  t.equal(bytes, 500 * 48)
  t.match(double.session.toolAnswers, [{ callId: 'c1', text: /out for delivery/ }])
  const before = messages.length
  session.sendClientContent({ turns: [{ role: 'user', parts: [{ text: 'Talk' }] }], turnComplete: true })
  await until(() => messages.slice(before).some((message) => message.serverContent?.modelTurn !== undefined))
  session.sendClientContent({ turns: [{ role: 'user', parts: [{ text: 'Stop' }] }], turnComplete: false })
  await until(() => messages.some((message) => message.serverContent?.interrupted === true))
})

/** The vendor's client on a session of Gemini 3.8, with what it has received. */
async function talk(t: Test, config: LiveConnectConfig, { double, vertexai = false }: TalkOptions = {}) {
  const service = double ?? (await GeminiDouble.start({ key: KEY }))
  const messages: LiveServerMessage[] = []
  const genai = new GoogleGenAI({ vertexai, apiKey: KEY, httpOptions: { baseUrl: service.baseUrl } })
  const session = await genai.live.connect({
    model: 'gemini-3.8-live',
    config: { responseModalities: [Modality.AUDIO], ...config },
    callbacks: { onmessage: (message) => messages.push(message) },
  })
  t.teardown(async () => {
    session.close()
    if (double === undefined) await service.close()
  })
  const say = (text: string): void =>
    session.sendClientContent({ turns: [{ role: 'user', parts: [{ text }] }], turnComplete: true })
  const turns = (): number => messages.filter((message) => message.serverContent?.turnComplete === true).length
  return { double: service, session, messages, say, turns }
}

interface TalkOptions {
  readonly double?: GeminiDouble
  readonly vertexai?: boolean
}

const KEY = 'vendor-client-key'

const until = (condition: () => boolean): Promise<void> => untilWithin(condition, 20_000, String(condition))

const functions = (...declarations: FunctionDeclaration[]): LiveConnectConfig => ({
  tools: [{ functionDeclarations: declarations }],
})
const call = (callId: string, name: string) => ({ callId, name, args: {} })

t.test("the vendor's client uses blocking and non-blocking calls", async (t) => {
  const { double, session, messages, say, turns } = await talk(
    t,
    functions({ name: 'waits', behavior: Behavior.BLOCKING }, { name: 'goes_on' }),
  )
  double.script.reply(
    { say: 'I am on it.', audioMs: 200, calls: [call('c1', 'goes_on'), call('c2', 'goes_on')] },
    { say: 'Done.', audioMs: 100 },
    { say: 'One moment.', audioMs: 100, calls: [call('c3', 'waits')] },
    { say: 'Here it is.', audioMs: 100 },
  )
  const answer = (id: string, name: string, scheduling?: FunctionResponseScheduling): void =>
    session.sendToolResponse({
      functionResponses: [
        { id, name, response: { output: 1 }, ...(scheduling === undefined ? {} : { scheduling, willContinue: false }) },
      ],
    })
  say('Cancel both')
  await until(() => turns() === 1)
  t.equal(messages.filter(({ toolCall }) => toolCall !== undefined).length, 1, 'the turn ended with open calls')
  answer('c1', 'goes_on', FunctionResponseScheduling.SILENT)
  answer('c2', 'goes_on', FunctionResponseScheduling.WHEN_IDLE)
  await until(() => turns() === 2)
  t.equal(double.script.answers, 2, 'nothing is said about the silent one')
  t.match(double.session.responses, [
    { scheduling: 'SILENT', willContinue: false },
    { scheduling: 'WHEN_IDLE', willContinue: false },
  ])
  say('And the order?')
  await until(() => messages.some(({ toolCall }) => toolCall?.functionCalls?.[0]?.id === 'c3'))
  t.equal(turns(), 2, 'the turn waits for the result')
  answer('c3', 'waits')
  await until(() => turns() === 3)
})

t.test("new input cancels a blocking call of the vendor's client", async (t) => {
  const { double, messages, say } = await talk(
    t,
    functions({ name: 'waits', behavior: Behavior.BLOCKING }, { name: 'goes_on', behavior: Behavior.NON_BLOCKING }),
  )
  double.script.reply({ calls: [call('c1', 'waits'), call('c2', 'goes_on')] })
  say('Where is it?')
  await until(() => messages.some(({ toolCall }) => toolCall !== undefined))
  say('No, wait')
  await until(() => messages.some(({ toolCallCancellation }) => toolCallCancellation !== undefined))
  t.same(messages.find(({ toolCallCancellation }) => toolCallCancellation)?.toolCallCancellation?.ids, ['c1'])
})

t.test('a resumed session lacks messages after the reported one', async (t) => {
  const double = await GeminiDouble.start({ key: KEY })
  t.teardown(() => double.close())
  double.faults.messagesBehind = 2
  const vertex = { double, vertexai: true }
  const first = await talk(t, { sessionResumption: { transparent: true } }, vertex)
  const update = () =>
    first.messages.findLast(({ sessionResumptionUpdate }) => sessionResumptionUpdate)?.sessionResumptionUpdate
  for (let i = 0; i < 50; i++) {
    const data = Buffer.from(Int16Array.of(i, i).buffer).toString('base64')
    first.session.sendRealtimeInput({ audio: { data, mimeType: 'audio/pcm;rate=16000' } })
  }
  await until(() => update() !== undefined)
  // The setup is message 0, so audio messages begin at 1: message 48 has the sample 47.
  t.match(update(), { resumable: true, lastConsumedClientMessageIndex: '48' })
  const handle = update()?.newHandle ?? ''
  await talk(t, { sessionResumption: { transparent: true, handle } }, vertex)
  t.equal(double.session.heard.at(-1), 47)
  t.equal(double.session.heard.length, 96)
  await t.rejects(
    talk(t, { sessionResumption: { transparent: true } }, { double }),
    /transparent parameter is only supported in Gemini Enterprise/,
    "the vendor's client does not send it to the Developer API, so our backend must bear a refusal",
  )
})

t.test("the vendor's client sends transcription hints to the double", async (t) => {
  const { double } = await talk(t, {
    inputAudioTranscription: { languageCodes: ['en-KE', 'sw-KE'], customVocabulary: ['M-Pesa'] },
  })
  t.match(double.session.setup?.inputAudioTranscription, {
    languageCodes: ['en-KE', 'sw-KE'],
    customVocabulary: ['M-Pesa'],
  })
  const genai = new GoogleGenAI({ apiKey: KEY, httpOptions: { baseUrl: double.baseUrl } })
  for (const config of [
    { proactivity: { proactiveAudio: false } },
    { enableAffectiveDialog: true },
    { thinkingConfig: { thinkingLevel: ThinkingLevel.LOW } },
  ]) {
    const code = await new Promise((resolve) => {
      void genai.live.connect({
        model: 'gemini-3.8-live',
        config: { responseModalities: [Modality.AUDIO], ...config },
        callbacks: { onmessage: () => undefined, onclose: ({ code }: { readonly code: number }) => resolve(code) },
      })
    })
    t.equal(code, 1007, JSON.stringify(config))
  }
})

t.test("the double's faults reach the vendor's client", async (t) => {
  const { double, session, messages, say, turns } = await talk(t, functions({ name: 'goes_on' }))
  const { faults } = double
  faults.emptyTurns = 1
  say('Hello')
  await until(() => turns() === 1)
  t.equal(messages.filter(({ serverContent }) => serverContent?.modelTurn !== undefined).length, 0, 'an empty turn')
  faults.callsApart = true
  faults.callAfterMs = 200
  double.script.reply({
    say: 'Let me look.',
    audioMs: 400,
    paceMs: 5,
    calls: [call('c1', 'goes_on'), call('c2', 'goes_on')],
  })
  say('Where is it?')
  await until(() => turns() === 2)
  const ids = messages.flatMap(({ toolCall }) => toolCall?.functionCalls?.map(({ id }) => id) ?? [])
  t.same(ids, ['c1', 'c2', 'c1', 'c2'], 'apart, and twice')
  const lastCall = messages.findLastIndex(({ toolCall }) => toolCall !== undefined)
  t.ok(
    messages.slice(lastCall).some(({ serverContent }) => serverContent?.modelTurn !== undefined),
    'the rest of the word comes after the calls',
  )
  faults.callsApart = false
  faults.callAfterMs = null
  double.script.reply({ say: 'A long answer.', audioMs: 4000, paceMs: 10 })
  say('Talk')
  const before = messages.length
  await until(() => messages.slice(before).some(({ serverContent }) => serverContent?.modelTurn !== undefined))
  double.session.interruptForNothing()
  await until(() => messages.some(({ serverContent }) => serverContent?.interrupted === true))
  faults.deaf = true
  const answers = double.script.answers
  const loud = Buffer.from(new Int16Array(8000).fill(9000).buffer).toString('base64')
  const quiet = Buffer.from(new Int16Array(8000).buffer).toString('base64')
  for (const data of [loud, quiet]) session.sendRealtimeInput({ audio: { data, mimeType: 'audio/pcm;rate=16000' } })
  await until(() => double.session.callerAudioMs === 1000)
  const over = turns()
  say('Hello')
  await until(() => turns() > over)
  t.equal(double.script.answers, answers + 1, 'it hears nothing: only the text is answered')
})
