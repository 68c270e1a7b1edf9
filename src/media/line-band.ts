import { dbfsOfEnergy } from './pcm.js'

/** Frames with the caller's voice that decide: three seconds of it. */
const FRAMES = 150
/** A wide line has fricatives and breaths above the telephone's band in one frame of six; a narrow one in none. */
const WIDE_FRAMES_MIN = 4
/** Share of a frame's power: -20 dB. The filter leaves -33 dB of a telephone's 3.4 kHz. */
const WIDE_SHARE = 0.01
/** Softer than this it may be the noise of whoever doubled the rate. */
const WIDE_DBFS_MIN = -65

/** Butterworth high-pass of order 8 at 4.6 kHz for 16 kHz, as four sections: what they divide by, each second pole pair. */
const CUTOFF = Math.tan((Math.PI * 4600) / 16_000)
const SECTIONS = [1, 3, 5, 7].map((k) => {
  const damping = 2 * CUTOFF * Math.cos((k * Math.PI) / 16)
  const norm = 1 / (1 + damping + CUTOFF * CUTOFF)
  return { norm, a1: 2 * (CUTOFF * CUTOFF - 1) * norm, a2: (1 - damping + CUTOFF * CUTOFF) * norm }
})

/**
 * Tells from a caller's first words whether the line carries more than a telephone's band: whether there is sound above
 * 4.6 kHz. For legs of 16 kHz; a frame costs some microseconds, and after three seconds of voice nothing.
 */
export class LineBand {
  /** True: nothing above the telephone's band, so that 8 kHz have all of it. Null until it is known. */
  narrow: boolean | null = null
  #frames = 0
  #wideFrames = 0

  /** 20 ms at 16 kHz with the caller's voice and nobody else's. */
  take(frame: Int16Array): void {
    if (this.narrow !== null) return
    const { above, whole } = powers(frame)
    if (above > WIDE_SHARE * whole && dbfsOfEnergy(above, 1) > WIDE_DBFS_MIN) this.#wideFrames++
    this.#frames++
    if (this.#wideFrames >= WIDE_FRAMES_MIN) this.narrow = false
    else if (this.#frames === FRAMES) this.narrow = true
  }
}

/** Mean squares, above 4.6 kHz and in all. The first samples are left to the filter. */
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
