import { CallerVoices } from '../carrier/caller-voices.js'
import type { LegRateHz } from '../core/units.js'
import { requireSpeech } from '../speech/speech-packages.js'
import { RECOGNISER_RATE_HZ } from '../speech/speech-protocol.js'
import type { AgentVocabulary } from './vocabulary.js'

/** Maximum number of requests that wait for the thread. Further pieces of speech are not recognised. */
const REQUESTS_WAITING_MAX = 400

/** Voices and recognisers of simulated people. */
export type PeopleSpeech = Pick<CallerSpeech, 'hearsAtHz' | 'speak' | 'hear'>

/** Synthesis and recognition for the simulated people of one process, on a separate thread. */
export class CallerSpeech extends CallerVoices {
  /** Sample rate of the sound for `hear`. */
  readonly hearsAtHz: LegRateHz = RECOGNISER_RATE_HZ

  /**
   * Starts the thread and waits until the voices are loaded (0.1 s). With a vocabulary the recogniser is loaded too
   * (0.5-1 s).
   * @param vocabulary null: no speech is recognised
   * @throws GatewayError SPEECH_FAULT, or CONFIG_INVALID if the voices are not installed
   */
  static async start(vocabulary: AgentVocabulary | null): Promise<CallerSpeech> {
    requireSpeech()
    return new CallerSpeech(new URL('./caller-speech-worker.js', import.meta.url), vocabulary).ready()
  }

  /**
   * @returns the words in `pcm` (its memory moves to the thread); empty if the recogniser is uncertain or overloaded
   */
  hear(pcm: Int16Array): Promise<string> {
    if (this.waiting >= REQUESTS_WAITING_MAX) return Promise.resolve('')
    return this.run<string>('hear', pcm, [pcm.buffer as ArrayBuffer])
  }
}
