import { isBackchannel } from '../../call/turns/backchannel.js'
import { wordsOf } from '../../call/words/languages.js'
import { isSpeakable } from '../../speech/spoken/sentences.js'
import { plainWords } from '../told.js'
import type { Evidence } from './service.js'

/** Nobody says more characters in a second of voice; some words may have been too soft for the detector. */
const CHARACTERS_PER_S_MAX = 30
const CHARACTERS_SLACK = 40
/** A word that models write for noise, and that callers also say, needs as much voice as it takes to say it. */
const OFTEN_NOISE = wordsOf('oftenNoise')
const SPOKEN_CHARACTERS_PER_S = 18
const SPOKEN_SLACK_MS = 150
/** Whisper's own rule for a piece without speech: openai/whisper, `transcribe(no_speech_threshold, logprob_threshold)`. */
const NO_SPEECH_MIN = 0.6
const LOGPROB_MAX = -1
/** Text that repeats itself compresses well: the same, `compression_ratio_threshold`. */
const COMPRESSION_MAX = 2.4
/** The same words so often are a loop of the model, where a caller says "no, no, no". */
const REPEATS_MAX = 4
/** Texts that models trained on subtitles write for sound without words. No caller says them. */
const CREDITS = [
  /subtit(?:le|ulo)|untertitel|sous-?titr|sottotitol|legendas?\b|amara\.?org|transcri(?:bed|ption) by|captions? by/,
  /(?:thanks?|thank you)[\w ]* for (?:watching|viewing|listening to this video)|(?:please |don't forget to )?(?:like and )?subscribe/,
  /merci d['’]avoir regard|danke f[uü]rs zusch|gracias por ver|obrigad\w+ por assistir|asante(?:ni)? kwa kutazama|字幕|ご視聴|谢谢观看|시청해/,
  /^(?:www\.|https?:)\S+$/,
]
/** A piece in brackets, between stars or notes tells of a sound: "[BLANK_AUDIO]", "(music)", "*coughs*", "♪ la la ♪". */
const TOLD_SOUND = /\[[^\]]*\]|\([^)]*\)|\*[^*]*\*|<[^>]*>|[♪♫][^♪♫]*[♪♫]?/gu

/**
 * True if a recogniser wrote this for sound without words. What a caller may say ("Thank you.", "Bye.") is decided by
 * evidence: how much voice there was for the words, and how sure the recogniser is, where it tells.
 * @param voicedMs  voice in the turn
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

/** One phrase of at least two words again and again: "Thank you. Thank you. Thank you. Thank you. Thank you." */
function isLoop(text: string): boolean {
  const words = plainWords(text)
  for (let length = 2; length <= 8 && length * REPEATS_MAX < words.length; length++) {
    const repeats = Math.floor(words.length / length)
    if (repeats > REPEATS_MAX && words.every((word, i) => word === words[i % length])) return true
  }
  return false
}
