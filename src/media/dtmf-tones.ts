import { FADE_MS } from '../core/limits.js'
import type { LegRateHz } from '../core/units.js'
import { COLUMNS_HZ, ROWS_HZ, placeOf } from './dtmf.js'

/** Twice what receivers must take (ITU-T Q.24 asks for 40 ms of each), because codecs and jitter buffers take some away. */
const TONE_MS = 100
const GAP_MS = 100
/** `w`: a menu that has to answer first. */
const PAUSE_MS = 500
/** A sine of 0 dBm0 is this far below the largest that fits (ITU-T G.711). */
const DBM0_BELOW_FULL_SCALE_DB = 3.14
/** Power of each tone in dBm0, the higher one louder as on phones: ITU-T Q.23, and RFC 4733 takes 0 to -36. */
const ROW_DBM0 = -9
const COLUMN_DBM0 = -7

/** What `dtmfTones` takes: keys, and `w` for half a second of silence. */
export const TONES = /^[0-9*#A-Dw]+$/

/**
 * The tones of keys, in-band: 100 ms of each, then 100 ms of silence. Each begins at phase 0, and fades in and out, so that it
 * does not click.
 * @throws RangeError for anything but `TONES`
 * @see ITU-T Q.23, RFC 4733
 */
export function dtmfTones(keys: string, rateHz: LegRateHz): Int16Array {
  if (!TONES.test(keys)) throw new RangeError('keys are 0-9, *, #, A-D and w')
  const samplesOf = (ms: number): number => (ms * rateHz) / 1000
  const lengths = [...keys].map((key) => samplesOf(key === 'w' ? PAUSE_MS : TONE_MS + GAP_MS))
  const pcm = new Int16Array(lengths.reduce((sum, length) => sum + length, 0))
  let from = 0
  for (const [i, key] of [...keys].entries()) {
    if (key !== 'w') addKey(pcm.subarray(from, from + samplesOf(TONE_MS)), placeOf(key), rateHz)
    from += lengths[i] ?? 0
  }
  return pcm
}

function addKey(pcm: Int16Array, place: number, rateHz: LegRateHz): void {
  const [row, column] = [ROWS_HZ[place >> 2] ?? 0, COLUMNS_HZ[place & 3] ?? 0]
  const turn = (2 * Math.PI) / rateHz
  const fade = (FADE_MS * rateHz) / 1000
  for (let i = 0; i < pcm.length; i++) {
    const gain = Math.min(1, i / fade, (pcm.length - 1 - i) / fade)
    const sample = peakOf(ROW_DBM0) * Math.sin(turn * row * i) + peakOf(COLUMN_DBM0) * Math.sin(turn * column * i)
    pcm[i] = Math.round(gain * sample)
  }
}

function peakOf(dbm0: number): number {
  return 32_767 * 10 ** ((dbm0 - DBM0_BELOW_FULL_SCALE_DB) / 20)
}
