import { callContext } from '../../agents/tools/call-context.js'
import type { AgentDefinition } from '../../agents/file/definition.js'
import type { Backend, BackendSink } from '../../backends/backend.js'
import { CallLanguage } from '../../call/spoken/call-language.js'
import { codeOf } from '../../call/spoken/localized-text.js'
import { ownVoiceOf } from '../../backends/cascade/services.js'
import { serviceContext } from '../../backends/cascade/service-context.js'
import { loadBackend } from '../../backends/load-backend.js'
import type { BackendSettings } from '../../backends/registry.js'
import { namesIn } from '../../backends/split.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { joined } from '../../media/pcm.js'
import { writeWav } from '../../media/wav.js'
import { samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import { PHRASE_MS_MAX } from '../../speech/phrase-store.js'
import type { PhraseStore } from '../../speech/phrase-store.js'
import { SpeechClient } from '../../speech/speech-client.js'
import type { SpeechPool } from '../../speech/speech-pool.js'
import type { HostedAgent } from '../../workers/main/main-thread-context.js'
import { trialSession } from './trial-session.js'

/** Maximum time in ms to speak one phrase. */
const SAY_MS_MAX = 15_000
const SAY_RATE_HZ = 16_000

interface SaidOptions {
  readonly speech: SpeechPool
  readonly settings: BackendSettings
  /** Store that the cascade's voices require. It stores nothing. */
  readonly store: PhraseStore
}

/**
 * Speaks a phrase in the voice of an agent's first backend, with the agent's pronunciations. The result is a WAV file.
 * The language is the phrase's own language if the agent speaks it, otherwise the agent's first language. A realtime
 * model is instructed to say exactly these words, like a greeting.
 * @throws GatewayError CALL_FAULT if the voice failed
 */
export async function renderPhrase(
  { definition, shares }: Pick<HostedAgent, 'definition' | 'shares'>,
  text: string,
  options: SaidOptions,
): Promise<Uint8Array> {
  const [backend = ''] = namesIn(shares)
  const { pronunciations, voice, languages } = definition
  if (backend === 'embedded') {
    const client = new SpeechClient({ port: options.speech.openSession(false), pronunciations })
    const timer = setTimeout(() => client.close(), SAY_MS_MAX)
    try {
      const pieces: Int16Array[] = []
      let sampleRateHz = SAY_RATE_HZ
      await client.speak(text, voice.embedded, (chunk) => {
        pieces.push(chunk.pcm)
        sampleRateHz = chunk.sampleRateHz
      }).done
      return writeWav({ sampleRateHz, channels: 1, samples: joined(pieces) })
    } finally {
      clearTimeout(timer)
      client.close()
    }
  }
  const language = new CallLanguage(languages, undefined)
  language.heard([{ text }])
  const own =
    backend !== 'cascade'
      ? null
      : await ownVoiceOf(options.settings.cascade, definition.backends.cascade ?? {}, {
          store: options.store,
          voice: voice['cascade'] ?? null,
          legRateHz: SAY_RATE_HZ,
          pronunciations,
          texts: [],
        })
  if (own === null) return saidByModel(definition, backend, text, language.now, options.settings)
  const signal = AbortSignal.timeout(SAY_MS_MAX)
  const context = serviceContext('cascade', () => performance.now(), signal, {
    languages: languages.map(codeOf),
    legRateHz: SAY_RATE_HZ,
  })
  const phrase = await own.say(text, codeOf(language.now), context, signal).catch((thrown: unknown) => {
    throw new GatewayError('CALL_FAULT', `the voice failed: ${messageOf(thrown)}`)
  })
  if (phrase === null) throw new GatewayError('CALL_FAULT', 'the voice said nothing, or for too long')
  return writeWav({ sampleRateHz: phrase.sampleRateHz, channels: 1, samples: phrase.pcm })
}

/** Sound of these words, spoken by a realtime model in a separate session. */
async function saidByModel(
  definition: AgentDefinition,
  backend: string,
  text: string,
  language: string,
  settings: BackendSettings,
): Promise<Uint8Array> {
  // Some models do not speak faster than real time.
  const signal = AbortSignal.timeout(SAY_MS_MAX + PHRASE_MS_MAX)
  const trial = trialSession(definition, backend, settings, SAY_RATE_HZ, language)
  const told = callContext({ agent: definition, from: '', backends: [backend] }, Date.now())
  const instructions = `${definition.instructions}\n\n${told}`
  const create = await loadBackend(backend, trial.context).catch((thrown: unknown) => {
    throw new GatewayError('CALL_FAULT', messageOf(thrown))
  })
  const pieces: Int16Array[] = []
  let sampleRateHz: SampleRateHz = SAY_RATE_HZ
  let ms = 0
  let model: Backend | null = null
  try {
    await new Promise<void>((resolve, reject) => {
      const failed = (why: string): void => reject(new GatewayError('CALL_FAULT', `the voice failed: ${why}`))
      signal.addEventListener('abort', () => failed('it took too long'), { once: true })
      const sink: BackendSink = {
        event: (event) => {
          if (event.type === 'turn-done' && event.status === 'completed') resolve()
          else if (event.type === 'turn-done') failed(event.reason ?? event.status)
          else if (event.type === 'error' && event.fatal) failed(event.message)
          else if (event.type === 'closed') failed('the session was closed')
        },
        audio: (pcm, rateHz) => {
          sampleRateHz = rateHz
          ms += samplesToMs(pcm.length, rateHz)
          if (ms > PHRASE_MS_MAX) return failed('it spoke for too long')
          pieces.push(pcm.slice())
        },
      }
      try {
        model = create(sink)
      } catch (thrown) {
        // A thrown error means that the backend is not set up.
        return failed(messageOf(thrown))
      }
      model
        .connect({ ...trial.session, instructions, greeting: text, tools: [] }, signal)
        .then(() => model?.sendText('', { role: 'system', respond: true }))
        .catch((thrown: unknown) => failed(messageOf(thrown)))
    })
  } finally {
    await (model as Backend | null)?.close('the phrase was said')
  }
  if (ms === 0) throw new GatewayError('CALL_FAULT', 'the voice said nothing')
  return writeWav({ sampleRateHz, channels: 1, samples: joined(pieces) })
}
