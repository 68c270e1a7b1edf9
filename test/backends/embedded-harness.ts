import type { MessagePort } from 'node:worker_threads'
import type { BackendErrorCode, BackendEvent, BackendSession } from '../../src/backends/backend.js'
import type {
  ConformanceHarness,
  ConformanceSetup,
  ConformanceVendor,
  ScriptedReply,
} from '../../src/backends/conformance.js'
import { EmbeddedBackend } from '../../src/backends/embedded/embedded-backend.js'
import type { Flite } from '../../src/speech/flite.js'
import { SpeechClient } from '../../src/speech/speech-client.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { overThePhone, synthesise } from './embedded/phone-line.js'
import { dialogueOf, REPLY_STATE, toolValuesIn } from './scripted-dialogue.js'

const AGENT_VOICE = 'slt'
const CALLER_VOICE = 'rms'

/**
 * The embedded backend with real speech workers. Its scripted service is a dialogue, written from the check's script
 * when the session is opened; the caller is a voice over a telephone line, and is really recognised.
 */
export function embeddedHarness(pool: SpeechPool, flite: Flite): ConformanceHarness {
  return {
    name: 'embedded',
    // `bad_request`: a dialogue that cannot be read. `internal`: no speech worker.
    connectFaults: ['bad_request', 'internal'],
    lacks: {
      stages: 'no model reads instructions: a state of the dialogue says in which stage it is',
      forgetting: 'a scripted dialogue remembers values, not words',
      notes: 'a scripted dialogue ignores texts that are not in its script',
      history: 'a scripted dialogue reads the tool results of the call so far, but not its words',
      'error-words': 'a scripted dialogue follows its failure path and does not read the text of the error',
      connecting: 'it connects to nothing and is ready at once; early requests wait in the speech worker',
      expiry: 'its sessions have no end',
    },
    setup: async (): Promise<ConformanceSetup> => new ScriptedDialogue(pool, flite),
  }
}

/** The dialogue and the speech session of one check, and what they did. */
class ScriptedDialogue implements ConformanceSetup, ConformanceVendor {
  readonly secret = null
  connections = 0
  readonly texts: string[] = []
  readonly #flite: Flite
  readonly #replies: ScriptedReply[] = []
  readonly #phrases: string[] = []
  /** Complete texts of the agent, one for each answer. */
  readonly #said: string[] = []
  #pool: SpeechPool
  #ownPool: SpeechPool | null = null
  #port: MessagePort | null = null
  #speech: SpeechClient | null = null
  #backend: EmbeddedBackend | null = null
  #fault: BackendErrorCode | null = null
  #callerAudioMs = 0

  constructor(pool: SpeechPool, flite: Flite) {
    this.#pool = pool
    this.#flite = flite
  }

  get vendor(): ConformanceVendor {
    return this
  }

  // --- the setup ------------------------------------------------------------------------------------------

  readonly backend: ConformanceSetup['backend'] = (sink) => {
    this.#port = this.#pool.openSession()
    this.#speech = new SpeechClient({ port: this.#port })
    if (this.#fault === 'internal') this.#speech.close()
    this.#backend = new EmbeddedBackend(
      {
        event: (event) => {
          this.#note(event)
          sink.event(event)
        },
        audio: (...audio) => sink.audio(...audio),
      },
      { speech: this.#speech },
    )
    return this.#backend
  }

  session(session: BackendSession): BackendSession {
    const dialogue = dialogueOf(this.#replies, this.#phrases, session.toolLedger)
    const offline = this.#fault === 'bad_request' ? { ...dialogue, start: 'nowhere' } : dialogue
    // Reading the dialogue counts as one try to connect.
    let read = false
    const tried = (): void => {
      if (!read) this.connections++
      read = true
    }
    return {
      ...session,
      voice: AGENT_VOICE,
      get offline() {
        tried()
        return offline
      },
    }
  }

  async voice(text: string): Promise<Int16Array> {
    return overThePhone(this.#flite, text, CALLER_VOICE)
  }

  /** The same words in the same voice, by another session. */
  async soundMs(reply: ScriptedReply): Promise<number> {
    const speech = new SpeechClient({ port: this.#pool.openSession() })
    const { pcm, sampleRateHz } = await synthesise(speech, reply.say ?? '', AGENT_VOICE)
    speech.close()
    return (pcm.length * 1000) / sampleRateHz
  }

  async close(): Promise<void> {
    this.#speech?.close()
    await this.#ownPool?.close()
  }

  // --- the service ----------------------------------------------------------------------------------------

  reply(...replies: readonly ScriptedReply[]): void {
    this.#replies.push(...replies)
  }

  callerSays(...texts: readonly string[]): void {
    this.#phrases.push(...texts)
  }

  callerWrites(...texts: readonly string[]): void {
    this.#phrases.push(...texts)
  }

  failConnect(code: BackendErrorCode): void {
    this.#fault = code
  }

  /** A service that is not ready yet is a pool whose workers are still loading their models. */
  delayReady(): void {
    this.#ownPool ??= new SpeechPool({ decodersPerThread: 1 })
    this.#pool = this.#ownPool
  }

  /** Closes the port of the session, as the death of a worker does. No other worker takes over. */
  breakOff(): void {
    this.#port?.close()
  }

  warnOfEnd(): boolean {
    return false
  }

  get callerAudioMs(): number {
    return this.#callerAudioMs
  }

  get toolAnswers(): ConformanceVendor['toolAnswers'] {
    return toolValuesIn(this.#backend?.snapshot()?.dialogue.values ?? {})
  }

  /** How often the dialogue entered the state of a scripted answer. */
  get answers(): number {
    const visits = this.#backend?.snapshot()?.dialogue.visits ?? {}
    return Object.entries(visits).reduce((sum, [state, count]) => sum + (REPLY_STATE.test(state) ? count : 0), 0)
  }

  /** The sentences that the agent does not repeat after an interruption: it assumes that the caller heard them. */
  get heard(): ConformanceVendor['heard'] {
    const [first = ''] = this.#said
    const again = this.#said.at(-1) ?? ''
    return {
      kind: 'text',
      text: first
        .split(/(?<=\.) /)
        .filter((sentence) => !again.includes(sentence))
        .join(' '),
    }
  }

  #note(event: BackendEvent): void {
    if (event.type === 'usage') this.#callerAudioMs += event.usage.audioInMs
    if (event.type !== 'transcript' || !event.final) return
    if (event.role === 'caller') this.texts.push(event.text)
    else this.#said.push(event.text)
  }
}
