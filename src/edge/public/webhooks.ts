import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import { GatewayError } from '../../core/errors.js'
import { parseCallSid } from '../../core/ids.js'
import type { CallSid } from '../../core/ids.js'
import type { CallRefusal } from '../../call/documents/record.js'
import { ANSWERED_CALLS_MAX, CALLER_HELD_MS, FALLBACK_AFTER_MS } from '../../core/limits.js'
import { agentIsFull } from '../../fleet/agent-capacity.js'
import type { NoRoom, NoRoomReason, ProvenWebhook } from '../../fleet/proven-webhook.js'
import type { AnswerHow } from '../../fleet/routing.js'
import { sameNumber } from '../../sautikit/phone.js'
import type { VoiceAction } from '../../sautikit/actions.js'
import type { CarrierEvent, Webhook } from '../../sautikit/webhook.js'
import { isTerminal, humanEvent, humanLeg, decideVoicePost } from '../../sautikit/carrier-state.js'
import { EMPTY_RESPONSE, voiceXml } from '../../sautikit/actions.js'
import { normaliseParties } from '../../sautikit/webhook.js'
import type { Log } from '../../telemetry/log.js'
import type { OutboundCalls } from '../../workers/main/outbound-calls.js'
import { roomOf } from '../../workers/main/live-call.js'
import { callOf, calledBack } from '../../workers/main/kept-call.js'
import type { KeptState } from '../../call/documents/kept-call.js'
import type { AgentFacts, LiveCall, NewCall, PlacedCall } from '../../workers/main/live-call.js'
import type { RefusalReason, WebhookRoute } from '../../telemetry/metric-labels.js'
import type { Admission } from './admission.js'
import { CallerLimits } from './caller-limits.js'
import { NO_CONTENT, errorReply, jsonReply, xmlReply } from '../http/reply.js'
import type { Reply } from '../http/reply.js'
import type { EdgeOptions } from '../options.js'
import { rejection } from './rejections.js'
import type { WebhookAnswer } from './rejections.js'
import type { StreamTokens } from './stream-tokens.js'
import { tokenAlone } from './webhook-guard.js'
import type { WebhookGuard } from './webhook-guard.js'

/** Maximum number of event ids that are remembered, to detect repetitions: one minute of a large installation. */
const EVENT_IDS_MAX = 20_000

type WebhookOf<Route extends WebhookRoute> = Extract<ProvenWebhook, { readonly route: Route }>

/**
 * Maximum number of remembered calls of refused callers: the last webhook about a call comes within minutes. The
 * fleet's store knows forgotten calls.
 */
const TURNED_AWAY_MAX = 10_000

/** Document for a human whose caller has left. */
const HANG_UP: readonly VoiceAction[] = [{ verb: 'hangup' }]

const LATE = errorReply(410, 'GONE', 'nothing waits for this outcome any more')
const AGAIN = { headers: [['Retry-After', '2']] } as const
/** Answer to the post of a tool's outcome while the call moves to another node. */
const MOVING = errorReply(503, 'MOVING', 'the call moves to another node; send it again', AGAIN)
const NOT_KEPT = errorReply(503, 'NOT_KEPT', 'the outcome could not be stored; send it again', AGAIN)

/** The carrier's event for a recording that can be fetched. */
const RECORDING_READY = /^call\.recording\.(ready|completed|available)$/i

/**
 * Answers to the carrier's webhooks. This class does no I/O: webhooks come proven and parsed, and answers are returned
 * as values.
 */
export class Webhooks {
  readonly #options: WebhookOptions
  readonly #guard: WebhookGuard
  readonly #tokens: StreamTokens
  readonly #admission: Admission
  readonly #callers: CallerLimits
  readonly #answered = new LRUCache<string, AnsweredCall>(atMost(ANSWERED_CALLS_MAX))
  readonly #events = new LRUCache<string, true>(atMost(EVENT_IDS_MAX))
  readonly #turnedAway = new LRUCache<string, 'fallback' | 'busy'>(atMost(TURNED_AWAY_MAX))

  constructor(options: WebhookOptions, guard: WebhookGuard, tokens: StreamTokens, admission: Admission) {
    this.#admission = admission
    this.#callers = new CallerLimits(options.callerLimits, options.calls, options.fleet?.node ?? null)
    this.#options = options
    this.#guard = guard
    this.#tokens = tokens
  }

  /** Time of the answer to a call's first webhook, on the monotonic clock. */
  answeredAtMs(callSid: string): number | undefined {
    return this.#answered.get(callSid)?.answeredAtMs
  }

