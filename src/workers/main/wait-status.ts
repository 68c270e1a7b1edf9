import { z } from 'zod'
import { jsonDepth } from '../../agents/tools/tool-definition.js'
import type { WaitRecord } from '../../call/documents/record.js'
import { TOOL_RESULT_CHARS_MAX } from '../../core/limits.js'

/** How deep the JSON of an outcome may be. */
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
 * Answer to a posted outcome: taken; had already; another one was taken; too late, or nothing waits. `unkept`: this node keeps
 * it and the caller hears it, but no other node could know of it yet: it has to be posted again.
 */
export type WaitAnswer = 'taken' | 'repeated' | 'conflict' | 'late' | 'unkept'

/** An outcome that its caller has not heard. */
export interface WaitUnheard {
  readonly id: string
  readonly callSid: string
  readonly agent: string
  /** The caller's number in E.164, empty when withheld: for a text to them. */
  readonly from: string
  /** Our own number. */
  readonly to: string
  readonly tool: string
  /** `expired`: no outcome came. */
  readonly status: WaitRecord['status']
  readonly result: unknown
  /** Calendar time, ISO 8601. */
  readonly startedAt: string
  readonly ms: number
}
