import { z } from 'zod'
import type { ErrorCode } from '../../core/errors.js'
import { isAgentName } from '../../core/ids.js'
import { subscriberNumber } from '../../sautikit/phone.js'
import { errorReply, faultReply, jsonReply } from '../http/reply.js'
import type { HttpStatus, Reply } from '../http/reply.js'
import type { Audit, Operator } from './ops-audit.js'
import type { EdgeOptions } from '../options.js'

/** Caller of a trial: a number, or empty for a withheld number. */
const fromSchema = z
  .string()
  .max(40)
  .transform((raw, context) => {
    const number = raw === '' ? '' : subscriberNumber(raw)
    if (number !== null) return number
    context.addIssue({ code: 'custom', message: 'is not a number' })
    return z.NEVER
  })

/** Body of `POST /api/agents/{name}/tools/{tool}`. */
export const trialSchema = z.strictObject({
  args: z.record(z.string().max(64), z.unknown()).default({}).describe('Arguments, as a model would send them.'),
  from: fromSchema
    .nullable()
    .default(null)
    .describe(
      "The caller's number; an empty text stands for a withheld number. Default: the number of the agent's `sample`.",
    ),
  verified: z.boolean().default(false).describe('Try it as the verified caller of `sample.identity`.'),
  send: z.boolean().default(false).describe('Send the request even if it may change data.'),
})

/** Maximum length in characters of a phrase that an operator may hear. */
const SAY_CHARS_MAX = 300

/** Body of `POST /api/agents/{name}/say`. */
export const saySchema = z.strictObject({ text: z.string().trim().min(1).max(SAY_CHARS_MAX) })

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

  /** `GET /api/agents`: the loaded definitions, redacted, and the files of the agents folder. */
  async list(): Promise<Reply> {
    return this.#agents === undefined ? NO_AGENTS : jsonReply(await this.#agents.view())
  }

  /** `POST /api/agents/{name}/tools/{tool}`. Arguments and answer may be about a person, so they are not logged. */
  async tryTool(
    name: string,
    tool: string,
    order: z.output<typeof trialSchema> | undefined,
    operator: Operator,
  ): Promise<Reply> {
    const agents = this.#agents
    const reply =
      agents === undefined
        ? NO_AGENTS
        : order === undefined
          ? BAD_ORDER
          : await agents.tryTool(name, { tool, ...order }).then(
              (result) => jsonReply(result),
              (thrown: unknown) => refusalOf(thrown),
            )
    const command = order?.send === true ? 'send-tool' : 'try-tool'
    // The audit log leaves out the name of a tool that does not exist.
    const tried = reply.status === 200 ? { tool } : {}
    this.#audit({ command, ...(isAgentName(name) ? { agent: name } : {}), ...tried }, reply, operator)
    return reply
  }

  /** Answers `POST /api/agents/{name}/say` with a phrase in the agent's voice. The words are not logged. */
  async say(name: string, order: z.output<typeof saySchema> | undefined, operator: Operator): Promise<Reply> {
    const agents = this.#agents
    const reply =
      agents === undefined
        ? NO_AGENTS
        : order === undefined
          ? BAD_SAY
          : await agents
              .say(name, order.text)
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

/** @throws any fault without a status */
function refusalOf(thrown: unknown): Reply {
  return faultReply(thrown, STATUS, { CAPACITY: 5, RATE_LIMITED: 5 })
}
