import { GoogleGenAI, Modality } from '@google/genai'
import type { LiveServerMessage, Session } from '@google/genai'
import t from 'tap'
import { GeminiDouble } from '../../src/simulator/vendors/gemini-live-double.js'

/** Checks the double with the vendor's own client: our backend must understand whatever that client understands. */
t.test("the vendor's client holds a conversation with a tool and an interruption", async (t) => {
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
