import type { CallKernel } from '../call-kernel.js'
import {
  CALLBACK_TOOL,
  COLLECT_TOOL,
  DO_NOT_CALL_TOOL,
  END_CALL_TOOL,
  ESCALATE_TOOL,
  HANDOVER_TOOL,
  LANGUAGE_TOOL,
  RESUME_TOOL,
  SEND_DIGITS_TOOL,
  STAGE_TOOL,
} from '../gateway-tools.js'
import type { BuiltInTool } from '../gateway-tools.js'

type Arguments = Readonly<Record<string, unknown>>

/** A tool that the session performs itself. */
export interface ToolHandler {
  /**
   * True if this call offers it.
   * @defaultValue it does
   */
  readonly offered?: (call: CallKernel) => boolean
  /** @returns why it cannot be performed with these arguments; null when it can */
  readonly fault?: (call: CallKernel, args: Arguments) => string | null
  /** Performs it, and answers the tool call now or later. */
  readonly run: (call: CallKernel, callId: string, args: Arguments) => void
}

/** Every gateway tool that the session performs itself, by name. */
export const TOOL_HANDLERS: Readonly<Record<BuiltInTool, ToolHandler>> = {
  /** Answered only when nobody can be reached. */
  [ESCALATE_TOOL]: {
    fault: noHuman,
    run: (call, callId, args) =>
      void call.escalation.escalate({
        reason: String(args['reason']),
        summary: textOf(args['summary']),
        origin: 'agent',
        toolCallId: callId,
        takesMessage: args['takesMessage'] === true,
      }),
  },
  /** Answered only when the caller speaks up. */
  [END_CALL_TOOL]: {
    run: (call, callId, args) => {
      const silent = !call.agentSpokeLast && !call.sounding
      call.ending.endAfterSpeech(textOf(args['reason']), callId, silent ? call.goodbye : '')
    },
  },
  [CALLBACK_TOOL]: {
    fault: noHuman,
    run: (call, callId, args) => {
      const { number, at } = args
      const wantedAt = textOf(at).trim()
      const refusal = call.callBack.request(
        typeof number === 'string' ? number : null,
        textOf(args['note']),
        wantedAt === '' ? null : wantedAt,
      )
      answer(call, callId, { noted: true }, refusal)
    },
  },
  [LANGUAGE_TOOL]: {
    fault: ({ options }, { language }) =>
      options.languages.includes(String(language)) ? null : `language must be one of ${options.languages.join(', ')}.`,
    run: (call, callId, { language }) => {
      if (call.language.set(String(language))) call.words.languageChanged()
      answer(call, callId, { language: call.language.now }, null)
    },
  },
  /** Answered once it is written, or could not be. */
  [DO_NOT_CALL_TOOL]: {
    run: (call, callId) => {
      call.mark('do-not-call')
      call.out({ type: 'do-not-call', callId })
    },
  },
  /** Answered when the tones were sent. */
  [SEND_DIGITS_TOOL]: {
    offered: ({ options }) => options.sendsDigits,
    fault: (call, args) => call.sentDigits.fault(args),
    run: (call, callId, { digits }) => call.sentDigits.send(callId, textOf(digits)),
  },
  [STAGE_TOOL]: {
    offered: (call) => call.stages.machine !== null,
    run: (call, callId, args) => call.stages.asked(callId, args),
  },
  [HANDOVER_TOOL]: {
    offered: ({ options }) => Object.keys(options.handoverTo).length > 0,
    fault: ({ options }, args) => {
      const agents = Object.keys(options.handoverTo)
      return agents.includes(String(args['agent'])) ? null : `agent must be one of ${agents.join(', ')}.`
    },
    run: (call, callId, args) => {
      const value = { agent: args['agent'] }
      const refusal = call.handover.handOver(String(args['agent']), textOf(args['summary']))
      // The model that called it says nothing more.
      if (refusal === null) call.ledger.result(callId, { ok: true, value, error: undefined })
      else answer(call, callId, value, refusal)
    },
  },
  [RESUME_TOOL]: {
    offered: (call) => call.ringBack.unconfirmed !== null,
    run: (call, callId) => answer(call, callId, call.ringBack.confirmed('words'), null),
  },
  /** Answered when the caller has entered the digits, or does not. */
  [COLLECT_TOOL]: {
    fault: (call, args) => call.digits.fault(args),
    run: (call, callId, args) => call.digits.collect(callId, args),
  },
}

function answer(call: CallKernel, callId: string, value: unknown, refusal: string | null): void {
  call.tools.result(callId, refusal === null, refusal === null ? value : { error: refusal }, refusal ?? undefined)
}

function noHuman({ options }: CallKernel): string | null {
  return options.escalation === null ? 'No human can be reached from this line.' : null
}

/** An argument that is a text; empty where the model gave something else. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
