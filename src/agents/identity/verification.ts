import { valueAt } from '../../core/json.js'
import { VERIFY_TOOL } from '../../call/tools/gateway-tools.js'
import { GatewayError } from '../../core/errors.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'
import { plainWords } from '../../call/spoken/spoken-numbers.js'
import { valueFault } from '../../call/tools/value-fault.js'
import { TOOL_TEXT_CHARS_MAX } from '../../core/limits.js'
import type { ErrorCode } from '../../core/errors.js'
import type { CallerIdentity, Tool, ToolContext, VerificationAnswer } from '../tools/tool.js'
import { HttpTool } from '../tools/http-tool.js'
import type { HttpClient } from '../../http/http-client.js'
import type { Environment } from '../file/template.js'
import type { ToolParameters } from '../tools/json-schema.js'
import { givesAway, sameAnswer } from '../tools/spoken-values.js'
import type { AnswerRule, SpokenWords } from '../tools/spoken-values.js'
import { countDistinct, sameField } from '../file/definition.js'
import type { Verification } from '../file/definition.js'
import type { Verdict } from './verification-lock.js'

/**
 * Returns a question in quotes: `"What is your name?"`, or, with several languages, `en "What is your name?", sw "Jina
 * lako ni nani?"`.
 */
function quoted(question: LocalizedText): string {
  if (typeof question === 'string') return `"${question}"`
  return Object.entries(question)
    .map(([language, text]) => `${language} "${text}"`)
    .join(', ')
}

/** Returns the tool with which a model verifies a caller, for an agent that has a `verification:` section. */
export function verifyToolSpec(verification: Verification): {
  readonly description: string
  readonly parameters: ToolParameters
} {
  const asked = verification.questions.map(({ id, ask }) => `${id}: ${quoted(ask)}`).join('; ')
  return {
    description:
      `Checks who the caller is before anything of an account is told. Ask one question at a time, in the caller's language, then pass the caller's ` +
      `own answer, word for word. Right answers needed: ${verification.required}; wrong ones allowed in a call: ${verification.attempts - 1}. ` +
      `What was answered rightly once proves nothing a second time: questionsLeft says which questions still count. Never guess, never suggest an answer, and do not read answers back. Questions: ${asked}`,
    parameters: {
      type: 'object',
      additionalProperties: false,
      properties: {
        question: {
          type: 'string',
          enum: verification.questions.map(({ id }) => id),
          description: 'Which question was answered.',
        },
        answer: { type: 'string', maxLength: 200, description: 'What the caller answered; digits as digits.' },
      },
      required: ['question', 'answer'],
    },
  }
}

/**
 * Compares a caller's answers with the account. The expected answers never leave this class. A model learns only if an
 * answer was right and how many attempts are left.
 */
export class VerifyTool implements Tool {
  readonly name = VERIFY_TOOL
  readonly timeoutMs: number
  readonly #verification: Verification
  readonly #words: SpokenWords
  readonly #account: HttpTool

  constructor(verification: Verification, env: Environment, client: HttpClient) {
    this.#verification = verification
    const plain = (map: Readonly<Record<string, number>>): Record<string, number> =>
      Object.fromEntries(Object.entries(map).map(([key, value]) => [plainWords(key).join(' '), value]))
    this.#words = { numbers: plain(verification.words.numbers), months: plain(verification.words.months) }
    this.timeoutMs = verification.account.http.timeoutMs
    this.#account = accountTool(verification, env, client)
  }

