import type { CallCore } from '../call-core.js'

/** A tool as the model sees it. */
export interface GatewayTool {
  readonly name: string
  readonly description: string
  /** JSON Schema of the arguments object. */
  readonly parameters: Readonly<Record<string, unknown>>
  /**
   * True if the model should wait for the result. Used only if the model's service can also continue without the
   * result.
   * @defaultValue the better choice for the model
   */
  readonly blocking?: boolean
  /**
   * Time at which the model speaks about the result of a tool call for which it did not wait.
   * @defaultValue `'when-idle'`
   */
  readonly scheduling?: 'when-idle' | 'interrupt' | 'silent'
  /**
   * True if the tool has an effect and must not run twice.
   * @defaultValue `false`
   */
  readonly once?: boolean
}

export const ESCALATE_TOOL = 'escalate_to_human'
export const END_CALL_TOOL = 'end_call'
export const CALLBACK_TOOL = 'request_callback'
/** Tool for agents that may hand over to other agents. */
export const HANDOVER_TOOL = 'hand_over'
/** Tool that changes the stage, for agents with stages. */
export const STAGE_TOOL = 'go_to_stage'
/** Tool for a call back. The tool is offered until it has returned the earlier conversation. */
export const RESUME_TOOL = 'resume_conversation'
/** Tools of the gateway that run like the agent's tools. They are offered if the agent's file configures them. */
export const VERIFY_TOOL = 'verify_caller'
export const SEARCH_TOOL = 'search_knowledge'
export const NOTE_FIX_TOOL = 'note_fix'
/** Tool that the worker runs. Only the answering backend can tell if it supports a change of speed. */
export const SPEECH_RATE_TOOL = 'set_speech_rate'
export const SPEECH_RATES: readonly string[] = ['slower', 'normal', 'faster']

/** Tool for phone calls that the gateway places, if the agent's file has `outbound.sendDigits`. */
export const SEND_DIGITS_TOOL = 'send_digits'

/** Tool for agents whose file has `digits:`. */
export const COLLECT_TOOL = 'collect_digits'

/** Facts of an agent and a phone call. They decide which session tools are offered. */
export interface ToolOffer {
  readonly languages: readonly string[]
  readonly handoverTo: Readonly<Record<string, string>>
  /** Settings of escalation; null if the agent cannot reach a human. */
  readonly escalation: { readonly strategies: readonly string[] } | null
  readonly sendsDigits: boolean
  /** True if the gateway placed the phone call. */
  readonly placed: boolean
  /** True if the phone call only takes a message. */
  readonly messagesOnly: boolean
  /** True in a call back until the person was given the earlier call. */
  readonly asksToGoOn: boolean
  /** Tool `go_to_stage` for the call's stage; null without stages. */
  readonly stage: GatewayTool | null
}

type Arguments = Readonly<Record<string, unknown>>

/** Parts of a call that the tools use. */
interface ToolHost extends Pick<CallCore, 'ask' | 'mark' | 'out' | 'options' | 'language'> {
  readonly goodbye: string
  readonly talk: { readonly agentSpokeLast: boolean; readonly sounding: boolean }
  readonly effects: {
    readonly ledger: {
      result(callId: string, result: { ok: boolean; value: unknown; error: string | undefined }): unknown
    }
  }
  readonly person: { readonly withheld: boolean }
  readonly stages: object | null
  languageChanged(): void
}

/** A tool that the session itself performs. */
interface SessionTool {
  readonly name: string
  /** Returns true if the tool is offered in this phone call. In other phone calls the tool cannot run. */
  readonly when: (offer: ToolOffer) => boolean
  /**
   * Error for a model that calls the tool although this phone call does not offer it.
   * @defaultValue `There is no tool named …`
   */
  readonly absent?: (offer: ToolOffer) => string
  /**
   * Description of the tool for the model, in a phone call that offers the tool. Null if the tool is offered together
   * with the agent's own tools.
   */
  readonly spec: (offer: ToolOffer) => Omit<GatewayTool, 'name'> | null
  /**
   * True if the tool ends the conversation or makes a sound. If a model calls the tool, it runs only after earlier
   * speech was delivered.
   * @defaultValue `false`
   */
  readonly afterSpeech?: boolean
  /**
   * True if the agent leaves the conversation with this tool. Such a tool is refused while a tool with an effect runs.
   * @defaultValue `false`
   */
  readonly leaves?: boolean
  /**
   * True if the tool requests the end of the call.
   * @defaultValue `false`
   */
  readonly endsCall?: boolean
  /**
   * True if the tool acts outside the call. Its success is then unknown until it is confirmed.
   * @defaultValue `false`
   */
  readonly outside?: boolean
  /** @returns the reason why the tool cannot be performed with these arguments; null if it can */
  readonly fault?: (call: ToolHost, args: Arguments) => string | null
  /** Performs the tool, and answers the tool call now or later. */
  readonly run: (call: ToolHost, callId: string, args: Arguments) => void
}

