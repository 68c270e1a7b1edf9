import { type CallerAct, type CallerScript, type CallerStep } from './caller-script.js'
import { PATIENCE_MS, REACTION_MS } from './caller-model.js'

/** Time in ms after which `--interrupt` interrupts the greeting. */
const INTERRUPT_AFTER_MS = 1200

const YES = 'Yes, that is right.'
const NO = 'No.'
const NOTHING_ELSE = 'No, thank you.'
const GOODBYE = 'Goodbye.'

interface OrderCallerOptions {
  /** The order number that the caller knows; null: the caller relies on the caller's phone number. */
  readonly order: string | null
  /** True: the caller speaks over the agent's greeting. */
  readonly interrupt: boolean
}

/** Someone who asks where their order is, listens to the answer, says no thank you and hangs up after the goodbye. */
export function orderCaller(options: OrderCallerOptions): CallerScript {
  const opening: CallerAct = { type: 'say', text: options.order ?? 'Where is my order?' }
  const again: CallerAct = options.order === null ? { type: 'repeat' } : opening
  return {
    name: options.order === null ? 'relies on the number they call from' : 'knows the order number',
    order: options.order,
    reactionMs: REACTION_MS,
    patienceMs: PATIENCE_MS,
    rules: [
      { heard: ['goodbye', 'good bye'], act: { type: 'hangup' }, timesMax: 1 },
      { heard: 'read-back', act: { type: 'answer', yes: YES, no: NO }, timesMax: 4 },
      { heard: 'status', act: { type: 'say', text: NOTHING_ELSE }, timesMax: 2 },
      { heard: ['anything else'], act: { type: 'say', text: NOTHING_ELSE }, timesMax: 2 },
      {
        heard: ['order number', 'where your order', 'how can i help', 'what is the number', 'which one', 'and then'],
        act: opening,
        timesMax: 3,
      },
      { heard: ['say that again', 'did not', 'again', 'cannot hear', 'still there', 'sorry'], act: again, timesMax: 3 },
    ],
    steps: [
      step(opening, options.interrupt ? INTERRUPT_AFTER_MS : null),
      step({ type: 'answer', yes: YES, no: NO }),
      step({ type: 'say', text: NOTHING_ELSE }),
      step({ type: 'say', text: GOODBYE }),
      step({ type: 'hangup' }),
    ],
  }
}

/** Plays one recording after the greeting, listens, and hangs up. */
export function recordedCaller(file: string): CallerScript {
  return {
    name: 'plays a recording',
    order: null,
    reactionMs: REACTION_MS,
    patienceMs: 2 * PATIENCE_MS,
    // Rules are absent: with rules, a step without a condition would wait until no rule has fired for the whole
    // patience.
    rules: [],
    steps: [step({ type: 'play', file }), step({ type: 'wait', ms: PATIENCE_MS }), step({ type: 'hangup' })],
  }
}

function step(act: CallerAct, interruptAfterMs: number | null = null): CallerStep {
  return { act, heard: [], interruptAfterMs }
}

/** Caller who knows nothing about the agent: asks for help, hears an answer, says goodbye and hangs up. */
export function anyCaller(): CallerScript {
  return {
    name: 'asks for help and says goodbye',
    order: null,
    reactionMs: REACTION_MS,
    patienceMs: PATIENCE_MS,
    rules: [{ heard: ['goodbye', 'good bye'], act: { type: 'hangup' }, timesMax: 1 }],
    steps: [
      step({ type: 'say', text: 'Hello. Can you help me, please?' }),
      step({ type: 'say', text: `${NOTHING_ELSE} ${GOODBYE}` }),
      step({ type: 'hangup' }),
    ],
  }
}

/** Caller who only wants to speak to a person. */
export function humanSeeker(): CallerScript {
  const wish: CallerAct = { type: 'say', text: 'I want to talk to a person.' }
  return {
    name: 'asks for a person',
    order: null,
    reactionMs: REACTION_MS,
    patienceMs: 2 * PATIENCE_MS,
    rules: [
      { heard: ['goodbye', 'good bye'], act: { type: 'hangup' }, timesMax: 1 },
      {
        heard: ['order number', 'where your order', 'how can i help', 'say that again', 'did not'],
        act: wish,
        timesMax: 2,
      },
    ],
    steps: [step(wish), step(wish), step({ type: 'wait', ms: 3 * PATIENCE_MS }), step({ type: 'hangup' })],
  }
}

/** Silence in ms after which the caller takes the next step even if the agent's turn was not recognised. */
const SUPPORT_PATIENCE_MS = 1300

/**
 * Caller of the support line. The caller asks a question. Then the caller asks for the balance, and answers the agent's
 * questions as the demo shop's first customer. The caller reports a fault that the first fix does not solve, and then
 * asks for a human.
 */
export function supportCaller(): CallerScript {
  const on = (act: CallerAct, ...heard: string[]): CallerStep => ({ act, heard, interruptAfterMs: null })
  return {
    name: 'has a question, a balance and a broken line',
    order: null,
    reactionMs: REACTION_MS,
    patienceMs: SUPPORT_PATIENCE_MS,
    rules: [
      { heard: ['goodbye', 'good bye'], act: { type: 'hangup' }, timesMax: 1 },
      { heard: ['did not catch', 'could you say that again'], act: { type: 'repeat' }, timesMax: 3 },
    ],
    steps: [
      // Callers who already know the greeting interrupt it.
      { act: { type: 'say', text: 'What are your opening hours?' }, heard: [], interruptAfterMs: INTERRUPT_AFTER_MS },
      on({ type: 'say', text: 'What is my balance?' }, 'anything else'),
      on({ type: 'press', keys: '7386' }, 'your id number', 'last four digits'),
      on({ type: 'press', keys: '5291' }, 'customer number'),
      on({ type: 'say', text: 'My internet is not working.' }, 'anything else'),
      on({ type: 'say', text: 'Okay, done.' }, 'switch the router off', 'say done'),
      on({ type: 'say', text: 'No, it is not.' }, 'working now'),
      // Interrupts the description of the next fix.
      { act: { type: 'say', text: 'I want to speak to a human.' }, heard: [], interruptAfterMs: INTERRUPT_AFTER_MS },
      on({ type: 'wait', ms: 3 * PATIENCE_MS }, 'connecting you'),
      on({ type: 'hangup' }),
    ],
  }
}