  /**
   * Compares an answer. @throws VerificationRefused TOOL_UNVERIFIED for a wrong answer, with the result for the model
   */
  async run(args: Readonly<Record<string, unknown>>, context: ToolContext): Promise<unknown> {
    const { caller } = context
    const turn = caller.turn.then(() => this.#judge(args, context, caller))
    caller.turn = turn.catch(() => undefined) // other requests do not fail because of this error
    return turn
  }

  async #judge(
    args: Readonly<Record<string, unknown>>,
    context: ToolContext,
    caller: CallerIdentity,
  ): Promise<VerificationAnswer> {
    const { questions, attempts } = this.#verification
    if (caller.verified !== null) return this.#answer(caller, null)
    if (caller.wrong >= attempts)
      throw this.#refusal(caller, 'Too many wrong answers. Connect the caller to a colleague.')
    const question = questions.find(({ id }) => id === args['question'])
    if (question === undefined) throw new GatewayError('TOOL_ARGUMENTS', 'there is no such question')
    // Wrong answers are counted by phone number, so a caller with a withheld number cannot be verified.
    if (context.from.trim() === '') {
      throw this.#refusal(
        caller,
        'The number of this call is withheld, so nobody can be verified in it. Connect the caller to a colleague.',
        'TOOL_UNBOUND',
      )
    }
    const left = await caller.gate.take()
    if (left <= 0) {
      throw this.#refusal(
        caller,
        'Too many wrong answers were given from the number of this call. None is taken for now: connect the caller to a colleague.',
        'TOOL_LOCKED',
      )
    }
    let verdict: Verdict = 'unjudged'
    try {
      const account = await this.#accountOf(caller, context)
      const expected = textAt(account, question.field)
      if (expected === null) throw this.#refusal(caller, 'The account has no answer to this question. Ask another one.')
      if (
        !sameAnswer(String(args['answer']).slice(0, TOOL_TEXT_CHARS_MAX), expected, this.#rule(question), this.#words)
      ) {
        verdict = 'wrong'
        throw this.#wrong(caller, left - 1)
      }
      verdict = 'right'
      caller.right.add(question.id)
      if (this.#proven(account, caller) < this.#verification.required) {
        const answer = this.#answer(caller, account, left)
        return answer.questionsLeft.length > 0
          ? answer
          : { ...answer, hint: 'No question is left that proves more. Connect the caller to a colleague.' }
      }
      verdict = 'verified'
      caller.verified = this.#identityOf(account)
      caller.account = undefined
      return this.#answer(caller, null)
    } finally {
      caller.gate.judged(verdict)
    }
  }

  async #accountOf(caller: CallerIdentity, context: ToolContext): Promise<unknown> {
    try {
      if (caller.account === undefined) caller.account = await this.#account.run({}, context)
    } catch (error) {
      if (!(error instanceof GatewayError) || error.code !== 'TOOL_UNBOUND') throw error
      throw this.#refusal(caller, error.message, 'TOOL_UNBOUND')
    }
    if (caller.account === null)
      throw this.#refusal(caller, 'No account is known for the number of this call. Connect the caller to a colleague.')
    return caller.account
  }

  /**
   * Counts a wrong answer.
   * @param left  number of attempts that the phone number has left, over all its calls
   */
  #wrong(caller: CallerIdentity, left: number): VerificationRefused {
    caller.wrong++
    if (caller.wrong < this.#verification.attempts && left > 0) {
      const answer = {
        ...this.#answer(caller, caller.account, left),
        error: 'That is not right. Ask the caller once more, without a hint.',
        wrong: true,
      }
      return new VerificationRefused(answer)
    }
    caller.wrong = Math.max(caller.wrong, this.#verification.attempts)
    caller.account = undefined
    const error = 'That is not right either. Too many wrong answers: connect the caller to a colleague.'
    return new VerificationRefused({ ...this.#answer(caller, null), error, wrong: true })
  }

  #rule({ kind, last }: Question): AnswerRule {
    return { kind, last, dateOrder: this.#verification.dateOrder }
  }

  /**
   * True if, in this account, the answer to one question reveals the answer to another question, because their fields
   * or their values are the same.
   */
  #oneFact(account: unknown, a: Question, b: Question): boolean {
    if (sameField(a.field, b.field)) return true
    const [textA, textB] = [textAt(account, a.field), textAt(account, b.field)]
    return textA !== null && textB !== null && givesAway(textA, this.#rule(a), textB, this.#rule(b))
  }

  /** Returns the questions whose answers were correct. */
  #answered(caller: CallerIdentity): Question[] {
    return this.#verification.questions.filter(({ id }) => caller.right.has(id))
  }

  /** Returns the number of proven facts. Answers that reveal each other count once. */
  #proven(account: unknown, caller: CallerIdentity): number {
    return countDistinct(this.#answered(caller), (a, b) => this.#oneFact(account, a, b))
  }

  /** Returns the questions for which a correct answer would be a further proof. */
  #questionsLeft(account: unknown, caller: CallerIdentity): string[] {
    const answered = this.#answered(caller)
    return this.#verification.questions
      .filter(
        (question) =>
          textAt(account, question.field) !== null &&
          !answered.some((other) => this.#oneFact(account, question, other)),
      )
      .map(({ id }) => id)
  }

  #identityOf(account: unknown): Readonly<Record<string, unknown>> {
    const identity: Record<string, unknown> = {}
    for (const [name, path] of Object.entries(this.#verification.identity)) {
      const value = valueAt(account, path.split('.'))
      if (valueFault(value, { field: name }) !== null) continue
      if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') identity[name] = value
    }
    return identity
  }

  /**
   * @param account  the account; null if no further questions will be asked
   * @param left  number of attempts that the phone number has left, over all its calls
   */
  #answer(caller: CallerIdentity, account: unknown, left = Infinity): VerificationAnswer {
    return {
      verified: caller.verified !== null,
      answered: [...caller.right],
      attemptsLeft: Math.max(0, Math.min(this.#verification.attempts - caller.wrong, left)),
      questionsLeft: account === null || account === undefined ? [] : this.#questionsLeft(account, caller),
    }
  }

  /** Returns the refusal of an answer that was not compared. */
  #refusal(caller: CallerIdentity, error: string, code: ErrorCode = 'TOOL_UNVERIFIED'): VerificationRefused {
    const answer = this.#answer(caller, caller.account)
    return new VerificationRefused({ ...answer, error, ...(code === 'TOOL_LOCKED' ? { attemptsLeft: 0 } : {}) }, code)
  }
}

