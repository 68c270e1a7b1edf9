import type { Clock } from '../../core/clock.js'
import { isSampleRateHz, samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import type { BackendSink } from '../backend.js'
import type { Base64Audio } from '../transport/base64-audio.js'
import { parseArguments } from '../tool-text.js'
import { GrowingTexts } from './growing-texts.js'
import type { HeardItems } from './heard-items.js'
import type { LedgerResponse, ResponseLedger } from './response-ledger.js'
import { WRITTEN_CALL_MS } from './tool-calls.js'
import type { ToolCalls, WrittenCall } from './tool-calls.js'
import type { ServerEvent, WireError, WireItem, WireResponse, WireSession } from './wire.js'

/** Counters of one session; plain fields. */
export interface OpenAiStats {
  messagesIn: number
  malformedMessages: number
  malformedEvents: number
  unknownEvents: number
  oversizeMessages: number
  malformedAudio: number
  lateEvents: number
  toolCallsGivenUp: number
  invalidToolArguments: number
  /** `response.create` that was refused because another response was under way. */
  createRefusals: number
  races: number
  audioDroppedMs: number
  /** Responses whose end the server never told. */
  endsMissing: number
  /** Times that the server said another rate for the agent's voice than it had before. */
  rateChanges: number
}

export type ServerEventOf<T extends ServerEvent['type']> = Extract<ServerEvent, { readonly type: T }>

/** A response that has said all it seems to have to say may be followed by another one after this. */
const QUIET_MS = 2000

export interface IncomingParts {
  readonly sink: BackendSink
  readonly ledger: ResponseLedger
  readonly heard: HeardItems
  readonly calls: ToolCalls
  readonly audio: Base64Audio
  readonly stats: OpenAiStats
  readonly outputRateHz: SampleRateHz
  readonly nowMs: Clock
  /** Audio sent to the service since this was last asked. */
  readonly takeAudioInMs: () => number
  /** A response ended, or something else that may let the next one be asked for. */
  readonly settle: () => void
  /** The error of a response that failed. */
  readonly failed: (error: WireError) => void
}

/** Turns what the service says about its responses into events of the call. One response after the other. */
export class Incoming {
  readonly #parts: IncomingParts
  #outputRateHz: SampleRateHz
  readonly #agentWords = new GrowingTexts()
  readonly #callerWords = new GrowingTexts()
  #audioItem = ''
  /** Of the message that is being decoded. */
  #audioResponse: LedgerResponse | null = null
  #audioContent = 0
  #quiet: NodeJS.Timeout | null = null
  #written: NodeJS.Timeout | null = null

  constructor(parts: IncomingParts) {
    this.#parts = parts
    this.#outputRateHz = parts.outputRateHz
  }

  /** The session as the server has it: what it says of the rate is true, whatever was asked for. */
  configured(session: WireSession | undefined): void {
    const format = session?.audio?.output?.format
    if (format?.type !== 'audio/pcm' || format.rate === undefined || format.rate === this.#outputRateHz) return
    this.#parts.stats.rateChanges++
    if (isSampleRateHz(format.rate)) this.#outputRateHz = format.rate
  }

  close(): void {
    if (this.#quiet !== null) clearTimeout(this.#quiet)
    if (this.#written !== null) clearTimeout(this.#written)
  }

  created({ id, metadata }: WireResponse): void {
    this.#begin(id ?? null, metadata?.['mkondo'] ?? null)
  }

  /** Samples of the agent. */
  audio(event: ServerEventOf<'response.output_audio.delta'>): void {
    const { stats, audio } = this.#parts
    const response = this.#given(event.response_id)
    if (response === null) return
    const { item_id: itemId } = event
    if (this.#audioItem !== itemId) {
      this.#audioItem = itemId
      audio.reset()
    }
    this.#audioResponse = response
    this.#audioContent = event.content_index ?? 0
    if (!audio.decode(event.delta, this.#take)) stats.malformedAudio++
  }

  // Made once: a message of audio comes many times a second.
  readonly #take = (samples: Int16Array): void => {
    const response = this.#audioResponse
    // A sink may interrupt us from within; what is left of this message is late then.
    if (response === null || (response.state !== 'given' && response.state !== 'done')) return
    const { sink, heard, nowMs } = this.#parts
    const itemId = this.#audioItem
    const outputRateHz = this.#outputRateHz
    const ms = samplesToMs(samples.length, outputRateHz)
    response.audioOutMs += ms
    if (heard.received(itemId, this.#audioContent, response.generation, ms, nowMs())) response.itemsOpen.add(itemId)
    sink.audio(samples, outputRateHz, itemId, response.generation)
  }

  handle(event: ServerEvent): void {
    switch (event.type) {
      case 'response.created': return this.created(event.response)
      case 'response.done': return this.#responseDone(event.response)
      case 'response.output_item.added':
        this.#parts.calls.named(event.item)
        this.#given(event.response_id)
        return
      case 'response.output_item.done': return this.#itemDone(event)
      case 'response.output_audio.done': return this.#audioDone(event)
      case 'response.output_audio_transcript.delta':
      case 'response.output_text.delta': return this.#agentSays(event, this.#agentWords.of(event.item_id) + event.delta, false)
      case 'response.output_audio_transcript.done': return this.#agentSays(event, event.transcript, true)
      case 'response.output_text.done': return this.#agentSays(event, event.text, true)
      case 'response.function_call_arguments.done': return this.#argumentsDone(event)
      case 'conversation.item.input_audio_transcription.delta':
        return this.#callerSays(event.item_id, this.#callerWords.of(event.item_id) + (event.delta ?? ''), false)
      case 'conversation.item.input_audio_transcription.completed': return this.#callerSays(event.item_id, event.transcript, true)
      case 'conversation.item.input_audio_transcription.failed':
        this.#callerWords.drop(event.item_id)
        return
      default:
        // All others are the session's, not a response's.
        return
    }
  }

  /** The response that is being given is cut off by the caller. */
  cancelled(response: LedgerResponse): void {
    this.#parts.stats.toolCallsGivenUp += this.#parts.calls.giveUp(response, null)
    response.itemsOpen.clear()
    this.#parts.sink.event({ type: 'turn-done', generation: response.generation, status: 'cancelled', reason: 'interrupted' })
  }

  /** All of a response's calls are answered: what still comes of it is not waited for much longer. */
  callsAnswered(): void {
    this.#awaitEnd()
  }

  #begin(id: string | null, mark: string | null): LedgerResponse {
    const { ledger, sink } = this.#parts
    const before = ledger.current
    if (before !== null && before.state === 'given') {
      this.#parts.stats.endsMissing++
      this.#end(before, 'completed', undefined)
    }
    const response = ledger.created(id, mark)
    if (response.state === 'given') sink.event({ type: 'turn-start', generation: response.generation })
    return response
  }

  /** The live response of an event; begun now where the server never said so. Null for one that is over. */
  #given(id: string | undefined): LedgerResponse | null {
    const { ledger, stats } = this.#parts
    let response = ledger.find(id)
    if (response === undefined) {
      response = this.#begin(id ?? null, null)
      this.#awaitEnd()
    }
    if (this.#quiet !== null && response === ledger.current) this.#awaitEnd()
    if (response.state !== 'cancelled') return response
    stats.lateEvents++
    return null
  }

  /** Not every server says that a response has ended; silence says it too, so that the next one is not blocked. */
  #awaitEnd(): void {
    if (this.#quiet !== null) clearTimeout(this.#quiet)
    this.#quiet = setTimeout(() => {
      this.#quiet = null
      const response = this.#parts.ledger.current
      if (response === null || response.callsOpen.size > 0) return
      this.#parts.stats.endsMissing++
      this.#end(response, 'completed', undefined)
      this.#parts.settle()
    }, QUIET_MS).unref()
  }

  #responseDone(done: WireResponse): void {
    const { ledger, calls, stats, sink } = this.#parts
    const response = ledger.find(done.id) ?? (done.id === undefined ? undefined : this.#begin(done.id, null))
    if (response === undefined) return
    const status = done.status ?? 'completed'
    const { usage } = done
    if (response.state === 'given') {
      if (status === 'completed') {
        for (const item of done.output ?? []) this.#callOf(response, item)
        this.#tell(response, calls.believe(response, null))
      } else {
        stats.toolCallsGivenUp += calls.giveUp(response, null)
      }
    }
    sink.event({
      type: 'usage',
      usage: {
        inputTokens: count(usage?.input_tokens), outputTokens: count(usage?.output_tokens),
        audioInMs: this.#parts.takeAudioInMs(), audioOutMs: response.audioOutMs,
      },
    })
    if (response.state === 'given') this.#endAs(response, status, done)
    ledger.done(response)
    if (this.#quiet !== null) clearTimeout(this.#quiet)
    this.#quiet = null
    this.#parts.settle()
  }

  #endAs(response: LedgerResponse, status: string, done: WireResponse): void {
    const reason = done.status_details?.reason
    if (status === 'cancelled') {
      this.#parts.sink.event({ type: 'interrupted', generation: response.generation })
      // The call may have answered that with an interruption of its own.
      if (response.state === 'given') this.#end(response, 'cancelled', reason)
      return
    }
    if (status === 'failed') {
      const error = done.status_details?.error ?? {}
      this.#end(response, 'failed', error.code ?? error.type)
      this.#parts.failed(error)
      return
    }
    // An answer that was cut short was heard all the same; one that never made a sound was none.
    const silent = status === 'incomplete' && response.audioOutMs === 0 && !response.hadCalls
    this.#end(response, silent ? 'failed' : 'completed', reason)
  }

  #end(response: LedgerResponse, status: 'completed' | 'cancelled' | 'failed', reason: string | undefined): void {
    const { sink, ledger, heard } = this.#parts
    const { generation } = response
    for (const itemId of response.itemsOpen) {
      heard.done(itemId)
      sink.event({ type: 'audio-done', generation, itemId })
    }
    response.itemsOpen.clear()
    ledger.done(response)
    if (status === 'cancelled') response.state = 'cancelled'
    sink.event(reason === undefined ? { type: 'turn-done', generation, status } : { type: 'turn-done', generation, status, reason })
  }

  #audioDone(event: ServerEventOf<'response.output_audio.done'>): void {
    const response = this.#given(event.response_id)
    if (response === null || !response.itemsOpen.delete(event.item_id)) return
    this.#parts.heard.done(event.item_id)
    this.#parts.sink.event({ type: 'audio-done', generation: response.generation, itemId: event.item_id })
  }

  #agentSays(event: { readonly response_id?: string; readonly item_id: string }, words: string, final: boolean): void {
    const response = this.#given(event.response_id)
    if (response === null) return
    const text = this.#agentWords.grown(event.item_id, words, final)
    this.#parts.sink.event({ type: 'transcript', role: 'agent', text, final, itemId: event.item_id, generation: response.generation })
  }

  #callerSays(itemId: string, words: string, final: boolean): void {
    const text = this.#callerWords.grown(itemId, words, final)
    // It belongs to the response that it causes, which may or may not have begun: none that is dead.
    const generation = this.#parts.ledger.generation + 1
    this.#parts.sink.event({ type: 'transcript', role: 'caller', text: text.trim(), final, itemId, generation })
  }

  #argumentsDone(event: ServerEventOf<'response.function_call_arguments.done'>): void {
    const response = this.#given(event.response_id)
    if (response === null) return
    const { calls } = this.#parts
    if (!calls.written(response, { callId: event.call_id, itemId: event.item_id, name: event.name, argumentsText: event.arguments })) return
    // Where nothing ever confirms it, the call would wait for ever.
    if (this.#written !== null) clearTimeout(this.#written)
    this.#written = setTimeout(() => {
      this.#written = null
      if (response.state !== 'cancelled') this.#tell(response, calls.believe(response, null))
    }, WRITTEN_CALL_MS)
  }

  #itemDone(event: ServerEventOf<'response.output_item.done'>): void {
    const response = this.#given(event.response_id)
    if (response === null) return
    const { calls, stats } = this.#parts
    const { item } = event
    if (item.type !== 'function_call' || item.call_id === undefined) return
    if (item.status === 'incomplete') {
      stats.toolCallsGivenUp += calls.giveUp(response, item.call_id)
      return
    }
    this.#callOf(response, item)
    this.#tell(response, calls.believe(response, item.call_id))
  }

  #callOf(response: LedgerResponse, item: WireItem): void {
    if (item.type !== 'function_call' || item.call_id === undefined || item.status === 'incomplete') return
    this.#parts.calls.written(response, {
      callId: item.call_id, itemId: item.id, name: item.name, argumentsText: item.arguments ?? '',
    })
  }

  #tell(response: LedgerResponse, believed: readonly WrittenCall[]): void {
    const { sink, stats } = this.#parts
    // All are open before the first is told: a tool may be answered from within, and must not count as the last one.
    for (const { callId } of believed) response.callsOpen.add(callId)
    if (believed.length > 0) response.hadCalls = true
    for (const { callId, name, argumentsText } of believed) {
      const { args, invalid } = parseArguments(argumentsText)
      if (invalid !== undefined) stats.invalidToolArguments++
      const { generation } = response
      sink.event(invalid === undefined
        ? { type: 'tool-call', callId, name, args, generation }
        : { type: 'tool-call', callId, name, args, generation, invalid })
    }
  }
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : 0
}
