import { z } from 'zod'
import { jsonOrNull } from '../../core/json.js'
import type { ErrorCode } from '../../core/errors.js'
import { isAgentName } from '../../core/ids.js'
import { subscriberNumber } from '../../sautikit/phone.js'
import { errorReply, faultReply, jsonReply } from '../http/reply.js'
import type { HttpStatus, Reply } from '../http/reply.js'
import type { Audit, Operator } from './ops-audit.js'
import type { EdgeOptions } from '../options.js'

/** The caller that a tool is tried for: a number, or empty for a withheld one. */
const fromSchema = z
  .string()
  .max(40)
  .transform((raw, context) => {
    const number = raw === '' ? '' : subscriberNumber(raw)
    if (number !== null) return number
    context.addIssue({ code: 'custom', message: 'is not a number' })
    return z.NEVER
  })

const orderSchema = z.strictObject({
  args: z.record(z.string().max(64), z.unknown()).default({}),
  from: fromSchema.nullable().default(null),
  verified: z.boolean().default(false),
  send: z.boolean().default(false),
})

/** Longest phrase that an operator may hear, characters. */
const SAY_CHARS_MAX = 300

const saySchema = z.strictObject({ text: z.string().trim().min(1).max(SAY_CHARS_MAX) })

const BAD_SAY: Reply = errorReply(
  400,
  'BAD_REQUEST',
  `the body is a JSON object with "text", a phrase of 1 to ${SAY_CHARS_MAX} characters`,
)

const STATUS: Partial<Readonly<Record<ErrorCode, HttpStatus>>> = {
  AGENT_UNKNOWN: 404,
  TOOL_UNKNOWN: 404,
  CAPACITY: 503,
  CALL_REFUSED: 409,
  CALL_FAULT: 502,
  RATE_LIMITED: 429,
}

/** This process's agents, for an operator. */
export class AgentsApi {
  readonly #agents: EdgeOptions['agents']
  readonly #audit: Audit

  constructor({ agents }: Pick<EdgeOptions, 'agents'>, audit: Audit) {
    this.#agents = agents
    this.#audit = audit
  }

  /** `GET /api/agents`: the loaded definitions, redacted, and the agents folder as it is now. */
  async list(): Promise<Reply> {
    return this.#agents === undefined ? NO_AGENTS : jsonReply(await this.#agents.view())
  }

  /**
   * `POST /api/agents/{name}/tools/{tool}`. The arguments and the answer are the operator's and a person's: neither is
   * logged.
   */
  async tryTool(name: string, tool: string, body: Uint8Array, operator: Operator): Promise<Reply> {
    const agents = this.#agents
    const order = orderOf(body)
    const reply =
      agents === undefined
        ? NO_AGENTS
        : order === null
          ? BAD_ORDER
          : await agents.tryTool(name, { tool, ...order }).then(
              (result) => jsonReply(result),
              (thrown: unknown) => refusalOf(thrown),
            )
    const command = order?.send === true ? 'send-tool' : 'try-tool'
    // A name that belongs to nothing makes no line.
    const tried = reply.status === 200 ? { tool } : {}
    this.#audit({ command, ...(isAgentName(name) ? { agent: name } : {}), ...tried }, reply, operator)
    return reply
  }

  /** `POST /api/agents/{name}/say`: a phrase in the agent's voice. The words are not logged. */
  async say(name: string, body: Uint8Array, operator: Operator): Promise<Reply> {
    const agents = this.#agents
    const text = saySchema.safeParse(jsonOrNull(body)).data?.text
    const reply =
      agents === undefined
        ? NO_AGENTS
        : text === undefined
          ? BAD_SAY
          : await agents
              .say(name, text)
              .then(
                (wav): Reply => ({ status: 200, body: wav, contentType: 'audio/wav', headers: [], close: false }),
                refusalOf,
              )
    this.#audit({ command: 'say', ...(isAgentName(name) ? { agent: name } : {}) }, reply, operator)
    return reply
  }
}

const NO_AGENTS: Reply = errorReply(404, 'NOT_FOUND', 'this process shows no agents')

const BAD_ORDER: Reply = errorReply(
  400,
  'BAD_REQUEST',
  'the body is empty or a JSON object with "args" (an object), "from" (E.164, or empty for a withheld number), ' +
    '"verified" and "send" (true or false)',
)

function orderOf(body: Uint8Array): z.output<typeof orderSchema> | null {
  return orderSchema.safeParse(body.byteLength > 0 ? jsonOrNull(body) : {}).data ?? null
}

/** @throws what is no refusal */
function refusalOf(thrown: unknown): Reply {
  return faultReply(thrown, STATUS, { CAPACITY: 5, RATE_LIMITED: 5 })
}