  /** True if the caller of a new call got the fallback here in place of a stream. */
  turnedAway(callSid: string): boolean {
    return this.#turnedAway.has(callSid)
  }

  /** Answers like `offer`; a new call without a free slot gets the agent's fallback. */
  answer(webhook: ProvenWebhook): WebhookAnswer | Promise<WebhookAnswer> {
    return this.offer(webhook, 'open')
  }

  /**
   * Answers a webhook; a new call is declined if there is no free slot. Does not throw. Only the answer to an outcome
   * is a promise, which does not reject.
   */
  offer(webhook: ProvenWebhook, how: 'open-or-decline'): WebhookAnswer | Promise<WebhookAnswer> | NoRoom
  offer(webhook: ProvenWebhook, how: Exclude<AnswerHow, 'open-or-decline'>): WebhookAnswer | Promise<WebhookAnswer>
  offer(webhook: ProvenWebhook, how: AnswerHow): WebhookAnswer | Promise<WebhookAnswer> | NoRoom {
    try {
      const tooMany = webhook.callSid === null ? null : this.#guard.admitCall(webhook.callSid)
      if (tooMany !== null) return tooMany
      switch (webhook.route) {
        case 'voice':
          return this.#voice(webhook, how)
        case 'stream-status':
          return this.#streamStatus(webhook)
        case 'after-stream':
          return this.#afterStream(webhook, how)
        case 'human':
          return this.#human(webhook)
        case 'events':
          return this.#event(webhook)
        case 'continue':
          return this.#continue(webhook, how).catch((error: unknown) =>
            handlerFault(this.#options.log, webhook.route, error),
          )
      }
    } catch (error) {
      return handlerFault(this.#options.log, webhook.route, error)
    }
  }

  // --- POST /voice --------------------------------------------------------------------------------------------

  #voice(request: WebhookOf<'voice'>, how: AnswerHow): WebhookAnswer | NoRoom {
    const known = how === 'known'
    if (request.content === null) return xmlReply(EMPTY_RESPONSE)
    const webhook = normaliseParties(request.content, this.#options.ownedNumbers)
    const { calls, outbound } = this.#options
    const call = calls.find(webhook.callSid)
    if (webhook.kind === null) call?.carrierState(webhook.state)
    else this.#note(webhook, webhook.callSid)
    this.#noteAfterStream(webhook)
    const placed = outbound?.find(webhook.callSid, request.clientRequestId)
    if (
      call === undefined &&
      (placed !== undefined || (webhook.direction === 'outbound' && !calls.known(webhook.callSid)))
    ) {
      return this.#calledOut(webhook, placed, request, how)
    }
    const callKnown = call !== undefined || calls.known(webhook.callSid)
    const refused = !callKnown && (known || this.#turnedAway.has(webhook.callSid))
    // If the first webhook of a refused caller is repeated, the caller has not heard the words yet.
    if (refused && webhook.kind === null && webhook.state === 'ringing') {
      return this.#wordsFor(
        webhook.callSid,
        request.agent ?? calls.defaultAgent,
        this.#turnedAway.get(webhook.callSid) ?? 'busy',
        webhook.direction === 'outbound' ? '' : webhook.from,
        oursOf(webhook),
      )
    }
    const decision = decideVoicePost({
      state: webhook.state,
      kind: webhook.kind,
      direction: webhook.direction,
      sidOfPbx: webhook.sidOfPbx,
      served: this.#answered.get(webhook.callSid)?.served !== false,
      // If no node knows if a call was answered before, a call that ends does not count as new.
      known: known || refused || callKnown || (how === 'owner-unknown' && webhook.state === 'completed'),
      phase: call?.state ?? null,
      unopened: this.#isUnopened(webhook.callSid),
      escalation: this.#escalationOf(webhook, call),
    })
    switch (decision) {
      case 'open-stream':
        return this.#openStream(webhook, request, how)
      case 'repeat-document':
        this.#noteServed(webhook)
        // A call that this node has just taken over has no document yet, so it gets a new stream.
        return call?.document == null ? this.newStream(webhook.callSid, request.host) : xmlReply(call.document)
      case 'resume-stream':
        return this.#comeBack(call as LiveCall, request.host)
      case 'offer-again':
        return this.#offerAgain(call as LiveCall, request.host)
      case 'fall-back':
        return this.fallbackReply(webhook.callSid, request.agent)
      case 'continue':
        return xmlReply(this.#write(webhook.callSid, call?.continuation('voice', webhook.digits) ?? [], []))
      case 'empty':
        return xmlReply(EMPTY_RESPONSE)
    }
  }

  /**
   * Answers about a placed call before it has a stream.
   * @param placed  undefined if another process placed it
   */
  #calledOut(
    webhook: Webhook,
    placed: PlacedCall | undefined,
    request: WebhookOf<'voice'>,
    how: AnswerHow,
  ): WebhookAnswer | NoRoom {
    const { calls, outbound } = this.#options
    if (placed !== undefined && webhook.kind === null)
      outbound?.state(webhook.callSid, placed.clientRequestId, webhook.state)
    // A late post, such as a stream's end, must not open a call that is over or belongs to another node.
    if (isTerminal(webhook.state) || how === 'known') return xmlReply(EMPTY_RESPONSE)
    // If the stream opened while the phone rings, the agent would talk to the ringback tone.
    const agent = placed?.agent ?? request.agent ?? calls.defaultAgent
    const wait = agent !== null && calls.agent(agent)?.outbound.openOn === 'answered'
    if (webhook.kind !== null || (wait && webhook.state === 'ringing')) return xmlReply(EMPTY_RESPONSE)
    return this.#openStream(webhook, request, how, placed)
  }

  /** State of a call's escalation, as far as webhooks show it. */
  #escalationOf(webhook: Webhook, call: LiveCall | undefined): 'none' | 'pending' | 'dialing' {
    if (call === undefined) return 'none'
    if (this.#answered.get(webhook.callSid)?.dialServed === true) return 'dialing'
    // The carrier may report the stream's end before our own socket has detected it.
    const streamOver =
      webhook.state === 'stream-stopped' || webhook.state === 'stream-error' || webhook.state === 'dial-completed'
    return call.state === 'after' || streamOver ? 'pending' : 'none'
  }

  #openStream(
    webhook: Webhook,
    request: Pick<ProvenWebhook, 'agent' | 'host' | 'draft'>,
    how: AnswerHow,
    placed?: PlacedCall,
  ): WebhookAnswer | NoRoom {
    const { calls, log, clock } = this.#options
    const ours = placed?.from ?? oursOf(webhook)
    const name = placed?.agent ?? calls.agentOf(ours) ?? request.agent ?? calls.defaultAgent
    const agent = name === null ? undefined : calls.agent(name, ours)
    const callsIn = webhook.direction !== 'outbound' && placed === undefined
    const refuse = (reason: CallRefusal, why: string, hears: 'fallback' | 'busy'): Reply => {
      const { callSid, from, to } = webhook
      this.#refused(reason, callSid, name, why)
      this.#turnedAway.set(callSid, hears)
      if (callsIn) calls.refused({ callSid, agent: name, from, to, reason, why })
      log.call(callSid).warn({ agent: name, reason, why, hears }, 'a call was refused')
      return this.#wordsFor(callSid, name, hears, callsIn ? from : '', ours)
    }
    // A draft is never replaced by another version.
    if (request.draft === true && this.#options.editor?.tries(webhook.callSid) !== true)
      return refuse('agent-unknown', 'the draft that it is to try is not at this node', 'busy')
    if (agent === undefined) {
      const why =
        name === null
          ? 'the path names no agent, and there is no default'
          : calls.agentNames().includes(name)
            ? 'NUMBERS_FILE lacks facts of this number that its agent reads'
            : 'there is no agent of that name'
      return refuse('agent-unknown', why, 'busy')
    }
    const origins = this.#originsOf(request.host)
    if (origins === null) return rejection('malformed', 400, 'WEBHOOK_MALFORMED', 'the Host header is not a host')

    // This is checked first: a caller over the limits does not get the fallback, because the fallback may ring a human.
    const limited = callsIn ? this.#callers.refusal(webhook.from, clock()) : null
    if (limited !== null) return refuse(limited.reason, limited.why, 'busy')

    const fallback = (reason: CallRefusal, why: string): Reply => {
      if (callsIn) this.#callers.answered(webhook.from, clock())
      return refuse(reason, why, 'fallback')
    }
    const noRoom = (reason: NoRoomReason): Reply | NoRoom =>
      how === 'open-or-decline' && placed === undefined
        ? { noRoom: reason }
        : fallback(reason, this.#admission.why(reason))
    const refusal = this.#admission.refusal
    // A person whom this node has rung gets the agent even after a cordon.
    if (refusal !== null && (refusal !== 'cordoned' || placed === undefined)) return noRoom(refusal)
    // The agent's limit holds for the whole fleet, so other nodes may not take the call either.
    if (agentIsFull(agent, calls, this.#options.fleet?.node))
      return fallback('agent-capacity', `all ${agent.maxCalls} calls of the agent are live`)
    if (how === 'late') return fallback('no-owner', `no node took the call within ${FALLBACK_AFTER_MS} ms`)
    let call: LiveCall | null = null
    try {
      const { recovers } = placed ?? {}
      const opened: NewCall = {
        callSid: webhook.callSid,
        agent: agent.name,
        from: placed?.from ?? webhook.from,
        to: placed?.to ?? webhook.to,
        direction: placed === undefined ? (webhook.direction ?? 'inbound') : 'outbound',
        ...(placed === undefined ? {} : { placed }),
        ...(recovers === undefined ? {} : { rootSid: parseCallSid(recovers.kept.rootSid) }),
      }
      call = calls.prepare(opened, recovers === undefined ? null : calledBack(recovers, opened))
      if (callsIn) this.#callers.answered(webhook.from, clock())
      if (placed !== undefined) this.#options.outbound?.taken(placed)
      const reply = this.#streamReply(call, agent, origins, ours)
      this.#noteServed(webhook)
      return reply
    } catch (error) {
      const code = error instanceof GatewayError ? error.code : null
      if (code === 'DUPLICATE_CALL') {
        this.#refused('duplicate', webhook.callSid, agent.name, 'this call was answered before')
        return xmlReply(EMPTY_RESPONSE)
      }
      call?.hangup('call-fault', 'its document could not be written', false)
      if (code === 'CAPACITY') return noRoom('capacity')
      if (code === 'DRAINING') return noRoom('draining')
      log.call(webhook.callSid).error({ err: error }, 'a call could not be opened; its caller hears the fallback')
      return fallback('fault', 'its document could not be written')
    }
  }

  /**
   * Answer that opens a call's stream.
   * @throws GatewayError if it cannot be written
   */
  #streamReply(call: LiveCall, agent: AgentFacts, origins: Origins, ours: string): Reply {
    const { callSid } = call
    const epoch = this.#options.fleet?.node.token(callSid)?.epoch ?? 0
    const { actions, afterStreamUrl, humanUrl } = streamAnswer(agent, call, epoch, origins, this.#tokens)
    call.document = voiceXml(actions)
    call.afterStreamUrl = afterStreamUrl
    call.humanUrl = humanUrl
    call.continueUrl = (id, ttlS) => `${origins.webhooks}/continue?t=${this.#tokens.mintContinue(callSid, id, ttlS)}`
    this.#noteAnswered(callSid, agent.name, ours)
    return xmlReply(call.document)
  }

  #noteAnswered(callSid: CallSid, agent: string, number: string): void {
    const answeredAtMs = this.#options.clock()
    this.#answered.set(callSid, { agent, number, answeredAtMs, dialServed: false, served: false })
  }

  // --- calls whose node or stream is lost ---------------------------------------------------------------------

  /** Answers the carrier's question how to continue a call whose stream was lost. */
  #comeBack(call: LiveCall, host: string): WebhookAnswer {
    const { callSid, agent, lostStream } = call
    if (lostStream !== null) {
      try {
        this.reopen(lostStream)
        return this.newStream(callSid, host)
      } catch (error) {
        this.#options.log.call(callSid).error({ err: error }, 'a call whose stream was lost cannot continue')
      }
    }
    call.continuation('after-stream')
    return this.fallbackReply(callSid, agent)
  }

  /** Answers the carrier's question how to continue a call whose stream could not be opened. */
  #offerAgain(call: LiveCall, host: string): WebhookAnswer {
    const { callSid, agent, isOfferedAgain } = call
    if (isOfferedAgain) return this.newStream(callSid, host)
    call.streamRefused()
    return this.fallbackReply(callSid, agent)
  }

  /** True if a call has ended because its stream never came: the caller, if still on the line, has heard nothing. */
  #isUnopened(callSid: CallSid): boolean {
    return this.#options.calls.record(callSid)?.endReason === 'socket-never-came'
  }

