import type { EndReason, EscalationStrategy } from './documents/record.js'
import type { BackendEvent } from './backend-events.js'

export type ToolCallEvent = Extract<BackendEvent, { readonly type: 'tool-call' }>

/** Request for a human. */
export interface EscalationRequest {
  readonly reason: string
  readonly summary: string
  readonly origin: 'agent' | 'operator' | 'rule' | 'backend-failed'
  /** Tool call that requested the human. The tool call is answered only if the escalation fails. */
  readonly toolCallId: string | null
  /**
   * True if the backend itself informs the caller that no human is available, and takes a message. The gateway then
   * does not offer a call back by DTMF digit.
   */
  readonly takesMessage?: boolean
}

type Arguments = Readonly<Record<string, unknown>>

/**
 * Every request between components of a call. Each has one answer and one owner: the feature that lists it in
 * `answers`. Without that feature, `UNANSWERED` answers.
 */
export interface Requests {
  /** Tries to reach a human. @returns false if this call cannot reach a human */
  escalate: (request: EscalationRequest) => boolean
  /** Continues an escalation that the previous worker began. */
  continueEscalation: (request: EscalationRequest, holding: boolean) => void
  /** Notes that a human has the call. */
  bridge: (strategy: EscalationStrategy) => void
  /**
   * Says `words`, then ends the stream. `words` is called when the call no longer waits for tools with an effect.
   * `interrupt` discards the agent's current speech.
   */
  sayThenEnd: (reason: EndReason, detail: string, words: () => string, interrupt: boolean) => void
  /** Ends the stream at once. If `hangup` is false, the leg stays open for a human. */
  endNow: (reason: EndReason, detail: string, hangup: boolean) => void
  /** Ends the call when the caller has heard the agent's words; the caller can cancel the end. */
  endAfterSpeech: (detail: string, toolCallId: string | null, goodbye: () => string) => void
  /**
   * Notes that the call's budget is used up. `event` ends the call as soon as the caller no longer waits for a human,
   * an entry or a tool.
   */
  endForBudget: (event: ToolCallEvent) => void
  /** Says `words` and offers a call back. If `ends` is true, the call ends unless the caller accepts. */
  offerCallBack: (
    words: string,
    wish: { readonly reason: string; readonly summary: string } | null,
    ends: boolean,
  ) => void
  /** Withdraws the offer of a call back. */
  withdrawOffer: () => void
  /**
   * Requests a call back to `number`, or to the caller if `number` is null. The tool call is answered when the call
   * back is stored or refused.
   * @returns the error for the model; null if the answer follows later
   */
  noteCallBack: (callId: string, number: string | null, note: string, wantedAt: string | null) => string | null
  /** Takes a tool call of the model. */
  takeTool: (event: ToolCallEvent) => void
  /** Answers a tool call. `recorded`: value that records contain instead of the result. */
  answerTool: (callId: string, ok: boolean, value: unknown, error: string | undefined, recorded?: unknown) => void
  /**
   * Notes that a tool runs from now on. If `filled` is true, a waiting caller hears a filler. `ownCallId`: the result
   * belongs to the feature that requested this tool call.
   */
  watchTool: (filled: boolean, ownCallId?: string) => void
  /**
   * Cancels tool calls. `all`: the call no longer waits for tools, but effects that were sent continue. `cut`: effects
   * that were sent are cut off too.
   */
  cancelTools: (callIds: readonly string[] | 'all' | 'cut') => void
  /**
   * @returns true if a due end or handover must wait for tools with an effect. The requesting feature then asks again
   * later
   */
  awaitEffects: () => boolean
  /** @returns true if the end must wait for tools with an effect: `run` is called when they have ended */
  delayEnd: (run: () => void) => boolean
  /** Asks the caller for DTMF digits. */
  collectDigits: (callId: string, args: Arguments) => void
  /** @returns the reason why the caller cannot be asked for digits; null if the caller can be asked */
  digitsFault: (args: Arguments) => string | null
  sendDigits: (callId: string, keys: string) => void
  /** @returns the reason why these DTMF digits cannot be sent; null if they can be sent */
  sendDigitsFault: (args: Arguments) => string | null
  /**
   * Promises the call to another agent.
   * @returns the reason why the call stays with this agent; null if it is handed over
   */
  handOver: (to: string, summary: string) => string | null
  /** Handles the model's request for another stage. */
  goToStage: (callId: string, args: Arguments) => void
  /** Acts on a stage that leads to a human. @returns true if the call is being escalated */
  followStage: () => boolean
  /** Handles the model's report that the called person wants to continue the cut-off conversation. */
  confirmRingBack: (callId: string) => void
  /**
   * Says the consent text when the caller's language is known.
   * @returns false if the text was already said or is not needed
   */
  askConsent: () => boolean
  /** Continues the beginning of the call: consent, greeting, conversation. */
  converse: () => void
  /** Skips the greeting because the caller spoke first. `interrupted`: the model's answer to the caller was cut off. */
  answerFirst: (answers: boolean, interrupted: boolean) => void
  /**
   * Delays the first words until the look-up of the caller is complete. After the look-up, the request `next` is sent.
   * @returns false if a wait is not necessary
   */
  awaitCaller: (next: 'converse' | 'begin') => boolean
  /**
   * Passes the caller's data to stages and claims. @returns true if the data moves the call to another agent or a human
   */
  tellCaller: () => boolean
  /** Begins the conversation, or continues it from its last point. */
  begin: () => void
  /** Continues the conversation after no human could be reached. */
  continueAfterEscalation: () => void
  /** Handles a dead backend. */
  failModel: (detail: string) => void
}

export type RequestName = keyof Requests

/** Answers to requests, for a session without the feature that owns the request. */
export const UNANSWERED: Requests = {
  escalate: () => false,
  continueEscalation: () => undefined,
  bridge: () => undefined,
  sayThenEnd: () => undefined,
  endNow: () => undefined,
  endAfterSpeech: () => undefined,
  endForBudget: () => undefined,
  offerCallBack: () => undefined,
  withdrawOffer: () => undefined,
  noteCallBack: () => 'This line does not call back.',
  takeTool: () => undefined,
  answerTool: () => undefined,
  watchTool: () => undefined,
  cancelTools: () => undefined,
  collectDigits: () => undefined,
  digitsFault: () => 'This line takes no digits.',
  sendDigits: () => undefined,
  sendDigitsFault: () => 'This line presses no keys.',
  handOver: () => 'This agent hands no call over.',
  goToStage: () => undefined,
  followStage: () => false,
  confirmRingBack: () => undefined,
  awaitEffects: () => false,
  delayEnd: () => false,
  askConsent: () => false,
  converse: () => undefined,
  answerFirst: () => undefined,
  awaitCaller: () => false,
  tellCaller: () => false,
  begin: () => undefined,
  continueAfterEscalation: () => undefined,
  failModel: () => undefined,
}
