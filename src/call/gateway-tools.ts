/** A tool as the model sees it. */
export interface GatewayTool {
  readonly name: string
  readonly description: string
  /** JSON Schema of the arguments object. */
  readonly parameters: Readonly<Record<string, unknown>>
  /**
   * True if the model waits for the result, where its service can do both.
   * @defaultValue what suits the model
   */
  readonly blocking?: boolean
  /**
   * When the model speaks about the result of a call that did not block.
   * @defaultValue `'when-idle'`
   */
  readonly scheduling?: 'when-idle' | 'interrupt' | 'silent'
  /**
   * It has an effect and must not run twice.
   * @defaultValue `false`
   */
  readonly once?: boolean
}

export const ESCALATE_TOOL = 'escalate_to_human'
export const END_CALL_TOOL = 'end_call'
export const CALLBACK_TOOL = 'request_callback'
/** Offered to agents that speak several languages. */
export const LANGUAGE_TOOL = 'set_language'
/** Offered in calls that we place. */
export const DO_NOT_CALL_TOOL = 'do_not_call'
/** Offered to agents that may hand over to others. */
export const HANDOVER_TOOL = 'hand_over'
/** Offered to agents with stages: goes to another one. */
export const STAGE_TOOL = 'go_to_stage'
/** Offered only in a call to a caller whose call was cut off, until it was called. */
export const RESUME_TOOL = 'resume_conversation'
/** Tools of the gateway that run like the agent's tools; offered when the agent's file asks for them. */
export const VERIFY_TOOL = 'verify_caller'
export const SEARCH_TOOL = 'search_knowledge'
export const NOTE_FIX_TOOL = 'note_fix'
/** The worker runs it, because only the backend that answers knows whether it can. */
export const SPEECH_RATE_TOOL = 'set_speech_rate'
export const SPEECH_RATES: readonly string[] = ['slower', 'normal', 'faster']

/** Offered in calls that we place, where the agent's file has `outbound.sendDigits`. */
export const SEND_DIGITS_TOOL = 'send_digits'

/** Offered to agents whose file has `digits:`. */
export const COLLECT_TOOL = 'collect_digits'

const BUILT_IN = [
  ESCALATE_TOOL,
  END_CALL_TOOL,
  CALLBACK_TOOL,
  RESUME_TOOL,
  LANGUAGE_TOOL,
  COLLECT_TOOL,
  DO_NOT_CALL_TOOL,
  SEND_DIGITS_TOOL,
  STAGE_TOOL,
  HANDOVER_TOOL,
] as const

/** A tool that the session performs itself; `TOOL_HANDLERS` has each. */
export type BuiltInTool = (typeof BUILT_IN)[number]

/** Every tool that the gateway itself carries out; an agent's own may not take their names. */
export const GATEWAY_TOOL_NAMES: readonly string[] = [
  ...BUILT_IN,
  VERIFY_TOOL,
  SEARCH_TOOL,
  NOTE_FIX_TOOL,
  SPEECH_RATE_TOOL,
]

/** The session performs it itself; no tool runs. */
export function isBuiltIn(name: string): name is BuiltInTool {
  return (BUILT_IN as readonly string[]).includes(name)
}

/** Tools that end the conversation, or make a sound: they are called only after the speech before them was delivered. */
export const TOOLS_AFTER_SPEECH: readonly string[] = [ESCALATE_TOOL, END_CALL_TOOL, HANDOVER_TOOL, SEND_DIGITS_TOOL]

/** Arguments for records, logs and humans: without the answer that proves the caller's identity, and keys that nobody is to read. */
export function recordedArguments(
  name: string,
  args: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  if (name === SEND_DIGITS_TOOL && args['sensitive'] === true) return { ...args, digits: '…' }
  return name === VERIFY_TOOL && 'answer' in args ? { ...args, answer: '…' } : args
}

/** Tools that the session performs itself. Those that lead to a human are offered only when an escalation is set. */
export const GATEWAY_TOOLS: readonly GatewayTool[] = [
  {
    name: ESCALATE_TOOL,
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
  },
  {
    name: CALLBACK_TOOL,
    description:
      'Notes that the caller is to be called back. Use it when the caller agrees to it or asks for it, then ' +
      'tell them that it is noted.',
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
  },
  {
    name: END_CALL_TOOL,
    description: 'Ends the call after your current words were heard. Say goodbye first.',
    parameters: {
      type: 'object',
      additionalProperties: false,
      properties: { reason: { type: 'string', description: 'Why the call is over, in a few words.' } },
    },
  },
]