const NO_ARGUMENTS = { type: 'object', additionalProperties: false, properties: {} }

/** Tools that the session itself performs, in the order in which they are offered to a model. */
const SESSION_TOOLS: readonly SessionTool[] = [
  /** The tool call is answered only if no human can be reached. */
  {
    name: ESCALATE_TOOL,
    when: ({ escalation, messagesOnly }) => escalation !== null && !messagesOnly,
    absent: () => NO_HUMAN,
    spec: () => ({
      description:
        'Hands the caller to a human colleague. Use it when the caller asks for a human, or when you cannot ' +
        'help. The caller is told by the system; do not announce it yourself.',
      parameters: {
        type: 'object',
        additionalProperties: false,
        required: ['reason'],
        properties: {
          reason: { type: 'string', description: 'Why a human is needed, in a few words.' },
          summary: {
            type: 'string',
            description: 'What the colleague must know: what the caller wants and what was tried.',
          },
        },
      },
    }),
    endsCall: true,
    afterSpeech: true,
    run: (call, callId, args) =>
      void call.ask('escalate', {
        reason: String(args['reason']),
        summary: textOf(args['summary']),
        origin: 'agent',
        toolCallId: callId,
        takesMessage: args['takesMessage'] === true,
      }),
  },
  /** The tool call is answered when the call back was stored or refused. */
  {
    name: CALLBACK_TOOL,
    when: ({ escalation }) => escalation?.strategies.includes('callback') === true,
    absent: ({ escalation }) => (escalation === null ? NO_HUMAN : 'This line does not call back.'),
    spec: () => ({
      description:
        'Notes that the caller is to be called back. Use it when the caller agrees to it or asks for it. Once it says that it ' +
        'is noted, tell them so; where it is refused, tell them that, and why.',
      parameters: {
        type: 'object',
        additionalProperties: false,
        properties: {
          number: {
            type: 'string',
            description: 'Only when they want to be called on another number than the one they call from.',
          },
          note: { type: 'string', description: 'What it is about, and when it suits them.' },
          at: {
            type: 'string',
            description:
              'Only when they named a time: their date and time, as 2026-11-27T15:00. Read it back to them before.',
          },
        },
      },
    }),
    run: (call, callId, args) => {
      const { number, at } = args
      const wantedAt = textOf(at).trim()
      const refusal = call.ask(
        'noteCallBack',
        callId,
        typeof number === 'string' ? number : null,
        textOf(args['note']),
        wantedAt === '' ? null : wantedAt,
      )
      if (refusal !== null) answer(call, callId, null, refusal)
    },
  },
  /** The tool call is answered only if the caller speaks again. */
  {
    name: END_CALL_TOOL,
    when: () => true,
    spec: () => ({
      description: 'Ends the call after your current words were heard. Say goodbye first.',
      parameters: {
        type: 'object',
        additionalProperties: false,
        properties: { reason: { type: 'string', description: 'Why the call is over, in a few words.' } },
      },
    }),
    endsCall: true,
    afterSpeech: true,
    leaves: true,
    run: (call, callId, args) => {
      const silent = !call.talk.agentSpokeLast && !call.talk.sounding
      call.ask('endAfterSpeech', textOf(args['reason']), callId, () => (silent ? call.goodbye : ''))
    },
  },
  /** The tool call is answered when the wish is stored, or cannot be stored. */
  {
    name: 'do_not_call',
    when: ({ placed }) => placed,
    spec: () => ({
      description:
        'Puts the number on the list of those who are never called again. Call it as soon as the person says that they want ' +
        'no (more) calls ("do not call me again", "sitaki", "msinipigie tena"), then say that it is done, and goodbye.',
      parameters: NO_ARGUMENTS,
    }),
    outside: true,
    run: (call, callId) => {
      call.mark('do-not-call')
      call.out({ type: 'do-not-call', callId })
    },
  },
  /** The tool call is answered when the tones have been sent. */
  {
    name: SEND_DIGITS_TOOL,
    when: ({ placed, sendsDigits }) => placed && sendsDigits,
    spec: () => ({
      description:
        'Presses keys on the phone: an extension, or what a recorded menu asks for. Listen to the whole menu first. It is answered ' +
        'when the tones were sent; then listen to what follows.',
      parameters: {
        type: 'object',
        additionalProperties: false,
        required: ['digits'],
        properties: {
          digits: { type: 'string', description: 'Of 0-9, *, # and A-D; w is a pause of half a second: 2w104#.' },
          sensitive: {
            type: 'boolean',
            description: 'True for a PIN or an account number, which no record is to have.',
          },
        },
      },
      once: true,
    }),
    outside: true,
    afterSpeech: true,
    fault: (call, args) => call.ask('sendDigitsFault', args),
    run: (call, callId, { digits }) => call.ask('sendDigits', callId, textOf(digits)),
  },
  {
    name: 'set_language',
    when: ({ languages }) => languages.length > 1,
    spec: ({ languages }) => ({
      description:
        'Tells the system which language the caller speaks now, so that its own phrases and the voice follow. Call it when ' +
        'the caller goes over to another language for a whole sentence, not for a borrowed word, and not when it is the ' +
        'language already.',
      parameters: {
        type: 'object',
        additionalProperties: false,
        required: ['language'],
        properties: { language: { type: 'string', enum: [...languages] } },
      },
    }),
    fault: ({ options }, { language }) =>
      options.languages.includes(String(language)) ? null : `language must be one of ${options.languages.join(', ')}.`,
    run: (call, callId, { language }) => {
      if (call.language.set(String(language))) call.languageChanged()
      answer(call, callId, { language: call.language.now }, null)
    },
  },
  {
    name: STAGE_TOOL,
    when: ({ stage }) => stage !== null,
    spec: ({ stage }) => stage,
    run: (call, callId, args) => call.ask('goToStage', callId, args),
  },
  {
    name: HANDOVER_TOOL,
    when: ({ handoverTo }) => Object.keys(handoverTo).length > 0,
    spec: ({ handoverTo }) => ({
      description:
        'Hands the call over to another agent of this company, for good: ' +
        Object.entries(handoverTo)
          .map(([agent, when]) => `${agent}: ${when}`)
          .join('; ') +
        '. Tell the caller in a few words that you connect them; the other agent knows what was said, and greets them.',
      parameters: {
        type: 'object',
        additionalProperties: false,
        required: ['agent'],
        properties: {
          agent: { type: 'string', enum: Object.keys(handoverTo) },
          summary: { type: 'string', description: 'What the caller wants and what was done, in one sentence.' },
        },
      },
    }),
    afterSpeech: true,
    leaves: true,
    fault: ({ options }, args) => {
      const agents = Object.keys(options.handoverTo)
      return agents.includes(String(args['agent'])) ? null : `agent must be one of ${agents.join(', ')}.`
    },
    run: (call, callId, args) => {
      const value = { agent: args['agent'] }
      const refusal = call.ask('handOver', String(args['agent']), textOf(args['summary']))
      // The call was promised to another agent, so the model that called this tool does not answer any more.
      if (refusal === null) call.effects.ledger.result(callId, { ok: true, value, error: undefined })
      else answer(call, callId, value, refusal)
    },
  },
  {
    name: RESUME_TOOL,
    when: ({ asksToGoOn }) => asksToGoOn,
    spec: () => ({
      description:
        'Gives you the earlier conversation. Call it as soon as the person confirms that it was them and that they ' +
        'want to go on, and not before. If somebody was verified then, they have to be verified in this call first.',
      parameters: NO_ARGUMENTS,
    }),
    run: (call, callId) => call.ask('confirmRingBack', callId),
  },
  /**
   * The tool call is answered when the caller has entered the digits, or the entry has failed. The tool is offered
   * together with the agent's own tools.
   */
  {
    name: COLLECT_TOOL,
    when: () => true,
    spec: () => null,
    afterSpeech: true,
    fault: (call, args) => call.ask('digitsFault', args),
    run: (call, callId, args) => call.ask('collectDigits', callId, args),
  },
]

