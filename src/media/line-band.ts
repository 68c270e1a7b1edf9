import { dbfsOfEnergy } from './pcm.js'

/** Number of frames with the caller's voice that are needed for a decision: three seconds. */
const FRAMES = 150
/**
 * Minimum number of frames with sound above the telephone band on a wide line. On such a line a sixth of the frames are
 * fricatives or breaths. A narrow line has no such sound.
 */
const WIDE_FRAMES_MIN = 4
/**
 * Minimum share of a frame's power above the telephone band: -20 dB. At the band's limit of 3.4 kHz, the filter passes
 * -33 dB.
 */
const WIDE_SHARE = 0.01
/** Minimum level in dBFS. Softer sound above the band may be noise from the doubling of the sample rate. */
const WIDE_DBFS_MIN = -65

/** Butterworth high-pass of order 8 at 4.6 kHz for 16 kHz, as the coefficients of four sections. */
const CUTOFF = Math.tan((Math.PI * 4600) / 16_000)
const SECTIONS = [1, 3, 5, 7].map((k) => {
  const damping = 2 * CUTOFF * Math.cos((k * Math.PI) / 16)
  const norm = 1 / (1 + damping + CUTOFF * CUTOFF)
  return { norm, a1: 2 * (CUTOFF * CUTOFF - 1) * norm, a2: (1 - damping + CUTOFF * CUTOFF) * norm }
})

/**
 * Detects from a caller's first words if the line carries sound above 4.6 kHz. It is used on legs of 16 kHz, and costs
 * some microseconds per frame during three seconds of voice.
 */
export class LineBand {
  /** True if the line carries only the telephone band, for which 8 kHz are enough; null until known. */
  narrow: boolean | null = null
  #frames = 0
  #wideFrames = 0

  /** Adds 20 ms at 16 kHz with only the caller's voice. */
  take(frame: Int16Array): void {
    if (this.narrow !== null) return
    const { above, whole } = powers(frame)
    if (above > WIDE_SHARE * whole && dbfsOfEnergy(above, 1) > WIDE_DBFS_MIN) this.#wideFrames++
    this.#frames++
    if (this.#wideFrames >= WIDE_FRAMES_MIN) this.narrow = false
    else if (this.#frames === FRAMES) this.narrow = true
  }
}

/**
 * @returns the mean squares of the sound above 4.6 kHz and of all sound. The first value leaves out the samples at
 * which the filter settles
 */
function powers(frame: Int16Array): { readonly above: number; readonly whole: number } {
  state.fill(0)
  let above = 0
  let whole = 0
  for (let i = 0; i < frame.length; i++) {
    let x = frame[i] as number
    whole += x * x
    for (let s = 0; s < SECTIONS.length; s++) {
      const { norm, a1, a2 } = SECTIONS[s] as (typeof SECTIONS)[number]
      const [one, two] = [2 * s, 2 * s + 1]
      const y = norm * x + (state[one] as number)
      state[one] = -2 * norm * x - a1 * y + (state[two] as number)
      state[two] = norm * x - a2 * y
      x = y
    }
    if (i >= SETTLING) above += x * x
  }
  return { above: above / (frame.length - SETTLING), whole: whole / frame.length }
}

const SETTLING = 64
const state = new Float64Array(2 * SECTIONS.length)