  /**
   * Opens a call here, in the state that a lost node or a lost stream left.
   * @throws GatewayError if this node cannot take it, or the call cannot continue
   */
  reopen(state: KeptState): void {
    const call = callOf(state.kept, this.#options.clock())
    this.#options.calls.prepare(call, state)
    this.#noteAnswered(call.callSid, call.agent, call.direction === 'outbound' ? call.from : call.to)
  }

  /**
   * Opens an unknown call from the carrier's post.
   * @returns its document; words if its caller may not be served; null without a call or a free slot
   */
  beginAnew(webhook: ProvenWebhook): { readonly answer: WebhookAnswer; readonly isOpen: boolean } | null {
    if ((webhook.route !== 'voice' && webhook.route !== 'after-stream') || webhook.content === null) return null
    const content = normaliseParties(webhook.content, this.#options.ownedNumbers)
    const opened = this.#openStream(content, webhook, 'open-or-decline')
    if ('noRoom' in opened) return null
    return { answer: opened, isOpen: this.#options.calls.find(content.callSid) !== undefined }
  }

  /** Document with the new stream of a call that `reopen` opened. Does not throw. @param host  `Host` of the request */
  newStream(callSid: CallSid, host: string): WebhookAnswer {
    const call = this.#options.calls.find(callSid)
    const agent = call === undefined ? undefined : this.#agentOf(callSid, call.agent)
    const origins = this.#originsOf(host)
    if (call === undefined || agent === undefined || origins === null) return this.fallbackReply(callSid, null)
    try {
      return this.#streamReply(call, agent, origins, this.#answered.get(callSid)?.number ?? '')
    } catch (error) {
      this.#options.log.call(callSid).error({ err: error }, 'the new stream of a call cannot be written')
      call.hangup('call-fault', 'its document could not be written', false)
      return this.fallbackReply(callSid, agent.name)
    }
  }

  /** Fallback of an agent, for a call that cannot continue with the agent. Does not throw. */
  fallbackReply(callSid: CallSid, agent: string | null): Reply {
    return this.#wordsFor(callSid, agent, 'fallback')
  }

  /**
   * Document with words and a Redirect to ask again, because the next document is not known yet. Does not throw.
   * @returns null when the caller has waited for CALLER_HELD_MS
   */
  hold(webhook: ProvenWebhook): Reply | null {
    const { route, callSid, agent, host, content } = webhook
    const { calls, wallClock, fleet } = this.#options
    const nowMs = Math.round(wallClock() - (fleet?.node.clockAheadMs ?? 0))
    const sinceMs = webhook.heldSinceMs ?? nowMs
    const origins = this.#originsOf(host)
    if (callSid === null || origins === null || Math.abs(nowMs - sinceMs) >= CALLER_HELD_MS) return null
    const party = content !== null && 'from' in content ? content : null
    const facts = this.#agentOf(callSid, agent, party === null ? '' : oursOf(party))
    const language = calls.languageOf((party?.direction === 'outbound' ? party.to : party?.from) ?? '')
    const path = route === 'human' ? 'human' : 'after-stream'
    const named = facts === undefined ? '' : `&agent=${facts.name}`
    const url = `${origins.webhooks}/${path}?t=${this.#tokens.mint(callSid, path)}${named}&since=${sinceMs}`
    const { noAgent } = this.#options
    // A carrier that does not follow a Redirect continues with the verbs after it.
    const instead = facts?.busy(language) ?? noAgent
    const actions = [...(facts?.hold(language) ?? []), { verb: 'redirect', method: 'POST', url } as const, ...instead]
    return xmlReply(this.#write(callSid, actions, instead))
  }

  /**
   * Document with words in place of a stream. The fallback also rings a human, if the agent's file names one. Without
   * an agent, the words come from the settings. The language is the call's language; if it is unknown, the language of
   * the caller's last call.
   */
  #wordsFor(callSid: CallSid, agent: string | null, hears: 'fallback' | 'busy', from = '', ours = ''): Reply {
    const facts = this.#agentOf(callSid, agent, ours)
    const { calls, noAgent } = this.#options
    const call = calls.find(callSid)
    const language = call?.language ?? calls.record(callSid)?.language ?? calls.languageOf(from)
    const isCaller = (number: string): boolean => call?.isOf(number) ?? sameNumber(number, from)
    const words =
      facts === undefined ? [] : hears === 'busy' ? facts.busy(language) : this.#fallbackOf(facts, isCaller, language)
    return xmlReply(this.#write(callSid, words.length === 0 ? noAgent : words, noAgent))
  }

  /** Agent's fallback with the humans who may be rung now; other words if no human may be rung. */
  #fallbackOf(
    { fallback: of, busy }: AgentFacts,
    isCaller: (number: string) => boolean,
    language?: string,
  ): readonly VoiceAction[] {
    const fallback = of(language)
    const dial = fallback.find((action) => action.verb === 'dial')
    if (dial === undefined) return fallback
    const others = dial.numbers.filter((number) => !isCaller(number))
    const numbers = this.#options.humanCalls.fallback(others, this.#options.clock())
    if (numbers.length === 0) return busy(language)
    return fallback.map((action) => (action === dial ? { ...dial, numbers } : action))
  }

  /** Origins of a call's URLs: any node accepts webhooks, but the audio must come to this node. */
  #originsOf(host: string): Origins | null {
    const { nodeUrl, nodePort, publicUrl, tls = null } = this.#options
    const scheme = tls === null ? 'http' : 'https'
    const webhooks = parseOrigin(publicUrl ?? `${scheme}://${host}`)
    const ownPort = publicUrl === null && nodePort !== undefined
    const audio =
      nodeUrl !== null
        ? parseOrigin(nodeUrl)
        : ownPort
          ? parseOrigin(`${scheme}://${host.replace(/:\d+$/, '')}:${nodePort}`)
          : webhooks
    return webhooks === null || audio === null ? null : { webhooks, audio }
  }

  #refused(reason: RefusalReason, callSid: CallSid, agent: string | null, why: string): void {
    this.#options.metrics.callsRefused({ reason }).inc(1, callSid)
    this.#guard.refusals.note({ reason, why, callSid, agent })
  }

  // --- POST /after-stream -------------------------------------------------------------------------------------

  #afterStream(
    { callSid, agent: named, content: webhook, host, unsigned }: WebhookOf<'after-stream'>,
    how: AnswerHow,
  ): WebhookAnswer {
    const call = this.#options.calls.find(callSid)
    // The carrier asks how to continue only after the socket's end. While audio still comes, this post is not from the
    // carrier.
    if (unsigned === true && call?.state === 'streaming')
      return tokenAlone('the token in the URL is good, but while the stream is open only a signed post is answered')
    if (webhook !== null && webhook.state !== 'unknown') call?.carrierState(webhook.state)
    this.#options.calls.afterStream(callSid, webhook?.state === 'completed' ? 'over' : 'asked')
    if (webhook?.state === 'completed') return xmlReply(EMPTY_RESPONSE) // the caller has gone
    if (call?.state === 'cut') return this.#comeBack(call, host)
    if (call?.state === 'waiting') return this.#offerAgain(call, host)
    if (this.#isUnopened(callSid)) return this.fallbackReply(callSid, named)
    // The node and the state of this call are lost. The agent did not end the call, so the caller hears no goodbye.
    const { calls } = this.#options
    const died = calls.record(callSid)?.endReason === 'process-died'
    if (call === undefined && (how === 'owner-unknown' || died || !(how === 'known' || calls.known(callSid))))
      return this.fallbackReply(callSid, named)
    const actions = call?.continuation('after-stream', webhook?.digits ?? null) ?? []
    // While a human is being called, the agent's `afterCall` must not hang up.
    if (actions.length > 0 || call?.escalating === true) return xmlReply(this.#write(callSid, actions, []))
    const agent = this.#agentOf(callSid, named)
    const language = calls.record(callSid)?.language ?? undefined
    return xmlReply(this.#write(callSid, agent?.afterCall(language) ?? [], this.#options.noAgent))
  }

  #agentOf(callSid: CallSid, named: string | null, ours = ''): AgentFacts | undefined {
    const { calls } = this.#options
    const answered = this.#answered.get(callSid)
    const number = answered?.number ?? calls.record(callSid)?.number ?? ours
    const name = answered?.agent ?? calls.record(callSid)?.agent ?? calls.agentOf(number) ?? named
    return name === null ? undefined : calls.agent(name, number)
  }

  /**
   * Remembers that this document answered a post, and that the carrier reads the answer to this post. The carrier may
   * ignore the answer to an event.
   */
  #noteServed(webhook: Webhook): void {
    const answered = this.#answered.get(webhook.callSid)
    if (answered !== undefined && webhook.kind === null) answered.served = true
  }

  /** A carrier may use the voice URL to ask how a call continues after the stream; the state shows this. */
  #noteAfterStream(webhook: Webhook): void {
    const { calls } = this.#options
    if (isTerminal(webhook.state)) calls.afterStream(webhook.callSid, 'over')
    else if (webhook.state === 'stream-stopped' && webhook.kind === null) calls.afterStream(webhook.callSid, 'asked')
  }

