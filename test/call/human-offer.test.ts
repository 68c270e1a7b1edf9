import t from 'tap'
import type { Test } from 'tap'
import type { CallSessionOptions } from '../../src/call/call-options.js'
import { escalation, Rig } from './rig.js'

const OFFER = 'To speak to a colleague, press 1 or say yes.'
const offers = { ...escalation, toolFailedText: OFFER }
const DOWN = { error: 'the system answered with an error', status: 500 }

/** A call in which `find_order` has failed with `value`, and the agent has said so. */
function afterFailure(value: unknown = DOWN, overrides: Partial<CallSessionOptions> = {}): Rig {
  const rig = Rig.talking({ escalation: offers, ...overrides })
  rig.heardWords('Where is my order?')
  rig.speak(600)
  rig.run(800)
  rig.toolCall('t1', 'find_order', {}, 2)
  rig.in({ type: 'tool-result', callId: 't1', ok: false, value, error: 'TOOL_HTTP' })
  rig.answer(2, 'sorry', 1500, 'I cannot look that up right now. Goodbye.')
  rig.run(1600)
  return rig
}

/** @returns the outcome, after at most 40 s */
function outcomeOf(rig: Rig): string {
  for (let passed = 0; passed < 40_000 && rig.all('ended').length === 0; passed += 200) {
    rig.run(200)
    const open = rig.all('end-stream').length > 0 && rig.all('ended').length === 0
    if (open) rig.in({ type: 'stream-closed', code: 1000 })
  }
  return rig.only('ended').outcome
}

const marksOf = (rig: Rig): (string | undefined)[][] =>
  rig
    .all('mark')
    .filter(({ name }) => name.startsWith('human-'))
    .map(({ name, detail }) => [name, detail])

t.test('a caller is offered a human when a tool has failed [1]', async (t) => {
  const rig = afterFailure()
  rig.toolCall('e1', 'end_call', { reason: 'all is said' }, 3)
  t.same(rig.texts(), [OFFER])
  rig.run(2000)
  rig.in({ type: 'dtmf', digit: '1' })
  t.match(rig.only('escalate').packet, { reason: 'A tool failed: find_order' })
  t.same(rig.all('end-stream'), [])
  rig.in({ type: 'escalation', step: { type: 'hold' } })
  rig.run(3000)
  rig.in({ type: 'escalation', step: { type: 'bridged', strategy: 'supervision' } })
  rig.in({ type: 'stream-closed', code: 1000 })
  t.equal(outcomeOf(rig), 'escalated')
})

t.test('the offer is accepted and declined in words', async (t) => {
  const words: readonly (readonly [string, string, string | undefined])[] = [
    ['Yes please.', 'human-accepted', 'words'],
    ['Ndiyo.', 'human-accepted', 'words'],
    ['No thank you.', 'human-declined', 'words'],
    ['Hapana.', 'human-declined', 'words'],
  ]
  for (const [said, mark, by] of words) {
    const rig = afterFailure()
    rig.toolCall('e1', 'end_call', {}, 3)
    rig.run(2000)
    rig.heardWords(said, 'c2')
    rig.speak(600)
    rig.run(800)
    t.same(marksOf(rig).at(-1), [mark, by], said)
    t.equal(rig.all('escalate').length, mark === 'human-accepted' ? 1 : 0, said)
  }
})

t.test('a call with a failed tool is not contained without a human', (t) => {
  const ends: Readonly<Record<string, (rig: Rig) => void>> = {
    'no answer': () => undefined,
    'digit 2': (rig) => {
      rig.in({ type: 'dtmf', digit: '2' })
    },
    'hung up': (rig) => {
      rig.in({ type: 'stream-closed', code: 1000 })
    },
  }
  for (const [name, act] of Object.entries(ends)) {
    const rig = afterFailure()
    rig.toolCall('e1', 'end_call', {}, 3)
    rig.run(2000)
    act(rig)
    t.equal(outcomeOf(rig), 'abandoned', name)
    t.match(rig.all('mark').findLast((mark) => mark.name === 'ended')?.detail, /, a tool had failed$/, name)
  }
  t.end()
})

t.test('other words cancel the end of the call', async (t) => {
  const rig = afterFailure()
  rig.toolCall('e1', 'end_call', {}, 3)
  rig.run(2000)
  rig.heardWords('Where is your shop?', 'c2')
  rig.speak(600)
  rig.run(800)
  t.match(
    rig.all('backend-tool-result').find(({ callId }) => callId === 'e1'),
    { ok: false, value: { error: /the call goes on/ } },
  )
  rig.answer(4, 'street', 1000, 'In the main street. Goodbye.')
  rig.run(1500)
  rig.toolCall('e2', 'end_call', {}, 5)
  t.same(rig.texts(), [OFFER], 'it is made once')
  t.equal(outcomeOf(rig), 'abandoned')
})

t.test('a call ends as before if no tool stays failed', (t) => {
  const ends = (t: Test, rig: Rig, outcome: string, message: string): void => {
    rig.toolCall('e1', 'end_call', {}, 9)
    t.same(rig.texts(), [], message)
    t.equal(outcomeOf(rig), outcome, message)
  }
  const recovered = afterFailure()
  recovered.toolCall('t2', 'find_order', {}, 3)
  recovered.in({ type: 'tool-result', callId: 't2', ok: true, value: { status: 'sent' } })
  recovered.answer(4, 'found', 1000, 'It is sent. Goodbye.')
  recovered.run(1500)
  ends(t, recovered, 'contained', 'it succeeded later')
  for (const status of [404, 400, 422])
    ends(t, afterFailure({ error: 'no such order', status }), 'contained', `the API answered with ${status}`)
  ends(t, afterFailure(DOWN, { escalation: null }), 'abandoned', 'an agent without a human')
  t.end()
})

t.test('the record of a failed tool has the status of the API', async (t) => {
  t.match(afterFailure().toolCalls, [{ name: 'find_order', ok: false, error: 'TOOL_HTTP', status: 500 }])
})
