import t from 'tap'
import { parseKeptCall } from '../../src/call/documents/kept-call.js'
import { goesOnWith } from '../../src/workers/kept-call.js'
import type { KeptCall } from '../../src/call/documents/kept-call.js'
import { keptCall } from '../support/kept-call.js'

type Machine = NonNullable<NonNullable<KeptCall['escalation']>['machine']>

const machine: Machine = {
  state: 'none',
  strategy: 'after-stream-dial',
  strategyIndex: 0,
  askedWallMs: 0,
  human: 0,
  lastOutcome: 'failed',
  lastDetail: '',
  settled: false,
  streamClosed: false,
  terminal: false,
  dial: null,
  attemptMs: null,
  owesFarewell: false,
  farewell: { state: 'none', askedMs: null },
  requests: 0,
  hangupTries: 0,
  deadlines: { ring: 1000 },
}
const escalated = (changes: Partial<Machine>, kept: Partial<KeptCall> = {}): KeptCall =>
  keptCall({
    ...kept,
    escalation: {
      history: null,
      packet: null,
      newsSent: { settled: 0, callbacks: 0 },
      machine: { ...machine, ...changes },
    },
  })
const { session } = keptCall()
if (session === null) throw new Error('no session')
const inState = (state: typeof session.state, ending: typeof session.ending = null) =>
  keptCall({ session: { ...session, state, ending } })
const RESULT = { type: 'result' } as NonNullable<KeptCall['result']>

t.test('who goes on with a call follows from its escalation, and from whether it was ending', async (t) => {
  t.equal(goesOnWith(keptCall()), 'agent')
  t.equal(goesOnWith(keptCall({ session: null })), 'agent', 'it was only prepared')
  t.equal(goesOnWith(inState('waiting')), 'agent')
  t.equal(goesOnWith(escalated({ state: 'offering' })), 'agent', 'who was asked about a call back may ask again')
  t.equal(goesOnWith(escalated({ state: 'failed' })), 'agent', 'who was told that nobody came goes on with the agent')

  for (const state of ['pending', 'dialing', 'bridged'] as const) {
    t.equal(goesOnWith(escalated({ state })), 'human', state)
    t.equal(goesOnWith(escalated({ state }, { result: RESULT })), 'human', state)
  }
  t.equal(goesOnWith(escalated({ state: 'failed', owesFarewell: true }, { result: RESULT })), 'human', 'to be told')

  t.equal(goesOnWith(inState('closing')), 'nobody')
  t.equal(goesOnWith(inState('live', { reason: 'agent-goodbye', detail: '' })), 'nobody')
  t.equal(goesOnWith(inState('bridged')), 'nobody', 'without an escalation to ask')
  t.equal(goesOnWith(keptCall({ result: RESULT })), 'nobody')
  t.equal(goesOnWith(escalated({ state: 'failed', owesFarewell: true, terminal: true })), 'nobody', 'hung up')
})

t.test('a kept call is read as it was written, and nothing else is', async (t) => {
  const whole = escalated({
    state: 'dialing',
    dial: { number: '+254720000010', asker: 'voice', sure: true, servedMs: 5 },
  })
  t.same(parseKeptCall(JSON.parse(JSON.stringify(whole))), whole)
  const bad: unknown[] = [
    null,
    'a call',
    [],
    {},
    { ...whole, version: 0 },
    { ...whole, version: 2 },
    { ...whole, streamMs: -1 },
    { ...whole, session: { ...session, version: 1 } },
    { ...whole, session: { ...session, toolsRunning: 5 } },
    { ...whole, escalation: { ...whole.escalation, machine: { ...machine, state: 'flying' } } },
    { ...whole, result: { type: 'fault' } },
    { ...whole, resumed: [{}] },
  ]
  for (const value of bad) t.throws(() => parseKeptCall(value), { code: 'KEPT_CALL_INVALID' }, JSON.stringify(value))
})
