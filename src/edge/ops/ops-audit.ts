import { z } from 'zod'
import type { Log } from '../../telemetry/log.js'
import type { Reply } from '../http/reply.js'

/** Who gave a command. */
export const operatorSchema = z.object({
  /** `OPS_LISTEN_TOKEN`: for listening, which no other allows. `of-numbers`: one that NUMBERS_FILE limits to some numbers. `none`: the port needs none. */
  token: z.enum(['OPS_TOKEN', 'OPS_LISTEN_TOKEN', 'of-numbers', 'none']),
  address: z.string().max(64),
})
export type Operator = z.output<typeof operatorSchema>

interface AuditFields {
  readonly command: string
  /** The node that it is for; null where none has the call. Absent: this one. */
  readonly node?: string | null
  /** Absent or null: of no call. */
  readonly call_sid?: string | null
  /** The node that passed it on. */
  readonly via?: string
  /** How many calls and files were erased. Never which, nor whose. */
  readonly erased?: Readonly<Record<string, number>> | undefined
  /** How many calls were exported. */
  readonly calls?: number | undefined
  readonly agent?: string
  /** Key of a message. */
  readonly key?: string
  readonly tool?: string
  /** The call tries a draft of the agent. */
  readonly tries?: 'draft'
  /** A name in the agents folder. */
  readonly file?: string
  /** Hashes of a file's text, before and after. Never the text. */
  readonly before?: string
  readonly after?: string
}

export type Audit = (fields: AuditFields, reply: Pick<Reply, 'status'>, operator: Operator) => void

/**
 * The audit log: one line for each command of an operator, for each recording that one fetches, and for the beginning and
 * end of each call from the console: what, by whom, when,
 * and its outcome. Component `audit`.
 * @param node  this one
 */
export function auditOf(log: Log, node: string | null): Audit {
  return (fields, { status }, { token, address }) => {
    const outcome = status < 400 ? 'done' : status < 500 ? 'refused' : 'failed'
    const line = { node, call_sid: null, ...fields, outcome, status, token_kind: token, address }
    log.component('audit').info(line, 'an operator gave a command')
  }
}
