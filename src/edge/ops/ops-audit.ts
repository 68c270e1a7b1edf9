import { z } from 'zod'
import type { Log } from '../../telemetry/log.js'
import type { Reply } from '../http/reply.js'

/** Token and address of the operator who gave a command. */
export const operatorSchema = z.object({
  /**
   * Token of the request. `OPS_LISTEN_TOKEN`: the route needs the right to listen. `of-numbers`: a token of
   * NUMBERS_FILE. `none`: the port needs no token.
   */
  token: z.enum(['OPS_TOKEN', 'OPS_LISTEN_TOKEN', 'of-numbers', 'none']),
  address: z.string().max(64),
})
export type Operator = z.output<typeof operatorSchema>

interface AuditFields {
  readonly command: string
  /** Node that carries the command out; null if no node has the call; this node if absent. */
  readonly node?: string | null
  /** Call of the command; absent or null if the command is not about a call. */
  readonly call_sid?: string | null
  /** Node that forwarded the command. */
  readonly via?: string
  /** Counts of erased calls and files. Names are never logged. */
  readonly erased?: Readonly<Record<string, number>> | undefined
  /** Number of exported calls. */
  readonly calls?: number | undefined
  readonly agent?: string
  /** Key of a message. */
  readonly key?: string
  readonly tool?: string
  /** Set if the call tries a draft of the agent. */
  readonly tries?: 'draft'
  /** Name of a file in the agents folder. */
  readonly file?: string
  /** Hashes of a file's text before and after the change. The text is never logged. */
  readonly before?: string
  readonly after?: string
}

export type Audit = (fields: AuditFields, reply: Pick<Reply, 'status'>, operator: Operator) => void

/**
 * Makes the audit log, component `audit`. A line is written for each command of an operator, for each fetched
 * recording, and for the beginning and the end of each call from the console. A line contains the command, the
 * operator, the time and the outcome.
 * @param node  name of this node; null without a fleet
 */
export function auditOf(log: Log, node: string | null): Audit {
  return (fields, { status }, { token, address }) => {
    const outcome = status < 400 ? 'done' : status < 500 ? 'refused' : 'failed'
    const line = { node, call_sid: null, ...fields, outcome, status, token_kind: token, address }
    log.component('audit').info(line, 'an operator gave a command')
  }
}
