import OpenAI from 'openai'
import type { ServerEvent } from 'openai/resources/live/live'
import { LiveWS } from 'openai/resources/live/ws'
import t from 'tap'
import type { Test } from 'tap'
import { OpenAiLiveDouble, delegationFault } from '../../src/vendors/openai/live-double.js'
import { until } from '../support/until.js'

// Checks the double with the vendor's own client: our backend must understand whatever that client understands.

class Client {
  readonly events: ServerEvent[] = []
  readonly ws: LiveWS
  readonly double: OpenAiLiveDouble

  constructor(double: OpenAiLiveDouble) {
    this.double = double
    const client = new OpenAI({ apiKey: 'vendor-client-key', baseURL: double.baseUrl.replace('ws:', 'http:') })
    this.ws = new LiveWS(client)
    this.ws.on('event', (event) => this.events.push(event))
    this.ws.on('error', () => undefined)
  }

  async next<T extends ServerEvent['type']>(type: T, count = 1): Promise<Extract<ServerEvent, { type: T }>> {
    const found = (): ServerEvent | undefined => this.events.filter((event) => event.type === type)[count - 1]
    await until(() => found() !== undefined, 10_000, type)
    return found() as Extract<ServerEvent, { type: T }>
  }

  /** Samples of the model's sound that are not zero. */
  get loud(): number {
    let count = 0
    for (const event of this.events) {
      if (event.type !== 'session.output_audio.delta') continue
      const bytes = Buffer.from(event.delta, 'base64')
      for (let i = 0; i + 1 < bytes.length; i += 2) if (Math.abs(bytes.readInt16LE(i)) > 8) count++
    }
    return count
  }
}

async function client(t: Test): Promise<Client> {
  const double = await OpenAiLiveDouble.start({ key: 'vendor-client-key' })
  const made = new Client(double)
  t.teardown(async () => {
    made.ws.close()
    await double.close()
  })
  await until(() => double.sessions.length > 0, 10_000, 'the session')
  return made
}

const format = { type: 'audio/pcm', rate: 16_000 } as const

t.test("the vendor's client starts a session and hears appended commentary", async (t) => {
  const live = await client(t)
  const { double, ws } = live
  double.script.reply({ say: 'Welcome to the shop.', audioMs: 500 })
  ws.send({ type: 'session.start', session: { model: 'gpt-live-1', audio: { format } } })
  t.match((await live.next('session.started')).session, { status: 'active', model: 'gpt-live-1' })
  ws.send({ type: 'session.commentary.append', content: 'Welcome to the shop.', delegation_id: null })
  await live.next('session.usage.updated')
  t.ok(live.loud > 7000 && live.loud <= 8000, `${live.loud} samples of speech at 16 kHz`)
  const words = live.events.flatMap((event) => (event.type === 'session.output_transcript.delta' ? [event.delta] : []))
  t.equal(words.join(''), 'Welcome to the shop.')
  ws.send({ type: 'session.close' })
  t.equal((await live.next('session.closed')).reason, 'close_requested')
  t.equal(double.session.errors.length, 0)
})

t.test("the vendor's client answers the hosted delegate's function call", async (t) => {
  const live = await client(t)
  const { double, ws } = live
  double.script.reply(
    { calls: [{ callId: 'c1', name: 'lookup_order', args: { orderNumber: '4711' } }] },
    { say: 'On its way.', audioMs: 300 },
  )
  const responses = { model: 'gpt-5.4-mini' }
  ws.send({
    type: 'session.start',
    session: { model: 'gpt-live-1', audio: { format }, delegation: { type: 'responses', responses } },
  })
  await live.next('session.started')
  ws.send({ type: 'response.item.create', item: { type: 'message', role: 'user', content: 'Where is my order?' } })
  ws.send({ type: 'response.create' })
  const call = async (): Promise<Record<string, unknown>> => {
    for (let count = 1; ; count++) {
      const { event } = await live.next('response.event', count)
      const item = event['item'] as Record<string, unknown> | undefined
      if (event['type'] === 'response.output_item.done' && item?.['type'] === 'function_call') return item
    }
  }
  t.match(await call(), { call_id: 'c1', name: 'lookup_order', arguments: '{"orderNumber":"4711"}' })
  ws.send({ type: 'response.create' })
  t.equal((await live.next('error')).error.code, 'missing_tool_output', 'as the Responses API answers')
  ws.send({ type: 'response.item.create', item: { type: 'function_call_output', call_id: 'c1', output: '{}' } })
  ws.send({ type: 'response.create' })
  await live.next('session.usage.updated')
  t.ok(live.loud > 0)
})

