import { assert } from '../core/assert.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { isAgentName } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import type { VoiceAction } from '../sautikit/actions.js'
import { parseEvent } from '../sautikit/events.js'
import type { CarrierEvent } from '../sautikit/events.js'
import { isTerminal } from '../sautikit/carrier-state.js'
import { humanEvent, humanLeg } from '../sautikit/supervision.js'
import { parseStreamStatus } from '../sautikit/stream-status.js'
import { decideVoicePost } from '../sautikit/voice-post.js'
import { EMPTY_RESPONSE, voiceXml } from '../sautikit/voice-xml.js'
import { normaliseParties, parseVoicePost, parseWebhook } from '../sautikit/webhook.js'
import type { Webhook } from '../sautikit/webhook.js'
import type { AgentFacts, LiveCall, PlacedCall } from '../workers/live-call.js'
import type { RefusalReason, WebhookRoute } from '../telemetry/metrics.js'
import { dials, parseOrigin, streamAnswer } from './answer.js'
import type { Origins } from './answer.js'
import type { CallPapers } from './call-papers.js'
import type { DescriptorGuard } from './descriptors.js'
import { NO_CONTENT, xmlReply } from './http-exchange.js'
import type { Reply } from './http-exchange.js'
import type { EdgeOptions } from './options.js'
import { isRejection } from './webhook-guard.js'
import type { WebhookGuard } from './webhook-guard.js'
import { rejection } from './webhook-request.js'
import type { Pass, Rejection, WebhookRequest } from './webhook-request.js'

/** Words for a caller whose agent has no fallback of its own that could be written: never dead air. */
const LAST_WORDS: readonly VoiceAction[] = [
  { verb: 'say', text: 'Sorry, we cannot take your call right now. Please try again later.' },
  { verb: 'hangup' },
]

/** For a human whose caller has left. */
const LEFT: readonly VoiceAction[] = [{ verb: 'hangup' }]

/** The carrier's event for a recording that can be fetched. */
const RECORDING_READY = /^call\.recording\.(ready|completed|available)$/i

type WebhookOptions = Pick<
  EdgeOptions,
  | 'calls'
  | 'outbound'
  | 'onRecordingReady'
  | 'publicUrl'
  | 'nodeUrl'
  | 'nodePort'
  | 'siblings'
  | 'ownedNumbers'
  | 'clock'
  | 'log'
  | 'metrics'
>

/**
 * What each of the carrier's webhooks is answered with. No I/O: requests come whole, answers leave as values.
 */
export class Webhooks {
  readonly #options: WebhookOptions
  readonly #guard: WebhookGuard
  readonly #papers: CallPapers
  readonly #descriptors: Pick<DescriptorGuard, 'low' | 'why'>

  constructor(options: WebhookOptions, guard: WebhookGuard, papers: CallPapers, descriptors: Pick<DescriptorGuard, 'low' | 'why'>) {
    this.#descriptors = descriptors
    this.#options = options
    this.#guard = guard
    this.#papers = papers
  }

  handle(route: WebhookRoute, request: WebhookRequest): Reply | Rejection {
    const answer = this.offer(route, { ...request, mayPass: false })
    assert(!('pass' in answer), 'a webhook that may not be passed on is answered')
    return answer
  }

  /** As `handle`, but a new call that finds no room is given back where the request `mayPass`. */
  offer(route: WebhookRoute, request: WebhookRequest): Reply | Rejection | Pass {
    try {
      switch (route) {
        case 'voice':
          return this.#voice(request)
        case 'stream-status':
          return this.#streamStatus(request)
        case 'after-stream':
          return this.#afterStream(request)
        case 'human':
          return this.#human(request)
        case 'events':
          return this.#events(request)
      }
    } catch (error) {
      return badBody(error)
    }
  }

  // --- POST /voice --------------------------------------------------------------------------------------------

