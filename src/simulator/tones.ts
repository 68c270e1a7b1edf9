/** Tones that a phone line carries: keys, ringing, the beep before a recording. */
const ROWS_HZ = [697, 770, 852, 941] as const
const COLUMNS_HZ = [1209, 1336, 1477, 1633] as const
const KEYS = ['123A', '456B', '789C', '*0#D'] as const
const FADE_S = 0.002

/** Keys a phone has, and nothing else. */
export function areKeys(text: string): boolean {
  return /^[0-9*#A-D]+$/.test(text)
}

function addTone(out: Int16Array, options: { from: number; samples: number; frequencyHz: number; peak: number; rateHz: number }): void {
  const { from, samples, frequencyHz, peak, rateHz } = options
  const fade = Math.floor(FADE_S * rateHz)
  for (let i = 0; i < samples && from + i < out.length; i++) {
    const gain = Math.min(1, (i + 1) / fade, (samples - i) / fade)
    const sample = (out[from + i] as number) + gain * peak * Math.sin(2 * Math.PI * frequencyHz * i / rateHz)
    out[from + i] = Math.round(sample)
  }
}

/**
 * The sound of keys pressed one after the other: 100 ms of tone, 100 ms of nothing.
 * Levels -10 and -12 dBFS: the higher tone is a little louder, as phones make it (ITU-T Q.23/Q.24).
 * @throws RangeError on anything that is no key.
 */
export function dtmfTones(digits: string, rateHz: number): Int16Array {
  if (!areKeys(digits)) throw new RangeError('keys are 0-9, *, # and A-D')
  const toneSamples = Math.round(rateHz / 10)
  const out = new Int16Array(digits.length * toneSamples * 2)
  for (const [index, digit] of [...digits].entries()) {
    const row = KEYS.findIndex((keys) => keys.includes(digit))
    const column = (KEYS[row] as string).indexOf(digit)
    const from = index * toneSamples * 2
    addTone(out, { from, samples: toneSamples, frequencyHz: ROWS_HZ[row] as number, peak: 8200, rateHz })
    addTone(out, { from, samples: toneSamples, frequencyHz: COLUMNS_HZ[column] as number, peak: 10_300, rateHz })
  }
  return out
}

/** What the caller hears while a human's phone rings: 425 Hz, one second in five (ITU-T E.180). */
export function ringingTone(durationMs: number, rateHz: number): Int16Array {
  const out = new Int16Array(Math.round(durationMs * rateHz / 1000))
  for (let from = 0; from < out.length; from += 5 * rateHz) {
    addTone(out, { from, samples: Math.min(rateHz, out.length - from), frequencyHz: 425, peak: 3000, rateHz })
  }
  return out
}

export function beep(rateHz: number): Int16Array {
  const out = new Int16Array(Math.round(rateHz * 0.3))
  addTone(out, { from: 0, samples: out.length, frequencyHz: 1000, peak: 6000, rateHz })
  return out
}
