import t from 'tap'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import { agentSchema } from '../../src/agents/file/definition.js'
import { CallerIdentity } from '../../src/agents/tools/tool.js'
import type { CallLogRecords } from '../../src/call/documents/log-entry.js'
import { callLogSchema } from '../../src/call/documents/log-entry.js'
import { checkpointSchema } from '../../src/call/documents/checkpoint.js'
import type { SessionResume } from '../../src/call/documents/checkpoint.js'
import type { KeptState } from '../../src/call/documents/kept-call.js'
import { earlierIn, logSince } from '../../src/call/earlier-call.js'
import { ownerOf } from '../../src/call/owner.js'
import { remembered } from '../../src/call/stages.js'
import { stagesSchema } from '../../src/call/stage-definition.js'
import { RESUME_TOOL, VERIFY_TOOL } from '../../src/call/tools/gateway-tools.js'
import { parseCallSid } from '../../src/core/ids.js'
import { promisingCall } from '../../src/campaigns/call-back-row.js'
import { packetOf } from '../../src/workers/main/call/call-continuity.js'
import { calledBack, promisedCall } from '../../src/workers/main/kept-call.js'
import { backendSession, instructionsOf, sessionOptions } from '../../src/workers/worker/call-setup.js'
import type { CallStart } from '../../src/workers/shared/call-messages.js'
import { escalation, Rig } from '../call/rig.js'
import { keptCall, keptState } from '../support/kept-call.js'

/** Part of every fact of the first call. */
const FACT = /SIRI/
type Identity = { readonly account: string } | null
const [OWNER, OTHER] = [{ account: 'A-1' }, { account: 'B-2' }]

const OPTIONS = {
  toolNames: [VERIFY_TOOL, 'find_loan'],
  placed: true,
  handoverTo: { sales: 'for orders' },
  escalation: {
    ...escalation,
    callback: { offerText: 'Shall we?', confirmedText: 'Noted.', refusedText: 'No.', numberKnown: true },
  },
  stages: {
    facts: { loan: { from: ['find_loan.number'] } },
    stages: stagesSchema.parse({
      talk: { instructions: 'Talk.', next: { more: { when: 'they want more' } } },
      more: { instructions: 'More.', next: {} },
    }),
  },
}
const VERIFIES_NOBODY = { ...OPTIONS, toolNames: ['find_loan'] }

/** Whom the first call has verified. `tried`: one answer was right. `another-way`: by an agent that has handed over. */
type First = 'owner' | 'tried' | 'another-way' | 'nobody'

/** A call about a loan, of which each text has a fact. */
function firstCall(first: First, options = OPTIONS): SessionResume {
  const rig = Rig.talking({ ...options, placed: false })
  rig.heardWords('SIRI: I call about my loan.')
  if (first !== 'nobody') {
    rig.toolCall('v1', VERIFY_TOOL, { question: 'town', answer: 'SIRI' })
    const verified = first !== 'tried'
    rig.in({ type: 'tool-result', callId: 'v1', ok: true, value: { verified, answered: ['town'] } })
  }
  if (first === 'owner') rig.identity(OWNER)
  rig.toolCall('t1', 'find_loan', { of: 'loan' })
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: { number: 'SIRI-77', overdue: 'SIRI 5000' } })
  rig.toolCall('g1', 'go_to_stage', { stage: 'more', summary: 'SIRI is overdue' })
  rig.answer(2, 'a2', 500, 'Your loan SIRI is overdue.')
  rig.run(2000)
  return JSON.parse(JSON.stringify(rig.resume)) as SessionResume
}

const HANDED = [{ atMs: 100, from: 'sales', to: 'loans', summary: 'SIRI owes us' }] as const

/** The call back to the caller of `resume`, by each way on which a call becomes another call. */
const WAYS: Readonly<Record<string, (state: KeptState) => KeptState>> = {
  'cut off': (state) => state,
  promised: (state) => promisingCall(promisedCall(state, 'full'), 0),
}

function callBack({ checkpoint, log }: SessionResume, way: string, to: string): KeptState {
  const session = { ...checkpoint, handover: { to: 'sales', summary: 'SIRI owes us' } }
  const kept = keptCall({ session, from: '+254700000001' })
  const state = (WAYS[way] as (state: KeptState) => KeptState)(keptState(kept, { ...log, handovers: [...HANDED] }))
  const callSid = parseCallSid('HD_calledback01')
  return calledBack(state, { callSid, agent: 'loans', direction: 'outbound', from: kept.to, to })
}

