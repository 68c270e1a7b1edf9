import { noUsage } from '../../../call/usage.js'
import { forgetOldest } from '../../../core/forget-oldest.js'
import { BACKEND_RESPONSES_KEPT } from '../../../core/limits.js'
import type { ToolReply } from '../../../backends/backend.js'
import { lateToolText } from '../../../backends/prompts.js'
import { Alarm } from '../../../backends/timers.js'
import { replyText } from '../../../backends/tool-text.js'
import { CallIds } from '../../../backends/transport/call-ids.js'
import { vendorFault, vendorWord } from '../../../backends/transport/vendor-fault.js'
import { usageNumber } from '../../../backends/watch.js'
import { STALE_RESULT_MS } from './delegate.js'
import type { Delegate, DelegateHost } from './delegate.js'
import { functionTool } from '../../self-hosted/realtime/session-config.js'
import { delegateInstructions } from './session-start.js'
import type { WireDelegateEvent } from './wire.js'

/**
 * A delegate that the service runs: a model of the Responses API beside the live model. The delegate calls the
 * gateway's tools, and the live model speaks the delegate's text without the gateway's help.
 *
 *     idle    --delegation, `response.create`--> working
 *     working --function call--> working: the tool runs, and its result is sent at once
 *     working --the response with tool calls is over, and all results were sent--> working: `response.create`
 *     working --a response without tool calls is over--> idle
 *     working --no event for `timeoutMs`, and no tool is running--> idle: the delegation has failed
 *     (any)   --a result after STALE_RESULT_MS--> no request; the delegate and, silently, the live model get the result
 *
 * All delegations share one conversation. The conversation does not accept a new request while a tool call lacks its
 * result.
 */
export class HostedDelegate implements Delegate {
  readonly #host: DelegateHost
  readonly #model: string
  /** Ids of running responses. */
  readonly #active = new Set<string>()
  /** True if the gateway or the live model requested a response that has not begun. */
  #expected = false
  /** True if the conversation has new content for the delegate. */
  #wanted = false
  readonly #openCalls = new Map<string, { readonly name: string; readonly atMs: number }>()
  readonly #ids = new CallIds()
  /** Number of the delegate's newest response. */
  #responses = 0
  /** True if later events belong to abandoned delegations. */
  #givenUp = false
  readonly #silence = new Alarm()

  constructor(host: DelegateHost, model: string) {
    this.#host = host
    this.#model = model
  }

  created(_delegationId: string): void {
    // The service has already sent the request to its delegate, so a response is expected.
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

  /** Changes instructions and tools; the service keeps the conversation. */
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

  /** Handles a streaming event of the delegate. */
  event(event: WireDelegateEvent): void {
    switch (event.type) {
      case 'response.created':
        this.#givenUp = false
        this.#expected = false
        this.#responses++
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
        // Pieces of text and reasoning only show progress.
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
    const call_id = this.#ids.serviceId(callId)
    this.#host.send({ type: 'response.item.create', item: { type: 'function_call_output', call_id, output } })
  }

  #itemDone({ item }: WireDelegateEvent): void {
    if (item?.type !== 'function_call' || typeof item.call_id !== 'string' || typeof item.name !== 'string') return
    if (item.status === 'incomplete') return
    const callId = this.#ids.take(item.call_id, this.#responses)
    if (callId === null) return
    if (this.#givenUp) {
      this.#host.stats.lateToolCalls++
      // The conversation accepts no new request before it has this result.
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

  /** Restarts the time limit at each event of the delegate. */
  #watch(): void {
    if (this.#working) this.#silence.set(this.#host.timeoutMs, () => this.#silent())
    else this.#silence.clear()
  }

  #silent(): void {
    // The delegate waits for the gateway's tools.
    if (this.#openCalls.size > 0) return this.#watch()
    this.#active.clear()
    this.#expected = false
    // The delegate has all results; only the end of its response is missing.
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
