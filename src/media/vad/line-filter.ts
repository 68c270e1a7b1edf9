import { dbfsOfEnergy, energyOf } from '../pcm.js'
import {
  FAULTY_FRAMES,
  FAULTY_POWER_MIN,
  FAULTY_SHARE_MIN,
  LINE_GAIN,
  LINE_LEAST,
  LINE_POLE_A1,
  LINE_POLE_A2,
  LINE_POLE_B1,
  LINE_POLE_B2,
  LINE_ZERO_A,
  LINE_ZERO_B,
} from './detection-limits.js'

/** Number of samples in 20 ms at 2 kHz. On all lines the filter runs at this rate. */
const SAMPLES = 40

/**
 * High-pass filter that removes a constant offset and mains hum before a faulty line's level, voice and pitch are
 * judged. Model, recogniser, DTMF search and recording get the unfiltered line.
 *
 * The filter runs on the signal below 1 kHz, sampled at 2 kHz. caller-kernel/ contains the same filter.
 */
export class LineFilter {
  /** Values that each section of the filter adds to its next two samples. */
  readonly #state = new Float64Array(4)
  #begun = false

  /** Filters the samples from `from` to `to` in place. They must follow the samples of the previous call. */
  take(samples: Float32Array, from: number, to: number): void {
    const state = this.#state
    if (!this.#begun) {
      this.#begun = true
      let sum = 0
      for (let i = from; i < to; i++) sum += samples[i] as number
      // The state begins as if the offset had always been present.
      const steady = LINE_GAIN * (sum / (to - from)) + LINE_LEAST
      state[0] = -steady
      state[1] = steady
    }
    let a = state[0] as number
    let nextA = state[1] as number
    let b = state[2] as number
    let nextB = state[3] as number
    for (let i = from; i < to; i++) {
      const x = LINE_GAIN * (samples[i] as number) + LINE_LEAST
      const y = x + a
      a = LINE_ZERO_A * x - LINE_POLE_A1 * y + nextA
      nextA = x - LINE_POLE_A2 * y
      const z = y + b
      b = LINE_ZERO_B * y - LINE_POLE_B1 * z + nextB
      nextB = y - LINE_POLE_B2 * z
      samples[i] = z
    }
    state[0] = a
    state[1] = nextA
    state[2] = b
    state[3] = nextB
  }
}

/**
 * Level of a line, frame by frame. While the line is faulty, it is the level after `LineFilter`. Only means over half a
 * millisecond are filtered; the energy that the means do not contain is added.
 */
export class LineLevel {
  /** True if the line of the last frame has a constant offset or mains hum. Other lines are not filtered. */
  isFaulty = false
  readonly #filter = new LineFilter()
  /** Number of frames so far. `#least`: minimum power that the filter removed from a frame of this second. */
  #frames = 0
  #least = 0
  /** True if the filter removed most of the power of one frame in this second. */
  #tookMost = false

  /**
   * @returns the level of the next frame (20 ms at 8 or 16 kHz), -96 to 0 dBFS. It is never above the unfiltered level
   */
  take(frame: Int16Array): number {
    const step = frame.length / SAMPLES
    let squares = 0
    for (let i = 0, at = 0; i < SAMPLES; i++) {
      let sum = 0
      for (const end = at + step; at < end; at++) sum += frame[at] as number
      squares += sum * sum
      means[i] = sum / step
    }
    this.#filter.take(means, 0, SAMPLES)
    let filtered = 0
    for (let i = 0; i < SAMPLES; i++) filtered += (means[i] as number) * (means[i] as number)
    // The filter's output still contains earlier sound, which does not belong to this frame.
    const whole = energyOf(frame)
    const taken = squares / step - filtered * step
    const left = Math.min(whole, whole - taken)
    this.#judge(taken, left, FAULTY_POWER_MIN * frame.length)
    return dbfsOfEnergy(this.isFaulty ? left : whole, frame.length)
  }

  #judge(taken: number, left: number, limit: number): void {
    const takesMost = taken > FAULTY_SHARE_MIN * left
    if (this.#frames === 0) this.isFaulty = taken > limit && takesMost
    const begins = this.#frames % FAULTY_FRAMES === 0
    this.#least = begins ? taken : Math.min(this.#least, taken)
    this.#tookMost = takesMost || (this.#tookMost && !begins)
    this.#frames++
    if (this.#frames % FAULTY_FRAMES > 0) return
    this.isFaulty = this.isFaulty ? this.#least > limit / 2 : this.#least > limit && this.#tookMost
  }
}

// Scratch that all calls of a thread share.
const means = new Float32Array(SAMPLES)
