import { noUsage } from '../../call/usage.js'
import { forgetOldest } from '../../core/forget-oldest.js'
import { BACKEND_RESPONSES_KEPT, BACKEND_TOOL_CALLS_KEPT } from '../../core/limits.js'
import type { ToolReply } from '../backend.js'
import { lateToolText } from '../prompts.js'
import { Alarm } from '../timers.js'
import { replyText } from '../tool-text.js'
import { vendorFault, vendorWord } from '../transport/vendor-fault.js'
import { usageNumber } from '../watch.js'
import { STALE_RESULT_MS } from './delegate.js'
import type { Delegate, DelegateHost } from './delegate.js'
import { functionTool } from '../openai-realtime/session-config.js'
import { delegateInstructions } from './session-start.js'
import type { WireDelegateEvent } from './wire.js'

/**
 * A delegate that the service runs: a model of the Responses API beside the live one. It calls our tools, and the live
 * model speaks its text, without our help.
 *
 *     idle    --delegation, response.create--> working
 *     working --function call--> the tool runs; its result goes at once
 *     working --response over, every call has its result--> `response.create`, when there were calls; else idle
 *     a result after STALE_RESULT_MS --> no request: the delegate knows the result, and the live model knows it
 * silently
 *     working --no event for `timeoutMs`, no tool running--> idle, and the delegation is given up
 *
 * All delegations share one conversation, which takes no new request while a call in it has no result.
 */
export class HostedDelegate implements Delegate {
  readonly #host: DelegateHost
  readonly #model: string
  /** Responses under way, by id. */
  readonly #active = new Set<string>()
  /** A response was requested, by us or by the live model, and has not begun. */
  #expected = false
  /** The conversation has something new that the delegate must look at. */
  #wanted = false
  readonly #openCalls = new Map<string, { readonly name: string; readonly atMs: number }>()
  readonly #seenCalls = new Set<string>()
  /** True if later events belong to delegations that were given up. */
  #givenUp = false
  readonly #silence = new Alarm()

  constructor(host: DelegateHost, model: string) {
    this.#host = host
    this.#model = model
  }

  created(_delegationId: string): void {
    // The service has asked by itself.
    if (this.#host.asks()) this.#expect()
  }

  ask(text: string, role: 'caller' | 'system'): void {
    this.#host.send({
      type: 'response.item.create',
      item: {
        type: 'message',
        role: role === 'caller' ? 'user' : 'developer',
        content: [{ type: 'input_text', text }],
      },
    })
    this.#wanted = true
    this.#request()
  }

  toolResult(callId: string, reply: ToolReply): void {
    const call = this.#openCalls.get(callId)
    if (call === undefined) return
    this.#openCalls.delete(callId)
    this.#answer(callId, replyText(reply))
    if (this.#host.nowMs() - call.atMs > STALE_RESULT_MS) {
      this.#host.stats.staleQuiet++
      this.#host.context('thinking', lateToolText(call.name, reply), null)
    } else {
      this.#wanted = true
    }
    this.#watch()
    this.#request()
  }

  /** The service keeps what was said. */
  updateSession({ instructions, tools }: Parameters<Delegate['updateSession']>[0]): void {
    this.#host.send({
      type: 'session.update',
      session: {
        delegation: {
          type: 'responses',
          responses: {
            ...(instructions === undefined ? {} : { instructions: delegateInstructions(instructions) }),
            ...(tools === undefined ? {} : { tools: tools.map(functionTool) }),
          },
        },
      },
    })
  }

  /** A streaming event of the delegate. */
  event(event: WireDelegateEvent): void {
    switch (event.type) {
      case 'response.created':
        this.#givenUp = false
        this.#expected = false
        this.#active.add(idOf(event))
        forgetOldest(this.#active, BACKEND_RESPONSES_KEPT)
        break
      case 'response.output_item.done':
        this.#itemDone(event)
        break
      case 'response.completed':
        this.#over(event)
        break
      case 'response.incomplete':
      case 'response.failed':
      case 'error':
        this.#over(event)
        if (this.#givenUp) break
        this.#failed(event)
        break
      default:
        // Pieces of text and reasoning: a sign of life.
        break
    }
    this.#watch()
  }

  close(): void {
    this.#silence.clear()
    this.#openCalls.clear()
  }

  get #working(): boolean {
    return this.#expected || this.#active.size > 0
  }

  #expect(): void {
    this.#givenUp = false
    this.#expected = true
    this.#watch()
  }

  #request(): void {
    if (!this.#wanted || this.#working || this.#openCalls.size > 0) return
    this.#wanted = false
    if (!this.#host.asks()) return
    this.#host.send({ type: 'response.create' })
    this.#expect()
  }

  #answer(callId: string, output: string): void {
    this.#host.send({ type: 'response.item.create', item: { type: 'function_call_output', call_id: callId, output } })
  }

  #itemDone({ item }: WireDelegateEvent): void {
    if (item?.type !== 'function_call' || typeof item.call_id !== 'string' || typeof item.name !== 'string') return
    const callId = item.call_id
    if (item.status === 'incomplete' || this.#seenCalls.has(callId)) return
    this.#seenCalls.add(callId)
    forgetOldest(this.#seenCalls, BACKEND_TOOL_CALLS_KEPT)
    if (this.#givenUp) {
      this.#host.stats.lateToolCalls++
      // Without a result the conversation would take no new request.
      this.#answer(callId, '{"error":"Too late: this was given up."}')
      return
    }
    this.#openCalls.set(callId, { name: item.name, atMs: this.#host.nowMs() })
    this.#host.calls(
      [{ callId, name: item.name, argumentsText: typeof item.arguments === 'string' ? item.arguments : '' }],
      false,
    )
  }

  #over(event: WireDelegateEvent): void {
    const usage = event.response?.usage
    if (usage != null)
      this.#host.usage({
        ...noUsage(),
        model: this.#model,
        inputTokens: usageNumber(usage.input_tokens),
        inputCachedTokens: usageNumber(usage.input_tokens_details?.cached_tokens),
        outputTokens: usageNumber(usage.output_tokens),
      })
    this.#active.delete(idOf(event))
    this.#expected = false
    this.#request()
  }

  #failed({ type, response }: WireDelegateEvent): void {
    const word = vendorWord(response?.error?.code) || vendorWord(response?.incomplete_details?.reason) || String(type)
    const code = /rate_limit/.test(word) ? 'rate_limit' : /quota/.test(word) ? 'quota' : 'internal'
    this.#host.stats.delegationsFailed++
    this.#host.failed(word, vendorFault(code, `${this.#host.service}: the delegate failed (${word})`, code === 'quota'))
  }

  /** Each event of the delegate gives it more time. */
  #watch(): void {
    if (this.#working) this.#silence.set(this.#host.timeoutMs, () => this.#silent())
    else this.#silence.clear()
  }

  #silent(): void {
    // The delegate waits for us.
    if (this.#openCalls.size > 0) return this.#watch()
    this.#active.clear()
    this.#expected = false
    // It has all results and only its end is missing.
    if (this.#wanted) return this.#request()
    this.#givenUp = true
    this.#host.stats.delegationsGivenUp++
    const { service, timeoutMs } = this.#host
    const words = `${service}: the delegate was silent for ${timeoutMs} ms and is given up`
    this.#host.failed('timeout', vendorFault('timeout', words, false))
  }
}

function idOf({ response }: WireDelegateEvent): string {
  return typeof response?.id === 'string' ? response.id : ''
}
