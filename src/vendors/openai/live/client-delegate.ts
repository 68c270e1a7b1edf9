import { TOOLS_AFTER_SPEECH } from '../../../call/tools/gateway-tools.js'
import { omitNullish } from '../../../core/omit-nullish.js'
import { forgetOldest } from '../../../core/forget-oldest.js'
import { BACKEND_TOOL_CALLS_KEPT } from '../../../core/limits.js'
import type { ToolReply } from '../../../backends/backend.js'
import { chat } from '../../../backends/cascade/chat-requests.js'
import type { ChatOptions } from '../../../backends/cascade/chat-requests.js'
import type { Conversation } from '../../../backends/cascade/conversation.js'
import { Sentences } from '../../../backends/cascade/sentences.js'
import { serviceContext } from '../../../backends/cascade/service-context.js'
import { ServiceFault } from '../../../backends/cascade/service-fault.js'
import type { LanguageModel } from '../../../backends/cascade/service.js'
import { WrittenCalls } from '../../../backends/cascade/written-calls.js'
import { lateToolText } from '../../../backends/prompts.js'
import { replyText } from '../../../backends/tool-text.js'
import { vendorFault } from '../../../backends/transport/vendor-fault.js'
import type { VendorFault } from '../../../backends/transport/vendor-fault.js'
import { STALE_RESULT_MS } from './delegate.js'
import type { Delegate, DelegateHost } from './delegate.js'
import { delegateInstructions } from './session-start.js'

/**
 * Maximum number of consecutive requests of one delegation; each request contains the results of the previous request.
 */
const ROUNDS_MAX = 8

interface Run {
  readonly delegationId: string | null
  readonly abort: AbortController
  readonly timer: NodeJS.Timeout
}

/**
 * The gateway's own delegate: a language model on `/v1/chat/completions`, as in the cascade. A delegation has no text,
 * so each request contains the whole conversation so far.
 *
 *     idle   --delegation, text--> asking
 *     asking --answer--> idle: the live model speaks the answer
 *     asking --tool calls--> idle
 *     idle   --last result of the tool calls--> asking, at most ROUNDS_MAX times
 *     asking --delegation, text--> asking: the running answer is dropped, because it lacks the newest words
 *     (any)  --a result while asking, or after STALE_RESULT_MS--> the live model gets the result as silent information
 */
export class ClientDelegate implements Delegate {
  readonly #host: DelegateHost
  readonly #model: LanguageModel
  readonly #closed = new AbortController()
  readonly #conversation: Conversation
  readonly #calls = new Map<
    string,
    { readonly name: string; readonly delegationId: string | null; readonly atMs: number }
  >()
  #run: Run | null = null
  #rounds = 0
  #runs = 0

  constructor(host: DelegateHost, conversation: Conversation, llm: ChatOptions) {
    const { service: name, nowMs } = host
    this.#host = host
    this.#conversation = conversation
    this.updateSession(conversation.session)
    this.#model = chat(llm).make(
      serviceContext(name, nowMs, this.#closed.signal, { used: (usage) => host.usage(usage) }),
    )
  }

  created(delegationId: string): void {
    this.#rounds = 0
    this.#ask(delegationId)
  }

  ask(text: string, role: 'caller' | 'system'): void {
    if (role === 'caller') this.#conversation.caller(text)
    else this.#conversation.note(text)
    this.#rounds = 0
    this.#ask(null)
  }

  toolResult(callId: string, reply: ToolReply): void {
    const call = this.#calls.get(callId)
    if (call === undefined) return
    this.#calls.delete(callId)
    const last = this.#conversation.answered(callId, replyText(reply))
    if (this.#run !== null || this.#host.nowMs() - call.atMs > STALE_RESULT_MS) {
      this.#host.stats.staleQuiet++
      this.#host.context('thinking', lateToolText(call.name, reply), call.delegationId)
    } else if (last) {
      this.#ask(call.delegationId)
    }
  }

  updateSession({ instructions, tools, forget = false }: Parameters<Delegate['updateSession']>[0]): void {
    if (forget) this.#conversation.forget()
    const told = instructions === undefined ? undefined : delegateInstructions(instructions)
    this.#conversation.session = { ...this.#conversation.session, ...omitNullish({ instructions: told, tools }) }
  }

  close(): void {
    this.#stop()
    this.#closed.abort()
    this.#calls.clear()
  }

  #stop(): boolean {
    const run = this.#run
    if (run === null) return false
    this.#run = null
    clearTimeout(run.timer)
    run.abort.abort()
    return true
  }

  #ask(delegationId: string | null): void {
    if (this.#stop()) this.#host.stats.staleDropped++
    const { service, timeoutMs } = this.#host
    if (!this.#host.asks()) return
    if (++this.#rounds > ROUNDS_MAX)
      return this.#giveUp(
        vendorFault('internal', `${service}: the delegate called tools ${ROUNDS_MAX} times in a row`, false),
      )
    const timer = setTimeout(() => {
      if (this.#run === run && this.#stop())
        this.#giveUp(
          vendorFault('timeout', `${service}: the delegate did not end in ${timeoutMs} ms and is given up`, false),
        )
    }, timeoutMs).unref()
    const run: Run = { delegationId, abort: new AbortController(), timer }
    this.#run = run
    this.#answer(run).catch((error: unknown) => {
      if (this.#run !== run) return
      this.#stop()
      this.#host.stats.delegationsFailed++
      const fault =
        error instanceof ServiceFault ? error.fault : vendorFault('internal', `${service}: the delegate failed`, false)
      this.#host.failed(fault.code, fault)
    })
  }

  #giveUp(fault: VendorFault): void {
    this.#host.stats.delegationsGivenUp++
    this.#host.failed(fault.code, fault)
  }

  async #answer(run: Run): Promise<void> {
    const { signal } = run.abort
    const sentences = new Sentences()
    const said: string[] = []
    const written = new WrittenCalls(`delegated-${++this.#runs}`, (id) => this.#conversation.hasCall(id))
    for await (const { text, calls } of this.#model.answer(this.#conversation.request(), signal)) {
      if (this.#run !== run) return
      if (text !== undefined) said.push(...sentences.push(text))
      if (calls !== undefined) written.collect(calls)
    }
    if (this.#run !== run) return
    said.push(...sentences.flush())
    clearTimeout(run.timer)
    this.#run = null
    const text = said.join(' ')
    if (text !== '') this.#host.context('commentary', text, run.delegationId)
    if (written.all.length === 0) return
    this.#conversation.called(written.entries())
    for (const { id, name } of written.all) {
      this.#calls.set(id, { name, delegationId: run.delegationId, atMs: this.#host.nowMs() })
      forgetOldest(this.#calls, BACKEND_TOOL_CALLS_KEPT)
    }
    const calls = written.all.map(({ id: callId, name, argumentsText }) => ({ callId, name, argumentsText }))
    const [last, now] = [true, false].map((ends) =>
      calls.filter(({ name }) => (text !== '' && TOOLS_AFTER_SPEECH.includes(name)) === ends),
    ) as [typeof calls, typeof calls]
    if (now.length > 0) this.#host.calls(now, false)
    if (last.length > 0) this.#host.calls(last, true)
  }
}
