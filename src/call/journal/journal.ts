import type { JournalHeaderLine, MediaEvent, PlayoutAnswers } from '../documents/journal.js'
import type { Withheld } from '../caller-data.js'
import type { CallInput, CallOutput } from '../events.js'
import type { CallerFrame } from '../turns/frame-figures.js'

/** Header line as it is read. */
export interface JournalHeader extends Omit<JournalHeaderLine, 'journal'> {
  readonly type: 'header'
}

export interface JournalFrame extends CallerFrame {
  readonly atMs: number
}

interface Entry {
  readonly view: PlayoutAnswers
  /** Outputs of the session. */
  readonly out: readonly CallOutput[]
}

export type JournalEntry =
  | (Entry & { readonly type: 'input'; readonly atMs: number; readonly input: CallInput })
  | (Entry & { readonly type: 'frames'; readonly frames: readonly JournalFrame[] })
  | (Entry & { readonly type: 'audio'; readonly atMs: number; readonly itemId: string; readonly generation: number })
  | (Entry & {
      readonly type: 'identity'
      readonly atMs: number
      readonly identity: Readonly<Record<string, unknown>>
      readonly withheld: Withheld | null
    })
  | { readonly type: 'media'; readonly events: readonly MediaEvent[] }

/** True if an output is written and compared. Only requests for a checkpoint are neither written nor compared. */
export function isJournalled(output: CallOutput): boolean {
  return output.type !== 'checkpoint-due'
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** Encodes a step of a figure in `chars` characters of base64, the most significant character first. */
export function encodeStep(step: number, chars: 1 | 2): string {
  const low = BASE64[step & 63] as string
  return chars === 1 ? low : `${BASE64[(step >> 6) & 63] as string}${low}`
}

/** @returns the step; -1 for a character that is not base64 */
export function decodeStep(text: string): number {
  let step = 0
  for (const char of text) {
    const digit = BASE64.indexOf(char)
    if (digit < 0) return -1
    step = step * 64 + digit
  }
  return step
}