t.test('the double refuses invalid events like the service', async (t) => {
  const live = await client(t)
  live.ws.send({ type: 'session.commentary.append', content: 'too early', delegation_id: null })
  t.equal((await live.next('error')).error.code, 'session_not_started')
  live.ws.send({
    type: 'session.start',
    session: { model: 'gpt-live-1', audio: { format, output: { voice: 'nova' } } },
  })
  t.match((await live.next('error', 2)).error, { code: 'invalid_value', param: 'session.audio.output.voice' })
  live.ws.send({ type: 'session.start', session: { model: 'gpt-live-1', audio: { format } } })
  await live.next('session.started')
  live.ws.send({ type: 'session.thinking.append', content: 'x'.repeat(4001), delegation_id: null })
  t.equal((await live.next('error', 3)).error.param, 'content')
})

t.test('a continuous double sends zeros while its model is silent', async (t) => {
  const double = await OpenAiLiveDouble.start({ continuous: true })
  const live = new Client(double)
  t.teardown(async () => {
    live.ws.close()
    await double.close()
  })
  live.ws.send({ type: 'session.start', session: { model: 'gpt-live-1', audio: { format } } })
  await live.next('session.output_audio.delta', 2)
  t.equal(live.loud, 0)
})

const PROCEDURE = 'Ask for the order number first, and read it back digit by digit.'
const POLICY = [
  'You are a voice.',
  'Delegation policy:',
  'Backend tools:',
  '- lookup_order: The state of an order.',
  'Delegate to the backend when:',
  '- They ask for an order.',
  'Do not delegate to the backend when:',
  '- They thank you.',
].join('\n')

t.test("delegation needs the guide's headings and excludes the procedures", (t) => {
  const fault = (instructions: string, model = 'gpt-live-1.1'): string | null =>
    delegationFault({
      model,
      instructions,
      delegation: {
        type: 'responses',
        responses: { model: 'gpt-5.4-mini', instructions: `${PROCEDURE}\n\nBe brief.` },
      },
    })
  t.equal(fault(POLICY), null)
  const before = `${PROCEDURE}\n\nYou cannot use tools yourself. Delegate every request that needs one of these:\n- lookup_order`
  t.match(fault(before), /no heading "Delegation policy:"/, 'as this gateway asked before')
  t.match(fault(POLICY.replace('\nDo not delegate to the backend when:', '')), /no heading "Do not delegate/)
  t.match(fault(`${PROCEDURE}\n${POLICY}`), /the delegate's procedures/)
  t.match(fault(`${POLICY}\n${'x'.repeat(8000)}`), /more than 8000/)
  t.match(fault(POLICY, 'gpt-live-1'), /marker/, 'the first model has wording of its own')
  t.equal(fault(`${POLICY}\n<|SpawnThinking|>`, 'gpt-live-1'), null)
  t.match(fault(`${POLICY}\n<|SpawnThinking|>`), /marker/, 'which no later one has')
  t.end()
})

for (const type of ['responses', 'client'] as const)
  t.test(`procedures in the voice's prompt prevent tool calls (${type})`, async (t) => {
    const live = await client(t)
    const { double, ws } = live
    double.script.callerSays('Where is my order?')
    double.script.reply({ calls: [{ callId: 'c1', name: 'lookup_order', args: {} }] })
    const delegation =
      type === 'client' ? { type } : { type, responses: { model: 'gpt-5.4-mini', instructions: PROCEDURE, tools: [] } }
    ws.send({
      type: 'session.start',
      session: {
        model: 'gpt-live-1.1',
        instructions: `${PROCEDURE}\nDelegate what needs a tool.`,
        audio: { format },
        delegation,
      },
    })
    await live.next('session.started')
    for (const level of [9000, 0])
      ws.send({
        type: 'session.input_audio.append',
        audio: Buffer.from(new Int16Array(16_000).fill(level).buffer).toString('base64'),
      })
    await live.next('session.output_transcript.delta')
    t.equal(double.session.delegations, 0)
    t.equal(double.session.undelegated.length, 1)
  })
