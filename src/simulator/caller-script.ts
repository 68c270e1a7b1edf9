import { spokenWords } from './spoken-words.js'

/** Behaviour of a simulated caller: steps in order, and rules that react to heard words. */
export interface CallerScript {
  readonly name: string
  readonly rules: readonly CallerRule[]
  readonly steps: readonly CallerStep[]
  /** Pause in ms before a reaction, because people do not answer at once. */
  readonly reactionMs: number
  /** Silence in milliseconds after which the caller takes the next step, or hangs up if no step is left. */
  readonly patienceMs: number
  /** The number of the order that the call is about; null if the caller does not know it. */
  readonly order: string | null
}

export type CallerAct =
  | { readonly type: 'say'; readonly text: string }
  | { readonly type: 'press'; readonly keys: string }
  /** Plays a WAV file into the line. */
  | { readonly type: 'play'; readonly file: string }
  /** Plays the beep of an answering machine. */
  | { readonly type: 'beep' }
  /** Puts the agent on hold: an announcer speaks without a pause for `ms`. */
  | { readonly type: 'hold'; readonly ms: number }
  /** Says `yes` if the last heard order number is the caller's own, or if no number was heard; otherwise says `no`. */
  | { readonly type: 'answer'; readonly yes: string; readonly no: string }
  | { readonly type: 'wait'; readonly ms: number }
  /** Repeats the caller's last words. */
  | { readonly type: 'repeat' }
  | { readonly type: 'hangup' }

export interface CallerStep {
  readonly act: CallerAct
  /** Phrases; the step waits for a turn that contains one of them. Empty: any turn. */
  readonly heard: readonly string[]
  /**
   * Time in ms after the start of the agent's speech at which the caller speaks over the agent. Null: the caller waits
   * for the end of the turn.
   */
  readonly interruptAfterMs: number | null
  /**
   * Pause in milliseconds before this step. The step then runs even if the agent speaks, like a person who continues
   * after a pause. Absent: the step waits for the agent.
   */
  readonly pauseMs?: number
}

export interface CallerRule {
  /** Phrases, at least one of which must be heard; or the required subject of the turn. */
  readonly heard: readonly string[] | 'read-back' | 'status'
  readonly act: CallerAct
  /** Maximum number of times that the rule may fire. */
  readonly timesMax: number
}

/** Every sentence the script may say, so that it can be synthesised before the call. */
export function sentencesOf(script: CallerScript): string[] {
  const sentences = new Set<string>()
  for (const { act } of [...script.rules, ...script.steps]) {
    if (act.type === 'say') sentences.add(act.text)
    if (act.type === 'answer') sentences.add(act.yes).add(act.no)
  }
  return [...sentences]
}

/** Every file the script may play. */
export function filesOf(script: CallerScript): string[] {
  const files = [...script.rules, ...script.steps].map(({ act }) => (act.type === 'play' ? act.file : null))
  return [...new Set(files.filter((file) => file !== null))]
}

/** Announcement while the agent is on hold, without a word that an agent waits for. */
export const HOLD_SENTENCE =
  'Thanks for holding we value your business and remember our wonderful summer sale with carpets and curtains for the whole family and a garden full of flowers'

export function contains(words: string, phrase: string): boolean {
  return words.includes(` ${spokenWords(phrase).join(' ')} `)
}

export function sameAct(a: CallerAct, b: CallerAct): boolean {
  if (a.type === 'say' && b.type === 'say') return a.text === b.text
  return a.type === b.type && a.type !== 'say'
}
