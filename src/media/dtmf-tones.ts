import { FADE_MS } from '../core/limits.js'
import { msToSamples, type LegRateHz } from '../core/units.js'
import { tonesOf } from './dtmf.js'
import { fadeIn, fadeOut, joined } from './pcm.js'

/**
 * Duration of a tone in ms. It is more than twice the 40 ms that receivers must accept (ITU-T Q.24), because codecs and
 * jitter buffers shorten tones.
 */
const TONE_MS = 100
const GAP_MS = 100
/** Duration of `w` in ms. The pause gives a menu time to answer. */
const PAUSE_MS = 500
/** Level in dB of a full-scale sine relative to a sine of 0 dBm0 (ITU-T G.711). */
const DBM0_BELOW_FULL_SCALE_DB = 3.14
/**
 * Peak amplitudes of the two tones, from their power in dBm0. The column's tone is louder, as on phones (ITU-T Q.23).
 * RFC 4733 allows 0 to -36 dBm0.
 */
const ROW_PEAK = peakOfDbm0(-9)
const COLUMN_PEAK = peakOfDbm0(-7)

/** Input of `dtmfTones`: DTMF keys, and `w` for half a second of silence. */
export const TONES = /^[0-9*#A-Dw]+$/

/**
 * Makes in-band tones of DTMF keys. A key is 100 ms of tone, then 100 ms of silence. Each tone begins at phase 0, and
 * fades in and out so that there are no clicks.
 * @throws RangeError for input that does not match `TONES`
 * @see ITU-T Q.23, RFC 4733
 */
export function dtmfTones(keys: string, rateHz: LegRateHz): Int16Array {
  if (!TONES.test(keys)) throw new RangeError('keys are 0-9, *, #, A-D and w')
  return joined(
    [...keys].map((key) => (key === 'w' ? new Int16Array(msToSamples(PAUSE_MS, rateHz)) : press(key, rateHz))),
  )
}

function press(key: string, rateHz: LegRateHz): Int16Array {
  const pcm = new Int16Array(msToSamples(TONE_MS + GAP_MS, rateHz))
  const [row, column] = tonesOf(key)
  const turn = (2 * Math.PI) / rateHz
  const end = msToSamples(TONE_MS, rateHz)
  for (let i = 0; i < end; i++)
    pcm[i] = Math.round(ROW_PEAK * Math.sin(turn * row * i) + COLUMN_PEAK * Math.sin(turn * column * i))
  const fade = msToSamples(FADE_MS, rateHz)
  fadeIn(pcm, 0, fade)
  fadeOut(pcm, end - fade, end)
  return pcm
}

function peakOfDbm0(dbm0: number): number {
  return 32_767 * 10 ** ((dbm0 - DBM0_BELOW_FULL_SCALE_DB) / 20)
}
