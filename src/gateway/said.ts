import { CallLanguage } from '../call/call-language.js'
import { codeOf } from '../call/phrase.js'
import { HttpHosts } from '../backends/cascade/http-service.js'
import { ownVoiceOf } from '../backends/cascade/services.js'
import type { BackendSettings } from '../backends/registry.js'
import { namesIn } from '../backends/split.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { joined } from '../media/pcm.js'
import { writeWav } from '../media/wav.js'
import type { PhraseStore } from '../speech/phrase-store.js'
import { SpeechClient } from '../speech/speech-client.js'
import type { SpeechPool } from '../speech/speech-pool.js'
import type { HostedAgent } from '../workers/main-thread-context.js'

/** How long one phrase may take to be spoken. */
const SAY_MS_MAX = 15_000
const SAY_RATE_HZ = 16_000

interface SaidOptions {
  readonly speech: SpeechPool
  readonly settings: BackendSettings
  /** The cascade's voices ask for one; nothing is kept in it. */
  readonly store: PhraseStore
}

/**
 * A phrase in the voice of an agent's first backend, with its pronunciations, as a WAV file: in the language that its words
 * are in, of those that the agent speaks, else in the first.
 * @throws GatewayError CALL_REFUSED where that backend takes no text to speak; CALL_FAULT where its voice failed
 */
export async function said(
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
  const own =
    backend !== 'cascade'
      ? null
      : ownVoiceOf(options.settings.cascade, definition.backends.cascade ?? {}, {
          store: options.store,
          voice: voice['cascade'] ?? null,
          legRateHz: SAY_RATE_HZ,
          pronunciations,
          texts: [],
        })
  if (own === null)
    throw new GatewayError(
      'CALL_REFUSED',
      `the backend ${backend} speaks its own words only; a phrase can be heard with cascade and embedded`,
    )
  const signal = AbortSignal.timeout(SAY_MS_MAX)
  const nowMs = (): number => performance.now()
  const context = {
    name: 'cascade',
    languages: languages.map(codeOf),
    voice: null,
    inputRateHz: SAY_RATE_HZ,
    legRateHz: SAY_RATE_HZ,
    nowMs,
    used: () => undefined,
    malformed: () => undefined,
    http: new HttpHosts(nowMs, signal),
  } as const
  const language = new CallLanguage(languages, undefined)
  language.heard([{ text }])
  const phrase = await own.say(text, codeOf(language.now), context, signal).catch((thrown: unknown) => {
    throw new GatewayError('CALL_FAULT', `the voice failed: ${messageOf(thrown)}`)
  })
  if (phrase === null) throw new GatewayError('CALL_FAULT', 'the voice said nothing, or for too long')
  return writeWav({ sampleRateHz: phrase.sampleRateHz, channels: 1, samples: phrase.pcm })
}
