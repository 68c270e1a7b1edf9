import { chartRangeSchema } from '../../call/documents/call-charts.js'
import { callSearchSchema } from '../../call/documents/call-search.js'
import { z } from 'zod'
import { AGENT_FILE_BYTES_MAX, OPS_LIST_MAX } from '../../core/limits.js'
import { CALL_OUTCOMES } from '../../call/documents/record.js'
import { operatorSchema } from './ops-audit.js'
import { CALL_COMMANDS, CALL_VIEWS } from './ops-api.js'

/** Maximum number of our numbers in a request that limits a list to their calls. */
const LISTED_NUMBERS_MAX = 5000
export const SEARCH_CHARS_MAX = 200

/** Commands for a whole node. */
export const NODE_COMMANDS = ['drain', 'cordon', 'uncordon'] as const
export type NodeCommand = (typeof NODE_COMMANDS)[number]

const callSid = z.string().max(64)
/** Name of a file. It is compared exactly with the names of the folder's files. */
export const editedFileSchema = z.string().min(1).max(255).describe('Name of a file, as `GET /api/editor` lists it.')
export const editedTextSchema = z
  .string()
  .refine((text) => Buffer.byteLength(text) <= AGENT_FILE_BYTES_MAX)
  .describe(`Text of the file, at most ${AGENT_FILE_BYTES_MAX / 1024} KiB.`)
export const textHashSchema = z.string().regex(/^[0-9a-f]{16}$/)
/** Maximum number of texts that a publication may replace: the kept texts, and the text that was opened. */
const BASES_MAX = 64

/** Request from one node to another on behalf of an operator. */
export const requestSchema = z.discriminatedUnion('what', [
  z.object({ what: z.literal('status') }),
  z.object({
    what: z.literal('list'),
    limit: z.int().min(1).max(OPS_LIST_MAX),
    outcome: z.enum(CALL_OUTCOMES).nullable().default(null),
    numbers: z.array(z.string().max(20)).max(LISTED_NUMBERS_MAX).nullable().default(null),
    search: z.string().max(SEARCH_CHARS_MAX).nullable().default(null),
  }),
  z.object({
    what: z.literal('find'),
    search: callSearchSchema,
    cursor: z.object({ id: z.int(), node: z.string().max(200) }).nullable(),
    limit: z.int().min(1).max(OPS_LIST_MAX),
    numbers: z.array(z.string().max(20)).max(LISTED_NUMBERS_MAX).nullable(),
  }),
  z.object({
    what: z.literal('chart'),
    range: chartRangeSchema,
    numbers: z.array(z.string().max(20)).max(LISTED_NUMBERS_MAX).nullable(),
  }),
  /**
   * `left`: also asks for a record that an earlier run of the asked node has left; another node may still keep this
   * record. `leaves`: the asking node drops its own record of the call if the asked node keeps its record.
   */
  z.object({
    what: z.literal('call'),
    callSid,
    left: z.boolean().default(false),
    leaves: z.boolean().default(false),
  }),
  z.object({
    what: z.literal('view'),
    callSid,
    view: z.enum(CALL_VIEWS),
    part: z.int().min(1).nullable().default(null),
  }),
  z.object({
    what: z.literal('call-command'),
    callSid,
    command: z.enum(CALL_COMMANDS),
    body: z.string(),
    operator: operatorSchema,
  }),
  z.object({ what: z.literal('hear'), callSid, id: z.uuid(), operator: operatorSchema }),
  z.object({ what: z.literal('session-ended'), id: z.string().max(64), expiresS: z.int().min(0) }),
  z.object({ what: z.literal('edited') }),
  z.object({
    what: z.literal('publish-agent'),
    file: editedFileSchema,
    text: editedTextSchema,
    bases: z.array(textHashSchema).max(BASES_MAX),
    operator: operatorSchema,
  }),
  z.object({ what: z.literal('node-command'), command: z.enum(NODE_COMMANDS), operator: operatorSchema }),
])
export type OpsRequest = z.output<typeof requestSchema>
export type CallRequest = Extract<OpsRequest, { readonly callSid: string }>