type Question = Verification['questions'][number]

/** Reasons that are written to the call record and the log. */
const REFUSED: Partial<Record<ErrorCode, string>> = {
  TOOL_UNBOUND: 'a caller whose number is withheld cannot be verified',
  TOOL_LOCKED: 'too many wrong answers were given from this number',
}

/** Error for a refused answer of a caller. The model receives `answer`. */
export class VerificationRefused extends GatewayError {
  readonly answer: VerificationAnswer

  /**
   * @param code  code of the refusal; after TOOL_UNBOUND or TOOL_LOCKED, no further answers are compared in this call
   */
  constructor(answer: VerificationAnswer, code: ErrorCode = 'TOOL_UNVERIFIED') {
    super(code, REFUSED[code] ?? 'the caller did not prove who they are')
    this.answer = answer
  }
}

/** Returns the tool that requests the account. `run` resolves with null if the account is missing. */
export function accountTool(verification: Verification, env: Environment, client: HttpClient): HttpTool {
  return new HttpTool(
    {
      name: VERIFY_TOOL,
      description: VERIFY_TOOL,
      parameters: { type: 'object', properties: {}, required: [] },
      bind: {},
      // A missing account is a valid answer of the tool, not an error.
      http: verification.account.http,
      result: { notFound: null },
      idempotent: undefined,
      requires: undefined,
      sample: {},
    },
    env,
    client,
  )
}

/** Returns the names of questions and identity fields for which an account does not have a value. */
export function missingIn(account: unknown, verification: Verification): string[] {
  return [
    ...verification.questions
      .filter(({ field }) => textAt(account, field) === null)
      .map(({ id, field }) => `question ${id} (${field})`),
    ...Object.entries(verification.identity)
      .filter(([, path]) => valueAt(account, path.split('.')) === undefined)
      .map(([name, path]) => `identity ${name} (${path})`),
  ]
}

function textAt(value: unknown, path: string): string | null {
  const found = valueAt(value, path.split('.'))
  const text = typeof found === 'string' || typeof found === 'number' ? String(found).trim() : ''
  // A value such as "N/A" in an account cannot prove an identity.
  return text === '' || valueFault(text, { field: path.split('.').at(-1) ?? '' }) !== null ? null : text
}
