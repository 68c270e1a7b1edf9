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

/** Phrases of one agent; the rest is spoken by the gateway's own voice. */
const TEXTS_MAX = 60
const TEXT_CHARS_MAX = 400
/** A voice that could not speak the phrases is asked again after this. */
const REST_MS = 60_000
/** Interval at which the call that pays for the phrases is checked for speech. */
const BUSY_MS = 200

interface OwnVoiceOptions {
  readonly store: PhraseStore
  /** The first voice of the agent's list; its module, if it is one, is loaded when this is called. */
  readonly factory: () => ServiceFactory<TextToSpeech>
  /** How that voice is set: another setting is another voice. */
  readonly settings: Readonly<Record<string, unknown>>
  /** One for all languages, or one a language; null: the service's. */
  readonly voice: Words | null
  readonly legRateHz: LegRateHz
  readonly pronunciations: readonly Pronunciation[]
  /** Phrases of the agent's file, word for word, with their language: `sw`. Nothing else is ever kept, no text about a caller. */
  readonly texts: readonly { readonly text: string; readonly language: string }[]
}

/** How a voice of the agent's speaks that language. */
export function mannerIn(
  language: string,
  voice: Words | null,
  pronunciations: readonly Pronunciation[] = [],
  speed = 1,
): SpeechManner {
  return { language, speed, pronunciations, ...(voice === null ? {} : { voice: textIn(voice, language) }) }
}

/** Threads have one rendering at a time, so that a hundred calls of a new agent make its phrases once. */
let rendering = false
/** By voice: until then nobody tries again. The keys are as many as the agents' voices. */
const restsUntilMs = new Map<string, number>()

/**
 * The fixed phrases of an agent in its own voice: greeting, fillers, apology, goodbye. They are spoken once, between the
 * answers of the first call, and kept; after that they need no service.
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

  /** At once; null for a text that was not spoken before, or is not one of the agent's fixed ones. */
  find(text: string): PhraseAudio | null {
    const language = this.#texts.get(text.trim())
    if (language === undefined) return null
    const phrase = this.store.find(this.#key(text, language))
    if (phrase === null) this.misses++
    else this.hits++
    return phrase
  }

  /** True if `find` gives it. */
  async has(text: string): Promise<boolean> {
    const language = this.#texts.get(text.trim())
    return language !== undefined && (await this.store.has(this.#key(text, language)))
  }

  /**
   * Speaks what was not kept yet. Never rejects.
   * @param busy  somebody needs the service now
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
      // The call itself reports what is wrong with the service.
      restsUntilMs.set(voiceKey, Date.now() + REST_MS)
    } finally {
      rendering = false
      voices?.close()
    }
  }

  /**
   * Speaks any text, and keeps nothing.
   * @returns null for speech that is too long @throws ServiceFault, or the reason of the signal
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

  /** @returns null for speech that is too long to keep @throws ServiceFault, or the reason of the signal */
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