const BY_NAME: ReadonlyMap<string, SessionTool> = new Map(SESSION_TOOLS.map((tool) => [tool.name, tool]))

/** Returns the session tool of that name, or undefined. */
export function sessionTool(name: string): SessionTool | undefined {
  return BY_NAME.get(name)
}

/** True for a tool that the session itself performs. */
export function isBuiltIn(name: string): boolean {
  return BY_NAME.has(name)
}

/** Names of all tools of the gateway. Tools of an agent must not have these names. */
export const GATEWAY_TOOL_NAMES: readonly string[] = [
  ...BY_NAME.keys(),
  VERIFY_TOOL,
  SEARCH_TOOL,
  NOTE_FIX_TOOL,
  SPEECH_RATE_TOOL,
]

/** Tools that end the conversation or make a sound. They are called only after earlier speech was delivered. */
export const TOOLS_AFTER_SPEECH: readonly string[] = SESSION_TOOLS.flatMap(({ name, afterSpeech }) =>
  afterSpeech === true ? [name] : [],
)

/** Returns the session tools for a model, except `collect_digits`, which is offered together with the agent's tools. */
export function sessionTools(offer: ToolOffer): readonly GatewayTool[] {
  return SESSION_TOOLS.flatMap(({ name, when, spec }) => {
    const shown = when(offer) ? spec(offer) : null
    return shown === null ? [] : [{ name, ...shown }]
  })
}

