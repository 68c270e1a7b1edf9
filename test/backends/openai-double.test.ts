import { OpenAIRealtimeWebSocket } from '@openai/agents-realtime'
import t from 'tap'
import { loadFlite } from '../../src/speech/flite.js'
import { energyOf } from '../../src/media/pcm.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { until } from '../support/until.js'

/** Checks the double with the vendor's own client: our backend must understand whatever that client understands. */
async function client(t: {
  teardown: (fn: () => unknown) => unknown
}): Promise<{ readonly double: OpenAiDouble; readonly transport: OpenAIRealtimeWebSocket }> {
  const double = await OpenAiDouble.start({ key: 'vendor-client-key' })
  const transport = new OpenAIRealtimeWebSocket({ url: `${double.baseUrl}/realtime?model=gpt-realtime-2.1` })
  t.teardown(async () => {
    transport.close()
    await double.close()
  })
  await transport.connect({
    apiKey: 'vendor-client-key',
    model: 'gpt-realtime-2.1',
    initialSessionConfig: { instructions: 'You answer the phone.' },
  })
  return { double, transport }
}

t.test("the vendor's client gets sound, words and end of turn", async (t) => {
  const { double, transport } = await client(t)
  double.script.reply({ say: 'Welcome to the shop.', audioMs: 500 })
  let bytes = 0
  transport.on('audio', (event) => {
    bytes += event.data.byteLength
  })
  let words = ''
  transport.on('audio_transcript_delta', (event) => {
    words += event.delta
  })
  const done = new Promise<{ response: { usage: { inputTokens: number } } }>((resolve) =>
    transport.on('turn_done', resolve),
  )
  transport.sendMessage('Hello', {})
  t.equal((await done).response.usage.inputTokens, 20)
  t.equal(bytes, 500 * 48)
  t.equal(words, 'Welcome to the shop.')
  t.equal(double.session.errors.length, 0)
})

t.test("the vendor's client answers a tool call", async (t) => {
  const { double, transport } = await client(t)
  double.script.reply(
    { calls: [{ callId: 'c1', name: 'lookup_order', args: { orderNumber: '4711' } }] },
    { say: 'On its way.' },
  )
  const called = new Promise<{ name: string; arguments: string; callId: string }>((resolve) =>
    transport.on('function_call', resolve),
  )
  transport.sendMessage('Where is my order?', {})
  const call = await called
  t.match(call, { name: 'lookup_order', arguments: '{"orderNumber":"4711"}', callId: 'c1' })
  const spoke = new Promise((resolve) => transport.on('audio_done', resolve as never))
  transport.sendFunctionCallOutput(call as never, '{"status":"out for delivery"}', true)
  await spoke
  t.match(
    double.session.items.find((item) => item.type === 'function_call_output'),
    { call_id: 'c1' },
  )
})

t.test("the vendor's client interrupts and truncates", async (t) => {
  const { double, transport } = await client(t)
  double.script.reply({ say: 'A long answer.', audioMs: 4000, paceMs: 10 })
  const audio = new Promise((resolve) => transport.on('audio', resolve))
  transport.sendMessage('Talk', {})
  await audio
  const done = new Promise((resolve) => transport.on('turn_done', resolve))
  transport.interrupt()
  await done
  t.equal(double.session.truncations.length, 1)
  t.equal(double.session.errors.length, 0)
})

t.test('the double can speak with a synthesised voice', async (t) => {
  const flite = await loadFlite()
  const double = await OpenAiDouble.start({ speaker: (text) => flite.speak(text, 'slt') })
  const transport = new OpenAIRealtimeWebSocket({ url: `${double.baseUrl}/realtime?model=gpt-realtime-2.1` })
  t.teardown(async () => {
    transport.close()
    await double.close()
  })
  await transport.connect({ apiKey: 'any', model: 'gpt-realtime-2.1', initialSessionConfig: {} })
  double.script.reply({ say: 'Your order is out for delivery.' })
  let energy = 0
  let samples = 0
  transport.on('audio', (event) => {
    const pcm = new Int16Array(event.data)
    energy += energyOf(pcm)
    samples += pcm.length
  })
  const done = new Promise<void>((resolve) => transport.on('turn_done', () => resolve()))
  transport.sendMessage('Where is my order?', {})
  await done
  t.ok(samples / 24_000 > 1 && samples / 24_000 < 4, `${samples / 24_000} s of speech`)
  t.ok(Math.sqrt(energy / samples) > 300, 'and it is not silence')
})

t.test("the vendor's client gets the limits and sets current options", async (t) => {
  const { double, transport } = await client(t)
  double.limits = [{ name: 'tokens', limit: 40_000, remaining: 100, reset_seconds: 12.5 }]
  const done = new Promise((resolve) => transport.on('turn_done', resolve))
  const limits = new Promise((resolve) =>
    transport.on('*', (event: { readonly type: string }) => {
      if (event.type === 'rate_limits.updated') resolve(event)
    }),
  )
  transport.updateSessionConfig({
    audio: {
      input: {
        turnDetection: { type: 'server_vad', interruptResponse: false },
        transcription: { model: 'gpt-transcribe', language: 'en' },
      },
    },
  })
  transport.sendMessage('Hello', {})
  t.match(await limits, { rate_limits: [{ name: 'tokens', limit: 40_000, remaining: 100, reset_seconds: 12.5 }] })
  t.match(double.session.config?.audio?.input, { turn_detection: { type: 'server_vad', interrupt_response: false } })
  await done
  t.equal(double.session.errors.length, 0)
})

t.test("the double's faults reach the vendor's client", async (t) => {
  const { double, transport } = await client(t)
  const seen: string[] = []
  transport.on('*', (event: { readonly type: string; readonly call_id?: string }) => {
    if (event.type === 'response.function_call_arguments.done') seen.push(event.call_id ?? '')
    if (event.type === 'response.output_audio.delta') seen.push('sound')
  })
  const ends = (count: number): Promise<void> =>
    new Promise((resolve) => {
      let left = count
      transport.on('turn_done', () => {
        if (--left === 0) resolve()
      })
    })
  double.faults.emptyAnswers = 1
  const empty = ends(1)
  transport.sendMessage('Hello', {})
  await empty
  t.same(seen, [], 'an empty answer')
  double.faults.callAfterMs = 200
  double.faults.callsTwice = true
  double.script.reply({
    say: 'Let me look.',
    audioMs: 400,
    calls: [
      { callId: 'c1', name: 'lookup_order', args: {} },
      { callId: 'c2', name: 'lookup_order', args: {} },
    ],
  })
  const cut = ends(1)
  transport.sendMessage('Where is it?', {})
  await cut
  t.same(seen, ['sound', 'sound', 'c1', 'c1', 'c2', 'c2', 'sound', 'sound'], 'calls in mid-word, each twice')
  double.faults.deaf = true
  const loud = new Int16Array(24_000).fill(9000)
  transport.sendAudio(loud.buffer)
  transport.sendAudio(new Int16Array(24_000).buffer)
  await until(() => double.session.callerAudioMs >= 2000, 10_000, 'the sound')
  const written = ends(1)
  transport.sendMessage('Hello', {})
  await written
  t.equal(double.script.answers, 2, 'it hears nothing: only the text is answered')
})
