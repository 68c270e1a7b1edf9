import { textIn } from '../../call/spoken/localized-text.js'
import type { LocalizedText as Words } from '../../call/spoken/localized-text.js'
import { samplesToMs } from '../../core/units.js'
import type { LegRateHz, SampleRateHz } from '../../core/units.js'
import { joined } from '../../media/pcm.js'
import { PHRASE_MS_MAX, PhraseStore } from '../../speech/phrase-store.js'
import type { PhraseAudio } from '../../speech/phrase-store.js'
import { pronounced } from '../../speech/spoken/pronunciations.js'
import type { Pronunciation } from '../../speech/spoken/pronunciations.js'
import { spokenForm } from '../../speech/spoken/spoken-form.js'
import { ServiceList } from './service-list.js'
import { Speaking } from './speaking.js'
import type { SpeechManner, ServiceContext, ServiceFactory, TextToSpeech } from './service.js'

/** Maximum number of phrases of one agent. All further phrases are spoken by the gateway's own voice. */
const TEXTS_MAX = 60
const TEXT_CHARS_MAX = 400
/** Pause in ms before phrases are requested again from a voice that has failed. */
const REST_MS = 60_000
/** Interval in ms of the check if a caller needs the voice service now. */
const BUSY_MS = 200

interface OwnVoiceOptions {
  readonly store: PhraseStore
  /** Returns the first voice of the agent's list. If the voice is a module, the function loads the module. */
  readonly factory: () => ServiceFactory<TextToSpeech>
  /** Settings of the voice. Each combination of settings counts as a different voice. */
  readonly settings: Readonly<Record<string, unknown>>
  /** One voice for all languages, or one per language; null: the service's default voice. */
  readonly voice: Words | null
  readonly legRateHz: LegRateHz
  readonly pronunciations: readonly Pronunciation[]
  /**
   * Phrases of the agent's file, word for word, with their language, such as `sw`. No other text is ever stored, in
   * particular no text about a caller.
   */
  readonly texts: readonly { readonly text: string; readonly language: string }[]
}

/** @returns the voice, speed and language with which the agent speaks in this language */
export function mannerIn(
  language: string,
  voice: Words | null,
  pronunciations: readonly Pronunciation[] = [],
  speed = 1,
): SpeechManner {
  return { language, speed, pronunciations, ...(voice === null ? {} : { voice: textIn(voice, language) }) }
}

/**
 * True while phrases are spoken on this thread. Only one job runs at a time. So a hundred calls of a new agent cause
 * only one recording of its phrases.
 */
let rendering = false
/**
 * Time until which no phrases are requested from a voice, because it failed; by voice. There is at most one entry for
 * each voice of the agents.
 */
const restsUntilMs = new Map<string, number>()

/**
 * An agent's fixed phrases in its own voice: greeting, fillers, apology, goodbye. During the first call, the voice
 * service speaks each phrase once between answers. Later calls play the stored sound.
 */
export class OwnVoice {
  hits = 0
  misses = 0
  rendered = 0
  readonly #options: OwnVoiceOptions
  /** The language of each text. */
  readonly #texts: ReadonlyMap<string, string>

  constructor(options: OwnVoiceOptions) {
    this.#options = options
    this.#texts = new Map(
      options.texts
        .map(({ text, language }) => [text.trim(), language] as const)
        .filter(([text]) => text !== '' && text.length <= TEXT_CHARS_MAX)
        .slice(0, TEXTS_MAX),
    )
  }

  get store(): PhraseStore {
    return this.#options.store
  }

  /**
   * @returns the stored sound of a text, without a delay; null if no sound is stored or the text is not a fixed phrase
   * of the agent
   */
  find(text: string): PhraseAudio | null {
    const language = this.#texts.get(text.trim())
    if (language === undefined) return null
    const phrase = this.store.find(this.#key(text, language))
    if (phrase === null) this.misses++
    else this.hits++
    return phrase
  }

  /** True if `find` returns the text's sound. */
  async has(text: string): Promise<boolean> {
    const language = this.#texts.get(text.trim())
    return language !== undefined && (await this.store.has(this.#key(text, language)))
  }

  /**
   * Speaks the phrases that are not stored yet. Never rejects.
   * @param busy returns true while a caller needs the service
   */
  async render(context: ServiceContext, signal: AbortSignal, busy: () => boolean): Promise<void> {
    const { store } = this
    const voiceKey = this.#key('', '')
    if (rendering || Date.now() < (restsUntilMs.get(voiceKey) ?? 0)) return
    rendering = true
    let voices: ServiceList<TextToSpeech> | null = null
    try {
      for (const [text, language] of this.#texts) {
        const key = this.#key(text, language)
        if (await store.has(key)) continue
        while (busy() && !signal.aborted) await new Promise((resolve) => setTimeout(resolve, BUSY_MS).unref())
        if (signal.aborted) return
        voices ??= new ServiceList([this.#options.factory()], context, signal)
        await voices.open(false)
        const phrase = await this.#speak(text, language, voices, signal)
        if (phrase === null) continue
        await store.keep(key, phrase)
        this.rendered++
      }
    } catch {
      // The fault is not reported here, because the call uses this service too and reports its faults.
      restsUntilMs.set(voiceKey, Date.now() + REST_MS)
    } finally {
      rendering = false
      voices?.close()
    }
  }

  /**
   * Speaks any text. The sound is not stored.
   * @returns null if the speech is too long @throws ServiceFault, or the reason of the signal
   */
  async say(text: string, language: string, context: ServiceContext, signal: AbortSignal): Promise<PhraseAudio | null> {
    const voices = new ServiceList([this.#options.factory()], context, signal)
    try {
      await voices.open(false)
      return await this.#speak(text, language, voices, signal)
    } finally {
      voices.close()
    }
  }

  #key(text: string, language: string): string {
    const { settings, voice, legRateHz, pronunciations } = this.#options
    const agentVoice = voice === null ? null : textIn(voice, language)
    const spoken = spokenForm(pronounced(text.trim(), pronunciations, language), language)
    return PhraseStore.key({ ...settings, agentVoice, language, legRateHz }, spoken)
  }

  /** @returns null if the speech is too long to store @throws ServiceFault, or the reason of the signal */
  async #speak(
    text: string,
    language: string,
    voices: ServiceList<TextToSpeech>,
    signal: AbortSignal,
  ): Promise<PhraseAudio | null> {
    const pieces: Int16Array[] = []
    let rateHz: SampleRateHz = this.#options.legRateHz
    const speaking = new Speaking(voices, mannerIn(language, this.#options.voice, this.#options.pronunciations), {
      audio: (pcm, sampleRateHz) => {
        rateHz = sampleRateHz
        pieces.push(pcm.slice())
      },
      sounds: () => undefined,
    })
    const cancel = (): void => speaking.cancel(null)
    signal.addEventListener('abort', cancel, { once: true })
    speaking.write(text)
    speaking.end()
    try {
      await speaking.done
    } catch (error) {
      cancel()
      signal.throwIfAborted()
      throw error
    } finally {
      signal.removeEventListener('abort', cancel)
    }
    const pcm = joined(pieces)
    const ms = samplesToMs(pcm.length, rateHz)
    return ms === 0 || ms > PHRASE_MS_MAX ? null : { pcm, sampleRateHz: rateHz }
  }
}
