import type { EndReason, EscalationStrategy } from './documents/record.js'
import type { BackendEvent } from './backend-events.js'

export type ToolCallEvent = Extract<BackendEvent, { readonly type: 'tool-call' }>

/** A wish for a human. */
export interface EscalationRequest {
  readonly reason: string
  readonly summary: string
  readonly origin: 'agent' | 'operator' | 'rule' | 'backend-failed'
  /** The tool call that asked; it is answered only if the escalation fails. */
  readonly toolCallId: string | null
  /** The backend that asks tells the caller itself that nobody can come, and takes a message: no call back is offered by key. */
  readonly takesMessage?: boolean
}

type Arguments = Readonly<Record<string, unknown>>

/**
 * Everything that one part of a call can ask of another. Each request has one owner, the feature that lists it in `answers`, and
 * one answer. A session without that feature answers as `UNANSWERED` says.
 */
export interface Requests {
  /** Tries to reach a human. @returns false: this call has no way to one */
  escalate: (request: EscalationRequest) => boolean
  /** An escalation of the previous worker continues here. */
  continueEscalation: (request: EscalationRequest, holding: boolean) => void
  /** A human has the call. */
  bridge: (strategy: EscalationStrategy) => void
  /** Says `words`, as they are once nothing is waited for, then ends the stream. `interrupt` cuts the agent's words. */
  sayThenEnd: (reason: EndReason, detail: string, words: () => string, interrupt: boolean) => void
  /** Ends the stream at once. `hangup` false: the leg stays up for a human. */
  endNow: (reason: EndReason, detail: string, hangup: boolean) => void
  /** Ends the call when the agent's words were heard; the caller can take it back. */
  endAfterSpeech: (detail: string, toolCallId: string | null, goodbye: () => string) => void
  /** The budget of the call is used up: `event` ends it as soon as nobody waits. */
  endForBudget: (event: ToolCallEvent) => void
  /** Says `words` and asks whether to call back. `ends`: the call ends without a yes. */
  offerCallBack: (
    words: string,
    wish: { readonly reason: string; readonly summary: string } | null,
    ends: boolean,
  ) => void
  /** An offered call back is not offered any more. */
  withdrawOffer: () => void
  /**
   * Asks for a call back; the tool call is answered once it is known whether it is kept. `number` null: the caller's own.
   * @returns error for the model; null: the answer follows
   */
  noteCallBack: (callId: string, number: string | null, note: string, wantedAt: string | null) => string | null
  /** Takes a tool call of the model. */
  takeTool: (event: ToolCallEvent) => void
  /** Answers a tool call. `recorded`: what records have in place of the value. */
  answerTool: (callId: string, ok: boolean, value: unknown, error: string | undefined, recorded?: unknown) => void
  /** A tool runs from now on. `filled`: a caller who waits hears a filler. `ownCallId`: its result is the asking feature's. */
  watchTool: (filled: boolean, ownCallId?: string) => void
  /** `all`: nobody waits for tools any more; those with an effect that were sent continue. `cut`: they are cut off too. */
  cancelTools: (callIds: readonly string[] | 'all' | 'cut') => void
  /** @returns true if an end or a handover that is due has to wait for tools with an effect: it asks again */
  awaitEffects: () => boolean
  /** @returns true if the end has to wait for tools with an effect: `run` is called once it need not */
  delayEnd: (run: () => void) => boolean
  /** Asks the caller for digits. */
  collectDigits: (callId: string, args: Arguments) => void
  /** @returns reason why digits cannot be asked for; null if they can */
  digitsFault: (args: Arguments) => string | null
  sendDigits: (callId: string, keys: string) => void
  /** @returns reason why these keys cannot be sent; null if they can */
  sendDigitsFault: (args: Arguments) => string | null
  /** Promises another agent. @returns reason why the call stays here; null if it goes */
  handOver: (to: string, summary: string) => string | null
  /** The model asks for another stage. */
  goToStage: (callId: string, args: Arguments) => void
  /** Acts on a stage that leads to a human. @returns true if a human is being reached */
  followStage: () => boolean
  /** The model says that the person who was rung back wants to continue. */
  confirmRingBack: (callId: string) => void
  /** Says the consent text once the caller's language is known. @returns false if it was said or need not be said */
  askConsent: () => boolean
  /** The beginning continues: consent, greeting, conversation. */
  converse: () => void
  /** The caller's own words take the greeting's place. `interrupted`: the model's answer to them was cut off. */
  answerFirst: (answers: boolean, interrupted: boolean) => void
  /** The first words wait for the look-up of the caller, then `next` is asked. @returns false if they do not */
  awaitCaller: (next: 'converse' | 'begin') => boolean
  /** Stages and claims learn the caller's data. @returns true if the call goes elsewhere because of them */
  tellCaller: () => boolean
  /** The conversation begins, or continues where it was. */
  begin: () => void
  /** Nobody could be reached: the conversation continues. */
  continueAfterEscalation: () => void
  /** The backend is dead. */
  failModel: (detail: string) => void
}

export type RequestName = keyof Requests

/** Answers of a session that lacks the owner of a request. */
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
