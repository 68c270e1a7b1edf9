import t from 'tap'
import { END_CALL_TOOL, RESUME_TOOL, RESUME_TOOL_SPEC } from '../../../src/call/gateway-tools.js'
import { loadFlite } from '../../../src/speech/flite.js'
import { SpeechPool } from '../../../src/speech/speech-pool.js'
import { openCall } from './order-line.js'
import type { OpenCall } from './order-line.js'

/** A caller of the order line is rung back, because their call was cut off. */

const GREETING = 'Hello, we were cut off. Shall we go on where we stopped? Say yes, or press 1.'
const pool = new SpeechPool({ decodersPerThread: 1 })
t.teardown(() => pool.close())
const flite = await loadFlite()

function rungBack(): Promise<OpenCall> {
  return openCall(pool, flite, { greeting: GREETING, tools: [RESUME_TOOL_SPEC] })
}

const toolsOf = ({ line }: OpenCall): string[] => line.calls.map(({ name }) => name)

/** What the session does with the call of its tool. */
function confirm(call: OpenCall): void {
  const event = call.line.events.find((one) => one.type === 'tool-call' && one.name === RESUME_TOOL)
  if (event?.type === 'tool-call')
    call.backend.toolResult(event.callId, { ok: true, value: { conversation: [], toolResults: [] } })
}

t.test('a spoken yes confirms, and the dialogue goes on', async (t) => {
  const call = await rungBack()
  t.same(call.line.said, [GREETING])
  t.same(toolsOf(call), [], 'nothing is looked up for whoever answers')
  await call.says('where is my order', /Shall we go on/)
  t.same(toolsOf(call), [], 'before they have confirmed')
  void call.says('yes', /Please ask again where your order is/)
  await call.line.when(() => toolsOf(call).length > 0)
  t.same(toolsOf(call), [RESUME_TOOL])
  confirm(call)
  await call.line.says(/Please ask again where your order is/)
  await call.says('where is my order', /4127 is out for delivery/)
  await call.end()
})

t.test('a spoken no ends the call with a goodbye', async (t) => {
  const call = await rungBack()
  await call.says('no thank you', /Goodbye/)
  await call.line.when(() => toolsOf(call).length > 0)
  t.same(toolsOf(call), [END_CALL_TOOL])
  t.same(call.line.said, [GREETING, 'All right. Goodbye.'])
  await call.end()
})

t.test('a digit that the session took confirms without the tool', async (t) => {
  const call = await rungBack()
  call.backend.sendText('They want to go on.', { role: 'system', respond: false })
  call.backend.sendText('1', { role: 'caller', respond: true })
  await call.line.says(/Please ask again where your order is/)
  t.notOk(toolsOf(call).includes(RESUME_TOOL))
  await call.end()
})