const resumeOf = ({ kept, log }: KeptState): SessionResume =>
  ({ checkpoint: kept.session, log, newStream: { streamMs: kept.streamMs, consented: true } }) as SessionResume

const agent = agentSchema.parse({ version: 1, name: 'loans', instructions: 'Help.' })

/** Everything that a model gets when it begins to serve a call. */
function briefing(rig: Rig, resume: SessionResume): unknown {
  const session = { ...rig.session, stages: rig.session.stages, language: '', caller: rig.session.caller }
  const start = {
    agent,
    assets: NO_ASSETS,
    business: null,
    from: '',
    to: '',
    resume,
    backends: [],
  } as unknown as CallStart
  const instructions = instructionsOf(start, 0, session)
  return [
    backendSession(start, { instructions, tools: [] }, session, remembered(rig.session.told), 0),
    sessionOptions(start, { serverVad: false, truncate: true } as never, 0).resumeText,
  ]
}

/** The paths on which a fact can reach the person on the line of a call back, a model, or a human. */
const PATHS: Readonly<Record<string, (rig: Rig, state: KeptState) => unknown>> = {
  'what the model gets when it connects': (rig, state) => briefing(rig, resumeOf(state)),
  resume_conversation: (rig) => {
    rig.toolCall('r1', RESUME_TOOL)
    rig.run(4000)
    return rig.all('backend-tool-result')
  },
  'key 1': (rig) => {
    rig.in({ type: 'dtmf', digit: '1' })
    return rig.all('backend-text')
  },
  'a tool call with the id of the first call': (rig) => {
    rig.toolCall('t1', 'find_loan', { of: 'loan' })
    return rig.all('backend-tool-result')
  },
  'the stage': (rig) => rig.session.stages?.text,
  'a takeover of the call back': (rig) => {
    const resume = { ...rig.resume, newStream: { streamMs: 3000, consented: true } }
    return briefing(new Rig(OPTIONS, resume), resume)
  },
  'an agent that gets the call': (rig) => {
    const { checkpoint, log } = rig.resume
    const handed = [...log.handovers, { atMs: 9000, from: 'sales', to: 'loans', summary: 'They asked who calls.' }]
    const resume = { checkpoint, log: { ...log, handovers: handed } }
    return briefing(new Rig(OPTIONS, resume), resume)
  },
  'a human': (rig) => {
    rig.toolCall('e1', 'escalate_to_human', { reason: 'asked' })
    rig.run(3000)
    return rig.all('escalate')
  },
  'a human, after a takeover': (rig, state) => {
    const { checkpoint, log } = rig.resume
    const packet = {
      version: 1 as const,
      callSid: 'x',
      agent: 'loans',
      reason: '',
      summary: '',
      identity: null,
      at: '',
    }
    const kept = { history: null, newsSent: { settled: 0, callbacks: 0 }, machine: null, packet }
    return packetOf({ ...state, log, kept: { ...state.kept, session: checkpoint, escalation: kept } })
  },
  'a call back that is promised in the call back': (rig) => {
    rig.toolCall('c1', 'request_callback', { note: 'later' })
    return rig.all('callback')
  },
  'answers that were right in the first call': (_, { kept, log }) => {
    const own = logSince(log, earlierIn(kept.session ?? {}, log))
    return [...CallerIdentity.restored(null, own.toolCalls).right].map(() => 'SIRI')
  },
}

/** Who may hear the facts. */
const ROWS: readonly (readonly [first: First, number: 'own' | 'second', now: Identity, told: boolean])[] = [
  ['owner', 'own', null, false],
  ['owner', 'own', OTHER, false],
  ['owner', 'own', OWNER, true],
  ['owner', 'second', null, false],
  ['owner', 'second', OTHER, false],
  ['owner', 'second', OWNER, false],
  ['tried', 'own', null, false],
  ['tried', 'own', OWNER, true],
  ['another-way', 'own', null, false],
  ['another-way', 'own', OWNER, false],
  ['nobody', 'own', null, false],
  ['nobody', 'own', OWNER, true],
]
const TO = { own: '+254700000001', second: '+254700000002' }