  // --- POST /human --------------------------------------------------------------------------------------------

  /**
   * Handles the leg of a human who was called into a conference. The token names the caller's call; the body names the
   * human's call.
   */
  #human({ callSid, content: { callSid: leg, state, kind } }: WebhookOf<'human'>): WebhookAnswer {
    const call = this.#options.calls.find(callSid)
    // Read before the call gets the event, because the call may end when the human has joined.
    const document = call?.humanDocument() ?? HANG_UP
    const event = humanLeg(state)
    if (event !== null) call?.human(event)
    if (kind !== null || isTerminal(state)) return xmlReply(EMPTY_RESPONSE)
    // The leg is already in the conference room: another document would take it out of the room.
    if (!this.#isNewEvent(`human ${leg} ${state}`)) return xmlReply(EMPTY_RESPONSE)
    // If the call no longer exists, the caller has left: the human must not join an empty conference.
    return xmlReply(this.#write(callSid, document, HANG_UP))
  }

  // --- POST /stream-status ------------------------------------------------------------------------------------

  #streamStatus({ callSid, content: status }: WebhookOf<'stream-status'>): WebhookAnswer {
    if (callSid === null) return NO_CONTENT
    if (!this.#isNewEvent(status.dedupeKey)) return NO_CONTENT
    const call = this.#options.calls.find(callSid)
    if (call === undefined || status.event === 'unknown') return NO_CONTENT
    if (status.event === 'stream-error') {
      this.#options.log
        .call(callSid)
        .warn({ stream_sid: status.streamSid, reason: status.error }, 'the carrier reports a stream error')
    }
    call.carrierState(status.event)
    // Carriers do not read this answer. A pending continuation is kept for a webhook whose answer they read.
    return NO_CONTENT
  }

  // --- POST /continue -----------------------------------------------------------------------------------------

  /** Takes the outcome of a waiting tool. Resolves when it is stored, within SAVED_WITHIN_MS. */
  async #continue({ callSid, content }: WebhookOf<'continue'>, how: AnswerHow): Promise<WebhookAnswer> {
    const { waitId, news } = content
    const { calls } = this.#options
    const call = calls.find(callSid)
    if (call === undefined && how === 'owner-unknown') return MOVING
    switch (call === undefined ? calls.takeLateWaitStatus(waitId, news) : await call.takeWaitStatus(waitId, news)) {
      case 'taken':
      case 'repeated':
        return jsonReply({ taken: true })
      case 'conflict':
        return errorReply(409, 'CONFLICT', 'another outcome was posted before')
      case 'unkept':
        return NOT_KEPT
      case 'late':
        // The call may be at a node that does not answer.
        return how === 'owner-unknown' ? MOVING : LATE
    }
  }