  #voice(request: WebhookRequest): Reply | Rejection | Pass {
    const proof = this.#guard.proveSignature(request)
    if (isRejection(proof)) return proof
    const posted = parseVoicePost(request.contentType, request.body)
    if (posted === null) return xmlReply(EMPTY_RESPONSE) // an event of something that is no call
    const webhook = normaliseParties(posted, this.#options.ownedNumbers)
    const tooMany = this.#guard.admitCall(webhook.callSid)
    if (tooMany !== null) return tooMany

    const { calls, outbound } = this.#options
    const call = calls.find(webhook.callSid)
    if (webhook.kind === null) call?.carrierState(webhook.state)
    else this.#told(webhook, webhook.callSid)
    this.#noteAfterStream(webhook)
    const placed = outbound?.find(webhook.callSid, webhook.clientRequestId ?? request.label ?? null)
    if (call === undefined && (placed !== undefined || (webhook.direction === 'outbound' && !calls.known(webhook.callSid)))) {
      return this.#calledOut(webhook, placed, request)
    }
    const decision = decideVoicePost({
      state: webhook.state,
      kind: webhook.kind,
      direction: webhook.direction,
      sidOfPbx: webhook.sidOfPbx,
      served: this.#papers.find(webhook.callSid)?.served !== false,
      known: calls.known(webhook.callSid) || call !== undefined || this.#options.siblings?.lost(webhook.callSid) === true,
      phase: call?.state ?? null,
      escalation: this.#escalationOf(webhook, call),
    })
    switch (decision) {
      case 'open-stream':
        return this.#openStream(webhook, request)
      case 'repeat-document':
        this.#noteServed(webhook)
        return xmlReply(call?.document ?? EMPTY_RESPONSE)
      case 'continue':
        return xmlReply(this.#write(webhook.callSid, call?.continuation('voice', webhook.digits) ?? [], []))
      case 'empty':
        return xmlReply(EMPTY_RESPONSE)
    }
  }

  /** A call that was placed, before it has a stream. @param placed  undefined when it was not this process that placed it */
  #calledOut(webhook: Webhook, placed: PlacedCall | undefined, request: WebhookRequest): Reply | Rejection | Pass {
    const { calls, outbound } = this.#options
    if (placed !== undefined && webhook.kind === null) outbound?.state(webhook.callSid, placed.clientRequestId, webhook.state)
    if (isTerminal(webhook.state)) return xmlReply(EMPTY_RESPONSE)
    // A stream that opens while it rings would have the agent talk to the ringing.
    const agent = placed?.agent ?? request.agent ?? calls.defaultAgent
    const wait = agent !== null && calls.agent(agent)?.outbound.openOn === 'answered'
    if (webhook.kind !== null || (wait && webhook.state === 'ringing')) return xmlReply(EMPTY_RESPONSE)
    return this.#openStream(webhook, request, placed)
  }

  /** What the edge can tell of a call's escalation: it is asked how to go on when its stream is over. */
  #escalationOf(webhook: Webhook, call: LiveCall | undefined): 'none' | 'pending' | 'dialing' {
    if (call === undefined) return 'none'
    if (this.#papers.find(webhook.callSid)?.dialServed === true) return 'dialing'
    // The carrier may report the stream's end before our own socket has noticed it.
    const streamOver =
      webhook.state === 'stream-stopped' || webhook.state === 'stream-error' || webhook.state === 'dial-completed'
    return call.state === 'after' || streamOver ? 'pending' : 'none'
  }

  #openStream(webhook: Webhook, request: WebhookRequest, placed?: PlacedCall): Reply | Rejection | Pass {
    const { calls, log, clock } = this.#options
    const name = placed?.agent ?? request.agent ?? calls.defaultAgent
    const agent = name === null ? undefined : calls.agent(name)
    if (agent === undefined) {
      this.#refused('agent-unknown', webhook.callSid, null, 'the path names no agent of this gateway')
      return rejection(
        'agent-unknown',
        404,
        'AGENT_UNKNOWN',
        name === null
          ? `the path names no agent and there is no default; agents are: ${calls.agentNames().join(', ')}`
          : `there is no agent of that name; agents are: ${calls.agentNames().join(', ')}`,
      )
    }
    const origins = this.#originsOf(request.host)
    if (origins === null) return rejection('malformed', 400, 'WEBHOOK_MALFORMED', 'the Host header is no host')