/** Returns the reason why the model cannot call this tool; null if the tool was offered to the model. */
export function absence(tool: SessionTool, { options, stages, person }: ToolHost): string | null {
  const { escalation, languages, handoverTo, sendsDigits, placed = true, messagesOnly = false } = options
  const offer: ToolOffer = {
    ...{ languages, handoverTo, sendsDigits, placed, messagesOnly },
    escalation: escalation === null ? null : { strategies: escalation.callback === null ? [] : ['callback'] },
    asksToGoOn: person.withheld,
    // `Stages` itself refuses moves that the stage does not offer.
    stage: stages === null ? null : { name: STAGE_TOOL, description: '', parameters: NO_ARGUMENTS },
  }
  return tool.when(offer) ? null : (tool.absent?.(offer) ?? noTool(tool.name))
}

/** Maximum length of a stored tool name, in characters; a model may have invented the name. */
export const TOOL_NAME_CHARS_MAX = 64

export function noTool(name: string): string {
  return `There is no tool named ${name.slice(0, TOOL_NAME_CHARS_MAX)}.`
}

function answer(call: ToolHost, callId: string, value: unknown, refusal: string | null): void {
  call.ask('answerTool', callId, refusal === null, refusal === null ? value : { error: refusal }, refusal ?? undefined)
}

const NO_HUMAN = 'No human can be reached from this line.'

/** Returns an argument if it is a text; '' for any other value. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** True if the sent digits are secret: the model set `sensitive` to anything except a plain no. */
export function isSecretSend(name: string, { sensitive }: Readonly<Record<string, unknown>>): boolean {
  return name === SEND_DIGITS_TOOL && ![undefined, null, false, 'false', ''].includes(sensitive as string)
}

/**
 * Returns the arguments for records, logs and humans. The proof of the caller's identity and secret digits are left
 * out.
 */
export function recordedArguments(
  name: string,
  args: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  if (isSecretSend(name, args)) return { ...args, digits: '…' }
  return name === VERIFY_TOOL && 'answer' in args ? { ...args, answer: '…' } : args
}

export const SPEECH_RATE_TOOL_SPEC: GatewayTool = {
  name: SPEECH_RATE_TOOL,
  description:
    'Changes how fast you speak, by one step, from your next answer on. Call it when the caller asks you to speak slower ' +
    'or faster, or cannot follow you, and then say your last answer again.',
  parameters: {
    type: 'object',
    additionalProperties: false,
    required: ['rate'],
    properties: { rate: { type: 'string', enum: [...SPEECH_RATES] } },
  },
}

/** Additional instructions for an agent in a call back. */
export const CALL_BACK_INSTRUCTIONS = `You have rung this person to go on with an earlier call from their number. You do not know \
yet who answers, and you know nothing of that call. Say your greeting, which asks whether they want to go on. If they \
confirm, call ${RESUME_TOOL} and go on from what it returns; where it returns no conversation, do as it says. If they do \
not want to, or it was somebody else who called, \
say goodbye and call ${END_CALL_TOOL}. Until then say nothing about an earlier call but what your greeting says, whatever \
you are asked.`

/**
 * True if stages apply to the tool. A stage can withhold the tool, and the tool's result can move the call to another
 * stage.
 */
export function isOfAStage(tool: string): boolean {
  return !isBuiltIn(tool) || tool === COLLECT_TOOL
}