  // --- POST /events -------------------------------------------------------------------------------------------

  #event({ callSid, content }: WebhookOf<'events'>): WebhookAnswer {
    if (callSid !== null) this.#note(content, callSid)
    else if (content.account !== undefined && this.#isNewEvent(content.dedupeKey))
      this.#options.onAccountEvent?.(content.account)
    return NO_CONTENT // the answer to an event is not read, so the call must not give a document away here
  }

  /** Handles an event of a call once, at any URL. */
  #note(event: CarrierEvent, callSid: CallSid): void {
    if (!this.#isNewEvent(event.dedupeKey)) return
    const call = this.#options.calls.find(callSid)
    if (event.state !== 'unknown') {
      if (call === undefined) this.#options.outbound?.state(callSid, event.clientRequestId, event.state)
      else call.carrierState(event.state)
    }
    if (RECORDING_READY.test(event.kind ?? '')) this.#options.onRecordingReady?.(callSid)
    const human = humanEvent(event.kind)
    if (human !== null) call?.human(human)
  }

  /** XML of `actions`, or of `instead` if they cannot be written. Remembers that a Dial was served. */
  #write(callSid: CallSid, actions: readonly VoiceAction[], instead: readonly VoiceAction[]): string {
    try {
      const document = voiceXml(actions)
      const answered = this.#answered.get(callSid)
      if (answered !== undefined && dials(actions)) answered.dialServed = true
      return document
    } catch (error) {
      this.#options.log
        .call(callSid)
        .error({ err: error }, 'a document cannot be written; the caller hears the last words')
      return voiceXml(instead.length === 0 ? this.#options.noAgent : instead)
    }
  }

