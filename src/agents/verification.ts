import { VERIFY_TOOL } from '../call/gateway-tools.js'
import { GatewayError } from '../core/errors.js'
import { TOOL_TEXT_CHARS_MAX } from '../core/limits.js'
import type { CallerIdentity, VerificationAnswer } from './caller-identity.js'
import { HttpTool } from './http-tool.js'
import type { HttpTransport } from './http-transport.js'
import type { Environment } from './environment.js'
import type { ToolParameters } from './parameters.js'
import { plainWords, sameAnswer } from './spoken-values.js'
import type { SpokenWords } from './spoken-values.js'
import type { Tool, ToolContext } from './tool.js'
import type { Verification } from './verification-definition.js'

/** The tool that a model is offered where an agent has a `verification:` section. */
export function verifyToolSpec(verification: Verification): { readonly description: string; readonly parameters: ToolParameters } {
  const asked = verification.questions.map(({ id, ask }) => `${id}: "${ask}"`).join('; ')
  return {
    description: `Checks who the caller is before anything of an account is told. Ask one question at a time, then pass the caller's `
      + `own answer, word for word. Right answers needed: ${verification.required}; wrong ones allowed in a call: ${verification.attempts - 1}. `
      + `Never guess, never suggest an answer, and do not read answers back. Questions: ${asked}`,
    parameters: {
      type: 'object',
      properties: {
        question: { type: 'string', enum: verification.questions.map(({ id }) => id), description: 'Which question was answered.' },
        answer: { type: 'string', maxLength: 200, description: 'What the caller answered; digits as digits.' },
      },
      required: ['question', 'answer'],
    },
  }
}

/**
 * Compares a caller's answers with the account. The right ones never leave this class: a model learns whether an answer
 * was right, and how many it may still try.
 */
export class VerifyTool implements Tool {
  readonly name = VERIFY_TOOL
  readonly timeoutMs: number
  readonly #verification: Verification
  readonly #words: SpokenWords
  readonly #account: HttpTool

  constructor(verification: Verification, env: Environment, transport: HttpTransport) {
    this.#verification = verification
    const plain = (map: Readonly<Record<string, number>>): Record<string, number> =>
      Object.fromEntries(Object.entries(map).map(([key, value]) => [plainWords(key).join(' '), value]))
    this.#words = { numbers: plain(verification.words.numbers), months: plain(verification.words.months) }
    this.timeoutMs = verification.account.http.timeoutMs
    this.#account = accountTool(verification, env, transport)
  }

  /** @throws GatewayError TOOL_UNVERIFIED for a wrong answer, with what the model is told */
  async run(args: Readonly<Record<string, unknown>>, context: ToolContext): Promise<unknown> {
    const { caller } = context
    const turn = caller.turn.then(() => this.#judge(args, context, caller))
    caller.turn = turn.catch(() => undefined) // whoever asked is told; the next one only waits
    return turn
  }

  async #judge(args: Readonly<Record<string, unknown>>, context: ToolContext, caller: CallerIdentity): Promise<VerificationAnswer> {
    const { questions, required, attempts } = this.#verification
    if (caller.verified !== null) return this.#answer(caller, true)
    if (caller.wrong >= attempts) throw this.#refusal(caller, 'Too many wrong answers. Connect the caller to a colleague.', false)
    const question = questions.find(({ id }) => id === args['question'])
    if (question === undefined) throw new GatewayError('TOOL_ARGUMENTS', 'there is no such question')
    if (caller.account === undefined) caller.account = await this.#account.run({}, context)
    const { account } = caller
    if (account === null) throw this.#refusal(caller, 'No account is known for the number of this call. Connect the caller to a colleague.', false)
    const expected = textAt(account, question.field)
    if (expected === null) throw this.#refusal(caller, 'The account has no answer to this question. Ask another one.', false)
    const { dateOrder } = this.#verification
    const answer = String(args['answer']).slice(0, TOOL_TEXT_CHARS_MAX)
    if (!sameAnswer(answer, expected, { kind: question.kind, last: question.last, dateOrder }, this.#words)) {
      caller.wrong++
      if (caller.wrong >= attempts) {
        caller.account = undefined
        throw this.#refusal(caller, 'That is not right either. Too many wrong answers: connect the caller to a colleague.', true)
      }
      throw this.#refusal(caller, 'That is not right. Ask the caller once more, without a hint.', true)
    }
    caller.right.add(question.id)
    if (caller.right.size < required) return this.#answer(caller, false)
    caller.verified = this.#identityOf(account)
    caller.account = undefined
    return this.#answer(caller, true)
  }

  #identityOf(account: unknown): Readonly<Record<string, unknown>> {
    const identity: Record<string, unknown> = {}
    for (const [name, path] of Object.entries(this.#verification.identity)) {
      const value = valueAt(account, path)
      if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') identity[name] = value
    }
    return identity
  }

  #answer(caller: CallerIdentity, verified: boolean): VerificationAnswer {
    return { verified, answered: [...caller.right], attemptsLeft: Math.max(0, this.#verification.attempts - caller.wrong) }
  }

  #refusal(caller: CallerIdentity, error: string, wrong: boolean): VerificationRefused {
    return new VerificationRefused({ ...this.#answer(caller, false), error, ...(wrong ? { wrong } : {}) })
  }
}

/** An answer of the caller's that was not taken; `answer` is what the model is told. */
export class VerificationRefused extends GatewayError {
  readonly answer: VerificationAnswer

  constructor(answer: VerificationAnswer) {
    super('TOOL_UNVERIFIED', 'the caller did not prove who they are')
    this.answer = answer
  }
}

/** The request for what answers are compared with; `run` answers null when there is no account. */
export function accountTool(verification: Verification, env: Environment, transport: HttpTransport): HttpTool {
  return new HttpTool({
    name: VERIFY_TOOL, description: VERIFY_TOOL, parameters: { type: 'object', properties: {}, required: [] }, bind: {},
    // Nothing found is an answer, not an error.
    http: verification.account.http, result: { notFound: null }, idempotent: undefined, requires: undefined, sample: {},
  }, env, transport)
}

/** What an account lacks of what is asked and kept: names of questions and of identity fields. */
export function missingIn(account: unknown, verification: Verification): string[] {
  return [
    ...verification.questions.filter(({ field }) => textAt(account, field) === null).map(({ id, field }) => `question ${id} (${field})`),
    ...Object.entries(verification.identity).filter(([, path]) => valueAt(account, path) === undefined).map(([name, path]) => `identity ${name} (${path})`),
  ]
}

function valueAt(value: unknown, path: string): unknown {
  let at = value
  for (const step of path.split('.')) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return undefined
    at = (at as Readonly<Record<string, unknown>>)[step] // an object with that own member
  }
  return at
}

function textAt(value: unknown, path: string): string | null {
  const found = valueAt(value, path)
  const text = typeof found === 'string' || typeof found === 'number' ? String(found).trim() : ''
  return text === '' ? null : text
}
