import { z } from 'zod'
import { jsonDepth } from '../../agents/tools/tool-definition.js'
import type { WaitRecord } from '../../call/documents/record.js'
import { TOOL_RESULT_CHARS_MAX } from '../../core/limits.js'

/** Maximum depth of an outcome's JSON. */
const RESULT_DEPTH_MAX = 32

/** Body of a post to a continuation URL, and of a poll's answer. */
export const waitStatusSchema = z.object({
  status: z.enum(['progress', 'succeeded', 'failed'], { error: 'must be progress, succeeded or failed' }),
  result: z
    .unknown()
    .default(null)
    .refine((result) => jsonDepth(result) <= RESULT_DEPTH_MAX, {
      error: `is nested deeper than ${RESULT_DEPTH_MAX} levels`,
    })
    .refine((result) => JSON.stringify(result).length <= TOOL_RESULT_CHARS_MAX, {
      error: `is longer than ${TOOL_RESULT_CHARS_MAX} characters`,
    }),
})
export type WaitStatus = z.output<typeof waitStatusSchema>

/**
 * Answer to a posted outcome.
 * - `taken`: the outcome is accepted.
 * - `repeated`: this outcome was accepted before.
 * - `conflict`: another outcome was accepted before.
 * - `late`: the post came too late, or the wait is unknown.
 * - `unkept`: this node has accepted the outcome, but no other node can read it yet. The sender must post it again.
 */
export type WaitAnswer = 'taken' | 'repeated' | 'conflict' | 'late' | 'unkept'

/** Outcome that the caller has not heard. */
export interface WaitUnheard {
  readonly id: string
  readonly callSid: string
  readonly agent: string
  /** The caller's number in E.164, for a text message; empty if withheld. */
  readonly from: string
  /** Our own number. */
  readonly to: string
  readonly tool: string
  /** Status of the outcome; `expired` if no outcome came. */
  readonly status: WaitRecord['status']
  readonly result: unknown
  /** Calendar time at which the wait began, ISO 8601. */
  readonly startedAt: string
  readonly ms: number
}
