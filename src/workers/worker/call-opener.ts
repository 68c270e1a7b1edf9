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
  /** Timers of the context's clock. @defaultValue those of Node */
  readonly after?: BackendTimers['after']
  /** Fixed phrases in the voices of cascades; null: none are kept. */
  readonly phrases: PhraseStore | null
  /** The tools of a call's agent, ready to be used. */
  readonly tools: (start: CallStart) => Promise<CallToolRunner>
}

/** Makes the worker's halves of the calls of one thread. */
export class CallOpener {
  readonly #options: CallOpenerOptions
  /** The circuit breaker of each backend, shared by all calls of the thread. */
  readonly #circuits: Circuits

  constructor(options: CallOpenerOptions) {
    this.#options = options
    this.#circuits = new Circuits({ reconnectsPerSecond: options.backends.reconnectsPerSecond })
  }

  /**
   * The worker's half of a call, which has not begun yet. Its backend is loaded, and its tools.
   * @param guard  runs work of that call outside the tick; a fault in it fails that call alone
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
      speech,
      tools,
      voice: agent.voice.embedded,
      ownPhrase: (text, language) => recordedPhrase(start, text, language) ?? ownVoice?.find(text) ?? null,
      guard,
    })
    return call
  }

  /** The agent's fixed phrases in the voice of its cascade; null where that is not its first backend. */
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

/** A person's recording of the phrase in the language that is spoken, where the same text is in several; null where there is none. */
function recordedPhrase({ assets, agent }: CallStart, text: string, language: string): PhraseAudio | null {
  const alike = assets.recorded.filter((one) => one.text === text.trim())
  if (alike.length === 0) return null
  const code = codeOf(language)
  // A text that no phrase has in the language of the call is that of another one.
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

/** Phrases that take a message; null where a call back cannot be promised. */
function messagePhrases({ escalation, goodbye }: AgentDefinition): MessagePhrases | null {
  const message = escalation?.strategies.includes('callback') === true ? escalation.message : null
  return message === null ? null : { ...message, goodbye }
}

/** Gets a new port to a speech worker from the main thread, after the worker of the old one died. */
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