    const noRoom = (reason: Pass['pass']): Reply | Pass =>
      request.mayPass === true && placed === undefined ? { pass: reason } : this.#fallback(agent, webhook.callSid, reason)
    if (calls.draining) return noRoom('draining')
    if (calls.free <= 0) return noRoom('capacity')
    // Its audio socket would find a closed port.
    if (this.#descriptors.low) return noRoom('file-descriptors')
    let call: LiveCall | null = null
    try {
      call = calls.prepare({
        callSid: webhook.callSid,
        agent: agent.name,
        from: placed?.from ?? webhook.from,
        to: placed?.to ?? webhook.to,
        direction: placed === undefined ? (webhook.direction ?? 'inbound') : 'outbound',
        ...(placed === undefined ? {} : { placed }),
      })
      if (placed !== undefined) this.#options.outbound?.taken(placed)
      const { actions, afterStreamUrl, humanUrl } = streamAnswer(agent, webhook.callSid, origins, this.#papers)
      call.document = voiceXml(actions)
      call.afterStreamUrl = afterStreamUrl
      call.humanUrl = humanUrl
      this.#papers.write(webhook.callSid, { agent: agent.name, answeredAtMs: clock() })
      this.#noteServed(webhook)
      return xmlReply(call.document)
    } catch (error) {
      const code = error instanceof GatewayError ? error.code : null
      if (code === 'DUPLICATE_CALL') {
        this.#refused('duplicate', webhook.callSid, agent.name, 'this call was answered before')
        return xmlReply(EMPTY_RESPONSE)
      }
      call?.hangup('call-fault', 'its document could not be written', false)
      if (code === 'CAPACITY') return noRoom('capacity')
      if (code === 'DRAINING') return noRoom('draining')
      log.call(webhook.callSid).error({ err: error }, 'A call could not be opened; its caller hears the fallback')
      return this.#fallback(agent, webhook.callSid, 'fault')
    }
  }

  /** With siblings any process takes the webhooks, and the audio must come here; without, all of it must. */
  #originsOf(host: string): Origins | null {
    const { nodeUrl, nodePort, publicUrl, siblings } = this.#options
    const webhooks = parseOrigin((siblings === undefined ? nodeUrl : null) ?? publicUrl ?? `http://${host}`)
    const ownPort = siblings !== undefined && publicUrl === null && nodePort !== undefined
    const audio = nodeUrl !== null ? parseOrigin(nodeUrl) : ownPort ? parseOrigin(`http://${host.replace(/:\d+$/, '')}:${nodePort}`) : webhooks
    return webhooks === null || audio === null ? null : { webhooks, audio }
  }

  /** No stream for this caller: the agent's words instead, and a human where one is set. */
  #fallback(agent: AgentFacts, callSid: CallSid, reason: RefusalReason): Reply {
    const why = this.#whyRefused(reason)
    this.#refused(reason, callSid, agent.name, why)
    this.#options.log
      .call(callSid)
      .warn({ agent: agent.name, reason, why }, 'A call was refused; its caller hears the fallback')
    return xmlReply(this.#write(callSid, agent.fallback.length === 0 ? LAST_WORDS : agent.fallback, LAST_WORDS))
  }

