import { isBackchannel } from '../../call/turns/backchannel.js'
import { wordsOf } from '../../call/words/languages.js'
import { isSpeakable } from '../../speech/spoken/sentences.js'
import { plainWords } from '../told.js'
import type { Evidence } from './service.js'

/** Maximum speech rate of a caller, and an allowance for words that were too quiet for the voice detector. */
const CHARACTERS_PER_S_MAX = 30
const CHARACTERS_SLACK = 40
/**
 * Words that models return for noise but that callers also say. They count as speech only if the turn's voice lasts
 * long enough for them.
 */
const OFTEN_NOISE = wordsOf('oftenNoise')
const SPOKEN_CHARACTERS_PER_S = 18
const SPOKEN_SLACK_MS = 150
/** Limits of Whisper's own rule for audio without speech: `transcribe(no_speech_threshold, logprob_threshold)`. */
const NO_SPEECH_MIN = 0.6
const LOGPROB_MAX = -1
/** Whisper's `compression_ratio_threshold`. Repeated text has a high ratio, because it compresses well. */
const COMPRESSION_MAX = 2.4
/**
 * Maximum number of repeats of a phrase by a caller, such as "no, no, no". If there are more repeats, the model is in a
 * loop.
 */
const REPEATS_MAX = 4
/** Texts that models trained on subtitles return for sound without words. Callers do not say these texts. */
const CREDITS = [
  /subtit(?:le|ulo)|untertitel|sous-?titr|sottotitol|legendas?\b|amara\.?org|transcri(?:bed|ption) by|captions? by/,
  /(?:thanks?|thank you)[\w ]* for (?:watching|viewing|listening to this video)|(?:please |don't forget to )?(?:like and )?subscribe/,
  /merci d['’]avoir regard|danke f[uü]rs zusch|gracias por ver|obrigad\w+ por assistir|asante(?:ni)? kwa kutazama|字幕|ご視聴|谢谢观看|시청해/,
  /^(?:www\.|https?:)\S+$/,
]
/**
 * Text in brackets, or between stars or note signs, which describes a sound: "[BLANK_AUDIO]", "(music)", "*coughs*", "♪
 * la la ♪".
 */
const TOLD_SOUND = /\[[^\]]*\]|\([^)]*\)|\*[^*]*\*|<[^>]*>|[♪♫][^♪♫]*[♪♫]?/gu

/**
 * True if a recogniser returned this text for sound without words. For words that callers also say ("Thank you.",
 * "Bye."), the result depends on the duration of voice for the words, and on the recogniser's certainty, if it is
 * reported.
 * @param voicedMs duration of voice in the turn
 */
export function isNoiseText(text: string, voicedMs: number, evidence: Evidence = {}): boolean {
  const words = text.replace(TOLD_SOUND, ' ').replace(/\s+/g, ' ').trim()
  if (!isSpeakable(words)) return true
  const lower = words.toLowerCase()
  if (CREDITS.some((credit) => credit.test(lower))) return true
  const { noSpeech = 0, logprob = 0, compression = 0 } = evidence
  if (noSpeech > NO_SPEECH_MIN && logprob < LOGPROB_MAX) return true
  if (compression > COMPRESSION_MAX || isLoop(lower)) return true
  if (
    isBackchannel(lower, OFTEN_NOISE) &&
    words.length > ((voicedMs + SPOKEN_SLACK_MS) / 1000) * SPOKEN_CHARACTERS_PER_S
  )
    return true
  return words.length > CHARACTERS_SLACK + (voicedMs / 1000) * CHARACTERS_PER_S_MAX
}

/**
 * True if a text is one repeated phrase of at least two words: "Thank you. Thank you. Thank you. Thank you. Thank you."
 */
function isLoop(text: string): boolean {
  const words = plainWords(text)
  for (let length = 2; length <= 8 && length * REPEATS_MAX < words.length; length++) {
    const repeats = Math.floor(words.length / length)
    if (repeats > REPEATS_MAX && words.every((word, i) => word === words[i % length])) return true
  }
  return false
}
