import { type CallerAct, type CallerScript, type CallerStep } from './caller-script.js'
import { PATIENCE_MS, REACTION_MS } from './caller-model.js'

/** When `--interrupt` speaks over the greeting. */
const INTERRUPT_AFTER_MS = 1200

const YES = 'Yes, that is right.'
const NO = 'No.'
const NOTHING_ELSE = 'No, thank you.'
const GOODBYE = 'Goodbye.'

interface OrderCallerOptions {
  /** The number the caller knows; null relies on the number they call from. */
  readonly order: string | null
  /** Speaks over the agent's greeting. */
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
    // None: with rules, a step without a condition waits until they had nothing to do for as long as the patience.
    rules: [],
    steps: [step({ type: 'play', file }), step({ type: 'wait', ms: PATIENCE_MS }), step({ type: 'hangup' })],
  }
}

function step(act: CallerAct, interruptAfterMs: number | null = null): CallerStep {
  return { act, heard: [], interruptAfterMs }
}

/** Someone who wants a person and nothing else. */
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

/** Silence after which the caller takes the next step although the agent's turn was not recognised. */
const SUPPORT_PATIENCE_MS = 1300

/**
 * A caller of the support line who asks a question, asks for the balance and proves who they are (with the answers of
 * the demo shop's first customer), reports a fault that the first fix does not solve, and then asks for a human.
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
      // Interrupts the greeting, as callers do who know it.
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
