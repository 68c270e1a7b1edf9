import type { Flite } from '../speech/flite.js'
import type { LegRateHz } from '../core/units.js'
import { convertRate } from './half-band.js'
import { atSpeechLevel } from './line.js'
import { voicedExtent } from './speech-spans.js'

/**
 * Voices of simulated people: the synthesiser's voices other than the agent's (slt). rms and awb are recorded people
 * at 16 kHz, kal is an old 8 kHz diphone voice and stands for a bad phone.
 */
export const CALLER_VOICES = ['rms', 'awb', 'kal'] as const
export type CallerVoice = (typeof CALLER_VOICES)[number]

export function isCallerVoice(value: string): value is CallerVoice {
  return CALLER_VOICES.some((voice) => voice === value)
}

/** Kept around the voice, so that it neither begins nor ends in the middle of a wave. */
const MARGIN_MS = 60

/**
 * Speaks `text` as it leaves a caller's mouth: at `SPEECH_LEVEL_DBFS`, at the leg's rate, without the silence that the
 * synthesiser puts around it. Synchronous, about 20 ms for each second of speech: for a worker thread.
 */
export function speakAs(flite: Flite, text: string, voice: CallerVoice, sampleRateHz: LegRateHz, pace = 1): Int16Array {
  const speech = flite.speak(spelledOut(text), voice, pace === 1 ? {} : { stretch: 1 / pace })
  return fitToLeg(speech.pcm, speech.sampleRateHz, sampleRateHz)
}

/** Any recording as a caller's voice. @throws RangeError for rates other than 8 and 16 kHz. */
export function fitToLeg(pcm: Int16Array, fromHz: number, toHz: LegRateHz): Int16Array {
  const levelled = atSpeechLevel(convertRate(pcm, fromHz, toHz), toHz)
  const { from, to } = voicedExtent(levelled, toHz)
  const margin = Math.round(MARGIN_MS * toHz / 1000)
  return levelled.slice(Math.max(0, from - margin), to + margin)
}

/** Long numbers are said digit by digit, with the short pauses people make. */
function spelledOut(text: string): string {
  return text.replace(/\d{3,}/g, (digits) => [...digits].join(', '))
}