  /** True if this key was not seen before, as far as this process remembers. */
  #isNewEvent(dedupeKey: string): boolean {
    if (this.#events.has(dedupeKey)) return false
    this.#events.set(dedupeKey, true)
    return true
  }
}

type WebhookOptions = Pick<
  EdgeOptions,
  | 'calls'
  | 'editor'
  | 'onRecordingReady'
  | 'onAccountEvent'
  | 'publicUrl'
  | 'tls'
  | 'nodeUrl'
  | 'nodePort'
  | 'fleet'
  | 'ownedNumbers'
  | 'noAgent'
  | 'callerLimits'
  | 'humanCalls'
  | 'clock'
  | 'wallClock'
  | 'log'
  | 'metrics'
> & { readonly outbound?: Pick<OutboundCalls, 'find' | 'state' | 'taken'> }

/**
 * Logs a fault of ours.
 * @returns the answer
 */
export function handlerFault(log: Log, route: WebhookRoute, error: unknown): Reply {
  log.error({ err: error, route }, 'a webhook could not be answered')
  return errorReply(500, 'INTERNAL', 'the gateway failed to answer; the reason is in its log')
}

/** Origin of a call's URLs: `https://gw-3.example.com`, or `http://127.0.0.1:8080` on a developer's machine. */
type Origin = string & { readonly origin: unique symbol }