/** The call back in mid-call: its greeting was said, and whoever answered has asked who it is. */
function inCallBack(state: KeptState, now: Identity, options = OPTIONS): Rig {
  const rig = new Rig(options, resumeOf(state))
  rig.open()
  rig.ready()
  rig.answer(1, 'g1', 1000, 'Hello, this is the bank. Shall we go on?')
  rig.run(1500)
  rig.heardWords('Hello, who is this?')
  rig.run(500)
  if (now !== null) rig.identity(now)
  return rig
}

const isHeard = (type: string): boolean => type.startsWith('backend-') || /^(announce|escalate|callback)$/.test(type)
const keptOf = ({ kept }: KeptState, rig: Rig): Pick<KeptState, 'kept' | 'log'> => ({
  kept: { ...kept, session: rig.session.checkpoint() },
  log: rig.mirror.records(),
})

for (const way of Object.keys(WAYS))
  for (const [first, number, now, told] of ROWS)
    t.test(`${way}: ${first}, ${number} number, ${now?.account ?? 'nobody'} proves: ${told}`, async (t) => {
      const state = callBack(firstCall(first), way, TO[number])
      for (const [path, take] of Object.entries(PATHS)) {
        const rig = inCallBack(state, now)
        const isGiven = told && (path === 'resume_conversation' || path === 'key 1')
        const text = JSON.stringify(take(rig, state) ?? null)
        t.equal(FACT.test(text), isGiven, `${path}: ${isGiven ? '' : (/.{60}SIRI.{20}/.exec(text)?.[0] ?? '')}`)
        t.equal(rig.session.checkpoint().callBack, isGiven ? 'confirmed' : 'asks', path)
      }
      if (told) return
      // All paths one after the other, at this worker and at the next.
      const rig = inCallBack(state, now)
      const next = (): Rig => {
        const moved = new Rig(OPTIONS, { ...rig.resume, newStream: { streamMs: 9000, consented: true } })
        moved.open()
        moved.ready()
        moved.heardWords('Hello?')
        if (now !== null) moved.identity(now)
        return moved
      }
      for (const each of [() => rig, next]) {
        const one = each()
        for (const take of Object.values(PATHS)) take(one, { ...state, ...keptOf(state, one) })
        const heard = one.log.filter(({ output }) => isHeard(output.type))
        t.notMatch(JSON.stringify(heard), FACT)
      }
    })

t.test('a person who is verified after they agreed gets the conversation', async (t) => {
  const rig = inCallBack(callBack(firstCall('owner'), 'promised', TO.own), null, OPTIONS)
  rig.toolCall('r1', RESUME_TOOL)
  t.match(rig.all('backend-tool-result').at(-1), { ok: true, value: { note: /verify_caller.*resume_conversation/s } })
  rig.in({ type: 'dtmf', digit: '1' })
  t.equal(rig.all('backend-text').filter(({ text }) => text === '1').length, 0, 'a key of a PIN is no second yes')
  rig.identity(OWNER)
  rig.toolCall('r2', RESUME_TOOL)
  t.match(rig.all('backend-tool-result').at(-1), {
    value: { conversation: [{}, { text: /SIRI/ }], toolResults: [{}, { result: { overdue: /SIRI/ } }] },
  })
  t.equal(rig.session.asksToGoOn, false)
  const third = calledBack(keptState(keptCall({ session: rig.session.checkpoint() }), rig.mirror.records()), {
    ...{ callSid: parseCallSid('HD_calledback02'), agent: 'loans', direction: 'outbound' as const },
    ...{ from: '+254709000000', to: TO.own },
  })
  t.same(
    third.kept.session?.earlier?.proof,
    { needs: 'owner', owner: ownerOf(OWNER) },
    'and a third call needs the same',
  )
})

t.test('a fact that somebody proved stays theirs in a third call', async (t) => {
  for (const [now, owner] of [
    [null, ownerOf(OWNER)],
    [OWNER, ownerOf(OWNER)],
    [OTHER, null],
  ] as const) {
    const second = inCallBack(callBack(firstCall('owner'), 'cut off', TO.own), now)
    const third = callBack(second.resume, 'promised', TO.own)
    t.same(third.kept.session?.earlier?.proof, { needs: 'owner', owner })
  }
})

