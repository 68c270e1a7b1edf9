import type { BackendEvent } from '../backend.js'
import type { ConformanceCheck, Rig } from './harness.js'
import type { Recorder } from './recorder.js'
import { connected, expect, expectEqual, expectTold, pause } from './harness.js'

const GLAD_REPLY = { say: 'Good to hear from you.', audioMs: 1600 }
/**
 * Maximum rounding error of a sound's duration in a service's report, in milliseconds. Services round to whole
 * milliseconds.
 */
const SOUND_TOLERANCE_MS = 5

const STAGE_TOOLS = {
  verify: { name: 'verify_caller', description: 'Verifies.', parameters: { type: 'object', properties: {} } },
  help: { name: 'open_ticket', description: 'Opens a ticket.', parameters: { type: 'object', properties: {} } },
}

/** Checks of the caller's sound and the model's input, turn by turn. */
export const conversationChecks: readonly ConformanceCheck[] = [
  connected('is ready once, and says so before connect resolves', {}, async ({ recorder }) => {
    expectEqual(recorder.all('ready').length, 1, 'ready events')
    await pause(20)
    expectEqual(recorder.all('ready').length, 1, 'ready events later')
  }),
  connected(
    'greets when it is asked to begin',
    {
      agentBegins: true,
      replies: [{ say: 'Welcome to the shop.', audioMs: 600 }],
    },
    async ({ backend, recorder }) => {
      backend.sendText('', { role: 'system', respond: true })
      const done = await recorder.next('turn-done')
      const start = recorder.all('turn-start')[0]
      expect(start !== undefined, 'a turn-start')
      expectEqual(done.generation, start?.generation, 'generation of turn-done')
      expectEqual(done.status, 'completed', 'status')
      const ended = recorder.all('audio-done')[0]
      expect(ended !== undefined, 'an audio-done')
      expectOrder(recorder.events, ['turn-start', 'audio-done', 'turn-done'])
      expect(recorder.audioMs(done.generation) >= 300, `a greeting, got ${recorder.audioMs(done.generation)} ms`)
      for (const piece of recorder.audioPieces) expectEqual(piece.itemId, ended?.itemId, 'item of the audio')
      await recorder.until('the final words', () => finalTexts(recorder, 'agent').length > 0)
      expectEqual(finalTexts(recorder, 'agent').join(' '), 'Welcome to the shop.', 'words of the greeting')
    },
  ),
  connected(
    'answers each utterance of the caller once, with a higher generation each time',
    {
      callerSays: ['first question', 'second question'],
      replies: [{ say: 'First answer.' }, { say: 'Second answer.' }],
    },
    async ({ backend, recorder, vendor, speak }) => {
      await speak(800)
      await recorder.next('turn-done', 1)
      await speak(800)
      await recorder.next('turn-done', 2)
      await recorder.until("both of the caller's texts", () => finalTexts(recorder, 'caller').length >= 2)
      await pause(30)
      expectEqual(finalTexts(recorder, 'caller').join('|'), 'first question|second question', 'words of the caller')
      const starts = recorder.all('turn-start').map((event) => event.generation)
      expectEqual(starts.length, 2, 'answers')
      expect((starts[1] ?? 0) > (starts[0] ?? 0), `generations to rise, got ${starts.join(', ')}`)
      expect(vendor.callerAudioMs >= 1500, `the caller's speech to arrive, got ${vendor.callerAudioMs} ms`)
      expect(recorder.all('usage').length >= 2, 'usage for each answer')
      if (!backend.capabilities.serverVad)
        expectEqual(recorder.all('speech-started').length, 0, 'speech-started without its own VAD')
    },
  ),
  connected(
    'hears a caller who was silent for a long time from the first sound on',
    { callerSays: ['first question', 'second question'], replies: [{ say: 'First.' }, { say: 'Second.' }] },
    async ({ backend, recorder, vendor, speak }) => {
      await speak(800, 1000)
      await recorder.next('turn-done', 1)
      const quiet = new Int16Array((backend.capabilities.inputRateHz * 20) / 1000)
      for (let ms = 0; ms < 3000; ms += 20) backend.pushAudio(quiet, false)
      await pause(30)
      const beforeMs = vendor.callerAudioMs
      await speak(800, 1000)
      await recorder.next('turn-done', 2)
      await recorder.until("both of the caller's texts", () => finalTexts(recorder, 'caller').length >= 2)
      const playedMs = vendor.callerAudioMs - beforeMs
      // If the service detects speech itself, it also needs the audio before the speech.
      const leastMs = backend.capabilities.serverVad ? 1200 : 750
      expect(playedMs >= leastMs, `${leastMs} ms of the second question, got ${playedMs}`)
    },
  ),
  connected(
    'answers a text of the caller, and does not answer a note',
    {
      callerWrites: ['Hello there'],
      replies: [GLAD_REPLY],
    },
    async ({ backend, recorder, vendor, soundMs, has }) => {
      backend.sendText('The caller is a customer of many years.', { role: 'system', respond: false })
      await pause(40)
      expectEqual(recorder.all('turn-start').length, 0, 'answers to a note')
      backend.sendText('Hello there', { role: 'caller', respond: true })
      const done = await recorder.next('turn-done')
      const ms = recorder.audioMs(done.generation)
      const wantedMs = await soundMs(GLAD_REPLY)
      expect(Math.abs(ms - wantedMs) <= SOUND_TOLERANCE_MS, `all of ${wantedMs} ms of sound, got ${ms}`)
      if (has('notes')) expectTold(vendor, 'many years', 'the note to arrive')
      expectTold(vendor, 'Hello there', 'the text to arrive')
    },
  ),
  connected(
    'knows what the gateway said in its place, in order, and does not answer it',
    { callerWrites: ['Hello there', 'Yes'], replies: [GLAD_REPLY, { say: 'Good.' }] },
    async ({ backend, recorder, vendor, has }) => {
      backend.sendText('Hello there', { role: 'caller', respond: true })
      await recorder.next('turn-done')
      backend.sendText('Are you still there?', { role: 'agent', respond: false })
      await pause(40)
      expectEqual(recorder.all('turn-start').length, 1, 'answers before the caller spoke')
      backend.sendText('Yes', { role: 'caller', respond: true })
      await recorder.next('turn-done', 2)
      if (!has('notes')) return
      const told = vendor.texts.join('\n')
      expect(told.includes('Are you still there?'), "the gateway's words to arrive")
      expect(
        told.indexOf('Hello there') < told.lastIndexOf('still there') &&
          told.lastIndexOf('still there') < told.lastIndexOf('Yes'),
        `the words in order, got ${JSON.stringify(told)}`,
      )
    },
  ),
  connected(
    'passes DTMF digits to the model as one entry',
    { replies: [{ say: 'Thank you.' }] },
    async ({ backend, recorder, vendor }) => {
      for (const key of '4711#') backend.dtmf(key)
      await recorder.next('turn-done')
      expectEqual(vendor.texts.filter((text) => text.includes('4711')).length, 1, 'entries of digits')
      expectEqual(vendor.answers, 1, 'answers')
    },
  ),
  connected(
    'calls tools in parallel and goes on when the last one has its result',
    {
      callerWrites: ['Where is my order?'],
      replies: [
        {
          calls: [
            { callId: 'call_a', name: 'lookup_order', args: { orderNumber: '4711' } },
            { callId: 'call_b', name: 'get_account', args: {} },
          ],
        },
        { say: 'Your order is on its way.' },
      ],
    },
    async ({ backend, recorder, vendor }) => {
      backend.sendText('Where is my order?', { role: 'caller', respond: true })
      await recorder.next('tool-call', 2)
      const calls = recorder.all('tool-call')
      expectEqual(
        calls
          .map((call) => call.name)
          .sort()
          .join(),
        'get_account,lookup_order',
        'tools',
      )
      const order = calls.find((call) => call.name === 'lookup_order')
      expectEqual(JSON.stringify(order?.args), '{"orderNumber":"4711"}', 'arguments')
      expect(
        calls.every((call) => call.invalid === undefined),
        'valid arguments',
      )
      // The results are delivered in reverse order, with a pause between two results.
      const [first, second] = [calls[1], calls[0]]
      backend.toolResult(first?.callId ?? '', { ok: true, value: { answer: 'one' } })
      await pause(40)
      expectEqual(vendor.answers, 1, 'answers before the last tool')
      backend.toolResult(second?.callId ?? '', { ok: true, value: { answer: 'two' } })
      await recorder.until('the answer', () =>
        recorder.all('turn-done').some((done) => recorder.audioMs(done.generation) > 0),
      )
      expectEqual(vendor.answers, 2, 'answers')
      expectEqual(vendor.toolAnswers.length, 2, 'tool answers that arrived')
      expect(
        vendor.toolAnswers.some((answer) => answer.text.includes('one')),
        'the first answer to arrive',
      )
    },
  ),
  connected(
    'tells tool calls apart whose service uses one id again',
    {
      callerWrites: ['Where is my order?', 'And the other?', 'And the third?'],
      replies: [
        { calls: [{ callId: 'call_0', name: 'lookup_order', args: { orderNumber: '4711' } }] },
        { say: 'It is on its way.' },
        { calls: [{ callId: 'call_0', name: 'lookup_order', args: { orderNumber: '4712' } }] },
        { say: 'It is packed.' },
        { calls: [{ callId: 'call_0', name: 'lookup_order', args: { orderNumber: '4712' } }] },
        { say: 'It is still packed.' },
      ],
    },
    async ({ backend, recorder, vendor }) => {
      for (const [i, question] of ['Where is my order?', 'And the other?', 'And the third?'].entries()) {
        const spoken = recorder.all('turn-done').filter((done) => recorder.audioMs(done.generation) > 0).length
        backend.sendText(question, { role: 'caller', respond: true })
        const call = await recorder.next('tool-call', i + 1)
        expectEqual(call.args['orderNumber'], i === 0 ? '4711' : '4712', 'arguments')
        backend.toolResult(call.callId, { ok: true, value: { answer: `number ${i}` } })
        await recorder.until(
          'the answer',
          () =>
            recorder.all('turn-done').filter((done) => recorder.audioMs(done.generation) > 0).length > spoken &&
            vendor.toolAnswers.some(({ text }) => text.includes(`number ${i}`)),
        )
      }
      const ids = recorder.all('tool-call').map(({ callId }) => callId)
      expectEqual(new Set(ids).size, 3, 'ids of tool calls')
    },
  ),
  connected(
    'ignores results of unknown tool calls, and second results',
    {
      callerWrites: ['Go'],
      replies: [{ calls: [{ callId: 'call_a', name: 'get_account', args: {} }] }, { say: 'Done.' }],
    },
    async ({ backend, recorder, vendor }) => {
      backend.toolResult('call_nobody', { ok: true, value: 1 })
      backend.sendText('Go', { role: 'caller', respond: true })
      const call = await recorder.next('tool-call')
      backend.toolResult(call.callId, { ok: true, value: { name: 'Wanjiru' } })
      backend.toolResult(call.callId, { ok: true, value: { name: 'too late' } })
      await recorder.until('the answer', () =>
        recorder.all('turn-done').some((done) => recorder.audioMs(done.generation) > 0),
      )
      await pause(40)
      expectEqual(vendor.toolAnswers.length, 1, 'tool answers that arrived')
      expect(vendor.toolAnswers[0]?.text.includes('Wanjiru') === true, 'the first answer to count')
      expectEqual(vendor.answers, 2, 'answers')
    },
  ),
  connected(
    'accepts a tool result that comes a turn later',
    {
      callerSays: ['are you there?'],
      callerWrites: ['Look me up'],
      replies: [
        { calls: [{ callId: 'call_a', name: 'get_account', args: {} }] },
        { say: 'Still looking.' },
        { say: 'Found it.' },
      ],
    },
    async ({ backend, recorder, vendor, speak }) => {
      backend.sendText('Look me up', { role: 'caller', respond: true })
      const call = await recorder.next('tool-call')
      await recorder.next('turn-done')
      const isCancelled = await speaksMeanwhile({ recorder, speak }, call.callId)
      backend.toolResult(call.callId, { ok: true, value: { name: 'Wanjiru' } })
      if (isCancelled()) {
        await pause(50)
        expectEqual(vendor.toolAnswers.length, 0, 'answers to a call that was cancelled')
        return
      }
      await recorder.until('the last words', () => finalTexts(recorder, 'agent').includes('Found it.'))
      expectEqual(vendor.toolAnswers.length, 1, 'tool answers that arrived')
    },
  ),
  connected(
    'goes on with the result of a tool that took digits from the caller meanwhile',
    {
      callerSays: ['four one two seven'],
      callerWrites: ['Look me up'],
      replies: [
        { calls: [{ callId: 'call_a', name: 'get_account', args: {} }] },
        { say: 'Not wanted.' },
        { say: 'Thank you.' },
      ],
    },
    async ({ backend, recorder, vendor, speak }) => {
      backend.sendText('Look me up', { role: 'caller', respond: true })
      const call = await recorder.next('tool-call')
      await recorder.next('turn-done')
      // The gateway asks for a number. The caller presses the digits, and also says them. The model does not get the
      // pressed digits.
      backend.sendText('Please say or key in your number.', { role: 'agent', respond: false })
      const begun = recorder.all('turn-start').length
      recorder.onEvent = (event) => {
        if (event.type === 'turn-start' && recorder.all('turn-start').length === begun + 1)
          backend.interrupt({ itemId: null, playedMs: 0 })
      }
      const isCancelled = await speaksMeanwhile({ recorder, speak }, call.callId)
      backend.toolResult(call.callId, { ok: true, value: { digits: '4127', by: 'keypad' } })
      if (isCancelled()) return
      await recorder.until('the result to arrive', () => vendor.toolAnswers.length === 1)
      await recorder.until('an answer to it', () => recorder.all('turn-done').length > begun + 1)
    },
  ),
  connected(
    'calls an unknown tool like any other, and accepts a failure as its result',
    {
      callerWrites: ['Go'],
      replies: [{ calls: [{ callId: 'call_a', name: 'no_such_tool', args: {} }] }],
    },
    async ({ backend, recorder, vendor, has }) => {
      backend.sendText('Go', { role: 'caller', respond: true })
      const call = await recorder.next('tool-call')
      expectEqual(call.name, 'no_such_tool', 'tool')
      backend.toolResult(call.callId, { ok: false, value: { error: 'There is no such tool.' } })
      await recorder.next('turn-done', 2)
      expectEqual(recorder.all('error').length, 0, 'errors')
      expectEqual(vendor.toolAnswers.length, 1, 'tool answers that arrived')
      if (has('error-words'))
        expect(vendor.toolAnswers[0]?.text.includes('no such tool') === true, 'the reason to arrive')
    },
  ),
  connected(
    'passes the history and earlier tool results to the model when it connects',
    {
      agentBegins: true,
      replies: [{ say: 'It is out for delivery.' }],
      session: {
        history: [
          { role: 'agent', text: 'Welcome to the shop.' },
          { role: 'caller', text: 'Where is my order four seven one one?' },
        ],
        toolLedger: [
          {
            callId: 'call_from_another_backend_with_a_very_long_identifier',
            name: 'lookup_order',
            args: { orderNumber: '4711' },
            ok: true,
            result: { status: 'out for delivery' },
          },
        ],
      },
    },
    async ({ backend, recorder, vendor, has }) => {
      backend.sendText('', { role: 'system', respond: true })
      await recorder.next('turn-done')
      const told = [...vendor.texts, ...vendor.toolAnswers.map((answer) => answer.text)].join('\n')
      const words = has('history') ? ['Welcome to the shop.', 'four seven one one'] : []
      for (const fact of [...words, 'out for delivery']) {
        expect(told.includes(fact), `the model to know ${JSON.stringify(fact)}`)
      }
      expectEqual(recorder.all('tool-call').length, 0, 'tools run again')
    },
  ),
  connected(
    'goes to another stage in mid-session: with its instructions, and its tools where they can be changed',
    {
      callerWrites: ['Hello', 'Help'],
      replies: [{ say: 'Yes.' }, { calls: [{ callId: 'c1', name: 'open_ticket', args: {} }] }],
      session: { tools: [STAGE_TOOLS.verify] },
    },
    async ({ backend, recorder, vendor, has }) => {
      backend.sendText('Hello', { role: 'caller', respond: true })
      await recorder.next('turn-done')
      const stage = 'Stage of this call: help.'
      backend.updateSession({ instructions: `You are a shop. ${stage}`, news: stage, tools: [STAGE_TOOLS.help] })
      backend.sendText('Help', { role: 'caller', respond: true })
      const call = await recorder.next('tool-call')
      expectEqual(call.name, 'open_ticket', 'tool of the stage')
      backend.toolResult(call.callId, { ok: true, value: { ticketId: 'T-1' } })
      if (!has('stages') || vendor.model === undefined) return
      const { instructions, tools } = vendor.model
      expect([instructions, ...vendor.texts].join('\n').includes(stage), 'the model to know its stage')
      const wanted = backend.capabilities.changesTools === false ? 'verify_caller' : 'open_ticket'
      expectEqual(tools.join(), wanted, 'tools of the model')
    },
  ),
  connected(
    "forgets what was said in an earlier stage, but for the caller's last words",
    {
      callerWrites: ['Order four one', 'Help', 'Go on'],
      replies: [{ say: 'Thank you.' }, { say: 'Of course.' }, { say: 'Yes.' }],
    },
    async ({ backend, recorder, vendor, has }) => {
      for (const [turn, text] of ['Order four one', 'Help', 'Go on'].entries()) {
        backend.sendText(text, { role: 'caller', respond: true })
        await recorder.next('turn-done', turn + 1)
        if (text === 'Help') backend.updateSession({ instructions: 'You are a shop.', forget: true })
      }
      expectEqual(recorder.all('error').length, 0, 'errors')
      if (!has('forgetting')) return
      expect(!vendor.texts.includes('Order four one'), 'the first words to be forgotten')
      expectTold(vendor, 'Help', 'the last ones to be known')
    },
  ),
  connected(
    'is told the outcome of a tool that waited while another backend had the call: says it once, asks for nothing',
    {
      agentBegins: true,
      replies: [{ say: 'It is paid.' }],
      session: {
        history: [{ role: 'caller', text: 'I want to pay.' }],
        toolLedger: [
          {
            callId: 'call_of_another',
            name: 'charge',
            args: {},
            ok: true,
            result: { pending: true, note: 'Wait.' },
          },
        ],
      },
    },
    async ({ backend, recorder, vendor, has }) => {
      const outcome = { ok: true, value: { receipt: 'QX1' } }
      if (backend.toolOutcome?.('call_of_another', outcome) !== true)
        backend.sendText('The outcome of charge has come: QX1. Tell the caller.', { role: 'system', respond: true })
      await recorder.next('turn-done')
      expectEqual(recorder.all('tool-call').length, 0, 'tool calls')
      if (!has('notes')) return
      expectEqual(vendor.texts.join('\n').split('QX1').length - 1, 1, 'times that the model has the outcome')
      expectEqual(finalTexts(recorder, 'agent').join(), 'It is paid.', 'what the caller hears')
    },
  ),
  connected(
    'takes new instructions without a fault',
    { callerWrites: ['Hello'], replies: [{ say: 'Yes.' }] },
    async ({ backend, recorder }) => {
      backend.updateSession({ instructions: 'You are brief.' })
      backend.updateSession({ tools: [] })
      backend.sendText('Hello', { role: 'caller', respond: true })
      await recorder.next('turn-done')
      expectEqual(recorder.all('error').length, 0, 'errors')
    },
  ),
]

/**
 * Lets the caller speak while a tool runs, and checks that the caller gets an answer.
 * @returns true if the service cancels the tool call because of the speech
 */
async function speaksMeanwhile(
  { recorder, speak }: Pick<Rig, 'recorder' | 'speak'>,
  callId: string,
): Promise<() => boolean> {
  const begun = recorder.all('turn-start').length
  const isCancelled = (): boolean => recorder.all('tool-cancel').some(({ callIds }) => callIds.includes(callId))
  await speak(600)
  await recorder.until('an answer to the caller', () => recorder.all('turn-start').length > begun || isCancelled())
  return isCancelled
}

function finalTexts(recorder: Recorder, role: 'caller' | 'agent'): string[] {
  return recorder.all('transcript').flatMap((event) => (event.role === role && event.final ? [event.text] : []))
}

function expectOrder(events: readonly BackendEvent[], types: readonly BackendEvent['type'][]): void {
  const places = types.map((type) => events.findIndex((event) => event.type === type))
  expect(
    places.every((place, i) => place >= 0 && (i === 0 || place > (places[i - 1] ?? -1))),
    `${types.join(', ')} in this order, got ${places.join(', ')}`,
  )
}
