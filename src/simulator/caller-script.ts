/** What a simulated caller does: steps in order, and rules that react to what was heard. */
export interface CallerScript {
  readonly name: string
  readonly rules: readonly CallerRule[]
  readonly steps: readonly CallerStep[]
  /** Quiet time before a reaction: people do not answer at once. */
  readonly reactionMs: number
  /** Silence after which the caller goes on with the next step, or hangs up when there is none. */
  readonly patienceMs: number
  /** The order that the call is about, if the caller knows its number. */
  readonly order: string | null
}

export type CallerAct =
  | { readonly type: 'say'; readonly text: string }
  | { readonly type: 'press'; readonly keys: string }
  /** Plays a WAV file into the line. */
  | { readonly type: 'play'; readonly file: string }
  /** Yes if the digits that were heard last are the caller's order (or none were), else no. */
  | { readonly type: 'answer'; readonly yes: string; readonly no: string }
  | { readonly type: 'wait'; readonly ms: number }
  /** Says again what was said last. */
  | { readonly type: 'repeat' }
  | { readonly type: 'hangup' }

export interface CallerStep {
  readonly act: CallerAct
  /** The step waits for a turn in which one of these was heard; empty means any turn. */
  readonly heard: readonly string[]
  /** Speaks over the agent, this long after it began. */
  readonly interruptAfterMs: number | null
}

export interface CallerRule {
  /** Phrases of which one was heard, or what the turn was about. */
  readonly heard: readonly string[] | 'read-back' | 'status'
  readonly act: CallerAct
  /** How often the rule may fire. */
  readonly timesMax: number
}

export const REACTION_MS = 250
export const PATIENCE_MS = 5000

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
