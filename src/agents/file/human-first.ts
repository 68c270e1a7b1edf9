import { agentSchema } from './definition.js'
import type { AgentDefinition, AgentInput } from './definition.js'

/** A dialogue without a model, because the recogniser and the DTMF digits are enough to detect a yes. */
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
 * Returns the agent that talks to a human before a promised call back to a caller. The agent asks if the human takes
 * the call, and then connects the human to the caller. The agent runs on the embedded backend.
 * @param agent  the agent that promised the call back; the variables of the call are filled in
 * @param caller  number of the caller, E.164
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
    // No message is left on an answering machine, because the message would be about a caller.
    outbound: { ...outbound, amd: outbound.amd === null ? made.outbound.amd : { ...outbound.amd, message: null } },
    greeting: callbacks?.humanGreeting ?? null,
  }
}
