import t from 'tap'
import { Rig, escalation } from './rig.js'

const rules = { words: { phrases: ['fed up', 'ridiculous'], times: 2 }, vip: 'vip', failures: 2 }

function callerSays(rig: Rig, text: string, itemId: string): void {
  rig.heardWords(text, itemId)
}

function toolEnds(
  rig: Rig,
  callId: string,
  result: { readonly ok: boolean; readonly value: unknown; readonly error?: string },
): void {
  rig.toolCall(callId, 'find_order', {}, 2)
  rig.in({ type: 'tool-result', callId, ...result })
}

t.test('a caller who is upset is escalated, whatever the model says', async (t) => {
  const rig = Rig.talking({ rules, escalation })
  callerSays(rig, 'I am FED UP, really.', 'c1')
  callerSays(rig, 'That fedora is up there.', 'c2')
  t.same(rig.all('escalate'), [], 'once is not twice, and words count as wholes')
  callerSays(rig, 'This is ridiculous!', 'c3')
  t.match(rig.only('escalate').packet, {
    reason: 'The caller is upset.',
    transcript: [{ text: 'Hello.' }, { text: 'I am FED UP, really.' }, {}, {}],
  })
  t.equal(rig.session.state, 'escalating')
})

t.test('a VIP is escalated as soon as the identity is known', async (t) => {
  const rig = Rig.talking({ rules, escalation })
  rig.identity({ accountId: 'AC-1', vip: true })
  toolEnds(rig, 't1', { ok: true, value: { verified: true } })
  t.match(rig.only('escalate').packet, { reason: /VIP/, identity: { accountId: 'AC-1', vip: true } })
})

t.test('failed tools and fixes that did not help count; mistakes of the model do not', async (t) => {
  const rig = Rig.talking({ rules, escalation })
  toolEnds(rig, 't1', { ok: false, value: { error: 'bad' }, error: 'TOOL_ARGUMENTS' })
  toolEnds(rig, 't2', { ok: false, value: { error: 'who are you' }, error: 'TOOL_UNVERIFIED' })
  toolEnds(rig, 't3', { ok: true, value: { noted: true, helped: true } })
  toolEnds(rig, 't4', { ok: false, value: { error: 'down' }, error: 'TOOL_HTTP' })
  t.same(rig.all('escalate'), [])
  toolEnds(rig, 't5', { ok: true, value: { noted: true, helped: false } })
  t.match(rig.only('escalate').packet, { reason: '2 attempts to help have failed.' })
})

t.test('a rule whose escalation failed is not applied again', async (t) => {
  const rig = Rig.talking({ rules, escalation })
  callerSays(rig, 'ridiculous', 'c1')
  callerSays(rig, 'ridiculous', 'c2')
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'no-answer', detail: 'nobody', closed: false } })
  callerSays(rig, 'still ridiculous', 'c3')
  t.equal(rig.all('escalate').length, 1)
})

t.test('an agent without rules does not escalate by itself', async (t) => {
  const rig = Rig.talking({ escalation })
  callerSays(rig, 'this is ridiculous and I am fed up', 'c1')
  t.same(rig.all('escalate'), [])
})

t.test("the proof of a caller's identity is in no record and in no handoff packet", async (t) => {
  const rig = Rig.talking({ escalation, toolNames: ['verify_caller'] })
  rig.toolCall('t1', 'verify_caller', { question: 'id-number', answer: '7386' }, 2)
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: { verified: false } })
  rig.toolCall('t2', 'verify_caller', { question: 'birth-year', answer: '1988' }, 2)
  rig.identity({ accountId: 'AC-1' })
  rig.in({ type: 'tool-result', callId: 't2', ok: true, value: { verified: true } })
  rig.in({ type: 'escalate-requested', reason: 'test' })
  const { packet } = rig.only('escalate')
  t.match(packet, {
    identity: { accountId: 'AC-1' },
    tried: [{ name: 'verify_caller', args: { question: 'id-number', answer: '…' } }, {}],
  })
  t.notMatch(JSON.stringify([packet, rig.toolCalls]), /7386|1988/)
})
