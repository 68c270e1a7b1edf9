import { agentSchema } from './definition.js'
import type { AgentDefinition, AgentInput } from './definition.js'

/** Needs no model: the recogniser and the keys are enough for a yes. */
const DIALOGUE: AgentInput['offline'] = {
  version: 1,
  start: 'ask',
  missed: 'leave',
  intents: {
    yes: {
      phrases: ['yes', 'yeah', 'yep', 'sure', 'okay', 'yes please', 'go ahead'],
      typed: ['ndiyo', 'sawa', 'haya'],
      keys: ['1'],
    },
    no: { phrases: ['no', 'not now', 'later', 'no thanks'], typed: ['hapana', 'baadaye'], keys: ['2'] },
  },
  states: {
    ask: { steps: [{ say: '{{greeting}}' }, { listen: { on: { yes: 'join', no: 'leave' } } }] },
    join: {
      steps: [
        { call: { tool: 'escalate_to_human', args: { reason: 'a promised call back' }, failed: 'leave' } },
        { stop: true },
      ],
    },
    leave: {
      steps: [
        { say: { en: 'All right. Goodbye.', sw: 'Sawa. Kwaheri.' } },
        { call: { tool: 'end_call', args: {}, failed: 'leave' } },
        { stop: true },
      ],
    },
  },
}

/**
 * Who talks to a human that is rung before a promised call back is made: asks whether they take it, and puts them through to
 * the caller. Runs on the embedded backend.
 * @param agent  that promised it, with the variables of the call
 * @param caller  whom the human is put through to, E.164
 */
export function humanFirst(agent: AgentDefinition, caller: string): AgentDefinition {
  const { callbacks, escalation, languages, say, stream, voice, outbound } = agent
  const ways = escalation?.strategies.filter((one) => one === 'supervision' || one === 'after-stream-dial') ?? []
  const made = agentSchema.parse({
    version: 1,
    name: agent.name,
    instructions: 'Ask whether they take the call back.',
    languages: [...languages],
    backend: 'embedded',
    offline: DIALOGUE,
    escalation: {
      numbers: [caller],
      ...(ways.length === 0 ? {} : { strategies: ways }),
      ...(escalation === null ? {} : { timeoutS: escalation.timeoutS }),
      announce: { en: 'I am connecting you now.', sw: 'Ninakuunganisha sasa.' },
      failed: { en: 'They do not answer. Goodbye.', sw: 'Hapokei. Kwaheri.' },
      afterFailure: 'goodbye',
    },
  } satisfies AgentInput)
  return {
    ...made,
    ...{ say, stream, voice },
    // An answering machine gets no message about a caller.
    outbound: { ...outbound, amd: outbound.amd === null ? made.outbound.amd : { ...outbound.amd, message: null } },
    greeting: callbacks?.humanGreeting ?? null,
  }
}
