import { threadId, type MessagePort } from 'node:worker_threads'
import type { AgentDefinition } from '../../agents/file/definition.js'
import { phrasesOf } from '../../agents/file/phrases.js'
import { ownVoiceOf } from '../../backends/cascade/services.js'
import type { MessagePhrases } from '../../backends/cascade/message-taker.js'
import type { OwnVoice } from '../../backends/cascade/own-voice.js'
import { composeBackend } from '../../backends/compose.js'
import type { CompositionOptions } from '../../backends/compose.js'
import { Circuits } from '../../backends/failover/circuit-breaker.js'
import type { BackendSettings } from '../../backends/registry.js'
import type { BackendTimers } from '../../backends/timers.js'
import { codeOf } from '../../call/spoken/localized-text.js'
import type { PhraseAudio, PhraseStore } from '../../speech/phrase-store.js'
import { SpeechClient } from '../../speech/speech-client.js'
import type { CallStart, FromCall, ToCall } from '../shared/call-messages.js'
import { fixedPhrases, sessionOptions } from './call-setup.js'
import type { CallToolRunner } from './call-tools.js'
import { WorkerCall } from './worker-call.js'
import type { WorkerContext } from './worker-context.js'

interface CallOpenerOptions {
  readonly context: WorkerContext
  readonly backends: BackendSettings
  /** Timers that use the context's clock. @defaultValue Node's timers */
  readonly after?: BackendTimers['after']
  /** Store of fixed phrases in the voices of cascades; null if these phrases are not stored. */
  readonly phrases: PhraseStore | null
  /** Tools of a call's agent that are ready for use. */
  readonly tools: (start: CallStart) => Promise<CallToolRunner>
}

/** Makes the worker half of each call of one thread. */
export class CallOpener {
  readonly #options: CallOpenerOptions
  /** The circuit breaker of each backend, shared by all calls of the thread. */
  readonly #circuits: Circuits

  constructor(options: CallOpenerOptions) {
    this.#options = options
    this.#circuits = new Circuits({ reconnectsPerSecond: options.backends.reconnectsPerSecond })
  }

  /**
   * Makes the worker half of a call, with its backend and tools loaded. The call has not begun yet.
   * @param guard  runs work of this call outside the tick; a fault in the work fails only this call
   * @throws GatewayError AGENT_INVALID for a backend that cannot be used
   */
  async open(start: CallStart, guard: (call: WorkerCall, work: () => void) => void): Promise<WorkerCall> {
    const { agent } = start
    const { context, backends, after } = this.#options
    const { clock, wallClock = Date.now } = context
    const speech =
      start.speech === null
        ? null
        : new SpeechClient({
            port: start.speech,
            reopen: () => reopenSpeech(start.port),
            pronunciations: agent.pronunciations,
          })
    const post = (message: FromCall): void => start.port.postMessage(message)
    const ownVoice = await this.#ownVoiceFor(start)
    const backend = await composeBackend(
      {
        names: start.backends,
        voices: agent.voice,
        ...agent.failover,
        budget: budgetOf(agent),
        prices: agent.budget?.prices ?? null,
        message: messagePhrases(agent),
        messagesOnly: start.messagesOnly ?? false,
      },
      {
        speech,
        clock,
        ...(after === undefined ? {} : { after }),
        circuits: this.#circuits,
        settings: backends,
        legRateHz: start.legRateHz,
        resamplers: context.resamplers,
        options: agent.backends,
        ...(ownVoice === null ? {} : { ownVoice }),
        waitWords: agent.turn.waitWords,
        gatewayInterrupts: agent.bargeIn.backchannel !== null,
        instructionsNow: () => call.instructions,
        watch: {
          session: (opened) => post({ type: 'backend-session', opened }),
          fault: (fault) => post({ type: 'backend-error', fault }),
          circuit: (circuit) => post({ type: 'circuit', worker: threadId, circuit }),
          limits: (name, limits) => post({ type: 'backend-limits', backend: name, limits }),
        },
      },
    )
    const tools = await this.#options.tools(start)
    const call = new WorkerCall(start, context, {
      options: (capabilities) => sessionOptions(start, capabilities, wallClock() - clock()),
      backend: backend.create,
      report: backend.report,
      turnHeard: backend.turnHeard,
      speech,
      tools,
      voice: agent.voice.embedded,
      ownPhrase: (text, language) => recordedPhrase(start, text, language) ?? ownVoice?.find(text) ?? null,
      guard,
    })
    return call
  }

  /** The agent's fixed phrases in the voice of its cascade; null if the agent's first backend is not a cascade. */
  async #ownVoiceFor({ backends, agent, legRateHz }: CallStart): Promise<OwnVoice | null> {
    const { phrases } = this.#options
    if (phrases === null || backends[0] !== 'cascade') return null
    return ownVoiceOf(this.#options.backends.cascade, agent.backends.cascade ?? {}, {
      store: phrases,
      voice: agent.voice['cascade'] ?? null,
      legRateHz,
      pronunciations: agent.pronunciations,
      texts: agent.languages.flatMap((tag) =>
        fixedPhrases(agent, tag).map((text) => ({ text, language: codeOf(tag) })),
      ),
    })
  }
}

/**
 * Finds a recording of the phrase by a person; null if there is none. If the text was recorded in several languages,
 * the call's language decides.
 */
function recordedPhrase({ assets, agent }: CallStart, text: string, language: string): PhraseAudio | null {
  const alike = assets.recorded.filter((one) => one.text === text.trim())
  if (alike.length === 0) return null
  const code = codeOf(language)
  // The text may be a phrase of another language. Then a recording in that language is right.
  const own = phrasesOf(agent).some(([, phrase]) => typeof phrase !== 'string' && phrase[code]?.trim() === text.trim())
  const recordedIn = (spoken: string | null) => alike.find((one) => one.language === spoken)
  const found = recordedIn(code) ?? recordedIn(null) ?? (own ? undefined : alike[0])
  return found === undefined ? null : { pcm: new Int16Array(found.samples), sampleRateHz: found.sampleRateHz }
}

function budgetOf(agent: AgentDefinition): CompositionOptions['budget'] {
  if (agent.budget === null) return null
  const { maxMinutes, maxTokens, maxCost } = agent.budget
  return {
    ...(maxMinutes === undefined ? {} : { maxMs: maxMinutes * 60_000 }),
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(maxCost === undefined ? {} : { maxCost }),
  }
}

/** Phrases with which the agent takes a message; null if the agent cannot promise call backs. */
function messagePhrases({ escalation, goodbye }: AgentDefinition): MessagePhrases | null {
  const message = escalation?.strategies.includes('callback') === true ? escalation.message : null
  return message === null ? null : { ...message, goodbye }
}

/** Requests a new port to a speech worker from the main thread, after the old port's worker died. */
function reopenSpeech(port: MessagePort): Promise<MessagePort> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: ToCall): void => {
      if (message.type !== 'speech') return
      stop()
      resolve(message.port)
    }
    const onClose = (): void => {
      stop()
      reject(new Error('the call is over'))
    }
    const stop = (): void => {
      port.off('message', onMessage)
      port.off('close', onClose)
    }
    port.on('message', onMessage)
    port.on('close', onClose)
    port.postMessage({ type: 'speech-lost' } satisfies FromCall)
  })
}