t.test('where an agent verifies nobody, a word is enough', async (t) => {
  const state = callBack(firstCall('nobody', VERIFIES_NOBODY), 'cut off', TO.own)
  const rig = new Rig(VERIFIES_NOBODY, resumeOf(state))
  rig.open()
  rig.ready()
  rig.toolCall('r1', RESUME_TOOL)
  rig.run(4000)
  t.notMatch(JSON.stringify(rig.all('backend-tool-result')), FACT)
  rig.heardWords('Yes, please.')
  rig.toolCall('r2', RESUME_TOOL)
  t.match(JSON.stringify(rig.all('backend-tool-result')), FACT)
  const unproven = new Rig(VERIFIES_NOBODY, resumeOf(callBack(firstCall('owner'), 'cut off', TO.own)))
  unproven.open()
  unproven.ready()
  unproven.heardWords('Yes, please.')
  unproven.toolCall('r1', RESUME_TOOL)
  t.match(unproven.all('backend-tool-result').at(-1), { ok: true, value: { note: /begin anew/ } })
})

t.test('memory belongs to the identity that was verified', async (t) => {
  const options = { caller: { source: 'memory', of: '', withinMs: 800, personal: [], language: null } }
  for (const [owner, now, told] of [
    [ownerOf(OWNER), null, false],
    [ownerOf(OWNER), OTHER, false],
    [ownerOf(OWNER), OWNER, true],
    [undefined, null, false],
    [undefined, OTHER, true], // of an earlier build, which did not note whose it was
  ] as const) {
    const rig = Rig.talking({ ...options, toolNames: [VERIFY_TOOL] })
    const kept = { state: 'found' as const, from: 'memory' as const, values: {}, earlier: { last_loan: 'SIRI' } }
    rig.in({ type: 'caller-known', ...kept, ...(owner === undefined ? {} : { owner }) })
    if (now !== null) rig.identity(now)
    t.equal(FACT.test(JSON.stringify([rig.session.caller.values, rig.session.caller.earlier])), told)
  }
})

/** What a call back takes over of each part of the first call. `kept`: nothing of it is about the person. */
const PARTS: Readonly<Record<string, 'proof' | 'dropped' | 'kept'>> = {
  ...{ version: 'kept', callSid: 'kept', state: 'kept', streamOpenedWallMs: 'kept', greeted: 'dropped' },
  ...{ greetingMs: 'dropped', owed: 'dropped', heard: 'dropped', language: 'kept', silencePrompts: 'dropped' },
  ...{ silent: 'dropped', nextAnnouncement: 'kept', identity: 'dropped', openTranscript: 'dropped' },
  ...{ toolsRunning: 'dropped', waits: 'dropped', ending: 'dropped', handover: 'dropped', escalation: 'dropped' },
  ...{ usage: 'kept', gapMs: 'kept', callBack: 'kept', earlier: 'kept', amd: 'dropped', openClaims: 'dropped' },
  // Personal fields of the look-up need the proof of `caller.personal`.
  ...{ untold: 'kept', privateKeys: 'kept', caller: 'proof' },
  ...{ transcript: 'proof', toolCalls: 'proof', stages: 'proof', facts: 'proof', handovers: 'proof' },
  // Times, verdicts, and phrases that only the record has.
  ...{ turns: 'kept', bargeIns: 'kept', claims: 'kept', dropped: 'kept' },
}

t.test('each part of a call has a row', (t) => {
  const keys = [...Object.keys(checkpointSchema.shape), ...Object.keys(callLogSchema.shape)]
  t.same(Object.keys(PARTS).sort(), keys.sort())
  const state = callBack(firstCall('owner'), 'cut off', TO.own)
  const { log } = state
  const own = logSince(log, earlierIn(state.kept.session ?? {}, log))
  for (const [name, part] of Object.entries(PARTS))
    if (part === 'proof' && name !== 'caller') t.same(own[name as keyof CallLogRecords], [], name)
  const { session } = state.kept
  for (const name of ['handover', 'openClaims', 'silent', 'amd'] as const) t.equal(session?.[name], undefined, name)
  t.notMatch(JSON.stringify(session), FACT)
  t.end()
})