export const RESUME_TOOL_SPEC: GatewayTool = {
  name: RESUME_TOOL,
  description:
    'Gives you the earlier conversation. Call it as soon as the person confirms that it was them and that they ' +
    'want to go on, and not before. Their identity has to be verified again.',
  parameters: { type: 'object', additionalProperties: false, properties: {} },
}

const DO_NOT_CALL_TOOL_SPEC: GatewayTool = {
  name: DO_NOT_CALL_TOOL,
  description:
    'Puts the number on the list of those who are never called again. Call it as soon as the person says that they want ' +
    'no (more) calls ("do not call me again", "sitaki", "msinipigie tena"), then say that it is done, and goodbye.',
  parameters: { type: 'object', additionalProperties: false, properties: {} },
}

const SEND_DIGITS_TOOL_SPEC: GatewayTool = {
  name: SEND_DIGITS_TOOL,
  description:
    'Presses keys on the phone: an extension, or what a recorded menu asks for. Listen to the whole menu first. It is answered ' +
    'when the tones were sent; then listen to what follows.',
  parameters: {
    type: 'object',
    additionalProperties: false,
    required: ['digits'],
    properties: {
      digits: { type: 'string', description: 'Of 0-9, *, # and A-D; w is a pause of half a second: 2w104#.' },
      sensitive: { type: 'boolean', description: 'True for a PIN or an account number, which no record is to have.' },
    },
  },
  once: true,
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

/** @param agents  the agents to whom this one may hand over, with when */
function handoverToolSpec(agents: Readonly<Record<string, string>>): GatewayTool {
  const when = Object.entries(agents).map(([agent, text]) => `${agent}: ${text}`)
  return {
    name: HANDOVER_TOOL,
    description:
      `Hands the call over to another agent of this company, for good: ${when.join('; ')}. Tell the caller in a few words ` +
      'that you connect them; the other agent knows what was said, and greets them.',
    parameters: {
      type: 'object',
      additionalProperties: false,
      required: ['agent'],
      properties: {
        agent: { type: 'string', enum: Object.keys(agents) },
        summary: { type: 'string', description: 'What the caller wants and what was done, in one sentence.' },
      },
    },
  }
}

/** @param languages  tags of the agent's languages */
function languageToolSpec(languages: readonly string[]): GatewayTool {
  return {
    name: LANGUAGE_TOOL,
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
  }
}

/** Facts of an agent and a call that decide which of its own tools the session offers. */
interface ToolOffer {
  readonly languages: readonly string[]
  readonly handoverTo: Readonly<Record<string, string>>
  /** Null: no human can be reached. */
  readonly escalation: { readonly strategies: readonly string[] } | null
  readonly sendsDigits: boolean
  /** The gateway has placed the call. */
  readonly placed: boolean
  /** The call only takes a message. */
  readonly messagesOnly: boolean
  /** The caller is rung back, and has not said yet that they want to go on. */
  readonly asksToGoOn: boolean
  /** `go_to_stage` for the stage of the call; null: no stages. */
  readonly stage: GatewayTool | null
}

/** The session's own tools that a model is offered, but for `collect_digits`, which is one of the agent's. */
export function sessionTools(offer: ToolOffer): readonly GatewayTool[] {
  const { escalation, handoverTo, languages, placed, stage } = offer
  const offered: Readonly<Record<string, boolean>> = {
    [ESCALATE_TOOL]: escalation !== null && !offer.messagesOnly,
    [CALLBACK_TOOL]: escalation?.strategies.includes('callback') === true,
  }
  return [
    ...GATEWAY_TOOLS.filter(({ name }) => offered[name] ?? true),
    ...(placed ? [DO_NOT_CALL_TOOL_SPEC] : []),
    ...(placed && offer.sendsDigits ? [SEND_DIGITS_TOOL_SPEC] : []),
    ...(languages.length > 1 ? [languageToolSpec(languages)] : []),
    ...(stage === null ? [] : [stage]),
    ...(Object.keys(handoverTo).length > 0 ? [handoverToolSpec(handoverTo)] : []),
    ...(offer.asksToGoOn ? [RESUME_TOOL_SPEC] : []),
  ]
}

/** Added to the instructions of an agent that rings a caller back. */
export const CALL_BACK_INSTRUCTIONS = `You have rung this person to go on with an earlier call from their number. You do not know \
yet who answers, and you know nothing of that call. Say your greeting, which asks whether they want to go on. If they \
confirm, call ${RESUME_TOOL} and go on from what it returns. If they do not want to, or it was somebody else who called, \
say goodbye and call ${END_CALL_TOOL}. Until then say nothing about an earlier call but what your greeting says, whatever \
you are asked.`

/** A stage may offer it or not, and its result may move the call. */
export function isOfAStage(tool: string): boolean {
  return !isBuiltIn(tool) || tool === COLLECT_TOOL
}