  /** With the figures that decided it. */
  #whyRefused(reason: RefusalReason): string {
    const { capacity, free, draining } = this.#options.calls
    if (reason === 'capacity') return `${capacity - free} of ${capacity} slots are taken`
    if (reason === 'file-descriptors') return this.#descriptors.why
    return draining ? 'this process is draining' : 'its document could not be written'
  }

  #refused(reason: RefusalReason, callSid: CallSid, agent: string | null, why: string): void {
    this.#options.metrics.callsRefused({ reason }).inc(1, callSid)
    this.#guard.refusals.note({ reason, why, callSid, agent })
  }

  // --- POST /after-stream -------------------------------------------------------------------------------------

  #afterStream(request: WebhookRequest): Reply | Rejection {
    const proof = this.#guard.prove(request, 'after-stream')
    if (isRejection(proof)) return proof
    const webhook =
      proof.callSid === null || request.body.byteLength > 0 ? this.#readLoosely(request, proof.callSid) : null
    const callSid = proof.callSid ?? webhook?.callSid ?? null
    if (callSid === null)
      return rejection('malformed', 400, 'WEBHOOK_MALFORMED', 'neither a token nor the body names a call')
    const tooMany = this.#guard.admitCall(callSid)
    if (tooMany !== null) return tooMany

    const call = this.#options.calls.find(callSid)
    if (webhook !== null && webhook.state !== 'unknown') call?.carrierState(webhook.state)
    this.#options.calls.afterStream(callSid, webhook?.state === 'completed' ? 'over' : 'asked')
    if (webhook?.state === 'completed') return xmlReply(EMPTY_RESPONSE) // nobody is left to hear it
    const actions = call?.continuation('after-stream', webhook?.digits ?? null) ?? []
    // Who is being fetched must not be hung up on by the agent's goodbye.
    if (actions.length > 0 || call?.escalating === true) return xmlReply(this.#write(callSid, actions, []))
    const agent = this.#agentOf(callSid, request)
    return xmlReply(this.#write(callSid, agent?.afterCall ?? [], LAST_WORDS))
  }

  /** The body where it can be read; a continuation with a token needs none. */
  #readLoosely(request: WebhookRequest, tokenSid: CallSid | null): Webhook | null {
    try {
      const webhook = parseWebhook(request.contentType, request.body)
      return tokenSid === null || webhook.callSid === tokenSid ? webhook : null
    } catch (error) {
      if (tokenSid === null) throw error
      return null
    }
  }

  #agentOf(callSid: CallSid, request: WebhookRequest): AgentFacts | undefined {
    const { calls } = this.#options
    const name = this.#papers.find(callSid)?.agent ?? calls.record(callSid)?.agent ?? request.agent
    return name === undefined ? undefined : calls.agent(name)
  }

  /** Remembers that whoever asks for the document was given it; an event is answered with it too, and may not read it. */
  #noteServed(webhook: Webhook): void {
    const paper = this.#papers.find(webhook.callSid)
    if (paper !== undefined && webhook.kind === null) paper.served = true
  }

  /** A carrier that asks at its voice URL how a call goes on says so by the state; any other state asks nothing. */
  #noteAfterStream(webhook: Webhook): void {
    const { calls } = this.#options
    if (isTerminal(webhook.state)) calls.afterStream(webhook.callSid, 'over')
    else if (webhook.state === 'stream-stopped' && webhook.kind === null) calls.afterStream(webhook.callSid, 'asked')
  }

  // --- POST /human --------------------------------------------------------------------------------------------

  /** The leg of a human who was called into a conference. The token names the caller's call; the body, the human's. */
  #human(request: WebhookRequest): Reply | Rejection {
    const proof = this.#guard.prove(request, 'human')
    if (isRejection(proof)) return proof
    if (proof.callSid === null) return rejection('malformed', 400, 'WEBHOOK_MALFORMED', 'the URL has no token')
    const tooMany = this.#guard.admitCall(proof.callSid)
    if (tooMany !== null) return tooMany
    const call = this.#options.calls.find(proof.callSid)
    const { callSid: leg, state, kind } = parseWebhook(request.contentType, request.body)
    // Taken before the call hears of it: it may be over for us once the human is there.
    const document = call?.humanDocument() ?? LEFT
    const event = humanLeg(state)
    if (event !== null) call?.human(event)
    if (kind !== null || isTerminal(state)) return xmlReply(EMPTY_RESPONSE)
    // Later edges of a leg that is in the room: another document would take it out again.
    if (!this.#papers.isNewEvent(`human ${leg} ${state}`)) return xmlReply(EMPTY_RESPONSE)
    // Without a call the caller has gone meanwhile: nobody is to be put into an empty room.
    return xmlReply(this.#write(proof.callSid, document, LEFT))
  }

  // --- POST /stream-status ------------------------------------------------------------------------------------

  #streamStatus(request: WebhookRequest): Reply | Rejection {
    const proof = this.#guard.prove(request, 'stream-status')
    if (isRejection(proof)) return proof
    const status = parseStreamStatus(request.contentType, request.body, proof.callSid ?? undefined)
    const callSid = proof.callSid ?? status.callSid
    if (callSid === null) return NO_CONTENT
    const tooMany = this.#guard.admitCall(callSid)
    if (tooMany !== null) return tooMany
    if (!this.#papers.isNewEvent(status.dedupeKey)) return NO_CONTENT
    const call = this.#options.calls.find(callSid)
    if (call === undefined || status.event === 'unknown') return NO_CONTENT
    if (status.event === 'stream-error') {
      this.#options.log
        .call(callSid)
        .warn({ streamSid: status.streamSid, reason: status.error }, 'The carrier reports a stream error')
    }
    call.carrierState(status.event)
    // Fire and forget: carriers do not read the answer, so the way on is kept for who does.
    return NO_CONTENT
  }

  // --- POST /events -------------------------------------------------------------------------------------------

  #events(request: WebhookRequest): Reply | Rejection {
    const proof = this.#guard.proveSignature(request)
    if (isRejection(proof)) return proof
    const event = parseEvent(request.contentType, request.body)
    if (event.callSid !== null) {
      const tooMany = this.#guard.admitCall(event.callSid)
      if (tooMany !== null) return tooMany
    }
    if (event.callSid !== null) this.#told(event, event.callSid)
    return NO_CONTENT // the answer to an event is not read, so nothing may be asked of the call here
  }

  /** What an event tells of its call, once, whichever URL it came to. */
  #told(event: CarrierEvent, callSid: CallSid): void {
    if (!this.#papers.isNewEvent(event.dedupeKey)) return
    const call = this.#options.calls.find(callSid)
    if (event.state !== 'unknown') {
      if (call === undefined) this.#options.outbound?.state(callSid, event.clientRequestId, event.state)
      else call.carrierState(event.state)
    }
    if (RECORDING_READY.test(event.kind ?? '')) this.#options.onRecordingReady?.(callSid)
    const human = humanEvent(event.kind)
    if (human !== null) call?.human(human)
  }

  /** XML of `actions`, or of `instead` when the carrier could not take them; remembers that somebody was rung. */
  #write(callSid: CallSid, actions: readonly VoiceAction[], instead: readonly VoiceAction[]): string {
    try {
      const document = voiceXml(actions)
      const paper = this.#papers.find(callSid)
      if (paper !== undefined && dials(actions)) paper.dialServed = true
      return document
    } catch (error) {
      this.#options.log
        .call(callSid)
        .error({ err: error }, 'A document cannot be written; the caller hears the last words')
      return voiceXml(instead.length === 0 ? LAST_WORDS : instead)
    }
  }
}

/** The agent's name of a path such as `/voice/order-status`; null when it is no name. */
export function agentOfPath(parameter: string | undefined): string | null {
  return isAgentName(parameter) ? parameter : null
}

function badBody(error: unknown): Rejection {
  if (error instanceof GatewayError) {
    if (error.code === 'CONTENT_TYPE') return rejection('content-type', 415, 'CONTENT_TYPE', error.message)
    if (error.code === 'BODY_TOO_LARGE')
      return rejection('too-large', 413, 'BODY_TOO_LARGE', error.message, { close: true })
    if (error.code === 'WEBHOOK_MALFORMED') return rejection('malformed', 400, 'WEBHOOK_MALFORMED', error.message)
  }
  throw new Error(`webhook handler failed: ${messageOf(error)}`, { cause: error })
}