const ORIGIN =
  /^https?:\/\/[A-Za-z0-9.-]{1,253}(?::\d{1,5})?(?:\/[\w/-]*)?$|^https?:\/\/\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?$/

/** Origin from settings or from a request's Host; null if it cannot be part of a URL. A trailing slash is removed. */
export function parseOrigin(text: string): Origin | null {
  const origin = text.replace(/\/+$/, '')
  return ORIGIN.test(origin) ? (origin as Origin) : null
}

/** Two origins. Webhooks may go to any node that shares the port; the audio socket must go to the call's owner. */
interface Origins {
  readonly webhooks: Origin
  readonly audio: Origin
}

interface StreamAnswer {
  readonly actions: readonly VoiceAction[]
  /** URL of the continuation, with its token. */
  readonly afterStreamUrl: string
  /** URL at which the leg of a human gets its document; null without a conference. */
  readonly humanUrl: string | null
}

/**
 * Answer to a call's first webhook: the carrier's first words, the stream, and the continuation after the stream. The
 * last Redirect is harmless if it is not followed (docs/PROTOCOL.md).
 */
function streamAnswer(
  agent: AgentFacts,
  { callSid, legRateHz }: LiveCall,
  epoch: number,
  origins: Origins,
  tokens: StreamTokens,
): StreamAnswer {
  const origin = origins.webhooks
  const stream = agent.stream
  const statusCallback = statusUrl(
    stream.statusCallback,
    () => `${origin}/stream-status?t=${tokens.mint(callSid, 'stream-status')}`,
  )
  // The URL has the agent's name, because the node that answers may not be the call's owner.
  const afterStreamUrl = `${origin}/after-stream?t=${tokens.mint(callSid, 'after-stream')}&agent=${agent.name}`
  const actions: VoiceAction[] = agent.say === null ? [] : [agent.say]
  actions.push({
    verb: 'stream',
    // The carrier's URL parser needs a path before the query.
    url: `${origins.audio.replace(/^http/, 'ws')}/audio?t=${tokens.mint(callSid, 'audio', epoch)}`,
    track: stream.track,
    // If there is a conference, it answers the call, and the stream runs beside it.
    connect: !agent.conference,
    samplingRateHz: legRateHz,
    name: stream.name,
    ...(Object.keys(stream.headerMetadata).length === 0 ? {} : { headerMetadata: stream.headerMetadata }),
    ...(stream.openMetadata === null ? {} : { openMetadata: stream.openMetadata }),
    ...(statusCallback === null || stream.statusEvents.length === 0
      ? {}
      : { statusCallback, statusEvents: stream.statusEvents }),
  })
  if (agent.conference) {
    // The caller is alone in the conference until a human joins. The conference ends when the human leaves.
    actions.push({ verb: 'conference', name: roomOf(callSid), startOnEnter: true, endOnExit: false, beep: false })
  }
  actions.push({ verb: 'redirect', method: 'POST', url: afterStreamUrl })
  const humanUrl = agent.conference ? `${origin}/human?t=${tokens.mint(callSid, 'human')}` : null
  return { actions, afterStreamUrl, humanUrl }
}

/** URL for stream events: our URL, none, or a URL in the agent's file. */
function statusUrl(setting: boolean | string, ours: () => string): string | null {
  if (typeof setting === 'string') return setting
  return setting ? ours() : null
}

/** True if the document rings a human: the next busy or no-answer is then about the human's leg. */
function dials(actions: readonly VoiceAction[]): boolean {
  return actions.some((action) => action.verb === 'dial' || action.verb === 'conference')
}

/** Our own number in a call: the called or the calling number. */
function oursOf({ direction, from, to }: Pick<Webhook, 'direction' | 'from' | 'to'>): string {
  return direction === 'outbound' ? from : to
}

/** Call that was answered. It is remembered after its end, because webhooks may still come. */
interface AnsweredCall {
  readonly agent: string
  /** Our own number. */
  readonly number: string
  /** Time of the answer to its first webhook, on the monotonic clock. */
  readonly answeredAtMs: number
  /** True when the carrier got a Dial (or a conference): a later busy leg is the human's leg, not the caller's. */
  dialServed: boolean
  /** True if the document answered a post that is not an event. The sender of such a post reads the answer. */
  served: boolean
}
